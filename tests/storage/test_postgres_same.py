"""Both stores return the same bytes for the recorded runs of an agent, on all six routes and with many filters."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from tests.contract.made import DAY, HOUR, add, asked, new
from tests.databases import fresh_database
from whence.demo import FAILED_EVENT, fill
from whence.events import Event, Keyset, Page, PageRequest, Query, Viewer
from whence.histograms import HistogramRequest
from whence.storage import create_store
from whence.storage.postgres import counts, pages, tenants
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.walks import PageStart
from whence.wire.event import encode_actor_stats, encode_counts, encode_event, encode_page
from whence.wire.histograms import encode_histogram

pytestmark = pytest.mark.slow

TENANT = "airline"
FIRST, LAST = 1_715_000_000_000_000, 1_716_000_000_000_000
EXTRA = frozenset({"position", "outcome"})

FILTERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "one event type": {"event_types": ("action_run.failed",)},
    "several event types": {"event_types": ("action_run.failed", "action_run.completed", "no.such")},
    "an event type that is not there": {"event_types": ("no.such",)},
    "a prefix": {"event_type_prefixes": ("action_run.",)},
    "a resource type": {"resource_types": ("chat_thread",)},
    "an actor type": {"actor_types": ("agent",)},
    "two actor types": {"actor_types": ("agent", "user")},
    "an outcome": {"outcomes": ("failure",)},
    "an actor": {"actor_ids": ("gpt-4o",)},
    "two actors": {"actor_ids": ("gpt-4o", "airline-api")},
    "an actor that is not there": {"actor_ids": ("nobody",)},
    "an actor and an outcome": {"actor_ids": ("airline-api",), "outcomes": ("failure",)},
    "a day": {"since": 1_715_817_600_000_000, "until": 1_715_817_600_000_000 + DAY},
    "since": {"since": 1_715_800_000_000_000},
    "an actor since": {"since": 1_715_800_000_000_000, "actor_ids": ("airline-api",)},
    "until": {"until": 1_715_800_000_000_000},
    "an empty range": {"since": LAST, "until": LAST},
    "an hour of failures": {
        "since": 1_715_800_000_000_000,
        "until": 1_715_800_000_000_000 + HOUR,
        "outcomes": ("failure",),
    },
    "a narrowed reader": {"readable": ("action_run", "chat_thread")},
    "a reader of nothing": {"readable": ()},
    "a flow that is not there": {"correlation_ids": ("none",)},
}


class Both:
    """Two stores with the same events."""

    def __init__(self, sqlite: Any, postgres: Any) -> None:
        self.sqlite = sqlite
        self.postgres = postgres


@pytest.fixture(scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Both]:
    made = Both(
        create_store(f"sqlite:///{tmp_path_factory.mktemp('same')}/log.db"), create_store(await fresh_database())
    )
    for store in (made.sqlite, made.postgres):
        assert await fill(store, TENANT) > 5_000
        # The recording has no two events of the same time.
        await add(store, *[new(number, occurred_at=FIRST) for number in range(30)], tenant=TENANT)
    yield made
    await made.sqlite.close()
    await made.postgres.close()


def _page(page: Page) -> bytes:
    return encode_page(page, EXTRA)


DEEP = (0, 7, 600, 2_000, 5_590, 10_000)


async def _listed(store: Any, filters: dict[str, Any], offsets: tuple[int, ...]) -> list[bytes]:
    """Pages of a list: from both ends, deep, beyond the end, in an older snapshot, and one after another."""
    requests = [
        PageRequest(limit=20, offset=offset, ascending=ascending, as_of=as_of)
        for ascending in (False, True)
        for offset in offsets
        for as_of in (None, 5_000)
    ]
    answers = [await store.list_events(*asked(filters, TENANT), request) for request in requests]
    first = answers[0]
    if first.has_next:
        after = Keyset(first.events[-1].occurred_at, first.events[-1].position)
        behind = PageRequest(limit=100, offset=20, after=after, as_of=first.as_of)
        answers.append(await store.list_events(*asked(filters, TENANT), behind))
    return [_page(each) for each in answers]


async def _answers(store: Any, filters: dict[str, Any], offsets: tuple[int, ...] = DEEP) -> dict[str, Any]:
    """The encoded results of a query: list, aggregate and statistics."""
    return {
        "list": await _listed(store, filters, offsets),
        "aggregate": encode_counts(await store.count_events(*asked(filters, TENANT))),
        "histogram": [
            encode_histogram(await store.histogram(*asked(filters, TENANT), request), request.by)
            for request in (HistogramRequest(), HistogramRequest(by="event_type", top=3, interval="2h"))
        ],
        "actors": b"".join(encode_actor_stats(await store.actor_stats(*asked(filters, TENANT)))),
    }


async def _differing(both: Both) -> set[str]:
    """The filters for which the stores return different bytes."""
    found = set()
    for name, filters in FILTERS.items():
        if await _answers(both.sqlite, filters) != await _answers(both.postgres, filters):
            found.add(name)
    return found


async def test_lists_aggregates_and_statistics_are_the_same_bytes(both: Both) -> None:
    """The bytes are equal under every filter of the table, and the filters match some events."""
    assert await _differing(both) == set()
    assert (
        await both.postgres.list_events(Viewer(TENANT), Query(**FILTERS["an hour of failures"]), PageRequest())
    ).total > 0


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("filter_", ["", "kinds", "actors", "flows", "resources", "causes"])
def test_every_page_says_its_total_order(filter_: str, ascending: bool) -> None:
    """Every ORDER BY of a page, inside and outside of the merge, breaks ties by position, which an index does not
    guarantee."""
    values: dict[str, Any] = {filter_: ("a", FAILED_EVENT) if filter_ == "causes" else (1, 2)} if filter_ else {}
    snapshot = Snapshot(Viewer("airline"), 1, 100, {})
    request = PageRequest(ascending=ascending)
    sql, bindings = pages.page_sql(snapshot, ResolvedQuery(**values), PageStart(), request)
    way = "ASC" if ascending else "DESC"
    assert sql.count("ORDER BY") == sql.count(f"ORDER BY occurred_at {way}, position {way}") >= 2
    assert sql.endswith(f"ORDER BY occurred_at {way}, position {way}")
    assert set(range(1, len(bindings.values) + 1)) == {int(number) for number in re.findall(r"\$(\d+)", sql)}


async def _some(both: Both) -> list[Event]:
    """Some events from every part of the log."""
    return [
        event
        for offset in range(0, 5_500, 700)
        for event in (
            await both.sqlite.list_events(Viewer(TENANT), Query(), PageRequest(limit=2, offset=offset))
        ).events
    ]


async def test_events_by_id_are_the_same_bytes(both: Both) -> None:
    """The bytes are equal for an event in its tenant, in another tenant, and for a reader that may not see it."""
    for event_id in (FAILED_EVENT, *[event.id for event in await _some(both)]):
        events = [await store.get_event(Viewer(TENANT), event_id) for store in (both.sqlite, both.postgres)]
        assert encode_event(events[0], EXTRA) == encode_event(events[1], EXTRA)
        assert await both.postgres.get_event(Viewer("another"), event_id) is None
        assert await both.postgres.get_event(Viewer(TENANT, ("artifact",)), event_id) is None


async def test_flows_resources_and_causes_are_the_same_bytes(both: Both) -> None:
    """The bytes are equal on the routes and with the filters of a correlation and of a resource, also with time and
    type."""
    for event in await _some(both):
        for filters in (
            {"correlation_ids": (event.correlation_id,)},
            {"resource_ids": (event.resource_id,), "resource_types": (event.resource_type,)},
            {"resource_ids": (event.resource_id,), "event_types": (event.event_type,)},
            {"causation_ids": (event.causation_id or "none",)},
            {"correlation_ids": (event.correlation_id, "none"), "since": event.occurred_at},
            {"correlation_ids": (event.correlation_id,), "actor_ids": (event.actor_id,), "readable": ("action_run",)},
        ):
            assert await _answers(both.sqlite, filters, (0, 3)) == await _answers(both.postgres, filters, (0, 3)), (
                filters
            )


async def test_the_hash_trees_differ_by_salt_and_time_alone(both: Both) -> None:
    """Both logs have the same size; their roots differ because salts and recordedAt do."""
    heads = [await store.head(TENANT) for store in (both.sqlite, both.postgres)]
    assert heads[0].size == heads[1].size
    assert heads[0].root != heads[1].root


def _reworded(module: Any, block: str, old: str, new_text: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A mutant that changes the text of a named SQL block in one module."""

    def mutant(patch: pytest.MonkeyPatch) -> None:
        assert old in module._SQL[block]
        patch.setattr(module, "_SQL", {**module._SQL, block: module._SQL[block].replace(old, new_text)})

    return mutant


def _around(owner: Any, name: str, make: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """A mutant that replaces a function with `make(the real function)`."""
    return lambda patch: patch.setattr(owner, name, make(getattr(owner, name)))


def _ties_turned_round(_real: Any) -> Any:
    return lambda *, ascending: f" ORDER BY occurred_at {'ASC, position DESC' if ascending else 'DESC, position ASC'}"


def _one_short(real: Any) -> Any:
    async def walk(connection: Any, snapshot: Any, resolved: Any, request: PageRequest) -> Any:
        return await real(connection, snapshot, resolved, msgspec.structs.replace(request, offset=request.offset - 1))

    return walk


def _behind_with_it(real: Any) -> Any:
    def page_sql(snapshot: Any, resolved: Any, start: Any, request: PageRequest) -> Any:
        return real(snapshot, resolved, msgspec.structs.replace(start, inclusive=True), request)

    return page_sql


async def _none_newer(*_: Any) -> list[int]:
    return []


MUTANTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "the end of an edge is an hour late": (
        _reworded(counts, "edge", "< edge.until", "< edge.until + 3600000000"),
        "an hour of failures",
    ),
    "the start of an edge is an hour late": (
        _reworded(counts, "edge", ">= edge.since", ">= edge.since + 3600000000"),
        "since",
    ),
    "edges forget their actors": (_reworded(counts, "edge", "actor = ANY($5)", "true"), "an actor since"),
    "spans forget their actors": (
        _reworded(counts, "span_by_kind_of_actors", "actor = ANY($5::bigint[])", "$5::bigint[] IS NOT NULL"),
        "an actor",
    ),
    "spans lose their last bucket": (
        _reworded(counts, "span_by_kind", "AND s.last", "AND s.last - 1"),
        "a day",
    ),
    "totals lose their last bucket": (_reworded(counts, "span_total", "AND s.last", "AND s.last - 1"), "a day"),
    "all events are those of another bucket": (_reworded(tenants, "head", "bucket = 0", "bucket = 1"), "nothing"),
    "failures are successes": (
        _reworded(counts, "span_by_actor", "ANY($6::int[])", "ANY($5::int[]) AND $6::int[] IS NOT NULL"),
        "an actor type",
    ),
    "ties are turned round": (_around(pages, "_order", _ties_turned_round), "nothing"),
    "a deep page begins one short": (_around(pages, "_start_at_offset", _one_short), "an actor type"),
    "the walk forgets the snapshot": (_around(pages, "newer_times", lambda _real: _none_newer), "nothing"),
    "the next page repeats the last event": (_around(pages, "page_sql", _behind_with_it), "nothing"),
    "the snapshot is not on the page": (
        _around(ResolvedQuery, "up_to", lambda _real: lambda self, _at: self),
        "nothing",
    ),
    "children of a bucket are read one too early": (
        _reworded(pages, "buckets", "BETWEEN $3 AND $4", "BETWEEN $3 + 1 AND $4"),
        "nothing",
    ),
}
"""Mutants, and the filter of the table above that shows the difference."""


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_store_that_errs_would_be_seen(both: Both, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each mutant changes some bytes of the table above."""
    mutant, filter_ = MUTANTS[name]
    filters = FILTERS[filter_]
    right = await _answers(both.sqlite, filters)
    assert await _answers(both.postgres, filters) == right
    mutant(monkeypatch)
    assert await _answers(both.postgres, filters) != right
