"""The reach of events equals what their traces say, and payloads are read in parts. On each real store."""

from typing import Any

from tests.contract import reach_mutants
from tests.contract.faults import catches, limited
from tests.contract.made import TENANT, VIEWER, new, stored, uuid
from tests.contract.test_causes import COUNT, READERS, batches, various
from whence.events import Viewer
from whence.trace import Reach, TraceRequest


@catches(reach_mutants.failures_count_as_effects_only, reach_mutants.reach_of_hidden_events)
async def test_reach_is_what_traces_say(real: Any) -> None:
    """For all events at once, unknown ones among them, and for readers with and without restricted resource types."""
    for batch in batches(various(), 35):
        await stored(real, *batch)
    ids = [uuid(number) for number in range(COUNT + 3, 0, -1)]
    for readable in READERS:
        viewer = Viewer(TENANT, readable)
        wanted = []
        for id_ in ids:
            graph = await real.trace(viewer, id_, TraceRequest(direction="up", limit=1))
            if graph is not None:
                (node,) = graph.nodes
                wanted.append(Reach(id_, graph.hops, node.all_effects, node.failures, at_least=False))
        assert await real.reach(viewer, ids) == wanted
        assert [each for id_ in ids[:5] for each in await real.reach(viewer, [id_])] == [
            each for each in wanted if each.id in ids[:5]
        ]
    assert await real.reach(Viewer("other"), ids) == []


@limited(feed_bytes=4_000)
@catches(
    reach_mutants.payloads_in_another_order,
    reach_mutants.payloads_without_an_end,
    reach_mutants.payloads_of_hidden_events,
)
async def test_payloads_are_read_in_parts(real: Any) -> None:
    """In the order in which they are asked for, as many as fit and at least one; none that the viewer may not see."""
    made = [
        new(
            number,
            payload=b'{"n":%d,"x":"%s"}' % (number, b"x" * 1_000),
            resource_type=("action_run", "decision")[number % 2],
        )
        for number in range(1, 9)
    ]
    await stored(real, *made, new(9, payload=b'{"x":"%s"}' % (b"y" * 9_000)))
    asked = [7, 2, 9, 4, 1]
    first = await real.read_payloads(VIEWER, asked)
    assert first == [made[6].payload, made[1].payload, b'{"x":"%s"}' % (b"y" * 9_000)]
    assert await real.read_payloads(VIEWER, asked[3:]) == [made[3].payload, made[0].payload]
    assert await real.read_payloads(VIEWER, [9, 1]) == first[2:]
    assert await real.read_payloads(Viewer(TENANT, ("decision",)), [2, 1]) == [None, made[0].payload]
    assert await real.read_payloads(Viewer("other"), [1]) == [None]
    assert await real.read_payloads(VIEWER, []) == []
