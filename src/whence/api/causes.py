"""The routes about causes: the graph around an event, the reach of events, the flows, and the process map."""

import time
from collections.abc import Sequence

from litestar.handlers import HTTPRouteHandler

from whence.api.context import AppContext, context_of, now_us, principal_of
from whence.api.operation import read_route
from whence.api.reads import event_id_of, next_page_link
from whence.api.request import Request
from whence.api.responses import JsonResponse
from whence.errors import NotFound
from whence.events import Viewer
from whence.sentences import Sentence, sentence_of
from whence.storage.base import QUERY_SECONDS_MAX
from whence.storage.query_deadline import TRACE_TOO_LARGE, query_too_expensive
from whence.trace import Node
from whence.wire.cursor import next_flows_cursor
from whence.wire.query import parse_flows, parse_period, parse_reach, parse_trace
from whence.wire.trace_bodies import FlowsBody, MapBody, ReachesBody, TraceBody
from whence.wire.trace_rows import trace_rows
from whence.wire.traces import encode_flows, encode_map, encode_reach, encode_trace, node_bodies

__all__ = ["ROUTES"]

_PART = 500
"""Nodes whose payloads one read asks for."""


@read_route("/api/v1/events/{event_id:str}/trace", "Trace Event", "trace", TraceBody, tag="Causes", missing=True)
async def trace(request: Request) -> JsonResponse:
    """The causes of an event up to the root, and everything that it led to."""
    event_id = event_id_of(request)
    asked, with_rows = parse_trace(request.scope["query_string"])
    context, viewer = context_of(request), principal_of(request).viewer
    graph = await context.store.trace(viewer, event_id, asked)
    if graph is None:
        raise NotFound("There is no event with this id.")
    rows = None
    if with_rows:
        sentences = await _sentences(context, viewer, graph.nodes)
        rows = await context.admission.in_slices(viewer.tenant, trace_rows(graph.nodes, sentences))
    # Ten thousand nodes take a while, and their encoding a tenth of it.
    nodes = await context.admission.in_slices(viewer.tenant, node_bodies(graph.nodes, viewer, rows))
    async with context.admission.turns.place(viewer.tenant):
        body = encode_trace(graph, nodes)
    context.admission.hold_answer(request, viewer.tenant, len(body))
    return JsonResponse(body)


async def _sentences(context: AppContext, viewer: Viewer, nodes: Sequence[Node]) -> dict[str, Sentence]:
    """The sentences of nodes, by id. The payloads are read in parts, of which only the last is in memory. Raises
    QueryTooExpensive when that takes too long."""
    until = time.monotonic() + QUERY_SECONDS_MAX
    found: dict[str, Sentence] = {}
    while len(found) < len(nodes):
        if time.monotonic() > until:
            raise query_too_expensive(TRACE_TOO_LARGE)
        events = [node.event for node in nodes[len(found) : len(found) + _PART]]
        async with context.admission.page_place(viewer.tenant, indexed=True):
            payloads = await context.store.read_payloads(viewer, [event.position for event in events])
        read = events[: len(payloads)]
        made = (
            sentence_of(event, payload or b"{}", context.grammar) for event, payload in zip(read, payloads, strict=True)
        )
        sentences = await context.admission.in_slices(viewer.tenant, made)
        found.update(zip((event.id for event in read), sentences, strict=True))
    return found


@read_route("/api/v1/events/reach", "Reach Of Events", "reach", ReachesBody, tag="Causes")
async def reach(request: Request) -> JsonResponse:
    """How many causes and effects events have, of up to a hundred at once."""
    ids = parse_reach(request.scope["query_string"])
    found = await context_of(request).store.reach(principal_of(request).viewer, ids)
    return JsonResponse(encode_reach(found))


@read_route("/api/v1/flows", "List Flows", "flows", FlowsBody, tag="Causes", links=True)
async def list_flows(request: Request) -> JsonResponse:
    """The tenant's flows, the latest activity first."""
    viewer = principal_of(request).viewer
    read = parse_flows(request.scope["query_string"], viewer=viewer, now=now_us(), sealer=context_of(request).cursors)
    page = await context_of(request).store.list_flows(viewer, read.query, read.page)
    cursor = next_flows_cursor(context_of(request).cursors, read.cursor_seed, read.query, page)
    return JsonResponse(encode_flows(page), headers=next_page_link(request, cursor))


@read_route("/api/v1/flows/map", "Map Flows", "map", MapBody, tag="Causes")
async def process_map(request: Request) -> JsonResponse:
    """Which event types led to which, how often and how soon."""
    since, until = parse_period(request.scope["query_string"], now=now_us())
    context, viewer = context_of(request), principal_of(request).viewer
    async with context.admission.page_place(viewer.tenant, indexed=False):
        found = await context.store.process_map(viewer, since, until)
        async with context.admission.turns.place(viewer.tenant):
            body = encode_map(found)
        context.admission.hold_answer(request, viewer.tenant, len(body))
    return JsonResponse(body)


ROUTES: list[HTTPRouteHandler] = [trace, reach, list_flows, process_map]
"""The handlers of this module."""
