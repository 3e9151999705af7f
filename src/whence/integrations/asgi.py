"""ASGI middleware, for Starlette, FastAPI, Litestar, Django: a request is the cause of what its handler emits.

The request's own event is emitted when its handler first emits something, unless `always` is set, so that a log does
not fill with requests that did nothing.
"""

import datetime as dt
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from whence.client.context import Context, Scope, extracted
from whence.client.log import Log
from whence.wire.ids import new_uuid7

__all__ = ["RequestsAreCauses"]

ASGIScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[ASGIScope, Receive, Send], Awaitable[None]]

_NOBODY = ("anonymous", "http")
_PATH_MAX = 2_000


class RequestsAreCauses:
    """Wraps an application. `actor` says who sent a request, and is asked when its event is emitted; what the handler
    emits names its own. `trust_headers`: the caller is one of your own services, so its `baggage` and
    `traceparent` are believed. The event holds the method and the path, never the query.
    """

    def __init__(
        self,
        app: App,
        log: Log,
        *,
        actor: Callable[[ASGIScope], tuple[str, str]] | None = None,
        trust_headers: bool = False,
        always: bool = False,
    ) -> None:
        self._app = app
        self._log = log
        self._actor = actor
        self._trusts = trust_headers
        self._always = always

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outer = extracted(_headers(scope)) if self._trusts else Context()
        request = _Request(self._log, scope, self._actor, outer)
        if self._always:
            request.settle()
        with Scope(lambda _context: request.context()):
            await self._app(scope, receive, send)


class _Request:
    """A request whose event is emitted when something is caused by it."""

    def __init__(
        self, log: Log, scope: ASGIScope, actor: Callable[[ASGIScope], tuple[str, str]] | None, outer: Context
    ) -> None:
        self._log = log
        self._scope = scope
        self._ask_actor = actor
        self._outer = outer
        self._at = dt.datetime.now(dt.UTC)
        self._id = new_uuid7()
        self._flow = outer.correlation_id or self._id
        self._lock = threading.Lock()
        self._settled = False

    def context(self) -> Context:
        """What the handler runs in."""
        return msgspec.structs.replace(self._outer, cause=self._id, correlation_id=self._flow, pending=self)

    def actor(self) -> tuple[str, str]:
        """Who sent it."""
        if self._ask_actor is not None:
            return self._ask_actor(self._scope)
        return self._outer.actor or _NOBODY

    def settle(self) -> None:
        """Emit its event, once."""
        with self._lock:
            if self._settled:
                return
            self._settled = True
        self._log.queue(
            "inbound_message.received",
            id=self._id,
            actor=self.actor(),
            resource=("inbound_message", self._id),
            occurred_at=self._at,
            cause=self._outer.cause,
            correlation_id=self._flow,
            payload={"method": self._scope["method"], "path": str(self._scope["path"])[:_PATH_MAX]},
        )


def _headers(scope: ASGIScope) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
