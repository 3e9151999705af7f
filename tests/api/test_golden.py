"""The exact bytes of responses: the six routes over a small log, and every error."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from syrupy.assertion import SnapshotAssertion

from tests.api.conftest import RUN_ID, Served, event, hold, serving, wait_until
from tests.api.credentials import SECRET, jwt_of
from whence.permissions import READ, WRITE

EVENTS = "/api/v1/events"
FIRST, SECOND, THIRD, FOURTH, NEVER = (f"0192d3a4-0000-7000-8000-00000000000{number}" for number in range(1, 6))
LOG = [
    event(id=FIRST, eventType="schedule.fired", actorType="system", actorId="cron", occurredAt="2026-01-02T03:00:00Z"),
    event(id=SECOND, causationId=FIRST, payload={"n": 1}, occurredAt="2026-01-02T03:00:00.5+00:00"),
    event(id=THIRD, causationId=SECOND, eventType="action_run.failed", occurredAt="2026-01-02T05:01:00+02:00"),
    event(id=FOURTH, resourceType="decision", eventType="decision.approved", actorType="user", actorId="Ada Ä"),
]
FORM = "application/x-www-form-urlencoded"

Case = tuple[str, str, dict[str, str], bytes]
"""Method, target, headers, body."""


def get(target: str, **headers: str) -> Case:
    return "GET", target, headers, b""


def post(target: str, body: Any, media: str | None = "application/json", **headers: str) -> Case:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return "POST", target, headers | ({"Content-Type": media} if media else {}), content


ANSWERS: dict[str, Case] = {
    "list": get(EVENTS),
    "list, a page with a next one": get(f"{EVENTS}?limit=2&offset=1"),
    "list, past the end": get(f"{EVENTS}?offset=9"),
    "list, filtered": get(f"{EVENTS}?event_type=action_run.*&outcome=failure&from=2026-01-02&to=2026-01-03"),
    "list, oldest first with all that can be included": get(
        f"{EVENTS}?order=asc&limit=1&include=position,outcome,nextCursor"
    ),
    "list, no such event type": get(f"{EVENTS}?event_type=NO_SUCH"),
    "list, as of an earlier position": get(f"{EVENTS}?as_of=1&limit=1"),
    "aggregate": get(f"{EVENTS}/aggregate"),
    "aggregate, of nothing": get(f"{EVENTS}/aggregate?to=2001-01-01"),
    "histogram": get(f"{EVENTS}/histogram"),
    "histogram, by event type": get(
        f"{EVENTS}/histogram?by=event_type&interval=1h&top=1&from=2026-01-02&to=2026-01-02T05:00:00Z"
    ),
    "histogram, of nothing": get(f"{EVENTS}/histogram?from=2026-02-01"),
    "stats": get(f"{EVENTS}/stats/by-actor"),
    "stats, of nothing": get(f"{EVENTS}/stats/by-actor?to=2001-01-01"),
    "correlation": get(f"{EVENTS}/correlation/{FIRST}"),
    "correlation, unknown": get(f"{EVENTS}/correlation/no%20such%2Fflow"),
    "resource": get(f"{EVENTS}/resource/decision/{RUN_ID}"),
    "resource, unknown": get(f"{EVENTS}/resource/template/{NEVER}"),
    "event": get(f"{EVENTS}/{SECOND.upper()}"),
    "event, with all that can be included": get(f"{EVENTS}/{THIRD}?include=position,outcome"),
    "trace": get(f"{EVENTS}/{SECOND.upper()}/trace"),
    "trace, the way up in one hop": get(f"{EVENTS}/{THIRD}/trace?direction=up&depth=1&limit=9"),
    "flows": get("/api/v1/flows?limit=1"),
    "flows, with failures": get("/api/v1/flows?outcome=failure&from=2026-01-01&offset=0"),
    "map": get("/api/v1/flows/map"),
    "map, of a period": get("/api/v1/flows/map?from=2026-01-02T03:00:00Z&to=2026-01-02T03:00:01Z"),
    "map, of nothing": get("/api/v1/flows/map?to=2001-01-01"),
    "head": ("HEAD", EVENTS, {}, b""),
    "options": ("OPTIONS", EVENTS, {}, b""),
    "livez": get("/livez"),
    "readyz": get("/readyz"),
}

WRITES: dict[str, Case] = {
    "replay": post(EVENTS, LOG[1]),
    "conflict": post(EVENTS, LOG[1] | {"actorId": "eve", "payload": {"n": 2}}),
    "batch": post(f"{EVENTS}/batch", [LOG[0], LOG[1] | {"actorId": "eve"}, {"id": NEVER}]),
    "batch, of replays": post(f"{EVENTS}/batch", LOG[:2]),
    "batch, all bad": post(f"{EVENTS}/batch", [{}, 7]),
    "batch, atomic and bad": post(f"{EVENTS}/batch?atomic=true", [LOG[0], LOG[1] | {"actorId": "eve"}]),
    "curl -d with an event": post(EVENTS, LOG[0], FORM),
    "curl -d with many": post(f"{EVENTS}/batch", b"\n".join(json.dumps(one).encode() for one in LOG[:2]), FORM),
    "curl -d with a form": post(EVENTS, b"eventType=action_run.completed", FORM),
    "curl -d with a form of many": post(f"{EVENTS}/batch", b"a=b", FORM),
    "no content type": post(EVENTS, LOG[0], None),
}

ERRORS: dict[str, Case] = {
    "401": ("GET", EVENTS, {"Authorization": "Bearer bad"}, b""),
    "403": ("GET", "/api/v1/keys", {}, b""),
    "404, no such event": get(f"{EVENTS}/{NEVER}"),
    "404, no event to trace": get(f"{EVENTS}/{NEVER}/trace"),
    "404, no such address": get("/api/v2/events"),
    "405": ("PUT", EVENTS, {}, b""),
    "413, body": post(EVENTS, b" " * (320 * 1024 + 1)),
    "413, payload": post(EVENTS, LOG[0] | {"payload": {"x": "y" * 256 * 1024}}),
    "413, batch": post(f"{EVENTS}/batch", b" " * (5 * 1024 * 1024 + 1)),
    "415, type": post(EVENTS, LOG[0], "text/plain"),
    "415, type of a batch": post(f"{EVENTS}/batch", LOG, "text/csv"),
    "415, encoding": post(EVENTS, LOG[0], **{"Content-Encoding": "br"}),
    "415, charset": post(EVENTS, LOG[0], "application/json; charset=latin-1"),
    "422, query": get(f"{EVENTS}?limit=0&offset=-1&from=now&fron=1&outcome=bad&resource_type=x&limit=5"),
    "422, times": get(f"{EVENTS}/aggregate?from=2026-01-02&to=2026-01-01"),
    "422, histogram": get(f"{EVENTS}/histogram?by=actor&interval=3m&top=21&limit=5"),
    "422, histogram of too many buckets": get(f"{EVENTS}/histogram?interval=1s&from=2026-01-01&to=2026-01-02"),
    "422, path": get(f"{EVENTS}/resource/nothing/x"),
    "422, event id": get(f"{EVENTS}/x"),
    "422, trace": get(f"{EVENTS}/{FIRST}/trace?direction=left&depth=-1&limit=1001&dept=1&limit=2"),
    "422, flows": get("/api/v1/flows?outcome=success&from=2026-01-02&to=2026-01-01&limit=101&cursor=abc&offset=1"),
    "422, map": get("/api/v1/flows/map?from=now&outcome=failure"),
    "422, cursor": get(f"{EVENTS}?cursor=abc&offset=1"),
    "422, body": post(EVENTS, {"eventType": "Bad", "actorId": "", "occurredAt": "now", "extra": 1, "payload": []}),
    "422, no JSON": post(EVENTS, b"{"),
    "422, empty": post(EVENTS, b""),
    "422, an array": post(EVENTS, LOG),
    "422, as of the future": get(f"{EVENTS}?as_of=99"),
}


_ALWAYS = {"X-Request-Id": "golden", "Accept-Encoding": "identity"}


def shown(answer: httpx2.Response, **hidden: str) -> str:
    """The answer as text. The date is left out; `hidden` names headers whose values vary, and what stands for them."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    headers |= {name.replace("_", "-"): value for name, value in hidden.items()}
    lines = [str(answer.status_code), *(f"{name}: {value}" for name, value in sorted(headers.items()))]
    return "\n".join([*lines, "", answer.text])


def send(client: httpx2.Client, case: Case) -> httpx2.Response:
    method, target, headers, body = case
    return client.request(method, target, headers=_ALWAYS | headers, content=body)


@pytest.fixture(scope="module")
def golden(served: Served) -> Iterator[httpx2.Client]:
    """A client of the tenant that has the log above."""
    with served.client(READ, WRITE, tenant="golden") as client:
        assert client.post(f"{EVENTS}/batch", json=LOG).status_code == 201
        yield client


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(golden: httpx2.Client, snapshot: SnapshotAssertion, name: str) -> None:
    """What the log answers, to the byte."""
    assert shown(send(golden, ANSWERS[name])) == snapshot


@pytest.mark.parametrize("name", WRITES)
def test_answers_to_writes(golden: httpx2.Client, snapshot: SnapshotAssertion, name: str) -> None:
    """What a write is answered, of which none changes this log."""
    assert shown(send(golden, WRITES[name])) == snapshot
    assert golden.get(EVENTS).json()["total"] == len(LOG)


@pytest.mark.parametrize("name", ERRORS)
def test_errors(golden: httpx2.Client, snapshot: SnapshotAssertion, name: str) -> None:
    """What is refused, and in which words."""
    assert shown(send(golden, ERRORS[name])) == snapshot


def operation_of(document: dict[str, Any], method: str, target: str) -> dict[str, Any] | None:
    """The operation of the document for a request; literal paths are matched before those with parameters."""
    parts = target.partition("?")[0].split("/")
    for path in sorted(document["paths"], key=lambda path: path.count("{")):
        names = path.split("/")
        if len(names) == len(parts) and all(a == b or a.startswith("{") for a, b in zip(names, parts, strict=True)):
            found: dict[str, Any] | None = document["paths"][path].get("get" if method == "HEAD" else method.lower())
            return found
    return None


def test_every_golden_status_is_documented(golden: httpx2.Client) -> None:
    """Of each request above that is one of the document's; its headers too, but those of every answer."""
    document = golden.get("/openapi.json").json()
    looked_at = 0
    for name, case in (ANSWERS | WRITES | ERRORS).items():
        operation = operation_of(document, case[0], case[1])
        if operation is None:
            assert name in ("options", "405", "404, no such address")
            continue
        answer = send(golden, case)
        told = operation["responses"].get(str(answer.status_code))
        assert told is not None, f"{name}: {answer.status_code}"
        headers = {header.lower() for header in told["headers"]}
        assert {"link", "location", "idempotent-replayed", "retry-after"} & answer.headers.keys() <= headers, name
        looked_at += 1
    assert looked_at > 40


def test_a_new_event(served: Served, snapshot: SnapshotAssertion) -> None:
    """201, the eleven keys and the address."""
    with served.client(READ, WRITE, tenant="golden-new") as client:
        assert shown(send(client, post(EVENTS, LOG[1]))) == snapshot


def test_a_change_of_one_letter_is_found(golden: httpx2.Client, snapshot: SnapshotAssertion) -> None:
    """Mutant: an answer with one more key, or with another sentence, is not the golden one."""
    good = shown(send(golden, ANSWERS["event"]))
    assert good == snapshot
    method, target, headers, body = ANSWERS["event"]
    for other in (f"{target}?include=outcome", f"{EVENTS}/{FIRST}", f"{EVENTS}/{NEVER}"):
        assert shown(send(golden, (method, other, headers, body))) != good


# What needs a server in trouble. Nothing is put in place of a part; the parts are full, held up or closed.


@pytest.fixture
def troubled(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts a server that accepts tokens, which need no lookup in its store."""
    running: list[Any] = []

    def start(**settings: Any) -> Served:
        context = serving(tmp_path, jwt_secret=SECRET, **settings)
        running.append(context)
        started: Served = context.__enter__()
        return started

    yield start
    for context in running:
        context.__exit__(None, None, None)


def token_client(served: Served) -> httpx2.Client:
    bearer = jwt_of(scope=f"{READ} {WRITE}")
    return httpx2.Client(base_url=served.url, headers={"Authorization": f"Bearer {bearer}"}, timeout=20)


def test_429_for_bad_credentials(troubled: Callable[..., Served], snapshot: SnapshotAssertion) -> None:
    """The first bad one is a 401, the next a 429 that says when to come back."""
    served = troubled(bad_credentials_per_minute=1)
    with served.client(headers={"X-API-Key": "bad"}) as client:
        assert send(client, get(EVENTS)).status_code == 401
        answer = send(client, get(EVENTS))
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert shown(answer, retry_after="1 to 60") == snapshot


def test_a_second_wide_question_waits_for_its_turn(troubled: Callable[..., Served]) -> None:
    """While one question of the tenant reads much, the next one of that kind waits; others do not."""
    served, gate = troubled(), threading.Event()
    wide = f"{EVENTS}?actor_id=a&resource_type=decision&event_type=decision.*"
    with token_client(served) as client, ThreadPoolExecutor() as threads:
        held = hold(served, lambda store: store._readers.read_unbounded("acme", lambda _: gate.wait(20)))
        try:
            second = threads.submit(client.get, wide)
            assert send(client, get(EVENTS)).status_code == 200
            assert not second.done()
        finally:
            gate.set()
        held.result(10)
        assert second.result(10).status_code == 200


def test_429_for_more_than_a_share(troubled: Callable[..., Served], snapshot: SnapshotAssertion) -> None:
    """A tenant whose events wait may use half of the queue, and another tenant what it needs of the rest."""
    served, gate = troubled(queue_events_max=2000), threading.Event()
    context = served.app.app.context  # type: ignore[attr-defined]  # of the lane inside the middleware
    with token_client(served) as client, ThreadPoolExecutor() as threads:
        held = hold(served, lambda store: store._writer.submit(lambda _: gate.wait(20)))
        try:
            full = threads.submit(client.post, f"{EVENTS}/batch", json=[event()] * 1000)
            wait_until(lambda: context.ingest._events.used == 1000)
            answer = send(client, post(EVENTS, LOG[0]))
        finally:
            gate.set()
        held.result(10)
        assert shown(answer) == snapshot
        assert full.result(20).status_code == 201
        assert send(client, post(EVENTS, LOG[0])).status_code == 201
        assert client.get(EVENTS).json()["total"] == 1001


def test_503_for_a_question_that_is_too_wide(
    troubled: Callable[..., Served], snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question whose time is over is stopped, and the answer says how to narrow it."""
    monkeypatch.setattr("whence.storage.sqlite.readers._STEPS_PER_CHECK", 1)
    served = troubled()
    with token_client(served) as client:
        assert client.post(f"{EVENTS}/batch", json=LOG).status_code == 201
        served.store._readers._query_seconds_max = -1.0  # type: ignore[attr-defined]  # the time of the SQLite store
        assert shown(send(client, get(f"{EVENTS}?actor_id=planner&outcome=failure"))) == snapshot


def test_503_for_a_full_queue(troubled: Callable[..., Served], snapshot: SnapshotAssertion) -> None:
    """While events of others fill the queue, a write is turned away."""
    served = troubled(queue_events_max=2000)
    events = served.app.app.context.ingest._events  # type: ignore[attr-defined]  # of the lane inside
    with token_client(served) as client:
        events.add("globex", 2000)
        answer = send(client, post(EVENTS, LOG[0]))
        events.give_back("globex", 2000)
        assert shown(answer) == snapshot
        assert send(client, post(EVENTS, LOG[0])).status_code == 201


def test_503_for_too_many_bodies(troubled: Callable[..., Served], snapshot: SnapshotAssertion) -> None:
    """While bodies of others fill the memory for them, another one is turned away."""
    served = troubled()
    bodies = served.app.app.context.admission.bodies  # type: ignore[attr-defined]  # of the lane inside
    with token_client(served) as client:
        bodies.add("globex", bodies.total)
        answer = send(client, post(EVENTS, LOG[0]))
        bodies.give_back("globex", bodies.total)
        assert shown(answer) == snapshot
        assert send(client, post(EVENTS, LOG[0])).status_code == 201
    assert bodies.used == 0


def test_429_for_too_many_bodies_of_one_tenant(troubled: Callable[..., Served], snapshot: SnapshotAssertion) -> None:
    """While the bodies that it sends fill a tenant's part of that memory, its next one is turned away."""
    size = 5 * 1024 * 1024
    served, gate = troubled(), threading.Event()
    bodies = served.app.app.context.admission.bodies  # type: ignore[attr-defined]  # of the lane inside
    bodies.total = 2 * size

    def slowly() -> Iterator[bytes]:
        yield b" " * (size - 10)
        gate.wait(20)
        yield b"[{}]"

    with token_client(served) as client, ThreadPoolExecutor() as threads:
        try:
            headers = {"Content-Type": "application/json"}
            first = threads.submit(client.post, f"{EVENTS}/batch", content=slowly(), headers=headers)
            wait_until(lambda: bodies.used == size - 10)
            answer = send(client, post(EVENTS, LOG[0]))
        finally:
            gate.set()
        assert shown(answer) == snapshot
        assert first.result(20).status_code == 422
        assert send(client, post(EVENTS, LOG[0])).status_code == 201
    assert bodies.used == 0


def test_503_for_a_store_that_is_closed(troubled: Callable[..., Served], snapshot: SnapshotAssertion) -> None:
    """Reads, writes and the probe say so alike; that the process lives is another question."""
    served = troubled()
    with token_client(served) as client:
        served.wait(served.store.close())
        answers = {case: shown(send(client, case_)) for case, case_ in CLOSED.items()}
        assert answers == snapshot
        assert send(client, get("/livez")).status_code == 200


CLOSED = {"read": get(EVENTS), "write": post(EVENTS, LOG[0]), "probe": get("/readyz")}
