"""A backend that emits for many tenants."""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.running import soak
from tests.api.conftest import Served, event, serving, wait_until
from tests.client.takers import away, take, taking
from tests.unit.mutants import catches, replaced
from whence.client import TenantToken, Whence, log
from whence.errors import WhenceError
from whence.permissions import READ

SECRET = "a secret that program and server share"
TENANTS = 1_000
SPOOLING = 1_000 if soak() else 200
"""In the long form as many tenants spool; each takes some fsyncs."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("tenants"), jwt_secret=SECRET) as running:
        yield running


def claims(headers: dict[str, str]) -> dict[str, object]:
    part = headers["Authorization"].split(".")[1]
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded


def one_for_all(url: str, tenant: str | None, key: str) -> str:
    return "all"


def test_a_thousand_tenants(served: Served, tmp_path: Path) -> None:
    """Each finds its own events in its own log and no other's; a few threads and connections carry them all."""
    before = threading.active_count()
    with Whence(served.url, jwt_secret=SECRET, spool=tmp_path / "spool") as backend:
        for turn in range(2):
            for number in range(TENANTS):
                backend.for_tenant(f"tenant-{number}").emit(event(actorId=f"{number}.{turn}"))
        for number in range(TENANTS):
            assert backend.for_tenant(f"tenant-{number}").flush(60)
        assert threading.active_count() - before < 10
        for number in range(0, TENANTS, 50):
            tenant = backend.for_tenant(f"tenant-{number}")
            assert {one.actor_id for one in tenant.events()} == {f"{number}.0", f"{number}.1"}
            assert tenant.stats().stored == 2


@catches(replaced(log, "folder_name", one_for_all, "one_spool_for_all"))
def test_many_tenants_spool_apart(tmp_path: Path) -> None:
    """While the server is away each has its own folder, no file stays open, and all of it arrives under the right
    token.
    """
    with taking() as taker:
        taker.rule = away
        backend = Whence(taker.url, jwt_secret=SECRET, spool=tmp_path / "spool", queue_events_max=1)
        tenants = [backend.for_tenant(f"tenant-{number}") for number in range(SPOOLING)]
        for number, tenant in enumerate(tenants):
            for turn in range(3):
                tenant.emit(event(actorId=f"tenant-{number}", payload={"turn": turn}))
        assert len({tenant.spool_folder for tenant in tenants}) == SPOOLING
        backend.close(0.05)
        taker.seen.clear()
        taker.headers.clear()
        taker.rule = take
        with Whence(taker.url, jwt_secret=SECRET, spool=tmp_path / "spool") as after:
            for number in range(SPOOLING):
                after.for_tenant(f"tenant-{number}").flush(0.0)
            for number in range(SPOOLING):
                assert after.for_tenant(f"tenant-{number}").flush(60)
        for headers, batch in zip(taker.headers, taker.seen, strict=True):
            assert {one["actorId"] for one in batch} == {claims(headers)["tenant_id"]}
        assert Counter(taker.actors) == {f"tenant-{number}": 3 for number in range(SPOOLING)}


def test_a_trouble_of_one_tenant_is_its_own(tmp_path: Path) -> None:
    """The others are sent meanwhile."""
    with taking() as taker:
        taker.rule = lambda events: away(events) if events[0]["actorId"] == "bad" else take(events)
        with Whence(taker.url, jwt_secret=SECRET, spool=tmp_path / "spool", exit_timeout_s=0.1) as backend:
            bad, good = backend.for_tenant("bad"), backend.for_tenant("good")
            bad.emit(event(actorId="bad"))
            wait_until(lambda: bad.stats().spooled == 1)
            good.emit(event(actorId="good"))
            assert good.flush(10)
            assert (bad.stats().trouble, good.stats().trouble) == ("unavailable", None)


def test_a_token_is_short_and_made_anew() -> None:
    """It lives for a quarter of an hour, and is replaced when a fifth of that is left."""
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


def test_a_token_may_do_what_its_scope_says(served: Served) -> None:
    """The server believes the signature and keeps to the scope; another secret is not believed."""
    with Whence(served.url, jwt_secret=SECRET) as backend:
        reader = backend.for_tenant("scoped", scope=READ)
        assert reader.list().total == 0
        with pytest.raises(WhenceError, match="events:write"):
            reader.emit(event(), durable=True)
        assert backend.for_tenant("scoped").emit(event(), durable=True).event.tenant_id == "scoped"
    with Whence(served.url, jwt_secret=SECRET + "?") as stranger, pytest.raises(WhenceError, match="credential"):
        stranger.for_tenant("scoped").list()


def test_what_makes_no_token_is_refused_at_once(served: Served) -> None:
    """Without a secret, with a short one, for a name that is none, or for too long."""
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
