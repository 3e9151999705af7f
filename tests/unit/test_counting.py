"""Numbers with their nouns."""

import re
from pathlib import Path

import pytest

from whence.counting import counted

SOURCE = Path(__file__).parents[2] / "src" / "whence"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, "event"), "0 events"),
        ((1, "event"), "1 event"),
        ((2_000, "event"), "2,000 events"),
        ((1, "entry", "entries"), "1 entry"),
        ((2, "entry", "entries"), "2 entries"),
        ((1, "event was", "events were"), "1 event was"),
        ((2, "event was", "events were"), "2 events were"),
    ],
)
def test_one_has_no_plural(arguments: tuple[int, str], text: str) -> None:
    """Nor has the verb after it."""
    assert counted(*arguments) == text


def test_messages_of_the_client_count_their_nouns() -> None:
    """No number of things is put before a plural. Limits in capitals are never one."""
    lines = [
        f"{path.name}: {line.strip()}"
        for folder in ("client", "integrations")
        for path in sorted((SOURCE / folder).glob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\{(?![A-Z_]+\})[^{}]*\} \w*(events|seconds|attempts|bytes|files|lines)\b", line)
    ]
    assert lines == []
