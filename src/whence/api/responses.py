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

    __slots__ = ("body", "forms", "headers", "media", "status")

    def __init__(
        self, body: bytes, status: int = 200, headers: Iterable[tuple[str, str]] = (), media: str = JSON
    ) -> None:
        """`headers` are in ASCII, and come in addition to Content-Type and Content-Length.

        A response that is sent again and again gets a dict as `forms`, where its ETag and compressed bodies are kept.
        """
        self.body = body
        self.status = status
        self.media = media
        self.headers = [(name.encode(), value.encode()) for name, value in headers]
        self.forms: dict[str | None, tuple[bytes, bytes]] | None = None

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """Its headers, with those of its body."""
        length = (b"content-length", str(len(self.body)).encode())
        return [*self.headers, (b"content-type", self.media.encode()), length]

    def to_asgi_response(self, **_arguments: Any) -> "JsonResponse":
        """Itself. Litestar calls this on what an exception handler returns."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.all_headers()})
        message = {"type": "http.response.body", "body": self.body, "more_body": False}
        if self.forms is not None:
            message["forms"] = self.forms
        await send(message)  # type: ignore[arg-type]  # the middleware takes the forms out


def error_body(detail: str, code: str, request_id: str) -> bytes:
    """The body of every error except 422."""
    return msgspec.json.encode({"detail": detail, "code": code, "requestId": request_id})
