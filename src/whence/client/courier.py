"""Threads that carry events away: a few for any number of emitters, each emitter in one thread at a time."""

import heapq
import itertools
import logging
import threading
import time
from typing import Protocol

from whence.client.forks import survive_forks

__all__ = ["Courier", "Stepping"]

_log = logging.getLogger("whence")
_AFTER_A_FAULT_S = 5.0


class Stepping(Protocol):
    """Something that does its work in steps."""

    def step(self) -> float | None:
        """One step. The seconds until the next one is due; None when there is none until it is woken."""
        ...


class Courier:
    """Runs emitters when they are due. Threads begin with the first event, and are daemons: who must not lose events
    at exit closes its emitters.
    """

    def __init__(self, threads_max: int = 4) -> None:
        self._threads_max = threads_max
        self.renew()
        survive_forks(self)

    def renew(self) -> None:
        """In a child there are no threads, and nothing is due."""
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Stepping]] = []
        self._order = itertools.count()
        self._due: dict[Stepping, float] = {}
        self._running: set[Stepping] = set()
        self._threads = 0
        self._idle = 0

    def wake(self, one: Stepping, in_s: float = 0.0) -> None:
        """Have it run in so many seconds at the latest."""
        with self._changed:
            self._schedule(one, time.monotonic() + in_s)

    def _schedule(self, one: Stepping, due: float) -> None:
        if self._due.get(one, float("inf")) <= due:
            return
        self._due[one] = due
        if one in self._running:
            return  # it is put into the heap after its step
        self._push(one, due)

    def _push(self, one: Stepping, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._order), one))
        if self._idle:
            self._changed.notify()
        elif self._threads < self._threads_max:
            self._threads += 1
            threading.Thread(target=self._work, name="whence-courier", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                one = self._await_due()
            try:
                again_s = one.step()
            except Exception:  # a fault in one emitter must not stop the others
                _log.exception("A step of sending events failed; it is tried again.")
                again_s = _AFTER_A_FAULT_S
            with self._changed:
                self._running.discard(one)
                due = self._due.pop(one, float("inf"))
                if again_s is not None:
                    due = min(due, time.monotonic() + again_s)
                if due < float("inf"):
                    self._due[one] = due
                    self._push(one, due)
            del one  # an idle thread must not keep an emitter alive

    def _await_due(self) -> Stepping:
        """The next emitter, as soon as it is due; the caller holds the lock."""
        while True:
            while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
                heapq.heappop(self._heap)  # it was woken earlier since
            wait_s = self._heap[0][0] - time.monotonic() if self._heap else None
            if wait_s is not None and wait_s <= 0:
                one = heapq.heappop(self._heap)[2]
                del self._due[one]
                self._running.add(one)
                return one
            self._idle += 1
            self._changed.wait(wait_s)
            self._idle -= 1
