"""Retention, legal holds and erasures: what a policy says, what a request asks for, and positions as ranges. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from whence.events import ANY_TYPE, Query, split_name

__all__ = [
    "AGE_DAYS_MAX",
    "ERASED_AT_ONCE",
    "EVENT_IDS_MAX",
    "FOR_EVER",
    "PURGED_AT_ONCE",
    "RULES_MAX",
    "Hold",
    "Policy",
    "Ranges",
    "RemovalRequest",
    "RetentionState",
    "TypeRule",
    "actor_of",
    "count_in",
    "positions_in",
    "query_of",
    "ranges_of",
    "without",
    "without_ranges",
]

ERASED_AT_ONCE = 8_000
"""Payloads that one event announces at most. If no two of them are neighbours, their ranges come to 232 KB."""

PURGED_AT_ONCE = 100_000
"""Positions that one event announces at most when whole events go."""

EVENT_IDS_MAX = 1_000
"""Events that one request may name by their ids."""

AGE_DAYS_MAX = 36_500
"""The longest age that a policy may name, in days."""

RULES_MAX = 20
"""Rules that a policy has at most."""

Ranges = Sequence[tuple[int, int]]
"""Positions as ranges, both ends included, in order and without overlaps."""


class TypeRule(msgspec.Struct, frozen=True, kw_only=True):
    """Payloads of events with this type, or with a type that begins so (`order.*`), are erased at this age in days."""

    event_type: str
    max_age_days: int


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a tenant keeps its events: at most `max_age_days` since they were recorded, for ever with None. The
    payloads that one of the `rules` names go earlier."""

    max_age_days: int | None = None
    rules: tuple[TypeRule, ...] = ()


FOR_EVER = Policy()
"""The policy of who has none."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold: events that match `query` are not removed while it is there. `q` is the question as text, `by` the
    type and the id of the actor who placed it. The time is in microseconds."""

    query: Query
    q: str
    reason: str
    by: tuple[str, str]
    created_at: int


class RetentionState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a tenant between two runs: the ids of the holds that the last run found, and up to which
    position the payloads of each rule are erased, by its event type."""

    holds: tuple[str, ...] = ()
    erased_to: dict[str, int] = {}


State = Literal["requested", "announced", "removing", "cleaning", "done"]


class RemovalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asked to have removed, and how far that is.

    An erasure has a `query` or `event_ids`, about the log up to `as_of`; `pseudonym` takes the place of the id of the
    one actor of the query. A retention run has a `policy`. What it asked for is forgotten once it is `done`.

    The work goes part by part. `step` and `after` say where the next part begins. A part that is announced, and may
    not have been removed yet, has the number `part`, and `next_step` and `next_after` say where the one after it
    begins; -1 when there is none. `waits_for` is a sentence about what keeps it from going on.
    """

    kind: Literal["erasure", "retention"]
    reason: str
    by: tuple[str, str]
    created_at: int
    as_of: int
    query: Query | None = None
    event_ids: tuple[str, ...] = ()
    pseudonym: str | None = None
    policy: Policy | None = None

    state: State = "requested"
    step: int = 0
    after: tuple[int, ...] = ()
    part: int = 0
    next_step: int = -1
    next_after: tuple[int, ...] = ()
    next_held: int = 0
    payloads: int = 0
    events: int = 0
    held: int = 0
    renamed: int | None = None
    sealed: bool | None = None
    waits_for: str | None = None
    finished_at: int | None = None


def query_of(rule: TypeRule) -> Query:
    """The events that a rule is about."""
    if rule.event_type.endswith(".*"):
        return Query(event_type_prefixes=(rule.event_type[:-1],))
    return Query(event_types=(rule.event_type,))


def actor_of(query: Query) -> tuple[str, str] | None:
    """The type and the id of the actor, if a query is about one actor and nothing else."""
    if len(query.actors) == 1 and query == Query(actors=query.actors):
        type_, id_ = split_name(query.actors[0])
        return (type_, id_) if type_ != ANY_TYPE and id_ else None
    if len(query.actor_types) == len(query.actor_ids) == 1:
        alone = Query(actor_types=query.actor_types, actor_ids=query.actor_ids)
        return (query.actor_types[0], query.actor_ids[0]) if query == alone else None
    return None


# ------------------------------------------------------------------------------------------------------------- ranges


def ranges_of(positions: Iterable[int]) -> list[tuple[int, int]]:
    """Positions, each once and in order, as ranges.

    >>> ranges_of([1, 2, 3, 7])
    [(1, 3), (7, 7)]
    """
    ranges: list[tuple[int, int]] = []
    for position in positions:
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], position)
        else:
            ranges.append((position, position))
    return ranges


def positions_in(ranges: Ranges) -> Iterator[int]:
    """The positions of ranges, in order."""
    for first, last in ranges:
        yield from range(first, last + 1)


def count_in(ranges: Ranges) -> int:
    """How many positions ranges have."""
    return sum(last - first + 1 for first, last in ranges)


def without(first: int, last: int, kept: Iterable[int]) -> list[tuple[int, int]]:
    """The positions from `first` to `last` without some of them, which are in order, as ranges.

    >>> without(1, 9, [1, 4])
    [(2, 3), (5, 9)]
    """
    ranges: list[tuple[int, int]] = []
    for position in kept:
        if first < position:
            ranges.append((first, position - 1))
        first = position + 1
    return [*ranges, (first, last)] if first <= last else ranges


def without_ranges(ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges without the positions of others. Both are in order and without overlaps.

    >>> without_ranges([(1, 9), (12, 15)], [(3, 4), (8, 12)])
    [(1, 2), (5, 7), (13, 15)]
    """
    left: list[tuple[int, int]] = []
    rest = deque(taken)
    for first, last in ranges:
        at = first
        while rest and rest[0][0] <= last:
            if at < rest[0][0]:
                left.append((at, rest[0][0] - 1))
            at = max(at, rest[0][1] + 1)
            if rest[0][1] > last:
                break
            rest.popleft()
        if at <= last:
            left.append((at, last))
    return left
