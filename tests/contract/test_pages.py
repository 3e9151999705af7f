"""Pages: offsets, keyset positions, snapshots, and the fields that describe them."""

from typing import Any

import pytest

from tests.contract import broken_models as broken
from tests.contract import mutants
from tests.contract.faults import catches, limited
from tests.contract.made import DAY, HOUR, NOON, SECOND, TENANT, new, numbered, numbers, page, stored, uuid
from whence.errors import Invalid
from whence.events import Event, Keyset, NewEvent, Page

FIRST_TIME = -62_135_596_800 * SECOND
QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"event_types": ("action_run.completed",)},
    {"event_types": ("action_run.completed", "action_run.failed")},
    {"actor_ids": ("ada",)},
    {"actor_ids": ("ada", "bob"), "outcomes": ("success",)},
    {"since": NOON + 3 * SECOND, "until": NOON + 40 * HOUR + 1},
    {"resource_ids": (uuid(1),)},
    {"correlation_ids": ("flow-0", "flow-1")},
)
"""One query for each way in which a store finds a page."""


def many(first: int = 1, count: int = 60) -> list[NewEvent]:
    """Events in ties, close together and far apart, on both sides of 1970, so that buckets of every level divide."""
    times = (NOON, NOON + 5 * SECOND, NOON + 40 * HOUR, NOON - 30 * DAY, -DAY - 1, FIRST_TIME)
    return [
        new(
            number,
            occurred_at=times[number % len(times)] + number // 12 * SECOND,
            event_type=("action_run.completed", "action_run.failed", "invoice.opened")[number % 3],
            actor_id=("ada", "bob", "eve", "dan")[number % 4],
            resource_id=uuid(1 + number % 2),
            correlation_id=f"flow-{number % 3}",
        )
        for number in range(first, first + count)
    ]


async def whole(store: Any, **filters: Any) -> list[int]:
    """The numbers of all events that match a query, in order."""
    return numbered((await page(store, limit=10_000, **filters)).events)


def sees_next(found: Page) -> bool:
    """`hasNext`, after a check of the fields that it follows from."""
    assert found.has_next == (found.offset + len(found.events) < found.total)
    return found.has_next


@catches(broken.WalkOneShort, broken.TotalOfThePage, broken.TotalCut)
async def test_an_offset_skips_so_many(store: Any) -> None:
    """Each offset and limit returns the right slice of the full list, with the exact total."""
    await stored(store, *many())
    for filters in QUESTIONS:
        for ascending in (False, True):
            everything = await whole(store, **filters, ascending=ascending)
            for offset in (0, 1, 4, len(everything) - 1, len(everything)):
                found = await page(store, limit=3, offset=offset, **filters, ascending=ascending)
                assert numbered(found.events) == everything[offset : offset + 3]
                assert found.total == len(everything)
                assert (found.limit, found.offset) == (3, offset)
                assert sees_next(found) == (offset + 3 < len(everything))


@catches(broken.TotalOfThePage)
async def test_past_the_end_is_empty_and_knows_the_total(store: Any) -> None:
    """Beyond the last event, up to the largest offset, a page is empty and its total is exact."""
    await stored(store, *many(count=7))
    for offset in (7, 8, 511, 512, 513, 10**6, 2**63 - 1):
        for filters in (
            {},
            {"event_types": ("action_run.completed", "action_run.failed")},
            {"resource_ids": (uuid(1),)},
        ):
            found = await page(store, offset=offset, **filters)
            assert found.events == []
            assert found.total == (await page(store, **filters)).total > 0
            assert not sees_next(found)


@limited(divide_at=3, walk_from=1, terms_max=2)
@catches(mutants.walk_one_short, mutants.division_loses_edges)
async def test_deep_offsets_walk_to_the_same_page(store: Any) -> None:
    """With divided buckets of every level, a deep offset finds the same page as counting one by one."""
    for first in range(1, 121, 20):
        await stored(store, *many(first, 20))
    for filters in QUESTIONS:
        for ascending in (False, True):
            everything = await whole(store, **filters, ascending=ascending)
            for offset in range(1, len(everything) + 2, 3):
                found = await page(store, limit=4, offset=offset, **filters, ascending=ascending)
                assert numbered(found.events) == everything[offset : offset + 4], (filters, offset)
                assert found.total == len(everything)
                sees_next(found)


@limited(divide_at=3, walk_from=1)
@catches(mutants.walk_forgets_as_of, mutants.as_of_ignored, broken.SnapshotOfNow)
async def test_deep_offsets_of_an_earlier_snapshot(store: Any) -> None:
    """In an earlier snapshot, deep offsets ignore later events, before and after the offset."""
    await stored(store, *many(1, 30))
    before = {ascending: await whole(store, ascending=ascending) for ascending in (False, True)}
    await stored(store, *many(31, 40))
    for ascending, everything in before.items():
        for offset in range(1, 31):
            found = await page(store, limit=5, offset=offset, as_of=30, ascending=ascending)
            assert numbered(found.events) == everything[offset : offset + 5], offset
            assert found.total == 30


@catches(broken.TimeIsThePlace, mutants.page_repeats_its_last)
async def test_the_page_behind_a_place(store: Any) -> None:
    """Continuing after the last event of each page, in either direction, returns every event once."""
    await stored(store, *many())
    for filters in QUESTIONS:
        for ascending in (False, True):
            everything, found = await whole(store, **filters, ascending=ascending), []
            after, turns = None, 0
            while turns <= len(everything):
                turned = await page(store, limit=7, after=after, offset=len(found), **filters, ascending=ascending)
                assert turned.total == len(everything)
                found += numbered(turned.events)
                turns += 1
                if not sees_next(turned):
                    break
                assert turned.events, filters
                after = place_of(turned.events[-1])
            assert found == everything, filters


def place_of(event: Event) -> Keyset:
    return Keyset(event.occurred_at, event.position)


@catches(broken.TimeIsThePlace, mutants.page_repeats_its_last)
async def test_a_place_need_not_be_an_event(store: Any) -> None:
    """A page may also continue between two events, before the first or after the last."""
    await stored(store, *(new(number, occurred_at=NOON) for number in range(1, 4)))
    assert await numbers(store, after=Keyset(NOON, 3)) == [2, 1]
    assert await numbers(store, after=Keyset(NOON, 2), ascending=True) == [3]
    assert await numbers(store, after=Keyset(NOON + 1, 0)) == [3, 2, 1]
    assert await numbers(store, after=Keyset(NOON, 0), ascending=True) == [1, 2, 3]
    assert await numbers(store, after=Keyset(NOON, 0)) == []
    assert await numbers(store, after=Keyset(NOON, 99)) == [3, 2, 1]
    assert await numbers(store, after=Keyset(NOON + 1, 0), ascending=True) == []


@catches(broken.SnapshotOfNow, mutants.as_of_ignored, mutants.total_forgets_as_of)
async def test_a_snapshot_holds_the_events_up_to_a_position(store: Any) -> None:
    """For every query and each earlier position, page and total are those of that time."""
    answers: list[list[list[int]]] = [[[] for _ in QUESTIONS]]
    for event in many(count=24):
        await stored(store, event)
        answers.append([await whole(store, **filters) for filters in QUESTIONS])
    for position, then in enumerate(answers):
        for filters, expected in zip(QUESTIONS, then, strict=True):
            found = await page(store, as_of=position, **filters)
            assert numbered(found.events) == expected, (position, filters)
            assert (found.total, found.as_of) == (len(expected), position)


@limited(as_of_span=5)
@catches(broken.AnySnapshot, mutants.as_of_span_off_by_one)
async def test_a_snapshot_too_far_back_or_ahead_is_refused(store: Any) -> None:
    """Snapshots reach from the head back to the limit and no further; a position beyond the head is refused."""
    await stored(store, *many(count=8))
    for as_of in range(3, 9):
        assert (await page(store, as_of=as_of)).total == as_of
    for as_of in (0, 2, 9, 2**62):
        with pytest.raises(Invalid) as caught:
            await page(store, as_of=as_of)
        [problem] = caught.value.problems
        assert (problem.loc, problem.type) == (("query", "as_of"), "as_of_range")
    with pytest.raises(Invalid):
        await page(store, tenant="empty", as_of=1)
    assert (await page(store, tenant="empty", as_of=0)).total == 0


@catches(broken.SnapshotOfNow, mutants.as_of_ignored, mutants.total_forgets_as_of)
async def test_a_pinned_snapshot_stays_while_writers_add(store: Any) -> None:
    """Events that are stored between the pages of a pinned walk, before and after its position, do not appear in it."""
    await stored(store, *many(count=30))
    everything, pin = await whole(store), (await page(store, limit=1)).as_of
    assert pin == 30
    found: list[int] = []
    after = None
    for turn in range(6):
        turned = await page(store, limit=5, after=after, offset=len(found), as_of=pin)
        assert (turned.total, turned.as_of) == (30, pin)
        assert sees_next(turned) == (turn < 5)
        found += numbered(turned.events)
        after = place_of(turned.events[-1])
        at = turned.events[-1].occurred_at
        late = (max(at - 1, FIRST_TIME), at, at + 1, NOON + 99 * DAY, FIRST_TIME)
        await stored(store, *(new(1_000 + 10 * turn + n, occurred_at=each) for n, each in enumerate(late)))
    assert found == everything
    assert (await store.head(TENANT)).size == 60


@catches(broken.TotalOfThePage)
async def test_without_a_pin_a_page_speaks_of_its_own_snapshot(store: Any) -> None:
    """Without a pin, `as_of` of a page is the head when it was read, and its total counts up to that position."""
    assert (await page(store)).as_of == 0
    for number in range(1, 4):
        await stored(store, new(number))
        found = await page(store, limit=1)
        assert (found.as_of, found.total) == (number, number)
        assert sees_next(found) == (number > 1)
