"""Which server and key a client uses, and what it says where there is no key."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import Served, event, serving
from tests.client.fake_server import accept, fake_server
from tests.client.programs import run_program
from tests.unit.mutants import catches, replaced
from whence import profiles
from whence.client import AsyncWhence, NoApiKey, Whence, emitter
from whence.errors import Unauthenticated
from whence.permissions import READ, WRITE

FAR = "https://log.example"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("choice")) as running:
        yield running


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[None]:
    """A file of profiles: the current one is on another machine."""
    save(tmp_path, current="production", production=(FAR, "whk_far"))
    return None


def save(home: Path, *, current: str, **named: tuple[str, str]) -> Path:
    """Save profiles as `whence serve` does, each a URL and a key."""
    path = home / "config" / "whence" / "profiles.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {name: {"url": url, "api_key": key} for name, (url, key) in named.items()}
    path.write_text(json.dumps({"current": current, "profiles": known}))
    return path


def any_server(url: str) -> bool:
    """Mutant: every server counts as one on this machine."""
    return True


@catches(replaced(profiles, "is_loopback_url", any_server, "production_by_accident"))
def test_the_current_profile_is_used_only_on_this_machine(served: Served, tmp_path: Path) -> None:
    """A test on a laptop must not write into production. The error says how to do it on purpose."""
    key = served.key(READ, WRITE, tenant="profile")
    save(tmp_path, current="here", here=(served.url, key))
    with Whence() as log:
        assert log.url == served.url
        assert log.emit(event(), durable=True).event.tenant_id == "profile"
    save(tmp_path, current="production", production=(FAR, "whk_far"))
    with Whence() as log:
        assert log.url == "http://127.0.0.1:8700"
        with pytest.raises(NoApiKey, match=r"^no API key: The current profile names a server on another machine"):
            log.emit(event())


def test_a_named_profile_may_be_on_any_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the option or WHENCE_PROFILE. Its key is sent to no other server."""
    save(tmp_path, current="production", production=(FAR, "whk_far"), here=("http://127.0.0.1:1", "whk_here"))
    with Whence(profile="production") as log:
        assert (log.url, log.credential()) == (FAR, {"X-API-Key": "whk_far"})
    monkeypatch.setenv("WHENCE_PROFILE", "production")
    with Whence() as log:
        assert (log.url, log.credential()) == (FAR, {"X-API-Key": "whk_far"})
    with Whence(profile="none") as log, pytest.raises(NoApiKey, match="no profile with the given name"):
        log.emit(event())
    with Whence("https://other.example") as log, pytest.raises(NoApiKey, match="another URL"):
        log.emit(event())
    with Whence(profile="here") as log:
        assert (log.url, log.credential()) == ("http://127.0.0.1:1", {"X-API-Key": "whk_here"})
    monkeypatch.setenv("WHENCE_URL", "http://127.0.0.1:2")
    monkeypatch.setenv("WHENCE_API_KEY", "whk_environment")
    with Whence() as log:
        assert (log.url, log.credential()) == ("http://127.0.0.1:2", {"X-API-Key": "whk_environment"})
    with Whence(profile="here") as log:
        assert log.credential() == {"X-API-Key": "whk_here"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Pass api_key, set WHENCE_API_KEY"),
        ("{", "Repair the file, or move it away"),
        ('{"current":"gone"}', "Pass api_key"),
    ],
    ids=["none", "damaged", "gone"],
)
def test_without_a_key_the_first_emit_raises(tmp_path: Path, content: str | None, words: str) -> None:
    """At once, with a sentence that begins with "no API key". Making the client does not, and neither does a read."""
    if content is not None:
        save(tmp_path, current="").write_text(content)
    with fake_server() as server, Whence(server.url) as log:
        for durable in (False, True):
            with pytest.raises(NoApiKey, match=f"^no API key: .*{words}"):
                log.emit(event(), durable=durable)
        with pytest.raises(NoApiKey):
            log.batch([event()])
        with pytest.raises(NoApiKey):
            log.started("action_run", actor=("agent", "a"))
        assert server.batches == [] and log.stats().emitted == 0
        assert isinstance(NoApiKey("x"), Unauthenticated)


async def test_asyncio_raises_without_a_key_too() -> None:
    """As the sync client."""
    async with AsyncWhence() as log:
        for durable in (False, True):
            with pytest.raises(NoApiKey):
                await log.emit(event(), durable=durable)


def test_importing_and_making_a_client_need_no_key(tmp_path: Path) -> None:
    """In a program without any setting; the emit then ends it with one sentence."""
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "PATH": ""}
    code, out, err = run_program("log = Whence()\nnote('made')\nemit(log, 'a')", environment)
    assert (code, out) == (1, ["made"])
    assert "NoApiKey: no API key: Pass api_key" in err


def forbidden(events: list[dict[str, object]]) -> tuple[int, object]:
    return 401, {"detail": "A valid credential is needed.", "code": "unauthenticated", "requestId": "r"}


def test_flush_ends_early_when_the_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises Unauthenticated, and tries the key again each time. The events are kept, and sent with a valid key."""
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 60.0)
    with fake_server() as server, Whence(server.url, "whk_x", spool=tmp_path / "spool", exit_timeout_s=0.1) as log:
        server.rule = forbidden
        for _ in range(5):
            log.emit(event())
        began = time.monotonic()
        for _ in range(4):
            with pytest.raises(Unauthenticated):
                log.flush(30)
        assert time.monotonic() - began < 25
        server.rule = accept
        assert log.flush(30)
        assert (len(server.stored), log.stats().stored) == (5, 5)


async def test_an_async_flush_ends_early_too(tmp_path: Path) -> None:
    """As that of the sync client."""
    with fake_server() as server:
        server.rule = forbidden
        async with AsyncWhence(server.url, "whk_x", spool=tmp_path / "spool", exit_timeout_s=0.1) as log:
            await log.emit(event())
            for _ in range(2):
                with pytest.raises(Unauthenticated):
                    await log.flush(30)
            server.rule = accept
            assert await log.flush(30)
            assert log.stats().stored == 1
