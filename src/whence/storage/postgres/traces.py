"""What happened because of what: the graph around an event, the flows, and the process map."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from whence.events import Keyset, PageRequest
from whence.flows import (
    SUMMARY_EVENTS_MAX,
    FlowPage,
    FlowQuery,
    ProcessMap,
    cover_of_days,
    days_of,
    flow_page,
    summarize_flow,
)
from whence.identities import spellings
from whence.storage.feed import within_bytes
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.resolve import Bindings
from whence.storage.postgres.rows import cause_id_from
from whence.storage.postgres.transitions import unfolded_transitions
from whence.storage.process_map import flow_conditions, map_from, require_flow_request
from whence.storage.resolve import Snapshot, readable_kinds
from whence.storage.sql import load_blocks
from whence.storage.walks import compute, run_walk_async
from whence.trace import Graph, GraphEvent, Lookup, Reach, TraceRequest, by_time, reach_walk, walk

__all__ = ["flows_of_page", "graph_of", "map_of", "payloads_of", "reach_of"]

_SQL = load_blocks("whence.storage.postgres")

_HOPS_FACTOR = 4
_HOPS_MAX = 1_024
"""Hops that one statement reads in advance: one at first, then more."""

_AHEAD_MAX = 4_000
"""Events that one statement reads in advance."""


class _EventReader:
    """Reads the events that a walk asks for, of those that one viewer may see.

    A walk asks for one hop at a time. To save round trips, a lookup reads further hops in advance: each time
    `_HOPS_FACTOR` times as many, upwards and downwards.
    """

    def __init__(self, connection: Connection, snapshot: Snapshot) -> None:
        self.connection = connection
        self.snapshot = snapshot
        self.kinds = readable_kinds(snapshot)
        self.known: dict[int, GraphEvent] = {}
        self.by_id: dict[str, GraphEvent] = {}
        self.effects: dict[str, list[GraphEvent]] = {}  # of events whose effects are all known
        self.hops_up = 1
        self.hops_down = 1

    async def answer(self, lookup: Lookup) -> list[GraphEvent]:
        """The events that a walk asks for."""
        if lookup.flow:
            return await self.by_flows(lookup.ids, lookup.limit)
        return await (self.by_causes(lookup.ids, lookup.limit) if lookup.effects else self.by_ids(lookup.ids))

    def recall(self, lookup: Lookup) -> list[GraphEvent] | None:
        """The events that a walk asks for, if all of them have been read."""
        if lookup.flow or not all(id_ in (self.effects if lookup.effects else self.by_id) for id_ in lookup.ids):
            return None
        if lookup.effects:
            return self._known_effects(lookup.ids, lookup.limit)
        return [self.by_id[id_] for id_ in lookup.ids]

    async def by_flows(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        """Events of some flows, in any order. The id of an actor or a resource is read once, not once an event."""
        names = [spelling for id_ in ids for spelling in spellings(id_)]
        rows = await self._fetch("graph_events_by_flow", "", names, limit)
        if not rows:
            return []
        numbers = list({row[6] for row in rows}), list({row[7] for row in rows})
        found = await self.connection.fetchrow(_SQL["names"], self.snapshot.tenant_no, *numbers)
        actors, resources = dict(zip(*found[:2], strict=True)), dict(zip(*found[2:], strict=True))
        return self._events((*row[:6], actors[row[6]], resources[row[7]]) for row in rows)

    async def by_ids(self, ids: Sequence[str]) -> list[GraphEvent]:
        """The events with these ids. An id that is not a UUID belongs to no event."""
        unknown = [id_ for id_ in ids if id_ not in self.by_id and cause_id_from(id_) is not None]
        if len(unknown) == 1:
            await self._read_up(unknown[0])
        elif unknown:
            self._events(await self._fetch("graph_events", " AND e.id = ANY($3::uuid[])", unknown))
        return [self.by_id[id_] for id_ in ids if id_ in self.by_id]

    async def _read_up(self, id_: str) -> None:
        """Read the event with this id, and some of its causes: a walk mostly asks for them next."""
        if self.hops_up == 1:
            self._events(await self._fetch("graph_events", " AND e.id = $3", id_))
        else:
            rows = await self._fetch("causes_above", "", id_, self.hops_up)
            await self.by_positions([row[0] for row in rows])
        self.hops_up = min(self.hops_up * _HOPS_FACTOR, _HOPS_MAX)

    async def by_causes(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        """The effects of some events, by time."""
        unknown = [id_ for id_ in ids if id_ not in self.effects]
        if unknown and not await self._read_down(unknown):
            return await self._effects_of(ids, limit)
        return self._known_effects(ids, limit)

    def _known_effects(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        return sorted((effect for id_ in ids for effect in self.effects[id_]), key=by_time)[:limit]

    async def _read_down(self, ids: Sequence[str]) -> bool:
        """Read the effects of some events, and the next hops below them. Returns False, and keeps nothing, when these
        are too many events; the next lookup then reads fewer hops."""
        hops, self.hops_down = self.hops_down, min(self.hops_down * _HOPS_FACTOR, _HOPS_MAX)
        if hops == 1:
            return False
        rows = await self._fetch("effects_below", "", list(ids), hops, _AHEAD_MAX)
        if len(rows) == _AHEAD_MAX:
            self.hops_down = hops // _HOPS_FACTOR
            return False
        found = await self.by_positions(list({position for position, _ in rows}))
        complete = _complete(rows, hops)
        self.effects.update((id_, []) for id_ in ids)
        self.effects.update((event.id, []) for event in found if event.position in complete)
        for event in found:
            if event.cause in self.effects:
                self.effects[event.cause].append(event)
        return True

    async def _effects_of(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        """The effects of some events, by time, without reading ahead."""
        values = (self.snapshot.tenant_no, list(ids), limit)
        if self.kinds is None:
            rows = await self.connection.fetch(_SQL["keys_by_cause"] + " LIMIT $3", *values)
        else:
            where = " AND kind = ANY($4::int[]) LIMIT $3"
            rows = await self.connection.fetch(_SQL["keys_by_cause"] + where, *values, self.kinds)
        if len(rows) >= limit:  # there may be more, and the first ones by time are wanted
            rows = await self._fetch("keys_by_cause_in_order", "", list(ids), limit)
        return sorted(await self.by_positions([row[0] for row in rows]), key=by_time)

    async def by_positions(self, positions: Sequence[int]) -> list[GraphEvent]:
        """The events at these positions, in their order. Those that were read before are not read again."""
        unknown = [position for position in positions if position not in self.known]
        if unknown:
            rows = await self._fetch("graph_events", " AND e.position = ANY($3::bigint[])", unknown)
            await compute(len(rows), self._events, rows)
        return [self.known[position] for position in positions if position in self.known]

    async def _fetch(self, block: str, where: str, *values: Any) -> list[Any]:
        """The rows of a statement about events that the viewer may see."""
        rows: list[Any] = await self.connection.fetch(_SQL[block] + where, self.snapshot.tenant_no, self.kinds, *values)
        return rows

    def _events(self, rows: Iterable[Sequence[Any]]) -> list[GraphEvent]:
        """The events of `graph_events` rows, which are kept for the walk."""
        kinds = self.snapshot.kinds
        events = [
            GraphEvent(
                str(id_),
                position,
                cause,
                flow,
                occurred_at,
                (kind := kinds[kind_no]).event_type,
                kind.outcome,
                kind.actor_type,
                actor_id,
                kind.resource_type,
                str(resource_id),
            )
            for position, id_, cause, occurred_at, kind_no, flow, actor_id, resource_id in rows
        ]
        self.known.update((event.position, event) for event in events)
        self.by_id.update((event.id, event) for event in events)
        return events


def _complete(rows: Sequence[tuple[int, int]], hops: int) -> set[int]:
    """The positions of the `effects_below` rows whose own effects are among the rows: all but those of the last hop."""
    return {position for position, hop in rows if hop < hops}


async def graph_of(connection: Connection, snapshot: Snapshot, event_id: str, request: TraceRequest) -> Graph | None:
    """The graph around an event, or None when there is no such event that this viewer may see."""
    reader = _EventReader(connection, snapshot)
    await connection.execute(_SQL["plan_by_size"])
    focus = await reader.by_ids((event_id,))
    return await run_walk_async(walk(focus[0], request), reader.answer, reader.recall) if focus else None


async def reach_of(connection: Connection, snapshot: Snapshot, event_ids: Sequence[str]) -> list[Reach]:
    """See `Store.reach`."""
    reader = _EventReader(connection, snapshot)
    await connection.execute(_SQL["plan_by_size"])
    return await run_walk_async(reach_walk(event_ids), reader.answer, reader.recall)


async def payloads_of(connection: Connection, snapshot: Snapshot, positions: Sequence[int]) -> list[bytes | None]:
    """See `Store.read_payloads`."""
    values = snapshot.tenant_no, list(positions), readable_kinds(snapshot)
    sizes: dict[int, int] = dict(await connection.fetch(_SQL["payload_sizes"], *values))
    read, _ = within_bytes((position, sizes.get(position, 0)) for position in positions)
    wanted = [position for position in read if position in sizes]
    found: dict[int, bytes | None] = {}
    if wanted:
        found = dict(await connection.fetch(_SQL["payloads"], snapshot.tenant_no, wanted))
    return [found.get(position) for position in read]


class _FlowsSql(msgspec.Struct, frozen=True):
    """The flows of a query in SQL: a WITH clause or nothing, the table, and the conditions."""

    with_: str
    table: str
    where: str


async def flows_of_page(connection: Connection, snapshot: Snapshot, query: FlowQuery, request: PageRequest) -> FlowPage:
    """One page of flows and how many there are. The numbers of flows have gaps here, so flows are always counted."""
    require_flow_request(query, request)
    bindings = Bindings(snapshot.tenant_no)
    sql = _flows_sql(snapshot, query, bindings)
    count = f"{sql.with_}SELECT count(*) FROM {sql.table} WHERE {sql.where}"
    total = await connection.fetchval(count, *bindings.values)
    if request.after is not None and request.removal_epoch != snapshot.removal_epoch:
        passed = await _flows_passed(connection, sql, Bindings(*bindings.values), request.after)
        request = msgspec.structs.replace(request, offset=passed)
    rows = await _flow_rows(connection, sql, bindings, request)
    reader = _EventReader(connection, snapshot)
    numbers = [row[0] for row in rows]
    first: dict[int, list[tuple[Any, Any, Any, Any]]] = {number: [] for number in numbers}
    for flow, *row in await connection.fetch(
        _SQL["flow_events"], snapshot.tenant_no, reader.kinds, numbers, SUMMARY_EVENTS_MAX + 1
    ):
        first[flow].append(tuple(row))
    summaries = [summarize_flow(first[number]) for number in numbers]
    roots = {event.position: event for event in await reader.by_positions([each.root for each in summaries])}
    return flow_page(rows, summaries, roots, request, total, snapshot.size, snapshot.removal_epoch)


def _flows_sql(snapshot: Snapshot, query: FlowQuery, bindings: Bindings) -> _FlowsSql:
    kinds = readable_kinds(snapshot)
    with_, table, where = "", "flow page", "tenant_no = $1"
    if kinds is not None:
        failing = [number for number in kinds if snapshot.kinds[number].outcome == "failure"]
        bindings.add(kinds)
        bindings.add(failing)
        with_, table, where = _SQL["flows_seen"] + " ", "seen page", "true"
    since = "" if query.since is None else bindings.add(query.since)
    until = "" if query.until is None else bindings.add(query.until)
    return _FlowsSql(with_, table, where + flow_conditions(query, since, until))


async def _flows_passed(connection: Connection, sql: _FlowsSql, bindings: Bindings, after: Keyset) -> int:
    """How many flows come before the place where a page continues, or are there."""
    place = f"({bindings.add(after.time)}::bigint, {bindings.add(after.number)}::bigint)"
    text = f"{sql.with_}SELECT count(*) FROM {sql.table} WHERE {sql.where} AND (last_at, flow) >= {place}"
    return int(await connection.fetchval(text, *bindings.values))


async def _flow_rows(
    connection: Connection, sql: _FlowsSql, bindings: Bindings, request: PageRequest
) -> list[tuple[Any, ...]]:
    """Number, correlation id, events, failures, first and last time of the flows of a page."""
    where, offset = sql.where, request.offset
    if request.after is not None:
        where += f" AND (last_at, flow) < ({bindings.add(request.after.time)}::bigint,"
        where += f" {bindings.add(request.after.number)}::bigint)"
        offset = 0
    name = "(SELECT f.correlation_id FROM flow f WHERE f.tenant_no = $1 AND f.flow = page.flow)"
    rows: list[tuple[Any, ...]] = await connection.fetch(
        f"{sql.with_}SELECT flow, {name}, events, failures, first_at, last_at FROM {sql.table} WHERE {where}"
        f" ORDER BY last_at DESC, flow DESC LIMIT {bindings.add(request.limit)} OFFSET {bindings.add(offset)}",
        *bindings.values,
    )
    return rows


async def map_of(
    connection: Connection,
    snapshot: Snapshot,
    period: tuple[int | None, int | None],
) -> ProcessMap:
    """The process map of the whole days that hold a period."""
    first, end = days_of(*period)
    spans = [(span.level, span.first, span.last) for span in cover_of_days(first, end)]
    folded: list[bytes] = []
    removed: list[bytes] = []
    if spans:
        values = (snapshot.tenant_no, *zip(*spans, strict=True))
        folded = [counts for (counts,) in await connection.fetch(_SQL["span_of_transitions"], *values)]
        removed = [counts for (counts,) in await connection.fetch(_SQL["span_of_removed_transitions"], *values)]
    unfolded = await unfolded_transitions(connection, snapshot.tenant_no, snapshot.folded_to)
    # This may take seconds, during which the event loop serves others.
    return await asyncio.to_thread(map_from, (first, end), snapshot, folded, unfolded, removed)
