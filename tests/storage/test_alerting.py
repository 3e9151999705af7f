"""The work of alert rules on each store: alerts are stored once, with their causes, whatever interrupts it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.faults import KINDS, Limits
from tests.contract.made import DAY, NOON, SECOND, TENANT, add, new, uuid
from tests.unit.mutants import catches, replaced
from whence import alerting, followers
from whence.alerting import KIND, AlertWork, RuleState, place_name, state_of
from whence.alerts import FIRED, RESOLVED, AlertRule, Condition
from whence.errors import Throttled
from whence.events import Event, Query, Viewer
from whence.followers import Definitions, MakersKeys
from whence.permissions import new_api_key
from whence.storage import Receipt
from whence.storage.followers import Definition, Place
from whence.wire.ids import derived_uuid, new_uuid7

pytestmark = pytest.mark.anyio

RULE = uuid(900)
COUNT = Condition(kind="count", per="actor", threshold=3, window_us=60 * SECOND)
FAILURES = Query(outcomes=("failure",))


def tomorrow() -> int:
    """The time at which most rules of these tests run: every window has passed."""
    return time.time_ns() // 1_000 + DAY


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """An empty store of each kind."""
    opened = await KINDS[request.param].open(tmp_path, monkeypatch, Limits())
    yield opened
    await opened.close()


def failed(number: int, **fields: Any) -> Any:
    """A failure at this second."""
    return new(number, event_type="action_run.failed", **fields)


async def made(store: Any, condition: Condition, query: Query = FAILURES, **fields: Any) -> Definition:
    """A rule that is stored, with a key that may read everything."""
    _, key = new_api_key(TENANT, ("admin", "events:read"), NOON)
    await store.credentials.put_key(key)
    values: dict[str, Any] = {"key_id": key.id, "readable": None, "after": 0, "created_at": NOON, "changed_at": NOON}
    rule = AlertRule(name="a rule", query=query, condition=condition, **(values | fields))
    definition = Definition(TENANT, KIND, RULE, 1, msgspec.json.encode(rule))
    assert await store.followers.put_definition(definition)
    return definition


async def begun(store: Any, definition: Definition, clock: Callable[[], int] = tomorrow) -> Any:
    """The rule, as a process that has just started has it."""
    place = await store.followers.get_place(TENANT, place_name(definition.id))
    keys = MakersKeys(store, clock)
    return alerting._Rule(store, definition, place, keys, clock)


async def run(rule: Any) -> None:
    """Let a rule do all that there is to do."""
    while await rule.step():
        pass
    await rule.step()


async def alerts(store: Any) -> list[Event]:
    """The events of alerts, in the order in which they were stored."""
    page = await store.read_feed(Viewer(TENANT), Query(event_types=(FIRED, RESOLVED)), 0, 1_000)
    found: list[Event] = page.events
    return found


async def state(store: Any) -> RuleState:
    """What the rule has saved."""
    found = state_of(await store.followers.get_place(TENANT, place_name(RULE)))
    assert found is not None
    return found


def with_random_ids(tenant: str, rule_id: str, rule: AlertRule, transition: Any) -> Any:
    return msgspec.structs.replace(ALERT_EVENT(tenant, rule_id, rule, transition), id=new_uuid7())


def without_cause(tenant: str, rule_id: str, rule: AlertRule, transition: Any) -> Any:
    return msgspec.structs.replace(ALERT_EVENT(tenant, rule_id, rule, transition), causation_id=None)


ALERT_EVENT = alerting.alert_event


@catches(
    replaced(alerting, "alert_event", without_cause, "alerts_without_cause"),
    replaced(alerting, "is_watched", lambda query, event_type: False, "blind"),
)
async def test_an_alert_is_an_event_with_its_cause(store: Any) -> None:
    """The event that made a rule fire is the cause of the alert, and that of its end; they share its flow."""
    rule = await begun(store, await made(store, COUNT))
    await add(store, *(failed(number, correlation_id="a flow") for number in (1, 2, 3)))
    await run(rule)
    fired, resolved = await alerts(store)
    assert (fired.event_type, fired.id) == (FIRED, derived_uuid(TENANT, FIRED, RULE, uuid(3)))
    assert (fired.causation_id, fired.correlation_id) == (uuid(3), "a flow")
    assert (fired.actor_type, fired.actor_id, fired.resource_type) == ("system", "whence", "event_log")
    assert (fired.occurred_at, fired.outcome) == (NOON + 3 * SECOND, "none")
    assert msgspec.json.decode(fired.payload or b"") == {
        "ruleId": RULE,
        "name": "a rule",
        "condition": "count",
        "key": {"actorType": "user", "actorId": "ada"},
        "windowS": 60,
        "count": 3,
        "eventIds": [uuid(1), uuid(2), uuid(3)],
    }
    assert (resolved.event_type, resolved.causation_id, resolved.correlation_id) == (RESOLVED, fired.id, "a flow")
    assert resolved.occurred_at == NOON + 61 * SECOND
    assert msgspec.json.decode(resolved.payload or b"")["key"] == {"actorType": "user", "actorId": "ada"}


class Crash(Exception):
    """The process ends here."""


class Interrupted:
    """A store whose process ends at the first append, before it or after it. Later ones are noted in `errors`."""

    def __init__(self, store: Any, *, after: bool) -> None:
        self._store, self._after, self.crashes = store, after, 0
        self.errors: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, tenant: str, writes: Any) -> Any:
        results = await self._store.append(tenant, writes) if self._after or self.crashes else []
        self.crashes += 1
        if self.crashes == 1:
            raise Crash
        self.errors += [receipt.error for result in results for receipt in result if receipt.error is not None]
        return results


async def storing_first(self: Any) -> None:
    """Stores alerts before the decision is saved."""
    found, self._reading.found = self._reading.found, []
    events = [alerting.alert_event(self._tenant, self._id, self._rule, transition) for transition in found]
    if events:
        await self._store.append(self._tenant, [alerting.Write(events=(event,)) for event in events])
        await self._save()


@catches(replaced(alerting._Rule, "_store_found", storing_first, "stored_before_it_is_saved"))
@pytest.mark.parametrize("after", [False, True], ids=["before the append", "after the append"])
async def test_a_crash_loses_no_alert_and_stores_none_twice(store: Any, after: bool) -> None:
    """The process ends between the decision and its event, or before it has noted that the event is stored; meanwhile
    a late event comes, with which the decision would be another one. It is stored as it was made."""
    definition = await made(store, COUNT)
    await add(store, *(failed(number) for number in (1, 2, 3)))
    interrupted = Interrupted(store, after=after)
    with pytest.raises(Crash):
        await run(await begun(interrupted, definition))
    await add(store, failed(20))
    for _ in range(2):
        await run(await begun(interrupted, definition))
    assert [(each.event_type, each.occurred_at) for each in await alerts(store)] == [
        (FIRED, NOON + 3 * SECOND),
        (RESOLVED, NOON + 61 * SECOND),
    ]
    assert interrupted.errors == []


@catches(replaced(alerting, "alert_event", with_random_ids, "ids_at_random"))
async def test_two_processes_at_once_store_an_alert_once(store: Any) -> None:
    """As when one that lost its lease has not noticed yet."""
    definition = await made(store, Condition(kind="match"))
    first, second = await begun(store, definition), await begun(store, definition)
    await add(store, *(failed(number) for number in (1, 2, 3)))
    await run(first)
    await run(second)
    assert [each.causation_id for each in await alerts(store)] == [uuid(1), uuid(2), uuid(3)]


@catches(replaced(alerting._Rule, "_note_refusal", lambda self, error: None, "refusals_in_silence"))
async def test_an_alert_that_the_log_refuses_is_counted(store: Any) -> None:
    """Others are stored, and the rule goes on. The state says how many were refused."""

    class Refusing(Interrupted):
        async def append(self, tenant: str, writes: Any) -> Any:
            results = await store.append(tenant, writes[1:])
            return [[Receipt(error=Throttled("Too many kinds."))], *results]

    definition = await made(store, Condition(kind="match"))
    await add(store, *(failed(number) for number in (1, 2, 3)))
    rule = await begun(Refusing(store, after=False), definition)
    await run(rule)
    await rule._save()
    assert [each.causation_id for each in await alerts(store)] == [uuid(2), uuid(3)]
    assert (await state(store)).refused == 1


async def test_a_rule_that_names_whence_events_does_not_loop(store: Any) -> None:
    """It watches events about the log itself, and neither its own alerts nor those of others."""
    rule = await begun(store, await made(store, Condition(kind="match"), Query(event_type_prefixes=("whence.",))))
    every = await begun(store, await made_again(store, Condition(kind="match"), Query()))
    await add(store, new(1, event_type="whence.key_created"), new(2))
    for _ in range(3):
        await run(rule)
        await run(every)
    assert [each.causation_id for each in await alerts(store)] == [uuid(1), uuid(2)]
    assert rule.position == every.position == 4


async def made_again(store: Any, condition: Condition, query: Query) -> Definition:
    """A second rule, with the key of the first."""
    first = await store.followers.get_definition(TENANT, KIND, RULE)
    rule = msgspec.structs.replace(alerting.rule_of(first), query=query, condition=condition)
    definition = Definition(TENANT, KIND, uuid(901), 1, msgspec.json.encode(rule))
    assert await store.followers.put_definition(definition)
    return definition


@catches(replaced(alerting, "earlier_queries", lambda query, per, key: (query, None), "any_key_is_known"))
async def test_the_first_event_is_the_first_of_the_whole_log(store: Any) -> None:
    """Events before the rule count, and so do those that are stored together. Events about the log itself do not."""
    await add(store, failed(1, actor_id="known"), new(2, actor_id="other outcome"))
    await add(store, new(3, event_type="whence.key_created", outcome="failure", actor_id="recorded"))
    rule = await begun(store, await made(store, Condition(kind="first_seen", per="actor"), after=3))
    names = ("known", "new", "other outcome", "new", "recorded", "new")
    await add(store, *(failed(number, actor_id=name) for number, name in enumerate(names, 4)))
    await run(rule)
    await add(store, failed(20, actor_id="new"), failed(21, actor_id="later"))
    await run(rule)
    keys = [msgspec.json.decode(each.payload or b"")["key"]["actorId"] for each in await alerts(store)]
    assert keys == ["new", "other outcome", "recorded", "later"]
    assert [each.causation_id for each in await alerts(store)] == [uuid(5), uuid(6), uuid(8), uuid(21)]


async def test_many_new_keys_are_asked_for_in_parts(store: Any) -> None:
    """More keys than are asked for at once: each fires once, in the order of the log."""
    query = Query(event_types=("action_run.failed",))
    rule = await begun(store, await made(store, Condition(kind="first_seen", per="actor"), query))
    await add(store, *(failed(number, actor_id=f"a{number % 150}") for number in range(1, 301)))
    await run(rule)
    assert [each.causation_id for each in await alerts(store)] == [uuid(number) for number in range(1, 151)]


async def test_an_absence_fires_by_the_clock_and_resolves_at_the_next_event(store: Any) -> None:
    """Without any event, the rule itself is what the time is counted from."""
    now = [NOON + 50 * SECOND]
    definition = await made(store, Condition(kind="absence", window_us=60 * SECOND))
    rule = await begun(store, definition, lambda: now[0])
    await run(rule)
    assert await alerts(store) == []
    assert 0 < rule.wait_s() <= 5
    now[0] += 12 * SECOND
    await run(rule)
    [fired] = await alerts(store)
    assert (fired.occurred_at, fired.causation_id) == (NOON + 60 * SECOND, None)
    [receipt] = await add(store, failed(1))
    now[0] = receipt.event.recorded_at if receipt.event else 0
    await run(await begun(store, definition, lambda: now[0]))
    _, resolved = await alerts(store)
    assert (resolved.causation_id, resolved.occurred_at) == (fired.id, now[0])
    assert resolved.correlation_id == fired.correlation_id == fired.id


@catches(replaced(followers, "readable_by", lambda _key, _tenant, readable, _now: readable, "keys_never_end"))
async def test_a_rule_stops_with_the_key_that_made_it(store: Any) -> None:
    """Its position stays. With another key it goes on from there, and misses nothing."""
    definition = await made(store, COUNT)
    rule = alerting.rule_of(definition)
    await store.credentials.revoke_key(TENANT, rule.key_id, NOON)
    await add(store, *(failed(number) for number in (1, 2, 3)))
    stopped = await begun(store, definition)
    await run(stopped)
    assert (stopped.is_stopped, stopped.position, await alerts(store)) == (True, 0, [])
    _, key = new_api_key(TENANT, ("admin", "events:read"), NOON)
    await store.credentials.put_key(key)
    taken_over = msgspec.json.encode(msgspec.structs.replace(rule, key_id=key.id))
    await run(await begun(store, msgspec.structs.replace(definition, version=2, body=taken_over)))
    assert [each.event_type for each in await alerts(store)] == [FIRED, RESOLVED]


async def test_a_rule_sees_what_its_key_may_read(store: Any) -> None:
    """Events of other resource types do not exist for it, nor do the actors in them."""
    rule = await begun(store, await made(store, COUNT, readable=("decision",)))
    await add(store, *(failed(number) for number in (1, 2, 3)))
    await run(rule)
    assert await alerts(store) == []
    await add(store, *(failed(number, resource_type="decision") for number in (4, 5, 6)))
    await run(rule)
    assert next(each.causation_id for each in await alerts(store)) == uuid(6)


async def test_a_changed_rule_ends_its_alerts_and_begins_anew(store: Any) -> None:
    """What fires for the former condition resolves at the time of the change. Another name changes nothing else."""
    quiet = lambda: NOON  # noqa: E731  (a clock that resolves nothing)
    definition = await made(store, COUNT)
    rule = alerting.rule_of(definition)
    await add(store, *(failed(number) for number in (1, 2, 3)))
    await run(await begun(store, definition, quiet))
    renamed = msgspec.json.encode(msgspec.structs.replace(rule, name="another", changed_at=NOON + SECOND))
    await run(await begun(store, msgspec.structs.replace(definition, version=2, body=renamed), quiet))
    assert [each.event_type for each in await alerts(store)] == [FIRED]
    other = msgspec.structs.replace(rule, condition=Condition(kind="match"), changed_at=NOON + 2 * SECOND)
    changed = msgspec.structs.replace(definition, version=3, body=msgspec.json.encode(other))
    await run(await begun(store, changed, quiet))
    fired, resolved = await alerts(store)
    assert (resolved.causation_id, resolved.occurred_at) == (fired.id, NOON + 2 * SECOND)
    assert msgspec.json.decode(resolved.payload or b"")["key"] == {"actorType": "user", "actorId": "ada"}
    await add(store, failed(9))
    await run(await begun(store, changed, quiet))
    assert [each.causation_id for each in await alerts(store)][2:] == [uuid(9)]


async def saved_blindly(self: Any) -> bool:
    state = RuleState(self._rule.query, self._rule.condition, self._reading.judge.state())
    await self._store.followers.save_place(TENANT, Place(self.name, self.position, msgspec.msgpack.encode(state)))
    return True


@catches(replaced(alerting._Rule, "_save", saved_blindly, "saves_what_is_deleted"))
async def test_a_deleted_rule_stores_no_more(store: Any) -> None:
    """Neither an alert nor its place, before the process that runs it has noticed."""
    definition = await made(store, Condition(kind="match"))
    rule = await begun(store, definition)
    rule.save_s = 0
    await add(store, failed(1))
    await run(rule)
    await store.followers.delete_definition(TENANT, KIND, RULE)
    await store.followers.delete_place(TENANT, place_name(RULE))
    await add(store, failed(2))
    await run(rule)
    assert [each.causation_id for each in await alerts(store)] == [uuid(1)]
    assert await store.followers.list_places(TENANT) == []


async def test_a_place_beyond_the_log_goes_back_to_its_end(store: Any) -> None:
    """As when an older log was put beside the places of a newer one."""
    definition = await made(store, COUNT)
    await add(store, *(failed(number) for number in (1, 2, 3)))
    await store.followers.save_place(TENANT, Place(place_name(RULE), 1_000))
    rule = await begun(store, definition)
    await run(rule)
    assert rule.position == 3
    await add(store, *(failed(number) for number in (4, 5, 6)))
    await run(rule)
    assert [each.event_type for each in await alerts(store)] == [FIRED, RESOLVED]


class Purged:
    """A store that no longer keeps its first events."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read_feed(self, viewer: Viewer, query: Query, after: int, limit: int) -> Any:
        if after < 2:
            raise alerting.PositionGone(resume_after=2)
        return await self._store.read_feed(viewer, query, after, limit)


async def test_events_that_are_gone_are_noted(store: Any) -> None:
    """The rule goes on with the first event that is kept, and its state says from where on."""
    definition = await made(store, Condition(kind="match"))
    await add(store, *(failed(number) for number in (1, 2, 3)))
    await run(await begun(Purged(store), definition))
    assert [each.causation_id for each in await alerts(store)] == [uuid(3)]
    assert (await state(store)).missed_before == 3


async def soon(found: Callable[[], Any], expected: Any) -> None:
    """Wait until a coroutine function returns what is expected."""
    for _ in range(250):
        if await found() == expected:
            return
        await asyncio.sleep(0.02)
    assert await found() == expected


async def test_following_wakes_up_for_events_and_for_rules(store: Any) -> None:
    """Alerts come as events are stored; a rule that is added is taken up, and one that is deleted leaves no place."""
    first = await made(store, Condition(kind="match"), after=0)
    definitions = Definitions([first])
    task = asyncio.create_task(AlertWork(store, tomorrow).follow(TENANT, definitions))

    async def causes() -> list[str | None]:
        return [each.causation_id for each in await alerts(store)]

    async def places() -> list[str]:
        return [place.name for place in await store.followers.list_places(TENANT)]

    async def lags() -> list[str]:
        return sorted(definitions.lags)

    try:
        await add(store, failed(1))
        await soon(causes, [uuid(1)])
        second = await made_again(store, Condition(kind="first_seen", per="actor"), FAILURES)
        definitions.replace([first, second])
        await soon(causes, [uuid(1), uuid(1)])
        await soon(places, [place_name(first.id), place_name(second.id)])
        await soon(lags, [place_name(first.id), place_name(second.id)])
        definitions.replace([first])
        await soon(places, [place_name(first.id)])
        await soon(lags, [place_name(first.id)])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_a_place_that_was_left_behind_is_deleted(store: Any) -> None:
    """As of a rule that was deleted while its place was being saved."""
    definition = await made(store, Condition(kind="match"))
    await store.followers.save_place(TENANT, Place(place_name(uuid(5)), 0))
    await store.followers.save_place(TENANT, Place("webhook:1", 0))
    task = asyncio.create_task(AlertWork(store).follow(TENANT, Definitions([definition])))

    async def places() -> set[str]:
        return {place.name for place in await store.followers.list_places(TENANT)}

    try:
        await soon(places, {place_name(RULE), "webhook:1"})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def to_its_end(self: Any) -> bool:
    """Reads the whole log at once."""
    while await STEP(self):
        pass
    return False


STEP = alerting._Rule.step


@catches(replaced(alerting._Rule, "step", to_its_end, "to_the_end_in_one_turn"))
async def test_a_rule_that_is_far_behind_holds_up_no_other(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one of its own tenant nor one of another: each reads a part in its turn."""
    monkeypatch.setattr(alerting, "_PART", 10)
    monkeypatch.setattr(alerting, "SHORT_PART", 10)
    await add(store, *(new(number) for number in range(1, 1_001)))
    behind = await made(store, Condition(kind="count", threshold=2_000, window_us=DAY), Query())
    rule = msgspec.structs.replace(alerting.rule_of(behind), query=FAILURES, condition=Condition(kind="match"))
    body = msgspec.json.encode(msgspec.structs.replace(rule, after=1_000))
    here = msgspec.structs.replace(behind, id=uuid(901), body=body)
    _, key = new_api_key("other", ("admin", "events:read"), NOON)
    await store.credentials.put_key(key)
    elsewhere = msgspec.json.encode(msgspec.structs.replace(rule, key_id=key.id))
    there = Definition("other", KIND, uuid(902), 1, elsewhere)
    for definition in (here, there):
        assert await store.followers.put_definition(definition)
    await add(store, failed(2_000))
    await add(store, failed(1), tenant="other")
    definitions = Definitions([behind, here])
    work = AlertWork(store, tomorrow)
    tasks = [
        asyncio.create_task(work.follow(TENANT, definitions)),
        asyncio.create_task(work.follow("other", Definitions([there]))),
    ]

    async def sizes() -> list[int]:
        return [(await store.head(tenant)).size for tenant in (TENANT, "other")]

    try:
        await soon(sizes, [1_002, 2])
        assert definitions.lags[place_name(behind.id)] > 500
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
