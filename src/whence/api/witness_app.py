"""The HTTP service of a witness: `POST /add-checkpoint`, and the checkpoints that it cosigned last.

It needs no store and no credential: what it signs is decided by the signatures of the logs that it was given.

Source: C2SP tlog-witness 1.0.0, https://c2sp.org/tlog-witness
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, cast

import structlog

from whence.api.connections import ConnectionLimits
from whence.api.server import Server, ServerConfig
from whence.notes import BadNote
from whence.witness import WitnessService
from whence.witness_protocol import ADD_CHECKPOINT, REQUEST_BYTES_MAX, SIZE_MEDIA, Refusal, parse_request

__all__ = ["WitnessApp", "serve_witness"]

_TEXT = "text/plain; charset=utf-8"
_BODY_S = 10.0
_CONNECTIONS_MAX = 128
_KEEP_ALIVE_S = 60
_GRACE_S = 5
_CHECKPOINT = "/checkpoint"

_log = structlog.get_logger("whence.witness")

Answer = tuple[int, str, bytes]
"""Status, content type and body."""


class WitnessApp:
    """The ASGI application of a witness."""

    def __init__(self, service: WitnessService) -> None:
        self._service = service

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        """Answer one request."""
        status, media, body = await self._answer(scope, receive)
        headers = [(b"content-type", media.encode()), (b"content-length", str(len(body)).encode())]
        if status == 405:
            headers.append((b"allow", b"POST" if scope["path"] == ADD_CHECKPOINT else b"GET"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Any, receive: Callable[[], Any]) -> Answer:
        path = scope["path"]
        if path == ADD_CHECKPOINT:
            return await self._cosigned(receive) if scope["method"] == "POST" else _sentence(405, "Use POST.")
        if not path.endswith(_CHECKPOINT):
            return _sentence(404, "There is nothing here.")
        if scope["method"] not in ("GET", "HEAD"):
            return _sentence(405, "Use GET.")
        note = self._service.checkpoint(path.removeprefix("/").removesuffix(_CHECKPOINT))
        return (200, _TEXT, note.encode()) if note else _sentence(404, "This witness has no checkpoint of this log.")

    async def _cosigned(self, receive: Callable[[], Any]) -> Answer:
        """The answer with a cosignature, or with why there is none."""
        try:
            async with asyncio.timeout(_BODY_S):
                body = await _body(receive)
        except TimeoutError:
            return _sentence(408, "The request did not arrive in time.")
        if body is None:
            return _sentence(413, "The request is too long.")
        try:
            asked = parse_request(body)
        except BadNote as error:
            return _sentence(400, str(error))
        try:
            found = await asyncio.to_thread(self._service.add_checkpoint, asked)
        except OSError as error:
            _log.error("state_not_kept", error=type(error).__name__)
            return _sentence(503, "The witness cannot keep its state, and so it cosigns nothing.")
        if not isinstance(found, Refusal):
            _log.info("cosigned", origin=asked.checkpoint.origin, size=asked.checkpoint.size)
            return 200, _TEXT, found.encode()
        _log.warning("refused", status=found.status, size=asked.checkpoint.size, reason=found.sentence)
        if found.size is not None:
            return found.status, SIZE_MEDIA, f"{found.size}\n".encode()
        return _sentence(found.status, found.sentence)


def serve_witness(service: WitnessService, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called with the address. Raises OSError when it cannot be bound."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with contextlib.closing(socket.create_server((host, port), family=family)) as listener:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}"
        limits = ConnectionLimits(_CONNECTIONS_MAX)
        config = ServerConfig(
            cast(Any, WitnessApp(service)),
            limits,
            None,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        Server(config, lambda: ready(address)).run([listener])


async def _body(receive: Callable[[], Any]) -> bytes | None:
    """The body of a request; None when it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > REQUEST_BYTES_MAX:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(body)


def _sentence(status: int, text: str) -> Answer:
    return status, _TEXT, f"{text}\n".encode()
