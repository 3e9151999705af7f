"""Many writers, in several processes, on one database: positions without gaps, in the order of their commits."""

import asyncio
import random
import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.contract.made import NOON, TENANT, add, new, numbers, page
from tests.databases import empty_database, execute, fetch, fresh_database
from whence.errors import Unavailable
from whence.events import Query
from whence.storage import open_store
from whence.storage.postgres import append, connections, tenants

SEED = secrets.randbits(32)
WRITERS = 6
EVENTS_A_WRITER = 150

Write = Callable[[int, list[int]], Awaitable[None]]
"""What a writer does: as writer so-and-so, store events with these numbers. Raises Unavailable for what failed."""

ReadAfter = Callable[[int], Awaitable[list[tuple[int, int]]]]
"""What a tail does: positions and numbers behind a position, in order."""


async def _tail(read_after: ReadAfter, done: asyncio.Event) -> list[tuple[int, int]]:
    """What a reader sees that asks again and again for what lies behind the last position it saw."""
    seen: list[tuple[int, int]] = []
    last = 0
    while True:
        at_the_end = done.is_set()
        found = await read_after(last)
        seen += found
        if found:
            last = found[-1][0]
        elif at_the_end:
            return seen
        await asyncio.sleep(0)


async def _race(write: Write, read_after: ReadAfter, tails: int = 2) -> tuple[set[int], list[list[tuple[int, int]]]]:
    """Let writers write in batches, of which some fail and are sent again, under the eyes of tails."""
    print(f"seed {SEED}")
    done = asyncio.Event()
    written: set[int] = set()

    async def writer(name: int) -> None:
        rng = random.Random(SEED + name)
        left = list(range(name * 10_000, name * 10_000 + EVENTS_A_WRITER))
        while left:
            batch = left[: rng.randint(1, 50)]
            try:
                await write(name, batch)
            except Unavailable:
                continue
            written.update(batch)
            del left[: len(batch)]

    watching = [asyncio.create_task(_tail(read_after, done)) for _ in range(tails)]
    await asyncio.gather(*[writer(name) for name in range(WRITERS)])
    done.set()
    return written, await asyncio.gather(*watching)


def _slow_and_unsure(patch: pytest.MonkeyPatch, rng: random.Random) -> None:
    """Some transactions wait between their last row and their commit, and some are rolled back there."""
    real = connections._committed

    async def committed(connection: Any, work: Any) -> Any:
        if await connection.fetchval("SHOW transaction_read_only") == "on":
            return await real(connection, work)

        async def slower(connection: Any) -> Any:
            result = await work(connection)
            drawn = rng.random()
            if drawn < 0.1:
                await asyncio.sleep(0.02)
            elif drawn < 0.15:
                raise Unavailable("rolled back by the test")
            return result

        return await real(connection, slower)

    patch.setattr(connections, "_committed", committed)


async def test_a_tail_never_skips_what_several_stores_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stores, as two processes would have them, and six writers: no gap, nothing skipped, nothing twice, no
    deadlock; while a transaction in another database stands idle."""
    url, elsewhere = await fresh_database(), await empty_database()
    idle = await asyncpg.connect(elsewhere)
    await idle.execute("BEGIN; SELECT txid_current()")
    stores: list[Any] = [open_store(url), open_store(url)]
    _slow_and_unsure(monkeypatch, random.Random(SEED))

    async def write(writer: int, batch: list[int]) -> None:
        await add(stores[writer % 2], *[new(number) for number in batch])

    async def read_after(last: int) -> list[tuple[int, int]]:
        async def work(connection: Any, _tenant: Any) -> list[tuple[int, int]]:
            rows = await connection.fetch("SELECT position, id FROM event WHERE position > $1 ORDER BY position", last)
            return [(position, id_.int) for position, id_ in rows]

        found: list[tuple[int, int]] = await stores[0]._read_as(TENANT, work)
        return found

    written, seen = await _race(write, read_after)
    count = WRITERS * EVENTS_A_WRITER
    assert len(written) == count
    for tail in seen:
        assert [position for position, _ in tail] == list(range(1, count + 1))
        assert {number for _, number in tail} == written
    assert (await page(stores[0])).total == count
    assert await fetch(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]
    for store in stores:
        await store.close()
    await idle.close()


async def test_a_tail_skips_what_a_bare_sequence_numbers() -> None:
    """The same race over a table whose positions come from a sequence: the same tails miss events."""
    url = await empty_database()
    await execute(url, "CREATE TABLE event (position bigserial PRIMARY KEY, number bigint)")
    pool = await asyncpg.create_pool(url, min_size=WRITERS, max_size=WRITERS + 2)
    rng = random.Random(SEED)

    async def write(_writer: int, batch: list[int]) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO event (number) SELECT * FROM unnest($1::bigint[])", batch)
            if rng.random() < 0.3:
                await asyncio.sleep(0.02)

    async def read_after(last: int) -> list[tuple[int, int]]:
        rows = await pool.fetch("SELECT position, number FROM event WHERE position > $1 ORDER BY position", last)
        return [(position, number) for position, number in rows]

    written, seen = await _race(write, read_after)
    assert min(len(tail) for tail in seen) < len(written), "the race did not come about"
    await pool.close()


async def test_an_append_waits_for_the_one_before_it_and_for_no_other_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """One append is held before its commit: the next of its tenant waits and comes behind it; another tenant's does
    not wait; readers see nothing of either until they are committed."""
    url = await fresh_database()
    first, second = open_store(url), open_store(url)
    await add(first, new(1))
    await add(first, new(1), tenant="other")
    held, going = asyncio.Event(), asyncio.Event()
    real = append._roll_up

    async def roll_up(connection: Any, tenant_no: int, placed: list[Any]) -> None:
        await real(connection, tenant_no, placed)
        if any(time == NOON + 2 * 1_000_000 for time, _, _ in placed):
            held.set()
            await going.wait()

    monkeypatch.setattr(append, "_roll_up", roll_up)
    slow = asyncio.create_task(add(first, new(2)))
    await held.wait()
    behind = asyncio.create_task(add(second, new(3)))
    assert [receipt.event.position for receipt in await add(second, new(4), tenant="other") if receipt.event] == [2]
    assert await numbers(second) == [1]
    assert not behind.done()
    going.set()
    assert [receipt.event.position for receipt in (*await slow, *await behind) if receipt.event] == [2, 3]
    await first.close()
    await second.close()


async def _two_at_once(patch: pytest.MonkeyPatch) -> list[Any]:
    """Two stores append to one tenant, each once the other has read the head if it can; what each was told."""
    url = await fresh_database()
    stores = [open_store(url), open_store(url)]
    await add(stores[0], new(1))
    met = asyncio.Event()
    waiting = 0
    real = append._look_up

    async def look_up(*args: Any) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            met.set()
        try:
            async with asyncio.timeout(0.5):  # with the lock, the second cannot come here before the first has gone
                await met.wait()
        except TimeoutError:
            pass
        await real(*args)

    patch.setattr(append, "_look_up", look_up)
    told = await asyncio.gather(
        *[add(store, new(number)) for number, store in enumerate(stores, 2)], return_exceptions=True
    )
    for store in stores:
        await store.close()
    return told


async def test_two_that_read_one_head_at_once_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forced to meet, the second waits at the head: both are stored, one behind the other."""
    told = await _two_at_once(monkeypatch)
    assert sorted(receipts[0].event.position for receipts in told) == [2, 3]


async def test_without_the_lock_two_that_read_one_head_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above sees an append that does not lock the head."""
    bare = tenants._SQL["lock_head"].replace("FOR UPDATE", "")
    monkeypatch.setattr(tenants, "_SQL", {**tenants._SQL, "lock_head": bare})
    told = await _two_at_once(monkeypatch)
    assert any(isinstance(each, Unavailable) for each in told)


async def test_names_that_another_process_adds_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds are remembered by their head's mark: a store that knows an older state reads them anew, and so does one
    whose database was put back and went on differently."""
    url = await fresh_database()
    first, second = open_store(url), open_store(url)
    await add(first, new(1, event_type="a.b"))
    assert [kind for kind, _ in (await second.count_events(TENANT, Query())).by_event_type] == ["a.b"]
    await add(first, new(2, event_type="c.d"))
    await add(second, new(3, event_type="e.f"))
    await add(first, new(4, event_type="e.f"))
    for store in (first, second):
        assert (await store.count_events(TENANT, Query())).by_event_type == [("e.f", 2), ("a.b", 1), ("c.d", 1)]
    # A standby that lacked the last kind took over, and gave its number to another one.
    await execute(
        url, "UPDATE whence.kind SET event_type = 'g.h' WHERE kind = 3", "UPDATE whence.head SET kinds_mark = 7"
    )
    for store in (first, second):
        assert dict((await store.count_events(TENANT, Query())).by_event_type)["g.h"] == 2
    await first.close()
    await second.close()


async def test_a_tenant_that_two_processes_meet_first_is_made_once() -> None:
    """Eight first appends at once, from four stores: one tenant, positions 1..8."""
    url = await fresh_database()
    stores = [open_store(url) for _ in range(4)]
    told = await asyncio.gather(*[add(stores[number % 4], new(number)) for number in range(1, 9)])
    assert sorted(receipts[0].event.position for receipts in told if receipts[0].event) == list(range(1, 9))
    assert await fetch(url, "SELECT count(*) FROM whence.tenant") == [(1,)]
    for store in stores:
        await store.close()


WRITING = """
import asyncio, sys
from tests.contract.made import add, new
from whence.storage import open_store

async def main():
    store = open_store(sys.argv[1])
    first = int(sys.argv[2])
    for number in range(first, first + 60, 3):
        await add(store, new(number), new(number + 1), new(number + 2))
    await store.close()

asyncio.run(main())
"""


async def test_two_processes_serve_one_database() -> None:
    """Two interpreters write to one tenant at the same time: each event once, positions 1..n, counts exact."""
    url = await fresh_database()
    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITING, url, str(first)) for first in (1_000, 2_000)
    ]
    assert [await process.wait() for process in running] == [0, 0]
    store = open_store(url)
    assert (await store.head(TENANT)).size == (await page(store)).total == 120
    assert sorted(await numbers(store, limit=1_000)) == [*range(1_000, 1_060), *range(2_000, 2_060)]
    positions = await fetch(url, "SELECT position FROM whence.event ORDER BY position")
    assert positions == [(number,) for number in range(1, 121)]
    await store.close()
