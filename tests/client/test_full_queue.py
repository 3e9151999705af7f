"""What `emit` does when the queue is full: it never hangs, never blocks an event loop, and never loses in silence."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import event, wait_until
from tests.client.fake_server import FakeServer, fake_server
from tests.client.test_emitter import check_balance, connected, names
from tests.unit.mutants import catches, replaced
from whence.client import AsyncWhence, EmittedEvent, Lost, QueueFull, Whence, emitter, reporting, spool
from whence.client.emitter import Emitter, OnFull
from whence.client.reporting import Reports
from whence.errors import WhenceError

MAX = 5


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server that takes a request and does not respond."""
    with fake_server() as running:
        running.gate.clear()
        yield running


def fill(log: Whence, server: FakeServer) -> None:
    """Fill the queue while a batch is being sent."""
    log.emit(event(actorId="a0"))
    assert server.arrived.wait(5)
    for name in names(1, MAX + 1):
        log.emit(event(actorId=name))


@catches(replaced(Reports, "add_dropped", lambda self, count: False, "dropped_in_silence"))
def test_without_a_spool_events_are_dropped_and_reported(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By default, at once and then once a minute, with their number. `emit` returns as usual."""
    reported: list[WhenceError] = []
    with caplog.at_level(logging.WARNING, "whence"):
        log = connected(server, tmp_path, spool=False, queue_events_max=MAX, on_error=reported.append)
        fill(log, server)
        log.emit(event())
        wait_until(lambda: bool(reported))  # also while a request is under way
        for _ in range(19):
            log.emit(event())
        assert log.stats().lost == 20
        check_balance(log)
        server.gate.set()
        assert log.flush(10)
        log.close()
    check_balance(log)
    assert server.actors == names(0, MAX + 1)
    assert all(isinstance(error, Lost) for error in reported)
    assert [str(error).partition(" ")[0] for error in reported] == ["1", "19"], (
        "at once, and when the client was closed"
    )
    assert caplog.text.count("dropped") == 2


def test_dropped_events_are_reported_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """With their number since the last report."""
    now = 1000.0
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now)
    reports = Reports(None)
    assert reports.add_dropped(1)
    (first,) = reports.take()
    assert str(first) == "1 event was dropped, since the queue was full."
    assert reports.delivered([first]) is None
    assert not reports.add_dropped(30)
    assert reports.take() == []
    assert reports.delivered([]) == 60.0
    now += 60.0
    assert [str(error) for error in reports.take()] == ["30 events were dropped, since the queue was full."]


def test_dropping_can_be_chosen_with_a_spool(server: FakeServer, tmp_path: Path) -> None:
    """Nothing is written to disk then."""
    with connected(server, tmp_path, on_full="drop", queue_events_max=MAX) as log:
        fill(log, server)
        assert not log.emit(event()).spooled
        assert log.stats().lost == 1
        server.gate.set()
    assert not (tmp_path / "spool").exists()


def test_a_full_queue_raises_if_asked_to(server: FakeServer, tmp_path: Path) -> None:
    """The event was not accepted, and is not counted."""
    with connected(server, tmp_path, on_full="raise", queue_events_max=MAX) as log:
        fill(log, server)
        with pytest.raises(QueueFull):
            log.emit(event())
        assert log.stats().emitted == MAX + 1
        server.gate.set()


def test_blocking_ends_after_its_time_limit(server: FakeServer, tmp_path: Path) -> None:
    """Then `emit` raises."""
    with connected(server, tmp_path, on_full="block", block_timeout_s=0.05, queue_events_max=MAX) as log:
        fill(log, server)
        with pytest.raises(QueueFull, match="has been full"):
            log.emit(event())
        check_balance(log)
        server.gate.set()


def test_spilling_needs_a_spool() -> None:
    """A client with `on_full="spill"` and without a spool cannot be created."""
    with pytest.raises(WhenceError, match="needs a spool"):
        Whence(spool=False, on_full="spill")


# ------------------------------------------------------------------------------------------------------ on event loops


@pytest.mark.parametrize("on_full", ["block", "raise"])
async def test_a_full_queue_raises_at_once_on_an_event_loop(server: FakeServer, tmp_path: Path, on_full: str) -> None:
    """`Whence.emit` never waits for room there, since nothing else could run meanwhile."""
    log = connected(server, tmp_path, on_full=on_full, block_timeout_s=1000, queue_events_max=MAX)
    await asyncio.to_thread(fill, log, server)
    with pytest.raises(QueueFull):
        log.emit(event())
    server.gate.set()
    await asyncio.to_thread(log.close)


def on_no_event_loop() -> bool:
    """Overlooks event loops."""
    return False


@catches(replaced(emitter, "is_on_event_loop", on_no_event_loop, "writes_on_the_event_loop"))
async def test_an_event_loop_never_writes_to_the_disk(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not with `Whence.emit`: a thread spools the events, in order."""
    append_to_file, threads = spool.append_to_file, set[int]()

    def append(path: Path, content: bytes, size: int | None = None) -> None:
        threads.add(threading.get_ident())
        append_to_file(path, content, size)

    monkeypatch.setattr(spool, "append_to_file", append)
    log = connected(server, tmp_path, queue_events_max=MAX)
    await asyncio.to_thread(fill, log, server)
    for name in names(MAX + 1, 2 * MAX + 1):
        log.emit(event(actorId=name))
    await asyncio.to_thread(wait_until, lambda: log.stats().spooled == 2 * MAX)
    check_balance(log)
    assert threads and threading.get_ident() not in threads
    server.gate.set()
    assert await asyncio.to_thread(log.flush, 10)
    assert server.actors == names(0, 2 * MAX + 1)
    await asyncio.to_thread(log.close)


@catches(replaced(Emitter, "_lock_soon", lambda self, frame: self._changed.acquire(frame=frame), "waits_for_the_lock"))
async def test_an_event_loop_does_not_wait_for_a_thread_that_writes(server: FakeServer, tmp_path: Path) -> None:
    """While a thread holds the lock, `emit` leaves the event to it."""
    log = connected(server, tmp_path)
    log.emit(event(actorId="a0"))
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with log._emitter._changed:
            held.set()
            release.wait(2)

    holder = threading.Thread(target=hold)
    holder.start()
    await asyncio.to_thread(held.wait)
    log.emit(event(actorId="a1"))
    assert not release.is_set() and holder.is_alive()
    release.set()
    await asyncio.to_thread(holder.join)
    server.gate.set()
    assert await asyncio.to_thread(log.flush, 10)
    assert server.actors == ["a0", "a1"]
    await asyncio.to_thread(log.close)


@pytest.mark.parametrize("on_full", ["block", "spill"])
@catches(replaced(Emitter, "_waits_or_spills", lambda self: False, "raises_while_locked"))
async def test_a_full_inbox_is_waited_for(on_full: OnFull, server: FakeServer, tmp_path: Path) -> None:
    """While a thread holds the lock, `AsyncWhence.emit` waits once there is no room for an event that is set aside."""
    server.gate.set()
    spool = tmp_path / "spool" if on_full == "spill" else False
    log = AsyncWhence(server.url, "whk_x", spool=spool, on_full=on_full, queue_events_max=MAX)
    await log.emit(event(actorId="a0"))
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with log._emitter._changed:
            held.set()
            release.wait(5)

    holder = threading.Thread(target=hold)
    holder.start()
    await asyncio.to_thread(held.wait)
    for name in names(1, MAX + 1):
        await log.emit(event(actorId=name))
    waiting = asyncio.gather(log.emit(event(actorId="last")), return_exceptions=True)
    await asyncio.sleep(0.02)
    assert not waiting.done() and holder.is_alive()
    release.set()
    assert [isinstance(each, EmittedEvent) for each in await waiting] == [True]
    await asyncio.to_thread(holder.join)
    assert await log.flush(10)
    assert sorted(server.actors) == sorted(["a0", *names(1, MAX + 1), "last"])
    await log.close()


async def test_a_cancelled_emit_leaves_no_thread(server: FakeServer, tmp_path: Path) -> None:
    """`AsyncWhence` awaits room; the event loop goes on, and the event of a cancelled `emit` was not accepted."""
    log = AsyncWhence(server.url, "whk_x", spool=False, on_full="block", queue_events_max=MAX, timeout_s=5)
    await log.emit(event())
    await asyncio.to_thread(server.arrived.wait, 5)
    for _ in range(MAX):
        await log.emit(event())
    threads = threading.active_count()
    for _ in range(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(log.emit(event()), 0.03)
    assert threading.active_count() <= threads
    assert log.stats().emitted == MAX + 1
    server.gate.set()
    waiting = await log.emit(event())
    assert await log.flush(10)
    assert waiting.id in server.stored
    await log.close()


async def test_a_cancelled_flush_leaves_no_thread(server: FakeServer, tmp_path: Path) -> None:
    """So the end of `asyncio.run` does not wait for it."""
    log = AsyncWhence(server.url, "whk_x", spool=False, exit_timeout_s=0.05)
    await log.emit(event())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(log.flush(1000), 0.05)
    began = time.monotonic()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert time.monotonic() - began < 100
    server.gate.set()
