"""Removing payloads and events from a tenant's log, on PostgreSQL.

A removal is one transaction under the row lock on the tenant's head, as an append is, so neither sees the other half
done. It takes the role whence_keeper: the role of all other transactions can neither change nor delete an event.
"""

from collections.abc import Sequence
from functools import partial

from whence.identities import spellings
from whence.storage.postgres import erasure_ledger
from whence.storage.postgres.append import KindsCache, head_draft
from whence.storage.postgres.connections import Connection, Target
from whence.storage.postgres.credentials import Run
from whence.storage.postgres.followers import RunAs, TenantWork, WriteAs
from whence.storage.postgres.payload_index import forget_payload_values
from whence.storage.postgres.purge import PurgeOvertaken, forget_content, purge_events
from whence.storage.postgres.rows import PostgresHeadRow
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.removals import HOLD, LASTING_TYPES, Erased, HoldVersion, LaterEvents, Purge, refuse_unknown_holds
from whence.storage.sql import load_blocks

__all__ = ["PostgresRemovals"]

_SQL = load_blocks("whence.storage.postgres")


class PostgresRemovals:
    """What one database can forget; see `Removals`."""

    def __init__(self, read: Run, write_as: WriteAs, remove_as: RunAs, target: Target, names: KindsCache) -> None:
        """`remove_as` writes with the rights of a removal. `names` are the kinds that appends use."""
        self._read = read
        self._write_as = write_as
        self._remove_as = remove_as
        self._target = target
        self._names = names

    async def erase_payloads(
        self, tenant: str, positions: Sequence[int], erased_at: int, holds: Sequence[HoldVersion]
    ) -> int:
        """Erase payloads, with their salts and with what webhooks answered to them."""
        asked = sorted(set(positions))

        async def erase(connection: Connection, owner: Tenant) -> int:
            await _begin(connection, owner)
            row = await _locked_head(connection, owner, holds)
            if row is None:
                return 0
            await connection.execute(_SQL["lock_deliveries"], owner.name)
            head = await head_draft(connection, owner, row)
            await forget_content(connection, owner.number, asked)
            found = await connection.fetch(_SQL["payloads_to_erase"], owner.number, asked, list(LASTING_TYPES))
            if found:
                erased, sizes = zip(*found, strict=True)
                await _note(connection, owner, erased)
                await forget_payload_values(connection, owner.number, erased)  # which reads the payloads
                await connection.execute(_SQL["erase_payload"], owner.number, erased, erased_at)
                head.payload_bytes -= sum(sizes)
                await connection.execute(_SQL["save_erasure"], owner.number, head.payload_bytes, head.measured_to)
            return len(found)

        return await self._remove(tenant, erase)

    async def purge(self, tenant: str, purge: Purge, holds: Sequence[HoldVersion]) -> int:
        """Remove events, with their rows in every count."""

        async def remove(connection: Connection, owner: Tenant, *, early: bool) -> int:
            await _begin(connection, owner)
            return await purge_events(
                connection,
                owner,
                purge,
                partial(_locked_head, connection, owner, holds),
                self._names,
                early=early,
                joined=not self._target.on_citus,
            )

        try:
            return await self._remove(tenant, partial(remove, early=True))
        except PurgeOvertaken:
            return await self._remove(tenant, partial(remove, early=False))

    async def erase_actor(
        self,
        tenant: str,
        actor: tuple[str, str],
        new_id: str,
        erased_at: int,
        holds: Sequence[HoldVersion],
        upto: int | None = None,
    ) -> int:
        """Replace the id of an actor."""
        type_, id_ = actor
        names = spellings(id_)

        async def erase(connection: Connection, owner: Tenant) -> int:
            await _begin(connection, owner)
            row = await _locked_head(connection, owner, holds)
            if row is None:
                return 0
            await connection.execute(_SQL["lock_deliveries"], owner.name)
            rows = await connection.fetch(_SQL["actors_by_id"], owner.number, [*names, new_id])
            found = {name: number for number, of_type, name in rows if of_type == type_}
            number = next((found[name] for name in names if name in found), None)
            if number is None or new_id in found:
                return 0
            if upto is not None and await connection.fetchval(_SQL["later_event_of_actor"], owner.number, number, upto):
                raise LaterEvents("The actor has later events. Nothing was removed.")
            first = await connection.fetchval(_SQL["first_of_actor"], owner.number, number)
            await _note(connection, owner, [] if first is None else [first], new_id)
            await connection.execute(_SQL["erase_actor"], owner.number, number, new_id, erased_at)
            await connection.execute(_SQL["erase_answers_of_actor"], owner.number, number)
            await connection.execute(_SQL["save_erasure"], owner.number, row.payload_bytes, row.measured_to)
            return int(await connection.fetchval(_SQL["events_of_actor"], owner.number, number))

        return await self._remove(tenant, erase)

    async def settle(self, tenant: str) -> None:
        """Wait for the row lock that every removal holds."""
        await self._write_as(tenant, lambda connection, owner: head_row(connection, owner, "lock_head"))

    async def unseen_erasures(self) -> list[Erased]:
        """What the ledger says that this schema has not seen."""
        found: list[Erased] = await self._read(erasure_ledger.unseen, "")
        return found

    async def see_erasures(self, entries: Sequence[Erased]) -> None:
        """Note that these entries are done."""
        numbers = [each.entry for each in entries]
        for tenant in sorted({each.tenant for each in entries})[:1]:
            await self._remove_as(tenant, lambda connection, _owner: erasure_ledger.see(connection, numbers))

    async def scrub(self) -> bool:
        """Do nothing, and return True: the server overwrites its pages and its write-ahead log in its own time. The
        docs say what an operator can do to have it done sooner."""
        return True

    async def _remove(self, tenant: str, work: TenantWork) -> int:
        removed: int = await self._remove_as(tenant, work)
        return removed


async def _note(connection: Connection, owner: Tenant, positions: Sequence[int], new_id: str | None = None) -> None:
    """Note in the ledger what is about to be erased. An actor without events has nothing to be known by."""
    rows = await connection.fetch(_SQL["leaves_at"], owner.number, positions)
    if rows:
        await erasure_ledger.note(connection, Erased(owner.name, tuple(tuple(row) for row in rows), new_id))


async def _begin(connection: Connection, owner: Tenant) -> None:
    """Begin the transaction of a removal: until its commit, no other removal of the tenant goes on."""
    await connection.execute(_SQL["plan_by_key"])
    await connection.execute(_SQL["lock_removals"], owner.name)


async def _locked_head(connection: Connection, owner: Tenant, holds: Sequence[HoldVersion]) -> PostgresHeadRow | None:
    """The tenant's head, locked until the commit; None when it has none. Raises HoldsChanged for a hold that is not
    among `holds`."""
    row = await head_row(connection, owner, "lock_head")
    if row is None:
        return None
    # Read after the wait for the lock, so that no hold is missed that was stored before `settle`.
    rows = await connection.fetch(_SQL["hold_versions"], HOLD, owner.name)
    refuse_unknown_holds([tuple(each) for each in rows], holds)
    return row
