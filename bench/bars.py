"""The targets for speed and size, compared with what a run measured, and the check that no ratio fell."""

from collections.abc import Iterator, Mapping
from statistics import median

from bench.measure import ratios
from bench.result import Bar, Indexed, Memory, Run, bar

__all__ = ["DROP_MAX", "bars_of", "fallen", "median_ratios"]

DROP_MAX = 0.15
"""The check fails when a ratio is below that of the last run by more than this share."""

_OWN = "whence"
STORES = ("SQLite", "PostgreSQL")


def median_ratios(run: Run) -> dict[str, float]:
    """The rate of Whence divided by that of each other server, as the median of the rounds.

    There is a ratio for every measure and server, with a key like `ingest / raw`.
    """
    return {
        f"{measure} / {other}": median(ratios(rates, _OWN, other))
        for measure, rates in run.rates.items()
        if _OWN in rates.trials
        for other in rates.trials
        if other != _OWN
    }


def fallen(run: Run, earlier: Run) -> list[str]:
    """A sentence for each ratio that is more than 15 % below that of the earlier run."""
    before = median_ratios(earlier)
    return [
        f"{name}: {now:.3f}, was {before[name]:.3f} on {earlier.date} at {earlier.commit}"
        for name, now in median_ratios(run).items()
        if name in before and now < before[name] * (1 - DROP_MAX)
    ]


def bars_of(run: Run) -> list[Bar]:
    """Every target, in the order of the table: those on SQLite, then those that also hold on PostgreSQL."""
    by = median_ratios(run)
    start = {store: _start(run, store) for store in STORES}
    return [
        bar("durable ingest over HTTP, batches of 1000, 4 connections: share of raw", 0.6, by.get("ingest / raw")),
        bar("the same: times what Prefect persists", 50, by.get("ingest / prefect")),
        bar("the same: times plain FastAPI + SQLAlchemy", 10, by.get("ingest / fastapi")),
        *_requests(run, by, ""),
        *_indexed(run, "SQLite"),
        *_traces(run, "SQLite"),
        _memory(run.memory, ""),
        *_disks(run, postgres=False),
        Bar("start to first answer", 1.5, start["SQLite"], "s", at_most=True),
        bar("PostgreSQL: durable ingest over HTTP: share of raw", 0.6, by.get("ingest, PostgreSQL / raw")),
        *_requests(run, by, ", PostgreSQL"),
        *_indexed(run, "PostgreSQL"),
        *_traces(run, "PostgreSQL"),
        _memory(run.memory_postgres, "PostgreSQL: "),
        *_disks(run, postgres=True),
        Bar("PostgreSQL: start to first answer", 1.5, start["PostgreSQL"], "s", at_most=True),
    ]


def _requests(run: Run, by: Mapping[str, float], mark: str) -> list[Bar]:
    """The targets for single events and pages. The names of the measures end in `mark`."""
    of = f"{mark.removeprefix(', ')}: " if mark else ""
    half = f"post{mark} at half the rate"
    return [
        bar(
            f"{of}single-event POST, 64 connections, each durable: share of static", 0.5, by.get(f"post{mark} / static")
        ),
        Bar(f"{of}the same at half of that rate: p50", 5, _load(run, half, "p50_ms"), "ms", at_most=True),
        bar(f"{of}page of 20: share of static", 0.5, by.get(f"page{mark} / static")),
        Bar(f"{of}page of 20: p99 divided by p50", 5, _tail(run, f"page{mark}"), at_most=True),
    ]


def _start(run: Run, store: str) -> float | None:
    """The slowest start of a server over such a store."""
    postgres = store == "PostgreSQL"
    return max((took for name, took in run.start_s.items() if name.endswith("PostgreSQL") == postgres), default=None)


def _load(run: Run, measure: str, field: str) -> float | None:
    result = run.loads.get(measure, {}).get(_OWN)
    return None if result is None else float(getattr(result, field))


def _tail(run: Run, measure: str) -> float | None:
    p50, p99 = _load(run, measure, "p50_ms"), _load(run, measure, "p99_ms")
    return None if p50 is None or p99 is None else p99 / p50


def _indexed(run: Run, store: str) -> Iterator[Bar]:
    """The targets for growth and for time, each of the slowest indexed query. Actor statistics have their own time."""
    mark = "" if store == "SQLite" else f"{store}: "
    asked = [each for each in run.indexed if each.store == store]
    if not asked:
        yield Bar(f"{mark}indexed queries: growth of p50", 3, None, "times", at_most=True)
        return
    size = max(each.large_events for each in asked)
    remark = "" if size >= 10_000_000 else f"the large log had {size:,} events, not 10 million"
    grown = max(asked, key=lambda each: each.growth)
    yield Bar(
        f"{mark}indexed queries: growth of p50, worst: {_name(grown)}",
        3,
        grown.growth,
        "times",
        at_most=True,
        remark=remark,
    )
    for what, most, actors in (("indexed queries", 10, False), ("statistics of 3,000 actors", 20, True)):
        slow = max(
            (each for each in asked if each.question.startswith("by-actor") == actors),
            key=lambda each: each.large.p95_ms,
        )
        name = f"{mark}{what}: p95, worst: {_name(slow)}"
        yield Bar(name, most, slow.large.p95_ms, "ms", at_most=True, remark=remark)


def _name(each: Indexed) -> str:
    return f"{each.question}, {each.days} days"


def _traces(run: Run, store: str) -> Iterator[Bar]:
    """The target for the slowest shape of a graph."""
    mark = "" if store == "SQLite" else f"{store}: "
    found = [traced for traced in run.traces if traced.store == store]
    what = f"{mark}trace of 500 events in a log of 5 million: p95"
    if not found:
        yield Bar(what, 20, None, "ms", at_most=True)
        return
    slow = max(found, key=lambda traced: traced.times.p95_ms)
    remark = "" if slow.events >= 5_000_000 else f"the log had {slow.events:,} events, not 5 million"
    yield Bar(f"{what}, worst: {slow.form}", 20, slow.times.p95_ms, "ms", at_most=True, remark=remark)


def _memory(memory: Memory | None, mark: str) -> Bar:
    what = f"{mark}memory of the server after 10 million events and 1 h of load"
    if memory is None:
        return Bar(what, 300, None, "MB", at_most=True)
    remark = ""
    if memory.events < 10_000_000 or memory.seconds < 3_600:
        remark = f"after {memory.events:,} events and {memory.seconds:.0f} s"
    return Bar(what, 300, memory.highest_mb, "MB", at_most=True, remark=remark)


def _disks(run: Run, *, postgres: bool) -> Iterator[Bar]:
    for disk in run.disks:
        if disk.log.endswith("PostgreSQL") == postgres:
            yield Bar(f"disk, times the NDJSON that came in: {disk.log}", disk.most, disk.ratio, "times", at_most=True)
