"""Transitions between kinds of events: folded a few thousand events at a time, and those since the last fold."""

from typing import Any

import apsw

from whence import transitions
from whence.flows import TransitionsByDay, causes_outside, transitions_among
from whence.storage.folding import SetStatements
from whence.storage.sequencing import HeadDraft
from whence.storage.sql import load_blocks
from whence.storage.sqlite.packed_sets import fold_counts
from whence.storage.sqlite.rows import key_of

__all__ = ["fold_transitions", "unfolded_transitions"]

_SQL = load_blocks("whence.storage.sqlite")


def fold_transitions(connection: apsw.Connection, head: HeadDraft) -> None:
    """Add the transitions since the last fold to the buckets of their times."""
    counts = transitions.by_bucket(unfolded_transitions(connection, head.tenant_no, head.folded_to))
    statements = SetStatements(_SQL["transition_sizes"], _SQL["take_transitions"], _SQL["add_transitions"])
    fold_counts(connection, head.tenant_no, head.size, statements, counts, transitions.pack, transitions.merged)


def unfolded_transitions(connection: apsw.Connection, tenant_no: int, folded_to: int) -> TransitionsByDay:
    """The transitions whose later event, by position, comes after `folded_to`."""
    last = key_of(tenant_no, folded_to)
    new: list[Any] = connection.execute(_SQL["unfolded_causes"], (last, key_of(tenant_no + 1, 0))).fetchall()
    if not new:
        return {}
    causes = tuple(cause for cause in causes_outside(new) if isinstance(cause, bytes))
    ids = tuple([id_ for id_, _, _, _ in new])
    earlier = connection.execute(_SQL["times_of_ids"], (tenant_no, apsw.carray(causes))) if causes else ()
    effects = connection.execute(_SQL["earlier_effects"], (tenant_no, apsw.carray(ids), last))
    return transitions_among(new, {id_: (occurred_at, kind) for id_, occurred_at, kind in earlier}, effects)
