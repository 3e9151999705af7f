"""The threads that send events: a few for any number of queues. Each step runs in one thread at a time."""

import heapq
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable

from whence.client.at_exit import exit_has_begun, note_exit
from whence.client.fork_safety import register_fork_safe
from whence.client.reentrancy import GuardedCondition, guard

__all__ = ["SenderThreads", "Step"]

_log = logging.getLogger("whence")
_RETRY_AFTER_EXCEPTION_S = 5.0
_SURPLUS_IDLE_S = 1.0  # how long an idle thread waits for work while another one is idle too


Step = Callable[[], float | None]
"""Does a piece of work. Returns the seconds until the next one is due, or None to wait for `SenderThreads.wake`.

Two bound methods of one object are the same step.
"""


class SenderThreads:
    """Runs steps when they are due. Threads start with the first event. They end with `stop`, and when the last user is
    gone and nothing is due.

    The threads are daemons, so an emitter has to be closed before the process exits.
    """

    def __init__(self, threads_max: int = 4) -> None:
        self._threads_max = threads_max
        self._users: set[int] = set()  # by their `id`
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Start without threads and with nothing due."""
        self._changed = GuardedCondition()
        # Entries are never removed when a step is rescheduled; one that differs from `_due` is stale.
        self._heap: list[tuple[float, int, Step]] = []
        self._order = itertools.count()
        self._due: dict[Step, float] = {}
        self._running: set[Step] = set()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._stops = 0  # a thread ends when this is not what it was at its start

    def attach(self, user: object) -> None:
        """Count on this object to call `wake` for as long as it exists. A step that is due keeps its object alive."""
        self._users.add(id(user))
        weakref.finalize(user, self._detach, id(user)).atexit = False

    def _detach(self, user_id: int) -> None:
        """The user is gone. The collector calls this in any thread, between any two instructions."""
        self._users.discard(user_id)
        if not self._users and not exit_has_begun():  # later, a thread that no longer runs may hold the lock
            guard.defer(self._wake_idle)

    def _wake_idle(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def start(self) -> bool:
        """Make sure that there is a thread. False when none can run any more, since the process is exiting.

        If the system allows no further thread now, this returns True, and the next `wake` tries again.
        """
        if self._threads:
            return True
        with self._changed:
            if not self._threads:
                self._start_thread()
            return bool(self._threads) or not exit_has_begun()

    def wake(self, step: Step, delay_s: float = 0.0) -> None:
        """Run this step in at most `delay_s` seconds."""
        with self._changed:
            self._schedule(step, time.monotonic() + delay_s)

    def is_own_thread(self) -> bool:
        """Whether the caller runs in a thread of this sender, which must not wait for the others."""
        return threading.get_ident() in {thread.ident for thread in list(self._threads)}

    def stop(self, timeout_s: float) -> None:
        """End the threads and wait for them, but for that of the caller. A later `wake` starts new ones."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._stops += 1
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            if thread.ident != threading.get_ident():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _schedule(self, step: Step, due: float) -> None:
        if self._due.get(step, float("inf")) <= due:
            return
        if step not in self._running:  # else `_run_next` pushes it when it ends
            self._push(step, due)
            self._call_thread()
        self._due[step] = due  # last: an exception of a signal handler may prevent the lines above

    def _has_due(self) -> bool:
        """Remove stale entries from the top of the heap; returns whether there is another one."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return bool(self._heap)

    def _push(self, step: Step, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._order), step))

    def _call_thread(self) -> None:
        """Wake an idle thread, or start one if all are running a step."""
        if self._idle:
            self._changed.notify()
        elif len(self._running) >= len(self._threads):
            self._start_thread()

    def _start_thread(self) -> None:
        if exit_has_begun() or len(self._threads) >= self._threads_max:
            return
        thread = threading.Thread(target=self._work, args=(self._stops,), name="whence-sender", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:
            self._threads.discard(thread)
            if "shutdown" in str(error):  # since Python 3.12: "can't create new thread at interpreter shutdown"
                note_exit()
        except BaseException:  # of a signal handler; the thread runs or not, and if it does, adds itself
            self._threads.discard(thread)
            raise

    def _work(self, stops: int) -> None:
        try:
            self._threads.add(threading.current_thread())
            while self._run_next(stops):
                pass
        finally:
            with self._changed:
                self._threads.discard(threading.current_thread())

    def _run_next(self, stops: int) -> bool:
        """Wait for a step that is due, and run it. False when this thread has to end."""
        with self._changed:
            step = self._wait_for_due(stops)
        if step is None:
            return False
        try:
            delay_s = step()
        except BaseException:  # one failing emitter must not stop the others; SystemExit would end the thread
            _log.exception("Sending events failed unexpectedly. It will be retried.")
            delay_s = _RETRY_AFTER_EXCEPTION_S
        with self._changed:
            self._running.discard(step)
            due = self._due.pop(step, float("inf"))
            if delay_s is not None:
                due = min(due, time.monotonic() + delay_s)
            if due < float("inf"):
                self._due[step] = due
                self._push(step, due)  # this thread waits for it, unless another one is faster
        return True  # without a reference to the step: an idle thread must not keep its object alive

    def _wait_for_due(self, stops: int) -> Step | None:
        """Wait for the next due step; None when this thread has to end. The caller holds the lock."""
        while self._stops == stops:
            wait_s = self._heap[0][0] - time.monotonic() if self._has_due() else None
            if wait_s is not None and wait_s <= 0:
                step = heapq.heappop(self._heap)[2]
                del self._due[step]
                self._running.add(step)
                if self._has_due():
                    self._call_thread()  # the others need not wait for this one
                return step
            if wait_s is None and not self._users:
                break
            surplus = self._idle > 0
            self._idle += 1
            notified = self._changed.wait(min(wait_s or _SURPLUS_IDLE_S, _SURPLUS_IDLE_S) if surplus else wait_s)
            self._idle -= 1
            if surplus and not notified and self._idle:
                self._changed.notify()  # the other one has to wait for what this one waited for
                break
        self._threads.discard(threading.current_thread())  # with the lock held: the next `wake` starts another one
        return None
