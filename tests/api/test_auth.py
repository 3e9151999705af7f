"""Who asks: carriers, API keys, sessions, cookies that write, the throttle, and what must not be seen."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.credentials import SECRET, Clock, bearer, cookie, jwt_of, new_key, new_session, refused, request, us_now
from tests.unit.mutants import catches, replaced
from whence.api import auth
from whence.api.auth import Authenticator
from whence.api.operator_tokens import OperatorToken, seal_token
from whence.errors import Forbidden, Throttled, Unauthenticated, Unavailable
from whence.permissions import new_api_key, new_operator_key, new_session_secret, session_hash
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import Store, create_store
from whence.storage.deletions import TenantDeletion


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = create_store(f"sqlite:///{tmp_path / 'whence.db'}")
    yield opened
    await opened.close()


# Carriers


async def test_each_carrier_takes_its_credentials(store: Store) -> None:
    """Bearer: a key or a JWT. X-API-Key: a key. The cookie: a session or a JWT."""
    authenticator = Authenticator(Settings(jwt_secret=SECRET), store)
    secret, key = await new_key(store)
    session, token = await new_session(store, key), jwt_of()
    for header in (bearer(secret), ("authorization", f"bEARER  {secret}"), ("X-API-Key", secret), cookie(session)):
        principal = await authenticator.authenticate(request(header))
        assert (principal.tenant, principal.key_id, principal.subject) == ("acme", key.id, key.id)
        assert principal.via_cookie is (header[0] == "Cookie")
    for header in (bearer(token), cookie(token), ("Cookie", f"a=b; vai_token={token};c")):
        principal = await authenticator.authenticate(request(header))
        assert (principal.tenant, principal.key_id) == ("acme", None)
    for header in (("X-API-Key", token), ("X-API-Key", session), bearer(session), cookie(secret)):
        assert await refused(authenticator, request(header))


async def test_the_first_carrier_decides_and_never_falls_through(store: Store) -> None:
    authenticator = Authenticator(Settings(), store)
    first, first_key = await new_key(store)
    second, second_key = await new_key(store)
    session = await new_session(store, first_key)
    bad = first[:-1] + ("a" if first[-1] != "a" else "b")

    async def who(*headers: tuple[str, str]) -> str | None:
        return (await authenticator.authenticate(request(*headers))).key_id

    assert await who(cookie("bad"), ("X-API-Key", second), bearer(first)) == first_key.id
    assert await who(cookie("bad"), ("X-API-Key", second)) == second_key.id
    for authorization in (f"Bearer {bad}", "Bearer", "Bearer ", "", f"Basic {first}", first, f"Bearer {first} x"):
        headers = (("Authorization", authorization), ("X-API-Key", second), cookie(session))
        assert await refused(authenticator, request(*headers)), authorization
    for api_key in (bad, "", f"Bearer {second}"):
        assert await refused(authenticator, request(("X-API-Key", api_key), cookie(session)))
    assert await refused(authenticator, request())


async def test_a_carrier_sent_twice_is_refused_even_if_both_are_good(store: Store) -> None:
    authenticator = Authenticator(Settings(), store)
    secret, key = await new_key(store)
    session = await new_session(store, key)
    twice = [
        [bearer(secret), bearer(secret)],
        [("X-API-Key", secret), ("X-API-Key", secret)],
        [cookie(session), cookie(session)],
        [("Cookie", f"vai_token={session}; vai_token={session}")],
        [("Authorization", f"Bearer {secret}, Bearer {secret}")],
    ]
    for headers in twice:
        assert await refused(authenticator, request(*headers)), headers
    assert (await authenticator.authenticate(request(("Cookie", "xvai_token=1"), cookie(session)))).key_id == key.id


# Keys and sessions


async def test_a_key_that_is_unknown_expired_or_revoked_is_refused(store: Store) -> None:
    authenticator = Authenticator(Settings(), store)
    unknown, _ = new_api_key("acme", ("events:read",), us_now())
    expired, _ = await new_key(store, expires_at=us_now() - 1)
    revoked, key = await new_key(store)
    await store.credentials.revoke_key("acme", key.id, us_now())
    for secret in (unknown, expired, revoked):
        assert await refused(authenticator, request(bearer(secret)))


async def test_a_key_that_expires_while_it_is_remembered_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = Authenticator(Settings(), store, Clock())
    expires_at = us_now() + 60_000_000
    secret, _ = await new_key(store, expires_at=expires_at)
    assert not await refused(authenticator, request(bearer(secret)))
    monkeypatch.setattr("whence.api.auth._now_us", lambda: expires_at)
    assert await refused(authenticator, request(bearer(secret)))


async def test_a_revoked_key_is_dead_within_a_tenth_of_a_second_and_a_new_one_works_at_once(store: Store) -> None:
    """What was found is kept for a tenth of a second from the question; what was not found never is."""
    clock = Clock()
    authenticator = Authenticator(Settings(), store, clock)
    secret, key = new_api_key("acme", ("events:read",), us_now())
    assert await refused(authenticator, request(bearer(secret)))
    await store.credentials.put_key(key)
    assert not await refused(authenticator, request(bearer(secret)))
    await store.credentials.revoke_key("acme", key.id, us_now())
    clock.now += 0.099
    assert not await refused(authenticator, request(bearer(secret)))
    clock.now += 0.001
    assert await refused(authenticator, request(bearer(secret)))


async def test_what_is_remembered_can_be_forgotten(store: Store) -> None:
    authenticator = Authenticator(Settings(), store, Clock())
    secret, key = await new_key(store)
    session = await new_session(store, key)
    for header in (bearer(secret), cookie(session)):
        assert not await refused(authenticator, request(header))
    await store.credentials.revoke_key("acme", key.id, us_now())
    authenticator.forget_key(key.id)
    for header in (bearer(secret), cookie(session)):
        assert await refused(authenticator, request(header))


async def never(*_: object) -> None:
    """Mutant: what is cached is not looked up again."""


@catches(replaced(Authenticator, "_renew", never, "keys_are_forgotten_in_use"))
async def test_a_key_in_use_is_looked_up_before_it_is_forgotten(store: Store) -> None:
    """Else all of its requests would wait for that, ten times a second. When it has ended, that is seen the sooner."""
    clock = Clock()
    authenticator = Authenticator(Settings(), store, clock)
    secret, key = await new_key(store)
    await authenticator.authenticate(request(bearer(secret)))
    for _ in range(5):
        clock.now += 0.06
        assert authenticator.known(request(bearer(secret)))
        await asyncio.gather(*authenticator._renewals.values())
    await store.credentials.revoke_key("acme", key.id, us_now())
    clock.now += 0.06
    assert authenticator.known(request(bearer(secret)))
    await asyncio.gather(*authenticator._renewals.values())
    assert authenticator.known(request(bearer(secret))) is None


def ever(self: Any, hashed: bytes, known: Any) -> None:
    """Mutant: a lookup is cached whatever happened since it began."""
    self._known[hashed] = known


@catches(replaced(auth._KeyCache, "put", ever, "what_ended_meanwhile_is_cached"))
async def test_what_was_found_before_it_ended_is_not_cached(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup may have begun before a key was revoked, and end after that."""
    authenticator = Authenticator(Settings(), store, Clock())
    secret, key = await new_key(store)
    find_key = store.credentials.find_key

    async def revoked_meanwhile(hashed: bytes) -> Any:
        found = await find_key(hashed)
        await store.credentials.revoke_key("acme", key.id, us_now())
        authenticator.forget_key(key.id)
        return found

    monkeypatch.setattr(store.credentials, "find_key", revoked_meanwhile)
    await authenticator.authenticate(request(bearer(secret)))
    monkeypatch.setattr(store.credentials, "find_key", find_key)
    assert await refused(authenticator, request(bearer(secret)))


async def test_the_memory_of_keys_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whence.api.auth._KEYS_KEPT", 3)
    authenticator = Authenticator(Settings(), store, Clock())
    made = [await new_key(store) for _ in range(4)]
    for secret, _ in made:
        await authenticator.authenticate(request(bearer(secret)))
    for _, key in made:
        await store.credentials.revoke_key("acme", key.id, us_now())
    gone = [await refused(authenticator, request(bearer(secret))) for secret, _ in made]
    assert gone == [True, False, False, False]


async def test_a_session_ends_by_itself_and_with_its_key(store: Store) -> None:
    clock = Clock()
    authenticator = Authenticator(Settings(), store, clock)
    _, key = await new_key(store, "events:read", "events:write")
    over = await new_session(store, key, us_now() - 1)
    ended, alive = await new_session(store, key), await new_session(store, key)
    assert await refused(authenticator, request(cookie(over)))
    assert await refused(authenticator, request(cookie(new_session_secret())))
    principal = await authenticator.authenticate(request(cookie(alive)))
    assert principal.scopes == {"events:read", "events:write"}
    assert not await refused(authenticator, request(cookie(ended)))
    hashed = session_hash(ended)
    assert hashed is not None
    await store.credentials.end_session(hashed)
    authenticator.forget(hashed)
    assert await refused(authenticator, request(cookie(ended)))
    await store.credentials.revoke_key("acme", key.id, us_now())
    clock.now += 0.5
    assert await refused(authenticator, request(cookie(alive)))


async def test_many_requests_at_once_with_one_credential_look_it_up_a_few_times(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the later ones wait. Else the flood of one tenant delays all who come from the same address."""
    clock = Clock()
    authenticator = Authenticator(Settings(), store, clock)
    secret, key = await new_key(store)
    session = await new_session(store, key)
    lookups = 0

    def slow(find: Any) -> Any:
        async def look_up(hashed: bytes) -> Any:
            nonlocal lookups
            lookups += 1
            clock.now += 0.03
            await asyncio.sleep(0)
            return await find(hashed)

        return look_up

    monkeypatch.setattr(store.credentials, "find_key", slow(store.credentials.find_key))
    monkeypatch.setattr(store.credentials, "find_session", slow(store.credentials.find_session))
    for header in (bearer(secret), cookie(session)):
        lookups = 0
        asked = [authenticator.authenticate(request(header)) for _ in range(60)]
        assert {principal.key_id for principal in await asyncio.gather(*asked)} == {key.id}
        assert lookups <= 4


@catches(
    replaced(auth, "_HANGING_S", 1e9, "each_waits_for_the_store"),
    replaced(auth, "_HANGING_S", 0.0, "every_failure_is_that_of_all"),
)
async def test_who_waits_for_a_lookup_does_not_wait_for_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the store does not answer, it would not have answered those who wait either. A lookup that fails at once
    says nothing of the others."""
    clock = Clock()
    authenticator = Authenticator(Settings(), store, clock)
    secret, _ = await new_key(store)
    find_key, seconds, failures = store.credentials.find_key, 1.8, [True] * 60

    async def fails(hashed: bytes) -> Any:
        await asyncio.sleep(0)
        if failures and failures.pop():
            clock.now += seconds
            raise Unavailable("The store does not answer.")
        return await find_key(hashed)

    async def refusals() -> int:
        asked = [authenticator.authenticate(request(bearer(secret))) for _ in range(60)]
        return sum(isinstance(each, Unavailable) for each in await asyncio.gather(*asked, return_exceptions=True))

    monkeypatch.setattr(store.credentials, "find_key", fails)
    assert await refusals() == 60
    assert len(failures) >= 56
    seconds, failures = 0.01, [True] * 2  # those that are looked up at once
    assert await refusals() == 2


def one_that_has_begun(authenticator: Authenticator) -> Any:
    """Mutant of `_former_logs`: a request takes what was read before it came, or is read now."""
    running: list[Any] = []
    real = authenticator._former_logs

    async def former_logs(scope: Any, tenant: str) -> Any:
        if not running:
            running.append(asyncio.create_task(real(scope, tenant)))
        return await asyncio.shield(running[0])

    return former_logs


@pytest.mark.parametrize("is_mutant", [False, True])
async def test_tokens_of_operators_share_lookups_and_see_each_deletion(
    store: Store, monkeypatch: pytest.MonkeyPatch, is_mutant: bool
) -> None:
    """A few lookups serve all that wait. A request that comes after a deletion sees it, also beside slower ones."""
    sealer = StoreSecret("the secret of the store that is asked here").sealer("operators' tokens")
    authenticator = Authenticator(Settings(), store, tokens=sealer)
    if is_mutant:
        monkeypatch.setattr(authenticator, "_former_logs", one_that_has_begun(authenticator))
    _, operator = new_operator_key(("events:read",), us_now())
    await store.credentials.put_key(operator)
    await new_key(store)
    now = us_now()
    token = request(bearer(seal_token(sealer, OperatorToken(operator.id, "acme", ("events:read",), now + 10**9, now))))
    real, read, began, answer = store.deletions.former_logs, 0, asyncio.Event(), asyncio.Event()

    async def slow(tenant: str | None = None) -> Any:
        nonlocal read
        read += 1
        found = await real(tenant)
        began.set()
        await answer.wait()
        return found

    monkeypatch.setattr(store.deletions, "former_logs", slow)
    asked = [asyncio.create_task(authenticator.authenticate(token)) for _ in range(120)]
    await began.wait()
    await store.deletions.delete_tenant("acme", TenantDeletion(size=0, deleted_at=us_now()))
    late = asyncio.create_task(refused(authenticator, token))
    await asyncio.sleep(0.01)
    answer.set()
    assert {principal.tenant for principal in await asyncio.gather(*asked)} == {"acme"}
    assert await late is not is_mutant
    assert read <= 5


async def test_the_last_use_is_noted_in_the_store_at_the_end(store: Store) -> None:
    authenticator = Authenticator(Settings(), store)
    await authenticator.start()
    before = us_now()
    secret, key = await new_key(store)
    await authenticator.authenticate(request(bearer(secret)))
    kept = await store.credentials.get_key(key.id)
    assert kept is not None
    assert kept.last_used_at is None
    await authenticator.close()
    kept = await store.credentials.get_key(key.id)
    assert kept is not None
    assert kept.last_used_at is not None
    assert before <= kept.last_used_at <= us_now()


async def test_the_last_use_is_noted_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot at one time is asked again at the next."""
    monkeypatch.setattr("whence.api.auth._FLUSH_S", 0.01)
    touch, failures = store.credentials.touch_keys, [Unavailable("not now")]
    noted = asyncio.Event()

    async def fail_first(used: dict[str, int]) -> None:
        if failures:
            raise failures.pop()
        await touch(used)
        noted.set()

    monkeypatch.setattr(store.credentials, "touch_keys", fail_first)
    authenticator = Authenticator(Settings(), store)
    secret, key = await new_key(store)
    await authenticator.authenticate(request(bearer(secret)))
    await authenticator.start()
    await asyncio.wait_for(noted.wait(), 5)
    assert not failures
    kept = await store.credentials.get_key(key.id)
    assert kept is not None
    assert kept.last_used_at is not None
    await authenticator.close()


# Cookies that write


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ([], False),
        ([("Sec-Fetch-Site", "same-origin")], True),
        ([("Sec-Fetch-Site", "same-site"), ("Origin", "http://log.example")], False),
        ([("Sec-Fetch-Site", "cross-site")], False),
        ([("Sec-Fetch-Site", "none")], False),
        ([("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")], False),
        ([("Origin", "http://log.example")], True),
        ([("Origin", "HTTP://LOG.example:80")], True),
        ([("Origin", "https://log.example")], False),
        ([("Origin", "http://log.example:8080")], False),
        ([("Origin", "http://log.example.evil.example")], False),
        ([("Origin", "http://log.example/")], False),
        ([("Origin", "null")], False),
        ([("Origin", "")], False),
        ([("Origin", "http://log.example"), ("Origin", "http://log.example")], False),
        ([("Origin", "http://evil.example"), ("X-Forwarded-Host", "evil.example")], False),
    ],
)
async def test_a_cookie_writes_only_for_its_own_origin(
    store: Store, headers: list[tuple[str, str]], allowed: bool
) -> None:
    """It reads for any, since a page of another origin cannot see the answer; a header is no browser's own doing."""
    authenticator = Authenticator(Settings(jwt_secret=SECRET), store)
    secret, key = await new_key(store, "events:write")
    for value in (await new_session(store, key), jwt_of()):
        sent = [cookie(value), ("Host", "log.example"), *headers]
        for method in ("GET", "HEAD"):
            assert (await authenticator.authenticate(request(*sent, method=method))).via_cookie
        for method in ("POST", "DELETE", "PUT", "PATCH"):
            if allowed:
                assert (await authenticator.authenticate(request(*sent, method=method))).via_cookie
            else:
                with pytest.raises(Forbidden):
                    await authenticator.authenticate(request(*sent, method=method))
    assert not await refused(authenticator, request(bearer(secret), *headers, method="POST"))


async def test_a_bad_cookie_that_writes_is_unauthenticated_before_it_is_forbidden(store: Store) -> None:
    authenticator = Authenticator(Settings(), store)
    assert await refused(authenticator, request(cookie(new_session_secret()), method="POST"))


async def test_behind_a_trusted_proxy_the_origin_is_the_one_the_browser_saw(store: Store) -> None:
    authenticator = Authenticator(Settings(trusted_proxies=("10.0.0.0/8",)), store)
    _, key = await new_key(store, "events:write")
    sent = [
        cookie(await new_session(store, key)),
        ("Host", "inner:8700"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "log.example"),
        ("Origin", "https://log.example"),
    ]
    assert (await authenticator.authenticate(request(*sent, method="POST", client=("10.1.1.1", 1)))).via_cookie
    with pytest.raises(Forbidden):
        await authenticator.authenticate(request(*sent, method="POST", client=("192.0.2.1", 1)))


# The throttle and addresses


async def test_many_bad_credentials_are_throttled_and_a_good_one_never(store: Store) -> None:
    clock = Clock()
    authenticator = Authenticator(Settings(bad_credentials_per_minute=3), store, clock)
    secret, _ = await new_key(store)
    for _ in range(10):
        assert await refused(authenticator, request())  # no credential is not a bad one
    for _ in range(3):
        assert await refused(authenticator, request(bearer("bad")))
    clock.now += 20.5
    for _ in range(2):
        with pytest.raises(Throttled) as caught:
            await authenticator.authenticate(request(("X-API-Key", "bad")))
        assert caught.value.retry_after_s == 40
    assert not await refused(authenticator, request(bearer(secret)))
    assert await refused(authenticator, request())
    assert await refused(authenticator, request(bearer("bad"), client=("192.0.2.2", 5)))
    clock.now += 39.5
    assert await refused(authenticator, request(bearer("bad")))


async def test_the_throttle_counts_an_ipv6_network_as_one(store: Store) -> None:
    authenticator = Authenticator(Settings(bad_credentials_per_minute=1), store)
    assert await refused(authenticator, request(bearer("bad"), client=("2001:db8::1", 5)))
    with pytest.raises(Throttled):
        await authenticator.authenticate(request(bearer("bad"), client=("2001:db8::ffff:1", 5)))
    for other in (("2001:db8:0:1::1", 5), ("::1", 5), None):
        assert await refused(authenticator, request(bearer("bad"), client=other))


async def test_the_table_of_addresses_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one whose minute began first is forgotten first."""
    monkeypatch.setattr("whence.api.auth._ADDRESSES_KEPT", 2)
    authenticator = Authenticator(Settings(bad_credentials_per_minute=1), store, Clock())

    async def bad_from(last: int) -> bool:
        return await refused(authenticator, request(bearer("bad"), client=(f"192.0.2.{last}", 5)))

    assert [await bad_from(last) for last in (1, 2, 3, 1)] == [True, True, True, True]
    with pytest.raises(Throttled):
        await bad_from(3)
    assert len(authenticator._throttle._windows) == 2


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.9, 10.0.0.2,10.0.0.3"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.9:443"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["203.0.113.9" + ",10.0.0.2" * 5000], "10.0.0.2"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("::1", ["203.0.113.9"], "203.0.113.9"),
        ("nonsense", ["203.0.113.9"], ""),
    ],
)
def test_the_client_is_the_last_address_that_is_not_a_trusted_proxy(
    peer: str, forwarded: list[str], address: str
) -> None:
    authenticator = Authenticator(Settings(trusted_proxies=("10.0.0.0/8", "::1")), no_store())
    asked = request(*(("X-Forwarded-For", line) for line in forwarded), client=(peer, 1))
    assert authenticator.client_address(asked.scope) == address


def no_store() -> Any:
    """Stands where a store is never asked."""
    return None


# What must not be seen


async def test_no_secret_is_logged_or_shown(
    store: Store, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    authenticator = Authenticator(Settings(jwt_secret=SECRET), store)
    secret, key = await new_key(store)
    session, token = await new_session(store, key), jwt_of()
    shown = []
    for header in (bearer(secret), cookie(session), bearer(token), bearer(token + "x"), ("X-API-Key", secret[:-1])):
        try:
            shown.append(repr(await authenticator.authenticate(request(header))))
        except Unauthenticated as error:
            shown.append(repr(error))
    await authenticator.close()
    printed = capsys.readouterr()
    text = "".join((*shown, printed.out, printed.err, caplog.text))
    for hidden in (secret[4:30], session[4:30], token.split(".")[2], SECRET):
        assert hidden not in text
