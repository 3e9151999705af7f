"""Walks: generators that yield questions to a store and are sent the answers, so that both stores share them.

A store runs one by `run_walk` or, where its reads are awaited, by `run_walk_async`, which check the deadline of the
query after each answer. Pure, but for these two.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, TypeVar

import msgspec

from whence import rollups
from whence.storage.query_deadline import check_deadline

__all__ = [
    "ROWS_ON_LOOP_MAX",
    "BucketsOf",
    "IsDivided",
    "OffsetQuestion",
    "PageStart",
    "SortKey",
    "SortKeyAt",
    "compute",
    "run_walk",
    "run_walk_async",
    "walk_to_offset",
]

Question = TypeVar("Question")
Result = TypeVar("Result")

ROWS_ON_LOOP_MAX = 1_000
"""Rows that are computed with on an event loop, which takes a few milliseconds; more go to a thread."""

SortKey = tuple[int, int]
"""occurred_at of an event, and what orders a tenant's events as their positions do."""


class SortKeyAt(msgspec.Struct, frozen=True):
    """Asks for the sort key of the matching event at `offset` among those in `edge`, in the order of the page; or for
    the number of these events, when there are not that many."""

    edge: rollups.Edge
    offset: int


class BucketsOf(msgspec.Struct, frozen=True):
    """Asks for the buckets of a span that have matching events, in the order of the page, each with its count."""

    span: rollups.Span


class IsDivided(msgspec.Struct, frozen=True):
    """Asks whether a bucket has children."""

    level: int
    bucket: int


OffsetQuestion = SortKeyAt | BucketsOf | IsDivided


class PageStart(msgspec.Struct, frozen=True):
    """Where a page begins: after `sort_key`, or with it when `inclusive`, and after `skip` more events."""

    skip: int = 0
    sort_key: SortKey | None = None
    inclusive: bool = False


def walk_to_offset(
    pieces: Sequence[rollups.Piece], offset: int, newer: Sequence[int]
) -> Generator[OffsetQuestion, Any, PageStart | None]:
    """Find the event at a deep offset by the counts of buckets; None when the offset is past the end.

    `pieces` cover the query's range of time, in the order of the page. `newer` are the times of the events that the
    buckets count but the page's snapshot does not hold, in ascending order.
    """
    left, remaining = list(pieces), offset
    while left:
        piece = left.pop(0)
        if isinstance(piece, rollups.Edge):
            found = yield SortKeyAt(piece, remaining)
            if isinstance(found, tuple):
                return PageStart(sort_key=found, inclusive=True)
            remaining -= found
            continue
        for bucket, events in (yield BucketsOf(piece)):
            times = rollups.bounds(piece.level, bucket)
            kept = events - (bisect_left(newer, times.until) - bisect_left(newer, times.since))
            if remaining < kept:
                divided = yield IsDivided(piece.level, bucket)
                left = [rollups.child_span(piece.level, bucket) if divided else times]
                break
            remaining -= kept
    return None


def run_walk(walk: Generator[Question, Any, Result], answer: Callable[[Question], Any]) -> Result:
    """What a walk returns, when `answer` answers its questions."""
    reply = None
    while True:
        try:
            question = walk.send(reply)
        except StopIteration as done:
            result: Result = done.value
            return result
        check_deadline()
        reply = answer(question)


async def run_walk_async(
    walk: Generator[Question, Any, Result],
    answer: Callable[[Question], Awaitable[Any]],
    recall: Callable[[Question], Any] = lambda _question: None,
) -> Result:
    """As `run_walk`. What the walk computes leaves the event loop once the answers add up to many rows.

    `recall` returns an answer that is in memory, or None when it has to be read. A walk with many of these would
    otherwise spend its time on changes of threads.
    """
    reply, rows = None, 0

    def step() -> tuple[Question | None, Any]:
        """The question that has to be read next, or the result. Ends early when it should go on in a thread."""
        nonlocal rows
        on_loop, known = rows <= ROWS_ON_LOOP_MAX, reply
        try:
            while True:
                question = walk.send(known)
                check_deadline()
                known = recall(question)
                if known is None or (on_loop and rows > ROWS_ON_LOOP_MAX):
                    return question, None
                rows += _rows_of(known)
        except StopIteration as done:
            return None, done.value

    while True:
        question, result = await compute(rows, step)
        if question is None:
            found: Result = result
            return found
        reply = await answer(question)
        rows += _rows_of(reply)


def _rows_of(reply: Any) -> int:
    return len(reply) if isinstance(reply, list) else 1


async def compute(rows: int, function: Callable[..., Result], *args: Any) -> Result:
    """What `function(*args)` returns: computed here when it is about few rows, else in a thread, so that the event loop
    serves others meanwhile."""
    if rows <= ROWS_ON_LOOP_MAX:
        return function(*args)
    return await asyncio.to_thread(function, *args)
