"""The JSON bodies about causes: traces, flows and the process map. They contain no payloads.

Keys are in alphabetical order. Durations are whole microseconds.
"""

from collections.abc import Iterable

import msgspec

from whence.delays import ERROR
from whence.events import Viewer
from whence.flows import Flow, FlowPage, Pair, ProcessMap
from whence.trace import Graph, GraphEvent, Node
from whence.wire.bodies import TimeText, WireBody
from whence.wire.times import format_time

__all__ = [
    "FlowBody",
    "FlowRootBody",
    "FlowsBody",
    "MapBody",
    "NodeBody",
    "PairBody",
    "TraceBody",
    "TraceSummaryBody",
    "encode_flows",
    "encode_map",
    "encode_trace",
]


class NodeBody(WireBody, frozen=True, kw_only=True, gc=False):
    """An event of a trace.

    `hops` and `sinceRootUs` count from the root. `effects` is the number of direct consequences, `allEffects` of direct
    and indirect ones, `failuresBelow` of the failures among them. `skewed`: it occurred before its cause. `otherFlow`:
    its cause belongs to another flow. `cycle`: its cause is one of its own consequences, and that link is left out.
    """

    actor_id: str
    actor_type: str
    all_effects: int
    causation_id: str | None
    correlation_id: str
    cycle: bool
    effects: int
    event_type: str
    failures_below: int
    hops: int
    id: str
    occurred_at: TimeText
    other_flow: bool
    outcome: str
    position: int | None
    resource_id: str
    resource_type: str
    since_cause_us: int | None
    since_root_us: int
    skewed: bool


class TraceSummaryBody(WireBody, frozen=True, kw_only=True):
    """Totals of the whole graph. `hops` counts from the root to the event that was asked for; `durationUs` is the time
    from the first event to the last."""

    actors: int
    duration_us: int
    events: int
    failures: int
    hops: int
    resources: int


class TraceBody(WireBody, frozen=True, kw_only=True):
    """The graph around an event, each node after its cause. `rootKnown` is false if there are too many causes to read
    them up to the root; `rootId` is then the last that was read. `missing` names causes that are not in the log, or not
    yet.
    `truncated`: some events are not in `nodes`. `atLeast`: the graph is too large to be read completely, so every
    number may be larger."""

    at_least: bool
    event_id: str
    missing: list[str]
    nodes: list[NodeBody]
    root_id: str
    root_known: bool = True  # older servers leave it out
    summary: TraceSummaryBody
    truncated: bool


class FlowRootBody(WireBody, frozen=True, kw_only=True):
    """The event that began a flow."""

    actor_id: str
    actor_type: str
    event_type: str
    id: str
    occurred_at: TimeText
    outcome: str
    resource_id: str
    resource_type: str


class FlowBody(WireBody, frozen=True, kw_only=True):
    """The events of one correlationId. `atLeast`: the flow is so long that `root` and `actors` are taken from its first
    events; all other numbers are exact."""

    actors: int
    at_least: bool
    correlation_id: str
    duration_us: int
    events: int
    failures: int
    first_at: TimeText
    last_at: TimeText
    root: FlowRootBody


class FlowsBody(WireBody, frozen=True, kw_only=True):
    """One page of flows, the latest activity first."""

    flows: list[FlowBody]
    has_next: bool
    limit: int
    offset: int
    total: int


class PairBody(WireBody, frozen=True, kw_only=True):
    """How often one event type led to another. `share` is the fraction of all effects of the cause type. `skewed`
    counts the effects that occurred before their cause; the percentiles are of the delays of the others."""

    cause_type: str
    effect_type: str
    events: int
    failures: int
    p50_us: int | None = msgspec.field(name="p50Us")
    p95_us: int | None = msgspec.field(name="p95Us")
    share: float
    skewed: int


class MapBody(WireBody, frozen=True, kw_only=True):
    """What led to what between `from` and `to`: the whole days (UTC) that contain the period of the request, null where
    it is open. Counts are exact. The relative error of a percentile is at most `delayError`."""

    delay_error: float
    from_: TimeText | None = msgspec.field(name="from")
    links: int
    pairs: list[PairBody]
    to: TimeText | None


_encode = msgspec.json.Encoder().encode

_ANYONE = Viewer("")
"""One that sees all events."""


def encode_trace(graph: Graph, viewer: Viewer = _ANYONE) -> bytes:
    """The body of the trace route. `position` is null for a viewer that does not see all events."""
    return _encode(
        TraceBody(
            at_least=graph.at_least,
            event_id=graph.focus,
            missing=[] if graph.missing is None else [graph.missing],
            nodes=[_node(node, viewer) for node in graph.nodes],
            root_id=graph.root,
            root_known=graph.root_known,
            summary=TraceSummaryBody(
                actors=graph.actors,
                duration_us=graph.duration_us,
                events=graph.events,
                failures=graph.failures,
                hops=graph.hops,
                resources=graph.resources,
            ),
            truncated=graph.truncated,
        )
    )


def _node(node: Node, viewer: Viewer) -> NodeBody:
    event = node.event
    return NodeBody(
        actor_id=event.actor_id,
        actor_type=event.actor_type,
        all_effects=node.all_effects,
        causation_id=event.cause,
        correlation_id=event.flow,
        cycle=node.cycle,
        effects=node.effects,
        event_type=event.event_type,
        failures_below=node.failures,
        hops=node.hops,
        id=event.id,
        occurred_at=format_time(event.occurred_at),
        other_flow=node.other_flow,
        outcome=event.outcome,
        position=event.position if viewer.sees_all else None,
        resource_id=event.resource_id,
        resource_type=event.resource_type,
        since_cause_us=node.since_cause_us,
        since_root_us=node.since_root_us,
        skewed=node.skewed,
    )


def encode_flows(page: FlowPage) -> bytes:
    """The body of the flows route."""
    return _encode(
        FlowsBody(
            flows=[_flow(flow) for flow in page.flows],
            has_next=page.has_next,
            limit=page.limit,
            offset=page.offset,
            total=page.total,
        )
    )


def _flow(flow: Flow) -> FlowBody:
    return FlowBody(
        actors=flow.actors,
        at_least=flow.at_least,
        correlation_id=flow.correlation_id,
        duration_us=flow.last_at - flow.first_at,
        events=flow.events,
        failures=flow.failures,
        first_at=format_time(flow.first_at),
        last_at=format_time(flow.last_at),
        root=_flow_root(flow.root),
    )


def _flow_root(event: GraphEvent) -> FlowRootBody:
    return FlowRootBody(
        actor_id=event.actor_id,
        actor_type=event.actor_type,
        event_type=event.event_type,
        id=event.id,
        occurred_at=format_time(event.occurred_at),
        outcome=event.outcome,
        resource_id=event.resource_id,
        resource_type=event.resource_type,
    )


def encode_map(found: ProcessMap) -> bytes:
    """The body of the process map route."""
    return _encode(
        MapBody(
            delay_error=ERROR,
            from_=None if found.since is None else format_time(found.since),
            links=found.transitions,
            pairs=list(_pairs(found.pairs)),
            to=None if found.until is None else format_time(found.until),
        )
    )


def _pairs(pairs: Iterable[Pair]) -> Iterable[PairBody]:
    for pair in pairs:
        yield PairBody(
            cause_type=pair.cause_type,
            effect_type=pair.effect_type,
            events=pair.events,
            failures=pair.failures,
            p50_us=pair.p50_us,
            p95_us=pair.p95_us,
            share=pair.share,
            skewed=pair.skewed,
        )
