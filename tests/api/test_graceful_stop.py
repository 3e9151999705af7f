"""A server that stops answers what was asked, and one more request of each connection. No client sees a reset."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.api.conftest import Served, event, serving, wait_until
from tests.api.test_http_protocol import EVENTS, LIVE, Wire, head
from tests.api.test_stored_at_once import held
from tests.unit.mutants import catches, replaced
from whence.api import http_protocol
from whence.api.http_protocol import LimitedProtocol
from whence.permissions import READ, WRITE


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A server that the test stops."""
    with serving(tmp_path) as running:
        yield running


def begin_to_stop(served: Served) -> None:
    """Let the server stop, and return once it has told its connections."""
    served.server.should_exit = True
    state = served.server.server_state
    wait_until(lambda: all(getattr(each, "_is_stopping", False) for each in state.connections))


def last_answer(wire: Wire) -> int:
    """The status of the next answer, which ends the connection."""
    status, headers, _ = wire.answer()
    assert headers["connection"] == "close"
    assert not wire.fill(), "the end of the connection, and no reset"
    return status


def at_once(self: LimitedProtocol) -> None:
    """Mutant: as uvicorn does, idle connections are closed when the stop begins."""
    self._is_stopping = True
    HttpToolsProtocol.shutdown(self)


def without_word(self: LimitedProtocol, answer: Any = LimitedProtocol._answer_at_once) -> bool:
    """Mutant: the callback lane answers as if nothing had happened."""
    before, self._is_stopping = self._is_stopping, False
    try:
        return bool(answer(self))
    finally:
        self._is_stopping = before


@catches(
    replaced(LimitedProtocol, "shutdown", at_once, "idle_connections_are_closed_at_once"),
    replaced(LimitedProtocol, "_answer_at_once", without_word, "the_last_answer_is_not_named"),
)
def test_an_idle_connection_may_ask_once_more(own: Served) -> None:
    """Whatever lane answers, it says that the answer is the last."""
    body = json.dumps(event()).encode()
    post = head("POST", EVENTS, f"X-API-Key: {own.key(WRITE)}", f"Content-Length: {len(body)}") + body
    with Wire(own) as reader, Wire(own) as writer:
        for wire in (reader, writer):
            wire.send(LIVE)
            assert wire.answer()[0] == 200
        begin_to_stop(own)
        try:
            reader.send(LIVE)
            writer.send(post)
            assert (last_answer(reader), last_answer(writer)) == (200, 201)
        except (ConnectionError, IndexError, KeyError):
            pytest.fail("a request was not answered")


def test_an_idle_connection_that_asks_nothing_is_closed(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the end of the stream. What is sent after it is not answered, and not reset either."""
    monkeypatch.setattr(http_protocol, "_LAST_REQUEST_S", 0.2)
    with Wire(own) as wire, Wire(own) as half:
        wire.send(LIVE)
        assert wire.answer()[0] == 200
        half.send(LIVE[:9])
        begin_to_stop(own)
        assert wire.nothing_more()
        assert half.nothing_more()
        wire.send(LIVE)
        assert not wire.fill()
        own.thread.join(5)
        assert not own.thread.is_alive()


def never_lingering(self: LimitedProtocol) -> None:
    """Mutant: the connection is closed while it has bytes that nobody read."""
    self._close()


@catches(replaced(LimitedProtocol, "_close_after_response", never_lingering, "closes_on_unread_requests"))
def test_requests_after_the_last_one_reset_nothing(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that has sent more than was read still gets the last answer whole."""
    secret, gate = own.key(READ, WRITE), held(own, monkeypatch)
    body = json.dumps(event()).encode()
    with Wire(own) as wire:
        wire.send(head("POST", EVENTS, f"X-API-Key: {secret}", f"Content-Length: {len(body)}") + body)
        assert wire.silent(0.2)
        begin_to_stop(own)
        sender = threading.Thread(target=wire.send, args=(LIVE * 20_000,), daemon=True)
        sender.start()
        assert wire.silent(0.2)
        gate.set()
        try:
            assert last_answer(wire) == 201
        except ConnectionError:
            pytest.fail("the connection was reset")


@catches(replaced(LimitedProtocol, "_has_unread_request", lambda self: False, "does_not_look"))
def test_a_request_that_has_come_is_not_closed_away(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came while another connection kept the event loop busy, and the time of its own is over."""
    monkeypatch.setattr(http_protocol, "_LAST_REQUEST_S", 0.3)
    busy, receive = threading.Event(), LimitedProtocol.data_received

    def receive_slowly(self: LimitedProtocol, data: bytes) -> None:
        busy.wait(10)
        receive(self, data)

    with Wire(own) as wire, Wire(own) as other:
        wire.send(LIVE)
        assert wire.answer()[0] == 200
        begin_to_stop(own)
        monkeypatch.setattr(LimitedProtocol, "data_received", receive_slowly)
        other.send(LIVE)
        assert wire.silent(0.6)
        wire.send(LIVE)
        busy.set()
        try:
            assert last_answer(wire) == 200
        except IndexError:
            pytest.fail("the request was not answered")


def made_late(self: LimitedProtocol, transport: Any, made: Any = LimitedProtocol.connection_made) -> None:
    """Mutant: a new connection is served as if the server went on."""
    state, self.app_state = self.app_state, {}
    made(self, transport)
    self.app_state = state


@catches(replaced(LimitedProtocol, "connection_made", made_late, "not_told"))
def test_a_connection_that_begins_during_the_stop_is_told(own: Served) -> None:
    """As one whose TLS handshake took until then."""
    with Wire(own) as first:
        first.send(LIVE)
        assert first.answer()[0] == 200
        own.server.lifespan.state["is_stopping"] = True
        with Wire(own) as wire:
            wire.send(LIVE)
            try:
                assert last_answer(wire) == 200
            except KeyError:
                pytest.fail("the answer did not say that it is the last")
