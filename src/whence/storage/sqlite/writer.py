"""The writer: one connection, and the requests that wait for it, which share a transaction and its commit.

Where they run is left to two kinds of it. A process that does much else has a thread for them (thread_writer.py). One
that only writes runs them on its event loop (loop_writer.py).

A savepoint copies each page that is changed after it, so a group of requests first runs without savepoints. If one of
them raises, the whole group is rolled back and run again, each request in a savepoint of its own, so that only the
failing ones fail. If the commit fails, every request of the group fails, and the next group goes on.
"""

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import apsw
import structlog

from whence.errors import Unavailable, WhenceError
from whence.storage.sqlite.highwater import HighWater

__all__ = ["GROUP_MAX", "Job", "TransactionListener", "Writer", "WriterWork"]

GROUP_MAX = 256
"""Requests in one commit. More of them would delay the first."""

_log = structlog.get_logger("whence.storage")

WriterWork = Callable[[apsw.Connection], Any]
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


class Job:
    """A request: its work, and the future that has its result once that is durable."""

    __slots__ = ("error", "future", "loop", "ran_inline", "result", "retry", "work")

    def __init__(self, work: WriterWork, retry: WriterWork, loop: asyncio.AbstractEventLoop) -> None:
        """`retry` is the work for a savepoint of its own; `loop` is where the future is awaited."""
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


class Writer(ABC):
    """Runs requests on one connection, in the order in which they were submitted."""

    def __init__(
        self, connection: apsw.Connection, listener: TransactionListener, high_water: HighWater | None = None
    ) -> None:
        """Nothing else may use the connection and the record until `stop` has returned."""
        self._connection = connection
        self._listener = listener
        self._high_water = high_water
        self._closed = False
        self._lock = threading.Lock()

    def submit(
        self, work: WriterWork, retry: WriterWork | None = None, inline: WriterWork | None = None
    ) -> "asyncio.Future[Any]":
        """Run `work` inside the next commit; the future is done once that is durable.

        When a request of that commit raises, all of it is rolled back, and `retry`, or else `work` again, runs in a
        savepoint of its own. The future raises what that raised, or Unavailable when the commit failed.

        `inline` does the same as `work`, and raises if it would take long. A writer with a thread may run it on the
        caller's thread. When it raises, it is rolled back, and `work` runs as ever.
        """
        job = Job(work, retry or work, asyncio.get_running_loop())
        with self._lock:
            if self._closed:
                job.error = Unavailable("The store is closing.")
                job.resolve()
            else:
                self._accept(job, inline)
        return job.future

    @abstractmethod
    def _accept(self, job: Job, inline: WriterWork | None) -> None:
        """Run a job soon. Called with the lock held, and not after `stop`."""

    @abstractmethod
    async def wait_for_idle_writer(self) -> None:
        """Return while the writer does not compute, as at every commit, or after a short time in any case."""

    @abstractmethod
    def stop(self) -> None:
        """Finish what was submitted, and take no more. Harmless when repeated. May be called from any thread."""

    def _commit_group(self, group: list[Job]) -> None:
        """Run a group in one transaction; afterwards every job has its result or its error. Never raises."""
        try:
            self._run_group(group)
            self._connection.execute("COMMIT")
            self._listener.group_committed()
            if self._high_water is not None:
                self._high_water.record()
        except Exception as error:
            self._roll_back()
            for job in group:
                job.error = Unavailable("The store could not commit. Send the event again with the same id.")
            _log_error("commit failed", error=error, requests=len(group))

    def _run_group(self, group: list[Job]) -> None:
        """Run a group in a transaction, which is left open."""
        self._connection.execute("BEGIN IMMEDIATE")
        if not self._run_without_savepoints(group):
            self._connection.execute("BEGIN IMMEDIATE")
            for job in group:
                self._run_in_savepoint(job)
        self._advance_high_water()

    def _advance_high_water(self) -> None:
        if self._high_water is not None:
            self._high_water.advance(self._connection)

    def _run_without_savepoints(self, group: list[Job]) -> bool:
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

    def _run_in_savepoint(self, job: Job) -> None:
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

    def _resolve(self, group: list[Job]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
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


def _resolve_all(jobs: list[Job]) -> None:
    for job in jobs:
        job.resolve()
