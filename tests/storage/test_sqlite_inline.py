"""A small append runs inline, on the event loop, when the writer is free. It never waits or computes for long there."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.storage.test_sqlite_idle_writer import HeldCommit, turns, with_store
from tests.storage.test_sqlite_races import failing
from tests.storage.test_sqlite_writer import event
from whence import rollups
from whence.events import NewEvent, PageRequest, Query, Viewer
from whence.storage import Write, sequencing
from whence.storage.sqlite import append, engine, thread_writer
from whence.storage.sqlite.append import Appender
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.thread_writer import ThreadWriter

Scenario = Callable[[SQLiteStore, pytest.MonkeyPatch], Any]

HERE = "MainThread"


def threads_of(patch: pytest.MonkeyPatch, owner: Any, name: str) -> list[str]:
    """The threads that call a function from now on."""
    threads: list[str] = []
    real = getattr(owner, name)

    def call(*args: Any, **named: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(*args, **named)

    patch.setattr(owner, name, call)
    return threads


async def positions(store: SQLiteStore, *events: NewEvent) -> list[int]:
    """Store events in one request. Returns their positions."""
    [receipts] = await store.append("t", [Write(events)])
    assert isinstance(receipts, list), receipts
    return [receipt.event.position for receipt in receipts if receipt.event is not None]


async def few_run_here(store: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    """A few small events are sequenced on the event loop; many events, or large ones, in the writer thread."""
    threads = threads_of(patch, Appender, "append")
    most = engine._INLINE_EVENTS_MAX
    large = b'{"text":"' + b"a" * engine._INLINE_BYTES_MAX + b'"}'
    assert await positions(store, *map(event, range(most))) == list(range(1, most + 1))
    assert threads == [HERE]
    assert await positions(store, *map(event, range(most, 2 * most + 1))) == list(range(most + 1, 2 * most + 2))
    assert await positions(store, event(1_000, payload=large)) == [2 * most + 2]
    assert threads == [HERE, "whence-writer", "whence-writer"]


async def waits_for_its_turn(store: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    """While a commit is in progress, the next append waits in the queue, even if it is small."""
    held = HeldCommit(store._writing)
    store._writer._connection = held  # type: ignore[assignment]  # it stands in for the connection
    threads = threads_of(patch, Appender, "append")
    first = asyncio.create_task(positions(store, event(0)))
    await asyncio.to_thread(held.held.begun.wait, 5)
    second = asyncio.create_task(positions(store, event(1)))
    await turns()
    held.held.go.set()
    assert (await first, await second) == ([1], [2])
    assert threads == [HERE, "whence-writer"]
    assert await positions(store, event(2)) == [3]
    assert threads[-1] == HERE


async def does_not_wait_for_another_process(store: SQLiteStore, _patch: pytest.MonkeyPatch) -> None:
    """While another process holds the write lock, the event loop is not blocked, and the append is stored
    afterwards."""
    other = apsw.Connection(store._writing.filename)
    other.execute("BEGIN IMMEDIATE")
    went_on = threading.Event()

    def wait() -> bool:
        seen = went_on.wait(0.5)
        other.execute("ROLLBACK")
        return seen

    waiting = asyncio.get_running_loop().run_in_executor(None, wait)
    storing = asyncio.create_task(positions(store, event(0)))
    await turns()
    went_on.set()
    assert await waiting, "the append held up the event loop"
    assert await storing == [1]
    other.close()


async def leaves_long_work_to_the_writer(store: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    """Work that is due once in some thousand events, such as a fold, always runs in the writer thread."""
    patch.setattr(rollups, "DIVIDE_AT", 96)
    patch.setattr(sequencing, "FOLD_AT", 64)
    folds, divisions = threads_of(patch, append, "fold_transitions"), threads_of(patch, append, "_divide")
    calls = threads_of(patch, Appender, "append")
    number = 63
    await positions(store, *map(event, range(number)))
    assert not folds
    while not (folds and divisions):
        assert await positions(store, event(number)) == [number + 1]
        number += 1
    assert {*folds, *divisions} == {"whence-writer"}
    assert calls.count(HERE) > calls.count("whence-writer")


async def leaves_no_trace(store: SQLiteStore, _patch: pytest.MonkeyPatch) -> None:
    """An append that fails inline is rolled back, and stored by the writer."""
    connection = failing(store)
    connection.fail(append._SQL["save_head"])
    assert await positions(store, event(0)) == [1]
    assert not any(connection.failures.values())
    page = await store.list_events(Viewer("t"), Query(), PageRequest(limit=10))
    assert [(found.id, found.position) for found in page.events] == [(event(0).id, 1)]
    assert page.total == 1


def always_inline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine, "_fits_inline", lambda _writes: True)


def never_inline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine, "_fits_inline", lambda _writes: False)


def always_free(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ThreadWriter, "_is_free", property(lambda _self: True, lambda _self, _value: None), raising=False)


def free_once(patch: pytest.MonkeyPatch) -> None:
    """Mutant: the writer counts as busy from its first request on."""

    def free(self: ThreadWriter, value: bool) -> None:
        self.__dict__["free"] = value and "free" not in self.__dict__

    patch.setattr(ThreadWriter, "_is_free", property(lambda self: self.__dict__["free"], free), raising=False)


def waiting_here(patch: pytest.MonkeyPatch) -> None:
    """Mutant: the event loop waits for the lock, as the writer thread does."""
    real = ThreadWriter._run_inline

    def run_inline(self: ThreadWriter, *args: Any) -> None:
        connection = self._connection
        self._connection = _Patient(connection)  # type: ignore[assignment]  # it stands in for the connection
        try:
            real(self, *args)
        finally:
            self._connection = connection

    patch.setattr(ThreadWriter, "_run_inline", run_inline)


class _Patient:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def set_busy_timeout(self, _milliseconds: int) -> None:
        self._connection.set_busy_timeout(thread_writer.BUSY_MS)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def long_work_here(patch: pytest.MonkeyPatch) -> None:
    real = Appender.append

    def append_(*args: Any, inline: bool = False, **named: Any) -> Any:
        del inline
        return real(*args, **named)

    patch.setattr(Appender, "append", append_)


def not_undone_here(patch: pytest.MonkeyPatch) -> None:
    real = ThreadWriter._run_inline

    def run_inline(self: ThreadWriter, *args: Any) -> None:
        self._roll_back = lambda: None  # type: ignore[method-assign]  # the mutant
        try:
            real(self, *args)
        finally:
            self._roll_back = partial(ThreadWriter._roll_back, self)  # type: ignore[method-assign]  # and back

    patch.setattr(ThreadWriter, "_run_inline", run_inline)


PROMISES: list[tuple[Scenario, tuple[Callable[[pytest.MonkeyPatch], None], ...]]] = [
    (few_run_here, (always_inline, never_inline)),
    (waits_for_its_turn, (always_free, free_once)),
    (does_not_wait_for_another_process, (waiting_here,)),
    (leaves_long_work_to_the_writer, (long_work_here,)),
    (leaves_no_trace, (not_undone_here,)),
]


@pytest.mark.parametrize("promise", [promise for promise, _ in PROMISES], ids=lambda each: each.__name__)
def test_inline_appends(promise: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each promise about inline appends holds."""
    with_store(tmp_path, lambda store: promise(store, monkeypatch))


@pytest.mark.parametrize(
    ("promise", "mutant"),
    [(promise, mutant) for promise, broken in PROMISES for mutant in broken],
    ids=lambda each: each.__name__,
)
def test_mutants_of_inline_appends_are_caught(
    promise: Scenario, mutant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of each promise fails on the writers that break it."""
    mutant(monkeypatch)
    with pytest.raises((AssertionError, TimeoutError)):
        with_store(tmp_path, lambda store: promise(store, monkeypatch))
