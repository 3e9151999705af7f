"""Exports: all matching events as of one moment, in one response that is read while it comes.

A connection that breaks on the way raises Unreachable, so an iterator that ends has yielded every event. It is not
repeated: a second export would be as of another moment.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from whence.client.requests import EventFilters, Include
from whence.client.responses import NOT_A_WHENCE_SERVER
from whence.errors import WhenceError
from whence.wire.bodies import EventBody

__all__ = ["ExportFilters", "Lines", "events_of"]


class ExportFilters(EventFilters, total=False):
    """Which events, and in which order; those of `list`."""

    order: Literal["asc", "desc"] | None
    include: Include


class Lines:
    """Puts the lines together that parts of a response are cut into."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, part: bytes) -> list[bytes]:
        """The lines that are complete with this part."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        return lines


def events_of(lines: Lines, part: bytes) -> list[EventBody]:
    """The events that are complete with a part. Raises WhenceError for lines that are no events."""
    try:
        return [_decode(line) for line in lines.of(part)]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise WhenceError(NOT_A_WHENCE_SERVER) from None


_decode: Callable[[bytes], EventBody] = msgspec.json.Decoder(EventBody).decode
