"""The bodies of webhooks in their three forms, and filters in bodies."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from whence.errors import Problem
from whence.events import Event, Query, Viewer, Vocabulary
from whence.sentences import load_grammar
from whence.wire import filters, webhook_messages
from whence.wire.cloudevents import encode_structured, parse_structured
from whence.wire.event import IngestContext
from whence.wire.filters import FILTER_NAMES, filters_of_query, parse_filters, selects
from whence.wire.webhook_messages import FORMATS, encode_message

GRAMMAR = load_grammar()
EVERYTHING, NARROWED = Viewer("acme"), Viewer("acme", ("decision",))
UUID = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"
ANY = Vocabulary(any_resource_type=True)


def stored(**changes: Any) -> Event:
    """A stored event."""
    fields = {
        "tenant_id": "acme",
        "position": 7,
        "id": "01941f29-7fe8-7aaa-8000-000000000002",
        "event_type": "action_run.failed",
        "actor_type": "agent",
        "actor_id": "planner",
        "resource_type": "action_run",
        "resource_id": UUID,
        "correlation_id": "c-1",
        "causation_id": None,
        "outcome": "failure",
        "occurred_at": 1_767_323_045_000_000,
        "recorded_at": 1_767_323_046_000_000,
        "payload": b'{"error":"over budget"}',
    }
    return Event(**fields | changes)


@catches(replaced(webhook_messages, "_POSITION", frozenset(), "no_position"))
def test_the_own_form_is_the_standard_one() -> None:
    """Type, time and the eleven keys, with the position for those who may read every event."""
    message = encode_message(stored(), "whence", EVERYTHING, GRAMMAR)
    body = json.loads(message.body)
    assert (body["type"], body["timestamp"]) == ("action_run.failed", "2026-01-02T03:04:05Z")
    assert body["data"].get("position") == 7 and len(body["data"]) == 12
    for viewer, is_stored in ((NARROWED, True), (EVERYTHING, False)):
        data = json.loads(encode_message(stored(), "whence", viewer, GRAMMAR, stored=is_stored).body)["data"]
        assert "position" not in data and len(data) == 11


def test_a_position_is_shown_to_nobody_who_may_not_know_it() -> None:
    """In no form."""
    for form in FORMATS:
        assert b"98765" not in encode_message(stored(position=98_765), form, NARROWED, GRAMMAR).body


def test_an_erased_payload_is_null() -> None:
    """In each form, and a sentence does without it."""
    bodies = [json.loads(encode_message(stored(payload=None), form, EVERYTHING, GRAMMAR).body) for form in FORMATS]
    assert (bodies[0]["data"]["payload"], bodies[1]["data"]) == (None, None)
    assert bodies[2] == {"text": "planner failed action run 5b0c3bd0"}


@catches(replaced(webhook_messages, "_ESCAPES", {}, "nothing_is_escaped"))
def test_a_text_commands_nothing() -> None:
    """Whatever an event says, no mention, link or markup of chat programs comes of it."""
    event = stored(actor_id="<!channel>", payload=b'{"error":"see <https://evil.example|here> & <@U1>"}')
    text = json.loads(encode_message(event, "slack", EVERYTHING, GRAMMAR).body)["text"]
    assert text.startswith("&lt;!channel&gt; ") and "<" not in text and ">" not in text
    assert "&lt;@U1&gt;" in text and " &amp; " in text


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
PAYLOADS = st.dictionaries(
    st.text(st.characters(codec="utf-8")).filter(lambda key: key != "_ce"),
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    max_size=4,
)


@PROPERTY
@given(
    actor=NAMES,
    actor_type=st.sampled_from(Vocabulary().actor_types),
    flow=NAMES,
    cause=st.none() | st.uuids().map(str),
    payload=PAYLOADS,
    at=st.integers(0, 2 * 10**15),
)
def test_a_cloud_event_is_read_as_it_was_written(
    actor: str, actor_type: str, flow: str, cause: str | None, payload: Any, at: int
) -> None:
    """By the parser of this server: the same event, with its source and sequence kept beside the payload."""
    event = stored(
        actor_id=actor, actor_type=actor_type, correlation_id=flow, causation_id=cause, occurred_at=at,
        payload=msgspec.json.encode(payload),
    )  # fmt: skip
    context = IngestContext(tenant="acme", now=10**16, vocabulary=Vocabulary())
    read = parse_structured(encode_structured(event, position=7), context)
    for name in ("id", "event_type", "actor_id", "actor_type", "resource_type", "resource_id", "correlation_id",
                 "causation_id", "occurred_at"):  # fmt: skip
        assert getattr(read, name) == getattr(event, name)
    kept = json.loads(read.payload)
    attributes = kept.pop("_ce")
    assert kept == payload
    assert (attributes["source"], attributes["sequence"]) == ("whence/acme", "7")
    again = stored(**{name: getattr(read, name) for name in read.__struct_fields__ if name != "outcome"})
    written = json.loads(encode_structured(msgspec.structs.replace(again, correlation_id=flow)))
    assert (written["source"], written["data"]) == ("whence/acme", payload)  # as it came, and not twice


@pytest.mark.parametrize(
    "kept", ['"text"', "[]", '{"source":5}', '{"source":"s","Bad-Name":"x"}', '{"source":{}}', "{}"]
)
def test_what_only_looks_like_a_cloud_event_stays_payload(kept: str) -> None:
    """A member of that name in the payload of an ordinary event is sent as it is."""
    payload = f'{{"a":1,"_ce":{kept}}}'.encode()
    assert json.loads(encode_structured(stored(payload=payload)))["data"] == json.loads(payload)


ASKED = {
    "eventType": ["a.b", "c.*"],
    "resourceType": ["decision"],
    "resourceId": [UUID],
    "actorId": ["ada"],
    "actorType": ["user", "agent"],
    "outcome": ["failure"],
    "correlationId": ["c"],
    "causationId": ["d"],
}


def test_filters_are_those_of_lists() -> None:
    """Every one of them, as a text or a list of alternatives, and back."""
    problems: list[Problem] = []
    query = parse_filters(ASKED, Vocabulary(), problems)
    assert (problems, filters_of_query(query)) == ([], ASKED)
    assert ASKED.keys() == FILTER_NAMES.keys()
    assert query.event_types == ("a.b",) and query.event_type_prefixes == ("c.",)
    assert parse_filters({"actorId": "ada"}, Vocabulary(), problems) == Query(actor_ids=("ada",))
    assert (parse_filters({}, Vocabulary(), problems), filters_of_query(Query())) == (Query(), {})
    assert problems == []


@catches(replaced(filters, "RESERVED_PREFIX", "never.", "the_logs_own_record_is_like_others"))
def test_the_logs_own_record_is_selected_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a filter that says nothing of event types, whatever else it says."""
    own, other = stored(event_type="whence.key_created"), stored()
    for query in (Query(), Query(actor_ids=("planner",)), Query(event_types=("a.b",))):
        assert not selects(query, own)
        assert selects(query, other)
    for query in (Query(event_types=("whence.key_created",)), Query(event_type_prefixes=("whence.",))):
        assert selects(query, own)
