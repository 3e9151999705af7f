"""Row-level security does not keep a query from its index: plans are as they are without it."""

from typing import Any

import pytest

from tests.contract.made import add, new, uuid
from tests.databases import execute, fresh_database
from whence.events import PageRequest, Viewer
from whence.storage import create_store
from whence.storage.postgres import engine, pages
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.walks import PageStart

POLICY = "One-Time Filter: ((NULLIF(current_setting('whence.tenant_no'::text, true), ''::text))::integer = 1)"


async def plan(url: str, text: str, *values: Any) -> str:
    """The plan of a statement in a transaction of the first tenant, with sequential scans disabled."""
    store: Any = create_store(url)

    async def explain(connection: Any, _tenant: Any) -> str:
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (COSTS OFF) {text}", *values))

    try:
        found: str = await store._read_as("acme", explain)
    finally:
        await store.close()
    return found


@pytest.fixture
async def url(anyio_backend: str) -> str:
    """A log of 300 events."""
    made = await fresh_database()
    store = create_store(made)
    await add(store, *[new(number) for number in range(300)])
    await store.close()
    await execute(made, "ANALYZE")
    return made


async def get(url: str) -> str:
    return await plan(url, engine._SQL["one_event"], 1, uuid(7), "acme", None)


async def listed(url: str, start: PageStart, **conditions: Any) -> str:
    snapshot = Snapshot(Viewer("acme"), 1, 300, {})
    sql, bindings = pages.page_sql(snapshot, ResolvedQuery(**conditions), start, PageRequest(limit=20))
    return await plan(url, sql, *bindings.values)


async def test_an_event_is_found_by_its_id(url: str) -> None:
    """By the index of ids, on tenant and id. The policy is checked once per statement and not for each row."""
    found = await get(url)
    assert f"Index Cond: ((tenant_no = 1) AND (id = '{uuid(7)}'::uuid))" in found
    assert POLICY in found
    assert "Seq Scan" not in found


@pytest.mark.parametrize(
    ("conditions", "index"),
    [({}, "event_time"), ({"kinds": (1, 2)}, "event_kind"), ({"actors": (1,)}, "event_actor")],
)
async def test_a_page_walks_one_index(url: str, conditions: dict[str, Any], index: str) -> None:
    """It scans the index of its filter backward, from the cursor if there is one, and does not sort."""
    for start in (PageStart(), PageStart(sort_key=(1_700_000_100_000_000, 100))):
        found = await listed(url, start, **conditions)
        walk = next(line for line in found.splitlines() if index in line)
        assert "Backward" in walk
        assert POLICY in found
        assert "Seq Scan" not in found
        condition = found.splitlines()[found.splitlines().index(walk) + 1]
        assert ("occurred_at" in condition) == (start.sort_key is not None)


async def test_an_operator_that_row_security_keeps_from_an_index_would_be_found(url: str) -> None:
    """An operator that is not leakproof runs after the policy and cannot use the index; the tests above would fail."""
    await execute(url, "ALTER FUNCTION uuid_eq(uuid, uuid) NOT LEAKPROOF")
    assert f"Index Cond: ((tenant_no = 1) AND (id = '{uuid(7)}'::uuid))" not in await get(url)


async def test_a_policy_with_a_subquery_would_be_found(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that looks the tenant up is not a one-time filter."""

    async def accept(_connection: Any) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr(engine, "refuse_changed_catalogue", accept)
    for table in ("event", "head", "kind", "actor", "flow", "resource"):
        await execute(
            url,
            f"ALTER POLICY one_tenant ON whence.{table} USING (tenant_no = (SELECT t.tenant_no FROM whence.tenant t"
            " WHERE t.tenant_no = NULLIF(current_setting('whence.tenant_no', true), '')::int))",
        )
    assert POLICY not in await get(url)
