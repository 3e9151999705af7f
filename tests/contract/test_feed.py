"""Feeds: who goes on after the last position that was read gets every matching event once, in order."""

import asyncio
import random
from typing import Any

import pytest

from tests.contract import feed_mutants as mutants
from tests.contract.faults import by_statements, catches, limited
from tests.contract.made import NOON, SECOND, TENANT, VIEWER, add, asked, new, numbered, uuid
from tests.contract.model import ModelStore
from tests.contract.test_parallel import SEED
from whence.errors import Invalid, PositionGone
from whence.events import Event, FeedPage, PageRequest, Query, Viewer
from whence.storage.sqlite.engine import SQLiteStore

FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"event_types": ("action_run.failed",)},
    {"event_type_prefixes": ("action_run.",)},
    {"resource_types": ("artifact",)},
    {"resource_ids": (uuid(3),)},
    {"actor_ids": ("actor 2", "actor 5")},
    {"actor_types": ("agent",)},
    {"outcomes": ("failure",)},
    {"correlation_ids": ("flow 1",)},
    {"causation_ids": (uuid(7), "a text")},
    {"since": NOON + 9 * SECOND, "until": NOON + 60 * SECOND},
    {"event_types": ("action_run.failed",), "actor_ids": ("actor 2",), "outcomes": ("failure",)},
    {"event_types": ("no.such",)},
    {"actor_ids": ("nobody",)},
    {"readable": ("artifact",)},
    {"readable": ("artifact",), "actor_ids": ("nobody",)},
    {"readable": ("template",)},
)


def varied(number: int) -> Any:
    """One of many events, of which each filter matches some."""
    return new(
        number,
        event_type=("action_run.completed", "action_run.failed", "invoice.sent")[number % 3],
        resource_type=("action_run", "artifact")[number % 2],
        resource_id=uuid(number % 5),
        actor_id=f"actor {number % 7}",
        actor_type=("user", "agent")[number % 7 % 2],
        correlation_id=f"flow {number % 4}",
        causation_id=uuid(7) if number % 9 == 8 else "a text" if number % 9 == 5 else None,
        occurred_at=NOON + (number * 37 % 100) * SECOND,
    )


async def walk(store: Any, fields: dict[str, Any], limit: int, after: int = 0) -> list[FeedPage]:
    """The parts of a feed up to the end of the log."""
    parts = [await store.read_feed(*asked(fields), after, limit)]
    while parts[-1].has_more:
        parts.append(await store.read_feed(*asked(fields), parts[-1].read_to, limit))
    return parts


def events_of(parts: list[FeedPage]) -> list[Event]:
    return [event for part in parts for event in part.events]


@catches(mutants.ReadsToTheEnd, mutants.the_limit_is_no_end, mutants.the_last_one_again)
async def test_a_feed_has_what_the_list_has(store: Any) -> None:
    """For every filter, the parts of a feed are the events of the list by position, each of them once."""
    await add(store, *map(varied, range(1, 121)))
    for fields in FILTERS:
        listed = [
            event
            for offset in (0, 100)
            for event in (await store.list_events(*asked(fields), PageRequest(offset=offset))).events
        ]
        parts = await walk(store, fields, 7)
        assert events_of(parts) == sorted(listed, key=lambda event: event.position), fields
        assert all(len(part.events) <= 7 for part in parts)
        assert parts[-1].read_to == parts[-1].size == 120
    assert not (await store.read_feed(*asked(FILTERS[3]), 120, 7)).events


@catches(mutants.hidden_events_are_fed)
async def test_hidden_events_are_not_in_a_feed(store: Any) -> None:
    """A viewer of one resource type gets its events alone."""
    await add(store, *map(varied, range(1, 41)))
    parts = await walk(store, {"readable": ("artifact",)}, 3)
    assert {event.resource_type for event in events_of(parts)} == {"artifact"}


@catches(mutants.rows_are_unlimited)
@limited(feed_rows=10)
async def test_a_sparse_filter_advances_by_a_bounded_number_of_rows(real: Any) -> None:
    """A part reads a bounded number of positions and returns the last of them, also if none of them matched."""
    await add(real, *[new(number, actor_id="rare" if number == 35 else "ada") for number in range(1, 51)])
    parts = await walk(real, {"actor_ids": ("rare",)}, 5)
    assert [part.read_to for part in parts] == [10, 20, 30, 40, 50]
    assert [numbered(part.events) for part in parts] == [[], [], [], [35], []]


@catches(mutants.bytes_are_no_end, mutants.bytes_are_unlimited)
@limited(feed_bytes=3_000)
async def test_a_part_has_a_bounded_size(real: Any) -> None:
    """A part ends when its payloads are large, and goes on where it ended. A single event is never too large."""
    payload = b'{"text":"' + b"x" * 1_500 + b'"}'
    big = b'{"text":"' + b"x" * 9_000 + b'"}'
    await add(real, *[new(number, payload=big if number == 6 else payload) for number in range(1, 12)])
    parts = await walk(real, {}, 100)
    assert numbered(events_of(parts)) == [*range(1, 12)]
    assert max(len(part.events) for part in parts) == 2


@catches(mutants.one_beyond_the_head)
async def test_a_feed_goes_on_where_the_log_ended(store: Any) -> None:
    """A reader that has read everything gets the next events when they are stored; so does one without a match."""
    await add(store, new(1))
    assert (await store.read_feed(VIEWER, Query(), 1, 10)).read_to == 1
    assert (await store.read_feed(VIEWER, Query(actor_ids=("bob",)), 0, 10)).read_to == 1
    await add(store, new(2, actor_id="bob"), new(3))
    assert numbered((await store.read_feed(VIEWER, Query(), 1, 10)).events) == [2, 3]
    assert numbered((await store.read_feed(VIEWER, Query(actor_ids=("bob",)), 1, 10)).events) == [2]


@catches(mutants.one_beyond_the_head)
async def test_nobody_follows_a_position_that_is_not_there(store: Any) -> None:
    """A position beyond the log is refused; the end of the log, and an empty log, are not."""
    assert await store.read_feed(VIEWER, Query(), 0, 10) == FeedPage(events=[], read_to=0, size=0)
    await add(store, new(1), new(2))
    assert (await store.read_feed(VIEWER, Query(), 2, 10)).read_to == 2
    for tenant, after in ((TENANT, 3), ("nobody.here", 1)):
        with pytest.raises(Invalid) as refused:
            await store.read_feed(Viewer(tenant), Query(), after, 10)
        assert refused.value.problems[0].type == "after_range"


@catches(mutants.removed_positions_are_skipped)
async def test_removed_events_are_not_skipped_in_silence(real: Any) -> None:
    """A reader whose next event is no longer kept is refused with the place to go on."""
    await add(real, *[new(number) for number in range(1, 11)])
    await retain_from(real, 5)
    for after in (0, 3):
        with pytest.raises(PositionGone) as gone:
            await real.read_feed(VIEWER, Query(), after, 10)
        assert gone.value.resume_after == 4
    assert numbered((await real.read_feed(VIEWER, Query(), 4, 10)).events) == [5, 6, 7, 8, 9, 10]
    assert (await real.head(TENANT)).retained_from == 5
    assert await real.position_before(TENANT, 0) == 4


async def retain_from(store: Any, position: int) -> None:
    """Note that positions before this one are no longer kept; nothing in this release does."""
    store = getattr(store, "_writer_store", store)  # of a process that only reads
    if isinstance(store, SQLiteStore):
        sql = f"UPDATE tenant SET retained_from = {position} WHERE tenant = '{TENANT}'"
        await store._writer.submit(lambda connection: connection.execute(sql).fetchall())
        return
    sql = f"UPDATE head SET retained_from = {position} WHERE tenant = '{TENANT}'"
    await store._run_as(store._writing, TENANT, lambda connection, _tenant: connection.execute(sql))


@catches(mutants.AlwaysSomethingBefore, mutants.times_of_recording_round_down)
async def test_a_time_is_a_position(store: Any) -> None:
    """The position before a time is that of the last event which was recorded earlier, whenever it occurred."""
    recorded = []
    for number in range(1, 30):
        [receipt] = await add(store, varied(number))
        recorded.append(receipt.event.recorded_at)
        if number % 3 == 0:
            await asyncio.sleep(0.001)
    for time in (0, *{time + step for time in recorded for step in (0, 1)}, recorded[-1] + SECOND):
        assert await store.position_before(TENANT, time) == sum(each < time for each in recorded), time
    assert await store.position_before("nobody.here", recorded[0]) == 0


class Tail:
    """A reader that is stopped and goes on at random, and what it has seen."""

    def __init__(self, store: Any, fields: dict[str, Any], draw: random.Random) -> None:
        self.store, self.fields, self.draw = store, fields, draw
        self.after = 0
        self.seen: list[Event] = []

    async def run(self, writing: "asyncio.Future[Any]") -> None:
        while True:
            done = writing.done()
            reading = asyncio.create_task(
                self.store.read_feed(*asked(self.fields), self.after, self.draw.randint(1, 40))
            )
            if self.draw.random() < 0.2:  # what was read and not kept is read again
                await asyncio.sleep(self.draw.random() * 0.002)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                continue
            part = await reading
            self.seen += part.events
            self.after = part.read_to
            if done and not part.has_more:
                return
            await asyncio.sleep(self.draw.random() * 0.003)


@catches(mutants.one_beyond_the_head, mutants.the_limit_is_no_end, mutants.the_last_one_again)
async def test_nothing_is_skipped_beside_writers(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six writers with batches of 1 to 30 events, and tails that are cut at random places: each tail has every matching
    event once, in the order of positions."""
    if not isinstance(store, ModelStore):
        by_statements(monkeypatch)  # several round trips between the numbering and the commit
    draw = random.Random(SEED)

    async def write(writer: int) -> None:
        number = writer * 10_000
        for _ in range(12):
            size = draw.randint(1, 30)
            await add(store, *map(varied, range(number, number + size)))
            number += size
            await asyncio.sleep(draw.random() * 0.005)

    await add(store, varied(99_999))
    writing = asyncio.gather(*map(write, range(6)))
    filters: tuple[dict[str, Any], ...] = ({}, {}, FILTERS[1], FILTERS[5], FILTERS[14])
    tails = [Tail(store, fields, draw) for fields in filters]
    await asyncio.gather(writing, *[tail.run(writing) for tail in tails])
    for tail in tails:
        exact = events_of(await walk(store, tail.fields, 1_000))
        assert tail.seen == exact, f"seed {SEED}"
    assert [event.position for event in tails[0].seen] == [*range(1, (await store.head(TENANT)).size + 1)]
