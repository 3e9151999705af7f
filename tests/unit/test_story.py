"""How a trace is shown: one straight line of causes, branches only where there are any, pairs, folds and gaps."""

import re
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from tests.unit.mutants import catches, replaced
from tests.unit.traces_made import node, trace_of
from whence.cli import story as story_module
from whence.cli import story_text as story_text_module
from whence.cli.layout import Style, cut, message_lines, wrapped
from whence.cli.story import Fold, More, Row, objects_in, runs_joined, story_of
from whence.cli.story_text import StoryContext, led_to_lines, since, story_lines, summary
from whence.sentences import load_grammar, sentence_of
from whence.wire.trace_bodies import NodeBody, TraceBody

GRAMMAR = load_grammar()
ABSENT = "00000000-0000-4000-8000-000000000099"
"""The id of an event that is not there."""


def line(*types: str, first: str = "n1") -> list[NodeBody]:
    """Events of these types, each the effect of the one before."""
    ids = [f"n{number}" for number in range(1, len(types) + 1)]
    causes: Sequence[str | None] = [None, *ids]
    return [node(id_, cause, kind) for id_, cause, kind in zip(ids, causes, types, strict=False)]


def text_of(trace: TraceBody, width: int | None = None, *, full: bool = False, colour: bool = False) -> StoryContext:
    sentences = {each.id: sentence_of(each, b"{}", GRAMMAR) for each in trace.nodes}
    return StoryContext(trace, sentences, GRAMMAR, Style(width, colour), full)


def lines(trace: TraceBody, width: int | None = None, *, full: bool = False) -> list[str]:
    return story_lines(story_of(trace, full=full), text_of(trace, width, full=full))


def test_a_chain_is_one_straight_line() -> None:
    """However long it is: solid above the event in question, dotted below it."""
    trace = trace_of(line(*["a.noted"] * 30), "n20")
    shown = lines(trace, full=True)
    rows = [each for each in shown if each.lstrip().startswith("@")]
    assert re.sub("[^│┊]", "", "".join(rows)) == "│" * 20 + "┊" * 10
    assert len({each.index("ada") for each in rows}) == 1


@catches(replaced(story_module, "_EFFECTS_MAX", 100, "any_number_of_siblings"))
def test_only_branches_stand_further_in() -> None:
    """Effects of one cause stand side by side; of more than five, failures are shown first and the rest is counted."""
    nodes = [node("n1"), *(node(f"b{number}", "n1") for number in range(7)), node("b7", "n1", "a.failed")]
    nodes.append(node("c", "b7"))
    story = story_of(trace_of(nodes, "n1"))
    assert [step.level for step in story.led_to] == [1] * len(story.led_to)
    assert [row.node.id for row in story.rows] == ["n1", "b0", "b1", "b2", "b3", "b7", "c"]
    assert [(step.effects, step.failures) for step in story.led_to if isinstance(step, More)] == [(3, 0)]
    shown = led_to_lines(story, text_of(trace_of(nodes, "n1")))
    assert [each.split("┊")[1][1] for each in shown[:4]] == ["├", "├", "├", "├"]
    assert shown[-1].endswith("┊ └  +3 more")
    assert len(story_of(trace_of(nodes, "n1"), full=True).rows) == 10


def test_what_continues_a_branch_has_no_corner() -> None:
    """A lone effect goes on below the first row of its branch, beside the line that leads to the next one."""
    nodes = [node("n1"), node("a1", "n1"), node("a2", "a1"), node("b1", "n1"), node("b2", "b1")]
    trace = trace_of(nodes, "n1")
    shown = led_to_lines(story_of(trace, full=True), text_of(trace))
    assert [each.split("┊")[1][:2] for each in shown] == [" ├", " │", " └", "  "]


@catches(replaced(story_text_module.StoryColumns, "_line_at", lambda self, level: " ", "no_line_passes_by"))
def test_lines_of_outer_branches_pass_by() -> None:
    """Also beside the second line of a row. After the last effect of a cause, its line has ended."""
    nodes = [node("n1"), node("a", "n1"), node("a1", "a"), node("a2", "a", "a.failed"), node("b", "n1")]
    nodes += [node("b1", "b"), node("b2", "b")]
    trace = trace_of(nodes, "n1")
    shown = led_to_lines(story_of(trace, full=True), text_of(trace, full=True))
    assert [each.split("┊")[1][:4] for each in shown] == [" ├  ", " │ ├", " │ └", " └  ", "   ├", "   └"]
    narrow = led_to_lines(story_of(trace), text_of(trace, 32))
    assert [each.split("┊")[1][:4] for each in narrow[2:4]] == [" │ └", " │  "]


@catches(replaced(story_text_module, "_fold_corner", lambda fold: "", "stretches_of_no_branch"))
def test_a_stretch_stands_on_the_line_of_its_branches() -> None:
    """With a corner if a branch begins in it, which is the last one or not; else beside the line that leads on."""
    nodes = [node("n1"), *(node(f"{one}1", "n1") for one in "abc")]
    nodes += [node(f"{one}{number}", f"{one}{number - 1}") for one in "abc" for number in range(2, 7)]
    for failing, corners in (("", [" ├", " └", "  "]), ("b1", [" ├", " │", " │", " │", " ├", " │", " │", " └", "  "])):
        made = [msgspec.structs.replace(each, outcome="failure") if each.id == failing else each for each in nodes]
        trace = trace_of(made, "n1")
        assert [each.split("┊")[1][:2] for each in led_to_lines(story_of(trace), text_of(trace))] == corners


def test_a_start_and_its_end_share_a_row() -> None:
    """With how long it took; but the event in question and its cause each have their own."""
    nodes = line("a.noted", "run.started", "run.completed", "run.started", "run.failed", "run.started", "run.failed")
    nodes = [
        node(each.id, each.causation_id, each.event_type, resource_id=f"r{number // 2}")
        for number, each in enumerate(nodes, 1)
    ]
    trace = trace_of(nodes, "n5")
    story = story_of(trace)
    assert [[each.id for each in row.nodes] for row in story.rows] == [
        ["n1"],
        ["n2", "n3"],
        ["n4"],
        ["n5"],
        ["n6", "n7"],
    ]
    shown = lines(trace)
    assert any("ada started thing r1 (1.0 s)" in each for each in shown)
    assert any("✗ ada started thing r3 failed (1.0 s)" in each for each in shown)


NOT_AN_END = [
    node("n2", "n1", "run.started", resource_id="r"),
    node("n3", "n2", "run.completed", resource_id="other"),
    node("n4", "n3", "run.started", resource_id="q"),
    node("n5", "n4", "task.completed", resource_id="q"),
]


def test_what_is_no_end_of_a_start_stays_alone() -> None:
    """Another resource, or another kind of event."""
    story = story_of(trace_of([node("n1"), *NOT_AN_END], "n1"))
    assert all(row.end is None for row in story.rows)


def never_near(*_: object) -> bool:
    return True


@catches(
    replaced(story_module, "_is_calm", never_near, "failures_are_calm"),
    replaced(story_module, "_NEAR_FAILURE", 0, "alone_with_the_failure"),
)
def test_a_failure_is_never_folded_away() -> None:
    """Nor what is within two rows of it; a calm stretch of three or more is, and is counted."""
    types = ["a.noted"] * 40
    types[15] = "a.failed"
    trace = trace_of(line(*types), "n40")
    story = story_of(trace)
    shown = [int(row.node.id[1:]) for row in story.rows]
    assert shown == [1, 2, 14, 15, 16, 17, 18, *range(31, 41)]
    assert [len(step.nodes) for step in story.because if isinstance(step, Fold)] == [11, 12]
    assert sum(len(step.nodes) for step in story.because if isinstance(step, Fold | Row)) == 39
    assert sum("┈ 12 events: 12 things, 11.0 s" in each for each in lines(trace)) == 1
    assert len(story_of(trace, full=True).rows) == 40


def context_with(trace: TraceBody, payloads: Mapping[str, bytes], *, full: bool = False) -> StoryContext:
    """What is needed to show a trace whose events have these payloads."""
    sentences = {each.id: sentence_of(each, payloads.get(each.id, b"{}"), GRAMMAR) for each in trace.nodes}
    return StoryContext(trace, sentences, GRAMMAR, Style(), full)


def shown_with(trace: TraceBody, payloads: Mapping[str, bytes], *, full: bool = False) -> list[str]:
    """The lines of a trace whose events have these payloads, without references and times."""
    context = context_with(trace, payloads, full=full)
    shown = story_lines(story_of(trace, objects_in(context.sentences), full=full), context)
    return [re.sub(r"^ *(@\d+ \+\S+)? ", "", each) for each in shown]


CALLS = [node("n1")] + [
    node(f"n{number}", f"n{number - 1}", kind, actor_id=actor, resource_id=f"r{number // 2}")
    for number in range(2, 12, 2)
    for number, kind, actor in ((number, "action_run.started", "bot"), (number + 1, "action_run.completed", "api"))
]
"""Five calls one after another, each a start and its end."""


def called(tool: str, amount: int = 7) -> bytes:
    return f'{{"tool":"{tool}","arguments":{{"amount":{amount}}}}}'.encode()


def joined_anyway(row: Row, later: Row, object_of: object) -> Row:
    """Mutant: whatever comes next is the same."""
    return msgspec.structs.replace(row, repeats=(*row.repeats, later))


@catches(
    replaced(story_module, "joined", lambda *_: None, "runs_of_equal_rows"),
    replaced(story_module, "joined", joined_anyway, "one_row_for_all"),
)
def test_equal_rows_are_one_with_their_number() -> None:
    """The same actor did the same to the same object: one row, with the last reference and the time that all took. A
    detail that differs is that of the last one. --full shows each.
    """
    payloads = {f"n{number}": called("pay") for number in (2, 4, 6)} | {"n8": called("pay", 8), "n10": called("refund")}
    assert shown_with(trace_of(CALLS, "n1"), {**payloads, "n8": called("pay")})[2:] == [
        "┊  bot called pay ×4 amount 7 (7.0 s)",
        "┊  bot called refund amount 7 (1.0 s)",
    ]
    assert shown_with(trace_of(CALLS, "n1"), payloads)[2] == "┊  bot called pay ×4, last amount 8 (7.0 s)"
    context = context_with(trace_of(CALLS, "n1"), payloads)
    line = story_lines(story_of(context.trace, objects_in(context.sentences)), context)[2]
    assert line.startswith(" @9 +0:01.0 ┊")
    assert sum("called" in each for each in shown_with(trace_of(CALLS, "n1"), payloads, full=True)) == 5
    assert not any(row.repeats for row in story_of(context.trace, objects_in({})).rows), "no name is known"


def test_rows_that_differ_are_no_run() -> None:
    """In the tool, the actor, how it ended, or where it stands; nor what somebody said, or what is doubtful."""
    payloads = {f"n{number}": called("pay") for number in range(2, 12, 2)}

    def rows(**changed: dict[str, object]) -> int:
        nodes = [msgspec.structs.replace(each, **changed.get(each.id, {})) for each in CALLS]
        return sum("called" in each for each in shown_with(trace_of(nodes, "n1"), payloads))

    assert rows() == 1
    assert rows(n6={"actor_id": "ada"}) == rows(n7={"actor_id": "ada"}) == 3
    assert rows(n7={"event_type": "action_run.cancelled"}) == rows(n7={"skewed": True, "since_cause_us": -1}) == 3
    assert rows(n7={"event_type": "action_run.failed", "outcome": "failure"}) == 3
    said = [node("n1"), *(node(f"n{number}", f"n{number - 1}", "inbound_message.received") for number in (2, 3))]
    said = [msgspec.structs.replace(each, resource_type="inbound_message", resource_id="r") for each in said]
    wrote = {each.id: b'{"text":"Yes."}' for each in said}
    assert sum("wrote" in each for each in shown_with(trace_of(said, "n1"), wrote)) == 2


def test_effects_of_one_event_are_a_run_too() -> None:
    """If they led to nothing. A run is one of the five effects that are shown, and its corner is that of the last."""
    sent = [node(f"s{number}", "n1", resource_id="hook") for number in range(9)]
    others = [node(f"o{number}", "n1") for number in range(4)]
    shown = shown_with(trace_of([node("n1"), *sent, *others], "n1"), {})[2:]
    assert shown[0] == "┊ ├  ada noted thing hook ×9 (8.0 s)" and shown[-1] == "┊ └  ada noted thing o3"
    assert shown_with(trace_of([node("n1"), *sent], "n1"), {})[2:] == ["┊ └  ada noted thing hook ×9 (8.0 s)"]
    led = node("x", "s3")
    shown = shown_with(trace_of([node("n1"), *sent[:6], led], "n1"), {})[2:]
    assert [re.sub("[^×0-9.]", "", each.partition("(")[0]) for each in shown] == ["×3", "", "", "×2"]


def test_the_root_and_the_nearest_cause_are_in_no_run() -> None:
    """Nor is the event in question, so that each has its reference. What was joined counts as one row of those that are
    never folded.
    """
    nodes = [node("n1", resource_id="r")]
    nodes += [node(f"n{number}", f"n{number - 1}", resource_id="r") for number in range(2, 101)]
    shown = shown_with(trace_of(nodes, "n100"), {})
    assert shown == [
        "Because 99 events",
        "│  ada noted thing r",
        "│  ada noted thing r ×97 (1 min 36 s)",
        "│  ada noted thing r",
        "│  ada noted thing r",
    ]
    folded = story_of(trace_of(nodes, "n100"))
    assert len(folded.because) == 12
    sentences = {each.id: sentence_of(each, b"{}", GRAMMAR) for row in folded.rows for each in row.nodes}
    late = runs_joined(folded, objects_in(sentences))
    assert [len(step.rows) for step in late.because] == [1, 1, 88, 8, 1], "only what is shown was known"
    known = {
        id_: sentence for id_, sentence in context_with(trace_of(nodes, "n100"), {}).sentences.items() if id_ != "n50"
    }
    parts = story_of(trace_of(nodes, "n100"), objects_in(known))
    assert [len(step.rows) for step in parts.because] == [1, 48, 1, 48, 1]
    whole = runs_joined(parts, objects_in(context_with(trace_of(nodes, "n100"), {}).sentences))
    assert [(len(step.rows), len(step.nodes)) for step in whole.because] == [(1, 1), (97, 97), (1, 1)]


def test_doubts_are_shown_and_never_folded() -> None:
    """An effect before its cause, one in another flow, and a circle that was cut."""
    nodes = line(*["a.noted"] * 30)
    nodes[9] = node("n10", "n9", skewed=True, since_cause_us=-1_200_000)
    nodes[14] = node("n15", "n14", other_flow=True)
    nodes[19] = node("n20", "n19", cycle=True)
    text = "\n".join(lines(trace_of(nodes, "n30")))
    assert "(1.2 s before its cause)" in text
    assert "(in another flow than its cause)" in text
    assert "(its cause is one of its own effects: cut here)" in text


def test_a_long_time_without_events_is_said() -> None:
    """Eight times the usual time, and at least ten seconds."""
    nodes = line(*["a.noted"] * 6)
    nodes[3] = node("n4", "n3", since_root_us=11_520_000_000)
    nodes[4] = node("n5", "n4", since_root_us=11_521_000_000)
    nodes[5] = node("n6", "n5", since_root_us=11_522_000_000)
    shown = lines(trace_of(nodes, "n6"))
    assert [each.split("│")[1].strip() for each in shown if "later" in each] == ["3 h 11 min later"]
    assert not any("later" in each for each in lines(trace_of(line(*["a.noted"] * 6), "n6")))


@pytest.mark.parametrize("width", [60, 80, 160])
def test_lines_fit_the_terminal(width: int) -> None:
    """The event in question and failures are wrapped, with a hanging indent; other rows are cut, and say so."""
    nodes = line("a.noted", "a.noted", "a.noted", "a.failed")
    actor = "wide 漢字 " * 20
    trace = trace_of([node(each.id, each.causation_id, each.event_type, actor_id=actor) for each in nodes], "n3")
    shown = lines(trace, width)
    assert all(len(each) + each.count("漢") + each.count("字") <= width for each in shown)
    assert shown[1].endswith("…")
    assert all(len(each) + each.count("漢") + each.count("字") <= width for each in lines(trace, width, full=True))
    assert sum(each.count("漢") for each in shown[2:]) == 60


def test_positions_are_references_and_ids_where_there_are_none() -> None:
    trace = trace_of(line("a.noted", "a.noted"), "n2")
    assert lines(trace)[1].lstrip().startswith("@1 ")
    hidden = [node(each.id, each.causation_id) for each in trace.nodes]
    bare = TraceBody(**{**{name: getattr(trace, name) for name in TraceBody.__struct_fields__}, "nodes": hidden})
    assert lines(bare)[1].startswith("n1 ")


def test_the_summary_is_a_paragraph() -> None:
    """What happened, two causes at most, how far the root lies, failures on the way, and what it led to."""
    nodes = line("a.noted", "b.failed", "a.noted", "c.failed", "a.noted", "d.failed")
    assert summary(text_of(trace_of(nodes, "n4"))) == (
        "thing n4 failed. That is because ada noted thing n3, because ada failed thing n2. The root lies 3 hops and "
        "3.0 s back; 1 cause on the way failed too. It led to 2 events in 2.0 s, and 1 of them failed."
    )
    assert summary(text_of(trace_of(nodes, "n1"))).startswith(
        "ada noted thing n1. Nothing came before it: it is the root."
    )
    assert summary(text_of(trace_of(nodes, "n6"))).endswith("It has led to nothing so far.")


def test_what_was_not_read_is_counted() -> None:
    """A trace that was cut says of how many events it shows some."""
    nodes = line("a.noted", "a.noted", "a.noted")
    trace = trace_of(nodes, "n2", truncated=True)
    cut_short = msgspec.structs.replace(
        trace,
        nodes=[trace.nodes[0], msgspec.structs.replace(trace.nodes[1], all_effects=501), trace.nodes[2]],
        summary=msgspec.structs.replace(trace.summary, hops=1_200),
    )
    shown = [each.strip() for each in lines(cut_short)]
    assert "Because 1 of 1,200 events" in shown
    assert "Led to 1 of 501 events" in shown


def test_a_circle_and_a_clock_that_is_behind_are_told_without_contradiction() -> None:
    """What was cut out of a circle is no effect; a root that occurred later is not negative time away."""
    circle = trace_of([node("n1", "n2", cycle=True), node("n2", "n1")], "n2")
    assert summary(text_of(circle)).endswith("It has led to nothing so far.")
    assert not any("Led to" in each for each in lines(circle))
    skewed = trace_of([node("n1", since_root_us=1), node("n2", "n1", since_root_us=-3_599_999_999)], "n2")
    assert "The root lies 1 hop back, and by its clock 1 h 0 min later." in summary(text_of(skewed))


def test_a_narrowed_key_is_not_told_that_a_cause_is_absent() -> None:
    """It may be hidden."""
    trace = trace_of(line("a.noted"), "n1", missing=[ABSENT])
    hidden = msgspec.structs.replace(trace, nodes=[msgspec.structs.replace(trace.nodes[0], position=None)])
    assert f"Its cause {ABSENT} has not arrived, or this key may not read it." in summary(text_of(hidden))


@catches(replaced(TraceBody, "root_known", True, "a_root_is_always_known"))
def test_a_summary_claims_no_root_that_is_not_known() -> None:
    """What is missing or was not read is said."""
    nodes = line("a.noted", "a.noted")
    cut_short = summary(text_of(trace_of(nodes, "n2", root_known=False)))
    assert "The first known cause lies at least 1 hop and 1.0 s back." in cut_short and "root" not in cut_short
    for cause, absent in ((ABSENT, "has not arrived"), ("ticket 7", "is not an event's id")):
        missing = summary(text_of(trace_of(nodes, "n2", missing=[cause])))
        assert f"The first known cause lies 1 hop and 1.0 s back. The cause of that, {cause}, {absent}." in missing
        assert f"Its cause {cause} {absent}." in summary(text_of(trace_of(nodes, "n1", missing=[cause])))
    assert "It led to at least 1 event in 1.0 s." in summary(text_of(trace_of(nodes, "n1", at_least=True)))


def test_quotes_in_the_summary_are_their_first_sentence() -> None:
    nodes = [node("n1", None, "inbound_message.received", resource_type="inbound_message"), node("n2", "n1")]
    context = text_of(trace_of(nodes, "n2"))
    quoted = sentence_of(nodes[0], b'{"text":"Yes. Do it!"}', GRAMMAR)
    context = StoryContext(context.trace, {**context.sentences, "n1": quoted}, GRAMMAR, context.style)
    assert "That is because ada wrote “Yes.” The root" in summary(context)
    alone = StoryContext(trace_of(nodes, "n1"), context.sentences, GRAMMAR, context.style)
    assert summary(alone).startswith("ada wrote “Yes. Do it!” Nothing came before it")
    silent = {**context.sentences, "n1": sentence_of(nodes[0], b'{"path":"/orders"}', GRAMMAR)}
    told = StoryContext(context.trace, silent, GRAMMAR, context.style)
    assert "That is because ada sent a message. The root" in summary(told)


def test_colour_only_where_it_is_asked_for() -> None:
    trace = trace_of(line("a.noted", "a.failed"), "n2")
    plain = lines(trace)
    coloured = story_lines(story_of(trace), text_of(trace, colour=True))
    assert "\x1b" not in "".join(plain)
    assert [re.sub(r"\x1b\[[\d;]*m", "", each) for each in coloured] == plain
    assert "\x1b[1;31m✗" in "".join(coloured)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "+0:00.0"),
        (161_800_000, "+2:41.8"),
        (3_599_990_000, "+59:59.9"),
        (3_723_000_000, "+1:02:03"),
        (183_840_000_000, "+2d 03:04"),
        (-1_200_000, "-0:01.2"),
    ],
)
def test_times_since_the_root(us: int, text: str) -> None:
    assert since(us) == text


def test_text_is_cut_and_wrapped_by_columns() -> None:
    assert cut("漢字漢字", 5) == "漢字…"
    assert cut("漢字", 4) == "漢字"
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("a" * 10, 4) == ["aaaa", "aaaa", "aa"]
    assert wrapped("", 4) == [""]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A server is needed, and none was found here.", ["A server is needed, and none", "was found here."]),
        ("Start one with 'whence serve now', or try", ["Start one with", "'whence serve now', or try"]),
        ("What followed: whence effects @22   All: whence trace @22", ["What followed:", "whence effects @22   All:"]),
        ("To go back: .venv/bin/whence profile use 'my log'", ["To go back:", ".venv/bin/whence profile use 'my log'"]),
        ("It is a ZIP archive. Unpack it: unzip -p a.zip | whence import -", ["It is a ZIP archive. Unpack", "it:"]),
        ("See https://log.example.com/a/long/path/of/it here", ["See", "https://log.example.com/a/long/path/of/it"]),
        ("  export WHENCE_URL=http://127.0.0.1 WHENCE_API_KEY=x", []),
        (
            "An event's id is no users' (or whence why @4) thing",
            ["An event's id is no users'", "(or whence why @4) thing"],
        ),
        ("\nSpaces  stay,  and lines\n", ["", "Spaces  stay,  and lines", ""]),
        ("漢字 漢字 漢字 漢字 漢字 漢字 漢字", ["漢字 漢字 漢字 漢字 漢字", "漢字 漢字"]),
    ],
)
def test_a_message_is_broken_between_its_parts(text: str, shown: list[str]) -> None:
    """A command, a URL and what is quoted stay whole, and so do lines that begin with a space; in a pipe, all."""
    found = message_lines(text, 28)
    assert found[: len(shown)] == shown if shown else found == [text]
    assert "".join(found).replace(" ", "") == text.replace(" ", "").replace("\n", "")
    assert message_lines(text, None) == text.split("\n")
