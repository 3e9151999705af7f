"""What every store needs for traces, flows and the process map. Pure; the same for every store."""

from collections import Counter
from collections.abc import Sequence

from whence import transitions
from whence.errors import Unsound
from whence.events import PageRequest
from whence.flows import FlowQuery, ProcessMap, TransitionsByDay, process_map
from whence.storage.query_deadline import query_too_expensive
from whence.storage.resolve import Snapshot, readable_kinds, require_supported

__all__ = ["COUNTS_MAX", "flow_conditions", "map_from", "require_flow_request"]

_FLOW_QUERY_FIELDS = frozenset({"since", "until", "failed"})
"""Fields of `FlowQuery` that a page of flows supports."""

_FLOW_PAGE_FIELDS = frozenset({"limit", "offset", "after", "removal_epoch"})
"""Fields of `PageRequest` that a page of flows supports."""

COUNTS_MAX = 4_000_000
"""Packed counts that one map may add up: a few seconds of work, the time that a statement may take."""


def require_flow_request(query: FlowQuery, request: PageRequest) -> None:
    """Raise NotImplementedError for a field that a page of flows does not support."""
    require_supported(query, _FLOW_QUERY_FIELDS)
    require_supported(request, _FLOW_PAGE_FIELDS)


def flow_conditions(query: FlowQuery, since: str, until: str) -> str:
    """The SQL of the filters of a query, each preceded by AND. `since` and `until` are placeholders."""
    parts = []
    if query.since is not None:
        parts.append(f" AND last_at >= {since}")
    if query.until is not None:
        parts.append(f" AND last_at < {until}")
    if query.failed:
        parts.append(" AND failures > 0")
    return "".join(parts)


def map_from(
    days: tuple[int | None, int | None],
    snapshot: Snapshot,
    folded: Sequence[bytes],
    unfolded: TransitionsByDay,
    removed: Sequence[bytes] = (),
) -> ProcessMap:
    """The process map of a period, of the transitions of which the viewer may see both events. `folded` are the packed
    counts of the period, and `removed` those among them whose events are gone; `unfolded` are later transitions, of
    any day. Raises QueryTooExpensive, and Unsound when more was removed than was counted."""
    if transitions.counts_in((*folded, *removed)) > COUNTS_MAX:
        raise query_too_expensive()
    first, end = days
    found: Counter[int] = Counter()
    for day, counts in unfolded.items():
        if (first is None or day >= first) and (end is None or day < end):
            found.update(counts)
    try:
        left = transitions.subtracted(transitions.summed(folded, found), transitions.summed(removed))
    except ValueError:
        raise Unsound("Causes and effects are counted wrong. Run 'whence verify'.") from None
    kinds, visible = snapshot.kinds, readable_kinds(snapshot)
    among = kinds.keys() if visible is None else frozenset(visible)
    return process_map(
        first,
        end,
        (
            (kinds[cause].event_type, kinds[effect].event_type, kinds[effect].outcome, histogram)
            for (cause, effect), histogram in transitions.by_pair(left).items()
            if cause in among and effect in among
        ),
    )
