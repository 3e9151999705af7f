"""Locks for which a signal handler never waits while the thread that it interrupted holds them.

Python runs signal handlers, and finalizers such as `__del__`, between two instructions of whatever a thread is doing,
also while that thread holds a lock. If such code emits an event, it cannot wait for the lock, and must not change what
the lock protects. So every lock of the client is taken through a `GuardedCondition` or inside of `guard`, and `guard`
knows the threads that are inside. `Emitter.put` asks it first.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import Self

from whence.client.fork_safety import register_fork_safe

__all__ = ["GuardedCondition", "guard", "is_on_event_loop"]

_log = logging.getLogger("whence")


def is_on_event_loop() -> bool:
    """Whether this thread is running an event loop of asyncio, which must not wait for anything."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Guard:
    """Which threads are inside the client's locked code, and what is to be done when they have left it.

    An interrupted method is safe, since whatever interrupts it enters as often as it leaves.
    """

    def __init__(self) -> None:
        self._depths: dict[int, int] = {}
        self._deferred: deque[tuple[Callable[[], object], bool]] = deque()
        self._running: set[int] = set()  # threads that are running what was deferred
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Forget the threads that the child does not have, and what they left to do."""
        own = self._depths.get(get_ident())
        self._depths = {} if own is None else {get_ident(): own}
        self._deferred.clear()
        self._running.clear()

    def is_inside(self) -> bool:
        """Whether this thread is inside: the caller then runs in a signal handler or a finalizer."""
        return get_ident() in self._depths

    def enter(self) -> None:
        """Begin locked code. It may be nested."""
        ident = get_ident()
        self._depths[ident] = self._depths.get(ident, 0) + 1

    def leave(self) -> None:
        """End locked code. Whoever leaves does what was deferred."""
        ident = get_ident()
        depth = self._depths.get(ident, 1) - 1
        if depth:
            self._depths[ident] = depth
        else:
            self._depths.pop(ident, None)
            if self._deferred:
                self._run_deferred()

    def suspend(self) -> int:
        """Leave in order to wait for a condition; returns the depth to `resume` with."""
        return self._depths.pop(get_ident(), 0)

    def resume(self, depth: int) -> None:
        """Enter again after waiting."""
        self._depths[get_ident()] = depth

    def defer(self, action: Callable[[], object], *, raises: bool = False) -> None:
        """Do this as soon as a thread leaves; at once if this thread is not inside.

        Errors are logged, unless `raises`.
        """
        self._deferred.append((action, raises))
        if not self.is_inside():
            self._run_deferred()

    def _run_deferred(self) -> None:
        ident = get_ident()
        if ident in self._running:
            return  # an action has left: the loop below goes on with the next one
        self._running.add(ident)
        try:
            while self._deferred:
                self._run_next()
        finally:
            self._running.discard(ident)

    def _run_next(self) -> None:
        try:
            action, raises = self._deferred.popleft()
        except IndexError:
            return  # another thread was faster
        try:
            action()
        except Exception:  # the code that was interrupted has nothing to do with it
            if raises:
                raise
            _log.exception("An event of a signal handler or finalizer could not be handled.")


guard = _Guard()
"""The guard of this process, for all locks of all clients."""


class GuardedCondition:
    """A condition, as that of `threading`, with a lock that is taken inside of `guard`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)

    def acquire(self, timeout_s: float = -1) -> bool:
        """Take the lock; returns whether this happened within the time. -1 means without a limit."""
        guard.enter()
        acquired = False
        try:
            acquired = self._lock.acquire(timeout=timeout_s)
        finally:
            if not acquired:
                guard.leave()
        return acquired

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()
        guard.leave()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Release the lock until `notify`; returns whether it came within the time."""
        depth = guard.suspend()
        try:
            return self._condition.wait(timeout_s)
        finally:
            guard.resume(depth)

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until the predicate holds; returns whether this happened within the time."""
        depth = guard.suspend()

        def is_true() -> bool:
            guard.resume(depth)
            try:
                return predicate()
            finally:
                guard.suspend()

        try:
            return self._condition.wait_for(is_true, timeout_s)
        finally:
            guard.resume(depth)

    def notify(self) -> None:
        """Wake one waiting thread."""
        self._condition.notify()

    def notify_all(self) -> None:
        """Wake all waiting threads."""
        self._condition.notify_all()
