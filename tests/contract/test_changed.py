"""Waiting for a log to grow: who is woken, by what, and what is left behind."""

import asyncio
import time
from typing import Any

import pytest

from tests.contract import changed_mutants as mutants
from tests.contract.faults import catches, limited
from tests.contract.made import TENANT, add, new
from whence.storage import head_notifier

FOREVER_S = 3_600.0
"""A poll that never comes: what is woken within `PATIENCE_S` was woken by a wake-up."""

PATIENCE_S = 5.0
"""Whoever is not woken for so long is not woken at all."""


async def _empty(store: Any) -> None:
    """Have the store start what it keeps for all who wait."""
    assert not await store.changed(TENANT, 0, 0)


async def _asleep() -> None:
    """Let those who wait come to rest."""
    await asyncio.sleep(0.02)


async def _woken(*tasks: asyncio.Task[bool]) -> list[bool]:
    """What those are told who wait. Fails for one who is not woken."""
    done, asleep = await asyncio.wait(tasks, timeout=PATIENCE_S)
    for task in asleep:
        task.cancel()
    assert not asleep, f"{len(asleep)} were not woken"
    return [task.result() for task in done]


@catches(mutants.EqualIsLonger)
async def test_a_log_that_is_longer_already_is_told_at_once(store: Any) -> None:
    """Also with no time to wait; and one that is just as long, or a tenant that never was, is not longer."""
    await add(store, new(1), new(2), new(3))
    assert [await store.changed(TENANT, position, 0) for position in (0, 2, 3, 4)] == [True, True, False, False]
    assert await store.changed(TENANT, 1, FOREVER_S)
    assert not await store.changed("never.was", 0, 0)


@catches(mutants.nobody_is_woken, mutants.LooksOnce)
@limited(poll_s=FOREVER_S)
async def test_an_append_wakes_who_waits(store: Any) -> None:
    """Each append wakes whoever waits behind the one before it, from the tenant's first event on."""
    for number in range(1, 11):
        waiting = asyncio.create_task(store.changed(TENANT, number - 1, FOREVER_S))
        await _asleep()
        assert not waiting.done()
        await add(store, new(number))
        assert await _woken(waiting) == [True]


@catches(mutants.LooksOnce)
async def test_a_log_that_does_not_grow_is_not_longer(store: Any) -> None:
    """When the time is over the answer is no, and not before."""
    await add(store, new(1))
    begun = time.monotonic()
    assert not await store.changed(TENANT, 1, 0.2)
    assert time.monotonic() - begun >= 0.2


@catches(mutants.AnyTenantWakes, mutants.a_wakeup_is_taken_for_growth)
async def test_the_events_of_another_tenant_are_no_growth(store: Any) -> None:
    """Other tenants' appends, and repeats of one's own events, do not make a log longer."""
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
    """Sixty wait for two tenants at once: those whose position is passed go, and the rest go on waiting."""
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
    """Whether they were woken, gave up, or waited in vain: no task of theirs runs on, and others are still woken."""
    monkeypatch.setattr(head_notifier, "POLL_S", 60.0)  # so that a task which was not ended is still there
    await _empty(store)
    await add(store, new(1))
    await asyncio.sleep(0.2)  # what was told of the append is sent
    before = len(asyncio.all_tasks())
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
    assert len(asyncio.all_tasks()) == before


async def _ends(tasks: list[Any]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)
