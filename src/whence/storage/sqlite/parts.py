"""Parts of all matching events in total order."""

from array import array
from functools import partial
from typing import Any

import apsw

from whence.events import EventPart, PageRequest, PartRequest
from whence.storage.base import FEED_ROWS
from whence.storage.feed import within_bytes
from whence.storage.parts import is_answered_by_its_index, on_its_index, part_of, since_start, within
from whence.storage.payload_index import match_payload_in_part, scan_payload
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.sqlite.pages import sort_keys
from whence.storage.sqlite.payload_index import answer_payload
from whence.storage.sqlite.rows import event_from, key_of
from whence.storage.walks import PageStart, run_walk

__all__ = ["part_in_order"]

_SQL = load_blocks("whence.storage.sqlite")

_EVENTS_BY_KEY = _SQL["full_event"] + " WHERE e.key IN (SELECT value FROM carray(?))"


def part_in_order(
    connection: apsw.Connection, snapshot: Snapshot, resolved: ResolvedQuery, *, request: PartRequest
) -> EventPart:
    """See `Store.list_part`."""
    answer = partial(answer_payload, connection, snapshot)
    resolved = run_walk(match_payload_in_part(snapshot, resolved), answer)
    if resolved.nothing:
        return EventPart(events=[], after=None)
    start, up_to = PageStart(), None
    if request.after is not None:
        start = PageStart(sort_key=(request.after.time, key_of(snapshot.tenant_no, request.after.number)))
    page = PageRequest(limit=request.limit, ascending=request.ascending)
    if not is_answered_by_its_index(resolved):
        last = PageRequest(limit=1, ascending=request.ascending)
        skipping = PageStart(skip=FEED_ROWS, sort_key=start.sort_key)
        for up_to, _ in sort_keys(connection, snapshot, on_its_index(resolved), skipping, last):
            resolved = within(resolved, up_to, ascending=request.ascending)
        resolved = run_walk(scan_payload(since_start(resolved, request), 0, request.as_of), answer)
    found = [] if resolved.nothing else sort_keys(connection, snapshot, resolved.up_to(request.as_of), start, page)
    keys = [key for _, key in found]
    sizes: dict[Any, Any] = dict(_rows(connection, "payload_sizes", keys, None))
    read, all_fit = within_bytes((key, sizes[key]) for key in keys)
    rows: Any = connection.execute(_EVENTS_BY_KEY, (apsw.carray(array("q", read)),)) if read else ()
    events = {row[0]: event_from(snapshot.viewer.tenant, row) for row in rows}
    return part_of([events[key] for key in read], request, is_all=all_fit and len(keys) < request.limit, up_to=up_to)


def _rows(connection: apsw.Connection, block: str, keys: list[int], *more: Any) -> Any:
    return connection.execute(_SQL[block], (apsw.carray(array("q", keys)), *more)) if keys else ()
