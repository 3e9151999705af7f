"""Builds requests without sending them. Pure: no input or output."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, TypedDict
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec

from whence.client.encoding import EventEncoder
from whence.errors import Invalid
from whence.identities import is_uuid, resource_uuid
from whence.wire.ids import new_uuid7

__all__ = [
    "JSON",
    "NDJSON",
    "SEND_EVENTS_MAX",
    "ActorFilters",
    "ApiRequest",
    "EventFilters",
    "FacetFilters",
    "FieldFilters",
    "FlowFilters",
    "FollowFilters",
    "HistogramFilters",
    "Include",
    "ListFilters",
    "QueryText",
    "TimeFilters",
    "Value",
    "actor_request",
    "actor_stats_request",
    "actors_request",
    "aggregate_request",
    "batch_request",
    "checkpoint_request",
    "create_key_request",
    "emit_request",
    "entries_request",
    "export_request",
    "facets_request",
    "filters_object",
    "first_batch",
    "flows_request",
    "follow_request",
    "followers_request",
    "get_request",
    "histogram_request",
    "list_keys_request",
    "list_request",
    "next_page_request",
    "process_map_request",
    "proof_request",
    "reach_request",
    "resource_summary_request",
    "revoke_key_request",
    "search_request",
    "store_request",
    "suggest_request",
    "tenant_token_request",
    "tile_request",
    "trace_request",
    "with_id",
]

NDJSON = "application/x-ndjson"
JSON = "application/json"

SEND_EVENTS_MAX = 500
"""The most events that the queue and the outbox send at once; the server accepts 1,000."""

_SEND_BYTES_MAX = 4 * 1024 * 1024  # the server accepts 5 MiB

_EVENTS = "/api/v1/events"
_FLOWS = "/api/v1/flows"
_KEYS = "/api/v1/keys"
_ACTORS = "/api/v1/actors"

Value = str | int | UUID | dt.datetime | Sequence[str | UUID] | Mapping[str, str | Sequence[str]] | None
"""The value of a query parameter. Several values mean OR; None omits the parameter. A mapping is one parameter for each
of its items, as in `payload={"tool": "search"}`."""

Texts = str | Sequence[str] | None
Ids = str | UUID | Sequence[str | UUID] | None
Time = str | dt.datetime | None
"""RFC 3339, a date, relative to now like "-15m", or a datetime with an offset."""

Include = str | Sequence[str] | None
"""Members to add: position, recordedAt, outcome, erasedAt. Several are joined by commas, or given as a sequence."""


class TimeFilters(TypedDict, total=False):
    """A range of time, `since <= occurredAt < until`. The API's own names are `from_` and `to`."""

    since: Time
    until: Time
    from_: Time
    to: Time


class FieldFilters(TypedDict, total=False):
    """Which events, by their fields. Several values of one filter are alternatives, and different filters must all
    match.

    A `resource_id` that is no UUID needs its `resource_type`.
    """

    event_type: Texts
    resource_type: Texts
    resource_id: Ids
    actor_type: Texts
    actor_id: Ids
    outcome: Texts
    correlation_id: Ids
    causation_id: Ids


class QueryText(TypedDict, total=False):
    """Which events, as a text in the query language: `q="type:action_run.* -outcome:success"`. And by values in their
    payloads: `payload={"tool": "search", "order.currency": ["EUR", "USD"]}`, where a path is keys joined by dots. An
    event has to match both and the other filters.
    """

    payload: Mapping[str, str | Sequence[str]] | None
    q: str | None


class EventFilters(FieldFilters, TimeFilters, QueryText, total=False):
    """Which events, by their fields and by the time at which they occurred."""


class HistogramFilters(EventFilters, total=False):
    """Which events, and how they are counted: by outcome or event type, in buckets of an `interval` such as "5m", "1h"
    or "7d", by default a fitting one. Of event types the `top` most frequent ones are counted by themselves.
    """

    by: Literal["outcome", "event_type"]
    interval: str | None
    top: int | None


class FacetFilters(EventFilters, total=False):
    """Which events, and at most how many values each facet has: `top`, up to 100. `payload_field` names paths in
    payloads whose values are counted too."""

    payload_field: Texts
    top: int | None


class ActorFilters(TimeFilters, total=False):
    """The period of actors: by default the week up to the newest event. `limit` is the size of a page, at most 100."""

    limit: int
    cursor: str | None


class FollowFilters(FieldFilters, QueryText, total=False):
    """Which events, and where to begin: after the place `after`, or with the first event that was recorded `since`:
    a time, "start" for the first event of the log, or "now" for those that are yet to be stored.
    """

    after: int | str | None
    since: Time
    include: Include


class ListFilters(EventFilters, total=False):
    """Which events, and which part of the list. `limit` is the size of a page, at most 100."""

    limit: int
    offset: int
    order: Literal["asc", "desc"] | None
    as_of: int | None
    cursor: str | None
    include: Include


class FlowFilters(TimeFilters, total=False):
    """Which flows: those whose last event lies in the range of time, with a failure if `outcome` is "failure"."""

    outcome: Literal["failure"] | None
    limit: int
    offset: int
    cursor: str | None


class ApiRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the API. `repeatable` means that sending it twice has the same effect as sending it once."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    content: bytes = b""
    content_type: str | None = None
    repeatable: bool = True

    @property
    def target(self) -> str:
        """The path with the query string."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


def list_request(**filters: Value) -> ApiRequest:
    """A page of events. `filters` are the parameters of the API; `from` is `since` or `from_`, `to` is also `until`."""
    return ApiRequest(method="GET", path=_EVENTS, query=_query(filters))


def follow_request(**filters: Value) -> ApiRequest:
    """The events after a position. `filters` are the parameters of the API; `from` is `since`."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/feed", query=_query(filters))


def get_request(event_id: str, **filters: Value) -> ApiRequest:
    """One event."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/{quote(event_id, safe='')}", query=_query(filters))


def trace_request(event_id: str, **parameters: Value) -> ApiRequest:
    """The causal graph around an event: `direction` (both, up, down), `depth`, `limit`."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/{quote(event_id, safe='')}/trace", query=_query(parameters))


def reach_request(event_ids: Sequence[str]) -> ApiRequest:
    """How many causes and effects events have."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/reach", query=_query({"id": event_ids}))


def aggregate_request(**filters: Value) -> ApiRequest:
    """Counts of events."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/aggregate", query=_query(filters))


def histogram_request(**filters: Value) -> ApiRequest:
    """Counts of events by time."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/histogram", query=_query(filters))


def facets_request(**filters: Value) -> ApiRequest:
    """Counts of events by the values of their fields."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/facets", query=_query(filters))


def actors_request(**filters: Value) -> ApiRequest:
    """A page of what the actors of a period did."""
    return ApiRequest(method="GET", path=_ACTORS, query=_query(filters))


def actor_request(actor_type: str, actor_id: str | UUID, **period: Value) -> ApiRequest:
    """What one actor did in a period."""
    path = f"{_ACTORS}/{quote(actor_type, safe='')}/{quote(str(actor_id), safe='')}/summary"
    return ApiRequest(method="GET", path=path, query=_query(period))


def resource_summary_request(resource_type: str, resource_id: str | UUID, *, top: int | None = None) -> ApiRequest:
    """What happened to one resource. An id that is no UUID is derived with its type."""
    found = resource_uuid(resource_type, str(resource_id))
    path = f"/api/v1/resources/{quote(resource_type, safe='')}/{found}/summary"
    return ApiRequest(method="GET", path=path, query=_query({"top": top}))


def actor_stats_request(**filters: Value) -> ApiRequest:
    """Statistics by actor."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/stats/by-actor", query=_query(filters))


def search_request(text: str) -> ApiRequest:
    """What a text names."""
    return ApiRequest(method="GET", path="/api/v1/search", query=(("text", text),))


def suggest_request(q: str, cursor: int | None, limit: int) -> ApiRequest:
    """What can stand in a query."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/suggest", query=_query({"q": q, "cursor": cursor, "limit": limit}))


def export_request(**filters: Value) -> ApiRequest:
    """All matching events as `format` ndjson or csv."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/export", query=_query(filters))


def flows_request(**filters: Value) -> ApiRequest:
    """A page of flows."""
    return ApiRequest(method="GET", path=_FLOWS, query=_query(filters))


def process_map_request(**filters: Value) -> ApiRequest:
    """Which event types led to which."""
    return ApiRequest(method="GET", path=f"{_FLOWS}/map", query=_query(filters))


def emit_request(event: Mapping[str, Any]) -> ApiRequest:
    """Store one event, given with the keys of the API. An event without `id` gets one, so that retrying is safe.

    Raises Invalid for a value that JSON cannot hold.
    """
    return store_request(EventEncoder()(with_id(event)))


def store_request(body: bytes) -> ApiRequest:
    """Store one event that is already encoded. Give it an `id` to make the request repeatable."""
    return ApiRequest(method="POST", path=_EVENTS, content=body, content_type=JSON)


def batch_request(content: bytes, content_type: str = NDJSON, *, atomic: bool = False) -> ApiRequest:
    """Store many events that are already encoded. Give each an `id` to make the request repeatable."""
    query = (("atomic", "true"),) if atomic else ()
    return ApiRequest(method="POST", path=f"{_EVENTS}/batch", query=query, content=content, content_type=content_type)


def first_batch(bodies: Iterable[bytes]) -> list[bytes]:
    """The first events that fit in one batch; at least one, however large it is."""
    batch: list[bytes] = []
    size = 0
    for body in islice(bodies, SEND_EVENTS_MAX):
        size += len(body) + 1
        if batch and size > _SEND_BYTES_MAX:
            break
        batch.append(body)
    return batch


def followers_request() -> ApiRequest:
    """The followers of the tenant's log."""
    return ApiRequest(method="GET", path="/api/v1/followers")


def checkpoint_request(*, cosigned: bool = False) -> ApiRequest:
    """The newest checkpoint of the tenant's log, or the newest that a quorum of witnesses has cosigned."""
    return ApiRequest(method="GET", path="/api/v1/log/checkpoint", query=_cosigned(cosigned))


def entries_request(**filters: Value) -> ApiRequest:
    """What the leaves of the matching events are made of, up to the position `as_of`; `complete` as in the API."""
    return ApiRequest(method="GET", path="/api/v1/log/entries", query=_query(filters))


def tile_request(path: str) -> ApiRequest:
    """A tile of the log's tree, by its path such as 0/000.p/17."""
    return ApiRequest(method="GET", path=f"/api/v1/log/tile/{quote(path)}")


def proof_request(event_id: str | UUID, *, cosigned: bool = False, epoch: int | None = None) -> ApiRequest:
    """The proof that an event is in the log of one of these checkpoints, or of the newest one of an epoch."""
    path = f"{_EVENTS}/{quote(str(event_id), safe='')}/proof"
    query = _cosigned(cosigned) + (() if epoch is None else (("epoch", str(epoch)),))
    return ApiRequest(method="GET", path=path, query=query)


def _cosigned(cosigned: bool) -> tuple[tuple[str, str], ...]:
    return (("cosigned", "true"),) if cosigned else ()


def list_keys_request(link: str | None = None) -> ApiRequest:
    """The API keys of the tenant: the first page, or the one that the `next` link of a page leads to."""
    query = "" if link is None else link.partition("?")[2]
    return ApiRequest(method="GET", path=f"{_KEYS}?{query}" if query else _KEYS)


def create_key_request(scopes: Sequence[str], name: str = "", expires_at: str | None = None) -> ApiRequest:
    """Create an API key."""
    body = {"scopes": list(scopes), "name": name, "expiresAt": expires_at}
    return ApiRequest(method="POST", path=_KEYS, content=msgspec.json.encode(body), content_type=JSON, repeatable=False)


def revoke_key_request(key_id: str) -> ApiRequest:
    """Revoke an API key."""
    return ApiRequest(method="DELETE", path=f"{_KEYS}/{quote(key_id, safe='')}")


def tenant_token_request(tenant: str, scopes: Sequence[str], lifetime_s: int) -> ApiRequest:
    """Exchange an operator's key for a token of a tenant."""
    path = f"/api/v1/tenants/{quote(tenant, safe='')}/token"
    body = msgspec.json.encode({"scopes": list(scopes), "lifetimeS": lifetime_s})
    return ApiRequest(method="POST", path=path, content=body, content_type=JSON)


def next_page_request(link: str, path: str = _EVENTS) -> ApiRequest | None:
    """The page of `path` that a `next` link leads to; None for a link without a query, which would be the first page.

    Only the query is used. The host and path of the link are ignored, so that the key is sent nowhere else.
    """
    query = link.partition("?")[2]
    return ApiRequest(method="GET", path=f"{path}?{query}") if query else None


def filters_object(**filters: Value) -> dict[str, list[str]]:
    """Filters as the object that stands in a JSON body."""
    found: dict[str, list[str]] = {}
    for name, text in _query(filters):
        first, *rest = name.split("_")
        found.setdefault(first + "".join(map(str.title, rest)), []).append(text)
    return found


def with_id(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event with an id, so that retrying is safe. An empty id is kept; the server refuses it."""
    return event if event.get("id") is not None else {**event, "id": new_uuid7()}


def _query(filters: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, value in filters.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            pairs += _query({f"{name}.{path}": values for path, values in value.items()})
            continue
        wire_name, texts = _WIRE_NAMES.get(name, name), _texts(name, value)
        if name == "resource_id":
            texts = _resource_ids(texts, _texts("resource_type", filters.get("resource_type")))
        # An empty list is sent as an empty value, which the server refuses. It must not mean "no filter".
        pairs.extend((wire_name, alternative) for alternative in texts or ("",))
    return tuple(pairs)


_WIRE_NAMES = {"from_": "from", "since": "from", "until": "to"}


def _texts(name: str, value: Value) -> list[str]:
    """The values of a parameter as they are sent."""
    if isinstance(value, dt.datetime):
        if value.utcoffset() is None:
            raise Invalid.at(("query", name), f"{name}: a datetime needs an offset. Add one with astimezone().")
        return [value.isoformat()]
    if value is None or isinstance(value, Mapping):
        return []
    return [str(value)] if isinstance(value, str | int | UUID) else [str(alternative) for alternative in value]


def _resource_ids(ids: Sequence[str], resource_types: Sequence[str]) -> list[str]:
    """The ids, each that is no UUID as it is derived for every one of the types. Raises Invalid without a type."""
    found: list[str] = []
    for text in ids:
        if not text or is_uuid(text):
            found.append(text)
        elif not any(resource_types):
            raise Invalid.at(
                ("query", "resource_id"), "A resource id that is no UUID needs its resource type as a filter too."
            )
        else:
            found += [resource_uuid(resource_type, text) for resource_type in resource_types]
    return found
