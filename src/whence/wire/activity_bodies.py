"""The JSON bodies of facets, and of what actors did and happened to resources. Keys are in alphabetical order."""

import msgspec
from msgspec import UNSET, UnsetType

from whence.wire.bodies import EventBody, TimeText, WireBody

__all__ = [
    "ActorActivityBody",
    "ActorCountBody",
    "ActorFacetBody",
    "ActorSummaryBody",
    "ActorsBody",
    "FacetsBody",
    "FieldFacetsBody",
    "FirstTimeBody",
    "ResourceActorBody",
    "ResourceSummaryBody",
    "TotalsBody",
    "TriggerBody",
    "TriggersBody",
    "TypeCountBody",
    "TypeFacetBody",
    "WordCountBody",
    "WordFacetBody",
]


class WordCountBody(WireBody, frozen=True, kw_only=True, gc=False):
    """How many events have this value, and how many of them are failures."""

    count: int
    failures: int
    value: str


class WordFacetBody(WireBody, frozen=True, kw_only=True):
    """Values by count descending, then by value; `more` is how many further values there are."""

    more: int
    values: list[WordCountBody]


class TypeCountBody(WireBody, frozen=True, kw_only=True):
    """How many events have this type. A `value` that ends with `.*` stands for all types that begin so: it is their
    sum, and they are its `children`. Each value can be used as a filter."""

    children: "list[TypeCountBody]"
    count: int
    failures: int
    value: str


class TypeFacetBody(WireBody, frozen=True, kw_only=True):
    """Event types as a tree, on each level by count descending, then by value. `more` is how many further values the
    first level has; what is below a value is complete."""

    more: int
    values: list[TypeCountBody]


class ActorCountBody(WireBody, frozen=True, kw_only=True, gc=False):
    """How many events an actor has, and how many of them are failures."""

    actor_id: str
    actor_type: str
    count: int
    failures: int


class ActorFacetBody(WireBody, frozen=True, kw_only=True):
    """Actors by count descending, then by type and id; `more` is how many further actors there are."""

    more: int
    values: list[ActorCountBody]


class PayloadFacetBody(WireBody, frozen=True, kw_only=True):
    """The values at a path of the payloads by count descending, then by value; `more` is how many further values there
    are. An event with an array there has each of its values."""

    more: int
    path: str
    values: list[WordCountBody]


class FieldFacetsBody(WireBody, frozen=True, kw_only=True):
    """A facet for each of these fields, counted without the filters on that field. `payload` has one for each
    `payload_field` that was asked for, and is left out without any."""

    actor: ActorFacetBody
    actor_type: WordFacetBody
    event_type: TypeFacetBody
    outcome: WordFacetBody
    payload: list[PayloadFacetBody] | UnsetType = UNSET
    resource_type: WordFacetBody


class FacetsBody(WireBody, frozen=True, kw_only=True):
    """How many events match, and what the values of their fields are."""

    facets: FieldFacetsBody
    total: int


class TotalsBody(WireBody, frozen=True, kw_only=True, gc=False):
    """How many events there were. `successes + failures <= total`, since not every event has an outcome."""

    failures: int
    successes: int
    total: int


class FirstTimeBody(WireBody, frozen=True, kw_only=True, gc=False):
    """An event type that the actor had never had before the period, with the time and the id of its first event."""

    at: TimeText
    event_id: str
    event_type: str


class ActorActivityBody(WireBody, frozen=True, kw_only=True):
    """What an actor did in the period. `previous` is the same of the period before, which is as long; null where the
    log has nothing before this period. `sparkline` has the events of each 24th of the period. `lastSeenAt` is the time
    of the actor's last event of all, and `firstTimes` are newest first."""

    actor_id: str
    actor_type: str
    failures: int
    first_times: list[FirstTimeBody]
    last_seen_at: TimeText | None
    previous: TotalsBody | None
    sparkline: list[int]
    successes: int
    total: int


class ActorsBody(WireBody, frozen=True, kw_only=True):
    """The actors with an event between `from` and `to`, by total descending, then by type and id. `total` is how many
    there are. The times are null where they were left out and the log has no event."""

    actors: list[ActorActivityBody]
    from_: TimeText | None = msgspec.field(name="from")
    has_next: bool
    to: TimeText | None
    total: int


class TriggerBody(WireBody, frozen=True, kw_only=True, gc=False):
    """How many of the events were caused by events of this actor."""

    actor_id: str
    actor_type: str
    count: int


class TriggersBody(WireBody, frozen=True, kw_only=True):
    """Whose events caused the latest `events` of the actor in the period, at most 500: those of `actors`, by count
    descending, and of `moreActors` further ones. `roots` name no cause, and `missing` one that is not in the log."""

    actors: list[TriggerBody]
    events: int
    missing: int
    more_actors: int
    roots: int


class ActorSummaryBody(WireBody, frozen=True, kw_only=True):
    """What one actor did between `from` and `to`. `firstSeenAt` and `lastSeenAt` are the times of its first and its
    last event of all, null for an actor without any. `triggeredBy` is null for a narrowed credential."""

    actor_id: str
    actor_type: str
    by_event_type: list[WordCountBody]
    by_resource_type: list[WordCountBody]
    failures: int
    first_seen_at: TimeText | None
    first_times: list[FirstTimeBody]
    from_: TimeText | None = msgspec.field(name="from")
    last_seen_at: TimeText | None
    previous: TotalsBody | None
    sparkline: list[int]
    successes: int
    to: TimeText | None
    total: int
    triggered_by: TriggersBody | None


class ResourceActorBody(ActorCountBody, frozen=True, kw_only=True, gc=False):
    """How many events of the resource an actor has, and when the last of them occurred."""

    last_at: TimeText


class ResourceSummaryBody(WireBody, frozen=True, kw_only=True):
    """What happened to a resource. `actors` are those with the most events, and `moreActors` how many further ones
    there are. What is not known of a resource without events is null."""

    actors: list[ResourceActorBody]
    by_event_type: list[WordCountBody]
    events: int
    failures: int
    first_at: TimeText | None
    flows: int
    last_at: TimeText | None
    last_event: EventBody | None
    more_actors: int
    resource_id: str
    resource_type: str
