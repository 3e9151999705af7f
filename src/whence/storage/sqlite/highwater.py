"""The high-water record: a file beside the database that says which commits were acknowledged.

A flipped bit in the WAL makes SQLite drop committed transactions without an error, and a database that was replaced by
an old copy is valid. The database itself shows neither. So every commit of the server writes a number and a nonce into
the database. The same pair is synced to the record after the commit and before any answer. At start, a database that
has not reached its record is not served.

The record has two slots, written in turn, each with a checksum. A torn write damages one; the other is one commit
older.
"""

import errno
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import apsw
import structlog

from whence.durable_files import sync_folder
from whence.errors import RolledBack
from whence.storage.sql import load_blocks

__all__ = ["HighWater", "Mark", "is_behind", "mark_of", "recorded_mark"]

_SQL = load_blocks("whence.storage.sqlite")
_log = structlog.get_logger("whence.storage")

_MAGIC = b"WHNCHIGH"
_BODY = struct.Struct(">8s16sQ16s")  # magic, store id, commit number, nonce
_CHECK = struct.Struct(">I")
_SLOT_SIZE = _BODY.size + _CHECK.size
_SLOT_DISTANCE = 4_096  # so that no single sector write damages both slots

Mark = tuple[bytes, int, bytes]
"""The store's id, the number of its last commit, and that commit's nonce."""


class HighWater:
    """The record of one store. Only the writer uses it once it is open."""

    def __init__(self, path: str) -> None:
        """Open the record beside the database at `path`, or create it."""
        self._path = path + ".high"
        self._new = not Path(self._path).exists()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._next: Mark | None = None

    def check(self, connection: apsw.Connection, *, accept_rollback: bool = False) -> None:
        """Compare the database with the record. Raises RolledBack when acknowledged commits are missing."""
        mark = _mark_or_first(connection)
        recorded = _read(self._fd)
        if recorded is not None:
            if is_behind(mark, recorded) and not accept_rollback:
                raise RolledBack(
                    "The store is behind what it has acknowledged: it was put back from a copy, or its write-ahead log "
                    "was damaged. Restore a newer backup, or accept the loss with --accept-rollback."
                )
        elif mark[1] and not self._new:
            _log.warning("the high-water record is unreadable; it is created again", path=self._path)
        for slot in (0, 1):
            self._write(slot, mark)
        os.fsync(self._fd)
        if self._new:
            sync_folder(self._path)

    def advance(self, connection: apsw.Connection) -> None:
        """Write the number and nonce of the next commit into the open transaction."""
        nonce = os.urandom(16)
        rows: list[Any] = connection.execute(_SQL["advance_store"], (nonce,)).fetchall()
        self._next = (rows[0][0], rows[0][1], nonce)

    def record(self) -> None:
        """Sync the number and nonce of the commit that just happened to the record. Raises OSError."""
        if self._next is not None:
            self._write(self._next[1] % 2, self._next)
            os.fdatasync(self._fd)
            self._next = None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _write(self, slot: int, mark: Mark) -> None:
        body = _BODY.pack(_MAGIC, *mark)
        raw = body + _CHECK.pack(zlib.crc32(body))
        if os.pwrite(self._fd, raw, slot * _SLOT_DISTANCE) != len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)


def is_behind(mark: Mark, recorded: Mark) -> bool:
    """Whether a database with this mark lacks what was recorded, or has another history."""
    return mark[0] != recorded[0] or mark[1] < recorded[1] or (mark[1] == recorded[1] and mark[2] != recorded[2])


def recorded_mark(path: str) -> Mark | None:
    """The mark in the record beside the database at `path`; None if it is missing or unreadable."""
    try:
        fd = os.open(path + ".high", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _read(fd)
    finally:
        os.close(fd)


def mark_of(connection: apsw.Connection) -> Mark | None:
    """The mark in a database; None if no server has opened it yet."""
    rows: list[Any] = connection.execute(_SQL["store"]).fetchall()
    return tuple(rows[0]) if rows else None


def _mark_or_first(connection: apsw.Connection) -> Mark:
    mark = mark_of(connection)
    if mark is None:
        connection.execute(_SQL["add_store"], (os.urandom(16), bytes(16)))
        mark = mark_of(connection)
    if mark is None:
        raise RolledBack("The store does not keep the number of its commits; it cannot be served.")
    return mark


def _read(fd: int) -> Mark | None:
    """The newer of the two slots, or None when both are empty or torn."""
    marks = []
    for slot in (0, 1):
        raw = os.pread(fd, _SLOT_SIZE, slot * _SLOT_DISTANCE)
        if len(raw) == _SLOT_SIZE and _CHECK.unpack(raw[_BODY.size :])[0] == zlib.crc32(raw[: _BODY.size]):
            magic, store_id, commits, nonce = _BODY.unpack(raw[: _BODY.size])
            if magic == _MAGIC:
                marks.append((store_id, commits, nonce))
    return max(marks, key=lambda mark: mark[1], default=None)
