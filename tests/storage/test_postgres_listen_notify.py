"""Wake-ups between processes that serve the same database, also when connections break."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.contract.made import TENANT, add, new
from tests.databases import execute, fetch, fresh_database
from whence.storage import create_store, head_notifier
from whence.storage.postgres import listen_notify
from whence.storage.postgres.listen_notify import CHANNEL, NOTIFY_EVERY_S, ListenNotify

FOREVER_S = 3_600.0
PATIENCE_S = 5.0
"""A task that is not woken within this time counts as never woken. Mutants get `OUTCOME_S`."""

OUTCOME_S = 1.0

LISTENING = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'"

Patch = pytest.MonkeyPatch


class Two:
    """Two stores on one database, as two processes have them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.here: Any = create_store(url)
        self.there: Any = create_store(url)
        self._notifier = self.here._listen_notify._head_notifier
        self._is_connected = asyncio.Event()
        self._reading = 0
        self._notifier._read_size = self._counting(self._notifier._read_size)
        self._notifier.wake_all = self._noting(self._notifier.wake_all)

    def _counting(self, read: Callable[[str], Awaitable[int]]) -> Callable[[str], Awaitable[int]]:
        async def counting(tenant: str) -> int:
            self._reading += 1
            try:
                return await read(tenant)
            finally:
                self._reading -= 1

        return counting

    def _noting(self, wake_all: Callable[[], None]) -> Callable[[], None]:
        def noting() -> None:
            wake_all()
            self._is_connected.set()

        return noting

    def wait(self, position: int, tenant: str = TENANT) -> "asyncio.Task[bool]":
        """Wait in one process, without a deadline."""
        return asyncio.create_task(self.here.changed(tenant, position, FOREVER_S))

    async def listening(self, count: int = 1) -> None:
        """Return once `count` connections listen. If `here` is one of them, its first reads are over too, so that
        nothing but a wake-up tells it of growth."""
        await _until(lambda: self.listeners(count))
        if self.here._listen_notify._listening is not None:
            await asyncio.wait_for(self._is_connected.wait(), 20)
            await _until(self._has_read)

    async def _has_read(self) -> bool:
        return not self._reading and not any(each.due.is_set() for each in self._notifier._watches.values())

    async def listeners(self, count: int) -> bool:
        return await fetch(self.url, f"SELECT count(*) {LISTENING}") == [(count,)]

    async def kill_listeners(self) -> None:
        """Terminate the listening connections, as a network or server failure does."""
        self._is_connected.clear()
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
    """Whether the waiting task returns True within `patience_s`."""
    done, _ = await asyncio.wait({task}, timeout=patience_s)
    task.cancel()
    return bool(done) and task.result()


async def _never(*_: Any) -> None:
    return None


async def test_an_append_in_one_process_wakes_tasks_in_another(two: Two, monkeypatch: Patch) -> None:
    """Each of four appends wakes without a poll, and so does the first append of a new tenant."""
    monkeypatch.setattr(head_notifier, "POLL_S", FOREVER_S)
    for number in range(2, 6):
        task = two.wait(number - 1)
        await two.listening()
        await add(two.there, new(number))
        assert await _is_woken(task)
    unmade = two.wait(0, "unmade")
    await asyncio.sleep(0.1)
    await add(two.there, new(1), tenant="unmade")
    assert await _is_woken(unmade)


async def test_a_process_that_sends_no_notify_would_be_found(two: Two, monkeypatch: Patch) -> None:
    """Without NOTIFY the test above fails: no task is woken."""
    monkeypatch.setattr(head_notifier, "POLL_S", FOREVER_S)
    monkeypatch.setattr(ListenNotify, "_send", _never)
    task = two.wait(1)
    await two.listening()
    await add(two.there, new(2))
    assert not await _is_woken(task, OUTCOME_S)


WAITING = """
import asyncio, sys
from tests.contract.made import TENANT
from whence.storage import head_notifier, create_store

head_notifier.POLL_S = 3600.0

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
    """A process that only waits follows four appends of this one without a poll."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", WAITING, two.url, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    await two.listening()
    for number in range(2, 6):
        await add(two.there, new(number))
        async with asyncio.timeout(PATIENCE_S):
            assert await child.stdout.readline() == b"%d\n" % number
    assert await child.wait() == 0


async def _lose_the_listener(two: Two, patch: Patch) -> "asyncio.Task[bool]":
    """A task that waits in a process which has lost its listening connection, after the log has grown."""
    patch.setattr(listen_notify, "_RECONNECT_AFTER_S", FOREVER_S)
    task = two.wait(1)
    await two.listening()
    await two.kill_listeners()
    await _until(lambda: two.listeners(0))
    await asyncio.sleep(0.2)
    await add(two.there, new(2))
    return task


async def test_a_process_that_cannot_listen_polls(two: Two, monkeypatch: Patch) -> None:
    """The listening connection is terminated and not replaced: the poll finds the growth."""
    monkeypatch.setattr(head_notifier, "POLL_S", 0.3)
    assert await _is_woken(await _lose_the_listener(two, monkeypatch))


async def test_a_process_that_never_polls_would_be_found(two: Two, monkeypatch: Patch) -> None:
    """Without a poll the test above fails: a NOTIFY to a dead connection is lost."""
    monkeypatch.setattr(head_notifier, "POLL_S", FOREVER_S)
    assert not await _is_woken(await _lose_the_listener(two, monkeypatch), OUTCOME_S)


async def test_wakeups_resume_after_a_terminated_connection(two: Two, monkeypatch: Patch) -> None:
    """The process reconnects, reads the heads once for what it missed, and then receives NOTIFYs again."""
    monkeypatch.setattr(head_notifier, "POLL_S", FOREVER_S)
    monkeypatch.setattr(listen_notify, "_RECONNECT_AFTER_S", 0.5)
    task = two.wait(1)
    await two.listening()
    await two.kill_listeners()
    await add(two.there, new(2))
    assert await _is_woken(task)
    task = two.wait(2)
    await two.listening()
    await add(two.there, new(3))
    assert await _is_woken(task)


async def test_nothing_listens_before_a_task_waits(two: Two) -> None:
    """A process opens its listening connection on the first wait, and keeps no state of tasks that are done."""
    await add(two.here, new(2))
    assert await two.listeners(0)
    assert await two.here.changed(TENANT, 1, FOREVER_S)
    assert not await two.here.changed("nobody", 0, 0)
    await two.listening()
    assert two.here._listen_notify._numbers == {}
    assert two.here._listen_notify._head_notifier._watches == {}
    assert two.here._listen_notify._grown == set()


class Listener:
    """The payloads of all NOTIFYs, and the tenant numbers in them."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.payloads: list[str] = []
        self.numbers: set[str] = set()

    def on_notify(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        self.payloads.append(payload)
        self.numbers.update(payload.split())


@pytest.fixture
async def listener(two: Two) -> AsyncIterator[Listener]:
    """A listener that belongs to the test."""
    connection = await asyncpg.connect(two.url)
    made = Listener(connection)
    await connection.add_listener(CHANNEL, made.on_notify)
    yield made
    await connection.close()


APPENDS = 1_000


async def _burst(two: Two, listener: Listener) -> int:
    """Append a thousand events to three tenants. Returns how many NOTIFYs are allowed in the time it took."""
    begun = time.monotonic()

    async def writer(first: int) -> None:
        for number in range(first, first + APPENDS // 4):
            await add(two.there, new(number), tenant=f"tenant-{number % 3}")

    await asyncio.gather(*[writer(first * 10_000) for first in range(1, 5)])
    await two.there.close()  # sends what is pending
    spent = time.monotonic() - begun
    await listener.connection.execute("SELECT 1")
    return int(spent / NOTIFY_EVERY_S) + 2


@pytest.mark.slow
async def test_a_burst_makes_few_notifys(two: Two, listener: Listener) -> None:
    """A thousand appends make at most one NOTIFY in 50 ms. Each names tenants by number, and no tenant is left out."""
    allowed = await _burst(two, listener)
    print(f"{APPENDS} appends, {len(listener.payloads)} NOTIFYs, {allowed} allowed")
    assert 0 < len(listener.payloads) <= allowed
    tenants = await fetch(two.url, "SELECT tenant_no::text FROM whence.tenant")
    assert {(number,) for number in listener.numbers} <= set(tenants)
    assert len(listener.numbers) >= 3


@pytest.mark.slow
async def test_a_notify_per_append_would_be_found(two: Two, listener: Listener, monkeypatch: Patch) -> None:
    """The test above fails for a process that does not pause between two NOTIFYs."""
    monkeypatch.setattr(listen_notify, "NOTIFY_EVERY_S", 0)
    allowed = await _burst(two, listener)
    assert len(listener.payloads) > allowed


async def test_more_tenants_than_fit_become_all(two: Two, listener: Listener, monkeypatch: Patch) -> None:
    """The numbers in a full NOTIFY fit into 8,000 bytes; with more tenants, one `*` wakes every waiting task."""
    assert listen_notify._TENANTS_MAX * len(f"{2**31 - 1} ") < 8_000
    monkeypatch.setattr(head_notifier, "POLL_S", FOREVER_S)
    monkeypatch.setattr(listen_notify, "_TENANTS_MAX", 3)
    tasks = [two.wait(0, f"tenant-{number}") for number in range(12)]
    await two.listening(2)
    await asyncio.gather(*[add(two.there, new(1), tenant=f"tenant-{number}") for number in range(12)])
    assert [await _is_woken(task) for task in tasks] == [True] * 12
    await two.there.close()
    await listener.connection.execute("SELECT 1")
    assert "*" in listener.payloads
    assert max(len(payload.split()) for payload in listener.payloads) <= 3
