"""The writer of a process that only writes: what comes in at once is one group, and nothing is left over."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.storage.test_sqlite_writer import event, with_store
from tests.unit.mutants import catches, replaced
from whence.errors import Unavailable
from whence.storage import Write
from whence.storage.sqlite import loop_writer
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.loop_writer import LoopWriter
from whence.storage.sqlite.shared import SharedFile
from whence.storage.sqlite.writer import Job, WriterWork

MANY = 20
WAIT_S = 3.0


def run(tmp_path: Path, scenario: Callable[[SQLiteStore], Any]) -> Any:
    """The result of a scenario, which fails if it waits for long."""

    async def bounded(store: SQLiteStore) -> Any:
        try:
            return await asyncio.wait_for(scenario(store), WAIT_S)
        except TimeoutError:
            pytest.fail("a request was left over")

    return with_store(tmp_path, bounded, LoopWriter)


def commits_of(store: SQLiteStore) -> list[str]:
    """A list that grows with each COMMIT from now on."""
    commits: list[str] = []
    store._writing.trace_v2(
        apsw.SQLITE_TRACE_STMT, lambda trace: commits.append(trace["sql"]) if trace["sql"] == "COMMIT" else None
    )
    return commits


def append(store: SQLiteStore, number: int) -> "asyncio.Task[Any]":
    return asyncio.create_task(store.append(f"t{number}", [Write((event(number),))]))


def commit_each(self: LoopWriter, job: Job, _inline: WriterWork | None) -> None:
    self._commit_group([job])
    job.loop.call_soon(job.resolve)


@catches(replaced(LoopWriter, "_accept", commit_each, "each_has_a_commit_of_its_own"))
def test_requests_that_come_at_once_share_a_commit(tmp_path: Path) -> None:
    async def scenario(store: SQLiteStore) -> None:
        commits = commits_of(store)
        results = await asyncio.gather(*(append(store, number) for number in range(MANY)))
        assert all(isinstance(receipts, list) for [receipts] in results)
        assert len(commits) == 1

    run(tmp_path, scenario)


def commit_one_group(self: LoopWriter) -> list[Job]:
    group = [self._waiting.popleft() for _ in range(min(len(self._waiting), loop_writer.GROUP_MAX))]
    if group:
        self._commit_group(group)
    return group


@catches(replaced(LoopWriter, "_commit_next", commit_one_group, "what_is_left_over_waits_for_more"))
def test_more_than_a_group_is_committed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several groups, one after the other, and in the order in which they came."""
    monkeypatch.setattr(loop_writer, "GROUP_MAX", MANY // 4)

    async def scenario(store: SQLiteStore) -> None:
        commits, ran = commits_of(store), list[int]()
        await asyncio.gather(*(store._writer.submit(lambda _, each=each: ran.append(each)) for each in range(MANY)))
        assert (len(commits), ran) == (4, list(range(MANY)))

    run(tmp_path, scenario)


def forget(self: LoopWriter) -> None:
    self._closed = True
    self._waiting.clear()


def stop_open(self: LoopWriter) -> None:
    while self._waiting:
        self._resolve(self._commit_next())


@catches(
    replaced(LoopWriter, "stop", forget, "what_waits_is_forgotten"),
    replaced(LoopWriter, "stop", stop_open, "it_takes_more_after_its_end"),
)
def test_what_waits_at_the_end_is_stored(tmp_path: Path) -> None:
    """A stop from another thread commits and answers what was submitted, and what comes later is refused."""

    async def scenario(store: SQLiteStore) -> None:
        waiting = store._writer.submit(lambda _connection: "stored")
        thread = threading.Thread(target=store._writer.stop)
        thread.start()
        thread.join(WAIT_S)  # on the event loop, which therefore cannot commit it
        late = store._writer.submit(lambda _connection: "late")
        assert await waiting == "stored"
        with pytest.raises(Unavailable):
            await late

    run(tmp_path, scenario)


def test_the_process_that_only_writes_has_no_thread_for_it(tmp_path: Path) -> None:
    """Of a server with several processes."""

    async def scenario() -> None:
        before = set(threading.enumerate())
        store = SharedFile(str(tmp_path / "log.db"), accept_rollback=False).open_writer(again=False)
        try:
            assert isinstance(store._writer, LoopWriter)
            assert "whence-writer" not in [thread.name for thread in set(threading.enumerate()) - before]
        finally:
            await store.close()

    asyncio.run(scenario())
