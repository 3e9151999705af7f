"""What happens when the PostgreSQL server goes away, stops to answer, or ends a connection, and when it comes back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.contract.made import TENANT, add, new, numbers, page
from tests.databases import execute, fetch, fresh_database
from tests.storage.proxy import Proxy, proxied
from whence.errors import QueryTooExpensive, Throttled, Unavailable
from whence.events import Query
from whence.storage import Write, create_store
from whence.storage.postgres import connections
from whence.storage.postgres.connections import Connections
from whence.storage.postgres.tenants import NOBODY

pytestmark = pytest.mark.slow

TOLD_S = 2.0
"""Within this time whoever asks is told that the store cannot serve."""

BACK_S = 5.0
"""Within this time it serves again by itself."""


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with proxied(await fresh_database()) as made:
        yield made


@pytest.fixture
async def store(proxy: Proxy) -> AsyncIterator[Any]:
    made = create_store(proxy.url)
    yield made
    proxy.mend()
    await made.close()


async def told(ask: Callable[[], Awaitable[Any]]) -> None:
    """The question is answered by Unavailable, in time."""
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await ask()
    assert time.monotonic() - started < TOLD_S


async def appended(store: Any, *events: Any) -> None:
    await add(store, *events)


async def back(store: Any, first: int) -> int:
    """Append until it succeeds, with the same id; how many events the log has then."""
    until = time.monotonic() + BACK_S
    while True:
        try:
            await add(store, new(first))
            return int((await page(store)).total)
        except Unavailable:
            assert time.monotonic() < until, "it did not come back by itself"
            await asyncio.sleep(0.05)


async def told_of_everything(store: Any) -> None:
    """Every kind of question, one by one and many at once, meets Unavailable in time."""
    for ask in (
        lambda: appended(store, new(50)),
        lambda: page(store),
        lambda: store.count_events(TENANT, Query()),
        lambda: store.find_key(bytes(32)),
        store.check,
    ):
        await told(ask)
    await asyncio.gather(*[told(lambda number=number: appended(store, new(number))) for number in range(60, 100)])


async def test_a_lost_server_is_told_of_and_comes_back_by_itself(store: Any, proxy: Proxy) -> None:
    """Connections are cut and none can be made: 503 at once. Then the server is there again, and so is the store."""
    await add(store, new(1))
    assert (await page(store)).total == 1
    proxy.lose()
    await told_of_everything(store)
    proxy.mend()
    assert await back(store, 2) == 2


async def test_a_server_that_says_nothing_is_told_of_and_comes_back_by_itself(store: Any, proxy: Proxy) -> None:
    """Nothing goes through and no connection breaks: told in time all the same."""
    await add(store, new(1))
    assert (await page(store)).total == 1
    proxy.stall()
    await told_of_everything(store)
    proxy.mend()
    assert await back(store, 2) == 2


async def _stalled_at_work(store: Any, proxy: Proxy) -> None:
    """The server falls silent in the middle of a transaction."""

    async def work(connection: Any) -> None:
        proxy.stall()
        await connection.execute("SELECT 1")

    await store.check_servable()
    await told(lambda: store._writing.run(NOBODY, work))


async def test_a_server_that_falls_silent_at_work_is_told_of(store: Any, proxy: Proxy) -> None:
    """A transaction that has begun waits no longer for its answer than one that has not."""
    await _stalled_at_work(store, proxy)
    proxy.mend()
    assert await back(store, 1) == 1


async def test_without_a_second_look_it_would_wait(store: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above sees a store that takes every silence for work."""

    async def always(_self: Any) -> bool:
        return True

    monkeypatch.setattr(Connections, "_reachable", always)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(TOLD_S):
            await _stalled_at_work(store, proxy)


async def test_slow_work_is_not_taken_for_silence(store: Any) -> None:
    """A statement that takes longer than the looks goes on, while the server answers others."""
    await store.check_servable()
    wait = connections._LOOK_AFTER_S * 3
    assert await store._writing.run(NOBODY, lambda c: c.fetchval(f"SELECT 7 FROM pg_sleep({wait})")) == 7


async def _left_open(patch: pytest.MonkeyPatch) -> bool:
    """Whether the connection of a question is open long after the longest question would have been broken off."""
    patch.setattr(connections, "_LOOK_AFTER_S", 0.01)
    patch.setattr(connections, "QUERY_SECONDS_MAX", 0.05)
    store: Any = create_store(await fresh_database())
    await store.check_servable()
    await store._reading.run(NOBODY, lambda connection: connection.fetchval("SELECT 1 FROM pg_sleep(0.02)"))
    await asyncio.sleep(0.3)
    (idle,) = store._reading._idle
    still = not idle.is_closed()
    await store.close()
    return still


async def test_who_watched_a_question_lets_go_of_its_connection(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that has ended is watched no longer; else the next one on its connection would be broken off."""
    assert await _left_open(monkeypatch)
    monkeypatch.setattr(connections._Watch, "end", lambda _self: None)
    assert not await _left_open(monkeypatch)


async def _kill_all(url: str) -> None:
    await execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()",
    )


async def _killed_while_idle(store: Any, url: str) -> None:
    await add(store, new(1))
    await page(store)
    await _kill_all(url)
    await add(store, new(2))
    assert await numbers(store) == [2, 1]


async def test_connections_that_were_ended_while_idle_are_not_noticed() -> None:
    """Whoever asks next gets an answer, by a new connection."""
    url = await fresh_database()
    store = create_store(url)
    await _killed_while_idle(store, url)
    await store.close()


async def test_a_store_that_keeps_broken_connections_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above sees a store that gives up at the first broken connection."""

    async def begun(self: Any, messages: Any) -> Any:
        connection = self._idle.pop() if self._idle else await self._target.connect()
        try:
            for message in messages:
                await connection.execute(message)
        except Exception as error:
            raise self._told(error) from error
        return connection

    monkeypatch.setattr(Connections, "_begun", begun)
    url = await fresh_database()
    store = create_store(url)
    with pytest.raises(Unavailable):
        await _killed_while_idle(store, url)
    await store.close()


async def test_writers_whose_backends_are_killed_lose_nothing_and_leave_no_gap() -> None:
    """Backends are ended under five writers; what was acknowledged is there once, and positions are 1..n."""
    url = await fresh_database()
    store: Any = create_store(url, unsafe_durability=True)
    stop = asyncio.Event()
    acknowledged: set[int] = set()
    failures = 0

    async def write(writer: int) -> None:
        nonlocal failures
        for number in range(writer * 1_000, writer * 1_000 + 40):
            while True:
                try:
                    await add(store, new(number))
                except Unavailable:
                    failures += 1
                    await asyncio.sleep(0.01)
                else:
                    acknowledged.add(number)
                    break

    async def kill() -> None:
        killed_at = 0
        while not stop.is_set():
            await asyncio.sleep(0.005)
            if len(acknowledged) >= killed_at + 20:  # by progress, so that a slow machine is not killed to a halt
                killed_at = len(acknowledged)
                await _kill_all(url)

    killer = asyncio.create_task(kill())
    await asyncio.gather(*[write(writer) for writer in range(1, 6)])
    stop.set()
    await killer
    assert failures, "no kill met a writer"
    assert len(acknowledged) == 200
    found = await numbers(store, limit=1_000)
    assert sorted(found) == sorted(acknowledged)
    positions = [row[0] for row in await fetch(url, "SELECT position FROM whence.event ORDER BY position")]
    assert positions == list(range(1, 201))
    await store.close()


async def _cut_at_commit(store: Any, proxy: Proxy) -> None:
    await add(store, new(1))
    await asyncio.wait({store._listen_notify._sending})  # its commit is another's
    proxy.cut_at = b"COMMIT\0"  # the whole message; BEGIN names READ COMMITTED
    await told(lambda: appended(store, new(2), new(3)))
    proxy.mend()
    assert proxy.cuts == 1
    (result,) = await store.append(TENANT, [Write((new(2), new(3), new(4)))])
    assert [receipt.replayed for receipt in result] == [True, True, False]
    assert sorted(await numbers(store)) == [1, 2, 3, 4]


async def test_an_answer_that_was_cut_off_is_found_again_by_its_ids(store: Any, proxy: Proxy) -> None:
    """The commit reached the server and its answer nobody: told as unknown; sent again, it is a replay."""
    await _cut_at_commit(store, proxy)


async def test_a_store_that_does_not_know_its_ids_again_is_seen(
    store: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above sees a store that looks for no repeats."""
    from whence.storage.postgres import append  # noqa: PLC0415  (to break it here alone)

    blind = append._SQL["stored_ids"].replace("ANY($2::uuid[])", "ANY($2::uuid[]) AND false")
    monkeypatch.setattr(append, "_SQL", {**append._SQL, "stored_ids": blind})
    with pytest.raises((AssertionError, TypeError)):
        await _cut_at_commit(store, proxy)


async def test_losses_leave_nothing_behind(store: Any, proxy: Proxy) -> None:
    """After hundreds of failures there is no task more than before, and no connection that is kept beyond the limit."""
    await add(store, new(1))
    await page(store)
    before = len(asyncio.all_tasks())
    for _ in range(5):
        proxy.lose()
        await asyncio.gather(*[told(lambda: page(store)) for _ in range(40)])
        proxy.mend()
        await back(store, 1)
    proxy.stall()
    await asyncio.gather(*[told(lambda: page(store)) for _ in range(40)])
    proxy.mend()
    await back(store, 1)
    until = time.monotonic() + BACK_S
    while len(asyncio.all_tasks()) > before + 4 * len(store._reading._idle):  # the proxy has two a connection
        assert time.monotonic() < until, "tasks are left"
        await asyncio.sleep(0.05)
    assert not store._reading._running
    assert not store._writing._running
    assert len(store._reading._idle) <= 8
    assert len(store._writing._idle) <= 4


async def test_a_question_that_takes_too_long_is_stopped_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server stops it, and the connection serves on; an append is no question."""
    monkeypatch.setattr(connections, "QUERY_SECONDS_MAX", 0.2)
    store: Any = create_store(await fresh_database())
    await store.check_servable()
    with pytest.raises(QueryTooExpensive):
        await store._reading.run(NOBODY, lambda connection: connection.fetchval("SELECT count(*) FROM pg_sleep(5)"))
    assert len(store._reading._idle) == 1
    assert await store._writing.run(NOBODY, lambda connection: connection.fetchval("SELECT 1 FROM pg_sleep(0.4)")) == 1
    await store.close()


async def test_wide_questions_leave_half_of_the_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a tenant, and half of the readers at most: the next is turned away at once, and a flat one is answered."""
    store: Any = create_store(await fresh_database())
    await store.check_servable()
    entered, going = asyncio.Semaphore(0), asyncio.Event()

    async def work(_connection: Any) -> None:
        entered.release()
        await going.wait()

    wide = [
        asyncio.create_task(store._reading.run(NOBODY, work, store._gate.admit(f"tenant-{number}")))
        for number in range(4)
    ]
    for _ in wide:
        await entered.acquire()
    question = Query(actor_ids=("a",), resource_types=("artifact",))
    for tenant in ("tenant-0", "another"):
        with pytest.raises(Throttled):
            await store.count_events(tenant, Query(correlation_ids=("x",)))
        with pytest.raises(Throttled):
            await page(store, tenant, actor_ids=question.actor_ids, resource_types=question.resource_types)
    assert (await page(store, "tenant-0")).total == 0
    going.set()
    await asyncio.gather(*wide)
    assert (await store.count_events("another", Query(correlation_ids=("x",)))).total == 0
    await store.close()


async def test_what_the_server_does_not_take_harms_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three requests in one append, the one that cannot be written is told so, and the others are stored."""
    store: Any = create_store(await fresh_database())
    bad = new(2, actor_id="a\x00b")  # the API lets no such text in
    first, second, third = await store.append(TENANT, [Write((new(1),)), Write((bad,)), Write((new(3),))])
    assert isinstance(second, Unavailable)
    assert [receipt.event.position for result in (first, third) for receipt in result] == [1, 2]
    assert await numbers(store) == [3, 1]
    await store.close()


async def test_a_pooler_needs_no_state_of_the_session() -> None:
    """With `?pooler=1` no statement is kept on a connection, and every one is served by another backend in turn."""
    url = await fresh_database()
    store: Any = create_store(f"{url}{'&' if '?' in url else '?'}pooler=1")
    await add(store, new(1), new(2))
    assert await numbers(store) == [2, 1]
    for pool in (store._reading, store._writing):
        (connection,) = pool._idle
        assert await connection.fetch("SELECT name FROM pg_prepared_statements WHERE name <> ''") == []
        assert (await connection.fetchval("SELECT current_user")) == await connection.fetchval("SELECT session_user")
        assert not await connection.fetchval("SELECT current_setting('whence.tenant_no', true)")
    await store.close()


def test_the_driver_is_told_nothing_of_ours() -> None:
    """`pooler` is taken out of the URL, which otherwise goes on as it is, with a host or without."""
    target = connections.Target("postgresql://a@b/c?pooler=1&sslmode=require&host=%2Frun")
    assert target.pooler
    assert target._dsn == "postgresql://a@b/c?sslmode=require&host=%2Frun"
    assert connections.Target("postgresql:///log?host=/run")._dsn == "postgresql:///log?host=%2Frun"
    assert not connections.Target("postgresql://a@b/c?pooler=0").pooler
