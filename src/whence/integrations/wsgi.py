"""WSGI middleware for Flask, Django and others: a request is the cause of what its handler emits.

It does for WSGI what `asgi` does for ASGI.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from whence.client.base_client import BaseClient
from whence.client.context import ContextScope
from whence.integrations.request_cause import RequestCause, outer_context

__all__ = ["WhenceMiddleware"]

Environ = dict[str, Any]
WSGIApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
GetActor = Callable[[Environ], tuple[str, str]]


class WhenceMiddleware:
    """Wraps a WSGI application.

    - `actor` returns the type and id of who sent a request, given its environ. It is called when the request's event is
      emitted. Events that the handler emits still need an actor of their own.
    - `actor_types` are those that your server has in addition to the built-in ones.
    - `trust_headers` continues in the context of the `baggage` and `traceparent` headers. Set it only if all callers
      are your own services.
    - `always` emits an event for every request.

    The event holds the method and the path of the request, and never the query string. A body that is generated while
    it is sent belongs to the request too. If the event of a request cannot be made, this is logged and passed to
    `on_error`. Its effects then have the context around the request.
    """

    def __init__(
        self,
        app: WSGIApp,
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

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        request = RequestCause(
            self._log,
            {"method": environ["REQUEST_METHOD"], "path": _path(environ)},
            None if self._get_actor is None else functools.partial(self._get_actor, environ),
            outer_context(_headers(environ) if self._trust_headers else None),
            self._actor_types,
        )
        if self._always:
            request.emit_once()
        scope = ContextScope(lambda _context: request.context())
        with scope:
            body = self._app(environ, start_response)
        if isinstance(body, list | tuple | _file_type(environ)):
            return body  # no code of the application runs when it is sent
        return _Body(body, scope)


class _Body:
    """A response body whose items are made inside the scope of the request."""

    def __init__(self, body: Iterable[bytes], scope: ContextScope) -> None:
        self._body = body
        self._scope = scope
        self._items: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._scope:
            if self._items is None:
                self._items = iter(self._body)
            return next(self._items)

    def close(self) -> None:
        """As PEP 3333 demands of what has a `close` itself."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._scope:
                close()


def _file_type(environ: Environ) -> type:
    """The type of files that the server sends by itself. Some servers have a function for it, and no type."""
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper if isinstance(wrapper, type) else list


def _path(environ: Environ) -> str:
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    return path.encode("latin-1", "replace").decode("utf-8", "replace")  # PEP 3333: bytes in the guise of text


def _headers(environ: Environ) -> Mapping[str, str]:
    return {
        name: environ[key]
        for name, key in (("baggage", "HTTP_BAGGAGE"), ("traceparent", "HTTP_TRACEPARENT"))
        if key in environ
    }
