"""The number of problems in a refusal is limited, so that its cost and size stay small for any input."""

import json

import pytest

from tests.unit.mutants import catches, replaced
from tests.unit.sent import CONTEXT, event
from whence.errors import Invalid, Problem, TooLarge
from whence.wire import cloudevents, fields, problems
from whence.wire import event as wire
from whence.wire.problems import PROBLEMS_MAX, Hints, limit_batch, limit_problems


def invalid(index: int, count: int) -> Invalid:
    return Invalid([Problem(("body", index, f"f{number}"), "No.", "extra_forbidden") for number in range(count)])


def listed(items: list[object]) -> list[int]:
    """The number of problems of each item."""
    return [len(item.problems) if isinstance(item, Invalid) else 0 for item in items]


@catches(replaced(problems, "PROBLEMS_MAX", 10**9, "all_are_named"))
def test_every_refused_event_keeps_its_first_problem() -> None:
    """After 100 problems each event keeps only its first, and the last entry counts the others."""
    too_large = TooLarge("Too large.")
    limited = limit_batch(
        [invalid(0, 60), "stored", invalid(2, 60), too_large, *(invalid(4 + n, 21) for n in range(996))]
    )
    counts = listed(limited)
    assert (counts[:4], set(counts[4:-1]), counts[-1]) == ([60, 0, 40, 0], {1}, 2)
    assert len(counts) == 1000
    assert (limited[1], limited[3]) == ("stored", too_large)
    for index, item in enumerate(limited):
        if isinstance(item, Invalid):
            assert item.problems[0] == Problem(("body", index, "f0"), "No.", "extra_forbidden")
    last = limited[-1]
    assert isinstance(last, Invalid)
    assert last.problems[-1] == Problem(("body",), f"{20 + 996 * 20} more problems are not listed.", "more_problems")


def test_up_to_a_hundred_problems_are_all_named() -> None:
    """Up to a hundred problems are all named, in one event or over many."""
    for batch in ([invalid(0, 100)], [invalid(index, 1) for index in range(100)], [invalid(0, 99), invalid(1, 1)]):
        assert [item.problems for item in limit_batch(batch)] == [item.problems for item in batch]
    assert listed(limit_batch([invalid(0, 101)])) == [101]
    assert len(limit_problems(invalid(0, 100).problems)) == 100
    assert limit_problems(invalid(0, 102).problems)[-1].msg == "2 more problems are not listed."


@catches(replaced(Hints, "take", lambda _hints: True, "every_name_gets_a_hint"))
def test_at_most_twenty_names_of_a_batch_get_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first twenty unknown names of a batch get a suggestion, which is costly to find."""
    hints: list[str] = []

    def counted(name: str, known: object) -> str:
        hints.append(name)
        return fields.nearest(name, wire.FIELD_CHECKS)

    monkeypatch.setattr(wire, "near", counted)
    batch = [event(**{f"actorIdd{number}": 1 for number in range(15)}) for _ in range(4)]
    parsed = wire.parse_batch(json.dumps(batch).encode(), False, CONTEXT)
    assert listed(list(parsed)) == [15] * 4
    assert len(hints) == 20
    sentences = [problem.msg for item in parsed if isinstance(item, Invalid) for problem in item.problems]
    assert sum(msg == "An event has no such field; the nearest is actorId." for msg in sentences) == 20
    assert sum(msg == "An event has no such field." for msg in sentences) == 40
    assert len(wire.parse_batch(json.dumps(batch).encode(), False, CONTEXT)) == 4
    assert len(hints) == 40, "each batch has its own"


@catches(replaced(wire, "shown_name", str, "names_are_shown_whole"))
def test_a_long_unknown_name_is_shown_by_its_start() -> None:
    """A long unknown name is cut after its first 255 characters."""
    for length, shown in ((255, "n" * 255), (256, "n" * 255 + "…"), (100_000, "n" * 255 + "…")):
        with pytest.raises(Invalid) as caught:
            wire.parse_new_event(json.dumps(event(**{"n" * length: 1})).encode(), CONTEXT)
        assert caught.value.problems[0].loc == ("body", shown)


@catches(replaced(cloudevents, "PROBLEMS_MAX", 10**9, "all_are_collected"))
def test_a_cloudevent_collects_at_most_a_hundred_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CloudEvent names at most a hundred problems, and the others are counted."""
    made: list[str] = []

    def counted(name: str) -> str:
        made.append(name)
        return name

    monkeypatch.setattr(cloudevents, "shown_name", counted)
    with pytest.raises(Invalid) as caught:
        cloudevents.parse_structured(json.dumps({f"A{number}": 1 for number in range(5000)}).encode(), CONTEXT)
    assert len(made) == PROBLEMS_MAX
    assert len(caught.value.problems) == PROBLEMS_MAX + 1
    assert caught.value.problems[-1].type == "more_problems"
    assert int(caught.value.problems[-1].msg.split()[0]) >= 4900
