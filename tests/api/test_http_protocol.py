"""One connection: what a client may drag out, send wrongly or leave unread, on real sockets."""

import asyncio
import contextlib
import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import zstandard
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.api.conftest import Served, event, hold, serving, wait_until
from tests.unit.mutants import catches, replaced
from whence.api import http_protocol, middleware, request_body, server
from whence.permissions import READ, WRITE

EVENTS = "/api/v1/events"
SHORT_S = 0.3
"""What the limits of this file are cut down to."""
SLOW_LOOK_S = 1.0
"""Long enough that a client which reads has read, also on a machine that is busy."""
WAIT_S = 10.0
"""How long a test waits for what must come."""
LARGE = 32 * 1024 * 1024
"""More than all buffers between a client and the server hold."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every deadline of the server is short."""
    for name in ("_HEAD_S", "_REST_OF_BODY_S", "_WRITE_CHECK_S"):
        monkeypatch.setattr(http_protocol, name, SHORT_S)
    monkeypatch.setattr(request_body, "_WINDOW_S", SHORT_S)
    monkeypatch.setattr(server, "_KEEP_ALIVE_S", SHORT_S)


@pytest.fixture
def hasty(short: None, tmp_path: Path) -> Iterator[Served]:
    """A server with short deadlines."""
    with serving(tmp_path) as running:
        yield running


class Wire:
    """A connection on which bytes go as they are."""

    def __init__(self, served: Served, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(served.address)
        self.received = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer. Of one that is cut off, what there is."""
        while b"\r\n\r\n" not in self.received and self.fill():
            pass
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        while len(self.received) < length and self.fill():
            pass
        body, self.received = self.received[:length], self.received[length:]
        return int(lines[0].split(" ")[1]), headers, body

    def nothing_more(self) -> bool:
        """Whether the server says no more and ends the connection."""
        with contextlib.suppress(ConnectionResetError):
            while self.fill():
                pass
        return not self.received

    def silent(self, seconds: float) -> bool:
        """Whether nothing arrives in this time."""
        self.socket.settimeout(seconds)
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(WAIT_S)

    def fill(self) -> bool:
        """Take what there is; whether that was anything."""
        chunk = self.socket.recv(65536)
        self.received += chunk
        return bool(chunk)


def head(method: str, path: str, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *lines, "", ""]).encode()


def write(secret: str, body: bytes, *lines: str) -> bytes:
    """The head of a request that stores this event."""
    headers = [f"X-API-Key: {secret}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return head("POST", EVENTS, *headers, *lines)


UNCHECKED = replaced(middleware, "http_refusal", lambda _scope: None, "what_the_parser_lets_pass_is_served")


@catches(UNCHECKED)
@pytest.mark.parametrize("hosts", [[], ["Host: a", "Host: a"], ["Host: a", "hOST: b"]])
def test_a_request_has_exactly_one_host(served: Served, hosts: list[str]) -> None:
    """None or two are a 400, and the connection ends. HTTP/1.0 needs none."""
    with Wire(served) as wire:
        wire.send("\r\n".join(["GET /livez HTTP/1.1", *hosts, "", ""]).encode())
        status, headers, body = wire.answer()
        assert (status, headers.get("connection")) == (400, "close")
        assert slug(body) == "bad_request"
        assert wire.nothing_more()
    with Wire(served) as wire:
        wire.send(b"GET /livez HTTP/1.0\r\n\r\n")
        assert wire.answer()[0] == 200


@catches(UNCHECKED)
@pytest.mark.parametrize("coding", ["gzip, chunked", "Gzip,Chunked", "gzip\r\nTransfer-Encoding: chunked"])
def test_a_transfer_coding_other_than_chunked_is_501(served: Served, coding: str) -> None:
    """The body would be read as it is, without inflating."""
    with Wire(served) as wire:
        line = f"Transfer-Encoding: {coding}"
        wire.send(head("POST", EVENTS, line, f"X-API-Key: {served.key(WRITE)}"), b"0\r\n\r\n")
        status, headers, body = wire.answer()
        assert (status, headers.get("connection")) == (501, "close")
        assert slug(body) == "not_implemented"
        assert wire.nothing_more()


LIVE = head("GET", "/livez")
EVENT = json.dumps(event()).encode()


def slug(body: bytes) -> str:
    code: str = json.loads(body)["code"]
    return code


# Heads and idle connections


@pytest.mark.parametrize("begun", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"\r\n"])
def test_a_slow_head_is_told_so_and_ends(hasty: Served, begun: bytes) -> None:
    """408, in the shape of every error, on a new connection as on one that was used before."""
    for before in (b"", LIVE):
        with Wire(hasty) as wire:
            wire.send(before)
            if before:
                assert wire.answer()[0] == 200
                if not begun.strip():
                    continue  # an idle connection just ends
            wire.send(begun)
            status, headers, body = wire.answer()
            assert (status, slug(body), headers["connection"]) == (408, "request_timeout", "close")
            assert wire.nothing_more()


def test_a_head_byte_by_byte_is_not_fast_enough(hasty: Served) -> None:
    """Thirty such clients are dropped, and meanwhile others are served."""
    wires = [Wire(hasty) for _ in range(30)]
    with hasty.client() as nobody:
        for byte in LIVE[:8]:
            for wire in wires:
                try:
                    wire.send(bytes([byte]))
                except OSError:
                    continue  # it is dropped already
            assert nobody.get("/livez").status_code == 200
            time.sleep(SHORT_S / 4)
    for wire in wires:
        assert wire.answer()[0] == 408
        assert wire.nothing_more()
        wire.socket.close()


@pytest.mark.parametrize("tail", [b"", b"\r\n"], ids=["idle", "stray line"])
def test_an_idle_connection_ends(hasty: Served, tail: bytes) -> None:
    """Without a response, and also when a stray line followed the last request."""
    with Wire(hasty) as wire:
        wire.send(LIVE)
        assert wire.answer()[0] == 200
        wire.send(tail)
        assert wire.nothing_more()


def test_a_connection_whose_body_nobody_read_ends_too(hasty: Served) -> None:
    """The rest of a refused body comes in time, and then nothing: the connection is idle as any other."""
    with Wire(hasty) as wire:
        wire.send(head("POST", EVENTS, "Content-Length: 4"), b"ab")
        assert wire.answer()[0] == 401
        wire.send(b"cd")
        assert wire.nothing_more()


def test_a_connection_serves_on_behind_a_refused_body(served: Served) -> None:
    """When the rest of the body came, the next request is answered."""
    with Wire(served) as wire:
        wire.send(head("POST", EVENTS, "Content-Length: 4"), b"ab")
        assert wire.answer()[0] == 401
        wire.send(b"cd" + LIVE)
        assert wire.answer()[0] == 200


# Bodies that are not read


@pytest.mark.parametrize("line", ["Connection: keep-alive", "Connection: close"])
@pytest.mark.parametrize("good", [False, True], ids=["401", "413"])
def test_a_refused_body_may_come_whole_and_its_answer_is_seen(served: Served, line: str, good: bool) -> None:
    """A client that writes all of a large body before it reads gets its answer, not a reset."""
    credential = [f"X-API-Key: {served.key(WRITE)}"] if good else []
    with Wire(served) as wire:
        wire.send(head("POST", EVENTS, line, f"Content-Length: {LARGE}", *credential), b"x" * LARGE)
        status, headers, body = wire.answer()
        assert (status, slug(body)) == ((413, "too_large") if good else (401, "unauthenticated"))
        assert headers.get("connection", "keep-alive") == line.partition(": ")[2]


def test_a_connection_that_is_closed_upon_a_body_is_found(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the connection ends with the answer, and takes it back from a client that is still writing."""
    monkeypatch.setattr(http_protocol.LimitedProtocol, "_close_after_response", lambda self: self.transport.close())
    with pytest.raises((ConnectionError, IndexError)), Wire(served) as wire:
        wire.send(head("POST", EVENTS, "Connection: close", f"Content-Length: {LARGE}"), b"x" * LARGE)
        wire.answer()


@pytest.mark.parametrize("line", ["Connection: keep-alive", "Connection: close"])
def test_a_refused_body_that_does_not_end_ends_the_connection(hasty: Served, line: str) -> None:
    """The response comes at once. The rest is discarded for a while, and then the connection is closed."""
    with Wire(hasty) as wire:
        wire.send(head("POST", EVENTS, line, "Content-Length: 1000000000"), b"x" * 100_000)
        assert wire.answer()[0] == 401
        with pytest.raises(OSError):
            for _ in range(50):
                wire.send(b"x" * 10)
                time.sleep(SHORT_S / 10)


def test_a_body_that_trickles_is_given_up(hasty: Served) -> None:
    """408, and the connection ends; the room that its bytes had is free again."""
    with Wire(hasty) as wire:
        wire.send(write(hasty.key(WRITE), EVENT), EVENT[:10])
        status, headers, body = wire.answer()
        assert (status, slug(body), headers["connection"]) == (408, "request_timeout", "close")
        assert wire.nothing_more()
    assert hasty.app.app.context.admission.bodies.used == 0  # type: ignore[attr-defined]  # of the lane inside


class EagerProtocol(http_protocol.LimitedProtocol):
    """Mutant: takes every body for one that has arrived."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.scope["state"]["has_arrived"] = True


class ModestProtocol(http_protocol.LimitedProtocol):
    """Mutant: takes no body for one that has arrived."""

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.scope["state"]["has_arrived"] = False


@catches(
    replaced(http_protocol, "LimitedProtocol", EagerProtocol, "no_body_is_timed"),
    replaced(http_protocol, "LimitedProtocol", ModestProtocol, "every_body_is_timed"),
)
def test_a_body_is_timed_only_while_it_arrives(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that came with its head costs no timer."""
    secret, timers, timeout = served.key(WRITE), [0], asyncio.timeout

    def counted(seconds: float | None) -> asyncio.Timeout:
        timers[-1] += seconds is not None and 14.0 < seconds <= request_body._WINDOW_S
        return timeout(seconds)

    monkeypatch.setattr(asyncio, "timeout", counted)
    with Wire(served) as wire:
        wire.send(write(secret, EVENT) + EVENT)
        assert wire.answer()[0] == 201
        timers.append(0)
        wire.send(write(secret, EVENT))
        assert wire.silent(0.1)
        wire.send(EVENT)
        assert wire.answer()[0] == 201
    assert timers == [0, 1]


def test_a_body_that_breaks_off_stores_nothing(served: Served) -> None:
    """A client that disconnects in the middle of a body leaves no trace."""
    with served.client(READ, WRITE, tenant="broken-off") as client:
        with Wire(served) as wire:
            wire.send(write(served.key(WRITE, tenant="broken-off"), EVENT), EVENT[:-1])
        with Wire(served) as wire:
            chunk = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
            lines = [f"X-API-Key: {served.key(WRITE, tenant='broken-off')}", "Transfer-Encoding: chunked"]
            wire.send(head("POST", EVENTS, *lines), chunk, b"zz\r\n")
            assert wire.answer()[0] == 400
            assert wire.nothing_more()
        context = served.app.app.context  # type: ignore[attr-defined]  # of the lane inside
        wait_until(lambda: context.admission.bodies.used == 0)
        assert client.get(EVENTS).json()["total"] == 0


def test_who_expects_100_gets_it_only_if_the_body_is_wanted(served: Served) -> None:
    """A refused body is refused before it is sent."""
    secret = served.key(WRITE)
    with Wire(served) as wire:
        wire.send(write(secret, EVENT, "Expect: 100-continue"))
        assert wire.answer()[0] == 100
        wire.send(EVENT)
        assert wire.answer()[0] == 201
    for lines, status in (
        (["Content-Length: 10"], 401),
        ([f"X-API-Key: {secret}", f"Content-Length: {LARGE}"], 413),
    ):
        with Wire(served) as wire:
            wire.send(head("POST", EVENTS, "Expect: 100-continue", *lines))
            assert wire.answer()[0] == status


# Pipelining, and invalid requests after valid ones


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    """Also when a body is between them."""
    secret = served.key(READ, WRITE)
    with Wire(served) as wire:
        wire.send(LIVE + write(secret, EVENT) + EVENT + head("GET", "/nothing") + head("HEAD", "/livez"))
        assert [wire.answer()[0] for _ in range(3)] == [200, 201, 404]
        while b"\r\n\r\n" not in wire.received:
            assert wire.fill()
        assert wire.received.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("behind", "status"),
    [(b"nonsense\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\nY: z\r\n", 431), (b"GET /li", 408)],
    ids=["400", "431", "408"],
)
def test_what_is_refused_is_answered_behind_what_was_asked_before(hasty: Served, behind: bytes, status: int) -> None:
    """While an event is being stored, an invalid request follows: first comes the 201, then the refusal."""
    secret, gate = hasty.key(WRITE), threading.Event()
    held = hold(hasty, lambda store: store._writer.submit(lambda _: gate.wait(20)))
    with Wire(hasty) as wire:
        try:
            wire.send(write(secret, EVENT) + EVENT + behind)
            assert wire.silent(SHORT_S * 2), "nothing may be said before its turn"
        finally:
            gate.set()
        held.result(10)
        assert wire.answer()[0] == 201
        answered, headers, _ = wire.answer()
        assert (answered, headers["connection"]) == (status, "close")
        assert wire.nothing_more()


def test_a_refusal_out_of_turn_is_found(hasty: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the refusal is written at once, so that the client takes it for the answer to its event."""
    refuse = http_protocol.LimitedProtocol._refuse

    def at_once(self: Any, *told: Any) -> None:
        refuse(self, *told)
        self._send_refusal()

    monkeypatch.setattr(http_protocol.LimitedProtocol, "_refuse", at_once)
    with pytest.raises(AssertionError):
        test_what_is_refused_is_answered_behind_what_was_asked_before(hasty, b"nonsense\r\n\r\n", 400)


def await_unread(self: Any) -> None:
    """Mutant: a head has its time also while its rest is not read."""
    if self._in_head and self._deadline is None and not self._refused:
        self._set_deadline(SHORT_S, self._head_is_late)


@catches(replaced(http_protocol.LimitedProtocol, "_await_head", await_unread, "late_before_it_is_read"))
def test_a_head_that_is_not_read_yet_is_not_late(hasty: Served) -> None:
    """While requests wait, the rest of the next head stays unread. It has its time from the last of them on."""
    secret, gate = hasty.key(WRITE), threading.Event()
    held = hold(hasty, lambda store: store._writer.submit(lambda _: gate.wait(20)))
    with Wire(hasty) as wire:
        try:
            wire.send(write(secret, EVENT) + EVENT + LIVE + LIVE[:9])
            assert wire.silent(SHORT_S * 2)
        finally:
            gate.set()
        held.result(10)
        wire.send(LIVE[9:] + LIVE[:9])
        assert [wire.answer()[0] for _ in range(3)] == [201, 200, 200]
        assert wire.answer()[0] == 408


def test_a_pipelined_body_has_all_its_time(short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer before it does not start the clock that ends unwanted bodies."""
    monkeypatch.setattr(request_body, "_WINDOW_S", 15.0)
    with serving(tmp_path) as served, Wire(served) as wire:
        wire.send(LIVE + write(served.key(WRITE), EVENT) + EVENT[:10])
        assert wire.answer()[0] == 200
        time.sleep(SHORT_S * 3)
        wire.send(EVENT[10:])
        assert wire.answer()[0] == 201


def upon_bytes(self: http_protocol.LimitedProtocol, start: Any = http_protocol.LimitedProtocol._start_task) -> None:
    """Mutant: a request that waits for its body is started by the next bytes alone."""
    if not self.flow.read_paused:
        start(self)


@catches(replaced(http_protocol.LimitedProtocol, "_start_task", upon_bytes, "a_body_without_time"))
def test_a_pipelined_body_that_does_not_come_is_given_up(hasty: Served) -> None:
    """Its time runs from the answer before it, without any further byte."""
    secret = hasty.key(READ, WRITE)
    with Wire(hasty) as wire:
        wire.send(head("GET", EVENTS, f"X-API-Key: {secret}") + write(secret, EVENT) + EVENT[:10])
        assert wire.answer()[0] == 200
        assert not wire.silent(SHORT_S * 10)
        status, headers, _ = wire.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert wire.nothing_more()


@pytest.mark.parametrize("method", ["GET", "POST"])
@catches(
    replaced(http_protocol._Flow, "resume_reading", FlowControl.resume_reading, "reads_on_after_each_answer"),
    replaced(http_protocol, "_LINES_AT_ONCE", 10**9, "a_read_is_parsed_at_once"),
)
def test_requests_that_wait_come_from_a_part_of_one_read(served: Served, method: str) -> None:
    """However fast a client pipelines them: the rest of the read is not parsed, and what is sent meanwhile stays in the
    buffers of the kernel. A handler that takes its body changes nothing."""
    secret = served.key(WRITE)
    one = LIVE if method == "GET" else write(secret, b"{}") + b"{}"
    with Wire(served) as wire:
        sender = threading.Thread(target=lambda: _send_until_closed(wire, one * 1_000), daemon=True)
        sender.start()
        waiting, unparsed, until = 0, 0, time.monotonic() + SLOW_LOOK_S
        while time.monotonic() < until:
            wire.fill()
            for each in served.server.server_state.connections:
                waiting, unparsed = max(waiting, len(each.pipeline)), max(unparsed, len(each._unparsed))
        assert 0 < waiting <= http_protocol._SLICE // len(one) + 1  # of which a part came before
        assert 0 < unparsed <= http_protocol._READ
        wire.socket.shutdown(socket.SHUT_RDWR)
        sender.join(WAIT_S)


@catches(replaced(http_protocol, "_LINES_AT_ONCE", 10**9, "a_read_is_parsed_at_once"))
def test_what_has_many_lines_is_parsed_in_slices(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event of which each byte is a chunk of its own is stored as any other, and the loop runs meanwhile."""
    parse, sizes = http_protocol.LimitedProtocol.data_received, []

    def noted(self: http_protocol.LimitedProtocol, data: bytes) -> None:
        sizes.append(len(data))
        parse(self, data)

    monkeypatch.setattr(http_protocol.LimitedProtocol, "data_received", noted)
    body = json.dumps(event(payload={"x": "y" * 1_000})).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    secret = served.key(WRITE)
    with Wire(served) as wire:
        lines = [f"X-API-Key: {secret}", "Content-Type: application/json", "Transfer-Encoding: chunked"]
        wire.send(head("POST", EVENTS, *lines) + chunks + LIVE)
        assert [wire.answer()[0] for _ in range(2)] == [201, 200]
        assert max(sizes) <= http_protocol._SLICE
        lines = [f"X-API-Key: {secret}", "Content-Type: application/json", f"Content-Length: {len(body) + 20_000}"]
        wire.send(head("POST", EVENTS, *lines) + b"\n" * 20_000 + body + LIVE)
        assert [wire.answer()[0] for _ in range(2)] == [201, 200]
    assert max(sizes) > 10_000, "of a body whose length is known no byte costs much"


@pytest.mark.parametrize(("count", "status"), [(199, 200), (200, 431)])
def test_a_head_has_two_hundred_lines_at_most(served: Served, count: int, status: int) -> None:
    """`Host` is one of them. Each look for a header goes through all of them."""
    with Wire(served) as wire:
        wire.send(head("GET", "/livez", *[f"a{number}: b" for number in range(count)]))
        assert wire.answer()[0] == status


def _send_until_closed(wire: Wire, requests: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            wire.send(requests)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_last_request_ends_the_connection(served: Served, version: str) -> None:
    """With `Connection: close` or HTTP/1.0 the connection is closed after the response; later requests are ignored."""
    with Wire(served) as wire:
        lines = ["Connection: close"] if version == "1.1" else []
        wire.send(head("GET", "/livez", *lines, version=version) + LIVE)
        assert wire.answer()[0] == 200
        assert wire.nothing_more()


# Responses that the client does not read


def fill_log(served: Served) -> tuple[Served, bytes, int]:
    """The server, a request whose answer is larger than all buffers, and the size of that answer's body."""
    with served.client(READ, WRITE) as client:
        sent = [event(payload={"x": "y" * 240_000})] * 20
        for _ in range(3):
            assert client.post(f"{EVENTS}/batch", json=sent).status_code == 201
        size = len(client.get(EVENTS).content)
        request = head("GET", EVENTS, f"Authorization: {client.headers['authorization']}")
    wait_until(lambda: not served.server.server_state.connections)
    return served, request, size


@pytest.fixture
def large(hasty: Served) -> tuple[Served, bytes, int]:
    """A server with a large log."""
    return fill_log(hasty)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[tuple[Served, bytes, int]]:
    """As `large`, with the usual deadlines: a client that is held up on a busy machine is not refused."""
    with serving(tmp_path) as running:
        yield fill_log(running)


def read_nothing(large: tuple[Served, bytes, int]) -> None:
    served, request, size = large
    with Wire(served, receive_buffer=4096) as wire:
        wire.send(request)
        wait_until(lambda: bool(served.server.server_state.connections))
        wait_until(lambda: not served.server.server_state.connections, WAIT_S)
        try:
            while wire.fill():
                pass
            pytest.fail("the kernel has kept what was not read")
        except ConnectionResetError:
            pass
        assert wire.received.startswith(b"HTTP/1.1 200 OK")
        assert len(wire.received) < size


@catches(replaced(http_protocol.LimitedProtocol, "_reset", lambda self: self.transport.abort(), "kept_by_the_kernel"))
def test_a_client_that_does_not_read_is_dropped(large: tuple[Served, bytes, int]) -> None:
    """Its answer, and the memory for it, go with the connection, also that of the kernel."""
    read_nothing(large)


def only_the_last(self: Any, exc: Any, lost: Any = http_protocol.LimitedProtocol.connection_lost) -> None:
    """Mutant: as uvicorn does, only the last request gets the news that its client is gone."""
    lost(self, exc)
    if self._serving is not None:
        self._serving.disconnected = self._serving is self.cycle


@catches(replaced(http_protocol.LimitedProtocol, "connection_lost", only_the_last, "tells_the_last_request_alone"))
def test_a_client_that_leaves_is_no_error(patient: tuple[Served, bytes, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it waits for more than one answer, of which the first is half sent."""
    served, request, _ = patient
    errors: list[Any] = []
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "error", lambda *told, **_: errors.append(told))
    with Wire(served, receive_buffer=4096) as wire:
        wire.send(request + LIVE)
        wait_until(lambda: any(each.flow.write_paused for each in served.server.server_state.connections), WAIT_S)
        assert wire.fill()
        assert wire.received.startswith(b"HTTP/1.1 200 OK")
    wait_until(lambda: not served.server.server_state.connections, WAIT_S)
    wait_until(lambda: not served.server.server_state.tasks, WAIT_S)
    assert errors == []


def test_a_client_that_reads_slowly_gets_all(large: tuple[Served, bytes, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower than it is written, but above the least rate, for longer than one check."""
    monkeypatch.setattr(http_protocol, "_WRITE_CHECK_S", SLOW_LOOK_S)
    served, request, size = large
    with Wire(served, receive_buffer=65536) as wire:
        wire.send(request)
        for _ in range(20):
            wire.received += wire.socket.recv(65_536)
            time.sleep(SLOW_LOOK_S / 10)
        status, headers, body = wire.answer()
        assert (status, int(headers["content-length"]), len(body)) == (200, size, size)


@pytest.mark.slow
def test_a_look_at_our_own_buffer_alone_is_found(
    large: tuple[Served, bytes, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: what the kernel holds is not counted, so that a slow but steady client seems to take nothing."""
    buffered = http_protocol.LimitedProtocol._unread_bytes
    monkeypatch.setattr(
        http_protocol.LimitedProtocol,
        "_unread_bytes",
        lambda self: min(buffered(self), self.transport.get_write_buffer_size()),
    )
    with pytest.raises((AssertionError, ConnectionResetError, IndexError)):
        test_a_client_that_reads_slowly_gets_all(large, monkeypatch)


class PlainProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which parses whatever it reads."""

    receive = HttpToolsProtocol.data_received


@pytest.mark.parametrize(
    "promise",
    [
        lambda served: test_a_slow_head_is_told_so_and_ends(served, b"GET /li"),
        lambda served: test_an_idle_connection_ends(served, b"\r\n"),
        test_a_connection_whose_body_nobody_read_ends_too,
        lambda served: test_a_refused_body_that_does_not_end_ends_the_connection(served, "Connection: keep-alive"),
        lambda served: read_nothing(fill_log(served)),
    ],
    ids=["slow head", "idle", "unread body", "endless body", "unread answer"],
)
@pytest.mark.slow
def test_a_server_without_these_limits_is_found(
    short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: Any
) -> None:
    """Mutant: uvicorn's own http_protocol."""
    monkeypatch.setattr(http_protocol, "LimitedProtocol", PlainProtocol)
    monkeypatch.setitem(globals(), "WAIT_S", SHORT_S * 5)
    with serving(tmp_path) as served, pytest.raises((AssertionError, TimeoutError, pytest.fail.Exception)):
        promise(served)


# Packed bodies


@pytest.mark.parametrize("path", [EVENTS, f"{EVENTS}/batch"])
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused_and_leaves_nothing(served: Served, path: str, encoding: str) -> None:
    """A few KiB that would become 64 MiB are a 413, and the room for bodies is whole again."""
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    with served.client(WRITE) as client:
        bomb = pack(b"[" + b" " * (64 * 1024 * 1024) + b"]")
        assert len(bomb) < 100_000
        headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
        answer = client.post(path, content=bomb, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert client.post(EVENTS, json=event()).status_code == 201
    assert served.app.app.context.admission.bodies.used == 0  # type: ignore[attr-defined]  # of the lane inside


# Methods


def test_every_address_that_takes_get_takes_head(served: Served) -> None:
    """The same status and length, and no body."""
    document = httpx2.get(f"{served.url}/openapi.json").json()
    with served.client(READ, WRITE, "admin") as client:
        for path in (path for path, methods in document["paths"].items() if "get" in methods):
            told = client.head(path)
            with client.stream("GET", path) as got:
                if path != f"{EVENTS}/stream":  # which never ends
                    got.read()
            assert (told.status_code, told.content) == (got.status_code, b""), path
            assert told.headers.get("content-length") == got.headers.get("content-length"), path


def test_every_address_says_what_it_takes(served: Served) -> None:
    """By OPTIONS and by the 405 of any other method, which name the same methods, those of the document."""
    document = httpx2.get(f"{served.url}/openapi.json").json()
    with served.client() as nobody:
        for path, methods in document["paths"].items():
            documented = (
                {method.upper() for method in methods} | {"OPTIONS"} | ({"HEAD"} if "get" in methods else set())
            )
            options, refused = nobody.options(path), nobody.request("PROPFIND", path)
            assert (options.status_code, refused.status_code) == (204, 405), path
            for answer in (options, refused):
                assert set(answer.headers["allow"].split(", ")) == documented, path
