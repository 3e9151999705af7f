"""Measure everything, write the result, and compare it with the targets.

python -m bench.run                 everything, in an hour and a half; writes results/ and docs/performance.md
python -m bench.run --quick         the same at small sizes, in three minutes; writes only results/
python -m bench.run --quick --check fails when a ratio fell by more than 15 % since the last result of this machine
python -m bench.run --quick --only post,page     measures some parts and writes nothing
"""

import argparse
import asyncio
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from bench import against, scenarios
from bench.bars import bars_of, fallen
from bench.build_store import TENANT, Built, build
from bench.copy_store import copy_to_postgres
from bench.limits import disk_of, final_rows, raw_insert
from bench.load import Result
from bench.measure import interleaved, times_of
from bench.others import eventsourcing_recorded, prefect_persisted
from bench.report import PAGE, render
from bench.result import Indexed, Memory, Run, Traced, last_of_machine, new_run, save
from bench.servers import Running, ask, fastapi_peer, static, whence
from bench.stage import FULL, QUICK, STORES, Bench, Sizes
from bench.static_app import Answer
from bench.workload import LOAN_LOG, Shape, batched, loan_events, ndjson, of_one_tenant
from whence.api.server import settle_memory
from whence.events import NewEvent
from whence.storage import create_store
from whence.storage.base import Write

ROOT = Path(__file__).parents[1]


def ingest(bench: Bench) -> None:
    """Measure batches over HTTP with raw, FastAPI and Prefect, and append alone with raw and eventsourcing."""
    sizes = bench.sizes
    events = list(of_one_tenant(Shape(events=sizes.ingest_events)))
    first = bench.fresh("ingest")
    _ingest_whence(first, events)
    rows = final_rows(first / "whence.db")

    def raw(_: int) -> float:
        return _scrapped(bench, "raw", lambda folder: raw_insert(folder / "raw.db", rows))

    over_http: dict[str, Callable[[int], float]] = {
        "whence": lambda _: _scrapped(bench, "ingest", lambda folder: _ingest_whence(folder, events)),
        "raw": raw,
    }
    if bench.has("fastapi_sqlalchemy"):
        fewer = events[: sizes.peer_events]
        over_http["fastapi"] = lambda _: _scrapped(bench, "fastapi", lambda folder: _ingest_fastapi(folder, fewer))
    if bench.has("prefect"):
        fewest = events[: sizes.prefect_events]
        over_http["prefect"] = lambda _: _scrapped(bench, "prefect", lambda folder: prefect_persisted(folder, fewest))
    bench.run.rates["ingest"] = interleaved(sizes.rounds, over_http, "events/s")
    in_process: dict[str, Callable[[int], float]] = {
        "whence": lambda _: _scrapped(bench, "append", lambda folder: asyncio.run(_append(folder, events))),
        "raw": raw,
    }
    if bench.has("eventsourcing"):
        in_process["eventsourcing"] = lambda _: _scrapped(
            bench, "eventsourcing", lambda folder: eventsourcing_recorded(folder, events)
        )
    bench.run.rates["append"] = interleaved(sizes.rounds, in_process, "events/s")


def _scrapped(bench: Bench, name: str, work: Callable[[Path], float]) -> float:
    """Do the work in a folder that is removed afterwards, and sync, so that its writes do not slow the next trial."""
    folder = bench.fresh(name)
    try:
        return work(folder)
    finally:
        shutil.rmtree(folder)
        os.sync()


def _ingest_whence(folder: Path, events: list[NewEvent], url: str = "") -> float:
    with whence(folder / "whence.db", url) as running:
        requests = scenarios.batch_requests(running.key, events)
        return scenarios.ingest_batches(folder, running, requests).rate * len(events) / len(requests)


def _ingest_fastapi(folder: Path, events: list[NewEvent]) -> float:
    with fastapi_peer(folder) as running:
        requests = scenarios.batch_requests(running.key, events, array=True)
        return scenarios.ingest_batches(folder, running, requests).rate * len(events) / len(requests)


async def _append(folder: Path, events: list[NewEvent]) -> float:
    store = create_store(f"sqlite:///{folder}/whence.db")
    try:
        return await scenarios.ingest_in_process(store, list(batched(events)))
    finally:
        await store.close()


def singles(bench: Bench) -> None:
    """Measure single-event POST in a closed loop, with static and FastAPI; then at half of that rate."""
    folder = bench.fresh("singles")
    with whence(folder / "whence.db") as own:
        _singles(bench, folder, own, "post", bench.sizes.singles, peers=True)


def _singles(bench: Bench, folder: Path, own: Running, measure: str, number: int, *, peers: bool) -> None:
    left = of_one_tenant(Shape(seed=2, events=number * (3 * bench.sizes.rounds + 4)))
    with ExitStack() as running:
        answer = ask(own, "POST", "/api/v1/events", ndjson([next(left)]))
        servers = _beside(bench, folder, running, own, answer, peers=peers)
        counts = {name: number // 4 if name == "fastapi" else number for name in servers}

        def post(name: str) -> Result:
            some = [next(left) for _ in range(counts[name])] if name in ("whence", "fastapi") else reused
            return scenarios.post_closed_loop(folder, servers[name], scenarios.single_requests(servers[name].key, some))

        reused = [next(left) for _ in range(number)]
        bench.take_turns(measure, servers, post)
        loads = bench.run.loads[measure]
        for name in (name for name in servers if name != "routed"):
            # The limits get the same load as Whence; the peer gets half of its own rate.
            rate = loads["fastapi" if name == "fastapi" else "whence"].rate / 2
            most = number // 10 if name == "fastapi" else number
            some = [next(left) for _ in range(min(most, int(rate * 20)))]
            requests = scenarios.single_requests(servers[name].key, some)
            result = scenarios.post_open_loop(folder, servers[name], requests, rate)
            bench.keep(f"{measure} at half the rate", name, [result])


def _beside(
    bench: Bench, folder: Path, running: ExitStack, own: Running, answer: Answer, *, peers: bool
) -> dict[str, Running]:
    """Whence, the two limits that answer the same bytes from memory, and FastAPI."""
    servers = {"whence": own}
    for name, kind in (("static", "bare"), ("routed", "routed")):
        servers[name] = running.enter_context(static(folder, {"POST": answer, "GET": answer}, kind))
    if peers and bench.has("fastapi_sqlalchemy"):
        servers["fastapi"] = running.enter_context(fastapi_peer(folder))
    return servers


def pages(bench: Bench) -> None:
    """Measure a page of 20, with static and FastAPI."""
    folder = bench.fresh("pages")
    built = bench.built(bench.sizes.page_events, 180)
    shutil.copyfile(built.path, folder / "whence.db")
    with whence(folder / "whence.db") as own:
        _pages(bench, folder, own, "page", built)


def _pages(bench: Bench, folder: Path, own: Running, measure: str, filled: Built | None) -> None:
    """`filled` is the log that the peers get; without it there are no peers."""
    path = "/api/v1/events?limit=20"
    number = bench.sizes.pages
    with ExitStack() as running:
        servers = _beside(bench, folder, running, own, ask(own, "GET", path), peers=filled is not None)
        if filled is not None and "fastapi" in servers:
            for some in batched(of_one_tenant(filled.shape), 10_000):
                peer = servers["fastapi"]
                scenarios.ingest_batches(folder, peer, scenarios.batch_requests(peer.key, some, array=True))
        counts = {name: number // 10 if name == "fastapi" else number for name in servers}

        def page(name: str) -> Result:
            return scenarios.get_closed_loop(folder, servers[name], [path], counts[name])

        bench.take_turns(measure, servers, page)


def indexed(bench: Bench) -> None:
    """Measure the indexed queries on a small and on a large log, in this process."""
    for days in bench.sizes.spreads:
        small, large = bench.built(bench.sizes.small_events, days), bench.built(bench.sizes.large_events, days)
        urls = (f"sqlite:///{small.path}", f"sqlite:///{large.path}")
        bench.run.indexed += asyncio.run(_indexed("SQLite", (small, large), urls, bench.sizes.question_rounds))


async def _indexed(name: str, built: tuple[Built, Built], urls: tuple[str, str], rounds: int) -> list[Indexed]:
    small, large = built
    stores = [create_store(url, serving=False) for url in urls]
    try:
        asked = {
            size: (store, await scenarios.questions_of(store, log.shape))
            for size, store, log in zip(("small", "large"), stores, built, strict=True)
        }
        seconds = await scenarios.questions_in_process(asked, rounds)
    finally:
        for store in stores:
            await store.close()
    return [
        Indexed(
            name,
            question,
            small.shape.days,
            small.shape.events,
            large.shape.events,
            times_of(taken["small"]),
            times_of(taken["large"]),
        )
        for question, taken in seconds.items()
    ]


def traces(bench: Bench) -> None:
    """Measure traces of 500 events in a large log, in this process, on both stores."""
    sizes, folder = bench.sizes, bench.fresh("traces")
    shape = Shape(events=sizes.trace_events, stories=sizes.trace_stories)
    built = build(STORES / f"{shape.events}-stories.db", shape)
    bench.run.traces += asyncio.run(_traced("SQLite", f"sqlite:///{built.path}", shape))
    limits = _postgres_limits(bench)
    if limits is not None:
        with limits.empty_log(folder) as url:
            asyncio.run(copy_to_postgres(Path(built.path), url))
            bench.run.traces += asyncio.run(_traced("PostgreSQL", url, shape))


async def _traced(name: str, url: str, shape: Shape) -> list[Traced]:
    store = create_store(url, serving=False)
    try:
        seconds = await scenarios.traces_in_process(store, shape, rounds=4)
    finally:
        await store.close()
    return [Traced(name, form, shape.events, times_of(taken)) for form, taken in seconds.items()]


def disks(bench: Bench) -> None:
    """Measure the bytes of the small log, and of the recorded loan log if it is available."""
    built = bench.built(bench.sizes.small_events, 180)
    label = f"workload, {built.shape.events:,} events over {built.shape.days} days"
    bench.run.disks.append(disk_of(Path(built.path), label, built.ndjson_bytes))
    try:
        events = loan_events(None if bench.run.mode == "full" else 20_000)
    except FileNotFoundError:
        bench.run.notes.append(f"The loan log was left out: {LOAN_LOG} names no file, and there is no sample.")
        return
    path = bench.fresh("loan") / "loan.db"
    asyncio.run(_fill(path, events))
    bench.run.disks.append(disk_of(path, f"loan applications, {len(events):,} events", len(ndjson(events))))


async def _fill(path: Path, events: list[NewEvent]) -> None:
    store = create_store(f"sqlite:///{path}")
    try:
        for some in batched(events):
            await store.append(TENANT, [Write(tuple(some))])
    finally:
        await store.close()


def _postgres_limits(bench: Bench) -> Any:
    """The module that measures PostgreSQL, or None, with a note, where no server is installed."""
    try:
        return importlib.import_module("bench.limits_postgres")
    except ModuleNotFoundError as error:
        note = f"PostgreSQL was left out: {error.name} is not installed."
        if note not in bench.run.notes:
            bench.run.notes.append(note)
        return None


def postgres(bench: Bench) -> None:
    """Measure PostgreSQL: ingest with its own raw, singles, pages, indexed queries, bytes, memory and start."""
    limits = _postgres_limits(bench)
    if limits is None:
        return
    sizes, folder = bench.sizes, bench.fresh("postgres")
    events = list(of_one_tenant(Shape(events=sizes.postgres_events)))
    batches = list(batched(events))
    trials = limits.trials_of(folder, batches)
    bench.run.rates["append, PostgreSQL"] = interleaved(sizes.rounds, trials, "events/s")

    def over_http(_: int) -> float:
        with limits.empty_log(folder) as url:
            return _ingest_whence(folder, events, url)

    bench.run.rates["ingest, PostgreSQL"] = interleaved(
        sizes.rounds, {"whence": over_http, "raw": trials["raw"]}, "events/s"
    )
    bench.run.disks.append(limits.disk_after(folder, batches, f"workload, {len(events):,} events, PostgreSQL"))
    built = bench.built(sizes.small_events, 180), bench.built(sizes.postgres_large_events, 180)
    with limits.empty_log(folder) as small, limits.empty_log(folder) as large:
        for log, url in zip(built, (small, large), strict=True):
            asyncio.run(copy_to_postgres(Path(log.path), url))
        bench.run.indexed += asyncio.run(_indexed("PostgreSQL", built, (small, large), sizes.question_rounds))
        began = time.monotonic()
        with whence(folder / "large", large) as own:
            ask(own, "GET", "/readyz")
            bench.run.start_s[f"a log of {sizes.postgres_large_events:,}, PostgreSQL"] = round(
                time.monotonic() - began, 3
            )
            _pages(bench, folder, own, "page, PostgreSQL", None)
            _singles(bench, folder, own, "post, PostgreSQL", sizes.singles // 4, peers=False)
            bench.run.memory_postgres = Memory(
                sizes.postgres_large_events, round(time.monotonic() - began), own.memory_mb()["highest"]
            )


def server(bench: Bench) -> None:
    """Measure the start, and the memory after load on the large log: every query, and batches."""
    sizes, folder = bench.sizes, bench.fresh("server")
    built = bench.built(sizes.large_events, sizes.spreads[0])
    shutil.copyfile(built.path, folder / "large.db")
    questions = asyncio.run(_questions(built))
    for label, name in (("an empty log", "empty.db"), (f"a log of {sizes.large_events:,}", "large.db")):
        with whence(folder / name) as running:
            began = time.monotonic()
            ask(running, "GET", "/readyz")
            bench.run.start_s[label] = round(running.start_s + time.monotonic() - began, 3)
            if name == "large.db":
                for question, result in scenarios.questions_over_http(folder, running, questions, sizes.asked).items():
                    bench.keep(f"query: {question}", "whence", [result])
                bench.run.memory = _soak(folder, running, questions, sizes)


async def _questions(built: Built) -> dict[str, list[scenarios.Question]]:
    store = create_store(f"sqlite:///{built.path}", serving=False)
    try:
        return await scenarios.questions_of(store, built.shape)
    finally:
        await store.close()


def _soak(folder: Path, running: Running, questions: dict[str, list[scenarios.Question]], sizes: Sizes) -> Memory:
    """Load the server for `soak_s` seconds. Returns the highest memory that its process ever had."""
    began = time.monotonic()
    paths = [question.path for some in questions.values() for question in some]
    left = batched(of_one_tenant(Shape(seed=3, events=100 * sizes.large_events)), 5_000)
    while time.monotonic() - began < sizes.soak_s:
        scenarios.ingest_batches(folder, running, scenarios.batch_requests(running.key, next(left)))
        scenarios.get_closed_loop(folder, running, paths, len(paths))
    return Memory(sizes.large_events, round(time.monotonic() - began), running.memory_mb()["highest"])


PARTS: dict[str, Callable[[Bench], None]] = {
    "ingest": ingest,
    "post": singles,
    "page": pages,
    "indexed": indexed,
    "trace": traces,
    "disk": disks,
    "peers": against.peers,
    "postgres": postgres,
    "server": server,
}


def measured(sizes: Sizes, mode: str, parts: list[str]) -> Run:
    """The result of running these parts."""
    run = new_run(mode, {name: value for name, value in msgspec.structs.asdict(sizes).items() if name != "spreads"})
    if run.machine.load_before > 0.5 * run.machine.cores:
        run.notes.append("The machine was not idle when this began; expect noise.")
    settle_memory()  # as a server does
    with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
        bench = Bench(run, sizes, Path(folder))
        for name in parts:
            began = time.monotonic()
            print(f"{name} …", file=sys.stderr, flush=True)
            PARTS[name](bench)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    run.machine = msgspec.structs.replace(run.machine, load_after=round(os.getloadavg()[0], 2))
    run.bars = bars_of(run)
    return run


def main() -> int:
    """Run what the command line says. Returns 1 when the check fails."""
    parser = argparse.ArgumentParser(description="Measure Whence against its limits and its peers.")
    parser.add_argument("--quick", action="store_true", help="small sizes; three minutes")
    parser.add_argument("--check", action="store_true", help="fail when a ratio fell by more than 15 %%")
    parser.add_argument("--only", default="", help=f"only these parts, of {', '.join(PARTS)}; writes nothing")
    parser.add_argument("--soak", type=int, help="seconds of load before memory is measured")
    arguments = parser.parse_args()
    sizes, mode = (QUICK, "quick") if arguments.quick else (FULL, "full")
    if arguments.soak is not None:
        sizes = msgspec.structs.replace(sizes, soak_s=arguments.soak)
    parts = arguments.only.split(",") if arguments.only else list(PARTS)
    unknown = set(parts) - set(PARTS)
    if unknown:
        parser.error(f"There is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.")
    run = measured(sizes, mode, parts)
    print(render(run))
    if arguments.check:
        earlier = last_of_machine(run)
        if earlier is None:
            print("There is no earlier result of this machine to check against; run make bench-quick first.")
            return 1
        worse = fallen(run, earlier)
        for sentence in worse:
            print(f"FELL  {sentence}")
        if worse:
            return 1
    if not arguments.only:
        print(f"Written to {save(run).relative_to(ROOT)}", file=sys.stderr)
        if mode == "full":
            PAGE.write_text(render(run), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
