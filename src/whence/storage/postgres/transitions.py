"""Transitions between kinds of events: folded a few thousand events at a time, and those since the last fold."""

from whence import transitions
from whence.flows import TransitionsByDay, causes_outside, transitions_among
from whence.storage.folding import SetStatements
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.packed_sets import fold_counts
from whence.storage.sequencing import HeadDraft
from whence.storage.sql import load_blocks

__all__ = ["fold_transitions", "unfolded_transitions"]

_SQL = load_blocks("whence.storage.postgres")


async def fold_transitions(connection: Connection, head: HeadDraft) -> None:
    """Add the transitions since the last fold to the buckets of their times."""
    counts = transitions.by_bucket(await unfolded_transitions(connection, head.tenant_no, head.folded_to))
    statements = SetStatements(_SQL["transition_sizes"], _SQL["take_transitions"], _SQL["add_transitions"])
    await fold_counts(connection, head.tenant_no, head.size, statements, counts, transitions.pack, transitions.merged)


async def unfolded_transitions(connection: Connection, tenant_no: int, folded_to: int) -> TransitionsByDay:
    """The transitions whose later event, by position, comes after `folded_to`."""
    new = [tuple(row) for row in await connection.fetch(_SQL["unfolded_causes"], tenant_no, folded_to)]
    causes = causes_outside(new)
    earlier = await connection.fetch(_SQL["times_of_ids"], tenant_no, list(causes)) if causes else []
    effects = await connection.fetch(_SQL["earlier_effects"], tenant_no, [row[0] for row in new], folded_to)
    return transitions_among(new, {id_: (occurred_at, kind) for id_, occurred_at, kind in earlier}, effects)
