"""Parses responses into values, or into the errors that the server raised. Pure: no input or output."""

import datetime as dt
import time
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec

from whence.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PositionGone,
    Problem,
    QueryTooExpensive,
    QuotaSpent,
    RetryLater,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    WhenceError,
)
from whence.wire.bodies import BatchBody, BatchResultBody, EventBody, PageBody, StoredEventBody

__all__ = [
    "NOT_A_WHENCE_SERVER",
    "ApiResponse",
    "EventPage",
    "StoredEvent",
    "conflicting_fields",
    "error_of",
    "is_temporary",
    "next_link",
    "parse_batch",
    "parse_batch_results",
    "parse_body",
    "parse_bytes",
    "parse_http_date",
    "parse_page",
    "parse_stored",
    "parse_text",
    "refusal",
    "retry_after_s",
]

NOT_A_WHENCE_SERVER = "The response did not come from a Whence server. Check the URL."

_CLIENT_ERROR, _GONE, _INVALID, _THROTTLED, _SERVER_ERROR, _UNAVAILABLE = 400, 410, 422, 429, 500, 503
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_RETRY_LATER: dict[str, type[RetryLater]] = {
    "busy": Busy,
    "query_too_expensive": QueryTooExpensive,
    "query_too_wide": QueryTooExpensive,  # the code that older servers send
    "throttled": Throttled,
}

Body = TypeVar("Body")


class ApiResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response of the API as it was received. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the server has stored. `replayed` means that it was stored before. `body` is the raw response.
    `redacted` has the paths of the payload whose values the server masked, if it is set up to do so.

    `event.correlation_id` is None when the credential may not read the cause that it comes from.
    """

    event: EventBody
    replayed: bool
    body: bytes
    redacted: tuple[str, ...] = ()


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of events. `next` is the link to the next page, None on the last. `body` is the raw response."""

    events: list[EventBody]
    total: int
    limit: int
    offset: int
    has_next: bool
    next: str | None
    body: bytes


def parse_stored(response: ApiResponse) -> StoredEvent:
    """Parse the response to a single event. Raises as `parse_body`."""
    event: EventBody = parse_body(response, StoredEventBody)
    if event.correlation_id is not None:
        event = parse_body(response, EventBody)
    masked = response.headers.get("whence-redacted", "")
    return StoredEvent(
        event=event,
        replayed=response.headers.get("idempotent-replayed") == "true",
        body=response.body,
        redacted=tuple(unquote(path) for path in masked.split(", ") if path),
    )


def parse_page(response: ApiResponse) -> EventPage:
    """Parse a page of events and its link to the next page. Raises as `parse_body`."""
    page = parse_body(response, PageBody)
    return EventPage(
        events=list(page.events),
        total=page.total,
        limit=page.limit,
        offset=page.offset,
        has_next=page.has_next,
        next=next_link(response),
        body=response.body,
    )


def parse_batch(response: ApiResponse) -> BatchBody:
    """Parse the results of a batch. A 422 that has a result for each event is not an error. Raises as `parse_body`."""
    if response.status == _INVALID:  # either each event was refused, or the body as a whole
        try:
            return msgspec.json.decode(response.body, type=BatchBody)
        except _UNREADABLE:
            raise error_of(response) from None
    return parse_body(response, BatchBody)


def parse_batch_results(response: ApiResponse, count: int) -> list[BatchResultBody]:
    """Parse the results of a batch of `count` events. Raises as `parse_body`, also for another number of results."""
    results = parse_batch(response).results
    if len(results) != count:
        raise WhenceError(NOT_A_WHENCE_SERVER)
    return results


def refusal(result: BatchResultBody) -> str:
    """Why the server refused an event of a batch, in sentences; empty if it did not."""
    if isinstance(result.detail, list):
        return " ".join(problem.msg for problem in _problems(result.detail))
    return result.detail if isinstance(result.detail, str) else ""


def conflicting_fields(sentence: str) -> tuple[str, ...]:
    """The fields that a conflict names; none if it names no field."""
    named = sentence.partition("different: ")[2].rstrip(".")
    return tuple(named.split(", ")) if named else ()


def is_temporary(status: int) -> bool:
    """Whether an event that was refused with this status may be accepted later."""
    return status == _THROTTLED or status >= _SERVER_ERROR


def parse_body(response: ApiResponse, type_: type[Body]) -> Body:
    """Decode the body of a successful response.

    Raises the error that the server responded with, and WhenceError for a response that is not of a Whence server.
    """
    if response.status >= _CLIENT_ERROR:
        raise error_of(response)
    try:
        return msgspec.json.decode(response.body, type=type_)
    except _UNREADABLE:
        raise WhenceError(NOT_A_WHENCE_SERVER) from None


def parse_bytes(response: ApiResponse) -> bytes:
    """The body of a successful response as it is. Raises as `parse_body`."""
    if response.status >= _CLIENT_ERROR:
        raise error_of(response)
    return response.body


def parse_text(response: ApiResponse) -> str:
    """The text of a successful response. Raises as `parse_body`."""
    try:
        return parse_bytes(response).decode()
    except UnicodeDecodeError:
        raise WhenceError(NOT_A_WHENCE_SERVER) from None


def error_of(response: ApiResponse) -> WhenceError:
    """The error that a response stands for, with the server's sentence, and with the request id as a note."""
    body = _decoded_object(response.body)
    detail, code = body.get("detail"), body.get("code")
    error = _error(response, detail, code if isinstance(code, str) else "")
    request_id = body.get("requestId") or response.headers.get("x-request-id")
    if isinstance(request_id, str):
        error.request_id = request_id
        error.add_note(f"request {request_id}")
    if isinstance(error, PositionGone):
        resume_after = body.get("resumeAfter")
        error.resume_after = resume_after if isinstance(resume_after, int | str) else None
    return error


def retry_after_s(value: str | None, now: float) -> float | None:
    """The seconds that a `Retry-After` header asks for, given as seconds or as a date.

    None without a header, or with one that cannot be parsed. `now` is in seconds since the epoch.
    """
    if not value:
        return None
    if value.strip().isdecimal():
        return min(float(value), 1e9)  # a very long number would be infinity, which int() refuses
    at = parse_http_date(value)
    if at is None:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() - now)


def parse_http_date(value: str) -> dt.datetime | None:
    """The time that a header such as `Date` gives, or None if it cannot be parsed. It is naive without an offset."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  (slow to load; the transport has loaded it)

    try:
        return parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None


def next_link(response: ApiResponse) -> str | None:
    """The link to the next page, or None on the last one."""
    target, separator, _ = response.headers.get("link", "").partition('>; rel="next"')
    return target.rpartition("<")[2] if separator else None


def _decoded_object(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except _UNREADABLE:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _error(response: ApiResponse, detail: object, code: str) -> WhenceError:
    if response.status == _INVALID:
        return Invalid(_problems(detail))
    sentence = detail if isinstance(detail, str) else f"The server responded with {response.status} and no reason."
    if response.status == 401:
        return Unauthenticated()
    if response.status == 409:
        return Conflict(conflicting_fields(sentence))
    if response.status in (_THROTTLED, _UNAVAILABLE):
        by_status = Unavailable if response.status == _UNAVAILABLE else Throttled
        error_type = _RETRY_LATER.get(code, by_status)
        return error_type(sentence, int(retry_after_s(response.headers.get("retry-after"), time.time()) or 1))
    if code == QuotaSpent.code:
        return QuotaSpent(sentence)
    if response.status == _GONE:
        return PositionGone()
    by_status_alone = {403: Forbidden, 404: NotFound, 413: TooLarge, 415: UnsupportedMedia}
    return by_status_alone.get(response.status, WhenceError)(sentence)


def _problems(detail: object) -> list[Problem]:
    """The problems of a 422, each with the name of its field in the message."""
    try:
        problems = msgspec.convert(detail, list[Problem])
    except msgspec.ValidationError:
        return [Problem((), "The server refused the request without a reason.", "value_error")]
    return [Problem(problem.loc, _with_field_name(problem), problem.type) for problem in problems]


def _with_field_name(problem: Problem) -> str:
    """The message, preceded by the name of the field or parameter unless it contains the name, or by the number of the
    term in a query. The name of a field that does not exist always precedes it."""
    match problem.loc:
        case ("query", "q", int(index)):
            return f"Term {index + 1} of the query: {problem.msg}"
    name = ".".join(str(part) for part in problem.loc[1:] if not isinstance(part, int))
    is_named = name in problem.msg and problem.type != "extra_forbidden"
    return f"{name}: {problem.msg}" if name and not is_named else problem.msg
