"""The command `histogram`: counts of events by time, a row for each bucket with a bar of characters."""

import string
from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import Parameter

from whence.cli.events import FilterOptions
from whence.cli.layout import style_of_stdout
from whence.cli.pager import NoPager, paging
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import JsonFlag, out, out_json, printable
from whence.client import histogram_request, parse_body
from whence.counting import counted
from whence.wire.bodies import HistogramBody

__all__ = ["bar", "histogram", "lines_of"]

_WIDTH = 80
"""Columns where lines have no end."""

_BAR_LEAST = 10

_MARKS = {"failure": "x", "success": "=", "none": "-", "other": "-"}
"""The characters of outcomes, and of the event types without a letter."""

_DAY_S, _MINUTE_S = 86_400, 60


def histogram(
    *,
    filters: FilterOptions | None = None,
    by: Annotated[Literal["outcome", "event_type"] | None, Parameter(help="What a bar is split by.")] = None,
    interval: Annotated[
        str | None, Parameter(help="The time of a row: 1s, 5m, 1h, 1d, 7d and others. Default: one that fits.")
    ] = None,
    top: Annotated[
        int | None, Parameter(help="With --by event_type, how many types have a letter of their own. Default: 8.")
    ] = None,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Count events by time: a row for each span of time, with a bar for its events."""
    filters = filters or FilterOptions()
    with client_for(server) as whence:
        answer = whence.send(histogram_request(**filters.resolved(whence), by=by, interval=interval, top=top))
    found = parse_body(answer, HistogramBody)
    if json:
        out_json(answer.body)
        return
    with paging(no_pager):
        out("\n".join(lines_of(found, style_of_stdout().width or _WIDTH)))


def lines_of(found: HistogramBody, width: int) -> list[str]:
    """The rows, what the characters of the bars mean, and the total."""
    total = counted(found.total, "event")
    if not found.buckets:
        return [total]
    letters = iter(string.ascii_lowercase)
    marks = [_MARKS.get(each.key) or next(letters) for each in found.keys]
    times = [_time(each.start, found.interval_s or 1) for each in found.buckets]
    numbers = [f"{each.total:,}" for each in found.buckets]
    figures = max(len("EVENTS"), *map(len, numbers))
    most = max(each.total for each in found.buckets)
    room = max(width - len(times[0]) - figures - 4, _BAR_LEAST)
    lines = [f"{'TIME, UTC':<{len(times[0])}}  {'EVENTS':>{figures}}"]
    for time, number, each in zip(times, numbers, found.buckets, strict=True):
        lines.append(f"{time}  {number:>{figures}}  {bar(each.counts, marks, most, room)}".rstrip())
    legend = [f"{mark} {printable(each.key)} {each.count:,}" for mark, each in zip(marks, found.keys, strict=True)]
    return [*lines, *(["", *legend] if legend else []), "", f"{total}, {found.interval} a row"]


def bar(counts: Sequence[int], marks: Sequence[str], most: int, room: int) -> str:
    """A bar as long as the share of these counts in `most`, of `room` characters. Any event makes at least one."""
    total = sum(counts)
    if not total:
        return ""
    length = max(round(total * room / most), 1)
    text, before = "", 0
    for count, mark in zip(counts, marks, strict=True):
        before += count
        text += mark * (round(before * length / total) - len(text))
    return text


def _time(start: str, interval_s: int) -> str:
    """The time of a row, as precise as rows differ."""
    if interval_s >= _DAY_S:
        return start[:10]
    return start[:16].replace("T", " ") if interval_s >= _MINUTE_S else start[:19].replace("T", " ")
