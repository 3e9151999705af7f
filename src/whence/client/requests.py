"""Requests, built and not yet sent. Pure: the skins in `http.py` do the input and output."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from whence.errors import Invalid
from whence.wire.ids import new_uuid7

__all__ = [
    "JSON",
    "NDJSON",
    "Request",
    "Value",
    "actor_stats_request",
    "aggregate_request",
    "batch_request",
    "create_key_request",
    "emit_request",
    "encoded",
    "get_request",
    "list_keys_request",
    "list_request",
    "next_request",
    "revoke_key_request",
    "trace_request",
    "with_id",
]

NDJSON = "application/x-ndjson"
JSON = "application/json"

_EVENTS = "/api/v1/events"
_KEYS = "/api/v1/keys"

Value = str | int | Sequence[str] | None
"""A parameter of a question; several values of one are alternatives, None leaves it out."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is not sent yet. `repeatable`: sending it twice does no more than sending it once."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    content: bytes = b""
    content_type: str | None = None
    repeatable: bool = True

    @property
    def target(self) -> str:
        """The path with its query."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


def list_request(**filters: Value) -> Request:
    """A page of events. `filters` are the parameters of the API; `from_` and `since` stand for `from`."""
    return Request(method="GET", path=_EVENTS, query=_query(filters))


def get_request(event_id: str, **filters: Value) -> Request:
    """One event."""
    return Request(method="GET", path=f"{_EVENTS}/{quote(event_id, safe='')}", query=_query(filters))


def trace_request(event_id: str, **parameters: Value) -> Request:
    """The causal graph around an event: `direction` (both, up, down), `depth`, `limit`."""
    return Request(method="GET", path=f"{_EVENTS}/{quote(event_id, safe='')}/trace", query=_query(parameters))


def aggregate_request(**filters: Value) -> Request:
    """Counts of events."""
    return Request(method="GET", path=f"{_EVENTS}/aggregate", query=_query(filters))


def actor_stats_request(**filters: Value) -> Request:
    """Statistics of actors."""
    return Request(method="GET", path=f"{_EVENTS}/stats/by-actor", query=_query(filters))


def emit_request(event: Mapping[str, Any]) -> Request:
    """Store one event, with the keys of the API. An event without `id` gets one, so that a repeat is harmless.

    Raises Invalid for what JSON cannot say.
    """
    return Request(method="POST", path=_EVENTS, content=encoded(with_id(event)), content_type=JSON)


def batch_request(content: bytes, content_type: str = NDJSON, *, atomic: bool = False) -> Request:
    """Store many events. To be repeatable, each needs its id."""
    query = (("atomic", "true"),) if atomic else ()
    return Request(method="POST", path=f"{_EVENTS}/batch", query=query, content=content, content_type=content_type)


def list_keys_request() -> Request:
    """The tenant's API keys."""
    return Request(method="GET", path=_KEYS)


def create_key_request(scopes: Sequence[str], name: str = "", expires_at: str | None = None) -> Request:
    """A new API key."""
    body = {"scopes": list(scopes), "name": name, "expiresAt": expires_at}
    return Request(method="POST", path=_KEYS, content=msgspec.json.encode(body), content_type=JSON, repeatable=False)


def revoke_key_request(key_id: str) -> Request:
    """End an API key."""
    return Request(method="DELETE", path=f"{_KEYS}/{quote(key_id, safe='')}")


def next_request(target: str) -> Request | None:
    """The page that a link of this server leads to; None for a link without a query, which would be the first page
    again. Whatever it says of another host or path, the key goes nowhere else.
    """
    query = target.partition("?")[2]
    return Request(method="GET", path=f"{_EVENTS}?{query}") if query else None


def with_id(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event with an id, so that a repeat is harmless. An id that is empty is the server's to refuse."""
    return event if event.get("id") is not None else {**event, "id": new_uuid7()}


def encoded(event: Mapping[str, Any]) -> bytes:
    """An event as JSON. Raises Invalid for what JSON cannot say."""
    try:
        body = msgspec.json.encode(event)
    except UnicodeEncodeError:
        raise Invalid.at(("body",), "A text with a lone surrogate has no place in JSON.", "string_unicode") from None
    if not _is_finite(event):  # msgspec writes these as null
        raise Invalid.at(("body",), "NaN and Infinity have no place in JSON.", "finite_number")
    return body


def _query(filters: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, value in filters.items():
        wire_name = "from" if name in ("from_", "since") else name
        if isinstance(value, str | int):
            pairs.append((wire_name, str(value)))
        elif value is not None:
            # No alternative at all is sent as an empty one, which the server refuses: it must not ask for everything.
            pairs.extend((wire_name, each) for each in value or ("",))
    return tuple(pairs)


def _is_finite(value: object) -> bool:
    """Whether no number in a value that could be encoded is NaN or Infinity."""
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
