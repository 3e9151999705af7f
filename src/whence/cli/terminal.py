"""Output: data on stdout, messages on stderr, tables, and text made safe for a terminal."""

import re
import sys
from collections.abc import Iterable, Sequence

__all__ = ["on_terminal", "out", "out_json", "printable", "say", "table"]

_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Characters that show nothing, hide text or change its direction: Unicode's property Default_Ignorable_Code_Point,
line separators and interlinear annotations. U+FE00 to U+FE0F are left out, since emoji need them.
Source: https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt"""

# C0 and C1 control characters, DEL, surrogates, and the above.
_UNSAFE = re.compile(f"[\x00-\x1f\x7f-\x9f{_IGNORABLE}\ud800-\udfff]")
_UNSAFE_IN_JSON = re.compile(f"[\x7f-\x9f{_IGNORABLE}]")


def printable(text: str) -> str:
    """The text with everything that could control a terminal written as an escape sequence."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def out(text: str) -> None:
    """Print data to stdout. The caller has made the text printable."""
    print(text)


def out_json(body: bytes) -> None:
    """Print a JSON text to stdout as the server sent it. Escaping unsafe characters does not change its value."""
    text = body.decode("utf-8", "replace").strip()
    safe = _UNSAFE_IN_JSON.sub(_json_escape, text)
    if sys.stdout is not None:  # JSON is UTF-8, whatever the encoding of the terminal
        sys.stdout.flush()
        sys.stdout.buffer.write(safe.encode() + b"\n")
        sys.stdout.buffer.flush()


def _json_escape(found: re.Match[str]) -> str:
    """The character as JSON escapes it: two UTF-16 units beyond U+FFFF."""
    units = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def on_terminal() -> bool:
    """Whether messages go to a terminal, and not to a file or a journal that keeps them."""
    return sys.stderr is not None and sys.stderr.isatty()


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
