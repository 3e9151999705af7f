"""Payload fields: every question with a filter on them is answered as a plain count over the raw events."""

import json
import random
from typing import Any

import msgspec
import pytest

from tests.contract.faults import around, breaks, catches, everywhere, reword
from tests.contract.made import NOON, SECOND, TENANT, VIEWER, add, new
from tests.contract.model_filters import Filters
from tests.contract.mutants import Patch
from whence import payload_fields
from whence.events import Event, PageRequest, PartRequest, Query, Viewer
from whence.histograms import HistogramRequest
from whence.storage import payload_index
from whence.storage.postgres import payload_index as postgres_index
from whence.storage.postgres import purge as postgres_purge
from whence.storage.postgres import removals as postgres_removals
from whence.storage.removals import Purge
from whence.storage.sqlite import payload_index as sqlite_index
from whence.storage.sqlite import purge as sqlite_purge
from whence.storage.sqlite import removals as sqlite_removals

pytestmark = pytest.mark.anyio

TOOLS = ("search", "book", "refund")
PATHS = ("tool", "order.currency", "tags")


def payload_of(number: int, choose: random.Random) -> bytes:
    """A payload in which paths may be missing, of another kind, or an array."""
    made: dict[str, Any] = {"note": number}
    if number % 5:
        made["tool"] = choose.choice([*TOOLS, 7, None, True, {"tool": "book"}, "x" * 256])
    if number % 3:
        made["order"] = {"currency": choose.choice(["EUR", "USD", ""]), "lines": [1, 2]}
    if number % 2:
        made["tags"] = choose.sample(["a", "b", 1, 2.50, None, ["a"]], choose.randint(0, 4)) * choose.choice([1, 1, 60])
    return json.dumps(made, separators=(",", ":")).encode()


async def fill(real: Any, count: int, first: int = 0, seed: int = 1) -> None:
    """Store events that are early and late, of two kinds, two flows and two actors."""
    choose = random.Random(seed)
    await add(
        real,
        *[
            new(
                number,
                occurred_at=NOON + choose.randint(-50, 50) * SECOND,
                event_type=choose.choice(["action_run.completed", "action_run.failed"]),
                resource_type=choose.choice(["action_run", "artifact"]),
                actor_id=choose.choice(["ada", "bob"]),
                correlation_id=choose.choice(["one", "two"]),
                payload=payload_of(number, choose),
            )
            for number in range(first, first + count)
        ],
    )


async def index_all(real: Any, paths: tuple[str, ...] = PATHS) -> None:
    """Bring the index up to date."""
    while await real.payload_index.advance(TENANT, paths):
        pass
    assert await real.payload_index.unindexed(paths) == []


QUERIES = (
    {"payload_values": ("tool=book",)},
    {"payload_values": ("tool=nowhere",)},
    {"payload_values": ("tool=book", "tool=7")},
    {"payload_values": ("tags=a",)},
    {"payload_values": ("tags=a", "tags=2.5", "tags=null")},
    {"payload_values": ("tool=book", "order.currency=EUR")},
    {"excluded_payload_values": ("tool=book",)},
    {"excluded_payload_values": ("tags=a", "tool=7"), "payload_values": ("order.currency=EUR",)},
    {"payload_values": ("tool=true",), "since": NOON - 20 * SECOND, "until": NOON + 20 * SECOND},
    {"payload_values": ("tool=null",), "correlation_ids": ("one",)},
    {"payload_values": ("tool=book",), "actor_ids": ("ada",), "outcomes": ("failure",)},
    {"payload_values": ("note=4", "note=5")},
    {"payload_values": ("note=4", "tool=book", "tool=search"), "excluded_payload_values": ("tags=1",)},
    {"excluded_payload_values": ("note=4",)},
    {"payload_values": ("tool.tool=book",)},
)
"""Filters on paths that are indexed and on those that are not."""


async def all_events(real: Any) -> list[Event]:
    """Every event of the log."""
    feed = await real.read_feed(VIEWER, Query(), 0, 10_000)
    return list(feed.events)


async def check(real: Any, viewer: Viewer, fields: dict[str, Any]) -> None:
    """Compare each answer with what the raw events say."""
    query = Query(**fields)
    model = Filters()
    events = [
        event
        for event in await all_events(real)
        if model.matches(event, query) and model.may_read(event, viewer.readable)
    ]
    events.sort(key=lambda event: (event.occurred_at, event.position))
    wanted = [event.position for event in events]
    for ascending in (True, False):
        ordered = wanted if ascending else wanted[::-1]
        page = await real.list_events(viewer, query, PageRequest(limit=7, offset=3, ascending=ascending))
        assert page.total == len(wanted), fields
        assert [event.position for event in page.events] == ordered[3:10], fields
        found, after = [], None
        while True:
            request = PartRequest(limit=10, as_of=page.as_of, ascending=ascending, after=after)
            part = await real.list_part(viewer, query, request)
            found += [event.position for event in part.events]
            after = part.after
            if after is None:
                break
        assert found == ordered, fields
    counts = await real.count_events(viewer, query)
    assert counts.total == len(wanted), fields
    stats = await real.actor_stats(viewer, query)
    assert {stat.actor_id: stat.total for stat in stats} == {
        actor: count for actor in ("ada", "bob") if (count := sum(event.actor_id == actor for event in events))
    }
    histogram = await real.histogram(viewer, query, HistogramRequest(by="outcome", interval="1h"))
    assert histogram.total == len(wanted)
    feed = await real.read_feed(viewer, query, 0, 1_000)
    assert [event.position for event in feed.events] == sorted(wanted)
    facets = await real.facets(viewer, query, 100, ("tool", "tags"))
    assert facets.total == len(wanted)
    for facet in facets.payload:
        assert facet.more == 0
        found_values = {value.value: (value.count, value.failures) for value in facet.values}
        assert found_values == await counted_values(real, viewer, query, facet.path), (fields, facet.path)


async def counted_values(real: Any, viewer: Viewer, query: Query, path: str) -> dict[str, tuple[int, int]]:
    """Events and failures of each value at a path, of those that match without the filters on that path."""
    rest = {
        name: tuple(text for text in getattr(query, name) if not text.startswith(f"{path}="))
        for name in ("payload_values", "excluded_payload_values")
    }
    model, others = Filters(), msgspec.structs.replace(query, **rest)
    counts: dict[str, tuple[int, int]] = {}
    for event in await all_events(real):
        if not model.matches(event, others) or not model.may_read(event, viewer.readable):
            continue
        for text in (*TOOLS, "7", "null", "true", "a", "b", "1", "2.5"):
            if model.has_payload_value(event, path, text):
                count, failures = counts.get(text, (0, 0))
                counts[text] = count + 1, failures + (event.outcome == "failure")
    return counts


@breaks("sqlite", "postgres")
def the_end_of_the_log_is_not_read(patch: Patch) -> None:
    """Mutant: what the index does not have yet does not match."""

    def make(found: Any) -> Any:
        def match_in_index(snapshot: Any, plain: Any, covered: Any, *rest: Any) -> Any:
            size = min((row.indexed_to for row in covered.values()), default=snapshot.size)
            return found(msgspec.structs.replace(snapshot, size=size), plain, covered, *rest)

        return match_in_index

    around(patch, payload_index, "_match_in_index", make)


@breaks("sqlite", "postgres")
def only_first_elements_are_values(patch: Patch) -> None:
    """Mutant: an array has the value of its first element alone."""
    around(patch, payload_fields, "_values", lambda found: lambda text: found(text)[:1])


@breaks("sqlite", "postgres")
def paths_are_alternatives(patch: Patch) -> None:
    """Mutant: of several paths, one that matches is enough."""

    def make(found: Any) -> Any:
        def match_payload(snapshot: Any, resolved: Any, **options: Any) -> Any:
            matched = yield from found(snapshot, resolved, **options)
            return msgspec.structs.replace(matched, payload=(matched.payload or ())[:1] or None)

        return match_payload

    everywhere(patch, "match_payload", make)


@catches(the_end_of_the_log_is_not_read, only_first_elements_are_values, paths_are_alternatives)
async def test_a_filter_on_payload_values_is_exact(real: Any) -> None:
    """Without an index, with one that covers the log, with one that ends before it, and with another set of paths."""
    await fill(real, 120)
    for fields in QUERIES:
        await check(real, VIEWER, fields)
    await index_all(real)
    for fields in QUERIES:
        await check(real, VIEWER, fields)
    await fill(real, 40, first=200, seed=2)
    for fields in QUERIES:
        await check(real, VIEWER, fields)
        await check(real, Viewer(TENANT, ("artifact",)), fields)
    await index_all(real, ("note", "tool"))
    for fields in QUERIES:
        await check(real, VIEWER, fields)


@breaks("sqlite", "postgres")
def values_stay_without_events(patch: Patch) -> None:
    """Mutant: a value that no event has any more is kept."""
    reword(
        patch,
        "delete_payload_value",
        sqlite=lambda text: text.replace("NOT EXISTS", "NULL IS NOT NULL AND NOT EXISTS"),
        postgres=lambda text: text.replace("NOT EXISTS", "NULL IS NOT NULL AND NOT EXISTS"),
    )


async def in_store(real: Any, work: Any) -> Any:
    """Run work in a writing transaction of the tenant."""
    if hasattr(real, "_write_as"):
        return await real._write_as(TENANT, lambda connection, owner: work(connection, owner.number))
    store = getattr(real, "_writer_store", real)
    return await store._writer.submit(lambda connection: work(connection, 1))


def forget_in(real: Any) -> Any:
    return (postgres_index if hasattr(real, "_write_as") else sqlite_index).forget_payload_values


@catches(values_stay_without_events)
async def test_what_is_forgotten_is_not_in_the_index(real: Any) -> None:
    """The entries of the forgotten positions are gone, with values that no other event has; counts are right for the
    rest. Forgetting twice, or what is not indexed yet, changes nothing."""
    payloads = [b'{"tool":"a"}', b'{"tool":["a","b"]}', b'{"tool":"c"}']
    await add(real, *[new(number, payload=payload) for number, payload in enumerate(payloads, 1)])
    await index_all(real, ("tool",))
    await add(real, new(4, payload=b'{"tool":"a"}'))
    for _ in range(2):
        await in_store(real, lambda connection, number: forget_in(real)(connection, number, [2, 3, 4]))

        async def total(text: str) -> int:
            page = await real.list_events(VIEWER, Query(payload_values=(f"tool={text}",)), PageRequest())
            assert len(page.events) == page.total
            return int(page.total)

        # The last event is not in the index, so that its payload still counts: it was not removed here.
        assert [await total(text) for text in "abc"] == [2, 0, 0]
    await index_all(real, ("tool",))
    assert [await total(text) for text in "abc"] == [2, 0, 0]
    assert await texts_of(real) == ["a"]


async def texts_of(real: Any) -> list[str]:
    """The values that the index has."""
    return await column_of(real, "SELECT text FROM payload_value ORDER BY text")


async def entries_in(real: Any) -> int:
    """How many pairs of an event and a value the index has."""
    [count] = await column_of(real, "SELECT count(*) FROM payload_entry")
    return int(count)


async def column_of(real: Any, text: str) -> list[Any]:
    """What a statement with one column finds in the store."""
    if hasattr(real, "_write_as"):
        rows = await real._read_as(TENANT, lambda connection, _: connection.fetch(text))
        return [row[0] for row in rows]
    found: list[Any] = await real._readers.read(TENANT, lambda connection: [row[0] for row in connection.execute(text)])
    return found


@breaks("sqlite", "postgres")
def removed_values_stay(patch: Patch) -> None:
    """Mutant: a removal leaves the index as it is."""

    def forget_nothing(*_arguments: Any) -> None:
        """On SQLite."""

    async def forget_nothing_there(*_arguments: Any) -> None:
        """On PostgreSQL."""

    for module in (sqlite_purge, sqlite_removals):
        patch.setattr(module, "forget_payload_values", forget_nothing)
    for module in (postgres_purge, postgres_removals):
        patch.setattr(module, "forget_payload_values", forget_nothing_there)


@catches(removed_values_stay)
async def test_what_is_removed_is_not_in_the_index(real: Any) -> None:
    """Purged events and erased payloads match no filter, whether they were indexed or not; the others still do, and
    no value is kept that no event has."""
    await fill(real, 60)
    await index_all(real)
    await fill(real, 20, first=60, seed=2)
    entries = await entries_in(real)
    await real.removals.purge(TENANT, Purge(1, 31, (5, 7)), ())
    await real.removals.erase_payloads(TENANT, [5, 31, 40, 70], NOON, ())
    assert await entries_in(real) < entries / 2 + 5
    left = (await real.list_events(VIEWER, Query(), PageRequest(limit=100))).events
    assert len(left) == 52
    for _ in range(2):
        indexed = [json.loads(event.payload) for event in left if event.payload is not None and event.position <= 60]
        tools = [made["tool"] for made in indexed if isinstance(made.get("tool"), str)]
        assert {text for text in await texts_of(real) if text in TOOLS} == {*tools} & {*TOOLS}
        for fields in QUERIES:
            query = Query(**fields)
            wanted = [event.position for event in left if Filters().matches(event, query)]
            assert (await real.count_events(VIEWER, query)).total == len(wanted), fields
            page = await real.list_events(VIEWER, query, PageRequest(limit=100))
            assert ([event.position for event in page.events], page.total) == (wanted, len(wanted)), fields
        await index_all(real)
