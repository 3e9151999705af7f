"""Resets registered objects in forked children.

A fork copies only the thread that forks. In the child, a lock that another thread held stays locked, the other threads
are gone, and a socket is shared with the parent.

Python calls a hook in children that Python forks. A program that embeds Python, such as uWSGI, may fork without it. So
`reset_if_forked` compares the process id; every public call of a client begins with it. Such a fork is safe only while
no other thread waits for CPython's global lock: else the child waits in `drop_gil` for a thread that it does not have.
"""

import os
import threading
import weakref
from typing import Protocol

from whence.wire.ids import uuid7_generator

__all__ = ["ForkSafe", "register_fork_safe", "reset_if_forked"]


class ForkSafe(Protocol):
    """An object that can be reset in a forked child."""

    def reset_after_fork(self) -> None:
        """Replace the locks and sockets, and forget the parent's threads and queued events."""
        ...


_instances: "weakref.WeakSet[ForkSafe]" = weakref.WeakSet()


def register_fork_safe(instance: ForkSafe) -> None:
    """Call its `reset_after_fork` in every child that is forked from now on. Keeps a weak reference only."""
    _instances.add(instance)


def reset_if_forked() -> None:
    """Reset everything if this process was forked without Python's hook."""
    if os.getpid() != _process.pid:
        _process.reset_once()


class _Process:
    """The process for which everything was reset last."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()

    def reset_once(self) -> None:
        with self._lock:
            if os.getpid() != self.pid:
                self._reset_all()

    def reset_in_child(self) -> None:
        self._lock = threading.Lock()
        self._reset_all()

    def _reset_all(self) -> None:
        uuid7_generator.reset_after_fork()
        for instance in list(_instances):
            instance.reset_after_fork()
        self.pid = os.getpid()  # last: another thread goes on only when everything is reset


_process = _Process()
os.register_at_fork(after_in_child=_process.reset_in_child)
