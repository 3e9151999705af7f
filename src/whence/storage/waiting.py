"""Waiting for a log to grow: one look at a tenant's head serves all who wait for it.

A tenant that is waited for has one task, which looks at its head when somebody comes to wait, when it is woken, when a
wait is over, and every `POLL_S` seconds whatever happens. So a wake-up is only ever a hint: a lost one costs time, one
too many costs a look, and neither can make an answer wrong. A tenant that nobody waits for has nothing here.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from whence.errors import Unavailable
from whence.storage.base import POLL_S

__all__ = ["Watches"]

Look = Callable[[str], Awaitable[int]]
"""How long a tenant's log is now. Raises `Unavailable`."""


class _Waiter:
    """Someone who waits for a log to be longer than `position`, until that time on the monotonic clock."""

    __slots__ = ("position", "told", "until")

    def __init__(self, position: int, until: float) -> None:
        self.position = position
        self.until = until
        self.told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class _Watch:
    """One tenant's log, while somebody waits for it."""

    __slots__ = ("due", "task", "waiting")

    def __init__(self) -> None:
        self.due = asyncio.Event()
        self.waiting: set[_Waiter] = set()
        self.task: asyncio.Task[None] | None = None

    def tell(self, size: int) -> None:
        """Let those go who waited for this, and those whose time is over."""
        now = time.monotonic()
        for waiter in [each for each in self.waiting if size > each.position or now >= each.until]:
            self.waiting.discard(waiter)
            if not waiter.told.done():
                waiter.told.set_result(size > waiter.position)

    def fail(self, error: Exception) -> None:
        """Tell everybody that nothing can be said."""
        while self.waiting:
            waiter = self.waiting.pop()
            if not waiter.told.done():
                waiter.told.set_exception(error)

    async def rest(self) -> None:
        """Until the next look is due."""
        first = min(waiter.until for waiter in self.waiting)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(POLL_S, first - time.monotonic())):
                await self.due.wait()


class Watches:
    """The logs that are waited for, by their tenants."""

    def __init__(self, look: Look) -> None:
        """Start without any."""
        self._look = look
        self._watches: dict[str, _Watch] = {}
        self._closed = False

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        """As `Store.changed` says."""
        if self._closed:
            raise Unavailable("The store is closed.")
        waiter = _Waiter(position, time.monotonic() + timeout_s)
        watch = self._watches.get(tenant)
        if watch is None:
            watch = self._watches[tenant] = _Watch()
            watch.task = asyncio.create_task(self._watch(tenant, watch))
        watch.waiting.add(waiter)
        watch.due.set()
        try:
            return await waiter.told
        finally:
            watch.waiting.discard(waiter)
            self._leave(tenant, watch)

    def has(self, tenant: str) -> bool:
        """Whether anybody waits for this tenant's log."""
        return tenant in self._watches

    def wake(self, tenant: str) -> None:
        """Have the tenant's head looked at, if anybody waits for it."""
        watch = self._watches.get(tenant)
        if watch is not None:
            watch.due.set()

    def wake_all(self) -> None:
        """Have every head looked at that is waited for."""
        for watch in self._watches.values():
            watch.due.set()

    def close(self) -> None:
        """Tell all who wait that the store is closed. Harmless when repeated."""
        self._closed = True
        for tenant, watch in list(self._watches.items()):
            watch.fail(Unavailable("The store is closed."))
            self._leave(tenant, watch)

    def _leave(self, tenant: str, watch: _Watch) -> None:
        """End a watch for which nobody waits any more."""
        if not watch.waiting and self._watches.get(tenant) is watch:
            del self._watches[tenant]
            if watch.task is not None:
                watch.task.cancel()

    async def _watch(self, tenant: str, watch: _Watch) -> None:
        while watch.waiting:
            watch.due.clear()  # before the look: what is committed behind it wakes again
            try:
                watch.tell(await self._look(tenant))
            except Exception as error:
                watch.fail(error)
            if watch.waiting:
                await watch.rest()
        self._leave(tenant, watch)
