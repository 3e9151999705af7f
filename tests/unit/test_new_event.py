"""The body of one event: the event that it becomes, and the location of each problem."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from tests.examples import examples
from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.sent import CONTEXT, EVENT_ID, KEYED, NOW, RUN_ID, SECRET, TENANT, Problems, body, event, problems
from whence.errors import Invalid, TooLarge
from whence.events import NewEvent
from whence.wire import event as wire
from whence.wire.bodies import NewEventBody
from whence.wire.event import IngestContext, parse_new_event
from whence.wire.ids import derived_uuid
from whence.wire.problems import Hints
from whence.wire.times import format_time

REQUIRED = ("eventType", "actorType", "actorId", "resourceType", "resourceId", "occurredAt")
OPTIONAL = ("id", "correlationId", "causationId", "outcome")


def parsed(ctx: IngestContext = CONTEXT, **changes: Any) -> NewEvent:
    return parse_new_event(body(**changes), ctx)


def wrong(ctx: IngestContext = CONTEXT, **changes: Any) -> Problems:
    return problems(lambda: parse_new_event(body(**changes), ctx))


def test_both_parsers_keep_every_field() -> None:
    """The fast parser and the slow one return the same event, in which each field that can be sent has a value of its
    own."""
    sent = body(
        id=EVENT_ID, tenantId=TENANT, payload={"a": 1}, correlationId="flow", causationId=RUN_ID, outcome="failure"
    )
    compact = msgspec.json.format(sent, indent=-1)
    assert json.loads(sent).keys() == {field.encode_name for field in msgspec.structs.fields(NewEventBody)}
    fast = wire._parse_fast(compact, CONTEXT, None)
    assert fast == wire._parse_slowly(compact, ("body",), CONTEXT, None, Hints())
    for field in msgspec.structs.fields(NewEvent):
        assert getattr(fast, field.name) != field.default


def test_a_whole_event_becomes_its_noun() -> None:
    """Each field gets its canonical form: UUIDs in lower case, the time as an instant, the payload without white
    space."""
    assert parsed(
        id=EVENT_ID.upper(),
        tenantId=TENANT,
        actorId=" a b ",
        resourceId=RUN_ID.upper(),
        occurredAt="2026-01-02T04:04:05.1234567+01:00",
        payload={"b": [1, 2.50], "a": {}},
        correlationId=EVENT_ID.upper(),
        causationId=RUN_ID.upper(),
        outcome="none",
    ) == NewEvent(
        id=EVENT_ID,
        event_type="action_run.completed",
        actor_type="agent",
        actor_id=" a b ",
        resource_type="action_run",
        resource_id=RUN_ID,
        occurred_at=NOW + 123_456,
        payload=b'{"b":[1,2.5],"a":{}}',
        correlation_id=EVENT_ID,
        causation_id=RUN_ID,
        outcome="none",
    )
    assert parsed(actorId=RUN_ID.upper(), correlationId="flow/1?").actor_id == RUN_ID


def test_what_was_left_out_is_left_to_be_derived() -> None:
    """Only the id is generated; null is the same as absent; an absent payload is an empty object."""
    bare, nulls = parsed(), parsed(**dict.fromkeys(OPTIONAL))
    for one in (bare, nulls):
        assert (one.correlation_id, one.causation_id, one.outcome, one.payload) == (None, None, None, b"{}")
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one.id)
    assert bare.id < nulls.id


def test_an_operators_words_are_taken() -> None:
    """Resource and actor types that an operator added are accepted like the built-in ones."""
    added = parsed(resourceType="invoice", actorType="robot", eventType="invoice.paid")
    assert (added.resource_type, added.actor_type) == ("invoice", "robot")


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_field_is_missed_at_its_place(name: str) -> None:
    """An absent field has the rule `missing`; null is not a string."""
    assert wrong(**{name: ...}) == [(("body", name), "missing")]
    assert wrong(**{name: None}) == [(("body", name), "string_type")]


@pytest.mark.parametrize("name", (*REQUIRED, *OPTIONAL, "tenantId"))
@pytest.mark.parametrize("value", [1, 1.5, True, [SECRET], {"a": SECRET}], ids=str)
def test_a_field_is_a_string(name: str, value: object) -> None:
    """JSON values other than strings are refused and not converted."""
    assert wrong(**{name: value}) == [(("body", name), "string_type")]


@pytest.mark.parametrize(
    ("name", "value", "type_"),
    [
        ("eventType", SECRET, "string_pattern_mismatch"),
        ("eventType", "", "string_pattern_mismatch"),
        ("eventType", "whence.erased", "reserved"),
        ("actorType", SECRET, "enum"),
        ("actorType", "Agent", "enum"),
        ("actorId", "", "string_too_short"),
        ("actorId", SECRET * 40, "string_too_long"),
        ("actorId", SECRET + "\0", "string_control_character"),
        ("resourceType", SECRET, "enum"),
        ("resourceId", SECRET, "uuid_parsing"),
        ("resourceId", RUN_ID.replace("-", ""), "uuid_parsing"),
        ("occurredAt", SECRET, "datetime_parsing"),
        ("occurredAt", "2026-01-02T03:04:05", "datetime_parsing"),
        ("occurredAt", "-15m", "datetime_parsing"),
        ("occurredAt", "0001-01-01T00:00:00+01:00", "datetime_parsing"),
        ("id", SECRET, "uuid_parsing"),
        ("id", "", "uuid_parsing"),
        ("correlationId", "", "string_too_short"),
        ("correlationId", SECRET * 40, "string_too_long"),
        ("correlationId", SECRET + "\n", "string_control_character"),
        ("causationId", "", "string_too_short"),
        ("causationId", SECRET * 40, "string_too_long"),
        ("causationId", SECRET + "\x7f", "string_control_character"),
        ("outcome", SECRET, "enum"),
        ("outcome", "", "enum"),
        ("tenantId", SECRET, "tenant_mismatch"),
        ("tenantId", "ACME", "tenant_mismatch"),
        ("tenantId", "", "tenant_mismatch"),
        ("tenantId", None, "string_type"),
        ("payload", None, "dict_type"),
        ("payload", SECRET, "dict_type"),
        ("payload", [{"a": SECRET}], "dict_type"),
        (SECRET, 1, "extra_forbidden"),
        ("event_type", "a.b", "extra_forbidden"),
        ("EventType", "a.b", "extra_forbidden"),
        ("recordedAt", "2026-01-02T03:04:05Z", "extra_forbidden"),
        ("position", 1, "extra_forbidden"),
        ("", None, "extra_forbidden"),
    ],
    ids=ascii,
)
def test_each_problem_has_its_place_and_rule(name: str, value: object, type_: str) -> None:
    """`loc` is the body, then the name as it was sent; the message never repeats the value."""
    assert wrong(**{name: value}) == [(("body", name), type_)]


def test_every_problem_is_named_at_once() -> None:
    """One response reports every problem, so that a client need not fix one field at a time."""
    changes = {name: SECRET for name in (*REQUIRED, *OPTIONAL, "tenantId", "payload") if not name.startswith("c")}
    changes |= {"actorId": "", "correlationId": "", "causationId": 1, "nonsense": SECRET}
    found = wrong(**changes)
    assert {loc for loc, _ in found} == {("body", name) for name in changes}
    assert len(found) == len(changes)


def test_an_unknown_key_is_told_the_nearest() -> None:
    """The message suggests the nearest known key; the unknown name is only in `loc`. After twenty, the rest are
    counted."""
    with pytest.raises(Invalid, match=r"the nearest is eventType\."):
        parsed(event_type="a.b")
    with pytest.raises(Invalid, match=r"An event has no such field\."):
        parsed(nonsense=1)
    names = [f"field{number}" for number in range(25)]
    found = wrong(**dict.fromkeys(names, 1))
    assert found == [*((("body", name), "extra_forbidden") for name in names[:20]), (("body",), "extra_forbidden")]
    with pytest.raises(Invalid, match="And 5 more fields"):
        parsed(**dict.fromkeys(names, 1))


REPEATED = [
    (b'"actorId":"planner"', ("body", "actorId")),
    (b'"actorId":"other"', ("body", "actorId")),
    (rb'"\u0061ctorId":"planner"', ("body", "actorId")),
    (b'"id":null,"id":null', ("body", "id")),
    (b'"payload":{},"payload":{}', ("body", "payload")),
    (b'"payload":{},"payload":{"a":1}', ("body", "payload")),
    (b'"payload":{"a":{"b":1,"b":1}}', ("body", "payload")),
    (rb'"payload":{"a\\":1,"a\\":2}', ("body", "payload")),
]


def blind_to_repeats(compact: bytes, ctx: IngestContext, index: int | None) -> NewEvent:
    """Mutant: a fast path that accepts duplicate keys and uses the last."""
    sent = wire._decode_new_event(compact)
    return wire._parse_slowly(msgspec.json.encode(sent), ("body",), ctx, index, Hints())


BLIND = replaced(wire, "_parse_fast", blind_to_repeats, "repeats_are_not_seen")
UNCHECKED = replaced(
    wire,
    "_text_or_none",
    lambda value, check: None if value in (None, UNSET) else value,
    "no_check_of_what_is_optional",
)


@catches(BLIND, replaced(wire, "repeated_keys", lambda compact: [], "repeats_are_not_named"))
def test_no_key_stands_twice() -> None:
    """Duplicate keys are refused in any spelling, with equal or different values, in the event and in its payload."""
    for members, loc in REPEATED:
        sent = body()[:-1] + b"," + members + b"}"
        assert problems(lambda sent=sent: parse_new_event(sent, CONTEXT)) == [(loc, "duplicate_key")], members


@pytest.mark.parametrize("text", ['":', '\\":', 'a":"b', "\\", '"', "\\\\", ":", '\\\\\\":'])
def test_text_that_looks_like_keys_is_only_text(text: str) -> None:
    """Quotes, colons and backslashes in any text field and in the payload are kept."""
    kept = parsed(actorId=text, correlationId=text, causationId=text, payload={text: text, "a": [text]})
    assert (kept.actor_id, kept.correlation_id, kept.causation_id) == (text, text, text)
    assert json.loads(kept.payload) == {text: text, "a": [text]}


@pytest.mark.parametrize(
    ("sent", "type_"),
    [
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b'{"actorId":"hunter2', "json_invalid"),
        (b"{} {}", "json_invalid"),
        (b"NaN", "json_invalid"),
        (b"null", "dict_type"),
        (b'"hunter2"', "dict_type"),
        (b"[]", "dict_type"),
        (b"1", "dict_type"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "json_depth"),
        (b'{"\xff":1}', "string_unicode"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_that_is_no_object_is_refused_as_a_whole(sent: bytes, type_: str) -> None:
    """The location of the problem is the body itself."""
    assert problems(lambda: parse_new_event(sent, CONTEXT)) == [(("body",), type_)]


def test_bad_utf_8_is_named_at_its_field() -> None:
    """Invalid UTF-8 is reported at its text field, at the payload, or, in a key, at the body."""
    sent = body(actorId="@@", payload={"a": "@@"})
    found = problems(lambda: parse_new_event(sent.replace(b"@@", b"\xff"), CONTEXT))
    assert found == [(("body", "actorId"), "string_unicode"), (("body", "payload"), "string_unicode")]


@catches(replaced(wire, "FUTURE_MAX_US", 10**18, "any_future"), replaced(wire, "FUTURE_MAX_US", 0, "no_future"))
def test_an_event_lies_at_most_5_minutes_ahead() -> None:
    """Exactly 5 minutes ahead is accepted, a microsecond more is refused; any time in the past is accepted."""
    limit = NOW + 300_000_000
    assert parsed(occurredAt=format_time(limit)).occurred_at == limit
    assert wrong(occurredAt=format_time(limit + 1)) == [(("body", "occurredAt"), "datetime_future")]
    assert parsed(occurredAt="0001-01-01T00:00:00Z").occurred_at < 0


@catches(UNCHECKED)
def test_an_event_is_not_its_own_cause() -> None:
    """An event may not name itself as its cause, in upper or lower case, or by the id that its Idempotency-Key
    gives."""
    derived = derived_uuid(TENANT, "order-1")
    here = [(("body", "causationId"), "self_cause")]
    assert wrong(id=EVENT_ID, causationId=EVENT_ID) == here
    assert wrong(id=EVENT_ID.upper(), causationId=EVENT_ID) == here
    assert wrong(id=EVENT_ID, causationId=EVENT_ID.upper()) == here
    assert wrong(KEYED, causationId=derived) == here
    assert wrong(KEYED, causationId=derived.upper()) == here
    assert parsed(causationId=derived).causation_id == derived


def test_an_idempotency_key_names_an_event_without_id() -> None:
    """The same key gives the same id within a tenant and a different one in another; an id that was sent is kept."""
    assert parsed(KEYED).id == parsed(KEYED, id=None).id == derived_uuid(TENANT, "order-1")
    assert parsed(KEYED, id=EVENT_ID).id == EVENT_ID
    other = msgspec.structs.replace(KEYED, tenant="globex")
    assert parsed(other).id == derived_uuid("globex", "order-1") != parsed(KEYED).id


@pytest.mark.parametrize(
    ("key", "type_"),
    [("", "string_too_short"), ("k" * 256, "string_too_long"), ("hunter2\n", "string_control_character")],
)
def test_a_bad_idempotency_key_is_refused(key: str, type_: str) -> None:
    """The location of the problem is the header, also when the event has an id."""
    ctx = msgspec.structs.replace(CONTEXT, idempotency_key=key)
    for changes in ({}, {"id": EVENT_ID}):
        assert wrong(ctx, **changes) == [(("header", "Idempotency-Key"), type_)]


def test_a_large_body_is_refused_before_it_is_read() -> None:
    """320 KiB including white space are parsed; one byte more is refused for its size before it is found not to be
    JSON."""
    padded = body().ljust(320 * 1024)
    assert parse_new_event(padded, CONTEXT).actor_id == "planner"
    for large in (padded + b" ", b"{" * (320 * 1024 + 1)):
        with pytest.raises(TooLarge, match="at most 327680 bytes"):
            parse_new_event(large, CONTEXT)


def test_a_large_payload_is_refused_before_any_field() -> None:
    """256 KiB are accepted; one byte more is too large, whatever else is wrong with the event."""
    fill = 256 * 1024 - len('{"a":""}')
    assert len(parsed(payload={"a": "x" * fill}).payload) == 256 * 1024
    for changes in ({}, {"actorId": ""}, {"nonsense": 1}, {"actorId": ...}):
        with pytest.raises(TooLarge, match="at most 262144 bytes"):
            parsed(payload={"a": "x" * (fill + 1)}, **changes)


# --------------------------------------------------------------------------------------------- two ways, one answer

KEYS = [*REQUIRED, *OPTIONAL, "tenantId", "payload", r"\u0061ctorId", r"i\u0064", "other", r"pay\u006coad", 'a\\":']
VALUES = [
    *("null", "1", "true", "[]", "{}", '""', '"x"', f'"{RUN_ID}"', f'"{RUN_ID.upper()}"', f'"{EVENT_ID}"'),
    *('"success"', '"none"', '"acme"', '"user"', '"action_run"', '"a.b"', '"2026-01-02T03:04:05Z"', '"2026-01-02"'),
    *(r'"\":"', r'":"', r'"a\\"', r'"\u0000"', r'"\ud83d\ude00"', '"\x7f"', '"é"'),
    *('{"a":1}', '{"a":1,"a":1}', r'{"a":1,"\u0061":2}', r'{"a\\":"\":"}', r'{"a":"\":","a":1}', '{"a":1e400}'),
    *('{"a":%s}' % ("9" * 129), "[" * 70 + "]" * 70, '{"a":' * 65 + "1" + "}" * 65),
]
changes = st.lists(
    st.tuples(st.sampled_from(["add", "add", "set", "drop", "again"]), st.sampled_from(KEYS), st.sampled_from(VALUES)),
    max_size=3,
)
noise = st.none() | st.tuples(st.integers(0, 400), st.sampled_from([b"", b"\xff", b'"', b"\\", b":", b" ", b"{", b"1"]))


def mutated(changed: list[tuple[str, str, str]], noised: tuple[int, bytes] | None) -> bytes:
    """A valid event with some members added, changed, removed or repeated, and possibly a stray byte."""
    members = [(name, json.dumps(value)) for name, value in event().items()]
    for what, key, value in changed:
        if what == "add":
            members.append((key, value))
        elif what == "set":
            members = [(name, value if name == key else old) for name, old in members]
        elif what == "drop":
            members = [member for member in members if member[0] != key]
        else:
            members += [member for member in members if member[0] == key]
    sent = ("{" + ",".join(f'"{key}":{value}' for key, value in members) + "}").encode()
    if noised is None:
        return sent
    at = noised[0] % len(sent)
    return sent[:at] + noised[1] + sent[at + 1 :]


@catches(BLIND, UNCHECKED)
@settings(PROPERTY, max_examples=examples(1_000))
@given(changed=changes, noised=noise)
def test_the_fast_way_takes_only_what_the_slow_way_takes(
    changed: list[tuple[str, str, str]], noised: tuple[int, bytes] | None
) -> None:
    """What the fast path accepts, the slow path accepts with the same result; all else is left to the slow path."""
    sent = mutated(changed, noised)
    try:
        compact = wire.compact_json(sent)
    except ValueError:
        assert problems(lambda: parse_new_event(sent, KEYED))[0][0] == ("body",)
        return
    slow: NewEvent | Problems
    try:
        slow = wire._parse_slowly(compact, ("body",), KEYED, None, Hints())
    except Invalid:
        slow = problems(lambda: wire._parse_slowly(compact, ("body",), KEYED, None, Hints()))
    try:
        fast = wire._parse_fast(compact, KEYED, None)
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    else:
        assert fast == slow
    if isinstance(slow, NewEvent):
        assert parse_new_event(sent, KEYED) == slow
    else:
        assert problems(lambda: parse_new_event(sent, KEYED)) == slow


def test_a_good_event_takes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid event takes the fast path, with all fields and with only the required ones."""
    monkeypatch.setattr(wire, "_parse_slowly", lambda *_: pytest.fail("the slow way was taken"))
    full = {"id": EVENT_ID, "tenantId": TENANT, "correlationId": "c", "causationId": "e", "outcome": "none"}
    for sent in ({}, full, full | {"payload": {"a": {"b": [1]}}}, dict.fromkeys(OPTIONAL)):
        assert parsed(**sent).actor_id == "planner"
