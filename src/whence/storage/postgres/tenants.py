"""Tenant numbers: which tenant a transaction belongs to.

A tenant's number must be known before its transaction begins, because row-level security compares with it. A process
looks a number up once and then caches it, but trusts the cached number only together with the tenant's name: after a
failover to a standby that lacks the last commits, the number may belong to another tenant.
"""

import msgspec

from whence.errors import Unavailable
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import PostgresHeadRow
from whence.storage.sql import load_blocks

__all__ = ["NO_TENANT", "Tenant", "TenantRenumbered", "find_tenant", "head_row", "make_tenant", "refuse_renumbered"]

_SQL = load_blocks("whence.storage.postgres")

NO_TENANT = 0
"""The number of a transaction without a tenant, and of a tenant that does not exist. Tenants' numbers start at 1."""


class Tenant(msgspec.Struct, frozen=True):
    """The tenant of a transaction. `is_cached`: its number comes from an earlier lookup."""

    name: str
    number: int
    is_cached: bool = False


class TenantRenumbered(Exception):
    """A cached number does not belong to this tenant, or no longer does. Look it up again."""


async def find_tenant(connection: Connection, name: str) -> int:
    """The number of a tenant, or NO_TENANT."""
    return await connection.fetchval(_SQL["tenant_no"], name) or NO_TENANT


async def refuse_renumbered(connection: Connection, owner: Tenant) -> None:
    """Raise TenantRenumbered unless a cached number is that of the tenant. Not by the tenant's head, which is missing
    before the first event."""
    if owner.is_cached and await find_tenant(connection, owner.name) != owner.number:
        raise TenantRenumbered


async def make_tenant(connection: Connection, name: str) -> int:
    """Make a tenant and return its number, which is valid once the transaction is committed.

    Run it in a transaction of its own, so that no append holds a row lock while another process makes a tenant.
    """
    await connection.execute(_SQL["add_tenant"], await connection.fetchval(_SQL["next_tenant_no"]), name)
    # Another process may have made it at the same moment, with another number.
    number = await find_tenant(connection, name)
    if number == NO_TENANT:
        raise Unavailable("The tenant could not be made. Send the request again.")
    return number


async def head_row(connection: Connection, tenant: Tenant, block: str = "head") -> PostgresHeadRow | None:
    """The row of a tenant's head, or None when it has none yet. Raises TenantRenumbered."""
    row = await connection.fetchrow(_SQL[block], tenant.number, tenant.name)
    if row is None and tenant.is_cached:
        raise TenantRenumbered
    return None if row is None else PostgresHeadRow(*row)
