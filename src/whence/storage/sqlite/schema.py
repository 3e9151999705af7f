"""Comparing the schema in a file with the one that this release's migrations make.

A file may come from elsewhere, and its schema is code: a trigger runs inside the writer's transactions and could turn a
key that may read into one that may do everything. The hashes of events do not show that.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import apsw
import msgspec

from whence.storage.migrations import Migration

__all__ = ["SchemaDifference", "compare_schema"]

_NAMES_MAX = 5

# Comments and white space give no tokens, and a text within quotes is one token.
_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?(?:\*/|\Z)|[ \t\n\f\r]+"""
    r"""|([xX]?'(?:[^']|'')*+'|"(?:[^"]|"")*+"|`(?:[^`]|``)*+`|\[[^\]]*\]|[A-Za-z0-9_$]++|.)""",
    re.DOTALL,
)

_HARMLESS_TABLES = frozenset({"_litestream_seq", "_litestream_lock", "sqlite_stat1", "sqlite_stat4"})
"""Tables that Litestream and ANALYZE make beside this store's own."""


class _Object(NamedTuple):
    type: str
    name: str
    table: str


_Schema = list[tuple[_Object, tuple[str, ...]]]
"""The tokens of each object's definition."""


class SchemaDifference(msgspec.Struct, frozen=True):
    """How a file's schema differs from this release's: what it may not be served with, and what does no harm."""

    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The faults in one sentence for an operator."""
        more = len(self.faults) - _NAMES_MAX
        named = ", ".join(self.faults[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
        return f"The file's schema is not the one that Whence makes: {named}."


def compare_schema(connection: apsw.Connection, migrations: tuple[Migration, ...]) -> SchemaDifference:
    """Compare the schema of an open file with the one that these migrations make. Reads `sqlite_schema` once."""
    found, expected = _read(connection), dict(_made_by(migrations))
    faults: list[str] = []
    notes: list[str] = []
    seen: set[_Object] = set()
    for each, tokens in found:
        what = f"the {each.type} '{each.name}'" + (f" on '{each.table}'" if each.table != each.name else "")
        if each in seen:  # only a row that was written by hand can repeat another one
            faults.append(f"{what} is there twice")
        elif each not in expected:
            (notes if _is_harmless(each, tokens) else faults).append(f"{what} is not part of it")
        elif tokens != expected[each]:
            faults.append(f"{what} was changed")
        seen.add(each)
    faults += [f"the {each.type} '{each.name}' is missing" for each in expected if each not in seen]
    return SchemaDifference(tuple(faults), tuple(notes))


def _is_harmless(each: _Object, tokens: tuple[str, ...]) -> bool:
    """Whether an object that is not ours changes nothing that is stored or answered.

    SQLite goes by the definition and not by the column `type`, so both must say the same. Virtual tables and unique
    indexes, which would refuse rows, have another second word.
    """
    if [token.lower() for token in tokens[:2]] != ["create", each.type]:
        return False
    return each.type in ("index", "view") or (each.type == "table" and each.name in _HARMLESS_TABLES)


def _read(connection: apsw.Connection) -> _Schema:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return [(_Object(str(kind), str(name), str(table)), _tokens(sql)) for kind, name, table, sql in rows]


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
