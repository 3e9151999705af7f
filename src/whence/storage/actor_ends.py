"""Finds the first or the last event of actors among some kinds of events, by descending through the buckets.

No index has an actor's events by kind. But each bucket of the rollups says which kinds of events an actor has in it. So
the walk goes from the bucket for all time to the first or last of its children that has such an event, and so on. Where
a bucket has no children, its events are read, which are few. All actors descend together, a level at a time.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import msgspec

from whence import rollups
from whence.storage.folding import BucketName, Divided

__all__ = ["BucketsOfActors", "EndsQuestion", "EventsOfActors", "Wanted", "find_ends"]


class Wanted(msgspec.Struct, frozen=True):
    """An event of an actor that is of one of these kinds."""

    actor: int
    kinds: tuple[int, ...]


class BucketsOfActors(msgspec.Struct, frozen=True):
    """Asks for the first and the last bucket of a span in which an actor has an event of these kinds, each None where
    it has none. The answer has a pair for each entry, in order."""

    asked: Sequence[tuple[Wanted, rollups.Span]]


class EventsOfActors(msgspec.Struct, frozen=True):
    """Asks for time and id of the first or the last wanted event in an edge, None where there is none. The answer has
    an entry for each, in order."""

    asked: Sequence[tuple[Wanted, rollups.Edge]]
    last: bool

    @property
    def by_edge(self) -> dict[rollups.Edge, list[Wanted]]:
        """What is wanted of each edge, since many are often of the same one."""
        found: dict[rollups.Edge, list[Wanted]] = {}
        for each, edge in self.asked:
            found.setdefault(edge, []).append(each)
        return found


EndsQuestion = Divided | BucketsOfActors | EventsOfActors


def find_ends(
    wanted: Sequence[Wanted], *, last: bool
) -> Generator[EndsQuestion, Any, Mapping[Wanted, tuple[int, str]]]:
    """Time and id of the first or the last event of each; those without any are left out."""
    found: dict[Wanted, tuple[int, str]] = {}
    at: dict[Wanted, BucketName] = dict.fromkeys(wanted, (0, 0))
    while at:
        divided = {tuple(bucket) for bucket in (yield Divided(sorted(set(at.values()))))}
        edges = [(each, rollups.bounds(*bucket)) for each, bucket in at.items() if bucket not in divided]
        if edges:
            events = yield EventsOfActors(edges, last)
            found |= {each: event for (each, _), event in zip(edges, events, strict=True) if event is not None}
        spans = [(each, rollups.child_span(*bucket)) for each, bucket in at.items() if bucket in divided]
        buckets = (yield BucketsOfActors(spans)) if spans else []
        at = {}
        for (each, span), (first_bucket, last_bucket) in zip(spans, buckets, strict=True):
            bucket = last_bucket if last else first_bucket
            if bucket is not None:
                at[each] = (span.level, bucket)
    return found
