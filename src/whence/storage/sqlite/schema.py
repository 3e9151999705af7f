"""Comparing the schema in a file with the one that this release's migrations make.

A file may come from elsewhere, and its schema is code: a trigger runs inside the writer's transactions and could turn a
key that may read into one that may do everything. The hashes of events do not show that.
"""

import re
from functools import lru_cache

import apsw

from whence.storage.migrations import Migration
from whence.storage.schema_difference import SchemaDifference, SchemaObject, compare_objects

__all__ = ["compare_schema"]

# Comments and white space give no tokens, and a text within quotes is one token.
_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?(?:\*/|\Z)|[ \t\n\f\r]+"""
    r"""|([xX]?'(?:[^']|'')*+'|"(?:[^"]|"")*+"|`(?:[^`]|``)*+`|\[[^\]]*\]|[A-Za-z0-9_$]++|.)""",
    re.DOTALL,
)

_HARMLESS_TABLES = frozenset({"_litestream_seq", "_litestream_lock", "sqlite_stat1", "sqlite_stat4"})
"""Tables that Litestream and ANALYZE make beside this store's own."""


_Schema = list[tuple[SchemaObject, tuple[str, ...]]]
"""The tokens of each object's definition."""


def compare_schema(connection: apsw.Connection, migrations: tuple[Migration, ...]) -> SchemaDifference:
    """Compare the schema of an open file with the one that these migrations make. Reads `sqlite_schema` once."""
    return compare_objects(_read(connection), dict(_made_by(migrations)), _is_harmless)


def _is_harmless(each: SchemaObject, tokens: tuple[str, ...]) -> bool:
    """Whether an object that is not ours changes nothing that is stored or answered.

    SQLite goes by the definition and not by the column `type`, so both must say the same. Virtual tables and unique
    indexes, which would refuse rows, have another second word.
    """
    if [token.lower() for token in tokens[:2]] != ["create", each.type]:
        return False
    return each.type in ("index", "view") or (each.type == "table" and each.name in _HARMLESS_TABLES)


def _read(connection: apsw.Connection) -> _Schema:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return [
        (SchemaObject(str(kind), str(name), str(table) if table != name else ""), _tokens(sql))
        for kind, name, table, sql in rows
    ]


@lru_cache(maxsize=8)
def _made_by(migrations: tuple[Migration, ...]) -> _Schema:
    """The schema of a new file after these migrations. Renamed tables are rewritten by SQLite, as in a real file."""
    connection = apsw.Connection(":memory:")
    try:
        for step in migrations:
            connection.execute(step.sql)
        return _read(connection)
    finally:
        connection.close()


@lru_cache(maxsize=256)
def _tokens(sql: object) -> tuple[str, ...]:
    """The tokens of a definition; none for an index that SQLite makes for a constraint."""
    return tuple(found[1] for found in _TOKEN.finditer(str(sql)) if found[1] is not None) if sql is not None else ()
