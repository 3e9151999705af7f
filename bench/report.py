"""A run as a page of Markdown: what a user gains, what is compared, the targets, the peers, the trials, the bytes.

python -m bench.report [RESULT.json]     writes docs/performance.md, from the last full result unless one is named
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.against import PAGE_OF_EACH
from bench.against_page import against
from bench.bars import bars_of
from bench.limits import Disk, Part
from bench.measure import ratios, spread
from bench.merge import part_of_measure, parts_of
from bench.result import RESULTS, Bar, Run, load
from bench.scaling_page import scaling_table
from bench.scenarios import PAGE_RATE
from bench.serving import AT_RATE, BESIDE

__all__ = ["PAGE", "render"]

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

_WHAT = {
    "ingest": "Durable ingest over HTTP: batches of 1000, 4 connections",
    "append": "Append in one process: batches of 1000, 4 tasks",
    "append, PostgreSQL": "Append on PostgreSQL: batches of 1000, 4 tasks",
    "ingest, PostgreSQL": "Durable ingest over HTTP on PostgreSQL: batches of 1000, 4 connections",
    "post": "Single-event POST, 64 connections, each durable",
    "post, PostgreSQL": "Single-event POST on PostgreSQL, 64 connections, each durable",
    "page": "Page of 20, 16 connections",
    PAGE_OF_EACH: "Page of 20, 16 connections, each peer beside Whence",
    "page, PostgreSQL": "Page of 20 on PostgreSQL, 16 connections",
}
_WHO = {
    "whence": "Whence",
    "earlier": "an earlier commit",
    "raw": "raw",
    "static": "static",
    "routed": "routed",
    "fastapi": "FastAPI + SQLAlchemy",
    "prefect": "Prefect",
    "eventsourcing": "eventsourcing",
}
_DEFINITIONS = {
    "earlier": "another commit of Whence, with the same settings and requests, on files of its own",
    "raw": "the limit of ingest: the finished rows of every table, inserted in bulk into the same schema, with the "
    "same indexes and durability. No parsing, checking, numbering, hashing or lookup. On PostgreSQL, a COPY",
    "static": "the limit of HTTP: the same server software answers the same bytes from memory, without an application, "
    "in one process",
    "routed": "the same as static, through Whence's middleware and the routing of its web framework",
    "fastapi": "a peer: the same API, written with common libraries on SQLite, with an index for each query",
    "prefect": "a peer: Prefect's own event server. Its ingest counts the events that it stores, since it responds "
    "before it stores",
    "eventsourcing": "a peer: the recorder of that Python library, in one process",
}
_TERMS = (
    "*Share of raw* or *share of static*: the rate of Whence divided by that of the limit. 1 is the limit.",
    "*p50*, *p95* and *p99*: half, 95 % and 99 % of the responses took at most this long.",
    "An [*indexed query*](concepts.md#reading) is one whose cost should not grow with the log. *Growth* is its p50 in "
    "the large log divided by its p50 in the small one. Events are spread over 180 days, or over 5.",
    "*Durable*: synced to disk before the response.",
    "The queries: a *page* has 20 events and the exact total. An *aggregate* counts by event type, resource type and "
    "actor type. *By-actor* is the statistics of all actors. A *correlation* is a page of one flow. A *resource* is a "
    "page of one resource, with at most five events. *Of a range*: within a random time range. An *offset of a tenth* "
    "skips a tenth of the log, and a *hundredth* a hundredth.",
    "The shapes of traces: in a *chain* each event causes the next. In a *tree* each event causes two. In a *star* the "
    "root causes all others. A *run* is a chain of steps, each of which also causes nine calls.",
)

_DAY_S = 86_400

_TABLES_NOW = {"link": "transition", "link_pkey": "transition_pkey", "tally": "actor_total"}
"""The present names of tables and indexes that have other names in results of earlier schemas."""


def render(run: Run) -> str:
    """The whole page."""
    parts = [
        "# Performance",
        _gains(run),
        _head(run),
        _definitions(),
        _targets(bars_of(run)),
        _against(run),
        _trials(run),
        _answers(run),
        scaling_table(run, _number, _table),
        _indexed(run),
        _traces(run),
        _disk(run),
        _end(run),
        _parts(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(run: Run) -> str:
    machine = run.machine
    made = f"{run.date}, commit {run.commit}, {machine.cpu}, {machine.cores} cores, {machine.memory_gb} GiB"
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    parts = parts_of(run)
    differ = len({(part.date, part.commit) for part in parts.values()}) > 1
    lines = [
        "## How it was measured",
        "",
        "Made by `make bench` (see [bench/README.md](../bench/README.md)); do not edit. Numbers of events and seconds "
        "are for this machine only. Ratios are more general: they come from trials that took turns in one run.",
        "",
        f"Measured {made}, {machine.system}, Python {machine.python}; {versions}.",
    ]
    if differ:
        lines += [
            "",
            "**Not all parts were measured then.** [The last table](#when-each-part-was-measured) has the date, commit "
            "and processor of each.",
        ]
    if run.mode != "full":
        lines += [
            "",
            f"**This was a {run.mode} run, with small sizes and few rounds: it shows that all works, not how fast.**",
        ]
    lines += ["", *(f"- {note}" for note in run.notes)] if run.notes else []
    return "\n".join(lines)


def _parts(run: Run) -> str:
    """When, at which commit and with what each part was measured."""
    parts = parts_of(run)
    rows = [
        (
            name,
            part.date,
            part.commit,
            str(part.acceptors),
            part.generator,
            part.earlier or "-",
            f"{part.load_before} / {part.load_after}",
            f"{part.seconds:.0f}" if part.seconds else "-",
            part.cpu or run.machine.cpu,
        )
        for name, part in parts.items()
    ]
    head = (
        "part",
        "date",
        "commit",
        "processes",
        "load generator",
        "beside it",
        "load average",
        "seconds",
        "processor",
    )
    return (
        "## When each part was measured\n\nThe names are those of `--only`. *Processes* is how many answered requests, "
        "if the measure does not say otherwise. The load generator is that of closed loops of single events and pages; "
        "batches and open loops are sent by `load.py`. The load average is that before and after the part. It includes "
        "the part itself.\n\n" + _table(head, rows)
        if rows
        else ""
    )


def _gains(run: Run) -> str:
    """What a user gains, in sentences; those about parts that were not measured are left out."""
    lines = [
        *_gains_of_writes(run),
        *_gains_of_reads(run),
        *_gains_of_size(run),
        *_gains_over_peers(run),
        *_gains_since(run),
    ]
    bars = bars_of(run)
    missed = sum(bar.met is False for bar in bars)
    if missed:
        lines.append(
            f"**Not reached**: {missed} of {len(bars)} targets. "
            "[ADR 12](adr/0012-where-the-time-goes.md) says where the time goes."
        )
    machine = run.machine
    head = (
        f"The server has a SQLite file and default settings{_processes(run)}. It shares {machine.cores} cores "
        f"({_processors(run)}) with the load generator. Times of queries are those of the store, without HTTP, "
        "unless it is named."
    )
    return f"## What you gain\n\n{head}\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _processors(run: Run) -> str:
    """The processor of the machine, and of those on which the other parts were measured."""
    others = sorted({part.cpu for part in parts_of(run).values()} - {"", run.machine.cpu})
    return run.machine.cpu + "".join(f"; for some parts {other}" for other in others)


def _processes(run: Run) -> str:
    """How many processes a server has by default, if these are several."""
    most = max((part.acceptors for part in parts_of(run).values()), default=1)
    return f", which here mean {most} processes that answer requests and one that writes" if most > 1 else ""


def _gains_of_writes(run: Run) -> Iterator[str]:
    ingest, post = (run.rates.get(measure) for measure in ("ingest", "post"))
    if ingest is not None and post is not None:
        batches, singles = (spread(rates.trials["whence"]).median for rates in (ingest, post))
        yield (
            f"**Record every step of every agent.** It stores {batches:,.0f} events per second in batches, which are "
            f"{_number(batches * _DAY_S / 1e6)} million a day, or {singles:,.0f} single events per second. Each is "
            "synced to disk before its 201."
        )
    at_rate = run.loads.get(AT_RATE, {}).get("whence")
    if at_rate is not None:
        yield (
            f"**Do not make them wait.** At 2,000 single events per second, half of the answers come within "
            f"{_number(at_rate.p50_ms)} ms, and 99 % within {_number(at_rate.p99_ms)} ms."
        )


def _gains_of_reads(run: Run) -> Iterator[str]:
    own = [each for each in run.indexed if each.store == "SQLite"]
    if own:
        page = max((each for each in own if each.question == "page"), key=lambda each: each.large.p95_ms)
        counts = max(
            (each for each in own if each.question == "aggregate of a range"), key=lambda each: each.large.p95_ms
        )
        grown = max(each.growth for each in own)
        yield (
            f"**Show people their history at once.** In a log of {page.large_events:,} events, a page of 20 with its "
            f"exact total takes {_number(page.large.p50_ms)} ms (p95 {_number(page.large.p95_ms)})." + _over_http(run)
        )
        yield (
            "**Count without a second database.** Exact counts of any time range of that log take "
            f"{_number(counts.large.p50_ms)} ms (p95 {_number(counts.large.p95_ms)})."
        )
        yield (
            f"**Grow without tuning.** With {page.large_events // page.small_events} times as many events, no indexed "
            f"query takes more than {_number(grown)} times as long."
        )
    traces = [traced for traced in run.traces if traced.store == "SQLite"]
    if traces:
        slow = max(traces, key=lambda traced: traced.times.p95_ms)
        yield (
            f"**Ask why, and read on at once.** A trace of 500 events in a log of {slow.events:,} takes "
            f"{_number(slow.times.p50_ms)} ms (p95 {_number(slow.times.p95_ms)})."
        )


def _over_http(run: Run) -> str:
    """What a page costs over HTTP, alone and beside batches."""
    text = ""
    if "page" in run.rates:
        text += f" Over HTTP, it answers {spread(run.rates['page'].trials['whence']).median:,.0f} pages per second."
    beside = run.loads.get(BESIDE, {}).get("whence")
    if beside is not None:
        text += f" While it stores batches as fast as it can, 99 % of pages take at most {_number(beside.p99_ms)} ms."
    return text


def _gains_of_size(run: Run) -> Iterator[str]:
    if run.memory is not None and run.disks:
        largest = max(disk.ratio for disk in run.disks if "PostgreSQL" not in disk.log)
        yield (
            f"**Run it on a small machine.** With {run.memory.events:,} events it took at most "
            f"{(run.memory_one or run.memory).highest_mb:.0f} MB of memory as one process{_more_memory(run)}. The "
            "file, with every index and hash, is at most "
            f"{_number(largest)} times as large as the NDJSON that came in."
        )


def _gains_since(run: Run) -> Iterator[str]:
    """What changed since an earlier commit, of the measures in which that one took turns."""
    for measure, what in (("ingest", "events in batches"), ("post", "single events"), ("page", "pages over HTTP")):
        rates = run.rates.get(measure)
        if rates is not None and "earlier" in rates.trials:
            ratio = _number(spread(ratios(rates, "whence", "earlier")).median)
            yield f"**Since {_who(run, measure, 'earlier')}**: {ratio} times as many {what} per second."


def _more_memory(run: Run) -> str:
    if run.memory is None or run.memory.acceptors == 1:
        return ""
    return f", and {run.memory.highest_mb:.0f} MB as {run.memory.acceptors} that answer requests and one that writes"


def _gains_over_peers(run: Run) -> Iterator[str]:
    largest = max((each.events for each in run.asked if each.who == "fastapi"), default=0)
    p50 = {(each.question, each.who): each.times.p50_ms for each in run.asked if each.events == largest}
    ratios_of = {
        question: p50[question, "fastapi"] / p50[question, "whence"]
        for question in ("page", "aggregate", "by-actor")
        if {(question, "fastapi"), (question, "whence")} <= p50.keys()
    }
    if len(ratios_of) == 3:
        page, counts, actors = (_number(ratio) for ratio in ratios_of.values())
        yield (
            f"**Wait less than with a table of your own.** The same API in FastAPI and SQLAlchemy, with {largest:,} "
            f"events, takes {page} times as long for a page (p50, over HTTP). For counts it takes {counts} times as "
            f"long, and for statistics of actors {actors} times."
        )


def _definitions() -> str:
    rows = [(_WHO[name], meaning) for name, meaning in _DEFINITIONS.items()]
    return (
        "## What it is compared with\n\nA *limit* is what the layer below could do at most. A *peer* is another way to "
        "do the same work.\n\n"
        + _table(("name", "what it is"), rows)
        + "\n\n"
        + "\n".join(f"- {term}" for term in _TERMS)
    )


def _targets(bars: Iterable[Bar]) -> str:
    rows = []
    for bar in bars:
        sign = "≤" if bar.at_most else "≥"
        measured = "not measured" if bar.measured is None else f"{_number(bar.measured)} {bar.unit}".strip()
        met = {None: "", True: "yes", False: "no"}[bar.met]
        rows.append((bar.what, f"{sign} {_number(bar.bar)} {bar.unit}".strip(), measured, met, bar.remark))
    return "## Targets\n\n" + _table(("what", "target", "measured", "reached", "remark"), rows)


def _against(run: Run) -> str:
    found = against(run, _number)
    if found is None:
        return ""
    head, rows, below = found
    return (
        "## Against each peer\n\nA ratio says how many times better Whence is. Above 1 Whence is better, whether a "
        "higher or a lower number is better.\n\n" + _table(head, rows) + "\n\n" + below
    )


def _trials(run: Run) -> str:
    texts = []
    for measure, rates in run.rates.items():
        rows = []
        for name, trials in rates.trials.items():
            own = spread(trials)
            ratio = "1"
            if name != "whence":
                of = spread(ratios(rates, "whence", name))
                ratio = f"{_number(of.median)} ({_number(of.least)} to {_number(of.most)})"
            rows.append((_who(run, measure, name), f"{own.median:,.0f}", f"{own.least:,.0f} to {own.most:,.0f}", ratio))
        head = (
            "who",
            f"{rates.unit}, median of {len(rates.trials['whence'])}",
            "least to most",
            "Whence divided by it",
        )
        texts.append(f"### {_WHAT[measure]}\n\n" + _table(head, rows))
    return "## Side by side\n\n" + "\n\n".join(texts) if texts else ""


def _who(run: Run, measure: str, name: str) -> str:
    """The name of a server in a table. That of an earlier commit says which one it is."""
    part = parts_of(run).get(part_of_measure(measure))
    return f"commit {part.earlier}" if name == "earlier" and part is not None and part.earlier else _WHO[name]


def _answers(run: Run) -> str:
    rows = [
        (
            measure.replace("question: ", "query: "),
            _who(run, measure, server),
            f"{result.rate:,.0f}",
            _number(result.p50_ms),
            _number(result.p95_ms),
            _number(result.p99_ms),
            f"{result.busy:.0%}",
            result.generator,
        )
        for measure, servers in run.loads.items()
        for server, result in servers.items()
    ]
    if not rows:
        return ""
    head = ("what", "who", "requests/s", "p50 ms", "p95 ms", "p99 ms", "load generator busy", "load generator")
    return (
        "### Response times over HTTP\n\n"
        + _table(head, rows)
        + "\n\nThe load generator shares the cores with the server. If it were busy all the time, it would be the "
        "limit. *Half the rate* is half of Whence's rate; for FastAPI, half of its own. *At 2,000/s* leaves out a "
        f"server that is slower. *Beside batches* are {PAGE_RATE:.0f} pages per second, due at random times, while 4 "
        "connections send batches of 1000 as fast as these are stored. Each query is sent over one connection, to the "
        "large log. wrk corrects its percentiles: a slow response counts also for the requests that had to wait for it."
    )


def _indexed(run: Run) -> str:
    if not run.indexed:
        return ""
    rows = [
        (
            each.store,
            each.question,
            str(each.days),
            f"{each.small_events:,} / {each.large_events:,}",
            f"{_number(each.small.p50_ms)} / {_number(each.large.p50_ms)}",
            f"{_number(each.small.p95_ms)} / {_number(each.large.p95_ms)}",
            f"{_number(each.small.p99_ms)} / {_number(each.large.p99_ms)}",
            _number(each.growth),
        )
        for each in run.indexed
    ]
    head = ("store", "query", "days", "events, small / large", "p50 ms", "p95 ms", "p99 ms", "growth of p50")
    return "## Indexed queries, in process\n\nEach cell has the small log / the large log.\n\n" + _table(head, rows)


def _traces(run: Run) -> str:
    if not run.traces:
        return ""
    rows = [
        (
            traced.store,
            traced.form,
            f"{traced.events:,}",
            f"{traced.times.count:,}",
            _number(traced.times.p50_ms),
            _number(traced.times.p95_ms),
            _number(traced.times.p99_ms),
        )
        for traced in run.traces
    ]
    head = ("store", "shape of the graph", "events in the log", "traces", "p50 ms", "p95 ms", "p99 ms")
    return "## Traces of 500 events, in process\n\n" + _table(head, rows)


def _disk(run: Run) -> str:
    texts = []
    for disk in run.disks:
        made = f"{disk.file_bytes:,} bytes for {disk.ndjson_bytes:,} bytes of NDJSON: {disk.ratio:.3f} times."
        rows = [
            (
                _TABLES_NOW.get(part.name, part.name),
                part.kind,
                f"{part.bytes / disk.events:.1f}",
                f"{part.bytes / disk.file_bytes:.1%}",
            )
            for part in _weighty(disk)
        ]
        head = ("part", "kind", "bytes per event", "of the file")
        texts.append(f"### {disk.log[:1].upper()}{disk.log[1:]}\n\n{made}\n\n" + _table(head, rows))
    return "## Disk\n\n" + "\n\n".join(texts) if texts else ""


def _weighty(disk: Disk) -> Iterator[Part]:
    """The parts with at least half a byte per event."""
    return (part for part in disk.parts if part.bytes / disk.events >= 0.5)


def _end(run: Run) -> str:
    lines = [f"- Start to first answer with {label}: {seconds:.2f} s" for label, seconds in run.start_s.items()]
    lines += [
        f"- Highest memory of the server, {store}: {memory.highest_mb:.0f} MB ({memory.counted}), over a log of "
        f"{memory.events:,} events, "
        f"after {memory.seconds:.0f} s of load"
        for store, memory in (
            ("SQLite, default", run.memory),
            ("SQLite, one process", run.memory_one),
            ("PostgreSQL, default", run.memory_postgres),
        )
        if memory is not None
    ]
    return "## The process\n\n" + "\n".join(lines) if lines else ""


def _number(value: float) -> str:
    """The value with three significant digits."""
    if value >= 1_000:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.4f}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """Write docs/performance.md from a result."""
    named = [Path(name) for name in sys.argv[1:]]
    found = named or sorted(path for path in RESULTS.glob("*.json") if load(path).mode == "full")
    if not found:
        print("There is no full result; run make bench first.", file=sys.stderr)
        return 1
    PAGE.write_text(render(load(found[-1])), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
