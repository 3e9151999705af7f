"""The log on Citus: how `migrate` distributes it. Where a cluster is configured, also that each statement runs on one
node and that row-level security holds there."""

import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.contract.faults import KINDS
from tests.contract.made import add, new, page
from tests.databases import CITUS, citus_database, execute, fetch, fresh_database
from tests.storage.statements import everything, listen
from whence.errors import StoreRefused
from whence.storage import create_store, migrate_store
from whence.storage.migrations import load_migrations
from whence.storage.postgres import citus, schema
from whence.storage.postgres.catalogue import compare_catalogue
from whence.storage.postgres.citus import Table
from whence.storage.postgres.connections import Target
from whence.storage.schema_difference import SchemaDifference

FRESH = [Table("actor", True), Table("api_key", False), Table("head", True), Table("tenant", False)]
KEPT = [
    Table("actor", True, "distributed", 7),
    Table("api_key", False, "reference", 3),
    Table("head", True, "distributed", 7),
    Table("tenant", False, "reference", 3),
]


def test_tables_are_references_or_co_located_with_the_heads() -> None:
    """Reference tables first, then `head`, whose co-location group the others join. FORCE is lifted while rows move."""
    assert citus.steps(FRESH) == [
        "SELECT create_reference_table('whence.api_key')",
        "SELECT create_reference_table('whence.tenant')",
        *_distributed("head", "none"),
        *_distributed("actor", "whence.head"),
    ]


def _distributed(table: str, beside: str) -> list[str]:
    make = f"SELECT create_distributed_table('whence.{table}', 'tenant_no', colocate_with => '{beside}')"
    lift = f"ALTER TABLE whence.{table} NO FORCE ROW LEVEL SECURITY"
    return [lift, make, f"ALTER TABLE whence.{table} FORCE ROW LEVEL SECURITY"]


def test_only_new_tables_are_distributed() -> None:
    """Distributed tables are left as they are; a new table joins the existing group."""
    assert citus.steps(KEPT) == []
    new_ones = [*KEPT, Table("lease", False), Table("transition", True)]
    assert citus.steps(new_ones) == [
        "SELECT create_reference_table('whence.lease')",
        *_distributed("transition", "whence.head"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        Table("actor", True, "reference", 3),
        Table("actor", True, "distributed", 8),
        Table("api_key", False, "distributed", 7),
        Table("tenant", False, "otherwise", 0),
    ],
)
def test_a_table_that_is_distributed_differently_is_refused(wrong: Table) -> None:
    """A tenant table that is a reference table or in another group is refused, and any other that is no reference
    table."""
    tables = [wrong if table.name == wrong.name else table for table in KEPT]
    with pytest.raises(StoreRefused, match=f"undistribute_table.'whence.{wrong.name}'"):
        citus.steps(tables)


@pytest.mark.parametrize(
    ("version", "taken"),
    [("13.1-1", True), ("13.10-1", True), ("14.0-2", True), ("13.0-1", False), ("9.5-3", False), ("x", False)],
)
def test_an_old_citus_is_refused(version: str, taken: bool) -> None:
    """Versions are compared as numbers; the message names both versions."""
    if taken:
        citus.refuse_old(version)
        return
    with pytest.raises(StoreRefused, match=f"{re.escape(version)}.*13\\.1 or later"):
        citus.refuse_old(version)


async def test_a_transaction_that_begins_in_two_messages_is_the_same(anyio_backend: str) -> None:
    """On a server without Citus too, role, tenant and timeouts hold for the transaction only."""
    store: Any = create_store(await fresh_database())
    await add(store, new(1))
    asked = "SELECT current_user, " + ", ".join(f"current_setting('{name}')" for name in SET)
    rows = []
    for on_citus in (False, True):
        store._target.on_citus = on_citus
        rows.append(await store._read_as("acme", lambda connection, _tenant: connection.fetchrow(asked)))
        await add(store, new(2 + on_citus))
        assert (await page(store)).total == 2 + on_citus
    assert tuple(rows[0]) == tuple(rows[1])
    assert tuple(rows[1])[:2] == ("whence_app", "1")
    (idle,) = store._reading._idle
    assert tuple(await idle.fetchrow(asked)) != tuple(rows[1])
    await store.close()


SET = ("whence.tenant_no", "search_path", "statement_timeout", "lock_timeout", "transaction_isolation", "jit")


@pytest.fixture
async def url(anyio_backend: str) -> str:
    """An empty log on the cluster."""
    return await citus_database()


async def test_every_table_is_distributed_by_tenant_in_one_group(url: str) -> None:
    """Tenants' tables are co-located by tenant; the others are reference tables. Migrating again does nothing."""
    rows = await fetch(
        url,
        "SELECT c.relname, t.citus_table_type, t.distribution_column, t.colocation_id FROM pg_class c LEFT JOIN"
        " citus_tables t ON t.table_name = c.oid::regclass"
        " WHERE c.relnamespace = 'whence'::regnamespace AND c.relkind = 'r' AND c.relname <> 'migration'",
    )
    kept = {row[0]: row[1:] for row in rows}
    everywhere = {"tenant", "api_key", "session", "lease", "definition", "erasure", "former_log"}
    assert everywhere < kept.keys()
    assert {kept[name][0] for name in everywhere} == {"reference"}
    tenants = {kept[name] for name in kept.keys() - everywhere}
    assert len(tenants) == 1
    assert next(iter(tenants))[:2] == ("distributed", "tenant_no")
    assert await migrate_store(url) == []


async def test_a_distributed_log_is_migrated() -> None:
    """Each migration runs on a log that is distributed already, and leaves the schema of a new one."""
    url = await citus_database()
    steps = load_migrations("whence.storage.postgres")
    try:
        await execute(url, "DROP SCHEMA whence CASCADE")
        for count in range(1, len(steps) + 1):
            await schema.migrate(Target(url), steps[:count])
            await execute(url, f"INSERT INTO whence.tenant VALUES ({count}, 'tenant {count}')")
        connection = await asyncpg.connect(url)
        assert await compare_catalogue(connection) == SchemaDifference()
        await connection.close()
    finally:
        await execute(url, "DROP SCHEMA whence CASCADE")
        await schema.migrate(Target(url))


async def tasks(connection: Any, text: str, *values: Any) -> int:
    """The largest number of tasks in a statement's plan; 0 when the coordinator runs it alone."""
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {text}", *values))
    return max([0, *[int(count) for count in re.findall(r"Task Count: (\d+)", plan)]])


async def test_no_statement_has_more_than_one_task(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every statement of the store runs on its tenant's node, or on the coordinator."""
    seen: dict[str, int] = {}
    # Its own: after some statements, Citus plans no EXPLAIN of others in the same transaction.
    planning = await asyncpg.connect(url, server_settings={"search_path": "whence"})

    async def hear(_connection: Any, text: str, values: tuple[Any, ...]) -> None:
        if text not in seen and re.sub(r"--.*", "", text).split()[0] in (
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "WITH",
        ):
            seen[text] = await tasks(planning, text, *values)

    with monkeypatch.context() as patched:
        listen(patched, hear)
        await everything(url, tmp_path)
    await planning.close()
    assert {text: count for text, count in seen.items() if count > 1} == {}
    assert 1 in seen.values()


async def test_a_statement_with_many_tasks_would_be_found(url: str) -> None:
    """The test above counts the tasks of a statement that has no tenant."""
    connection = await asyncpg.connect(url)
    try:
        assert await tasks(connection, "SELECT count(*) FROM whence.event") > 1
    finally:
        await connection.close()


async def test_row_security_holds_on_the_nodes(url: str) -> None:
    """A statement without a condition on the tenant sees only its own tenant's rows, and cannot write for another."""
    store: Any = create_store(url)
    await add(store, new(1), tenant="acme")
    await add(store, new(1), new(2), tenant="other")

    async def count(connection: Any, _tenant: Any) -> int:
        return int(await connection.fetchval("SELECT count(*) FROM event"))

    async def intrude(connection: Any, tenant: Any) -> None:
        await connection.execute("INSERT INTO head (tenant_no, tenant) VALUES ($1, 'x')", tenant.number + 100_000)

    assert [await store._read_as(tenant, count) for tenant in ("acme", "other", "nobody")] == [1, 2, 0]
    with pytest.raises(Exception, match="could not write"):
        await store._grow("acme", intrude)
    assert (await page(store, "acme")).total == 1
    await store.close()


def test_the_contract_runs_on_the_cluster_too() -> None:
    """Where a cluster is configured, every contract test runs on it."""
    if "citus" not in KINDS:
        pytest.skip(f"a Citus cluster is missing: set {CITUS}")
    assert KINDS["citus"].hashes is KINDS["postgres"].hashes
