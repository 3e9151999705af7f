"""Measure each peer with the same events as Whence: the queries it can answer, its disk, memory and start.

The servers run at the same time and take turns with each query, on small and large logs, so that a busy minute of the
machine affects all of them. Before anything is timed, the totals of all responses are compared with those of Whence.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from bench import scenarios
from bench.build_store import Built
from bench.fill_peers import fastapi_filled, file_bytes, prefect_filled
from bench.load import Line, Result, request
from bench.measure import times_of
from bench.others import eventsourcing_recorded
from bench.result import Asked, Footprint
from bench.scenarios import Question
from bench.servers import Running, ask, fastapi_peer, prefect_peer, whence
from bench.stage import Bench
from bench.workload import Shape, of_one_tenant
from whence.events import PageRequest, Query
from whence.storage import create_store
from whence.wire.times import format_time

__all__ = ["BY_DAY", "PAGE_OF_EACH", "Call", "Log", "Turn", "asked", "call_of", "pages_of_each", "peers", "turns_of"]

BY_DAY = "events by day"
"""A query that only Prefect has a route for."""

PAGE_OF_EACH = "page, each peer"

_DAY_US = 86_400 * 1_000_000
_PAGE = Question(query=Query(), page=PageRequest(limit=20))
_FEWER_PAGES = {"whence": 1, "fastapi": 10, "prefect": 25}


class Call(msgspec.Struct, frozen=True):
    """A request to any of the servers."""

    method: str
    path: str
    body: bytes = b""


class Log(msgspec.Struct, frozen=True):
    """One log, the servers that have it, and the queries about it."""

    built: Built
    servers: dict[str, Running]
    files: dict[str, Path]
    starts: dict[str, float]
    questions: dict[str, list[Question]]


class Turn(msgspec.Struct, frozen=True):
    """One query, in all its variants, to one server."""

    who: str
    events: int
    running: Running
    calls: list[Call]


def peers(bench: Bench) -> None:
    """Measure the queries at two sizes, pages over 16 connections, files, starts and memory."""
    sizes, folder = bench.sizes, bench.fresh("peers")
    with ExitStack() as running:
        logs = bench.built(sizes.small_events, 180), bench.built(sizes.peer_large_events, 180)
        _fill(bench, *logs)
        small, large = (_log(bench, running, folder, log, prefect=log is logs[0]) for log in logs)
        for name in (*small.questions, BY_DAY):
            turns = [turn for log in (small, large) for turn in turns_of(log, name, sizes.peer_variants)]
            bench.run.asked += asked(name, turns, sizes.peer_question_rounds, sizes.peer_question_s)
            for turn in turns:
                turn.running.memory_mb()  # for the highest of all samples
        if sizes.peer_pages:
            pages_of_each(bench, small)
        bench.run.footprints += [footprint for log in (small, large) for footprint in _footprints(log)]
    if bench.has("eventsourcing"):
        bench.run.footprints.append(_recorded(folder, small.built))
    shutil.rmtree(folder)  # some gigabytes


def _fill(bench: Bench, small: Built, large: Built) -> None:
    """Fill the databases that do not exist yet, two at a time."""
    fills: list[tuple[Callable[[Shape], Path], Shape]] = []
    if bench.has("fastapi_sqlalchemy"):
        fills += [(fastapi_filled, large.shape), (fastapi_filled, small.shape)]
    if bench.has("prefect"):
        fills.insert(1, (prefect_filled, small.shape))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda fill: fill[0](fill[1]), fills))


def _log(bench: Bench, running: ExitStack, folder: Path, built: Built, *, prefect: bool) -> Log:
    """Start each server with its copy of the log, one after the other, and time it until its first response."""
    folder = folder / str(built.shape.events)
    folder.mkdir()
    servers: dict[str, Running] = {}
    files: dict[str, Path] = {}
    starts: dict[str, float] = {}

    def start(who: str, made: Path, name: str, server: Any, first: str) -> None:
        files[who] = made
        shutil.copyfile(made, folder / name)
        own = servers[who] = running.enter_context(server)
        began = time.monotonic()
        if ask(own, "GET", first).status != 200:
            raise RuntimeError(f"{who} does not answer.")
        starts[who] = round(own.start_s + time.monotonic() - began, 3)

    start("whence", Path(built.path), "whence.db", whence(folder / "whence.db"), "/readyz")
    if bench.has("fastapi_sqlalchemy"):
        page = "/api/v1/events?limit=1"
        start("fastapi", fastapi_filled(built.shape), "peer.db", fastapi_peer(folder), page)
    if prefect and bench.has("prefect"):
        start("prefect", prefect_filled(built.shape), "prefect.db", prefect_peer(folder), "/api/health")
    return Log(built, servers, files, starts, asyncio.run(_questions(built)))


async def _questions(built: Built) -> dict[str, list[Question]]:
    store = create_store(f"sqlite:///{built.path}", serving=False)
    try:
        return await scenarios.questions_of(store, built.shape)
    finally:
        await store.close()


# ------------------------------------------------------------------------------------------------------- questions


def call_of(who: str, question: Question, shape: Shape) -> Call | None:
    """The request for a query to one of the servers; None when it has no such query."""
    if who == "prefect":
        return _prefect_call(question, shape)
    if who == "fastapi" and question.query.outcomes:
        return None  # the contract has no such parameter
    return Call("GET", question.path)


def _prefect_call(question: Question, shape: Shape) -> Call | None:
    """Prefect filters events by time, name, resource and related resource, and counts them by name."""
    query, page = question.query, question.page
    if question.actors or query.correlation_ids or query.outcomes or (page is not None and page.offset):
        return None
    resources = [f"{kind}.{one}" for kind in query.resource_types for one in query.resource_ids]
    if query.resource_types and not resources:
        return None
    actors = [
        f"{name.partition('-')[0]}.{name}" for name in query.actor_ids
    ]  # in the workload the name contains the type
    since = shape.since_us - 30 * _DAY_US if query.since is None else query.since  # some events are late
    wanted = {
        "occurred": {"since": format_time(since), "until": format_time(query.until or shape.until_us)},
        **({"event": {"name": list(query.event_types)}} if query.event_types else {}),
        **({"resource": {"id": resources}} if resources else {}),
        **({"related": {"id": actors, "role": ["actor"]}} if actors else {}),
    }
    if page is None:
        return Call("POST", "/api/events/count-by/event", msgspec.json.encode({"filter": wanted}))
    return Call("POST", "/api/events/filter", msgspec.json.encode({"filter": wanted, "limit": page.limit}))


def _by_day(shape: Shape) -> Call:
    wanted = {"occurred": {"since": format_time(shape.since_us), "until": format_time(shape.until_us)}}
    return Call("POST", "/api/events/count-by/day", msgspec.json.encode({"filter": wanted}))


def turns_of(log: Log, name: str, variants: int) -> Iterator[Turn]:
    """The query to each server that can answer it. Raises RuntimeError when their totals differ."""
    shape, counted = log.built.shape, dict[str, list[int]]()
    for who, running in log.servers.items():
        if name == BY_DAY:
            calls = [_by_day(shape)] * variants if who == "prefect" else []
        else:
            found = (call_of(who, question, shape) for question in log.questions[name][:variants])
            calls = [call for call in found if call is not None]
        if not calls:
            continue
        counts = {call: _count(running, call) for call in dict.fromkeys(calls)}
        counted[who] = [counts[call] for call in calls]
        yield Turn(who, shape.events, running, calls)
    if len({tuple(counts) for counts in counted.values()}) > 1:
        raise RuntimeError(f"{name}: the totals of the servers differ: {counted}")


def _count(running: Running, call: Call) -> int:
    """The number of events in a response: the total of a page, or the sum of the counts."""
    answer = ask(running, call.method, call.path, call.body or None)
    if answer.status != 200:
        raise RuntimeError(f"A query failed: {answer.status} {answer.body[:500]!r}")
    body = msgspec.json.decode(answer.body)
    if isinstance(body, list):
        return sum(item["count"] for item in body)
    return int(body["total"]) if "total" in body else sum(actor["total"] for actor in body["actors"])


def asked(name: str, turns: Sequence[Turn], rounds: int, most_s: float) -> Iterator[Asked]:
    """Time each server, with the order alternating. A server that used up its time skips the remaining rounds."""
    seconds: list[list[float]] = [[] for _ in turns]
    for number in range(rounds):
        for turn, taken in list(zip(turns, seconds, strict=True))[:: -1 if number % 2 else 1]:
            if not number or sum(taken) < most_s:
                taken.extend(_turn(turn))
    for turn, taken in zip(turns, seconds, strict=True):
        yield Asked(name, turn.who, turn.events, times_of(taken))


def _turn(turn: Turn) -> list[float]:
    """Send every variant once, over a new connection, because servers close connections that are idle for too long."""
    key = turn.running.key
    with Line(turn.running.port) as line:
        line.ask(request("GET", "/nothing", key), b"404")  # opens the connection
        return [line.ask(request(call.method, call.path, key, call.body)) for call in turn.calls]


def pages_of_each(bench: Bench, log: Log) -> None:
    """Measure pages of 20 over 16 connections, in turns."""

    def page(who: str) -> Result:
        call = call_of(who, _PAGE, log.built.shape)
        assert call is not None
        number = bench.sizes.peer_pages // _FEWER_PAGES[who]
        return scenarios.closed_loop(log.servers[who], call.method, call.path, call.body, number)

    bench.take_turns(PAGE_OF_EACH, log.servers, page)


# ---------------------------------------------------------------------------------------------------------- weight


def _footprints(log: Log) -> Iterator[Footprint]:
    for who, running in log.servers.items():
        yield Footprint(
            who,
            log.built.shape.events,
            log.files[who].stat().st_size,
            log.built.ndjson_bytes,
            log.starts[who],
            round(running.memory_mb()["highest"], 1),
        )


def _recorded(folder: Path, built: Built) -> Footprint:
    """The footprint of the eventsourcing library, which has no server."""
    eventsourcing_recorded(folder, of_one_tenant(built.shape))
    return Footprint("eventsourcing", built.shape.events, file_bytes(folder / "eventsourcing.db"), built.ndjson_bytes)
