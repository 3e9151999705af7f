"""Cursors: where the next page of a listing begins.

A cursor is opaque text. It carries the snapshot of the first page, the place where the last page ended, and relative
times as they were resolved. It is sealed, since the snapshot says how long the log is, and bound to its question:
tenant, route, filters, order and reader.
"""

import re
import struct
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from whence.events import Keyset, Page, Query, Viewer
from whence.flows import FlowPage, FlowQuery
from whence.sealing import Sealer
from whence.wire.times import TIME_MAX_US, TIME_MIN_US

__all__ = [
    "Cursor",
    "cursor_seed",
    "filters_of",
    "next_cursor",
    "next_flows_cursor",
    "open_cursor",
]

_VERSION = 2
_HAS_SINCE, _HAS_UNTIL = 1, 2
_LAYOUT = struct.Struct(">BBqqqqqqqx")  # version, flags, as_of, time, number, offset, since, until, removal_epoch
_CURSOR = re.compile(r"[A-Za-z0-9_-]{100}")  # 59 bytes of layout, and 16 that authenticate them


class Cursor(msgspec.Struct, frozen=True):
    """What a cursor carries: the snapshot, where the last page ended, how many events came before, resolved times, and
    the removals before the snapshot."""

    as_of: int
    after: Keyset
    offset: int
    since: int | None
    until: int | None
    removal_epoch: int


def filters_of(query: Query) -> dict[str, tuple[str, ...]]:
    """Every filter that is set, by field. It reads all fields of the query, so a new one is bound by its value. A time
    that is relative to now needs its text instead, as `since` and `until` have it."""
    set_fields = {
        name: value
        for name in query.__struct_fields__
        if name not in _BOUND_BESIDE_FILTERS and (value := getattr(query, name)) not in ((), None)
    }
    return {name: value if isinstance(value, tuple) else (str(value),) for name, value in set_fields.items()}


_BOUND_BESIDE_FILTERS = ("since", "until")
"""Fields that `cursor_seed` takes as they were written."""


def cursor_seed(
    viewer: Viewer,
    route: str,
    filters: Mapping[str, tuple[str, ...]],
    since: str | None,
    until: str | None,
    ascending: bool,
) -> bytes:
    """A hash of the question and its viewer, which the next request with the cursor must repeat. `since` and `until`
    are texts, so that `-7d` stays the same question an hour later. Alternatives are a set, in any order.
    """
    sorted_filters = sorted((field, sorted(values)) for field, values in filters.items())
    visible = None if viewer.readable is None else sorted(viewer.readable)
    bound = (viewer.tenant, route, sorted_filters, since, until, ascending, visible)
    return sha256(msgspec.json.encode(bound)).digest()


def next_cursor(sealer: Sealer, seed: bytes, query: Query, page: Page) -> str | None:
    """The cursor of the page after this one; None when this is the last. It pins the snapshot of the first page."""
    if not page.has_next or not page.events:
        return None
    after, passed = Keyset(page.events[-1].occurred_at, page.events[-1].position), page.offset + len(page.events)
    return _seal(sealer, seed, Cursor(page.as_of, after, passed, query.since, query.until, page.removal_epoch))


def next_flows_cursor(sealer: Sealer, seed: bytes, query: FlowQuery, page: FlowPage) -> str | None:
    """The cursor of the page of flows after this one; None when this is the last.

    It pins no snapshot, since a flow moves to the front when it gets an event: one that was still to come is then
    left out of the remaining pages. A flow whose last event is removed moves back, and may come again.
    """
    if not page.has_next or not page.flows:
        return None
    after, passed = Keyset(page.flows[-1].last_at, page.flows[-1].number), page.offset + len(page.flows)
    return _seal(sealer, seed, Cursor(page.size, after, passed, query.since, query.until, page.removal_epoch))


def _seal(sealer: Sealer, seed: bytes, cursor: Cursor) -> str:
    packed = _LAYOUT.pack(
        _VERSION,
        (_HAS_SINCE if cursor.since is not None else 0) | (_HAS_UNTIL if cursor.until is not None else 0),
        cursor.as_of,
        cursor.after.time,
        cursor.after.number,
        cursor.offset,
        cursor.since or 0,
        cursor.until or 0,
        cursor.removal_epoch,
    )
    return sealer.seal(packed, seed)


def open_cursor(sealer: Sealer, text: str, seed: bytes) -> Cursor | None:
    """What the cursor carries, or None when it is damaged, was made with another secret or belongs to another question.

    Every number is checked again, since another release may have sealed it.
    """
    packed = sealer.open(text, seed) if _CURSOR.fullmatch(text) is not None else None
    if packed is None:
        return None
    version, flags, as_of, time, number, offset, since, until, removal_epoch = _LAYOUT.unpack(packed)
    valid = (
        version == _VERSION
        and 1 <= number <= as_of
        and offset >= 1
        and removal_epoch >= 0
        and all(TIME_MIN_US <= us <= TIME_MAX_US for us in (time, since, until))
    )
    if not valid:
        return None
    return Cursor(
        as_of,
        Keyset(time, number),
        offset,
        since if flags & _HAS_SINCE else None,
        until if flags & _HAS_UNTIL else None,
        removal_epoch,
    )
