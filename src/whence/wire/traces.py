"""Traces, flows and the process map as JSON; their keys are declared in `trace_bodies`."""

from collections.abc import Iterable

import msgspec

from whence.delays import ERROR
from whence.events import Viewer
from whence.flows import Flow, FlowPage, Pair, ProcessMap
from whence.trace import Graph, GraphEvent, Node
from whence.wire.times import format_time
from whence.wire.trace_bodies import (
    FlowBody,
    FlowRootBody,
    FlowsBody,
    MapBody,
    NodeBody,
    PairBody,
    TraceBody,
    TraceSummaryBody,
)

__all__ = ["encode_flows", "encode_map", "encode_trace"]


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
