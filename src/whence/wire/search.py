"""What a pasted text may name: an event, a flow, a resource or an actor. Pure."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from whence.errors import Invalid
from whence.events import TEXT_MAX, Event, Reference, Viewer, Vocabulary
from whence.identities import is_uuid, spellings
from whence.names import FoundNames, NameRange, NameSearch, beginning
from whence.wire.event import event_body
from whence.wire.ids import parse_reference
from whence.wire.name_bodies import MatchBody, SearchBody
from whence.wire.query import QueryReader

__all__ = ["MATCHES_MAX", "SearchRequest", "encode_matches", "parse_search"]

MATCHES_MAX = 10
"""Matches of each kind."""

TEXT_LENGTH_MAX = 2_000
"""Characters of a text that is searched for, such as an address."""

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_PAGES = re.compile(
    rf"/(?:e|trace|events)/(?P<event>{_UUID})(?:/trace)?/?"
    rf"|/(?:r|resource|resources)/(?P<resource>[^/]+/{_UUID})(?:/summary)?/?"
    r"|/(?:flows|correlation)/(?P<flow>[^/]+)/?"
    r"|/actors/(?P<actor>[^/]+/[^/]+)(?:/summary)?/?"
)
"""The end of the path of a page of the console, or of a route, that is about one thing."""

_BEGINNING_LEAST = 3
"""Characters from which on a text may be the beginning of an id."""


class SearchRequest(msgspec.Struct, frozen=True):
    """A parsed search: the position of an event, or names."""

    position: int | None = None
    names: NameSearch = NameSearch(limit=MATCHES_MAX)


def parse_search(query_string: bytes, *, viewer: Viewer, vocabulary: Vocabulary) -> SearchRequest:
    """What is searched for. Raises `Invalid`.

    A viewer who may not see every event names an event by its whole id, as elsewhere, and others by theirs.
    """
    reader = QueryReader("search")
    values = reader.split(query_string)
    text = values["text"][0].strip() if "text" in values else ""
    if not reader.problems and not text:
        reader.refuse("text", "Say what to search for, such as the id of an event, flow, resource or actor.", "missing")
    elif len(text) > TEXT_LENGTH_MAX:
        reader.refuse("text", f"The text has at most {TEXT_LENGTH_MAX} characters.", "string_too_long")
    elif "\0" in text:
        reader.refuse("text", "The text must not contain control characters.", "string_control_character")
    reader.finish()
    if text.lower().startswith(("http://", "https://")):
        return SearchRequest(names=_named_by_address(text))
    if text.startswith("@") and text[1:].isascii() and text[1:].isdigit():
        return SearchRequest(position=_position(text, viewer))
    whole = _whole_names(text, vocabulary)
    return SearchRequest(names=_with_beginnings(whole, text) if viewer.sees_all else whole)


def _position(text: str, viewer: Viewer) -> int | None:
    if not viewer.sees_all:  # positions count hidden events
        raise Invalid.at(("query", "text"), "A narrowed key names an event by its whole id.", "narrowed")
    try:
        return parse_reference(text).position
    except ValueError as error:
        raise Invalid.at(("query", "text"), str(error), "reference_parsing") from None


def _exactly(text: str, type_: str | None = None) -> tuple[NameRange, ...]:
    return tuple(NameRange(each, each, type_) for each in spellings(text))


def _named_by_address(text: str) -> NameSearch:
    """What a page is about. An address of anything else names nothing."""
    try:
        path = urlsplit(text).path
    except ValueError:
        return NameSearch(limit=MATCHES_MAX)
    page = next((found for found in _PAGES.finditer(path) if found.end() == len(path)), None)
    if page is None or page.lastgroup is None:
        return NameSearch(limit=MATCHES_MAX)
    parts = [unquote(part) for part in page[page.lastgroup].split("/")]
    if any(not part or "\0" in part for part in parts):
        return NameSearch(limit=MATCHES_MAX)
    if page.lastgroup == "event":
        return NameSearch(limit=MATCHES_MAX, events=NameRange(parts[0].lower(), parts[0].lower()))
    if page.lastgroup == "flow":
        return NameSearch(limit=MATCHES_MAX, flows=_exactly(parts[0]))
    if page.lastgroup == "resource":
        return NameSearch(limit=MATCHES_MAX, resources=(NameRange(parts[1].lower(), parts[1].lower(), parts[0]),))
    return NameSearch(limit=MATCHES_MAX, actors=_exactly(parts[1], parts[0]))


def _whole_names(text: str, vocabulary: Vocabulary) -> NameSearch:
    """Names that are equal to the text."""
    type_, _, id_ = text.partition("/")
    actors, resources = _exactly(text), tuple[NameRange, ...]()
    if id_ and type_ in vocabulary.actor_types:
        actors += _exactly(id_, type_)
    events = None
    if is_uuid(text):
        events, resources = NameRange(text.lower(), text.lower()), _exactly_uuid(text)
    elif is_uuid(id_):
        resources = _exactly_uuid(id_, type_)
    return NameSearch(limit=MATCHES_MAX, events=events, actors=actors, flows=_exactly(text), resources=resources)


def _exactly_uuid(text: str, type_: str | None = None) -> tuple[NameRange, ...]:
    return (NameRange(text.lower(), text.lower(), type_),)


def _with_beginnings(whole: NameSearch, text: str) -> NameSearch:
    """The same, and names that begin with the text."""
    if is_uuid(text) or len(text) < _BEGINNING_LEAST or len(text) > TEXT_MAX:
        return whole
    events, resources = whole.events, whole.resources
    reference = _reference(text)
    if reference is not None:
        events = NameRange(reference.first_id, reference.last_id)
        resources = (*resources, events)
    ranges = (beginning(text),)
    return msgspec.structs.replace(
        whole, events=events, resources=resources, actors=(*whole.actors, *ranges), flows=(*whole.flows, *ranges)
    )


def _reference(text: str) -> Reference | None:
    """The ids that begin with these digits, if they are digits."""
    try:
        found = parse_reference(text)
    except ValueError:
        return None
    return found if found.position is None else None


def encode_matches(events: Iterable[Event], found: FoundNames, viewer: Viewer) -> bytes:
    """The body of the route: events, flows, resources, actors."""
    include = frozenset(("position", "outcome"))
    matches = [MatchBody(kind="event", id=event.id, event=event_body(event, include, viewer)) for event in events]
    for flow in found.flows:
        matches.append(MatchBody(kind="flow", correlation_id=flow.correlation_id, events=flow.events))
    for resource in found.resources:
        names: dict[str, Any] = {"resource_type": resource.resource_type, "resource_id": resource.resource_id}
        matches.append(MatchBody(kind="resource", events=resource.events, **names))
    for actor in found.actors:
        names = {"actor_type": actor.actor_type, "actor_id": actor.actor_id}
        matches.append(MatchBody(kind="actor", events=actor.events, **names))
    return msgspec.json.encode(SearchBody(matches=matches))
