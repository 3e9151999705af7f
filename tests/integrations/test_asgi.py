"""The ASGI middleware, in a real server."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import uvicorn

from tests.api.conftest import event
from tests.unit.mutants import catches, replaced
from whence.client.context import current_context
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
