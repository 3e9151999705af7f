"""On SIGTERM accepted requests are finished, hanging ones are aborted, and the process ends in time without losses."""

import contextlib
import http.client
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.history import History
from tests.acceptance.running import Running, running, seed, tell
from tests.acceptance.traffic import Clients, body_of, counts, found, new_content
from tests.examples import soak

ROUNDS = 100 if soak() else 5
HANGING_EVERY = 5
"""In one round of this many, some requests are left open, which the server has to wait for and then abort."""
STOPPED_S = 10.0

NO_BOUND = """
import sys
import whence.api.server
whence.api.server._GRACE_S = None
whence.api.server._KILL_S = 3600
from whence.cli import main
sys.exit(main())
"""
"""Mutant: the server waits for its open requests without a limit."""

AS_UVICORN = """
import sys
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from whence.api.http_protocol import LimitedProtocol
LimitedProtocol.shutdown = HttpToolsProtocol.shutdown
from whence.cli import main
sys.exit(main())
"""
"""Mutant: idle connections are closed when the stop begins, and the next answers do not say that they are the last."""


@contextlib.contextmanager
def hanging(server: Running, key: str, number: int = 5) -> Iterator[None]:
    """Requests that send one byte per second, and connections that are idle or have sent half a head."""
    head = b"POST /api/v1/events HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\nContent-Length: 1000\r\n\r\n" % key.encode()
    connections = []
    for begun in (head, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /", b""):
        for _ in range(number):
            connection = socket.create_connection(server.address, timeout=5)
            connection.sendall(begun)
            connections.append(connection)
    over = threading.Event()

    def drip() -> None:
        while not over.wait(1):
            for connection in connections[:number]:
                with contextlib.suppress(OSError):
                    connection.send(b"x")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def newcomers(server: Running, key: str) -> Iterator[Counter[str]]:
    """Clients that open new connections during the block; yields their results."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def come() -> None:
        while not over.wait(0.02):
            connection = http.client.HTTPConnection(*server.address, timeout=STOPPED_S)
            try:
                connection.request("GET", "/api/v1/events?limit=1", headers={"X-API-Key": key})
                seen[str(connection.getresponse().status)] += 1
            except TimeoutError:
                seen["hung"] += 1
            except (OSError, http.client.HTTPException):
                seen["refused"] += 1
            finally:
                connection.close()

    thread = threading.Thread(target=come, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(STOPPED_S + 5)


def test_sigterm_ends_the_server_in_time_and_loses_nothing(record_property: Callable[[str, object], None]) -> None:
    """In each round, the server exits with 0 within 10 s, every acknowledged event is stored, and every other request
    is whole or absent. New connections are served, refused or get a 503, and never hang."""
    chance = random.Random(seed())
    history, fared, slowest, torn = History(), Counter[str](), 0.0, 0
    with running() as server:
        key = server.key()
        server.start()
        for number in range(ROUNDS):
            clients = Clients(server, key, history, chance.getrandbits(32))
            with contextlib.ExitStack() as around:
                seen = around.enter_context(newcomers(server, key))
                if number % HANGING_EVERY == 0:
                    around.enter_context(hanging(server, key))
                clients.start()
                time.sleep(chance.uniform(0.02, 0.4))
                code, seconds = server.terminate()
                clients.join()
            slowest = max(slowest, seconds)
            fared += seen
            assert code == 0 and seconds <= STOPPED_S, (code, seconds, server.log_text())
            assert not clients.unexpected
            server.start()
            held, _ = found(server, key)
            torn += len(clients.torn(held))
            verdict = history.judge(held)
            assert verdict.clean and not torn, f"{verdict} torn={torn}"
            clients.retry()
            assert counts(server, key) == {len(history.acknowledged)} and not history.indeterminate
        figures = f"stops={ROUNDS} slowest={slowest:.1f}s newcomers={dict(fared)} {history} {verdict} torn={torn}"
        tell(record_property, figures)
        assert fared.keys() <= {"200", "503", "refused"}
        assert fared["refused"] > 0


def test_a_server_that_waits_for_its_requests_would_be_seen(tmp_path: Path) -> None:
    """Without a limit, hanging requests keep the server from ending within 10 s."""
    mutant = tmp_path / "no_bound.py"
    mutant.write_text(NO_BOUND)
    with running(mutant=mutant) as server:
        key = server.key()
        server.start()
        with hanging(server, key):
            code, seconds = server.terminate(STOPPED_S)
            print(f"mutant: code={code} after {seconds:.1f} s")
            assert code != 0 and seconds >= STOPPED_S


class ClosedLoop:
    """Clients that keep their connections, and send a request as soon as the one before is answered. One opens another
    connection only after `Connection: close`, or when the end of its own came before it had sent anything."""

    def __init__(self, server: Running, key: str, number: int = 12) -> None:
        self.server = server
        self.key = key
        self.seen: Counter[str] = Counter()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(random.Random(each),)) for each in range(number)]

    def __enter__(self) -> "ClosedLoop":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)

    @property
    def failures(self) -> int:
        return sum(number for what, number in self.seen.items() if what.startswith("failed"))

    def _run(self, chance: random.Random) -> None:
        while not self.over.is_set():
            try:
                connection = self.server.connect()
            except ConnectionRefusedError:
                return  # the server has ended
            with contextlib.closing(connection):
                self._use(connection, chance)

    def _use(self, connection: http.client.HTTPConnection, chance: random.Random) -> None:
        headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
        while not self.over.is_set():
            connection.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                assert connection.sock.recv(1) == b""
                self.seen["ended"] += 1
                return
            connection.sock.settimeout(20)
            method, path, body = chance.choice((("GET", "/livez", None), ("POST", "/api/v1/events", b"")))
            try:
                connection.request(method, path, None if body is None else body_of(*new_content(chance)), headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.seen[f"failed: {type(error).__name__}"] += 1
                return
            self.seen[str(answer.status)] += 1
            if answer.will_close:
                self.seen["told"] += 1
                return


def stop_under(server: Running, processes: int) -> ClosedLoop:
    """Stop a server, or one of its acceptors, under such clients."""
    key = server.key()
    server.start()
    with ClosedLoop(server, key) as clients:
        time.sleep(0.5)
        if processes == 1:
            code, seconds = server.terminate()
            assert code == 0 and seconds <= STOPPED_S
        else:
            before = server.processes()["acceptor-1"]
            os.kill(before, signal.SIGTERM)
            until = time.monotonic() + STOPPED_S
            while server.processes().get("acceptor-1", before) == before:
                assert time.monotonic() < until, "the acceptor was not replaced"
                time.sleep(0.01)
            time.sleep(0.5)
    return clients


@pytest.mark.parametrize("processes", [1, 2])
def test_no_client_of_a_closed_loop_sees_the_stop_as_an_error(
    processes: int, record_property: Callable[[str, object], None]
) -> None:
    """Neither when the one process ends, nor when one of several acceptors is replaced."""
    rounds = 30 if soak() else 1
    for _ in range(rounds):
        with running(WHENCE_PROCESSES=str(processes)) as server:
            clients = stop_under(server, processes)
        tell(record_property, f"processes={processes} {dict(clients.seen)}")
        assert clients.failures == 0 and clients.seen["told"] > 0, clients.seen
        assert {what for what in clients.seen if what.isdigit()} <= {"200", "201"}


def test_a_stop_that_closes_at_once_is_found(tmp_path: Path) -> None:
    """As uvicorn stops, some clients fail."""
    mutant = tmp_path / "as_uvicorn.py"
    mutant.write_text(AS_UVICORN)
    for _ in range(10):
        with running(mutant=mutant, WHENCE_PROCESSES="1") as server:
            if stop_under(server, 1).failures:
                return
    pytest.fail("no client failed")
