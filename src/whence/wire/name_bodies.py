"""The JSON bodies of suggestions and of searches. Keys are in alphabetical order."""

from typing import Literal

from msgspec import UNSET, UnsetType

from whence.wire.bodies import EventBody, WireBody

__all__ = ["MatchBody", "SearchBody", "SuggestionBody", "SuggestionsBody"]


class SuggestionBody(WireBody, frozen=True, kw_only=True):
    """What can stand in a query: replace its part from `start` to `end` by `insert`. `count` is how many events the
    tenant has of it, null where that means nothing."""

    count: int | None
    end: int
    insert: str
    kind: Literal["name", "event_type", "actor", "resource_type", "outcome", "payload_value", "time"]
    label: str
    start: int


class SuggestionsBody(WireBody, frozen=True, kw_only=True):
    """Suggestions, the best ones first."""

    suggestions: list[SuggestionBody]


class MatchBody(WireBody, frozen=True, kw_only=True):
    """What a text names: an event with its position and outcome, or a flow, a resource or an actor with the number of
    its events."""

    actor_id: str | UnsetType = UNSET
    actor_type: str | UnsetType = UNSET
    correlation_id: str | UnsetType = UNSET
    event: EventBody | UnsetType = UNSET
    events: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    kind: Literal["event", "flow", "resource", "actor"]
    resource_id: str | UnsetType = UNSET
    resource_type: str | UnsetType = UNSET


class SearchBody(WireBody, frozen=True, kw_only=True):
    """All that a text names, at most ten of each kind."""

    matches: list[MatchBody]
