"""Fixtures that keep the tests away from the state of the user who runs them."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.fake_server import FakeServer, fake_server
from whence import Whence
from whence.client.reentrancy import guard


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state directory, and an environment that names no server."""
    for name in ("WHENCE_URL", "WHENCE_API_KEY", "WHENCE_JWT_SECRET", "WHENCE_PROFILE", "WHENCE_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "state"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


@pytest.fixture
def log(server: FakeServer, tmp_path: Path) -> Iterator[Whence]:
    with Whence(server.url, "whk_x", spool=tmp_path / "spool") as connected:
        yield connected


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class _Listening(logging.Handler):
    """Notes what is logged by code that holds a lock of the client: a handler that emits events could hang there."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if guard.is_inside():
            self.inside.append(record.getMessage())


@pytest.fixture(autouse=True)
def nothing_is_logged_under_a_lock() -> Iterator[None]:
    """In every test of the client."""
    listening = _Listening()
    logging.getLogger("whence").addHandler(listening)
    yield
    logging.getLogger("whence").removeHandler(listening)
    assert listening.inside == []
