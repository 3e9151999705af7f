"""Traces made of a few words, for tests of how they are shown."""

from collections.abc import Sequence

from whence.wire.trace_bodies import NodeBody, TraceBody, TraceSummaryBody


def node(id_: str, cause: str | None = None, event_type: str = "a.noted", **fields: object) -> NodeBody:
    """An event whose resource is itself, unless `resource_id` is given."""
    told: dict[str, object] = {
        "actor_id": "ada",
        "actor_type": "user",
        "all_effects": 0,
        "causation_id": cause,
        "correlation_id": "c",
        "cycle": False,
        "effects": 0,
        "event_type": event_type,
        "failures_below": 0,
        "hops": 0,
        "id": id_,
        "occurred_at": "2026-01-02T03:04:05Z",
        "other_flow": False,
        "outcome": "failure" if event_type.endswith(".failed") else "none",
        "position": None,
        "resource_id": id_,
        "resource_type": "thing",
        "since_cause_us": None,
        "since_root_us": 0,
        "skewed": False,
    }
    return NodeBody(**(told | fields))  # type: ignore[arg-type]  # the fields are those of the body


def trace_of(nodes: Sequence[NodeBody], event_id: str, **fields: object) -> TraceBody:
    """A trace of these nodes, each after its cause, a second apart, with the numbers that follow from their causes."""
    by_id = {each.id: each for each in nodes}
    hops: dict[str, int] = {}
    below = {each.id: [other for other in nodes if each.id in _causes(other, by_id)] for each in nodes}
    for each in nodes:
        hops[each.id] = hops.get(each.causation_id or "", -1) + 1
    made = [
        NodeBody(
            **{
                **{name: getattr(each, name) for name in NodeBody.__struct_fields__},
                "all_effects": len(below[each.id]),
                "effects": sum(other.causation_id == each.id and not other.cycle for other in nodes),
                "failures_below": sum(other.outcome == "failure" for other in below[each.id]),
                "hops": hops[each.id],
                "position": number,
                "since_root_us": each.since_root_us or (number - 1) * 1_000_000,
            }
        )
        for number, each in enumerate(nodes, 1)
    ]
    summary = TraceSummaryBody(actors=1, duration_us=0, events=len(nodes), failures=0, hops=hops[event_id], resources=1)
    told: dict[str, object] = {"at_least": False, "missing": [], "root_id": nodes[0].id, "truncated": False}
    told |= {"event_id": event_id, "nodes": made, "summary": summary} | fields
    return TraceBody(**told)  # type: ignore[arg-type]  # the fields are those of the body


def _causes(event: NodeBody, by_id: dict[str, NodeBody]) -> list[str]:
    found: list[str] = []
    while not event.cycle and event.causation_id in by_id:
        found.append(event.causation_id)
        event = by_id[event.causation_id]
    return found
