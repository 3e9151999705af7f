"""Pages: sort keys in total order from the index that fits the query, with the events at those sort keys.

The total order is (occurred_at, position). Every index that a page walks yields it without a sort. Several values of
one filter are merged: each is read from its own end of the index, as far as the page could need and no further.
"""

from typing import Any

import msgspec

from whence import rollups
from whence.events import Event, PageRequest
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.counts import newer_times, pieces_of, total
from whence.storage.postgres.resolve import Bindings, conditions, split_causes
from whence.storage.postgres.rows import event_from
from whence.storage.resolve import ResolvedQuery, Snapshot, require_list_request
from whence.storage.sql import load_blocks
from whence.storage.walks import (
    BucketsOf,
    IsDivided,
    OffsetQuestion,
    PageStart,
    SortKey,
    SortKeyAt,
    run_walk_async,
    walk_to_offset,
)

__all__ = ["event_of_row", "events_of_page", "events_passed", "sort_keys_sql"]

_SQL = load_blocks("whence.storage.postgres")

WALK_FROM = 512
"""Offsets from here on, times the values that are merged, walk the bucket counts; smaller ones are skipped on the
index."""

_NEAR = WALK_FROM + 128
"""Rows within which most pages end. A literal in the statement: for `LIMIT $2` the planner assumes a tenth of the log
in a generic plan, prefers custom plans for that, and so plans anew for every page."""

_DRIVERS = (
    ("flows", "flow", "bigint"),
    ("resources", "resource", "bigint"),
    ("causes", "cause_id", "uuid"),
    ("actors", "actor", "bigint"),
    ("kinds", "kind", "int"),
)


async def events_of_page(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: PageRequest
) -> list[Event]:
    """The events of one page, in order."""
    require_list_request(request)
    if resolved.nothing:
        return []
    start: PageStart | None = PageStart(skip=request.offset)
    if request.after is not None:
        start = PageStart(sort_key=(request.after.time, request.after.number))
    elif request.offset >= snapshot.size:
        return []
    elif resolved.unpinned.by_rollup and request.offset * max(1, len(resolved.kinds or ())) >= WALK_FROM:
        start = await _start_at_offset(connection, snapshot, resolved, request)
    if start is None:
        return []
    sql, bindings = page_sql(snapshot, resolved, start, request)
    return [event_of_row(snapshot, row) for row in await connection.fetch(sql, *bindings.values)]


async def events_passed(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: PageRequest
) -> int:
    """How many of the matching events come before this page. After a removal there may be fewer than its cursor says,
    so they are counted: those in front of the place where it continues, and those at that time."""
    if request.after is None or request.removal_epoch == snapshot.removal_epoch:
        return request.offset
    if resolved.nothing:
        return 0
    time = request.after.time
    in_front = (
        resolved.between(resolved.since, time) if request.ascending else resolved.between(time + 1, resolved.until)
    )
    bindings = Bindings(snapshot.tenant_no)
    where = conditions(resolved.between(time, time + 1), bindings)
    where += f" AND position {'<=' if request.ascending else '>='} {bindings.add(request.after.number)}"
    text = f"SELECT count(*) FROM event WHERE tenant_no = $1{where}"
    at_time: int = await connection.fetchval(text, *bindings.values)
    return await total(connection, snapshot, in_front) + at_time


def event_of_row(snapshot: Snapshot, row: Any) -> Event:
    """The event of a `page_event` row."""
    position, id_, number, actor_id, resource_id, correlation_id, causation_id, *rest = row
    kind = snapshot.kinds[number]
    words = (kind.event_type, kind.actor_type, actor_id, kind.resource_type, resource_id)
    return event_from(
        snapshot.viewer.tenant, (position, id_, *words, correlation_id, causation_id, kind.outcome, *rest)
    )


def page_sql(
    snapshot: Snapshot, resolved: ResolvedQuery, start: PageStart, request: PageRequest
) -> tuple[str, Bindings]:
    """The statement whose rows are the events of a page in total order."""
    sort_keys, bindings = sort_keys_sql(snapshot, resolved, start, request)
    order = _order(ascending=request.ascending)
    return f"{_SQL['page_event']} AND e.position = ANY(ARRAY(SELECT position FROM {sort_keys})){order}", bindings


def sort_keys_sql(
    snapshot: Snapshot, resolved: ResolvedQuery, start: PageStart, request: PageRequest
) -> tuple[str, Bindings]:
    """What comes after FROM in a statement about the sort keys of a page, in total order."""
    bindings = Bindings(snapshot.tenant_no)
    order = _order(ascending=request.ascending)
    driver = next((each for each in _DRIVERS if getattr(resolved, each[0]) is not None), None)
    where = conditions(resolved, bindings, omit=driver[0] if driver else "")
    if start.sort_key is not None:
        sign = (">" if request.ascending else "<") + ("=" if start.inclusive else "")
        occurred_at, position = start.sort_key
        where += f" AND (occurred_at, position) {sign} ({bindings.add(occurred_at)}, {bindings.add(position)})"
    term = "SELECT occurred_at, position FROM event WHERE tenant_no = $1"
    sort_keys = term + where
    if driver is None and start.skip + request.limit <= _NEAR:
        sort_keys += f"{order} LIMIT {_NEAR}"
    elif driver is not None:
        reach = bindings.add(start.skip + request.limit)
        sort_keys = " UNION ALL ".join(
            f"SELECT one.occurred_at, one.position FROM unnest({bindings.add(values)}::{type_}[]) AS asked (value)"
            f" CROSS JOIN LATERAL ({term} AND {column} = asked.value{where}{order} LIMIT {reach}) one"
            for column, type_, values in _values(resolved, driver)
        )
    limit, skip = bindings.add(request.limit), bindings.add(start.skip)
    return f"({sort_keys}) AS sort_key{order} LIMIT {limit} OFFSET {skip}", bindings


def _values(resolved: ResolvedQuery, driver: tuple[str, str, str]) -> list[tuple[str, str, list[int] | list[str]]]:
    """The values of the filter that leads, by column and type; causes are in two columns."""
    name, column, type_ = driver
    if name != "causes":
        return [(column, type_, list(getattr(resolved, name)))]
    ids, texts = split_causes(resolved.causes or ())
    both = [("cause_id", "uuid", ids), ("cause_id IS NULL AND causation_id", "text", texts)]
    return [each for each in both if each[2]]


def _order(*, ascending: bool) -> str:
    """The total order of every listing."""
    return " ORDER BY occurred_at ASC, position ASC" if ascending else " ORDER BY occurred_at DESC, position DESC"


async def _start_at_offset(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: PageRequest
) -> PageStart | None:
    """Where a page at a deep offset begins; None when the offset is past the end."""

    async def answer(question: OffsetQuestion) -> Any:
        match question:
            case BucketsOf(span):
                return await _buckets(connection, snapshot, resolved, span, ascending=request.ascending)
            case IsDivided(level, bucket):
                return await connection.fetch(_SQL["is_divided"], snapshot.tenant_no, [level], [bucket])
            case SortKeyAt(edge, offset):
                return await _sort_key_at(connection, snapshot, resolved, edge, offset, ascending=request.ascending)

    newer = await newer_times(connection, snapshot, resolved)
    pieces = (await pieces_of(connection, snapshot, resolved))[:: 1 if request.ascending else -1]
    return await run_walk_async(walk_to_offset(pieces, request.offset, newer), answer)


async def _sort_key_at(
    connection: Connection,
    snapshot: Snapshot,
    resolved: ResolvedQuery,
    edge: rollups.Edge,
    offset: int,
    *,
    ascending: bool,
) -> SortKey | int:
    """The sort key at an offset in an edge, or the number of matching events when there are not that many."""
    bindings = Bindings(snapshot.tenant_no)
    where = conditions(msgspec.structs.replace(resolved, since=edge.since, until=edge.until), bindings)
    source = f"FROM event WHERE tenant_no = $1{where}"
    order = _order(ascending=ascending)
    row = await connection.fetchrow(
        f"SELECT occurred_at, position {source}{order} LIMIT 1 OFFSET ${len(bindings.values) + 1}",
        *bindings.values,
        offset,
    )
    if row is not None:
        return row[0], row[1]
    return int(await connection.fetchval(f"SELECT count(*) {source}", *bindings.values))


async def _buckets(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, span: rollups.Span, *, ascending: bool
) -> list[tuple[int, int]]:
    """The buckets of a span that have matching events, in the page's direction, each with its count."""
    values: list[Any] = [snapshot.tenant_no, span.level, span.first, span.last]
    if resolved.actors is not None:
        block = "buckets_of_actors"
        values += [resolved.actors, resolved.kinds]
    elif resolved.kinds is not None:
        block = "buckets_of_kinds"
        values.append(resolved.kinds)
    else:
        block = "buckets"
    rows: list[tuple[int, int]] = await connection.fetch(_SQL[block] + (" ASC" if ascending else " DESC"), *values)
    return rows
