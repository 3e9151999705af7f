"""Citus: every table that belongs to one tenant each is distributed by the tenant, all of them in one group, so that a
tenant is on one machine; the others are reference tables, with a copy on every machine.

`migration` stays a plain table of the coordinator, where every server connects.
"""

import re
from collections.abc import Sequence

import msgspec

from whence.errors import StoreRefused
from whence.storage.postgres.connections import Connection
from whence.storage.sql import load_blocks

__all__ = ["Table", "distribute", "is_here", "refuse_undistributed", "steps"]

_SQL = load_blocks("whence.storage.postgres", "citus.sql")

_VERSION_MIN = 13
_FIRST = "head"


class Table(msgspec.Struct, frozen=True):
    """A table of the log: whether its rows belong to one tenant each, and how Citus keeps it (None: not at all)."""

    name: str
    by_tenant: bool
    kept: str | None = None
    group: int | None = None


async def is_here(connection: Connection) -> bool:
    """Whether the database has Citus. Raises StoreRefused for a version of no use."""
    version = await connection.fetchval(_SQL["version"])
    if version is not None:
        refuse_old(version)
    return version is not None


def refuse_old(version: str) -> None:
    """Raise StoreRefused for a version of the extension, like '13.0-1', on which the promises were never looked at."""
    major = re.match(r"\d+", version)
    if major is None or int(major[0]) < _VERSION_MIN:
        raise StoreRefused(f"Citus {_VERSION_MIN} or later is needed; this database has Citus {version}.")


async def distribute(connection: Connection) -> list[str]:
    """Distribute every table that is not, in the transaction of the connection; a word on it, or nothing."""
    if not await connection.fetchval(_SQL["may_log_in"]):
        await connection.execute(_SQL["let_log_in"])
    todo = steps(await _tables(connection))
    if not todo:
        return []
    await connection.execute(_SQL["one_by_one"])
    for statement in todo:
        await connection.execute(statement)
    return ["distributed by tenant"]


async def refuse_undistributed(connection: Connection) -> None:
    """Raise StoreRefused unless every table is kept as it should be."""
    if steps(await _tables(connection)) or not await connection.fetchval(_SQL["may_log_in"]):
        raise StoreRefused(
            "This database has Citus, and the log is not distributed yet. Stop the servers, then run 'whence migrate "
            "--store <URL>'."
        )


def steps(tables: Sequence[Table]) -> list[str]:
    """The statements that distribute what is not: the tables for all first, then `head`, and the rest beside it.

    Raises StoreRefused for a table that is distributed in another way, which only its owner can undo.
    """
    head = next(table for table in tables if table.name == _FIRST)
    for table in tables:
        right = table.kept in (None, "distributed" if table.by_tenant else "reference")
        if not right or (table.by_tenant and table.kept is not None and table.group != head.group):
            raise StoreRefused(
                f"Citus keeps whence.{table.name} in another way than the log needs. Undo that with "
                f"undistribute_table('whence.{table.name}'), then run 'whence migrate' again."
            )
    ordered = sorted(tables, key=lambda table: (table.by_tenant, table.name != _FIRST, table.name))
    return [
        _SQL[block].format(table=table.name) for table in ordered if table.kept is None for block in _blocks_for(table)
    ]


def _blocks_for(table: Table) -> tuple[str, ...]:
    if not table.by_tenant:
        return ("make_reference",)
    return ("lift_force", "make_first" if table.name == _FIRST else "make_distributed", "put_force")


async def _tables(connection: Connection) -> list[Table]:
    return [Table(*row) for row in await connection.fetch(_SQL["tables"])]
