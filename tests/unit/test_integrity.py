"""The envelope and its leaf, whose bytes must never change, and the comparison of a repeat."""

import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.sent import EVENT_ID, RUN_ID
from whence import integrity
from whence.events import Event, NewEvent
from whence.merkle import leaf_hash

EVENT = Event(
    tenant_id="acme",
    position=1,
    id=EVENT_ID,
    event_type="action_run.completed",
    actor_type="agent",
    actor_id="planner",
    resource_type="action_run",
    resource_id=RUN_ID,
    correlation_id="flow-1",
    causation_id=None,
    outcome="success",
    occurred_at=1_767_323_045_000_000,
    recorded_at=1_767_323_046_000_001,
    payload=b'{"a":1}',
)
SALT = bytes(range(16))
PAYLOAD_HASH = "aed8a0ebb5f60a8aa06554873318b8e888584ebddf7878258719930ae328cbb2"
ENVELOPE = (
    '{"actorId":"planner","actorType":"agent","causationId":null,"correlationId":"flow-1",'
    '"eventType":"action_run.completed","id":"0192d3f0-0000-7000-8000-00000000abcd",'
    '"occurredAt":"2026-01-02T03:04:05.000000Z","outcome":"success",'
    '"payloadHash":"aed8a0ebb5f60a8aa06554873318b8e888584ebddf7878258719930ae328cbb2",'
    '"recordedAt":"2026-01-02T03:04:06.000001Z","resourceId":"5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001",'
    '"resourceType":"action_run","tenantId":"acme","v":1}'
)
LEAF = "268d65319785e7852e208cd26e5449654c6b975a213c8369ec100e13822851ff"


def changed(**fields: Any) -> bytes:
    """The envelope by which new events are hashed, of an event with other fields."""
    encode = integrity.ENVELOPES[integrity.ENVELOPE_VERSION]
    return encode(msgspec.structs.replace(EVENT, **fields), PAYLOAD_HASH)


def test_the_envelope_of_an_event_and_its_leaf() -> None:
    """The bytes of an envelope and its leaf are fixed: auditors compute the leaf from them by RFC 6962."""
    assert sha256(SALT + EVENT.payload).hexdigest() == PAYLOAD_HASH
    assert integrity.envelope_v1(EVENT, PAYLOAD_HASH).decode() == ENVELOPE
    assert leaf_hash(integrity.envelope_v1(EVENT, PAYLOAD_HASH)).hex() == LEAF


def test_keys_stand_in_code_point_order() -> None:
    """The fourteen keys are sorted as in RFC 8785."""
    keys = list(json.loads(integrity.envelope_v1(EVENT, PAYLOAD_HASH)))
    assert keys == sorted(keys)
    assert len(keys) == 14


def escaped(text: str) -> str:
    """A string escaped as in RFC 8785, section 3.2.2.2."""
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    return '"' + "".join(short.get(one, one if one >= " " else f"\\u{ord(one):04x}") for one in text) + '"'


def ascii_only(envelope: object) -> bytes:
    return json.dumps(msgspec.to_builtins(envelope), separators=(",", ":")).encode()


@catches(replaced(integrity, "_encode", ascii_only, "other_characters_are_escaped"))
def test_strings_are_escaped_as_in_rfc_8785() -> None:
    """Only control characters, quotes and backslashes are escaped, and no other character of any plane."""
    for text in ("".join(map(chr, range(0x20))), '"\\/', "\x7f\x80\u2028\u2029\ufeff", "é\U0001f600\U0010ffff", "<>&'"):
        assert f'"actorId":{escaped(text)},'.encode() in changed(actor_id=text)


@PROPERTY
@given(text=st.text(max_size=20))
def test_any_text_is_escaped_as_in_rfc_8785(text: str) -> None:
    """Any text is escaped so in each field that holds a client's text."""
    for name, key in (("actor_id", "actorId"), ("correlation_id", "correlationId"), ("causation_id", "causationId")):
        assert f'"{key}":{escaped(text)},'.encode() in changed(**{name: text})


@catches(replaced(integrity, "format_time_fixed", lambda us: "2026-01-02T03:04:05Z", "times_are_left_out"))
def test_every_field_is_in_the_leaf() -> None:
    """A change of any field changes the envelope. The position is the index of the leaf, the payload is in
    payloadHash, also once it is erased."""
    others: dict[str, Any] = {
        name: "x"
        for name in Event.__struct_fields__
        if name != "erased_at" and isinstance(getattr(EVENT, name), str | None)
    }
    others |= {"occurred_at": EVENT.occurred_at + 1, "recorded_at": EVENT.recorded_at + 1}
    found = [changed(**{name: value}) for name, value in others.items()] + [integrity.envelope_v1(EVENT, "0" * 64)]
    assert len({*found, changed()}) == len(others) + 2
    assert others.keys() == set(Event.__struct_fields__) - {"position", "payload", "erased_at"}
    assert changed(position=2, payload=b"{}", erased_at=1) == changed()


@catches(replaced(integrity, "Event", lambda **fields: Event(**fields | {"causation_id": None}), "cause_not_read"))
def test_every_field_is_read_from_the_envelope() -> None:
    """An envelope gives back each field that it was made of."""
    empty = [name for name in Event.__struct_fields__ if getattr(EVENT, name) is None and name != "erased_at"]
    event = msgspec.structs.replace(EVENT, payload=None, **dict.fromkeys(empty, "x"))
    assert integrity.parse_envelope(changed(**dict.fromkeys(empty, "x")), 1) == (event, bytes.fromhex(PAYLOAD_HASH))


def test_every_version_names_what_it_hashes() -> None:
    """The newest version hashes every field of an event, but for its place and its payload."""
    assert integrity.ENVELOPE_FIELDS.keys() == integrity.ENVELOPES.keys()
    newest = integrity.ENVELOPE_FIELDS[integrity.ENVELOPE_VERSION]
    assert newest == set(Event.__struct_fields__) - {"position", "payload", "erased_at"}


def test_a_field_that_a_version_does_not_hash_is_refused() -> None:
    """A later field of an event cannot be set on an event whose leaf does not protect it."""
    later = msgspec.defstruct(
        "LaterEvent", [("on_behalf_of", str | None, None)], bases=(Event,), frozen=True, kw_only=True
    )
    plain = later(**msgspec.structs.asdict(EVENT))
    assert integrity.leaf_of(plain, bytes.fromhex(PAYLOAD_HASH), 1).hex() == LEAF
    with pytest.raises(ValueError, match="on_behalf_of"):
        integrity.leaf_of(msgspec.structs.replace(plain, on_behalf_of="ana"), bytes.fromhex(PAYLOAD_HASH), 1)


def test_a_missing_cause_is_told_from_any_text() -> None:
    """A missing cause differs from any text, including "null"."""
    assert changed(causation_id="null") != changed(causation_id=None)


# ----------------------------------------------------------------------------------------------------------- repeats

STORED = msgspec.structs.replace(EVENT, payload=b'{"b":1E2,"a":"\\u0000"}')
AGAIN: dict[str, Any] = {name: getattr(STORED, name) for name in NewEvent.__struct_fields__}
OTHER = {
    "event_type": ("eventType", "action_run.failed"),
    "actor_type": ("actorType", "user"),
    "actor_id": ("actorId", "b"),
    "resource_type": ("resourceType", "artifact"),
    "resource_id": ("resourceId", EVENT_ID),
    "occurred_at": ("occurredAt", EVENT.occurred_at + 1),
    "correlation_id": ("correlationId", "other"),
    "causation_id": ("causationId", "cause"),
    "outcome": ("outcome", "failure"),
    "payload": ("payload", b'{"b":1E2,"a":""}'),
}


def differing(**changes: Any) -> list[str]:
    return integrity.differing_fields(NewEvent(**(AGAIN | changes)), STORED)


def test_a_repeat_is_what_the_client_sent() -> None:
    """A field that a repeat leaves out equals the derived value; the payload is compared by value."""
    assert differing() == differing(correlation_id=None, outcome=None) == []
    assert differing(payload=b'{"a":"\\u0000","b":1E2}') == []


@catches(replaced(integrity, "same_json", lambda a, b: json.loads(a) == json.loads(b), "numbers_by_value"))
def test_a_number_that_is_spelled_otherwise_is_other_content() -> None:
    """A repeat with 100 differs from a stored 1E2."""
    assert differing(payload=b'{"b":100,"a":"\\u0000"}') == ["payload"]


@pytest.mark.parametrize("name", OTHER)
def test_each_field_that_differs_is_named_as_sent(name: str) -> None:
    """The conflict names exactly the field that differs."""
    sent, value = OTHER[name]
    assert differing(**{name: value}) == [sent]


def test_all_fields_that_differ_are_named() -> None:
    """No field is left out of the comparison."""
    assert differing(**{name: value for name, (_, value) in OTHER.items()}) == [sent for sent, _ in OTHER.values()]
    assert set(OTHER) == set(AGAIN) - {"id"}


def test_a_cause_or_payload_that_was_left_out_is_none() -> None:
    """Cause and payload are never derived, so leaving them out differs from a stored value."""
    stored = msgspec.structs.replace(STORED, causation_id="cause")
    assert integrity.differing_fields(NewEvent(**AGAIN), stored) == ["causationId"]
    assert differing(payload=b"{}") == ["payload"]


def test_the_payload_of_an_erased_event_is_not_compared() -> None:
    """After erasure the payload is not compared, and every other field is."""
    erased = msgspec.structs.replace(STORED, payload=None)
    sent = NewEvent(**(AGAIN | {"payload": b'{"anything":1}'}))
    assert integrity.differing_fields(sent, erased) == []
    assert integrity.differing_fields(msgspec.structs.replace(sent, actor_id="b"), erased) == ["actorId"]
