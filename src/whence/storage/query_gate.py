"""Limits how many unbounded queries run at once. The same for every store."""

from collections.abc import Iterator
from contextlib import contextmanager

from whence.errors import QueryTooExpensive, Throttled

__all__ = ["UnboundedQueryGate", "query_too_expensive"]


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


def query_too_expensive() -> QueryTooExpensive:
    """The error of a query that was stopped."""
    return QueryTooExpensive(
        "The question was stopped because it would read too much of the log. "
        "Narrow it with a range of time, or ask with fewer filters.",
    )
