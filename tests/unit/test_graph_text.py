"""Durations, quotes and chains of causes for people."""

import msgspec
import pytest

from tests.unit.mutants import catches
from whence.cli import graph_text
from whence.cli.graph_text import quote_of, span, why_text
from whence.wire.traces import NodeBody, TraceBody, TraceSummaryBody


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


@pytest.mark.parametrize(
    ("payload", "quote"),
    [
        (b'{"text":"a","error":"b"}', '"b"'),
        (b'{"tool":"t","result":"a\\n b"}', '"t: a b"'),
        (b'{"tool":"t"}', ""),
        (b'{"kind":"tool","name":"pay"}', '"tool pay"'),
        (b'{"kind":"tool","name":"pay","error":"E","message":"m"}', '"tool pay: E: m"'),
        (b'{"error":"E","message":"m","text":"t"}', '"E: m"'),
        (b'{"method":"POST","path":"/a"}', '"POST /a"'),
        (b'{"method":"POST"}', ""),
        (b'{"text":7}', ""),
        (b'{"text":""}', ""),
        (b"{}", ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b'{"text":"\\u001b[31m"}', '"\\x1b[31m"'),
        (b'{"text":"' + b"x" * 100 + b'"}', '"' + "x" * 71 + '…"'),
    ],
)
def test_a_quote_is_one_short_line(payload: bytes, quote: str) -> None:
    """The best of the keys that hold text for people; an empty string if there is none."""
    assert quote_of(payload) == quote


def graph(**fields: object) -> TraceBody:
    """An event and its cause, which is the first that was read."""
    nodes = [
        NodeBody(
            actor_id="ada",
            actor_type="user",
            all_effects=1 - hops,
            causation_id=cause,
            correlation_id="c",
            cycle=False,
            effects=1 - hops,
            event_type="a.b",
            failures_below=0,
            hops=hops,
            id=id_,
            occurred_at="2026-01-02T03:04:05Z",
            other_flow=False,
            outcome="none",
            position=hops + 1,
            resource_id="r",
            resource_type="t",
            since_cause_us=None,
            since_root_us=0,
            skewed=False,
        )
        for hops, id_, cause in ((0, "x", None), (1, "y", "x"))
    ]
    summary = TraceSummaryBody(actors=1, duration_us=0, events=2, failures=0, hops=1, resources=1)
    whole = TraceBody(
        at_least=False, event_id="y", missing=[], nodes=nodes, root_id="x", summary=summary, truncated=False
    )
    return msgspec.structs.replace(whole, **fields)


def root_always_known(patch: pytest.MonkeyPatch) -> None:
    real = graph_text.why_text
    known = lambda trace, quotes: real(msgspec.structs.replace(trace, root_known=True), quotes)  # noqa: E731  (a mutant)
    patch.setitem(globals(), "why_text", known)


@catches(root_always_known)
def test_a_root_that_is_not_known_is_none() -> None:
    """A chain whose beginning was not read is cut short, has at least so many hops, and no root."""
    assert "because  1 hop, 0 µs\n" in why_text(graph(), {})
    assert "2026-01-02 03:04:05 UTC  ← root" in why_text(graph(), {})
    cut = why_text(graph(root_known=False), {})
    assert "because  at least 1 hop, 0 µs, cut short\n" in cut
    assert "root" not in cut


def test_an_older_server_knows_its_roots() -> None:
    """A trace without `rootKnown`, as older servers send it, can be read."""
    body = {name: value for name, value in msgspec.to_builtins(graph()).items() if name != "rootKnown"}
    assert msgspec.convert(body, TraceBody) == graph()
