"""Writes an export with proof into a folder, from what a server sends. One entry at a time is in memory; see
`export_check` for the files.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

import msgspec

from whence.checkpoints import Checkpoint, verify_checkpoint
from whence.cli.export_check import (
    CHECKPOINT,
    COLUMNS,
    CSV,
    ENTRIES,
    HASHES,
    KEY,
    MANIFEST,
    PARQUET,
    check_folder,
    csv_row,
    described,
)
from whence.cli.trusted_keys import Trust
from whence.client import ApiRequest, Value, Whence, parse_body
from whence.client.exports import Lines
from whence.client.requests import entries_request
from whence.durable_files import sync_file
from whence.errors import Invalid, Unsound
from whence.events import Event
from whence.matching import asks_for_payloads
from whence.merkle import HASH_SIZE
from whence.merkle_proofs import LeafRange, range_hash, uncovered_ranges
from whence.notes import BadNote, VerifierKey, parse_verifier_key
from whence.proven_exports import BadExport, EntryReader
from whence.tiles import TILE_WIDTH, Tile, subtree_hash
from whence.wire.entries import COMPLETE_WITHOUT_PAYLOADS
from whence.wire.export_manifests import FORMAT, ExportManifestBody, encode_manifest, filter_body, query_of
from whence.wire.exports import csv_line
from whence.wire.seals import LogKeysBody
from whence.wire.times import format_time, parse_query_time

__all__ = ["unfinished_folder", "write_folder"]


def write_folder(
    whence: Whence, folder: Path, parameters: dict[str, Value], format_: str, *, complete: bool
) -> ExportManifestBody:
    """Export the events that are sealed into a new folder, check it, and return its manifest. An error leaves none.

    Raises Invalid for a filter that cannot be proven, and Unsound when what the server sends proves nothing.
    """
    if folder.exists():
        raise Invalid.at((), "The folder for --proof must not be there yet.")
    parameters = _with_absolute_times(parameters)
    text = urlencode(entries_request(**parameters).query)
    if asks_for_payloads(query_of(filter_body(text))) and complete:  # before anything is asked
        raise Invalid.at((), COMPLETE_WITHOUT_PAYLOADS)
    with unfinished_folder(folder) as unfinished:
        key, checkpoint = _write_checkpoint(whence, unfinished)
        entries = entries_request(**parameters, as_of=checkpoint.size, complete="true" if complete else None)
        manifest = _write_entries(whence, unfinished, checkpoint, text, whence.stream(entries), format_, complete)
        (unfinished / MANIFEST).write_bytes(encode_manifest(manifest))
        check_folder(unfinished, Trust((key,)))
    return manifest


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """Where a folder is written that is to appear once it is complete. After an error there is none."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    unfinished.mkdir()
    try:
        yield unfinished
        for written in (*filter(Path.is_file, unfinished.iterdir()), unfinished):
            sync_file(written)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _with_absolute_times(parameters: dict[str, Value]) -> dict[str, Value]:
    """The parameters with times that mean the same tomorrow. What is no time is left to the server."""
    now = time.time_ns() // 1000
    found = dict(parameters)
    for name in ("from", "to"):
        text = found.get(name)
        if isinstance(text, str) and text.startswith("-"):
            try:
                found[name] = format_time(parse_query_time(text, now))
            except ValueError as error:
                raise Invalid.at(("query", name), f"{name}: {error}") from None
    return found


def _write_checkpoint(whence: Whence, folder: Path) -> tuple[VerifierKey, Checkpoint]:
    note = whence.checkpoint()
    answer = parse_body(whence.send(ApiRequest(method="GET", path="/api/v1/log/key")), LogKeysBody)
    try:
        keys = [parse_verifier_key(each.key) for each in answer.keys]
        checkpoint = verify_checkpoint(note.encode(), keys).checkpoint
    except BadNote as error:
        raise Unsound(f"The server's checkpoint is not valid. {error}") from None
    key = next(key for key in reversed(keys) if _has_signed(key, note))
    (folder / CHECKPOINT).write_text(note, encoding="utf-8")
    (folder / KEY).write_text(f"{key}\n", encoding="utf-8")
    return key, checkpoint


def _has_signed(key: VerifierKey, note: str) -> bool:
    try:
        verify_checkpoint(note.encode(), [key])
    except BadNote:
        return False
    return True


def _write_entries(
    whence: Whence,
    folder: Path,
    checkpoint: Checkpoint,
    text: str,
    parts: Iterable[bytes],
    format_: str,
    complete: bool,
) -> ExportManifestBody:
    """Write the entries, the hashes beside them, and the events in another format. Returns the manifest."""
    body = filter_body(text)
    tenant = checkpoint.origin.split("/")[-2]
    with ExitStack() as stack:
        entries = stack.enter_context((folder / ENTRIES).open("wb"))
        hashes = stack.enter_context((folder / HASHES).open("wb"))
        on_match = stack.enter_context(_Table(folder, format_)).add
        reader = EntryReader(tenant, query_of(body), checkpoint.size, complete=complete, on_match=on_match)
        indexes = (index for index, _ in reader.leaves(_written(parts, entries)))
        tiles = _Tiles(whence, checkpoint.size)
        try:
            for leaves in uncovered_ranges(indexes, checkpoint.size):
                hashes.write(tiles.hash_of(leaves))
            found = reader.found()
        except BadExport as error:
            raise Unsound(f"The server's entries are not valid. {error}") from None
    names = sorted(path.name for path in folder.iterdir())
    return ExportManifestBody(
        as_of=checkpoint.size,
        files=[described(folder / name) for name in names],
        filter=body,
        format=FORMAT,
        origin=checkpoint.origin,
        tenant_id=tenant,
        **msgspec.structs.asdict(found),
    )


def _written(parts: Iterable[bytes], file: BinaryIO) -> Iterator[bytes]:
    """The lines of a response, each once it is written."""
    lines = Lines()
    for part in parts:
        for line in lines.of(part):
            file.write(line + b"\n")
            yield line + b"\n"


class _Tiles:
    """The tiles of a server's log, of which the last one of each level stays in memory."""

    def __init__(self, whence: Whence, size: int) -> None:
        self._whence, self._size = whence, size
        self._held: dict[int, tuple[int, bytes]] = {}

    def hash_of(self, leaves: LeafRange) -> bytes:
        """The hash of a part of the tree. Raises Unsound when the server does not have what it takes."""
        return range_hash(leaves, lambda subtree: subtree_hash(subtree, self._read))

    def _read(self, tile: Tile) -> bytes:
        number, hashes = self._held.get(tile.level, (-1, b""))
        if number != tile.number:
            width = min(TILE_WIDTH, self._size // TILE_WIDTH**tile.level - tile.number * TILE_WIDTH)
            hashes = self._whence.tree.tile(Tile(tile.level, tile.number, width).path)
            if len(hashes) != width * HASH_SIZE:
                raise Unsound("The server sent a tile of the wrong size.")
            self._held[tile.level] = tile.number, hashes
        return hashes


class _Table:
    """The matching events once more in another format, or nowhere."""

    def __init__(self, folder: Path, format_: str) -> None:
        self._stack = ExitStack()
        self._folder, self._format = folder, format_
        self.add: Callable[[Event], None] = lambda _event: None

    def __enter__(self) -> "_Table":
        if self._format == "csv":
            file = self._stack.enter_context((self._folder / CSV).open("wb"))
            file.write(csv_line(COLUMNS))

            def add(event: Event) -> None:
                file.write(csv_row(event))

            self.add = add
        elif self._format == "parquet":
            from whence.cli import parquet  # noqa: PLC0415  (of the extra `parquet`)

            writer = self._stack.enter_context(parquet.ParquetWriter(self._folder / PARQUET))
            self.add = lambda event: writer.add(parquet.row_of_event(event))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
