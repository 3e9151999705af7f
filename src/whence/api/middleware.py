"""The ASGI middleware around the application: everything that holds for every request and response.

It gives each request an id, normalizes the path from its raw bytes, answers CORS, sets the security headers, writes one
log line, and turns an uncaught error into a 500 without details.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, MutableMapping
from functools import lru_cache
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote_to_bytes

import structlog
from litestar.types import ASGIApp, Receive, Send
from litestar.types import Scope as LitestarScope

from whence.api.headers import header
from whence.api.metrics import Metrics
from whence.api.representation import AnswerThreads, StreamEncoder, is_event_stream, represent, stream_encoder
from whence.api.request_log import request_log
from whence.api.responses import JsonResponse, error_body
from whence.random_digits import RandomDigits
from whence.settings import Settings

__all__ = ["HTTPMiddleware", "Headers", "RequestTarget", "http_refusal", "stopping_response"]

_log = structlog.get_logger("whence.http")

_request_digits = RandomDigits()  # only the event loop takes them
os.register_at_fork(after_in_child=_request_digits.reset_after_fork)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_HOST = re.compile(rb"[^\x00-\x20\x7f/?#@,\\]*")
_PATH_MAX = 4096  # 255 characters of four bytes, percent-encoded, with what comes before them
_CORRELATION = [b"", b"api", b"v1", b"events", b"correlation"]
_NO_ROUTE = "/-"  # a path that no route has
_CHUNK = 64 * 1024
_ERROR_MIN = 400
_EXPOSED = (
    b"Deprecation, ETag, Link, Location, Retry-After, Idempotent-Replayed, RateLimit, RateLimit-Policy, Sunset, "
    b"X-Request-Id"
)
_ALLOWED_HEADERS = (
    b"Authorization, X-API-Key, Content-Type, Content-Encoding, Idempotency-Key, If-None-Match, X-Request-Id, "
    b"ce-id, ce-source, ce-specversion, ce-type, ce-time, ce-subject, ce-datacontenttype, ce-dataschema, "
    b"ce-authtype, ce-authid, ce-correlationid, ce-causationid"
)
_PREFLIGHT_S = b"600"
_JSON = (b"content-type", b"application/json")
_CLIENT_GONE = 499  # only in the log and the metrics
_COMMON = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_KEPT_PATH_MAX = 512
"""Longer paths are taken apart anew each time, which bounds the memory for those that are kept."""

Headers = list[tuple[bytes, bytes]]
ASGIScope = MutableMapping[str, Any]


class RequestTarget(NamedTuple):
    """What a request is for. `path` is the normalized path, for routes; the others are as in `scope["state"]`."""

    path: str
    root: str
    public_path: str
    slashed_path: str | None
    correlation_id: bytes | None


class HTTPMiddleware:
    """The outermost ASGI application.

    It sets these keys of `scope["state"]`: `request_id`; `root_path`, the prefix that clients see; `public_path`, the
    path as they sent it; `slashed_path`, the address to redirect to if it ends with a slash; `correlation_id`, the
    decoded bytes of that id if the path has one; `at_end`, a list of functions to call once the response is sent;
    `code`, that of the error that is answered; `headers`, to which a handler may add headers of its response, also if
    it then raises; `abandon`, a function to call when the client has gone away, or None for a request that must be
    finished. The protocol sets `abort`, which closes the connection at once, and `has_arrived`, which is true once the
    whole body is there. A handler whose response does not end by itself sets `on_stop`, a function to call when the
    server stops, and `unread_s`, the seconds in which the client must read something.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics | None = None) -> None:
        """Requests are counted in `metrics`."""
        self.app = app
        self.metrics = metrics or Metrics()
        self.threads = AnswerThreads()
        self.root_path = settings.root_path
        self.first_page = None if settings.console else "/docs"
        self.origins = frozenset(origin.encode() for origin in settings.cors_origins)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # each library types ASGI its own way
        """Serve a request or a lifespan. WebSockets are closed at once."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000, "reason": None})

    async def _serve(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        state = self.begin(scope, self.target_of(scope))
        state["abandon"] = _Abandon() if scope["method"] in ("GET", "HEAD") else None
        response = _ResponseSender(send, scope, self.threads, self.complete_headers)
        try:
            if (refusal := http_refusal(scope)) is not None:
                status, state["code"], sentence = refusal
                body = error_body(sentence, state["code"], state["request_id"])
                await response.send_whole(status, [_JSON, (b"connection", b"close")], body)
            elif self.origins and _is_preflight(scope):
                await response.send_preflight()
            elif (location := _redirect(scope, state)) is not None:
                await response.send_whole(308, [(b"location", location)], b"")
            else:
                await self.app(cast(LitestarScope, scope), receive, response.send)
        except asyncio.CancelledError:
            # The client is gone, or the server's grace period is over. Nothing awaits this task, so the cancellation
            # need not go on.
            if state["abandon"] is not None and state["abandon"].called:
                if "unread_s" not in state:  # as a rule it is the client that ends a stream
                    response.status, state["code"] = _CLIENT_GONE, "client_gone"
            elif not response.status:
                stopping = stopping_response(scope)
                await stopping(cast(LitestarScope, scope), receive, response.send)
        except Exception:
            _log.exception("unexpected error", request_id=state["request_id"])
            state["code"] = "internal"
            if response.status:
                raise
            sentence = "An internal error occurred; it was logged with the request id."
            await response.send_whole(500, [_JSON], error_body(sentence, "internal", state["request_id"]))
        finally:
            self.end(scope, response.status, time.perf_counter() - started)

    def target_of(self, scope: ASGIScope) -> RequestTarget:
        """What a request is for. Needs no more of the scope than `raw_path` or `path`."""
        raw = (scope.get("raw_path") or quote(scope["path"]).encode()).partition(b"?")[0]
        root = (scope.get("root_path") or self.root_path).rstrip("/")
        return (_target if len(raw) <= _KEPT_PATH_MAX else _target.__wrapped__)(raw, root, self.first_page)

    def begin(self, scope: ASGIScope, target: RequestTarget) -> dict[str, Any]:
        """Give a request its id and its normalized path. Returns its state."""
        state: dict[str, Any] = dict(scope.get("state") or {})
        scope["state"] = state
        state["request_id"] = _request_id(scope)
        state["at_end"] = []
        state["headers"] = []
        state["root_path"] = target.root
        state["slashed_path"] = target.slashed_path
        state["public_path"] = target.public_path
        if target.correlation_id is not None:
            state["correlation_id"] = target.correlation_id
        scope["root_path"] = ""
        scope["path"] = target.path
        scope["raw_path"] = target.path.encode()
        return state

    def complete_headers(self, scope: ASGIScope, status: int, headers: Headers) -> Headers:
        """The headers of a response, with those that every response has, and those that its handler added."""
        if all(name != b"cache-control" for name, _ in headers):
            headers = [*headers, (b"cache-control", _cache_control(scope, status))]
        state = scope["state"]
        request_id = (b"x-request-id", state["request_id"].encode())
        return [*headers, *state["headers"], request_id, *_COMMON, *self._cors(scope)]

    def end(self, scope: ASGIScope, status: int, seconds: float) -> None:
        """Release what the request held, count it and log it. `status` is 0 if nothing could be answered."""
        state = scope["state"]
        for call in state["at_end"]:
            call()
        principal = state.get("principal")
        self.metrics.answered(scope.get("route_handler"), scope["method"], status, seconds)
        if status >= _ERROR_MIN:
            self.metrics.refused(state.get("code", "invalid"))  # of a batch none of whose events was stored
        tenant = None if principal is None else principal.tenant
        request_log.add(scope["method"], state["public_path"], status, seconds, state["request_id"], tenant)

    def _cors(self, scope: ASGIScope) -> Headers:
        """The headers that let a configured origin read the response."""
        if not self.origins:
            return []
        origin = header(scope, b"origin")
        if origin is None or origin not in self.origins:
            return [(b"vary", b"Origin")]
        return [
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED),
        ]


class _Abandon:
    """Cancels the task that was current when this was made."""

    def __init__(self) -> None:
        self.called = False
        self._task = cast("asyncio.Task[None]", asyncio.current_task())

    def __call__(self) -> None:
        self.called = True
        self._task.cancel()


class _ResponseSender:
    """An ASGI `send` that represents the response as the client accepts it, adds the headers of every response, and
    drops the body of a response to HEAD. `status` is 0 until the head is sent."""

    def __init__(
        self,
        send: Send,
        scope: ASGIScope,
        threads: AnswerThreads,
        complete: Callable[[ASGIScope, int, Headers], Headers],
    ) -> None:
        self.next_send = send
        self.scope = scope
        self.threads = threads
        self.complete = complete
        self.head = scope["method"] == "HEAD"
        self.status = 0
        self.start: tuple[int, Headers] | None = None  # status and headers that were not sent yet
        self.encoder: StreamEncoder | None = None

    async def send(self, message: Any) -> None:  # Litestar's union of messages cannot be narrowed
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message.get("headers", ())]
            if is_event_stream(headers):
                await self._send_start(message["status"], headers)
            else:
                self.start = message["status"], headers
            return
        if message["type"] == "http.response.body":
            if self.start is not None:
                await self._begin(*self.start, message)
            elif self.encoder is not None:
                message["body"] = await self.encoder.encode(message.get("body", b""), last=not message.get("more_body"))
            message["body"] = await self._send_chunks(b"" if self.head else message.get("body", b""))
        await self.next_send(message)

    async def _begin(self, status: int, headers: Headers, message: Any) -> None:
        """Send the head of a response, and put the first part of its body into the form that the head names."""
        body = message.get("body", b"")
        if not message.get("more_body"):
            forms = message.pop("forms", None)
            status, headers, message["body"] = await represent(self.scope, self.threads, status, headers, body, forms)
        else:
            headers, self.encoder = stream_encoder(self.scope, self.threads, headers)
            if self.encoder is not None:
                message["body"] = await self.encoder.encode(body, last=False)
        await self._send_start(status, headers)

    async def _send_start(self, status: int, headers: Headers) -> None:
        self.start, self.status = None, status
        headers = self.complete(self.scope, status, headers)
        await self.next_send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_chunks(self, body: bytes) -> bytes:
        """Send all chunks of a large body but the last, which is returned. Each waits until the client has read most of
        what was sent before, so that the socket's buffer never holds a second copy of the body."""
        last = max(len(body) - 1, 0) // _CHUNK * _CHUNK
        for start in range(0, last, _CHUNK):
            chunk = body[start : start + _CHUNK]
            await self.next_send({"type": "http.response.body", "body": chunk, "more_body": True})
        return body[last:]

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        length = (b"content-length", str(len(body)).encode())
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def send_preflight(self) -> None:
        allowed: Headers = []
        common = self.complete(self.scope, 204, [])
        if any(name == b"access-control-allow-origin" for name, _ in common):
            allowed = [
                (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE"),
                (b"access-control-allow-headers", _ALLOWED_HEADERS),
                (b"access-control-max-age", _PREFLIGHT_S),
            ]
        await self.send({"type": "http.response.start", "status": 204, "headers": allowed})
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})


def _cache_control(scope: ASGIScope, status: int) -> bytes:
    """What the route declares for its answer, else that nobody may keep this."""
    route = scope.get("route_handler")
    declared: str | None = None if route is None or status not in (200, 304) else route.opt.get("cache_control")
    return (declared or "no-store").encode()


def stopping_response(scope: ASGIScope) -> JsonResponse:
    """The response to a request that is cancelled since the server stops. It sets `code` of the state."""
    state = scope["state"]
    state["code"] = "unavailable"
    body = error_body("The server is stopping; send this again.", "unavailable", state["request_id"])
    return JsonResponse(body, 503, [("retry-after", "1")])


def http_refusal(scope: ASGIScope) -> tuple[int, str, str] | None:
    """Status, code and sentence for what RFC 9112 has a server refuse and the parser lets pass; None for the rest."""
    hosts, codings = [], []
    for name, value in scope["headers"]:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            codings.append(value.strip().lower())
    if len(hosts) > 1 or (not hosts and scope.get("http_version") == "1.1"):
        return 400, "bad_request", "A request has exactly one Host header."
    if hosts and not _HOST.fullmatch(hosts[0]):
        return 400, "bad_request", "The Host header is a host, perhaps with a port."
    if codings and codings != [b"chunked"]:
        return 501, "not_implemented", "Of transfer codings, only chunked is supported; use Content-Encoding."
    return None


def _redirect(scope: ASGIScope, state: dict[str, Any]) -> bytes | None:
    """The address without its trailing slash; for the root path the one with it, or the reference where there is no
    console; None for any other address."""
    path = state["slashed_path"]
    if path is None or (path == "/docs" and scope["method"] not in ("GET", "HEAD")):
        return None
    query: bytes = scope["query_string"]
    return str(state["root_path"] + path).encode() + (b"?" + query if query else b"")


def _is_preflight(scope: ASGIScope) -> bool:
    asked = header(scope, b"access-control-request-method")
    return scope["method"] == "OPTIONS" and asked is not None and header(scope, b"origin") is not None


def _request_id(scope: ASGIScope) -> str:
    sent = header(scope, b"x-request-id")
    return sent.decode() if sent is not None and _REQUEST_ID.fullmatch(sent) else _request_digits.take(32)


@lru_cache(1024)
def _target(raw: bytes, root: str, first_page: str | None) -> RequestTarget:
    """What a raw path stands for. It is split before it is decoded, so that a segment may contain any character,
    slashes included.

    Of a correlation, the id is kept apart, and Litestar sees a placeholder. A proxy may strip the root path or leave
    it.
    """
    if root and raw.startswith(root.encode() + b"/"):
        raw = raw[len(root) :]
    public_path = root + raw.decode("latin-1")
    parts = raw.split(b"/", 5)
    if len(parts) == 6 and [unquote_to_bytes(part) for part in parts[:5]] == _CORRELATION:
        return RequestTarget("/api/v1/events/correlation/-", root, public_path, None, unquote_to_bytes(parts[5]))
    slashed_path = None
    if raw == b"/":
        slashed_path = first_page
    elif root and raw == root.encode():
        slashed_path = first_page or "/"
    elif raw.endswith(b"/") and raw != b"//" and (bare := _normalized(raw[:-1])) != _NO_ROUTE:
        slashed_path = bare
    return RequestTarget(_normalized(raw), root, public_path, slashed_path, None)


def _normalized(raw: bytes) -> str:
    """The path with each segment percent-encoded in one way. A path with an empty segment matches no route, and neither
    does the target `*`, which has none."""
    if raw == b"/":
        return "/"
    segments = raw.split(b"/")[1:]
    if len(raw) > _PATH_MAX or not segments or not all(segments):
        return _NO_ROUTE
    return "".join("/" + quote(unquote_to_bytes(segment), safe="") for segment in segments)
