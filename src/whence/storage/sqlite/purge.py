"""Removing a batch of events from a tenant's log. `storage/purging.py` has the steps and says what goes; here are the
rows.

An append waits for the writer's transaction. So what only reads or computes is done before it, on a connection for
reading.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import apsw

from whence import rollups, transitions
from whence.actor_totals import Counted, subtracted
from whence.errors import Unsound
from whence.merkle import HASH_SIZE
from whence.storage.folding import BucketName, sets_to_merge
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
from whence.storage.sqlite.actor_totals import fold_actor_totals
from whence.storage.sqlite.append import NameCache
from whence.storage.sqlite.payload_index import forget_payload_values
from whence.storage.sqlite.rows import key_of
from whence.storage.sqlite.transitions import fold_transitions
from whence.storage.walks import run_walk
from whence.tiles import TILE_WIDTH, appended_tiles

__all__ = ["PreparedPurge", "forget_content", "forget_deliveries", "prepare_purge", "purge_events", "tile_leaves"]

_SQL = load_blocks("whence.storage.sqlite")


class _Gone(NamedTuple):
    """How many names went with the last of their events."""

    kinds: int
    flows: int


class PreparedPurge(NamedTuple):
    """What is read and computed for a batch, under the head of some state of the log. It stays right until another
    removal, or until a fold, since a fold counts effects that have come meanwhile.

    `removed` are the sets of removed transitions to add, by bucket, each with the position from which on the stored
    ones are in it, None for none of them. `totals` are what is left of the packed sets of actors; no bytes when all
    events that are left came after the last fold. A bucket is missing there that was divided later.
    """

    departing: Departing
    removal_epoch: int
    folded_to: int
    removed: dict[BucketName, tuple[int | None, bytes]]
    totals: dict[BucketName, bytes]


def prepare_purge(connection: apsw.Connection, head: HeadDraft, purge: Purge) -> PreparedPurge | None:
    """Read and compute what a batch needs, in any transaction. None when some of its events are not folded yet.

    Raises as `purge_events`.
    """
    check_purge(purge, head.size, head.retained_from)
    keys = key_of(head.tenant_no, purge.since), key_of(head.tenant_no, purge.upto)
    rows: list[Any] = connection.execute(_SQL["purge_rows"], keys).fetchall()
    departing = Departing(purge, map(PurgeRow._make, rows), _kinds(connection, head.tenant_no))
    if departing.rows and departing.positions[-1] > head.folded_to:
        return None
    return PreparedPurge(
        departing,
        head.removal_epoch,
        head.folded_to,
        _removed_transitions(connection, head, departing, max(head.retained_from, purge.upto)),
        _totals_left(connection, head, departing),
    )


def purge_events(
    connection: apsw.Connection, names: NameCache, head: HeadDraft, purge: Purge, prepared: PreparedPurge | None
) -> int:
    """Remove the events of a purge that are there, and return how many. `prepared` is what was read for it before.

    Raises ValueError for a purge that is not allowed, and Unsound for a log whose counts or leaves are wrong.
    """
    check_purge(purge, head.size, head.retained_from)
    if prepared is None or _is_stale(prepared, head):
        prepared = prepare_purge(connection, head, purge)
    if prepared is None:
        fold_transitions(connection, head)
        fold_actor_totals(connection, head)
        head.folded_to = head.size
        prepared = prepare_purge(connection, head, purge)
    if prepared is None:
        raise Unsound("The log has events after its end. Run 'whence verify'.")
    departing = prepared.departing
    if purge.upto <= head.retained_from and not departing.rows:
        return 0
    retained_from = max(head.retained_from, purge.upto)
    tile_leaves(connection, head.tenant_no, retained_from)
    forget_payload_values(connection, head.tenant_no, departing.positions)  # which reads the payloads
    connection.executemany(_SQL["delete_event"], [(key_of(head.tenant_no, each),) for each in departing.positions])
    _remove_transitions(connection, head.tenant_no, departing, prepared.removed, retained_from)
    _reduce(connection, head, prepared)
    gone = _take_from_names(connection, names, head.tenant_no, departing)
    forget_content(connection, head.tenant_no, departing.positions)
    forget_deliveries(connection, head.tenant_no, departing.positions)
    head.payload_bytes -= departing.payload_bytes
    values = (head.tenant_no, head.payload_bytes, head.measured_to, head.folded_to)
    connection.execute(_SQL["save_purge"], (*values, *gone, departing.recorded_at, retained_from))
    return len(departing.rows)


def _is_stale(prepared: PreparedPurge, head: HeadDraft) -> bool:
    """Whether a removal or a fold has come since."""
    return (prepared.removal_epoch, prepared.folded_to) != (head.removal_epoch, head.folded_to)


def _kinds(connection: apsw.Connection, tenant_no: int) -> dict[int, Kind]:
    rows: Iterable[Any] = connection.execute(_SQL["kinds"], (tenant_no,))
    return {number: Kind(number, *words) for number, *words in rows}


def tile_leaves(connection: apsw.Connection, tenant_no: int, retained_from: int, more: bytes = b"") -> None:
    """Append the leaves of the positions before `retained_from` to the tiles of level 0, as far as they are missing,
    and then `more`. Raises Unsound when an event is."""
    found: Any = connection.execute(_SQL["last_tile"], (tenant_no, 0)).fetchone()
    number, length = found or (0, 0)
    tiled, partial = number * TILE_WIDTH + length // HASH_SIZE, b""
    if tiled >= retained_from - 1 and not more:
        return
    if tiled % TILE_WIDTH:
        partial = connection.execute(_SQL["tile"], (tenant_no, 0, number, length)).get
    keys = key_of(tenant_no, tiled), key_of(tenant_no, retained_from - 1)
    leaves: bytes = connection.execute(_SQL["leaves"], keys).get
    if len(leaves) != (retained_from - 1 - tiled) * HASH_SIZE:
        raise Unsound("Events of the log are missing. Run 'whence verify'.")
    tiles = appended_tiles(tiled, partial, leaves + more)
    connection.executemany(_SQL["put_tile"], [(tenant_no, 0, tile, hashes) for tile, hashes in tiles])


def _removed_transitions(
    connection: apsw.Connection, head: HeadDraft, departing: Departing, up_to: int
) -> dict[BucketName, tuple[int | None, bytes]]:
    """The transitions that go with the events, as the sets to add at a position; see `PreparedPurge`."""
    tenant_no, last = head.tenant_no, key_of(head.tenant_no, head.folded_to)
    causes, ids = tuple(departing.causes), tuple(departing.ids)
    known: Any = connection.execute(_SQL["folded_causes"], (tenant_no, apsw.carray(causes), last)) if causes else ()
    effects: Any = connection.execute(_SQL["folded_effects"], (tenant_no, apsw.carray(ids), last)) if ids else ()
    going = transitions.by_bucket(departing_transitions(departing, known, effects))
    packed = {bucket: transitions.pack(counts) for bucket, counts in going.items()}
    sizes: dict[BucketName, Any] = {
        bucket: connection.execute(_SQL["removed_transition_sizes"], (tenant_no, *bucket)).fetchall()
        for bucket in packed
    }
    since = sets_to_merge(packed, sizes, up_to)
    for bucket, position in since.items():
        rows: Any = connection.execute(_SQL["removed_transitions_since"], (tenant_no, *bucket, position))
        packed[bucket] = transitions.merged([counts for (counts,) in rows], going[bucket])
    return {bucket: (since.get(bucket), counts) for bucket, counts in packed.items()}


def _totals_left(connection: apsw.Connection, head: HeadDraft, departing: Departing) -> dict[BucketName, bytes]:
    """What the events leave of the packed sets of actors, in each divided bucket."""

    def look(question: ReduceBuckets) -> dict[int, tuple[int, bool]]:
        left = {}
        for bucket, events in question.events.items():
            found: Any = connection.execute(_SQL["bucket_known"], (head.tenant_no, question.level, bucket)).fetchone()
            if found is not None:
                left[bucket] = (found[0] - events, found[1])
        return left

    totals = run_walk(reduce_buckets(departing), look).totals
    return {bucket: _subtracted(connection, head, bucket, counted) for bucket, counted in totals.items()}


def _subtracted(connection: apsw.Connection, head: HeadDraft, bucket: BucketName, counted: Counted) -> bytes:
    """What is left of the packed sets of a divided bucket, as one set."""
    rows: Any = connection.execute(_SQL["actor_totals_of"], (head.tenant_no, *bucket))
    try:
        return subtracted(head.actors, [counts for (counts,) in rows], counted)
    except ValueError:
        raise Unsound("What actors did is counted wrong. Run 'whence verify'.") from None


def _remove_transitions(
    connection: apsw.Connection,
    tenant_no: int,
    departing: Departing,
    removed: Mapping[BucketName, tuple[int | None, bytes]],
    up_to: int,
) -> None:
    """Add transitions to the removed ones. A bucket without events loses both."""
    emptied = set()
    for level, bucket in transition_buckets(departing.occurrences):
        within = rollups.bounds(level, bucket)
        if not connection.execute(_SQL["has_events_between"], (tenant_no, within.since, within.until)).get:
            emptied.add((level, bucket))
            connection.execute(_SQL["delete_transitions"], (tenant_no, level, bucket))
            connection.execute(_SQL["delete_removed_transitions"], (tenant_no, level, bucket))
    left = [(bucket, *sets) for bucket, sets in removed.items() if bucket not in emptied]
    merged = [(tenant_no, *bucket, since) for bucket, since, _ in left if since is not None]
    connection.executemany(_SQL["take_removed_transitions"], merged).fetchall()  # runs as it is read
    added = [(tenant_no, *bucket, up_to, counts) for bucket, _, counts in left]
    connection.executemany(_SQL["add_removed_transitions"], added)


def _reduce(connection: apsw.Connection, head: HeadDraft, prepared: PreparedPurge) -> None:
    """Take the events out of every bucket and of what is kept by bucket."""
    tenant_no = head.tenant_no

    def take(question: ReduceBuckets) -> dict[int, tuple[int, bool]]:
        left: dict[int, Any] = {}
        for bucket, events in question.events.items():
            values = (tenant_no, question.level, bucket, events)
            found = connection.execute(_SQL["take_from_bucket"], values).fetchone()
            if found is not None:
                left[bucket] = found
        return left

    reduced = run_walk(reduce_buckets(prepared.departing), take)
    emptied = [(tenant_no, *bucket) for bucket in reduced.emptied]
    for block in ("delete_bucket", "delete_rollup_kind", "delete_rollup_actor", "delete_actor_totals"):
        connection.executemany(_SQL[block], emptied)
    for table, counts in (("rollup_kind", reduced.kinds), ("rollup_actor", reduced.actors)):
        values = [(tenant_no, *name, events) for name, events in counts.items()]
        connection.executemany(_SQL[f"take_from_{table}"], values)
        connection.executemany(_SQL[f"drop_from_{table}"], [(*row[:-1], 0) for row in values])
    _replace_totals(connection, head, reduced, prepared.totals)


def _replace_totals(
    connection: apsw.Connection, head: HeadDraft, reduced: Reduced, known: Mapping[BucketName, bytes]
) -> None:
    """Replace the packed sets of divided buckets by one set each of what is left, if anything is."""
    tenant_no, left = head.tenant_no, {}
    for bucket, counted in reduced.totals.items():
        left[bucket] = known[bucket] if bucket in known else _subtracted(connection, head, bucket, counted)
    taken = [(tenant_no, *bucket, 0) for bucket in left]
    connection.executemany(_SQL["take_actor_totals"], taken).fetchall()  # runs as it is read
    added = [(tenant_no, *bucket, head.folded_to, packed) for bucket, packed in left.items() if packed]
    connection.executemany(_SQL["add_actor_totals"], added)


def _take_from_names(connection: apsw.Connection, names: NameCache, tenant_no: int, departing: Departing) -> _Gone:
    """Take the events out of the rows of their flows and resources; rows and names without an event go."""
    flows = [(flow, *counted) for flow, counted in departing.flows.items()]
    changes = connection.total_changes()
    connection.executemany(_SQL["drop_flow"], [(key_of(tenant_no, flow), events) for flow, events, _ in flows])
    flows_gone = connection.total_changes() - changes
    connection.executemany(_SQL["take_from_flow"], [(tenant_no, *each) for each in flows])
    resources = [(key_of(tenant_no, resource), events) for resource, events in departing.resources.items()]
    connection.executemany(_SQL["drop_resource"], resources)
    connection.executemany(_SQL["take_from_resource"], resources)
    kinds = _dropped(connection, "drop_unused_kind", tenant_no, departing.kinds)
    actors = _dropped(connection, "drop_unused_actor", tenant_no, departing.actors)
    names.forget([(tenant_no, *name) for name in (*kinds, *actors)])
    return _Gone(len(kinds), flows_gone)


def _dropped(connection: apsw.Connection, block: str, tenant_no: int, numbers: Iterable[int]) -> list[Any]:
    """The names with these numbers that no event has any more, and which the block has removed."""
    asked = array("q", numbers)
    return connection.execute(_SQL[block], (tenant_no, apsw.carray(asked))).fetchall() if asked else []


def forget_content(connection: apsw.Connection, tenant_no: int, positions: Sequence[int]) -> None:
    """Remove what is kept of payloads beside the events at these positions: what webhooks answered to them."""
    for webhook_id in _webhooks(connection, tenant_no):
        rows = [(tenant_no, webhook_id, position) for position in positions]
        connection.executemany(_SQL["erase_answers"], rows)


def forget_deliveries(connection: apsw.Connection, tenant_no: int, positions: Sequence[int]) -> None:
    """Remove the deliveries of the events at these positions, and their attempts."""
    for webhook_id in _webhooks(connection, tenant_no):
        rows = [(tenant_no, webhook_id, position) for position in positions]
        connection.executemany(_SQL["delete_attempts"], rows)
        connection.executemany(_SQL["delete_delivery"], rows)


def _webhooks(connection: apsw.Connection, tenant_no: int) -> list[str]:
    """The webhooks that have deliveries."""
    rows: list[Any] = connection.execute(_SQL["webhooks_with_deliveries"], (tenant_no,)).fetchall()
    return [id_ for (id_,) in rows]
