"""Opening a file: the SQLite version, the settings, the schema, and the lock of the process that serves it."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from whence.durable_files import sync_folder
from whence.errors import StoreRefused, Unsound
from whence.storage.migrations import Migration, load_migrations
from whence.storage.removals import UNFINISHED_RESTORE
from whence.storage.schema_difference import SchemaDifference
from whence.storage.sql import load_blocks
from whence.storage.sqlite.schema import compare_schema

__all__ = [
    "BUSY_MS",
    "ServingLock",
    "close_untouched",
    "connect",
    "is_of_earlier_release",
    "is_unfinished",
    "make_folder",
    "migrate",
    "no_file",
    "real_path",
    "reason_of",
    "refuse_changed_schema",
    "refuse_unfinished",
    "refuse_unsafe_sqlite",
    "refusing",
    "schema_difference",
    "unusable",
]

_SQL = load_blocks("whence.storage.sqlite")

APPLICATION_ID = 0x57484E43
"""Marks the file as a Whence log ("WHNC"), in the header that `file(1)` reads."""

# Two connections that write and checkpoint one WAL file at once can corrupt it, from 3.7.0 on.
# Source: https://sqlite.org/wal.html#walresetbug
_UNSAFE_TO = 3_051_002
_FIXED_BACKPORTS = (3_050_007, 3_044_006)

BUSY_MS = 5_000
"""How long a connection waits while another process writes."""


def refuse_unsafe_sqlite(version: int) -> None:
    """Raise StoreRefused for a version of SQLite (3051003 is 3.51.3) that can corrupt a log."""
    if version <= _UNSAFE_TO and version not in _FIXED_BACKPORTS:
        raise StoreRefused(
            "This SQLite library can corrupt a write-ahead log; 3.51.3 or later is needed. Upgrade the apsw package."
        )


def real_path(path: str) -> str:
    """The path of the file that `path` leads to through symbolic links. The files beside it are named after this path.

    Raises StoreRefused for a folder, and for a file with several hard links, since SQLite keeps another write-ahead log
    beside each name.
    """
    real = os.path.realpath(path)
    try:
        found = os.stat(real)
    except NotADirectoryError:
        raise StoreRefused(f"There can be no SQLite file {real}: a part of its path is a file and no folder.") from None
    except OSError:
        return real  # opening the file reports it
    if stat.S_ISDIR(found.st_mode):
        raise StoreRefused(f"{real} is a folder. Name the SQLite file.")
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise StoreRefused(
            f"The SQLite file {real} has {found.st_nlink} names (hard links), and its write-ahead log belongs to "
            "one of them. Remove the other names, or copy the file while no server runs and use the copy."
        )
    return real


class ServingLock:
    """Locks that the process serving a database holds. The system releases them when the process ends.

    One is on a file beside the database. The other is on the database itself, which may also be reached by a path
    that `real_path` cannot resolve, like a bind mount. Closing any descriptor of the database drops this process's
    POSIX locks on it, which are SQLite's. So take the locks before SQLite opens the file, and release them after it has
    closed it. The first lock keeps a second server of the same process from opening the database at all.
    """

    def __init__(self, path: str, *, create: bool = False) -> None:
        """Lock the file at a path from `real_path`, which `create` makes if it does not exist.

        Raises StoreRefused when another process serves the file.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._beside = path + ".lock"
        self._is_new = not os.path.exists(self._beside)
        self._fds = [os.open(self._beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)]
        try:
            fcntl.flock(self._fds[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError, PermissionError):  # SQLite reports the latter
                self._fds.append(os.open(path, flags, 0o600))
                _lock_database(self._fds[1])
        except OSError:
            self.release()
            raise StoreRefused(
                "Another process serves this SQLite file, and a file has one server. Stop that one, "
                "or use another --store."
            ) from None

    def give_up(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Release the locks when the file could not be opened. A file that is no database gets no new one beside it."""
        if self._is_new and isinstance(error, Unsound | apsw.NotADBError):
            os.unlink(self._beside)
        self.release()

    def release(self) -> None:
        """Let another process serve the file."""
        for fd in reversed(self._fds):
            os.close(fd)


def _lock_database(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError):
            raise
        # Some network file systems refuse it on a read-only descriptor, and the lock beside the file remains.


@contextmanager
def refusing(path: str) -> Iterator[None]:
    """Translate errors of SQLite, while the file at `path` is opened, to StoreRefused; Unsound if it is no database.

    A log whose first page is damaged looks like a file of something else.
    """
    try:
        yield
    except apsw.BusyError as error:
        raise StoreRefused(f"Another process keeps the SQLite file {path} busy. Try again in a moment.") from error
    except apsw.NotADBError as error:
        raise Unsound(unusable(path, error)) from error
    except apsw.Error as error:
        raise StoreRefused(unusable(path, error)) from error


_REASONS: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.NotADBError, "it is no SQLite database, or its first page is damaged"),
    (apsw.CorruptError, "it is damaged. 'whence verify' finds what is, and 'whence restore' replaces it with a backup"),
    (apsw.CantOpenError, "it cannot be opened. Check that it is a file, and that this user may read and write it"),
    (apsw.ReadOnlyError, "this user may not write to it"),
    (apsw.PermissionsError, "this user may not access it"),
    (apsw.FullError, "the disk is full"),
    (apsw.IOError, "the disk reports an error"),
    (apsw.BusyError, "another process keeps it busy"),
    (apsw.LockedError, "another process keeps it busy"),
    (apsw.NoMemError, "there is not enough memory"),
)


def reason_of(error: apsw.Error) -> str:
    """Why SQLite failed, as the rest of a sentence."""
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), None)
    return reason or "SQLite reports an error. 'whence verify' looks for damage"


def unusable(path: str, error: apsw.Error) -> str:
    """The sentence for a file that SQLite cannot use."""
    return f"The SQLite file {path} cannot be used: {reason_of(error)}."


def no_file(path: str) -> str:
    """The sentence for a path that has no file."""
    return f"There is no SQLite file {path}. Check the path."


def make_folder(path: str) -> None:
    """Create the folder of the file at `path`, readable by its owner only, and sync it."""
    folder = Path(path).absolute().parent
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    for above in reversed(missing):
        above.mkdir(mode=0o700, exist_ok=True)
        sync_folder(str(above))


def connect(path: str, cache_kib: int) -> apsw.Connection:
    """A connection with the settings of a store. A missing file is created, readable by its owner only."""
    major, minor, patch = map(int, apsw.sqlite_lib_version().split("."))
    refuse_unsafe_sqlite(major * 1_000_000 + minor * 1_000 + patch)
    if not Path(path).exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with refusing(path):
        connection = apsw.Connection(path, statementcachesize=200)
        connection.set_busy_timeout(BUSY_MS)
        if connection.pragma("page_count") == 0:  # later they have no effect, and each is a commit
            # About five events fit into a page of 4 KiB, and an eighth of it would stay empty.
            connection.execute("PRAGMA page_size = 8192").fetchall()
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",  # NORMAL loses acknowledged events in a power loss
            "secure_delete = ON",  # erased bytes are overwritten
            "mmap_size = 0",  # an I/O error under mmap is a signal, not an error
            "temp_store = MEMORY",
            f"cache_size = -{cache_kib}",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def close_untouched(connection: apsw.Connection) -> None:
    """Close without a checkpoint: what comes after a damaged part of the write-ahead log may still be recovered."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()


def schema_difference(connection: apsw.Connection) -> SchemaDifference:
    """How a file's schema differs from the one that this release makes for the file's version."""
    version = int(connection.pragma("user_version") or 0)
    return compare_schema(connection, load_migrations("whence.storage.sqlite")[:version])


def refuse_changed_schema(connection: apsw.Connection) -> None:
    """Raise StoreRefused for a file with triggers, tables or other objects that this release does not make."""
    _refuse_difference(schema_difference(connection))


def _refuse_difference(difference: SchemaDifference) -> None:
    if difference.faults:
        raise StoreRefused(
            f"The file's schema is not the one that Whence makes: {difference.named()}. Such objects can change what "
            "is stored and what keys may do. Restore a backup from before they were added, or examine the file and "
            "remove them."
        )


def is_unfinished(connection: apsw.Connection) -> bool:
    """Whether the file was restored, and still has to lose again what was erased before."""
    return connection.execute(_SQL["definition"], (UNFINISHED_RESTORE, "", UNFINISHED_RESTORE)).fetchone() is not None


def refuse_unfinished(connection: apsw.Connection) -> None:
    """Raise StoreRefused for a file whose restore was not finished."""
    if is_unfinished(connection):
        raise StoreRefused(
            "The restore of this store was interrupted, so it may have what was erased before. Run the same 'whence "
            "restore' again, with --force."
        )


def is_of_earlier_release(connection: apsw.Connection) -> bool:
    """Whether a file holds a log whose schema lacks migrations of this release."""
    version = int(connection.pragma("user_version") or 0)
    own = int(connection.pragma("application_id") or 0) == APPLICATION_ID
    return own and version < len(load_migrations("whence.storage.sqlite"))


def migrate(connection: apsw.Connection, migrations: tuple[Migration, ...] | None = None) -> None:
    """Migrate the schema to this release's version, all steps in one transaction.

    Raises StoreRefused for a file of something else, and for a schema that a later release made.
    """
    steps = load_migrations("whence.storage.sqlite") if migrations is None else migrations
    connection.execute("BEGIN IMMEDIATE")  # two processes must not run the same step
    try:
        version = int(connection.pragma("user_version") or 0)
        application = int(connection.pragma("application_id") or 0)
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        if application != APPLICATION_ID and (version or tables):
            raise StoreRefused("This SQLite file belongs to another program. Name another file with --store.")
        if version > len(steps):
            raise StoreRefused("A later release of Whence made this store. Start that release, or restore a backup.")
        _refuse_difference(compare_schema(connection, steps[:version]))  # before anything of it can run
        for step in steps[version:]:
            connection.execute(step.sql)
            connection.execute(f"PRAGMA user_version = {step.number}")
        if application != APPLICATION_ID:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
