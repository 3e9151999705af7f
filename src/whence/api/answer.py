"""An answer whose bytes are made already: all that the busy routes need of a response."""

from collections.abc import Iterable

from litestar.types import Receive, Scope, Send

__all__ = ["Answer"]


class Answer:
    """A JSON answer, as the ASGI application that the framework takes for a response."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, body: bytes, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> None:
        """`headers` are those beside Content-Type and Content-Length, in ASCII."""
        self.body = body
        self.status = status
        self.headers = [(name.encode(), value.encode()) for name, value in headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        length = (b"content-length", str(len(self.body)).encode())
        headers = [*self.headers, (b"content-type", b"application/json"), length]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})
