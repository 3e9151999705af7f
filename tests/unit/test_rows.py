"""How events, flows and pairs of event types look as rows that fit the terminal."""

import msgspec
import pytest
from rich.cells import cell_len

from tests.unit.events_made import event_body, event_id, row_of
from tests.unit.mutants import catches, replaced
from whence.cli import event_rows, flow_rows
from whence.cli.event_rows import EVENT_COLUMNS, EventTable, chosen_columns
from whence.cli.flow_rows import FLOW_COLUMNS, MAP_COLUMNS, MAP_DEFAULT, FlowRow, flow_lines, map_lines, named_table
from whence.cli.layout import Style, cut, padded, shortened
from whence.cli.terminal import table
from whence.errors import Invalid
from whence.sentences import counted
from whence.wire.trace_bodies import FlowBody, FlowRootBody, PairBody

LONG = '{"tool":"book_reservation","error":"payment amount does not add up, total price is 1002, but paid 1047"}'


def test_a_text_without_its_middle_keeps_both_ends() -> None:
    """It takes the width at most, also where characters are two columns."""
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 6) == "abc…ij"
    for width in range(1, 12):
        assert cell_len(shortened("漢字漢字漢字", width)) <= width
    assert padded("漢", 4) == "漢  " and padded("漢", 4, right=True) == "  漢"


@pytest.mark.parametrize(("number", "text"), [(0, "0 events"), (1, "1 event"), (2_000, "2,000 events")])
def test_a_noun_agrees_with_its_number(number: int, text: str) -> None:
    assert counted(number, "event") == text
    assert counted(number, "entry", "entries").endswith("y" if number == 1 else "ies")


def test_a_table_is_aligned_by_columns_and_cut_in_one_of_them() -> None:
    """Characters that take two columns are counted as two."""
    lines = table(("NAME", "N"), [("漢字", 1), ("ab", 20)]).split("\n")
    assert [cell_len(line) for line in lines] == [8, 8, 8]
    lines = table(("NAME", "N"), [("a" * 90, 1)], width=40).split("\n")
    assert [cell_len(line) for line in lines] == [40, 40] and lines[1].endswith("a…  1")


ROWS = [
    row_of(
        event_body(120, "inbound_message.received", '{"text":"' + "Hi! " * 40 + '"}', resource_type="inbound_message")
    ),
    row_of(event_body(7, "action_run.failed", LONG, actor_id="airline-api")),
]


def test_a_list_without_a_width_is_whole_sentences() -> None:
    """With references on the right of their column, times to the second, and a cross before a failure."""
    head, first, second = EventTable(Style()).lines(ROWS)
    assert head == "EVENT TIME, UTC             WHAT HAPPENED"
    assert first.startswith(" @120 2026-01-02 03:04:00   ada wrote “Hi! Hi! Hi!")
    assert second == (
        "   @7 2026-01-02 03:04:07 ✗ airline-api failed book_reservation payment amount does not add up, total price "
        "is 1002, but paid 1047"
    )


@catches(
    replaced(event_rows, "cut", lambda text, width: text, "sentences_as_long_as_they_are"),
    replaced(event_rows, "shortened", cut, "failures_that_lose_their_end"),
)
def test_a_list_fits_the_terminal() -> None:
    """A sentence is cut at its end. A failure has two lines, and what is too long for them loses its middle."""
    for width in (60, 80, 120, 160):
        lines = list(EventTable(Style(width)).lines(ROWS))
        assert all(cell_len(line) <= width for line in lines)
        assert lines[1].endswith("…") and lines[-1].endswith("paid 1047")
        assert len(lines) == (3 if width == 160 else 4)
    _, _, first, second = EventTable(Style(80)).lines(ROWS)
    assert first == "   @7 2026-01-02 03:04:07 ✗ airline-api failed book_reservation payment amount"
    assert second == " " * 30 + "does not add up, total pr…e is 1002, but paid 1047"
    _, _, first, second = EventTable(Style(60)).lines(ROWS)
    assert second == " " * 30 + "book_reservatio… but paid 1047"


def test_colours_do_not_change_the_text() -> None:
    plain = list(EventTable(Style(80)).lines(ROWS))
    coloured = list(EventTable(Style(80, colour=True)).lines(ROWS))
    assert "\x1b[1;31m✗\x1b[0m" in coloured[2]
    assert [line.replace("\x1b[0m", "").replace("\x1b[2m", "").replace("\x1b[1;31m", "") for line in coloured] == plain


def test_a_narrowed_key_names_events_by_their_ids() -> None:
    (_, line) = EventTable(Style()).lines([row_of(event_body(None))])
    assert line.startswith(f"{event_id(0)} 2026")


def test_every_column_can_be_chosen() -> None:
    """In any order; later groups of rows have the widths of the first."""
    names = chosen_columns(", ".join(EVENT_COLUMNS).upper(), EVENT_COLUMNS)
    assert names == list(EVENT_COLUMNS)
    shown = EventTable(Style(100), ["ref", "actor", "sentence"])
    head, first = shown.lines(ROWS[:1])
    assert head.split() == ["REF", "ACTOR", "SENTENCE"] and 98 <= cell_len(first) <= 100
    (later,) = shown.lines(ROWS[1:])
    assert later.startswith("@7    user/airline-api  airline-api failed")
    (_, whole) = EventTable(Style(40), ["sentence", "id"]).lines(ROWS[:1])
    assert whole.endswith(event_id(120)), "an id is whole"
    assert chosen_columns(None, EVENT_COLUMNS) is None
    with pytest.raises(Invalid, match="ref, id, time, event_type, actor, resource, outcome, flow, cause, sentence"):
        chosen_columns("ref,nope", EVENT_COLUMNS)
    with pytest.raises(Invalid, match="either --columns or --json"):
        chosen_columns("ref", EVENT_COLUMNS, json=True)


@catches(replaced(event_rows, "fitting", lambda widths, *_: widths, "columns_off_the_screen"))
def test_no_column_that_was_asked_for_is_lost() -> None:
    """On a narrow terminal the widest cells are shortened; a reference is whole, also where a later one is longer."""
    for names in (["ref", "time", "actor", "resource", "sentence"], ["ref", "time", "actor", "event_type"]):
        shown = EventTable(Style(80), names)
        long = [row_of(event_body(7, "a.very_long_name_of_an_event_noted", actor_id="someone-" * 5 + "x"))]
        head, line = shown.lines(long)
        assert head.split() == " ".join(names).replace("_", " ").upper().split()
        assert max(map(cell_len, (head, line))) <= 80 and line.startswith("@7 ") and "-x" in line
        assert "2026-01-02T03:04:07Z" in line
        (later,) = shown.lines([row_of(event_body(123_456, actor_id="y" * 90))])
        assert later.startswith("@123456 ")


def flow_row(flow: str, failures: int, began: bool = True) -> FlowRow:
    root = FlowRootBody(
        actor_id="ada",
        actor_type="user",
        event_type="a.noted",
        id=event_id(1),
        occurred_at="2026-01-02T03:04:05Z",
        outcome="none",
        resource_id=event_id(1),
        resource_type="thing",
    )
    body = FlowBody(
        actors=3,
        at_least=False,
        correlation_id=flow,
        duration_us=185_000_000,
        events=64,
        failures=failures,
        first_at="2026-01-02T03:04:05Z",
        last_at="2026-01-02T03:07:10.5Z",
        root=root,
    )
    return FlowRow(body, ROWS[0] if began else None)


FLOWS = [flow_row("tau-airline-46-3", 4), flow_row("order-8841", 0, began=False)]


def test_flows_are_one_line_each_where_there_is_room() -> None:
    head, first, second = flow_lines(FLOWS, Style())
    assert head.split("  ")[0] == "EVENT" and head.endswith("FLOW                HOW IT BEGAN")
    assert first.startswith(
        " @120  2026-01-02 03:07:10      64       4  3 min 5 s  tau-airline-46-3  ✗ ada wrote “Hi! Hi!"
    )
    assert second.endswith("order-8841          a.noted")
    assert all(cell_len(line) <= 140 for line in flow_lines(FLOWS, Style(140)))


def test_one_event_takes_no_time() -> None:
    """Its flow has no duration."""
    single = FlowRow(msgspec.structs.replace(FLOWS[1].flow, events=1, duration_us=0), None)
    assert all("µs" not in line for width in (None, 60) for line in flow_lines([single], Style(width)))
    assert list(flow_lines([single], Style(60)))[1].split("·")[1].strip() == "1 event"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_flows_are_two_lines_each_where_there_is_not(width: int) -> None:
    """How each began, and below it the figures and its id, which is whole."""
    lines = list(flow_lines(FLOWS, Style(width)))
    assert all(cell_len(line) <= width for line in lines)
    assert lines[0].split("✗")[1].startswith(" ada wrote “Hi!") and lines[0].endswith("…")
    text = " ".join(" ".join(lines).split())
    assert "2026-01-02 03:07:10 · 64 events, 4 failed · 3 min 5 s · tau-airline-46-3" in text
    assert "64 events · 3 min 5 s · order-8841" in text


def test_every_column_of_flows_can_be_chosen() -> None:
    cells = [[FLOW_COLUMNS[name](row) for name in FLOW_COLUMNS] for row in FLOWS]
    head, first, second = named_table(list(FLOW_COLUMNS), cells, Style()).split("\n")
    assert head.split()[:3] == ["REF", "FLOW", "FIRST"] and "EVENT TYPE" in head
    assert first.split()[:2] == ["@120", "tau-airline-46-3"] and second.split()[-1] == "a.noted"


@catches(replaced(flow_rows, "fitting", lambda widths, *_: widths, "columns_off_the_screen"))
def test_a_table_of_flows_or_pairs_shortens_what_is_widest() -> None:
    """Names lose their middle and sentences their end. Ids, times and numbers are whole, and numbers on the right."""
    names = ["flow", "last", "events", "event_type", "sentence"]
    long = [msgspec.structs.replace(FLOWS[0].flow.root, event_type="a.very_long_name_of_a_type_that_was_noted")]
    rows = [FlowRow(msgspec.structs.replace(FLOWS[0].flow, root=root), FLOWS[0].began) for root in long]
    cells = [[FLOW_COLUMNS[name](row) for name in names] for row in rows]
    head, line = named_table(names, cells, Style(80)).split("\n")
    assert cell_len(line) <= 80 and line.startswith("tau-airline-46-3  2026-01-02T03:07:10.5Z      64  a.ver")
    assert "noted  ada" in line and line.endswith("…") and head.split()[:3] == ["FLOW", "LAST", "EVENTS"]
    pairs = [[MAP_COLUMNS[name](pair) for name in ("effect", "cause", "events")] for pair in PAIRS]
    lines = named_table(["effect", "cause", "events"], pairs, Style(40)).split("\n")
    assert [cell_len(line) for line in lines] == [40, 40, 40]
    assert lines[1].endswith("1,290") and "…" in lines[1] and "_sent" in lines[1]
    narrow = named_table(["flow", "last"], [["f" * 60, "2026-01-02T03:07:10Z"]], Style(60)).split("\n")
    assert narrow[1] == f"{'f' * 60}  2026-01-02T03:07:10Z"


PAIRS = [
    PairBody(
        cause_type="chat_thread.message_sent",
        effect_type=effect,
        events=1_290,
        failures=failures,
        p50_us=7_800_000,
        p95_us=None,
        share=0.935,
        skewed=0,
    )
    for effect, failures in (("inbound_message.received", 0), ("automation_run.failed", 65))
]


CELLS = [[MAP_COLUMNS[name](pair) for name in MAP_DEFAULT] for pair in PAIRS]


@catches(replaced(flow_rows, "_TYPE_LEAST", 200, "types_as_long_as_they_are"))
def test_a_map_on_a_small_terminal_cuts_the_types() -> None:
    lines = list(map_lines(PAIRS, CELLS, Style(60)))
    assert all(cell_len(line) <= 60 for line in lines) and "…" in lines[2]


@pytest.mark.parametrize("width", [None, 80, 120])
def test_a_map_fits_the_terminal(width: int | None) -> None:
    """One line a pair, or two where both types do not fit beside the figures. A cross marks failures."""
    cells = CELLS
    lines = list(map_lines(PAIRS, cells, Style(width)))
    assert all(cell_len(line) <= (width or 500) for line in lines)
    if width in (None, 120):
        assert lines[0].split() == ["CAUSE", "EFFECT", "EVENTS", "SHARE", "FAILED", "P50", "P95"]
        assert lines[2].split() == [
            "✗", "chat_thread.message_sent", "automation_run.failed", "1,290", "93.5%", "65", "7.8", "s",
        ]  # fmt: skip
    else:
        assert lines[0].split()[:4] == ["CAUSE", "→", "EFFECT", "EVENTS"]
        assert lines[1].split() == ["chat_thread.message_sent"]
        assert lines[4].split() == ["✗", "→", "automation_run.failed", "1,290", "93.5%", "65", "7.8", "s"]
