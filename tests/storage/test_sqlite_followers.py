"""What followers keep in a file: deliveries are found by their indexes, whatever the statistics say."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import apsw
import pytest

from whence.storage.sql import load_blocks
from whence.storage.sqlite.engine import SQLiteStore

BLOCKS = load_blocks("whence.storage.sqlite")
HOOK = "hook"

PLANS = {
    "due_deliveries": ((1, HOOK, 1_000, 20), "delivery_due"),
    "next_due": ((1, HOOK), "delivery_due"),
    "deliveries": ((1, HOOK, 2, 0, 20), "delivery_state"),
    "old_deliveries": ((1, HOOK, 1_000, 20), "delivery_changed"),
    "attempts": ((1, HOOK, 77), "sqlite_autoindex_attempt_1"),
}

MANY = """
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000)
INSERT INTO delivery SELECT 1, 'hook', n, CASE n % 100 WHEN 98 THEN 0 WHEN 99 THEN 2 ELSE 1 END, n, n, 1, 1 FROM n
"""


@pytest.fixture
def file(tmp_path: Path) -> apsw.Connection:
    """A store in which a webhook has had many events delivered."""
    path = tmp_path / "log.db"
    asyncio.run(SQLiteStore(str(path)).close())
    connection = apsw.Connection(str(path))
    connection.execute(MANY)
    return connection


def faults_of(connection: apsw.Connection, blocks: Mapping[str, str]) -> set[str]:
    """The statements that use another index than theirs, or sort."""
    found = set()
    for block, (values, index) in PLANS.items():
        rows = connection.execute(f"EXPLAIN QUERY PLAN {blocks[block]}", values).fetchall()
        plan = [str(row[3]) for row in rows]
        if len(plan) != 1 or not plan[0].startswith("SEARCH") or index not in plan[0]:
            found.add(block)
    return found


def test_deliveries_are_found_by_their_indexes(file: apsw.Connection) -> None:
    """Without a sort, before and after the file has statistics."""
    assert faults_of(file, BLOCKS) == set()
    file.execute("ANALYZE")
    assert faults_of(file, BLOCKS) == set()


@pytest.mark.parametrize(
    ("block", "old", "new"),
    [
        ("due_deliveries", "state = 0", "state <= 0"),
        ("due_deliveries", "ORDER BY due_at, position", "ORDER BY due_at DESC, position"),
        ("old_deliveries", "state <> 0 AND ", ""),
        ("next_due", " AND state = 0", ""),
    ],
)
def test_mutant_another_index_is_caught(file: apsw.Connection, block: str, old: str, new: str) -> None:
    assert old in BLOCKS[block]
    assert faults_of(file, {**BLOCKS, block: BLOCKS[block].replace(old, new)}) == {block}
