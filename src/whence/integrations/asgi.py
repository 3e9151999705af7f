"""ASGI middleware for Starlette, FastAPI, Litestar and Django: a request is the cause of what its handler emits.

The event of the request is emitted when its handler first emits an event, so that requests without effects do not fill
the log. `always=True` emits it for every request.
"""

import datetime as dt
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from whence.client.base_client import BaseClient
from whence.client.context import CausalContext, ContextScope, extract
from whence.wire.ids import new_uuid7

__all__ = ["RequestCause", "WhenceMiddleware"]

ASGIScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[ASGIScope, Receive, Send], Awaitable[None]]
GetActor = Callable[[ASGIScope], tuple[str, str]]

_ANONYMOUS = ("anonymous", "http")
_PATH_CHARACTERS_MAX = 2_000


class WhenceMiddleware:
    """Wraps an ASGI application.

    - `actor` returns the type and id of who sent a request, given its scope. It is called when the request's event is
      emitted. Events that the handler emits still need an actor of their own.
    - `trust_headers` continues in the context of the `baggage` and `traceparent` headers. Set it only if all callers
      are your own services.
    - `always` emits an event for every request.

    The event holds the method and the path of the request, and never the query string.
    """

    def __init__(
        self,
        app: ASGIApp,
        log: BaseClient,
        *,
        actor: GetActor | None = None,
        trust_headers: bool = False,
        always: bool = False,
    ) -> None:
        self._app = app
        self._log = log
        self._get_actor = actor
        self._trust_headers = trust_headers
        self._always = always

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Handle one request. WebSocket and lifespan scopes pass through unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outer = extract(_headers(scope)) if self._trust_headers else CausalContext()
        request = RequestCause(self._log, scope, self._get_actor, outer)
        if self._always:
            request.emit_once()
        with ContextScope(lambda _context: request.context()):
            await self._app(scope, receive, send)


class RequestCause:
    """A request as a pending cause: its event is emitted when the first event inherits it."""

    def __init__(self, log: BaseClient, scope: ASGIScope, get_actor: GetActor | None, outer: CausalContext) -> None:
        self._log = log
        self._scope = scope
        self._get_actor = get_actor
        self._outer = outer
        self._received_at = dt.datetime.now(dt.UTC)
        self._id = new_uuid7()
        self._correlation_id = outer.correlation_id or self._id
        self._lock = threading.Lock()
        self._emitted = False

    def context(self) -> CausalContext:
        """The context in which the handler runs."""
        return msgspec.structs.replace(self._outer, cause=self._id, correlation_id=self._correlation_id, pending=self)

    def emit_once(self) -> None:
        """Emit the event of the request, unless it was emitted already."""
        with self._lock:
            if self._emitted:
                return
            self._emitted = True
        self._log.queue(
            "inbound_message.received",
            id=self._id,
            actor=self._actor(),
            resource=("inbound_message", self._id),
            occurred_at=self._received_at,
            cause=self._outer.cause,
            correlation_id=self._correlation_id,
            payload={"method": self._scope["method"], "path": str(self._scope["path"])[:_PATH_CHARACTERS_MAX]},
        )

    def _actor(self) -> tuple[str, str]:
        if self._get_actor is not None:
            return self._get_actor(self._scope)
        return self._outer.actor or _ANONYMOUS


def _headers(scope: ASGIScope) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
