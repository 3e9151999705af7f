"""The limit of ingest on SQLite, and the bytes that a stored event takes.

The limit is called `raw`. It inserts the final rows of every table of a normally filled store into a fresh file, with
the same migrations and pragmas. It uses `executemany`, a commit for every thousand events and `synchronous=FULL`. There
is no parsing, numbering, hashing or lookup, so it measures what SQLite needs for those rows, indexes and durability.
"""

import time
from pathlib import Path
from typing import Any

import apsw
import msgspec

from whence.storage.sqlite.connection import connect, migrate

__all__ = ["Disk", "Part", "Rows", "disk_of", "final_rows", "raw_insert"]

_CACHE_KIB = 65_536  # as the writer of the store has
_OTHER = ("api_key", "session", "store")

Rows = dict[str, list[tuple[Any, ...]]]
"""The rows of each table, in the order of their keys."""


class Part(msgspec.Struct, frozen=True):
    """A table, an index, or a column of `event`, and its bytes."""

    name: str
    kind: str
    bytes: int


class Disk(msgspec.Struct, frozen=True):
    """The size of a file, compared with the NDJSON that came in."""

    log: str
    events: int
    ndjson_bytes: int
    file_bytes: int
    parts: list[Part]
    most: float = 1.2  # times the NDJSON; the target for this store

    @property
    def ratio(self) -> float:
        """Bytes on disk for each byte of NDJSON."""
        return self.file_bytes / self.ndjson_bytes


def final_rows(path: Path) -> Rows:
    """The rows of every table that holds events, or is derived from them."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        names: list[Any] = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        tables = [name for (name,) in names if name not in _OTHER and not name.startswith("sqlite_")]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    finally:
        connection.close()


def raw_insert(path: Path, rows: Rows, events_per_commit: int = 1_000) -> float:
    """Events per second when rows are only inserted. The rows of other tables are spread evenly over the commits."""
    connection = connect(str(path), _CACHE_KIB)
    migrate(connection)
    statements = {
        name: f"INSERT INTO {name} VALUES ({', '.join('?' * len(kept[0]))})" for name, kept in rows.items() if kept
    }
    total = len(rows["event"])
    commits = -(-total // events_per_commit)
    try:
        started = time.perf_counter()
        for number in range(commits):
            connection.execute("BEGIN IMMEDIATE")
            for name, statement in statements.items():
                kept = rows[name]
                connection.executemany(
                    statement, kept[len(kept) * number // commits : len(kept) * (number + 1) // commits]
                )
            connection.execute("COMMIT")
        return total / (time.perf_counter() - started)
    finally:
        connection.close()


def disk_of(path: Path, log: str, ndjson_bytes: int) -> Disk:
    """Bytes by table, index and column. A column counts the bytes of its values, without the header of the row."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        sizes: list[Any] = connection.execute(
            "SELECT d.name, coalesce(s.type, 'table'), d.pgsize FROM dbstat d LEFT JOIN sqlite_schema s USING (name)"
            " WHERE d.aggregate = TRUE ORDER BY d.pgsize DESC"
        ).fetchall()
        parts = [Part(name, kind, size) for name, kind, size in sizes]
        columns = [name for (_, name, *_) in connection.execute("PRAGMA table_info(event)")]
        summed = f"SELECT count(*), {', '.join(map(_value_size, columns))} FROM event"
        row: Any = connection.execute(summed).fetchone()
        parts += [Part(name, "column of event", int(size)) for name, size in zip(columns, row[1:], strict=True)]
        return Disk(log, row[0], ndjson_bytes, path.stat().st_size, parts)
    finally:
        connection.close()


def _value_size(column: str) -> str:
    """SQL for the bytes of a column's values in SQLite's record format; a rowid is part of no record."""
    if column == "key":
        return "0"
    steps = " ".join(f"WHEN {column} BETWEEN {-(1 << bits)} AND {(1 << bits) - 1} THEN {size}" for bits, size in (
        (7, 1), (15, 2), (23, 3), (31, 4), (47, 6)
    ))  # fmt: skip
    return (
        f"coalesce(sum(CASE typeof({column}) WHEN 'null' THEN 0 WHEN 'integer' THEN CASE WHEN {column} IN (0, 1) THEN 0"
        f" {steps} ELSE 8 END ELSE octet_length({column}) END), 0)"
    )
