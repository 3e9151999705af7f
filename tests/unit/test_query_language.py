"""The query language: what each text means, where its mistakes are, and that a query has one text."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.sent import CONTEXT, EVENT_ID, NOW, RUN_ID, SEALER, TENANT
from whence.errors import Invalid
from whence.events import Query, Viewer
from whence.wire import query as wire
from whence.wire import query_language as language
from whence.wire.feed import Places, parse_feed
from whence.wire.query_language import NAMES, TERM_VALUES_MAX, TEXT_LENGTH_MAX, ParsedText, parse_text, render, scan
from whence.wire.times import format_time

HOUR = 3_600_000_000


def parsed(text: str) -> ParsedText:
    return parse_text(text, now=NOW, vocabulary=CONTEXT.vocabulary)


def query_of(text: str) -> Query:
    found = parsed(text)
    assert not found.problems, (text, found.problems)
    times: dict[str, Any] = {
        name: time[0] for name, time in (("since", found.since), ("until", found.until)) if time is not None
    }
    return Query(**{**found.fields, **times})


MEANINGS: dict[str, dict[str, Any]] = {
    "type:action_run.failed": {"type_patterns": ("action_run.failed",)},
    "type:action_run.* -type:*.heartbeat": {
        "type_patterns": ("action_run.*",),
        "excluded_event_types": ("*.heartbeat",),
    },
    "type:a.b type:*.c.d type:a.b": {"type_patterns": ("a.b", "*.c.d")},
    "actor:agent/planner": {"actors": ("agent/planner",)},
    "actor:agent/*": {"actor_types": ("agent",)},
    "actor:planner": {"actor_ids": ("planner",)},
    "actor:*/team/planner actor:ada": {"actor_ids": ("team/planner", "ada")},
    "actor:robot/* actor:ada": {"actors": ("robot/", "*/ada")},
    'actor:"agent/Ada Lovelace"': {"actors": ("agent/Ada Lovelace",)},
    'actor:"agent/*"': {"actors": ("agent/*",)},
    r'actor:"a \"b\" \\c"': {"actor_ids": (r'a "b" \c',)},
    'actor:a"b': {"actor_ids": ('a"b',)},
    "-actor:agent/* -actor:agent/planner -actor:ada": {
        "excluded_actor_types": ("agent",),
        "excluded_actors": ("agent/planner", "*/ada"),
    },
    "outcome:failed outcome:success": {"outcomes": ("failure", "success")},
    "-outcome:none": {"excluded_outcomes": ("none",)},
    "resource:artifact resource:invoice/*": {"resource_types": ("artifact", "invoice")},
    "resource:event_log": {"resource_types": ("event_log",)},
    f"resource:artifact/{RUN_ID.upper()}": {"resources": (f"artifact/{RUN_ID}",)},
    f"resource:{RUN_ID}": {"resource_ids": (RUN_ID,)},
    f"resource:artifact resource:decision/{RUN_ID}": {"resources": ("artifact/", f"decision/{RUN_ID}")},
    f"-resource:artifact -resource:{RUN_ID}": {
        "excluded_resource_types": ("artifact",),
        "excluded_resources": (f"*/{RUN_ID}",),
    },
    f"flow:{EVENT_ID.upper()} -flow:b": {"correlation_ids": (EVENT_ID,), "excluded_correlation_ids": ("b",)},
    "cause:a -cause:b": {"causation_ids": ("a",), "excluded_causation_ids": ("b",)},
    "payload.tool:search payload.tool:7 payload.order.total:1E2": {
        "payload_values": ("tool=search", "tool=7", "order.total=1E2")
    },
    r'-payload.note:"a \"b\"" payload._ce.source:https://x?y=z:1': {
        "excluded_payload_values": ('note=a "b"',),
        "payload_values": ("_ce.source=https://x?y=z:1",),
    },
    "since:-1h until:2026-01-02T03:04:05Z": {"since": NOW - HOUR, "until": NOW},
    " \t type:a.b\n": {"type_patterns": ("a.b",)},
}


def without_signs(text: str) -> Any:
    return [language.Token(each.start, each.end, False, each.name, each.value) for each in scan(text)]


@catches(
    replaced(language, "scan", without_signs, "nothing_is_excluded"),
    replaced(language, "OUTCOME_WORDS", {word: word for word in language.OUTCOME_WORDS}, "outcomes_as_written"),
)
def test_what_a_text_means() -> None:
    """Each text sets these fields and no others."""
    for text, fields in MEANINGS.items():
        assert query_of(text) == Query(**fields), text


MISTAKES: list[tuple[str, int, str]] = [
    ("failed", 0, "A term is a name, a colon and a value."),
    ("type:a.b  status:failed", 1, "There is no such name"),
    ("event_type:a.b", 0, "the nearest is type"),
    ("type:", 0, "needs a value"),
    ("type:failed", 0, "An event type is like"),
    ("type:*", 0, "An event type is like"),
    ("type:a.*.b", 0, "An event type is like"),
    ("type:A.b", 0, "An event type is like"),
    ("outcome:bad", 0, "An outcome is one of"),
    ("actor:*", 0, "An actor is type/id"),
    ("actor:team/planner", 0, "Write */ before an id"),
    ("actor:agent/", 0, "must not be empty"),
    ("resource:*", 0, "A resource is a type"),
    ("resource:artifact/1", 0, "A UUID has"),
    ("resource:thing", 0, "A resource type is one of"),
    ("since:-1h since:-2h", 1, "only once"),
    ("-since:-1h", 0, "cannot be excluded"),
    ("since:tomorrow", 0, "A time is RFC 3339"),
    ("type:a.b until:-2h since:-1h", 2, "lies after"),
    ('actor:"ada', 0, "not closed"),
    ('actor:"ada"x', 0, "comes a blank"),
    ("flow:a\x00b", 0, "control characters"),
    ("payload.a\x00:b", 0, "A payload path is"),
    ("payload.:b", 0, "A payload path is"),
    ("payload.a..b:c", 0, "A payload path is"),
    ("payload.a.b.c.d.e:f", 0, "A payload path is"),
    ("payload.a:", 0, "needs a value"),
    ("type:a.b payload.a:" + "x" * 256, 1, "A payload value has"),
]


def at_the_first_term(text: str, **words: Any) -> ParsedText:
    found = parse_text(text, **words)
    problems = [type(each)(("query", "q", 0), each.msg, each.type) for each in found.problems]
    return ParsedText(found.fields, problems=tuple(problems))


@catches(replaced(language, "parse_text", at_the_first_term, "mistakes_are_at_the_first_term"))
def test_each_mistake_is_named_at_its_term() -> None:
    """The place is the index of the term, and the sentence does not repeat what was written."""
    for text, index, sentence in MISTAKES:
        (problem,) = language.parse_text(text, now=NOW, vocabulary=CONTEXT.vocabulary).problems
        assert problem.loc == ("query", "q", index), text
        assert sentence in problem.msg, (text, problem.msg)
        assert "planner" not in problem.msg or "agent/planner" in problem.msg


def test_every_mistake_is_reported() -> None:
    """One answer names all of them."""
    assert [each.loc[2] for each in parsed("x:1 type:a.b outcome:x").problems] == [0, 2]


def test_a_text_is_bounded() -> None:
    """Its length, and the values of one name."""
    assert parsed("flow:" + "a" * TEXT_LENGTH_MAX).problems[0].loc == ("query", "q")
    many = " ".join(f"flow:{number}" for number in range(TERM_VALUES_MAX + 1))
    assert parsed(many).problems[0].loc == ("query", "q", TERM_VALUES_MAX)
    assert not parsed(many.rpartition(" ")[0] + " flow:1").problems
    assert parsed(" \n").problems[0].loc == ("query", "q")


# ----------------------------------------------------------------------------------------------------- there and back

ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8) | st.sampled_from(
    ("*", "a*", '"', '"a b"', "a\\", "team/x", "team/", "-", RUN_ID, "since:-1h", "agent/*")
)
words = st.sampled_from(("a.b", "a.b.c", "a.*", "a.b.*", "*.b", "*.b.c", "d.b"))
actor_types = st.sampled_from(("agent", "user"))
resource_types = st.sampled_from(("artifact", "decision"))
uuids = st.sampled_from((RUN_ID, EVENT_ID))
actor_names = st.builds("{}/{}".format, st.just("*") | actor_types, ids)
resource_names = st.builds("{}/{}".format, st.just("*") | resource_types, uuids)


def some(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(values, max_size=3, unique=True).map(tuple)


texts = st.fixed_dictionaries(
    {
        "type_patterns": some(words),
        "actors": some(actor_names | actor_types.map("{}/".format)),
        "resources": some(resource_names | resource_types.map("{}/".format)),
        "outcomes": some(st.sampled_from(("success", "failure", "none"))),
        "correlation_ids": some(ids),
        "causation_ids": some(ids),
        "excluded_event_types": some(words),
        "excluded_actor_types": some(actor_types),
        "excluded_actors": some(actor_names),
        "excluded_resource_types": some(resource_types),
        "excluded_resources": some(resource_names),
        "excluded_outcomes": some(st.sampled_from(("success", "failure", "none"))),
        "excluded_correlation_ids": some(ids),
        "excluded_causation_ids": some(ids),
        "payload_values": some(st.builds("{}={}".format, st.sampled_from(("tool", "a.b")), ids)),
        "excluded_payload_values": some(st.builds("{}={}".format, st.sampled_from(("tool", "a.b")), ids)),
        "since": st.none() | st.integers(-(10**15), NOW),
        "until": st.none() | st.integers(NOW, 2 * NOW),
    }
)


def never_quoted(value: str, *, literal: bool = False) -> str:
    return value


def quoted_without_escapes(value: str, *, literal: bool = False) -> str:
    return f'"{value}"'


def quoted_unless_literal(value: str, *, literal: bool = False) -> str:
    return language_quoted(value)


language_quoted = language.quoted


@catches(
    replaced(language, "quoted", never_quoted, "never_quoted"),
    replaced(language, "quoted", quoted_without_escapes, "quoted_without_escapes"),
    replaced(language, "quoted", quoted_unless_literal, "a_star_is_never_quoted"),
)
@settings(PROPERTY, max_examples=examples(60))
@given(texts)
def test_a_query_is_the_same_after_its_text(filters: dict[str, Any]) -> None:
    """The text of a query parses to a query that has the same text and, where the query came from a text, to itself."""
    text = render(Query(**filters))
    assert text is not None
    if text:
        again = query_of(text)
        assert render(again) == text
        assert query_of(render(again) or "") == again


NAMED = [f"{type_}/{id_}" for type_ in ("agent", "user") for id_ in ("ada", "bob")]
TYPED = ["a.b", "a.c", "a.b.c", "d.b", "d.b.c", "e.f"]


def lets_pass(query: Query, event_type: str, actor: str) -> bool:
    """Whether a query matches an event of this type by this actor, said in the simplest way."""
    actor_type, _, actor_id = actor.partition("/")
    return (
        (
            not (query.event_types or query.event_type_prefixes)
            or event_type in query.event_types
            or any(event_type.startswith(prefix) for prefix in query.event_type_prefixes)
        )
        and (
            not query.type_patterns
            or any(
                event_type == one
                or (one[0] == "*" and event_type.endswith(one[1:]))
                or (one[-1] == "*" and event_type.startswith(one[:-1]))
                for one in query.type_patterns
            )
        )
        and (not query.actor_types or actor_type in query.actor_types)
        and (not query.actor_ids or actor_id in query.actor_ids)
        and (not query.actors or any(one in (actor, f"*/{actor_id}", f"{actor_type}/") for one in query.actors))
    )


joined = st.builds(
    Query,
    event_types=some(st.sampled_from(TYPED)),
    event_type_prefixes=some(st.sampled_from(("a.", "a.b.", "d."))),
    type_patterns=some(words),
    actor_types=some(actor_types),
    actor_ids=some(st.sampled_from(("ada", "bob"))),
    actors=some(st.sampled_from((*NAMED, "*/ada", "agent/"))),
)


def one_filter_of_actors(types: Any, ids: Any, names: Any) -> Any:
    return names or tuple(f"{type_}/" for type_ in types) or tuple(f"*/{id_}" for id_ in ids) or None


@catches(
    replaced(language, "_joined_names", one_filter_of_actors, "one_filter_of_actors"),
    replaced(language, "_covers", lambda pattern, other: pattern == other, "patterns_must_be_equal"),
)
@PROPERTY
@given(joined)
def test_the_text_of_joined_filters_matches_the_same(query: Query) -> None:
    """Plain filters and those of a text, joined, have a text that matches the same events; if there is none, nothing
    matches, or patterns of both ends are joined."""
    text = render(query)
    matching = [(one, actor) for one in TYPED for actor in NAMED if lets_pass(query, one, actor)]
    if text is None:
        ends = {pattern[-1] for pattern in query.type_patterns if pattern[0] == "*"}
        assert not matching or (ends and query.event_type_prefixes)
    else:
        again = query_of(text) if text else Query()
        assert matching == [(one, actor) for one in TYPED for actor in NAMED if lets_pass(again, one, actor)]


# --------------------------------------------------------------------------------------------------- beside parameters


def read(sent: str, route: str = "list") -> wire.ReadRequest:
    return wire.parse_read(
        route,
        sent.encode(),
        viewer=Viewer(TENANT),
        now=NOW,
        vocabulary=CONTEXT.vocabulary,
        sealer=SEALER,
        fixed={"correlation_id": "one"} if route == "correlation" else {},
    )


@catches(
    replaced(wire, "_in_both", lambda _some, others: tuple(others), "the_text_wins"),
    replaced(wire, "_in_both", lambda some, others: tuple(each for each in some if each in others), "case_counts"),
)
def test_q_and_parameters_must_both_match() -> None:
    """The values of one field that both name remain; without one, nothing matches. Of times the narrower one counts."""
    both = read("outcome=failure&outcome=none&q=outcome:failed+outcome:success").query
    assert both == Query(outcomes=("failure",))
    assert read("event_type=a.*&q=type:*.b").query == Query(event_type_prefixes=("a.",), type_patterns=("*.b",))
    nothing = Query(event_types=(wire.NO_EVENT_TYPE,))
    assert read("outcome=failure&q=outcome:success").query == nothing
    assert read("q=flow:two", "correlation").query == nothing
    assert read("q=flow:one", "correlation").query == Query(correlation_ids=("one",))
    upper = read(f"correlation_id={RUN_ID.upper()}&q=flow:{RUN_ID}").query
    assert upper == Query(correlation_ids=(RUN_ID,))
    mixed = read(f"correlation_id=5B0c{RUN_ID[4:]}&q=flow:{RUN_ID}").query
    assert mixed == Query(correlation_ids=(RUN_ID,))
    times = read("from=-2h&to=-1h&q=since:-3h+until:-90m").query
    assert times == Query(since=NOW - 2 * HOUR, until=NOW - 3 * HOUR // 2)


def test_a_relative_time_in_q_is_not_kept() -> None:
    """A request with it is parsed anew each time, and its cursor is bound to what was written."""
    assert read("q=since:-1h").is_relative
    assert read("from=2026-01-01&q=until:-1h").is_relative
    assert not read("q=since:2026-01-01+type:a.b").is_relative
    assert read("q=since:-1h").cursor_seed == read("from=-1h").cursor_seed
    assert read("q=since:-1h").cursor_seed != read("q=since:-2h").cursor_seed
    assert read("q=since:-1h").cursor_seed != read("from=-2h&q=since:-1h").cursor_seed


def test_times_that_run_backwards_together_are_refused() -> None:
    """As they are in from and to."""
    with pytest.raises(Invalid) as caught:
        read("to=-2h&q=since:-1h")
    assert [(each.loc, each.type) for each in caught.value.problems] == [(("query", "q"), "time_range")]


def test_every_route_with_filters_takes_q() -> None:
    """Lists, counts, histograms and feeds."""
    text = "q=-type:a.b+since:2026-01-01"
    since = 1_767_225_600_000_000
    wanted = Query(excluded_event_types=("a.b",), since=since)
    assert format_time(since) == "2026-01-01T00:00:00Z"
    for route in ("list", "aggregate", "actors"):
        assert read(text, route).query == wanted
    assert wire.parse_histogram(text.encode(), now=NOW, vocabulary=CONTEXT.vocabulary)[0] == wanted
    for route in ("feed", "stream"):
        asked = parse_feed(
            route,  # type: ignore[arg-type]  # of a loop
            text.encode(),
            viewer=Viewer(TENANT),
            now=NOW,
            vocabulary=CONTEXT.vocabulary,
            places=Places(SEALER),
        )
        assert asked.query == wanted


def test_the_names_are_those_of_the_table() -> None:
    """Each has a term that is taken."""
    used = {token.name for text in MEANINGS for token in scan(text)}
    assert set(NAMES) == {name for name in used if not name.startswith("payload.")}
