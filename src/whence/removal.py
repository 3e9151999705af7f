"""The work of removals: does what erasures and retention runs ask for, and what it has begun it finishes.

    requested   the request is stored, then answered
    announced   an event of the log names the positions of a part, and a signed checkpoint covers that event
    removing    the part is removed, a few positions at a time; then the next part is announced
    cleaning    nothing is left to remove; the store overwrites what it still has of it
    done        the request is kept as what it did

Each step is saved before it is taken, and taking one again changes nothing. So whenever the process is stopped, the
next one goes on. What an announced part consists of is read from its announcement. What a hold that was placed after
that has kept of it is taken back by another event: then it is not removed, even if the hold goes.
"""

import asyncio
import contextlib
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import structlog

from whence.alerting import begin_to_forget, have_forgotten
from whence.announcements import (
    announcement,
    announcement_id,
    parse_announcement,
    withdrawal,
    withdrawal_id,
)
from whence.errors import Conflict, Unavailable, WhenceError
from whence.events import NewEvent, Query, Viewer
from whence.followers import Definitions
from whence.legal_holds import held_among, holds_of
from whence.removal_parts import NAME_STEP, PREFIX_STEP, RemovalPart, announces, any_held, next_part, save_state
from whence.retention import (
    ERASED_AT_ONCE,
    Ranges,
    RemovalRequest,
    actor_of,
    count_in,
    positions_in,
    ranges_of,
    without_ranges,
)
from whence.storage.base import Store, Write, refusal_of
from whence.storage.followers import DEFINITIONS_MAX, Definition
from whence.storage.removals import (
    LASTING_TYPES,
    PAYLOAD_ERASED,
    REMOVAL,
    REMOVAL_WITHDRAWN,
    REMOVED_AT_ONCE,
    RETENTION_APPLIED,
    HoldsChanged,
    LaterEvents,
    Purge,
)
from whence.wire.log_events import EVENT_LOG_ACTOR

__all__ = ["DONE", "Pace", "RemovalWork", "list_requests", "request_of"]

DONE = "removal_done"
"""The kind of those that are done. A tenant keeps the latest `DEFINITIONS_MAX` of them."""

_POLL_S = 0.1
_AGAIN_S = 1.0
_PATIENCE_S = 5.0
"""After this time of waiting, a request says what it waits for."""

_FOR_CHECKPOINT = "It waits for a signed checkpoint that covers its announcement. See the server's log if that lasts."
_FOR_READERS = (
    "It waits for readers of the store that began before, since they still see what was removed: an export, a backup, "
    "or another program that has the file open."
)

_FOR_ALERTS = "It waits until the alert rules have forgotten the id of the actor. See the server's log if that lasts."

_log = structlog.get_logger("whence.removal")


_REMOVED_S = 0.010
"""A batch is to keep the writer for about this long, since appends wait meanwhile."""

_RESTS = 2.0
"""After a batch, the log has this many times as long for appends alone. So most of them meet no batch, and a batch that
takes longer because the store is busy is followed by a longer rest."""

_REST_MAX_S = 0.5

_REMOVED_FIRST, _REMOVED_LEAST = 100, 80
"""How many positions the first batch has, and any batch at least. A third of the time for which a batch of 80 holds up
appends is what any batch costs. So one of half the size would not be much shorter, and would remove less."""


class Pace:
    """How many positions are removed at a time, and how long the log has for appends after them.

    Both follow from how long the last batch took, with its wait for the store. So a purge is quick where nobody else
    writes, and gives way where many do.
    """

    def __init__(self) -> None:
        """Begin with a small batch."""
        self.size = _REMOVED_FIRST

    @contextlib.asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """Remove in this block. Afterwards the size of the next batch is set by how long it took."""
        began = time.monotonic()
        yield
        seconds = max(time.monotonic() - began, 0.001)
        fitting = int(self.size * min(2.0, _REMOVED_S / seconds))
        self.size = min(max(fitting, _REMOVED_LEAST), REMOVED_AT_ONCE)
        await asyncio.sleep(min(_RESTS * seconds, _REST_MAX_S))


class _TakenOver(WhenceError):
    """Another process has gone on with the request."""


def request_of(definition: Definition) -> RemovalRequest:
    """The request in a definition."""
    return msgspec.json.decode(definition.body, type=RemovalRequest)


async def list_requests(store: Store, tenant: str) -> list[tuple[str, RemovalRequest]]:
    """The requests of a tenant with their ids, the newest first: those that are not done, and the latest ones that
    are."""
    followers = store.followers
    found = {each.id: each for each in await followers.list_definitions(REMOVAL, tenant)}
    found |= {each.id: each for each in await followers.list_definitions(DONE, tenant)}
    return [(id_, request_of(found[id_])) for id_ in sorted(found, reverse=True)]


class RemovalWork:
    """The work of removals; see `whence.followers.Work`."""

    kind = REMOVAL

    def __init__(
        self, store: Store, *, seals: bool, clock: Callable[[], int] = lambda: time.time_ns() // 1_000
    ) -> None:
        """`seals` says that this server signs checkpoints, so that each announcement has to be covered by one before
        anything is removed. `clock` is the time in microseconds since the epoch."""
        self._store, self._seals, self._clock = store, seals, clock
        self.waiting: set[str] = set()
        """The ids of the requests that wait for something."""

    async def follow(self, tenant: str, definitions: Definitions) -> None:
        """Finish the requests of a tenant, the oldest first, until cancelled."""
        while True:
            for definition in sorted(definitions.current, key=lambda each: each.id):
                try:
                    await self.finish(tenant, definition.id)
                except _TakenOver:
                    continue
                except Unavailable as error:
                    await self._note(tenant, definition.id, str(error))
                    raise
                finally:
                    self.waiting.discard(definition.id)
            await definitions.wait(_AGAIN_S)

    async def _note(self, tenant: str, request_id: str, reason: str) -> None:
        """Let a request say what it waits for."""
        definition = await self._store.followers.get_definition(tenant, REMOVAL, request_id)
        if definition is None or request_of(definition).waits_for == reason:
            return
        request = msgspec.structs.replace(request_of(definition), waits_for=reason)
        changed = msgspec.structs.replace(definition, version=definition.version + 1, body=msgspec.json.encode(request))
        await self._store.followers.put_definition(changed)

    async def finish(self, tenant: str, request_id: str) -> None:
        """Do what is left of a request. Does nothing when there is no such request any more. Raises as the store."""
        definition = await self._store.followers.get_definition(tenant, REMOVAL, request_id)
        if definition is not None:
            await _Run(self._store, definition, self._clock, self.waiting, seals=self._seals).finish()


class _Run:
    """One request that is being worked on. Each change of it is saved; see `_save`."""

    def __init__(
        self, store: Store, definition: Definition, clock: Callable[[], int], waiting: set[str], *, seals: bool
    ) -> None:
        self._store, self._clock, self._waiting, self._seals = store, clock, waiting, seals
        self._definition, self._request = definition, request_of(definition)
        self._pace = Pace()

    @property
    def _tenant(self) -> str:
        return self._definition.tenant

    async def finish(self) -> None:
        """Go on from where the request is, to its end."""
        if self._request.state != "cleaning":
            while (part := await self._announced_part()) is not None:
                await self._cover_announcement()
                await self._remove(part)
            await self._forget_what_was_asked()
        await self._clean()
        await self._close()

    # ------------------------------------------------------------------------------------------------------- announce

    async def _announced_part(self) -> RemovalPart | None:
        """The next part, which is announced, whether it was before or is now. None when there is none left."""
        request = self._request
        if request.next_step >= 0:
            part = await self._part_of_announcement()
            if part is not None:
                return part
        while (part := await next_part(self._store, self._tenant, self._request)) is not None:
            if not part.ranges and not part.renames:
                await self._save(**self._after(part), held=self._request.held + part.held)
                continue
            await self._save(
                state="announced",
                part=self._request.part + (self._request.next_step < 0),
                next_step=part.next_step,
                next_after=part.next_after,
                next_held=part.held,
            )
            return await self._announce(part)
        return None

    async def _part_of_announcement(self) -> RemovalPart | None:
        """The part that was begun, if its announcement is in the log. Raises Conflict if another event has its id."""
        request = self._request
        event = await self._store.get_event(
            Viewer(self._tenant), announcement_id(self._tenant, self._definition.id, request.part)
        )
        if event is None:
            return None
        if event.event_type not in LASTING_TYPES or event.payload is None:
            raise Conflict
        said, (withdrawn, pseudonym, _) = parse_announcement(event.payload), await self._withdrawn()
        return RemovalPart(
            event_type=event.event_type,
            ranges=without_ranges(said.ranges, withdrawn),
            renames=said.pseudonym is not None and said.pseudonym != pseudonym,
            withdrawn=count_in(withdrawn),
            next_step=request.next_step,
            next_after=request.next_after,
        )

    async def _withdrawn(self) -> tuple[Ranges, str | None, int]:
        """What was taken back of the part that is announced: positions, and its pseudonym or None; and by how many
        events. Raises Conflict if another event has the id of one."""
        ranges: list[tuple[int, int]] = []
        pseudonym, number = None, 0
        while True:
            event_id = withdrawal_id(self._tenant, self._definition.id, self._request.part, number)
            event = await self._store.get_event(Viewer(self._tenant), event_id)
            if event is None:
                return sorted(ranges), pseudonym, number
            if event.event_type != REMOVAL_WITHDRAWN or event.payload is None:
                raise Conflict
            said = parse_announcement(event.payload)
            ranges += said.ranges
            pseudonym, number = said.pseudonym or pseudonym, number + 1

    async def _withdraw(self, part: RemovalPart, kept: Sequence[int]) -> None:
        """Take back what a hold has kept of a part since its announcement: these positions, or the new name if the
        part has one."""
        if not kept and not part.renames:
            return
        _, _, number = await self._withdrawn()
        ranges = ranges_of(kept)
        for at in range(0, max(len(ranges), 1), ERASED_AT_ONCE):
            event = withdrawal(
                self._tenant,
                self._definition.id,
                self._request,
                number + at // ERASED_AT_ONCE,
                part.event_type,
                ranges[at : at + ERASED_AT_ONCE],
                self._clock(),
            )
            error = await self._append(event)
            if error is not None:
                raise error

    async def _announce(self, part: RemovalPart) -> RemovalPart:
        """Store the event that announces a part. Returns the part that is announced: another one, if another process
        was faster."""
        newest = await self._store.seals.list_checkpoints(self._tenant, None, 1)
        note = newest[0].note if newest else None
        event = announcement(
            self._tenant,
            self._definition.id,
            self._request,
            part.event_type,
            part.ranges,
            note,
            self._clock(),
            renames=part.renames,
        )
        error = await self._append(event)
        announced = await self._part_of_announcement() if isinstance(error, Conflict) else part
        if error is not None and (announced is None or not isinstance(error, Conflict)):
            raise error
        return announced or part

    async def _append(self, event: NewEvent) -> WhenceError | None:
        """Store an event. Returns what it was refused with."""
        [result] = await self._store.append(self._tenant, [Write(events=(event,))])
        return refusal_of(result)

    async def _cover_announcement(self) -> None:
        """Wait until a signed checkpoint covers the announcement; where nothing is sealed, note that."""
        if not self._seals:
            await self._save(sealed=False, state="removing")
            return
        event_id = announcement_id(self._tenant, self._definition.id, self._request.part)
        event = await self._store.get_event(Viewer(self._tenant), event_id)
        if event is None:
            raise _TakenOver("The announcement is gone.")

        async def is_covered() -> bool:
            newest = await self._store.seals.list_checkpoints(self._tenant, None, 1)
            return bool(newest) and newest[0].size >= event.position

        await self._wait(is_covered, _FOR_CHECKPOINT)
        await self._save(sealed=True, state="removing")

    # --------------------------------------------------------------------------------------------------------- remove

    async def _remove(self, part: RemovalPart) -> None:
        """Remove an announced part, but for what is held by now, and save that."""
        request = self._request
        kept: list[int] = []
        changes: dict[str, Any] = {}
        if part.renames and part.next_step == NAME_STEP:
            pass  # the id goes once all of its events are named
        elif part.renames:
            try:
                changes["renamed"] = await self._rename(part.next_after[0])
            except LaterEvents:  # they have to be named first
                part = msgspec.structs.replace(part, next_step=NAME_STEP)
        elif part.event_type == PAYLOAD_ERASED:
            kept = await self._erase(part.ranges)
            changes["payloads"] = request.payloads + count_in(part.ranges) - len(kept)
        elif part.event_type == RETENTION_APPLIED:
            kept = await self._purge(part)
            changes["events"] = request.events + count_in(part.ranges) - len(kept)
        if changes.get("renamed", 0) is None or kept:
            await self._withdraw(part, kept)
        held = request.held + request.next_held + part.withdrawn + len(kept)
        await self._save(**changes, **self._after(part), held=held)

    @staticmethod
    def _after(part: RemovalPart) -> dict[str, Any]:
        """The changes that say that a part is dealt with."""
        return {"step": part.next_step, "after": part.next_after, "next_step": -1, "next_after": (), "next_held": 0}

    async def _erase(self, ranges: Ranges) -> list[int]:
        """Erase the payloads of ranges. Returns the positions of those that were held."""
        kept: list[int] = []
        positions_left = positions_in(ranges)
        while batch := list(islice(positions_left, self._pace.size)):
            while True:
                holds = await holds_of(self._store, self._tenant)
                held = await held_among(self._store, self._tenant, holds.queries, batch)
                positions = [position for position in batch if position not in held]
                try:
                    async with self._pace.batch():
                        await self._store.removals.erase_payloads(
                            self._tenant, positions, self._clock(), holds.versions
                        )
                    break
                except HoldsChanged:
                    await asyncio.sleep(_POLL_S)
            kept += await self._with_payload(sorted(held))
        return kept

    async def _with_payload(self, positions: Sequence[int]) -> list[int]:
        """Those of the positions whose events have a payload. A process that was stopped may have erased others."""
        found: list[int] = []
        while positions:
            payloads = await self._store.read_payloads(Viewer(self._tenant), positions)
            found += [position for position, payload in zip(positions, payloads, strict=False) if payload is not None]
            positions = positions[len(payloads) :]
        return found

    async def _purge(self, part: RemovalPart) -> list[int]:
        """Remove the events of ranges. Returns the positions of those that were held."""
        kept_by_holds: list[int] = []
        retained_from = (await self._store.head(self._tenant)).retained_from
        for first, end in self._windows(part, retained_from):
            announced = set(_within(part.ranges, first, end))
            while True:
                holds = await holds_of(self._store, self._tenant)
                held = announced & await held_among(self._store, self._tenant, holds.queries, range(first, end))
                kept = [position for position in range(first, end) if position not in announced or position in held]
                try:
                    async with self._pace.batch():
                        await self._store.removals.purge(self._tenant, Purge(first, end, kept), holds.versions)
                    break
                except HoldsChanged:
                    await asyncio.sleep(_POLL_S)
            kept_by_holds += sorted(held)
        return kept_by_holds

    def _windows(self, part: RemovalPart, retained_from: int) -> Iterator[tuple[int, int]]:
        """What is purged at a time, as first positions and ends. Of the beginning of the log that is everything from
        the first position that is kept, without a gap; of what was held until now, the neighbourhoods of it."""
        if self._request.step == PREFIX_STEP:
            at, end = retained_from, part.next_after[0] + 1
            while at < end:
                stop = min(at + self._pace.size, end)
                yield at, stop
                at = stop
            return
        positions = list(positions_in(part.ranges))
        at = 0
        while at < len(positions):
            stop = bisect_left(positions, positions[at] + self._pace.size)
            yield positions[at], positions[stop - 1] + 1
            at = stop

    async def _rename(self, upto: int) -> int | None:
        """Replace the id of the actor, whose events up to a position are named. Returns how many events have it; None
        if one of them is held by now. Raises LaterEvents when there are others."""
        request = self._request
        actor = None if request.query is None else actor_of(request.query)
        if actor is None or request.pseudonym is None:
            return None
        while True:
            holds = await holds_of(self._store, self._tenant)
            if await any_held(self._store, self._tenant, request.query, holds):
                return None
            if await announces(self._store, self._tenant, request.query):
                return None
            try:
                await self._store.removals.erase_actor(
                    self._tenant, actor, request.pseudonym, self._clock(), holds.versions, upto
                )
                break
            except HoldsChanged:
                await asyncio.sleep(_POLL_S)
        await begin_to_forget(self._store, self._tenant, *actor, request.pseudonym)
        await self._wait(partial(have_forgotten, self._store, self._tenant), _FOR_ALERTS)
        # Counted by the new name: a process that was killed may have replaced the old one already.
        renamed = Query(actors=(f"{actor[0]}/{request.pseudonym}",))
        return (await self._store.count_events(Viewer(self._tenant), renamed)).total

    # --------------------------------------------------------------------------------------------------------- finish

    async def _forget_what_was_asked(self) -> None:
        """Remember what the next run has to know, and forget the question, which may name a person."""
        if self._request.kind == "retention":
            await save_state(self._store, self._tenant, self._request)
        await self._save(state="cleaning", query=None, event_ids=())

    async def _clean(self) -> None:
        """Have the store overwrite what it still has of what was removed."""
        if self._request.part:
            await self._wait(self._store.removals.scrub, _FOR_READERS)

    async def _close(self) -> None:
        """Move the request to those that are done, and forget the oldest of these if they are too many. A scheduled run
        that found nothing is forgotten."""
        followers, id_ = self._store.followers, self._definition.id
        request = msgspec.structs.replace(self._request, state="done", finished_at=self._clock(), waits_for=None)
        if request.part or request.by != EVENT_LOG_ACTOR:
            done = sorted(each.id for each in await followers.list_definitions(DONE, self._tenant))
            too_many = 0 if id_ in done else max(0, len(done) + 1 - DEFINITIONS_MAX)
            for oldest in done[:too_many]:
                await followers.delete_definition(self._tenant, DONE, oldest)
            await followers.put_definition(Definition(self._tenant, DONE, id_, 1, msgspec.json.encode(request)))
        await followers.delete_definition(self._tenant, REMOVAL, id_)

    async def _wait(self, is_over: Callable[[], Awaitable[bool]], reason: str) -> None:
        """Wait until something is so. After a while the request says what it waits for."""
        began = time.monotonic()
        while not await is_over():
            if self._request.waits_for is None and time.monotonic() - began > _PATIENCE_S:
                _log.warning("removal_waits", tenant=self._tenant, request=self._definition.id, reason=reason)
                await self._save(waits_for=reason)
                self._waiting.add(self._definition.id)
            await asyncio.sleep(_POLL_S)
        if self._request.waits_for is not None:
            await self._save(waits_for=None)
        self._waiting.discard(self._definition.id)

    async def _save(self, **changes: Any) -> None:
        """Save changes of the request. Raises _TakenOver if somebody else has changed it."""
        self._request = msgspec.structs.replace(self._request, **changes)
        self._definition = msgspec.structs.replace(
            self._definition, version=self._definition.version + 1, body=msgspec.json.encode(self._request)
        )
        if not await self._store.followers.put_definition(self._definition):
            raise _TakenOver("Another process goes on with the request.")


def _within(ranges: Ranges, first: int, end: int) -> Iterator[int]:
    """The positions of ranges that lie in `first <= position < end`."""
    for low, high in ranges:
        yield from range(max(low, first), min(high + 1, end))
