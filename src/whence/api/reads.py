"""The six routes that answer questions. Each one: parse what was asked, ask the store, encode."""

from collections.abc import AsyncIterator, Iterable
from functools import partial
from urllib.parse import quote, unquote, unquote_to_bytes

from litestar import route
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from whence.api.answer import Answer
from whence.api.context import AnyRequest, context_of, now_us, principal_of
from whence.errors import Invalid, NotFound
from whence.permissions import READ
from whence.wire.event import encode_actor_stats, encode_counts, encode_event, encode_page
from whence.wire.ids import parse_uuid
from whence.wire.query import ReadRequest, next_cursor, parse_read

__all__ = ["JSON", "ROUTES", "event_id_of", "next_url", "read_route"]

JSON = "application/json"
_ENVELOPE = 1024  # bytes of an event beside its payload, about
_URL_SAFE = "/%:@!$&'()*+,;=~-._?"

read_route = partial(route, http_method=["GET", "HEAD"], status_code=200, opt={"scope": READ})


@read_route("/api/v1/events")
async def list_events(request: AnyRequest) -> Answer:
    """The tenant's events, newest first."""
    return await _page(request, _parsed(request, "list"))


@read_route("/api/v1/events/correlation/{correlation_id:str}")
async def list_by_correlation(request: AnyRequest) -> Answer:
    """The events of one flow, oldest first."""
    return await _page(request, _parsed(request, "correlation", correlation_id=_correlation_id(request)))


@read_route("/api/v1/events/resource/{resource_type:str}/{resource_id:str}")
async def list_by_resource(request: AnyRequest) -> Answer:
    """The events about one resource, newest first."""
    fixed = {name: unquote(request.path_params[name]) for name in ("resource_type", "resource_id")}
    return await _page(request, _parsed(request, "resource", **fixed))


@read_route("/api/v1/events/aggregate")
async def aggregate(request: AnyRequest) -> Answer:
    """How many events there are, by type of event, resource and actor."""
    read = _parsed(request, "aggregate")
    counts = await context_of(request).store.count_events(principal_of(request).tenant, read.query)
    return Answer(encode_counts(counts))


@read_route("/api/v1/events/stats/by-actor")
async def stats_by_actor(request: AnyRequest) -> Stream:
    """What each actor did, all of them."""
    read = _parsed(request, "actors")
    stats = await context_of(request).store.actor_stats(principal_of(request).tenant, read.query)
    return Stream(_chunks(encode_actor_stats(stats)), media_type=JSON)


@read_route("/api/v1/events/{event_id:str}")
async def get_event(request: AnyRequest) -> Answer:
    """One event by its id."""
    principal, event_id = principal_of(request), event_id_of(request)
    read = _parsed(request, "event")
    event = await context_of(request).store.get_event(principal.tenant, event_id, principal.readable)
    if event is None:
        raise NotFound("There is no event with this id.")
    context_of(request).answers.hold(request, _ENVELOPE + len(event.payload or b""))
    return Answer(encode_event(event, read.include))


ROUTES: list[HTTPRouteHandler] = [
    list_events,
    aggregate,
    list_by_correlation,
    list_by_resource,
    stats_by_actor,
    get_event,
]
"""The handlers, for the table in `app`."""


def _parsed(request: AnyRequest, name: str, **fixed: str) -> ReadRequest:
    """What the address asks for. Raises Invalid."""
    principal = principal_of(request)
    return parse_read(
        name,
        request.scope["query_string"],
        tenant=principal.tenant,
        now=now_us(),
        vocabulary=context_of(request).vocabulary,
        readable=principal.readable,
        fixed=fixed,
    )


async def _page(request: AnyRequest, read: ReadRequest) -> Answer:
    """One page of events, with a link to the next one while there is one."""
    context = context_of(request)
    async with context.pages:
        page = await context.store.list_events(principal_of(request).tenant, read.query, read.page)
        context.answers.hold(request, sum(_ENVELOPE + len(event.payload or b"") for event in page.events))
        cursor = next_cursor(read, page)
        body = encode_page(page, read.include, cursor)
    links = [] if cursor is None else [("link", f'<{next_url(request, cursor)}>; rel="next"')]
    return Answer(body, headers=links)


def next_url(request: AnyRequest, cursor: str) -> str:
    """The address of the next page, relative to the host: the one that was asked, with another place to start."""
    pairs = request.scope["query_string"].decode("latin-1").split("&")
    kept = [pair for pair in pairs if pair and unquote(pair.partition("=")[0]) not in ("offset", "cursor")]
    path = quote(request.scope["state"]["public_path"], safe=_URL_SAFE, encoding="latin-1")
    query = quote("&".join([*kept, "cursor=" + quote(cursor, safe="")]), safe=_URL_SAFE, encoding="latin-1")
    return f"{path}?{query}"


def _correlation_id(request: AnyRequest) -> str:
    """The id in the path, decoded after the path was split. Raises Invalid when it is not UTF-8."""
    try:
        raw: bytes = request.scope["state"]["correlation_id"]
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid.at(("path", "correlation_id"), "The id must be UTF-8 text, percent-encoded.") from None


def event_id_of(request: AnyRequest) -> str:
    """The id in the path, in canonical form. Raises Invalid when it is no UUID."""
    try:
        return parse_uuid(unquote_to_bytes(request.path_params["event_id"]).decode("utf-8", "replace"))
    except ValueError as error:
        raise Invalid.at(("path", "event_id"), str(error), "uuid_parsing") from None


async def _chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
