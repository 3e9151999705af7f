"""The fast lane: the routes that nearly all requests ask for, answered without Litestar's routing.

    HTTPMiddleware -> FastLane -> the handler of the route            GET or POST of a route in FAST_ROUTES
                               -> Litestar -> the handler             everything else

Both lanes authorize a request by the same function, call the same handler and answer errors by the same table, so a
route behaves alike in both (`tests/api/test_fast_lane.py` compares the bytes). Litestar costs 60 to 80 microseconds of
processor time a request, as much as answering it from memory.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import Receive, Scope, Send

from whence.api import health, reads, writes
from whence.api.authorization import authorize
from whence.api.context import AppContext
from whence.api.error_responses import error_response
from whence.api.request import PlainRequest
from whence.api.responses import JsonResponse

__all__ = ["FAST_ROUTES", "FastLane"]

FAST_ROUTES: Sequence[HTTPRouteHandler] = (
    reads.list_events,
    reads.get_event,
    reads.list_by_correlation,
    reads.list_by_resource,
    reads.aggregate,
    writes.create_event,
    writes.create_batch,
    health.live,
)
"""The routes of the fast lane. Their handlers take nothing but the request, and return a `JsonResponse`."""

_METHODS = ("GET", "POST")
_PARAMETERS_MAX = 2  # at the end of a path


class FastLane:
    """An ASGI application in front of Litestar. It sets `context` of `scope["state"]` for both lanes."""

    def __init__(self, application: Litestar, context: AppContext, handlers: Iterable[HTTPRouteHandler]) -> None:
        """`handlers` are all handlers of the application: a segment of one of their paths is never a parameter."""
        self.application = application
        self.context = context
        self._fixed_paths = {start for handler in handlers for path in handler.paths for start in _fixed_starts(path)}
        self._fixed: dict[tuple[str, str], HTTPRouteHandler] = {}
        self._open: dict[tuple[str, str], tuple[HTTPRouteHandler, list[str]]] = {}
        for handler in FAST_ROUTES:
            for path in handler.paths:
                for method in handler.http_methods & set(_METHODS):
                    self._add(method, path, handler)

    def _add(self, method: str, path: str, handler: HTTPRouteHandler) -> None:
        start, brace, rest = path.partition("/{")
        if not brace:
            self._fixed[method, path] = handler
        else:
            names = [segment.strip("{}").partition(":")[0] for segment in rest.split("/")]
            self._open[method, start] = handler, names

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        scope["state"]["context"] = self.context
        found = self.find(scope["method"], scope["path"])
        if found is None:
            await self.application(scope, receive, send)
        else:
            await _answer(*found, scope, receive, send)

    def find(self, method: str, path: str) -> tuple[HTTPRouteHandler, dict[str, str]] | None:
        """The handler and the path parameters, still percent-encoded; None for what is not in this lane."""
        handler = self._fixed.get((method, path))
        if handler is not None:
            return handler, {}
        if path in self._fixed_paths:
            return None
        start = path
        values: list[str] = []
        for _ in range(_PARAMETERS_MAX):
            start, _, value = start.rpartition("/")
            values.insert(0, value)
            found = self._open.get((method, start))
            if found is not None and len(found[1]) == len(values):
                return found[0], dict(zip(found[1], values, strict=True))
        return None


def _fixed_starts(path: str) -> list[str]:
    """The path, and what comes before each of its slashes, as far as it has no parameter."""
    segments = path.partition("/{")[0].split("/")
    return ["/".join(segments[:end]) for end in range(2, len(segments) + 1)]


async def _answer(
    handler: HTTPRouteHandler, parameters: dict[str, str], scope: Scope, receive: Receive, send: Send
) -> None:
    scope["route_handler"] = handler
    scope["path_params"] = parameters
    request = PlainRequest(scope, receive)
    try:
        await authorize(request)
        response: JsonResponse = await handler.fn(request)
    except Exception as error:
        response = error_response(request, error)
    await response(scope, receive, send)
