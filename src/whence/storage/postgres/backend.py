"""PostgreSQL as a storage engine: an operator migrates the database, and backs it up with the tools of PostgreSQL."""

import asyncio
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from whence.errors import Invalid
from whence.storage.backends import Backend, ReportProgress, Restored, SharedStores, StoreOptions
from whence.storage.base import Store
from whence.storage.postgres.connections import Target
from whence.storage.postgres.engine import READERS, WRITERS, PostgresStore
from whence.storage.postgres.schema import migrate
from whence.storage.postgres.verify import verify
from whence.storage.verification import Report

__all__ = ["BACKEND"]


class _SharedDatabase:
    """A database that several processes serve, each with its part of the connections; see `SharedStores`."""

    has_writer = False

    def __init__(self, url: str, options: StoreOptions, processes: int) -> None:
        self._url = url
        self._options = options
        self._processes = processes

    async def check_servable(self) -> None:
        """Check the server and the schema."""
        await _create_store(self._url, self._options).check_servable()

    def open_writer(self, *, again: bool) -> Store:
        """Never called: every process writes."""
        raise NotImplementedError

    async def serve_writer(
        self, store: Store, listener: socket.socket, ready: Callable[[], None], ended: asyncio.Event
    ) -> None:
        """Never called: every process writes."""
        raise NotImplementedError

    def open_store(self, writer: str) -> Store:
        """Create a store, which connects on first use."""
        readers, writers = (max(2, -(-each // self._processes)) for each in (READERS, WRITERS))
        return _create_store(self._url, self._options, readers=readers, writers=writers)

    def close(self, error: BaseException | None = None) -> None:
        """Do nothing: there is no connection."""


class _PostgresBackend:
    """See `Backend` for what the methods do."""

    def create_store(self, url: str, options: StoreOptions) -> Store:
        """Create the store without a connection."""
        return _create_store(url, options)

    def share(self, url: str, options: StoreOptions, processes: int) -> SharedStores:
        """Divide the connections."""
        return _SharedDatabase(url, options, processes)

    def creates_log(self, url: str) -> bool:
        """Never: only `migrate` makes a log."""
        return False

    async def migrate(self, url: str) -> list[str]:
        """Connect directly to the server and run the missing steps in one transaction."""
        return await migrate(Target(url))

    async def verify(self, url: str, progress: ReportProgress | None, *, pooler: bool) -> Report:
        """Check the log tenant by tenant, each in one snapshot."""
        return await verify(Target(url, pooler=pooler), progress)

    def secret_path(self, url: str) -> tuple[Path, bool]:
        """In the user's data directory, named by host, port and database. Servers elsewhere do not find it there."""
        place = urlsplit(url)
        named = "-".join((place.hostname or "local", str(place.port or 5432), place.path.strip("/") or "default"))
        folder = Path(platformdirs.user_data_dir("whence", appauthor=False))
        return folder / "secrets" / (re.sub(r"[^A-Za-z0-9._-]", "_", named) + ".secret"), False

    def check_complete(self, url: str) -> None:
        """Trust the server: it has no record of what it acknowledged besides its own WAL."""

    def backup(self, url: str, destination: str, *, force: bool, progress: ReportProgress | None) -> Report:
        """Refuse, and name the tools to use."""
        raise _other_tools()

    def restore(
        self,
        url: str,
        source: str,
        *,
        force: bool,
        progress: ReportProgress | None,
        deleted: Mapping[str, bool] | None = None,
    ) -> Restored:
        """Refuse, and name the tools to use."""
        raise _other_tools()


def _create_store(url: str, options: StoreOptions, *, readers: int = READERS, writers: int = WRITERS) -> Store:
    return PostgresStore(
        url,
        pooler=options.pooler,
        importing=options.importing,
        unsafe_durability=options.unsafe_durability,
        serving=options.serving,
        listen_url=options.listen_url,
        readers=readers,
        writers=writers,
    )


def _other_tools() -> Invalid:
    return Invalid.at((), "This command is for SQLite files. Use pg_dump and pg_restore for a log on PostgreSQL.")


BACKEND: Backend = _PostgresBackend()
