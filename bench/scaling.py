"""The part that measures the same server with one, two, three and four processes that answer requests."""

import shutil
from collections.abc import Callable
from pathlib import Path

from bench import scenarios
from bench.build_store import Built
from bench.load import Result
from bench.result import Scaled
from bench.scenarios import Bodies
from bench.servers import Running, whence
from bench.stage import Bench
from bench.workload import Shape, batched, ndjson, of_one_tenant

__all__ = ["ACCEPTORS", "scaling"]

ACCEPTORS = (1, 2, 3, 4)
_WARM_S = 1.0
_EVENTS_PER_BATCH = 1_000
_SPARE = 1.5


def scaling(bench: Bench) -> None:
    """Measure pages, single events and batches per second, and the processor time and memory that they take.

    One server runs at a time, so that its memory is not shared with the others.
    """
    sizes = bench.sizes
    built = bench.built(sizes.page_events, 180)
    singles = Bodies(ndjson([event]).rstrip() for event in of_one_tenant(Shape(seed=5, events=sizes.single_events)))
    batches = Bodies(ndjson(some) for some in batched(of_one_tenant(Shape(seed=6, events=sizes.scaling_events))))
    found = {number: Scaled(acceptors=number) for number in ACCEPTORS}
    for turn in range(sizes.scaling_rounds):
        for number in ACCEPTORS[:: -1 if turn % 2 else 1]:
            folder = bench.fresh("scaling")
            _round(bench, folder, built, found[number], singles, batches)
            shutil.rmtree(folder)
    bench.run.scaling = list(found.values())


def _round(bench: Bench, folder: Path, built: Built, scaled: Scaled, singles: Bodies, batches: Bodies) -> None:
    sizes = bench.sizes
    shutil.copyfile(built.path, folder / "whence.db")
    with whence(folder / "whence.db", processes=scaled.acceptors) as server:
        scenarios.saturating_pages(server, _WARM_S, bench.generator)
        most = sizes.single_events
        first = scenarios.saturating_posts(server, singles, most, _WARM_S, bench.generator)
        most = max(100, int(first.rate * sizes.scaling_s * _SPARE))
        page, page_us = _timed(server, lambda: scenarios.saturating_pages(server, sizes.scaling_s, bench.generator))
        post, post_us = _timed(
            server, lambda: scenarios.saturating_posts(server, singles, most, sizes.scaling_s, bench.generator)
        )
        batch, batch_us = _timed(server, lambda: scenarios.saturating_batches(server, batches))
        scaled.memory_mb.append(server.memory_mb()["now"])
    scaled.pages.append(page.rate)
    scaled.posts.append(post.rate)
    scaled.events.append(round(batch.rate * _EVENTS_PER_BATCH, 1))
    scaled.page_cpu_us.append(round(page_us, 1))
    scaled.post_cpu_us.append(round(post_us, 1))
    scaled.event_cpu_us.append(round(batch_us / _EVENTS_PER_BATCH, 2))
    scaled.busy.append((page.busy, post.busy, batch.busy))
    bench.say(
        f"{scaled.acceptors} processes: {page.rate:,.0f} pages/s ({page_us:.0f} µs), {post.rate:,.0f} posts/s "
        f"({post_us:.0f} µs), {scaled.events[-1]:,.0f} events/s in batches, {scaled.memory_mb[-1]:.0f} MB"
    )


def _timed(server: Running, load: Callable[[], Result]) -> tuple[Result, float]:
    """The result of a load, and the server's processor time in µs for each request that was answered."""
    before = server.cpu_seconds()
    result = load()
    taken = server.cpu_seconds() - before
    return result, taken * 1e6 / max(1, sum(result.statuses.values()))
