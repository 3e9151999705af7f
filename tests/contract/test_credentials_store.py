"""API keys and sessions: the promises of every store."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from tests.contract import broken_models as broken
from tests.contract import rarer_mutants
from tests.contract.faults import catches
from tests.contract.made import DAY, SECOND, TENANT
from whence.errors import Throttled, WhenceError
from whence.permissions import OPERATORS_TENANT, ApiKey, new_session_secret, session_hash
from whence.storage import Session, credentials
from whence.storage.credentials import KeyPlace

NOW = time.time_ns() // 1_000


def key(number: int, tenant: str = TENANT, **changes: Any) -> ApiKey:
    """A key whose id and hash are made from a number."""
    fields: dict[str, Any] = {
        "id": f"key_{number:016}",
        "hash": bytes([number]) * 32,
        "tenant": tenant,
        "scopes": ("events:read", "events:write"),
        "created_at": 1_000 + number,
        **changes,
    }
    return ApiKey(**fields)


def session(number: int, key_number: int = 1, expires_at: int = NOW + DAY) -> Session:
    return Session(bytes([100 + number]) * 32, f"key_{key_number:016}", expires_at)


@catches(broken.LiveKeysOnly)
async def test_a_key_comes_back_as_it_was_kept(store: Any) -> None:
    """A key is found by hash and by id with every field, also when it is expired or revoked."""
    kept = [
        key(1),
        key(2, name="the 2nd ä", scopes=("events:read:action_run",), expires_at=5, last_used_at=7),
        key(3, scopes=("admin",), revoked_at=9),
    ]
    for each in kept:
        await store.credentials.put_key(each)
    for each in kept:
        assert await store.credentials.find_key(each.hash) == each
        assert await store.credentials.get_key(each.id) == each
    assert await store.credentials.find_key(bytes(32)) is None
    assert await store.credentials.get_key("key_0000000000000009") is None


@catches(broken.KeysByName, rarer_mutants.keys_of_every_tenant)
async def test_a_tenants_keys_are_listed_oldest_first(store: Any) -> None:
    """Ordered by creation time, then by id; revoked ones are included, and no other tenant's."""
    kept = [key(3, created_at=1), key(1, created_at=3, revoked_at=8), key(4, created_at=2), key(2, created_at=2)]
    for each in (*kept, key(5, "other", created_at=2)):
        await store.credentials.put_key(each)
    assert await store.credentials.list_keys(TENANT) == [kept[0], kept[3], kept[2], kept[1]]
    assert [each.id for each in await store.credentials.list_keys("other")] == [key(5).id]
    assert await store.credentials.list_keys("nobody") == []


class PageByTime(broken.ModelStore):
    """The next page begins after the last time, and leaves out keys of the same microsecond."""

    async def list_keys(self, tenant: str, after: KeyPlace | None = None, limit: int | None = None) -> list[ApiKey]:
        return await super().list_keys(tenant, None if after is None else (after[0], "~"), limit)


@catches(PageByTime, rarer_mutants.keys_by_time_alone)
async def test_keys_are_listed_in_parts(store: Any) -> None:
    """Each part begins after the last key of the one before, also among keys of one moment."""
    kept = [key(number, created_at=5) for number in range(1, 6)] + [key(6, created_at=6)]
    for each in (*kept, key(7, "other")):
        await store.credentials.put_key(each)
    found: list[ApiKey] = []
    while part := await store.credentials.list_keys(TENANT, (found[-1].created_at, found[-1].id) if found else None, 2):
        assert len(part) <= 2
        found += part
    assert found == kept


class Unlimited(broken.ModelStore):
    def refuse(self, _refusal: WhenceError | None) -> None:
        return None


class DeadKeysCount(broken.ModelStore):
    async def put_key(self, key: ApiKey, *, limited: bool = False) -> None:
        kept = len(await self.list_keys(key.tenant))
        self.refuse(credentials.keys_refusal(kept, kept) if limited else None)
        await super().put_key(key)


@catches(Unlimited, DeadKeysCount, rarer_mutants.keys_are_not_limited, rarer_mutants.dead_keys_count_as_alive)
async def test_the_keys_of_a_tenant_are_limited(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are alive, and all. The operator's command has no limit, and other tenants have their own."""
    monkeypatch.setattr(credentials, "KEYS_ALIVE_MAX", 3)
    monkeypatch.setattr(credentials, "KEYS_MAX", 5)
    put = store.credentials.put_key
    await put(key(1), limited=True)
    await put(key(2, expires_at=1_002), limited=True)
    await put(key(3), limited=True)
    await put(key(4), limited=True)  # the second has expired when this one is made
    with pytest.raises(Throttled) as refused:
        await put(key(5), limited=True)
    assert refused.value.retry_after_s > 0
    assert await store.credentials.get_key(key(5).id) is None
    await store.credentials.revoke_key(TENANT, key(1).id, 50)
    await put(key(5), limited=True)
    await store.credentials.revoke_key(TENANT, key(3).id, 50)
    with pytest.raises(Throttled, match="with the revoked ones"):
        await put(key(6), limited=True)
    await put(key(6))
    await put(key(7, "other"), limited=True)


class SessionsOfAllTenants(broken.ModelStore):
    async def put_session(self, session: Session) -> None:
        await super().put_session(msgspec.structs.replace(session, tenant=None))


@catches(
    Unlimited,
    SessionsOfAllTenants,
    rarer_mutants.sessions_are_not_limited,
    rarer_mutants.sessions_of_all_tenants_count,
)
async def test_the_sessions_of_a_key_are_limited(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one key in one tenant. A place is free again when one has ended or expired."""
    monkeypatch.setattr(credentials, "SESSIONS_MAX", 2)
    put = store.credentials.put_session
    first_ends_at = NOW + DAY // 2
    await put(session(1, expires_at=first_ends_at))
    await put(session(2))
    before = time.time_ns() // 1_000
    with pytest.raises(Throttled) as refused:
        await put(session(3))
    after = time.time_ns() // 1_000
    assert first_ends_at - after <= refused.value.retry_after_s * SECOND <= first_ends_at - before + SECOND
    assert await store.credentials.find_session(session(3).hash) is None
    await put(session(4, 2))
    for number in (5, 6):
        scoped = msgspec.structs.replace(session(number), tenant="other", scopes=("events:read",))
        await put(scoped)
        assert await store.credentials.find_session(scoped.hash) == scoped
    await store.credentials.end_session(session(1).hash)
    await put(session(3))


class CeilingLost(broken.ModelStore):
    async def put_key(self, key: ApiKey, *, limited: bool = False) -> None:
        await super().put_key(msgspec.structs.replace(key, ceiling=key.ceiling or None), limited=limited)


@catches(CeilingLost, rarer_mutants.ceilings_are_lost)
async def test_an_operators_key_comes_back_as_it_was_kept(store: Any) -> None:
    """With its ceiling, which may be empty, and apart from the keys and the names of tenants."""
    for number, ceiling in ((1, ("events:read", "events:write")), (2, ())):
        kept = key(number, OPERATORS_TENANT, scopes=(), ceiling=ceiling)
        await store.credentials.put_key(kept)
        assert await store.credentials.get_key(kept.id) == kept
        assert await store.credentials.find_key(kept.hash) == kept
    assert len(await store.credentials.list_keys(OPERATORS_TENANT)) == 2
    assert await store.credentials.list_keys(TENANT) == []


@catches(broken.RevokedAnew, rarer_mutants.revoked_anew)
async def test_a_revocation_keeps_its_first_time(store: Any) -> None:
    """Revoking again returns True and changes nothing. An unknown key returns False."""
    await store.credentials.put_key(key(1))
    await store.credentials.put_key(key(2))
    assert await store.credentials.revoke_key(TENANT, key(1).id, 50)
    assert await store.credentials.revoke_key(TENANT, key(1).id, 60)
    found = await store.credentials.find_key(key(1).hash)
    assert found == msgspec.structs.replace(key(1), revoked_at=50)
    assert await store.credentials.find_key(key(2).hash) == key(2)
    assert not await store.credentials.revoke_key(TENANT, "key_0000000000000009", 50)


class AnyTenantRevokes(broken.ModelStore):
    async def revoke_key(self, _tenant: str, key_id: str, at: int) -> bool:
        found = await self.get_key(key_id)
        return found is not None and await super().revoke_key(found.tenant, key_id, at)


@catches(AnyTenantRevokes, rarer_mutants.revoked_by_any_tenant)
async def test_another_tenant_cannot_revoke_a_key(store: Any) -> None:
    """Neither the key nor its sessions end."""
    await store.credentials.put_key(key(1))
    await store.credentials.put_session(session(1))
    assert not await store.credentials.revoke_key("other", key(1).id, 50)
    assert await store.credentials.find_key(key(1).hash) == key(1)
    assert await store.credentials.find_session(session(1).hash) == session(1)


@catches(broken.SecretById, rarer_mutants.sessions_outlive_their_key)
async def test_sessions_end_with_their_key(store: Any) -> None:
    """Revoking a key ends its own sessions and no others."""
    for number in (1, 2):
        await store.credentials.put_key(key(number))
    for each in (session(1, 1), session(2, 1), session(3, 2)):
        await store.credentials.put_session(each)
    await store.credentials.revoke_key(TENANT, key(1).id, 50)
    assert await store.credentials.find_session(session(1).hash) is None
    assert await store.credentials.find_session(session(2).hash) is None
    assert await store.credentials.find_session(session(3).hash) == session(3, 2)


@catches(broken.ForgetfulLogout)
async def test_a_session_is_kept_until_it_is_ended(store: Any) -> None:
    """Ending a session ends only that one, and again does nothing. An expired session is still found."""
    hash_ = session_hash(new_session_secret())
    real = Session(hash_, key(1).id, NOW + DAY)
    await store.credentials.put_key(key(1))
    await store.credentials.put_session(session(1))
    await store.credentials.put_session(real)
    await store.credentials.put_session(session(2, expires_at=NOW - 1))
    assert await store.credentials.find_session(hash_) == real
    assert await store.credentials.find_session(session(2).hash) == session(2, expires_at=NOW - 1)
    await store.credentials.end_session(hash_)
    await store.credentials.end_session(hash_)
    assert await store.credentials.find_session(hash_) is None
    assert await store.credentials.find_session(session(1).hash) == session(1)


@catches(broken.SessionTakenTwice, rarer_mutants.sessions_are_taken_and_kept)
async def test_a_session_is_taken_once(store: Any) -> None:
    """Of many calls at the same time one gets it, and the others nothing. An expired one is taken too."""
    await store.credentials.put_key(key(1))
    scoped = msgspec.structs.replace(session(2, expires_at=NOW - 1), tenant="other", scopes=("events:read",))
    for each in (session(1), session(3), scoped):
        await store.credentials.put_session(each)
    taken = await asyncio.gather(*[store.credentials.take_session(session(1).hash) for _ in range(8)])
    assert [each for each in taken if each is not None] == [session(1)]
    assert await store.credentials.find_session(session(1).hash) is None
    assert await store.credentials.take_session(scoped.hash) == scoped
    assert await store.credentials.take_session(session(4).hash) is None
    assert await store.credentials.find_session(session(3).hash) == session(3)


@catches(broken.SessionsPileUp, rarer_mutants.ended_sessions_kept)
async def test_expired_sessions_are_deleted_when_a_new_one_is_stored(store: Any) -> None:
    """Storing a session deletes the expired ones, so the table does not keep growing."""
    await store.credentials.put_key(key(1))
    await store.credentials.put_session(session(1, expires_at=NOW - 1))
    await store.credentials.put_session(session(2, expires_at=NOW + 3_600 * SECOND))
    await store.credentials.put_session(session(3))
    assert await store.credentials.find_session(session(1).hash) is None
    assert await store.credentials.find_session(session(2).hash) is not None
    assert await store.credentials.find_session(session(3).hash) is not None


class EveryKeyTouched(broken.ModelStore):
    async def touch_keys(self, used: dict[str, int]) -> None:
        await super().touch_keys({each.id: at for each in self.keys for at in used.values()})


@catches(EveryKeyTouched, rarer_mutants.every_key_touched)
async def test_the_last_use_is_recorded_for_its_key(store: Any) -> None:
    """Several keys are updated at once; unknown ids and an empty dict change nothing."""
    for number in (1, 2, 3):
        await store.credentials.put_key(key(number))
    await store.credentials.touch_keys({key(1).id: 70, key(2).id: 80, "key_0000000000000009": 90})
    await store.credentials.touch_keys({})
    found = [await store.credentials.get_key(key(number).id) for number in (1, 2, 3)]
    assert [each.last_used_at for each in found] == [70, 80, None]


class LastUseGoesBack(broken.ModelStore):
    async def touch_keys(self, used: dict[str, int]) -> None:
        for key_id, at in used.items():
            self.change_key(key_id, lambda _key, at=at: {"last_used_at": at})


@catches(LastUseGoesBack, rarer_mutants.last_use_goes_back)
async def test_the_last_use_never_goes_back(store: Any) -> None:
    """Uses that are recorded out of order keep the latest time."""
    await store.credentials.put_key(key(1))
    for at in (70, 60, 75, 10):
        await store.credentials.touch_keys({key(1).id: at})
    found = await store.credentials.get_key(key(1).id)
    assert found == msgspec.structs.replace(key(1), last_used_at=75)
