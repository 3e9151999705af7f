"""Which part of a log is read next by a follower. Pure; the same for every store."""

from collections.abc import Generator, Iterable

import msgspec

from whence.errors import Invalid, PositionGone
from whence.storage.base import FEED_BYTES, FEED_ROWS
from whence.storage.resolve import Snapshot

__all__ = ["EVENT_BYTES", "SHORT_PART", "RecordedAt", "end_of_part", "search_position", "within_bytes"]

EVENT_BYTES = 512
"""About the size of an event as JSON without its payload."""

SHORT_PART = 100
"""Events that are read on the event loop at most; a larger part of a feed goes to a thread at once."""


def end_of_part(snapshot: Snapshot, after: int) -> int:
    """The last position that the part of a feed after a position may read, all of them committed. Raises `Invalid` and
    `PositionGone`; see `Store.read_feed`."""
    if after > snapshot.size:
        raise Invalid.at(
            ("query", "after"),
            "The log ends before this position. If the store was restored from a backup, start again with from=start.",
            "after_range",
        )
    if after + 1 < snapshot.retained_from:
        raise PositionGone(resume_after=snapshot.retained_from - 1)
    return min(snapshot.size, after + FEED_ROWS)


def within_bytes(rows: Iterable[tuple[int, int]]) -> tuple[list[int], bool]:
    """The first of these events, at least one, that come to `FEED_BYTES`; and whether that is all of them. A row is
    the number of an event and the bytes of its payload."""
    numbers: list[int] = []
    size = 0
    for number, payload_bytes in rows:
        if numbers and size >= FEED_BYTES:
            return numbers, False
        numbers.append(number)
        size += payload_bytes + EVENT_BYTES
    return numbers, True


class RecordedAt(msgspec.Struct, frozen=True):
    """Asks when the event at a position was recorded."""

    position: int


def search_position(time: int, retained_from: int, size: int) -> Generator[RecordedAt, int, int]:
    """The last position that was recorded before a time. Times of recording never fall along positions, so it takes as
    many questions as the size of the log has bits."""
    before, after = retained_from - 1, size + 1
    while after - before > 1:
        middle = (before + after) // 2
        if (yield RecordedAt(middle)) < time:
            before = middle
        else:
            after = middle
    return before
