"""An erasure takes what the log's own records quote too: values that a read was filtered by, and names of actors."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.faults import KINDS, Limits
from tests.contract.made import NOON, SECOND, TENANT, new, stored
from tests.contract.test_removals import url_of
from tests.storage.removal_work import MALLORY, done_by, hold
from tests.storage.test_alerting import COUNT, alerts, begun, made, run
from tests.unit.mutants import catches, replaced
from whence import alerts as alerts_module
from whence import quotations, removal, removal_parts
from whence.alerting import KIND, place_name, rule_of
from whence.events import Event, PageRequest, Query, Viewer
from whence.retention import ERASED_AT_ONCE
from whence.storage import verify_store
from whence.wire.log_events import log_event

pytestmark = pytest.mark.anyio

READ = "whence.events_read"


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """An empty store of each kind."""
    opened = await KINDS[request.param].open(tmp_path, monkeypatch, Limits())
    yield opened
    await opened.close()


async def recorded(store: Any, *queries: str, path: str = "/api/v1/events") -> None:
    """Store the records of these reads."""
    number = (await store.head(TENANT)).size
    for at, query in enumerate(queries, number + 1):
        payload = {"path": path, "query": query}
        event = log_event(TENANT, READ, payload, event_id=new(500 + at).id, at=NOON + at * SECOND)
        await stored(store, event)


async def reads(store: Any) -> list[bool]:
    """Whether each record of a read still has its payload, the oldest first."""
    page = await store.list_events(Viewer(TENANT), Query(event_types=(READ,)), PageRequest(limit=100))
    found: list[Event] = sorted(page.events, key=lambda event: event.position)
    return [event.payload is not None for event in found]


async def _none(*_: Any) -> list[int]:
    """Mutant: nothing is found."""
    return []


async def _nobody(*_: Any) -> None:
    """Mutant: no record and no rule names the actor."""


async def _everything(_store: Any, _tenant: str, _positions: Any, asked: Any) -> set[int]:
    """Mutant: whatever a read was filtered by is found in payloads."""
    return {position for positions in asked.values() for position in positions}


@catches(
    replaced(removal_parts, "_quoting", _none, "reads_are_left_alone"),
    replaced(removal_parts, "_asked_for", _everything, "every_filtered_read_goes"),
)
async def test_reads_that_were_filtered_by_an_erased_value(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their payloads go before what they quote. Others stay, also the same value at another path."""
    monkeypatch.setattr(removal_parts, "_ASKED_AT_ONCE", 1)
    payload = b'{"mail":["m@example.com"],"n":{"x":1}}'
    await stored(store, new(1, actor_id="mallory", payload=payload), new(2, payload=b'{"mail":"other"}'))
    await recorded(store, "payload.mail=m%40example.com", "payload.mail=other", "q=payload.n.x:1", "payload.note=1", "")
    request = await done_by(store, query=MALLORY)
    assert (request.payloads, request.held, request.part) == (3, 0, 2)
    assert await reads(store) == [False, True, False, True, True]
    assert (await verify_store(url_of(store))).findings == []


@catches(replaced(quotations, "_is_completion", lambda _asked: False, "beginnings_are_left"))
async def test_completions_of_what_is_erased(store: Any) -> None:
    """Somebody who wrote the beginning of an erased value, or of a replaced id, has left most of it in the record."""
    await stored(store, new(1, actor_id="mallory", payload=b'{"mail":"m@example.com"}'))
    asked = (
        "q=payload.mail:M@exam",
        "q=payload.mail:m@other",
        "q=actor:user/Mall",
        "q=mallo",
        "q=type:m",
        "q=actor:al",
    )
    await recorded(store, *asked, path="/api/v1/events/suggest")
    await recorded(store, "q=mallor", path="/api/v1/search")
    await recorded(store, "payload.mail=m@exam")
    await done_by(store, query=MALLORY, pseudonym="erased-1")
    assert await reads(store) == [False, True, False, False, True, True, False, True]


async def test_a_read_that_is_held_stays(store: Any) -> None:
    """And does not keep the erasure from what it names."""
    await stored(store, new(1, actor_id="mallory", payload=b'{"mail":"m"}'))
    await recorded(store, "payload.mail=m")
    await hold(store, Query(event_types=(READ,)))
    assert (await done_by(store, query=MALLORY)).payloads == 1
    assert await reads(store) == [True]


async def test_more_reads_than_one_part_has(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go part by part."""
    assert ERASED_AT_ONCE > removal_parts._PART
    monkeypatch.setattr(removal_parts, "ERASED_AT_ONCE", 3)
    monkeypatch.setattr(removal_parts, "_PART", 2)
    await stored(store, new(1, actor_id="mallory", payload=b'{"mail":"m"}'))
    await recorded(store, *["payload.mail=m&actor_id=x"] * 4, *["actor_id=mallory"] * 4)
    request = await done_by(store, query=MALLORY, pseudonym="erased-1")
    assert request.payloads == 9
    assert not any(await reads(store))


@catches(
    replaced(removal_parts, "_records_of_name", _nobody, "records_are_left_alone"),
    replaced(removal, "begin_to_forget", _nobody, "rules_remember"),
    replaced(alerts_module._Counts, "rename", lambda *_: None, "the_judge_remembers"),
)
async def test_a_name_that_was_erased_is_in_no_alert_and_no_rule(store: Any, tmp_path: Path) -> None:
    """Neither in the events of alerts, nor in what rules remember, also one that is firing. The alert still ends."""
    definition = await made(store, COUNT, Query())
    rule = await begun(store, definition, clock=lambda: NOON)
    await stored(store, *(new(number, actor_id="mallory") for number in (1, 2, 3)), new(4))
    await run(rule)
    await recorded(store, "q=actor:user/mallory", "actor_id=ada")
    assert [b"mallory" in (event.payload or b"") for event in await alerts(store)] == [True]
    erasing = asyncio.create_task(done_by(store, query=MALLORY, pseudonym="erased-1"))
    while not erasing.done():
        definition = await store.followers.get_definition(TENANT, KIND, definition.id)
        await run(await begun(store, definition, clock=lambda: NOON))
        await asyncio.sleep(0.01)
    assert (await erasing).renamed == 3
    assert rule_of(await store.followers.get_definition(TENANT, KIND, definition.id)).replaced_actor is None
    place = await store.followers.get_place(TENANT, place_name(definition.id))
    assert b"mallory" not in place.state
    assert await reads(store) == [False, True]
    definition = await store.followers.get_definition(TENANT, KIND, definition.id)
    await run(await begun(store, definition))
    fired, resolved = await alerts(store)
    assert fired.payload is None
    assert b"erased-1" in (resolved.payload or b"")
    assert (await verify_store(url_of(store))).findings == []
