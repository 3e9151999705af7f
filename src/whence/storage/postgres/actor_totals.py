"""What each actor did, in packed sets: folded a few thousand events at a time, and summed over a range of time."""

from collections.abc import Mapping, Sequence

from whence import rollups
from whence.actor_totals import ActorTotals, UnfoldedEvents, by_outcome, pack, summed
from whence.storage.folding import BucketName, Divided, count_divided_buckets
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.packed_sets import SetStatements, fold_counts
from whence.storage.sequencing import HeadDraft
from whence.storage.sql import load_blocks
from whence.storage.walks import run_walk_async

__all__ = ["add_spans", "fold_actor_totals", "outcomes_of", "total_divided_bucket", "unfolded_events"]

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
    await fold_counts(connection, head, statements, counted, pack, lambda taken, new: summed(head.actors, taken, new))


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


async def add_spans(
    connection: Connection,
    tenant_no: int,
    spans: tuple[Sequence[int], ...],
    folded_to: int | None,
    outcomes: Mapping[int, str],
    total: ActorTotals,
) -> None:
    """Add what each actor did in whole buckets. `spans` as the statements take them; `folded_to` is the position of the
    last fold, None when no event came since."""
    rows = await connection.fetch(_SQL["span_of_actor_totals"], tenant_no, *spans)
    for _, _, sign, packed in rows:
        if packed is not None:
            total.add_packed(packed, sign)
    if folded_to is not None and rows:
        new = await unfolded_events(connection, tenant_no, folded_to, outcomes)
        for level, bucket, sign in {(level, bucket, sign) for level, bucket, sign, _ in rows}:
            total.add(new.within(rollups.bounds(level, bucket)), sign)
    single = await connection.fetch(_SQL["span_by_actor_undivided"], tenant_no, *spans)
    total.add(by_outcome(single, outcomes))
