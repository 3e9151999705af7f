"""The role whence_keeper: what a removal may do that no other transaction may."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.contract.made import add, new, page
from tests.databases import copied_database, execute, fetch, fresh_database, server_url
from tests.storage.statements import listen
from tests.storage.test_postgres_row_security import ACME, as_login
from tests.storage.test_postgres_schema import refusal
from whence.errors import Unavailable
from whence.storage import create_store
from whence.storage.postgres import append_function, connections
from whence.storage.seals import NewCheckpoint, Origin, SealedCheckpoint, TileRow

OTHER = 2

REMOVAL = (
    "DELETE FROM event",
    "DELETE FROM kind",
    "DELETE FROM actor",
    "DELETE FROM flow",
    "DELETE FROM resource",
    "DELETE FROM bucket",
    "DELETE FROM tile",
    "DELETE FROM origin",
    "UPDATE event SET payload = NULL, salt = NULL, payload_hash = leaf, erased_at = 1",
    "UPDATE actor SET actor_id = 'nobody'",
)
"""What only a removal may do."""

FORBIDDEN = (
    "UPDATE event SET leaf = salt",
    "UPDATE event SET occurred_at = 1",
    "UPDATE kind SET event_type = 'a.b'",
    "INSERT INTO event SELECT * FROM event",
    "INSERT INTO kind SELECT * FROM kind",
    "DELETE FROM head",
    "UPDATE origin SET key = ''",
    "UPDATE checkpoint SET note = ''",
    "UPDATE tenant SET tenant_no = 9",
    "SELECT hash FROM api_key",
    "UPDATE api_key SET revoked_at = NULL",
    "SELECT hash FROM session",
    "DELETE FROM former_log",
    "DELETE FROM erasure",
    "DELETE FROM whence_signed.erased",
    "UPDATE whence_signed.erased SET tenant = ''",
)
"""What even a removal may not do."""


@pytest.fixture(scope="module")
async def unchanged(anyio_backend: str) -> str:
    """A database in which two tenants have events, for tests that roll everything back."""
    made = await fresh_database()
    store = create_store(made)
    await add(store, new(1), tenant="acme")
    await add(store, new(1), new(2), tenant="other")
    for tenant in ("acme", "other"):
        await store.seals.add_origin(tenant, Origin(1, f"log.example/{tenant}/1", "a key"))
        await store.seals.put_checkpoints([NewCheckpoint(tenant, SealedCheckpoint(1, 1, bytes(32), 0, "a note"), 0)])
        await store.seals.put_tiles(tenant, [TileRow(1, 0, bytes(32))])
    await store.close()
    return made


@pytest.fixture
async def connection(unchanged: str) -> AsyncIterator[Any]:
    """A connection of a superuser, who is not subject to row-level security."""
    made = await asyncpg.connect(unchanged)
    yield made
    await made.close()


@pytest.fixture
async def url(unchanged: str) -> str:
    """A copy of it."""
    return await copied_database(unchanged)


async def _status(connection: Any, role: str, tenant_no: int, statement: str) -> str:
    """What a statement answers in a transaction of this role and tenant, which is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"SET LOCAL ROLE {role}; SET LOCAL search_path TO whence")
        await connection.execute(f"SET LOCAL whence.tenant_no = '{tenant_no or ''}'")
        status: str = await connection.execute(statement)
        return status
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("statement", REMOVAL)
async def test_only_a_removal_may_remove(connection: Any, statement: str) -> None:
    """The role of all other transactions is refused; the role of a removal reaches the rows of its own tenant alone."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await _status(connection, "whence_app", ACME, statement)
    verb = statement.split(maxsplit=1)[0]
    assert await _status(connection, "whence_keeper", ACME, statement) == f"{verb} 1"
    assert await _status(connection, "whence_keeper", 0, statement) == f"{verb} 0"
    assert await _status(connection, "whence_keeper", ACME, f"{statement} WHERE tenant_no = {OTHER}") == f"{verb} 0"


@pytest.mark.parametrize(
    "row",
    [
        "transition (tenant_no, level, bucket, up_to, counts) VALUES ({}, 0, 0, 1, '')",
        "removed_transition (tenant_no, level, bucket, up_to, counts) VALUES ({}, 0, 0, 1, '')",
        "actor_total (tenant_no, level, bucket, up_to, counts) VALUES ({}, 0, 0, 1, '')",
        "tile (tenant_no, level, number, hashes) VALUES ({}, 0, 0, '')",
    ],
)
async def test_what_a_removal_adds_is_its_own_tenants(connection: Any, row: str) -> None:
    """Packed counts and leaves, which only a removal writes for what is gone."""
    assert await _status(connection, "whence_keeper", ACME, f"INSERT INTO {row.format(ACME)}") == "INSERT 0 1"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await _status(connection, "whence_keeper", ACME, f"INSERT INTO {row.format(OTHER)}")


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_a_removal_may_do_nothing_else(connection: Any, statement: str) -> None:
    """It can neither add events nor change what they say, and sees no key."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await _status(connection, "whence_keeper", ACME, statement)


async def test_nothing_but_a_removal_takes_the_role(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each removal runs as whence_keeper. Appends and reads before and after it, on the same connections, do not."""
    roles: list[str] = []

    async def hear(connection: Any, text: str, _values: tuple[Any, ...]) -> None:
        if "pg_notify" not in text:  # tells other processes of the appends, a moment after them
            roles.append(await connection.fetchval("SELECT current_user"))

    async def roles_of(work: Any) -> set[str]:
        roles.clear()
        await work
        return set(roles)

    listen(monkeypatch, hear)
    monkeypatch.setattr(append_function, "FUNCTION_EVENTS_MAX", 0)  # it takes the role itself
    store: Any = create_store(url)
    for number in (3, 4):
        assert await roles_of(add(store, new(number))) == {"whence_app"}
        assert await roles_of(page(store)) == {"whence_app"}
        assert await roles_of(store.removals.settle("acme")) == {"whence_app"}
        assert await roles_of(store.removals.erase_payloads("acme", [number - 2], 5, [])) <= {*connections.ROLES}
        assert roles[-1] == "whence_keeper"
    assert await roles_of(store.removals.erase_actor("acme", ("user", "ada"), "erased", 5, ())) <= {*connections.ROLES}
    assert roles[-1] == "whence_keeper"
    await store.close()


async def test_a_login_without_the_role_serves_and_is_told_what_is_missing(url: str) -> None:
    """A removal is refused with the GRANT that an administrator has to run. It works at once after that."""
    login = "whence_test_no_keeper"
    await execute(
        server_url(),
        f"DO $$ BEGIN CREATE ROLE {login} LOGIN PASSWORD 'made-up'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT whence_app TO {login}",
    )
    store = create_store(as_login(url, login))
    try:
        await add(store, new(3))
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"GRANT whence_keeper TO"):
                await store.removals.erase_payloads("acme", [1], 5, [])
        assert (await page(store)).total == 2
        assert await fetch(url, "SELECT count(*) FROM whence.event WHERE payload IS NULL") == [(0,)]
        await execute(server_url(), f"GRANT whence_keeper TO {login}")
        assert await store.removals.erase_payloads("acme", [1], 5, []) == 1
    finally:
        await store.close()
        await execute(server_url(), f"DROP ROLE {login}")


@pytest.mark.parametrize(
    ("breaking", "mending", "words"),
    [
        ("GRANT whence_keeper TO whence_app", "REVOKE whence_keeper FROM whence_app", "REVOKE whence_keeper"),
        ("ALTER ROLE whence_keeper BYPASSRLS", "ALTER ROLE whence_keeper NOBYPASSRLS", "whence_keeper NOSUPERUSER"),
        ("GRANT UPDATE ON whence.event TO whence_keeper", "", "UPDATE TO whence_keeper"),
        ("GRANT UPDATE (leaf) ON whence.event TO whence_keeper", "", "UPDATE (leaf) TO whence_keeper"),
        ("REVOKE DELETE ON whence.event FROM whence_keeper", "", "DELETE TO whence_keeper"),
    ],
)
async def test_a_keeper_with_other_rights_is_refused(url: str, breaking: str, mending: str, words: str) -> None:
    """A server does not start when a removal has other rights than the release gives it, or an append those of a
    removal."""
    assert await refusal(url) == ""
    await execute(url, breaking)
    try:
        assert words in await refusal(url)
    finally:
        if mending:
            await execute(url, mending)
