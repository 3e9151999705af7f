"""Ingest: a bounded queue of requests, and one append for all waiting requests of a tenant.

While an append of a tenant runs, its further requests queue up, and the next append takes all of them. So under load
one commit serves many requests, and a single request does not wait.

A long body is parsed only when its events are to be stored soon. Parsed earlier, they would wait for the writer in any
case, or be refused after the work; and the writer, which shares the GIL with the parser, would take longer.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from whence.errors import Throttled, Unavailable, WhenceError
from whence.events import NewEvent
from whence.fairness import FairBudget
from whence.storage import Receipt, Store, Write

__all__ = ["AppendMeter", "Ingest"]

_log = structlog.get_logger("whence.ingest")

_FAILED = "The store failed. Send the request again, with the same ids."

_APPEND_EVENTS_MAX = 1_000
"""An append takes no further request beyond this many events, so that its first request does not wait long."""

_AHEAD_MAX = _APPEND_EVENTS_MAX
"""No long body is parsed while more events of its tenant are queued or being stored: a full append, and what is parsed
beside it."""

_ROOM_WAIT_S = 10.0


class AppendMeter(Protocol):
    """What appends are reported to."""

    def appended(
        self, seconds: float, writes: Sequence[Write], results: Sequence[list[Receipt] | WhenceError] | None
    ) -> None:
        """An append of these requests took so long. There are no results if the store raised."""
        ...


class _Waiting:
    """A request in the queue, and the future of its receipts."""

    __slots__ = ("future", "write")

    def __init__(self, write: Write, future: "asyncio.Future[list[Receipt]]") -> None:
        self.write = write
        self.future = future


class Ingest:
    """Queues requests of all tenants and appends them to the store. Belongs to one event loop."""

    def __init__(self, store: Store, events_max: int = 20_000, meter: AppendMeter | None = None) -> None:
        """`events_max` bounds the events that are queued or being stored, over all tenants, which share it fairly.
        `meter` counts the appends."""
        self._store = store
        self._meter = meter
        self._events = FairBudget(events_max, "events")
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._parsing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._awaiting_room: dict[str, asyncio.Future[None]] = {}
        self._flushes: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def events(self) -> int:
        """How many events are queued or being stored."""
        return self._events.used

    async def add(
        self,
        tenant: str,
        events: Sequence[NewEvent],
        *,
        atomic: bool = False,
        readable: tuple[str, ...] | None = None,
    ) -> list[Receipt]:
        """Store the events of one request; a receipt for each once they are durable. `readable` as in `Write`.

        Raises the errors of `submit` and of its future. If the waiting task is cancelled, the events may still be
        stored; sent again with the same ids, they are replays.
        """
        return await self.submit(tenant, events, atomic=atomic, readable=readable)

    @asynccontextmanager
    async def parsing(self, tenant: str) -> AsyncIterator[None]:
        """Hold this while a long body is parsed and its events are submitted. The long bodies of a tenant are parsed
        one by one, each once few of its events wait. Raises Throttled when this takes 10 s."""
        lock = self._parsing.setdefault(tenant, asyncio.Lock())
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(_ROOM_WAIT_S):
                    await held.enter_async_context(lock)
                    await self._room(tenant)
            except TimeoutError:
                raise Throttled("Too many events of this tenant wait to be stored; send this again later.") from None
            yield

    def submit(
        self,
        tenant: str,
        events: Sequence[NewEvent],
        *,
        atomic: bool = False,
        readable: tuple[str, ...] | None = None,
    ) -> "asyncio.Future[list[Receipt]]":
        """Queue the events of one request. The future has their receipts once they are durable; if it is
        cancelled, they may still be stored.

        Raises Busy when the queue is full, and Throttled when the tenant's part of it is. The future raises Unavailable
        when the commit failed, and, for an atomic request, the error of the event that could not be stored.
        """
        if self._closed:
            raise Unavailable("The server is stopping. Send the request again.")
        self._events.take(tenant, len(events))
        future: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        request = _Waiting(Write(tuple(events), atomic, readable), future)
        queue = self._waiting.get(tenant)
        if queue is not None:  # the tenant's flush is running and will take it
            queue.append(request)
        else:
            self._waiting[tenant] = deque([request])
            task = asyncio.create_task(self._flush(tenant))
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)
        return future

    async def close(self) -> None:
        """Refuse new requests, and return once every accepted one is answered. Harmless when repeated."""
        self._closed = True
        while self._flushes:
            await asyncio.wait(self._flushes)

    async def _flush(self, tenant: str) -> None:
        """Append the queued requests of this tenant until there are none. Each is answered, whatever happens."""
        queue = self._waiting[tenant]
        group: list[_Waiting] = []
        try:
            while queue:
                group = _next_group(queue)
                # No reference is kept while the next group is stored: the payloads may use the whole memory budget.
                self._answer(tenant, group, await self._append(tenant, group))
                group = []
        finally:
            del self._waiting[tenant]
            # Some are left only after a cancellation, and nothing else would answer them.
            left = [*group, *queue]
            self._answer(tenant, left, [Unavailable(_FAILED)] * len(left))

    async def _append(self, tenant: str, group: Sequence[_Waiting]) -> Sequence[list[Receipt] | WhenceError]:
        """A result for each request of the group. Never raises an Exception."""
        began, stored = time.perf_counter(), None
        writes = [request.write for request in group]
        try:
            results = await self._store.append(tenant, writes)
            if len(results) != len(group):
                raise RuntimeError("the number of results differs from the number of requests")
            stored = results
        except WhenceError as error:
            return [error] * len(group)
        except Exception as error:
            _log.error("append failed", error=type(error).__name__, exc_info=True)
            return [Unavailable(_FAILED)] * len(group)
        finally:
            if self._meter is not None:
                self._meter.appended(time.perf_counter() - began, writes, stored)
        return results

    def _answer(self, tenant: str, group: Sequence[_Waiting], results: Sequence[list[Receipt] | WhenceError]) -> None:
        for request, result in zip(group, results, strict=True):
            self._events.give_back(tenant, len(request.write.events))
            _answer(request.future, result)
        room = self._awaiting_room.get(tenant)
        if room is not None and not room.done() and self._has_room(tenant):
            room.set_result(None)

    def _has_room(self, tenant: str) -> bool:
        return self._events.held(tenant) <= _AHEAD_MAX

    async def _room(self, tenant: str) -> None:
        """Return once a long body may be parsed. Only one task of a tenant waits at a time."""
        while not self._has_room(tenant):
            room = self._awaiting_room[tenant] = asyncio.get_running_loop().create_future()
            try:
                await room
            finally:
                del self._awaiting_room[tenant]


def _next_group(queue: "deque[_Waiting]") -> list[_Waiting]:
    """The requests of the next append, in the order in which they came."""
    group = [queue.popleft()]
    events = len(group[0].write.events)
    while queue and events + len(queue[0].write.events) <= _APPEND_EVENTS_MAX:
        group.append(queue.popleft())
        events += len(group[-1].write.events)
    return group


def _answer(future: "asyncio.Future[list[Receipt]]", result: list[Receipt] | WhenceError) -> None:
    if future.done():
        return
    if isinstance(result, WhenceError):
        future.set_exception(result)
        future.exception()  # marks it as retrieved, even if the waiting task was cancelled
    else:
        future.set_result(result)
