"""The threads that send events: a few for any number of emitters. Each emitter runs in one thread at a time."""

import heapq
import itertools
import logging
import threading
import time
from typing import Protocol

from whence.client.fork_safety import register_fork_safe

__all__ = ["Sender", "Steppable"]

_log = logging.getLogger("whence")
_RETRY_AFTER_EXCEPTION_S = 5.0


class Steppable(Protocol):
    """An object that does its work in steps."""

    def step(self) -> float | None:
        """Do one step. Returns the seconds until the next one is due, or None to wait for `Sender.wake`."""
        ...


class Sender:
    """Runs emitters when they are due. Threads start with the first event.

    The threads are daemons, so an emitter has to be closed before the process exits.
    """

    def __init__(self, threads_max: int = 4) -> None:
        self._threads_max = threads_max
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Start without threads and with nothing due."""
        self._changed = threading.Condition()
        # Entries are never removed when an emitter is rescheduled; one that differs from `_due` is stale.
        self._heap: list[tuple[float, int, Steppable]] = []
        self._order = itertools.count()
        self._due: dict[Steppable, float] = {}
        self._running: set[Steppable] = set()
        self._threads = 0
        self._idle = 0

    def wake(self, emitter: Steppable, delay_s: float = 0.0) -> None:
        """Run this emitter in at most `delay_s` seconds."""
        with self._changed:
            self._schedule(emitter, time.monotonic() + delay_s)

    def _schedule(self, emitter: Steppable, due: float) -> None:
        if self._due.get(emitter, float("inf")) <= due:
            return
        self._due[emitter] = due
        if emitter in self._running:
            return  # `_work` pushes it when its step ends
        self._push(emitter, due)

    def _push(self, emitter: Steppable, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._order), emitter))
        if self._idle:
            self._changed.notify()
        elif self._threads < self._threads_max:
            self._threads += 1
            threading.Thread(target=self._work, name="whence-sender", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                emitter = self._wait_for_due()
            try:
                delay_s = emitter.step()
            except Exception:  # one failing emitter must not stop the others
                _log.exception("Sending events failed unexpectedly. It will be retried.")
                delay_s = _RETRY_AFTER_EXCEPTION_S
            with self._changed:
                self._running.discard(emitter)
                due = self._due.pop(emitter, float("inf"))
                if delay_s is not None:
                    due = min(due, time.monotonic() + delay_s)
                if due < float("inf"):
                    self._due[emitter] = due
                    self._push(emitter, due)
            del emitter  # an idle thread must not keep an emitter alive

    def _wait_for_due(self) -> Steppable:
        """Wait for the next due emitter. The caller holds the lock."""
        while True:
            while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
                heapq.heappop(self._heap)  # stale
            wait_s = self._heap[0][0] - time.monotonic() if self._heap else None
            if wait_s is not None and wait_s <= 0:
                emitter = heapq.heappop(self._heap)[2]
                del self._due[emitter]
                self._running.add(emitter)
                return emitter
            self._idle += 1
            self._changed.wait(wait_s)
            self._idle -= 1
