"""Concurrent writers, and readers whose every result is consistent."""

import asyncio
import os
import random
from typing import Any

from tests.contract import rarer_mutants
from tests.contract.faults import catches, limited
from tests.contract.made import DAY, HOUR, NOON, TENANT, VIEWER, add, new, page
from whence.errors import WhenceError
from whence.events import NewEvent, Query

SEED = int(os.environ.get("WHENCE_TEST_SEED") or random.SystemRandom().getrandbits(32))
LONG = os.environ.get("WHENCE_HYPOTHESIS") == "long"
WRITERS = 4
REQUESTS = 400 if LONG else 60
OF_A_WRITER = 100_000
"""The range of event numbers reserved for each writer."""


def some_events(draw: random.Random, writer: int, known: list[int]) -> list[NewEvent]:
    """A request of up to twelve events: new ones, early and late, and repeats of this and of another writer's
    events."""
    events = []
    for _ in range(draw.randint(1, 12)):
        if known and draw.random() < 0.2:
            number = draw.choice(known)
        else:
            known.append(number := writer * OF_A_WRITER + len(known))
        events.append(
            new(
                number,
                event_type=("action_run.completed", "action_run.failed", "invoice.sent")[number % 3],
                actor_id=f"actor {number % 7}",
                occurred_at=NOON + number % 50 * HOUR - number % 3 * 40 * DAY,
            )
        )
    return events


async def write(store: Any, draw: random.Random, writer: int) -> list[int]:
    """Store requests one by one. Returns the positions of the new events, in the order of the receipts."""
    known: list[int] = []
    positions: list[int] = []
    for _ in range(REQUESTS):
        events = some_events(draw, writer, known)
        for receipt in await add(store, *events, atomic=draw.random() < 0.3):
            assert receipt.event is not None
            if not receipt.replayed:
                positions.append(receipt.event.position)
        await asyncio.sleep(0)
    return positions


async def read(store: Any, draw: random.Random, writing: asyncio.Future[Any]) -> int:
    """Read until the writers are done. Each result is consistent, and none is older than an earlier one."""
    answers, seen = 0, 0
    while not writing.done():
        answers += 1
        offset = draw.choice((0, 0, 3, 700))
        whole = await page(store, limit=100, offset=offset)
        assert whole.total == whole.as_of >= seen
        assert len(whole.events) == max(0, min(100, whole.total - offset))
        assert whole.has_next == (offset + len(whole.events) < whole.total)
        assert all(event.position <= whole.as_of for event in whole.events)
        seen = whole.total
        pinned = await page(store, as_of=seen, since=NOON - DAY, until=NOON + DAY, limit=100)
        again = await page(store, as_of=seen, since=NOON - DAY, until=NOON + DAY, limit=100)
        assert (pinned.total, pinned.events) == (again.total, again.events)
        counts = await store.count_events(VIEWER, Query())
        assert counts.total >= seen
        for words in (counts.by_event_type, counts.by_resource_type, counts.by_actor_type):
            assert sum(count for _, count in words) == counts.total
        stats = await store.actor_stats(VIEWER, Query())
        assert sum(stat.total for stat in stats) >= counts.total
        assert all(stat.successes + stat.failures <= stat.total for stat in stats)
        await asyncio.sleep(0)
    return answers


@catches(rarer_mutants.page_in_a_later_snapshot)
@limited(divide_at=40)
async def test_every_answer_is_true_while_others_write(store: Any) -> None:
    """With four writers and two readers, every result is consistent, and positions are 1..n without gaps."""
    draws = [random.Random(SEED + each) for each in range(WRITERS + 2)]
    print(f"WHENCE_TEST_SEED={SEED}")
    writing = asyncio.gather(*(write(store, draws[each], each) for each in range(WRITERS)))
    reading = asyncio.gather(*(read(store, draw, writing) for draw in draws[WRITERS:]))
    try:
        positions = await writing
    finally:
        answers = await asyncio.gather(reading, return_exceptions=True)
    if isinstance(answers[0], BaseException):
        raise answers[0]
    assert all(each == sorted(each) for each in positions)
    assert sorted(position for each in positions for position in each) == list(range(1, sum(map(len, positions)) + 1))
    assert (await store.head(TENANT)).size == sum(map(len, positions))
    assert all(count > 0 for count in answers[0])
    assert not isinstance(answers[0], WhenceError)


@catches(rarer_mutants.request_in_pieces)
async def test_a_request_is_seen_whole(real: Any) -> None:
    """A reader that polls during a large append sees none of its events or all of them."""
    count = 3_000
    large = asyncio.create_task(add(real, *map(new, range(1, count + 1))))
    sizes = set()
    while not large.done():
        sizes.add((await real.head(TENANT)).size)
        await asyncio.sleep(0)
    await large
    sizes.add((await real.head(TENANT)).size)
    assert sizes <= {0, count}
    assert count in sizes
