"""The pages that were answered lately, for those who ask the same of a log that has not changed.

A page follows from the question and from the state of the log. The log only grows, but for removals, so its size and
its `removal_epoch` name the state. Every question reads them in its own transaction before it takes a page from here.
With the first one after a removal everything is forgotten, so that what was removed is not kept in memory.
"""

from typing import Any

import msgspec

from whence.events import Page, PageRequest, Query
from whence.recent import RecentlyUsed
from whence.storage.resolve import Snapshot

__all__ = ["PageCache"]

_BYTES_MAX = 8 * 1024 * 1024
_PAGE_BYTES_MAX = 64 * 1024
_EVENT_BYTES = 1_024
"""About what an event takes without its payload."""


class PageCache:
    """Pages of all tenants by question and state of the log."""

    def __init__(self) -> None:
        self._pages: RecentlyUsed[tuple[Any, ...], Page] = RecentlyUsed(_BYTES_MAX)

    def forget(self) -> None:
        """Forget all pages, since something was removed."""
        self._pages.clear()

    def find(self, snapshot: Snapshot, query: Query, request: PageRequest) -> Page | None:
        """The page, or None if it has to be read."""
        return self._pages.get(_key(snapshot, query, request))

    def add(self, snapshot: Snapshot, query: Query, request: PageRequest, page: Page) -> None:
        """Keep a page that was read in this state of the log."""
        size = sum(_EVENT_BYTES + len(event.payload or b"") for event in page.events)
        if size <= _PAGE_BYTES_MAX:
            self._pages.put(_key(snapshot, query, request), page, size + _question_bytes(query))


def _question_bytes(query: Query) -> int:
    """About what a question takes in memory, which may be much more than its page."""
    return _EVENT_BYTES + len(msgspec.json.encode(query))


def _key(snapshot: Snapshot, query: Query, request: PageRequest) -> tuple[Any, ...]:
    return snapshot.tenant_no, snapshot.size, snapshot.removal_epoch, snapshot.viewer, query, request
