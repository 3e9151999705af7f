"""A reader interrupts a query that takes too long, and then serves the next one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.storage.test_sqlite_writer import event, with_store
from whence.errors import QueryTooExpensive
from whence.events import PageRequest, Query, Viewer
from whence.storage import Write
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
            await store._readers.read(lambda connection: connection.execute(STEPS).fetchall())
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

    def ask(self: Any, question: Any, seconds: float) -> Any:
        self.deadline = readers.time.monotonic() + seconds
        try:
            self.connection.execute("BEGIN")
            try:
                return question(self.connection)
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
        finally:
            self.deadline = float("inf")

    monkeypatch.setattr(readers._Reader, "ask", ask)
    with pytest.raises(apsw.Error):
        with_store(tmp_path, stopped_questions)
