"""The causal graph around an event: its causes up to the root, and all that it led to. Pure; a store answers lookups.

Each event names at most one cause, so a graph is a tree, unless events that arrived out of order name each other: then
there is one cycle, and it is cut above its earliest event, which becomes the root. A cause that is not in the log (or
that the viewer may not see) is *missing*. No graph is stored, so the next trace after the cause arrives contains it.

`walk` is a generator that yields lookups and is sent the events, so that it serves a store that blocks and one that
awaits. It uses no recursion and no I/O.
"""

from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from itertools import islice, pairwise
from operator import attrgetter
from typing import Literal

import msgspec

from whence.identities import canonical

__all__ = [
    "WALK_MAX",
    "Direction",
    "Graph",
    "GraphEvent",
    "Lookup",
    "Node",
    "Reach",
    "TraceRequest",
    "by_time",
    "reach_walk",
    "walk",
]

WALK_MAX = 10_000
"""Events that one walk reads. Beyond it, counts are lower bounds."""

_FLOW_MAX = 1_000
"""A flow of at most this many events is read at once, since most of a graph belongs to one flow."""

_FRONTIER_MAX = 500
"""Causes whose effects one lookup asks for."""

Direction = Literal["both", "up", "down"]

by_time = attrgetter("occurred_at", "position")
"""The key by which events are ordered in time."""

_actor = attrgetter("actor_type", "actor_id")
_resource = attrgetter("resource_type", "resource_id")


class GraphEvent(msgspec.Struct, frozen=True, gc=False):
    """The fields of an event that a graph uses. Times are in microseconds; `cause` is its causationId."""

    id: str
    position: int
    cause: str | None
    flow: str
    occurred_at: int
    event_type: str
    outcome: str
    actor_type: str
    actor_id: str
    resource_type: str
    resource_id: str


class Lookup(msgspec.Struct, frozen=True):
    """What a walk asks for: the events with these ids; with `effects`, the events that name one of these ids as their
    cause, by time; with `flow`, the events of the flows with these ids, in any order. At most `limit` events."""

    ids: tuple[str, ...]
    effects: bool
    limit: int
    flow: bool = False


class TraceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a graph is answered: `depth` hops from the event at most, `limit` nodes at most."""

    direction: Direction = "both"
    depth: int | None = None
    limit: int = 500
    walk_max: int = WALK_MAX


class Node(msgspec.Struct, frozen=True, gc=False):
    """One event of a graph.

    `hops` counts from the root. `effects` counts direct consequences, `all_effects` those below too, `failures` the
    failures among the latter. `since_cause_us` is None when the cause is not in the graph. `skewed`: the event lies
    before its cause, so a clock is wrong. `other_flow`: its cause is of another flow. `cycle`: its cause is among its
    own consequences, and that arrow was cut.
    """

    event: GraphEvent
    hops: int
    since_root_us: int
    since_cause_us: int | None
    effects: int
    all_effects: int
    failures: int
    skewed: bool
    other_flow: bool
    cycle: bool


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes of an answer, each after its cause and effects of one cause by time, and totals of the whole graph.

    `root_known`: false if the walk ended at its limit on the way up, so that `root` has causes that were not read.
    `missing` is the root's causationId when that event is not there. `hops` counts from the root to the event that was
    asked about. `at_least`: the walk ended at its limit, so counts may be larger. `truncated`: not all nodes of the
    graph are in `nodes`.
    """

    focus: str
    root: str
    root_known: bool
    nodes: list[Node]
    missing: str | None
    hops: int
    events: int
    failures: int
    actors: int
    resources: int
    duration_us: int
    at_least: bool
    truncated: bool


class Reach(msgspec.Struct, frozen=True):
    """How far an event reaches: its causes up to the root, all its effects, and the failures among these. `at_least`:
    the walk ended at its limit, so the counts may be larger."""

    id: str
    causes: int
    effects: int
    failures: int
    at_least: bool


Walk = Generator[Lookup, Sequence[GraphEvent], Graph]

_EventsById = dict[str | None, GraphEvent]
"""Events by id. The key None, for an event without a cause, is never present."""


def walk(focus: GraphEvent, request: TraceRequest) -> Walk:
    """Find the graph of `focus`. Yields lookups, is sent the events, and returns the graph."""
    nearby = yield from _read_nearby(focus, request.walk_max)
    chain, missing, above_at_least = yield from _climb(focus, nearby, request.walk_max)
    root, cycle = _root_of(chain)
    events, below_at_least = yield from _descend(root, nearby, request.walk_max)
    for event in chain:  # a walk that ended at its limit may not have reached the event itself
        events.setdefault(event.id, event)
    tree = _Tree(root, events, cycle=cycle)
    return _graph(tree, focus, request, missing, above_at_least=above_at_least, below_at_least=below_at_least)


class _Nearby(msgspec.Struct, frozen=True):
    """What was read of the event's flow in advance: its events by id, and the effects of each, of any flow. It saves
    two lookups a hop, and changes no answer."""

    events: dict[str, GraphEvent]
    effects: dict[str, list[GraphEvent]]


def _read_nearby(focus: GraphEvent, walk_max: int) -> Generator[Lookup, Sequence[GraphEvent], _Nearby]:
    """The event's flow, unless it is long or has more effects than a walk reads."""
    flow = yield Lookup((focus.flow,), effects=False, limit=_FLOW_MAX + 1, flow=True)
    if not 0 < len(flow) <= _FLOW_MAX:
        return _Nearby({}, {})
    events = {event.id: event for event in flow}
    found = yield Lookup(tuple(events), effects=True, limit=walk_max + 1)
    if len(found) > walk_max:
        return _Nearby(events, {})
    effects: dict[str, list[GraphEvent]] = {id_: [] for id_ in events}
    for event in found:
        effects[str(event.cause)].append(event)
    return _Nearby(events, effects)


def _climb(
    focus: GraphEvent, nearby: _Nearby, walk_max: int
) -> Generator[Lookup, Sequence[GraphEvent], tuple[list[GraphEvent], str | None, bool]]:
    """The event and its causes, nearest first; the id of a cause that is missing; whether the limit was reached."""
    chain, seen = [focus], {focus.id}
    while (cause := chain[-1].cause) is not None and cause not in seen:
        if len(chain) >= walk_max:
            return chain, None, True
        event = nearby.events.get(cause)
        if event is None:
            found = yield Lookup((cause,), effects=False, limit=1)
            if not found:
                return chain, cause, False
            event = found[0]
        seen.add(cause)
        chain.append(event)
    return chain, None, False


def _root_of(chain: list[GraphEvent]) -> tuple[GraphEvent, bool]:
    """Where the graph begins, and whether that is a cut in a cycle."""
    top = chain[-1]
    ids = [event.id for event in chain]
    if top.cause is None or top.cause not in ids:
        return top, False
    return min(chain[ids.index(top.cause) :], key=by_time), True


def _descend(
    root: GraphEvent, nearby: _Nearby, walk_max: int
) -> Generator[Lookup, Sequence[GraphEvent], tuple[_EventsById, bool]]:
    """The root and all its effects, level by level; whether the limit was reached."""
    events: _EventsById = {root.id: root}
    frontier = [root.id]
    while frontier:
        below: list[str] = []
        for start in range(0, len(frontier), _FRONTIER_MAX):
            left = walk_max - len(events)
            some = frontier[start : start + _FRONTIER_MAX]
            found: Sequence[GraphEvent] | None = nearby.effects.get(some[0]) if len(some) == 1 else None
            if found is None:
                # One more than fits, and the root, which is an effect too when there is a cycle.
                found = yield from _effects_of(some, nearby, left + 2)
            fresh = {event.id: event for event in found if event.id not in events}
            if len(fresh) > left:
                events.update(islice(fresh.items(), left))
                return events, True
            events.update(fresh)
            below.extend(fresh)
        frontier = below
    return events, False


def _effects_of(
    ids: list[str], nearby: _Nearby, limit: int
) -> Generator[Lookup, Sequence[GraphEvent], Sequence[GraphEvent]]:
    """The effects of some events by time, at most `limit` of them."""
    unknown = tuple(id_ for id_ in ids if id_ not in nearby.effects)
    read = (yield Lookup(unknown, effects=True, limit=limit)) if unknown else ()
    found = [*read, *(event for id_ in ids for event in nearby.effects.get(id_, ()))]
    return sorted(found, key=by_time)[:limit]


def _graph(
    tree: "_Tree",
    focus: GraphEvent,
    request: TraceRequest,
    missing: str | None,
    *,
    above_at_least: bool,
    below_at_least: bool,
) -> Graph:
    """Put the graph together from its events."""
    at_least = above_at_least or below_at_least
    chosen = _chosen(tree, focus, request)
    nodes = [tree.node(event) for event in tree.order if chosen is None or event.id in chosen]
    return Graph(
        focus=focus.id,
        root=tree.root.id,
        root_known=not above_at_least,
        nodes=nodes,
        missing=missing,
        hops=tree.hops[focus.id],
        events=len(tree.order),
        failures=tree.failures[tree.root.id] + (tree.root.outcome == "failure"),
        actors=len(set(map(_actor, tree.order))),
        resources=len(set(map(_resource, tree.order))),
        duration_us=tree.duration_us,
        at_least=at_least,
        truncated=at_least or len(nodes) < len(tree.order),
    )


class _Tree:
    """The events of a graph in order, and by id their effects, their distance from the root and the counts below each.
    `cycle`: the root is also an effect of one of them, and that arrow is cut."""

    def __init__(self, root: GraphEvent, events: _EventsById, *, cycle: bool) -> None:
        self.root, self.events, self.cycle = root, events, cycle
        ordered = sorted(events.values(), key=by_time)
        self.duration_us = ordered[-1].occurred_at - ordered[0].occurred_at
        self.effects = _by_cause(event for event in ordered if event is not root)
        self.order = self._ordered()
        below_root = self.order[1:]
        self.hops: dict[str | None, int] = {root.id: 0}
        for event in below_root:
            self.hops[event.id] = self.hops[event.cause] + 1
        self.all_effects = dict.fromkeys(self.hops, 0)
        self.failures = dict.fromkeys(self.hops, 0)
        for event in reversed(below_root):
            self.all_effects[event.cause] += self.all_effects[event.id] + 1
            self.failures[event.cause] += self.failures[event.id] + (event.outcome == "failure")

    def _ordered(self) -> list[GraphEvent]:
        """Every event after its cause, effects of one cause by time, each followed by all that it led to."""
        order: list[GraphEvent] = []
        stack = [self.root]
        while stack:
            event = stack.pop()
            order.append(event)
            stack.extend(reversed(self.effects.get(event.id, ())))
        return order

    def node(self, event: GraphEvent) -> Node:
        """The node of an event. Arguments are positional, since keywords take three times as long."""
        cause = None if event is self.root else self.events[event.cause]
        return Node(
            event,
            self.hops[event.id],
            event.occurred_at - self.root.occurred_at,
            None if cause is None else event.occurred_at - cause.occurred_at,
            len(self.effects.get(event.id, ())),
            self.all_effects[event.id],
            self.failures[event.id],
            cause is not None and event.occurred_at < cause.occurred_at,
            cause is not None and _in_other_flow(event, cause),
            cause is None and self.cycle,
        )


def _in_other_flow(event: GraphEvent, cause: GraphEvent) -> bool:
    return event.flow != cause.flow and canonical(event.flow) != canonical(cause.flow)


def _by_cause(events: Iterable[GraphEvent]) -> dict[str | None, list[GraphEvent]]:
    """Events by their cause, in the given order."""
    found: defaultdict[str | None, list[GraphEvent]] = defaultdict(list)
    for event in events:
        found[event.cause].append(event)
    found.default_factory = None
    return found


def _chosen(tree: _Tree, focus: GraphEvent, request: TraceRequest) -> set[str] | None:
    """The ids of the answered nodes: the path to the root first, then the effects of the event, then the rest, nearest
    first. None is all of them."""
    if request.direction == "both" and request.depth is None and request.limit >= len(tree.order):
        return None
    deepest = len(tree.order) if request.depth is None else request.depth
    spine = _spine(tree, focus)[: deepest + 1]
    wanted = dict.fromkeys([focus.id] if request.direction == "down" else spine)
    if request.direction != "up":
        wanted |= dict.fromkeys(_below(tree, focus.id, deepest))
    if request.direction == "both" and request.depth is None:
        wanted |= dict.fromkeys(_below(tree, tree.root.id, deepest))
    return set(islice(wanted, request.limit))


def _spine(tree: _Tree, event: GraphEvent) -> list[str]:
    """The event and its causes up to the root, nearest first."""
    spine = [event.id]
    while event is not tree.root:
        event = tree.events[event.cause]
        spine.append(event.id)
    return spine


def _below(tree: _Tree, id_: str, depth: int) -> list[str]:
    """What an event led to, nearest first."""
    found, level = [], [id_]
    for _ in range(depth):
        level = [effect.id for cause in level for effect in tree.effects.get(cause, ())]
        if not level:
            break
        found.extend(level)
    return found


def reach_walk(ids: Sequence[str], walk_max: int = WALK_MAX) -> Generator[Lookup, Sequence[GraphEvent], list[Reach]]:
    """How far each of these events reaches, with the numbers that a trace of it has; ids of no event are left out.

    Paths that the events share are walked once: upwards at most `walk_max` events are read, and downwards as many.
    """
    found = yield Lookup(tuple(dict.fromkeys(ids)), effects=False, limit=len(ids))
    by_id = {event.id: event for event in found}
    focuses = {id_: by_id[id_] for id_ in ids if id_ in by_id}
    climb = _Climb(by_id, walk_max)
    for event in focuses.values():
        yield from climb.from_event(event)
    descent = _Descent(focuses, climb.cuts, walk_max)
    yield from descent.run()
    return [
        Reach(
            id_,
            climb.causes[id_],
            descent.effects[id_],
            descent.failures[id_],
            id_ in climb.unfinished or id_ in descent.unfinished,
        )
        for id_ in focuses
    ]


class _Climb:
    """How many causes events have. `cuts` are the roots of cycles, which are no effects; see `walk`."""

    def __init__(self, read: dict[str, GraphEvent], walk_max: int) -> None:
        self.causes: dict[str, int] = {}
        self.unfinished: set[str] = set()
        self.cuts: set[str] = set()
        self._read, self._left = read, walk_max

    def from_event(self, focus: GraphEvent) -> Generator[Lookup, Sequence[GraphEvent], None]:
        """Count the causes of an event, and of each event on the way."""
        chain, seen = [focus], {focus.id}
        while chain[-1].id not in self.causes:
            cause = chain[-1].cause
            if cause in seen:
                self._close(chain, str(cause))
                return
            event = None if cause is None else (yield from self._event(cause))
            if event is None:
                self.causes[chain[-1].id] = 0
                if cause is not None and self._left <= 0:
                    self.unfinished.add(chain[-1].id)
            else:
                seen.add(event.id)
                chain.append(event)
        self._count(chain)

    def _event(self, id_: str) -> Generator[Lookup, Sequence[GraphEvent], GraphEvent | None]:
        """The event with this id; None if there is none, or if too many were read."""
        if id_ not in self._read and self._left > 0:
            self._left -= 1
            for event in (yield Lookup((id_,), effects=False, limit=1)):
                self._read[id_] = event
        return self._read.get(id_)

    def _close(self, chain: list[GraphEvent], first: str) -> None:
        """The chain ends in a cycle, which is cut above its earliest event."""
        cycle = chain[[event.id for event in chain].index(first) :]
        root = min(cycle, key=by_time)
        self.cuts.add(root.id)
        at = cycle.index(root)
        self.causes[root.id] = 0
        self._count([*cycle[at + 1 :], *cycle[: at + 1]])
        self._count(chain[: len(chain) - len(cycle) + 1])

    def _count(self, chain: list[GraphEvent]) -> None:
        """Number a chain of which each event is followed by its cause, and the last is numbered."""
        for cause, event in pairwise(reversed(chain)):
            self.causes[event.id] = self.causes[cause.id] + 1
            if cause.id in self.unfinished:
                self.unfinished.add(event.id)


class _Descent:
    """What events led to, level by level, each event once. Each has one cause, so the effects of two of the events are
    apart, or those of one are among those of the other."""

    def __init__(self, focuses: Mapping[str, GraphEvent], cuts: set[str], walk_max: int) -> None:
        self.unfinished: set[str] = set()
        self.effects = dict.fromkeys(focuses, 0)
        self.failures = dict.fromkeys(focuses, 0)
        self._focuses, self._cuts, self._walk_max = focuses, cuts, walk_max
        self._cause_of: dict[str, str | None] = {}
        self._order: list[GraphEvent] = []

    def run(self) -> Generator[Lookup, Sequence[GraphEvent], None]:
        """Read all effects, and add them up."""
        frontier = list(self._focuses)
        asked = set(frontier)
        while frontier:
            found = yield from self._below(frontier)
            frontier = [event.id for event in found if event.id not in asked]
            asked.update(frontier)
        self._add_up()

    def _below(self, frontier: list[str]) -> Generator[Lookup, Sequence[GraphEvent], list[GraphEvent]]:
        """The direct effects of some events, as far as they fit. Where they do not, the events are asked about in ever
        smaller parts, until it is known which of them are unfinished."""
        read: list[GraphEvent] = []
        parts = [frontier[start : start + _FRONTIER_MAX] for start in range(0, len(frontier), _FRONTIER_MAX)]
        while parts:
            some = parts.pop(0)
            left = self._walk_max - len(self._order)
            # One more than fits, and the cuts, which are effects too.
            found = yield Lookup(tuple(some), effects=True, limit=left + len(self._cuts) + 1)
            fresh = [event for event in found if event.id not in self._cuts]
            if len(fresh) > left and len(some) > 1:
                parts += [some[: len(some) // 2], some[len(some) // 2 :]]
                continue
            if len(fresh) > left:
                self.unfinished.update(some)
                if len(self._focuses) > 1:
                    left //= 2  # so that something is left for the others
            self._order += fresh[:left]
            self._cause_of.update((event.id, event.cause) for event in fresh[:left])
            read += fresh[:left]
        return read

    def _add_up(self) -> None:
        """The numbers below each event, from the last level upwards."""
        for event in reversed(self._each_after_its_cause()):
            cause = str(event.cause)
            self.effects[cause] = self.effects.get(cause, 0) + self.effects.get(event.id, 0) + 1
            failed = self.failures.get(event.id, 0) + (event.outcome == "failure")
            self.failures[cause] = self.failures.get(cause, 0) + failed
            if event.id in self.unfinished:
                self.unfinished.add(cause)

    def _each_after_its_cause(self) -> list[GraphEvent]:
        """The events that were read, in that order."""
        effects = _by_cause(self._order)
        order: list[GraphEvent] = []
        stack = [event for event in self._order if event.cause not in self._cause_of]
        while stack:
            event = stack.pop()
            order.append(event)
            stack.extend(effects.get(event.id, ()))
        return order
