"""What events inherit from where they are emitted: their cause, their flow, their actor. It goes along through calls,
asyncio tasks, and, by `wrap` and `inject`, to threads, other processes and task queues.

The context is of the running code and not of a client: all clients of a process see the same one.
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

__all__ = ["Context", "Pending", "Scope", "ThreadPool", "current", "extracted", "inject", "wrap"]

P = ParamSpec("P")
R = TypeVar("R")

_CAUSE, _FLOW, _ACTOR = "whence-cause", "whence-correlation", "whence-actor"
_OURS = frozenset({_CAUSE, _FLOW, _ACTOR})
_BAGGAGE_MAX = 8192  # of the W3C: what is longer, others may drop
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class Pending(Protocol):
    """A cause whose event is emitted only when something is caused by it."""

    def settle(self) -> None:
        """Emit it, unless that was done."""
        ...


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What an event inherits. `traceparent` is passed on as it came. `pending` is the cause itself, not emitted yet."""

    cause: str | None = None
    correlation_id: str | None = None
    actor: tuple[str, str] | None = None
    traceparent: str | None = None
    pending: Any = None

    def settled(self) -> "Context":
        """The context that may leave this process: its cause is on its way."""
        if self.pending is None:
            return self
        self.pending.settle()
        return msgspec.structs.replace(self, pending=None)


_EMPTY = Context()
_current: ContextVar[Context] = ContextVar("whence", default=_EMPTY)


def current() -> Context:
    """The context here and now."""
    return _current.get()


class Scope:
    """A change of the context: for a `with` block, or as a decorator for each call of a function, async ones too."""

    def __init__(self, change: Callable[[Context], Context]) -> None:
        self._change = change
        self._tokens: list[Token[Context]] = []

    def __enter__(self) -> Self:
        self._tokens.append(_current.set(self._change(_current.get())))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, each of whose calls runs inside the change. Raises TypeError for a generator."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("A generator runs in the context of whoever asks for its next item; use `with` inside it.")
        change = self._change  # each call has a scope of its own: many threads may be inside at once
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with Scope(change):
                    return await function(*args, **kwargs)

            return run_async  # type: ignore[return-value]  # it awaits what R is the coroutine of

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with Scope(change):
                return function(*args, **kwargs)

        return run


class _Wrapped:
    """A function with a context. It can be pickled if the function can."""

    def __init__(self, function: Callable[..., Any], context: Context) -> None:
        self._function = function
        self._context = context
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with Scope(lambda _outer: self._context):
            return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Wrapped, (self._function, self._context)


def wrap(function: Callable[P, R]) -> Callable[P, R]:
    """The function, to be run with the context of here and now, in whatever thread or process."""
    return _Wrapped(function, current().settled())


class ThreadPool(ThreadPoolExecutor):
    """A pool whose tasks run in the context of whoever submitted them; the standard one forgets it."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """As in the standard pool."""
        return super().submit(wrap(fn), *args, **kwargs)


def inject(headers: MutableMapping[str, str]) -> None:
    """Write the context into the headers of a request or a message: `baggage`, and `traceparent` where there is none.
    What others put into the baggage stays.
    """
    context = current().settled()
    ours = {_CAUSE: context.cause, _FLOW: context.correlation_id, _ACTOR: "/".join(context.actor or ())}
    members = [member for member in _members(headers.get("baggage", "")) if _name(member) not in _OURS]
    members += [f"{name}={quote(value, safe='')}" for name, value in ours.items() if value]
    baggage = ",".join(members)
    if baggage and len(baggage) <= _BAGGAGE_MAX:
        headers["baggage"] = baggage
    elif baggage:  # others' members must not be lost, and ours are what is needed here
        headers["baggage"] = ",".join(member for member in members if _name(member) in _OURS)
    if context.traceparent and "traceparent" not in headers:
        headers["traceparent"] = context.traceparent


def extracted(headers: Mapping[str, Any]) -> Context:
    """The context that headers carry; what cannot be read is left out. Names of headers count in any case.

    Without a flow of ours the trace id of a `traceparent` is the flow.
    """
    lower = {str(name).lower(): value for name, value in headers.items() if isinstance(value, str)}
    pairs = (member.partition(";")[0].partition("=") for member in _members(lower.get("baggage", "")))
    found = {name.strip(): _text(unquote(value.strip(), errors="replace")) for name, _, value in pairs}
    trace = _TRACEPARENT.fullmatch(lower.get("traceparent", ""))
    actor_type, slash, actor_id = (found.get(_ACTOR) or "").partition("/")
    return Context(
        cause=found.get(_CAUSE),
        correlation_id=found.get(_FLOW) or (trace[1] if trace and not found.get(_CAUSE) else None),
        actor=(actor_type, actor_id) if actor_type and slash and actor_id else None,
        traceparent=trace[0] if trace else None,
    )


def _members(baggage: str) -> list[str]:
    return [member.strip() for member in baggage[:_BAGGAGE_MAX].split(",") if member.strip()]


def _name(member: str) -> str:
    return member.partition("=")[0].strip()


def _text(value: str) -> str | None:
    """The value if it could be an indexed text of an event."""
    return value if 0 < len(value) <= TEXT_MAX and value.isprintable() else None
