"""The SQLite store: one writer thread, some readers, and the operations of the protocol on top of them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import apsw

from whence.errors import StoreRefused, Unavailable, WhenceError
from whence.events import ActorStat, Counts, Event, Page, PageRequest, Query
from whence.flows import FlowPage, FlowQuery, ProcessMap
from whence.merkle import EMPTY_ROOT, CompactRange
from whence.permissions import ApiKey
from whence.storage.base import HashedEvent, Head, Receipt, Session, Write
from whence.storage.head_notifier import HeadNotifier
from whence.storage.query_cost import is_indexed_count, is_indexed_list, pinned
from whence.storage.resolve import Kind, ResolvedQuery
from whence.storage.sql import load_blocks
from whence.storage.sqlite import keys, replication
from whence.storage.sqlite.append import Appender
from whence.storage.sqlite.connection import ServingLock, close_untouched, connect, make_folder, migrate, refusing
from whence.storage.sqlite.counts import actor_stats, count_by_word, total
from whence.storage.sqlite.highwater import HighWater
from whence.storage.sqlite.pages import events_of_page
from whence.storage.sqlite.readers import Readers
from whence.storage.sqlite.resolve import Snapshot, resolve
from whence.storage.sqlite.rows import event_from, uuid_bytes
from whence.storage.sqlite.traces import flows_of_page, graph_of, map_of
from whence.storage.sqlite.writer import Writer
from whence.trace import Graph, TraceRequest

__all__ = ["SQLiteStore"]

_SQL = load_blocks("whence.storage.sqlite")

_WRITER_CACHE_KIB = 65_536
_READER_CACHE_KIB = 8_192
_READERS = 5
"""Connections for reading: one for the event loop, the others for threads."""

_TENANTS_CACHED = 1_000
"""Tenants whose kinds are kept in memory."""

_INLINE_EVENTS_MAX, _INLINE_BYTES_MAX = 16, 65_536
"""Events and bytes of payload of an append that may hold up the event loop: some two milliseconds of work."""

Question = Callable[[apsw.Connection, Snapshot, ResolvedQuery], Any]


class SQLiteStore:
    """A log in one SQLite file; see `Store` for what its methods promise."""

    def __init__(
        self,
        path: str,
        *,
        serving: bool = True,
        importing: bool = False,
        accept_rollback: bool = False,
        readers: int = _READERS,
    ) -> None:
        """Open the file, and bring its schema up to date. Raises StoreRefused."""
        with ExitStack() as undo, refusing():
            make_folder(path)
            self._lock = ServingLock(path) if serving else None
            if self._lock is not None:
                undo.callback(self._lock.release)
            self._writing = connect(path, _WRITER_CACHE_KIB)
            undo.callback(close_untouched, self._writing)
            migrate(self._writing)
            self._high_water = HighWater(path) if serving else None
            if self._high_water is not None:
                undo.callback(self._high_water.close)
                self._high_water.check(self._writing, accept_rollback=accept_rollback)
            reading = [connect(path, _READER_CACHE_KIB) for _ in range(readers)]
            undo.pop_all()
        self._importing = serving and importing
        self._appender = Appender()
        self._writer = Writer(self._writing, self._appender, self._high_water)
        self._readers = Readers(reading)
        self.reads_at_once = readers
        self._head_notifier = HeadNotifier(self._size)
        self._kinds: dict[str, dict[int, Kind]] = {}
        self._closed = False

    # --- the log -----------------------------------------------------------------------------------------------

    async def append(self, tenant: str, writes: Sequence[Write]) -> list[list[Receipt] | WhenceError]:
        """Store requests of one tenant; see `Store`."""
        if self._lock is None:
            raise Unavailable("This process opened the store beside its server and may not append to it.")
        if not writes:
            return []
        try:
            together = partial(self._appender.append, tenant=tenant, writes=writes)
            apart = partial(self._appender.append_apart, tenant=tenant, writes=writes)
            inline = partial(together, inline=True) if _fits_inline(writes) else None
            results: list[list[Receipt] | WhenceError] = await self._writer.submit(together, apart, inline)
        except Exception as error:
            # The writer has noted what it did not expect.
            failed = error if isinstance(error, WhenceError) else Unavailable("The store failed. Send it again.")
            return [failed] * len(writes)
        self._head_notifier.wake(tenant)
        return results

    async def wait_for_idle_writer(self) -> None:
        """Wait for a good moment for long work; see `Store`."""
        await self._writer.wait_for_idle_writer()

    async def get_event(self, tenant: str, event_id: str, readable: tuple[str, ...] | None = None) -> Event | None:
        """Find one event; see `Store`."""

        def find(connection: apsw.Connection) -> Event | None:
            row = connection.execute(
                _SQL["full_event"]
                + " WHERE e.tenant_no = (SELECT tenant_no FROM tenant WHERE tenant = ?) AND e.id = ?",
                (tenant, uuid_bytes(event_id)),
            ).fetchone()
            event = None if row is None else event_from(tenant, row)
            return event if event is None or readable is None or event.resource_type in readable else None

        found: Event | None = await self._readers.read(find)
        return found

    async def list_events(self, tenant: str, query: Query, request: PageRequest) -> Page:
        """Answer one page; see `Store`."""

        def ask(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> Page:
            as_of = pinned(snapshot.size, request.as_of)
            if as_of < snapshot.size:
                resolved = resolved.up_to(as_of)
            return Page(
                events=events_of_page(connection, snapshot, resolved, request),
                total=total(connection, snapshot, resolved),
                limit=request.limit,
                offset=request.offset,
                as_of=as_of,
            )

        page: Page = await self._ask(tenant, query, ask, indexed=is_indexed_list(query))
        return page

    async def count_events(self, tenant: str, query: Query) -> Counts:
        """Count by word; see `Store`."""
        counts: Counts = await self._ask(tenant, query, count_by_word, indexed=is_indexed_count(query))
        return counts

    async def actor_stats(self, tenant: str, query: Query) -> list[ActorStat]:
        """Count by actor; see `Store`."""
        slow = not query.actor_ids  # then it is about as many actors as there are
        stats: list[ActorStat] = await self._ask(tenant, query, actor_stats, indexed=is_indexed_count(query), slow=slow)
        return stats

    async def trace(
        self, tenant: str, event_id: str, request: TraceRequest, readable: tuple[str, ...] | None = None
    ) -> Graph | None:
        """Find the graph around an event; see `Store`."""
        graph: Graph | None = await self._readers.read_in_thread(
            lambda connection: graph_of(connection, self._snapshot(connection, tenant), event_id, request, readable)
        )
        return graph

    async def list_flows(self, tenant: str, query: FlowQuery, request: PageRequest) -> FlowPage:
        """Answer one page of flows; see `Store`."""

        def ask(connection: apsw.Connection) -> FlowPage:
            snapshot = self._snapshot(connection, tenant)
            return flows_of_page(connection, snapshot, query, request)

        readers = self._readers
        page: FlowPage = await (
            readers.read_in_thread(ask) if query.is_indexed else readers.read_unbounded(tenant, ask)
        )
        return page

    async def process_map(
        self, tenant: str, since: int | None, until: int | None, readable: tuple[str, ...] | None = None
    ) -> ProcessMap:
        """Say what led to what; see `Store`."""
        found: ProcessMap = await self._readers.read_in_thread(
            lambda connection: map_of(connection, self._snapshot(connection, tenant), (since, until), readable)
        )
        return found

    async def head(self, tenant: str) -> Head:
        """Tell the state of a tenant's log; see `Store`."""
        row = await self._readers.read(lambda connection: connection.execute(_SQL["head"], (tenant,)).fetchone())
        if row is None:
            return Head(0, EMPTY_ROOT, 0)
        _, size, recorded_at, packed = row[:4]
        return Head(size, CompactRange(size, packed).root(), recorded_at)

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        """Wait for a log to grow; see `Store`."""
        return await self._head_notifier.changed(tenant, position, timeout_s)

    async def _size(self, tenant: str) -> int:
        row = await self._readers.read(lambda connection: connection.execute(_SQL["head"], (tenant,)).fetchone())
        return 0 if row is None else row[1]

    async def tenants(self) -> list[str]:
        """Name all tenants; see `Store`."""
        found: list[str] = await self._readers.read(replication.tenants)
        return found

    async def read_log(self, tenant: str, after: int, limit: int) -> list[HashedEvent]:
        """Read a part of a log; see `Store`."""
        part: list[HashedEvent] = await self._readers.read_unbounded(
            tenant, lambda connection: replication.read_part(connection, tenant, after, limit)
        )
        return part

    async def import_log(self, tenant: str, events: Sequence[HashedEvent]) -> None:
        """Append exact events; see `Store`."""
        if not self._importing:
            raise StoreRefused("This store was not opened to be restored.")
        await self._writer.submit(
            lambda connection: replication.import_events(connection, self._appender, tenant, events)
        )
        self._head_notifier.wake(tenant)

    async def _ask(self, tenant: str, query: Query, question: Question, *, indexed: bool, slow: bool = False) -> Any:
        def ask(connection: apsw.Connection) -> Any:
            snapshot = self._snapshot(connection, tenant)
            return question(connection, snapshot, resolve(connection, snapshot, query))

        if not indexed:
            return await self._readers.read_unbounded(tenant, ask)
        return await (self._readers.read_in_thread(ask) if slow else self._readers.read(ask))

    def _snapshot(self, connection: apsw.Connection, tenant: str) -> Snapshot:
        """The tenant's state in the connection's transaction. A tenant without events has number 0 and no kinds."""
        row = connection.execute(_SQL["head"], (tenant,)).fetchone()
        if row is None:
            return Snapshot(tenant, 0, 0, {})
        tenant_no, size, kinds_known = row[0], row[1], row[4]
        kinds = self._kinds.get(tenant, {})
        if (
            len(kinds) != kinds_known
        ):  # kinds are only ever added, so the count tells whether the cache is this snapshot's
            kinds = {number: Kind(number, *words) for number, *words in connection.execute(_SQL["kinds"], (tenant_no,))}
            if len(self._kinds) >= _TENANTS_CACHED:
                self._kinds.clear()
            self._kinds[tenant] = kinds
        return Snapshot(tenant, tenant_no, size, kinds, actors=row[5], flows=row[6], folded_to=row[8])

    # --- credentials -------------------------------------------------------------------------------------------

    async def put_key(self, key: ApiKey) -> None:
        """Keep a key; see `Store`."""
        await self._writer.submit(lambda connection: keys.put_key(connection, key))

    async def find_key(self, key_hash: bytes) -> ApiKey | None:
        """Find a key by its hash; see `Store`."""
        found: ApiKey | None = await self._readers.read(lambda connection: keys.find_key(connection, key_hash))
        return found

    async def get_key(self, key_id: str) -> ApiKey | None:
        """Find a key by its id; see `Store`."""
        found: ApiKey | None = await self._readers.read(lambda connection: keys.get_key(connection, key_id))
        return found

    async def list_keys(self, tenant: str) -> list[ApiKey]:
        """List a tenant's keys; see `Store`."""
        found: list[ApiKey] = await self._readers.read(lambda connection: keys.list_keys(connection, tenant))
        return found

    async def revoke_key(self, tenant: str, key_id: str, at: int) -> bool:
        """End a key; see `Store`."""
        done: bool = await self._writer.submit(lambda connection: keys.revoke_key(connection, tenant, key_id, at))
        return done

    async def touch_keys(self, used: dict[str, int]) -> None:
        """Note the last use of keys; see `Store`."""
        await self._writer.submit(lambda connection: keys.touch_keys(connection, used))

    async def put_session(self, session: Session) -> None:
        """Keep a session; see `Store`."""
        now = time.time_ns() // 1_000
        await self._writer.submit(lambda connection: keys.put_session(connection, session, now))

    async def find_session(self, session_hash: bytes) -> Session | None:
        """Find a session; see `Store`."""
        found: Session | None = await self._readers.read(lambda connection: keys.find_session(connection, session_hash))
        return found

    async def end_session(self, session_hash: bytes) -> None:
        """Forget a session; see `Store`."""
        await self._writer.submit(lambda connection: keys.end_session(connection, session_hash))

    # --- life --------------------------------------------------------------------------------------------------

    async def check_servable(self) -> None:
        """Do nothing: the constructor has opened the file and checked it; see `Store`."""

    async def check(self) -> None:
        """Say whether the store serves; see `Store`."""
        await self._readers.read(lambda connection: connection.execute("SELECT 1 FROM tenant LIMIT 1").fetchall())
        await self._writer.submit(lambda _connection: None)

    async def close(self) -> None:
        """Let go of everything; see `Store`."""
        if self._closed:
            return
        self._closed = True
        self._head_notifier.close()
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._writer.stop()
        self._readers.close()
        self._writing.close()  # the last connection; SQLite folds the WAL into the file
        if self._high_water is not None:
            self._high_water.close()
        if self._lock is not None:
            self._lock.release()


def _fits_inline(writes: Sequence[Write]) -> bool:
    return (
        sum(len(write.events) for write in writes) <= _INLINE_EVENTS_MAX
        and sum(len(new.payload) for write in writes for new in write.events) <= _INLINE_BYTES_MAX
    )
