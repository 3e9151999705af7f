"""Which PostgreSQL server, which schema and which login may serve a log."""

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
    # which file this is, and which commit it has reached
    "store",
    "add_store",
    "advance_store",
    # one row a statement, where the other takes many; and then the rows' numbers are asked for first
    "kind_number",
    "keys_of_ids",
    "known_flows",
    "known_resources",
    "correlation_of",
    # for `restore`, which is about files
    "carry_over_revocations",
    "forget_all_sessions",
    # in two steps, where the other has graph_events_by_flow
    "keys_by_flow",
    # a part of the head's row, for a check
    "folded",
    # edges and few kinds looked up each by its index, where the other counts them in one statement
    "edge_total",
    "edge_of_kind",
    "span_by_few_kinds",
}


async def opened(url: str, **told: Any) -> None:
    """Open a store and close it again."""
    store = create_store(url, **told)
    try:
        await store.check_servable()
    finally:
        await store.close()


async def refusal(url: str, **told: Any) -> str:
    """The sentence with which a store is refused; an empty one when it is not."""
    try:
        await opened(url, **told)
    except StoreRefused as error:
        return str(error)
    return ""


def test_migrations_go_in_lockstep() -> None:
    """Both stores have the same migrations, by number and name."""
    steps = [[(step.number, step.name) for step in load_migrations(package)] for package in (POSTGRES, SQLITE)]
    assert steps[0] == steps[1]


def test_blocks_have_the_same_names() -> None:
    """What SQLite asks by a named block is asked here by one of the same name, but for what is said above."""
    missing = load_blocks(SQLITE).keys() - load_blocks(POSTGRES).keys()
    assert missing <= SQLITE_ONLY


async def test_a_database_without_a_log_is_refused() -> None:
    """A server makes no schema by itself; the sentence names the command that does, and then it serves."""
    url = await empty_database()
    assert "whence migrate" in await refusal(url)
    assert await migrate_store(url) == ["0001 log"]
    await opened(url)


async def test_a_store_that_was_not_looked_at_is_refused_when_used() -> None:
    """Whoever forgets `open` meets the same sentence at the first question."""
    store = create_store(await empty_database())
    with pytest.raises(StoreRefused, match="whence migrate"):
        await store.head("acme")
    await store.close()


async def test_migrating_again_changes_nothing() -> None:
    """A second migration takes no step and leaves the events."""
    url = await fresh_database()
    store = create_store(url)
    await add(store, new(1))
    assert await migrate_store(url) == []
    assert (await store.head("acme")).size == 1
    await store.close()


async def test_two_migrations_at_once_take_each_step_once() -> None:
    """The second waits for the first, and finds nothing to do."""
    url = await empty_database()
    taken = await asyncio.gather(*[migrate_store(url) for _ in range(4)])
    assert sorted(map(len, taken)) == [0, 0, 0, 1]
    await opened(url)


async def test_a_newer_schema_is_refused() -> None:
    """By servers and by migrations; it is left alone."""
    url = await fresh_database()
    await execute(url, "INSERT INTO whence.migration (number, name) VALUES (999, 'later')")
    assert "later release" in await refusal(url)
    with pytest.raises(StoreRefused, match="later release"):
        await migrate_store(url)
    assert await fetch(url, "SELECT max(number) FROM whence.migration") == [(999,)]


async def test_an_older_schema_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server does not bring it up to date by itself; the sentence says who does."""
    url = await fresh_database()
    steps = load_migrations(POSTGRES)
    later = (*steps, Migration(len(steps) + 1, "later", "CREATE TABLE later (x int)"))
    monkeypatch.setattr(schema, "load_migrations", lambda _package: later)
    assert "earlier release" in await refusal(url)
    assert await migrate_store(url) == ["0002 later"]
    assert await refusal(url) == ""


async def test_a_failed_migration_leaves_the_schema_as_it_was() -> None:
    """The steps are one transaction: after an error none of them was taken."""
    url = await empty_database()
    steps = load_migrations(POSTGRES)
    broken = Migration(len(steps) + 1, "broken", "SELECT * FROM nowhere")
    with pytest.raises(StoreRefused, match="undone"):
        await schema.migrate(Target(url), (*steps, broken))
    assert await fetch(url, "SELECT FROM pg_namespace WHERE nspname = 'whence'") == []
    assert "whence migrate" in await refusal(url)


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
async def test_a_server_that_may_lose_what_it_confirmed_is_refused(name: str) -> None:
    """Each of the three settings, by its own name; unless the operator accepts the loss."""
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
    """Change a setting of the whole server, and wait until new sessions have it."""
    await execute(server_url(), f"ALTER SYSTEM SET {name} = {value}", "SELECT pg_reload_conf()")
    until = time.monotonic() + 10
    while await fetch(url, f"SHOW {name}") != [(value,)]:
        assert time.monotonic() < until, f"{name} did not become {value}"
        await asyncio.sleep(0.05)


async def test_without_its_check_such_a_server_would_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusals above are the work of `refuse_unsafe_server`: without it they do not come."""
    url = await fresh_database()
    monkeypatch.setattr(schema, "refuse_unsafe_server", lambda *_: None)
    await _set(url, "synchronous_commit", "off")
    try:
        assert await refusal(url) == ""
    finally:
        await _set(url, "synchronous_commit", "on")


@pytest.mark.parametrize("told", [("off", "on", "on"), ("on", "off", "on"), ("on", "on", "off")])
def test_only_off_is_refused(told: tuple[str, str, str]) -> None:
    """Weaker and stronger kinds of a synchronous commit are the operator's choice."""
    for kind in ("on", "local", "remote_write", "remote_apply"):
        schema.refuse_unsafe_server("on", "on", kind)
    with pytest.raises(StoreRefused, match="--unsafe-durability"):
        schema.refuse_unsafe_server(*told)


async def test_a_database_in_another_encoding_is_refused() -> None:
    """Texts sort by code point only in UTF-8."""
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
async def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    """By one sentence that shows what it should look like, and not what it was."""
    sentence = await refusal(url)
    assert "postgresql://user@host:5432/database" in sentence
    assert url not in sentence


async def test_a_database_that_is_not_there_is_refused_and_a_server_that_is_not_there_is_unavailable() -> None:
    """The first is mended by the operator alone; the second may come back."""
    assert "database" in await refusal(of_database(await empty_database(), "no_such_database"))
    with pytest.raises(Unavailable):
        await opened("postgresql://nobody@127.0.0.1:1/nothing")


def test_a_sqlite_file_needs_no_migration(tmp_path: Path) -> None:
    """The command says so instead of doing nothing."""
    with pytest.raises(StoreRefused, match="SQLite"):
        asyncio.run(migrate_store(f"sqlite:///{tmp_path}/log.db"))


async def test_the_view_for_people_shows_an_event_as_it_is_answered() -> None:
    """`event_log` joins the names back and formats times."""
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
