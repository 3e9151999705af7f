"""Which requests are tried again, and when. Pure but for the dice.

What passes by itself is tried again: no connection, 429, 502, 503 unless a question was too wide, and 504. That is
safe for writes too, since every event is sent with its id.
"""

import random

from whence.client.answers import Answer, error_of
from whence.client.requests import Request
from whence.errors import QueryTooExpensive

__all__ = ["RETRY_AFTER_MAX_S", "pause_s", "will_pass"]

RETRY_AFTER_MAX_S = 60.0
"""The longest wait that a server may ask for; beyond it the caller is told at once."""

_BACKOFF_S = 0.25
_THROTTLED = 429
_PASSING = (_THROTTLED, 502, 503, 504)


def will_pass(request: Request, answer: Answer) -> bool:
    """Whether the same request may do better in a while."""
    if answer.status not in _PASSING or not (request.repeatable or answer.status == _THROTTLED):
        return False
    return not isinstance(error_of(answer), QueryTooExpensive)


def pause_s(attempt: int, asked_s: float | None = None, most_s: float = float("inf")) -> float:
    """Seconds before the next attempt: at least what was asked for, and spread, so that callers part."""
    spread = random.uniform(0, min(most_s, _BACKOFF_S * 2 ** min(attempt, 30)))  # noqa: S311  (parts callers, no secret)
    return (asked_s or 0.0) + spread
