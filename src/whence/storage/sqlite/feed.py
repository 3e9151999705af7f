"""Feeds: the events after a position, by position."""

from functools import partial
from typing import Any

import apsw

from whence.events import FeedPage
from whence.storage.feed import RecordedAt, end_of_part, search_position, within_bytes
from whence.storage.payload_index import scan_payload
from whence.storage.resolve import ResolvedQuery, Snapshot
from whence.storage.sql import load_blocks
from whence.storage.sqlite.event_cache import EventCache
from whence.storage.sqlite.pages import events_of_keys
from whence.storage.sqlite.payload_index import answer_payload
from whence.storage.sqlite.resolve import conditions
from whence.storage.sqlite.rows import head_row, key_of, number_of
from whence.storage.walks import run_walk

__all__ = ["part_of_feed", "position_before"]

_SQL = load_blocks("whence.storage.sqlite")


def part_of_feed(
    connection: apsw.Connection,
    snapshot: Snapshot,
    resolved: ResolvedQuery,
    *,
    after: int,
    limit: int,
    cache: EventCache,
) -> FeedPage:
    """See `Store.read_feed`."""
    end = end_of_part(snapshot, after)
    if resolved.nothing:
        return FeedPage(events=[], read_to=snapshot.size, size=snapshot.size, log_number=snapshot.tenant_no)
    answer = partial(answer_payload, connection, snapshot)
    resolved = run_walk(scan_payload(resolved, after, end), answer)
    where, bindings = conditions(resolved, snapshot, by_row=True)
    keys = (key_of(snapshot.tenant_no, after), key_of(snapshot.tenant_no, end))
    text = f"{_SQL['feed_part']}{where} ORDER BY key LIMIT ?"
    rows: list[Any] = connection.execute(text, (snapshot.tenant_no, *keys, *bindings, limit)).fetchall()
    found, all_fit = within_bytes(rows)
    read_to = end if all_fit and len(rows) < limit else number_of(found[-1])
    return FeedPage(
        events=events_of_keys(connection, snapshot, found, cache),
        read_to=read_to,
        size=snapshot.size,
        log_number=snapshot.tenant_no,
    )


def position_before(connection: apsw.Connection, *, tenant: str, time: int) -> int:
    """See `Store.position_before`."""
    head = head_row(connection, tenant)
    if head is None:
        return 0

    def answer(question: RecordedAt) -> int:
        key = key_of(head.tenant_no, question.position)
        return int(connection.execute(_SQL["recorded_at"], (key,)).get)

    return run_walk(search_position(time, head.retained_from, head.size), answer)
