"""Clients that send or read slowly are disconnected, and other clients are not affected."""

import contextlib
import http.client
import itertools
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.acceptance.running import MORE_MIB, ONE_PROCESS, Running, running, tell
from tests.acceptance.tools import missing
from tests.acceptance.traffic import body_of, new_content

GONE_S = 30.0
SLOW_HEADS = 200
SLOW_BODIES = 100
STALLED = 50
BIG_EVENTS = 100
BIG_BYTES = 200 * 1024
MEMORY_MAX_MIB = 300

UVICORNS_OWN = """
import sys
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
import whence.api.server
from whence.cli import main

class Plain(HttpToolsProtocol):
    def __init__(self, *, limits, lane=None, **given):
        super().__init__(**given)

whence.api.server.SmallReadsProtocol = Plain
sys.exit(main())
"""
"""Mutant: uvicorn's own protocol, without deadlines."""

NO_BUDGET = """
import sys
from whence.api.admission import Admission
Admission.hold_answer = lambda *args, **kwargs: None
from whence.cli import main
sys.exit(main())
"""
"""Mutant: no limit on the total size of concurrent answers."""

HEAD = b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nX-API-Key: @KEY@\r\nContent-Type: application/json\r\n"
ASK = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

HEADS: dict[str, tuple[bytes, bytes]] = {
    "a first head": (b"", b"G" + b"ET /" + b"x" * 100),
    "a header": (HEAD, b"X-A: " + b"x" * 100),
    "headers": (HEAD, b"X: y\r\n" * 20),
    "empty lines": (b"", b"\r\n" * 50),
    "a second head": (ASK, b"GET /" + b"x" * 100),
    "empty lines behind an answer": (ASK, b"\r\n" * 50),
    "bytes behind an upgrade": (UPGRADE, b"x" * 100),
}
BODIES: dict[str, tuple[bytes, bytes]] = {
    "a body": (HEAD + b"Content-Length: 1000\r\n\r\n", b"x" * 100),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 20),
    "a chunk's extension": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 100),
    "a trailer": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-A: " + b"x" * 100),
    "a body that nobody wants": (HEAD.replace(b"@KEY@", b"bad") + b"Content-Length: 1000\r\n\r\n", b"x" * 100),
    "a body of a GET": (ASK[:-2] + b"Content-Length: 1000\r\n\r\n", b"x" * 100),
}
"""The bytes that are sent at once, and those that follow at one byte per second."""


class Drip:
    """Many connections that send one byte per second until the server closes them."""

    def __init__(self, server: Running, key: str) -> None:
        self.connections: dict[socket.socket, tuple[str, Iterator[int]]] = {}
        self.gone: dict[str, list[float]] = {}
        self.started = time.monotonic()
        for group, number in ((HEADS, SLOW_HEADS), (BODIES, SLOW_BODIES)):
            names = list(group)
            for index in range(number):
                name = names[index % len(names)]
                at_once, slowly = group[name]
                connection = socket.create_connection(server.address, timeout=10)
                connection.sendall(at_once.replace(b"@KEY@", key.encode()))
                connection.setblocking(False)
                self.connections[connection] = (name, iter(slowly))

    def step(self) -> None:
        """Send one byte on each connection, and remove those that the server has closed."""
        for connection, (name, rest) in list(self.connections.items()):
            try:
                while connection.recv(65536):
                    pass
                ended = True
            except BlockingIOError:
                ended = False
            except OSError:
                ended = True
            if not ended:
                try:
                    connection.send(bytes([next(rest, ord("x"))]))
                except OSError:
                    ended = True
            if ended:
                self.gone.setdefault(name, []).append(time.monotonic() - self.started)
                connection.close()
                del self.connections[connection]

    def left(self) -> dict[str, int]:
        """The number of connections of each kind that are still open."""
        counted: dict[str, int] = {}
        for name, _ in self.connections.values():
            counted[name] = counted.get(name, 0) + 1
        return counted

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


@contextlib.contextmanager
def others(server: Running, key: str) -> Iterator[list[int]]:
    """A client that lists events during the block; yields the statuses of its requests."""
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.05):
            try:
                connection = server.connect(timeout=10)
                connection.request("GET", "/api/v1/events?limit=1", headers={"X-API-Key": key})
                statuses.append(connection.getresponse().status)
                connection.close()
            except (OSError, http.client.HTTPException):
                statuses.append(0)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join(20)


def sockets(server: Running) -> int:
    """The number of open sockets of the server."""
    if not Path("/proc/self/fd").exists():
        missing("/proc")
    count = 0
    for name in os.listdir(f"/proc/{server.pid}/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/{server.pid}/fd/{name}").startswith("socket:")
    return count


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_clients_that_send_a_byte_a_second_are_dropped(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """200 slow request heads and 100 slow bodies are all disconnected within 30 s, while other clients are served.

    A server with uvicorn's own protocol still holds the connections with slow heads then.
    """
    mutant = tmp_path / "uvicorns_own.py"
    mutant.write_text(UVICORNS_OWN)
    with running() as server, running(mutant=mutant) as without:
        keys = [each.key() for each in (server, without)]
        for each in (server, without):
            each.start()
        before = sockets(server)
        drip, undone = (Drip(each, key) for each, key in zip((server, without), keys, strict=True))
        with others(server, keys[0]) as statuses:
            while drip.connections and time.monotonic() - drip.started < GONE_S:
                drip.step()
                undone.step()
                time.sleep(1)
        drip.step()
        undone.step()
        left, survived = drip.left(), undone.left()
        slowest = max((max(times) for times in drip.gone.values()), default=0.0)
        figures = f"connections={SLOW_HEADS + SLOW_BODIES} left={left} slowest={slowest:.1f}s others={len(statuses)}"
        tell(record_property, figures)
        print(f"mutant: {sum(survived.values())} left after {GONE_S:.0f} s: {survived}")
        drip.close()
        undone.close()
        assert not left
        assert wait_until(lambda: sockets(server) <= before, 5), "the server holds sockets of clients that are gone"
        assert statuses and set(statuses) == {200}
        assert server.terminate()[0] == 0
        assert sum(survived[name] for name in ("a first head", "a header", "a second head")) > SLOW_HEADS // 3


def fill(server: Running, key: str) -> None:
    """Store large events: a page of them has 20 MB."""
    chance = random.Random(1)
    connection = server.connect()
    for _ in range(BIG_EVENTS // 20):
        contents = [(new_content(chance)[0], b'{"a":"%b"}' % (b"x" * BIG_BYTES)) for _ in range(20)]
        body = b"[" + b",".join(body_of(*content) for content in contents) + b"]"
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        connection.request("POST", "/api/v1/events/batch", body, headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        answer.read()


def stalled(server: Running, key: str) -> list[socket.socket]:
    """Connections that request a page of 20 MB and do not read it."""
    connections = []
    for _ in range(STALLED):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(server.address)
        connection.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\n\r\n" % key.encode())
        connections.append(connection)
    return connections


def taken_by_none(server: Running, key: str, patience_s: float) -> tuple[dict[int, int], int, bool]:
    """Let many clients request large pages without reading them.

    Returns their statuses, the peak memory of the server in MiB, and whether it disconnected the answered clients.
    """
    before = sockets(server)
    statuses: dict[int, int] = {}
    waiting = []
    for connection in stalled(server, key):
        connection.settimeout(20)
        status = int(connection.recv(12, socket.MSG_PEEK)[9:])  # only the head is read, not the page
        statuses[status] = statuses.get(status, 0) + 1
        if status == 200:
            waiting.append(connection)
        else:
            connection.close()
    dropped = wait_until(lambda: sockets(server) <= before + 1, patience_s)  # one may belong to the other client
    for connection in waiting:
        connection.close()
    return statuses, server.memory(), dropped


def test_clients_that_take_no_answer_are_dropped(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Of 50 clients that request 20 MB and read nothing, some are sent a page until they are disconnected, and the
    rest get a prompt 429. The server's memory stays bounded and others are served. Without the limit it grows."""
    mutant = tmp_path / "no_budget.py"
    mutant.write_text(NO_BUDGET)
    with running() as server, running(mutant=mutant) as without:
        keys = [each.key() for each in (server, without)]
        for each, key in zip((server, without), keys, strict=True):
            each.start()
            fill(each, key)
        with others(server, keys[0]) as seen:
            statuses, most, dropped = taken_by_none(server, keys[0], GONE_S)
        figures = f"stalled={STALLED} statuses={statuses} VmHWM={most} MiB others={len(seen)} dropped={dropped}"
        tell(record_property, figures)
        undone, grown, _ = taken_by_none(without, keys[1], 0)
        print(f"mutant: statuses={undone} VmHWM={grown} MiB")
        assert dropped and statuses.keys() == {200, 429}
        assert most <= MEMORY_MAX_MIB + MORE_MIB
        assert seen and set(seen) == {200}
        assert server.terminate()[0] == 0
        assert grown > MEMORY_MAX_MIB


CONNECTIONS = 20
BUSY, THROTTLED = b"HTTP/1.1 503 ", b"HTTP/1.1 429 "
ASK_EVENTS = b"GET /api/v1/events HTTP/1.1\r\nHost: a\r\n\r\n"


@contextlib.contextmanager
def idle(server: Running, number: int, addresses: Iterator[str]) -> Iterator[None]:
    """Open connections during the block, each from the next of these addresses."""
    before = sockets(server)
    opened = [
        socket.create_connection(server.address, timeout=5, source_address=(next(addresses), 0)) for _ in range(number)
    ]
    try:
        assert wait_until(lambda: sockets(server) == before + number, 5)
        yield
    finally:
        for connection in opened:
            connection.close()
        assert wait_until(lambda: sockets(server) == before, 5)


@pytest.mark.parametrize("limited", [True, False], ids=["limited", "mutant-unlimited"])
def test_a_connection_beyond_the_limit_is_told_so(limited: bool) -> None:
    """It gets a 503 with Retry-After in the usual error shape. A probe is answered all the same, and every request once
    others have ended. Below the limit it gets no such answer."""
    with running(**ONE_PROCESS, **({"WHENCE_CONNECTIONS_MAX": str(CONNECTIONS)} if limited else {})) as server:
        server.start()
        with idle(server, CONNECTIONS, (f"127.0.1.{number}" for number in range(1, 255))):
            received = _hears(server, ASK_EVENTS)
            assert _hears(server, ASK).startswith(b"HTTP/1.1 200 ")
        assert _hears(server, ASK_EVENTS).startswith(b"HTTP/1.1 401 ")
        assert server.terminate()[0] == 0
    if not limited:
        assert received.startswith(b"HTTP/1.1 401 ")
        return
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(BUSY) and b"retry-after: 1" in head
    assert msgspec.json.decode(body).keys() == {"detail", "code", "requestId"}


@pytest.mark.parametrize("proxy", [False, True], ids=["an address", "a trusted proxy"])
def test_one_address_has_half_of_the_connections(proxy: bool) -> None:
    """Beyond that it gets a 429, and others are served. A trusted proxy may have all of them."""
    trusted = {"WHENCE_TRUSTED_PROXIES": "127.0.1.1"} if proxy else {}
    with running(WHENCE_CONNECTIONS_MAX=str(CONNECTIONS), **ONE_PROCESS, **trusted) as server:
        server.start()
        with idle(server, CONNECTIONS // 2, itertools.repeat("127.0.1.1")):
            received = _hears(server, ASK_EVENTS, "127.0.1.1")
            assert received.startswith(b"HTTP/1.1 401 " if proxy else THROTTLED)
            assert _hears(server, ASK_EVENTS).startswith(b"HTTP/1.1 401 ")
            assert _hears(server, ASK, "127.0.1.1").startswith(b"HTTP/1.1 200 ")
        assert server.terminate()[0] == 0


def _hears(server: Running, sent: bytes, source: str = "127.0.0.1") -> bytes:
    """The bytes that a new connection receives within a second after sending `sent`."""
    received = b""
    connection = socket.create_connection(server.address, timeout=1, source_address=(source, 0))
    with connection, contextlib.suppress(TimeoutError):
        connection.sendall(sent)
        while part := connection.recv(4096):
            received += part
    return received
