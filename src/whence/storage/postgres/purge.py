"""A batch of a purge: events and all that counts them, in the caller's transaction, under the row lock on the head.

The steps are those of `storage/purging.py`. The events are deleted before anything that is computed from those that
are left. What is left of a kind or an actor is read from the one bucket of level 0, and not from the events: an index
keeps the entries of deleted rows until VACUUM, and a search from its old end would walk over all of them.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence

from whence import rollups, transitions
from whence.actor_totals import Counted, subtracted
from whence.errors import Unsound
from whence.merkle import HASH_SIZE
from whence.storage.folding import BucketName, SetStatements
from whence.storage.postgres.actor_totals import fold_actor_totals
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.packed_sets import fold_counts
from whence.storage.postgres.payload_index import forget_payload_values
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
from whence.storage.walks import run_walk_async
from whence.tiles import TILE_WIDTH, appended_tiles

__all__ = ["forget_content", "purge_events", "tile_leaves"]

_SQL = load_blocks("whence.storage.postgres")


async def purge_events(connection: Connection, head: HeadDraft, purge: Purge) -> int:
    """Remove the events of a purge from the log whose locked head this is, and save the head. Returns how many events
    went.

    Raises ValueError for a purge that is not allowed, and Unsound, after which nothing may be committed, when the log
    has fewer events in some count than are to be taken out.
    """
    check_purge(purge, head.size, head.retained_from)
    tenant_no = head.tenant_no
    kinds = {number: Kind(number, *words) for number, *words in await connection.fetch(_SQL["kinds"], tenant_no)}
    rows = await connection.fetch(_SQL["purge_rows"], tenant_no, purge.since, purge.upto)
    departing = Departing(purge, [PurgeRow(*each) for each in rows], kinds)
    retained_from = max(head.retained_from, purge.upto)
    if not departing.rows and retained_from == head.retained_from:
        return 0
    await tile_leaves(connection, tenant_no, retained_from)
    kinds_removed = 0
    if departing.rows:
        if departing.positions[-1] > head.folded_to:
            await fold_transitions(connection, head)
            await fold_actor_totals(connection, head)
            head.folded_to = head.size
        going = await _departing_transitions(connection, head, departing)
        await forget_payload_values(connection, tenant_no, departing.positions)  # which reads the payloads
        await connection.execute(_SQL["delete_event"], tenant_no, departing.positions)
        await _remove_transitions(connection, tenant_no, departing, going, retained_from)
        await _reduce(connection, head, departing)
        kinds_removed = await _take_from_names(connection, tenant_no, departing)
        await forget_content(connection, tenant_no, departing.positions)
        await _forget_deliveries(connection, tenant_no, departing.positions)
    await connection.execute(
        _SQL["save_purge"],
        tenant_no,
        head.folded_to,
        head.payload_bytes - departing.payload_bytes,
        head.measured_to,
        head.kinds_removed + kinds_removed,
        max(head.removed_recorded_at, departing.recorded_at),
        retained_from,
        secrets.randbits(63),
    )
    return len(departing.rows)


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
    """The transitions that go with the events, by bucket. Before the events are deleted."""
    folded = head.tenant_no, head.folded_to
    causes = departing.causes
    known = await connection.fetch(_SQL["folded_causes"], *folded, causes) if causes else []
    effects = await connection.fetch(_SQL["folded_effects"], *folded, departing.ids)
    return transitions.by_bucket(departing_transitions(departing, known, effects))


async def _remove_transitions(
    connection: Connection,
    tenant_no: int,
    departing: Departing,
    going: dict[BucketName, transitions.Transitions],
    retained_from: int,
) -> None:
    """Add transitions to the removed ones. A bucket without events loses both."""
    buckets = sorted(transition_buckets(departing.occurrences))
    edges = [rollups.bounds(level, bucket) for level, bucket in buckets]
    columns = [*zip(*buckets, strict=True), [edge.since for edge in edges], [edge.until for edge in edges]]
    left = {tuple(row) for row in await connection.fetch(_SQL["has_events_between"], tenant_no, *columns)}
    emptied = [bucket for bucket in buckets if bucket not in left]
    if emptied:
        names = list(zip(*emptied, strict=True))
        await connection.execute(_SQL["delete_transitions"], tenant_no, *names)
        await connection.execute(_SQL["delete_removed_transitions"], tenant_no, *names)
    for bucket in emptied:
        going.pop(bucket, None)
    statements = SetStatements(
        _SQL["removed_transition_sizes"], _SQL["take_removed_transitions"], _SQL["add_removed_transitions"]
    )
    await fold_counts(connection, tenant_no, retained_from, statements, going, transitions.pack, transitions.merged)


async def _reduce(connection: Connection, head: HeadDraft, departing: Departing) -> None:
    """Take the events out of the buckets of every level."""
    tenant_no = head.tenant_no

    async def answer(question: ReduceBuckets) -> dict[int, tuple[int, bool]]:
        columns = zip(*question.events.items(), strict=True)
        rows = await connection.fetch(_SQL["take_from_bucket"], tenant_no, question.level, *columns)
        return {bucket: (events, divided) for bucket, events, divided in rows}

    reduced: Reduced = await run_walk_async(reduce_buckets(departing), answer)
    if reduced.emptied:
        names = list(zip(*reduced.emptied, strict=True))
        for block in ("delete_bucket", "delete_rollup_kind", "delete_rollup_actor", "delete_actor_totals"):
            await connection.execute(_SQL[block], tenant_no, *names)
    for table, counts in (("rollup_kind", reduced.kinds), ("rollup_actor", reduced.actors)):
        rows = [(*name, events) for name, events in counts.items()]
        await _subtract(connection, f"drop_from_{table}", f"take_from_{table}", tenant_no, rows)
    if reduced.totals:
        await _subtract_totals(connection, head, reduced.totals)


async def _take_from_names(connection: Connection, tenant_no: int, departing: Departing) -> int:
    """Take the events out of the rows of their flows and resources; rows and names without an event go. Returns how
    many kinds went."""
    flows = [(flow, events, failures) for flow, (events, failures) in departing.flows.items()]
    await _subtract(connection, "drop_flow", "take_from_flow", tenant_no, flows)
    await _subtract(connection, "drop_resource", "take_from_resource", tenant_no, departing.resources.items())
    await connection.execute(_SQL["drop_unused_actor"], tenant_no, list(departing.actors))
    return len(await connection.fetch(_SQL["drop_unused_kind"], tenant_no, list(departing.kinds)))


async def _subtract(
    connection: Connection, drop: str, take: str, tenant_no: int, rows: Iterable[Sequence[int]]
) -> None:
    """Subtract counts from rows by the block `take`, after the block `drop` has deleted those that count nothing else.
    Raises Unsound when a row is missing or counts less."""
    columns = list(zip(*rows, strict=True))
    if not columns:
        return
    changed = 0
    for block in (drop, take):
        status: str = await connection.execute(_SQL[block], tenant_no, *columns)
        changed += int(status.rpartition(" ")[2])
    if changed != len(columns[0]):
        raise Unsound("Events are counted wrong. Run 'whence verify'.")


async def _subtract_totals(connection: Connection, head: HeadDraft, totals: Mapping[BucketName, Counted]) -> None:
    """Subtract what actors did from the packed sets of divided buckets, which become one set each."""
    columns = [*zip(*totals, strict=True), [0] * len(totals)]
    taken: dict[BucketName, list[bytes]] = {}
    for level, bucket, packed in await connection.fetch(_SQL["take_actor_totals"], head.tenant_no, *columns):
        taken.setdefault((level, bucket), []).append(packed)
    left: list[tuple[int, int, bytes]] = []
    try:
        for name, counted in totals.items():
            packed = subtracted(head.actors, taken.get(name, []), counted)
            if packed:  # else all events that are left came after the last fold
                left.append((*name, packed))
    except ValueError:
        raise Unsound("What actors did is counted wrong. Run 'whence verify'.") from None
    if left:
        new = zip(*left, strict=True)
        await connection.execute(_SQL["add_actor_totals"], head.tenant_no, head.folded_to, *new)


async def forget_content(connection: Connection, tenant_no: int, positions: Sequence[int]) -> None:
    """Remove what is kept of payloads beside the events at these positions: what webhooks answered to them. The caller
    has locked the deliveries of the tenant."""
    for webhook_id in await _webhooks(connection, tenant_no):
        await connection.execute(_SQL["erase_answers"], tenant_no, webhook_id, positions)


async def _forget_deliveries(connection: Connection, tenant_no: int, positions: Sequence[int]) -> None:
    """Remove the deliveries of the events at these positions, and their attempts."""
    for webhook_id in await _webhooks(connection, tenant_no):
        await connection.execute(_SQL["delete_attempts"], tenant_no, webhook_id, positions)
        await connection.execute(_SQL["delete_delivery"], tenant_no, webhook_id, positions)


async def _webhooks(connection: Connection, tenant_no: int) -> list[str]:
    """The webhooks that have deliveries."""
    return [id_ for (id_,) in await connection.fetch(_SQL["webhooks_with_deliveries"], tenant_no)]
