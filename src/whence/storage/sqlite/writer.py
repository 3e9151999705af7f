"""The writer: one connection, on which one thread joins what waits into one commit, and never dies.

A savepoint copies each page that is changed behind it, so a group first runs without any. When something in it raises,
all of it is undone and run again, each request in a savepoint of its own, and only those fail that are to blame. When
the commit fails, every request of the group fails, and the writer goes on with the next group.

Python's lock lets one thread compute at a time, and a thread that works beside a busy event loop waits for that lock at
every statement. So a brief request that finds the writer free runs where it was submitted, at once and alone, and only
its commit, which waits for the disk, is the thread's.
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

__all__ = ["Participant", "Writer"]

_GROUP_MAX = 256
"""Requests in one commit. More would only make the first of them wait."""

_PATIENCE_S = 0.1
"""How long to wait for the writer to be idle: longer than an append computes, and too short to hide that the writer is
overloaded or stuck."""

_log = structlog.get_logger("whence.storage")

Work = Callable[[apsw.Connection], Any]
"""What a request does inside a transaction. It may be undone and called again."""


class Participant(Protocol):
    """What keeps state beside the database and must follow its transactions."""

    def request_done(self) -> None:
        """The request's savepoint was released."""

    def request_undone(self) -> None:
        """The request's savepoint was rolled back."""

    def group_done(self) -> None:
        """The commit is durable."""

    def group_undone(self) -> None:
        """The transaction was rolled back."""


class _Job:
    __slots__ = ("apart", "begun", "error", "future", "loop", "result", "work")

    def __init__(self, work: Work, apart: Work, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.apart = apart
        self.begun = False  # whether it ran already, in a transaction that is open
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Answer the waiting task; only on its own loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _IdleSignal:
    """The times at which the writer does not compute: it waits for work, or for its commit.

    Python's lock lets one thread compute at a time, and a thread that waits for the disk does without. So long work
    of the event loop costs an append nothing in a wait_for_idle_writer, and all of its own time outside of one.
    """

    def __init__(self) -> None:
        self._computing = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def end(self) -> None:
        """The writer computes from now on. Only on its thread."""
        self._computing = True

    def begin(self) -> None:
        """The writer waits from now on. Only on its thread; harmless when repeated."""
        self._computing = False
        with contextlib.suppress(IndexError, RuntimeError):  # nobody waits, or their loop is closed
            self._waiting[0].get_loop().call_soon_threadsafe(self._let_go)

    async def next(self) -> None:
        """Return when the writer is idle, waiting tasks in the order of their calls; or after `_PATIENCE_S`."""
        if not self._computing and not self._waiting:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        if not self._computing:  # a wait_for_idle_writer began between the two looks and saw nobody waiting
            self._let_go()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await future

    def _let_go(self) -> None:
        """Wake the first who waits, and the next one once that one has worked, if the wait_for_idle_writer lasts."""
        if self._computing or not self._waiting:
            return
        future = self._waiting.popleft()
        if not future.done():
            future.set_result(None)
        future.get_loop().call_soon(self._let_go)


class Writer:
    """Runs pieces of work on one connection, in the order in which they came."""

    def __init__(
        self, connection: apsw.Connection, participant: Participant, high_water: HighWater | None = None
    ) -> None:
        """Start the thread. The connection and the record are the writer's alone until `stop` returned."""
        self._connection = connection
        self._high_water = high_water
        self._participant = participant
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = _IdleSignal()
        self._closed = False
        self._free = True  # whether nothing waits and nobody uses the connection
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="whence-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work, apart: Work | None = None, inline: Work | None = None) -> "asyncio.Future[Any]":
        """Run `work` inside the next commit; the future is done once that is durable.

        When something in that commit raised, all of it is undone and `apart`, or else `work` again, runs in a savepoint
        of its own. The future raises what that raised, or Unavailable when the commit failed.

        `inline` is the same as `work`. It holds up the caller when the writer is free, and may raise to say that it
        would for long; then `work` runs as if there were no `inline`.
        """
        job = _Job(work, apart or work, asyncio.get_running_loop())
        with self._lock:
            if self._closed:
                job.error = Unavailable("The store is closing.")
                job.settle()
            else:
                if inline is not None and self._free:
                    self._begin_inline(job, inline)
                self._free = False
                self._jobs.put(job)
        return job.future

    def _begin_inline(self, job: _Job, inline: Work) -> None:
        """Run a job on this thread, in a transaction that is left open for the writer's thread; or leave no trace.

        The connection is nobody else's: the writer is free, and the caller has the lock until the job is in the queue.
        """
        self._connection.set_busy_timeout(0)  # another process that writes would hold up the event loop
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            job.result = inline(self._connection)
            self._participant.request_done()
            self._advance()
            job.begun = True
        except BaseException as error:
            self._undo_group()
            if not isinstance(error, Exception):
                raise
        finally:
            self._connection.set_busy_timeout(BUSY_MS)

    async def wait_for_idle_writer(self) -> None:
        """Return at a moment when the writer does not compute, which comes at every commit; but soon in any case."""
        await self._idle.next()

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
                if job.begun or len(group) >= _GROUP_MAX:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            more = job is not None
            if group:
                self._commit_group(group)
                self._idle.begin()
                with self._lock:
                    self._free = self._jobs.empty()
                self._settle(group)

    def _commit_group(self, group: list[_Job]) -> None:
        """Run a group in one transaction; afterwards every job has its result or its error. Never raises."""
        try:
            self._begin(group)
            self._idle.begin()
            self._connection.execute("COMMIT")
            self._participant.group_done()
            if self._high_water is not None:
                self._high_water.record()
        except Exception as error:
            self._undo_group()
            for job in group:
                job.error = Unavailable("The store could not commit. Send the event again with the same id.")
            _tell("commit failed", error=error, requests=len(group))

    def _begin(self, group: list[_Job]) -> None:
        """Run a group in a transaction, which is left open. One that was begun where it was submitted is alone."""
        if group[0].begun:
            return
        self._idle.end()
        self._connection.execute("BEGIN IMMEDIATE")
        if not self._run_together(group):
            self._connection.execute("BEGIN IMMEDIATE")
            for job in group:
                self._run_apart(job)
        self._advance()

    def _advance(self) -> None:
        if self._high_water is not None:
            self._high_water.advance(self._connection)

    def _run_together(self, group: list[_Job]) -> bool:
        """Run the jobs without savepoints; whether none raised, else everything is undone.

        Raises only when SQLite itself has undone the transaction: on a full disk, or an I/O error.
        """
        try:
            for job in group:
                job.result = job.work(self._connection)
                self._participant.request_done()
        except Exception:
            if not self._connection.in_transaction:
                raise
            self._undo_group()
            return False
        return True

    def _run_apart(self, job: _Job) -> None:
        """Run one job in its savepoint. Raises only when SQLite itself has undone the transaction."""
        execute = self._connection.execute
        execute("SAVEPOINT request")
        try:
            job.result = job.apart(self._connection)
            execute("RELEASE request")
            self._participant.request_done()
        except Exception as error:
            if not self._connection.in_transaction:
                raise
            execute("ROLLBACK TO request")
            execute("RELEASE request")
            self._participant.request_undone()
            job.error = error
            if isinstance(error, apsw.Error):
                job.error = Unavailable("The store could not write. Send the event again with the same id.")
            if not isinstance(error, WhenceError):
                _tell("request failed", error=error)

    def _undo_group(self) -> None:
        """Roll back what was not committed. Harmless behind a commit whose record failed: that is durable."""
        self._participant.group_undone()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            _tell("rollback failed", error=error)

    def _settle(self, group: list[_Job]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for job in group:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, jobs in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle_all, jobs)
            except RuntimeError as error:
                _tell("the event loop ended before its answers", error=error, requests=len(jobs))


def _tell(what: str, *, error: Exception, **more: object) -> None:
    """Log an error. Where that cannot be written, on a full disk or a closed pipe, the writer goes on all the same."""
    with contextlib.suppress(OSError, ValueError):
        _log.error(what, error=type(error).__name__, exc_info=error, **more)


def _settle_all(jobs: list[_Job]) -> None:
    for job in jobs:
        job.settle()
