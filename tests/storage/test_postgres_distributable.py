"""Every key and every statement holds the tenant's number, so that the tables can be distributed by tenant.

A distributed database sends each statement to the one node that holds the rows of its tenant.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.databases import execute, fetch, fresh_database
from tests.storage.statements import everything, listen
from whence.storage import sequencing
from whence.storage.postgres import append, counts, purge
from whence.storage.postgres.joined_statements import run_statements
from whence.storage.sql import load_blocks

pytestmark = pytest.mark.slow

NOT_A_TENANTS = {"tenant", "api_key", "session", "lease", "definition", "migration", "former_log", "erasure"}
"""Tables without rows of a tenant's log, which every node has."""

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
DRAWN = """
SELECT c.relname, a.attname
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE c.relnamespace = 'whence'::regnamespace AND c.relkind = 'r' AND c.relname <> 'migration' AND a.attnum > 0
   AND (a.attidentity <> '' OR EXISTS (SELECT FROM pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = a.attnum
                                        AND pg_get_expr(d.adbin, d.adrelid) LIKE '%(%'))
"""

TENANTS_TABLES = (
    "head|kind|actor|flow|resource|event|bucket|rollup_kind|rollup_actor|transition|actor_total"
    "|follower|delivery|attempt|removed_transition|tile|origin|checkpoint|payload_field|payload_value|payload_entry"
)


async def against(url: str) -> set[str]:
    """The reasons why the tables cannot be distributed by tenant."""
    keys = [row for row in await fetch(url, KEYS) if row[0] not in NOT_A_TENANTS]
    assert len({table for table, _, _ in keys}) >= 9
    found = {str(index) for _, index, has_tenant in keys if not has_tenant}
    found |= {f"{table} refers to {other}" for table, other in await fetch(url, FOREIGN)}
    return found | {f"{table}.{column} is drawn" for table, column in await fetch(url, DRAWN)}


async def test_every_key_holds_the_tenant(anyio_backend: str) -> None:
    """Each primary key and unique index of a tenant's table includes the tenant. No table has a foreign key, and no
    column a generated default, which would differ between nodes."""
    assert await against(await fresh_database()) == set()


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("CREATE UNIQUE INDEX alone ON whence.event (id)", "alone"),
        (
            "ALTER TABLE whence.event ADD FOREIGN KEY (tenant_no, kind) REFERENCES whence.kind",
            "whence.event refers to whence.kind",
        ),
        ("ALTER TABLE whence.tenant ADD drawn int GENERATED ALWAYS AS IDENTITY", "tenant.drawn is drawn"),
        ("ALTER TABLE whence.session ADD drawn float DEFAULT random()", "session.drawn is drawn"),
    ],
)
async def test_a_key_without_the_tenant_would_be_seen(anyio_backend: str, sql: str, reason: str) -> None:
    """A unique id across all tenants, a foreign key and a generated default are each found."""
    url = await fresh_database()
    await execute(url, sql)
    assert await against(url) == {reason}


def strays(text: str) -> bool:
    """Whether a statement may concern more than one tenant, judged by its text.

    Each tenant table that it reads or changes must be compared with the first parameter or with another table's tenant
    number. New rows must begin with one of the two. Tenant tables must not be joined to the table of tenants.
    """
    text = re.sub(r"--.*", "", text)
    used = re.findall(rf"\b(?:FROM|JOIN|UPDATE)\s+(?:{TENANTS_TABLES})\b", text)
    compared = re.findall(r"\btenant_no = (?:\$1\b|\w+\.tenant_no)", text)
    into = re.search(rf"\bINSERT INTO (?:{TENANTS_TABLES}) (?:AS \w+ )?\(tenant_no\b", text)
    begins = re.search(r"\b(?:SELECT (?:\$1|tenant_no)|VALUES \(\$1), ", text)
    shared = re.search(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(?:tenant|api_key|session|lease|definition)\b", text)
    return len(compared) < len(used) or bool(into and not begins) or bool(shared and (used or into))


def copied(text: str) -> bool:
    """Whether Citus would send the rows of an INSERT to their node by COPY, which row-level security refuses.

    It does so when the rows come from the coordinator and the statement has neither RETURNING nor ON CONFLICT.
    """
    text = re.sub(r"--.*", "", text)
    gathered = re.search(rf"\bINSERT INTO (?:{TENANTS_TABLES})\b[^;]*?\bSELECT (?!tenant_no\b)", text)
    return gathered is not None and "RETURNING" not in text and "ON CONFLICT" not in text


def unplannable(text: str) -> bool:
    """Whether Citus would refuse an INSERT, since it looks into a table of the tenant for rows that a client sends."""
    text = re.sub(r"--.*", "", text)
    sent = re.search(r"\bINSERT INTO\b.*\bunnest\(", text, re.DOTALL)
    return sent is not None and re.search(rf"\b(?:FROM|JOIN)\s+(?:{TENANTS_TABLES})\b", text) is not None


VERIFYING = {
    *("causes", "next_position", "times", "folded_transitions", "wrong_flows", "wrong_resources", "wrong_names"),
    *("all_rollup_actor", "all_rollup_kind", "all_buckets", "all_transitions", "all_actor_totals"),
    *("all_removed_transitions", "excess_leaves", "upper_tiles"),
    *("payload_bytes", "payload_entries", "wrong_payload_values", "stray_payload_values"),
}
"""Blocks that verification executes on its own connection for one tenant; `tenants` and `strays` concern all
tenants."""


async def heard(patch: pytest.MonkeyPatch, folder: Path) -> set[str]:
    """Every statement that a store on Citus sends when each of its operations is called."""
    said: set[str] = set()

    async def one_by_one(*statements: Any, joined: bool) -> Any:
        return await run_statements(*statements, joined=False)

    async def hear(_connection: Any, text: str, _values: tuple[Any, ...]) -> None:
        said.add(text)

    with patch.context() as patched:
        patched.setattr(sequencing, "FOLD_AT", 300)  # so that rows of transitions are merged
        listen(patched, hear)
        for module in (append, purge):
            patched.setattr(module, "run_statements", one_by_one)
        await everything(await fresh_database(), folder)
    return said


async def test_every_statement_is_about_one_tenant(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All statements of the store are recorded, including composed ones, and each concerns one tenant."""
    said = await heard(monkeypatch, tmp_path)
    blocks = load_blocks("whence.storage.postgres")
    started = list(blocks).index("server")  # the blocks after this one concern the schema
    unsaid = {name for name in list(blocks)[:started] if not any(blocks[name] in text for text in said)}
    assert unsaid == {"hashes", "tenants", "strays", *VERIFYING}  # the tests execute the first
    assert [name for name in VERIFYING if strays(blocks[name])] == []
    assert [text for text in said if strays(text)] == []
    assert [text for text in said if copied(text)] == []
    assert [text for text in said if unplannable(text)] == []


@pytest.mark.parametrize(
    ("block", "old", "new_"),
    [
        ("span_total", "WHERE tenant_no = $1 AND ", "WHERE $1::int IS NOT NULL AND "),
        ("span_by_kind_of_actors", "WHERE tenant_no = $1 AND level", "WHERE level"),
        ("span_total", "WHERE tenant_no = $1", "WHERE tenant_no = (SELECT tenant_no FROM tenant WHERE tenant_no = $1)"),
    ],
)
async def test_a_statement_that_strays_is_found(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, block: str, old: str, new_: str
) -> None:
    """A table without a comparison, also in a subquery, and a join to the table of tenants are each found."""
    assert old in counts._SQL[block]
    monkeypatch.setattr(counts, "_SQL", {**counts._SQL, block: counts._SQL[block].replace(old, new_)})
    assert any(strays(text) for text in await heard(monkeypatch, tmp_path))


@pytest.mark.parametrize(
    ("block", "old", "new_"),
    [("add_event", "RETURNING tenant_no", ""), ("divide_rollup_kind", "SELECT tenant_no, $2", "SELECT $1, $2")],
)
def test_an_insert_that_would_go_by_copy_is_found(block: str, old: str, new_: str) -> None:
    """An INSERT without RETURNING, and one whose rows Citus cannot place on their node by itself, are each found."""
    text = load_blocks("whence.storage.postgres")[block]
    assert old in text
    assert not copied(text)
    assert copied(text.replace(old, new_))


def test_an_insert_that_citus_refuses_is_found() -> None:
    """It finds out for each row that was sent whether the tenant has an event."""
    text = load_blocks("whence.storage.postgres")["add_attempt"]
    looking = "WHERE EXISTS (SELECT FROM event e WHERE e.tenant_no = $1 AND e.position = s.position) ON CONFLICT"
    assert not unplannable(text)
    assert unplannable(text.replace("ON CONFLICT", looking))
