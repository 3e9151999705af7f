"""Legal holds: where they are kept, and which events they keep from being removed."""

import math
import time
from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from whence.events import Keyset, PartRequest, Query, Viewer
from whence.retention import Hold
from whence.storage.base import Store
from whence.storage.followers import Definition
from whence.storage.removals import HOLD, LASTING_TYPES, HoldVersion
from whence.wire.event import FUTURE_MAX_US

__all__ = ["KEPT_FOR_EVER", "LegalHolds", "held_among", "hold_of", "holds_of", "list_kept", "positions_matching"]

KEPT_FOR_EVER = Query(event_types=tuple(sorted(LASTING_TYPES)))
"""The events that no request removes: those that announce removals."""

_PART = 500


class LegalHolds(msgspec.Struct, frozen=True):
    """The holds of a tenant at one time: their versions, by which a store knows them, and their questions."""

    versions: tuple[HoldVersion, ...]
    queries: tuple[Query, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Their ids, in order."""
        return tuple(sorted(id_ for id_, _ in self.versions))


def hold_of(definition: Definition) -> Hold:
    """The hold in a definition."""
    return msgspec.json.decode(definition.body, type=Hold)


async def holds_of(store: Store, tenant: str) -> LegalHolds:
    """The holds of a tenant as they are now."""
    found = await store.followers.list_definitions(HOLD, tenant)
    return LegalHolds(tuple((each.id, each.version) for each in found), tuple(hold_of(each).query for each in found))


async def held_among(
    store: Store, tenant: str, queries: Sequence[Query], positions: Sequence[int], ends_at: float = math.inf
) -> set[int]:
    """Those of the positions, which are in order, whose events match one of the questions.

    A question is asked about the positions only, so it costs at most what lies between them. `ends_at` is by
    `time.monotonic`. Raises TimeoutError when the answer would come later.
    """
    if not positions or not queries:
        return set()
    retained_from = (await store.head(tenant)).retained_from
    begin = bisect_left(positions, retained_from)
    held: set[int] = set()
    for query in queries:
        if begin < len(positions):
            held |= await _held_from(store, Viewer(tenant), query, positions, begin, ends_at)
        if begin:
            held.update(await positions_matching(store, tenant, query, retained_from - 1, ends_at))
    asked = positions if isinstance(positions, range) else frozenset(positions)
    return {position for position in held if position in asked}


async def _held_from(
    store: Store, viewer: Viewer, query: Query, positions: Sequence[int], at: int, ends_at: float
) -> set[int]:
    """The positions of matching events, beginning with the position of that index; others of them may be among it."""
    held: set[int] = set()
    read_to = 0
    while at < len(positions):
        _require_time(ends_at)
        page = await store.read_feed(viewer, query, max(read_to, positions[at] - 1), _PART)
        held.update(event.position for event in page.events)
        read_to = page.read_to
        at = bisect_left(positions, read_to + 1, at)
    return held


def _require_time(ends_at: float) -> None:
    if time.monotonic() > ends_at:
        raise TimeoutError


async def positions_matching(
    store: Store, tenant: str, query: Query, upto: int, ends_at: float = math.inf
) -> list[int]:
    """The positions up to one, which is before the first that is kept, whose events match and are still there. Raises
    TimeoutError as `held_among`."""
    if upto < 1:
        return []
    first = await store.read_feed(Viewer(tenant), Query(), upto, 1)
    latest = min((event.recorded_at for event in first.events), default=None)
    until = query.until
    if latest is not None:
        # What was recorded before it happened at most so much later. So newer events are not read.
        latest += FUTURE_MAX_US + 1
        until = latest if until is None else min(until, latest)
    narrowed = msgspec.structs.replace(query, until=until)
    found: list[int] = []
    after: Keyset | None = None
    while True:
        _require_time(ends_at)
        request = PartRequest(limit=_PART, as_of=upto, after=after)
        part = await store.list_part(Viewer(tenant), narrowed, request)
        found += [event.position for event in part.events]
        after = part.after
        if after is None:
            return sorted(found)


async def list_kept(store: Store, tenant: str, ends_at: float = math.inf) -> list[int]:
    """The positions before the first that is kept whose events are still there, since they were held. Raises
    TimeoutError as `held_among`."""
    return await positions_matching(store, tenant, Query(), (await store.head(tenant)).retained_from - 1, ends_at)
