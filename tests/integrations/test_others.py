"""Logging, structlog and OpenTelemetry, each with the real library if it is installed."""

import logging

import pytest

from tests.api.conftest import RUN_ID, event
from whence.integrations.logging import WhenceContextFilter, WhenceHandler, add_whence_context
from whence.integrations.pytest_plugin import RecordingWhence


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
    assert bytes(recorded.payload) == b'{"message":"card declined","code":7}'
    assert "Logging error" in capsys.readouterr().err


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
    payloads = [bytes(each.payload).decode() for each in whence_events.recorded]
    spanned = f'"_otel":{{"traceId":"{trace_id}","spanId":"{span_id}"}}'
    assert payloads == ['{"a":1}', f'{{{spanned},"a":1}}', f"{{{spanned}}}"]
