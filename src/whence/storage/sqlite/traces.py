"""What happened because of what: the graph around an event, the flows, and the process map."""

import heapq
from array import array
from collections.abc import Sequence
from itertools import islice
from typing import Any

import apsw
import msgspec

from whence.events import PageRequest
from whence.flows import (
    SUMMARY_EVENTS_MAX,
    FlowPage,
    FlowQuery,
    FlowSummary,
    ProcessMap,
    cover_of_days,
    days_of,
    flow_page,
    summarize_flow,
)
from whence.storage.process_map import flow_conditions, map_from, readable_kinds
from whence.storage.sql import load_blocks
from whence.storage.sqlite.resolve import Snapshot, json_list
from whence.storage.sqlite.rows import cause_from, cause_text, number_of, uuid_bytes, uuid_text
from whence.storage.sqlite.transitions import unfolded_transitions
from whence.trace import Graph, GraphEvent, Lookup, TraceRequest, by_time, walk

__all__ = ["flows_of_page", "graph_of", "map_of"]

_SQL = load_blocks("whence.storage.sqlite")


class _EventLookup:
    """The lookup of one question at the events that its reader may see."""

    def __init__(self, connection: apsw.Connection, snapshot: Snapshot, readable: tuple[str, ...] | None) -> None:
        self.connection = connection
        self.snapshot = snapshot
        kinds = readable_kinds(snapshot.kinds, readable)
        self.kinds = None if kinds is None else json_list(kinds)
        self.known: dict[int, GraphEvent] = {}

    def answer(self, lookup_: Lookup) -> list[GraphEvent]:
        """What a walk wants to know."""
        if lookup_.flow:
            return self.by_flows(lookup_.ids, lookup_.limit)
        return self.by_causes(lookup_.ids, lookup_.limit) if lookup_.effects else self.by_ids(lookup_.ids)

    def by_flows(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        """Events of some flows, in any order."""
        values = (self.snapshot.tenant_no, apsw.carray(tuple(ids)), self.kinds, limit)
        return self.by_keys([key for (key,) in self.connection.execute(_SQL["keys_by_flow"], values)])

    def by_ids(self, ids: Sequence[str]) -> list[GraphEvent]:
        """The events with these ids; what is no UUID is none of them."""
        found = tuple(id_ for id_ in map(cause_from, ids) if isinstance(id_, bytes))
        where = " WHERE e.tenant_no = ?1 AND e.id IN (SELECT value FROM carray(?2))"
        return self._events(where, self.snapshot.tenant_no, apsw.carray(found)) if found else []

    def by_causes(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        """The effects of some events, by time."""
        causes = tuple(map(uuid_bytes, ids))
        values = (self.snapshot.tenant_no, apsw.carray(causes), self.kinds, limit)
        keys = [key for (key,) in self.connection.execute(_SQL["keys_by_cause"], values)]
        if len(keys) >= limit:  # which ones depends on the order now
            runs = [
                self.connection.execute(_SQL["keys_by_cause_in_order"], (self.snapshot.tenant_no, cause, self.kinds))
                for cause in causes
            ]
            keys = [key for _, key in islice(heapq.merge(*runs), limit)]
        return sorted(self.by_keys(keys), key=by_time)

    def by_keys(self, keys: Sequence[int]) -> list[GraphEvent]:
        """The events with these keys, in any order. None is read twice."""
        unknown = [key for key in keys if key not in self.known]
        if unknown:
            where = " WHERE e.key IN (SELECT value FROM carray(?1))"
            self._events(where, apsw.carray(array("q", unknown)))
        return [self.known[key] for key in keys if key in self.known]

    def _events(self, where: str, *bindings: Any) -> list[GraphEvent]:
        """The events with a condition as links, which are known from now on."""
        if self.kinds is not None:
            # The plus keeps SQLite from looking for events by their kind.
            where += f" AND +e.kind IN (SELECT value FROM json_each(?{len(bindings) + 1}))"
            bindings = (*bindings, self.kinds)
        kinds = self.snapshot.kinds
        known: dict[int, GraphEvent] = {}
        for key, id_, cause, occurred_at, kind_no, flow, actor_id, resource_id in self.connection.execute(
            _SQL["graph_events"] + where, bindings
        ):
            kind = kinds[kind_no]
            known[key] = GraphEvent(
                uuid_text(id_),
                number_of(key),
                cause_text(cause),
                flow,
                occurred_at,
                kind.event_type,
                kind.outcome,
                kind.actor_type,
                actor_id,
                kind.resource_type,
                uuid_text(resource_id),
            )
        self.known.update(known)
        return list(known.values())


def graph_of(
    connection: apsw.Connection,
    snapshot: Snapshot,
    event_id: str,
    request: TraceRequest,
    readable: tuple[str, ...] | None,
) -> Graph | None:
    """The graph around an event, or None when there is no such event for this reader."""
    lookup = _EventLookup(connection, snapshot, readable)
    focus = lookup.by_ids((event_id,))
    if not focus:
        return None
    walking = walk(focus[0], request)
    try:
        lookup_: Lookup = next(walking)
        while True:
            lookup_ = walking.send(lookup.answer(lookup_))
    except StopIteration as done:
        graph: Graph = done.value
        return graph


class _Asked(msgspec.Struct, frozen=True):
    """A question about flows in SQL: what stands before the statement, the table of flows, the conditions on these,
    and what they name."""

    with_: str
    table: str
    where: str
    named: dict[str, Any]


def flows_of_page(connection: apsw.Connection, snapshot: Snapshot, query: FlowQuery, request: PageRequest) -> FlowPage:
    """One page of flows and how many there are."""
    asked = _asked(snapshot, query)
    total = snapshot.flows
    if not query.is_indexed:
        sql = f"{asked.with_}SELECT count(*) FROM {asked.table} WHERE {asked.where}"
        total = connection.execute(sql, asked.named).get
    rows = _flow_rows(connection, snapshot, asked, request)
    lookup = _EventLookup(connection, snapshot, query.readable)
    stories = [_story(connection, snapshot, number_of(row[0]), lookup.kinds) for row in rows]
    roots = {snapshot.key(event.position): event for event in lookup.by_keys([story.root for story in stories])}
    numbered = [(number_of(key), *row) for key, *row in rows]
    return flow_page(numbered, stories, roots, request, total, snapshot.size)


def _story(connection: apsw.Connection, snapshot: Snapshot, flow: int, kinds: str | None) -> FlowSummary:
    values = (snapshot.tenant_no, flow, kinds, SUMMARY_EVENTS_MAX + 1)
    rows: list[Any] = connection.execute(_SQL["flow_events"], values).fetchall()
    return summarize_flow(rows)


def _asked(snapshot: Snapshot, query: FlowQuery) -> _Asked:
    named: dict[str, Any] = {"tenant_no": snapshot.tenant_no, "since": query.since, "until": query.until}
    conditions = flow_conditions(query, ":since", ":until")
    kinds = readable_kinds(snapshot.kinds, query.readable)
    if kinds is None:
        index = "flow_failed" if query.failed else "flow_last"
        return _Asked("", f"flow AS page INDEXED BY {index}", f"tenant_no = :tenant_no{conditions}", named)
    named["kinds"] = json_list(kinds)
    named["failing"] = json_list(tuple(n for n in kinds if snapshot.kinds[n].outcome == "failure"))
    return _Asked(_SQL["flows_seen"] + " ", "seen AS page", f"TRUE{conditions}", named)


def _flow_rows(
    connection: apsw.Connection, snapshot: Snapshot, asked: _Asked, request: PageRequest
) -> list[tuple[Any, ...]]:
    """Key, correlation id, events, failures, first and last time of the flows of a page."""
    where, named = asked.where, {**asked.named, "limit": request.limit, "offset": request.offset}
    if request.after is not None:
        where += " AND (last_at, key) < (:last_at, :key)"
        named |= {
            "offset": 0,
            "last_at": request.after.occurred_at,
            "key": snapshot.key(request.after.position),
        }
    rows: list[tuple[Any, ...]] = connection.execute(
        f"{asked.with_}SELECT key, (SELECT f.correlation_id FROM flow f WHERE f.key = page.key), events, failures,"
        f" first_at, last_at FROM {asked.table} WHERE {where}"
        " ORDER BY last_at DESC, key DESC LIMIT :limit OFFSET :offset",
        named,
    ).fetchall()
    return rows


def map_of(
    connection: apsw.Connection,
    snapshot: Snapshot,
    period: tuple[int | None, int | None],
    readable: tuple[str, ...] | None,
) -> ProcessMap:
    """The process map of the whole days that hold a period."""
    first, end = days_of(*period)
    folded = [
        counts
        for span in cover_of_days(first, end)
        for (counts,) in connection.execute(
            _SQL["span_of_transitions"], (snapshot.tenant_no, span.level, span.first, span.last)
        )
    ]
    behind = unfolded_transitions(connection, snapshot.tenant_no, snapshot.folded_to)
    return map_from((first, end), snapshot.kinds, readable, folded, behind)
