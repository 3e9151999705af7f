"""The event queue of one client: bounded, sent in batches, and spooled to disk while the server is away.

It has two states. *Live*: events are queued in memory and sent from there. *Spilling*: the queue was written to the
spool, and new events go there directly, so that the order stays. Spilling starts when the queue is full or the server
does not accept events, and ends when the last spooled event is sent.

An event is always in exactly one place: queued, in the batch being sent, held, spooled, stored, rejected or lost.
Before it is queued it may be in the inbox, where code leaves it that must not wait: a signal handler that interrupted
the client, or an event loop that would wait for the disk. The next thread that has the lock moves it on.
"""

import functools
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Literal

import msgspec

from whence.client.at_exit import close_at_exit, exit_has_begun
from whence.client.backlog import Backlog, or_spool_full
from whence.client.clock import HOLD_MAX_S, ServerClock, is_early, settle_conflict
from whence.client.counts import EmitterCounts, Stats
from whence.client.errors import Closed, Lost, QueueFull, SpoolFull
from whence.client.fork_safety import register_fork_safe, reset_if_forked
from whence.client.reentrancy import GuardedCondition, guard, is_on_event_loop, is_raised_by_signal_handler
from whence.client.reporting import OnError, Reports
from whence.client.requests import SEND_EVENTS_MAX
from whence.client.responses import (
    ApiResponse,
    conflicting_fields,
    is_temporary,
    parse_batch_results,
    refusal,
    retry_after_s,
)
from whence.client.retries import RETRY_AFTER_MAX_S, backoff_s
from whence.client.sender import SenderThreads
from whence.client.spool import Spool
from whence.counting import counted
from whence.errors import Unauthenticated, WhenceError
from whence.wire.bodies import BatchResultBody

__all__ = ["Emitter", "OnFull"]

OnFull = Literal["spill", "drop", "raise", "block"]
"""What `emit` does when the queue is full; see `ClientOptions`."""

_LINGER_S = 0.02  # how long an event waits for others to share its batch
_GATHER_S = 0.1  # the time between two batches that are not full: a request costs as much as some hundred events
_LOCK_WAIT_S = 1.0  # how long an event waits for the lock, which a thread may hold while the disk does not respond
_BACKOFF_MAX_S = 5.0
_BACKOFF_CLOSING_MAX_S = 0.5
_FAILURES_BEFORE_SPOOLING = 2
_SERVER_ERRORS_MAX = 3  # 500s in a row after which an event of the batch is assumed to be the reason
_OK, _CREATED, _CONFLICT, _TOO_LARGE, _INVALID, _SERVER_ERROR = 200, 201, 409, 413, 422, 500
_IN_MEMORY = 0  # a ticket of the spool is greater


class Emitter:
    """Accepts events from any thread, and sends each once and in order. `send` makes one attempt to send a batch.

    An emitter without a client sends what it has, and its thread ends then. So `send` and `open_spool` must not refer
    to the client, which would live for as long as the collector takes to find the circle.
    """

    def __init__(
        self,
        send: Callable[[Sequence[bytes]], ApiResponse],
        sender: SenderThreads,
        open_spool: Callable[[], Spool] | None,
        *,
        queue_events_max: int,
        queue_bytes_max: int,
        on_full: OnFull,
        block_timeout_s: float,
        on_error: OnError | None,
        exit_timeout_s: float,
    ) -> None:
        self._send = send
        self._sender = sender
        self._open_spool = open_spool
        self._queue_events_max = queue_events_max
        self._queue_bytes_max = queue_bytes_max
        self._gathers = queue_events_max >= 2 * SEND_EVENTS_MAX  # a small queue would be full before a batch is
        self._on_full = on_full
        self.block_timeout_s = block_timeout_s
        self._on_error = on_error
        self.exit_timeout_s = exit_timeout_s
        self.reset_after_fork()
        register_fork_safe(self)
        sender.attach(self)

    def reset_after_fork(self) -> None:
        """Start empty: the parent sends the events that it has queued."""
        self._changed = GuardedCondition()
        self._inbox: deque[bytes | None] = deque()  # None stands for an event that was dropped
        self._inbox_bytes = 0
        self._counts = EmitterCounts()
        self._reports = Reports(self._on_error)
        self._backlog = Backlog(self._counts, self._reports, self._queue_events_max, self._queue_bytes_max)
        self._started = self._scheduled = self._reopened = self._deferred = False
        self._closing = self._refusing = self._closed = False
        self._batch_events_max = SEND_EVENTS_MAX
        self._failures = self._server_errors = 0
        self._not_before = self._gather_until = 0.0
        self._flushing = 0  # calls of `flush` that wait
        self._error_code: str | None = None
        self.attempts = 0  # batches that were sent, each time that they were
        self._refused_attempt = 0  # the number of the last of them that the server refused with a 401
        self._clock = ServerClock()
        self._hold_until: dict[int, float] = {}  # by the hash of an event that was held for its time to come

    # ----------------------------------------------------------------------------------------------- accepting events

    def put(self, body: bytes, *, wait: bool = True) -> bool | None:
        """Accept an event. Returns True when it is on disk, False when it is in memory, or dropped from a full queue.

        With `wait=False` it returns None instead of waiting for the disk or for room in the queue; the event was not
        accepted then. On an event loop it never waits. Raises Closed, QueueFull and SpoolFull.
        """
        reset_if_forked()
        if guard.is_inside():
            self._set_aside(body)
            return False
        if not self._lock_soon(sys._getframe()):
            if not wait and self._waits_or_spills() and not self._inbox_has_room(body):
                return None
            self._set_aside(body)
            return False
        try:
            ticket = self._accept(body, wait)
            spool = self._backlog.spool
        finally:
            self._changed.release()
        if ticket is None or ticket == _IN_MEMORY or spool is None:
            return None if ticket is None else False
        guard.enter()
        try:
            spool.sync(ticket)
        except OSError as error:
            if is_raised_by_signal_handler(error):
                raise
            self._say_not_synced(error)
            return False
        finally:
            guard.leave()
        return True

    def _say_not_synced(self, error: OSError) -> None:
        """Say that an event was written to the spool, and may not survive a failure of the host."""
        with self._changed:
            self._reports.spool_failed(
                f"The spool cannot be synced to the disk: {error.strerror}.",
                "Its last events may be gone if this host fails.",
            )
            if not self._closed:
                self._sender.wake(self.do_chores)

    def waits_for_room(self) -> bool:
        """Whether `put` returned None because the queue is full, and not because it would write to the disk."""
        return self._on_full == "block" and not self._backlog.spilling

    def _lock_soon(self, frame: FrameType) -> bool:
        """Take the lock for this frame; returns whether it was free soon."""
        if self._changed.acquire(0, frame):
            return True
        if exit_has_begun():  # the thread that holds the lock may never run again
            if self._changed.acquire(_LOCK_WAIT_S, frame):
                return True
            raise Closed("The program is exiting, and the client is busy.")
        return not is_on_event_loop() and self._changed.acquire(_LOCK_WAIT_S, frame)

    def _set_aside(self, body: bytes) -> None:
        """Leave an event in the inbox. This takes no lock."""
        if self._refusing:
            raise Closed("This client is closed.")
        if not self._inbox_has_room(body):
            if not self._drops():
                raise QueueFull("The queue is full, and this code must not wait for the client.")
            self._inbox.append(None)
            return
        self._leave_in_inbox(body)
        if not guard.is_inside():
            self._sender.wake(self.do_chores)
        elif not self._deferred:
            self._deferred = True
            guard.defer(self.absorb)

    def _inbox_has_room(self, body: bytes) -> bool:
        """Whether this event may be left in the inbox, which is bounded as the queue is, and takes one of any size."""
        fits = self._inbox_bytes + len(body) <= self._queue_bytes_max or not self._inbox
        return fits and len(self._inbox) < self._queue_events_max

    def _leave_in_inbox(self, body: bytes) -> None:
        # Without a lock. If a thread or signal handler changes the number in between, the bound is missed by one event.
        self._inbox_bytes += len(body)
        self._inbox.append(body)

    def _pop_inbox(self) -> bytes | None:
        """Take the oldest event. Once the inbox is empty, its size is right again."""
        body = self._inbox.popleft()
        self._inbox_bytes = self._inbox_bytes - len(body or b"") if self._inbox else 0
        return body

    def _accept(self, body: bytes, wait: bool) -> int | None:
        """Accept an event under the lock. Returns its ticket in the spool, `_IN_MEMORY`, or None as `put`."""
        if not self._is_open():
            return self._accept_late(body)
        if not self._inbox and not self._backlog.spilling and self._backlog.has_room(body):
            return self._enqueue(body)
        if is_on_event_loop():
            return self._accept_on_event_loop(body, wait)
        return self._accept_waiting(body)

    def _is_open(self) -> bool:
        """Whether events can be queued. If not, the process is exiting. Raises Closed after `close`."""
        if self._refusing:
            raise Closed("This client is closed.")
        if self._closed or sys.is_finalizing():
            return False
        if not self._started:
            if exit_has_begun():
                return False
            self._started = True
            close_at_exit(self)
            self._prepare_spool()
        return self._sender.start()

    def _prepare_spool(self) -> None:
        if self._backlog.spool is None and self._open_spool is not None:
            try:
                self._backlog.spool = self._open_spool()
            except WhenceError as error:
                self._reports.say_once(f"{error} Events are kept in memory only.")
        has_spool = self._backlog.spool is not None
        self._reports.where = "in the queue and spool" if has_spool else f"in memory, up to {self._queue_events_max}"

    def _drops(self) -> bool:
        """Whether an event for which there is no room is dropped."""
        return self._on_full == "drop" or (self._on_full == "spill" and self._backlog.spool is None)

    def _waits_or_spills(self) -> bool:
        """Whether an event for which there is no room can still be accepted, by code that may wait."""
        return self._on_full == "block" or (self._on_full == "spill" and self._backlog.spool is not None)

    def _accept_on_event_loop(self, body: bytes, wait: bool) -> int | None:
        """Accept an event that cannot be queued now, without touching the disk. A thread of the sender does that."""
        spills = self._on_full == "spill" and self._backlog.spool is not None
        if self._backlog.spilling or spills or self._backlog.has_room(body):
            if not wait:
                return None
            if self._inbox_has_room(body):
                self._leave_in_inbox(body)
                self._sender.wake(self.do_chores)
                return _IN_MEMORY
        if self._drops():
            return self._drop()
        if self._on_full == "block" and not wait:
            self._wake(0.0)
            return None
        raise QueueFull("The queue is full, and waiting for room would block the event loop.")

    def _accept_waiting(self, body: bytes) -> int:
        """Accept an event that cannot be queued now. This may write to the disk, or wait for room."""
        deadline = time.monotonic() + self.block_timeout_s
        while self._is_open():
            self._absorb()
            if self._backlog.spilling and self._backlog.spool is not None:
                try:
                    return self._append(self._backlog.spool, body)
                except SpoolFull:
                    if self._on_full != "drop":
                        raise
                    return self._drop()
            if not self._inbox and self._backlog.has_room(body):
                return self._enqueue(body)
            if self._drops():
                return self._drop()
            if self._on_full == "spill":
                or_spool_full(self._backlog.spill)
                continue
            if self._on_full == "raise":
                waiting = counted(len(self._backlog.queue), "event waits", "events wait")
                raise QueueFull(f"The queue is full: {waiting} to be sent.")
            if self._is_own_thread():
                raise QueueFull("The queue is full, and only the thread that is running on_error can empty it.")
            self._wake(0.0)
            if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                raise QueueFull(f"The queue has been full for {self.block_timeout_s:g} s.")
        return self._accept_late(body)

    def _accept_late(self, body: bytes) -> int:
        """Accept an event while the process exits: only the spool is left. Raises Closed without one."""
        was_open = self._backlog.spool is not None
        self._prepare_spool()
        spool = self._backlog.spool
        if spool is None:
            raise Closed("The program is exiting, and there is no spool that could keep the event.")
        if was_open and self._closed and not self._reopened:
            self._reopened = True
            spool.reopen()
        ticket = or_spool_full(lambda: spool.append(body))
        self._counts.emitted += 1
        return ticket

    def _append(self, spool: Spool, body: bytes) -> int:
        ticket = or_spool_full(lambda: spool.append(body))
        self._counts.emitted += 1
        self._wake(_LINGER_S)
        return ticket

    def _enqueue(self, body: bytes) -> int:
        self._counts.emitted += 1
        self._wake(0.0 if self._backlog.add(body) == SEND_EVENTS_MAX else _LINGER_S)
        return _IN_MEMORY

    def _drop(self) -> int:
        self._counts.emitted += 1
        self._counts.lost += 1
        if self._reports.add_dropped(1):
            self._sender.wake(self.do_chores)
        return _IN_MEMORY

    def absorb(self) -> None:
        """Move the events of the inbox on. If the lock is not free soon, a thread of the sender does that."""
        self._deferred = False  # before the inbox is emptied: code that leaves an event from now on defers this again
        if is_on_event_loop() or not self._changed.acquire(_LOCK_WAIT_S):
            self._sender.wake(self.do_chores)
            return
        try:
            can_start = self._started or (not self._refusing and self._is_open())
            if can_start and not self._closed:
                self._absorb()
            else:
                self._absorb_late()
        finally:
            self._changed.release()

    def _absorb(self) -> None:
        """Move the events of the inbox to the queue or the spool, or leave them where they are if both are full."""
        while self._inbox:
            body = self._inbox[0]
            if body is None:
                self._drop()
            elif self._backlog.spilling and self._backlog.spool is not None:
                if not self._backlog.try_spool(functools.partial(self._append, self._backlog.spool, body)):
                    return
            elif self._backlog.has_room(body):
                self._enqueue(body)
            elif self._drops():
                self._drop()
            elif self._on_full != "spill" or not self._backlog.try_spool(self._backlog.spill):
                return
            else:
                continue
            self._pop_inbox()

    def _absorb_late(self) -> None:
        """Spool the events of the inbox after the client was closed, or report them as lost."""
        lost: list[bytes] = []
        while self._inbox:
            body = self._pop_inbox()
            try:
                if body is not None and not self._refusing:
                    self._accept_late(body)
                    continue
            except (Closed, SpoolFull):
                pass
            self._counts.emitted += 1
            self._counts.lost += 1
            lost += [] if body is None else [body]
        if lost:
            were = counted(len(lost), "event was", "events were")
            self._reports.add(Lost(f"{were} emitted while the client was closed.", lost))

    def flush(self, timeout_s: float, attempts_before: int | None = None) -> bool:
        """Wait until every event is stored or rejected; returns whether this happened within the time.

        Raises Unauthenticated as soon as the server refuses the credential of a batch that is sent from now on, or
        after the first `attempts_before`. In a thread of the client, and in code that interrupted it, this does not
        wait.
        """
        reset_if_forked()
        deadline = time.monotonic() + timeout_s
        if guard.is_inside():
            return self._is_done()
        with self._changed:
            if self._closed or not self._is_open():
                return self._pending() == 0
            self._absorb()
            self._backlog.adopt_once()
            if attempts_before is None:
                attempts_before = self.attempts
                if self._error_code == Unauthenticated.code:
                    self._not_before = 0.0  # the credential is tried once more now
            self._wake(0.0)
            if self._is_own_thread():
                return self._is_done()
            self._flushing += 1
            try:
                self._changed.wait_for(
                    lambda: self._is_done() or self._refused_attempt > attempts_before, deadline - time.monotonic()
                )
            finally:
                self._flushing -= 1
            if self._refused_attempt > attempts_before and not self._is_done():
                raise Unauthenticated
            return self._is_done()

    def close(self, timeout_s: float | None = None) -> bool:
        """Accept no more events, and wait until all are sent; returns whether this happened within the time.

        Events that were not sent are spooled. Without a spool they are reported as Lost. In code that interrupted the
        client this returns False, and happens as soon as the client can be closed.
        """
        reset_if_forked()
        if guard.is_inside():
            guard.defer(lambda: self.close(timeout_s))
            return False
        deadline = time.monotonic() + (self.exit_timeout_s if timeout_s is None else timeout_s)
        self.begin_close()
        with self._changed:
            if not self._closed and self._started and not self._is_own_thread() and self._sender.start():
                self._changed.wait_for(self._is_done, deadline - time.monotonic())
            sent = self._pending() == 0
            if self._closed or not self._started:
                self._closed = True
                return sent
            inbox = list(self._inbox)
            unsent, missing = self._backlog.release([body for body in inbox if body is not None])
            self._closed = True  # not before: an exception of a signal handler leaves the rest to the next `close`
            self._inbox.clear()
            self._inbox_bytes = 0
            self._counts.emitted += len(inbox)
            self._counts.lost += missing + len(unsent) + inbox.count(None)
            if missing:
                are = counted(missing, "event that was spooled is", "events that were spooled are")
                self._reports.add(Lost(f"{are} gone, since files of the spool were removed.", []))
            if unsent:
                sentence = (
                    f"{counted(len(unsent), 'event')} could be neither sent nor spooled before the client closed."
                )
                self._reports.add(Lost(sentence, unsent))
            self._changed.notify_all()
        self.report_all(last=True)
        return sent

    def begin_close(self) -> None:
        """Start to send the queued events at once, and accept no more unless the process exits."""
        reset_if_forked()
        with self._changed:
            self._refusing = self._refusing or not exit_has_begun()
            if self._closing:
                return
            self._closing = True
            self._not_before = 0.0
            self._changed.notify_all()
            if self._started and not self._closed:
                self._sender.wake(self.step)

    def is_done(self) -> bool:
        """Whether every event is stored or rejected, and reported."""
        with self._changed:
            return self._is_done()

    def stats(self) -> Stats:
        """The counts up to now."""
        reset_if_forked()
        with self._changed:
            queued, spooled = self._backlog.queued_and_spooled()
            counts = msgspec.structs.asdict(self._counts)
            counts["emitted"] += len(self._inbox)
            queued += len(self._inbox)
            return Stats(**counts, queued=queued, spooled=spooled, error_code=self._error_code)

    def _is_own_thread(self) -> bool:
        """Whether this thread sends events or runs `on_error`, so that nothing would happen while it waited."""
        return self._sender.is_own_thread() or self._reports.is_callback_thread()

    def _pending(self) -> int:
        return sum(self._backlog.queued_and_spooled()) + len(self._inbox)

    def _is_done(self) -> bool:
        return self._pending() == 0 and self._reports.is_empty

    def _wake(self, delay_s: float) -> None:
        if not self._scheduled or delay_s == 0.0:
            earliest = self._not_before if delay_s == 0.0 else max(self._not_before, self._gather_until)
            self._sender.wake(self.step, max(delay_s, earliest - time.monotonic()))
            self._scheduled = True  # last: an exception of a signal handler may prevent the line above

    # -------------------------------------------------------------------------------------------------------- sending

    def step(self) -> float | None:
        """Try to send one batch; returns the seconds until the next step. Called by the threads of the sender only."""
        response: ApiResponse | None = None
        with self._changed:
            self._scheduled = True  # if there is a batch, a further step follows it
            if self._closed:
                return None
            self._absorb()
            wait_s = self._not_before - time.monotonic()
            if wait_s > 0:
                return wait_s
            batch = self._backlog.next_batch(self._batch_events_max)
            self.attempts += bool(batch)
            self._scheduled = bool(batch)
            held_s = self._backlog.held_wait_s()
            self._changed.notify_all()  # there may be room in the queue
        if not batch:
            report_s = self.report_all()
            return min((wait_s for wait_s in (held_s, report_s) if wait_s is not None), default=None)
        sent_at = time.time()
        try:
            response = self._send(batch)
            results: list[BatchResultBody] | WhenceError = parse_batch_results(response, len(batch))
        except WhenceError as error:
            results = error.with_traceback(None)  # which refers to this frame, and so to this emitter
        except Exception:
            if self._closed:  # `close` closed the connections during the request
                return None
            raise
        with self._changed:
            if self._closed:
                return None
            if response is not None:
                self._clock.observe(response.headers.get("date"), sent_at, time.time())
            if isinstance(results, list):
                delay_s = self._apply(batch, results)
            else:
                delay_s = self._apply_failure(batch, results, response)
            self._backlog.finish_segment()
            if delay_s == 0.0:
                delay_s = self._gather()
            self._changed.notify_all()
        self.report_all()
        return delay_s

    def _gather(self) -> float:
        """The seconds until the next batch, after one that was accepted. Nothing that is urgent waits."""
        waiting = self._backlog.waiting() if self._gathers else None
        if waiting is None or waiting >= SEND_EVENTS_MAX or self._closing or self._flushing:
            return 0.0
        self._gather_until = time.monotonic() + _GATHER_S
        return _GATHER_S if waiting else 0.0

    def _apply(self, batch: Sequence[bytes], results: Sequence[BatchResultBody]) -> float:
        """Count and remove each event that has a final result, and keep the others; the seconds until the next step."""
        has_server_error = any(result.status == _SERVER_ERROR for result in results)
        self._server_errors = self._server_errors + 1 if has_server_error else 0
        retried: list[bytes] = []
        held: list[tuple[float, bytes]] = []
        backs_off = False
        try:
            for body, result in zip(batch, results, strict=True):
                backs_off |= self._apply_one(body, result, retried, held)
                self._backlog.outgoing.popleft()  # last: until here an exception keeps the event where it is
        finally:
            self._backlog.outgoing.extendleft(reversed(retried))
            if held:
                self._backlog.hold(held)
        if backs_off:
            return self._back_off(None)
        self._failures = 0
        self._error_code = None
        self._batch_events_max = min(SEND_EVENTS_MAX, self._batch_events_max * 2)
        return 0.0

    def _apply_one(
        self, body: bytes, result: BatchResultBody, retried: list[bytes], held: list[tuple[float, bytes]]
    ) -> bool:
        """Count an event with a final result, or add it to the others; returns whether the next attempt has to wait."""
        early = is_early(result)
        if self._hold_until and not early:
            self._hold_until.pop(hash(body), None)
        if result.status == _CREATED:
            self._counts.stored += 1
        elif result.status == _OK:
            self._counts.replayed += 1
        elif is_temporary(result.status) and (
            result.status != _SERVER_ERROR or self._server_errors < _SERVER_ERRORS_MAX
        ):
            retried.append(body)
            return True
        elif early:
            self._settle_early(body, result, held, retried)
        else:
            self._settle_refused(body, result, retried)
        return False

    def _settle_refused(self, body: bytes, result: BatchResultBody, retried: list[bytes]) -> None:
        """Reject an event, unless it is stored with a corrected time."""
        why = refusal(result)
        settled = settle_conflict(body, conflicting_fields(why)) if result.status == _CONFLICT else None
        if settled is None:
            self._backlog.reject(body, result.status, why)
        elif settled == body:
            self._counts.replayed += 1
        else:
            retried.append(settled)

    def _settle_early(
        self, body: bytes, result: BatchResultBody, held: list[tuple[float, bytes]], retried: list[bytes]
    ) -> None:
        """Hold, correct or reject an event whose time lies too far in the server's future."""
        now = time.monotonic()
        hold_left_s = self._hold_until.setdefault(hash(body), now + HOLD_MAX_S) - now
        if not self._backlog.may_hold(len(held) + 1):
            hold_left_s = 0.0
        settled = self._clock.settle(body, time.time(), hold_left_s)
        if isinstance(settled, float):
            held.append((settled, body))
            return
        del self._hold_until[hash(body)]
        if settled is None:
            self._backlog.reject(body, result.status, refusal(result))
            return
        retried.append(settled)
        self._counts.corrected += 1
        if self._counts.corrected == 1:
            seconds = counted(round(-(self._clock.offset_s or 0.0)), "second")
            self._reports.say(
                f"The clock of this host is {seconds} fast. The times of its events are corrected, and their own times "
                "are kept as _occurredAt in the payload."
            )

    def _apply_failure(self, batch: Sequence[bytes], error: WhenceError, response: ApiResponse | None) -> float:
        """Handle a batch that was not accepted as a whole; the seconds until the next step.

        If one of its events is the reason, halving the batch isolates that event. Otherwise the batch is retried, and
        spooled after some failures.
        """
        status = 0 if response is None else response.status
        self._server_errors = self._server_errors + 1 if status == _SERVER_ERROR else 0
        if status in (_TOO_LARGE, _INVALID) or self._server_errors >= _SERVER_ERRORS_MAX:
            self._server_errors = 0
            if len(batch) == 1:
                self._backlog.reject(batch[0], status, str(error))
                self._backlog.outgoing.popleft()
            self._batch_events_max = max(1, len(batch) // 2)
            return 0.0
        if isinstance(error, Unauthenticated):
            self._refused_attempt = self.attempts
        if error.code != self._error_code:
            self._error_code = error.code
            self._reports.add(error)
        requested_s = None if response is None else retry_after_s(response.headers.get("retry-after"), time.time())
        delay_s = self._back_off(requested_s)
        if self._failures >= _FAILURES_BEFORE_SPOOLING and self._backlog.spool is not None:
            self._backlog.try_spool(functools.partial(self._backlog.spool_queued, self._backlog.spool))
        return delay_s

    def _back_off(self, requested_s: float | None) -> float:
        self._failures += 1
        self._counts.retries += 1
        spread_max_s = _BACKOFF_CLOSING_MAX_S if self._closing else _BACKOFF_MAX_S
        at_least_s = None if requested_s is None else min(requested_s, RETRY_AFTER_MAX_S)
        delay_s = backoff_s(self._failures, at_least_s, spread_max_s)
        self._not_before = time.monotonic() + delay_s
        return delay_s

    def do_chores(self) -> float | None:
        """Move the events of the inbox on, and report errors: what must not wait while a request is under way.

        A thread of the sender runs it as it runs `step`, in another one if need be.
        """
        self.absorb()
        return self.report_all()

    def report_all(self, *, last: bool = False) -> float | None:
        """Report errors outside of the lock; `flush` waits until this has happened.

        Returns the seconds until there is more to report, if that is known.
        """
        errors: list[WhenceError | str] = []
        try:
            with self._changed:
                errors = self._reports.take(last=last)
            self._reports.deliver(errors)
        finally:
            with self._changed:
                wait_s = self._reports.delivered(errors)
                if errors:
                    self._changed.notify_all()
        return wait_s
