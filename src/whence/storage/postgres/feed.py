"""Feeds: the events after a position, by position."""

from typing import Any

from whence.events import FeedPage
from whence.storage.feed import RecordedAt, end_of_part, search_position, within_bytes
from whence.storage.payload_index import scan_payload
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.pages import event_of_row
from whence.storage.postgres.payload_index import answers_of
from whence.storage.postgres.resolve import Bindings, conditions
from whence.storage.postgres.tenants import Tenant, head_row
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.walks import run_walk_async

__all__ = ["part_of_feed", "position_before"]

_SQL = load_blocks("whence.storage.postgres")


async def part_of_feed(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, *, after: int, limit: int
) -> FeedPage:
    """See `Store.read_feed`."""
    end = end_of_part(snapshot, after)
    if resolved.nothing:
        return FeedPage(events=[], read_to=snapshot.size, size=snapshot.size, log_number=snapshot.tenant_no)
    resolved = await run_walk_async(scan_payload(resolved, after, end), answers_of(connection, snapshot))
    bindings = Bindings(snapshot.tenant_no, after, end)
    where = conditions(resolved, bindings, by_row=True)
    text = f"{_SQL['feed_part']}{where} ORDER BY position LIMIT {bindings.add(limit)}"
    rows: list[Any] = await connection.fetch(text, *bindings.values)
    found, all_fit = within_bytes(rows)
    events: list[Any] = []
    if found:
        text = f"{_SQL['page_event']} AND e.position = ANY($2::bigint[]) ORDER BY e.position"
        events = await connection.fetch(text, snapshot.tenant_no, found)
    return FeedPage(
        events=[event_of_row(snapshot, row) for row in events],
        read_to=end if all_fit and len(rows) < limit else found[-1],
        size=snapshot.size,
        log_number=snapshot.tenant_no,
    )


async def position_before(connection: Connection, tenant: Tenant, *, time: int) -> int:
    """See `Store.position_before`."""
    head = await head_row(connection, tenant)
    if head is None:
        return 0

    async def answer(question: RecordedAt) -> int:
        return int(await connection.fetchval(_SQL["recorded_at"], tenant.number, question.position))

    return await run_walk_async(search_position(time, head.retained_from, head.size), answer)
