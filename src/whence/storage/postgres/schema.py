"""The schema and its server: migrates on command, and refuses a database that cannot keep the promises of a store."""

import asyncpg

from whence.errors import StoreRefused, Unavailable
from whence.storage.migrations import Migration, load_migrations
from whence.storage.postgres import citus
from whence.storage.postgres.catalogue import refuse_foreign_code
from whence.storage.postgres.connections import APP_ROLE, ROLES, Connection, Target
from whence.storage.sql import load_blocks, statements_of

__all__ = ["migrate", "refuse_unsafe_server", "verify"]

_PACKAGE = "whence.storage.postgres"
_SQL = load_blocks(_PACKAGE)

_VERSION_MIN = 150_000

_NO_ROLE = (
    "The login in the URL of the store is not a member of the role whence_app. Ask an administrator to run: "
    "GRANT whence_app TO <login>."
)


async def migrate(target: Target, migrations: tuple[Migration, ...] | None = None) -> list[str]:
    """Apply the migrations that are missing, in one transaction, and return their names.

    Creates the schema `whence` and its roles if they do not exist. On Citus, a second transaction
    distributes the tables that are not distributed yet. `migrations` is for tests. Raises StoreRefused when the login
    lacks the right, when a later release made the schema, when there are triggers or functions in it, when the server
    is unsuitable, and when a step fails; raises Unavailable when the connection is lost.
    """
    steps = load_migrations(_PACKAGE) if migrations is None else migrations
    connection = await target.connect_first()
    try:
        _refuse_unsuitable_server(await connection.fetchrow(_SQL["server"]))
        on_citus = await citus.is_installed(connection)
        if await connection.fetchval(_SQL["has_schema"]):
            await refuse_foreign_code(connection)
        async with connection.transaction():
            await connection.execute(_SQL["lock_schema"])
            for role in ROLES:
                await connection.execute(_SQL["make_role"].format(role=role))
                if not (await connection.fetchrow(_SQL["role"], role))[1]:
                    await connection.execute(_SQL["grant_role"].format(role=role))
            await connection.execute(_SQL["make_schema"])
            await connection.execute("SET LOCAL search_path TO whence")
            version = await connection.fetchval(_SQL["version"])
            if version > len(steps):
                raise StoreRefused(
                    "A later release of Whence made this store. Run 'whence migrate' of that release or a later one."
                )
            for step in steps[version:]:
                for statement in statements_of(step.sql):
                    await connection.execute(statement)
                await connection.execute(_SQL["add_migration"], step.number, step.name)
        taken = [f"{step.number:04} {step.name}" for step in steps[version:]]
        if on_citus:
            async with connection.transaction():
                await connection.execute(_SQL["lock_schema"])
                taken += await citus.distribute(connection)
        return taken
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreRefused(
            "The login in the URL of the store lacks the right to create the schema or its roles. It must own the "
            "database. Ask an administrator to create the roles first: CREATE ROLE whence_app NOLOGIN; CREATE ROLE "
            "whence_keeper NOLOGIN; GRANT whence_app, whence_keeper TO <login>."
        ) from error
    except asyncpg.PostgresError as error:
        raise StoreRefused(
            f"The migration failed and was rolled back, so the store is unchanged. PostgreSQL says: {error}."
        ) from error
    except (OSError, asyncpg.InterfaceError) as error:
        raise Unavailable(
            "The connection to the PostgreSQL server was lost during the migration. Run it again; it applies only what "
            "is missing."
        ) from error
    finally:
        await connection.close()


async def verify(connection: Connection, *, unsafe_durability: bool = False) -> bool:
    """Raise StoreRefused unless this login can serve the log in this database and keep the promises of a store.

    `unsafe_durability` accepts a server that can lose acknowledged events. What is in the schema is compared in
    catalogue.py. Returns whether the database has Citus.
    """
    row = await connection.fetchrow(_SQL["server"])
    _refuse_unsuitable_server(row)
    if not unsafe_durability:
        refuse_unsafe_server(*row[2:])
    version = 0
    if await connection.fetchval(_SQL["has_schema"]):
        await _verify_roles(connection)
        version = await _version(connection)
    known = len(load_migrations(_PACKAGE))
    if version == 0:
        raise StoreRefused("This database holds no log yet. Create one with 'whence migrate --store <URL>'.")
    if version < known:
        raise StoreRefused(
            "An earlier release of Whence made this store. Stop the servers of that release, then run "
            "'whence migrate --store <URL>'."
        )
    if version > known:
        raise StoreRefused(
            "A later release of Whence made this store. Start that release or a later one, or restore a backup."
        )
    on_citus = await citus.is_installed(connection)
    if on_citus:
        await citus.refuse_undistributed(connection)
    return on_citus


async def _version(connection: Connection) -> int:
    """The schema's version, read with the role that every later transaction takes."""
    try:
        async with connection.transaction():
            await connection.execute(_SQL["set_role"])
            return int(await connection.fetchval(_SQL["version"]))
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError):
        raise StoreRefused(_NO_ROLE) from None


async def _verify_roles(connection: Connection) -> None:
    """Raise StoreRefused unless row-level security applies to the roles that transactions take, and the one of all but
    removals may remove nothing."""
    for name in ROLES:
        role = await connection.fetchrow(_SQL["role"], name)
        if role is not None and (role[0] or role[2]):
            raise StoreRefused(
                f"The role {name} must own no table of the log and be neither superuser nor BYPASSRLS, or row-level "
                f"security does not apply to it. Change the owner, or run ALTER ROLE {name} NOSUPERUSER NOBYPASSRLS."
            )
        if role is not None and name == APP_ROLE and role[3]:
            raise StoreRefused(
                "The role whence_app is a member of whence_keeper, so that every transaction could remove events. Run "
                "REVOKE whence_keeper FROM whence_app."
            )


def refuse_unsafe_server(fsync: str, full_page_writes: str, synchronous_commit: str) -> None:
    """Raise StoreRefused for settings under which a crash can lose acknowledged events."""
    settings = {"fsync": fsync, "full_page_writes": full_page_writes, "synchronous_commit": synchronous_commit}
    unsafe = [name for name, value in settings.items() if value == "off"]
    if unsafe:
        raise StoreRefused(
            f"The PostgreSQL server has {', '.join(unsafe)} off, so a crash can lose acknowledged events. Turn it on, "
            "or accept the risk with --unsafe-durability."
        )


def _refuse_unsuitable_server(row: tuple[int, str, str, str, str]) -> None:
    if row[0] < _VERSION_MIN:
        raise StoreRefused("This PostgreSQL server is too old. Use PostgreSQL 15 or later.")
    if row[1] != "UTF8":
        raise StoreRefused(
            "The database's encoding is not UTF8. Create a database with CREATE DATABASE whence TEMPLATE template0 "
            "ENCODING 'UTF8'."
        )
