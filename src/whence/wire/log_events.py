"""Events of a log about itself, whose types begin with `whence.`."""

from collections.abc import Mapping
from typing import Any

import msgspec

from whence.events import EVENT_LOG, NewEvent
from whence.wire.ids import derived_uuid

__all__ = ["EVENT_LOG_ACTOR", "log_event"]

EVENT_LOG_ACTOR = ("system", "whence")
"""The type and the id of the actor of what Whence does by itself."""


def log_event(
    tenant: str,
    event_type: str,
    payload: Mapping[str, Any],
    *,
    event_id: str,
    at: int,
    actor: tuple[str, str] = EVENT_LOG_ACTOR,
    causation_id: str | None = None,
    outcome: str | None = None,
) -> NewEvent:
    """An event about the log of a tenant. `at` is in microseconds since the epoch, `actor` a type and an id."""
    actor_type, actor_id = actor
    return NewEvent(
        id=event_id,
        event_type=event_type,
        actor_type=actor_type,
        actor_id=actor_id,
        resource_type=EVENT_LOG,
        resource_id=derived_uuid(tenant, EVENT_LOG),
        occurred_at=at,
        causation_id=causation_id,
        outcome=outcome,
        payload=msgspec.json.encode(payload),
    )
