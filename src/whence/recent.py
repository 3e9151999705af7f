"""A bounded cache of what was used recently.

It has two generations. When the young one is full it becomes the old one, and the old one is dropped. A value that is
found in the old one is young again. So a value that is used once a generation stays, and a lookup costs one or two of a
dict: less than a third of a list in order of use.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["RecentlyUsed"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class RecentlyUsed(Generic[Key, Value]):
    """Values by key, of which the least recently used are dropped. May be used by several threads, which at worst drop
    a generation early."""

    def __init__(self, size_max: int) -> None:
        """Both generations together hold at most `size_max`, in the unit of `put`."""
        self._half = size_max // 2
        self._young: dict[Key, tuple[Value, int]] = {}
        self._old: dict[Key, tuple[Value, int]] = {}
        self._size = 0

    def get(self, key: Key) -> Value | None:
        """The value, or None."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                return None
            self.put(key, *found)
        return found[0]

    def clear(self) -> None:
        """Forget every value."""
        self._young, self._old, self._size = {}, {}, 0

    def put(self, key: Key, value: Value, size: int) -> None:
        """Add a value. One that is larger than a generation is left out."""
        if size > self._half:
            return
        if self._size + size > self._half:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[key] = value, size
        self._size += size
