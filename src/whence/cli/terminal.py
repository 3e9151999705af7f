"""Output: data on stdout, messages on stderr, tables, and text made safe for a terminal."""

import re
import sys
from collections.abc import Iterable, Sequence

__all__ = ["out", "out_json", "printable", "say", "table"]

# C0 and C1 control characters, DEL, and characters that hide text or change its direction.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def printable(text: str) -> str:
    """The text with everything that could control a terminal written as an escape sequence."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def out(text: str) -> None:
    """Print data to stdout. The caller has made the text printable."""
    print(text)


def out_json(body: bytes) -> None:
    """Print a JSON text to stdout as the server sent it. Escaping unsafe characters does not change its value."""
    text = body.decode("utf-8", "replace").strip()
    safe = _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if sys.stdout is not None:  # JSON is UTF-8, whatever the encoding of the terminal
        sys.stdout.flush()
        sys.stdout.buffer.write(safe.encode() + b"\n")
        sys.stdout.buffer.flush()


def say(text: str) -> None:
    """Print a message to stderr, so that it never mixes with the data."""
    if sys.stderr is not None:  # print(file=None) would print to stdout
        print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """Aligned columns with headings; whole numbers are right-aligned. Makes every cell printable."""
    kept = list(rows)
    lines = [list(head), *([printable(f"{cell:,}" if isinstance(cell, int) else cell) for cell in row] for row in kept)]
    numbers = [any(isinstance(row[index], int) for row in kept) for index in range(len(head))]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        for line in lines
    )
