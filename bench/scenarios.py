"""The measurements, as functions of a store in this process or of a running server."""

import asyncio
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from bench.build_store import TENANT
from bench.load import Job, Result, request, run_load
from bench.servers import Running
from bench.workload import FORMS, STORY_EVENTS, Shape, batched, hot_resource, ndjson, story_id
from whence.catalog import CATALOG
from whence.events import Event, NewEvent, PageRequest, Query, Viewer
from whence.storage.base import Store, Write
from whence.trace import TraceRequest
from whence.wire.times import format_time

__all__ = [
    "Question",
    "batch_requests",
    "closed_loop",
    "get_closed_loop",
    "ingest_batches",
    "ingest_in_process",
    "post_closed_loop",
    "post_open_loop",
    "questions_in_process",
    "questions_of",
    "questions_over_http",
    "single_requests",
    "traces_in_process",
]

BATCH_CONNECTIONS = 4
SINGLE_CONNECTIONS = 64
PAGE_CONNECTIONS = 16
_VARIANTS = 12

# ----------------------------------------------------------------------------------------------------------- ingest


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


def single_requests(key: str, events: Iterable[NewEvent]) -> list[bytes]:
    """POSTs of one event each."""
    return [request("POST", "/api/v1/events", key, ndjson([event]).rstrip()) for event in events]


def ingest_batches(folder: Path, running: Running, requests: Sequence[bytes]) -> Result:
    """Send batches of a thousand events over 4 connections."""
    return _load(folder, running, requests, connections=BATCH_CONNECTIONS)


def post_closed_loop(folder: Path, running: Running, requests: Sequence[bytes]) -> Result:
    """Send one event per request over 64 connections, each sending the next as soon as it has a response."""
    return _load(folder, running, requests, connections=SINGLE_CONNECTIONS, warm=min(200, len(requests) // 10))


def post_open_loop(folder: Path, running: Running, requests: Sequence[bytes], rate: float) -> Result:
    """Send one event per request, at random times with this mean rate."""
    return _load(
        folder, running, requests, connections=SINGLE_CONNECTIONS, rate=rate, warm=min(100, len(requests) // 10)
    )


def closed_loop(folder: Path, running: Running, method: str, path: str, body: bytes, count: int) -> Result:
    """Send the same request `count` times over 16 connections."""
    requests = [request(method, path, running.key, body)]
    return _load(folder, running, requests, connections=PAGE_CONNECTIONS, repeat=count, warm=count // 10)


def get_closed_loop(folder: Path, running: Running, paths: Sequence[str], count: int, connections: int = 0) -> Result:
    """Send the same queries repeatedly, `count` in all."""
    requests = [request("GET", path, running.key) for path in paths]
    repeat = -(-count // len(requests))
    return _load(
        folder, running, requests, connections=connections or PAGE_CONNECTIONS, repeat=repeat, warm=count // 10
    )


def _load(
    folder: Path,
    running: Running,
    requests: Sequence[bytes],
    *,
    connections: int,
    repeat: int = 1,
    rate: float = 0.0,
    warm: int = 0,
) -> Result:
    file = folder / "requests.msgpack"
    file.write_bytes(msgspec.msgpack.encode(list(requests)))
    job = Job(port=running.port, requests=str(file), connections=connections, repeat=repeat, rate=rate, warm=warm)
    result = run_load(job)
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


def questions_over_http(
    folder: Path, running: Running, asked: Mapping[str, Sequence[Question]], count: int
) -> dict[str, Result]:
    """Send the same queries over one connection."""
    return {
        name: get_closed_loop(folder, running, [question.path for question in questions], count, connections=1)
        for name, questions in asked.items()
    }
