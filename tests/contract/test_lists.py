"""Lists contain the right events in the right order."""

from typing import Any

import pytest

from tests.contract import broken_models as broken
from tests.contract import mutants
from tests.contract.faults import catches, limited
from tests.contract.made import DAY, HOUR, MINUTE, NOON, SECOND, TENANT, VIEWER, new, numbers, page, stored, uuid
from whence.events import NewEvent, PageRequest, Query, Viewer

VARIED = {
    1: {},
    2: {"event_type": "action_run.failed"},
    3: {"event_type": "action_run.step.failed", "actor_id": "Ada"},
    4: {"event_type": "action_runs.completed", "actor_id": "bob"},
    5: {"actor_type": "agent", "resource_type": "artifact"},
    6: {"actor_type": "agent", "actor_id": "bob", "resource_id": uuid(2)},
    7: {"resource_type": "artifact", "resource_id": uuid(2), "correlation_id": "flow-1"},
    8: {"correlation_id": "flow-1", "causation_id": uuid(7)},
    9: {"correlation_id": "flow/2", "causation_id": "a text", "outcome": "none"},
}
"""The fields in which each event of `varied` differs from the default."""

FILTERS: dict[str, list[tuple[tuple[str, ...], list[int]]]] = {
    "event_types": [
        (("action_run.failed",), [2]),
        (("action_run.failed", "action_runs.completed", "no.such"), [4, 2]),
        (("action_run.step",), []),
    ],
    "event_type_prefixes": [
        (("action_run.step.",), [3]),
        (("action_run.",), [9, 8, 7, 6, 5, 3, 2, 1]),
        (("action_runs.", "action_run.step."), [4, 3]),
    ],
    "resource_types": [(("artifact",), [7, 5]), (("artifact", "template"), [7, 5]), (("template",), [])],
    "resource_ids": [((uuid(2),), [7, 6]), ((uuid(2), uuid(1)), [9, 8, 7, 6, 5, 4, 3, 2, 1]), ((uuid(3),), [])],
    "actor_ids": [(("bob",), [6, 4]), (("Ada", "bob"), [6, 4, 3]), (("ADA",), [])],
    "actor_types": [(("agent",), [6, 5]), (("agent", "service"), [6, 5]), (("service",), [])],
    "outcomes": [(("failure",), [3, 2]), (("none", "failure"), [9, 3, 2]), (("none",), [9])],
    "correlation_ids": [(("flow-1",), [8, 7]), (("flow/2", uuid(3), "flow-1"), [9, 8, 7, 3]), (("flow",), [])],
    "causation_ids": [((uuid(7),), [8]), (("a text", uuid(7)), [9, 8]), (("text",), [])],
}


def varied() -> list[NewEvent]:
    return [new(number, **fields) for number, fields in VARIED.items()]


async def check_filter(store: Any, name: str) -> None:
    """Check the three cases of a filter, with and without a time range. In another tenant it finds that tenant's
    events."""
    await stored(store, *varied())
    await stored(store, *varied(), tenant="other")
    for values, found in FILTERS[name]:
        assert await numbers(store, **{name: values}) == found
        late = [number for number in found if number >= 4]
        assert await numbers(store, **{name: values}, since=NOON + 4 * SECOND) == late
    for values, _ in FILTERS[name]:
        assert await numbers(store, tenant="empty", **{name: values}) == []


FIELDS = ("resource_type", "resource_id", "actor_id", "actor_type", "outcome", "correlation_id", "causation_id")


class IgnoresType(broken.ModelStore):
    def has_type(self, _event: Any, _query: Query) -> bool:
        return True


@catches(IgnoresType, broken.PrefixOfLetters, mutants.prefix_without_its_dot)
@pytest.mark.parametrize("name", ["event_type_prefixes"])
async def test_a_prefix_matches_whole_segments(store: Any, name: str) -> None:
    """`action_run.` matches `action_run.step.failed` and not `action_runs.completed`."""
    await check_filter(store, name)


@catches(IgnoresType)
async def test_event_types(store: Any) -> None:
    """An event type matches only when it is equal as a whole."""
    await check_filter(store, "event_types")


@catches(broken.PrefixOrTypeAlone)
async def test_types_and_prefixes_are_one_set(store: Any) -> None:
    """A type and a prefix in one query are alternatives."""
    await stored(store, *varied())
    found = await numbers(store, event_types=("action_runs.completed",), event_type_prefixes=("action_run.step.",))
    assert found == [4, 3]


def _ignored_as(name: str) -> Any:
    """Declare that a test of one filter catches the model that ignores it."""

    @catches(broken.ignoring(name), broken.AllValues)
    async def test(store: Any) -> None:
        await check_filter(store, name + "s")

    return test


test_resource_types = _ignored_as("resource_type")
test_resource_ids = _ignored_as("resource_id")
test_actor_ids = _ignored_as("actor_id")
test_actor_types = _ignored_as("actor_type")
test_outcomes = _ignored_as("outcome")
test_correlation_ids = _ignored_as("correlation_id")
test_causation_ids = _ignored_as("causation_id")


@catches(mutants.first_value_only)
async def test_repeated_values_are_alternatives(store: Any) -> None:
    """Each value of a repeated filter matches, and repeating the same value changes nothing."""
    await stored(store, *varied())
    for name, cases in FILTERS.items():
        values, found = cases[1]
        assert await numbers(store, **{name: (*values, values[0])}) == found, name
        assert await numbers(store, **{name: values[::-1]}) == found, name


@limited(terms_max=2)
@catches(mutants.merge_skips_twice)
async def test_many_values_are_merged_in_order(store: Any) -> None:
    """A query for twenty actors returns their events in one order, across pages."""
    await stored(store, *(new(number, actor_id=f"a{number % 21}") for number in range(1, 64)))
    wanted = tuple(f"a{number}" for number in range(20))
    whole = await numbers(store, actor_ids=wanted)
    assert whole == [number for number in range(63, 0, -1) if number % 21 != 20]
    pages = [await numbers(store, actor_ids=wanted, limit=7, offset=offset) for offset in range(0, 63, 7)]
    assert [number for each in pages for number in each] == whole


@catches(broken.ignoring("outcome"), broken.ignoring("actor_id"))
async def test_different_filters_are_joined(store: Any) -> None:
    """Two different filters return the events that match both."""
    await stored(store, *varied())
    assert await numbers(store, actor_ids=("Ada", "bob"), outcomes=("failure",)) == [3]
    assert await numbers(store, actor_ids=("bob",), actor_types=("agent",)) == [6]
    assert await numbers(store, resource_ids=(uuid(2),), resource_types=("artifact",)) == [7]
    assert await numbers(store, correlation_ids=("flow-1",), causation_ids=(uuid(7),)) == [8]
    assert await numbers(store, resource_ids=(uuid(2),), correlation_ids=("flow-1",)) == [7]
    assert await numbers(store, actor_ids=("bob",), outcomes=("failure",)) == []


@catches(mutants.actor_types_are_one)
async def test_one_actor_id_of_two_types_is_two_actors(store: Any) -> None:
    """Each event keeps its own actor type, whether the events are stored in one request or in several."""
    await stored(store, new(1))
    await stored(store, new(2, actor_type="agent"), new(3))
    found = (await page(store, actor_ids=("ada",))).events
    assert [event.actor_type for event in found] == ["user", "agent", "user"]
    assert await numbers(store, actor_ids=("ada",), actor_types=("agent",)) == [2]


@catches(mutants.causes_respelled)
async def test_a_cause_is_found_as_it_was_written(store: Any) -> None:
    """A UUID without hyphens, or in upper case, is a different text; each is returned as it was sent."""
    cause = "0190b5a0-0000-7000-8000-00000000abcd"
    spelled = [cause, cause.replace("-", ""), cause.upper(), "{" + cause[1:], cause + " "]
    await stored(store, *(new(number, causation_id=text) for number, text in enumerate(spelled)))
    for number, text in enumerate(spelled):
        assert await numbers(store, causation_ids=(text,)) == [number]
        event = await store.get_event(VIEWER, uuid(number))
        assert event is not None
        assert event.causation_id == text


@catches(broken.TiesByChance, mutants.ties_turned_round)
async def test_ties_are_in_the_order_of_positions(store: Any) -> None:
    """Events of the same time are ordered by position, in both directions, with the index of every filter."""
    ids = [5, 2, 9, 1, 7, 3]
    same = {"correlation_id": "flow", "causation_id": uuid(40)}
    await stored(store, *(new(number, occurred_at=NOON, **same) for number in ids))
    for filters in (
        {},
        {"event_types": ("action_run.completed",)},
        {"actor_ids": ("ada",)},
        {"resource_ids": (uuid(1),)},
        {"correlation_ids": ("flow",)},
        {"causation_ids": (uuid(40),)},
    ):
        assert await numbers(store, **filters) == ids[::-1]
        assert await numbers(store, **filters, ascending=True) == ids


@catches(mutants.order_always_descending)
async def test_ascending_is_the_same_backwards(store: Any) -> None:
    """Ascending is the exact reverse of descending, for every query."""
    await stored(store, *varied())
    for name, cases in FILTERS.items():
        for values, found in cases:
            assert await numbers(store, **{name: values}, ascending=True) == found[::-1]


@catches(broken.UntilIncluded, broken.SinceExcluded, mutants.pages_until_included, mutants.pages_since_excluded)
async def test_a_range_is_half_open(store: Any) -> None:
    """`since` is inclusive and `until` exclusive, to the microsecond; an empty range has no events."""
    await stored(store, *(new(number, occurred_at=NOON + number) for number in range(5)))
    assert await numbers(store, since=NOON + 1, until=NOON + 3) == [2, 1]
    assert await numbers(store, since=NOON + 3) == [4, 3]
    assert await numbers(store, until=NOON + 1) == [0]
    assert await numbers(store, since=NOON + 2, until=NOON + 2) == []
    assert await numbers(store, since=NOON + 3, until=NOON + 2) == []


@limited(divide_at=2)
@catches(broken.UntilIncluded, mutants.edges_until_included, mutants.edges_since_excluded)
async def test_the_total_of_a_range_is_half_open(store: Any) -> None:
    """In divided buckets too, the total equals the number of events in the range, for bounds just around every
    event."""
    times = [NOON // DAY * DAY, NOON // DAY * DAY + 1, NOON, NOON + 1, NOON + MINUTE, NOON + HOUR, NOON + DAY]
    await stored(store, *(new(number, occurred_at=at) for number, at in enumerate(times)))
    for since in times:
        for until in times:
            for shift in (0, 1):
                wanted = [n for n, at in enumerate(times) if since + shift <= at < until + shift]
                assert await numbers(store, since=since + shift, until=until + shift) == wanted[::-1]


@catches(broken.LateEventsLast, mutants.late_events_not_rolled_up)
async def test_late_events_stand_at_their_time(store: Any) -> None:
    """An event of last year that is stored now is listed and counted at its own time."""
    await stored(store, new(1), new(2), new(3))
    await stored(store, new(9, occurred_at=NOON - 365 * DAY), new(8, occurred_at=NOON + 2 * SECOND + 1))
    assert await numbers(store) == [3, 8, 2, 1, 9]
    assert await numbers(store, until=NOON) == [9]
    assert (await store.count_events(VIEWER, Query())).total == 5
    assert (await store.count_events(VIEWER, Query(until=NOON))).total == 1


@limited(divide_at=1)
@catches(mutants.buckets_towards_zero)
async def test_times_before_1970(store: Any) -> None:
    """Times around 1970, in the year 1 and at negative bucket borders are ordered and counted like any other."""
    times = [-62_135_596_800 * SECOND, -400 * DAY, -DAY - 1, -DAY, -HOUR - 1, -HOUR, -1, 0, 1, HOUR, DAY]
    for number, at in enumerate(times):
        await stored(store, new(number, occurred_at=at))
    everything = list(range(len(times)))
    assert await numbers(store, ascending=True) == everything
    for since, first in ((times[0], 0), (-DAY, 3), (-HOUR, 5), (-1, 6), (0, 7)):
        assert await numbers(store, since=since, ascending=True) == everything[first:]
        assert await numbers(store, until=since, ascending=True) == everything[:first]
        assert (await store.count_events(VIEWER, Query(until=since))).total == first
        assert (await store.count_events(VIEWER, Query(since=since))).total == len(times) - first


@limited(divide_at=4)
@catches(mutants.division_towards_zero)
async def test_a_division_counts_times_before_1970(store: Any) -> None:
    """When five events on both sides of 1970 are divided, each is counted in its own bucket."""
    times = [-100 * DAY, -40 * DAY, -10 * DAY, 10 * DAY, 40 * DAY]
    await stored(store, *(new(number, occurred_at=at) for number, at in enumerate(times)))
    for bound, before in ((-64 * DAY, 1), (-32 * DAY, 2), (0, 3), (32 * DAY, 4)):
        assert (await store.count_events(VIEWER, Query(until=bound))).total == before
        assert (await page(store, since=bound)).total == 5 - before


@catches(broken.ReadsAll, mutants.readable_ignored, mutants.readable_ignored_by_resource)
async def test_a_narrowed_reader_sees_its_resource_types_alone(store: Any) -> None:
    """Lists, totals and counts include only the readable types; a filter on any other type finds nothing."""
    await stored(store, *varied())
    assert await numbers(store, readable=("artifact",)) == [7, 5]
    assert await numbers(store, readable=("artifact",), resource_ids=(uuid(1), uuid(2))) == [7, 5]
    assert await numbers(store, readable=("artifact",), resource_ids=(uuid(2),)) == [7]
    assert await numbers(store, readable=("artifact",), correlation_ids=("flow-1",)) == [7]
    assert await numbers(store, readable=("artifact",), causation_ids=(uuid(7),)) == []
    assert await numbers(store, readable=("artifact",), resource_types=("action_run",)) == []
    assert await numbers(store, readable=("artifact", "action_run"), actor_ids=("bob",)) == [6, 4]
    counts = await store.count_events(Viewer(TENANT, ("artifact",)), Query())
    assert counts.by_resource_type == [("artifact", 2)]
    stats = await store.actor_stats(Viewer(TENANT, ("artifact",)), Query())
    assert [(stat.actor_type, stat.total) for stat in stats] == [("agent", 1), ("user", 1)]


@catches(broken.EmptyIsAll)
async def test_who_may_read_nothing_reads_nothing(store: Any) -> None:
    """An empty set of readable types finds nothing; it does not mean no limit."""
    await stored(store, *varied())
    assert await numbers(store, readable=()) == []
    assert await numbers(store, readable=(), resource_ids=(uuid(1),)) == []
    assert (await store.count_events(Viewer(TENANT, ()), Query())).total == 0
    assert await store.actor_stats(Viewer(TENANT, ()), Query()) == []
    assert await store.get_event(Viewer(TENANT, ()), uuid(1)) is None


@catches(broken.ReadsAll, mutants.readable_ignored_by_id)
async def test_an_event_outside_what_is_readable_is_not_found(store: Any) -> None:
    """A lookup by id does not find an event of a type that is not readable."""
    await stored(store, *varied())
    assert await store.get_event(Viewer(TENANT, ("artifact",)), uuid(1)) is None
    found = await store.get_event(Viewer(TENANT, ("artifact",)), uuid(5))
    assert found is not None


@catches(broken.OneLogForAll, mutants.tenant_dropped_in_get)
async def test_another_tenants_event_is_not_found_by_id(store: Any) -> None:
    """The id of another tenant's event is unknown, like an id that was never stored."""
    await stored(store, new(1), tenant="other")
    assert await store.get_event(VIEWER, uuid(1)) is None
    await stored(store, new(2))
    assert await store.get_event(VIEWER, uuid(1)) is None
    assert await store.get_event(VIEWER, uuid(2)) is not None


@catches(
    mutants.tenant_dropped_in_list,
    mutants.tenant_dropped_in_causes,
    mutants.tenant_dropped_in_correlation,
    mutants.tenant_dropped_in_totals,
    mutants.all_events_are_of_another_bucket,
)
async def test_another_tenants_events_are_in_no_list(store: Any) -> None:
    """With equal values in every field, each tenant lists, counts and totals only its own events."""
    same = {"correlation_id": "flow", "causation_id": "why", "actor_id": "bob"}
    await stored(store, *(new(number, **same) for number in range(1, 6)), tenant="other")
    await stored(store, *(new(number, **same) for number in range(11, 14)))
    for filters in (
        {},
        {"since": NOON},
        {"event_types": ("action_run.completed",)},
        {"actor_ids": ("bob",)},
        {"resource_ids": (uuid(1),)},
        {"correlation_ids": ("flow",)},
        {"causation_ids": ("why",)},
    ):
        found = await store.list_events(VIEWER, Query(**filters), PageRequest())
        assert [event.id for event in found.events] == [uuid(13), uuid(12), uuid(11)], filters
        assert found.total == 3, filters
        assert (await store.count_events(VIEWER, Query(**filters))).total == 3, filters
        assert [stat.total for stat in await store.actor_stats(VIEWER, Query(**filters))] == [3], filters
