"""Traces and process maps of recorded logs, on both stores, compared with a count over the files."""

import gzip
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.data.sample import SAMPLE
from tests.databases import fresh_database
from whence.demo import fill, recording
from whence.events import PageRequest, Viewer, Vocabulary
from whence.flows import FlowQuery
from whence.storage import Write, create_store
from whence.trace import TraceRequest
from whence.wire.event import IngestContext, parse_batch

pytestmark = pytest.mark.slow

RUNS = 10
BATCH = 1_000


def lines(body: bytes) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in body.splitlines()]


AIRLINE = lines(recording())
LOANS = gzip.decompress(SAMPLE.read_bytes())


async def filled(store: Any) -> Any:
    """A store with both logs, one per tenant."""
    await fill(store, "airline")
    context = IngestContext(tenant="loans", vocabulary=Vocabulary(), now=time.time_ns() // 1_000)
    rows = LOANS.splitlines()
    for first in range(0, len(rows), BATCH):
        events = tuple(parse_batch(b"\n".join(rows[first : first + BATCH]), True, context))
        (receipts,) = await store.append("loans", [Write(events, atomic=True)])
        assert isinstance(receipts, list), receipts
    return store


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
async def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[Any]:
    url = f"sqlite:///{tmp_path_factory.mktemp('recorded')}/log.db"
    made = await filled(create_store(url if request.param == "sqlite" else await fresh_database()))
    yield made
    await made.close()


def story_in_file(event_id: str) -> list[str]:
    """The ids from the first event of the run to this one, following the causes in the file."""
    by_id = {event["id"]: event for event in AIRLINE}
    story = [event_id]
    while (cause := by_id[story[-1]].get("causationId")) is not None:
        story.append(cause)
    return story[::-1]


def failed_runs() -> list[dict[str, Any]]:
    """The first failed runs of the recording."""
    return [event for event in AIRLINE if event["eventType"] == "automation_run.failed"][:RUNS]


async def wrong_stories(store: Any) -> list[str]:
    """The failed runs whose trace differs from the file."""
    by_id = {event["id"]: event for event in AIRLINE}
    wrong = []
    for run in failed_runs():
        graph = await store.trace(Viewer("airline"), run["id"], TraceRequest(direction="up"))
        ids = [node.event.id for node in graph.nodes]
        first = next(each for each in ids if by_id[each]["eventType"] == "inbound_message.received")
        if ids != story_in_file(run["id"]) or ids[-1] != run["id"] or ids.index(first) > 1:
            wrong.append(run["id"])
        if graph.events != sum(event["correlationId"] == run["correlationId"] for event in AIRLINE):
            wrong.append(run["id"])
    return wrong


async def test_ten_failed_runs_tell_their_story(store: Any) -> None:
    """A trace goes from the customer's first message to the failure, event by event as in the file; its graph is the
    run."""
    assert len(failed_runs()) == RUNS
    assert await wrong_stories(store) == []


async def test_a_story_without_its_middle_is_found(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the walk to the root skips every other cause."""
    real = story_in_file
    monkeypatch.setattr(f"{__name__}.story_in_file", lambda event_id: real(event_id)[::2])
    assert await wrong_stories(store)


def pairs_in(events: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """The number of transitions between each pair of event types, counted over a file."""
    types = {event["id"]: event["eventType"] for event in events}
    return Counter(
        (types[event["causationId"]], event["eventType"]) for event in events if event.get("causationId") in types
    )


@pytest.mark.parametrize("tenant", ["airline", "loans"])
async def test_the_map_is_a_count_over_the_file(store: Any, tenant: str) -> None:
    """The map has every pair with its count, and the shares of each cause type add up to one."""
    wanted = pairs_in(AIRLINE if tenant == "airline" else lines(LOANS))
    found = await store.process_map(Viewer(tenant), None, None)
    assert {(pair.cause_type, pair.effect_type): pair.events for pair in found.pairs} == wanted
    assert found.transitions == wanted.total() > 5_000
    shares: Counter[str] = Counter()
    for pair in found.pairs:
        shares[pair.cause_type] += pair.share  # type: ignore[assignment]  # a sum of parts
    assert all(abs(share - 1) < 1e-9 for share in shares.values())


async def test_the_days_of_a_map_add_up(store: Any) -> None:
    """The maps of adjacent periods together hold every transition of the whole period once."""
    whole = await store.process_map(Viewer("loans"), None, None)
    times = sorted(event["occurredAt"] for event in lines(LOANS))
    assert times[0] < "2011-10-10" and times[-1] > "2012-01-01"
    first, second = 1_318_204_800_000_000, 1_325_376_000_000_000
    total: Counter[tuple[str, str]] = Counter()
    for since, until in ((None, first), (first, second), (second, None)):
        part = await store.process_map(Viewer("loans"), since, until)
        assert (part.since, part.until) == (since, until) and part.transitions > 0
        total.update({(pair.cause_type, pair.effect_type): pair.events for pair in part.pairs})
    assert total == {(pair.cause_type, pair.effect_type): pair.events for pair in whole.pairs}


async def test_flows_are_a_count_over_the_file(store: Any) -> None:
    """Number of events and last time of every run are those in the file, in order."""
    events: Counter[str] = Counter(event["correlationId"] for event in AIRLINE)
    failed = {event["correlationId"] for event in AIRLINE if event["eventType"].endswith(".failed")}
    page = await store.list_flows(Viewer("airline"), FlowQuery(), PageRequest(limit=1_000))
    assert {flow.correlation_id: flow.events for flow in page.flows} == events
    assert [flow.last_at for flow in page.flows] == sorted((flow.last_at for flow in page.flows), reverse=True)
    assert {flow.root.event_type for flow in page.flows} == {"automation_run.started"}
    page = await store.list_flows(Viewer("airline"), FlowQuery(failed=True), PageRequest(limit=1_000))
    assert {flow.correlation_id for flow in page.flows} == failed and page.total == len(failed)
