"""The routes about causes: the graph around an event, the flows, and the process map."""

from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of, now_us, principal_of
from whence.api.operation import read_route
from whence.api.reads import event_id_of, next_page_link
from whence.api.request import Request
from whence.api.responses import JsonResponse
from whence.errors import NotFound
from whence.wire.cursor import next_flows_cursor
from whence.wire.query import parse_flows, parse_period, parse_trace
from whence.wire.trace_bodies import FlowsBody, MapBody, TraceBody
from whence.wire.traces import encode_flows, encode_map, encode_trace

__all__ = ["ROUTES"]


@read_route("/api/v1/events/{event_id:str}/trace", "Trace Event", "trace", TraceBody, tag="Causes", missing=True)
async def trace(request: Request) -> JsonResponse:
    """The causes of an event up to the root, and everything that it led to."""
    event_id = event_id_of(request)
    asked = parse_trace(request.scope["query_string"])
    context, viewer = context_of(request), principal_of(request).viewer
    graph = await context.store.trace(viewer, event_id, asked)
    if graph is None:
        raise NotFound("There is no event with this id.")
    async with context.admission.turns.place(viewer.tenant):  # ten thousand nodes take a while
        body = encode_trace(graph, viewer)
    context.admission.hold_answer(request, viewer.tenant, len(body))
    return JsonResponse(body)


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


ROUTES: list[HTTPRouteHandler] = [trace, list_flows, process_map]
"""The handlers of this module."""
