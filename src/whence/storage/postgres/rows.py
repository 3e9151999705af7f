"""Between rows and nouns: events and UUIDs as PostgreSQL keeps them."""

from collections.abc import Sequence
from typing import Any

from whence.events import Event
from whence.wire.ids import parse_uuid

__all__ = ["cause_id_from", "event_from"]


def cause_id_from(causation_id: str | None) -> str | None:
    """The cause of an event when its causationId is a UUID in canonical text, which alone links."""
    try:
        return causation_id if causation_id is not None and parse_uuid(causation_id) == causation_id else None
    except ValueError:
        return None


def event_from(tenant: str, row: Sequence[Any]) -> Event:
    """The event of a `full_event` row."""
    position, id_, event_type, actor_type, actor_id, resource_type, resource_id, correlation_id, causation_id = row[:9]
    outcome, occurred_at, recorded_at, payload = row[9:]
    return Event(
        tenant_id=tenant,
        position=position,
        id=str(id_),
        event_type=event_type,
        actor_type=actor_type,
        actor_id=actor_id,
        resource_type=resource_type,
        resource_id=str(resource_id),
        correlation_id=correlation_id,
        causation_id=causation_id,
        outcome=outcome,
        occurred_at=occurred_at,
        recorded_at=recorded_at,
        payload=payload,
    )
