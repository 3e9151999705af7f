"""The causal graph: for events in any order, every event of a graph gives the same graph."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from whence import trace
from whence.trace import Graph, GraphEvent, Lookup, TraceRequest, by_time, walk

EVENTS_MAX = 14


def link(id_: str, cause: str | None, position: int, occurred_at: int, **changes: Any) -> GraphEvent:
    fields = {
        "flow": "f",
        "event_type": "action_run.completed",
        "outcome": "success",
        "actor_type": "user",
        "actor_id": "ada",
        "resource_type": "action_run",
        "resource_id": "r",
    } | changes
    return GraphEvent(id=id_, cause=cause, position=position, occurred_at=occurred_at, **fields)


@st.composite
def logs(draw: st.DrawFn) -> list[GraphEvent]:
    """Events whose causes are each other, none, or unknown, in any order, with cycles."""
    count = draw(st.integers(1, EVENTS_MAX))
    names = [f"e{number}" for number in range(count)]
    causes = st.sampled_from([None, None, *names, "gone"])
    return [
        link(
            name,
            draw(causes.filter(lambda cause, name=name: cause != name)),
            draw(st.integers(1, 3)) * 100 + number,
            draw(st.integers(0, 5)),
            outcome=draw(st.sampled_from(["success", "failure", "none"])),
            flow=draw(st.sampled_from("fg")),
        )
        for number, name in enumerate(names)
    ]


def answer(log: Sequence[GraphEvent], ask: Lookup) -> list[GraphEvent]:
    """The result of a store for a lookup."""
    column = (lambda each: each.flow) if ask.flow else (lambda each: each.cause if ask.effects else each.id)
    found = [each for each in log if column(each) in ask.ids]
    return sorted(found, key=by_time)[: ask.limit]


def graph_of(log: Sequence[GraphEvent], id_: str, say: Callable[..., Any] = answer, **request: Any) -> Graph:
    """The graph around an event of a log."""
    walking = walk(next(each for each in log if each.id == id_), TraceRequest(**request))
    try:
        ask = next(walking)
        while True:
            ask = walking.send(say(log, ask))
    except StopIteration as done:
        found: Graph = done.value
        return found


def component(log: Sequence[GraphEvent], id_: str) -> set[str]:
    """Every event that is connected with this one by causes in either direction, as a transitive closure."""
    found = {id_}
    while True:
        more = {each.id for each in log if each.cause in found or each.id in found}
        more |= {each.cause for each in log if each.id in found and any(one.id == each.cause for one in log)}
        if more <= found:
            return found
        found |= more


def check_whole(log: Sequence[GraphEvent], id_: str) -> None:
    """Check a graph that was not truncated."""
    graph = graph_of(log, id_)
    by_id = {each.id: each for each in log}
    ids = [node.event.id for node in graph.nodes]
    assert set(ids) == component(log, id_)
    assert len(ids) == len(set(ids)) == graph.events
    assert not graph.truncated and not graph.at_least
    assert ids[0] == graph.root
    for node in graph.nodes[1:]:
        cause = graph.nodes[ids.index(str(node.event.cause))]
        assert node.hops == cause.hops + 1
        assert ids.index(cause.event.id) < ids.index(node.event.id)
        assert node.since_cause_us == node.event.occurred_at - cause.event.occurred_at
        assert node.skewed == (node.since_cause_us < 0)
        assert node.other_flow == (node.event.flow != cause.event.flow)
        assert not node.cycle
    below: dict[str, list[str]] = {each: [] for each in ids}
    for each in ids[1:]:
        cause_id = each
        while cause_id != graph.root:
            cause_id = str(by_id[cause_id].cause)
            below[cause_id].append(each)
    for node in graph.nodes:
        assert node.all_effects == len(below[node.event.id])
        assert node.failures == sum(by_id[each].outcome == "failure" for each in below[node.event.id])
        assert node.effects == sum(by_id[each].cause == node.event.id for each in below[node.event.id])
        assert node.since_root_us == node.event.occurred_at - by_id[graph.root].occurred_at
    root = by_id[graph.root]
    assert graph.nodes[0].cycle == (root.cause in by_id)
    assert graph.missing == (root.cause if root.cause not in by_id else None)
    assert graph.hops == graph.nodes[ids.index(id_)].hops
    assert graph.failures == sum(by_id[each].outcome == "failure" for each in ids)


def check_same(log: Sequence[GraphEvent], again: Sequence[GraphEvent]) -> None:
    """Check that the graph of the first event is also the graph of each of its events."""
    first = graph_of(log, log[0].id)
    for node in first.nodes:
        other = graph_of(again, node.event.id)
        assert msgspec.structs.replace(other, focus=first.focus, hops=first.hops) == first


@settings(max_examples=examples(400), deadline=None)
@given(logs())
def test_a_graph_holds_all_that_is_joined_by_causes(log: list[GraphEvent]) -> None:
    """A graph has every event of the component once, after its cause, with exact counts, distances and flags."""
    for each in log:
        check_whole(log, each.id)


@settings(max_examples=examples(200), deadline=None)
@given(logs(), st.randoms())
def test_every_event_of_a_graph_gives_the_same_graph(log: list[GraphEvent], random: Any) -> None:
    """The graph is the same for each of its events, and for any order of storing them."""
    shuffled = list(log)
    random.shuffle(shuffled)
    check_same(log, shuffled)


@settings(max_examples=examples(200), deadline=None)
@given(logs(), st.integers(1, 6), st.sampled_from(["up", "down", "both"]), st.none() | st.integers(0, 4))
def test_a_part_is_a_part_of_the_whole(log: list[GraphEvent], limit: int, direction: Any, depth: int | None) -> None:
    """A limited graph has unchanged nodes of the whole graph, including the nearest causes, and is marked as
    truncated."""
    whole = {node.event.id: node for node in graph_of(log, log[0].id).nodes}
    part = graph_of(log, log[0].id, limit=limit, direction=direction, depth=depth)
    assert len(part.nodes) <= limit
    assert all(whole[node.event.id] == node for node in part.nodes)
    assert log[0].id in {node.event.id for node in part.nodes}
    assert part.truncated == (len(part.nodes) < len(whole))
    assert part.events == len(whole)
    if direction == "up" and depth is None and limit > part.hops:
        assert len(part.nodes) == part.hops + 1


def chain(count: int) -> list[GraphEvent]:
    return [link(f"e{n}", f"e{n - 1}" if n else None, n + 1, n) for n in range(count)]


@pytest.mark.slow
def test_depth_is_no_matter() -> None:
    """A chain of 100,000 causes is walked from its end and from its root without a recursion error."""
    log = chain(100_000)
    by_id = {each.id: each for each in log}
    by_cause = {each.cause: each for each in log}

    def say(_log: Sequence[GraphEvent], ask: Lookup) -> list[GraphEvent]:
        names = by_cause if ask.effects else by_id
        return [names[id_] for id_ in ask.ids if id_ in names]

    for id_ in ("e0", "e99999"):
        graph = graph_of(log, id_, say, walk_max=100_001, limit=100_000)
        assert (graph.events, graph.root, graph.nodes[-1].hops) == (100_000, "e0", 99_999)
        assert graph.nodes[0].all_effects == 99_999


@pytest.mark.parametrize("focus", ["e0", "e30", "e59"])
def test_a_walk_ends_at_its_bound_and_says_so(focus: str) -> None:
    """A walk that reaches its bound reports minimum counts, and always includes the requested event. If it does so on
    the way up, it reports that the root is unknown."""
    graph = graph_of(chain(60), focus, walk_max=20)
    assert graph.at_least and graph.truncated
    assert graph.root_known == (focus == "e0") == (graph.root == "e0")
    assert 20 <= graph.events <= 40
    assert focus in {node.event.id for node in graph.nodes}


def test_exactly_the_bound_is_whole() -> None:
    """A graph with exactly as many events as the bound is not marked as truncated."""
    graph = graph_of(chain(20), "e19", walk_max=20)
    assert (graph.at_least, graph.truncated, graph.events) == (False, False, 20)
    assert (graph.root, graph.root_known) == ("e0", True)


def circle_of_two() -> list[GraphEvent]:
    """A cycle of two events, the later of which has two more effects."""
    return [link("a", "b", 1, 0), link("b", "a", 2, 1), link("c", "b", 3, 2), link("d", "b", 4, 3)]


def test_a_circle_at_the_bound_is_said_to_be_larger() -> None:
    """The path back to the root does not count against the bound, so a cycle above the bound is marked as truncated."""
    graph = graph_of(circle_of_two(), "a", walk_max=3)
    assert (graph.at_least, graph.truncated, graph.events) == (True, True, 3)
    assert not graph_of(circle_of_two(), "a", walk_max=4).at_least


def test_the_root_in_anothers_place_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk with a limit of one event less reports that cycle as complete, and fails the test above."""
    real = trace._effects_of
    monkeypatch.setattr(trace, "_effects_of", lambda ids, nearby, limit: real(ids, nearby, limit - 1))
    assert not graph_of(circle_of_two(), "a", walk_max=3).at_least


def forgets_skew(node: Any) -> Any:
    return msgspec.structs.replace(node, skewed=False)


def forgets_failures(node: Any) -> Any:
    return msgspec.structs.replace(node, failures=0)


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a cycle is cut where it was met": lambda patch: patch.setattr(
        trace, "_root_of", lambda chain: (chain[-1], chain[-1].cause in {each.id for each in chain})
    ),
    "effects of the event alone": lambda patch: patch.setattr(
        trace, "_below", lambda tree, id_, depth: [each.id for each in tree.effects.get(id_, ())]
    ),
    "a part is the whole": lambda patch: patch.setattr(trace, "_chosen", lambda *_: None),
    "effects behind another flow unasked": lambda patch: patch.setattr(trace, "_effects_of", _nearby_alone),
    "clock skew unsaid": lambda patch: _every_node(patch, forgets_skew),
    "failures uncounted": lambda patch: _every_node(patch, forgets_failures),
}


def _nearby_alone(ids: list[str], nearby: Any, limit: int) -> Any:
    """Mutant: only the events that were read with the flow are used."""
    yield from ()
    return [link for id_ in ids for link in nearby.effects.get(id_, ())][:limit]


def _every_node(patch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> None:
    whole = trace._Tree.node
    patch.setattr(trace._Tree, "node", lambda self, link: change(whole(self, link)))


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_broken_walk_is_told(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant fails on a log with a cycle, an effect dated before its cause, and failures two hops down."""

    def check() -> None:
        check_whole(log, "a")
        check_same(log, log)
        assert [node.event.id for node in graph_of(log, "d", direction="down").nodes] == ["d", "e", "f"]
        assert [node.event.id for node in graph_of(log, "f", limit=3).nodes] == ["d", "e", "f"]

    log = [
        link("a", "c", 1, 5),
        link("b", "a", 2, 3),
        link("c", "b", 3, 9),
        link("d", "c", 4, 1, outcome="failure"),
        link("e", "d", 5, 2, outcome="failure", flow="g"),
        link("f", "e", 6, 4, flow="g"),
    ]
    check()
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check()
