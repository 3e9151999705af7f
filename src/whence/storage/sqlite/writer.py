"""The writer: one thread with one connection, which joins the requests that wait into one commit.

A savepoint copies each page that is changed after it, so a group of requests first runs without savepoints. If one of
them raises, the whole group is rolled back and run again, each request in a savepoint of its own, so that only the
failing ones fail. If the commit fails, every request of the group fails, and the writer goes on with the next group.

One thread at a time holds the GIL, and beside a busy event loop the writer's thread waits for it at every statement.
So a small request that finds the writer idle runs inline: on the caller's thread, at once and alone. Only its commit,
which waits for the disk, is left to the writer's thread.
"""

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import apsw
import structlog

from whence.errors import Unavailable, WhenceError
from whence.storage.sqlite.connection import BUSY_MS
from whence.storage.sqlite.highwater import HighWater

__all__ = ["TransactionListener", "Writer"]

_GROUP_MAX = 256
"""Requests in one commit. More of them would delay the first."""

_JOIN_S = 0.0005
"""How long requests that waited for a commit wait for those which its answers set off. Otherwise the processes of a
server take turns, and each commit has the events of one of them. A request that finds the writer free never waits."""

_JOINED_MAX = 4
"""So many requests are a group, and wait no longer."""

_IDLE_WAIT_MAX_S = 0.1
"""How long to wait for the writer to be idle: longer than an append computes, and short enough that an overloaded or
stuck writer is noticed."""

_log = structlog.get_logger("whence.storage")

Work = Callable[[apsw.Connection], Any]
"""What a request does inside a transaction. It may be rolled back and called again."""


class TransactionListener(Protocol):
    """Keeps state in memory that follows the writer's transactions."""

    def request_released(self) -> None:
        """The request ran, or its savepoint was released; the transaction is still open."""

    def request_rolled_back(self) -> None:
        """The request's savepoint was rolled back."""

    def group_committed(self) -> None:
        """The commit is durable."""

    def group_rolled_back(self) -> None:
        """The transaction was rolled back."""


class _Job:
    __slots__ = ("error", "future", "loop", "ran_inline", "result", "retry", "work")

    def __init__(self, work: Work, retry: Work, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.retry = retry
        self.ran_inline = False  # then it ran already, in a transaction that is open
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def resolve(self) -> None:
        """Set the result or the exception of the future. Only on the thread of its loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


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


class Writer:
    """Runs requests on one connection, in the order in which they were submitted."""

    def __init__(
        self, connection: apsw.Connection, listener: TransactionListener, high_water: HighWater | None = None
    ) -> None:
        """Start the thread. Nothing else may use the connection and the record until `stop` has returned."""
        self._connection = connection
        self._high_water = high_water
        self._listener = listener
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = _IdleSignal()
        self._closed = False
        self._is_free = True  # whether no job waits and none uses the connection
        self._lock = threading.Lock()
        self._never = threading.Event()  # waits for a time span, where time.sleep waits until a time of the clock
        self._thread = threading.Thread(target=self._run, name="whence-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work, retry: Work | None = None, inline: Work | None = None) -> "asyncio.Future[Any]":
        """Run `work` inside the next commit; the future is done once that is durable.

        When a request of that commit raises, all of it is rolled back, and `retry`, or else `work` again, runs in a
        savepoint of its own. The future raises what that raised, or Unavailable when the commit failed.

        `inline` does the same as `work`. It runs on the caller's thread if the writer is free. When it raises, for
        example because it would take long, it is rolled back and `work` runs on the writer's thread.
        """
        job = _Job(work, retry or work, asyncio.get_running_loop())
        with self._lock:
            if self._closed:
                job.error = Unavailable("The store is closing.")
                job.resolve()
            else:
                if inline is not None and self._is_free:
                    self._run_inline(job, inline)
                self._is_free = False
                self._jobs.put(job)
        return job.future

    def _run_inline(self, job: _Job, inline: Work) -> None:
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
        """Return while the writer does not compute, as at every commit, or after a short time in any case."""
        await self._idle.wait()

    def stop(self) -> None:
        """Finish what was submitted, then end the thread. Harmless when repeated."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            group: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                group.append(job)
                if job.ran_inline or len(group) >= _GROUP_MAX:
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
                    waiting = self._jobs.qsize()
                    self._is_free = not waiting
                self._resolve(group)
                if 0 < waiting < _JOINED_MAX:  # else the next one may run inline, and its commit must not wait
                    self._never.wait(_JOIN_S)

    def _commit_group(self, group: list[_Job]) -> None:
        """Run a group in one transaction; afterwards every job has its result or its error. Never raises."""
        try:
            self._run_group(group)
            self._idle.set_idle()
            self._connection.execute("COMMIT")
            self._listener.group_committed()
            if self._high_water is not None:
                self._high_water.record()
        except Exception as error:
            self._roll_back()
            for job in group:
                job.error = Unavailable("The store could not commit. Send the event again with the same id.")
            _log_error("commit failed", error=error, requests=len(group))

    def _run_group(self, group: list[_Job]) -> None:
        """Run a group in a transaction, which is left open. A job that ran inline is alone in its group."""
        if group[0].ran_inline:
            return
        self._idle.set_busy()
        self._connection.execute("BEGIN IMMEDIATE")
        if not self._run_without_savepoints(group):
            self._connection.execute("BEGIN IMMEDIATE")
            for job in group:
                self._run_in_savepoint(job)
        self._advance_high_water()

    def _advance_high_water(self) -> None:
        if self._high_water is not None:
            self._high_water.advance(self._connection)

    def _run_without_savepoints(self, group: list[_Job]) -> bool:
        """Run the jobs without savepoints. Returns False, with everything rolled back, when one raises.

        Raises only when SQLite itself has rolled back, on a full disk or an I/O error.
        """
        try:
            for job in group:
                job.result = job.work(self._connection)
                self._listener.request_released()
        except Exception:
            if not self._connection.in_transaction:
                raise
            self._roll_back()
            return False
        return True

    def _run_in_savepoint(self, job: _Job) -> None:
        """Run one job in its savepoint. Raises only when SQLite itself has rolled back the transaction."""
        execute = self._connection.execute
        execute("SAVEPOINT request")
        try:
            job.result = job.retry(self._connection)
            execute("RELEASE request")
            self._listener.request_released()
        except Exception as error:
            if not self._connection.in_transaction:
                raise
            execute("ROLLBACK TO request")
            execute("RELEASE request")
            self._listener.request_rolled_back()
            job.error = error
            if isinstance(error, apsw.Error):
                job.error = Unavailable("The store could not write. Send the event again with the same id.")
            if not isinstance(error, WhenceError):
                _log_error("request failed", error=error)

    def _roll_back(self) -> None:
        """Roll back what was not committed. After a commit whose record failed, the events stay: they are durable."""
        self._listener.group_rolled_back()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            _log_error("rollback failed", error=error)

    def _resolve(self, group: list[_Job]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for job in group:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, jobs in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve_all, jobs)
            except RuntimeError as error:
                _log_error("the event loop ended before its answers", error=error, requests=len(jobs))


def _log_error(what: str, *, error: Exception, **fields: object) -> None:
    """Log an error. The writer goes on even if the log cannot be written, on a full disk or a closed pipe."""
    with contextlib.suppress(OSError, ValueError):
        _log.error(what, error=type(error).__name__, exc_info=error, **fields)


def _resolve_all(jobs: list[_Job]) -> None:
    for job in jobs:
        job.resolve()
