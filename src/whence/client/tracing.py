"""Records calls and runs as events: how one begins, how it ends, and which failure led to which."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

import msgspec

from whence.client.context import CausalContext, StartedRun, around, current_context
from whence.client.errors import NotRecorded
from whence.client.event_builder import EmittedEvent
from whence.client.reentrancy import is_raised_by_signal_handler
from whence.errors import Invalid, WhenceError
from whence.wire.ids import new_uuid7

__all__ = ["EventLog", "TracedEvents", "failure_below", "not_recorded", "note_failure", "queue_or_report", "traced"]

P = ParamSpec("P")
R = TypeVar("R")

_FAILURE = "__whence_failure__"
_ERRORS_MAX = 100
"""Errors that are looked at to find the failure below another one."""


class EventLog(Protocol):
    """What is needed of a client here."""

    @property
    def queue(self) -> Callable[..., EmittedEvent]:
        """Queues an event, with the arguments of `Whence.emit`."""
        ...

    def report(self, error: WhenceError) -> None:
        """Log the error and pass it to `on_error`."""
        ...


# ----------------------------------------------------------------------------------------------------------- failures


def note_failure(error: BaseException, failure: EmittedEvent) -> None:
    """Remember at the error that this event recorded it."""
    try:
        setattr(error, _FAILURE, StartedRun(failure.id, failure.correlation_id))
    except Exception as refused:  # an error of a class with slots can remember nothing
        if is_raised_by_signal_handler(refused):
            raise


def failure_below(error: BaseException, run: StartedRun) -> StartedRun | None:
    """The failure that was recorded inside of `run` for this error, or for an error from which it was raised.

    An error object may be raised again in another flow, so what it remembers counts only if it is of the flow of `run`,
    and happened after the start of `run`.
    """
    for each in _raised_from(error):
        failure = getattr(each, _FAILURE, None)
        if (
            isinstance(failure, StartedRun)
            and failure.order > run.order
            and failure.correlation_id == run.correlation_id
        ):
            return failure
    return None


def _raised_from(error: BaseException) -> Iterator[BaseException]:
    """The error, and those from which it was raised or which it groups, the nearest first."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _ERRORS_MAX:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        members = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        waiting += [next_ for next_ in (each.__cause__, each.__context__, *members) if next_ is not None]


def queue_or_report(log: EventLog, event: str, **fields: Any) -> EmittedEvent | None:
    """Queue an event for code that must not fail because of the log. Returns None, and reports why, if that fails.

    It returns None too for an event that the client's settings drop: nothing may name it as its cause. What a signal
    handler raised meanwhile is raised again.
    """
    try:
        emitted = log.queue(event, **fields)
    except Exception as error:
        if is_raised_by_signal_handler(error):
            raise
        log.report(not_recorded(event, error))
        return None
    return None if emitted.dropped else emitted


def not_recorded(event: str, error: Exception) -> NotRecorded:
    """The error to report for an event that could not be queued. It repeats no text of foreign errors."""
    reason = str(error) if isinstance(error, WhenceError) else f"{type(error).__name__} was raised."
    return NotRecorded(f"The event {event} could not be recorded: {reason}")


# ------------------------------------------------------------------------------------------------------- traced calls


class TracedEvents(msgspec.Struct, frozen=True, kw_only=True):
    """The events of a traced call: their types, and the fields that they share."""

    started: str
    completed: str | None
    failed: str | None
    cancelled: str | None
    fields: Mapping[str, Any]


def traced(log: EventLog, events: TracedEvents) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that records each call of a function."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return around(function, lambda: _TracedCall(log, events))

    return decorate


class _TracedCall:
    """One call of a traced function, as a `Call`."""

    def __init__(self, log: EventLog, events: TracedEvents) -> None:
        self._log = log
        self._events = events
        self._fields = {"resource": (events.started.partition(".")[0], new_uuid7()), **events.fields}
        self._run: StartedRun | None = None
        self._context = CausalContext()

    def begin(self) -> CausalContext:
        """Emit the start. Raises Invalid for fields that no event may have."""
        context = current_context()
        try:
            started = self._log.queue(self._events.started, **self._fields)
        except Invalid:
            raise
        except Exception as error:  # also that of an enricher; the function runs all the same
            if is_raised_by_signal_handler(error):
                raise
            self._log.report(not_recorded(self._events.started, error))
            return context
        if started.dropped:
            return context
        self._run = StartedRun(started.id, started.correlation_id)
        self._context = msgspec.structs.replace(
            context, cause=started.id, correlation_id=started.correlation_id, pending=None
        )
        return self._context

    def end(self, error: BaseException | None) -> None:
        """Emit the end that fits, if the start was emitted."""
        if self._run is None:
            return
        event, payload = self._end_of(error)
        if event is None:
            return
        fields = {**self._fields, "payload": payload}
        below = None if error is None else failure_below(error, self._run)
        fields["cause"] = below or self._run
        ended = queue_or_report(self._log, event, **fields)
        if ended is not None and error is not None and event == self._events.failed:
            note_failure(error, ended)

    def _end_of(self, error: BaseException | None) -> tuple[str | None, Mapping[str, Any] | None]:
        """The type and payload of the last event. The message of an error may be secret, and is left out."""
        events = self._events
        if error is None:
            return events.completed, None
        if isinstance(error, GeneratorExit):  # the reader needed no more
            return events.cancelled or events.completed, {"closed": True}
        is_cancelled = not isinstance(error, Exception) and events.cancelled is not None
        return events.cancelled if is_cancelled else events.failed, {"error": type(error).__name__}
