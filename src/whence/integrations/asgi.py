"""ASGI middleware for Starlette, FastAPI, Litestar and Django: a request is the cause of what its handler emits.

The event of the request is emitted when its handler first emits an event, so that requests without effects do not fill
the log. `always=True` emits it for every request.
"""

import functools
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from whence.client.base_client import BaseClient
from whence.client.context import ContextScope
from whence.integrations.request_cause import RequestCause, outer_context

__all__ = ["RequestCause", "WhenceMiddleware"]

ASGIScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[ASGIScope, Receive, Send], Awaitable[None]]
GetActor = Callable[[ASGIScope], tuple[str, str]]


class WhenceMiddleware:
    """Wraps an ASGI application.

    - `actor` returns the type and id of who sent a request, given its scope. It is called when the request's event is
      emitted. Events that the handler emits still need an actor of their own.
    - `actor_types` are those that your server has in addition to the built-in ones.
    - `trust_headers` continues in the context of the `baggage` and `traceparent` headers. Set it only if all callers
      are your own services.
    - `always` emits an event for every request.

    The event holds the method and the path of the request, and never the query string. A WebSocket is one request for
    as long as it is open. What is emitted at startup and shutdown has the context of the server's own code.

    If the event of a request cannot be made, this is logged and passed to `on_error`. Its effects then have the context
    around the request.
    """

    def __init__(
        self,
        app: ASGIApp,
        log: BaseClient,
        *,
        actor: GetActor | None = None,
        actor_types: Collection[str] = (),
        trust_headers: bool = False,
        always: bool = False,
    ) -> None:
        self._app = app
        self._log = log
        self._get_actor = actor
        self._actor_types = actor_types
        self._trust_headers = trust_headers
        self._always = always

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket. Other scopes, such as the lifespan, pass through unchanged."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request = RequestCause(
            self._log,
            {"method": scope.get("method", "WEBSOCKET"), "path": str(scope["path"])},
            None if self._get_actor is None else functools.partial(self._get_actor, scope),
            outer_context(_headers(scope) if self._trust_headers else None),
            self._actor_types,
        )
        if self._always:
            request.emit_once()
        with ContextScope(lambda _context: request.context()):
            await self._app(scope, receive, send)


def _headers(scope: ASGIScope) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
