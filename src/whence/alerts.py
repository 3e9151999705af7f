"""Alert rules: which events they watch, and when they fire and resolve. Pure.

A rule is a filter and a condition. A *judge* is given the matching events in the order of their positions, and the
time once the log has been read to its end. What it returns follows from these alone, so that a rule gives the same
alerts live, after a restart and when it is tried on the past.

match        every matching event fires; there is nothing to resolve
count        so many matching events of a key in a window, by the times at which they occurred
first_seen   the first matching event of a key in the whole log
absence      no matching event for a time, by the times at which they were recorded
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Protocol

import msgspec

from whence.events import Event, Query
from whence.recent import RecentlyUsed

__all__ = [
    "ALERT_TYPES",
    "EVENT_IDS_MAX",
    "FIRED",
    "KEYS_MAX",
    "KINDS",
    "PER",
    "RESOLVED",
    "THRESHOLD_MAX",
    "TIMES_MAX",
    "WINDOW_MAX_S",
    "AlertRule",
    "Condition",
    "Firing",
    "FirstSeen",
    "Judge",
    "Transition",
    "earlier_queries",
    "is_watched",
    "key_fields",
    "key_of",
    "new_judge",
]

FIRED, RESOLVED = "whence.alert_fired", "whence.alert_resolved"

ALERT_TYPES = (FIRED, RESOLVED)
"""The types of the events of alerts, which no rule matches."""

_OF_ALERTS = "whence.alert_"
_OF_THE_LOG = "whence."

KINDS = ("match", "count", "first_seen", "absence")
"""The kinds of conditions."""

PER: dict[str, tuple[str, ...]] = {
    "match": (),
    "count": ("actor", "resource", "correlation", "eventType"),
    "first_seen": ("actor", "resource", "eventType"),
    "absence": (),
}
"""What the events of each kind of condition can be grouped by."""

THRESHOLD_MAX = 2_000
"""The largest number of events that a condition counts."""

WINDOW_MAX_S = 31 * 86_400
"""The longest window of a condition."""

KEYS_MAX = 10_000
"""Keys that one rule remembers."""

TIMES_MAX = 50_000
"""Times of events that one rule remembers, of all its keys."""

EVENT_IDS_MAX = 50
"""Events that an alert names, the latest ones."""

_KEPT_AFTER_DROPPING = 0.9

Key = tuple[str, ...]


class Condition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a rule fires. `per` is what the events are grouped by, None for all together. `threshold` is for `count`,
    and `window_us` for `count` and `absence`."""

    kind: str
    per: str | None = None
    threshold: int = 0
    window_us: int = 0


class AlertRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule as it is kept. It sees what the API key `key_id` may read, which are the resource types `readable` (None
    for all), and stops with that key. It watches the events after the position `after`. Times are in microseconds.

    `replaced_actor` is the type, the former and the new id of an actor whose id was erased, until the rule has
    forgotten the former one.
    """

    name: str
    query: Query
    condition: Condition
    key_id: str
    readable: tuple[str, ...] | None
    after: int
    created_at: int
    changed_at: int
    replaced_actor: tuple[str, str, str] | None = None


class Transition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An alert that fires or resolves. `at` is when it occurred. `source` names the alert within its rule: the id of
    the event that made it fire, which is `cause`, or what stands for it where no event did."""

    fired: bool
    at: int
    source: str
    key: Key = ()
    cause: str | None = None
    count: int = 0
    event_ids: tuple[str, ...] = ()


class Firing(msgspec.Struct, frozen=True):
    """An alert that has fired and not resolved."""

    key: Key
    source: str


class Judge(Protocol):
    """Decides when a rule fires and resolves. `dropped` counts the keys that it had to forget too early."""

    dropped: int

    def take(self, event: Event) -> list[Transition]:
        """What follows from the next matching event."""
        ...

    def clock(self, now: int) -> list[Transition]:
        """What follows from the time, once every event that was recorded before it has been taken."""
        ...

    def due(self) -> int | None:
        """The next time at which the clock decides something, if no event comes."""
        ...

    def firing(self) -> Iterator[Firing]:
        """The alerts that have not resolved."""
        ...

    def state(self) -> bytes:
        """What the judge remembers, from which `new_judge` goes on."""
        ...

    def rename(self, former: Key, key: Key) -> None:
        """Remember under another key what is remembered of one: its events have the other key by now. What is known of
        both is joined."""
        ...


def new_judge(condition: Condition, since: int, state: bytes = b"") -> Judge:
    """The judge of a condition, from its beginning at the time `since` or from a state."""
    match condition.kind:
        case "count":
            return _Counts(condition, state)
        case "first_seen":
            return FirstSeen(condition, state)
        case "absence":
            return _Absence(condition, since, state)
    return _Matches()


def is_watched(query: Query, event_type: str) -> bool:
    """Whether a rule with this query takes a matching event. No rule takes the events of alerts, and those about the
    log itself are taken only where event types are named."""
    if event_type.startswith(_OF_ALERTS):
        return False
    return not event_type.startswith(_OF_THE_LOG) or bool(query.event_types or query.event_type_prefixes)


def key_of(per: str | None, event: Event) -> Key:
    """The group that an event belongs to."""
    match per:
        case "actor":
            return event.actor_type, event.actor_id
        case "resource":
            return event.resource_type, event.resource_id
        case "correlation":
            return (event.correlation_id,)
        case "eventType":
            return (event.event_type,)
    return ()


_KEY_NAMES: dict[str | None, tuple[str, ...]] = {
    None: (),
    "actor": ("actorType", "actorId"),
    "resource": ("resourceType", "resourceId"),
    "correlation": ("correlationId",),
    "eventType": ("eventType",),
}


def key_fields(per: str | None, key: Key) -> dict[str, str]:
    """A key as the fields of an event that it consists of."""
    return dict(zip(_KEY_NAMES[per], key, strict=True))


def earlier_queries(query: Query, per: str | None, key: Key) -> tuple[Query, Query | None]:
    """The events of one key, and those of them that the rule does not take, if there can be any."""
    if per == "resource":
        return msgspec.structs.replace(query, resource_types=key[:1], resource_ids=key[1:]), None
    if per == "eventType":
        return msgspec.structs.replace(query, event_types=key, event_type_prefixes=()), None
    narrowed = msgspec.structs.replace(query, actor_types=key[:1], actor_ids=key[1:])
    if not query.event_types and not query.event_type_prefixes:
        return narrowed, msgspec.structs.replace(narrowed, event_type_prefixes=(_OF_THE_LOG,))
    if _OF_THE_LOG in query.event_type_prefixes:
        return narrowed, msgspec.structs.replace(narrowed, event_types=ALERT_TYPES, event_type_prefixes=())
    return narrowed, None


class _Matches:
    """Every event fires."""

    dropped = 0

    def take(self, event: Event) -> list[Transition]:
        """See `Judge`."""
        return [_fired_by(event, (), 1, (event.id,))]

    def clock(self, now: int) -> list[Transition]:
        """See `Judge`."""
        return []

    def due(self) -> int | None:
        """See `Judge`."""
        return None

    def firing(self) -> Iterator[Firing]:
        """See `Judge`."""
        return iter(())

    def state(self) -> bytes:
        """See `Judge`."""
        return b""

    def rename(self, former: Key, key: Key) -> None:
        """See `Judge`."""


class _Window(msgspec.Struct, array_like=True):
    """The latest events of one key: `times` ascending, and the ids of the last of them. `lag_us` is how much later than
    it occurred the newest was recorded. `source` names the alert that fires, empty while none does."""

    times: list[int] = []
    ids: list[str] = []
    lag_us: int = 0
    source: str = ""

    def add(self, event: Event, most: int) -> int | None:
        """Add an event. Returns the time that had to go, since at most `most` are kept."""
        without_id = len(self.times) - len(self.ids)
        index = bisect_right(self.times, event.occurred_at)
        self.times.insert(index, event.occurred_at)
        if index == len(self.times) - 1:
            self.lag_us = max(0, event.recorded_at - event.occurred_at)
        if index >= without_id:
            self.ids.insert(index - without_id, event.id)
            if len(self.ids) > EVENT_IDS_MAX:
                del self.ids[0]
        if len(self.times) <= most:
            return None
        if len(self.ids) == len(self.times):
            del self.ids[0]
        return self.times.pop(0)

    def joined(self, other: "_Window", most: int) -> "_Window":
        """The window of the events of both, of which at most `most` are kept."""
        dated = sorted([*self._dated(), *other._dated()])[-most:]
        ids: list[str] = []
        for _, id_ in reversed(dated):
            if not id_ or len(ids) == EVENT_IDS_MAX:
                break
            ids.insert(0, id_)
        lag_us, source = max(self.lag_us, other.lag_us), self.source or other.source
        return _Window([time for time, _ in dated], ids, lag_us, source)

    def _dated(self) -> Iterator[tuple[int, str]]:
        """Each time, with the id of its event or an empty one."""
        without_id = len(self.times) - len(self.ids)
        return zip(self.times, ["" for _ in range(without_id)] + self.ids, strict=True)


class _CountState(msgspec.Struct, array_like=True):
    windows: list[tuple[Key, _Window]]
    dropped: int


class _Counts:
    """Fires when an event lies in the window before the newest one of its key, and the number of events in that window,
    with it, reaches the threshold. It resolves when the oldest of the `threshold` latest ones leaves the window.

    An event that is late counts at the time at which it occurred. When an event came later than it occurred, so does
    the end of the window: a burst that is imported is one alert, and not one for each of its events.
    """

    def __init__(self, condition: Condition, state: bytes) -> None:
        self._per, self._threshold, self._span = condition.per, condition.threshold, condition.window_us
        kept = msgspec.msgpack.decode(state, type=_CountState) if state else _CountState([], 0)
        self._windows = dict(kept.windows)
        self._firing = {key for key, window in self._windows.items() if window.source}
        self._times = sum(len(window.times) for window in self._windows.values())
        self.dropped = kept.dropped

    def take(self, event: Event) -> list[Transition]:
        """See `Judge`."""
        key = key_of(self._per, event)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window([], [])
        found = []
        if window.source and event.occurred_at >= window.times[0] + self._span:
            found.append(self._resolve(key, window))
        gone = window.add(event, self._threshold)
        begin = window.times[-1] - self._span
        reached = len(window.times) == self._threshold and window.times[0] > begin
        if reached and event.occurred_at > begin and (gone is None or gone <= begin):
            window.source = event.id
            self._firing.add(key)
            found.append(_fired_by(event, key, self._threshold, tuple(window.ids)))
        self._times += gone is None
        if len(self._windows) > KEYS_MAX or self._times > TIMES_MAX:
            self._drop(event.recorded_at)
        return found

    def clock(self, now: int) -> list[Transition]:
        """See `Judge`."""
        ended = sorted((self._end(key), key) for key in self._firing if self._end(key) <= now)
        return [self._resolve(key, self._windows[key]) for _, key in ended]

    def due(self) -> int | None:
        """See `Judge`."""
        return min(map(self._end, self._firing), default=None)

    def firing(self) -> Iterator[Firing]:
        """See `Judge`."""
        return (Firing(key, self._windows[key].source) for key in sorted(self._firing))

    def state(self) -> bytes:
        """See `Judge`."""
        return msgspec.msgpack.encode(_CountState(list(self._windows.items()), self.dropped))

    def rename(self, former: Key, key: Key) -> None:
        """See `Judge`."""
        window, other = self._windows.pop(former, None), self._windows.get(key)
        if window is None:
            return
        renamed = window if other is None else window.joined(other, self._threshold)
        self._times += len(renamed.times) - len(window.times) - (0 if other is None else len(other.times))
        self._windows[key] = renamed
        self._firing -= {former, key}
        if renamed.source:
            self._firing.add(key)

    def _end(self, key: Key) -> int:
        """When the alert of a key resolves, if no event comes."""
        window = self._windows[key]
        return window.times[0] + self._span + window.lag_us

    def _resolve(self, key: Key, window: _Window) -> Transition:
        source, window.source = window.source, ""
        self._firing.discard(key)
        return Transition(fired=False, at=window.times[0] + self._span, key=key, source=source)

    def _drop(self, now: int) -> None:
        """Forget keys: those whose window has passed, then those whose newest event is the oldest, which are counted.
        Keys that fire go last."""
        keys_left, times_left = KEYS_MAX * _KEPT_AFTER_DROPPING, TIMES_MAX * _KEPT_AFTER_DROPPING
        by_age = sorted(
            (key in self._firing, window.times[-1] + window.lag_us + self._span > now, window.times[-1], key)
            for key, window in self._windows.items()
        )
        for is_firing, is_open, _, key in by_age:
            must = len(self._windows) > keys_left or self._times > times_left
            if is_firing or is_open:
                if not must:
                    return
                self.dropped += 1
            self._times -= len(self._windows.pop(key).times)
            self._firing.discard(key)


class _Pending(msgspec.Struct, array_like=True):
    """The first event of a key since the judge last asked, and how many of the key came since, with it."""

    event_id: str
    at: int
    count: int


class _FirstState(msgspec.Struct, array_like=True):
    pending: list[tuple[Key, _Pending]]
    dropped: int


class FirstSeen:
    """Fires for the first event of a key. Whether there were earlier ones is a question to the log: `keys` are those to
    ask for, and `settle` takes the answers. Keys of which that is known are asked for again only after many others."""

    def __init__(self, condition: Condition, state: bytes) -> None:
        self.per = condition.per
        kept = msgspec.msgpack.decode(state, type=_FirstState) if state else _FirstState([], 0)
        self._pending = dict(kept.pending)
        self._seen: RecentlyUsed[Key, bool] = RecentlyUsed(2 * KEYS_MAX)
        self.dropped = kept.dropped

    def take(self, event: Event) -> list[Transition]:
        """See `Judge`. Nothing follows before the log was asked."""
        key = key_of(self.per, event)
        pending = self._pending.get(key)
        if pending is not None:
            pending.count += 1
        elif self._seen.get(key) is None:
            if len(self._pending) < KEYS_MAX:
                self._pending[key] = _Pending(event.id, event.occurred_at, 1)
            else:
                self.dropped += 1
        return []

    def keys(self) -> list[Key]:
        """The keys to ask for, in the order in which they came."""
        return list(self._pending)

    def settle(self, key: Key, matching: int) -> list[Transition]:
        """What follows when so many events of this key match, up to the last one that was taken."""
        pending = self._pending.pop(key)
        self._seen.put(key, value=True, size=1)
        if matching > pending.count:
            return []
        ids = (pending.event_id,)
        return [
            Transition(
                fired=True,
                at=pending.at,
                key=key,
                source=pending.event_id,
                cause=pending.event_id,
                count=1,
                event_ids=ids,
            )
        ]

    def clock(self, now: int) -> list[Transition]:
        """See `Judge`."""
        return []

    def due(self) -> int | None:
        """See `Judge`."""
        return None

    def firing(self) -> Iterator[Firing]:
        """See `Judge`."""
        return iter(())

    def state(self) -> bytes:
        """See `Judge`."""
        return msgspec.msgpack.encode(_FirstState(list(self._pending.items()), self.dropped))

    def rename(self, former: Key, key: Key) -> None:
        """See `Judge`."""
        pending, other = self._pending.pop(former, None), self._pending.get(key)
        if pending is not None:
            if other is not None:
                pending.count += other.count
            self._pending[key] = pending


class _AbsenceState(msgspec.Struct, array_like=True):
    """`last` is when the last event was recorded, or when the rule began; `event_id` is empty for that."""

    last: int
    event_id: str = ""
    firing: bool = False


class _Absence:
    """Fires when no event was recorded for the window, and resolves at the next one."""

    dropped = 0

    def __init__(self, condition: Condition, since: int, state: bytes) -> None:
        self._span = condition.window_us
        self._state = msgspec.msgpack.decode(state, type=_AbsenceState) if state else _AbsenceState(since)

    def take(self, event: Event) -> list[Transition]:
        """See `Judge`."""
        found = []
        if not self._state.firing and event.recorded_at > self._state.last + self._span:
            found.append(self._fire())
        if self._state.firing:
            found.append(Transition(fired=False, at=event.recorded_at, source=self._source))
        self._state = _AbsenceState(event.recorded_at, event.id)
        return found

    def clock(self, now: int) -> list[Transition]:
        """See `Judge`."""
        due = self.due()
        return [self._fire()] if due is not None and due <= now else []

    def due(self) -> int | None:
        """See `Judge`."""
        return None if self._state.firing else self._state.last + self._span

    def firing(self) -> Iterator[Firing]:
        """See `Judge`."""
        return iter([Firing((), self._source)] if self._state.firing else [])

    def state(self) -> bytes:
        """See `Judge`."""
        return msgspec.msgpack.encode(self._state)

    def rename(self, former: Key, key: Key) -> None:
        """See `Judge`."""

    @property
    def _source(self) -> str:
        return self._state.event_id or f"since {self._state.last}"

    def _fire(self) -> Transition:
        self._state.firing = True
        cause = self._state.event_id or None
        return Transition(
            fired=True,
            at=self._state.last + self._span,
            source=self._source,
            cause=cause,
            event_ids=() if cause is None else (cause,),
        )


def _fired_by(event: Event, key: Key, count: int, event_ids: tuple[str, ...]) -> Transition:
    return Transition(
        fired=True, at=event.occurred_at, key=key, source=event.id, cause=event.id, count=count, event_ids=event_ids
    )
