"""Exact counts: whole buckets from the rollups, edges from the covering index, and the raw events for the rest."""

from collections import Counter
from typing import Any

import msgspec

from whence import rollups
from whence.actor_totals import ActorTotals, Totals, by_outcome
from whence.events import ActorStat, Counts
from whence.storage.aggregates import by_word, ranked, totals_of_kind
from whence.storage.postgres.actor_totals import add_spans
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.resolve import Bindings, Snapshot, conditions
from whence.storage.resolve import ResolvedQuery
from whence.storage.sql import load_blocks

__all__ = ["actor_stats", "count_by_word", "newer_times", "pieces_of", "total"]

_SQL = load_blocks("whence.storage.postgres")


async def pieces_of(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, *, summing: bool = False
) -> list[rollups.Piece]:
    """The buckets and edges that cover the question's range of time, or whose signed sum it is."""
    asked = rollups.asked_by_cover(resolved.since, resolved.until)
    divided: set[tuple[int, int]] = set()
    if asked:
        levels, buckets = zip(*asked, strict=True)
        rows = await connection.fetch(_SQL["is_divided"], snapshot.tenant_no, levels, buckets)
        divided = {(level, bucket) for level, bucket in rows}
    cover = rollups.cover_sum if summing else rollups.cover
    return cover(resolved.since, resolved.until, lambda level, bucket: (level, bucket) in divided)


async def total(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> int:
    """How many events resolved, those beyond `resolved.newest` left out."""
    if resolved.nothing:
        return 0
    if not resolved.by_rollup and resolved.known_events is None:
        bindings = Bindings(snapshot.tenant_no)
        where = conditions(resolved, bindings)
        return int(
            await connection.fetchval(f"SELECT count(*) FROM event WHERE tenant_no = $1{where}", *bindings.values)
        )
    count = await _unpinned_total(connection, snapshot, resolved)
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
    where = conditions(msgspec.structs.replace(resolved, newest=None), bindings)
    return f" WHERE tenant_no = $1 AND position > $2 AND position <= $3{where}", bindings


async def _unpinned_total(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> int:
    if resolved.known_events is not None:
        return resolved.known_events
    if resolved.kinds is not None or resolved.actors is not None:
        return sum((await _by_kind(connection, snapshot, resolved)).values())
    if resolved.since is None and resolved.until is None:
        return snapshot.events
    spans, edges = _columns(await pieces_of(connection, snapshot, resolved, summing=True))
    count = 0
    if spans[0]:
        count += await connection.fetchval(_SQL["span_total"], snapshot.tenant_no, *spans)
    if edges[0]:
        count += sum(row[2] for row in await _edge_rows(connection, snapshot, resolved, edges))
    return count


def _columns(pieces: list[rollups.Piece]) -> tuple[tuple[list[int], ...], tuple[list[int], ...]]:
    """Spans as lists of level, first, last and sign; edges as lists of since, until and sign."""
    spans = [piece for piece in pieces if isinstance(piece, rollups.Span)]
    edges = [piece for piece in pieces if isinstance(piece, rollups.Edge)]
    return (
        tuple([getattr(span, name) for span in spans] for name in ("level", "first", "last", "sign")),
        tuple([getattr(edge, name) for edge in edges] for name in ("since", "until", "sign")),
    )


async def _edge_rows(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, edges: tuple[list[int], ...]
) -> list[tuple[int, int, int]]:
    """Kind, actor and count of the matching events in edges."""
    rows: list[tuple[int, int, int]] = await connection.fetch(
        _SQL["edge"], snapshot.tenant_no, *edges[:2], resolved.kinds, resolved.actors, edges[2]
    )
    return rows


async def _by_kind(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> Counter[int]:
    """How many matching events each kind has."""
    counts: Counter[int] = Counter()
    if not resolved.by_rollup:
        bindings = Bindings(snapshot.tenant_no)
        where = conditions(resolved, bindings)
        text = f"SELECT kind, count(*) FROM event WHERE tenant_no = $1{where} GROUP BY kind"
        counts.update(dict(await connection.fetch(text, *bindings.values)))
        return counts
    spans, edges = _columns(await pieces_of(connection, snapshot, resolved, summing=True))
    if spans[0]:
        values: list[Any] = [snapshot.tenant_no, *spans[:3]]
        block = "span_by_kind"
        if resolved.actors is not None:
            block = "span_by_kind_of_actors"
            values.append(resolved.actors)
        for kind, events in await connection.fetch(_SQL[block], *values, spans[3]):
            if resolved.kinds is None or kind in resolved.kinds:
                counts[kind] += events
    if edges[0]:
        for kind, _, events in await _edge_rows(connection, snapshot, resolved, edges):
            counts[kind] += events
    return +counts


async def count_by_word(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> Counts:
    """The aggregate of a question: in total and by the words of its kinds."""
    by_kind = Counter() if resolved.nothing else await _by_kind(connection, snapshot, resolved)
    return by_word(by_kind, snapshot.kinds)


async def actor_stats(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> list[ActorStat]:
    """What each actor did in the matching events."""
    if resolved.nothing:
        return []
    if resolved.by_rollup and resolved.kinds is None and resolved.actors is None:
        totals = await _totals_of_all(connection, snapshot, resolved)
    else:
        totals = await _totals_of_some(connection, snapshot, resolved)
    names = await connection.fetch(_SQL["actor_names"], snapshot.tenant_no, list(totals))
    return ranked(totals, names)


async def _totals_of_all(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> dict[int, Totals]:
    """What each actor did in a range of time: packed where a bucket has many events."""
    outcomes = {number: kind.outcome for number, kind in snapshot.kinds.items()}
    total = ActorTotals(snapshot.actors)
    spans, edges = _columns(await pieces_of(connection, snapshot, resolved, summing=True))
    if spans[0]:
        folded_to = snapshot.folded_to if snapshot.folded_to < snapshot.size else None
        await add_spans(connection, snapshot.tenant_no, spans, folded_to, outcomes, total)
    if edges[0]:
        rows = await _edge_rows(connection, snapshot, resolved, edges)
        total.add(by_outcome([(actor, kind, events) for kind, actor, events in rows], outcomes))
    return total.by_actor()


async def _totals_of_some(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> dict[int, Totals]:
    """The same of a question with other filters."""
    sums: dict[int, Counter[int]] = {}
    for actor, totals in await _parts(connection, snapshot, resolved):
        places = sums.setdefault(actor, Counter())
        for place, count in enumerate(totals):
            places[place] += count
    return {actor: (places[0], places[1], places[2]) for actor, places in sums.items() if places[0]}


async def _parts(connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> list[tuple[int, Totals]]:
    """Parts of what each actor did."""

    def part(actor: int, kind: int, events: int) -> tuple[int, Totals]:
        return actor, totals_of_kind(snapshot.kinds[kind], events)

    if not resolved.by_rollup:
        bindings = Bindings(snapshot.tenant_no)
        where = conditions(resolved, bindings)
        text = f"SELECT actor, kind, count(*) FROM event WHERE tenant_no = $1{where} GROUP BY actor, kind"
        return [part(*row) for row in await connection.fetch(text, *bindings.values)]
    spans, edges = _columns(await pieces_of(connection, snapshot, resolved, summing=True))
    parts: list[tuple[int, Totals]] = []
    if spans[0] and resolved.actors is not None:
        parts += [
            part(actor, kind, events)
            for actor, kind, events in await connection.fetch(
                _SQL["span_by_actor_of_actors"], snapshot.tenant_no, *spans[:3], resolved.actors, spans[3]
            )
            if resolved.kinds is None or kind in resolved.kinds
        ]
    elif spans[0]:
        outcomes = {number: kind.outcome for number, kind in snapshot.kinds.items()}
        rows = await connection.fetch(
            _SQL["span_by_actor"],
            snapshot.tenant_no,
            *spans[:3],
            [number for number, outcome in outcomes.items() if outcome == "success"],
            [number for number, outcome in outcomes.items() if outcome == "failure"],
            resolved.kinds,
            spans[3],
        )
        parts += [(actor, (events, successes, failures)) for actor, events, successes, failures in rows]
    if edges[0]:
        rows = await _edge_rows(connection, snapshot, resolved, edges)
        parts += [part(actor, kind, events) for kind, actor, events in rows]
    return parts
