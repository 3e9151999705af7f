"""How often which kind of event led to which, and after how long: counts by name, packed so that sums are cheap. Pure.

The *name* of a count is one integer: the kind of the cause, the kind of the effect, and the bucket of `delays` that
holds the time between them. A packed set of counts is a row of 8-byte numbers, each a name with its count. The same
name may come in several of them; then their counts add up. So two packed sets one behind the other are their sum.

Counts are kept for all time, for 32 days, 8 days and days: levels 0 to 3 of `rollups`. A bucket of time has one or
more packed sets. New ones are small, and `merging` says when some become one: so that there are few, and a fold of
new links into a bucket writes little of what was there before.
"""

import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from whence import rollups
from whence.delays import BEFORE, Histogram

__all__ = [
    "DAY_LEVEL",
    "LEVELS",
    "Transitions",
    "by_bucket",
    "by_pair",
    "code_of",
    "counts_in",
    "merged",
    "merging",
    "pack",
    "summed",
]

Transitions = dict[int, int]
"""Counts by name."""

DAY_LEVEL = 3
LEVELS = range(DAY_LEVEL + 1)

_BUCKET_BITS = BEFORE.bit_length()
_KIND_BITS = 16
_COUNT_BITS = 64 - _BUCKET_BITS - 2 * _KIND_BITS
_COUNT_MAX = (1 << _COUNT_BITS) - 1
_KIND_MAX = (1 << _KIND_BITS) - 1

_NUMBER_SIZE = 8

_FULL = 65_536 * _NUMBER_SIZE
"""Packed sets do not become larger than this many bytes by merging."""


def code_of(cause: int, effect: int, bucket: int) -> int:
    """The name of a count. Raises ValueError for numbers that it has no room for."""
    if not (0 <= cause <= _KIND_MAX and 0 <= effect <= _KIND_MAX and 0 <= bucket <= BEFORE):
        raise ValueError("A link has kinds of 16 bits and a bucket of delays.")
    return (cause << _KIND_BITS | effect) << _BUCKET_BITS | bucket


def pack(links: Mapping[int, int]) -> bytes:
    """The counts as a store keeps them, by name; what is too large for one number comes in several."""
    if max(links.values(), default=0) <= _COUNT_MAX:
        entries = [name << _COUNT_BITS | count for name, count in links.items()]
    else:
        entries = [
            name << _COUNT_BITS | min(_COUNT_MAX, count - start)
            for name, count in links.items()
            for start in range(0, count, _COUNT_MAX)
        ]
    numbers = array("Q", sorted(entries))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def counts_in(packed: Iterable[bytes]) -> int:
    """How many counts there are to sum up; a million take a second or two."""
    return sum(map(len, packed)) // _NUMBER_SIZE


def summed(packed: Iterable[bytes], links: Mapping[int, int] | None = None) -> Transitions:
    """The sum of packed counts, and of others. Raises ValueError for what `pack` cannot have given."""
    numbers = array("Q")
    numbers.frombytes(b"".join(packed))
    if sys.byteorder == "big":
        numbers.byteswap()
    total: Transitions = {} if links is None else dict(links)
    get = total.get
    for number in numbers:
        name = number >> _COUNT_BITS
        total[name] = get(name, 0) + (number & _COUNT_MAX)
    return total


def merged(packed: Iterable[bytes], links: Mapping[int, int]) -> bytes:
    """Packed counts and others as one packed set."""
    return pack(summed(packed, links))


def by_bucket(by_day: Mapping[int, Mapping[int, int]]) -> dict[tuple[int, int], Transitions]:
    """Counts by day as counts by level and bucket, for every level."""
    found: dict[tuple[int, int], Counter[int]] = {}
    for day, links in by_day.items():
        at = day * rollups.WIDTHS_US[DAY_LEVEL]
        for level in LEVELS:
            found.setdefault((level, rollups.bucket_of(level, at)), Counter()).update(links)
    return dict(found)


def by_pair(links: Mapping[int, int]) -> dict[tuple[int, int], Histogram]:
    """The delays of each pair of kinds, of the cause and of the effect."""
    found: dict[int, Histogram] = {}
    for name, count in links.items():
        pair = name >> _BUCKET_BITS
        if pair in found:
            found[pair][name & BEFORE] = count
        else:
            found[pair] = {name & BEFORE: count}
    return {(pair >> _KIND_BITS, pair & _KIND_MAX): histogram for pair, histogram in found.items()}


def merging(sizes: Sequence[int], size: int) -> int:
    """How many of a bucket's packed sets, newest first, become one with a new set. All sizes are in bytes.

    A set is left alone when it is more than twice as large as all that is newer, or when it is full together with
    that. So a bucket has one set for each power of two, and one for half of `_FULL`.
    """
    count = 0
    for each in sizes:
        if each > 2 * size or each + size > _FULL:
            break
        size += each
        count += 1
    return count
