"""A file is served only with the schema of this release: a trigger in it could change the scopes of keys."""

import asyncio
from pathlib import Path

import apsw
import pytest

from whence.errors import StoreRefused
from whence.storage.migrations import load_migrations
from whence.storage.schema_difference import SchemaDifference
from whence.storage.sqlite import connection as connections
from whence.storage.sqlite.backup import restore
from whence.storage.sqlite.connection import connect, migrate, schema_difference
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.verify import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty store."""
    file = tmp_path / "log.db"
    serve(file)
    return file


def serve(path: Path) -> None:
    """Open a store as a server does, and close it."""
    asyncio.run(SQLiteStore(str(path)).close())


def change(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


REWRITE = "PRAGMA writable_schema = ON; "
TRIGGER = "CREATE TRIGGER grant_all AFTER UPDATE ON api_key BEGIN UPDATE api_key SET scopes = 'admin'; END"

FAULTS = {
    "a trigger": (TRIGGER, "the trigger 'grant_all' on 'api_key' is not part of it"),
    "a trigger on a view": (
        "CREATE TRIGGER t INSTEAD OF INSERT ON event_log BEGIN DELETE FROM api_key; END",
        "the trigger 't' on 'event_log' is not part of it",
    ),
    "a virtual table": ("CREATE VIRTUAL TABLE words USING fts5(x)", "the table 'words' is not part of it"),
    "a virtual table with Litestream's name": (
        "CREATE VIRTUAL TABLE _litestream_seq USING fts5(x)",
        "the table '_litestream_seq' is not part of it",
    ),
    "a table": ("CREATE TABLE more (x)", "the table 'more' is not part of it"),
    "a unique index": (
        "CREATE UNIQUE INDEX one ON event (tenant_no)",
        "the index 'one' on 'event' is not part of it",
    ),
    "a column": ("ALTER TABLE api_key ADD COLUMN x TEXT", "the table 'api_key' was changed"),
    "another view": (
        "DROP VIEW event_log; CREATE VIEW event_log AS SELECT 1 AS tenant",
        "the view 'event_log' was changed",
    ),
    "a constraint made a comment": (
        f"{REWRITE}UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (one = 1)', '/* CHECK (one = 1) */') "
        "WHERE name = 'store'",
        "the table 'store' was changed",
    ),
    "an index that is gone": ("DROP INDEX event_id", "the index 'event_id' on 'event' is missing"),
    "a table that is a view": (
        "DROP TABLE session; CREATE VIEW session AS SELECT 1 AS hash",
        "the table 'session' is missing",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_this_release_does_not_make_is_refused_by_name(path: Path, name: str, tmp_path: Path) -> None:
    """Verification reports an unknown object, and restore and serve refuse the file. Each names the object."""
    sql, words = FAULTS[name]
    change(path, sql)
    report = verify(str(path))
    assert not report.sound
    assert f"the file's schema: {words}" in [finding.what for finding in report.findings]
    for serving in (True, False):
        with pytest.raises(StoreRefused) as refused:
            SQLiteStore(str(path), serving=serving)
        assert words in str(refused.value)
    assert not restore(str(path), str(tmp_path / "restored.db")).report.sound
    assert not (tmp_path / "restored.db").exists()


NOTES = {
    "an index": ("CREATE INDEX mine ON event (payload)", "the index 'mine' on 'event'"),
    "a view": ("CREATE VIEW mine AS SELECT * FROM event_log", "the view 'mine'"),
    "Litestream": (
        "CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER);"
        "CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER)",
        "the table '_litestream_lock'",
    ),
    "statistics": ("ANALYZE", "the table 'sqlite_stat1'"),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_does_no_harm_is_named_and_served(path: Path, name: str) -> None:
    """Additional indexes and views, Litestream's tables and SQLite's statistics are reported as notes, and the file
    is sound."""
    sql, words = NOTES[name]
    change(path, sql)
    report = verify(str(path))
    assert report.sound
    assert f"the file's schema: {words} is not part of it, and does no harm" in report.notes
    serve(path)


def test_comments_and_white_space_do_not_count(path: Path) -> None:
    """A file of an earlier release, whose migrations had other comments, is served; literals count in full."""
    commented = "replace(sql, 'INTEGER', '/* a number */ INTEGER -- of some kind\n\t')"
    change(path, f"{REWRITE}UPDATE sqlite_schema SET sql = {commented}")
    serve(path)
    assert verify(str(path)).notes == []
    change(path, f"{REWRITE}UPDATE sqlite_schema SET sql = replace(sql, 'T%H', 'T %H') WHERE name = 'event_log'")
    assert not verify(str(path)).sound


def test_a_row_of_the_schema_that_is_there_twice_is_refused(path: Path) -> None:
    """A second definition with the name of a known object is found."""
    change(
        path,
        f"{REWRITE}INSERT INTO sqlite_schema SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema "
        "WHERE name = 'event_log'",
    )
    assert not verify(str(path)).sound


@pytest.mark.parametrize("kind", ["view", "index", "table", "VIEW"])
def test_a_trigger_that_calls_itself_something_else_is_refused(path: Path, kind: str) -> None:
    """A row whose type differs from its definition is unsound, since SQLite uses the definition."""
    change(path, f"{TRIGGER}; {REWRITE}UPDATE sqlite_schema SET type = '{kind}' WHERE name = 'grant_all'")
    assert not verify(str(path)).sound
    with pytest.raises(StoreRefused):
        SQLiteStore(str(path))


@pytest.mark.parametrize("version", range(1, len(load_migrations("whence.storage.sqlite")) + 1))
def test_a_file_of_each_schema_is_compared_with_its_own(tmp_path: Path, version: int) -> None:
    """Before it is migrated, a file is compared with the schema of its version; a trigger in it never runs."""
    steps = load_migrations("whence.storage.sqlite")[:version]
    connection = connect(str(tmp_path / "log.db"), 1_000)
    migrate(connection, steps)
    assert schema_difference(connection) == SchemaDifference()
    connection.execute(TRIGGER)
    with pytest.raises(StoreRefused, match="grant_all"):
        migrate(connection)
    assert connection.pragma("user_version") == version
    connection.close()


def test_mutant_a_schema_that_is_not_compared_is_caught(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison a file with a trigger is served."""
    change(path, TRIGGER)
    monkeypatch.setattr(connections, "compare_schema", lambda *_given: SchemaDifference())
    serve(path)
