"""HTTP/1.1 on one connection, with a limit on everything that a client could drag out.

A head has a size and a time. A body has a pace, which `bodies.py` sees to while a handler reads it; what is left of
one that was answered early is read and thrown away for a while, so that the client gets to see the answer, and then
the connection ends. An answer that the client does not take ends the connection too. What is refused here is answered
behind the requests before it, never in their place.
"""

import asyncio
import contextlib
import struct
import threading
import uuid
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from whence.api.edge import error_body

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # another system than POSIX does not tell what its sockets hold
    ioctl = None  # type: ignore[assignment]  # and then the transport's own buffer has to do

__all__ = ["LimitedProtocol", "SmallReads"]

_READ = 32 * 1024
_HEAD_MAX = 32 * 1024
_HEAD_S = 15.0
_LINGER_S = 2.0
_REST_OF_BODY_S = 5.0
_WRITE_LOOK_S = 10.0
_WRITE_BYTES_MIN = 40_960  # in that time; 4 KiB a second, as for bodies that come in


class _ReadBuffer(threading.local):
    """Where the bytes of a read land; an event loop has a thread, and is done with a read before the next."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_READ))


_read_buffer = _ReadBuffer()


class SmallReads(asyncio.BufferedProtocol):
    """What uvicorn makes of a connection: `LimitedProtocol`, with small reads.

    uvloop reads 256 KiB at a time. With hundreds of clients that all send, that much of each would be in memory before
    a handler could refuse it.
    """

    def __init__(self, **given: Any) -> None:
        self._protocol = LimitedProtocol(**given)
        self.connection_made = self._protocol.connection_made  # type: ignore[assignment]  # handed through
        self.connection_lost = self._protocol.connection_lost  # type: ignore[method-assign]  # handed through
        self.eof_received = self._protocol.eof_received  # type: ignore[method-assign]  # handed through
        self.pause_writing = self._protocol.pause_writing  # type: ignore[method-assign]  # handed through
        self.resume_writing = self._protocol.resume_writing  # type: ignore[method-assign]  # handed through

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return _read_buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        self._protocol.data_received(bytes(_read_buffer.view[:nbytes]))


class _TooManyHeaders(Exception):
    """The fields of a head or of a trailer are beyond their limit."""


class _AnswerTransport:
    """The transport as an answer sees it, which closes by the protocol's own way."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines."""

    _deadline: asyncio.TimerHandle | None = None
    _write_look: asyncio.TimerHandle | None = None
    _head_size = 0
    _idle_size = 0
    _moved = False
    _begun = False
    _in_head = True
    _in_body = False
    _refused = False
    _last_words: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to wait for the first head."""
        super().connection_made(transport)
        most, self.limit_concurrency = self.limit_concurrency, None  # uvicorn's own refusal has another shape
        if most is not None and len(self.connections) > 2 * most:
            self.transport.abort()
        elif most is not None and len(self.connections) > most:
            self._refuse(503, b"Service Unavailable", "Too many connections are open; come back shortly.", "busy")
        else:
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
        """The head is whole. What uvicorn refuses of it, such as an address without a path, raises."""
        super().on_headers_complete()
        self._begun, self._in_head, self._in_body, self._moved = True, False, True, True
        self._clear_deadline()
        self.cycle.transport = cast(asyncio.Transport, _AnswerTransport(self.transport, self._close_behind_answer))

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailer behind a body, which counts and is dropped: the request was judged
        by its head."""
        self._count_head(len(name) + len(value))
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._in_body, self._moved = False, True
        self._clear_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is written. If its request is not all here, wait for the rest, but not for long."""
        if self._refused and not self.pipeline:
            self._say_last_words()
            return
        super().on_response_complete()
        # The body that is under way may be that of a later request, which has all its time.
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._set_deadline(_REST_OF_BODY_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        """Take bytes; give up when a head, or whatever else moves nothing, grows beyond its limit."""
        if self._refused:
            return
        self._moved = False
        super().data_received(data)
        self._idle_size = 0 if self._moved else self._idle_size + len(data)
        if self._idle_size > _HEAD_MAX:
            self._refuse_head()
        self._await_next_request()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of every other error."""
        if self._head_size > _HEAD_MAX:
            self._refuse_head()
        else:
            self._refuse(400, b"Bad Request", "The request cannot be read.", "bad_request")

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is written; watch it."""
        super().pause_writing()
        self._watch_write()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._clear_write_look()
        super().resume_writing()

    def _await_next_request(self) -> None:
        """Let an idle connection wait for its next request no longer than a new one for its first. uvicorn's own wait
        ends with the next byte, which may begin no head: the last of a body that nobody read, an empty line."""
        idle = self._begun and self.cycle.response_complete and not self._in_head and not self._in_body
        if idle and self.timeout_keep_alive_task is None and self._deadline is None and not self._refused:
            self._set_deadline(_HEAD_S, self.transport.close)

    def _unsupported_upgrade_warning(self) -> None:
        """Serve a request that would rather speak another protocol, and then end: what comes behind it is not read."""
        self.cycle.keep_alive = False

    def _close_behind_answer(self) -> None:
        """End the connection once the answer was seen: closing it upon unread bytes would take the answer back."""
        if not self._in_body or self._refused:
            self.transport.close()
            return
        self._refused = True
        self.pipeline.clear()
        self._linger(_REST_OF_BODY_S)

    def _watch_write(self) -> None:
        """Look again in a while whether enough was taken; if not, the connection ends and its memory is free."""
        before = self._untaken()

        def look() -> None:
            self._write_look = None
            if self._untaken() > before - _WRITE_BYTES_MIN:
                self.transport.abort()
            else:
                self._watch_write()

        self._clear_write_look()
        self._write_look = self.loop.call_later(_WRITE_LOOK_S, look)

    def _untaken(self) -> int:
        """Bytes that the client has not taken: ours, and those in the kernel, which takes megabytes from us at a time
        while a slow client takes them one by one."""
        size = self.transport.get_write_buffer_size()
        connection = self.transport.get_extra_info("socket")
        if connection is not None and ioctl is not None:
            with contextlib.suppress(OSError):
                size += struct.unpack("i", ioctl(connection.fileno(), TIOCOUTQ, bytes(4)))[0]
        return size

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

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > _HEAD_MAX:
            raise _TooManyHeaders

    def _refuse_head(self) -> None:
        self._refuse(431, b"Request Header Fields Too Large", "The head of the request is too large.", "too_large")

    def _head_is_late(self) -> None:
        self._refuse(408, b"Request Timeout", "The head of the request came too slowly.", "request_timeout")

    def _refuse(self, status: int, phrase: bytes, detail: str, code: str) -> None:
        """Answer without a handler, behind the answers that are under way, and end the connection."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._clear_deadline()
        self._last_words = _answer(status, phrase, detail, code)
        if not self._begun or self.cycle.response_complete:
            self._say_last_words()
        elif self._in_body and (self.pipeline or self.cycle.response_started):
            self.transport.close()
        elif self._in_body:
            # The handler waits for a body that will never be whole.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._say_last_words()

    def _say_last_words(self) -> None:
        if self._last_words is not None:
            self.transport.write(self._last_words)
            self._last_words = None
            self._linger(_LINGER_S)

    def _linger(self, seconds: float) -> None:
        """Say that nothing more will come, and throw away what does until the client has closed its side."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._set_deadline(seconds, self.transport.close)


def _answer(status: int, phrase: bytes, detail: str, code: str) -> bytes:
    """A whole answer, in the shape of every other error."""
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
        *([b"retry-after: 1"] if status == 503 else []),
    ]
    return b"\r\n".join([*head, b"", body])
