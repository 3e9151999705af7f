"""Parsing UUIDs and making new ones.

Nothing is ordered by id. New ids are UUIDv7 because these are fast to insert into an index.
"""

import itertools
import os
import re
import time
import uuid

from whence.events import Reference
from whence.identities import is_uuid
from whence.random_digits import RandomDigits

__all__ = ["derived_uuid", "new_uuid7", "parse_reference", "parse_uuid", "uuid7_generator"]

_NAMESPACE = uuid.UUID("5b0c1b5e-6d0c-5b7a-9c53-2f2d1f6f7a31")  # never changes, since derived ids depend on it
_COUNTERS = 1 << 12  # added to a counter, it keeps its leading zeros
_VARIANT = {digit: "89ab"[number % 4] for number, digit in enumerate("0123456789abcdef")}
"""The digit with two random bits and those of the variant, by a random digit."""

_POSITION = re.compile(r"@[1-9][0-9]{0,11}", re.ASCII)
_FIRST_DIGITS = re.compile(r"[0-9a-f]{4,32}", re.ASCII)


def parse_uuid(text: str) -> str:
    """Canonical lower case of a hyphenated UUID (8-4-4-4-12 hexadecimal digits, any case, any version).

    Raises ValueError for everything else: braces, `urn:uuid:`, missing hyphens.
    """
    if not is_uuid(text):
        raise ValueError("A UUID has 32 hexadecimal digits in groups of 8-4-4-4-12, joined by hyphens.")
    return text.lower()


def parse_reference(text: str) -> Reference:
    """What `@` with a position, or an id or at least four of its first digits, name. Hyphens may be left out.

    Raises ValueError for everything else.
    """
    if _POSITION.fullmatch(text):
        return Reference(position=int(text[1:]))
    digits = text.replace("-", "").lower()
    if not _FIRST_DIGITS.fullmatch(digits):
        raise ValueError(
            "Write a position such as @5539, or an id, or at least four of the hexadecimal digits with which it begins."
        )
    return Reference(None, *(str(uuid.UUID(hex=digits.ljust(32, filler))) for filler in "0f"))


def derived_uuid(*names: str) -> str:
    """The UUIDv5 of these names: the same for the same names, in this process and in every other.

    The first name (a tenant, or the source of a CloudEvent) is the namespace of the others.
    """
    namespace, *rest = names
    # The lengths keep ("a", "bc") and ("ab", "c") apart.
    return str(uuid.uuid5(uuid.uuid5(_NAMESPACE, namespace), "".join(f"{len(name)}:{name}" for name in rest)))


class _Millisecond:
    """A millisecond in which ids are made, with its counter. All of them are a chain, in the order of time.

    Threads and signal handlers may use it at once. `next` of a counter and `setdefault` of a dict are atomic, so each
    number is given out once, and each millisecond is followed by one other.
    """

    __slots__ = ("_following", "head", "ms", "numbers")

    def __init__(self, ms: int) -> None:
        self.ms = ms
        self.head = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7"
        self.numbers = itertools.count()
        self._following: dict[None, _Millisecond] = {}

    def latest(self) -> "_Millisecond":
        """The end of the chain."""
        one = self
        while one._following:
            one = one._following[None]
        return one

    def follow(self, ms: int) -> "_Millisecond":
        """The one after this, which begins now, unless another thread was faster and has begun one."""
        return self._following.setdefault(None, _Millisecond(ms))


class _Uuid7:
    """A generator of UUIDv7 (RFC 9562): milliseconds, a counter of 12 bits within them, 62 random bits.

    It takes no lock. A signal handler may interrupt it and wait for something that another thread holds. If that thread
    then waited for a lock of this one, for an id, neither would go on.
    """

    def __init__(self) -> None:
        self._recent = _Millisecond(0)  # the latest, or one shortly before it
        self._random = RandomDigits()

    def reset_after_fork(self) -> None:
        """Take other random digits than the parent."""
        self._random.reset_after_fork()

    def next(self) -> str:
        """A new id, greater than every earlier one of this process even if the clock steps back."""
        now_ms = time.time_ns() // 1_000_000
        current = self._recent.latest()
        if now_ms > current.ms:
            current = self._recent = current.follow(now_ms)
        while (number := next(current.numbers)) >= _COUNTERS:
            current = self._recent = current.follow(current.ms + 1).latest()
        random = self._random.take(16)  # threads may get the same digits, but not the same number
        return f"{current.head}{hex(_COUNTERS + number)[3:]}-{_VARIANT[random[0]]}{random[1:4]}-{random[4:]}"


uuid7_generator = _Uuid7()
"""The generator of this process."""

os.register_at_fork(after_in_child=uuid7_generator.reset_after_fork)


def new_uuid7() -> str:
    """A new UUIDv7 in canonical lower case. Within a process, each id is greater than the one before."""
    return uuid7_generator.next()
