"""Flows and the process map: which events belong together, and which types lead to which. Pure; a store reads and
keeps the rows.

A *transition* is an event together with the event that it names as its cause, both stored. The map counts transitions
by the day (UTC) on which the effect occurred and by the kinds of both events. So a period is whole days, and its counts
are exact whatever the size of the log.

To count each transition in its append would take a third of the append's time. So transitions are *folded* into the
counts of their days once every `FOLD_AT` events; the map counts those of later events when it is asked for. A
transition is counted with the later of its two events in the log, be that the cause or the effect.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from whence import rollups
from whence.delays import BEFORE, DelayHistogram, add, bucket_of, percentile
from whence.events import PageRequest
from whence.trace import GraphEvent
from whence.transitions import DAY_LEVEL, Transitions, code_of

__all__ = [
    "FOLD_AT",
    "SUMMARY_EVENTS_MAX",
    "Flow",
    "FlowPage",
    "FlowQuery",
    "FlowSummary",
    "Pair",
    "ProcessMap",
    "TransitionsByDay",
    "causes_outside",
    "cover_of_days",
    "days_of",
    "flow_page",
    "process_map",
    "summarize_flow",
    "transitions_among",
]


SUMMARY_EVENTS_MAX = 1_000
"""Events of a flow that are read for its root and its actors."""

FOLD_AT = 2_048
"""A fold takes place when this many events were stored since the last one."""

Known = tuple[int, int]
"""When an event occurred, and its kind."""

TransitionsByDay = dict[int, Transitions]
"""Transitions by the day of the effect (days since 1970)."""


class FlowQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which flows: those whose last event lies in `since <= t < until`, and with `failed` only those in which something
    failed. An event that its viewer may not see is no part of any flow."""

    since: int | None = None
    until: int | None = None
    failed: bool = False


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one correlationId. `number` orders flows by their first appearance in the log. `root` is the
    earliest event whose cause is not one of the flow. `actors` and `root` are taken from the
    first `SUMMARY_EVENTS_MAX` events by time; `at_least` says that there are more."""

    number: int
    correlation_id: str
    events: int
    failures: int
    first_at: int
    last_at: int
    actors: int
    at_least: bool
    root: GraphEvent


class FlowPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of flows, the latest activity first. `total` counts all that match, `size` is that of the log, and
    `removal_epoch` says which removals came before the page."""

    flows: list[Flow]
    total: int
    limit: int
    offset: int
    size: int
    removal_epoch: int = 0

    @property
    def has_next(self) -> bool:
        """Whether flows follow this page."""
        return self.offset + len(self.flows) < self.total


class FlowSummary(msgspec.Struct, frozen=True):
    """What the first events of a flow say: `root`, by the name that the store has for events, and how many actors.
    `at_least`: there are more events."""

    root: Any
    actors: int
    at_least: bool


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """How often one event type led to another. `share` is the part of all transitions from the same cause type.
    `skewed` counts the effects that lie before their cause; percentiles are of the others, None when there is none."""

    cause_type: str
    effect_type: str
    events: int
    failures: int
    skewed: int
    share: float
    p50_us: int | None
    p95_us: int | None


class ProcessMap(msgspec.Struct, frozen=True, kw_only=True):
    """What led to what in whole days: `since <= t < until`, by the time of the effect; None where the period is open.
    Pairs by count descending, then cause type, then effect type."""

    since: int | None
    until: int | None
    transitions: int
    pairs: list[Pair]


def summarize_flow(rows: Sequence[tuple[Any, Any, Any, Any]]) -> FlowSummary:
    """Summarize a flow from its first events by time: name, id, cause and actor of at most `SUMMARY_EVENTS_MAX + 1`
    events."""
    first = rows[:SUMMARY_EVENTS_MAX]
    ids = {row[1] for row in first}
    root = next((row for row in first if row[2] is None or row[2] not in ids), first[0])
    return FlowSummary(root[0], len({row[3] for row in first}), len(rows) > SUMMARY_EVENTS_MAX)


def flow_page(
    rows: Iterable[Sequence[Any]],
    summaries: Iterable[FlowSummary],
    roots: Mapping[Any, GraphEvent],
    request: PageRequest,
    total: int,
    size: int,
    removal_epoch: int = 0,
) -> FlowPage:
    """A page from what a store found: number, correlation id, events, failures, first and last time of each flow; the
    summaries of the flows, and the roots by their names."""
    flows = [
        Flow(
            number=number,
            correlation_id=correlation_id,
            events=events,
            failures=failures,
            first_at=first_at,
            last_at=last_at,
            actors=summary.actors,
            at_least=summary.at_least,
            root=roots[summary.root],
        )
        for (number, correlation_id, events, failures, first_at, last_at), summary in zip(rows, summaries, strict=True)
    ]
    return FlowPage(
        flows=flows, total=total, limit=request.limit, offset=request.offset, size=size, removal_epoch=removal_epoch
    )


def days_of(since: int | None, until: int | None) -> tuple[int | None, int | None]:
    """The first day of a period and the day after its last: the whole days that contain it."""
    return (
        None if since is None else since // rollups.DAY_US,
        None if until is None else -(-until // rollups.DAY_US),
    )


def cover_of_days(first: int | None, end: int | None) -> list[rollups.Span]:
    """The buckets of transitions that make up these days, `first <= day < end`: few, however long the period."""
    since = None if first is None else first * rollups.DAY_US
    until = None if end is None else end * rollups.DAY_US
    pieces = rollups.cover(since, until, lambda level, _bucket: level < DAY_LEVEL)
    return [piece for piece in pieces if isinstance(piece, rollups.Span)]


def transitions_among(
    new: Sequence[tuple[Any, Any, int, int]],
    earlier_causes: Mapping[Any, Known],
    earlier_effects: Iterable[tuple[Any, int, int]],
) -> TransitionsByDay:
    """The transitions of new events (id, cause, time and kind): from their causes, which are new or earlier in the log;
    and to earlier events (cause, time and kind) that named one of them before it was stored."""
    known = {id_: (occurred_at, kind) for id_, _, occurred_at, kind in new}
    codes: dict[int, list[int]] = {}
    for _, cause_id, occurred_at, kind in new:
        if cause_id is not None:
            cause = known.get(cause_id) or earlier_causes.get(cause_id)
            if cause is not None:
                code = code_of(cause[1], kind, bucket_of(occurred_at - cause[0]))
                codes.setdefault(occurred_at // rollups.DAY_US, []).append(code)
    for cause_id, occurred_at, kind in earlier_effects:
        cause = known[cause_id]
        code = code_of(cause[1], kind, bucket_of(occurred_at - cause[0]))
        codes.setdefault(occurred_at // rollups.DAY_US, []).append(code)
    return {day: Counter(each) for day, each in codes.items()}


def causes_outside(new: Sequence[tuple[Any, Any, int, int]]) -> set[Any]:
    """The causes of some events that are not among these events."""
    return {cause for _, cause, _, _ in new if cause is not None}.difference([id_ for id_, _, _, _ in new])


def process_map(
    since_day: int | None,
    until_day: int | None,
    rows: Iterable[tuple[str, str, str, DelayHistogram]],
) -> ProcessMap:
    """The map of some transitions: event type of the cause, event type and outcome of the effect, and their delays."""
    delays: dict[tuple[str, str], DelayHistogram] = {}
    failures: dict[tuple[str, str], int] = {}
    by_cause: dict[str, int] = {}
    for cause_type, effect_type, outcome, histogram in rows:
        name, events = (cause_type, effect_type), sum(histogram.values())
        delays[name] = add(delays[name], histogram) if name in delays else histogram
        failures[name] = failures.get(name, 0) + (events if outcome == "failure" else 0)
        by_cause[cause_type] = by_cause.get(cause_type, 0) + events
    pairs = [
        Pair(
            cause_type=name[0],
            effect_type=name[1],
            events=(events := sum(histogram.values())),
            failures=failures[name],
            skewed=histogram.get(BEFORE, 0),
            share=events / by_cause[name[0]],
            p50_us=percentile(histogram, 50),
            p95_us=percentile(histogram, 95),
        )
        for name, histogram in delays.items()
    ]
    return ProcessMap(
        since=None if since_day is None else since_day * rollups.DAY_US,
        until=None if until_day is None else until_day * rollups.DAY_US,
        transitions=sum(by_cause.values()),
        pairs=sorted(pairs, key=lambda pair: (-pair.events, pair.cause_type, pair.effect_type)),
    )
