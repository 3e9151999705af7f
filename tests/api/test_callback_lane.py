"""Answers that are known are given at once, and only as long as they hold. What is unusual goes the long way.

`test_fast_lane.py` compares what each lane answers. Here it is who gets an answer, when, and on what connection.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.api.conftest import Served, event, serving
from tests.api.test_http_protocol import Wire, head
from tests.storage.test_event_cache import ERASE
from tests.unit.mutants import catches, replaced
from whence import fairness
from whence.api import callback_lane
from whence.api.answered_pages import AnsweredPages
from whence.api.auth import Authenticator
from whence.api.callback_lane import CallbackLane
from whence.api.http_protocol import LimitedProtocol
from whence.events import Viewer
from whence.fairness import LoopRounds
from whence.permissions import READ, WRITE, Principal, hash_unchecked
from whence.storage.sqlite.engine import SQLiteReads
from whence.storage.sqlite.event_cache import EventCache

EVENTS = "/api/v1/events"
PAGE = f"{EVENTS}?limit=5"
ID = "0192d3a4-0000-7000-8000-00000000000"
CHANGING = re.compile(rb"\r\n(date|x-request-id): [^\r]*")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets that the lane answered."""
    targets: list[bytes] = []
    answer = CallbackLane.answer

    def noting(self: CallbackLane, begun: Any, target: bytes, default_headers: Any) -> bytes | None:
        response = answer(self, begun, target, default_headers)
        if response is not None:
            targets.append(target)
        return response

    monkeypatch.setattr(CallbackLane, "answer", noting)
    return targets


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A server of one test."""
    with serving(tmp_path) as running:
        yield running


def ask(wire: Wire, target: str, secret: str, *lines: str) -> tuple[int, dict[str, str], bytes]:
    wire.send(head("GET", target, f"X-API-Key: {secret}", *lines))
    return wire.answer()


def total(wire: Wire, secret: str, target: str = PAGE) -> int:
    status, _, body = ask(wire, target, secret)
    assert status == 200, body
    return int(json.loads(body)["total"])


def until_at_once(at_once: list[bytes], again: Callable[[], object]) -> None:
    """Ask again until the lane answers. On a slow machine, a key is looked up anew in between."""
    before, until = len(at_once), time.monotonic() + 10
    while len(at_once) == before:
        assert time.monotonic() < until, "the lane never answers"
        again()


@pytest.mark.usefixtures("remembered")
def test_what_was_answered_is_answered_at_once(own: Served, at_once: list[bytes]) -> None:
    """With the same bytes on the wire, but for the date and the request id."""
    secret = own.key(READ, WRITE)
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event(id=f"{ID}1", correlationId="a b"))
        for target in (PAGE, f"{EVENTS}/correlation/a%20b", f"{EVENTS}/resource/action_run/{event()['resourceId']}"):
            request = head("GET", target, f"X-API-Key: {secret}", "Accept-Encoding: gzip")
            until_at_once(at_once, partial(check_bytes, wire, request, bytes_of(wire, request)))


def bytes_of(wire: Wire, request: bytes) -> bytes:
    """The response to a request, as it came."""
    wire.send(request)
    came = wire.received = wire.socket.recv(65_536)
    wire.answer()
    return CHANGING.sub(b"", came)


def check_bytes(wire: Wire, request: bytes, response: bytes) -> None:
    assert bytes_of(wire, request) == response


def ever_the_same(self: AnsweredPages, viewer: Any, asked: Any, last: Any = AnsweredPages.last) -> Any:
    """Mutant: the answer holds, whatever the state of the log is."""
    known = last(self, viewer, asked)
    return None if known is None else (_Any(), known[1])


class _Any:
    """Equals everything."""

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def without_epoch(self: SQLiteReads, tenant: str) -> Any:
    """Mutant: removals make no difference."""
    statement = "SELECT tenant_no, size, 0 FROM tenant WHERE tenant = ?"
    return self._readers.read_here(tenant, lambda connection: connection.execute(statement, (tenant,)).fetchone())


@catches(replaced(AnsweredPages, "last", ever_the_same, "answers_hold_for_ever"))
@pytest.mark.usefixtures("remembered")
def test_an_event_is_in_the_next_page(own: Served, at_once: list[bytes]) -> None:
    """However often the page was asked for before."""
    secret = own.key(READ, WRITE)
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        for number in range(1, 4):
            client.post(EVENTS, json=event(id=f"{ID}{number}"))
            assert total(wire, secret) == number
            until_at_once(at_once, partial(check_total, wire, secret, number))


def check_total(wire: Wire, secret: str, number: int) -> None:
    assert total(wire, secret) == number


@catches(replaced(SQLiteReads, "log_state", without_epoch, "removals_make_no_difference"))
@pytest.mark.usefixtures("remembered")
def test_what_was_erased_is_in_no_page(own: Served, at_once: list[bytes], tmp_path: Path) -> None:
    """From the next one on, also if another process erased it. The size of the log is the same then."""
    secret = own.key(READ, WRITE)

    def has_payload() -> bool:
        return b"Ada Lovelace" in ask(wire, PAGE, secret)[2]

    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event(payload={"name": "Ada Lovelace"}))
        assert has_payload()
        until_at_once(at_once, has_payload)
        with apsw.Connection(f"{tmp_path}/whence.db") as other:
            other.execute(ERASE)
        assert not has_payload()
        until_at_once(at_once, has_payload)
        assert not has_payload()


def without_viewer(
    self: SQLiteReads, viewer: Any, event_id: str, connection: Any, find: Any = SQLiteReads._find
) -> Any:
    """Mutant: every viewer sees all events of the tenant."""
    return find(self, Viewer(viewer.tenant), event_id, connection)


def erased_events_are_kept(patch: pytest.MonkeyPatch) -> None:
    """Mutant: an event that was read before a removal is still good."""
    find = EventCache.find
    patch.setattr(EventCache, "find", lambda self, key, _removal_epoch: find(self, key, 0))
    patch.setattr(EventCache, "see_epoch", lambda *_: False)


@catches(
    replaced(SQLiteReads, "_find", without_viewer, "everyone_sees_everything"),
    erased_events_are_kept,
)
@pytest.mark.usefixtures("remembered")
def test_an_event_is_answered_at_once(own: Served, at_once: list[bytes], tmp_path: Path) -> None:
    """To those who may see it, and as it is now."""
    secret, narrowed, one = own.key(READ, WRITE), own.key(f"{READ}:decision"), f"{EVENTS}/{ID}1"
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event(id=f"{ID}1", payload={"name": "Ada Lovelace"}))
        request = head("GET", one, f"X-API-Key: {secret}", "Accept-Encoding: gzip")
        until_at_once(at_once, partial(check_bytes, wire, request, bytes_of(wire, request)))
        tag = ask(wire, one, secret)[1]["etag"]
        assert ask(wire, one, secret, f"If-None-Match: {tag}")[0] == 304
        for _ in range(3):
            assert ask(wire, one, narrowed)[0] == 404
            assert ask(wire, f"{EVENTS}/{ID}2", secret)[0] == 404
            assert ask(wire, f"{EVENTS}/nonsense", secret)[0] == 422
            assert ask(wire, f"{one}?include=nonsense", secret)[0] == 422
        with apsw.Connection(f"{tmp_path}/whence.db") as other:
            other.execute(ERASE)
        assert json.loads(ask(wire, one, secret)[2])["payload"] is None


@pytest.mark.usefixtures("remembered")
def test_a_large_event_is_counted(own: Served, at_once: list[bytes]) -> None:
    """While it is sent, so it goes the long way."""
    secret = own.key(READ, WRITE)
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event(id=f"{ID}1", payload={"text": "x" * 100_000}))
        for _ in range(3):
            assert len(ask(wire, f"{EVENTS}/{ID}1", secret)[2]) > 100_000
    assert at_once == []


@pytest.mark.usefixtures("remembered")
def test_a_relative_time_is_never_answered_at_once(own: Served, at_once: list[bytes]) -> None:
    """It is another time in each request."""
    secret = own.key(READ, WRITE)
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event())
        for _ in range(5):
            assert total(wire, secret, f"{EVENTS}?from=-1h") == 0
    assert at_once == []


def last_of_anyone(self: AnsweredPages, viewer: Any, asked: Any) -> Any:
    """Mutant: the last answer to the question, to any viewer."""
    known = (kept for (_, other), (kept, _) in self._answers._young.items() if other == asked)
    return next(((kept[1], kept[3]) for kept in known if kept[1] is not None), None)


@catches(replaced(AnsweredPages, "last", last_of_anyone, "everyone_gets_the_same_answer"))
@pytest.mark.usefixtures("remembered")
def test_an_answer_is_that_of_its_viewer(own: Served, at_once: list[bytes]) -> None:
    """A key that may see some of the events asks the same question, on the same connection."""
    all_of_it, narrowed = own.key(READ, WRITE), own.key(f"{READ}:decision")
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event(id=f"{ID}1"))
        client.post(EVENTS, json=event(id=f"{ID}2", resourceType="decision", eventType="decision.approved"))
        until_at_once(at_once, lambda: check_total(wire, all_of_it, 2))
        until_at_once(at_once, lambda: check_total(wire, narrowed, 1))
        until_at_once(at_once, lambda: check_total(wire, all_of_it, 2))


def anybody(_request: Any) -> bool:
    """Mutant: every request comes from the same principal."""
    _request.scope["state"]["principal"] = Principal(
        tenant="acme", scopes=frozenset((READ, WRITE)), key_id=None, subject="", via_cookie=False, expires_at=None
    )
    return True


@catches(replaced(callback_lane, "authorize_now", anybody, "nobody_is_authenticated"))
def test_who_may_not_ask_is_at_once_so(own: Served, at_once: list[bytes]) -> None:
    """As in the other lanes: without a key, with a wrong one, without the scope, and once a key is revoked."""
    secret, writer = own.key(READ), own.key(WRITE)
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event())
        until_at_once(at_once, lambda: check_total(wire, secret, 1))
        wire.send(head("GET", PAGE))
        assert wire.answer()[0] == 401
        assert ask(wire, PAGE, secret[:-1] + ("0" if secret[-1] != "0" else "1"))[0] == 401
        assert ask(wire, PAGE, writer)[0] == 403
        assert ask(wire, PAGE, secret, f"X-API-Key: {secret}")[0] == 401
        [key] = [key for key in own.wait(own.store.credentials.list_keys("acme")) if key.scopes == (READ,)]
        own.wait(own.store.credentials.revoke_key("acme", key.id, time.time_ns() // 1000))
        time.sleep(0.11)  # past the server, so the key is known for a tenth of a second
        assert ask(wire, PAGE, secret)[0] == 401


def of_any_kind(self: Authenticator, request: Any) -> Any:
    """Mutant: a session is as good as a key."""
    secret = dict(request.scope["headers"]).get(b"x-api-key", b"").decode()
    known = self._keys.get(hash_unchecked(secret))
    return None if known is None else self._principal(known.key, via_cookie=False)


@catches(replaced(Authenticator, "known", of_any_kind, "sessions_are_keys"))
@pytest.mark.usefixtures("remembered")
def test_a_session_is_no_key(own: Served) -> None:
    """Though it is found in the same cache."""
    secret = own.key(READ, WRITE)
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event())
        assert total(wire, secret) == 1
        cookie = client.post("/api/v1/session", headers={"Authorization": f"Bearer {secret}"}).headers["set-cookie"]
        session = cookie.partition(";")[0].removeprefix("vai_token=")
        wire.send(head("GET", PAGE, f"Cookie: vai_token={session}"))
        assert wire.answer()[0] == 200
        assert ask(wire, PAGE, session)[0] == 401


UNUSUAL = [
    head("GET", "/livez", version="1.0"),
    head("GET", "/livez", "Connection: close"),
    head("GET", "/livez", "Connection: upgrade", "Upgrade: websocket"),
    head("GET", "/livez", "Content-Length: 2") + b"{}",
    head("GET", "/livez", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    head("GET", "/livez", "Expect: 100-continue"),
    head("GET", "http://x/livez"),
    head("GET", "/livez#a"),
    head("GET", "/livez/"),
    head("GET", "/livez", "Host: y"),
    head("GET", "/nothing"),
    head("GET", EVENTS),
    head("HEAD", "/livez"),
    head("POST", "/livez", "Content-Length: 0"),
]


@pytest.mark.parametrize("request_", UNUSUAL, ids=lambda sent: sent.split(b"HTTP/")[0].decode())
def test_what_is_unusual_goes_the_long_way(served: Served, at_once: list[bytes], request_: bytes) -> None:
    with Wire(served) as wire:
        wire.send(request_)
        assert wire.socket.recv(65_536).startswith(b"HTTP/1.1 ")
    assert at_once == []


def test_the_next_answer_waits_for_the_one_before(served: Served, at_once: list[bytes]) -> None:
    """An answer that is known does not overtake one that is being made."""
    secret = served.key(READ, WRITE)
    body = json.dumps(event()).encode()
    lines = [f"X-API-Key: {secret}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    with Wire(served) as wire:
        wire.send(head("POST", EVENTS, *lines) + body + head("GET", "/livez"))
        assert [wire.answer()[0], wire.answer()[0]] == [201, 200]
        assert at_once == []
        wire.send(head("GET", "/livez"))
        assert wire.answer()[0] == 200
    assert at_once == [b"/livez"]


def each_time(self: LimitedProtocol, answer: Any = LimitedProtocol._answer_at_once) -> bool:
    """Mutant: a read is never seen to have had an answer."""
    self._answered_at_once = False
    return bool(answer(self))


@catches(replaced(LimitedProtocol, "_answer_at_once", each_time, "all_of_a_read_at_once"))
def test_one_of_many_requests_in_a_packet_is_answered_at_once(served: Served, at_once: list[bytes]) -> None:
    """The others take their turns, so that they do not hold up other connections."""
    with Wire(served) as wire:
        wire.send(head("GET", "/livez") * 20)
        assert [wire.answer()[0] for _ in range(20)] == [200] * 20
    assert len(at_once) == 1


@catches(replaced(LoopRounds, "has_time", lambda self: True, "rounds_have_no_end"))
@pytest.mark.usefixtures("remembered")
def test_a_round_without_time_leaves_answers_for_the_next(
    own: Served, at_once: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that are known have their part of a round of the event loop, as all others."""
    monkeypatch.setattr(fairness, "_ROUND_S", 0.0)
    secret = own.key(READ, WRITE)
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event())
        for _ in range(10):
            check_total(wire, secret, 1)
    assert at_once == []


@pytest.mark.usefixtures("remembered")
def test_reads_that_are_recorded_are_recorded(tmp_path: Path, at_once: list[bytes]) -> None:
    """So none of them is answered at once."""
    with serving(tmp_path, record=("reads",)) as running, Wire(running) as wire:
        secret = running.key(READ)
        totals = [total(wire, secret) for _ in range(4)]
        assert totals == sorted(set(totals))
    assert at_once == []


def test_a_waiting_read_is_not_overtaken(own: Served, at_once: list[bytes]) -> None:
    """A tenant whose reads wait for a thread gets no answer at once."""
    secret = own.key(READ, WRITE)
    with own.client(READ, WRITE) as client, Wire(own) as wire:
        client.post(EVENTS, json=event())
        until_at_once(at_once, lambda: check_total(wire, secret, 1))
        store: Any = own.store
        with store._readers._here_is_free:
            assert store.log_state("acme") is None
        assert store.log_state("acme") is not None
