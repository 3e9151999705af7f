"""Whose a transaction is: the numbers of tenants.

A number is known before its transaction begins, so that the transaction can tell it to the wall. A process looks a
tenant up once and remembers its number from then on, but believes it only together with the name: where a standby took
over without the last commits, the number may have become another tenant's, or the tenant may have got another one.
"""

import msgspec

from whence.errors import Unavailable
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import PostgresHeadRow
from whence.storage.sql import load_blocks

__all__ = ["NOBODY", "Renumbered", "Tenant", "find_tenant", "head_row", "make_tenant"]

_SQL = load_blocks("whence.storage.postgres")

NOBODY = 0
"""The number in a transaction of no tenant, and of a tenant that is not there; a tenant's is above it."""


class Tenant(msgspec.Struct, frozen=True):
    """A tenant as a transaction knows it; `remembered` when its number was not looked up just now."""

    name: str
    number: int
    remembered: bool = False


class Renumbered(Exception):
    """A remembered number is not, or no longer, this tenant's."""


async def find_tenant(connection: Connection, name: str) -> int:
    """The number of a tenant, or NOBODY."""
    return await connection.fetchval(_SQL["tenant_no"], name) or NOBODY


async def make_tenant(connection: Connection, name: str) -> int:
    """Make a tenant, in a transaction of its own: whoever holds a head waits for nobody who makes one. Its number is
    good once that transaction is committed."""
    await connection.execute(_SQL["add_tenant"], await connection.fetchval(_SQL["next_tenant_no"]), name)
    # Somebody else may have made it meanwhile, with another number.
    number = await find_tenant(connection, name)
    if number == NOBODY:
        raise Unavailable("The tenant could not be made.")
    return number


async def head_row(connection: Connection, tenant: Tenant, block: str = "head") -> PostgresHeadRow | None:
    """The row of a tenant's head, or None when it has none yet. Raises Renumbered."""
    row = await connection.fetchrow(_SQL[block], tenant.number, tenant.name)
    if row is None and tenant.remembered:
        raise Renumbered
    return None if row is None else PostgresHeadRow(*row)
