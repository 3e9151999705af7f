"""Exact counts by time: whole buckets of the rollups, edges on the covering index, raw events for other filters."""

from typing import Any

import apsw

from whence import rollups
from whence.histograms import EventCount, HistogramRequest, TimeGrid, TimeHistogram, grid_of, histogram_of
from whence.storage.query_deadline import check_deadline
from whence.storage.resolve import ResolvedQuery, Snapshot, readable_kinds
from whence.storage.sql import load_blocks
from whence.storage.sqlite.counts import FEW_KINDS, pieces_of
from whence.storage.sqlite.resolve import conditions, events_led_by, json_list

__all__ = ["histogram", "time_bounds"]

_SQL = load_blocks("whence.storage.sqlite")


def histogram(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: HistogramRequest
) -> TimeHistogram:
    """The matching events by time, split as requested."""
    is_open = None in (resolved.since, resolved.until)
    bounds = time_bounds(connection, snapshot) if is_open else (None, None)
    grid = grid_of(resolved.since, resolved.until, bounds, request.interval)
    counts = [] if grid is None or resolved.nothing else _counts(connection, snapshot, resolved, grid)
    check_deadline()
    return histogram_of(grid, resolved.since, resolved.until, counts, snapshot.kinds, request)


def time_bounds(connection: apsw.Connection, snapshot: Snapshot) -> tuple[int | None, int | None]:
    """When the first and the last event occurred that the viewer may see."""
    kinds = readable_kinds(snapshot)
    block, bindings = "time_bounds", list[Any]([snapshot.tenant_no])
    if kinds is not None:
        block = "time_bounds_of_kinds"
        bindings.append(json_list(kinds))
    row: Any = connection.execute(_SQL[block], bindings).fetchone()
    return row[0], row[1]


def _counts(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, grid: TimeGrid
) -> list[EventCount]:
    """How many events match, by bucket and kind."""
    if not resolved.by_rollup:
        where, bindings = conditions(resolved, snapshot)
        found: list[Any] = connection.execute(
            f"SELECT (occurred_at - ?) / ?, kind, count(*) FROM {events_led_by(resolved)} WHERE tenant_no = ?{where}"
            " GROUP BY 1, 2",
            (grid.start, grid.width, snapshot.tenant_no, *bindings),
        ).fetchall()
        return found
    counts: list[EventCount] = []
    known = _known_buckets(connection, snapshot, grid)
    for piece in rollups.cut_at(pieces_of(connection, snapshot, resolved), grid.start, grid.width, known):
        if isinstance(piece, rollups.Span):
            counts += _span(connection, snapshot, resolved, grid, piece)
        else:
            counts += _edge(connection, snapshot, resolved, grid, piece)
        check_deadline()
    if resolved.kinds is None:
        return counts
    kinds = frozenset(resolved.kinds)
    return [each for each in counts if each[1] in kinds]


def _known_buckets(connection: apsw.Connection, snapshot: Snapshot, grid: TimeGrid) -> rollups.Known:
    """The buckets that `rollups.cut_at` may divide."""
    known: dict[int, list[tuple[int, bool]]] = {}
    for level in rollups.cut_levels(grid.start, grid.width):
        ends = [rollups.bucket_of(level, time) for time in (grid.start, grid.end - 1)]
        rows: list[Any] = connection.execute(_SQL["known_buckets"], (snapshot.tenant_no, level, *ends)).fetchall()
        known[level] = rows
    return known


def _span(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, grid: TimeGrid, span: rollups.Span
) -> list[EventCount]:
    """How many events whole buckets of the rollups have; kinds that do not match may be among them."""
    block, bindings = "grid_span", list[Any]([snapshot.tenant_no, span.level, span.first, span.last])
    if resolved.actors is not None:
        block = "grid_span_of_actors"
        bindings.append(json_list(resolved.actors))
    elif resolved.kinds is not None and len(resolved.kinds) <= FEW_KINDS:
        block = "grid_span_of_kinds"
        bindings.append(json_list(resolved.kinds))
    rows: Any = connection.execute(_SQL[block], bindings).fetchall()
    start, width, small = grid.start, grid.width, rollups.WIDTHS_US[span.level]
    return [((bucket * small - start) // width, kind, events) for bucket, kind, events in rows]


def _edge(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, grid: TimeGrid, edge: rollups.Edge
) -> list[EventCount]:
    """How many single events there are, as `_span`."""
    actors = None if resolved.actors is None else json_list(resolved.actors)
    first, last = max(grid.bucket_of(edge.since), 0), min(grid.bucket_of(edge.until - 1), grid.buckets - 1)
    counts: list[EventCount] = []
    for bucket in range(first, last + 1):
        start = grid.start + bucket * grid.width
        ends = max(edge.since, start), min(edge.until, start + grid.width)
        rows: Any = connection.execute(_SQL["grid_edge"], (snapshot.tenant_no, *ends, actors)).fetchall()
        counts += [(bucket, kind, events) for kind, events in rows]
    return counts
