"""The tables of tenants can be told apart by the tenant's number alone, as a database on several machines needs it."""

import pytest

from tests.databases import execute, fetch, fresh_database

NOT_A_TENANTS = {"tenant", "api_key", "session", "migration"}
"""Tables that are the same for all, and would be wherever a tenant is."""

KEYS = """
SELECT t.relname, i.relname,
       EXISTS (SELECT FROM pg_attribute a
                WHERE a.attrelid = t.oid AND a.attname = 'tenant_no' AND a.attnum = ANY(x.indkey))
  FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
 WHERE t.relnamespace = 'whence'::regnamespace AND x.indisunique
"""
FOREIGN = """
SELECT c.conrelid::regclass::text, c.confrelid::regclass::text
  FROM pg_constraint c WHERE c.connamespace = 'whence'::regnamespace AND c.contype = 'f'
"""


async def against(url: str) -> set[str]:
    """What speaks against distributing the tables by tenant."""
    keys = [row for row in await fetch(url, KEYS) if row[0] not in NOT_A_TENANTS]
    assert len({table for table, _, _ in keys}) >= 9
    found = {str(index) for _, index, has_tenant in keys if not has_tenant}
    return found | {
        f"{table} refers to {other}" for table, other in await fetch(url, FOREIGN) if other != "whence.tenant"
    }


async def test_every_key_holds_the_tenant(anyio_backend: str) -> None:
    """Each primary key and unique index of a tenant's table has its number; they refer to the list of tenants alone."""
    assert await against(await fresh_database()) == set()


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("CREATE UNIQUE INDEX alone ON whence.event (id)", "alone"),
        (
            "ALTER TABLE whence.event ADD FOREIGN KEY (tenant_no, kind) REFERENCES whence.kind",
            "whence.event refers to whence.kind",
        ),
    ],
)
async def test_a_key_without_the_tenant_would_be_seen(anyio_backend: str, sql: str, told: str) -> None:
    """A unique id across all tenants, and a reference that the other machines would have to be asked for."""
    url = await fresh_database()
    await execute(url, sql)
    assert await against(url) == {told}
