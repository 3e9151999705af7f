"""Measure everything, write the result, and compare it with the targets.

python -m bench.run                 everything, in an hour and a half; writes results/ and docs/performance.md
python -m bench.run --quick         the same at small sizes, in some minutes; writes only results/
python -m bench.run --quick --check fails when a ratio fell by more than 15 % since the last result of this machine
python -m bench.run --quick --only post,page     measures some parts and writes nothing
python -m bench.run --only post,page --keep      puts them into the last result of this machine, and writes as above
python -m bench.run --earlier FOLDER             the source in FOLDER, of another commit, is measured beside this one
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from bench import against, scenarios
from bench.bars import bars_of, fallen
from bench.build_store import TENANT, Built, build
from bench.copy_store import copy_to_postgres
from bench.earlier import Earlier, checkout
from bench.indexed import indexed
from bench.limits import disk_of, final_rows, raw_insert
from bench.measure import interleaved, times_of
from bench.merge import merged
from bench.others import eventsourcing_recorded, prefect_persisted
from bench.postgres_parts import limits_of_postgres, postgres, postgres_large
from bench.report import PAGE, render
from bench.result import Measured, Memory, Run, Traced, last_anywhere, last_of_machine, new_run, save
from bench.scaling import scaling
from bench.scenarios import Bodies, Generator, generator_of
from bench.servers import Running, ask, fastapi_peer, whence
from bench.serving import pages, posts
from bench.stage import FULL, QUICK, STORES, Bench, Sizes
from bench.workload import LOAN_LOG, Shape, batched, loan_events, ndjson, of_one_tenant
from whence.api.server import settle_memory
from whence.events import NewEvent
from whence.storage import create_store
from whence.storage.base import Write

ROOT = Path(__file__).parents[1]


def ingest(bench: Bench) -> None:
    """Measure batches over HTTP with raw, an earlier commit, FastAPI and Prefect."""
    sizes, earlier = bench.sizes, bench.earlier
    events = list(of_one_tenant(Shape(events=sizes.ingest_events)))
    bodies = Bodies(ndjson(some) for some in batched(events))

    def sent(server: AbstractContextManager[Running]) -> float:
        with server as running:
            result = scenarios.saturating_batches(running, bodies)
            return len(events) / result.answered * result.rate

    def trial(name: str, work: Callable[[Path], float]) -> Callable[[int], float]:
        return lambda _: _scrapped(bench, name, work)

    first = bench.fresh("ingest")
    sent(whence(first / "whence.db"))
    rows = final_rows(first / "whence.db")
    trials = {
        "whence": trial("ingest", lambda folder: sent(whence(folder / "whence.db"))),
        "raw": trial("raw", lambda folder: raw_insert(folder / "raw.db", rows)),
    }
    if earlier is not None:
        trials["earlier"] = trial("earlier", lambda folder: sent(earlier.serving(folder / "earlier.db")))
    if bench.has("fastapi_sqlalchemy"):
        trials["fastapi"] = trial("fastapi", lambda folder: _ingest_fastapi(folder, events[: sizes.peer_events]))
    if bench.has("prefect"):
        trials["prefect"] = trial("prefect", lambda folder: prefect_persisted(folder, events[: sizes.prefect_events]))
    bench.run.rates["ingest"] = interleaved(sizes.rounds, trials, "events/s", bench.say)


def append(bench: Bench) -> None:
    """Measure append alone, in this process, with raw and eventsourcing."""
    sizes = bench.sizes
    events = list(of_one_tenant(Shape(events=sizes.ingest_events)))
    first = bench.fresh("append")
    asyncio.run(_append(first, events))
    rows = final_rows(first / "whence.db")
    trials: dict[str, Callable[[int], float]] = {
        "whence": lambda _: _scrapped(bench, "append", lambda folder: asyncio.run(_append(folder, events))),
        "raw": lambda _: _scrapped(bench, "raw", lambda folder: raw_insert(folder / "raw.db", rows)),
    }
    if bench.has("eventsourcing"):
        trials["eventsourcing"] = lambda _: _scrapped(
            bench, "eventsourcing", lambda folder: eventsourcing_recorded(folder, events)
        )
    bench.run.rates["append"] = interleaved(sizes.rounds, trials, "events/s", bench.say)


def _scrapped(bench: Bench, name: str, work: Callable[[Path], float]) -> float:
    """Do the work in a folder that is removed afterwards, and sync, so that its writes do not slow the next trial."""
    folder = bench.fresh(name)
    try:
        return work(folder)
    finally:
        shutil.rmtree(folder)
        os.sync()


def _ingest_fastapi(folder: Path, events: list[NewEvent]) -> float:
    with fastapi_peer(folder) as running:
        requests = scenarios.batch_requests(running.key, events, array=True)
        return scenarios.ingest_batches(running, requests).rate * len(events) / len(requests)


async def _append(folder: Path, events: list[NewEvent]) -> float:
    store = create_store(f"sqlite:///{folder}/whence.db")
    try:
        return await scenarios.ingest_in_process(store, list(batched(events)))
    finally:
        await store.close()


def traces(bench: Bench) -> None:
    """Measure traces of 500 events in a large log, in this process, on both stores."""
    sizes, folder = bench.sizes, bench.fresh("traces")
    shape = Shape(events=sizes.trace_events, stories=sizes.trace_stories)
    built = build(STORES / f"{shape.events}-stories.db", shape)
    bench.run.traces += asyncio.run(_traced("SQLite", f"sqlite:///{built.path}", shape))
    limits = limits_of_postgres(bench)
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
                for question, result in scenarios.questions_over_http(running, questions, sizes.asked).items():
                    bench.keep(f"query: {question}", "whence", [result])
                bench.run.memory = _soak(running, questions, sizes)
    if bench.run.memory is not None and bench.run.memory.acceptors > 1:
        with whence(folder / "large.db", processes=1) as running:
            bench.run.memory_one = _soak(running, questions, sizes)
    else:
        bench.run.memory_one = bench.run.memory


async def _questions(built: Built) -> dict[str, list[scenarios.Question]]:
    store = create_store(f"sqlite:///{built.path}", serving=False)
    try:
        return await scenarios.questions_of(store, built.shape)
    finally:
        await store.close()


def _soak(running: Running, questions: dict[str, list[scenarios.Question]], sizes: Sizes) -> Memory:
    """Load the server for `soak_s` seconds. Returns the highest memory that its processes had after a load."""
    began = time.monotonic()
    paths = [question.path for some in questions.values() for question in some]
    left = batched(of_one_tenant(Shape(seed=3, events=100 * sizes.large_events)), 5_000)
    running.memory_mb()
    while time.monotonic() - began < sizes.soak_s:
        scenarios.ingest_batches(running, scenarios.batch_requests(running.key, next(left)))
        running.memory_mb()
        scenarios.get_closed_loop(running, paths, len(paths))
        running.memory_mb()
    taken = round(time.monotonic() - began)
    return Memory(sizes.large_events, taken, max(running.samples), running.acceptors, "PSS")


PARTS: dict[str, Callable[[Bench], None]] = {
    "ingest": ingest,
    "append": append,
    "post": posts,
    "page": pages,
    "scaling": scaling,
    "indexed": indexed,
    "trace": traces,
    "disk": disks,
    "peers": against.peers,
    "postgres": postgres,
    "postgres-large": postgres_large,
    "server": server,
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure, and how."""

    sizes: Sizes
    mode: str
    parts: list[str]
    generator: Generator
    earlier: Earlier | None = None


def measured(plan: Plan, keep: Callable[[Run], None], acceptors: int) -> Run:
    """The result of running these parts, in their order. `keep` is called with the result so far after each of them.
    `acceptors` is how many processes of a server answer requests by default.

    A part that fails is left out, with a note, so that it takes nothing else with it.
    """
    run = new_run(
        plan.mode, {name: size for name, size in msgspec.structs.asdict(plan.sizes).items() if name != "spreads"}
    )
    with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
        for name in plan.parts:
            own = Path(folder) / name
            own.mkdir()
            try:
                run = merged(run, _part(plan, name, run, own, acceptors))
            except Exception:
                traceback.print_exc()
                run.notes.append(f"The part {name} failed on {run.date}.")
            run.machine = msgspec.structs.replace(run.machine, load_after=round(os.getloadavg()[0], 2))
            keep(run)
            shutil.rmtree(own, ignore_errors=True)
    run.bars = bars_of(run)
    return run


def _part(plan: Plan, name: str, run: Run, folder: Path, acceptors: int) -> Run:
    """A result of one part alone."""
    part = new_run(plan.mode, run.sizes)
    part.date, part.machine = run.date, run.machine
    load_before, began = round(os.getloadavg()[0], 2), time.monotonic()
    print(f"{name} …", file=sys.stderr, flush=True)
    PARTS[name](Bench(part, plan.sizes, folder, plan.generator, plan.earlier))
    seconds = time.monotonic() - began
    print(f"{name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    part.parts[name] = Measured(
        date=run.date,
        commit=part.commit,
        load_before=load_before,
        load_after=round(os.getloadavg()[0], 2),
        seconds=round(seconds, 1),
        acceptors=acceptors,
        generator=plan.generator.name,
        earlier=plan.earlier.name if plan.earlier is not None else "",
    )
    return part


def main() -> int:
    """Run what the command line says. Returns 1 when a part or the check fails."""
    arguments, plan = _arguments()
    now = new_run(plan.mode, {})
    last = last_of_machine(now)
    base = last or last_anywhere(now)
    kept: list[Path] = []

    def keep(run: Run) -> None:
        kept.append(_kept(run, base if arguments.only else None))

    settle_memory()  # as a server does
    writes = arguments.keep or not arguments.only
    run = measured(plan, keep if writes else lambda _: None, _default_acceptors())
    print(render(run))
    if kept:
        print(f"Written to {kept[-1].relative_to(ROOT)}", file=sys.stderr)
    failed = [name for name in plan.parts if name not in run.parts]
    if failed:
        print(f"FAILED  {', '.join(failed)}", file=sys.stderr)
    if arguments.check and last is None:
        print("There is no earlier result of this machine to check against; run make bench-quick first.")
        return 1
    worse = fallen(run, last) if arguments.check and last is not None else []
    for sentence in worse:
        print(f"FELL  {sentence}")
    return 1 if failed or worse else 0


def _default_acceptors() -> int:
    """How many processes of a server answer requests if nothing is set."""
    with tempfile.TemporaryDirectory() as folder, whence(Path(folder) / "whence.db") as running:
        return running.acceptors


def _kept(run: Run, base: Run | None) -> Path:
    """Write the result, put into that of all parts, and the page if it is a full one."""
    whole = merged(base, run) if base is not None else run
    whole.bars = bars_of(whole)
    if whole.mode == "full":
        PAGE.write_text(render(whole), encoding="utf-8")
    return save(whole)


def _arguments() -> tuple[argparse.Namespace, Plan]:
    parser = argparse.ArgumentParser(description="Measure Whence against its limits and its peers.")
    parser.add_argument("--quick", action="store_true", help="small sizes; some minutes")
    parser.add_argument("--check", action="store_true", help="fail when a ratio fell by more than 15 %%")
    parser.add_argument("--only", default="", help=f"only these parts, of {', '.join(PARTS)}; writes nothing")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="put --only into the last result of this machine, or if there is none, into the last one of all",
    )
    parser.add_argument("--earlier", type=Path, help="a checkout of another commit, to measure beside this one")
    parser.add_argument("--generator", default="auto", help="wrk or load.py; by default wrk where it is installed")
    parser.add_argument("--soak", type=int, help="seconds of load before memory is measured")
    arguments = parser.parse_args()
    sizes, mode = (QUICK, "quick") if arguments.quick else (FULL, "full")
    if arguments.soak is not None:
        sizes = msgspec.structs.replace(sizes, soak_s=arguments.soak)
    parts = arguments.only.split(",") if arguments.only else list(PARTS)
    unknown = set(parts) - set(PARTS)
    if unknown:
        parser.error(f"There is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.")
    try:
        generator = generator_of(arguments.generator)
        earlier = checkout(arguments.earlier) if arguments.earlier is not None else None
    except ValueError as error:
        parser.error(str(error))
    return arguments, Plan(sizes=sizes, mode=mode, parts=parts, generator=generator, earlier=earlier)


if __name__ == "__main__":
    sys.exit(main())
