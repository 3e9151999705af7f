"""The JSON bodies of requests and responses. `event.py` converts events and the like to these and back.

Keys are in alphabetical order, as in the contract.
"""

from collections.abc import Mapping
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
    "FeedBody",
    "FollowerBody",
    "FollowersBody",
    "HTTPValidationError",
    "HistogramBody",
    "HistogramBucketBody",
    "KeyCountBody",
    "NewEventBody",
    "PageBody",
    "PositionGoneBody",
    "ProblemBody",
    "ReferenceBody",
    "SentenceGrammarBody",
    "SentencesBody",
    "StoredEventBody",
    "TimeText",
    "WireBody",
]

_Payload = Annotated[Raw, msgspec.Meta(extra_json_schema={"type": "object", "additionalProperties": True})]
_StoredPayload = Annotated[
    Raw,
    msgspec.Meta(
        description="Null once the payload was erased.",
        extra_json_schema={"type": ["object", "null"], "additionalProperties": True},
    ),
]
TimeText = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""A time as text, RFC 3339."""


class WireBody(msgspec.Struct, rename="camel", frozen=True):
    """The base of all bodies: camelCase keys. Each body repeats `kw_only`, which is not inherited, and `frozen`, for
    type checkers."""


class EventBody(WireBody, frozen=True, kw_only=True, gc=False):
    """A stored event. `outcome`, `position`, `recordedAt` and `erasedAt` are there when `include` names them.
    `position` is null for a credential that may not read every event, since positions count the hidden ones too.
    `payload` is null once it was erased, at `erasedAt`, which is null before."""

    actor_id: str
    actor_type: str
    causation_id: str | None
    correlation_id: str
    erased_at: TimeText | UnsetType | None = UNSET
    event_type: str
    id: str
    occurred_at: TimeText
    outcome: str | UnsetType = UNSET
    raw_payload: _StoredPayload = msgspec.field(name="payload")
    position: int | UnsetType | None = UNSET
    recorded_at: TimeText | UnsetType = UNSET
    resource_id: str
    resource_type: str
    tenant_id: str

    @property
    def payload(self) -> Mapping[str, Any] | None:
        """The payload as a mapping, parsed anew each time. None once it was erased."""
        payload = msgspec.json.decode(self.raw_payload)
        return payload if isinstance(payload, dict) else None

    @property
    def payload_bytes(self) -> bytes:
        """The payload as JSON, with the bytes that the server sent."""
        return bytes(self.raw_payload)


class StoredEventBody(EventBody, frozen=True, kw_only=True, gc=False):
    """A stored event, as its sender is answered. `correlationId` is null when it was left out and the sender may not
    read the cause that it comes from."""

    correlation_id: str | None  # type: ignore[assignment]  # wider than that of an event, for this one answer


class PageBody(WireBody, frozen=True, kw_only=True):
    """One page of a listing. `nextCursor` is there when `include` names it; null on the last page."""

    events: list[EventBody]
    has_next: bool
    limit: int
    next_cursor: str | UnsetType | None = UNSET
    offset: int
    total: int


class FeedBody(WireBody, frozen=True, kw_only=True):
    """Events in the order of their positions. `nextAfter` is where to go on, also when no event matched: a position, or
    for a credential that may not read every event an opaque token. `hasMore` says that the log goes on after that."""

    events: list[EventBody]
    has_more: bool
    next_after: int | str


class FollowerBody(WireBody, frozen=True, kw_only=True):
    """A follower of the log: the position up to which it has handled every event, and how many positions are left."""

    lag: int
    name: str
    position: int


class FollowersBody(WireBody, frozen=True, kw_only=True):
    """The followers of a log by name, and how many positions it has."""

    followers: list[FollowerBody]
    size: int


class KeyCountBody(WireBody, frozen=True, kw_only=True):
    """How many events have this type."""

    count: int
    key: str


class ReferenceBody(WireBody, frozen=True, kw_only=True):
    """The event that a short reference names."""

    id: str


class SentenceGrammarBody(msgspec.Struct, frozen=True, kw_only=True):
    """Which members of a payload mean what, and past forms; see the comments of `data/sentences.toml`."""

    arguments: tuple[str, ...]
    errors: tuple[str, ...]
    hidden: tuple[str, ...]
    kinds: tuple[str, ...]
    objects: tuple[str, ...]
    past: tuple[str, ...]
    quotes: tuple[str, ...]
    results: tuple[str, ...]
    without_object: tuple[str, ...]


class SentencesBody(msgspec.Struct, frozen=True, kw_only=True):
    """How events read as sentences on this server. The keys are those of a file of `WHENCE_SENTENCES`."""

    detail_texts: dict[str, tuple[str, ...]]
    grammar: SentenceGrammarBody
    object_texts: dict[str, tuple[str, ...]]
    unquoted: dict[str, str]
    unquoted_objects: dict[str, str]
    verbs: dict[str, str]


class CountsBody(WireBody, frozen=True, kw_only=True):
    """How many events match, in all and by type. Each list is sorted by count descending, then key."""

    by_actor_type: list[KeyCountBody]
    by_event_type: list[KeyCountBody]
    by_resource_type: list[KeyCountBody]
    total: int


class HistogramBucketBody(WireBody, frozen=True, kw_only=True, gc=False):
    """The events of one bucket, which begins at `start`: how many, and in `counts` how many of each of the histogram's
    keys, in their order."""

    counts: list[int]
    start: TimeText
    total: int


class HistogramBody(WireBody, frozen=True, kw_only=True):
    """How many events match, by time. The buckets follow each other without gaps, `intervalS` seconds each. `keys` are
    what they are split by, each with its total: by count descending, then key, and `other` last.

    Counted is what lies between `from` and `to`; the first and the last bucket may reach beyond them. Where the request
    left an end open it is that of the first or the last bucket, which holds the first or the last event of the log.
    Without any, there is no bucket, and what is not known is null.
    """

    buckets: list[HistogramBucketBody]
    by: str
    from_: TimeText | None = msgspec.field(name="from")
    interval: str | None
    interval_s: int | None
    keys: list[KeyCountBody]
    to: TimeText | None
    total: int


class ActorStatBody(WireBody, frozen=True, kw_only=True, gc=False):
    """How many events one actor caused. `successes + failures <= total`, since not every event has an outcome."""

    actor_id: str
    actor_type: str
    failures: int
    successes: int
    total: int


class ActorStatsBody(WireBody, frozen=True, kw_only=True):
    """Every actor with a matching event, by total descending, then actor type and id."""

    actors: list[ActorStatBody]


class NewEventBody(WireBody, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """An event as a client sends it. Fields that are left out are derived; an optional text may also be null."""

    actor_id: str
    actor_type: str
    causation_id: str | UnsetType | None = UNSET
    correlation_id: str | UnsetType | None = UNSET
    event_type: str
    id: str | UnsetType | None = UNSET
    occurred_at: TimeText
    outcome: str | UnsetType | None = UNSET
    payload: _Payload | UnsetType = UNSET
    resource_id: str
    resource_type: str
    tenant_id: str | UnsetType = UNSET


class ProblemBody(WireBody, frozen=True, kw_only=True):
    """One broken rule: its place, a sentence, and the name of the rule."""

    loc: list[str | int]
    msg: str
    type: str


class HTTPValidationError(WireBody, frozen=True, kw_only=True):
    """The body of a 422."""

    detail: list[ProblemBody]


class ErrorBody(WireBody, frozen=True, kw_only=True):
    """The body of every other error: a sentence, a code, and the id of the request."""

    code: str
    detail: str
    request_id: str


class PositionGoneBody(ErrorBody, frozen=True, kw_only=True):
    """The body of a 410. `resumeAfter` is where the events begin that are still kept, as a `nextAfter`."""

    resume_after: int | str


class BatchResultBody(WireBody, frozen=True, kw_only=True):
    """The result of one event of a batch. `status` is the one it would have had alone. A stored event has `position`,
    null for a credential that may not read every event; a refused one `detail`: its problems, or a sentence.
    `redacted` has the paths of the payload whose values were masked, if there are any."""

    detail: Any | UnsetType = UNSET
    id: str | None
    index: int
    position: int | UnsetType | None = UNSET
    redacted: list[str] | UnsetType = UNSET
    status: int


class BatchBody(WireBody, frozen=True, kw_only=True):
    """The results of a batch, one for each event, in the order in which they were sent."""

    results: list[BatchResultBody]
