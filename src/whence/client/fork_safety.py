"""Resets registered objects in forked children.

A fork copies only the thread that forks. In the child, a lock that another thread held stays locked, the other threads
are gone, and a socket is shared with the parent.

A module that another thread was importing stays half imported. A connection needs the codec `idna`, and Python imports
it when a name is first looked up. So it is imported here, before any thread of a client exists.
"""

import encodings.idna  # noqa: F401 (else a sender's first connection imports it; see the docstring)
import os
import weakref
from typing import Protocol

__all__ = ["ForkSafe", "register_fork_safe"]


class ForkSafe(Protocol):
    """An object that can be reset in a forked child."""

    def reset_after_fork(self) -> None:
        """Replace the locks and sockets, and forget the parent's threads and queued events."""
        ...


_instances: "weakref.WeakSet[ForkSafe]" = weakref.WeakSet()


def register_fork_safe(instance: ForkSafe) -> None:
    """Call its `reset_after_fork` in every child that is forked from now on. Keeps a weak reference only."""
    _instances.add(instance)


def _reset_all() -> None:
    for instance in list(_instances):
        instance.reset_after_fork()


os.register_at_fork(after_in_child=_reset_all)
