"""Appending: repeats, numbers, hashes, rows and rollups of some requests of one tenant, in one transaction.

The tenant's head is locked first and until the commit. Behind it what is known of the names is read, the events are
placed in memory, and then every table gets its rows by one statement. A request that is refused as a whole is taken
back in memory, before anything of it was written.
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
from whence.storage.placing import ActorName, Batch, Head, KindName, count, is_fold_due, leaves, place_requests
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.rows import cause_id_from, event_from
from whence.storage.postgres.tallies import fold_tallies, tally_divided
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.postgres.traces import fold_links
from whence.storage.sql import load_blocks

__all__ = ["Kinds", "append", "insert", "locked_head"]

_SQL = load_blocks("whence.storage.postgres")

_FEW = 100
"""Up to so many events, the buckets of all levels are asked for at once: one way to the server instead of several."""

Kinds = dict[KindName, int]


class _Log:
    """As `placing.Log` says; what requests may need is read before they are placed."""

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


async def locked_head(connection: Connection, tenant: Tenant) -> tuple[Head, int]:
    """A tenant's head, which is made when there is none and held until the commit, and the mark of its kinds."""
    row = await head_row(connection, tenant, "lock_head")
    if row is None:
        await connection.execute(_SQL["add_head"], tenant.number, tenant.name)
        row = await head_row(connection, tenant, "lock_head")
    if row is None:
        raise Unavailable("The tenant could not be made.")
    *columns, mark = row
    return Head(tenant.name, tuple(columns)), mark


async def append(
    connection: Connection, tenant: Tenant, writes: Sequence[Write], cached: dict[int, Kinds]
) -> list[list[Receipt] | WhenceError]:
    """Store requests of one tenant, in order.

    `cached` holds kinds by the mark of the head that they belong to.
    """
    head, mark = await locked_head(connection, tenant)
    head.recorded_at = max(time.time_ns() // 1_000, head.recorded_at)
    log = _Log(await _kinds(connection, head, cached, mark))
    await _look_up(connection, head, log, [new for write in writes for new in write.events])
    batch = Batch()
    results = place_requests(log, head, batch, writes)
    if batch.events:
        await insert(connection, head, log, batch, mark, _SQL["add_event"], _rows)
    return results


async def _kinds(connection: Connection, head: Head, cached: dict[int, Kinds], mark: int) -> Kinds:
    if not head.kinds:
        return {}
    kinds = cached.get(mark)
    if kinds is None:
        rows = await connection.fetch(_SQL["kinds"], head.tenant_no)
        kinds = {tuple(name): number for number, *name in rows}
        cached[mark] = kinds
    return kinds


async def _look_up(connection: Connection, head: Head, log: _Log, events: list[NewEvent]) -> None:
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
    head: Head,
    log: _Log,
    batch: Batch,
    mark: int,
    statement: str,
    rows_of: Callable[[Head, Batch], list[tuple[Any, ...]]],
) -> None:
    """Write the batch's rows by a statement, its rollups, and the head that counts them. `mark` is that of the head's
    kinds; new ones give it another."""
    tenant_no = head.tenant_no
    if log.new_kinds:
        mark = secrets.randbits(63)
        rows: Iterable[tuple[Any, ...]] = [(number, *name) for name, number in log.new_kinds.items()]
        await connection.execute(_SQL["add_kind"], tenant_no, *_columns(rows))
    if log.new_actors:
        rows = [(number, *name) for name, number in log.new_actors.items()]
        await connection.execute(_SQL["add_actor"], tenant_no, *_columns(rows))
    count(batch)
    await _number_flows(connection, head, batch)
    await _number_resources(connection, head, batch)
    await connection.execute(statement, tenant_no, *_columns(rows_of(head, batch)))
    await _roll_up(connection, head, batch.placed)
    if is_fold_due(head):
        await fold_links(connection, tenant_no, head.linked, head.size)
        await fold_tallies(connection, head)
        head.linked = head.size
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
        head.linked,
        mark,
    )


async def _number_flows(connection: Connection, head: Head, batch: Batch) -> None:
    rows = [
        (number, correlation_id, *flow[:4])
        for number, (correlation_id, flow) in enumerate(batch.flows.items(), head.flows + 1)
    ]
    for number, correlation_id in await connection.fetch(_SQL["add_to_flow"], head.tenant_no, *_columns(rows)):
        batch.flows[correlation_id][4] = number
        head.flows = max(head.flows, number)


async def _number_resources(connection: Connection, head: Head, batch: Batch) -> None:
    rows = [
        (number, *name, resource[0])
        for number, (name, resource) in enumerate(batch.resources.items(), head.resources + 1)
    ]
    found = await connection.fetch(_SQL["add_to_resource"], head.tenant_no, *_columns(rows))
    for number, resource_id, resource_type in found:
        batch.resources[str(resource_id), resource_type][1] = number
        head.resources = max(head.resources, number)


def _rows(head: Head, batch: Batch) -> list[tuple[Any, ...]]:
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
        for event, (_, kind, actor), (leaf, salt) in zip(batch.events, batch.placed, leaves(head, batch), strict=True)
    ]


def _columns(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    """Rows turned into the arrays that `unnest` takes."""
    return zip(*rows, strict=True)


async def _roll_up(connection: Connection, head: Head, placed: list[rollups.Placed]) -> None:
    """Count stored events into the buckets of every level that has rows for them, and divide what got too full."""
    tenant_no = head.tenant_no
    buckets: list[tuple[int, ...]] = []
    kinds: list[tuple[int, ...]] = []
    actors: list[tuple[int, ...]] = []
    full: list[tuple[int, int]] = []
    levels = range(rollups.LAST_LEVEL + 1)
    known = await _known_buckets(connection, tenant_no, levels, placed) if len(placed) <= _FEW else None
    for level in levels:
        here = known if known is not None else await _known_buckets(connection, tenant_no, (level,), placed)
        groups = rollups.by_bucket(level, placed)
        placed = []
        for bucket, members in groups.items():
            events, divided = here.get((level, bucket), (0, False))
            if divided:
                placed += members
            elif rollups.is_full(level, events + len(members)):
                full.append((level, bucket))
            by_kind = Counter([kind for _, kind, _ in members])
            by_actor = Counter([(actor, kind) for _, kind, actor in members])
            buckets.append((level, bucket, len(members)))
            kinds += [(level, bucket, kind, events) for kind, events in by_kind.items()]
            actors += [(level, bucket, *name, events) for name, events in by_actor.items()]
        if not placed:
            break
    await connection.execute(_SQL["add_to_bucket"], tenant_no, *_columns(buckets))
    await connection.execute(_SQL["add_to_rollup_kind"], tenant_no, *_columns(kinds))
    await connection.execute(_SQL["add_to_rollup_actor"], tenant_no, *_columns(actors))
    for level, bucket in full:
        await _divide(connection, head, level, bucket)


async def _known_buckets(
    connection: Connection, tenant_no: int, levels: Iterable[int], placed: list[rollups.Placed]
) -> dict[tuple[int, int], tuple[int, bool]]:
    """How many events the buckets of these levels hold before this append, and whether they are divided."""
    asked = [(level, bucket) for level in levels for bucket in rollups.by_bucket(level, placed)]
    rows = await connection.fetch(_SQL["buckets_known"], tenant_no, *_columns(asked))
    return {(level, bucket): (events, divided) for level, bucket, events, divided in rows}


async def _divide(connection: Connection, head: Head, level: int, bucket: int) -> None:
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
    await tally_divided(connection, tenant_no, head.linked, level, bucket)
    for child, events in children:
        if rollups.is_full(level + 1, events):
            await _divide(connection, head, level + 1, child)
