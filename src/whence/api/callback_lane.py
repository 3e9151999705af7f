"""The callback lane: requests that are answered by the callbacks of the parser, without a task, messages and an
application.

    parser -> LimitedProtocol -> CallbackLane -> one write                    a page asked for again, an event, /livez
                              -> CallbackLane -> Ingest -> one write          a new event
                              -> uvicorn -> HTTPMiddleware -> the handler     everything else

The answer to a question about a log holds as long as the log is in the same state, which one statement reads. An
event is read on the event loop in any case. So these answers are given when the head has been read. A new event waits
for the store, and for nothing else: it is parsed and queued when its body has been read, and answered once it is
durable. What decides about a request is the same in all lanes: `HTTPMiddleware` begins and ends it, `FastLane` finds
its route, `authorize_now` is `authorize` without waiting, and `represent_now` is the part of `represent` that does not
wait. Whatever is unusual is left to the other lanes, and so is every error before an event is queued, as if nothing
had happened here.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from litestar.connection.base import empty_receive
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from whence.api import health, reads, writes
from whence.api.authorization import authorize_now
from whence.api.error_responses import error_response
from whence.api.fast_lane import FastLane
from whence.api.middleware import Headers, HTTPMiddleware, http_refusal, stopping_response
from whence.api.representation import represent_now
from whence.api.request import PlainRequest, Request
from whence.api.responses import JsonResponse
from whence.storage.base import Receipt

__all__ = ["CallbackLane"]

_Answer = Callable[[Request], JsonResponse | None]

_ANSWERS: Mapping[HTTPRouteHandler, _Answer] = {
    health.live: health.alive,
}
"""What returns the answer of a route, if nothing has to wait for it, else None. It holds nothing until the end."""

_ANSWERS_OF_STORE: Mapping[HTTPRouteHandler, _Answer] = {
    reads.list_events: reads.answered_page,
    reads.list_by_correlation: reads.answered_page,
    reads.list_by_resource: reads.answered_page,
    reads.get_event: reads.event_at_once,
}
"""The same, for a store whose short reads need no waiting."""

_CONTROL = bytes({*range(32), 127} - {9, 10, 13})
"""Bytes that no head has."""


class CallbackLane:
    """Gives answers that wait for nothing. Belongs to one event loop."""

    def __init__(self, middleware: HTTPMiddleware, fast_lane: FastLane) -> None:
        self._middleware = middleware
        self._fast_lane = fast_lane
        self._answers = {**_ANSWERS, **(_ANSWERS_OF_STORE if fast_lane.context.store.reads_on_loop else {})}

    def answer(self, begun: Mapping[str, Any], target: bytes, default_headers: Headers) -> bytes | None:
        """The whole response to a GET without a body that leaves the connection open. None if it would have to wait:
        then nothing was decided, and another lane answers. A response that is returned is counted and logged as sent.

        `begun` is the scope, without what follows from the target.
        """
        started = time.perf_counter()
        path, _, query = target.partition(b"?")
        if not path.startswith(b"/") or b"#" in target or not target.isascii():
            return None
        scope = self._find({**begun, "method": "GET", "raw_path": path, "query_string": query})
        answer_of = None if scope is None else self._answers.get(scope["route_handler"])
        if scope is None or answer_of is None:
            return None
        try:
            request = PlainRequest(cast(Scope, scope), empty_receive)
            answer = answer_of(request) if authorize_now(request) else None
            if answer is None:
                return None
            known = represent_now(scope, answer.status, answer.all_headers(), answer.body, answer.forms)
            if known is None:
                return None
            status, headers, body = known
            headers = self._middleware.complete_headers(scope, status, headers)
            response = _head(status, [*default_headers, *headers]) + body
        except Exception:  # the other lanes meet it too, and answer it
            return None
        self._middleware.end(scope, status, time.perf_counter() - started)
        return response

    def store(
        self, cycle: RequestResponseCycle, respond: Callable[[bytes], None]
    ) -> "asyncio.Future[list[Receipt]] | None":
        """Begin to store the event of a POST whose body is whole. `respond` is called with the whole response, once the
        event is durable or refused.

        What is returned is done then; if it is cancelled, the response says that the server stops. None if anything
        else had to be waited for: then nothing was decided, and another lane answers.
        """
        started = time.perf_counter()
        if not self._fast_lane.context.admission.rounds.has_time():
            return None
        scope = self._find(dict(cycle.scope))
        if scope is None or scope["route_handler"] is not writes.create_event:
            return None
        request = PlainRequest(cast(Scope, scope), empty_receive)
        try:
            accepted = writes.create_event_at_once(request, bytes(cycle.body)) if authorize_now(request) else None
        except Exception:  # as above
            return None
        if accepted is None:
            return None

        def finish(_done: object) -> None:
            response, status = self._response_to(request, accepted, cycle)
            try:
                respond(response)
            finally:
                self._middleware.end(scope, status, time.perf_counter() - started)

        accepted.receipts.add_done_callback(finish)
        return accepted.receipts

    def _response_to(
        self, request: PlainRequest, accepted: writes.Accepted, cycle: RequestResponseCycle
    ) -> tuple[bytes, int]:
        """The whole response to a POST whose event is durable or refused, and its status."""
        try:
            answer = accepted.answer(accepted.receipts.result())
            return self._whole(request, answer, cycle), answer.status
        except asyncio.CancelledError:
            answer = stopping_response(cast(dict[str, Any], request.scope))
        except Exception as error:
            answer = error_response(request, error)
        return self._whole(request, answer, cycle), answer.status

    def _whole(self, request: PlainRequest, answer: JsonResponse, cycle: RequestResponseCycle) -> bytes:
        """Head and body of an answer. Raises RuntimeError for one that cannot be sent."""
        scope = cast(dict[str, Any], request.scope)
        known = represent_now(scope, answer.status, answer.all_headers(), answer.body)
        if known is None:
            raise RuntimeError("The answer to a small event is too large to be compressed on the event loop.")
        status, headers, body = known
        headers = self._middleware.complete_headers(scope, status, headers)
        closing = () if cycle.keep_alive else ((b"connection", b"close"),)
        return _head(status, [*cycle.default_headers, *headers, *closing]) + body

    def _find(self, scope: dict[str, Any]) -> dict[str, Any] | None:
        """The scope of a request that has begun, with its route; None if no route of the fast lane is meant."""
        meant = self._middleware.target_of(scope)
        found = None if meant.slashed_path is not None else self._fast_lane.find(scope["method"], meant.path)
        if found is None or http_refusal(scope) is not None:
            return None
        state = self._middleware.begin(scope, meant)
        state["context"] = self._fast_lane.context
        scope["route_handler"], scope["path_params"] = found
        return scope


def _head(status: int, headers: Headers) -> bytes:
    """The head of a response. Raises RuntimeError for a byte that would end a header, as uvicorn does."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or len(lines.translate(None, _CONTROL)) != len(lines):
        raise RuntimeError("A header has a control character.")
    return b"%b%b\r\n" % (STATUS_LINE[status], lines)
