"""Exact counts: whole buckets from the rollups, edges from the covering index, and the raw events for the rest."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apsw
import msgspec

from whence import rollups
from whence.actor_totals import ActorTotals, Totals, by_outcome
from whence.events import ActorStat, Counts
from whence.storage.aggregates import by_word, ranked, totals_of_kind
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.sqlite.actor_totals import add_span, unfolded_events
from whence.storage.sqlite.resolve import conditions, events_led_by, json_list
from whence.storage.sqlite.rows import key_of

__all__ = [
    "actor_names",
    "actor_stats",
    "actor_totals",
    "count_by_word",
    "counts_by_kind",
    "newer_times",
    "pieces_of",
    "total",
]

_SQL = load_blocks("whence.storage.sqlite")
_NOTHING = (0, 0, 0)

FEW_KINDS = 16
"""Up to this number of kinds, each is looked up in every bucket; beyond it, all kinds of a bucket are read."""


def pieces_of(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, *, summing: bool = False
) -> list[rollups.Piece]:
    """The buckets and edges that make up the query's range of time; with `summing`, those whose signed sum is it."""

    def divided(level: int, bucket: int) -> bool:
        return bool(connection.execute(_SQL["is_divided"], (snapshot.tenant_no, level, bucket)).get)

    return (rollups.cover_sum if summing else rollups.cover)(resolved.since, resolved.until, divided)


def total(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> int:
    """How many events match, up to the position `resolved.newest`."""
    if resolved.nothing:
        return 0
    unpinned = resolved.unpinned
    if unpinned.by_rollup or unpinned.has_known_total:
        count = _unpinned_total(connection, snapshot, unpinned)
        return count - len(newer_times(connection, snapshot, resolved))
    where, bindings = conditions(resolved, snapshot)
    found = connection.execute(
        f"SELECT count(*) FROM {events_led_by(resolved)} WHERE tenant_no = ?{where}",
        (snapshot.tenant_no, *bindings),
    ).get
    return int(found)


def _unpinned_total(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> int:
    if resolved.known_events is not None:
        return resolved.known_events
    if not resolved.by_time:
        return sum(counts_by_kind(connection, snapshot, resolved).values())
    count = 0
    for piece in pieces_of(connection, snapshot, resolved, summing=True):
        block, where = "span_total", (snapshot.tenant_no, *msgspec.structs.astuple(piece)[:-1])
        if isinstance(piece, rollups.Edge):
            block = "edge_total"
        count += piece.sign * connection.execute(_SQL[block], where).get
    return count


def newer_times(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> list[int]:
    """When the matching events beyond `resolved.newest` occurred, sorted; at most `AS_OF_SPAN` rows are read."""
    if resolved.newest is None or resolved.newest >= snapshot.size:
        return []
    where, bindings = conditions(resolved.unpinned, snapshot, by_row=True)
    rows = connection.execute(
        f"SELECT occurred_at FROM event WHERE key > ? AND key <= ?{where}",
        (key_of(snapshot.tenant_no, resolved.newest), key_of(snapshot.tenant_no, snapshot.size), *bindings),
    )
    return sorted(row[0] for row in rows)


def _edge(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, edge: rollups.Edge
) -> list[tuple[int, int]]:
    """Kind and actor of the matching events in an edge."""
    rows: list[Any] = connection.execute(_SQL["edge"], (snapshot.tenant_no, edge.since, edge.until)).fetchall()
    if resolved.kinds is not None:
        kinds = frozenset(resolved.kinds)
        rows = [row for row in rows if row[0] in kinds]
    if resolved.actors is not None:
        actors = frozenset(resolved.actors)
        rows = [row for row in rows if row[1] in actors]
    return rows


def counts_by_kind(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> Counter[int]:
    """How many matching events each kind has."""
    counts: Counter[int] = Counter()
    if resolved.nothing:
        return counts
    if not resolved.by_rollup:
        where, bindings = conditions(resolved, snapshot)
        rows = connection.execute(
            f"SELECT kind, count(*) FROM {events_led_by(resolved)} WHERE tenant_no = ?{where} GROUP BY kind",
            (snapshot.tenant_no, *bindings),
        )
        counts.update(dict(rows))
        return counts
    for piece in pieces_of(connection, snapshot, resolved, summing=True):
        if isinstance(piece, rollups.Span):
            for kind, events in _span_by_kind(connection, snapshot, resolved, piece):
                counts[kind] += piece.sign * events
        else:
            for kind, events in _edge_by_kind(connection, snapshot, resolved, piece):
                counts[kind] += piece.sign * events
    if resolved.kinds is None:
        return +counts
    return Counter({kind: counts[kind] for kind in resolved.kinds if counts[kind]})


def _span_by_kind(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, span: rollups.Span
) -> list[tuple[int, int]]:
    """Kinds in whole buckets and their events; kinds that do not match may be among them."""
    block, bindings = "span_by_kind", list[Any]([snapshot.tenant_no, span.level, span.first, span.last])
    if resolved.actors is not None:
        block = "span_by_kind_of_actors"
        bindings.append(json_list(resolved.actors))
    elif resolved.kinds is not None and len(resolved.kinds) <= FEW_KINDS:
        block = "span_by_few_kinds"
        bindings.append(json_list(resolved.kinds))
    rows: list[Any] = connection.execute(_SQL[block], bindings).fetchall()
    return rows


def _edge_by_kind(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, edge: rollups.Edge
) -> Iterable[tuple[int, int]]:
    """As `_span_by_kind`, of an edge."""
    if resolved.actors is None and resolved.kinds is not None and len(resolved.kinds) <= FEW_KINDS:
        where = (snapshot.tenant_no, edge.since, edge.until)
        return [(kind, connection.execute(_SQL["edge_of_kind"], (kind, *where)).get) for kind in resolved.kinds]
    return Counter([kind for kind, _ in _edge(connection, snapshot, resolved, edge)]).items()


def count_by_word(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> Counts:
    """The counts by event type, resource type and actor type of the matching events."""
    return by_word(counts_by_kind(connection, snapshot, resolved), snapshot.kinds)


def actor_stats(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> list[ActorStat]:
    """What each actor did in the matching events."""
    totals = actor_totals(connection, snapshot, resolved)
    return ranked(totals, actor_names(connection, snapshot, totals))


def actor_totals(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> dict[int, Totals]:
    """The totals of each actor with a matching event, by its number."""
    if resolved.nothing:
        return {}
    return (_totals_of_all if resolved.by_time else _totals_of_some)(connection, snapshot, resolved)


def actor_names(connection: apsw.Connection, snapshot: Snapshot, actors: Iterable[int]) -> list[tuple[int, str, str]]:
    """Number, type and id of these actors."""
    keys = array("q", [key_of(snapshot.tenant_no, actor) for actor in actors])
    found: list[Any] = connection.execute(_SQL["actor_names"], (apsw.carray(keys),)).fetchall() if keys else []
    return found


def _totals_of_all(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> dict[int, Totals]:
    """What each actor did in a range of time: from packed totals where a bucket has many events."""
    outcomes = {number: kind.outcome for number, kind in snapshot.kinds.items()}
    new = None
    if snapshot.folded_to < snapshot.size:
        new = unfolded_events(connection, snapshot.tenant_no, snapshot.folded_to, outcomes)
    total = ActorTotals(snapshot.actors)
    for piece in pieces_of(connection, snapshot, resolved, summing=True):
        if isinstance(piece, rollups.Span):
            add_span(connection, snapshot, piece, new, total)
        else:
            rows = Counter(_edge(connection, snapshot, resolved, piece)).items()
            total.add(by_outcome([(actor, kind, events) for (kind, actor), events in rows], outcomes), piece.sign)
    return total.by_actor()


def _totals_of_some(connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery) -> dict[int, Totals]:
    """What each actor did in the matching events of a query with other filters than time."""
    sums: dict[int, list[int]] = {}
    for sign, rows in _actor_rows(connection, snapshot, resolved):
        for actor, *totals in rows:
            sums[actor] = [each + sign * more for each, more in zip(sums.get(actor, _NOTHING), totals, strict=True)]
    return {actor: (totals[0], totals[1], totals[2]) for actor, totals in sums.items() if totals[0]}


def _actor_rows(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery
) -> Iterator[tuple[int, Iterable[tuple[int, ...]]]]:
    """Rows to add up, or to subtract with a sign of -1: actor, events, successes, failures."""

    def part(actor: Any, kind: Any, events: Any) -> tuple[int, ...]:
        return actor, *totals_of_kind(snapshot.kinds[kind], events)

    if not resolved.by_rollup:
        text, values = conditions(resolved, snapshot)
        found: list[Any] = connection.execute(
            f"SELECT actor, kind, count(*) FROM {events_led_by(resolved)} WHERE tenant_no = ?{text}"
            " GROUP BY actor, kind",
            (snapshot.tenant_no, *values),
        ).fetchall()
        yield 1, [part(*row) for row in found]
        return
    kinds = None if resolved.kinds is None else frozenset(resolved.kinds)
    for piece in pieces_of(connection, snapshot, resolved, summing=True):
        if isinstance(piece, rollups.Edge):
            yield piece.sign, [part(actor, kind, 1) for kind, actor in _edge(connection, snapshot, resolved, piece)]
            continue
        where = (snapshot.tenant_no, piece.level, piece.first, piece.last)
        bindings: tuple[Any, ...]
        if resolved.actors is not None:
            bindings = (*where, json_list(resolved.actors))
            found = connection.execute(_SQL["span_by_actor_of_actors"], bindings).fetchall()
            yield piece.sign, [part(*row) for row in found if kinds is None or row[1] in kinds]
        else:
            succeeded, failed = (
                json_list(tuple(kind.number for kind in snapshot.kinds.values() if kind.outcome == wanted))
                for wanted in ("success", "failure")
            )
            bindings = (*where, succeeded, failed, json_list(resolved.kinds or ()))
            sums: list[Any] = connection.execute(_SQL["span_by_actor"], bindings).fetchall()
            yield piece.sign, sums
