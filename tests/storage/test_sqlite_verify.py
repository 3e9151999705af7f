"""A whole file is verified against its hashes and counts."""

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.storage.test_sqlite_writer import event
from whence import rollups
from whence.errors import StoreRefused
from whence.storage import Write, sequencing
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.verify import verify


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of two tenants, with 60 and 5 events, with divided buckets and folded transitions."""
    monkeypatch.setattr(rollups, "DIVIDE_AT", 8)
    monkeypatch.setattr(sequencing, "FOLD_AT", 30)

    async def fill(store: SQLiteStore) -> None:
        events = [
            event(n, actor_id=f"a{n % 3}", occurred_at=n * 977_000_000, causation_id=event(n // 2).id if n else None)
            for n in range(60)
        ]
        await store.append("t", [Write(tuple(events[:30])), Write(tuple(events[30:]))])
        await store.append("u", [Write(tuple(event(n) for n in range(5)))])
        await store.close()

    file = tmp_path / "log.db"
    asyncio.run(fill(SQLiteStore(str(file))))
    return file


def change(path: Path, sql: str, *bindings: Any) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql, bindings)
    assert connection.changes()
    connection.close()


def test_a_sound_file_has_no_findings(path: Path) -> None:
    """Every event is read, and each tenant's root equals that of the store."""

    async def roots() -> dict[str, str]:
        store = SQLiteStore(str(path))
        found = {tenant: (await store.head(tenant)).root.hex() for tenant in ("t", "u")}
        await store.close()
        return found

    report = verify(str(path))
    assert report.findings == []
    assert report.sound
    assert (report.tenants, report.events) == (2, 65)
    assert report.roots == asyncio.run(roots())


_TWICE = """
INSERT INTO resource SELECT 1 << 40 | 99, 1, resource_id, resource_type, 1 FROM resource WHERE key = 1 << 40 | 1;
UPDATE resource SET events = events - 1 WHERE key = 1 << 40 | 1;
UPDATE event SET resource = 99 WHERE key = (SELECT min(key) FROM event WHERE tenant_no = 1 AND resource = 1);
UPDATE tenant SET resources = 99 WHERE tenant_no = 1
"""
"""A resource with two numbers, with every count right."""


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        ("UPDATE event SET payload = x'7b2261223a317d' WHERE key & 0xff = 41 AND tenant_no = 1", 41),
        ("UPDATE event SET occurred_at = occurred_at + 1 WHERE key & 0xff = 7 AND tenant_no = 1", 7),
        ("UPDATE event SET recorded_at = recorded_at + 1 WHERE key & 0xff = 8 AND tenant_no = 1", 8),
        ("UPDATE event SET cause = 'other' WHERE key & 0xff = 9 AND tenant_no = 1", 9),
        ("UPDATE event SET actor = 1 WHERE key & 0xff = 5 AND tenant_no = 1", 5),
        ("UPDATE event SET actor = 99 WHERE key & 0xff = 5 AND tenant_no = 1", 5),
        ("UPDATE actor SET actor_id = 'other' WHERE actor_id = 'a2'", 3),
        ("UPDATE event SET leaf = zeroblob(32) WHERE key & 0xff = 60", 60),
        ("DELETE FROM event WHERE key & 0xff = 30 AND tenant_no = 1", 30),
        ("DELETE FROM event WHERE key & 0xff > 50 AND tenant_no = 1", 51),
        ("UPDATE event SET key = key + 100 WHERE key & 0xff = 60", 60),
        ("UPDATE tenant SET actors = 1 WHERE tenant = 't'", None),
        ("UPDATE tenant SET actors = -1 WHERE tenant = 't'", None),
        ("UPDATE tenant SET size = 59 WHERE tenant = 't'", 61),
        ("UPDATE tenant SET compact_range = zeroblob(128) WHERE tenant = 't'", None),
        ("UPDATE bucket SET events = events + 1 WHERE tenant_no = 1 AND level = 2", None),
        ("UPDATE rollup_kind SET events = events + 1 WHERE tenant_no = 1 AND level = 1", None),
        ("UPDATE rollup_actor SET events = events + 1 WHERE tenant_no = 1 AND level = 0 AND actor = 2", None),
        ("UPDATE flow SET events = events + 1", None),
        ("UPDATE flow SET last_at = last_at + 1", None),
        ("UPDATE resource SET events = events + 1", None),
        ("UPDATE resource SET resource_type = 'other'", None),
        ("UPDATE resource SET tenant_no = 77 WHERE tenant_no = 1", None),
        ("UPDATE actor SET actor_type = 'other'", None),
        ("UPDATE actor SET tenant_no = 77 WHERE tenant_no = 1", None),
        (_TWICE, None),
        *(
            (f"{change} WHERE tenant_no = 1 AND level = {level}", None)
            for level in range(3)
            for change in (
                "UPDATE transition SET counts = CAST(counts || counts AS BLOB)",
                "UPDATE transition SET counts = CAST(counts || x'00' AS BLOB)",
                "UPDATE transition SET counts = CAST(substr(counts, 9) AS BLOB)",
                "UPDATE transition SET bucket = bucket + 1",
                "DELETE FROM transition",
            )
        ),
        *(
            (f"{change} WHERE tenant_no = 1 AND level = {level}", None)
            for level in range(3)
            for change in (
                "UPDATE actor_total SET counts = CAST(counts || x'00' AS BLOB)",
                "UPDATE actor_total SET counts = CAST(substr(counts, 1, length(counts) - 1) || x'07' AS BLOB)",
                "UPDATE actor_total SET counts = x'08010101ffffffffffffff7f010000'",
                "UPDATE actor_total SET counts = x''",
                "UPDATE actor_total SET bucket = bucket + 1",
                "UPDATE actor_total SET level = 8",
                "DELETE FROM actor_total",
            )
        ),
        ("UPDATE tenant SET folded_to = folded_to - 1 WHERE tenant = 't'", None),
        ("UPDATE tenant SET folded_to = folded_to + 1 WHERE tenant = 't'", None),
        ("UPDATE tenant SET payload_bytes = payload_bytes + 1 WHERE tenant = 't'", None),
        ("UPDATE tenant SET measured_to = measured_to - 1 WHERE tenant = 't'", None),
        ("UPDATE tenant SET measured_to = measured_to + 1 WHERE tenant = 't'", None),
    ],
)
def test_a_change_is_found_at_its_first_position(path: Path, sql: str, position: int | None) -> None:
    """Changed, swapped, removed or moved events, wrong heads and wrong counts are found at their first position."""
    change(path, sql)
    report = verify(str(path))
    assert not report.sound
    assert report.findings[0].position == position


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    """A missing file and an empty database are errors with a message, and not findings."""
    with pytest.raises(StoreRefused):
        verify(str(tmp_path / "none.db"))
    apsw.Connection(str(tmp_path / "empty.db")).close()
    with pytest.raises(StoreRefused):
        verify(str(tmp_path / "empty.db"))
