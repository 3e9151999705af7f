"""Exact counts by time: whole buckets of the rollups, edges on the covering index, raw events for other filters."""

from typing import Any

from whence import rollups
from whence.histograms import EventCount, HistogramRequest, TimeGrid, TimeHistogram, grid_of, histogram_of
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.counts import pieces_of
from whence.storage.postgres.resolve import Bindings, conditions
from whence.storage.resolve import ResolvedQuery, Snapshot, readable_kinds
from whence.storage.sql import load_blocks
from whence.storage.walks import compute

__all__ = ["histogram", "time_bounds"]

_SQL = load_blocks("whence.storage.postgres")


async def histogram(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, request: HistogramRequest
) -> TimeHistogram:
    """The matching events by time, split as requested."""
    is_open = None in (resolved.since, resolved.until)
    bounds = await time_bounds(connection, snapshot) if is_open else (None, None)
    grid = grid_of(resolved.since, resolved.until, bounds, request.interval)
    rows = [] if grid is None or resolved.nothing else await _rows(connection, snapshot, resolved, grid)
    return await compute(len(rows), histogram_of, grid, resolved.since, resolved.until, rows, snapshot.kinds, request)


async def time_bounds(connection: Connection, snapshot: Snapshot) -> tuple[int | None, int | None]:
    """When the first and the last event occurred that the viewer may see."""
    kinds = readable_kinds(snapshot)
    if kinds is None:
        [(first, last)] = await connection.fetch(_SQL["time_bounds"], snapshot.tenant_no)
    else:
        [(first, last)] = await connection.fetch(_SQL["time_bounds_of_kinds"], snapshot.tenant_no, kinds)
    return first, last


async def _rows(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, grid: TimeGrid
) -> list[EventCount]:
    """How many events match, by bucket and kind."""
    if not resolved.by_rollup:
        bindings = Bindings(snapshot.tenant_no, grid.start, grid.width)
        where = conditions(resolved, bindings)
        text = (
            "SELECT (occurred_at - $2::bigint) / $3::bigint, kind, count(*) FROM event "
            f"WHERE tenant_no = $1{where} GROUP BY 1, 2"
        )
        found: list[EventCount] = await connection.fetch(text, *bindings.values)
        return found
    pieces = await pieces_of(connection, snapshot, resolved)
    pieces = rollups.cut_at(pieces, grid.start, grid.width, await _known_buckets(connection, snapshot, grid))
    spans = [piece for piece in pieces if isinstance(piece, rollups.Span)]
    edges = [piece for piece in pieces if isinstance(piece, rollups.Edge)]
    rows: list[EventCount] = []
    if spans:
        columns = [[getattr(span, name) for span in spans] for name in ("level", "first", "last")]
        widths = [rollups.WIDTHS_US[span.level] for span in spans]
        values: list[Any] = [snapshot.tenant_no, *columns, widths, grid.start, grid.width, resolved.kinds]
        block = "grid_span"
        if resolved.actors is not None:
            block = "grid_span_of_actors"
            values.append(resolved.actors)
        rows += await connection.fetch(_SQL[block], *values)
    if edges:
        bounds = [[getattr(edge, name) for edge in edges] for name in ("since", "until")]
        filters = resolved.kinds, resolved.actors
        rows += await connection.fetch(_SQL["grid_edge"], snapshot.tenant_no, *bounds, grid.start, grid.width, *filters)
    return rows


async def _known_buckets(connection: Connection, snapshot: Snapshot, grid: TimeGrid) -> rollups.Known:
    """The buckets that `rollups.cut_at` may divide."""
    known: dict[int, list[tuple[int, bool]]] = {level: [] for level in rollups.cut_levels(grid.start, grid.width)}
    first, last = ([rollups.bucket_of(level, time) for level in known] for time in (grid.start, grid.end - 1))
    for level, bucket, divided in await connection.fetch(
        _SQL["known_buckets"], snapshot.tenant_no, list(known), first, last
    ):
        known[level].append((bucket, divided))
    return known
