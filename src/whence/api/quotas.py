"""What a tenant may write: events in a time, bytes in all, and only while the disk has room.

All of it is checked before anything is stored. Quotas are off unless they are set.
"""

import math
import time
from collections.abc import Awaitable, Callable
from functools import partial

from whence.api.process_bus import ProcessBus
from whence.errors import QuotaSpent, Throttled, Unavailable
from whence.storage.base import Head

__all__ = ["ByteQuota", "DiskSpace", "EventRate"]

_WINDOW_S = 10
_BURST_MIN = 1_000  # a whole batch
_TENANTS_MAX = 10_000
_DISK_CHECK_S = 1.0
_READ_AGAIN_S = 1.0
_TAKEN = "events_taken"  # on the bus of the processes


class EventRate:
    """At most so many events a second of each tenant, on average: a token bucket that fills at that rate. It holds
    what ten seconds allow, but at least a whole batch. Each server has a bucket of its own."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        """0 is no limit."""
        self.per_second = per_second
        self._clock = clock
        self._size = max(per_second * _WINDOW_S, _BURST_MIN)
        self._buckets: dict[str, tuple[float, float]] = {}
        self._publish: Callable[[str, int], None] | None = None

    def share(self, bus: ProcessBus) -> None:
        """Use one quota together with the other processes of the server."""
        bus.subscribe(_TAKEN, self._take_for_others)
        self._publish = partial(bus.publish, _TAKEN)

    def take(self, tenant: str, events: int) -> None:
        """Use a part of the quota. Raises Throttled, with the time after which so many events are allowed."""
        if not self.per_second:
            return
        left, now = self._left(tenant), self._clock()
        if events > left:
            wait_s = math.ceil((events - left) / self.per_second)
            raise Throttled(f"This tenant may store {self.per_second} events a second. Send this again later.", wait_s)
        if self._publish is not None:
            self._publish(tenant, events)
        self._buckets[tenant] = (left - events, now)
        if len(self._buckets) > _TENANTS_MAX:
            self._forget_full()

    def _take_for_others(self, tenant: str, events: int) -> None:
        """Note what other processes let pass. Together they may have let pass a little more than the quota."""
        self._buckets[tenant] = (self._left(tenant) - events, self._clock())

    def headers(self, tenant: str) -> list[tuple[bytes, bytes]]:
        """RateLimit and RateLimit-Policy, as draft-ietf-httpapi-ratelimit-headers has them; none without a limit."""
        if not self.per_second:
            return []
        window_s = math.ceil(self._size / self.per_second)
        left = max(0.0, self._left(tenant))
        full_s = math.ceil((self._size - left) / self.per_second)
        return [
            (b"ratelimit-policy", b'"events";q=%d;w=%d' % (self._size, window_s)),
            (b"ratelimit", b'"events";r=%d;t=%d' % (left, full_s)),
        ]

    def _left(self, tenant: str) -> float:
        left, at = self._buckets.get(tenant, (self._size, 0.0))
        return min(self._size, left + (self._clock() - at) * self.per_second)

    def _forget_full(self) -> None:
        """Forget the tenants that have all of their quota."""
        self._buckets = {tenant: each for tenant, each in self._buckets.items() if self._left(tenant) < self._size}


class ByteQuota:
    """How many bytes of payloads a tenant may keep. The store is asked once a second for a tenant that writes, so a
    tenant may exceed its quota by what several servers accept for it in that time. Belongs to one event loop."""

    def __init__(self, head_of: Callable[[str], Awaitable[Head]], most: int) -> None:
        """`head_of` returns the head of a tenant's log. 0 is no limit."""
        self._head_of = head_of
        self._most = most
        self._known: dict[str, tuple[int, float]] = {}

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return self._most > 0

    async def require(self, tenant: str, size: int) -> None:
        """Count `size` bytes that are about to be stored. Raises QuotaSpent when they would exceed the quota."""
        if not self._most:
            return
        stored, read_at = self._known.get(tenant, (0, float("-inf")))
        if time.monotonic() - read_at > _READ_AGAIN_S:
            read_at = time.monotonic()
            stored = (await self._head_of(tenant)).payload_bytes
        if stored + size > self._most:
            self._known.pop(tenant, None)
            raise QuotaSpent("This tenant has stored as many bytes as it may. Ask the operator for a larger quota.")
        if len(self._known) >= _TENANTS_MAX:
            self._known.clear()
        self._known[tenant] = (stored + size, read_at)


class DiskSpace:
    """Whether the disk of the store has room, looked at once a second at most."""

    def __init__(self, free_bytes: Callable[[], int | None], least: int) -> None:
        """`free_bytes` is None where the store is not on a disk of this machine. Below `least` nothing is stored."""
        self._free_bytes = free_bytes
        self._least = least
        self._looked_at = float("-inf")
        self._is_low = False

    def require(self) -> None:
        """Return if there is room. Raises Unavailable."""
        now = time.monotonic()
        if now - self._looked_at > _DISK_CHECK_S:
            free = self._free_bytes() if self._least else None
            self._is_low = free is not None and free < self._least
            self._looked_at = now
        if self._is_low:
            raise Unavailable(
                "The disk of the store is nearly full, so nothing is stored; reading goes on. Nothing of this was "
                "stored; send it again once there is room.",
                retry_after_s=30,
            )
