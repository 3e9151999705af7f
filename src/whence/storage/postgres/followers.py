"""What followers keep, on PostgreSQL."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from msgspec.structs import astuple, replace

from whence.storage.followers import (
    PENDING,
    Attempt,
    Definition,
    Delivery,
    DeliveryFilter,
    Place,
    definitions_refusal,
    states_of,
)
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.credentials import Run
from whence.storage.postgres.tenants import Tenant, refuse_renumbered
from whence.storage.sql import load_blocks

__all__ = ["PostgresFollowers"]

_SQL = load_blocks("whence.storage.postgres")

TenantWork = Callable[[Connection, Tenant], Awaitable[Any]]

RunAs = Callable[[str, TenantWork], Awaitable[Any]]
"""Runs work in a transaction of a tenant, which need not exist; its number is then one that has no rows."""


class WriteAs(Protocol):
    """Writes in a transaction of a tenant, which is made if it is missing and `make` is set."""

    async def __call__(self, tenant: str, work: TenantWork, *, make: bool = False) -> Any:
        """What `work` returns, after the commit."""
        ...


class PostgresFollowers:
    """What the followers of one database keep; see `Followers`."""

    def __init__(self, read: Run, write: Run, read_as: RunAs, write_as: WriteAs) -> None:
        self._read = read
        self._write = write
        self._read_as = read_as
        self._write_as = write_as

    # --- leases --------------------------------------------------------------------------------------------------

    async def take_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Take a lease, or keep it."""
        values = (name, owner, round(seconds * 1_000_000))
        taken = await self._write(lambda connection: connection.fetchval(_SQL["take_lease"], *values), "")
        return taken is not None

    async def release_lease(self, name: str, owner: str) -> None:
        """End a lease at once."""
        await self._write(lambda connection: connection.execute(_SQL["release_lease"], name, owner), "")

    # --- definitions ---------------------------------------------------------------------------------------------

    async def put_definition(self, definition: Definition) -> bool:
        """Store a new definition, or the next version of one."""
        key = (definition.kind, definition.tenant, definition.id)
        values = (*key, definition.version, definition.body)

        async def put(connection: Connection) -> bool:
            if definition.version > 1:
                return await connection.fetchrow(_SQL["change_definition"], *values) is not None
            await connection.execute(_SQL["lock_limit"], f"{definition.tenant}/{definition.kind}")
            refusal = definitions_refusal(await connection.fetchval(_SQL["count_definitions"], *key))
            if refusal is not None:
                raise refusal
            return await connection.fetchrow(_SQL["add_definition"], *values) is not None

        done: bool = await self._write(put, definition.tenant)
        return done

    async def get_definition(self, tenant: str, kind: str, definition_id: str) -> Definition | None:
        """One definition."""
        values = (kind, tenant, definition_id)
        row = await self._read(lambda connection: connection.fetchrow(_SQL["definition"], *values), tenant)
        return None if row is None else Definition(*row)

    async def list_definitions(self, kind: str, tenant: str | None = None) -> list[Definition]:
        """The definitions of a kind."""
        text = _SQL["definitions" if tenant is None else "definitions_of_tenant"]
        values = (kind,) if tenant is None else (kind, tenant)
        rows = await self._read(lambda connection: connection.fetch(text, *values), tenant or "")
        return [Definition(*row) for row in rows]

    async def delete_definition(self, tenant: str, kind: str, definition_id: str) -> bool:
        """Delete a definition."""
        values = (kind, tenant, definition_id)
        row = await self._write(lambda connection: connection.fetchrow(_SQL["delete_definition"], *values), tenant)
        return row is not None

    # --- places --------------------------------------------------------------------------------------------------

    async def get_place(self, tenant: str, name: str) -> Place | None:
        """The place of a follower."""
        rows = await self._rows(tenant, "place", name)
        return Place(*rows[0]) if rows else None

    async def list_places(self, tenant: str) -> list[Place]:
        """The places of a tenant's followers."""
        return [Place(*row) for row in await self._rows(tenant, "places")]

    async def save_place(self, tenant: str, place: Place) -> None:
        """Save how far a follower has read."""

        async def save(connection: Connection, owner: Tenant) -> None:
            await refuse_renumbered(connection, owner)
            await connection.execute(_SQL["save_place"], owner.number, *astuple(place))

        await self._write_as(tenant, save, make=True)

    async def delete_place(self, tenant: str, name: str) -> None:
        """Forget a follower."""

        async def delete(connection: Connection, owner: Tenant) -> None:
            await refuse_renumbered(connection, owner)
            await connection.execute(_SQL["delete_place"], owner.number, name)

        await self._write_as(tenant, delete)

    # --- deliveries ----------------------------------------------------------------------------------------------

    async def add_deliveries(
        self, tenant: str, webhook_id: str, positions: Sequence[int], now: int, place: Place
    ) -> None:
        """Add pending deliveries, and save the place of their follower."""
        added = sorted(positions)  # in the same order in every process, so that no two deadlock

        async def add(connection: Connection, owner: Tenant) -> None:
            await refuse_renumbered(connection, owner)
            if added:
                await connection.execute(_SQL["add_delivery"], owner.number, webhook_id, added, now)
            await connection.execute(_SQL["save_place"], owner.number, *astuple(place))

        await self._write_as(tenant, add, make=True)

    async def due_deliveries(self, tenant: str, webhook_id: str, now: int, limit: int) -> list[Delivery]:
        """The pending deliveries that are due."""
        return [Delivery(*row) for row in await self._rows(tenant, "due_deliveries", webhook_id, now, limit)]

    async def next_due(self, tenant: str, webhook_id: str) -> int | None:
        """When the next pending delivery is due."""
        [(due_at,)] = await self._rows(tenant, "next_due", webhook_id)
        found: int | None = due_at
        return found

    async def get_delivery(self, tenant: str, webhook_id: str, position: int) -> Delivery | None:
        """One delivery."""
        rows = await self._rows(tenant, "delivery", webhook_id, position)
        return Delivery(*rows[0]) if rows else None

    async def list_deliveries(self, tenant: str, which: DeliveryFilter, limit: int) -> list[Delivery]:
        """Deliveries by position."""
        rows = await self._rows(tenant, "deliveries", which.webhook_id, states_of(which), which.after, limit)
        return [Delivery(*row) for row in rows]

    async def count_deliveries(self, tenant: str, webhook_id: str) -> dict[int, int]:
        """How many deliveries are in each state."""
        return dict(await self._rows(tenant, "count_deliveries", webhook_id))

    async def record_attempts(self, tenant: str, attempts: Sequence[tuple[Delivery, Attempt]]) -> None:
        """Record attempts, and what became of their deliveries."""
        if not attempts:
            return
        # The last one of each delivery: a statement changes a row only once.
        changed = {(delivery.webhook_id, delivery.position): delivery for delivery, _ in attempts}
        columns = _columns(changed.values())

        async def record(connection: Connection, owner: Tenant) -> None:
            await _lock(connection, owner)
            there = {tuple(row) for row in await connection.fetch(_SQL["change_delivery"], owner.number, *columns)}
            kept = [attempt for _, attempt in attempts if (attempt.webhook_id, attempt.position) in there]
            if not kept:
                return
            positions = list({attempt.position for attempt in kept})
            erased = {
                row["position"] for row in await connection.fetch(_SQL["erased_positions"], owner.number, positions)
            }
            # An answer may repeat what was erased while it was on its way.
            rows = [replace(attempt, answer=b"") if attempt.position in erased else attempt for attempt in kept]
            await connection.execute(_SQL["add_attempt"], owner.number, *_columns(rows))

        await self._write_as(tenant, record)

    async def list_attempts(self, tenant: str, webhook_id: str, position: int) -> list[Attempt]:
        """The attempts of a delivery."""
        return [Attempt(*row) for row in await self._rows(tenant, "attempts", webhook_id, position)]

    async def retry_deliveries(self, tenant: str, which: DeliveryFilter, now: int, limit: int) -> int | None:
        """Make deliveries pending again."""
        states = [state for state in states_of(which) if state != PENDING]
        listed = (which.webhook_id, states, which.after, limit)

        async def retry(connection: Connection, owner: Tenant) -> int | None:
            await _lock(connection, owner)
            found = [row["position"] for row in await connection.fetch(_SQL["deliveries"], owner.number, *listed)]
            if found:
                await connection.execute(_SQL["retry_delivery"], owner.number, which.webhook_id, found, now)
            return found[-1] if found else None

        last: int | None = await self._write_as(tenant, retry)
        return last

    async def delete_deliveries(self, tenant: str, webhook_id: str, before: int | None, limit: int) -> int:
        """Delete old deliveries, or every one, and their attempts."""
        block = "deliveries" if before is None else "old_deliveries"
        which: list[Any] = [states_of(DeliveryFilter(webhook_id)), 0] if before is None else [before]

        async def delete(connection: Connection, owner: Tenant) -> int:
            await _lock(connection, owner)
            rows = await connection.fetch(_SQL[block], owner.number, webhook_id, *which, limit)
            found = [row["position"] for row in rows]
            if found:
                await connection.execute(_SQL["delete_attempts"], owner.number, webhook_id, found)
                await connection.execute(_SQL["delete_delivery"], owner.number, webhook_id, found)
            return len(found)

        deleted: int = await self._write_as(tenant, delete)
        return deleted

    async def _rows(self, tenant: str, block: str, *values: Any) -> list[Any]:
        """The rows of a statement about a tenant; none for one that does not exist."""

        async def ask(connection: Connection, owner: Tenant) -> list[Any]:
            await refuse_renumbered(connection, owner)
            rows: list[Any] = await connection.fetch(_SQL[block], owner.number, *values)
            return rows

        found: list[Any] = await self._read_as(tenant, ask)
        return found


async def _lock(connection: Connection, owner: Tenant) -> None:
    """Keep other transactions from changing deliveries of this tenant that are there."""
    await refuse_renumbered(connection, owner)
    await connection.execute(_SQL["lock_deliveries"], owner.name)


def _columns(rows: Any) -> list[list[Any]]:
    """The values of rows by column, for `unnest`."""
    return [list(column) for column in zip(*map(astuple, rows), strict=True)]
