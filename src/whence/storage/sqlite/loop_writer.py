"""A writer without a thread, for a process that only writes.

Its event loop has nothing to do meanwhile but to take in what is to be written next, so it may wait for the disk
itself. No thread waits for the GIL, and none has to be woken for a commit and again for its results. What comes in
during a commit is the next group.
"""

from collections import deque

import apsw

from whence.storage.sqlite.highwater import HighWater
from whence.storage.sqlite.writer import GROUP_MAX, Job, TransactionListener, Writer, WriterWork

__all__ = ["LoopWriter"]


class LoopWriter(Writer):
    """Runs requests on the event loop that submits them, which has to be the same one always."""

    def __init__(
        self, connection: apsw.Connection, listener: TransactionListener, high_water: HighWater | None = None
    ) -> None:
        """As `Writer`."""
        super().__init__(connection, listener, high_water)
        self._waiting: deque[Job] = deque()

    def _accept(self, job: Job, inline: WriterWork | None) -> None:
        """The group runs once the callbacks that are due now have submitted theirs."""
        self._waiting.append(job)
        if len(self._waiting) == 1:
            job.loop.call_soon(self._run_next)

    def _run_next(self) -> None:
        with self._lock:
            group = self._commit_next()
        for job in group:
            job.resolve()

    def _commit_next(self) -> list[Job]:
        """Commit a group of those that wait, if any do."""
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_MAX))]
        if group:
            self._commit_group(group)
        if self._waiting and not self._closed:
            self._waiting[0].loop.call_soon(self._run_next)
        return group

    async def wait_for_idle_writer(self) -> None:
        """Return at once: the writer never computes while a task runs."""

    def stop(self) -> None:
        """Commit what waits; see `Writer`."""
        with self._lock:
            self._closed = True
            while self._waiting:
                self._resolve(self._commit_next())
