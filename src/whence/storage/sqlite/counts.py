"""Exact counts: whole buckets from the rollups, edges from the covering index, and the raw events for the rest."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import apsw
import msgspec

from whence import rollups
from whence.events import ActorStat, Counts
from whence.storage.counting import by_word, ranked, tally_of_kind
from whence.storage.sql import load_blocks
from whence.storage.sqlite.match import Match, Snapshot, json_list

__all__ = ["actor_stats", "count_by_word", "newer_times", "pieces_of", "total"]

_SQL = load_blocks("whence.storage.sqlite")


def pieces_of(connection: apsw.Connection, snapshot: Snapshot, match: Match) -> list[rollups.Piece]:
    """The buckets and edges that cover the question's range of time."""

    def divided(level: int, bucket: int) -> bool:
        return bool(connection.execute(_SQL["is_divided"], (snapshot.tenant_no, level, bucket)).get)

    return rollups.cover(match.since, match.until, divided)


def total(connection: apsw.Connection, snapshot: Snapshot, match: Match) -> int:
    """How many events match, those beyond `match.newest` left out."""
    if match.nothing:
        return 0
    if match.by_rollup or match.known_events is not None:
        count = _unpinned_total(connection, snapshot, match)
        return count - len(newer_times(connection, snapshot, match))
    where, bindings = match.conditions(snapshot)
    found = connection.execute(
        f"SELECT count(*) FROM event WHERE tenant_no = ?{where}",
        (snapshot.tenant_no, *bindings),
    ).get
    return int(found)


def _unpinned_total(connection: apsw.Connection, snapshot: Snapshot, match: Match) -> int:
    if match.known_events is not None:
        return match.known_events
    if match.kinds is not None or match.actors is not None:
        return sum(_by_kind(connection, snapshot, match).values())
    count = 0
    for piece in pieces_of(connection, snapshot, match):
        if isinstance(piece, rollups.Span):
            count += connection.execute(
                _SQL["span_total"], (snapshot.tenant_no, piece.level, piece.first, piece.last)
            ).get
        else:
            count += len(_edge(connection, snapshot, match, piece))
    return count


def newer_times(connection: apsw.Connection, snapshot: Snapshot, match: Match) -> list[int]:
    """When the matching events beyond `match.newest` occurred, sorted; at most `AS_OF_SPAN` rows are read."""
    if match.newest is None or match.newest >= snapshot.size:
        return []
    where, bindings = msgspec.structs.replace(match, newest=None).conditions(snapshot)
    rows = connection.execute(
        f"SELECT occurred_at FROM event WHERE key > ? AND key <= ?{where}",
        (snapshot.key(match.newest), snapshot.key(snapshot.size), *bindings),
    )
    return sorted(row[0] for row in rows)


def _edge(connection: apsw.Connection, snapshot: Snapshot, match: Match, edge: rollups.Edge) -> list[tuple[int, int]]:
    """Kind and actor of the matching events in an edge."""
    rows: list[Any] = connection.execute(_SQL["edge"], (snapshot.tenant_no, edge.since, edge.until)).fetchall()
    if match.kinds is not None:
        kinds = frozenset(match.kinds)
        rows = [row for row in rows if row[0] in kinds]
    if match.actors is not None:
        actors = frozenset(match.actors)
        rows = [row for row in rows if row[1] in actors]
    return rows


def _by_kind(connection: apsw.Connection, snapshot: Snapshot, match: Match) -> Counter[int]:
    """How many matching events each kind has."""
    counts: Counter[int] = Counter()
    if not match.by_rollup:
        where, bindings = match.conditions(snapshot)
        rows = connection.execute(
            f"SELECT kind, count(*) FROM event WHERE tenant_no = ?{where} GROUP BY kind",
            (snapshot.tenant_no, *bindings),
        )
        counts.update(dict(rows))
        return counts
    kinds = None if match.kinds is None else frozenset(match.kinds)
    for piece in pieces_of(connection, snapshot, match):
        if isinstance(piece, rollups.Edge):
            counts.update([kind for kind, _ in _edge(connection, snapshot, match, piece)])
            continue
        block = "span_by_kind" if match.actors is None else "span_by_kind_of_actors"
        bindings = [snapshot.tenant_no, piece.level, piece.first, piece.last]
        if match.actors is not None:
            bindings.append(json_list(match.actors))
        found: list[Any] = connection.execute(_SQL[block], bindings).fetchall()
        for kind, events in found if kinds is None else [row for row in found if row[0] in kinds]:
            counts[kind] += events
    return counts


def count_by_word(connection: apsw.Connection, snapshot: Snapshot, match: Match) -> Counts:
    """The aggregate of a question: in total and by the words of its kinds."""
    by_kind = Counter() if match.nothing else _by_kind(connection, snapshot, match)
    return by_word(by_kind, snapshot.kinds)


def actor_stats(connection: apsw.Connection, snapshot: Snapshot, match: Match) -> list[ActorStat]:
    """What each actor did in the matching events."""
    if match.nothing:
        return []
    tallies: dict[int, list[int]] = {}  # total, successes, failures
    for actor, total_, successes, failures in _actor_rows(connection, snapshot, match):
        tally = tallies.setdefault(actor, [0, 0, 0])
        tally[0] += total_
        tally[1] += successes
        tally[2] += failures
    keys = json_list(tuple(snapshot.key(actor) for actor in tallies))
    return ranked(tallies, connection.execute(_SQL["actor_names"], (keys,)))


def _actor_rows(connection: apsw.Connection, snapshot: Snapshot, match: Match) -> Iterator[tuple[int, int, int, int]]:
    """Parts of the tallies: actor, events, successes, failures."""
    outcomes = {number: kind.outcome for number, kind in snapshot.kinds.items()}

    def part(actor: int, kind: int, events: int) -> tuple[int, int, int, int]:
        return actor, *tally_of_kind(snapshot.kinds[kind], events)

    if not match.by_rollup:
        where, bindings = match.conditions(snapshot)
        for row in connection.execute(
            f"SELECT actor, kind, count(*) FROM event WHERE tenant_no = ?{where} GROUP BY actor, kind",
            (snapshot.tenant_no, *bindings),
        ):
            yield part(*row)
        return
    kinds = None if match.kinds is None else frozenset(match.kinds)
    for piece in pieces_of(connection, snapshot, match):
        if isinstance(piece, rollups.Edge):
            for kind, actor in _edge(connection, snapshot, match, piece):
                yield part(actor, kind, 1)
        elif match.actors is not None:
            for actor, kind, events in connection.execute(
                _SQL["span_by_actor_of_actors"],
                (snapshot.tenant_no, piece.level, piece.first, piece.last, json_list(match.actors)),
            ):
                if kinds is None or kind in kinds:
                    yield part(actor, kind, events)
        else:
            rows: list[Any] = connection.execute(
                _SQL["span_by_actor"],
                (
                    snapshot.tenant_no,
                    piece.level,
                    piece.first,
                    piece.last,
                    json_list(tuple(n for n, outcome in outcomes.items() if outcome == "success")),
                    json_list(tuple(n for n, outcome in outcomes.items() if outcome == "failure")),
                    None if match.kinds is None else json_list(match.kinds),
                ),
            ).fetchall()
            yield from rows
