"""What sealing, proofs and purges cost, on SQLite, in this process. Prints a table.

    python -m bench.proofs --events 1000000 --purged 500000

The log is built as for the other parts and copied. `append` is a request of 16 events, one at a time without a pause;
its times are compared with and without a purge beside it. Sealing is measured on batches of 1,000 events: the
processor time of this process with a sealer beside them, by that of the same batches without one. No event announces
the purge, so `whence verify` would find it.
"""

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bench.build_store import TENANT, build
from bench.measure import times_of
from bench.workload import Shape, batched, of_one_tenant
from whence.events import NewEvent, Query, Viewer
from whence.merkle_proofs import inclusion_ranges
from whence.removal import Pace
from whence.sealer import Sealing
from whence.sealing import StoreSecret
from whence.storage import Store, Write, create_store
from whence.storage.removals import Purge
from whence.storage.seals import hashes_of
from whence.wire.ids import new_uuid7

STORES = Path(__file__).parent / ".stores"
_APPENDED = 16
_BATCHES = 60
_ROUNDS = 5
_PROOFS = 1_000
_ALONE_S = 10.0
_AHEAD_US = 299_000_000
"""Events are sent with times later than those of the log, as if it had been recorded long ago: others are refused once
events are purged."""


def _now_us() -> int:
    return time.time_ns() // 1_000


def _later(new: NewEvent) -> NewEvent:
    changes: dict[str, Any] = {"id": new_uuid7(), "occurred_at": _now_us() + _AHEAD_US, "causation_id": None}
    return type(new)(**{name: changes.get(name, getattr(new, name)) for name in new.__struct_fields__})


async def _append_times(store: Store, events: list[NewEvent], until: Callable[[], bool]) -> list[float]:
    """Seconds of each append, one after the other, until told to stop."""
    times = []
    while not until():
        some = tuple(map(_later, random.sample(events, _APPENDED)))
        started = time.perf_counter()
        [result] = await store.append(TENANT, [Write(some)])
        times.append(time.perf_counter() - started)
        if isinstance(result, Exception):
            raise result
    return times


async def _purge(store: Store, upto: int) -> list[float]:
    """Seconds of each batch."""
    times, pace, since = [], Pace(), 1
    while since < upto:
        end = min(since + pace.size, upto)
        async with pace.batch():
            started = time.perf_counter()
            await store.removals.purge(TENANT, Purge(since, end), ())
            times.append(time.perf_counter() - started)
        since = end
    return times


async def _purge_beside_appends(store: Store, events: list[NewEvent], purged: int) -> None:
    end = time.monotonic() + _ALONE_S
    alone = times_of(await _append_times(store, events, lambda: time.monotonic() > end))
    purging = asyncio.create_task(_purge(store, purged + 1))
    started = time.monotonic()
    beside = times_of(await _append_times(store, events, purging.done))
    seconds, batches = time.monotonic() - started, times_of(await purging)
    _say("append, p50 and p99 in ms", f"{alone.p50_ms}, {alone.p99_ms}")
    _say("the same beside a purge", f"{beside.p50_ms}, {beside.p99_ms}: {beside.p99_ms / alone.p99_ms:.2f} times p99")
    _say(f"purge of {purged:,} events", f"{seconds:.1f} s; a batch p50 {batches.p50_ms}, p99 {batches.p99_ms} ms")


async def _seal_and_prove(store: Store, sealing: Sealing) -> None:
    started, cpu = time.monotonic(), time.process_time()
    while not await sealing.seal(TENANT):
        pass
    size = (await store.head(TENANT)).size
    _say(f"sealing {size:,} events at once", f"{time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} CPU")
    [found] = await store.seals.list_checkpoints(TENANT, None, 1)
    times = []
    first = (await store.head(TENANT)).retained_from - 1
    for index in random.sample(range(first, size), _PROOFS):
        [event] = await store.read_log(TENANT, index, 1)
        started = time.perf_counter()
        await store.seals.get_evidence(TENANT, event.event.id)
        await hashes_of(store.seals, TENANT, inclusion_ranges(index, found.size))
        times.append(time.perf_counter() - started)
    proofs = times_of(times)
    _say(f"a proof, of {_PROOFS:,}", f"p50 {proofs.p50_ms}, p99 {proofs.p99_ms} ms")


async def _cost_of_sealing(events: list[NewEvent], folder: Path, secret: StoreSecret) -> None:
    """Rounds in turns, each on a fresh store."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    for number in range(_ROUNDS * 2):
        seals = number % 2 == 0
        store = create_store(f"sqlite:///{folder}/sealed-{number}.db")
        beside: Coroutine[Any, Any, None] = Sealing(store, secret).run() if seals else asyncio.sleep(3_600)
        task = asyncio.create_task(beside)
        cpu = time.process_time()
        for some in batched(iter(events[: _BATCHES * 1_000])):
            await store.append(TENANT, [Write(tuple(some))])
        taken[seals].append(time.process_time() - cpu)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()
    ratios = sorted(sealed / plain for sealed, plain in zip(taken[True], taken[False], strict=True))
    _say("processor time with a sealer, by without", ", ".join(f"{ratio:.3f}" for ratio in ratios))


async def _measure(asked: argparse.Namespace) -> None:
    shape = Shape(events=asked.events)
    built = build(STORES / f"proofs-{asked.events}.db", shape)
    events = [new for _, new in zip(range(100_000), of_one_tenant(shape), strict=False)]
    secret = StoreSecret("the secret of a store that is measured", is_shared=True)
    with tempfile.TemporaryDirectory(dir=STORES) as name:
        folder = Path(name)
        await _cost_of_sealing(events, folder, secret)
        shutil.copy(built.path, folder / "log.db")
        before = (folder / "log.db").stat().st_size
        url = f"sqlite:///{folder}/log.db"
        store = create_store(url)
        try:
            await _seal_and_prove(store, Sealing(store, secret))
            await _purge_beside_appends(store, events, asked.purged)
            await _seal_and_prove(store, Sealing(store, secret))
            count = await store.count_events(Viewer(TENANT), Query())
            _say("events that are left", f"{count.total:,}")
        finally:
            await store.close()
        after = (folder / "log.db").stat().st_size
        _say("bytes of the file before and after", f"{before:,}, {after:,}")


def _say(what: str, found: str) -> None:
    print(f"{what:<44}{found}", flush=True)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events in the log")
    parser.add_argument("--purged", type=int, default=500_000, help="events that are purged")
    asyncio.run(_measure(parser.parse_args()))


if __name__ == "__main__":
    main()
