"""The width and colours of the terminal, and text that is cut, wrapped or filled up to columns.

Characters of East Asian scripts, and emoji, take two columns.
"""

import os
import re
import shutil
import sys
from collections.abc import Collection, Sequence
from typing import TextIO

import msgspec
from rich.cells import cell_len, set_cell_size

__all__ = [
    "Style",
    "cut",
    "fitting",
    "message_lines",
    "padded",
    "shortened",
    "style_of_stdout",
    "width_of_messages",
    "wrapped",
]

_WIDTH_LEAST = 60
"""Columns below which lines are not made shorter."""

_CELL_LEAST = 10
"""Columns below which a cell is not made shorter."""

_MESSAGE_LEAST = 20
"""Columns below which messages are left to the terminal."""

_UNBROKEN = re.compile(
    r"""
      (?<![^\s(])'[^']*'[^\s']*                     # what stands in quotation marks
    | (?<=:\ )[^:|]+\ \|\ whence\ import\ .*           # a pipeline
    | (?:\S+\ -m\ )?\S*\bwhence\ [a-z]+             # a command
      (?:\ use\ [^\s']+|\ (?:use\ )?'[^']*'|\ [@-]\S*|\ [\da-f]{8}-\S*)*  # with what it is about
    | \S+                                          # a word, a URL, a path, an id
    """,
    re.VERBOSE,
)
"""The parts of a message that stay on one line."""


class Style(msgspec.Struct, frozen=True):
    """How text is shown: the `width` in columns, None where lines have no end, and whether there is colour."""

    width: int | None = None
    colour: bool = False

    def strong(self, text: str) -> str:
        """Bold."""
        return self._coded("1", text)

    def faint(self, text: str) -> str:
        """Dim."""
        return self._coded("2", text)

    def failure(self, text: str) -> str:
        """Bold red."""
        return self._coded("1;31", text)

    def filled(self, text: str) -> list[str]:
        """A paragraph in lines of the width; in one line where lines have no end."""
        return [text] if self.width is None else wrapped(text, self.width)

    def below(self, text: str) -> list[str]:
        """A dim paragraph that stands two columns further in, below what it belongs to."""
        narrower = msgspec.structs.replace(self, width=None if self.width is None else self.width - 2)
        return [f"  {self.faint(line)}" for line in narrower.filled(text)]

    def _coded(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


def style_of_stdout() -> Style:
    """The style for stdout: plain text without line ends when it is no terminal, no colour when NO_COLOR is set.

    COLUMNS sets the width in any case.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    has_width = is_terminal or os.environ.get("COLUMNS", "").isdecimal()
    colour = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = max(_WIDTH_LEAST, shutil.get_terminal_size().columns) if has_width else None
    return Style(width, colour)


def width_of_messages(stream: TextIO | None) -> int | None:
    """The width of the terminal that messages go to; None for a file, a pipe, and where nobody knows the width.

    COLUMNS overrides what the terminal reports, as for stdout.
    """
    if stream is None or not stream.isatty():
        return None
    named = os.environ.get("COLUMNS", "")
    try:
        width = int(named) if named.isdecimal() else os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return None
    return width if width >= _MESSAGE_LEAST else None


def message_lines(text: str, width: int | None) -> list[str]:
    """The lines of a message, broken between words where they are longer than the width. Commands, URLs, ids and what
    stands in quotation marks are never broken, so that they can be copied; nor is a line that begins with a space.
    """
    lines = text.split("\n")
    if width is None:
        return lines
    return [part for line in lines for part in ([line] if line.startswith(" ") else _broken(line, width))]


def _broken(line: str, width: int) -> list[str]:
    """A line of a message, broken between its parts. Parts that stand together keep the spaces between them."""
    found, end = [""], 0
    for part in _UNBROKEN.finditer(line):
        joined = f"{found[-1]}{line[end : part.start()]}{part[0]}"
        if not found[-1] or cell_len(joined) <= width:
            found[-1] = joined
        else:
            found.append(part[0])
        end = part.end()
    return found


def cut(text: str, width: int) -> str:
    """The text on one line of this width; an ellipsis ends it where it is cut."""
    return text if cell_len(text) <= width else set_cell_size(text, max(width - 1, 0)).rstrip() + "…"


def shortened(text: str, width: int) -> str:
    """The text on one line of this width; an ellipsis stands for its middle where that is left out."""
    if cell_len(text) <= width:
        return text
    end_width = max(width - 1, 0) // 2
    end = text
    while cell_len(end) > end_width:
        end = end[max((len(end) - end_width) // 2, 1) :]
    head = set_cell_size(text, max(width - 1 - cell_len(end), 0)).rstrip()
    return f"{head}…{end}"


def fitting(widths: Sequence[int], room: int, kept: Collection[int] = ()) -> list[int]:
    """The widths of the columns of a table so that together they take this room, the widest made smaller first.

    The columns at `kept` stay as they are. If there is too little room, no column gets lost, and lines are longer.
    """
    found = list(widths)
    while sum(found) > room:
        wide = [number for number, width in enumerate(found) if number not in kept and width > _CELL_LEAST]
        if not wide:
            break
        found[max(wide, key=found.__getitem__)] -= 1
    return found


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text filled up with spaces to this width; after it, or with `right` before it."""
    fill = " " * (width - cell_len(text))
    return fill + text if right else text + fill


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most this width, broken at spaces, and within words that are longer."""
    lines, line = [], ""
    for word in text.split(" "):
        rest = word
        while rest:
            joined = f"{line} {rest}" if line else rest
            if cell_len(joined) <= width:
                line, rest = joined, ""
            elif line:
                lines.append(line)
                line = ""
            else:
                head = _head(rest, width)
                lines.append(head)
                rest = rest[len(head) :]
    return [*lines, line] if line or not lines else lines


def _head(word: str, width: int) -> str:
    """As many characters as fit; at least one."""
    used = 0
    for number, character in enumerate(word):
        used += cell_len(character)
        if used > width and number:
            return word[:number]
    return word
