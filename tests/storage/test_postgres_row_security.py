"""Row-level security keeps tenants apart even when a statement lacks its condition on the tenant."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.contract.made import add, new, page, uuid
from tests.databases import empty_database, execute, fetch, fresh_database, server_url
from tests.storage.test_postgres_schema import opened, refusal
from whence.errors import StoreRefused
from whence.events import Page, PageRequest, Query, Viewer
from whence.storage import Head, create_store, migrate_store
from whence.storage.followers import DELIVERED, Attempt, Delivery, Place
from whence.storage.postgres import append, connections, engine, pages, tenants
from whence.storage.postgres.tenants import NO_TENANT
from whence.storage.seals import NewCheckpoint, Origin, SealedCheckpoint, TileRow
from whence.storage.sql import load_blocks

LOG_TABLES = ("head", "kind", "actor", "flow", "resource", "event", "bucket", "rollup_kind", "rollup_actor")
FOLLOWERS_TABLES = ("follower", "delivery", "attempt")
SEALS_TABLES = ("origin", "checkpoint", "tile")
TABLES = LOG_TABLES + FOLLOWERS_TABLES + SEALS_TABLES

DELETABLE = (*FOLLOWERS_TABLES, "checkpoint")

ACME = 1
NUMBERS = {"acme": ACME, "other": 2}
"""The tenants' numbers, in the order of creation."""


@pytest.fixture
async def url() -> str:
    """A database in which two tenants have events; event 1 has the same id in both."""
    made = await fresh_database()
    store = create_store(made)
    for tenant in ("acme", "other"):
        await add(store, new(1, actor_id=f"{tenant}-ada"), tenant=tenant)
    await add(store, new(2, correlation_id="theirs"), tenant="other")
    for tenant in ("acme", "other"):
        await store.followers.add_deliveries(tenant, "hook", [1], 1, Place("webhooks", 1))
        tried = Delivery("hook", 1, DELIVERED, 1, 1), Attempt("hook", 1, 1, 1, 1, 200, "", b"")
        await store.followers.record_attempts(tenant, [tried])
        await store.seals.add_origin(tenant, Origin(1, f"log/{tenant}/1", "key"))
        await store.seals.put_checkpoints([NewCheckpoint(tenant, SealedCheckpoint(1, 1, bytes(32), 1, "note"), 0)])
        await store.seals.put_tiles(tenant, [TileRow(1, 0, bytes(32))])
    await store.close()
    return made


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Any]:
    """A connection of a superuser, who is not subject to row-level security."""
    made = await asyncpg.connect(url)
    yield made
    await made.close()


async def seen(connection: Any, tenant_no: int | str | None) -> dict[str, int]:
    """The number of rows of each table that a transaction of this tenant sees without a condition on the tenant."""
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE whence_app; SET LOCAL search_path TO whence")
        if tenant_no is not None:
            await connection.execute(f"SET LOCAL whence.tenant_no = '{tenant_no}'")
        return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}


async def test_a_tenant_sees_only_its_own_rows(connection: Any) -> None:
    """A transaction without a tenant, or of one that does not exist, sees no row."""
    assert dict(await connection.fetch("SELECT tenant, tenant_no FROM whence.tenant")) == NUMBERS
    nothing = dict.fromkeys(TABLES, 0)
    for tenant_no in (None, "", 0, 3, -1):
        assert await seen(connection, tenant_no) == nothing
    assert (await seen(connection, ACME))["event"] == 1
    assert (await seen(connection, NUMBERS["other"]))["event"] == 2
    # SET LOCAL ends with its transaction.
    assert await seen(connection, None) == nothing


@pytest.mark.parametrize("table", TABLES)
async def test_a_table_without_row_security_would_be_found(connection: Any, table: str) -> None:
    """Each table has its own policy: when it is disabled, the test above finds rows of others."""
    await connection.execute(f"ALTER TABLE whence.{table} DISABLE ROW LEVEL SECURITY")
    found = await seen(connection, None)
    assert {name for name, rows in found.items() if rows} == {table}


@pytest.mark.parametrize("table", TABLES)
async def test_rows_of_another_tenant_cannot_be_written(connection: Any, table: str) -> None:
    """A row can neither be inserted for nor moved to another tenant, and rows of others are not updated."""
    rights = {
        right
        for (right,) in await connection.fetch(
            "SELECT privilege_type FROM information_schema.role_table_grants WHERE table_schema = 'whence'"
            " AND table_name = $1 AND grantee = 'whence_app'",
            table,
        )
    }
    assert rights <= {"SELECT", "INSERT", "UPDATE"} | ({"DELETE"} if table in DELETABLE else set())
    if "DELETE" in rights:
        assert await _as_acme(connection, f"DELETE FROM {table} WHERE tenant_no <> {ACME}") == "DELETE 0"
    theirs = await connection.fetchval("SELECT tenant_no FROM whence.tenant WHERE tenant = 'other'")
    columns = [
        name
        for (name,) in await connection.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'whence' AND table_name = $1"
            " AND column_name <> 'tenant_no'",
            table,
        )
    ]
    statement = (
        f"INSERT INTO {table} (tenant_no, {', '.join(columns)}) SELECT {theirs}, {', '.join(columns)} FROM {table}"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await _as_acme(connection, statement)
    if "UPDATE" in rights:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await _as_acme(connection, f"UPDATE {table} SET tenant_no = {theirs}")
        assert (
            await _as_acme(connection, f"UPDATE {table} SET tenant_no = tenant_no WHERE tenant_no = {theirs}")
            == "UPDATE 0"
        )
    else:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _as_acme(connection, f"UPDATE {table} SET tenant_no = tenant_no")


async def _as_acme(connection: Any, statement: str) -> str:
    async with connection.transaction():
        await connection.execute(
            f"SET LOCAL ROLE whence_app; SET LOCAL search_path TO whence; SET LOCAL whence.tenant_no = '{ACME}'"
        )
        status: str = await connection.execute(statement)
        return status


async def test_role_and_tenant_are_set_for_the_transaction_only(url: str) -> None:
    """In both pools, with a tenant and without. After the transaction the connection is the login's again."""
    store: Any = create_store(url)
    await store.check_servable()
    for pool in (store._reading, store._writing):
        for tenant_no, setting in ((17, "17"), (NO_TENANT, "")):
            row = await pool.run(
                tenant_no,
                lambda connection: connection.fetchrow("SELECT current_user, current_setting('whence.tenant_no')"),
            )
            assert tuple(row) == ("whence_app", setting)
        (idle,) = pool._idle
        left = await idle.fetchrow("SELECT current_user = session_user, current_setting('whence.tenant_no', true)")
        assert left[0]
        assert not left[1]
    await store.close()


@pytest.mark.parametrize("tenant_no", ["1", "a'b", "1'; RESET ROLE", 1.5, b"1"])
@pytest.mark.parametrize("on_citus", [False, True])
def test_only_a_number_is_formatted_into_the_settings(tenant_no: Any, on_citus: bool) -> None:
    """Anything but an integer raises, so nothing can be injected."""
    with pytest.raises((ValueError, TypeError), match="format"):
        connections.begin_statements(tenant_no, writing=True, on_citus=on_citus)


@pytest.mark.parametrize("writing", [False, True])
def test_on_citus_propagated_settings_are_a_message_of_their_own(writing: bool) -> None:
    """Workers receive the message with the tenant's number, so BEGIN is not in it. Elsewhere there is one message."""
    (plain,) = connections.begin_statements(17, writing=writing, on_citus=False)
    first, second = connections.begin_statements(17, writing=writing, on_citus=True)
    assert first.startswith("BEGIN ")
    assert first.endswith("SET LOCAL citus.propagate_set_commands = 'local'")
    assert second.startswith("SET LOCAL whence.tenant_no = '17';")
    assert all(part.startswith("SET LOCAL ") for part in second.split("; "))
    citus = [part for part in first.split("; ") if "citus." in part]
    assert set(plain.split("; ")) == {*first.split("; "), *second.split("; ")} - set(citus)
    assert first.split("; ")[-len(citus) :] == citus


@pytest.mark.parametrize("writing", [False, True])
def test_on_citus_a_transaction_has_the_settings_without_which_nothing_is_stored(writing: bool) -> None:
    """An upsert of a reference table takes no lock that needs UPDATE, and the driver's lookups find types quickly. Both
    come before what is propagated, since workers need neither."""
    first, second = connections.begin_statements(17, writing=writing, on_citus=True)
    assert first.split("; ")[-3:] == [
        "SET LOCAL citus.allow_modifications_from_workers_to_replicated_tables = off",
        "SET LOCAL citus.override_table_visibility = off",
        "SET LOCAL citus.propagate_set_commands = 'local'",
    ]
    assert "citus." not in second
    assert "citus." not in " ".join(connections.begin_statements(17, writing=writing, on_citus=False))


def test_rows_that_a_statement_returns_from_the_shards_are_named_by_an_alias() -> None:
    """Citus runs INSERT … SELECT of two distributed tables on the shards, whose names RETURNING does not know."""
    blocks = load_blocks("whence.storage.postgres")
    returning = {
        name: re.search(r"INSERT INTO \w+ AS (\w+) .*RETURNING (.*)", text, re.DOTALL)
        for name, text in blocks.items()
        if re.search(r"INSERT INTO .*\bFROM (?!unnest).*RETURNING", text, re.DOTALL)
    }
    assert returning.keys() == {"divide_bucket"}
    for found in returning.values():
        assert found is not None
        assert all(column.startswith(f"{found[1]}.") for column in found[2].split(", "))


def _forget_the_tenant(patch: pytest.MonkeyPatch) -> None:
    """Remove the condition on the tenant from every statement."""
    anybody = "WHERE true"

    def forgetful(module: Any, *changes: tuple[str, str, str]) -> None:
        blocks = dict(module._SQL)
        for block, old, new_ in changes:
            assert old in blocks[block]
            blocks[block] = blocks[block].replace(old, new_)
        patch.setattr(module, "_SQL", blocks)

    for module, block in ((engine, "one_event"), (pages, "page_event"), (append, "full_event")):
        forgetful(module, (block, "WHERE e.tenant_no = $1", f"{anybody} AND $1::int IS NOT NULL"))
    real = pages.page_sql

    def page_sql(*args: Any) -> Any:
        text, bindings = real(*args)
        assert "WHERE tenant_no = $1" in text
        return text.replace("WHERE tenant_no = $1", anybody), bindings

    patch.setattr(pages, "page_sql", page_sql)


async def _nothing_leaks(url: str) -> None:
    store = create_store(url)
    try:
        assert await store.get_event(Viewer("acme"), uuid(2)) is None
        assert [event.actor_id for event in (await page(store, "acme")).events] == ["acme-ada"]
    finally:
        await store.close()


async def test_a_statement_without_its_tenant_shows_nothing_of_another(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the conditions on the tenant, row-level security still holds. Without both, events leak."""
    _forget_the_tenant(monkeypatch)
    await _nothing_leaks(url)
    await execute(url, *[f"ALTER TABLE whence.{table} DISABLE ROW LEVEL SECURITY" for table in TABLES])
    monkeypatch.setattr(engine.PostgresStore, "check_servable", _skip_check)
    with pytest.raises(AssertionError):
        await _nothing_leaks(url)


async def _skip_check(store: Any) -> None:
    store._verified = True


async def _reset_database(url: str) -> Any:
    """A store that has cached the number of acme, on a database that was then reset and gave that number to `other`.

    Afterwards acme has another number and one event, 3."""
    remembering = create_store(url)
    assert (await page(remembering, "acme")).total == 1
    await execute(
        url,
        "TRUNCATE whence.tenant, whence.head, whence.event, whence.flow, whence.resource, whence.kind, whence.actor,"
        " whence.bucket, whence.rollup_kind, whence.rollup_actor",
        "ALTER SEQUENCE whence.tenant_number RESTART",
    )
    later = create_store(url)
    await add(later, new(1), new(2), tenant="other")
    await add(later, new(3), tenant="acme")
    await later.close()
    return remembering


ASKED: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "get": lambda store: store.get_event(Viewer("acme"), uuid(2)),
    "list": lambda store: store.list_events(Viewer("acme"), Query(), PageRequest()),
    "head": lambda store: store.head("acme"),
    "part": lambda store: store.read_log("acme", 0, 10),
    "append": lambda store: add(store, new(4), tenant="acme"),
}


def _comparable(answer: Any) -> Any:
    """The parts of an answer that do not vary between runs."""
    if isinstance(answer, Head):
        return answer.size
    if isinstance(answer, Page):
        return [event.id for event in answer.events]
    if isinstance(answer, list):
        return [getattr(part, "event", part).position for part in answer]
    return answer


@pytest.mark.parametrize(
    ("question", "expected"), [("get", None), ("list", [uuid(3)]), ("head", 1), ("part", [1]), ("append", [2])]
)
async def test_a_cached_number_of_another_tenant_is_not_trusted(url: str, question: str, expected: Any) -> None:
    """After the database was reset, the store answers as one that has cached nothing."""
    store = await _reset_database(url)
    assert _comparable(await ASKED[question](store)) == expected
    assert (await page(store, "acme")).total == (2 if question == "append" else 1)
    await store.close()


@pytest.mark.parametrize("question", ASKED)
async def test_a_number_that_is_trusted_without_its_name_would_be_found(
    url: str, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails for a store that compares only the number: it reads or writes another tenant's log."""
    for module, name, column in (
        (tenants, "head", "tenant"),
        (tenants, "lock_head", "tenant"),
        (engine, "one_event", "h.tenant"),
    ):
        bare = re.sub(rf"{column} = \$(\d)", r"$\1::text IS NOT NULL", module._SQL[name])
        assert bare != module._SQL[name]
        monkeypatch.setattr(module, "_SQL", {**module._SQL, name: bare})
    store = await _reset_database(url)
    right = {"get": None, "list": [uuid(3)], "head": 1, "part": [1], "append": [2]}
    assert _comparable(await ASKED[question](store)) != right[question]
    await store.close()


async def test_a_tenant_is_looked_up_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of an existing tenant is cached. A missing tenant is looked up each time, and found as soon as another
    process has made it."""
    lookups: list[str] = []
    real = engine.find_tenant

    async def find(connection: Any, name: str) -> int:
        lookups.append(name)
        return await real(connection, name)

    monkeypatch.setattr(engine, "find_tenant", find)
    first, second = create_store(url), create_store(url)
    for _ in range(3):
        assert (await page(first, "acme")).total == 1
        assert (await page(first, "newcomer")).total == 0
    assert lookups == ["acme", *["newcomer"] * 3]
    await add(second, new(1), tenant="newcomer")
    assert (await page(first, "newcomer")).total == 1
    assert (await page(first, "newcomer")).total == 1
    assert lookups.count("newcomer") == 5
    await first.close()
    await second.close()


async def test_the_cache_of_numbers_is_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more tenants than it holds, every request is still answered."""
    monkeypatch.setattr(engine, "_TENANT_NUMBERS_CACHED", 2)
    store: Any = create_store(url)
    for tenant in ("acme", "other", "third", "acme", "fourth"):
        await add(store, new(9), tenant=tenant)
        assert len(store._tenants) <= 2
    assert (await page(store, "acme")).total == 2
    await store.close()


@pytest.mark.parametrize(
    ("breaking", "mending", "word"),
    [
        ("ALTER TABLE whence.event DISABLE ROW LEVEL SECURITY", "", "event"),
        ("ALTER TABLE whence.rollup_kind NO FORCE ROW LEVEL SECURITY", "", "rollup_kind"),
        ("CREATE POLICY wide ON whence.actor USING (true)", "", "actor"),
        ("ALTER ROLE whence_app BYPASSRLS", "ALTER ROLE whence_app NOBYPASSRLS", "BYPASSRLS"),
        ("ALTER ROLE whence_app SUPERUSER", "ALTER ROLE whence_app NOSUPERUSER", "superuser"),
        ("ALTER TABLE whence.flow OWNER TO whence_app", "", "own no table"),
    ],
)
async def test_a_store_without_row_security_is_refused(breaking: str, mending: str, word: str) -> None:
    """A table without it, or a role that bypasses it, is refused with a message that names it."""
    url = await fresh_database()
    await execute(url, breaking)
    try:
        assert word in await refusal(url)
    finally:
        if mending:
            await execute(url, mending)


async def test_an_owner_who_is_no_superuser_migrates_and_serves() -> None:
    """The tables' owner is subject to row-level security too, and its servers take the role."""
    url = await empty_database()
    name, owner = url.partition("?")[0].rpartition("/")[2], "whence_test_owner"
    await fresh_database()  # creates the role whence_app
    await execute(
        server_url(),
        f"DO $$ BEGIN CREATE ROLE {owner} LOGIN PASSWORD 'made-up'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"ALTER DATABASE {name} OWNER TO {owner}",
    )
    theirs = as_login(url, owner)
    try:
        with pytest.raises(StoreRefused, match="GRANT whence_app, whence_keeper"):
            await migrate_store(theirs)
        await execute(server_url(), f"GRANT whence_app, whence_keeper TO {owner}")
        await migrate_store(theirs)
        store = create_store(theirs)
        await add(store, new(1))
        assert (await page(store)).total == 1
        await store.close()
        assert await fetch(theirs, "SELECT count(*) FROM whence.event") == [(0,)]
        await execute(theirs, "ALTER TABLE whence.event NO FORCE ROW LEVEL SECURITY")
        assert await fetch(theirs, "SELECT count(*) FROM whence.event") == [(1,)]  # so FORCE matters
    finally:
        await execute(url, f"REASSIGN OWNED BY {owner} TO CURRENT_USER", f"DROP OWNED BY {owner}")
        await execute(server_url(), f"ALTER DATABASE {name} OWNER TO CURRENT_USER", f"DROP ROLE {owner}")


async def test_a_login_without_the_role_is_refused() -> None:
    """The message names the GRANT that an administrator must run."""
    url, login = await fresh_database(), "whence_test_stranger"
    await execute(
        server_url(),
        f"DO $$ BEGIN CREATE ROLE {login} LOGIN PASSWORD 'made-up'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    try:
        assert "GRANT whence_app" in await refusal(as_login(url, login))
        await execute(server_url(), f"GRANT whence_app TO {login}")
        await opened(as_login(url, login))
    finally:
        await execute(server_url(), f"DROP ROLE {login}")


def as_login(url: str, login: str) -> str:
    """The URL with another login."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{login}:made-up@{rest.rpartition('@')[2]}"
