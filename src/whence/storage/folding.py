"""Folding new counts into the packed sets of buckets: which stored sets are merged, and which are added. Pure.

A bucket has a few packed sets, each up to a position. A fold adds one; when older ones are small, it takes them out and
adds their sum with the new counts instead. Transitions and actor totals are folded alike, on both stores.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from whence import rollups, transitions
from whence.actor_totals import Counted, UnfoldedEvents

__all__ = [
    "BucketName",
    "Divided",
    "SetSizes",
    "SetStatements",
    "TakeSets",
    "count_divided_buckets",
    "fold",
    "sets_to_merge",
]

Counts = TypeVar("Counts")

BucketName = tuple[int, int]
"""Level and bucket."""


class SetSizes(msgspec.Struct, frozen=True):
    """Asks for the stored sets of some buckets: by bucket their positions and bytes, newest first."""

    buckets: Sequence[BucketName]


class TakeSets(msgspec.Struct, frozen=True):
    """Asks to remove the sets of some buckets, each from a position on, and for what was in them by bucket."""

    since: Mapping[BucketName, int]


class SetStatements(NamedTuple):
    """The statements that answer for one table: the sizes of stored sets, take out the newest ones, add a set. Those of
    SQLite are of one bucket, those of PostgreSQL of many."""

    sizes: str
    take: str
    add: str


class Divided(msgspec.Struct, frozen=True):
    """Asks which of some buckets are divided."""

    buckets: Sequence[BucketName]


def fold(
    counts: Mapping[BucketName, Counts],
    pack: Callable[[Counts], bytes],
    merge: Callable[[list[bytes], Counts], bytes],
    up_to: int,
) -> Generator[SetSizes | TakeSets, Mapping[BucketName, Sequence[Any]], dict[BucketName, bytes]]:
    """The packed sets to add at the position `up_to`, one for each bucket of `counts`.

    `merge` packs the sum of the sets that were taken out and the new counts. A set that is already at the position is
    always taken out, since a bucket has one there.
    """
    if not counts:
        return {}
    added = {bucket: pack(new) for bucket, new in counts.items()}
    since = sets_to_merge(added, (yield SetSizes(list(added))), up_to)
    if since:
        taken = yield TakeSets(since)
        for bucket in since:
            added[bucket] = merge(list(taken[bucket]), counts[bucket])
    return added


def sets_to_merge(
    added: Mapping[BucketName, bytes], stored: Mapping[BucketName, Sequence[Any]], up_to: int
) -> dict[BucketName, int]:
    """From which position on the stored sets of a bucket are merged with the one that is added at `up_to`. Buckets
    without such sets are missing. `stored` answers `SetSizes`."""
    since = {}
    for bucket, packed in added.items():
        sets = stored.get(bucket, ())
        merged = transitions.merging([size for _, size in sets], len(packed))
        if sets and sets[0][0] == up_to:
            merged = max(merged, 1)
        if merged:
            since[bucket] = sets[merged - 1][0]
    return since


def count_divided_buckets(
    unfolded: UnfoldedEvents,
) -> Generator[Divided, Sequence[BucketName], dict[BucketName, Counted]]:
    """What actors did since the last fold in each divided bucket that has new events. Asks once for each level."""
    counted: dict[BucketName, Counted] = {}
    buckets: list[BucketName] = [(0, 0)]
    while buckets:
        divided = yield Divided(buckets)
        buckets = []
        for level, bucket in divided:
            counted[level, bucket] = unfolded.within(rollups.bounds(level, bucket))
            buckets += [(level + 1, child) for child in unfolded.children(level, bucket)]
    return counted
