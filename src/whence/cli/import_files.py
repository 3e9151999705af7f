"""The command `import`: sends the events of files to a server, in batches, in the order of the file.

An import may be repeated, after an interruption or when the file has grown.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from whence.cli import FAILED, INTERRUPTED
from whence.cli.event_files import CLOUDEVENTS, LINE_MAX, Line, check_file, read_lines, shown_path
from whence.cli.field_maps import FieldMap, load_map, ready_maps
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import out, printable, say
from whence.client import ApiRequest, Whence, batch_request, parse_batch, refusal
from whence.counting import counted
from whence.errors import Invalid, TooLarge, WhenceError
from whence.wire.bodies import BatchResultBody
from whence.wire.event import BATCH_EVENTS_MAX
from whence.wire.problems import MORE_PROBLEMS, PROBLEMS_MAX

__all__ = ["Complaints", "Summary", "import_files"]

_STDIN = "-"
_RETRIES = 8
_CREATED, _REPLAYED = 201, 200
_SAME_COMPLAINTS_MAX = 5
_COMPLAINTS_MAX = 1000


class Summary(msgspec.Struct):
    """How many lines were stored, were stored already, and were refused; and in how many payloads of the former two the
    server masked values, unset if in none.
    """

    stored: int = 0
    replayed: int = 0
    refused: int = 0
    masked: int | msgspec.UnsetType = msgspec.UNSET

    def sentence(self) -> str:
        """The summary as a sentence."""
        if not self.stored and self.replayed and not self.refused:
            were = "the event was" if self.replayed == 1 else f"all {self.replayed:,} events were"
            return f"Nothing was stored: {were} already there."
        masked = f" The server masked values in {counted(self.masked, 'payload')}." if self.masked else ""
        return f"{self.stored:,} stored, {self.replayed:,} already there, {self.refused:,} refused.{masked}"

    def unfinished(self) -> str:
        """What an interrupted import has done, and how to go on. No sentence, since it may stand in brackets."""
        there = f", {self.replayed:,} already there" if self.replayed else ""
        refused = f", {self.refused:,} refused" if self.refused else ""
        return f"{self.stored:,} stored{there}{refused}; run the same command to go on"


class Complaints:
    """Says what is wrong with events: the same complaint five times, and then how often it came again."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._uncounted = 0

    def add(self, place: str, reason: str) -> None:
        """Say what is wrong with the event at this place, unless it was said often enough."""
        if reason not in self._counts and len(self._counts) == _COMPLAINTS_MAX:
            self._uncounted += 1
            return
        self._counts[reason] = self._counts.get(reason, 0) + 1
        if self._counts[reason] <= _SAME_COMPLAINTS_MAX:
            say(f"{place}: {printable(reason)}")

    def close(self) -> None:
        """Say how often the complaints came again."""
        for reason, count in self._counts.items():
            if count > _SAME_COMPLAINTS_MAX:
                say(f"{count - _SAME_COMPLAINTS_MAX:,} more: {printable(reason)}")
        if self._uncounted:
            say(f"{self._uncounted:,} more, for other reasons.")

    def are_about(self, field: str) -> bool:
        """Whether the server complained about this field of events."""
        return any(f"{field}: " in reason for reason in self._counts)

    def name_missing(self, field: str) -> bool:
        """Whether the server missed this field in events."""
        return any(f"{field}: This field is required." in reason for reason in self._counts)


def import_files(
    *files: Annotated[
        str,
        Parameter(
            name="FILE",
            allow_leading_hyphen=True,  # `-` is the standard input
            help="NDJSON, a JSON array or, with --map, CSV; plain or gzipped. Events may be CloudEvents. "
            "'-' is the standard input.",
        ),
    ],
    map_: Annotated[
        str | None,
        Parameter(
            name="--map",
            help="Which member is which field, for records in another form. "
            f"A ready map ({', '.join(ready_maps())}), or a TOML file; see docs/importing.md.",
        ),
    ] = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print the summary as JSON.")] = False,
    server: ServerOptions | None = None,
) -> int:
    """Store the events of files. Bad lines are reported with their number, and the rest is stored.

    Run it again after an interruption, or when lines were appended: no event is stored twice.
    """
    paths = _paths(files)
    field_map = None if map_ is None else load_map(map_)
    for path in paths:  # report unreadable files before anything is stored
        if path is not None:
            check_file(path, field_map)
    with client_for(server) as whence:
        whence.send(ApiRequest(method="GET", path="/livez"))  # without the long retries below
    summary, complaints = Summary(), Complaints()
    interrupted = False
    try:
        with client_for(server, retries=_RETRIES) as whence, _progress(paths) as advance:
            for path in paths:
                _import_file(whence, path, summary, complaints, advance, field_map)
    except KeyboardInterrupt:
        interrupted = True
    except WhenceError as error:
        if summary != Summary():
            error.add_note(summary.unfinished())
        raise
    finally:
        complaints.close()
        _explain_types(complaints, field_map)
        if field_map is None and complaints.name_missing("eventType") and not (summary.stored or summary.replayed):
            say(
                "If these are records of another system, write a map that says which member is which field, and pass "
                "it with --map; docs/importing.md has an example."
            )
    if interrupted:
        say(f"Interrupted. {summary.unfinished()}.")
    if json or not interrupted:
        out(msgspec.json.encode(summary).decode() if json else summary.sentence())
    return INTERRUPTED if interrupted else FAILED if summary.refused else 0


def _paths(files: Sequence[str]) -> list[Path | None]:
    """The paths of the files; None for the standard input. Raises Invalid."""
    if not files:
        raise Invalid.at((), "Pass at least one file, or - for the standard input.")
    for file in files:
        if file.startswith("-") and file != _STDIN:
            raise Invalid.at((), "Unknown option among the files. Write ./ before a file that begins with a hyphen.")
    if "" in files:
        raise Invalid.at((), "The name of a file is empty. Pass the name of a file, or - for the standard input.")
    if files.count(_STDIN) > 1:
        raise Invalid.at((), "The standard input can be read only once.")
    return [None if file == _STDIN else Path(file) for file in files]


def _explain_types(complaints: Complaints, field_map: FieldMap | None) -> None:
    """Say which setting the server needs, if it refused the resource types of a map."""
    if field_map is not None and complaints.are_about("resourceType"):
        types = ",".join(sorted(set(field_map.resource_types)))
        say(f"The map needs a server that knows its resource types: WHENCE_RESOURCE_TYPES={types}")


def _import_file(
    whence: Whence,
    path: Path | None,
    summary: Summary,
    complaints: Complaints,
    advance: Callable[[int], None],
    field_map: FieldMap | None,
) -> None:
    def refuse(place: str, reason: str) -> None:
        summary.refused += 1
        complaints.add(f"{shown_path(path)}:{place}" if place else shown_path(path), reason)

    before = msgspec.structs.replace(summary)
    for lines in _batches(read_lines(path, refuse, advance, field_map)):
        _send(whence, lines, summary, refuse)
    if summary == before:
        has_content = path is not None and path.stat().st_size
        state = "holds no records" if field_map is not None and has_content else "is empty"
        say(f"{shown_path(path)} {state}: no events were found in it.")


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """The lines in order, in groups that fit into one request and have one content type."""
    group: list[Line] = []
    size = 0
    for line in lines:
        full = len(group) == BATCH_EVENTS_MAX or size + len(line.body) + 1 > LINE_MAX
        if group and (full or line.content_type != group[0].content_type):
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line.body) + 1
    if group:
        yield group


def _send(whence: Whence, lines: list[Line], summary: Summary, refuse: Callable[[str, str], None]) -> None:
    """Store a group. If the server refuses it as a whole, retry its halves, down to the bad line."""
    bodies = [line.body for line in lines]
    array = lines[0].content_type == CLOUDEVENTS
    content = b"[" + b",".join(bodies) + b"]" if array else b"\n".join(bodies)
    try:
        results = parse_batch(whence.send(batch_request(content, lines[0].content_type))).results
    except (Invalid, TooLarge) as error:
        if len(lines) == 1:
            refuse(lines[0].place, str(error))
            return
        middle = len(lines) // 2
        _send(whence, lines[:middle], summary, refuse)
        _send(whence, lines[middle:], summary, refuse)
        return
    if len(results) != len(lines):
        raise WhenceError("The server did not report a result for each event. Check the URL, and import again.")
    for line, result, reason in zip(lines, results, _reasons(results), strict=True):
        if result.status == _CREATED:
            summary.stored += 1
        elif result.status == _REPLAYED:
            summary.replayed += 1
        else:
            refuse(line.place, reason)
        if result.redacted is not msgspec.UNSET:
            summary.masked = (summary.masked or 0) + 1


def _reasons(results: Sequence[BatchResultBody]) -> Iterator[str]:
    """Why the server refused each event; empty if it did not. It lists only so many problems of a request. From there
    on, an event gets the reason of the first one before it whose problems begin alike.
    """
    whole: dict[str, None] = {}
    listed = 0
    for result in results:
        problems = result.detail
        if isinstance(problems, list):
            problems = [each for each in problems if not isinstance(each, dict) or each.get("type") != MORE_PROBLEMS]
            listed += len(problems)
        reason = refusal(msgspec.structs.replace(result, detail=problems))
        if reason and listed >= PROBLEMS_MAX:
            reason = next((known for known in whole if known.startswith(reason)), reason)
        elif reason:
            whole[reason] = None
        yield reason


@contextmanager
def _progress(paths: Sequence[Path | None]) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if stderr is a terminal; yields the function that moves it."""
    if not sys.stderr.isatty():
        yield lambda _position: None
        return
    from rich.console import Console  # noqa: PLC0415  (slow to import, and rarely needed)
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415  (as above)

    sizes = [path.stat().st_size for path in paths if path is not None]
    is_known = None not in paths  # how long the standard input is shows only at its end
    columns = (TextColumn("importing"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    done = last = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("importing", total=sum(sizes) if is_known else None)

        def advance(position: int) -> None:
            nonlocal done, last
            if position < last:  # the next file has begun
                done += sizes.pop(0)
            if position != last:
                progress.update(task, completed=done + position)
            last = position

        yield advance
