"""What a pasted text may name."""

from urllib.parse import quote

import pytest

from tests.unit.mutants import catches, replaced
from tests.unit.sent import CONTEXT, EVENT_ID, RUN_ID, problems
from whence.events import Viewer
from whence.names import NameRange, NameSearch, beginning
from whence.wire import search as searching
from whence.wire.search import MATCHES_MAX, SearchRequest, parse_search

VIEWER = Viewer("acme")
NARROW = Viewer("acme", ("artifact",))
UPPER = RUN_ID.upper()


def searched(text: str, viewer: Viewer = VIEWER) -> SearchRequest:
    return parse_search(f"text={quote(text, safe='')}".encode(), viewer=viewer, vocabulary=CONTEXT.vocabulary)


def names(**fields: object) -> SearchRequest:
    return SearchRequest(names=NameSearch(limit=MATCHES_MAX, **fields))  # type: ignore[arg-type]  # of a table


def exactly(text: str, type_: str | None = None) -> tuple[NameRange, ...]:
    return (NameRange(text, text, type_),)


OF_RUN = (NameRange(RUN_ID, RUN_ID), NameRange(UPPER, UPPER))
ADDRESSES = [
    (f"https://whence.example/base/e/{EVENT_ID}?x=1#y", names(events=NameRange(EVENT_ID, EVENT_ID))),
    (f"http://localhost:8080/trace/{EVENT_ID.upper()}", names(events=NameRange(EVENT_ID, EVENT_ID))),
    (f"http://h/api/v1/events/{EVENT_ID}/trace", names(events=NameRange(EVENT_ID, EVENT_ID))),
    ("http://h/flows/a%2Fb", names(flows=exactly("a/b"))),
    (f"http://h/r/artifact/{UPPER}", names(resources=exactly(RUN_ID, "artifact"))),
    ("http://h/actors/agent/Ada%20L", names(actors=exactly("Ada L", "agent"))),
    ("http://h/explore?q=type:a.b", names()),
    ("http://[", names()),
    ("http://h/flows/%00", names()),
]


@catches(replaced(searching, "unquote", lambda text: text, "addresses_as_they_are_escaped"))
def test_an_address_names_what_its_page_is_about() -> None:
    """On every host and below every path; other addresses name nothing."""
    for text, wanted in ADDRESSES:
        assert searched(text) == wanted, text


def test_a_position() -> None:
    """Only for those who see every event."""
    assert searched(" @5539 ") == SearchRequest(position=5539)
    assert problems(lambda: searched("@5539", NARROW)) == [(("query", "text"), "narrowed")]
    assert problems(lambda: searched("@0")) == [(("query", "text"), "reference_parsing")]


def test_an_id_may_be_that_of_anything() -> None:
    """A whole UUID is looked for as it is, in the spellings that a store may have."""
    wanted = names(
        events=NameRange(RUN_ID, RUN_ID), actors=OF_RUN, flows=OF_RUN, resources=(NameRange(RUN_ID, RUN_ID),)
    )
    assert searched(RUN_ID) == searched(RUN_ID, NARROW) == wanted


def of_any_type(text: str, _type: str | None = None) -> tuple[NameRange, ...]:
    return exactly(text)


@catches(replaced(searching, "_exactly", of_any_type, "types_are_ignored"))
def test_type_and_id() -> None:
    """As an actor or a resource, and as an id that has a slash itself."""
    assert searched("agent/planner", NARROW) == names(
        actors=(*exactly("agent/planner"), *exactly("planner", "agent")), flows=exactly("agent/planner")
    )
    assert searched(f"artifact/{RUN_ID}", NARROW).names.resources == (NameRange(RUN_ID, RUN_ID, "artifact"),)


def test_the_beginning_of_an_id() -> None:
    """From three characters on; as digits of a UUID from four. Not for one who may not see every event."""
    digits = NameRange("5b0c0000-0000-0000-0000-000000000000", "5b0cffff-ffff-ffff-ffff-ffffffffffff")
    found = (*exactly("5b0c"), beginning("5b0c"))
    assert searched("5b0c") == names(events=digits, actors=found, flows=found, resources=(digits,))
    assert searched("pla").names.actors == (*exactly("pla"), beginning("pla"))
    assert searched("pl") == names(actors=exactly("pl"), flows=exactly("pl"))
    assert searched("5b0c", NARROW) == names(actors=exactly("5b0c"), flows=exactly("5b0c"))


@pytest.mark.parametrize(
    ("sent", "type_"), [("", "missing"), ("text=%20", "missing"), ("text=a%00", "string_control_character")]
)
def test_a_text_that_names_nothing_is_refused(sent: str, type_: str) -> None:
    """No text, one of blanks, and one that no id can be."""
    found = problems(lambda: parse_search(sent.encode(), viewer=VIEWER, vocabulary=CONTEXT.vocabulary))
    assert found == [(("query", "text"), type_)]
