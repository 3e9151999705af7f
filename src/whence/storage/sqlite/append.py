"""Appending to a tenant's log, inside the writer's transaction: the rows of events, names, rollups and the head."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apsw
import structlog
from msgspec.structs import asdict

from whence import rollups
from whence.errors import Unavailable, WhenceError
from whence.events import Event, NewEvent
from whence.identities import earlier_spelling
from whence.storage.base import HashedEvent, Receipt, Write
from whence.storage.rows import FullEventRow
from whence.storage.sequencing import (
    ActorName,
    Batch,
    HeadDraft,
    KindName,
    count_flows_and_resources,
    hash_events,
    is_fold_due,
    measure_payloads,
    sequence_writes,
)
from whence.storage.sql import load_blocks
from whence.storage.sqlite.actor_totals import fold_actor_totals, total_divided_bucket
from whence.storage.sqlite.rows import (
    SQLiteHeadRow,
    cause_from,
    event_from,
    event_values,
    head_row,
    key_of,
    number_of,
    uuid_bytes,
    uuid_text,
)
from whence.storage.sqlite.transitions import fold_transitions

__all__ = ["Appender", "NameCache", "NeedsWriterThread", "SQLiteTenantLog", "head_draft", "insert", "save_head"]

_SQL = load_blocks("whence.storage.sqlite")
_log = structlog.get_logger("whence.storage")
_CACHE_MAX = 50_000

_Names = dict[tuple[Any, ...], int]


class NeedsWriterThread(Exception):
    """An append that runs on the event loop has long work to do. The caller rolls back and leaves it to the writer."""


class NameCache:
    """Numbers of interned names. Those that a transaction added are kept once its commit is durable."""

    def __init__(self) -> None:
        self._durable: _Names = {}
        self._group: _Names = {}
        self._request: _Names = {}

    def get(self, name: tuple[Any, ...]) -> int | None:
        """The number of a name as this transaction sees it, or None when it is not cached."""
        return self._durable.get(name) or self._group.get(name) or self._request.get(name)

    def add(self, name: tuple[Any, ...], number: int) -> None:
        """Keep a number that the request found or assigned."""
        self._request[name] = number

    def forget(self, names: Iterable[tuple[Any, ...]]) -> None:
        """Forget names that the transaction removes. They are read again if it is rolled back."""
        for name in names:
            for numbers in (self._durable, self._group, self._request):
                numbers.pop(name, None)

    def request_released(self) -> None:
        """See `TransactionListener`."""
        self._group.update(self._request)
        self._request.clear()

    def request_rolled_back(self) -> None:
        """See `TransactionListener`."""
        self._request.clear()

    def group_committed(self) -> None:
        """See `TransactionListener`."""
        if len(self._durable) + len(self._group) > _CACHE_MAX:
            self._durable.clear()
        self._durable.update(self._group)
        self._group.clear()

    def group_rolled_back(self) -> None:
        """See `TransactionListener`."""
        self._group.clear()
        self._request.clear()


class SQLiteTenantLog:
    """Lookups in the file, each when it is needed; see `sequencing.TenantLog`."""

    __slots__ = ("connection", "flows", "head", "names", "new_actors", "new_kinds", "renamed", "stored_keys")

    def __init__(
        self, connection: apsw.Connection, head: HeadDraft, names: NameCache, events: Sequence[NewEvent | Event]
    ) -> None:
        self.connection = connection
        self.head = head
        self.names = names
        self.stored_keys = _stored_keys(connection, head, events)
        self.flows: dict[str, int | None] = {}  # by correlation id, what was looked up
        self.read_flows(_spelled_flows(events))
        self.new_kinds: dict[KindName, int] = {}
        self.new_actors: dict[ActorName, int] = {}
        self.renamed: set[str] = set()

    def stored(self, event_id: str) -> Event | None:
        """See `TenantLog`."""
        key = self.stored_keys.get(event_id)
        if key is None:
            return None
        [row] = self.connection.execute(_SQL["full_event"] + " WHERE e.key = ?", (key,))
        if FullEventRow(*row).actor_erased_at is not None:
            self.renamed.add(event_id)
        return event_from(self.head.tenant, row)

    def kind(self, name: KindName) -> int | None:
        """See `TenantLog`."""
        cached = (self.head.tenant_no, *name)
        number = self.names.get(cached)
        if number is None:
            number = self.connection.execute(_SQL["kind_number"], cached).get
            if number is not None:
                self.names.add(cached, number)
        return number

    def actor(self, name: ActorName) -> int | None:
        """See `TenantLog`."""
        cached = (self.head.tenant_no, *name)
        number = self.names.get(cached)
        if number is None:
            key = self.connection.execute(_SQL["actor_number"], cached).get
            if key is not None:
                number = number_of(key)
                self.names.add(cached, number)
        return number

    def has_flow(self, correlation_id: str) -> bool:
        """See `TenantLog`."""
        if correlation_id not in self.flows:
            self.read_flows((correlation_id,))
        return self.flows[correlation_id] is not None

    def read_flows(self, correlation_ids: Iterable[str]) -> None:
        """Look up the keys of those flows that were not looked up yet, in one statement."""
        unread = dict.fromkeys(text for text in correlation_ids if text not in self.flows)
        if unread:
            self.flows |= unread
            if self.head.size:
                asked = (self.head.tenant_no, apsw.carray(tuple(unread)))
                self.flows.update(self.connection.execute(_SQL["known_flows"], asked))

    def correlation(self, event_id: str) -> str | None:
        """See `TenantLog`."""
        cause = cause_from(event_id)
        if not isinstance(cause, bytes):
            return None
        found: str | None = self.connection.execute(_SQL["correlation_of"], (self.head.tenant_no, cause)).get
        return found

    def add_names(self, batch: Batch) -> None:
        """Write the new kinds and actors of a batch."""
        tenant_no = self.head.tenant_no
        kinds = [(tenant_no, number, *name) for name, number in self.new_kinds.items()]
        actors = [
            (key_of(tenant_no, number), tenant_no, *name, batch.erased_actors.get(name))
            for name, number in self.new_actors.items()
        ]
        self.connection.executemany(_SQL["add_kind"], kinds)
        self.connection.executemany(_SQL["add_actor"], actors)
        for name, number in (*self.new_kinds.items(), *self.new_actors.items()):
            self.names.add((tenant_no, *name), number)


class Appender:
    """Stores requests through the writer's connection. Follows its transactions as a `TransactionListener`."""

    def __init__(self) -> None:
        """Start with an empty cache of names."""
        self.names = NameCache()
        self.request_released = self.names.request_released
        self.request_rolled_back = self.names.request_rolled_back
        self.group_committed = self.names.group_committed
        self.group_rolled_back = self.names.group_rolled_back

    def append(
        self, connection: apsw.Connection, tenant: str, writes: Sequence[Write], *, inline: bool = False
    ) -> list[list[Receipt] | WhenceError]:
        """Store requests of one tenant together; receipts for each, or its error.

        With `inline`, raises NeedsWriterThread when a division or a fold is due, as once in some thousand events.
        """
        head = head_draft(connection, tenant)
        head.recorded_at = max(time.time_ns() // 1_000, head.recorded_at)
        log = SQLiteTenantLog(connection, head, self.names, [new for write in writes for new in write.events])
        batch = Batch()
        results = sequence_writes(log, head, batch, writes)
        if batch.events:
            log.add_names(batch)
            insert(connection, head, log, batch, hash_events(batch.events), inline=inline)
        return results

    def append_separately(
        self, connection: apsw.Connection, tenant: str, writes: Sequence[Write]
    ) -> list[list[Receipt] | WhenceError]:
        """As `append`, one by one, each in a savepoint: an unexpected error fails its own request only."""
        return [self._append_in_savepoint(connection, tenant, write) for write in writes]

    def _append_in_savepoint(
        self, connection: apsw.Connection, tenant: str, write: Write
    ) -> list[Receipt] | WhenceError:
        connection.execute("SAVEPOINT one_write")
        try:
            [result] = self.append(connection, tenant, [write])
        except Exception as error:
            if not connection.in_transaction:
                raise
            _log.error("request failed", error=type(error).__name__, exc_info=True)
            connection.execute("ROLLBACK TO one_write")
            self.names.request_rolled_back()
            result = Unavailable("The store could not write. Send the event again with the same id.")
        connection.execute("RELEASE one_write")
        return result


def head_draft(connection: apsw.Connection, tenant: str) -> HeadDraft:
    """A draft of a tenant's head, which is created if it is missing."""
    row = head_row(connection, tenant)
    if row is None:
        connection.execute(_SQL["add_tenant"], (tenant,))
        [row] = connection.execute(_SQL["head"], (tenant,))
        return HeadDraft(tenant, SQLiteHeadRow(*row))
    head = HeadDraft(tenant, row)
    if head.measured_to < head.size:  # the release before migration 0003 appended beside this one
        head.payload_bytes += connection.execute(
            _SQL["payload_bytes"], (head.tenant_no, head.measured_to, head.size)
        ).get
        head.measured_to = head.size
    return head


def _stored_keys(connection: apsw.Connection, head: HeadDraft, events: Sequence[NewEvent | Event]) -> dict[str, int]:
    """The keys of the events that are stored already, by id, in one statement."""
    if not (head.size and events):
        return {}
    ids = tuple(uuid_bytes(new.id) for new in events)
    rows: list[Any] = connection.execute(_SQL["keys_of_ids"], (head.tenant_no, apsw.carray(ids))).fetchall()
    return {uuid_text(id_): key for id_, key in rows}


def _spelled_flows(events: Sequence[NewEvent | Event]) -> Iterator[str]:
    """The flows with which events were sent that may be stored under either of two texts; both of them."""
    for new in events:
        if new.correlation_id is not None and (earlier := earlier_spelling(new.correlation_id)) is not None:
            yield new.correlation_id
            yield earlier


def insert(
    connection: apsw.Connection,
    head: HeadDraft,
    log: SQLiteTenantLog,
    batch: Batch,
    hashed: Sequence[HashedEvent],
    *,
    inline: bool = False,
) -> None:
    """Write a batch, whose events are `hashed`, with its rollups and the head. Raises NeedsWriterThread if `inline`."""
    count_flows_and_resources(batch)
    _add_to_flows(connection, head, log, batch)
    _add_to_resources(connection, head, batch)
    connection.executemany(_SQL["add_event"], event_values(head.tenant_no, batch, hashed))
    head.tree.extend([each.leaf for each in hashed])
    measure_payloads(head, batch)
    _roll_up(connection, head, batch.occurrences, inline=inline)
    if is_fold_due(head):
        if inline:
            raise NeedsWriterThread
        fold_transitions(connection, head)
        fold_actor_totals(connection, head)
        head.folded_to = head.size
    save_head(connection, head)


def save_head(connection: apsw.Connection, head: HeadDraft) -> None:
    """Write a head."""
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
            head.payload_bytes,
            head.measured_to,
            head.tenant_no,
        ),
    )


def _add_to_flows(connection: apsw.Connection, head: HeadDraft, log: SQLiteTenantLog, batch: Batch) -> None:
    """Add the batch to its flows, with numbers for the new ones, and set the numbers in the batch."""
    log.read_flows(batch.flows)
    values = []
    for correlation_id, flow in batch.flows.items():
        key = log.flows[correlation_id]
        if key is None:
            head.flows += 1
            key = key_of(head.tenant_no, head.flows)
        values.append((key, head.tenant_no, correlation_id, flow.events, flow.failures, flow.first_at, flow.last_at))
        flow.flow = number_of(key)
    connection.executemany(_SQL["add_to_flow"], values)


def _add_to_resources(connection: apsw.Connection, head: HeadDraft, batch: Batch) -> None:
    """Add the batch to its resources, with numbers for the new ones, and set the numbers in the batch."""
    ids = {name: uuid_bytes(name[0]) for name in batch.resources}
    asked = (head.tenant_no, apsw.carray(tuple(ids.values())))
    rows: list[Any] = connection.execute(_SQL["known_resources"], asked).fetchall()
    known = {(resource_id, resource_type): key for resource_id, resource_type, key in rows}
    values = []
    for name, resource in batch.resources.items():
        key = known.get((ids[name], name[1]))
        if key is None:
            head.resources += 1
            key = key_of(head.tenant_no, head.resources)
        values.append((key, head.tenant_no, ids[name], name[1], resource.events))
        resource.resource = number_of(key)
    connection.executemany(_SQL["add_to_resource"], values)


def _roll_up(
    connection: apsw.Connection, head: HeadDraft, occurrences: list[rollups.Occurrence], *, inline: bool
) -> None:
    """Count events into the buckets of every level that has rows for them, and divide the buckets that are full."""
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
            # Lists, not generators: a Counter counts a list without Python code for each item.
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
    """Give a bucket its children, counted from the raw events, and divide those that are full themselves."""
    tenant_no = head.tenant_no
    first_time = connection.execute(_SQL["first_time"], (tenant_no,)).get if level == 0 else None
    values = {"tenant_no": tenant_no, **asdict(rollups.division(level, bucket, first_time))}
    children: list[Any] = connection.execute(_SQL["divide_bucket"], values).fetchall()
    connection.execute(_SQL["divide_rollup_kind"], values)
    connection.execute(_SQL["divide_rollup_actor"], values)
    connection.execute(_SQL["mark_divided"], (tenant_no, level, bucket))
    total_divided_bucket(connection, tenant_no, head.folded_to, level, bucket)
    for child, events in children:
        if rollups.is_full(level + 1, events):
            _divide(connection, head, level + 1, child)
