"""Which requests are retried, and when. Pure, except for the random spread of the waits.

Retried are broken connections and 429, 502, 503 and 504, but not a query that was too expensive. Retrying a write is
safe, since every event is sent with its id.
"""

import random
import time

from whence.client.errors import Unreachable
from whence.client.requests import ApiRequest
from whence.client.responses import ApiResponse, error_of, retry_after_s
from whence.errors import QueryTooExpensive

__all__ = ["RETRY_AFTER_MAX_S", "RetryPolicy", "backoff_s"]

RETRY_AFTER_MAX_S = 60.0
"""The longest `Retry-After` that is waited for. A longer one raises the error at once."""

_BACKOFF_S = 0.25
_THROTTLED = 429
_TRANSIENT = (_THROTTLED, 502, 503, 504)


class RetryPolicy:
    """Decides after each attempt of one request whether to try again. `retries` bounds the repeats."""

    def __init__(self, request: ApiRequest, retries: int) -> None:
        self._request = request
        self._retries = retries
        self._attempts = 0

    def wait_s(self, outcome: ApiResponse | Unreachable) -> float | None:
        """The seconds to wait before the next attempt, or None when this outcome is final."""
        attempt = self._attempts
        self._attempts += 1
        if attempt >= self._retries:
            return None
        if isinstance(outcome, Unreachable):
            return backoff_s(attempt) if self._request.repeatable or not outcome.connected else None
        retry_after = retry_after_s(outcome.headers.get("retry-after"), time.time())
        if not _is_transient(self._request, outcome) or (retry_after or 0) > RETRY_AFTER_MAX_S:
            return None
        return backoff_s(attempt, retry_after)


def backoff_s(attempt: int, at_least_s: float | None = None, spread_max_s: float = float("inf")) -> float:
    """Seconds before the next attempt: `at_least_s` and a random part, so that clients do not retry all at once.

    The range of the random part doubles with each attempt, up to `spread_max_s`.
    """
    spread_s = min(spread_max_s, _BACKOFF_S * 2 ** min(attempt, 30))
    return (at_least_s or 0.0) + random.uniform(0, spread_s)  # noqa: S311  (spreads retries, no secret)


def _is_transient(request: ApiRequest, response: ApiResponse) -> bool:
    """Whether the same request may succeed later, and may be sent again."""
    if response.status not in _TRANSIENT or not (request.repeatable or response.status == _THROTTLED):
        return False
    return not isinstance(error_of(response), QueryTooExpensive)
