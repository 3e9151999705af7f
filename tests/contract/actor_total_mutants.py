"""Mutants of the totals by actor, packed and folded."""

import pytest

from tests.contract.faults import breaks, everywhere, reword
from whence import rollups, transitions
from whence.actor_totals import pack

Patch = pytest.MonkeyPatch


@breaks("sqlite", "postgres")
def the_newest_are_left_out(patch: Patch) -> None:
    """Events after the last fold are not counted."""
    none = ("WHERE ", "WHERE false AND ")
    reword(patch, "unfolded_events", sqlite=none, postgres=none)


@breaks("sqlite", "postgres")
def the_newest_are_counted_twice(patch: Patch) -> None:
    """The first set of a bucket already has the events that the next fold adds."""
    reword(
        patch,
        "first_actor_totals",
        sqlite=("key <= ?", "? IS NOT NULL"),
        postgres=("position <= $4", "$4::bigint IS NOT NULL"),
    )


@breaks("sqlite", "postgres")
def folds_replace(patch: Patch) -> None:
    """A set that is merged with older ones replaces them."""
    everywhere(patch, "summed", lambda _real: lambda _actors, _packed, counted: pack(counted))


@breaks("sqlite", "postgres")
def folds_without_merging(patch: Patch) -> None:
    """Every fold adds a row to its buckets."""
    patch.setattr(transitions, "merging", lambda _sizes, _size: 0)


@breaks("sqlite", "postgres")
def nothing_is_taken_away(patch: Patch) -> None:
    """A bucket of which a range has the larger part is counted as a whole."""
    real = rollups.cover_sum
    patch.setattr(rollups, "cover_sum", lambda *args: [piece for piece in real(*args) if piece.sign > 0])


@breaks("sqlite", "postgres")
def small_buckets_are_left_out(patch: Patch) -> None:
    """Buckets that are not divided have no totals, and their events are not counted in another way."""
    reword(
        patch,
        "span_by_actor_undivided",
        sqlite=("b.divided = 0", "b.divided = 2"),
        postgres=("NOT divided", "false"),
    )
