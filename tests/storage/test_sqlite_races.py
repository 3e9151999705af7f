"""Readers during writes, and a writer during failures, with forced interleavings."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.contract import mutants, rarer_mutants
from tests.storage.test_sqlite_writer import event, with_store
from whence import rollups
from whence.errors import Unavailable, WhenceError
from whence.events import PageRequest, Query, Viewer
from whence.storage import Receipt, Write
from whence.storage.sqlite import append, counts, engine
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.readers import Readers
from whence.storage.sqlite.rows import POSITION_MASK
from whence.storage.sqlite.writer import Writer

WAIT_S = 10
FIRST, LARGE, SMALL = 50, 3_000, 20


class Pause:
    """Holds the first thread that reaches it until it is released."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def hold(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            assert self.go.wait(WAIT_S)

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, WAIT_S)


def pause_after(patch: pytest.MonkeyPatch, module: Any, name: str) -> Pause:
    """A pause after the next call of a function. Queries run in threads, so that the event loop is not held too."""
    pause, real = Pause(), getattr(module, name)
    patch.setattr(Readers, "read", Readers._read_in_thread)

    def paused(*args: Any, **named: Any) -> Any:
        result = real(*args, **named)
        pause.hold()
        return result

    patch.setattr(module, name, paused)
    return pause


async def fill(store: SQLiteStore) -> None:
    await store.append("t", [Write(tuple(event(n) for n in range(FIRST)))])


async def grow(store: SQLiteStore, first: int = FIRST) -> None:
    """Store one large request and twenty small ones concurrently, with ids from `first` on."""
    writes = [Write(tuple(event(first + SMALL + n) for n in range(LARGE)))]
    writes += [Write((event(first + n),)) for n in range(SMALL)]
    waiting = [store.append("t", [write]) for write in writes]
    results = await asyncio.gather(*waiting)
    assert all(not isinstance(result, WhenceError) for [result] in results)


Scenario = Callable[[SQLiteStore, pytest.MonkeyPatch], Any]


async def a_page_beside_writers(store: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    """The writers commit after the reader has read its total and before it reads the page."""
    await fill(store)
    pause = pause_after(patch, engine, "total")
    reading = asyncio.create_task(store.list_events(Viewer("t"), Query(), PageRequest(limit=100)))
    await pause.until_reached()
    await grow(store)
    pause.go.set()
    page = await reading
    assert (len(page.events), page.total, page.as_of) == (FIRST, FIRST, FIRST)
    assert not page.has_next
    assert (await store.head("t")).size == FIRST + LARGE + SMALL


async def counts_beside_a_division(store: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    """The writers fill and divide buckets after the reader has chosen its buckets and before it counts them."""
    patch.setattr(rollups, "DIVIDE_AT", FIRST // 2)
    await fill(store)
    query = Query(since=event(1).occurred_at)
    for turn, ask in enumerate((store.count_events, store.actor_stats)):
        before = await ask(Viewer("t"), query)
        pause = pause_after(patch, counts, "pieces_of")
        reading = asyncio.create_task(ask(Viewer("t"), query))
        await pause.until_reached()
        await grow(store, FIRST + turn * (LARGE + SMALL))
        pause.go.set()
        assert await reading == before
    assert (await store.count_events(Viewer("t"), query)).total == FIRST - 1 + 2 * (LARGE + SMALL)


async def a_request_is_seen_whole(store: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    """After every commit, the size of the log is that of a whole number of requests."""
    await fill(store)
    beside = apsw.Connection(store._writing.db_filename("main"))
    sizes = []
    real = Writer._resolve

    def look(self: Writer, group: list[Any]) -> None:
        sizes.append(beside.execute("SELECT size FROM tenant").get)
        real(self, group)

    patch.setattr(Writer, "_resolve", look)
    await grow(store)
    beside.close()
    assert sizes
    assert not [size for size in sizes if FIRST < size < FIRST + LARGE]


async def a_tail_skips_nothing(store: SQLiteStore, _patch: pytest.MonkeyPatch) -> None:
    """A reader that continues after its last position sees every position once, in order."""
    seen: list[int] = []

    def read_on(connection: apsw.Connection) -> list[int]:
        last = seen[-1] if seen else 0
        sql = "SELECT key & ?2 FROM event WHERE key > (1 << 40 | ?1) AND key <= (1 << 40 | ?2) ORDER BY key"
        return [position for (position,) in connection.execute(sql, (last, POSITION_MASK))]

    large = asyncio.create_task(store.append("t", [Write(tuple(event(10_000 + n) for n in range(LARGE)))]))
    await asyncio.sleep(0)
    small = [asyncio.create_task(store.append("t", [Write((event(100 + n),))])) for n in range(SMALL)]
    for each in (*small, large):
        seen += await store._readers.read("t", read_on)
        await each
    seen += await store._readers.read("t", read_on)
    assert seen == list(range(1, LARGE + SMALL + 1))


RACES: list[tuple[Scenario, tuple[Callable[[pytest.MonkeyPatch], None], ...]]] = [
    (a_page_beside_writers, (rarer_mutants.page_in_a_second_snapshot, rarer_mutants.reads_without_a_transaction)),
    (counts_beside_a_division, (rarer_mutants.reads_without_a_transaction,)),
    (a_request_is_seen_whole, (rarer_mutants.request_in_pieces,)),
    (a_tail_skips_nothing, (rarer_mutants.positions_drawn_before_the_commit,)),
]


@pytest.mark.parametrize("race", [race for race, _ in RACES], ids=lambda race: race.__name__)
def test_a_reader_beside_writers(race: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader sees one snapshot, independent of when writers commit."""
    with_store(tmp_path, lambda store: race(store, monkeypatch))


@pytest.mark.parametrize(
    ("race", "mutant"),
    [(race, mutant) for race, broken in RACES for mutant in broken],
    ids=lambda each: each.__name__,
)
def test_mutants_of_reading_are_caught(
    race: Scenario, mutant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each race fails on the stores that are broken there."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        with_store(tmp_path, lambda store: race(store, monkeypatch))


class Failing:
    """A connection on which given statements fail a given number of times, as on a full disk."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.failures: dict[str, int] = {}

    def execute(self, sql: str, *bindings: Any) -> Any:
        if self.failures.get(sql):
            self.failures[sql] -= 1
            raise apsw.FullError("disk full")
        return self.connection.execute(sql, *bindings)

    def fail(self, statement: str, times: int = 1) -> None:
        self.failures[statement] = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def failing(store: SQLiteStore) -> Failing:
    """Give the writer a connection that can be made to fail."""
    connection = Failing(store._writing)
    store._writer._connection = connection  # type: ignore[assignment]  # it wraps the real connection
    return connection


async def in_one_commit(store: SQLiteStore, start: Callable[[], list[Any]]) -> list[Any]:
    """The results of all requests that `start()` submits while the writer is held, so that they share one commit."""
    pause = Pause()
    holding = store._writer.submit(lambda _connection: pause.hold())
    await pause.until_reached()
    waiting = [asyncio.ensure_future(each) for each in start()]
    await asyncio.sleep(0)
    pause.go.set()
    await holding
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), WAIT_S)
    return list(outcomes)


async def a_commit_fails(store: SQLiteStore, _patch: pytest.MonkeyPatch) -> None:
    """Every request of a failed commit fails and none is stored. Sent again, they are stored from position 1."""
    connection = failing(store)
    events = [event(n, actor_id=f"a{n}", event_type=f"thing{n}.sent") for n in range(3)]
    outcomes = await in_one_commit(
        store,
        lambda: [
            store._writer.submit(lambda _connection: connection.fail("COMMIT")),
            *(store.append("t", [Write((each,))]) for each in events),
        ],
    )
    assert isinstance(outcomes[0], Unavailable)
    assert all(isinstance(outcome[0], Unavailable) for outcome in outcomes[1:])
    assert (await store.head("t")).size == 0
    for position, each in enumerate(reversed(events), 1):
        [receipts] = await store.append("t", [Write((each,))])
        assert not isinstance(receipts, WhenceError)
        assert (receipts[0].event.position, receipts[0].replayed) == (position, False)
    assert {stat.actor_id for stat in await store.actor_stats(Viewer("t"), Query())} == {"a0", "a1", "a2"}
    page = await store.list_events(Viewer("t"), Query(), PageRequest())
    assert {(found.id, found.actor_id, found.event_type) for found in page.events} == {
        (each.id, each.actor_id, each.event_type) for each in events
    }


async def one_request_breaks(store: SQLiteStore, _patch: pytest.MonkeyPatch) -> None:
    """A defect in one request of a commit rolls back the writes of that request only."""

    def broken(connection: apsw.Connection) -> None:
        connection.execute("INSERT INTO session (hash, key_id, expires_at) VALUES (x'00', 'k', 1)")
        raise ZeroDivisionError

    outcomes = await in_one_commit(
        store,
        lambda: [
            store.append("t", [Write((event(0),))]),
            store._writer.submit(broken),
            store.append("t", [Write((event(1), event(0, actor_id="eve")), atomic=True)]),
            store.append("t", [Write((event(2),))]),
        ],
    )
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert isinstance(outcomes[2][0], WhenceError)
    assert [outcomes[n][0][0].event.position for n in (0, 3)] == [1, 2]
    page = await store.list_events(Viewer("t"), Query(), PageRequest(ascending=True))
    assert [found.id for found in page.events] == [event(0).id, event(2).id]
    assert await store.credentials.find_session(b"\0") is None


async def any_statement_fails(store: SQLiteStore, _patch: pytest.MonkeyPatch) -> None:
    """When any statement of a commit fails, its request raises Unavailable and the next request is stored.

    A statement that is retried fails each time: inline, with its group, and alone.
    """
    connection = failing(store)
    work = append._SQL["save_head"]
    for number, statements in enumerate((
        {"BEGIN IMMEDIATE": 2},
        {work: 2, "SAVEPOINT request": 1},
        {work: 2, "RELEASE request": 1},
        {work: 3},
        {"COMMIT": 1},
    )):  # fmt: skip
        for statement, times in statements.items():
            connection.fail(statement, times)
        [refused] = await asyncio.wait_for(store.append("t", [Write((event(number),))]), WAIT_S)
        assert not any(connection.failures.values()), statements
        assert isinstance(refused, Unavailable), statements
        assert not connection.in_transaction, statements
        [receipts] = await asyncio.wait_for(store.append("t", [Write((event(number),))]), WAIT_S)
        assert not isinstance(receipts, WhenceError)
        assert receipts[0].event.position == number + 1
    assert store._writer._thread.is_alive()


def failed_commit_is_acknowledged(patch: pytest.MonkeyPatch) -> None:
    """Mutant: the error of a commit is ignored."""
    real = Writer._commit_group

    def commit_group(self: Writer, group: list[Any]) -> None:
        real(self, group)
        for job in group:
            if isinstance(job.error, Unavailable):
                job.error, job.result = None, job.result or [[Receipt()]]

    patch.setattr(Writer, "_commit_group", commit_group)


def an_error_ends_the_writer(patch: pytest.MonkeyPatch) -> None:
    """Mutant: errors propagate out of the group. The test waits at most a second for the result."""

    def commit_group(self: Writer, group: list[Any]) -> None:
        self._run_group(group)
        self._connection.execute("COMMIT")
        self._listener.group_committed()

    patch.setattr(threading, "excepthook", lambda _args: None)
    patch.setattr(f"{__name__}.WAIT_S", 1)
    patch.setattr(Writer, "_commit_group", commit_group)


def no_savepoints(patch: pytest.MonkeyPatch) -> None:
    """Mutant: the writes of a failed request stay."""

    def run_in_savepoint(self: Writer, job: Any) -> None:
        try:
            job.result = job.retry(self._connection)
            self._listener.request_released()
        except Exception as error:
            self._listener.request_rolled_back()
            job.error = error

    patch.setattr(Writer, "_run_in_savepoint", run_in_savepoint)


def nothing_is_undone(patch: pytest.MonkeyPatch) -> None:
    """Mutant: the writes of a group before a failure stay, and are made again."""

    def run_without_savepoints(self: Writer, group: list[Any]) -> bool:
        try:
            for job in group:
                job.result = job.work(self._connection)
                self._listener.request_released()
        except Exception:
            self._connection.execute("COMMIT")
            return False
        return True

    patch.setattr(Writer, "_run_without_savepoints", run_without_savepoints)


FAILURES: list[tuple[Scenario, tuple[Callable[[pytest.MonkeyPatch], None], ...]]] = [
    (a_commit_fails, (rarer_mutants.names_remembered_at_once, failed_commit_is_acknowledged)),
    (one_request_breaks, (no_savepoints, nothing_is_undone, mutants.atomic_keeps_the_first)),
    (any_statement_fails, (an_error_ends_the_writer, failed_commit_is_acknowledged)),
]


@pytest.mark.parametrize("failure", [failure for failure, _ in FAILURES], ids=lambda failure: failure.__name__)
def test_a_writer_beside_failures(failure: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is reported to the requests that it concerns, and the writer continues."""
    with_store(tmp_path, lambda store: failure(store, monkeypatch))


@pytest.mark.parametrize(
    ("failure", "mutant"),
    [(failure, mutant) for failure, broken in FAILURES for mutant in broken],
    ids=lambda each: each.__name__,
)
def test_mutants_of_the_writer_are_caught(
    failure: Scenario, mutant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure test fails on the broken writers, by wrong results or by rows that refer to a missing actor."""
    mutant(monkeypatch)
    with pytest.raises((AssertionError, TimeoutError, ValueError)):
        with_store(tmp_path, lambda store: failure(store, monkeypatch))
