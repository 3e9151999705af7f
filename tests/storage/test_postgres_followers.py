"""What followers keep on PostgreSQL: leases, and servers that change the same rows at the same time."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.databases import execute, fetch, fresh_database, until_blocked
from tests.storage.statements import listen
from whence.errors import Throttled, Unavailable
from whence.storage import create_store
from whence.storage.followers import DELIVERED, FAILED, Attempt, Definition, Delivery, Place
from whence.storage.postgres import followers

HOOK = "hook"
LONG_S = 1_000.0


@pytest.fixture
async def url(anyio_backend: str) -> str:
    return await fresh_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Any]:
    made = create_store(url)
    yield made
    await made.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[Any]:
    """A connection of another server."""
    made = await asyncpg.connect(url)
    await made.execute("SET search_path TO whence")
    yield made
    await made.close()


def replaced(patch: pytest.MonkeyPatch, block: str, old: str, new: str) -> None:
    """Change the text of a block."""
    text = followers._SQL[block]
    assert old in text
    patch.setattr(followers, "_SQL", {**followers._SQL, block: text.replace(old, new)})


# --- leases ------------------------------------------------------------------------------------------------------


async def _time_passes(url: str, seconds: float) -> None:
    """Move the end of each lease, as if so many seconds had passed."""
    await execute(url, f"UPDATE whence.lease SET expires_at = expires_at - {seconds * 1_000_000:.0f}")


async def _lease_goes_on(store: Any, url: str) -> None:
    """A lease is held until it ends or is released, by its owner alone."""
    take, release = store.followers.take_lease, store.followers.release_lease
    assert await take("webhooks", "a", LONG_S)
    assert not await take("webhooks", "b", LONG_S)
    await _time_passes(url, LONG_S / 2)
    assert not await take("webhooks", "b", LONG_S)
    assert await take("webhooks", "a", LONG_S)
    await _time_passes(url, LONG_S * 0.9)
    assert not await take("webhooks", "b", LONG_S)
    await _time_passes(url, LONG_S * 0.2)
    assert await take("webhooks", "b", LONG_S)
    assert not await take("webhooks", "a", LONG_S)
    await release("webhooks", "a")
    assert not await take("webhooks", "a", LONG_S)
    await release("webhooks", "b")
    assert await take("webhooks", "a", LONG_S)


async def test_a_lease_is_taken_over_after_its_end_and_not_before(store: Any, url: str) -> None:
    """Its owner may keep it, which moves its end; another one gets it once it has ended or was released."""
    await _lease_goes_on(store, url)


@pytest.mark.parametrize(
    ("block", "old", "new"),
    [
        ("take_lease", "OR lease.expires_at <= excluded.taken_at", "OR true"),
        ("take_lease", "OR lease.expires_at <= excluded.taken_at", ""),
        ("take_lease", "lease.owner = excluded.owner OR ", ""),
        ("take_lease", ", expires_at = excluded.expires_at", ""),
        ("take_lease", "* 1000000)::bigint + $3", "* 1000)::bigint + $3"),
        ("release_lease", " AND owner = $2", " AND $2::text IS NOT NULL"),
        ("release_lease", "name = $1", "name = $1 || 'x'"),
    ],
)
async def test_mutant_a_lease_without_its_rules_is_caught(
    store: Any, url: str, monkeypatch: pytest.MonkeyPatch, block: str, old: str, new: str
) -> None:
    replaced(monkeypatch, block, old, new)
    with pytest.raises(AssertionError):
        await _lease_goes_on(store, url)


async def test_of_two_that_take_an_ended_lease_one_has_it(store: Any, other: Any) -> None:
    """The second one waits for the commit of the first, and finds that the lease goes on."""
    assert await store.followers.take_lease("webhooks", "a", 0.0)
    transaction = other.transaction()
    await transaction.start()
    assert await other.fetchval(followers._SQL["take_lease"], "webhooks", "b", 1_000_000_000)
    taking = asyncio.create_task(store.followers.take_lease("webhooks", "c", LONG_S))
    await asyncio.sleep(0.2)
    assert not taking.done()
    await transaction.commit()
    assert not await taking
    assert await other.fetch("SELECT owner FROM lease") == [("b",)]


# --- servers beside each other -----------------------------------------------------------------------------------


def _tried(position: int, state: int = FAILED) -> tuple[Delivery, Attempt]:
    return Delivery(HOOK, position, state, 1, 2, 1, 1), Attempt(HOOK, position, 1, 1, 5, 500, "", b"no")


async def _changed_crosswise(store: Any, other: Any) -> None:
    """Another server tries deliveries 1 and then 2 again, while this one records attempts of both."""
    await store.followers.add_deliveries("acme", HOOK, [1, 2], 1, Place("f", 2))
    number = await other.fetchval("SELECT tenant_no FROM tenant")
    sql = followers._SQL
    transaction = other.transaction()
    await transaction.start()
    await other.execute(sql["lock_deliveries"], "acme")
    await other.execute(sql["retry_delivery"], number, HOOK, [1], 4)
    recording = asyncio.create_task(store.followers.record_attempts("acme", [_tried(2), _tried(1)]))
    await until_blocked(store._target._dsn)
    assert not recording.done()
    await other.execute(sql["retry_delivery"], number, HOOK, [2], 4)
    await transaction.commit()
    await recording
    assert await store.followers.count_deliveries("acme", HOOK) == {FAILED: 2}


async def test_two_servers_change_the_same_deliveries(store: Any, other: Any) -> None:
    """One waits for the other, whatever the order in which they change them."""
    await _changed_crosswise(store, other)


async def test_without_the_lock_they_would_deadlock(store: Any, other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: PostgreSQL cancels one of the two transactions."""
    monkeypatch.setattr(followers, "_SQL", {**followers._SQL, "lock_deliveries": "SELECT $1::text"})
    with pytest.raises((asyncpg.DeadlockDetectedError, Unavailable)):
        await _changed_crosswise(store, other)


async def _defined_at_once(store: Any, url: str, patch: pytest.MonkeyPatch) -> list[Any]:
    """Two servers each store a definition when one more is allowed, and pause after they have counted. Both have
    connected before, so they begin together."""
    second = create_store(url)
    try:
        for number, server in enumerate((store, second)):
            await server.followers.put_definition(Definition("acme", "view", f"before-{number}", 1, b"{}"))
        patch.setattr("whence.storage.followers.DEFINITIONS_MAX", 1)
        slow = followers._SQL["count_definitions"].replace("count(*)", "count(*) + (pg_sleep(0.6) IS NULL)::int")
        patch.setattr(followers, "_SQL", {**followers._SQL, "count_definitions": slow})
        made = [Definition("acme", "webhook", name, 1, b"{}") for name in ("a", "b")]
        put = [server.followers.put_definition(each) for server, each in zip((store, second), made, strict=True)]
        return await asyncio.gather(*put, return_exceptions=True)
    finally:
        await second.close()


async def test_two_servers_cannot_pass_the_limit_together(
    store: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one counts after the first has committed."""
    done = await _defined_at_once(store, url, monkeypatch)
    assert {type(each) for each in done} == {bool, Throttled}


async def test_without_the_lock_two_servers_would_pass_it(
    store: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: both count before either has committed."""
    monkeypatch.setattr(followers, "_SQL", {**followers._SQL, "lock_limit": "SELECT $1::text"})
    assert await _defined_at_once(store, url, monkeypatch) == [True, True]


# --- tenants' numbers --------------------------------------------------------------------------------------------


async def _renumbered(store: Any, url: str, first: str) -> None:
    """The database was reset, and gave the number that this store has cached to another tenant. What the store does
    first is done with the cached number."""
    for tenant in ("acme", "other"):
        await store.followers.save_place(tenant, Place("f", 1))
    await execute(url, "TRUNCATE whence.tenant, whence.follower", "ALTER SEQUENCE whence.tenant_number RESTART")
    later = create_store(url)
    await later.followers.save_place("other", Place("f", 7))
    await later.close()
    if first == "read":
        assert await store.followers.get_place("acme", "f") is None
    if first == "delete":
        await store.followers.delete_place("acme", "f")
    await store.followers.save_place("acme", Place("f", 2))
    await store.followers.add_deliveries("acme", HOOK, [1], 1, Place("g", 1))
    rows = await fetch(
        url,
        "SELECT tenant, name, position FROM whence.follower JOIN whence.tenant USING (tenant_no) ORDER BY 1, 2",
    )
    assert rows == [("acme", "f", 2), ("acme", "g", 1), ("other", "f", 7)]
    assert await fetch(url, "SELECT tenant FROM whence.delivery JOIN whence.tenant USING (tenant_no)") == [("acme",)]


@pytest.mark.parametrize("first", ["read", "delete", "save"])
async def test_a_cached_number_of_another_tenant_is_not_trusted(store: Any, url: str, first: str) -> None:
    """As after a failover to a standby that lacks the last commits: nothing of the other tenant is read or changed."""
    await _renumbered(store, url, first)


@pytest.mark.parametrize("first", ["read", "delete", "save"])
async def test_mutant_a_number_without_its_name_is_caught(
    store: Any, url: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trusting(_connection: Any, _owner: Any) -> None:
        return None

    monkeypatch.setattr(followers, "refuse_renumbered", trusting)
    with pytest.raises(AssertionError):
        await _renumbered(store, url, first)


# --- cost --------------------------------------------------------------------------------------------------------


async def _statements(store: Any, patch: pytest.MonkeyPatch, count: int) -> int:
    """How many statements it takes to add so many deliveries and to record an attempt of each."""
    heard: list[str] = []

    async def hear(_connection: Any, text: str, _values: tuple[Any, ...]) -> None:
        heard.append(text)

    with patch.context() as patched:
        listen(patched, hear)
        await store.followers.add_deliveries("acme", f"{HOOK}{count}", range(1, count + 1), 1, Place("f", count))
        hook = f"{HOOK}{count}"
        tried = [
            (Delivery(hook, at, DELIVERED, 1, 2, 1, 1), Attempt(hook, at, 1, 1, 5, 200, "", b"yes"))
            for at in range(1, count + 1)
        ]
        await store.followers.record_attempts("acme", tried)
    assert await store.followers.count_deliveries("acme", hook) == {DELIVERED: count}
    return len(heard)


async def test_many_deliveries_take_no_more_statements_than_one(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.followers.save_place("acme", Place("f", 0))
    assert await _statements(store, monkeypatch, 500) == await _statements(store, monkeypatch, 1) <= 8


PLANS = {
    "due_deliveries": ((1, HOOK, 1_000, 20), "delivery_due"),
    "next_due": ((1, HOOK), "delivery_due"),
    "deliveries": ((1, HOOK, [2], 0, 20), "delivery_state"),
    "old_deliveries": ((1, HOOK, 1_000, 20), "delivery_changed"),
    "attempts": ((1, HOOK, 77), "attempt_pkey"),
}

MANY = """
INSERT INTO whence.delivery SELECT n, n, n, 1, 1, 1, (n % 100 < 98)::int + (n % 100 = 99)::int * 2, 'hook'
  FROM generate_series(1, 20000) n
"""


async def test_deliveries_are_found_by_their_indexes(url: str, other: Any) -> None:
    """Whatever a webhook has had delivered, without a sort of it."""
    await execute(
        url,
        MANY,
        "INSERT INTO whence.attempt SELECT n, n, 1, 1, 1, 200, 'hook', '', '' FROM generate_series(1, 20000) n",
        "ANALYZE whence.delivery",
        "ANALYZE whence.attempt",
    )
    for block, (values, index) in PLANS.items():
        rows = await other.fetch(f"EXPLAIN (ANALYZE, TIMING off, COSTS off) {followers._SQL[block]}", *values)
        plan = "\n".join(row[0] for row in rows)
        read = [int(count) for count in re.findall(r"Scan.*?rows=(\d+)", plan)]
        assert index in plan, f"{block}: {plan}"
        assert max(read) <= 50, f"{block}: {plan}"
