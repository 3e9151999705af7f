"""Logging, structlog and OpenTelemetry, each with the real library if it is installed."""

import logging
import logging.handlers
import pickle
import queue
from typing import Any

import pytest

from tests.api.conftest import RUN_ID, event
from whence.client.context import ContextScope, current_context
from whence.integrations.logging import WhenceContextFilter, WhenceHandler, add_whence_context
from whence.integrations.pytest_plugin import RecordingWhence
from whence.integrations.request_cause import RequestCause


def test_log_lines_name_their_cause(whence_events: RecordingWhence, caplog: pytest.LogCaptureFixture) -> None:
    """By a filter for the standard library, and a processor for structlog."""
    structlog = pytest.importorskip("structlog")
    root = whence_events.emit(event())
    logger = logging.getLogger("tests.lines")
    logger.addFilter(WhenceContextFilter())
    captured = structlog.testing.LogCapture()
    unfiltered = structlog.make_filtering_bound_logger(logging.DEBUG)  # a server in this process may have filtered
    bound = structlog.wrap_logger(None, processors=[add_whence_context, captured], wrapper_class=unfiltered)
    with whence_events.cause(root):
        logger.warning("inside")
        bound.info("inside")
    logger.warning("outside")
    bound.info("outside")
    inside, outside = caplog.records
    assert (inside.whence_cause, inside.whence_correlation) == (root.id, root.id)  # type: ignore[attr-defined]  # set by the filter
    assert outside.whence_cause is None  # type: ignore[attr-defined]  # set by the filter
    assert captured.entries[0]["whence_cause"] == root.id
    assert "whence_cause" not in captured.entries[1]


def test_a_log_line_can_become_an_event(whence_events: RecordingWhence, capsys: pytest.CaptureFixture[str]) -> None:
    """With the keywords of `emit`. Other lines are ignored, and a bad one is reported by logging."""
    logger = logging.getLogger("tests.events")
    logger.setLevel(logging.INFO)
    handler = WhenceHandler(whence_events)
    logger.addHandler(handler)
    fields = {"event": "action_run.failed", "actor": ("agent", "a"), "resource": ("action_run", RUN_ID)}
    logger.info("card %s", "declined", extra={"whence": fields | {"payload": {"code": 7}}})
    logger.info("nothing")
    logger.info("bad", extra={"whence": {"event": "No"}})
    logger.removeHandler(handler)
    (recorded,) = whence_events.recorded
    assert recorded.payload_bytes == b'{"message":"card declined","code":7}'
    assert "Logging error" in capsys.readouterr().err


@pytest.mark.parametrize("over_a_pipe", [False, True], ids=["thread", "pickled"])
@pytest.mark.parametrize("on_the_handler", [False, True], ids=["filter of the logger", "filter of the handler"])
def test_a_handler_behind_a_queue_keeps_the_context(
    whence_events: RecordingWhence, on_the_handler: bool, over_a_pipe: bool
) -> None:
    """Cause, flow and actor of the code that logged, whatever the context of the thread that handles the record."""
    root = whence_events.emit(event())
    elsewhere = whence_events.emit(event())
    waiting: queue.Queue[Any] = queue.Queue()
    queued = logging.handlers.QueueHandler(waiting)
    logger = logging.getLogger(f"tests.queued.{on_the_handler}.{over_a_pipe}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(queued)
    (queued if on_the_handler else logger).addFilter(WhenceContextFilter())
    with whence_events.cause(root), whence_events.bind(actor=("user", "ana")):
        logger.info("approved", extra={"whence": {"event": "decision.approved", "resource": ("decision", RUN_ID)}})
    record = waiting.get_nowait()
    if over_a_pipe:
        record = pickle.loads(pickle.dumps(record))
    with whence_events.cause(elsewhere):
        WhenceHandler(whence_events).handle(record)
    (approved,) = whence_events.of_type("decision.approved")
    assert (approved.causation_id, approved.correlation_id) == (root.id, root.id)
    assert (approved.actor_type, approved.actor_id) == ("user", "ana")


def test_a_log_line_in_a_request_emits_the_request_first(whence_events: RecordingWhence) -> None:
    """If the line becomes an event; a plain line in a request without effects emits nothing."""
    request = RequestCause(whence_events, {"method": "GET", "path": "/"}, None, current_context())
    logger = logging.getLogger("tests.request")
    logger.setLevel(logging.INFO)
    logger.addFilter(WhenceContextFilter())
    with ContextScope(lambda _outer: request.context()):
        logger.info("plain")
        assert whence_events.recorded == []
        logger.info("event", extra={"whence": {"event": "decision.made"}})
    assert [each.event_type for each in whence_events.recorded] == ["inbound_message.received"]


def test_events_name_their_span(whence_events: RecordingWhence) -> None:
    """The trace is the flow of an event that has neither cause nor flow. Without a span nothing is added."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  (it may not be installed)

    from whence.integrations.opentelemetry import add_span_context  # noqa: PLC0415  (as above)

    add_span_context(whence_events)
    tracer = TracerProvider().get_tracer("tests")
    plain = whence_events.emit(event(payload={"a": 1}))
    with tracer.start_as_current_span("work") as span:
        context = span.get_span_context()
        inside = whence_events.emit(event(payload={"a": 1}))
        with whence_events.cause(plain):
            caused = whence_events.emit(event())
    trace_id, span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
    assert inside.correlation_id == trace_id
    assert caused.correlation_id == plain.id
    payloads = [each.payload_bytes.decode() for each in whence_events.recorded]
    spanned = f'"_otel":{{"traceId":"{trace_id}","spanId":"{span_id}"}}'
    assert payloads == ['{"a":1}', f'{{{spanned},"a":1}}', f"{{{spanned}}}"]
