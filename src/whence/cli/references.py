"""Short references: `@5539`, the position of an event, or the first digits of an id, in place of the whole id."""

import re
from typing import Annotated
from urllib.parse import quote

from cyclopts import Parameter

from whence.client import ApiRequest, Whence, parse_body
from whence.errors import Forbidden, Invalid, NotFound
from whence.identities import is_uuid
from whence.wire.bodies import ReferenceBody
from whence.wire.ids import parse_reference

__all__ = ["EventId", "cause_id", "event_id", "is_position"]

EventId = Annotated[
    str,
    Parameter(name="ID", help="The event's position, like @5539, or its id, or the first digits of it."),
]

_POSITION = re.compile("@[0-9]+", re.ASCII)
_FIRST_DIGITS = re.compile("[0-9a-fA-F]{8}[0-9a-fA-F-]*", re.ASCII)


def is_position(text: str) -> bool:
    """Whether a text is the position of an event."""
    return _POSITION.fullmatch(text) is not None


def event_id(whence: Whence, text: str) -> str:
    """The id that a text names. Raises NotFound, and Invalid for another text or if several ids begin so."""
    if is_uuid(text):
        return text
    try:
        parse_reference(text)
    except ValueError:
        sentence = "Name the event by its position, like @5539, its id, or at least four of the digits it begins with."
        raise Invalid.at((), sentence) from None
    answer = whence.send(ApiRequest(method="GET", path=f"/api/v1/references/{quote(text, safe='@')}"))
    return parse_body(answer, ReferenceBody).id


def cause_id(whence: Whence, text: str) -> str:
    """The id of a cause that a text names. Text that names no event is taken as the id of one that is yet to come.

    Raises as `event_id`. The first digits of an id are at least eight here, since fewer are as likely a number of
    another system.
    """
    if is_position(text):
        return event_id(whence, text)
    if is_uuid(text) or _FIRST_DIGITS.fullmatch(text) is None:
        return text
    try:
        return event_id(whence, text)
    except (NotFound, Forbidden):
        return text
