"""New events that the callback lane stores: whose, when, on what connection, and what becomes of them.

`test_fast_lane.py` compares what each lane answers. Here it is what only a connection shows.
"""

import asyncio
import gzip
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Served, event, serving, wait_until
from tests.api.test_http_protocol import Wire, head
from tests.unit.mutants import catches, replaced
from whence.api import callback_lane, writes
from whence.api.callback_lane import CallbackLane
from whence.api.http_protocol import LimitedProtocol
from whence.errors import Busy
from whence.ingest import Ingest
from whence.permissions import READ, WRITE, Principal

EVENTS = "/api/v1/events"
JSON = "Content-Type: application/json"


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The targets of the events that the lane stored."""
    targets: list[str] = []
    store = CallbackLane.store

    def noting(self: CallbackLane, cycle: Any, respond: Any) -> Any:
        done = store(self, cycle, respond)
        if done is not None:
            targets.append(cycle.scope["path"])
        return done

    monkeypatch.setattr(CallbackLane, "store", noting)
    return targets


@pytest.fixture
def own(tmp_path: Path, remembered: None) -> Iterator[Served]:
    """A server of one test, which knows a key from its first request on."""
    with serving(tmp_path) as running:
        yield running


def known_key(served: Served, *scopes: str) -> str:
    """A key that was used before."""
    secret = served.key(*(scopes or (READ, WRITE)))
    with Wire(served) as wire:
        wire.send(head("GET", EVENTS, f"X-API-Key: {secret}"))
        wire.answer()
    return secret


def post(secret: str, body: bytes, *lines: str, version: str = "1.1") -> bytes:
    """A request to store the event of a body."""
    sent = (f"X-API-Key: {secret}", JSON, f"Content-Length: {len(body)}", *lines)
    return head("POST", EVENTS, *sent, version=version) + body


def new(**fields: Any) -> bytes:
    """The body of an event that was not sent before."""
    return json.dumps(event(id=str(uuid.uuid4()), **fields)).encode()


def held(served: Served, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let the store append only once this is set."""
    gate, append = threading.Event(), served.store.append

    async def append_later(*arguments: Any) -> Any:
        await asyncio.to_thread(gate.wait, 10)
        return await append(*arguments)

    monkeypatch.setattr(served.store, "append", append_later)
    return gate


def anybody(request: Any) -> bool:
    """Mutant: every request comes from the same principal."""
    request.scope["state"]["principal"] = Principal(
        tenant="acme", scopes=frozenset((READ, WRITE)), key_id=None, subject="", via_cookie=False, expires_at=None
    )
    return True


@catches(replaced(callback_lane, "authorize_now", anybody, "nobody_is_authenticated"))
def test_whose_events_are_stored(own: Served, stored: list[str]) -> None:
    """Those of a key that may write. Of a key that may read a part of the log, the answer may have to be looked up."""
    writer, reader, narrowed = known_key(own), known_key(own, READ), known_key(own, WRITE, f"{READ}:decision")
    with Wire(own) as wire:
        for secret, status in ((writer, 201), (reader, 403), ("whk_none", 401), (narrowed, 201)):
            wire.send(post(secret, new()))
            assert wire.answer()[0] == status
    assert stored == [EVENTS]


def chunked(secret: str, body: bytes) -> bytes:
    """The same, without its length."""
    first = head("POST", EVENTS, f"X-API-Key: {secret}", JSON, "Transfer-Encoding: chunked")
    return first + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def binary(secret: str, length: int) -> bytes:
    """A CloudEvent whose headers have an attribute of this length."""
    required = ("ce-specversion: 1.0", f"ce-id: {uuid.uuid4()}", "ce-source: /x", "ce-type: decision.made")
    about = (f"ce-subject: decision/{uuid.uuid4()}", f"ce-time: {datetime.now(UTC).isoformat()}")
    actor = ("ce-authtype: user", "ce-authid: a")
    return post(secret, b"{}", *required, *about, *actor, f"ce-note: {'x' * length}", "Accept-Encoding: gzip")


@catches(
    replaced(writes, "is_plain", lambda request, body: True, "every_body_is_plain"),
    replaced(writes, "_sent_size", lambda request, body: len(body), "headers_are_not_counted"),
)
def test_what_is_unusual_goes_the_long_way(own: Served, stored: list[str]) -> None:
    secret = known_key(own)
    for request, status in (
        (post(secret, new(), version="1.0"), 201),
        (post(secret, new(), "Connection: close"), 201),
        (post(secret, gzip.compress(new()), "Content-Encoding: gzip"), 201),
        (post(secret, new(), "Content-Encoding: gzip"), 422),
        (post(secret, b"\xef\xbb\xbf" + new()), 201),
        (post(secret, b""), 422),
        (post(secret, b"[]"), 422),
        (post(secret, new(payload={"text": "x" * 20_000})), 201),
        (binary(secret, 20_000), 201),
        (chunked(secret, new()), 201),
    ):
        with Wire(own) as wire:
            wire.send(request)
            assert wire.answer()[0] == status
    assert stored == []


def test_a_body_that_comes_later_goes_the_long_way(own: Served, stored: list[str]) -> None:
    """Also when the client asks first whether to send it."""
    secret = known_key(own)
    with Wire(own) as wire:
        request = post(secret, new())
        wire.send(request[:-5])
        assert wire.silent(0.05)
        wire.send(request[-5:])
        assert wire.answer()[0] == 201
        body = new()
        wire.send(post(secret, body, "Expect: 100-continue").removesuffix(body))
        assert wire.answer()[0] == 100
        wire.send(body)
        assert wire.answer()[0] == 201
    assert stored == []


@pytest.mark.parametrize("settings", [{"redact": ("text",)}, {"tenant_bytes_max": 10**9}], ids=str)
def test_what_may_have_to_wait_goes_the_long_way(
    tmp_path: Path, remembered: None, stored: list[str], settings: dict[str, Any]
) -> None:
    """An event whose payload is masked, and every one where the bytes of a tenant are counted."""
    with serving(tmp_path, **settings) as running, Wire(running) as wire:
        wire.send(post(known_key(running), new(payload={"text": "x"})))
        assert wire.answer()[0] == 201
    assert stored == []


def of_any_read(self: LimitedProtocol, cycle: Any, may: Any = LimitedProtocol._may_be_stored_at_once) -> bool:
    """Mutant: a read is never seen to have had an event."""
    self._answered_at_once = False
    return bool(may(self, cycle))


@catches(replaced(LimitedProtocol, "_may_be_stored_at_once", of_any_read, "all_of_a_read_at_once"))
def test_answers_come_in_the_order_of_the_requests(own: Served, stored: list[str]) -> None:
    """Of many events in a packet, one is stored at once. The others take their turns."""
    secret, bodies = known_key(own), [new() for _ in range(20)]
    with Wire(own) as wire:
        wire.send(head("GET", "/livez") + b"".join(post(secret, body) for body in bodies))
        assert wire.answer()[0] == 200
        assert [json.loads(wire.answer()[2])["id"] for _ in bodies] == [json.loads(body)["id"] for body in bodies]
        assert stored == []
        wire.send(b"".join(post(secret, new()) for _ in range(5)))
        assert [wire.answer()[0] for _ in range(5)] == [201] * 5
    assert stored == [EVENTS]


def test_an_event_stays_when_its_client_goes(own: Served, stored: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It was sent whole, so it is stored as ever."""
    secret = known_key(own)
    gate = held(own, monkeypatch)
    with Wire(own) as wire:
        wire.send(post(secret, new()))
        wait_until(lambda: bool(stored))
        wire.socket.shutdown(socket.SHUT_RDWR)
    gate.set()
    with own.client(READ) as client:
        wait_until(lambda: client.get(EVENTS).json()["total"] == 1)
    wait_until(lambda: not own.server.server_state.connections)


def full(*_arguments: Any, **_more: Any) -> Any:
    """A queue that takes nothing."""
    raise Busy("The queue is full.")


def test_what_the_queue_refuses_is_answered(
    tmp_path: Path, remembered: None, stored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has used its part of the quota, but only once."""
    with serving(tmp_path, tenant_events_per_s=1) as running, Wire(running) as wire:
        secret = known_key(running)
        monkeypatch.setattr(Ingest, "submit", full)
        wire.send(post(secret, new()))
        status, headers, body = wire.answer()
        assert (status, headers["ratelimit"].partition(";t")[0]) == (503, '"events";r=999')
        assert json.loads(body)["code"] == "busy"
        app: Any = running.app.app
        wait_until(lambda: not app.context.admission.bodies.used)
    assert stored == [EVENTS]


@pytest.mark.parametrize("late", [False, True])
def test_a_server_that_stops_answers_first(
    tmp_path: Path, remembered: None, stored: list[str], monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """What is stored in its time gets its answer, and what is not gets a 503."""
    with serving(tmp_path) as running, Wire(running) as wire:
        secret = known_key(running)
        gate = held(running, monkeypatch)
        wire.send(post(secret, new()))
        wait_until(lambda: bool(stored))
        running.server.config.timeout_graceful_shutdown = 0 if late else 5
        running.server.should_exit = True
        if not late:
            assert wire.silent(0.2)
            gate.set()
        answered, headers, body = wire.answer()
        gate.set()
        assert (answered, headers["connection"]) == (503 if late else 201, "close")
        assert ("id" in json.loads(body)) is not late
