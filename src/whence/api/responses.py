"""Responses whose JSON is already encoded."""

from collections.abc import Iterable
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

__all__ = ["JSON", "JsonResponse", "error_body"]

JSON = "application/json"
"""The media type of nearly every body."""


class JsonResponse:
    """An ASGI application that sends one body, of JSON unless `media` says otherwise. Litestar's own `Response` costs
    more than the busy routes do."""

    __slots__ = ("body", "headers", "media", "status")

    def __init__(
        self, body: bytes, status: int = 200, headers: Iterable[tuple[str, str]] = (), media: str = JSON
    ) -> None:
        """`headers` are in ASCII, and come in addition to Content-Type and Content-Length."""
        self.body = body
        self.status = status
        self.media = media
        self.headers = [(name.encode(), value.encode()) for name, value in headers]

    def to_asgi_response(self, **_arguments: Any) -> "JsonResponse":
        """Itself. Litestar calls this on what an exception handler returns."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        length = (b"content-length", str(len(self.body)).encode())
        headers = [*self.headers, (b"content-type", self.media.encode()), length]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def error_body(detail: str, code: str, request_id: str) -> bytes:
    """The body of every error except 422."""
    return msgspec.json.encode({"detail": detail, "code": code, "requestId": request_id})
