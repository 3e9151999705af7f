"""The causal graph around an event: its causes up to the root, and all that it led to. Pure; a store only looks up.

Each event names at most one cause, so a graph is a tree, unless events that arrived out of order name each other: then
there is one cycle, and it is cut above its earliest event, which becomes the root. A cause that is not in the log (or
not readable) is *missing*; it heals when it arrives, since nothing of a graph is ever stored.

`walk` is a generator that asks for events and is sent them, so that one piece of code serves a store that blocks and
one that awaits. It knows no recursion and no I/O.
"""

from collections.abc import Generator, Iterable, Sequence
from typing import Literal

import msgspec

__all__ = ["WALK_MAX", "Ask", "Direction", "Graph", "Link", "Node", "Request", "walk"]

WALK_MAX = 10_000
"""Events that one walk looks at. Beyond it, counts are what was seen: at least that many."""

_FLOW_MAX = 1_000
"""A flow of so many events is asked for at once, since most of a graph is of one flow."""

_FRONTIER_MAX = 500
"""Causes whose effects are asked for at once."""

Direction = Literal["both", "up", "down"]


class Link(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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

    @property
    def place(self) -> tuple[int, int]:
        """What orders events in time."""
        return self.occurred_at, self.position


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


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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


def walk(focus: Link, request: Request) -> Walk:
    """Find the graph of `focus`. Yields what it wants to know, and returns the graph."""
    near = yield from _look_around(focus, request.walk_max)
    chain, missing, at_least = yield from _climb(focus, near, request.walk_max)
    root, cycle = _root_of(chain)
    links, below_at_least = yield from _descend(root, near, request.walk_max)
    for link in chain:  # a walk that met its bound may not have come back to the event itself
        links.setdefault(link.id, link)
    return _graph(focus, root, list(links.values()), request, missing, cycle, at_least or below_at_least)


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
    return min(chain[ids.index(top.cause) :], key=lambda link: link.place), True


def _descend(root: Link, near: _Near, walk_max: int) -> Generator[Ask, Sequence[Link], tuple[dict[str, Link], bool]]:
    """The root and all its effects, level by level; whether the bound was met."""
    links = {root.id: root}
    frontier = [root.id]
    while frontier:
        below: list[str] = []
        for start in range(0, len(frontier), _FRONTIER_MAX):
            left = walk_max - len(links)
            found = yield from _effects_of(frontier[start : start + _FRONTIER_MAX], near, left + 1)
            fresh = [link for link in found if link.id not in links]
            if len(fresh) > left:
                links.update((link.id, link) for link in fresh[:left])
                return links, True
            links.update((link.id, link) for link in fresh)
            below.extend(link.id for link in fresh)
        frontier = below
    return links, False


def _effects_of(ids: list[str], near: _Near, limit: int) -> Generator[Ask, Sequence[Link], Sequence[Link]]:
    """The effects of some events by time, at most `limit` of them."""
    if len(ids) == 1 and ids[0] in near.effects:
        return near.effects[ids[0]][:limit]
    unknown = tuple(id_ for id_ in ids if id_ not in near.effects)
    asked = (yield Ask(unknown, effects=True, limit=limit)) if unknown else ()
    found = [*asked, *(link for id_ in ids for link in near.effects.get(id_, ()))]
    return sorted(found, key=lambda link: link.place)[:limit]


def _graph(
    focus: Link,
    root: Link,
    links: list[Link],
    request: Request,
    missing: str | None,
    cycle: bool,
    at_least: bool,
) -> Graph:
    """Put the graph together from its events."""
    tree = _Tree(root, links)
    chosen = _chosen(tree, focus, request)
    nodes = [tree.node(id_, cut=cycle and id_ == root.id) for id_ in tree.order if id_ in chosen]
    times = [link.occurred_at for link in links]
    return Graph(
        focus=focus.id,
        root=root.id,
        nodes=nodes,
        missing=missing,
        hops=tree.hops[focus.id],
        events=len(links),
        failures=sum(link.outcome == "failure" for link in links),
        actors=len({(link.actor_type, link.actor_id) for link in links}),
        resources=len({(link.resource_type, link.resource_id) for link in links}),
        duration_us=max(times) - min(times),
        at_least=at_least,
        truncated=at_least or len(nodes) < len(links),
    )


class _Tree:
    """The events of a graph by id, with their effects, their order and what lies below each."""

    def __init__(self, root: Link, links: Iterable[Link]) -> None:
        self.root = root
        self.links = {link.id: link for link in links}
        self.effects: dict[str, list[str]] = {}
        for link in sorted(self.links.values(), key=lambda link: link.place):
            if link.id != root.id and link.cause is not None:
                self.effects.setdefault(link.cause, []).append(link.id)
        self.hops: dict[str, int] = {}
        self.order = self._ordered()
        self.all_effects = dict.fromkeys(self.order, 0)
        self.failures = dict.fromkeys(self.order, 0)
        for id_ in reversed(self.order):
            link = self.links[id_]
            if id_ != root.id and link.cause in self.all_effects:
                self.all_effects[link.cause] += self.all_effects[id_] + 1
                self.failures[link.cause] += self.failures[id_] + (link.outcome == "failure")

    def _ordered(self) -> list[str]:
        """Every event behind its cause, a cause's effects by time, each with all that follows from it."""
        order: list[str] = []
        stack = [(self.root.id, 0)]
        while stack:
            id_, self.hops[id_] = stack.pop()
            order.append(id_)
            stack.extend((effect, self.hops[id_] + 1) for effect in reversed(self.effects.get(id_, ())))
        return order

    def node(self, id_: str, *, cut: bool) -> Node:
        link = self.links[id_]
        cause = self.links.get(link.cause) if link.cause is not None and not cut else None
        return Node(
            link=link,
            hops=self.hops[id_],
            since_root_us=link.occurred_at - self.root.occurred_at,
            since_cause_us=None if cause is None else link.occurred_at - cause.occurred_at,
            effects=len(self.effects.get(id_, ())),
            all_effects=self.all_effects[id_],
            failures=self.failures[id_],
            skewed=cause is not None and link.occurred_at < cause.occurred_at,
            other_flow=cause is not None and link.flow != cause.flow,
            cycle=cut,
        )


def _chosen(tree: _Tree, focus: Link, request: Request) -> set[str]:
    """The ids to answer with: the way to the root first, then what follows from the event, then the rest, nearest
    first."""
    deepest = len(tree.order) if request.depth is None else request.depth
    spine = _spine(tree, focus.id)[: deepest + 1]
    wanted = dict.fromkeys([focus.id] if request.direction == "down" else spine)
    if request.direction != "up":
        wanted |= dict.fromkeys(_below(tree, focus.id, deepest))
    if request.direction == "both" and request.depth is None:
        wanted |= dict.fromkeys(_below(tree, tree.root.id, deepest))
    return set(list(wanted)[: request.limit])


def _spine(tree: _Tree, id_: str) -> list[str]:
    """The event and its causes up to the root, nearest first."""
    spine = [id_]
    while spine[-1] != tree.root.id and (cause := tree.links[spine[-1]].cause) in tree.links:
        spine.append(str(cause))
    return spine


def _below(tree: _Tree, id_: str, depth: int) -> list[str]:
    """What follows from an event, nearest first."""
    found, level = [], [id_]
    for _ in range(depth):
        level = [effect for cause in level for effect in tree.effects.get(cause, ())]
        if not level:
            break
        found.extend(level)
    return found
