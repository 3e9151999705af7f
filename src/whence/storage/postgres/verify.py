"""Verifying a log on PostgreSQL by the rules of `storage/verification.py`. Reads only, in parts, each tenant in one
snapshot, and may run beside writers.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg

from whence.errors import Unavailable
from whence.merkle import HASH_SIZE
from whence.storage.payload_index import check_payload_fields
from whence.storage.postgres.catalogue import compare_catalogue
from whence.storage.postgres.connections import CONNECTION_LOST, DRIVER_ERRORS, Connection, Target, begin_statements
from whence.storage.postgres.replication import part_rows
from whence.storage.postgres.rows import cause_id_from, event_from
from whence.storage.postgres.schema import verify as verify_schema
from whence.storage.postgres.tenants import NO_TENANT, Tenant, head_row
from whence.storage.rows import FullEventRow, HashRow, HeadRow
from whence.storage.sql import load_blocks
from whence.storage.verification import (
    Chain,
    Check,
    EachRow,
    Finding,
    Findings,
    Report,
    Rows,
    check_counts,
    check_tiles,
    check_transitions,
)
from whence.storage.walks import run_walk_async
from whence.tiles import TILE_WIDTH

__all__ = ["verify"]

_SQL = load_blocks("whence.storage.postgres")

_PART_EVENTS = 1_000
"""Events that are read at once."""

_PART_ROWS = 10_000
"""Rows of a few numbers that are read at once."""


async def verify(target: Target, progress: Callable[[int], None] | None = None) -> Report:
    """Check the schema, then every tenant's log. `progress` is called with the number of events read, now and then.

    No row is read of a schema that this release did not make, since a policy or a view of it may run anything.
    Raises StoreRefused when there is no log that this release can read, and Unavailable.
    """
    connection = await target.connect_first()
    try:
        on_citus = await verify_schema(connection, unsafe_durability=True)
        findings = Findings(progress)
        difference = await compare_catalogue(connection)
        for fault in difference.faults:
            findings.add("", None, f"the schema: {fault}")
        for note in difference.notes:
            findings.note(f"the schema: {note}, and does no harm")
        if difference.faults:
            return findings.report(0)
        return await _Verification(connection, on_citus, findings).run()
    except DRIVER_ERRORS as error:
        raise Unavailable("The PostgreSQL server cannot be reached.") from error
    finally:
        connection.terminate()


class _Verification:
    def __init__(self, connection: Connection, on_citus: bool, findings: Findings) -> None:
        self._connection = connection
        self._on_citus = on_citus
        self._findings = findings

    async def run(self) -> Report:
        """Check each tenant, and look for events that belong to none."""
        tenants: list[tuple[str, int]] = await self._as_tenant(
            NO_TENANT, lambda: self._connection.fetch(_SQL["tenants"])
        )
        for tenant, tenant_no in tenants:
            await self._as_tenant(tenant_no, partial(self._check_tenant, Tenant(tenant, tenant_no)))
        if await self._connection.fetchrow(_SQL["strays"]):
            self._findings.add("", None, "there are events of no tenant")
        return self._findings.report(len(tenants))

    async def _as_tenant(self, tenant_no: int, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What `ask` returns, in one snapshot with the tenant's rights and without time limits."""
        for message in begin_statements(tenant_no, writing=False, on_citus=self._on_citus):
            await self._connection.execute(message)
        try:
            await self._connection.execute(
                "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
            )
            return await ask()
        finally:
            if not self._connection.is_closed():
                await self._connection.execute("ROLLBACK")

    async def _check_tenant(self, tenant: Tenant) -> None:
        """Run every check. An error that one fails with is a finding, unless the connection is lost."""
        head = await head_row(self._connection, tenant) or HeadRow(tenant.number)
        report = partial(self._findings.add, tenant.name, None)
        for check in (
            partial(self._check_log, tenant.name, head),
            partial(self._run_check, check_counts(head, report), head),
            partial(self._run_check, check_transitions(head, report), head),
            partial(self._run_check, check_payload_fields(head.size, report), head),
        ):
            await self._connection.execute("SAVEPOINT one_check")
            try:
                await check()
            except CONNECTION_LOST:
                raise
            except asyncpg.PostgresError:
                await self._connection.execute("ROLLBACK TO one_check")
                self._findings.add_unreadable(tenant.name, "the PostgreSQL server reports an error")
            except (ValueError, TypeError, OverflowError):
                await self._connection.execute("ROLLBACK TO one_check")
                self._findings.add_unreadable(tenant.name)

    async def _check_log(self, tenant: str, head: HeadRow) -> None:
        """Each event in order against its leaf and its link to its cause, and the head against the leaves."""
        chain = Chain(tenant, head, event_from)
        async for hashes, row, cause_id in self._events_of(head.tenant_no):
            await self._add_tiles(chain, head, hashes.number)
            found = chain.add(hashes.number, row, hashes)
            if found is None and row is not None and cause_id != cause_id_from(row.cause):
                found = Finding(tenant, hashes.number, "the event is linked to another cause")
            if not self._findings.add_event(found):
                return
        await self._add_tiles(chain, head, head.size + 1)
        self._findings.add_log(chain, head)
        await self._run_check(check_tiles(head, chain.full_tiles, partial(self._findings.add, tenant, None)), head)

    async def _add_tiles(self, chain: Chain, head: HeadRow, position: int) -> None:
        """Add the leaves before an event whose own events are gone."""
        width = TILE_WIDTH * HASH_SIZE
        while (number := chain.tile_before(position)) is not None:
            hashes = await self._connection.fetchval(_SQL["tile"], head.tenant_no, 0, number, width)
            chain.add_tile(number, hashes or b"")

    async def _events_of(self, tenant_no: int) -> AsyncIterator[tuple[HashRow, FullEventRow | None, str | None]]:
        """The hashes, the `full_event` row (None when a name is missing) and the linked cause of each event."""
        after = 0
        while True:
            hashes, full = await part_rows(self._connection, tenant_no, after, _PART_EVENTS)
            if not hashes:
                following = await self._connection.fetchval(_SQL["next_position"], tenant_no, after)
                if following is None:
                    return
                after = following - 1
                continue
            last = hashes[-1].number
            causes = {
                position: cause_id
                for position, _, cause_id in await self._connection.fetch(_SQL["causes"], tenant_no, after, last)
            }
            rows = {row.number: row for row in full}
            for each in hashes:
                yield each, rows.get(each.number), causes.get(each.number)
            after = last

    async def _run_check(self, check: Check, head: HeadRow) -> None:
        async def answer(question: Rows | EachRow) -> Any:
            values = (head.tenant_no, *question.values)
            if isinstance(question, Rows):
                return await self._connection.fetch(_SQL[question.block], *values)
            cursor = await self._connection.cursor(_SQL[question.block], *values)
            while part := await cursor.fetch(_PART_ROWS):
                question.take(part)
            return None

        await run_walk_async(check, answer)
