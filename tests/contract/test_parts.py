"""All matching events, read in parts: the events of the list, each once, as of one position. On each real store."""

from typing import Any

from tests.contract import feed_mutants, parts_mutants
from tests.contract.faults import catches, limited
from tests.contract.made import NOON, SECOND, add, asked, new, numbered
from tests.contract.test_feed import FILTERS, varied
from whence.events import Event, EventPart, PageRequest, PartRequest

LATER: tuple[dict[str, Any], ...] = (
    {"readable": ("artifact",), "actor_ids": ("actor 2", "actor 5")},
    {"correlation_ids": ("flow 1",), "outcomes": ("failure",), "since": NOON + 5 * SECOND},
    {"actor_types": ("user",), "causation_ids": ("a text",)},
)
"""Filters that no single index answers, with those of `FILTERS`."""


async def walk(store: Any, fields: dict[str, Any], as_of: int, *, ascending: bool, limit: int = 20) -> list[EventPart]:
    parts: list[EventPart] = []
    after = None
    while not parts or after is not None:
        assert len(parts) < 300, "the parts do not end"
        request = PartRequest(limit=limit, as_of=as_of, ascending=ascending, after=after)
        parts.append(await store.list_part(*asked(fields), request))
        after = parts[-1].after
    return parts


async def listed(store: Any, fields: dict[str, Any], *, ascending: bool) -> list[Event]:
    found: list[Event] = (await store.list_events(*asked(fields), PageRequest(ascending=ascending))).events
    return found


@limited(feed_rows=13)
@catches(
    parts_mutants.every_index_answers_alone,
    parts_mutants.a_window_without_its_last_time,
    parts_mutants.a_window_is_the_end,
    parts_mutants.parts_as_of_now,
)
async def test_the_parts_are_the_list(real: Any) -> None:
    """For every filter and both orders, with ties, and whatever is stored meanwhile, at its own time or a late one."""
    await add(real, *map(varied, range(1, 81)))
    wanted = {
        (number, ascending): await listed(real, fields, ascending=ascending)
        for number, fields in enumerate(FILTERS + LATER)
        for ascending in (True, False)
    }
    await add(real, *map(varied, range(81, 121)))
    for (number, ascending), events in wanted.items():
        fields = (FILTERS + LATER)[number]
        parts = await walk(real, fields, 80, ascending=ascending)
        assert [event for part in parts for event in part.events] == events, (fields, ascending)
        assert all(len(part.events) <= 20 for part in parts)
    assert len(await walk(real, LATER[1], 80, ascending=True)) == 3, "a part reads all of the index"
    assert (await walk(real, {}, 0, ascending=True))[0] == EventPart(events=[], after=None)


@limited(feed_bytes=4_000, as_of_span=3)
@catches(feed_mutants.bytes_are_unlimited, parts_mutants.parts_as_of_now)
async def test_a_part_has_few_bytes_and_any_snapshot(real: Any) -> None:
    """A payload that is larger than a part is one of its own, and the snapshot may lie far before the head."""
    sizes = [10, 3_000, 9_000, 10, 3_000, 3_000]
    await add(real, *(new(number, payload=b'{"x":"%s"}' % (b"x" * size)) for number, size in enumerate(sizes, 1)))
    await add(real, *map(new, range(11, 21)))
    parts = await walk(real, {}, 6, ascending=True, limit=100)
    assert [numbered(part.events) for part in parts] == [[1, 2], [3], [4, 5], [6]]
