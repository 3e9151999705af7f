"""The event queue of one client: bounded, sent in batches, and spooled to disk while the server is away.

It has two states. *Live*: events are queued in memory and sent from there. *Spilling*: the queue was written to the
spool, and new events go there directly, so that the order stays. Spilling starts when the queue is full or the server
does not accept events, and ends when the last spooled event is sent.

An event is always in exactly one place: queued, in the batch being sent, spooled, stored, rejected or lost.
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

from whence.client.at_exit import close_at_exit
from whence.client.errors import Closed, Lost, Rejected, SpoolFull
from whence.client.fork_safety import register_fork_safe
from whence.client.requests import SEND_EVENTS_MAX, first_batch
from whence.client.responses import ApiResponse, is_temporary, parse_batch_results, refusal, retry_after_s
from whence.client.retries import RETRY_AFTER_MAX_S, backoff_s
from whence.client.sender import Sender
from whence.client.spool import REJECTED, Segment, Spool
from whence.errors import Unauthenticated, WhenceError
from whence.wire.bodies import BatchResultBody

__all__ = ["Emitter", "OnError", "Stats"]

OnError = Callable[[WhenceError], object]
"""Called with every refused event (`Rejected`), with events that are gone (`Lost`), and with the error that keeps
events from being sent, once when it begins. It runs in a thread of the client. An exception that it raises is logged.
"""

R = TypeVar("R")

_log = logging.getLogger("whence")

_LINGER_S = 0.02  # how long an event waits for others to share its batch
_BACKOFF_MAX_S = 5.0
_BACKOFF_CLOSING_MAX_S = 0.5
_FAILURES_BEFORE_SPOOLING = 2
_SERVER_ERRORS_MAX = 3  # 500s in a row after which an event of the batch is assumed to be the reason
_OK, _CREATED, _TOO_LARGE, _INVALID, _SERVER_ERROR = 200, 201, 413, 422, 500


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the events of one client.

    `emitted + adopted == stored + replayed + rejected + lost + queued + spooled`, always.

    `adopted` were spooled by earlier processes. `lost` were in spool files that were removed from outside. `retries`
    counts attempts to send that failed. `error_code` is the code of the error that keeps events from being sent now.
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
    error_code: str | None
    dropped: int = 0


class _Counts(msgspec.Struct):
    emitted: int = 0
    adopted: int = 0
    stored: int = 0
    replayed: int = 0
    rejected: int = 0
    lost: int = 0
    retries: int = 0


class Emitter:
    """Accepts events from any thread, and sends each once and in order. `send` makes one attempt to send a batch."""

    def __init__(
        self,
        send: Callable[[Sequence[bytes]], ApiResponse],
        sender: Sender,
        open_spool: Callable[[], Spool] | None,
        *,
        queue_events_max: int,
        queue_bytes_max: int,
        on_full: Literal["spill", "block"],
        on_error: OnError | None,
        exit_timeout_s: float,
    ) -> None:
        self._send = send
        self._sender = sender
        self._open_spool = open_spool
        self._queue_events_max = queue_events_max
        self._queue_bytes_max = queue_bytes_max
        self._blocks = on_full == "block" or open_spool is None
        self._on_error = on_error
        self.exit_timeout_s = exit_timeout_s
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Start empty: the parent sends the events that it has queued."""
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._outgoing: deque[bytes] = deque()  # taken from the queue or from a segment, to be sent next
        self._outgoing_number: int | None = None  # the spool number reserved for it, when it is from the queue
        self._outgoing_segment: Segment | None = None  # the segment that it is from, if any
        self._spool: Spool | None = None
        self._spilling = self._started = self._scheduled = self._closing = self._closed = False
        self._batch_events_max = SEND_EVENTS_MAX
        self._failures = self._server_errors = 0
        self._not_before = 0.0
        self._error_code: str | None = None
        self._refused_credentials = 0  # batches that the server refused with a 401
        self._counts = _Counts()
        self._unreported: list[WhenceError] = []
        self._callback_thread: int | None = None  # the thread that is running `on_error`

    # ----------------------------------------------------------------------------------------------- accepting events

    def put(self, body: bytes, *, wait: bool = True) -> bool | None:
        """Accept an event. Returns True when it is on disk, False when it is in memory.

        With `wait=False` it returns None instead of waiting for the disk or for room in the queue; the event was not
        accepted then. Raises Closed and SpoolFull.
        """
        with self._changed:
            self._start()
            while not self._spilling:
                if self._has_room(body):
                    self._queue.append(body)
                    self._queue_bytes += len(body)
                    self._counts.emitted += 1
                    self._wake(0.0 if len(self._queue) == SEND_EVENTS_MAX else _LINGER_S)
                    return False
                if not wait:
                    return None
                if self._blocks:
                    if self._callback_thread == threading.get_ident():
                        raise SpoolFull("The queue is full, and only the thread that is running on_error can empty it.")
                    self._changed.wait()
                    self._start()
                else:
                    _or_spool_full(self._spill)
            if not wait:
                return None
            spool = self._spool
            if spool is None:
                raise SpoolFull("There is no spool.")
            ticket = _or_spool_full(lambda: spool.append(body))
            self._counts.emitted += 1
            self._wake(_LINGER_S)
        _or_spool_full(lambda: spool.sync(ticket))
        return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until every event is stored or rejected; returns whether this happened within the time.

        Raises Unauthenticated as soon as the server refuses the credential.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            if self._closed:
                return self._pending() == 0
            self._start()
            if self._error_code == Unauthenticated.code:
                self._not_before = 0.0  # the credential is tried once more now
            self._wake(0.0)
            before = self._refused_credentials
            self._changed.wait_for(
                lambda: self._is_done() or self._refused_credentials > before, deadline - time.monotonic()
            )
            if self._refused_credentials > before and not self._is_done():
                raise Unauthenticated
            return self._is_done()

    def close(self, timeout_s: float | None = None) -> bool:
        """Accept no more events, and wait until all are sent; returns whether this happened within the time.

        Events that were not sent are spooled. Without a spool they are reported as Lost.
        """
        deadline = time.monotonic() + (self.exit_timeout_s if timeout_s is None else timeout_s)
        self.begin_close()
        with self._changed:
            if self._closed or not self._started:
                self._closed = True
                return self._pending() == 0
            self._changed.wait_for(self._is_done, deadline - time.monotonic())
            sent = self._pending() == 0
            self._closed = True  # a step that is still running discards its result
            unsent, missing = self._spool_unsent()
            self._counts.lost += missing
            self._changed.notify_all()
        if missing:
            self._report(Lost(f"{missing} events that were spooled are gone: their files were removed.", []))
        if unsent:
            self._report(
                Lost(f"{len(unsent)} events could be neither sent nor spooled before the client closed.", unsent)
            )
        return sent

    def begin_close(self) -> None:
        """Accept no more events, and start to send the queued ones at once."""
        with self._changed:
            self._closing = True
            self._not_before = 0.0
            self._changed.notify_all()
            if self._started and not self._closed:
                self._sender.wake(self)

    def stats(self) -> Stats:
        """The counts up to now."""
        with self._changed:
            queued, spooled = self._queued_and_spooled()
            return Stats(
                **{name: getattr(self._counts, name) for name in _Counts.__struct_fields__},
                queued=queued,
                spooled=spooled,
                error_code=self._error_code,
            )

    def _start(self) -> None:
        """Open the spool before the first event. Raises Closed."""
        if self._closing:
            raise Closed("This client is closed.")
        if self._started:
            return
        self._started = True
        close_at_exit(self)
        if self._open_spool is not None:
            self._spool = self._open_spool()
            with contextlib.suppress(OSError):  # adopting is tried again when the spool is next empty
                self._adopt(self._spool)

    def _adopt(self, spool: Spool) -> None:
        events_before = spool.events
        if spool.adopt():
            self._counts.adopted += spool.events - events_before
            self._spilling = True
            self._sender.wake(self)

    def _has_room(self, body: bytes) -> bool:
        fits = self._queue_bytes + len(body) <= self._queue_bytes_max or not self._queue
        return fits and len(self._queue) < self._queue_events_max

    def _queued_and_spooled(self) -> tuple[int, int]:
        """The number of unsent events in memory and on disk."""
        spooled = 0 if self._spool is None else self._spool.events
        if self._outgoing_segment is None:
            return len(self._queue) + len(self._outgoing), spooled
        sent = self._outgoing_segment.events - len(self._outgoing)
        return len(self._queue), spooled - sent

    def _pending(self) -> int:
        return sum(self._queued_and_spooled())

    def _is_done(self) -> bool:
        return self._pending() == 0 and not self._unreported

    def _wake(self, delay_s: float) -> None:
        if not self._scheduled or delay_s == 0.0:
            self._scheduled = True
            self._sender.wake(self, max(delay_s, self._not_before - time.monotonic()))

    def _spill(self) -> None:
        """Move the queue to the spool. From now on new events go there. The caller holds the lock."""
        spool = self._spool
        if spool is None:
            return
        if self._queue:
            spool.write(spool.reserve(), self._queue)
            self._queue.clear()
            self._queue_bytes = 0
        self._spilling = True
        self._changed.notify_all()

    # -------------------------------------------------------------------------------------------------------- sending

    def step(self) -> float | None:
        """Try to send one batch; returns the seconds until the next step. Called by the threads of the sender only."""
        response: ApiResponse | None = None
        with self._changed:
            self._scheduled = False
            wait_s = self._not_before - time.monotonic()
            if self._closed or wait_s > 0:
                return None if self._closed else wait_s
            batch = self._next_batch()
        if not batch:
            self._report_all()
            return None
        try:
            response = self._send(batch)
            results: list[BatchResultBody] | WhenceError = parse_batch_results(response, len(batch))
        except WhenceError as error:
            results = error
        except Exception:
            if self._closed:  # `close` closed the connections during the request
                return None
            raise
        with self._changed:
            if self._closed:
                return None
            if isinstance(results, list):
                delay_s = self._apply(batch, results)
            else:
                delay_s = self._apply_failure(batch, results, response)
            if not self._outgoing and not self._queue and self._outgoing_segment is not None:
                self._refill()  # removes the segment now, and not only with the next event
            self._changed.notify_all()
        self._report_all()
        return delay_s

    def _next_batch(self) -> list[bytes]:
        """The events to send next. They stay in `_outgoing` until their result is known."""
        while not self._outgoing and self._refill():
            pass
        return first_batch(islice(self._outgoing, self._batch_events_max))

    def _refill(self) -> bool:
        """Fill `_outgoing` from the spool, or from the queue once the spool is empty. False when both are empty."""
        spool = self._spool
        if spool is not None and self._outgoing_segment is not None:
            spool.remove(self._outgoing_segment)
            self._outgoing_segment = None
        if spool is not None and self._spilling:
            segment = spool.oldest()
            if segment is None:
                self._adopt(spool)
                segment = spool.oldest()
            if segment is not None:
                self._outgoing_segment, self._outgoing_number = segment, None
                self._read(spool, segment)
                return True
            self._spilling = False
            self._changed.notify_all()
        if not self._queue:
            self._changed.notify_all()
            return False
        self._outgoing_number = None if spool is None else spool.reserve()
        while self._queue and len(self._outgoing) < SEND_EVENTS_MAX:
            self._outgoing.append(self._queue.popleft())
            self._queue_bytes -= len(self._outgoing[-1])
        self._changed.notify_all()
        return True

    def _read(self, spool: Spool, segment: Segment) -> None:
        """Read a segment into `_outgoing`. A file that was removed from outside is reported and skipped."""
        try:
            self._outgoing.extend(spool.read(segment))
        except FileNotFoundError:
            self._counts.lost += segment.events
            self._unreported.append(Lost(f"{segment.path} is gone, and {segment.events} events with it.", []))
            segment.events = 0

    def _apply(self, batch: Sequence[bytes], results: Sequence[BatchResultBody]) -> float:
        """Count and remove each event that has a final result, and keep the others; the seconds until the next step."""
        retried: list[bytes] = []
        has_server_error = any(result.status == _SERVER_ERROR for result in results)
        self._server_errors = self._server_errors + 1 if has_server_error else 0
        for body, result in zip(batch, results, strict=True):
            self._outgoing.popleft()
            if result.status == _CREATED:
                self._counts.stored += 1
            elif result.status == _OK:
                self._counts.replayed += 1
            elif is_temporary(result.status) and (
                result.status != _SERVER_ERROR or self._server_errors < _SERVER_ERRORS_MAX
            ):
                retried.append(body)
            else:
                self._reject(body, result.status, refusal(result))
        self._outgoing.extendleft(reversed(retried))
        if retried:
            return self._back_off(None)
        self._failures = 0
        self._error_code = None
        self._batch_events_max = min(SEND_EVENTS_MAX, self._batch_events_max * 2)
        return 0.0

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
                self._reject(self._outgoing.popleft(), status, str(error))
            self._batch_events_max = max(1, len(batch) // 2)
            return 0.0
        if isinstance(error, Unauthenticated):
            self._refused_credentials += 1
        if error.code != self._error_code:
            self._error_code = error.code
            self._unreported.append(error)
        requested_s = None if response is None else retry_after_s(response.headers.get("retry-after"), time.time())
        delay_s = self._back_off(requested_s)
        if self._failures >= _FAILURES_BEFORE_SPOOLING and self._outgoing_segment is None and self._spool is not None:
            try:
                if self._outgoing:
                    self._write_outgoing(self._spool, self._outgoing)
                    self._outgoing.clear()
                self._spill()
            except (OSError, SpoolFull) as refused:  # the events stay in memory, and the queue fills up
                _log.warning("The spool cannot be written: %s", refused)
        return delay_s

    def _back_off(self, requested_s: float | None) -> float:
        self._failures += 1
        self._counts.retries += 1
        spread_max_s = _BACKOFF_CLOSING_MAX_S if self._closing else _BACKOFF_MAX_S
        at_least_s = None if requested_s is None else min(requested_s, RETRY_AFTER_MAX_S)
        delay_s = backoff_s(self._failures, at_least_s, spread_max_s)
        self._not_before = time.monotonic() + delay_s
        return delay_s

    def _reject(self, body: bytes, status: int, why: str) -> None:
        self._counts.rejected += 1
        why, file = why or f"the server responded with {status}.", None
        if self._spool is not None:
            try:
                self._spool.reject(body, status, why)
                file = self._spool.folder / REJECTED
            except OSError:
                why += " It could not be written to the file of rejected events."
        self._unreported.append(Rejected(why, body, status, file))

    def _report_all(self) -> None:
        """Report errors outside of the lock. `flush` waits until this has happened."""
        with self._changed:
            errors = list(self._unreported)
        for error in errors:
            self._report(error)
        if errors:
            with self._changed:
                del self._unreported[: len(errors)]
                self._changed.notify_all()

    def _report(self, error: WhenceError) -> None:
        is_final = isinstance(error, Rejected | Lost)
        _log.warning("%s" if is_final else "Events cannot be sent now and are kept: %s", error)
        if self._on_error is None:
            return
        self._callback_thread = threading.get_ident()
        try:
            self._on_error(error)
        except Exception:  # an error of the callback must not stop the sending
            _log.exception("The callback on_error failed.")
        finally:
            self._callback_thread = None

    # --------------------------------------------------------------------------------------------------------- closing

    def _spool_unsent(self) -> tuple[list[bytes], int]:
        """Write the unsent events to disk for the next process, and release the spool. The caller holds the lock.

        Returns the events that could not be written, and the number of events whose files were removed from outside.
        """
        spool = self._spool
        if spool is not None and self._outgoing_segment is not None and not self._outgoing_segment.path.exists():
            spool.remove(self._outgoing_segment)  # its events are in memory only
            self._outgoing_segment = None
        unsent = [*(self._outgoing if self._outgoing_segment is None else ()), *self._queue]
        if spool is None:
            return unsent, 0
        missing = 0
        try:
            if unsent:
                self._write_outgoing(spool, unsent)
            unsent = []
            self._outgoing.clear()
            self._queue.clear()
        except OSError as error:
            self._log_unwritable(spool, error)
        try:
            missing = spool.close()
        except OSError as error:
            self._log_unwritable(spool, error)
        return unsent, missing

    def _write_outgoing(self, spool: Spool, bodies: Sequence[bytes]) -> None:
        """Spool these events in the place reserved for them: they are older than those that are spooled already.

        The server may have received some of them. It stores them once, since they have ids.
        """
        number = spool.reserve() if self._outgoing_number is None else self._outgoing_number
        spool.write(number, bodies)

    def _log_unwritable(self, spool: Spool, error: OSError) -> None:
        """Log a sentence without a traceback, which would only confuse at the end of a program."""
        _log.error("The spool in %s cannot be written: %s.", spool.folder, error.strerror)


def _or_spool_full(write: Callable[[], R]) -> R:
    """The result of writing to the spool. Raises SpoolFull when it cannot be written."""
    try:
        return write()
    except OSError as error:
        raise SpoolFull(f"The event was not accepted, since the spool cannot be written: {error.strerror}.") from error
