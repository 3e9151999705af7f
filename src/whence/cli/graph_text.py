"""What a trace says of its event: the chain of its causes and its effects; names and durations for people; and a trace
as a Mermaid flowchart. Pure.
"""

import re

from whence.wire.bodies import EventBody
from whence.wire.trace_bodies import NodeBody, TraceBody

__all__ = ["chain_of", "effects_of", "mermaid", "reference", "span"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def span(us: int) -> str:
    """A duration in microseconds for people: 250 µs, 356 ms, 12.3 s, 2 min 5 s, 3 h 0 min, 2 d 4 h. Rounds down."""
    if us < 0:
        return f"-{span(-us)}"
    if us < 1_000:
        return f"{us} µs"
    if us < 1_000_000:
        return f"{us // 1_000} ms"
    seconds = us // 1_000_000
    if seconds < 60:
        return f"{us // 100_000 / 10:.1f} s"
    if seconds < 3_600:
        return f"{seconds // 60} min {seconds % 60} s"
    (large, unit), (small, part) = (_UNITS[0], _UNITS[1]) if seconds >= 86_400 else (_UNITS[1], _UNITS[2])
    return f"{seconds // large} {unit} {seconds % large // small} {part}"


def reference(event: EventBody | NodeBody) -> str:
    """What commands accept for an event: its position, or its id for a key that may not learn positions."""
    return f"@{event.position}" if isinstance(event.position, int) else event.id


def chain_of(trace: TraceBody) -> list[NodeBody]:
    """The event and its causes, the root first, as far as the response holds them."""
    by_id = {node.id: node for node in trace.nodes}
    node = by_id[trace.event_id]
    chain = [node]
    while node.id != trace.root_id and node.causation_id in by_id and len(chain) < len(by_id):
        node = by_id[node.causation_id]
        chain.append(node)
    return chain[::-1]


def effects_of(trace: TraceBody) -> list[NodeBody]:
    """The events that an event led to, as far as the response holds them, each after its cause."""
    among, found = {trace.event_id}, []
    for node in trace.nodes:
        if node.causation_id in among and node.id != trace.event_id and not node.cycle:
            among.add(node.id)
            found.append(node)
    return found


_UNSAFE = re.compile(r"[^\w .,:@/+-]")


def mermaid(trace: TraceBody) -> str:
    """The graph as a Mermaid flowchart with a box for each event, named by its position, or by a number of its own when
    the key may not learn positions.

    Failures and the event in question stand out. Characters that could be markup are written as character codes.
    """
    by_id = {node.id: node for node in trace.nodes}
    boxes = {node.id: f"e{node.position or number}" for number, node in enumerate(trace.nodes, 1)}
    lines = ["flowchart TD"]
    for node in trace.nodes:
        label = f"{_label(node.event_type)}<br/>{_label(f'{node.actor_type} {node.actor_id}')}"
        lines.append(f'  {boxes[node.id]}["{label}<br/>+{span(node.since_root_us)}"]')
    for node in trace.nodes:
        cause = by_id.get(node.causation_id or "")
        if cause is not None and not node.cycle:
            lines.append(f"  {boxes[cause.id]} --> {boxes[node.id]}")
    failed = ",".join(boxes[node.id] for node in trace.nodes if node.outcome == "failure")
    if failed:
        lines += ["  classDef failed stroke:#c00,stroke-width:2px", f"  class {failed} failed"]
    lines += ["  classDef asked stroke-width:4px", f"  class {boxes[trace.event_id]} asked"]
    return "\n".join(lines)


def _label(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"#{ord(found[0])};", text)
