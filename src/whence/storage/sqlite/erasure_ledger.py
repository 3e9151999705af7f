"""What was erased: a file beside the database, which a restore of the database leaves alone.

A backup that was made before an erasure has what was erased. After it was restored, the ledger says what has to be
erased again. A line is synced before the erasure commits. It has the tenant, each position with the beginning of the
leaf of its event, for an actor also its new id, and a checksum. By its leaf an event is known to be the same one, also
where a restored log has gone on differently, and a tenant that was deleted by that of its first event. The ledger names
nobody, but for the names of tenants.
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

_DELETED = "deleted@"
"""Begins the second word of a line about a tenant that was deleted. No id of an actor that is erased begins so."""


class ErasureLedger:
    """The ledger of one store. Only the process that writes to the store adds to it."""

    def __init__(self, path: str) -> None:
        """Name the ledger of the database at `path`."""
        self._path = Path(path + ".erased")

    def add(
        self,
        tenant: str,
        events: Sequence[tuple[int, bytes]],
        new_id: str | None = None,
        deleted_at: int | None = None,
    ) -> None:
        """Note that the payloads of these events are erased, each a position and a leaf; with `new_id`, that it takes
        the place of the id of the actor of the one event; with `deleted_at`, that the tenant is deleted, which begins
        with the one event, if any. Durable on return. Raises OSError."""
        is_new = not self._path.exists()
        named = [f"{position}:{leaf[:_LEAF_BYTES].hex()}" for position, leaf in events]
        what = f"{_DELETED}{deleted_at}" if deleted_at is not None else new_id or "-"
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
        """Every entry, oldest first. What a crash has torn was not erased, and is passed over. Raises StoreRefused for
        another damage."""
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


def _parsed(line: bytes) -> Erased | None:
    """The entry of a line; None for a damaged one."""
    body, _, check = line.rpartition(b" ")
    try:
        if int(check, 16) != zlib.crc32(body):
            return None
        tenant, what, *named = body.decode().split(" ")
        events = [name.split(":") for name in named]
        return Erased(
            tenant=tenant,
            events=tuple((int(position), bytes.fromhex(leaf)) for position, leaf in events),
            new_id=None if what == "-" or what.startswith(_DELETED) else what,
            deleted_at=int(what.removeprefix(_DELETED)) if what.startswith(_DELETED) else None,
        )
    except ValueError:
        return None
