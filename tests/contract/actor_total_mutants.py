"""Mutants of what is counted by actor, packed and folded."""

import pytest

from tests.contract.faults import breaks, everywhere
from tests.contract.mutants import reword
from whence import rollups, transitions
from whence.storage.postgres import actor_totals as on_postgres
from whence.storage.sqlite import actor_totals as on_sqlite

Patch = pytest.MonkeyPatch


@breaks("sqlite", "postgres")
def the_newest_are_left_out(patch: Patch) -> None:
    """What is behind the last fold is not added."""
    for module in (on_sqlite, on_postgres):
        reword(patch, module, "unfolded_events", "WHERE ", "WHERE false AND ")


@breaks("sqlite", "postgres")
def the_newest_are_counted_twice(patch: Patch) -> None:
    """The first set of a bucket holds the events that the next fold adds."""
    reword(patch, on_sqlite, "first_actor_totals", "key <= ?", "? IS NOT NULL")
    reword(patch, on_postgres, "first_actor_totals", "position <= $4", "$4::bigint IS NOT NULL")


@breaks("sqlite", "postgres")
def folds_replace(patch: Patch) -> None:
    """A set that becomes one with older ones forgets them."""
    everywhere(patch, "summed", lambda _real: lambda _actors, _packed, counted: on_sqlite.pack(counted))


@breaks("sqlite", "postgres")
def folds_without_merging(patch: Patch) -> None:
    """Every fold adds a row to its buckets."""
    patch.setattr(transitions, "merging", lambda _sizes, _size: 0)


@breaks("sqlite", "postgres")
def nothing_is_taken_away(patch: Patch) -> None:
    """A bucket is taken whole where a range has the larger part of it."""
    real = rollups.cover_sum
    patch.setattr(rollups, "cover_sum", lambda *told: [piece for piece in real(*told) if piece.sign > 0])


@breaks("sqlite", "postgres")
def small_buckets_are_left_out(patch: Patch) -> None:
    """Buckets that are not divided have no totals, and nobody looks further."""
    reword(patch, on_sqlite, "span_by_actor_undivided", "b.divided = 0", "b.divided = 2")
    reword(patch, on_postgres, "span_by_actor_undivided", "NOT divided", "false")
