"""What traces, flows and the process map have in common in every store. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

from whence import transitions
from whence.flows import FlowQuery, ProcessMap, TransitionsByDay, process_map
from whence.storage.query_gate import query_too_expensive
from whence.storage.resolve import Kind

__all__ = ["COUNTS_MAX", "flow_conditions", "map_from", "readable_kinds"]

COUNTS_MAX = 4_000_000
"""Packed counts that one map may add up: some seconds of work, as long as a statement may take."""


def readable_kinds(kinds: Mapping[int, Kind], readable: tuple[str, ...] | None) -> tuple[int, ...] | None:
    """The kinds of what a reader may see; None is all."""
    if readable is None:
        return None
    return tuple(kind.number for kind in kinds.values() if kind.resource_type in readable)


def flow_conditions(query: FlowQuery, since: str, until: str) -> str:
    """The SQL of a question's filters, each led by AND, with the placeholders that stand for its times."""
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
    kinds: Mapping[int, Kind],
    readable: tuple[str, ...] | None,
    folded: Sequence[bytes],
    behind: TransitionsByDay,
) -> ProcessMap:
    """The map of the packed links of a period and of links that are not folded in, of any day, as far as a reader may
    see both ends. Raises QueryTooExpensive."""
    if transitions.counts_in(folded) > COUNTS_MAX:
        raise query_too_expensive()
    first, end = days
    found: Counter[int] = Counter()
    for day, counts in behind.items():
        if (first is None or day >= first) and (end is None or day < end):
            found.update(counts)
    seen = readable_kinds(kinds, readable)
    among = kinds.keys() if seen is None else frozenset(seen)
    return process_map(
        first,
        end,
        (
            (kinds[cause].event_type, kinds[effect].event_type, kinds[effect].outcome, histogram)
            for (cause, effect), histogram in transitions.by_pair(transitions.summed(folded, found)).items()
            if cause in among and effect in among
        ),
    )
