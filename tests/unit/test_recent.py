"""A bounded cache keeps what is used, and no more than it may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from whence.recent import RecentlyUsed


def never_full(self: "RecentlyUsed[int, int]", key: int, value: int, size: int) -> None:
    self._young[key] = value, size


def forgets_the_old(self: "RecentlyUsed[int, int]", key: int) -> int | None:
    found = self._young.get(key)
    return None if found is None else found[0]


@catches(replaced(RecentlyUsed, "put", never_full, "nothing_is_dropped"))
@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12))))
def test_what_is_kept_fits(puts: list[tuple[int, int]]) -> None:
    """Both generations together hold at most the size that was given, and a value is never another's."""
    cache: RecentlyUsed[int, str] = RecentlyUsed(20)
    for key, size in puts:
        cache.put(key, str(key), size)
        kept = {key: size for generation in (cache._old, cache._young) for key, (_, size) in generation.items()}
        assert sum(kept.values()) <= 20
        assert all(cache.get(known) in (None, str(known)) for known in range(31))


@catches(replaced(RecentlyUsed, "get", forgets_the_old, "one_generation"))
def test_what_is_used_stays() -> None:
    """A value that is used now and then outlives any number of others."""
    cache: RecentlyUsed[int, int] = RecentlyUsed(20)
    cache.put(0, 7, 1)
    for number in range(1, 1000):
        cache.put(number, number, 1)
        if number % 5 == 0:
            assert cache.get(0) == 7
    assert cache.get(1) is None


@pytest.mark.parametrize("size", [11, 10**9])
def test_what_is_larger_than_a_generation_is_not_kept(size: int) -> None:
    cache: RecentlyUsed[int, int] = RecentlyUsed(20)
    cache.put(1, 1, 10)
    cache.put(2, 2, size)
    assert (cache.get(1), cache.get(2)) == (1, None)
