"""What a request removes next: part by part, each small enough for one announcement.

An erasure has the steps 0, what it names, with the records of the log that quote it; 1, the name of its actor; and 2,
the records that have this name. A retention run has 0, what only released holds have kept; 1, the beginning of the log
up to an age; and then one for each rule of its policy.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from whence.events import Event, Keyset, PartRequest, Query, Viewer
from whence.legal_holds import KEPT_FOR_EVER, LegalHolds, held_among, holds_of, list_kept
from whence.payload_fields import PayloadReader
from whence.quotations import QUOTING_TYPES, READ_TYPES, AskedValue, asked_values, beginnings_of, names_actor
from whence.retention import (
    ERASED_AT_ONCE,
    PURGED_AT_ONCE,
    Ranges,
    RemovalRequest,
    RetentionState,
    TypeRule,
    actor_of,
    query_of,
    ranges_of,
    without,
)
from whence.rollups import DAY_US
from whence.storage.base import Store
from whence.storage.followers import Definition
from whence.storage.removals import LASTING_TYPES, PAYLOAD_ERASED, RETENTION_APPLIED

__all__ = [
    "NAME_STEP",
    "PREFIX_STEP",
    "RemovalPart",
    "announces",
    "any_held",
    "erased_to",
    "has_payload",
    "holds_released",
    "last_expired",
    "next_part",
    "save_state",
]

PREFIX_STEP = 1
"""The step of a retention run that removes the beginning of the log."""

NAME_STEP, _RECORDS_STEP = 1, 2
"""The later steps of an erasure."""

_STATE = "retention_state"
_SOME_HOLD = "?"
_RULES_FROM = 2
_PART = 500
_ASKED_AT_ONCE = 10_000
"""Values of recorded reads that are looked for in payloads at once, about."""


class RemovalPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a request: what is announced by one event, then removed. `held` counts what it left out because of
    holds, and `withdrawn` how many positions were taken back from its announcement. `renames`: the name of the actor
    goes, and no event. If the next one is of the same step, more of its events are to be announced first. The next one
    begins at `next_step` and `next_after`."""

    event_type: str
    ranges: Ranges = ()
    held: int = 0
    withdrawn: int = 0
    renames: bool = False
    next_step: int
    next_after: tuple[int, ...] = ()


async def next_part(store: Store, tenant: str, request: RemovalRequest) -> RemovalPart | None:
    """The next part of a request, which has no ranges where nothing is to be removed; None at the end."""
    if request.kind == "erasure":
        if request.step == 0:
            return await _chosen(store, tenant, request)
        if request.step == NAME_STEP and request.pseudonym is not None:
            return await _name(store, tenant, request)
        if request.step == _RECORDS_STEP and request.renamed is not None:
            return await _records_of_name(store, tenant, request)
        return None
    if request.policy is None or request.step >= _RULES_FROM + len(request.policy.rules):
        return None
    if request.step == 0:
        return await _released(store, tenant, request)
    if request.step == PREFIX_STEP:
        return await _prefix(store, tenant, request)
    return await _expired_payloads(store, tenant, request, request.policy.rules[request.step - _RULES_FROM])


# ------------------------------------------------------------------------------------------------------------ erasures


async def _chosen(store: Store, tenant: str, request: RemovalRequest) -> RemovalPart:
    """Payloads that an erasure names."""
    viewer, positions = Viewer(tenant), list[int]()
    for event_id in request.event_ids:
        event = await store.get_event(viewer, event_id)
        if event is not None and has_payload(event):
            positions.append(event.position)
    after = Keyset(*request.after) if request.after else None
    while request.query is not None and len(positions) + _PART <= ERASED_AT_ONCE:
        asked = PartRequest(limit=_PART, as_of=request.as_of, after=after)
        part = await store.list_part(viewer, request.query, asked)
        positions += [event.position for event in part.events if has_payload(event)]
        after = part.after
        if after is None:
            break
    positions = sorted(set(positions))
    quoting = await _free(store, tenant, await _quoting(store, tenant, positions))
    if quoting:  # they go first, while the payloads are there that they quote
        return RemovalPart(event_type=PAYLOAD_ERASED, ranges=ranges_of(quoting), next_step=0, next_after=request.after)
    next_step, next_after = (NAME_STEP, ()) if after is None else (0, (after.time, after.number))
    return await _payloads(store, tenant, positions, next_step, next_after)


async def _quoting(store: Store, tenant: str, positions: Sequence[int]) -> list[int]:
    """The positions of recorded reads that were filtered by a value in the payloads at these positions. At most as many
    as one part has; the others are found when these have no payload any more."""
    asked: dict[AskedValue, set[int]] = {}
    found: set[int] = set()
    async for events in _records(store, tenant, READ_TYPES):
        for event in events:
            for field in asked_values(event):
                asked.setdefault(field, set()).add(event.position)
        if len(asked) >= _ASKED_AT_ONCE:
            found |= await _asked_for(store, tenant, positions, asked)
            asked = {}
        if len(found) >= ERASED_AT_ONCE:
            break
    found |= await _asked_for(store, tenant, positions, asked)
    return sorted(found)[:ERASED_AT_ONCE]


async def _asked_for(
    store: Store, tenant: str, positions: Sequence[int], asked: Mapping[AskedValue, set[int]]
) -> set[int]:
    """What belongs to those of the fields that one of the payloads has, or a value that goes on as they begin."""
    found: set[int] = set()
    reader = PayloadReader(field.path for field in asked)
    completed = any(not field.is_whole for field in asked)
    while positions and asked:
        payloads = await store.read_payloads(Viewer(tenant), positions)
        for payload in payloads:
            for path, values in reader.values(payload or b"{}").items():
                for value in values:
                    found |= asked.get(AskedValue(path, value), set())
                    for field in beginnings_of(path, value) if completed else ():
                        found |= asked.get(field, set())
        positions = positions[len(payloads) :]
    return found


async def _records(store: Store, tenant: str, types: tuple[str, ...]) -> AsyncIterator[list[Event]]:
    """The events of these types that have a payload, a part at a time."""
    after: Keyset | None = None
    as_of = (await store.head(tenant)).size
    while True:
        asked = PartRequest(limit=_PART, as_of=as_of, after=after)
        part = await store.list_part(Viewer(tenant), Query(event_types=types), asked)
        yield [event for event in part.events if event.payload is not None]
        after = part.after
        if after is None:
            return


async def _free(store: Store, tenant: str, positions: Sequence[int]) -> list[int]:
    """Those of the positions, which are in order, that are not held."""
    held = await held_among(store, tenant, (await holds_of(store, tenant)).queries, positions)
    return [position for position in positions if position not in held]


async def _name(store: Store, tenant: str, request: RemovalRequest) -> RemovalPart:
    """The next events whose actor gets another id, unless one of its events is held, or announces a removal: an
    announcement has to be provable. All that is known of these events is then their leaf, so each of them is named.

    The next part begins after the events up to a position; or it goes on in the list of those between two positions.
    """
    nothing = RemovalPart(event_type=PAYLOAD_ERASED, next_step=_RECORDS_STEP)
    query, after = request.query, request.after
    if query is None or (not after and not await _may_rename(store, tenant, query)):
        return nothing
    since = after[0] if after else 0
    upto = after[1] if len(after) > 1 else (await store.head(tenant)).size
    place = Keyset(*after[2:]) if len(after) > 1 else None
    positions: list[int] = []
    while len(positions) + _PART <= ERASED_AT_ONCE:
        part = await store.list_part(Viewer(tenant), query, PartRequest(limit=_PART, as_of=upto, after=place))
        positions += [event.position for event in part.events if event.position > since]
        place = part.after
        if place is None:
            break
    next_step, next_after = _RECORDS_STEP, tuple[int, ...]((upto,))
    if place is not None:
        next_step, next_after = NAME_STEP, (since, upto, place.time, place.number)
    return RemovalPart(
        event_type=PAYLOAD_ERASED,
        ranges=ranges_of(sorted(positions)),
        renames=True,
        next_step=next_step,
        next_after=next_after,
    )


async def _may_rename(store: Store, tenant: str, query: Query) -> bool:
    """Whether no event of an actor announces a removal, and none is held."""
    if await announces(store, tenant, query):
        return False
    return not await any_held(store, tenant, query, await holds_of(store, tenant))


async def _records_of_name(store: Store, tenant: str, request: RemovalRequest) -> RemovalPart | None:
    """The payloads of the log's own records that name the actor whose id was replaced."""
    actor = None if request.query is None else actor_of(request.query)
    naming: list[int] = []
    async for events in _records(store, tenant, QUOTING_TYPES):
        named = [event.position for event in events if actor is not None and names_actor(event, actor)]
        naming += await _free(store, tenant, sorted(named))
        if len(naming) >= ERASED_AT_ONCE - _PART:
            break
    if not naming:
        return None
    return RemovalPart(event_type=PAYLOAD_ERASED, ranges=ranges_of(sorted(naming)), next_step=_RECORDS_STEP)


async def announces(store: Store, tenant: str, query: Query | None) -> bool:
    """Whether one of the events that match announces a removal."""
    if query is None:
        return False
    asked = msgspec.structs.replace(query, event_types=tuple(sorted(LASTING_TYPES)))
    return (await store.count_events(Viewer(tenant), asked)).total > 0


async def any_held(store: Store, tenant: str, query: Query | None, holds: LegalHolds) -> bool:
    """Whether one of the events that match is held. A hold keeps who did it too."""
    after: Keyset | None = None
    while holds.queries and query is not None:
        asked = PartRequest(limit=_PART, as_of=(await store.head(tenant)).size, after=after)
        part = await store.list_part(Viewer(tenant), query, asked)
        if await held_among(store, tenant, holds.queries, sorted(event.position for event in part.events)):
            return True
        after = part.after
        if after is None:
            break
    return False


# ----------------------------------------------------------------------------------------------------------- retention


async def last_expired(store: Store, tenant: str, max_age_days: int, now: int) -> int:
    """The last position of a log that has this age, or one before the first that is kept."""
    return await store.position_before(tenant, now - max_age_days * DAY_US)


async def _last_of(store: Store, tenant: str, request: RemovalRequest, max_age_days: int) -> int:
    """The last position that has this age for a run. What was stored after the run was asked for is never among it."""
    return min(await last_expired(store, tenant, max_age_days, request.created_at), request.as_of)


async def _released(store: Store, tenant: str, request: RemovalRequest) -> RemovalPart:
    """Events before the first that is kept that no hold keeps any more. They are looked for after a hold was
    released."""
    done = RemovalPart(event_type=RETENTION_APPLIED, next_step=PREFIX_STEP)
    holds = await holds_of(store, tenant)
    policy = request.policy
    if policy is None or policy.max_age_days is None or not await holds_released(store, tenant):
        return done
    upto = await _last_of(store, tenant, request, policy.max_age_days)
    kept = [position for position in await list_kept(store, tenant) if position <= upto]
    kept = kept[bisect_left(kept, request.after[0] + 1) :] if request.after else kept
    held = await held_among(store, tenant, (*holds.queries, KEPT_FOR_EVER), kept)
    free = [position for position in kept if position not in held][:ERASED_AT_ONCE]
    if not free:
        return done
    return RemovalPart(event_type=RETENTION_APPLIED, ranges=ranges_of(free), next_step=0, next_after=(free[-1],))


async def _prefix(store: Store, tenant: str, request: RemovalRequest) -> RemovalPart:
    """The next events at the beginning of the log that are too old."""
    done = RemovalPart(event_type=RETENTION_APPLIED, next_step=_RULES_FROM)
    if request.policy is None or request.policy.max_age_days is None:
        return done
    upto = await _last_of(store, tenant, request, request.policy.max_age_days)
    first = max((await store.head(tenant)).retained_from, request.after[0] + 1 if request.after else 0)
    if first > upto:
        return done
    last = min(upto, first + PURGED_AT_ONCE - 1)
    holds = await holds_of(store, tenant)
    held = await held_among(store, tenant, holds.queries, range(first, last + 1))
    announcements = await held_among(store, tenant, (KEPT_FOR_EVER,), range(first, last + 1))
    ranges = without(first, last, sorted(held | announcements))[:ERASED_AT_ONCE]
    if len(ranges) == ERASED_AT_ONCE:
        last = ranges[-1][1]
    return RemovalPart(
        event_type=RETENTION_APPLIED,
        ranges=ranges,
        held=sum(position <= last for position in held),
        next_step=PREFIX_STEP,
        next_after=(last,),
    )


async def _expired_payloads(store: Store, tenant: str, request: RemovalRequest, rule: TypeRule) -> RemovalPart:
    """The next payloads that a rule names. Those that an earlier run erased are not read again, unless a hold was
    released meanwhile: it may have kept some of them."""
    upto = await _last_of(store, tenant, request, rule.max_age_days)
    after = request.after[0] if request.after else await erased_to(store, tenant, rule)
    after = max(after, (await store.head(tenant)).retained_from - 1)
    positions: list[int] = []
    while after < upto and len(positions) + _PART <= ERASED_AT_ONCE:
        page = await store.read_feed(Viewer(tenant), query_of(rule), after, _PART)
        positions += [event.position for event in page.events if event.position <= upto and has_payload(event)]
        after = min(page.read_to, upto)
    next_step, next_after = (request.step, (after,)) if after < upto else (request.step + 1, ())
    return await _payloads(store, tenant, positions, next_step, next_after)


async def erased_to(store: Store, tenant: str, rule: TypeRule) -> int:
    """The position up to which the payloads of a rule are erased, but for those that are held."""
    state = await _state_of(store, tenant)
    if not set(state.holds) <= set((await holds_of(store, tenant)).ids):
        return 0
    return state.erased_to.get(rule.event_type, 0)


async def holds_released(store: Store, tenant: str) -> bool:
    """Whether a hold that kept events from the last run may be gone by now."""
    return not set((await _state_of(store, tenant)).holds) <= set((await holds_of(store, tenant)).ids)


async def _state_of(store: Store, tenant: str) -> RetentionState:
    """What the last run of a tenant has left to know."""
    definition = await store.followers.get_definition(tenant, _STATE, _STATE)
    return RetentionState() if definition is None else msgspec.json.decode(definition.body, type=RetentionState)


async def save_state(store: Store, tenant: str, request: RemovalRequest) -> None:
    """Save what the next run has to know, at the end of one."""
    if request.policy is None:
        return
    erased_to = {
        rule.event_type: await _last_of(store, tenant, request, rule.max_age_days) for rule in request.policy.rules
    }
    holds = (await holds_of(store, tenant)).ids
    if request.held:  # by holds that may be released by now: the next run looks for what they kept
        holds = (*holds, _SOME_HOLD)
    state = RetentionState(holds=holds, erased_to=erased_to)
    former = await store.followers.get_definition(tenant, _STATE, _STATE)
    version = 1 if former is None else former.version + 1
    await store.followers.put_definition(Definition(tenant, _STATE, _STATE, version, msgspec.json.encode(state)))


async def _payloads(
    store: Store, tenant: str, positions: list[int], next_step: int, next_after: tuple[int, ...]
) -> RemovalPart:
    """The part that erases the payloads at these positions, which are in order, but for those that are held."""
    holds = await holds_of(store, tenant)
    held = await held_among(store, tenant, holds.queries, positions)
    return RemovalPart(
        event_type=PAYLOAD_ERASED,
        ranges=ranges_of(position for position in positions if position not in held),
        held=len(held),
        next_step=next_step,
        next_after=next_after,
    )


def has_payload(event: Event) -> bool:
    """Whether an event has a payload that may be erased."""
    return event.payload is not None and event.event_type not in LASTING_TYPES
