"""Transitions: how often one kind of event led to another, and after what delay, in packed counts. Pure.

The *code* of a count is one integer: the kind of the cause, the kind of the effect, and the bucket of `delays` for the
time between them. A packed set is a sequence of 8-byte numbers, each a code with its count. A code may occur more than
once; its counts then add up. So the concatenation of two packed sets is their sum.

Counts are kept for all time, for 32 days, 8 days and days: levels 0 to 3 of `rollups`. A bucket of time has one or more
packed sets. New sets are small, and `merging` says when older ones are merged with a new one. So a bucket has few sets,
and adding a set rewrites little of what is stored.
"""

import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from whence import rollups
from whence.delays import BEFORE, DelayHistogram

__all__ = [
    "DAY_LEVEL",
    "KIND_MAX",
    "LEVELS",
    "Transitions",
    "by_bucket",
    "by_pair",
    "code_of",
    "counts_in",
    "merged",
    "merging",
    "pack",
    "subtracted",
    "summed",
]

Transitions = dict[int, int]
"""Counts by code."""

DAY_LEVEL = 3
LEVELS = range(DAY_LEVEL + 1)

_BUCKET_BITS = BEFORE.bit_length()
_KIND_BITS = 16
_COUNT_BITS = 64 - _BUCKET_BITS - 2 * _KIND_BITS
_COUNT_MAX = (1 << _COUNT_BITS) - 1
KIND_MAX = (1 << _KIND_BITS) - 1
"""The highest number of a kind that a code can hold."""

_NUMBER_SIZE = 8

_FULL = 65_536 * _NUMBER_SIZE
"""Merging makes no packed set larger than this many bytes."""


def code_of(cause: int, effect: int, bucket: int) -> int:
    """The code of a count. Raises ValueError for numbers that do not fit."""
    if not (0 <= cause <= KIND_MAX and 0 <= effect <= KIND_MAX and 0 <= bucket <= BEFORE):
        raise ValueError("A transition has kinds of 16 bits and a bucket of delays.")
    return (cause << _KIND_BITS | effect) << _BUCKET_BITS | bucket


def pack(counts: Mapping[int, int]) -> bytes:
    """The counts as a store keeps them, in order of code. A count too large for one number takes several."""
    if max(counts.values(), default=0) <= _COUNT_MAX:
        entries = [code << _COUNT_BITS | count for code, count in counts.items()]
    else:
        entries = [
            code << _COUNT_BITS | min(_COUNT_MAX, count - start)
            for code, count in counts.items()
            for start in range(0, count, _COUNT_MAX)
        ]
    numbers = array("Q", sorted(entries))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def counts_in(packed: Iterable[bytes]) -> int:
    """The number of counts in packed sets. A million take a second or two to sum."""
    return sum(map(len, packed)) // _NUMBER_SIZE


def summed(packed: Iterable[bytes], counts: Mapping[int, int] | None = None) -> Transitions:
    """The sum of packed counts and of others. Raises ValueError for bytes that are not packed counts."""
    numbers = array("Q")
    numbers.frombytes(b"".join(packed))
    if sys.byteorder == "big":
        numbers.byteswap()
    total: Transitions = {} if counts is None else dict(counts)
    get = total.get
    for number in numbers:
        code = number >> _COUNT_BITS
        total[code] = get(code, 0) + (number & _COUNT_MAX)
    return total


def subtracted(counts: Mapping[int, int], removed: Mapping[int, int]) -> Transitions:
    """Counts without those that were removed; codes that have none left are missing. Raises ValueError when more was
    removed than there was."""
    left = dict(counts)
    for code, count in removed.items():
        rest = left.get(code, 0) - count
        if rest < 0:
            raise ValueError("More transitions were removed than were counted.")
        if rest:
            left[code] = rest
        else:
            left.pop(code, None)
    return left


def merged(packed: Iterable[bytes], counts: Mapping[int, int]) -> bytes:
    """Packed counts and others as one packed set."""
    return pack(summed(packed, counts))


def by_bucket(by_day: Mapping[int, Mapping[int, int]]) -> dict[tuple[int, int], Transitions]:
    """Counts by day as counts by level and bucket, for every level."""
    found: dict[tuple[int, int], Counter[int]] = {}
    for day, counts in by_day.items():
        at = day * rollups.WIDTHS_US[DAY_LEVEL]
        for level in LEVELS:
            found.setdefault((level, rollups.bucket_of(level, at)), Counter()).update(counts)
    return dict(found)


def by_pair(counts: Mapping[int, int]) -> dict[tuple[int, int], DelayHistogram]:
    """The delays of each pair of kinds, of the cause and of the effect."""
    found: dict[int, DelayHistogram] = {}
    for code, count in counts.items():
        pair = code >> _BUCKET_BITS
        if pair in found:
            found[pair][code & BEFORE] = count
        else:
            found[pair] = {code & BEFORE: count}
    return {(pair >> _KIND_BITS, pair & KIND_MAX): histogram for pair, histogram in found.items()}


def merging(sizes: Sequence[int], size: int) -> int:
    """How many of a bucket's packed sets, newest first, are merged with a new one. All sizes are in bytes.

    A set is not merged when it is more than twice as large as all newer ones together, or would be full with them. So a
    bucket has at most one set for each power of two, and one for each half of `_FULL`.
    """
    count = 0
    for each in sizes:
        if each > 2 * size or each + size > _FULL:
            break
        size += each
        count += 1
    return count
