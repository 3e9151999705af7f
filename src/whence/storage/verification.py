"""The rules by which a log is checked: every stored event against its hash, every hash against the tree, every count
against the events. Pure; a store reads the rows and says what it found.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from whence import delays, rollups, transitions
from whence.actor_totals import ActorTotals, UnfoldedEvents, by_outcome
from whence.events import Event
from whence.flows import DAY_US, TransitionsByDay
from whence.merkle import CompactRange, leaf_hash
from whence.wire.envelope import envelope

__all__ = [
    "ACTORS_WRONG",
    "CAUSES_WRONG",
    "FINDINGS_MAX",
    "TIMES_WRONG",
    "Chain",
    "Finding",
    "Level",
    "Report",
    "add_transitions",
    "counted_wrong",
    "stored_transitions",
]

FINDINGS_MAX = 20

ACTORS_WRONG = "what actors did is counted wrong"
TIMES_WRONG = "events are counted wrong by time"
CAUSES_WRONG = "causes and effects are counted wrong"


def counted_wrong(what: str) -> str:
    """What is found when the rows of flows, of resources or of names do not agree with the events."""
    return f"{what} are counted wrong"


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it was written: where and what. `position` is None when it is no single event."""

    tenant: str
    position: int | None
    what: str


class Report(msgspec.Struct, frozen=True):
    """What a check read, and what it found wrong; at most 20 findings, the first bad position of each tenant first."""

    tenants: int
    events: int
    roots: dict[str, str]
    findings: list[Finding]

    @property
    def sound(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings


class Chain:
    """The events of one tenant, in order, against their leaves; and the leaves against the head."""

    def __init__(self, tenant: str, event_from: Callable[[str, Any], Event]) -> None:
        """`event_from` makes an event of a `full_event` row."""
        self.tree = CompactRange()
        self._tenant = tenant
        self._event_from = event_from
        self._earlier = 0

    def add(
        self, position: int, row: Sequence[Any] | None, salt: bytes | None, payload_hash: bytes | None, leaf: bytes
    ) -> Finding | None:
        """Take the next event: its `full_event` row, None when its names are missing, and its hashes. What is wrong
        with it is told, and then nothing behind it can be said."""
        if position != self.tree.size + 1:
            return self._finding(self.tree.size + 1, "the event is missing")
        what = self._fault(row, salt, payload_hash, leaf)
        if what or row is None:
            return self._finding(position, what)
        self.tree.append(leaf)
        self._earlier = row[11]
        return None

    def end(self, size: int, recorded_at: int, packed: bytes) -> Finding | None:
        """What is wrong with the head, behind the last event."""
        if self.tree.size != size:
            what = "the event is missing" if self.tree.size < size else "there are more events"
            return self._finding(self.tree.size + 1, what)
        if self.tree.packed() != packed or recorded_at != self._earlier:
            return self._finding(None, "the head does not belong to the events")
        return None

    def _finding(self, position: int | None, what: str) -> Finding:
        return Finding(self._tenant, position, what)

    def _fault(self, row: Sequence[Any] | None, salt: bytes | None, payload_hash: bytes | None, leaf: bytes) -> str:
        """What is wrong with one event, or an empty text."""
        if row is None:
            return "the names of the event are missing"
        payload = row[12]
        if payload is not None and salt is not None:
            payload_hash = sha256(salt + payload).digest()
        if payload_hash is None:
            return "the payload is missing"
        if row[11] < self._earlier:
            return "the event was recorded before the one in front of it"
        try:
            event = self._event_from(self._tenant, row)
            if leaf_hash(envelope(event, payload_hash.hex())) == leaf:
                return ""
        except (ValueError, TypeError, OverflowError, AttributeError):
            pass
        return "the event does not belong to its hash"


_Counts = dict[tuple[int, ...], int]


class Level:
    """The events of one level of buckets, counted anew from the raw events, below the buckets that are divided."""

    def __init__(self, number: int, divided: set[tuple[int, int]]) -> None:
        """`divided` are level and bucket of the parents; without any the level has no rows."""
        self._number = number
        self._divided = divided
        self._counts: _Counts = {}

    def add(self, rows: Iterable[Sequence[int]]) -> None:
        """Count events, of which each row tells when it occurred, its actor and its kind."""
        number, counts = self._number, self._counts
        for occurred_at, actor, kind in rows:
            if number and (number - 1, rollups.bucket_of(number - 1, occurred_at)) not in self._divided:
                continue
            name = (rollups.bucket_of(number, occurred_at), actor, kind)
            counts[name] = counts.get(name, 0) + 1

    def agrees(
        self, actors: Iterable[Sequence[Any]], kinds: Iterable[Sequence[Any]], buckets: Iterable[Sequence[Any]]
    ) -> bool:
        """Whether the stored rows of rollup_actor, rollup_kind and bucket say the same."""
        found: _Counts = {(bucket, actor, kind): events for bucket, actor, kind, events in actors}
        by_kind = _summed(found, lambda name: (name[0], name[2]))
        return (
            found == self._counts
            and {(bucket, kind): events for bucket, kind, events in kinds} == by_kind
            and {(bucket,): events for bucket, events, _ in buckets} == _summed(by_kind, lambda name: name[:1])
        )

    def totals_agree(
        self,
        rows: Iterable[Sequence[Any]],
        divided: set[int],
        new: UnfoldedEvents,
        outcomes: Mapping[int, str],
        actors: int,
    ) -> bool:
        """Whether the stored rows of totals, with the events behind the last fold, say the same of the buckets of this
        level that are divided. Raises ValueError for counts that are none."""
        packed: dict[int, list[bytes]] = {bucket: [] for bucket in divided}
        for bucket, counts in rows:
            if bucket not in packed:
                return False
            packed[bucket].append(counts)
        wanted: dict[int, list[tuple[int, int, int]]] = {bucket: [] for bucket in divided}
        for (bucket, actor, kind), events in self._counts.items():
            if bucket in wanted:
                wanted[bucket].append((actor, kind, events))
        for bucket, parts in packed.items():
            found, sums = ActorTotals(actors), ActorTotals(actors)
            for each in parts:
                found.add_packed(each)
            found.add(new.within(rollups.bounds(self._number, bucket)))
            sums.add(by_outcome(wanted[bucket], outcomes))
            if found.by_actor() != sums.by_actor():
                return False
        return True


def add_transitions(by_day: TransitionsByDay, rows: Iterable[Sequence[int]]) -> None:
    """Count pairs of cause and effect, of which each row tells when the effect and the cause occurred, and the kinds of
    cause and effect."""
    for effect_at, cause_at, cause, effect in rows:
        counts = by_day.setdefault(effect_at // DAY_US, {})
        name = transitions.code_of(cause, effect, delays.bucket_of(effect_at - cause_at))
        counts[name] = counts.get(name, 0) + 1


def stored_transitions(rows: Iterable[Sequence[Any]]) -> dict[tuple[int, int], transitions.Transitions]:
    """The rows of `link` as counts by level and bucket. Raises ValueError for counts that are none."""
    found: dict[tuple[int, int], transitions.Transitions] = {}
    for level, bucket, packed in rows:
        found[level, bucket] = transitions.summed([packed], found.get((level, bucket)))
    return found


def _summed(counts: _Counts, key: Callable[[tuple[int, ...]], tuple[int, ...]]) -> _Counts:
    sums: _Counts = {}
    for name, events in counts.items():
        sums[key(name)] = sums.get(key(name), 0) + events
    return sums
