"""Appending to a tenant's log, in one transaction: the rows of events, names, rollups and the head.

The row lock on the tenant's head is taken first and held until the commit. Under it, what the log has of the events is
read, the events are sequenced in memory, and then each table gets its rows by one statement. A request that is refused
as a whole is undone in memory, before any of it was written.
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
from whence.storage.postgres.rows import cause_id_from, event_from, event_values
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.postgres.transitions import fold_transitions
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

__all__ = ["Kinds", "PostgresTenantLog", "append", "insert", "known_kinds", "locked_head", "read_known"]

_SQL = load_blocks("whence.storage.postgres")

_ALL_LEVELS_MAX = 100
"""Up to this many events, the buckets of all levels are read at once: one round trip instead of one for each level."""

Kinds = dict[KindName, int]


class PostgresTenantLog:
    """Lookups in what `read_known` has read; see `sequencing.TenantLog`."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.new_kinds: Kinds = {}
        self.actors: dict[ActorName, int] = {}
        self.new_actors: dict[ActorName, int] = {}
        self.events: dict[str, Event] = {}
        self.correlations: dict[str, str] = {}
        self.flows: set[str] = set()

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
    head = HeadDraft(tenant.name, row)
    if head.measured_to < head.size:  # a server of the release before migration 0003 appended last
        head.payload_bytes += await connection.fetchval(
            _SQL["payload_bytes"], head.tenant_no, head.measured_to, head.size
        )
        head.measured_to = head.size
    return head, row.kinds_version


async def append(
    connection: Connection, tenant: Tenant, writes: Sequence[Write], cached: dict[int, Kinds]
) -> list[list[Receipt] | WhenceError]:
    """Store requests of one tenant, in order.

    `cached` holds the numbers of kinds by the `kinds_version` of the head.
    """
    head, kinds_version = await locked_head(connection, tenant)
    head.recorded_at = max(time.time_ns() // 1_000, head.recorded_at)
    log = PostgresTenantLog(await known_kinds(connection, head, cached, kinds_version))
    await read_known(connection, head, log, [new for write in writes for new in write.events])
    batch = Batch()
    results = sequence_writes(log, head, batch, writes)
    if batch.events:
        await insert(connection, head, log, batch, hash_events(batch.events), kinds_version)
    return results


async def known_kinds(connection: Connection, head: HeadDraft, cached: dict[int, Kinds], kinds_version: int) -> Kinds:
    """The numbers of the tenant's kinds, from the cache if this version is there."""
    if not head.kinds:
        return {}
    kinds = cached.get(kinds_version)
    if kinds is None:
        rows = await connection.fetch(_SQL["kinds"], head.tenant_no)
        kinds = {tuple(name): number for number, *name in rows}
        cached[kinds_version] = kinds
    return kinds


async def read_known(
    connection: Connection, head: HeadDraft, log: PostgresTenantLog, events: Sequence[NewEvent | Event]
) -> None:
    """Read what the log has of these events: their ids, their actors, the flows of their causes, and their own flows
    if an earlier release stored these under another spelling."""
    if not head.size or not events:
        return
    ids = {new.id for new in events}
    causes = {
        new.causation_id for new in events if new.correlation_id is None and cause_id_from(new.causation_id) is not None
    }
    earlier = {earlier_spelling(new.correlation_id) for new in events if new.correlation_id is not None} - {None}
    rows = await connection.fetch(_SQL["stored_ids"], head.tenant_no, list(ids | causes), list(earlier))
    log.correlations = {str(id_): correlation_id for id_, _, correlation_id in rows if id_ is not None}
    log.flows = {correlation_id for id_, _, correlation_id in rows if id_ is None}
    if log.flows:
        names = [canonical(correlation_id) for correlation_id in log.flows]
        canonical_rows = await connection.fetch(_SQL["stored_ids"], head.tenant_no, [], names)
        log.flows |= {correlation_id for _, _, correlation_id in canonical_rows}
    repeated = [position for id_, position, _ in rows if str(id_) in ids]
    if repeated:
        text = _SQL["full_event"] + " AND e.position = ANY($2::bigint[])"
        found = [event_from(head.tenant, row) for row in await connection.fetch(text, head.tenant_no, repeated)]
        log.events = {event.id: event for event in found}
    asked = {(actor_id, new.actor_type) for new in events for actor_id in spellings(new.actor_id)}
    rows = await connection.fetch(_SQL["actor_number"], head.tenant_no, *_columns(asked))
    log.actors = {(actor_id, actor_type): number for number, actor_id, actor_type in rows if number is not None}


async def insert(
    connection: Connection,
    head: HeadDraft,
    log: PostgresTenantLog,
    batch: Batch,
    hashed: Sequence[HashedEvent],
    kinds_version: int,
) -> None:
    """Write a batch, whose events are `hashed`, with its names, its rollups and the head.

    `kinds_version` is the one that was read with the head; with new kinds, the head gets a new one.
    """
    tenant_no = head.tenant_no
    if log.new_kinds:
        kinds_version = secrets.randbits(63)
        rows: Iterable[tuple[Any, ...]] = [(number, *name) for name, number in log.new_kinds.items()]
        await connection.execute(_SQL["add_kind"], tenant_no, *_columns(rows))
    if log.new_actors:
        rows = [(number, *name) for name, number in log.new_actors.items()]
        await connection.execute(_SQL["add_actor"], tenant_no, *_columns(rows))
    count_flows_and_resources(batch)
    await _add_to_flows(connection, head, batch)
    await _add_to_resources(connection, head, batch)
    await connection.execute(_SQL["add_event"], tenant_no, *_columns(event_values(batch, hashed)))
    head.tree.extend([each.leaf for each in hashed])
    measure_payloads(head, batch)
    await _roll_up(connection, head, batch.occurrences)
    if is_fold_due(head):
        await fold_transitions(connection, head)
        await fold_actor_totals(connection, head)
        head.folded_to = head.size
    await connection.execute(
        _SQL["save_head"],
        tenant_no,
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
    )


async def _add_to_flows(connection: Connection, head: HeadDraft, batch: Batch) -> None:
    """Add the batch to its flows, with numbers for the new ones, and set the numbers in the batch."""
    rows = [
        (number, correlation_id, flow.events, flow.failures, flow.first_at, flow.last_at)
        for number, (correlation_id, flow) in enumerate(batch.flows.items(), head.flows + 1)
    ]
    for number, correlation_id in await connection.fetch(_SQL["add_to_flow"], head.tenant_no, *_columns(rows)):
        batch.flows[correlation_id].flow = number
        head.flows = max(head.flows, number)


async def _add_to_resources(connection: Connection, head: HeadDraft, batch: Batch) -> None:
    """Add the batch to its resources, with numbers for the new ones, and set the numbers in the batch."""
    rows = [
        (number, *name, resource.events)
        for number, (name, resource) in enumerate(batch.resources.items(), head.resources + 1)
    ]
    found = await connection.fetch(_SQL["add_to_resource"], head.tenant_no, *_columns(rows))
    for number, resource_id, resource_type in found:
        batch.resources[str(resource_id), resource_type].resource = number
        head.resources = max(head.resources, number)


def _columns(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    """Rows as the arrays that `unnest` takes, one for each column."""
    return zip(*rows, strict=True)


async def _roll_up(connection: Connection, head: HeadDraft, occurrences: list[rollups.Occurrence]) -> None:
    """Count events into the buckets of every level that has rows for them, and divide the buckets that are full."""
    tenant_no = head.tenant_no
    buckets: list[tuple[int, ...]] = []
    kinds: list[tuple[int, ...]] = []
    actors: list[tuple[int, ...]] = []
    full: list[tuple[int, int]] = []
    levels = range(rollups.LAST_LEVEL + 1)
    known = (
        await _known_buckets(connection, tenant_no, levels, occurrences)
        if len(occurrences) <= _ALL_LEVELS_MAX
        else None
    )
    for level in levels:
        here = known if known is not None else await _known_buckets(connection, tenant_no, (level,), occurrences)
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
    await connection.execute(_SQL["add_to_bucket"], tenant_no, *_columns(buckets))
    await connection.execute(_SQL["add_to_rollup_kind"], tenant_no, *_columns(kinds))
    await connection.execute(_SQL["add_to_rollup_actor"], tenant_no, *_columns(actors))
    for level, bucket in full:
        await _divide(connection, head, level, bucket)


async def _known_buckets(
    connection: Connection, tenant_no: int, levels: Iterable[int], occurrences: list[rollups.Occurrence]
) -> dict[tuple[int, int], tuple[int, bool]]:
    """How many events the buckets of these levels hold before this append, and whether they are divided."""
    asked = [(level, bucket) for level in levels for bucket in rollups.by_bucket(level, occurrences)]
    rows = await connection.fetch(_SQL["buckets_known"], tenant_no, *_columns(asked))
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
