"""Checking a log on PostgreSQL by the rules of `storage/verifying.py`. Reads only, in parts, and one snapshot a tenant,
so it may run beside writers.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg

from whence import rollups, transitions
from whence.errors import Unavailable
from whence.flows import TransitionsByDay
from whence.storage.postgres.actor_totals import outcomes_of, unfolded_events
from whence.storage.postgres.connections import CONNECTION_LOST, DRIVER_ERRORS, Connection, Target, begin_statements
from whence.storage.postgres.replication import part_rows
from whence.storage.postgres.rows import cause_id_from, event_from
from whence.storage.postgres.schema import verify as verify_schema
from whence.storage.postgres.tenants import NOBODY
from whence.storage.sql import load_blocks
from whence.storage.verification import (
    ACTORS_WRONG,
    CAUSES_WRONG,
    FINDINGS_MAX,
    TIMES_WRONG,
    Chain,
    Finding,
    Level,
    Report,
    add_transitions,
    counted_wrong,
    stored_transitions,
)

__all__ = ["verify"]

_SQL = load_blocks("whence.storage.postgres")

_PART = 1_000
"""Events that are read at once."""

_ROWS = 10_000
"""Rows of a few numbers that are read at once."""

_UNREADABLE = (asyncpg.PostgresError, ValueError, TypeError, OverflowError)


async def verify(target: Target, progress: Callable[[int], None] | None = None) -> Report:
    """Check every tenant's log. `progress` is told how many events were read, now and then.

    Raises StoreRefused when there is no log that this release can read, and Unavailable.
    """
    connection = await target.first()
    try:
        on_citus = await verify_schema(connection, unsafe_durability=True)
        return await _Check(connection, on_citus, progress or (lambda _events: None)).run()
    except DRIVER_ERRORS as error:
        raise Unavailable("The PostgreSQL server cannot be reached.") from error
    finally:
        connection.terminate()


class _Check:
    def __init__(self, connection: Connection, on_citus: bool, progress: Callable[[int], None]) -> None:
        self.connection = connection
        self.on_citus = on_citus
        self.progress = progress
        self.events = 0
        self.roots: dict[str, str] = {}
        self.findings: list[Finding] = []

    async def run(self) -> Report:
        """Look at every tenant, and for events that belong to none."""
        tenants: list[tuple[str, int]] = await self._as_tenant(NOBODY, lambda: self.connection.fetch(_SQL["tenants"]))
        for tenant, tenant_no in tenants:
            await self._as_tenant(tenant_no, partial(self._tenant, tenant, tenant_no))
        if await self.connection.fetchrow(_SQL["strays"]):
            self._find("", None, "there are events of no tenant")
        return Report(len(tenants), self.events, self.roots, self.findings)

    async def _as_tenant(self, tenant_no: int, ask: Callable[[], Awaitable[Any]]) -> Any:
        """The answer from one snapshot, as a server would see it, for as long as it takes."""
        for message in begin_statements(tenant_no, writing=False, on_citus=self.on_citus):
            await self.connection.execute(message)
        try:
            await self.connection.execute(
                "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
            )
            return await ask()
        finally:
            if not self.connection.is_closed():
                await self.connection.execute("ROLLBACK")

    async def _tenant(self, tenant: str, tenant_no: int) -> None:
        """Run every check; what makes one fail is a finding too, but for a server that is gone."""
        for check in (self._log_of, self._counts_of, self._transitions_of):
            await self.connection.execute("SAVEPOINT before")
            try:
                await check(tenant, tenant_no)
            except CONNECTION_LOST:
                raise
            except _UNREADABLE as error:
                await self.connection.execute("ROLLBACK TO before")
                self._find(tenant, None, f"its rows cannot be read ({type(error).__name__})")

    def _find(self, tenant: str, position: int | None, what: str) -> None:
        self._note(Finding(tenant, position, what))

    def _note(self, finding: Finding | None) -> None:
        if finding is not None and len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    async def _log_of(self, tenant: str, tenant_no: int) -> None:
        """Every event of a tenant, in order, against its leaf; the leaves against the head."""
        head = await self.connection.fetchrow(_SQL["head"], tenant_no, tenant)
        size, recorded_at, packed = (0, 0, b"") if head is None else head[1:4]
        chain = Chain(tenant, event_from)
        async for position, row, cause_id, hashes in self._events_of(tenant_no):
            found = chain.add(position, row, *hashes)
            if found is None and cause_id != cause_id_from(row[8]):
                found = Finding(tenant, position, "the event is linked to another cause")
            if found is not None:
                self._note(found)
                return
            self.events += 1
            if self.events % 10_000 == 0:
                self.progress(self.events)
        self._note(chain.end(size, recorded_at, packed))
        self.roots[tenant] = chain.tree.root().hex()

    async def _events_of(self, tenant_no: int) -> AsyncIterator[tuple[int, Any, str | None, Any]]:
        """Position, `full_event` row, the cause that it is linked to, and salt, payload hash and leaf of each event; no
        row for one without its names."""
        after = 0
        while True:
            hashes, full = await part_rows(self.connection, tenant_no, after, _PART)
            if not hashes:
                behind = await self.connection.fetchval(_SQL["next_position"], tenant_no, after)
                if behind is None:
                    return
                after = behind - 1
                continue
            last = hashes[-1][0]
            causes = {
                position: cause_id
                for position, _, cause_id in await self.connection.fetch(_SQL["causes"], tenant_no, after, last)
            }
            rows = {row[0]: row for row in full}
            for position, *told in hashes:
                yield position, rows.get(position), causes.get(position), told
            after = last

    async def _counts_of(self, tenant: str, tenant_no: int) -> None:
        """Rollups and the rows of flows and resources against a count over the events."""
        for what in ("flows", "resources", "names"):
            if await self.connection.fetchrow(_SQL[f"wrong_{what}"], tenant_no):
                self._find(tenant, None, counted_wrong(what))
        divided = {(0, 0)}
        head = await self.connection.fetchrow(_SQL["head"], tenant_no, tenant)
        folded_to, highest = (0, 0) if head is None else (head[8], head[5])
        outcomes = await outcomes_of(self.connection, tenant_no)
        new = await unfolded_events(self.connection, tenant_no, folded_to, outcomes)
        for level in range(rollups.LAST_LEVEL + 1):
            counted = Level(level, divided)
            if divided:
                async for part in self._parts("times", tenant_no):
                    counted.add(part)
            actors, kinds, buckets = [
                await self.connection.fetch(_SQL[block], tenant_no, level)
                for block in ("all_rollup_actor", "all_rollup_kind", "all_buckets")
            ]
            if not counted.agrees(actors, kinds, buckets):
                self._find(tenant, None, TIMES_WRONG)
                return
            divided = {(level, bucket) for bucket, _, is_divided in buckets if is_divided}
            totals = await self.connection.fetch(_SQL["all_actor_totals"], tenant_no, level)
            if not counted.totals_agree(totals, {bucket for _, bucket in divided}, new, outcomes, highest):
                self._find(tenant, None, ACTORS_WRONG)
                return

    async def _transitions_of(self, tenant: str, tenant_no: int) -> None:
        """What led to what, as it is counted, against the events and their causes."""
        head = await self.connection.fetchrow(_SQL["head"], tenant_no, tenant)
        by_day: TransitionsByDay = {}
        async for part in self._parts("folded_transitions", tenant_no, 0 if head is None else head[8]):
            add_transitions(by_day, part)
        found = stored_transitions(await self.connection.fetch(_SQL["all_transitions"], tenant_no))
        if found != transitions.by_bucket(by_day) or await self.connection.fetchrow(_SQL["wrong_fold"], tenant_no):
            self._find(tenant, None, CAUSES_WRONG)

    async def _parts(self, block: str, *values: Any) -> AsyncIterator[list[Any]]:
        """The rows of a statement, some at a time."""
        cursor = await self.connection.cursor(_SQL[block], *values)
        while part := await cursor.fetch(_ROWS):
            yield part
