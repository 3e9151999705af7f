"""Model Context Protocol: a tool call is an action run in the log, on the client, on the server or on both.

On a server, pass the middleware: `MCPServer("name", middleware=[WhenceMiddleware(log)])`. On a client, call
`record_tool_calls(client, log)` once. With `log.cause(prompt)` around the calls, the prompt is the cause of each.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeVar

import msgspec
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from whence.client.action_runs import ActionRun, ActionRuns
from whence.client.base_client import BaseClient
from whence.client.context import CausalContext, ContextScope, inject
from whence.integrations.request_cause import outer_context

__all__ = ["WhenceMiddleware", "record_tool_calls"]

_TOOL_CALL = "tools/call"


class CallsTools(Protocol):
    """A `Client` or `ClientSession` of the SDK."""

    call_tool: Any


C = TypeVar("C", bound=CallsTools)


class WhenceMiddleware:
    """Records each tool call of a server: `action_run.started`, and then `completed`, `failed` or `cancelled`.

    What the tool emits is caused by its run. A tool that answers with an error has failed.

    - `actor` is who runs the tools.
    - `trust_meta` continues in the context that clients send with `send_context`. Set it only if all clients are your
      own.
    - `errors="type"` leaves out the messages of errors. They are recorded otherwise, up to 1,000 characters.
    - `capture_content` records arguments and results.
    - `tracebacks` records the tracebacks of errors, as far as the server lets them through.
    """

    def __init__(
        self,
        log: BaseClient,
        *,
        actor: tuple[str, str] = ("service", "mcp-server"),
        trust_meta: bool = False,
        errors: Literal["message", "type"] = "message",
        capture_content: bool = False,
        tracebacks: bool = False,
    ) -> None:
        self._events = ActionRuns(log, actor, errors=errors, capture_content=capture_content, tracebacks=tracebacks)
        self._trust_meta = trust_meta

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Handle one message. All but tool calls pass through unchanged."""
        if ctx.method != _TOOL_CALL or ctx.request_id is None:
            return await call_next(ctx)
        params = ctx.params or {}
        outer = outer_context(dict(ctx.meta or {}) if self._trust_meta else None)
        with ContextScope(lambda _context: outer):
            run = self._events.start("tool", str(params.get("name")), content=params.get("arguments"))
            with _inside(run):
                try:
                    result = await call_next(ctx)
                except BaseException as error:
                    _end_raised(self._events, run, error)
                    raise
            _end_returned(self._events, run, result)
        return result


def record_tool_calls(
    client: C,
    log: BaseClient,
    *,
    actor: tuple[str, str] = ("agent", "mcp-client"),
    send_context: bool = False,
    errors: Literal["message", "type"] = "message",
    capture_content: bool = False,
    tracebacks: bool = False,
) -> C:
    """Record each tool call of this client as an action run, and return the client.

    `send_context` sends the context with each call, for a server with `trust_meta`. Set it only if the server is your
    own: the context names your events and actors. For the other options see `WhenceMiddleware`.
    """
    events = ActionRuns(log, actor, errors=errors, capture_content=capture_content, tracebacks=tracebacks)
    call_tool = client.call_tool

    async def recorded(name: str, arguments: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> Any:
        run = events.start("tool", name, content=arguments)
        with _inside(run):
            if send_context:
                kwargs["meta"] = _with_context(kwargs.get("meta"))
            try:
                result = await call_tool(name, arguments, *args, **kwargs)
            except BaseException as error:
                _end_raised(events, run, error)
                raise
        _end_returned(events, run, result)
        return result

    client.call_tool = recorded
    return client


def _inside(run: ActionRun) -> ContextScope:
    def change(context: CausalContext) -> CausalContext:
        if run.cause is None:
            return context
        return msgspec.structs.replace(
            context, cause=run.cause.id, correlation_id=run.cause.correlation_id, pending=None
        )

    return ContextScope(change)


def _with_context(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    carried: dict[str, Any] = dict(meta or {})
    inject(carried)
    return carried


def _end_raised(events: ActionRuns, run: ActionRun, error: BaseException) -> None:
    events.end(run, "failed" if isinstance(error, Exception) else "cancelled", error=error)


def _end_returned(events: ActionRuns, run: ActionRun, result: Any) -> None:
    is_mapping = isinstance(result, Mapping)
    if (result.get("isError") if is_mapping else getattr(result, "is_error", False)) is not True:
        events.end(run, "completed", content=result)
        return
    content = result.get("content") if is_mapping else getattr(result, "content", None)
    events.end(run, "failed", payload=events.message(_text_of(content)), content=result)


def _text_of(content: Any) -> str:
    """The texts of the content of a result."""
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, Mapping) else getattr(part, "text", None) for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))
