"""Counts of transitions: codes and packed sets round-trip, sums are exact, and the number of rows stays small."""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from whence import rollups, transitions
from whence.delays import BEFORE
from whence.errors import QueryTooExpensive
from whence.events import Viewer
from whence.storage import process_map
from whence.storage.resolve import Kind, Snapshot

DAY_US = 86_400_000_000

kinds = st.integers(0, 3) | st.integers(0, 0xFFFF)
buckets = st.integers(0, 5) | st.integers(0, 969) | st.just(BEFORE)
names = st.builds(transitions.code_of, kinds, kinds, buckets)
counts = st.integers(1, 3) | st.integers(1, 1 << 25) | st.sampled_from([transitions._COUNT_MAX + n for n in (-1, 0, 1)])
sets = st.dictionaries(names, counts, max_size=12)


def named(delays: dict[tuple[int, int], dict[int, int]]) -> dict[int, int]:
    """The counts of some pairs by name."""
    return {
        transitions.code_of(cause, effect, bucket): count
        for (cause, effect), histogram in delays.items()
        for bucket, count in histogram.items()
    }


def check_pack(one: dict[int, int], other: dict[int, int]) -> None:
    """Check that a packed set round-trips, that two concatenated sets are their sum, and that equal counts have equal
    bytes."""
    assert transitions.summed([transitions.pack(one)]) == one
    total = dict(Counter(one) + Counter(other))
    assert transitions.summed([transitions.pack(one) + transitions.pack(other)]) == total
    assert transitions.summed([transitions.pack(one)], other) == total
    assert transitions.pack(dict(reversed(one.items()))) == transitions.pack(one)


def rows_after(sizes: list[int]) -> list[int]:
    """The sizes of a bucket's rows, newest first, after adding disjoint sets of these sizes one by one."""
    rows: list[int] = []
    for size in sizes:
        merging = transitions.merging(rows, size)
        rows = [size + sum(rows[:merging]), *rows[merging:]]
    return rows


def check_rows(sizes: list[int], full: int) -> None:
    """Check that nothing is lost and no merged row is larger than `full`.

    Each row must be more than twice as large as the next newer one, or both together larger than `full`.
    """
    rows = rows_after(sizes)
    assert sum(rows) == sum(sizes)
    for newer, older in pairwise(rows):
        assert older > 2 * newer or older + newer > full
    assert max(rows, default=0) <= max(full, *sizes, 0)


def check_buckets(by_day: dict[int, dict[int, int]]) -> None:
    """Check that each level has every count once, in the bucket of its day."""
    found = transitions.by_bucket(by_day)
    for level, days in enumerate((None, 32, 8, 1)):
        wanted: dict[int, Counter[int]] = {}
        for day, some in by_day.items():
            wanted.setdefault(day // days if days else 0, Counter()).update(some)
        assert {bucket: counts for (each, bucket), counts in found.items() if each == level} == wanted


@settings(max_examples=examples(300))
@given(st.dictionaries(st.tuples(kinds, kinds), st.dictionaries(buckets, counts, min_size=1), max_size=4))
@pytest.mark.slow
def test_names_give_back_their_pairs(delays: dict[tuple[int, int], dict[int, int]]) -> None:
    """Codes round-trip for any kinds of 16 bits and any bucket of delays."""
    assert transitions.by_pair(named(delays)) == delays


@pytest.mark.parametrize("parts", [(-1, 0, 0), (1 << 16, 0, 0), (0, 1 << 16, 0), (0, 0, BEFORE + 1), (0, 0, -1)])
def test_a_name_without_room_is_refused(parts: tuple[int, int, int]) -> None:
    """A number that is too large for its bits is refused, because it would encode as a different name."""
    with pytest.raises(ValueError, match="16 bits"):
        transitions.code_of(*parts)


@settings(max_examples=examples(300))
@given(sets, sets)
@pytest.mark.slow
def test_packed_sets_add_up(one: dict[int, int], other: dict[int, int]) -> None:
    """Packed sets add up, including large counts, which take several entries."""
    check_pack(one, other)


@given(st.binary(max_size=40).filter(lambda packed: len(packed) % 8))
def test_what_is_no_packed_set_is_refused(packed: bytes) -> None:
    """A row that lost a byte raises an error."""
    with pytest.raises(ValueError, match="multiple"):
        transitions.summed([packed])


@settings(max_examples=examples(300))
@given(st.lists(st.integers(0, 300) | st.just(1), max_size=200), st.sampled_from([64, 1_000, 1 << 40]))
def test_a_bucket_has_few_rows(sizes: list[int], full: int) -> None:
    """For any sets, a bucket has at most one row per power of two, and one per half of a full row."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transitions, "_FULL", full)
        check_rows(sizes, full)


@settings(max_examples=examples(200))
@given(st.dictionaries(st.integers(-70, 70), sets, max_size=5))
def test_every_level_holds_every_link(by_day: dict[int, dict[int, int]]) -> None:
    """Every level has every transition once, also before 1970."""
    check_buckets(by_day)


@pytest.mark.parametrize(("most", "refused"), [(3, False), (2, True)])
def test_a_map_of_too_many_counts_is_refused(most: int, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map with more counts than the limit, which would exceed the time limit of a query, is refused."""
    monkeypatch.setattr(process_map, "COUNTS_MAX", most)
    snapshot = Snapshot(Viewer("acme"), 1, 9, {1: Kind(1, "order.paid", "order", "user", "none")})
    folded = [
        transitions.pack({transitions.code_of(1, 1, 7): 2}),
        transitions.pack({transitions.code_of(1, 1, 7): 1, transitions.code_of(1, 1, 8): 1}),
    ]
    with pytest.raises(QueryTooExpensive) if refused else nullcontext():
        assert process_map.map_from((None, None), snapshot, folded, {}).transitions == 4


def test_levels_are_those_of_rollups() -> None:
    """The levels are the widths of the rollups for all time, 32 days, 8 days and days."""
    assert [rollups.WIDTHS_US[level] for level in transitions.LEVELS] == [0, 32 * DAY_US, 8 * DAY_US, DAY_US]


def _large_counts_cut(patch: pytest.MonkeyPatch) -> None:
    real = transitions.pack
    patch.setattr(
        transitions, "pack", lambda some: real({name: min(n, transitions._COUNT_MAX) for name, n in some.items()})
    )


def _last_count_alone(patch: pytest.MonkeyPatch) -> None:
    real = transitions.summed
    patch.setattr(
        transitions,
        "summed",
        lambda packed, some=None: {
            **(some or {}),
            **{
                name: n
                for each in packed
                for at in range(0, len(each), 8)
                for name, n in real([each[at : at + 8]]).items()
            },
        },
    )


def _never_merges(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transitions, "merging", lambda _sizes, _size: 0)


def _merges_beyond_full(patch: pytest.MonkeyPatch) -> None:
    real = transitions.merging

    def merging(sizes: list[int], size: int) -> int:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(transitions, "_FULL", 1 << 50)
            return real(sizes, size)

    patch.setattr(transitions, "merging", merging)


def _days_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transitions, "LEVELS", (transitions.DAY_LEVEL,))


def _effect_as_cause(patch: pytest.MonkeyPatch) -> None:
    real = transitions.by_pair
    patch.setattr(transitions, "by_pair", lambda some: {(b, a): each for (a, b), each in real(some).items()})


MUTANTS = [_large_counts_cut, _last_count_alone, _never_merges, _merges_beyond_full, _days_alone, _effect_as_cause]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.__name__)
def test_broken_counts_are_told(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant fails one of the checks above."""

    def check() -> None:
        check_pack({1: 5, 2: (1 << 23) + 1}, {1: 7, 3: 1})
        check_rows([10] * 40, 64)
        assert transitions.by_pair(named({(1, 2): {3: 4}})) == {(1, 2): {3: 4}}
        check_buckets({0: {1: 2}, 40: {1: 3}})

    monkeypatch.setattr(transitions, "_FULL", 64)
    check()
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check()
