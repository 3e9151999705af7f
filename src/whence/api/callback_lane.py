"""The callback lane: answers that wait for nothing, given from the callback of the parser that has read the head.

    parser -> LimitedProtocol -> CallbackLane -> one write                    a page asked for again, an event, /livez
                              -> uvicorn -> HTTPMiddleware -> the handler     everything else

The answer to a question about a log holds as long as the log is in the same state, which one statement reads. An
event is read on the event loop in any case. So there is no task, no application and no message. What decides about a
request is the same in all lanes: `HTTPMiddleware` begins and ends it, `FastLane` finds its route, `authorize_now` is
`authorize` without waiting, and `represent_now` is the part of `represent` that does not wait. Whatever is unusual is
left to the other lanes, errors too, as if nothing had happened here.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from litestar.connection.base import empty_receive
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from whence.api import health, reads
from whence.api.authorization import authorize_now
from whence.api.fast_lane import FastLane
from whence.api.middleware import Headers, HTTPMiddleware, http_refusal
from whence.api.representation import represent_now
from whence.api.request import PlainRequest, Request
from whence.api.responses import JsonResponse

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
        found = self._find(begun, target)
        if found is None:
            return None
        scope, answer_of = found
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

    def _find(self, begun: Mapping[str, Any], target: bytes) -> tuple[dict[str, Any], _Answer] | None:
        """The scope of a request that has begun, and what may know its answer."""
        path, _, query = target.partition(b"?")
        if not path.startswith(b"/") or b"#" in target or not target.isascii():
            return None
        scope = {**begun, "method": "GET", "raw_path": path, "query_string": query}
        meant = self._middleware.target_of(scope)
        found = None if meant.slashed_path is not None else self._fast_lane.find("GET", meant.path)
        answer_of = None if found is None else self._answers.get(found[0])
        if found is None or answer_of is None or http_refusal(scope) is not None:
            return None
        state = self._middleware.begin(scope, meant)
        state["context"] = self._fast_lane.context
        scope["route_handler"], scope["path_params"] = found
        return scope, answer_of


def _head(status: int, headers: Headers) -> bytes:
    """The head of a response. Raises RuntimeError for a byte that would end a header, as uvicorn does."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or len(lines.translate(None, _CONTROL)) != len(lines):
        raise RuntimeError("A header has a control character.")
    return b"%b%b\r\n" % (STATUS_LINE[status], lines)
