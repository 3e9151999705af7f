"""Which records of the log quote an event: alerts by their key, and reads by their filters."""

import msgspec
import pytest

from tests.contract.made import NOON
from tests.unit.mutants import catches, replaced
from whence import quotations
from whence.alerts import FIRED
from whence.events import Event
from whence.quotations import AskedValue, asked_values, names_actor

MALLORY = ("user", "mallory@example.com")


def record(event_type: str, **payload: object) -> Event:
    """A record of the log with this payload."""
    return Event(
        id="i",
        tenant_id="t",
        event_type=event_type,
        actor_type="user",
        actor_id="ada",
        resource_type="event_log",
        resource_id="r",
        correlation_id="c",
        causation_id=None,
        occurred_at=NOON,
        recorded_at=NOON,
        outcome="none",
        payload=msgspec.json.encode(payload),
        position=1,
    )


def read(query: str, path: str = "/api/v1/events") -> Event:
    return record("whence.events_read", path=path, query=query)


def from_parameters_alone(asked: quotations._Asked) -> list[tuple[str, str]]:
    return quotations.parse_qsl(asked.query)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("payload.mail=mallory%40example.com&limit=20", {("mail", "mallory@example.com")}),
        ("payload.=x&payload.mail=&q=type:payload.x", set()),
        ("", set()),
    ],
)
def test_the_values_that_a_read_was_filtered_by(query: str, fields: set[tuple[str, str]]) -> None:
    """As they were sent, decoded."""
    assert asked_values(read(query)) == {AskedValue(*field) for field in fields}


@catches(replaced(quotations, "_terms", from_parameters_alone, "the_query_language_is_not_read"))
@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("q=payload.order.note%3A%22a+b%22+-payload.mail%3Ax", {("order.note", "a b"), ("mail", "x")}),
        ("q=payload.mail:%22not+closed", {("mail", "not closed")}),
    ],
)
def test_the_values_in_the_query_language(query: str, fields: set[tuple[str, str]]) -> None:
    """Also where a term is excluded or not finished."""
    assert asked_values(read(query)) == {AskedValue(*field) for field in fields}


def test_other_events_have_no_such_values() -> None:
    """Whatever is in their payloads."""
    assert asked_values(record("order.placed", path="/", query="payload.a=b")) == set()
    assert asked_values(record("whence.events_read", path=1)) == set()


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("actor_id=mallory%40example.com", "/api/v1/events"),
        ("actor_id=MALLORY@example.com", "/api/v1/events"),
        ("q=-actor%3A%22user%2Fmallory%40example.com%22", "/api/v1/events"),
        ("q=mallory@example.com", "/api/v1/search"),
        ("", "/api/v1/actors/user/mallory%40example.com"),
        ("limit=1", "/api/v1/actors/user/mallory%40example.com/activity"),
    ],
)
def test_a_read_that_names_an_actor(query: str, path: str) -> None:
    """In its path, in a parameter, or in a term."""
    assert names_actor(read(query, path), MALLORY)


@pytest.mark.parametrize("query", ["", "actor_id=emallory@example.com", "q=mallory", "actor_id=mallory@example.com.au"])
def test_a_read_that_names_another_actor(query: str) -> None:
    """A part of an id is none."""
    assert not names_actor(read(query), MALLORY)


def test_an_alert_names_the_actor_of_its_key() -> None:
    """By type and id."""
    key = {"actorType": "user", "actorId": "mallory@example.com"}
    assert names_actor(record(FIRED, key=key), MALLORY)
    assert not names_actor(record(FIRED, key=key | {"actorType": "agent"}), MALLORY)
    assert not names_actor(record(FIRED, name="a rule"), MALLORY)
    assert not names_actor(record("order.placed", key=key), MALLORY)
