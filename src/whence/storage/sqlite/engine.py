"""The SQLite store: one writer, some readers, and the operations of the protocol on top of them."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import apsw
import msgspec

from whence.activity import ActorPage, ActorPageRequest, ActorSummary, ResourceSummary
from whence.errors import StoreRefused, Unavailable, WhenceError
from whence.events import (
    ActorStat,
    Counts,
    Event,
    EventPart,
    FeedPage,
    LogState,
    Page,
    PageRequest,
    PartRequest,
    Query,
    Reference,
    Viewer,
    sets_only,
)
from whence.facets import Facets
from whence.flows import FlowPage, FlowQuery, ProcessMap
from whence.histograms import HistogramRequest, TimeHistogram
from whence.merkle import EMPTY_ROOT
from whence.names import FoundNames, NameSearch
from whence.storage.base import HashedEvent, Head, Receipt, Write
from whence.storage.feed import SHORT_PART
from whence.storage.head_notifier import HeadNotifier
from whence.storage.payload_index import IndexBehind
from whence.storage.query_cost import is_indexed_count, is_indexed_flows, is_indexed_list, is_indexed_search, pinned
from whence.storage.query_deadline import MAP_TOO_LARGE, REACH_TOO_LARGE, TRACE_TOO_LARGE, saying_what_helps
from whence.storage.resolve import PAYLOAD_FIELDS, Kind, ResolvedQuery, Snapshot
from whence.storage.rows import HeadRow
from whence.storage.sql import load_blocks
from whence.storage.sqlite import replication
from whence.storage.sqlite.activity import actor_page, actor_summary, facets, resource_summary
from whence.storage.sqlite.append import Appender
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
from whence.storage.sqlite.counts import actor_stats, count_by_word, total
from whence.storage.sqlite.credentials import SQLiteCredentials
from whence.storage.sqlite.deletions import SQLiteDeletions
from whence.storage.sqlite.event_cache import EventCache
from whence.storage.sqlite.feed import part_of_feed, position_before
from whence.storage.sqlite.followers import SQLiteFollowers
from whence.storage.sqlite.highwater import HighWater
from whence.storage.sqlite.histogram import histogram
from whence.storage.sqlite.interrupted_removals import decide_removals
from whence.storage.sqlite.names import names_of
from whence.storage.sqlite.page_cache import PageCache
from whence.storage.sqlite.pages import events_of_keys, events_of_page, events_passed
from whence.storage.sqlite.parts import part_in_order
from whence.storage.sqlite.payload_index import SQLitePayloadIndex, match
from whence.storage.sqlite.readers import LATER, Readers
from whence.storage.sqlite.removals import SQLiteRemovals
from whence.storage.sqlite.resolve import resolve_names
from whence.storage.sqlite.rows import SQLiteHeadRow, event_from, head_row, uuid_bytes, uuid_text
from whence.storage.sqlite.seals import SQLiteSeals
from whence.storage.sqlite.signed_record import SignedRecord
from whence.storage.sqlite.thread_writer import ThreadWriter
from whence.storage.sqlite.traces import flows_of_page, graph_of, map_of, payloads_of, reach_of
from whence.storage.sqlite.writer import Writer
from whence.storage.walks import ROWS_ON_LOOP_MAX
from whence.trace import Graph, Reach, TraceRequest

__all__ = ["READERS", "READER_CACHE_KIB", "SQLiteReads", "SQLiteStore"]

_SQL = load_blocks("whence.storage.sqlite")

_WRITER_CACHE_KIB = 65_536
READER_CACHE_KIB = 8_192
READERS = 5
"""Connections for reading: one for the event loop, the others for threads."""

_NO_TENANT = ""
"""Whose share of the readers is used by what belongs to no tenant, such as looking up a key."""

_TENANTS_CACHED = 1_000
"""Tenants whose kinds are kept in memory."""

_INLINE_EVENTS_MAX, _INLINE_BYTES_MAX = 16, 65_536
"""Events and bytes of payload of an append that may hold up the event loop: some two milliseconds of work."""

_LOG_STATE = _SQL["log_state"]

_SHOWN_EVENT = (
    _SQL["full_event"] + " WHERE e.tenant_no = (SELECT tenant_no FROM tenant WHERE tenant = ?) AND e.id = ? "
    "AND k.resource_type IN (SELECT value FROM json_each(?))"
)

_WITHOUT_PAYLOAD = frozenset(Query.__struct_fields__) - PAYLOAD_FIELDS

Question = Callable[[apsw.Connection, Snapshot, ResolvedQuery], Any]


class SQLiteReads:
    """The part of a store that reads the file, which each process does on connections of its own."""

    _write_check_s = 5.0
    """How often a check writes to the disk at most."""

    def __init__(self, path: str, connections: list[apsw.Connection]) -> None:
        """Own the connections: the first for the event loop, the others, at least one, each for a thread."""
        self._path = path
        self._readers = Readers(connections)
        self.reads_at_once = len(connections)
        self.pages_share_events = True
        self.reads_on_loop = True
        self._head_notifier = HeadNotifier(self._size)
        self._kinds: dict[str, tuple[tuple[int, int, int], dict[int, Kind]]] = {}
        """By tenant, with its number, and how many kinds were given and how many removed: neither ever falls."""
        self._events = EventCache()
        self._pages = PageCache()
        self._written_at = float("-inf")

    def log_state(self, tenant: str) -> LogState | None:
        """Name the state of a log; see `Store`."""
        row = self._readers.read_here(tenant, lambda connection: connection.execute(_LOG_STATE, (tenant,)).fetchone())
        return None if row is LATER else cast(LogState | None, row)

    async def get_event(self, viewer: Viewer, event_id: str) -> Event | None:
        """Find one event; see `Store`."""
        found: Event | None = await self._readers.read(viewer.tenant, partial(self._find, viewer, event_id))
        return found

    def event_now(self, viewer: Viewer, event_id: str) -> Event | None:
        """Find one event at once; see `Store`."""
        found = self._readers.read_here(viewer.tenant, partial(self._find, viewer, event_id))
        return None if found is LATER else cast(Event | None, found)

    def _find(self, viewer: Viewer, event_id: str, connection: apsw.Connection) -> Event | None:
        if viewer.readable is not None:
            # A condition, so that the payload of a hidden event is not read.
            shown = msgspec.json.encode(viewer.readable).decode()
            row = connection.execute(_SHOWN_EVENT, (viewer.tenant, uuid_bytes(event_id), shown)).fetchone()
            return None if row is None else event_from(viewer.tenant, row)
        snapshot = self._snapshot(connection, viewer)
        key = connection.execute(_SQL["key_of_id"], (snapshot.tenant_no, uuid_bytes(event_id))).fetchone()
        return None if key is None else events_of_keys(connection, snapshot, key, self._events)[0]

    async def find_ids(self, viewer: Viewer, reference: Reference) -> list[str]:
        """Find the events that a reference names; see `Store`."""
        readable = None if viewer.readable is None else msgspec.json.encode(viewer.readable).decode()

        def find(connection: apsw.Connection) -> list[str]:
            if reference.position is not None:
                rows = connection.execute(_SQL["id_at"], (viewer.tenant, reference.position, readable))
            else:
                ends = uuid_bytes(reference.first_id), uuid_bytes(reference.last_id)
                rows = connection.execute(_SQL["ids_in_range"], (viewer.tenant, *ends, readable))
            return [uuid_text(id_) for (id_,) in rows]

        found: list[str] = await self._readers.read(viewer.tenant, find)
        return found

    async def find_names(self, viewer: Viewer, search: NameSearch) -> FoundNames:
        """Find names; see `Store`."""
        indexed = is_indexed_search(search, viewer)
        read = self._readers.read_in_thread if indexed else self._readers.read_unbounded
        found: FoundNames = await read(
            viewer.tenant, lambda connection: names_of(connection, self._snapshot(connection, viewer), search)
        )
        return found

    async def list_events(self, viewer: Viewer, query: Query, request: PageRequest) -> Page:
        """Answer one page; see `Store`."""

        def ask(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> Page:
            page = self._page_of(connection, snapshot, resolved, request)
            self._pages.add(snapshot, query, request, page)
            return page

        kept = partial(self._pages.find, query=query, request=request)
        found: Page = await self._ask(viewer, query, ask, indexed=is_indexed_list(query, viewer), kept=kept)
        return found

    def _page_of(
        self, connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: PageRequest
    ) -> Page:
        as_of = pinned(snapshot.size, request.as_of)
        if as_of < snapshot.size:
            resolved = resolved.up_to(as_of)
        # The total first: where nothing matches, no index is walked, whatever hidden events it leads to.
        matching = total(connection, snapshot, resolved)
        return Page(
            events=events_of_page(connection, snapshot, resolved, request, self._events) if matching else [],
            total=matching,
            limit=request.limit,
            offset=events_passed(connection, snapshot, resolved, request),
            as_of=as_of,
            removal_epoch=snapshot.removal_epoch,
            state=(snapshot.tenant_no, snapshot.size, snapshot.removal_epoch),
        )

    async def read_feed(self, viewer: Viewer, query: Query, after: int, limit: int) -> FeedPage:
        """Read a part of a feed; see `Store`."""
        ask = partial(part_of_feed, after=after, limit=limit, cache=self._events)
        long = limit > SHORT_PART
        part: FeedPage = await self._ask(viewer, query, ask, indexed=True, long=long, matching=False)
        return part

    async def list_part(self, viewer: Viewer, query: Query, request: PartRequest) -> EventPart:
        """Read a part in total order; see `Store`."""
        part: EventPart = await self._ask(
            viewer, query, partial(part_in_order, request=request), indexed=True, long=True, matching=False
        )
        return part

    async def position_before(self, tenant: str, time: int) -> int:
        """Find a position by time; see `Store`."""
        ask = partial(position_before, tenant=tenant, time=time)
        found: int = await self._readers.read(tenant, ask)
        return found

    async def count_events(self, viewer: Viewer, query: Query) -> Counts:
        """Count by word; see `Store`."""
        _, kinds = self._kinds.get(viewer.tenant, (None, ()))
        long = len(kinds) > ROWS_ON_LOOP_MAX
        indexed = is_indexed_count(query, viewer)
        counts: Counts = await self._ask(viewer, query, count_by_word, indexed=indexed, long=long)
        return counts

    async def actor_stats(self, viewer: Viewer, query: Query) -> list[ActorStat]:
        """Count by actor; see `Store`."""
        long = not query.actor_ids  # then there may be as many rows as the tenant has actors
        indexed = is_indexed_count(query, viewer)
        stats: list[ActorStat] = await self._ask(viewer, query, actor_stats, indexed=indexed, long=long)
        return stats

    async def histogram(self, viewer: Viewer, query: Query, request: HistogramRequest) -> TimeHistogram:
        """Count by time; see `Store`."""
        ask = partial(histogram, request=request)
        found: TimeHistogram = await self._ask(viewer, query, ask, indexed=is_indexed_count(query, viewer), long=True)
        return found

    async def facets(self, viewer: Viewer, query: Query, top: int, payload_fields: Sequence[str] = ()) -> Facets:
        """Count by the values of fields; see `Store`."""
        ask = partial(facets, query=query, top=top, paths=payload_fields)
        indexed = is_indexed_count(query, viewer) and not payload_fields
        found: Facets = await self._ask(viewer, query, ask, indexed=indexed, long=True, matching=False)
        return found

    async def actors(
        self, viewer: Viewer, since: int | None, until: int | None, request: ActorPageRequest
    ) -> ActorPage:
        """Answer a page of actors; see `Store`."""
        asked = Query(since=since, until=until)
        page: ActorPage = await self._ask(viewer, asked, partial(actor_page, request=request), indexed=True, long=True)
        return page

    async def actor_summary(
        self, viewer: Viewer, actor: tuple[str, str], since: int | None, until: int | None
    ) -> ActorSummary:
        """Summarize an actor; see `Store`."""
        asked = Query(actor_types=actor[:1], actor_ids=actor[1:], since=since, until=until)
        ask = partial(actor_summary, name=actor)
        found: ActorSummary = await self._ask(viewer, asked, ask, indexed=True, long=True)
        return found

    async def resource_summary(self, viewer: Viewer, resource: tuple[str, str], top: int) -> ResourceSummary:
        """Summarize a resource; see `Store`."""
        asked = Query(resource_types=resource[:1], resource_ids=resource[1:])
        ask = partial(resource_summary, cache=self._events, top=top)
        found: ResourceSummary = await self._ask(viewer, asked, ask, indexed=False)
        return found

    async def trace(self, viewer: Viewer, event_id: str, request: TraceRequest) -> Graph | None:
        """Find the graph around an event; see `Store`."""
        with saying_what_helps(TRACE_TOO_LARGE):
            graph: Graph | None = await self._readers.read_in_thread(
                viewer.tenant,
                lambda connection: graph_of(connection, self._snapshot(connection, viewer), event_id, request),
            )
        return graph

    async def reach(self, viewer: Viewer, event_ids: Sequence[str]) -> list[Reach]:
        """Count causes and effects; see `Store`."""
        with saying_what_helps(REACH_TOO_LARGE):
            found: list[Reach] = await self._readers.read_in_thread(
                viewer.tenant,
                lambda connection: reach_of(connection, self._snapshot(connection, viewer), event_ids),
            )
        return found

    async def read_payloads(self, viewer: Viewer, positions: Sequence[int]) -> list[bytes | None]:
        """Read some payloads; see `Store`."""
        read = self._readers.read if len(positions) <= SHORT_PART else self._readers.read_in_thread
        found: list[bytes | None] = await read(
            viewer.tenant,
            lambda connection: payloads_of(connection, self._snapshot(connection, viewer), positions),
        )
        return found

    async def list_flows(self, viewer: Viewer, query: FlowQuery, request: PageRequest) -> FlowPage:
        """Answer one page of flows; see `Store`."""

        def ask(connection: apsw.Connection) -> FlowPage:
            snapshot = self._snapshot(connection, viewer)
            return flows_of_page(connection, snapshot, query, request)

        indexed = is_indexed_flows(query, viewer)
        read = self._readers.read_in_thread if indexed else self._readers.read_unbounded
        page: FlowPage = await read(viewer.tenant, ask)
        return page

    async def process_map(self, viewer: Viewer, since: int | None, until: int | None) -> ProcessMap:
        """Return the process map; see `Store`."""
        with saying_what_helps(MAP_TOO_LARGE):
            found: ProcessMap = await self._readers.read_in_thread(
                viewer.tenant, lambda connection: map_of(connection, self._snapshot(connection, viewer), (since, until))
            )
        return found

    async def head(self, tenant: str) -> Head:
        """Return the state of a tenant's log; see `Store`."""
        row: SQLiteHeadRow | None = await self._readers.read(tenant, lambda connection: head_row(connection, tenant))
        if row is None:
            return Head(0, EMPTY_ROOT, 0)
        return Head(
            row.size, row.tree().root(), row.recorded_at, row.payload_bytes, row.retained_from, row.removed_recorded_at
        )

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        """Wait for a log to grow; see `Store`."""
        return await self._head_notifier.changed(tenant, position, timeout_s)

    async def _size(self, tenant: str) -> int:
        row: HeadRow | None = await self._readers.read(tenant, lambda connection: head_row(connection, tenant))
        return 0 if row is None else row.size

    async def tenants(self, after: str = "", limit: int | None = None) -> list[str]:
        """List tenants; see `Store`."""
        found: list[str] = await self._readers.read(_NO_TENANT, partial(replication.tenants, after=after, limit=limit))
        return found

    async def read_log(self, tenant: str, after: int, limit: int) -> list[HashedEvent]:
        """Read a part of a log; see `Store`."""
        part: list[HashedEvent] = await self._readers.read_unbounded(
            tenant, lambda connection: replication.read_part(connection, tenant, after, limit)
        )
        return part

    async def _ask(
        self,
        viewer: Viewer,
        query: Query,
        question: Question,
        *,
        indexed: bool,
        long: bool = False,
        matching: bool = True,
        kept: Callable[[Snapshot], Any] | None = None,
    ) -> Any:
        """Ask a question about the events that match a query. Without `matching`, the question finds the payload values
        itself, in the part of the log that it reads. `kept` returns an answer that is known in this state of the log,
        or None."""
        by_payload = not sets_only(_WITHOUT_PAYLOAD, query)

        def ask(connection: apsw.Connection, *, bounded: bool) -> Any:
            snapshot = self._snapshot(connection, viewer)
            if kept is not None and (known := kept(snapshot)) is not None:
                return known
            resolved = resolve_names(connection, snapshot, query)
            if matching:
                resolved = match(connection, snapshot, resolved, bounded=bounded)
            return question(connection, snapshot, resolved)

        if indexed:
            read = self._readers.read_in_thread if long or by_payload else self._readers.read
            try:
                return await read(viewer.tenant, partial(ask, bounded=True))
            except IndexBehind:
                pass
        return await self._readers.read_unbounded(viewer.tenant, partial(ask, bounded=False))

    def _snapshot(self, connection: apsw.Connection, viewer: Viewer) -> Snapshot:
        """The state of the viewer's log in the connection's transaction."""
        row = head_row(connection, viewer.tenant)
        cached, kinds = self._kinds.get(viewer.tenant, ((0, 0, 0), {}))
        if cached[0] and (row is None or row.tenant_no != cached[0]):  # the tenant was deleted
            self._kinds.pop(viewer.tenant, None)
            self._events.forget()
            self._pages.forget()
        if row is None:
            return Snapshot(viewer, 0, 0, {}, flows=0)
        if self._events.see_epoch(row.tenant_no, row.removal_epoch):
            self._pages.forget()
        version = row.tenant_no, row.kinds, row.kinds_removed
        if cached != version:
            rows: Any = connection.execute(_SQL["kinds"], (row.tenant_no,))
            kinds = {number: Kind(number, *words) for number, *words in rows}
            if len(self._kinds) >= _TENANTS_CACHED:
                self._kinds.clear()
            self._kinds[viewer.tenant] = version, kinds
        return Snapshot(
            viewer,
            row.tenant_no,
            row.size,
            kinds,
            actors=row.actors,
            flows=row.flows - row.flows_removed,
            folded_to=row.folded_to,
            removal_epoch=row.removal_epoch,
            retained_from=row.retained_from,
        )

    async def check(self) -> None:
        """Check that the store can read, and every few seconds that it can write; see `Store`."""
        await self._readers.read(
            _NO_TENANT, lambda connection: connection.execute("SELECT 1 FROM tenant LIMIT 1").fetchall()
        )
        now = time.monotonic()
        if now - self._written_at > self._write_check_s:
            await self._check_writing()
            self._written_at = now

    async def _check_writing(self) -> None:
        """Return when the store can write. Raises Unavailable."""
        raise NotImplementedError

    def free_bytes(self) -> int | None:
        """The bytes that are free on the disk of the file; see `Store`."""
        try:
            found = os.statvfs(self._path)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize


class SQLiteStore(SQLiteReads):
    """A log in one SQLite file; see `Store` for what its methods promise."""

    def __init__(
        self,
        path: str,
        *,
        serving: bool = True,
        importing: bool = False,
        accept_rollback: bool = False,
        restoring: bool = False,
        readers: int = READERS,
        lock: ServingLock | None = None,
        writer: type[Writer] = ThreadWriter,
    ) -> None:
        """Open the file, and migrate its schema. `lock` is that of the file, if this process has it already, and
        `writer` what runs the requests that write. Raises StoreRefused, also for a file whose restore was not finished,
        unless it is opened for `restoring`.
        """
        path = real_path(path)
        with ExitStack() as undo, refusing(path):
            make_folder(path)
            self._lock = lock or (ServingLock(path, create=True) if serving else None)
            if self._lock is not None:
                undo.push(self._lock.give_up)
            self._writing = connect(path, _WRITER_CACHE_KIB)
            undo.callback(close_untouched, self._writing)
            migrate(self._writing)
            if not restoring:
                refuse_unfinished(self._writing)
            self._high_water = HighWater(path) if serving else None
            if self._high_water is not None:
                undo.callback(self._high_water.close)
                self._high_water.check(self._writing, accept_rollback=accept_rollback)
                if not restoring:  # the file is a backup then, and says nothing of what happened since
                    decide_removals(path, self._writing)
            reading = [connect(path, READER_CACHE_KIB) for _ in range(readers)]
            undo.pop_all()
        super().__init__(path, reading)
        self._importing = serving and importing
        self._appender = Appender()
        self._writer = writer(self._writing, self._appender, self._high_water)
        self._closed = False
        self.removals = SQLiteRemovals(
            path, self._readers.read_in_thread, self._writer.submit, self._appender.names, serving=serving
        )
        self.deletions = SQLiteDeletions(path, self._readers.read, self._writer.submit)
        self.credentials = SQLiteCredentials(self._readers.read, self._writer.submit)
        self.followers = SQLiteFollowers(self._readers.read, self._writer.submit)
        self.payload_index = SQLitePayloadIndex(self._readers.read, self._writer.submit)
        self.seals = SQLiteSeals(
            self._readers.read, self._readers.read_in_thread, self._writer.submit, SignedRecord(path)
        )

    # --- the log -----------------------------------------------------------------------------------------------

    async def append(self, tenant: str, writes: Sequence[Write]) -> list[list[Receipt] | WhenceError]:
        """Store requests of one tenant; see `Store`."""
        if self._lock is None:
            raise Unavailable("This process opened the store beside its server and may not append to it.")
        if not writes:
            return []
        try:
            work = partial(self._appender.append, tenant=tenant, writes=writes)
            retry = partial(self._appender.append_separately, tenant=tenant, writes=writes)
            inline = partial(work, inline=True) if _fits_inline(writes) else None
            results: list[list[Receipt] | WhenceError] = await self._writer.submit(work, retry, inline)
        except Exception as error:
            # The writer has noted what it did not expect.
            failed = error if isinstance(error, WhenceError) else Unavailable("The store failed. Send it again.")
            return [failed] * len(writes)
        self._head_notifier.wake(tenant)
        return results

    async def wait_for_idle_writer(self) -> None:
        """Wait until the writer does not compute; see `Store`."""
        await self._writer.wait_for_idle_writer()

    async def import_log(self, tenant: str, events: Sequence[HashedEvent]) -> None:
        """Append exact events; see `Store`."""
        if not self._importing:
            raise StoreRefused("This store was not opened to be restored.")
        await self._writer.submit(
            lambda connection: replication.import_events(connection, self._appender, tenant, events)
        )
        self._head_notifier.wake(tenant)

    async def import_removed(self, tenant: str, leaves: bytes) -> None:
        """Append positions without events; see `Store`."""
        if not self._importing:
            raise StoreRefused("This store was not opened to be restored.")
        await self._writer.submit(lambda connection: replication.import_removed(connection, tenant, leaves))

    async def import_retained_from(self, tenant: str, head: Head) -> None:
        """Take over what no event says; see `Store`."""
        if not self._importing:
            raise StoreRefused("This store was not opened to be restored.")
        await self._writer.submit(lambda connection: replication.import_retained_from(connection, tenant, head))

    # --- life --------------------------------------------------------------------------------------------------

    async def check_servable(self) -> None:
        """Do nothing: the constructor has opened the file and checked it; see `Store`."""

    async def _check_writing(self) -> None:
        await self._writer.submit(lambda _connection: None)

    async def close(self) -> None:
        """Stop the writer, then close every connection and lock; see `Store`."""
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
