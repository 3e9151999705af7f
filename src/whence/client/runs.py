"""A handle on something that has started, and that knows how to record its end."""

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self, Unpack

from whence.client.action_runs import error_members
from whence.client.context import ContextScope, StartedRun
from whence.client.event_builder import Cause, EmittedEvent, EventFields
from whence.client.reentrancy import is_raised_by_signal_handler
from whence.client.tracing import failure_below, not_recorded, note_failure
from whence.errors import WhenceError

__all__ = ["Run", "RunLog"]

_TEXT_CHARACTERS_MAX = 1_000


class RunLog(Protocol):
    """What a run needs of a client."""

    def queue(self, event: Mapping[str, Any] | str, **fields: Unpack[EventFields]) -> EmittedEvent:
        """Queue an event."""
        ...

    def report(self, error: WhenceError) -> None:
        """Log the error and pass it to `on_error`."""
        ...

    def cause(self, event: Cause) -> ContextScope:
        """Make an event the cause of those that are emitted inside."""
        ...


class Run:
    """Something that has started: `event` recorded that, and `completed`, `failed` or `cancelled` records its end.

    The end has the actor and the resource of the start, and the start as its cause. If the exception of a failure was
    recorded as the failure of something inside, that failure is the cause instead.

    In a `with` block the start is the cause of what is emitted inside, and the end is recorded when the block ends:
    `failed` with the exception, `cancelled` for one that is no `Exception`, such as asyncio's CancelledError, and else
    `completed`. Only one end is recorded; inside the block it may be recorded by hand. What goes wrong at the end of
    the block is not raised but reported to `on_error`, so that it hides no exception of the block.
    """

    def __init__(self, log: RunLog, noun: str, event: EmittedEvent, fields: EventFields) -> None:
        self.event = event
        self._start = StartedRun(event.id, event.correlation_id)
        self._log = log
        self._noun = noun
        self._fields = fields
        self._ended = False
        self._scopes = contextlib.ExitStack()

    def completed(self, **fields: Unpack[EventFields]) -> EmittedEvent:
        """Record success, with the keywords of `emit`. Raises as `emit`, and WhenceError after the end."""
        return self._end("completed", fields)

    def failed(self, error: BaseException | str | None = None, **fields: Unpack[EventFields]) -> EmittedEvent:
        """Record failure. The payload gets the type and the message of an exception, or the text.

        Raises as `completed`.
        """
        if error is None:
            return self._end("failed", fields)
        payload = fields.get("payload") or {}
        if not isinstance(payload, Mapping):
            raise TypeError("With an error, the payload of failed() must be a mapping.")
        if isinstance(error, str):
            fields["payload"] = {"error": error[:_TEXT_CHARACTERS_MAX], **payload}
            return self._end("failed", fields)
        fields["payload"] = {**error_members(error), **payload}
        below = failure_below(error, self._start)
        if below is not None and "cause" not in fields:
            fields["cause"] = below
        failure = self._end("failed", fields)
        note_failure(error, failure)
        return failure

    def cancelled(self, **fields: Unpack[EventFields]) -> EmittedEvent:
        """Record that it was stopped before its end, which is neither success nor failure. Raises as `completed`."""
        return self._end("cancelled", fields)

    def _end(self, verb: str, fields: EventFields) -> EmittedEvent:
        if self._ended:
            raise WhenceError("The end of this run is recorded already.")
        both: EventFields = {**self._fields, "cause": self.event, **fields}
        ended = self._log.queue(f"{self._noun}.{verb}", **both)
        self._ended = True
        return ended

    def __enter__(self) -> Self:
        self._scopes.enter_context(self._log.cause(self.event))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._scopes:
            if self._ended:
                return
            try:
                if error is None:
                    self.completed()
                elif isinstance(error, Exception):
                    self.failed(error)
                else:
                    self.cancelled()
            except Exception as refused:  # also that of an enricher
                if is_raised_by_signal_handler(refused):
                    raise
                self._log.report(not_recorded(f"at the end of {self._noun}", refused))
