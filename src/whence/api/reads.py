"""The routes that answer questions about events. Each one parses what was asked, asks the store, and encodes."""

from collections.abc import AsyncIterator
from functools import lru_cache
from urllib.parse import quote, unquote, unquote_to_bytes

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from whence.api.admission import SMALL_ANSWER
from whence.api.context import context_of, now_us, principal_of
from whence.api.operation import read_route
from whence.api.request import Request
from whence.api.responses import JSON, JsonResponse
from whence.errors import Invalid, NotFound
from whence.events import Event
from whence.storage.query_cost import is_indexed_count, is_indexed_list
from whence.wire.bodies import ActorStatsBody, CountsBody, EventBody, HistogramBody, PageBody, ReferenceBody
from whence.wire.cursor import next_cursor
from whence.wire.event import encode_actor_stats, encode_counts, encode_event, encode_page
from whence.wire.histograms import encode_histogram
from whence.wire.ids import parse_reference, parse_uuid
from whence.wire.query import ReadRequest, parse_histogram, parse_read, refuse_parameters

__all__ = ["ROUTES", "event_id_of", "next_page_link"]

_EVENT_BYTES = 1024
"""About the size of an event without its payload."""

_URL_SAFE = "/%:@!$&'()*+,;=~-._?"


@read_route("/api/v1/events", "List Events", "list", PageBody, links=True)
async def list_events(request: Request) -> JsonResponse:
    """The tenant's events, newest first."""
    return await _page(request, _parsed(request, "list"))


@read_route(
    "/api/v1/events/correlation/{correlation_id:str}", "List Events By Correlation", "correlation", PageBody, links=True
)
async def list_by_correlation(request: Request) -> JsonResponse:
    """The events of one flow, oldest first."""
    return await _page(request, _parsed(request, "correlation", correlation_id=_correlation_id(request)))


@read_route(
    "/api/v1/events/resource/{resource_type:str}/{resource_id:str}",
    "List Events By Resource",
    "resource",
    PageBody,
    links=True,
)
async def list_by_resource(request: Request) -> JsonResponse:
    """The events about one resource, newest first."""
    fixed = {name: unquote(request.path_params[name]) for name in ("resource_type", "resource_id")}
    return await _page(request, _parsed(request, "resource", **fixed))


@read_route("/api/v1/events/aggregate", "Aggregate Events", "aggregate", CountsBody)
async def aggregate(request: Request) -> JsonResponse:
    """How many events there are, by event type, resource type and actor type."""
    read = _parsed(request, "aggregate")
    counts = await context_of(request).store.count_events(principal_of(request).viewer, read.query)
    return JsonResponse(encode_counts(counts))


@read_route("/api/v1/events/histogram", "Events By Time", "histogram", HistogramBody)
async def histogram(request: Request) -> JsonResponse:
    """How many events there are by time, each bucket split by outcome or event type."""
    context, viewer = context_of(request), principal_of(request).viewer
    query, asked = parse_histogram(request.scope["query_string"], now=now_us(), vocabulary=context.vocabulary)
    async with context.admission.page_place(viewer.tenant, indexed=is_indexed_count(query, viewer)):
        body = encode_histogram(await context.store.histogram(viewer, query, asked), asked.by)
        context.admission.hold_answer(request, viewer.tenant, len(body))
    return JsonResponse(body)


@read_route("/api/v1/events/stats/by-actor", "Stats By Actor", "actors", ActorStatsBody)
async def stats_by_actor(request: Request) -> Stream:
    """What each actor did; all actors, never a part of them."""
    read = _parsed(request, "actors")
    context, viewer = context_of(request), principal_of(request).viewer
    async with context.admission.page_place(viewer.tenant, indexed=False):
        stats = await context.store.actor_stats(viewer, read.query)
        chunks = await context.admission.in_slices(viewer.tenant, encode_actor_stats(stats))
        context.admission.hold_answer(request, viewer.tenant, sum(map(len, chunks)))
    return Stream(_sent_once(chunks), media_type=JSON)


@read_route(
    "/api/v1/events/{event_id:str}", "Get Event", "event", EventBody, missing=True, cache_control="private, no-cache"
)
async def get_event(request: Request) -> JsonResponse:
    """One event by its id."""
    event_id = event_id_of(request)
    read = _parsed(request, "event")
    event = await context_of(request).store.get_event(principal_of(request).viewer, event_id)
    if event is None:
        raise NotFound("There is no event with this id.")
    context_of(request).admission.hold_answer(request, event.tenant_id, _size(event))
    return JsonResponse(encode_event(event, read.include, principal_of(request).viewer))


def event_at_once(request: Request) -> JsonResponse | None:
    """The answer of `get_event`, if nothing has to wait for it, and it is not large; else None."""
    event_id = event_id_of(request)
    read = _parsed(request, "event")
    event = context_of(request).store.event_now(principal_of(request).viewer, event_id)
    if event is None or _size(event) > SMALL_ANSWER:
        return None
    return JsonResponse(encode_event(event, read.include, principal_of(request).viewer))


@read_route("/api/v1/references/{reference:str}", "Find Event", "reference", ReferenceBody, missing=True)
async def find_event(request: Request) -> JsonResponse:
    """The id of the event that a short reference names: `@` and its position, or the first digits of its id."""
    refuse_parameters(request.scope["query_string"])
    viewer = principal_of(request).viewer
    text = unquote_to_bytes(request.path_params["reference"]).decode("utf-8", "replace")
    try:
        reference = parse_reference(text)
    except ValueError as error:
        raise Invalid.at(("path", "reference"), str(error), "reference_parsing") from None
    is_short = reference.position is not None or reference.first_id != reference.last_id
    if is_short and not viewer.sees_all:  # positions count hidden events, and a few digits may lead to many of them
        raise Invalid.at(("path", "reference"), "A narrowed key names an event by its whole id.", "narrowed")
    ids = await context_of(request).store.find_ids(viewer, reference)
    if not ids:
        raise NotFound("There is no event with this position, or whose id begins so.")
    if len(ids) > 1:
        raise Invalid.at(("path", "reference"), "Several ids begin so. Write more digits.", "ambiguous")
    return JsonResponse(msgspec.json.encode(ReferenceBody(id=ids[0])))


ROUTES: list[HTTPRouteHandler] = [
    list_events,
    aggregate,
    histogram,
    list_by_correlation,
    list_by_resource,
    stats_by_actor,
    get_event,
    find_event,
]
"""The handlers of this module."""


def _parsed(request: Request, name: str, **fixed: str) -> ReadRequest:
    """What the request asks for. Raises Invalid. Programs that watch a log ask the same again and again, so what was
    parsed lately is kept."""
    context, viewer, query_string = context_of(request), principal_of(request).viewer, request.scope["query_string"]
    asked = (name, query_string, viewer, *fixed.values())
    read = context.parsed_reads.get(asked)
    if read is None:
        read = parse_read(
            name,
            query_string,
            viewer=viewer,
            now=now_us(),
            vocabulary=context.vocabulary,
            sealer=context.cursors,
            fixed=fixed,
        )
        if not read.is_relative:
            context.parsed_reads.put(asked, read, 1)
    return read


async def _page(request: Request, read: ReadRequest) -> JsonResponse:
    """One page of events. Its place bounds the pages in memory that are not counted as answers yet."""
    context, viewer = context_of(request), principal_of(request).viewer
    indexed = is_indexed_list(read.query, viewer)
    async with context.admission.page_place(viewer.tenant, indexed=indexed):
        page = await context.store.list_events(viewer, read.query, read.page)
        asked = request.scope["state"]["public_path"], request.scope["query_string"]
        known = context.answered_pages.find(viewer, page, asked)
        if known is not None:
            context.admission.hold_answer(request, viewer.tenant, known[0])
            return known[1]
        size = sum(map(_size, page.events))
        context.admission.hold_answer(request, viewer.tenant, size)
        cursor = next_cursor(context.cursors, read.cursor_seed, read.query, page)
        body = encode_page(page, read.include, cursor, viewer, shared=context.store.pages_share_events)
        answer = JsonResponse(body, headers=next_page_link(request, cursor))
    if context.store.pages_share_events:
        # A large answer is counted while it is sent, and a relative time is another one each time.
        is_kept = size <= SMALL_ANSWER and len(body) <= SMALL_ANSWER and not read.is_relative
        context.answered_pages.add(viewer, page, asked, size, answer, holds_for=page.state if is_kept else None)
    return answer


def _size(event: Event) -> int:
    """About the bytes of an event in an answer."""
    return _EVENT_BYTES + len(event.payload or b"")


def answered_page(request: Request) -> JsonResponse | None:
    """The answer that the page of this request got before, if the log has not changed since; else None."""
    context, viewer = context_of(request), principal_of(request).viewer
    asked = request.scope["state"]["public_path"], request.scope["query_string"]
    known = context.answered_pages.last(viewer, asked)
    if known is None or context.store.log_state(viewer.tenant) != known[0]:
        return None
    return known[1]


def next_page_link(request: Request, cursor: str | None) -> list[tuple[str, str]]:
    """The Link header that names the next page, relative to the host; none on the last page.

    Its address is the one that was requested, with this cursor in place of any offset or cursor.
    """
    if cursor is None:
        return []
    address = _next_page(request.scope["state"]["public_path"], request.scope["query_string"])
    return [("link", f'<{address}{quote(cursor, safe="")}>; rel="next"')]


@lru_cache(256)
def _next_page(path: str, query_string: bytes) -> str:
    """The address of the next page, but for its cursor."""
    pairs = query_string.decode("latin-1").split("&")
    kept = [pair for pair in pairs if pair and unquote(pair.partition("=")[0]) not in ("offset", "cursor")]
    query = "&".join([*kept, "cursor="])
    return f"{quote(path, safe=_URL_SAFE, encoding='latin-1')}?{quote(query, safe=_URL_SAFE, encoding='latin-1')}"


def _correlation_id(request: Request) -> str:
    """The id in the path, decoded after the path was split. Raises Invalid when it is not UTF-8."""
    try:
        raw: bytes = request.scope["state"]["correlation_id"]
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid.at(("path", "correlation_id"), "The id must be UTF-8 text, percent-encoded.") from None


def event_id_of(request: Request) -> str:
    """The event id in the path, in canonical form. Raises Invalid when it is not a UUID."""
    try:
        return parse_uuid(unquote_to_bytes(request.path_params["event_id"]).decode("utf-8", "replace"))
    except ValueError as error:
        raise Invalid.at(("path", "event_id"), str(error), "uuid_parsing") from None


async def _sent_once(chunks: list[bytes]) -> AsyncIterator[bytes]:
    """The chunks in order. None is kept once the client has read it."""
    chunks.reverse()
    while chunks:
        yield chunks.pop()
