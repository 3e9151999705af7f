"""Migrations are numbered without a gap, and produce the same schema when applied one by one or all at once."""

import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from whence.errors import StoreRefused
from whence.storage.migrations import Migration, load_migrations
from whence.storage.sqlite.connection import connect, migrate

PACKAGE = "migrations_of_a_test"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder `migrations` of an importable package."""
    found = tmp_path / PACKAGE / "migrations"
    found.mkdir(parents=True)
    (found.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield found
    sys.modules.pop(PACKAGE, None)


def test_migrations_come_in_order(folder: Path) -> None:
    """Migrations are sorted by number, with their names; files other than SQL are ignored."""
    for name in ("0002_more.sql", "0001_first.sql", "notes.txt"):
        (folder / name).write_text(f"-- {name}")
    assert load_migrations(PACKAGE) == (
        Migration(1, "first", "-- 0001_first.sql"),
        Migration(2, "more", "-- 0002_more.sql"),
    )


@pytest.mark.parametrize(
    "names",
    [("0002_late",), ("0001_a", "0003_c"), ("0001_a", "0001_b"), ("0000_zero", "0001_a")],
    ids=["late", "gap", "twice", "zero"],
)
def test_a_wrong_number_is_refused(folder: Path, names: tuple[str, ...]) -> None:
    """A missing number and a duplicate number are errors, raised before anything is changed."""
    for name in names:
        (folder / f"{name}.sql").touch()
    with pytest.raises(ValueError, match="numbered 1, 2, 3"):
        load_migrations(PACKAGE)


def schema_of(connection: apsw.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def migrated(path: Path, *turns: tuple[Migration, ...]) -> tuple[int, list[tuple[str, str]]]:
    """Version and schema of a file that is opened once for each item, with these migrations known."""
    for steps in turns:
        connection = connect(str(path), 1_000)
        migrate(connection, steps)
        found = int(connection.pragma("user_version")), schema_of(connection)
        connection.close()
    return found


def test_step_by_step_makes_the_same_schema_as_at_once(tmp_path: Path) -> None:
    """Each release applies only its new steps, and the result is the schema of a fresh file of the last release."""
    own = load_migrations("whence.storage.sqlite")
    later = (
        Migration(len(own) + 1, "one", "CREATE TABLE one (x)"),
        Migration(len(own) + 2, "two", "ALTER TABLE one ADD COLUMN y; CREATE INDEX one_y ON one (y)"),
    )
    every = (*own, *later)
    fresh = migrated(tmp_path / "fresh.db", every)
    turns = [every[:count] for count in range(1, len(every) + 1)]
    assert migrated(tmp_path / "slow.db", *turns, every) == fresh
    assert fresh[0] == len(every)
    assert {"event", "one", "one_y"} <= {name for name, _ in fresh[1]}


def test_mutant_a_step_left_out_is_caught(tmp_path: Path) -> None:
    """A file that missed a step has a different schema than a fresh file, although the version is the same."""
    own = load_migrations("whence.storage.sqlite")
    more = Migration(len(own) + 1, "one", "CREATE TABLE one (x)")
    empty = Migration(len(own) + 1, "one", "")
    assert migrated(tmp_path / "a.db", (*own, more))[0] == migrated(tmp_path / "b.db", (*own, empty))[0]
    assert migrated(tmp_path / "a.db", (*own, more)) != migrated(tmp_path / "b.db", (*own, empty))
    with pytest.raises(StoreRefused, match="the table 'one' is missing"):
        migrated(tmp_path / "b.db", (*own, more))
