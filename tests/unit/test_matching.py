"""Whether an event matches: the same as in the model of the contract, for every field of a query."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.model_filters import Filters
from tests.unit.mutants import PROPERTY, catches, replaced
from whence import matching
from whence.events import Event, Query
from whence.matching import matches

UUID = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f000a"
OTHER = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f000b"
IDS = (UUID, UUID.upper(), OTHER, "ada")

EVENTS = st.builds(
    Event,
    tenant_id=st.just("acme"),
    position=st.just(1),
    id=st.just(UUID),
    event_type=st.sampled_from(["run.failed", "run.step.failed", "order.sent"]),
    actor_type=st.sampled_from(["user", "agent"]),
    actor_id=st.sampled_from(IDS),
    resource_type=st.sampled_from(["artifact", "decision"]),
    resource_id=st.sampled_from([UUID, OTHER]),
    correlation_id=st.sampled_from(IDS),
    causation_id=st.sampled_from([None, UUID, "ada"]),
    outcome=st.sampled_from(["success", "failure", "none"]),
    occurred_at=st.integers(0, 3),
    recorded_at=st.just(9),
    payload=st.none(),
)


def some(*values: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


ACTORS = ("user/ada", f"*/{UUID}", f"agent/{OTHER}", "agent/")
RESOURCES = (f"artifact/{UUID}", f"*/{OTHER}", "decision/")
PATTERNS = ("run.*", "*.failed", "order.sent")

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "event_types": some("run.failed", "order.sent"),
    "event_type_prefixes": some("run.", "run.step."),
    "resource_types": some("artifact", "thing"),
    "resource_ids": some(UUID, OTHER),
    "actor_ids": some(*IDS),
    "actor_types": some("user", "agent"),
    "outcomes": some("success", "failure"),
    "correlation_ids": some(*IDS),
    "causation_ids": some(UUID, "ada"),
    "since": st.none() | st.integers(0, 3),
    "until": st.none() | st.integers(0, 4),
    "type_patterns": some(*PATTERNS),
    "actors": some(*ACTORS),
    "resources": some(*RESOURCES),
    "excluded_event_types": some(*PATTERNS),
    "excluded_resource_types": some("artifact"),
    "excluded_actor_types": some("agent"),
    "excluded_outcomes": some("failure"),
    "excluded_actors": some(*ACTORS[:3]),
    "excluded_resources": some(*RESOURCES[:2]),
    "excluded_correlation_ids": some(*IDS),
    "excluded_causation_ids": some(UUID, "ada"),
}
"""Values of every field of a query; a new field fails `test_every_field_is_tried`."""

VALUES = ("tool=search", "tool=book", "order.n=1", "order.n=1E0")
OF_PAYLOADS = {"payload_values": some(*VALUES), "excluded_payload_values": some(*VALUES)}
"""Values of the fields about payloads, which need an event that has its payload."""


def never(*_: object) -> bool:
    return False


def always(*_: object) -> bool:
    return True


def exact(value: str, asked: Any) -> bool:
    return value in asked


def test_every_field_is_tried() -> None:
    """Of a query."""
    assert set(FIELDS) | set(OF_PAYLOADS) == set(Query.__struct_fields__)


@catches(
    replaced(matching, "_is_excluded", never, "excludes_nothing"),
    replaced(matching, "_is_within", always, "ignores_the_time"),
    replaced(matching, "_is_named", always, "ignores_names"),
    replaced(matching, "_is_one_of", always, "ignores_plain_fields"),
    replaced(matching, "has_type", always, "ignores_types"),
    replaced(matching, "_is_spelled", exact, "misses_earlier_spellings"),
)
@PROPERTY
@given(event=EVENTS, data=st.data(), names=st.lists(st.sampled_from(list(FIELDS)), max_size=3, unique=True))
def test_it_is_the_filter_of_the_contract(event: Event, data: st.DataObject, names: list[str]) -> None:
    """With any fields together."""
    query = Query(**{name: data.draw(FIELDS[name]) for name in names})
    assert matches(event, query) == Filters().matches(event, query)


@catches(replaced(matching, "_has_payload_values", always, "ignores_payloads"))
@PROPERTY
@given(
    data=st.data(),
    payload=st.sampled_from(
        [b"{}", b'{"tool":"search"}', b'{"tool":["book","x"],"order":{"n":1}}', b'{"order":{"n":1E0}}']
    ),
)
def test_payloads_are_filtered_as_in_the_contract(data: st.DataObject, payload: bytes) -> None:
    """By values that are wanted, and by others that are not."""
    query = Query(**{name: data.draw(values) for name, values in OF_PAYLOADS.items()})
    event = msgspec.structs.replace(_event(), payload=payload)
    assert matches(event, query) == Filters().matches(event, query)


def test_an_event_without_its_payload_matches_no_filter_on_payloads() -> None:
    """Nobody could tell what it had."""
    for name in OF_PAYLOADS:
        assert not matches(msgspec.structs.replace(_event(), payload=None), Query(**{name: ("tool=search",)}))


def test_a_field_that_is_not_known_is_refused() -> None:
    """It must not be taken for one that matches."""

    class Later(Query, frozen=True, kw_only=True):
        later: tuple[str, ...] = ()

    with pytest.raises(NotImplementedError):
        matches(_event(), Later(later=("x",)))
    assert matches(_event(), Later())


def _event() -> Event:
    values = dict.fromkeys(Event.__struct_fields__, "") | {"position": 1, "occurred_at": 0, "recorded_at": 0}
    return Event(**values)  # type: ignore[arg-type]  # what is in it does not matter
