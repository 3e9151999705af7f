"""Runs of other libraries as action runs: a start, one of several ends, and causes that tell how one led to the other.

The start of a run is the cause of what happens inside it, and of its end. If it ends because something inside of it
failed or paused, that is the cause of its end instead.
"""

import traceback
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from whence.client.context import StartedRun
from whence.client.event_builder import EmittedEvent
from whence.client.reentrancy import is_raised_by_signal_handler
from whence.client.tracing import EventLog, failure_below, note_failure, queue_or_report
from whence.wire.ids import new_uuid7

__all__ = ["ActionRun", "ActionRuns", "Verb", "content_of", "error_members"]

_NAME_CHARACTERS_MAX = 255
_MESSAGE_CHARACTERS_MAX = 1_000
_TRACEBACK_CHARACTERS_MAX = 8_000
_CONTENT_CHARACTERS_MAX = 8_000

Verb = Literal["completed", "failed", "cancelled", "paused", "handed_off", "retried"]
"""How a run ended. Only `completed` and `failed` have an outcome."""


class ActionRun(msgspec.Struct, kw_only=True):
    """A run that was started.

    `cause` is what its effects are caused by: its start, or the cause of its start if that could not be recorded.
    """

    id: str
    kind: str
    name: str
    cause: StartedRun | None
    recorded: bool


class ActionRuns:
    """Emits `action_run.started` and the ends of runs, with the run as the resource.

    The payload holds the `kind` and `name` of the run, and for an error its type and, with `errors="message"`, at most
    1,000 characters of its message. What went in and came out is added only with `capture_content`, and a traceback
    only with `tracebacks`. Nothing that goes wrong here is raised; it is reported to the client's `on_error`.
    """

    def __init__(
        self,
        log: EventLog,
        actor: tuple[str, str],
        *,
        errors: Literal["message", "type"] = "message",
        capture_content: bool = False,
        tracebacks: bool = False,
    ) -> None:
        if errors not in ("message", "type"):
            raise ValueError('`errors` is either "message" or "type".')
        self._log = log
        self._actor = actor
        self._has_messages = errors == "message"
        self._tracebacks = tracebacks
        self.captures_content = capture_content

    def start(
        self,
        kind: str,
        name: str,
        *,
        run_id: str | None = None,
        cause: StartedRun | None = None,
        content: Any = None,
        payload: Mapping[str, Any] | None = None,
        occurred_at: Any = None,
    ) -> ActionRun:
        """Emit the start of a run. Without a cause it is inherited from the context."""
        run_id = run_id or new_uuid7()
        named = {"kind": kind, "name": _bounded(name, _NAME_CHARACTERS_MAX)}
        emitted = self._emit(
            "started",
            run_id,
            {**named, **(payload or {}), **self._content("input", content)},
            cause,
            occurred_at=occurred_at,
        )
        start = cause if emitted is None else StartedRun(emitted.id, emitted.correlation_id)
        return ActionRun(id=run_id, cause=start, recorded=emitted is not None, **named)

    def end(
        self,
        run: ActionRun,
        verb: Verb,
        *,
        error: BaseException | None = None,
        below: StartedRun | None = None,
        content: Any = None,
        payload: Mapping[str, Any] | None = None,
        event_id: str | None = None,
    ) -> StartedRun | None:
        """Emit the end of a run, if its start was recorded. `below` is what inside of the run led to this end."""
        if not run.recorded or run.cause is None:
            return None
        if error is not None and below is None:
            below = failure_below(error, run.cause)
        members = {"kind": run.kind, "name": run.name, **(payload or {}), **self._content("output", content)}
        if error is not None and verb in ("failed", "retried"):
            members |= self.describe(error)
        emitted = self._emit(verb, run.id, members, below or run.cause, id=event_id)
        if emitted is None:
            return None
        if error is not None:
            note_failure(error, emitted)
        return StartedRun(emitted.id, emitted.correlation_id)

    def note(self, run: ActionRun, verb: Verb, payload: Mapping[str, Any]) -> StartedRun | None:
        """Emit what happened to a run that goes on. The event may be the cause of what follows from it."""
        emitted = self._emit(verb, run.id, {"kind": run.kind, "name": run.name, **payload}, run.cause)
        return None if emitted is None else StartedRun(emitted.id, emitted.correlation_id)

    def fail_unstarted(self, kind: str, name: str, error: BaseException, *, run_id: str) -> None:
        """Emit the failure of a run whose start was recorded elsewhere, if at all. Its cause is not known here."""
        payload = {"kind": kind, "name": _bounded(name, _NAME_CHARACTERS_MAX), **self.describe(error)}
        self._emit("failed", run_id, payload, None)

    def describe(self, error: BaseException) -> dict[str, str]:
        """The payload members of an error."""
        members = error_members(error) if self._has_messages else {"error": type(error).__name__}
        if self._tracebacks:
            text = "".join(traceback.format_exception(error))
            members["traceback"] = _clean(text[-_TRACEBACK_CHARACTERS_MAX:])
        return members

    def message(self, text: str) -> dict[str, str]:
        """The payload member of an error of which only the message is known."""
        return {"message": _bounded(text, _MESSAGE_CHARACTERS_MAX)} if self._has_messages else {}

    def _content(self, name: str, content: Any) -> dict[str, str]:
        return {name: content_of(content)} if self.captures_content and content is not None else {}

    def _emit(
        self, verb: str, run_id: str, payload: Mapping[str, Any], cause: StartedRun | None, **fields: Any
    ) -> EmittedEvent | None:
        if cause is not None:
            fields["cause"] = cause
        return queue_or_report(
            self._log,
            f"action_run.{verb}",
            actor=self._actor,
            resource=("action_run", run_id),
            payload=payload,
            **fields,
        )


def error_members(error: BaseException) -> dict[str, str]:
    """What the payload of a failure says of an exception: its type, and its message if it has one."""
    message = _bounded(_text_of(error), _MESSAGE_CHARACTERS_MAX)
    return {"error": type(error).__name__, **({"message": message} if message else {})}


def content_of(value: Any) -> str:
    """What went into a run or came out of it, as text: JSON where that is possible, at most 8,000 characters."""
    if isinstance(value, str):
        return _bounded(value, _CONTENT_CHARACTERS_MAX)
    try:
        text = msgspec.json.encode(value, enc_hook=_plain).decode()
    except Exception as error:
        if is_raised_by_signal_handler(error):
            raise
        text = _text_of(value)
    return _bounded(text, _CONTENT_CHARACTERS_MAX)


def _plain(value: Any) -> Any:
    """A value of a type that JSON does not know, in the form that its own library gives it."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else _text_of(value)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:
        if is_raised_by_signal_handler(error):
            raise
        return f"({type(value).__name__}, whose text raised {type(error).__name__})"


def _bounded(text: str, characters_max: int) -> str:
    clean = _clean(text[: characters_max + 1])
    return clean if len(clean) <= characters_max else clean[: characters_max - 1] + "…"


def _clean(text: str) -> str:
    """The text without lone surrogates, which no event may contain."""
    return text.encode("utf-8", "replace").decode()
