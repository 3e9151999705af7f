"""The counts of the events of one client."""

import itertools

import msgspec

from whence.client.reentrancy import GuardedCondition

__all__ = ["Counter", "EmitterCounts", "Stats"]


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the events of one client.

    `emitted + adopted == stored + replayed + rejected + lost + queued + spooled`, always.

    `adopted` were spooled by earlier processes. `lost` were dropped from a full queue, were in spool files that were
    removed from outside, or could be neither sent nor spooled when the client was closed. `retries` counts attempts to
    send that failed, `corrected` the events whose time was corrected since the clock of this host is fast. `error_code`
    is the code of the error that keeps events from being sent now.

    `dropped` were not accepted at all: `before_send` dropped them, or the client is disabled.
    """

    emitted: int
    adopted: int
    stored: int
    replayed: int
    rejected: int
    lost: int
    queued: int
    spooled: int
    retries: int
    corrected: int
    error_code: str | None
    dropped: int = 0


class EmitterCounts(msgspec.Struct):
    """The part of `Stats` that only grows."""

    emitted: int = 0
    adopted: int = 0
    stored: int = 0
    replayed: int = 0
    rejected: int = 0
    lost: int = 0
    retries: int = 0
    corrected: int = 0


class Counter:
    """A number that many threads and signal handlers may increase. Increasing it takes no lock."""

    def __init__(self) -> None:
        self._numbers = itertools.count()  # `next` is atomic
        self._reads = 0
        self._lock = GuardedCondition()

    def increase(self) -> None:
        """Add one."""
        next(self._numbers)

    def value(self) -> int:
        """The number. To read it increases it too, which is subtracted."""
        with self._lock:
            self._reads += 1
            return next(self._numbers) - self._reads + 1
