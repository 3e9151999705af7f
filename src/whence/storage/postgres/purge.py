"""A batch of a purge: events and all that counts them, in the caller's transaction.

The steps are those of `storage/purging.py`. An append waits for the row lock on the head, so what no append writes is
done before that is taken: the rows are read, the leaves go to the tiles, the transitions to the removed ones, and the
events are deleted, which others see with the commit. Under the row lock it is checked that nothing has changed which
that depends on. Then the counts are reduced, by statements that are sent together. The events are deleted before
anything that is computed from those that are left. What is left of a kind or an actor is read from the one bucket of
level 0, and not from the events: an index keeps the entries of deleted rows until VACUUM, and a search from its old end
would walk over all of them.
"""

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import astuple

from whence import rollups, transitions
from whence.actor_totals import Counted, subtracted
from whence.errors import Unsound
from whence.merkle import HASH_SIZE
from whence.storage.folding import BucketName, SetStatements
from whence.storage.postgres.actor_totals import fold_actor_totals
from whence.storage.postgres.append import KindsCache, head_draft, latest_removal
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.joined_statements import Statement, run_statements
from whence.storage.postgres.packed_sets import fold_counts
from whence.storage.postgres.payload_index import forget_payload_values
from whence.storage.postgres.rows import PostgresHeadRow
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.postgres.transitions import fold_transitions
from whence.storage.purging import (
    Departing,
    PurgeRow,
    ReduceBuckets,
    Reduced,
    check_purge,
    departing_transitions,
    reduce_buckets,
    transition_buckets,
)
from whence.storage.removals import Purge
from whence.storage.resolve import Kind
from whence.storage.sequencing import HeadDraft
from whence.storage.sql import load_blocks
from whence.storage.walks import run_walk
from whence.tiles import TILE_WIDTH, appended_tiles

__all__ = ["LockHead", "PurgeOvertaken", "forget_content", "purge_events", "tile_leaves"]

_SQL = load_blocks("whence.storage.postgres")

LockHead = Callable[[], Awaitable[PostgresHeadRow | None]]
"""Takes the row lock on the head, unless the transaction has it, and returns the head. Raises HoldsChanged."""

Buckets = dict[BucketName, tuple[int, bool]]
"""How many events a bucket has, and whether it is divided."""


class PurgeOvertaken(Exception):
    """Another removal came between the reads of a batch and its row lock. Roll back, and do the batch again under the
    row lock."""


class _Batch(NamedTuple):
    """What was read for a batch, under the head as it was then."""

    head: HeadDraft
    departing: Departing
    kinds: Mapping[int, Kind]
    retained_from: int

    @property
    def is_folded(self) -> bool:
        """Whether all of the events that go are in the packed sets."""
        return not self.departing.rows or self.departing.positions[-1] <= self.head.folded_to


Totals = dict[BucketName, bytes]
"""What is left of the packed sets of actor totals of divided buckets, as one set each; no bytes when all events that
are left came after the last fold."""

Columns = tuple[Sequence[Any], ...]
"""Rows as the arrays that `unnest` takes."""


class _Plan(NamedTuple):
    """What a batch takes out of the counts: `reduced`, found from the buckets as they were read, and as columns for
    each of `_WIDTHS`. `totals` are what will be left of packed sets, as far as it was computed."""

    buckets: Buckets
    reduced: Reduced
    columns: Mapping[tuple[str, ...], Columns]
    totals: Totals

    def holds_for(self, found: Buckets) -> bool:
        """Whether it is also right for the buckets as they are now. Appends may have added events, but to no bucket
        that was to be emptied, and may have divided none."""
        emptied = {*self.reduced.emptied}
        return self.buckets.keys() == found.keys() and all(
            found[name] == known or (found[name][1] == known[1] and name not in emptied)
            for name, known in self.buckets.items()
        )


async def purge_events(
    connection: Connection,
    owner: Tenant,
    purge: Purge,
    lock_head: LockHead,
    cached: KindsCache | None,
    *,
    early: bool,
    joined: bool,
) -> int:
    """Remove the events of a purge, and save the head. Returns how many events went.

    With `early`, what no append writes is done before the row lock is taken. `joined` sends statements together, which
    Citus does not allow. `cached` gets the kinds that are left, so that the next append need not read them.

    Raises ValueError for a purge that is not allowed; PurgeOvertaken; and Unsound when the log has fewer events in some
    count than are to be taken out. After these two nothing may be committed.
    """
    row = await head_row(connection, owner) if early else await lock_head()
    if row is None:
        return 0
    batch = await _read(connection, HeadDraft(owner.name, row), purge)
    fields = await connection.fetch(_SQL["payload_fields"], owner.number)
    # The index of payload fields is read and written under the row lock, and needs the payloads.
    begun = early and batch.is_folded and not fields
    plan = None
    if begun:
        try:
            plan = await _begin(connection, batch)
        except Unsound:  # or a fold came between two reads
            raise PurgeOvertaken from None
    locked = await lock_head()
    if locked is None or _is_overtaken(row, locked, begun=begun):
        raise PurgeOvertaken
    head = await head_draft(connection, owner, locked)
    if plan is None:
        if not batch.is_folded:
            await fold_transitions(connection, head)
            await fold_actor_totals(connection, head)
            head.folded_to = head.size
        await forget_payload_values(connection, owner.number, batch.departing.positions)
        plan = await _begin(connection, batch._replace(head=head))
    if not batch.departing.rows and batch.retained_from == head.retained_from:
        return 0
    if _has_new_kinds(row, locked):
        cached = None
    await _finish(connection, head, batch, plan, locked.kinds_version, cached, begun=begun, joined=joined)
    return len(batch.departing.rows)


def _is_overtaken(read: PostgresHeadRow, locked: PostgresHeadRow, *, begun: bool) -> bool:
    """Whether what was read under the first head may be wrong under the second: another removal has come, or a fold,
    which has counted effects that came meanwhile."""
    return locked.removal_epoch != read.removal_epoch or (begun and locked.folded_to != read.folded_to)


def _has_new_kinds(read: PostgresHeadRow, locked: PostgresHeadRow) -> bool:
    """Whether an append has added kinds since they were read."""
    return locked.kinds_version != read.kinds_version


async def _read(connection: Connection, head: HeadDraft, purge: Purge) -> _Batch:
    """Read the events of a batch."""
    check_purge(purge, head.size, head.retained_from)
    tenant_no = head.tenant_no
    kinds = {number: Kind(number, *words) for number, *words in await connection.fetch(_SQL["kinds"], tenant_no)}
    rows = await connection.fetch(_SQL["purge_rows"], tenant_no, purge.since, purge.upto)
    departing = Departing(purge, [PurgeRow(*each) for each in rows], kinds)
    return _Batch(head, departing, kinds, max(head.retained_from, purge.upto))


async def _begin(connection: Connection, batch: _Batch) -> _Plan:
    """Do what no append has to wait for. Returns what is to be taken out of the counts."""
    head, departing = batch.head, batch.departing
    tenant_no = head.tenant_no
    await tile_leaves(connection, tenant_no, batch.retained_from)
    if not departing.rows:
        return _planned(departing, {}, {})
    going = await _departing_transitions(connection, head, departing)
    statements = SetStatements(
        _SQL["removed_transition_sizes"], _SQL["take_removed_transitions"], _SQL["add_removed_transitions"]
    )
    await fold_counts(
        connection, tenant_no, batch.retained_from, statements, going, transitions.pack, transitions.merged
    )
    plan = _planned(departing, await _buckets(connection, tenant_no, departing), {})
    counted = plan.reduced.totals
    stored: Sequence[Any] = ()
    if counted:
        stored = await connection.fetch(_SQL["actor_totals_of"], tenant_no, *_columns(counted, 2))
    totals = _left(head, counted, stored)
    status: str = await connection.execute(_SQL["delete_event"], tenant_no, departing.positions)
    if status.rpartition(" ")[2] != str(len(departing.positions)):
        raise PurgeOvertaken
    return plan._replace(totals=totals)


async def tile_leaves(connection: Connection, tenant_no: int, retained_from: int, more: bytes = b"") -> None:
    """Append the leaves of the positions before `retained_from` to the tiles of level 0, as far as they are missing,
    and then `more`. Raises Unsound when an event is."""
    number, length = await connection.fetchrow(_SQL["last_tile"], tenant_no, 0) or (0, 0)
    tiled, partial = number * TILE_WIDTH + length // HASH_SIZE, b""
    if tiled >= retained_from - 1 and not more:
        return
    if tiled % TILE_WIDTH:
        partial = await connection.fetchval(_SQL["tile"], tenant_no, 0, number, length)
    leaves = await connection.fetchval(_SQL["leaves"], tenant_no, tiled, retained_from - 1)
    if len(leaves) != (retained_from - 1 - tiled) * HASH_SIZE:
        raise Unsound("Events of the log are missing. Run 'whence verify'.")
    numbers, hashes = zip(*appended_tiles(tiled, partial, leaves + more), strict=True)
    await connection.execute(_SQL["put_tile"], tenant_no, [0] * len(numbers), numbers, hashes)


async def _departing_transitions(
    connection: Connection, head: HeadDraft, departing: Departing
) -> dict[BucketName, transitions.Transitions]:
    """The transitions that go with the events, by bucket."""
    folded = head.tenant_no, head.folded_to
    causes = departing.causes
    known = await connection.fetch(_SQL["folded_causes"], *folded, causes) if causes else []
    effects = await connection.fetch(_SQL["folded_effects"], *folded, departing.ids)
    return transitions.by_bucket(departing_transitions(departing, known, effects))


async def _buckets(connection: Connection, tenant_no: int, departing: Departing) -> Buckets:
    """The buckets of every level in which the events are."""
    lookup = _buckets_lookup(departing)
    return _buckets_from(await connection.fetch(lookup.text, tenant_no, *lookup.values))


def _buckets_lookup(departing: Departing) -> Statement:
    names = [
        (level, bucket)
        for level in range(rollups.LAST_LEVEL + 1)
        for bucket in rollups.by_bucket(level, departing.occurrences)
    ]
    return Statement(_SQL["buckets_known"], _columns(names, 2), answers=True)


def _buckets_from(rows: Sequence[Any]) -> Buckets:
    return {(level, bucket): (events, divided) for level, bucket, events, divided in rows}


def _planned(departing: Departing, buckets: Buckets, totals: Totals) -> _Plan:
    """What the batch takes out of these buckets, and with them out of all that counts its events."""

    def answer(question: ReduceBuckets) -> dict[int, tuple[int, bool]]:
        known = {bucket: buckets.get((question.level, bucket), (-1, False)) for bucket in question.events}
        return {bucket: (events - question.events[bucket], divided) for bucket, (events, divided) in known.items()}

    reduced = run_walk(reduce_buckets(departing), answer)
    rows = zip(_WIDTHS.items(), _counts(departing, reduced), strict=True)
    return _Plan(buckets, reduced, {blocks: _columns(each, width) for (blocks, width), each in rows}, totals)


def _left(head: HeadDraft, totals: Mapping[BucketName, Counted], rows: Sequence[Any]) -> Totals:
    """What is left of the packed sets of some buckets; `rows` has each of these with its bucket."""
    stored: dict[BucketName, list[bytes]] = {}
    for level, bucket, packed in rows:
        stored.setdefault((level, bucket), []).append(packed)
    try:
        return {name: subtracted(head.actors, stored.get(name, []), counts) for name, counts in totals.items()}
    except ValueError:
        raise Unsound("What actors did is counted wrong. Run 'whence verify'.") from None


async def _finish(
    connection: Connection,
    head: HeadDraft,
    batch: _Batch,
    plan: _Plan,
    kinds_version: int,
    cached: KindsCache | None,
    *,
    begun: bool,
    joined: bool,
) -> None:
    """Take the events, which are deleted, out of all that counts them, and save the head. `begun` says that this was
    planned before the row lock was taken. `cached` gets the kinds that are left, if their version changes."""
    departing, tenant_no = batch.departing, head.tenant_no
    kinds_removed: frozenset[int] = frozenset()
    last: list[Statement] = []
    if departing.rows:
        reads = [
            _buckets_lookup(departing),
            _periods_lookup(departing),
            Statement(_SQL["webhooks_with_deliveries"], (), answers=True),
            Statement(_SQL["payload_fields"], (), answers=True),
        ]
        rows, left, webhooks, fields = await run_statements(connection, tenant_no, reads, joined=joined)
        if fields and begun:
            raise PurgeOvertaken
        if not plan.holds_for(buckets := _buckets_from(rows)):
            plan = _planned(departing, buckets, plan.totals)
        periods = transition_buckets(departing.occurrences) - {tuple(row) for row in left}
        kinds_removed, totals = await _subtract(connection, head, departing, plan, periods, joined=joined)
        added = [(*name, packed) for name, packed in totals.items() if packed]
        if added:
            last.append(Statement(_SQL["add_actor_totals"], (head.folded_to, *_columns(added, 3))))
        last.append(Statement(_SQL["drop_unused_actor"], (list(departing.actors),)))
        last.append(Statement(_SQL["drop_unused_kind"], (list(kinds_removed),)))
        if webhooks:
            await connection.execute(_SQL["lock_deliveries"], head.tenant)
            for (webhook_id,) in webhooks:
                for block in ("erase_answers", "delete_attempts", "delete_delivery"):
                    await connection.execute(_SQL[block], tenant_no, webhook_id, departing.positions)
    recorded_at = max(head.removed_recorded_at, departing.recorded_at)
    if kinds_removed or latest_removal(recorded_at) != latest_removal(head.removed_recorded_at):
        kinds_version = secrets.randbits(63)
        if cached is not None:
            # Before the commit, so that an append which waits for it need not read them.
            kinds = {astuple(kind)[1:]: number for number, kind in batch.kinds.items() if number not in kinds_removed}
            cached.put(head.tenant, kinds_version, recorded_at, kinds)
    values = (
        head.folded_to,
        head.payload_bytes - departing.payload_bytes,
        head.measured_to,
        head.kinds_removed + len(kinds_removed),
        recorded_at,
        batch.retained_from,
        kinds_version,
    )
    await run_statements(connection, tenant_no, [*last, Statement(_SQL["save_purge"], values)], joined=joined)


def _periods_lookup(departing: Departing) -> Statement:
    """Which of the periods that have sets of transitions still have an event."""
    periods = sorted(transition_buckets(departing.occurrences))
    edges = [rollups.bounds(level, bucket) for level, bucket in periods]
    columns = (*_columns(periods, 2), [edge.since for edge in edges], [edge.until for edge in edges])
    return Statement(_SQL["has_events_between"], columns, answers=True)


async def _subtract(
    connection: Connection,
    head: HeadDraft,
    departing: Departing,
    plan: _Plan,
    periods: set[BucketName],
    *,
    joined: bool,
) -> tuple[frozenset[int], Totals]:
    """Subtract the events from every row that counts them; rows that count nothing else go, and so do the sets of
    transitions of `periods`, which have no event any more. Returns the kinds that no event has any more, and what is
    left of the packed sets of actors, which are taken out.

    Raises Unsound when a row is missing or counts less.
    """
    reduced, known = plan.reduced, plan.totals
    unknown = {name: counted for name, counted in reduced.totals.items() if name not in known}
    sets = *_columns(reduced.totals, 2), [0] * len(reduced.totals)
    statements = [Statement(_SQL["take_actor_totals"], sets, answers=bool(unknown))]
    for blocks, columns in plan.columns.items():
        statements += [Statement(_SQL[each], columns, answers=each == _DROP, counts=each != _DROP) for each in blocks]
    if reduced.emptied:
        statements += [Statement(_SQL[block], _columns(reduced.emptied, 2)) for block in _OF_EMPTY_BUCKETS]
    if periods:
        statements += [Statement(_SQL[block], _columns(sorted(periods), 2)) for block in _OF_EMPTY_PERIODS]
    taken, *answers = await run_statements(connection, head.tenant_no, statements, joined=joined)
    answered = dict(zip([block for blocks in plan.columns for block in blocks], answers, strict=False))
    dropped = answered.pop(_DROP)
    changed = {_DROP: len(dropped)} | {block: rows[0][0] for block, rows in answered.items()}
    if any(len(columns[0]) != sum(changed[block] for block in blocks) for blocks, columns in plan.columns.items()):
        raise Unsound("Events are counted wrong. Run 'whence verify'.")
    left = {name: known[name] for name in reduced.totals if name in known} | _left(head, unknown, taken)
    if (0, 0) in reduced.emptied:
        return departing.kinds, left
    return frozenset(kind for level, kind in dropped if level == 0), left


_OF_EMPTY_BUCKETS = ("delete_bucket", "delete_rollup_kind", "delete_rollup_actor", "delete_actor_totals")
_OF_EMPTY_PERIODS = ("delete_transitions", "delete_removed_transitions")
_DROP = "drop_from_rollup_kind"

_WIDTHS = {
    ("take_from_bucket",): 3,
    (_DROP, "take_from_rollup_kind"): 4,
    ("drop_from_rollup_actor", "take_from_rollup_actor"): 5,
    ("drop_flow", "take_from_flow"): 3,
    ("drop_resource", "take_from_resource"): 2,
}
"""The blocks that subtract, together those that change the same rows, each row once; and the columns of these."""


def _counts(departing: Departing, reduced: Reduced) -> tuple[list[tuple[int, ...]], ...]:
    """The rows that each of `_WIDTHS` subtracts."""
    buckets: Counter[BucketName] = Counter()
    for (level, bucket, _), events in reduced.kinds.items():
        buckets[level, bucket] += events
    return (
        [(*name, events) for name, events in buckets.items()],
        [(*name, events) for name, events in reduced.kinds.items()],
        [(*name, events) for name, events in reduced.actors.items()],
        [(flow, *counted) for flow, counted in departing.flows.items()],
        [*departing.resources.items()],
    )


def _columns(rows: Iterable[Sequence[Any]], width: int) -> Columns:
    """Rows as columns, of which there are so many."""
    return tuple(zip(*rows, strict=True)) or ([],) * width


async def forget_content(connection: Connection, tenant_no: int, positions: Sequence[int]) -> None:
    """Remove what is kept of payloads beside the events at these positions: what webhooks answered to them. The caller
    has locked the deliveries of the tenant."""
    for webhook_id in await _webhooks(connection, tenant_no):
        await connection.execute(_SQL["erase_answers"], tenant_no, webhook_id, positions)


async def _webhooks(connection: Connection, tenant_no: int) -> list[str]:
    """The webhooks that have deliveries."""
    return [id_ for (id_,) in await connection.fetch(_SQL["webhooks_with_deliveries"], tenant_no)]
