"""Policies of retention: where they are kept, and the schedule that asks for their runs."""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

import msgspec
import structlog

from whence.errors import Busy, Throttled, WhenceError
from whence.followers import LEASE_S
from whence.removal import DONE, request_of
from whence.removal_parts import erased_to, holds_released, last_expired
from whence.retention import FOR_EVER, Policy, RemovalRequest
from whence.storage.base import Store
from whence.storage.followers import Definition
from whence.storage.removals import POLICY, REMOVAL
from whence.wire.ids import new_uuid7
from whence.wire.log_events import EVENT_LOG_ACTOR

__all__ = ["LEASE", "RetentionSchedule", "policy_of", "put_policy", "request_run"]

LEASE = "retention"
"""The name of the lease."""

_TRIES = 5
_FIRST_S = 30.0
_EVERY_S = 3_600.0
_AGAIN_S = 60.0
_RUNS_APART_US = 23 * 3_600_000_000
"""Somewhat less than a day, so that the look at the same hour of the next day finds it over."""

_log = structlog.get_logger("whence.removal")


async def policy_of(store: Store, tenant: str, default: Policy) -> tuple[Policy, Literal["tenant", "server", "none"]]:
    """The policy of a tenant, and whose it is: its own, else the server's; `none` where
    neither has one."""
    definition = await store.followers.get_definition(tenant, POLICY, POLICY)
    if definition is not None:
        return msgspec.json.decode(definition.body, type=Policy), "tenant"
    return (FOR_EVER, "none") if default == FOR_EVER else (default, "server")


async def put_policy(store: Store, tenant: str, policy: Policy) -> None:
    """Set the policy of a tenant. Raises Busy when others do so at the same time."""
    for _ in range(_TRIES):
        former = await store.followers.get_definition(tenant, POLICY, POLICY)
        version = 1 if former is None else former.version + 1
        definition = Definition(tenant, POLICY, POLICY, version, msgspec.json.encode(policy))
        if await store.followers.put_definition(definition):
            return
    raise Busy("The policy is being changed by others at the same time. Send it again.")


async def request_run(
    store: Store, tenant: str, policy: Policy, by: tuple[str, str], reason: str, now: int
) -> tuple[str, RemovalRequest]:
    """Ask for a run of a policy. While the tenant has one that is not done, that is the one. Returns it with its id."""
    for definition in await store.followers.list_definitions(REMOVAL, tenant):
        request = request_of(definition)
        if request.kind == "retention":
            return definition.id, request
    size = (await store.head(tenant)).size
    request = RemovalRequest(kind="retention", reason=reason, by=by, created_at=now, as_of=size, policy=policy)
    request_id = new_uuid7()
    await store.followers.put_definition(Definition(tenant, REMOVAL, request_id, 1, msgspec.json.encode(request)))
    return request_id, request


class RetentionSchedule:
    """Asks for a run of each policy that has something to remove, at most once a day, so that a log gets few
    announcements. It looks every hour. Of several processes that look at the same time, the one with the lease asks.
    """

    def __init__(
        self,
        store: Store,
        default: Policy,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
        first_s: float = _FIRST_S,
    ) -> None:
        """`default` is the policy of the tenants that have none of their own. `clock` is the time in microseconds since
        the epoch. The first round begins after `first_s` seconds."""
        self._store, self._default, self._clock, self._first_s = store, default, clock, first_s
        self._owner = new_uuid7()

    async def run(self) -> None:
        """Work until cancelled."""
        due = time.monotonic() + self._first_s
        while True:
            try:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if await self._store.followers.take_lease(LEASE, self._owner, LEASE_S):
                    await self.request_all()
                due = time.monotonic() + _EVERY_S
            except WhenceError as error:
                _log.warning("retention_waits", error=str(error))
                due = time.monotonic() + _AGAIN_S

    async def request_all(self) -> None:
        """Ask for the runs that are due now."""
        for tenant in await self._store.tenants():
            policy, _ = await policy_of(self._store, tenant, self._default)
            now = self._clock()
            try:
                if await self._is_due(tenant, policy, now) and not await self._ran_lately(tenant, now):
                    await request_run(self._store, tenant, policy, EVENT_LOG_ACTOR, "scheduled", now)
            except Throttled as error:
                _log.warning("retention_waits", tenant=tenant, error=str(error))

    async def _ran_lately(self, tenant: str, now: int) -> bool:
        """Whether the tenant had a scheduled run that removed something within about a day."""
        done = [request_of(each) for each in await self._store.followers.list_definitions(DONE, tenant)]
        return any(
            request.kind == "retention" and request.by == EVENT_LOG_ACTOR and request.created_at > now - _RUNS_APART_US
            for request in done
        )

    async def _is_due(self, tenant: str, policy: Policy, now: int) -> bool:
        """Whether a policy has something to remove, unless that is held."""
        if policy == FOR_EVER:
            return False
        if policy.max_age_days is not None:
            retained_from = (await self._store.head(tenant)).retained_from
            if await last_expired(self._store, tenant, policy.max_age_days, now) >= retained_from:
                return True
            if await holds_released(self._store, tenant):
                return True
        for rule in policy.rules:
            if await last_expired(self._store, tenant, rule.max_age_days, now) > await erased_to(
                self._store, tenant, rule
            ):
                return True
        return False
