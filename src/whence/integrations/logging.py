"""The standard library's logging, and structlog: log lines that name their cause, and log lines that become events.

A handler that a `QueueHandler` feeds runs in another thread or process, which has lost the context of the code that
logged. Add a `WhenceContextFilter` to the logger or to the `QueueHandler`: it stores the context in the record, and
`WhenceHandler` reads it there.
"""

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from whence.client.base_client import BaseClient
from whence.client.context import CausalContext, ContextScope, current_context
from whence.client.reentrancy import is_raised_by_signal_handler

__all__ = ["WhenceContextFilter", "WhenceHandler", "add_whence_context"]


def add_whence_context(_logger: Any, _method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that adds `whence_cause` and `whence_correlation` where the context has them."""
    event_dict.update({name: value for name, value in _context_fields(current_context()).items() if value is not None})
    return event_dict


_ACTOR = "whence_actor"


class WhenceContextFilter(logging.Filter):
    """Sets `whence_cause` and `whence_correlation` on every record, and `whence_actor` as a pair of type and id.

    Each is None where the context has none. A record that has them already keeps them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the attributes. No record is dropped."""
        if hasattr(record, _ACTOR):
            return True
        context = current_context()
        if isinstance(getattr(record, "whence", None), Mapping):  # it becomes an event, perhaps in another process
            context = context.with_cause_emitted()
        for name, value in _context_fields(context).items():
            setattr(record, name, value)
        setattr(record, _ACTOR, context.actor)
        return True


class WhenceHandler(logging.Handler):
    """Emits an event for each record that describes one in `extra`, with the keywords of `emit`.

        logger.error("card declined", extra={"whence": {"event": "action_run.failed", "resource": …}})

    The message is added to the payload as `message`, unless the payload has that member. Other records are ignored.
    The event has the context that a `WhenceContextFilter` stored in the record, else that of the code that runs here.
    """

    def __init__(self, log: BaseClient, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._log = log

    def handle(self, record: logging.LogRecord) -> bool:
        """As that of `logging.Handler`, but without its lock: one thread may wait for the disk, and no other for it."""
        kept = self.filter(record)
        if isinstance(kept, logging.LogRecord):  # since Python 3.12 a filter may replace the record
            record = kept
        if kept:
            self.emit(record)
        return kept

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the event of a record. Errors are handled as logging handles them, by default printed on stderr."""
        description = getattr(record, "whence", None)
        if not isinstance(description, Mapping) or record.name == "whence":  # the client's own lines would loop
            return
        try:
            fields = dict(description)
            event = fields.pop("event")
            fields["payload"] = {"message": record.getMessage(), **(fields.get("payload") or {})}
            with ContextScope(lambda context: _stored_context(record, context)):
                self._log.queue(event, **fields)
        except Exception as error:  # a bad log line must not fail the code that logs
            if is_raised_by_signal_handler(error):
                raise
            self.handleError(record)


def _context_fields(context: CausalContext) -> dict[str, str | None]:
    return {"whence_cause": context.cause, "whence_correlation": context.correlation_id}


def _stored_context(record: logging.LogRecord, context: CausalContext) -> CausalContext:
    """The context that the filter stored in a record, or the one given."""
    if not hasattr(record, _ACTOR):
        return context
    actor = getattr(record, _ACTOR)
    return CausalContext(
        cause=getattr(record, "whence_cause", None),
        correlation_id=getattr(record, "whence_correlation", None),
        actor=None if actor is None else (str(actor[0]), str(actor[1])),
    )
