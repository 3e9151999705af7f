"""Streams of events: what comes over them, in which order, and when they end."""

import concurrent.futures
import contextlib
import itertools
import json
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, event, problems, serving, wait_until
from tests.api.test_feed import EVENTS, FILTERS, admission_of, fill, walk
from tests.unit.mutants import catches, replaced
from whence.api import http_protocol, middleware, streams
from whence.api.admission import Admission
from whence.events import Query
from whence.permissions import READ, WRITE
from whence.storage.deletions import TenantDeletion

STREAM = f"{EVENTS}/stream"
PATIENCE_S = 15.0

Message = httpx2.ServerSentEvent

REAL_READ = streams.Streams._read


class Reader:
    """A client that reads a stream in a thread, by the SSE parser of another author."""

    def __init__(self, client: httpx2.Client, query: str = "", headers: dict[str, str] | None = None) -> None:
        self.messages: list[Message] = []
        self.ended = False
        self._client, self._target, self._headers = client, f"{STREAM}?{query}", headers or {}
        self._response: httpx2.Response | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with (
            contextlib.suppress(httpx2.HTTPError, RuntimeError),
            self._client.stream("GET", self._target, headers=self._headers, timeout=PATIENCE_S) as response,
        ):
            self._response = response
            assert response.status_code == 200, response.read()
            for message in httpx2.EventSource(response):
                self.messages.append(message)
        self.ended = True

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(message.data) for message in self.messages if message.event == "message"]

    def ids(self) -> list[int]:
        return [int(message.id) for message in self.messages if message.event == "message"]

    def of_type(self, name: str) -> list[Message]:
        return [message for message in self.messages if message.event == name]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.events()) >= count, PATIENCE_S)

    def wait_until_open(self) -> None:
        wait_until(lambda: bool(self.messages), PATIENCE_S)


_numbers = itertools.count(1)


def fresh(name: str) -> str:
    """A tenant that no test has used: a test runs again for each mutant, on the same server."""
    return f"{name}-{next(_numbers)}"


def test_a_stream_has_what_is_stored_and_then_what_comes(served: Served) -> None:
    """From the start: every event in the order of positions, which are the ids; then those that are stored."""
    with served.client(READ, WRITE, tenant="comes") as client:
        fill(client)
        reader = Reader(client, "from=start")
        reader.wait_for(30)
        assert reader.messages[0].event == "position"
        assert reader.messages[0].retry is None
        for number in range(31, 36):
            client.post(EVENTS, json=event())
            reader.wait_for(number)
        assert reader.ids() == [*range(1, 36)]
        assert reader.events() == [{**each} for each in walk(client, "", 100) if each.pop("position")]


def test_a_stream_begins_now_by_default(served: Served) -> None:
    """What was stored before does not come."""
    with served.client(READ, WRITE, tenant="now") as client:
        fill(client, 3)
        reader = Reader(client)
        reader.wait_until_open()
        assert reader.messages[0].id == "3"
        client.post(EVENTS, json=event())
        reader.wait_for(1)
        assert reader.ids() == [4]


def test_a_stream_goes_on_after_the_last_id(served: Served) -> None:
    """The header decides, also before `after` and `from` of an address that a browser repeats."""
    with served.client(READ, WRITE, tenant="resume") as client:
        fill(client, 10)
        for query, headers, first in (
            ("after=4", {}, 5),
            ("from=7", {}, 7),
            ("from=start", {"Last-Event-ID": "8"}, 9),
            ("after=2", {"Last-Event-ID": "5"}, 6),
        ):
            reader = Reader(client, query, headers)
            reader.wait_for(11 - first)
            assert reader.ids() == [*range(first, 11)], (query, headers)
        answer = client.get(STREAM, headers={"Last-Event-ID": "no place"})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["header", "Last-Event-ID"]


async def of_everything(
    self: streams.Streams, viewer: Any, _query: Any, include: frozenset[str], position: int, limit: int
) -> Any:
    return await REAL_READ(self, viewer, Query(), include, position, limit)


@catches(replaced(streams.Streams, "_read", of_everything, "without_its_filters"))
def test_the_filters_of_a_stream_are_those_of_the_list(served: Served) -> None:
    """For every filter: the events that the list has."""
    with served.client(READ, WRITE, tenant="same") as client:
        fill(client)
        for query in FILTERS:
            listed = client.get(f"{EVENTS}?include=position&{query}").json()["events"]
            reader = Reader(client, f"from=start&include=position&{query}")
            reader.wait_for(len(listed))
            assert reader.events() == sorted(listed, key=lambda each: each["position"]), query


def test_a_stream_is_not_held_up_by_anything(served: Served) -> None:
    """It is neither compressed nor tagged nor cached, and proxies are asked not to collect it. HEAD does not stay."""
    with served.client(READ) as client, client.stream("GET", STREAM, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        assert not answer.headers.keys() & {"etag", "content-encoding", "content-length"}
        assert client.head(STREAM).headers["content-type"].startswith("text/event-stream")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_a_stream(served: Served) -> None:
    """Each event is an id, a line of data and an empty line, also with line breaks in its texts."""
    with served.client(READ, WRITE, tenant="curl") as client:
        client.post(EVENTS, json=event(payload={"text": "a\r\nb\ndata: c\n\nid: 9\n\u2028"}))
        command = [
            "curl",
            "-sN",
            "-H",
            f"X-API-Key: {served.key(READ, tenant='curl')}",
            f"{served.url}{STREAM}?after=0",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
            assert curl.stdout is not None
            lines = list(itertools.islice(curl.stdout, 7))
            curl.kill()
        assert lines[:4] == [b"event: position\n", b"id: 0\n", b'data: {"nextAfter":0}\n', b"\n"]
        assert lines[4] == b"id: 1\n"
        assert json.loads(lines[5].removeprefix(b"data: "))["payload"]["text"].startswith("a\r\nb\ndata: c")
        assert lines[6] == b"\n"


@catches(replaced(streams, "_MARKER_S", 1e9, "no_marker"))
def test_a_quiet_filter_resumes_far_along(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message says how far the log was read when nothing matches."""
    if streams._MARKER_S == 5.0:
        monkeypatch.setattr(streams, "_MARKER_S", 0.2)
    with served.client(READ, WRITE, tenant=fresh("quiet")) as client:
        reader = Reader(client, "actor_id=nobody")
        reader.wait_until_open()
        fill(client)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(reader.messages) > 1, 3)
        assert {message.event for message in reader.messages} == {"position"}
        assert reader.messages[-1].id == "30"
        assert json.loads(reader.messages[-1].data) == {"nextAfter": 30}


@catches(replaced(streams, "COMMENT", b"", "silent"))
def test_an_idle_stream_sends_comments(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that neither proxies nor clients take it for broken."""
    monkeypatch.setattr(streams, "_COMMENT_S", 0.1)
    found = b""
    with served.client(READ, tenant="idle") as client, client.stream("GET", STREAM, timeout=2) as answer:
        with contextlib.suppress(httpx2.ReadTimeout):
            for part in answer.iter_raw():
                found += part
                if found.count(b"\n: ") >= 3:
                    break
        assert b"\n\n: still here\n\n" in found


@catches(
    replaced(
        streams.EventStream, "_owes_marker", property(lambda self: self._marked != self.position), "only_if_it_grew"
    )
)
def test_a_narrowed_stream_shows_no_position_and_no_growth(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ids are tokens, and markers come whether hidden events were stored or not."""
    monkeypatch.setattr(streams, "_MARKER_S", 0.2)
    with (
        served.client(READ, WRITE, tenant="tokens") as all_,
        served.client(f"{READ}:decision", tenant="tokens") as client,
    ):
        fill(all_)
        reader = Reader(client, "from=start")
        reader.wait_for(15)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(reader.of_type("position")) >= 3, 3)
        assert len(reader.of_type("position")) >= 3
        assert {each["resourceType"] for each in reader.events()} == {"decision"}
        ids = [message.id for message in reader.messages]
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{44}", each) for each in ids)
        assert len(set(ids)) == len(ids)
        middle = reader.of_type("message")[6].id
        rest = Reader(client, "", {"Last-Event-ID": middle})
        rest.wait_for(8)
        assert rest.events() == reader.events()[7:]


@catches(replaced(streams.Streams, "_check", lambda _self, _credential: _nothing(), "never_checks"))
def test_a_revoked_key_ends_its_streams(served: Served) -> None:
    """Within a second, with a last message; those of another key of the tenant stay."""
    tenant = fresh("revoked")
    with served.client(READ, WRITE, tenant="stays") as staying, served.client(READ, tenant=tenant) as client:
        readers = [Reader(client, query) for query in ("", "actor_id=ana")]
        other = Reader(staying)
        for reader in (*readers, other):
            reader.wait_until_open()
        [key] = served.wait(served.store.credentials.list_keys(tenant))
        # Not by the route, which would make this server forget it at once.
        served.wait(served.store.credentials.revoke_key(tenant, key.id, 1))
        with contextlib.suppress(AssertionError):
            wait_until(lambda: all(reader.ended for reader in readers), 5)
        for reader in readers:
            assert reader.ended
            assert reader.messages[-1].event == "bye"
            assert json.loads(reader.messages[-1].data)["code"] == "unauthenticated"
        assert not other.ended


async def _nothing() -> None:
    pass


def test_an_expired_key_ends_its_streams(served: Served) -> None:
    secret = served.key(READ, tenant="expires", expires_at=time.time_ns() // 1000 + 1_000_000)
    with httpx2.Client(base_url=served.url, headers={"X-API-Key": secret}) as client:
        reader = Reader(client)
        wait_until(lambda: reader.ended, 8)
        assert reader.messages[-1].event == "bye"


@catches(replaced(streams, "_UNREAD_S", 1e6, "never_cut"))
def test_a_client_that_does_not_read_is_cut_and_resumes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream ends, with bounded memory, and from the last id that it got it misses nothing."""
    if streams._UNREAD_S == 30.0:
        monkeypatch.setattr(streams, "_UNREAD_S", 0.5)
    tenant = fresh("slow")
    with served.client(READ, WRITE, tenant=tenant) as client, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(PATIENCE_S)
        slow.connect(served.address)
        key = served.key(READ, tenant=tenant)
        slow.sendall(f"GET {STREAM}?from=start HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n".encode())
        large = [event(payload={"text": "x" * 100_000}) for _ in range(40)]
        received = b""
        assert client.post(f"{EVENTS}/batch", json=large).status_code == 201
        while received.count(b"\nid: ") < 3:
            received += slow.recv(65_536)
        for _ in range(3):
            assert client.post(f"{EVENTS}/batch", json=large).status_code == 201
        wait_until(lambda: admission_of(served).streams.held(tenant) == 0, 3)
        with contextlib.suppress(OSError):
            while part := slow.recv(65_536):
                received += part
        whole = received.decode("latin-1").rpartition("\n\n")[0]
        last = int(re.findall(r"^id: (\d+)\r?$", whole, re.MULTILINE)[-1]) - 1  # the last message may be cut off
        reader = Reader(client, "", {"Last-Event-ID": str(last)})
        reader.wait_for(160 - last)
        assert reader.ids() == [*range(last + 1, 161)]
        wait_until(lambda: admission_of(served).answers.held(tenant) == 0)


@catches(replaced(Admission, "hold_stream", lambda *_: None, "no_cap"))
def test_a_tenant_has_a_number_of_streams(tmp_path: Path) -> None:
    """One more is a 429, of requests that wait as well, and an ended one makes room."""
    with serving(tmp_path, tenant_streams_max=2) as served, served.client(READ, WRITE) as client:
        with contextlib.ExitStack() as open_:
            for _ in range(2):
                open_.enter_context(client.stream("GET", STREAM))
            for path in (STREAM, f"{EVENTS}/feed?wait=5"):
                with client.stream("GET", path) as answer:
                    assert answer.status_code == 429
                    assert answer.headers["retry-after"]
            assert client.get(f"{EVENTS}/feed").status_code == 200
            with served.client(READ, tenant="another") as other, other.stream("GET", STREAM) as answer:
                assert answer.status_code == 200
        wait_until(lambda: admission_of(served).streams.used == 0)
        with client.stream("GET", STREAM) as answer:
            assert answer.status_code == 200


@catches(replaced(http_protocol.LimitedProtocol, "shutdown", http_protocol.HttpToolsProtocol.shutdown, "not_told"))
def test_streams_end_with_the_server(tmp_path: Path) -> None:
    """Each gets a last message that says when to come back, and nobody waits for a client that does not read."""
    with serving(tmp_path) as served:
        client, other = served.client(READ, WRITE), served.client(READ)
        key = served.key(READ)
        reader, waiting = (
            Reader(client),
            threading.Thread(target=lambda: other.get(f"{EVENTS}/feed?actor_id=nobody&wait=30")),
        )
        reader.wait_until_open()
        waiting.start()
        slow = socket.create_connection(served.address)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(f"GET {STREAM}?from=start HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n".encode())
        large = [event(payload={"text": "x" * 100_000}) for _ in range(40)]
        for _ in range(3):
            assert client.post(f"{EVENTS}/batch", json=large).status_code == 201
        reader.wait_for(120)
        wait_until(lambda: admission_of(served).streams.used == 3)
        began = time.monotonic()
    assert time.monotonic() - began < 4.5
    waiting.join(5)
    wait_until(lambda: reader.ended)
    assert reader.messages[-1].event == "bye"
    assert json.loads(reader.messages[-1].data)["code"] == "stopping"
    assert 1_000 <= (reader.messages[-1].retry or 0) <= 3_000
    assert reader.messages[-1].id == "120"
    slow.close()


async def alone(self: streams.Streams, stream: Any, _size: int) -> Any:
    return await self._read(stream.viewer, stream.asked.query, stream.asked.include, stream.position, 100)


@catches(replaced(streams.Streams, "part", alone, "each_for_itself"))
def test_readers_of_the_same_share_a_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten streams with one filter ask the store for what comes as often as one does."""
    with served.client(READ, WRITE, tenant="share") as client:
        readers = [Reader(client, "event_type=action_run.*") for _ in range(10)]
        for reader in readers:
            reader.wait_until_open()
        reads: list[int] = []
        real = served.store.read_feed

        async def counted(*arguments: Any) -> Any:
            reads.append(1)
            return await real(*arguments)

        monkeypatch.setattr(served.store, "read_feed", counted)
        for number in range(1, 4):
            client.post(EVENTS, json=event())
            for reader in readers:
                reader.wait_for(number)
        assert len(reads) <= 6


def test_the_line_of_a_stream_is_logged_at_its_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the status that the client got, also if it was the client that ended the stream: that is no error."""
    lines: list[tuple[Any, ...]] = []
    monkeypatch.setattr(middleware.request_log, "add", lambda *line: lines.append(line))
    with served.client(READ, tenant="logged") as client:
        with client.stream("GET", STREAM):
            assert not lines
        wait_until(lambda: bool(lines))
        assert [line[:3] for line in lines] == [("GET", STREAM, 200)]


class Follower(threading.Thread):
    """A client that is cut at random and resumes from the last id that it got."""

    def __init__(self, client: httpx2.Client, query: str, draw: random.Random, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.client, self.query, self.draw, self.stop = client, query, draw, stop
        self.seen: list[int] = []
        self.last_id = ""

    def run(self) -> None:
        while not self.stop.is_set():
            target = f"{STREAM}?{self.query}&from=start"
            headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
            left = self.draw.randint(1, 60)
            with (
                contextlib.suppress(httpx2.TransportError),  # it timed out, or the server was killed
                self.client.stream("GET", target, headers=headers, timeout=1.0) as answer,
            ):
                for message in httpx2.EventSource(answer):
                    self.last_id = message.id
                    if message.event == "message":
                        self.seen.append(int(message.id))
                    left -= 1
                    if not left or self.stop.is_set():
                        break


def test_nothing_is_skipped_beside_writers(served: Served) -> None:
    """Four writers of batches and single events, and tails that are cut at random places: each tail has every matching
    event once, in the order of positions."""
    seed = random.SystemRandom().getrandbits(32)
    with served.client(READ, WRITE, tenant="race") as client, contextlib.ExitStack() as clients:
        stop = threading.Event()
        tails = [
            Follower(clients.enter_context(served.client(READ, tenant="race")), query, random.Random(seed + n), stop)
            for n, query in enumerate(("", "", "event_type=action_run.failed", "actor_id=ana"))
        ]

        def write(number: int) -> None:
            own = random.Random(seed - number)
            for _ in range(15):
                fill(client, own.choice((1, 1, 7, 30)))
                time.sleep(own.random() * 0.03)

        writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in (*tails, *writers):
            thread.start()
        for writer in writers:
            writer.join()
        expected = [[each["position"] for each in walk(client, tail.query, 1_000)] for tail in tails]
        wait_until(lambda: all(len(t.seen) >= len(e) for t, e in zip(tails, expected, strict=True)), 20)
        stop.set()
        client.post(EVENTS, json=event(eventType="action_run.failed", actorId="ana"))
        for tail in tails:
            tail.join(10)
        for tail, exact in zip(tails, expected, strict=True):
            assert tail.seen[: len(exact)] == exact, f"seed {seed}"


def test_a_stream_of_a_deleted_tenant_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose credential is still good, as a token of another issuer may be. It says what to do."""
    monkeypatch.setattr(streams, "_CHECK_S", PATIENCE_S)
    monkeypatch.setattr(streams, "_WATCH_S", 0.2)
    with serving(tmp_path) as served, served.client(READ, WRITE) as client:
        fill(client, 3)
        reader = Reader(client, "from=start")
        reader.wait_for(3)
        served.wait(served.store.deletions.delete_tenant("acme", TenantDeletion(size=3, deleted_at=2**62)))
        wait_until(lambda: bool(reader.of_type("bye")), PATIENCE_S)
        assert json.loads(reader.of_type("bye")[0].data)["code"] == "after_range"


def unnumbered(*values: Any) -> Any:
    """Mutant: a log is known by its name."""
    return _PART(*values[:-1], 0)


_PART = streams._Part


def _next_tenant(served: Served, events: int) -> None:
    """Delete a tenant of three events, and store more under its name."""
    served.wait(
        served.store.deletions.delete_tenant("acme", TenantDeletion(size=3, deleted_at=time.time_ns() // 1_000))
    )
    with served.client(WRITE) as client:
        fill(client, events)


@catches(replaced(streams, "_Part", unnumbered, "a_log_is_known_by_its_name"))
def test_a_stream_shows_nothing_of_the_next_tenant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same name, which has more events already when the stream looks again. Its credential is still good, as a
    token of an issuer may be. A request that waits for events is refused, too."""
    monkeypatch.setattr(streams, "_CHECK_S", PATIENCE_S)
    with serving(tmp_path) as served, served.client(READ, WRITE) as client:
        fill(client, 3)
        reader = Reader(client, "from=start")
        reader.wait_for(3)
        _next_tenant(served, 5)
        wait_until(lambda: bool(reader.of_type("bye")), PATIENCE_S)
        assert json.loads(reader.of_type("bye")[0].data)["code"] == "after_range"
        assert len(reader.events()) == 3


def test_a_feed_that_waits_does_not_go_on_in_the_log_of_the_next_tenant(tmp_path: Path) -> None:
    """The same for a request that waits for events."""
    with serving(tmp_path) as served, served.client(READ, WRITE) as client:
        fill(client, 3)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(client.get, f"{EVENTS}/feed", params={"after": 3, "wait": 10})
            wait_until(lambda: "acme" in served.store._head_notifier._watches, PATIENCE_S)
            _next_tenant(served, 5)
            answer = waiting.result()
        assert (answer.status_code, problems(answer)) == (422, [(["query", "after"], "after_range")])
