"""What the rows of a trace show."""

from typing import Any

import msgspec
import pytest

from tests.unit.mutants import catches, replaced
from tests.unit.test_trace import link
from whence.sentences import load_grammar, sentence_of
from whence.trace import Node
from whence.wire import trace_rows as rows_module
from whence.wire.trace_rows import DETAIL_MAX, TraceRow, trace_rows

GRAMMAR = load_grammar()


def node(id_: str, cause: str | None, event_type: str, effects: int = 1, **fields: Any) -> Node:
    outcome = "failure" if event_type.endswith(".failed") else "none"
    event = link(id_, cause, 1, 1, event_type=event_type, outcome=outcome, **fields)
    return Node(event, 0, 0, None, effects, 0, 0, skewed=False, other_flow=False, cycle=False)


def rows(nodes: list[Node], *payloads: bytes) -> list[TraceRow]:
    given = (*payloads, *[b"{}"] * len(nodes))
    sentences = {
        each.event.id: sentence_of(each.event, payload, GRAMMAR) for each, payload in zip(nodes, given, strict=False)
    }
    return list(trace_rows(nodes, sentences))


def test_a_row_has_the_parts_of_its_sentence() -> None:
    """A failure takes the name of its object from its start."""
    nodes = [node("a", None, "action_run.started"), node("b", "a", "action_run.failed", effects=0)]
    found = rows(nodes, b'{"tool":"pay","arguments":{"to":"ada"}}', b'{"error":"Error: no money"}')
    assert found == [TraceRow("ada", "pay", "b", "called"), TraceRow("no money", "pay", None, "failed")]


@catches(replaced(rows_module, "DETAIL_MAX", 400, "details_as_long_as_in_the_terminal"))
@pytest.mark.parametrize("text", ["x" * 200 + "y" * 5_000, "word " * 300, "é" * 301])
def test_a_detail_is_short(text: str) -> None:
    """It has at most 300 characters in one line, and loses its middle."""
    (row,) = rows([node("a", None, "action_run.failed")], msgspec.json.encode({"error": text}))
    assert len(row.detail) <= 300 <= DETAIL_MAX and "\n" not in row.detail
    assert row.detail[0] == text[0] and "…" in row.detail


ENDS: tuple[tuple[dict[str, Any], dict[str, Any], bool], ...] = (
    ({}, {}, True),
    ({"effects": 2}, {}, False),
    ({}, {"resource_id": "other"}, False),
    ({}, {"event_type": "automation_run.completed"}, False),
    ({}, {"event_type": "action_run.started"}, False),
    ({}, {"cause": "gone"}, False),
    ({"event_type": "action_run.noted"}, {}, False),
)
"""How a start, and the node after it, differ from a start and its end; and whether they are a pair."""


@catches(
    replaced(rows_module, "_is_end", lambda start, node: node.event.cause == start.event.id, "any_effect_is_an_end"),
    replaced(rows_module, "_is_end", lambda start, node: False, "no_end_is_found"),
)
def test_an_end_is_paired_with_its_start() -> None:
    """Only the single effect of a start, on the same resource, that says how it ended."""
    for start, end, paired in ENDS:
        first = node(**{"id_": "a", "cause": None, "event_type": "action_run.started"} | start)
        second = node(**{"id_": "b", "cause": "a", "event_type": "action_run.completed", "effects": 0} | end)
        assert [row.paired_end_id for row in rows([first, second])] == ["b" if paired else None, None], (start, end)
