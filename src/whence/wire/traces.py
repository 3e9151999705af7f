"""Traces, flows and the process map as JSON; their keys are declared in `trace_bodies`."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from whence.delays import ERROR
from whence.events import Viewer
from whence.flows import Flow, FlowPage, Pair, ProcessMap
from whence.trace import Graph, GraphEvent, Node, Reach
from whence.wire.times import format_time
from whence.wire.trace_bodies import (
    FlowBody,
    FlowRootBody,
    FlowsBody,
    MapBody,
    NodeBody,
    PairBody,
    ReachBody,
    ReachesBody,
    TraceBody,
    TraceSummaryBody,
)
from whence.wire.trace_rows import TraceRow

__all__ = ["encode_flows", "encode_map", "encode_reach", "encode_trace", "node_bodies"]


_encode = msgspec.json.Encoder().encode

_ANYONE = Viewer("")
"""One that sees all events."""


def node_bodies(
    nodes: Iterable[Node], viewer: Viewer = _ANYONE, rows: Iterable[TraceRow] | None = None
) -> Iterator[NodeBody]:
    """The nodes of a trace, with their rows if they were asked for. `position` is null for a viewer that does not see
    all events."""
    if rows is None:
        return (_node(node, viewer) for node in nodes)
    return (_with_row(_node(node, viewer), row) for node, row in zip(nodes, rows, strict=True))


def encode_trace(graph: Graph, nodes: Sequence[NodeBody] | None = None) -> bytes:
    """The body of the trace route. `nodes` are those of the graph, if they have been made."""
    return _encode(
        TraceBody(
            at_least=graph.at_least,
            event_id=graph.focus,
            missing=[] if graph.missing is None else [graph.missing],
            nodes=list(node_bodies(graph.nodes) if nodes is None else nodes),
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


def _with_row(body: NodeBody, row: TraceRow) -> NodeBody:
    return msgspec.structs.replace(
        body, detail=row.detail, label=row.label, paired_end_id=row.paired_end_id, verb=row.verb
    )


def encode_reach(found: Iterable[Reach]) -> bytes:
    """The body of the reach route."""
    return _encode(
        ReachesBody(
            reach=[
                ReachBody(
                    at_least=each.at_least,
                    causes=each.causes,
                    effects=each.effects,
                    failed_effects=each.failures,
                    id=each.id,
                )
                for each in found
            ]
        )
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
