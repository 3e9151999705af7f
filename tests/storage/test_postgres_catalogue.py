"""A database is served only with the schema of this release: a trigger in it could change the scopes of keys, and a
grant could open them to everybody."""

import asyncpg
import pytest

from tests.contract.made import add, new, page
from tests.databases import empty_database, execute, fetch, fresh_database
from tests.storage.make_catalogue import PATH, catalogue_of
from tests.storage.test_postgres_schema import opened, refusal
from whence.errors import StoreRefused
from whence.storage import create_store, migrate_store, verify_store
from whence.storage.postgres import catalogue, schema
from whence.storage.postgres.connections import Target
from whence.storage.schema_difference import SchemaDifference

pytestmark = pytest.mark.slow

FUNCTION = "CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
NUMBER = "CREATE FUNCTION public.number(x bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT x'"
EVERYBODY = "(tenant_no = NULLIF(current_setting('whence.tenant_no', true), '')::int OR true)"
ROLE = "DO $$ BEGIN CREATE ROLE whence_test_reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$"

FAULTS: dict[str, tuple[tuple[str, ...], str]] = {
    "a trigger": (
        (FUNCTION, "CREATE TRIGGER grant_all BEFORE UPDATE ON whence.api_key FOR EACH ROW EXECUTE FUNCTION evil()"),
        "the trigger 'grant_all' on 'api_key' is not part of it",
    ),
    "a constraint trigger": (
        (
            FUNCTION,
            "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON whence.event DEFERRABLE FOR EACH ROW "
            "EXECUTE FUNCTION evil()",
        ),
        "the trigger 'late' on 'event' is not part of it",
    ),
    "a trigger on the view": (
        (FUNCTION, "CREATE TRIGGER t INSTEAD OF INSERT ON whence.event_log FOR EACH ROW EXECUTE FUNCTION evil()"),
        "the trigger 't' on 'event_log' is not part of it",
    ),
    "a trigger on another view": (
        (
            FUNCTION,
            "CREATE VIEW whence.mine AS SELECT 1 AS x",
            "CREATE TRIGGER t INSTEAD OF INSERT ON whence.mine FOR EACH ROW EXECUTE FUNCTION evil()",
        ),
        "the trigger 't' on 'mine' is not part of it",
    ),
    "a rule": (
        ("CREATE RULE keep AS ON DELETE TO whence.session DO INSTEAD NOTHING",),
        "the rule 'keep' on 'session' is not part of it",
    ),
    "a function": (
        ("CREATE FUNCTION whence.octets(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",),
        "the function 'whence.octets(bigint,bigint)' is not part of it",
    ),
    "our function with other code": (
        (
            "DO $x$ BEGIN EXECUTE replace(pg_get_functiondef('whence.append_events'::regproc), 'FOR UPDATE', '');"
            " END $x$",
        ),
        "the function 'whence.append_events(",
    ),
    "our function with the rights of its owner": (
        ("ALTER FUNCTION whence.append_events SECURITY DEFINER",),
        "the function 'whence.append_events(",
    ),
    "an operator": (
        (
            "CREATE FUNCTION public.same(bigint, int) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
            "CREATE OPERATOR whence.= (FUNCTION = public.same, LEFTARG = bigint, RIGHTARG = int)",
        ),
        "the operator 'whence.=(bigint,integer)' is not part of it",
    ),
    "a type": (("CREATE DOMAIN whence.text AS pg_catalog.text",), "the type 'whence.text' is not part of it"),
    "a policy": (
        ("CREATE POLICY wide ON whence.actor USING (true)",),
        "the policy 'wide' on 'actor' is not part of it",
    ),
    "a policy with another expression": (
        (f"ALTER POLICY one_tenant ON whence.event USING {EVERYBODY}",),
        "the policy 'one_tenant' on 'event' was changed",
    ),
    "a policy with another check": (
        ("ALTER POLICY one_tenant ON whence.event WITH CHECK (true)",),
        "the policy 'one_tenant' on 'event' was changed",
    ),
    "a policy for another role": (
        ("ALTER POLICY one_tenant ON whence.head TO whence_app",),
        "the policy 'one_tenant' on 'head' was changed",
    ),
    "a policy for another command": (
        (
            "DROP POLICY one_tenant ON whence.kind",
            "CREATE POLICY one_tenant ON whence.kind FOR SELECT USING "
            "(tenant_no = NULLIF(current_setting('whence.tenant_no', true), '')::int)",
        ),
        "the policy 'one_tenant' on 'kind' was changed",
    ),
    "a policy that is gone": (
        ("DROP POLICY one_tenant ON whence.flow",),
        "the policy 'one_tenant' on 'flow' is missing",
    ),
    "row-level security that is not forced": (
        ("ALTER TABLE whence.bucket NO FORCE ROW LEVEL SECURITY",),
        "the setting 'FORCE ROW LEVEL SECURITY' on 'bucket' is missing",
    ),
    "row-level security that is off": (
        ("ALTER TABLE whence.transition DISABLE ROW LEVEL SECURITY",),
        "the setting 'ENABLE ROW LEVEL SECURITY' on 'transition' is missing",
    ),
    "a grant on keys": (
        (ROLE, "GRANT SELECT ON whence.api_key TO whence_test_reader"),
        "the grant 'SELECT TO whence_test_reader' on 'api_key' is not part of it",
    ),
    "a grant on sessions to everybody": (
        ("GRANT INSERT ON whence.session TO PUBLIC",),
        "the grant 'INSERT TO PUBLIC' on 'session' is not part of it",
    ),
    "a grant on a column": (
        (ROLE, "GRANT UPDATE (scopes) ON whence.api_key TO whence_test_reader"),
        "the grant 'UPDATE (scopes) TO whence_test_reader' on 'api_key' is not part of it",
    ),
    "a grant on events to our role": (
        ("GRANT DELETE ON whence.event TO whence_app",),
        "the grant 'DELETE TO whence_app' on 'event' is not part of it",
    ),
    "a grant that may be passed on": (
        ("GRANT SELECT ON whence.event TO whence_app WITH GRANT OPTION",),
        "the grant 'SELECT TO whence_app' on 'event' was changed",
    ),
    "a grant on the schema": (
        ("GRANT CREATE ON SCHEMA whence TO whence_app",),
        "the grant 'CREATE ON SCHEMA whence TO whence_app' is not part of it",
    ),
    "default privileges": (
        ("ALTER DEFAULT PRIVILEGES IN SCHEMA whence GRANT SELECT ON TABLES TO PUBLIC",),
        "the default acl ",
    ),
    "a grant that is gone": (
        ("REVOKE SELECT ON whence.event FROM whence_app",),
        "the grant 'SELECT TO whence_app' on 'event' is missing",
    ),
    "another owner": (
        (ROLE, "ALTER TABLE whence.api_key OWNER TO whence_test_reader"),
        "the owner 'whence_test_reader' on 'api_key' is not part of it",
    ),
    "a table": (("CREATE TABLE whence.more (x int UNIQUE)",), "the table 'more' is not part of it"),
    "a child table": (
        ("CREATE TABLE public.more () INHERITS (whence.event)",),
        "the child table 'public.more' on 'event' is not part of it",
    ),
    "a foreign key from elsewhere": (
        ("CREATE TABLE public.watch (hash bytea REFERENCES whence.session ON DELETE CASCADE)",),
        "the foreign key 'watch_hash_fkey of public.watch' on 'session' is not part of it",
    ),
    "an unlogged table": (("ALTER TABLE whence.event SET UNLOGGED",), "the table 'event' was changed"),
    "a column": (("ALTER TABLE whence.api_key ADD COLUMN x text",), "the column 'x' on 'api_key' is not part of it"),
    "a default": (
        ("ALTER TABLE whence.api_key ALTER COLUMN scopes SET DEFAULT 'admin'",),
        "the column 'scopes' on 'api_key' was changed",
    ),
    "a check": (
        ("ALTER TABLE whence.api_key ADD CONSTRAINT mine CHECK (length(scopes) < 999)",),
        "the constraint 'mine' on 'api_key' is not part of it",
    ),
    "a unique index": (
        ("CREATE UNIQUE INDEX one ON whence.event (tenant_no, leaf)",),
        "the index 'one' on 'event' is not part of it",
    ),
    "an index of a function": (
        (NUMBER, "CREATE INDEX sly ON whence.event (public.number(position))"),
        "the index 'sly' on 'event' is not part of it",
    ),
    "an index that is gone": (("DROP INDEX whence.event_id",), "the index 'event_id' on 'event' is missing"),
    "a view that was changed": (
        ("ALTER VIEW whence.event_log SET (security_invoker = false)",),
        "the view 'event_log' was changed",
    ),
    "numbers that begin again": (
        ("ALTER SEQUENCE whence.tenant_number MAXVALUE 1000 CYCLE",),
        "the sequence 'tenant_number' was changed",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_what_this_release_does_not_make_is_refused_by_name(name: str) -> None:
    """Verification reports it and reads no event, and a server refuses to start. Each names the object."""
    statements, words = FAULTS[name]
    url = await fresh_database()
    await execute(url, *statements)
    report = await verify_store(url)
    assert not report.sound
    assert any(finding.what.startswith(f"the schema: {words}") for finding in report.findings)
    assert {finding.tenant for finding in report.findings} == {""}
    assert report.tenants == report.events == 0
    sentence = await refusal(url)
    assert words in sentence
    assert "REVOKE" in sentence


NOTES = {
    "an index": ("CREATE INDEX mine ON whence.event (octet_length(payload))", "the index 'mine' on 'event'"),
    "a partial index": ("CREATE INDEX mine ON whence.event (leaf) WHERE kind > 3", "the index 'mine' on 'event'"),
    "a view": ("CREATE VIEW whence.mine AS SELECT * FROM whence.event_log", "the view 'mine'"),
    "a materialized view": (
        "CREATE MATERIALIZED VIEW whence.mine AS SELECT * FROM whence.event_log",
        "the materialized view 'mine'",
    ),
    "extended statistics": (
        "CREATE STATISTICS whence.mine ON kind, actor FROM whence.event",
        "the statistics object 'whence.mine'",
    ),
    "a publication": (
        "CREATE PUBLICATION mine FOR TABLES IN SCHEMA whence",
        "the publication namespace 'whence in publication mine'",
    ),
}


@pytest.mark.parametrize("name", NOTES)
async def test_what_does_no_harm_is_named_and_served(name: str) -> None:
    """Additional indexes and views, statistics and publications are reported as notes, and the database is sound."""
    sql, words = NOTES[name]
    url = await fresh_database()
    await execute(url, sql)
    report = await verify_store(url)
    assert report.sound
    assert report.notes == [f"the schema: {words} is not part of it, and does no harm"]
    await opened(url)


async def test_grants_on_a_view_of_the_operator_are_the_operators() -> None:
    """A report role may read a view that somebody made beside ours."""
    url = await fresh_database()
    await execute(url, "CREATE VIEW whence.mine AS SELECT 1 AS x", "GRANT SELECT ON whence.mine TO PUBLIC")
    await opened(url)


async def test_settings_of_a_database_change_nothing() -> None:
    """Expressions are compared alike whatever the search path, the time zone and the format of dates are, and functions
    of another schema are not used for it."""
    url = await fresh_database()
    name = url.partition("?")[0].rpartition("/")[2]
    await execute(
        url,
        "CREATE FUNCTION public.pg_get_expr(pg_node_tree, oid) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$",
        *(
            f"ALTER DATABASE {name} SET {setting}"
            for setting in (
                "search_path TO public, whence, pg_catalog",
                "timezone TO 'Asia/Tokyo'",
                "datestyle TO 'German'",
                "intervalstyle TO 'iso_8601'",
                "bytea_output TO 'escape'",
                "quote_all_identifiers TO on",
            )
        ),
    )
    await opened(url)
    assert (await verify_store(url)).notes == []


async def test_the_expected_catalogue_is_what_the_migrations_make() -> None:
    """On every version of PostgreSQL. After a new migration, run `python -m tests.storage.make_catalogue`."""
    assert PATH.read_text("utf-8") == await catalogue_of(await fresh_database())


async def test_a_migrated_database_has_the_same_catalogue() -> None:
    """A schema that was made by an earlier release and migrated is not told from a new one."""
    url = await empty_database()
    steps = schema.load_migrations("whence.storage.postgres")
    for count in range(1, len(steps) + 1):
        await schema.migrate(Target(url), steps[:count])
    assert PATH.read_text("utf-8") == await catalogue_of(url)


@pytest.mark.parametrize("name", ["a trigger", "a rule", "a function", "an operator", "a child table"])
async def test_code_in_an_earlier_schema_is_refused_before_it_is_migrated(name: str) -> None:
    """A migration would run it with the rights of the login that migrates."""
    statements, words = FAULTS[name]
    url = await empty_database()
    steps = schema.load_migrations("whence.storage.postgres")
    await schema.migrate(Target(url), steps[:1])
    await execute(url, *statements)
    with pytest.raises(StoreRefused) as refused:
        await migrate_store(url)
    assert words.removesuffix(" is not part of it") in str(refused.value)
    assert await fetch(url, "SELECT max(number) FROM whence.migration") == [(1,)]


async def test_a_function_of_ours_that_was_changed_is_refused_before_a_migration() -> None:
    """Its name alone does not make it ours."""
    url = await fresh_database()
    assert await migrate_store(url) == []
    await execute(url, *FAULTS["our function with the rights of its owner"][0])
    with pytest.raises(StoreRefused, match="append_events"):
        await migrate_store(url)


async def test_mutant_a_schema_that_is_not_compared_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison a database is served whose trigger gives every key the scope 'admin'."""
    url = await fresh_database()
    await execute(url, *FAULTS["a trigger"][0])

    async def nothing(_connection: object) -> SchemaDifference:
        return SchemaDifference()

    monkeypatch.setattr(catalogue, "compare_catalogue", nothing)
    await opened(url)


BLIND = {
    "policies by their names": ("'USING ' || pg_get_expr(p.polqual, p.polrelid)", "NULL"),
    "grants to our role only": ("x.grantee <> g.owner", "pg_get_userbyid(x.grantee) = 'whence_app'"),
}


@pytest.mark.parametrize(
    ("blind", "name"),
    [
        ("policies by their names", "a policy with another expression"),
        ("grants to our role only", "a grant on keys"),
    ],
)
async def test_mutant_a_comparison_that_reads_less_is_caught(
    blind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison of names alone serves a database whose policy shows every tenant everything, and one that ignores
    other roles a database whose keys they read."""
    old, less = BLIND[blind]
    text = catalogue._SQL["objects"]
    assert old in text
    monkeypatch.setattr(catalogue, "_SQL", {**catalogue._SQL, "objects": text.replace(old, less)})
    url = await fresh_database()
    connection = await asyncpg.connect(url)
    expected = {each: definition for each, definition, _ in await catalogue.read_catalogue(connection)}
    await connection.close()
    monkeypatch.setattr(catalogue, "expected_catalogue", lambda: expected)
    await execute(url, *FAULTS[name][0])
    await opened(url)


async def test_a_store_that_was_compared_serves() -> None:
    """The comparison leaves nothing behind on the connections of the store."""
    store = create_store(await fresh_database())
    await add(store, new(1))
    assert (await page(store)).total == 1
    await store.close()
