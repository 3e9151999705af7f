"""Which PostgreSQL servers, schemas and logins a store accepts, and how a schema is migrated."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import add, new
from tests.databases import empty_database, execute, fetch, fresh_database, of_database, server_url
from whence.errors import StoreRefused, Unavailable
from whence.storage import create_store, migrate_store
from whence.storage.migrations import Migration, load_migrations
from whence.storage.postgres import schema
from whence.storage.postgres.connections import Target
from whence.storage.sql import load_blocks

POSTGRES, SQLITE = "whence.storage.postgres", "whence.storage.sqlite"

SQLITE_ONLY = {
    # an optional array of the block `grid_span` there
    "grid_span_of_kinds",
    # the identity of the file and the number of its last commit
    "store",
    "add_store",
    "advance_store",
    # one row per statement, so the numbers of the rows are looked up first; PostgreSQL takes arrays
    "kind_number",
    "keys_of_ids",
    "known_flows",
    "known_resources",
    "correlation_of",
    # a purge reads before the writer's transaction; PostgreSQL writes before the row lock instead
    "bucket_known",
    "removed_transitions_since",
    # for `whence restore`, which works on files
    "carry_over_revocations",
    "carry_over_holds",
    "delete_all_sessions",
    "last_origins",
    # one payload field at a time; PostgreSQL takes arrays
    "empty_payload_field",
    "payload_value_key",
    "unindexed",
    # for the ledger of erasures beside a file
    "event_of_actor",
    "was_deleted",
    # a read that does not wait
    "log_state",
    # so that an event is taken from the cache
    "key_of_id",
    # two steps instead of graph_events_by_flow
    "keys_by_flow",
    # parts of the head's row, for verification and for seals
    "fold_state",
    "retained_from",
    # edges and a few kinds, each counted on its index; PostgreSQL counts them in one statement
    "edge_total",
    "edge_of_kind",
    "span_by_few_kinds",
    # the ids of events whose keys were found; PostgreSQL returns both at once
    "ids_of_keys",
    # whether a removal that was noted happened; PostgreSQL notes it in the transaction of the removal
    *("has_another_actor", "has_payload"),
}


async def opened(url: str, **options: Any) -> None:
    """Open a store and close it again."""
    store = create_store(url, **options)
    try:
        await store.check_servable()
    finally:
        await store.close()


async def refusal(url: str, **options: Any) -> str:
    """The message with which a store is refused, or an empty text if it is not."""
    try:
        await opened(url, **options)
    except StoreRefused as error:
        return str(error)
    return ""


def test_migrations_go_in_lockstep() -> None:
    """Both stores have migrations of the same numbers and names."""
    steps = [[(step.number, step.name) for step in load_migrations(package)] for package in (POSTGRES, SQLITE)]
    assert steps[0] == steps[1]


def test_blocks_have_the_same_names() -> None:
    """Every SQL block of SQLite has one of the same name here, except for those in `SQLITE_ONLY`."""
    missing = load_blocks(SQLITE).keys() - load_blocks(POSTGRES).keys()
    assert missing <= SQLITE_ONLY


async def test_a_database_without_a_log_is_refused() -> None:
    """A server does not create the schema. The message names the command that does, and after it the store opens."""
    url = await empty_database()
    assert "whence migrate" in await refusal(url)
    assert await migrate_store(url) == [
        "0001 log",
        "0002 standard_names",
        "0003 operators_keys",
        "0004 epoch_and_append_function",
        "0005 retained_from",
        "0006 followers",
        "0007 seals",
        "0008 removals",
        "0009 payload_fields",
        "0010 former_logs",
    ]
    await opened(url)


async def test_a_store_that_was_not_opened_is_checked_on_first_use() -> None:
    """Without a call of `check_servable`, the first read is refused with the same message."""
    store = create_store(await empty_database())
    with pytest.raises(StoreRefused, match="whence migrate"):
        await store.head("acme")
    await store.close()


async def test_migrating_again_changes_nothing() -> None:
    """A second run applies no migration and keeps the events."""
    url = await fresh_database()
    store = create_store(url)
    await add(store, new(1))
    assert await migrate_store(url) == []
    assert (await store.head("acme")).size == 1
    await store.close()


async def test_concurrent_migrations_apply_each_step_once() -> None:
    """One of four runs applies it; the others wait and find nothing to do."""
    url = await empty_database()
    taken = await asyncio.gather(*[migrate_store(url) for _ in range(4)])
    assert sorted(map(len, taken)) == [0, 0, 0, len(load_migrations(POSTGRES))]
    await opened(url)


async def test_a_newer_schema_is_refused() -> None:
    """Both `check_servable` and `migrate` refuse it and change nothing."""
    url = await fresh_database()
    await execute(url, "INSERT INTO whence.migration (number, name) VALUES (999, 'later')")
    assert "later release" in await refusal(url)
    with pytest.raises(StoreRefused, match="later release"):
        await migrate_store(url)
    assert await fetch(url, "SELECT max(number) FROM whence.migration") == [(999,)]


async def test_an_older_schema_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server does not migrate by itself. The message names the command that does."""
    url = await fresh_database()
    steps = load_migrations(POSTGRES)
    later = (*steps, Migration(len(steps) + 1, "later", "CREATE VIEW later AS SELECT 1 AS x"))
    monkeypatch.setattr(schema, "load_migrations", lambda _package: later)
    assert "earlier release" in await refusal(url)
    assert await migrate_store(url) == [f"{len(later):04} later"]
    assert await refusal(url) == ""


async def test_a_failed_migration_leaves_the_schema_as_it_was() -> None:
    """All migrations run in one transaction: after an error none of them is applied."""
    url = await empty_database()
    steps = load_migrations(POSTGRES)
    broken = Migration(len(steps) + 1, "broken", "SELECT * FROM nowhere")
    with pytest.raises(StoreRefused, match="rolled back"):
        await schema.migrate(Target(url), (*steps, broken))
    assert await fetch(url, "SELECT FROM pg_namespace WHERE nspname = 'whence'") == []
    assert "whence migrate" in await refusal(url)


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
async def test_a_server_that_can_lose_acknowledged_events_is_refused(name: str) -> None:
    """The message names the setting that is off. `unsafe_durability` accepts it."""
    url = await fresh_database()
    assert await refusal(url) == ""
    await _set(url, name, "off")
    try:
        assert name in await refusal(url)
        assert await refusal(url, unsafe_durability=True) == ""
    finally:
        await _set(url, name, "on")
    assert await refusal(url) == ""


async def _set(url: str, name: str, value: str) -> None:
    """Change a setting of the server and wait until new sessions see it."""
    await execute(server_url(), f"ALTER SYSTEM SET {name} = {value}", "SELECT pg_reload_conf()")
    until = time.monotonic() + 10
    while await fetch(url, f"SHOW {name}") != [(value,)]:
        assert time.monotonic() < until, f"{name} did not become {value}"
        await asyncio.sleep(0.05)


async def test_without_the_check_such_a_server_would_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `refuse_unsafe_server` the test above fails."""
    url = await fresh_database()
    monkeypatch.setattr(schema, "refuse_unsafe_server", lambda *_: None)
    await _set(url, "synchronous_commit", "off")
    try:
        assert await refusal(url) == ""
    finally:
        await _set(url, "synchronous_commit", "on")


@pytest.mark.parametrize("settings", [("off", "on", "on"), ("on", "off", "on"), ("on", "on", "off")])
def test_only_off_is_refused(settings: tuple[str, str, str]) -> None:
    """Every other value of synchronous_commit is the operator's choice."""
    for kind in ("on", "local", "remote_write", "remote_apply"):
        schema.refuse_unsafe_server("on", "on", kind)
    with pytest.raises(StoreRefused, match="--unsafe-durability"):
        schema.refuse_unsafe_server(*settings)


@pytest.mark.slow
async def test_a_database_in_another_encoding_is_refused() -> None:
    """Only in UTF-8 do texts sort by code point."""
    url = await empty_database()
    name = "whence_test_latin"
    await execute(
        server_url(),
        f"DROP DATABASE IF EXISTS {name}",
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    with pytest.raises(StoreRefused, match="UTF8"):
        await migrate_store(of_database(url, name))
    await execute(server_url(), f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    "url", ["postgresql://a:notaport/log", "postgresql://a@b:99999/log?sslmode=none", "postgresql://[/x"]
)
async def test_an_invalid_url_is_refused(url: str) -> None:
    """The message shows the right form and does not repeat the URL, which may hold a password."""
    sentence = await refusal(url)
    assert "postgresql://user@host:5432/database" in sentence
    assert url not in sentence


async def test_a_missing_database_is_refused_and_a_missing_server_is_unavailable() -> None:
    """Only an operator can create the database, but the server may come back."""
    assert "database" in await refusal(of_database(await empty_database(), "no_such_database"))
    with pytest.raises(Unavailable):
        await opened("postgresql://nobody@127.0.0.1:1/nothing")


def test_a_sqlite_file_needs_no_migration(tmp_path: Path) -> None:
    """`migrate_store` refuses it and says why."""
    with pytest.raises(StoreRefused, match="SQLite"):
        asyncio.run(migrate_store(f"sqlite:///{tmp_path}/log.db"))


async def test_the_view_for_people_shows_an_event_as_it_is_answered() -> None:
    """The view `event_log` joins all names and formats times."""
    url = await fresh_database()
    store = create_store(url)
    await add(store, new(7, causation_id="a text", payload=b'{"a":1E2,"b":"\\u0000"}'))
    await store.close()
    rows = await fetch(
        url,
        "SELECT tenant, position, id::text, event_type, actor_id, correlation_id, causation_id, outcome, "
        "to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), payload FROM whence.event_log",
    )
    number = "00000000-0000-0000-0000-000000000007"
    assert rows == [
        (
            "acme",
            1,
            number,
            "action_run.completed",
            "ada",
            number,
            "a text",
            "success",
            "2023-11-14 22:13:27",
            '{"a":1E2,"b":"\\u0000"}',
        )
    ]
