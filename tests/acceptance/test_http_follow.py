"""Following a log over HTTP: nothing is skipped and nothing comes twice, whatever happens to server and client."""

import asyncio
import contextlib
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.running import Running, running, seed, tell
from tests.api.conftest import event, wait_until
from tests.api.test_feed import walk
from tests.api.test_streams import STREAM, Follower, Reader
from tests.databases import fresh_database
from tests.examples import soak
from whence.client import Whence
from whence.errors import WhenceError

SECONDS = 20.0 if soak() else 3.0
WRITERS = 6
STALLED = 50
MEMORY_MAX_MIB = 260
EVENTS = "/api/v1/events"

SKIPS = """
import sys
from whence.cli import main
from whence.storage.sqlite import feed as sqlite_feed
from whence.storage.postgres import feed as postgres_feed

def ends_one_later(snapshot, after, real=sqlite_feed.end_of_part):
    return real(snapshot, after) + 1

sqlite_feed.end_of_part = postgres_feed.end_of_part = ends_one_later
sys.exit(main())
"""
"""Mutant: the position after the head counts as read."""


class Polling(threading.Thread):
    """A program that follows with the Python client, and starts anew at random after the last place."""

    def __init__(self, server: Running, key: str, draw: random.Random, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self.query = ""
        self._url, self._key, self._draw, self._stop_event = url_of(server), key, draw, stop

    def run(self) -> None:
        after: Any = 0
        with contextlib.suppress(WhenceError), Whence(self._url, self._key, timeout_s=4.0) as log:
            while not self._stop_event.is_set():
                coming = log.follow(after=after)
                for _ in range(self._draw.randint(1, 400)):
                    found = next(coming)
                    if self._stop_event.is_set():
                        return
                    assert isinstance(found.position, int)
                    self.seen.append(found.position)
                    after = coming.after


def url_of(server: Running) -> str:
    host, port = server.address
    return f"http://{host}:{port}"


def write(server: Running, key: str, draw: random.Random, until: float) -> None:
    """Store batches of 1 to 50 events. A batch without an answer is sent again."""
    with httpx2.Client(headers={"X-API-Key": key}, timeout=10) as client:
        while time.monotonic() < until:
            size = draw.choice((1, 1, 5, 50))
            failed = {"eventType": "action_run.failed"}
            batch = [event(id=str(uuid.uuid4()), **(failed if draw.random() < 0.3 else {})) for _ in range(size)]
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    answer = client.post(f"{url_of(server)}{EVENTS}/batch", json=batch)
                    if answer.status_code < 400:
                        break
                time.sleep(0.05)
            time.sleep(draw.random() * 0.05)


def followed(server: Running, kill: bool, seconds: float, chosen: int) -> tuple[list[list[int]], list[list[int]]]:
    """What four tails saw while six writers wrote, and what each should have seen."""
    key = server.key()
    server.start()
    server.flags = ("--port", str(server.address[1]))
    stop = threading.Event()
    with contextlib.ExitStack() as clients:

        def client() -> httpx2.Client:
            return clients.enter_context(httpx2.Client(base_url=url_of(server), headers={"X-API-Key": key}, timeout=10))

        tails: list[Any] = [
            Follower(client(), query, random.Random(chosen + number), stop)
            for number, query in enumerate(("", "", "outcome=failure"))
        ]
        tails.append(Polling(server, key, random.Random(chosen), stop))
        until = time.monotonic() + seconds
        writers = [
            threading.Thread(target=write, args=(server, key, random.Random(chosen - number), until), daemon=True)
            for number in range(WRITERS)
        ]
        for thread in (*tails, *writers):
            thread.start()
        if kill:
            time.sleep(seconds / 2)
            server.kill()
            server.start()
        for writer in writers:
            writer.join()
        exact = [[each["position"] for each in walk(client(), tail.query, 1_000)] for tail in tails]
        with contextlib.suppress(AssertionError):
            wait_until(lambda: all(len(t.seen) >= len(e) for t, e in zip(tails, exact, strict=True)), 8)
        stop.set()
        return [list(tail.seen) for tail in tails], exact


@pytest.mark.parametrize(
    ("store", "processes"),
    [
        ("sqlite", 1),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("postgres", 1), ("sqlite", 3), ("postgres", 3))),
    ],
)
def test_tails_skip_nothing(store: str, processes: int, record_property: Callable[[str, object], None]) -> None:
    """Six writers, and tails from the start, cut at random, filtered, and by the Python client; on SQLite the server is
    killed in between. Each tail has every matching event once, in the order of positions."""
    chosen = seed()
    url = asyncio.run(fresh_database()) if store == "postgres" else None
    with running(url=url, WHENCE_PROCESSES=str(processes)) as server:
        kill = processes == 1 and store == "sqlite"
        seen, exact = followed(server, kill, SECONDS, chosen)
        tell(record_property, f"store={store} processes={processes} events={len(exact[0])} seed={chosen}")
        assert len(exact[0]) > 100
        assert exact[0] == [*range(1, len(exact[0]) + 1)]
        for found, expected in zip(seen, exact, strict=True):
            assert found == expected
        assert server.terminate()[0] == 0


@pytest.mark.slow
def test_a_server_that_skips_is_found(tmp_path: Path) -> None:
    """Mutant: a reader at the end of the log goes on after a position that is yet to be given."""
    mutant = tmp_path / "skips.py"
    mutant.write_text(SKIPS)
    with running(mutant=mutant, WHENCE_PROCESSES="1") as server, contextlib.suppress(AssertionError, WhenceError):
        seen, exact = followed(server, False, 3.0, 1)
        assert seen != exact
        return
    # A tail was refused, since it asked for a position beyond the log.


@contextlib.contextmanager
def stalled(server: Running, key: str, number: int) -> Iterator[None]:
    """Streams that ask for everything and read nothing."""
    opened = []
    for _ in range(number):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(server.address)
        connection.sendall(f"GET {STREAM}?from=start HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n".encode())
        opened.append(connection)
    try:
        yield
    finally:
        for connection in opened:
            connection.close()


@pytest.mark.parametrize("processes", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_streams_that_nobody_reads(processes: int, record_property: Callable[[str, object], None]) -> None:
    """50 streams that read nothing hold little memory; other streams, of this tenant and of another, get what is stored
    at once. A revoked key ends its streams in every process, and the server stops at once."""
    with running(WHENCE_PROCESSES=str(processes)) as server:
        keys = [server.key(), server.key(tenant="another"), server.key()]
        server.start()
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(httpx2.Client(base_url=url_of(server), headers={"X-API-Key": key}, timeout=20))
                for key in keys
            ]
            batch = [event(payload={"text": "x" * 100_000}) for _ in range(40)]
            for _ in range(5):
                assert clients[0].post(f"{EVENTS}/batch", json=batch).status_code == 201
            stack.enter_context(stalled(server, keys[0], STALLED))
            readers = [Reader(clients[1]), Reader(clients[2]), *(Reader(clients[0]) for _ in range(4))]
            for reader in readers:
                reader.wait_until_open()
            waits = []
            for number in range(1, 11):
                for client in clients[:2]:
                    assert client.post(EVENTS, json=event()).status_code == 201
                began = time.monotonic()
                for reader in readers:
                    reader.wait_for(number)
                waits.append(time.monotonic() - began)
            memory = server.memory()
            server.revoke(keys[0])
            wait_until(lambda: all(reader.ended for reader in readers[2:]), 5)
            code, seconds = server.terminate()
            tell(
                record_property,
                f"processes={processes} slowest={max(waits):.2f}s VmHWM={memory} MiB stop={seconds:.1f}s",
            )
            assert max(waits) < 2.0
            assert memory <= MEMORY_MAX_MIB + 120 * (processes - 1)
            assert readers[0].messages[-1].event == "bye"
            assert (code, seconds < 4.5) == (0, True)
