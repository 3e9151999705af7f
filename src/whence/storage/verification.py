"""The rules by which a log is verified: every event against its leaf, every leaf against the tree, every count against
the events. Pure; a store reads the rows.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from whence import delays, rollups, transitions
from whence.actor_totals import ActorTotals, UnfoldedEvents, by_outcome
from whence.counting import counted
from whence.events import Event
from whence.flows import TransitionsByDay
from whence.integrity import ENVELOPES, hash_payload, leaf_of
from whence.merkle import HASH_SIZE, CompactRange
from whence.storage.announced import Announced, Positions
from whence.storage.removals import PAYLOAD_ERASED, RETENTION_APPLIED
from whence.storage.rows import FullEventRow, HashRow, HeadRow
from whence.tiles import TILE_WIDTH, grown_tiles, tree_hash

__all__ = [
    "FINDINGS_MAX",
    "Chain",
    "Check",
    "EachRow",
    "Finding",
    "Findings",
    "Level",
    "Report",
    "Rows",
    "check_counts",
    "check_tiles",
    "check_transitions",
]

FINDINGS_MAX = 20

_ACTORS_WRONG = "what actors did is counted wrong"
_NOT_ITS_HASH = "the event does not belong to its hash"
_TILES_WRONG = "the tiles do not belong to the leaves"
_TIMES_WRONG = "events are counted wrong by time"
_CAUSES_WRONG = "causes and effects are counted wrong"

_PROGRESS_EVENTS = 10_000
"""Progress is reported after each this many events."""


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
    notes: list[str] = []
    """What is unusual about the store and does no harm."""

    @property
    def sound(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings


class Findings:
    """What a check has read and found so far."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        """`progress` is called with the number of events read, now and then."""
        self._progress = progress
        self._events = 0
        self._roots: dict[str, str] = {}
        self._findings: list[Finding] = []
        self._notes: list[str] = []

    def add(self, tenant: str, position: int | None, what: str) -> None:
        """Add something that was found wrong."""
        self._add(Finding(tenant, position, what))

    def note(self, what: str) -> None:
        """Add something unusual that does no harm."""
        if len(self._notes) < FINDINGS_MAX:
            self._notes.append(what)

    def add_unreadable(self, tenant: str, reason: str = "a value has no form that Whence stores") -> None:
        """Add that a check of this tenant could not read what it needs, and why."""
        self.add(tenant, None, f"its rows cannot be read: {reason}")

    def add_event(self, found: Finding | None) -> bool:
        """Count an event that was checked, or add what was found wrong with it. Whether to go on with the next one."""
        if found is not None:
            self._add(found)
            return False
        self._events += 1
        if self._progress is not None and self._events % _PROGRESS_EVENTS == 0:
            self._progress(self._events)
        return True

    def add_log(self, chain: "Chain", head: HeadRow) -> None:
        """Add the root of a log whose events were all checked, and what is wrong with its head."""
        found = chain.end(head)
        if found is not None:
            self._add(found)
        if chain.by_leaf_only:
            self.note(
                f"{chain.tenant}: {counted(chain.by_leaf_only, 'event')} can be proven by the leaf alone, since the id "
                "of the actor was replaced"
            )
        self._roots[chain.tenant] = chain.tree.root().hex()

    def report(self, tenants: int) -> Report:
        """The result of the check."""
        return Report(tenants, self._events, self._roots, self._findings, self._notes)

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(finding)


class Chain:
    """Checks the events of one tenant in order against their leaves, then the head and the tiles against the leaves.

    Before the first position that is kept, the tiles of level 0 have the leaves, also of the events that are held. An
    event that is missing there, and a payload, has to be named by an event that is still in the log.
    """

    def __init__(self, tenant: str, head: HeadRow, event_from: Callable[[str, Any], Event]) -> None:
        """`event_from` makes an event of a `full_event` row."""
        self.tenant = tenant
        self.tree = CompactRange()
        self.full_tiles: list[bytes] = []
        """The hashes of the full tiles of level 0."""
        self.by_leaf_only = 0
        """How many events cannot be compared with their leaves, since the id of their actor was replaced."""
        self._event_from = event_from
        self._recorded_at = 0
        self._tiled = head.retained_from - 1
        self._tile: tuple[int, bytes] = (-1, b"")
        self._growing_tile: list[bytes] = []
        self._removed, self._erased = Positions(), Positions()
        self._around_last_removed: tuple[int, int | None] = (0, None)
        self._renamed: dict[str, Positions] = {}
        self._announced = Announced()

    def tile_before(self, position: int) -> int | None:
        """The number of the tile of level 0 that has to be added before the event at a position is checked; None when
        there is none."""
        end = min(position - 1, self._tiled)
        while self.tree.size < end:
            leaf = self._leaf_at(self.tree.size)
            if leaf is None:
                break
            self._removed.add(self.tree.size + 1)
            self._around_last_removed = self._recorded_at, None
            self._append(leaf)
        needed = self.tree.size // TILE_WIDTH
        is_tiled = self.tree.size < min(position, self._tiled)
        return needed if is_tiled and self._tile[0] != needed else None

    def add_tile(self, number: int, hashes: bytes) -> None:
        """Add the tile that `tile_before` asked for, as far as it is there."""
        self._tile = number, hashes

    def add(self, position: int, row: FullEventRow | None, hashes: HashRow) -> Finding | None:
        """Check the next event; `row` is None when its names are missing.

        Returns what is wrong with it. Nothing can be said about the events after a wrong one.
        """
        if position != self.tree.size + 1:
            return self._finding(self.tree.size + 1, "the event is missing")
        if row is None:
            return self._finding(position, "the names of the event are missing")
        if position <= self._tiled and self._leaf_at(position - 1) != hashes.leaf:
            return self._finding(position, "the tiles have another leaf of the event, or none")
        what = self._fault(row, hashes)
        if what:
            return self._finding(position, what)
        self._append(hashes.leaf)
        self._recorded_at = row.recorded_at
        if self._around_last_removed[1] is None:
            self._around_last_removed = self._around_last_removed[0], row.recorded_at
        return None

    def end(self, head: HeadRow) -> Finding | None:
        """What is wrong with the head, or first missing without an event that says so, after the last event."""
        if self.tree.size != head.size:
            what = "the event is missing" if self.tree.size < head.size else "there are more events"
            return self._finding(self.tree.size + 1, what)
        if self.tree.packed() != head.compact_range or not self._is_recorded(head):
            return self._finding(None, "the head does not belong to the events")
        if self._removed.ranges and not self._removed_in_time(head):
            return self._finding(None, "the time of the last event that was removed is wrong")
        for type_, positions, what in (
            (RETENTION_APPLIED, self._removed, "the event is missing, and no event says that it was removed"),
            (PAYLOAD_ERASED, self._erased, "the payload is missing, and no event says that it was erased"),
        ):
            position = self._announced.first_unannounced(type_, positions)
            if position is not None:
                return self._finding(position, what)
        for actor_id, positions in self._renamed.items():
            position = self._announced.first_not_renamed(actor_id, positions)
            if position is not None:
                return self._finding(position, "the id of the actor was replaced, and no event says so")
        return None

    def _is_recorded(self, head: HeadRow) -> bool:
        """Whether the head has the time of the last event; of one that was removed, it is not known."""
        if self._removed.ranges and self._removed.ranges[-1][1] == head.size:
            return head.recorded_at >= self._recorded_at
        return head.recorded_at == self._recorded_at

    def _removed_in_time(self, head: HeadRow) -> bool:
        """Whether the head says that the last event that was removed was recorded between those around it."""
        before, after = self._around_last_removed
        return max(before, 1) <= head.removed_recorded_at <= (head.recorded_at if after is None else after)

    def _leaf_at(self, index: int) -> bytes | None:
        """The leaf with this index, from 0, in the tile that was added last."""
        number, hashes = self._tile
        if index // TILE_WIDTH != number:
            return None
        at = index % TILE_WIDTH * HASH_SIZE
        return hashes[at : at + HASH_SIZE] or None

    def _append(self, leaf: bytes) -> None:
        self.tree.append(leaf)
        self._growing_tile.append(leaf)
        if len(self._growing_tile) == TILE_WIDTH:
            self.full_tiles.append(tree_hash(b"".join(self._growing_tile)))
            self._growing_tile = []

    def _finding(self, position: int | None, what: str) -> Finding:
        return Finding(self.tenant, position, what)

    def _fault(self, row: FullEventRow, hashes: HashRow) -> str:
        """What is wrong with one event, or an empty text."""
        payload_hash = hashes.payload_hash
        if row.payload is not None and hashes.salt is not None:
            payload_hash = hash_payload(hashes.salt, row.payload)
        if payload_hash is None:
            return "the payload is missing"
        if row.recorded_at < self._recorded_at:
            return "the event was recorded before the one in front of it"
        version = hashes.envelope_version
        if version not in ENVELOPES:
            return f"the event was hashed with version {version} of the envelope, which this release does not know"
        try:
            event = self._event_from(self.tenant, row)
            if row.actor_erased_at is not None:
                self.by_leaf_only += 1
                self._renamed.setdefault(event.actor_id, Positions()).add(event.position)
            elif leaf_of(event, payload_hash, version) != hashes.leaf:
                return _NOT_ITS_HASH
        except (ValueError, TypeError, OverflowError, AttributeError):
            return _NOT_ITS_HASH
        if row.actor_erased_at is None:  # else nothing shows that it says what was recorded
            self._announced.add(event)
        if event.payload is None:
            self._erased.add(event.position)
        return ""


_Counts = dict[tuple[int, ...], int]


class Level:
    """The buckets of one level below those that are divided, counted from the raw events."""

    def __init__(self, number: int, divided: set[tuple[int, int]]) -> None:
        """`divided` are level and bucket of the parents; without any, the level has no rows."""
        self._number = number
        self._divided = divided
        self._counts: _Counts = {}

    def add(self, rows: Iterable[Sequence[int]]) -> None:
        """Count events. A row is the time of an event, its actor and its kind."""
        number, counts = self._number, self._counts
        for occurred_at, actor, kind in rows:
            if number and (number - 1, rollups.bucket_of(number - 1, occurred_at)) not in self._divided:
                continue
            name = (rollups.bucket_of(number, occurred_at), actor, kind)
            counts[name] = counts.get(name, 0) + 1

    def agrees(
        self, actors: Iterable[Sequence[Any]], kinds: Iterable[Sequence[Any]], buckets: Iterable[Sequence[Any]]
    ) -> bool:
        """Whether the rows of rollup_actor, rollup_kind and bucket have the same counts."""
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
        """Whether the rows of actor_total, with the events since the last fold, have the same counts for the divided
        buckets of this level. Raises ValueError for bytes that are not packed counts."""
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


class Rows(msgspec.Struct, frozen=True):
    """Asks for the rows of an SQL block. `values` follow the tenant's number."""

    block: str
    values: tuple[int, ...] = ()


class EachRow(msgspec.Struct, frozen=True):
    """Asks to call `take` with the rows of an SQL block, in parts of any size. `values` follow the tenant's number."""

    block: str
    values: tuple[int, ...]
    take: Callable[[Iterable[Sequence[Any]]], None]


Check = Generator[Rows | EachRow, Any, None]
"""A check that asks a store for rows."""


def check_counts(head: HeadRow, report: Callable[[str], None]) -> Check:
    """Check the bytes of payloads and the rows of flows, resources, names, rollups and actor totals against the events.

    Calls `report` with what is wrong. Raises ValueError for bytes that are not packed counts.
    """
    if (yield Rows("payload_bytes", (0, head.measured_to)))[0][0] != head.payload_bytes or head.measured_to > head.size:
        report("the bytes of the payloads are counted wrong")
    for what in ("flows", "resources", "names"):
        if (yield Rows(f"wrong_{what}")):
            report(f"{what} are counted wrong")
    outcomes = {kind: outcome for kind, _, _, _, outcome in (yield Rows("kinds"))}
    new = UnfoldedEvents(map(tuple, (yield Rows("unfolded_events", (head.folded_to,)))), outcomes)
    divided = {(0, 0)}
    for number in range(rollups.LAST_LEVEL + 1):
        level = Level(number, divided)
        if divided:
            yield EachRow("times", (), level.add)
        actors, kinds = (yield Rows("all_rollup_actor", (number,))), (yield Rows("all_rollup_kind", (number,)))
        buckets = yield Rows("all_buckets", (number,))
        if not level.agrees(actors, kinds, buckets):
            report(_TIMES_WRONG)
            return
        divided = {(number, bucket) for bucket, _, is_divided in buckets if is_divided}
        totals = yield Rows("all_actor_totals", (number,))
        if not level.totals_agree(totals, {bucket for _, bucket in divided}, new, outcomes, head.actors):
            report(_ACTORS_WRONG)
            return


def check_tiles(head: HeadRow, full_tiles: Sequence[bytes], report: Callable[[str], None]) -> Check:
    """Check the tiles above the leaves against the hashes of the full tiles of level 0. The last ones of a level may
    lack some, since they are added when the log is signed. Those of level 0 end before the first event that is kept.

    Calls `report` with what is wrong.
    """
    if (yield Rows("excess_leaves", (head.retained_from - 1,))):
        report(_TILES_WRONG)
        return
    computed = {(tile.level, tile.number): hashes for tile, hashes in grown_tiles(0, {}, full_tiles).items()}
    for level, number, hashes in (yield Rows("upper_tiles")):
        if not computed.get((level, number), b"").startswith(hashes):
            report(_TILES_WRONG)
            return


def check_transitions(head: HeadRow, report: Callable[[str], None]) -> Check:
    """Check the rows of transitions against the events and their causes.

    Calls `report` with what is wrong. Raises ValueError for bytes that are not packed counts.
    """
    by_day: TransitionsByDay = {}

    def count(rows: Iterable[Sequence[int]]) -> None:
        for effect_at, cause_at, cause, effect in rows:
            counts = by_day.setdefault(effect_at // rollups.DAY_US, {})
            code = transitions.code_of(cause, effect, delays.bucket_of(effect_at - cause_at))
            counts[code] = counts.get(code, 0) + 1

    yield EachRow("folded_transitions", (head.folded_to,), count)
    sums: list[dict[tuple[int, int], transitions.Transitions]] = []
    for block in ("all_transitions", "all_removed_transitions"):
        found: dict[tuple[int, int], transitions.Transitions] = {}
        for level, bucket, packed in (yield Rows(block)):
            found[level, bucket] = transitions.summed([packed], found.get((level, bucket)))
        sums.append(found)
    stored, removed = sums
    left = {name: transitions.subtracted(stored.get(name, {}), removed.get(name, {})) for name in stored | removed}
    left = {name: counts for name, counts in left.items() if counts}
    if left != transitions.by_bucket(by_day) or head.folded_to > head.size:
        report(_CAUSES_WRONG)


def _summed(counts: _Counts, key: Callable[[tuple[int, ...]], tuple[int, ...]]) -> _Counts:
    sums: _Counts = {}
    for name, events in counts.items():
        sums[key(name)] = sums.get(key(name), 0) + events
    return sums
