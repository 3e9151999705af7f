"""The time that a query may take, for the SQL and for the Python that works on its rows. The same for every store."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from whence.errors import QueryTooExpensive

__all__ = [
    "MAP_TOO_LARGE",
    "REACH_TOO_LARGE",
    "TRACE_TOO_LARGE",
    "Deadline",
    "check_deadline",
    "query_too_expensive",
    "saying_what_helps",
]

LISTS_TOO_MUCH = (
    "The question was stopped because it would read too much of the log. Narrow it with a range of time, or ask with "
    "fewer filters."
)
TRACE_TOO_LARGE = (
    "The trace was stopped because its graph takes too long to read. Ask again when the server is less busy, or follow "
    "it event by event: 'causationId' is the id of an event's cause, and a list with 'causation_id' has its effects."
)
REACH_TOO_LARGE = (
    "Counting causes and effects was stopped because it takes too long. Ask for fewer events at once, or ask again "
    "when the server is less busy."
)
MAP_TOO_LARGE = (
    "The process map was stopped because its days have too many transitions to add up. Ask for fewer days with 'from' "
    "and 'to'."
)


class Deadline:
    """When a query must have ended. `cancel` moves it to now, from any thread."""

    __slots__ = ("at",)

    def __init__(self, seconds: float = float("inf")) -> None:
        self.at = time.monotonic() + seconds

    def start(self, seconds: float) -> None:
        """Stop the query in this time, unless it is stopped before."""
        self.at = min(self.at, time.monotonic() + seconds)

    def cancel(self) -> None:
        """Stop the query at its next check, because nobody waits for the answer any more."""
        self.at = float("-inf")

    @property
    def has_passed(self) -> bool:
        """Whether the query must stop."""
        return time.monotonic() > self.at

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Make this the deadline that `check_deadline` checks, in this thread or task and those that it awaits."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def check_deadline() -> None:
    """Raise QueryTooExpensive if the query's deadline has passed. Loops over many rows call it now and then."""
    deadline = _current.get()
    if deadline is not None and deadline.has_passed:
        raise query_too_expensive()


def query_too_expensive(sentences: str = LISTS_TOO_MUCH) -> QueryTooExpensive:
    """The error of a query that was stopped. Its sentences say what helps."""
    return QueryTooExpensive(sentences)


@contextmanager
def saying_what_helps(sentences: str) -> Iterator[None]:
    """Give a query that was stopped sentences of its own."""
    try:
        yield
    except QueryTooExpensive as error:
        raise query_too_expensive(sentences) from error
