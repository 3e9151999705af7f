"""The readers: connections that each answer one question at a time, in one snapshot and within a time.

Handing a question to a thread and its answer back costs several times what a page costs. So the first reader belongs to
the event loop: what is nearly always brief is asked right there, and only what takes longer goes to a thread.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw

from whence.errors import Unavailable
from whence.storage.base import QUERY_SECONDS_MAX
from whence.storage.query_gate import UnboundedQueryGate, query_too_expensive

__all__ = ["Readers"]

_STEPS_PER_LOOK = 10_000
"""Virtual machine steps between two looks at the clock; some hundred microseconds."""

_INLINE_SECONDS = 0.002
"""For so long a question may hold up the event loop."""


class _Reader:
    """A connection with a deadline."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.deadline = float("inf")
        connection.set_progress_handler(self._is_late, _STEPS_PER_LOOK)

    def ask(self, question: Callable[[apsw.Connection], Any], seconds: float) -> Any:
        """The answer, from one snapshot. Raises apsw.InterruptError after `seconds`, and Unavailable."""
        self.deadline = time.monotonic() + seconds
        try:
            self.connection.execute("BEGIN")
            try:
                return question(self.connection)
            finally:
                self.deadline = float("inf")  # else the end of the transaction could be stopped too
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
        except apsw.InterruptError:
            raise
        except apsw.Error as error:
            raise Unavailable("The store could not be read.") from error

    def _is_late(self) -> bool:
        return time.monotonic() > self.deadline


class Readers:
    """A fixed number of reading connections, and a gate before those that questions that are not flat may use."""

    def __init__(self, connections: list[apsw.Connection], query_seconds_max: float = QUERY_SECONDS_MAX) -> None:
        """Take the connections over: the first for the event loop, the others, at least one, each for a thread."""
        self._readers = [_Reader(connection) for connection in connections]
        self._here, *threaded = self._readers
        self._here_is_free = threading.Lock()  # a store may be asked from more than one event loop
        self._free: queue.SimpleQueue[_Reader] = queue.SimpleQueue()
        for reader in threaded:
            self._free.put(reader)
        self._threads = ThreadPoolExecutor(len(threaded), thread_name_prefix="whence-reader")
        self._query_seconds_max = query_seconds_max
        self._gate = UnboundedQueryGate(len(threaded))
        self._closed = threading.Event()

    async def read(self, question: Callable[[apsw.Connection], Any]) -> Any:
        """The answer to `question(connection)`, asked in one read transaction; the question may be asked twice, and
        only the second answer counts. Raises QueryTooExpensive and Unavailable.
        """
        if self._closed.is_set():
            raise Unavailable("The store is closed.")
        if self._here_is_free.acquire(blocking=False):
            try:
                return self._here.ask(question, _INLINE_SECONDS)
            except apsw.InterruptError:
                pass  # not so brief
            finally:
                self._here_is_free.release()
        return await self._read_in_thread(question)

    async def read_unbounded(self, tenant: str, question: Callable[[apsw.Connection], Any]) -> Any:
        """As `read`, for a question whose cost grows with what it matches. Raises Throttled when it must wait."""
        with self._gate.admit(tenant):
            return await self._read_in_thread(question)

    async def read_in_thread(self, question: Callable[[apsw.Connection], Any]) -> Any:
        """As `read`, for a question that is seldom brief, or spends its time outside of SQLite: always in a thread."""
        return await self._read_in_thread(question)

    async def _read_in_thread(self, question: Callable[[apsw.Connection], Any]) -> Any:
        if self._closed.is_set():
            raise Unavailable("The store is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question)

    def _ask(self, question: Callable[[apsw.Connection], Any]) -> Any:
        reader = self._free.get()
        try:
            return reader.ask(question, self._query_seconds_max)
        except apsw.InterruptError as error:
            raise query_too_expensive() from error
        finally:
            self._free.put(reader)

    def close(self) -> None:
        """Finish what is asked, then close the connections. Harmless when repeated."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._threads.shutdown(wait=True)
        with self._here_is_free:
            for reader in self._readers:
                reader.connection.close()
