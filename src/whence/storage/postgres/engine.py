"""The PostgreSQL store: transactions of one tenant each, and the operations of the protocol on top of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import structlog

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
)
from whence.facets import Facets
from whence.flows import FlowPage, FlowQuery, ProcessMap
from whence.histograms import HistogramRequest, TimeHistogram
from whence.merkle import EMPTY_ROOT
from whence.names import FoundNames, NameSearch
from whence.storage.base import HashedEvent, Head, Receipt, Write
from whence.storage.payload_index import IndexBehind
from whence.storage.postgres import citus, replication
from whence.storage.postgres.activity import actor_page, actor_summary, facets, resource_summary
from whence.storage.postgres.append import KindsCache, append
from whence.storage.postgres.append_function import prepare_call
from whence.storage.postgres.catalogue import refuse_changed_catalogue
from whence.storage.postgres.connections import (
    APP_ROLE,
    DRIVER_ERRORS,
    KEEPER_ROLE,
    Connection,
    ConnectionLost,
    ConnectionPool,
    DataRefused,
    Target,
    TransactionAborted,
    TransactionWork,
    repeat_aborted,
)
from whence.storage.postgres.counts import actor_stats, count_by_word, total
from whence.storage.postgres.credentials import PostgresCredentials
from whence.storage.postgres.deletions import PostgresDeletions
from whence.storage.postgres.erasure_ledger import refuse_unseen
from whence.storage.postgres.feed import part_of_feed, position_before
from whence.storage.postgres.followers import PostgresFollowers
from whence.storage.postgres.histogram import histogram
from whence.storage.postgres.listen_notify import ListenNotify
from whence.storage.postgres.names import names_of
from whence.storage.postgres.pages import events_of_page, events_passed
from whence.storage.postgres.parts import part_in_order
from whence.storage.postgres.payload_index import PostgresPayloadIndex, match
from whence.storage.postgres.removals import PostgresRemovals
from whence.storage.postgres.resolve import resolve_names
from whence.storage.postgres.rows import event_from
from whence.storage.postgres.schema import verify
from whence.storage.postgres.seals import PostgresSeals
from whence.storage.postgres.tenants import NO_TENANT, Tenant, TenantRenumbered, find_tenant, head_row, make_tenant
from whence.storage.postgres.traces import flows_of_page, graph_of, map_of, payloads_of, reach_of
from whence.storage.query_cost import is_indexed_count, is_indexed_flows, is_indexed_list, is_indexed_search, pinned
from whence.storage.query_deadline import MAP_TOO_LARGE, REACH_TOO_LARGE, TRACE_TOO_LARGE, saying_what_helps
from whence.storage.resolve import Kind, ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.trace import Graph, Reach, TraceRequest

__all__ = ["READERS", "WRITERS", "PostgresStore"]

_SQL = load_blocks("whence.storage.postgres")
_log = structlog.get_logger("whence.storage")

READERS = 8
"""Connections for reading."""

WRITERS = 4
"""Connections for writing."""

_TENANTS_CACHED = 1_000
"""Tenants whose kinds are kept in memory."""

_TENANT_NUMBERS_CACHED = 10_000
"""Tenants whose numbers are kept in memory."""

_MAY_NOT_REMOVE = (
    "The login of this server may not remove anything from the log. The operator has to run: "
    "GRANT whence_keeper TO <login>."
)

TenantWork = Callable[[Connection, Tenant], Awaitable[Any]]
"""What is done in a transaction of one tenant."""

Question = Callable[[Connection, Snapshot, ResolvedQuery], Awaitable[Any]]


class PostgresStore:
    """A log in one PostgreSQL database, which any number of processes may serve; see `Store` for what its methods
    promise. It connects when it is first used, and belongs to the event loop that does so.
    """

    def __init__(
        self,
        url: str,
        *,
        pooler: bool = False,
        importing: bool = False,
        unsafe_durability: bool = False,
        serving: bool = True,
        listen_url: str | None = None,
        readers: int = READERS,
        writers: int = WRITERS,
    ) -> None:
        """Keep the options. The first use connects."""
        self._target = Target(url, pooler=pooler)
        self._unsafe_durability = unsafe_durability
        self._importing = importing
        self._serving = serving
        self._verified = False
        self._may_remove = False
        self._reading = ConnectionPool(self._target, readers, writing=False)
        self._writing = ConnectionPool(self._target, writers, writing=True)
        self._listen_notify = ListenNotify(self._target, listen_url, self._number_and_size)
        self.reads_at_once = readers
        self.pages_share_events = False
        self.reads_on_loop = False
        self._kinds: dict[int, dict[int, Kind]] = {}
        self._numbers = KindsCache()
        self._tenants: dict[str, int] = {}
        self.credentials = PostgresCredentials(self._read, self._write)
        self.followers = PostgresFollowers(self._read, self._write, self._read_as, self._write_as)
        self.payload_index = PostgresPayloadIndex(self._read, self._read_as, self._write_as)
        self.seals = PostgresSeals(self._read, self._write, self._read_as, self._write_as)
        self.removals = PostgresRemovals(self._read, self._write_as, self._remove_as, self._target, self._numbers)
        self.deletions = PostgresDeletions(self._read, self._write_as, self._remove_as)

    # --- the log -----------------------------------------------------------------------------------------------

    async def append(self, tenant: str, writes: Sequence[Write]) -> list[list[Receipt] | WhenceError]:
        """Store requests of one tenant; see `Store`."""
        try:
            return await self._append(tenant, writes)
        except WhenceError as error:
            if len(writes) == 1 or not isinstance(error, DataRefused):
                return [error] * len(writes)
        except Exception as error:
            if len(writes) == 1:
                _log.error("request failed", error=type(error).__name__, exc_info=True)
                return [Unavailable("The store could not write. Send the event again with the same id.")]
        # One of them cannot be written. Each is tried again alone, so that the valid ones are stored.
        return [result for write in writes for result in await self.append(tenant, [write])]

    async def _append(self, tenant: str, writes: Sequence[Write]) -> list[list[Receipt] | WhenceError]:
        await self._ensure_checked()  # which finds out whether this is Citus
        stored = await self._append_by_function(tenant, writes)
        if stored is not None:
            return stored
        work = partial(append, writes=writes, cached=self._numbers, joined=not self._target.on_citus)
        results: list[list[Receipt] | WhenceError] = await self._grow(tenant, work)
        return results

    async def _append_by_function(
        self, tenant: str, writes: Sequence[Write]
    ) -> list[list[Receipt] | WhenceError] | None:
        """Store requests by one call; see append_function.py. None if that cannot store them, and also if it is not
        known whether it did: the statements then find what is there."""
        number, kinds = self._tenants.get(tenant), self._numbers.last(tenant)
        if self._target.on_citus or number is None:
            return None
        for _ in range(2):  # again, when a purge of this process gave the kinds another version meanwhile
            if kinds is None:
                return None
            call = prepare_call(tenant, number, writes, *kinds)
            if call is None:
                return None
            try:
                stored: list[list[Receipt] | WhenceError] | None = await self._writing.run(
                    number, call.run, tenant=tenant, alone=True
                )
            except (ConnectionLost, TransactionAborted):
                return None
            if stored is not None:
                self._listen_notify.notify(tenant, number)
                return stored
            tried, kinds = kinds, self._numbers.last(tenant)
            if kinds is not None and kinds[0] == tried[0]:
                return None
        return None

    async def wait_for_idle_writer(self) -> None:
        """Return at once, since appends compute on this event loop; see `Store`."""

    async def get_event(self, viewer: Viewer, event_id: str) -> Event | None:
        """Find one event; see `Store`."""

        async def ask(connection: Connection, owner: Tenant) -> Event | None:
            row = await connection.fetchrow(_SQL["one_event"], owner.number, event_id, viewer.tenant, viewer.readable)
            if row is None:
                await head_row(connection, owner)
                return None
            return event_from(viewer.tenant, row)

        event: Event | None = await self._read_as(viewer.tenant, ask)
        return event

    async def find_ids(self, viewer: Viewer, reference: Reference) -> list[str]:
        """Find the events that a reference names; see `Store`."""

        async def ask(connection: Connection, owner: Tenant) -> list[str]:
            await head_row(connection, owner)
            if reference.position is not None:
                rows = await connection.fetch(_SQL["id_at"], owner.number, reference.position, viewer.readable)
            else:
                ends = reference.first_id, reference.last_id
                rows = await connection.fetch(_SQL["ids_in_range"], owner.number, *ends, viewer.readable)
            return [str(id_) for (id_,) in rows]

        found: list[str] | None = await self._read_as(viewer.tenant, ask)
        return found or []

    async def find_names(self, viewer: Viewer, search: NameSearch) -> FoundNames:
        """Find names; see `Store`."""

        async def ask(connection: Connection, owner: Tenant) -> FoundNames:
            return await names_of(connection, await self._snapshot(connection, owner, viewer), search)

        unbounded = not is_indexed_search(search, viewer)
        found: FoundNames = await self._read_as(viewer.tenant, ask, unbounded=unbounded)
        return found

    def log_state(self, tenant: str) -> LogState | None:
        """Say nothing: that would be a question to the database; see `Store`."""
        return None

    def event_now(self, viewer: Viewer, event_id: str) -> Event | None:
        """Find nothing, as `log_state` does; see `Store`."""
        return None

    async def list_events(self, viewer: Viewer, query: Query, request: PageRequest) -> Page:
        """Answer one page; see `Store`."""

        async def ask(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> Page:
            as_of = pinned(snapshot.size, request.as_of)
            if as_of < snapshot.size:
                resolved = resolved.up_to(as_of)
            # The total first: where nothing matches, no index is walked, whatever hidden events it leads to.
            matching = await total(connection, snapshot, resolved)
            return Page(
                events=await events_of_page(connection, snapshot, resolved, request) if matching else [],
                total=matching,
                limit=request.limit,
                offset=await events_passed(connection, snapshot, resolved, request),
                as_of=as_of,
                removal_epoch=snapshot.removal_epoch,
            )

        page: Page = await self._ask(viewer, query, ask, indexed=is_indexed_list(query, viewer))
        return page

    async def read_feed(self, viewer: Viewer, query: Query, after: int, limit: int) -> FeedPage:
        """Read a part of a feed; see `Store`."""
        ask = partial(part_of_feed, after=after, limit=limit)
        part: FeedPage = await self._ask(viewer, query, ask, indexed=True, matching=False)
        return part

    async def list_part(self, viewer: Viewer, query: Query, request: PartRequest) -> EventPart:
        """Read a part in total order; see `Store`."""
        ask = partial(part_in_order, request=request)
        part: EventPart = await self._ask(viewer, query, ask, indexed=True, matching=False)
        return part

    async def position_before(self, tenant: str, time: int) -> int:
        """Find a position by time; see `Store`."""
        found: int = await self._read_as(tenant, partial(position_before, time=time))
        return found

    async def count_events(self, viewer: Viewer, query: Query) -> Counts:
        """Count by word; see `Store`."""
        counts: Counts = await self._ask(viewer, query, count_by_word, indexed=is_indexed_count(query, viewer))
        return counts

    async def actor_stats(self, viewer: Viewer, query: Query) -> list[ActorStat]:
        """Count by actor; see `Store`."""
        stats: list[ActorStat] = await self._ask(viewer, query, actor_stats, indexed=is_indexed_count(query, viewer))
        return stats

    async def histogram(self, viewer: Viewer, query: Query, request: HistogramRequest) -> TimeHistogram:
        """Count by time; see `Store`."""
        ask = partial(histogram, request=request)
        found: TimeHistogram = await self._ask(viewer, query, ask, indexed=is_indexed_count(query, viewer))
        return found

    async def facets(self, viewer: Viewer, query: Query, top: int, payload_fields: Sequence[str] = ()) -> Facets:
        """Count by the values of fields; see `Store`."""
        ask = partial(facets, query=query, top=top, paths=payload_fields)
        indexed = is_indexed_count(query, viewer) and not payload_fields
        found: Facets = await self._ask(viewer, query, ask, indexed=indexed, matching=False)
        return found

    async def actors(
        self, viewer: Viewer, since: int | None, until: int | None, request: ActorPageRequest
    ) -> ActorPage:
        """Answer a page of actors; see `Store`."""
        asked = Query(since=since, until=until)
        page: ActorPage = await self._ask(viewer, asked, partial(actor_page, request=request), indexed=True)
        return page

    async def actor_summary(
        self, viewer: Viewer, actor: tuple[str, str], since: int | None, until: int | None
    ) -> ActorSummary:
        """Summarize an actor; see `Store`."""
        asked = Query(actor_types=actor[:1], actor_ids=actor[1:], since=since, until=until)
        ask = partial(actor_summary, name=actor)
        found: ActorSummary = await self._ask(viewer, asked, ask, indexed=True)
        return found

    async def resource_summary(self, viewer: Viewer, resource: tuple[str, str], top: int) -> ResourceSummary:
        """Summarize a resource; see `Store`."""
        asked = Query(resource_types=resource[:1], resource_ids=resource[1:])
        ask = partial(resource_summary, top=top)
        found: ResourceSummary = await self._ask(viewer, asked, ask, indexed=False)
        return found

    async def trace(self, viewer: Viewer, event_id: str, request: TraceRequest) -> Graph | None:
        """Find the graph around an event; see `Store`."""

        async def ask(connection: Connection, owner: Tenant) -> Graph | None:
            snapshot = await self._snapshot(connection, owner, viewer)
            return await graph_of(connection, snapshot, event_id, request)

        with saying_what_helps(TRACE_TOO_LARGE):
            graph: Graph | None = await self._read_as(viewer.tenant, ask)
        return graph

    async def reach(self, viewer: Viewer, event_ids: Sequence[str]) -> list[Reach]:
        """Count causes and effects; see `Store`."""

        async def ask(connection: Connection, owner: Tenant) -> list[Reach]:
            return await reach_of(connection, await self._snapshot(connection, owner, viewer), event_ids)

        with saying_what_helps(REACH_TOO_LARGE):
            found: list[Reach] = await self._read_as(viewer.tenant, ask)
        return found

    async def read_payloads(self, viewer: Viewer, positions: Sequence[int]) -> list[bytes | None]:
        """Read some payloads; see `Store`."""

        async def ask(connection: Connection, owner: Tenant) -> list[bytes | None]:
            return await payloads_of(connection, await self._snapshot(connection, owner, viewer), positions)

        found: list[bytes | None] = await self._read_as(viewer.tenant, ask)
        return found

    async def list_flows(self, viewer: Viewer, query: FlowQuery, request: PageRequest) -> FlowPage:
        """Answer one page of flows; see `Store`."""

        async def ask(connection: Connection, owner: Tenant) -> FlowPage:
            return await flows_of_page(connection, await self._snapshot(connection, owner, viewer), query, request)

        page: FlowPage = await self._read_as(viewer.tenant, ask, unbounded=not is_indexed_flows(query, viewer))
        return page

    async def process_map(self, viewer: Viewer, since: int | None, until: int | None) -> ProcessMap:
        """Return the process map; see `Store`."""

        async def ask(connection: Connection, owner: Tenant) -> ProcessMap:
            return await map_of(connection, await self._snapshot(connection, owner, viewer), (since, until))

        with saying_what_helps(MAP_TOO_LARGE):
            found: ProcessMap = await self._read_as(viewer.tenant, ask)
        return found

    async def head(self, tenant: str) -> Head:
        """Return the state of a tenant's log; see `Store`."""
        row = await self._read_as(tenant, head_row)
        if row is None:
            return Head(0, EMPTY_ROOT, 0)
        return Head(
            row.size, row.tree().root(), row.recorded_at, row.payload_bytes, row.retained_from, row.removed_recorded_at
        )

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        """Wait for a log to grow; see `Store`."""
        return await self._listen_notify.changed(tenant, position, timeout_s)

    async def _number_and_size(self, tenant: str) -> tuple[int, int]:
        """The tenant's number and the size of its log; zeros for a tenant that has none."""
        row = await self._read_as(tenant, head_row)
        return (NO_TENANT, 0) if row is None else (row.tenant_no, row.size)

    async def tenants(self, after: str = "", limit: int | None = None) -> list[str]:
        """List tenants; see `Store`."""
        found: list[str] = await self._read(partial(replication.tenants, after=after, limit=limit))
        return found

    async def read_log(self, tenant: str, after: int, limit: int) -> list[HashedEvent]:
        """Read a part of a log; see `Store`."""
        part: list[HashedEvent] = await self._read_as(tenant, partial(replication.read_part, after=after, limit=limit))
        return part

    async def import_log(self, tenant: str, events: Sequence[HashedEvent]) -> None:
        """Append exact events; see `Store`."""
        if not self._importing:
            raise StoreRefused("This store was not opened to be restored.")
        await self._ensure_checked()
        work = partial(replication.import_events, events=events, cached=self._numbers)
        await self._grow(tenant, partial(work, joined=not self._target.on_citus))

    async def import_removed(self, tenant: str, leaves: bytes) -> None:
        """Append positions without events; see `Store`."""
        if not self._importing:
            raise StoreRefused("This store was not opened to be restored.")
        await self._grow(tenant, partial(replication.import_removed, leaves=leaves))

    async def import_retained_from(self, tenant: str, head: Head) -> None:
        """Take over what no event says; see `Store`."""
        if not self._importing:
            raise StoreRefused("This store was not opened to be restored.")
        await self._write_as(tenant, partial(replication.import_retained_from, head=head))

    async def _ask(
        self, viewer: Viewer, query: Query, question: Question, *, indexed: bool, matching: bool = True
    ) -> Any:
        """Ask a question about the events that match a query. Without `matching`, the question finds the payload values
        itself, in the part of the log that it reads."""

        async def ask(connection: Connection, owner: Tenant, *, bounded: bool) -> Any:
            snapshot = await self._snapshot(connection, owner, viewer)
            resolved = await resolve_names(connection, snapshot, query)
            if matching:
                resolved = await match(connection, snapshot, resolved, bounded=bounded)
            return await question(connection, snapshot, resolved)

        if indexed:
            try:
                return await self._read_as(viewer.tenant, partial(ask, bounded=True))
            except IndexBehind:
                pass
        return await self._read_as(viewer.tenant, partial(ask, bounded=False), unbounded=True)

    async def _snapshot(self, connection: Connection, tenant: Tenant, viewer: Viewer) -> Snapshot:
        """The state of the viewer's log in the connection's transaction."""
        row = await head_row(connection, tenant)
        if row is None:
            return Snapshot(viewer, NO_TENANT, 0, {}, events=0)
        kinds = self._kinds.get(row.kinds_version, {}) if row.kinds else {}
        if len(kinds) != row.kinds - row.kinds_removed:
            rows = await connection.fetch(_SQL["kinds"], row.tenant_no)
            kinds = {number: Kind(number, *words) for number, *words in rows}
            _bounded(self._kinds)[row.kinds_version] = kinds
        return Snapshot(
            viewer,
            row.tenant_no,
            row.size,
            kinds,
            actors=row.actors,
            folded_to=row.folded_to,
            events=row.events,
            removal_epoch=row.removal_epoch,
            retained_from=row.retained_from,
        )

    # --- life --------------------------------------------------------------------------------------------------

    async def check_servable(self) -> None:
        """Check the server, the login and the schema on a connection of its own; see `Store`."""
        connection = await self._target.connect_first()
        try:
            self._target.on_citus = await verify(connection, unsafe_durability=self._unsafe_durability)
            self._target.inherits_role = await connection.fetchval(_SQL["may_call"])
            for note in await refuse_changed_catalogue(connection):
                _log.info("the schema has more than Whence makes, which does no harm", what=note)
            if self._serving:
                await refuse_unseen(connection)
        except DRIVER_ERRORS as error:
            raise Unavailable("The PostgreSQL server cannot be reached.") from error
        finally:
            await connection.close()
        self._verified = True

    def free_bytes(self) -> int | None:
        """None, since the disk is the server's; see `Store`."""
        return None

    async def check(self) -> None:
        """Check that the store can read and write; see `Store`."""

        async def read(connection: Connection) -> None:
            await connection.fetchval("SELECT count(*) FROM (SELECT 1 FROM tenant LIMIT 1) t")
            if self._target.on_citus:
                await citus.check_workers(connection)

        await self._read(read)
        if await self._write(lambda connection: connection.fetchval("SHOW transaction_read_only")) != "off":
            raise Unavailable("The PostgreSQL server takes no writes; it may be a standby.")

    async def close(self) -> None:
        """Close every connection; see `Store`."""
        await self._listen_notify.close()
        await asyncio.gather(self._reading.close(), self._writing.close())

    async def _read(self, work: TransactionWork, share: str = "") -> Any:
        """Read rows that belong to no tenant, on somebody's share of the connections."""
        await self._ensure_checked()
        return await repeat_aborted(lambda: self._reading.run(NO_TENANT, work, tenant=share))

    async def _write(self, work: TransactionWork, share: str = "") -> Any:
        """Write rows that belong to no tenant, on somebody's share of the connections."""
        await self._ensure_checked()
        return await repeat_aborted(lambda: self._writing.run(NO_TENANT, work, tenant=share))

    async def _read_as(self, tenant: str, work: TenantWork, *, unbounded: bool = False) -> Any:
        """Read as a tenant, which need not exist."""
        return await self._run_as(self._reading, tenant, work, unbounded=unbounded)

    async def _write_as(self, tenant: str, work: TenantWork, *, make: bool = False) -> Any:
        """Write as a tenant, which is created if it is missing and `make` is set."""
        return await self._run_as(self._writing, tenant, work, make=make)

    async def _remove_as(self, tenant: str, work: TenantWork) -> Any:
        """Write as a tenant with the rights of a removal."""
        if not self._may_remove:
            self._may_remove = await self._read(lambda connection: connection.fetchval(_SQL["may_remove"]), tenant)
        if not self._may_remove:
            _log.error("removal refused", reason=_MAY_NOT_REMOVE)
            raise Unavailable(_MAY_NOT_REMOVE)
        return await self._run_as(self._writing, tenant, work, role=KEEPER_ROLE)

    async def _grow(self, tenant: str, work: TenantWork) -> Any:
        """Write as a tenant, which is created if missing, and wake the tasks that wait for its log."""
        number = NO_TENANT

        async def with_number(connection: Connection, owner: Tenant) -> Any:
            nonlocal number
            number = owner.number
            return await work(connection, owner)

        done = await self._write_as(tenant, with_number, make=True)
        self._listen_notify.notify(tenant, number)
        return done

    async def _run_as(
        self,
        pool: ConnectionPool,
        name: str,
        work: TenantWork,
        *,
        role: str = APP_ROLE,
        unbounded: bool = False,
        make: bool = False,
    ) -> Any:
        """Run work in a transaction under the tenant's number and with the rights of a role, and return its result."""
        await self._ensure_checked()

        async def run(tenant: Tenant) -> Any:
            run_once = partial(pool.run, tenant.number, tenant=name, role=role, unbounded=unbounded)
            return await repeat_aborted(lambda: run_once(lambda connection: work(connection, tenant)))

        cached = self._tenants.get(name)
        if cached is not None:
            try:
                return await run(Tenant(name, cached, is_cached=True))
            except TenantRenumbered:
                self._tenants.pop(name, None)
        run_alone = partial(pool.run, NO_TENANT, tenant=name)
        number = await repeat_aborted(lambda: run_alone(lambda connection: find_tenant(connection, name)))
        if number == NO_TENANT and make:
            number = await repeat_aborted(lambda: run_alone(lambda connection: make_tenant(connection, name)))
        if number != NO_TENANT:  # a tenant without a number may be created by another process
            _bounded(self._tenants, _TENANT_NUMBERS_CACHED)[name] = number
        return await run(Tenant(name, number))

    async def _ensure_checked(self) -> None:
        """Check the server before its first use."""
        if not self._verified:
            await self.check_servable()


def _bounded(cache: dict[Any, Any], most: int = _TENANTS_CACHED) -> dict[Any, Any]:
    """The cache, emptied when it holds too many tenants."""
    if len(cache) >= most:
        cache.clear()
    return cache
