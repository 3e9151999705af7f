"""A server that sends scripted replies over real sockets, one per connection, well-formed or not."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

Reply = bytes | Callable[[socket.socket], None]


class ScriptedServer:
    """Sends its replies in turn, repeats the last one, and keeps the requests."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def bodies(self) -> list[bytes]:
        return [request.partition(b"\r\n\r\n")[2] for request in self.requests]

    def close(self) -> None:
        # Closing alone does not wake a thread that is blocked in accept.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                self.requests.append(_read(connection))
                reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
                if callable(reply):
                    reply(connection)
                else:
                    connection.sendall(reply)


def _read(connection: socket.socket) -> bytes:
    """Read one request with its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    expected = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < expected:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def scripted(*replies: Reply) -> Iterator[ScriptedServer]:
    server = ScriptedServer(*replies)
    try:
        yield server
    finally:
        server.close()


def response(status: int, body: Any = None, **headers: str) -> bytes:
    """A whole response. A body that is not bytes is sent as JSON; `_` in a header name stands for `-`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Length": str(len(content)), "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def error_response(status: int, code: str = "", detail: object = "It was so.", **headers: str) -> bytes:
    """An error response of a Whence server."""
    return response(status, {"detail": detail, "code": code, "requestId": "req-7"}, **headers)


def reset(connection: socket.socket) -> None:
    """Reset the connection without a response."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(connection: socket.socket) -> None:
    """Send nothing, and wait until the client closes the connection."""
    connection.recv(1)
