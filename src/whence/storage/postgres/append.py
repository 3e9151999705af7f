"""Appending to a tenant's log, in one transaction: the rows of events, names, rollups and the head.

The row lock on the tenant's head is taken first and held until the commit. Under it, what the log has of the events is
read, the events are sequenced in memory, and then each table gets its rows by one statement. Statements that do not
need each other's results share a round trip. A request that is refused as a whole is undone in memory, before any of it
was written.
"""

import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import astuple

from whence import rollups
from whence.errors import Unavailable, WhenceError
from whence.events import Event, NewEvent
from whence.identities import canonical, earlier_spelling, spellings
from whence.storage.base import HashedEvent, Receipt, Write
from whence.storage.postgres.actor_totals import fold_actor_totals, total_divided_bucket
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.joined_statements import Statement, run_statements
from whence.storage.postgres.rows import PostgresHeadRow, cause_id_from, event_from, event_values
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.postgres.transitions import fold_transitions
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

__all__ = [
    "Kinds",
    "KindsCache",
    "PostgresTenantLog",
    "append",
    "head_draft",
    "insert",
    "known_kinds",
    "latest_removal",
    "locked_head",
    "read_known",
    "save_head",
]

_SQL = load_blocks("whence.storage.postgres")

_HOUR_US = 3_600_000_000

_ALL_LEVELS_MAX = 100
"""Up to this many events, the buckets of all levels are read before it is known which levels are needed: a share of one
round trip, instead of a round trip for each level."""

Kinds = dict[KindName, int]

_TENANTS_CACHED = 1_000
"""Tenants whose kinds are kept in memory."""

Buckets = dict[tuple[int, int], tuple[int, bool]]
"""How many events a bucket holds before this append, and whether it is divided, by level and number."""


def latest_removal(removed_recorded_at: int) -> int:
    """The latest `removed_recorded_at` that a head may have under the `kinds_version` under which it had this one: the
    end of its hour, or 0 if nothing was removed. So most batches of a purge need no new version, for which an append
    that is on its way would have to be sent again."""
    return removed_recorded_at and (removed_recorded_at // _HOUR_US + 1) * _HOUR_US - 1


class KindsCache:
    """The numbers of kinds by the `kinds_version` of a head, and what each tenant had last: the version, and the
    `removed_recorded_at`, which grows to its `latest_removal` at most without another version. All of it was read under
    the head's row lock, so it is committed."""

    def __init__(self) -> None:
        """Start empty."""
        self._by_version: dict[int, Kinds] = {}
        self._last: dict[str, tuple[int, int]] = {}

    def get(self, kinds_version: int) -> Kinds | None:
        """The kinds of a version."""
        return self._by_version.get(kinds_version)

    def last(self, tenant: str) -> tuple[int, int, Kinds] | None:
        """The last version of a tenant, its `removed_recorded_at` and its kinds."""
        last = self._last.get(tenant)
        kinds = None if last is None else self._by_version.get(last[0])
        return None if last is None or kinds is None else (*last, kinds)

    def put(self, tenant: str, kinds_version: int, removed_recorded_at: int, kinds: Kinds) -> None:
        """Keep the kinds of a tenant. When it holds too many, the cache is emptied first."""
        if kinds_version not in self._by_version and len(self._by_version) >= _TENANTS_CACHED:
            self._by_version.clear()
            self._last.clear()
        self._by_version[kinds_version] = kinds
        self._last[tenant] = kinds_version, removed_recorded_at


class PostgresTenantLog:
    """Lookups in what `read_known` has read; see `sequencing.TenantLog`."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.new_kinds: Kinds = {}
        self.actors: dict[ActorName, int] = {}
        self.new_actors: dict[ActorName, int] = {}
        self.events: dict[str, Event] = {}
        self.renamed: set[str] = set()
        self.correlations: dict[str, str] = {}
        self.flows: set[str] = set()
        self.buckets: Buckets | None = {}
        """None if they were not read."""

    def stored(self, event_id: str) -> Event | None:
        """See `TenantLog`."""
        return self.events.get(event_id)

    def kind(self, name: KindName) -> int | None:
        """See `TenantLog`."""
        return self.kinds.get(name)

    def actor(self, name: ActorName) -> int | None:
        """See `TenantLog`."""
        return self.actors.get(name)

    def has_flow(self, correlation_id: str) -> bool:
        """See `TenantLog`."""
        return correlation_id in self.flows

    def correlation(self, event_id: str) -> str | None:
        """See `TenantLog`."""
        return self.correlations.get(event_id)


async def locked_head(connection: Connection, tenant: Tenant) -> tuple[HeadDraft, int]:
    """A draft of a tenant's head, created if missing and locked until the commit, and the version of its kinds."""
    row = await head_row(connection, tenant, "lock_head")
    if row is None:
        await connection.execute(_SQL["add_head"], tenant.number, tenant.name)
        row = await head_row(connection, tenant, "lock_head")
    if row is None:
        raise Unavailable("The tenant could not be made.")
    return await head_draft(connection, tenant, row), row.kinds_version


async def head_draft(connection: Connection, tenant: Tenant, row: PostgresHeadRow) -> HeadDraft:
    """A draft of the tenant's locked head, in which all payloads are measured."""
    head = HeadDraft(tenant.name, row)
    if head.measured_to < head.size:  # a server of the release before migration 0003 appended last
        head.payload_bytes += await connection.fetchval(
            _SQL["payload_bytes"], head.tenant_no, head.measured_to, head.size
        )
        head.measured_to = head.size
    return head


async def append(
    connection: Connection, tenant: Tenant, writes: Sequence[Write], cached: KindsCache, *, joined: bool
) -> list[list[Receipt] | WhenceError]:
    """Store requests of one tenant, in order.

    `joined` sends statements together, which
    Citus does not allow.
    """
    head, kinds_version = await locked_head(connection, tenant)
    head.recorded_at = max(time.time_ns() // 1_000, head.recorded_at)
    log = PostgresTenantLog(await known_kinds(connection, head, cached, kinds_version))
    await read_known(connection, head, log, [new for write in writes for new in write.events], joined=joined)
    batch = Batch()
    results = sequence_writes(log, head, batch, writes)
    if batch.events:
        await insert(connection, head, log, batch, hash_events(batch.events), kinds_version, joined=joined)
    return results


async def known_kinds(connection: Connection, head: HeadDraft, cached: KindsCache, kinds_version: int) -> Kinds:
    """The numbers of the tenant's kinds, from the cache if this version is there."""
    if not head.kinds:
        return {}
    kinds = cached.get(kinds_version)
    if kinds is None:
        rows = await connection.fetch(_SQL["kinds"], head.tenant_no)
        kinds = {tuple(name): number for number, *name in rows}
    cached.put(head.tenant, kinds_version, head.removed_recorded_at, kinds)
    return kinds


async def read_known(
    connection: Connection,
    head: HeadDraft,
    log: PostgresTenantLog,
    events: Sequence[NewEvent | Event],
    *,
    joined: bool,
) -> None:
    """Read what the log has of these events: their ids, their actors, the flows of their causes, their buckets, and
    their own flows if an earlier release stored these under another spelling."""
    if not head.size or not events:
        return
    ids = {new.id for new in events}
    causes = {
        new.causation_id for new in events if new.correlation_id is None and cause_id_from(new.causation_id) is not None
    }
    earlier = {earlier_spelling(new.correlation_id) for new in events if new.correlation_id is not None} - {None}
    actors = {(actor_id, new.actor_type) for new in events for actor_id in spellings(new.actor_id)}
    lookups = [
        Statement(_SQL["stored_ids"], (list(ids | causes), list(earlier)), answers=True),
        Statement(_SQL["actor_number"], tuple(_columns(actors)), answers=True),
    ]
    if len(events) <= _ALL_LEVELS_MAX:
        occurrences = [(new.occurred_at, 0, 0) for new in events]
        lookups.append(_buckets_lookup(range(rollups.LAST_LEVEL + 1), occurrences))
    stored, numbers, *buckets = await run_statements(connection, head.tenant_no, lookups, joined=joined)
    log.buckets = _buckets_from(*buckets) if buckets else None
    log.actors = {(actor_id, actor_type): number for number, actor_id, actor_type in numbers if number is not None}
    log.correlations = {str(id_): correlation_id for id_, _, correlation_id in stored if id_ is not None}
    log.flows = {correlation_id for id_, _, correlation_id in stored if id_ is None}
    if log.flows:
        names = [canonical(correlation_id) for correlation_id in log.flows]
        canonical_rows = await connection.fetch(_SQL["stored_ids"], head.tenant_no, [], names)
        log.flows |= {correlation_id for _, _, correlation_id in canonical_rows}
    repeated = [position for id_, position, _ in stored if str(id_) in ids]
    if repeated:
        text = _SQL["full_event"] + " AND e.position = ANY($2::bigint[])"
        rows = [FullEventRow(*row) for row in await connection.fetch(text, head.tenant_no, repeated)]
        found = [event_from(head.tenant, row) for row in rows]
        log.events = {event.id: event for event in found}
        log.renamed = {str(row.id) for row in rows if row.actor_erased_at is not None}


async def insert(
    connection: Connection,
    head: HeadDraft,
    log: PostgresTenantLog,
    batch: Batch,
    hashed: Sequence[HashedEvent],
    kinds_version: int,
    *,
    joined: bool,
) -> None:
    """Write a batch, whose events are `hashed`, with its names, its rollups and the head.

    `kinds_version` is the one that was read with the head; with new kinds, the head gets a new one.
    """
    tenant_no = head.tenant_no
    count_flows_and_resources(batch)
    await _add_names(connection, head, log, batch, joined=joined)
    if log.new_kinds:
        kinds_version = secrets.randbits(63)
    counted, full = await _counted(connection, head, log, batch.occurrences)
    writes = [Statement(_SQL["add_event"], tuple(_columns(event_values(batch, hashed)))), *counted]
    head.tree.extend([each.leaf for each in hashed])
    measure_payloads(head, batch)
    fold_due = is_fold_due(head)
    if not fold_due:
        writes.append(_saved_head(head, kinds_version))
    await run_statements(connection, tenant_no, writes, joined=joined)
    for level, bucket in full:
        await _divide(connection, head, level, bucket)
    if fold_due:
        await fold_transitions(connection, head)
        await fold_actor_totals(connection, head)
        head.folded_to = head.size
        await run_statements(connection, tenant_no, [_saved_head(head, kinds_version)], joined=joined)


async def save_head(connection: Connection, head: HeadDraft, kinds_version: int) -> None:
    """Write a head with the version of its kinds."""
    await run_statements(connection, head.tenant_no, [_saved_head(head, kinds_version)], joined=False)


def _saved_head(head: HeadDraft, kinds_version: int) -> Statement:
    return Statement(
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
            kinds_version,
        ),
    )


async def _add_names(
    connection: Connection, head: HeadDraft, log: PostgresTenantLog, batch: Batch, *, joined: bool
) -> None:
    """Add new kinds and actors, and the batch to its flows and resources, with numbers for the new ones. Sets the
    numbers of flows and resources in the batch."""
    flows = [
        (number, correlation_id, flow.events, flow.failures, flow.first_at, flow.last_at)
        for number, (correlation_id, flow) in enumerate(batch.flows.items(), head.flows + 1)
    ]
    resources = [
        (number, *name, resource.events)
        for number, (name, resource) in enumerate(batch.resources.items(), head.resources + 1)
    ]
    statements = [
        Statement(_SQL["add_to_flow"], tuple(_columns(flows)), answers=True),
        Statement(_SQL["add_to_resource"], tuple(_columns(resources)), answers=True),
    ]
    kinds = [(number, *name) for name, number in log.new_kinds.items()]
    actors = [(number, *name, batch.erased_actors.get(name)) for name, number in log.new_actors.items()]
    for block, rows in (("add_kind", kinds), ("add_actor", actors)):
        if rows:
            statements.append(Statement(_SQL[block], tuple(_columns(rows))))
    found_flows, found_resources, *_ = await run_statements(connection, head.tenant_no, statements, joined=joined)
    for number, correlation_id in found_flows:
        batch.flows[correlation_id].flow = number
        head.flows = max(head.flows, number)
    for number, resource_id, resource_type in found_resources:
        batch.resources[str(resource_id), resource_type].resource = number
        head.resources = max(head.resources, number)


def _columns(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    """Rows as the arrays that `unnest` takes, one for each column."""
    return zip(*rows, strict=True)


async def _counted(
    connection: Connection, head: HeadDraft, log: PostgresTenantLog, occurrences: list[rollups.Occurrence]
) -> tuple[list[Statement], list[tuple[int, int]]]:
    """The statements that count events into the buckets of every level that has rows for them, and the level and number
    of each bucket that is then full."""
    buckets: list[tuple[int, ...]] = []
    kinds: list[tuple[int, ...]] = []
    actors: list[tuple[int, ...]] = []
    full: list[tuple[int, int]] = []
    for level in range(rollups.LAST_LEVEL + 1):
        here = log.buckets
        if here is None:
            here = await _known_buckets(connection, head.tenant_no, level, occurrences)
        groups = rollups.by_bucket(level, occurrences)
        occurrences = []
        for bucket, members in groups.items():
            events, divided = here.get((level, bucket), (0, False))
            if divided:
                occurrences += members
            elif rollups.is_full(level, events + len(members)):
                full.append((level, bucket))
            by_kind = Counter([kind for _, kind, _ in members])
            by_actor = Counter([(actor, kind) for _, kind, actor in members])
            buckets.append((level, bucket, len(members)))
            kinds += [(level, bucket, kind, events) for kind, events in by_kind.items()]
            actors += [(level, bucket, *name, events) for name, events in by_actor.items()]
        if not occurrences:
            break
    blocks = {"add_to_bucket": buckets, "add_to_rollup_kind": kinds, "add_to_rollup_actor": actors}
    return [Statement(_SQL[block], tuple(_columns(rows))) for block, rows in blocks.items()], full


async def _known_buckets(
    connection: Connection, tenant_no: int, level: int, occurrences: list[rollups.Occurrence]
) -> Buckets:
    lookup = _buckets_lookup((level,), occurrences)
    return _buckets_from(await connection.fetch(lookup.text, tenant_no, *lookup.values))


def _buckets_lookup(levels: Iterable[int], occurrences: list[rollups.Occurrence]) -> Statement:
    asked = [(level, bucket) for level in levels for bucket in rollups.by_bucket(level, occurrences)]
    return Statement(_SQL["buckets_known"], tuple(_columns(asked)), answers=True)


def _buckets_from(rows: Iterable[tuple[int, int, int, bool]]) -> Buckets:
    return {(level, bucket): (events, divided) for level, bucket, events, divided in rows}


async def _divide(connection: Connection, head: HeadDraft, level: int, bucket: int) -> None:
    """Give a bucket its children, counted from the raw events, and divide those that are full themselves."""
    tenant_no = head.tenant_no
    first_time = await connection.fetchval(_SQL["first_time"], tenant_no) if level == 0 else None
    values = (tenant_no, *astuple(rollups.division(level, bucket, first_time)))
    children = await connection.fetch(_SQL["divide_bucket"], *values)
    await connection.execute(_SQL["divide_rollup_kind"], *values)
    await connection.execute(_SQL["divide_rollup_actor"], *values)
    await connection.execute(_SQL["mark_divided"], tenant_no, level, bucket)
    await total_divided_bucket(connection, tenant_no, head.folded_to, level, bucket)
    for child, events in children:
        if rollups.is_full(level + 1, events):
            await _divide(connection, head, level + 1, child)
