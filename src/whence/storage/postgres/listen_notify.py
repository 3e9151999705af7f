"""Wake-ups between processes: NOTIFY after a commit, LISTEN where somebody waits.

Both are hints (see `storage/waiting.py`), so they stand beside the transactions: inside an append, NOTIFY would cost a
third of the commits. A process sends at most one in `NOTIFY_EVERY_S`, which names the tenants that grew meanwhile by
their numbers. It goes to the processes that serve this database, never to a reader.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from whence.errors import WhenceError
from whence.storage.head_notifier import HeadNotifier
from whence.storage.postgres.connections import DRIVER_ERRORS, Connection, Connections, Target
from whence.storage.postgres.tenants import NOBODY
from whence.storage.sql import load_blocks

__all__ = ["CHANNEL", "ListenNotify"]

CHANNEL = "whence"

NOTIFY_EVERY_S = 0.05

_SQL = load_blocks("whence.storage.postgres")
_log = structlog.get_logger("whence.storage")

_TENANTS_MAX = 500
"""In one NOTIFY, which must stay below 8,000 bytes; a number takes up to 11. More are told by `_ALL`."""

_ALL = "*"

_AGAIN_S = 1.0
"""After which the connection that listens is made anew."""

_CHECK_EVERY_S = 10.0
_CHECK_S = 2.0
"""How often it is asked whether it still lives, and how long the answer may take: a cut cable tells nobody."""


class ListenNotify:
    """Who waits in this process, and what it tells the others."""

    def __init__(
        self, target: Target, listen_url: str | None, place: Callable[[str], Awaitable[tuple[int, int]]]
    ) -> None:
        """`place` tells a tenant's number and the size of its log. Without `listen_url` the store itself is listened
        to, unless a pooler stands before it: it would hand the connection on, and nothing would be heard.
        """
        self._head_notifier = HeadNotifier(self._look)
        self._place = place
        self._numbers: dict[str, int] = {}  # of the tenants that are waited for
        self._notifying = Connections(target, 1, writing=True)
        self._grown: set[int] = set()  # NOBODY among them stands for all
        self._sending: asyncio.Task[None] | None = None
        self._target = Target(listen_url) if listen_url else None if target.pooler else target
        self._listening: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def changed(self, tenant: str, position: int, timeout_s: float) -> bool:
        """As `Store.changed` says."""
        if self._target is not None and self._listening is None and not self._closing.is_set():
            self._listening = asyncio.create_task(self._listen(self._target))
        try:
            return await self._head_notifier.changed(tenant, position, timeout_s)
        finally:
            if not self._head_notifier.has_waiters(tenant):
                self._numbers.pop(tenant, None)

    def tell(self, tenant: str, number: int) -> None:
        """Wake who waits for this tenant, in this process now and in others soon. Only behind a commit."""
        self._head_notifier.wake(tenant)
        self._grown.add(number)
        if len(self._grown) > _TENANTS_MAX:
            self._grown = {NOBODY}
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def close(self) -> None:
        """Send what is left to be told, and let everybody go. Harmless when repeated."""
        self._closing.set()
        self._head_notifier.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        if self._sending is not None:
            await asyncio.wait({self._sending})
        await self._notifying.close()

    # --- sending -----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Tell what has grown, and go on until nothing has."""
        while self._grown:
            payload = _ALL if NOBODY in self._grown else " ".join(map(str, sorted(self._grown)))
            self._grown.clear()

            async def notify(connection: Connection, payload: str = payload) -> None:
                await connection.execute(_SQL["notify"], CHANNEL, payload)

            with contextlib.suppress(WhenceError):  # noted where it came from; the others will look by themselves
                await self._notifying.run(NOBODY, notify)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NOTIFY_EVERY_S):
                    await self._closing.wait()

    # --- hearing -----------------------------------------------------------------------------------------------

    async def _look(self, tenant: str) -> int:
        number, size = await self._place(tenant)
        self._numbers[tenant] = number
        return size

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        """Wake those whom a NOTIFY is about. A tenant that had no number at the last look may have got it since."""
        if payload == _ALL:
            self._head_notifier.wake_all()
            return
        grown = set(payload.split())
        for tenant, number in self._numbers.items():
            if number == NOBODY or str(number) in grown:
                self._head_notifier.wake(tenant)

    async def _listen(self, target: Target) -> None:
        """Listen, on a connection of its own, and again whenever that breaks."""
        told = False
        while True:
            connection = None
            try:
                connection = await target.connect()
                ended = asyncio.Event()
                connection.add_termination_listener(lambda _connection, ended=ended: ended.set())
                await connection.add_listener(CHANNEL, self._heard)
                self._head_notifier.wake_all()  # for what was told while nobody listened
                told = False
                await _stay(connection, ended)
            except (*DRIVER_ERRORS, ValueError) as error:
                if not told:
                    _log.warning("wake-ups are not heard; logs are looked at instead", error=type(error).__name__)
                    told = True
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(_AGAIN_S)


async def _stay(connection: Connection, ended: asyncio.Event) -> None:
    """Return once the connection has ended. Raises what the driver raises when it does not answer any more."""
    while not ended.is_set():
        try:
            async with asyncio.timeout(_CHECK_EVERY_S):
                await ended.wait()
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=_CHECK_S)
