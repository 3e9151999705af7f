"""Exports: all matching events as NDJSON or CSV. Pure.

Spreadsheets run cells that begin like a formula. Such a cell gets an apostrophe before it, which they take for "this is
text". No number and no time begins so.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from whence.events import Event, Query, Viewer, Vocabulary
from whence.wire.bodies import EventBody
from whence.wire.event import encode_event, event_body
from whence.wire.parameters import EVENT_INCLUDES, EXPORT_FORMATS
from whence.wire.query import QueryReader

__all__ = ["MEDIA", "ExportRequest", "csv_columns", "encode_export", "export_head", "parse_export"]

MEDIA = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
"""The media type of each format."""

_COLUMNS = (
    *("id", "occurredAt", "eventType", "actorType", "actorId", "resourceType", "resourceId"),
    *("correlationId", "causationId", "payload", "tenantId"),
)
_NULL = msgspec.Raw(b"null")
"""The payload of an event whose own was erased."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_names = {field.encode_name: field.name for field in msgspec.structs.fields(EventBody)}


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed request for an export."""

    query: Query
    format: Literal["ndjson", "csv"]
    ascending: bool
    include: frozenset[str]


def parse_export(query_string: bytes, *, now: int, vocabulary: Vocabulary) -> ExportRequest:
    """What is exported, and how. `now` is in microseconds. Raises `Invalid` with every problem."""
    reader = QueryReader("export", now, vocabulary)
    values = reader.split(query_string)
    fields: dict[str, Any] = {**reader.filters(values, {})}
    since, _ = reader.time("from", values)
    until, _ = reader.time("to", values)
    format_: Any = reader.word("format", values, EXPORT_FORMATS, "A format")
    ascending = reader.ascending(values)
    include = reader.include(values)
    reader.finish(since, until)
    query = Query(**fields, since=since, until=until)
    return ExportRequest(query=query, format=format_, ascending=ascending, include=include)


def csv_columns(include: frozenset[str]) -> list[str]:
    """The columns of an export as CSV."""
    return [*_COLUMNS, *(name for name in EVENT_INCLUDES if name in include)]


def export_head(asked: ExportRequest) -> bytes:
    """What comes before the events: in CSV the names of the columns."""
    return _csv_line(csv_columns(asked.include)) if asked.format == "csv" else b""


def encode_export(events: Iterable[Event], asked: ExportRequest, viewer: Viewer) -> Iterator[bytes]:
    """A line for each event. In CSV a payload is JSON, and what is null is empty."""
    if asked.format == "ndjson":
        for event in events:
            yield encode_event(event, asked.include, viewer) + b"\n"
        return
    names = [_names[column] for column in csv_columns(asked.include)]
    for event in events:
        body = event_body(event, asked.include, viewer)
        yield _csv_line([_cell(getattr(body, name)) for name in names])


def _cell(value: Any) -> str:
    if value is None or value == _NULL:
        return ""
    text = bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv_line(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()
