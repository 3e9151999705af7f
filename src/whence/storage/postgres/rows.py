"""Conversions between events and their rows, as PostgreSQL keeps them."""

from collections.abc import Sequence
from typing import Any

from whence.events import Event
from whence.storage.base import HashedEvent
from whence.storage.rows import HeadRow
from whence.storage.sequencing import Batch
from whence.wire.ids import parse_uuid

__all__ = ["EVENT_COLUMNS", "PostgresHeadRow", "cause_id_from", "event_from", "event_values"]

EVENT_COLUMNS = (
    "position",
    "id",
    "occurred_at",
    "recorded_at",
    "kind",
    "actor",
    "flow",
    "resource",
    "causation_id",
    "cause_id",
    "leaf",
    "salt",
    "payload_hash",
    "payload",
    "envelope_version",
    "erased_at",
)
"""The columns of an event, without the tenant's number, in the order of `event_values` and of `add_event`."""


class PostgresHeadRow(HeadRow, frozen=True):
    """A tenant's head: `kinds_version` changes with its kinds. `events` counts what is stored; only `head` has it."""

    kinds_version: int = 0
    events: int = 0


def cause_id_from(causation_id: str | None) -> str | None:
    """A causationId that is a UUID in canonical text, which links the event to its cause; None for any other."""
    try:
        return causation_id if causation_id is not None and parse_uuid(causation_id) == causation_id else None
    except ValueError:
        return None


def event_from(tenant: str, row: Sequence[Any]) -> Event:
    """The event of a `full_event` row."""
    (
        position,
        id_,
        event_type,
        actor_type,
        actor_id,
        resource_type,
        resource_id,
        correlation_id,
        causation_id,
        outcome,
        occurred_at,
        recorded_at,
        payload,
        erased_at,
        *_,
    ) = row
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
        erased_at=erased_at,
    )


def event_values(batch: Batch, hashed: Sequence[HashedEvent]) -> list[tuple[Any, ...]]:
    """The values of `EVENT_COLUMNS` for the events of a batch, whose flows and resources have their numbers."""
    flows, resources = batch.flows, batch.resources
    return [
        (
            event.position,
            event.id,
            event.occurred_at,
            event.recorded_at,
            kind,
            actor,
            flows[event.correlation_id].flow,
            resources[event.resource_id, event.resource_type].resource,
            event.causation_id,
            cause_id_from(event.causation_id),
            each.leaf,
            each.salt,
            each.payload_hash if each.salt is None else None,  # kept only once the payload is erased
            event.payload,
            each.envelope_version,
            event.erased_at,
        )
        for event, (_, kind, actor), each in zip(batch.events, batch.occurrences, hashed, strict=True)
    ]
