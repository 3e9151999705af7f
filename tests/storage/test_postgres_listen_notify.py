"""Wake-ups between the processes that serve one database, and what becomes of them when connections break."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.contract.made import TENANT, add, new
from tests.databases import execute, fetch, fresh_database
from whence.storage import create_store, waiting
from whence.storage.postgres import listen_notify
from whence.storage.postgres.listen_notify import CHANNEL, NOTIFY_EVERY_S, ListenNotify

FOREVER_S = 3_600.0
PATIENCE_S = 5.0
"""Whoever is not woken for so long is not woken at all; mutants are given less."""

OUTCOME_S = 1.0

LISTENING = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'"

Patch = pytest.MonkeyPatch


class Two:
    """Two stores on one database, as two processes would have them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.here: Any = create_store(url)
        self.there: Any = create_store(url)

    def wait(self, position: int, tenant: str = TENANT) -> "asyncio.Task[bool]":
        """Wait in one process, for however long."""
        return asyncio.create_task(self.here.changed(tenant, position, FOREVER_S))

    async def listening(self, count: int = 1) -> None:
        """Return once so many connections listen, and what they began with is over."""
        await _until(lambda: self.listeners(count))
        await asyncio.sleep(0.1)

    async def listeners(self, count: int) -> bool:
        return await fetch(self.url, f"SELECT count(*) {LISTENING}") == [(count,)]

    async def kill_listeners(self) -> None:
        """End the connections that listen, as a fault of the network or the server would."""
        await execute(self.url, f"SELECT pg_terminate_backend(pid) {LISTENING}")


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    made = Two(await fresh_database())
    await add(made.there, new(1))
    yield made
    await made.here.close()
    await made.there.close()


async def _until(ready: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 20
    while not await ready():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def _is_woken(task: "asyncio.Task[bool]", patience_s: float = PATIENCE_S) -> bool:
    """Whether who waits is told of growth within the patience."""
    done, _ = await asyncio.wait({task}, timeout=patience_s)
    task.cancel()
    return bool(done) and task.result()


async def _never(*_: Any) -> None:
    return None


async def test_an_append_in_one_process_wakes_those_who_wait_in_another(two: Two, monkeypatch: Patch) -> None:
    """Well before any poll, again and again; also who waits for a tenant that is made only then."""
    monkeypatch.setattr(waiting, "POLL_S", FOREVER_S)
    for number in range(2, 6):
        task = two.wait(number - 1)
        await two.listening()
        await add(two.there, new(number))
        assert await _is_woken(task)
    unmade = two.wait(0, "unmade")
    await asyncio.sleep(0.1)
    await add(two.there, new(1), tenant="unmade")
    assert await _is_woken(unmade)


async def test_processes_that_tell_nobody_would_be_seen(two: Two, monkeypatch: Patch) -> None:
    """Without NOTIFY the test above fails: nobody is woken."""
    monkeypatch.setattr(waiting, "POLL_S", FOREVER_S)
    monkeypatch.setattr(ListenNotify, "_send", _never)
    task = two.wait(1)
    await two.listening()
    await add(two.there, new(2))
    assert not await _is_woken(task, OUTCOME_S)


WAITING = """
import asyncio, sys
from tests.contract.made import TENANT
from whence.storage import create_store, waiting

waiting.POLL_S = 3600.0

async def main():
    store = create_store(sys.argv[1])
    position = 1
    while position < 5:
        assert await store.changed(TENANT, position, 3600.0)
        position = (await store.head(TENANT)).size
        print(position, flush=True)
    await store.close()

asyncio.run(main())
"""


async def test_another_interpreter_is_woken(two: Two) -> None:
    """A process that only ever waits follows four appends of this one to the end, without a poll."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", WAITING, two.url, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    await two.listening()
    for number in range(2, 6):
        await add(two.there, new(number))
        async with asyncio.timeout(PATIENCE_S):
            assert await child.stdout.readline() == b"%d\n" % number
    assert await child.wait() == 0


async def _lose_the_listener(two: Two, patch: Patch) -> "asyncio.Task[bool]":
    """Someone who waits on a process that does not hear any more, and meanwhile the log has grown."""
    patch.setattr(listen_notify, "_AGAIN_S", FOREVER_S)
    task = two.wait(1)
    await two.listening()
    await two.kill_listeners()
    await _until(lambda: two.listeners(0))
    await asyncio.sleep(0.2)
    await add(two.there, new(2))
    return task


async def test_a_process_that_does_not_hear_looks_by_itself(two: Two, monkeypatch: Patch) -> None:
    """The connection that listens is killed, and no other is made: the poll finds the growth."""
    monkeypatch.setattr(waiting, "POLL_S", 0.3)
    assert await _is_woken(await _lose_the_listener(two, monkeypatch))


async def test_a_process_that_never_looks_would_be_seen(two: Two, monkeypatch: Patch) -> None:
    """Without a poll the test above fails: what was told to a dead connection is lost."""
    monkeypatch.setattr(waiting, "POLL_S", FOREVER_S)
    assert not await _is_woken(await _lose_the_listener(two, monkeypatch), OUTCOME_S)


async def test_wakeups_come_back_behind_a_killed_connection(two: Two, monkeypatch: Patch) -> None:
    """A new connection is made by itself. It begins with a look, for what was told meanwhile, and then hears again."""
    monkeypatch.setattr(waiting, "POLL_S", FOREVER_S)
    monkeypatch.setattr(listen_notify, "_AGAIN_S", 0.5)
    task = two.wait(1)
    await two.listening()
    await two.kill_listeners()
    await add(two.there, new(2))
    assert await _is_woken(task)
    task = two.wait(2)
    await two.listening()
    await add(two.there, new(3))
    assert await _is_woken(task)


async def test_nothing_listens_before_somebody_waits(two: Two) -> None:
    """A process has the connection once it is needed; afterwards it knows nobody who waited."""
    await add(two.here, new(2))
    assert await two.listeners(0)
    assert await two.here.changed(TENANT, 1, FOREVER_S)
    assert not await two.here.changed("nobody", 0, 0)
    await two.listening()
    assert two.here._listen_notify._numbers == {}
    assert two.here._listen_notify._head_notifier._head_notifier == {}
    assert two.here._listen_notify._grown == set()


class Hearing:
    """What every NOTIFY said, and when the first and the last of them came."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.payloads: list[str] = []
        self.numbers: set[str] = set()

    def hear(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        self.payloads.append(payload)
        self.numbers.update(payload.split())


@pytest.fixture
async def hearing(two: Two) -> AsyncIterator[Hearing]:
    """A listener of the test's own."""
    connection = await asyncpg.connect(two.url)
    made = Hearing(connection)
    await connection.add_listener(CHANNEL, made.hear)
    yield made
    await connection.close()


APPENDS = 1_000


async def _burst(two: Two, hearing: Hearing) -> int:
    """A thousand appends to three tenants; how many NOTIFYs there may be in the time that they took."""
    begun = time.monotonic()

    async def writer(first: int) -> None:
        for number in range(first, first + APPENDS // 4):
            await add(two.there, new(number), tenant=f"tenant-{number % 3}")

    await asyncio.gather(*[writer(first * 10_000) for first in range(1, 5)])
    await two.there.close()  # and with it what was still to be told
    spent = time.monotonic() - begun
    await hearing.connection.execute("SELECT 1")
    return int(spent / NOTIFY_EVERY_S) + 2


async def test_a_burst_is_told_in_few_words(two: Two, hearing: Hearing) -> None:
    """A thousand appends make at most one NOTIFY in 50 ms. Each names tenants by number, and none is left out."""
    allowed = await _burst(two, hearing)
    print(f"{APPENDS} appends, {len(hearing.payloads)} NOTIFYs, {allowed} allowed")
    assert 0 < len(hearing.payloads) <= allowed
    tenants = await fetch(two.url, "SELECT tenant_no::text FROM whence.tenant")
    assert {(number,) for number in hearing.numbers} <= set(tenants)
    assert len(hearing.numbers) >= 3


async def test_a_word_for_each_append_would_be_seen(two: Two, hearing: Hearing, monkeypatch: Patch) -> None:
    """The test above sees a process that does not wait between two NOTIFYs."""
    monkeypatch.setattr(listen_notify, "NOTIFY_EVERY_S", 0)
    allowed = await _burst(two, hearing)
    assert len(hearing.payloads) > allowed


async def test_more_tenants_than_fit_are_told_as_all(two: Two, hearing: Hearing, monkeypatch: Patch) -> None:
    """The names of a full NOTIFY fit into 8,000 bytes; beyond them stands a mark that wakes everybody."""
    assert listen_notify._TENANTS_MAX * len(f"{2**31 - 1} ") < 8_000
    monkeypatch.setattr(waiting, "POLL_S", FOREVER_S)
    monkeypatch.setattr(listen_notify, "_TENANTS_MAX", 3)
    tasks = [two.wait(0, f"tenant-{number}") for number in range(12)]
    await two.listening(2)
    await asyncio.gather(*[add(two.there, new(1), tenant=f"tenant-{number}") for number in range(12)])
    assert [await _is_woken(task) for task in tasks] == [True] * 12
    await two.there.close()
    await hearing.connection.execute("SELECT 1")
    assert "*" in hearing.payloads
    assert max(len(payload.split()) for payload in hearing.payloads) <= 3
