"""What happened because of what: the graph around an event, the flows, and the process map."""

import heapq
from array import array
from collections.abc import Sequence
from itertools import islice
from typing import Any

import apsw
import msgspec

from whence.events import Keyset, PageRequest
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
from whence.identities import spellings
from whence.storage.feed import within_bytes
from whence.storage.process_map import flow_conditions, map_from, require_flow_request
from whence.storage.query_cost import is_indexed_flows
from whence.storage.resolve import Snapshot, readable_kinds
from whence.storage.sql import load_blocks
from whence.storage.sqlite.resolve import json_list
from whence.storage.sqlite.rows import cause_from, cause_text, key_of, number_of, uuid_bytes, uuid_text
from whence.storage.sqlite.transitions import unfolded_transitions
from whence.storage.walks import run_walk
from whence.trace import Graph, GraphEvent, Lookup, Reach, TraceRequest, by_time, reach_walk, walk

__all__ = ["flows_of_page", "graph_of", "map_of", "payloads_of", "reach_of"]

_SQL = load_blocks("whence.storage.sqlite")


class _EventReader:
    """Reads the events that a walk asks for, of those that one viewer may see."""

    def __init__(self, connection: apsw.Connection, snapshot: Snapshot) -> None:
        self.connection = connection
        self.snapshot = snapshot
        kinds = readable_kinds(snapshot)
        self.kinds = None if kinds is None else json_list(kinds)
        self.known: dict[int, GraphEvent] = {}

    def answer(self, lookup: Lookup) -> list[GraphEvent]:
        """The events that a walk asks for."""
        if lookup.flow:
            return self.by_flows(lookup.ids, lookup.limit)
        return self.by_causes(lookup.ids, lookup.limit) if lookup.effects else self.by_ids(lookup.ids)

    def by_flows(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        """Events of some flows, in any order."""
        names = [spelling for id_ in ids for spelling in spellings(id_)]
        values = (self.snapshot.tenant_no, apsw.carray(tuple(names)), self.kinds, limit)
        return self.by_keys([key for (key,) in self.connection.execute(_SQL["keys_by_flow"], values)])

    def by_ids(self, ids: Sequence[str]) -> list[GraphEvent]:
        """The events with these ids. An id that is not a UUID belongs to no event."""
        found = tuple(id_ for id_ in map(cause_from, ids) if isinstance(id_, bytes))
        where = " WHERE e.tenant_no = ?1 AND e.id IN (SELECT value FROM carray(?2))"
        return self._events(where, self.snapshot.tenant_no, apsw.carray(found)) if found else []

    def by_causes(self, ids: Sequence[str], limit: int) -> list[GraphEvent]:
        """The effects of some events, by time."""
        causes = tuple(map(uuid_bytes, ids))
        values = (self.snapshot.tenant_no, apsw.carray(causes), self.kinds, limit)
        keys = [key for (key,) in self.connection.execute(_SQL["keys_by_cause"], values)]
        if len(keys) >= limit:  # there may be more, and the first ones by time are wanted
            runs = [
                self.connection.execute(_SQL["keys_by_cause_in_order"], (self.snapshot.tenant_no, cause, self.kinds))
                for cause in causes
            ]
            keys = [key for _, key in islice(heapq.merge(*runs), limit)]
        return sorted(self.by_keys(keys), key=by_time)

    def by_keys(self, keys: Sequence[int]) -> list[GraphEvent]:
        """The events with these keys, in any order. Those that were read before are not read again."""
        unknown = [key for key in keys if key not in self.known]
        if unknown:
            where = " WHERE e.key IN (SELECT value FROM carray(?1))"
            self._events(where, apsw.carray(array("q", unknown)))
        return [self.known[key] for key in keys if key in self.known]

    def _events(self, where: str, *bindings: Any) -> list[GraphEvent]:
        """The events that meet a condition, which are kept for the walk."""
        if self.kinds is not None:
            # The plus keeps SQLite from using the index on kinds.
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
) -> Graph | None:
    """The graph around an event, or None when there is no such event that this viewer may see."""
    reader = _EventReader(connection, snapshot)
    focus = reader.by_ids((event_id,))
    return run_walk(walk(focus[0], request), reader.answer) if focus else None


def reach_of(connection: apsw.Connection, snapshot: Snapshot, event_ids: Sequence[str]) -> list[Reach]:
    """See `Store.reach`."""
    return run_walk(reach_walk(event_ids), _EventReader(connection, snapshot).answer)


def payloads_of(connection: apsw.Connection, snapshot: Snapshot, positions: Sequence[int]) -> list[bytes | None]:
    """See `Store.read_payloads`."""
    if not positions:
        return []
    kinds = readable_kinds(snapshot)
    keys = [key_of(snapshot.tenant_no, position) for position in positions]
    asked = apsw.carray(array("q", keys)), None if kinds is None else json_list(kinds)
    sizes = _by_key(connection, "payload_sizes", *asked)
    read, _ = within_bytes((key, sizes.get(key, 0)) for key in keys)
    wanted = [key for key in read if key in sizes]
    found = _by_key(connection, "payloads", apsw.carray(array("q", wanted))) if wanted else {}
    return [found.get(key) for key in read]


def _by_key(connection: apsw.Connection, block: str, *values: Any) -> dict[Any, Any]:
    """What a statement says of each key."""
    rows: Any = connection.execute(_SQL[block], values)
    return dict(rows)


class _FlowsSql(msgspec.Struct, frozen=True):
    """The flows of a query in SQL: a WITH clause or nothing, the table, the conditions, and the named bindings."""

    with_: str
    table: str
    where: str
    bindings: dict[str, Any]


def flows_of_page(connection: apsw.Connection, snapshot: Snapshot, query: FlowQuery, request: PageRequest) -> FlowPage:
    """One page of flows and how many there are."""
    require_flow_request(query, request)
    sql = _flows_sql(snapshot, query)
    total = snapshot.flows if is_indexed_flows(query, snapshot.viewer) else None
    if total is None:
        text = f"{sql.with_}SELECT count(*) FROM {sql.table} WHERE {sql.where}"
        total = int(connection.execute(text, sql.bindings).get)
    rows = _flow_rows(connection, snapshot, sql, request)
    if request.after is not None and request.removal_epoch != snapshot.removal_epoch:
        request = msgspec.structs.replace(request, offset=_flows_passed(connection, snapshot, sql, request.after))
    reader = _EventReader(connection, snapshot)
    summaries = [_summary(connection, snapshot, number_of(row[0]), reader.kinds) for row in rows]
    roots = {
        key_of(snapshot.tenant_no, event.position): event
        for event in reader.by_keys([summary.root for summary in summaries])
    }
    numbered = [(number_of(key), *row) for key, *row in rows]
    return flow_page(numbered, summaries, roots, request, total, snapshot.size, snapshot.removal_epoch)


def _summary(connection: apsw.Connection, snapshot: Snapshot, flow: int, kinds: str | None) -> FlowSummary:
    """The root and the actors of a flow, from its first events."""
    values = (snapshot.tenant_no, flow, kinds, SUMMARY_EVENTS_MAX + 1)
    rows: list[Any] = connection.execute(_SQL["flow_events"], values).fetchall()
    return summarize_flow(rows)


def _flows_sql(snapshot: Snapshot, query: FlowQuery) -> _FlowsSql:
    bindings: dict[str, Any] = {"tenant_no": snapshot.tenant_no, "since": query.since, "until": query.until}
    conditions = flow_conditions(query, ":since", ":until")
    kinds = readable_kinds(snapshot)
    if kinds is None:
        index = "flow_failed" if query.failed else "flow_last"
        return _FlowsSql("", f"flow AS page INDEXED BY {index}", f"tenant_no = :tenant_no{conditions}", bindings)
    bindings["kinds"] = json_list(kinds)
    bindings["failing"] = json_list(tuple(n for n in kinds if snapshot.kinds[n].outcome == "failure"))
    return _FlowsSql(_SQL["flows_seen"] + " ", "seen AS page", f"TRUE{conditions}", bindings)


def _flows_passed(connection: apsw.Connection, snapshot: Snapshot, sql: _FlowsSql, after: Keyset) -> int:
    """How many flows come before the place where a page continues, or are there."""
    text = f"{sql.with_}SELECT count(*) FROM {sql.table} WHERE {sql.where} AND (last_at, key) >= (:last_at, :key)"
    bindings = {**sql.bindings, "last_at": after.time, "key": key_of(snapshot.tenant_no, after.number)}
    return int(connection.execute(text, bindings).get)


def _flow_rows(
    connection: apsw.Connection, snapshot: Snapshot, sql: _FlowsSql, request: PageRequest
) -> list[tuple[Any, ...]]:
    """Key, correlation id, events, failures, first and last time of the flows of a page."""
    where, bindings = sql.where, {**sql.bindings, "limit": request.limit, "offset": request.offset}
    if request.after is not None:
        where += " AND (last_at, key) < (:last_at, :key)"
        bindings |= {
            "offset": 0,
            "last_at": request.after.time,
            "key": key_of(snapshot.tenant_no, request.after.number),
        }
    rows: list[tuple[Any, ...]] = connection.execute(
        f"{sql.with_}SELECT key, (SELECT f.correlation_id FROM flow f WHERE f.key = page.key), events, failures,"
        f" first_at, last_at FROM {sql.table} WHERE {where}"
        " ORDER BY last_at DESC, key DESC LIMIT :limit OFFSET :offset",
        bindings,
    ).fetchall()
    return rows


def map_of(
    connection: apsw.Connection,
    snapshot: Snapshot,
    period: tuple[int | None, int | None],
) -> ProcessMap:
    """The process map of the whole days that hold a period."""
    first, end = days_of(*period)

    def counts(block: str) -> list[bytes]:
        return [
            packed
            for span in cover_of_days(first, end)
            for (packed,) in connection.execute(_SQL[block], (snapshot.tenant_no, span.level, span.first, span.last))
        ]

    unfolded = unfolded_transitions(connection, snapshot.tenant_no, snapshot.folded_to)
    removed = counts("span_of_removed_transitions")
    return map_from((first, end), snapshot, counts("span_of_transitions"), unfolded, removed)
