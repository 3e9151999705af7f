"""Names that a log knows: those of kinds, actors, flows and resources, with how many events have them. Pure."""

import msgspec

from whence.events import TEXT_MAX

__all__ = [
    "FoundActor",
    "FoundFlow",
    "FoundKind",
    "FoundNames",
    "FoundResource",
    "NameRange",
    "NameSearch",
    "PayloadValue",
    "beginning",
]


class NameRange(msgspec.Struct, frozen=True):
    """Ids from `first` to `last`, both included, by code point. `type` is that of an actor or resource, None for
    any."""

    first: str
    last: str
    type: str | None = None


def beginning(text: str, type_: str | None = None) -> NameRange:
    """The ids that begin with a text."""
    return NameRange(text, text + "\U0010ffff" * TEXT_MAX, type_)


class NameSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Which names are asked for: at most `limit` of each sort, by id. Ids of events and resources are UUIDs.

    The type of payload values is the path of an indexed payload field. A viewer who may not see every event is shown
    none of them, since the index does not know which values only hidden events have.
    """

    limit: int
    kinds: bool = False
    events: NameRange | None = None
    actors: tuple[NameRange, ...] = ()
    flows: tuple[NameRange, ...] = ()
    resources: tuple[NameRange, ...] = ()
    payload_fields: bool = False
    payload_values: NameRange | None = None


class FoundKind(msgspec.Struct, frozen=True):
    """A kind of event, and how many there are."""

    event_type: str
    resource_type: str
    actor_type: str
    outcome: str
    events: int


class FoundActor(msgspec.Struct, frozen=True):
    """An actor, and how many events it has."""

    actor_type: str
    actor_id: str
    events: int


class FoundFlow(msgspec.Struct, frozen=True):
    """A flow, and how many events it has."""

    correlation_id: str
    events: int


class FoundResource(msgspec.Struct, frozen=True):
    """A resource, and how many events it has."""

    resource_type: str
    resource_id: str
    events: int


class PayloadValue(msgspec.Struct, frozen=True):
    """A value of a payload field, and how many events have it; None while the index does not cover the log."""

    path: str
    text: str
    events: int | None


class FoundNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names that were found, of one snapshot. `events` are ids; all but the kinds are sorted by id, then type."""

    kinds: list[FoundKind] = []
    events: list[str] = []
    actors: list[FoundActor] = []
    flows: list[FoundFlow] = []
    resources: list[FoundResource] = []
    payload_fields: list[str] = []
    payload_values: list[PayloadValue] = []
