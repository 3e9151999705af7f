"""Periods, their parts, rankings and the tree of event types."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.mutants import PROPERTY, catches, replaced
from whence import activity, facets
from whence.activity import PERIOD_US, SLOTS, Period, period_of, previous_of, ranked_after, slots_of, worth_naming
from whence.events import Query
from whence.facets import FACET_FIELDS, TypeCount, WordCount, types_of, without
from whence.storage.resolve import KIND_FIELDS

HOUR = 3_600_000_000
NOON = 1_700_000_000_000_000

FEW = settings(PROPERTY, max_examples=examples(50))

NO_FACET = {
    *("resource_ids", "resources", "excluded_resources", "correlation_ids", "excluded_correlation_ids"),
    *("causation_ids", "excluded_causation_ids", "since", "until", "payload_values", "excluded_payload_values"),
}
"""The fields of `Query` that are the filter of no facet."""


def test_every_filter_belongs_to_its_facets_or_to_none() -> None:
    """A filter that is added to `Query` fails here until someone says which facets are counted without it."""
    assert set().union(*FACET_FIELDS.values()) | NO_FACET == {*Query.__struct_fields__}
    assert not set().union(*FACET_FIELDS.values()) & NO_FACET
    own_of_kinds = set().union(*(fields for name, fields in FACET_FIELDS.items() if name != "actor"))
    assert own_of_kinds == KIND_FIELDS - {"readable"}


def test_without_leaves_the_other_filters() -> None:
    """The named filters are gone, and all others stay."""
    query = Query(outcomes=("failure",), actor_ids=("ada",), since=5)
    assert without(query, {"outcomes"}) == Query(actor_ids=("ada",), since=5)
    assert without(query, {"event_types"}) == query


# ---------------------------------------------------------------------------------------------------------- periods


@catches(
    replaced(activity, "period_of", lambda since, until, last: Period(since or 0, until or last or 0), "no_default"),
    replaced(activity, "PERIOD_US", PERIOD_US + 1, "a_longer_week"),
)
def test_what_a_period_is_without_its_ends() -> None:
    """It ends with the hour of the newest event and is a week; a start after that makes it empty."""
    whole = NOON // HOUR * HOUR
    assert activity.period_of(None, None, None) is None
    assert activity.period_of(None, None, NOON) == Period(whole + HOUR - 7 * 24 * HOUR, whole + HOUR)
    assert activity.period_of(None, None, whole) == Period(whole + HOUR - 7 * 24 * HOUR, whole + HOUR)
    assert activity.period_of(5, None, NOON) == Period(5, whole + HOUR)
    assert activity.period_of(NOON + 2 * HOUR, None, NOON) == Period(NOON + 2 * HOUR, NOON + 2 * HOUR)
    assert activity.period_of(5, None, None) == Period(5, 5)
    assert activity.period_of(None, NOON, None) == Period(NOON - 7 * 24 * HOUR, NOON)
    assert activity.period_of(3, 9, None) == Period(3, 9)


def test_the_period_before_is_as_long_and_only_where_there_is_something() -> None:
    """None where the log begins with the period or later, or has no event."""
    assert previous_of(Period(10, 14), 9) == Period(6, 10)
    assert previous_of(Period(10, 14), -1_000) == Period(6, 10)
    assert [previous_of(Period(10, 14), first) for first in (10, 12, 20, None)] == [None] * 4


def one_slot_less(period: Period) -> list[Period]:
    return slots_of(period)[:-1]


def slots_of_a_whole_day(period: Period) -> list[Period]:
    return [Period(period.since + n * HOUR, period.since + (n + 1) * HOUR) for n in range(SLOTS)]


@catches(
    replaced(activity, "slots_of", one_slot_less, "the_last_slot_is_lost"),
    replaced(activity, "slots_of", slots_of_a_whole_day, "slots_of_an_hour"),
)
@FEW
@given(st.integers(-(10**15), 10**15), st.integers(0, 10**14))
def test_the_slots_are_the_period(since: int, length: int) -> None:
    """24 of them, side by side, of one length but for the last ones, and together exactly the period."""
    found = activity.slots_of(Period(since, since + length))
    assert len(found) == SLOTS
    assert (found[0].since, found[-1].until) == (since, since + length)
    assert all(earlier.until == later.since for earlier, later in pairwise(found))
    widths = [slot.until - slot.since for slot in found]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == (-(-length // SLOTS) if length else 0)


# --------------------------------------------------------------------------------------------------------- rankings


def first_numbers(totals: Any, limit: int, _most: int | None = None) -> list[int]:
    return sorted(totals, key=lambda actor: -totals[actor][0])[:limit]


@catches(replaced(activity, "worth_naming", first_numbers, "ties_are_not_named"))
@FEW
@given(st.lists(st.integers(1, 4), max_size=12), st.integers(1, 5))
def test_the_named_actors_are_enough_for_each_page(counts: list[int], limit: int) -> None:
    """To rank only them gives the pages that ranking all of them would."""
    totals = {number: (count, 0, 0) for number, count in enumerate(counts)}
    names = {number: (number, "user", f"{-number:04}") for number in totals}
    whole = ranked_after(totals, names.values())
    after, found = None, []
    for _ in range(len(counts) + 1):
        wanted = activity.worth_naming(totals, limit + 1, None if after is None else after[0])
        ranked = ranked_after(totals, [names[number] for number in wanted], after)
        found += ranked[:limit]
        if len(ranked) <= limit:
            break
        last = ranked[limit - 1][1]
        after = (last.total, last.actor_type, last.actor_id)
    assert found == whole
    few = {number: (100 + number, 0, 0) for number in range(1_000)}
    assert len(worth_naming(few, 5)) == 5  # not all names are read


# ------------------------------------------------------------------------------------------------------------- tree


def counts(*values: str) -> list[WordCount]:
    return [WordCount(value=value, count=number, failures=number // 2) for number, value in enumerate(values, 1)]


def flat(found: Any, _prefix: str = "") -> list[TypeCount]:
    return [TypeCount(value=each.value, count=each.count, failures=each.failures) for each in found]


def test_the_tree_of_types() -> None:
    """A branch is the sum of its types; one with a single type, or a single branch, is that; a type beside its own
    branch stays apart."""
    tree = types_of(counts("a.b", "a.c.d", "a.c.e", "a.c", "b.c.d.e.f", "c.d.e", "c.d.f"))
    shown = [(each.value, each.count, [child.value for child in each.children]) for each in tree]
    assert shown == [
        ("c.d.*", 13, ["c.d.f", "c.d.e"]),
        ("a.*", 10, ["a.c.*", "a.c", "a.b"]),
        ("b.c.d.e.f", 5, []),
    ]
    assert tree[0].failures == 3 + 3
    assert types_of([]) == []


@catches(replaced(facets, "types_of", flat, "no_branches"))
@FEW
@given(st.sets(st.lists(st.sampled_from("abc"), min_size=2, max_size=4).map(".".join), min_size=1))
def test_each_value_of_a_tree_is_the_sum_of_what_it_matches(types: set[str]) -> None:
    """As a filter it would match these types; every type stands in the tree once, and no branch has one child."""
    found = counts(*sorted(types))
    tree = facets.types_of(found)

    def check(each: TypeCount) -> list[str]:
        matched = [one for one in found if one.value == each.value or one.value.startswith(each.value.rstrip("*"))]
        if not each.children:
            matched = [one for one in found if one.value == each.value]
        assert (each.count, each.failures) == (sum(o.count for o in matched), sum(o.failures for o in matched))
        assert each.children == sorted(each.children, key=lambda child: (-child.count, child.value))
        assert len(each.children) != 1
        return [leaf for child in each.children for leaf in check(child)] if each.children else [each.value]

    assert sorted(leaf for each in tree for leaf in check(each)) == sorted(types)
    firsts = {one.partition(".")[0] for one in types}
    assert len(tree) == len(firsts)


@pytest.mark.parametrize("since", [None, 7])
def test_a_period_that_is_given_is_taken(since: int | None) -> None:
    """Whatever the log has."""
    assert period_of(since, 9, 1_000) == Period(9 - PERIOD_US if since is None else since, 9)
