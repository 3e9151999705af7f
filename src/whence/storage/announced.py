"""What a log says was removed from it, and whether that is all that is missing. Pure.

Before a removal, an event of the log names the positions that it is about, as ranges of which both ends are included.
What a hold has kept of them is taken back by another event, so that nobody can remove it later under that announcement.
"""

from collections.abc import Iterable

import msgspec

from whence.events import EVENT_LOG, Event
from whence.retention import without_ranges
from whence.storage.removals import PAYLOAD_ERASED, REMOVAL_WITHDRAWN, RETENTION_APPLIED

__all__ = ["Announced", "Positions"]

Range = tuple[int, int]
"""The first and the last of some positions."""


class Positions:
    """Positions that come in ascending order, kept as ranges."""

    def __init__(self) -> None:
        self.ranges: list[Range] = []

    def add(self, position: int) -> None:
        """Add a position after those that are there."""
        if self.ranges and self.ranges[-1][1] == position - 1:
            self.ranges[-1] = self.ranges[-1][0], position
        else:
            self.ranges.append((position, position))


class _Announcement(msgspec.Struct):
    ranges: list[Range]
    pseudonym: str | None = None
    event_type: str = msgspec.field(name="eventType", default="")


class Announced:
    """What the events of a log say was removed: positions, by the type of these events, and the ids of actors. Of the
    ids, it has those that took their place, each with the positions of its events."""

    def __init__(self) -> None:
        self._renamed: dict[str, list[Range]] = {}
        self._ranges: dict[str, list[Range]] = {PAYLOAD_ERASED: [], RETENTION_APPLIED: []}

    def add(self, event: Event) -> None:
        """Take in the next event of the log that was checked. It speaks of earlier positions only."""
        known = event.event_type in self._ranges or event.event_type == REMOVAL_WITHDRAWN
        if not known or event.resource_type != EVENT_LOG or event.payload is None:
            return
        try:
            said = msgspec.json.decode(event.payload, type=_Announcement)
        except msgspec.MsgspecError:
            return  # it names nothing
        if event.event_type == REMOVAL_WITHDRAWN:
            named = self._ranges.get(said.event_type)
            if named is not None:
                named[:] = without_ranges(_joined(named), _joined(said.ranges))
            self._renamed.pop(said.pseudonym or "", None)
            return
        ranges = [(first, min(last, event.position - 1)) for first, last in said.ranges if first <= last]
        if said.pseudonym is None:
            self._ranges[event.event_type] += ranges
        else:  # it says nothing of the payloads
            self._renamed.setdefault(said.pseudonym, []).extend(ranges)

    def first_unannounced(self, type_: str, positions: Positions) -> int | None:
        """The first of some positions that no event of a type names, or None when all are named."""
        return _first_outside(self._ranges[type_], positions)

    def first_not_renamed(self, pseudonym: str, positions: Positions) -> int | None:
        """The first of some positions of which no event says that the id of the actor became this, or None."""
        return _first_outside(self._renamed.get(pseudonym, ()), positions)


def _first_outside(ranges: Iterable[Range], positions: Positions) -> int | None:
    """The first of some positions that lies in none of the ranges, or None."""
    named = iter(_joined(ranges))
    current: Range = 0, 0
    for first, last in positions.ranges:
        at = first
        while at <= last:
            while current[1] < at:
                following = next(named, None)
                if following is None:
                    return at
                current = following
            if current[0] > at:
                return at
            at = current[1] + 1
    return None


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, of which no two overlap."""
    joined: list[Range] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        elif first <= last:
            joined.append((first, last))
    return joined
