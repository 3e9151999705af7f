"""The state of a run: its sizes, its folder for files, the stores that are reused, and the results so far."""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.build_store import Built, build
from bench.earlier import Earlier
from bench.load import Result
from bench.measure import interleaved
from bench.result import Run
from bench.scenarios import Generator, generator_of
from bench.servers import VENVS
from bench.workload import Shape

__all__ = ["FULL", "QUICK", "STORES", "Bench", "Sizes"]

T = TypeVar("T")

STORES = Path(__file__).parents[1] / "bench" / ".stores"


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured: numbers of events, seconds and rounds.

    `trial_s` is how long a closed loop of single events or pages lasts, `scaling_s` the same in the part `scaling`, and
    `open_s` an open loop. `single_events` are the different ones of them. `spreads` are the days over which the large
    logs are spread. `asked` is how often each query is sent over HTTP. `soak_s` is how long the load lasts before
    memory is measured. `peer_question_s` limits the time for one query to one of several servers; each gets at least
    one round.
    """

    rounds: int
    ingest_events: int
    peer_events: int
    postgres_events: int
    prefect_events: int
    single_events: int
    trial_s: int
    open_s: int
    open_rounds: int
    page_events: int
    beside_events: int
    scaling_rounds: int
    scaling_s: int
    scaling_events: int
    small_events: int
    large_events: int
    spreads: tuple[int, ...]
    question_rounds: int
    trace_events: int
    trace_stories: int
    postgres_large_events: int
    asked: int
    soak_s: int
    peer_large_events: int
    peer_question_rounds: int
    peer_question_s: int
    peer_variants: int
    peer_pages: int


FULL = Sizes(
    rounds=5,
    ingest_events=100_000,
    peer_events=20_000,
    postgres_events=50_000,
    prefect_events=2_000,
    single_events=20_000,
    trial_s=3,
    open_s=5,
    open_rounds=3,
    page_events=100_000,
    beside_events=60_000,
    scaling_rounds=3,
    scaling_s=2,
    scaling_events=40_000,
    small_events=100_000,
    large_events=10_000_000,
    spreads=(180, 5),
    question_rounds=20,
    trace_events=5_000_000,
    trace_stories=25,
    postgres_large_events=10_000_000,
    asked=600,
    soak_s=300,
    peer_large_events=1_000_000,
    peer_question_rounds=20,
    peer_question_s=2,
    peer_variants=12,
    peer_pages=1_500,
)
QUICK = Sizes(
    rounds=3,
    ingest_events=10_000,
    peer_events=3_000,
    postgres_events=3_000,
    prefect_events=1_000,
    single_events=1_500,
    trial_s=1,
    open_s=1,
    open_rounds=1,
    page_events=10_000,
    beside_events=5_000,
    scaling_rounds=1,
    scaling_s=1,
    scaling_events=3_000,
    small_events=10_000,
    large_events=100_000,
    spreads=(180,),
    question_rounds=3,
    trace_events=20_000,
    trace_stories=3,
    postgres_large_events=20_000,
    asked=36,
    soak_s=5,
    peer_large_events=20_000,
    peer_question_rounds=1,
    peer_question_s=1,
    peer_variants=3,
    peer_pages=0,
)


class Bench:
    """One part of a run: its sizes, its folder for files, and its results so far.

    `generator` sends the closed loops of single events and pages. `earlier` is another commit, measured beside them.
    """

    def __init__(
        self,
        run: Run,
        sizes: Sizes,
        folder: Path,
        generator: Generator | None = None,
        earlier: Earlier | None = None,
    ) -> None:
        self.run = run
        self.sizes = sizes
        self.folder = folder
        self.generator = generator or generator_of("load.py")
        self.earlier = earlier
        self._numbers = count()

    def fresh(self, name: str) -> Path:
        """A new empty folder."""
        path = self.folder / f"{name}-{next(self._numbers)}"
        path.mkdir()
        return path

    def has(self, peer: str) -> bool:
        """Whether a peer's environment exists; if not, the result says so."""
        if (VENVS / peer / ".ready").exists():
            return True
        note = f"{peer} was left out: its environment does not exist (make bench-peers)."
        if note not in self.run.notes:
            self.run.notes.append(note)
        return False

    def keep(
        self,
        measure: str,
        server: str,
        results: list[Result],
        by: Callable[[Result], float] = lambda result: result.rate,
    ) -> None:
        """Store the round with the median rate, or with the median of something else."""
        kept = sorted(results, key=by)[len(results) // 2]
        self.run.loads.setdefault(measure, {})[server] = kept

    def built(self, events: int, days: int) -> Built:
        """A store of one tenant, made once and reused by later runs."""
        return build(STORES / f"{events}-{days}.db", Shape(events=events, days=days))

    def take_turns(self, measure: str, servers: Iterable[str], load: Callable[[str], Result]) -> None:
        """Run rounds of HTTP load, and store their response times as well as their rates."""
        results: dict[str, list[Result]] = {name: [] for name in servers}

        def once(name: str, number: int) -> float:
            result = self.again(measure, name, lambda: load(name))
            results[name].append(result)
            self.say(f"{measure}, round {number + 1}: {name} {result.rate:,.0f}/s, p50 {result.p50_ms} ms")
            return result.rate

        trials = {name: partial(once, name) for name in results}
        self.run.rates[measure] = interleaved(self.sizes.rounds, trials, "requests/s")
        for name, each in results.items():
            self.keep(measure, name, each)

    def again(self, measure: str, name: str, load: Callable[[], T]) -> T:
        """Do a trial, and once more if requests failed; the result says so. Raises RuntimeError when both failed."""
        try:
            return load()
        except RuntimeError as error:
            note = f"{measure}: a trial of {name} was made again, because {error}"
            self.say(note)
            self.run.notes.append(note)
            return load()

    def say(self, line: str) -> None:
        """Show progress."""
        print(f"  {line}", file=sys.stderr, flush=True)
