"""The bytes of responses, exactly as in the contract."""

import csv
import json
from pathlib import Path
from typing import Any

import msgspec

from tests.unit.mutants import catches, replaced
from tests.unit.sent import EVENT_ID, NOW, RUN_ID
from whence.events import ActorStat, Counts, Event, Page, Query, Viewer
from whence.wire import bodies, traces
from whence.wire import event as wire
from whence.wire.bodies import EventBody, WireBody
from whence.wire.cloudevents import encode_structured
from whence.wire.event import encode_actor_stats, encode_counts, encode_event, encode_page
from whence.wire.exports import ExportRequest, csv_columns, encode_export
from whence.wire.parameters import EVENT_INCLUDES

CONTRACT = json.loads((Path(__file__).parents[1] / "api" / "events-api.openapi.json").read_text(encoding="utf-8"))
SCHEMAS = CONTRACT["components"]["schemas"]

EVENT = Event(
    tenant_id="acme",
    position=7,
    id=EVENT_ID,
    event_type="action_run.completed",
    actor_type="agent",
    actor_id='a"\\\u2028é\U0001f600/',
    resource_type="action_run",
    resource_id=RUN_ID,
    correlation_id="flow",
    causation_id=None,
    outcome="success",
    occurred_at=NOW + 500_000,
    recorded_at=NOW + 1_000_000,
    payload=b'{"b":1E2,"a":"\\u0000"}',
)
ELEVEN = (
    '{"actorId":"a\\"\\\\\u2028é\U0001f600/","actorType":"agent","causationId":null,"correlationId":"flow",'
    f'"eventType":"action_run.completed","id":"{EVENT_ID}","occurredAt":"2026-01-02T03:04:05.500000Z",'
    '"payload":{"b":1E2,"a":"\\u0000"},'
    f'"resourceId":"{RUN_ID}","resourceType":"action_run","tenantId":"acme"}}'
)


class NewerEvent(Event, frozen=True, kw_only=True):
    """Mutant: an event with one more field."""

    on_behalf_of: str | None = None


def names_in_answers(event: type[Event]) -> set[str]:
    """The fields of an event, as answers name them."""
    renamed = msgspec.defstruct("Renamed", event.__struct_fields__, rename="camel")
    return {field.encode_name for field in msgspec.structs.fields(renamed)}


def test_every_field_of_an_event_is_answered() -> None:
    """Always or on request, as JSON and as CSV. A new field of an event fails here until it is in all of them."""
    answered = names_in_answers(Event)
    assert {field.encode_name for field in msgspec.structs.fields(EventBody)} == answered
    assert json.loads(encode_event(EVENT, frozenset(EVENT_INCLUDES))).keys() == answered
    assert set(csv_columns(frozenset(EVENT_INCLUDES))) == answered
    assert names_in_answers(NewerEvent) == answered | {"onBehalfOf"}


def test_every_name_that_can_be_included_adds_its_key() -> None:
    """And no other key."""
    plain = json.loads(encode_event(EVENT)).keys()
    for name in EVENT_INCLUDES:
        assert json.loads(encode_event(EVENT, frozenset({name}))).keys() == plain | {name}


def test_an_erased_payload_is_null() -> None:
    """And `erasedAt` says since when; it is null before. In CSV what is null is empty, and a CloudEvent has no data."""
    gone = msgspec.structs.replace(EVENT, payload=None, erased_at=NOW)
    body = json.loads(encode_event(gone, frozenset({"erasedAt"})))
    assert (body["payload"], body["erasedAt"]) == (None, "2026-01-02T03:04:05Z")
    assert json.loads(encode_event(EVENT, frozenset({"erasedAt"})))["erasedAt"] is None
    assert json.loads(encode_event(gone)).keys() == json.loads(encode_event(EVENT)).keys()
    assert json.loads(encode_structured(gone))["data"] is None
    asked = ExportRequest(query=Query(), format="csv", ascending=True, include=frozenset({"erasedAt"}))
    [line] = encode_export([gone], asked, Viewer("acme"))
    row = dict(zip(csv_columns(asked.include), next(csv.reader([line.decode()])), strict=True))
    assert (row["payload"], row["erasedAt"]) == ("", "2026-01-02T03:04:05Z")
    decoded = msgspec.json.decode(encode_event(gone), type=EventBody)
    assert (decoded.payload, decoded.payload_bytes) == (None, b"null")


def page(**changes: Any) -> Page:
    return Page(**({"events": [EVENT], "total": 3, "limit": 1, "offset": 1, "as_of": 9} | changes))


def test_an_event_has_the_eleven_keys_of_the_contract() -> None:
    """An event has the eleven keys in alphabetical order, without white space, and the stored bytes of its payload."""
    assert encode_event(EVENT).decode() == ELEVEN
    assert list(json.loads(ELEVEN)) == SCHEMAS["Event"]["required"]


@catches(replaced(wire, "Raw", lambda data: json.loads(data), "payloads_are_written_anew"))  # noqa: PLW0108  (a lambda has no type that msgspec would ask for)
def test_a_payload_is_answered_as_its_bytes() -> None:
    """No token of a payload is rewritten."""
    assert EVENT.payload in encode_event(EVENT)


def test_include_adds_what_it_names_and_nothing_else() -> None:
    """`include` adds each key in alphabetical order; nextCursor is added to the page."""
    whole = json.loads(encode_event(EVENT, frozenset(("outcome", "position", "recordedAt", "nextCursor"))))
    assert list(whole) == sorted([*json.loads(ELEVEN), "outcome", "position", "recordedAt"])
    assert (whole["outcome"], whole["position"], whole["recordedAt"]) == ("success", 7, "2026-01-02T03:04:06Z")
    for name in ("outcome", "position", "recordedAt"):
        one = json.loads(encode_event(EVENT, frozenset((name,))))
        assert one.keys() - json.loads(ELEVEN).keys() == {name}


@catches(replaced(Page, "has_next", property(lambda page: len(page.events) == page.limit), "a_full_page_has_a_next"))
def test_a_page_has_the_five_keys_of_the_contract() -> None:
    """`hasNext` is offset + events < total, on full pages and on empty ones."""
    assert encode_page(page()).decode() == (f'{{"events":[{ELEVEN}],"hasNext":true,"limit":1,"offset":1,"total":3}}')
    assert encode_page(page(events=[], offset=9)) == b'{"events":[],"hasNext":false,"limit":1,"offset":9,"total":3}'
    assert b'"hasNext":false' in encode_page(page(offset=2))
    assert b'"hasNext":true' in encode_page(page(limit=5))
    assert list(json.loads(encode_page(page()))) == SCHEMAS["EventPage"]["required"]


def test_a_cursor_is_in_the_body_only_when_asked_for() -> None:
    """The body has a cursor only with `include=nextCursor`; on the last page it is null."""
    asked = frozenset(("nextCursor", "position"))
    assert b"nextCursor" not in encode_page(page(), frozenset(("position",)), "abc")
    assert list(json.loads(encode_page(page(), asked, "abc"))) == [
        *("events", "hasNext", "limit", "nextCursor", "offset", "total"),
    ]
    assert b'"nextCursor":"abc"' in encode_page(page(), asked, "abc")
    assert b'"nextCursor":null' in encode_page(page(events=[]), asked, None)


def test_counts_have_the_shape_of_the_contract() -> None:
    """Counts are lists of key and count, in the given order."""
    counts = Counts(total=3, by_event_type=[("b.c", 2), ("a.b", 1)], by_resource_type=[], by_actor_type=[("user", 3)])
    assert encode_counts(counts) == (
        b'{"byActorType":[{"count":3,"key":"user"}],"byEventType":[{"count":2,"key":"b.c"},{"count":1,"key":"a.b"}],'
        b'"byResourceType":[],"total":3}'
    )
    assert list(json.loads(encode_counts(counts))) == SCHEMAS["EventAggregate"]["required"]


@catches(replaced(wire, "_STATS_CHUNK", 10**9, "all_in_one"))
def test_statistics_come_in_chunks_that_are_one_object() -> None:
    """The chunks concatenate to one JSON object, for any number of actors, with at most 500 actors in each."""
    for actors in (0, 1, 499, 500, 501, 1000, 1001):
        stats = [
            ActorStat(actor_type="user", actor_id=f'"{number}', total=3, successes=2, failures=1)
            for number in range(actors)
        ]
        chunks = list(encode_actor_stats(stats))
        expected = [
            {"actorId": stat.actor_id, "actorType": "user", "failures": 1, "successes": 2, "total": 3} for stat in stats
        ]
        whole = json.loads(b"".join(chunks))
        assert whole == {"actors": expected}
        assert all(list(actor) == SCHEMAS["ActorStat"]["required"] for actor in whole["actors"])
        assert all(chunk.count(b"actorId") <= 500 for chunk in chunks)


def test_bodies_are_declared_in_alphabetical_order() -> None:
    """The keys of every body are in alphabetical order, as in the contract."""
    declared = {*WireBody.__subclasses__(), *(one for one in vars(bodies).values() if isinstance(one, type(WireBody)))}
    assert {traces.TraceBody, bodies.PageBody} <= declared
    for body in declared:
        fields = [field.encode_name for field in msgspec.structs.fields(body)]
        assert fields == sorted(fields), body
