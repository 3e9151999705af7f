"""`import`: events from files into a running server, in batches, in the order of the file.

Repeats are harmless, so an import that broke off is simply run again: a line without an id gets one that follows from
the file's content and the line's number. A file is read twice for that, so it must be a regular one.
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
from whence.cli.profile import Connection, connect
from whence.cli.terminal import out, printable, say
from whence.client import NDJSON, ApiRequest, Whence, batch_request, parse_batch, refusal
from whence.errors import Invalid, TooLarge, WhenceError
from whence.wire.event import BATCH_EVENTS_MAX, BATCH_MAX, repeated_keys
from whence.wire.ids import derived_uuid

__all__ = ["Line", "Summary", "import_files", "read_lines"]

CLOUDEVENTS = "application/cloudevents-batch+json"

_LINE_MAX = BATCH_MAX - 2  # with the brackets of an array around it
_GZIP_MAGIC = b"\x1f\x8b"
_RETRIES = 8
_CREATED, _REPLAYED = 201, 200
_NULL = msgspec.Raw(b"null")
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


class Line(msgspec.Struct, frozen=True):
    """A line of a file that holds an event: its number from 1, and the event as JSON with an id."""

    number: int
    body: bytes
    content_type: str


class Summary(msgspec.Struct):
    """What became of the lines."""

    stored: int = 0
    replayed: int = 0
    refused: int = 0

    def sentence(self) -> str:
        """For a person."""
        if not self.stored and self.replayed and not self.refused:
            return f"Nothing was stored: all {self.replayed:,} events were there before."
        return f"{self.stored:,} stored, {self.replayed:,} there before, {self.refused:,} refused."


def import_files(
    *files: Annotated[Path, Parameter(name="FILE", help="NDJSON, plain or gzipped; CloudEvents too.")],
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print the summary as JSON.")] = False,
    connection: Connection | None = None,
) -> int:
    """Store the events of NDJSON files. Bad lines are told with their number, and the rest goes on.

    Run it again after a break: what is stored already is not stored twice.
    """
    if not files:
        raise Invalid.at((), "Name at least one file.")
    for path in files:  # what cannot be read is told before anything is stored
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise Invalid.at((), f"{path} is no regular file; write it into one first.")
        path.open("rb").close()
    with connect(connection) as whence:
        whence.send(ApiRequest(method="GET", path="/livez"))  # a server that is not there is told before long patience
    summary = Summary()
    with connect(connection, retries=_RETRIES) as whence, _progress(files) as advance:
        for path in files:
            _import_file(whence, path, summary, advance)
    out(msgspec.json.encode(summary).decode() if json else summary.sentence())
    return FAILED if summary.refused else 0


def read_lines(path: Path, refuse: Callable[[int, str], None], advance: Callable[[int], None]) -> Iterator[Line]:
    """The events of a file. A line that is none goes to `refuse` with its number and a sentence; blank ones are
    skipped. `advance` is told how far into the file the reading has come, in its bytes on disk. A damaged file ends
    where the damage is, and that is refused like a line.
    """
    content_id = ""
    number = 0
    try:
        with path.open("rb") as raw, _inflated(raw) as file:
            for chunk in _chunks(file):
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
                    try:
                        content_id = content_id or _content_id(path)
                    except _DAMAGE:
                        refuse(number, "The line has no id, and the damaged file gives it none; the rest is not read.")
                        return
                    body = _with_id(body, fields, derived_uuid(content_id, str(number)))
                yield Line(number, body, content_type)
    except _DAMAGE:
        refuse(number + 1, "The file is damaged or ends too early; what came before this line was read.")


def _import_file(whence: Whence, path: Path, summary: Summary, advance: Callable[[int], None]) -> None:
    def refuse(number: int, reason: str) -> None:
        summary.refused += 1
        say(f"{printable(str(path))}:{number}: {printable(reason)}")

    for lines in _batches(read_lines(path, refuse, advance)):
        _send(whence, lines, summary, refuse)


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """The lines in order, in groups that fit one request: of one content type, not too many, not too large."""
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
    """Store a group. When it is refused as a whole, its halves are tried, down to the line that is to blame."""
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
        raise WhenceError("The server did not tell what became of each event. Check the URL, and import again.")
    for line, result in zip(lines, results, strict=True):
        if result.status == _CREATED:
            summary.stored += 1
        elif result.status == _REPLAYED:
            summary.replayed += 1
        else:
            refuse(line.number, refusal(result))


def _with_id(body: bytes, fields: dict[str, msgspec.Raw], event_id: str) -> bytes:
    """The object with an id before its other fields, which stay byte for byte; `body` is a JSON object of `fields`,
    and its id, if it has one, is null.
    """
    if "id" in fields:
        if repeated_keys(body):
            return body  # the server refuses it for that
        fields = {"id": msgspec.Raw(msgspec.json.encode(event_id)), **{k: v for k, v in fields.items() if k != "id"}}
        return msgspec.json.encode(fields)
    rest = body[1:].lstrip()
    comma = b"" if rest.startswith(b"}") else b","
    return b'{"id":"' + event_id.encode() + b'"' + comma + rest


def _content_id(path: Path) -> str:
    """The SHA-256 of the file's content, so that a copy that is packed otherwise counts as the same file."""
    with path.open("rb") as raw, _inflated(raw) as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _inflated(raw: io.BufferedReader) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    packed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    raw.seek(0)
    if packed:
        with gzip.GzipFile(fileobj=raw) as file:
            yield file
    else:
        yield raw


def _chunks(file: io.BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    """The lines with their ends; of a line that is too long only the beginning, which is too long itself."""
    while chunk := file.readline(_LINE_MAX + 3):
        yield chunk
        while chunk and not chunk.endswith(b"\n"):
            chunk = file.readline(_LINE_MAX)


@contextmanager
def _progress(files: tuple[Path, ...]) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if a person looks at it; yields what moves it."""
    if not sys.stderr.isatty():
        yield lambda _position: None
        return
    from rich.console import Console  # noqa: PLC0415  (slow to load, and seldom needed)
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
