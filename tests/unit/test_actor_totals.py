"""Totals by actor, packed and summed. The reference is a dictionary of sums."""

from bisect import bisect_right
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from whence import actor_totals
from whence.actor_totals import ActorTotals, Totals, UnfoldedEvents, by_outcome, pack, summed
from whence.rollups import Edge, bounds, bucket_of

OUTCOMES = {1: "none", 2: "success", 3: "failure"}
MANY = 10**6

counts = st.one_of(st.integers(1, 300), st.integers(1, 1 << 40))


@st.composite
def totals(draw: st.DrawFn) -> Totals:
    """Numbers of events by actor, with successes and failures among them."""
    events = draw(counts)
    successes = draw(st.integers(0, events))
    return events, successes, draw(st.integers(0, events - successes))


def sets_of(actors: int) -> st.SearchStrategy[dict[int, Totals]]:
    """Some actors, the first of which have the most events, and their totals."""
    numbers = st.one_of(st.integers(1, 30), st.integers(1, actors))
    return st.dictionaries(numbers, totals(), min_size=1, max_size=40)


def columns_of(by_actor: dict[int, Totals]) -> list[dict[int, int]]:
    """Events, successes and failures by actor, without what is 0."""
    return [{actor: each[place] for actor, each in by_actor.items() if each[place]} for place in range(3)]


def added(sums: dict[int, Totals], by_actor: dict[int, Totals], sign: int = 1) -> dict[int, Totals]:
    """The sum of two sets, entry by entry."""
    total: dict[int, Counter[str]] = {}
    for each, times in ((sums, 1), (by_actor, sign)):
        for actor, parts in each.items():
            place = total.setdefault(actor, Counter())
            for name, part in zip("esf", parts, strict=True):
                place[name] += times * part
    found = {actor: (place["e"], place["s"], place["f"]) for actor, place in total.items()}
    return {actor: parts for actor, parts in found.items() if any(parts)}


def check_sums(actors: int, sets: list[dict[int, Totals]]) -> None:
    """Check addition, merging and subtraction, packed and unpacked."""
    wanted: dict[int, Totals] = {}
    total = ActorTotals(actors)
    for each in sets:
        wanted = added(wanted, each)
        total.add_packed(pack(columns_of(each)))
    assert total.by_actor() == wanted
    assert total.packed() == pack(columns_of(wanted))
    assert summed(actors, [pack(columns_of(each)) for each in sets[1:]], columns_of(sets[0])) == total.packed()
    total.add_packed(pack(columns_of(sets[0])), -1)
    total.add(columns_of(sets[-1]), -1)
    assert total.by_actor() == added(added(wanted, sets[0], -1), sets[-1], -1)


@catches(
    replaced(actor_totals, "accumulate", iter, "gaps_taken_for_numbers"),
    replaced(actor_totals, "sub", lambda one, other: one + other, "taking_away_adds"),
    replaced(actor_totals, "add", lambda one, _other: one, "large_buckets_are_not_added"),
)
@PROPERTY
@given(sets=st.lists(sets_of(200), min_size=1, max_size=5), dense=st.lists(totals(), min_size=1, max_size=60))
def test_packed_sets_add_up(sets: list[dict[int, Totals]], dense: list[Totals]) -> None:
    """Packed sets, sparse or without gaps, add up to the sum of their totals, and the packed sum round-trips."""
    check_sums(200, [*sets, dict(enumerate(dense, 1))])


@PROPERTY
@given(sets=st.lists(sets_of(MANY), min_size=1, max_size=5), dense=st.lists(totals(), min_size=1, max_size=60))
def test_sets_of_many_actors_add_up(sets: list[dict[int, Totals]], dense: list[Totals]) -> None:
    """Sets of a few among many actors add up too, without an entry for every actor."""
    check_sums(MANY, [*sets, dict(enumerate(dense, 1))])


def test_a_set_is_small() -> None:
    """A set takes four bytes of widths and four per actor with few events.

    Actors without gaps take no actor numbers, and outcomes without events no column.
    """
    some = dict.fromkeys(range(1, 1_000, 7), (5, 1, 1))
    assert len(pack(columns_of(some))) == 4 + 4 * len(some)
    for each, width in (((5, 1, 1), 3), ((5, 0, 1), 2), ((300, 0, 1), 3)):
        assert len(pack(columns_of(dict.fromkeys(range(1, 501), each)))) == 4 + width * 500


@pytest.mark.parametrize(
    "packed",
    [b"", b"\x01\x01", b"\x00\x00\x00\x00", b"\x03\x01\x01\x01" + bytes(6), b"\x01\x01\x01\x01" + bytes(5)],
)
def test_what_is_no_set_is_refused(packed: bytes) -> None:
    """Missing widths, invalid widths and columns of different lengths are refused."""
    with pytest.raises(ValueError, match="packed set"):
        ActorTotals(10).add_packed(packed)


@pytest.mark.parametrize("actors", [9, 10**5])
def test_an_actor_beyond_the_known_is_refused(actors: int) -> None:
    """A damaged set or event with an unknown actor number raises an error."""
    packed = pack([{actors + 1: 5}, {}, {}])
    with pytest.raises(ValueError, match="unknown actor"):
        ActorTotals(actors).add_packed(packed)
    ActorTotals(actors + 1).add_packed(packed)
    for nobody in (-1, 0, actors + 1):
        with pytest.raises(ValueError, match="unknown actor"):
            ActorTotals(actors).add([{1: 1, nobody: 1}, {}, {}])
    ActorTotals(actors).add([{1: 1, actors: 1}, {}, {}])


@catches(replaced(actor_totals, "bisect_left", bisect_right, "the_first_moment_belongs_to_the_period_before"))
@PROPERTY
@given(
    placed=st.lists(st.tuples(st.integers(-(10**13), 10**13), st.integers(1, 3), st.integers(1, 5)), max_size=30),
    level=st.integers(0, 8),
    cuts=st.tuples(st.integers(-(10**13), 10**13), st.integers(-(10**13), 10**13)),
)
@example(placed=[(5, 2, 1)], level=0, cuts=(5, 6))
def test_the_events_behind_are_found_by_time(
    placed: list[tuple[int, int, int]], level: int, cuts: tuple[int, int]
) -> None:
    """Unfolded events are found by period, actor and outcome, and so are the non-empty buckets below a bucket."""
    new = UnfoldedEvents(placed, OUTCOMES)
    since, until = sorted(cuts)
    found = by_outcome([(actor, kind, 1) for time, kind, actor in placed if since <= time < until], OUTCOMES)
    assert [dict(each) for each in new.within(Edge(since, until))] == [dict(each) for each in found]
    for bucket in {bucket_of(level, time) for time, _, _ in placed}:
        within = bounds(level, bucket)
        wanted = {bucket_of(level + 1, time) for time, _, _ in placed if within.since <= time < within.until}
        assert new.children(level, bucket) == sorted(wanted)


def test_a_kind_that_is_not_known_has_no_outcome() -> None:
    """Events of an unknown kind are counted without outcome, so that verification can report damaged rows."""
    assert [dict(each) for each in by_outcome([(7, 99, 2), (7, 2, 1)], OUTCOMES)] == [{7: 3}, {7: 1}, {}]
    assert [dict(each) for each in UnfoldedEvents([(5, 99, 7)], OUTCOMES).within(Edge(0, 9))] == [{7: 1}, {}, {}]
