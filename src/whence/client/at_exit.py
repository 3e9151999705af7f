"""Closes emitters when the process exits: queued events are sent within a time limit, and the rest is spooled.

After that, and once no thread can be started any more, an event goes straight to the spool.
"""

import atexit
import functools
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from whence.client.fork_safety import register_fork_safe
from whence.client.reentrancy import guard

__all__ = ["ClosesAtExit", "close_all", "close_at_exit", "exit_has_begun", "flush_on_sigterm", "note_exit"]

_log = logging.getLogger("whence")

_FINALIZE_PRIORITY = 100  # higher runs first: before multiprocessing closes what its workers use


class ClosesAtExit(Protocol):
    """An object that sends its queued events when it is closed, and spools those that are left."""

    exit_timeout_s: float

    def begin_close(self) -> None:
        """Start to send the queued events at once. Unless the process exits, accept no more."""
        ...

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait at most `timeout_s` for the queued events; returns whether all were sent."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """As `close`, and go on."""
        ...


class _Exit:
    """Whether this process is exiting, and what has to be closed then."""

    def __init__(self) -> None:
        self.has_begun = self.is_finalized = False
        self.open: weakref.WeakSet[ClosesAtExit] = weakref.WeakSet()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """A child begins anew, also if its parent was exiting."""
        self.has_begun = self.is_finalized = False


_exit = _Exit()


def exit_has_begun() -> bool:
    """Whether this process is exiting. No thread may be started then: on Python 3.11 that would hang."""
    return _exit.has_begun or sys.is_finalizing()


def note_exit() -> None:
    """Called when Python refused to start a thread: since 3.12 it does that as soon as the process is exiting."""
    _exit.has_begun = True


def close_at_exit(instance: ClosesAtExit) -> None:
    """Close it when this process exits normally. After SIGKILL or `os._exit` nothing runs."""
    _exit.open.add(instance)
    # The children of multiprocessing skip atexit; they run only the finalizers of multiprocessing.util.
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if _exit.is_finalized or process is None or util is None or process.parent_process() is None:
        return
    _exit.is_finalized = True
    util.Finalize(None, close_all, exitpriority=_FINALIZE_PRIORITY)  # of no object: its end would close all others too


@atexit.register
def close_all() -> None:
    """Close everything that is open, within the longest of the time limits, however many there are."""
    _exit.has_begun = True
    for instance in list(_exit.open):
        _logged(instance.begin_close)
    _finish(lambda instance, timeout_s: instance.close(timeout_s))


def _flush_all() -> None:
    _finish(lambda instance, _timeout_s: instance.flush(0.0))  # all begin to send
    _finish(lambda instance, timeout_s: instance.flush(timeout_s))


def _finish(finish: Callable[[ClosesAtExit, float], object]) -> None:
    """Do this with all that is open, in the time that is left. What fails does not keep the others from it."""
    instances = list(_exit.open)
    deadline = time.monotonic() + max((instance.exit_timeout_s for instance in instances), default=0.0)
    for instance in instances:
        _logged(functools.partial(finish, instance, max(0.0, deadline - time.monotonic())))


def _logged(action: Callable[[], object]) -> None:
    try:
        action()
    except Exception:
        _log.exception("A client could not be closed.")


# ------------------------------------------------------------------------------------------------------------- signals


def flush_on_sigterm() -> None:
    """From now on, send the queued events when SIGTERM comes, and spool what is left; then do what was done before.

    Only the main thread can install a handler. In another one this logs a warning.
    """
    if threading.current_thread() is not threading.main_thread():
        _log.warning("flush_on_signals has no effect, since this client was not created in the main thread.")
        return
    previous = signal.getsignal(signal.SIGTERM)
    if isinstance(previous, _SigtermHandler):
        return
    signal.signal(signal.SIGTERM, _SigtermHandler(previous))


class _SigtermHandler:
    """Sends or spools all events, and passes the signal on to the handler that was there before."""

    def __init__(self, previous: Any) -> None:
        self._previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        # If the signal interrupted the client while it held a lock, this waits until the lock is free.
        guard.defer(lambda: self._handle(number, frame), raises=True)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if callable(self._previous):
            _flush_all()
            self._previous(number, frame)
        elif self._previous == signal.SIG_DFL:
            close_all()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
