"""Totals of each actor by bucket: events, successes and failures, packed so that sums are cheap. Pure.

A packed set is four columns of integers: the actors, as differences of their numbers, and the events, successes and
failures of each. It starts with the widths of the columns, one byte each: 1, 2, 4 or 8 bytes a number, and 0 for a
column that is left out. A column of counts is left out when all of it is 0. The column of actors is left out when they
are 1, 2, 3 and so on, where actors without events are included if that makes the set no larger. So a small bucket takes
about four bytes an actor, and a large one is summed column by column.

A bucket has packed sets once it is divided (see `rollups`). Small ones are merged as those of `transitions` are.
"""

import sys
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from operator import add, sub
from typing import Any

from whence import rollups

__all__ = ["ActorTotals", "Counted", "Totals", "UnfoldedEvents", "by_outcome", "pack", "subtracted", "summed"]

Totals = tuple[int, int, int]
"""Events, successes and failures."""

Counted = Sequence[Mapping[int, int]]
"""Events, successes and failures by actor. An actor without successes or failures may be missing there."""

_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_COLUMNS = 4

_LISTED_MAX = 65_536
"""Up to this many actors are summed in lists. With more, of which a bucket has a small part, in dicts."""


def pack(counted: Counted) -> bytes:
    """The totals as a store keeps them."""
    actors = sorted(counted[0])
    columns = [[column.get(actor, 0) for actor in actors] for column in counted]
    return _packed(
        actors,
        columns,
        lambda highest: [[column.get(actor, 0) for actor in range(1, highest + 1)] for column in counted],
    )


def _packed(
    actors: Sequence[int], columns: Sequence[Sequence[int]], spread: Callable[[int], Sequence[Sequence[int]]]
) -> bytes:
    """A packed set of actors in order. `spread` returns the columns of all actors from 1 to a number."""
    gaps = list(map(sub, actors, (0, *actors)))
    highest = actors[-1] if actors else 0
    if any(min(column, default=0) < 0 for column in columns):
        raise ValueError("An actor has no fewer than no events.")
    widths = [_width(max(column, default=0)) for column in (gaps, *columns)]
    if highest * sum(widths[1:]) <= len(actors) * sum(widths):
        widths[0] = 0
        columns = spread(highest)
    parts = [_bytes_of(width, column) for width, column in zip(widths, (gaps, *columns), strict=True)]
    return bytes(widths) + b"".join(parts)


def _width(most: int) -> int:
    """The number of bytes that hold a number."""
    return next(width for width in (0, 1, 2, 4, 8) if most < 1 << 8 * width)


def _bytes_of(width: int, column: Sequence[int]) -> bytes:
    if not width:
        return b""
    numbers = array(_WIDTHS[width], column)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _unpacked(packed: bytes) -> tuple[Sequence[int], list[Sequence[int]]]:
    """The actors of a packed set, in order, and its columns. An empty column is all 0."""
    widths = packed[:_COLUMNS]
    if len(widths) != _COLUMNS or not {*widths} <= {0, *_WIDTHS} or not widths[1]:
        raise ValueError("A packed set starts with the widths of its columns.")
    size, rest = divmod(len(packed) - _COLUMNS, sum(widths))
    if rest:
        raise ValueError("The columns of a packed set have one length.")
    columns: list[Sequence[int]] = []
    at = _COLUMNS
    for width in widths:
        numbers = array(_WIDTHS[width or 1], packed[at : at + size * width])
        if sys.byteorder == "big":
            numbers.byteswap()
        columns.append(numbers)
        at += size * width
    gaps, *counts = columns
    return (list(accumulate(gaps)) if widths[0] else range(1, size + 1)), counts


def by_outcome(rows: Iterable[Sequence[int]], outcomes: Mapping[int, str]) -> Counted:
    """Rows of an actor, a kind and its events, counted by actor. `outcomes` by kind."""
    columns: tuple[defaultdict[int, int], ...] = (defaultdict(int), defaultdict(int), defaultdict(int))
    events, successes, failures = columns
    of_outcome = {kind: {"success": successes, "failure": failures}.get(outcome) for kind, outcome in outcomes.items()}
    for actor, kind, number in rows:
        events[actor] += number
        column = of_outcome.get(kind)
        if column is not None:
            column[actor] += number
    return columns


class ActorTotals:
    """A sum of totals by actor."""

    def __init__(self, actors: int) -> None:
        """Start empty. `actors` is the highest number that an actor has."""
        self._actors = actors
        self._listed: list[Any] = [[0] * (actors + 1) for _ in range(3)] if actors <= _LISTED_MAX else []
        self._named: list[Any] = [] if self._listed else [defaultdict(int) for _ in range(3)]

    def add_packed(self, packed: bytes, sign: int = 1) -> None:
        """Add a packed set, or subtract it with a sign of -1. Raises ValueError for bytes that are not a packed set."""
        actors, columns = _unpacked(packed)
        if actors and actors[-1] > self._actors:
            raise ValueError("A packed set names an unknown actor.")
        for total, column in zip(self._listed or self._named, columns, strict=True):
            if isinstance(total, list) and isinstance(actors, range) and column:
                end = len(column) + 1
                total[1:end] = map(add if sign > 0 else sub, total[1:end], column)
            elif sign > 0:
                for actor, number in zip(actors, column, strict=False):  # an empty column adds nothing
                    total[actor] += number
            else:
                for actor, number in zip(actors, column, strict=False):
                    total[actor] -= number

    def add(self, counted: Counted, sign: int = 1) -> None:
        """Add counts by actor. Raises ValueError for an unknown actor."""
        named = counted[0]
        if named and not 0 < min(named) <= max(named) <= self._actors:
            raise ValueError("An event names an unknown actor.")
        for total, numbers in zip(self._listed or self._named, counted, strict=True):
            for actor, number in numbers.items():
                total[actor] += number * sign

    def packed(self) -> bytes:
        """The sum as a packed set."""
        if not self._listed:
            return pack([{actor: number for actor, number in total.items() if number} for total in self._named])
        actors = [actor for actor, number in enumerate(self._listed[0]) if number]
        columns = [[total[actor] for actor in actors] for total in self._listed]
        return _packed(actors, columns, lambda highest: [total[1 : highest + 1] for total in self._listed])

    def by_actor(self) -> dict[int, Totals]:
        """The sum by the number of each actor that has events."""
        if self._listed:
            return {actor: totals for actor, totals in enumerate(zip(*self._listed, strict=True)) if any(totals)}
        events, successes, failures = self._named
        totals = {actor: (events[actor], successes[actor], failures[actor]) for actor in list(events)}
        return {actor: totals for actor, totals in totals.items() if any(totals)}


class UnfoldedEvents:
    """The events since the last fold, by time."""

    def __init__(self, occurrences: Iterable[rollups.Occurrence], outcomes: Mapping[int, str]) -> None:
        """`outcomes` by kind."""
        ordered = sorted(occurrences)
        self._columns = [
            ([event[0] for event in some], [event[2] for event in some])
            for some in (
                ordered,
                [event for event in ordered if outcomes.get(event[1]) == "success"],
                [event for event in ordered if outcomes.get(event[1]) == "failure"],
            )
        ]

    def within(self, edge: rollups.Edge) -> list[Counter[int]]:
        """Totals by actor in a period."""
        return [
            Counter(actors[bisect_left(times, edge.since) : bisect_left(times, edge.until)])
            for times, actors in self._columns
        ]

    def children(self, level: int, bucket: int) -> list[int]:
        """The children of a bucket that have an event."""
        times, _ = self._columns[0]
        edge = rollups.bounds(level, bucket)
        found = []
        at, end = bisect_left(times, edge.since), bisect_left(times, edge.until)
        while at < end:
            child = rollups.bucket_of(level + 1, times[at])
            found.append(child)
            at = bisect_left(times, rollups.bounds(level + 1, child).until)
        return found


def summed(actors: int, packed: Iterable[bytes], counted: Counted) -> bytes:
    """Packed sets and counts as one packed set."""
    total = ActorTotals(actors)
    for each in packed:
        total.add_packed(each)
    total.add(counted)
    return total.packed()


def subtracted(actors: int, packed: Iterable[bytes], counted: Counted) -> bytes:
    """Packed sets without some counts, as one packed set, or no bytes when no event is left. Raises ValueError when an
    actor has fewer events than these."""
    total = ActorTotals(actors)
    for each in packed:
        total.add_packed(each)
    total.add(counted, -1)
    left = total.packed()
    return left if len(left) > _COLUMNS else b""
