"""Arithmetic of measurements: percentiles, medians, and ratios of trials that took turns."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec

__all__ = ["Rates", "Spread", "Times", "interleaved", "ratios", "spread", "times_of"]


class Spread(msgspec.Struct, frozen=True):
    """The median, the least and the most of several trials."""

    median: float
    least: float
    most: float


class Times(msgspec.Struct, frozen=True):
    """Percentiles of `count` durations, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Rates(msgspec.Struct, frozen=True):
    """Trials of the same work by several programs, in the order of the rounds."""

    unit: str
    trials: dict[str, list[float]]


def spread(values: Sequence[float]) -> Spread:
    """Median, least and most of at least one value."""
    return Spread(median(values), min(values), max(values))


def times_of(seconds: Sequence[float]) -> Times:
    """Percentiles by nearest rank, of durations in seconds."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1_000, 4)

    return Times(len(ordered), at(0.5), at(0.95), at(0.99))


def interleaved(
    rounds: int,
    by_name: Mapping[str, Callable[[int], float]],
    unit: str,
    say: Callable[[str], None] = lambda _: None,
) -> Rates:
    """Run each trial once per round, A B, B A, A B …. The order alternates, so that a slow drift of the machine does
    not favour one of them. `say` gets a line for each trial.
    """
    trials: dict[str, list[float]] = {name: [] for name in by_name}
    for number in range(rounds):
        names = list(by_name) if number % 2 == 0 else list(by_name)[::-1]
        for name in names:
            trials[name].append(round(by_name[name](number), 3))
            say(f"round {number + 1}: {name} {trials[name][-1]:,.0f} {unit}")
    return Rates(unit, trials)


def ratios(rates: Rates, one: str, other: str) -> list[float]:
    """The rate of `one` divided by that of `other`, round by round."""
    return [mine / theirs for mine, theirs in zip(rates.trials[one], rates.trials[other], strict=True)]
