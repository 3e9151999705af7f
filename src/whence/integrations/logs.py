"""Logging, of the standard library and of structlog: lines that name their cause, and lines that are events."""

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from whence.client.context import current
from whence.client.log import Log

__all__ = ["ContextFilter", "EventHandler", "add_context"]


def add_context(_logger: Any, _method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor for structlog: `whence_cause` and `whence_correlation` in each line, where there are any."""
    event_dict.update({name: value for name, value in _here().items() if value is not None})
    return event_dict


class ContextFilter(logging.Filter):
    """The same for the standard library: for a formatter, each record has both, None where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        for name, value in _here().items():
            setattr(record, name, value)
        return True


class EventHandler(logging.Handler):
    """Emits an event for each record that holds one: `extra={"whence": {"event": "action_run.failed", "resource": …}}`,
    with the keywords of `emit`. The record's message goes into the payload, unless it has a `message` of its own.
    """

    def __init__(self, log: Log, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the event of a record; what goes wrong is told as logging tells it, on stderr."""
        said = getattr(record, "whence", None)
        if not isinstance(said, Mapping) or record.name == "whence":  # the client's own talk must not feed itself
            return
        try:
            fields = dict(said)
            event = fields.pop("event")
            fields["payload"] = {"message": record.getMessage(), **(fields.get("payload") or {})}
            self._log.queue(event, **fields)
        except Exception:  # what a log line holds must not break whoever wrote it
            self.handleError(record)


def _here() -> dict[str, str | None]:
    context = current()
    return {"whence_cause": context.cause, "whence_correlation": context.correlation_id}
