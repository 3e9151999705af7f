"""What each actor did, in packed sets: folded a few thousand events at a time, and summed over a range of time."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from whence import rollups
from whence.actor_totals import ActorTotals, UnfoldedEvents, by_outcome, pack, summed
from whence.storage.folding import BucketName, Divided, SetStatements, count_divided_buckets
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.packed_sets import fold_counts
from whence.storage.query_deadline import check_deadline
from whence.storage.sequencing import HeadDraft
from whence.storage.sql import load_blocks
from whence.storage.walks import run_walk_async

__all__ = [
    "SpanRows",
    "add_spans",
    "fold_actor_totals",
    "outcomes_of",
    "read_spans",
    "total_divided_bucket",
    "unfolded_events",
]

_SQL = load_blocks("whence.storage.postgres")


async def unfolded_events(
    connection: Connection, tenant_no: int, folded_to: int, outcomes: Mapping[int, str]
) -> UnfoldedEvents:
    """The events after the position `folded_to`. `outcomes` by kind."""
    return UnfoldedEvents(
        [tuple(row) for row in await connection.fetch(_SQL["unfolded_events"], tenant_no, folded_to)], outcomes
    )


async def fold_actor_totals(connection: Connection, head: HeadDraft) -> None:
    """Add the events since the last fold to every divided bucket that they fall in."""
    outcomes = await outcomes_of(connection, head.tenant_no)
    new = await unfolded_events(connection, head.tenant_no, head.folded_to, outcomes)

    async def answer(question: Divided) -> list[BucketName]:
        columns = zip(*question.buckets, strict=True)
        return [tuple(row) for row in await connection.fetch(_SQL["is_divided"], head.tenant_no, *columns)]

    counted = await run_walk_async(count_divided_buckets(new), answer)
    statements = SetStatements(_SQL["actor_total_sizes"], _SQL["take_actor_totals"], _SQL["add_actor_totals"])
    await fold_counts(
        connection,
        head.tenant_no,
        head.size,
        statements,
        counted,
        pack,
        lambda taken, new: summed(head.actors, taken, new),
    )


async def total_divided_bucket(connection: Connection, tenant_no: int, folded_to: int, level: int, bucket: int) -> None:
    """Add the first set of a bucket that was just divided: its events up to the last fold."""
    if not folded_to:
        return
    within = rollups.bounds(level, bucket)
    rows = await connection.fetch(_SQL["first_actor_totals"], tenant_no, within.since, within.until, folded_to)
    if rows:
        packed = pack(by_outcome(rows, await outcomes_of(connection, tenant_no)))
        await connection.execute(_SQL["add_actor_totals"], tenant_no, folded_to, [level], [bucket], [packed])


async def outcomes_of(connection: Connection, tenant_no: int) -> dict[int, str]:
    """The outcome of each kind."""
    return {kind: outcome for kind, _, _, _, outcome in await connection.fetch(_SQL["kinds"], tenant_no)}


class SpanRows(msgspec.Struct, frozen=True):
    """What is stored about the actors of whole buckets. `packed`: level, bucket, sign and packed totals or None.
    `unfolded`: the events after the last fold. `undivided`: actor, kind and events of the buckets without totals."""

    packed: Sequence[Any] = ()
    unfolded: Sequence[rollups.Occurrence] = ()
    undivided: Sequence[Any] = ()

    @property
    def size(self) -> int:
        """How many rows these are."""
        return len(self.packed) + len(self.unfolded) + len(self.undivided)


async def read_spans(
    connection: Connection, tenant_no: int, spans: tuple[Sequence[int], ...], folded_to: int | None
) -> SpanRows:
    """Read what `add_spans` adds. `spans` as the statements take them; events after the position `folded_to` are not
    in the packed totals, and it is None when there are no such events."""
    packed = await connection.fetch(_SQL["span_of_actor_totals"], tenant_no, *spans)
    unfolded = []
    if folded_to is not None and packed:
        unfolded = [tuple(row) for row in await connection.fetch(_SQL["unfolded_events"], tenant_no, folded_to)]
    return SpanRows(packed, unfolded, await connection.fetch(_SQL["span_by_actor_undivided"], tenant_no, *spans))


def add_spans(rows: SpanRows, outcomes: Mapping[int, str], total: ActorTotals) -> None:
    """Add what each actor did in whole buckets. `outcomes` by kind."""
    for _, _, sign, packed in rows.packed:
        check_deadline()
        if packed is not None:
            total.add_packed(packed, sign)
    if rows.unfolded:
        new = UnfoldedEvents(rows.unfolded, outcomes)
        for level, bucket, sign in {(level, bucket, sign) for level, bucket, sign, _ in rows.packed}:
            total.add(new.within(rollups.bounds(level, bucket)), sign)
    total.add(by_outcome(rows.undivided, outcomes))
