"""HTTP/1.1 on one connection, with a limit on everything that a client could drag out.

A head has a size and a time. A body has a pace, which `bodies.py` sees to while a handler reads it; what is left of
one that was answered early is read and thrown away for a while, so that the client gets to see the answer, and then
the connection ends. An answer that the client does not take ends the connection too.
"""

import asyncio
import uuid
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from whence.api.edge import error_body

__all__ = ["LimitedProtocol"]

_HEAD_MAX = 32 * 1024
_HEAD_S = 15.0
_LINGER_S = 2.0
_REST_OF_BODY_S = 5.0
_WRITE_LOOK_S = 10.0
_WRITE_BYTES_MIN = 40_960  # in that time; 4 KiB a second, as for bodies that come in


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines."""

    _deadline: asyncio.TimerHandle | None = None
    _write_look: asyncio.TimerHandle | None = None
    _head_size = 0
    _in_head = True
    _in_body = False
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._set_deadline(_HEAD_S, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._clear_deadline()
        self._clear_write_look()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """The client sends no more; a refused one has nothing to wait for."""
        if self._refused:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins, perhaps on a connection that was used before."""
        super().on_message_begin()
        self._in_head, self._head_size = True, 0
        self._set_deadline(_HEAD_S, self._head_is_late)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head, self._in_body = False, True
        self._clear_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._in_body = False
        self._clear_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is written. If its request is not all here, wait for the rest, but not for long."""
        super().on_response_complete()
        if self._in_body and not self.transport.is_closing():
            self._set_deadline(_REST_OF_BODY_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        """Take bytes; give up when a head grows beyond its limit."""
        if self._refused:
            return
        counts = self._in_head
        super().data_received(data)
        if counts and self._in_head and not self._refused:
            self._head_size += len(data)
            if self._head_size > _HEAD_MAX:
                self._refuse(
                    431, b"Request Header Fields Too Large", "The head of the request is too large.", "too_large"
                )

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of every other error."""
        self._refuse(400, b"Bad Request", "The request cannot be read.", "bad_request")

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is written; watch it."""
        super().pause_writing()
        self._watch_write()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._clear_write_look()
        super().resume_writing()

    def _watch_write(self) -> None:
        """Look again in a while whether enough was taken; if not, the connection ends and its memory is free."""
        before = self.transport.get_write_buffer_size()

        def look() -> None:
            self._write_look = None
            if self.transport.get_write_buffer_size() > before - _WRITE_BYTES_MIN:
                self.transport.abort()
            else:
                self._watch_write()

        self._clear_write_look()
        self._write_look = self.loop.call_later(_WRITE_LOOK_S, look)

    def _set_deadline(self, seconds: float, late: Callable[[], None]) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, late)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _clear_write_look(self) -> None:
        if self._write_look is not None:
            self._write_look.cancel()
            self._write_look = None

    def _head_is_late(self) -> None:
        self._refuse(408, b"Request Timeout", "The head of the request came too slowly.", "request_timeout")

    def _refuse(self, status: int, phrase: bytes, detail: str, code: str) -> None:
        """Answer without a handler, and end the connection. It lingers, since closing it upon unread bytes would
        take the answer back."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        request_id = uuid.uuid4().hex
        body = error_body(detail, code, request_id)
        head = [
            b"HTTP/1.1 %d %s" % (status, phrase),
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"x-request-id: " + request_id.encode(),
            b"x-content-type-options: nosniff",
            b"cache-control: no-store",
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join([*head, b"", body]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._set_deadline(_LINGER_S, self.transport.close)
