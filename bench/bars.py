"""The targets for speed and size, compared with what a run measured, and the check that no ratio fell."""

from collections.abc import Iterator, Mapping
from statistics import median

from bench.measure import ratios
from bench.result import Bar, Indexed, Memory, Run, Scaled, bar
from bench.serving import AT_RATE, BESIDE

__all__ = ["DROP_MAX", "bars_of", "fallen", "median_ratios"]

DROP_MAX = 0.15
"""The check fails when a ratio is below that of the last run by more than this share."""

_OWN = "whence"
_BUSY_MAX = 0.9
_MEMORY_MB = 300
_ACCEPTOR_MB = 120
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
    """Every target, in the order of the table: those on SQLite, then those on PostgreSQL."""
    by = median_ratios(run)
    start = {store: _start(run, store) for store in STORES}
    return [
        bar("durable ingest over HTTP, batches of 1000, 4 connections: share of raw", 0.55, by.get("ingest / raw")),
        bar("the same: times what Prefect persists", 50, by.get("ingest / prefect")),
        bar("the same: times plain FastAPI + SQLAlchemy", 3, by.get("ingest / fastapi")),
        *_posts(run, by),
        *_pages(run, by),
        *_scaling(run),
        *_indexed(run, "SQLite"),
        *_traces(run, "SQLite"),
        _memory(_alone(run), "memory of a server with one process"),
        _memory(run.memory, "memory of a server with its default number of processes"),
        *_disks(run, postgres=False),
        Bar("start to first answer", 1.5, start["SQLite"], "s", at_most=True),
        bar("PostgreSQL: durable ingest over HTTP: share of COPY", 0.45, by.get("ingest, PostgreSQL / raw")),
        bar(
            f"PostgreSQL: single-event POST, 64 connections, each durable: times {_earlier(run, 'postgres')}",
            3,
            by.get("post, PostgreSQL / earlier"),
        ),
        bar("PostgreSQL: page of 20: share of static", 0.3, by.get("page, PostgreSQL / static")),
        Bar("PostgreSQL: page of 20: p99 divided by p50", 5, _tail(run, "page, PostgreSQL"), at_most=True),
        *_indexed(run, "PostgreSQL"),
        *_traces(run, "PostgreSQL"),
        _memory(run.memory_postgres, "PostgreSQL: memory of a server with its default number of processes"),
        *_disks(run, postgres=True),
        Bar("PostgreSQL: start to first answer", 1.5, start["PostgreSQL"], "s", at_most=True),
    ]


def _posts(run: Run, by: Mapping[str, float]) -> Iterator[Bar]:
    """The targets for single events."""
    what = "single-event POST, 64 connections, each durable"
    yield bar(f"{what}: times {_earlier(run, 'post')}", 3.5, by.get("post / earlier"), remark=_limit(run, "post"))
    yield bar("the same: share of static", 0.25, by.get("post / static"))
    yield bar("the same: times plain FastAPI + SQLAlchemy", 40, by.get("post / fastapi"))
    at_rate = run.loads.get(AT_RATE, {}).get(_OWN)
    p50 = None if at_rate is None else at_rate.p50_ms
    yield Bar("single-event POST at 2,000/s: p50", 2, p50, "ms", at_most=True)


def _pages(run: Run, by: Mapping[str, float]) -> Iterator[Bar]:
    """The targets for pages."""
    yield bar(f"page of 20: times {_earlier(run, 'page')}", 8, by.get("page / earlier"), remark=_limit(run, "page"))
    yield bar("the same: share of static", 0.5, by.get("page / static"))
    yield bar("the same: times plain FastAPI + SQLAlchemy", 80, by.get("page / fastapi"))
    yield Bar("the same: p99 divided by p50", 5, _tail(run, "page"), at_most=True)
    beside = run.loads.get(BESIDE, {}).get(_OWN)
    p99 = None if beside is None else beside.p99_ms
    yield Bar("page of 20 beside saturating batches: p99", 20, p99, "ms", at_most=True)


def _earlier(run: Run, part: str) -> str:
    """The commit that was measured beside the present one in this part."""
    name = run.parts[part].earlier if part in run.parts else ""
    return f"commit {name}" if name else "an earlier commit"


def _limit(run: Run, measure: str) -> str:
    """A remark if the load generator had no processor time left, so that the server may be faster."""
    result = run.loads.get(measure, {}).get(_OWN)
    return "the load generator was the limit" if result is not None and result.busy > _BUSY_MAX else ""


def _scaling(run: Run) -> Iterator[Bar]:
    """The targets for more processes than one."""
    grow = "pages with more processes: share of as many times the pages of one"
    more = "memory for each process more that answers requests"
    one = next((each for each in run.scaling if each.acceptors == 1), None)
    others = [each for each in run.scaling if each.acceptors > 1]
    if one is None or not others:
        yield bar(grow, 0.85, None)
        yield Bar(more, 120, None, "MB", at_most=True)
        return
    share, remark = _growth(one, others, run.machine.cores)
    yield bar(grow, 0.85, share, remark=remark)
    # The first one more also brings the process that writes and the supervisor.
    each_more = {
        other.acceptors: (median(other.memory_mb) - median(one.memory_mb)) / (other.acceptors - 1) for other in others
    }
    worst = max(each_more, key=lambda number: each_more[number])
    remark = f"worst of 2 to {max(each_more)}: with {worst}; the writer and the supervisor are counted"
    yield Bar(more, 120, each_more[worst], "MB", at_most=True, remark=remark)


def _growth(one: Scaled, others: list[Scaled], cores: int) -> tuple[float, str]:
    """The least share of proportional growth, among the numbers of processes that leave a processor to the generator.

    Without any, it is computed from the processor time of a page, which is what more processors would be used for.
    """
    room = [other for other in others if other.acceptors < cores]
    if room:
        shares = {each.acceptors: median(each.pages) / median(one.pages) / each.acceptors for each in room}
        worst = min(shares, key=lambda number: shares[number])
        return shares[worst], f"worst of 2 to {max(shares)}: with {worst}"
    two = min(others, key=lambda other: other.acceptors)
    return median(one.page_cpu_us) / median(two.page_cpu_us), (
        f"from the processor time of a page: the {cores} processors also run the load generator, beside which "
        f"{two.acceptors} processes answer {median(two.pages) / median(one.pages):.2f} times the pages of one"
    )


def _start(run: Run, store: str) -> float | None:
    """The slowest start of a server over such a store."""
    postgres = store == "PostgreSQL"
    return max((took for name, took in run.start_s.items() if name.endswith("PostgreSQL") == postgres), default=None)


def _tail(run: Run, measure: str) -> float | None:
    result = run.loads.get(measure, {}).get(_OWN)
    return None if result is None else result.p99_ms / result.p50_ms


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


def _alone(run: Run) -> Memory | None:
    """The memory of a server with one process, which in earlier results is the only one."""
    if run.memory_one is None and run.memory is not None and run.memory.acceptors == 1:
        return run.memory
    return run.memory_one


def _memory(memory: Memory | None, of: str) -> Bar:
    what = f"{of}, after 10 million events and 1 h of load"
    if memory is None:
        return Bar(what, _MEMORY_MB, None, "MB", at_most=True)
    most = _MEMORY_MB + _ACCEPTOR_MB * (memory.acceptors - 1)
    remarks = [f"{memory.counted}; {memory.acceptors} answer requests" if memory.acceptors > 1 else memory.counted]
    if memory.events < 10_000_000 or memory.seconds < 3_600:
        remarks.append(f"after {memory.events:,} events and {memory.seconds:.0f} s")
    return Bar(what, most, memory.highest_mb, "MB", at_most=True, remark="; ".join(remarks))


def _disks(run: Run, *, postgres: bool) -> Iterator[Bar]:
    for disk in run.disks:
        if disk.log.endswith("PostgreSQL") == postgres:
            yield Bar(f"disk, times the NDJSON that came in: {disk.log}", disk.most, disk.ratio, "times", at_most=True)
