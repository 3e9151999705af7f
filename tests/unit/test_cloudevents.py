"""CloudEvents: the field that each attribute maps to, and the attributes that map to none."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import NEVER_BYTES, PROPERTY, catches, replaced
from tests.unit.sent import CONTEXT, EVENT_ID, NOW, RUN_ID, SECRET, Problems, problems, problems_of
from whence.errors import Invalid, TooLarge
from whence.events import NewEvent
from whence.wire import cloudevents as ce
from whence.wire.ids import derived_uuid


def sent(**changes: Any) -> dict[str, Any]:
    """A valid CloudEvent; `...` leaves an attribute out."""
    whole = {
        "specversion": "1.0",
        "id": EVENT_ID,
        "source": "/billing",
        "type": "invoice.paid",
        "time": "2026-01-02T03:04:05Z",
        "subject": f"invoice/{RUN_ID}",
        "authtype": "user",
        "authid": "ada",
    } | changes
    return {name: value for name, value in whole.items() if value is not ...}


def structured(**changes: Any) -> NewEvent:
    return ce.parse_structured(json.dumps(sent(**changes)).encode(), CONTEXT)


def wrong(**changes: Any) -> Problems:
    return problems(lambda: structured(**changes))


def headers(changes: dict[str, Any]) -> dict[str, str]:
    """The same event as headers, each value percent-encoded."""
    return {f"ce-{name}": quote(value, safe="") for name, value in sent(**changes).items()}


def binary(body: bytes = b"", more: dict[str, str] | None = None, **changes: Any) -> NewEvent:
    return ce.parse_binary(headers(changes) | (more or {}), body, CONTEXT)


def wrong_binary(body: bytes = b"", more: dict[str, str] | None = None, **changes: Any) -> Problems:
    return problems(lambda: binary(body, more, **changes))


def kept(event: NewEvent) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event.payload)["_ce"]
    return found


# ---------------------------------------------------------------------------------------------------------- places


def test_every_attribute_has_its_place() -> None:
    """An attribute that maps to no field is kept in the payload, after the data, sorted by name."""
    assert structured(
        id=EVENT_ID.upper(),
        subject=f"invoice/{RUN_ID.upper()}",
        time="2026-01-02T04:04:05.5+01:00",
        correlationid="flow",
        causationid=RUN_ID.upper(),
        sequence=7,
        partitionkey="p",
        sampled=True,
        data={"b": 1, "a": "x"},
    ) == NewEvent(
        id=EVENT_ID,
        event_type="invoice.paid",
        actor_type="user",
        actor_id="ada",
        resource_type="invoice",
        resource_id=RUN_ID,
        occurred_at=NOW + 500_000,
        payload=b'{"b":1,"a":"x","_ce":{"partitionkey":"p","sampled":true,"sequence":7,"source":"/billing",'
        b'"specversion":"1.0"}}',
        correlation_id="flow",
        causation_id=RUN_ID,
        outcome=None,
    )


def test_data_is_kept_to_the_token() -> None:
    """Number literals and escapes of the data are unchanged; without data the payload has only the attributes."""
    body = json.dumps(sent(data={})).replace('"data": {}', r'"data": {"a": 1E2, "b": "\u0000", "c": -0}')
    assert ce.parse_structured(body.encode(), CONTEXT).payload == (
        rb'{"a":1E2,"b":"\u0000","c":-0,"_ce":{"source":"/billing","specversion":"1.0"}}'
    )
    for bare in (structured(), structured(data={})):
        assert bare.payload == b'{"_ce":{"source":"/billing","specversion":"1.0"}}'


@catches(
    replaced(ce, "CLOUD_ACTOR_TYPES", {}, "no_other_name_for_actors"),
    replaced(ce, "NAMELESS", frozenset(), "everybody_has_a_name"),
)
def test_auth_types_become_actor_types() -> None:
    """The extension's types map to Whence's actor types and are kept in the payload; Whence's own types are unchanged.

    An actor without an id gets the type as its id.
    """
    for authtype, actor_type in {
        "app_user": "user",
        "service_account": "service",
        "unauthenticated": "anonymous",
        "unknown": "system",
    }.items():
        event = structured(authtype=authtype)
        assert (event.actor_type, event.actor_id) == (actor_type, "ada")
        assert kept(event)["authtype"] == authtype
    for authtype in ("user", "agent", "api_key", "robot"):
        event = structured(authtype=authtype)
        assert event.actor_type == authtype
        assert "authtype" not in kept(event)
    for authtype in ("unauthenticated", "unknown"):
        assert structured(authtype=authtype, authid=...).actor_id == authtype
    assert wrong(authtype="app_user", authid=...) == [(("body", "authid"), "missing")]
    assert wrong(authtype=SECRET) == [(("body", "authtype"), "enum")]


def without_source(*names: str) -> str:
    return derived_uuid("cloudevents", names[-1])


@catches(replaced(ce, "derived_uuid", without_source, "the_source_is_forgotten"))
def test_an_id_that_is_no_uuid_follows_from_source_and_id() -> None:
    """The original id is kept. Another source gives another id, and the same source and id give the same one."""
    event = structured(id="A-1")
    assert event.id == structured(id="A-1").id == derived_uuid("cloudevents:/billing", "A-1")
    assert kept(event)["id"] == "A-1"
    assert structured(id="A-1", source="/other").id != event.id
    assert structured(id=EVENT_ID, source="/other").id == EVENT_ID
    assert "id" not in kept(structured())


def test_a_cause_of_the_same_source_is_found() -> None:
    """A causationid that is not a UUID becomes the derived id of that event."""
    effect = structured(causationid="A-1")
    assert effect.causation_id == structured(id="A-1").id
    assert kept(effect)["causationid"] == "A-1"
    assert structured(causationid=RUN_ID).causation_id == RUN_ID
    assert structured().causation_id is None


def test_an_event_is_not_its_own_cause() -> None:
    """An event may not name itself, by a UUID in either case or by its id within the source."""
    for changes in ({"causationid": EVENT_ID.upper()}, {"id": "A-1", "causationid": "A-1"}):
        assert wrong(**changes) == [(("body", "causationid"), "self_cause")]


def test_what_json_is_anyway_is_not_kept() -> None:
    """The content type application/json is not kept in the payload; another content type, and a schema, are kept."""
    assert "datacontenttype" not in kept(structured(datacontenttype="application/json"))
    assert kept(structured(datacontenttype="application/vnd.x+json"))["datacontenttype"] == "application/vnd.x+json"
    assert kept(structured(dataschema="https://x.example/s"))["dataschema"] == "https://x.example/s"


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "time", "subject", "authtype", "authid"])
def test_a_missing_attribute_is_named(name: str) -> None:
    """An attribute that is absent, null or empty is missing; one that is invalid is not reported as missing too."""
    assert wrong(**{name: ...}) == wrong(**{name: None}) == [(("body", name), "missing")]
    assert wrong(**{name: 1.5}) == wrong(**{name: [SECRET]}) == [(("body", name), "attribute_type")]
    if name != "specversion":
        assert wrong(**{name: 1}) == wrong(**{name: True}) == [(("body", name), "string_type")]
        assert wrong(**{name: ""}) == [(("body", name), "string_too_short")]
        assert wrong_binary(**{name: ""}) == [(("header", f"ce-{name}"), "string_too_short")]
    assert wrong_binary(**{name: ...}) == [(("header", f"ce-{name}"), "missing")]


@catches(replaced(ce, "_NULL", b"", "null_is_binary_data"))
def test_binary_data_that_is_null_was_left_out() -> None:
    """As every other attribute that is null."""
    assert structured(data_base64=None) == structured()


@pytest.mark.parametrize(
    ("name", "value", "type_"),
    [
        ("specversion", "0.3", "specversion"),
        ("specversion", 1, "specversion"),
        ("type", SECRET, "string_pattern_mismatch"),
        ("type", "com.example.Paid", "string_pattern_mismatch"),
        ("type", "whence.erased", "reserved"),
        ("time", "2026-01-02T03:04:05", "datetime_parsing"),
        ("time", "2026-01-02T03:09:05.000001Z", "datetime_future"),
        ("subject", SECRET, "subject_parsing"),
        ("subject", f"{SECRET}/{RUN_ID}", "enum"),
        ("subject", f"invoice/{SECRET}", "uuid_parsing"),
        ("subject", f"invoice/{RUN_ID}/x", "uuid_parsing"),
        ("subject", f"/{RUN_ID}", "enum"),
        ("authid", SECRET * 40, "string_too_long"),
        ("authid", SECRET + "\n", "string_control_character"),
        ("correlationid", "", "string_too_short"),
        ("correlationid", SECRET * 40, "string_too_long"),
        ("causationid", "", "string_too_short"),
        ("extra", 2**31, "attribute_type"),
        ("extra", -(2**31) - 1, "attribute_type"),
        ("extra", {"a": SECRET}, "attribute_type"),
        ("Extra", "x", "extra_forbidden"),
        ("my_extra", "x", "extra_forbidden"),
        ("eventType", "a.b", "extra_forbidden"),
        ("", "x", "extra_forbidden"),
        ("data_base64", "e30=", "dict_type"),
        ("data", None, "dict_type"),
        ("data", [{"a": SECRET}], "dict_type"),
        ("data", SECRET, "dict_type"),
        ("data", {"_ce": {}}, "reserved"),
    ],
    ids=ascii,
)
def test_each_problem_has_its_place_and_rule(name: str, value: object, type_: str) -> None:
    """The location is the attribute as it was sent; the message never repeats its value."""
    assert wrong(**{name: value}) == [(("body", name), type_)]


def test_integers_of_32_bits_are_attributes() -> None:
    """Every integer of 32 bits is accepted, including both limits."""
    assert kept(structured(a=2**31 - 1, b=-(2**31), c=False, d=None)) == {
        **{"a": 2**31 - 1, "b": -(2**31), "c": False, "source": "/billing", "specversion": "1.0"},
    }


@catches(replaced(ce, "repeated_keys", lambda compact: [], "repeats_are_not_seen"))
def test_no_attribute_stands_twice() -> None:
    """Duplicate attributes are refused in any spelling, and so are duplicate data and duplicate keys in it."""
    for member, loc, type_ in (
        ('"type":"invoice.paid"', "type", "duplicate_key"),
        (r'"\u0074ype":"invoice.paid"', "type", "duplicate_key"),
        ('"extra":1,"extra":1', "extra", "duplicate_key"),
        ('"data":{},"data":{}', "data", "duplicate_key"),
        ('"data":{"a":1,"a":1}', "data", "duplicate_key"),
        (r'"data":{"\u005fce":1}', "data", "reserved"),
        ('"data":{"a":1e400}', "data", "number_out_of_range"),
    ):
        body = json.dumps(sent())[:-1] + f",{member}}}"
        found = problems(lambda body=body: ce.parse_structured(body.encode(), CONTEXT))
        assert found == [(("body", loc), type_)], member


@pytest.mark.parametrize(
    ("body", "type_"),
    [(b"", "json_invalid"), (b"{", "json_invalid"), (b"[]", "dict_type"), (b"[" * 99_999, "json_depth")],
)
def test_a_body_that_is_no_object_is_refused_as_a_whole(body: bytes, type_: str) -> None:
    """The location of the problem is the body."""
    assert problems(lambda: ce.parse_structured(body, CONTEXT)) == [(("body",), type_)]


def test_bad_utf_8_is_named_at_its_attribute() -> None:
    """Invalid UTF-8 is reported at its attribute, and at `data`."""
    body = json.dumps(sent(authid="@@", data={"a": "@@"})).encode().replace(b"@@", b"\xff")
    assert problems(lambda: ce.parse_structured(body, CONTEXT)) == [
        (("body", "authid"), "string_unicode"),
        (("body", "data"), "string_unicode"),
    ]


def test_large_ones_are_refused_before_they_are_read() -> None:
    """A body may have 320 KiB, and data with the kept attributes 256 KiB, not counting white space between tokens."""
    fill = 256 * 1024 - len('{"a":"","_ce":{"source":"/billing","specversion":"1.0"}}')
    fitting = b'{"a":"%s"}' % (b"x" * fill)
    assert len(binary(fitting + b"\n" * 60_000).payload) == 256 * 1024
    assert len(structured(data={"a": "x" * fill}).payload) == 256 * 1024
    for body in (b'{"a":"%s"}' % (b"x" * (fill + 1)), b'{"a":"%s"}' % (b"x" * 256 * 1024), b" " * (320 * 1024 + 1)):
        with pytest.raises(TooLarge):
            binary(body, type="no type")
    for changes in ({"a": "x" * (fill + 1)}, {"a": "x" * 256 * 1024}):
        with pytest.raises(TooLarge):
            structured(data=changes, type="no type")


# ----------------------------------------------------------------------------------------------------------- binary


def test_attributes_come_in_headers() -> None:
    """Header names are in any case, values percent-encoded or quoted; the body is the data, and an empty body is
    `{}`."""
    raw = {
        "CE-SpecVersion": "1.0",
        "ce-id": "A%2D1",
        "Ce-Source": "/billing",
        "ce-type": "invoice.paid",
        "ce-time": '"2026-01-02T03:04:05Z"',
        "ce-subject": f"invoice%2F{RUN_ID}",
        "ce-authtype": "user",
        "ce-authid": r'"a\"da %C3%A9"',
        "ce-raw": "é\U0001f600".encode().decode("latin-1"),
        "content-type": "application/json; charset=utf-8",
        "authorization": "Bearer hunter2",
    }
    event = ce.parse_binary(raw, b' {"a" : 1} ', CONTEXT)
    assert (event.id, event.actor_id) == (derived_uuid("cloudevents:/billing", "A-1"), 'a"da é')
    assert (
        event.payload
        == (
            '{"a":1,"_ce":{"datacontenttype":"application/json; charset=utf-8","id":"A-1","raw":"é\U0001f600",'
            '"source":"/billing","specversion":"1.0"}}'
        ).encode()
    )
    for body in (b"", b" \r\n\t"):
        assert ce.parse_binary(raw, body, CONTEXT).payload.startswith(b'{"_ce":')


@catches(replaced(ce, "_BAD_ESCAPE", NEVER_BYTES, "a_bare_percent_passes"))
def test_bad_encoding_is_named_at_its_header() -> None:
    """A truncated escape, invalid UTF-8 and characters that a header cannot hold are refused at the header."""
    for value, type_ in (
        *(("%", "percent_encoding"), ("%4", "percent_encoding"), ("a%zz", "percent_encoding")),
        *(
            ("%FF", "string_unicode"),
            ("%ED%A0%80", "string_unicode"),
            ("\xff", "string_unicode"),
            ("\u0101", "string_unicode"),
        ),
    ):
        found = wrong_binary(more={"ce-authid": value})
        assert found == [(("header", "ce-authid"), type_)], ascii(value)


@pytest.mark.parametrize("name", ["ce-", "ce-a_b", "ce-data", "ce-datacontenttype", "ce-a-b", "ce-\u00e9"])
def test_a_header_that_names_no_attribute_is_refused(name: str) -> None:
    """`ce-data` and `ce-datacontenttype` are refused too: the body is the data, and Content-Type its type."""
    assert wrong_binary(more={name: "x"}) == [(("header", name), "extra_forbidden")]


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        (b"{", "json_invalid"),
        (b"null", "dict_type"),
        (b"[1]", "dict_type"),
        (b'{"a":1,"a":1}', "duplicate_key"),
        (b'{"_ce":1}', "reserved"),
    ],
)
def test_bad_data_is_named_at_the_body(body: bytes, type_: str) -> None:
    """In binary mode the data has no name, so the location is the body."""
    assert wrong_binary(body) == [(("body",), type_)]


texts = st.text(min_size=1, max_size=8)


@PROPERTY
@given(source=texts, id_=texts, cause=st.none() | texts, extra=texts, who=texts)
def test_binary_and_structured_are_the_same_event(
    source: str, id_: str, cause: str | None, extra: str, who: str
) -> None:
    """Any text in any attribute gives the same event in a header as in JSON, or is refused by the same rule."""
    changes = {"source": source, "id": id_, "extra": extra, "authid": who} | ({"causationid": cause} if cause else {})
    body = json.dumps(sent(**changes, data={"k": extra})).encode()
    data = json.dumps({"k": extra}).encode()
    try:
        expected = ce.parse_structured(body, CONTEXT)
    except Invalid as error:
        found = wrong_binary(data, **changes)
        assert [(("body", str(loc[-1]).removeprefix("ce-")), type_) for loc, type_ in found] == problems_of(error)
    else:
        assert binary(data, **changes) == expected


# ------------------------------------------------------------------------------------------------- batches and kinds


def test_each_event_of_a_batch_is_refused_for_itself() -> None:
    """Each problem has the index of its event; a batch that is not an array is refused as a whole."""
    batch = [sent(), sent(type=SECRET), {}, 1, sent(data={"a": "x" * 256 * 1024}), sent(id="A-1")]
    found = ce.parse_cloudevents_batch(json.dumps(batch).encode(), CONTEXT)
    assert isinstance(found[0], NewEvent)
    assert problems_of(found[1]) == [(("body", 1, "type"), "string_pattern_mismatch")]
    assert {loc for loc, _ in problems_of(found[2])} == {("body", 2, name) for name in sent() if name != "authid"}
    assert problems_of(found[3]) == [(("body", 3), "dict_type")]
    assert isinstance(found[4], TooLarge)
    assert isinstance(found[5], NewEvent)
    for body, type_ in ((b"{}", "list_type"), (b"[]", "batch_length"), (b"[{},]", "json_invalid")):
        assert problems(lambda body=body: ce.parse_cloudevents_batch(body, CONTEXT)) == [(("body",), type_)]


@pytest.mark.parametrize(
    ("content_type", "headers", "is_one"),
    [
        ("application/cloudevents+json", (), True),
        ("Application/CloudEvents+JSON; charset=utf-8", (), True),
        ("application/cloudevents-batch+json", (), True),
        ("application/json", ("ce-id",), True),
        ("", ("ce-specversion",), True),
        ("text/plain", ("ce-type",), True),
        ("application/json", (), False),
        ("application/json", ("ce-custom", "x-ce-id"), False),
        ("application/cloudevents", (), False),
        ("", (), False),
    ],
)
def test_how_a_cloudevent_is_known(content_type: str, headers: tuple[str, ...], is_one: bool) -> None:
    """A CloudEvent is recognised by its media type, or by one of the headers that are required in binary mode."""
    assert ce.is_cloudevents(content_type, dict.fromkeys(headers, "x")) is is_one
