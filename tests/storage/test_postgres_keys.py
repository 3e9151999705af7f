"""Keys and sessions that several servers change at the same moment: nobody waits in a circle."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.databases import fresh_database
from whence.errors import Unavailable
from whence.permissions import ApiKey, new_api_key
from whence.storage import Session, create_store
from whence.storage.postgres import keys

PROMPTLY_S = 2.0
"""Far less than a lock is waited for."""


@pytest.fixture
async def url(anyio_backend: str) -> str:
    return await fresh_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Any]:
    made = create_store(url)
    yield made
    await made.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[Any]:
    """A connection as another server has it."""
    made = await asyncpg.connect(url)
    await made.execute("SET search_path TO whence")
    yield made
    await made.close()


async def _touched_crosswise(store: Any, other: Any, told: list[ApiKey]) -> None:
    """Another server has touched the first key and goes on to the second, while this one touches both."""
    first, second = [key.id for key in told]
    at: dict[str, int] = {second: 5, first: 5}
    transaction = other.transaction()
    await transaction.start()
    await other.execute(keys._SQL["lock_key_uses"])
    await other.execute(keys._SQL["touch_key"], [first], [4])
    touching = asyncio.create_task(store.touch_keys(at))
    await asyncio.sleep(0.3)
    assert not touching.done()
    await other.execute(keys._SQL["touch_key"], [second], [4])
    await transaction.commit()
    await touching
    assert [(await store.get_key(key.id)).last_used_at for key in told] == [5, 5]


async def _two_keys(store: Any) -> list[ApiKey]:
    made = [new_api_key("acme", ("events:read",), 1)[1] for _ in range(2)]
    for key in made:
        await store.put_key(key)
    return made


@pytest.mark.parametrize("turned", [False, True])
async def test_two_servers_touch_the_same_keys(store: Any, other: Any, turned: bool) -> None:
    """In whichever order each goes through them, one comes behind the other."""
    told = await _two_keys(store)
    await _touched_crosswise(store, other, told[::-1] if turned else told)


async def test_without_their_lock_they_would_wait_in_a_circle(
    store: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above sees it, in one of the two orders: PostgreSQL ends one of them."""
    monkeypatch.setattr(keys, "_SQL", {**keys._SQL, "lock_key_uses": "SELECT 1"})
    told = await _two_keys(store)
    ended = 0
    for order in (told, told[::-1]):
        try:
            await _touched_crosswise(store, other, order)
        except (asyncpg.DeadlockDetectedError, Unavailable):
            ended += 1
            if other.is_in_transaction():
                await other.execute("ROLLBACK")
    assert ended


async def _put_beside(store: Any, other: Any) -> None:
    """A session is made while another server is forgetting an old one, and has not come to its end."""
    await store.put_session(Session(b"o" * 32, "key", 1))
    async with other.transaction():
        assert await other.fetchval(keys._SQL["may_forget_sessions"])
        assert await other.execute(keys._SQL["forget_sessions"], 2) == "DELETE 1"
        async with asyncio.timeout(PROMPTLY_S):
            await store.put_session(Session(b"n" * 32, "key", 1 << 60))
    assert await store.find_session(b"n" * 32) is not None


async def test_a_session_does_not_wait_for_old_ones_to_be_forgotten(store: Any, other: Any) -> None:
    """What another server is forgetting is left to it; afterwards the old one is gone and the new one there."""
    await _put_beside(store, other)
    assert await store.find_session(b"o" * 32) is None


async def test_one_that_forgets_all_the_same_would_wait(
    store: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above sees a server that does not ask whether it may."""
    real = dict(keys._SQL)
    monkeypatch.setattr(keys, "_SQL", {**real, "may_forget_sessions": "SELECT true"})
    with pytest.raises(TimeoutError):
        await _put_beside(store, other)


async def _revoked_beside(store: Any, other: Any) -> None:
    """A key is revoked while another server has ended one of its sessions and goes on to the next."""
    key, _ = await _two_keys(store)
    for number in range(3):
        await store.put_session(Session(bytes([number]) * 32, key.id, 1 << 60))
    async with other.transaction():
        assert await other.fetchval(keys._SQL["may_forget_sessions"])
        await other.execute(keys._SQL["end_session"], bytes([2]) * 32)
        revoking = asyncio.create_task(store.revoke_key("acme", key.id, 7))
        await asyncio.sleep(0.3)
        assert not revoking.done()
        await other.execute(keys._SQL["end_session"], bytes([0]) * 32)
    assert await revoking
    assert [await store.find_session(bytes([number]) * 32) for number in range(3)] == [None] * 3


async def test_a_key_is_revoked_behind_what_is_being_forgotten(store: Any, other: Any) -> None:
    """Ending a key's sessions waits for a server that forgets some of them, and holds none of them meanwhile."""
    await _revoked_beside(store, other)


async def test_a_revocation_without_the_lock_would_wait_in_a_circle(
    store: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above sees it: PostgreSQL ends one of the two."""
    monkeypatch.setattr(keys, "_SQL", {**keys._SQL, "lock_sessions": "SELECT 1"})
    with pytest.raises((asyncpg.DeadlockDetectedError, Unavailable)):
        await _revoked_beside(store, other)
