"""Citus: tables with tenants' rows are distributed by tenant and co-located, so each tenant lives on one node. The
others are reference tables, with a copy on every node.

`migration` stays a local table of the coordinator, to which every server connects.
"""

import re
from collections.abc import Sequence

import asyncpg
import msgspec
import structlog

from whence.errors import StoreRefused, Unavailable
from whence.storage.postgres.connections import ROLES, Connection
from whence.storage.sql import load_blocks

__all__ = [
    "Table",
    "check_workers",
    "distribute",
    "is_installed",
    "refuse_undistributed",
    "shards",
    "show_shards",
    "steps",
]

_SQL = load_blocks("whence.storage.postgres", "citus.sql")
_log = structlog.get_logger("whence.storage")

_VERSION_MIN = (13, 1)
"""The first version that passes on grants of columns."""

_FIRST = "head"


class Table(msgspec.Struct, frozen=True):
    """A table of the log. `by_tenant`: each row belongs to a tenant. `kept`: how Citus keeps it, or None when it is a
    local table. `group`: its co-location group."""

    name: str
    by_tenant: bool
    kept: str | None = None
    group: int | None = None


async def is_installed(connection: Connection) -> bool:
    """Whether the database has Citus. Raises StoreRefused when it is too old."""
    version = await connection.fetchval(_SQL["version"])
    if version is not None:
        refuse_old(version)
    return version is not None


def refuse_old(version: str) -> None:
    """Raise StoreRefused for a version of the extension, such as '13.0-1', that was never tested."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < _VERSION_MIN:
        least = ".".join(map(str, _VERSION_MIN))
        raise StoreRefused(f"This database has Citus {version}, which is too old. Use Citus {least} or later.")


async def distribute(connection: Connection) -> list[str]:
    """Distribute every table that is not distributed yet, in the connection's transaction. Returns what was done."""
    for role in await _roles_without_login(connection):
        await connection.execute(_SQL["allow_login"].format(role=role))
    todo = steps(await _tables(connection))
    if not todo:
        return []
    await connection.execute(_SQL["sequential"])
    for statement in todo:
        await connection.execute(statement)
    return ["distributed by tenant"]


async def refuse_undistributed(connection: Connection) -> None:
    """Raise StoreRefused unless every table is distributed, or a reference table, as it should be."""
    if steps(await _tables(connection)) or await _roles_without_login(connection):
        raise StoreRefused(
            "This database has Citus, but the log is not distributed. Stop the servers, then run 'whence migrate "
            "--store <URL>'."
        )


async def check_workers(connection: Connection) -> None:
    """Raise Unavailable unless every worker can be reached and takes writes. The answer is open to everybody, so only
    the server's log names a worker."""
    await connection.execute(_SQL["check_timeout"])
    try:
        rows = await connection.fetch(_SQL["workers"])
    except asyncpg.QueryCanceledError as error:
        raise Unavailable("A worker of the Citus cluster does not answer.") from error
    failing = [name for name, answered, read_only in rows if not answered or read_only != "off"]
    if failing:
        _log.warning("workers of the Citus cluster cannot be reached or take no writes", workers=failing)
        raise Unavailable("A worker of the Citus cluster cannot be reached, or takes no writes.")


async def show_shards(connection: Connection) -> None:
    """Show the shards in the catalogue, in the connection's transaction. To hide them takes a second a query."""
    await connection.execute(_SQL["show_shards"])


async def shards(connection: Connection) -> frozenset[str]:
    """The names that the shards of the log's tables have on the nodes."""
    return frozenset(name for (name,) in await connection.fetch(_SQL["shards"]))


def steps(tables: Sequence[Table]) -> list[str]:
    """The statements that distribute what is not distributed yet: reference tables first, then `head`, then the tables
    that are co-located with it.

    Raises StoreRefused for a table that is distributed differently, which an operator must undo first.
    """
    head = next(table for table in tables if table.name == _FIRST)
    for table in tables:
        right = table.kept in (None, "distributed" if table.by_tenant else "reference")
        if not right or (table.by_tenant and table.kept is not None and table.group != head.group):
            raise StoreRefused(
                f"The table whence.{table.name} is distributed differently from what the log needs. Undo that with "
                f"SELECT undistribute_table('whence.{table.name}'), then run 'whence migrate' again."
            )
    ordered = sorted(tables, key=lambda table: (table.by_tenant, table.name != _FIRST, table.name))
    return [
        _SQL[block].format(table=table.name) for table in ordered if table.kept is None for block in _blocks_for(table)
    ]


def _blocks_for(table: Table) -> tuple[str, ...]:
    if not table.by_tenant:
        return ("make_reference",)
    return ("unforce_rls", "make_first" if table.name == _FIRST else "make_distributed", "force_rls")


async def _roles_without_login(connection: Connection) -> list[str]:
    found = {role for (role,) in await connection.fetch(_SQL["can_log_in"])}
    return [role for role in ROLES if role not in found]


async def _tables(connection: Connection) -> list[Table]:
    return [Table(*row) for row in await connection.fetch(_SQL["tables"])]
