"""A run as a page of Markdown: the demands and whether they are met, the peers, the trials, the bytes.

python -m bench.report [RESULT.json]     renders docs/performance.md, from the last full result unless one is named
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.against import PAGE_OF_EACH
from bench.against_page import against
from bench.bars import bars_of
from bench.limits import Disk, Part
from bench.measure import ratios, spread
from bench.result import RESULTS, Bar, Run, load

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
    "raw": "raw: the same rows by bulk insert or COPY",
    "static": "static: the same server, the same bytes from memory",
    "routed": "static behind Whence's edge and Litestar's routing",
    "fastapi": "FastAPI + SQLAlchemy, the same contract",
    "prefect": "Prefect's server; of ingest, the events persisted",
    "eventsourcing": "eventsourcing, raw recording",
}


def render(run: Run) -> str:
    """The whole page."""
    parts = [
        _head(run),
        _demands(bars_of(run)),
        _against(run),
        _trials(run),
        _answers(run),
        _flat(run),
        _traces(run),
        _disk(run),
        _end(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(run: Run) -> str:
    machine = run.machine
    made = f"{run.date}, commit {run.commit}, {machine.cpu}, {machine.cores} cores, {machine.memory_gb} GiB"
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    lines = [
        "# Performance",
        "",
        "Made by `make bench` (see [bench/README.md](../bench/README.md)); do not edit. Numbers of events or seconds "
        "hold for this machine alone; ratios come from trials that took turns in one run.",
        "",
        f"Measured {made}, {machine.system}, Python {machine.python}; {versions}. Load average "
        f"{machine.load_before} before and {machine.load_after} after.",
    ]
    if run.mode != "full":
        lines += [
            "",
            f"**This was a {run.mode} run: small sizes, few rounds. It shows that things work, not how well.**",
        ]
    lines += ["", *(f"- {note}" for note in run.notes)] if run.notes else []
    return "\n".join(lines)


def _demands(bars: Iterable[Bar]) -> str:
    rows = []
    for bar in bars:
        sign = "≤" if bar.at_most else "≥"
        measured = "not measured" if bar.measured is None else f"{_number(bar.measured)} {bar.unit}".strip()
        met = {None: "", True: "yes", False: "**no**"}[bar.met]
        rows.append((bar.what, f"{sign} {_number(bar.bar)} {bar.unit}".strip(), measured, met, bar.remark))
    return "## Demands\n\n" + _table(("what", "bar", "measured", "met", ""), rows)


def _against(run: Run) -> str:
    found = against(run, _number)
    if found is None:
        return ""
    head, rows, below = found
    return (
        "## Against each peer\n\nA ratio says how many times better Whence is: above 1 it is ahead, whether more is "
        "better or less.\n\n" + _table(head, rows) + "\n\n" + below
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
            rows.append((_WHO[name], f"{own.median:,.0f}", f"{own.least:,.0f} to {own.most:,.0f}", ratio))
        head = (
            "who",
            f"{rates.unit}, median of {len(rates.trials['whence'])}",
            "least to most",
            "Whence is so many times as fast",
        )
        texts.append(f"### {_WHAT[measure]}\n\n" + _table(head, rows))
    return "## Side by side\n\n" + "\n\n".join(texts) if texts else ""


def _answers(run: Run) -> str:
    rows = [
        (
            measure,
            _WHO[server],
            f"{result.rate:,.0f}",
            _number(result.p50_ms),
            _number(result.p95_ms),
            _number(result.p99_ms),
            f"{result.busy:.0%}",
        )
        for measure, servers in run.loads.items()
        for server, result in servers.items()
    ]
    if not rows:
        return ""
    head = ("what", "who", "requests/s", "p50 ms", "p95 ms", "p99 ms", "load generator busy")
    return (
        "### Times of answers, over HTTP\n\n"
        + _table(head, rows)
        + "\n\nA load generator that is busy all of the time would be the limit itself. It shares the cores with the "
        "server. Half the rate is half of Whence's, and for FastAPI half of its own. Questions come by "
        "one connection, to the large log."
    )


def _flat(run: Run) -> str:
    if not run.flat:
        return ""
    rows = [
        (
            flat.store,
            flat.question,
            str(flat.days),
            f"{flat.small_events:,} / {flat.large_events:,}",
            f"{_number(flat.small.p50_ms)} / {_number(flat.large.p50_ms)}",
            f"{_number(flat.small.p95_ms)} / {_number(flat.large.p95_ms)}",
            f"{_number(flat.small.p99_ms)} / {_number(flat.large.p99_ms)}",
            _number(flat.growth),
        )
        for flat in run.flat
    ]
    head = ("store", "question", "days", "events, small / large", "p50 ms", "p95 ms", "p99 ms", "growth of p50")
    return "## Flat questions, in process\n\n" + _table(head, rows)


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
    head = ("store", "form of the graph", "events in the log", "times", "p50 ms", "p95 ms", "p99 ms")
    return "## Traces of 500 events, in process\n\n" + _table(head, rows)


def _disk(run: Run) -> str:
    texts = []
    for disk in run.disks:
        made = f"{disk.file_bytes:,} bytes for {disk.ndjson_bytes:,} bytes of NDJSON: {disk.ratio:.3f} times."
        rows = [
            (part.name, part.kind, f"{part.bytes / disk.events:.1f}", f"{part.bytes / disk.file_bytes:.1%}")
            for part in _weighty(disk)
        ]
        head = ("part", "kind", "bytes an event", "of the file")
        texts.append(f"### {disk.log[:1].upper()}{disk.log[1:]}\n\n{made}\n\n" + _table(head, rows))
    return "## Disk\n\n" + "\n\n".join(texts) if texts else ""


def _weighty(disk: Disk) -> Iterator[Part]:
    """The parts that are worth a line."""
    return (part for part in disk.parts if part.bytes / disk.events >= 0.5)


def _end(run: Run) -> str:
    lines = [f"- Start to first answer with {label}: {seconds:.2f} s" for label, seconds in run.start_s.items()]
    lines += [
        f"- Highest memory of the server, {store}: {memory.highest_mb:.0f} MB, over a log of {memory.events:,} events, "
        f"after {memory.seconds:.0f} s of load"
        for store, memory in (("SQLite", run.memory), ("PostgreSQL", run.memory_postgres))
        if memory is not None
    ]
    return "## The process\n\n" + "\n".join(lines) if lines else ""


def _number(value: float) -> str:
    """Three digits that matter."""
    if value >= 1_000:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.4f}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """Render a result into docs/performance.md."""
    named = [Path(name) for name in sys.argv[1:]]
    found = named or sorted(path for path in RESULTS.glob("*.json") if load(path).mode == "full")
    if not found:
        print("There is no full result yet; run make bench.", file=sys.stderr)
        return 1
    PAGE.write_text(render(load(found[-1])), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
