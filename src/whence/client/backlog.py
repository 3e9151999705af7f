"""The events of one client that were accepted and are not sent yet: in memory, on disk, and on their way between both.

Every method is called under the emitter's lock.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from whence.client.counts import EmitterCounts
from whence.client.errors import Lost, Rejected, SpoolFull
from whence.client.reentrancy import is_raised_by_signal_handler
from whence.client.reporting import Reports
from whence.client.requests import SEND_EVENTS_MAX, first_batch
from whence.client.spool import REJECTED, Segment, Spool
from whence.counting import counted

__all__ = ["Backlog", "or_spool_full"]

R = TypeVar("R")

_UNREADABLE_WAIT_S = 60.0


class _Held(msgspec.Struct):
    """Events that are sent again at `due`, in seconds of `time.monotonic`: in memory, or in a segment."""

    due: float
    bodies: list[bytes]
    segment: Segment | None


class Backlog:
    """Each event is in one place: queued, in `outgoing`, held, or in the spool."""

    def __init__(self, counts: EmitterCounts, reports: Reports, queue_events_max: int, queue_bytes_max: int) -> None:
        self._counts = counts
        self._reports = reports
        self._queue_events_max = queue_events_max
        self._queue_bytes_max = queue_bytes_max
        self.queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self.outgoing: deque[bytes] = deque()  # taken from the queue or from a segment, to be sent next
        self._outgoing_number: int | None = None  # the spool number reserved for it, when it is from the queue
        self.outgoing_segment: Segment | None = None  # the segment that it is from, if any
        self._held: list[_Held] = []
        self._held_count = 0  # of those in memory
        self.spool: Spool | None = None
        self.spilling = self._adopted = False

    def has_room(self, body: bytes) -> bool:
        """Whether this event may be queued. A queue without events takes one of any size."""
        fits = self._queue_bytes + len(body) <= self._queue_bytes_max or not self.queue
        return fits and len(self.queue) + self._held_count < self._queue_events_max

    def add(self, body: bytes) -> int:
        """Queue an event; returns how many are queued now."""
        self.queue.append(body)
        self._queue_bytes += len(body)
        return len(self.queue)

    def waiting(self) -> int | None:
        """The number of events that the next batch can have; None if some are on disk, or were to be sent before."""
        if self.spilling or self.outgoing or self.outgoing_segment is not None:
            return None
        return len(self.queue)

    def queued_and_spooled(self) -> tuple[int, int]:
        """The number of unsent events in memory and on disk."""
        queued = len(self.queue) + self._held_count
        spooled = 0 if self.spool is None else self.spool.events
        if self.outgoing_segment is None:
            return queued + len(self.outgoing), spooled
        sent = self.outgoing_segment.events - len(self.outgoing)
        return queued, spooled - sent

    def spill(self) -> None:
        """Move the queue to the spool. From now on new events go there. Raises OSError."""
        spool = self.spool
        if spool is None:
            return
        if self.queue:
            spool.write(spool.reserve(), self.queue)
            self._queue_bytes -= sum(map(len, self.queue))
            self.queue.clear()
        self.spilling = True

    def try_spool(self, write: Callable[[], object]) -> bool:
        """Write to the spool; returns whether this was possible. If not, the events stay in memory."""
        try:
            write()
        except (OSError, SpoolFull) as refused:
            if is_raised_by_signal_handler(refused):
                raise
            why = f"{refused.strerror}." if isinstance(refused, OSError) else str(refused)
            self._reports.spool_failed(f"The spool cannot be written: {why}")
            return False
        self._reports.spool_written()
        return True

    def adopt(self) -> None:
        """Take over what dead processes left. It is older than what is queued, and sent before."""
        spool = self.spool
        if spool is None:
            return
        self._adopted = True
        events_before = spool.events
        try:
            spool.adopt()
        except OSError as error:  # this is tried again when the spool is next empty
            if is_raised_by_signal_handler(error):
                raise
        finally:
            self._counts.adopted += spool.events - events_before

    def adopt_once(self) -> None:
        """As `adopt`, unless this happened before."""
        if not self._adopted:
            self.adopt()

    def finish_segment(self) -> None:
        """Remove a segment of which everything was sent now, and not only when the next event is sent."""
        if not self.outgoing and not self.queue and self.outgoing_segment is not None:
            self._refill()

    def next_batch(self, events_max: int) -> list[bytes]:
        """The events to send next. They stay in `outgoing` until their result is known."""
        while not self.outgoing and self._refill():
            pass
        return first_batch(islice(self.outgoing, events_max))

    def _refill(self) -> bool:
        """Fill `outgoing` from the spool, or from the queue once the spool is empty. False when both are empty."""
        spool = self.spool
        if spool is not None and self.outgoing_segment is not None:
            self._remove(spool, self.outgoing_segment)
            self.outgoing_segment = None
        if self._take_held():
            return True
        if spool is not None:
            segment = spool.oldest()
            if segment is None and (self.spilling or not self._adopted):
                self.adopt()
                segment = spool.oldest()
            if segment is not None:
                self._read(spool, segment)
                return True
            self.spilling = False
        if not self.queue:
            return False
        self._outgoing_number = None if spool is None else spool.reserve()
        while self.queue and len(self.outgoing) < SEND_EVENTS_MAX:
            self.outgoing.append(self.queue.popleft())
            self._queue_bytes -= len(self.outgoing[-1])
        return True

    def _remove(self, spool: Spool, segment: Segment) -> None:
        try:
            spool.remove(segment)
        except OSError as error:
            if is_raised_by_signal_handler(error):
                raise
            self._reports.say_once(
                f"The events of {segment.path} were sent, but it cannot be deleted: {error.strerror}. The next process "
                "sends them again, and the server stores them once."
            )

    def _read(self, spool: Spool, segment: Segment) -> None:
        """Read a segment into `outgoing`. A file that was removed from outside is reported and skipped."""
        try:
            events, damaged = spool.read(segment)
        except FileNotFoundError:
            self._counts.lost += segment.events
            self._reports.add(Lost(f"{segment.path} is gone, and {counted(segment.events, 'event')} with it.", []))
            segment.events = 0
            events, damaged = [], []
        except OSError as error:
            self._reports.say(f"{segment.path} cannot be read: {error.strerror}. This is tried again in a minute.")
            segment.held = True
            self._held.append(_Held(time.monotonic() + _UNREADABLE_WAIT_S, [], segment))
            return
        self.outgoing_segment, self._outgoing_number = segment, None
        self.outgoing.extend(events)
        for line in damaged:
            self.reject(line, 0, "a line of the spool was damaged.")

    def hold(self, held: Sequence[tuple[float, bytes]]) -> None:
        """Keep these events until their time comes: on disk if they come from there. The others are sent meanwhile."""
        due = time.monotonic() + max(wait_s for wait_s, _ in held)
        bodies = [body for _, body in held]
        segment: Segment | None = None
        spool = self.spool
        if spool is not None and self.outgoing_segment is not None:
            try:
                segment = spool.write(spool.reserve(), bodies, held=True)
            except OSError as error:
                self._say_unwritable(spool, error)
        if segment is None:
            self._held_count += len(bodies)
            self._queue_bytes += sum(map(len, bodies))
        self._held.append(_Held(due, [] if segment else bodies, segment))

    def _take_held(self) -> bool:
        """Fill `outgoing` with events whose time has come; returns whether there were any."""
        now = time.monotonic()
        held = next((held for held in self._held if held.due <= now), None)
        if held is None:
            return False
        self._held.remove(held)
        spool = self.spool
        if held.segment is not None and spool is not None:
            held.segment.held = False
            self._read(spool, held.segment)
            return True
        self._held_count -= len(held.bodies)
        self._queue_bytes -= sum(map(len, held.bodies))
        self._outgoing_number = None if spool is None else spool.reserve()
        self.outgoing.extend(held.bodies)
        return True

    def spool_queued(self, spool: Spool) -> None:
        """Move the events in memory to the spool, for as long as the server does not accept them."""
        if self.outgoing and self.outgoing_segment is None:
            self._write_outgoing(spool, self.outgoing)
            self.outgoing.clear()
        if not self.spilling:
            self.spill()

    def reject(self, body: bytes, status: int, why: str) -> None:
        """Count an event that was refused, keep it in the file of rejected events, and report it."""
        why, file = why or f"the server responded with {status}.", None
        if self.spool is not None:
            try:
                self.spool.reject(body, status, why)
                file = self.spool.folder / REJECTED
            except OSError:
                why += " It could not be written to the file of rejected events."
            except SpoolFull as full:
                why += " It was not written to the file of rejected events."
                self._reports.say_once(f"{full} Further rejected events are counted and reported, and not kept in it.")
        self._counts.rejected += 1
        self._reports.add(Rejected(why, body, status, file))

    def held_wait_s(self) -> float | None:
        """The seconds until the time of a held event comes; None if there is none."""
        return min((held.due - time.monotonic() for held in self._held), default=None)

    def may_hold(self, count: int) -> bool:
        """Whether the queue has room for so many held events. New events need the other half of it."""
        return self.outgoing_segment is not None or self._held_count + count <= self._queue_events_max // 2

    def release(self, further: Sequence[bytes]) -> tuple[list[bytes], int]:
        """Write the unsent events and further ones to disk for the next process, and release the spool.

        Returns the events that could not be written, and the number of events whose files were removed from outside.
        What a signal handler raises meanwhile is raised again. No event is gone then, and this can be done again.
        """
        spool = self.spool
        if spool is not None and self.outgoing_segment is not None and not self.outgoing_segment.path.exists():
            self._remove(spool, self.outgoing_segment)  # its events are in memory only
            self.outgoing_segment = None
        unsent = [body for held in self._held for body in held.bodies]
        unsent += [*(self.outgoing if self.outgoing_segment is None else ()), *self.queue, *further]
        missing = 0
        if spool is not None:
            try:
                if unsent:
                    self._write_outgoing(spool, unsent)
                unsent = []
            except OSError as error:
                self._say_unwritable(spool, error)
        if self.outgoing_segment is None:
            self.outgoing.clear()
        self.queue.clear()
        self._held.clear()
        self._held_count = self._queue_bytes = 0
        if spool is not None:
            try:
                missing = spool.close()
            except OSError as error:
                self._say_unwritable(spool, error)
        return unsent, missing

    def _write_outgoing(self, spool: Spool, bodies: Sequence[bytes]) -> None:
        """Spool these events in the place reserved for them: they are older than those that are spooled already.

        The server may have received some of them. It stores them once, since they have ids.
        """
        number = spool.reserve() if self._outgoing_number is None else self._outgoing_number
        spool.write(number, bodies)

    def _say_unwritable(self, spool: Spool, error: OSError) -> None:
        if is_raised_by_signal_handler(error):
            raise error
        self._reports.say(f"The spool in {spool.folder} cannot be written: {error.strerror}.")


def or_spool_full(write: Callable[[], R]) -> R:
    """The result of writing to the spool. Raises SpoolFull when it cannot be written."""
    try:
        return write()
    except OSError as error:
        if is_raised_by_signal_handler(error):
            raise
        raise SpoolFull(f"The event was not accepted, since the spool cannot be written: {error.strerror}.") from error
