"""The six routes and the manners of every answer."""

import asyncio
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx2
import pytest
from litestar import Response

from tests.api.conftest import RUN_ID, Served, code_of, event, problems, serving, wait_until
from tests.api.credentials import jwt_of
from tests.unit.mutants import catches, replaced
from whence.api import docs_page, middleware, readiness, request_log
from whence.api.answered_pages import AnsweredPages
from whence.api.request_log import RequestLog
from whence.fairness import FairQueue
from whence.permissions import READ, WRITE

EVENTS = "/api/v1/events"
INCLUDES = ("", "&include=position", "&include=nextCursor")
ODD_IDS = [
    "a/b",
    "/",
    "//",
    "a//b/",
    "..",
    ".",
    "../../keys",
    "a%2Fb",
    "%",
    "a b",
    "a+b",
    "a?b#c",
    "ä€😀",
    "x" * 255,
    "aggregate",
    "\u2028",
]


@pytest.fixture(scope="module")
def filled(served: Served) -> Iterator[httpx2.Client]:
    """A client of a tenant with 25 events, one a minute, in flows with odd names."""
    with served.client(READ, WRITE, tenant="filled") as client:
        sent = [
            event(
                occurredAt=f"2026-01-02T03:{minute:02}:00Z",
                correlationId=ODD_IDS[minute % len(ODD_IDS)],
                actorId=f"agent-{minute % 3}",
                payload={"minute": minute},
            )
            for minute in range(25)
        ]
        assert client.post(f"{EVENTS}/batch", json=sent).status_code == 201
        yield client


def raw(served: Served, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are; the status, headers and body of the answer."""
    with socket.create_connection(served.address, timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return int(lines[0].split(" ")[1]), headers, body


def raw_get(served: Served, target: str, secret: str = "", method: str = "GET") -> tuple[int, dict[str, str], Any]:
    """Ask with a target that no client library may tidy up."""
    credential = f"X-API-Key: {secret}\r\n" if secret else ""
    request = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{credential}\r\n"
    status, headers, body = raw(served, request.encode("latin-1"))
    return status, headers, json.loads(body) if body else None


def test_a_list_is_a_page_of_five_keys_newest_first(filled: httpx2.Client) -> None:
    page = filled.get(EVENTS, params={"limit": 10}).json()
    assert list(page) == ["events", "hasNext", "limit", "offset", "total"]
    assert [found["payload"]["minute"] for found in page["events"]] == list(range(24, 14, -1))
    assert (page["hasNext"], page["limit"], page["offset"], page["total"]) == (True, 10, 0, 25)


def test_links_lead_through_the_whole_list(filled: httpx2.Client) -> None:
    """The next link is relative, keeps the filter, replaces the offset, and ends with the last page."""
    url: str | None = f"{EVENTS}?limit=7&offset=1&event_type=action_run.%2A&from=2026-01-01T00%3A00%3A00Z"
    minutes: list[int] = []
    offsets = []
    while url:
        answer = filled.get(url)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        minutes += [found["payload"]["minute"] for found in page["events"]]
        offsets.append(page["offset"])
        assert page["total"] == 25
        assert page["hasNext"] == ("link" in answer.headers)
        link = answer.headers.get("link")
        assert link is None or (link.startswith(f"<{EVENTS}?limit=7&event_type=") and link.endswith('>; rel="next"'))
        url = link[1 : link.index(">")] if link else None
    assert minutes == list(range(23, -1, -1))
    assert offsets == [1, 8, 15, 22]


def test_links_of_correlations_and_resources_lead_on(served: Served) -> None:
    flow = 'odd "flow"/<1>'
    with served.client(READ, WRITE, tenant="links") as client:
        client.post(f"{EVENTS}/batch", json=[event(correlationId=flow) for _ in range(3)])
        for path in (f"{EVENTS}/correlation/{quote(flow, safe='')}", f"{EVENTS}/resource/action_run/{RUN_ID}"):
            first = client.get(path, params={"limit": 2})
            link = first.headers["link"]
            assert link.count(">") == 1
            second = client.get(link[1 : link.index(">")])
            ids = [found["id"] for found in first.json()["events"] + second.json()["events"]]
            assert len(set(ids)) == 3
            assert "link" not in second.headers


def test_include_adds_keys_and_the_cursor(filled: httpx2.Client) -> None:
    page = filled.get(EVENTS, params={"limit": 1, "include": "position,recordedAt,outcome,nextCursor"}).json()
    assert {"position", "recordedAt", "outcome"} < page["events"][0].keys()
    assert isinstance(page["nextCursor"], str)


RUNS = count(1)
"""The runs of the next test: as it is, and with each mutant."""


def _whatever_was_asked(self: AnsweredPages, viewer: Any, page: Any, asked: Any) -> Any:
    """Mutant: the answer of a page, whatever was asked of it."""
    return next((kept[2:] for kept, _ in self._answers._young.values() if kept[0] is page), None)


def _last_whatever_was_asked(self: AnsweredPages, viewer: Any, asked: Any) -> Any:
    """Mutant: the last answer, whatever was asked."""
    return next(((kept[1], kept[3]) for kept, _ in self._answers._young.values() if kept[1] is not None), None)


@catches(
    replaced(AnsweredPages, "find", _whatever_was_asked, "one_answer_for_a_page"),
    replaced(AnsweredPages, "last", _last_whatever_was_asked, "one_answer_for_all_questions"),
)
@pytest.mark.usefixtures("remembered")
def test_the_same_page_is_answered_as_it_was_asked_for(filled: httpx2.Client) -> None:
    """Again and again: with more keys, and in each coding, which has an ETag of its own."""
    anew = "&" * next(RUNS)  # else the answers of an earlier run are known to the callback lane, which asks no page
    for _ in range(2):
        plain, more, cursor = (filled.get(f"{EVENTS}?limit=3{more}{anew}").json() for more in INCLUDES)
        assert len(plain) == len(more) == 5 and len(cursor) == 6
        assert len(plain["events"][0]) == 11 and len(more["events"][0]) == 12
    for coding in ("identity", "gzip", "zstd"):
        headers = {"Accept-Encoding": coding}
        first, again = (filled.get(f"{EVENTS}?limit=20", headers=headers) for _ in range(2))
        assert first.content == again.content and first.headers["etag"] == again.headers["etag"]
        assert again.headers.get("content-encoding", "identity") == coding
        known = filled.get(f"{EVENTS}?limit=20", headers=headers | {"If-None-Match": first.headers["etag"]})
        assert known.status_code == 304


@pytest.mark.parametrize("name", ODD_IDS)
def test_every_correlation_id_can_be_read(filled: httpx2.Client, served: Served, name: str) -> None:
    """Whatever characters it has: the path is split before it is decoded."""
    secret = filled.headers["authorization"].removeprefix("Bearer ")
    status, _, page = raw_get(served, f"{EVENTS}/correlation/{quote(name, safe='')}", secret)
    assert status == 200, page
    assert page["total"] >= 1
    assert {found["correlationId"] for found in page["events"]} == {name}
    minutes = [found["payload"]["minute"] for found in page["events"]]
    assert minutes == sorted(minutes), "a flow reads as a story"


@pytest.mark.parametrize("name", ["a/b", "/", "//", "a//b/", "..", "../../keys"])
def test_slashes_of_a_correlation_id_need_no_encoding(filled: httpx2.Client, served: Served, name: str) -> None:
    secret = filled.headers["authorization"].removeprefix("Bearer ")
    assert raw_get(served, f"{EVENTS}/correlation/{name}", secret)[2]["total"] >= 1


@pytest.mark.parametrize("tail", ["", "%ff", "%c3%28", "x" * 256, "%00", "a%0Ab"])
def test_what_can_be_no_correlation_id_is_422(filled: httpx2.Client, served: Served, tail: str) -> None:
    secret = filled.headers["authorization"].removeprefix("Bearer ")
    status, _, body = raw_get(served, f"{EVENTS}/correlation/{tail}", secret)
    assert status == 422
    assert [problem["loc"] for problem in body["detail"]] == [["path", "correlation_id"]]
    assert raw_get(served, f"{EVENTS}/correlation/{tail}")[0] == 401, "who asks comes first"


def test_bad_paths_are_422_at_their_place(client: httpx2.Client) -> None:
    assert [loc for loc, _ in problems(client.get(f"{EVENTS}/nonsense"))] == [["path", "event_id"]]
    assert [loc for loc, _ in problems(client.get(f"{EVENTS}/a%2Fb"))] == [["path", "event_id"]]
    found = client.get(f"{EVENTS}/resource/nothing/{RUN_ID}")
    assert [loc for loc, _ in problems(found)] == [["path", "resource_type"]]
    assert client.get(f"{EVENTS}/resource/event_log/{RUN_ID}").json()["total"] == 0
    found = client.get(f"{EVENTS}/resource/action_run/x%FF")
    assert [loc for loc, _ in problems(found)] == [["path", "resource_id"]]


def test_an_unknown_event_and_another_tenants_are_the_same_404(served: Served, client: httpx2.Client) -> None:
    with served.client(READ, WRITE, tenant="other") as other:
        theirs = other.post(EVENTS, json=event()).json()["id"]
    answers = [client.get(f"{EVENTS}/{event_id}") for event_id in (theirs, str(uuid.uuid4()))]
    bodies = [answer.json() | {"requestId": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert code_of(answers[0]) == "not_found"
    assert bodies[0] == bodies[1]


def test_a_narrowed_reader_sees_nothing_else(served: Served) -> None:
    with served.client(READ, WRITE, tenant="narrow") as all_:
        seen = all_.post(EVENTS, json=event()).json()["id"]
        hidden = all_.post(EVENTS, json=event(resourceType="decision")).json()["id"]
    with served.client(f"{READ}:action_run", tenant="narrow") as narrowed:
        assert narrowed.get(EVENTS).json()["total"] == 1
        assert narrowed.get(f"{EVENTS}/{seen}").status_code == 200
        assert narrowed.get(f"{EVENTS}/{hidden}").status_code == 404
        assert narrowed.get(f"{EVENTS}/aggregate").json()["total"] == 1
        assert narrowed.get(f"{EVENTS}/stats/by-actor").json()["actors"][0]["total"] == 1
        assert narrowed.get(f"{EVENTS}/resource/decision/{RUN_ID}").json()["total"] == 0


def test_counts_and_statistics(filled: httpx2.Client) -> None:
    counts = filled.get(f"{EVENTS}/aggregate").json()
    assert list(counts) == ["byActorType", "byEventType", "byResourceType", "total"]
    assert counts["byEventType"] == [{"count": 25, "key": "action_run.completed"}]
    actors = filled.get(f"{EVENTS}/stats/by-actor").json()["actors"]
    assert [(actor["actorId"], actor["total"], actor["successes"]) for actor in actors] == [
        ("agent-0", 9, 9),
        ("agent-1", 8, 8),
        ("agent-2", 8, 8),
    ]


@pytest.mark.parametrize("path", [EVENTS, f"{EVENTS}/aggregate", f"{EVENTS}/stats/by-actor"])
def test_unknown_parameters_are_refused(client: httpx2.Client, path: str) -> None:
    assert problems(client.get(f"{path}?fron=2026-01-01"))[0][0] == ["query", "fron"]


@pytest.mark.parametrize("path", ["", "/aggregate", "/stats/by-actor", "/correlation/a%2Fb", "/nonsense"])
def test_head_answers_as_get_without_a_body(served: Served, filled: httpx2.Client, path: str) -> None:
    got, head = filled.get(EVENTS + path), filled.head(EVENTS + path)
    assert head.status_code == got.status_code
    assert head.content == b""
    assert head.headers.get("content-length") == got.headers.get("content-length")


# Manners


@pytest.mark.parametrize(
    "path", ["//", "/nothing", "/api", "/api/v1", "//evil.example/", "//api/v1/events", "/docs/../x", "/%ff"]
)
def test_nothing_at_an_address_is_our_404(served: Served, path: str) -> None:
    status, headers, body = raw_get(served, path)
    assert status == 404
    assert body.keys() == {"detail", "code", "requestId"}
    assert headers["content-type"] == "application/json"


@catches(replaced(middleware, "_redirect", lambda _scope, _state: None, "slashes_lead_nowhere"))
@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/docs/", "/docs"),
        (f"{EVENTS}/", EVENTS),
        (f"{EVENTS}/?limit=5&from=-7d", f"{EVENTS}?limit=5&from=-7d"),
        ("/%64ocs/", "/docs"),
        ("/\\evil.example/", "/%5Cevil.example"),
    ],
)
def test_an_address_with_a_slash_at_its_end_leads_to_the_one_without(served: Served, path: str, location: str) -> None:
    """With its query, on the same host."""
    status, headers, _ = raw(served, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert (status, headers.get("location")) == (308, location)


def test_an_event_posted_to_an_address_with_a_slash_is_stored(served: Served) -> None:
    """A 308 keeps the method and the body."""
    with served.client(READ, WRITE, tenant="slash") as client:
        assert client.post(f"{EVENTS}/", json=event(), follow_redirects=True).status_code == 201
        assert client.get(EVENTS).json()["total"] == 1


def with_a_charset(content: bytes, *, media_type: str, **more: Any) -> Response[bytes]:
    return Response(content, media_type=f"{media_type}; charset=utf-8", **more)


@catches(replaced(docs_page, "Response", with_a_charset, "the_charset_twice"))
def test_the_reference_names_its_charset_once(client: httpx2.Client) -> None:
    """As does its script, where there is one."""
    assert client.get("/docs").headers["content-type"] == "text/html; charset=utf-8"
    script = client.get("/docs/scalar.js")
    assert script.status_code == 404 or script.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", EVENTS, {"GET", "HEAD", "POST"}), ("GET", f"{EVENTS}/batch", {"POST"}), ("TRACE", "/livez", {"GET"})],
)
def test_a_wrong_method_is_405_with_those_allowed(served: Served, method: str, path: str, allowed: set[str]) -> None:
    status, headers, body = raw_get(served, path, method=method)
    assert status == 405
    assert body["code"] == "method_not_allowed"
    assert allowed <= set(headers["allow"].split(", "))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_our_400(served: Served, request_bytes: bytes) -> None:
    status, headers, body = raw(served, request_bytes)
    assert status in (400, 405)
    assert json.loads(body).keys() == {"detail", "code", "requestId"}
    assert json.loads(body)["requestId"] == headers["x-request-id"]


def test_a_head_beyond_its_limit_is_431(served: Served) -> None:
    status, _, body = raw(served, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 300_000)
    assert status == 431
    assert json.loads(body)["code"] == "too_large"


@pytest.mark.parametrize("path", ["/livez", EVENTS, f"{EVENTS}/x", "/nothing"])
def test_every_answer_carries_a_request_id(client: httpx2.Client, path: str) -> None:
    for sent in ("my-id_1.2", "a" * 128):
        assert client.get(path, headers={"X-Request-Id": sent}).headers["x-request-id"] == sent
    for sent in ("", "a" * 129, "a b", "ä"):
        kept = client.get(path, headers=[(b"X-Request-Id", sent.encode())]).headers["x-request-id"]
        assert kept not in ("", sent) and len(kept) >= 32
    assert client.get(path).headers["x-request-id"] != client.get(path).headers["x-request-id"]


@pytest.mark.parametrize("path", ["/livez", EVENTS, f"{EVENTS}/x", "/nothing", "/docs", "/openapi.json"])
def test_every_answer_carries_the_security_headers(client: httpx2.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_no_credential_is_401_and_the_wrong_scope_403(served: Served) -> None:
    with served.client() as nobody, served.client(WRITE) as writer, served.client(READ) as reader:
        answer = nobody.get(EVENTS)
        assert (answer.status_code, code_of(answer)) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        for answer, scope in ((writer.get(EVENTS), READ), (reader.post(EVENTS, json=event()), WRITE)):
            assert (answer.status_code, code_of(answer)) == (403, "forbidden")
            assert scope in answer.json()["detail"]


def test_who_asks_comes_before_what_is_asked(served: Served) -> None:
    with served.client() as nobody, served.client(WRITE) as writer:
        for path in (f"{EVENTS}?limit=0", f"{EVENTS}/nonsense", f"{EVENTS}/resource/x/y"):
            assert nobody.get(path).status_code == 401
            assert writer.get(path).status_code == 403
        assert nobody.post(EVENTS, content=b"x" * 400_000).status_code == 401


def test_an_error_that_nobody_expects_is_a_500_that_says_nothing(
    served: Served, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret-of-the-house")

    monkeypatch.setattr(served.store, "list_events", fail)
    answer = client.get(EVENTS)
    assert (answer.status_code, code_of(answer)) == (500, "internal")
    assert "secret-of-the-house" not in answer.text and "Traceback" not in answer.text


def test_probes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with served.client() as nobody:
        assert nobody.get("/livez").json() == {"status": "ok"}
        assert nobody.get("/readyz").json() == {"status": "ok"}

        async def hang() -> None:
            await asyncio.sleep(60)

        context: Any = served.app.app.context  # type: ignore[union-attr]  # of the lane inside the middleware
        monkeypatch.setattr(context.readiness, "_check", hang)
        assert nobody.get("/readyz").status_code == 200, "the answer is remembered"
        monkeypatch.setattr(readiness, "_REMEMBERED_S", 0.0)
        answer = nobody.get("/readyz")
        assert (answer.status_code, code_of(answer)) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert nobody.get("/livez").status_code == 200


# The world around


def test_cors_opens_to_configured_origins_alone(tmp_path: Path) -> None:
    app, stranger = "https://app.example.com", "https://evil.example.com"
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with serving(tmp_path, cors_origins=(app,)) as served, served.client() as nobody:
        allowed = nobody.options(EVENTS, headers=preflight | {"Origin": app})
        assert allowed.status_code == 204, "a preflight needs no credential"
        assert allowed.headers["access-control-allow-origin"] == app
        assert "Authorization" in allowed.headers["access-control-allow-headers"]
        refused = nobody.get(EVENTS, headers={"Origin": app})
        assert refused.headers["access-control-allow-origin"] == app, "errors can be read too"
        for name in ("Link", "X-Request-Id", "Location", "Retry-After", "Idempotent-Replayed"):
            assert name in refused.headers["access-control-expose-headers"]
        for answer in (
            nobody.options(EVENTS, headers=preflight | {"Origin": stranger}),
            nobody.get(EVENTS, headers={"Origin": stranger}),
            nobody.get(EVENTS),
        ):
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["vary"] == "Origin"


def test_without_cors_nothing_is_said_of_it(client: httpx2.Client) -> None:
    assert "access-control-allow-origin" not in client.get(EVENTS, headers={"Origin": "https://a.example"}).headers


def test_a_root_path_may_be_stripped_by_the_proxy_or_not(tmp_path: Path) -> None:
    with serving(tmp_path, root_path="/log") as served, served.client(READ, WRITE) as client:
        for prefix in ("", "/log"):
            for name in ("a/b", "/log/x"):
                answer = client.post(f"{prefix}{EVENTS}", json=event(correlationId=name))
                assert answer.headers["location"] == f"/log{EVENTS}/{answer.json()['id']}"
        page = client.get(f"/log{EVENTS}", params={"limit": 1})
        assert page.headers["link"].startswith(f"</log{EVENTS}?limit=1&cursor=")
        assert client.get(f"/log{EVENTS}/correlation//log/x").json()["total"] == 2
        assert client.get(f"{EVENTS}/correlation//log/x").json()["total"] == 2
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/log"}]
        assert client.get("/logapi/v1/events").status_code == 404


def most_pages_at_once(served: Served, tenants: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many pages the store is asked for at the same time, when more clients ask than it has connections. Waits
    until that is what is expected, and for more."""
    release = threading.Event()
    running, most = 0, 0
    list_events = served.store.list_events

    async def slow(*args: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.to_thread(release.wait)
        running -= 1
        return await list_events(*args)

    monkeypatch.setattr(served.store, "list_events", slow)
    asking = served.store.reads_at_once + 3
    keys = [served.key(READ, tenant=f"tenant {number % tenants}") for number in range(asking)]
    with ThreadPoolExecutor(asking) as threads:
        answers = [threads.submit(httpx2.get, served.url + EVENTS, headers={"X-API-Key": key}) for key in keys]
        wait_until(lambda: running >= expected)
        time.sleep(0.2)  # the others arrive, and wait
        release.set()
        assert [answer.result().status_code for answer in answers] == [200] * asking
    return most


def test_as_many_pages_are_read_at_once_as_the_store_can(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further ones wait before the store is asked, so that their events are not in memory yet."""
    expected = served.store.reads_at_once
    assert most_pages_at_once(served, 100, expected, monkeypatch) == expected


def test_one_tenant_leaves_pages_to_others(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, it reads half of them at once."""
    expected = (served.store.reads_at_once + 1) // 2
    assert most_pages_at_once(served, 1, expected, monkeypatch) == expected


class Unbounded(FairQueue):
    """Mutant: the application takes no notice of what the store says."""

    async def enter(self, tenant: str) -> None:
        pass

    def leave(self, tenant: str) -> None:
        pass


def test_pages_without_a_bound_are_found(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    context: Any = served.app.app.context  # type: ignore[union-attr]  # of the lane inside the middleware
    monkeypatch.setattr(context.admission, "pages", Unbounded(1))
    expected = served.store.reads_at_once + 1
    assert most_pages_at_once(served, 100, expected, monkeypatch) >= expected


@catches(replaced(request_log, "without_secrets", str, "paths_are_logged_as_they_are"))
@pytest.mark.parametrize("kind", ["API key", "session", "token", "operator's token"])
@pytest.mark.parametrize("path", ["/api/v1/keys/{}", f"{EVENTS}/correlation/{{}}/x", "/{}", "/%2f{}"])
def test_a_secret_in_a_path_is_not_logged(
    served: Served, monkeypatch: pytest.MonkeyPatch, kind: str, path: str
) -> None:
    """Neither as it is, nor percent-encoded; the rest of the path is."""
    logged: list[str] = []
    log = RequestLog()
    log.write_json(lambda line: logged.append(json.loads(line)["path"]), 20)
    monkeypatch.setattr(middleware, "request_log", log)
    secret = {
        "API key": served.key(READ),
        "session": "whs_" + "a1" * 24,
        "token": jwt_of(),
        "operator's token": "wht_-_" + "aB3_-" * 20,
    }[kind]
    for sent in (secret, "".join(f"%{ord(letter):02x}" for letter in secret)):
        logged.clear()
        raw_get(served, path.format(sent))
        wait_until(lambda: bool(logged))
        assert secret[:30] not in unquote(logged[0])
        assert logged[0].startswith(path.partition("{")[0].replace("%2f", "/"))
        assert "…" in logged[0]
    logged.clear()
    raw_get(served, "/api/v1/keys/key_0123456789abcdef%2F")
    wait_until(lambda: bool(logged))
    assert logged == ["/api/v1/keys/key_0123456789abcdef%2F"]


def test_a_short_reference_names_an_event(served: Served) -> None:
    """By its position, or by the first digits of its id; what names none or several is refused."""
    first, second = "0b3c1b5e-6d0c-4b7a-9c53-2f2d1f6f7a31", "0b3c1b5e-6d0c-4b7a-9c53-2f2d1f6f7a32"
    with served.client(READ, WRITE, tenant="referred") as client:
        assert client.post(f"{EVENTS}/batch", json=[event(id=first), event(id=second)]).status_code == 201
        for reference, found in (("@1", first), ("@2", second), (second, second), (first.replace("-", ""), first)):
            answer = client.get(f"/api/v1/references/{reference}")
            assert (answer.status_code, answer.json()) == (200, {"id": found})
        for reference in ("@3", "0b3d", "00000000"):
            assert client.get(f"/api/v1/references/{reference}").status_code == 404
        assert problems(client.get("/api/v1/references/0b3c1b5e")) == [(["path", "reference"], "ambiguous")]
        for reference in ("@0", "@-1", "@1.5", "0b3", "xyzw", "@" + "9" * 30, "0b3c1b5e%20", "%FF"):
            answer = client.get(f"/api/v1/references/{reference}")
            assert problems(answer) == [(["path", "reference"], "reference_parsing")], reference
        assert client.get("/api/v1/references/@1?x=1").status_code == 422
    with served.client(f"{READ}:action_run", tenant="referred") as narrowed:
        for short in ("@1", "0b3c1b5e", first[:-1]):
            assert problems(narrowed.get(f"/api/v1/references/{short}")) == [(["path", "reference"], "narrowed")]
        assert narrowed.get(f"/api/v1/references/{first}").json() == {"id": first}
