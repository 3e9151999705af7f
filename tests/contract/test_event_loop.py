"""Long arithmetic leaves the event loop on every store, so that other requests are answered meanwhile.

The tests observe which thread computes and measure no time. The size from which work leaves the loop is lowered to 0.
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.faults import breaks, catches, everywhere
from tests.contract.made import VIEWER, add, new, uuid
from tests.contract.mutants import Patch, around
from whence import trace
from whence.events import Query
from whence.storage import walks
from whence.storage.query_deadline import Deadline
from whence.storage.sqlite import readers
from whence.trace import TraceRequest

pytestmark = pytest.mark.anyio


@breaks("postgres")
def everything_on_the_loop(patch: Patch) -> None:
    """Mutant: no work is large enough for a thread."""
    everywhere(patch, "compute", lambda _real: _here)


async def _here(_rows: int, function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


@breaks("sqlite")
def everything_inline(patch: Patch) -> None:
    """Mutant: each read runs on the event loop."""

    async def read_in_thread(self: Any, _tenant: str, question: Callable[[Any], Any]) -> Any:
        return self._here.ask(question, Deadline(60.0))

    patch.setattr(readers.Readers, "read_in_thread", read_in_thread)


@catches(everything_on_the_loop, everything_inline)
async def test_statistics_of_many_actors_are_computed_in_a_thread(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranking runs in a thread, for all events and for those that match a filter."""
    await add(real, *[new(number, actor_id=f"a{number % 7}") for number in range(30)])
    monkeypatch.setattr(walks, "ROWS_ON_LOOP_MAX", 1)
    seen: set[int] = set()
    everywhere(monkeypatch, "ranked", lambda real_: _noting(real_, seen))
    assert len(await real.actor_stats(VIEWER, Query())) == 7
    assert len(await real.actor_stats(VIEWER, Query(outcomes=("success",)))) == 7
    assert seen
    assert threading.get_ident() not in seen


@catches(everything_on_the_loop, everything_inline)
async def test_a_large_graph_is_computed_in_a_thread(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree of a trace is built in a thread once the walk has read more than a few events."""
    await add(real, new(1), *[new(number, causation_id=uuid(1)) for number in range(2, 30)])
    monkeypatch.setattr(walks, "ROWS_ON_LOOP_MAX", 1)
    seen: set[int] = set()
    around(monkeypatch, trace, "_graph", lambda real_: _noting(real_, seen))
    graph = await real.trace(VIEWER, uuid(1), TraceRequest())
    assert graph.events == 29
    assert seen
    assert threading.get_ident() not in seen


@catches(everything_on_the_loop, everything_inline)
async def test_an_aggregate_of_many_kinds_is_computed_in_a_thread(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant has up to 4,096 kinds. On SQLite their number is known from the previous read."""
    await add(real, *[new(number, event_type=f"a.b{number}") for number in range(9)])
    await real.count_events(VIEWER, Query())
    everywhere(monkeypatch, "ROWS_ON_LOOP_MAX", lambda _real: 1)
    seen: set[int] = set()
    everywhere(monkeypatch, "by_word", lambda real_: _noting(real_, seen))
    assert (await real.count_events(VIEWER, Query())).total == 9
    assert seen
    assert threading.get_ident() not in seen


def _noting(real: Callable[..., Any], seen: set[int]) -> Callable[..., Any]:
    def noting(*args: Any, **named: Any) -> Any:
        seen.add(threading.get_ident())
        return real(*args, **named)

    return noting
