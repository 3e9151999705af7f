"""What is made anew in a forked child: locks that another thread held, threads and sockets that stayed behind."""

import os
import weakref
from typing import Protocol

__all__ = ["Renewed", "survive_forks"]


class Renewed(Protocol):
    """Something that knows how to begin again in a child."""

    def renew(self) -> None:
        """Forget the parent's threads, locks, sockets and events."""
        ...


_living: "weakref.WeakSet[Renewed]" = weakref.WeakSet()


def survive_forks(one: Renewed) -> None:
    """Have it renewed in every child that is forked from now on, for as long as it lives."""
    _living.add(one)


def _renew_all() -> None:
    for one in list(_living):
        one.renew()


os.register_at_fork(after_in_child=_renew_all)
