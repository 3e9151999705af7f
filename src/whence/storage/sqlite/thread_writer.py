"""A writer with a thread of its own, for a process that does much else.

One thread at a time holds the GIL, and beside a busy event loop the writer's thread waits for it at every statement.
So a small request that finds the writer free runs inline: on the caller's thread, at once and alone. Only its commit,
which waits for the disk, is left to the writer's thread.
"""

import asyncio
import contextlib
import queue
import threading
from collections import deque

import apsw

from whence.storage.sqlite.connection import BUSY_MS
from whence.storage.sqlite.highwater import HighWater
from whence.storage.sqlite.writer import GROUP_MAX, Job, TransactionListener, Writer, WriterWork

__all__ = ["ThreadWriter"]

_IDLE_WAIT_MAX_S = 0.1
"""How long to wait for the writer to be idle: longer than an append computes, and short enough that an overloaded or
stuck writer is noticed."""


class _IdleSignal:
    """Lets tasks wait until the writer's thread does not compute, while it waits for work or for a commit.

    A thread that waits for the disk does not hold the GIL. So long work of the event loop delays no append if it runs
    while the writer is idle, and delays it by all of its own time otherwise.
    """

    def __init__(self) -> None:
        self._busy = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def set_busy(self) -> None:
        """The writer computes from now on. Only on its thread."""
        self._busy = True

    def set_idle(self) -> None:
        """The writer waits from now on. Only on its thread; harmless when repeated."""
        self._busy = False
        with contextlib.suppress(IndexError, RuntimeError):  # no task waits, or its loop is closed
            self._waiting[0].get_loop().call_soon_threadsafe(self._wake_next)

    async def wait(self) -> None:
        """Return when the writer is idle, in the order of the calls; or after `_IDLE_WAIT_MAX_S`."""
        if not self._busy and not self._waiting:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if not self._busy:  # the writer became idle after the first check, and saw no task waiting
            self._wake_next()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_WAIT_MAX_S):
                await future

    def _wake_next(self) -> None:
        """Wake the first waiting task, and once it has run the next one, as long as the writer is idle."""
        if self._busy or not self._waiting:
            return
        future = self._waiting.popleft()
        if not future.done():
            future.set_result(None)
        future.get_loop().call_soon(self._wake_next)


class ThreadWriter(Writer):
    """Runs requests on a thread, and small ones that find it free on the caller's."""

    def __init__(
        self, connection: apsw.Connection, listener: TransactionListener, high_water: HighWater | None = None
    ) -> None:
        """Start the thread."""
        super().__init__(connection, listener, high_water)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._idle = _IdleSignal()
        self._is_free = True  # whether no job waits and none uses the connection
        self._thread = threading.Thread(target=self._run, name="whence-writer", daemon=True)
        self._thread.start()

    def _accept(self, job: Job, inline: WriterWork | None) -> None:
        if inline is not None and self._is_free:
            self._run_inline(job, inline)
        self._is_free = False
        self._jobs.put(job)

    def _run_inline(self, job: Job, inline: WriterWork) -> None:
        """Run a job on this thread, in a transaction that the writer's thread commits; or roll it back.

        No other thread uses the connection: the writer is free, and the caller holds the lock until the job is queued.
        """
        self._connection.set_busy_timeout(0)  # never wait on the event loop for another process that writes
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            job.result = inline(self._connection)
            self._listener.request_released()
            self._advance_high_water()
            job.ran_inline = True
        except BaseException as error:
            self._roll_back()
            if not isinstance(error, Exception):
                raise
        finally:
            self._connection.set_busy_timeout(BUSY_MS)

    async def wait_for_idle_writer(self) -> None:
        """Wait for the thread; see `Writer`."""
        await self._idle.wait()

    def stop(self) -> None:
        """End the thread; see `Writer`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            group: list[Job] = []
            job = self._jobs.get()
            while job is not None:
                group.append(job)
                if job.ran_inline or len(group) >= GROUP_MAX:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            more = job is not None
            if group:
                self._commit_group(group)
                self._idle.set_idle()
                with self._lock:
                    self._is_free = self._jobs.empty()
                self._resolve(group)

    def _run_group(self, group: list[Job]) -> None:
        """A job that ran inline is alone in its group."""
        if not group[0].ran_inline:
            self._idle.set_busy()
            super()._run_group(group)
        self._idle.set_idle()
