"""The bodies that webhooks send: Standard Webhooks' own form, CloudEvents, and text for chat programs like Slack."""

import msgspec

from whence.events import Event, Viewer
from whence.sentences import Grammar, sentence_of
from whence.wire.cloudevents import encode_structured
from whence.wire.event import encode_event
from whence.wire.times import format_time

__all__ = ["FORMATS", "Message", "encode_message"]

FORMATS = ("whence", "cloudevents", "slack")
"""The forms of a body; the first is the default."""

_POSITION = frozenset(("position",))
_JSON = "application/json"
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}


class Message(msgspec.Struct, frozen=True):
    """A body and its content type."""

    content_type: str
    body: bytes


def encode_message(event: Event, form: str, viewer: Viewer, grammar: Grammar, *, stored: bool = True) -> Message:
    """The body for an event in one of `FORMATS`. It has the position of a `stored` event if the viewer may see every
    event, since positions count the others too."""
    has_position = stored and viewer.sees_all
    if form == "cloudevents":
        body = encode_structured(event, position=event.position if has_position else None)
        return Message("application/cloudevents+json", body)
    if form == "slack":
        sentence = str(sentence_of(event, b"{}" if event.payload is None else event.payload, grammar))
        return Message(_JSON, msgspec.json.encode({"text": sentence.translate(_ESCAPES)}))
    data = msgspec.Raw(encode_event(event, _POSITION if has_position else frozenset(), viewer))
    message = {"type": event.event_type, "timestamp": format_time(event.occurred_at), "data": data}
    return Message(_JSON, msgspec.json.encode(message))
