"""Stores and models that are each broken in one way in their results about causes."""

from collections.abc import Callable
from typing import Any

import msgspec

from tests.contract.faults import around, breaks, everywhere, reword
from tests.contract.model import ModelStore
from tests.contract.mutants import Patch
from whence import trace, transitions
from whence.events import Event
from whence.flows import Flow, FlowQuery
from whence.storage.postgres import traces as postgres_traces
from whence.storage.sqlite import traces
from whence.trace import Node, TraceRequest

# --- broken models -------------------------------------------------------------------------------------------------


class SkewUnsaid(ModelStore):
    def node(self, *of: Any) -> Node:
        return msgspec.structs.replace(super().node(*of), skewed=False)


class CircleUnsaid(ModelStore):
    def node(self, *of: Any) -> Node:
        return msgspec.structs.replace(super().node(*of), cycle=False)


class CircleCutWhereMet(ModelStore):
    """The root of a cycle depends on which of its events was requested."""

    def root_of(self, seen: dict[str, Event], event: Event) -> tuple[Event, bool]:
        root, circle = super().root_of(seen, event)
        return (event, True) if circle and event.causation_id in seen else (root, circle)


class FlowUnsaid(ModelStore):
    def node(self, *of: Any) -> Node:
        return msgspec.structs.replace(super().node(*of), other_flow=False)


class FailuresOfTheNode(ModelStore):
    """A node's own failure is counted among those of its effects."""

    def node(self, *of: Any) -> Node:
        node = super().node(*of)
        return msgspec.structs.replace(node, failures=node.failures + (node.event.outcome == "failure"))


class DepthFromTheRoot(ModelStore):
    def chosen(self, seen: Any, tree: Any, root: Event, event: Event, request: TraceRequest) -> list[str]:
        return super().chosen(seen, tree, root, root if request.depth is not None else event, request)


class FlowsByBeginning(ModelStore):
    def is_asked(self, flow: Flow, query: FlowQuery) -> bool:
        return super().is_asked(msgspec.structs.replace(flow, last_at=flow.first_at), query)


class RootIsFirst(ModelStore):
    """The root of a flow is its earliest event, even if that has a cause in the flow."""

    def flow(self, number: int, events: list[Event]) -> Flow:
        return msgspec.structs.replace(super().flow(number, events), root=self.graph_event(events[0]))


class RootOfTheWholeLog(ModelStore):
    """An event whose cause is in another flow is not taken as a root."""

    def flow(self, number: int, events: list[Event]) -> Flow:
        roots = [event for event in events if event.causation_id is None]
        return msgspec.structs.replace(super().flow(number, events), root=self.graph_event((roots or events)[0]))


class ShareOfAll(ModelStore):
    def pair(self, name: Any, links: Any, all_transitions: Any) -> Any:
        return msgspec.structs.replace(
            super().pair(name, links, all_transitions), share=len(links) / len(all_transitions)
        )


class SkewIsADelay(ModelStore):
    """Negative delays are included in the percentiles."""

    def pair(self, name: Any, links: Any, all_transitions: Any) -> Any:
        delays = sorted(effect.occurred_at - cause.occurred_at for cause, effect in links)
        return msgspec.structs.replace(
            super().pair(name, links, all_transitions), p50_us=delays[(len(delays) - 1) // 2]
        )


# --- broken stores -------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def everything_is_readable(patch: Patch) -> None:
    everywhere(patch, "readable_kinds", lambda _real: lambda _snapshot: None)


@breaks("postgres")
def failed_flows_are_all_flows(patch: Patch) -> None:
    """Only for PostgreSQL: SQLite refuses the statement, since its index of failed flows does not hold the others."""

    def make(real: Callable[..., str]) -> Callable[..., str]:
        return lambda query, *names: real(msgspec.structs.replace(query, failed=False), *names)

    everywhere(patch, "flow_conditions", make)


@breaks("sqlite", "postgres")
def only_causes_nearby(patch: Patch) -> None:
    """Causes from before the last fold are not looked up."""
    everywhere(patch, "causes_outside", lambda _real: lambda _new: set())


@breaks("sqlite", "postgres")
def folded_but_not_noted(patch: Patch) -> None:
    """Transitions that are folded are counted again with those after the fold."""

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        def is_fold_due(head: Any) -> Any:
            head.folded_to = 0
            return real(head)

        return is_fold_due

    everywhere(patch, "is_fold_due", make)


@breaks("sqlite", "postgres")
def late_causes_are_not_linked(patch: Patch) -> None:
    reword(
        patch,
        "earlier_effects",
        sqlite=("AND key <= ?", "AND key <= ? - (1 << 39)"),
        postgres=("AND position <= $3", "AND position <= $3 - (1::bigint << 39)"),
    )


@breaks("sqlite", "postgres")
def effects_before_the_fold_again(patch: Patch) -> None:
    """An effect is counted twice when it and its cause are both after the last fold."""
    reword(
        patch,
        "earlier_effects",
        sqlite=("AND key <= ?", "AND key <= ? + (1 << 39)"),
        postgres=("AND position <= $3", "AND position <= $3 + (1::bigint << 39)"),
    )


@breaks("sqlite", "postgres")
def folds_replace(patch: Patch) -> None:
    """A fold replaces the earlier counts of a bucket."""
    reword(
        patch,
        "take_transitions",
        sqlite=("RETURNING counts", "RETURNING x''"),
        postgres=("l.bucket, l.counts", "l.bucket, ''::bytea"),
    )


@breaks("sqlite", "postgres")
def folds_without_merging(patch: Patch) -> None:
    """Results stay right and get slower."""
    around(patch, transitions, "merging", lambda _real: lambda _sizes, _size: 0)


@breaks("sqlite", "postgres")
def the_day_after_too(patch: Patch) -> None:
    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda first, end: real(first, None if end is None else end + 1)

    everywhere(patch, "cover_of_days", make)


@breaks("sqlite", "postgres")
def stories_by_position(patch: Patch) -> None:
    reword(
        patch,
        "flow_events",
        sqlite=("ORDER BY occurred_at, key", "ORDER BY key"),
        postgres=lambda text: text.replace("BY occurred_at,", "BY").replace(" e.occurred_at,", ""),
    )


@breaks("sqlite", "postgres")
def never_folds(patch: Patch) -> None:
    """Results stay right and get slower. Only a test of the rows finds it."""
    everywhere(patch, "is_fold_due", lambda _real: lambda _head: False)


@breaks("sqlite", "postgres")
def any_effects_at_the_bound(patch: Patch) -> None:
    """At its bound the walk takes the first effects in index order, cause by cause."""
    around(
        patch,
        traces,
        "heapq",
        lambda real: type("M", (), {"merge": staticmethod(lambda *runs: (r for q in runs for r in q))}),
    )
    patch.setattr(traces, "by_time", lambda _event: 0)  # of what was read in advance
    by_time = ("ORDER BY e.occurred_at, e.position LIMIT", "LIMIT")
    reword(patch, "keys_by_cause_in_order", postgres=by_time)

    def in_order_of_causes(self: Any, ids: Any, limit: int) -> Any:
        return [effect for id_ in ids for effect in self.effects[id_]][:limit]

    patch.setattr(postgres_traces._EventReader, "_known_effects", in_order_of_causes)


@breaks("sqlite", "postgres")
def root_always_known(patch: Patch) -> None:
    def make(real: Any) -> Any:
        return lambda *of, **limits: msgspec.structs.replace(real(*of, **limits), root_known=True)

    around(patch, trace, "_graph", make)


UNSOUND: tuple[Callable[[Patch], None], ...] = (
    everything_is_readable,
    failed_flows_are_all_flows,
    only_causes_nearby,
    folded_but_not_noted,
    late_causes_are_not_linked,
    effects_before_the_fold_again,
    folds_replace,
    the_day_after_too,
    stories_by_position,
)
"""Broken stores whose answers are wrong, so that any history of some length shows it."""
