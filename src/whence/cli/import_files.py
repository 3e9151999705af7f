"""The command `import`: sends the events of files to a server, in batches, in the order of the file.

An import may be repeated, after an interruption or when the file has grown. A line without an id gets one that is
derived from the file up to and including that line. What is appended later does not change it, and equal lines differ.
"""

import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from whence.cli.app import FAILED
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import out, printable, say
from whence.client import NDJSON, ApiRequest, Whence, batch_request, parse_batch, refusal
from whence.errors import Invalid, TooLarge, WhenceError
from whence.wire.event import BATCH_EVENTS_MAX, BATCH_MAX, repeated_keys
from whence.wire.ids import derived_uuid

__all__ = ["Line", "Summary", "import_files", "read_lines"]

CLOUDEVENTS = "application/cloudevents-batch+json"

_LINE_MAX = BATCH_MAX - 2  # leaves room for the brackets of an array
_GZIP_MAGIC = b"\x1f\x8b"
_RETRIES = 8
_CREATED, _REPLAYED = 201, 200
_NULL = msgspec.Raw(b"null")
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


class Line(msgspec.Struct, frozen=True):
    """A line that holds an event: its number, from 1, and the event as JSON with an id."""

    number: int
    body: bytes
    content_type: str


class Summary(msgspec.Struct):
    """How many lines were stored, were stored already, and were refused."""

    stored: int = 0
    replayed: int = 0
    refused: int = 0

    def sentence(self) -> str:
        """The summary as a sentence."""
        if not self.stored and self.replayed and not self.refused:
            return f"Nothing was stored: all {self.replayed:,} events were already there."
        return f"{self.stored:,} stored, {self.replayed:,} already there, {self.refused:,} refused."


def import_files(
    *files: Annotated[Path, Parameter(name="FILE", help="NDJSON, plain or gzipped. Lines may be CloudEvents.")],
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print the summary as JSON.")] = False,
    server: ServerOptions | None = None,
) -> int:
    """Store the events of NDJSON files. Bad lines are reported with their number, and the rest is stored.

    Run it again after an interruption, or when lines were appended: no event is stored twice.
    """
    if not files:
        raise Invalid.at((), "Pass at least one file.")
    for path in files:  # report unreadable files before anything is stored
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise Invalid.at((), f"{path} is not a regular file. Save the events to a file first.")
        path.open("rb").close()
    with client_for(server) as whence:
        whence.send(ApiRequest(method="GET", path="/livez"))  # without the long retries below
    summary = Summary()
    with client_for(server, retries=_RETRIES) as whence, _progress(files) as advance:
        for path in files:
            _import_file(whence, path, summary, advance)
    out(msgspec.json.encode(summary).decode() if json else summary.sentence())
    return FAILED if summary.refused else 0


def read_lines(path: Path, refuse: Callable[[int, str], None], advance: Callable[[int], None]) -> Iterator[Line]:
    """The events of a file. Calls `refuse` with the number of a bad line and a sentence; skips blank lines.

    Calls `advance` with the position reached, in bytes of the file on disk. Where a file is damaged, reading ends, and
    the damage is refused like a line.
    """
    running = hashlib.sha256()
    number = 0
    try:
        with path.open("rb") as raw, _inflated(raw) as file:
            for chunk in _chunks(file, running):
                number += 1
                advance(raw.tell())
                if len(chunk.rstrip(b"\r\n")) > _LINE_MAX:
                    refuse(number, "The line is longer than a batch may be.")
                    continue
                body = chunk.strip()
                if not body:
                    continue
                try:
                    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    refuse(number, "The line is not a JSON object.")
                    continue
                content_type = CLOUDEVENTS if "specversion" in fields else NDJSON
                if bytes(fields.get("id", _NULL)) == b"null":
                    body = _with_id(body, fields, derived_uuid(running.hexdigest()))
                yield Line(number, body, content_type)
    except _DAMAGE:
        refuse(number + 1, "The file is damaged or incomplete. Only the lines before this one were read.")


def _import_file(whence: Whence, path: Path, summary: Summary, advance: Callable[[int], None]) -> None:
    def refuse(number: int, reason: str) -> None:
        summary.refused += 1
        say(f"{printable(str(path))}:{number}: {printable(reason)}")

    for lines in _batches(read_lines(path, refuse, advance)):
        _send(whence, lines, summary, refuse)


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """The lines in order, in groups that fit into one request and have one content type."""
    group: list[Line] = []
    size = 0
    for line in lines:
        full = len(group) == BATCH_EVENTS_MAX or size + len(line.body) + 1 > _LINE_MAX
        if group and (full or line.content_type != group[0].content_type):
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line.body) + 1
    if group:
        yield group


def _send(whence: Whence, lines: list[Line], summary: Summary, refuse: Callable[[int, str], None]) -> None:
    """Store a group. If the server refuses it as a whole, retry its halves, down to the bad line."""
    bodies = [line.body for line in lines]
    array = lines[0].content_type == CLOUDEVENTS
    content = b"[" + b",".join(bodies) + b"]" if array else b"\n".join(bodies)
    try:
        results = parse_batch(whence.send(batch_request(content, lines[0].content_type))).results
    except (Invalid, TooLarge) as error:
        if len(lines) == 1:
            refuse(lines[0].number, str(error))
            return
        middle = len(lines) // 2
        _send(whence, lines[:middle], summary, refuse)
        _send(whence, lines[middle:], summary, refuse)
        return
    if len(results) != len(lines):
        raise WhenceError("The server did not report a result for each event. Check the URL, and import again.")
    for line, result in zip(lines, results, strict=True):
        if result.status == _CREATED:
            summary.stored += 1
        elif result.status == _REPLAYED:
            summary.replayed += 1
        else:
            refuse(line.number, refusal(result))


def _with_id(body: bytes, fields: dict[str, msgspec.Raw], event_id: str) -> bytes:
    """The object with an id before its other fields, which keep their bytes.

    `body` is a JSON object of `fields`, in which the id is missing or null.
    """
    if "id" in fields:
        if repeated_keys(body):
            return body  # the server refuses it and says why
        fields = {"id": msgspec.Raw(msgspec.json.encode(event_id)), **{k: v for k, v in fields.items() if k != "id"}}
        return msgspec.json.encode(fields)
    rest = body[1:].lstrip()
    comma = b"" if rest.startswith(b"}") else b","
    return b'{"id":"' + event_id.encode() + b'"' + comma + rest


@contextmanager
def _inflated(raw: io.BufferedReader) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    packed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    raw.seek(0)
    if packed:
        with gzip.GzipFile(fileobj=raw) as file:
            yield file
    else:
        yield raw


def _chunks(file: io.BufferedReader | gzip.GzipFile, running: "hashlib._Hash") -> Iterator[bytes]:
    """The lines with their line ends. A line that is too long is cut to a length that is still too long.

    When a line is yielded, `running` has hashed the uncompressed file up to the end of that line. It leaves the last
    line end out and takes CRLF for LF, so that a last line keeps its hash when more lines follow.
    """
    while chunk := file.readline(_LINE_MAX + 3):
        running.update(chunk.rstrip(b"\r\n"))
        yield chunk
        while chunk and not chunk.endswith(b"\n"):
            chunk = file.readline(_LINE_MAX)
            running.update(chunk.rstrip(b"\r\n"))
        running.update(b"\n")


@contextmanager
def _progress(files: tuple[Path, ...]) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if stderr is a terminal; yields the function that moves it."""
    if not sys.stderr.isatty():
        yield lambda _position: None
        return
    from rich.console import Console  # noqa: PLC0415  (slow to import, and rarely needed)
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415  (as above)

    sizes = [path.stat().st_size for path in files]
    columns = (TextColumn("importing"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    done = last = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("importing", total=sum(sizes))

        def advance(position: int) -> None:
            nonlocal done, last
            if position < last:  # the next file has begun
                done += sizes.pop(0)
            if position != last:
                progress.update(task, completed=done + position)
            last = position

        yield advance
