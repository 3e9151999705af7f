"""Appending: repeats, numbers, hashes, rows and rollups of one request, inside the writer's transaction."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import apsw
import structlog

from whence import rollups
from whence.errors import Unavailable, WhenceError
from whence.events import Event, NewEvent
from whence.storage.base import Receipt, Write
from whence.storage.sequencing import ActorName, Batch, HeadDraft, KindName, count, is_fold_due, leaves, sequence_writes
from whence.storage.sql import load_blocks
from whence.storage.sqlite.actor_totals import fold_actor_totals, total_divided_bucket
from whence.storage.sqlite.rows import cause_from, event_from, key_of, number_of, uuid_bytes, uuid_text
from whence.storage.sqlite.traces import fold_transitions

__all__ = ["Appender", "NeedsWriterThread", "insert"]

_SQL = load_blocks("whence.storage.sqlite")
_log = structlog.get_logger("whence.storage")
_CACHE_MAX = 50_000

_Names = dict[tuple[Any, ...], int]


class NeedsWriterThread(Exception):
    """An append that was to be brief has long work to do. Whoever catches it undoes what was done."""


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


class SQLiteTenantLog:
    """As `sequencing.TenantLog` says."""

    __slots__ = ("connection", "head", "names", "new_actors", "new_kinds", "stored_keys")

    def __init__(
        self, connection: apsw.Connection, head: HeadDraft, names: _NameCache, events: Sequence[NewEvent]
    ) -> None:
        self.connection = connection
        self.head = head
        self.names = names
        self.stored_keys = _stored_keys(connection, head, events)
        self.new_kinds: dict[KindName, int] = {}
        self.new_actors: dict[ActorName, int] = {}

    def stored(self, event_id: str) -> Event | None:
        key = self.stored_keys.get(event_id)
        if key is None:
            return None
        [row] = self.connection.execute(_SQL["full_event"] + " WHERE e.key = ?", (key,))
        return event_from(self.head.tenant, row)

    def kind(self, name: KindName) -> int | None:
        cached = (self.head.tenant_no, *name)
        number = self.names.get(cached)
        if number is None:
            number = self.connection.execute(_SQL["kind_number"], cached).get
            if number is not None:
                self.names.add(cached, number)
        return number

    def actor(self, name: ActorName) -> int | None:
        cached = (self.head.tenant_no, *name)
        number = self.names.get(cached)
        if number is None:
            key = self.connection.execute(_SQL["actor_number"], cached).get
            if key is not None:
                number = number_of(key)
                self.names.add(cached, number)
        return number

    def correlation(self, event_id: str) -> str | None:
        cause = cause_from(event_id)
        if not isinstance(cause, bytes):
            return None
        found: str | None = self.connection.execute(_SQL["correlation_of"], (self.head.tenant_no, cause)).get
        return found

    def keep_names(self) -> None:
        """Write the new kinds and actors."""
        tenant_no = self.head.tenant_no
        kinds = [(tenant_no, number, *name) for name, number in self.new_kinds.items()]
        actors = [(key_of(tenant_no, number), tenant_no, *name) for name, number in self.new_actors.items()]
        self.connection.executemany(_SQL["add_kind"], kinds)
        self.connection.executemany(_SQL["add_actor"], actors)
        for name, number in (*self.new_kinds.items(), *self.new_actors.items()):
            self.names.add((tenant_no, *name), number)


class Appender:
    """Stores requests through the writer's connection. Follows its transactions as a `Participant`."""

    def __init__(self) -> None:
        """Start without any cached name."""
        self._names = _NameCache()
        self.request_done = self._names.request_done
        self.request_undone = self._names.request_undone
        self.group_done = self._names.group_done
        self.group_undone = self._names.group_undone

    def append(
        self, connection: apsw.Connection, tenant: str, writes: Sequence[Write], *, inline: bool = False
    ) -> list[list[Receipt] | WhenceError]:
        """Store requests of one tenant together; receipts for each, or its error.

        With `inline`, raises NeedsWriterThread when work is due that comes once in some thousand events.
        """
        head = self._head(connection, tenant)
        head.recorded_at = max(time.time_ns() // 1_000, head.recorded_at)
        log = SQLiteTenantLog(connection, head, self._names, [new for write in writes for new in write.events])
        batch = Batch()
        results = sequence_writes(log, head, batch, writes)
        if batch.events:
            log.keep_names()
            insert(connection, head, batch, _SQL["add_event"], _rows, inline=inline)
        return results

    def append_apart(
        self, connection: apsw.Connection, tenant: str, writes: Sequence[Write]
    ) -> list[list[Receipt] | WhenceError]:
        """The same one by one, each in a savepoint, so that one that something unexpected happens to harms no other."""
        return [self._append_alone(connection, tenant, write) for write in writes]

    def _append_alone(self, connection: apsw.Connection, tenant: str, write: Write) -> list[Receipt] | WhenceError:
        connection.execute("SAVEPOINT alone")
        try:
            [result] = self.append(connection, tenant, [write])
        except Exception as error:
            if not connection.in_transaction:
                raise
            _log.error("request failed", error=type(error).__name__, exc_info=True)
            connection.execute("ROLLBACK TO alone")
            self._names.request_undone()
            result = Unavailable("The store could not write. Send the event again with the same id.")
        connection.execute("RELEASE alone")
        return result

    def _head(self, connection: apsw.Connection, tenant: str) -> HeadDraft:
        rows = connection.execute(_SQL["head"], (tenant,)).fetchall()
        if not rows:
            connection.execute(_SQL["add_tenant"], (tenant,))
            rows = connection.execute(_SQL["head"], (tenant,)).fetchall()
        return HeadDraft(tenant, rows[0])


def _stored_keys(connection: apsw.Connection, head: HeadDraft, events: Sequence[NewEvent]) -> dict[str, int]:
    """The keys of those events whose ids the log has already, by id. One statement, however many events."""
    if not (head.size and events):
        return {}
    ids = tuple(uuid_bytes(new.id) for new in events)
    rows: list[Any] = connection.execute(_SQL["keys_of_ids"], (head.tenant_no, apsw.carray(ids))).fetchall()
    return {uuid_text(id_): key for id_, key in rows}


def insert(
    connection: apsw.Connection,
    head: HeadDraft,
    batch: Batch,
    statement: str,
    rows_of: Callable[[HeadDraft, Batch], list[tuple[Any, ...]]],
    *,
    inline: bool = False,
) -> None:
    """Write the batch's rows by a statement, its rollups, and the head that counts them. Raises NeedsWriterThread."""
    count(batch)
    _number_flows(connection, head, batch)
    _number_resources(connection, head, batch)
    connection.executemany(statement, rows_of(head, batch))
    _roll_up(connection, head, batch.occurrences, inline=inline)
    if is_fold_due(head):
        if inline:
            raise NeedsWriterThread
        fold_transitions(connection, head.tenant_no, head.folded_to, head.size)
        fold_actor_totals(connection, head)
        head.folded_to = head.size
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
            head.folded_to,
            head.tenant_no,
        ),
    )


def _number_flows(connection: apsw.Connection, head: HeadDraft, batch: Batch) -> None:
    """Count the batch to its flows, and give numbers to those that are new."""
    asked = (head.tenant_no, apsw.carray(tuple(batch.flows)))
    found: list[Any] = connection.execute(_SQL["known_flows"], asked).fetchall()
    known: dict[str, int] = dict(found)
    rows = []
    for correlation_id, flow in batch.flows.items():
        key = known.get(correlation_id)
        if key is None:
            head.flows += 1
            key = key_of(head.tenant_no, head.flows)
        rows.append((key, head.tenant_no, correlation_id, *flow[:4]))
        flow[4] = number_of(key)
    connection.executemany(_SQL["add_to_flow"], rows)


def _number_resources(connection: apsw.Connection, head: HeadDraft, batch: Batch) -> None:
    """Count the batch to its resources, and give numbers to those that are new."""
    ids = {name: uuid_bytes(name[0]) for name in batch.resources}
    asked = (head.tenant_no, apsw.carray(tuple(ids.values())))
    found: list[Any] = connection.execute(_SQL["known_resources"], asked).fetchall()
    known = {(resource_id, resource_type): key for resource_id, resource_type, key in found}
    rows = []
    for name, resource in batch.resources.items():
        key = known.get((ids[name], name[1]))
        if key is None:
            head.resources += 1
            key = key_of(head.tenant_no, head.resources)
        rows.append((key, head.tenant_no, ids[name], name[1], resource[0]))
        resource[1] = number_of(key)
    connection.executemany(_SQL["add_to_resource"], rows)


def _rows(head: HeadDraft, batch: Batch) -> list[tuple[Any, ...]]:
    """The event rows of a batch, whose leaves are added to the head's tree."""
    tenant_no, flows, resources = head.tenant_no, batch.flows, batch.resources
    return [
        (
            key_of(tenant_no, event.position),
            tenant_no,
            uuid_bytes(event.id),
            event.occurred_at,
            event.recorded_at,
            kind,
            actor,
            flows[event.correlation_id][4],
            resources[event.resource_id, event.resource_type][1],
            cause_from(event.causation_id),
            leaf,
            salt,
            event.payload,
        )
        for event, (_, kind, actor), (leaf, salt) in zip(
            batch.events, batch.occurrences, leaves(head, batch), strict=True
        )
    ]


def _roll_up(
    connection: apsw.Connection, head: HeadDraft, occurrences: list[rollups.Occurrence], *, inline: bool
) -> None:
    """Count stored events into the buckets of every level that has rows for them, and divide what got too full."""
    tenant_no = head.tenant_no
    for level in range(rollups.LAST_LEVEL + 1):
        full, below = [], []
        kinds: list[tuple[int, ...]] = []
        actors: list[tuple[int, ...]] = []
        for bucket, members in rollups.by_bucket(level, occurrences).items():
            counted: Any = connection.execute(
                _SQL["add_to_bucket"], (tenant_no, level, bucket, len(members))
            ).fetchone()
            events, divided = counted
            if divided:
                below.extend(members)
            elif rollups.is_full(level, events):
                full.append(bucket)
            # Counters of plain lists count at the speed of C.
            by_kind = Counter([kind for _, kind, _ in members])
            by_actor = Counter([(actor, kind) for _, kind, actor in members])
            kinds += [(tenant_no, level, bucket, kind, count) for kind, count in by_kind.items()]
            actors += [(tenant_no, level, bucket, *name, count) for name, count in by_actor.items()]
        connection.executemany(_SQL["add_to_rollup_kind"], kinds)
        connection.executemany(_SQL["add_to_rollup_actor"], actors)
        if full and inline:
            raise NeedsWriterThread
        for bucket in full:
            _divide(connection, head, level, bucket)
        if not below:
            return
        occurrences = below


def _divide(connection: apsw.Connection, head: HeadDraft, level: int, bucket: int) -> None:
    """Give a bucket its children, counted from the raw events, and go on with those that are too full themselves."""
    tenant_no = head.tenant_no
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
    total_divided_bucket(connection, tenant_no, head.folded_to, level, bucket)
    for child, events in children:
        if rollups.is_full(level + 1, events):
            _divide(connection, head, level + 1, child)
