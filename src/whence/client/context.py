"""The causal context: the cause, flow and actor that events inherit from the code that emits them.

Calls and asyncio tasks inherit the context by themselves. `wrap` passes it to threads and processes, `inject` and
`extract` pass it to other services and task queues. It belongs to the running code and not to a client: all clients of
a process share it.
"""

import functools
import inspect
import itertools
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar, cast
from urllib.parse import quote, unquote

import msgspec

from whence.client.reentrancy import is_raised_by_signal_handler
from whence.events import TEXT_MAX, is_word
from whence.identities import canonical

__all__ = [
    "Call",
    "CausalContext",
    "ContextScope",
    "ContextThreadPoolExecutor",
    "PendingCause",
    "StartedRun",
    "add_run_source",
    "around",
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

    def emitted_context(self, context: "CausalContext") -> "CausalContext":
        """Emit the event, unless that was done already. Returns `context` without a pending cause.

        If the event cannot be emitted, the cause and flow are those that the event would have had itself.
        """
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
        context: CausalContext = self.pending.emitted_context(self)
        return context


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A context that was entered by `owner`, on top of the one that was there before (`outer`).

    `change` made the context. `order` counts the contexts and runs of this process in the order in which they were
    entered.
    """

    context: CausalContext
    change: Callable[[CausalContext], CausalContext] = lambda context: context
    order: int = 0
    owner: object = None
    outer: "_Entry | None" = None

    def up_to(self, owner: object) -> "tuple[list[_Entry], _Entry | None]":
        """The entries above that of this owner, the first entered first, and the one below it.

        If it has no entry here, the second is None.
        """
        above, entry = list[_Entry](), self
        while entry.owner is not owner:
            if entry.outer is None:
                return [], None
            above.append(entry)
            entry = entry.outer
        return above[::-1], entry.outer


_NOTHING_ENTERED = _Entry(context=CausalContext())
_current: ContextVar[_Entry] = ContextVar("whence", default=_NOTHING_ENTERED)
_orders = itertools.count(1)


class StartedRun(msgspec.Struct, frozen=True):
    """The start of a run of another library, as the cause of what is emitted inside the run.

    `order` tells which of a run and a `ContextScope` was entered later: the later one applies.
    """

    id: str
    correlation_id: str | None
    order: int = msgspec.field(default_factory=lambda: next(_orders))


_run_sources: list[Callable[[], StartedRun | None]] = []


def add_run_source(source: Callable[[], StartedRun | None]) -> None:
    """Ask `source` for the run of another library in which the running code is, whenever the context is needed.

    It serves libraries that know the current run, but call their callbacks where a context variable cannot be set for
    the code of the run.
    """
    if source not in _run_sources:
        _run_sources.append(source)


def current_context() -> CausalContext:
    """The context of the running code."""
    entry = _current.get()
    context, order = entry.context, entry.order
    for source in _run_sources:
        try:
            run = source()
        except Exception as error:  # of the other library: no reason for the program to fail
            if is_raised_by_signal_handler(error):
                raise
            continue
        if run is not None and run.order > order:
            context, order = _caused_by(context, run), run.order
    return context


def _caused_by(context: CausalContext, run: StartedRun) -> CausalContext:
    return msgspec.structs.replace(context, cause=run.id, correlation_id=run.correlation_id, pending=None)


class ContextScope:
    """A change of the context for a `with` block, or as a decorator for each call of a function.

    Several threads and tasks may be in the same scope at once: what a block has to restore is kept in the context and
    not in the scope. A block that is left in another context than it was entered in changes nothing there, since its
    change is not there. This happens to a generator that one thread starts and another one closes.
    """

    def __init__(self, change: Callable[[CausalContext], CausalContext]) -> None:
        self._change = change

    def __enter__(self) -> Self:
        context = self._change(current_context())
        _current.set(
            _Entry(context=context, change=self._change, order=next(_orders), owner=self, outer=_current.get())
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        later, outer = _current.get().up_to(self)
        if outer is None:
            return
        for entry in later:  # blocks that were entered after this one, and are not left yet
            outer = msgspec.structs.replace(
                entry, context=entry.change(outer.context), order=next(_orders), outer=outer
            )
        _current.set(outer)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function with each call inside this scope. Raises TypeError for what cannot be called."""
        return around(function, lambda: _ScopedCall(self._change))


# ----------------------------------------------------------------------------------------------- calls with a context


class Call(Protocol):
    """One call of a function that `around` returned."""

    def begin(self) -> CausalContext:
        """The call begins; returns the context for it. For a generator this is before its first step."""
        ...

    def end(self, error: BaseException | None) -> None:
        """The call returned, or raised this error. A generator that is closed early raises GeneratorExit."""
        ...


class _ScopedCall:
    """A call whose context is a change of the current one."""

    def __init__(self, change: Callable[[CausalContext], CausalContext]) -> None:
        self._change = change

    def begin(self) -> CausalContext:
        return self._change(current_context())

    def end(self, error: BaseException | None) -> None:
        pass


class _RunningCall:
    """The context of a call, and its end.

    A `with` block is a piece of the call that runs without a pause. Between its pieces, a generator leaves its caller's
    context as it was, and finds again what it had entered itself.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._context = call.begin()
        self._entered: list[_Entry] = []

    def __enter__(self) -> None:
        context = self._context
        entry = _Entry(
            context=context, change=lambda _outer: context, order=next(_orders), owner=self, outer=_current.get()
        )
        for entered in self._entered:
            entry = msgspec.structs.replace(entered, order=next(_orders), outer=entry)
        _current.set(entry)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered, outer = _current.get().up_to(self)
        if outer is not None:
            _current.set(outer)
        if error is not None:
            self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        self._call.end(error)


def around(function: Callable[P, R], new_call: Callable[[], Call]) -> Callable[P, R]:
    """The function with a `Call` for each of its calls, which lasts until all of the function's code has run.

    So the call of a coroutine function lasts until it is awaited to its end, and that of a generator until the
    generator is exhausted or closed. Raises TypeError for a class, and for what cannot be called.
    """
    given: Any = function
    if isinstance(given, staticmethod | classmethod):
        wrapped: Any = type(given)(around(given.__func__, new_call))
        return cast("Callable[P, R]", wrapped)
    if inspect.isclass(given):
        raise TypeError("A class cannot be decorated, since what its objects do is not one call. Decorate its methods.")
    _check_callable(given)
    run = _wrapper_of_its_kind(given, new_call)
    return functools.update_wrapper(run, given, updated=("__dict__",) if inspect.isroutine(given) else ())


def _check_callable(function: Any) -> None:
    if not callable(function):
        raise TypeError("This cannot be called. Pass the function itself, and not what a call of it returned.")


def _is(check: Callable[[Any], bool], function: Any) -> bool:
    """Whether this holds for a function, or for the method that calls an object."""
    return check(function) or check(type(function).__call__)


def _wrapper_of_its_kind(function: Callable[..., Any], new_call: Callable[[], Call]) -> Callable[..., Any]:
    """A wrapper that is a coroutine or generator function if the function is one: frameworks look at that."""
    if _is(inspect.iscoroutinefunction, function):

        async def run_coroutine(*args: Any, **kwargs: Any) -> Any:
            call = _RunningCall(new_call())
            with call:
                result = await function(*args, **kwargs)
            call.end()
            return result

        return run_coroutine
    if _is(inspect.isgeneratorfunction, function):

        def run_generator(*args: Any, **kwargs: Any) -> Any:
            return (yield from _steps(function(*args, **kwargs), _RunningCall(new_call())))

        return run_generator
    if _is(inspect.isasyncgenfunction, function):
        return _async_steps(lambda *args, **kwargs: (function(*args, **kwargs), _RunningCall(new_call())))

    def run(*args: Any, **kwargs: Any) -> Any:
        call = _RunningCall(new_call())
        with call:
            result = function(*args, **kwargs)
        return _rest_of(result, call)

    return run


def _rest_of(result: Any, call: "_RunningCall") -> Any:
    """What a function returned. If that is a coroutine or generator, the function's code is still to run in it."""
    if inspect.iscoroutine(result):
        return _to_its_end(result, call)
    if inspect.isgenerator(result):
        return _steps(result, call)
    if inspect.isasyncgen(result):
        return _async_steps(lambda: (result, call))()
    call.end()
    return result


async def _to_its_end(coroutine: Coroutine[Any, Any, Any], call: "_RunningCall") -> Any:
    with call:
        result = await coroutine
    call.end()
    return result


def _steps(generator: Generator[Any, Any, Any], call: "_RunningCall") -> Generator[Any, Any, Any]:
    """The generator with each of its steps inside the call, as `yield from` would run them."""
    step: Callable[[Any], Any] = generator.send
    value: Any = None
    result: Any = None
    while True:
        with call:
            try:
                item = step(value)
            except StopIteration as stop:
                result = stop.value
                break
        try:
            value, step = (yield item), generator.send
        except GeneratorExit as closed:
            with call:
                generator.close()
            call.end(closed)
            raise
        except BaseException as error:  # thrown in by the caller, for the generator to handle
            value, step = error, generator.throw
    call.end()
    return result


def _async_steps(start: Callable[..., tuple[AsyncGenerator[Any, Any], "_RunningCall"]]) -> Callable[..., Any]:
    """An async generator function that runs each step of an async generator inside its call."""

    async def run_async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator, call = start(*args, **kwargs)
        step: Callable[[Any], Any] = generator.asend
        value: Any = None
        while True:
            with call:
                try:
                    item = await step(value)
                except StopAsyncIteration:
                    break
            try:
                value, step = (yield item), generator.asend
            except GeneratorExit as closed:
                with call:
                    await generator.aclose()
                call.end(closed)
                raise
            except BaseException as error:  # thrown in by the caller, for the generator to handle
                value, step = error, generator.athrow
        call.end()

    return run_async_generator


class _Wrapped:
    """A function that runs in a fixed context. A class and not a closure, so that it can be pickled."""

    def __init__(self, function: Callable[..., Any], context: CausalContext) -> None:
        self._function = function
        self._context = context
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = _RunningCall(_ScopedCall(lambda _outer: self._context))
        with call:
            result = self._function(*args, **kwargs)
        return _rest_of(result, call)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Wrapped, (self._function, self._context)


def wrap(function: Callable[P, R]) -> Callable[P, R]:
    """The function bound to the current context, to be run in any thread, process or task.

    Coroutine functions and generator functions stay what they are, and all of their code runs in the context. Raises
    TypeError for what cannot be called.
    """
    _check_callable(function)
    context = current_context().with_cause_emitted()
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(_is(kind, function) for kind in kinds):
        return around(function, lambda: _ScopedCall(lambda _outer: context))
    return _Wrapped(function, context)


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
        actor=(actor_type, canonical(actor_id)) if is_word(actor_type) and slash and actor_id else None,
        traceparent=traceparent[0] if traceparent else None,
    )


def _members(baggage: str) -> list[str]:
    return [member.strip() for member in baggage[:_BAGGAGE_BYTES_MAX].split(",") if member.strip()]


def _name(member: str) -> str:
    return member.partition("=")[0].strip()


def _indexed_text(value: str) -> str | None:
    """The value in canonical form, or None if the server would refuse it as a field of an event."""
    return canonical(value) if 0 < len(value) <= TEXT_MAX and value.isprintable() else None
