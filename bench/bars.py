"""The demands on speed and size, held against what a run measured, and the check that no ratio falls."""

from collections.abc import Iterator
from statistics import median

from bench.measure import ratios
from bench.result import Bar, Flat, Run, bar

__all__ = ["DROP_MAX", "bars_of", "fallen", "median_ratios"]

DROP_MAX = 0.15
"""A ratio may be so much below that of the last run before the check fails."""

_OWN = "whence"


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
    """Every demand, in the order of the table."""
    by = median_ratios(run)
    return [
        bar("durable ingest over HTTP, batches of 1000, 4 connections, of raw", 0.6, by.get("ingest / raw")),
        bar("the same, of what Prefect persists", 50, by.get("ingest / prefect")),
        bar("the same, of plain FastAPI + SQLAlchemy", 10, by.get("ingest / fastapi")),
        bar("single-event POST, 64 connections, each durable, of static", 0.5, by.get("post / static")),
        Bar("p50 of it at half of that rate", 5, _load(run, "post at half the rate", "p50_ms"), "ms", at_most=True),
        bar("page of 20, of static", 0.5, by.get("page / static")),
        Bar("p99 over p50 of it", 5, _tail(run), at_most=True),
        *_flat(run),
        *_traces(run),
        _memory(run),
        *_disks(run),
        Bar("start to first answer", 1.5, max(run.start_s.values(), default=None), "s", at_most=True),
    ]


def _load(run: Run, measure: str, field: str) -> float | None:
    result = run.loads.get(measure, {}).get(_OWN)
    return None if result is None else float(getattr(result, field))


def _tail(run: Run) -> float | None:
    p50, p99 = _load(run, "page", "p50_ms"), _load(run, "page", "p99_ms")
    return None if p50 is None or p99 is None else p99 / p50


def _flat(run: Run) -> Iterator[Bar]:
    """Two demands on the worst of the questions: it must not grow, and it must be quick. By-actor has its own."""
    if not run.flat:
        yield Bar("flat: growth of the slowest question", 3, None, "times", at_most=True)
        return
    size = max(flat.large_events for flat in run.flat)
    remark = "" if size >= 10_000_000 else f"the large log had {size:,} events, not 10 million"
    grown = max(run.flat, key=lambda flat: flat.growth)
    yield Bar(f"flat: growth, worst: {_name(grown)}", 3, grown.growth, "times", at_most=True, remark=remark)
    for what, most, actors in (("", 10, False), ("by-actor, 3,000 actors: ", 20, True)):
        slow = max(
            (flat for flat in run.flat if flat.question.startswith("by-actor") == actors),
            key=lambda flat: flat.large.p95_ms,
        )
        yield Bar(f"flat: {what}p95, worst: {_name(slow)}", most, slow.large.p95_ms, "ms", at_most=True, remark=remark)


def _name(flat: Flat) -> str:
    return f"{flat.question}, {flat.days} days"


def _traces(run: Run) -> Iterator[Bar]:
    """One demand a store, on the slowest form of a graph."""
    for store in ("SQLite", "PostgreSQL"):
        found = [traced for traced in run.traces if traced.store == store]
        what = f"trace of 500 events in a 5 M log, p95, {store}"
        if not found:
            yield Bar(what, 20, None, "ms", at_most=True)
            continue
        slow = max(found, key=lambda traced: traced.times.p95_ms)
        remark = "" if slow.events >= 5_000_000 else f"the log had {slow.events:,} events, not 5 million"
        yield Bar(f"{what}, worst: {slow.form}", 20, slow.times.p95_ms, "ms", at_most=True, remark=remark)


def _memory(run: Run) -> Bar:
    what = "memory of the server after 10 M events and 1 h of load"
    if run.memory is None:
        return Bar(what, 300, None, "MB", at_most=True)
    remark = ""
    if run.memory.events < 10_000_000 or run.memory.seconds < 3_600:
        remark = f"after {run.memory.events:,} events and {run.memory.seconds:.0f} s"
    return Bar(what, 300, run.memory.highest_mb, "MB", at_most=True, remark=remark)


def _disks(run: Run) -> Iterator[Bar]:
    for disk in run.disks:
        yield Bar(f"disk, of the NDJSON that came in: {disk.log}", disk.most, disk.ratio, "times", at_most=True)
