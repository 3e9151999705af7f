"""Row level security, the second wall between tenants: it holds where a statement forgets whose rows it is about."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.contract.made import add, new, page, uuid
from tests.databases import empty_database, execute, fetch, fresh_database, server_url
from tests.storage.test_postgres_schema import opened, refusal
from whence.errors import StoreRefused
from whence.events import Page, PageRequest, Query
from whence.storage import Head, create_store, migrate_store
from whence.storage.postgres import append, connections, engine, pages, tenants
from whence.storage.postgres.tenants import NOBODY

TABLES = ("head", "kind", "actor", "flow", "resource", "event", "bucket", "rollup_kind", "rollup_actor")

ACME = 1
NUMBERS = {"acme": ACME, "other": 2}
"""The tenants' numbers, in the order in which they are made."""


@pytest.fixture
async def url() -> str:
    """A database in which two tenants have events, one with an id that both have."""
    made = await fresh_database()
    store = create_store(made)
    for tenant in ("acme", "other"):
        await add(store, new(1, actor_id=f"{tenant}-ada"), tenant=tenant)
    await add(store, new(2, correlation_id="theirs"), tenant="other")
    await store.close()
    return made


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Any]:
    """A connection by a login that no wall holds."""
    made = await asyncpg.connect(url)
    yield made
    await made.close()


async def seen(connection: Any, tenant_no: int | str | None) -> dict[str, int]:
    """How many rows of each table a transaction of this tenant sees, by statements that name none."""
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE whence_app; SET LOCAL search_path TO whence")
        if tenant_no is not None:
            await connection.execute(f"SET LOCAL whence.tenant_no = '{tenant_no}'")
        return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}


async def test_a_tenant_sees_its_own_rows_alone(connection: Any) -> None:
    """Without a tenant, and as one that does not exist, no row is there; as one of two, its own are."""
    assert dict(await connection.fetch("SELECT tenant, tenant_no FROM whence.tenant")) == NUMBERS
    nothing = dict.fromkeys(TABLES, 0)
    for tenant_no in (None, "", 0, 3, -1):
        assert await seen(connection, tenant_no) == nothing
    assert (await seen(connection, ACME))["event"] == 1
    assert (await seen(connection, NUMBERS["other"]))["event"] == 2
    # The setting ends with its transaction.
    assert await seen(connection, None) == nothing


@pytest.mark.parametrize("table", TABLES)
async def test_a_table_without_the_wall_would_be_seen(connection: Any, table: str) -> None:
    """Each table has its own policy: where it is switched off, the look above finds rows of others."""
    await connection.execute(f"ALTER TABLE whence.{table} DISABLE ROW LEVEL SECURITY")
    found = await seen(connection, None)
    assert {name for name, rows in found.items() if rows} == {table}


@pytest.mark.parametrize("table", TABLES)
async def test_rows_of_another_tenant_cannot_be_written(connection: Any, table: str) -> None:
    """Not made, not changed into another's; and what cannot be seen is not changed at all."""
    rights = {
        right
        for (right,) in await connection.fetch(
            "SELECT privilege_type FROM information_schema.role_table_grants WHERE table_schema = 'whence'"
            " AND table_name = $1 AND grantee = 'whence_app'",
            table,
        )
    }
    assert rights <= {"SELECT", "INSERT", "UPDATE"}
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


async def test_every_transaction_works_as_the_role_and_leaves_nothing_behind(url: str) -> None:
    """Reading and writing, with a tenant and without; afterwards the connection is the login's again."""
    store: Any = create_store(url)
    await store.check_servable()
    for pool in (store._reading, store._writing):
        for tenant_no, said in ((17, "17"), (NOBODY, "")):
            row = await pool.run(
                tenant_no,
                lambda connection: connection.fetchrow("SELECT current_user, current_setting('whence.tenant_no')"),
            )
            assert tuple(row) == ("whence_app", said)
        (idle,) = pool._idle
        left = await idle.fetchrow("SELECT current_user = session_user, current_setting('whence.tenant_no', true)")
        assert left[0]
        assert not left[1]
    await store.close()


@pytest.mark.parametrize("tenant_no", ["1", "a'b", "1'; RESET ROLE", 1.5, b"1"])
@pytest.mark.parametrize("on_citus", [False, True])
def test_no_text_but_a_number_reaches_the_settings(tenant_no: Any, on_citus: bool) -> None:
    """What is pasted into the messages that begin a transaction is digits, or nothing begins."""
    with pytest.raises((ValueError, TypeError), match="format"):
        connections.begin_statements(tenant_no, writing=True, on_citus=on_citus)


@pytest.mark.parametrize("writing", [False, True])
def test_on_citus_what_is_handed_on_stands_in_a_message_of_its_own(writing: bool) -> None:
    """The message with the tenant's number may be said twice, as BEGIN is not in it. Elsewhere all is one message."""
    (plain,) = connections.begin_statements(17, writing=writing, on_citus=False)
    first, second = connections.begin_statements(17, writing=writing, on_citus=True)
    assert first.startswith("BEGIN ")
    assert first.endswith("SET LOCAL citus.propagate_set_commands = 'local'")
    assert second.startswith("SET LOCAL whence.tenant_no = '17';")
    assert all(part.startswith("SET LOCAL ") for part in second.split("; "))
    assert set(plain.split("; ")) == {*first.split("; ")[:-1], *second.split("; ")}


def _forget_the_tenant(patch: pytest.MonkeyPatch) -> None:
    """Every statement loses its condition on the tenant."""
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
        assert await store.get_event("acme", uuid(2)) is None
        assert [event.actor_id for event in (await page(store, "acme")).events] == ["acme-ada"]
    finally:
        await store.close()


async def test_a_statement_that_forgets_its_tenant_shows_nothing_of_another(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first wall is taken down, and the second holds; with that one down too, the same look finds a leak."""
    _forget_the_tenant(monkeypatch)
    await _nothing_leaks(url)
    await execute(url, *[f"ALTER TABLE whence.{table} DISABLE ROW LEVEL SECURITY" for table in TABLES])
    monkeypatch.setattr(engine.PostgresStore, "open", _no_look)
    with pytest.raises(AssertionError):
        await _nothing_leaks(url)


async def _no_look(store: Any) -> None:
    store._verified = True


async def _put_back(url: str) -> Any:
    """A store that remembers the number of acme, and then a database that went back and gave it to another tenant; the
    store is open, and acme has another number and event 3."""
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
    "get": lambda store: store.get_event("acme", uuid(2)),
    "list": lambda store: store.list_events("acme", Query(), PageRequest()),
    "head": lambda store: store.head("acme"),
    "part": lambda store: store.read_log("acme", 0, 10),
    "append": lambda store: add(store, new(4), tenant="acme"),
}


def _told(answer: Any) -> Any:
    """What an answer says, but for what differs from one append to the next."""
    if isinstance(answer, Head):
        return answer.size
    if isinstance(answer, Page):
        return [event.id for event in answer.events]
    if isinstance(answer, list):
        return [getattr(part, "event", part).position for part in answer]
    return answer


@pytest.mark.parametrize(
    ("question", "told"), [("get", None), ("list", [uuid(3)]), ("head", 1), ("part", [1]), ("append", [2])]
)
async def test_a_number_that_became_another_tenants_is_not_believed(url: str, question: str, told: Any) -> None:
    """Where the database went back behind a remembered number, the store answers as one that remembers nothing."""
    store = await _put_back(url)
    assert _told(await ASKED[question](store)) == told
    assert (await page(store, "acme")).total == (2 if question == "append" else 1)
    await store.close()


@pytest.mark.parametrize("question", ASKED)
async def test_a_number_that_is_believed_without_its_name_is_seen(
    url: str, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above sees a store that compares the number alone: it tells of another tenant, or writes for it."""
    for module, name, column in (
        (tenants, "head", "tenant"),
        (tenants, "lock_head", "tenant"),
        (engine, "one_event", "h.tenant"),
    ):
        bare = re.sub(rf"{column} = \$(\d)", r"$\1::text IS NOT NULL", module._SQL[name])
        assert bare != module._SQL[name]
        monkeypatch.setattr(module, "_SQL", {**module._SQL, name: bare})
    store = await _put_back(url)
    right = {"get": None, "list": [uuid(3)], "head": 1, "part": [1], "append": [2]}
    assert _told(await ASKED[question](store)) != right[question]
    await store.close()


async def test_a_tenant_is_looked_up_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a tenant that is there is remembered; one that is not there is looked for each time, and is found
    as soon as another process has made it."""
    looks: list[str] = []
    real = engine.find_tenant

    async def find(connection: Any, name: str) -> int:
        looks.append(name)
        return await real(connection, name)

    monkeypatch.setattr(engine, "find_tenant", find)
    first, second = create_store(url), create_store(url)
    for _ in range(3):
        assert (await page(first, "acme")).total == 1
        assert (await page(first, "newcomer")).total == 0
    assert looks == ["acme", *["newcomer"] * 3]
    await add(second, new(1), tenant="newcomer")
    assert (await page(first, "newcomer")).total == 1
    assert (await page(first, "newcomer")).total == 1
    assert looks.count("newcomer") == 5
    await first.close()
    await second.close()


async def test_only_so_many_numbers_are_remembered(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tenants ask, memory stays bounded; and every one is answered."""
    monkeypatch.setattr(engine, "_TENANTS_REMEMBERED", 2)
    store: Any = create_store(url)
    for tenant in ("acme", "other", "third", "acme", "fourth"):
        await add(store, new(9), tenant=tenant)
        assert len(store._tenants) <= 2
    assert (await page(store, "acme")).total == 2
    await store.close()


@pytest.mark.parametrize(
    ("breaking", "mending", "told"),
    [
        ("ALTER TABLE whence.event DISABLE ROW LEVEL SECURITY", "", "event"),
        ("ALTER TABLE whence.rollup_kind NO FORCE ROW LEVEL SECURITY", "", "rollup_kind"),
        ("CREATE POLICY wide ON whence.actor USING (true)", "", "actor"),
        ("ALTER ROLE whence_app BYPASSRLS", "ALTER ROLE whence_app NOBYPASSRLS", "BYPASSRLS"),
        ("ALTER ROLE whence_app SUPERUSER", "ALTER ROLE whence_app NOSUPERUSER", "superuser"),
        ("ALTER TABLE whence.flow OWNER TO whence_app", "", "own nothing"),
    ],
)
async def test_a_store_without_its_wall_is_refused(breaking: str, mending: str, told: str) -> None:
    """A table that is open, or a role that no policy holds, stops the start with a sentence that says which."""
    url = await fresh_database()
    await execute(url, breaking)
    try:
        assert told in await refusal(url)
    finally:
        if mending:
            await execute(url, mending)


async def test_an_owner_who_is_no_superuser_migrates_and_serves() -> None:
    """The login that owns everything is held by the wall too, and its servers work as the role."""
    url = await empty_database()
    name, owner = url.partition("?")[0].rpartition("/")[2], "whence_test_owner"
    await fresh_database()  # so that the role is there
    await execute(
        server_url(),
        f"DO $$ BEGIN CREATE ROLE {owner} LOGIN PASSWORD 'made-up'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"ALTER DATABASE {name} OWNER TO {owner}",
    )
    theirs = _as_login(url, owner)
    try:
        with pytest.raises(StoreRefused, match="GRANT whence_app"):
            await migrate_store(theirs)
        await execute(server_url(), f"GRANT whence_app TO {owner}")
        await migrate_store(theirs)
        store = create_store(theirs)
        await add(store, new(1))
        assert (await page(store)).total == 1
        await store.close()
        assert await fetch(theirs, "SELECT count(*) FROM whence.event") == [(0,)]
        await execute(theirs, "ALTER TABLE whence.event NO FORCE ROW LEVEL SECURITY")
        assert await fetch(theirs, "SELECT count(*) FROM whence.event") == [(1,)]  # so FORCE is what holds the owner
    finally:
        await execute(url, f"REASSIGN OWNED BY {owner} TO CURRENT_USER", f"DROP OWNED BY {owner}")
        await execute(server_url(), f"ALTER DATABASE {name} OWNER TO CURRENT_USER", f"DROP ROLE {owner}")


async def test_a_login_without_the_role_is_refused() -> None:
    """The sentence says what an administrator has to grant."""
    url, login = await fresh_database(), "whence_test_stranger"
    await execute(
        server_url(),
        f"DO $$ BEGIN CREATE ROLE {login} LOGIN PASSWORD 'made-up'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    try:
        assert "GRANT whence_app" in await refusal(_as_login(url, login))
        await execute(server_url(), f"GRANT whence_app TO {login}")
        await opened(_as_login(url, login))
    finally:
        await execute(server_url(), f"DROP ROLE {login}")


def _as_login(url: str, login: str) -> str:
    """The URL with another login."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{login}:made-up@{rest.rpartition('@')[2]}"
