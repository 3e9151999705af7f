"""Alert rules over a real log of a bank, on each store: every alert of every kind equals a plain count.

It runs on a sample, and on the whole log when WHENCE_LOAN_LOG names its file; `tests/data/SOURCE.md` has its source.
"""

import gzip
import json
import os
import random
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests import alert_counts
from tests.alert_counts import Alert, Seen
from tests.contract.faults import KINDS, Limits
from tests.contract.made import DAY, HOUR, MINUTE, SECOND, TENANT, uuid
from tests.data.sample import SAMPLE
from whence import alerting
from whence.alerts import FIRED, AlertRule, Condition, Transition, new_judge
from whence.events import Event, NewEvent, Query, Viewer
from whence.followers import MakersKeys
from whence.permissions import new_api_key
from whence.storage import Write
from whence.storage.followers import Definition
from whence.storage.postgres import append as postgres_append
from whence.storage.postgres import append_function
from whence.storage.sqlite import append as sqlite_append

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WHOLE = os.environ.get("WHENCE_LOAN_LOG")
LOGS = {"sample": SAMPLE, **({"whole": Path(WHOLE)} if WHOLE else {})}
PARTS = 25

STARTED = Query(event_type_prefixes=("w.completeren_aanvraag.",))

RULES: dict[str, tuple[Query, Condition]] = {
    "match": (Query(event_types=("a.cancelled.complete",)), Condition(kind="match")),
    "count per actor": (STARTED, Condition(kind="count", per="actor", threshold=8, window_us=2 * HOUR)),
    "count per flow": (Query(), Condition(kind="count", per="correlation", threshold=10, window_us=5 * MINUTE)),
    "count of types": (Query(), Condition(kind="count", per="eventType", threshold=20, window_us=DAY)),
    "count of all": (Query(outcomes=("success",)), Condition(kind="count", threshold=15, window_us=HOUR)),
    "count per resource": (Query(), Condition(kind="count", per="resource", threshold=5, window_us=HOUR)),
    "first of an actor": (Query(event_types=("a.declined.complete",)), Condition(kind="first_seen", per="actor")),
    "first of a type": (Query(actor_types=("user",)), Condition(kind="first_seen", per="eventType")),
    "absence": (Query(event_types=("w.beoordelen_fraude.start",)), Condition(kind="absence", window_us=9 * DAY)),
}

FIELDS = {
    None: (),
    "actor": ("actor_type", "actor_id"),
    "resource": ("resource_type", "resource_id"),
    "correlation": ("correlation_id",),
    "eventType": ("event_type",),
}


def new_event(line: bytes) -> NewEvent:
    """The event of a line."""
    sent = json.loads(line)
    at = datetime.fromisoformat(sent["occurredAt"].replace("Z", "+00:00"))
    return NewEvent(
        id=sent["id"],
        event_type=sent["eventType"],
        actor_type=sent["actorType"],
        actor_id=sent["actorId"],
        resource_type=sent["resourceType"],
        resource_id=sent["resourceId"],
        correlation_id=sent["correlationId"],
        causation_id=sent["causationId"],
        occurred_at=round(at.timestamp() * SECOND),
    )


def read(path: Path, *, shuffled: bool) -> list[list[NewEvent]]:
    """The events of a file in parts, as they come to the log. When shuffled, one in twelve comes hours or days late."""
    chance = random.Random(17)
    with gzip.open(path) as lines:
        events = [new_event(line) for line in lines]
    if shuffled:
        late = [event.occurred_at + (chance.randrange(5 * DAY) if chance.random() < 1 / 12 else 0) for event in events]
        events = [events[number] for number in sorted(range(len(events)), key=lambda number: (late[number], number))]
    size = -(-len(events) // PARTS)
    return [events[at : at + size] for at in range(0, len(events), size)]


def is_meant(query: Query, event: Event) -> bool:
    """Whether an event matches one of the filters that are used here."""
    if event.event_type.startswith("whence."):
        return False
    named = query.event_types or query.event_type_prefixes
    if named and not (event.event_type in query.event_types or event.event_type.startswith(query.event_type_prefixes)):
        return False
    return event.outcome in (query.outcomes or (event.outcome,)) and event.actor_type in (
        query.actor_types or (event.actor_type,)
    )


def counted(events: list[Event], query: Query, condition: Condition, since: int, clock: int) -> list[Alert]:
    """The alerts of a rule by the plain count."""
    names = FIELDS[condition.per]
    seen = [
        Seen(event.id, tuple(getattr(event, name) for name in names), event.occurred_at, event.recorded_at)
        for event in events
        if is_meant(query, event)
    ]
    match condition.kind:
        case "count":
            return alert_counts.counts(seen, condition.threshold, condition.window_us, clock)
        case "first_seen":
            return alert_counts.firsts(seen)
        case "absence":
            return alert_counts.absences(seen, condition.window_us, since, clock)
    return alert_counts.matches(seen)


class Arriving:
    """A store into which a log comes in parts, each at the time of its last event."""

    def __init__(self, store: Any, patch: pytest.MonkeyPatch) -> None:
        self.store, self.now = store, 0
        clock = SimpleNamespace(time_ns=lambda: self.now * 1_000)
        for module in (sqlite_append, postgres_append, append_function):
            patch.setattr(module, "time", clock)

    async def add(self, part: list[NewEvent]) -> None:
        """Store a part."""
        self.now = max([self.now, *(event.occurred_at for event in part)])
        for at in range(0, len(part), 1_000):
            [result] = await self.store.append(TENANT, [Write(events=tuple(part[at : at + 1_000]))])
            assert all(receipt.event is not None for receipt in result)

    async def events(self) -> list[Event]:
        """The whole log."""
        found: list[Event] = []
        position, more = 0, True
        while more:
            page = await self.store.read_feed(Viewer(TENANT), Query(), position, 1_000)
            found, position, more = found + page.events, page.read_to, page.has_more
        return found


@pytest.fixture(params=["sqlite", "postgres"])
async def arriving(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Arriving]:
    """An empty store of each kind."""
    store = await KINDS[request.param].open(tmp_path, monkeypatch, Limits())
    yield Arriving(store, monkeypatch)
    await store.close()


async def definitions(store: Any, since: int) -> dict[str, Definition]:
    """The rules, by their names, as they are stored."""
    _, key = new_api_key(TENANT, ("admin", "events:read"), since)
    await store.credentials.put_key(key)
    made = {}
    for number, (name, (query, condition)) in enumerate(RULES.items()):
        rule = AlertRule(
            name=name,
            query=query,
            condition=condition,
            key_id=key.id,
            readable=None,
            after=0,
            created_at=since,
            changed_at=since,
        )
        made[name] = Definition(TENANT, alerting.KIND, uuid(number), 1, msgspec.json.encode(rule))
        assert await store.followers.put_definition(made[name])
    return made


async def run(rule: Any) -> None:
    """Let a rule do all that there is to do."""
    while await rule.step():
        pass


async def of_rules(arriving: Arriving, log: list[Event]) -> dict[str, list[Alert]]:
    """The alerts in a log by the names of their rules: when, for which key, and because of which event."""
    by_id = {event.id: event for event in log}
    found: dict[str, list[Alert]] = {name: [] for name in RULES}
    for event in log:
        if event.event_type.startswith("whence.alert_"):
            payload = json.loads(event.payload or b"")
            fired = event if event.event_type == FIRED else by_id[event.causation_id or ""]
            kind = "fired" if event.event_type == FIRED else "resolved"
            key = tuple(payload.get("key", {}).values())
            found[payload["name"]].append(Alert(kind, event.occurred_at, key, fired.causation_id))
    return found


@pytest.mark.parametrize("log", LOGS)
async def test_live_alerts_equal_a_plain_count(arriving: Arriving, log: str) -> None:
    """The rules follow the log while it comes in, and are stopped and begun again in between. What they stored, and
    when it says that it occurred, is what a count over the whole log says."""
    parts = read(LOGS[log], shuffled=False)
    parts = parts if log == "whole" else parts[:12]
    since = parts[0][0].occurred_at
    known = await definitions(arriving.store, since)
    keys = MakersKeys(arriving.store, lambda: arriving.now)
    rules: dict[str, Any] = {}
    for number, part in enumerate(parts):
        await arriving.add(part)
        for name, definition in known.items():
            if number % 7 == 0 or name not in rules:
                place = await arriving.store.followers.get_place(TENANT, alerting.place_name(definition.id))
                rules[name] = alerting._Rule(arriving.store, definition, place, keys, lambda: arriving.now)
            await run(rules[name])
    arriving.now += 40 * DAY
    for rule in rules.values():
        await run(rule)
    events = await arriving.events()
    found = await of_rules(arriving, events)
    for name, (query, condition) in RULES.items():
        clock = arriving.now - alerting.CLOCK_BEHIND_US
        expected = counted(events, query, condition, since, clock)
        assert sorted(found[name], key=str) == sorted(expected, key=str), name
        assert len(expected) >= 3, name
        print(f"{log}, {name}: {len(found[name]):,} alerts")


def plain(transition: Transition) -> Alert:
    """A transition as the plain count has it."""
    kind, source = "fired" if transition.fired else "resolved", transition.source
    return Alert(kind, transition.at, transition.key, None if source.startswith("since") else source)


@pytest.mark.parametrize("log", LOGS)
async def test_a_replay_equals_a_plain_count_with_late_events(arriving: Arriving, log: str) -> None:
    """Events that come hours and days late count at their own time, in the order in which they came."""
    for part in read(LOGS[log], shuffled=True):
        await arriving.add(part)
    events = await arriving.events()
    since, clock = events[0].recorded_at, arriving.now + 40 * DAY
    for name, (query, condition) in RULES.items():
        judge = new_judge(condition, since)
        reading = alerting.Reading(arriving.store, Viewer(TENANT), query, judge, 0)
        while await reading.read(500, clock + alerting.CLOCK_BEHIND_US):
            reading.judge = new_judge(condition, since, reading.judge.state())
        found = [plain(each) for each in reading.found]
        assert found == counted(events, query, condition, since, clock), name
