"""Why something happened: the graph around an event, the flows, and what leads to what."""

from litestar.handlers import HTTPRouteHandler

from whence.api.answer import Answer
from whence.api.context import AnyRequest, context_of, now_us, principal_of
from whence.api.reads import event_id_of, next_url, read_route
from whence.errors import NotFound
from whence.wire.cursor import next_flows_cursor
from whence.wire.query import parse_flows, parse_period, parse_trace
from whence.wire.traces import encode_flows, encode_map, encode_trace

__all__ = ["ROUTES"]


@read_route("/api/v1/events/{event_id:str}/trace")
async def trace(request: AnyRequest) -> Answer:
    """The causes of an event up to the root, and all that it led to."""
    principal, event_id = principal_of(request), event_id_of(request)
    asked = parse_trace(request.scope["query_string"])
    graph = await context_of(request).store.trace(principal.tenant, event_id, asked, principal.readable)
    if graph is None:
        raise NotFound("There is no event with this id.")
    return Answer(encode_trace(graph))


@read_route("/api/v1/flows")
async def list_flows(request: AnyRequest) -> Answer:
    """The tenant's flows, the latest activity first."""
    principal = principal_of(request)
    read = parse_flows(
        request.scope["query_string"], tenant=principal.tenant, now=now_us(), readable=principal.readable
    )
    page = await context_of(request).store.list_flows(principal.tenant, read.query, read.page)
    cursor = next_flows_cursor(read.cursor_seed, read.query, page)
    links = [] if cursor is None else [("link", f'<{next_url(request, cursor)}>; rel="next"')]
    return Answer(encode_flows(page), headers=links)


@read_route("/api/v1/flows/map")
async def process_map(request: AnyRequest) -> Answer:
    """Which event types led to which, how often and how soon."""
    principal = principal_of(request)
    since, until = parse_period(request.scope["query_string"], now=now_us())
    found = await context_of(request).store.process_map(principal.tenant, since, until, principal.readable)
    return Answer(encode_map(found))


ROUTES: list[HTTPRouteHandler] = [trace, list_flows, process_map]
"""The handlers, for the table in `app`."""
