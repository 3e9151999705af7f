"""Graphs, flows and the process map of each store equal those of the model, in whatever order events were stored."""

from random import Random
from typing import Any

import msgspec
import pytest

from tests.contract import cause_mutants as broken
from tests.contract.faults import catches, limited, select
from tests.contract.made import DAY, HOUR, NOON, SECOND, TENANT, VIEWER, add, asked_flows, new, stored, uuid
from tests.contract.model import ModelStore, same_map, unnumbered
from whence.events import Keyset, NewEvent, PageRequest, Viewer
from whence.flows import SUMMARY_EVENTS_MAX, FlowQuery
from whence.storage.sqlite.engine import SQLiteReads
from whence.trace import Graph, TraceRequest

COUNT = 70
READERS: tuple[tuple[str, ...] | None, ...] = (None, ("action_run",), ("decision", "artifact"), ())
REQUESTS = (
    TraceRequest(),
    TraceRequest(direction="up"),
    TraceRequest(direction="down"),
    TraceRequest(limit=3),
    TraceRequest(depth=1),
    TraceRequest(direction="down", depth=2, limit=4),
)


def various(seed: int = 7, count: int = COUNT) -> list[NewEvent]:
    """Events whose cause is earlier, later, absent, never stored or not a UUID, and three that form a cycle.

    They are spread over several flows and days, with ties and with effects dated before their causes.
    """
    random = Random(seed)
    events = []
    for number in range(1, count + 1):
        earlier = uuid(random.randrange(max(1, number - 9), number)) if number > 1 else None
        later = uuid(random.randrange(number + 1, count + 2))
        circle = {20: uuid(22), 22: uuid(21), 21: uuid(20)}.get(number)
        cause = circle or random.choice([earlier, earlier, earlier, earlier, later, None, uuid(9_999), "no id"])
        events.append(
            new(
                number,
                event_type=random.choice(["action_run.started", "action_run.failed", "decision.made"]),
                actor_id=random.choice(["ada", "bob", "eve"]),
                resource_type=random.choice(["action_run", "decision", "artifact"]),
                resource_id=uuid(random.randrange(5)),
                occurred_at=NOON + number * random.choice([0, SECOND, HOUR]) + random.randrange(3),
                correlation_id=random.choice([None, None, "one", "two"]),
                causation_id=cause,
            )
        )
    return events


async def both(store: Any, *batches: list[NewEvent]) -> ModelStore:
    """Store these events in the store and in a model."""
    model = ModelStore()
    for batch in batches:
        await stored(store, *batch)
        await stored(model, *batch)
    return model


def batches(events: list[NewEvent], size: int = 8) -> list[list[NewEvent]]:
    return [events[at : at + size] for at in range(0, len(events), size)]


@catches(
    broken.SkewUnsaid,
    broken.CircleUnsaid,
    broken.CircleCutWhereMet,
    broken.FlowUnsaid,
    broken.FailuresOfTheNode,
    broken.DepthFromTheRoot,
    broken.everything_is_readable,
)
async def test_a_graph_is_the_models(store: Any) -> None:
    """For every event, direction, depth and limit, and for readers with and without restricted resource types."""
    model = await both(store, *batches(various()))
    circles = 0
    for number in range(1, COUNT + 3):
        for readable in READERS:
            for request in REQUESTS:
                viewer = Viewer(TENANT, readable)
                found = await store.trace(viewer, uuid(number), request)
                assert found == await model.trace(viewer, uuid(number), request), (number, readable, request)
                circles += found is not None and found.nodes[0].cycle
    assert circles, "the log has no circle"


@catches(broken.everything_is_readable)
async def test_what_is_not_there_is_missing(store: Any) -> None:
    """A cause that is unknown or not readable is listed as missing. Once it is stored, the graph is complete."""
    await stored(store, new(2, causation_id=uuid(1)), new(3, causation_id=uuid(2), resource_type="decision"))
    assert await trace(store, 3) == (2, [2, 3], uuid(1))
    assert await trace(store, 3, ("decision",)) == (3, [3], uuid(2))
    assert await trace(store, 2, ("decision",)) is None
    await stored(store, new(1))
    for number in (1, 2, 3):
        assert await trace(store, number) == (1, [1, 2, 3], None)
    assert await store.trace(Viewer("other"), uuid(1), TraceRequest()) is None


async def trace(store: Any, number: int, readable: Any = None) -> tuple[int, list[int], str | None] | None:
    """The number of the root, the numbers of the nodes in order, and the missing causes."""
    graph: Graph | None = await store.trace(Viewer(TENANT, readable), uuid(number), TraceRequest())
    if graph is None:
        return None
    names = {uuid(each): each for each in range(10)}
    return names[graph.root], [names[node.event.id] for node in graph.nodes], graph.missing


@catches(broken.CircleUnsaid)
async def test_a_circle_is_cut_above_its_earliest_event(store: Any) -> None:
    """Three events in a cycle have the same graph, whichever of them is requested, and it is marked as a cycle."""
    await stored(
        store,
        new(1, causation_id=uuid(3), occurred_at=NOON + 5),
        new(2, causation_id=uuid(1), occurred_at=NOON + 3),
        new(3, causation_id=uuid(2), occurred_at=NOON + 9),
    )
    for number in (1, 2, 3):
        assert await trace(store, number) == (2, [2, 3, 1], None)
        graph = await store.trace(VIEWER, uuid(number), TraceRequest())
        assert [node.cycle for node in graph.nodes] == [True, False, False]


@catches(broken.any_effects_at_the_bound)
async def test_at_its_bound_a_walk_takes_the_earliest(real: Any) -> None:
    """When there are more effects than a walk may read, it takes the earliest over all causes, and reports the
    truncation."""
    await stored(real, new(1), new(2, causation_id=uuid(1)), new(3, causation_id=uuid(1)))
    late = [new(number, causation_id=uuid(2), occurred_at=NOON + HOUR) for number in range(10, 20)]
    early = [new(number, causation_id=uuid(3), occurred_at=NOON + 60 * SECOND) for number in range(20, 25)]
    await stored(real, *late, *early)
    graph = await real.trace(VIEWER, uuid(1), TraceRequest(walk_max=8))
    assert graph.at_least and graph.truncated
    assert {node.event.id for node in graph.nodes} == {uuid(number) for number in (1, 2, 3, *range(20, 25))}


@catches(broken.root_always_known)
async def test_a_root_beyond_the_bound_is_not_known(real: Any) -> None:
    """A trace that reaches its bound on the way up reports that its first event is not the root; one that does so only
    on the way down knows its root."""
    await stored(real, new(1), *[new(number, causation_id=uuid(number - 1)) for number in range(2, 31)])
    graph = await real.trace(VIEWER, uuid(30), TraceRequest(walk_max=8))
    assert (graph.root, graph.root_known, graph.at_least, graph.hops) == (uuid(23), False, True, 7)
    graph = await real.trace(VIEWER, uuid(4), TraceRequest(walk_max=8))
    assert (graph.root, graph.root_known, graph.at_least) == (uuid(1), True, True)
    graph = await real.trace(VIEWER, uuid(30), TraceRequest())
    assert (graph.root, graph.root_known, graph.at_least) == (uuid(1), True, False)


QUERIES: tuple[dict[str, Any], ...] = (
    {},
    {"failed": True},
    {"since": NOON + 20 * HOUR},
    {"until": NOON + 20 * HOUR, "failed": True},
    {"since": NOON + 10 * HOUR, "until": NOON + 40 * HOUR},
    {"since": NOON, "until": NOON},
)


@catches(
    broken.FlowsByBeginning,
    broken.RootIsFirst,
    broken.RootOfTheWholeLog,
    broken.everything_is_readable,
    broken.failed_flows_are_all_flows,
    broken.stories_by_position,
)
async def test_flows_are_the_models(store: Any) -> None:
    """For every filter and page, and for readers with and without restricted types, counts, roots and actors are
    exact."""
    model = await both(store, *batches(various()))
    for filters in QUERIES:
        for readable in READERS:
            viewer, query = Viewer(TENANT, readable), FlowQuery(**filters)
            for request in (PageRequest(limit=100), PageRequest(limit=3), PageRequest(limit=4, offset=2)):
                found = await store.list_flows(viewer, query, request)
                expected = await model.list_flows(viewer, query, request)
                assert unnumbered(found) == unnumbered(expected), (readable, query, request)


@catches(broken.FlowsByBeginning)
async def test_flows_go_on_behind_a_place(store: Any) -> None:
    """Continuing after the last flow of each page returns every flow once."""
    await both(store, *batches(various()))
    for filters in ({}, {"failed": True}, {"since": NOON + 2 * HOUR}, {"readable": ("action_run",)}):
        viewer, query = asked_flows(filters)
        whole = await store.list_flows(viewer, query, PageRequest(limit=1_000))
        assert whole.total == len(whole.flows) > 3
        assert all(filters.get("since", 0) <= flow.last_at for flow in whole.flows)
        found, after = [], None
        while len(found) < whole.total:
            page = await store.list_flows(viewer, query, PageRequest(limit=3, offset=len(found), after=after))
            assert page.total == whole.total and page.flows
            found += page.flows
            after = Keyset(found[-1].last_at, found[-1].number)
        assert found == whole.flows


@catches(broken.RootIsFirst)
async def test_a_long_flow_says_what_was_looked_at(store: Any) -> None:
    """Actors and root of a flow come from its first thousand events; its counts cover all events."""
    first = [new(1, causation_id=uuid(2)), new(2)]
    rest = [new(number, actor_id=f"a{number}", causation_id=uuid(2)) for number in range(3, SUMMARY_EVENTS_MAX + 2)]
    for event in (first, rest):
        await stored(store, *[msgspec.structs.replace(each, correlation_id="long") for each in event])
    (flow,) = (await store.list_flows(VIEWER, FlowQuery(), PageRequest())).flows
    assert (flow.events, flow.at_least, flow.actors) == (SUMMARY_EVENTS_MAX + 1, True, SUMMARY_EVENTS_MAX - 1)
    assert flow.root.id == uuid(2)


PERIODS = (
    (None, None),
    (NOON + DAY, None),
    (None, NOON),
    (NOON, NOON + DAY),
    (NOON, NOON),
    (NOON // DAY * DAY, NOON // DAY * DAY + DAY),
)


@limited(fold_at=9)
@catches(
    broken.ShareOfAll,
    broken.SkewIsADelay,
    broken.everything_is_readable,
    broken.only_causes_nearby,
    broken.folded_but_not_noted,
    broken.late_causes_are_not_linked,
    broken.effects_before_the_fold_again,
    broken.folds_replace,
    broken.the_day_after_too,
)
async def test_the_map_is_the_models(store: Any) -> None:
    """For every period and reader, between folds and just after one, counts are exact and percentiles within the
    error."""
    model = ModelStore()
    for batch in batches(various()):
        await stored(store, *batch)
        await stored(model, *batch)
        for period in PERIODS:
            for readable in READERS:
                found = await store.process_map(Viewer(TENANT, readable), *period)
                assert same_map(found, await model.process_map(Viewer(TENANT, readable), *period)), (period, readable)
    assert (await store.process_map(VIEWER, None, None)).transitions > COUNT // 2


@limited(fold_at=4)
@catches(broken.late_causes_are_not_linked, broken.only_causes_nearby)
async def test_a_link_is_counted_once_whichever_comes_first(store: Any) -> None:
    """Cause before effect or effect before cause, in one request or far apart, with a repeat of each."""
    filler = iter(range(100, 200))

    def apart() -> list[NewEvent]:
        return [new(next(filler)) for _ in range(5)]

    pairs = [(new(1), new(2, causation_id=uuid(1))), (new(4, causation_id=uuid(3)), new(3))]
    for number, (one, other) in enumerate(pairs):
        await stored(store, one)
        await stored(store, *apart())
        await stored(store, other)
        await add(store, one, other)
        assert (await store.process_map(VIEWER, None, None)).transitions == number + 1
    await stored(store, new(6, causation_id=uuid(5)), new(5), *apart())
    assert (await store.process_map(VIEWER, None, None)).transitions == 3
    assert (await store.process_map(Viewer("other"), None, None)).transitions == 0


@limited(fold_at=9)
@catches(broken.never_folds)
async def test_links_are_folded_as_the_log_grows(real: Any) -> None:
    """The number of events after the last fold, which the map reads one by one, stays below the limit."""
    head = "tenant" if isinstance(real, SQLiteReads) else "head"
    for batch in batches(various()):
        await stored(real, *batch)
        [(unfolded,)] = await select(real, TENANT, f"SELECT size - folded_to FROM {head}")
        assert unfolded < 9
    assert await rows_of_links(real) > 3


@limited(fold_at=5)
@catches(broken.folds_without_merging)
async def test_a_bucket_of_links_has_few_rows(store: Any) -> None:
    """The number of rows does not grow with the number of folds."""
    for start in range(1, 300, 5):
        await stored(store, *(new(n, causation_id=uuid(n - 1)) for n in range(start, start + 5)))
    assert (await store.process_map(VIEWER, None, None)).transitions == 299
    assert await rows_of_links(store) <= 4 * 4


async def rows_of_links(store: Any) -> int:
    """The number of rows in the table of transitions; 0 for the model, which has no tables."""
    return sum(count for (count,) in await select(store, TENANT, "SELECT count(*) FROM transition"))


@pytest.mark.parametrize("seed", range(3))
@limited(fold_at=5)
@catches(broken.folds_replace)
async def test_other_logs_too(store: Any, seed: int) -> None:
    """The comparisons above also hold for other logs, each stored in one request."""
    model = await both(store, various(seed, 50))
    for number in range(1, 51, 7):
        assert await store.trace(VIEWER, uuid(number), TraceRequest()) == await model.trace(
            VIEWER, uuid(number), TraceRequest()
        )
    await both_again(store, model, seed)
    assert same_map(await store.process_map(VIEWER, None, None), await model.process_map(VIEWER, None, None))


async def both_again(store: Any, model: ModelStore, seed: int) -> None:
    """More events, with the same pattern of causes and days."""
    more = [
        msgspec.structs.replace(event, id=uuid(1_000 + number)) for number, event in enumerate(various(seed, 50), 1)
    ]
    await stored(store, *more)
    await stored(model, *more)
