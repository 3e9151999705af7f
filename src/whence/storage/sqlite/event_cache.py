"""The events that pages returned lately, so that the next page of the newest events is not read and converted again.

Events never change, but for their removal. An entry holds only under the tenant's `removal_epoch` of the read that it
comes from, which every page reads in its own transaction. So a removal by any process is seen by the next page, and
with the first read after it everything is forgotten, so that what was removed is not kept in memory.
"""

from whence.events import Event
from whence.recent import RecentlyUsed
from whence.wire.event import KEPT_PAYLOAD_MAX, forget_encoded

__all__ = ["EventCache"]

_BYTES_MAX = 16 * 1024 * 1024
_EVENT_BYTES = 1_024
"""About what an event takes without its payload."""


class EventCache:
    """Events by key, for all tenants, whose keys differ."""

    def __init__(self) -> None:
        self._events: RecentlyUsed[tuple[int, int], Event] = RecentlyUsed(_BYTES_MAX)
        self._epochs: dict[int, int] = {}

    def see_epoch(self, tenant_no: int, removal_epoch: int) -> bool:
        """Forget all events if something was removed from this tenant's log since it was last read. Returns whether
        that is so."""
        if not removal_epoch or self._epochs.get(tenant_no, 0) >= removal_epoch:
            return False
        self._epochs[tenant_no] = removal_epoch
        self.forget()
        return True

    def forget(self) -> None:
        """Forget all events, also as they were encoded."""
        self._events.clear()
        forget_encoded()

    def find(self, key: int, removal_epoch: int) -> Event | None:
        """The event, or None if it has to be read."""
        return self._events.get((key, removal_epoch))

    def add(self, key: int, removal_epoch: int, event: Event) -> None:
        """Keep an event that was read under this epoch."""
        size = len(event.payload or b"")
        if size <= KEPT_PAYLOAD_MAX:
            self._events.put((key, removal_epoch), event, _EVENT_BYTES + size)
