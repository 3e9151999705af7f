"""The answers about causes: graphs, flows and the process map. Payloads are no part of them.

Keys are declared in alphabetical order. Spans of time are whole microseconds.
"""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from whence.delays import ERROR
from whence.flows import Flow, FlowPage, Pair, ProcessMap
from whence.trace import Graph, GraphEvent, Node
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

_Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class _Body(msgspec.Struct, rename="camel", frozen=True):
    """The base of these bodies: camelCase keys."""


class NodeBody(_Body, frozen=True, kw_only=True, gc=False):
    """An event of a graph. `hops` and `sinceRootUs` count from the root. `effects` are its direct consequences,
    `allEffects` those below too, `failuresBelow` the failures among the latter. `skewed`: it lies before its cause.
    `otherFlow`: its cause is of another flow. `cycle`: its cause is among its own consequences, and that arrow is cut.
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
    occurred_at: _Time
    other_flow: bool
    outcome: str
    position: int
    resource_id: str
    resource_type: str
    since_cause_us: int | None
    since_root_us: int
    skewed: bool


class TraceSummaryBody(_Body, frozen=True, kw_only=True):
    """The whole graph in numbers. `hops` leads from the event to its root; `durationUs` from the first event to the
    last."""

    actors: int
    duration_us: int
    events: int
    failures: int
    hops: int
    resources: int


class TraceBody(_Body, frozen=True, kw_only=True):
    """The graph around an event, each node behind its cause. `missing` names causes that are not in the log (yet).
    `truncated`: there are events that are not in `nodes`. `atLeast`: the graph is so large that it was not walked to
    its end, so every number may be larger."""

    at_least: bool
    event_id: str
    missing: list[str]
    nodes: list[NodeBody]
    root_id: str
    summary: TraceSummaryBody
    truncated: bool


class FlowRootBody(_Body, frozen=True, kw_only=True):
    """The event with which a flow began."""

    actor_id: str
    actor_type: str
    event_type: str
    id: str
    occurred_at: _Time
    outcome: str
    resource_id: str
    resource_type: str


class FlowBody(_Body, frozen=True, kw_only=True):
    """The events of one correlationId. `atLeast`: it is so long that only its first events were looked at for its root
    and its actors; all other numbers are exact."""

    actors: int
    at_least: bool
    correlation_id: str
    duration_us: int
    events: int
    failures: int
    first_at: _Time
    last_at: _Time
    root: FlowRootBody


class FlowsBody(_Body, frozen=True, kw_only=True):
    """One page of flows, the latest activity first."""

    flows: list[FlowBody]
    has_next: bool
    limit: int
    offset: int
    total: int


class PairBody(_Body, frozen=True, kw_only=True):
    """How often one event type led to another. `share` is the part of all that the cause type led to. `skewed` are the
    effects that lie before their cause; the percentiles are of the delays of the others."""

    cause_type: str
    effect_type: str
    events: int
    failures: int
    p50_us: int | None = msgspec.field(name="p50Us")
    p95_us: int | None = msgspec.field(name="p95Us")
    share: float
    skewed: int


class MapBody(_Body, frozen=True, kw_only=True):
    """What led to what between `from` and `to`, which are the whole days (UTC) that hold the period that was asked for;
    null where it is open. Counts are exact, a percentile is off by at most `delayError` of itself."""

    delay_error: float
    from_: _Time | None = msgspec.field(name="from")
    links: int
    pairs: list[PairBody]
    to: _Time | None


_encode = msgspec.json.Encoder().encode


def encode_trace(graph: Graph) -> bytes:
    """The answer of the trace route."""
    return _encode(
        TraceBody(
            at_least=graph.at_least,
            event_id=graph.focus,
            missing=[] if graph.missing is None else [graph.missing],
            nodes=[_node(node) for node in graph.nodes],
            root_id=graph.root,
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


def _node(node: Node) -> NodeBody:
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
        position=event.position,
        resource_id=event.resource_id,
        resource_type=event.resource_type,
        since_cause_us=node.since_cause_us,
        since_root_us=node.since_root_us,
        skewed=node.skewed,
    )


def encode_flows(page: FlowPage) -> bytes:
    """The answer of the route of flows."""
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
    """The answer of the process map."""
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
