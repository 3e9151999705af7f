"""The end of the process: what waits is sent within a bounded time, and the rest is spooled."""

import atexit
import sys
import time
import weakref
from typing import Protocol

__all__ = ["Closing", "close_at_exit"]

_FIRST = 100  # before the workers of a pool let go of what they work with


class Closing(Protocol):
    """Something that sends what it has, and then leaves the rest on disk."""

    exit_timeout_s: float

    def begin_close(self) -> None:
        """Take no more, and begin to send at once."""
        ...

    def close(self, timeout_s: float | None = None) -> bool:
        """Wait so long for it."""
        ...


_open: "weakref.WeakSet[Closing]" = weakref.WeakSet()


def close_at_exit(one: Closing) -> None:
    """Have it closed when this process ends by itself. SIGKILL and os._exit give no time for it."""
    _open.add(one)
    # The children of multiprocessing end without atexit, but for what is registered there.
    forked = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if forked is not None and util is not None and forked.parent_process() is not None:
        util.Finalize(one, _close_all, exitpriority=_FIRST)


@atexit.register
def _close_all() -> None:
    """All share the time of the one that has the most, so that a thousand take no longer than one."""
    left = list(_open)
    for one in left:
        one.begin_close()
    until = time.monotonic() + max((one.exit_timeout_s for one in left), default=0.0)
    for one in left:
        one.close(max(0.0, until - time.monotonic()))
