"""Checks a folder of `export --proof` without a server. One entry at a time is in memory.

manifest.json     what the export is, and the SHA-256 of the other files
checkpoint        the signed checkpoint of the log
key               the key that signed it, to be compared with the one that the reader has
entries.ndjson    what the leaves are made of, by position
hashes            those of the parts of the tree without any of these leaves, joined
events.csv, events.parquet    the matching events once more, if one of them was asked for
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from whence.cli.trusted_keys import Trust
from whence.errors import Unsound
from whence.events import Event
from whence.merkle import HASH_SIZE
from whence.notes import BadNote, KeyType, VerifierKey
from whence.proven_exports import BadExport, check_entries
from whence.wire.export_manifests import ExportFileBody, ExportManifestBody, decode_manifest
from whence.wire.exports import csv_line
from whence.wire.times import format_time

__all__ = [
    "CHECKPOINT",
    "COLUMNS",
    "CSV",
    "ENTRIES",
    "HASHES",
    "KEY",
    "MANIFEST",
    "PARQUET",
    "check_folder",
    "csv_row",
    "described",
]

MANIFEST, CHECKPOINT, KEY, ENTRIES, HASHES = "manifest.json", "checkpoint", "key", "entries.ndjson", "hashes"
CSV, PARQUET = "events.csv", "events.parquet"
_MANIFEST_MAX = 1024 * 1024
_LINE_MAX = 1024 * 1024  # an envelope and a payload of 256 KiB fit
_READ = 1024 * 1024

COLUMNS = {
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


def check_folder(folder: Path, trust: Trust) -> ExportManifestBody:
    """The manifest of a folder, if all that it says is proven by a checkpoint that those signed who have to. Raises
    Unsound with the first thing that is wrong."""
    try:
        return _checked(folder, trust)
    except (BadExport, BadNote) as error:
        raise Unsound(f"The export is not valid. {error}") from None
    except FileNotFoundError as error:
        raise Unsound(f"The export is not valid. It has no {Path(str(error.filename)).name}.") from None


def _checked(folder: Path, trust: Trust) -> ExportManifestBody:
    with (folder / MANIFEST).open("rb") as file:
        data = file.read(_MANIFEST_MAX + 1)
    try:
        manifest = decode_manifest(data)
    except ValueError:
        raise BadExport("The manifest cannot be read.") from None
    names = [each.name for each in manifest.files]
    _refuse_other_files(folder, names)
    named = (folder / KEY).read_bytes()
    keys = tuple(key for key in trust.keys if _is_named(key, named))
    if not keys:
        raise BadExport("The file key is not the key that was given.")
    checkpoint = trust._replace(keys=keys).verify_checkpoint((folder / CHECKPOINT).read_bytes()).checkpoint
    with ExitStack() as stack:
        entries = stack.enter_context((folder / ENTRIES).open("rb"))
        hashes = stack.enter_context((folder / HASHES).open("rb"))
        tables = _TableCheck(folder, names, stack)
        check_entries(manifest, checkpoint, _lines(entries), _hashes(hashes), tables.compare)
        tables.finish()
    for each in manifest.files:
        if described(folder / each.name) != each:
            raise BadExport(f"{each.name} is not the file that the manifest describes.")
    return manifest


def _is_named(key: VerifierKey, named: bytes) -> bool:
    """Whether the file `key` has this key. It has the one by Ed25519, so of another type only the name is compared."""
    return named == f"{key}\n".encode() or (
        key.type is not KeyType.ED25519 and named.startswith(f"{key.name}+".encode())
    )


def _refuse_other_files(folder: Path, names: list[str]) -> None:
    """Refuse a folder with other files than those of the manifest, which somebody could take for a part of it."""
    needed = {CHECKPOINT, KEY, ENTRIES, HASHES}
    if names != sorted(set(names)) or not needed <= set(names) <= needed | {CSV, PARQUET}:
        raise BadExport("The manifest does not list the files of an export.")
    there = {path.name for path in folder.iterdir()} - {MANIFEST}
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


class _TableCheck:
    """Compares the events with those in the other format, one after the other."""

    def __init__(self, folder: Path, names: list[str], stack: ExitStack) -> None:
        self._csv: BinaryIO | None = None
        self._rows: Iterator[Any] | None = None
        self._row_of: Callable[[Event], Any] = lambda event: event
        if CSV in names:
            self._csv = stack.enter_context((folder / CSV).open("rb"))
            self._refuse_unless(self._csv.readline(_LINE_MAX) == csv_line(COLUMNS), CSV, "its first line")
        if PARQUET in names:
            from whence.cli import parquet  # noqa: PLC0415  (of the extra `parquet`)

            self._rows, self._row_of = parquet.read_parquet(folder / PARQUET), parquet.row_of_event

    def compare(self, event: Event) -> None:
        """Raise BadExport unless this event comes next."""
        where = f"position {event.position:,}"
        if self._csv is not None:
            line = csv_row(event)
            self._refuse_unless(self._csv.read(len(line)) == line, CSV, where)
        if self._rows is not None:
            self._refuse_unless(self._next_row() == self._row_of(event), PARQUET, where)

    def finish(self) -> None:
        """Raise BadExport if there are more events."""
        if self._csv is not None:
            self._refuse_unless(not self._csv.read(1), CSV, "its end")
        if self._rows is not None:
            self._refuse_unless(self._next_row() is None, PARQUET, "its end")

    def _next_row(self) -> Any:
        try:
            return next(self._rows or iter(()), None)
        except ValueError:
            return ()

    def _refuse_unless(self, equal: bool, name: str, where: str) -> None:
        if not equal:
            raise BadExport(f"{name} differs from the entries at {where}.")


def described(path: Path) -> ExportFileBody:
    """A file as a manifest lists it."""
    digest = sha256()
    size = 0
    with path.open("rb") as file:
        while part := file.read(_READ):
            digest.update(part)
            size += len(part)
    return ExportFileBody(bytes=size, name=path.name, sha256=digest.hexdigest())


def csv_row(event: Event) -> bytes:
    """The line of an event in events.csv."""
    values = [getattr(event, name) for name in COLUMNS.values()]
    for at, name in enumerate(COLUMNS):
        if name in ("occurredAt", "recordedAt"):
            values[at] = format_time(values[at])
    payload = event.payload
    values[list(COLUMNS).index("payload")] = None if payload is None else payload.decode()
    return csv_line(values)
