"""What a log says was removed from it, and whether that is all that is missing. Pure.

Before a removal, an event of the log names the positions that it is about, as ranges of which both ends are included.
"""

from collections.abc import Iterable

import msgspec

from whence.events import EVENT_LOG, Event
from whence.storage.removals import LASTING_TYPES

__all__ = ["Announced", "Positions"]

Range = tuple[int, int]
"""The first and the last of some positions."""


class Positions:
    """Positions that come in ascending order, kept as ranges."""

    def __init__(self) -> None:
        self.ranges: list[Range] = []

    def add(self, position: int) -> None:
        """Add a position behind those that are there."""
        if self.ranges and self.ranges[-1][1] == position - 1:
            self.ranges[-1] = self.ranges[-1][0], position
        else:
            self.ranges.append((position, position))


class _Announcement(msgspec.Struct):
    ranges: list[Range]
    pseudonym: str | None = None


class Announced:
    """What the events of a log say was removed: positions, by the type of these events, and the ids of actors. Of the
    ids, it has those that took their place."""

    def __init__(self) -> None:
        self.pseudonyms: set[str] = set()
        self._ranges: dict[str, list[Range]] = {type_: [] for type_ in LASTING_TYPES}

    def add(self, event: Event) -> None:
        """Take in an event of the log that was checked. It speaks of earlier positions only."""
        if event.event_type not in self._ranges or event.resource_type != EVENT_LOG or event.payload is None:
            return
        try:
            said = msgspec.json.decode(event.payload, type=_Announcement)
        except msgspec.MsgspecError:
            return  # it names nothing
        self._ranges[event.event_type] += [
            (first, min(last, event.position - 1)) for first, last in said.ranges if first <= last
        ]
        if said.pseudonym is not None:
            self.pseudonyms.add(said.pseudonym)

    def first_unannounced(self, type_: str, positions: Positions) -> int | None:
        """The first of some positions that no event of a type names, or None when all are named."""
        named = iter(_joined(self._ranges[type_]))
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
