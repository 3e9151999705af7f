"""Clients for many tenants, with tokens that the backend signs."""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.running import soak
from tests.api.conftest import Served, event, serving, wait_until
from tests.client.fake_server import accept, fake_server, unavailable
from tests.unit.mutants import catches, replaced
from whence.client import TenantToken, Whence, base_client
from whence.errors import WhenceError
from whence.permissions import READ

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
