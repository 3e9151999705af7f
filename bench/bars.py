"""The demands on speed and size, held against what a run measured, and the check that no ratio falls."""

from collections.abc import Iterator, Mapping
from statistics import median

from bench.measure import ratios
from bench.result import Bar, Flat, Memory, Run, bar

__all__ = ["DROP_MAX", "bars_of", "fallen", "median_ratios"]

DROP_MAX = 0.15
"""A ratio may be so much below that of the last run before the check fails."""

_OWN = "whence"
STORES = ("SQLite", "PostgreSQL")


def median_ratios(run: Run) -> dict[str, float]:
    """Whence over each other one, for every measure; the median of the rounds. By name, such as `ingest / raw`."""
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
    """Every demand, in the order of the table: on SQLite, then on PostgreSQL what is asked of both."""
    by = median_ratios(run)
    start = {store: _start(run, store) for store in STORES}
    return [
        bar("durable ingest over HTTP, batches of 1000, 4 connections, of raw", 0.6, by.get("ingest / raw")),
        bar("the same, of what Prefect persists", 50, by.get("ingest / prefect")),
        bar("the same, of plain FastAPI + SQLAlchemy", 10, by.get("ingest / fastapi")),
        *_requests(run, by, ""),
        *_flat(run, "SQLite"),
        *_traces(run, "SQLite"),
        _memory(run.memory, ""),
        *_disks(run, postgres=False),
        Bar("start to first answer", 1.5, start["SQLite"], "s", at_most=True),
        bar("PostgreSQL: durable ingest over HTTP, of raw", 0.6, by.get("ingest, PostgreSQL / raw")),
        *_requests(run, by, ", PostgreSQL"),
        *_flat(run, "PostgreSQL"),
        *_traces(run, "PostgreSQL"),
        _memory(run.memory_postgres, "PostgreSQL: "),
        *_disks(run, postgres=True),
        Bar("PostgreSQL: start to first answer", 1.5, start["PostgreSQL"], "s", at_most=True),
    ]


def _requests(run: Run, by: Mapping[str, float], mark: str) -> list[Bar]:
    """The demands on single events and pages; `mark` ends the names of the measures."""
    of = f"{mark.removeprefix(', ')}: " if mark else ""
    half = f"post{mark} at half the rate"
    return [
        bar(f"{of}single-event POST, 64 connections, each durable, of static", 0.5, by.get(f"post{mark} / static")),
        Bar(f"{of}p50 of it at half of that rate", 5, _load(run, half, "p50_ms"), "ms", at_most=True),
        bar(f"{of}page of 20, of static", 0.5, by.get(f"page{mark} / static")),
        Bar(f"{of}p99 over p50 of it", 5, _tail(run, f"page{mark}"), at_most=True),
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


def _flat(run: Run, store: str) -> Iterator[Bar]:
    """Two demands on the worst of the questions: it must not grow, and it must be quick. By-actor has its own."""
    mark = "" if store == "SQLite" else f"{store}: "
    asked = [flat for flat in run.flat if flat.store == store]
    if not asked:
        yield Bar(f"{mark}flat: growth of the slowest question", 3, None, "times", at_most=True)
        return
    size = max(flat.large_events for flat in asked)
    remark = "" if size >= 10_000_000 else f"the large log had {size:,} events, not 10 million"
    grown = max(asked, key=lambda flat: flat.growth)
    yield Bar(f"{mark}flat: growth, worst: {_name(grown)}", 3, grown.growth, "times", at_most=True, remark=remark)
    for what, most, actors in (("", 10, False), ("by-actor, 3,000 actors: ", 20, True)):
        slow = max(
            (flat for flat in asked if flat.question.startswith("by-actor") == actors),
            key=lambda flat: flat.large.p95_ms,
        )
        name = f"{mark}flat: {what}p95, worst: {_name(slow)}"
        yield Bar(name, most, slow.large.p95_ms, "ms", at_most=True, remark=remark)


def _name(flat: Flat) -> str:
    return f"{flat.question}, {flat.days} days"


def _traces(run: Run, store: str) -> Iterator[Bar]:
    """The demand on the slowest form of a graph."""
    mark = "" if store == "SQLite" else f"{store}: "
    found = [traced for traced in run.traces if traced.store == store]
    what = f"{mark}trace of 500 events in a 5 M log, p95"
    if not found:
        yield Bar(what, 20, None, "ms", at_most=True)
        return
    slow = max(found, key=lambda traced: traced.times.p95_ms)
    remark = "" if slow.events >= 5_000_000 else f"the log had {slow.events:,} events, not 5 million"
    yield Bar(f"{what}, worst: {slow.form}", 20, slow.times.p95_ms, "ms", at_most=True, remark=remark)


def _memory(memory: Memory | None, mark: str) -> Bar:
    what = f"{mark}memory of the server after 10 M events and 1 h of load"
    if memory is None:
        return Bar(what, 300, None, "MB", at_most=True)
    remark = ""
    if memory.events < 10_000_000 or memory.seconds < 3_600:
        remark = f"after {memory.events:,} events and {memory.seconds:.0f} s"
    return Bar(what, 300, memory.highest_mb, "MB", at_most=True, remark=remark)


def _disks(run: Run, *, postgres: bool) -> Iterator[Bar]:
    for disk in run.disks:
        if disk.log.endswith("PostgreSQL") == postgres:
            yield Bar(f"disk, of the NDJSON that came in: {disk.log}", disk.most, disk.ratio, "times", at_most=True)
