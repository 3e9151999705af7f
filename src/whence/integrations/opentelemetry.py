"""OpenTelemetry: events know the span in which they were emitted, and the trace is their flow."""

from collections.abc import Mapping
from typing import Any

import msgspec
from opentelemetry import trace

from whence.client.context import Context
from whence.client.log import Log

__all__ = ["instrument"]


def instrument(log: Log) -> None:
    """From now on an event's payload names trace and span under `_otel`; and where neither a cause nor a flow is known,
    the trace id is the flow.
    """
    log.enrich(_spanned)


def _spanned(context: Context) -> tuple[Context, Mapping[str, Any]]:
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return context, {}
    trace_id = trace.format_trace_id(span.trace_id)
    if context.correlation_id is None and context.cause is None:
        context = msgspec.structs.replace(context, correlation_id=trace_id)
    return context, {"_otel": {"traceId": trace_id, "spanId": trace.format_span_id(span.span_id)}}
