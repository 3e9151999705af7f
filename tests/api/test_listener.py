"""Connections that have not begun: how soon they are accepted, and those whose TLS handshake is not over: how many
there may be, how long they may take, and who is served."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Served, serving, wait_until
from tests.api.test_http_protocol import LIVE
from tests.api.test_service import self_signed
from tests.unit.mutants import catches, replaced
from whence.api import http_protocol
from whence.api import listener as listening
from whence.api.connections import ConnectionLimits
from whence.api.http_protocol import LimitedProtocol
from whence.api.listener import Listener

CONNECTIONS = 16
OTHER = "127.0.0.2"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A server with TLS and few connections."""
    with serving_tls(tmp_path) as running:
        yield running


@contextlib.contextmanager
def serving_tls(folder: Path) -> Iterator[Served]:
    certificate, key = self_signed(folder)
    with serving(folder, tls_cert=certificate, tls_key=key, connections_max=CONNECTIONS) as running:
        yield running


def silent_connections(served: Served, number: int) -> list[socket.socket]:
    """Connections from another address that never begin a handshake."""
    source = (OTHER, 0)
    return [socket.create_connection(served.address, timeout=10, source_address=source) for _ in range(number)]


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def client_of(served: Served) -> ssl.SSLSocket:
    """A connection whose handshake is over."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(served.address, timeout=2))


def is_served(served: Served) -> bool:
    """Whether a client gets its answer, by TLS."""
    try:
        with client_of(served) as connection:
            assert connection.getsockname()[0] != OTHER
            connection.sendall(LIVE)
            return connection.recv(100).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def handshakes(served: Served) -> int:
    listener: Any = served.server.servers[0]
    return len(listener._beginning)


@catches(replaced(ConnectionLimits, "begin_handshake", lambda *_: "", "handshakes_are_not_counted"))
def test_an_address_may_have_a_part_of_the_handshakes(own: Served) -> None:
    """The rest of its connections are closed, and other clients are served."""
    connections = silent_connections(own, 3 * CONNECTIONS)
    wait_until(lambda: handshakes(own) > 0)
    assert is_served(own)
    assert sum(map(is_open, connections)) == CONNECTIONS // 2
    wait_until(lambda: handshakes(own) == CONNECTIONS // 2)  # that of the client ends a little after its answer
    for connection in connections:
        connection.close()
    wait_until(lambda: handshakes(own) == 0)
    assert own.server.config.limits._handshakes.used == 0  # type: ignore[attr-defined]  # of our configuration


async def patient(self: Any, connection: socket.socket, counted_as: str) -> None:
    """Mutant: a handshake may take as long as the event loop allows by itself, a minute."""
    with contextlib.suppress(OSError):
        await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._context)
    self._limits.end_handshake(counted_as)


@catches(replaced(Listener, "_shake_hands", patient, "handshakes_take_a_minute"))
def test_a_handshake_that_is_never_begun_ends(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed, and no longer counted."""
    monkeypatch.setattr(listening, "_HANDSHAKE_S", 0.3)
    [silent] = silent_connections(own, 1)
    silent.settimeout(3)
    try:
        assert silent.recv(1) == b""
    except TimeoutError:
        pytest.fail("the connection was left open")
    wait_until(lambda: handshakes(own) == 0)


def test_what_is_no_handshake_ends_at_once(own: Served) -> None:
    """And so does one whose client goes away. Nothing of them stays counted."""
    with socket.create_connection(own.address, timeout=5) as plain:
        plain.sendall(LIVE)
        assert not plain.recv(1000).startswith(b"HTTP")
    with socket.create_connection(own.address, timeout=5) as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
    wait_until(lambda: handshakes(own) == 0)
    assert is_served(own)


@catches(replaced(Listener, "_accept_again", lambda self: None, "never_accepts_again"))
def test_it_accepts_again_after_the_open_files_were_used_up(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_PAUSE_S", 0.5)
    listener: Any = own.server.servers[0]
    assert own.loop is not None
    own.loop.call_soon_threadsafe(listener._accept_later)
    wait_until(lambda: listener._pause is not None)
    assert is_served(own)


@catches(replaced(LimitedProtocol, "_close_idle", LimitedProtocol._close, "waits_for_the_client"))
def test_a_stop_does_not_wait_for_idle_clients(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """They see the end of the connection, and need not answer."""
    monkeypatch.setattr(http_protocol, "_LAST_REQUEST_S", 0.2)
    with client_of(own) as connection:
        connection.sendall(LIVE)
        assert connection.recv(1000)
        began_at = time.monotonic()
        own.stop()
        assert time.monotonic() - began_at < 4


def test_a_stop_waits_for_no_handshake(own: Served) -> None:
    connections = silent_connections(own, 3)
    wait_until(lambda: handshakes(own) == 3)
    began_at = time.monotonic()
    own.stop()
    assert time.monotonic() - began_at < 4
    assert not any(map(is_open, connections))


@catches(replaced(listening, "_ACCEPTED_AT_ONCE", 1, "one_in_a_round"))
def test_connections_do_not_wait_for_a_round_each(tmp_path: Path) -> None:
    """Else who comes last would wait for as many rounds of a busy event loop as there are connections before it."""
    number = 60

    async def connect(served: Served) -> int:
        before = len(served.server.server_state.connections)
        with contextlib.ExitStack() as clients:
            for _ in range(number):  # which the kernel completes, while the event loop stands still
                clients.enter_context(socket.create_connection(served.address, timeout=10))
            for rounds in range(10 * number):
                if len(served.server.server_state.connections) >= before + number:
                    return rounds
                await asyncio.sleep(0)
        raise AssertionError("they were not accepted")

    with serving(tmp_path) as served:
        assert served.loop is not None
        assert asyncio.run_coroutine_threadsafe(connect(served), served.loop).result(20) < number / 2
