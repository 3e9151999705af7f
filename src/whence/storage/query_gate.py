"""Limits how many unbounded queries run at once. The same for every store."""

from collections.abc import Iterator
from contextlib import contextmanager

from whence.errors import QueryTooExpensive, Throttled

__all__ = ["MAP_TOO_LARGE", "TRACE_TOO_LARGE", "UnboundedQueryGate", "query_too_expensive", "saying_what_helps"]

LISTS_TOO_MUCH = (
    "The question was stopped because it would read too much of the log. Narrow it with a range of time, or ask with "
    "fewer filters."
)
TRACE_TOO_LARGE = (
    "The trace was stopped because its graph takes too long to read. Ask again when the server is less busy, or follow "
    "it event by event: 'causationId' is the id of an event's cause, and a list with 'causation_id' has its effects."
)
MAP_TOO_LARGE = (
    "The process map was stopped because its days have too many transitions to add up. Ask for fewer days with 'from' "
    "and 'to'."
)


class UnboundedQueryGate:
    """Unbounded queries use at most half of the readers, and one reader a tenant. The others are refused at once, so
    that indexed queries always find a free reader. Belongs to one event loop.
    """

    def __init__(self, readers: int) -> None:
        """Guard this number of readers."""
        self._max = max(1, readers // 2)
        self._tenants: set[str] = set()

    @contextmanager
    def admit(self, tenant: str) -> Iterator[None]:
        """Hold a place while an unbounded query of this tenant runs. Raises Throttled when none is free."""
        if tenant in self._tenants or len(self._tenants) >= self._max:
            raise Throttled("Another question that reads much of the log is being answered. Ask again in a moment.")
        self._tenants.add(tenant)
        try:
            yield
        finally:
            self._tenants.discard(tenant)


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
