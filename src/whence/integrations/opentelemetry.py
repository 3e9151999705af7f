"""OpenTelemetry: events name the span in which they were emitted, and a trace becomes a flow."""

from collections.abc import Mapping
from typing import Any

import msgspec
from opentelemetry import trace

from whence.client.base_client import BaseClient
from whence.client.context import CausalContext

__all__ = ["add_span_context"]


def add_span_context(log: BaseClient) -> None:
    """Add the ids of the current trace and span to the payload of every event, as `_otel`.

    The trace id becomes the flow of events that have neither a cause nor a flow.
    """
    log.enrich(_enrich)


def _enrich(context: CausalContext) -> tuple[CausalContext, Mapping[str, Any]]:
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return context, {}
    trace_id = trace.format_trace_id(span.trace_id)
    if context.correlation_id is None and context.cause is None:
        context = msgspec.structs.replace(context, correlation_id=trace_id)
    return context, {"_otel": {"traceId": trace_id, "spanId": trace.format_span_id(span.span_id)}}
