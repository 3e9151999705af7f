"""Readers: connections that run one read at a time, each in one snapshot and within a time limit.

To hand a read to a thread and its answer back takes several times as long as a page. So the first reader belongs to the
event loop: reads that are nearly always short run there, and go to a thread only when they take longer. Tenants get the
threads in turns, and a read whose caller is cancelled is stopped.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import apsw

from whence.errors import Unavailable
from whence.fairness import FairQueue
from whence.storage.base import QUERY_SECONDS_MAX
from whence.storage.query_deadline import Deadline, query_too_expensive

__all__ = ["LATER", "Readers"]

LATER = object()
"""In place of what was read: it was not read yet."""

_STEPS_PER_CHECK = 10_000
"""Virtual machine steps between two checks of the deadline; a few hundred microseconds."""

_INLINE_SECONDS = 0.002
"""How long a read may block the event loop."""


class _Reader:
    """A connection with a deadline."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.deadline: Deadline | None = None
        connection.set_progress_handler(self._is_late, _STEPS_PER_CHECK)

    def ask(self, question: Callable[[apsw.Connection], Any], deadline: Deadline) -> Any:
        """What `question` returns, from one snapshot. Raises apsw.InterruptError at the deadline, and Unavailable."""
        self.deadline = deadline
        try:
            self.connection.execute("BEGIN")
            try:
                return question(self.connection)
            finally:
                self.deadline = None  # else the end of the transaction could be stopped too
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
        except apsw.InterruptError:
            raise
        except apsw.Error as error:
            raise Unavailable("The store could not be read.") from error

    def _is_late(self) -> bool:
        return self.deadline is not None and self.deadline.has_passed


class Readers:
    """A fixed number of reading connections, which tenants share fairly."""

    def __init__(self, connections: list[apsw.Connection], query_seconds_max: float = QUERY_SECONDS_MAX) -> None:
        """Own the connections: the first for the event loop, the others, at least one, each for a thread."""
        self._readers = [_Reader(connection) for connection in connections]
        self._here, *threaded = self._readers
        self._here_is_free = threading.Lock()  # a store may be used from more than one event loop
        self._free: queue.SimpleQueue[_Reader] = queue.SimpleQueue()
        for reader in threaded:
            self._free.put(reader)
        self._threads = ThreadPoolExecutor(len(threaded), thread_name_prefix="whence-reader")
        self._query_seconds_max = query_seconds_max
        self._places = FairQueue(len(threaded))
        self._unbounded = FairQueue(max(1, len(threaded) // 2))
        self._closed = threading.Event()

    async def read(self, tenant: str, question: Callable[[apsw.Connection], Any]) -> Any:
        """What `question(connection)` returns, in one read transaction. It may run twice, and then the second result
        counts. `tenant` is empty for what belongs to none. Raises QueryTooExpensive, Throttled and Unavailable.
        """
        found = self.read_here(tenant, question)
        return await self._read_in_thread(tenant, question) if found is LATER else found

    def read_here(self, tenant: str, question: Callable[[apsw.Connection], Any]) -> Any:
        """As `read`, but on the event loop at once; LATER if that takes long, or has to wait. Raises Unavailable."""
        if self._closed.is_set():
            raise Unavailable("The store is closed.")
        # A tenant whose reads queue up for threads does not get the event loop's time as well.
        if self._places.is_waiting(tenant) or not self._here_is_free.acquire(blocking=False):
            return LATER
        try:
            return self._here.ask(question, Deadline(_INLINE_SECONDS))
        except apsw.InterruptError:
            return LATER  # it takes longer, so it starts again in a thread
        finally:
            self._here_is_free.release()

    async def read_unbounded(self, tenant: str, question: Callable[[apsw.Connection], Any]) -> Any:
        """As `read`, for an unbounded query. These use at most half of the threads."""
        async with self._unbounded.place(tenant):
            return await self._read_in_thread(tenant, question)

    async def read_in_thread(self, tenant: str, question: Callable[[apsw.Connection], Any]) -> Any:
        """As `read`, always in a thread: for reads that are seldom short, or that compute outside of SQLite."""
        return await self._read_in_thread(tenant, question)

    async def _read_in_thread(self, tenant: str, question: Callable[[apsw.Connection], Any]) -> Any:
        await self._places.enter(tenant)
        if self._closed.is_set():
            self._places.leave(tenant)
            raise Unavailable("The store is closed.")
        deadline = Deadline(self._query_seconds_max)
        answer = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question, deadline)
        answer.add_done_callback(partial(self._leave, tenant))
        try:
            return await asyncio.shield(answer)  # the place is held until the thread is free
        except asyncio.CancelledError:
            deadline.cancel()
            raise

    def _leave(self, tenant: str, answer: "asyncio.Future[Any]") -> None:
        self._places.leave(tenant)
        if not answer.cancelled():
            answer.exception()  # marks it as retrieved, since a cancelled caller never does

    def _ask(self, question: Callable[[apsw.Connection], Any], deadline: Deadline) -> Any:
        reader = self._free.get()
        try:
            with deadline.watched():
                return reader.ask(question, deadline)
        except apsw.InterruptError as error:
            raise query_too_expensive() from error
        finally:
            self._free.put(reader)

    def close(self) -> None:
        """Finish the running reads, then close the connections. Harmless when repeated."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._threads.shutdown(wait=True)
        with self._here_is_free:
            for reader in self._readers:
                reader.connection.close()
