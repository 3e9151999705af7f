"""Events as rows: who did what, when, and the reference that other commands accept; or other columns."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.cells import cell_len

from whence.cli.graph_text import reference
from whence.cli.layout import Style, cut, fitting, padded, shortened, wrapped
from whence.cli.terminal import printable
from whence.errors import Invalid
from whence.sentences import Grammar, Sentence, load_grammar, sentence_of
from whence.wire.bodies import EventBody
from whence.wire.trace_bodies import NodeBody

__all__ = [
    "EVENT_COLUMNS",
    "WHOLE",
    "EventColumns",
    "EventRow",
    "EventTable",
    "chosen_columns",
    "clock",
    "columns_parameter",
    "fitted",
    "fitted_cell",
    "load_words",
    "rows_of",
]

_HEADINGS = ("EVENT", "TIME, UTC", "WHAT HAPPENED")
_CLOCK = len("2026-01-02 03:04:05")
_FAILED = "✗"
_HANGING = 2
"""Columns by which the second line of a failure stands further in."""

WHOLE = ("ref", "id", "time")
"""Columns that are not shortened: times, and what other commands take."""


class EventRow(msgspec.Struct, frozen=True):
    """An event, and the sentence that says what happened."""

    event: EventBody | NodeBody
    sentence: Sentence

    @property
    def failed(self) -> bool:
        """Whether the event is a failure."""
        return self.event.outcome == "failure"


def load_words() -> Grammar:
    """The words of sentences: the built-in ones, and those of the file that WHENCE_SENTENCES names."""
    path = os.environ.get("WHENCE_SENTENCES")
    return load_grammar(Path(path) if path else None)


def rows_of(events: Iterable[EventBody], words: Grammar) -> list[EventRow]:
    """The rows of events that were read with their outcomes."""
    return [EventRow(event, sentence_of(event, event.payload_bytes, words)) for event in events]  # type: ignore[arg-type]  # the outcome is set


def clock(time: str) -> str:
    """A time of the API to the second, without the Z: 2026-01-02 03:04:05."""
    return time[:19].replace("T", " ")


EVENT_COLUMNS: Mapping[str, Callable[[EventRow], str]] = {
    "ref": lambda row: reference(row.event),
    "id": lambda row: row.event.id,
    "time": lambda row: row.event.occurred_at,
    "event_type": lambda row: row.event.event_type,
    "actor": lambda row: f"{row.event.actor_type}/{row.event.actor_id}",
    "resource": lambda row: f"{row.event.resource_type}/{row.event.resource_id}",
    "outcome": lambda row: str(row.event.outcome),
    "flow": lambda row: row.event.correlation_id,
    "cause": lambda row: row.event.causation_id or "",
    "sentence": lambda row: str(row.sentence),
}
"""What `--columns` can show of an event."""


def columns_parameter(known: Iterable[str]) -> Parameter:
    """The option `--columns` of a command that has these columns."""
    return Parameter(help=f"A table of the named columns, separated by commas: {', '.join(known)}.")


EventColumns = Annotated[str | None, columns_parameter(EVENT_COLUMNS)]


def chosen_columns(text: str | None, known: Iterable[str], *, json: bool = False) -> list[str] | None:
    """The names of columns in the value of `--columns`. Raises Invalid for one that there is not, and with `--json`,
    which prints what the API answered.
    """
    if text is None:
        return None
    if json:
        raise Invalid.at((), "Pass either --columns or --json.")
    names = [name.strip().lower() for name in text.split(",")]
    if not set(names) <= set(known):
        raise Invalid.at((), f"--columns takes these names, separated by commas: {', '.join(known)}.")
    return names


class EventTable:
    """Events as lines of text. The widths of columns are those of the first group of rows, so that rows can be printed
    before the others are known.
    """

    def __init__(self, style: Style, columns: Sequence[str] | None = None) -> None:
        self._style, self._columns = style, columns
        self._widths: list[int] = []
        self._shortened: list[bool] = []

    def lines(self, rows: Sequence[EventRow]) -> Iterator[str]:
        """The lines of these rows, with headings before the first ones."""
        return self._sentences(rows) if self._columns is None else self._cells(rows, self._columns)

    def _cells(self, rows: Sequence[EventRow], columns: Sequence[str]) -> Iterator[str]:
        cells = [[printable(EVENT_COLUMNS[name](row)) for name in columns] for row in rows]
        if not self._widths:
            cells.insert(0, [name.replace("_", " ").upper() for name in columns])
            self._widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
            whole = self._widths
            self._widths = self._fitting(whole, columns)
            self._shortened = [width < before for width, before in zip(self._widths, whole, strict=True)]
        for line in cells:
            needed = [
                width if is_shortened else max(width, cell_len(cell))
                for cell, width, is_shortened in zip(line, self._widths, self._shortened, strict=True)
            ]
            cells_of_line = zip(columns, line, self._fitting(needed, columns), self._widths, strict=True)
            yield "  ".join(
                padded(fitted_cell(name, text, width_max), width) for name, text, width_max, width in cells_of_line
            ).rstrip()

    def _fitting(self, widths: list[int], columns: Sequence[str]) -> list[int]:
        if self._style.width is None:
            return widths
        kept = [number for number, name in enumerate(columns) if name in WHOLE]
        return fitting(widths, self._style.width - 2 * (len(columns) - 1), kept)

    def _sentences(self, rows: Sequence[EventRow]) -> Iterator[str]:
        event, time, words = _HEADINGS
        if not self._widths:
            self._widths = [max(len(event), *(len(reference(row.event)) for row in rows))]
            yield self._style.faint(f"{event:>{self._widths[0]}} {time:<{_CLOCK}}   {words}")
        for row in rows:
            left = f"{reference(row.event):>{self._widths[0]}} {clock(row.event.occurred_at)} "
            mark = self._style.failure(_FAILED) if row.failed else " "
            width = None if self._style.width is None else self._style.width - len(left) - 2
            first, *more = _failure(row.sentence, width) if row.failed else [fitted(row.sentence, width)]
            yield f"{self._style.faint(left)}{mark} {first}"
            yield from (f"{' ' * (len(left) + 2 + _HANGING)}{line}" for line in more)


def fitted_cell(column: str, text: str, width: int, whole: Collection[str] = WHOLE) -> str:
    """The text of a cell in this width at most. What tells two apart stands at the beginning of a sentence, and often
    at the end of a name.
    """
    if column in whole:
        return text
    return cut(text, width) if column == "sentence" else shortened(text, width)


def fitted(sentence: Sentence, width: int | None) -> str:
    """The sentence on one line of this width."""
    text = printable(str(sentence))
    return text if width is None else cut(text, width)


def _failure(sentence: Sentence, width: int | None) -> list[str]:
    """What failed, on two lines at most. If that is too little, the middle is left out: the end tells two apart."""
    text = printable(str(sentence))
    if width is None or cell_len(text) <= width:
        return [text]
    first = wrapped(text, width)[0]
    return [first, shortened(text[len(first) :].strip(), width - _HANGING)]
