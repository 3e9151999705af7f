"""Durations for people, and traces of older servers."""

import msgspec
import pytest

from tests.unit.traces_made import node, trace_of
from whence.cli.graph_text import span
from whence.wire.trace_bodies import TraceBody


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0 µs"),
        (999, "999 µs"),
        (1_000, "1 ms"),
        (999_999, "999 ms"),
        (1_000_000, "1.0 s"),
        (59_999_999, "59.9 s"),
        (60_000_000, "1 min 0 s"),
        (3_599_999_999, "59 min 59 s"),
        (3_600_000_000, "1 h 0 min"),
        (86_399_000_000, "23 h 59 min"),
        (86_400_000_000, "1 d 0 h"),
        (-1_500_000, "-1.5 s"),
    ],
)
def test_spans_never_round_up(us: int, text: str) -> None:
    """Each unit is used up to its limit; a negative duration keeps its sign."""
    assert span(us) == text


def test_an_older_server_knows_its_roots() -> None:
    """A trace without `rootKnown`, as older servers send it, can be read."""
    trace = trace_of([node("x"), node("y", "x")], "y")
    body = {name: value for name, value in msgspec.to_builtins(trace).items() if name != "rootKnown"}
    assert msgspec.convert(body, TraceBody) == trace
