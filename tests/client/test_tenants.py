"""Clients for many tenants, with tokens that the backend signs."""

import base64
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api.conftest import Served, event, serving, wait_until
from tests.client.fake_server import accept, fake_server, unavailable
from tests.examples import soak
from tests.unit.mutants import catches, replaced
from whence.api.operator_tokens import PURPOSE
from whence.client import AsyncWhence, TenantToken, Whence, base_client
from whence.client.tokens import ExchangedToken
from whence.errors import Forbidden, WhenceError
from whence.permissions import READ, WRITE
from whence.sealing import StoreSecret

SECRET = "a secret that program and server share"
TENANTS = 1_000
SPOOLING = 1_000 if soak() else 200
"""Fewer outside of the soak tests, since each tenant costs some fsyncs."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("tenants"), jwt_secret=SECRET) as running:
        yield running


def claims(headers: dict[str, str]) -> dict[str, object]:
    part = headers["Authorization"].split(".")[1]
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded


def same_folder(url: str, tenant: str | None, key: str) -> str:
    return "all"


@pytest.mark.slow
def test_a_thousand_tenants_share_threads(served: Served, tmp_path: Path) -> None:
    """Each finds its own events in its log and no others. A few threads send all of them."""
    threads_before = threading.active_count()
    with Whence(served.url, jwt_secret=SECRET, spool=tmp_path / "spool") as backend:
        for turn in range(2):
            for number in range(TENANTS):
                backend.for_tenant(f"tenant-{number}").emit(event(actorId=f"{number}.{turn}"))
        for number in range(TENANTS):
            assert backend.for_tenant(f"tenant-{number}").flush(60)
        assert threading.active_count() - threads_before < 10
        for number in range(0, TENANTS, 50):
            tenant = backend.for_tenant(f"tenant-{number}")
            assert {each.actor_id for each in tenant.events()} == {f"{number}.0", f"{number}.1"}
            assert tenant.stats().stored == 2


@catches(replaced(base_client, "folder_name", same_folder, "one_spool_for_all"))
@pytest.mark.slow
def test_each_tenant_has_its_own_spool(tmp_path: Path) -> None:
    """Spooled events are later sent with the token of their tenant."""
    with fake_server() as server:
        server.rule = unavailable
        backend = Whence(server.url, jwt_secret=SECRET, spool=tmp_path / "spool", queue_events_max=1)
        tenants = [backend.for_tenant(f"tenant-{number}") for number in range(SPOOLING)]
        for number, tenant in enumerate(tenants):
            for turn in range(3):
                tenant.emit(event(actorId=f"tenant-{number}", payload={"turn": turn}))
        assert len({tenant.spool_folder for tenant in tenants}) == SPOOLING
        backend.close(0.05)
        server.batches.clear()
        server.headers.clear()
        server.rule = accept
        with Whence(server.url, jwt_secret=SECRET, spool=tmp_path / "spool") as next_backend:
            for number in range(SPOOLING):
                next_backend.for_tenant(f"tenant-{number}").flush(0.0)
            for number in range(SPOOLING):
                assert next_backend.for_tenant(f"tenant-{number}").flush(60)
        for headers, batch in zip(server.headers, server.batches, strict=True):
            assert {each["actorId"] for each in batch} == {claims(headers)["tenant_id"]}
        assert Counter(server.actors) == {f"tenant-{number}": 3 for number in range(SPOOLING)}


def test_an_error_of_one_tenant_does_not_stop_the_others(tmp_path: Path) -> None:
    """Their events are sent meanwhile."""
    with fake_server() as server:
        server.rule = lambda events: unavailable(events) if events[0]["actorId"] == "bad" else accept(events)
        with Whence(server.url, jwt_secret=SECRET, spool=tmp_path / "spool", exit_timeout_s=0.1) as backend:
            bad, good = backend.for_tenant("bad"), backend.for_tenant("good")
            bad.emit(event(actorId="bad"))
            wait_until(lambda: bad.stats().spooled == 1)
            good.emit(event(actorId="good"))
            assert good.flush(10)
            assert (bad.stats().error_code, good.stats().error_code) == ("unavailable", None)


def test_a_token_is_renewed_before_it_expires() -> None:
    """It is valid for 15 minutes, and replaced when a fifth of that is left."""
    now = [1_000_000.0]
    token = TenantToken("acme", SECRET, claims={"iss": "me"}, clock=lambda: now[0])
    first = token()
    assert claims(first) == {
        "tenant_id": "acme",
        "scope": "events:read events:write",
        "sub": "whence-client",
        "iss": "me",
        "iat": 1_000_000,
        "exp": 1_000_900,
    }
    now[0] += 719
    assert token() == first
    now[0] += 2
    assert claims(token())["exp"] == 1_000_721 + 900
    assert SECRET not in repr(token)


def test_a_token_is_limited_to_its_scope(served: Served) -> None:
    """The server checks the scope, and refuses a token that was signed with another secret."""
    with Whence(served.url, jwt_secret=SECRET) as backend:
        reader = backend.for_tenant("scoped", scope=READ)
        assert reader.list().total == 0
        with pytest.raises(WhenceError, match="events:write"):
            reader.emit(event(), durable=True)
        assert backend.for_tenant("scoped").emit(event(), durable=True).event.tenant_id == "scoped"
    with Whence(served.url, jwt_secret=SECRET + "?") as other, pytest.raises(WhenceError, match="credential"):
        other.for_tenant("scoped").list()


# --- tokens for an operator's key ------------------------------------------------------------------------------


def test_an_operators_key_is_exchanged_for_tokens_of_tenants(served: Served, tmp_path: Path) -> None:
    """Without a shared secret, as where the server takes tokens by a JWKS. Each tenant's events are in its own log."""
    key = served.operator_key(READ, WRITE)
    with Whence(served.url, key, spool=tmp_path / "spool") as backend:
        for tenant in ("first", "second"):
            log = backend.for_tenant(f"exchanged-{tenant}")
            log.emit(event(actorId=tenant))
            assert log.flush(10)
            assert {each.actor_id for each in log.events()} == {tenant}
            assert log.emit(event(actorId=tenant), durable=True).event.tenant_id == f"exchanged-{tenant}"
        nested = backend.for_tenant("exchanged-first").for_tenant("exchanged-second")
        assert nested.list().total == 2
        reader = backend.for_tenant("exchanged-first", scope=READ)
        with pytest.raises(Forbidden, match="events:write"):
            reader.emit(event(), durable=True)
        with pytest.raises(Forbidden, match="ceiling"):
            backend.for_tenant("exchanged-first", scope="admin").list()
        assert key not in repr(backend.for_tenant("exchanged-first").credential)


async def test_asyncio_exchanges_in_a_thread(served: Served) -> None:
    """The event loop goes on meanwhile."""
    async with AsyncWhence(served.url, served.operator_key(READ, WRITE), spool=False) as backend:
        log = backend.for_tenant("exchanged-async")
        await log.emit(event(), durable=True)
        await log.emit(event())
        assert await log.flush(10)
        assert (await log.list()).total == 2


def never_forgets(token: ExchangedToken) -> None:
    """Mutant: a token that the server refused is sent again."""


@catches(replaced(ExchangedToken, "forget", never_forgets, "a_refused_token_is_kept"))
def test_a_token_that_the_server_no_longer_knows_is_exchanged_anew(tmp_path: Path) -> None:
    """A server with another secret refuses the token of the one before. No event is lost, and no call fails."""
    with restarted(tmp_path) as (whence, restart):
        log = whence.for_tenant("acme")
        log.emit(event(), durable=True)
        restart()
        log.emit(event(), durable=True)
        restart()
        log.emit(event())
        assert log.flush(10)
        assert log.list().total == 3


@contextlib.contextmanager
def restarted(folder: Path) -> Iterator[tuple[Whence, Callable[[], None]]]:
    """A client with an operator's key, and a function that gives the server another secret."""
    with serving(folder) as served, Whence(served.url, served.operator_key(READ, WRITE), spool=False) as whence:

        def restart() -> None:
            sealer = StoreSecret.random().sealer(PURPOSE)
            app: Any = served.app
            context = app.app.context
            msgspec.structs.force_setattr(context, "tokens", sealer)
            context.authenticator._operator_tokens = sealer

        yield whence, restart


def test_a_token_is_exchanged_before_it_expires() -> None:
    """When a fifth of its lifetime is left, and at once after it was refused."""
    now, exchanged = [50.0], []

    def exchange() -> str:
        exchanged.append(now[0])
        return f"wht_{len(exchanged)}"

    token = ExchangedToken("acme", exchange, lifetime_s=100, clock=lambda: now[0])
    assert not token.is_fresh
    assert token() == token() == {"Authorization": "Bearer wht_1"}
    now[0] += 79
    assert token() == {"Authorization": "Bearer wht_1"}
    now[0] += 2
    assert token() == {"Authorization": "Bearer wht_2"}
    token.forget()
    assert token() == {"Authorization": "Bearer wht_3"}
    for lifetime_s in (0, 901):
        with pytest.raises(WhenceError, match="15 minutes"):
            ExchangedToken("acme", exchange, lifetime_s=lifetime_s)
    with pytest.raises(WhenceError, match="64 characters"):
        ExchangedToken("a/b", exchange, lifetime_s=60)


def test_an_impossible_token_is_refused_by_the_client(served: Served) -> None:
    """Without a secret, with a short one, for an invalid tenant, or with too long a lifetime."""
    with Whence(served.url) as backend, pytest.raises(WhenceError, match="WHENCE_JWT_SECRET"):
        backend.for_tenant("acme")
    with Whence(served.url, jwt_secret="short") as backend, pytest.raises(WhenceError, match="32 bytes"):
        backend.for_tenant("acme")
    with Whence(served.url, jwt_secret=SECRET) as backend:
        for tenant in ("", "a b", "a" * 65):
            with pytest.raises(WhenceError, match="64 characters"):
                backend.for_tenant(tenant)
        with pytest.raises(WhenceError, match="24 hours"):
            backend.for_tenant("acme", lifetime_s=24 * 3600 + 1)
