"""Which questions are flat in the size of the log, and which snapshots are on offer. Pure; the same for every store.

Flat questions are answered from rollups, from the row of a flow or a resource, or from one end of an index. Every
other combination of filters is as exact, but costs what it matches: it is *wide*, and bounded by time and number.
"""

from whence.errors import Invalid
from whence.events import Query
from whence.storage.base import AS_OF_SPAN

__all__ = ["is_indexed_count", "is_indexed_list", "pinned"]


def is_indexed_list(query: Query) -> bool:
    """Whether a page and its total cost the same however large the log is."""
    by_name = bool(query.correlation_ids) + bool(query.resource_ids) + bool(query.causation_ids)
    by_kind = bool(query.event_types or query.event_type_prefixes or query.actor_types or query.outcomes)
    timed = query.since is not None or query.until is not None
    if by_name:
        alone = not (by_kind or timed or query.actor_ids) and by_name == 1
        alone = alone and (query.readable is None or bool(query.resource_ids))
        single = len(query.correlation_ids) == 1 or len(query.resource_ids) == 1
        # A resource type beside the id is what the path of the contract's resource route says.
        typed = not query.resource_types or (bool(query.resource_ids) and len(query.resource_types) == 1)
        return alone and single and typed
    by_kind = by_kind or bool(query.resource_types) or query.readable is not None
    return not query.actor_ids or (len(query.actor_ids) == 1 and not by_kind)


def is_indexed_count(query: Query) -> bool:
    """Whether counts and actor statistics cost the same however large the log is."""
    return not (query.correlation_ids or query.resource_ids or query.causation_ids) and len(query.actor_ids) <= 1


def pinned(size: int, as_of: int | None) -> int:
    """The last position of a page's snapshot. Raises Invalid when it is not on offer."""
    if as_of is None:
        return size
    if as_of > size:
        raise Invalid.at(("query", "as_of"), "as_of is beyond the last position of the log.", "as_of_range")
    if size - as_of > AS_OF_SPAN:
        raise Invalid.at(
            ("query", "as_of"),
            f"as_of may lie at most {AS_OF_SPAN} positions behind the head of the log.",
            "as_of_range",
        )
    return as_of
