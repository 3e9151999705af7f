"""The ASGI middleware, in a real server."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import Depends, FastAPI, WebSocket
from starlette.testclient import TestClient

from tests.api.conftest import RUN_ID, event
from tests.unit.mutants import catches, replaced
from whence.client.context import current_context
from whence.events import Vocabulary
from whence.integrations.asgi import RequestCause, WhenceMiddleware
from whence.integrations.pytest_plugin import RecordingWhence

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@contextmanager
def served(log: RecordingWhence, **options: Any) -> Iterator[httpx2.Client]:
    """An application that emits as many pairs of events as its path says, one of each pair in a thread."""

    async def app(scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            return
        for _ in range(int(scope["path"].removeprefix("/"))):
            log.emit(event())
            await asyncio.to_thread(log.emit, event())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    wrapped: Any = WhenceMiddleware(app, log, **options)
    server = uvicorn.Server(uvicorn.Config(wrapped, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(10)


def never(self: Any) -> None:
    """Does not emit the event of a request."""


@catches(replaced(RequestCause, "emit_once", never, "request_without_event"))
def test_a_request_is_the_cause_of_what_its_handler_emits(whence_events: RecordingWhence) -> None:
    """A request has one event, before its effects in any thread. A request without effects has none."""
    log = whence_events
    with served(log, actor=lambda scope: ("user", dict(scope["headers"])[b"who"].decode())) as client:
        client.post("/1?secret=x", headers={"who": "ana"})
        client.post("/0", headers={"who": "bo"})
        client.get("/1", headers={"who": "cy"})
    requests = log.of_type("inbound_message.received")
    assert [(each.actor_type, each.actor_id) for each in requests] == [("user", "ana"), ("user", "cy")]
    assert requests[0].payload_bytes == b'{"method":"POST","path":"/1"}'
    effects = log.of_type("action_run.completed")
    assert [each.causation_id for each in effects] == [each.id for each in requests for _ in range(2)]
    assert [each.correlation_id for each in effects] == [each.causation_id for each in effects]
    assert log.recorded[0] == requests[0]


def test_headers_are_ignored_unless_trusted(whence_events: RecordingWhence) -> None:
    """By default no caller can join a flow. With `trust_headers`, the request continues in the caller's context."""
    log = whence_events
    headers = {"baggage": "whence-cause=c,whence-correlation=f,whence-actor=user/ana", "traceparent": TRACE}
    with served(log) as client:
        client.post("/1", headers=headers)
    untrusted = log.of_type("inbound_message.received")[0]
    assert (untrusted.causation_id, untrusted.correlation_id) == (None, untrusted.id)
    assert (untrusted.actor_type, untrusted.actor_id) == ("anonymous", "http")
    with served(log, trust_headers=True) as client:
        client.post("/1", headers=headers)
        client.post("/1", headers={"traceparent": TRACE})
    trusted, traced = log.of_type("inbound_message.received")[1:]
    assert (trusted.causation_id, trusted.correlation_id, trusted.actor_id) == ("c", "f", "ana")
    assert traced.correlation_id == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_every_request_can_be_recorded(whence_events: RecordingWhence) -> None:
    """With `always`, also one without effects. Afterwards the context is empty again."""
    with served(whence_events, always=True) as client:
        client.get("/0")
    assert len(whence_events.recorded) == 1
    assert current_context().cause is None


async def call(app: Any, scope: dict[str, Any], *received: dict[str, Any]) -> list[dict[str, Any]]:
    """What an ASGI application sends."""
    sent: list[dict[str, Any]] = []
    waiting = list(received)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def http(path: str = "/") -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": []}


def raising(scope: Any) -> Any:
    raise KeyError("secret")


@pytest.mark.parametrize(
    ("actor", "reason"),
    [
        (raising, "raised KeyError"),
        (lambda scope: None, "must return two texts"),
        (lambda scope: ("user",), "must return two texts"),
        (lambda scope: ("user", 5), "must return two texts"),
        (lambda scope: ("customer", "ana"), "not built in"),
        (lambda scope: ("user", ""), "1..255"),
        (lambda scope: ("user", "a" * 256), "1..255"),
    ],
)
@pytest.mark.parametrize("always", [False, True])
async def test_a_request_whose_event_cannot_be_made_is_reported(
    whence_events: RecordingWhence, actor: Any, reason: str, always: bool
) -> None:
    """Once. The request is served, and its effects have the cause that is around it."""
    log = whence_events
    reports: list[Any] = []
    log.report = reports.append  # type: ignore[method-assign]  # to see what it is given
    outer = log.emit(event())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        log.emit(event(), actor=("agent", "first"))
        await asyncio.to_thread(log.emit, event())
        await send({"type": "done"})

    with log.cause(outer):
        assert await call(WhenceMiddleware(app, log, actor=actor, always=always), http()) == [{"type": "done"}]
    assert [each.causation_id for each in log.recorded] == [None, outer.id, outer.id]
    assert [report.code for report in reports] == ["not_recorded"]
    assert reason in str(reports[0]) and "secret" not in str(reports[0])


async def test_an_actor_type_of_the_server_can_be_named(whence_events: RecordingWhence) -> None:
    """The client cannot know it otherwise."""
    whence_events.vocabulary = Vocabulary.extended((), ("customer",))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        whence_events.emit(event())

    await call(
        WhenceMiddleware(app, whence_events, actor=lambda scope: ("customer", "ana"), actor_types=["customer"]), http()
    )
    assert whence_events.recorded[0].actor_type == "customer"


async def test_the_actor_may_emit_itself(whence_events: RecordingWhence) -> None:
    """That event belongs to what is around the request."""

    def actor(scope: Any) -> tuple[str, str]:
        whence_events.emit(event(eventType="decision.made"))
        return "user", "ana"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        whence_events.emit(event())

    await call(WhenceMiddleware(app, whence_events, actor=actor), http())
    made, request, effect = whence_events.recorded
    assert (made.causation_id, request.causation_id, effect.causation_id) == (None, None, request.id)


@pytest.mark.parametrize("trust", [False, True])
async def test_the_context_around_the_application_is_kept(whence_events: RecordingWhence, trust: bool) -> None:
    """Cause, flow and actor, unless trusted headers carry others."""
    log = whence_events
    outer = log.emit(event())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        log.emit("decision.made", resource=("decision", RUN_ID))

    with log.cause(outer), log.bind(actor=("user", "ana")):
        middleware = WhenceMiddleware(app, log, trust_headers=trust)
        await call(middleware, http())
        await call(middleware, http() | {"headers": [(b"baggage", b"whence-cause=c,whence-correlation=f")]})
        await call(middleware, http() | {"headers": [(b"baggage", b"whence-actor=user/bo")]})
    (_, request, effect, second, _, third, of_third) = log.recorded
    assert (request.causation_id, request.correlation_id, request.actor_id) == (outer.id, outer.id, "ana")
    assert (effect.causation_id, effect.correlation_id, effect.actor_id) == (request.id, outer.id, "ana")
    assert (second.causation_id, second.correlation_id) == (("c", "f") if trust else (outer.id, outer.id))
    assert (third.causation_id, third.actor_id, of_third.actor_id) == (
        outer.id,
        *(("bo", "bo") if trust else ("ana", "ana")),
    )


def client_of(log: RecordingWhence, app: Any, **options: Any) -> TestClient:
    return TestClient(WhenceMiddleware(app, log, **options))


def test_a_websocket_is_the_cause_of_what_it_leads_to(whence_events: RecordingWhence) -> None:
    """One event for as long as it is open, when something is first emitted."""
    app = FastAPI()

    @app.websocket("/chat")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            whence_events.emit(event(), payload={"text": text})
            await socket.send_text("ok")

    with client_of(whence_events, app).websocket_connect("/chat?secret=x") as socket:
        for text in ("a", "b"):
            socket.send_text(text)
            assert socket.receive_text() == "ok"
    request, *effects = whence_events.recorded
    assert request.payload_bytes == b'{"method":"WEBSOCKET","path":"/chat"}'
    assert [each.causation_id for each in effects] == [request.id, request.id]


def test_what_is_emitted_at_startup_has_no_request(whence_events: RecordingWhence) -> None:
    """And a request does not inherit what the lifespan has bound, since servers run them apart."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with whence_events.cause(whence_events.emit(event(eventType="automation.enabled"))):
            yield
            whence_events.emit(event(eventType="automation.disabled"))

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def root() -> None:
        whence_events.emit(event())

    with client_of(whence_events, app) as client:
        client.get("/")
    enabled, request, effect, disabled = whence_events.recorded
    assert (enabled.causation_id, request.causation_id, effect.causation_id) == (None, None, request.id)
    assert disabled.causation_id == enabled.id


def test_a_dependency_may_bind_the_context(whence_events: RecordingWhence) -> None:
    """With `with` across `yield`. Only an async one reaches the handler: FastAPI runs a plain one in a thread."""
    log = whence_events
    app = FastAPI()
    failures: list[BaseException] = []

    def plain() -> Iterator[None]:
        try:
            with log.bind(actor=("user", "plain")), log.cause("plain"):
                yield
        except BaseException as error:
            failures.append(error)
            raise

    async def asynchronous() -> AsyncIterator[None]:
        with log.bind(actor=("user", "async")), log.cause("async"):
            yield

    def emit() -> None:
        log.emit("decision.made", resource=("decision", RUN_ID))

    @app.get("/plain", dependencies=[Depends(plain)])
    def by_plain() -> None:
        log.emit(event())

    @app.get("/async", dependencies=[Depends(asynchronous)])
    async def by_async() -> None:
        emit()

    @app.get("/both", dependencies=[Depends(asynchronous), Depends(plain)])
    def by_both() -> None:
        emit()

    client = client_of(log, app)
    assert [client.get(path).status_code for path in ("/plain", "/async", "/both")] == [200] * 3
    assert failures == []
    request, effect, by_async_, by_both_ = log.recorded
    assert effect.causation_id == request.id
    assert [each.actor_id for each in (by_async_, by_both_)] == ["async", "async"]
    assert [each.causation_id for each in (by_async_, by_both_)] == ["async", "async"]
