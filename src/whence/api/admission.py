"""Who may use how much of the server: the totals that all requests share, and each tenant's part of them.

`whence.fairness` has the rule. The event queue is shared in the same way by `whence.ingest`, and the connections for
reading by the stores; docs/operations.md lists all of them.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeVar

from whence.api.quotas import ByteQuota, DiskSpace, EventRate
from whence.api.request import Request
from whence.errors import Throttled
from whence.events import NewEvent, Viewer
from whence.fairness import FairBudget, FairQueue, LoopRounds
from whence.settings import Settings
from whence.storage.base import Store

__all__ = ["INFLATING_THREADS", "SMALL_ANSWER", "Admission"]

_SLICE_S = 0.002
_EXPORTS_MAX = 8

SMALL_ANSWER = 64 * 1024
"""Answers of up to so many bytes are not counted."""

INFLATING_THREADS = 2
"""Threads of the process that inflate bodies."""

Item = TypeVar("Item")


class Admission:
    """What the requests of one server share. Belongs to one event loop.

    `bodies` and `answers` are the bytes of request bodies, and of large answers, that are in memory. `streams` are the
    open streams, and requests that wait for events. `exports` are those that run. `pages` are pages of events that are
    being read or encoded. `turns` is long work on the event loop, one slice of some milliseconds at
    a time. `rounds` decides which requests run in a round of the event loop. `inflating` are the threads that inflate
    bodies. `event_rate`, `byte_quota` and `disk_space` bound what is stored.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self.bodies = FairBudget(settings.bodies_in_flight_max, "request bodies")
        self.answers = FairBudget(settings.answers_in_flight_max, "large answers")
        self.streams = FairBudget(settings.streams_max, "streams")
        self.exports = FairBudget(_EXPORTS_MAX, "exports")
        self._tenant_streams_max = settings.tenant_streams_max
        self.pages = FairQueue(store.reads_at_once)
        self.unbounded_pages = FairQueue(max(1, store.reads_at_once // 2))
        self.turns = FairQueue(1, brief=True)
        self.rounds = LoopRounds(settings.connections_max)
        self.inflating = FairQueue(INFLATING_THREADS, brief=True)
        self.byte_quota = ByteQuota(store.head, settings.tenant_bytes_max)
        self.event_rate = EventRate(settings.tenant_events_per_s)
        self.disk_space = DiskSpace(store.free_bytes, settings.disk_free_min)

    async def admit_events(self, request: Request, viewer: Viewer, events: Sequence[NewEvent]) -> None:
        """Count events that are about to be stored, and say in the response what is left of the quota: to a viewer of
        every event, since others would learn how much the rest of the tenant stores.

        Raises Throttled and QuotaSpent beyond the tenant's quotas, and Unavailable while the disk is nearly full.
        """
        self.admit_events_now(request, viewer, len(events))
        await self.byte_quota.require(viewer.tenant, sum(len(event.payload) for event in events))

    def admit_events_now(self, request: Request, viewer: Viewer, events: int) -> None:
        """As `admit_events`, for so many events, where `byte_quota` has no limit: only that has to be read."""
        self.disk_space.require()
        try:
            self.event_rate.take(viewer.tenant, events)
        finally:
            if viewer.readable is None:
                request.scope["state"]["headers"] += self.event_rate.headers(viewer.tenant)

    def page_place(self, tenant: str, *, indexed: bool) -> AbstractAsyncContextManager[None]:
        """Hold a place of `pages`. Of the questions that read much, at most half as many hold one, so that an indexed
        page does not wait for them."""
        return self.pages.place(tenant) if indexed else self._unbounded_place(tenant)

    @asynccontextmanager
    async def _unbounded_place(self, tenant: str) -> AsyncIterator[None]:
        async with self.unbounded_pages.place(tenant), self.pages.place(tenant):
            yield

    def hold_answer(self, request: Request, tenant: str, size: int, *, stored: bool = False) -> None:
        """Count the `size` bytes of a large answer until the client has read it; a small one is not counted.

        Raises Busy and Throttled when they do not fit, unless the answer is about events that were just `stored`.
        """
        if size <= SMALL_ANSWER:
            return
        (self.answers.add if stored else self.answers.take)(tenant, size)
        request.scope["state"]["at_end"].append(partial(self.answers.give_back, tenant, size))

    def take_answer(self, tenant: str, size: int) -> Callable[[], None]:
        """Count the `size` bytes of a part of streams; the function that is returned gives them back. Raises Busy and
        Throttled when they do not fit."""
        if size <= SMALL_ANSWER:
            return lambda: None
        self.answers.take(tenant, size)
        return partial(self.answers.give_back, tenant, size)

    def hold_stream(self, request: Request, tenant: str) -> None:
        """Count a stream, or a request that waits for events, until it ends. Raises Throttled when the tenant has too
        many of them, and Busy when all tenants have."""
        if self.streams.held(tenant) >= self._tenant_streams_max:
            raise Throttled("Too many streams of this tenant are open; close some, or come back shortly.")
        self.streams.take(tenant, 1)
        request.scope["state"]["at_end"].append(partial(self.streams.give_back, tenant, 1))

    def hold_export(self, request: Request, tenant: str) -> None:
        """Count an export until it ends. Raises Throttled when too many of the tenant run, and Busy when too many of
        all do."""
        self.exports.take(tenant, 1)
        request.scope["state"]["at_end"].append(partial(self.exports.give_back, tenant, 1))

    async def in_slices(self, tenant: str, items: Iterator[Item]) -> list[Item]:
        """All items of an iterator that computes. Others run whenever it has taken some milliseconds."""
        found: list[Item] = []
        async with self.turns.place(tenant):
            slice_end = time.perf_counter() + _SLICE_S
            for item in items:
                found.append(item)
                if time.perf_counter() > slice_end:
                    await self.turns.pass_turn(tenant)
                    slice_end = time.perf_counter() + _SLICE_S
        return found
