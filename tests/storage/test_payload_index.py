"""The index of payload fields: what `verify` finds wrong with it, what a query reads of it, and who fills it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.contract.made import TENANT, VIEWER, add, new
from tests.databases import fresh_database
from tests.storage.test_postgres_verify import execute, verify_store
from whence.events import PageRequest, Query
from whence.payload_indexing import PayloadIndexing
from whence.storage import create_store, payload_index
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.verify import verify

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def fill(store: Any, first: int, count: int) -> None:
    """Store events with one of three tools, of which every fourth event has none."""
    payloads = [b'{"tool":"a"}', b'{"tool":["a","b"]}', b'{"tool":"c","x":1}', b"{}"]
    await add(store, *[new(number, payload=payloads[number % 4]) for number in range(first, first + count)])


async def index(store: Any, *paths: str) -> None:
    while await store.payload_index.advance(TENANT, paths):
        pass


@pytest.fixture
async def path(tmp_path: Path, anyio_backend: str) -> Path:
    """A file with 40 events, all but the last four in the index."""
    file = tmp_path / "log.db"
    store = SQLiteStore(str(file))
    await fill(store, 1, 36)
    await index(store, "tool", "x")
    await fill(store, 37, 4)
    await store.close()
    return file


DAMAGES = (
    "UPDATE {0}payload_value SET events = events + 1 WHERE text = 'a'",
    "UPDATE {0}payload_value SET failures = failures + 1 WHERE text = 'a'",
    "UPDATE {0}payload_value SET text = 'other' WHERE text = 'b'",
    "UPDATE {0}payload_value SET field = 99 WHERE text = 'b'",
    "UPDATE {0}payload_field SET indexed_to = indexed_to - 1",
    "UPDATE {0}payload_field SET indexed_to = 1000",
    "UPDATE {0}payload_entry SET occurred_at = occurred_at + 1",
    "DELETE FROM {0}payload_entry WHERE occurred_at = (SELECT min(occurred_at) FROM {0}payload_entry)",
    "DELETE FROM {0}payload_field WHERE path = 'tool'",
    "DELETE FROM {0}payload_value WHERE text = 'b'",
)
"""Changes to the index, each in a way of its own."""


@pytest.mark.parametrize("sql", DAMAGES)
def test_verify_finds_a_wrong_index(path: Path, sql: str) -> None:
    """Wrong counts, texts, times and positions; entries that are missing, or of nothing."""
    assert verify(str(path)).findings == []
    connection = apsw.Connection(str(path))
    connection.execute(sql.format(""))
    assert connection.changes()
    connection.close()
    [finding, *_] = verify(str(path)).findings
    assert "payload fields" in finding.what


async def test_verify_finds_a_wrong_index_on_postgresql() -> None:
    """The same damages, one after the other."""
    url = await fresh_database()
    store = create_store(url)
    await fill(store, 1, 36)
    await index(store, "tool", "x")
    await fill(store, 37, 4)
    await store.close()
    assert (await verify_store(url)).findings == []
    await execute(url, *[f"CREATE TABLE kept_{name} AS SELECT * FROM whence.payload_{name}" for name in TABLES])
    for sql in DAMAGES:
        await execute(url, sql.format("whence."))
        [finding, *_] = (await verify_store(url)).findings
        assert "payload fields" in finding.what, sql
        for name in TABLES:
            await execute(
                url,
                f"DELETE FROM whence.payload_{name}",
                f"INSERT INTO whence.payload_{name} SELECT * FROM kept_{name}",
            )
    assert (await verify_store(url)).findings == []


TABLES = ("field", "value", "entry")


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str) -> AsyncIterator[SQLiteStore]:
    """An empty store on a file."""
    opened = SQLiteStore(f"{tmp_path}/log.db")
    yield opened
    await opened.close()


async def test_what_the_index_does_not_cover_is_unbounded(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """One value of an indexed path takes a place of unbounded queries only while too many events are missing; another
    path always does. The answer is the same."""
    monkeypatch.setattr(payload_index, "TAIL_MAX", 8)
    unbounded: list[str] = []
    real = store._readers.read_unbounded

    async def noted(tenant: str, question: Any) -> Any:
        unbounded.append(tenant)
        return await real(tenant, question)

    monkeypatch.setattr(store._readers, "read_unbounded", noted)

    async def lane(text: str) -> tuple[int, int]:
        """The total, and how many unbounded queries it took."""
        unbounded.clear()
        page = await store.list_events(VIEWER, Query(payload_values=(text,)), PageRequest(limit=100))
        assert len(page.events) == page.total
        return page.total, len(unbounded)

    await fill(store, 1, 40)
    assert await lane("tool=a") == (20, 1)
    await index(store, "tool")
    assert await lane("tool=a") == (20, 0)
    await fill(store, 41, 8)
    assert await lane("tool=a") == (24, 0)
    await fill(store, 49, 4)
    assert await lane("tool=a") == (26, 1)
    assert await lane("x=1") == (13, 1)


async def test_a_page_of_one_value_is_read_in_order_from_the_index(store: SQLiteStore) -> None:
    """Without a sort, and without a look at other events."""
    await fill(store, 1, 40)
    await index(store, "tool")
    statements: list[str] = []
    for reader in store._readers._readers:
        reader.connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: statements.append(event["sql"]))
    await store.list_events(VIEWER, Query(payload_values=("tool=a",)), PageRequest(limit=5))
    [page] = [text for text in statements if "payload_entry" in text]
    plan = apsw.Connection(store._path).execute(f"EXPLAIN QUERY PLAN {page}", (1, 5, 0)).fetchall()
    assert [row[3] for row in plan] == ["SEARCH payload_entry USING PRIMARY KEY (value=?)"]
    assert not any("count(*) FROM event" in text for text in statements)


async def test_the_follower_indexes_every_log_and_drops_other_paths(store: SQLiteStore) -> None:
    """Until nothing is left to do. A slice is a transaction of its own, and another setting begins anew."""
    await fill(store, 1, 1_200)
    await PayloadIndexing(store, ("tool",)).index_all()
    assert [(row.path, row.indexed_to) for row in await store.payload_index.list_fields(TENANT)] == [("tool", 1_200)]
    await PayloadIndexing(store, ("x",)).index_all()
    assert [(row.path, row.indexed_to) for row in await store.payload_index.list_fields(TENANT)] == [("x", 1_200)]
    await PayloadIndexing(store, ()).index_all()
    assert await store.payload_index.list_fields(TENANT) == []
    rows = apsw.Connection(store._path).execute(
        "SELECT (SELECT count(*) FROM payload_value), (SELECT count(*) FROM payload_entry)"
    )
    assert rows.fetchall() == [(0, 0)]


async def test_a_slice_ends_with_large_payloads(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it holds the writer for a short time; the next one goes on after it."""
    monkeypatch.setattr("whence.storage.sqlite.payload_index.SLICE_BYTES", 100)
    await add(store, *[new(number, payload=b'{"tool":"%s"}' % (b"a" * 60)) for number in range(1, 6)])
    reached = []
    while await store.payload_index.advance(TENANT, ("tool",)):
        reached.append((await store.payload_index.list_fields(TENANT))[0].indexed_to)
    assert reached == [2, 4]
