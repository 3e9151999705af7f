"""Pages share their events while these are in memory, and show no event that was removed."""

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from tests.contract.made import TENANT, new, stored
from tests.unit.mutants import catches, replaced
from whence.events import Event, Page, PageRequest, Query, Viewer
from whence.recent import RecentlyUsed
from whence.storage import create_store
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.event_cache import EventCache
from whence.wire import event as wire_event
from whence.wire.event import encode_page

SECRET = b'{"name":"Ada Lovelace"}'
ERASE = """
UPDATE event SET payload = NULL, salt = NULL, payload_hash = zeroblob(32);
UPDATE tenant SET removal_epoch = removal_epoch + 1;
"""
"""What an erasure does."""


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str) -> AsyncIterator[SQLiteStore]:
    made = create_store(f"sqlite:///{tmp_path}/log.db")
    assert isinstance(made, SQLiteStore)
    await stored(made, new(1, payload=SECRET), new(2), new(3, payload=b'{"text":"%s"}' % (b"x" * 9_000)))
    yield made
    await made.close()


async def page_of(store: SQLiteStore, tenant: str = TENANT) -> Page:
    return await store.list_events(Viewer(tenant), Query(), PageRequest(ascending=True))


async def test_pages_share_their_events(store: SQLiteStore) -> None:
    """The same object, and so the same bytes. One with a large payload is read each time."""
    first, second = await page_of(store), await page_of(store)
    assert first == second
    assert [a is b for a, b in zip(first.events, second.events, strict=True)] == [True, True, False]
    assert encode_page(first, shared=True) == encode_page(second, shared=True) == encode_page(first)


def whatever_the_epoch(self: EventCache, key: int, removal_epoch: int) -> Event | None:
    return next((self._events.get((key, epoch)) for epoch in range(removal_epoch + 1)), None)


@catches(replaced(EventCache, "find", whatever_the_epoch, "the_epoch_is_ignored"))
async def test_a_reader_of_an_older_state_brings_nothing_back(store: SQLiteStore) -> None:
    """What it adds after a removal is found by nobody who reads the newer state."""
    cache, [event, *_] = EventCache(), (await page_of(store)).events
    cache.see_epoch(1, 1)
    cache.add(1, 0, event)
    assert cache.find(1, 0) is event
    assert cache.find(1, 1) is None


@catches(replaced(EventCache, "see_epoch", lambda *_: None, "nothing_is_forgotten"))
async def test_an_erasure_by_another_process_is_seen_at_once(store: SQLiteStore, tmp_path: Path) -> None:
    """The next page is without the payload, though its event was in memory."""
    assert SECRET in encode_page(await page_of(store), shared=True)
    with apsw.Connection(f"{tmp_path}/log.db") as other:
        other.execute(ERASE)
    after = await page_of(store)
    assert [event.payload for event in after.events] == [None, None, None]
    assert SECRET not in encode_page(after, shared=True)
    young = [store._events._events._young, wire_event._encoded._young]
    assert not [kept for each in young for kept, _ in each.values() if SECRET in repr(kept).encode()]


def by_position(self: EventCache, key: int, removal_epoch: int) -> Event | None:
    found = (event for (known, _), (event, _) in self._events._young.items() if known & 0xFFFF == key & 0xFFFF)
    return next(found, None)


@catches(replaced(EventCache, "find", by_position, "tenants_share_positions"))
async def test_tenants_share_nothing(store: SQLiteStore) -> None:
    """The same position of another tenant is another event."""
    await page_of(store)
    await stored(store, new(1, actor_id="eve"), tenant="other")
    assert [event.actor_id for event in (await page_of(store, "other")).events] == ["eve"]


async def test_the_bytes_in_memory_are_bounded(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is read again."""
    monkeypatch.setattr(store._events, "_events", RecentlyUsed(4_000))
    await stored(store, *(new(number) for number in range(10, 30)))
    first, second = await page_of(store), await page_of(store)
    assert first == second
    young, old = store._events._events._young, store._events._events._old
    assert len(young) + len(old) < 4
