"""Long work of the event loop is done while the writer commits or waits, and soon when it does neither."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from whence.storage.sqlite import writer
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.writer import Writer


class Held:
    """A piece of the writer's work that goes on until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, connection: apsw.Connection) -> None:
        self.begun.set()
        self.go.wait(5)


class HeldCommit:
    """A connection whose COMMIT goes on until it is let go."""

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
    wait_for_idle_writer = asyncio.create_task(store.wait_for_idle_writer())
    await turns()
    early = wait_for_idle_writer.done()
    held.go.set()
    await working
    await wait_for_idle_writer
    assert not early, "the wait_for_idle_writer came while the writer computed"


async def comes_with_the_commit(store: SQLiteStore) -> None:
    held = HeldCommit(store._writing)
    store._writer._connection = held  # type: ignore[assignment]  # it stands in for the connection
    working = store._writer.submit(lambda connection: None)
    await asyncio.to_thread(held.held.begun.wait, 5)
    wait_for_idle_writer = asyncio.create_task(store.wait_for_idle_writer())
    await turns()
    came = wait_for_idle_writer.done() and not working.done()
    held.held.go.set()
    await working
    await wait_for_idle_writer
    assert came, "the wait_for_idle_writer did not come with the commit"


def test_a_lull_is_there_while_the_writer_has_no_work(tmp_path: Path) -> None:
    """Who asks an idle store goes on without giving way to anyone."""

    async def scenario(store: SQLiteStore) -> None:
        with pytest.raises(StopIteration):
            store.wait_for_idle_writer().__await__().send(None)  # type: ignore[attr-defined]  # an iterator, by a coroutine's contract

    with_store(tmp_path, scenario)


def test_long_work_waits_while_the_writer_computes(tmp_path: Path) -> None:
    """As long as a request is being placed, no wait_for_idle_writer comes; it comes behind it."""
    with_store(tmp_path, waits_while_the_writer_computes)


def test_a_lull_comes_with_the_commit(tmp_path: Path) -> None:
    """While the disk is waited for, long work may go on, though no answer is out yet."""
    with_store(tmp_path, comes_with_the_commit)


def test_a_lull_lets_go_of_one_after_the_other(tmp_path: Path) -> None:
    """The second waits until the first has worked, and longer when the writer is busy again by then."""

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


def test_who_gave_up_is_passed_over(tmp_path: Path) -> None:
    """A task that was cancelled while it waited keeps nobody behind it waiting."""

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


async def ends_without_idling(store: SQLiteStore) -> None:
    held = Held()
    working = store._writer.submit(held)
    await asyncio.to_thread(held.begun.wait, 5)
    try:
        await asyncio.wait_for(store.wait_for_idle_writer(), 1)
    finally:
        held.go.set()
        await working


def test_nobody_waits_long_for_a_lull(tmp_path: Path) -> None:
    """While the writer is stuck, a request still goes on to where it is told that the queue is full."""
    with_store(tmp_path, ends_without_idling)


def test_mutant_endless_patience_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a wait_for_idle_writer is waited for as long as it takes, a stuck writer holds the request."""
    monkeypatch.setattr(writer, "_PATIENCE_S", 60)
    with pytest.raises(TimeoutError):
        with_store(tmp_path, ends_without_idling)


@pytest.mark.parametrize(
    ("moment", "promise"),
    [("end", waits_while_the_writer_computes), ("begin", comes_with_the_commit)],
)
def test_mutant_a_moment_that_is_not_told_is_caught(
    moment: str,
    promise: Callable[[SQLiteStore], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the writer does not say that it computes, or says that it waits only behind the commit, a test sees it."""
    real = Writer._commit_group

    def commit_group(self: Writer, group: list[Any]) -> None:
        told = getattr(self._idle, moment)
        setattr(self._idle, moment, lambda: None)
        if moment == "end":
            self._idle.begin()
        real(self, group)
        setattr(self._idle, moment, told)

    monkeypatch.setattr(Writer, "_commit_group", commit_group)
    with pytest.raises(AssertionError):
        with_store(tmp_path, promise)
