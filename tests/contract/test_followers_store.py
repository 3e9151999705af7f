"""What followers keep: the promises of every store that can be served."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.contract import followers_mutants as mutants
from tests.contract.faults import catches
from tests.contract.made import SECOND, TENANT, VIEWER, new, stored
from whence.errors import Throttled, Unavailable
from whence.events import Query
from whence.storage import followers
from whence.storage.followers import DELIVERED, FAILED, PENDING, Attempt, Definition, Delivery, DeliveryFilter, Place

OTHER = "other"
HOOK, HOOK_2 = "hook_1", "hook_2"
NOW = 1_700_000_000 * SECOND
START = Place("webhooks", 0)


def definition(number: int, tenant: str = TENANT, **changes: Any) -> Definition:
    """A definition whose id has this number."""
    fields: dict[str, Any] = {
        "tenant": tenant,
        "kind": "webhook",
        "id": f"id_{number}",
        "version": 1,
        "body": b'{"number":%d,"\xc3\xa4":"\\u0000"}' % number,
        **changes,
    }
    return Definition(**fields)


def pending(position: int, hook: str = HOOK, due_at: int = NOW) -> Delivery:
    """A delivery as it is when it was added."""
    return Delivery(hook, position, PENDING, due_at, NOW)


def attempt(position: int, number: int = 1, hook: str = HOOK, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "webhook_id": hook,
        "position": position,
        "number": number,
        "started_at": NOW + number,
        "duration_ms": 12,
        "status": 200,
        "error": "",
        "answer": b"ok",
        **changes,
    }
    return Attempt(**fields)


def changed(position: int, state: int, hook: str = HOOK, **changes: Any) -> Delivery:
    """A delivery after an attempt."""
    fields = {"due_at": NOW, "changed_at": NOW + position, "attempts": 1, "attempts_in_all": 1, **changes}
    return Delivery(hook, position, state, **fields)


async def add(real: Any, *positions: int, hook: str = HOOK, tenant: str = TENANT) -> None:
    await real.followers.add_deliveries(tenant, hook, positions, NOW, START)


async def set_to(real: Any, *deliveries: Delivery, tenant: str = TENANT) -> None:
    """Record an attempt of each delivery that leaves it like this."""
    pairs = [(each, attempt(each.position, hook=each.webhook_id)) for each in deliveries]
    await real.followers.record_attempts(tenant, pairs)


async def listed(real: Any, hook: str = HOOK, tenant: str = TENANT) -> list[Delivery]:
    found: list[Delivery] = await real.followers.list_deliveries(tenant, DeliveryFilter(hook), 1_000)
    return found


# --- definitions -------------------------------------------------------------------------------------------------


@catches(mutants.definitions_of_every_kind, mutants.definitions_of_every_tenant, mutants.definition_of_any_tenant)
async def test_definitions_are_listed_by_tenant_and_id(real: Any) -> None:
    """For one tenant or for all, of one kind, with every byte of the body. One is found by its tenant alone."""
    kept = [definition(2), definition(1), definition(1, OTHER), definition(3, kind="alert")]
    for each in kept:
        assert await real.followers.put_definition(each)
    mine_2, mine_1, theirs, alert = kept
    assert await real.followers.list_definitions("webhook") == [mine_1, mine_2, theirs]
    assert await real.followers.list_definitions("webhook", TENANT) == [mine_1, mine_2]
    assert await real.followers.list_definitions("alert", TENANT) == [alert]
    assert await real.followers.list_definitions("alert", OTHER) == []
    assert await real.followers.get_definition(OTHER, "webhook", theirs.id) == theirs
    assert await real.followers.get_definition(OTHER, "webhook", mine_2.id) is None
    assert await real.followers.get_definition(TENANT, "webhook", alert.id) is None


@catches(mutants.any_version_is_the_next, mutants.a_new_definition_replaces, mutants.changed_in_any_tenant)
async def test_only_the_next_version_of_a_definition_is_stored(real: Any) -> None:
    """A change that was made from an older version returns False and changes nothing."""
    put, get = real.followers.put_definition, real.followers.get_definition
    first, theirs = definition(1), definition(1, OTHER)
    second = definition(1, version=2, body=b"{}")
    assert await put(first)
    assert await put(theirs)
    assert not await put(definition(1, body=b"[]"))
    assert not await put(definition(1, version=3))
    assert await get(TENANT, "webhook", first.id) == first
    done = await asyncio.gather(put(second), put(definition(1, version=2, body=b"[]")))
    assert sorted(done) == [False, True]
    assert not await put(second)
    assert (await get(TENANT, "webhook", first.id)).version == 2
    assert await get(OTHER, "webhook", first.id) == theirs


@catches(mutants.deleted_in_any_tenant)
async def test_a_deleted_definition_has_no_next_version(real: Any) -> None:
    """Deleting says whether there was one, in this tenant. A change that comes later does not bring it back."""
    for each in (definition(1), definition(1, OTHER)):
        await real.followers.put_definition(each)
    assert not await real.followers.delete_definition(TENANT, "alert", "id_1")
    assert await real.followers.delete_definition(TENANT, "webhook", "id_1")
    assert not await real.followers.delete_definition(TENANT, "webhook", "id_1")
    assert not await real.followers.put_definition(definition(1, version=2))
    assert await real.followers.list_definitions("webhook") == [definition(1, OTHER)]
    assert await real.followers.put_definition(definition(1))


@catches(mutants.definitions_are_not_limited, mutants.definitions_of_all_tenants_count)
async def test_the_definitions_of_a_tenant_are_limited(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one kind, also when they come at once. At the limit, those that are there still change."""
    monkeypatch.setattr(followers, "DEFINITIONS_MAX", 3)
    put = real.followers.put_definition
    await put(definition(1))
    done = await asyncio.gather(*[put(definition(number)) for number in range(2, 8)], return_exceptions=True)
    refused = [each for each in done if isinstance(each, Throttled)]
    assert (done.count(True), len(refused)) == (2, 4)
    assert refused[0].retry_after_s > 0
    assert len(await real.followers.list_definitions("webhook")) == 3
    assert await put(definition(1, version=2))
    assert not await put(definition(1))
    assert await put(definition(9, kind="alert"))
    assert await put(definition(9, OTHER))
    await real.followers.delete_definition(TENANT, "webhook", "id_1")
    assert await put(definition(9))


# --- places ------------------------------------------------------------------------------------------------------


@catches(mutants.places_never_go_back, mutants.places_of_every_tenant, mutants.states_are_lost)
async def test_a_place_comes_back_as_it_was_saved(real: Any) -> None:
    """With its state, for its tenant alone. It may go back. The list has no states, and is in the order of names."""
    save, get = real.followers.save_place, real.followers.get_place
    assert await get(TENANT, "b") is None
    place = Place("b", 7, b"\x00\xff a state")
    await save(TENANT, place)
    await save(TENANT, Place("a", 1, b"x"))
    await save(OTHER, Place("b", 9))
    assert await get(TENANT, "b") == place
    assert await real.followers.list_places(TENANT) == [Place("a", 1), Place("b", 7)]
    await save(TENANT, Place("b", 3))
    assert await get(TENANT, "b") == Place("b", 3)
    await real.followers.delete_place(TENANT, "b")
    await real.followers.delete_place(TENANT, "b")
    assert await get(TENANT, "b") is None
    assert await real.followers.list_places(TENANT) == [Place("a", 1)]
    assert await get(OTHER, "b") == Place("b", 9)


@catches(mutants.reading_makes_a_tenant)
async def test_a_tenant_without_events_keeps_an_empty_log(real: Any) -> None:
    """A follower may be there before the first event, which still gets the first position. Nothing that reads or
    deletes makes a tenant."""
    await add(real, 1)
    empty = await real.head("nobody")
    assert msgspec.structs.astuple(await real.head(TENANT)) == msgspec.structs.astuple(empty)
    part = await real.read_feed(VIEWER, Query(), 0, 10)
    assert (part.events, part.read_to) == ([], 0)
    [event] = await stored(real, new(1))
    assert event.position == 1
    assert await listed(real) == [pending(1)]

    await real.followers.get_place("nobody", "b")
    assert await listed(real, tenant="nobody") == []
    assert await real.followers.next_due("nobody", HOOK) is None
    await set_to(real, changed(1, FAILED), tenant="nobody")
    await real.followers.delete_place("nobody", "b")
    assert await real.followers.retry_deliveries("nobody", DeliveryFilter(HOOK), NOW, 9) is None
    assert await real.followers.delete_deliveries("nobody", HOOK, None, 9) == 0
    assert await real.tenants() == [TENANT]


# --- deliveries --------------------------------------------------------------------------------------------------


@catches(mutants.deliveries_are_added_again, mutants.deliveries_of_every_tenant)
async def test_a_delivery_that_is_there_stays_as_it_is(real: Any) -> None:
    """Adding it again, as after a crash, changes nothing of it. The place is saved, also without a delivery."""
    await add(real, 1, 3)
    await set_to(real, changed(1, DELIVERED))
    await add(real, 3, hook=HOOK_2)
    await add(real, 3, tenant=OTHER)
    await real.followers.add_deliveries(TENANT, HOOK, [3, 2, 1], NOW + 9, Place("webhooks", 3, b"s"))
    second = Delivery(HOOK, 2, PENDING, NOW + 9, NOW + 9)
    assert await listed(real) == [changed(1, DELIVERED), second, pending(3)]
    assert await listed(real, HOOK_2) == [pending(3, HOOK_2)]
    assert await real.followers.get_delivery(TENANT, HOOK, 2) == second
    assert await real.followers.get_delivery(OTHER, HOOK, 2) is None
    assert await listed(real, tenant=OTHER) == [pending(3)]
    assert await real.followers.get_place(TENANT, "webhooks") == Place("webhooks", 3, b"s")
    await real.followers.add_deliveries(TENANT, HOOK, (), NOW, Place("webhooks", 8))
    assert await real.followers.get_place(TENANT, "webhooks") == Place("webhooks", 8)


@catches(mutants.places_are_saved_apart)
async def test_deliveries_and_the_place_are_saved_together(real: Any) -> None:
    """When the place cannot be saved, no delivery is added."""
    nameless: Any = None
    with pytest.raises(Unavailable):
        await real.followers.add_deliveries(TENANT, HOOK, [1], NOW, Place(nameless, 1))
    assert await listed(real) == []


@catches(
    mutants.due_by_position,
    mutants.due_before_their_time,
    mutants.due_in_every_state,
    mutants.due_of_every_webhook,
    mutants.due_of_every_tenant,
)
async def test_those_that_have_waited_longest_are_due_first(real: Any) -> None:
    """By the time at which they are due, then by position: pending ones of one webhook, up to a limit."""
    await add(real, 1, 2, 3, 4, 5, 6)
    await add(real, 7, hook=HOOK_2)
    await add(real, 8, tenant=OTHER)
    waits = [changed(1, PENDING, due_at=NOW + 5), changed(2, PENDING, due_at=NOW + 3)]
    await set_to(real, *waits, changed(5, DELIVERED), changed(6, FAILED))

    async def due(at: int, limit: int = 10) -> list[int]:
        return [each.position for each in await real.followers.due_deliveries(TENANT, HOOK, at, limit)]

    assert await due(NOW - 1) == []
    assert await due(NOW) == [3, 4]
    assert await due(NOW + 4) == [3, 4, 2]
    assert await due(NOW + 5) == [3, 4, 2, 1]
    assert await due(NOW + 5, 3) == [3, 4, 2]
    assert await real.followers.next_due(TENANT, HOOK) == NOW
    await set_to(real, changed(3, DELIVERED), changed(4, DELIVERED))
    assert await real.followers.next_due(TENANT, HOOK) == NOW + 3
    assert await real.followers.due_deliveries(TENANT, HOOK, NOW + 5, 1) == [waits[1]]
    assert await real.followers.next_due(TENANT, HOOK_2) == NOW
    assert await real.followers.next_due(OTHER, HOOK_2) is None


@catches(mutants.listed_by_state, mutants.listed_from_the_last_one, mutants.listed_in_any_state, mutants.counted_in_all)
async def test_deliveries_are_listed_by_position(real: Any) -> None:
    """Those in some states, after a position, at most as many as asked for; and counted by state."""
    await add(real, *range(1, 8))
    await add(real, 1, hook=HOOK_2)
    await add(real, 1, 2, tenant=OTHER)
    await set_to(real, *[changed(position, DELIVERED) for position in (2, 5)])
    await set_to(real, *[changed(position, FAILED) for position in (1, 4)])

    async def positions(limit: int = 100, **which: Any) -> list[int]:
        found = await real.followers.list_deliveries(TENANT, DeliveryFilter(HOOK, **which), limit)
        return [each.position for each in found]

    assert await positions() == [1, 2, 3, 4, 5, 6, 7]
    assert await positions(3) == [1, 2, 3]
    assert await positions(3, after=3) == [4, 5, 6]
    assert await positions(states=(FAILED,)) == [1, 4]
    assert await positions(states=(FAILED, DELIVERED, FAILED)) == [1, 2, 4, 5]
    assert await positions(2, states=(DELIVERED, FAILED), after=1) == [2, 4]
    assert await real.followers.count_deliveries(TENANT, HOOK) == {PENDING: 3, DELIVERED: 2, FAILED: 2}
    assert await real.followers.count_deliveries(OTHER, HOOK) == {PENDING: 2}
    assert await real.followers.count_deliveries(OTHER, HOOK_2) == {}


@catches(mutants.deleted_deliveries_come_back, mutants.attempts_of_every_tenant, mutants.attempts_are_recorded_anew)
async def test_attempts_and_what_became_of_a_delivery_are_recorded(real: Any) -> None:
    """Several at once, also of several webhooks, and of a delivery that was deleted meanwhile nothing."""
    await add(real, 1, 2)
    await add(real, 1, hook=HOOK_2)
    await add(real, 1, tenant=OTHER)
    failed = attempt(1, 2, status=None, error="The address is not public.", answer=b"")
    later = changed(1, PENDING, due_at=NOW + 5, attempts=2, attempts_in_all=2)
    answer = attempt(1, 1, status=503, answer=b"\x00\xff")
    theirs = attempt(1, hook=HOOK_2)
    gone = (changed(9, DELIVERED), attempt(9))
    await real.followers.record_attempts(
        TENANT,
        [(changed(1, PENDING), answer), (later, failed), (changed(1, DELIVERED, HOOK_2), theirs), gone],
    )
    await real.followers.record_attempts(TENANT, [])
    assert await listed(real) == [later, pending(2)]
    assert await listed(real, HOOK_2) == [changed(1, DELIVERED, HOOK_2)]
    assert await listed(real, tenant=OTHER) == [pending(1)]
    assert await real.followers.list_attempts(TENANT, HOOK, 1) == [answer, failed]
    assert await real.followers.list_attempts(TENANT, HOOK_2, 1) == [theirs]
    for tenant, position in ((TENANT, 2), (TENANT, 9), (OTHER, 1)):
        assert await real.followers.list_attempts(tenant, HOOK, position) == []
    await real.followers.record_attempts(TENANT, [(later, attempt(1, 2))])
    assert await real.followers.list_attempts(TENANT, HOOK, 1) == [answer, failed]


@catches(mutants.attempts_still_count, mutants.retried_in_every_webhook, mutants.listed_in_any_state)
async def test_deliveries_are_tried_again_when_asked_for(real: Any) -> None:
    """Those that a filter names and that are not pending, in parts, by position. The attempts are counted anew."""
    await add(real, *range(1, 8))
    for where in ({"hook": HOOK_2}, {"tenant": OTHER}):
        await add(real, 1, **where)
    waiting = changed(6, PENDING, due_at=NOW + 8)
    done = [changed(2, DELIVERED, attempts=3, attempts_in_all=4), *[changed(at, FAILED) for at in (1, 4, 5)], waiting]
    await set_to(real, *done)
    await set_to(real, changed(1, FAILED, HOOK_2))
    await set_to(real, changed(1, FAILED), tenant=OTHER)
    retry = real.followers.retry_deliveries
    failed = DeliveryFilter(HOOK, states=(FAILED,))
    assert await retry(TENANT, failed, NOW + 9, 2) == 4
    again = {at: Delivery(HOOK, at, PENDING, NOW + 9, NOW + 9, 0, 1) for at in (1, 4)}
    assert [await real.followers.get_delivery(TENANT, HOOK, at) for at in (1, 4)] == [again[1], again[4]]
    assert await real.followers.get_delivery(TENANT, HOOK, 5) == changed(5, FAILED)
    assert await retry(TENANT, msgspec.structs.replace(failed, after=4), NOW + 9, 2) == 5
    assert await retry(TENANT, msgspec.structs.replace(failed, after=5), NOW + 9, 2) is None
    assert await retry(TENANT, DeliveryFilter(HOOK, states=(PENDING,)), NOW + 10, 9) is None
    assert await retry(TENANT, DeliveryFilter(HOOK), NOW + 10, 9) == 2
    assert await real.followers.get_delivery(TENANT, HOOK, 2) == Delivery(HOOK, 2, PENDING, NOW + 10, NOW + 10, 0, 4)
    assert await real.followers.get_delivery(TENANT, HOOK, 6) == waiting
    assert await listed(real, HOOK_2) == [changed(1, FAILED, HOOK_2)]
    assert await listed(real, tenant=OTHER) == [changed(1, FAILED)]


@catches(mutants.pending_ones_are_deleted, mutants.deleted_at_the_time, mutants.attempts_outlive_their_delivery)
async def test_old_deliveries_are_deleted_with_their_attempts(real: Any) -> None:
    """Those that changed before a time and are not pending, in parts; or with no time every one."""
    await add(real, *range(1, 7))
    await add(real, 1, hook=HOOK_2)
    await add(real, 1, tenant=OTHER)
    await set_to(real, changed(1, PENDING), changed(2, FAILED), *[changed(at, DELIVERED) for at in (3, 4, 5)])
    await set_to(real, changed(1, DELIVERED, HOOK_2))
    await set_to(real, changed(1, DELIVERED), tenant=OTHER)
    delete = real.followers.delete_deliveries
    assert await delete(TENANT, HOOK, NOW + 5, 2) == 2
    assert [each.position for each in await listed(real)] == [1, 4, 5, 6]
    assert await delete(TENANT, HOOK, NOW + 5, 2) == 1
    assert await delete(TENANT, HOOK, NOW + 5, 2) == 0
    assert [each.position for each in await listed(real)] == [1, 5, 6]
    assert [len(await real.followers.list_attempts(TENANT, HOOK, at)) for at in (1, 2, 3, 4, 5)] == [1, 0, 0, 0, 1]
    assert await delete(TENANT, HOOK, None, 2) == 2
    assert await delete(TENANT, HOOK, None, 2) == 1
    assert await listed(real) == []
    assert await real.followers.list_attempts(TENANT, HOOK, 1) == []
    for where in ((TENANT, HOOK_2), (OTHER, HOOK)):
        assert [each.state for each in await real.followers.list_deliveries(where[0], DeliveryFilter(where[1]), 9)] == [
            DELIVERED
        ]
        assert len(await real.followers.list_attempts(*where, 1)) == 1


# --- leases ------------------------------------------------------------------------------------------------------


@catches(mutants.leases_are_refused)
async def test_a_lease_is_kept_and_released(real: Any) -> None:
    """By its owner, again and again; then another one has it. tests/storage/test_postgres_followers.py has the rest."""
    take, release = real.followers.take_lease, real.followers.release_lease
    assert await take("webhooks", "a", 60.0)
    assert await take("webhooks", "a", 60.0)
    assert await take("alerts", "b", 60.0)
    await release("webhooks", "a")
    assert await take("webhooks", "b", 60.0)
