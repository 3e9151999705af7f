"""Query strings: the values that each parameter accepts, and the location of each problem."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.sent import CONTEXT, NOW, RUN_ID, SEALER, SECRET, TENANT, Problems, problems
from whence.errors import Invalid
from whence.events import PageRequest, Query, Viewer
from whence.wire import query as wire
from whence.wire.parameters import READ_PARAMETERS
from whence.wire.query import QueryReader, ReadRequest
from whence.wire.times import TIME_MAX_US, TIME_MIN_US, format_time

DAY = 86_400_000_000
FIXED: dict[str, dict[str, str]] = {
    "list": {},
    "aggregate": {},
    "actors": {},
    "event": {},
    "correlation": {"correlation_id": "flow/1"},
    "resource": {"resource_type": "action_run", "resource_id": RUN_ID.upper()},
}
PAGED = ("list", "correlation", "resource")
FILTERED = ("list", "aggregate", "actors")
FILTERS = {
    "event_type": "event_types",
    "resource_type": "resource_types",
    "resource_id": "resource_ids",
    "actor_id": "actor_ids",
    "actor_type": "actor_types",
    "outcome": "outcomes",
    "correlation_id": "correlation_ids",
    "causation_id": "causation_ids",
}
GOOD = {
    "event_type": ["action_run.completed", "a.b"],
    "resource_type": ["action_run", "invoice"],
    "resource_id": [RUN_ID, "00000000-0000-0000-0000-000000000000"],
    "actor_id": ["planner", 'a b&c=d+"é\U0001f600'],
    "actor_type": ["agent", "robot"],
    "outcome": ["success", "none"],
    "correlation_id": ["flow/1", "x" * 255],
    "causation_id": [RUN_ID, "not a uuid"],
}


PARSED = {route: parameters for route, parameters in READ_PARAMETERS.items() if route != "histogram"}
"""The routes that `read` reads; a histogram has a parser of its own, with the same filters."""


def encoded(sent: str | bytes | list[tuple[str, str]]) -> bytes:
    return sent if isinstance(sent, bytes) else (sent if isinstance(sent, str) else urlencode(sent)).encode()


def read(route: str, sent: str | bytes | list[tuple[str, str]] = b"", **changes: Any) -> ReadRequest:
    query_string = encoded(sent)
    context = {"viewer": Viewer(TENANT), "now": NOW, "vocabulary": CONTEXT.vocabulary, "sealer": SEALER}
    return wire.parse_read(route, query_string, **({**context, "fixed": FIXED[route]} | changes))


def wrong(route: str, sent: str | bytes | list[tuple[str, str]], **changes: Any) -> Problems:
    if route == "histogram":
        return problems(lambda: wire.parse_histogram(encoded(sent), now=NOW, vocabulary=CONTEXT.vocabulary))
    return problems(lambda: read(route, sent, **changes))


# ---------------------------------------------------------------------------------------------- what each route takes


def test_without_parameters_everything_is_asked_for() -> None:
    """Without parameters, a page has a hundred events from the start, newest first; a correlation is oldest first."""
    for route in PARSED:
        request = read(route)
        fixed = {
            FILTERS[name]: (text.lower() if name == "resource_id" else text,) for name, text in FIXED[route].items()
        }
        assert request.query == Query(**fixed)
        assert request.page == PageRequest(limit=100, offset=0, ascending=route == "correlation")
        assert request.include == frozenset()
        assert bool(request.cursor_seed) == (route in PAGED)


def test_the_parameters_of_the_contract_are_known() -> None:
    """Each of the contract's six routes accepts its parameters, with the contract's defaults and ranges."""
    contract = json.loads((Path(__file__).parents[1] / "api" / "events-api.openapi.json").read_text(encoding="utf-8"))
    routes = {
        "/api/v1/events": "list",
        "/api/v1/events/aggregate": "aggregate",
        "/api/v1/events/correlation/{correlation_id}": "correlation",
        "/api/v1/events/resource/{resource_type}/{resource_id}": "resource",
        "/api/v1/events/stats/by-actor": "actors",
        "/api/v1/events/{event_id}": "event",
    }
    assert contract["paths"].keys() == routes.keys()
    for path, operations in contract["paths"].items():
        known = {parameter.name: parameter for parameter in READ_PARAMETERS[routes[path]]}
        for asked in operations["get"]["parameters"]:
            if asked["in"] == "query":
                kept = known[asked["name"]].schema
                for key in ("default", "minimum", "maximum"):
                    assert kept.get(key) == asked["schema"].get(key), (path, asked["name"])


def test_every_filter_is_known_where_the_path_does_not_fix_it() -> None:
    """The routes of a correlation and a resource accept all filters except those in the path; a single event accepts
    none."""
    known = {route: {one.name for one in parameters} & FILTERS.keys() for route, parameters in READ_PARAMETERS.items()}
    assert known == {
        **dict.fromkeys((*FILTERED, "histogram"), FILTERS.keys()),
        "correlation": FILTERS.keys() - {"correlation_id"},
        "resource": FILTERS.keys() - {"resource_type", "resource_id"},
        "event": set(),
    }
    assert wrong("resource", f"resource_id={RUN_ID}") == [(("query", "resource_id"), "extra_forbidden")]
    assert wrong("correlation", "correlation_id=x") == [(("query", "correlation_id"), "extra_forbidden")]


def test_each_filter_reaches_its_field() -> None:
    """Values are kept in order and once each; UUIDs become lower case; any other text is unchanged."""
    for name, (first, second) in GOOD.items():
        for route in FILTERED:
            query = read(route, [(name, first), (name, second), (name, first)]).query
            assert query == Query(**{FILTERS[name]: (first, second)}), name
    for name in ("resource_id", "causation_id", "correlation_id", "actor_id"):
        assert read("list", [(name, RUN_ID.upper()), (name, RUN_ID)]).query == Query(**{FILTERS[name]: (RUN_ID,)})


@catches(replaced(wire, "asked_form", lambda _text, checked: checked, "mixed_case_is_lost"))
def test_a_uuid_in_mixed_case_is_asked_for_as_it_is() -> None:
    """Earlier releases stored the UUIDs of flows and actors as sent. One in mixed case is found by that text only."""
    mixed = "aB" + RUN_ID[2:]
    for name in ("correlation_id", "actor_id"):
        assert read("list", [(name, mixed)]).query == Query(**{FILTERS[name]: (mixed,)})
    assert read("list", [("causation_id", mixed)]).query == Query(causation_ids=(mixed.lower(),))


def test_different_filters_are_all_kept() -> None:
    """Different filters are all kept, and combine with AND."""
    everything = [(name, value) for name, values in GOOD.items() for value in values]
    assert read("list", everything).query == Query(**{FILTERS[name]: tuple(values) for name, values in GOOD.items()})


@catches(replaced(wire, "VALUES_MAX", 19, "one_less"), replaced(wire, "VALUES_MAX", 21, "one_more"))
def test_a_filter_has_at_most_20_alternatives() -> None:
    """The limit of 20 counts the values as sent, including repetitions."""
    for route in FILTERED:
        assert len(read(route, [("actor_id", str(number)) for number in range(20)]).query.actor_ids) == 20
        assert read(route, [("actor_id", "a")] * 20).query.actor_ids == ("a",)
        assert wrong(route, [("actor_id", "a")] * 21) == [(("query", "actor_id"), "too_many_values")]
        assert wrong(route, [("event_type", "a.b")] * 21) == [(("query", "event_type"), "too_many_values")]


@pytest.mark.parametrize(
    ("name", "value", "type_"),
    [
        ("resource_type", SECRET, "enum"),
        ("resource_type", "Action_run", "enum"),
        ("resource_id", SECRET, "uuid_parsing"),
        ("resource_id", RUN_ID.replace("-", ""), "uuid_parsing"),
        ("actor_id", SECRET * 40, "string_too_long"),
        ("actor_id", SECRET + "\0", "string_control_character"),
        ("actor_type", SECRET, "enum"),
        ("outcome", SECRET, "enum"),
        ("correlation_id", SECRET * 40, "string_too_long"),
        ("causation_id", SECRET + "\x85", "string_control_character"),
        ("event_type", SECRET * 40, "string_too_long"),
        ("event_type", "*", "wildcard"),
        ("from", SECRET, "datetime_parsing"),
        ("to", "24:00", "datetime_parsing"),
        ("order", SECRET, "enum"),
        ("order", "ASC", "enum"),
        ("include", SECRET, "enum"),
        ("include", "position,,outcome", "enum"),
        ("include", "Position", "enum"),
        ("include", "position, outcome", "enum"),
        ("cursor", SECRET, "cursor"),
    ],
    ids=ascii,
)
def test_each_problem_has_its_place_and_rule(name: str, value: str, type_: str) -> None:
    """One bad value among good ones is reported, and the message never repeats it."""
    assert wrong("list", [(name, value)]) == [(("query", name), type_)]
    if name in GOOD:
        assert wrong("list", [(name, GOOD[name][0]), (name, value)]) == [(("query", name), type_)]


def test_every_problem_is_named_at_once() -> None:
    """One response reports every problem."""
    sent = "limit=0&offset=x&from=y&to=z&actor_type=q&resource_id=1&order=up&include=all&nope=1&as_of=-1&outcome="
    assert {loc[1] for loc, _ in wrong("list", sent)} == {pair.split("=")[0] for pair in sent.split("&")}


# -------------------------------------------------------------------------------------------------- event types


@pytest.mark.parametrize(
    ("sent", "types", "prefixes"),
    [
        (["a.b"], ("a.b",), ()),
        (["a.b", "a.b"], ("a.b",), ()),
        (["action_run.*"], (), ("action_run.",)),
        (["a.b.*", "a.b", "c.*"], ("a.b",), ("a.b.", "c.")),
        (["whence.erased", "whence.*"], ("whence.erased",), ("whence.",)),
        (["a.b.c.d.e"], ("a.b.c.d.e",), ()),
        (["a.b.c.d.*"], (), ("a.b.c.d.",)),
        (["x" * 60 + "." + "y" * 65 + ".*"], (), ("x" * 60 + "." + "y" * 65 + ".",)),
        # A value that no event can have matches nothing, alone or with other values.
        (["A.b"], ("-",), ()),
        (["a"], ("-",), ()),
        (["a*"], ("-",), ()),
        (["*.b"], ("-",), ()),
        (["a.*.b"], ("-",), ()),
        ([".*"], ("-",), ()),
        (["a.b.c.d.e.*"], ("-",), ()),
        (["a.b.c.d.e.f"], ("-",), ()),
        (["a.b%"], ("-",), ()),
        (["\0"], ("-",), ()),
        (["A.b", "a.b"], ("a.b",), ()),
    ],
    ids=str,
)
def test_event_types_and_their_prefixes(sent: list[str], types: tuple[str, ...], prefixes: tuple[str, ...]) -> None:
    """A prefix ends on a whole segment. A value outside the grammar is no error: it matches nothing, never
    everything."""
    query = read("list", [("event_type", text) for text in sent]).query
    assert (query.event_types, query.event_type_prefixes) == (types, prefixes)


@catches(replaced(wire, "NO_EVENT_TYPE", "", "odd_types_are_nothing"))
def test_a_type_outside_the_grammar_is_still_a_filter() -> None:
    """A type outside the grammar becomes a filter value that no event type equals."""
    (stands,) = read("list", "event_type=%20").query.event_types
    assert stands
    assert not wire.is_event_type(stands)


def test_an_event_type_has_at_most_128_characters() -> None:
    """The limit also applies to a type outside the grammar, and counts the star of a prefix."""
    for text in ("é" * 128, "a." + "b" * 126, "a." + "b" * 124 + ".*"):
        assert read("list", [("event_type", text)]).query != Query()
        assert wrong("list", [("event_type", text + "x")]) == [(("query", "event_type"), "string_too_long")]


# ------------------------------------------------------------------------------------------------ numbers and order

NO_NUMBERS = [
    *(
        "1_0",
        "10.0",
        "1e1",
        "+1",
        "-1",
        "-0",
        " 1",
        "1 ",
        "1\n",
        "0x1",
        "\u0661",
        "\uff11",
        "\u00b2",
        "one",
        "1,0",
        "''",
    ),
]


@pytest.mark.parametrize("name", ["limit", "offset", "as_of"])
@pytest.mark.parametrize("text", NO_NUMBERS, ids=ascii)
def test_a_number_is_plain_digits(name: str, text: str) -> None:
    """Numbers are plain ASCII digits; other spellings that Python's int accepts are refused."""
    assert wrong("list", [(name, text)]) == [(("query", name), "int_parsing")]


@catches(
    replaced(wire, "LIMIT_MAX", 101, "a_page_of_101"),
    replaced(wire, "INT_MAX", 2**63, "a_number_of_64_bits"),
)
def test_numbers_have_their_ranges() -> None:
    """The limit is in 1..100 and never clamped; offset and as_of go up to 2^63-1."""
    for route in PAGED:
        assert [read(route, f"limit={text}").page.limit for text in ("1", "100", "007")] == [1, 100, 7]
        assert read(route, f"offset={2**63 - 1}").page.offset == 2**63 - 1
        assert read(route, f"as_of={2**63 - 1}").page.as_of == 2**63 - 1
        assert read(route, "as_of=0&offset=0").page == PageRequest(as_of=0, ascending=route == "correlation")
        for sent in ("limit=0", "limit=101", "limit=00", f"limit={'9' * 5000}", f"offset={2**63}", f"as_of={2**63}"):
            assert wrong(route, sent) == [(("query", sent.split("=")[0]), "out_of_range")]


def test_an_order_is_asked_for_by_its_name() -> None:
    """`order` overrides the default order of each list."""
    for route in PAGED:
        assert read(route, "order=asc").page.ascending is True
        assert read(route, "order=desc").page.ascending is False


def test_include_names_what_is_added() -> None:
    """`include` may be separated by commas or repeated; a single event has no nextCursor."""
    assert read("list", "include=position,outcome&include=nextCursor").include == {"position", "outcome", "nextCursor"}
    assert read("event", "include=recordedAt%2Cposition").include == {"recordedAt", "position"}
    assert wrong("event", "include=nextCursor") == [(("query", "include"), "enum")]
    assert wrong("aggregate", "include=position") == [(("query", "include"), "extra_forbidden")]


# ------------------------------------------------------------------------------------------------------------ times


def test_a_range_is_from_and_to() -> None:
    """Times may have any UTC offset, be a date, or be relative to now; a `+` that was decoded as a space is
    repaired."""
    for route in (*PAGED, "aggregate", "actors"):
        query = read(route, "from=2026-01-01&to=2026-01-02T05:04:05+02:00").query
        assert (query.since, query.until) == (NOW - DAY - (3 * 3600 + 245) * 1_000_000, NOW)
        query = read(route, "from=-7d&to=-0s").query
        assert (query.since, query.until) == (NOW - 7 * DAY, NOW)
        assert read(route, "to=2026-01-02T05:04:05%2B02:00").query == Query(
            until=NOW, **{FILTERS[name]: (value.lower(),) for name, value in FIXED[route].items()}
        )


def test_from_does_not_lie_behind_to() -> None:
    """`from` after `to` is refused; equal times are an empty range and no error."""
    assert read("list", "from=2026-01-01&to=2026-01-01").query.since is not None
    for sent in ("from=2026-01-02&to=2026-01-01", "from=-1s&to=-2s", "from=-1d&to=2025-01-01"):
        assert wrong("list", sent) == [(("query", "from"), "time_range")]


# ------------------------------------------------------------------------------------------------- the string itself


@catches(replaced(QueryReader, "has_valid_count", lambda self, name, texts: True, "the_first_of_two_decides"))
def test_what_is_said_once_is_not_said_twice() -> None:
    """A parameter that takes one value is refused when it is repeated, even with the same value."""
    for name, value in (
        *(("limit", "5"), ("offset", "5"), ("from", "2026-01-01"), ("to", "2026-01-01")),
        *(("order", "asc"), ("as_of", "5"), ("cursor", "x")),
    ):
        assert wrong("list", [(name, value)] * 2) == [(("query", name), "repeated")]


@catches(replaced(QueryReader, "has_valid_count", lambda self, name, texts: True, "empty_is_a_value"))
def test_an_empty_value_is_never_no_filter() -> None:
    """An empty value is refused for every parameter of every route, with and without an equals sign, alone or with
    others."""
    for route, parameters in READ_PARAMETERS.items():
        for name in (parameter.name.replace("{path}", "tool") for parameter in parameters):
            for sent in (f"{name}=", name, f"&{name}=&"):
                assert wrong(route, sent) == [(("query", name), "string_too_short")]
    assert wrong("list", "actor_id=a&actor_id=") == [(("query", "actor_id"), "string_too_short")]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("eventType", "event_type"),
        ("resourceId", "resource_id"),
        ("from_", "from"),
        ("From", "from"),
        ("LIMIT", "limit"),
        ("page_limit", "limit"),
        ("actor", "actor_id"),
        ("type", "event_type"),
    ],
)
def test_an_unknown_parameter_is_told_the_nearest(name: str, near: str) -> None:
    """The message suggests the nearest known parameter; the unknown name is only in `loc`."""
    with pytest.raises(Invalid) as caught:
        read("list", f"{name}=1")
    (problem,) = caught.value.problems
    assert (problem.loc, problem.type) == (("query", name), "extra_forbidden")
    assert problem.msg == f"No such parameter; the nearest is {near}."


@pytest.mark.parametrize("name", ["foo", "since", "x", "page", "sort"])
def test_no_parameter_is_suggested_that_is_not_near(name: str) -> None:
    """The message lists the parameters instead, once for all such names."""
    with pytest.raises(Invalid) as caught:
        read("list", f"{name}=1&bar=2")
    first, second = caught.value.problems
    known = ", ".join(each.name for each in READ_PARAMETERS["list"])
    assert first.msg == f"No such parameter; those of this address are {known}."
    assert (second.loc, second.msg) == (("query", "bar"), "No such parameter.")


def test_many_unknown_parameters_are_counted() -> None:
    """At most twenty unknown parameters are named, each once; the rest are counted."""
    found = wrong("list", "&".join(f"x{number}=1&x{number}=2" for number in range(25)))
    assert found == [
        *((("query", f"x{number}"), "extra_forbidden") for number in range(20)),
        (("query",), "extra_forbidden"),
    ]
    assert wrong("event", "limit=1&a%20b=2") == [
        (("query", "limit"), "extra_forbidden"),
        (("query", "a b"), "extra_forbidden"),
    ]


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"actor_id=a+b%20c", "a b c"),
        (b"actor_id=a%2Bb%26c%3Dd%25", "a+b&c=d%"),
        (b"actor_id=a=b=c", "a=b=c"),
        (b"%61ctor%5Fid=x", "x"),
        (b"&&actor_id=%F0%9F%98%80&", "\U0001f600"),
        ("actor_id=é".encode(), "é"),
        (b"actor_id=a;b", "a;b"),
    ],
)
def test_a_query_is_percent_encoded_utf_8(sent: bytes, text: str) -> None:
    """Names and values are percent-decoded as UTF-8; a plus is a space; a semicolon is not a separator."""
    assert read("list", sent).query.actor_ids == (text,)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        *(
            (b"%", "percent_encoding"),
            (b"%4", "percent_encoding"),
            (b"a%zz", "percent_encoding"),
            (b"%u00e9", "percent_encoding"),
        ),
        *(
            (b"%FF", "string_unicode"),
            (b"%ED%A0%80", "string_unicode"),
            (b"%C0%80", "string_unicode"),
            (b"\xff", "string_unicode"),
        ),
    ],
)
def test_bad_encoding_is_refused(value: bytes, type_: str) -> None:
    """Bad encoding is reported at the parameter, or at the query when the name cannot be decoded."""
    assert wrong("list", b"actor_id=" + value) == [(("query", "actor_id"), type_)]
    assert wrong("list", b"actor_id=a&actor_id=" + value) == [(("query", "actor_id"), type_)]
    assert wrong("list", value + b"=1") == [(("query",), type_)]


def test_the_same_mistake_is_named_once() -> None:
    """A repeated mistake is reported once, so that the response does not grow with the query."""
    assert wrong("list", b"&".join([b"%zz"] * 5_000)) == [(("query",), "percent_encoding")]
    assert wrong("list", b"&".join([b"actor_id=%FF"] * 5_000)) == [(("query", "actor_id"), "string_unicode")]


# -------------------------------------------------------------------------------------------------------- the path


def test_what_the_path_fixes_is_named_there() -> None:
    """`loc` is the path, then its parameter."""
    fixed = {"resource_type": SECRET, "resource_id": SECRET}
    assert wrong("resource", b"", fixed=fixed) == [
        (("path", "resource_type"), "enum"),
        (("path", "resource_id"), "uuid_parsing"),
    ]
    assert wrong("correlation", b"limit=0", fixed={"correlation_id": "x" * 256}) == [
        (("path", "correlation_id"), "string_too_long"),
        (("query", "limit"), "out_of_range"),
    ]
    assert wrong("correlation", b"", fixed={"correlation_id": ""}) == [(("path", "correlation_id"), "string_too_short")]


def test_a_query_says_nothing_of_its_viewer() -> None:
    """The viewer comes from the credential, and no parameter changes it."""
    narrowed = Viewer(TENANT, ("decision",))
    for route in PARSED:
        assert read(route, viewer=narrowed).query == read(route).query
        assert wrong(route, "readable=artifact", viewer=narrowed) == [(("query", "readable"), "extra_forbidden")]


# --------------------------------------------------------------------------------------------------------- anything

pairs = st.lists(
    st.tuples(
        st.sampled_from([*(one.name for one in READ_PARAMETERS["list"]), "nope", "", "%", "Limit"]),
        st.sampled_from(["", "1", "0", "-7d", "2026-01-01", "a.b", "asc", "position", RUN_ID, "success", "agent"])
        | st.text(max_size=4).map(lambda text: quote(text, errors="replace"))
        | st.binary(max_size=4).map(lambda raw: raw.decode("latin-1")),
    ),
    max_size=5,
)


@settings(PROPERTY, max_examples=examples(500))
@given(route=st.sampled_from(sorted(PARSED)), sent=pairs)
def test_any_query_is_read_or_refused(route: str, sent: list[tuple[str, str]]) -> None:
    """Any query string is parsed within the limits or refused with Invalid."""
    try:
        request = read(route, "&".join(f"{name}={value}" for name, value in sent).encode("latin-1"))
    except Invalid as error:
        names = {problem.loc[1] for problem in error.problems if len(problem.loc) > 1}
        assert error.problems
        assert all(isinstance(name, str) for name in names)
        return
    assert 1 <= request.page.limit <= 100
    assert 0 <= request.page.offset < 2**63
    query = request.query
    assert all(TIME_MIN_US <= time <= TIME_MAX_US for time in (query.since, query.until) if time is not None)
    assert query.since is None or query.until is None or format_time(query.since) <= format_time(query.until) + "~"
    assert all(getattr(query, field) for name, field in FILTERS.items() if name in dict(sent) and name != "event_type")
