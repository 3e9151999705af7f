"""The table "Against each peer": what was measured, the result of each, and how many times better Whence is."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.against import BY_DAY, PAGE_OF_EACH
from bench.measure import ratios, spread
from bench.result import Asked, Footprint, Run

__all__ = ["PEERS", "against"]

PEERS = {"fastapi": "FastAPI + SQLAlchemy", "prefect": "Prefect", "eventsourcing": "eventsourcing"}

_NOTES = {
    "a": "It responds before it stores, so its rate of single events is not comparable with that of durable ones.",
    "b": "The six routes of the contract have no such parameter or route.",
    "c": "It has no such query: counts by actor, a correlation, an outcome, or a page by offset.",
    "d": "It was filled with the small log only.",
    "e": "Whence has no such route yet.",
    "f": "It is a library that records events. It has no server and no such queries.",
    "g": "It has no query that follows causes.",
}
_HINTS = (
    "Queries are sent over one HTTP connection, in turns with Whence and with the same events. The totals of all "
    "responses agree. Times are p50 / p95 in ms, and in brackets the growth of p50 since the small log. The ratio is "
    "that of p50.",
    "FastAPI + SQLAlchemy implements the same API with an index for each query. It counts when it is asked.",
    "Prefect has its own form of an event: the actor is a related resource, and there is no correlation. It counts by "
    "the name of the event only, where the others count by three fields. It writes its SQLite file with "
    "`synchronous=NORMAL`, which may lose stored events when the power fails. Its default of deleting events after 7 "
    "days was turned off.",
    "The databases of the peers were filled with their own models, not over HTTP. Disk is the size of the file after a "
    "checkpoint. Memory is the highest PSS of all processes of the server, read after each of these queries, without "
    "writes; in results before that of 2026-11-29 it was the highest RSS of its one process. Start ends with the "
    "server's first response.",
)


class _Row(NamedTuple):
    """What was measured, the numbers by program, how they are shown, and the note for programs without a number."""

    measure: str
    values: dict[str, float]
    lacks: dict[str, str]
    more: bool = False
    shown: dict[str, str] | None = None
    ratio: Callable[[str], float] | None = None


def against(run: Run, number: Callable[[float], str]) -> tuple[tuple[str, ...], list[tuple[str, ...]], str] | None:
    """The head, the rows and the notes of the table; None when no peer was measured."""
    rows = [
        *_writes(run),
        *_pages(run),
        *_questions(run.asked, number),
        *_weights(run.footprints),
        *_trace(run),
    ]
    if not any(row.values.keys() & PEERS.keys() for row in rows):
        return None
    head = ("measure", "Whence", *(text for name in PEERS.values() for text in (name, "ratio")))
    used: set[str] = set()
    cells = [_cells(row, number, used) for row in rows if row.values]
    below = [f"({mark}) {_NOTES[mark]}" for mark in sorted(used)]
    text = "\n".join(f"- {line}" for line in (*_HINTS, *below))
    return head, cells, text


def _cells(row: _Row, number: Callable[[float], str], used: set[str]) -> tuple[str, ...]:
    def cell(who: str) -> str:
        if who in row.values:
            return row.shown[who] if row.shown else number(row.values[who])
        used.update(row.lacks.get(who, ""))
        return f"- ({row.lacks[who]})" if who in row.lacks else "-"

    def ratio(who: str) -> str:
        if who not in row.values or "whence" not in row.values:
            return "-"
        if row.ratio is not None:
            return number(row.ratio(who))
        own, its = row.values["whence"], row.values[who]
        return number(own / its if row.more else its / own)

    return (row.measure, cell("whence"), *(text for who in PEERS for text in (cell(who), ratio(who))))


def _rates(run: Run, measure: str, label: str, lacks: dict[str, str]) -> Iterator[_Row]:
    """A row of trials that took turns. Its ratio is the median of the ratios of the rounds."""
    rates = run.rates.get(measure)
    if rates is not None:
        values = {who: spread(trials).median for who, trials in rates.trials.items() if who in ("whence", *PEERS)}
        yield _Row(label, values, lacks, more=True, ratio=lambda who: spread(ratios(rates, "whence", who)).median)


def _writes(run: Run) -> Iterator[_Row]:
    yield from _rates(
        run, "ingest", "batches of 1000 over HTTP, 4 connections, stored events/s", {"eventsourcing": "f"}
    )
    yield from _rates(run, "append", "append in process, 1000 at once, events/s", {})
    yield from _rates(
        run, "post", "single-event POST, 64 connections, requests/s", {"prefect": "a", "eventsourcing": "f"}
    )
    half = run.loads.get("post at half the rate", {})
    values = {who: result.p50_ms for who, result in half.items() if who in ("whence", *PEERS)}
    yield _Row("the same at half of its own rate: p50, ms", values, {"prefect": "a", "eventsourcing": "f"})


def _pages(run: Run) -> Iterator[_Row]:
    measure = PAGE_OF_EACH if PAGE_OF_EACH in run.rates else "page"
    lacks = {"eventsourcing": "f"}
    yield from _rates(run, measure, "page of 20, 16 connections, requests/s", lacks)
    tails = {
        who: result.p99_ms / result.p50_ms
        for who, result in run.loads.get(measure, {}).items()
        if who in ("whence", *PEERS)
    }
    yield _Row("the same: p99 divided by p50", tails, lacks)


def _questions(asked: list[Asked], number: Callable[[float], str]) -> Iterator[_Row]:
    """Two rows for each query: the small log and the large one."""
    sizes = sorted({each.events for each in asked})
    for question in dict.fromkeys(each.question for each in asked):
        small: dict[str, float] = {}
        for events in sizes:
            found = {each.who: each.times for each in asked if (each.question, each.events) == (question, events)}
            if not found:
                continue
            values = {who: times.p50_ms for who, times in found.items()}
            shown = {
                who: f"{number(times.p50_ms)} / {number(times.p95_ms)}"
                + (f" ({number(times.p50_ms / small[who])})" if who in small else "")
                for who, times in found.items()
            }
            lacks = {"fastapi": "b", "prefect": "c" if "prefect" not in small else "d", "eventsourcing": "f"}
            if question == BY_DAY:
                lacks |= {"whence": "e"}
            yield _Row(f"{question}, {events:,} events", values, lacks, shown=shown)
            small = small or values


def _weights(footprints: list[Footprint]) -> Iterator[_Row]:
    """Disk, memory and start, for each size."""
    kinds: dict[str, Callable[[Footprint], float | None]] = {
        "disk, times the NDJSON": lambda footprint: footprint.file_bytes / footprint.ndjson_bytes,
        "highest memory of the server, MB": lambda footprint: footprint.highest_mb,
        "start to first answer, s": lambda footprint: footprint.start_s,
    }
    sizes = sorted({footprint.events for footprint in footprints})
    for kind, weigh in kinds.items():
        for events in sizes:
            of = {each.who: weigh(each) for each in footprints if each.events == events}
            values = {who: value for who, value in of.items() if value is not None}
            lacks = {"prefect": "d", "eventsourcing": "d" if kind.startswith("disk") else "f"}
            yield _Row(f"{kind}, {events:,} events", values, lacks)


def _trace(run: Run) -> Iterator[_Row]:
    times = [traced.times.p95_ms for traced in run.traces if traced.store == "SQLite"]
    if times:
        lacks = {"fastapi": "g", "prefect": "g", "eventsourcing": "f"}
        yield _Row("trace of 500 events, in process, p95 ms, worst shape", {"whence": max(times)}, lacks)
