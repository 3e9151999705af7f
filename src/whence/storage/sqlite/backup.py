"""Backups: a copy of a store in one snapshot, also beside its server, and restoring such a copy.

A copy is one file. It is verified before it gets its name, and the file that it replaces is left alone until then.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec

from whence.durable_files import sync_file, sync_folder
from whence.errors import RolledBack, StoreRefused, Unsound
from whence.storage.backends import ReportProgress, Restored
from whence.storage.removals import UNFINISHED_RESTORE, Erased
from whence.storage.seals import EPOCH, EpochReason, EpochRequest, Origin
from whence.storage.sql import load_blocks
from whence.storage.sqlite.connection import (
    BUSY_MS,
    ServingLock,
    close_untouched,
    connect,
    is_of_earlier_release,
    make_folder,
    migrate,
    no_file,
    real_path,
    refuse_changed_schema,
    refusing,
)
from whence.storage.sqlite.erasure_ledger import ErasureLedger
from whence.storage.sqlite.highwater import HighWater, Mark, is_behind, mark_of, recorded_mark
from whence.storage.sqlite.interrupted_removals import decide_removals
from whence.storage.sqlite.signed_record import SignedRecord
from whence.storage.sqlite.verify import verify
from whence.storage.verification import Report
from whence.wire.times import format_time

__all__ = ["backup", "refuse_behind", "restore"]

_SQL = load_blocks("whence.storage.sqlite")
_PAGES_A_STEP = 1_000
_CACHE_KIB = 1_000
_BESIDE = ("-wal", "-shm", "-journal")
"""Files that SQLite keeps beside a database. It would take them for those of the database that replaces it."""


def backup(source: str, destination: str, *, force: bool = False, progress: ReportProgress | None = None) -> Report:
    """Copy the store at the path `source` to `destination`, as of one commit. The copy has this release's schema.

    A server may write to the store meanwhile; its write-ahead log grows until the copy is complete. The copy gets its
    name only if its verification, which is returned, found nothing. Raises StoreRefused for a destination that exists,
    unless `force`, and RolledBack for a store that lacks acknowledged commits.
    """
    source, destination = real_path(source), os.path.realpath(destination)
    _check_paths(source, destination)
    if Path(destination).exists() and not force:
        raise StoreRefused(f"There is a file {destination} already. Name another one, or replace it with --force.")
    with _unserved(destination), _partial(destination) as partial:
        _copy(source, partial)
        _migrate(partial)
        report = verify(partial, progress)
        if report.sound:
            _put_in_place(partial, destination)
            with suppress(FileNotFoundError):
                os.unlink(destination + ".high")  # the record of the file that was replaced
    return report


def restore(
    source: str,
    destination: str,
    *,
    force: bool = False,
    progress: ReportProgress | None = None,
    deleted: Mapping[str, bool] | None = None,
) -> Restored:
    """Replace the store at `destination` by the backup at the path `source`, and update the high-water record.

    Sessions end. Keys that were revoked in the store that is replaced stay revoked. What was erased there may be in the
    backup, and has to be erased again: it is part of the result. Until that is done, the store has a mark and is not
    served; see `whence.erasing_again`. A backup of an earlier release is migrated as it is copied, and verified then.
    Raises StoreRefused while a server serves the store, for a store that exists, unless `force`, for a damaged ledger
    of erasures, and for one that does not say how the deletion of a tenant ended, unless the store that is replaced or
    `deleted` says it.
    """
    source, destination = real_path(source), real_path(destination)
    _check_paths(source, destination)
    if Path(destination).exists() and not force:
        raise StoreRefused(
            f"There is a store at {destination} already. To replace it with the backup, add --force. To keep it, name "
            "another place with --store."
        )
    if _is_no_database(source):
        return Restored(verify(source, progress))  # before anything is made at the destination
    make_folder(destination)
    lock = ServingLock(destination)
    try:
        erased = _erased_before(destination, deleted or {})
        report = None if _is_of_earlier_release(source) else verify(source, progress)
        if report is not None and not report.sound:
            return Restored(report)
        with _partial(destination) as partial:
            _copy(source, partial)
            if report is None:
                _migrate(partial)
                report = verify(partial, progress)
                if not report.sound:
                    return Restored(report)
            revoked = _carry_over(partial, destination)
            epochs = _end_epochs(partial, destination)
            if erased:
                _mark_unfinished(partial)
            _put_in_place(partial, destination)
        _update_record(destination)
        return Restored(report, revoked, epochs, tuple(erased))
    finally:
        lock.release()


def _check_paths(source: str, destination: str) -> None:
    if not Path(source).is_file():
        raise StoreRefused(no_file(source))
    if Path(destination).exists() and os.path.samefile(source, destination):
        raise StoreRefused("A store cannot be copied onto itself. Name another file.")


def _erased_before(destination: str, deleted: Mapping[str, bool]) -> list[Erased]:
    """What the ledger of a store says that was erased. Raises StoreRefused as `restore`."""
    ledger = ErasureLedger(destination)
    if ledger.undecided() and Path(destination).exists():
        _decide_by_replaced(destination)
    undecided = ledger.undecided()
    for intent in undecided:
        if intent.deleted_at is not None and intent.tenant not in deleted:
            at = format_time(intent.deleted_at)
            raise StoreRefused(
                f"The deletion of the tenant {intent.tenant} was begun at {at}, and nothing says whether it was done. "
                f"If it was, add --deleted {intent.tenant}, and it is deleted again. If it was not, add --not-deleted "
                f"{intent.tenant}. Nothing was changed."
            )
    # An erasure counts as done: the server that takes a hold decides first what came before it.
    ledger.end([(intent, intent.deleted_at is None or deleted[intent.tenant]) for intent in undecided])
    return ledger.read()


def _decide_by_replaced(path: str) -> None:
    """Let the store that is replaced say how removals ended, if it has all that it acknowledged."""
    recorded = recorded_mark(path)
    with suppress(apsw.Error, RolledBack):  # it may be damaged
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            _refuse_behind(connection, recorded)
            decide_removals(path, connection)
        finally:
            close_untouched(connection)


@contextmanager
def _unserved(path: str) -> Iterator[None]:
    """Hold the serving lock of a file that is replaced, if a server ever served it."""
    lock = ServingLock(path) if Path(path + ".lock").exists() else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def _partial(destination: str) -> Iterator[str]:
    """The path of a new file beside the destination. It is removed at the end, unless it was renamed."""
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
    """Copy one snapshot of the source, with its write-ahead log, page by page. Durable on return."""
    recorded = recorded_mark(source)  # before the snapshot, since a server may commit in between
    with refusing(source):
        reading = apsw.Connection(source, flags=apsw.SQLITE_OPEN_READWRITE)
        writing = apsw.Connection(partial)
        try:
            reading.set_busy_timeout(BUSY_MS)
            reading.execute("BEGIN")
            _refuse_behind(reading, recorded)  # the first read, which starts the snapshot
            writing.execute("PRAGMA synchronous = OFF").fetchall()  # synced as a whole below
            with writing.backup("main", reading, "main") as copying:
                while not copying.done:
                    copying.step(_PAGES_A_STEP)
            writing.execute("PRAGMA journal_mode = DELETE").fetchall()  # a single file
        finally:
            writing.close()
            close_untouched(reading)
    sync_file(partial)


def _is_of_earlier_release(path: str) -> bool:
    with refusing(path):
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            return is_of_earlier_release(connection)
        except apsw.Error:
            return False  # what cannot be read is a finding of the verification
        finally:
            close_untouched(connection)


def _is_no_database(path: str) -> bool:
    with refusing(path):
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            connection.pragma("schema_version")
        except apsw.NotADBError:
            return True
        except apsw.Error:
            return False  # as above
        finally:
            close_untouched(connection)
    return False


def _migrate(partial: str) -> None:
    """Migrate a copy of a store of an earlier release, and leave any other as it is. Durable on return."""
    with refusing(partial):
        copy = apsw.Connection(partial)
        try:
            if not is_of_earlier_release(copy):
                return
            migrate(copy)
        finally:
            close_untouched(copy)
    sync_file(partial)


def refuse_behind(path: str) -> None:
    """Raise RolledBack if the store at `path` lacks acknowledged commits, and StoreRefused if there is none."""
    path = real_path(path)
    if not Path(path).is_file():
        raise StoreRefused(no_file(path))
    recorded = recorded_mark(path)  # before the database is read, as above
    with refusing(path):
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
    """Delete the sessions of a copy, and revoke the keys that are revoked in the store that it replaces. The holds and
    the policies of retention of that store hold on."""
    revoked: int | None = None
    copy = apsw.Connection(partial)
    try:
        refuse_changed_schema(copy)  # the source may have changed since it was verified
        copy.execute("PRAGMA secure_delete = ON").fetchall()
        copy.execute(_SQL["delete_all_sessions"])
        if Path(replaced).exists():
            with suppress(apsw.Error):  # the file that is replaced may be damaged
                copy.execute("ATTACH ? AS replaced", (replaced,))
                copy.execute(_SQL["carry_over_revocations"])
                revoked = copy.changes()
                copy.execute(_SQL["carry_over_holds"])
    finally:
        close_untouched(copy)
    sync_file(partial)
    return revoked


def _end_epochs(partial: str, replaced: str) -> int:
    """Ask for a new epoch of each log that was signed beyond what the copy has of it. Returns how many these are."""
    try:
        signed = SignedRecord(replaced).all()
    except Unsound:
        return 0  # nothing is signed with a damaged record, and the server says so
    copy = apsw.Connection(partial)
    try:
        rows: list[Any] = copy.execute(_SQL["last_origins"]).fetchall()
        lost = []
        for tenant, size, epoch, name in rows:
            last, later = signed.get(name), Origin(epoch, name, "").named(epoch + 1)
            if later in signed or (last is not None and last.size > size):
                lost.append((tenant, epoch, name))
        for tenant, epoch, name in lost:
            asked = EpochRequest(
                ended=name,
                reason=EpochReason.RESTORED,
                actor_type="system",
                actor_id="whence",
                requested_at=time.time_ns() // 1_000,
            )
            body = msgspec.json.encode(asked)
            copy.execute(_SQL["add_definition"], (EPOCH, tenant, str(epoch + 1), 1, body))
    finally:
        close_untouched(copy)
    sync_file(partial)
    return len(lost)


def _mark_unfinished(partial: str) -> None:
    """Mark a copy as one that must not be served yet. Durable on return."""
    copy = apsw.Connection(partial)
    try:
        copy.execute(_SQL["add_definition"], (UNFINISHED_RESTORE, "", UNFINISHED_RESTORE, 1, b"{}"))
    finally:
        close_untouched(copy)
    sync_file(partial)


def _put_in_place(partial: str, destination: str) -> None:
    """Give a copy its name, durably. After a power loss in between, the record refuses the store."""
    _remove(destination, *_BESIDE)
    sync_folder(destination)
    os.replace(partial, destination)
    sync_folder(destination)


def _update_record(path: str) -> None:
    """Set the high-water record to the mark of the store at `path`."""
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
