"""Followers: the parts of a server that read the log forward, handle what they read, and save how far they came.

One process of all that serve a store does the work of one kind, by a lease; when it ends, another takes over. A
follower handles an event before it saves its place, so a crash repeats some work and skips none.

    Worker -- lease, definitions --> Work.follow(tenant, Definitions)    one task for each tenant that has some
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Protocol

import structlog

from whence.errors import WhenceError
from whence.events import Viewer
from whence.permissions import ApiKey, readable_by
from whence.storage.base import Store
from whence.storage.followers import Definition
from whence.wire.ids import new_uuid7

__all__ = ["LEASE_S", "Definitions", "MakersKeys", "Work", "Worker"]

LEASE_S = 4.0
"""A lease that is not kept ends after this time, and another process takes over."""

_KEEP_S = 1.0
_AGAIN_S = 1.0
_KEY_TRUSTED_S = 1.0

_log = structlog.get_logger("whence.followers")


class Definitions:
    """The definitions of one kind and one tenant, as they are at the moment."""

    def __init__(self, current: Sequence[Definition]) -> None:
        self.current = tuple(current)
        self.lags: dict[str, int] = {}
        """How many positions of the log each follower had not read when it last read, by the name of its place."""
        self._changed = asyncio.Event()

    def replace(self, current: Sequence[Definition]) -> None:
        """Put others in place of the current ones, which wakes who waits, if they differ."""
        if self.current != tuple(current):
            self.current = tuple(current)
            self._changed.set()

    async def wait(self, timeout_s: float) -> bool:
        """Return True when they were replaced since the last call, and False after this time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        changed = self._changed.is_set()
        self._changed.clear()
        return changed


class MakersKeys:
    """The API keys that made definitions. A definition sees the log with its maker's key, and stands still without it.
    A key is looked up again after a second."""

    def __init__(self, store: Store, clock: Callable[[], int] = lambda: time.time_ns() // 1_000) -> None:
        """`clock` is the time in microseconds since the epoch."""
        self._store, self._clock = store, clock
        self._known: dict[str, tuple[float, ApiKey | None]] = {}

    async def viewer(self, tenant: str, key_id: str, readable: tuple[str, ...] | None) -> Viewer | None:
        """What a definition for these resource types (None for all) sees, or None while it stands still."""
        now = time.monotonic()
        known = self._known.get(key_id)
        if known is None or now - known[0] >= _KEY_TRUSTED_S:
            known = now, await self._store.credentials.get_key(key_id)
            self._known = {id_: each for id_, each in self._known.items() if now - each[0] < _KEY_TRUSTED_S}
            self._known[key_id] = known
        seen = readable_by(known[1], tenant, readable, self._clock())
        return None if seen == () else Viewer(tenant, seen)


class Work(Protocol):
    """What is done for the definitions of one kind."""

    kind: str

    async def follow(self, tenant: str, definitions: Definitions) -> None:
        """Follow the log of a tenant until cancelled. May be cancelled and begun again at any await."""
        ...


class Worker:
    """Does the work of every kind for every tenant that has definitions, while it has the lease of the kind."""

    def __init__(
        self, store: Store, works: Iterable[Work], beside: Iterable[Callable[[], Coroutine[Any, Any, None]]] = ()
    ) -> None:
        """`beside` is what runs besides, for as long as the worker does."""
        self._store = store
        self._works = tuple(works)
        self._beside = tuple(beside)
        self._owner = new_uuid7()
        self._tenants = {work.kind: _Tenants(work) for work in self._works}

    @property
    def lags(self) -> list[int]:
        """How many positions each follower that this process runs had not read when it last read."""
        return [lag for tenants in self._tenants.values() for lag in tenants.lags()]

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in self._works:
                group.create_task(self._run_kind(work))
            for run in self._beside:
                group.create_task(run())

    async def _run_kind(self, work: Work) -> None:
        tenants = self._tenants[work.kind]
        try:
            while True:
                try:
                    async with asyncio.timeout(LEASE_S - _KEEP_S):
                        tenants.set(await self._definitions_of(work.kind))
                except (WhenceError, TimeoutError) as error:
                    _log.warning("followers_wait", work=work.kind, error=str(error) or type(error).__name__)
                    tenants.set([])
                await asyncio.sleep(_KEEP_S)
        finally:
            await tenants.close()
            with contextlib.suppress(WhenceError):
                await self._store.followers.release_lease(work.kind, self._owner)

    async def _definitions_of(self, kind: str) -> list[Definition]:
        """The definitions that this process is to work for: none while another has the lease."""
        found = await self._store.followers.list_definitions(kind)
        if found and await self._store.followers.take_lease(kind, self._owner, LEASE_S):
            return found
        return []


class _Tenants:
    """The running tasks of one kind, by tenant."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._running: dict[str, tuple[Definitions, asyncio.Task[None]]] = {}

    def lags(self) -> Iterator[int]:
        """See `Worker.lags`."""
        for definitions, _ in self._running.values():
            yield from definitions.lags.values()

    def set(self, found: Iterable[Definition]) -> None:
        """Work for these definitions from now on."""
        by_tenant: dict[str, list[Definition]] = {}
        for definition in found:
            by_tenant.setdefault(definition.tenant, []).append(definition)
        for tenant in self._running.keys() - by_tenant.keys():
            self._running.pop(tenant)[1].cancel()
        for tenant, current in by_tenant.items():
            if tenant in self._running:
                self._running[tenant][0].replace(current)
            else:
                definitions = Definitions(current)
                self._running[tenant] = definitions, asyncio.create_task(self._follow(tenant, definitions))

    async def _follow(self, tenant: str, definitions: Definitions) -> None:
        """Follow, and begin again after an error: it harms no other tenant."""
        while True:
            try:
                await self._work.follow(tenant, definitions)
            except WhenceError as error:
                _log.warning("follower_again", work=self._work.kind, error=str(error))
            except Exception as error:
                _log.error("follower_failed", work=self._work.kind, error=type(error).__name__, exc_info=True)
            await asyncio.sleep(_AGAIN_S)

    async def close(self) -> None:
        """End all of them."""
        tasks = [task for _, task in self._running.values()]
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
