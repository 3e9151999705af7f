"""The part that measures the indexed queries on a small and on a large log, in this process."""

import asyncio

from bench import scenarios
from bench.build_store import Built
from bench.measure import times_of
from bench.result import Indexed
from bench.stage import Bench
from whence.storage import create_store

__all__ = ["indexed", "indexed_of"]


def indexed(bench: Bench) -> None:
    """Measure the indexed queries on SQLite."""
    for days in bench.sizes.spreads:
        small, large = bench.built(bench.sizes.small_events, days), bench.built(bench.sizes.large_events, days)
        urls = (f"sqlite:///{small.path}", f"sqlite:///{large.path}")
        bench.run.indexed += asyncio.run(indexed_of("SQLite", (small, large), urls, bench.sizes.question_rounds))


async def indexed_of(name: str, built: tuple[Built, Built], urls: tuple[str, str], rounds: int) -> list[Indexed]:
    """The times of the queries on two stores of these URLs, small and large. `name` is that of their kind."""
    small, large = built
    stores = [create_store(url, serving=False) for url in urls]
    try:
        asked = {
            size: (store, await scenarios.questions_of(store, log.shape))
            for size, store, log in zip(("small", "large"), stores, built, strict=True)
        }
        seconds = await scenarios.questions_in_process(asked, rounds)
    finally:
        for store in stores:
            await store.close()
    return [
        Indexed(
            name,
            question,
            small.shape.days,
            small.shape.events,
            large.shape.events,
            times_of(taken["small"]),
            times_of(taken["large"]),
        )
        for question, taken in seconds.items()
    ]
