"""The sentence of a query that was stopped says what helps for this query, on both stores."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import NOON, SECOND, VIEWER, add, new, uuid
from tests.databases import fresh_database
from whence.errors import QueryTooExpensive
from whence.storage import create_store, process_map, query_deadline
from whence.storage.postgres import connections
from whence.trace import TraceRequest

EVENTS = 400


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> Any:
    """A store with a chain of events."""
    made = create_store(f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else await fresh_database())
    for number in range(1, EVENTS + 1):
        cause = uuid(number - 1) if number > 1 else None
        flow = f"flow {number}"
        await add(made, new(number, occurred_at=NOON + number * SECOND, causation_id=cause, correlation_id=flow))
    yield made
    await made.close()


async def _stopped(store: Any, patch: pytest.MonkeyPatch) -> str:
    """The sentence of a trace that runs too long."""
    patch.setattr(connections, "QUERY_SECONDS_MAX", 0.002)
    if hasattr(store, "_readers"):
        patch.setattr(store._readers, "_query_seconds_max", 0.0)
    with pytest.raises(QueryTooExpensive) as stopped:
        await store.trace(VIEWER, uuid(EVENTS), TraceRequest())
    return str(stopped.value)


async def test_a_trace_is_told_how_to_go_on_without_it(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range of time or fewer filters, which a trace does not have, are not named; neither are depth and limit, since
    the whole graph is read for its counts."""
    sentence = await _stopped(store, monkeypatch)
    assert "causation_id" in sentence
    assert "causationId" in sentence
    assert not [word for word in ("range of time", "filters", "depth", "limit") if word in sentence]


async def test_a_process_map_is_told_to_ask_for_fewer_days(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map has a period and no filters."""
    monkeypatch.setattr(process_map, "COUNTS_MAX", -1)
    with pytest.raises(QueryTooExpensive) as stopped:
        await store.process_map(VIEWER, None, None)
    assert "fewer days" in str(stopped.value)
    assert "filters" not in str(stopped.value)


async def test_mutant_one_sentence_for_all_is_caught(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence of a list does not help for a trace."""
    given = query_deadline.query_too_expensive
    monkeypatch.setattr(query_deadline, "query_too_expensive", lambda *_: given())
    assert "causation_id" not in await _stopped(store, monkeypatch)
