"""Indexed queries read only the part of the log that they need, independent of SQLite's statistics.

Every statement that the store executes for a query is traced and explained: on the store itself, and on two copies
with false statistics, one in favour of the time index and one against it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.contract.faults import reword
from tests.contract.made import NOON, SECOND, TENANT, VIEWER, asked, new, uuid
from tests.contract.mutants import reword_pages
from whence.activity import ActorPageRequest
from whence.events import Keyset, PageRequest, Viewer
from whence.histograms import HistogramRequest
from whence.storage import Write
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.sqlite import pages
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.walks import PageStart

EVENTS = 12_000

FILTERS: dict[str, dict[str, Any]] = {
    "everything": {},
    "event_type": {"event_types": ("action_run.failed",)},
    "prefix": {"event_type_prefixes": ("action_run.",)},
    "resource_type": {"resource_types": ("artifact",)},
    "actor_type": {"actor_types": ("agent",)},
    "outcome": {"outcomes": ("failure",)},
    "narrowed": {"readable": ("artifact",)},
    "one_actor": {"actor_ids": ("a3",)},
}
RANGES: dict[str, dict[str, Any]] = {
    "always": {},
    "between": {"since": NOON + 500 * SECOND, "until": NOON + 70_000 * SECOND},
    "from": {"since": NOON + 500 * SECOND},
    "to": {"until": NOON + 70_000 * SECOND},
}
REQUESTS = {
    "first page": PageRequest(limit=20),
    "first page ascending": PageRequest(limit=20, ascending=True),
    "offset walk": PageRequest(limit=20, offset=2_000),
    "offset walk ascending": PageRequest(limit=20, offset=2_000, ascending=True),
    "behind a place": PageRequest(limit=20, after=Keyset(NOON + 40_000 * SECOND, 99)),
    "snapshot": PageRequest(limit=20, as_of=EVENTS - 500),
}

GRID_EDGE = load_blocks("whence.storage.sqlite")["grid_edge"]

Question = Callable[[SQLiteStore], Coroutine[Any, Any, Any]]


def questions() -> dict[str, Question]:
    """Every indexed query."""
    found: dict[str, Question] = {"get": lambda store: store.get_event(VIEWER, uuid(77))}
    found["head"] = lambda store: store.head(TENANT)
    for viewer in (VIEWER, Viewer(TENANT, ("artifact",))):
        for when, time in RANGES.items():
            ends = time.get("since"), time.get("until")
            found[f"actors {when} {viewer.readable}"] = lambda store, viewer=viewer, ends=ends: store.actors(
                viewer, *ends, ActorPageRequest(limit=20)
            )
            found[f"one actor {when} {viewer.readable}"] = lambda store, viewer=viewer, ends=ends: store.actor_summary(
                viewer, ("agent", "a3"), *ends
            )
    alone = {"one_resource": {"resource_ids": (uuid(7),)}, "one_flow": {"correlation_ids": ("flow-7",)}}
    asked_of = [
        (f"{name} {when}", {**filters, **time}) for name, filters in FILTERS.items() for when, time in RANGES.items()
    ]
    for name, filters in asked_of:
        found[f"aggregate {name}"] = lambda store, filters=filters: store.count_events(*asked(filters))
        found[f"histogram {name}"] = lambda store, filters=filters: store.histogram(*asked(filters), HistogramRequest())
        found[f"statistics {name}"] = lambda store, filters=filters: store.actor_stats(*asked(filters))
        found[f"facets {name}"] = lambda store, filters=filters: store.facets(*asked(filters), 5)
    for name, filters in [*asked_of, *((name, filters) for name, filters in alone.items())]:
        for how, request in REQUESTS.items():
            found[f"list {name} {how}"] = lambda store, filters=filters, request=request: store.list_events(
                *asked(filters), request
            )
    return found


def filled(path: Path) -> None:
    """A store with buckets divided down to hours, and kinds, actors, flows and resources of every size."""

    async def fill() -> None:
        store = SQLiteStore(str(path))
        for first in range(1, EVENTS, 2_000):
            await store.append(TENANT, [Write(tuple(various(number) for number in range(first, first + 2_000)))])
        await store.close()

    asyncio.run(fill())


def various(number: int) -> Any:
    return new(
        number,
        occurred_at=NOON + number * 7 * SECOND,
        event_type=("action_run.completed", "action_run.failed", "invoice.sent")[number % 3],
        actor_type=("user", "agent")[number % 2],
        actor_id=f"a{number % 40}",
        resource_type=("action_run", "artifact")[number // 2 % 2],
        resource_id=uuid(number % 300),
        correlation_id=f"flow-{number % 500}",
        causation_id=uuid(number // 2) if number % 5 else None,
    )


def lying(path: Path, copy: Path, *, for_time: bool) -> apsw.Connection:
    """A copy whose statistics say that the time index finds one event and every other index all events, or the
    reverse."""
    original = apsw.Connection(str(path))
    original.execute("VACUUM INTO ?", (str(copy),))
    original.close()
    connection = apsw.Connection(str(copy))
    connection.execute("ANALYZE event")
    for name in ("event_time", "event_kind", "event_actor", "event_flow", "event_resource", "event_cause"):
        finds = 1 if for_time == (name == "event_time") else EVENTS
        columns = 5 if name == "event_time" else 3
        stat = " ".join(map(str, [EVENTS, *[finds] * columns]))
        connection.execute("UPDATE sqlite_stat1 SET stat = ? WHERE idx = ?", (stat, name))
    connection.close()
    return apsw.Connection(str(copy))


class Explained:
    """The store, and the connections that explain its statements."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.db"
        filled(self.path)
        self.explaining = [
            apsw.Connection(str(self.path)),
            lying(self.path, folder / "for.db", for_time=True),
            lying(self.path, folder / "against.db", for_time=False),
        ]

    def statements(self, asked: dict[str, Question]) -> dict[str, tuple[str, Any]]:
        """Every statement that the queries execute, with the bindings and the query of its first execution."""
        seen: dict[str, tuple[str, Any]] = {}

        async def ask() -> None:
            store = SQLiteStore(str(self.path))
            now = ""

            def trace(_cursor: apsw.Cursor, sql: str, bindings: Any) -> bool:
                seen.setdefault(sql, (now, bindings))
                return True

            for reader in store._readers._readers:
                reader.connection.exec_trace = trace
            try:
                for now, question in asked.items():  # noqa: B007  (the trace above reads it)
                    await question(store)
            finally:
                await store.close()

        asyncio.run(ask())
        return {sql: question for sql, question in seen.items() if sql not in ("BEGIN", "ROLLBACK")}

    def faults(self, asked: dict[str, Question]) -> list[str]:
        """The faults in the plans of these queries."""
        return [
            f"{question}: {fault}: {sql}"
            for sql, (question, bindings) in self.statements(asked).items()
            for connection in self.explaining
            for fault in faults_of(sql, [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)])
        ]


def faults_of(sql: str, plan: list[str]) -> Iterator[str]:
    """The faults in the plan of an indexed query's statement."""
    for step in plan:
        of_a_table = step.startswith("SCAN") and step != "SCAN CONSTANT ROW"
        if of_a_table and "json_each" not in step and "carray" not in step:
            yield step
        # One row per actor is allowed only where it is unavoidable: counting by actor over many buckets.
        # A histogram groups the few events of an edge by kind.
        if "TEMP B-TREE" in step and "rollup_actor" not in sql and sql != GRID_EDGE:
            yield step
        if not step.startswith(("SEARCH event ", "SEARCH e ")):
            continue
        bounded = "rowid" in step or " id=?" in step or ("occurred_at>?" in step and "occurred_at<?" in step)
        if not bounded and ("LIMIT" not in sql or " IN (SELECT" in sql):
            yield f"not bounded: {step}"
        for column in ("kind", "actor", "flow", "resource"):
            if f" AND {column} = ?" in sql and f"{column}=?" not in step:
                yield f"{column} is filtered and not searched: {step}"


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explained]:
    """One store for all tests of this file, which only read it."""
    opened = Explained(tmp_path_factory.mktemp("plans"))
    yield opened
    for connection in opened.explaining:
        connection.close()


def test_flat_questions_neither_scan_nor_sort(explained: Explained) -> None:
    """No plan has a table scan, a sort, or a search that is bounded only by the tenant and reads every row."""
    assert explained.faults(questions()) == []


def test_the_questions_reach_every_index_and_the_walk(explained: Explained) -> None:
    """The queries use every index and the walk, so the test above covers them all."""
    text = "\n".join(explained.statements(questions()))
    for part in ("event_time", "event_kind", "event_actor", "event_flow", "event_resource"):
        assert f"INDEXED BY {part}" in text
    for part in (
        "FROM bucket",
        "FROM rollup_kind",
        "FROM rollup_actor",
        "JOIN actor_total",
        "UNION ALL",
        "LIMIT 1 OFFSET",
        "FROM event e",
    ):
        assert part in text
    assert explained.explaining[0].execute("SELECT max(level) FROM bucket WHERE divided").get >= 2


def _without_hints(patch: pytest.MonkeyPatch) -> None:
    reword_pages(
        patch, sqlite=lambda sql: sql.replace("INDEXED BY event_kind", "").replace("INDEXED BY event_actor", "")
    )


def _order_of_no_index(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pages, "_order", lambda _ascending: " ORDER BY occurred_at DESC, key ASC")


def _counts_from_events(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResolvedQuery, "by_rollup", False)


def _edge_without_end(patch: pytest.MonkeyPatch) -> None:
    """Mutant: the index is read to the end of the log, and rows after the edge are filtered out."""
    reword(patch, "edge", sqlite=("AND occurred_at < ?", "AND +occurred_at < ?"))


@pytest.mark.parametrize(
    "mutant",
    [_without_hints, _order_of_no_index, _counts_from_events, _edge_without_end],
    ids=lambda mutant: mutant.__name__.strip("_"),
)
def test_mutants_of_the_plans_are_caught(mutant: Any, explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing index hint, an order that no index has, and a count over raw events are each reported."""
    mutant(monkeypatch)
    asked = {name: ask for name, ask in questions().items() if "outcome" in name or "one_actor" in name}
    assert explained.faults(asked)


# --- the order, on the text of the statements ------------------------------------------------------------------

SNAPSHOT = Snapshot(VIEWER, 1, EVENTS, {})
MATCHES = {
    "time": ResolvedQuery(since=1, until=2),
    "kind": ResolvedQuery(kinds=tuple(range(1, 8))),
    "actor": ResolvedQuery(actors=(1, 2), kinds=(1,)),
    "flow": ResolvedQuery(flows=(1,)),
    "resource": ResolvedQuery(resources=(1, 2, 3)),
    "cause": ResolvedQuery(causes=("why", b"0" * 16)),
}


def order_faults(patch: pytest.MonkeyPatch) -> list[str]:
    """The statements whose text does not end in exactly one ORDER BY of the total order, or whose terms name no
    index."""
    patch.setattr(pages, "TERMS_MAX", 3)
    faults = []
    for ascending, order in (
        (False, " ORDER BY occurred_at DESC, key DESC"),
        (True, " ORDER BY occurred_at ASC, key ASC"),
    ):
        for column, resolved in MATCHES.items():
            for start in (PageStart(), PageStart(sort_key=(5, 6))):
                for sql, _ in pages.sort_keys_sql(SNAPSHOT, resolved, start, ascending=ascending):
                    terms = sql.split(" UNION ALL ")
                    ordered = sql.count("ORDER BY") == 1 and sql.endswith(order)
                    hinted = all(f"INDEXED BY event_{column} " in term for term in terms)
                    if not ordered or not hinted:
                        faults.append(sql)
    return faults


def test_the_order_of_a_listing_is_total_in_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ORDER BY occurred_at, key` appears once, outside of the compound, in one direction; each term names its
    index."""
    assert order_faults(monkeypatch) == []


def _order_left_out(patch: pytest.MonkeyPatch) -> None:
    """Mutant: statements without ORDER BY, whose indexes happen to return the same order."""
    patch.setattr(pages, "_order", lambda _ascending: "")


def _order_without_tie_break(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pages, "_order", lambda ascending: f" ORDER BY occurred_at {'ASC' if ascending else 'DESC'}")


def _order_inside(patch: pytest.MonkeyPatch) -> None:
    reword_pages(patch, sqlite=lambda sql: sql.replace(" UNION ALL", " ORDER BY occurred_at DESC, key DESC UNION ALL"))


@pytest.mark.parametrize(
    "mutant",
    [_order_left_out, _order_without_tie_break, _order_inside, _order_of_no_index, _without_hints],
    ids=lambda mutant: mutant.__name__.strip("_"),
)
def test_mutants_of_the_order_are_caught(mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that only the index provides, and not the text, is reported."""
    mutant(monkeypatch)
    assert order_faults(monkeypatch)
