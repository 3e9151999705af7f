"""Output: data on stdout, messages on stderr, tables, and text made safe for a terminal."""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

from cyclopts import Parameter
from rich.cells import cell_len

from whence.cli.layout import cut, message_lines, padded, width_of_messages

__all__ = [
    "JsonFlag",
    "on_terminal",
    "out",
    "out_json",
    "printable",
    "printable_json",
    "say",
    "table",
    "table_or_lines",
]

JsonFlag = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
"""The option of a command that prints JSON to stdout instead of text."""

_BETWEEN = 2
"""Columns between two cells of a table."""

_CELL_LEAST = 12
"""Columns below which a cell is not cut."""

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
    """Print data to stdout at once, so that a reader sees what was found up to now. The caller has made the text
    printable.
    """
    print(text, flush=True)


def printable_json(body: bytes) -> str:
    """A JSON text as the server sent it. Escaping unsafe characters does not change its value."""
    return _UNSAFE_IN_JSON.sub(_json_escape, body.decode("utf-8", "replace").strip())


def out_json(body: bytes) -> None:
    """Print a JSON text to stdout as `printable_json` returns it."""
    if sys.stdout is not None:  # JSON is UTF-8, whatever the encoding of the terminal
        sys.stdout.flush()
        sys.stdout.buffer.write(printable_json(body).encode() + b"\n")
        sys.stdout.buffer.flush()


def _json_escape(found: re.Match[str]) -> str:
    """The character as JSON escapes it: two UTF-16 units beyond U+FFFF."""
    units = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def on_terminal() -> bool:
    """Whether messages go to a terminal, and not to a file or a journal that keeps them."""
    return sys.stderr is not None and sys.stderr.isatty()


def say(text: str) -> None:
    """Print a message to stderr, so that it never mixes with the data. It fits the width if stderr is a terminal."""
    if sys.stderr is not None:  # print(file=None) would print to stdout
        print("\n".join(message_lines(text, width_of_messages(sys.stderr))), file=sys.stderr, flush=True)


def table(
    head: Sequence[str], rows: Iterable[Sequence[str | int]], *, width: int | None = None, flexible: int = 0
) -> str:
    """Aligned columns with headings; whole numbers are right-aligned. Makes every cell printable.

    The cells of the column `flexible` are cut where lines would be longer than `width`.
    """
    kept = list(rows)
    lines = [list(head), *([printable(f"{cell:,}" if isinstance(cell, int) else cell) for cell in row] for row in kept)]
    numbers = [any(isinstance(row[index], int) for row in kept) for index in range(len(head))]
    widths = [max(cell_len(line[index]) for line in lines) for index in range(len(head))]
    excess = 0 if width is None else sum(widths) + _BETWEEN * (len(widths) - 1) - width
    if excess > 0:
        widths[flexible] = max(widths[flexible] - excess, _CELL_LEAST)
        for line in lines:
            line[flexible] = cut(line[flexible], widths[flexible])
    return "\n".join(
        (" " * _BETWEEN)
        .join(padded(cell, size, right=number) for cell, size, number in zip(line, widths, numbers, strict=True))
        .rstrip()
        for line in lines
    )


def table_or_lines(head: Sequence[str], rows: Sequence[Sequence[str]], lines: Iterable[str], width: int | None) -> str:
    """A table in which nothing is cut; where it is wider than this, the lines that are to stand in its place."""
    whole = table(head, rows)
    if width is None or max(map(cell_len, whole.split("\n"))) <= width:
        return whole
    return "\n".join(lines)
