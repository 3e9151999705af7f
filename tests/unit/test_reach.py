"""The reach of events: the numbers that their traces have, from one walk for all of them."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings

from tests.examples import examples
from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.test_trace import answer, graph_of, link, logs
from whence import trace
from whence.trace import GraphEvent, Lookup, Reach, reach_walk


def reaches(log: Sequence[GraphEvent], ids: Sequence[str], **limits: Any) -> list[Reach]:
    """The reach of these events in a log, and at most two lookups for each event of it."""
    walking = reach_walk(ids, **limits)
    asked: list[Lookup] = []
    try:
        ask = next(walking)
        while True:
            asked.append(ask)
            ask = walking.send(answer(log, ask))
    except StopIteration as end:
        assert len(asked) <= 3 * len(log) + 2
        found: list[Reach] = end.value
        return found


def by_traces(log: Sequence[GraphEvent], ids: Sequence[str]) -> list[Reach]:
    """The same from a trace of each event."""
    found = []
    for id_ in dict.fromkeys(ids):
        if all(each.id != id_ for each in log):
            continue
        graph = graph_of(log, id_)
        (node,) = [each for each in graph.nodes if each.event.id == id_]
        found.append(Reach(id_, graph.hops, node.all_effects, node.failures, at_least=False))
    return found


_descent = trace._Descent.__init__


def without_cuts(self: Any, focuses: Any, _cuts: set[str], walk_max: int) -> None:
    _descent(self, focuses, set(), walk_max)


@catches(
    replaced(trace._Climb, "_close", lambda self, chain, _first: self.causes.update({chain[-1].id: 0}), "open_cycles"),
    replaced(trace._Descent, "__init__", without_cuts, "cut_events_are_effects"),
)
@settings(PROPERTY, max_examples=examples(60))
@given(log=logs())
def test_reach_has_the_numbers_of_the_traces(log: list[GraphEvent]) -> None:
    """For all events of a log at once, in any order and with cycles, for one that is unknown, and for a single one."""
    ids = [*(event.id for event in reversed(log)), "unknown", log[0].id]
    assert reaches(log, ids) == by_traces(log, ids)
    assert reaches(log, [log[-1].id]) == by_traces(log, [log[-1].id])


def chain_of(count: int) -> list[GraphEvent]:
    return [link(f"e{number}", f"e{number - 1}" if number else None, number, number) for number in range(count)]


@catches(replaced(trace._Descent, "_add_up", lambda _self: None, "nothing_added_up"))
def test_a_walk_that_ends_at_its_limit_says_so() -> None:
    """Upwards and downwards, for the events that it cut short, and exactly at the limit for none."""
    log = chain_of(9)
    assert reaches(log, ["e4"], walk_max=4) == [Reach("e4", 4, 4, 0, at_least=False)]
    assert reaches(log, ["e4"], walk_max=3) == [Reach("e4", 3, 3, 0, at_least=True)]
    below = reaches(log, ["e8", "e7", "e5", "e0"], walk_max=8)
    assert [(each.id, each.effects, each.at_least) for each in below] == [
        ("e8", 0, False), ("e7", 1, False), ("e5", 3, False), ("e0", 8, False),
    ]  # fmt: skip
    star = [link("root", None, 0, 0), *(link(f"s{number}", "root", number, number) for number in range(1, 9))]
    assert reaches(star, ["root"], walk_max=5) == [Reach("root", 0, 5, 0, at_least=True)]
    cut, leaf, one = reaches(
        [*star, link("top", None, 9, 9), link("low", "top", 10, 10)], ["root", "s3", "top"], walk_max=5
    )
    assert (cut.effects, cut.at_least, leaf.effects, leaf.at_least) == (2, True, 0, False)
    assert (one.effects, one.at_least) == (1, False)
