"""The one table of errors and their HTTP statuses, and the response to any error."""

from collections.abc import Iterator

import msgspec
import structlog
from litestar.exceptions import HTTPException

from whence.api.request import Request
from whence.api.responses import JsonResponse, error_body
from whence.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    QueryTooExpensive,
    RetryLater,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    WhenceError,
)

__all__ = ["CODES", "STATUS", "error_response", "status_of"]

_log = structlog.get_logger("whence.api")

STATUS: dict[type[WhenceError], int] = {
    Invalid: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Throttled: 429,
    Busy: 503,
    QueryTooExpensive: 503,
    Unavailable: 503,
}
"""The HTTP status of each error. No other module has such a table."""

_LITESTAR_ERRORS = {
    400: ("bad_request", "The request cannot be read."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method; the Allow header names those it takes."),
    408: ("request_timeout", "The body came too slowly."),
}
"""Code and sentence for what Litestar refuses before a handler runs."""


def _subclasses(kind: type[WhenceError]) -> Iterator[type[WhenceError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _subclasses(each)


CODES = frozenset(
    {
        *(kind.code for kind in _subclasses(WhenceError) if any(each in STATUS for each in kind.__mro__)),
        *(code for code, _ in _LITESTAR_ERRORS.values()),
        "internal",
        "not_implemented",
        "client_gone",
    }
)
"""The codes of all errors, and `client_gone`, which nobody reads any more."""


def status_of(error: WhenceError) -> int:
    """The HTTP status of an error: that of the nearest class in the table."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def error_response(request: Request, error: Exception) -> JsonResponse:
    """The response to any error: a list of problems for 422, else one sentence with a code.

    It sets `code` of `scope["state"]`, by which the middleware counts it.
    """
    state = request.scope["state"]
    request_id = state["request_id"]
    if isinstance(error, Invalid):
        state["code"] = error.code
        return JsonResponse(msgspec.json.encode({"detail": error.problems}), 422)
    if isinstance(error, HTTPException) and error.status_code in _LITESTAR_ERRORS:
        state["code"], sentence = _LITESTAR_ERRORS[error.status_code]
        headers = dict(error.headers or {})
        if "allow" in headers:  # Litestar takes the methods from a set, so their order varies
            headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
        return JsonResponse(error_body(sentence, state["code"], request_id), error.status_code, headers.items())
    status = status_of(error) if isinstance(error, WhenceError) else 500
    if status == 500:
        _log.error("unexpected error", request_id=request_id, exc_info=error)
        state["code"] = "internal"
        body = error_body("An internal error occurred; it was logged with the request id.", "internal", request_id)
    else:
        state["code"] = getattr(error, "code", "error")
        body = error_body(str(error), state["code"], request_id)
    return JsonResponse(body, status, _headers_of(error).items())


def _headers_of(error: Exception) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, RetryLater):
        return {"Retry-After": str(error.retry_after_s)}
    return {}
