"""The writer survives every error, and forgets the names that a rolled-back transaction added."""

import asyncio
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from whence.errors import Conflict, Unavailable
from whence.events import NewEvent, PageRequest, Query, Viewer
from whence.storage import Write
from whence.storage.sqlite import append, writer
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.loop_writer import LoopWriter
from whence.storage.sqlite.thread_writer import ThreadWriter
from whence.storage.sqlite.writer import Writer


def event(number: int = 0, **fields: Any) -> NewEvent:
    values: dict[str, Any] = {
        "id": str(uuid.UUID(int=number + 1)),
        "event_type": "action_run.completed",
        "actor_type": "agent",
        "actor_id": "planner",
        "resource_type": "action_run",
        "resource_id": str(uuid.UUID(int=7)),
        "occurred_at": 1_700_000_000_000_000 + number,
    }
    return NewEvent(**{**values, **fields})


Kind = type[ThreadWriter | LoopWriter]

BOTH = pytest.mark.parametrize("kind", [ThreadWriter, LoopWriter])


def with_store(tmp_path: Path, scenario: Callable[[SQLiteStore], Any], kind: Kind = ThreadWriter) -> Any:
    async def run() -> Any:
        store = SQLiteStore(str(tmp_path / "log.db"), writer=kind)
        try:
            return await scenario(store)
        finally:
            await store.close()

    return asyncio.run(run())


class FailingCommit:
    """A connection whose next COMMIT fails once, as on a full disk."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.failures = 0

    def execute(self, sql: str, *bindings: Any) -> Any:
        if sql == "COMMIT" and self.failures:
            self.failures -= 1
            raise apsw.FullError("disk full")
        return self.connection.execute(sql, *bindings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


async def commit_fails_once(store: SQLiteStore) -> tuple[Any, list[Any]]:
    """Append a first event with a new actor while the commit fails, then another of the same actor."""
    failing = FailingCommit(store._writer._connection)
    failing.failures = 1
    store._writer._connection = failing  # type: ignore[assignment]  # it wraps the real connection
    [error] = await store.append("t", [Write((event(0),))])
    results = await store.append("t", [Write((event(1),))])
    stats = await store.actor_stats(Viewer("t"), Query())
    return error, [results, stats]


@BOTH
def test_a_failed_commit_fails_its_group_and_the_writer_goes_on(tmp_path: Path, kind: Kind) -> None:
    """The requests of a failed commit raise Unavailable; the next request is stored at position 1."""

    async def scenario(store: SQLiteStore) -> None:
        error, (receipts, stats) = await commit_fails_once(store)
        assert isinstance(error, Unavailable)
        page = await store.list_events(Viewer("t"), Query(), PageRequest())
        assert [found.position for found in page.events] == [1]
        assert [found.id for found in page.events] == [event(1).id]
        assert isinstance(receipts[0], list)
        assert [(stat.actor_id, stat.total) for stat in stats] == [("planner", 1)]
        assert receipts[0][0].event == page.events[0]

    with_store(tmp_path, scenario, kind)


def test_mutant_a_cache_filled_before_the_commit_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When names are cached before the commit, events refer to the number of a rolled-back actor."""

    def add(self: Any, name: tuple[Any, ...], number: int) -> None:
        self._durable[name] = number

    monkeypatch.setattr(append.NameCache, "add", add)

    async def scenario(store: SQLiteStore) -> None:
        with pytest.raises(ValueError, match="unknown actor"):  # counted for an actor with a number after the last one
            await commit_fails_once(store)

    with_store(tmp_path, scenario)


@BOTH
def test_a_refused_request_leaves_the_others_of_its_commit_alone(tmp_path: Path, kind: Kind) -> None:
    """Of three requests in one commit, the atomic one in the middle has a conflict, and the others take positions 2
    and 3."""

    async def scenario(store: SQLiteStore) -> None:
        await store.append("t", [Write((event(0),))])
        results = await store.append(
            "t",
            [
                Write((event(1),)),
                Write((event(2), event(0, actor_id="other")), atomic=True),
                Write((event(3),)),
            ],
        )
        assert not isinstance(results[0], BaseException)
        assert isinstance(results[1], BaseException)
        page = await store.list_events(Viewer("t"), Query(), PageRequest(ascending=True))
        assert [(found.position, found.id) for found in page.events] == [
            (1, event(0).id),
            (2, event(1).id),
            (3, event(3).id),
        ]

    with_store(tmp_path, scenario, kind)


def test_a_conflict_in_a_plain_batch_is_a_receipt(tmp_path: Path) -> None:
    """Without `atomic`, the valid events of a batch are stored and the conflict names its field."""

    async def scenario(store: SQLiteStore) -> None:
        await store.append("t", [Write((event(0),))])
        [receipts] = await store.append("t", [Write((event(0, actor_id="other"), event(1), event(0)))])
        assert isinstance(receipts, list)
        assert isinstance(receipts[0].error, Conflict)
        assert receipts[0].error.fields == ("actorId",)
        assert receipts[1].event is not None
        assert receipts[1].event.position == 2
        assert receipts[2].replayed

    with_store(tmp_path, scenario)


@BOTH
def test_an_exception_in_a_request_does_not_end_the_writer(tmp_path: Path, kind: Kind) -> None:
    """A defect in one request raises for its caller only; the writer serves the requests after it."""

    async def scenario(store: SQLiteStore) -> None:
        def broken(connection: apsw.Connection) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store._writer.submit(broken)
        [receipts] = await asyncio.wait_for(store.append("t", [Write((event(0),))]), 5)
        assert isinstance(receipts, list)

    with_store(tmp_path, scenario, kind)


def test_mutant_an_exception_that_ends_the_writer_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When errors propagate out of the group, later requests get no result."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def commit_group(self: Writer, group: list[Any]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for job in group:
            job.result = job.work(self._connection)
        self._connection.execute("COMMIT")

    monkeypatch.setattr(Writer, "_commit_group", commit_group)

    async def scenario(store: SQLiteStore) -> None:
        def broken(connection: apsw.Connection) -> None:
            raise ZeroDivisionError

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store._writer.submit(broken), 0.3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.append("t", [Write((event(0),))]), 0.3)

    with_store(tmp_path, scenario)


def test_requests_that_wait_share_a_commit(tmp_path: Path) -> None:
    """Twenty requests that are queued while the writer is held are stored in one commit."""

    async def scenario(store: SQLiteStore) -> None:
        held, go = threading.Event(), threading.Event()
        commits: list[str] = []

        def hold(connection: apsw.Connection) -> None:
            held.set()
            go.wait(5)

        holding = store._writer.submit(hold)
        await asyncio.to_thread(held.wait, 5)
        waiting = [asyncio.create_task(store.append(f"t{n}", [Write((event(n),))])) for n in range(20)]
        await asyncio.sleep(0)
        store._writing.trace_v2(
            apsw.SQLITE_TRACE_STMT, lambda trace: commits.append(trace["sql"]) if trace["sql"] == "COMMIT" else None
        )
        go.set()
        await holding
        await asyncio.gather(*waiting)
        assert len(commits) == 2  # the commit of the held request, and one for all twenty

    with_store(tmp_path, scenario)


class FullLog:
    """A logger whose disk is full."""

    def error(self, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")


@BOTH
def test_a_log_that_cannot_be_written_does_not_end_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """When a commit fails and the error cannot be logged either, the request fails and the next one is stored."""
    monkeypatch.setattr(writer, "_log", FullLog())

    async def scenario(store: SQLiteStore) -> None:
        error, (receipts, _) = await asyncio.wait_for(commit_fails_once(store), 5)
        assert isinstance(error, Unavailable)
        assert isinstance(receipts[0], list)

    with_store(tmp_path, scenario, kind)


def test_mutant_a_writer_that_must_log_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When an error of the logger propagates, the requests of the commit get no result."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.setattr(writer, "_log_error", FullLog().error)

    async def scenario(store: SQLiteStore) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(commit_fails_once(store), 0.5)

    with_store(tmp_path, scenario)
