"""With many writers in several processes on one database, positions have no gaps and follow the order of commits."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.acceptance.running import seed, tell
from tests.contract.made import NOON, TENANT, VIEWER, add, new, numbers, page
from tests.databases import empty_database, execute, fetch, fresh_database
from tests.examples import soak
from whence.errors import Unavailable
from whence.events import Query
from whence.storage import create_store
from whence.storage.postgres import append, tenants

RACE_S = 1_200.0 if soak() else 10.0
MUTANT_S = 5.0
PROCESSES, WRITERS_OF_EACH, BATCH_MAX = 2, 3, 50

Rows = list[tuple[int, int]]
"""Positions and numbers of events, in order."""

ReadAfter = Callable[[int], Awaitable[Rows]]
"""Returns the events after a position."""

RACING = """
import asyncio, json, random, sys, time
import asyncpg
import pytest
from tests.contract.made import add, new
from tests.databases import be_patient
from whence.errors import Unavailable
from whence.storage import create_store
from whence.storage.postgres import connections, engine

url, kind, seconds, seed, first = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
draw = random.Random(seed)
be_patient(pytest.MonkeyPatch())
real = connections._run_and_commit

async def unsure():
    drawn = draw.random()
    if drawn < 0.1:
        await asyncio.sleep(0.02)
    elif drawn < 0.15:
        raise Unavailable("rolled back by the test")

async def committed(connection, work):
    if await connection.fetchval("SHOW transaction_read_only") == "on":
        return await real(connection, work)
    async def slower(connection):
        result = await work(connection)
        await unsure()
        return result
    return await real(connection, slower)

connections._run_and_commit = committed
# Small appends go by the function, and it too is called between BEGIN and COMMIT.
engine._SQL = {**engine._SQL, "may_call": "SELECT false"}

def event(number):
    return new(number, event_type="action_run.failed" if number % 2 else "action_run.completed")

async def whence():
    store = create_store(url)
    async def write(batch):
        await add(store, *[event(number) for number in batch])
    return write, store.close

async def sequence():
    pool = await asyncpg.create_pool(url, min_size=1, max_size=3)
    async def write(batch):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO event (number) SELECT * FROM unnest($1::bigint[])", batch)
            await unsure()
    return write, pool.close

async def main():
    write, close = await (whence() if kind == "whence" else sequence())
    end, written, left = time.monotonic() + seconds, [], [0]
    async def writer(name):
        number = first + name * 1_000_000
        while time.monotonic() < end:
            batch = list(range(number, number + draw.randint(1, BATCH_MAX)))
            try:
                await write(batch)
            except Unavailable:
                left[0] += 1
                continue  # the same numbers again, so nothing that failed may be there twice
            written.append((batch[0], batch[-1]))
            number = batch[-1] + 1
            await asyncio.sleep(draw.random() * 0.1)
    await asyncio.gather(*[writer(name) for name in range(WRITERS_OF_EACH)])
    await close()
    print("\\n" + json.dumps([written, left[0]]))

asyncio.run(main())
"""
"""A process of writers. One batch in ten sleeps before its commit, and one in twenty is rolled back."""


class Race:
    """The events that the writers stored, and how often they were rolled back."""

    def __init__(self) -> None:
        self.written: set[int] = set()
        self.batches = 0
        self.undone = 0
        self.done = asyncio.Event()

    async def run(self, url: str, kind: str, seconds: float, chosen: int) -> None:
        """Let all processes write for this time."""
        script = RACING.replace("BATCH_MAX", str(BATCH_MAX)).replace("WRITERS_OF_EACH", str(WRITERS_OF_EACH))
        running = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", script, url, kind, str(seconds), str(chosen + name), str(name * 100_000_000)),
                stdout=asyncio.subprocess.PIPE,
            )
            for name in range(PROCESSES)
        ]
        for process in running:
            out, _ = await process.communicate()
            assert process.returncode == 0
            written, undone = json.loads(out.splitlines()[-1])
            self.batches += len(written)
            self.undone += undone
            for first, last in written:
                self.written.update(range(first, last + 1))
        self.done.set()

    async def follow(self, read_after: ReadAfter, rest: Callable[[int], Awaitable[Any]], last: int = 0) -> Rows:
        """The positions that a reader sees who polls for the events after its last position."""
        seen: Rows = []
        while True:
            at_the_end = self.done.is_set()
            found = await read_after(last)
            seen += found
            if found:
                last = found[-1][0]
            elif at_the_end:
                return seen
            else:
                await rest(last)


async def _briefly(_last: int) -> None:
    await asyncio.sleep(0.005)


def _numbered(rows: list[Any]) -> Rows:
    return [(position, id_.int) for position, id_ in rows]


async def _reading(store: Any, last: int) -> Rows:
    part = await store.read_log(TENANT, last, 1_000)
    return [(stored.event.position, UUID(stored.event.id).int) for stored in part]


async def _seen_by_tails(race: Race, url: str, writing: "asyncio.Task[None]") -> list[Rows]:
    """The positions that four readers see: from the beginning, from the current head, failures only, and one that
    reopens the store for each read."""
    store: Any = create_store(url)
    while (start := (await store.head(TENANT)).size) == 0:
        assert not writing.done()
        await asyncio.sleep(0.05)

    async def live(last: int) -> bool:
        grown: bool = await store.changed(TENANT, last, 1.0)
        return grown

    async def failures(last: int) -> Rows:
        part = await store.read_feed(VIEWER, Query(outcomes=("failure",)), last, 1_000)
        return [(event.position, UUID(event.id).int) for event in part.events]

    async def anew(last: int) -> Rows:
        fresh = create_store(url)
        try:
            return await _reading(fresh, last)
        finally:
            await fresh.close()

    async def later(_last: int) -> None:
        await asyncio.sleep(0.2)

    def reading(last: int) -> Awaitable[Rows]:
        return _reading(store, last)

    tails = (
        race.follow(reading, _briefly),
        race.follow(reading, live, start),
        race.follow(failures, _briefly),
        race.follow(anew, later),
    )
    seen = await asyncio.gather(*tails)
    await store.close()
    seen[1] = seen[0][:start] + seen[1]
    return seen


@pytest.mark.slow
async def test_a_tail_never_skips_what_two_processes_write(record_property: Any) -> None:
    """With two processes of three writers each, four readers see every position once, without gaps or deadlocks, also
    while a transaction in another database is idle."""
    url, elsewhere, chosen = await fresh_database(), await empty_database(), seed()
    idle = await asyncpg.connect(elsewhere)
    await idle.execute("BEGIN; SELECT txid_current()")
    race = Race()
    writing = asyncio.create_task(race.run(url, "whence", RACE_S, chosen))
    everything, live, failures, anew = await _seen_by_tails(race, url, writing)
    await writing
    count = len(race.written)
    for tail in (everything, live, anew):
        assert [position for position, _ in tail] == list(range(1, count + 1))
        assert {number for _, number in tail} == race.written
    assert failures == [(position, number) for position, number in everything if number % 2]
    assert await fetch(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]
    assert race.undone > 0
    await idle.close()
    tell(
        record_property,
        f"tails: 4, writers: {PROCESSES * WRITERS_OF_EACH} in {PROCESSES} processes, {RACE_S:.0f} s, "
        f"batches={race.batches} undone={race.undone} events={count} skipped=0 gaps=0",
    )


@pytest.mark.slow
async def test_a_tail_skips_what_a_bare_sequence_numbers(record_property: Any) -> None:
    """In the same race over a table whose positions come from a sequence, the same reader misses events."""
    url = await empty_database()
    await execute(url, "CREATE TABLE event (position bigserial PRIMARY KEY, number bigint)")
    pool = await asyncpg.create_pool(url, min_size=1, max_size=1)

    async def read_after(last: int) -> Rows:
        text = "SELECT position, number FROM event WHERE position > $1 ORDER BY position"
        return [tuple(row) for row in await pool.fetch(text, last)]

    race = Race()
    writing = asyncio.create_task(race.run(url, "sequence", MUTANT_S, seed()))
    seen = await race.follow(read_after, _briefly)
    await writing
    await pool.close()
    skipped = len(race.written) - len(seen)
    tell(record_property, f"a bare sequence: skipped={skipped} of {len(race.written)}")
    assert skipped > 0, "the race did not come about"


async def test_an_append_waits_for_the_one_before_it_and_for_no_other_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """While an append is held before its commit, the next append of the tenant waits for its row lock.

    An append of another tenant does not wait. Readers see no event before its commit.
    """
    url = await fresh_database()
    first, second = create_store(url), create_store(url)
    await add(first, new(1))
    await add(first, new(1), tenant="other")
    held, going = asyncio.Event(), asyncio.Event()
    real = append.insert

    async def insert(connection: Any, head: Any, log: Any, batch: Any, *rest: Any, **how: Any) -> None:
        await real(connection, head, log, batch, *rest, **how)
        if any(time == NOON + 2 * 1_000_000 for time, _, _ in batch.occurrences):
            held.set()
            await going.wait()

    monkeypatch.setattr(append, "insert", insert)
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


async def _two_at_once(patch: pytest.MonkeyPatch, wait_s: float) -> list[Any]:
    """Two stores append to one tenant, each after the other has read the head, if the lock permits that within this
    time. Returns both results."""
    url = await fresh_database()
    stores = [create_store(url), create_store(url)]
    await add(stores[0], new(1))
    met = asyncio.Event()
    waiting = 0
    real = append.read_known

    async def read(*args: Any, **how: Any) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            met.set()
        try:
            async with asyncio.timeout(wait_s):  # with the lock, the second comes here after the first
                await met.wait()
        except TimeoutError:
            pass
        await real(*args, **how)

    patch.setattr(append, "read_known", read)
    results = await asyncio.gather(
        *[add(store, new(number)) for number, store in enumerate(stores, 2)], return_exceptions=True
    )
    for store in stores:
        await store.close()
    return results


async def test_two_that_read_one_head_at_once_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second append waits for the row lock of the first: both are stored, one after the other."""
    results = await _two_at_once(monkeypatch, 0.5)
    assert sorted(receipts[0].event.position for receipts in results) == [2, 3]


async def test_without_the_lock_two_that_read_one_head_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above fails when an append does not lock the head."""
    bare = tenants._SQL["lock_head"].replace("FOR UPDATE", "")
    monkeypatch.setattr(tenants, "_SQL", {**tenants._SQL, "lock_head": bare})
    results = await _two_at_once(monkeypatch, 30.0)
    assert any(isinstance(each, Unavailable) for each in results)


async def test_names_that_another_process_adds_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds are cached with the kinds_version of the head: a store with an older version reads them again, also after
    the database was restored and has diverged."""
    url = await fresh_database()
    first, second = create_store(url), create_store(url)
    await add(first, new(1, event_type="a.b"))
    assert [kind for kind, _ in (await second.count_events(VIEWER, Query())).by_event_type] == ["a.b"]
    await add(first, new(2, event_type="c.d"))
    await add(second, new(3, event_type="e.f"))
    await add(first, new(4, event_type="e.f"))
    for store in (first, second):
        assert (await store.count_events(VIEWER, Query())).by_event_type == [("e.f", 2), ("a.b", 1), ("c.d", 1)]
    # A standby without the last kind took over, and gave its number to another kind.
    await execute(
        url, "UPDATE whence.kind SET event_type = 'g.h' WHERE kind = 3", "UPDATE whence.head SET kinds_version = 7"
    )
    for store in (first, second):
        assert dict((await store.count_events(VIEWER, Query())).by_event_type)["g.h"] == 2
    await first.close()
    await second.close()


async def test_a_tenant_that_two_processes_meet_first_is_made_once() -> None:
    """Eight concurrent first appends from four stores create one tenant, with positions 1..8."""
    url = await fresh_database()
    stores = [create_store(url) for _ in range(4)]
    results = await asyncio.gather(*[add(stores[number % 4], new(number)) for number in range(1, 9)])
    assert sorted(receipts[0].event.position for receipts in results if receipts[0].event) == list(range(1, 9))
    assert await fetch(url, "SELECT count(*) FROM whence.tenant") == [(1,)]
    for store in stores:
        await store.close()


WRITING = """
import asyncio, sys
import pytest
from tests.contract.made import add, new
from tests.databases import be_patient
from whence.storage import create_store

be_patient(pytest.MonkeyPatch())

async def main():
    store = create_store(sys.argv[1])
    first = int(sys.argv[2])
    for number in range(first, first + 60, 3):
        await add(store, new(number), new(number + 1), new(number + 2))
    await store.close()

asyncio.run(main())
"""


async def test_two_processes_serve_one_database() -> None:
    """Two interpreters write to one tenant at the same time: each event is stored once, with positions 1..n and exact
    counts."""
    url = await fresh_database()
    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITING, url, str(first)) for first in (1_000, 2_000)
    ]
    assert [await process.wait() for process in running] == [0, 0]
    store = create_store(url)
    assert (await store.head(TENANT)).size == (await page(store)).total == 120
    assert sorted(await numbers(store, limit=1_000)) == [*range(1_000, 1_060), *range(2_000, 2_060)]
    positions = await fetch(url, "SELECT position FROM whence.event ORDER BY position")
    assert positions == [(number,) for number in range(1, 121)]
    await store.close()
