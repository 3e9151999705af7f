"""Exports with proof: a folder is written from what a server sends, and checked without one. One entry at a time is in
memory.

    manifest.json     what the export is, and the SHA-256 of the other files
    checkpoint        the signed checkpoint of the log
    key               the key that signed it, to be compared with the one that the reader has
    entries.ndjson    what the leaves are made of, by position
    hashes            those of the parts of the tree without any of these leaves, joined
    events.csv, events.parquet    the matching events once more, if one of them was asked for
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

import msgspec

from whence.checkpoints import Checkpoint, verify_checkpoint
from whence.cli.export import NO_PARQUET
from whence.client import ApiRequest, Value, Whence, parse_body
from whence.client.exports import Lines
from whence.client.requests import entries_request
from whence.errors import Invalid, Unsound, WhenceError
from whence.events import Event
from whence.merkle import HASH_SIZE
from whence.merkle_proofs import LeafRange, range_hash, uncovered_ranges
from whence.notes import BadNote, VerifierKey, parse_verifier_key
from whence.proven_exports import BadExport, EntryReader, check_entries
from whence.tiles import TILE_WIDTH, Tile, subtree_hash
from whence.wire.export_manifests import (
    FORMAT,
    ExportFileBody,
    ExportManifestBody,
    decode_manifest,
    encode_manifest,
    filter_body,
    query_of,
)
from whence.wire.exports import csv_line
from whence.wire.seals import LogKeysBody
from whence.wire.times import format_time, parse_query_time

__all__ = ["check_folder", "write_folder"]

_MANIFEST, _CHECKPOINT, _KEY, _ENTRIES, _HASHES = "manifest.json", "checkpoint", "key", "entries.ndjson", "hashes"
_CSV, _PARQUET = "events.csv", "events.parquet"
_MANIFEST_MAX = 1024 * 1024
_LINE_MAX = 1024 * 1024  # an envelope and a payload of 256 KiB fit
_READ = 1024 * 1024

_COLUMNS = {
    "position": "position",
    "id": "id",
    "occurredAt": "occurred_at",
    "recordedAt": "recorded_at",
    "eventType": "event_type",
    "outcome": "outcome",
    "actorType": "actor_type",
    "actorId": "actor_id",
    "resourceType": "resource_type",
    "resourceId": "resource_id",
    "correlationId": "correlation_id",
    "causationId": "causation_id",
    "payload": "payload",
    "tenantId": "tenant_id",
}
"""The columns of events.csv. They belong to the format of the folder and never change."""


# ------------------------------------------------------------------------------------------------------------- writing


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
    filter_body(text)  # before anything is asked
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    unfinished.mkdir()
    try:
        key, checkpoint = _write_checkpoint(whence, unfinished)
        entries = entries_request(**parameters, as_of=checkpoint.size, complete="true" if complete else None)
        manifest = _write_entries(whence, unfinished, checkpoint, text, whence.stream(entries), format_, complete)
        (unfinished / _MANIFEST).write_bytes(encode_manifest(manifest))
        check_folder(unfinished, key)
        for path in unfinished.iterdir():
            _sync(path)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return manifest


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
    key = next(key for key in keys if key.name == checkpoint.origin)
    (folder / _CHECKPOINT).write_text(note, encoding="utf-8")
    (folder / _KEY).write_text(f"{key}\n", encoding="utf-8")
    return key, checkpoint


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
        entries = stack.enter_context((folder / _ENTRIES).open("wb"))
        hashes = stack.enter_context((folder / _HASHES).open("wb"))
        on_match = stack.enter_context(_Copy(folder, format_)).add
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
        files=[_described(folder / name) for name in names],
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


class _Copy:
    """The matching events once more in another format, or nowhere."""

    def __init__(self, folder: Path, format_: str) -> None:
        self._stack = ExitStack()
        self._folder, self._format = folder, format_
        self.add: Callable[[Event], None] = lambda _event: None

    def __enter__(self) -> "_Copy":
        if self._format == "csv":
            file = self._stack.enter_context((self._folder / _CSV).open("wb"))
            file.write(csv_line(_COLUMNS))

            def add(event: Event) -> None:
                file.write(_csv_line(event))

            self.add = add
        elif self._format == "parquet":
            parquet = _parquet()
            writer = self._stack.enter_context(parquet.ParquetWriter(self._folder / _PARQUET))
            self.add = lambda event: writer.add(parquet.row_of_event(event))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _csv_line(event: Event) -> bytes:
    values = [getattr(event, name) for name in _COLUMNS.values()]
    for at, name in enumerate(_COLUMNS):
        if name in ("occurredAt", "recordedAt"):
            values[at] = format_time(values[at])
    payload = event.payload
    values[list(_COLUMNS).index("payload")] = None if payload is None else payload.decode()
    return csv_line(values)


def _parquet() -> Any:
    try:
        from whence.cli import parquet  # noqa: PLC0415  (of the extra `parquet`)
    except ModuleNotFoundError:
        raise WhenceError(NO_PARQUET) from None
    return parquet


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


# ------------------------------------------------------------------------------------------------------------ checking


def check_folder(folder: Path, key: VerifierKey) -> ExportManifestBody:
    """The manifest of a folder, if all that it says is proven by a checkpoint that the key signed. Raises Unsound with
    the first thing that is wrong."""
    try:
        return _checked(folder, key)
    except (BadExport, BadNote) as error:
        raise Unsound(f"The export is not valid. {error}") from None
    except FileNotFoundError as error:
        raise Unsound(f"The export is not valid. It has no {Path(str(error.filename)).name}.") from None


def _checked(folder: Path, key: VerifierKey) -> ExportManifestBody:
    with (folder / _MANIFEST).open("rb") as file:
        data = file.read(_MANIFEST_MAX + 1)
    try:
        manifest = decode_manifest(data)
    except ValueError:
        raise BadExport("The manifest cannot be read.") from None
    names = [each.name for each in manifest.files]
    _refuse_other_files(folder, names)
    if (folder / _KEY).read_bytes() != f"{key}\n".encode():
        raise BadExport("The file key is not the key that was given.")
    checkpoint = verify_checkpoint((folder / _CHECKPOINT).read_bytes(), [key]).checkpoint
    with ExitStack() as stack:
        entries = stack.enter_context((folder / _ENTRIES).open("rb"))
        hashes = stack.enter_context((folder / _HASHES).open("rb"))
        copy = _CopyCheck(folder, names, stack)
        check_entries(manifest, checkpoint, _lines(entries), _hashes(hashes), copy.compare)
        copy.finish()
    for each in manifest.files:
        if _described(folder / each.name) != each:
            raise BadExport(f"{each.name} is not the file that the manifest describes.")
    return manifest


def _refuse_other_files(folder: Path, names: list[str]) -> None:
    """Refuse a folder with other files than those of the manifest, which somebody could take for a part of it."""
    needed = {_CHECKPOINT, _KEY, _ENTRIES, _HASHES}
    if names != sorted(set(names)) or not needed <= set(names) <= needed | {_CSV, _PARQUET}:
        raise BadExport("The manifest does not list the files of an export.")
    there = {path.name for path in folder.iterdir()} - {_MANIFEST}
    if missing := sorted(set(names) - there):
        raise BadExport(f"It has no {missing[0]}.")
    if there - set(names):
        raise BadExport("The folder has a file that the manifest does not list.")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_LINE_MAX):
        yield line


def _hashes(file: BinaryIO) -> Iterator[bytes]:
    while found := file.read(HASH_SIZE):
        yield found


class _CopyCheck:
    """Compares the events with those in the other format, one after the other."""

    def __init__(self, folder: Path, names: list[str], stack: ExitStack) -> None:
        self._csv: BinaryIO | None = None
        self._rows: Iterator[Any] | None = None
        self._row_of: Callable[[Event], Any] = lambda event: event
        if _CSV in names:
            self._csv = stack.enter_context((folder / _CSV).open("rb"))
            self._refuse_unless(self._csv.readline(_LINE_MAX) == csv_line(_COLUMNS), _CSV, "its first line")
        if _PARQUET in names:
            parquet = _parquet()
            self._rows, self._row_of = parquet.read_parquet(folder / _PARQUET), parquet.row_of_event

    def compare(self, event: Event) -> None:
        """Raise BadExport unless this event comes next."""
        where = f"position {event.position:,}"
        if self._csv is not None:
            line = _csv_line(event)
            self._refuse_unless(self._csv.read(len(line)) == line, _CSV, where)
        if self._rows is not None:
            self._refuse_unless(self._next_row() == self._row_of(event), _PARQUET, where)

    def finish(self) -> None:
        """Raise BadExport if there are more events."""
        if self._csv is not None:
            self._refuse_unless(not self._csv.read(1), _CSV, "its end")
        if self._rows is not None:
            self._refuse_unless(self._next_row() is None, _PARQUET, "its end")

    def _next_row(self) -> Any:
        try:
            return next(self._rows or iter(()), None)
        except ValueError:
            return ()

    def _refuse_unless(self, equal: bool, name: str, where: str) -> None:
        if not equal:
            raise BadExport(f"{name} differs from the entries at {where}.")


def _described(path: Path) -> ExportFileBody:
    digest = sha256()
    size = 0
    with path.open("rb") as file:
        while part := file.read(_READ):
            digest.update(part)
            size += len(part)
    return ExportFileBody(bytes=size, name=path.name, sha256=digest.hexdigest())
