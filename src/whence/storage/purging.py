"""What a purge takes out of a log's counts: one batch of events at a time. Pure; the same for every store.

A store commits a batch in one transaction. For it, the store

1. checks the purge and the holds, and folds what is unfolded if the batch reaches beyond the last fold, so that every
   event of the batch is counted in the packed sets;
2. reads the rows of the batch, and has `Departing` find those that go;
3. looks up their causes and effects, and adds the `departing_transitions` to the removed ones by `folding.fold`;
4. deletes the rows of the events;
5. takes them out of the buckets, by `reduce_buckets`, and out of the rows of flows and resources. A row that counts no
   event goes. The first and the last time of a flow are those of the events that are left;
6. removes the kinds and actors that no event uses. Their numbers are never given again;
7. appends the leaves of all positions before the first one that is kept to the tiles of level 0;
8. removes what webhooks were sent of these events, and saves the head.

Appends wait for a part of that. So a store does before that part what no append changes: it reads and computes, and on
PostgreSQL it also deletes. Then it compares the head. What was read before is right unless a removal or a fold came.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from whence import rollups
from whence.actor_totals import Counted, by_outcome
from whence.delays import bucket_of
from whence.errors import Unsound
from whence.flows import TransitionsByDay
from whence.storage.folding import BucketName
from whence.storage.removals import LASTING_TYPES, REMOVED_AT_ONCE, Purge
from whence.storage.resolve import Kind
from whence.transitions import LEVELS, code_of

__all__ = [
    "Departing",
    "PurgeRow",
    "ReduceBuckets",
    "Reduced",
    "check_purge",
    "departing_transitions",
    "lasting_kinds",
    "reduce_buckets",
    "transition_buckets",
]


class PurgeRow(NamedTuple):
    """An event that may be purged, block `purge_rows`. `cause` is None when it cannot name an event. Ids and causes are
    as the store keeps them."""

    position: int
    id: Any
    occurred_at: int
    recorded_at: int
    kind: int
    actor: int
    flow: int
    resource: int
    cause: Any
    payload_bytes: int


def check_purge(purge: Purge, size: int, retained_from: int) -> None:
    """Raise ValueError for a purge that a store does not do: of too many positions, of some that the log does not have,
    or one that would leave events in front of the first position that is kept."""
    if not 1 <= purge.since <= retained_from:
        raise ValueError("A purge begins at the first position that is kept, or before it.")
    if not purge.since <= purge.upto <= size + 1:
        raise ValueError("A purge ends within the log.")
    if purge.upto - purge.since > REMOVED_AT_ONCE:
        raise ValueError(f"A purge has at most {REMOVED_AT_ONCE} positions.")


def lasting_kinds(kinds: Iterable[Kind]) -> frozenset[int]:
    """The kinds of the events that say what was removed. These are neither purged nor erased."""
    return frozenset(kind.number for kind in kinds if kind.event_type in LASTING_TYPES)


class Departing:
    """The events of a batch that go, and what they are in every count.

    `flows` has the events and failures of each flow, by number; `resources` the events of each.
    """

    def __init__(self, purge: Purge, rows: Iterable[PurgeRow], kinds: Mapping[int, Kind]) -> None:
        """`rows` are the events from `purge.since` on and before `purge.upto`, `kinds` those of the tenant."""
        kept, lasting = frozenset(purge.keep), lasting_kinds(kinds.values())
        self.rows = [row for row in rows if row.position not in kept and row.kind not in lasting]
        self.outcomes = {number: kind.outcome for number, kind in kinds.items()}
        self.positions = [row.position for row in self.rows]
        self.occurrences = [(row.occurred_at, row.kind, row.actor) for row in self.rows]
        self.kinds = frozenset(row.kind for row in self.rows)
        self.actors = frozenset(row.actor for row in self.rows)
        self.payload_bytes = sum(row.payload_bytes for row in self.rows)
        self.recorded_at = max((row.recorded_at for row in self.rows), default=0)
        self.resources = Counter(row.resource for row in self.rows)
        self.flows: dict[int, tuple[int, int]] = {}
        for row in self.rows:
            events, failures = self.flows.get(row.flow, (0, 0))
            self.flows[row.flow] = events + 1, failures + (self.outcomes.get(row.kind) == "failure")

    @property
    def ids(self) -> list[Any]:
        """The ids of the events: of their effects that the log has, the transitions go."""
        return [row.id for row in self.rows]

    @property
    def causes(self) -> list[Any]:
        """The ids of the causes that are not among the events."""
        ids = {row.id for row in self.rows}
        return list({row.cause for row in self.rows if row.cause is not None} - ids)


def departing_transitions(
    departing: Departing,
    causes: Iterable[tuple[Any, int, int]],
    effects: Iterable[tuple[Any, int, int, int]],
) -> TransitionsByDay:
    """The transitions that are no more when these events are gone: of each pair in which at least one goes.

    `causes` (id, time and kind) are stored causes of the events, and `effects` (cause, time, kind and position) stored
    events that name one of them. Both of them only up to the last fold, since later transitions are not counted yet.
    """
    known = {row.id: (row.occurred_at, row.kind) for row in departing.rows}
    causes_known = known | {id_: (occurred_at, kind) for id_, occurred_at, kind in causes}
    going = frozenset(departing.positions)
    counts: dict[int, Counter[int]] = {}

    def count(cause: tuple[int, int], occurred_at: int, kind: int) -> None:
        code = code_of(cause[1], kind, bucket_of(occurred_at - cause[0]))
        counts.setdefault(occurred_at // rollups.DAY_US, Counter())[code] += 1

    for row in departing.rows:
        if row.cause in causes_known:
            count(causes_known[row.cause], row.occurred_at, row.kind)
    for cause_id, occurred_at, kind, position in effects:
        if position not in going:  # a pair of which both go is counted above
            count(known[cause_id], occurred_at, kind)
    return dict(counts)


def transition_buckets(occurrences: Iterable[rollups.Occurrence]) -> set[BucketName]:
    """The buckets of transitions in which these events are. Once a bucket has no event, all of its sets can go."""
    days = {occurred_at // rollups.DAY_US for occurred_at, _, _ in occurrences}
    return {(level, rollups.bucket_of(level, day * rollups.DAY_US)) for day in days for level in LEVELS}


class ReduceBuckets(msgspec.Struct, frozen=True):
    """Asks to take events out of buckets of one level, and what is left of each: by bucket how many events it has, and
    whether it is divided."""

    level: int
    events: Mapping[int, int]


class Reduced(msgspec.Struct, frozen=True):
    """What a batch takes out of the buckets.

    `emptied` are buckets that have no event any more: every row of them goes, in each table. In the others, `kinds`
    (level, bucket and kind) and `actors` (level, bucket, actor and kind) are the events to subtract, and a row that
    has none left goes. `totals` are what actors did, to be subtracted from the packed sets of divided buckets.
    """

    emptied: list[BucketName]
    kinds: dict[tuple[int, int, int], int]
    actors: dict[tuple[int, int, int, int], int]
    totals: dict[BucketName, Counted]


def reduce_buckets(
    departing: Departing,
) -> Generator[ReduceBuckets, Mapping[int, tuple[int, bool]], Reduced]:
    """Take events out of the buckets of every level that has rows for them. Asks once for each level.

    Raises Unsound when a bucket has fewer events than are to be taken out.
    """
    reduced = Reduced([], {}, {}, {})
    occurrences = departing.occurrences
    for level in range(rollups.LAST_LEVEL + 1):
        if not occurrences:
            break
        members = rollups.by_bucket(level, occurrences)
        left = yield ReduceBuckets(level, {bucket: len(each) for bucket, each in members.items()})
        occurrences = []
        for bucket, each in members.items():
            events, divided = left.get(bucket, (-1, False))
            if events < 0:
                raise Unsound("Events are counted wrong by time. Run 'whence verify'.")
            if divided:
                occurrences += each
            if not events:
                reduced.emptied.append((level, bucket))
                continue
            by_kind = Counter([kind for _, kind, _ in each])
            by_actor = Counter([(actor, kind) for _, kind, actor in each])
            reduced.kinds.update({(level, bucket, kind): number for kind, number in by_kind.items()})
            reduced.actors.update({(level, bucket, *name): number for name, number in by_actor.items()})
            if divided:
                rows = [(*name, number) for name, number in by_actor.items()]
                reduced.totals[level, bucket] = by_outcome(rows, departing.outcomes)
    return reduced
