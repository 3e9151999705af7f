"""What sealing, proofs and purges cost, in this process. Prints a table.

    python -m bench.proofs --events 1000000 --purged 500000
    python -m bench.proofs --events 1000000 --purged 500000 --postgres
    python -m bench.proofs --events 10000000 --purged 1000000 --whole-purge --stores /var/tmp/stores

The log is built as for the other parts, once, and copied. `--built` names one that was built before, also by an earlier
release: the copy is migrated. `append` is a request of 16 events, one at a time without a pause; its times are compared
with and without a purge beside it, in turns: `--turns` of them, or with `--whole-purge` until all is purged. Sealing is
measured in rounds of 10,000 events: the processor time of this process for sealing them, by that for parsing and
appending them. With `--exports` the log is also served and exported in each format. No event announces the purge, so
`whence verify` would find it.
"""

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import apsw

from bench.build_store import TENANT, build
from bench.measure import spread, times_of
from bench.proven_exports import measure_exports
from bench.workload import Shape, batched, ndjson, of_one_tenant
from whence.events import NewEvent, Query, Viewer, Vocabulary
from whence.merkle_proofs import inclusion_ranges
from whence.removal import Pace
from whence.sealer import Sealing
from whence.sealing import StoreSecret
from whence.storage import Store, Write, create_store
from whence.storage.removals import Purge
from whence.storage.seals import hashes_of
from whence.wire.event import IngestContext, parse_batch
from whence.wire.ids import new_uuid7

STORES = Path(__file__).parent / ".stores"
_TOLD = 12
"""The space of so many is printed: that of all tables of PostgreSQL together, and that of the largest."""

_APPENDED = 16
_SECOND = 10_000
"""Events that are appended before they are sealed: about as many as come in a second at full speed."""

_VOCABULARY = Vocabulary.extended(["*"])

_PROOFS = 1_000
_TURN_S = 4.0
_LONG_TURN_S = 20.0
"""How long a turn of a whole purge takes: a million events take hours otherwise, half of them without a purge."""

_AHEAD_US = 299_000_000
"""Events are sent with times later than those of the log, as if it had been recorded long ago: others are refused once
events are purged."""


def _now_us() -> int:
    return time.time_ns() // 1_000


def _later(new: NewEvent) -> NewEvent:
    changes: dict[str, Any] = {"id": new_uuid7(), "occurred_at": _now_us() + _AHEAD_US, "causation_id": None}
    return type(new)(**{name: changes.get(name, getattr(new, name)) for name in new.__struct_fields__})


async def _append_times(store: Store, events: list[NewEvent], until: float) -> list[float]:
    """Seconds of each append, one after the other, until this time."""
    times = []
    while time.monotonic() < until:
        some = tuple(map(_later, random.sample(events, _APPENDED)))
        started = time.perf_counter()
        [result] = await store.append(TENANT, [Write(some)])
        times.append(time.perf_counter() - started)
        if isinstance(result, Exception):
            raise result
    return times


class _Purging:
    """A purge of the beginning of the log, which goes on while it may."""

    def __init__(self, store: Store, purged: int) -> None:
        self._store, self._end = store, purged + 1
        self.since = 1
        self.batches: list[float] = []
        self.seconds = 0.0
        self._pace = Pace()

    @property
    def is_done(self) -> bool:
        """Whether all of it is removed."""
        return self.since >= self._end

    async def go_on(self, until: float) -> None:
        """Remove events, a batch at a time, until this time."""
        began = time.monotonic()
        while not self.is_done and time.monotonic() < until:
            upto = min(self.since + self._pace.size, self._end)
            async with self._pace.batch():
                started = time.perf_counter()
                await self._store.removals.purge(TENANT, Purge(self.since, upto), ())
                self.batches.append(time.perf_counter() - started)
            self.since = upto
        self.seconds += time.monotonic() - began


async def _purge_beside_appends(store: Store, events: list[NewEvent], purged: int, turns: int | None) -> None:
    """Appends without and beside a purge, in turns, or with None until all is purged. What the turns have not removed
    is removed without appends."""
    purging = _Purging(store, purged)
    alone: list[float] = []
    beside: list[float] = []
    for turn in count() if turns is None else range(turns):
        if purging.is_done:
            break
        for is_beside in (True, False) if turn % 2 else (False, True):
            end = time.monotonic() + (_LONG_TURN_S if is_beside and turns is None else _TURN_S)
            appending = _append_times(store, events, end)
            if is_beside:
                found, _ = await asyncio.gather(appending, purging.go_on(end))
                beside += found
            else:
                alone += await appending
    one, other, batches = times_of(alone), times_of(beside), times_of(purging.batches)
    _say(f"append, p50, p95 and p99 in ms, of {one.count:,}", f"{one.p50_ms}, {one.p95_ms}, {one.p99_ms}")
    ratio = other.p99_ms / one.p99_ms
    _say(
        f"the same beside a purge, of {other.count:,}",
        f"{other.p50_ms}, {other.p95_ms}, {other.p99_ms}: {ratio:.2f} x p99",
    )
    rate = (purging.since - 1) / purging.seconds
    _say(
        "purged beside appends",
        f"{purging.since - 1:,} in {purging.seconds:,.0f} s, {rate:,.0f}/s; "
        f"a batch p50 {batches.p50_ms}, p99 {batches.p99_ms} ms",
    )
    if purging.is_done:
        return
    before, purging.seconds, cpu = purging.since, 0.0, time.process_time()
    await purging.go_on(float("inf"))
    rate = (purging.since - before) / max(purging.seconds, 1e-9)
    taken = time.process_time() - cpu
    _say(
        "purged without appends",
        f"{purging.since - before:,} in {purging.seconds:.1f} s, {rate:,.0f}/s; {taken:.1f} s CPU",
    )


async def _seal_and_prove(store: Store, sealing: Sealing) -> None:
    started, cpu = time.monotonic(), time.process_time()
    while not await sealing.seal(TENANT):
        pass
    size = (await store.head(TENANT)).size
    _say(f"sealing {size:,} events at once", f"{time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} CPU")
    [found] = await store.seals.list_checkpoints(TENANT, None, 1)
    times, computed = [], []
    first = (await store.head(TENANT)).retained_from - 1
    for index in random.sample(range(first, size), _PROOFS):
        [event] = await store.read_log(TENANT, index, 1)
        started, cpu = time.perf_counter(), time.process_time()
        await store.seals.get_evidence(TENANT, event.event.id)
        await hashes_of(store.seals, TENANT, inclusion_ranges(index, found.size))
        times.append(time.perf_counter() - started)
        computed.append(time.process_time() - cpu)
    proofs, cpu_of = times_of(times), times_of(computed)
    _say(f"a proof, of {_PROOFS:,}", f"p50 {proofs.p50_ms}, p99 {proofs.p99_ms} ms")
    _say("its processor time", f"p50 {cpu_of.p50_ms}, p99 {cpu_of.p99_ms} ms")


async def _cost_of_sealing(events: list[NewEvent], folder: Path, secret: StoreSecret, tenants: int) -> None:
    """Rounds of batches for this many logs, parsed and appended, each followed by the sealing of what came."""
    store = create_store(f"sqlite:///{folder}/sealed-{tenants}.db")
    sealing = Sealing(store, secret)
    batch = min(1_000, _SECOND // tenants)
    shares: list[float] = []
    for first in range(0, len(events), _SECOND):
        bodies = [ndjson(some) for some in batched(iter(events[first : first + _SECOND]), batch)]
        cpu = time.process_time()
        for number, body in enumerate(bodies):
            tenant = f"tenant-{number % tenants}"
            parsed = parse_batch(body, True, IngestContext(tenant, _VOCABULARY, _now_us()))
            await store.append(tenant, [Write(tuple(new for new in parsed if isinstance(new, NewEvent)))])
        appended = time.process_time()
        await sealing.seal_all()
        shares.append((time.process_time() - appended) / (appended - cpu))
    await store.close()
    found = spread(shares[1:])  # the first round names the logs
    _say(
        f"sealing {tenants} logs by ingest, CPU",
        f"median {found.median:.2%}, {found.least:.2%} to {found.most:.2%} of {len(shares) - 1} rounds",
    )


@contextmanager
def _copied(built: Path, folder: Path, *, on_postgres: bool) -> Iterator[str]:
    """The URL of a copy of the log that was built."""
    if not on_postgres:
        shutil.copy(built, folder / "log.db")
        yield f"sqlite:///{folder}/log.db"
        return
    from bench.copy_store import copy_to_postgres  # noqa: PLC0415  (needs the driver of PostgreSQL)
    from bench.limits_postgres import empty_log  # noqa: PLC0415  (starts a server from a wheel)

    with empty_log(folder / "server") as url:
        asyncio.run(copy_to_postgres(built, url))
        yield url


def _space_of(url: str) -> dict[str, int]:
    """The bytes of the log on disk, without its journal: of the file and of what is free in it, or of each table."""
    if not url.startswith("sqlite"):
        return asyncio.run(_tables_of(url))
    connection = apsw.Connection(url.removeprefix("sqlite:///"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        pages, free, size = map(connection.pragma, ("page_count", "freelist_count", "page_size"))
        return {"the file": pages * size, "free in it": free * size}
    finally:
        connection.close()


async def _tables_of(url: str, *, vacuum: bool = False) -> dict[str, int]:
    """The bytes of each table with its indexes, the largest first, and of all of them."""
    import asyncpg  # noqa: PLC0415  (only needed for PostgreSQL)

    connection = await asyncpg.connect(url)
    try:
        if vacuum:
            await connection.execute("VACUUM")
        rows = await connection.fetch(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
            " WHERE relnamespace = 'whence'::regnamespace AND relkind = 'r' ORDER BY 2 DESC"
        )
        return {"all tables": sum(size for _, size in rows)} | dict(rows)
    finally:
        await connection.close()


def _say_space(url: str, before: dict[str, int], after: dict[str, int]) -> None:
    """What a log took before its purge, and what it takes now. On PostgreSQL also after VACUUM."""
    states = [before, after]
    if not url.startswith("sqlite"):
        states.append(asyncio.run(_tables_of(url, vacuum=True)))
    for name in list(before)[:_TOLD]:
        sizes = ", ".join(f"{state[name]:,}" for state in states)
        _say(f"bytes before, after{', vacuumed' * (len(states) > 2)}: {name}", sizes)


async def _measure_log(url: str, secret: StoreSecret, events: list[NewEvent], asked: argparse.Namespace) -> None:
    store = create_store(url)
    try:
        await _seal_and_prove(store, Sealing(store, secret))
        if asked.exports:
            await store.close()
            await asyncio.to_thread(measure_exports, Path(url.removeprefix("sqlite:///")), asked.events, _say)
            store = create_store(url)
        await _purge_beside_appends(store, events, asked.purged, None if asked.whole_purge else asked.turns)
        await _seal_and_prove(store, Sealing(store, secret))
        count = await store.count_events(Viewer(TENANT), Query())
        _say("events that are left", f"{count.total:,}")
    finally:
        await store.close()


def _measure(asked: argparse.Namespace) -> None:
    shape = Shape(events=asked.events)
    built = asked.built or Path(build(asked.stores / f"proofs-{asked.events}.db", shape).path)
    events = [new for _, new in zip(range(100_000), of_one_tenant(shape), strict=False)]
    secret = StoreSecret("the secret of a store that is measured", is_shared=True)
    with tempfile.TemporaryDirectory(dir=asked.stores) as name:
        folder = Path(name)
        if not asked.postgres and not asked.whole_purge:
            for tenants in (1, 10, 100):
                asyncio.run(_cost_of_sealing(events, folder, secret, tenants))
        with _copied(built, folder, on_postgres=asked.postgres) as url:
            before = _space_of(url)
            asyncio.run(_measure_log(url, secret, events, asked))
            _say_space(url, before, _space_of(url))


def _say(what: str, found: str) -> None:
    print(f"{what:<44}{found}", flush=True)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="events in the log")
    parser.add_argument("--stores", type=Path, default=STORES, help="a folder for the built log and its copy")
    parser.add_argument("--built", type=Path, help="a log that was built before, which is copied instead")
    turns = parser.add_mutually_exclusive_group()
    turns.add_argument(
        "--whole-purge", action="store_true", help="purge everything beside appends, and leave out what sealing costs"
    )
    turns.add_argument("--turns", type=int, default=12, help="turns of appends without and beside a purge")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--exports", action="store_true", help="also export all events with proof, and check that")
    where.add_argument("--postgres", action="store_true", help="measure proofs and purges on PostgreSQL")
    parser.add_argument("--purged", type=int, default=500_000, help="events that are purged")
    _measure(parser.parse_args())


if __name__ == "__main__":
    main()
