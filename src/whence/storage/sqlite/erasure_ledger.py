"""What was erased: a file beside the database, which a restore of the database leaves alone.

A backup that was made before an erasure has what was erased. After it was restored, the ledger says what has to be
erased again. A line is synced before the erasure commits. It has the tenant, each position with the beginning of the
leaf of its event, for an actor also its new id, and a checksum. By its leaf an event is known to be the same one, also
where a restored log has gone on differently, and a tenant that was deleted by that of its first event. The ledger names
nobody, but for the names of tenants.

An erasure that was noted and did not commit is asked for again, since its request stays. A deletion is not. So it has
two lines: one before its commit, and one that says how it ended. Only the second one counts.
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from whence.durable_files import sync_folder
from whence.errors import StoreRefused
from whence.storage.removals import Erased

__all__ = ["ErasureLedger"]

_LEAF_BYTES = 4

_DELETING, _DELETED, _KEPT = "deleting@", "deleted@", "kept@"
"""Begin the second word of a line about a tenant: it is about to be deleted, it was, and it was not after all. No id of
an actor that is erased begins so."""


class ErasureLedger:
    """The ledger of one store. Only the process that writes to the store adds to it."""

    def __init__(self, path: str) -> None:
        """Name the ledger of the database at `path`."""
        self._path = Path(path + ".erased")

    def add(self, tenant: str, events: Sequence[tuple[int, bytes]], new_id: str | None = None) -> None:
        """Note that the payloads of these events are erased, each a position and a leaf; with `new_id`, that it takes
        the place of the id of the actor of the one event. Durable on return. Raises OSError."""
        self._add(tenant, new_id or "-", events)

    def intend_deletion(self, tenant: str, events: Sequence[tuple[int, bytes]], deleted_at: int) -> None:
        """Note that a tenant is about to be deleted, whose log begins with the one event, if any. Durable on return.
        Raises OSError."""
        self._add(tenant, f"{_DELETING}{deleted_at}", events)

    def end_deletion(self, intent: Erased, *, happened: bool) -> None:
        """Note whether a deletion happened that was intended. Durable on return. Raises OSError."""
        self._add(intent.tenant, f"{_DELETED if happened else _KEPT}{intent.deleted_at}", intent.events)

    def _add(self, tenant: str, what: str, events: Sequence[tuple[int, bytes]]) -> None:
        is_new = not self._path.exists()
        named = [f"{position}:{leaf[:_LEAF_BYTES].hex()}" for position, leaf in events]
        body = " ".join([tenant, what, *named]).encode()
        fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        try:
            _end_torn_line(fd)
            _write_whole(fd, body + f" {zlib.crc32(body):08x}\n".encode())
            os.fdatasync(fd)
        finally:
            os.close(fd)
        if is_new:
            sync_folder(str(self._path))

    def read(self) -> list[Erased]:
        """Every erasure, and every deletion that happened, oldest first. Raises StoreRefused for a damaged ledger."""
        return [entry for what, entry in self._lines() if not what.startswith((_DELETING, _KEPT))]

    def undecided_deletions(self) -> list[Erased]:
        """The deletions that were intended, of which no line says how they ended. Raises StoreRefused as `read`."""
        intended: dict[tuple[str, int | None], Erased] = {}
        for what, entry in self._lines():
            if what.startswith(_DELETING):
                intended[entry.tenant, entry.deleted_at] = entry
            elif entry.deleted_at is not None:
                intended.pop((entry.tenant, entry.deleted_at), None)
        return list(intended.values())

    def _lines(self) -> list[tuple[str, Erased]]:
        """Every line as its second word and its entry. What a crash has torn was not acted on, and is passed over."""
        try:
            *lines, _ = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        entries = [_parsed(line) for line in lines if not line.endswith(b"torn")]
        found = [entry for entry in entries if entry is not None]
        if len(found) < len(entries):
            raise StoreRefused(
                f"The ledger of erasures, {self._path.name}, is damaged, so that nobody can say what has to be erased "
                "again. Put it back from a copy, or remove it to restore without it."
            )
        return found


def _write_whole(fd: int, line: bytes) -> None:
    """Write a line. A disk that gets full takes a part of it, and only the next write fails. Raises OSError."""
    while line:
        line = line[os.write(fd, line) :]


def _end_torn_line(fd: int) -> None:
    """Mark a line that a crash has cut off, so that the next one begins anew."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.write(fd, b"torn\n")


def _parsed(line: bytes) -> tuple[str, Erased] | None:
    """The second word of a line and its entry; None for a damaged one."""
    body, _, check = line.rpartition(b" ")
    try:
        if int(check, 16) != zlib.crc32(body):
            return None
        tenant, what, *named = body.decode().split(" ")
        events = [name.split(":") for name in named]
        is_deletion = what.startswith((_DELETING, _DELETED, _KEPT))
        return what, Erased(
            tenant=tenant,
            events=tuple((int(position), bytes.fromhex(leaf)) for position, leaf in events),
            new_id=None if is_deletion or what == "-" else what,
            deleted_at=int(what.partition("@")[2]) if is_deletion else None,
        )
    except ValueError:
        return None
