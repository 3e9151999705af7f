"""The queue of one client: bounded, emptied in batches, on disk while the server is away.

Two states. *Live*: events go into memory and from there to the server. *Spilling*, from a full queue or a server that
is away until the last spooled event is sent: the queue is written to the spool, and new events go there at once, so
that the order stays. An event is always in exactly one place: queue, hand, spool, stored, or rejected.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Literal, TypeVar

import msgspec

from whence.client.answers import STRANGER, Answer, error_of, parse_batch, refusal, retry_after_s
from whence.client.courier import Courier
from whence.client.errors import Closed, Lost, Rejected, SpoolFull
from whence.client.exits import close_at_exit
from whence.client.forks import survive_forks
from whence.client.retries import RETRY_AFTER_MAX_S, pause_s
from whence.client.spool import Segment, Spool
from whence.errors import WhenceError
from whence.wire.bodies import BatchResultBody

__all__ = ["Emitter", "OnError", "Stats"]

OnError = Callable[[WhenceError], object]
"""Told of every refused event (`Rejected`), of every new trouble, and of what was lost (`Lost`). Runs in a thread of
the client; what it raises is logged."""

R = TypeVar("R")

_log = logging.getLogger("whence")

_BATCH_EVENTS = 500
_BATCH_BYTES = 4 * 1024 * 1024
_LINGER_S = 0.02
_BACKOFF_MAX_S = 5.0
_TRIES_BEFORE_SPOOLING = 2
_TRIES_AT_A_FAULT = 3
_BACKOFF_CLOSING_S = 0.5
_CREATED, _REPLAYED, _THROTTLED, _FAULT = 201, 200, 429, 500


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events of one client.

    `emitted + adopted == stored + replayed + rejected + lost + queued + spooled`, always. `adopted` were left on disk
    by earlier processes; `lost` were in files that someone took away. `trouble` is the code of what keeps events from
    being sent now.
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
    trouble: str | None


class _Counted(msgspec.Struct):
    emitted: int = 0
    adopted: int = 0
    stored: int = 0
    replayed: int = 0
    rejected: int = 0
    lost: int = 0
    retries: int = 0


class Emitter:
    """Takes events from any thread and sees that they are sent, once and in order. `send` tries a batch once."""

    def __init__(
        self,
        send: Callable[[Sequence[bytes]], Answer],
        courier: Courier,
        open_spool: Callable[[], Spool] | None,
        *,
        queue_events_max: int,
        queue_bytes_max: int,
        on_full: Literal["spill", "block"],
        on_error: OnError | None,
        exit_timeout_s: float,
    ) -> None:
        self._send = send
        self._courier = courier
        self._open_spool = open_spool
        self._queue_events_max = queue_events_max
        self._queue_bytes_max = queue_bytes_max
        self._blocks = on_full == "block" or open_spool is None
        self._on_error = on_error
        self.exit_timeout_s = exit_timeout_s
        self.renew()
        survive_forks(self)

    def renew(self) -> None:
        """A child begins empty: what waits in the parent is the parent's to send."""
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._hand: deque[bytes] = deque()
        self._place: int | None = None  # of the hand in the order, when it comes from the queue
        self._segment: Segment | None = None  # of the hand, when it comes from the spool
        self._spool: Spool | None = None
        self._spilling = self._begun = self._scheduled = self._closing = self._closed = False
        self._chunk = _BATCH_EVENTS
        self._tries = self._faults = 0
        self._not_before = 0.0
        self._trouble: str | None = None
        self._counted = _Counted()
        self._reports: list[WhenceError] = []
        self._telling: int | None = None  # the thread that is in the callback

    # ------------------------------------------------------------------------------------------------------ taking in

    def put(self, body: bytes, *, wait: bool = True) -> bool | None:
        """Take an event. True: it is on disk; False: it is in memory; None: it could be neither without waiting.

        Raises Closed, SpoolFull.
        """
        with self._changed:
            self._begin()
            while not self._spilling:
                if self._has_room(body):
                    self._queue.append(body)
                    self._queue_bytes += len(body)
                    self._counted.emitted += 1
                    self._wake(0.0 if len(self._queue) == _BATCH_EVENTS else _LINGER_S)
                    return False
                if not wait:
                    return None
                if self._blocks:
                    if self._telling == threading.get_ident():
                        raise SpoolFull("The queue is full, and on_error must not wait for the thread that it runs in.")
                    self._changed.wait()
                    self._begin()
                else:
                    _kept(self._spill)
            if not wait:
                return None
            spool = self._spool
            if spool is None:
                raise SpoolFull("There is no spool.")
            ticket = _kept(lambda: spool.append(body))
            self._counted.emitted += 1
            self._wake(_LINGER_S)
        _kept(lambda: spool.sync(ticket))
        return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until every event is stored or rejected; whether that came about in time."""
        until = time.monotonic() + timeout_s
        with self._changed:
            if self._closed:
                return self._pending() == 0
            self._begin()
            self._wake(0.0)
            return self._changed.wait_for(self._is_done, until - time.monotonic())

    def close(self, timeout_s: float | None = None) -> bool:
        """Take no more events, and wait for those that are here; what is not sent in time is spooled, or else told as
        Lost. Whether everything was sent.
        """
        until = time.monotonic() + (self.exit_timeout_s if timeout_s is None else timeout_s)
        self.begin_close()
        with self._changed:
            if self._closed or not self._begun:
                self._closed = True
                return self._pending() == 0
            self._changed.wait_for(self._is_done, until - time.monotonic())
            sent = self._pending() == 0
            self._closed = True  # a step that is still under way changes nothing any more
            lost, gone = self._leave_on_disk()
            self._counted.lost += gone
            self._changed.notify_all()
        if gone:
            self._tell(Lost(f"{gone} events that were spooled are gone: somebody removed their files.", []))
        if lost:
            self._tell(Lost(f"{len(lost)} events could not be sent before the end, nor be spooled.", lost))
        return sent

    def begin_close(self) -> None:
        """Take no more events, and send at once what is here."""
        with self._changed:
            self._closing = True
            self._not_before = 0.0
            self._changed.notify_all()
            if self._begun and not self._closed:
                self._courier.wake(self)

    def stats(self) -> Stats:
        """What became of the events until now."""
        with self._changed:
            queued, spooled = self._held()
            return Stats(
                **{name: getattr(self._counted, name) for name in _Counted.__struct_fields__},
                queued=queued,
                spooled=spooled,
                trouble=self._trouble,
            )

    def _begin(self) -> None:
        if self._closing:
            raise Closed("This client is closed.")
        if self._begun:
            return
        self._begun = True
        close_at_exit(self)
        if self._open_spool is not None:
            self._spool = self._open_spool()
            with contextlib.suppress(OSError):  # a disk that cannot be read now is asked again after a spilling
                self._adopt(self._spool)

    def _adopt(self, spool: Spool) -> None:
        before = spool.events
        if spool.adopt():
            self._counted.adopted += spool.events - before
            self._spilling = True
            self._courier.wake(self)

    def _has_room(self, body: bytes) -> bool:
        fits = self._queue_bytes + len(body) <= self._queue_bytes_max or not self._queue
        return fits and len(self._queue) < self._queue_events_max

    def _held(self) -> tuple[int, int]:
        """How many events are in memory, and how many on disk."""
        spooled = 0 if self._spool is None else self._spool.events
        if self._segment is not None:
            spooled -= self._segment.events - len(self._hand)
        return len(self._queue) + (len(self._hand) if self._segment is None else 0), spooled

    def _pending(self) -> int:
        return sum(self._held())

    def _is_done(self) -> bool:
        """Whether nothing waits, and what went wrong was told."""
        return self._pending() == 0 and not self._reports

    def _wake(self, in_s: float) -> None:
        if not self._scheduled or in_s == 0.0:
            self._scheduled = True
            self._courier.wake(self, max(in_s, self._not_before - time.monotonic()))

    def _spill(self) -> None:
        """Move the queue to the spool; from now on new events go there. The caller holds the lock."""
        spool = self._spool
        if spool is None:
            return
        if self._queue:
            spool.write(spool.reserve(), self._queue)
            self._queue.clear()
            self._queue_bytes = 0
        self._spilling = True
        self._changed.notify_all()

    # ---------------------------------------------------------------------------------------------------- sending off

    def step(self) -> float | None:
        """Try to send what comes next; the seconds until there is more to do. For the courier's threads alone."""
        answer: Answer | None = None
        with self._changed:
            self._scheduled = False
            wait_s = self._not_before - time.monotonic()
            if self._closed or wait_s > 0:
                return None if self._closed else wait_s
            bodies = self._take()
        if not bodies:
            self._report()
            return None
        try:
            answer = self._send(bodies)
            results: list[BatchResultBody] | WhenceError = _results(answer, len(bodies))
        except WhenceError as error:
            results = error
        except Exception:
            if self._closed:  # with the connections, by whoever closed it while this was under way
                return None
            raise
        with self._changed:
            if self._closed:
                return None
            if isinstance(results, list):
                again_s = self._settle(bodies, results)
            else:
                again_s = self._failed(bodies, results, answer)
            if not self._hand and not self._queue and self._segment is not None:
                self._refill()  # a spool that was sent is emptied now, not with the next event
            self._changed.notify_all()
        self._report()
        return again_s

    def _take(self) -> list[bytes]:
        """What to send next: a part of the hand, which is filled first if it is empty."""
        while not self._hand and self._refill():
            pass
        bodies: list[bytes] = []
        size = 0
        for body in islice(self._hand, self._chunk):
            size += len(body) + 1
            if bodies and size > _BATCH_BYTES:
                break
            bodies.append(body)
        return bodies

    def _refill(self) -> bool:
        """Take the next events in hand: of the spool, and when that is empty, of the queue. False: there are none."""
        spool = self._spool
        if spool is not None and self._segment is not None:
            spool.done(self._segment)
            self._segment = None
        if spool is not None and self._spilling:
            segment = spool.oldest()
            if segment is None:
                self._adopt(spool)
                segment = spool.oldest()
            if segment is not None:
                self._segment, self._place = segment, None
                self._read(spool, segment)
                return True
            self._spilling = False
            self._changed.notify_all()
        if not self._queue:
            self._changed.notify_all()
            return False
        self._place = None if spool is None else spool.reserve()
        while self._queue and len(self._hand) < _BATCH_EVENTS:
            self._hand.append(self._queue.popleft())
            self._queue_bytes -= len(self._hand[-1])
        self._changed.notify_all()
        return True

    def _read(self, spool: Spool, segment: Segment) -> None:
        """Take a segment in hand. One that someone took away is told, and does not hold up the others."""
        try:
            self._hand.extend(spool.read(segment))
        except FileNotFoundError:
            self._counted.lost += segment.events
            self._reports.append(Lost(f"{segment.path} is gone, and {segment.events} events with it.", []))
            segment.events = 0

    def _settle(self, bodies: Sequence[bytes], results: Sequence[BatchResultBody]) -> float:
        """Take each event out of the hand by what became of it."""
        again: list[bytes] = []
        self._faults = self._faults + 1 if any(result.status == _FAULT for result in results) else 0
        for body, result in zip(bodies, results, strict=True):
            self._hand.popleft()
            if result.status == _CREATED:
                self._counted.stored += 1
            elif result.status == _REPLAYED:
                self._counted.replayed += 1
            elif _may_pass(result.status) and (result.status != _FAULT or self._faults < _TRIES_AT_A_FAULT):
                again.append(body)
            else:
                self._reject(body, result.status, refusal(result))
        self._hand.extendleft(reversed(again))
        if again:
            return self._pause(None)
        self._tries = 0
        self._trouble = None
        self._chunk = min(_BATCH_EVENTS, self._chunk * 2)
        return 0.0

    def _failed(self, bodies: Sequence[bytes], error: WhenceError, answer: Answer | None) -> float:
        """The batch as a whole was not taken. If an event is to blame, halving it finds which; else it is tried later,
        from the spool if it takes longer.
        """
        status = 0 if answer is None else answer.status
        self._faults = self._faults + 1 if status == _FAULT else 0
        if status in (413, 422) or self._faults >= _TRIES_AT_A_FAULT:
            self._faults = 0
            if len(bodies) == 1:
                self._reject(self._hand.popleft(), status, str(error))
            self._chunk = max(1, len(bodies) // 2)
            return 0.0
        if error.code != self._trouble:
            self._trouble = error.code
            self._reports.append(error)
        asked_s = None if answer is None else retry_after_s(answer.headers.get("retry-after"), time.time())
        pause_s_ = self._pause(asked_s)
        if self._tries >= _TRIES_BEFORE_SPOOLING and self._segment is None and self._spool is not None:
            try:
                if self._hand:
                    self._spool.write(self._spool.reserve() if self._place is None else self._place, self._hand)
                    self._hand.clear()
                self._spill()
            except (OSError, SpoolFull) as refused:  # it all stays in memory, and the queue fills
                _log.warning("The spool cannot be written: %s", refused)
        return pause_s_

    def _pause(self, asked_s: float | None) -> float:
        self._tries += 1
        self._counted.retries += 1
        most_s = _BACKOFF_CLOSING_S if self._closing else _BACKOFF_MAX_S
        wait_s = pause_s(self._tries, None if asked_s is None else min(asked_s, RETRY_AFTER_MAX_S), most_s)
        self._not_before = time.monotonic() + wait_s
        return wait_s

    def _reject(self, body: bytes, status: int, why: str) -> None:
        self._counted.rejected += 1
        sentence = f"An event was refused: {why or f'the server answered {status}.'}"
        if self._spool is not None:
            try:
                self._spool.reject(body, status, why)
            except OSError:
                sentence += " It could not be written to the file of rejected events."
        self._reports.append(Rejected(sentence, body, status))

    def _report(self) -> None:
        """Tell what went wrong, outside of the lock; until then nothing counts as done."""
        with self._changed:
            reports = list(self._reports)
        for error in reports:
            self._tell(error)
        if reports:
            with self._changed:
                del self._reports[: len(reports)]
                self._changed.notify_all()

    def _tell(self, error: WhenceError) -> None:
        over = isinstance(error, Rejected | Lost)
        _log.warning("%s" if over else "Events are not sent for now, and are kept: %s", error)
        if self._on_error is None:
            return
        self._telling = threading.get_ident()
        try:
            self._on_error(error)
        except Exception:  # a callback must not stop the events
            _log.exception("The callback on_error failed.")
        finally:
            self._telling = None

    def _leave_on_disk(self) -> tuple[list[bytes], int]:
        """Put what is in memory where the next process finds it. What cannot be put there, and how many events are no
        longer there. The caller holds the lock.
        """
        spool = self._spool
        if spool is not None and self._segment is not None and not self._segment.path.exists():
            spool.done(self._segment)  # what is in hand of it is in memory alone
            self._segment = None
        memory = [*(self._hand if self._segment is None else ()), *self._queue]
        if spool is None:
            return memory, 0
        gone = 0
        try:
            if memory:
                # Before everything else in the spool, since it is older. Some may be on their way; ids make that safe.
                spool.write(spool.reserve() if self._place is None else self._place, memory)
            memory = []
            self._hand.clear()
            self._queue.clear()
        except OSError as error:
            self._say_unwritable(spool, error)
        try:
            gone = spool.close()
        except OSError as error:
            self._say_unwritable(spool, error)
        return memory, gone

    def _say_unwritable(self, spool: Spool, error: OSError) -> None:
        """In a sentence; at the end of a process a traceback helps nobody."""
        _log.error("The spool in %s cannot be written: %s.", spool.folder, error.strerror)


def _kept(keep: Callable[[], R]) -> R:
    """What the spool gives back. Raises SpoolFull when it cannot be written."""
    try:
        return keep()
    except OSError as error:
        raise SpoolFull(f"The event cannot be kept, since the spool cannot be written: {error.strerror}.") from error


def _may_pass(status: int) -> bool:
    return status == _THROTTLED or status >= _FAULT


def _results(answer: Answer, count: int) -> list[BatchResultBody]:
    """What became of each event. Raises the error of an answer that does not tell."""
    if answer.status >= _FAULT:
        raise error_of(answer)
    results = parse_batch(answer).results
    if len(results) != count:
        raise WhenceError(STRANGER)
    return results
