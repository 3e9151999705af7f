"""Appending: repeats, numbers, hashes, rows and rollups of some requests of one tenant, in one transaction.

The tenant's head row is locked first and stays locked until the commit. Under that lock the known names are read, the
events are sequenced in memory, and every table then gets its rows by one statement. A request that is refused as a
whole is undone in memory, before anything of it was written.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from whence import rollups
from whence.errors import Unavailable, WhenceError
from whence.events import Event, NewEvent
from whence.storage.base import Receipt, Write
from whence.storage.postgres.actor_totals import fold_actor_totals, total_divided_bucket
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import cause_id_from, event_from
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.postgres.traces import fold_transitions
from whence.storage.sequencing import ActorName, Batch, HeadDraft, KindName, count, is_fold_due, leaves, sequence_writes
from whence.storage.sql import load_blocks

__all__ = ["Kinds", "append", "insert", "locked_head"]

_SQL = load_blocks("whence.storage.postgres")

_FEW = 100
"""Up to so many events, the buckets of all levels are asked for at once: one way to the server instead of several."""

Kinds = dict[KindName, int]


class PostgresTenantLog:
    """As `sequencing.TenantLog` says; what requests may need is read before they are occurrences."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.new_kinds: Kinds = {}
        self.actors: dict[ActorName, int] = {}
        self.new_actors: dict[ActorName, int] = {}
        self.events: dict[str, Event] = {}
        self.correlations: dict[str, str] = {}

    def stored(self, event_id: str) -> Event | None:
        return self.events.get(event_id)

    def kind(self, name: KindName) -> int | None:
        return self.kinds.get(name)

    def actor(self, name: ActorName) -> int | None:
        return self.actors.get(name)

    def correlation(self, event_id: str) -> str | None:
        return self.correlations.get(event_id)


async def locked_head(connection: Connection, tenant: Tenant) -> tuple[HeadDraft, int]:
    """A tenant's head row, created if missing and locked until the commit, and the version of its kinds."""
    row = await head_row(connection, tenant, "lock_head")
    if row is None:
        await connection.execute(_SQL["add_head"], tenant.number, tenant.name)
        row = await head_row(connection, tenant, "lock_head")
    if row is None:
        raise Unavailable("The tenant could not be made.")
    *columns, kinds_version = row
    return HeadDraft(tenant.name, tuple(columns)), kinds_version


async def append(
    connection: Connection, tenant: Tenant, writes: Sequence[Write], cached: dict[int, Kinds]
) -> list[list[Receipt] | WhenceError]:
    """Store requests of one tenant, in order.

    `cached` holds kinds by the kinds_version of the head that they belong to.
    """
    head, kinds_version = await locked_head(connection, tenant)
    head.recorded_at = max(time.time_ns() // 1_000, head.recorded_at)
    log = PostgresTenantLog(await known_kinds(connection, head, cached, kinds_version))
    await read_known(connection, head, log, [new for write in writes for new in write.events])
    batch = Batch()
    results = sequence_writes(log, head, batch, writes)
    if batch.events:
        await insert(connection, head, log, batch, kinds_version, _SQL["add_event"], _rows)
    return results


async def known_kinds(connection: Connection, head: HeadDraft, cached: dict[int, Kinds], kinds_version: int) -> Kinds:
    if not head.kinds:
        return {}
    kinds = cached.get(kinds_version)
    if kinds is None:
        rows = await connection.fetch(_SQL["kinds"], head.tenant_no)
        kinds = {tuple(name): number for number, *name in rows}
        cached[kinds_version] = kinds
    return kinds


async def read_known(connection: Connection, head: HeadDraft, log: PostgresTenantLog, events: list[NewEvent]) -> None:
    """Read what the log has of these events: their ids, their actors, and the flows of their causes."""
    if not head.size or not events:
        return
    ids = {new.id for new in events}
    causes = {
        new.causation_id for new in events if new.correlation_id is None and cause_id_from(new.causation_id) is not None
    }
    rows = await connection.fetch(_SQL["stored_ids"], head.tenant_no, list(ids | causes))
    log.correlations = {str(id_): correlation_id for id_, _, correlation_id in rows}
    repeated = [position for id_, position, _ in rows if str(id_) in ids]
    if repeated:
        text = _SQL["full_event"] + " AND e.position = ANY($2::bigint[])"
        found = [event_from(head.tenant, row) for row in await connection.fetch(text, head.tenant_no, repeated)]
        log.events = {event.id: event for event in found}
    asked = {(new.actor_id, new.actor_type) for new in events}
    rows = await connection.fetch(_SQL["actor_number"], head.tenant_no, *_columns(asked))
    log.actors = {(actor_id, actor_type): number for number, actor_id, actor_type in rows if number is not None}


async def insert(
    connection: Connection,
    head: HeadDraft,
    log: PostgresTenantLog,
    batch: Batch,
    kinds_version: int,
    statement: str,
    rows_of: Callable[[HeadDraft, Batch], list[tuple[Any, ...]]],
) -> None:
    """Write the batch's rows by a statement, its rollups, and the head that counts them. `kinds_version` is the one
    that was read with the head; new kinds replace it."""
    tenant_no = head.tenant_no
    if log.new_kinds:
        kinds_version = secrets.randbits(63)
        rows: Iterable[tuple[Any, ...]] = [(number, *name) for name, number in log.new_kinds.items()]
        await connection.execute(_SQL["add_kind"], tenant_no, *_columns(rows))
    if log.new_actors:
        rows = [(number, *name) for name, number in log.new_actors.items()]
        await connection.execute(_SQL["add_actor"], tenant_no, *_columns(rows))
    count(batch)
    await _number_flows(connection, head, batch)
    await _number_resources(connection, head, batch)
    await connection.execute(statement, tenant_no, *_columns(rows_of(head, batch)))
    await _roll_up(connection, head, batch.occurrences)
    if is_fold_due(head):
        await fold_transitions(connection, tenant_no, head.folded_to, head.size)
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
        kinds_version,
    )


async def _number_flows(connection: Connection, head: HeadDraft, batch: Batch) -> None:
    rows = [
        (number, correlation_id, *flow[:4])
        for number, (correlation_id, flow) in enumerate(batch.flows.items(), head.flows + 1)
    ]
    for number, correlation_id in await connection.fetch(_SQL["add_to_flow"], head.tenant_no, *_columns(rows)):
        batch.flows[correlation_id][4] = number
        head.flows = max(head.flows, number)


async def _number_resources(connection: Connection, head: HeadDraft, batch: Batch) -> None:
    rows = [
        (number, *name, resource[0])
        for number, (name, resource) in enumerate(batch.resources.items(), head.resources + 1)
    ]
    found = await connection.fetch(_SQL["add_to_resource"], head.tenant_no, *_columns(rows))
    for number, resource_id, resource_type in found:
        batch.resources[str(resource_id), resource_type][1] = number
        head.resources = max(head.resources, number)


def _rows(head: HeadDraft, batch: Batch) -> list[tuple[Any, ...]]:
    """The event rows of a batch, whose leaves are added to the head's tree."""
    return [
        (
            event.position,
            event.id,
            event.occurred_at,
            event.recorded_at,
            kind,
            actor,
            batch.flows[event.correlation_id][4],
            batch.resources[event.resource_id, event.resource_type][1],
            event.causation_id,
            cause_id_from(event.causation_id),
            leaf,
            salt,
            event.payload,
        )
        for event, (_, kind, actor), (leaf, salt) in zip(
            batch.events, batch.occurrences, leaves(head, batch), strict=True
        )
    ]


def _columns(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    """Rows turned into the arrays that `unnest` takes."""
    return zip(*rows, strict=True)


async def _roll_up(connection: Connection, head: HeadDraft, occurrences: list[rollups.Occurrence]) -> None:
    """Count stored events into the buckets of every level that has rows for them, and divide what got too full."""
    tenant_no = head.tenant_no
    buckets: list[tuple[int, ...]] = []
    kinds: list[tuple[int, ...]] = []
    actors: list[tuple[int, ...]] = []
    full: list[tuple[int, int]] = []
    levels = range(rollups.LAST_LEVEL + 1)
    known = await _known_buckets(connection, tenant_no, levels, occurrences) if len(occurrences) <= _FEW else None
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
    """Give a bucket its children, counted from the raw events, and go on with those that are too full themselves."""
    tenant_no = head.tenant_no
    within = rollups.bounds(level, bucket)
    first = rollups.child_span(level, bucket).first
    if level == 0:
        first = rollups.bucket_of(1, await connection.fetchval(_SQL["first_time"], tenant_no))
    values = (
        tenant_no,
        level + 1,
        first,
        rollups.bounds(level + 1, first).since,
        rollups.WIDTHS_US[level + 1],
        within.since,
        within.until,
    )
    children = await connection.fetch(_SQL["divide_bucket"], *values)
    await connection.execute(_SQL["divide_rollup_kind"], *values)
    await connection.execute(_SQL["divide_rollup_actor"], *values)
    await connection.execute(_SQL["mark_divided"], tenant_no, level, bucket)
    await total_divided_bucket(connection, tenant_no, head.folded_to, level, bucket)
    for child, events in children:
        if rollups.is_full(level + 1, events):
            await _divide(connection, head, level + 1, child)
