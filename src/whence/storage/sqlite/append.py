"""Appending: repeats, numbers, hashes, rows and rollups of one request, inside the writer's transaction."""

import os
import time
from collections import Counter
from hashlib import sha256
from typing import Any

import apsw

from whence import rollups
from whence.catalog import outcome_of
from whence.errors import Conflict, Invalid, WhenceError
from whence.events import Event, NewEvent
from whence.merkle import CompactRange, leaf_hash
from whence.storage.base import KINDS_MAX, Receipt, Write
from whence.storage.sql import load_blocks
from whence.storage.sqlite.rows import KEY_BITS, cause_from, event_from, uuid_bytes
from whence.wire.envelope import envelope
from whence.wire.event import differing_fields

__all__ = ["Appender"]

_SQL = load_blocks("whence.storage.sqlite")
_CACHE_MAX = 50_000
_SALT_SIZE = 16

_Names = dict[tuple[Any, ...], int]


class _NameCache:
    """Numbers of interned names. What a transaction added is remembered only once that is durable."""

    def __init__(self) -> None:
        self._durable: _Names = {}
        self._group: _Names = {}
        self._request: _Names = {}

    def get(self, name: tuple[Any, ...]) -> int | None:
        """The number of a name that this transaction can see, or None when it is not known here."""
        return self._durable.get(name) or self._group.get(name) or self._request.get(name)

    def add(self, name: tuple[Any, ...], number: int) -> None:
        """Note a number that the request found or gave."""
        self._request[name] = number

    def request_done(self) -> None:
        """As `Participant` says."""
        self._group.update(self._request)
        self._request.clear()

    def request_undone(self) -> None:
        """As `Participant` says."""
        self._request.clear()

    def group_done(self) -> None:
        """As `Participant` says."""
        if len(self._durable) + len(self._group) > _CACHE_MAX:
            self._durable.clear()
        self._durable.update(self._group)
        self._group.clear()

    def group_undone(self) -> None:
        """As `Participant` says."""
        self._group.clear()
        self._request.clear()


class _Head:
    """A tenant's row while a request adds to it."""

    __slots__ = ("actors", "flows", "kinds", "recorded_at", "resources", "size", "tenant", "tenant_no", "tree")

    def __init__(self, tenant: str, row: tuple[Any, ...]) -> None:
        self.tenant = tenant
        self.tenant_no: int
        self.tenant_no, self.size, self.recorded_at, packed, self.kinds, self.actors, self.flows, self.resources = row
        self.tree = CompactRange(self.size, packed)

    def key(self, number: int) -> int:
        return self.tenant_no << KEY_BITS | number


class _Batch:
    """The new events of one request, on their way to their tables."""

    __slots__ = ("by_id", "events", "flows", "numbers", "resources", "salts")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.numbers: list[tuple[int, int]] = []  # kind and actor of each event
        self.salts: list[bytes] = []
        self.by_id: dict[str, Event] = {}
        self.flows: dict[str, list[int]] = {}  # events, failures, first, last, and then the number
        self.resources: dict[tuple[str, str], list[int]] = {}  # events, and then the number


class Appender:
    """Stores requests through the writer's connection. Follows its transactions as a `Participant`."""

    def __init__(self) -> None:
        """Start without any cached name."""
        self._names = _NameCache()
        self.request_done = self._names.request_done
        self.request_undone = self._names.request_undone
        self.group_done = self._names.group_done
        self.group_undone = self._names.group_undone

    def append(self, connection: apsw.Connection, tenant: str, write: Write) -> list[Receipt]:
        """Store the events of one request. Raises the error of the first event that an atomic request cannot store."""
        head = self._head(connection, tenant)
        head.recorded_at = max(time.time_ns() // 1_000, head.recorded_at)
        batch = _Batch()
        receipts = []
        for index, new in enumerate(write.events):
            try:
                receipts.append(self._place(connection, head, batch, new))
            except WhenceError as error:
                if write.atomic:
                    raise _naming(index, error) from error
                receipts.append(Receipt(error=error))
        if batch.events:
            self._insert(connection, head, batch)
        return receipts

    def _head(self, connection: apsw.Connection, tenant: str) -> _Head:
        rows = connection.execute(_SQL["head"], (tenant,)).fetchall()
        if not rows:
            connection.execute(_SQL["add_tenant"], (tenant,))
            rows = connection.execute(_SQL["head"], (tenant,)).fetchall()
        return _Head(tenant, rows[0])

    def _place(self, connection: apsw.Connection, head: _Head, batch: _Batch, new: NewEvent) -> Receipt:
        """Give an event its position, or find it stored before. Raises Conflict, and Invalid for one kind too many."""
        stored = batch.by_id.get(new.id) or _stored(connection, head, new.id)
        if stored is not None:
            different = differing_fields(new, stored)
            if different:
                raise Conflict(different)
            return Receipt(stored, replayed=True)
        outcome = new.outcome or outcome_of(new.event_type)
        kind = self._kind(connection, head, new, outcome)
        actor = self._actor(connection, head, new)
        correlation_id = new.correlation_id or self._inherited(connection, head, batch, new)
        salt = os.urandom(_SALT_SIZE)
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
        batch.numbers.append((kind, actor))
        batch.salts.append(salt)
        batch.by_id[new.id] = event
        _count(batch, event)
        return Receipt(event)

    def _kind(self, connection: apsw.Connection, head: _Head, new: NewEvent, outcome: str) -> int:
        name = (head.tenant_no, new.event_type, new.resource_type, new.actor_type, outcome)
        number = self._names.get(name)
        if number is None:
            number = connection.execute(_SQL["kind_number"], name).get
            if number is None:
                if head.kinds >= KINDS_MAX:
                    raise Invalid.at(
                        ("body", "eventType"),
                        f"This tenant has {KINDS_MAX} combinations of event type, resource type, actor type and "
                        "outcome, and can have no more. Put what varies into the payload.",
                        "too_many_event_types",
                    )
                head.kinds += 1
                number = head.kinds
                connection.execute(_SQL["add_kind"], (head.tenant_no, number, *name[1:]))
            self._names.add(name, number)
        return number

    def _actor(self, connection: apsw.Connection, head: _Head, new: NewEvent) -> int:
        name = (head.tenant_no, new.actor_id, new.actor_type)
        number = self._names.get(name)
        if number is None:
            key = connection.execute(_SQL["actor_number"], name).get
            if key is None:
                head.actors += 1
                key = head.key(head.actors)
                connection.execute(_SQL["add_actor"], (key, *name))
            number = key - head.key(0)
            self._names.add(name, number)
        return number

    def _inherited(self, connection: apsw.Connection, head: _Head, batch: _Batch, new: NewEvent) -> str:
        """The correlation of an event that names none: its cause's, if that is known, else its own id."""
        if new.causation_id is None:
            return new.id
        earlier = batch.by_id.get(new.causation_id)
        if earlier is not None:
            return earlier.correlation_id
        cause = cause_from(new.causation_id)
        if not isinstance(cause, bytes):
            return new.id
        return connection.execute(_SQL["correlation_of"], (head.tenant_no, cause)).get or new.id

    def _insert(self, connection: apsw.Connection, head: _Head, batch: _Batch) -> None:
        """Write the batch's rows, its rollups, and the head that counts them."""
        _number_flows(connection, head, batch)
        _number_resources(connection, head, batch)
        connection.executemany(_SQL["add_event"], _rows(head, batch))
        _roll_up(
            connection,
            head.tenant_no,
            [(event.occurred_at, *numbers) for event, numbers in zip(batch.events, batch.numbers, strict=True)],
        )
        connection.execute(
            _SQL["save_head"],
            (
                head.size,
                head.recorded_at,
                head.tree.packed(),
                head.kinds,
                head.actors,
                head.flows,
                head.resources,
                head.tenant_no,
            ),
        )


def _stored(connection: apsw.Connection, head: _Head, id_: str) -> Event | None:
    """The event that has this id already. Most ids are new, so only the index is asked first."""
    key = connection.execute(_SQL["key_of_id"], (head.tenant_no, uuid_bytes(id_))).get
    if key is None:
        return None
    [row] = connection.execute(_SQL["full_event"] + " WHERE e.key = ?", (key,))
    return event_from(head.tenant, row)


def _naming(index: int, error: WhenceError) -> WhenceError:
    """The error of one event of an atomic request, saying which event it was."""
    if isinstance(error, Conflict):
        return Invalid.at(("body", index, "id"), str(error), error.code)
    if isinstance(error, Invalid):
        return error.within_item(index)
    return error


def _count(batch: _Batch, event: Event) -> None:
    """Count an event to its flow and its resource."""
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


def _number_flows(connection: apsw.Connection, head: _Head, batch: _Batch) -> None:
    for correlation_id, flow in batch.flows.items():
        offered = head.key(head.flows + 1)
        key = connection.execute(_SQL["add_to_flow"], (offered, head.tenant_no, correlation_id, *flow[:4])).get
        head.flows += key == offered
        flow[4] = key - head.key(0)


def _number_resources(connection: apsw.Connection, head: _Head, batch: _Batch) -> None:
    for (resource_id, resource_type), resource in batch.resources.items():
        offered = head.key(head.resources + 1)
        key = connection.execute(
            _SQL["add_to_resource"],
            (offered, head.tenant_no, uuid_bytes(resource_id), resource_type, resource[0]),
        ).get
        head.resources += key == offered
        resource[1] = key - head.key(0)


def _rows(head: _Head, batch: _Batch) -> list[tuple[Any, ...]]:
    """The event rows of a batch; their leaves are added to the head's tree."""
    rows = []
    for event, (kind, actor), salt in zip(batch.events, batch.numbers, batch.salts, strict=True):
        leaf = leaf_hash(envelope(event, sha256(salt + event.payload).hexdigest()))
        head.tree.append(leaf)
        rows.append(
            (
                head.key(event.position),
                head.tenant_no,
                uuid_bytes(event.id),
                event.occurred_at,
                event.recorded_at,
                kind,
                actor,
                batch.flows[event.correlation_id][4],
                batch.resources[event.resource_id, event.resource_type][1],
                cause_from(event.causation_id),
                leaf,
                salt,
                event.payload,
            )
        )
    return rows


_Placed = tuple[int, int, int]
"""occurred_at, kind and actor of an event."""


def _roll_up(connection: apsw.Connection, tenant_no: int, placed: list[_Placed]) -> None:
    """Count stored events into the buckets of every level that has rows for them, and divide what got too full."""
    groups = {0: placed}
    for level in range(rollups.LAST_LEVEL + 1):
        full, below = [], []
        kinds: Counter[tuple[int, ...]] = Counter()
        actors: Counter[tuple[int, ...]] = Counter()
        for bucket, members in groups.items():
            counted: Any = connection.execute(
                _SQL["add_to_bucket"], (tenant_no, level, bucket, len(members))
            ).fetchone()
            events, divided = counted
            if divided:
                below.extend(members)
            elif events > rollups.DIVIDE_AT and level < rollups.LAST_LEVEL:
                full.append(bucket)
            for _, kind, actor in members:
                kinds[bucket, kind] += 1
                actors[bucket, actor, kind] += 1
        connection.executemany(
            _SQL["add_to_rollup_kind"], [(tenant_no, level, *name, count) for name, count in kinds.items()]
        )
        connection.executemany(
            _SQL["add_to_rollup_actor"], [(tenant_no, level, *name, count) for name, count in actors.items()]
        )
        for bucket in full:
            _divide(connection, tenant_no, level, bucket)
        if not below:
            return
        groups = {}
        for member in below:
            groups.setdefault(rollups.bucket_of(level + 1, member[0]), []).append(member)


def _divide(connection: apsw.Connection, tenant_no: int, level: int, bucket: int) -> None:
    """Give a bucket its children, counted from the raw events, and go on with those that are too full themselves."""
    within = rollups.bounds(level, bucket)
    first = rollups.child_span(level, bucket).first
    if level == 0:
        first = rollups.bucket_of(1, connection.execute(_SQL["first_time"], (tenant_no,)).get)
    values = {
        "tenant_no": tenant_no,
        "level": level + 1,
        "first": first,
        "start": rollups.bounds(level + 1, first).since,
        "width": rollups.WIDTHS_US[level + 1],
        "since": within.since,
        "until": within.until,
    }
    children: list[Any] = connection.execute(_SQL["divide_bucket"], values).fetchall()
    connection.execute(_SQL["divide_rollup_kind"], values)
    connection.execute(_SQL["divide_rollup_actor"], values)
    connection.execute(_SQL["mark_divided"], (tenant_no, level, bucket))
    for child, events in children:
        if events > rollups.DIVIDE_AT and level + 1 < rollups.LAST_LEVEL:
            _divide(connection, tenant_no, level + 1, child)
