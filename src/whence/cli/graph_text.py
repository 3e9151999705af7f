"""Renders a causal graph as text: the chain of causes, the tree of effects, and a Mermaid flowchart. Pure."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from whence.cli.terminal import printable
from whence.wire.traces import NodeBody, TraceBody

__all__ = ["chain_of", "effects_of", "effects_text", "mermaid", "quote_of", "span", "why_text"]

_FAILED = "✗ "
_INDENT_MAX = 12
"""Deeper hops are not indented any further."""

_NAMED_MAX = 6
"""How many event types the last line of `why` names."""

_QUOTE_MAX = 72
_QUOTED_KEYS = ("error", "message", "text", "reason", "summary", "result")
"""Payload keys that usually hold text for people, the most telling first."""

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


def chain_of(trace: TraceBody) -> list[NodeBody]:
    """The event and its causes, the root first, as far as the response holds them."""
    by_id = {node.id: node for node in trace.nodes}
    node = by_id[trace.event_id]
    chain = [node]
    while node.id != trace.root_id and node.causation_id in by_id and len(chain) < len(by_id):
        node = by_id[node.causation_id]
        chain.append(node)
    return chain[::-1]


def quote_of(payload: bytes) -> str:
    """One short line of quoted text from a payload, or an empty string."""
    try:
        decoded: Any = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    if not isinstance(decoded, dict):
        return ""
    texts = {key: value for key, value in decoded.items() if isinstance(value, str)}
    text = next((texts[key] for key in _QUOTED_KEYS if key in texts), "")
    if "error" in texts and "message" in texts:
        text = f"{texts['error']}: {texts['message']}"
    words = ": ".join(part for part in (_subject_of(texts, text), " ".join(text.split())) if part)
    if len(words) > _QUOTE_MAX:
        words = words[: _QUOTE_MAX - 1] + "…"
    return f'"{printable(words)}"' if words else ""


def _subject_of(texts: Mapping[str, str], text: str) -> str:
    """What a payload is about: the run of an integration by kind and name, a request, or the tool that said `text`."""
    for keys in (("kind", "name"), ("method", "path")):
        if all(key in texts for key in keys):
            return " ".join(texts[key] for key in keys)
    return texts.get("tool", "") if text else ""


def why_text(trace: TraceBody, quotes: Mapping[str, str]) -> str:
    """The output of `why`: the event, its causes from the root on, and what it led to. `quotes` are by event id."""
    chain = chain_of(trace)
    event = chain[-1]
    rows = [
        (_step(depth, node), _actor(node), _since(node, trace, first=depth == 0), quotes.get(node.id, ""))
        for depth, node in enumerate(chain)
    ]
    head = [f"{_mark(event)}{printable(event.event_type)}", _about(event), _clock(event.occurred_at)]
    lines = ["  ".join([*head, quotes.get(event.id, "")]).rstrip(), _because(trace, chain), *_aligned(rows)]
    if trace.missing and chain[0].id == trace.root_id:
        lines.append(f"its cause {printable(trace.missing[0])} is not in the log (yet)")
    return "\n".join([*lines, _led_to(trace, event)])


def _because(trace: TraceBody, chain: Sequence[NodeBody]) -> str:
    if len(chain) == 1 and trace.summary.hops == 0:
        return "because of nothing else in the log"
    hops = trace.summary.hops
    lasted = span(chain[-1].since_root_us - chain[0].since_root_us)
    more = "" if trace.root_known else "at least "
    cut = "" if trace.root_known and chain[0].id == trace.root_id else ", cut short"
    return f"because  {more}{hops:,} hop{'' if hops == 1 else 's'}, {lasted}{cut}"


def _led_to(trace: TraceBody, event: NodeBody) -> str:
    below = effects_of(trace)
    if not event.all_effects:
        return "led to nothing (yet)"
    kinds = Counter(node.event_type for node in below)
    names = ", ".join(
        printable(name) + (f" x{count}" if count > 1 else "") for name, count in kinds.most_common(_NAMED_MAX)
    )
    more = "at least " if trace.at_least else ""
    rest = "" if len(kinds) <= _NAMED_MAX and len(below) == event.all_effects else ", …"
    return f"led to {more}{event.all_effects:,}: {names}{rest}"


def effects_of(trace: TraceBody) -> list[NodeBody]:
    """The events that an event led to, as far as the response holds them, each after its cause."""
    among, found = {trace.event_id}, []
    for node in trace.nodes:
        if node.causation_id in among and node.id != trace.event_id:
            among.add(node.id)
            found.append(node)
    return found


def effects_text(nodes: Sequence[NodeBody], focus: str = "") -> str:
    """A tree of events, each below its cause. The event with the id `focus` is marked."""
    if not nodes:
        return ""
    top = min(node.hops for node in nodes)
    rows = [
        (
            _step(node.hops - top, node),
            _actor(node),
            f"+{span(node.since_root_us)}",
            "← this one" if node.id == focus else _flags(node),
            node.id,
        )
        for node in nodes
    ]
    return "\n".join(_aligned(rows))


def _flags(node: NodeBody) -> str:
    flags = {
        "before its cause": node.skewed,
        "in another flow": node.other_flow,
        "a cycle, cut here": node.cycle,
    }
    return ", ".join(name for name, holds in flags.items() if holds)


def _step(depth: int, node: NodeBody) -> str:
    arrow = f"{'  ' * (min(depth, _INDENT_MAX) - 1)}└ " if depth else ""
    return f"  {arrow}{_mark(node)}{printable(node.event_type)}"


def _mark(node: NodeBody) -> str:
    return _FAILED if node.outcome == "failure" else ""


def _actor(node: NodeBody) -> str:
    return printable(f"{node.actor_type} {node.actor_id}")


def _about(node: NodeBody) -> str:
    return printable(f"{node.resource_type} {node.resource_id[:8]}")


def _since(node: NodeBody, trace: TraceBody, *, first: bool) -> str:
    if not first or node.hops:
        return f"+{span(node.since_root_us)}"
    return f"{_clock(node.occurred_at)}{'  ← root' if trace.root_known else ''}"


def _clock(time: str) -> str:
    return printable(f"{time[:10]} {time[11:19]} UTC")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip() for row in rows
    ]


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
