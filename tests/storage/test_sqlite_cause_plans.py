"""Queries about causes read only the rows that they return, independent of SQLite's statistics."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.faults import reword
from tests.contract.made import NOON, SECOND, TENANT, VIEWER, uuid
from tests.storage.test_sqlite_plans import Explained, Question
from whence.events import Keyset, PageRequest, Viewer
from whence.flows import FlowQuery
from whence.trace import TraceRequest

READERS = (None, ("artifact",))
LATER = NOON + 80_000 * SECOND


def questions() -> dict[str, Question]:
    """Graphs, flows and maps, for readers with and without restricted resource types."""
    asked: dict[str, Question] = {}
    for readable in READERS:
        asked[f"trace {readable}"] = lambda store, who=readable: store.trace(
            Viewer(TENANT, who), uuid(77), TraceRequest()
        )
        asked[f"cut trace {readable}"] = lambda store, who=readable: store.trace(
            Viewer(TENANT, who), uuid(77), TraceRequest(walk_max=9)
        )
        asked[f"map {readable}"] = lambda store, who=readable: store.process_map(Viewer(TENANT, who), NOON, LATER)
    for filters in ({}, {"failed": True}, {"since": NOON + 79_000 * SECOND, "until": LATER}):
        for request in (PageRequest(limit=20), PageRequest(limit=20, offset=40, after=Keyset(LATER, 99))):
            asked[f"flows {filters} {request.offset}"] = lambda store, filters=filters, request=request: (
                store.list_flows(VIEWER, FlowQuery(**filters), request)
            )
    return asked


def faults(explained: Explained) -> list[str]:
    """The faults in the plans of these queries."""
    return [
        f"{question}: {fault}: {sql}"
        for sql, (question, bindings) in explained.statements(questions()).items()
        for connection in explained.explaining
        for fault in faults_of([row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)])
    ]


def faults_of(plan: list[str]) -> Iterator[str]:
    """The faults of a plan: a table scan, a sort, or a search that is bounded only by the tenant and reads every
    row."""
    for step in plan:
        given = ("json_each", "carray", "SCAN above", "SCAN below")  # the values asked for, and rows of a recursion
        if step.startswith("SCAN") and not any(name in step for name in given):
            yield step
        if "TEMP B-TREE" in step:
            yield step
        if step.startswith(("SEARCH event ", "SEARCH e ")):
            named = ("rowid", " id=?", " cause=?", " flow=?", "INTEGER PRIMARY KEY")
            if not any(name in step for name in named):
                yield f"not bounded: {step}"
        if step.startswith("SEARCH page") and "flow_" not in step:
            yield f"no index by last activity: {step}"
        if step.startswith("SEARCH transition") and "level=? AND bucket>? AND bucket<?" not in step:
            yield f"all buckets: {step}"


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explained]:
    """One store for all tests of this file, which only read it."""
    opened = Explained(tmp_path_factory.mktemp("plans"))
    yield opened
    for connection in opened.explaining:
        connection.close()


def test_questions_about_causes_neither_scan_nor_sort(explained: Explained) -> None:
    """No statement of a graph, of a page of flows or of the map scans a table or sorts."""
    assert faults(explained) == []


def test_the_questions_reach_every_block(explained: Explained) -> None:
    """The queries execute every SQL block, so the test above covers them all."""
    text = "\n".join(explained.statements(questions()))
    for part in (
        "INDEXED BY event_cause",
        "ORDER BY occurred_at, key",
        "flow_last",
        "flow_failed",
        "FROM transition",
        "e.id IN",
    ):
        assert part in text


def _search_by_kind(patch: pytest.MonkeyPatch) -> None:
    reword(patch, "keys_by_cause", sqlite=("INDEXED BY event_cause", "INDEXED BY event_kind"))


def _sorted_by_id(patch: pytest.MonkeyPatch) -> None:
    reword(patch, "flow_events", sqlite=("ORDER BY occurred_at, key", "ORDER BY id"))


def _every_bucket(patch: pytest.MonkeyPatch) -> None:
    reword(patch, "span_of_transitions", sqlite=("bucket BETWEEN ? AND ?", "+bucket BETWEEN ? AND ?"))


@pytest.mark.parametrize("mutant", [_search_by_kind, _sorted_by_id, _every_bucket], ids=lambda mutant: mutant.__name__)
def test_mutants_of_the_plans_are_caught(mutant: Any, explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another index, an order that no index has, and a range that no index bounds are each reported."""
    mutant(monkeypatch)
    assert faults(explained)
