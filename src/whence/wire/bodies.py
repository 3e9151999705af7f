"""The bodies of answers and requests, as they stand on the wire. `event.py` turns nouns into these and back.

Keys are declared in alphabetical order, as the contract has them.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

__all__ = [
    "ActorStatBody",
    "ActorStatsBody",
    "BatchBody",
    "BatchResultBody",
    "CountsBody",
    "ErrorBody",
    "EventBody",
    "HTTPValidationError",
    "KeyCountBody",
    "NewEventBody",
    "PageBody",
    "ProblemBody",
]

_Payload = Annotated[Raw, msgspec.Meta(extra_json_schema={"type": "object", "additionalProperties": True})]
_Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class _Body(msgspec.Struct, rename="camel", frozen=True):
    """The base of all bodies: camelCase keys. Each says `kw_only` and `frozen` itself, since only the first is not
    inherited and type checkers want to see the second."""


class EventBody(_Body, frozen=True, kw_only=True, gc=False):
    """An event as it is answered. `outcome`, `position` and `recordedAt` are there when `include` names them."""

    actor_id: str
    actor_type: str
    causation_id: str | None
    correlation_id: str
    event_type: str
    id: str
    occurred_at: _Time
    outcome: str | UnsetType = UNSET
    payload: _Payload
    position: int | UnsetType = UNSET
    recorded_at: _Time | UnsetType = UNSET
    resource_id: str
    resource_type: str
    tenant_id: str


class PageBody(_Body, frozen=True, kw_only=True):
    """One page of a listing. `nextCursor` is there when `include` names it; null on the last page."""

    events: list[EventBody]
    has_next: bool
    limit: int
    next_cursor: str | UnsetType | None = UNSET
    offset: int
    total: int


class KeyCountBody(_Body, frozen=True, kw_only=True):
    """How many events share one word."""

    count: int
    key: str


class CountsBody(_Body, frozen=True, kw_only=True):
    """How many events match, and the same by word; each list by count descending, then key."""

    by_actor_type: list[KeyCountBody]
    by_event_type: list[KeyCountBody]
    by_resource_type: list[KeyCountBody]
    total: int


class ActorStatBody(_Body, frozen=True, kw_only=True, gc=False):
    """What one actor did. `successes + failures <= total`."""

    actor_id: str
    actor_type: str
    failures: int
    successes: int
    total: int


class ActorStatsBody(_Body, frozen=True, kw_only=True):
    """Every actor with a matching event, by total descending, then actor type and id."""

    actors: list[ActorStatBody]


class NewEventBody(_Body, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """An event as a client sends it. What is left out is derived; an optional text may also be null."""

    actor_id: str
    actor_type: str
    causation_id: str | UnsetType | None = UNSET
    correlation_id: str | UnsetType | None = UNSET
    event_type: str
    id: str | UnsetType | None = UNSET
    occurred_at: _Time
    outcome: str | UnsetType | None = UNSET
    payload: _Payload | UnsetType = UNSET
    resource_id: str
    resource_type: str
    tenant_id: str | UnsetType = UNSET


class ProblemBody(_Body, frozen=True, kw_only=True):
    """One broken rule: where, what, which."""

    loc: list[str | int]
    msg: str
    type: str


class HTTPValidationError(_Body, frozen=True, kw_only=True):
    """The body of a 422."""

    detail: list[ProblemBody]


class ErrorBody(_Body, frozen=True, kw_only=True):
    """The body of every other error: a sentence, a slug, and the id of the request."""

    code: str
    detail: str
    request_id: str


class BatchResultBody(_Body, frozen=True, kw_only=True):
    """What became of one event of a batch. `status` is the status that it would have had alone; `position` is there
    when it is stored, `detail` (the problems, or a sentence) when it was refused."""

    detail: Any | UnsetType = UNSET
    id: str | None
    index: int
    position: int | UnsetType = UNSET
    status: int


class BatchBody(_Body, frozen=True, kw_only=True):
    """The answer to a batch, one result an event, in the order they were sent."""

    results: list[BatchResultBody]
