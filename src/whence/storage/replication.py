"""Events with their hashes: as a copy appends them exactly, and as a proof shows what a leaf is made of. Pure.

Nothing is taken on trust: each event has to match its leaf, and to come next in the log.
"""

from collections.abc import Sequence

from whence.errors import NotFound, StoreRefused, Unsound
from whence.events import Event
from whence.integrity import ENVELOPES, envelope_of, hash_payload, leaf_of
from whence.merkle import HASH_SIZE
from whence.storage.base import HashedEvent
from whence.storage.rows import HashRow
from whence.storage.seals import Evidence
from whence.storage.sequencing import Batch, HeadDraft, TenantLog, add_event

__all__ = ["append_removed", "evidence_from", "hashed_event_from", "refuse_unsound", "sequence_exactly"]


def hashed_event_from(event: Event, hashes: HashRow, actor_erased_at: int | None) -> HashedEvent:
    """A stored event with its hashes. `actor_erased_at` is when the id of its actor was replaced. Raises Unsound when
    it has neither a payload nor the hash of one."""
    payload_hash = hashes.payload_hash
    if hashes.salt is not None and event.payload is not None:
        payload_hash = hash_payload(hashes.salt, event.payload)
    if payload_hash is None:
        raise _unsound(event)
    return HashedEvent(event, hashes.leaf, hashes.salt, payload_hash, hashes.envelope_version, actor_erased_at)


def refuse_unsound(hashed: HashedEvent) -> None:
    """Raise Unsound unless the event matches its leaf. Where the id of its actor was replaced, nobody can tell: such an
    event needs an announcement, and the root says whether its leaf is right."""
    event, version = hashed.event, hashed.envelope_version
    if version not in ENVELOPES:
        raise Unsound(
            f"{event.tenant_id}, position {event.position}: the event was hashed with version {version} of the "
            "envelope, which this release does not know. Use a later release."
        )
    if not hashed.by_leaf_only and leaf_of(event, hashed.payload_hash, version) != hashed.leaf:
        raise _unsound(event)


def evidence_from(hashed: HashedEvent) -> Evidence:
    """What the leaf of an event is made of. Raises Unsound unless the event matches its leaf, and NotFound when the id
    of its actor was replaced."""
    if hashed.by_leaf_only:
        raise NotFound("The id of the event's actor was replaced, so what its leaf was made of is no longer stored.")
    refuse_unsound(hashed)
    envelope = envelope_of(hashed.event, hashed.payload_hash, hashed.envelope_version)
    payload = None if hashed.salt is None else hashed.event.payload
    return Evidence(hashed.event.position, hashed.leaf, envelope, hashed.salt, payload)


def sequence_exactly(log: TenantLog, head: HeadDraft, batch: Batch, events: Sequence[HashedEvent]) -> None:
    """Add events to a batch at the positions that they have.

    Raises Unsound, and StoreRefused when they do not continue this log.
    """
    for hashed in events:
        event = hashed.event
        refuse_unsound(hashed)
        if event.recorded_at < head.recorded_at:
            raise Unsound(f"{event.tenant_id}, position {event.position}: recorded before the event in front of it.")
        is_next = event.tenant_id == head.tenant and event.position == head.size + 1
        if not is_next or event.id in batch.by_id or log.stored(event.id) is not None:
            raise StoreRefused(
                f"{event.tenant_id}, position {event.position}: the event does not come next in this log."
            )
        head.recorded_at = event.recorded_at
        if hashed.actor_erased_at is not None:
            batch.erased_actors[event.actor_id, event.actor_type] = hashed.actor_erased_at
        add_event(log, head, batch, event)


def append_removed(head: HeadDraft, leaves: bytes) -> None:
    """Add positions to a log whose events were removed, by their leaves, which are joined."""
    head.tree.extend([leaves[at : at + HASH_SIZE] for at in range(0, len(leaves), HASH_SIZE)])
    head.size += len(leaves) // HASH_SIZE
    head.measured_to = head.size


def _unsound(event: Event) -> Unsound:
    return Unsound(f"{event.tenant_id}, position {event.position}: the event does not belong to its hash.")
