"""Parts of all matching events in total order."""

from whence.events import EventPart, PageRequest, PartRequest
from whence.storage.base import FEED_ROWS
from whence.storage.feed import within_bytes
from whence.storage.parts import is_answered_by_its_index, on_its_index, part_of, since_start, within
from whence.storage.payload_index import match_payload_in_part, scan_payload
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.pages import event_of_row, sort_keys_sql
from whence.storage.postgres.payload_index import answers_of
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.walks import PageStart, run_walk_async

__all__ = ["part_in_order"]

_SQL = load_blocks("whence.storage.postgres")

_SIZE = (
    "(SELECT coalesce(octet_length(e.payload), 0) FROM event e"
    " WHERE e.tenant_no = $1 AND e.position = sort_key.position)"
)


async def part_in_order(
    connection: Connection, snapshot: Snapshot, resolved: ResolvedQuery, *, request: PartRequest
) -> EventPart:
    """See `Store.list_part`."""
    answer = answers_of(connection, snapshot)
    resolved = await run_walk_async(match_payload_in_part(snapshot, resolved), answer)
    if resolved.nothing:
        return EventPart(events=[], after=None)
    start, up_to = PageStart(), None
    if request.after is not None:
        start = PageStart(sort_key=(request.after.time, request.after.number))
    page = PageRequest(limit=request.limit, ascending=request.ascending)
    if not is_answered_by_its_index(resolved):
        last = PageRequest(limit=1, ascending=request.ascending)
        skipping = PageStart(skip=FEED_ROWS, sort_key=start.sort_key)
        text, bindings = sort_keys_sql(snapshot, on_its_index(resolved), skipping, last)
        up_to = await connection.fetchval(f"SELECT occurred_at FROM {text}", *bindings.values)
        resolved = within(resolved, up_to, ascending=request.ascending)
        scan = scan_payload(since_start(resolved, request), 0, request.as_of)
        resolved = await run_walk_async(scan, answer)
    rows: list[tuple[int, int]] = []
    if not resolved.nothing:
        text, bindings = sort_keys_sql(snapshot, resolved.up_to(request.as_of), start, page)
        rows = await connection.fetch(f"SELECT position, {_SIZE} FROM {text}", *bindings.values)
    read, all_fit = within_bytes((position, size) for position, size in rows)
    found = {}
    if read:
        text = f"{_SQL['page_event']} AND e.position = ANY($2::bigint[])"
        found = {row[0]: event_of_row(snapshot, row) for row in await connection.fetch(text, snapshot.tenant_no, read)}
    return part_of(
        [found[position] for position in read], request, is_all=all_fit and len(rows) < request.limit, up_to=up_to
    )
