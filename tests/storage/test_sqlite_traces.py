"""A trace on SQLite takes few statements, however long the graph is, and what is read in advance changes no answer."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.made import VIEWER, add, uuid
from tests.contract.model import ModelStore
from tests.contract.test_causes import READERS, REQUESTS, various
from tests.storage.test_postgres_traces import LENGTH, chain
from tests.unit.mutants import catches, replaced
from whence.events import Viewer
from whence.storage import create_store
from whence.storage.sqlite import traces
from whence.trace import TraceRequest

BLOCKS_OF_A_TRACE = ("keys_by_cause", "keys_by_flow", "graph_events", "causes_above", "effects_below")


class Counted(dict[str, str]):
    """The SQL blocks, which count how often a trace asks for one."""

    asked = 0

    def __getitem__(self, name: str) -> str:
        self.asked += name in BLOCKS_OF_A_TRACE
        return super().__getitem__(name)


async def _statements(folder: Path, patch: pytest.MonkeyPatch, focus: int, *, twigs: bool) -> int:
    """The number of statements of a trace that reads a long chain."""
    store: Any = create_store(f"sqlite:///{folder}/log.db")
    events = chain(1, LENGTH, twigs=twigs)
    await add(store, *events)
    counted = Counted(traces._SQL)
    with patch.context() as patched:
        patched.setattr(traces, "_SQL", counted)
        graph = await store.trace(VIEWER, uuid(focus), TraceRequest())
    await store.close()
    assert graph.events == len(events)
    return counted.asked


@catches(
    replaced(traces, "_HOPS_FACTOR", 1, "reads_one_hop_at_a_time"),
    replaced(traces, "_AHEAD_MAX", 1, "reads_nothing_ahead"),
)
@pytest.mark.parametrize("focus", [1, LENGTH])
@pytest.mark.parametrize("twigs", [False, True])
def test_a_long_chain_takes_few_statements(
    focus: int, twigs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Causes and effects are read in advance, four times as many hops with each lookup."""
    assert asyncio.run(_statements(tmp_path, monkeypatch, focus, twigs=twigs)) < 45


@catches(replaced(traces, "_complete", lambda rows, _hops: {key for key, _ in rows}, "takes_the_last_hop_for_read"))
@pytest.mark.parametrize(("factor", "ahead_max"), [(2, 4_000), (3, 9), (4, 30)])
def test_graphs_are_those_of_the_model(
    factor: int, ahead_max: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is read in advance, and where that stops, a graph is the same; with cycles and narrowed viewers too."""
    monkeypatch.setattr(traces, "_HOPS_FACTOR", factor)
    monkeypatch.setattr(traces, "_AHEAD_MAX", ahead_max)
    asyncio.run(_compare_with_model(tmp_path))


async def _compare_with_model(folder: Path) -> None:
    store, model = create_store(f"sqlite:///{folder}/log.db"), ModelStore()
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
