"""A web request as the cause of what its handler emits, for the middleware of `asgi` and `wsgi`."""

import datetime as dt
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from whence.client.base_client import BaseClient
from whence.client.context import CausalContext, current_context, extract
from whence.client.errors import NotRecorded
from whence.client.reentrancy import is_raised_by_signal_handler
from whence.client.tracing import queue_or_report
from whence.events import ACTOR_TYPES, TEXT_MAX
from whence.wire.ids import new_uuid7

__all__ = ["RequestCause", "outer_context"]

_EVENT = "inbound_message.received"
_ANONYMOUS = ("anonymous", "http")
_PATH_CHARACTERS_MAX = 2_000


def outer_context(trusted_headers: Mapping[str, Any] | None) -> CausalContext:
    """The context around a request: what its trusted headers carry, and for the rest that of the calling code."""
    outer = current_context()
    if trusted_headers is None:
        return outer
    carried = extract(trusted_headers)
    changes: dict[str, Any] = {
        "actor": carried.actor or outer.actor,
        "traceparent": carried.traceparent or outer.traceparent,
    }
    if carried.cause is not None or carried.correlation_id is not None:
        changes |= {"cause": carried.cause, "correlation_id": carried.correlation_id, "pending": None}
    return msgspec.structs.replace(outer, **changes)


class RequestCause:
    """A request as a pending cause: its event is emitted when the first event inherits it.

    `get_actor` returns the type and id of who sent the request. If it fails, or if no event can be made with what it
    returns, this is reported, and the events of the handler have the cause that the request would have had.
    """

    def __init__(
        self,
        log: BaseClient,
        payload: Mapping[str, str],
        get_actor: Callable[[], Any] | None,
        outer: CausalContext,
        actor_types: Collection[str] = (),
    ) -> None:
        self._log = log
        self._payload = {**payload, "path": payload["path"][:_PATH_CHARACTERS_MAX]}
        self._get_actor = get_actor
        self._actor_types = actor_types
        self._outer = outer
        self._received_at = dt.datetime.now(dt.UTC)
        self._id = new_uuid7()
        self._correlation_id = outer.correlation_id or self._id
        self._lock = threading.RLock()  # the actor's function may emit an event itself
        self._decided = False
        self._exists = False

    def context(self) -> CausalContext:
        """The context in which the handler runs."""
        return msgspec.structs.replace(self._outer, cause=self._id, correlation_id=self._correlation_id, pending=self)

    def emitted_context(self, context: CausalContext) -> CausalContext:
        """As `PendingCause` says."""
        cause = self._id if self.emit_once() else self._outer.with_cause_emitted().cause
        return msgspec.structs.replace(context, cause=cause, pending=None)

    def emit_once(self) -> bool:
        """Emit the event of the request, unless that was done already. Returns whether there is one."""
        with self._lock:
            if self._decided:
                return self._exists
            self._decided = True
            actor = self._actor()
            self._exists = not isinstance(actor, NotRecorded)
        if isinstance(actor, NotRecorded):
            self._log.report(actor)
        else:
            self._exists = self._emit(actor)
        return self._exists

    def _emit(self, actor: tuple[str, str]) -> bool:
        emitted = queue_or_report(
            self._log,
            _EVENT,
            id=self._id,
            actor=actor,
            resource=("inbound_message", self._id),
            occurred_at=self._received_at,
            cause=self._outer.with_cause_emitted().cause,
            correlation_id=self._correlation_id,
            payload=self._payload,
        )
        return emitted is not None

    def _actor(self) -> tuple[str, str] | NotRecorded:
        """Who sent the request, or why that is not known."""
        if self._get_actor is None:
            return self._outer.actor or _ANONYMOUS
        try:
            actor = self._get_actor()
        except Exception as error:
            if is_raised_by_signal_handler(error):
                raise
            return _no_actor(f"raised {type(error).__name__}.")
        if not isinstance(actor, tuple | list) or len(actor) != 2 or not all(isinstance(part, str) for part in actor):
            return _no_actor(
                "must return two texts, a type and an id. For a request of nobody it may return ('anonymous', 'http')."
            )
        if actor[0] not in ACTOR_TYPES and actor[0] not in self._actor_types:
            return _no_actor(
                "returned an actor type that is not built in. If your server has it by WHENCE_ACTOR_TYPES, name it in "
                "`actor_types` of the middleware too."
            )
        if not 0 < len(actor[1]) <= TEXT_MAX or not actor[1].isprintable():
            return _no_actor(f"must return an id of 1..{TEXT_MAX} printable characters.")
        return actor[0], actor[1]


def _no_actor(reason: str) -> NotRecorded:
    return NotRecorded(
        "The event of a request could not be made, so its effects do not name it: the function `actor` of the "
        f"middleware {reason}"
    )
