"""The nouns of the log, their vocabularies and their invariants.

This is the only declaration of an event. `wire` turns these into bytes and back, `storage` keeps them. Times are
integers: microseconds since 1970-01-01T00:00:00Z, negative before it. UUIDs are canonical lower-case text.
"""

import enum
import re
from collections.abc import Callable, Iterable
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec

__all__ = [
    "ACTOR_TYPES",
    "ANY_RESOURCE_TYPE",
    "ANY_TYPE",
    "EVENT_LOG",
    "EVENT_TYPE_MAX",
    "EVENT_TYPE_PATTERN",
    "OUTCOMES",
    "TEXT_MAX",
    "WORD_PATTERN",
    "ActorStat",
    "Counts",
    "Event",
    "EventPart",
    "FeedPage",
    "Keyset",
    "LogState",
    "NewEvent",
    "Page",
    "PageRequest",
    "PartRequest",
    "Query",
    "Reference",
    "ResourceType",
    "Viewer",
    "Vocabulary",
    "has_type",
    "is_event_type",
    "is_tenant",
    "matches_type",
    "set_fields",
    "sets_only",
    "split_name",
    "stored_event",
]

TEXT_MAX = 255
"""Characters in an actorId, correlationId or causationId."""

EVENT_TYPE_MAX = 128
"""Characters in an event type."""

OUTCOMES = ("success", "failure", "none")
"""What an event says of how it went."""

ACTOR_TYPES = ("user", "agent", "automation", "service", "api_key", "integration", "system", "anonymous")
"""Who can act, before an operator's additions."""

EVENT_TYPE_PATTERN = r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,4}"
"""The grammar of event types: a noun, and what happened to it."""

_EVENT_TYPE = re.compile(EVENT_TYPE_PATTERN)
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


class ResourceType(enum.StrEnum):
    """Resource types that events can reference and that permissions can name. The one list of them."""

    ACTION_RUN = "action_run"
    AGENT_SPEC = "agent_spec"
    ARTIFACT = "artifact"
    AUTOMATION = "automation"
    AUTOMATION_RUN = "automation_run"
    CHAT_THREAD = "chat_thread"
    CONNECTION = "connection"
    DECISION = "decision"
    FLASHBOARD = "flashboard"
    INBOUND_MESSAGE = "inbound_message"
    TEMPLATE = "template"


ANY_TYPE = "*"
"""In the name of an actor or resource, stands for any type."""

ANY_RESOURCE_TYPE = "*"
"""Among the added resource types, admits every word of their grammar."""

WORD_PATTERN = r"[a-z][a-z0-9_]{0,62}"
"""The grammar of resource types and actor types."""

EVENT_LOG = "event_log"
"""The resource type of events about the log itself, whose types begin with `whence.`."""


_WORD = re.compile(WORD_PATTERN)


class Vocabulary(msgspec.Struct, frozen=True):
    """The words that this installation knows: the built-in ones and an operator's additions. With `any_resource_type`
    every word of the grammar is a resource type, and `resource_types` are those that are known by name."""

    resource_types: tuple[str, ...] = tuple(ResourceType)
    actor_types: tuple[str, ...] = ACTOR_TYPES
    any_resource_type: bool = False

    @classmethod
    def extended(cls, resource_types: Iterable[str] = (), actor_types: Iterable[str] = ()) -> "Vocabulary":
        """The built-in words and these; `*` among the resource types admits every word.

        Raises ValueError for a word that is not `[a-z][a-z0-9_]*` of 1..63.
        """
        given = tuple(resource_types)
        resource_types = tuple(word for word in given if word != ANY_RESOURCE_TYPE)
        added = [*resource_types, *actor_types]
        for word in added:
            if not is_word(word):
                raise ValueError(
                    "An added resource or actor type must match [a-z][a-z0-9_]* and have 1..63 characters."
                )
        plain = cls()
        return cls(
            tuple(dict.fromkeys((*(str(name) for name in plain.resource_types), *resource_types))),
            tuple(dict.fromkeys((*plain.actor_types, *actor_types))),
            ANY_RESOURCE_TYPE in given,
        )

    def has_resource_type(self, word: str) -> bool:
        """Whether this is a resource type here."""
        return word in self.resource_types or (self.any_resource_type and is_word(word))


def is_word(text: str) -> bool:
    """Whether `text` may be a resource or actor type of some installation: `[a-z][a-z0-9_]*`, 1..63 characters."""
    return _WORD.fullmatch(text) is not None


def is_event_type(text: str) -> bool:
    """Whether `text` is in the grammar of event types: 2..5 lower-case segments, at most 128 characters."""
    return len(text) <= EVENT_TYPE_MAX and _EVENT_TYPE.fullmatch(text) is not None


def is_tenant(text: str) -> bool:
    """Whether `text` may name a tenant: 1..64 characters of `[A-Za-z0-9._-]`."""
    return _TENANT.fullmatch(text) is not None


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as a client sent it, checked, with every field in its canonical form.

    `None` means that the field was left out: the store derives `outcome` and `correlation_id`, and `causation_id`
    stays null. `payload` is the compact JSON object, exactly as it will be stored and answered.
    """

    id: str
    event_type: str
    actor_type: str
    actor_id: str
    resource_type: str
    resource_id: str
    occurred_at: int
    payload: bytes = b"{}"
    correlation_id: str | None = None
    causation_id: str | None = None
    outcome: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored event. `payload` is the stored bytes, None once it was erased, at `erased_at`; `position` counts from 1
    within the tenant."""

    tenant_id: str
    position: int
    id: str
    event_type: str
    actor_type: str
    actor_id: str
    resource_type: str
    resource_id: str
    correlation_id: str
    causation_id: str | None
    outcome: str
    occurred_at: int
    recorded_at: int
    payload: bytes | None
    erased_at: int | None = None


def stored_event(
    new: NewEvent,
    *,
    tenant_id: str,
    position: int,
    actor_id: str,
    correlation_id: str,
    outcome: str,
    recorded_at: int,
) -> Event:
    """The event that a store makes of a new one. The other values are what the store decides. The actor's id is one of
    them, since an earlier release may have stored it in capitals."""
    return Event(
        tenant_id=tenant_id,
        position=position,
        id=new.id,
        event_type=new.event_type,
        actor_type=new.actor_type,
        actor_id=actor_id,
        resource_type=new.resource_type,
        resource_id=new.resource_id,
        correlation_id=correlation_id,
        causation_id=new.causation_id,
        outcome=outcome,
        occurred_at=new.occurred_at,
        recorded_at=recorded_at,
        payload=new.payload,
    )


class Viewer(msgspec.Struct, frozen=True):
    """Whose log is read, and how much of it: `readable` are the resource types whose events may be seen; None means all
    of them. Other events do not exist for the viewer.
    """

    tenant: str
    readable: tuple[str, ...] | None = None

    @property
    def sees_all(self) -> bool:
        """Whether the viewer may see every event. One that may not learns no position, since positions count them."""
        return self.readable is None

    def may_see(self, resource_type: str) -> bool:
        """Whether events about this resource type may be seen."""
        return self.readable is None or resource_type in self.readable


class Reference(msgspec.Struct, frozen=True):
    """Names an event in short: by its position, or by a range of ids, both ends included."""

    position: int | None = None
    first_id: str = ""
    last_id: str = ""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a question is about. Values of one field are alternatives; fields are joined by AND.

    An empty tuple is no filter. `event_type_prefixes` holds whole segments with their last dot (`action_run.`) and is
    one set of alternatives with `event_types`. `since <= occurred_at < until`.

    The other fields come from the query language. `type_patterns` are event types, `action_run.*` or `*.heartbeat`.
    `actors` and `resources` are names, see `split_name`; where all of them are types, they are `actor_types` and
    `resource_types`. An event that one of the `excluded_...` names does not match.

    `payload_values` are texts like `path=value`; see `whence.payload_fields`. Values of one path are alternatives, and
    different paths are joined by AND.
    """

    event_types: tuple[str, ...] = ()
    event_type_prefixes: tuple[str, ...] = ()
    resource_types: tuple[str, ...] = ()
    resource_ids: tuple[str, ...] = ()
    actor_ids: tuple[str, ...] = ()
    actor_types: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    correlation_ids: tuple[str, ...] = ()
    causation_ids: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    type_patterns: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    excluded_event_types: tuple[str, ...] = ()
    excluded_resource_types: tuple[str, ...] = ()
    excluded_actor_types: tuple[str, ...] = ()
    excluded_outcomes: tuple[str, ...] = ()
    excluded_actors: tuple[str, ...] = ()
    excluded_resources: tuple[str, ...] = ()
    excluded_correlation_ids: tuple[str, ...] = ()
    excluded_causation_ids: tuple[str, ...] = ()
    payload_values: tuple[str, ...] = ()
    excluded_payload_values: tuple[str, ...] = ()


def matches_type(event_type: str, pattern: str) -> bool:
    """Whether an event type is this one, or begins or ends with the segments beside a `*`."""
    if pattern.endswith(".*"):
        return event_type.startswith(pattern[:-1])
    if pattern.startswith("*."):
        return event_type.endswith(pattern[1:])
    return event_type == pattern


def has_type(event_type: str, query: Query) -> bool:
    """Whether an event type is among those that the query names, in full or by their first or last segments."""
    if query.type_patterns and not any(matches_type(event_type, pattern) for pattern in query.type_patterns):
        return False
    if not query.event_types and not query.event_type_prefixes:
        return True
    return event_type in query.event_types or event_type.startswith(query.event_type_prefixes)


def split_name(name: str) -> tuple[str, str]:
    """The type and the id in the name of an actor or resource, `type/id`. The type `*` is any, and without an id it is
    each one of the type.

    >>> split_name("agent/planner"), split_name("agent/")
    (('agent', 'planner'), ('agent', ''))
    """
    type_, _, id_ = name.partition("/")
    return type_, id_


def set_fields(asked: msgspec.Struct) -> frozenset[str]:
    """The fields of a request that differ from their defaults, which mean "no filter" or "as usual". Fields without a
    default are no filters.
    """
    return frozenset([name for name, default in _defaults(type(asked)).items() if getattr(asked, name) != default])


def sets_only(supported: frozenset[str], *asked: msgspec.Struct) -> bool:
    """Whether requests set no other fields than these.

    A fast path is taken only when this holds for the fields that it supports, so a field that is added later is
    unsupported everywhere until someone decides.
    """
    for each in asked:
        others, defaults = _other_fields(type(each), supported)
        if others is not None and others(each) != defaults:
            return False
    return True


@cache
def _other_fields(
    struct: type[msgspec.Struct], supported: frozenset[str]
) -> tuple[Callable[[msgspec.Struct], Any] | None, Any]:
    """What reads the fields of a struct that are not among these, and what it returns when none of them is set."""
    others = {name: default for name, default in _defaults(struct).items() if name not in supported}
    if not others:
        return None, ()
    defaults = tuple(others.values())
    return attrgetter(*others), defaults if len(defaults) > 1 else defaults[0]


def _defaults(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields of a struct that have a default, with their defaults."""
    defaults = struct.__struct_defaults__
    names = struct.__struct_fields__[len(struct.__struct_fields__) - len(defaults) :]
    return dict(zip(names, defaults, strict=True))


class Keyset(msgspec.Struct, frozen=True):
    """Where a page continues: after the item with this sort key. For events, `time` is `occurred_at` and `number` is
    the position; for flows, they are the time of the last event and the number of the flow.
    """

    time: int
    number: int


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a listing. `as_of` limits it to positions up to that one. With `after` the page continues there,
    and `offset` is only repeated in the answer, as the number of events before this page. It was counted under
    `removal_epoch`; after a removal it is counted again.
    """

    limit: int = 100
    offset: int = 0
    ascending: bool = False
    as_of: int | None = None
    after: Keyset | None = None
    removal_epoch: int = 0


LogState = tuple[int, int, int]
"""What names the state of a log, which only grows but for removals: the number of its tenant, which no other ever gets,
its size and its removal epoch. As long as these are the same, every answer about the log is."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing. `total` counts all matches in the page's own snapshot; `as_of` is its last position, and
    `removal_epoch` says which removals came before it. `state` is that of the log, where the store can name it."""

    events: list[Event]
    total: int
    limit: int
    offset: int
    as_of: int
    removal_epoch: int = 0
    state: LogState | None = None

    @property
    def has_next(self) -> bool:
        """Whether events follow this page."""
        return self.offset + len(self.events) < self.total


class FeedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a log in the order of positions: the matching events up to the position `read_to`, from which the next
    part continues. `size` is the last position of the log in the same snapshot, and `log_number` the number of the log
    in its store: a later tenant of the same name has another one. It is 0 where nothing was stored yet."""

    events: list[Event]
    read_to: int
    size: int
    log_number: int = 0

    @property
    def has_more(self) -> bool:
        """Whether the log goes on after this part."""
        return self.read_to < self.size


class PartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of all matching events, in total order: after the event with the sort key `after`, with positions up
    to `as_of`."""

    limit: int
    as_of: int
    ascending: bool = False
    after: Keyset | None = None


class EventPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of all matching events in total order. The next part begins after `after`, which is None at the end. Parts
    may be empty before that."""

    events: list[Event]
    after: Keyset | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many events match, and the same by word. Each list is sorted by count descending, then by key."""

    total: int
    by_event_type: list[tuple[str, int]]
    by_resource_type: list[tuple[str, int]]
    by_actor_type: list[tuple[str, int]]


class ActorStat(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one actor did. `successes + failures <= total`, since not every event has an outcome."""

    actor_type: str
    actor_id: str
    total: int
    successes: int
    failures: int
