"""Builds requests without sending them. Pure: no input or output."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from whence.errors import Invalid
from whence.wire.ids import new_uuid7

__all__ = [
    "JSON",
    "NDJSON",
    "SEND_EVENTS_MAX",
    "ApiRequest",
    "Value",
    "actor_stats_request",
    "aggregate_request",
    "batch_of_events_request",
    "batch_request",
    "create_key_request",
    "emit_request",
    "encode_event",
    "first_batch",
    "get_request",
    "list_keys_request",
    "list_request",
    "next_page_request",
    "revoke_key_request",
    "store_request",
    "tenant_token_request",
    "trace_request",
    "with_id",
]

NDJSON = "application/x-ndjson"
JSON = "application/json"

SEND_EVENTS_MAX = 500
"""The most events that the queue and the outbox send at once; the server accepts 1,000."""

_SEND_BYTES_MAX = 4 * 1024 * 1024  # the server accepts 5 MiB

_EVENTS = "/api/v1/events"
_KEYS = "/api/v1/keys"

Value = str | int | Sequence[str] | None
"""The value of a query parameter. Several values mean OR; None omits the parameter."""


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
    """A page of events. `filters` are the parameters of the API; write `from` as `from_` or `since`."""
    return ApiRequest(method="GET", path=_EVENTS, query=_query(filters))


def get_request(event_id: str, **filters: Value) -> ApiRequest:
    """One event."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/{quote(event_id, safe='')}", query=_query(filters))


def trace_request(event_id: str, **parameters: Value) -> ApiRequest:
    """The causal graph around an event: `direction` (both, up, down), `depth`, `limit`."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/{quote(event_id, safe='')}/trace", query=_query(parameters))


def aggregate_request(**filters: Value) -> ApiRequest:
    """Counts of events."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/aggregate", query=_query(filters))


def actor_stats_request(**filters: Value) -> ApiRequest:
    """Statistics by actor."""
    return ApiRequest(method="GET", path=f"{_EVENTS}/stats/by-actor", query=_query(filters))


def emit_request(event: Mapping[str, Any]) -> ApiRequest:
    """Store one event, given with the keys of the API. An event without `id` gets one, so that retrying is safe.

    Raises Invalid for a value that JSON cannot represent.
    """
    return store_request(encode_event(with_id(event)))


def store_request(body: bytes) -> ApiRequest:
    """Store one event that is already encoded. Give it an `id` to make the request repeatable."""
    return ApiRequest(method="POST", path=_EVENTS, content=body, content_type=JSON)


def batch_request(content: bytes, content_type: str = NDJSON, *, atomic: bool = False) -> ApiRequest:
    """Store many events that are already encoded. Give each an `id` to make the request repeatable."""
    query = (("atomic", "true"),) if atomic else ()
    return ApiRequest(method="POST", path=f"{_EVENTS}/batch", query=query, content=content, content_type=content_type)


def batch_of_events_request(events: Iterable[Mapping[str, Any]], *, atomic: bool = False) -> ApiRequest:
    """Store many events, as `emit_request` stores one."""
    return batch_request(b"\n".join(encode_event(with_id(event)) for event in events), atomic=atomic)


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


def next_page_request(link: str) -> ApiRequest | None:
    """The page that a `next` link leads to; None for a link without a query, which would be the first page again.

    Only the query is used. The host and path of the link are ignored, so that the key is sent nowhere else.
    """
    query = link.partition("?")[2]
    return ApiRequest(method="GET", path=f"{_EVENTS}?{query}") if query else None


def with_id(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event with an id, so that retrying is safe. An empty id is kept; the server refuses it."""
    return event if event.get("id") is not None else {**event, "id": new_uuid7()}


def encode_event(event: Mapping[str, Any]) -> bytes:
    """The event as JSON, in one line. Raises Invalid for a value that JSON cannot represent."""
    try:
        body = msgspec.json.encode(event)
    except UnicodeEncodeError:
        raise Invalid.at(("body",), "JSON cannot represent a text with a lone surrogate.", "string_unicode") from None
    if not _is_finite(event):  # msgspec encodes NaN and Infinity as null
        raise Invalid.at(("body",), "JSON cannot represent NaN and Infinity.", "finite_number")
    return _one_line(body) if b"\n" in body else body


def _one_line(body: bytes) -> bytes:
    """The same JSON without line ends, which separate events. They come from a `Raw` value, between its tokens."""
    try:
        return msgspec.json.format(body, indent=-1)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid.at(("body",), "A Raw value is not valid JSON.", "json_invalid") from None


def _query(filters: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, value in filters.items():
        wire_name = "from" if name in ("from_", "since") else name
        if isinstance(value, str | int):
            pairs.append((wire_name, str(value)))
        elif value is not None:
            # An empty list is sent as an empty value, which the server refuses. It must not mean "no filter".
            pairs.extend((wire_name, alternative) for alternative in value or ("",))
    return tuple(pairs)


def _is_finite(value: object) -> bool:
    """Whether no number in this value, at any depth, is NaN or Infinity."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float) and not math.isfinite(item):
            return False
        if isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            stack.extend(item)
    return True
