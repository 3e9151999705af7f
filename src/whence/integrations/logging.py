"""The standard library's logging, and structlog: log lines that name their cause, and log lines that become events."""

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from whence.client.base_client import BaseClient
from whence.client.context import current_context

__all__ = ["WhenceContextFilter", "WhenceHandler", "add_whence_context"]


def add_whence_context(_logger: Any, _method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that adds `whence_cause` and `whence_correlation` where the context has them."""
    event_dict.update({name: value for name, value in _context_fields().items() if value is not None})
    return event_dict


class WhenceContextFilter(logging.Filter):
    """Sets `whence_cause` and `whence_correlation` on every record; None where the context has none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set both attributes. No record is dropped."""
        for name, value in _context_fields().items():
            setattr(record, name, value)
        return True


class WhenceHandler(logging.Handler):
    """Emits an event for each record that describes one in `extra`, with the keywords of `emit`.

        logger.error("card declined", extra={"whence": {"event": "action_run.failed", "resource": …}})

    The message is added to the payload as `message`, unless the payload has that member. Other records are ignored.
    """

    def __init__(self, log: BaseClient, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the event of a record. Errors are handled as logging handles them, by default printed on stderr."""
        description = getattr(record, "whence", None)
        if not isinstance(description, Mapping) or record.name == "whence":  # the client's own lines would loop
            return
        try:
            fields = dict(description)
            event = fields.pop("event")
            fields["payload"] = {"message": record.getMessage(), **(fields.get("payload") or {})}
            self._log.queue(event, **fields)
        except Exception:  # a bad log line must not fail the code that logs
            self.handleError(record)


def _context_fields() -> dict[str, str | None]:
    context = current_context()
    return {"whence_cause": context.cause, "whence_correlation": context.correlation_id}
