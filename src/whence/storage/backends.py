"""Storage engines: the registry of them, and what an engine can do besides the operations of `Store`.

To add an engine, write a package whose module `backend` holds a `BACKEND`, and enter the package in `ENGINES`.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol

import msgspec

from whence.errors import StoreRefused
from whence.storage.base import Store
from whence.storage.removals import Erased
from whence.storage.verification import Report

__all__ = [
    "ENGINES",
    "Backend",
    "Engine",
    "ReportProgress",
    "Restored",
    "SharedStores",
    "StoreOptions",
    "backend_for",
    "engine_of",
]

ReportProgress = Callable[[int], None]
"""Called now and then with the number of events that were read so far."""


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a store is created; see `create_store`. An engine ignores the options that have no meaning for it."""

    serving: bool = True
    importing: bool = False
    accept_rollback: bool = False
    unsafe_durability: bool = False
    pooler: bool = False
    listen_url: str | None = None
    restoring: bool = False


class Restored(msgspec.Struct, frozen=True):
    """The result of a restore: the check of the backup, how many keys stay revoked, how many logs get a new epoch, and
    what was erased in the store before, which has to be erased again.

    `revoked` counts the keys that are valid in the backup but were revoked in the replaced store. It is None when
    there was no readable store to replace. `epochs` counts the logs that were signed with more events than the backup
    has.
    """

    report: Report
    revoked: int | None = None
    epochs: int = 0
    erased: tuple[Erased, ...] = ()


class SharedStores(Protocol):
    """A store that the forked processes of one server share. It is made before they are, and has no connection.

    With `has_writer`, one process writes for all of them.
    """

    has_writer: bool

    async def check_servable(self) -> None:
        """As `Store.check_servable`."""
        ...

    def open_writer(self, *, again: bool) -> Store:
        """The store of the process that writes; `again` when it replaces one that ended. Raises StoreRefused."""
        ...

    async def serve_writer(
        self, store: Store, listener: socket.socket, ready: Callable[[], None], ended: asyncio.Event
    ) -> None:
        """Write for the processes that connect, until `ended` and they have gone. Calls `ready` once they can."""
        ...

    def open_store(self, writer: str) -> Store:
        """The store of a process that reads. `writer` is the path of the socket of the one that writes."""
        ...

    def close(self, error: BaseException | None = None) -> None:
        """Let go of the store, after all processes have ended, because of an error or not."""
        ...


class Backend(Protocol):
    """What the server and the commands need from an engine before, or instead of, a `Store`."""

    def create_store(self, url: str, options: StoreOptions) -> Store:
        """The store at `url`. Raises StoreRefused."""
        ...

    def share(self, url: str, options: StoreOptions, processes: int) -> SharedStores:
        """The store at `url`, for so many processes that read it. Raises StoreRefused."""
        ...

    def creates_log(self, url: str) -> bool:
        """Whether `create_store` would make a new, empty log, because there is none at `url`."""
        ...

    async def migrate(self, url: str) -> list[str]:
        """Make the log, or update its schema. Returns the names of the steps taken. Raises StoreRefused."""
        ...

    async def verify(self, url: str, progress: ReportProgress | None, *, pooler: bool) -> Report:
        """Check every event, hash and count, in a read-only way and beside running servers.

        Raises StoreRefused when there is no readable log, and Unavailable.
        """
        ...

    def secret_path(self, url: str) -> tuple[Path, bool]:
        """The file for the secret of the store at `url`, and whether every server of the store finds it there."""
        ...

    def check_complete(self, url: str) -> None:
        """Raise RolledBack when the log lacks events that it acknowledged, and StoreRefused when there is no log."""
        ...

    def backup(self, url: str, destination: str, *, force: bool, progress: ReportProgress | None) -> Report:
        """Copy the log into a file, which is kept only if the returned check is sound. `force` replaces a file.

        Raises StoreRefused and RolledBack, and Invalid when the engine leaves backups to other tools.
        """
        ...

    def restore(
        self,
        url: str,
        source: str,
        *,
        force: bool,
        progress: ReportProgress | None,
        deleted: Mapping[str, bool] | None = None,
    ) -> Restored:
        """Replace the log with a backup, if the check of the backup is sound. `force` replaces an existing log.
        `deleted` says whether tenants of these names were deleted, where nothing else says how a deletion ended.

        Raises StoreRefused, also while a server has the log, and Invalid as `backup`.
        """
        ...


class Engine(msgspec.Struct, frozen=True):
    """An entry of the registry: the URLs that name the engine, and where its backend is.

    `driver` is a package that only some installations have, and `extra` the extra of this package that installs it.
    """

    name: str
    url_prefix: str
    url_example: str
    module: str
    driver: str = ""
    extra: str = ""

    def matches(self, url: str) -> bool:
        """Whether `url` names a store of this engine."""
        return url.startswith(self.url_prefix) and url != self.url_prefix


ENGINES = (
    Engine("SQLite", "sqlite:///", "sqlite:///path/to/file.db", "whence.storage.sqlite.backend"),
    Engine(
        "PostgreSQL",
        "postgresql://",
        "postgresql://user@host:5432/database",
        "whence.storage.postgres.backend",
        driver="asyncpg",
        extra="postgres",
    ),
)
"""All engines."""


def engine_of(url: str) -> Engine:
    """The engine that `url` names. Raises StoreRefused when there is none."""
    for engine in ENGINES:
        if engine.matches(url):
            return engine
    examples = " or ".join(engine.url_example for engine in ENGINES)
    raise StoreRefused(f"The URL of a store must look like {examples}.")


def backend_for(url: str) -> Backend:
    """The backend for `url`. Raises StoreRefused when no engine matches, or its driver is not installed."""
    engine = engine_of(url)
    try:
        backend: Backend = import_module(engine.module).BACKEND
    except ModuleNotFoundError as error:
        if not engine.driver or error.name != engine.driver:
            raise
        raise StoreRefused(
            f"{engine.name} needs the package {engine.driver}. Run: pip install 'whence[server,{engine.extra}]'"
        ) from None
    return backend
