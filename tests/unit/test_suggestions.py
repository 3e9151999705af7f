"""Completion: which part of a text it replaces, what it looks for, and what it offers first."""

from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.sent import CONTEXT, NOW, problems
from whence.names import FoundActor, FoundKind, FoundNames, NameSearch, PayloadValue, beginning
from whence.wire import suggestions
from whence.wire.query_language import parse_text
from whence.wire.suggestions import ACTORS_MAX, Slot, encode_suggestions, parse_suggest, search_of, slot_at

FOUND = FoundNames(
    kinds=[
        FoundKind("action_run.failed", "action_run", "agent", "failure", 73),
        FoundKind("action_run.completed", "action_run", "agent", "success", 900),
        FoundKind("agent.heartbeat", "agent_spec", "service", "none", 5),
        FoundKind("action_run.heartbeat", "action_run", "service", "none", 7),
    ],
    actors=[FoundActor("agent", "planner", 3), FoundActor("user", "Paul Jones", 9), FoundActor("robot", "*", 1)],
)


def offered(text: str, cursor: int | None = None, found: FoundNames = FOUND, limit: int = 20) -> list[dict[str, Any]]:
    sent = f"q={quote(text)}&limit={limit}" + ("" if cursor is None else f"&cursor={cursor}")
    body = encode_suggestions(parse_suggest(sent.encode()), found)
    answered: list[dict[str, Any]] = msgspec.json.decode(body)["suggestions"]
    return answered


def inserts(text: str, cursor: int | None = None) -> list[str]:
    return [each["insert"] for each in offered(text, cursor)]


SLOTS: list[tuple[str, int, Slot]] = [
    ("", 0, Slot(0, 0, False, "", "")),
    ("ty", 2, Slot(0, 2, False, "", "ty")),
    ("-ty", 3, Slot(0, 3, True, "", "ty")),
    ("type:action_run outcome:f", 9, Slot(0, 15, False, "type", "acti")),
    ("type:a.b ", 9, Slot(9, 9, False, "", "")),
    ("type:a.b  flow:x", 9, Slot(9, 9, False, "", "")),
    ('-actor:"Paul J', 14, Slot(0, 14, True, "actor", "Paul J")),
    ('actor:"Paul Jones" x', 11, Slot(0, 18, False, "actor", "Paul")),
    ("flow:\U0001f600 type:a", 14, Slot(7, 13, False, "type", "a")),
]


@catches(
    replaced(suggestions, "slot_at", lambda text, _cursor: slot_at(text, 10**6), "always_at_the_end"),
    replaced(suggestions, "slot_at", lambda text, cursor: slot_at(text[:cursor], cursor), "never_beyond_the_cursor"),
)
def test_the_term_at_the_cursor_is_completed() -> None:
    """With what is written of it up to there. A cursor counts UTF-16 code units."""
    for text, cursor, slot in SLOTS:
        asked = parse_suggest(f"q={quote(text)}&cursor={cursor}".encode())
        assert asked.slot == slot, (text, cursor)


def test_names_are_offered_first() -> None:
    """Then values of every sort that have the text in them."""
    assert inserts("")[:3] == ["type:", "actor:", "outcome:"]
    assert inserts("-")[0] == "-type:"
    assert "-since:" not in inserts("-")
    assert [(each["kind"], each["label"], each["count"]) for each in offered("fail")] == [
        ("event_type", "action_run.failed", 73),
        ("outcome", "failure", 73),
        ("actor", "user/Paul Jones", 9),
        ("actor", "agent/planner", 3),
        ("actor", "robot/*", 1),
    ]


def test_types_come_with_patterns_and_counts() -> None:
    """Those that begin as written come first, the most frequent of them at the top."""
    assert [(each["label"], each["count"]) for each in offered("type:act")] == [
        ("action_run.*", 980),
        ("action_run.completed", 900),
        ("action_run.failed", 73),
        ("action_run.heartbeat", 7),
    ]
    assert inserts("-type:*.") == ["-type:*.heartbeat"]
    assert inserts("type:heart")[0] == "type:action_run.heartbeat"


def test_actors_outcomes_resources_and_times() -> None:
    """Each is inserted so that it parses: in quotes where it must be."""
    assert inserts("actor:") == [
        "actor:agent/*",
        "actor:service/*",
        'actor:"user/Paul Jones"',
        "actor:agent/planner",
        'actor:"robot/*"',
    ]
    assert inserts("outcome:s") == ["outcome:success"]
    assert inserts("outcome:failed") == ["outcome:failure"]
    assert inserts("resource:") == ["resource:action_run", "resource:agent_spec"]
    assert inserts("since:-1") == ["since:-15m", "since:-1h", "since:-1d"]
    assert inserts("flow:") == inserts("nothing:") == []


def test_places_are_in_the_text_of_the_client() -> None:
    """`start` and `end` count UTF-16 code units."""
    (only,) = offered("flow:\U0001f600 outcome:s")
    assert (only["start"], only["end"]) == (8, 17)


def test_what_the_store_is_asked() -> None:
    """Actors by the beginning of their id, of the type that is written before it."""
    for text, ranges in (
        ("actor:pl", (beginning("pl"),)),
        ("actor:agent/pl", (beginning("pl", "agent"),)),
        ("actor:*/pl", (beginning("pl"),)),
        ("actor:team/pl", (beginning("team/pl"),)),
        ("pl", (beginning("pl"),)),
        ("type:pl", ()),
        ("", ()),
    ):
        asked = search_of(slot_at(text, len(text)), CONTEXT.vocabulary)
        fields = not text.startswith(("actor:", "type:"))
        assert asked == NameSearch(limit=ACTORS_MAX, kinds=True, actors=ranges, payload_fields=fields), text
    asked = search_of(slot_at("-payload.a.b:x", 14), CONTEXT.vocabulary)
    assert asked == NameSearch(limit=ACTORS_MAX, payload_values=beginning("x", "a.b"))


def test_payload_fields_and_their_values() -> None:
    """The paths that are indexed are names; their values come in quotes where they must."""
    values = [PayloadValue("tool", 'say "a"', 2), PayloadValue("tool", "book", 9), PayloadValue("tool", "new", None)]
    found = FoundNames(payload_fields=["order.currency", "tool"], payload_values=values)
    names = [each["insert"] for each in offered("-pay", found=found)]
    assert names == ["-payload.order.currency:", "-payload.tool:"]
    assert [(each["insert"], each["count"], each["kind"]) for each in offered("payload.tool:", found=found)] == [
        ("payload.tool:book", 9, "payload_value"),
        (r'payload.tool:"say \"a\""', 2, "payload_value"),
        ("payload.tool:new", None, "payload_value"),
    ]


@PROPERTY
@given(st.text(st.sampled_from('type:acor*/-. "\\\U0001f600'), max_size=20), st.integers(0, 20))
def test_a_suggestion_can_always_be_inserted(text: str, cursor: int) -> None:
    """Whatever is written: its place lies in the text, and the term that it makes parses."""
    units = len(text.encode("utf-16-le")) // 2
    for each in offered(text, min(cursor, units)):
        assert 0 <= each["start"] <= each["end"] <= units
        if each["kind"] != "name":
            assert not parse_text(each["insert"], now=NOW, vocabulary=CONTEXT.vocabulary).problems


@pytest.mark.parametrize(
    ("sent", "loc"),
    [("cursor=1", "cursor"), ("q=a&cursor=2", "cursor"), ("q=" + "a" * 4_001, "q"), ("limit=51", "limit")],
)
def test_a_bad_request_is_refused(sent: str, loc: str) -> None:
    """A cursor after the end, a text that is too long, too many suggestions."""
    assert [each[0] for each in problems(lambda: parse_suggest(sent.encode()))] == [("query", loc)]
