"""The work of retention on each store: what a policy removes, what it leaves, and what a preview says of it."""

import time
from typing import Any

import pytest

from tests.contract.made import DAY, HOUR, TENANT, new, stored, uuid
from tests.storage.removal_work import (
    AGED,
    announced,
    asked,
    done,
    filled,
    hold,
    holds_are_ignored,
    kept,
    later,
    retained,
    store,
    with_payload,
)
from tests.unit.mutants import catches, replaced
from whence import legal_holds, removal_parts, removal_previews
from whence.events import Query
from whence.removal import RemovalWork, list_requests
from whence.removal_previews import preview_erasure, preview_retention
from whence.retention import Policy, TypeRule
from whence.retention_schedule import RetentionSchedule, policy_of, put_policy
from whence.storage.removals import HOLD

__all__ = ["store"]

pytestmark = pytest.mark.anyio


@catches(holds_are_ignored)
async def test_retention_drops_the_beginning_of_the_log_but_for_what_is_held(store: Any) -> None:
    """When the hold is released, what only it kept goes with the next run."""
    await filled(store)
    hold_id = await hold(store, Query(correlation_ids=("case",)))
    request = await retained(store)
    assert (await kept(store), request.events, request.held) == ([3], 5, 1)
    assert await announced(store) == [[1, 2, 4, 5, 6]]
    again = await retained(store)
    assert (await kept(store), again.events) == ([3], 0)
    await store.followers.delete_definition(TENANT, HOLD, hold_id)
    last = await retained(store)
    assert (await kept(store), last.events) == ([], 1)
    assert (await announced(store))[-1] == [3]


async def test_retention_keeps_what_is_young_enough(store: Any) -> None:
    """The age counts from when an event was recorded, whenever it happened."""
    await filled(store)
    request = await done(
        store, await asked(store, kind="retention", policy=AGED, created_at=time.time_ns() // 1_000 + 364 * DAY)
    )
    assert (await kept(store), request.events) == ([1, 2, 3, 4, 5, 6], 0)
    assert await announced(store) == []


async def test_retention_goes_part_by_part(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long beginning takes several announcements, and nothing between two parts stays."""
    monkeypatch.setattr(removal_parts, "PURGED_AT_ONCE", 4)
    await filled(store, 10)
    await hold(store, Query(correlation_ids=("flow 4", "flow 5")))
    request = await retained(store)
    assert (await kept(store), request.events, request.held) == ([4, 5], 8, 2)
    assert await announced(store) == [[1, 2, 3], [6, 7, 8], [9, 10]]
    assert (await store.head(TENANT)).retained_from == 11


@catches(holds_are_ignored)
async def test_a_rule_erases_the_payloads_of_a_type(store: Any) -> None:
    """The events stay. What a hold has kept is erased after its release, and nothing is announced twice."""
    policy = Policy(rules=(TypeRule(event_type="action_run.*", max_age_days=30),))
    await filled(store)
    hold_id = await hold(store, Query(correlation_ids=("case",)))
    request = await retained(store, policy)
    assert (await with_payload(store), request.payloads, request.held) == ([3, 5], 4, 1)
    assert await kept(store) == [1, 2, 3, 4, 5, 6]
    assert (await retained(store, policy)).payloads == 0
    await store.followers.delete_definition(TENANT, HOLD, hold_id)
    assert (await retained(store, policy)).payloads == 1
    assert await announced(store) == [[1, 2, 4, 6], [3]]


async def test_a_preview_says_what_a_run_does(store: Any) -> None:
    """The same numbers, for both kinds of request and with a hold."""
    policy = Policy(max_age_days=365, rules=(TypeRule(event_type="action_run.completed", max_age_days=30),))
    await filled(store)
    await hold(store, Query(correlation_ids=("case",)))
    found = await preview_erasure(store, TENANT, Query(actors=("user/ada",)), ())
    assert (found.payloads, found.held, found.exact) == (2, 1, True)
    assert (await preview_erasure(store, TENANT, None, (uuid(1), uuid(3)))).payloads == 1
    aged = await preview_retention(store, TENANT, policy, later())
    assert (aged.events, aged.payloads, aged.held, aged.exact) == (5, 0, 1, True)
    assert aged.oldest is not None and aged.newest is not None and aged.oldest <= aged.newest
    young = await preview_retention(store, TENANT, policy, later() - 300 * DAY)
    assert (young.events, young.payloads, young.oldest) == (0, 4, None)
    request = await retained(store, policy)
    assert (request.events, request.held) == (aged.events, aged.held)


@catches(replaced(legal_holds, "_require_time", lambda ends_at: None, "holds_take_any_time"))
async def test_a_preview_stops_after_its_time(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many holds and ids there are: it reads nothing more, and says that it is not exact."""
    await filled(store)
    await hold(store, Query(correlation_ids=("case",)))
    reads, read_feed = 0, type(store).read_feed

    async def counted(self: Any, *arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read_feed(self, *arguments)

    monkeypatch.setattr(type(store), "read_feed", counted)
    monkeypatch.setattr(removal_previews, "_SECONDS", -1.0)
    for query, ids in ((Query(actors=("user/ada",)), ()), (None, (uuid(1), uuid(3)))):
        found = await preview_erasure(store, TENANT, query, ids)
        assert (found.payloads, found.held, found.exact, reads) == (0, 0, False, 0)
    aged = await preview_retention(store, TENANT, AGED, later())
    assert (aged.events, aged.held, aged.exact) == (0, 0, False)
    assert reads <= 2, "the first event and the last, for their times"


async def test_the_schedule_asks_for_what_is_due(store: Any) -> None:
    """By the tenant's own policy, else by the server's; at most once a day, and not where nothing is old enough."""
    await filled(store)
    clock = [later()]
    schedule = RetentionSchedule(store, AGED, lambda: clock[0])
    await schedule.request_all()
    await schedule.request_all()
    [(request_id, request)] = await list_requests(store, TENANT)
    assert (request.kind, request.by, request.policy) == ("retention", ("system", "whence"), AGED)
    await done(store, request_id)
    await stored(store, new(50, occurred_at=later()))
    clock[0] += 22 * HOUR
    await schedule.request_all()
    assert len(await list_requests(store, TENANT)) == 1
    clock[0] += 2 * HOUR
    await schedule.request_all()
    [(second_id, _), _] = await list_requests(store, TENANT)
    assert (await done(store, second_id)).events == 1
    clock[0] += DAY
    await schedule.request_all()  # because of the announcement, which stays: this run finds nothing, and is forgotten
    [(third_id, _), _, _] = await list_requests(store, TENANT)
    await RemovalWork(store, seals=False, clock=later).finish(TENANT, third_id)
    assert [id_ for id_, _ in await list_requests(store, TENANT)] == [second_id, request_id]
    await put_policy(store, TENANT, Policy())
    assert await policy_of(store, TENANT, AGED) == (Policy(), "tenant")
    clock[0] += DAY
    await schedule.request_all()
    assert len(await list_requests(store, TENANT)) == 2
