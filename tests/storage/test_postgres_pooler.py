"""A real PgBouncer in transaction mode between the store and the server.

`pgbouncer` must be on the PATH; without it these tests are skipped, and fail in CI.
"""

import asyncio
import contextlib
import os
import re
import shutil
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
from tests.ports import reserved_port
from tests.storage.proxy import proxied
from whence.errors import WhenceError
from whence.permissions import new_api_key
from whence.storage import create_store, head_notifier

pytestmark = pytest.mark.slow

BACKENDS = 2
CLIENTS = 6


class Pooled:
    """The URLs of one log: through the pooler, and direct to the server."""

    def __init__(self, url: str, direct: str) -> None:
        self.url = url
        self.direct = direct


@pytest.fixture
async def log() -> AsyncIterator[Pooled]:
    """An empty log behind a pooler that shares two backends among all clients."""
    program = shutil.which("pgbouncer")
    if program is None:
        missing("pgbouncer")
    # PgBouncer may run as another user, who cannot open the server's socket; so it connects through the proxy.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with reserved_port() as port:
            async with proxied(await fresh_database()) as proxy, _pooler(program, Path(folder), proxy.url, port) as url:
                yield Pooled(url, proxy.url)


@pytest.fixture
def pooled(log: Pooled) -> str:
    """The URL of an empty log, through the pooler."""
    return log.url


@contextlib.asynccontextmanager
async def _pooler(program: str, folder: Path, server: str, port: int) -> AsyncIterator[str]:
    place = server.rpartition("@")[2]
    (host, server_port), database = place.partition("/")[0].split(":"), place.partition("/")[2]
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{database} = host={host} port={server_port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {BACKENDS}\nmin_pool_size = 0\n"
        # So that a client that relies on its prepared statements fails.
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
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", output)[:2])


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
    """Write and read with more clients than backends."""

    async def client(name: int) -> None:
        for number in range(name * 100, name * 100 + 10):
            await add(store, new(number), tenant=f"tenant-{name % 3}")
            assert number in await numbers(store, f"tenant-{name % 3}", limit=100)
            await page(store, f"tenant-{name % 3}", event_types=("action_run.completed",))

    await store.check_servable()
    _, key = new_api_key("tenant-0", ("events:read",), 1)
    await store.credentials.put_key(key)
    await asyncio.gather(*[client(name) for name in range(CLIENTS)])
    assert await store.credentials.find_key(key.hash) == key
    for tenant in range(3):
        assert (await page(store, f"tenant-{tenant}")).total == 20
    assert (await page(store, "another")).total == 0


async def test_a_store_works_through_a_pooler_in_transaction_mode(pooled: str) -> None:
    """Each transaction may get another backend: no event is missing, and no tenant sees another's events."""
    store = create_store(pooled + "?pooler=1")
    await _use(store)
    await store.close()


async def test_a_store_without_the_pooler_option_would_be_found(pooled: str) -> None:
    """The test above fails for a store that uses statements which another backend has prepared."""
    store = create_store(pooled)
    with pytest.raises((WhenceError, AssertionError)):
        await _use(store)
    await store.close()


async def _is_woken(log: Pooled, listen_url: str | None, patience_s: float = 5.0) -> bool:
    """Whether a task in one process is woken by an append in another; both go through the pooler."""
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


async def test_a_store_behind_a_pooler_polls(log: Pooled) -> None:
    """A store does not listen through a pooler in transaction mode: its poll finds what another process appends."""
    assert await _is_woken(log, None)
    listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    assert await fetch(log.direct, listening) == [(0,)]


async def test_a_listen_url_bypasses_the_pooler(log: Pooled, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `listen_url` a waiting task is woken without a poll. Without either, it is not."""
    monkeypatch.setattr(head_notifier, "POLL_S", 3_600.0)
    assert await _is_woken(log, log.direct)
    assert not await _is_woken(log, None, 1.0)
