"""Folders of exports with proof: a whole one is accepted, and every change of a file is named."""

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.mutants import catches, replaced
from tests.unit.test_proven_exports import CHECKPOINT, EVENTS, ORIGIN, event, export_of
from whence.checkpoints import sign_checkpoint
from whence.cli import export_check
from whence.cli.export_check import COLUMNS, check_folder, csv_row, described
from whence.cli.parquet import ParquetWriter, row_of_event
from whence.cli.trusted_keys import Trust
from whence.errors import Unsound
from whence.events import Event
from whence.notes import NoteSigner
from whence.wire.export_manifests import ExportManifestBody, decode_manifest, encode_manifest
from whence.wire.exports import csv_line

SIGNER = NoteSigner(ORIGIN, sha256(b"whence test vector key 1").digest())
FAILURES = EVENTS[::2]
TABLES = ("events.csv", "events.parquet")


def put(folder: Path, *tables: str, text: str = "outcome=failure", complete_from: int | None = None) -> Path:
    """A whole export, with these tables."""
    lines, hashes, manifest = export_of(text, complete_from=complete_from)
    folder.mkdir()
    (folder / "checkpoint").write_text(sign_checkpoint(CHECKPOINT, SIGNER))
    (folder / "key").write_text(f"{SIGNER.key}\n")
    (folder / "entries.ndjson").write_bytes(b"".join(lines))
    (folder / "hashes").write_bytes(b"".join(hashes))
    write_tables(folder, FAILURES, *tables)
    describe(folder, manifest)
    return folder


def write_tables(folder: Path, events: list[Event], *tables: str) -> None:
    if "events.csv" in tables:
        (folder / "events.csv").write_bytes(csv_line(COLUMNS) + b"".join(map(csv_row, events)))
    if "events.parquet" in tables:
        with ParquetWriter(folder / "events.parquet") as writer:
            for each in events:
                writer.add(row_of_event(each))


def describe(folder: Path, manifest: ExportManifestBody) -> None:
    """Write the manifest with the sums of the files as they are."""
    files = [described(path) for path in sorted(folder.iterdir()) if path.name != "manifest.json"]
    (folder / "manifest.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))


def manifest_of(folder: Path) -> ExportManifestBody:
    return decode_manifest((folder / "manifest.json").read_bytes())


def refused(folder: Path) -> str:
    with pytest.raises(Unsound) as caught:
        check_folder(folder, Trust((SIGNER.key,)))
    return str(caught.value)


def test_a_whole_folder_is_accepted(tmp_path: Path) -> None:
    """With every table, and with none; by its own key alone."""
    for number, tables in enumerate(((), TABLES[:1], TABLES)):
        folder = put(tmp_path / str(number), *tables)
        assert check_folder(folder, Trust((SIGNER.key,))) == manifest_of(folder)
    next_key = NoteSigner(f"{ORIGIN[:-1]}2", bytes(32)).key
    assert check_folder(folder, Trust((next_key, SIGNER.key))) == manifest_of(folder)
    with pytest.raises(Unsound, match="not the key that was given"):
        check_folder(folder, Trust((NoteSigner(ORIGIN, bytes(32)).key,)))


def _nothing(*_: object) -> None:
    """Mutant: a check that accepts everything."""


@catches(
    replaced(export_check, "_refuse_other_files", _nothing, "takes_any_files"),
    replaced(
        export_check, "described", lambda path: next(each for each in _listed if each.name == path.name), "no_sums"
    ),
)
def test_a_changed_file_is_named(tmp_path: Path) -> None:
    """Cut, missing, added, or changed in a way that does not matter for the proof."""
    folder = put(tmp_path / "whole", *TABLES)
    _listed[:] = manifest_of(folder).files
    for name in ("checkpoint", "entries.ndjson", "hashes", "key", "events.csv", "events.parquet"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept[:-1])
        refused(folder)
        (folder / name).unlink()
        assert f"It has no {name}." in refused(folder)
        (folder / name).write_bytes(kept)
    (folder / "checkpoint").write_text((folder / "checkpoint").read_text() + "— other AAAAAAAA\n")
    assert "checkpoint is not the file that the manifest describes" in refused(folder)
    shutil.copyfile(folder / "key", folder / "notes.txt")
    assert "a file that the manifest does not list" in refused(folder)
    (folder / "manifest.json").unlink()
    assert "It has no manifest.json." in refused(folder)


_listed: list[Any] = []


def _equal(*_: object) -> None:
    """Mutant: tables are not compared."""


@catches(
    replaced(export_check._TableCheck, "compare", _equal, "rows_are_not_compared"),
    replaced(export_check._TableCheck, "finish", _equal, "further_rows_are_not_seen"),
)
def test_a_table_has_the_events_of_the_entries(tmp_path: Path) -> None:
    """Neither others nor more nor fewer, also when the manifest has its sum."""
    other = event(3, payload=b'{"n":100}')
    for number, name in enumerate(TABLES):
        folder = put(tmp_path / str(number), name)
        for events, where in (
            ([FAILURES[0], other, FAILURES[2]], "position 3"),
            ([FAILURES[0], FAILURES[2], FAILURES[1]], "position 3"),
            (FAILURES[:2], "position 5"),
            ([*FAILURES, FAILURES[0]], "its end"),
        ):
            write_tables(folder, events, name)
            describe(folder, manifest_of(folder))
            assert f"{name} differs from the entries at {where}." in refused(folder)
        (folder / name).write_bytes(b"no table\n")
        describe(folder, manifest_of(folder))
        assert f"{name} differs from the entries" in refused(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: data.replace(b"  ", b" ", 1), "manifest cannot be read"),
        (lambda data: data.replace(b'"erased": 0', b'"erased": 0.0'), "manifest cannot be read"),
        (lambda data: data.replace(b"events.csv", b"events.xls"), "does not list the files"),
        (lambda data: data.replace(b'"key"', b'"../"'), "does not list the files"),
        (lambda _: b"{" * 2_000_000, "manifest cannot be read"),
    ],
)
def test_a_manifest_has_one_spelling(tmp_path: Path, change: Callable[[bytes], bytes], sentence: str) -> None:
    """And names the files of an export alone."""
    path = put(tmp_path / "export", "events.csv") / "manifest.json"
    path.write_bytes(change(path.read_bytes()))
    assert sentence in refused(path.parent)


@pytest.mark.slow
def test_every_changed_byte_is_refused(tmp_path: Path) -> None:
    """No byte of any file can be another one, unless the export then claims the same: the text of a filter may spell
    otherwise what it means."""
    folder = put(tmp_path / "export", "events.csv", complete_from=1)
    claim = claim_of(check_folder(folder, Trust((SIGNER.key,))))
    for file in folder.iterdir():
        whole = file.read_bytes()
        for at in range(len(whole)):
            changed = bytearray(whole)
            changed[at] ^= 1 << (at % 7)
            file.write_bytes(changed)
            try:
                accepted = claim_of(check_folder(folder, Trust((SIGNER.key,))))
            except Unsound:
                continue
            assert accepted == claim, f"{file.name}, byte {at}"
        file.write_bytes(whole)


def claim_of(manifest: ExportManifestBody) -> tuple[object, ...]:
    """What an export claims."""
    return manifest.filter.meaning, *(
        getattr(manifest, name) for name in manifest.__struct_fields__ if name != "filter"
    )
