"""Where a log is kept. The URL of a store chooses its engine; `create_store` returns the store."""

from whence.storage.backends import ReportProgress, StoreOptions, backend_for
from whence.storage.base import HashedEvent, Head, Receipt, Store, Write
from whence.storage.credentials import Credentials, Session
from whence.storage.verification import Report

__all__ = [
    "Credentials",
    "HashedEvent",
    "Head",
    "Receipt",
    "Session",
    "Store",
    "Write",
    "backend_for",
    "create_store",
    "migrate_store",
    "verify_store",
]


def create_store(
    url: str,
    *,
    serving: bool = True,
    importing: bool = False,
    accept_rollback: bool = False,
    unsafe_durability: bool = False,
    pooler: bool = False,
    listen_url: str | None = None,
    restoring: bool = False,
) -> Store:
    """The store at `url`.

    `sqlite:///relative/or//absolute/path` names a SQLite file. The file is opened here, and created if it does not
    exist. Only one process at a time may have it open for `serving`, which `append` requires. With `serving=False`,
    other processes may open it too, for keys and for reading. A file that has lost acknowledged events is refused,
    unless `accept_rollback` is set.

    `postgresql://user@host:5432/database` names a PostgreSQL database, which any number of processes may serve. Its
    log is made by `migrate_store`. The store connects on first use. A server whose settings could lose acknowledged
    events is refused, unless `unsafe_durability` is set. `pooler`, or `?pooler=1` in the URL, says that connections go
    through a pooler in transaction mode. `listen_url` is then the URL of the same database without the pooler.

    Only a store created with `importing` accepts the exact events of another store. A store whose restore was not
    finished is refused, unless it is opened with `restoring`, to finish that.

    Raises StoreRefused, with a sentence that says what to do.
    """
    options = StoreOptions(
        serving=serving,
        importing=importing,
        accept_rollback=accept_rollback,
        unsafe_durability=unsafe_durability,
        pooler=pooler,
        listen_url=listen_url,
        restoring=restoring,
    )
    return backend_for(url).create_store(url, options)


async def migrate_store(url: str) -> list[str]:
    """Make the log in a database, or update its schema to this release. Returns the names of the steps taken.

    Raises StoreRefused, also for a SQLite file, which is migrated whenever it is opened.
    """
    return await backend_for(url).migrate(url)


async def verify_store(url: str, progress: ReportProgress | None = None, *, pooler: bool = False) -> Report:
    """Check every event against its hash, the hashes against the tree, and every count. Only reads.

    Servers of the store may keep running. Raises StoreRefused when there is no readable log, and Unavailable.
    """
    return await backend_for(url).verify(url, progress, pooler=pooler)
