"""The WSGI middleware, with Flask in a real server."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper

import flask
import httpx2
import pytest

from tests.api.conftest import event
from whence.client.context import current_context
from whence.integrations.pytest_plugin import RecordingWhence
from whence.integrations.wsgi import WhenceMiddleware

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Quiet(WSGIRequestHandler):
    """A handler that logs no requests."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def application(whence_events: RecordingWhence) -> flask.Flask:
    """An application with a handler of each kind."""
    made = flask.Flask("tests", root_path=str(Path(__file__).parent))

    @made.post("/effects/<int:count>")
    def effects(count: int) -> str:
        for _ in range(count):
            whence_events.emit(event())
        return "done"

    @made.get("/streamed")
    def streamed() -> flask.Response:
        def body() -> Iterator[str]:
            whence_events.emit(event())
            yield "a"
            whence_events.emit(event())
            yield "b"

        return flask.Response(body())

    return made


class Served:
    """An application with the middleware, in a server."""

    def __init__(self, application: Any, log: RecordingWhence, **options: Any) -> None:
        self.server = make_server("127.0.0.1", 0, WhenceMiddleware(application, log, **options), handler_class=Quiet)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.server.server_port}")

    def __enter__(self) -> httpx2.Client:
        self.thread.start()
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


def test_a_request_is_the_cause_of_what_its_handler_emits(
    whence_events: RecordingWhence, application: flask.Flask
) -> None:
    """A request with effects has one event, before them. One without effects has none."""
    log = whence_events
    with Served(application, log, actor=lambda environ: ("user", environ["HTTP_WHO"])) as client:
        client.post("/effects/2?secret=x", headers={"who": "ana"})
        client.post("/effects/0", headers={"who": "bo"})
    request, *effects = log.recorded
    assert (request.event_type, request.actor_id) == ("inbound_message.received", "ana")
    assert request.payload_bytes == b'{"method":"POST","path":"/effects/2"}'
    assert [each.causation_id for each in effects] == [request.id, request.id]


def test_a_body_that_is_generated_belongs_to_the_request(
    whence_events: RecordingWhence, application: flask.Flask
) -> None:
    """Although the handler has returned long before."""
    with Served(application, whence_events) as client:
        assert client.get("/streamed").text == "ab"
    request, *effects = whence_events.recorded
    assert [each.causation_id for each in effects] == [request.id, request.id]


def test_headers_are_ignored_unless_trusted(whence_events: RecordingWhence, application: flask.Flask) -> None:
    """With `trust_headers`, the request continues in the caller's context. `always` records every request."""
    headers = {"baggage": "whence-cause=c,whence-correlation=f,whence-actor=user/ana", "traceparent": TRACE}
    for options in ({}, {"trust_headers": True}):
        with Served(application, whence_events, always=True, **options) as client:
            client.post("/effects/0", headers=headers)
    untrusted, trusted = whence_events.recorded
    assert (untrusted.causation_id, untrusted.actor_type) == (None, "anonymous")
    assert (trusted.causation_id, trusted.correlation_id, trusted.actor_id) == ("c", "f", "ana")


def test_a_request_whose_event_cannot_be_made_is_reported(
    whence_events: RecordingWhence, application: flask.Flask
) -> None:
    """It is served, and its effects have no cause."""
    reports: list[Any] = []
    whence_events.report = reports.append  # type: ignore[method-assign]  # to see what it is given
    with Served(application, whence_events, actor=lambda environ: environ["HTTP_WHO"]) as client:
        assert client.post("/effects/1").text == "done"
    assert [each.causation_id for each in whence_events.recorded] == [None]
    assert [report.code for report in reports] == ["not_recorded"]


class Body:
    """A body that emits when it is read and when it is closed."""

    def __init__(self, log: RecordingWhence) -> None:
        self.log = log

    def __iter__(self) -> Iterator[bytes]:
        self.log.emit(event())
        return iter([b"a"])

    def close(self) -> None:
        self.log.emit(event())


def test_a_body_is_closed_in_the_context_of_the_request(whence_events: RecordingWhence) -> None:
    """Also if it was never read. Between its steps the server's own context is untouched."""
    environ: dict[str, Any] = {"REQUEST_METHOD": "HEAD", "PATH_INFO": "/Ã¤"}
    wrapped = WhenceMiddleware(lambda environ, start: Body(whence_events), whence_events)
    for read in (True, False):
        body: Any = wrapped(environ, lambda *given: None)
        if read:
            assert next(body) == b"a"
            assert current_context().cause is None
        body.close()
    first, *effects, second, closed = whence_events.recorded
    assert [each.causation_id for each in effects] == [first.id, first.id]
    assert closed.causation_id == second.id
    assert first.payload_bytes.decode() == '{"method":"HEAD","path":"/ä"}'


def test_bodies_that_run_no_code_are_passed_on_unchanged(whence_events: RecordingWhence, tmp_path: Any) -> None:
    """A server may send lists and files by faster ways."""
    path = tmp_path / "file"
    path.write_bytes(b"a")
    with path.open("rb") as file:
        for body in ([b"a"], FileWrapper(file)):
            for wrapper in (FileWrapper, FileWrapper.__init__):
                environ = {"REQUEST_METHOD": "GET", "wsgi.file_wrapper": wrapper}
                passed = WhenceMiddleware(lambda environ, start, body=body: body, whence_events)(environ, print)
                assert (passed is body) == (isinstance(body, list) or wrapper is FileWrapper)
