"""Notifies tasks when a log grows: one read of a tenant's head serves every task that waits for it.

While at least one task waits for a tenant, one watcher task reads the tenant's head: when a task starts to wait, when
`wake` is called, when a waiter times out, and every `POLL_S` seconds. So a wake-up is only a hint: a lost one costs
time, a superfluous one costs a read, and neither can make an answer wrong. Nothing is kept for other tenants.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from whence.errors import Unavailable
from whence.storage.base import POLL_S

__all__ = ["HeadNotifier"]

ReadSize = Callable[[str], Awaitable[int]]
"""Reads the size of a tenant's log. Raises `Unavailable`."""


class _Waiter:
    """A task that waits until a log is longer than `position`, or until a time on the monotonic clock."""

    __slots__ = ("grown", "position", "until")

    def __init__(self, position: int, until: float) -> None:
        self.position = position
        self.until = until
        self.grown: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class _Watch:
    """The waiters of one tenant, and the task that reads its head for them."""

    __slots__ = ("due", "task", "waiters")

    def __init__(self) -> None:
        self.due = asyncio.Event()
        self.waiters: set[_Waiter] = set()
        self.task: asyncio.Task[None] | None = None

    def resolve(self, size: int) -> None:
        """Resolve the waiters whose position is below `size`, and those that have timed out."""
        now = time.monotonic()
        for waiter in [each for each in self.waiters if size > each.position or now >= each.until]:
            self.waiters.discard(waiter)
            if not waiter.grown.done():
                waiter.grown.set_result(size > waiter.position)

    def fail(self, error: Exception) -> None:
        """Fail every waiter."""
        while self.waiters:
            waiter = self.waiters.pop()
            if not waiter.grown.done():
                waiter.grown.set_exception(error)

    async def wait_until_due(self) -> None:
        """Return when the head should be read again."""
        first = min(waiter.until for waiter in self.waiters)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(POLL_S, first - time.monotonic())):
                await self.due.wait()


class HeadNotifier:
    """Notifies waiting tasks when a tenant's log has grown."""

    def __init__(self, read_size: ReadSize) -> None:
        """Start without waiters."""
        self._read_size = read_size
        self._watches: dict[str, _Watch] = {}
        self._closed = False

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        """Wait for a tenant's log to grow; see `Store.changed`."""
        if self._closed:
            raise Unavailable("The store is closed.")
        waiter = _Waiter(position, time.monotonic() + timeout_s)
        watch = self._watches.get(tenant)
        if watch is None:
            watch = self._watches[tenant] = _Watch()
            watch.task = asyncio.create_task(self._watch(tenant, watch))
        watch.waiters.add(waiter)
        watch.due.set()
        try:
            return await waiter.grown
        finally:
            watch.waiters.discard(waiter)
            self._end_if_unused(tenant, watch)

    def has_waiters(self, tenant: str) -> bool:
        """Whether a task waits for this tenant's log."""
        return tenant in self._watches

    def wake(self, tenant: str) -> None:
        """Read the tenant's head again, if a task waits for it."""
        watch = self._watches.get(tenant)
        if watch is not None:
            watch.due.set()

    def wake_all(self) -> None:
        """Read every head again that a task waits for."""
        for watch in self._watches.values():
            watch.due.set()

    def close(self) -> None:
        """Fail every waiter with Unavailable. Harmless when repeated."""
        self._closed = True
        for tenant, watch in list(self._watches.items()):
            watch.fail(Unavailable("The store is closed."))
            self._end_if_unused(tenant, watch)

    def _end_if_unused(self, tenant: str, watch: _Watch) -> None:
        """End a watch that has no waiter left."""
        if not watch.waiters and self._watches.get(tenant) is watch:
            del self._watches[tenant]
            if watch.task is not None:
                watch.task.cancel()

    async def _watch(self, tenant: str, watch: _Watch) -> None:
        while watch.waiters:
            watch.due.clear()  # before the read, so that a commit after it sets the event again
            try:
                watch.resolve(await self._read_size(tenant))
            except Exception as error:
                watch.fail(error)
            if watch.waiters:
                await watch.wait_until_due()
        self._end_if_unused(tenant, watch)
