"""The readers: connections that each answer one question at a time, in one snapshot and within a time."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw

from whence.errors import Throttled, TooWide, Unavailable
from whence.storage.base import WIDE_SECONDS

__all__ = ["Readers"]

_STEPS_PER_LOOK = 10_000
"""Virtual machine steps between two looks at the clock; some hundred microseconds."""


class _Reader:
    """A connection with a deadline."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.deadline = float("inf")
        connection.set_progress_handler(self._is_late, _STEPS_PER_LOOK)

    def _is_late(self) -> bool:
        return time.monotonic() > self.deadline


class Readers:
    """A fixed number of reading connections, and the rule for questions that are not flat.

    Wide questions use at most half of the readers and one for each tenant; the others are turned away at once, so
    that flat questions always find a reader.
    """

    def __init__(self, connections: list[apsw.Connection], wide_seconds: float = WIDE_SECONDS) -> None:
        """Take the connections over."""
        self._readers = [_Reader(connection) for connection in connections]
        self._free: queue.SimpleQueue[_Reader] = queue.SimpleQueue()
        for reader in self._readers:
            self._free.put(reader)
        self._threads = ThreadPoolExecutor(len(connections), thread_name_prefix="whence-reader")
        self._wide_seconds = wide_seconds
        self._wide_max = max(1, len(connections) // 2)
        self._wide_tenants: set[str] = set()
        self._closed = threading.Event()

    async def read(self, question: Callable[[apsw.Connection], Any]) -> Any:
        """The answer to `question(connection)`, asked in one read transaction. Raises TooWide and Unavailable."""
        if self._closed.is_set():
            raise Unavailable("The store is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question)

    async def read_wide(self, tenant: str, question: Callable[[apsw.Connection], Any]) -> Any:
        """As `read`, for a question whose cost grows with what it matches. Raises Throttled when it must wait."""
        if tenant in self._wide_tenants or len(self._wide_tenants) >= self._wide_max:
            raise Throttled("Another question that reads much of the log is being answered. Ask again in a moment.")
        self._wide_tenants.add(tenant)
        try:
            return await self.read(question)
        finally:
            self._wide_tenants.discard(tenant)

    def _ask(self, question: Callable[[apsw.Connection], Any]) -> Any:
        reader = self._free.get()
        reader.deadline = time.monotonic() + self._wide_seconds
        try:
            reader.connection.execute("BEGIN")
            try:
                return question(reader.connection)
            finally:
                if reader.connection.in_transaction:
                    reader.connection.execute("ROLLBACK")
        except apsw.InterruptError as error:
            raise TooWide(
                "The question was stopped because it would read too much of the log. "
                "Narrow it with a range of time, or ask with fewer filters.",
            ) from error
        except apsw.Error as error:
            raise Unavailable("The store could not be read.") from error
        finally:
            reader.deadline = float("inf")
            self._free.put(reader)

    def close(self) -> None:
        """Finish what is asked, then close the connections. Harmless when repeated."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._threads.shutdown(wait=True)
        for reader in self._readers:
            reader.connection.close()
