"""Wake-ups between processes: NOTIFY after a commit, LISTEN where a task waits for a log to grow.

Both are hints (see `storage/head_notifier.py`), so they run outside of the append's transaction: inside it, NOTIFY
costs a third of the commits. A process sends at most one NOTIFY per `NOTIFY_EVERY_S`. It carries the numbers of the
tenants whose logs grew. Only processes that serve this database receive it, never clients of the API.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from whence.errors import WhenceError
from whence.storage.head_notifier import HeadNotifier
from whence.storage.postgres.connections import DRIVER_ERRORS, Connection, ConnectionPool, Target
from whence.storage.postgres.tenants import NO_TENANT
from whence.storage.sql import load_blocks

__all__ = ["CHANNEL", "ListenNotify"]

CHANNEL = "whence"

NOTIFY_EVERY_S = 0.05

_SQL = load_blocks("whence.storage.postgres")
_log = structlog.get_logger("whence.storage")

_TENANTS_MAX = 500
"""Tenants in one NOTIFY. Its payload must stay below 8,000 bytes, and a number takes up to 11. More become `_ALL`."""

_ALL = "*"

_RECONNECT_AFTER_S = 1.0

_CHECK_EVERY_S = 10.0
_CHECK_TIMEOUT_S = 2.0
"""How often the listening connection is checked, and for how long: a cut cable raises no error by itself."""


class ListenNotify:
    """Wakes the tasks that wait in this process, and notifies the other processes."""

    def __init__(
        self, target: Target, listen_url: str | None, number_and_size: Callable[[str], Awaitable[tuple[int, int]]]
    ) -> None:
        """`number_and_size` reads a tenant's number and the size of its log.

        LISTEN needs a connection of its own, which a pooler in transaction mode does not give. So it uses `listen_url`
        if there is one, else `target` unless that is a pooler; else this process only polls.
        """
        self._head_notifier = HeadNotifier(self._read_size)
        self._number_and_size = number_and_size
        self._numbers: dict[str, int] = {}  # of the tenants that a task waits for
        self._notify_pool = ConnectionPool(target, 1, writing=True)
        self._grown: set[int] = set()  # NO_TENANT in it stands for every tenant
        self._sending: asyncio.Task[None] | None = None
        self._listen_target = Target(listen_url) if listen_url else None if target.pooler else target
        self._listening: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        """See `Store.changed`."""
        if self._listen_target is not None and self._listening is None and not self._closing.is_set():
            self._listening = asyncio.create_task(self._listen(self._listen_target))
        try:
            return await self._head_notifier.changed(tenant, position, timeout_s)
        finally:
            if not self._head_notifier.has_waiters(tenant):
                self._numbers.pop(tenant, None)

    def notify(self, tenant: str, number: int) -> None:
        """Wake the tasks that wait for this tenant: those of this process now, others soon. Call it after a commit."""
        self._head_notifier.wake(tenant)
        self._grown.add(number)
        if len(self._grown) > _TENANTS_MAX:
            self._grown = {NO_TENANT}
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def close(self) -> None:
        """Send what is pending, and fail every waiting task with Unavailable. Safe to call again."""
        self._closing.set()
        self._head_notifier.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        if self._sending is not None:
            await asyncio.wait({self._sending})
        await self._notify_pool.close()

    # --- sending -----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Send a NOTIFY at a time until no tenant is pending."""
        while self._grown:
            payload = _ALL if NO_TENANT in self._grown else " ".join(map(str, sorted(self._grown)))
            self._grown.clear()

            async def notify(connection: Connection, payload: str = payload) -> None:
                await connection.execute(_SQL["notify"], CHANNEL, payload)

            with contextlib.suppress(WhenceError):  # the pool has logged it; other processes still poll
                await self._notify_pool.run(NO_TENANT, notify)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NOTIFY_EVERY_S):
                    await self._closing.wait()

    # --- listening ---------------------------------------------------------------------------------------------

    async def _read_size(self, tenant: str) -> int:
        number, size = await self._number_and_size(tenant)
        self._numbers[tenant] = number
        return size

    def _on_notify(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        """Wake the tasks whose tenants a NOTIFY names, and those whose tenant had no number when it was last read: it
        may have been made since."""
        if payload == _ALL:
            self._head_notifier.wake_all()
            return
        grown = set(payload.split())
        for tenant, number in self._numbers.items():
            if number == NO_TENANT or str(number) in grown:
                self._head_notifier.wake(tenant)

    async def _listen(self, target: Target) -> None:
        """Listen on a connection of its own, and reconnect whenever it breaks."""
        is_reported = False
        while True:
            connection = None
            try:
                connection = await target.connect()
                ended = asyncio.Event()
                connection.add_termination_listener(lambda _connection, ended=ended: ended.set())
                await connection.add_listener(CHANNEL, self._on_notify)
                self._head_notifier.wake_all()  # for what was sent while nothing listened
                is_reported = False
                await _wait_until_lost(connection, ended)
            except (*DRIVER_ERRORS, ValueError) as error:
                if not is_reported:
                    _log.warning("cannot listen for wake-ups; polling instead", error=type(error).__name__)
                    is_reported = True
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(_RECONNECT_AFTER_S)


async def _wait_until_lost(connection: Connection, ended: asyncio.Event) -> None:
    """Return once the connection has ended. Raises `DRIVER_ERRORS` when it does not answer."""
    while not ended.is_set():
        try:
            async with asyncio.timeout(_CHECK_EVERY_S):
                await ended.wait()
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=_CHECK_TIMEOUT_S)
