"""The route that exports events: all that match, as of one position, as they can be read.

An export is read in parts, each a short transaction, and no transaction waits for the client: the next part is read
once the client has read most of the one before. So an export of any size has one part in memory. It cannot end with a
status, since its head is sent by then, so a connection that is cut says that the export is not complete.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from whence.api.context import context_of, now_us, principal_of
from whence.api.operation import Operation, ResponseSpec
from whence.api.request import Request
from whence.errors import Busy, Forbidden, Throttled, Unavailable, WhenceError
from whence.events import EventPart, Keyset, PartRequest
from whence.permissions import READ
from whence.storage.feed import EVENT_BYTES
from whence.wire.exports import MEDIA, ExportRequest, encode_export, export_head, parse_export
from whence.wire.parameters import PARAMETERS

__all__ = ["ROUTES"]

_Result = TypeVar("_Result")

_PART = 500
"""Events of a part, at most."""

_UNREAD_S = 30.0  # a client that reads nothing for this long is cut
_TRUSTED_S = 0.5  # after this time the credential is checked again
_UNVERIFIED_S = 10.0
_AGAIN_S = 0.05, 0.5  # when there was no room for a part
_CUT_S = 5.0

_CSV = MEDIA["csv"].partition(";")[0]
_BODY = {
    "type": "string",
    "description": "One event a line. An export that does not come to its end is cut off, and not completed.",
}


@HTTPRouteHandler(
    "/api/v1/events/export",
    http_method=["GET", "HEAD"],
    status_code=200,
    opt={
        "scope": READ,
        "operation": Operation(
            tag="Events",
            summary="Export Events",
            description=(
                "Exactly the events that match when the request arrives, however many there are. In CSV, a cell that "
                "a spreadsheet would take for a formula has an apostrophe before it."
            ),
            parameters=PARAMETERS["export"],
            responses={200: ResponseSpec("The events", _BODY, media=MEDIA["ndjson"], also_media=[_CSV])},
            errors=(422,),
        ),
    },
)
async def export_events(request: Request) -> ASGIApp:
    """All matching events, as NDJSON or CSV."""
    context, principal = context_of(request), principal_of(request)
    asked = parse_export(request.scope["query_string"], now=now_us(), vocabulary=context.vocabulary)
    context.admission.hold_export(request, principal.tenant)
    as_of = (await context.store.head(principal.tenant)).size
    export = _Export(request, asked, as_of)
    await export.begin()
    return export


ROUTES: list[HTTPRouteHandler] = [export_events]
"""The handlers of this module."""


_NOTHING = EventPart(events=[], after=None)


class _Export:
    """One export: an ASGI application that sends parts until the end, or until the client or its credential goes."""

    def __init__(self, request: Request, asked: ExportRequest, as_of: int) -> None:
        self._request, self._asked, self._as_of = request, asked, as_of
        self._context, self._viewer = context_of(request), principal_of(request).viewer
        self._abort: Callable[[], None] = request.scope["state"].get("abort", lambda: None)
        self._verified_at = time.monotonic()
        self._part = _NOTHING

    async def begin(self) -> None:
        """Read the first part, so that what is refused is answered with a status."""
        self._part = await self._read(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the export; to HEAD, only its head."""
        state: Any = scope["state"]
        state["unread_s"], state["on_stop"] = _UNREAD_S, self._abort
        name = f'attachment; filename="events.{self._asked.format}"'
        headers = [
            (b"content-type", MEDIA[self._asked.format].encode()),
            (b"content-disposition", name.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._request.method != "HEAD":
            try:
                await self._send(send)
            except WhenceError as error:
                state["code"] = error.code
                self._abort()
                await asyncio.sleep(_CUT_S)  # the task is cancelled when the connection is lost
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send) -> None:
        """Send all parts. Raises WhenceError when the next one cannot be read, or may not be read any more."""
        await self._send_lines(send, export_head(self._asked), 0)
        part = self._part
        while True:
            lines = await self._patiently(partial(self._encoded, part))
            size = sum(EVENT_BYTES + len(event.payload or b"") for event in part.events)
            after, part, self._part = part.after, _NOTHING, _NOTHING  # so that only the lines stay in memory
            await self._send_lines(send, lines, size)
            if after is None:
                return
            await self._verify()
            part = await self._patiently(partial(self._read, after))

    async def _encoded(self, part: EventPart) -> bytes:
        lines = encode_export(part.events, self._asked, self._viewer)
        return b"".join(await self._context.admission.in_slices(self._viewer.tenant, lines))

    async def _send_lines(self, send: Send, lines: bytes, size: int) -> None:
        if not lines:
            return

        release = await self._patiently(partial(self._take, size))
        try:
            await send({"type": "http.response.body", "body": lines, "more_body": True})
        finally:
            release()

    async def _take(self, size: int) -> Callable[[], None]:
        return self._context.admission.take_answer(self._viewer.tenant, size)

    async def _read(self, after: Keyset | None) -> EventPart:
        """The part after a sort key."""
        request = PartRequest(limit=_PART, as_of=self._as_of, ascending=self._asked.ascending, after=after)
        async with self._context.admission.page_place(self._viewer.tenant, indexed=False):
            return await self._context.store.list_part(self._viewer, self._asked.query, request)

    async def _patiently(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """The result of some work, which is tried again while there is no room for it."""
        while True:
            try:
                return await work()
            except (Busy, Throttled):
                await asyncio.sleep(random.uniform(*_AGAIN_S))  # noqa: S311  (no secret)
                await self._verify()

    async def _verify(self) -> None:
        """Check the credential again after a while. Raises WhenceError when it has ended, or may read less."""
        now = time.monotonic()
        if now - self._verified_at < _TRUSTED_S:
            return
        try:
            principal = await self._context.authenticator.authenticate(self._request)
        except (Unavailable, Busy):
            if now - self._verified_at > _UNVERIFIED_S:
                raise
            return
        if principal.viewer != self._viewer:
            raise Forbidden("What this credential may read has changed.")
        self._verified_at = now
