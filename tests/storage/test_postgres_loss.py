"""The PostgreSQL server disappears, stops answering or terminates connections, and then comes back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.contract.faults import by_statements
from tests.contract.made import TENANT, VIEWER, add, new, numbers, page
from tests.databases import execute, fetch, fresh_database
from tests.storage.proxy import Proxy, proxied
from whence.errors import QueryTooExpensive, Unavailable
from whence.events import Query, Viewer
from whence.fairness import FairQueue
from whence.storage import Write, create_store
from whence.storage.postgres import connections, engine
from whence.storage.postgres.connections import ConnectionPool
from whence.storage.postgres.tenants import NO_TENANT
from whence.storage.query_deadline import Deadline

pytestmark = pytest.mark.slow

FAILS_WITHIN_S = 2.0
"""Within this time a request fails with Unavailable."""

BACK_WITHIN_S = 5.0
"""Within this time the store serves again by itself."""


@pytest.fixture(autouse=True)
def patience() -> None:
    """Stores wait as long as they do elsewhere."""


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


async def assert_unavailable(ask: Callable[[], Awaitable[Any]]) -> None:
    """Assert that the request fails with Unavailable in time."""
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await ask()
    assert time.monotonic() - started < FAILS_WITHIN_S


async def appended(store: Any, *events: Any) -> None:
    await add(store, *events)


async def append_until_stored(store: Any, first: int) -> int:
    """Append the same event until that succeeds. Returns the number of events in the log."""
    until = time.monotonic() + BACK_WITHIN_S
    while True:
        try:
            await add(store, new(first))
            return int((await page(store)).total)
        except Unavailable:
            assert time.monotonic() < until, "it did not come back by itself"
            await asyncio.sleep(0.05)


async def assert_all_unavailable(store: Any) -> None:
    """Assert that every kind of request fails with Unavailable in time, one by one and many at once."""
    for ask in (
        lambda: appended(store, new(50)),
        lambda: page(store),
        lambda: store.count_events(VIEWER, Query()),
        lambda: store.credentials.find_key(bytes(32)),
        store.check,
    ):
        await assert_unavailable(ask)
    await asyncio.gather(
        *[assert_unavailable(lambda number=number: appended(store, new(number))) for number in range(60, 100)]
    )


async def test_requests_to_a_lost_server_fail_until_it_is_back(store: Any, proxy: Proxy) -> None:
    """Connections are cut and new ones refused: requests fail at once. When the server is back, the store serves."""
    await add(store, new(1))
    assert (await page(store)).total == 1
    proxy.lose()
    await assert_all_unavailable(store)
    proxy.mend()
    assert await append_until_stored(store, 2) == 2


async def test_requests_to_a_stalled_server_fail_until_it_is_back(store: Any, proxy: Proxy) -> None:
    """No bytes pass and no connection breaks: requests fail in time all the same."""
    await add(store, new(1))
    assert (await page(store)).total == 1
    proxy.stall()
    await assert_all_unavailable(store)
    proxy.mend()
    assert await append_until_stored(store, 2) == 2


async def _stalled_at_work(store: Any, proxy: Proxy) -> None:
    """The server stops answering in the middle of a transaction."""

    async def work(connection: Any) -> None:
        proxy.stall()
        await connection.execute("SELECT 1")

    await store.check_servable()
    await assert_unavailable(lambda: store._writing.run(NO_TENANT, work))


async def test_a_transaction_on_a_stalled_server_fails(store: Any, proxy: Proxy) -> None:
    """A transaction that has begun fails as soon as one that has not."""
    await _stalled_at_work(store, proxy)
    proxy.mend()
    assert await append_until_stored(store, 1) == 1


async def test_without_the_probe_it_would_wait(store: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above fails for a store that takes every silent server for a busy one."""

    async def always(_self: Any) -> bool:
        return True

    monkeypatch.setattr(ConnectionPool, "_server_answers", always)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(FAILS_WITHIN_S):
            await _stalled_at_work(store, proxy)


async def test_a_slow_statement_is_not_taken_for_a_stalled_server(store: Any) -> None:
    """A statement runs longer than several probes take, which the server answers."""
    await store.check_servable()
    wait = connections._WATCHDOG_INTERVAL_S * 3
    assert await store._writing.run(NO_TENANT, lambda c: c.fetchval(f"SELECT 7 FROM pg_sleep({wait})")) == 7


async def _left_open(patch: pytest.MonkeyPatch) -> bool:
    """Whether the connection of a finished query is still open after the longest time a query may run."""
    patch.setattr(connections, "_WATCHDOG_INTERVAL_S", 0.01)
    patch.setattr(connections, "QUERY_SECONDS_MAX", 0.05)
    store: Any = create_store(await fresh_database())
    await store.check_servable()
    await store._reading.run(NO_TENANT, lambda connection: connection.fetchval("SELECT 1 FROM pg_sleep(0.02)"))
    await asyncio.sleep(0.3)
    (idle,) = store._reading._idle
    still = not idle.is_closed()
    await store.close()
    return still


async def test_the_watchdog_stops_with_its_transaction(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog that does not stop terminates the connection of the next transaction."""
    assert await _left_open(monkeypatch)
    monkeypatch.setattr(connections._Watchdog, "stop", lambda _self: None)
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


async def test_connections_that_were_terminated_while_idle_are_replaced() -> None:
    """The next request is answered on a new connection."""
    url = await fresh_database()
    store = create_store(url)
    await _killed_while_idle(store, url)
    await store.close()


async def test_a_store_that_keeps_broken_connections_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above fails for a store that gives up at the first broken connection."""

    async def begun(self: Any, messages: Any, _deadline: Any, **_how: Any) -> Any:
        connection = self._idle.pop() if self._idle else await self._target.connect()
        try:
            for message in messages:
                await connection.execute(message)
        except Exception as error:
            raise self._translate(error) from error
        return connection

    monkeypatch.setattr(ConnectionPool, "_acquire", begun)
    url = await fresh_database()
    store = create_store(url)
    with pytest.raises(Unavailable):
        await _killed_while_idle(store, url)
    await store.close()


async def test_writers_whose_backends_are_terminated_lose_nothing_and_leave_no_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under five writers, every acknowledged event is there once, and positions are 1..n."""
    met: list[Exception] = []
    translate = ConnectionPool._translate

    def noting(pool: ConnectionPool, error: Exception) -> Exception:
        met.append(error)
        return translate(pool, error)

    monkeypatch.setattr(ConnectionPool, "_translate", noting)
    url = await fresh_database()
    store: Any = create_store(url, unsafe_durability=True)
    stop = asyncio.Event()
    acknowledged: set[int] = set()

    async def write(writer: int) -> None:
        for number in range(writer * 1_000, writer * 1_000 + 40):
            while True:
                try:
                    await add(store, new(number))
                except Unavailable:
                    await asyncio.sleep(0.01)
                else:
                    acknowledged.add(number)
                    break

    async def kill() -> None:
        killed_at = 0
        while not stop.is_set():
            await asyncio.sleep(0.005)
            if len(acknowledged) >= killed_at + 20:  # by progress, so that a slow machine still makes some
                killed_at = len(acknowledged)
                await _kill_all(url)

    killer = asyncio.create_task(kill())
    await asyncio.gather(*[write(writer) for writer in range(1, 6)])
    stop.set()
    await killer
    assert met, "no kill met a writer"
    assert len(acknowledged) == 200
    found = await numbers(store, limit=1_000)
    assert sorted(found) == sorted(acknowledged)
    positions = [row[0] for row in await fetch(url, "SELECT position FROM whence.event ORDER BY position")]
    assert positions == list(range(1, 201))
    await store.close()


async def _cut_at_commit(store: Any, proxy: Proxy) -> None:
    await add(store, new(1))
    await asyncio.wait({store._listen_notify._sending})  # so that the COMMIT below is the append's
    proxy.cut_at = b"COMMIT\0"  # the whole message, since BEGIN contains READ COMMITTED
    await assert_unavailable(lambda: appended(store, new(2), new(3)))
    proxy.mend()
    assert proxy.cuts == 1
    (result,) = await store.append(TENANT, [Write((new(2), new(3), new(4)))])
    assert [receipt.replayed for receipt in result] == [True, True, False]
    assert sorted(await numbers(store)) == [1, 2, 3, 4]


async def test_events_whose_acknowledgement_was_lost_are_replays(
    store: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server commits but its answer is cut off: the append fails, and when sent again it is a replay."""
    by_statements(monkeypatch)
    await _cut_at_commit(store, proxy)


async def test_a_call_whose_answer_was_lost_is_answered_from_the_log(store: Any, proxy: Proxy) -> None:
    """The function stores an event and its answer is cut off. The append then finds the event, and stores it once."""
    await add(store, new(1))
    await add(store, new(2))  # reads the kinds, so that the next one goes by the function
    await asyncio.wait({store._listen_notify._sending})
    proxy.cut_at = b"a payload that is cut"
    [receipt] = await add(store, new(3, payload=b'{"a":"a payload that is cut"}'))
    proxy.cut_at = None
    assert proxy.cuts == 1
    assert receipt.replayed
    assert receipt.event is not None
    assert receipt.event.position == 3
    assert await numbers(store) == [3, 2, 1]


async def test_a_store_that_finds_no_repeats_would_be_found(
    store: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails for a store that does not look up stored ids."""
    from whence.storage.postgres import append  # noqa: PLC0415  (only this test breaks it)

    by_statements(monkeypatch)
    blind = append._SQL["stored_ids"].replace("ANY($2::uuid[])", "ANY($2::uuid[]) AND false")
    monkeypatch.setattr(append, "_SQL", {**append._SQL, "stored_ids": blind})
    with pytest.raises((AssertionError, TypeError)):
        await _cut_at_commit(store, proxy)


async def test_losses_leave_nothing_behind(store: Any, proxy: Proxy) -> None:
    """After hundreds of failures no task is left over, and no pool holds more connections than its limit."""
    await add(store, new(1))
    await page(store)
    before = len(asyncio.all_tasks())
    for _ in range(5):
        proxy.lose()
        await asyncio.gather(*[assert_unavailable(lambda: page(store)) for _ in range(40)])
        proxy.mend()
        await append_until_stored(store, 1)
    proxy.stall()
    await asyncio.gather(*[assert_unavailable(lambda: page(store)) for _ in range(40)])
    proxy.mend()
    await append_until_stored(store, 1)
    until = time.monotonic() + BACK_WITHIN_S
    while len(asyncio.all_tasks()) > before + 4 * len(store._reading._idle):  # the proxy runs two for each connection
        assert time.monotonic() < until, "tasks are left"
        await asyncio.sleep(0.05)
    assert not store._reading._running
    assert not store._writing._running
    assert len(store._reading._idle) <= 8
    assert len(store._writing._idle) <= 4


async def test_a_query_that_runs_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server cancels it, and the connection is used again. A write has no such limit."""
    monkeypatch.setattr(connections, "QUERY_SECONDS_MAX", 0.2)
    store: Any = create_store(await fresh_database())
    await store.check_servable()
    with pytest.raises(QueryTooExpensive):
        await store._reading.run(NO_TENANT, lambda connection: connection.fetchval("SELECT count(*) FROM pg_sleep(5)"))
    assert len(store._reading._idle) == 1
    assert (
        await store._writing.run(NO_TENANT, lambda connection: connection.fetchval("SELECT 1 FROM pg_sleep(0.4)")) == 1
    )
    await store.close()


async def test_unbounded_queries_leave_half_of_the_readers() -> None:
    """At most half of the readers work on them: the next waits for its turn, and an indexed query is answered."""
    store: Any = create_store(await fresh_database())
    await store.check_servable()
    entered, going = asyncio.Semaphore(0), asyncio.Event()

    async def work(_connection: Any) -> None:
        entered.release()
        await going.wait()

    unbounded = [
        asyncio.create_task(store._reading.run(NO_TENANT, work, tenant=f"tenant-{number}", unbounded=True))
        for number in range(4)
    ]
    for _ in unbounded:
        await entered.acquire()
    filters = {"actor_ids": ("a",), "resource_types": ("artifact",)}
    for tenant in ("tenant-0", "another"):
        unbounded.append(asyncio.create_task(store.count_events(Viewer(tenant), Query(correlation_ids=("x",)))))
        unbounded.append(asyncio.create_task(page(store, tenant, **filters)))
    assert (await page(store, "tenant-0")).total == 0
    assert not any(task.done() for task in unbounded)
    going.set()
    assert [found.total for found in (await asyncio.gather(*unbounded))[4:]] == [0] * 4
    await store.close()


def first_come_first_served(self: FairQueue, tenant: str) -> bool:
    """Mutant: one tenant may hold every place."""
    return self._free > 0


async def test_one_tenant_does_not_hold_every_connection() -> None:
    """Half of them stay free for others, whatever it reads."""
    store: Any = create_store(await fresh_database())
    await store.check_servable()
    going = asyncio.Event()
    held = [
        asyncio.create_task(store._reading.run(NO_TENANT, lambda _: going.wait(), tenant="greedy")) for _ in range(20)
    ]
    try:
        await asyncio.sleep(0.3)
        assert store._reading._places._held["greedy"] == 4
        assert (await page(store, "another")).total == 0
    finally:
        going.set()
        await asyncio.gather(*held)
        await store.close()


async def test_mutant_without_shares_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FairQueue, "_may_enter", first_come_first_served)
    with pytest.raises(AssertionError):
        await test_one_tenant_does_not_hold_every_connection()


async def work_to_the_end(self: ConnectionPool, tenant_no: int, work: Any, *, tenant: str = "", **_: Any) -> Any:
    """Mutant: a query runs to its end when its caller is cancelled."""
    statements = connections.begin_statements(
        tenant_no, writing=self._writing, on_citus=False, role=connections.APP_ROLE
    )
    task = asyncio.create_task(self._run(statements, work, tenant, Deadline(), unbounded=False, alone=False))
    self._running.add(task)
    task.add_done_callback(self._discard)
    return await asyncio.shield(task)


async def test_mutant_that_works_for_clients_that_left_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConnectionPool, "run", work_to_the_end)
    with pytest.raises(AssertionError):
        await test_a_query_that_nobody_waits_for_is_stopped()


async def test_a_query_that_nobody_waits_for_is_stopped() -> None:
    """On the server too. Its place is free again, other connections are kept, and the next query is answered."""
    url = await fresh_database()
    store: Any = create_store(url)
    await add(store, new(1))
    await page(store)

    async def sleep(connection: Any, _tenant: Any) -> None:
        await connection.fetchval("SELECT count(*) FROM pg_sleep(4)")

    asked = [asyncio.create_task(store._read_as(TENANT, sleep)) for _ in range(20)]
    await asyncio.sleep(0.5)
    for task in asked:
        task.cancel()
    for _ in range(100):
        await asyncio.sleep(0.02)
        if not store._reading._running:
            break
    assert not store._reading._running
    sleeping = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE state = 'active' AND query LIKE '%pg_sleep(4)%' AND pid <> pg_backend_pid()"
    )
    assert await fetch(url, sleeping) == [(0,)]
    assert (await page(store)).total == 1
    assert len(store._reading._idle) == 4
    await store.close()


async def _lost_at_work(store: Any, proxy: Proxy, pool: ConnectionPool) -> str:
    """The sentence of a request whose connection is lost in the middle of its transaction."""

    async def work(connection: Any) -> None:
        proxy.lose()
        await connection.execute("SELECT 1")

    with pytest.raises(Unavailable) as lost:
        await pool.run(NO_TENANT, work)
    return str(lost.value)


async def test_only_a_write_says_that_something_may_be_stored(store: Any, proxy: Proxy) -> None:
    """A read that fails has stored nothing."""
    await store.check_servable()
    assert "may be stored" in await _lost_at_work(store, proxy, store._writing)
    proxy.mend()
    sentence = await _lost_at_work(store, proxy, store._reading)
    assert "cannot be reached" in sentence
    assert "stored" not in sentence


class Aborting:
    """Work that the server aborts with this SQLSTATE, a number of times."""

    def __init__(self, times: int, state: str = "XX000") -> None:
        self.left, self.state, self.attempts = times, state, 0

    async def __call__(self, connection: Any, *_given: Any) -> int:
        self.attempts += 1
        if self.attempts <= self.left:
            await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'moving' USING ERRCODE = '{self.state}'; END $$")
        return int(await connection.fetchval("SELECT 7"))


@pytest.mark.parametrize("way", ["_read", "_write", "_read_as", "_grow"])
async def test_a_transaction_that_was_aborted_before_its_commit_is_repeated(way: str) -> None:
    """Citus aborts what meets a shard that moves. Nothing of it is stored, so it is done again, at most twice."""
    store: Any = create_store(await fresh_database())
    tenant = ("acme",) if way in ("_read_as", "_grow") else ()
    work = Aborting(2)
    assert await getattr(store, way)(*tenant, work) == 7
    assert work.attempts == 3
    work = Aborting(9)
    with pytest.raises(Unavailable, match="again"):
        await getattr(store, way)(*tenant, work)
    assert work.attempts == 3
    await store.close()


@pytest.mark.parametrize("state", ["XX001", "XX002", "22012", "53100"])
async def test_other_errors_are_not_repeated(state: str) -> None:
    """Damaged data, wrong values and a full disk stay as they are."""
    store: Any = create_store(await fresh_database())
    work = Aborting(1, state)
    with pytest.raises(Unavailable):
        await store._grow("acme", work)
    assert work.attempts == 1
    await store.close()


async def test_an_append_that_fails_at_its_commit_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """After COMMIT was sent, it is not known whether the events are stored."""
    url = await fresh_database()
    store: Any = create_store(url)
    await add(store, new(1))
    await execute(
        url,
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'moving' USING ERRCODE = 'XX000'; END $$",
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON whence.event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        "EXECUTE FUNCTION fail()",
    )
    real, attempts = engine.append, 0

    async def counted(*given: Any, **named: Any) -> Any:
        nonlocal attempts
        attempts += 1
        return await real(*given, **named)

    monkeypatch.setattr(engine, "append", counted)
    (error,) = await store.append(TENANT, [Write((new(2),))])
    assert isinstance(error, Unavailable)
    assert "same id" in str(error)
    assert attempts == 1
    await store.close()


STAND_IN = """
CREATE FUNCTION pg_catalog.run_command_on_workers(text, OUT nodename text, OUT nodeport int, OUT success boolean,
                                                  OUT result text)
RETURNS SETOF record LANGUAGE sql AS $$ {} $$
"""
"""In place of the function of Citus, in a database without it."""


@pytest.mark.parametrize(
    ("workers", "sentence"),
    [
        ("VALUES ('a', 1, true, 'off'), ('b', 2, true, 'off')", None),
        ("VALUES ('a', 1, true, 'off'), ('b', 2, false, 'failed to connect to b:2')", "cannot be reached"),
        ("VALUES ('a', 1, true, 'on')", "takes no writes"),
        ("SELECT 'a', 1, true, 'off' FROM pg_sleep(9)", "does not answer"),
    ],
)
async def test_a_store_on_citus_is_ready_when_every_worker_is(workers: str, sentence: str | None) -> None:
    """A worker that is down, that is a standby, or that answers nothing makes the check fail in time. The sentence does
    not name it, since everybody may ask."""
    url = await fresh_database()
    await execute(url, STAND_IN.format(workers))
    store: Any = create_store(url)
    await store.check_servable()
    await store.check()
    store._target.on_citus = True
    started = time.monotonic()
    if sentence is None:
        await store.check()
    else:
        with pytest.raises(Unavailable, match=sentence) as refused:
            await store.check()
        assert "b:2" not in str(refused.value)
    assert time.monotonic() - started < FAILS_WITHIN_S
    assert (await page(store)).total == 0
    await store.close()


async def test_a_value_that_the_server_refuses_fails_only_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three requests in one append, the one that cannot be written fails, and the others are stored."""
    store: Any = create_store(await fresh_database())
    bad = new(2, actor_id="a\x00b")  # the API refuses such a text
    first, second, third = await store.append(TENANT, [Write((new(1),)), Write((bad,)), Write((new(3),))])
    assert isinstance(second, Unavailable)
    assert [receipt.event.position for result in (first, third) for receipt in result] == [1, 2]
    assert await numbers(store) == [3, 1]
    await store.close()


async def test_a_pooler_needs_no_state_of_the_session() -> None:
    """With `?pooler=1` no prepared statement, role or tenant is left on a connection after its transaction."""
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


def test_our_option_is_not_passed_to_the_driver() -> None:
    """`pooler` is removed from the URL; everything else is passed on, with a host or without."""
    target = connections.Target("postgresql://a@b/c?pooler=1&sslmode=require&host=%2Frun")
    assert target.pooler
    assert target._dsn == "postgresql://a@b/c?sslmode=require&host=%2Frun"
    assert connections.Target("postgresql:///log?host=/run")._dsn == "postgresql:///log?host=%2Frun"
    assert not connections.Target("postgresql://a@b/c?pooler=0").pooler
