"""Locks for which a signal handler never waits while the thread that it interrupted holds them.

Python runs signal handlers, and finalizers such as `__del__`, between two instructions of whatever a thread is doing,
also while that thread holds a lock. If such code emits an event, it cannot wait for the lock, and must not change what
the lock protects. So every lock of the client is taken through a `GuardedCondition` or inside of `guard`, and `guard`
knows the threads that are inside. `Emitter.put` asks it first. One lock that is taken otherwise is enough to stop two
threads for ever: a handler that interrupted its holder waits for the emitter, and in the thread that has the emitter, a
finalizer waits for that lock.

A signal handler may also raise an exception, between any two lines of the client. A lock can then stay locked, and the
guard entered. So each entry names the frame that is inside: when that frame is no longer on the stack of its thread,
the entry is void, and the next call of the thread removes it and releases its lock.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from threading import get_ident
from types import FrameType, TracebackType
from typing import Self

from whence.client.fork_safety import register_fork_safe

__all__ = ["GuardedCondition", "Nesting", "guard", "is_on_event_loop", "is_raised_by_signal_handler"]

_log = logging.getLogger("whence")


def is_on_event_loop() -> bool:
    """Whether this thread is running an event loop of asyncio, which must not wait for anything.

    A loop imports asyncio. So it is not imported here: it takes a quarter of the time that the client takes to import.
    """
    events = sys.modules.get("asyncio.events")
    try:
        return events is not None and events.get_running_loop() is not None
    except (AttributeError, RuntimeError):  # another thread is just importing it; no loop is running
        return False


def is_raised_by_signal_handler(error: BaseException) -> bool:
    """Whether a signal handler raised this, and not the code that the handler interrupted.

    Python passes the interrupted frame to the handler. So in the traceback a frame is followed by one that has the
    former as an argument, which no ordinary call has.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        interrupted, called = trace.tb_frame, trace.tb_next.tb_frame
        for value in called.f_locals.values():
            if value is interrupted or (type(value) is tuple and any(item is interrupted for item in value)):
                return True
        trace = trace.tb_next
    return False


def _stack() -> set[FrameType]:
    """The frames of this thread."""
    frames = set()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        frames.add(frame)
        frame = frame.f_back
    return frames


class Nesting:
    """Bounds how deep calls of the program's own functions lie inside each other, in each thread.

    Such a function may emit events, for which it is called again. A call is known by its frame, so that one which an
    exception of a signal handler broke off counts no longer.
    """

    def __init__(self, depth_max: int) -> None:
        self._depth_max = depth_max
        self._frames: dict[int, list[FrameType]] = {}

    def enter(self) -> bool:
        """Begin a call, which the same frame has to `leave`. False, with nothing begun, if it would be too deep."""
        frames = self._frames.get(get_ident(), [])
        if frames:
            stack = _stack()
            frames = [frame for frame in frames if frame in stack]
        if len(frames) >= self._depth_max:
            return False
        self._frames[get_ident()] = [*frames, sys._getframe(1)]
        return True

    def leave(self) -> None:
        """End the call."""
        frames = [frame for frame in self._frames.pop(get_ident(), ()) if frame is not sys._getframe(1)]
        if frames:
            self._frames[get_ident()] = frames


class _Entry:
    """Locked code that a thread is in: until `frame` returns, or leaves it. `condition` is its lock, if it is one.

    While the frame `waiting` is on the stack, the thread waits for a condition, and is not inside.
    """

    __slots__ = ("condition", "frame", "waiting")

    def __init__(self, frame: FrameType, condition: "GuardedCondition | None") -> None:
        self.frame = frame
        self.condition = condition
        self.waiting: FrameType | None = None


class _Guard:
    """Which threads are inside the client's locked code, and what is to be done when they have left it.

    An interrupted method is safe: whatever interrupts it enters as often as it leaves, or raises an exception, and then
    `is_inside` removes what is left.
    """

    def __init__(self) -> None:
        self._entries: dict[int, list[_Entry]] = {}
        self._deferred: deque[tuple[Callable[[], object], int | None]] = deque()  # and the thread that has to do it
        self._running: dict[int, FrameType] = {}  # the frames that are running what was deferred, by thread
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Forget the threads that the child does not have, and what they left to do."""
        own = self._entries.get(get_ident())
        self._entries = {} if own is None else {get_ident(): own}
        self._deferred.clear()
        self._running.clear()

    def is_inside(self) -> bool:
        """Whether this thread is inside: the caller then runs in a signal handler or a finalizer."""
        entries = self._entries.get(get_ident())
        if entries is None:
            return False
        stack = _stack()
        valid = [entry for entry in entries if entry.frame in stack]
        if len(valid) < len(entries):
            self._remove_void(entries, valid)
        return any(entry.waiting is None or entry.waiting not in stack for entry in valid)

    def _remove_void(self, entries: list[_Entry], valid: list[_Entry]) -> None:
        """Leave locked code of which an exception broke off the end."""
        for entry in entries:
            if entry.condition is not None and all(other.condition is not entry.condition for other in valid):
                entry.condition.release_all()
        if valid:
            entries[:] = valid
            return
        self._entries.pop(get_ident(), None)
        if self._deferred:
            self._run_deferred()

    def enter(self, frame: FrameType | None = None, condition: "GuardedCondition | None" = None) -> None:
        """Begin locked code, which ends in `frame`: that of the caller by default. It may be nested."""
        entry = _Entry(frame or sys._getframe(1), condition)
        entries = self._entries.get(get_ident())
        if entries is None:
            self._entries[get_ident()] = [entry]
        else:
            entries.append(entry)

    def leave(self, condition: "GuardedCondition | None" = None) -> None:
        """End locked code, as it was entered. Whoever leaves does what was deferred."""
        entries = self._entries.get(get_ident(), [])
        if len(entries) == 1 and entries[0].condition is condition:
            entries = []  # as is usual, and quicker than the loop
        for index in reversed(range(len(entries))):
            if entries[index].condition is condition:
                del entries[index]
                break
        if not entries:
            self._entries.pop(get_ident(), None)
            if self._deferred:
                self._run_deferred()

    def holds(self, condition: "GuardedCondition") -> int:
        """How often this thread is inside with this lock."""
        held = 0
        for entry in self._entries.get(get_ident(), ()):  # a sum of a generator costs an `emit` two microseconds
            held += entry.condition is condition
        return held

    def suspend(self) -> list[_Entry]:
        """Leave while the frame of the caller waits for a condition; returns what to `resume` with."""
        entries = list(self._entries.get(get_ident(), ()))
        for entry in entries:
            entry.waiting = sys._getframe(1)
        return entries

    def resume(self, entries: list[_Entry]) -> None:
        """Enter again after waiting."""
        for entry in entries:
            entry.waiting = None

    def defer(self, action: Callable[[], object], *, raises: bool = False) -> None:
        """Do this as soon as a thread leaves; at once if this thread is not inside.

        Errors are logged, unless `raises`. Then this thread does it: it is that of a signal handler.
        """
        self._deferred.append((action, get_ident() if raises else None))
        if not self.is_inside():
            self._run_deferred()

    def _run_deferred(self) -> None:
        ident = get_ident()
        running = self._running.get(ident)
        if running is not None and running in _stack():
            return  # an action has left: the loop below goes on with the next one
        try:
            self._running[ident] = sys._getframe()
            others = 0
            while len(self._deferred) > others:
                others += not self._run_next()
        finally:
            self._running.pop(ident, None)

    def _run_next(self) -> bool:
        """Do the next one. False if that is for another thread, which keeps it."""
        try:
            action, thread = self._deferred.popleft()
        except IndexError:
            return True  # another thread was faster
        if thread not in (None, get_ident()):
            self._deferred.append((action, thread))
            return False
        try:
            action()
        except Exception as error:  # the code that was interrupted has nothing to do with it
            if thread is not None or is_raised_by_signal_handler(error):
                raise
            _log.exception("An event of a signal handler or finalizer could not be handled.")
        return True


guard = _Guard()
"""The guard of this process, for all locks of all clients."""


class GuardedCondition:
    """A condition, as that of `threading`, with a lock that is taken inside of `guard`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)

    def acquire(self, timeout_s: float = -1, frame: FrameType | None = None) -> bool:
        """Take the lock; returns whether this happened within the time. -1 means without a limit.

        `frame` is the one that releases it: that of the caller by default.
        """
        if guard.holds(self):
            guard.is_inside()  # an exception of a signal handler may have left it locked
        acquired = False
        try:
            guard.enter(frame or sys._getframe(1), self)
            acquired = self._lock.acquire(timeout=timeout_s)
        finally:
            if not acquired:
                guard.leave(self)
        return acquired

    def release(self) -> None:
        """Release the lock."""
        try:
            held = guard.holds(self)
            if held > 1:
                guard.is_inside()  # an exception of a signal handler may have left more of them
                held = guard.holds(self)
            if held > 1:
                self._lock.release()
            else:
                self.release_all()
        finally:
            guard.leave(self)

    def release_all(self) -> None:
        """Release the lock, however often this thread has taken it."""
        while self._lock._is_owned():  # type: ignore[attr-defined]  # as `threading.Condition` does
            self._lock.release()

    def __enter__(self) -> Self:
        self.acquire(frame=sys._getframe(1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Release the lock until `notify`; returns whether it came within the time."""
        entries = guard.suspend()
        try:
            return self._condition.wait(timeout_s)
        finally:
            guard.resume(entries)

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until the predicate holds; returns whether this happened within the time."""
        deadline = time.monotonic() + timeout_s
        while not predicate():
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not self.wait(left_s):
                return predicate()
        return True

    def notify(self) -> None:
        """Wake one waiting thread."""
        self._condition.notify()

    def notify_all(self) -> None:
        """Wake all waiting threads."""
        self._condition.notify_all()
