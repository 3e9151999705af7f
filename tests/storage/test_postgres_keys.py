"""Several servers change keys and sessions at the same time without a deadlock."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.databases import fresh_database, until_blocked
from tests.unit.mutants import catches
from whence.errors import Throttled, Unavailable
from whence.permissions import ApiKey, new_api_key
from whence.storage import Session, create_store
from whence.storage.credentials import key_values
from whence.storage.deletions import TenantDeletion
from whence.storage.postgres import credentials, deletions

PROMPTLY_S = 2.0
"""Far below the lock timeout."""


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
    """A connection of another server."""
    made = await asyncpg.connect(url)
    await made.execute("SET search_path TO whence")
    yield made
    await made.close()


async def _touched_crosswise(store: Any, other: Any, keys: list[ApiKey]) -> None:
    """Another server updates the first key and then the second, while this one updates both."""
    first, second = [key.id for key in keys]
    at: dict[str, int] = {second: 5, first: 5}
    transaction = other.transaction()
    await transaction.start()
    await other.execute(credentials._SQL["lock_key_uses"])
    await other.execute(credentials._SQL["touch_key"], [first], [4])
    touching = asyncio.create_task(store.credentials.touch_keys(at))
    await until_blocked(store._target._dsn)
    assert not touching.done()
    await other.execute(credentials._SQL["touch_key"], [second], [4])
    await transaction.commit()
    await touching
    assert [(await store.credentials.get_key(key.id)).last_used_at for key in keys] == [5, 5]


async def _two_keys(store: Any) -> list[ApiKey]:
    made = [new_api_key("acme", ("events:read",), 1)[1] for _ in range(2)]
    for key in made:
        await store.credentials.put_key(key)
    return made


@pytest.mark.parametrize("turned", [False, True])
async def test_two_servers_touch_the_same_keys(store: Any, other: Any, turned: bool) -> None:
    """In either order, one server waits for the other."""
    keys = await _two_keys(store)
    await _touched_crosswise(store, other, keys[::-1] if turned else keys)


async def test_without_the_advisory_lock_they_would_deadlock(
    store: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails in one of the two orders: PostgreSQL cancels one of the two transactions."""
    monkeypatch.setattr(credentials, "_SQL", {**credentials._SQL, "lock_key_uses": "SELECT 1"})
    keys = await _two_keys(store)
    ended = 0
    for order in (keys, keys[::-1]):
        try:
            await _touched_crosswise(store, other, order)
        except (asyncpg.DeadlockDetectedError, Unavailable):
            ended += 1
            if other.is_in_transaction():
                await other.execute("ROLLBACK")
    assert ended


async def _put_beside(store: Any, other: Any) -> None:
    """Store a session while another server has deleted an expired one and has not yet committed."""
    await store.credentials.put_session(Session(b"o" * 32, "key", 1))
    async with other.transaction():
        assert await other.fetchval(credentials._SQL["try_lock_sessions"])
        assert await other.execute(credentials._SQL["delete_expired_sessions"], 2) == "DELETE 1"
        async with asyncio.timeout(PROMPTLY_S):
            await store.credentials.put_session(Session(b"n" * 32, "key", 1 << 60))
    assert await store.credentials.find_session(b"n" * 32) is not None


async def test_a_new_session_does_not_wait_for_expired_ones_to_be_deleted(store: Any, other: Any) -> None:
    """When another server is deleting them, the new session is stored at once."""
    await _put_beside(store, other)
    assert await store.credentials.find_session(b"o" * 32) is None


async def test_a_server_that_deletes_them_anyway_would_wait(
    store: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails for a server that does not try the lock first."""
    real = dict(credentials._SQL)
    monkeypatch.setattr(credentials, "_SQL", {**real, "try_lock_sessions": "SELECT true"})
    with pytest.raises(TimeoutError):
        await _put_beside(store, other)


async def _revoked_beside(store: Any, other: Any) -> None:
    """Revoke a key while another server deletes two of its sessions in one transaction."""
    key, _ = await _two_keys(store)
    for number in range(3):
        await store.credentials.put_session(Session(bytes([number]) * 32, key.id, 1 << 60))
    async with other.transaction():
        assert await other.fetchval(credentials._SQL["try_lock_sessions"])
        await other.execute(credentials._SQL["end_session"], bytes([2]) * 32)
        revoking = asyncio.create_task(store.credentials.revoke_key("acme", key.id, 7))
        await until_blocked(store._target._dsn)
        assert not revoking.done()
        await other.execute(credentials._SQL["end_session"], bytes([0]) * 32)
    assert await revoking
    assert [await store.credentials.find_session(bytes([number]) * 32) for number in range(3)] == [None] * 3


async def test_a_revocation_waits_for_sessions_that_are_being_deleted(store: Any, other: Any) -> None:
    """It waits for the other server before it locks any session row itself."""
    await _revoked_beside(store, other)


async def test_a_revocation_without_the_lock_would_deadlock(
    store: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails: PostgreSQL cancels one of the two transactions."""
    monkeypatch.setattr(credentials, "_SQL", {**credentials._SQL, "lock_sessions": "SELECT 1"})
    with pytest.raises((asyncpg.DeadlockDetectedError, Unavailable)):
        await _revoked_beside(store, other)


async def _made_at_once(store: Any, url: str) -> list[Any]:
    """Two servers each make a key when one more is allowed; the errors."""
    second = create_store(url)
    now = 1 << 50
    try:
        for number, server in enumerate((store, second)):  # so that both have connected
            await server.credentials.put_key(new_api_key("acme", ("admin",), now + number)[1])
        keys = [new_api_key("acme", ("admin",), now + 9)[1] for _ in range(2)]
        made = [
            server.credentials.put_key(key, limited=True) for server, key in zip((store, second), keys, strict=True)
        ]
        return [error for error in await asyncio.gather(*made, return_exceptions=True) if error is not None]
    finally:
        await second.close()


def _counting_slowly(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """Let one key more be allowed, and let each transaction pause after it has counted the keys."""
    monkeypatch.setattr("whence.storage.credentials.KEYS_ALIVE_MAX", 3)
    slow = credentials._SQL["count_keys"] + ", (SELECT pg_sleep(0.6))::text"
    monkeypatch.setattr(credentials, "_SQL", {**credentials._SQL, "count_keys": slow, **more})
    real = credentials.keys_refusal
    monkeypatch.setattr(credentials, "keys_refusal", lambda alive, in_all, _slept: real(alive, in_all))


async def test_two_servers_cannot_pass_the_limit_together(
    store: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one counts after the first has committed."""
    _counting_slowly(monkeypatch)
    [error] = await _made_at_once(store, url)
    assert isinstance(error, Throttled)
    assert len(await store.credentials.list_keys("acme")) == 3


async def test_without_the_lock_two_servers_would_pass_it(
    store: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: both count before either has committed."""
    _counting_slowly(monkeypatch, lock_limit="SELECT $1::text")
    assert await _made_at_once(store, url) == []


def unlocked(patch: pytest.MonkeyPatch) -> None:
    """Mutant: nothing keeps a deletion from passing a key that is being added."""
    for module in (credentials, deletions):
        patch.setattr(module, "_SQL", {**module._SQL, "lock_limit": "SELECT $1::text"})


@catches(unlocked)
async def test_a_key_that_is_being_added_goes_with_its_tenant(store: Any, other: Any) -> None:
    """A deletion waits until another server has added its key, and sees that one too."""
    [first, second], now = [new_api_key("acme", ("events:read",), at)[1] for at in (1, 2)], time.time_ns() // 1_000
    await store.credentials.put_key(first)
    transaction = other.transaction()
    await transaction.start()
    await other.execute(credentials._SQL["lock_limit"], "acme")
    await other.execute(credentials._SQL["add_key"], *key_values(second))
    deleting = asyncio.create_task(store.deletions.delete_tenant("acme", TenantDeletion(size=0, deleted_at=now)))
    await asyncio.wait([deleting], timeout=0.3)
    assert not deleting.done()
    await transaction.commit()
    await deleting
    assert await store.credentials.list_keys("acme") == []


async def test_a_key_waits_for_a_deletion_that_is_going_on(store: Any, other: Any) -> None:
    """Whether the keys of the tenant are limited or not."""
    transaction = other.transaction()
    await transaction.start()
    await other.execute(credentials._SQL["lock_limit"], "acme")
    adding = asyncio.create_task(store.credentials.put_key(new_api_key("acme", ("events:read",), 1)[1]))
    await asyncio.wait([adding], timeout=0.3)
    assert not adding.done()
    await transaction.commit()
    await adding
