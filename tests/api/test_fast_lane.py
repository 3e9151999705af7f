"""All lanes give the same answers, to the byte: status, headers in their order, and body.

Three applications have the same log. In one of them no request takes the fast lane, and in one the callback lane stores
what it accepts. It is also asked after each question, and has to know the same answer or none.
"""

import asyncio
import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.credentials import SECRET
from tests.api.test_golden import ANSWERS, ERRORS, EVENTS, FIRST, LOG, NEVER, THIRD, WRITES, Case, get, post
from tests.examples import examples
from tests.unit.mutants import catches, replaced
from whence.api import fast_lane, server
from whence.api.app import create_app, route_handlers
from whence.api.callback_lane import CallbackLane
from whence.api.fast_lane import FAST_ROUTES, FastLane
from whence.api.openapi import build_openapi
from whence.permissions import READ, WRITE, new_api_key
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import create_store

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
STORE_SECRET = StoreSecret("the secret of both stores, so that their cursors are equal")


class Twins:
    """Two applications, one with its fast lane closed, and a third one whose requests the callback lane gets first."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.secret, self.key = new_api_key("acme", (READ, WRITE), time.time_ns() // 1000)
        self.fast = self.runner.run(self._application(folder / "fast.db"))
        self.runner.run(self.fast.app.context.store.credentials.put_key(self.key))
        assert self.runner.run(self._ask(self.fast, post(f"{EVENTS}/batch", LOG)))[0] == 201
        self.runner.run(self.fast.app.context.store.close())  # else a part of the log would be in another file
        for name in ("full", "third"):
            shutil.copy(folder / "fast.db", folder / f"{name}.db")
        self.fast, self.full, self.third = (
            self.runner.run(self._application(folder / f"{name}.db")) for name in ("fast", "full", "third")
        )
        self.known = CallbackLane(self.fast, self.fast.app)
        self.storing = CallbackLane(self.third, self.third.app)
        self.taken = self.known_answers = self.stored_at_once = 0
        lane, closed = (cast(FastLane, application.app) for application in (self.fast, self.full))
        closed.find = lambda method, path: None  # type: ignore[method-assign]  # of this object alone
        self._count_taken(lane)

    async def _application(self, file: Path) -> Any:
        config = Settings(store=f"sqlite:///{file}", jwt_secret=SECRET, cors_origins=("https://app.example",))
        return create_app(config, create_store(config.store), STORE_SECRET)

    def _count_taken(self, lane: FastLane) -> None:
        def counted(method: str, path: str) -> Any:
            found = FastLane.find(lane, method, path)  # the mutant's, where there is one
            self.taken += found is not None
            return found

        lane.find = counted  # type: ignore[method-assign]  # of this object alone

    def close(self) -> None:
        for application in (self.fast, self.full, self.third):
            self.runner.run(application.app.context.store.close())
        self.runner.close()

    def answers(self, case: Case) -> tuple[Answer, Answer]:
        """The answers of the fast and of the full lane."""
        first, second = (self.runner.run(self._ask(application, case)) for application in (self.fast, self.full))
        return first, second

    def known_answer(self, case: Case) -> Answer | None:
        """What the callback lane answers, if it knows the answer."""

        async def ask() -> bytes | None:
            return self.known.answer(self._scope(case), case[1].encode(), [])

        response = None if case[0] != "GET" or case[3] else self.runner.run(ask())
        if response is None:
            return None
        self.known_answers += 1
        return _answer_of(response)

    def stored_answer(self, case: Case) -> Answer:
        """The answer of the application whose events the callback lane stores, if it does."""
        return self.runner.run(self._store(case))

    async def _store(self, case: Case) -> Answer:
        scope = self._scope(case)
        cycle: Any = SimpleNamespace(scope=scope, body=bytearray(case[3]), keep_alive=True, default_headers=[])
        response: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        whole = dict(scope["headers"]).get(b"content-length") == str(len(case[3])).encode()
        stored = self.storing.store(cycle, response.set_result) if case[0] == "POST" and whole else None
        if stored is None:
            return await self._ask(self.third, case)
        self.stored_at_once += 1
        return _answer_of(await response)

    def _scope(self, case: Case) -> dict[str, Any]:
        """The scope of a request as uvicorn makes it."""
        method, target, headers, body = case
        sent = {"host": "localhost", "authorization": f"Bearer {self.secret}", "x-request-id": "twin"}
        if body:
            sent["content-length"] = str(len(body))
        sent |= {name.lower(): value for name, value in headers.items()}
        path, _, query = target.partition("?")
        return {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }

    async def _ask(self, application: Any, case: Case) -> Answer:
        scope, body = self._scope(case), case[3]
        messages: list[Any] = []
        answered = asyncio.Event()
        received = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            for message in received:
                return message
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            messages.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                answered.set()

        # A task of its own, as for each request: one that is abandoned is cancelled.
        await asyncio.create_task(application(scope, receive, send))
        head, *parts = messages
        return head["status"], list(head["headers"]), b"".join(part.get("body", b"") for part in parts)


def _answer_of(response: bytes) -> Answer:
    head, _, body = response.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = [(name, value) for name, _, value in (one.partition(b": ") for one in lines)]
    return int(first.split()[1]), fields, body


@pytest.fixture
def twins(tmp_path: Path, remembered: None) -> Iterator[Twins]:
    server.configure_logging("error")
    both = Twins(tmp_path)
    yield both
    both.close()


HOSTILE: list[Case] = [
    get("/"),
    get("//"),
    get(EVENTS + "/"),
    get(EVENTS + "//"),
    get("/api/v1//events"),
    get("/api/v1/%65vents"),
    get("/api/v1/events/../events"),
    get(f"{EVENTS}/{FIRST}/"),
    get(f"{EVENTS}/%00"),
    get(f"{EVENTS}/batch"),
    get(f"{EVENTS}/correlation"),
    get(f"{EVENTS}/correlation/"),
    get(f"{EVENTS}/correlation/a%2Fb/c"),
    get(f"{EVENTS}/correlation/%FF"),
    get(f"{EVENTS}/resource/action_run"),
    get(f"{EVENTS}/resource/action_run/{FIRST}/x"),
    get(f"{EVENTS}/resource/a%2Fb/{FIRST}"),
    get(f"{EVENTS}/stats"),
    get(f"{EVENTS}/{'x' * 3000}"),
    get(f"{EVENTS}?%66rom=-1h&limit=2"),
    get(f"{EVENTS}?from=%FF"),
    get(f"{EVENTS}?" + "event_type=a.b&" * 300),
    get(f"{EVENTS}?limit=1", **{"Accept-Encoding": "gzip"}),
    get(EVENTS, **{"Accept-Encoding": "zstd"}),
    get(EVENTS, **{"Accept-Encoding": "gzip;q=0, identity;q=0.5, *"}),
    get(EVENTS, **{"If-None-Match": "*"}),
    get(EVENTS, Origin="https://app.example"),
    get(EVENTS, Origin="https://evil.example"),
    get(EVENTS, Authorization="Basic x"),
    get(EVENTS, Authorization=""),
    get(EVENTS, Host="a/b"),
    get("/livez", Authorization="Bearer bad"),
    ("HEAD", f"{EVENTS}?limit=1", {}, b""),
    ("HEAD", "/livez", {}, b""),
    ("DELETE", EVENTS, {}, b""),
    ("OPTIONS", EVENTS, {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}, b""),
    ("POST", "/livez", {}, b""),
    ("GET", EVENTS, {"Content-Length": "5"}, b"12345"),
    post(f"{EVENTS}/{FIRST}", {}),
    post(f"{EVENTS}/aggregate", {}),
    post(f"{EVENTS}?atomic=true", LOG[0]),
    post(EVENTS, LOG[0], **{"Idempotency-Key": ""}),
    post(EVENTS, LOG[0], **{"Content-Encoding": "gzip"}),
    post(EVENTS, LOG[0], **{"Content-Length": "999999999"}),
    post(EVENTS, b"\xff\xfe{}"),
    post(EVENTS, b"\xef\xbb\xbf{}"),
    post(EVENTS, b'{"a":' * 5000),
    post(EVENTS, b"", None, **{"ce-id": "1", "ce-type": "a.b", "ce-source": "s", "ce-specversion": "1.0"}),
    post(f"{EVENTS}/batch", b"[]"),
    post(f"{EVENTS}/batch", b"{}\n" * 1001, "application/x-ndjson"),
]


def differences(twins: Twins, cases: list[Case]) -> list[tuple[Case, Answer, Answer]]:
    found = []
    for case in cases:
        fast, full = twins.answers(case)
        if fast != full:
            found.append((case, fast, full))
        others = twins.known_answer(case), twins.stored_answer(case)
        found += [(case, other, full) for other in others if other is not None and other != full]
    return found


async def anyone(request: Any) -> None:
    """Mutant: the lane asks nobody who they are."""


async def without_errors(*_: Any) -> None:
    """Mutant: the lane answers errors in its own words."""


def any_path(self: FastLane, method: str, path: str) -> Any:
    """Mutant: `batch` and `aggregate` are taken for ids."""
    start, _, last = path.rpartition("/")
    if method == "GET" and start == EVENTS:
        return self._open[method, start][0], {"event_id": last}
    return self._fixed.get((method, path)) and (self._fixed[method, path], {})


@catches(
    replaced(fast_lane, "authorize", anyone, "nobody_is_authenticated"),
    replaced(fast_lane, "error_response", lambda request, error: without_errors, "errors_are_silent"),
    replaced(FastLane, "find", any_path, "fixed_paths_are_ids"),
)
def test_golden_and_hostile_requests(twins: Twins) -> None:
    cases = [*ANSWERS.values(), *WRITES.values(), *ERRORS.values(), *HOSTILE]
    assert differences(twins, cases) == []
    assert twins.taken > len(cases) // 2
    assert twins.known_answers > len(cases) // 8, "the callback lane answered next to nothing"
    assert twins.stored_at_once >= 3, "the callback lane stored next to nothing"


PATHS = st.sampled_from(
    [
        *(EVENTS, f"{EVENTS}/", f"{EVENTS}/{FIRST}", f"{EVENTS}/{NEVER}", f"{EVENTS}/{THIRD.upper()}"),
        *(f"{EVENTS}/aggregate", f"{EVENTS}/batch", f"{EVENTS}/correlation/{FIRST}", f"{EVENTS}/correlation/a%2Fb"),
        *(f"{EVENTS}/resource/decision/{FIRST}", f"{EVENTS}/resource/%64ecision/{FIRST}", "/livez", "/api/v1/flows"),
    ]
)
PARAMETERS = st.sampled_from(
    [
        *(
            "limit=1",
            "limit=0",
            "limit=2",
            "offset=1",
            "offset=99999",
            "order=asc",
            "order=up",
            "cursor=abc",
            "as_of=2",
        ),
        *("from=2026-01-02", "to=2026-01-03", "event_type=action_run.*", "event_type=-", "outcome=failure", "x=y"),
        *(
            "include=position",
            "include=nextCursor,outcome",
            "actor_id=planner",
            "actor_id=",
            "limit=%31",
            "%",
            "atomic=1",
        ),
    ]
)
HEADERS = st.sampled_from(
    [
        *(("Accept-Encoding", value) for value in ("gzip", "zstd, gzip;q=0.5", "identity", "*;q=0", "br")),
        *(("Authorization", value) for value in ("Bearer bad", "Basic x", "")),
        *(("Content-Type", value) for value in ("application/json; charset=latin-1", "text/plain", "")),
        *(("Origin", value) for value in ("https://app.example", "null")),
        *(("If-None-Match", "*"), ("X-API-Key", "whk_x"), ("Cookie", "vai_token=x"), ("Idempotency-Key", "k")),
        *(("Content-Encoding", "gzip"), ("ce-type", "a.b"), ("X-Request-Id", "a"), ("Range", "bytes=0-1")),
    ]
)
BODIES = st.sampled_from([b"", b"{}", b"[]", b"nonsense", *(post(EVENTS, one)[3] for one in LOG), post(EVENTS, LOG)[3]])


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "GET", "POST", "HEAD", "PUT", "OPTIONS"]),
    path=PATHS,
    query=st.lists(PARAMETERS, max_size=3),
    headers=st.lists(HEADERS, max_size=3),
    body=BODIES,
)
def test_requests_of_random_parts(
    twins: Twins, method: str, path: str, query: list[str], headers: list[tuple[str, str]], body: bytes
) -> None:
    target = path + ("?" + "&".join(query) if query else "")
    sent = {"Content-Type": "application/json"} | dict(headers) if method == "POST" else dict(headers)
    assert differences(twins, [(method, target, sent, body if method in ("POST", "PUT") else b"")]) == []


OPERATIONS = sorted({f"{method} {path}" for one in FAST_ROUTES for path in one.paths for method in one.http_methods})


@pytest.mark.slow
@pytest.mark.parametrize("operation", [one for one in OPERATIONS if not one.startswith("HEAD")])
def test_requests_of_the_document(twins: Twins, operation: str) -> None:
    """What schemathesis makes of the document. The ids of events are derived from a key, else they would differ."""
    config = Settings(store="sqlite:///unused.db")
    method, path = operation.replace(":str}", "}").split(" ")
    document = build_openapi(config, route_handlers(config))
    keys = itertools.count(1)

    def check(case: Any) -> None:
        made = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
        body = made.body.encode() if isinstance(made.body, str) else made.body or b""
        headers = {"Idempotency-Key": f"key {next(keys)}"} | {
            name: value.decode("latin-1") if isinstance(value, bytes) else value
            for name, value in made.headers.items()
            if name.lower() not in ("content-length", "transfer-encoding", "authorization")
        }
        assert differences(twins, [(method, str(made.path_url), headers, body)]) == []

    bounds = settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
    bounds(given(case=schemathesis.openapi.from_dict(document)[path][method].as_strategy())(check))()
