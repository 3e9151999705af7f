"""Exports: exactly the matching events as of their begin, in parts of which one is in memory, until the client goes."""

import csv
import io
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, code_of, event, problems, serving, wait_until
from tests.unit.mutants import catches, replaced
from whence.api import exports, part_streams
from whence.api.admission import Admission
from whence.errors import Busy, Unavailable
from whence.events import Event, Keyset, Viewer, Vocabulary
from whence.permissions import ADMIN, READ, WRITE
from whence.wire import exports as wire_exports
from whence.wire.exports import csv_columns, encode_export, export_head, parse_export

EVENTS = "/api/v1/events"
EXPORT = f"{EVENTS}/export"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("exports")) as running:
        yield running


@pytest.fixture
def api(served: Served) -> Iterator[httpx2.Client]:
    """A client that may do everything in a tenant of its own."""
    with served.client(READ, WRITE, ADMIN, tenant=f"export-{uuid.uuid4()}") as made:
        yield made


def fill(api: httpx2.Client, count: int, size: int = 10, **fields: Any) -> None:
    sent = [
        event(
            eventType=("action_run.completed", "action_run.failed")[number % 2],
            occurredAt=f"2026-01-02T03:{number * 7 % 60:02}:00Z",
            payload={"n": number, "x": "x" * size},
            **fields,
        )
        for number in range(count)
    ]
    for start in range(0, count, 20):
        assert api.post(f"{EVENTS}/batch", json=sent[start : start + 20]).status_code == 201


def ids(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [msgspec.json.decode(line)["id"] for line in answer.content.splitlines()]


def listed(api: httpx2.Client, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"{EVENTS}?{query}").json()["events"]
    return found


@pytest.mark.parametrize("query", ["", "order=asc", "outcome=failure&include=position,outcome", "actor_id=nobody"])
def test_an_export_is_the_list(api: httpx2.Client, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """Its lines are the events of the list, in the same order, also when it takes many parts."""
    fill(api, 23)
    monkeypatch.setattr(exports, "_PART", 4)
    answer = api.get(f"{EXPORT}?{query}")
    assert [msgspec.json.decode(line) for line in answer.content.splitlines()] == listed(api, query)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert api.head(f"{EXPORT}?{query}").headers["content-disposition"] == 'attachment; filename="events.ndjson"'


def test_what_is_stored_meanwhile_is_not_in_it(
    served: Served, api: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at its own time nor at a late one; what a reader gets is as of the begin."""
    fill(api, 9)
    before, real = ids(api.get(EXPORT)), served.store.list_part
    monkeypatch.setattr(exports, "_PART", 2)
    later: list[int] = []
    posts: list[threading.Thread] = []

    async def storing(*args: Any) -> Any:
        part = await real(*args)
        if len(posts) < 3:
            posts.append(threading.Thread(target=lambda: later.append(api.post(EVENTS, json=event()).status_code)))
            posts[-1].start()
        return part

    monkeypatch.setattr(served.store, "list_part", storing)
    assert ids(api.get(EXPORT)) == before
    for post in posts:
        post.join()
    assert later == [201] * 3


def made(**fields: Any) -> Event:
    values: dict[str, Any] = {
        "tenant_id": "acme",
        "position": 7,
        "id": "1",
        "event_type": "a.noted",
        "actor_type": "user",
        "actor_id": "ada",
        "resource_type": "decision",
        "resource_id": "2",
        "correlation_id": "c",
        "causation_id": None,
        "outcome": "none",
        "occurred_at": 0,
        "recorded_at": 0,
        "payload": b'{"a":"1,2"}',
    }
    return Event(**(values | fields))


@catches(replaced(wire_exports, "_FORMULA", ("\0",), "formulas_stay"))
def test_a_cell_is_no_formula() -> None:
    """Whatever begins like one gets an apostrophe; quotes, commas and an empty cause are as CSV has them."""
    asked = parse_export(b"format=csv&include=position", now=0, vocabulary=Vocabulary())
    bad = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"]
    events = [made(actor_id=text, correlation_id='say "hi", all') for text in bad] + [made()]
    text = (export_head(asked) + b"".join(encode_export(events, asked, Viewer("acme")))).decode()
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head == csv_columns(frozenset({"position"})) and head[-1] == "position"
    assert [row[head.index("actorId")] for row in rows] == [f"'{text}" for text in bad] + ["ada"]
    assert rows[0][head.index("correlationId")] == 'say "hi", all'
    assert rows[-1][head.index("causationId")] == "" and rows[-1][head.index("payload")] == '{"a":"1,2"}'
    narrowed = next(iter(encode_export([made()], asked, Viewer("acme", ("decision",)))))
    assert narrowed.endswith(b",\r\n")


def test_csv_over_http(api: httpx2.Client) -> None:
    """With its own media type and name, one row an event."""
    fill(api, 3)
    answer = api.get(f"{EXPORT}?format=csv&order=asc")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].endswith('"events.csv"')
    assert [row["id"] for row in rows] == [each["id"] for each in listed(api, "order=asc")]
    assert [msgspec.json.decode(row["payload"]) for row in rows] == [
        each["payload"] for each in listed(api, "order=asc")
    ]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("format=xml", ("format", "enum")),
        ("limit=5", ("limit", "extra_forbidden")),
        ("from=2026-02-01&to=2026-01-01", ("from", "time_range")),
        ("outcome=bad", ("outcome", "enum")),
    ],
)
def test_a_bad_question_is_refused_before_the_export(api: httpx2.Client, query: str, wanted: tuple[str, str]) -> None:
    """With the problems of a list."""
    assert problems(api.get(f"{EXPORT}?{query}")) == [(["query", wanted[0]], wanted[1])]


def test_a_narrowed_key_exports_what_it_may_read(served: Served) -> None:
    """Its events alone, and no positions."""
    tenant = f"export-{uuid.uuid4()}"
    with served.client(READ, WRITE, tenant=tenant) as client:
        fill(client, 4)
        fill(client, 3, resourceType="decision")
    with served.client(f"{READ}:decision", tenant=tenant) as narrowed:
        lines = narrowed.get(f"{EXPORT}?include=position").content.splitlines()
    found = [msgspec.json.decode(line) for line in lines]
    assert [(each["resourceType"], each["position"]) for each in found] == [("decision", None)] * 3


class Slow:
    """A client that has sent a request for an export, and reads nothing."""

    def __init__(self, served: Served, key: str, query: str = "") -> None:
        self.socket = socket.create_connection(served.address)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        head = f"GET {EXPORT}{query} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n"
        self.socket.sendall(head.encode())
        assert self.socket.recv(1) == b"H"

    def rest(self) -> bytes:
        """What can be read until the server ends the response or cuts the connection."""
        self.socket.settimeout(10)
        found = b""
        try:
            while part := self.socket.recv(1 << 20):
                found += part
                if found.endswith(b"\r\n0\r\n\r\n"):
                    break
        except ConnectionError:
            pass
        return found


@pytest.fixture
def long(api: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> httpx2.Client:
    """A client with a log of 10 MB, which no socket holds."""
    monkeypatch.setattr(exports, "_PART", 5)
    fill(api, 50, 200_000)
    return api


def running(served: Served) -> int:
    """How many exports run."""
    return served.app.app.context.admission.exports.used  # type: ignore[attr-defined]  # the fast lane is in the middleware


def test_slow_readers_hold_no_memory_and_have_a_share(
    served: Served, long: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While clients do not read, parts are not read either; one more export of the tenant is a 429, and those of others
    go on; once a client goes, its export is over."""
    read: list[Keyset | None] = []
    real = served.store.list_part

    async def counting(viewer: Any, query: Any, request: Any) -> Any:
        read.append(request.after)
        return await real(viewer, query, request)

    monkeypatch.setattr(served.store, "list_part", counting)
    key = long.headers["Authorization"].partition(" ")[2]
    slow = [Slow(served, key) for _ in range(4)]
    refused = long.get(EXPORT)
    assert (refused.status_code, code_of(refused)) == (429, "throttled") and "retry-after" in refused.headers
    with served.client(READ, tenant="other") as other:
        assert other.get(EXPORT).status_code == 200
    assert running(served) == 4 and len(read) < 4 * 9, "parts are read for clients that read nothing"
    for each in slow[:3]:
        each.socket.close()
    wait_until(lambda: running(served) == 1)
    assert slow[3].rest().count(b'"eventType"') == 50
    wait_until(lambda: running(served) == 0)


@catches(replaced(part_streams, "_TRUSTED_S", 1e9, "credentials_are_checked_once"))
def test_a_revoked_key_ends_its_export(served: Served, long: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is cut, so that nobody takes the part for the whole."""
    if part_streams._TRUSTED_S < 1:
        monkeypatch.setattr(part_streams, "_TRUSTED_S", 0.0)
    key = served.key(READ, tenant=_tenant_of(long))
    slow = Slow(served, key)
    with served.client(ADMIN, tenant=_tenant_of(long)) as admin:
        (own,) = [each for each in admin.get("/api/v1/keys").json()["keys"] if each["scopes"] == [READ]]
        assert admin.delete(f"/api/v1/keys/{own['id']}").status_code == 204
    threading.Event().wait(0.3)  # a valid key is cached for a tenth of a second
    rest = slow.rest()
    assert 0 < rest.count(b'"eventType"') < 50 and not rest.endswith(b"\r\n0\r\n\r\n")
    wait_until(lambda: running(served) == 0)


def _tenant_of(api: httpx2.Client) -> str:
    tenant: str = listed(api, "limit=1")[0]["tenantId"]
    return tenant


def test_a_part_that_cannot_be_read_cuts_the_export(
    served: Served, api: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never an end that looks like one; while there is only no room, it waits."""
    fill(api, 9)
    monkeypatch.setattr(exports, "_PART", 2)
    real, calls = served.store.list_part, []

    async def failing(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise Busy("no room")
        if len(calls) == 4:
            raise Unavailable("gone")
        return await real(*args)

    monkeypatch.setattr(served.store, "list_part", failing)
    with pytest.raises(httpx2.RemoteProtocolError):
        api.get(EXPORT)
    assert len(calls) == 4
    assert len(ids(api.get(EXPORT))) == 9


def test_a_store_that_cannot_be_read_is_a_status(
    served: Served, api: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first part the answer can still be an error."""

    async def failing(*_args: Any) -> Any:
        raise Unavailable("gone")

    monkeypatch.setattr(served.store, "list_part", failing)
    assert api.get(EXPORT).status_code == 503
    wait_until(lambda: running(served) == 0)


def test_exports_of_all_tenants_have_a_total(tmp_path: Path) -> None:
    """A tenant may have half of what the others leave."""
    with serving(tmp_path) as served:
        admission: Admission = served.app.app.context.admission  # type: ignore[attr-defined]  # see `running`
        for tenant, most in (("a", 4), ("b", 2), ("c", 1), ("d", 0)):
            for _ in range(most):
                admission.exports.take(tenant, 1)
        assert admission.exports.used == 7
