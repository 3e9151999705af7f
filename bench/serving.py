"""The parts that measure a server with single events and pages, beside its limits, a peer and an earlier commit."""

import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import scenarios
from bench.build_store import Built
from bench.load import Result
from bench.scenarios import Bodies
from bench.servers import Running, ask, fastapi_peer, static, whence
from bench.stage import Bench
from bench.static_app import Answer
from bench.workload import Shape, batched, ndjson, of_one_tenant

__all__ = ["AT_RATE", "BATCHES_BESIDE", "BESIDE", "RATE", "fill", "measure_pages", "measure_posts", "pages", "posts"]

RATE = 2_000.0
AT_RATE = f"post at {RATE:,.0f}/s"
BESIDE = "page beside batches"
BATCHES_BESIDE = "batches beside pages"

_WARM_S = 1.0
_SPARE = 1.5  # how many more requests are made than the first second of load was answered
_PAGE = "/api/v1/events?limit=20"


def posts(bench: Bench) -> None:
    """Measure single-event POST in a closed loop, with static, FastAPI and an earlier commit; then at fixed rates."""
    folder = bench.fresh("posts")
    with ExitStack() as running:
        servers = {"whence": running.enter_context(whence(folder / "whence.db"))}
        if bench.earlier is not None:
            servers["earlier"] = running.enter_context(bench.earlier.serving(folder / "earlier.db"))
        measure_posts(bench, servers, "post", peers=True)


def measure_posts(bench: Bench, servers: dict[str, Running], measure: str, *, peers: bool) -> None:
    """Measure single events on servers of Whence, on the limits, and on FastAPI if `peers` are wanted."""
    sizes, folder = bench.sizes, bench.fresh("limits")
    bodies = Bodies(ndjson([event]).rstrip() for event in of_one_tenant(Shape(seed=2, events=sizes.single_events)))
    own = servers["whence"]
    answer = ask(own, "POST", "/api/v1/events", next(bodies.take(1)))
    with ExitStack() as running:
        all_servers = servers | _beside(bench, folder, running, answer, peers=peers)

        def post(name: str, seconds: float, most: int) -> Result:
            return scenarios.saturating_posts(all_servers[name], bodies, most, seconds, bench.generator)

        first = {name: post(name, _WARM_S, sizes.single_events).rate for name in all_servers}
        bench.take_turns(
            measure,
            all_servers,
            lambda name: post(name, sizes.trial_s, max(100, int(first[name] * sizes.trial_s * _SPARE))),
        )
        if peers:
            _at_rate(bench, servers, bodies)
        loads = bench.run.loads[measure]
        for name in ("whence", "static", "fastapi"):
            if name in all_servers:
                # The limit gets the same load as Whence; the peer gets half of its own rate.
                rate = loads["fastapi" if name == "fastapi" else "whence"].rate / 2
                result = scenarios.post_at_rate(all_servers[name], bodies, rate, sizes.open_s)
                bench.keep(f"{measure} at half the rate", name, [result])


def _at_rate(bench: Bench, servers: dict[str, Running], bodies: Bodies) -> None:
    """Measure the response times of single events at a fixed rate. A server that is slower than that is left out."""
    loads, results = bench.run.loads["post"], dict[str, list[Result]]()
    for number in range(bench.sizes.open_rounds):
        for name, server in list(servers.items())[:: -1 if number % 2 else 1]:
            if name == "whence" or loads[name].rate > 1.1 * RATE:
                result = bench.again(
                    AT_RATE, name, partial(scenarios.post_at_rate, server, bodies, RATE, bench.sizes.open_s)
                )
                bench.say(f"{AT_RATE}, round {number + 1}: {name} p50 {result.p50_ms} ms, p99 {result.p99_ms} ms")
                results.setdefault(name, []).append(result)
    for name, some in results.items():
        bench.keep(AT_RATE, name, some, by=lambda result: result.p50_ms)


def _beside(bench: Bench, folder: Path, running: ExitStack, answer: Answer, *, peers: bool) -> dict[str, Running]:
    """The two limits that answer the same bytes from memory, and FastAPI."""
    servers = {
        name: running.enter_context(static(folder, {"POST": answer, "GET": answer}, kind))
        for name, kind in (("static", "bare"), ("routed", "routed"))
    }
    if peers and bench.has("fastapi_sqlalchemy"):
        servers["fastapi"] = running.enter_context(fastapi_peer(folder))
    return servers


def pages(bench: Bench) -> None:
    """Measure a page of 20, with static, FastAPI and an earlier commit; then beside batches."""
    folder = bench.fresh("pages")
    built = bench.built(bench.sizes.page_events, 180)
    shutil.copyfile(built.path, folder / "whence.db")
    with ExitStack() as running:
        servers = {"whence": running.enter_context(whence(folder / "whence.db"))}
        if bench.earlier is not None:
            servers["earlier"] = running.enter_context(bench.earlier.serving(folder / "earlier.db"))
            fill(servers["earlier"], built)
        measure_pages(bench, servers, "page", built)
        _beside_batches(bench, servers)


def measure_pages(bench: Bench, servers: dict[str, Running], measure: str, filled: Built | None) -> None:
    """Measure pages on servers of Whence, and beside them on the limits, and on FastAPI with the log `filled`."""
    folder = bench.fresh("limits")
    with ExitStack() as running:
        answer = ask(servers["whence"], "GET", _PAGE)
        all_servers = servers | _beside(bench, folder, running, answer, peers=filled is not None)
        if filled is not None and "fastapi" in all_servers:
            fill(all_servers["fastapi"], filled, array=True)

        def page(name: str, seconds: float) -> Result:
            return scenarios.saturating_pages(all_servers[name], seconds, bench.generator)

        for name in all_servers:
            page(name, _WARM_S)
        bench.take_turns(measure, all_servers, lambda name: page(name, bench.sizes.trial_s))


def fill(server: Running, built: Built, *, array: bool = False) -> None:
    """Send the events of a built store to a server."""
    for some in batched(of_one_tenant(built.shape), 10_000):
        scenarios.ingest_batches(server, scenarios.batch_requests(server.key, some, array=array))


def _beside_batches(bench: Bench, servers: dict[str, Running]) -> None:
    """Measure the response times of pages while batches are stored as fast as the server can."""
    events = of_one_tenant(Shape(seed=4, events=bench.sizes.beside_events))
    bodies = Bodies(ndjson(some) for some in batched(events))
    pages, batches = dict[str, list[Result]](), dict[str, list[Result]]()
    for number in range(bench.sizes.open_rounds):
        for name, server in list(servers.items())[:: -1 if number % 2 else 1]:
            read, written = bench.again(BESIDE, name, partial(scenarios.pages_beside_batches, server, bodies))
            bench.say(f"{BESIDE}, round {number + 1}: {name} p50 {read.p50_ms} ms, p99 {read.p99_ms} ms")
            pages.setdefault(name, []).append(read)
            batches.setdefault(name, []).append(written)
    for name in servers:
        bench.keep(BESIDE, name, pages[name], by=lambda result: result.p99_ms)
        bench.keep(BATCHES_BESIDE, name, batches[name])
