"""The threads of a client and what runs in them: they outlive bad callbacks, and end when the client is closed."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import Served, event, serving, wait_until
from tests.client.fake_server import FakeServer, fake_server, refuse
from tests.client.programs import environment, every_python, run_program
from tests.client.test_emitter import check_balance, connected
from tests.examples import soak
from tests.unit.mutants import catches, replaced
from whence.client import AsyncWhence, Rejected, Whence
from whence.client.sender import SenderThreads
from whence.errors import WhenceError
from whence.permissions import READ, WRITE


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("threads")) as running:
        yield running


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_a_callback_cannot_end_the_thread_that_sends(
    server: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, raised: type[BaseException]
) -> None:
    """Whatever `on_error` raises is logged, and later events are sent."""

    def fails(error: WhenceError) -> None:
        raise raised

    server.rule = refuse("a1")
    with caplog.at_level(logging.WARNING, "whence"), connected(server, tmp_path, on_error=fails) as log:
        log.emit(event(actorId="a1"))
        assert log.flush(5)
        log.emit(event(actorId="a2"))
        assert log.flush(5)
        check_balance(log)
    assert server.actors == ["a2"]
    assert "on_error failed" in caplog.text


def test_a_step_cannot_end_the_thread_that_sends(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also not by SystemExit. It is tried again."""
    monkeypatch.setattr("whence.client.sender._RETRY_AFTER_EXCEPTION_S", 0.01)
    failures = [SystemExit(), SystemExit()]
    with connected(server, tmp_path) as log:
        send = log._emitter._send

        def failing(bodies: list[bytes]) -> object:
            if failures:
                raise failures.pop()
            return send(bodies)

        monkeypatch.setattr(log._emitter, "_send", failing)
        log.emit(event(actorId="a1"))
        assert log.flush(5)
    assert server.actors == ["a1"]


def test_flush_and_close_in_a_callback_return_at_once(server: FakeServer, tmp_path: Path) -> None:
    """Only the thread that is running the callback could send what they would wait for."""
    server.rule = refuse("a1")
    results: list[bool] = []

    def calls(error: WhenceError) -> None:
        if isinstance(error, Rejected):
            log.emit(event(actorId="callback"))
            results.append(log.flush(1000))
            results.append(log.close(1000))

    log = connected(server, tmp_path, on_error=calls)
    log.emit(event(actorId="a1"))
    wait_until(lambda: len(results) == 2)
    assert results == [False, False]
    check_balance(log)
    assert log.stats().spooled == 1


@catches(replaced(SenderThreads, "stop", lambda self, timeout_s: None, "threads_stay"))
def test_closed_clients_leave_no_threads(server: FakeServer, tmp_path: Path) -> None:
    """Although the clients still exist: the threads of a client that is gone end in any case."""
    clients = [connected(server, tmp_path) for _ in range(60 if soak() else 5)]
    threads: list[threading.Thread] = []
    for log in clients:
        log.emit(event())
        assert log.flush(10)
        threads += log._sender._threads
        assert log.close(30)
    assert len(threads) >= len(clients)
    for thread in threads:  # one may be about to end
        thread.join(3)
    assert not any(thread.is_alive() for thread in threads)
    assert len(server.stored) == len(clients)


@pytest.mark.slow
def test_one_client_has_one_thread(server: FakeServer, tmp_path: Path) -> None:
    """Further threads start when other tenants would have to wait, and end when they are idle."""
    with connected(server, tmp_path, jwt_secret="x" * 32) as log:
        for _ in range(50):
            log.emit(event())
            log.flush(5)
        assert len(log._sender._threads) == 1
        tenants = [log.for_tenant(f"t{number}") for number in range(20)]
        for tenant in tenants:
            tenant.emit(event())
        assert all(tenant.flush(10) for tenant in tenants)
        wait_until(lambda: len(log._sender._threads) == 1)


def test_a_system_without_further_threads_is_not_an_exit(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event stays in the queue, and the next one starts a thread."""
    with connected(server, tmp_path) as log:

        def limited(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", limited)
        assert not log.emit(event(actorId="a0")).spooled
        assert log.stats().queued == 1
        monkeypatch.undo()
        log.emit(event(actorId="a1"))
        assert log.flush(10)
    assert server.actors == ["a0", "a1"]


def test_a_thread_that_hangs_in_a_request_does_not_hold_up_close(server: FakeServer, tmp_path: Path) -> None:
    """It ends when the request does."""
    server.gate.clear()
    log = connected(server, tmp_path, timeout_s=5, exit_timeout_s=0.05)
    log.emit(event())
    assert server.arrived.wait(5)
    began = time.monotonic()
    assert not log.close()
    assert time.monotonic() - began < 4
    server.gate.set()
    wait_until(lambda: not log._sender._threads)
    check_balance(log)


# --------------------------------------------------------------------------------------------------------- event loops


def test_a_client_outlives_its_event_loop(served: Served) -> None:
    """A second `asyncio.run` opens connections of its own."""
    log = AsyncWhence(served.url, served.key(READ, WRITE, tenant="twice"))

    async def store() -> int:
        await log.emit(event(), durable=True)
        return (await log.list()).total

    assert [asyncio.run(store()), asyncio.run(store()), asyncio.run(store())] == [1, 2, 3]
    assert len(log._async_transport._by_loop) == 1
    assert asyncio.run(log.close())


def test_event_loops_use_one_client_at_the_same_time(served: Served) -> None:
    """Each in its thread."""
    log = AsyncWhence(served.url, served.key(READ, WRITE, tenant="parallel"))
    errors: list[BaseException] = []

    async def store() -> None:
        for _ in range(10):
            await log.emit(event(), durable=True)
            await log.emit(event())

    def run() -> None:
        try:
            asyncio.run(store())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert asyncio.run(log.flush())
    assert asyncio.run(log.aggregate()).total == 80
    assert asyncio.run(log.close())


CLOSED_AT_EXIT = """
import asyncio, atexit
from whence.client import AsyncWhence
log = AsyncWhence()
async def main():
    await log.emit("action_run.completed", actor=("agent", "x"), resource=("action_run", RUN))
asyncio.run(main())
atexit.register(lambda: note(str(asyncio.run(log.close()))))
"""


@every_python
def test_an_async_client_is_closed_by_atexit(tmp_path: Path, python: str) -> None:
    """Although no thread can be used any more then."""
    with fake_server() as server:
        env = environment(server.url, "whk_x", tmp_path)
        code, lines, err = run_program(CLOSED_AT_EXIT, env, "emitter._LINGER_S = 60", python=python)
        assert (code, lines) == (0, ["True"]), err
        assert "Error" not in err
        assert len(server.stored) == 1


def test_closing_again_changes_nothing(server: FakeServer, tmp_path: Path) -> None:
    """It returns whether everything was sent."""
    log = Whence(server.url, "whk_x", spool=tmp_path)
    log.emit(event())
    assert log.close() and log.close()
    check_balance(log)
