"""Deleting tenants, on SQLite. A part of a deletion is a request of the writer, so no append comes in between."""

from collections.abc import Sequence
from typing import Any

import apsw

from whence.errors import Unavailable
from whence.storage.deletions import (
    TENANT_TABLES,
    DeletionRefused,
    FormerLog,
    TenantDeletion,
    former_name,
    refuse_deletion,
)
from whence.storage.sql import load_blocks
from whence.storage.sqlite.append import head_draft
from whence.storage.sqlite.credentials import Read, Write
from whence.storage.sqlite.erasure_ledger import ErasureLedger
from whence.storage.sqlite.interrupted_removals import decide
from whence.storage.sqlite.rows import head_row

__all__ = ["SQLiteDeletions"]

_SQL = load_blocks("whence.storage.sqlite")


class SQLiteDeletions:
    """How one file deletes tenants; see `Deletions`. Also beside the server of the file, as keys are made."""

    def __init__(self, path: str, read: Read, write: Write) -> None:
        self._read = read
        self._write = write
        self._ledger = ErasureLedger(path)

    async def delete_tenant(self, tenant: str, deletion: TenantDeletion) -> None:
        """Delete keys, sessions and definitions, and make the log a former one."""

        def delete(connection: apsw.Connection) -> DeletionRefused | None:
            row = head_row(connection, tenant)
            kinds: Sequence[str] = [kind for (kind,) in connection.execute(_SQL["definition_kinds"], (tenant,))]
            refusal = refuse_deletion(deletion, row.size if row else 0, kinds)
            if refusal is not None:
                return refusal  # raising it would undo the writer's whole group
            if row is None and not connection.execute(_SQL["has_anything"], (tenant,)).get:
                return None
            head = head_draft(connection, tenant)  # makes it: a former log has a number, also without events
            number, deleted_at = head.tenant_no, deletion.deleted_at
            if not deletion.noted:
                # A key that was made since the caller looked at the clock goes too.
                newest_key: int = connection.execute(_SQL["newest_key"], (tenant,)).get
                deleted_at = max(deleted_at, newest_key)
                self._intend(connection, tenant, number, deleted_at)
            connection.execute(_SQL["delete_sessions_of_tenant"], (tenant,))
            connection.execute(_SQL["delete_keys"], (tenant, deleted_at))
            connection.execute(_SQL["delete_definitions"], (tenant,))
            epoch = connection.execute(_SQL["last_epoch"], (number,)).get
            values = (number, tenant, epoch, head.size, head.tree.root(), deleted_at, 0)
            connection.execute(_SQL["add_former_log"], values)
            connection.execute(_SQL["rename_tenant"], (number, former_name(number)))
            return None

        refusal = await self._write(delete)
        if refusal is not None:
            raise refusal
        if not deletion.noted:
            await self._write(lambda connection: decide(connection, self._ledger))

    def _intend(self, connection: apsw.Connection, tenant: str, number: int, deleted_at: int) -> None:
        """Note the intent in the ledger. Raises Unavailable when that fails: then nothing is deleted."""
        leaf: bytes | None = connection.execute(_SQL["first_leaf"], (number,)).get
        events = () if leaf is None else ((1, leaf),)
        try:
            self._ledger.intend_deletion(tenant, events, deleted_at)
        except OSError as error:
            raise Unavailable(f"The ledger of erasures cannot be written: {error.strerror}.") from None

    async def has_anything(self, tenant: str) -> bool:
        """Whether a tenant has keys, sessions or definitions."""
        found = await self._read("", lambda connection: connection.execute(_SQL["has_anything"], (tenant,)).get)
        return bool(found)

    async def former_logs(self, tenant: str | None = None) -> list[FormerLog]:
        """The former logs."""
        rows = await self._read("", lambda connection: connection.execute(_SQL["former_logs"], (tenant,)).fetchall())
        return [FormerLog(*row) for row in rows]

    async def remove_rows(self, number: int, limit: int) -> bool:
        """Remove a part of the rows of a former log."""

        def remove(connection: apsw.Connection) -> bool:
            # Only those of a former log: a number that is in use is never emptied.
            known: Any = connection.execute(_SQL["tenant_no"], (former_name(number),)).get
            if known != number:
                return False
            for table in TENANT_TABLES:
                connection.execute(_SQL[f"remove_{table}"], (number, limit))
                if connection.changes():
                    return True
            connection.execute(_SQL["former_log_removed"], (number,))
            return False

        left: bool = await self._write(remove)
        return left
