"""The issuer's keys over HTTP, from a server that rotates them, and where they may come from."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, code_of, serving
from tests.api.credentials import ISSUER, Clock, Issuer, ec_key, jwk, jwt_of, running_issuer
from tests.api.test_tokens import test_a_redirect_is_not_followed as redirect_promise
from tests.api.test_tokens import test_keys_rotate_and_are_fetched_at_most_every_ten_seconds as rotation_promise
from whence.api import jwks
from whence.api.auth import Authenticator
from whence.settings import Settings
from whence.storage import create_store

EVENTS = "/api/v1/events"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """An issuer on a loop of its own thread."""
    loop = asyncio.new_event_loop()
    running = running_issuer()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result(10)
    asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def guarded(issuer: Issuer, tmp_path: Path) -> Iterator[Served]:
    """A server that takes the issuer's tokens."""
    issuer.fetches = 0
    with serving(tmp_path, jwks_url=issuer.url, jwt_issuer=ISSUER, jwt_audience="whence") as running:
        yield running


def status(served: Served, key: str, kid: str) -> httpx2.Response:
    """What a read with a token of this key is answered."""
    token = jwt_of(ec_key(key), "ES256", {"kid": kid}, iss=ISSUER, aud="whence")
    return httpx2.get(served.url + EVENTS, headers={"Authorization": f"Bearer {token}"})


def test_a_rotation_is_followed_without_a_restart(
    guarded: Served, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a fetch is due, the new key is valid and the withdrawn one is not. Until then there is no request."""
    issuer.publish(jwk(ec_key("old"), kid="1"))
    assert status(guarded, "old", "1").status_code == 200
    issuer.publish(jwk(ec_key("new"), kid="2"))
    assert {status(guarded, "new", "2").status_code for _ in range(5)} == {401}
    assert issuer.fetches == 1
    monkeypatch.setattr(jwks, "FETCH_INTERVAL_S", 0.0)  # ten seconds later
    assert status(guarded, "new", "2").status_code == 200
    assert status(guarded, "old", "1").status_code == 401


def test_an_issuer_that_is_away_says_nothing_of_the_token(guarded: Served, issuer: Issuer) -> None:
    """503 with the time to come back, and API keys go on to work."""
    issuer.reply(b"", "500 Oops")
    answer = status(guarded, "new", "2")
    assert (answer.status_code, code_of(answer)) == (503, "unavailable")
    assert answer.headers["retry-after"] == "10"
    with guarded.client("events:read") as client:
        assert client.get(EVENTS).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://127.1/jwks",
        "http://127.0.1/jwks",
        "http://2130706433/jwks",
        "http://0x7f000001/jwks",
        "http://0x7f.0.0.1/jwks",
        "http://017700000001/jwks",
        "http://0.0.0.0/jwks",
        "http://[::]/jwks",
        "http://10.0.0.1/jwks",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:10.0.0.1]/jwks",
        "http://[64:ff9b::7f00:1]/jwks",
        "http://localhost.evil.example/jwks",
        "http://localhost./jwks",
        "http://127.0.0.1.nip.io/jwks",
        "http://127\u30020\u30020\u30021/jwks",
        "http://127.0.0.1@evil.example/jwks",
        "http://evil.example#@127.0.0.1/jwks",
        "http://127.0.0.1\\@evil.example/jwks",
        "http://127.0.0.1:0/jwks",
        "https://user@issuer.example/jwks",
        "https://:@issuer.example/jwks",
        "https://issuer.example/jwks#x",
        "https:///jwks",
        "https:issuer.example/jwks",
        "//issuer.example/jwks",
        "issuer.example/jwks",
        "ftp://127.0.0.1/jwks",
        "file:///jwks",
        "data:application/json,{}",
        "unix:///run/jwks",
    ],
)
def test_keys_come_by_https_or_from_this_machine(url: str) -> None:
    """Every other address is refused at the start, with a sentence that does not repeat it."""
    with pytest.raises(ValueError, match=r"^WHENCE_JWT_JWKS_URL must be an https URL") as caught:
        Settings(jwks_url=url)
    assert url not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://issuer.example/jwks", "https://issuer.example:8443/a?b=c", "http://localhost:1/", "http://[::1]/"]
)
def test_a_safe_address_is_taken(url: str) -> None:
    """One of any host by https, or of this machine by http, is kept as it was given."""
    assert Settings(jwks_url=url).jwks_url == url


# The mutants of what test_tokens promises


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[tuple[Authenticator, Issuer, Clock]]:
    """An authenticator, its issuer and its clock, on this loop."""
    store, clock = create_store(f"sqlite:///{tmp_path}/whence.db"), Clock()
    async with running_issuer() as running:
        settings = Settings(jwks_url=running.url, jwt_issuer=ISSUER, jwt_audience="whence")
        authenticator = Authenticator(settings, store, clock)
        yield authenticator, running, clock
        await authenticator.close()
    await store.close()


async def test_a_cache_that_asks_for_every_token_is_found(
    parts: tuple[Authenticator, Issuer, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: no time between two fetches, so that bad tokens are requests to the issuer."""
    monkeypatch.setattr(jwks, "FETCH_INTERVAL_S", 0.0)
    with pytest.raises(AssertionError):
        await rotation_promise(*parts)


async def test_a_cache_that_follows_redirects_is_found(
    parts: tuple[Authenticator, Issuer, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the client goes wherever the issuer's host sends it."""
    made = httpx2.AsyncClient

    def following(**settings: Any) -> httpx2.AsyncClient:
        return made(**{**settings, "follow_redirects": True})

    monkeypatch.setattr(jwks.httpx2, "AsyncClient", following)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await redirect_promise(*parts[:2])
