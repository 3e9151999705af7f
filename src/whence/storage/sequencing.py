"""Placing new events in a tenant's log: repeats, numbers, inherited correlations and hashes. Pure; a store answers what
is known already and keeps the rows.

All of it happens while the store holds the tenant's head, so that nothing can come between.
"""

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Protocol

from whence import rollups
from whence.catalog import outcome_of
from whence.errors import Conflict, Invalid, WhenceError
from whence.events import Event, NewEvent
from whence.flows import FOLD_AT
from whence.merkle import CompactRange, leaf_hash
from whence.storage.base import KINDS_MAX, Receipt, Write
from whence.wire.envelope import envelope
from whence.wire.event import differing_fields

__all__ = [
    "ActorName",
    "Batch",
    "HeadDraft",
    "KindName",
    "TenantLog",
    "count",
    "is_fold_due",
    "leaves",
    "sequence_writes",
]

_SALT_SIZE = 16

KindName = tuple[str, str, str, str]
"""Event type, resource type, actor type and outcome."""

ActorName = tuple[str, str]
"""Actor id and actor type."""


class HeadDraft:
    """A tenant's row while a request adds to it."""

    __slots__ = (
        "actors",
        "flows",
        "folded_to",
        "kinds",
        "recorded_at",
        "resources",
        "size",
        "tenant",
        "tenant_no",
        "tree",
    )

    def __init__(self, tenant: str, row: tuple[Any, ...]) -> None:
        """Take up the columns of the block `head`."""
        self.tenant = tenant
        self.tenant_no: int
        self.size: int
        self.tenant_no, self.size, self.recorded_at, packed, self.kinds, self.actors, self.flows, self.resources = row[
            :8
        ]
        self.folded_to: int = row[8]
        self.tree = CompactRange(self.size, packed)


class Batch:
    """The new events of one append, on their way to their tables."""

    __slots__ = ("by_id", "events", "flows", "occurrences", "resources")

    def __init__(self) -> None:
        """Start empty."""
        self.events: list[Event] = []
        self.occurrences: list[rollups.Occurrence] = []
        self.by_id: dict[str, Event] = {}
        self.flows: dict[str, list[int]] = {}  # events, failures, first, last, and then the number
        self.resources: dict[tuple[str, str], list[int]] = {}  # events, and then the number


class TenantLog(Protocol):
    """What is known of a tenant's log inside the transaction that holds its head, and what requests add to it. The
    store keeps `new_kinds` and `new_actors` together with the events."""

    new_kinds: dict[KindName, int]
    new_actors: dict[ActorName, int]

    def stored(self, event_id: str) -> Event | None:
        """The stored event with this id."""

    def kind(self, name: KindName) -> int | None:
        """The number of a kind that is stored."""

    def actor(self, name: ActorName) -> int | None:
        """The number of an actor who is stored."""

    def correlation(self, event_id: str) -> str | None:
        """The correlation of the stored event with this id, which may be no UUID at all."""


def sequence_writes(
    log: TenantLog, head: HeadDraft, batch: Batch, writes: Sequence[Write]
) -> list[list[Receipt] | WhenceError]:
    """Place requests one after the other: receipts for each, or the error of one that is refused as a whole. That one
    leaves no trace, so it harms no other."""
    return [_sequence_write(log, head, batch, write) for write in writes]


def _sequence_write(log: TenantLog, head: HeadDraft, batch: Batch, write: Write) -> list[Receipt] | WhenceError:
    events, size, kinds, actors = len(batch.events), head.size, head.kinds, head.actors
    try:
        return _sequence_all(log, head, batch, write)
    except WhenceError as error:
        for event in batch.events[events:]:
            del batch.by_id[event.id]
        del batch.events[events:], batch.occurrences[events:]
        log.new_kinds = {name: number for name, number in log.new_kinds.items() if number <= kinds}
        log.new_actors = {name: number for name, number in log.new_actors.items() if number <= actors}
        head.size, head.kinds, head.actors = size, kinds, actors
        return error


def _sequence_all(log: TenantLog, head: HeadDraft, batch: Batch, write: Write) -> list[Receipt]:
    """A receipt for every event of a request. Raises the first error of an atomic one."""
    receipts = []
    for index, new in enumerate(write.events):
        try:
            receipts.append(sequence(log, head, batch, new))
        except WhenceError as error:
            if write.atomic:
                raise naming(index, error) from error
            receipts.append(Receipt(error=error))
    return receipts


def sequence(log: TenantLog, head: HeadDraft, batch: Batch, new: NewEvent) -> Receipt:
    """Give an event its position, or find it stored before. Raises Conflict, and Invalid for one kind too many."""
    stored = batch.by_id.get(new.id) or log.stored(new.id)
    if stored is not None:
        different = differing_fields(new, stored)
        if different:
            raise Conflict(different)
        return Receipt(stored, replayed=True)
    outcome = new.outcome or outcome_of(new.event_type)
    occurrence = (new.occurred_at, _kind(log, head, new, outcome), _actor(log, head, new))
    correlation_id = new.correlation_id or inherited(log, batch, new)
    head.size += 1
    event = Event(
        tenant_id=head.tenant,
        position=head.size,
        id=new.id,
        event_type=new.event_type,
        actor_type=new.actor_type,
        actor_id=new.actor_id,
        resource_type=new.resource_type,
        resource_id=new.resource_id,
        correlation_id=correlation_id,
        causation_id=new.causation_id,
        outcome=outcome,
        occurred_at=new.occurred_at,
        recorded_at=head.recorded_at,
        payload=new.payload,
    )
    batch.events.append(event)
    batch.occurrences.append(occurrence)
    batch.by_id[new.id] = event
    return Receipt(event)


def _kind(log: TenantLog, head: HeadDraft, new: NewEvent, outcome: str) -> int:
    name = (new.event_type, new.resource_type, new.actor_type, outcome)
    number = log.kind(name) or log.new_kinds.get(name)
    if number is None:
        if head.kinds >= KINDS_MAX:
            raise Invalid.at(
                ("body", "eventType"),
                f"This tenant has {KINDS_MAX} combinations of event type, resource type, actor type and "
                "outcome, and can have no more. Put what varies into the payload.",
                "too_many_event_types",
            )
        head.kinds += 1
        number = log.new_kinds[name] = head.kinds
    return number


def _actor(log: TenantLog, head: HeadDraft, new: NewEvent) -> int:
    name = (new.actor_id, new.actor_type)
    number = log.actor(name) or log.new_actors.get(name)
    if number is None:
        head.actors += 1
        number = log.new_actors[name] = head.actors
    return number


def inherited(log: TenantLog, batch: Batch, new: NewEvent) -> str:
    """The correlation of an event that names none: its cause's, if that is known, else its own id."""
    if new.causation_id is None:
        return new.id
    earlier = batch.by_id.get(new.causation_id)
    if earlier is not None:
        return earlier.correlation_id
    return log.correlation(new.causation_id) or new.id


def naming(index: int, error: WhenceError) -> WhenceError:
    """The error of one event of an atomic request, saying which event it was."""
    if isinstance(error, Conflict):
        return Invalid.at(("body", index, "id"), str(error), error.code)
    if isinstance(error, Invalid):
        return error.within_item(index)
    return error


def count(batch: Batch) -> None:
    """Count the events of a batch to their flows and resources."""
    for event in batch.events:
        failed = event.outcome == "failure"
        flow = batch.flows.get(event.correlation_id)
        if flow is None:
            batch.flows[event.correlation_id] = [1, int(failed), event.occurred_at, event.occurred_at, 0]
        else:
            flow[0] += 1
            flow[1] += failed
            flow[2] = min(flow[2], event.occurred_at)
            flow[3] = max(flow[3], event.occurred_at)
        batch.resources.setdefault((event.resource_id, event.resource_type), [0, 0])[0] += 1


def is_fold_due(head: HeadDraft) -> bool:
    """Whether so many events are behind the last fold of links that the next one is due."""
    return head.size - head.folded_to >= FOLD_AT


def leaves(head: HeadDraft, batch: Batch) -> list[tuple[bytes, bytes]]:
    """The leaf hash and the salt of each event of a batch. The leaves are added to the head's tree."""
    salts = os.urandom(_SALT_SIZE * len(batch.events))
    found = []
    for event, start in zip(batch.events, range(0, len(salts), _SALT_SIZE), strict=True):
        salt = salts[start : start + _SALT_SIZE]
        leaf = leaf_hash(envelope(event, sha256(salt + event.payload).hexdigest()))
        head.tree.append(leaf)
        found.append((leaf, salt))
    return found
