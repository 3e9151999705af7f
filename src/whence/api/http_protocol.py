"""HTTP/1.1 on one connection: uvicorn's protocol, with limits on slow and large requests.

The head of a request has a largest size and a deadline. The body must arrive at a least rate, which `request_body.py`
checks while a handler reads it. When a request is answered early, the rest of its body is read and discarded for a few
seconds, so that the client sees the response, and then the connection is closed. A client that does not read its
response is disconnected too. A request that is refused here is answered after those before it on the connection.
When the server stops, each connection may ask once more, and the answer says that it is the last.
What needs no waiting is answered as soon as the head is complete, and what only has to be stored is stored as soon as
the body is (`callback_lane.py`).
"""

import asyncio
import contextlib
import socket
import struct
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from whence.api.callback_lane import CallbackLane
from whence.api.connections import Admitted, ConnectionLimits, Purpose
from whence.api.responses import error_body

try:
    from fcntl import ioctl
    from termios import FIONREAD, TIOCOUTQ
except ImportError:  # only POSIX tells how much the buffers of a socket hold
    ioctl = None  # type: ignore[assignment]  # elsewhere only the transport's own buffer is counted

__all__ = ["LimitedProtocol", "ResponseTransport", "SmallReadsProtocol"]

_READ = 32 * 1024
_HEAD_MAX = 32 * 1024
_HEADERS_MAX = 200
_REQUEST_S = 0.001  # about what a request takes on the event loop
_LINES_AT_ONCE = 64
_SLICE = 1024
_HEAD_S = 15.0
_LINGER_S = 2.0
_REST_OF_BODY_S = 5.0
_LAST_REQUEST_S = 1.0
_IN_FLIGHT_S = 0.5  # more than a round trip
_WRITE_CHECK_S = 10.0
_WRITE_BYTES_MIN = 40_960  # in that time: 4 KiB a second, the same rate as for request bodies
_ANSWER_S = 300.0
_PROBE_HEAD_S = 2.0
_PROBES = (b"/livez", b"/readyz")
_RESPONSE_HEAD = b"HTTP/1.1 "
_BODY_HEADERS = (b"content-length", b"transfer-encoding", b"expect")
_INTERIM_HEAD = b"HTTP/1.1 1"
_ACCEPTED_PER_SERVED = 2  # connections beyond these are closed without an answer


class _ReadBuffer(threading.local):
    """The buffer of all reads of a thread. Its event loop finishes one read before it starts the next."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_READ))


_read_buffer = _ReadBuffer()


class SmallReadsProtocol(asyncio.BufferedProtocol):
    """The protocol that uvicorn creates for a connection: `LimitedProtocol`, with small reads.

    By default uvloop reads 256 KiB at a time. With hundreds of clients that all send, that much of each would be in
    memory before a handler could refuse it.
    """

    def __init__(self, *, limits: ConnectionLimits, lane: CallbackLane | None = None, **arguments: Any) -> None:
        self._protocol = LimitedProtocol(**arguments)
        self._protocol.limits = limits
        self._protocol.lane = lane
        self.connection_made = self._protocol.connection_made  # type: ignore[assignment]  # delegated
        self.connection_lost = self._protocol.connection_lost  # type: ignore[method-assign]  # delegated
        self.eof_received = self._protocol.eof_received  # type: ignore[method-assign]  # delegated
        self.pause_writing = self._protocol.pause_writing  # type: ignore[method-assign]  # delegated
        self.resume_writing = self._protocol.resume_writing  # type: ignore[method-assign]  # delegated

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer for the next read."""
        return _read_buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        """Pass the bytes that were read to the protocol."""
        self._protocol.receive(bytes(_read_buffer.view[:nbytes]))


class _TooManyHeaders(Exception):
    """The headers, or the trailers, of a request are larger than allowed."""


class _NoProbe(Exception):
    """A request on a connection of the reserve is not one of a probe."""


class ResponseTransport:
    """The transport for writing a response.

    uvicorn writes head and body one after the other, which would be two calls of the system and wake the client twice.
    So the head waits for the first part of the body until the next round of the event loop, but no interim response.
    """

    def __init__(
        self, transport: asyncio.Transport, close: Callable[[], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        """`close` closes the connection once the response is sent."""
        self._transport = transport
        self._close = close
        self._loop = loop
        self._head: bytes | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write a part of a response. uvicorn writes heads whole."""
        if self._head is not None:
            parts, self._head = (self._head, data), None
            self._transport.writelines(parts)
        elif data.startswith(_RESPONSE_HEAD) and not data.startswith(_INTERIM_HEAD):
            self._head = data
            self._loop.call_soon(self.flush)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Write a head that still waits."""
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head)

    def close(self) -> None:
        """Close the connection, after what was written."""
        self.flush()
        self._close()


class _Flow(FlowControl):
    """Reads nothing more while requests wait on the connection. uvicorn reads on after each answer and for each body,
    so that a client that pipelines requests would fill the memory."""

    def __init__(self, transport: asyncio.Transport, has_more: Callable[[], bool]) -> None:
        """`has_more` says whether requests wait, or bytes that are not parsed yet."""
        super().__init__(transport)
        self._has_more = has_more

    def resume_reading(self) -> None:
        """Read on, unless something waits."""
        if not self._has_more():
            super().resume_reading()


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines.

    It relies on attributes that uvicorn does not document. `tests/api/test_uvicorn_attributes.py` lists them.
    """

    limits: ConnectionLimits
    lane: CallbackLane | None = None
    _answered_at_once = False
    _unstarted: tuple[RequestResponseCycle, Any] | None = None
    _admitted: Admitted | None = None
    _serving: RequestResponseCycle | None = None
    _deadline: asyncio.TimerHandle | None = None
    _write_check: asyncio.TimerHandle | None = None
    _answer_ends: float | None = None
    _head_size = 0
    _target = b""
    _idle_size = 0
    _progressed = False
    _begun = False
    _in_head = False
    _in_body = False
    _is_stopping = False
    _refused = False
    _refusal: bytes | None = None
    _unparsed = b""
    _has_turn = False
    _body_left = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start the deadline of the first head, or refuse the connection."""
        super().connection_made(transport)
        self.flow = _Flow(transport, lambda: bool(self.pipeline or self._unparsed))
        self.limit_concurrency = None  # uvicorn's own refusal has another body
        if len(self.connections) > _ACCEPTED_PER_SERVED * self.limits.total:
            self.transport.abort()
            return
        peer = transport.get_extra_info("peername")
        self._admitted = self.limits.admit(peer[0] if isinstance(peer, tuple) else None)
        if self._admitted.purpose is Purpose.REQUESTS:
            self._set_deadline(_HEAD_S, self._head_is_late)
        elif self._admitted.purpose is Purpose.PROBES:
            self._set_deadline(_PROBE_HEAD_S, self._refuse_connection)
        else:
            self._refuse_connection()
        if self.app_state.get("is_stopping"):
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and the work for an answer that nobody will read."""
        self._unparsed = b""
        self._clear_deadline()
        self._clear_write_check()
        super().connection_lost(exc)
        if self._admitted is not None:
            self.limits.release(self._admitted)
        if self._serving is not None and not self._serving.response_complete:
            self._serving.disconnected = True  # uvicorn tells only the last request that arrived
            abandon = self._state().get("abandon")
            if abandon is not None:
                abandon()

    def eof_received(self) -> None:
        """The client has closed its side. After a refusal there is nothing more to send."""
        if self._refused:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins, perhaps on a connection that has already served a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()  # an answer at once may have set it earlier in this same read
        self._in_head, self._head_size, self._target, self._body_left = True, 0, b"", 0
        if not self._is_reserved:  # else the deadline of the connection goes on
            self._clear_deadline()

    def on_headers_complete(self) -> None:
        """The head is complete. Raises for what uvicorn refuses, such as an address without a path."""
        if self._is_reserved and not self._target.partition(b"?")[0].endswith(_PROBES):
            self._refuse_connection()
            raise _NoProbe
        if self._answer_at_once():
            return
        super().on_headers_complete()
        self._begun, self._in_head, self._in_body, self._progressed = True, False, True, True
        if self.parser.get_method() == b"POST":
            self._body_left = next((int(value) for name, value in self.headers if name == b"content-length"), 0)
        if self._is_reserved or self._is_stopping:
            self.cycle.keep_alive = False
        self._clear_deadline()
        self.scope["state"]["abort"] = self.transport.abort
        transport = ResponseTransport(self.transport, self._close_after_response, self.loop)
        self.cycle.transport = cast(asyncio.Transport, transport)

    def _answer_at_once(self) -> bool:
        """Write the response, if it needs no waiting, and the request has nothing unusual. That happens once in a read,
        so that many requests in one packet do not hold up others."""
        parser = self.parser
        if self.lane is None or self._answered_at_once or not self._is_idle or parser.get_method() != b"GET":
            return False
        if self._is_reserved or self._refused or self.flow.write_paused or self.transport.is_closing():
            return False
        if self._is_stopping:  # the head of this response has no Connection: close
            return False
        if parser.get_http_version() != "1.1" or parser.should_upgrade() or not parser.should_keep_alive():
            return False
        if any(name in _BODY_HEADERS for name, _ in self.headers):
            return False
        response = self.lane.answer(self.scope, self._target, self.server_state.default_headers)
        if response is None:
            return False
        self._answered_at_once = self._progressed = True
        self._in_head = False
        self._clear_deadline()
        self.transport.write(response)
        self.on_response_complete()
        return True

    @property
    def _is_idle(self) -> bool:
        """Whether every request whose head has come was answered."""
        return not self._begun or self.cycle.response_complete

    @property
    def _is_reserved(self) -> bool:
        """Whether only a probe is answered on this connection."""
        return self._admitted is not None and self._admitted.purpose is Purpose.PROBES

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._serving = cycle  # with pipelining, `cycle` is the last request that arrived
        if self._may_be_stored_at_once(cycle):
            self._unstarted = cycle, app
        else:
            self._begin(cycle, app)

    def _begin(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin a request, now or in a turn of its address: hundreds of connections may each send one at once."""
        if self.limits.turns.has_time(_REQUEST_S):
            super()._start_asgi_task(cycle, app)
        else:
            self.limits.turns.call(self._address, partial(self._begin_later, cycle, app), _REQUEST_S)

    def _begin_later(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not cycle.disconnected:
            super()._start_asgi_task(cycle, app)

    @property
    def _address(self) -> str:
        """By whose name the event loop is shared; empty for what has no address of its own."""
        return "" if self._admitted is None else self._admitted.counted_as

    def _may_be_stored_at_once(self, cycle: RequestResponseCycle) -> bool:
        """Whether to wait with a request for what else the same read has: the body of an event as a rule. One of a read
        waits, so that many in one packet do not hold up others."""
        if self.lane is None or self._answered_at_once or cycle.scope["method"] != "POST" or not cycle.more_body:
            return False
        if self._is_reserved or self._refused or self.flow.write_paused or not cycle.keep_alive:
            return False
        if cycle.scope["http_version"] != "1.1" or self.parser.should_upgrade() or cycle.waiting_for_100_continue:
            return False
        return all(name != b"transfer-encoding" for name, _ in self.headers)

    def _start_task(self) -> None:
        """Start a request that waited for its body."""
        if self._unstarted is not None:
            (cycle, app), self._unstarted = self._unstarted, None
            self._begin(cycle, app)

    def _store_at_once(self) -> None:
        """Begin to store the event whose body is complete now, or start its request as all others."""
        if self._unstarted is None or self.lane is None:
            return
        cycle, self._answered_at_once = self._unstarted[0], True
        stored = self.lane.store(cycle, partial(self._respond, cycle))
        if stored is None:
            self._start_task()
            return
        self._unstarted = None
        tasks = cast("set[asyncio.Future[Any]]", self.tasks)  # uvicorn waits for them, and then cancels them
        tasks.add(stored)
        stored.add_done_callback(tasks.discard)

    def _respond(self, cycle: RequestResponseCycle, response: bytes) -> None:
        """Write a whole response, if the client is there."""
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        self.transport.write(response)
        if not cycle.keep_alive:
            self._close_after_response()
        self.on_response_complete()

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self._count_head(len(url))
        self._target += url
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after the body. A trailer counts towards the limit and is dropped."""
        self._count_head(len(name) + len(value))
        if self._in_head:
            if len(self.headers) >= _HEADERS_MAX:
                self._head_size = _HEAD_MAX + 1
                raise _TooManyHeaders
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._progressed = True
        self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is complete."""
        if self._answered_at_once and not self._in_body:
            return
        self._in_body, self._progressed = False, True
        self._clear_deadline()
        super().on_message_complete()
        self.scope["state"]["has_arrived"] = not self.cycle.more_body
        self._store_at_once()

    def on_response_complete(self) -> None:
        """The response is written. If its request has not arrived completely, wait for the rest for a short time."""
        self._answer_ends = None
        self._flush_head()  # of a response without a body
        if self._refused and not self.pipeline:
            self._send_refusal()
            return
        super().on_response_complete()
        if self._is_stopping and self._is_idle and not self.transport.is_closing():
            self._await_last_request()
        self._start_task()  # its time begins now, even if the rest of its body never comes
        self._parse_on()  # the last one that waited may have begun
        self._await_head()
        # If the response is not complete, the body that is arriving is that of a later request, which has its own time.
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._set_deadline(_REST_OF_BODY_S, self._close)

    def receive(self, data: bytes) -> None:
        """Parse received bytes: at once if they are a part of a body, or have few lines, as a request with its body.

        A read has room for a thousand heads, or for five thousand chunks of one byte, and takes many milliseconds then.
        So all else is parsed in slices, in turns with other connections, and nothing is read meanwhile."""
        is_short = len(data) <= self._body_left or data.count(b"\n") <= _LINES_AT_ONCE
        if is_short and not self._unparsed and self.limits.turns.has_time():
            self.data_received(data)
            return
        self._unparsed += data
        self.flow.pause_reading()
        self._parse_on()

    def _parse_on(self) -> None:
        """Go on with what is not parsed yet, and then with reading, unless requests wait for their answers."""
        if not self._unparsed:
            if self._is_idle or len(self.cycle.body) <= HIGH_WATER_LIMIT:
                self.flow.resume_reading()
        elif not self.pipeline and not self._has_turn:
            self._has_turn = True
            self.limits.turns.call(self._address, self._parse_slice)

    def _parse_slice(self) -> None:
        self._has_turn = False
        if self.transport.is_closing():
            self._unparsed = b""
        if self.pipeline or not self._unparsed:
            return
        size = max(_SLICE, self._body_left)
        part, self._unparsed = self._unparsed[:size], self._unparsed[size:]
        self.data_received(part)
        self._parse_on()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes. Refuse the request if too many of them complete neither a head nor a part of a body."""
        if self._refused:
            return
        self._progressed = self._answered_at_once = False
        super().data_received(data)
        self._start_task()
        self._await_head()
        self._idle_size = 0 if self._progressed else self._idle_size + len(data)
        if self._idle_size > _HEAD_MAX:
            self._refuse_head()
        self._await_next_request()

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP with the body that every other error has."""
        if self._head_size > _HEAD_MAX:
            self._refuse_head()
        else:
            self._refuse(400, b"Bad Request", "The request cannot be read.", "bad_request")

    def pause_writing(self) -> None:
        """The client reads its response more slowly than it is written. Start to check its rate."""
        super().pause_writing()
        if self._answer_ends is None and "unread_s" not in self._state():  # a stream may last for ever
            self._answer_ends = self.loop.time() + _ANSWER_S
        self._watch_write_rate()

    def resume_writing(self) -> None:
        """The client has caught up. Stop checking."""
        self._clear_write_check()
        super().resume_writing()

    def shutdown(self) -> None:
        """The server stops. The last response says so, and the connection is closed after it.

        Where no request waits for its response, another one may be on its way. So the connection stays open a little
        longer, for this one. A response that would not end by itself is asked to end.
        """
        self._is_stopping = True
        if (on_stop := self._state().get("on_stop")) is not None:
            on_stop()
        if not self._is_idle:
            if not self.cycle.response_started:  # else the client does not see it, and may send another request
                self.cycle.keep_alive = False
        elif not self._refused and not self._in_body and not self.transport.is_closing():
            self._await_last_request()

    def _state(self) -> dict[str, Any]:
        """What the middleware and the handler say of the response in progress."""
        state: dict[str, Any] = {} if self._serving is None else self._serving.scope.get("state", {})
        return state

    def _await_head(self) -> None:
        """Give a head that has come in part time for its rest, which is not read while requests wait. Most heads come
        whole, and need no timer."""
        if self._in_head and self._deadline is None and not self._refused and not self.pipeline:
            self._set_deadline(_LAST_REQUEST_S if self._is_stopping else _HEAD_S, self._head_is_late)

    def _await_next_request(self) -> None:
        """Give an idle connection as long for its next request as a new one has for its first.

        uvicorn's own timer ends with the next byte, even one that begins no head, such as the end of an unread body or
        an empty line.
        """
        idle = self._is_idle and not self._in_head and not self._in_body
        if idle and self.timeout_keep_alive_task is None and self._deadline is None and not self._refused:
            if self._is_stopping:
                self._await_last_request()
            else:
                self._set_deadline(_HEAD_S, self._close_idle)

    def _await_last_request(self) -> None:
        """Give the client time for one more request, since the server stops."""
        self._unset_keepalive_if_required()
        self._set_deadline(_LAST_REQUEST_S, self._close_idle)

    def _unsupported_upgrade_warning(self) -> None:
        """Answer a request to upgrade the protocol as a plain one, and then close: bytes after it are not HTTP."""
        self.cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        """The client has not sent another request for a while."""
        if not self.transport.is_closing():
            self._close_idle()

    def _close_idle(self) -> None:
        """Close a connection on which no response is due, unless a request has come by now. One that is on its way is
        not answered, and its client sees the end of the connection, not a reset."""
        if self._has_unread_request():
            self._set_deadline(_LAST_REQUEST_S, self._close)
        elif self.transport.can_write_eof():
            self._refused = True
            self._linger(_IN_FLIGHT_S)
        else:
            # By TLS the transport waits until the client closes its side too, and an idle client does not.
            seconds = _WRITE_CHECK_S if self._unread_bytes() else _IN_FLIGHT_S
            self.transport.close()
            self._set_deadline(seconds, self.transport.abort)

    def _has_unread_request(self) -> bool:
        """Whether the socket holds bytes that the event loop has not read yet."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None and ioctl is not None:
            with contextlib.suppress(OSError):
                return bool(self._unparsed) or ioctl(connection.fileno(), FIONREAD, bytes(4)) != bytes(4)
        return bool(self._unparsed)

    def _close(self) -> None:
        """Close the connection. What the client has not read by then, it has a little longer for, and no more: the
        transport alone would wait for it without end."""
        self.transport.close()
        self._set_deadline(_WRITE_CHECK_S, self._reset)

    def _reset(self) -> None:
        """Drop the connection and what its client has not read. Without a reset the kernel would keep that for minutes,
        some megabytes, as long as the client says that it will read on."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _close_after_response(self) -> None:
        """Close once the client has read the response. Closing with unread bytes would reset the connection, and the
        client could lose the response. The server's stop is no news to who has sent further requests already."""
        if self._refused or not (self._in_body or self._is_stopping):
            self._close()
            return
        is_in_body, self._refused = self._in_body, True
        self.pipeline.clear()
        self._linger(_REST_OF_BODY_S if is_in_body else _IN_FLIGHT_S)

    def _watch_write_rate(self) -> None:
        """Check after a while whether the client has read enough, and not for too long; if not, reset the connection to
        free its memory."""
        before = self._unread_bytes()

        def check() -> None:
            self._write_check = None
            is_late = self._answer_ends is not None and self.loop.time() > self._answer_ends
            if is_late or self._unread_bytes() > before - _WRITE_BYTES_MIN:
                self._reset()
            else:
                self._watch_write_rate()

        self._clear_write_check()
        self._write_check = self.loop.call_later(self._state().get("unread_s", _WRITE_CHECK_S), check)

    def _unread_bytes(self) -> int:
        """Bytes that the client has not read yet: in the transport's buffer, and in the kernel's send buffer, which can
        hold megabytes."""
        size = self.transport.get_write_buffer_size()
        connection = self.transport.get_extra_info("socket")
        if connection is not None and ioctl is not None:
            with contextlib.suppress(OSError):
                size += struct.unpack("i", ioctl(connection.fileno(), TIOCOUTQ, bytes(4)))[0]
        return size

    def _set_deadline(self, seconds: float, on_timeout: Callable[[], None]) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, on_timeout)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _clear_write_check(self) -> None:
        if self._write_check is not None:
            self._write_check.cancel()
            self._write_check = None

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > _HEAD_MAX:
            raise _TooManyHeaders

    def _refuse_head(self) -> None:
        self._refuse(431, b"Request Header Fields Too Large", "The head of the request is too large.", "too_large")

    def _head_is_late(self) -> None:
        self._refuse(408, b"Request Timeout", "The head of the request came too slowly.", "request_timeout")

    def _refuse_connection(self) -> None:
        """Refuse a connection that is one too many."""
        if self._admitted is not None and self._admitted.address_is_full:
            sentence = "Too many connections are open from this address; close some, or come back shortly."
            self._refuse(429, b"Too Many Requests", sentence, "throttled")
        else:
            self._refuse(503, b"Service Unavailable", "Too many connections are open; come back shortly.", "busy")

    def _refuse(self, status: int, phrase: bytes, detail: str, code: str) -> None:
        """Answer without a handler, after the responses in progress, and close the connection."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self.limits.refused(code)
        self._clear_deadline()
        self._flush_head()
        self._refusal = _response(status, phrase, detail, code)
        if self._is_idle:
            self._send_refusal()
        elif self._in_body and (self.pipeline or self.cycle.response_started):
            self.transport.close()
        elif self._in_body:
            # The handler is waiting for a body that will never be complete.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._send_refusal()

    def _flush_head(self) -> None:
        """Write the head of the response in progress, if it waits for its body."""
        if self._serving is not None:
            cast(ResponseTransport, self._serving.transport).flush()

    def _send_refusal(self) -> None:
        if self._refusal is not None:
            self.transport.write(self._refusal)
            self._refusal = None
            self._linger(_LINGER_S)

    def _linger(self, seconds: float) -> None:
        """Close our side of the connection, and discard what arrives until the client closes its side."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._unparsed = b""
        self.flow.resume_reading()
        self._set_deadline(seconds, self._close)


def _response(status: int, phrase: bytes, detail: str, code: str) -> bytes:
    """The bytes of a whole error response."""
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
        *([b"retry-after: 1"] if status in (429, 503) else []),
    ]
    return b"\r\n".join([*head, b"", body])
