"""Following a log by position: what a request for a feed or a stream asks, and what is answered.

A place in a log is its position for those who may read every event. For others it is an opaque token, since positions
count the events that they may not see. A token has random bytes, so that two of them do not show whether the log grew.
"""

import os
import struct
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from whence.errors import PositionGone
from whence.events import FeedPage, Query, Viewer, Vocabulary
from whence.sealing import Sealer
from whence.wire.bodies import FeedBody, PositionGoneBody
from whence.wire.event import encode_event, event_body
from whence.wire.parameters import FEED_LIMIT_DEFAULT, FEED_LIMIT_MAX, INT_MAX, WAIT_MAX_S
from whence.wire.query import QueryReader
from whence.wire.times import parse_query_time

__all__ = [
    "COMMENT",
    "FeedRequest",
    "Places",
    "Start",
    "encode_bye",
    "encode_feed",
    "encode_frames",
    "encode_gone",
    "encode_marker",
    "parse_feed",
]

_VERSION = 1
_LAYOUT = struct.Struct(">Bq8s")  # version, position, random bytes
_NUMBER_MAX = len(str(INT_MAX))

COMMENT = b": still here\n\n"
"""Keeps the connections of an idle stream open, and shows clients that they are."""


class Start(msgspec.Struct, frozen=True):
    """Where to begin without a place: at the first event that is kept, after the last one, or with the first that was
    recorded at `time` or later."""

    where: Literal["start", "now", "time"]
    time: int = 0


class FeedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed request for a feed or a stream. `begin` is the position after which it begins, or how to find that."""

    query: Query
    begin: int | Start
    limit: int
    wait_s: int
    include: frozenset[str]


class Places:
    """Positions as the viewers of a log name them."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def text(self, viewer: Viewer, position: int) -> str:
        """The place of a position: its digits, or a token."""
        if viewer.sees_all:
            return str(position)
        return self._sealer.seal(_LAYOUT.pack(_VERSION, position, os.urandom(8)), _bound(viewer))

    def value(self, viewer: Viewer, position: int) -> int | str:
        """The place as a JSON value: a number, or a token."""
        return position if viewer.sees_all else self.text(viewer, position)

    def position(self, viewer: Viewer, text: str) -> int | None:
        """The position of a place, or None unless this viewer was given it."""
        if viewer.sees_all:
            plain = text.isascii() and text.isdigit() and len(text) <= _NUMBER_MAX and int(text) <= INT_MAX
            return int(text) if plain else None
        packed = self._sealer.open(text, _bound(viewer))
        if packed is None or len(packed) != _LAYOUT.size:
            return None
        version, position, _ = _LAYOUT.unpack(packed)
        return int(position) if version == _VERSION and position >= 0 else None


def _bound(viewer: Viewer) -> bytes:
    return msgspec.json.encode((viewer.tenant, viewer.readable))


def parse_feed(
    route: Literal["feed", "stream"],
    query_string: bytes,
    *,
    viewer: Viewer,
    now: int,
    vocabulary: Vocabulary,
    places: Places,
    last_event_id: str | None = None,
) -> FeedRequest:
    """What a request for a feed or a stream asks for. `last_event_id` is the header by which a client of a stream that
    reconnects says what it has seen, and decides before the query. Raises `Invalid` with every problem."""
    reader = QueryReader(route, now, vocabulary)
    values = reader.split(query_string)
    fields: dict[str, Any] = {**reader.filters(values, {})}
    fields["since"], fields["until"] = (reader.time(name, {})[0] for name in ("from", "to"))
    limit = reader.number("limit", values, 1, FEED_LIMIT_MAX, FEED_LIMIT_DEFAULT) if route == "feed" else None
    wait_s = reader.number("wait", values, 0, WAIT_MAX_S, 0) if route == "feed" else None
    include = reader.include(values)
    begin = _begin(reader, values, viewer, places, last_event_id)
    reader.finish()
    return FeedRequest(
        query=Query(**fields), begin=begin, limit=limit or FEED_LIMIT_DEFAULT, wait_s=wait_s or 0, include=include
    )


_WORDS = {"start": Start("start"), "now": Start("now")}


def _begin(
    reader: QueryReader, values: dict[str, list[str]], viewer: Viewer, places: Places, last_event_id: str | None
) -> int | Start:
    """Where the answer begins. A place that cannot be read is refused, since to begin elsewhere would skip events."""
    default = Start("now" if reader.route == "stream" else "start")
    if last_event_id:
        return _after(reader, last_event_id, viewer, places, ("header", "Last-Event-ID"))
    if "after" in values and "from" in values:
        reader.refuse("from", "The parameter after says where to begin already; leave from out.", "from_with_after")
    elif "after" in values:
        return _after(reader, values["after"][0], viewer, places, ("query", "after"))
    elif "from" in values:
        return _from(reader, values["from"][0], viewer)
    return default


def _after(reader: QueryReader, text: str, viewer: Viewer, places: Places, loc: tuple[str, str]) -> int:
    position = places.position(viewer, text)
    if position is None:
        kind = "position" if viewer.sees_all else "token that this credential was given"
        where, name = loc
        reader.refuse(name, f"This is no {kind}; take nextAfter of an answer, or the id of an event.", "place", where)
    return position or 0


def _from(reader: QueryReader, text: str, viewer: Viewer) -> int | Start:
    if text in _WORDS:
        return _WORDS[text]
    if text.isascii() and text.isdigit():
        if not viewer.sees_all:
            reader.refuse("from", "This credential may not read every event, and positions count them all.", "narrowed")
        elif len(text) > _NUMBER_MAX or not 1 <= int(text) <= INT_MAX:
            reader.refuse("from", f"A position is a number from 1 to {INT_MAX}.", "out_of_range")
        else:
            return int(text) - 1
        return 0
    try:
        return Start("time", parse_query_time(text, reader.now))
    except ValueError:
        sentence = "Begin from start, from now, from a position, or from a time as in lists, such as -15m."
        reader.refuse("from", sentence, "from_parsing")
    return 0


# --------------------------------------------------------------------------------------------------------- encoding

_encode = msgspec.json.Encoder().encode


def encode_feed(page: FeedPage, include: frozenset[str], viewer: Viewer, places: Places) -> bytes:
    """The body of the route of a feed."""
    return _encode(
        FeedBody(
            events=[event_body(event, include, viewer) for event in page.events],
            has_more=page.has_more,
            next_after=places.value(viewer, page.read_to),
        )
    )


def encode_gone(error: PositionGone, request_id: str, viewer: Viewer, places: Places) -> bytes:
    """The body of a 410."""
    return _encode(
        PositionGoneBody(
            code=error.code,
            detail=f"{error} Go on after resumeAfter, and expect that events are missing before it.",
            request_id=request_id,
            resume_after=places.value(viewer, int(error.resume_after or 0)),
        )
    )


def encode_frames(page: FeedPage, include: frozenset[str], viewer: Viewer, places: Places) -> Iterable[bytes]:
    """The events of a part as messages of a stream, whose id is the place of the event. JSON has no line breaks."""
    for event in page.events:
        place = places.text(viewer, event.position).encode()
        yield b"id: " + place + b"\ndata: " + encode_event(event, include, viewer) + b"\n\n"


def encode_marker(viewer: Viewer, places: Places, position: int) -> bytes:
    """A message that says how far the log was read: a client that resumes from its id does not read that again."""
    place = places.text(viewer, position)
    return _message("position", {"nextAfter": places.value(viewer, position)}, f"id: {place}\n")


def encode_bye(code: str, detail: str, retry_ms: int) -> bytes:
    """The last message of a stream that the server ends: why, and when to come back."""
    return _message("bye", {"code": code, "detail": detail}, f"retry: {retry_ms}\n")


def _message(event: str, data: Any, fields: str) -> bytes:
    return f"event: {event}\n{fields}data: ".encode() + _encode(data) + b"\n\n"
