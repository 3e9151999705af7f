"""Durations and quotes for people."""

import pytest

from whence.cli.graph_text import quote_of, span


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
