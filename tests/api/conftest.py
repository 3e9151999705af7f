"""A real server on loopback: the application in uvicorn, in a thread, over a fresh SQLite file."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import msgspec
import pytest

from whence import fairness
from whence.api import auth
from whence.api.app import create_app
from whence.api.server import Server, configure_logging, make_config
from whence.permissions import ADMIN, READ, WRITE, ApiKey, new_api_key, new_operator_key
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import create_store
from whence.storage.base import Store

T = TypeVar("T")

STARTED_S = 10
RUN_ID = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"
"""The resource of the events that `event` makes."""


SECRET = StoreSecret("the store secret of every test, so that cursors stay the same")


class Served:
    """A running server, with access to its store and its loop."""

    def __init__(self, settings: Settings, store: Store, secret: StoreSecret = SECRET) -> None:
        self.settings = settings
        self.store = store
        self.secret = secret
        self.app = create_app(settings, store, self.secret)
        self.server = Server(make_config(self.app, settings, self.app.metrics), self._note_loop)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def start(self) -> None:
        self.thread.start()
        until = time.monotonic() + STARTED_S
        while self.loop is None:
            assert self.thread.is_alive() and time.monotonic() < until, "the server did not start"
            time.sleep(0.005)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(15)
        assert not self.thread.is_alive(), "the server did not stop"

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the server's own loop."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def key(self, *scopes: str, tenant: str = "acme", **more: Any) -> str:
        """The secret of a new API key."""
        secret, key = new_api_key(tenant, scopes, time.time_ns() // 1000)
        self.wait(self.store.credentials.put_key(_changed(key, more)))
        return secret

    def operator_key(self, *ceiling: str, **more: Any) -> str:
        """The secret of a new operator's key."""
        secret, key = new_operator_key(ceiling, time.time_ns() // 1000)
        self.wait(self.store.credentials.put_key(_changed(key, more)))
        return secret

    def client(self, *scopes: str, tenant: str = "acme", headers: dict[str, str] | None = None) -> httpx2.Client:
        """An HTTP client with a new key of these scopes; without scopes it carries no credential."""
        sent = {"Authorization": f"Bearer {self.key(*scopes, tenant=tenant)}"} if scopes else {}
        return httpx2.Client(base_url=self.url, headers=sent | (headers or {}), timeout=20)

    def _note_loop(self) -> None:
        self.loop = asyncio.get_running_loop()


def _changed(key: ApiKey, more: dict[str, Any]) -> ApiKey:
    return msgspec.structs.replace(key, **more)


@contextlib.contextmanager
def serving(
    folder: Path,
    prepare: Callable[[Served], object] = lambda _served: None,
    secret: StoreSecret = SECRET,
    **settings: Any,
) -> Iterator[Served]:
    url = f"sqlite:///{folder}/whence.db"
    configure_logging("error")
    served = Served(Settings(**{"store": url, "port": 0, **settings}), create_store(url), secret)
    prepare(served)
    served.start()
    try:
        yield served
    finally:
        served.stop()


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys stay known, and a round of the event loop has time, however slow the machine is, so that what could be
    answered at once is."""
    monkeypatch.setattr(auth, "_KEY_TTL_S", 60.0)
    monkeypatch.setattr(fairness, "_ROUND_S", 60.0)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the tests of a file. Tests that count events use a tenant of their own."""
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx2.Client]:
    """A client that may read and write."""
    with served.client(READ, WRITE) as made:
        yield made


@pytest.fixture(scope="module")
def admin(served: Served) -> Iterator[httpx2.Client]:
    """A client that may do everything."""
    with served.client(READ, WRITE, ADMIN) as made:
        yield made


def event(**changes: Any) -> dict[str, Any]:
    """A valid event as a client sends it; None leaves a field out."""
    sent = {
        "eventType": "action_run.completed",
        "actorType": "agent",
        "actorId": "planner",
        "resourceType": "action_run",
        "resourceId": RUN_ID,
        "occurredAt": "2026-01-02T03:04:05Z",
    } | changes
    return {name: value for name, value in sent.items() if value is not None}


def problems(answer: httpx2.Response) -> Sequence[tuple[list[Any], str]]:
    """The places and names of the problems of a 422, whose body has exactly the contract's shape."""
    assert answer.status_code == 422, answer.text
    body = answer.json()
    assert body.keys() == {"detail"}
    for problem in body["detail"]:
        assert problem.keys() == {"loc", "msg", "type"}
    return [(problem["loc"], problem["type"]) for problem in body["detail"]]


def code_of(answer: httpx2.Response) -> str:
    """The code of any other error, whose body has exactly our shape."""
    body = answer.json()
    assert body.keys() == {"detail", "code", "requestId"}, body
    assert body["requestId"] == answer.headers["x-request-id"]
    code: str = body["code"]
    return code


def hold(served: Served, work: Callable[[Any], Any]) -> Any:
    """Start `work` on the store in the server's loop; returns its future."""
    assert served.loop is not None
    began = threading.Event()

    async def run() -> Any:
        began.set()
        return await work(served.store)

    future = asyncio.run_coroutine_threadsafe(run(), served.loop)
    assert began.wait(10)
    return future


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition that another thread will fulfil."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "the condition was not fulfilled in time"
        time.sleep(0.005)
