"""What followers keep, on SQLite."""

from collections.abc import Callable, Sequence
from typing import Any

import apsw
from msgspec.structs import astuple

from whence.errors import Throttled
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
from whence.storage.sql import load_blocks
from whence.storage.sqlite.credentials import Read, Write

__all__ = ["SQLiteFollowers"]

_SQL = load_blocks("whence.storage.sqlite")

Work = Callable[[apsw.Connection, int], Any]
"""What is done in a transaction with the number of a tenant."""


class SQLiteFollowers:
    """What the followers of one file keep; see `Followers`."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    # --- leases --------------------------------------------------------------------------------------------------

    async def take_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Give every lease: a file has one server, which has one process for this work."""
        return True

    async def release_lease(self, name: str, owner: str) -> None:
        """Do nothing; see `take_lease`."""

    # --- definitions ---------------------------------------------------------------------------------------------

    async def put_definition(self, definition: Definition) -> bool:
        """Store a new definition, or the next version of one."""
        key = (definition.kind, definition.tenant, definition.id)
        values = (*key, definition.version, definition.body)

        def put(connection: apsw.Connection) -> bool | Throttled:
            if definition.version == 1:
                refusal = definitions_refusal(connection.execute(_SQL["count_definitions"], key).get)
                if refusal is not None:
                    return refusal
            block = "add_definition" if definition.version == 1 else "change_definition"
            connection.execute(_SQL[block], values)
            return connection.changes() > 0

        # Returned and not raised, which would undo the writer's whole group.
        done: bool | Throttled = await self._write(put)
        if isinstance(done, Throttled):
            raise done
        return done

    async def get_definition(self, tenant: str, kind: str, definition_id: str) -> Definition | None:
        """One definition."""
        values = (kind, tenant, definition_id)
        row = await self._read(tenant, lambda connection: connection.execute(_SQL["definition"], values).fetchone())
        return None if row is None else Definition(*row)

    async def list_definitions(self, kind: str, tenant: str | None = None) -> list[Definition]:
        """The definitions of a kind."""
        text = _SQL["definitions" if tenant is None else "definitions_of_tenant"]
        values = (kind,) if tenant is None else (kind, tenant)
        rows = await self._read(tenant or "", lambda connection: connection.execute(text, values).fetchall())
        return [Definition(*row) for row in rows]

    async def delete_definition(self, tenant: str, kind: str, definition_id: str) -> bool:
        """Delete a definition."""

        def delete(connection: apsw.Connection) -> bool:
            connection.execute(_SQL["delete_definition"], (kind, tenant, definition_id))
            return connection.changes() > 0

        deleted: bool = await self._write(delete)
        return deleted

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
        await self._write(lambda connection: _save_place(connection, _made_tenant_no(connection, tenant), place))

    async def delete_place(self, tenant: str, name: str) -> None:
        """Forget a follower."""

        def delete(connection: apsw.Connection, tenant_no: int) -> None:
            connection.execute(_SQL["delete_place"], (tenant_no, name))

        await self._change(tenant, delete)

    # --- deliveries ----------------------------------------------------------------------------------------------

    async def add_deliveries(
        self, tenant: str, webhook_id: str, positions: Sequence[int], now: int, place: Place
    ) -> None:
        """Add pending deliveries, and save the place of their follower."""

        def add(connection: apsw.Connection) -> None:
            tenant_no = _made_tenant_no(connection, tenant)
            rows = [(tenant_no, webhook_id, position, now) for position in positions]
            connection.executemany(_SQL["add_delivery"], rows)
            _save_place(connection, tenant_no, place)

        await self._write(add)

    async def due_deliveries(self, tenant: str, webhook_id: str, now: int, limit: int) -> list[Delivery]:
        """The pending deliveries that are due."""
        return [Delivery(*row) for row in await self._rows(tenant, "due_deliveries", webhook_id, now, limit)]

    async def next_due(self, tenant: str, webhook_id: str) -> int | None:
        """When the next pending delivery is due."""
        rows = await self._rows(tenant, "next_due", webhook_id)
        due_at: int | None = rows[0][0] if rows else None
        return due_at

    async def get_delivery(self, tenant: str, webhook_id: str, position: int) -> Delivery | None:
        """One delivery."""
        rows = await self._rows(tenant, "delivery", webhook_id, position)
        return Delivery(*rows[0]) if rows else None

    async def list_deliveries(self, tenant: str, which: DeliveryFilter, limit: int) -> list[Delivery]:
        """Deliveries by position."""

        def ask(connection: apsw.Connection) -> list[Delivery]:
            return _listed(connection, _tenant_no(connection, tenant), which, states_of(which), limit)

        found: list[Delivery] = await self._read(tenant, ask)
        return found

    async def count_deliveries(self, tenant: str, webhook_id: str) -> dict[int, int]:
        """How many deliveries are in each state."""
        return dict(await self._rows(tenant, "count_deliveries", webhook_id))

    async def record_attempts(self, tenant: str, attempts: Sequence[tuple[Delivery, Attempt]]) -> None:
        """Record attempts, and what became of their deliveries."""

        def record(connection: apsw.Connection, tenant_no: int) -> None:
            connection.executemany(
                _SQL["change_delivery"], [(tenant_no, *astuple(delivery)) for delivery, _ in attempts]
            )
            connection.executemany(_SQL["add_attempt"], [(tenant_no, *astuple(attempt)) for _, attempt in attempts])

        await self._change(tenant, record)

    async def list_attempts(self, tenant: str, webhook_id: str, position: int) -> list[Attempt]:
        """The attempts of a delivery."""
        return [Attempt(*row) for row in await self._rows(tenant, "attempts", webhook_id, position)]

    async def retry_deliveries(self, tenant: str, which: DeliveryFilter, now: int, limit: int) -> int | None:
        """Make deliveries pending again."""
        states = [state for state in states_of(which) if state != PENDING]

        def retry(connection: apsw.Connection, tenant_no: int) -> int | None:
            found = [each.position for each in _listed(connection, tenant_no, which, states, limit)]
            rows = [(tenant_no, which.webhook_id, position, now) for position in found]
            connection.executemany(_SQL["retry_delivery"], rows)
            return found[-1] if found else None

        last: int | None = await self._change(tenant, retry)
        return last

    async def delete_deliveries(self, tenant: str, webhook_id: str, before: int | None, limit: int) -> int:
        """Delete old deliveries, or every one, and their attempts."""

        def delete(connection: apsw.Connection, tenant_no: int) -> int:
            if before is None:
                which = DeliveryFilter(webhook_id)
                found = [each.position for each in _listed(connection, tenant_no, which, states_of(which), limit)]
            else:
                values = (tenant_no, webhook_id, before, limit)
                found = [position for (position,) in connection.execute(_SQL["old_deliveries"], values)]
            rows = [(tenant_no, webhook_id, position) for position in found]
            connection.executemany(_SQL["delete_attempts"], rows)
            connection.executemany(_SQL["delete_delivery"], rows)
            return len(found)

        deleted: int = await self._change(tenant, delete)
        return deleted

    async def _rows(self, tenant: str, block: str, *values: Any) -> list[Any]:
        """The rows of a statement about a tenant; none for one that does not exist."""

        def ask(connection: apsw.Connection) -> list[Any]:
            return connection.execute(_SQL[block], (_tenant_no(connection, tenant), *values)).fetchall()

        rows: list[Any] = await self._read(tenant, ask)
        return rows

    async def _change(self, tenant: str, work: Work) -> Any:
        """Change rows of a tenant, which is not made if it does not exist."""
        return await self._write(lambda connection: work(connection, _tenant_no(connection, tenant)))


def _tenant_no(connection: apsw.Connection, tenant: str) -> int:
    """The number of a tenant, or 0, of which there are no rows."""
    number: int | None = connection.execute(_SQL["tenant_no"], (tenant,)).get
    return number or 0


def _made_tenant_no(connection: apsw.Connection, tenant: str) -> int:
    """The number of a tenant, which is made if it is missing: a webhook may be there before the first event."""
    number = _tenant_no(connection, tenant)
    if not number:
        connection.execute(_SQL["add_tenant"], (tenant,))
        number = _tenant_no(connection, tenant)
    return number


def _save_place(connection: apsw.Connection, tenant_no: int, place: Place) -> None:
    connection.execute(_SQL["save_place"], (tenant_no, *astuple(place)))


def _listed(
    connection: apsw.Connection, tenant_no: int, which: DeliveryFilter, states: Sequence[int], limit: int
) -> list[Delivery]:
    """Deliveries in these states by position. Each state is read in order from its part of the index."""
    found = [
        Delivery(*row)
        for state in states
        for row in connection.execute(_SQL["deliveries"], (tenant_no, which.webhook_id, state, which.after, limit))
    ]
    return sorted(found, key=lambda delivery: delivery.position)[:limit]
