"""What was erased, on PostgreSQL: a table in a schema beside that of the log, which a restore of the log leaves alone.

An entry is written in the transaction of the erasure, and so is a row of the log's own schema that says that the entry
was seen. A schema that was restored from an earlier dump lacks such rows: what these entries name is erased again.
"""

from collections.abc import Sequence

from whence.errors import StoreRefused
from whence.storage.postgres.connections import Connection
from whence.storage.removals import Erased
from whence.storage.sql import load_blocks

__all__ = ["note", "refuse_unseen", "see", "unseen"]

_SQL = load_blocks("whence.storage.postgres")

_LEAF_BYTES = 4
"""As in the ledger of a SQLite file: enough to know the event by, and of no use to anybody else."""


async def note(connection: Connection, erased: Erased) -> None:
    """Note what is erased in the transaction of the connection."""
    positions = [position for position, _ in erased.events]
    leaves = [leaf[:_LEAF_BYTES] for _, leaf in erased.events]
    entry = await connection.fetchval(
        _SQL["add_to_ledger"], erased.tenant, positions, leaves, erased.new_id, erased.deleted_at
    )
    await see(connection, [entry])


async def see(connection: Connection, entries: Sequence[int]) -> None:
    """Note that this schema has seen entries of the ledger."""
    await connection.execute(_SQL["add_erasure"], list(entries))


async def unseen(connection: Connection) -> list[Erased]:
    """The entries that this schema has not seen, oldest first."""
    return [
        Erased(tenant, tuple(zip(positions, leaves, strict=True)), new_id, deleted_at, entry)
        for entry, tenant, positions, leaves, new_id, deleted_at in await connection.fetch(_SQL["ledger_unseen"])
    ]


async def refuse_unseen(connection: Connection) -> None:
    """Raise StoreRefused when there are entries that this schema has not seen. The connection has no transaction."""
    async with connection.transaction():
        await connection.execute(_SQL["set_role"])
        if await connection.fetchval(_SQL["has_unseen"]):
            raise StoreRefused(
                "This log was restored from an earlier dump, which still has what was erased or deleted since then. "
                "Run 'whence migrate --store <URL>', which erases it again."
            )
