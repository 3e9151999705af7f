"""Exact counts: whole buckets from the rollups, edges from the covering index, and the raw events for the rest."""

from collections import Counter
from typing import Any

import msgspec

from whence import rollups
from whence.events import ActorStat, Counts
from whence.storage.counting import by_word, ranked, tally_of_kind
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.match import Bindings, Match, Snapshot
from whence.storage.postgres.tallies import add_spans
from whence.storage.sql import load_blocks
from whence.tallies import Tallies, Tally, by_outcome

__all__ = ["actor_stats", "count_by_word", "newer_times", "pieces_of", "total"]

_SQL = load_blocks("whence.storage.postgres")


async def pieces_of(
    connection: Connection, snapshot: Snapshot, match: Match, *, summing: bool = False
) -> list[rollups.Piece]:
    """The buckets and edges that cover the question's range of time, or whose signed sum it is."""
    asked = rollups.asked_by_cover(match.since, match.until)
    divided: set[tuple[int, int]] = set()
    if asked:
        levels, buckets = zip(*asked, strict=True)
        rows = await connection.fetch(_SQL["is_divided"], snapshot.tenant_no, levels, buckets)
        divided = {(level, bucket) for level, bucket in rows}
    cover = rollups.cover_sum if summing else rollups.cover
    return cover(match.since, match.until, lambda level, bucket: (level, bucket) in divided)


async def total(connection: Connection, snapshot: Snapshot, match: Match) -> int:
    """How many events match, those beyond `match.newest` left out."""
    if match.nothing:
        return 0
    if not match.by_rollup and match.known_events is None:
        bindings = Bindings(snapshot.tenant_no)
        where = match.conditions(bindings)
        return int(
            await connection.fetchval(f"SELECT count(*) FROM event WHERE tenant_no = $1{where}", *bindings.values)
        )
    count = await _unpinned_total(connection, snapshot, match)
    if match.newest is not None and match.newest < snapshot.size:
        where, bindings = _newer(snapshot, match, match.newest)
        count -= await connection.fetchval(f"SELECT count(*) FROM event{where}", *bindings.values)
    return count


async def newer_times(connection: Connection, snapshot: Snapshot, match: Match) -> list[int]:
    """When the matching events beyond `match.newest` occurred, sorted; at most `AS_OF_SPAN` rows are read."""
    if match.newest is None or match.newest >= snapshot.size:
        return []
    where, bindings = _newer(snapshot, match, match.newest)
    rows = await connection.fetch(f"SELECT occurred_at FROM event{where} ORDER BY occurred_at", *bindings.values)
    return [row[0] for row in rows]


def _newer(snapshot: Snapshot, match: Match, newest: int) -> tuple[str, Bindings]:
    """The condition on the matching events beyond the position `newest`."""
    bindings = Bindings(snapshot.tenant_no, newest, snapshot.size)
    where = msgspec.structs.replace(match, newest=None).conditions(bindings)
    return f" WHERE tenant_no = $1 AND position > $2 AND position <= $3{where}", bindings


async def _unpinned_total(connection: Connection, snapshot: Snapshot, match: Match) -> int:
    if match.known_events is not None:
        return match.known_events
    if match.kinds is not None or match.actors is not None:
        return sum((await _by_kind(connection, snapshot, match)).values())
    if match.since is None and match.until is None:
        return snapshot.events
    spans, edges = _columns(await pieces_of(connection, snapshot, match, summing=True))
    count = 0
    if spans[0]:
        count += await connection.fetchval(_SQL["span_total"], snapshot.tenant_no, *spans)
    if edges[0]:
        count += sum(row[2] for row in await _edge_rows(connection, snapshot, match, edges))
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
    connection: Connection, snapshot: Snapshot, match: Match, edges: tuple[list[int], ...]
) -> list[tuple[int, int, int]]:
    """Kind, actor and count of the matching events in edges."""
    rows: list[tuple[int, int, int]] = await connection.fetch(
        _SQL["edge"], snapshot.tenant_no, *edges[:2], match.kinds, match.actors, edges[2]
    )
    return rows


async def _by_kind(connection: Connection, snapshot: Snapshot, match: Match) -> Counter[int]:
    """How many matching events each kind has."""
    counts: Counter[int] = Counter()
    if not match.by_rollup:
        bindings = Bindings(snapshot.tenant_no)
        where = match.conditions(bindings)
        text = f"SELECT kind, count(*) FROM event WHERE tenant_no = $1{where} GROUP BY kind"
        counts.update(dict(await connection.fetch(text, *bindings.values)))
        return counts
    spans, edges = _columns(await pieces_of(connection, snapshot, match, summing=True))
    if spans[0]:
        values: list[Any] = [snapshot.tenant_no, *spans[:3]]
        block = "span_by_kind"
        if match.actors is not None:
            block = "span_by_kind_of_actors"
            values.append(match.actors)
        for kind, events in await connection.fetch(_SQL[block], *values, spans[3]):
            if match.kinds is None or kind in match.kinds:
                counts[kind] += events
    if edges[0]:
        for kind, _, events in await _edge_rows(connection, snapshot, match, edges):
            counts[kind] += events
    return +counts


async def count_by_word(connection: Connection, snapshot: Snapshot, match: Match) -> Counts:
    """The aggregate of a question: in total and by the words of its kinds."""
    by_kind = Counter() if match.nothing else await _by_kind(connection, snapshot, match)
    return by_word(by_kind, snapshot.kinds)


async def actor_stats(connection: Connection, snapshot: Snapshot, match: Match) -> list[ActorStat]:
    """What each actor did in the matching events."""
    if match.nothing:
        return []
    if match.by_rollup and match.kinds is None and match.actors is None:
        tallies = await _tallies_of_all(connection, snapshot, match)
    else:
        tallies = await _tallies_of_some(connection, snapshot, match)
    names = await connection.fetch(_SQL["actor_names"], snapshot.tenant_no, list(tallies))
    return ranked(tallies, names)


async def _tallies_of_all(connection: Connection, snapshot: Snapshot, match: Match) -> dict[int, Tally]:
    """What each actor did in a range of time: packed where a bucket has many events."""
    outcomes = {number: kind.outcome for number, kind in snapshot.kinds.items()}
    total = Tallies(snapshot.actors)
    spans, edges = _columns(await pieces_of(connection, snapshot, match, summing=True))
    if spans[0]:
        linked = snapshot.linked if snapshot.linked < snapshot.size else None
        await add_spans(connection, snapshot.tenant_no, spans, linked, outcomes, total)
    if edges[0]:
        rows = await _edge_rows(connection, snapshot, match, edges)
        total.add(by_outcome([(actor, kind, events) for kind, actor, events in rows], outcomes))
    return total.by_actor()


async def _tallies_of_some(connection: Connection, snapshot: Snapshot, match: Match) -> dict[int, Tally]:
    """The same of a question with other filters."""
    sums: dict[int, Counter[int]] = {}
    for actor, tally in await _parts(connection, snapshot, match):
        places = sums.setdefault(actor, Counter())
        for place, count in enumerate(tally):
            places[place] += count
    return {actor: (places[0], places[1], places[2]) for actor, places in sums.items() if places[0]}


async def _parts(connection: Connection, snapshot: Snapshot, match: Match) -> list[tuple[int, Tally]]:
    """Parts of what each actor did."""

    def part(actor: int, kind: int, events: int) -> tuple[int, Tally]:
        return actor, tally_of_kind(snapshot.kinds[kind], events)

    if not match.by_rollup:
        bindings = Bindings(snapshot.tenant_no)
        where = match.conditions(bindings)
        text = f"SELECT actor, kind, count(*) FROM event WHERE tenant_no = $1{where} GROUP BY actor, kind"
        return [part(*row) for row in await connection.fetch(text, *bindings.values)]
    spans, edges = _columns(await pieces_of(connection, snapshot, match, summing=True))
    parts: list[tuple[int, Tally]] = []
    if spans[0] and match.actors is not None:
        parts += [
            part(actor, kind, events)
            for actor, kind, events in await connection.fetch(
                _SQL["span_by_actor_of_actors"], snapshot.tenant_no, *spans[:3], match.actors, spans[3]
            )
            if match.kinds is None or kind in match.kinds
        ]
    elif spans[0]:
        outcomes = {number: kind.outcome for number, kind in snapshot.kinds.items()}
        rows = await connection.fetch(
            _SQL["span_by_actor"],
            snapshot.tenant_no,
            *spans[:3],
            [number for number, outcome in outcomes.items() if outcome == "success"],
            [number for number, outcome in outcomes.items() if outcome == "failure"],
            match.kinds,
            spans[3],
        )
        parts += [(actor, (events, successes, failures)) for actor, events, successes, failures in rows]
    if edges[0]:
        rows = await _edge_rows(connection, snapshot, match, edges)
        parts += [part(actor, kind, events) for kind, actor, events in rows]
    return parts
