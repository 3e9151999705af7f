"""Waiting for a log to grow: which tasks an append wakes, and that nothing of them is left afterwards."""

import asyncio
import time
from typing import Any

import pytest

from tests.contract import changed_mutants as mutants
from tests.contract.faults import catches, limited
from tests.contract.made import TENANT, add, new
from whence.storage import head_notifier

FOREVER_S = 3_600.0
"""A poll interval that never ends in a test: a task that wakes within `PATIENCE_S` was woken by a notification."""

PATIENCE_S = 5.0
"""A task that is not woken within this time counts as never woken."""


async def _empty(store: Any) -> None:
    """Make the store start the background tasks that all waiting tasks share."""
    assert not await store.changed(TENANT, 0, 0)


async def _asleep() -> None:
    """Return once the waiting tasks are suspended."""
    await asyncio.sleep(0.02)


async def _woken(*tasks: asyncio.Task[bool]) -> list[bool]:
    """The results of the waiting tasks. Fails when a task is not woken."""
    done, asleep = await asyncio.wait(tasks, timeout=PATIENCE_S)
    for task in asleep:
        task.cancel()
    assert not asleep, f"{len(asleep)} were not woken"
    return [task.result() for task in done]


@catches(mutants.EqualIsLonger)
async def test_a_log_that_is_longer_already_is_told_at_once(store: Any) -> None:
    """A wait for a position that is already passed returns at once, even with a timeout of 0. A log of exactly that
    length, or of an unknown tenant, has not grown."""
    await add(store, new(1), new(2), new(3))
    assert [await store.changed(TENANT, position, 0) for position in (0, 2, 3, 4)] == [True, True, False, False]
    assert await store.changed(TENANT, 1, FOREVER_S)
    assert not await store.changed("never.was", 0, 0)


@catches(mutants.nobody_is_woken, mutants.LooksOnce)
@limited(poll_s=FOREVER_S)
async def test_an_append_wakes_who_waits(store: Any) -> None:
    """Each append wakes the tasks that wait after the previous position, from the tenant's first event on."""
    for number in range(1, 11):
        waiting = asyncio.create_task(store.changed(TENANT, number - 1, FOREVER_S))
        await _asleep()
        assert not waiting.done()
        await add(store, new(number))
        assert await _woken(waiting) == [True]


@catches(mutants.LooksOnce)
async def test_a_log_that_does_not_grow_is_not_longer(store: Any) -> None:
    """The wait returns False at its timeout and not before."""
    await add(store, new(1))
    begun = time.monotonic()
    assert not await store.changed(TENANT, 1, 0.2)
    assert time.monotonic() - begun >= 0.2


@catches(mutants.AnyTenantWakes, mutants.a_wakeup_is_taken_for_growth)
async def test_the_events_of_another_tenant_are_no_growth(store: Any) -> None:
    """Appends of other tenants, and repeats of the tenant's own events, do not wake a waiting task."""
    await add(store, new(1))
    waiting = [asyncio.create_task(store.changed(name, 1, 0.3)) for name in (TENANT, TENANT, "a-third")]
    await _asleep()
    for number in range(2, 9):
        await add(store, new(number), tenant="another")
        await add(store, new(1))
    assert await asyncio.gather(*waiting) == [False, False, False]


@catches(mutants.a_wakeup_is_taken_for_growth)
@limited(poll_s=FOREVER_S)
async def test_each_of_many_is_told_of_their_own_position(store: Any) -> None:
    """Of sixty tasks that wait for two tenants, those whose position is passed return, and the rest keep waiting."""
    await add(store, new(1), tenant="two")
    places = [(tenant, position) for tenant in (TENANT, "two") for position in range(10) for _ in range(3)]
    waiting = {asyncio.create_task(store.changed(*place, FOREVER_S)): place for place in places}
    await _asleep()
    await add(store, *[new(number) for number in range(1, 6)])
    await add(store, *[new(number) for number in range(2, 8)], tenant="two")
    size = {TENANT: 5, "two": 7}
    passed = [task for task, (tenant, position) in waiting.items() if position < size[tenant]]
    assert await _woken(*passed) == [True] * 36
    await _asleep()
    assert {place for task, place in waiting.items() if not task.done()} == {
        (tenant, position) for tenant, position in places if position >= size[tenant]
    }
    for task in waiting:
        task.cancel()


@catches(mutants.watching_goes_on)
async def test_nothing_is_left_of_those_who_waited(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After tasks were woken, cancelled or timed out, no task of theirs keeps running, and other tasks are still
    woken."""
    monkeypatch.setattr(head_notifier, "POLL_S", 60.0)  # so that a task that was not cancelled would still be there
    await _empty(store)
    await add(store, new(1))
    await asyncio.sleep(0.2)  # the notification of the append is sent
    before = asyncio.all_tasks()
    for _ in range(3):
        waiting = [asyncio.create_task(store.changed(f"t{name}", 0, FOREVER_S)) for name in range(20)]
        staying = [asyncio.create_task(store.changed("t1", 0, 0.3)) for _ in range(2)]
        await _asleep()
        for task in waiting:
            task.cancel()
        assert all(isinstance(each, asyncio.CancelledError) for each in await _ends(waiting))
        assert await _ends(staying) == [False, False]
    assert await store.changed(TENANT, 0, FOREVER_S)
    await asyncio.sleep(0.01)
    assert not asyncio.all_tasks() - before


async def _ends(tasks: list[Any]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)
