"""What goes with a batch of events: which of them, and what they are in every count."""

from typing import Any

import pytest

from tests.unit.mutants import catches, replaced
from whence import rollups
from whence.errors import Unsound
from whence.rollups import DAY_US
from whence.storage import announced, purging
from whence.storage.announced import Announced, Positions
from whence.storage.purging import (
    Departing,
    PurgeRow,
    ReduceBuckets,
    check_purge,
    departing_transitions,
    reduce_buckets,
)
from whence.storage.removals import REMOVED_AT_ONCE, RETENTION_APPLIED, Purge
from whence.storage.resolve import Kind
from whence.tiles import appended_tiles

KINDS = {
    1: Kind(1, "job.completed", "artifact", "user", "success"),
    2: Kind(2, "job.failed", "artifact", "user", "failure"),
    3: Kind(3, RETENTION_APPLIED, "event_log", "system", "none"),
}


def row(position: int, **fields: Any) -> PurgeRow:
    values = {"kind": 1, "actor": 1, "flow": 1, "resource": 1, "cause": None, "payload_bytes": 2, "recorded_at": 9}
    return PurgeRow(
        **{"position": position, "id": f"id{position}", "occurred_at": position * DAY_US, **values, **fields}
    )


@pytest.mark.parametrize(
    ("purge", "sentence"),
    [
        (Purge(0, 2), "begins"),
        (Purge(6, 7), "begins"),
        (Purge(5, 4), "ends"),
        (Purge(1, 12), "ends"),
        (Purge(1, REMOVED_AT_ONCE + 2), "at most"),
    ],
)
def test_a_purge_takes_positions_from_the_beginning(purge: Purge, sentence: str) -> None:
    """It leaves no gap in front of the first position that is kept, ends within the log, and is bounded."""
    with pytest.raises(ValueError, match=sentence):
        check_purge(purge, 10 if sentence != "at most" else 10_000, 5)
    for allowed in (Purge(1, 1), Purge(5, 11), Purge(5, 5), Purge(2, 4)):
        check_purge(allowed, 10, 5)


@catches(replaced(purging, "lasting_kinds", lambda _kinds: frozenset(), "announcements_go"))
def test_what_is_kept_stays_out_of_every_sum() -> None:
    """Held events and announcements do not go; the others are in every count."""
    rows = [row(1), row(2, kind=2, flow=7), row(3, kind=3), row(4, recorded_at=12), row(5, kind=2, resource=4)]
    departing = Departing(Purge(1, 6, [4]), rows, KINDS)
    assert departing.positions == [1, 2, 5]
    assert departing.flows == {1: (2, 1), 7: (1, 1)}
    assert departing.resources == {1: 2, 4: 1}
    assert (departing.payload_bytes, departing.recorded_at, departing.kinds) == (6, 9, {1, 2})


def test_each_pair_goes_once() -> None:
    """A pair of which both go, one of which the effect stays, and one of which the cause stays; and no other."""
    rows = [row(1), row(2, cause="id1"), row(3, cause="kept"), row(4, cause="unknown")]
    departing = Departing(Purge(1, 5), rows, KINDS)
    assert sorted(departing.causes) == ["kept", "unknown"]
    effects = [("id1", 2 * DAY_US, 1, 2), ("id1", 9 * DAY_US, 2, 9)]
    found = departing_transitions(departing, [("kept", 0, 2)], effects)
    assert {day: sum(counts.values()) for day, counts in found.items()} == {2: 1, 3: 1, 9: 1}


def test_a_bucket_that_has_too_few_events_is_an_error() -> None:
    """Nothing is subtracted from what was not counted."""
    reducing = reduce_buckets(Departing(Purge(1, 3), [row(1), row(2)], KINDS))
    assert next(reducing) == ReduceBuckets(0, {0: 2})
    with pytest.raises(Unsound, match="counted wrong"):
        reducing.send({0: (-1, False)})


def test_an_empty_bucket_loses_its_rows_and_those_of_its_children() -> None:
    """The others lose counts, and what actors did where they are divided."""
    reducing = reduce_buckets(Departing(Purge(1, 3), [row(1), row(2, actor=2, kind=2)], KINDS))
    asked = next(reducing)
    assert asked.level == 0
    asked = reducing.send({0: (5, True)})
    months = {rollups.bucket_of(1, DAY_US): 2}
    assert (asked.level, asked.events) == (1, months)
    with pytest.raises(StopIteration) as done:
        reducing.send(dict.fromkeys(months, (0, False)))
    reduced = done.value.value
    assert reduced.emptied == [(1, bucket) for bucket in months]
    assert reduced.kinds == {(0, 0, 1): 1, (0, 0, 2): 1}
    assert reduced.actors == {(0, 0, 1, 1): 1, (0, 0, 2, 2): 1}
    assert [dict(column) for column in reduced.totals[0, 0]] == [{1: 1, 2: 1}, {1: 1}, {2: 1}]


def test_leaves_go_on_where_the_last_tile_ends() -> None:
    """Only tiles that change are named."""
    leaf = b"x" * 32
    assert list(appended_tiles(0, b"", leaf * 3)) == [(0, leaf * 3)]
    assert list(appended_tiles(255, b"y" * 255 * 32, leaf * 2)) == [(0, b"y" * 255 * 32 + leaf), (1, leaf)]
    assert list(appended_tiles(512, b"", leaf * 256)) == [(2, leaf * 256)]


def said(*ranges: tuple[int, int]) -> Announced:
    found = Announced()
    found._ranges[RETENTION_APPLIED] += ranges
    return found


@catches(replaced(announced, "_joined", list, "ranges_come_as_they_were_said"))
def test_the_union_of_what_was_said_counts() -> None:
    """Ranges in any order, that overlap, touch or are empty; the first position in none of them is found."""
    positions = Positions()
    for position in (1, 2, 3, 4, 7, 8, 9, 20):
        positions.add(position)
    assert positions.ranges == [(1, 4), (7, 9), (20, 20)]
    for ranges, first in (
        ([], 1),
        ([(1, 2)], 3),
        ([(3, 9), (1, 2)], 20),
        ([(20, 25), (1, 3), (8, 9), (3, 7)], None),
        ([(2, 30)], 1),
        ([(1, 30), (4, 3)], None),
        ([(1, 8), (10, 30)], 9),
    ):
        assert said(*ranges).first_unannounced(RETENTION_APPLIED, positions) == first, ranges
