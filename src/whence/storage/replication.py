"""Placing the events of another store just as they are. Pure, as `placing` is, with everything told.

What is told is not believed: each event has to belong to its leaf, and to come next in the log.
"""

from collections.abc import Sequence
from hashlib import sha256

from whence.errors import Conflict, StoreRefused, Unsound
from whence.events import Event, NewEvent
from whence.merkle import leaf_hash
from whence.storage.base import HashedEvent
from whence.storage.sequencing import Batch, HeadDraft, TenantLog, sequence
from whence.wire.envelope import envelope

__all__ = ["as_new", "hashed_event_from", "refuse_unsound", "sequence_exactly"]


def hashed_event_from(event: Event, leaf: bytes, salt: bytes | None, payload_hash: bytes | None) -> HashedEvent:
    """An event as it was read. Raises Unsound when it has neither a payload nor the hash of one."""
    if salt is not None and event.payload is not None:
        payload_hash = sha256(salt + event.payload).digest()
    if payload_hash is None:
        raise _unsound(event)
    return HashedEvent(event, leaf, salt, payload_hash)


def refuse_unsound(stored: HashedEvent) -> None:
    """Raise Unsound unless the event belongs to its leaf."""
    if leaf_hash(envelope(stored.event, stored.payload_hash.hex())) != stored.leaf:
        raise _unsound(stored.event)


def sequence_exactly(log: TenantLog, head: HeadDraft, batch: Batch, events: Sequence[HashedEvent]) -> None:
    """Give events the places that they had, and add their leaves to the head's tree.

    Raises Unsound, and StoreRefused when they do not continue this log.
    """
    for stored in events:
        event = stored.event
        refuse_unsound(stored)
        if event.recorded_at < head.recorded_at:
            raise Unsound(f"{event.tenant_id}, position {event.position}: recorded before the one in front of it.")
        head.recorded_at = event.recorded_at
        if event.position != head.size + 1 or _sequenced(log, head, batch, event) != event:
            raise StoreRefused(
                f"{event.tenant_id}, position {event.position}: the event does not come next in this log."
            )
        head.tree.append(stored.leaf)


def _sequenced(log: TenantLog, head: HeadDraft, batch: Batch, event: Event) -> Event | None:
    """The event as the log takes it; None when its id is there with other content."""
    try:
        return sequence(log, head, batch, as_new(event)).event
    except Conflict:
        return None


def as_new(event: Event) -> NewEvent:
    """The event as if it were sent with everything that a store derives."""
    return NewEvent(
        id=event.id,
        event_type=event.event_type,
        actor_type=event.actor_type,
        actor_id=event.actor_id,
        resource_type=event.resource_type,
        resource_id=event.resource_id,
        occurred_at=event.occurred_at,
        payload=event.payload,
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        outcome=event.outcome,
    )


def _unsound(event: Event) -> Unsound:
    return Unsound(f"{event.tenant_id}, position {event.position}: the event does not belong to its hash.")
