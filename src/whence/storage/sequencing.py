"""Sequencing: new events get their positions, interned names, inherited correlations and hashes. Pure.

A store calls this while it holds the lock on the tenant's head, so no other append comes between. It looks up what is
stored, and writes the rows.
"""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import msgspec

from whence import rollups
from whence.catalog import outcome_of
from whence.errors import Conflict, Invalid, WhenceError
from whence.events import EVENT_LOG, Event, NewEvent, stored_event
from whence.flows import FOLD_AT
from whence.identities import earlier_spelling
from whence.integrity import ENVELOPE_VERSION, SALT_SIZE, differing_fields, hash_payload, leaf_of
from whence.storage.base import KINDS_MAX, KINDS_RESERVED, HashedEvent, Receipt, Write
from whence.storage.rows import HeadRow
from whence.transitions import KIND_MAX
from whence.wire.event import FUTURE_MAX_US

__all__ = [
    "ENVELOPE_VERSION",
    "FOLD_AT",
    "ActorName",
    "Batch",
    "FlowDelta",
    "HeadDraft",
    "KindName",
    "ResourceDelta",
    "TenantLog",
    "add_event",
    "count_flows_and_resources",
    "hash_events",
    "is_fold_due",
    "measure_payloads",
    "sequence_writes",
]

KindName = tuple[str, str, str, str]
"""Event type, resource type, actor type and outcome."""

ActorName = tuple[str, str]
"""Actor id and actor type."""


class HeadDraft:
    """A tenant's head while an append adds to it. `tree` is the compact range of the events so far."""

    __slots__ = (
        "actors",
        "flows",
        "folded_to",
        "kinds",
        "kinds_removed",
        "measured_to",
        "payload_bytes",
        "recorded_at",
        "removal_epoch",
        "removed_recorded_at",
        "resources",
        "retained_from",
        "size",
        "tenant",
        "tenant_no",
        "tree",
    )

    def __init__(self, tenant: str, row: HeadRow) -> None:
        """Start from the stored head."""
        self.tenant = tenant
        self.tenant_no = row.tenant_no
        self.size = row.size
        self.recorded_at = row.recorded_at
        self.kinds = row.kinds
        self.actors = row.actors
        self.flows = row.flows
        self.resources = row.resources
        self.folded_to = row.folded_to
        self.payload_bytes = row.payload_bytes
        self.measured_to = row.measured_to
        self.kinds_removed = row.kinds_removed
        self.removal_epoch = row.removal_epoch
        self.removed_recorded_at = row.removed_recorded_at
        self.retained_from = row.retained_from
        self.tree = row.tree()


class FlowDelta(msgspec.Struct, gc=False):
    """What a batch adds to a flow. The store sets `flow`, its number."""

    events: int
    failures: int
    first_at: int
    last_at: int
    flow: int = 0


class ResourceDelta(msgspec.Struct, gc=False):
    """What a batch adds to a resource. The store sets `resource`, its number."""

    events: int
    resource: int = 0


class Batch:
    """The new events of one append, and what they add to flows and resources."""

    __slots__ = ("by_id", "erased_actors", "events", "flows", "occurrences", "resources")

    def __init__(self) -> None:
        """Start empty."""
        self.events: list[Event] = []
        self.occurrences: list[rollups.Occurrence] = []
        self.by_id: dict[str, Event] = {}
        self.erased_actors: dict[ActorName, int] = {}  # of a copy: when these took the place of others
        self.flows: dict[str, FlowDelta] = {}  # by correlation id
        self.resources: dict[tuple[str, str], ResourceDelta] = {}  # by resource id and type


class TenantLog(Protocol):
    """Lookups in a tenant's log, inside the transaction that holds its head.

    Sequencing adds to `new_kinds` and `new_actors`; the store writes them together with the events.
    """

    new_kinds: dict[KindName, int]
    new_actors: dict[ActorName, int]
    renamed: set[str]
    """The ids of the events among those that `stored` returned whose actor has another id than they were sent with,
    since that was erased."""

    def stored(self, event_id: str) -> Event | None:
        """The stored event with this id."""

    def kind(self, name: KindName) -> int | None:
        """The number of a kind that is stored."""

    def actor(self, name: ActorName) -> int | None:
        """The number of an actor that is stored."""

    def has_flow(self, correlation_id: str) -> bool:
        """Whether a flow is stored under this text: a correlation that an event was sent with, or its
        `earlier_spelling`."""

    def correlation(self, event_id: str) -> str | None:
        """The correlation of the stored event with this id; None too for an id that is not a UUID."""


def sequence_writes(
    log: TenantLog, head: HeadDraft, batch: Batch, writes: Sequence[Write]
) -> list[list[Receipt] | WhenceError]:
    """Sequence requests in order: receipts for each, or the error of one that is refused as a whole.

    A refused request leaves no trace in `log`, `head` or `batch`, so the others are not affected.
    """
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
            receipts.append(_sequence(log, head, batch, new, write.readable))
        except WhenceError as error:
            if write.atomic:
                raise _naming_item(index, error) from error
            receipts.append(Receipt(error=error))
    return receipts


def _sequence(
    log: TenantLog, head: HeadDraft, batch: Batch, new: NewEvent, readable: tuple[str, ...] | None
) -> Receipt:
    """Give an event its position, or find it stored before. Raises Conflict, which names fields only of an event of a
    `readable` type, and Invalid for one kind too many, and for an event that may have been removed."""
    stored = batch.by_id.get(new.id) or log.stored(new.id)
    if stored is not None:
        different = differing_fields(new, stored)
        if stored.id in log.renamed and "actorId" in different:
            different.remove("actorId")  # what it was sent with is not known any more
        if different:
            raise Conflict(different if readable is None or stored.resource_type in readable else ())
        return Receipt(stored, replayed=True)
    if head.removed_recorded_at:
        _refuse_removed(head, new)
    event = stored_event(
        new,
        tenant_id=head.tenant,
        position=head.size + 1,
        actor_id=_actor_id(log, new),
        correlation_id=_correlation(log, batch, new),
        outcome=new.outcome or outcome_of(new.event_type),
        recorded_at=head.recorded_at,
    )
    add_event(log, head, batch, event)
    return Receipt(event)


def _refuse_removed(head: HeadDraft, new: NewEvent) -> None:
    """Raise Invalid for an event that is as old as those that were removed. Their ids are forgotten, so it may be one
    of them that is sent again."""
    if new.occurred_at <= head.removed_recorded_at + FUTURE_MAX_US:
        raise Invalid.at(
            ("body", "occurredAt"),
            "Events of this time were removed by the log's retention, so it is not known whether this one was among "
            "them. It is not stored.",
            "older_than_retention",
        )


def add_event(log: TenantLog, head: HeadDraft, batch: Batch, event: Event) -> None:
    """Add an event that comes next in the log to a batch. Raises Invalid, with nothing added, for one kind too many."""
    occurrence = (event.occurred_at, _kind_number(log, head, event), _actor_number(log, head, event))
    head.size += 1
    batch.events.append(event)
    batch.occurrences.append(occurrence)
    batch.by_id[event.id] = event


def _kind_number(log: TenantLog, head: HeadDraft, event: Event) -> int:
    name = (event.event_type, event.resource_type, event.actor_type, event.outcome)
    number = log.kind(name) or log.new_kinds.get(name)
    if number is None:
        most = KINDS_MAX + KINDS_RESERVED if event.resource_type == EVENT_LOG else KINDS_MAX
        if head.kinds - head.kinds_removed >= most or head.kinds >= KIND_MAX:
            raise Invalid.at(
                ("body", "eventType"),
                f"This tenant has {KINDS_MAX} combinations of event type, resource type, actor type and "
                "outcome, and can have no more. Put what varies into the payload.",
                "too_many_event_types",
            )
        head.kinds += 1
        number = log.new_kinds[name] = head.kinds
    return number


def _actor_number(log: TenantLog, head: HeadDraft, event: Event) -> int:
    name = (event.actor_id, event.actor_type)
    number = log.actor(name) or log.new_actors.get(name)
    if number is None:
        head.actors += 1
        number = log.new_actors[name] = head.actors
    return number


def _correlation(log: TenantLog, batch: Batch, new: NewEvent) -> str:
    """The correlation of an event. A flow that an earlier release stored under an upper-case UUID keeps that text."""
    if new.correlation_id is None:
        return _inherited_correlation(log, batch, new)
    earlier = earlier_spelling(new.correlation_id)
    if earlier is not None and log.has_flow(earlier) and not log.has_flow(new.correlation_id):
        return earlier
    return new.correlation_id


def _inherited_correlation(log: TenantLog, batch: Batch, new: NewEvent) -> str:
    """The correlation of an event that was sent without: its cause's, if the cause is known, else its own id."""
    if new.causation_id is None:
        return new.id
    earlier = batch.by_id.get(new.causation_id)
    if earlier is not None:
        return earlier.correlation_id
    return log.correlation(new.causation_id) or new.id


def _actor_id(log: TenantLog, new: NewEvent) -> str:
    """The id of the event's actor. One that an earlier release stored under an upper-case UUID keeps that text."""
    earlier = earlier_spelling(new.actor_id)
    name = (new.actor_id, new.actor_type)
    if earlier is None or name in log.new_actors or log.actor(name) or not log.actor((earlier, new.actor_type)):
        return new.actor_id
    return earlier


def _naming_item(index: int, error: WhenceError) -> WhenceError:
    """The error of an atomic request, with the index of the event that caused it."""
    if isinstance(error, Conflict):
        return Invalid.at(("body", index, "id"), str(error), error.code)
    if isinstance(error, Invalid):
        return error.within_item(index)
    return error


def count_flows_and_resources(batch: Batch) -> None:
    """Set `flows` and `resources` of a batch from its events."""
    flows = batch.flows
    for event in batch.events:
        at, failed = event.occurred_at, event.outcome == "failure"
        flow = flows.get(event.correlation_id)
        if flow is None:
            flows[event.correlation_id] = FlowDelta(1, int(failed), at, at)
            continue
        flow.events += 1
        flow.failures += failed
        if at < flow.first_at:
            flow.first_at = at
        elif at > flow.last_at:
            flow.last_at = at
    named = Counter([(event.resource_id, event.resource_type) for event in batch.events])
    batch.resources = {name: ResourceDelta(events) for name, events in named.items()}


def measure_payloads(head: HeadDraft, batch: Batch) -> None:
    """Add the bytes of a batch's payloads to the head, whose size includes the batch."""
    head.payload_bytes += sum(len(event.payload or b"") for event in batch.events)
    head.measured_to = head.size


def is_fold_due(head: HeadDraft) -> bool:
    """Whether enough events came since the last fold for the next one."""
    return head.size - head.folded_to >= FOLD_AT


def hash_events(events: Sequence[Event]) -> list[HashedEvent]:
    """New events, each with a random salt and its leaf."""
    salts = os.urandom(SALT_SIZE * len(events))
    hashed = []
    for event, start in zip(events, range(0, len(salts), SALT_SIZE), strict=True):
        if event.payload is None:
            raise ValueError("A new event has a payload.")
        salt = salts[start : start + SALT_SIZE]
        payload_hash = hash_payload(salt, event.payload)
        leaf = leaf_of(event, payload_hash, ENVELOPE_VERSION)
        hashed.append(HashedEvent(event, leaf, salt, payload_hash, ENVELOPE_VERSION))
    return hashed
