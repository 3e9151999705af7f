"""The client: pure builders of requests and parsers of answers, and `Whence`, a thin skin over them that does I/O.

Whatever the server refuses is raised as the error of `whence.errors` that the server itself raised; the server's
request id is added to it as a note. Failures that pass by themselves are tried again: no connection, 429, and 503
unless a question was too wide. That is safe for writes too, since every event is sent with its id.
"""

import datetime as dt
import email.utils
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import httpx2
import msgspec

from whence.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    RetryLater,
    Throttled,
    TooLarge,
    TooWide,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    WhenceError,
)
from whence.wire.bodies import ActorStatsBody, BatchBody, BatchResultBody, CountsBody, EventBody, PageBody
from whence.wire.ids import new_uuid7

__all__ = [
    "DEFAULT_URL",
    "Answer",
    "KeyInfo",
    "NewKeyInfo",
    "Page",
    "Request",
    "Stored",
    "Unreachable",
    "Whence",
    "actor_stats_request",
    "aggregate_request",
    "batch_request",
    "create_key_request",
    "emit_request",
    "error_of",
    "get_request",
    "list_keys_request",
    "list_request",
    "parse_batch",
    "parse_body",
    "parse_page",
    "parse_stored",
    "refusal",
    "retry_after_s",
    "revoke_key_request",
]

DEFAULT_URL = "http://127.0.0.1:8700"
"""Where a server is looked for when none is named."""

NDJSON = "application/x-ndjson"
JSON = "application/json"

_BACKOFF_S = 0.25
_RETRY_AFTER_MAX_S = 60.0
_EVENTS = "/api/v1/events"
_KEYS = "/api/v1/keys"
_CLIENT_ERROR = 400
_BUSY = (429, 503)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_STRANGER = "What answered there does not speak like a Whence server. Check the URL."

Body = TypeVar("Body")

Value = str | int | Sequence[str] | None
"""A parameter of a question; several values of one are alternatives, None leaves it out."""


class Unreachable(WhenceError):
    """No answer came: nothing listens there, or the connection broke or took too long."""

    code = "unreachable"


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


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the log holds now. `replayed`: it held it before. `body` is the answer as it came."""

    event: EventBody
    replayed: bool
    body: bytes


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of events. `next` is the target of the next page, if there is one. `body` is the answer as it came."""

    events: list[EventBody]
    total: int
    limit: int
    offset: int
    has_next: bool
    next: str | None
    body: bytes


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An API key without its secret. Times as text, None for what has not happened."""

    id: str
    tenant_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class NewKeyInfo(KeyInfo, frozen=True, kw_only=True, rename="camel"):
    """A new API key with its secret, which is answered only once."""

    key: str

    def __repr__(self) -> str:
        return f"NewKeyInfo(id={self.id!r})"


class KeysInfo(msgspec.Struct, frozen=True):
    """A tenant's keys, oldest first."""

    keys: list[KeyInfo]


def list_request(**filters: Value) -> Request:
    """A page of events. `filters` are the parameters of the API; `from_` and `since` stand for `from`."""
    return Request(method="GET", path=_EVENTS, query=_query(filters))


def get_request(event_id: str, **filters: Value) -> Request:
    """One event."""
    return Request(method="GET", path=f"{_EVENTS}/{quote(event_id, safe='')}", query=_query(filters))


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
    return Request(method="POST", path=_EVENTS, content=_encoded(event), content_type=JSON)


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


def parse_stored(answer: Answer) -> Stored:
    """The event that was stored. Raises as `parse_body`."""
    event = parse_body(answer, EventBody)
    return Stored(event=event, replayed=answer.headers.get("idempotent-replayed") == "true", body=answer.body)


def parse_page(answer: Answer) -> Page:
    """A page of events and where the next one is. Raises as `parse_body`."""
    page = parse_body(answer, PageBody)
    return Page(
        events=list(page.events),
        total=page.total,
        limit=page.limit,
        offset=page.offset,
        has_next=page.has_next,
        next=_next_of(answer.headers.get("link", "")),
        body=answer.body,
    )


def parse_batch(answer: Answer) -> BatchBody:
    """What became of each event; a 422 is no error when it tells that of each. Raises as `parse_body`."""
    if answer.status == 422:  # either none was stored, item by item, or the body as a whole was refused
        try:
            return msgspec.json.decode(answer.body, type=BatchBody)
        except _UNREADABLE:
            raise error_of(answer) from None
    return parse_body(answer, BatchBody)


def refusal(result: BatchResultBody) -> str:
    """Why an event of a batch was refused, as a sentence; empty when it was not."""
    if isinstance(result.detail, list):
        return "; ".join(problem.msg for problem in _problems(result.detail))
    return result.detail if isinstance(result.detail, str) else ""


def parse_body(answer: Answer, type_: type[Body]) -> Body:
    """The body of a good answer. Raises what the server refused with, and WhenceError for what is no answer of it."""
    if answer.status >= _CLIENT_ERROR:
        raise error_of(answer)
    try:
        return msgspec.json.decode(answer.body, type=type_)
    except _UNREADABLE:
        raise WhenceError(_STRANGER) from None


def error_of(answer: Answer) -> WhenceError:
    """The error that an answer stands for, with the server's own words, its request id as a note."""
    said = _said(answer.body)
    detail, code = said.get("detail"), said.get("code")
    error = _error(answer, detail, code if isinstance(code, str) else "")
    request_id = said.get("requestId") or answer.headers.get("x-request-id")
    if isinstance(request_id, str):
        error.add_note(f"request {request_id}")
    return error


def retry_after_s(value: str | None, now: float) -> float | None:
    """The seconds to wait that a `Retry-After` header asks for, given as seconds or as a date; None without one."""
    if not value:
        return None
    if value.strip().isdecimal():
        return min(float(value), 1e9)  # a number of any length; as infinity it would be no seconds
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() - now)


class Whence:
    """A connection to a server, safe to use from many threads. Close it, or use it in a `with` block.

    `url` and `api_key` default to `WHENCE_URL` and `WHENCE_API_KEY`. `timeout_s` bounds each wait for the server,
    `retries` how often a request is sent again.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 3,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = (url or os.environ.get("WHENCE_URL") or DEFAULT_URL).rstrip("/")
        key = api_key or os.environ.get("WHENCE_API_KEY") or ""
        self._retries = retries
        self._sleep = sleep
        headers = {"Accept": JSON} | ({"X-API-Key": key} if key else {})
        try:
            if not key.isascii() or not key.isprintable() or key != key.strip():
                raise ValueError("not a header's value")
            self._http = httpx2.Client(headers=headers, timeout=timeout_s)
            self._check_url()
        except (httpx2.InvalidURL, UnicodeError, ValueError):
            raise WhenceError("The URL or the key cannot be sent in a request; check both.") from None

    def emit(self, event: Mapping[str, Any]) -> Stored:
        """Store one event, durably. Keys are those of the API: eventType, actorType, actorId, resourceType,
        resourceId, occurredAt and, if wanted, id, payload, correlationId, causationId, outcome.
        """
        return parse_stored(self.send(emit_request(event)))

    def batch(self, events: Iterable[Mapping[str, Any]], *, atomic: bool = False) -> BatchBody:
        """Store up to a thousand events in one transaction, in this order; `atomic`: all or none."""
        content = b"\n".join(map(_encoded, events))
        return parse_batch(self.send(batch_request(content, atomic=atomic)))

    def list(self, **filters: Value) -> Page:
        """A page of events, newest first; `filters` are the parameters of the API, `since` stands for `from`."""
        return parse_page(self.send(list_request(**filters)))

    def next(self, page: Page) -> Page | None:
        """The page after this one, of the same snapshot, or None after the last."""
        if page.next is None:
            return None
        query = page.next.partition("?")[2]
        if not query:
            raise WhenceError(_STRANGER)
        return parse_page(self.send(Request(method="GET", path=f"{_EVENTS}?{query}")))

    def get(self, event_id: str, **filters: Value) -> EventBody:
        """The event with this id. Raises NotFound."""
        return parse_body(self.send(get_request(event_id, **filters)), EventBody)

    def aggregate(self, **filters: Value) -> CountsBody:
        """Exact counts of events, in all and by event type, resource type and actor type."""
        return parse_body(self.send(aggregate_request(**filters)), CountsBody)

    def actor_stats(self, **filters: Value) -> ActorStatsBody:
        """What each actor did: all, successes, failures."""
        return parse_body(self.send(actor_stats_request(**filters)), ActorStatsBody)

    def send(self, request: Request) -> Answer:
        """Send a request, again if need be, and give back the last answer, whatever its status.

        Raises Unreachable when no answer came.
        """
        url = self.url + request.target  # here, since text that cannot be encoded is no matter of the connection
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                answer = self._send_once(request, url)
            except httpx2.DecodingError:
                raise WhenceError(_STRANGER) from None
            except UnicodeError:  # a name that no name server can be asked for
                raise Unreachable(_why_unreachable(self.url, connected=False)) from None
            except httpx2.TransportError as error:
                connected = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                if last or (connected and not request.repeatable):
                    raise Unreachable(_why_unreachable(self.url, connected)) from None
                self._sleep(_pause_s(attempt))
            else:
                asked_s = retry_after_s(answer.headers.get("retry-after"), time.time())
                if last or not _passes(request, answer) or (asked_s or 0) > _RETRY_AFTER_MAX_S:
                    return answer
                self._sleep(_pause_s(attempt, asked_s))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_url(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("not http")
        url = self._http.build_request("GET", self.url + "/livez").url
        if url.userinfo or url.query or url.fragment:  # a password would be told in errors, a query hide the path
            raise ValueError("more than an address")

    def _send_once(self, request: Request, url: str) -> Answer:
        headers = {"Content-Type": request.content_type} if request.content_type else {}
        response = self._http.request(request.method, url, content=request.content or None, headers=headers)
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Answer(status=response.status_code, headers=lower, body=response.content)


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


def _encoded(event: Mapping[str, Any]) -> bytes:
    """An event as JSON, with an id. Raises Invalid for what JSON cannot say."""
    sent = event if event.get("id") is not None else {**event, "id": new_uuid7()}
    try:
        encoded = msgspec.json.encode(sent)
    except UnicodeEncodeError:
        raise Invalid.at(("body",), "A text with a lone surrogate has no place in JSON.", "string_unicode") from None
    if not _is_finite(sent):  # msgspec writes these as null
        raise Invalid.at(("body",), "NaN and Infinity have no place in JSON.", "finite_number")
    return encoded


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


def _why_unreachable(url: str, connected: bool) -> str:
    return f"The connection to {url} broke before an answer came." if connected else f"Nothing answers at {url}."


def _next_of(link: str) -> str | None:
    target, separator, _ = link.partition('>; rel="next"')
    return target.rpartition("<")[2] if separator else None


def _passes(request: Request, answer: Answer) -> bool:
    """Whether the same request may do better in a while."""
    if answer.status not in _BUSY or not (request.repeatable or answer.status == _BUSY[0]):
        return False
    return not isinstance(error_of(answer), TooWide)


def _pause_s(attempt: int, asked_s: float | None = None) -> float:
    """Seconds before the next attempt: at least what was asked for, and spread, so that callers part."""
    spread = random.uniform(0, _BACKOFF_S * 2**attempt)  # noqa: S311  (no secret; it only parts the callers)
    return (asked_s or 0.0) + spread


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(body)
    except _UNREADABLE:
        return {}
    return said if isinstance(said, dict) else {}


def _error(answer: Answer, detail: object, code: str) -> WhenceError:
    if answer.status == 422:
        return Invalid(_problems(detail))
    text = detail if isinstance(detail, str) else f"The server answered {answer.status} and did not say why."
    if answer.status == 401:
        return Unauthenticated()
    if answer.status == 409:
        return Conflict(text.partition("different: ")[2].rstrip(".").split(", "))
    if answer.status in _BUSY:
        kinds: dict[str, type[RetryLater]] = {"busy": Busy, "query_too_wide": TooWide, "throttled": Throttled}
        kind = kinds.get(code, Unavailable if answer.status == _BUSY[1] else Throttled)
        return kind(text, int(retry_after_s(answer.headers.get("retry-after"), time.time()) or 1))
    plain = {403: Forbidden, 404: NotFound, 413: TooLarge, 415: UnsupportedMedia}
    return plain.get(answer.status, WhenceError)(text)


def _problems(detail: object) -> list[Problem]:
    """The problems of a 422, each told with the place where it is."""
    try:
        found = msgspec.convert(detail, list[Problem])
    except msgspec.ValidationError:
        return [Problem((), "The server refused the request and did not say why.", "value_error")]
    return [Problem(problem.loc, _told(problem), problem.type) for problem in found]


def _told(problem: Problem) -> str:
    """A problem with the name of the field or parameter before it, where it has one."""
    name = ".".join(str(part) for part in problem.loc[1:] if not isinstance(part, int))
    return f"{name}: {problem.msg}" if name and name not in problem.msg else problem.msg
