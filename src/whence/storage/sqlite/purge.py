"""Removing a batch of events from a tenant's log, inside the writer's transaction. `storage/purging.py` has the steps
and says what goes; here are the rows.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import apsw

from whence import rollups, transitions
from whence.actor_totals import subtracted
from whence.errors import Unsound
from whence.merkle import HASH_SIZE
from whence.storage.folding import SetStatements
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
from whence.storage.sqlite.packed_sets import fold_counts
from whence.storage.sqlite.payload_index import forget_payload_values
from whence.storage.sqlite.rows import key_of
from whence.storage.sqlite.transitions import fold_transitions
from whence.storage.walks import run_walk
from whence.tiles import TILE_WIDTH, appended_tiles

__all__ = ["forget_content", "forget_deliveries", "purge_events", "tile_leaves"]

_SQL = load_blocks("whence.storage.sqlite")


class _Gone(NamedTuple):
    """How many names went with the last of their events."""

    kinds: int
    flows: int


def purge_events(connection: apsw.Connection, names: NameCache, head: HeadDraft, purge: Purge) -> int:
    """Remove the events of a purge that are there, and return how many.

    Raises ValueError for a purge that is not allowed, and Unsound for a log whose counts or leaves are wrong.
    """
    check_purge(purge, head.size, head.retained_from)
    kinds = _kinds(connection, head.tenant_no)
    keys = key_of(head.tenant_no, purge.since), key_of(head.tenant_no, purge.upto)
    rows: list[Any] = connection.execute(_SQL["purge_rows"], keys).fetchall()
    departing = Departing(purge, map(PurgeRow._make, rows), kinds)
    if purge.upto <= head.retained_from and not departing.rows:
        return 0
    if head.folded_to < purge.upto - 1:
        fold_transitions(connection, head)
        fold_actor_totals(connection, head)
        head.folded_to = head.size
    retained_from = max(head.retained_from, purge.upto)
    tile_leaves(connection, head.tenant_no, retained_from)
    going = _departing_transitions(connection, head, departing)
    forget_payload_values(connection, head.tenant_no, departing.positions)  # which reads the payloads
    connection.executemany(_SQL["delete_event"], [(key_of(head.tenant_no, each),) for each in departing.positions])
    _remove_transitions(connection, head.tenant_no, departing, going, retained_from)
    _reduce(connection, head, departing)
    gone = _take_from_names(connection, names, head.tenant_no, departing)
    forget_content(connection, head.tenant_no, departing.positions)
    forget_deliveries(connection, head.tenant_no, departing.positions)
    head.payload_bytes -= departing.payload_bytes
    values = (head.tenant_no, head.payload_bytes, head.measured_to, head.folded_to)
    connection.execute(_SQL["save_purge"], (*values, *gone, departing.recorded_at, retained_from))
    return len(departing.rows)


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


def _departing_transitions(
    connection: apsw.Connection, head: HeadDraft, departing: Departing
) -> dict[tuple[int, int], transitions.Transitions]:
    """The transitions that go with the events, by bucket. Before the events are deleted."""
    last = key_of(head.tenant_no, head.folded_to)
    causes, ids = tuple(departing.causes), tuple(departing.ids)
    known: Any = (
        connection.execute(_SQL["folded_causes"], (head.tenant_no, apsw.carray(causes), last)) if causes else ()
    )
    effects: Any = connection.execute(_SQL["folded_effects"], (head.tenant_no, apsw.carray(ids), last)) if ids else ()
    return transitions.by_bucket(departing_transitions(departing, known, effects))


def _remove_transitions(
    connection: apsw.Connection,
    tenant_no: int,
    departing: Departing,
    going: dict[tuple[int, int], transitions.Transitions],
    retained_from: int,
) -> None:
    """Add transitions to the removed ones. A bucket without events loses both."""
    for level, bucket in transition_buckets(departing.occurrences):
        within = rollups.bounds(level, bucket)
        if not connection.execute(_SQL["has_events_between"], (tenant_no, within.since, within.until)).get:
            going.pop((level, bucket), None)
            connection.execute(_SQL["delete_transitions"], (tenant_no, level, bucket))
            connection.execute(_SQL["delete_removed_transitions"], (tenant_no, level, bucket))
    statements = SetStatements(
        _SQL["removed_transition_sizes"], _SQL["take_removed_transitions"], _SQL["add_removed_transitions"]
    )
    fold_counts(connection, tenant_no, retained_from, statements, going, transitions.pack, transitions.merged)


def _reduce(connection: apsw.Connection, head: HeadDraft, departing: Departing) -> None:
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

    reduced = run_walk(reduce_buckets(departing), take)
    emptied = [(tenant_no, *bucket) for bucket in reduced.emptied]
    for block in ("delete_bucket", "delete_rollup_kind", "delete_rollup_actor", "delete_actor_totals"):
        connection.executemany(_SQL[block], emptied)
    for table, counts in (("rollup_kind", reduced.kinds), ("rollup_actor", reduced.actors)):
        values = [(tenant_no, *name, events) for name, events in counts.items()]
        connection.executemany(_SQL[f"take_from_{table}"], values)
        connection.executemany(_SQL[f"drop_from_{table}"], [(*row[:-1], 0) for row in values])
    _subtract_totals(connection, head, reduced)


def _subtract_totals(connection: apsw.Connection, head: HeadDraft, reduced: Reduced) -> None:
    """Subtract what actors did from the packed sets of divided buckets, which become one set each. A bucket has none
    when all of its events that are left came after the last fold."""
    for bucket, counted in reduced.totals.items():
        rows: Any = connection.execute(_SQL["take_actor_totals"], (head.tenant_no, *bucket, 0))
        try:
            packed = subtracted(head.actors, [counts for (counts,) in rows], counted)
        except ValueError:
            raise Unsound("What actors did is counted wrong. Run 'whence verify'.") from None
        if packed:
            connection.execute(_SQL["add_actor_totals"], (head.tenant_no, *bucket, head.folded_to, packed))


def _take_from_names(connection: apsw.Connection, names: NameCache, tenant_no: int, departing: Departing) -> _Gone:
    """Take the events out of the rows of their flows and resources; rows and names without an event go."""
    flows = 0
    for flow, (events, failures) in departing.flows.items():
        connection.execute(_SQL["drop_flow"], (key_of(tenant_no, flow), events))
        if connection.changes():
            flows += 1
        else:
            connection.execute(_SQL["take_from_flow"], (tenant_no, flow, events, failures))
    for resource, events in departing.resources.items():
        connection.execute(_SQL["drop_resource"], (key_of(tenant_no, resource), events))
        if not connection.changes():
            connection.execute(_SQL["take_from_resource"], (key_of(tenant_no, resource), events))
    gone: dict[str, list[Any]] = {
        block: [name for number in numbers for name in connection.execute(_SQL[block], (tenant_no, number)).fetchall()]
        for block, numbers in (("drop_unused_kind", departing.kinds), ("drop_unused_actor", departing.actors))
    }
    names.forget([(tenant_no, *name) for found in gone.values() for name in found])
    return _Gone(len(gone["drop_unused_kind"]), flows)


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
