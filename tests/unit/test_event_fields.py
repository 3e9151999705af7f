"""The places that restate the fields of an event have all of them. A new field fails here until it is in each."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.contract.made import HOUR, NOON, uuid, whole
from whence.api import openapi
from whence.cli import events as commands
from whence.cli import field_maps, parquet
from whence.client import event_builder
from whence.events import NewEvent, Vocabulary, stored_event
from whence.wire.bodies import EventBody, NewEventBody
from whence.wire.cloudevents import encode_structured, parse_structured
from whence.wire.event import IngestContext

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts.md"

SENT = {field.encode_name for field in msgspec.structs.fields(NewEventBody)} - {"tenantId"}
"""What a client sends. The tenant follows from its credential."""

READ = {field.encode_name for field in msgspec.structs.fields(EventBody)}


def keywords_of_emit() -> set[str]:
    """Under their names in the API."""
    named = {"cause": ("causationId",), **event_builder._PAIRS}
    names = event_builder._API_NAMES
    given = [named.get(keyword) or (names[keyword],) for keyword in event_builder.EventFields.__annotations__]
    return {"eventType", *(name for several in given for name in several)}


def options_of_emit() -> set[str]:
    """The members that the command sets."""
    return set(re.findall(r'"([a-z]+(?:[A-Z][a-z]+)*)":', inspect.getsource(commands.emit)))


def rules_of_openapi() -> set[str]:
    """The fields whose rules the served document has, and those whose types say all."""
    return {*openapi._new_event_properties(), "actorType", "occurredAt", "payload", "resourceType"}


def table_of_the_concepts() -> set[str]:
    """The first column of the table of fields."""
    section = CONCEPTS.read_text("utf-8").partition("### Fields\n")[2].partition("\n- ")[0]
    return {*re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)}


def fields_of_a_cloudevent() -> set[str]:
    """The fields that have the same value after an event was written as a CloudEvent and read again. The outcome has no
    attribute, and the source is added to the payload."""
    sent = msgspec.structs.replace(whole(1), causation_id=uuid(9))  # another text would become a UUID
    decided = {"actor_id": sent.actor_id, "correlation_id": str(sent.correlation_id), "outcome": "failure"}
    event = stored_event(sent, tenant_id="acme", position=1, recorded_at=NOON, **decided)
    read = parse_structured(encode_structured(event), IngestContext("acme", Vocabulary(), NOON + HOUR))
    return {
        field.encode_name
        for field in msgspec.structs.fields(msgspec.defstruct("Sent", NewEvent.__struct_fields__, rename="camel"))
        if getattr(read, field.name) == getattr(sent, field.name)
    }


Place = tuple[Callable[[], set[str]], set[str]]
PLACES: dict[str, Place] = {
    "the keywords of emit()": (keywords_of_emit, SENT),
    "the options of whence emit": (options_of_emit, SENT),
    "the fields of a map": (lambda: {*field_maps._FIELDS, "payload"}, SENT),
    "the rules in the OpenAPI document": (rules_of_openapi, SENT | {"tenantId"}),
    "the columns of a Parquet file": (lambda: set(parquet._SCHEMA.names), READ - {"erasedAt"}),
    "the attributes of a CloudEvent": (fields_of_a_cloudevent, SENT - {"outcome", "payload"}),
    "the table in docs/concepts.md": (table_of_the_concepts, (SENT | READ) - {"erasedAt"}),
}
"""What has the fields, and which of them it has to have."""


@pytest.mark.parametrize("place", PLACES)
def test_every_field_is_in_every_place(place: str) -> None:
    """And nothing else is."""
    found, expected = PLACES[place]
    assert found() == expected


@pytest.mark.parametrize("place", PLACES)
def test_mutant_a_field_that_is_left_out_is_found(place: str) -> None:
    """Each place really has them: without any one of its fields, or with another, it differs."""
    found, expected = PLACES[place]
    assert expected and all(found() != expected - {name} for name in expected)
    assert found() != expected | {"madeUp"}
