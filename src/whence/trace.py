"""The causal graph around an event: its causes up to the root, and all that it led to. Pure; a store only looks up.

Each event names at most one cause, so a graph is a tree, unless events that arrived out of order name each other: then
there is one cycle, and it is cut above its earliest event, which becomes the root. A cause that is not in the log (or
not readable) is *missing*; it heals when it arrives, since nothing of a graph is ever stored.

`walk` is a generator that asks for events and is sent them, so that one piece of code serves a store that blocks and
one that awaits. It knows no recursion and no I/O.
"""

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Literal

import msgspec

__all__ = ["WALK_MAX", "Ask", "Direction", "Graph", "Link", "Node", "Request", "by_place", "walk"]

WALK_MAX = 10_000
"""Events that one walk looks at. Beyond it, counts are what was seen: at least that many."""

_FLOW_MAX = 1_000
"""A flow of so many events is asked for at once, since most of a graph is of one flow."""

_FRONTIER_MAX = 500
"""Causes whose effects are asked for at once."""

Direction = Literal["both", "up", "down"]

by_place = attrgetter("occurred_at", "position")
"""What orders events in time."""

_actor = attrgetter("actor_type", "actor_id")
_resource = attrgetter("resource_type", "resource_id")


class Link(msgspec.Struct, frozen=True, gc=False):
    """What a walk needs to know of an event. Times are in microseconds; `cause` is its causationId."""

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


class Ask(msgspec.Struct, frozen=True):
    """What a walk wants: the events with these ids, or (`effects`) those that name one of these ids as their cause, by
    time; or (`flow`) those of the flows with these ids, in any order. At most `limit` of them."""

    ids: tuple[str, ...]
    effects: bool
    limit: int
    flow: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True):
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

    link: Link
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
    """The nodes of an answer, each behind its cause, effects of one cause by time; and what is true of the graph.

    `missing` is the root's causationId when that event is not there. `hops` counts from the root to the event that was
    asked about. `at_least`: the walk ended at its bound, so counts may be larger. `truncated`: not all nodes of the
    graph are in `nodes`.
    """

    focus: str
    root: str
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


Walk = Generator[Ask, Sequence[Link], Graph]

_Links = dict[str | None, Link]
"""Events by id. A causationId may be looked up in it, which is no event's when it is None."""


def walk(focus: Link, request: Request) -> Walk:
    """Find the graph of `focus`. Yields what it wants to know, and returns the graph."""
    near = yield from _look_around(focus, request.walk_max)
    chain, missing, at_least = yield from _climb(focus, near, request.walk_max)
    root, cycle = _root_of(chain)
    links, below_at_least = yield from _descend(root, near, request.walk_max)
    for link in chain:  # a walk that met its bound may not have come back to the event itself
        links.setdefault(link.id, link)
    tree = _Tree(root, links, cycle=cycle)
    return _graph(tree, focus, request, missing, at_least or below_at_least)


class _Near(msgspec.Struct, frozen=True):
    """What is known of the event's flow beforehand: its events by id, and the effects of each, of any flow. It saves
    two looks a hop, and changes no answer."""

    links: dict[str, Link]
    effects: dict[str, list[Link]]


def _look_around(focus: Link, walk_max: int) -> Generator[Ask, Sequence[Link], _Near]:
    """The event's flow, unless it is long or has more effects than a walk looks at."""
    flow = yield Ask((focus.flow,), effects=False, limit=_FLOW_MAX + 1, flow=True)
    if not 0 < len(flow) <= _FLOW_MAX:
        return _Near({}, {})
    links = {link.id: link for link in flow}
    found = yield Ask(tuple(links), effects=True, limit=walk_max + 1)
    if len(found) > walk_max:
        return _Near(links, {})
    effects: dict[str, list[Link]] = {id_: [] for id_ in links}
    for link in found:
        effects[str(link.cause)].append(link)
    return _Near(links, effects)


def _climb(
    focus: Link, near: _Near, walk_max: int
) -> Generator[Ask, Sequence[Link], tuple[list[Link], str | None, bool]]:
    """The event and its causes, nearest first; the id of a cause that is missing; whether the bound was met."""
    chain, seen = [focus], {focus.id}
    while (cause := chain[-1].cause) is not None and cause not in seen:
        if len(chain) >= walk_max:
            return chain, None, True
        link = near.links.get(cause)
        if link is None:
            found = yield Ask((cause,), effects=False, limit=1)
            if not found:
                return chain, cause, False
            link = found[0]
        seen.add(cause)
        chain.append(link)
    return chain, None, False


def _root_of(chain: list[Link]) -> tuple[Link, bool]:
    """Where the graph begins, and whether that is a cut in a cycle."""
    top = chain[-1]
    ids = [link.id for link in chain]
    if top.cause is None or top.cause not in ids:
        return top, False
    return min(chain[ids.index(top.cause) :], key=by_place), True


def _descend(root: Link, near: _Near, walk_max: int) -> Generator[Ask, Sequence[Link], tuple[_Links, bool]]:
    """The root and all its effects, level by level; whether the bound was met."""
    links: _Links = {root.id: root}
    frontier = [root.id]
    while frontier:
        below: list[str] = []
        for start in range(0, len(frontier), _FRONTIER_MAX):
            left = walk_max - len(links)
            some = frontier[start : start + _FRONTIER_MAX]
            found: Sequence[Link] | None = near.effects.get(some[0]) if len(some) == 1 else None
            if found is None:
                # One more than there is room for, and the root, to which a circle leads back.
                found = yield from _effects_of(some, near, left + 2)
            fresh = {link.id: link for link in found if link.id not in links}
            if len(fresh) > left:
                links.update(islice(fresh.items(), left))
                return links, True
            links.update(fresh)
            below.extend(fresh)
        frontier = below
    return links, False


def _effects_of(ids: list[str], near: _Near, limit: int) -> Generator[Ask, Sequence[Link], Sequence[Link]]:
    """The effects of some events by time, at most `limit` of them."""
    unknown = tuple(id_ for id_ in ids if id_ not in near.effects)
    asked = (yield Ask(unknown, effects=True, limit=limit)) if unknown else ()
    found = [*asked, *(link for id_ in ids for link in near.effects.get(id_, ()))]
    return sorted(found, key=by_place)[:limit]


def _graph(tree: "_Tree", focus: Link, request: Request, missing: str | None, at_least: bool) -> Graph:
    """Put the graph together from its events."""
    chosen = _chosen(tree, focus, request)
    nodes = [tree.node(link) for link in tree.order if chosen is None or link.id in chosen]
    return Graph(
        focus=focus.id,
        root=tree.root.id,
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
    """The events of a graph: their order, and by id their effects, their distance and what lies below each. All of them
    are the root or follow from it. `cycle`: the root follows from one of them too, and that arrow is cut."""

    def __init__(self, root: Link, links: _Links, *, cycle: bool) -> None:
        self.root, self.links, self.cycle = root, links, cycle
        by_time = sorted(links.values(), key=by_place)
        self.duration_us = by_time[-1].occurred_at - by_time[0].occurred_at
        self.effects = _by_cause(link for link in by_time if link is not root)
        self.order = self._ordered()
        behind = self.order[1:]
        self.hops: dict[str | None, int] = {root.id: 0}
        for link in behind:
            self.hops[link.id] = self.hops[link.cause] + 1
        self.all_effects = dict.fromkeys(self.hops, 0)
        self.failures = dict.fromkeys(self.hops, 0)
        for link in reversed(behind):
            self.all_effects[link.cause] += self.all_effects[link.id] + 1
            self.failures[link.cause] += self.failures[link.id] + (link.outcome == "failure")

    def _ordered(self) -> list[Link]:
        """Every event behind its cause, a cause's effects by time, each with all that follows from it."""
        order: list[Link] = []
        stack = [self.root]
        while stack:
            link = stack.pop()
            order.append(link)
            stack.extend(reversed(self.effects.get(link.id, ())))
        return order

    def node(self, link: Link) -> Node:
        """The event as it is answered; by place, since names take three times as long."""
        cause = None if link is self.root else self.links[link.cause]
        return Node(
            link,
            self.hops[link.id],
            link.occurred_at - self.root.occurred_at,
            None if cause is None else link.occurred_at - cause.occurred_at,
            len(self.effects.get(link.id, ())),
            self.all_effects[link.id],
            self.failures[link.id],
            cause is not None and link.occurred_at < cause.occurred_at,
            cause is not None and link.flow != cause.flow,
            cause is None and self.cycle,
        )


def _by_cause(links: Iterable[Link]) -> dict[str | None, list[Link]]:
    """Events by what they name as their cause, in the order in which they come."""
    found: defaultdict[str | None, list[Link]] = defaultdict(list)
    for link in links:
        found[link.cause].append(link)
    found.default_factory = None
    return found


def _chosen(tree: _Tree, focus: Link, request: Request) -> set[str] | None:
    """The ids to answer with: the way to the root first, then what follows from the event, then the rest, nearest
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


def _spine(tree: _Tree, link: Link) -> list[str]:
    """The event and its causes up to the root, nearest first."""
    spine = [link.id]
    while link is not tree.root:
        link = tree.links[link.cause]
        spine.append(link.id)
    return spine


def _below(tree: _Tree, id_: str, depth: int) -> list[str]:
    """What follows from an event, nearest first."""
    found, level = [], [id_]
    for _ in range(depth):
        level = [effect.id for cause in level for effect in tree.effects.get(cause, ())]
        if not level:
            break
        found.extend(level)
    return found
