"""What an event may hold: refused at `emit` with the path, or stored as JSON."""

import dataclasses
import datetime as dt
import enum
import json
import math
import types
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from tests.client.fake_server import FakeServer
from whence import Whence
from whence.errors import Invalid, TooLarge

RUN = ("action_run", UUID("5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"))
AGENT = ("agent", "planner")
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


class Color(enum.Enum):
    RED = "red"
    BROKEN = math.nan


@dataclasses.dataclass
class Order:
    number: int
    price: float
    parts: list[Any] = dataclasses.field(default_factory=list)


class Money:
    """A type that JSON knows nothing of."""

    def __init__(self, cents: int) -> None:
        self.cents = cents


class Text(str):
    """A text of another type, as the templates of Django make."""


class Scalar:
    """A number as numpy has it."""

    dtype = "float32"

    def __init__(self, value: float) -> None:
        self.value = value

    def item(self) -> float:
        return self.value


def refused(log: Whence, payload: Any) -> tuple[tuple[str | int, ...], str]:
    """Where and why `emit` refuses this payload. Nothing is queued."""
    with pytest.raises(Invalid) as caught:
        log.emit("action_run.started", actor=AGENT, resource=RUN, payload=payload)
    assert log.stats().emitted == 0
    (problem,) = caught.value.problems
    return problem.loc, problem.msg


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"a": [1, {"b": math.nan}]}, ("a", 1, "b")),
        ({"a": Order(1, math.inf)}, ("a", "price")),
        (Order(1, 2.5, [None, math.nan]), ("parts", 1)),
        ({"a": Scalar(math.nan), "b": None}, ("a",)),
        ({"a": Color.BROKEN}, ("a", "value")),
        ({"a": [None, Decimal("NaN")]}, ("a", 1)),
        ({"a": (1, -math.inf)}, ("a", 1)),
        ({"a": {math.nan: 1}}, ("a",)),
        ({"a": [Money(1)]}, ("a", 0)),
        ({"a": 1j}, ("a",)),
        ({"a": {("x", 1): 2}}, ("a",)),
        ({"a": ["\ud800"]}, ("a", 0)),
        ({"a": object}, ("a",)),
    ],
    ids=range(13),
)
def test_what_json_cannot_hold_is_refused_with_its_path(log: Whence, payload: Any, path: tuple[str | int, ...]) -> None:
    """At `emit`, in every kind of container. The sentence names the path too."""
    loc, sentence = refused(log, payload)
    assert loc == ("body", "payload", *path)
    shown = "payload" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    assert sentence.startswith(f"{shown}: ")


def test_a_payload_that_no_server_accepts_is_refused(log: Whence) -> None:
    """One that is no object, is too deep, repeats a key or has a number of 200 digits; and one that contains itself."""
    deep: dict[str, Any] = {}
    for _ in range(70):
        deep = {"a": deep}
    loop: list[Any] = []
    loop.append(loop)
    for payload, words in (
        (["a"], "JSON object"),
        (deep, "64 levels"),
        ({"a": loop}, "contains itself"),
        ({1: "a", "1": "b"}, "same key twice"),
        ({"a": 10**200}, "128 characters"),
        (msgspec.Raw(b'{"a": 1'), "JSON"),
    ):
        loc, sentence = refused(log, payload)
        assert loc[:2] == ("body", "payload") and words in sentence
    with pytest.raises(TooLarge, match="at most 262144 bytes; this one has 300008"):
        log.emit("action_run.started", actor=AGENT, resource=RUN, payload={"a": "x" * 300_000})
    with pytest.raises(TooLarge):
        log.batch([{"payload": {"a": "x" * 300_000}}])


def test_usual_types_are_stored_as_json(server: FakeServer, log: Whence) -> None:
    """Each as a reader expects it."""
    id_ = uuid4()
    payload = {
        "order": Order(1, 2.5, [Path("/tmp/x")]),
        "color": Color.RED,
        "id": id_,
        "at": NOW,
        "day": NOW.date(),
        "paid": Decimal("1.10"),
        "tags": {"a"},
        "text": Text("safe"),
        "queue": deque([1]),
        "view": types.MappingProxyType({"a": None}),
        "score": Scalar(0.5),
        7: "seven",
    }
    log.emit("action_run.started", actor=AGENT, resource=RUN, payload=payload)
    log.emit("action_run.started", actor=AGENT, resource=RUN, payload=Order(2, 1.0))
    assert log.flush(10)
    assert [each["payload"] for each in server.stored.values()] == [
        {
            "order": {"number": 1, "price": 2.5, "parts": ["/tmp/x"]},
            "color": "red",
            "id": str(id_),
            "at": "2026-01-02T03:04:05Z",
            "day": "2026-01-02",
            "paid": "1.10",
            "tags": ["a"],
            "text": "safe",
            "queue": [1],
            "view": {"a": None},
            "score": 0.5,
            "7": "seven",
        },
        {"number": 2, "price": 1.0, "parts": []},
    ]


def test_models_of_pydantic_are_stored_as_json(server: FakeServer, log: Whence) -> None:
    """A NaN in one is refused too, although pydantic has a form for it."""
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model(
        "Order", number=(int, ...), price=(float, ...), secret=(pydantic.SecretStr, pydantic.SecretStr("hidden"))
    )
    log.emit("action_run.started", actor=AGENT, resource=RUN, payload=model(number=1, price=2.5))
    log.emit("action_run.started", actor=AGENT, resource=RUN, payload={"order": model(number=1, price=2.5)})
    assert log.flush(10)
    first, second = (each["payload"] for each in server.stored.values())
    assert first == second["order"] == {"number": 1, "price": 2.5, "secret": "**********"}
    with pytest.raises(Invalid, match="NaN") as caught:
        log.emit(
            "action_run.started",
            actor=AGENT,
            resource=RUN,
            payload={"a": model(number=1, price=math.nan), "b": None},
        )
    assert caught.value.problems[0].loc == ("body", "payload", "a", "price")


def test_numbers_and_arrays_of_numpy_are_stored_as_json(server: FakeServer, log: Whence) -> None:
    """Of every width, also as members of an array."""
    numpy = pytest.importorskip("numpy")
    payload = {
        "a": numpy.float64(0.5),
        "b": numpy.float32(0.5),
        "c": numpy.int64(7),
        "d": numpy.bool_(True),
        "e": numpy.array([[1, 2]]),
        "f": numpy.str_("text"),
    }
    log.emit("action_run.started", actor=AGENT, resource=RUN, payload=payload)
    assert log.flush(10)
    (stored,) = server.stored.values()
    assert stored["payload"] == {"a": 0.5, "b": 0.5, "c": 7, "d": True, "e": [[1, 2]], "f": "text"}
    for broken in (numpy.float32("nan"), numpy.float64("inf"), numpy.array([1.0, math.nan])):
        with pytest.raises(Invalid, match="NaN"):
            log.emit("action_run.started", actor=AGENT, resource=RUN, payload={"a": broken})


def test_default_serialises_further_types(server: FakeServer) -> None:
    """The option `default`, as that of `json.dumps`. What it refuses, or fails on, is Invalid with its path."""

    def default(value: Any) -> Any:
        if isinstance(value, Money):
            return {"cents": 100 // value.cents}
        raise TypeError

    with Whence(server.url, "whk_x", spool=False, default=default) as log:
        log.emit("action_run.started", actor=AGENT, resource=RUN, payload={"a": [Money(50)]})
        assert log.flush(10)
        (stored,) = server.stored.values()
        assert stored["payload"] == {"a": [{"cents": 2}]}
        for value, words in ((1j, "type complex. Convert it"), (Money(0), "raised ZeroDivisionError")):
            with pytest.raises(Invalid, match=words) as caught:
                log.emit("action_run.started", actor=AGENT, resource=RUN, payload={"a": [0, value]})
            assert caught.value.problems[0].loc == ("body", "payload", "a", 1)


def test_encoded_json_stays_as_it_is_and_on_one_line(server: FakeServer, log: Whence) -> None:
    """A `Raw` payload keeps its literals, and loses line ends, wherever it stands."""
    raw = msgspec.Raw(b'{"a": 1E2,\r\n "b": -0}')
    bodies = [
        log.emit("action_run.started", actor=AGENT, resource=RUN, payload=payload).body for payload in (raw, {"c": raw})
    ]
    assert all(b"\n" not in body and b'{"a":1E2,"b":-0}' in body for body in bodies)
    assert log.flush(10)
    assert [len(batch) for batch in server.batches] in ([2], [1, 1])


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"resource": RUN}, {"actorType"}),
        ({"actor": AGENT}, {"resourceType"}),
        ({}, {"actorType", "resourceType"}),
        ({"actor": AGENT, "resource": RUN, "occurred_at": NOW.replace(tzinfo=None)}, {"occurredAt"}),
        ({"actor": AGENT, "resource": RUN, "occurred_at": "2026-01-02T03:04:05"}, {"occurredAt"}),
        ({"actor": AGENT, "resource": RUN, "occurred_at": NOW.date()}, {"occurredAt"}),
        ({"actor": ("agent", 7), "resource": RUN}, {"actorId"}),
        ({"actor": "agent", "resource": RUN}, {"actorId"}),
        ({"actor": AGENT, "resource": ("action_run", "")}, {"resourceId"}),
        ({"actor": AGENT, "resource": ("action_run", "a\nb")}, {"resourceId"}),
    ],
    ids=range(10),
)
def test_an_incomplete_event_is_refused_at_emit(log: Whence, fields: dict[str, Any], names: set[str]) -> None:
    """Not in the background. Each problem has a sentence that says what to pass."""
    with pytest.raises(Invalid) as caught:
        log.emit("action_run.started", **fields)
    assert {problem.loc[1] for problem in caught.value.problems} == names
    assert log.stats().emitted == 0
    with log.bind(actor=AGENT):
        log.emit("action_run.started", resource=RUN)


def test_an_unknown_keyword_is_a_type_error(log: Whence) -> None:
    """As for any function. The error lists the keywords."""
    misspelt: dict[str, Any] = {"acter": AGENT}
    with pytest.raises(TypeError, match=r"no keyword 'acter'. It has: actor, "):
        log.emit("action_run.started", resource=RUN, **misspelt)


def test_a_payload_is_read_as_a_mapping(log: Whence) -> None:
    """Parsed when it is asked for; the bytes stay as they are."""
    stored = log.new("action_run.started", actor=AGENT, resource=RUN, payload=msgspec.Raw(b'{"a":1E2,"b":[null]}'))
    with Whence("http://127.0.0.1:1", disabled=True) as offline:
        event = offline.emit(json.loads(stored.body), payload=msgspec.Raw(b'{"a":1E2,"b":[null]}'), durable=True).event
    assert event.payload == {"a": 100.0, "b": [None]}
    assert event.payload["b"] == [None]
    assert event.payload_bytes == b'{"a":1E2,"b":[null]}'


@pytest.mark.parametrize(
    ("wrong", "loc", "sentence"),
    [
        ({"actor": ("user", "")}, "actorId", "An actor id must not be empty."),
        ({"actor": ("user", "a\n")}, "actorId", "An actor id must not contain control characters."),
        ({"actor": ("", "ana")}, "actorType", "An actor type is a word of [a-z][a-z0-9_]*, at most 63 characters."),
        ({"resource": ("Order", "1")}, "resourceType", "A resource type is a word of [a-z][a-z0-9_]*, at most 63 char"),
        ({"id": "x"}, "id", "UUID"),
        ({"id": 7}, "id", "id must be a text."),
        ({"outcome": "nope"}, "outcome", "An outcome is one of: success, failure, none."),
        ({"cause": "c" * 300}, "causationId", "A causation id has at most 255 characters."),
        ({"cause": {}}, "causationId", "A cause is an event or its id, and this mapping has no id."),
        ({"cause": 7}, "causationId", "A cause is an event or its id."),
        ({"cause": RUN[1], "id": RUN[1]}, "causationId", "An event cannot be its own cause."),
        ({"correlation_id": ""}, "correlationId", "A correlation id must not be empty."),
    ],
)
def test_an_event_that_no_server_accepts_is_refused(log: Whence, wrong: Any, loc: str, sentence: str) -> None:
    """At `emit`, with the sentence and the place that the server would give."""
    fields: dict[str, Any] = {"actor": AGENT, "resource": RUN} | wrong
    with pytest.raises(Invalid) as caught:
        log.emit("action_run.started", **fields)
    assert [problem.loc for problem in caught.value.problems] == [("body", loc)]
    assert sentence in str(caught.value)


@pytest.mark.parametrize("event_type", ["started", "Action_run.started", "whence.key.created"])
def test_an_event_type_that_no_server_accepts_is_refused(log: Whence, event_type: str) -> None:
    with pytest.raises(Invalid, match="vent type"):
        log.emit(event_type, actor=AGENT, resource=RUN)


def test_an_item_of_a_batch_that_is_no_mapping_is_refused(log: Whence) -> None:
    """With its index."""
    items: Any = [5]
    with pytest.raises(Invalid, match="An event is a mapping with the keys") as caught:
        log.batch(items)
    assert caught.value.problems[0].loc == ("body", 0)
