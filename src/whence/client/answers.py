"""Answers, and how they are read. Pure: what a server said becomes a value, or the error that it raised itself."""

import datetime as dt
import email.utils
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from whence.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    QueryTooExpensive,
    RetryLater,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    WhenceError,
)
from whence.wire.bodies import BatchBody, BatchResultBody, EventBody, PageBody
from whence.wire.keys import CreatedKeyBody, KeyBody, KeysBody

__all__ = [
    "STRANGER",
    "Answer",
    "CreatedKeyBody",
    "KeyBody",
    "KeysBody",
    "Page",
    "Stored",
    "error_of",
    "parse_batch",
    "parse_body",
    "parse_page",
    "parse_stored",
    "refusal",
    "retry_after_s",
]

STRANGER = "What answered there does not speak like a Whence server. Check the URL."

_CLIENT_ERROR = 400
_BUSY = (429, 503)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Body = TypeVar("Body")


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
        raise WhenceError(STRANGER) from None


def error_of(answer: Answer) -> WhenceError:
    """The error that an answer stands for, with the server's own words, its request id as a note."""
    said = _said(answer.body)
    detail, code = said.get("detail"), said.get("code")
    error = _error(answer, detail, code if isinstance(code, str) else "")
    request_id = said.get("requestId") or answer.headers.get("x-request-id")
    if isinstance(request_id, str):
        error.request_id = request_id
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


def _next_of(link: str) -> str | None:
    target, separator, _ = link.partition('>; rel="next"')
    return target.rpartition("<")[2] if separator else None


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
        kinds: dict[str, type[RetryLater]] = {
            "busy": Busy,
            "query_too_expensive": QueryTooExpensive,
            "throttled": Throttled,
        }
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
