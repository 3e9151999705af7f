"""Reports errors of queued events to the log and to `on_error`, seldom enough to be read.

This happens outside of all locks, and so does logging: a handler of the log may emit events, and has locks of its own.
"""

import logging
import threading
import time
from collections.abc import Callable

from whence.client.errors import Lost, Rejected
from whence.client.reentrancy import is_raised_by_signal_handler
from whence.counting import counted
from whence.errors import WhenceError

__all__ = ["OnError", "Reports"]

OnError = Callable[[WhenceError], object]
"""Called with every refused event (`Rejected`), with events that are gone (`Lost`), and with the error that keeps
events from being sent, once when it begins. It runs in a thread of the client. Whatever it raises is logged.
"""

_log = logging.getLogger("whence")

_REPEAT_S = 60.0
_IN_MEMORY = "Events that are not in it yet are kept in memory only."

_said: set[str] = set()


class Reports:
    """The errors that were not reported yet. The emitter calls every method but `deliver` under its lock."""

    def __init__(self, on_error: OnError | None) -> None:
        self._on_error = on_error
        self._waiting: list[WhenceError | str] = []
        self._delivering = 0
        self._dropped = 0
        self._dropped_due = 0.0
        self._spool_failures = 0
        self._spool_due = 0.0
        self._callback_threads: set[int] = set()
        self.where = ""

    @property
    def is_empty(self) -> bool:
        """Whether everything was reported, but for a count of dropped events that is not due yet."""
        return not self._waiting and not self._delivering

    def is_callback_thread(self) -> bool:
        """Whether this thread is running `on_error`."""
        return threading.get_ident() in self._callback_threads

    def add(self, error: WhenceError) -> None:
        """Report this error."""
        self._waiting.append(error)

    def say(self, sentence: str) -> None:
        """Log this sentence, and do not call `on_error`."""
        self._waiting.append(sentence)

    def say_once(self, sentence: str) -> None:
        """As `say`, once in this process."""
        if sentence not in _said:
            _said.add(sentence)
            self.say(sentence)

    def add_dropped(self, count: int) -> bool:
        """Report events that a full queue dropped: at once, then once a minute. Whether a report is due now."""
        self._dropped += count
        return self._dropped_wait_s() == 0.0

    def take(self, *, last: bool = False) -> list[WhenceError | str]:
        """The errors to `deliver` now; with `last`, everything. Call `delivered` afterwards."""
        if self._dropped and (last or self._dropped_wait_s() == 0.0):
            self.add(
                Lost(f"{counted(self._dropped, 'event was', 'events were')} dropped, since the queue was full.", [])
            )
            self._dropped, self._dropped_due = 0, time.monotonic() + _REPEAT_S
        errors, self._waiting = self._waiting, []
        self._delivering += len(errors)
        return errors

    def delivered(self, errors: list[WhenceError | str]) -> float | None:
        """These were delivered. Returns the seconds until the next report is due, if one is known."""
        self._delivering -= len(errors)
        return self._dropped_wait_s() if self._dropped else None

    def deliver(self, errors: list[WhenceError | str]) -> None:
        """Log these errors and pass them to `on_error`. The caller holds no lock."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        for error in errors:
            try:
                self._deliver(error)
            except BaseException as raised:  # SystemExit would end the thread that sends
                is_interrupt = isinstance(raised, KeyboardInterrupt) and in_main_thread
                if is_interrupt or is_raised_by_signal_handler(raised):
                    raise
                _log.exception("The callback on_error failed.")

    def spool_failed(self, sentence: str, consequence: str = _IN_MEMORY) -> None:
        """Say that the spool cannot be written: at once, then once a minute with the number of attempts."""
        self._spool_failures += 1
        if time.monotonic() < self._spool_due:
            return
        self._spool_due = time.monotonic() + _REPEAT_S
        count = "" if self._spool_failures == 1 else f" This was attempt {self._spool_failures}."
        self.say(f"{sentence} {consequence}{count}")

    def spool_written(self) -> None:
        """The spool can be written, perhaps again."""
        if self._spool_failures:
            self.say(f"The spool can be written again, after {counted(self._spool_failures, 'failed attempt')}.")
            self._spool_failures, self._spool_due = 0, 0.0

    def _dropped_wait_s(self) -> float:
        return max(0.0, self._dropped_due - time.monotonic())

    def _deliver(self, error: WhenceError | str) -> None:
        is_final = isinstance(error, Rejected | Lost | str)
        _log.warning("%s%s", "" if is_final else f"Events cannot be sent now. They are kept {self.where}: ", error)
        if self._on_error is None or isinstance(error, str):
            return
        self._callback_threads.add(threading.get_ident())
        try:
            self._on_error(error)
        finally:
            self._callback_threads.discard(threading.get_ident())
