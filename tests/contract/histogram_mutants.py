"""Mutants of the counts by time."""

from typing import Any

import pytest

from tests.contract.faults import breaks, reword, without_row_security
from tests.contract.mutants import ANY_TENANT
from whence import rollups
from whence.storage.postgres import histogram as postgres_histogram
from whence.storage.sqlite import histogram as sqlite_histogram

Patch = pytest.MonkeyPatch


@breaks("sqlite", "postgres")
def edges_reach_too_far(patch: Patch) -> None:
    """An event at the end of a range is counted."""
    reword(
        patch,
        "grid_edge",
        sqlite=("occurred_at < ?3", "occurred_at <= ?3"),
        postgres=("occurred_at < edge.until", "occurred_at <= edge.until"),
    )


@breaks("sqlite", "postgres")
def spans_lose_their_last_bucket(patch: Patch) -> None:
    reword(patch, "grid_span", sqlite=("AND ?", "AND ? - 1"), postgres=("AND s.last", "AND s.last - 1"))


@breaks("sqlite", "postgres")
def buckets_across_a_border_are_whole(patch: Patch) -> None:
    """Days are never cut, so all of their events are in one bucket."""
    patch.setattr(rollups, "cut_levels", lambda _start, _width: [0, 1, 2])


@breaks("sqlite", "postgres")
def every_bucket_has_children(patch: Patch) -> None:
    """The events of a bucket without children are not counted."""
    real = rollups.cut_at

    def cut_at(pieces: Any, start: int, width: int, known: rollups.Known) -> list[rollups.Piece]:
        divided = {level: [(bucket, True) for bucket, _ in rows] for level, rows in known.items()}
        return real(pieces, start, width, divided)

    patch.setattr(rollups, "cut_at", cut_at)


@breaks("sqlite", "postgres")
def the_range_is_that_of_hidden_events(patch: Patch) -> None:
    """An open range shows a viewer when events occurred that may not be seen."""
    for module in (sqlite_histogram, postgres_histogram):
        patch.setattr(module, "readable_kinds", lambda _snapshot: None)


@breaks("sqlite", "postgres")
def edges_forget_their_actors(patch: Patch) -> None:
    reword(
        patch,
        "grid_edge",
        sqlite=("actor IN (SELECT value FROM json_each(?4))", "true"),
        postgres=("actor = ANY($7)", "true"),
    )


@breaks("sqlite", "postgres")
def spans_forget_their_actors(patch: Patch) -> None:
    reword(
        patch,
        "grid_span_of_actors",
        sqlite=("r.actor IN (SELECT value FROM json_each(?5))", "?5 IS NOT NULL"),
        postgres=("actor = ANY($9::bigint[])", "$9::bigint[] IS NOT NULL"),
    )


@breaks("sqlite", "postgres")
def tenant_dropped_in_edges(patch: Patch) -> None:
    without_row_security(patch)
    reword(patch, "grid_edge", sqlite=("tenant_no = ?1", "?1 IS NOT NULL"), postgres=ANY_TENANT)


@breaks("sqlite", "postgres")
def kinds_are_not_filtered(patch: Patch) -> None:
    """Every kind of a bucket is counted, whatever is asked for."""
    reword(
        patch,
        "grid_span_of_kinds",
        sqlite=("r.kind IN (SELECT value FROM json_each(?5))", "?5 IS NOT NULL AND r.kind = r.kind + 0"),
    )
    patch.setattr(sqlite_histogram, "frozenset", lambda _kinds: _Everything(), raising=False)
    for block in ("grid_span", "grid_edge"):
        reword(
            patch, block, postgres=lambda text: text.replace("kind = ANY($8)", "true").replace("kind = ANY($6)", "true")
        )


class _Everything:
    def __contains__(self, _kind: object) -> bool:
        return True
