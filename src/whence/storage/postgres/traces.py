"""What happened because of what: the graph around an event, the flows, and the process map."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from whence.events import PageRequest
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
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.resolve import Bindings, Snapshot
from whence.storage.postgres.rows import cause_id_from
from whence.storage.postgres.transitions import unfolded_transitions
from whence.storage.process_map import flow_conditions, map_from, readable_kinds
from whence.storage.sql import load_blocks
from whence.trace import Graph, GraphEvent, Lookup, TraceRequest, by_time, walk

__all__ = ["flows_of_page", "graph_of", "map_of"]

_SQL = load_blocks("whence.storage.postgres")


class _EventLookup:
    """The lookup of one question at the events that its reader may see."""

    def __init__(self, connection: Connection, snapshot: Snapshot, readable: tuple[str, ...] | None) -> None:
        self.connection = connection
        self.snapshot = snapshot
        self.kinds = readable_kinds(snapshot.kinds, readable)
        self.known: dict[int, GraphEvent] = {}

    async def answer(self, lookup_: Lookup) -> list[GraphEvent]:
        """What a walk wants to know."""
        if lookup_.flow:
            return await self.by_flows(lookup_.ids, lookup_.limit)
        return await (self.by_causes(lookup_.ids, lookup_.limit) if lookup_.effects else self.by_ids(lookup_.ids))

    async def by_flows(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        """Events of some flows, in any order. A name is asked for once, however many of them have it."""
        rows = await self._fetch("graph_events_by_flow", "", list(ids), limit)
        if not rows:
            return []
        numbers = list({row[6] for row in rows}), list({row[7] for row in rows})
        found = await self.connection.fetchrow(_SQL["names"], self.snapshot.tenant_no, *numbers)
        actors, resources = dict(zip(*found[:2], strict=True)), dict(zip(*found[2:], strict=True))
        return self._events((*row[:6], actors[row[6]], resources[row[7]]) for row in rows)

    async def by_ids(self, ids: Sequence[str]) -> list[GraphEvent]:
        """The events with these ids; what is no UUID is none of them. One by one, since a walk asks for one at a time,
        and a plan for any number of them is made anew each time."""
        found = [id_ for id_ in ids if cause_id_from(id_) is not None]
        return [
            event for id_ in found for event in self._events(await self._fetch("graph_events", " AND e.id = $3", id_))
        ]

    async def by_causes(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        """The effects of some events, by time."""
        values = (self.snapshot.tenant_no, list(ids), limit)
        if self.kinds is None:
            rows = await self.connection.fetch(_SQL["keys_by_cause"] + " LIMIT $3", *values)
        else:
            where = " AND kind = ANY($4::int[]) LIMIT $3"
            rows = await self.connection.fetch(_SQL["keys_by_cause"] + where, *values, self.kinds)
        if len(rows) >= limit:  # which ones depends on the order now
            rows = await self._fetch("keys_by_cause_in_order", "", list(ids), limit)
        return sorted(await self.by_positions([row[0] for row in rows]), key=by_time)

    async def by_positions(self, positions: Sequence[int]) -> list[GraphEvent]:
        """The events at these positions, in their order. None is read twice."""
        unknown = [position for position in positions if position not in self.known]
        if unknown:
            self._events(await self._fetch("graph_events", " AND e.position = ANY($3::bigint[])", unknown))
        return [self.known[position] for position in positions if position in self.known]

    async def _fetch(self, block: str, where: str, *values: Any) -> list[Any]:
        """The rows of events that the reader may see."""
        rows: list[Any] = await self.connection.fetch(_SQL[block] + where, self.snapshot.tenant_no, self.kinds, *values)
        return rows

    def _events(self, rows: Iterable[Sequence[Any]]) -> list[GraphEvent]:
        """The rows of `links` as links, which are known from now on."""
        kinds = self.snapshot.kinds
        links = [
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
        self.known.update((event.position, event) for event in links)
        return links


async def graph_of(
    connection: Connection, snapshot: Snapshot, event_id: str, request: TraceRequest, readable: tuple[str, ...] | None
) -> Graph | None:
    """The graph around an event, or None when there is no such event for this reader."""
    lookup = _EventLookup(connection, snapshot, readable)
    focus = await lookup.by_ids((event_id,))
    if not focus:
        return None
    walking = walk(focus[0], request)
    try:
        lookup_: Lookup = next(walking)
        while True:
            lookup_ = walking.send(await lookup.answer(lookup_))
    except StopIteration as done:
        graph: Graph = done.value
        return graph


class _Asked(msgspec.Struct, frozen=True):
    """A question about flows in SQL: what stands before the statement, the table of flows, and the conditions."""

    with_: str
    table: str
    where: str


async def flows_of_page(connection: Connection, snapshot: Snapshot, query: FlowQuery, request: PageRequest) -> FlowPage:
    """One page of flows and how many there are. Numbers of flows have gaps here, so they are always counted."""
    bindings = Bindings(snapshot.tenant_no)
    asked = _asked(snapshot, query, bindings)
    sql = f"{asked.with_}SELECT count(*) FROM {asked.table} WHERE {asked.where}"
    total = await connection.fetchval(sql, *bindings.values)
    rows = await _flow_rows(connection, asked, bindings, request)
    lookup = _EventLookup(connection, snapshot, query.readable)
    numbers = [row[0] for row in rows]
    values: dict[int, list[tuple[Any, Any, Any, Any]]] = {number: [] for number in numbers}
    for flow, *row in await connection.fetch(
        _SQL["flow_events"], snapshot.tenant_no, lookup.kinds, numbers, SUMMARY_EVENTS_MAX + 1
    ):
        values[flow].append(tuple(row))
    stories = [summarize_flow(values[number]) for number in numbers]
    roots = {event.position: event for event in await lookup.by_positions([story.root for story in stories])}
    return flow_page(rows, stories, roots, request, total, snapshot.size)


def _asked(snapshot: Snapshot, query: FlowQuery, bindings: Bindings) -> _Asked:
    kinds = readable_kinds(snapshot.kinds, query.readable)
    with_, table, where = "", "flow page", "tenant_no = $1"
    if kinds is not None:
        failing = [number for number in kinds if snapshot.kinds[number].outcome == "failure"]
        bindings.add(kinds)
        bindings.add(failing)
        with_, table, where = _SQL["flows_seen"] + " ", "seen page", "true"
    since = "" if query.since is None else bindings.add(query.since)
    until = "" if query.until is None else bindings.add(query.until)
    return _Asked(with_, table, where + flow_conditions(query, since, until))


async def _flow_rows(
    connection: Connection, asked: _Asked, bindings: Bindings, request: PageRequest
) -> list[tuple[Any, ...]]:
    """Number, correlation id, events, failures, first and last time of the flows of a page."""
    where, offset = asked.where, request.offset
    if request.after is not None:
        where += f" AND (last_at, flow) < ({bindings.add(request.after.occurred_at)}::bigint,"
        where += f" {bindings.add(request.after.position)}::bigint)"
        offset = 0
    name = "(SELECT f.correlation_id FROM flow f WHERE f.tenant_no = $1 AND f.flow = page.flow)"
    rows: list[tuple[Any, ...]] = await connection.fetch(
        f"{asked.with_}SELECT flow, {name}, events, failures, first_at, last_at FROM {asked.table} WHERE {where}"
        f" ORDER BY last_at DESC, flow DESC LIMIT {bindings.add(request.limit)} OFFSET {bindings.add(offset)}",
        *bindings.values,
    )
    return rows


async def map_of(
    connection: Connection,
    snapshot: Snapshot,
    period: tuple[int | None, int | None],
    readable: tuple[str, ...] | None,
) -> ProcessMap:
    """The process map of the whole days that hold a period."""
    first, end = days_of(*period)
    asked = [(span.level, span.first, span.last) for span in cover_of_days(first, end)]
    folded: list[bytes] = []
    if asked:
        values = (snapshot.tenant_no, *zip(*asked, strict=True))
        folded = [counts for (counts,) in await connection.fetch(_SQL["span_of_transitions"], *values)]
    behind = await unfolded_transitions(connection, snapshot.tenant_no, snapshot.folded_to)
    # It may be seconds of work, during which this event loop has others to serve.
    return await asyncio.to_thread(map_from, (first, end), snapshot.kinds, readable, folded, behind)
