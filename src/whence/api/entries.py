"""The route that exports what the leaves of a log are made of, so that somebody else can prove every event offline.

Entries go by position, so that a reader can hash them into the tree as they come. Positions count hidden events too,
so a narrowed credential is refused.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from whence.api.context import context_of, now_us
from whence.api.operation import Operation, ResponseSpec
from whence.api.part_streams import Part, PartStream
from whence.api.request import Request
from whence.api.seals import latest_size, tenant_of
from whence.errors import NotSealedYet, PositionGone, Unsound
from whence.legal_holds import positions_matching
from whence.matching import matches
from whence.permissions import READ
from whence.storage.base import HashedEvent, Store
from whence.storage.feed import EVENT_BYTES
from whence.storage.replication import evidence_from
from whence.wire.bodies import PositionGoneBody
from whence.wire.entries import EntriesRequest, Entry, LeafEntry, encode_entry, parse_entries
from whence.wire.event import FUTURE_MAX_US
from whence.wire.exports import MEDIA
from whence.wire.parameters import PARAMETERS

__all__ = ["ROUTES"]

_PART = 500
"""Positions that are read at once, at most."""

_HELD_PART = 20
"""Single events before the first position that is kept, each of which is read on its own."""

_BODY = {
    "type": "string",
    "description": "One entry a line: envelope, payload, position and salt. Payload and salt are null when the payload "
    "was erased, and for an event that does not match. Where the id of the actor was replaced, all three are null and "
    "there is the leaf instead. A response that does not come to its end is cut off.",
}


@HTTPRouteHandler(
    "/api/v1/log/entries",
    http_method=["GET", "HEAD"],
    status_code=200,
    opt={
        "scope": READ,
        "operation": Operation(
            tag="Proof",
            summary="Export Entries",
            description=(
                "What the leaves of the matching events are made of, by position, however many there are. With "
                "complete=true the entries have no gap from the first one to as_of. With a time in from, the first one "
                "was recorded more than five minutes before it, so that no earlier event can match; without, it is the "
                "first one that is kept. Events that a hold kept before that come first, if they match."
            ),
            parameters=PARAMETERS["entries"],
            responses={
                200: ResponseSpec("The entries", _BODY, media=MEDIA["ndjson"]),
                410: ResponseSpec("The next events are no longer kept", PositionGoneBody),
            },
            errors=(404, 422),
        ),
    },
)
async def export_entries(request: Request) -> ASGIApp:
    """The entries of all matching events, as NDJSON."""
    context, tenant = context_of(request), tenant_of(request)
    asked = parse_entries(request.scope["query_string"], now=now_us(), vocabulary=context.vocabulary)
    context.admission.hold_export(request, tenant)
    size = await latest_size(request, tenant)
    as_of = size if asked.as_of is None else asked.as_of
    if as_of > size:
        raise NotSealedYet("The log has no checkpoint of this size yet.")
    reader = _Reader(context.store, tenant, asked, as_of)
    stream = PartStream(request, reader.read, _encoded, name="entries.ndjson", media=MEDIA["ndjson"])
    await stream.begin(as_of)
    return stream


ROUTES: list[HTTPRouteHandler] = [export_entries]
"""The handlers of this module. Each refuses a narrowed credential."""


_Found = tuple[HashedEvent, bool]
"""An event, and whether it matches."""


class _Reader:
    """Reads a log forward and keeps the entries that are asked for. A place is the last position that was read."""

    def __init__(self, store: Store, tenant: str, asked: EntriesRequest, as_of: int) -> None:
        self._store, self._tenant, self._asked, self._as_of = store, tenant, asked, as_of
        self._begins_after = 0
        self._held: list[int] = []

    async def read(self, after: int | None) -> Part[_Found, int]:
        """The part after a position; the first one has what holds kept before the log, or begins where no earlier event
        can match."""
        if after is None:
            self._begins_after = await self._begin()
            before = min((await self._store.head(self._tenant)).retained_from - 1, self._as_of)
            self._held = await positions_matching(self._store, self._tenant, self._asked.query, before)
            after = 0
        if held := self._held[bisect_right(self._held, after) :][:_HELD_PART]:
            return await self._read_held(held)
        after = max(after, self._begins_after)
        limit = min(_PART, self._as_of - after)
        events = await self._store.read_log(self._tenant, after, limit) if limit > 0 else []
        if limit > 0 and [each.event.position for each in events] != list(range(after + 1, after + 1 + len(events))):
            events = []
        if limit > 0 and not events:
            await self._refuse_gap(after)
        query, complete = self._asked.query, self._asked.complete
        found = [(each, matches(each.event, query)) for each in events]
        kept = [(each, is_match) for each, is_match in found if is_match or complete]
        size = sum(EVENT_BYTES + len(each.event.payload or b"") * is_match for each, is_match in kept)
        read_to = after + len(events)
        return Part(kept, size, read_to if read_to < self._as_of else None)

    async def _read_held(self, positions: Sequence[int]) -> Part[_Found, int]:
        """The matching events that are still there at these positions, before the first one that is kept."""
        found: list[_Found] = []
        for position in positions:
            events = await self._store.read_log(self._tenant, position - 1, 1)
            found += [(each, True) for each in events if each.event.position == position]
        size = sum(EVENT_BYTES + len(each.event.payload or b"") for each, _ in found)
        has_more = positions[-1] < self._held[-1] or self._begins_after < self._as_of
        return Part(found, size, positions[-1] if has_more else None)

    async def _begin(self) -> int:
        """The position before the first one. No event is recorded more than five minutes before it occurs."""
        retained_from = (await self._store.head(self._tenant)).retained_from
        since = self._asked.query.since
        if since is None:
            return retained_from - 1
        boundary = await self._store.position_before(self._tenant, since - FUTURE_MAX_US)
        return max(retained_from, min(boundary, self._as_of)) - 1

    async def _refuse_gap(self, after: int) -> None:
        """Raise PositionGone when the next event was removed, and Unsound when it is missing."""
        retained_from = (await self._store.head(self._tenant)).retained_from
        if after + 1 < retained_from:
            raise PositionGone(resume_after=retained_from - 1)
        raise Unsound("Events are missing from the log. Run 'whence verify'.")


def _encoded(found: Sequence[_Found]) -> Iterator[bytes]:
    for hashed, is_match in found:
        if hashed.by_leaf_only:
            yield encode_entry(LeafEntry(hashed.event.position, hashed.leaf))
            continue
        evidence = evidence_from(hashed)
        salt, payload = (evidence.salt, evidence.payload) if is_match else (None, None)
        yield encode_entry(Entry(evidence.position, evidence.envelope, salt, payload))
