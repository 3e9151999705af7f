"""The fields of row types are the columns of the statements, in the same order, on both stores."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest

from tests.databases import fresh_database
from whence.storage.followers import Attempt, Definition, Delivery, Place
from whence.storage.postgres import rows as postgres_rows
from whence.storage.purging import PurgeRow
from whence.storage.rows import FullEventRow, HashRow
from whence.storage.sql import load_blocks
from whence.storage.sqlite import rows as sqlite_rows
from whence.storage.sqlite.connection import connect, migrate

SQLITE = dict(load_blocks("whence.storage.sqlite"))
POSTGRES = dict(load_blocks("whence.storage.postgres"))


OF_KIND = {"event_type", "actor_type", "resource_type", "outcome"}
ONE_EVENT = [*FullEventRow._fields[:-1]]
"""A row of one event on PostgreSQL: only verification asks whether the id of its actor was replaced."""

PAGE_EVENT = ["number", "id", "kind", *[name for name in ONE_EVENT[2:] if name not in OF_KIND]]
"""A row of PostgreSQL's pages: the kind stands for its four words."""

FOLLOWERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("definition", "definitions", "definitions_of_tenant"), Definition.__struct_fields__),
    "place": Place.__struct_fields__,
    "places": Place.__struct_fields__[:2],
    **dict.fromkeys(("due_deliveries", "delivery", "deliveries"), Delivery.__struct_fields__),
    "attempts": Attempt.__struct_fields__,
}
"""What followers keep: each statement that reads rows, and the fields that they become."""


def inserted(text: str) -> tuple[str, ...]:
    """The columns that an INSERT lists."""
    [columns] = re.findall(r"INSERT INTO event \(([^)]*)\)", text)
    return tuple(re.split(r",\s*", columns))


def renamed(columns: list[str], names: Mapping[str, str]) -> list[str]:
    return [names.get(name, name) for name in columns]


def faults_of_sqlite(folder: Path, blocks: Mapping[str, str]) -> list[str]:
    """The statements whose columns differ from the names in Python."""
    connection = connect(str(folder / "log.db"), 1_000)
    migrate(connection)
    table: list[Any] = connection.execute("PRAGMA table_info(event)").fetchall()
    expected: dict[str, tuple[list[str], list[str]]] = {
        "event": ([name for _, name, *_ in table], [*sqlite_rows.EVENT_COLUMNS]),
        "add_event": ([*inserted(blocks["add_event"])], [*sqlite_rows.EVENT_COLUMNS]),
    }
    for block, row in (("full_event", FullEventRow), ("hashes", HashRow), ("log_part", HashRow)):
        expected[block] = (renamed(described(connection, blocks[block]), {"key": "number"}), [*row._fields])
    expected["purge_rows"] = (described(connection, blocks["purge_rows"]), [*PurgeRow._fields])
    for block, fields in FOLLOWERS.items():
        expected[block] = (described(connection, blocks[block]), [*fields])
    expected["head"] = (described(connection, blocks["head"]), [*sqlite_rows.SQLiteHeadRow.__struct_fields__])
    connection.close()
    return [name for name, (columns, fields) in expected.items() if columns != fields]


def described(connection: apsw.Connection, text: str) -> list[str]:
    """The columns of a statement's rows."""
    found: list[str] = []

    def tracer(cursor: apsw.Cursor, _row: Any) -> None:
        found.extend(name for name, _ in cursor.get_description())

    cursor = connection.cursor()
    cursor.row_trace = tracer
    # One row, independent of what is in the tables.
    cursor.execute(
        f"SELECT q.* FROM (SELECT 1) LEFT JOIN ({re.sub(r'[?][0-9]*', '1', text)}) q ON true LIMIT 1"
    ).fetchall()
    return [name.split(":")[0] for name in found]


async def faults_of_postgres(blocks: Mapping[str, str]) -> list[str]:
    connection = await asyncpg.connect(await fresh_database())
    await connection.execute("SET search_path TO whence")
    table = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'event'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    names = {"position": "number", "causation_id": "cause"}

    async def columns(block: str) -> list[str]:
        statement = await connection.prepare(blocks[block])
        return renamed([attribute.name for attribute in statement.get_attributes()], names)

    head = [*postgres_rows.PostgresHeadRow.__struct_fields__]
    expected: dict[str, tuple[Any, Any]] = {
        "event": ({name for (name,) in table}, {"tenant_no", *postgres_rows.EVENT_COLUMNS}),
        "add_event": ([*inserted(blocks["add_event"])], ["tenant_no", *postgres_rows.EVENT_COLUMNS]),
        "full_event": (await columns("full_event"), [*FullEventRow._fields]),
        "one_event": (await columns("one_event"), ONE_EVENT),
        "purge_rows": (await columns("purge_rows"), ["number", *PurgeRow._fields[1:]]),
        "page_event": (await columns("page_event"), PAGE_EVENT),
        "hashes": (await columns("hashes"), [*HashRow._fields]),
        "log_part": (await columns("log_part"), [*HashRow._fields]),
        "head": ((await columns("head"))[:-1], head[:-1]),  # the last one has no name in SQL
        "lock_head": (await columns("lock_head"), head[:-1]),
    }
    for block, fields in FOLLOWERS.items():
        statement = await connection.prepare(blocks[block])
        expected[block] = ([attribute.name for attribute in statement.get_attributes()], [*fields])
    await connection.close()
    return [name for name, (found, fields) in expected.items() if found != fields]


async def test_columns_and_fields_are_the_same(tmp_path: Path, anyio_backend: str) -> None:
    """Columns and fields agree for the table of events, for its INSERT, and for every statement with a row type."""
    assert faults_of_sqlite(tmp_path, SQLITE) == []
    assert await faults_of_postgres(POSTGRES) == []


@pytest.mark.parametrize("block", ["one_event", "page_event"])
async def test_columns_of_a_page_in_another_order_are_found(anyio_backend: str, block: str) -> None:
    """PostgreSQL has two more statements that read whole events."""
    text = POSTGRES[block].replace("e.occurred_at, e.recorded_at", "e.recorded_at, e.occurred_at")
    assert await faults_of_postgres({**POSTGRES, block: text}) == [block]


@pytest.mark.parametrize(
    ("block", "old", "other"),
    [
        ("add_event", "kind, actor", "actor, kind"),
        ("full_event", "e.occurred_at, e.recorded_at", "e.recorded_at, e.occurred_at"),
        ("hashes", "salt, payload_hash", "payload_hash, salt"),
        ("head", "kinds, actors", "actors, kinds"),
        ("attempts", "status, error", "error, status"),
        ("deliveries", "due_at, changed_at", "changed_at, due_at"),
    ],
)
async def test_columns_in_another_order_are_found(
    tmp_path: Path, anyio_backend: str, block: str, old: str, other: str
) -> None:
    """Columns in another order are reported on both stores."""
    assert old in SQLITE[block]
    assert old in POSTGRES[block]
    assert faults_of_sqlite(tmp_path, {**SQLITE, block: SQLITE[block].replace(old, other)}) == [block]
    assert await faults_of_postgres({**POSTGRES, block: POSTGRES[block].replace(old, other)}) == [block]
