"""Clients that write events through the API as fast as they are answered, and read the log afterwards."""

import http.client
import random
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tests.acceptance.history import Found, History
from tests.acceptance.running import Running

RUN_ID = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"
RETRIED_IN_ONE = 500
NOT_STORED = ("busy", "throttled", "too_large")
"""Error codes after which nothing of the request is stored."""

Content = tuple[str, bytes]


class _Sent(msgspec.Struct, rename="camel"):
    """The fields of an event that the checker reads."""

    id: str
    position: int
    payload: msgspec.Raw


class _PageOfSent(msgspec.Struct, rename="camel"):
    events: list[_Sent]
    total: int


_decode_page = msgspec.json.Decoder(_PageOfSent).decode


def body_of(id_: str, payload: bytes) -> bytes:
    """The body of an event. Its time is that of its id, so that a retry is identical."""
    at = uuid_time(id_)
    return (
        b'{"id":"%b","eventType":"action_run.completed","actorType":"agent","actorId":"client-%d",'
        b'"resourceType":"action_run","resourceId":"%b","occurredAt":"%b","payload":%b}'
    ) % (id_.encode(), int(id_[-2:], 16) % 7, RUN_ID.encode(), at.encode(), payload)


def timed_id(chance: random.Random) -> str:
    """A new UUIDv7 with the current time and random bits from `chance`."""
    ms, upper, lower = time.time_ns() // 1_000_000, chance.getrandbits(12), chance.getrandbits(62)
    return str(uuid.UUID(int=ms << 80 | 7 << 76 | upper << 64 | 2 << 62 | lower))


def uuid_time(id_: str) -> str:
    """The time in a UUIDv7, as RFC 3339."""
    seconds, ms = divmod(uuid.UUID(id_).int >> 80, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03d}Z"


def new_content(chance: random.Random) -> Content:
    """An id and a payload with spellings that a store might rewrite."""
    id_ = timed_id(chance)
    noise = "x" * chance.choice((0, 1, 30, 400, 5000))
    return id_, b'{"of":"%b","n":1E2,"z":-0,"big":9007199254740993,"t":"\\u0000%b"}' % (id_.encode(), noise.encode())


class Clients:
    """Threads that send single events and batches until their connection breaks or they are stopped."""

    def __init__(self, server: Running, key: str, history: History, seed: int, threads: int = 8) -> None:
        self.server = server
        self.headers = {"X-API-Key": key, "Content-Type": "application/json"}
        self.history = history
        self.stopping = threading.Event()
        self.unexpected: list[str] = []
        self.requests: list[list[str]] = []
        self.threads = [
            threading.Thread(target=self._run, args=(random.Random(f"{seed}/{number}"),), daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Connect and start to send."""
        for thread in self.threads:
            thread.start()

    def join(self, patience_s: float = 30.0) -> None:
        """Wait until every thread has ended."""
        for thread in self.threads:
            thread.join(patience_s)
            assert not thread.is_alive(), "a client hangs"

    def _run(self, chance: random.Random) -> None:
        try:
            connection = self.server.connect()
            while not self.stopping.is_set():
                count = 1 if chance.random() < 0.6 else chance.randint(2, 20)
                self.send(connection, [new_content(chance) for _ in range(count)])
        except (OSError, http.client.HTTPException):
            return  # unanswered events stay indeterminate

    def send(self, connection: http.client.HTTPConnection, contents: list[Content]) -> int:
        """Send these in one request, and record the result. Returns the status."""
        ids = [id_ for id_, _ in contents]
        bodies = [body_of(*content) for content in contents]
        single = len(bodies) == 1
        self.requests.append(ids)
        self.history.sending(contents)
        connection.request(
            "POST",
            "/api/v1/events" if single else "/api/v1/events/batch",
            bodies[0] if single else b"[" + b",".join(bodies) + b"]",
            self.headers,
        )
        answer = connection.getresponse()
        if single and answer.status in (200, 201):
            self.history.acknowledge(ids)  # the status is enough
        body = answer.read()
        if not single and answer.status in (200, 201, 207):
            self._note_batch(ids, body)
        elif answer.status in (429, 503, 413):
            if msgspec.json.decode(body)["code"] in NOT_STORED:
                self.history.refuse(ids)
        elif answer.status not in (200, 201):
            self.unexpected.append(f"{answer.status} {body[:200]!r}")
        return answer.status

    def _note_batch(self, ids: list[str], body: bytes) -> None:
        results = msgspec.json.decode(body)["results"]
        for id_, result in zip(ids, results, strict=True):
            if result["status"] in (200, 201) and result["id"] == id_:
                self.history.acknowledge([id_])
            else:
                self.unexpected.append(repr(result)[:200])

    def torn(self, held: Iterable[Found]) -> list[list[str]]:
        """The requests that are stored in part: each must be whole or absent."""
        there = {event.id for event in held}
        return [ids for ids in self.requests if 0 < len(there.intersection(ids)) < len(ids)]

    def retry(self) -> int:
        """Send the unanswered events again, over a new connection. Returns their number."""
        left = self.history.unanswered()
        connection = self.server.connect()
        for start in range(0, len(left), RETRIED_IN_ONE):
            self.send(connection, left[start : start + RETRIED_IN_ONE])
        connection.close()
        return len(left)


def get(connection: http.client.HTTPConnection, path: str, key: str) -> tuple[bytes, str]:
    """The body of a successful response, and its link to the next page or an empty text."""
    connection.request("GET", path, headers={"X-API-Key": key})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (answer.status, body[:300])
    link = answer.headers.get("Link", "")
    return body, link.partition("<")[2].partition(">")[0]


def found(server: Running, key: str, since: str | None = None) -> tuple[list[Found], int]:
    """Every event of a tenant since a time, and the total number of its events."""
    connection = server.connect()
    events = list(found_in(connection, key, since))
    total = _decode_page(get(connection, "/api/v1/events?limit=1&include=position", key)[0]).total
    connection.close()
    return events, total


def found_in(connection: http.client.HTTPConnection, key: str, since: str | None = None) -> Iterator[Found]:
    """As `found`, page by page."""
    path = "/api/v1/events?order=asc&include=position" + (f"&from={since}" if since else "")
    while path:
        body, path = get(connection, path, key)
        for event in _decode_page(body).events:
            yield Found(event.id, event.position, bytes(event.payload))


def counts(server: Running, key: str) -> set[int]:
    """The number of events by every count of the API, which must all be equal."""
    connection = server.connect()

    def ask(path: str) -> Any:
        return msgspec.json.decode(get(connection, f"/api/v1/events{path}", key)[0])

    aggregate = ask("/aggregate")
    said = {
        ask("?limit=1")["total"],
        ask("?limit=1&actor_type=agent")["total"],
        ask(f"/resource/action_run/{RUN_ID}?limit=1")["total"],
        aggregate["total"],
        _sum(aggregate["byEventType"], "count"),
        _sum(aggregate["byActorType"], "count"),
        _sum(ask("/stats/by-actor")["actors"], "total"),
    }
    connection.close()
    return said


def _sum(rows: Iterable[dict[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)
