"""Long work of the event loop runs while the writer commits or waits, or after a short wait."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from whence.storage.sqlite import thread_writer
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.thread_writer import ThreadWriter


class Held:
    """Work for the writer that runs until it is released."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, connection: apsw.Connection) -> None:
        self.begun.set()
        self.go.wait(5)


class HeldCommit:
    """A connection whose COMMIT runs until it is released."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.held = Held()

    def execute(self, sql: str, *bindings: Any) -> Any:
        if sql == "COMMIT":
            self.held(self.connection)
        return self.connection.execute(sql, *bindings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def with_store(tmp_path: Path, scenario: Callable[[SQLiteStore], Any]) -> None:
    async def run() -> None:
        store = SQLiteStore(str(tmp_path / "log.db"))
        try:
            await asyncio.wait_for(scenario(store), 10)
        finally:
            await store.close()

    asyncio.run(run())


async def turns() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def waits_while_the_writer_computes(store: SQLiteStore) -> None:
    held = Held()
    working = store._writer.submit(held)
    await asyncio.to_thread(held.begun.wait, 5)
    waiting = asyncio.create_task(store.wait_for_idle_writer())
    await turns()
    early = waiting.done()
    held.go.set()
    await working
    await waiting
    assert not early, "the wait returned while the writer computed"


async def comes_with_the_commit(store: SQLiteStore) -> None:
    held = HeldCommit(store._writing)
    store._writer._connection = held  # type: ignore[assignment]  # it stands in for the connection
    working = store._writer.submit(lambda connection: None)
    await asyncio.to_thread(held.held.begun.wait, 5)
    waiting = asyncio.create_task(store.wait_for_idle_writer())
    await turns()
    came = waiting.done() and not working.done()
    held.held.go.set()
    await working
    await waiting
    assert came, "the wait did not return during the commit"


def test_a_writer_without_work_is_idle(tmp_path: Path) -> None:
    """The wait returns at once, without yielding to another task."""

    async def scenario(store: SQLiteStore) -> None:
        with pytest.raises(StopIteration):
            store.wait_for_idle_writer().__await__().send(None)  # type: ignore[attr-defined]  # an iterator, by a coroutine's contract

    with_store(tmp_path, scenario)


def test_long_work_waits_while_the_writer_computes(tmp_path: Path) -> None:
    """While a request runs, the writer is not idle; it is afterwards."""
    with_store(tmp_path, waits_while_the_writer_computes)


def test_the_writer_is_idle_while_it_commits(tmp_path: Path) -> None:
    """While it waits for the disk, long work may run, before any request is answered."""
    with_store(tmp_path, comes_with_the_commit)


def test_tasks_that_wait_are_woken_one_by_one(tmp_path: Path) -> None:
    """The second is woken once the first has run, and later if the writer is busy again by then."""

    async def scenario(store: SQLiteStore) -> None:
        first, second = Held(), Held()
        order: list[str] = []

        async def works() -> None:
            await store.wait_for_idle_writer()
            order.append("first")
            store._writer.submit(second)
            second.begun.wait(5)  # this thread is busy until the writer computes again

        async def follows() -> None:
            await store.wait_for_idle_writer()
            order.append("second")

        store._writer.submit(first)
        await asyncio.to_thread(first.begun.wait, 5)
        tasks = [asyncio.create_task(works()), asyncio.create_task(follows())]
        await turns()
        first.go.set()
        await tasks[0]
        await turns()
        assert order == ["first"]
        second.go.set()
        await tasks[1]
        assert order == ["first", "second"]

    with_store(tmp_path, scenario)


def test_a_cancelled_task_is_passed_over(tmp_path: Path) -> None:
    """A task that was cancelled while it waited does not keep the next one waiting."""

    async def scenario(store: SQLiteStore) -> None:
        held = Held()
        store._writer.submit(held)
        await asyncio.to_thread(held.begun.wait, 5)
        gone, stays = (
            asyncio.create_task(store.wait_for_idle_writer()),
            asyncio.create_task(store.wait_for_idle_writer()),
        )
        await turns()
        gone.cancel()
        await turns()
        held.go.set()
        await stays

    with_store(tmp_path, scenario)


async def returns_while_the_writer_is_stuck(store: SQLiteStore) -> None:
    held = Held()
    working = store._writer.submit(held)
    await asyncio.to_thread(held.begun.wait, 5)
    try:
        await asyncio.wait_for(store.wait_for_idle_writer(), 1)
    finally:
        held.go.set()
        await working


def test_the_wait_is_short(tmp_path: Path) -> None:
    """While the writer is stuck, a request waits only briefly, and then enters the queue, which may refuse it."""
    with_store(tmp_path, returns_while_the_writer_is_stuck)


def test_mutant_endless_wait_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit to the wait, a stuck writer holds up the request."""
    monkeypatch.setattr(thread_writer, "_IDLE_WAIT_MAX_S", 60)
    with pytest.raises(TimeoutError):
        with_store(tmp_path, returns_while_the_writer_is_stuck)


@pytest.mark.parametrize(
    ("moment", "promise"),
    [("set_busy", waits_while_the_writer_computes), ("set_idle", comes_with_the_commit)],
)
def test_mutant_missing_signal_is_caught(
    moment: str,
    promise: Callable[[SQLiteStore], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A writer that does not signal that it is busy, or signals that it is idle only after the commit."""
    real = ThreadWriter._commit_group

    def commit_group(self: ThreadWriter, group: list[Any]) -> None:
        signal = getattr(self._idle, moment)
        setattr(self._idle, moment, lambda: None)
        if moment == "set_busy":
            self._idle.set_idle()
        real(self, group)
        setattr(self._idle, moment, signal)

    monkeypatch.setattr(ThreadWriter, "_commit_group", commit_group)
    with pytest.raises(AssertionError):
        with_store(tmp_path, promise)
