"""Clients that a program drops without closing them: their events are sent, and their threads end."""

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.api.conftest import event, wait_until
from tests.client.fake_server import FakeServer, accept, unavailable
from tests.client.programs import environment, every_python, run_program
from tests.client.test_emitter import connected
from tests.unit.mutants import catches, replaced
from whence.client import Whence, emitter
from whence.client.sender import SenderThreads

CLIENTS = 60


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed is freed because nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


EARLIER: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def earlier() -> None:
    """The threads that other tests have left."""
    EARLIER.clear()
    EARLIER.update(threading.enumerate())


def senders() -> int:
    """How many threads send, but for those of other tests."""
    return sum(thread.name == "whence-sender" for thread in set(threading.enumerate()) - EARLIER)


def quickly_made(server: FakeServer, tmp_path: Path) -> Whence:
    """A client without certificates, which take most of the time."""
    return connected(server, tmp_path, http_client=lambda: httpx2.Client(verify=False, timeout=5))


def keep_threads(self: SenderThreads, user_id: int) -> None:
    """Mutant: nobody notices that a client is gone."""


@catches(replaced(SenderThreads, "_detach", keep_threads, "threads_stay"))
@pytest.mark.parametrize("flushed", [False, True], ids=["queued", "sent"])
@pytest.mark.usefixtures("no_collector")
def test_dropped_clients_leave_no_threads(
    server: FakeServer, tmp_path: Path, flushed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there were. What they had queued is sent."""
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.05)  # the server may drop a connection of so many at once
    for number in range(CLIENTS):
        log = quickly_made(server, tmp_path)
        log.emit(event(actorId=f"a{number}"))
        if flushed:
            assert log.flush(10)
    del log
    left = senders()
    while left:  # on a busy machine all of them may take a minute
        wait_until(lambda left=left: senders() < left, 10)
        left = senders()
    assert len(server.stored) == CLIENTS


@pytest.mark.usefixtures("no_collector")
def test_dropped_clients_without_events_leave_no_threads(server: FakeServer, tmp_path: Path) -> None:
    """They have none."""
    clients = [weakref.ref(quickly_made(server, tmp_path)) for _ in range(CLIENTS)]
    assert [client() for client in clients] == [None] * CLIENTS
    assert senders() == 0


@pytest.mark.usefixtures("no_collector")
def test_the_events_of_a_dropped_client_are_sent_when_the_server_is_back(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then its thread stays, and nothing of the client but its queue."""
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.05)
    server.rule = unavailable
    log = connected(server, tmp_path)
    queue, client = weakref.ref(log._emitter), weakref.ref(log)
    for number in range(3):
        log.emit(event(actorId=f"a{number}"))
    del log
    assert client() is None and queue() is not None
    wait_until(lambda: len(server.batches) > 3)
    assert senders() == 1
    server.rule = accept
    wait_until(lambda: senders() == 0, 60)
    assert queue() is None
    assert server.actors == ["a0", "a1", "a2"]


@pytest.mark.usefixtures("no_collector")
def test_a_client_may_be_dropped_during_its_request(server: FakeServer, tmp_path: Path) -> None:
    """The request is finished, and so is what was emitted meanwhile."""
    server.gate.clear()
    log = connected(server, tmp_path)
    log.emit(event(actorId="a0"))
    assert server.arrived.wait(10)
    log.emit(event(actorId="a1"))
    del log
    server.gate.set()
    wait_until(lambda: senders() == 0, 60)
    assert server.actors == ["a0", "a1"]


@pytest.mark.usefixtures("no_collector")
def test_a_client_for_a_tenant_outlives_the_client_it_came_from(server: FakeServer, tmp_path: Path) -> None:
    """They share their threads, which end after the last of them."""
    log = connected(server, tmp_path, jwt_secret="x" * 32)
    tenant = log.for_tenant("acme")
    log.emit(event(actorId="a0"))
    del log
    tenant.emit(event(actorId="a1"))
    assert tenant.flush(10)
    wait_until(lambda: len(server.stored) == 2)
    assert senders() == 1
    del tenant
    wait_until(lambda: senders() == 0, 60)


def test_a_client_that_the_collector_finds_leaves_no_thread(server: FakeServer, tmp_path: Path) -> None:
    """Its `on_error` may refer to the program's own objects, and these to the client."""

    class Service:
        def __init__(self) -> None:
            self.log = connected(server, tmp_path, on_error=self.on_error)

        def on_error(self, error: object) -> None:
            pass

    service = Service()
    service.log.emit(event())
    assert service.log.flush(10)
    del service
    gc.collect()
    wait_until(lambda: senders() == 0, 60)
    assert len(server.stored) == 1


FORKED = """
import multiprocessing
def work():
    first, second = Whence(), Whence()
    for log in (first, second):
        emit(log, "a")
        log.flush(10)
    del log, first
    emit(second, "b")
    note("running" if second._sender._threads else "closed")
if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(30)
    note(str(child.exitcode))
"""


@every_python
def test_in_a_worker_process_a_dropped_client_closes_no_other(server: FakeServer, tmp_path: Path, python: str) -> None:
    """The workers of multiprocessing close clients by finalizers of their own."""
    code, lines, err = run_program(FORKED, environment(server.url, "whk_x", tmp_path), python=python)
    assert (code, lines) == (0, ["running", "0"]), err
    assert sorted(server.actors) == ["a", "a", "b"]


EXITING = """
import gc
gc.disable()
for number in range(20):
    log = Whence()
    emit(log, str(number))
log.itself = log  # the last one is torn down with the interpreter
note("done")
"""


@every_python
def test_a_program_may_end_with_dropped_clients(server: FakeServer, tmp_path: Path, python: str) -> None:
    """Their events are sent by then, or at the exit."""
    env = environment(server.url, "whk_x", tmp_path)
    code, lines, err = run_program(EXITING, env, "emitter._LINGER_S = 0.2", python=python)
    assert (code, lines, err) == (0, ["done"], "")
    assert len(server.stored) == 20


def test_a_thread_that_ends_leaves_no_event_behind(server: FakeServer, tmp_path: Path) -> None:
    """A client that is made when the thread has decided to end starts another one."""
    sender = SenderThreads()
    for _ in range(50):
        done = threading.Event()

        class User:
            def __init__(self, done: threading.Event) -> None:
                self._done = done

            def step(self) -> float | None:
                self._done.set()
                return None

        user = User(done)
        sender.attach(user)
        sender.wake(user.step)
        del user
        assert done.wait(10)
    wait_until(lambda: not sender._threads)
