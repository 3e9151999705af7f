"""Records of the log about itself that quote what is to be erased from other events. Pure.

An alert names the actor that it is about, and a recorded read has the text of its filters.
"""

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from whence.alerts import ALERT_TYPES
from whence.events import Event
from whence.payload_fields import is_path, is_value
from whence.wire.query_language import PAYLOAD_PREFIX, scan

__all__ = ["QUOTING_TYPES", "READ_TYPES", "AskedValue", "asked_values", "beginnings_of", "names_actor"]

READ_TYPES = ("whence.events_read", "whence.exported")
"""The types of the events that record what somebody asked for."""

_ACTOR_TERMS = ("", "actor")
"""The terms of the query language that a name of an actor completes; the first is text without a name."""

QUOTING_TYPES = (*ALERT_TYPES, *READ_TYPES)
"""The types of the events that may quote other events."""


class _Asked(msgspec.Struct):
    path: str
    query: str


class _Key(msgspec.Struct, rename="camel"):
    actor_type: str = ""
    actor_id: str = ""


class _Alert(msgspec.Struct):
    key: _Key = msgspec.field(default_factory=_Key)


class AskedValue(NamedTuple):
    """A value in payloads that a recorded read asked for. Who asks for a completion has written its beginning only,
    which is here in lower case."""

    path: str
    value: str
    is_whole: bool = True


def beginnings_of(path: str, value: str) -> Iterator[AskedValue]:
    """What completions have asked for that this value completes."""
    folded = value.casefold()
    return (AskedValue(path, folded[:end], is_whole=False) for end in range(1, len(folded) + 1))


def asked_values(event: Event) -> set[AskedValue]:
    """The payload fields by which a recorded read was filtered. Empty for other events."""
    asked = _asked(event)
    if asked is None:
        return set()
    fields = ((name.removeprefix(PAYLOAD_PREFIX), value) for name, value in _terms(asked) if _is_payload(name))
    found = {AskedValue(path, value) for path, value in fields if is_path(path) and is_value(value)}
    if _is_completion(asked):
        found |= {AskedValue(path, value.casefold(), is_whole=False) for path, value, _ in found}
    return found


def names_actor(event: Event, actor: tuple[str, str]) -> bool:
    """Whether the payload of an alert or of a recorded read has the id of this actor. Of a read, that is a part of its
    path or a value in its query; the type of the actor may be another one there. Of a completion it may
    be the beginning of the id."""
    type_, id_ = actor
    asked = _asked(event)
    if asked is not None:
        end = f"/{id_}".casefold()
        texts = (unquote(asked.path), *(value for _, value in _terms(asked)))
        if _is_completion(asked) and any(_begins(name, value, end) for name, value in _terms(asked)):
            return True
        return any(f"/{text}".casefold().endswith(end) or f"{end}/" in text.casefold() for text in texts)
    if event.event_type not in ALERT_TYPES or event.payload is None:
        return False
    try:
        key = msgspec.json.decode(event.payload, type=_Alert).key
    except msgspec.MsgspecError:
        return False
    return (key.actor_type, key.actor_id) == (type_, id_)


def _is_completion(asked: _Asked) -> bool:
    """Whether names that begin with what was asked were looked for."""
    return asked.path.endswith(("/suggest", "/search"))


def _begins(name: str, value: str, end: str) -> bool:
    """Whether a term for a completion is the beginning of an actor's id, which `end` is with a slash before it."""
    beginning = value.rpartition("/")[2].casefold()
    return name in _ACTOR_TERMS and bool(beginning) and end.startswith(f"/{beginning}")


def _is_payload(name: str) -> bool:
    return name.startswith(PAYLOAD_PREFIX)


def _asked(event: Event) -> _Asked | None:
    """The path and query of a recorded read."""
    if event.event_type not in READ_TYPES or event.payload is None:
        return None
    try:
        return msgspec.json.decode(event.payload, type=_Asked)
    except msgspec.MsgspecError:
        return None


def _terms(asked: _Asked) -> Iterator[tuple[str, str]]:
    """The parameters of a query with their values, and the terms of its text in the query language with theirs."""
    for name, value in parse_qsl(asked.query):
        yield name, value
        if name == "q":
            yield from ((token.name, token.value) for token in scan(value))
