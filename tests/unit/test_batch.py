"""Batches: how they are split into events, and how each event is accepted or refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.sent import CONTEXT, KEYED, SECRET, TENANT, body, event, problems, problems_of
from whence.errors import TooLarge
from whence.events import NewEvent
from whence.wire import event as wire
from whence.wire.event import IngestContext, parse_batch, split_batch
from whence.wire.ids import derived_uuid

MIB = 1024 * 1024


def array(*events: dict[str, Any]) -> bytes:
    return json.dumps(events, indent=1).encode()


def lines(*events: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(one).encode() for one in events)


def both(*events: dict[str, Any], ctx: IngestContext = CONTEXT) -> list[NewEvent | list[Any]]:
    """The parsed batch, which must be the same in both formats; problems in place of errors."""
    results = []
    for sent, ndjson in ((array(*events), False), (lines(*events), True)):
        parsed = parse_batch(sent, ndjson, ctx)
        results.append([one if isinstance(one, NewEvent | TooLarge) else problems_of(one) for one in parsed])
    first, second = results
    assert [repr(one) for one in first] == [repr(one) for one in second]
    return first


def ids(count: int) -> list[str]:
    return [f"0192d3f0-0000-7000-8000-{number:012x}" for number in range(count)]


def test_events_come_in_the_order_in_which_they_were_sent() -> None:
    """Parsed events keep the order of the batch."""
    sent = [event(id=one, actorId=f"a{number}") for number, one in enumerate(reversed(ids(5)))]
    parsed = both(*sent)
    assert [(one.id, one.actor_id) for one in parsed] == [(one["id"], one["actorId"]) for one in sent]


def test_each_event_is_refused_for_itself() -> None:
    """`loc` is the body, the index, then the name; the other events are accepted."""
    good = {"id": ids(1)[0]}
    parsed = both(event(**good), event(actorId="", nope=SECRET), event(**good), {}, event(**good))
    assert [isinstance(one, NewEvent) for one in parsed] == [True, False, True, False, True]
    assert parsed[1] == [(("body", 1, "actorId"), "string_too_short"), (("body", 1, "nope"), "extra_forbidden")]
    assert {loc for loc, type_ in parsed[3] if type_ == "missing"} == {("body", 3, name) for name in event()}


def test_what_is_no_event_is_refused_at_its_index() -> None:
    """A JSON value that is not an event is refused at its index."""
    parsed = [problems_of(one) for one in parse_batch(b'[1,null,"hunter2",[],[{}]]', False, CONTEXT)]
    assert parsed == [[(("body", index), "dict_type")] for index in range(5)]


def test_a_line_that_is_not_json_is_refused_for_itself() -> None:
    """The other lines are accepted; an array with such an item is not JSON and refused as a whole."""
    sent = [
        body(id=ids(1)[0]),
        b'{"actorId":"hunter2',
        b"{}{}",
        b"[" * 50_000,
        body(actorId="@@").replace(b"@@", b"\xff"),
    ]
    parsed = parse_batch(b"\n".join(sent), True, CONTEXT)
    assert isinstance(parsed[0], NewEvent)
    assert [problems_of(one) for one in parsed[1:]] == [
        [(("body", 1), "json_invalid")],
        [(("body", 2), "json_invalid")],
        [(("body", 3), "json_depth")],
        [(("body", 4, "actorId"), "string_unicode")],
    ]
    assert problems(lambda: parse_batch(b"[" + b",".join(sent[:3]) + b"]", False, CONTEXT)) == [
        (("body",), "json_invalid")
    ]


@catches(
    replaced(wire, "BATCH_EVENTS_MAX", 999, "an_event_less"),
    replaced(wire, "BATCH_EVENTS_MAX", 1001, "an_event_more"),
)
def test_a_batch_of_lines_has_1_to_1000_events() -> None:
    """0 and 1,001 events are refused as a whole; empty lines do not count."""
    assert len(split_batch(b"{}\n" * 1000, ndjson=True)) == 1000
    assert len(split_batch(b"{}\n\n \r\n" * 1000, ndjson=True)) == 1000
    for sent in (b"", b"\n\n", b" \r\n\t", b"{}\n" * 1001, b"{}\n" * 100_000):
        assert problems(lambda sent=sent: split_batch(sent, ndjson=True)) == [(("body",), "batch_length")]


def test_an_array_has_1_to_1000_events() -> None:
    """0 and 1,001 items are refused as a whole."""
    assert len(split_batch(b"[" + b",".join([b"{}"] * 1000) + b"]", ndjson=False)) == 1000
    for sent in (b"[]", b" [ ] ", b"[" + b",".join([b"{}"] * 1001) + b"]", b"[" + b"1," * 500_000 + b"1]"):
        assert problems(lambda sent=sent: split_batch(sent, ndjson=False)) == [(("body",), "batch_length")]


@pytest.mark.parametrize(
    ("sent", "type_"),
    [
        (b"", "json_invalid"),
        (b"[{}", "json_invalid"),
        (b"[{},]", "json_invalid"),
        (b"[{}]x", "json_invalid"),
        (b"[" * 100_000 + b"]" * 100_000, "json_depth"),
        (b"{}", "list_type"),
        (b"null", "list_type"),
        (b'"hunter2"', "list_type"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_array_that_is_none_is_refused_as_a_whole(sent: bytes, type_: str) -> None:
    """The location of the problem is the body."""
    assert problems(lambda: split_batch(sent, ndjson=False)) == [(("body",), type_)]


def test_a_large_batch_is_refused_before_it_is_read() -> None:
    """5 MiB are parsed; one byte more is refused for its size before it is found not to be JSON."""
    for ndjson, start in ((False, b"[1]"), (True, b"1")):
        assert split_batch(start.ljust(5 * MIB), ndjson) != []
        with pytest.raises(TooLarge, match="at most 5242880 bytes"):
            split_batch(b"{" * (5 * MIB + 1), ndjson)


def test_one_payload_that_is_too_large_harms_no_other() -> None:
    """The error is at the index of that event."""
    parsed = both(event(id=ids(1)[0]), event(payload={"a": "x" * (256 * 1024)}, actorId=""), event(id=ids(1)[0]))
    assert isinstance(parsed[1], TooLarge)
    assert parsed[0] == parsed[2]
    assert isinstance(parsed[0], NewEvent)


def test_lines_may_end_as_they_like() -> None:
    """CR LF, surrounding blanks and a missing final line end are accepted; escaped line ends in strings are kept."""
    assert split_batch(b'  {"a":1} \r\n\n\t{"b":"\\n"}\r\n[]', ndjson=True) == [
        b'{"a":1} \r',
        b'{"b":"\\n"}\r',
        b"[]",
    ]
    parsed = parse_batch(b"\r\n " + body(id=ids(1)[0]) + b" \r\n" + body(id=ids(2)[1]), True, CONTEXT)
    assert [one.id for one in parsed if isinstance(one, NewEvent)] == ids(2)


def test_an_idempotency_key_names_each_event_without_id() -> None:
    """The id follows from tenant, key and index, so the same batch sent again has the same ids."""
    parsed = both(event(), event(id=ids(1)[0]), event(), ctx=KEYED)
    assert [one.id for one in parsed] == [
        derived_uuid(TENANT, "order-1", "0"),
        ids(1)[0],
        derived_uuid(TENANT, "order-1", "2"),
    ]
    made = parse_batch(lines(event(), event()), True, CONTEXT)
    assert len({one.id for one in (*parsed, *made)}) == 5


def test_a_bad_idempotency_key_refuses_the_batch() -> None:
    """A bad Idempotency-Key concerns the whole batch and not a single event."""
    ctx = IngestContext(TENANT, CONTEXT.vocabulary, CONTEXT.now, "")
    found = problems(lambda: parse_batch(lines(event()), True, ctx))
    assert found == [(("header", "Idempotency-Key"), "string_too_short")]


documents = st.recursive(
    st.sampled_from(["1", "-0", "1E2", "null", '"],["', r'"\"]"', '"a b"', "{}", "[]"]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda items: "[ " + " , ".join(items) + "]")
        | inner.map(lambda value: f'{{ "]" : {value}}}')
    ),
    max_leaves=4,
)


def split_at_commas(body: bytes, ndjson: bool) -> list[bytes]:
    return wire.compact_json(body)[1:-1].split(b",")


@catches(replaced(wire, "split_batch", split_at_commas, "split_at_commas"))
@PROPERTY
@given(items=st.lists(documents, min_size=1, max_size=6))
def test_an_array_falls_into_its_items(items: list[str]) -> None:
    """Each item is returned unchanged except for surrounding white space, wherever brackets and commas appear."""
    compact = [wire.compact_json(item.encode()) for item in items]
    assert wire.split_batch(("[" + " ,\n".join(items) + " ]").encode(), ndjson=False) == compact
    assert [wire.compact_json(item) for item in wire.split_batch("\n".join(items).encode(), ndjson=True)] == compact
