"""The follower that keeps the index of payload fields up to date: slice by slice, log by log.

One process of all that serve a store does so, by a lease. Nothing depends on that: each slice is a transaction that
finds out itself what comes next.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence

import structlog

from whence.errors import WhenceError
from whence.followers import LEASE_S
from whence.storage.base import Store
from whence.wire.ids import new_uuid7

__all__ = ["LEASE", "PayloadIndexing"]

LEASE = "payload index"
"""The name of the lease."""

_EVERY_S = 0.5
_EVERY_S_WITHOUT_PATHS = 60.0
_KEEP_S = 1.0
_PAUSE_S = 2.0
"""After the store could not serve."""

_VISIT_SLICES = 16
"""Slices of one log in a round; then the logs of others have their turn."""

_REST = 1.0
"""After each slice, appends have the store for as long as it took, times this."""

_log = structlog.get_logger("whence.payload_index")


class PayloadIndexing:
    """Indexes the payload fields of every tenant, while it has the lease."""

    def __init__(self, store: Store, paths: Sequence[str]) -> None:
        """`paths` are all that are indexed: what the store has of others is removed."""
        self._store, self._paths = store, tuple(paths)
        self._every_s = _EVERY_S if self._paths else _EVERY_S_WITHOUT_PATHS
        self._owner = new_uuid7()
        self._leased_until = float("-inf")

    async def run(self) -> None:
        """Index until cancelled."""
        try:
            while True:
                pause = _PAUSE_S
                try:
                    pause = 0.0 if await self.index_all() else self._every_s
                except WhenceError as error:
                    _log.warning("payload_index_waits", error=str(error))
                except Exception as error:
                    _log.error("payload_index_failed", error=type(error).__name__, exc_info=True)
                await asyncio.sleep(pause)
        finally:
            with contextlib.suppress(WhenceError):
                await self._store.followers.release_lease(LEASE, self._owner)

    async def index_all(self) -> bool:
        """Go on with each index that does not cover its log. Returns whether one still does not. Another process does
        so while it has the lease."""
        if not await self._has_lease():
            return False
        is_incomplete = False
        for tenant in await self._store.payload_index.unindexed(self._paths):
            for _ in range(_VISIT_SLICES):
                if not await self._has_lease():
                    return False
                began = time.monotonic()
                more = await self._store.payload_index.advance(tenant, self._paths)
                await asyncio.sleep((time.monotonic() - began) * _REST)
                if not more:
                    break
            else:
                is_incomplete = True
        return is_incomplete

    async def _has_lease(self) -> bool:
        """Whether this process has the lease, which is kept now and then."""
        now = time.monotonic()
        if now >= self._leased_until:
            if not await self._store.followers.take_lease(LEASE, self._owner, LEASE_S):
                return False
            self._leased_until = now + _KEEP_S
        return True
