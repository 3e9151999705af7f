"""A reader interrupts a query that takes too long, and then serves the next one."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.storage.test_sqlite_writer import event, with_store
from tests.unit.mutants import catches, replaced
from whence.errors import QueryTooExpensive
from whence.events import PageRequest, Query, Viewer
from whence.storage import Write
from whence.storage.query_deadline import Deadline, check_deadline
from whence.storage.sqlite import readers
from whence.storage.sqlite.engine import SQLiteStore

STEPS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000000) SELECT max(i) FROM n"
"""A query that takes minutes."""


@pytest.fixture(autouse=True)
def looking_always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The deadline is checked after every step of SQLite, so that each statement that can be interrupted is."""
    monkeypatch.setattr(readers, "_STEPS_PER_CHECK", 1)
    yield


async def stopped_questions(store: SQLiteStore) -> None:
    """Run interrupted queries, each followed by one that succeeds, on the event loop's reader and on those of the
    threads."""
    await store.append("t", [Write((event(0),))])
    store._readers._query_seconds_max = 0.05
    for _ in range(3 * len(store._readers._readers)):
        with pytest.raises(QueryTooExpensive):
            await store._readers.read("t", lambda connection: connection.execute(STEPS).fetchall())
        store._readers._query_seconds_max = 5
        assert (await store.list_events(Viewer("t"), Query(), PageRequest())).total == 1
        wide = Query(correlation_ids=("none",), actor_ids=("none",))
        assert (await store.list_events(Viewer("t"), wide, PageRequest())).total == 0
        store._readers._query_seconds_max = 0.05


def test_a_stopped_question_leaves_its_reader_whole(tmp_path: Path) -> None:
    """The transaction of an interrupted query is ended, and the next query on that reader succeeds."""
    with_store(tmp_path, stopped_questions)


def test_mutant_a_stop_that_also_stops_the_end_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the deadline also applies to the end of the transaction, that is interrupted too and the reader stays
    unusable."""

    def ask(self: Any, question: Any, deadline: Deadline) -> Any:
        self.deadline = deadline
        try:
            self.connection.execute("BEGIN")
            try:
                return question(self.connection)
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
        finally:
            self.deadline = None

    monkeypatch.setattr(readers._Reader, "ask", ask)
    with pytest.raises(apsw.Error):
        with_store(tmp_path, stopped_questions)


def sql(connection: apsw.Connection) -> None:
    connection.execute(STEPS).fetchall()


def python(_connection: apsw.Connection) -> None:
    for _ in range(800):
        time.sleep(0.01)
        check_deadline()


def no_cancel(self: Deadline) -> None:
    """Mutant: work goes on for a client that has left."""


@catches(replaced(Deadline, "cancel", no_cancel, "a_client_that_left_is_worked_for"))
@pytest.mark.parametrize("question", [sql, python])
def test_a_question_that_nobody_waits_for_is_stopped(tmp_path: Path, question: Any) -> None:
    """In SQLite and in Python. Its place is free again then, and not before."""

    async def scenario(store: SQLiteStore) -> None:
        await store.append("t", [Write((event(0),))])
        places, store._readers._query_seconds_max = store._readers._places, 8.0
        asked = [asyncio.create_task(store._readers.read_in_thread("t", question)) for _ in range(20)]
        await asyncio.sleep(0.2)
        assert places._held["t"] == 2
        for task in asked:
            task.cancel()
        await asyncio.sleep(0)
        assert places._held["t"] == 2, "the threads still run"
        until = time.monotonic() + 2.5
        for _ in range(250):
            await asyncio.sleep(0.01)
            if not places._held["t"] or time.monotonic() > until:
                break
        assert not places._held["t"]
        assert not places.is_waiting("t")
        assert (await store.list_events(Viewer("t"), Query(), PageRequest())).total == 1

    with_store(tmp_path, scenario)


@catches(replaced(Deadline, "has_passed", False, "the_time_limit_stops_at_sql"))
def test_the_time_limit_reaches_python(tmp_path: Path) -> None:
    async def scenario(store: SQLiteStore) -> None:
        store._readers._query_seconds_max = 0.05
        began = time.monotonic()
        with pytest.raises(QueryTooExpensive):
            await store._readers.read_in_thread(
                "t", lambda _: [(time.sleep(0.01), check_deadline()) for _ in range(300)]
            )
        assert time.monotonic() - began < 2.5

    with_store(tmp_path, scenario)
