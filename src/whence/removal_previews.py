"""What a run of retention or an erasure would do now. Counting is bounded: after a time the answer says that it is not
exact."""

import time
from collections.abc import AsyncIterator

import msgspec

from whence.events import Event, Keyset, PartRequest, Query, Viewer, matches_type
from whence.legal_holds import KEPT_FOR_EVER, held_among, holds_of, list_kept
from whence.removal_parts import erased_to, has_payload, last_expired
from whence.retention import Policy, query_of
from whence.storage.base import Store

__all__ = ["ErasurePreview", "RetentionPreview", "preview_erasure", "preview_retention"]

_SECONDS = 2.0
_PART = 500
_IDS_PART = 50
_WINDOW = 20_000


class ErasurePreview(msgspec.Struct, frozen=True, kw_only=True):
    """See `whence.wire.removal_bodies.ErasurePreviewBody`."""

    payloads: int
    held: int
    exact: bool


class RetentionPreview(msgspec.Struct, frozen=True, kw_only=True):
    """See `whence.wire.removal_bodies.RetentionPreviewBody`. Times are in microseconds since the epoch."""

    events: int
    payloads: int
    held: int
    oldest: int | None
    newest: int | None
    exact: bool


async def preview_erasure(store: Store, tenant: str, query: Query | None, event_ids: tuple[str, ...]) -> ErasurePreview:
    """What an erasure of the events that match a query, or that have these ids, would do."""
    ends_at = time.monotonic() + _SECONDS
    holds = await holds_of(store, tenant)
    payloads = held = 0
    exact = True
    try:
        async for positions in _with_payload(store, Viewer(tenant), query, event_ids):
            of_part = len(await held_among(store, tenant, holds.queries, positions, ends_at))
            held += of_part
            payloads += len(positions) - of_part
            if time.monotonic() > ends_at:
                raise TimeoutError
    except TimeoutError:
        exact = False
    return ErasurePreview(payloads=payloads, held=held, exact=exact)


async def _with_payload(
    store: Store, viewer: Viewer, query: Query | None, event_ids: tuple[str, ...]
) -> AsyncIterator[list[int]]:
    """The positions of the events that have a payload, in parts."""
    for begin in range(0, len(event_ids), _IDS_PART):
        events = [await store.get_event(viewer, event_id) for event_id in event_ids[begin : begin + _IDS_PART]]
        yield sorted(event.position for event in events if event is not None and has_payload(event))
    after: Keyset | None = None
    as_of = (await store.head(viewer.tenant)).size
    while query is not None:
        part = await store.list_part(viewer, query, PartRequest(limit=_PART, as_of=as_of, after=after))
        yield sorted(event.position for event in part.events if has_payload(event))
        after = part.after
        if after is None:
            return


async def preview_retention(store: Store, tenant: str, policy: Policy, now: int) -> RetentionPreview:
    """What a run of a policy would do."""
    ends_at = time.monotonic() + _SECONDS
    first = (await store.head(tenant)).retained_from
    last = 0 if policy.max_age_days is None else await last_expired(store, tenant, policy.max_age_days, now)
    holds = await holds_of(store, tenant)
    held = kept = released = 0
    at, exact = first, True
    try:
        while at <= last:
            window = range(at, min(at + _WINDOW, last + 1))
            of_window = await held_among(store, tenant, holds.queries, window, ends_at)
            of_log = await held_among(store, tenant, (KEPT_FOR_EVER,), window, ends_at)
            held += len(of_window)
            kept += len(of_window | of_log)
            at = window.stop
        before = [position for position in await list_kept(store, tenant, ends_at) if position <= last] if last else []
        released = len(before) - len(await held_among(store, tenant, (*holds.queries, KEPT_FOR_EVER), before, ends_at))
    except TimeoutError:
        exact = False
    payloads, all_read = await _expired_payloads(store, tenant, policy, last, now, ends_at)
    return RetentionPreview(
        events=max(min(at, last + 1) - first, 0) - kept + released,
        payloads=payloads,
        held=held,
        oldest=await _recorded_at(store, tenant, first) if first <= last else None,
        newest=await _recorded_at(store, tenant, last) if first <= last else None,
        exact=exact and all_read,
    )


async def _expired_payloads(
    store: Store, tenant: str, policy: Policy, gone_to: int, now: int, ends_at: float
) -> tuple[int, bool]:
    """How many payloads after a position the rules of a policy would erase, and whether all of them were counted."""
    holds = await holds_of(store, tenant)
    retained_from, found = (await store.head(tenant)).retained_from, 0
    counted: list[tuple[str, int]] = []
    for rule in policy.rules:
        upto = await last_expired(store, tenant, rule.max_age_days, now)
        after = max(await erased_to(store, tenant, rule), gone_to, retained_from - 1)
        while after < upto:
            if time.monotonic() > ends_at:
                return found, False
            page = await store.read_feed(Viewer(tenant), query_of(rule), after, _PART)
            positions = [
                event.position
                for event in page.events
                if event.position <= upto and has_payload(event) and not _is_counted(event, counted)
            ]
            try:
                found += len(positions) - len(await held_among(store, tenant, holds.queries, positions, ends_at))
            except TimeoutError:
                return found, False
            after = page.read_to
        counted.append((rule.event_type, upto))
    return found, True


def _is_counted(event: Event, counted: list[tuple[str, int]]) -> bool:
    """Whether one of these rules, which reach up to a position, erases the payload already."""
    return any(event.position <= upto and matches_type(event.event_type, pattern) for pattern, upto in counted)


async def _recorded_at(store: Store, tenant: str, position: int) -> int | None:
    """When the event at a position was recorded."""
    page = await store.read_feed(Viewer(tenant), Query(), position - 1, 1)
    return page.events[0].recorded_at if page.events else None
