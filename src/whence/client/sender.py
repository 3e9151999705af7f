"""The threads that send events: a few for any number of emitters. Each emitter runs in one thread at a time."""

import heapq
import itertools
import logging
import threading
import time
from typing import Protocol

from whence.client.at_exit import exit_has_begun, note_exit
from whence.client.fork_safety import register_fork_safe
from whence.client.reentrancy import GuardedCondition

__all__ = ["Sender", "Steppable"]

_log = logging.getLogger("whence")
_RETRY_AFTER_EXCEPTION_S = 5.0
_SURPLUS_IDLE_S = 1.0  # how long an idle thread waits for work while another one is idle too


class Steppable(Protocol):
    """An object that does its work in steps."""

    def step(self) -> float | None:
        """Do one step. Returns the seconds until the next one is due, or None to wait for `Sender.wake`."""
        ...


class Sender:
    """Runs emitters when they are due. Threads start with the first event, and end with `stop`.

    The threads are daemons, so an emitter has to be closed before the process exits.
    """

    def __init__(self, threads_max: int = 4) -> None:
        self._threads_max = threads_max
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Start without threads and with nothing due."""
        self._changed = GuardedCondition()
        # Entries are never removed when an emitter is rescheduled; one that differs from `_due` is stale.
        self._heap: list[tuple[float, int, Steppable]] = []
        self._order = itertools.count()
        self._due: dict[Steppable, float] = {}
        self._running: set[Steppable] = set()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._stops = 0  # a thread ends when this is not what it was at its start

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

    def wake(self, emitter: Steppable, delay_s: float = 0.0) -> None:
        """Run this emitter in at most `delay_s` seconds."""
        with self._changed:
            self._schedule(emitter, time.monotonic() + delay_s)

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

    def _schedule(self, emitter: Steppable, due: float) -> None:
        if self._due.get(emitter, float("inf")) <= due:
            return
        if emitter not in self._running:  # else `_run_next` pushes it when its step ends
            self._push(emitter, due)
            self._call_thread()
        self._due[emitter] = due  # last: an exception of a signal handler may prevent the lines above

    def _has_due(self) -> bool:
        """Remove stale entries from the top of the heap; returns whether there is another one."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return bool(self._heap)

    def _push(self, emitter: Steppable, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._order), emitter))

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
        """Wait for an emitter that is due, and run one step of it. False when this thread has to end."""
        with self._changed:
            emitter = self._wait_for_due(stops)
        if emitter is None:
            return False
        try:
            delay_s = emitter.step()
        except BaseException:  # one failing emitter must not stop the others; SystemExit would end the thread
            _log.exception("Sending events failed unexpectedly. It will be retried.")
            delay_s = _RETRY_AFTER_EXCEPTION_S
        with self._changed:
            self._running.discard(emitter)
            due = self._due.pop(emitter, float("inf"))
            if delay_s is not None:
                due = min(due, time.monotonic() + delay_s)
            if due < float("inf"):
                self._due[emitter] = due
                self._push(emitter, due)  # this thread waits for it, unless another one is faster
        return True  # without a reference to the emitter: an idle thread must not keep it alive

    def _wait_for_due(self, stops: int) -> Steppable | None:
        """Wait for the next due emitter; None when this thread has to end. The caller holds the lock."""
        while self._stops == stops:
            wait_s = self._heap[0][0] - time.monotonic() if self._has_due() else None
            if wait_s is not None and wait_s <= 0:
                emitter = heapq.heappop(self._heap)[2]
                del self._due[emitter]
                self._running.add(emitter)
                if self._has_due():
                    self._call_thread()  # the others need not wait for this one
                return emitter
            surplus = self._idle > 0
            self._idle += 1
            notified = self._changed.wait(min(wait_s or _SURPLUS_IDLE_S, _SURPLUS_IDLE_S) if surplus else wait_s)
            self._idle -= 1
            if surplus and not notified and self._idle:
                self._changed.notify()  # the other one has to wait for what this one waited for
                return None
        return None
