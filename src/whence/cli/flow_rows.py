"""Flows and the process map as rows that fit the terminal. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from rich.cells import cell_len

from whence.cli.event_rows import WHOLE, EventRow, clock, fitted, fitted_cell
from whence.cli.graph_text import reference, span
from whence.cli.layout import Style, cut, fitting, padded, wrapped
from whence.cli.terminal import printable, table
from whence.counting import counted
from whence.sentences import Sentence
from whence.wire.trace_bodies import FlowBody, PairBody

__all__ = ["FLOW_COLUMNS", "MAP_COLUMNS", "MAP_DEFAULT", "FlowRow", "flow_lines", "map_lines", "named_table"]

_SENTENCE_LEAST = 40
"""Columns below which a sentence gets a line of its own."""

_TYPE_LEAST = 20
"""Columns below which an event type is not cut."""


class FlowRow(msgspec.Struct, frozen=True):
    """A flow with the event that says how it began, if it could be read."""

    flow: FlowBody
    began: EventRow | None

    @property
    def sentence(self) -> Sentence | None:
        """How it began, in words."""
        return None if self.began is None else self.began.sentence


FLOW_COLUMNS: Mapping[str, Callable[[FlowRow], str | int]] = {
    "ref": lambda row: "" if row.began is None else reference(row.began.event),
    "flow": lambda row: row.flow.correlation_id,
    "first": lambda row: row.flow.first_at,
    "last": lambda row: row.flow.last_at,
    "events": lambda row: row.flow.events,
    "failed": lambda row: row.flow.failures,
    "actors": lambda row: f"{row.flow.actors:,}{'+' if row.flow.at_least else ''}",
    "length": lambda row: span(row.flow.duration_us),
    "event_type": lambda row: row.flow.root.event_type,
    "sentence": lambda row: str(row.sentence or row.flow.root.event_type),
}
"""What `--columns` can show of a flow. `event_type` is that of its first event."""


_WHOLE = (*WHOLE, "flow", "first", "last")
"""Columns that are not shortened. `whence flow` takes the id of a flow."""


def named_table(names: Sequence[str], cells: Sequence[Sequence[str | int]], style: Style) -> str:
    """A table with the names as headings. On a narrow terminal the widest cells are shortened, but no ids and times."""
    lines = [[name.replace("_", " ").upper() for name in names]]
    lines += [[f"{cell:,}" if isinstance(cell, int) else printable(cell) for cell in row] for row in cells]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    numbers = [any(isinstance(row[index], int) for row in cells) for index in range(len(names))]
    if style.width is not None:
        kept = [index for index, name in enumerate(names) if name in _WHOLE or numbers[index]]
        widths = fitting(widths, style.width - 2 * (len(names) - 1), kept)
    columns = list(zip(names, widths, numbers, strict=True))
    return "\n".join(
        "  ".join(
            padded(fitted_cell(name, cell, width, _WHOLE), width, right=number)
            for cell, (name, width, number) in zip(line, columns, strict=True)
        ).rstrip()
        for line in lines
    )


def flow_lines(rows: Sequence[FlowRow], style: Style) -> Iterator[str]:
    """One line a flow where the width has room for the sentence at its end, else two."""
    figures = [
        (
            "" if row.began is None else reference(row.began.event),
            clock(row.flow.last_at),
            f"{row.flow.events:,}",
            f"{row.flow.failures:,}",
            span(row.flow.duration_us) if row.flow.events > 1 else "",
            printable(row.flow.correlation_id),
        )
        for row in rows
    ]
    head = ("EVENT", "LAST, UTC", "EVENTS", "FAILED", "LENGTH", "FLOW")
    widths = [max(map(cell_len, column)) for column in zip(head, *figures, strict=True)]
    left = sum(widths) + 2 * len(widths)
    if style.width is not None and style.width - left - 2 < _SENTENCE_LEAST:
        yield from _two_lines_each(rows, style, widths[0])
        return

    yield style.faint(f"{_aligned(head, widths)}    HOW IT BEGAN")
    for row, cells in zip(rows, figures, strict=True):
        width = None if style.width is None else style.width - left - 2
        yield f"{style.faint(_aligned(cells, widths))}  {_mark(row, style)} {_began(row, width)}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The figures of a flow on the right of their columns, and its id on the left."""
    aligned = [padded(cell, size, right=True) for cell, size in zip(cells[:-1], widths, strict=False)]
    return "  ".join((*aligned, padded(cells[-1], widths[-1])))


def _two_lines_each(rows: Sequence[FlowRow], style: Style, ref_width: int) -> Iterator[str]:
    """What began each flow, and below it the figures."""
    width = (style.width or 0) - ref_width - 3
    for row in rows:
        flow_ = row.flow
        ref = "" if row.began is None else reference(row.began.event)
        yield f"{style.faint(f'{ref:>{ref_width}}')} {_mark(row, style)} {_began(row, width)}"
        failed = f", {flow_.failures:,} failed" if flow_.failures else ""
        lasted = f" · {span(flow_.duration_us)}" if flow_.events > 1 else ""
        figures = f"{clock(flow_.last_at)} · {counted(flow_.events, 'event')}{failed}{lasted}"
        for line in wrapped(f"{figures} · {printable(flow_.correlation_id)}", width):
            yield f"{' ' * (ref_width + 3)}{style.faint(line)}"


def _mark(row: FlowRow, style: Style) -> str:
    return style.failure("✗") if row.flow.failures else " "


def _began(row: FlowRow, width: int | None) -> str:
    return printable(row.flow.root.event_type) if row.sentence is None else fitted(row.sentence, width)


MAP_COLUMNS: Mapping[str, Callable[[PairBody], str | int]] = {
    "cause": lambda pair: pair.cause_type,
    "effect": lambda pair: pair.effect_type,
    "events": lambda pair: pair.events,
    "share": lambda pair: f"{pair.share:.1%}",
    "failed": lambda pair: pair.failures,
    "p50": lambda pair: "" if pair.p50_us is None else span(pair.p50_us),
    "p95": lambda pair: "" if pair.p95_us is None else span(pair.p95_us),
    "skewed": lambda pair: pair.skewed,
}
"""What `--columns` can show of a pair of event types."""

MAP_DEFAULT = ("cause", "effect", "events", "share", "failed", "p50", "p95")
"""The columns without `--columns`."""


def map_lines(pairs: Sequence[PairBody], cells: Sequence[Sequence[str | int]], style: Style) -> Iterator[str]:
    """One line a pair where the width has room for both types and the figures, else two. A cross marks failures."""
    marks = ["  ", *(f"{style.failure('✗')} " if pair.failures else "  " for pair in pairs)]
    head = [name.upper() for name in MAP_DEFAULT]
    lines = table(head, cells).split("\n")
    if style.width is None or max(map(cell_len, lines)) + 2 <= style.width:
        yield from (f"{mark}{line}" for mark, line in zip(marks, lines, strict=True))
        return
    figures = table(head[2:], [row[2:] for row in cells]).split("\n")
    room = style.width - max(map(cell_len, figures)) - 4
    size = min(max(cell_len(pair.effect_type) for pair in pairs) + 2, max(room, _TYPE_LEAST))
    yield f"  {padded('CAUSE → EFFECT', size)}  {figures[0]}"
    for mark, pair, line in zip(marks[1:], pairs, figures[1:], strict=True):
        yield f"  {cut(printable(pair.cause_type), style.width - 2)}"
        yield f"{mark}{padded(cut(f'→ {printable(pair.effect_type)}', size), size)}  {line}"
