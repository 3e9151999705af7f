"""Which queries cost the same however large the log is, and which snapshots a page may speak of. Pure; the same for
every store.

An *indexed* query is answered from rollups, from the row of a flow or a resource, or from one end of an index. Every
other combination of filters is as exact, but costs what it matches: it is *unbounded*, and limited in time and number.
"""

from whence.errors import Invalid
from whence.events import Query, Viewer, sets_only, split_name
from whence.flows import FlowQuery
from whence.names import NameSearch
from whence.storage.base import AS_OF_SPAN
from whence.storage.resolve import KIND_FIELDS, TIME_FIELDS

__all__ = ["is_indexed_count", "is_indexed_flows", "is_indexed_list", "is_indexed_search", "pinned"]

_KINDS = KIND_FIELDS | TIME_FIELDS
_ONE_ACTOR = TIME_FIELDS | {"actor_ids", "actors"}
_KINDS_OF_ONE_ACTOR = _KINDS | _ONE_ACTOR
_ONE_FLOW = frozenset({"correlation_ids"})
_ONE_RESOURCE = frozenset({"resource_ids", "resources", "resource_types", "readable"})
_ONE_PAYLOAD_VALUE = frozenset({"payload_values"})
_NOTHING: frozenset[str] = frozenset()


def is_indexed_list(query: Query, viewer: Viewer) -> bool:
    """Whether a page and its total cost the same however large the log is."""
    if sets_only(_KINDS, query, viewer):
        return True
    if sets_only(_ONE_ACTOR, query, viewer):
        return _names_one(query.actor_ids, query.actors)
    if sets_only(_ONE_FLOW, query, viewer):
        return len(query.correlation_ids) == 1
    if sets_only(_ONE_RESOURCE, query, viewer):
        # The path of the resource route gives a resource type beside the id.
        return _names_one(query.resource_ids, query.resources) and len(query.resource_types) <= 1
    # As far as the index of payload fields covers it, which the transaction finds out.
    return sets_only(_ONE_PAYLOAD_VALUE, query, viewer) and len(query.payload_values) == 1


def is_indexed_count(query: Query, viewer: Viewer) -> bool:
    """Whether counts and actor statistics cost the same however large the log is."""
    is_any = not query.actor_ids and not query.actors
    return sets_only(_KINDS_OF_ONE_ACTOR, query, viewer) and (is_any or _names_one(query.actor_ids, query.actors))


def _names_one(ids: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether one id is asked for, with or without its type."""
    return len(ids) + len(names) == 1 and all(id_ for _, id_ in map(split_name, names))


def is_indexed_flows(query: FlowQuery, viewer: Viewer) -> bool:
    """Whether a page of flows and its total cost the same however large the log is."""
    return sets_only(_NOTHING, query, viewer)


def is_indexed_search(search: NameSearch, viewer: Viewer) -> bool:
    """Whether to find names costs the same however many there are. For a viewer who may not see every event, hidden
    names may lie between the visible ones."""
    return viewer.sees_all or not (search.events or search.actors or search.flows)


def pinned(size: int, as_of: int | None) -> int:
    """The last position of a page's snapshot. Raises Invalid when that snapshot is not offered."""
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
