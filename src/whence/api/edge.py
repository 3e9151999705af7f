"""The outermost layer of the server: what holds for every answer, whatever is inside.

It gives each request an id, finds the route's path in the raw bytes of the address, speaks CORS,
sets the security headers, writes one log line, and turns an error that nobody caught into a 500 that says nothing.
"""

import asyncio
import os
import re
import time
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote, unquote_to_bytes

import msgspec
import structlog
from litestar.types import ASGIApp, Message, Receive, Send
from litestar.types import Scope as AsgiScope

from whence.settings import Settings

__all__ = ["Edge", "error_body"]

_log = structlog.get_logger("whence.http")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_PATH_MAX = 2048
_CORRELATION = [b"", b"api", b"v1", b"events", b"correlation"]
_NOWHERE = "/-"
_PIECE = 64 * 1024
_EXPOSED = b"Link, Location, Retry-After, Idempotent-Replayed, X-Request-Id"
_ALLOWED_HEADERS = (
    b"Authorization, X-API-Key, Content-Type, Content-Encoding, Idempotency-Key, X-Request-Id, "
    b"ce-id, ce-source, ce-specversion, ce-type, ce-time, ce-subject, ce-datacontenttype, ce-dataschema, "
    b"ce-authtype, ce-authid, ce-correlationid, ce-causationid"
)
_PREFLIGHT_S = b"600"
_JSON = (b"content-type", b"application/json")

Headers = list[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]


def error_body(detail: str, code: str, request_id: str) -> bytes:
    """The body of every error but 422."""
    return msgspec.json.encode({"detail": detail, "code": code, "requestId": request_id})


class Edge:
    """An ASGI application around another one. Leaves in `scope["state"]`: `request_id`, `root_path` (the prefix that
    clients see), `public_path` (the path as they sent it), `correlation_id`, the raw bytes of that path's rest, and
    `at_end`, a list of what to call when the answer was taken.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.root_path = settings.root_path
        self.origins = frozenset(origin.encode() for origin in settings.cors_origins)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # ASGI, which each library types its own way
        """Serve a request or a lifespan; there are no web sockets here."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000, "reason": None})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        state: dict[str, Any] = dict(scope.get("state") or {})
        scope["state"] = state
        state["request_id"] = request_id = _request_id(scope["headers"])
        state["at_end"] = []
        self._rewrite_path(scope, state)
        answer = _Answer(send, request_id, self._cors(scope["headers"]), head=scope["method"] == "HEAD")
        try:
            if self.origins and _is_preflight(scope):
                await answer.send_preflight()
            else:
                await self.app(cast(AsgiScope, scope), receive, answer.send)
        except asyncio.CancelledError:
            # The server stops and its patience is over. Nobody waits for this task, so its end is no news.
            if not answer.status:
                body = error_body("The server is stopping; send this again.", "unavailable", request_id)
                await answer.send_whole(503, [_JSON, (b"retry-after", b"1")], body)
        except Exception:
            _log.exception("unexpected error", request_id=request_id)
            if answer.status:
                raise
            body = error_body("Something went wrong here; it was noted with the request id.", "internal", request_id)
            await answer.send_whole(500, [_JSON], body)
        finally:
            for call in state["at_end"]:
                call()
            self._note(scope, state, answer.status, time.perf_counter() - started)

    def _note(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        """One line a request: never a query string, a header or a body."""
        principal = state.get("principal")
        probe = state["public_path"].endswith(("/livez", "/readyz")) and status < 400
        (_log.debug if probe else _log.info)(
            "request",
            method=scope["method"],
            path=state["public_path"][:512],
            status=status,
            ms=round(seconds * 1000, 2),
            request_id=state["request_id"],
            tenant=principal.tenant if principal else None,
        )

    def _rewrite_path(self, scope: Scope, state: dict[str, Any]) -> None:
        """Route by the raw path: split first, decoded afterwards, so that a segment may hold any character.

        What the framework gets is each segment encoded anew, and for a correlation only that it is one. A proxy may
        strip the root path or leave it.
        """
        raw = (scope.get("raw_path") or quote(scope["path"]).encode()).partition(b"?")[0]
        root = (scope.get("root_path") or self.root_path).rstrip("/")
        if root and raw.startswith(root.encode() + b"/"):
            raw = raw[len(root) :]
        state["root_path"] = root
        state["public_path"] = root + raw.decode("latin-1")
        scope["root_path"] = ""
        parts = raw.split(b"/", 5)
        if len(parts) == 6 and [unquote_to_bytes(part) for part in parts[:5]] == _CORRELATION:
            state["correlation_id"] = unquote_to_bytes(parts[5])
            path = "/api/v1/events/correlation/-"
        else:
            path = _encoded_anew(raw)
        scope["path"] = path
        scope["raw_path"] = path.encode()

    def _cors(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The headers that let a configured origin read the answer."""
        if not self.origins:
            return []
        origin = _header(headers, b"origin")
        if origin is None or origin not in self.origins:
            return [(b"vary", b"Origin")]
        return [
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED),
        ]


class _Answer:
    """The way out: adds what every answer carries, and drops the body of an answer to HEAD."""

    def __init__(self, send: Send, request_id: str, cors: Headers, *, head: bool) -> None:
        self.out = send
        self.head = head
        self.status = 0
        self.common: Headers = [
            (b"x-request-id", request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            *cors,
        ]

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", []))
            if all(name.lower() != b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message["headers"] = headers + self.common
        elif message["type"] == "http.response.body":
            body = b"" if self.head else message.get("body", b"")
            message["body"] = await self._send_pieces(body)
        await self.out(message)

    async def _send_pieces(self, body: bytes) -> bytes:
        """Send a large body piece by piece, each once the client has taken most of what came before it, so that no
        second copy waits in the socket's buffer; returns the last piece, which is still to be sent."""
        last = max(len(body) - 1, 0) // _PIECE * _PIECE
        for start in range(0, last, _PIECE):
            piece = body[start : start + _PIECE]
            await self.out({"type": "http.response.body", "body": piece, "more_body": True})
        return body[last:]

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        length = (b"content-length", str(len(body)).encode())
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def send_preflight(self) -> None:
        allowed: Headers = []
        if any(name == b"access-control-allow-origin" for name, _ in self.common):
            allowed = [
                (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE"),
                (b"access-control-allow-headers", _ALLOWED_HEADERS),
                (b"access-control-max-age", _PREFLIGHT_S),
            ]
        await self.send({"type": "http.response.start", "status": 204, "headers": allowed})
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_preflight(scope: Scope) -> bool:
    asked = _header(scope["headers"], b"access-control-request-method")
    return scope["method"] == "OPTIONS" and asked is not None and _header(scope["headers"], b"origin") is not None


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    sent = _header(headers, b"x-request-id")
    return sent.decode() if sent is not None and _REQUEST_ID.fullmatch(sent) else os.urandom(16).hex()


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name.lower() == wanted), None)


@lru_cache(256)
def _encoded_anew(raw: bytes) -> str:
    """The path with each segment percent-encoded in one way; a path with an empty segment leads nowhere."""
    if raw == b"/":
        return "/"
    segments = raw.split(b"/")[1:]
    if len(raw) > _PATH_MAX or not all(segments):
        return _NOWHERE
    return "".join("/" + quote(unquote_to_bytes(segment), safe="") for segment in segments)
