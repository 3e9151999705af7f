"""Indexed queries read only the part of the log that they need, by PostgreSQL's plans of their statements.

Every statement that the store executes for a query is run again with EXPLAIN ANALYZE, in the same transaction and with
the same values, on a log that is large enough for the planner to prefer the right index.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import msgspec
import pytest

from tests.contract.made import NOON, SECOND, TENANT, VIEWER, add, asked, new, uuid
from tests.databases import copied_database, execute, fetch, fresh_database
from whence import rollups
from whence.activity import ActorPageRequest
from whence.events import Keyset, NewEvent, PageRequest, Viewer
from whence.flows import FlowQuery
from whence.histograms import HistogramRequest
from whence.storage import create_store, sequencing
from whence.storage.resolve import ResolvedQuery
from whence.trace import TraceRequest

pytestmark = pytest.mark.slow

EVENTS = 12_000
STEP = 120 * SECOND
FLOWS, RESOURCES = 500, 4_000

READ_MAX = 1_500
"""Rows of `event` that one statement may read: a page, the walk to it, the edges of a range, a snapshot's distance."""

SORTED_MAX = 1_500
"""Rows that one statement may sort."""

LARGE = {"event", "flow", "resource", "bucket", "rollup_kind", "rollup_actor"}
"""Tables that grow with the log. Those of kinds, actors and transitions are small here, and may be scanned."""

KIND = {
    "event_type": {"event_types": ("invoice.sent",)},
    "prefix": {"event_type_prefixes": ("action_run.",)},
    "resource_type": {"resource_types": ("artifact",)},
    "actor_type": {"actor_types": ("agent",)},
    "outcome": {"outcomes": ("failure",)},
    "narrowed": {"readable": ("artifact",)},
}
FILTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "everything": ("event_time", {}),
    **{name: ("event_kind", filters) for name, filters in KIND.items()},
    "one_actor": ("event_actor", {"actor_ids": ("a3",)}),
}
"""The indexed filters, and the index that lists the matches."""

ALONE: dict[str, tuple[str, dict[str, Any]]] = {
    "one_resource": ("event_resource", {"resource_ids": (uuid(7),)}),
    "one_flow": ("event_flow", {"correlation_ids": ("flow-7",)}),
}
RANGES: dict[str, dict[str, Any]] = {
    "always": {},
    "between": {"since": NOON + 5_000 * SECOND, "until": NOON + EVENTS * STEP - 777 * SECOND},
}
REQUESTS = {
    "first page": PageRequest(limit=20),
    "first page ascending": PageRequest(limit=20, ascending=True),
    "offset walk": PageRequest(limit=20, offset=2_000),
    "behind a place": PageRequest(limit=20, after=Keyset(NOON + EVENTS // 2 * STEP, 99)),
    "snapshot": PageRequest(limit=20, as_of=EVENTS - 500),
}


class Question(msgspec.Struct, frozen=True):
    """A query, and the indexes that its statements must use."""

    ask: Callable[[Any], Coroutine[Any, Any, Any]]
    indexes: frozenset[str]


def questions() -> dict[str, Question]:
    """Every indexed query, by name."""
    found = {
        "get": Question(lambda store: store.get_event(VIEWER, uuid(77)), frozenset({"event_id"})),
        "trace": Question(
            lambda store: store.trace(VIEWER, uuid(7_000), TraceRequest()),
            frozenset({"event_id", "event_cause"}),
        ),
        "flows": Question(
            lambda store: store.list_flows(VIEWER, FlowQuery(), PageRequest(limit=20)), frozenset({"flow_last"})
        ),
        "failed flows": Question(
            lambda store: store.list_flows(VIEWER, FlowQuery(failed=True), PageRequest(limit=20)),
            frozenset({"flow_failed"}),
        ),
        "map": Question(lambda store: store.process_map(VIEWER, None, None), frozenset()),
        "actors": Question(
            lambda store: store.actors(VIEWER, NOON + EVENTS // 2 * STEP, None, ActorPageRequest(limit=20)),
            frozenset({"rollup_actor_pkey", "event_actor"}),
        ),
        "actors, narrowed": Question(
            lambda store: store.actors(
                Viewer(TENANT, ("artifact",)), NOON + EVENTS // 2 * STEP, None, ActorPageRequest(limit=20)
            ),
            frozenset({"rollup_actor_pkey"}),
        ),
        "one actor": Question(
            lambda store: store.actor_summary(VIEWER, ("user", "a3"), None, None),
            frozenset({"rollup_actor_pkey", "event_actor"}),
        ),
    }
    for name, (index, filters) in FILTERS.items():
        for when, time in RANGES.items():
            found |= _counting(f"{name} {when}", {**filters, **time})
            found |= _listing(f"{name} {when}", index, {**filters, **time})
    for name, (index, filters) in ALONE.items():
        found |= _listing(name, index, filters)
    return found


def _counting(name: str, filters: dict[str, Any]) -> dict[str, Question]:
    counted = "rollup_actor_pkey" if "actor_ids" in filters else "rollup_kind_pkey"
    edges = {"event_time"} if filters.get("since") else set()
    return {
        f"aggregate {name}": Question(lambda store: store.count_events(*asked(filters)), frozenset({counted, *edges})),
        f"histogram {name}": Question(
            lambda store: store.histogram(*asked(filters), HistogramRequest(interval="1d")), frozenset({counted})
        ),
        f"facets {name}": Question(lambda store: store.facets(*asked(filters), 5), frozenset({counted, *edges})),
        f"statistics {name}": Question(
            lambda store: store.actor_stats(*asked(filters)), frozenset({"rollup_actor_pkey", *edges})
        ),
    }


def _listing(name: str, index: str, filters: dict[str, Any]) -> dict[str, Question]:
    def question(request: PageRequest) -> Question:
        return Question(lambda store: store.list_events(*asked(filters), request), frozenset({index}))

    return {f"list {name} {how}": question(request) for how, request in REQUESTS.items()}


def _various(number: int) -> NewEvent:
    return new(
        number,
        occurred_at=NOON + number * STEP,
        event_type="action_run.failed" if number % 5 == 0 else ("action_run.completed", "invoice.sent")[number % 2],
        actor_type=("user", "agent")[number % 2],
        actor_id="a3" if number % 4 == 0 else f"a{number % 40}",
        resource_type=("action_run", "artifact")[number // 2 % 2],
        resource_id=uuid(number % RESOURCES),
        correlation_id=f"flow-{number % FLOWS}",
        causation_id=uuid(number - FLOWS) if number > FLOWS else None,
    )


@pytest.fixture(scope="module")
async def filled(anyio_backend: str) -> str:
    """A database of two tenants with 12,000 events each, with buckets divided down to minutes."""
    url = await fresh_database()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollups, "DIVIDE_AT", 8)
        patch.setattr(sequencing, "FOLD_AT", 1_000)
        store = create_store(url)
        for first in range(1, EVENTS + 1, 1_000):
            for tenant in (TENANT, "another"):
                await add(store, *[_various(number) for number in range(first, first + 1_000)], tenant=tenant)
        await store.close()
    await execute(url, "VACUUM ANALYZE")
    return url


class Explaining:
    """A connection on which each statement is executed and explained."""

    def __init__(self, connection: Any, plans: dict[str, Any]) -> None:
        self._connection = connection
        self._plans = plans

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._connection, name)

        async def explained(sql: str, *values: Any) -> Any:
            if sql not in self._plans and not sql.rpartition("\n")[2].startswith("SET LOCAL"):
                text = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}"
                self._plans[sql] = msgspec.json.decode(await self._connection.fetchval(text, *values))[0]["Plan"]
            return await method(sql, *values)

        return explained


@pytest.fixture
async def store(filled: str) -> AsyncIterator[Any]:
    """A store on that database."""
    opened = create_store(filled)
    yield opened
    await opened.close()


async def _plans(store: Any, question: Question) -> dict[str, Any]:
    """The plan of every statement of a query."""
    plans: dict[str, Any] = {}
    real = store._reading.run

    async def run(tenant_no: int, work: Any, **more: Any) -> Any:
        return await real(tenant_no, lambda connection: work(Explaining(connection, plans)), **more)

    store._reading.run = run
    try:
        await question.ask(store)
    finally:
        store._reading.run = real
    return plans


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _rows(node: dict[str, Any]) -> float:
    """The number of rows that a plan node returned or filtered out."""
    names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return float(sum(node.get(name, 0) for name in names) * node["Actual Loops"])


def _faults_of(plan: dict[str, Any]) -> Iterator[str]:
    """The faults in the plan of an indexed query's statement."""
    for node in _nodes(plan):
        kind, table = node["Node Type"], node.get("Relation Name", "")
        if kind == "Seq Scan" and table in LARGE and node["Actual Loops"]:
            yield f"scans {table}"
        if table == "event" and _rows(node) > READ_MAX:
            yield f"reads {_rows(node):.0f} events by {node.get('Index Name')}"
        if "Sort" in kind and _rows(node["Plans"][0]) > SORTED_MAX:
            yield f"sorts {_rows(node['Plans'][0]):.0f} rows"


async def _faults(store: Any, asked: dict[str, Question]) -> list[str]:
    """The faults in the plans of these queries."""
    found = []
    for name, question in asked.items():
        plans = await _plans(store, question)
        found += [f"{name}: {fault}: {sql}" for sql, plan in plans.items() for fault in _faults_of(plan)]
        used = {node.get("Index Name") for plan in plans.values() for node in _nodes(plan)}
        found += [f"{name}: does not use {index}" for index in sorted(question.indexes - used)]
    return found


async def test_flat_questions_neither_scan_nor_sort(store: Any) -> None:
    """No growing table is scanned, the log is not sorted, and the expected index is used."""
    assert await _faults(store, questions()) == []


async def test_the_log_is_as_large_as_it_must_be(filled: str) -> None:
    """The tables are large enough to need an index and their buckets are divided, so the test above is meaningful."""
    assert await fetch(filled, "SELECT max(level) >= 5 FROM whence.bucket WHERE divided") == [(True,)]
    pages = "SELECT min(relpages) > 3 FROM pg_class WHERE relname = ANY($1::text[]) AND relkind = 'r'"
    assert await fetch(filled, pages, list(LARGE)) == [(True,)]


DROPPED = {
    "event_time": "list everything always first page",
    "event_kind": "list outcome always first page",
    "event_actor": "list one_actor between first page",
    "event_flow": "list one_flow first page",
    "event_resource": "list one_resource first page",
    "event_id": "get",
    "event_cause": "trace",
    "flow_last": "flows",
    "flow_failed": "failed flows",
}


async def test_an_index_that_is_gone_is_missed(filled: str) -> None:
    """When any one index is dropped, the query that needs it is reported."""
    url = await copied_database(filled)
    store = create_store(url)
    await store.check_servable()  # which would refuse the database afterwards
    await execute(url, *[f"DROP INDEX whence.{index}" for index in DROPPED])
    silent = [name for name in DROPPED.values() if not await _faults(store, {name: questions()[name]})]
    await store.close()
    assert silent == []


async def test_counts_over_raw_events_would_be_seen(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An aggregate that does not use the rollups reads too many rows."""
    monkeypatch.setattr(ResolvedQuery, "by_rollup", False)
    name = "aggregate outcome between"
    assert any("reads" in fault for fault in await _faults(store, {name: questions()[name]}))


async def test_an_order_that_no_index_has_would_be_seen(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page in an order that its index does not have needs a sort or another index, and is reported."""
    monkeypatch.setattr("whence.storage.postgres.pages._order", lambda **_: " ORDER BY position DESC, occurred_at DESC")
    name = "list outcome always first page"
    assert await _faults(store, {name: questions()[name]})
