"""The causal context: the cause, flow and actor that events inherit from the code that emits them.

Calls and asyncio tasks inherit the context by themselves. `wrap` passes it to threads and processes, `inject` and
`extract` pass it to other services and task queues. It belongs to the running code and not to a client: all clients of
a process share it.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar
from urllib.parse import quote, unquote

import msgspec

from whence.events import TEXT_MAX
from whence.identities import canonical

__all__ = [
    "CausalContext",
    "ContextScope",
    "ContextThreadPoolExecutor",
    "PendingCause",
    "current_context",
    "extract",
    "inject",
    "wrap",
]

P = ParamSpec("P")
R = TypeVar("R")

_CAUSE, _FLOW, _ACTOR = "whence-cause", "whence-correlation", "whence-actor"
_OWN_MEMBERS = frozenset({_CAUSE, _FLOW, _ACTOR})
_BAGGAGE_BYTES_MAX = 8192  # W3C Baggage: intermediaries may drop what is longer
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class PendingCause(Protocol):
    """A cause whose event is emitted only when the first event inherits it."""

    def emit_once(self) -> None:
        """Emit the event, unless it was emitted already."""
        ...


class CausalContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an event inherits.

    `cause` is the id of the cause, and `pending` emits that cause if this has not happened yet. `actor` is a pair of
    type and id. `traceparent` is the W3C header, passed on unchanged.
    """

    cause: str | None = None
    correlation_id: str | None = None
    actor: tuple[str, str] | None = None
    traceparent: str | None = None
    pending: Any = None

    def with_cause_emitted(self) -> "CausalContext":
        """The same context after its pending cause was emitted; it may leave this process."""
        if self.pending is None:
            return self
        self.pending.emit_once()
        return msgspec.structs.replace(self, pending=None)


_EMPTY = CausalContext()
_current: ContextVar[CausalContext] = ContextVar("whence", default=_EMPTY)


def current_context() -> CausalContext:
    """The context of the running code."""
    return _current.get()


class ContextScope:
    """A change of the context for a `with` block, or as a decorator for each call of a function, also an async one."""

    def __init__(self, change: Callable[[CausalContext], CausalContext]) -> None:
        self._change = change
        self._tokens: list[Token[CausalContext]] = []

    def __enter__(self) -> Self:
        self._tokens.append(_current.set(self._change(_current.get())))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function with each call inside this scope. Raises TypeError for a generator function."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("A generator runs in the context of its caller. Use `with` inside the generator instead.")
        change = self._change  # a scope for each call, since several threads may call at once
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with ContextScope(change):
                    return await function(*args, **kwargs)

            return run_async  # type: ignore[return-value]  # R is a coroutine here, which this returns too

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with ContextScope(change):
                return function(*args, **kwargs)

        return run


class _Wrapped:
    """A function that runs in a fixed context. A class and not a closure, so that it can be pickled."""

    def __init__(self, function: Callable[..., Any], context: CausalContext) -> None:
        self._function = function
        self._context = context
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with ContextScope(lambda _outer: self._context):
            return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Wrapped, (self._function, self._context)


def wrap(function: Callable[P, R]) -> Callable[P, R]:
    """The function bound to the current context, to be run in any thread or process."""
    return _Wrapped(function, current_context().with_cause_emitted())


class ContextThreadPoolExecutor(ThreadPoolExecutor):
    """A ThreadPoolExecutor whose tasks run in the context of the code that submitted them."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """As `ThreadPoolExecutor.submit`."""
        return super().submit(wrap(fn), *args, **kwargs)


def inject(headers: MutableMapping[str, str]) -> None:
    """Write the current context into the headers of a request or message: `baggage` and `traceparent`.

    Other members of the baggage stay, and so does a `traceparent` that is already there.
    """
    context = current_context().with_cause_emitted()
    own = {_CAUSE: context.cause, _FLOW: context.correlation_id, _ACTOR: "/".join(context.actor or ())}
    members = [member for member in _members(headers.get("baggage", "")) if _name(member) not in _OWN_MEMBERS]
    members += [f"{name}={quote(value, safe='')}" for name, value in own.items() if value]
    baggage = ",".join(members)
    if baggage and len(baggage) <= _BAGGAGE_BYTES_MAX:
        headers["baggage"] = baggage
    elif baggage:  # too long for all members
        headers["baggage"] = ",".join(member for member in members if _name(member) in _OWN_MEMBERS)
    if context.traceparent and "traceparent" not in headers:
        headers["traceparent"] = context.traceparent


def extract(headers: Mapping[str, Any]) -> CausalContext:
    """The context that headers carry. Header names match in any case; what cannot be parsed is left out.

    If the baggage has neither a flow nor a cause, the trace id of `traceparent` is the flow.
    """
    lower = {str(name).lower(): value for name, value in headers.items() if isinstance(value, str)}
    pairs = (member.partition(";")[0].partition("=") for member in _members(lower.get("baggage", "")))
    baggage = {name.strip(): _indexed_text(unquote(value.strip(), errors="replace")) for name, _, value in pairs}
    traceparent = _TRACEPARENT.fullmatch(lower.get("traceparent", ""))
    trace_id = traceparent[1] if traceparent and not baggage.get(_CAUSE) else None
    actor_type, slash, actor_id = (baggage.get(_ACTOR) or "").partition("/")
    return CausalContext(
        cause=baggage.get(_CAUSE),
        correlation_id=baggage.get(_FLOW) or trace_id,
        actor=(actor_type, canonical(actor_id)) if actor_type and slash and actor_id else None,
        traceparent=traceparent[0] if traceparent else None,
    )


def _members(baggage: str) -> list[str]:
    return [member.strip() for member in baggage[:_BAGGAGE_BYTES_MAX].split(",") if member.strip()]


def _name(member: str) -> str:
    return member.partition("=")[0].strip()


def _indexed_text(value: str) -> str | None:
    """The value in canonical form, or None if the server would refuse it as a field of an event."""
    return canonical(value) if 0 < len(value) <= TEXT_MAX and value.isprintable() else None
