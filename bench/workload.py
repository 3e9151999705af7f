"""The events to measure with: a realistic log made from a seed, or the recorded loan log.

Few tenants, actors and resources have most of the events (Zipf distributions). Each actor has one type and up to two
dozen event types. Events belong to flows: a root, then steps, each caused by the previous or a slightly earlier one.
Most flows are short, and a few have hundreds of steps. Days have busy hours, and two in a hundred events are late.
One resource has a twentieth of the log. Payloads have 100 bytes to 20 kB, with a median of 300.

The same shape always gives the same events.
"""

import gzip
import math
import os
import random
from bisect import bisect
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import msgspec

from whence.catalog import CATALOG
from whence.events import NewEvent, ResourceType, Vocabulary
from whence.wire.event import IngestContext, parse_new_event
from whence.wire.fields import RESERVED_PREFIX
from whence.wire.times import format_time

__all__ = [
    "FORMS",
    "LOAN_LOG",
    "STORY_EVENTS",
    "Shape",
    "batched",
    "events",
    "hot_resource",
    "loan_events",
    "ndjson",
    "of_one_tenant",
    "story_id",
]

ROOT = Path(__file__).parents[1]
LOAN_LOG = "WHENCE_LOAN_LOG"
"""The variable with the path of the loan log, which is NDJSON, plain or gzipped."""

_LOAN_SAMPLE = ROOT / "tests" / "data" / "loan-applications-sample.ndjson.gz"

_DAY_US = 86_400 * 1_000_000
_BLOCK = 4_096
_OPEN_FLOWS = 64
_PAYLOADS = 2_048
_REPERTOIRE = 24
_PAYLOAD_MIN, _PAYLOAD_MAX = 100, 20_000
_LATE_MEAN_US = 6 * 3_600 * 1_000_000
_ELSEWHERE = {"model": "action_run", "tool": "action_run", "schedule": "automation", "trigger": "automation"}
_DOERS = ("agent", "automation", "user", "service", "system")
# fmt: off
_WORDS = [
    "order", "refund", "flight", "seat", "claim", "invoice", "customer", "agent", "tool", "retry", "limit", "policy",
    "approve", "decline", "review", "amount", "address", "booking", "cabin", "passenger", "payment", "card",
    "balance", "transfer", "schedule", "report", "summary", "draft", "model", "prompt", "answer", "naïve", "façade",
    "東京", "Zürich",
]
# fmt: on


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a workload. It spans `days` days (5 is dense, 180 sparse), and ends at `until_us`.

    `stories` is the number of flows of `STORY_EVENTS` events to add for each of `FORMS`.
    """

    seed: int = 1
    events: int = 100_000
    tenants: int = 1
    days: int = 180
    actors: int = 3_000
    resources: int = 20_000
    hot_share: float = 0.05
    late_share: float = 0.02
    payload_median: int = 300
    until_us: int = 1_782_864_000_000_000  # 2026-07-01T00:00:00Z
    stories: int = 0

    @property
    def since_us(self) -> int:
        """When the workload begins; late events may be earlier."""
        return self.until_us - self.days * _DAY_US


Dealt = tuple[str, NewEvent]
"""A tenant and one of its events."""


def events(shape: Shape) -> Iterator[Dealt]:
    """The events of a shape, in the order of sending."""
    return _Maker(shape).run()


def of_one_tenant(shape: Shape) -> Iterator[NewEvent]:
    """The events of a shape that has one tenant."""
    usual = (event for _, event in events(shape))
    return _strewn(shape, usual) if shape.stories else usual


STORY_EVENTS = 500
FORMS = ("chain", "tree", "star", "run")
"""Shapes of graphs, by the cause of an event. Chain: the previous event. Tree: the event with half its number. Star:
the root. Run, as agents work: for a step the previous step, for each of its nine calls the step."""


def story_id(shape: Shape, form: str, story: int, number: int) -> str:
    """The id of an event of an added flow; number 0 is its root."""
    return _uuid(random.Random(f"story {shape.seed} {form} {story} {number}").getrandbits(128))


def _cause_in(form: str, number: int) -> int:
    if form == "chain":
        return number - 1
    if form == "tree":
        return (number - 1) // 2
    if form == "star":
        return 0
    return (number - 1) // 10 * 10 if number % 10 else number - 10


def _strewn(shape: Shape, usual: Iterator[NewEvent]) -> Iterator[NewEvent]:
    """The usual events with the added flows among them. A flow begins at a random event, and its events are at most 20
    apart.
    """
    rng = random.Random(f"stories {shape.seed}")
    places = []
    for form in FORMS:
        for story in range(shape.stories):
            at = rng.randrange(max(1, shape.events - 10 * STORY_EVENTS))
            for number in range(STORY_EVENTS):
                places.append((at, form, story, number))
                at = min(at + rng.randrange(20), shape.events - 1)
    places.sort(key=lambda place: (place[0], place[3]), reverse=True)
    for at, event in enumerate(usual):
        yield event
        while places and places[-1][0] == at:
            _, form, story, number = places.pop()
            cause = None if number == 0 else story_id(shape, form, story, _cause_in(form, number))
            yield msgspec.structs.replace(
                event,
                id=story_id(shape, form, story, number),
                correlation_id=f"story {form} {story}",
                causation_id=cause,
            )


def batched(source: Iterable[NewEvent], size: int = 1_000) -> Iterator[list[NewEvent]]:
    """The events in lists of `size`; the last may be shorter."""
    left = iter(source)
    return iter(lambda: list(islice(left, size)), [])


def hot_resource(shape: Shape) -> str:
    """The id of the automation that has `hot_share` of the log."""
    return _uuid(random.Random(f"hot {shape.seed}").getrandbits(128))


def ndjson(source: Iterable[NewEvent]) -> bytes:
    """The events as a client would send them, one per line."""
    return b"".join(_line(event) for event in source)


def loan_events(limit: int | None = None) -> list[NewEvent]:
    """The recorded loan log: the file that WHENCE_LOAN_LOG names, else the sample of the tests.

    Raises FileNotFoundError when neither exists.
    """
    named = os.environ.get(LOAN_LOG)
    path = Path(named) if named else _LOAN_SAMPLE
    opened: Any = gzip.open if path.suffix == ".gz" else partial(Path.open, buffering=1 << 20)
    context = IngestContext(tenant="bench", vocabulary=Vocabulary(), now=1 << 62)
    with opened(path, mode="rb") as lines:
        return [parse_new_event(line, context) for line in islice(lines, limit)]


class _Flow:
    """One flow that is under way."""

    __slots__ = ("actor", "correlation_id", "left", "recent", "resource", "tenant")

    def __init__(self, tenant: str, correlation_id: str, actor: int, resource: str, steps: int) -> None:
        self.tenant = tenant
        self.correlation_id = correlation_id
        self.actor = actor
        self.resource = resource
        self.left = steps
        self.recent: list[str] = []


class _Maker:
    """Makes the events of one shape. Every choice comes from one generator, in one order."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.rng = rng = random.Random(f"workload {shape.seed}")
        self.hot = hot_resource(shape)
        self.tenants = ["bench"] if shape.tenants == 1 else [f"tenant-{number:03d}" for number in range(shape.tenants)]
        self.tenant_weights = _zipf(shape.tenants, 1.2)
        self.actors = [f"{_DOERS[number % len(_DOERS)]}-{number:05d}" for number in range(shape.actors)]
        self.actor_weights = _zipf(shape.actors, 1.05)
        self.resources = [_uuid(rng.getrandbits(128)) for _ in range(shape.resources)]
        self.resource_weights = _zipf(shape.resources, 0.9)
        self.repertoires = _repertoires(rng, shape.actors)
        self.payloads = [_payload(rng, shape.payload_median) for _ in range(_PAYLOADS)]

    def run(self) -> Iterator[Dealt]:
        rng, shape = self.rng, self.shape
        flows = [self._flow() for _ in range(_OPEN_FLOWS)]
        for at in range(0, shape.events, _BLOCK):
            count = min(_BLOCK, shape.events - at)
            known = rng.choices(self.resources, cum_weights=self.resource_weights, k=count)
            payloads = rng.choices(self.payloads, k=count)
            for number in range(count):
                place = int(rng.random() * _OPEN_FLOWS)
                flow = flows[place]
                yield flow.tenant, self._event(at + number, flow, known[number], payloads[number])
                flow.left -= 1
                if not flow.left:
                    flows[place] = self._flow()

    def _flow(self) -> _Flow:
        """A new flow. One in two hundred has 50 to 500 steps, the others 7 on average."""
        rng = self.rng
        tenant = self.tenants[bisect(self.tenant_weights, rng.random())]
        actor = bisect(self.actor_weights, rng.random())
        number = rng.getrandbits(128)
        correlation_id = _uuid(number) if number & 1 else f"run-{number >> 64:016x}"
        steps = rng.randrange(50, 501) if rng.random() < 0.005 else 1 + int(rng.expovariate(1 / 6.5))
        return _Flow(tenant, correlation_id, actor, _uuid(rng.getrandbits(128)), steps)

    def _event(self, number: int, flow: _Flow, known: str, payload: bytes) -> NewEvent:
        rng = self.rng
        sent_us = self._clock(number)
        chance = rng.random()
        actor = flow.actor if chance < 0.8 else bisect(self.actor_weights, rng.random())
        repertoire = self.repertoires[actor]
        event_type, resource_type = repertoire[int(rng.random() ** 2 * len(repertoire))]
        resource_id = known
        if chance < self.shape.hot_share:
            event_type, resource_type, resource_id = "automation.triggered", "automation", self.hot
        elif chance < 0.5:
            resource_id = flow.resource
        occurred_us = sent_us
        if rng.random() < self.shape.late_share:
            occurred_us -= int(rng.expovariate(1 / _LATE_MEAN_US)) + 1
        event_id = _uuid7(sent_us // 1_000, rng.getrandbits(74))
        cause = None
        if flow.recent:
            back = 1 if chance < 0.7 else 1 + int(rng.random() * len(flow.recent))
            cause = flow.recent[-back]
        flow.recent = [*flow.recent[-7:], event_id]
        return NewEvent(
            id=event_id,
            event_type=event_type,
            actor_type=_DOERS[actor % len(_DOERS)],
            actor_id=self.actors[actor],
            resource_type=resource_type,
            resource_id=resource_id,
            occurred_at=occurred_us,
            payload=b'{"seq":%d,%b' % (number, payload),
            correlation_id=flow.correlation_id,
            causation_id=cause,
        )

    def _clock(self, number: int) -> int:
        """When the event with this number is sent: evenly over the days, and eight in ten within ten hours of a day."""
        day, share = divmod((number + self.rng.random()) * self.shape.days / self.shape.events, 1.0)
        if share < 0.1:
            of_day = share / 0.1 * 7 / 24
        elif share < 0.9:
            of_day = (7 + (share - 0.1) / 0.8 * 10) / 24
        else:
            of_day = (17 + (share - 0.9) / 0.1 * 7) / 24
        return self.shape.since_us + int((day + of_day) * _DAY_US)


def _repertoires(rng: random.Random, actors: int) -> list[list[tuple[str, str]]]:
    """The pairs of event and resource type of each actor, up to two dozen. Some types are common among actors, some are
    not; failures are rare.
    """
    known = {str(name) for name in ResourceType}
    usual: dict[str, list[str]] = {doer: [] for doer in _DOERS}
    for name in sorted(name for name in CATALOG if not name.startswith(RESERVED_PREFIX)):
        for doer in rng.sample(_DOERS, 2):
            usual[doer].append(name)
    pairs: dict[str, list[tuple[str, str]]] = {}
    weights: dict[str, list[float]] = {}
    for doer, types in usual.items():
        rng.shuffle(types)
        types.sort(key=lambda name: CATALOG[name] == "failure")
        nouns = [(name, name.partition(".")[0]) for name in types]
        pairs[doer] = [(name, noun if noun in known else _ELSEWHERE[noun]) for name, noun in nouns]
        weights[doer] = _zipf(len(types), 1.0)
    doers = [_DOERS[number % len(_DOERS)] for number in range(actors)]
    return [list(dict.fromkeys(rng.choices(pairs[doer], cum_weights=weights[doer], k=_REPERTOIRE))) for doer in doers]


def _payload(rng: random.Random, median: int) -> bytes:
    """The rest of a compact JSON object after its first member: typical fields of runs and tools, then text."""
    size = min(max(int(rng.lognormvariate(math.log(median), 1.2)), _PAYLOAD_MIN), _PAYLOAD_MAX)
    body: dict[str, Any] = {
        "attempt": rng.randrange(1, 4),
        "latencyMs": round(rng.expovariate(1 / 800), 1),
        "ok": rng.random() < 0.9,
        "text": "",
    }
    bare = len(msgspec.json.encode(body))
    words: list[str] = []
    length = 0
    while length < size - bare:
        words.append(rng.choice(_WORDS))
        length += len(words[-1].encode()) + 1
    return msgspec.json.encode(body | {"text": " ".join(words)})[1:]


def _zipf(count: int, exponent: float) -> list[float]:
    """Cumulative shares of `count` things, where the nth has a frequency of n to the power of minus `exponent`."""
    sums = list(accumulate((number + 1) ** -exponent for number in range(count)))
    return [*(part / sums[-1] for part in sums[:-1]), 1.0]


def _uuid(number: int) -> str:
    """A random UUID (version 4) of 128 random bits."""
    return _text(number & ~(0xF << 76) & ~(3 << 62) | 4 << 76 | 2 << 62)


def _uuid7(ms: int, number: int) -> str:
    """A UUIDv7 of a time and 74 random bits, as clients make them."""
    return _text(ms << 80 | 7 << 76 | (number >> 62) << 64 | 2 << 62 | number & ((1 << 62) - 1))


def _text(number: int) -> str:
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _line(event: NewEvent) -> bytes:
    optional = "".join(
        f'"{name}":{msgspec.json.encode(value).decode()},'
        for name, value in (
            ("correlationId", event.correlation_id),
            ("causationId", event.causation_id),
            ("outcome", event.outcome),
        )
        if value is not None
    )
    head = (
        f'{{"id":"{event.id}","eventType":"{event.event_type}","actorType":"{event.actor_type}",'
        f'"actorId":{msgspec.json.encode(event.actor_id).decode()},"resourceType":"{event.resource_type}",'
        f'"resourceId":"{event.resource_id}",{optional}"occurredAt":"{format_time(event.occurred_at)}","payload":'
    )
    return b"%b%b}\n" % (head.encode(), event.payload)
