"""The work of alert rules: reads the log for each rule, and stores what it decides as events of the same log.

A rule's decisions are saved before their events are stored, and an event has an id that follows from the decision. So
whenever the process is stopped, the next one stores what is missing, and nothing twice.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
import structlog

from whence.alerts import (
    FIRED,
    RESOLVED,
    AlertRule,
    Condition,
    FirstSeen,
    Judge,
    Transition,
    earlier_queries,
    is_watched,
    key_fields,
    new_judge,
)
from whence.errors import Conflict, Invalid, PositionGone, WhenceError
from whence.events import NewEvent, PageRequest, Query, Viewer
from whence.followers import Definitions, MakersKeys
from whence.storage.base import Store, Write
from whence.storage.feed import SHORT_PART
from whence.storage.followers import Definition, Place
from whence.storage.query_cost import is_indexed_count, is_indexed_list
from whence.wire.ids import derived_uuid
from whence.wire.log_events import log_event

__all__ = [
    "KIND",
    "AlertWork",
    "Reading",
    "RuleState",
    "alert_event",
    "begin_to_forget",
    "forget_at_rest",
    "have_forgotten",
    "is_askable",
    "place_name",
    "rule_of",
    "state_of",
]

KIND = "alert_rule"
"""The kind of the definitions."""

CLOCK_BEHIND_US = 2_000_000
"""How much earlier than now the clock of rules is: an event that was recorded before that is stored by now."""

_PART = 500
_ASKED_AT_ONCE = 100
_NEAR_THE_END = 10_000
_BEYOND_EVERY_PAGE = 2**62

_REST = 2.0
_REST_LEAST_S = 0.1
_AGAIN_S = 1.0
_IDLE_S = 5.0

_SAVE_S = 1.0
_SAVE_S_PER_RULE = 0.05
_SAVE_S_PER_MIB = 4.0

_log = structlog.get_logger("whence.alerting")


class RuleState(msgspec.Struct, frozen=True, array_like=True):
    """What a rule remembers beside its position. `judge` is the state of the judge of `condition` for `query`.

    `waiting` are events that may not be stored yet. `missed_before` is the position before which events
    were no longer kept when the rule came to them, and `refused` counts events that the log did not take.
    """

    query: Query
    condition: Condition
    judge: bytes
    waiting: tuple[NewEvent, ...] = ()
    missed_before: int = 0
    refused: int = 0


def place_name(rule_id: str) -> str:
    """The name of the place of a rule."""
    return f"alert:{rule_id}"


def rule_of(definition: Definition) -> AlertRule:
    """The rule in a definition."""
    return msgspec.json.decode(definition.body, type=AlertRule)


def state_of(place: Place | None) -> RuleState | None:
    """What the rule of this place remembers; None before it has begun."""
    return msgspec.msgpack.decode(place.state, type=RuleState) if place is not None and place.state else None


def is_askable(query: Query, condition: Condition, viewer: Viewer) -> bool:
    """Whether it costs little, however large the log is, to find out if the event of a key is its first one."""
    narrowed, _ = earlier_queries(query, condition.per, ("word", "a name")[: 1 if condition.per == "eventType" else 2])
    return is_indexed_count(narrowed, viewer) or is_indexed_list(narrowed, viewer)


def alert_event(tenant: str, rule_id: str, rule: AlertRule, transition: Transition) -> NewEvent:
    """The event of a decision. The same decision makes the same event."""
    fired_id = derived_uuid(tenant, FIRED, rule_id, transition.source)
    condition = rule.condition
    payload: dict[str, object] = {"ruleId": rule_id, "name": rule.name, "condition": condition.kind}
    if condition.per is not None:
        payload["key"] = key_fields(condition.per, transition.key)
    if condition.window_us:
        payload["windowS"] = condition.window_us // 1_000_000
    if transition.fired:
        payload |= {"count": transition.count, "eventIds": transition.event_ids}
    return log_event(
        tenant,
        FIRED if transition.fired else RESOLVED,
        payload,
        event_id=fired_id if transition.fired else derived_uuid(tenant, RESOLVED, rule_id, transition.source),
        at=transition.at,
        causation_id=transition.cause if transition.fired else fired_id,
    )


async def begin_to_forget(store: Store, tenant: str, type_: str, former_id: str, id_: str) -> None:
    """Ask every rule of a tenant to remember an actor by its new id alone. See `have_forgotten`."""
    for definition in await store.followers.list_definitions(KIND, tenant):
        current: Definition | None = definition
        while current is not None:
            rule = msgspec.structs.replace(rule_of(current), replaced_actor=(type_, former_id, id_))
            asked = msgspec.structs.replace(current, version=current.version + 1, body=msgspec.json.encode(rule))
            if await store.followers.put_definition(asked):
                break
            current = await store.followers.get_definition(tenant, KIND, current.id)


async def have_forgotten(store: Store, tenant: str) -> bool:
    """Whether every rule has done what `begin_to_forget` asked for. The process that has their lease does it."""
    rules = await store.followers.list_definitions(KIND, tenant)
    return all(rule_of(each).replaced_actor is None for each in rules)


async def forget_at_rest(store: Store, tenant: str, type_: str, former_id: str, id_: str) -> None:
    """Have every rule remember an actor by its new id alone, while no process follows the log for them. Of alerts that
    are not stored yet, those about this actor are stored without their payload."""
    for listed in await store.followers.list_places(tenant):
        is_rule = listed.name.startswith(place_name(""))
        place = await store.followers.get_place(tenant, listed.name) if is_rule else None
        kept = state_of(place)
        if place is None or kept is None or kept.condition.per != "actor":
            continue
        judge = new_judge(kept.condition, 0, kept.judge)
        judge.rename((type_, former_id), (type_, id_))
        named = msgspec.json.encode(former_id)
        waiting = [
            msgspec.structs.replace(event, payload=b"{}") if named in event.payload else event for event in kept.waiting
        ]
        changed = msgspec.structs.replace(kept, judge=judge.state(), waiting=tuple(waiting))
        state = msgspec.msgpack.encode(changed)
        await store.followers.save_place(tenant, Place(place.name, place.position, state))


class Reading:
    """Reads the log for a rule, and gathers in `found` what its judge decides. `position` is how far it has read, and
    `size` how long the log was then. What events up to `silent_to` lead to is left out."""

    def __init__(
        self, store: Store, viewer: Viewer, query: Query, judge: Judge, position: int, silent_to: int = 0
    ) -> None:
        self._store, self._query, self._silent_to = store, query, silent_to
        self.viewer, self.judge, self.position, self.size = viewer, judge, position, position
        self.found: list[Transition] = []

    async def read(self, limit: int, now: int) -> bool:
        """Read and judge the next part of the log. Returns whether there is more to read. Raises as `Store.read_feed`,
        and may then be called again."""
        page = await self._store.read_feed(self.viewer, self._query, self.position, limit)
        # No await among these: an event that was taken counts as read, whatever happens afterwards.
        for event in page.events:
            if is_watched(self._query, event.event_type):
                taken = self.judge.take(event)
                if event.position > self._silent_to:
                    self.found += taken
        self.position, self.size = page.read_to, page.size
        if isinstance(self.judge, FirstSeen) and page.size - page.read_to <= _NEAR_THE_END:
            keys = self.judge.keys()
            for key in keys[:_ASKED_AT_ONCE]:
                self.found += self.judge.settle(key, await self._matching(self.judge.per, key))
            if len(keys) > _ASKED_AT_ONCE:
                return True
        if not page.has_more:
            self.found += self.judge.clock(now - CLOCK_BEHIND_US)
        return page.has_more

    async def _matching(self, per: str | None, key: tuple[str, ...]) -> int:
        """How many events of a key the rule takes, up to the position that was read."""
        of_key, not_taken = earlier_queries(self._query, per, key)
        return await self._total(of_key) - (0 if not_taken is None else await self._total(not_taken))

    async def _total(self, query: Query) -> int:
        """The total without a page: none is that long."""
        asked = PageRequest(limit=1, offset=_BEYOND_EVERY_PAGE, as_of=self.position)
        return (await self._store.list_events(self.viewer, query, asked)).total


class AlertWork:
    """The work of alert rules; see `whence.followers.Work`."""

    kind = KIND

    def __init__(self, store: Store, clock: Callable[[], int] = lambda: time.time_ns() // 1_000) -> None:
        """`clock` is the time in microseconds since the epoch."""
        self._store, self._clock = store, clock

    async def follow(self, tenant: str, definitions: Definitions) -> None:
        """Follow the log of a tenant for all of its rules. Each in turn reads a part, and then the tenant rests."""
        keys = MakersKeys(self._store, self._clock)
        rules: dict[str, _Rule] = {}
        await self._forget_deleted(tenant, definitions.current)
        while True:
            began = time.monotonic()
            await self._take_up(tenant, definitions.current, rules, keys)
            for name in definitions.lags.keys() - {rule.name for rule in rules.values()}:
                del definitions.lags[name]
            more = failed = False
            for rule in rules.values():
                try:
                    more |= await rule.step()
                except WhenceError as error:
                    failed = True
                    _log.warning("alert_rule_waits", tenant=tenant, rule=rule.name, error=str(error))
                definitions.lags[rule.name] = rule.lag
                await asyncio.sleep(0)
            await asyncio.sleep(_AGAIN_S if failed else max(_REST_LEAST_S, _REST * (time.monotonic() - began)))
            if not more and not failed:
                await self._wait(tenant, definitions, rules.values())

    async def _take_up(
        self, tenant: str, current: Sequence[Definition], rules: dict[str, "_Rule"], keys: MakersKeys
    ) -> None:
        """Begin with rules that are new or were changed, and end with those that were deleted."""
        wanted = {definition.id: definition for definition in current}
        for rule_id in rules.keys() - wanted.keys():
            del rules[rule_id]
            await self._store.followers.delete_place(tenant, place_name(rule_id))
        for definition in current:
            known = rules.get(definition.id)
            if known is None or known.version != definition.version:
                place = await self._store.followers.get_place(tenant, place_name(definition.id))
                rules[definition.id] = _Rule(self._store, definition, place, keys, self._clock)
        for rule in rules.values():
            rule.save_s = max(_SAVE_S, _SAVE_S_PER_RULE * len(rules))

    async def _forget_deleted(self, tenant: str, current: Sequence[Definition]) -> None:
        """Delete places of rules that were deleted while they were being saved."""
        names = {place_name(definition.id) for definition in current}
        for place in await self._store.followers.list_places(tenant):
            if place.name.startswith(place_name("")) and place.name not in names:
                await self._store.followers.delete_place(tenant, place.name)

    async def _wait(self, tenant: str, definitions: Definitions, rules: Iterable["_Rule"]) -> None:
        """Return when the log is longer, the rules are others, or it is time for one of them."""
        waits = [rule.wait_s() for rule in rules]
        timeout_s = max(0.0, min([_IDLE_S, *waits]))
        positions = [rule.position for rule in rules if not rule.is_stopped]
        awaited = [asyncio.create_task(definitions.wait(timeout_s))]
        if positions:
            awaited.append(asyncio.create_task(self._store.changed(tenant, min(positions), timeout_s)))
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in awaited:
                task.cancel()
            for outcome in await asyncio.gather(*awaited, return_exceptions=True):
                if isinstance(outcome, WhenceError):
                    _log.warning("alert_rules_wait", tenant=tenant, error=str(outcome))


class _Rule:
    """A rule at work. `save_s` is how long its position may stay unsaved."""

    def __init__(
        self, store: Store, definition: Definition, place: Place | None, keys: MakersKeys, clock: Callable[[], int]
    ) -> None:
        self._store, self._tenant, self._id = store, definition.tenant, definition.id
        self._rule, self._keys, self._clock = rule_of(definition), keys, clock
        self.version, self.name = definition.version, place_name(definition.id)
        self.save_s = _SAVE_S
        self.is_stopped = False
        kept = state_of(place)
        query, condition = self._rule.query, self._rule.condition
        same = kept is not None and (kept.query, kept.condition) == (query, condition)
        judge = new_judge(condition, self._rule.changed_at, kept.judge if kept is not None and same else b"")
        position = self._rule.after if place is None else place.position
        self._reading = Reading(store, Viewer(self._tenant, ()), query, judge, position)
        self._missed_before = 0 if kept is None else kept.missed_before
        self._refused = 0 if kept is None else kept.refused
        self._waiting = [] if kept is None else list(kept.waiting)
        if kept is not None and not same:
            self._waiting += self._ends(kept)
        self._is_saved = same and not self._waiting
        self._saved_at = time.monotonic()
        self._state_mib = 0.0

    @property
    def position(self) -> int:
        """How far the rule has read."""
        return self._reading.position

    @property
    def lag(self) -> int:
        """How many positions it had not read when it last read."""
        return max(0, self._reading.size - self._reading.position)

    def wait_s(self) -> float:
        """How long the rule has nothing to do, in seconds, if the log does not grow."""
        if self.is_stopped:
            return _IDLE_S
        due = self._reading.judge.due()
        waits = [_IDLE_S if due is None else (due + CLOCK_BEHIND_US - self._clock()) / 1_000_000]
        if not self._is_saved:
            waits.append(self._saved_at + self._save_after_s() - time.monotonic())
        return min(waits)

    async def step(self) -> bool:
        """Read and judge the next part of the log, and store what follows. Returns whether there is more to read."""
        await self._store_found()
        if self._rule.replaced_actor is not None:
            await self._forget_actor(*self._rule.replaced_actor)
        viewer = await self._keys.viewer(self._tenant, self._rule.key_id, self._rule.readable)
        if (viewer is None) is not self.is_stopped:
            self.is_stopped = viewer is None
            _log.warning("alert_rule_stopped" if self.is_stopped else "alert_rule_goes_on", rule=self.name)
        if viewer is None:
            return False
        self._reading.viewer = viewer
        before = self.position
        more = await self._read()
        if self._reading.found:
            await self._store_found()
        elif self.position != before or not self._is_saved:
            self._is_saved = False
            if time.monotonic() - self._saved_at >= self._save_after_s():
                await self._save()
        return more

    async def _read(self) -> bool:
        """Read the next part. Where that is not possible, go on where it is, which the state then says."""
        try:
            return await self._reading.read(_PART if self.lag > SHORT_PART else SHORT_PART, self._clock())
        except PositionGone as error:
            kept_from = int(error.resume_after or 0) + 1
            _log.error("alert_rule_missed_events", tenant=self._tenant, rule=self.name, kept_from=kept_from)
            self._reading.position, self._missed_before = kept_from - 1, kept_from
        except Invalid:
            size = (await self._store.head(self._tenant)).size
            if size >= self.position:
                raise
            _log.error("alert_rule_beyond_the_log", tenant=self._tenant, rule=self.name, size=size)
            self._reading.position = size
        self._is_saved = False
        return True

    async def _store_found(self) -> None:
        """Save what was decided, then store its events. May be called again after an error."""
        found, self._reading.found = self._reading.found, []
        self._waiting += [alert_event(self._tenant, self._id, self._rule, transition) for transition in found]
        if not self._waiting or not await self._save():
            return
        # One request each: an event that is refused does not keep back the others.
        results = await self._store.append(self._tenant, [Write(events=(event,)) for event in self._waiting])
        for result in results:
            if isinstance(result, WhenceError):
                raise result
            for error in (receipt.error for receipt in result if receipt.error is not None):
                self._note_refusal(error)
        self._waiting = []
        self._is_saved = False

    async def _forget_actor(self, type_: str, former_id: str, id_: str) -> None:
        """Remember an actor by its new id alone, save that, and take the former one from the definition, which says
        that it is done. What was decided about the actor is stored before."""
        if self._rule.condition.per == "actor":
            self._reading.judge.rename((type_, former_id), (type_, id_))
        if await self._save():
            self._rule = msgspec.structs.replace(self._rule, replaced_actor=None)
            body = msgspec.json.encode(self._rule)
            # If somebody else has changed the rule, that version still names the actor, and comes next.
            await self._store.followers.put_definition(Definition(self._tenant, KIND, self._id, self.version + 1, body))

    def _note_refusal(self, error: WhenceError) -> None:
        """An event that the log refuses now, it refuses again. A conflict is one that was stored before."""
        if not isinstance(error, Conflict):
            self._refused += 1
        _log.error("alert_not_stored", tenant=self._tenant, rule=self.name, error=str(error))

    async def _save(self) -> bool:
        """Save the state, unless the rule was deleted: then its place is gone, and it stores no more. Returns whether
        it is saved."""
        if await self._store.followers.get_definition(self._tenant, KIND, self._id) is None:
            return False
        state = msgspec.msgpack.encode(
            RuleState(
                self._rule.query,
                self._rule.condition,
                self._reading.judge.state(),
                tuple(self._waiting),
                self._missed_before,
                self._refused,
            )
        )
        await self._store.followers.save_place(self._tenant, Place(self.name, self.position, state))
        self._is_saved, self._saved_at, self._state_mib = True, time.monotonic(), len(state) / 2**20
        return True

    def _ends(self, kept: RuleState) -> list[NewEvent]:
        """The ends of the alerts of a rule that was changed: nothing is known of them afterwards."""
        now = self._rule.changed_at
        former = msgspec.structs.replace(self._rule, query=kept.query, condition=kept.condition)
        firing = new_judge(kept.condition, now, kept.judge).firing()
        ends = [Transition(fired=False, at=now, key=alert.key, source=alert.source) for alert in firing]
        return [alert_event(self._tenant, self._id, former, end) for end in ends]

    def _save_after_s(self) -> float:
        return max(self.save_s, _SAVE_S_PER_MIB * self._state_mib)
