"""A real PgBouncer in transaction mode between the store and the server.

It is a program of the system, `pgbouncer` on the PATH; without it the tests are skipped by name, and fail in CI.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.tools import missing
from tests.contract.made import add, new, numbers, page
from tests.databases import fetch, fresh_database
from tests.storage.proxy import proxied
from whence.errors import WhenceError
from whence.permissions import new_api_key
from whence.storage import create_store
from whence.storage import waiting as waiting_for_logs

BACKENDS = 2
CLIENTS = 6


class Pooled:
    """The URLs of one log: behind the pooler, and past it."""

    def __init__(self, url: str, direct: str) -> None:
        self.url = url
        self.direct = direct


@pytest.fixture
async def log() -> AsyncIterator[Pooled]:
    """An empty log behind a pooler that shares two backends among all clients."""
    program = shutil.which("pgbouncer")
    if program is None:
        missing("pgbouncer")
    # The server may listen on a socket that others may not open.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        async with proxied(await fresh_database()) as proxy, _pooler(program, Path(folder), proxy.url) as url:
            yield Pooled(url, proxy.url)


@pytest.fixture
def pooled(log: Pooled) -> str:
    """The URL of an empty log behind the pooler."""
    return log.url


@contextlib.asynccontextmanager
async def _pooler(program: str, folder: Path, server: str) -> AsyncIterator[str]:
    port = _free_port()
    place = server.rpartition("@")[2]
    (host, server_port), database = place.partition("/")[0].split(":"), place.partition("/")[2]
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{database} = host={host} port={server_port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {BACKENDS}\nmin_pool_size = 0\n"
        # So that a client that relies on what it prepared before is found out.
        + ("max_prepared_statements = 0\n" if _version(program) >= (1, 21) else "")
    )
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(  # noqa: ASYNC220  (it returns at once)
            [program, str(config)], stdout=log, stderr=log, user="nobody" if os.geteuid() == 0 else None
        )
    try:
        await _listening(port)
        yield f"postgresql://postgres@127.0.0.1:{port}/{database}"
    finally:
        running.terminate()
        await asyncio.to_thread(running.wait)


def _version(program: str) -> tuple[int, ...]:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", told)[:2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _listening(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert time.monotonic() < until, "the pooler did not start"
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def _use(store: Any) -> None:
    """Write and read with more clients than there are backends."""

    async def client(name: int) -> None:
        for number in range(name * 100, name * 100 + 10):
            await add(store, new(number), tenant=f"tenant-{name % 3}")
            assert number in await numbers(store, f"tenant-{name % 3}", limit=100)
            await page(store, f"tenant-{name % 3}", event_types=("action_run.completed",))

    await store.check_servable()
    _, key = new_api_key("tenant-0", ("events:read",), 1)
    await store.put_key(key)
    await asyncio.gather(*[client(name) for name in range(CLIENTS)])
    assert await store.find_key(key.hash) == key
    for tenant in range(3):
        assert (await page(store, f"tenant-{tenant}")).total == 20
    assert (await page(store, "another")).total == 0


async def test_a_pooler_in_transaction_mode_may_stand_between(pooled: str) -> None:
    """Each transaction may meet another backend: nothing is missed, and no tenant sees another's events."""
    store = create_store(pooled + "?pooler=1")
    await _use(store)
    await store.close()


async def test_a_store_that_is_not_told_of_the_pooler_is_seen(pooled: str) -> None:
    """The test above sees a store that relies on statements which another backend has prepared."""
    store = create_store(pooled)
    with pytest.raises((WhenceError, AssertionError)):
        await _use(store)
    await store.close()


async def _is_woken(log: Pooled, listen_url: str | None, patience_s: float = 5.0) -> bool:
    """Whether who waits in one process is told what another one appends; both are behind the pooler."""
    here, there = create_store(log.url, pooler=True, listen_url=listen_url), create_store(log.url, pooler=True)
    tenant = "polled" if listen_url is None else "heard"
    await add(there, new(1), tenant=tenant)
    waiting = asyncio.create_task(here.changed(tenant, 1, 3_600.0))
    await asyncio.sleep(0.5)
    await add(there, new(2), tenant=tenant)
    done, _ = await asyncio.wait({waiting}, timeout=patience_s)
    waiting.cancel()
    await here.close()
    await there.close()
    return bool(done) and waiting.result()


async def test_behind_a_pooler_logs_are_looked_at(log: Pooled) -> None:
    """Nobody listens where a pooler would hand the connection on: the poll finds what another process appends."""
    assert await _is_woken(log, None)
    listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    assert await fetch(log.direct, listening) == [(0,)]


async def test_past_the_pooler_wakeups_are_heard(log: Pooled, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a URL to listen at, who waits is woken before any poll; without one, and without a poll, nobody is."""
    monkeypatch.setattr(waiting_for_logs, "POLL_S", 3_600.0)
    assert await _is_woken(log, log.direct)
    assert not await _is_woken(log, None, 1.0)
