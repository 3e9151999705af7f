"""Where a log is kept. `open_store` is the one way in."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from whence.errors import StoreRefused
from whence.storage.base import HashedEvent, Head, Receipt, Store, Write
from whence.storage.credentials import Credentials, Session
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.verify import verify as verify_file
from whence.storage.verification import Report

__all__ = [
    "Credentials",
    "HashedEvent",
    "Head",
    "Receipt",
    "Session",
    "Store",
    "Write",
    "is_postgres",
    "migrate_store",
    "open_store",
    "sqlite_path",
    "verify_store",
]


def open_store(
    url: str,
    *,
    serving: bool = True,
    importing: bool = False,
    accept_rollback: bool = False,
    unsafe_durability: bool = False,
    pooler: bool = False,
    listen_url: str | None = None,
) -> Store:
    """Open the store at `url`. A SQLite file is made when it is not there; a PostgreSQL log is made by `migrate_store`.

    `sqlite:///relative/or//absolute/path` names a SQLite file. One process at a time may open a file for `serving`,
    which is what `append` needs; with `serving=False` the file is opened beside it, for keys and for reading.
    Only a store that is opened for `importing` takes the exact events of another one.
    A store that has lost what it acknowledged is refused, unless `accept_rollback` takes it as it is.

    `postgresql://user@host:5432/database` names a PostgreSQL database, which any number of processes may open. It is
    connected to when it is first used, and looked at by `open`: a server whose settings could lose what was
    acknowledged is refused unless `unsafe_durability` takes it. `pooler`, or `?pooler=1` in the URL, says that a pooler
    in transaction mode stands before it. `listen_url` leads to the same database past the pooler, for wake-ups.

    Raises StoreRefused, with a sentence that says what to do, when the store must not be opened.
    """
    if is_postgres(url):
        store: Store = _postgres("engine").PostgresStore(
            url, pooler=pooler, importing=importing, unsafe_durability=unsafe_durability, listen_url=listen_url
        )
        return store
    return SQLiteStore(sqlite_path(url), serving=serving, importing=importing, accept_rollback=accept_rollback)


def sqlite_path(url: str) -> str:
    """The path of the SQLite file that `url` names. Raises StoreRefused for any other URL."""
    scheme, separator, path = url.partition(":///")
    if not separator or scheme != "sqlite" or not path:
        raise StoreRefused(
            "A SQLite store is named by a URL such as sqlite:///whence.db or sqlite:////var/lib/whence.db, and one on "
            "PostgreSQL by one such as postgresql://user@host/database."
        )
    return path


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL database."""
    return url.startswith("postgresql://")


async def migrate_store(url: str) -> list[str]:
    """Make the log in a PostgreSQL database, or bring it to this release's schema; the names of the steps taken.

    Raises StoreRefused, also for a SQLite file: that is brought up to date whenever it is opened.
    """
    if not is_postgres(url):
        raise StoreRefused("A SQLite file is migrated whenever it is opened. There is nothing to do.")
    taken: list[str] = await _postgres("schema").migrate(_postgres("connections").Target(url))
    return taken


async def verify_store(url: str, progress: Callable[[int], None] | None = None, *, pooler: bool = False) -> Report:
    """Check every event of a store against its hash, the hashes against the tree, and every count; reads only, and may
    run beside its servers. `progress` is told how many events were read, now and then.

    Raises StoreRefused when there is no readable log, and Unavailable.
    """
    if not is_postgres(url):
        return verify_file(sqlite_path(url), progress)
    target = _postgres("connections").Target(url, pooler=pooler)
    report: Report = await _postgres("verify").verify(target, progress)
    return report


def _postgres(module: str) -> Any:
    """A module of the PostgreSQL store. Raises StoreRefused when its driver is not installed."""
    try:
        return import_module(f"whence.storage.postgres.{module}")
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise StoreRefused("PostgreSQL needs the package asyncpg. Run: pip install 'whence[server,postgres]'") from None
