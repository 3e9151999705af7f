"""Deleting tenants, on PostgreSQL. Each part is a transaction with the rights of a removal; see removals.py."""

from whence.merkle import EMPTY_ROOT
from whence.storage.deletions import TENANT_TABLES, FormerLog, TenantDeletion, former_name, refuse_deletion
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.credentials import Run
from whence.storage.postgres.erasure_ledger import note
from whence.storage.postgres.followers import RunAs, WriteAs
from whence.storage.postgres.tenants import NO_TENANT, Tenant, head_row, refuse_renumbered
from whence.storage.removals import Erased
from whence.storage.sql import load_blocks

__all__ = ["PostgresDeletions"]

_SQL = load_blocks("whence.storage.postgres")


class PostgresDeletions:
    """How one database deletes tenants; see `Deletions`."""

    def __init__(self, read: Run, write_as: WriteAs, remove_as: RunAs) -> None:
        """`remove_as` writes with the rights of a removal."""
        self._read = read
        self._write_as = write_as
        self._remove_as = remove_as

    async def delete_tenant(self, tenant: str, deletion: TenantDeletion) -> None:
        """Delete keys, sessions and definitions, and make the log a former one."""

        async def delete(connection: Connection, owner: Tenant) -> bool:
            """Returns False, and changes nothing, when the tenant has no number for its former log yet."""
            await refuse_renumbered(connection, owner)
            # Otherwise a key that is being added would not be seen here, and survive.
            await connection.execute(_SQL["lock_limit"], tenant)
            # A tenant without events has no head, and no number to be cached either.
            head = await head_row(connection, Tenant(owner.name, owner.number), "lock_head")
            kinds = [kind for (kind,) in await connection.fetch(_SQL["definition_kinds"], tenant)]
            refusal = refuse_deletion(deletion, head.size if head else 0, kinds)
            if refusal is not None:
                raise refusal
            if owner.number == NO_TENANT:
                return not await connection.fetchval(_SQL["has_anything"], tenant)
            deleted_at = deletion.deleted_at
            if not deletion.noted:
                # A key that was made since the caller looked at the clock goes too.
                newest_key = await connection.fetchval(_SQL["newest_key"], tenant)
                deleted_at = max(deleted_at, newest_key)
                leaf = await connection.fetchval(_SQL["first_leaf"], owner.number)
                events = () if leaf is None else ((1, leaf),)
                await note(connection, Erased(tenant, events, deleted_at=deleted_at))
            await connection.execute(_SQL["delete_sessions_of_tenant"], tenant)
            await connection.execute(_SQL["delete_keys"], tenant, deleted_at)
            await connection.execute(_SQL["delete_definitions"], tenant)
            epoch = await connection.fetchval(_SQL["last_epoch"], owner.number)
            size, root = (head.size, head.tree().root()) if head else (0, EMPTY_ROOT)
            values = (tenant, epoch, size, root, deleted_at)
            await connection.execute(_SQL["add_former_log"], owner.number, *values)
            await connection.execute(_SQL["rename_tenant"], owner.number, former_name(owner.number))
            await connection.execute(_SQL["rename_head"], owner.number, former_name(owner.number))
            return True

        if not await self._remove_as(tenant, delete):
            await self._write_as(tenant, refuse_renumbered, make=True)
            await self._remove_as(tenant, delete)

    async def has_anything(self, tenant: str) -> bool:
        """Whether a tenant has keys, sessions or definitions."""
        found: bool = await self._read(lambda connection: connection.fetchval(_SQL["has_anything"], tenant), "")
        return found

    async def former_logs(self, tenant: str | None = None) -> list[FormerLog]:
        """The former logs."""
        rows = await self._read(lambda connection: connection.fetch(_SQL["former_logs"], tenant), "")
        return [FormerLog(*row) for row in rows]

    async def remove_rows(self, number: int, limit: int) -> bool:
        """Remove a part of the rows of a former log."""

        async def remove(connection: Connection, owner: Tenant) -> bool:
            if owner.number != number:  # not a former log
                return False
            for table in TENANT_TABLES:
                if await connection.fetch(_SQL[f"remove_{table}"], number, limit):
                    return True
            await connection.execute(_SQL["former_log_removed"], number)
            return False

        left: bool = await self._remove_as(former_name(number), remove)
        return left
