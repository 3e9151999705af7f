"""Closes emitters when the process exits: queued events are sent within a time limit, and the rest is spooled."""

import atexit
import sys
import time
import weakref
from typing import Protocol

__all__ = ["ClosesAtExit", "close_all", "close_at_exit"]

_FINALIZE_PRIORITY = 100  # higher runs first: before multiprocessing closes what its workers use


class ClosesAtExit(Protocol):
    """An object that sends its queued events when it is closed, and spools those that are left."""

    exit_timeout_s: float

    def begin_close(self) -> None:
        """Accept no more events, and start to send the queued ones at once."""
        ...

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait at most `timeout_s` for the queued events; returns whether all were sent."""
        ...


_open: "weakref.WeakSet[ClosesAtExit]" = weakref.WeakSet()


def close_at_exit(instance: ClosesAtExit) -> None:
    """Close it when this process exits normally. After SIGKILL or `os._exit` nothing runs."""
    _open.add(instance)
    # The children of multiprocessing skip atexit; they run only the finalizers of multiprocessing.util.
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(instance, close_all, exitpriority=_FINALIZE_PRIORITY)


@atexit.register
def close_all() -> None:
    """Close everything that is open, within the longest of the time limits, however many there are."""
    instances = list(_open)
    for instance in instances:
        instance.begin_close()
    deadline = time.monotonic() + max((instance.exit_timeout_s for instance in instances), default=0.0)
    for instance in instances:
        instance.close(max(0.0, deadline - time.monotonic()))
