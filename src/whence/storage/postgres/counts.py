"""Exact counts: whole buckets from the rollups, edges from the covering index, and the raw events for the rest."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from whence import rollups
from whence.actor_totals import ActorTotals, Totals, by_outcome
from whence.events import ActorStat, Counts, set_fields
from whence.storage.aggregates import by_word, ranked, totals_of_kind
from whence.storage.postgres.actor_totals import SpanRows, add_spans, read_spans
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.resolve import Bindings, conditions
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.walks import compute

__all__ = [
    "actor_names",
    "actor_stats",
    "actor_totals",
    "columns_of",
    "count_by_word",
    "count_edges",
    "counts_by_kind",
    "divided_buckets",
    "newer_times",
    "pieces_of",
    "total",
]

_SQL = load_blocks("whence.storage.postgres")


async def pieces_of(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, *, summing: bool = False
) -> list[rollups.Piece]:
    """The buckets and edges that make up the query's range of time; with `summing`, those whose signed sum is it."""
    asked = rollups.asked_by_cover(resolved.since, resolved.until)
    divided = await divided_buckets(connection, snapshot, asked)
    cover = rollups.cover_sum if summing else rollups.cover
    return cover(resolved.since, resolved.until, lambda level, bucket: (level, bucket) in divided)


async def divided_buckets(
    connection: Connection, snapshot: Snapshot, asked: Sequence[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Those of some buckets that are divided, by level and bucket."""
    if not asked:
        return set()
    levels, buckets = zip(*asked, strict=True)
    rows = await connection.fetch(_SQL["is_divided"], snapshot.tenant_no, levels, buckets)
    return {(level, bucket) for level, bucket in rows}


async def total(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> int:
    """How many events match, up to the position `resolved.newest`."""
    if resolved.nothing:
        return 0
    unpinned = resolved.unpinned
    if not unpinned.by_rollup and not unpinned.has_known_total:
        bindings = Bindings(snapshot.tenant_no)
        where = conditions(resolved, bindings)
        return int(
            await connection.fetchval(f"SELECT count(*) FROM event WHERE tenant_no = $1{where}", *bindings.values)
        )
    count = await _unpinned_total(connection, snapshot, unpinned)
    if resolved.newest is not None and resolved.newest < snapshot.size:
        where, bindings = _newer(snapshot, resolved, resolved.newest)
        count -= await connection.fetchval(f"SELECT count(*) FROM event{where}", *bindings.values)
    return count


async def newer_times(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> list[int]:
    """When the matching events beyond `resolved.newest` occurred, sorted; at most `AS_OF_SPAN` rows are read."""
    if resolved.newest is None or resolved.newest >= snapshot.size:
        return []
    where, bindings = _newer(snapshot, resolved, resolved.newest)
    rows = await connection.fetch(f"SELECT occurred_at FROM event{where} ORDER BY occurred_at", *bindings.values)
    return [row[0] for row in rows]


def _newer(snapshot: Snapshot, resolved: ResolvedQuery, newest: int) -> tuple[str, Bindings]:
    """The condition on the matching events beyond the position `newest`."""
    bindings = Bindings(snapshot.tenant_no, newest, snapshot.size)
    where = conditions(resolved.unpinned, bindings, by_row=True)
    return f" WHERE tenant_no = $1 AND position > $2 AND position <= $3{where}", bindings


async def _unpinned_total(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> int:
    if resolved.known_events is not None:
        return resolved.known_events
    if not resolved.by_time:
        return sum((await counts_by_kind(connection, snapshot, resolved)).values())
    if snapshot.events is not None and not set_fields(resolved):
        return snapshot.events
    spans, edges = columns_of(await pieces_of(connection, snapshot, resolved, summing=True))
    count = 0
    if spans[0]:
        count += await connection.fetchval(_SQL["span_total"], snapshot.tenant_no, *spans)
    if edges[0]:
        count += sum(row[2] for row in await count_edges(connection, snapshot, resolved, edges))
    return count


def columns_of(pieces: list[rollups.Piece]) -> tuple[tuple[list[int], ...], tuple[list[int], ...]]:
    """Spans as lists of level, first, last and sign; edges as lists of since, until and sign."""
    spans = [piece for piece in pieces if isinstance(piece, rollups.Span)]
    edges = [piece for piece in pieces if isinstance(piece, rollups.Edge)]
    return (
        tuple([getattr(span, name) for span in spans] for name in ("level", "first", "last", "sign")),
        tuple([getattr(edge, name) for edge in edges] for name in ("since", "until", "sign")),
    )


async def count_edges(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, edges: tuple[list[int], ...]
) -> list[tuple[int, int, int]]:
    """Kind, actor and count of the matching events in edges."""
    rows: list[tuple[int, int, int]] = await connection.fetch(
        _SQL["edge"], snapshot.tenant_no, *edges[:2], resolved.kinds, resolved.actors, edges[2]
    )
    return rows


async def counts_by_kind(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> Counter[int]:
    """How many matching events each kind has."""
    counts: Counter[int] = Counter()
    if resolved.nothing:
        return counts
    if not resolved.by_rollup:
        bindings = Bindings(snapshot.tenant_no)
        where = conditions(resolved, bindings)
        text = f"SELECT kind, count(*) FROM event WHERE tenant_no = $1{where} GROUP BY kind"
        counts.update(dict(await connection.fetch(text, *bindings.values)))
        return counts
    spans, edges = columns_of(await pieces_of(connection, snapshot, resolved, summing=True))
    if spans[0]:
        values: list[Any] = [snapshot.tenant_no, *spans[:3]]
        block = "span_by_kind"
        if resolved.actors is not None:
            block = "span_by_kind_of_actors"
            values.append(resolved.actors)
        kinds = snapshot.kinds.keys() if resolved.kinds is None else frozenset(resolved.kinds)
        for kind, events in await connection.fetch(_SQL[block], *values, spans[3]):
            if kind in kinds:
                counts[kind] += events
    if edges[0]:
        for kind, _, events in await count_edges(connection, snapshot, resolved, edges):
            counts[kind] += events
    return +counts


async def count_by_word(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> Counts:
    """The counts by event type, resource type and actor type of the matching events."""
    by_kind = await counts_by_kind(connection, snapshot, resolved)
    return await compute(len(by_kind), by_word, by_kind, snapshot.kinds)


async def actor_stats(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> list[ActorStat]:
    """What each actor did in the matching events."""
    totals = await actor_totals(connection, snapshot, resolved)
    names = await actor_names(connection, snapshot, list(totals))
    return await compute(len(names), ranked, totals, names)


async def actor_totals(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> dict[int, Totals]:
    """The totals of each actor with a matching event, by its number."""
    if resolved.nothing:
        return {}
    return await (_totals_of_all if resolved.by_time else _totals_of_some)(connection, snapshot, resolved)


async def actor_names(connection: Connection, snapshot: Snapshot, actors: list[int]) -> list[tuple[int, str, str]]:
    """Number, type and id of these actors."""
    if not actors:
        return []
    found: list[tuple[int, str, str]] = await connection.fetch(_SQL["actor_names"], snapshot.tenant_no, actors)
    return found


async def _totals_of_all(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> dict[int, Totals]:
    """What each actor did in a range of time: from packed totals where a bucket has many events."""
    spans, edges = columns_of(await pieces_of(connection, snapshot, resolved, summing=True))
    folded_to = snapshot.folded_to if snapshot.folded_to < snapshot.size else None
    rows = await read_spans(connection, snapshot.tenant_no, spans, folded_to) if spans[0] else SpanRows()
    edge_rows = await count_edges(connection, snapshot, resolved, edges) if edges[0] else []

    def add_up() -> dict[int, Totals]:
        outcomes = {number: kind.outcome for number, kind in snapshot.kinds.items()}
        total = ActorTotals(snapshot.actors)
        add_spans(rows, outcomes, total)
        total.add(by_outcome([(actor, kind, events) for kind, actor, events in edge_rows], outcomes))
        return total.by_actor()

    return await compute(snapshot.actors + rows.size + len(edge_rows), add_up)


async def _totals_of_some(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> dict[int, Totals]:
    """What each actor did in the matching events of a query with other filters than time."""
    by_kind: list[Any] = []
    by_actor: list[Any] = []
    edge_rows: list[tuple[int, int, int]] = []
    if not resolved.by_rollup:
        bindings = Bindings(snapshot.tenant_no)
        where = conditions(resolved, bindings)
        text = f"SELECT actor, kind, count(*) FROM event WHERE tenant_no = $1{where} GROUP BY actor, kind"
        by_kind = await connection.fetch(text, *bindings.values)
    else:
        spans, edges = columns_of(await pieces_of(connection, snapshot, resolved, summing=True))
        if spans[0] and resolved.actors is not None:
            values = (snapshot.tenant_no, *spans[:3], resolved.actors, spans[3])
            by_kind = await connection.fetch(_SQL["span_by_actor_of_actors"], *values)
        elif spans[0]:
            by_actor = await _span_by_actor(connection, snapshot, resolved, spans)
        if edges[0]:
            edge_rows = await count_edges(connection, snapshot, resolved, edges)

    def add_up() -> dict[int, Totals]:
        kinds = snapshot.kinds.keys() if resolved.kinds is None else frozenset(resolved.kinds)
        sums: dict[int, list[int]] = {}
        of_kinds = [(actor, kind, events) for actor, kind, events in by_kind if kind in kinds]
        of_kinds += [(actor, kind, events) for kind, actor, events in edge_rows]
        parts = [(actor, totals_of_kind(snapshot.kinds[kind], events)) for actor, kind, events in of_kinds]
        parts += [(actor, (events, successes, failures)) for actor, events, successes, failures in by_actor]
        for actor, totals in parts:
            sums[actor] = [each + more for each, more in zip(sums.get(actor, (0, 0, 0)), totals, strict=True)]
        return {actor: (totals[0], totals[1], totals[2]) for actor, totals in sums.items() if totals[0]}

    return await compute(len(by_kind) + len(by_actor) + len(edge_rows), add_up)


async def _span_by_actor(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, spans: tuple[list[int], ...]
) -> list[Any]:
    """Actor, events, successes and failures of some kinds in whole buckets."""
    outcomes = {number: kind.outcome for number, kind in snapshot.kinds.items()}
    rows: list[Any] = await connection.fetch(
        _SQL["span_by_actor"],
        snapshot.tenant_no,
        *spans[:3],
        [number for number, outcome in outcomes.items() if outcome == "success"],
        [number for number, outcome in outcomes.items() if outcome == "failure"],
        resolved.kinds,
        spans[3],
    )
    return rows
