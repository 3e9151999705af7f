"""OpenAI Agents SDK: agents, tools, models and guardrails are action runs in the log, and handoffs are events.

Register the processor once, by `add_trace_processor(WhenceTracingProcessor(log))`. Use `set_trace_processors([…])` to
replace the exporter to OpenAI. What the code of a tool emits is caused by the run of the tool. A program that disables
the tracing of the SDK records nothing.
"""

import sys
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from agents.tracing import (
    AgentSpanData,
    CustomSpanData,
    FunctionSpanData,
    GenerationSpanData,
    GuardrailSpanData,
    HandoffSpanData,
    ResponseSpanData,
    Span,
    Trace,
    TracingProcessor,
    get_current_span,
)

from whence.client.action_runs import ActionRun, ActionRuns, Verb, content_of
from whence.client.base_client import BaseClient
from whence.client.context import StartedRun, add_run_source

__all__ = ["WhenceTracingProcessor"]

_ENDED_SPANS_MAX = 1_000
"""Spans that have ended and are remembered, for tasks that outlive them."""

_KINDS: Mapping[type, str] = {
    AgentSpanData: "agent",
    FunctionSpanData: "tool",
    GenerationSpanData: "model",
    ResponseSpanData: "model",
    GuardrailSpanData: "guardrail",
    CustomSpanData: "custom",
}
"""Which spans are runs. The others, such as turns, belong to the run around them."""


class _SpanRun(msgspec.Struct, kw_only=True):
    """A span that is open.

    `action` is None for one that is no run. `around` is the run in which the span is, and `cause` is the cause of what
    is inside the span. `handled` is the error that was being handled when the span began.
    """

    action: ActionRun | None
    around: ActionRun | None
    cause: StartedRun | None
    handled: BaseException | None


class WhenceTracingProcessor(TracingProcessor):
    """Emits `action_run.started`, and then `completed`, `failed` or `cancelled`; `handed_off` for a handoff.

    The cause of a run is the start of the run around it, and the cause of a failure is the failure inside. An agent
    that takes over is caused by the handoff.

    - `actor` is who runs the agents.
    - `errors="type"` leaves out the messages of errors. They are recorded otherwise, up to 1,000 characters.
    - `capture_content` records the arguments and results of tools, as far as the SDK traces them.
    - `tracebacks` records the tracebacks of errors.
    """

    def __init__(
        self,
        log: BaseClient,
        actor: tuple[str, str] = ("agent", "openai-agents"),
        *,
        errors: Literal["message", "type"] = "message",
        capture_content: bool = False,
        tracebacks: bool = False,
    ) -> None:
        self._events = ActionRuns(log, actor, errors=errors, capture_content=capture_content, tracebacks=tracebacks)
        self._spans: dict[str, _SpanRun] = {}
        self._ended: OrderedDict[str, StartedRun] = OrderedDict()
        self._handoffs: dict[tuple[str, str], StartedRun] = {}
        _processors.add(self)
        add_run_source(_current_run)

    def started(self, span_id: str) -> StartedRun | None:
        """The start of the run of a span, or of the run around it."""
        span = self._spans.get(span_id)
        return self._ended.get(span_id) if span is None else span.cause

    def on_trace_start(self, trace: Trace) -> None:
        """A trace is no run: it does not know how it ended."""

    def on_trace_end(self, trace: Trace) -> None:
        """Forget the handoffs that no agent took over."""
        self._handoffs = {key: handoff for key, handoff in self._handoffs.items() if key[0] != trace.trace_id}

    def on_span_start(self, span: Span[Any]) -> None:
        """A run starts."""
        outer = self._spans.get(span.parent_id or "")
        parent = None if span.parent_id is None else self.started(span.parent_id)
        data = span.span_data
        kind = _KINDS.get(type(data))
        action = None
        if kind is not None:
            name = str(getattr(data, "name", None) or getattr(data, "model", None) or kind)
            handoff = self._handoffs.pop((span.trace_id, name), None) if kind == "agent" else None
            action = self._events.start(kind, name, cause=handoff or parent)
        self._spans[span.span_id] = _SpanRun(
            action=action,
            around=None if outer is None else outer.action or outer.around,
            cause=parent if action is None else action.cause,
            handled=sys.exc_info()[1],
        )

    def on_span_end(self, span: Span[Any]) -> None:
        """A run ends, and with it what is known of it is complete."""
        known = self._spans.pop(span.span_id, None)
        if known is None:
            return
        if known.cause is not None:
            self._ended[span.span_id] = known.cause
            while len(self._ended) > _ENDED_SPANS_MAX:
                self._ended.popitem(last=False)
        if known.action is not None:
            self._end(span, known.action, known.handled)
        elif isinstance(span.span_data, HandoffSpanData) and known.around is not None:
            self._hand_off(span, known.around)

    def shutdown(self) -> None:
        """The client sends its events by itself when the process ends."""

    def force_flush(self) -> None:
        """As `shutdown`."""

    def _hand_off(self, span: Span[Any], run: ActionRun) -> None:
        to_agent = str(span.span_data.to_agent or "")
        handoff = self._events.note(run, "handed_off", {"to": to_agent})
        if handoff is not None and to_agent:
            self._handoffs[span.trace_id, to_agent] = handoff

    def _end(self, span: Span[Any], action: ActionRun, handled: BaseException | None) -> None:
        data = span.span_data
        raised = sys.exc_info()[1]
        error = None if raised is handled else raised  # an error that is passing through the span
        payload: dict[str, str] = {}
        verb: Verb = "completed"
        if error is not None:
            verb = "failed" if isinstance(error, Exception) else "cancelled"
            if action.kind == "tool" and error.__cause__ is not None:
                error = error.__cause__  # the SDK wraps what a tool raises
        elif span.error is not None:  # the model gets the error, and the agent goes on
            verb = "failed"
            payload = self._events.message(str((span.error.get("data") or {}).get("error") or span.error["message"]))
        elif isinstance(data, GuardrailSpanData) and data.triggered:
            payload = {"triggered": "true"}
        self._events.end(action, verb, error=error, payload={**payload, **self._content(data)})

    def _content(self, data: Any) -> dict[str, str]:
        if not self._events.captures_content:
            return {}
        contents = {name: getattr(data, name, None) for name in ("input", "output")}
        return {name: content_of(content) for name, content in contents.items() if content is not None}


_processors: "weakref.WeakSet[WhenceTracingProcessor]" = weakref.WeakSet()


def _current_run() -> StartedRun | None:
    """The start of the run in which this code is, by the span that the SDK keeps in a context variable."""
    span = get_current_span()
    if span is None:
        return None
    for processor in list(_processors):
        started = processor.started(span.span_id)
        if started is not None:
            return started
    return None
