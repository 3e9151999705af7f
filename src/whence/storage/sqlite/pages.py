"""Pages: sort keys in total order from the index that fits the query, then the events at those sort keys.

The total order is (occurred_at, key); a key orders a tenant's events as its positions do. Every index that a page
walks yields it without a sort. Several values of one filter are merged: each is one term of a compound SELECT, which
SQLite reads only as far as the page needs.
"""

import heapq
from collections.abc import Iterable
from itertools import islice
from typing import Any

import apsw
import msgspec

from whence import rollups
from whence.events import Event, PageRequest
from whence.storage.resolve import ResolvedQuery, Snapshot, require_list_request
from whence.storage.sql import load_blocks
from whence.storage.sqlite.counts import newer_times, pieces_of, total
from whence.storage.sqlite.event_cache import EventCache
from whence.storage.sqlite.resolve import conditions, json_list
from whence.storage.sqlite.rows import event_from, key_of
from whence.storage.walks import (
    BucketsOf,
    IsDivided,
    OffsetQuestion,
    PageStart,
    SortKey,
    SortKeyAt,
    run_walk,
    walk_to_offset,
)

__all__ = ["events_of_keys", "events_of_page", "events_passed", "sort_keys"]

_SQL = load_blocks("whence.storage.sqlite")

TERMS_MAX = 50
"""Terms in one compound SELECT; more values take several statements, whose rows are merged."""

WALK_FROM = 512
"""Offsets from here on walk the bucket counts; smaller ones are skipped on the index."""

_EVENTS_BY_KEY = _SQL["full_event"] + " WHERE e.key IN (SELECT value FROM json_each(?))"

_DRIVERS = (("flows", "flow"), ("resources", "resource"), ("causes", "cause"), ("actors", "actor"), ("kinds", "kind"))


def events_of_page(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: PageRequest, cache: EventCache
) -> list[Event]:
    """The events of one page, in order."""
    require_list_request(request)
    if resolved.nothing:
        return []
    start: PageStart | None = PageStart(skip=request.offset)
    if request.after is not None:
        start = PageStart(sort_key=(request.after.time, key_of(snapshot.tenant_no, request.after.number)))
    elif request.offset >= snapshot.size:
        return []
    elif request.offset >= WALK_FROM and resolved.unpinned.by_rollup:
        start = _start_at_offset(connection, snapshot, resolved, request)
    if start is None:
        return []
    found = sort_keys(connection, snapshot, resolved, start, request)
    return events_of_keys(connection, snapshot, [key for _, key in found], cache)


def events_passed(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: PageRequest
) -> int:
    """How many of the matching events come before this page. After a removal there may be fewer than its cursor says,
    so they are counted: those in front of the place where it continues, and those at that time."""
    if request.after is None or request.removal_epoch == snapshot.removal_epoch:
        return request.offset
    if resolved.nothing:
        return 0
    time, place = request.after.time, key_of(snapshot.tenant_no, request.after.number)
    since, until = (resolved.since, time) if request.ascending else (time + 1, resolved.until)
    where, bindings = conditions(resolved.between(time, time + 1), snapshot)
    sign = "<=" if request.ascending else ">="
    text = f"SELECT count(*) FROM event INDEXED BY event_time WHERE tenant_no = ?{where} AND key {sign} ?"
    at_time: int = connection.execute(text, (snapshot.tenant_no, *bindings, place)).get
    return total(connection, snapshot, resolved.between(since, until)) + at_time


def events_of_keys(
    connection: apsw.Connection, snapshot: Snapshot, keys: Iterable[int], cache: EventCache
) -> list[Event]:
    """The events with these keys, in their order. Only those that are not in the cache are read."""
    events = {key: cache.find(key, snapshot.removal_epoch) for key in keys}
    unknown = tuple(key for key, event in events.items() if event is None)
    if unknown:
        rows: list[Any] = connection.execute(_EVENTS_BY_KEY, (json_list(unknown),)).fetchall()
        read = {row[0]: event_from(snapshot.viewer.tenant, row) for row in rows}
        for key in unknown:
            events[key] = read[key]
            cache.add(key, snapshot.removal_epoch, read[key])
    return [event for event in events.values() if event is not None]


def sort_keys(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, start: PageStart, request: PageRequest
) -> list[SortKey]:
    """The sort keys of a page, merged from as many statements as its filter has groups of values."""
    ascending, reach = request.ascending, start.skip + request.limit
    statements = sort_keys_sql(snapshot, resolved, start, ascending=ascending)
    runs: list[Any] = []
    for sql, bindings in statements:
        if len(statements) == 1:
            rows: list[Any] = connection.execute(
                f"{sql} LIMIT ? OFFSET ?", (*bindings, request.limit, start.skip)
            ).fetchall()
            return rows
        runs.append(connection.execute(f"{sql} LIMIT ?", (*bindings, reach)).fetchall())
    return list(islice(heapq.merge(*runs, reverse=not ascending), start.skip, reach))


def sort_keys_sql(
    snapshot: Snapshot, resolved: ResolvedQuery, start: PageStart, *, ascending: bool
) -> list[tuple[str, list[Any]]]:
    """The statements, without their LIMIT, whose merged rows are the sort keys of the matching events in order."""
    order = _order(ascending)
    driver, column = next((pair for pair in _DRIVERS if getattr(resolved, pair[0]) is not None), ("", "time"))
    where, bindings = conditions(resolved, snapshot, omit=driver)
    if start.sort_key is not None:
        sign = (">" if ascending else "<") + ("=" if start.inclusive else "")
        where += f" AND (occurred_at, key) {sign} (?, ?)"
        bindings = [*bindings, *start.sort_key]
    term = f"SELECT occurred_at, key FROM event INDEXED BY event_{column} WHERE tenant_no = ?"
    if not driver:
        return [(term + where + order, [snapshot.tenant_no, *bindings])]
    values = getattr(resolved, driver)
    statements = []
    for at in range(0, len(values), TERMS_MAX):
        some = values[at : at + TERMS_MAX]
        text = " UNION ALL ".join([f"{term} AND {column} = ?{where}"] * len(some))
        statements.append((text + order, [each for value in some for each in (snapshot.tenant_no, value, *bindings)]))
    return statements


def _order(ascending: bool) -> str:
    """The total order of every listing."""
    return " ORDER BY occurred_at ASC, key ASC" if ascending else " ORDER BY occurred_at DESC, key DESC"


def _start_at_offset(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: PageRequest
) -> PageStart | None:
    """Where a page at a deep offset begins; None when the offset is past the end."""

    def answer(question: OffsetQuestion) -> Any:
        match question:
            case BucketsOf(span):
                return _buckets(connection, snapshot, resolved, span, ascending=request.ascending)
            case IsDivided(level, bucket):
                return connection.execute(_SQL["is_divided"], (snapshot.tenant_no, level, bucket)).get
            case SortKeyAt(edge, offset):
                return _sort_key_at(connection, snapshot, resolved, edge, offset, ascending=request.ascending)

    pieces = pieces_of(connection, snapshot, resolved)[:: 1 if request.ascending else -1]
    return run_walk(walk_to_offset(pieces, request.offset, newer_times(connection, snapshot, resolved)), answer)


def _sort_key_at(
    connection: apsw.Connection,
    snapshot: Snapshot,
    resolved: ResolvedQuery,
    edge: rollups.Edge,
    offset: int,
    *,
    ascending: bool,
) -> SortKey | int:
    """The sort key at an offset in an edge, or the number of matching events when there are not that many."""
    within = msgspec.structs.replace(resolved, since=edge.since, until=edge.until)
    where, bindings = conditions(within, snapshot)
    source = f"FROM event INDEXED BY event_time WHERE tenant_no = ?{where}"
    sort_key: SortKey | None = connection.execute(
        f"SELECT occurred_at, key {source}{_order(ascending)} LIMIT 1 OFFSET ?",
        (snapshot.tenant_no, *bindings, offset),
    ).fetchone()
    if sort_key is not None:
        return sort_key
    count = connection.execute(f"SELECT count(*) {source}", (snapshot.tenant_no, *bindings)).get
    return int(count)


def _buckets(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, span: rollups.Span, *, ascending: bool
) -> list[tuple[Any, ...]]:
    """The buckets of a span that have matching events, in the page's direction, each with its count."""
    bindings: list[Any] = [snapshot.tenant_no, span.level, span.first, span.last]
    kinds = None if resolved.kinds is None else json_list(resolved.kinds)
    if resolved.actors is not None:
        block = "buckets_of_actors"
        bindings += [json_list(resolved.actors), kinds]
    elif kinds is not None:
        block = "buckets_of_kinds"
        bindings.append(kinds)
    else:
        block = "buckets"
    return connection.execute(_SQL[block] + (" ASC" if ascending else " DESC"), bindings).fetchall()
