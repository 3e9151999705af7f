"""The files of `import`: NDJSON, a JSON document, or CSV, plain or gzipped, or the standard input.

A line without an id gets one that is derived from the file up to and including that line. What is appended later does
not change it, and equal lines differ.
"""

import codecs
import contextlib
import csv
import gzip
import hashlib
import io
import re
import shlex
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec

from whence.cli.field_maps import FieldMap, Unmapped
from whence.cli.file_forms import FileKind, Form, form_of, import_command
from whence.cli.terminal import printable, say
from whence.client import NDJSON
from whence.errors import Invalid
from whence.wire.event import BATCH_MAX, repeated_keys
from whence.wire.fields import Broken
from whence.wire.ids import derived_uuid
from whence.wire.payload import compact_json

__all__ = ["CLOUDEVENTS", "LINE_MAX", "Line", "Refuse", "check_file", "read_lines", "shown_path"]

CLOUDEVENTS = "application/cloudevents-batch+json"

LINE_MAX = BATCH_MAX - 2
"""Bytes of the longest event. It leaves room for the brackets of an array."""

_DOCUMENT_MAX = 256 * 1024 * 1024
_HEAD = 64 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_NULL = msgspec.Raw(b"null")
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_DAMAGED = "The file is damaged or incomplete. Only the lines before this one were read."
_DAMAGED_DOCUMENT = "The file is damaged or incomplete. No event of it was read."

_TRAILING = re.compile(r"trailing characters \(byte ([0-9]+)\)")
_BYTE = re.compile(r"\(byte ([0-9]+)\)")
_SPACE = re.compile(rb"[ \t\r\n]*")

Refuse = Callable[[str, str], None]
"""Called with the place of a bad event in its file, which may be empty, and with a sentence."""

_decode_values = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Line(msgspec.Struct, frozen=True):
    """An event: its place in the file, and its JSON with an id."""

    place: str
    body: bytes
    content_type: str


def shown_path(path: Path | None) -> str:
    """The name of a file for messages. None is the standard input."""
    return "(standard input)" if path is None else printable(str(path))


def check_file(path: Path, field_map: FieldMap | None) -> None:
    """Raise Invalid or OSError for a file that cannot be imported, as far as its beginning shows."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise Invalid.at((), f"{path} is not a regular file. Pass its content to '{_command(field_map)}'.")
    with path.open("rb") as raw, contextlib.suppress(*_DAMAGE), _inflated(raw) as stream:
        _form(stream, path, field_map)


def read_lines(
    path: Path | None, refuse: Refuse, advance: Callable[[int], None], field_map: FieldMap | None = None
) -> Iterator[Line]:
    """The events of a file, or of the standard input. Skips blank lines, and calls `refuse` for what is no event.

    Calls `advance` with the position reached, in bytes of the file on disk. Where a file is damaged, reading ends, and
    the damage is refused like a line. Raises Invalid for a file in a form that cannot be read.
    """
    events = _Events(refuse, field_map, path)
    with contextlib.ExitStack() as stack:
        raw = _standard_input() if path is None else stack.enter_context(path.open("rb"))
        reached = (lambda: advance(raw.tell())) if path is not None else (lambda: None)
        try:
            stream = stack.enter_context(_inflated(raw))
            form = _form(stream, path, field_map)
        except _DAMAGE:
            refuse("1", _DAMAGED)
            return
        if form.kind is FileKind.LINES or form.kind is FileKind.EMPTY:
            yield from events.of_lines(stream, reached)
        elif form.kind is FileKind.DOCUMENT:
            yield from events.of_document(stream)
        else:
            yield from events.of_csv(stream, form.delimiter, reached)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise Invalid.at((), "The standard input is closed. Pass the name of a file.")
    if sys.stdin.isatty():
        say("Reading events from the terminal, one JSON object a line. Ctrl-D ends them.")
    return sys.stdin.buffer


def _form(stream: "_Stream", path: Path | None, field_map: FieldMap | None) -> Form:
    name = None if path is None else printable(str(path))
    records, map_name = (field_map.records, printable(field_map.name)) if field_map else (None, None)
    form = form_of(stream.peek(_HEAD), name, records, map_name)
    problem = form.problem
    if form.kind is FileKind.CSV and field_map is None:
        problem = (
            "This looks like CSV. Write a map that says which column is which field, and pass it with --map; "
            "docs/importing.md has an example."
        )
    if problem:
        raise Invalid.at((), f"{shown_path(path)}: {problem}")
    return form


def _command(field_map: FieldMap | None) -> str:
    return import_command(printable(field_map.name) if field_map else None)


class _Events:
    """Makes events from what one file holds. `running` has hashed all of it up to the end of the current event."""

    def __init__(self, refuse: Refuse, field_map: FieldMap | None, path: Path | None) -> None:
        self._refuse = refuse
        self._map = field_map
        self._file = "FILE" if path is None else shlex.quote(printable(str(path)))
        self._running = hashlib.sha256()

    def of_lines(self, stream: "_Stream", reached: Callable[[], None]) -> Iterator[Line]:
        """The events of NDJSON."""
        number = 0
        try:
            for chunk in _chunks(stream, self._running):
                number += 1
                reached()
                body = (chunk.removeprefix(codecs.BOM_UTF8) if number == 1 else chunk).strip()
                if len(chunk.rstrip(b"\r\n")) > LINE_MAX:
                    self._refuse(str(number), "The line is longer than a batch may be.")
                elif body:
                    yield from self._line(str(number), body)
        except _DAMAGE:
            self._refuse(str(number + 1), _DAMAGED)

    def of_document(self, stream: "_Stream") -> Iterator[Line]:
        """The events of a JSON array, and of objects that stand one after another."""
        try:
            text = stream.read(_DOCUMENT_MAX + 1)
        except _DAMAGE:
            self._refuse("", _DAMAGED_DOCUMENT)
            return
        if len(text) > _DOCUMENT_MAX:
            limit = f"{_DOCUMENT_MAX // 1024 // 1024} MiB"
            split = f"jq -c '.[]' {self._file} | {_command(self._map)}"
            self._refuse("", f"A JSON document has at most {limit}. Make it NDJSON: {split}")
            return
        number = 0
        try:
            for number, item in enumerate(self._items(text.removeprefix(codecs.BOM_UTF8)), 1):
                yield from self._item(f"event {number}", item)
        except _BrokenDocument as error:
            where = "Only the events before it were read." if number else "No event of it was read."
            self._refuse(str(error), f"The JSON is not valid in this line. {where}")

    def _item(self, place: str, item: bytes) -> Iterator[Line]:
        try:
            body = compact_json(item)  # one line, as a request of NDJSON needs it
        except Broken as error:
            self._running.update(item + b"\n")
            self._refuse(place, str(error))
            return
        self._running.update(body + b"\n")
        if len(body) > LINE_MAX:
            self._refuse(place, "The event is longer than a batch may be.")
            return
        yield from self._line(place, body)

    def of_csv(self, stream: "_Stream", delimiter: str, reached: Callable[[], None]) -> Iterator[Line]:
        """The events of CSV, whose first row has the names of the columns."""
        csv.field_size_limit(LINE_MAX)
        rows = csv.DictReader(
            io.TextIOWrapper(stream, "utf-8-sig", newline=""), delimiter=delimiter, skipinitialspace=True
        )
        try:
            names = rows.fieldnames or ()
            if len(set(names)) < len(names):
                self._refuse("1", "Two columns have the same name.")
                return
            for row in rows:
                reached()
                place = str(rows.line_num)
                if None in row:
                    self._refuse(place, "The row has more columns than the first row names.")
                    continue
                body = msgspec.json.encode({name: text for name, text in row.items() if text is not None})
                self._running.update(body + b"\n")
                yield from self._line(place, body)
        except _DAMAGE:
            self._refuse(str(rows.line_num + 1), _DAMAGED)
        except UnicodeDecodeError:
            convert = f"iconv -f LATIN1 -t UTF-8 {self._file} | {_command(self._map)}"
            self._refuse("", f"Not all of the CSV is UTF-8. Convert it: {convert}")
        except csv.Error:
            self._refuse(str(rows.line_num + 1), "The CSV is not valid here. Only the rows before it were read.")

    def _items(self, text: bytes) -> Iterator[bytes]:
        """The items of arrays, the records of an object that has the list of the map, and other objects as they are."""
        for value in _values(text):
            if isinstance(value, list):
                yield from map(bytes, value)
                continue
            body, members = value
            records = members.get(self._map.records) if self._map and self._map.records else None
            if records is None:
                yield body
                continue
            try:
                yield from map(bytes, msgspec.json.decode(records, type=list[msgspec.Raw]))
            except _UNREADABLE:
                yield bytes(records)  # refused like any record that is no object

    def _line(self, place: str, body: bytes) -> Iterator[Line]:
        """The event in this object, if it is one."""
        try:
            members = _decode_members(body)
        except _UNREADABLE as error:
            self._refuse(place, _why_no_object(error))
            return
        if self._map is not None:
            try:
                yield Line(place, self._map.event(body, self._event_id), NDJSON)
            except Unmapped as error:
                self._refuse(place, str(error))
            return
        content_type = CLOUDEVENTS if "specversion" in members else NDJSON
        if bytes(members.get("id", _NULL)) == b"null":
            body = _with_id(body, members, self._event_id())
        yield Line(place, body, content_type)

    def _event_id(self) -> str:
        return derived_uuid(self._running.hexdigest())


def _why_no_object(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "The line is not a JSON object: it is nested too deeply."
    if isinstance(error, msgspec.ValidationError):
        return "The line is not a JSON object."
    return "The line is not a JSON object: it is not valid JSON."


class _BrokenDocument(Exception):
    """A document is no JSON from some line on. `str(error)` is the number of this line."""


def _values(text: bytes) -> Iterator[list[msgspec.Raw] | tuple[bytes, dict[str, msgspec.Raw]]]:
    """The arrays and objects that stand one after another in a text; objects as bytes too. Raises _BrokenDocument."""
    view = memoryview(text)
    start = _end_of_space(text, 0)
    while start < len(text):
        end = len(text)
        try:
            value = _decode_values(view[start:])
        except _UNREADABLE as error:
            trailing = _TRAILING.search(str(error))
            if trailing is None:
                raise _broken(text, start, error) from None
            end = start + int(trailing[1]) - 1  # the message counts the first byte after the value too
            value = _decode_values(view[start:end])
        yield value if isinstance(value, list) else (text[start:end], value)
        start = _end_of_space(text, end)


def _end_of_space(text: bytes, start: int) -> int:
    found = _SPACE.match(text, start)
    return start if found is None else found.end()


def _broken(text: bytes, start: int, error: Exception) -> _BrokenDocument:
    place = _BYTE.search(str(error))
    end = start + int(place[1]) if place else len(text.rstrip())
    return _BrokenDocument(str(text.count(b"\n", 0, end) + 1))


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


_Stream: TypeAlias = "io.BufferedReader[Any] | gzip.GzipFile"


class _Rejoined(io.RawIOBase):
    """A stream of which the first bytes were read already, from its beginning.

    A terminal can be read on after its end. `rest` returns fewer bytes than it is asked for only at the end, and is not
    read again then, so that one Ctrl-D ends it.
    """

    def __init__(self, first: bytes, rest: BinaryIO, *, ended: bool) -> None:
        self._first = first
        self._rest = rest
        self._ended = ended
        self.name = getattr(rest, "name", "")

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, as long as there is something to fill it with."""
        found = self._first[: len(buffer)]
        self._first = self._first[len(found) :]
        wanted = len(buffer) - len(found)
        if wanted and not self._ended:
            more = self._rest.read(wanted)
            self._ended = len(more) < wanted
            found += more
        buffer[: len(found)] = found
        return len(found)


@contextlib.contextmanager
def _inflated(raw: BinaryIO) -> Iterator[_Stream]:
    first = raw.read(len(_GZIP_MAGIC))
    whole = io.BufferedReader(_Rejoined(first, raw, ended=len(first) < len(_GZIP_MAGIC)), _HEAD)
    if first == _GZIP_MAGIC:
        with gzip.GzipFile(fileobj=whole) as file:
            yield file
    else:
        yield whole


def _chunks(file: _Stream, running: "hashlib._Hash") -> Iterator[bytes]:
    """The lines with their line ends. A line that is too long is cut to a length that is still too long.

    When a line is yielded, `running` has hashed the uncompressed file up to the end of that line. It leaves the last
    line end out and takes CRLF for LF, so that a last line keeps its hash when more lines follow.
    """
    while chunk := file.readline(LINE_MAX + 3):
        running.update(chunk.rstrip(b"\r\n"))
        yield chunk
        while chunk and not chunk.endswith(b"\n"):
            chunk = file.readline(LINE_MAX)
            running.update(chunk.rstrip(b"\r\n"))
        running.update(b"\n")
