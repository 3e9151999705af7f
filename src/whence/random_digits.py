"""Random hexadecimal digits from the operating system, many at a time: a system call for each id would cost as much as
everything else about it."""

import os

__all__ = ["RandomDigits"]

_BYTES = 512


class RandomDigits:
    """A supply of digits, each of which is given out once. For ids and not for secrets, since it keeps what comes next
    in memory. Its owner calls `reset_after_fork` in a forked child.
    """

    def __init__(self) -> None:
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Give away what is left, which the parent has too."""
        self._digits = ""
        self._used = 0

    def take(self, number: int) -> str:
        """So many digits, at most 512. Threads at once may get the same ones, and so may a signal handler and what it
        interrupted."""
        start = self._used
        if start + number > len(self._digits):
            self._digits, start = os.urandom(_BYTES).hex(), 0
        self._used = start + number
        return self._digits[start : start + number]
