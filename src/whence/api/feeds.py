"""The routes that follow the log by position: a feed, which is asked repeatedly, and a stream, which stays open."""

import asyncio
import contextlib
import time

from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from whence.api.context import AppContext, context_of, now_us, principal_of
from whence.api.headers import header
from whence.api.operation import ResponseSpec, follow_route
from whence.api.request import Request
from whence.api.responses import JsonResponse
from whence.api.streams import ENDED, READ_EVERY_S
from whence.errors import Forbidden, Invalid, PositionGone
from whence.events import FeedPage
from whence.permissions import Principal
from whence.storage.base import Store
from whence.storage.feed import EVENT_BYTES
from whence.wire.bodies import FeedBody
from whence.wire.feed import FeedRequest, Start, encode_feed, encode_gone, parse_feed

__all__ = ["ROUTES"]

_TRUSTED_S = 0.5
"""After a longer wait the credential is checked again."""

_STREAM = {
    "type": "string",
    "description": (
        "Server-Sent Events. A message without a type is an event as in lists, with its place in the log as the id. A "
        "message of type position says how far the log was read. The last message of a stream that the server ends is "
        "of type bye."
    ),
}


@follow_route("/api/v1/events/feed", "Read Feed", "feed", ResponseSpec("Successful Response", FeedBody))
async def read_feed(request: Request) -> JsonResponse:
    """The events after a position, in the order in which they were stored."""
    context, principal = context_of(request), principal_of(request)
    asked = _parsed(request, None)
    try:
        position = await _position(context.store, principal, asked)
        page = await _wait_for_events(request, asked, await _part(context, principal, asked, position))
    except PositionGone as error:
        return _gone(request, error)
    size = sum(EVENT_BYTES + len(event.payload or b"") for event in page.events)
    context.admission.hold_answer(request, principal.tenant, size)
    return JsonResponse(encode_feed(page, asked.include, principal.viewer, context.streams.places))


@follow_route(
    "/api/v1/events/stream",
    "Stream Events",
    "stream",
    ResponseSpec("Successful Response", _STREAM, media="text/event-stream"),
    headers=[
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "The id of the last message that the client got. The stream goes on after it.",
            "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        }
    ],
)
async def stream_events(request: Request) -> ASGIApp:
    """The events after a position, and then those that are stored, as they are stored."""
    context, principal = context_of(request), principal_of(request)
    last_event_id = header(request.scope, b"last-event-id")
    asked = _parsed(request, None if last_event_id is None else last_event_id.decode("latin-1"))
    context.admission.hold_stream(request, principal.tenant)
    try:
        position = await _position(context.store, principal, asked)
        return await context.streams.open(request, principal, asked, position)
    except PositionGone as error:
        return _gone(request, error)


ROUTES: list[HTTPRouteHandler] = [read_feed, stream_events]
"""The handlers of this module."""


def _parsed(request: Request, last_event_id: str | None) -> FeedRequest:
    context = context_of(request)
    return parse_feed(
        "stream" if request.scope["path"].endswith("/stream") else "feed",
        request.scope["query_string"],
        viewer=principal_of(request).viewer,
        now=now_us(),
        vocabulary=context.vocabulary,
        places=context.streams.places,
        last_event_id=last_event_id,
    )


async def _position(store: Store, principal: Principal, asked: FeedRequest) -> int:
    """The position after which the answer begins."""
    if isinstance(asked.begin, int):
        return asked.begin
    match asked.begin:
        case Start("time", time=since):
            return await store.position_before(principal.tenant, since)
        case Start("now"):
            return (await store.head(principal.tenant)).size
    return (await store.head(principal.tenant)).retained_from - 1


async def _part(context: AppContext, principal: Principal, asked: FeedRequest, position: int) -> FeedPage:
    async with context.admission.page_place(principal.tenant, indexed=True):
        return await context.store.read_feed(principal.viewer, asked.query, position, asked.limit)


async def _wait_for_events(request: Request, asked: FeedRequest, page: FeedPage) -> FeedPage:
    """The page, or if it has no event and the request may wait, the next one that has. At the end of the wait, a page
    without events that was read as far as possible. Raises Unauthenticated when the credential ended meanwhile, and
    Invalid when the tenant was deleted and another one has its name."""
    if page.events or not asked.wait_s:
        return page
    context, principal = context_of(request), principal_of(request)
    context.admission.hold_stream(request, principal.tenant)
    began, until = time.monotonic(), time.monotonic() + asked.wait_s
    stopping = asyncio.Event()
    request.scope["state"]["on_stop"] = stopping.set
    while not page.events and not stopping.is_set() and (left := until - time.monotonic()) > 0:
        if not page.has_more:
            await _first(context.store.changed(principal.tenant, page.size, left), stopping.wait())
        found = await _part(context, principal, asked, page.read_to)
        if page.log_number and found.log_number != page.log_number:
            raise Invalid.at(("query", "after"), ENDED, "after_range")
        page = found
        if not page.events:
            rest = min(READ_EVERY_S, max(0.0, until - time.monotonic()))
            await _first(asyncio.sleep(rest), stopping.wait())
    if time.monotonic() - began > _TRUSTED_S:
        again = await context.authenticator.authenticate(request)
        if again.viewer != principal.viewer:
            raise Forbidden("What this credential may read has changed.")
    return page


async def _first(*awaited: object) -> None:
    """Return when one of these coroutines has, and cancel the others. Raises what it raised."""
    tasks = [asyncio.ensure_future(each) for each in awaited]  # type: ignore[call-overload]  # coroutines
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            if task.done():
                task.result()


def _gone(request: Request, error: PositionGone) -> JsonResponse:
    request.scope["state"]["code"] = error.code
    places, viewer = context_of(request).streams.places, principal_of(request).viewer
    return JsonResponse(encode_gone(error, request.scope["state"]["request_id"], viewer, places), 410)
