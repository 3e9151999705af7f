"""Pages: sort_keys in total order from the index that fits the question, then the events at those sort_keys.

The total order is (occurred_at, key); a key orders a tenant's events as its positions do. Every index that a page
walks yields it without a sort. Several values of one filter are merged: each is one term of a compound SELECT, which
SQLite reads only as far as the page needs.
"""

import heapq
from bisect import bisect_left
from itertools import islice
from typing import Any

import apsw
import msgspec

from whence import rollups
from whence.events import Event, PageRequest
from whence.storage.resolve import ResolvedQuery
from whence.storage.sql import load_blocks
from whence.storage.sqlite.counts import newer_times, pieces_of
from whence.storage.sqlite.resolve import Snapshot, conditions, json_list
from whence.storage.sqlite.rows import event_from

__all__ = ["events_of_page"]

_SQL = load_blocks("whence.storage.sqlite")

TERMS_MAX = 50
"""Terms in one compound SELECT; more values are merged from several."""

WALK_FROM = 512
"""Offsets from here on walk the bucket counts; smaller ones are skipped on the index."""

_DRIVERS = (("flows", "flow"), ("resources", "resource"), ("causes", "cause"), ("actors", "actor"), ("kinds", "kind"))

SortKey = tuple[Any, ...]
"""occurred_at and key of an event."""


class _Start(msgspec.Struct, frozen=True):
    """Where a page begins: how many sort_keys to skip behind `sort_key`, or with it when `inclusive`."""

    skip: int = 0
    sort_key: SortKey | None = None
    inclusive: bool = False


def events_of_page(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: PageRequest
) -> list[Event]:
    """The events of one page, in order."""
    if resolved.nothing:
        return []
    start: _Start | None = _Start(skip=request.offset)
    if request.after is not None:
        start = _Start(sort_key=(request.after.occurred_at, snapshot.key(request.after.position)))
    elif request.offset >= snapshot.size:
        return []
    elif request.offset >= WALK_FROM and resolved.by_rollup:
        start = _walk(connection, snapshot, resolved, request)
    if start is None:
        return []
    sort_keys = _sort_keys(connection, snapshot, resolved, start, request)
    keys = json_list(tuple(key for _, key in sort_keys))
    sql = _SQL["full_event"] + " WHERE e.key IN (SELECT value FROM json_each(?))"
    by_key = {row[0]: event_from(snapshot.tenant, row) for row in connection.execute(sql, (keys,)).fetchall()}
    return [by_key[key] for _, key in sort_keys]


def _sort_keys(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, start: _Start, request: PageRequest
) -> list[SortKey]:
    """The sort_keys of a page, merged from as many statements as its filter has groups of values."""
    ascending, reach = request.ascending, start.skip + request.limit
    statements = sort_keys_sql(snapshot, resolved, start, ascending=ascending)
    runs = []
    for sql, bindings in statements:
        if len(statements) == 1:
            return connection.execute(f"{sql} LIMIT ? OFFSET ?", (*bindings, request.limit, start.skip)).fetchall()
        runs.append(connection.execute(f"{sql} LIMIT ?", (*bindings, reach)).fetchall())
    return list(islice(heapq.merge(*runs, reverse=not ascending), start.skip, reach))


def sort_keys_sql(
    snapshot: Snapshot, resolved: ResolvedQuery, start: _Start, *, ascending: bool
) -> list[tuple[str, list[Any]]]:
    """The statements, without their LIMIT, whose merged rows are the sort_keys of the question in total order."""
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


def _walk(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: PageRequest
) -> _Start | None:
    """The sort_key of the event at a deep offset, found by bucket counts; None when the offset is past the end."""
    newer = newer_times(connection, snapshot, resolved)
    step = 1 if request.ascending else -1
    pieces = pieces_of(connection, snapshot, resolved)[::step]
    remaining = request.offset
    while pieces:
        piece = pieces.pop(0)
        if isinstance(piece, rollups.Edge):
            found = _edge_sort_key(connection, snapshot, resolved, piece, remaining, ascending=request.ascending)
            if isinstance(found, tuple):
                return _Start(sort_key=found, inclusive=True)
            remaining -= found
            continue
        for bucket, events in _buckets(connection, snapshot, resolved, piece, ascending=request.ascending):
            times = rollups.bounds(piece.level, bucket)
            kept = events - (bisect_left(newer, times.until) - bisect_left(newer, times.since))
            if remaining < kept:
                divided = connection.execute(_SQL["is_divided"], (snapshot.tenant_no, piece.level, bucket)).get
                pieces = [rollups.child_span(piece.level, bucket) if divided else times]
                break
            remaining -= kept
    return None


def _edge_sort_key(
    connection: apsw.Connection,
    snapshot: Snapshot,
    resolved: ResolvedQuery,
    edge: rollups.Edge,
    offset: int,
    *,
    ascending: bool,
) -> SortKey | int:
    """The sort_key at an offset in an edge; the number of matching events when it has no more than that."""
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
