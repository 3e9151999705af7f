"""The schema and the server under it: migrating on demand, and refusing what would not keep the promises."""

import asyncpg

from whence.errors import StoreRefused, Unavailable
from whence.storage.migrations import Migration, load_migrations
from whence.storage.postgres import citus
from whence.storage.postgres.connections import Connection, Target
from whence.storage.sql import load_blocks

__all__ = ["migrate", "refuse_unsafe_server", "verify"]

_PACKAGE = "whence.storage.postgres"
_SQL = load_blocks(_PACKAGE)

_VERSION_MIN = 150_000

_NO_ROLE = "This login may not use the log. An administrator runs: GRANT whence_app TO <login>."


async def migrate(target: Target, migrations: tuple[Migration, ...] | None = None) -> list[str]:
    """Bring the schema to this release's version in one transaction; the names of the steps that were taken.

    Makes the schema `whence` and the role `whence_app` when they are not there. On Citus it then distributes what is
    not, in a second transaction. Raises StoreRefused when the login may not, when a later release made the schema, and
    for a server of no use; and Unavailable when the connection is lost.
    """
    steps = load_migrations(_PACKAGE) if migrations is None else migrations
    connection = await target.first()
    try:
        _refuse_unknown_server(await connection.fetchrow(_SQL["server"]))
        on_citus = await citus.is_here(connection)
        async with connection.transaction():
            await connection.execute(_SQL["lock_schema"])
            await connection.execute(_SQL["make_role"])
            if not (await connection.fetchrow(_SQL["app_role"]))[1]:
                await connection.execute(_SQL["grant_role"])
            await connection.execute(_SQL["make_schema"])
            await connection.execute("SET LOCAL search_path TO whence")
            version = await connection.fetchval(_SQL["version"])
            if version > len(steps):
                raise StoreRefused("A later release of Whence made this store. Use that release.")
            for step in steps[version:]:
                await connection.execute(step.sql)
                await connection.execute(_SQL["add_migration"], step.number, step.name)
        taken = [f"{step.number:04} {step.name}" for step in steps[version:]]
        if on_citus:
            async with connection.transaction():
                await connection.execute(_SQL["lock_schema"])
                taken += await citus.distribute(connection)
        return taken
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreRefused(
            "This login may not make what the store needs. It must own the database; and an administrator makes the "
            "role beforehand: CREATE ROLE whence_app NOLOGIN; GRANT whence_app TO <login>."
        ) from error
    except asyncpg.PostgresError as error:
        raise StoreRefused(f"The migration failed and was undone ({type(error).__name__}: {error}).") from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise Unavailable(
            "The connection to the PostgreSQL server was lost during the migration. Run it again; it takes the steps "
            "that were not taken."
        ) from error
    finally:
        await connection.close()


async def verify(connection: Connection, *, unsafe_durability: bool = False) -> bool:
    """Raise StoreRefused unless the log in this database can be served, by this login, with its promises kept. Whether
    it is on Citus."""
    row = await connection.fetchrow(_SQL["server"])
    _refuse_unknown_server(row)
    if not unsafe_durability:
        refuse_unsafe_server(*row[2:])
    version = 0
    if await connection.fetchval(_SQL["has_schema"]):
        await _verify_row_security(connection)
        version = await _version(connection)
    known = len(load_migrations(_PACKAGE))
    if version == 0:
        raise StoreRefused("There is no log in this database yet. Make one with 'whence migrate --store <URL>'.")
    if version < known:
        raise StoreRefused(
            "An earlier release of Whence made this store. Stop the servers of that release, then run "
            "'whence migrate --store <URL>'."
        )
    if version > known:
        raise StoreRefused("A later release of Whence made this store. Start that release, or restore a backup.")
    on_citus = await citus.is_here(connection)
    if on_citus:
        await citus.refuse_undistributed(connection)
    return on_citus


async def _version(connection: Connection) -> int:
    """The schema's version, read as every later transaction reads."""
    try:
        async with connection.transaction():
            await connection.execute(_SQL["take_role"])
            return int(await connection.fetchval(_SQL["version"]))
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError):
        raise StoreRefused(_NO_ROLE) from None


async def _verify_row_security(connection: Connection) -> None:
    """Raise StoreRefused when row level security would not hold."""
    role = await connection.fetchrow(_SQL["app_role"])
    if role is not None and (role[0] or role[2]):
        raise StoreRefused(
            "The role whence_app must own nothing of the log, and be neither superuser nor BYPASSRLS: else one tenant "
            "could see another. Take that from it."
        )
    open_tables = [row[0] for row in await connection.fetch(_SQL["unguarded"])]
    if open_tables:
        raise StoreRefused(
            f"Row level security does not hold: {', '.join(open_tables)}. Turn it on again, with ENABLE and FORCE ROW "
            "LEVEL SECURITY, and drop every policy but one_tenant."
        )


def refuse_unsafe_server(fsync: str, full_page_writes: str, synchronous_commit: str) -> None:
    """Raise StoreRefused for settings under which an acknowledged event can be lost."""
    told = {"fsync": fsync, "full_page_writes": full_page_writes, "synchronous_commit": synchronous_commit}
    unsafe = [name for name, value in told.items() if value == "off"]
    if unsafe:
        raise StoreRefused(
            f"The PostgreSQL server runs with {', '.join(unsafe)} off, and could lose what was acknowledged. Turn it "
            "on, or accept the loss with --unsafe-durability."
        )


def _refuse_unknown_server(row: tuple[int, str, str, str, str]) -> None:
    if row[0] < _VERSION_MIN:
        raise StoreRefused("PostgreSQL 15 or later is needed.")
    if row[1] != "UTF8":
        raise StoreRefused("The database must be in UTF8: CREATE DATABASE whence TEMPLATE template0 ENCODING 'UTF8'.")
