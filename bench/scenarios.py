"""The measurements, as functions of a store in this process or of a running server."""

import asyncio
import os
import random
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from bench.build_store import TENANT
from bench.load import Job, Result, request, run_beside, run_load
from bench.servers import Running
from bench.workload import FORMS, STORY_EVENTS, Shape, batched, hot_resource, ndjson, story_id
from bench.wrk import has_wrk, run_wrk
from whence.catalog import CATALOG
from whence.events import Event, NewEvent, PageRequest, Query, Viewer
from whence.storage.base import Store, Write
from whence.trace import TraceRequest
from whence.wire.times import format_time

__all__ = [
    "PAGE_RATE",
    "Bodies",
    "Generator",
    "Question",
    "batch_requests",
    "closed_loop",
    "generator_of",
    "get_closed_loop",
    "ingest_batches",
    "ingest_in_process",
    "pages_beside_batches",
    "post_at_rate",
    "questions_in_process",
    "questions_of",
    "questions_over_http",
    "saturating_batches",
    "saturating_pages",
    "saturating_posts",
    "traces_in_process",
]

BATCH_CONNECTIONS = 4
SINGLE_CONNECTIONS = 64
PAGE_CONNECTIONS = 16
PAGE_RATE = 200.0
"""Pages per second beside batches: many more than people ask for, and few enough that they are not the load."""

_PAGE_PATH = "/api/v1/events?limit=20"
_VARIANTS = 12
_ENDLESS = 1 << 40

# ------------------------------------------------------------------------------------------------------- generators


class Generator(msgspec.Struct, frozen=True):
    """What sends the requests of a closed loop: wrk, or so many processes of `load.py`."""

    wrk: bool
    processes: int = 1

    @property
    def name(self) -> str:
        """What results call it."""
        if self.wrk:
            return "wrk"
        return "load.py" if self.processes == 1 else f"load.py, {self.processes} processes"


def generator_of(name: str = "auto", processors: int | None = None) -> Generator:
    """The load generator of this name: `wrk` or `load.py`. `auto` is wrk where it is installed.

    Two processes of `load.py` are used only if two processors are left for the server. Raises ValueError for another
    name, and for a wrk that is not installed.
    """
    if name not in ("auto", "wrk", "load.py") or (name == "wrk" and not has_wrk()):
        raise ValueError(
            f"{name} is not a load generator of this machine; there are auto, load.py, and wrk if installed."
        )
    if name != "load.py" and has_wrk():
        return Generator(wrk=True)
    return Generator(wrk=False, processes=2 if (processors or os.cpu_count() or 1) >= 4 else 1)


# ----------------------------------------------------------------------------------------------------------- ingest


class Bodies:
    """Bodies of requests that write events. Each time they are taken, the events have other ids, so they are new."""

    _IDS = re.compile(rb'("(?:id|causationId|correlationId)":"[^"]*)[^"]{6}"')

    def __init__(self, bodies: Iterable[bytes]) -> None:
        self._bodies = list(bodies)
        self._passes = count(1)

    def take(self, number: int = 0) -> Iterator[bytes]:
        """So many bodies; all of them once, if 0."""
        left = number or len(self._bodies)
        while left > 0:
            # Two numbers of a pass would be equal only after a million of them. wrk.lua uses those that begin with f.
            digits = rb"\g<1>%06x" % (next(self._passes) % 0xF00000) + b'"'
            for body in self._bodies[:left]:
                yield self._IDS.sub(digits, body)
            left -= len(self._bodies)


def batch_requests(key: str, events: Iterable[NewEvent], *, array: bool = False) -> list[bytes]:
    """POSTs of a thousand events each, as NDJSON or, for servers that do not accept that, as a JSON array."""
    requests = []
    for some in batched(events):
        body = ndjson(some)
        if array:
            body = b"[" + body.rstrip().replace(b"\n", b",") + b"]"
        media = "application/json" if array else "application/x-ndjson"
        requests.append(request("POST", "/api/v1/events/batch", key, body, media))
    return requests


def ingest_batches(running: Running, requests: Sequence[bytes]) -> Result:
    """Send batches of a thousand events over 4 connections."""
    return _load(running, requests, connections=BATCH_CONNECTIONS)


def saturating_batches(running: Running, bodies: Bodies) -> Result:
    """Send all these bodies, as NDJSON, over 4 connections."""
    return ingest_batches(running, _batches(running, bodies))


def _batches(running: Running, bodies: Bodies) -> list[bytes]:
    path, media = "/api/v1/events/batch", "application/x-ndjson"
    return [request("POST", path, running.key, body, media) for body in bodies.take()]


def saturating_posts(running: Running, bodies: Bodies, most: int, seconds: float, generator: Generator) -> Result:
    """Send one event per request over 64 connections, each sending the next as soon as it has a response.

    It should take `seconds` to send `most` requests or fewer.
    """
    requests = [request("POST", "/api/v1/events", running.key, body) for body in bodies.take(most)]
    return _saturate(running, requests, SINGLE_CONNECTIONS, seconds, generator)


def saturating_pages(running: Running, seconds: float, generator: Generator) -> Result:
    """Ask for pages of 20 over 16 connections, each sending the next request as soon as it has a response."""
    requests = [request("GET", _PAGE_PATH, running.key)]
    return _saturate(running, requests, PAGE_CONNECTIONS, seconds, generator)


def _saturate(
    running: Running, requests: Sequence[bytes], connections: int, seconds: float, generator: Generator
) -> Result:
    with _in_memory() as folder:
        if generator.wrk:
            return _good(run_wrk(folder / "requests", running.port, requests, connections, seconds))
        job = Job(
            port=running.port,
            requests=str(_written(folder, requests)),
            connections=connections,
            repeat=_ENDLESS if len(requests) == 1 else 1,
            seconds=seconds,
        )
        return _good(run_load(job, generator.processes))


def post_at_rate(running: Running, bodies: Bodies, rate: float, seconds: float) -> Result:
    """Send one event per request, at random times with this mean rate."""
    number = max(10, int(rate * seconds))
    requests = [request("POST", "/api/v1/events", running.key, body) for body in bodies.take(number)]
    return _load(running, requests, connections=SINGLE_CONNECTIONS, rate=rate, warm=number // 10)


def pages_beside_batches(running: Running, bodies: Bodies) -> tuple[Result, Result]:
    """Send batches of a thousand events over 4 connections, and ask for pages at a fixed rate until all are stored.

    Returns the result of the pages, and that of the batches.
    """
    with _in_memory() as folder, _in_memory() as other:
        batches = Job(
            port=running.port,
            requests=str(_written(folder, _batches(running, bodies))),
            connections=BATCH_CONNECTIONS,
        )
        pages = Job(
            port=running.port,
            requests=str(_written(other, [request("GET", _PAGE_PATH, running.key)])),
            connections=PAGE_CONNECTIONS,
            rate=PAGE_RATE,
            repeat=_ENDLESS,
            warm=10,
        )
        written, read = run_beside(batches, pages)
        return _good(read), _good(written)


def closed_loop(running: Running, method: str, path: str, body: bytes, count: int) -> Result:
    """Send the same request `count` times over 16 connections."""
    requests = [request(method, path, running.key, body)]
    return _load(running, requests, connections=PAGE_CONNECTIONS, repeat=count, warm=count // 10)


def get_closed_loop(running: Running, paths: Sequence[str], count: int, connections: int = 0) -> Result:
    """Send the same queries repeatedly, `count` in all."""
    requests = [request("GET", path, running.key) for path in paths]
    repeat = -(-count // len(requests))
    return _load(running, requests, connections=connections or PAGE_CONNECTIONS, repeat=repeat, warm=count // 10)


def _load(
    running: Running,
    requests: Sequence[bytes],
    *,
    connections: int,
    repeat: int = 1,
    rate: float = 0.0,
    warm: int = 0,
) -> Result:
    with _in_memory() as folder:
        file = str(_written(folder, requests))
        job = Job(port=running.port, requests=file, connections=connections, repeat=repeat, rate=rate, warm=warm)
        return _good(run_load(job))


@contextmanager
def _in_memory() -> Iterator[Path]:
    """A folder whose files are not written to the disk, so that no sync of a server waits for them."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="whence-bench-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def _written(folder: Path, requests: Sequence[bytes]) -> Path:
    file = folder / "requests.msgpack"
    file.write_bytes(msgspec.msgpack.encode(list(requests)))
    return file


def _good(result: Result) -> Result:
    if result.bad:
        raise RuntimeError(f"{result.bad} requests failed: {result.statuses}")
    return result


async def ingest_in_process(store: Store, batches: Sequence[Sequence[NewEvent]], writers: int = 4) -> float:
    """Events per second through the store's `append`, called by `writers` tasks at once."""
    left = iter(batches)

    async def write() -> None:
        for some in left:
            [outcome] = await store.append(TENANT, [Write(tuple(some))])
            if isinstance(outcome, Exception):
                raise outcome

    started = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    return sum(map(len, batches)) / (time.perf_counter() - started)


# -------------------------------------------------------------------------------------------------------- questions


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One query, for a store or a server. `page` is None for an aggregate; `actors` asks for actor statistics."""

    query: Query
    page: PageRequest | None = None
    actors: bool = False

    async def ask(self, store: Store) -> None:
        """Run the query on a store."""
        if self.page is not None:
            await store.list_events(Viewer(TENANT), self.query, self.page)
        elif self.actors:
            await store.actor_stats(Viewer(TENANT), self.query)
        else:
            await store.count_events(Viewer(TENANT), self.query)

    @property
    def path(self) -> str:
        """The path and query string of the same query."""
        query = self.query
        parameters: list[tuple[str, object]] = [
            *(("event_type", value) for value in query.event_types),
            *(("resource_type", value) for value in query.resource_types if not query.resource_ids),
            *(("actor_id", value) for value in query.actor_ids),
            *(("outcome", value) for value in query.outcomes),
            *((name, format_time(value)) for name, value in (("from", query.since), ("to", query.until)) if value),
        ]
        if self.page is None:
            route = "/stats/by-actor" if self.actors else "/aggregate"
        else:
            parameters += [("limit", self.page.limit), ("offset", self.page.offset)]
            route = ""
            if query.correlation_ids:
                route = f"/correlation/{quote(query.correlation_ids[0], safe='')}"
            elif query.resource_ids:
                route = f"/resource/{query.resource_types[0]}/{query.resource_ids[0]}"
        return f"/api/v1/events{route}" + (f"?{urlencode(parameters)}" if parameters else "")


async def questions_of(store: Store, shape: Shape, seed: int = 7) -> dict[str, list[Question]]:
    """The indexed queries, a dozen variants of each, about events that are in this store."""
    rng = random.Random(f"questions {seed}")
    twenty = PageRequest(limit=20)
    seen = [
        event
        for _ in range(_VARIANTS)
        for event in (
            await store.list_events(
                Viewer(TENANT), Query(), PageRequest(limit=3, offset=rng.randrange(shape.events - 3))
            )
        ).events
    ]

    def ranges() -> list[tuple[int, int]]:
        cuts = [sorted(rng.randrange(shape.since_us, shape.until_us) for _ in range(2)) for _ in range(_VARIANTS)]
        return [(since, until) for since, until in cuts]

    def pages(queries: Iterable[Query], place: PageRequest = twenty) -> list[Question]:
        return [Question(query=query, page=place) for query in queries]

    deep = PageRequest(limit=20, offset=shape.events // 10)
    types = [event.event_type for event in seen]
    hot = Query(resource_types=("automation",), resource_ids=(hot_resource(shape),))
    return {
        "page": pages([Query()] * _VARIANTS),
        "page in a range": pages(Query(since=since, until=until) for since, until in ranges()),
        "page of an event type": pages(Query(event_types=(name,)) for name in types),
        "page of an event type in a range": pages(
            Query(event_types=(name,), since=since, until=until)
            for name, (since, until) in zip(types, ranges(), strict=False)
        ),
        "page of a resource type and an outcome": pages(
            Query(resource_types=(event.resource_type,), outcomes=(CATALOG[event.event_type],)) for event in seen
        ),
        "page of an actor in a range": pages(
            Query(actor_ids=(event.actor_id,), since=since, until=until)
            for event, (since, until) in zip(seen, ranges(), strict=False)
        ),
        "aggregate": [Question(query=Query())] * _VARIANTS,
        "aggregate of a range": [Question(query=Query(since=since, until=until)) for since, until in ranges()],
        "by-actor": [Question(query=Query(), actors=True)] * _VARIANTS,
        "by-actor of a range": [
            Question(query=Query(since=since, until=until), actors=True) for since, until in ranges()
        ],
        "resource": pages(await _small_resources(store, seen)),
        "resource with 5 % of the log": pages([hot] * _VARIANTS),
        "correlation": [
            Question(query=Query(correlation_ids=(event.correlation_id,)), page=PageRequest(limit=20, ascending=True))
            for event in seen
        ],
        "offset of a tenth of the log": pages([Query()] * _VARIANTS, deep),
        "offset of a hundredth, of an event type": pages(
            (Query(event_types=(name,)) for name in types), PageRequest(limit=20, offset=shape.events // 100)
        ),
    }


async def _small_resources(store: Store, seen: Iterable[Event]) -> list[Query]:
    """Queries for resources with up to five events, whose pages are similar in logs of any size.

    Most resources have few events. But the larger a log, the more of its events belong to a resource that has many.
    """
    queries = [Query(resource_types=(event.resource_type,), resource_ids=(event.resource_id,)) for event in seen]
    totals = [(await store.list_events(Viewer(TENANT), query, PageRequest(limit=1))).total for query in queries]
    return [query for query, total in zip(queries, totals, strict=True) if total <= 5][:_VARIANTS]


async def questions_in_process(
    asked: Mapping[str, tuple[Store, Mapping[str, Sequence[Question]]]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """The seconds of each query on each store, one query at a time; the stores take turns."""
    names = list(next(iter(asked.values()))[1])
    seconds: dict[str, dict[str, list[float]]] = {name: {label: [] for label in asked} for name in names}
    for name in names:
        for number in range(-1, rounds):  # the first round only warms the caches
            for label, (store, questions) in asked.items():
                for question in questions[name]:
                    started = time.perf_counter()
                    await question.ask(store)
                    if number >= 0:
                        seconds[name][label].append(time.perf_counter() - started)
    return seconds


async def traces_in_process(store: Store, shape: Shape, rounds: int, seed: int = 7) -> dict[str, list[float]]:
    """The seconds of traces of `STORY_EVENTS` events, by the shape of the graph, from any of its events."""
    rng = random.Random(f"traces {seed}")
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for number in range(-1, rounds):  # the first round only warms the caches
        for form, taken in seconds.items():
            for story in range(shape.stories):
                event_id = story_id(shape, form, story, rng.randrange(STORY_EVENTS))
                started = time.perf_counter()
                graph = await store.trace(Viewer(TENANT), event_id, TraceRequest(limit=STORY_EVENTS))
                if number >= 0:
                    taken.append(time.perf_counter() - started)
                if graph is None or len(graph.nodes) != STORY_EVENTS:
                    raise RuntimeError(f"the {form} of {event_id} is incomplete")
    return seconds


def questions_over_http(running: Running, asked: Mapping[str, Sequence[Question]], count: int) -> dict[str, Result]:
    """Send the same queries over one connection."""
    return {
        name: get_closed_loop(running, [question.path for question in questions], count, connections=1)
        for name, questions in asked.items()
    }
