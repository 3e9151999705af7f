"""A flow as trees of causes: every event is in one of them, once, and the paragraph above them says how it went."""

import msgspec

from tests.unit.events_made import GRAMMAR, event_body, event_id, row_of
from tests.unit.mutants import catches, replaced
from whence.cli import flow_story
from whence.cli.flow_story import FlowContext, flow_summary, story_lines_of_flow, trees_of
from whence.cli.layout import Style
from whence.wire.bodies import EventBody


def caused(position: int, cause: int | None, event_type: str = "a.noted", **fields: object) -> EventBody:
    return event_body(position, event_type, causation_id=None if cause is None else event_id(cause), **fields)


def context_of(events: list[EventBody], *, full: bool = False, **notes: str) -> FlowContext:
    sentences = {row.event.id: row.sentence for row in map(row_of, events)}
    return FlowContext(
        trees_of(events), sentences, GRAMMAR, Style(), full, {event_id(1): notes["note"]} if notes else {}
    )


def test_a_flow_with_one_beginning_is_one_line() -> None:
    """Its events stand in the order of causes, with times since the first."""
    events = [caused(1, None), caused(2, 1), caused(3, 2, "a.failed"), caused(4, 3), caused(5, 3)]
    assert story_lines_of_flow(context_of(events)) == [
        "@1 +0:00.0 │  ada noted thing 00000000",
        "@2 +0:01.0 │  ada noted thing 00000000",
        "@3 +0:02.0 │✗ ada failed thing 00000000",
        "@4 +0:03.0 │ ├  ada noted thing 00000000",
        "@5 +0:04.0 │ └  ada noted thing 00000000",
    ]


@catches(replaced(flow_story, "failures_apart", lambda story, _detailed: story, "arguments_are_lost"))
def test_a_failure_leaves_its_start_what_went_in() -> None:
    """It has a row of its own where its start has a detail or another actor; a completed run has one row."""
    run = {"resource_id": "r", "resource_type": "action_run"}
    called = caused(2, 1, "action_run.started", payload='{"tool":"pay","arguments":{"euros":250}}', **run)
    bare = caused(2, 1, "action_run.started", payload='{"tool":"pay"}', **run)
    failed = caused(3, 2, "action_run.failed", payload='{"error":"too much"}', actor_id="bank", **run)
    done = caused(3, 2, "action_run.completed", payload='{"result":"paid"}', actor_id="bank", **run)
    assert story_lines_of_flow(context_of([caused(1, None), called, failed]))[1:] == [
        "@2 +0:01.0 │  ada called pay euros 250",
        "@3 +0:02.0 │✗ bank failed action run r too much",
    ]
    assert len(story_lines_of_flow(context_of([caused(1, None), bare, failed]))) == 3
    assert len(story_lines_of_flow(context_of([caused(1, None), called, done]))) == 2


@catches(replaced(flow_story, "_ALONE", "│", "lone_events_on_one_line"))
def test_each_further_beginning_is_marked() -> None:
    """A tree begins with a corner, and an event without causes and effects has a dot in place of the line."""
    events = [caused(1, None), caused(2, None), caused(3, 1), caused(4, None)]
    shown = [line.split()[::2][:2] for line in story_lines_of_flow(context_of(events))]
    assert shown == [["@1", "┌"], ["@3", "│"], ["@2", "·"], ["@4", "·"]]


@catches(replaced(flow_story, "joined", lambda *_: None, "a_row_for_each"))
def test_equal_events_without_causes_are_one_row() -> None:
    """As those of a clock. What failed, or has a cause elsewhere, stays apart; --full shows each."""
    events = [caused(number, None, actor_id="clock", resource_id="r") for number in range(1, 8)]
    events[4] = caused(5, 77, actor_id="clock", resource_id="r")
    assert story_lines_of_flow(context_of(events)) == [
        "@4 +0:00.0 ·  clock noted thing r ×4 (3.0 s)",
        "@5 +0:04.0 ·  clock noted thing r",
        "@7 +0:05.0 ·  clock noted thing r ×2 (1.0 s)",
    ]
    assert len(story_lines_of_flow(context_of(events, full=True))) == 7


def test_calm_stretches_fold_and_what_came_first_does_not() -> None:
    events = [caused(number, number - 1 or None) for number in range(1, 31)]
    events[19] = caused(20, 19, "a.failed")
    shown = story_lines_of_flow(context_of(events))
    assert [line.split()[0] for line in shown if "@" in line] == ["@1", "@2", "@18", "@19", "@20", "@21", "@22", "@30"]
    assert sum("┈" in line for line in shown) == 2
    assert len(story_lines_of_flow(context_of(events, full=True))) == 30


def test_no_event_is_lost_or_shown_twice() -> None:
    """Those of a circle, and those whose cause is elsewhere, included."""
    events = [caused(1, 3), caused(2, 1), caused(3, 2), caused(4, 77), caused(5, 4), caused(6, None)]
    trees = trees_of(events)
    assert sorted(node.id for tree in trees for node in tree.nodes) == [event.id for event in events]
    assert [tree.root_id for tree in trees] == [event_id(1), event_id(4), event_id(6)]
    assert trees_of([]) == []


def test_notes_are_shown_beside_their_event() -> None:
    (line,) = story_lines_of_flow(context_of([caused(1, 77)], note="because of @9 in flow x"))
    assert line == "@1 +0:00.0 │  ada noted thing 00000000 (because of @9 in flow x)"


def test_a_narrowed_key_learns_no_positions() -> None:
    (line,) = story_lines_of_flow(context_of([msgspec.structs.replace(caused(1, None), position=None)]))
    assert line.startswith(f"{event_id(1)} +0:00.0")


def test_the_summary_says_how_it_went() -> None:
    events = [
        caused(1, None, "inbound_message.received", raw_payload=msgspec.Raw(b'{"text":"Refund? Now!"}')),
        caused(2, 1, "a.failed"),
        caused(3, 2),
    ]
    assert flow_summary("order-8841", 3, context_of(events)) == (
        "Flow order-8841 has 3 events in 2.0 s by 1 actor, and 1 of them failed. It began when ada wrote thing "
        "00000000 “Refund?” The first failure: thing 00000000 failed. The last event: ada noted thing 00000000."
    )
    assert flow_summary("x", 1, context_of(events[2:])) == (
        "Flow x has 1 event by 1 actor. It began when ada noted thing 00000000."
    )
    assert flow_summary("x", 9, context_of(events)).startswith(
        "Flow x has 9 events in at least 2.0 s by at least 1 actor, and at least 1 of them failed."
    )
