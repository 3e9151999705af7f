"""The parts that measure PostgreSQL, with its own limit of ingest: what a server does, and what a large log costs."""

import asyncio
import importlib
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import scenarios
from bench.copy_store import copy_to_postgres
from bench.indexed import indexed_of
from bench.measure import interleaved
from bench.result import Memory
from bench.scenarios import Bodies
from bench.servers import Running, ask, whence
from bench.serving import fill, measure_pages, measure_posts
from bench.stage import Bench
from bench.workload import Shape, batched, ndjson, of_one_tenant

__all__ = ["limits_of_postgres", "postgres", "postgres_large"]

_LOAD_S = 10


def limits_of_postgres(bench: Bench) -> Any:
    """The module that measures PostgreSQL, or None, with a note, where no server is installed."""
    try:
        return importlib.import_module("bench.limits_postgres")
    except ModuleNotFoundError as error:
        note = f"PostgreSQL was left out: {error.name} is not installed."
        if note not in bench.run.notes:
            bench.run.notes.append(note)
        return None


def postgres(bench: Bench) -> None:
    """Measure ingest with its own raw, singles and pages beside an earlier commit, and bytes."""
    limits = limits_of_postgres(bench)
    if limits is None:
        return
    sizes, folder = bench.sizes, bench.fresh("postgres")
    events = list(of_one_tenant(Shape(events=sizes.postgres_events)))
    batches = list(batched(events))
    trials = limits.trials_of(folder, batches)
    bench.run.rates["append, PostgreSQL"] = interleaved(sizes.rounds, trials, "events/s", bench.say)
    bodies = Bodies(ndjson(some) for some in batches)

    def over_http(_: int) -> float:
        with limits.empty_log(folder) as url, whence(folder / "ingest", url) as running:
            return scenarios.saturating_batches(running, bodies).rate * len(events) / len(batches)

    bench.run.rates["ingest, PostgreSQL"] = interleaved(
        sizes.rounds, {"whence": over_http, "raw": trials["raw"]}, "events/s", bench.say
    )
    bench.run.disks.append(limits.disk_after(folder, batches, f"workload, {len(events):,} events, PostgreSQL"))
    built = bench.built(sizes.page_events, 180)
    with ExitStack() as running:
        url = running.enter_context(limits.empty_log(folder))
        asyncio.run(copy_to_postgres(Path(built.path), url))
        servers = {"whence": running.enter_context(whence(folder / "whence", url))}
        if bench.earlier is not None:
            other = running.enter_context(limits.empty_log(folder, migrated=False))
            servers["earlier"] = running.enter_context(bench.earlier.serving(folder / "earlier", other))
            fill(servers["earlier"], built)
        measure_pages(bench, servers, "page, PostgreSQL", None)
        measure_posts(bench, servers, "post, PostgreSQL", peers=False)


def postgres_large(bench: Bench) -> None:
    """Measure the indexed queries on a small and on a large log, and the start and memory of a server of the latter."""
    limits = limits_of_postgres(bench)
    if limits is None:
        return
    sizes, folder = bench.sizes, bench.fresh("postgres-large")
    built = bench.built(sizes.small_events, 180), bench.built(sizes.postgres_large_events, 180)
    with limits.empty_log(folder) as small, limits.empty_log(folder) as large:
        for log, url in zip(built, (small, large), strict=True):
            asyncio.run(copy_to_postgres(Path(log.path), url))
        bench.run.indexed += asyncio.run(indexed_of("PostgreSQL", built, (small, large), sizes.question_rounds))
        with whence(folder / "large", large) as own:
            began = time.monotonic()
            ask(own, "GET", "/readyz")
            label = f"a log of {sizes.postgres_large_events:,}, PostgreSQL"
            bench.run.start_s[label] = round(own.start_s + time.monotonic() - began, 3)
            bench.run.memory_postgres = _memory(bench, own)


def _memory(bench: Bench, own: Running) -> Memory:
    """The highest memory of the server during pages, single events and batches."""
    sizes, began = bench.sizes, time.monotonic()
    bodies = Bodies(ndjson([event]).rstrip() for event in of_one_tenant(Shape(seed=7, events=sizes.single_events)))
    batches = Bodies(ndjson(some) for some in batched(of_one_tenant(Shape(seed=8, events=sizes.scaling_events))))
    while time.monotonic() - began < _LOAD_S * sizes.trial_s:
        scenarios.saturating_pages(own, sizes.trial_s, bench.generator)
        own.memory_mb()
        scenarios.saturating_posts(own, bodies, sizes.single_events, sizes.trial_s, bench.generator)
        own.memory_mb()
        scenarios.saturating_batches(own, batches)
        own.memory_mb()
    taken = round(time.monotonic() - began)
    return Memory(sizes.postgres_large_events, taken, max(own.samples), own.acceptors, "PSS")
