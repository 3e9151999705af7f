"""A trace takes few round trips and reads each event a few times, however long the graph is and whatever the statistics
of the tables say."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.contract.made import NOON, SECOND, VIEWER, add, new, uuid
from tests.contract.model import ModelStore
from tests.contract.test_causes import READERS, REQUESTS, various
from tests.databases import execute, fresh_database
from tests.storage.statements import listen
from tests.unit.mutants import catches, replaced
from whence.events import NewEvent, Viewer
from whence.storage import create_store
from whence.storage.postgres import engine, traces
from whence.storage.postgres.connections import begin_statements
from whence.trace import Graph, TraceRequest

LENGTH = 600

FETCHED = """
SELECT sum(greatest(pg_stat_get_xact_tuples_returned(oid), pg_stat_get_xact_tuples_fetched(oid)))::int
  FROM pg_class
 WHERE oid = 'event'::regclass OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'event'::regclass)
"""
"""Rows of events that the transaction's scans have read, and entries of their indexes."""


def chain(first: int, count: int, *, twigs: bool = False) -> list[NewEvent]:
    """A chain of events, each of a flow of its own. With `twigs`, every other one is an effect that has none itself."""
    return [
        new(
            number,
            occurred_at=NOON + number * SECOND,
            causation_id=None if number == first else uuid(number - (2 if twigs and number > first + 1 else 1)),
            correlation_id=f"flow {number}",
        )
        for number in range(first, first + count)
    ]


async def _round_trips(monkeypatch: pytest.MonkeyPatch, events: list[NewEvent], focus: int) -> int:
    """The number of statements of a trace that reads all of these events."""
    heard: list[str] = []

    async def hear(_connection: Any, text: str, _values: tuple[Any, ...]) -> None:
        heard.append(text)

    store: Any = create_store(await fresh_database())
    await add(store, *events)
    with monkeypatch.context() as patched:
        listen(patched, hear)
        graph = await store.trace(VIEWER, uuid(focus), TraceRequest())
    await store.close()
    assert graph.events == len(events)
    return len(heard)


@catches(
    replaced(traces, "_HOPS_FACTOR", 1, "reads_one_hop_at_a_time"),
    replaced(traces, "_AHEAD_MAX", 1, "reads_nothing_ahead"),
)
@pytest.mark.parametrize("focus", [1, LENGTH])
@pytest.mark.parametrize("twigs", [False, True])
def test_a_long_chain_takes_few_round_trips(focus: int, twigs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Causes and effects are read in advance, four times as many hops with each lookup."""
    assert asyncio.run(_round_trips(monkeypatch, chain(1, LENGTH, twigs=twigs), focus)) < 45


async def _events_fetched(url: str, patch: pytest.MonkeyPatch) -> int:
    """How many rows of events the server fetches for the trace of a chain, on a connection that kept its plans from
    when the log had ten events."""
    fetched: list[int] = []
    real = engine.graph_of

    async def counted(connection: Any, *given: Any) -> Graph | None:
        graph = await real(connection, *given)
        fetched.append(await connection.fetchval(FETCHED))
        return graph

    store: Any = create_store(url)
    with patch.context() as patched:
        patched.setattr(engine, "graph_of", counted)
        await add(store, *chain(90_001, 10))
        for _ in range(8):  # PostgreSQL keeps a plan from the sixth execution on
            await store.trace(VIEWER, uuid(90_010), TraceRequest())
        await add(store, *chain(1, 1_000))
        graph = await store.trace(VIEWER, uuid(1_000), TraceRequest())
    await store.close()
    assert graph.events == 1_000
    return fetched[-1]


STAR_EVENTS = 3_000
STAR = [new(1, correlation_id="flow 1")] + [
    new(number, causation_id=uuid(1), correlation_id=f"flow {number}") for number in range(2, STAR_EVENTS + 1)
]
"""One cause of all others, so that statistics say that a cause has thousands of effects."""


async def _fetched_of_star(patch: pytest.MonkeyPatch) -> int:
    """How much of the events a trace of `STAR` reads."""
    url = await fresh_database()
    fetched: list[int] = []
    real = engine.graph_of
    store: Any = create_store(url)
    for first in range(0, STAR_EVENTS, 1_000):
        await add(store, *STAR[first : first + 1_000])
    await execute(url, "VACUUM ANALYZE")

    async def counted(connection: Any, *given: Any) -> Graph | None:
        graph = await real(connection, *given)
        fetched.append(await connection.fetchval(FETCHED))
        return graph

    patch.setattr(engine, "graph_of", counted)
    graph = await store.trace(VIEWER, uuid(STAR_EVENTS), TraceRequest())
    await store.close()
    assert graph.events == STAR_EVENTS
    return fetched[-1]


def _unordered(blocks: dict[str, str]) -> dict[str, str]:
    text = blocks["effects_below"]
    assert "ORDER BY occurred_at, position LIMIT $5" in text
    return {**blocks, "effects_below": text.replace("ORDER BY occurred_at, position LIMIT $5", "OFFSET 0")}


@catches(replaced(traces, "_SQL", _unordered(traces._SQL), "leaves_the_index_to_the_planner"))
def test_a_trace_goes_by_causes_when_statistics_mislead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one cause has most of the effects, the others are looked up by the index of causes all the same."""
    assert asyncio.run(_fetched_of_star(monkeypatch)) < STAR_EVENTS * 8


async def _without_statistics() -> str:
    """A log whose tables are never analyzed, as just after a bulk load."""
    url = await fresh_database()
    tables = ("event", "flow", "actor", "resource", "head", "kind")
    await execute(url, *[f"ALTER TABLE whence.{table} SET (autovacuum_enabled = false)" for table in tables])
    return url


async def test_a_trace_needs_no_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after a bulk load, each event is fetched a few times: by its id, by its cause, and with its fields."""
    assert await _events_fetched(await _without_statistics(), monkeypatch) < 1_000 * 20  # 13 each on PostgreSQL 15


async def test_mutant_a_plan_that_was_kept_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan from when the log was small reads all events of the tenant for each hop."""
    monkeypatch.setattr(traces, "_SQL", {**traces._SQL, "plan_by_size": "SELECT 1"})
    assert await _events_fetched(await _without_statistics(), monkeypatch) > 1_000 * 100


@catches(
    replaced(traces, "_complete", lambda rows, _hops: {position for position, _ in rows}, "takes_the_last_hop_for_read")
)
@pytest.mark.parametrize(("factor", "ahead_max"), [(2, 4_000), (3, 9), (4, 30)])
def test_graphs_are_those_of_the_model(factor: int, ahead_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is read in advance, and where that stops, a graph is the same; with cycles and narrowed viewers too."""
    monkeypatch.setattr(traces, "_HOPS_FACTOR", factor)
    monkeypatch.setattr(traces, "_AHEAD_MAX", ahead_max)
    asyncio.run(_compare_with_model())


async def _compare_with_model() -> None:
    store, model = create_store(await fresh_database()), ModelStore()
    for events in (various(11), chain(1_001, 30), chain(2_001, 30, twigs=True)):
        for each in (store, model):
            await add(each, *[msgspec.structs.replace(event, correlation_id=f"of {event.id}") for event in events])
    for number in (*range(1, 71, 3), 1_001, 1_015, 1_030, 2_001, 2_030):
        for readable in READERS:
            viewer = Viewer(VIEWER.tenant, readable)
            for request in REQUESTS:
                found = await store.trace(viewer, uuid(number), request)
                assert found == await model.trace(viewer, uuid(number), request), (number, readable, request)
    await store.close()


def test_a_trace_begins_like_every_read() -> None:
    """What a trace sets holds for its transaction only."""
    assert traces._SQL["plan_by_size"].rpartition("\n")[2].startswith("SET LOCAL ")
    assert all("plan_cache_mode" not in text for text in begin_statements(1, writing=False, on_citus=False))
