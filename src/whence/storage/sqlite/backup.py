"""Backups: a copy of a store in one snapshot, beside its server, and putting such a copy in a store's place.

A copy is one file. It is verified before it gets its name, and nothing that was there is touched until then.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from whence.errors import RolledBack, StoreRefused
from whence.storage.backends import Progress, Restored
from whence.storage.sql import load_blocks
from whence.storage.sqlite.connection import (
    BUSY_MS,
    ServingLock,
    close_untouched,
    connect,
    make_folder,
    migrate,
    refusing,
)
from whence.storage.sqlite.highwater import HighWater, Mark, is_behind, mark_of, recorded_mark, sync_folder
from whence.storage.sqlite.verify import verify
from whence.storage.verification import Report

__all__ = ["backup", "refuse_behind", "restore"]

_SQL = load_blocks("whence.storage.sqlite")
_PAGES_A_STEP = 1_000
_CACHE_KIB = 1_000
_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file. Left there, it would be taken for a part of the file that comes in its place."""


def backup(source: str, destination: str, *, force: bool = False, progress: Progress | None = None) -> Report:
    """Copy the store at the path `source` to `destination`, which then holds exactly one commit's state.

    A server may write to the store meanwhile; its write-ahead log grows until the copy is made. The copy is put under
    its name only when its check, which is returned, found nothing. Raises StoreRefused for a destination that is there
    already unless `force`, and RolledBack for a store that lacks what it has acknowledged.
    """
    _check_paths(source, destination, force)
    with _unserved(destination), _partial(destination) as partial:
        _copy(source, partial)
        report = verify(partial, progress)
        if report.sound:
            _put_in_place(partial, destination)
            with suppress(FileNotFoundError):
                os.unlink(destination + ".high")  # it spoke of what was here before
    return report


def restore(source: str, destination: str, *, force: bool = False, progress: Progress | None = None) -> Restored:
    """Put the backup at the path `source` in the place of the store at `destination`, and make the record agree.

    Sessions are forgotten. Keys that were revoked in a store that is replaced stay revoked. Raises StoreRefused while
    a server has the store, and for a store that is there already unless `force`.
    """
    _check_paths(source, destination, force)
    make_folder(destination)
    lock = ServingLock(destination)
    try:
        report = verify(source, progress)
        if not report.sound:
            return Restored(report)
        with _partial(destination) as partial:
            _copy(source, partial)
            revoked = _carry_over(partial, destination)
            _put_in_place(partial, destination)
        _agree(destination)
        return Restored(report, revoked)
    finally:
        lock.release()


def _check_paths(source: str, destination: str, force: bool) -> None:
    if not Path(source).is_file():
        raise StoreRefused("There is no SQLite file to copy under this name.")
    if Path(destination).exists():
        if os.path.samefile(source, destination):
            raise StoreRefused("A store cannot be copied onto itself. Name another file.")
        if not force:
            raise StoreRefused("There is a file of this name already. Name another one, or replace it with --force.")


@contextmanager
def _unserved(path: str) -> Iterator[None]:
    """Keep servers away from a file that is replaced, if one ever served it."""
    lock = ServingLock(path) if Path(path + ".lock").exists() else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def _partial(destination: str) -> Iterator[str]:
    """The path of a new file beside the destination, which is gone at the end of the block if it is still there."""
    partial = destination + ".partial"
    _remove(partial, "", *_BESIDE)
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        yield partial
    finally:
        _remove(partial, "", *_BESIDE)


def _remove(path: str, *endings: str) -> None:
    for ending in endings:
        with suppress(FileNotFoundError):
            os.unlink(path + ending)


def _copy(source: str, partial: str) -> None:
    """Copy one snapshot of the source, page by page; its write-ahead log is in it. Durable on return."""
    recorded = recorded_mark(source)  # before the snapshot, which a server may take further
    with refusing():
        reading = apsw.Connection(source, flags=apsw.SQLITE_OPEN_READWRITE)
        writing = apsw.Connection(partial)
        try:
            reading.set_busy_timeout(BUSY_MS)
            reading.execute("BEGIN")
            _refuse_behind(reading, recorded)  # and holds the snapshot from here on
            writing.execute("PRAGMA synchronous = OFF").fetchall()  # synced as a whole below
            with writing.backup("main", reading, "main") as copying:
                while not copying.done:
                    copying.step(_PAGES_A_STEP)
            writing.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, that can be read where none is made
        finally:
            writing.close()
            close_untouched(reading)
    _sync(partial)


def refuse_behind(path: str) -> None:
    """Raise RolledBack when the store at `path` lacks what it has acknowledged, and StoreRefused when there is none."""
    if not Path(path).is_file():
        raise StoreRefused("There is no SQLite file to copy under this name.")
    recorded = recorded_mark(path)  # before the look, as above
    with refusing():
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            if recorded is not None:
                _refuse_behind(connection, recorded)
        finally:
            close_untouched(connection)


def _refuse_behind(connection: apsw.Connection, recorded: Mark | None) -> None:
    mark = mark_of(connection)
    if recorded is not None and (mark is None or is_behind(mark, recorded)):
        raise RolledBack(
            "The store is behind what it has acknowledged, and a copy of it would be too. Restore an earlier "
            "backup, or accept the loss with 'whence serve --accept-rollback' first."
        )


def _carry_over(partial: str, replaced: str) -> int | None:
    """Forget the copy's sessions, and revoke in it what is revoked in the store that it replaces."""
    revoked: int | None = None
    copy = apsw.Connection(partial)
    try:
        copy.execute("PRAGMA secure_delete = ON").fetchall()
        copy.execute(_SQL["forget_all_sessions"])
        if Path(replaced).exists():
            with suppress(apsw.Error):  # what is replaced may be no more than a ruin
                copy.execute("ATTACH ? AS replaced", (replaced,))
                copy.execute(_SQL["carry_over_revocations"])
                revoked = copy.changes()
    finally:
        close_untouched(copy)
    _sync(partial)
    return revoked


def _put_in_place(partial: str, destination: str) -> None:
    """Give a copy its name, durably. A loss of power in between leaves a store that the record refuses."""
    _remove(destination, *_BESIDE)
    sync_folder(destination)
    os.replace(partial, destination)
    sync_folder(destination)


def _agree(path: str) -> None:
    """Make the high-water record say what the store at `path` says."""
    connection = connect(path, _CACHE_KIB)
    try:
        migrate(connection)
        record = HighWater(path)
        try:
            record.check(connection, accept_rollback=True)
        finally:
            record.close()
    finally:
        connection.close()


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
