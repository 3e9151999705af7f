"""One SQLite file for the several processes of a server: each reads the file itself, and one of them writes it.

supervisor   SharedFile       holds the lock of the file, and no connection
writer       SQLiteStore      the file is open for writing here alone; WriterService answers the others
acceptor     SharedStore      reads on connections of its own; everything that is stored is a call of the writer
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

import msgspec

from whence.errors import StoreRefused, Unavailable, WhenceError
from whence.permissions import ApiKey
from whence.storage.base import HashedEvent, Head, Receipt, Store, Write
from whence.storage.credentials import Session
from whence.storage.deletions import TenantDeletion
from whence.storage.followers import Attempt, Definition, Delivery, DeliveryFilter, Place
from whence.storage.removals import Erased, HoldVersion, Purge
from whence.storage.seals import NewCheckpoint, Origin, TileRow
from whence.storage.sqlite.connection import (
    ServingLock,
    close_untouched,
    connect,
    make_folder,
    migrate,
    real_path,
    refuse_unfinished,
    refusing,
)
from whence.storage.sqlite.credentials import Read, SQLiteCredentials
from whence.storage.sqlite.deletions import SQLiteDeletions
from whence.storage.sqlite.engine import READER_CACHE_KIB, SQLiteReads, SQLiteStore
from whence.storage.sqlite.followers import SQLiteFollowers
from whence.storage.sqlite.loop_writer import LoopWriter
from whence.storage.sqlite.payload_index import SQLitePayloadIndex
from whence.storage.sqlite.seals import SQLiteSeals
from whence.storage.sqlite.signed_record import SignedRecord
from whence.storage.sqlite.writer_client import WriterClient
from whence.storage.sqlite.writer_service import WriterService

__all__ = ["SharedFile", "SharedStore"]

_READERS = 3
"""Connections of a process for reading: one for the event loop, the others for threads. Several processes have them."""

_DRAIN_S = 0.8
"""How long the process that writes waits for the others to go, which have a little less time."""

_WRITER_READERS = 2
"""The process that writes reads only to check itself and to count keys."""


class SharedFile:
    """The file, as the supervisor holds it; see `SharedStores` for what its methods do.

    The lock belongs to an open file, which the forked processes share. So it lasts until the last of them has ended.
    """

    has_writer = True

    def __init__(self, path: str, *, accept_rollback: bool) -> None:
        """Lock the file, which is created if it does not exist. Raises StoreRefused."""
        self._path = real_path(path)
        self._accept_rollback = accept_rollback
        with refusing(self._path):
            make_folder(self._path)
            self._lock = ServingLock(self._path, create=True)

    async def check_servable(self) -> None:
        """Migrate the file, so that one that cannot be served is refused before anything else is made."""
        with refusing(self._path):
            connection = connect(self._path, READER_CACHE_KIB)
            try:
                migrate(connection)
                refuse_unfinished(connection)
            finally:
                close_untouched(connection)

    def open_writer(self, *, again: bool) -> SQLiteStore:
        """Open the file for writing. A loss is accepted only when the server starts, and not `again`."""
        accept_rollback = self._accept_rollback and not again
        return SQLiteStore(
            self._path, accept_rollback=accept_rollback, readers=_WRITER_READERS, lock=self._lock, writer=LoopWriter
        )

    async def serve_writer(
        self, store: Store, listener: socket.socket, ready: Callable[[], None], ended: asyncio.Event
    ) -> None:
        """Answer the calls of the other processes."""
        service = WriterService(store)
        await service.start(listener)
        ready()
        await ended.wait()
        await service.drain(_DRAIN_S)

    def open_store(self, writer: str) -> "SharedStore":
        """Open the file for reading."""
        return SharedStore(self._path, writer)

    def close(self, error: BaseException | None = None) -> None:
        """Release the lock. A file beside what turned out to be no log is removed."""
        self._lock.give_up(None, error, None)


class SharedStore(SQLiteReads):
    """The store of a process that reads the file itself and lets another process write; see `Store`."""

    _write_check_s = 0.0  # the writer is asked every time, and decides itself when to write

    def __init__(self, path: str, writer_path: str, readers: int = _READERS) -> None:
        """Open the file, which the writer has migrated. Raises StoreRefused."""
        with refusing(path):
            super().__init__(path, [connect(path, READER_CACHE_KIB) for _ in range(readers)])
        self._client = WriterClient(writer_path, self._wake)
        self.credentials = SharedCredentials(self._readers.read, self._client)
        self.followers = SharedFollowers(self._readers.read, self._client)
        self.payload_index = SharedPayloadIndex(self._readers.read, self._client)
        self.seals = SharedSeals(self._readers.read, self._readers.read_in_thread, SignedRecord(path), self._client)
        self.removals = SharedRemovals(self._client)
        self.deletions = SharedDeletions(path, self._readers.read, self._client)

    def _wake(self, tenants: Sequence[str]) -> None:
        for tenant in tenants:
            self._head_notifier.wake(tenant)

    async def append(self, tenant: str, writes: Sequence[Write]) -> list[list[Receipt] | WhenceError]:
        """Let the writer store requests of one tenant; see `Store`."""
        if not writes:
            return []
        try:
            results = await self._client.append(tenant, writes)
        except WhenceError as error:
            return [error] * len(writes)
        self._head_notifier.wake(tenant)
        return results

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        """Wait for a log to grow, of which the writer says; see `Store`."""
        await self._client.connect()
        return await super().changed(tenant, position, timeout_s)

    async def wait_for_idle_writer(self) -> None:
        """Return at once: the writer does not compute in this process; see `Store`."""

    async def import_log(self, tenant: str, events: Sequence[HashedEvent]) -> None:
        """Refuse: a store that is served does not take the events of another; see `Store`."""
        raise StoreRefused("This store was not opened to be restored.")

    async def import_removed(self, tenant: str, leaves: bytes) -> None:
        """Refuse, as `import_log` does; see `Store`."""
        raise StoreRefused("This store was not opened to be restored.")

    async def import_retained_from(self, tenant: str, head: Head) -> None:
        """Refuse, as `import_log` does; see `Store`."""
        raise StoreRefused("This store was not opened to be restored.")

    async def check_servable(self) -> None:
        """Do nothing: the writer has checked the file; see `Store`."""

    async def _check_writing(self) -> None:
        await self._client.call("check", None)

    async def close(self) -> None:
        """Leave the writer, then close every connection; see `Store`."""
        self._head_notifier.close()
        await self._client.close()
        await asyncio.to_thread(self._readers.close)


class SharedPayloadIndex(SQLitePayloadIndex):
    """The index of payload fields: read from the file, and changed by the writer; see `PayloadIndex`."""

    def __init__(self, read: Read, client: WriterClient) -> None:
        super().__init__(read, _refuse_to_write)
        self._client = client

    async def advance(self, tenant: str, paths: Sequence[str]) -> bool:
        """Take one step."""
        return bool(await self._client.call("index_payloads", tenant, list(paths)))


class SharedCredentials(SQLiteCredentials):
    """Keys and sessions: read from the file, and changed by the writer; see `Credentials`."""

    def __init__(self, read: Read, client: WriterClient) -> None:
        super().__init__(read, _refuse_to_write)
        self._client = client

    async def put_key(self, key: ApiKey, *, limited: bool = False) -> None:
        """Store a new key."""
        await self._client.call("put_key", key, limited)

    async def revoke_key(self, tenant: str, key_id: str, at: int) -> bool:
        """Revoke a key and end its sessions."""
        return bool(await self._client.call("revoke_key", tenant, key_id, at))

    async def touch_keys(self, used: dict[str, int]) -> None:
        """Record when keys were last used."""
        await self._client.call("touch_keys", used)

    async def put_session(self, session: Session) -> None:
        """Store a session and delete the expired ones."""
        await self._client.call("put_session", session)

    async def end_session(self, session_hash: bytes) -> None:
        """Delete a session."""
        await self._client.call("end_session", session_hash)

    async def take_session(self, session_hash: bytes) -> Session | None:
        """Delete a session and return it."""
        taken = await self._client.call("take_session", session_hash)
        return None if taken is None else msgspec.convert(taken, Session)


class SharedFollowers(SQLiteFollowers):
    """What followers keep: read from the file, and changed by the writer; see `Followers`."""

    def __init__(self, read: Read, client: WriterClient) -> None:
        super().__init__(read, _refuse_to_write)
        self._client = client

    async def put_definition(self, definition: Definition) -> bool:
        """Store a new definition, or the next version of one."""
        return bool(await self._client.call("put_definition", definition))

    async def delete_definition(self, tenant: str, kind: str, definition_id: str) -> bool:
        """Delete a definition."""
        return bool(await self._client.call("delete_definition", tenant, kind, definition_id))

    async def save_place(self, tenant: str, place: Place) -> None:
        """Save how far a follower has read."""
        await self._client.call("save_place", tenant, place)

    async def delete_place(self, tenant: str, name: str) -> None:
        """Forget a follower."""
        await self._client.call("delete_place", tenant, name)

    async def add_deliveries(
        self, tenant: str, webhook_id: str, positions: Sequence[int], now: int, place: Place
    ) -> None:
        """Add pending deliveries, and save the place of their follower."""
        await self._client.call("add_deliveries", tenant, webhook_id, list(positions), now, place)

    async def record_attempts(self, tenant: str, attempts: Sequence[tuple[Delivery, Attempt]]) -> None:
        """Record attempts, and what became of their deliveries."""
        await self._client.call("record_attempts", tenant, list(attempts))

    async def retry_deliveries(self, tenant: str, which: DeliveryFilter, now: int, limit: int) -> int | None:
        """Make deliveries pending again."""
        last: int | None = await self._client.call("retry_deliveries", tenant, which, now, limit)
        return last

    async def delete_deliveries(self, tenant: str, webhook_id: str, before: int | None, limit: int) -> int:
        """Delete old deliveries, or every one, and their attempts."""
        return int(await self._client.call("delete_deliveries", tenant, webhook_id, before, limit))


class SharedSeals(SQLiteSeals):
    """What makes logs provable: read from the file, and changed by the writer; see `Seals`."""

    def __init__(self, read: Read, read_in_thread: Read, record: SignedRecord, client: WriterClient) -> None:
        super().__init__(read, read_in_thread, _refuse_to_write, record)
        self._client = client

    async def add_origin(self, tenant: str, origin: Origin) -> Origin:
        """Add an origin."""
        return msgspec.convert(await self._client.call("add_origin", tenant, origin), Origin)

    async def put_checkpoints(self, new: Sequence[NewCheckpoint]) -> list[bool | WhenceError]:
        """Store checkpoints, each as the newest of its epoch."""
        return await self._client.put_checkpoints(new)

    async def put_tiles(self, tenant: str, rows: Sequence[TileRow], first_leaf: bytes | None = None) -> bool:
        """Store tiles, together."""
        return bool(await self._client.call("put_tiles", tenant, list(rows), first_leaf))


class SharedRemovals:
    """What the store can forget: the writer does it; see `Removals`."""

    def __init__(self, client: WriterClient) -> None:
        self._client = client

    async def erase_payloads(
        self, tenant: str, positions: Sequence[int], erased_at: int, holds: Sequence[HoldVersion]
    ) -> int:
        """Erase payloads."""
        return int(await self._client.call("erase_payloads", tenant, list(positions), erased_at, list(holds)))

    async def purge(self, tenant: str, purge: Purge, holds: Sequence[HoldVersion]) -> int:
        """Remove events."""
        return int(await self._client.call("purge", tenant, purge, list(holds)))

    async def erase_actor(
        self,
        tenant: str,
        actor: tuple[str, str],
        new_id: str,
        erased_at: int,
        holds: Sequence[HoldVersion],
        upto: int | None = None,
    ) -> int:
        """Replace the id of an actor."""
        return int(await self._client.call("erase_actor", tenant, actor, new_id, erased_at, list(holds), upto))

    async def settle(self, tenant: str) -> None:
        """Wait for the removals that began before."""
        await self._client.call("settle", tenant)

    async def unseen_erasures(self) -> list[Erased]:
        """Nothing, as with the writer."""
        return []

    async def see_erasures(self, entries: Sequence[Erased]) -> None:
        """Do nothing; see `unseen_erasures`."""

    async def scrub(self) -> bool:
        """Empty the write-ahead log into the file."""
        return bool(await self._client.call("scrub"))


class SharedDeletions(SQLiteDeletions):
    """How tenants are deleted: read from the file, and done by the writer; see `Deletions`."""

    def __init__(self, path: str, read: Read, client: WriterClient) -> None:
        super().__init__(path, read, _refuse_to_write)
        self._client = client

    async def delete_tenant(self, tenant: str, deletion: TenantDeletion) -> None:
        """Delete keys, sessions and definitions, and make the log a former one."""
        await self._client.call("delete_tenant", tenant, deletion)

    async def remove_rows(self, number: int, limit: int) -> bool:
        """Remove a part of the rows of a former log."""
        return bool(await self._client.call("remove_rows", number, limit))


async def _refuse_to_write(*_work: object) -> None:
    raise Unavailable("This process does not write.")
