"""What the rows of a trace show: the sentence of each event, and which end belongs to which start. Pure."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from whence.sentences import Sentence, named_failures, without_middle
from whence.trace import Node

__all__ = ["DETAIL_MAX", "TraceRow", "trace_rows"]

DETAIL_MAX = 300
"""Characters of the detail of a row. A longer one loses its middle, since the end often tells two errors apart."""

_ELLIPSIS = len(" … ")
_START = ".started"


class TraceRow(msgspec.Struct, frozen=True, gc=False):
    """A row: verb, object (`label`) and detail of its sentence, and the id of the end that directly follows a start."""

    detail: str
    label: str
    paired_end_id: str | None
    verb: str


def trace_rows(nodes: Sequence[Node], sentences: Mapping[str, Sentence]) -> Iterator[TraceRow]:
    """The rows of these nodes, in their order. `sentences` has the sentence of each, by id. A failure without a name
    for its object takes that of its start, if the start is among the nodes."""
    named = named_failures({node.event.id: node.event for node in nodes}, sentences)
    followers: Iterator[Node | None] = iter([*nodes[1:], None])
    for node, follower in zip(nodes, followers, strict=True):
        sentence = named[node.event.id]
        detail = without_middle(sentence.shown_detail, DETAIL_MAX - _ELLIPSIS)
        yield TraceRow(
            detail,
            sentence.object or ("" if detail else sentence.object_alone),
            follower.event.id if follower is not None and _is_end(node, follower) else None,
            sentence.verb,
        )


def _is_end(start: Node, node: Node) -> bool:
    """Whether a node is the only effect of a start, and says how that ended. The nodes of a trace follow their cause
    directly when they are its first effect, so the next node is the only one that can be."""
    one, other = start.event, node.event
    return (
        one.event_type.endswith(_START)
        and not other.event_type.endswith(_START)
        and other.cause == one.id
        and start.effects == 1
        and (one.resource_type, one.resource_id) == (other.resource_type, other.resource_id)
        and one.event_type.rpartition(".")[0] == other.event_type.rpartition(".")[0]
    )
