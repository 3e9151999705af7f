"""A log from which something is removed, requests that are finished at once, and what is left."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.faults import KINDS, Limits
from tests.contract.made import DAY, NOON, TENANT, new, stored
from tests.unit.mutants import replaced
from whence import legal_holds
from whence.announcements import parse_announcement
from whence.events import Event, PageRequest, Query, Viewer
from whence.removal import DONE, RemovalWork, request_of
from whence.retention import Hold, Policy, RemovalRequest, positions_in
from whence.sealing import StoreSecret
from whence.storage.followers import Definition
from whence.storage.removals import HOLD, LASTING_TYPES, PAYLOAD_ERASED, REMOVAL, RETENTION_APPLIED
from whence.wire.ids import new_uuid7

BY = ("api_key", "key_0000000000000000")
SECRET = StoreSecret("the secret of the store that is sealed here", is_shared=True)
MALLORY = Query(actors=("user/mallory",))
AGED = Policy(max_age_days=365)
ANNOUNCING = (PAYLOAD_ERASED, RETENTION_APPLIED)


def later() -> int:
    """The time at which retention runs here: everything that was stored is more than a year old."""
    return time.time_ns() // 1_000 + 400 * DAY


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """An empty store of each kind."""
    opened = await KINDS[request.param].open(tmp_path, monkeypatch, Limits())
    yield opened
    await opened.close()


async def filled(store: Any, count: int = 6) -> None:
    """Events at the positions 1..count with a payload each; the even ones are of mallory, and the third of a flow."""
    events = [
        new(
            number,
            actor_id="mallory" if number % 2 == 0 else "ada",
            correlation_id="case" if number == 3 else f"flow {number}",
            payload=b'{"word":"zanzibar"}',
            event_type="chat_thread.message_received" if number == 5 else "action_run.completed",
        )
        for number in range(1, count + 1)
    ]
    await stored(store, *events)


async def asked(store: Any, **fields: Any) -> str:
    """The id of a request that is stored."""
    size = (await store.head(TENANT)).size
    values: dict[str, Any] = {"kind": "erasure", "reason": "because", "by": BY, "created_at": later(), "as_of": size}
    request = RemovalRequest(**(values | fields))
    request_id = new_uuid7()
    assert await store.followers.put_definition(
        Definition(TENANT, REMOVAL, request_id, 1, msgspec.json.encode(request))
    )
    return request_id


async def done(store: Any, request_id: str) -> RemovalRequest:
    """A request that is finished."""
    await RemovalWork(store, seals=False, clock=later).finish(TENANT, request_id)
    definition = await store.followers.get_definition(TENANT, DONE, request_id)
    assert definition is not None
    assert await store.followers.get_definition(TENANT, REMOVAL, request_id) is None
    return request_of(definition)


async def done_by(store: Any, **fields: Any) -> RemovalRequest:
    """An erasure that is finished."""
    return await done(store, await asked(store, **fields))


async def retained(store: Any, policy: Policy = AGED) -> RemovalRequest:
    return await done(store, await asked(store, kind="retention", policy=policy))


async def hold(store: Any, query: Query) -> str:
    """The id of a new hold."""
    body = Hold(query=query, q="", reason="a case", by=BY, created_at=NOON)
    hold_id = new_uuid7()
    assert await store.followers.put_definition(Definition(TENANT, HOLD, hold_id, 1, msgspec.json.encode(body)))
    await store.removals.settle(TENANT)
    return hold_id


async def events(store: Any) -> list[Event]:
    """Every event but the announcements that is still there, by position."""
    part = await store.list_events(Viewer(TENANT), Query(), PageRequest(limit=100))
    return sorted(
        (event for event in part.events if event.event_type not in LASTING_TYPES), key=lambda event: event.position
    )


async def kept(store: Any) -> list[int]:
    """The positions of the events that are still there."""
    return [event.position for event in await events(store)]


async def with_payload(store: Any) -> list[int]:
    return [event.position for event in await events(store) if event.payload is not None]


async def announcements(store: Any) -> list[Event]:
    page = await store.list_events(Viewer(TENANT), Query(event_types=ANNOUNCING), PageRequest(limit=100))
    return sorted(page.events, key=lambda event: event.position)


async def announced(store: Any) -> list[list[int]]:
    """The positions that each announcement names."""
    return [list(positions_in(parse_announcement(event.payload or b"").ranges)) for event in await announcements(store)]


async def until(is_so: Callable[[], bool]) -> None:
    """Return when something is so, at most 10 seconds later."""
    for _ in range(1_000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    pytest.fail("It did not come so far.")


async def until_done(store: Any, count: int) -> None:
    """Return when so many requests are done, at most 10 seconds later."""
    for _ in range(1_000):
        if len(await store.followers.list_definitions(DONE, TENANT)) >= count:
            return
        await asyncio.sleep(0.01)
    pytest.fail("The requests are not done.")


def nothing_is_held(_definition: Definition) -> Hold:
    return Hold(query=Query(event_types=("never.seen",)), q="", reason="", by=BY, created_at=0)


async def done_already(_self: Any, *_: Any) -> None:
    """Mutant: leaves out a step."""


holds_are_ignored = replaced(legal_holds, "hold_of", nothing_is_held, "holds_are_ignored")
