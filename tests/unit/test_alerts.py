"""When alert rules fire and resolve, against a plain count over the whole list of events."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import alert_counts
from tests.alert_counts import Alert, Seen
from tests.unit.mutants import PROPERTY, catches, replaced
from whence import alerts
from whence.alerts import (
    ALERT_TYPES,
    Condition,
    FirstSeen,
    Judge,
    Transition,
    earlier_queries,
    is_watched,
    key_fields,
    key_of,
)
from whence.events import Event, Query

SECOND = 1_000_000
COUNT = Condition(kind="count", per="actor", threshold=3, window_us=10 * SECOND)


def event(number: int, occurred_s: float, recorded_s: float | None = None, **fields: Any) -> Event:
    """The event at a position. By default it is recorded when it occurs."""
    recorded = occurred_s if recorded_s is None else recorded_s
    values: dict[str, Any] = {
        "tenant_id": "acme",
        "position": number,
        "id": str(UUID(int=number)),
        "event_type": "action_run.failed",
        "actor_type": "user",
        "actor_id": "ada",
        "resource_type": "action_run",
        "resource_id": str(UUID(int=1)),
        "correlation_id": "flow",
        "causation_id": None,
        "outcome": "failure",
        "occurred_at": int(occurred_s * SECOND),
        "recorded_at": int(recorded * SECOND),
        "payload": b"{}",
    }
    return Event(**(values | fields))


def plain(transitions: list[Transition]) -> list[Alert]:
    """Transitions as the plain count has them."""
    return [
        Alert(
            "fired" if each.fired else "resolved",
            each.at,
            each.key,
            None if each.source.startswith("since") else each.source,
        )
        for each in transitions
    ]


def seen(events: list[Event], per: str | None) -> list[Seen]:
    """Events as the plain count takes them."""
    names = {"actor": ("actor_type", "actor_id"), "resource": ("resource_type", "resource_id")}
    names |= {"correlation": ("correlation_id",), "eventType": ("event_type",)}
    of_key = names.get(per or "", ())
    return [Seen(e.id, tuple(getattr(e, name) for name in of_key), e.occurred_at, e.recorded_at) for e in events]


STEPS = st.tuples(
    st.sampled_from((0.0, 0.5, 1.0, 2.0, 5.0, 9.5, 10.0, 25.0)),
    st.sampled_from((0.0, 0.0, 0.0, 1.0, 4.0, 9.5, 10.0, 60.0)),
    st.sampled_from("abc"),
    st.sampled_from("xy"),
)
"""How long after the one before an event is recorded, how late that is, its actor and its flow."""


def made_of(steps: list[tuple[float, float, str, str]]) -> list[Event]:
    """The events of such steps."""
    events, now = [], 100.0
    for number, (wait, late, actor, flow) in enumerate(steps, 1):
        now += wait
        events.append(event(number, now - late, now, actor_id=actor, correlation_id=flow))
    return events


LOGS = st.lists(STEPS, max_size=30).map(made_of)


def judged(
    condition: Condition, events: list[Event], clock_s: float, cuts: frozenset[int] = frozenset()
) -> list[Alert]:
    """What a judge says of events, and of the time at the end. At each cut it goes on from its state, as after a
    restart."""
    judge = alerts.new_judge(condition, 0)
    found: list[Transition] = []
    for number, each in enumerate(events):
        if number in cuts:
            judge = alerts.new_judge(condition, 0, judge.state())
        found += judge.take(each)
    return plain(found + judge.clock(int(clock_s * SECOND)))


def of_longer_window(condition: Condition, since: int, state: bytes = b"") -> Judge:
    return NEW_JUDGE(msgspec.structs.replace(condition, window_us=condition.window_us + 1), since, state)


def of_larger_threshold(condition: Condition, since: int, state: bytes = b"") -> Judge:
    return NEW_JUDGE(msgspec.structs.replace(condition, threshold=condition.threshold + 1), since, state)


def without_state(condition: Condition, since: int, state: bytes = b"") -> Judge:
    return NEW_JUDGE(condition, since)


def of_all_together(condition: Condition, since: int, state: bytes = b"") -> Judge:
    return NEW_JUDGE(msgspec.structs.replace(condition, per=None), since, state)


def by_time_of_recording(self: Any, event: Event, most: int) -> int | None:
    gone: int | None = ADD(self, msgspec.structs.replace(event, occurred_at=event.recorded_at), most)
    return gone


def hiding_what_goes(self: Any, event: Event, most: int) -> None:
    ADD(self, event, most)


NEW_JUDGE = alerts.new_judge
ADD: Callable[..., int | None] = alerts._Window.add


@catches(
    replaced(alerts, "new_judge", of_longer_window, "window_a_microsecond_longer"),
    replaced(alerts, "new_judge", of_larger_threshold, "one_event_more"),
    replaced(alerts, "new_judge", without_state, "state_lost_at_a_restart"),
    replaced(alerts, "new_judge", of_all_together, "one_key_for_all"),
    replaced(alerts._Window, "add", by_time_of_recording, "late_events_count_as_new"),
    replaced(alerts._Window, "add", hiding_what_goes, "fires_at_every_event_of_a_burst"),
    replaced(alerts._Counts, "clock", lambda self, now: [], "clock_that_stands"),
)
@PROPERTY
@given(
    LOGS,
    st.sampled_from((None, "actor", "correlation")),
    st.integers(2, 6),
    st.sampled_from((1, 4, 10, 30)),
    st.floats(100, 400),
    st.frozensets(st.integers(0, 40), max_size=4),
)
def test_counts_equal_a_plain_count(
    events: list[Event], per: str | None, threshold: int, window_s: int, clock_s: float, cuts: frozenset[int]
) -> None:
    """Each alert of a threshold, its time, its event and its end are those of a count over all events so far; with late
    events, for every kind of key, and across restarts."""
    condition = Condition(kind="count", per=per, threshold=threshold, window_us=window_s * SECOND)
    clock_s = max([clock_s, *(each.recorded_at / SECOND for each in events)])
    expected = alert_counts.counts(seen(events, per), threshold, window_s * SECOND, int(clock_s * SECOND))
    assert judged(condition, events, clock_s, cuts) == expected


@catches(
    replaced(alerts, "new_judge", of_longer_window, "window_a_microsecond_longer"),
    replaced(alerts, "new_judge", without_state, "state_lost_at_a_restart"),
    replaced(alerts._Absence, "clock", lambda self, now: [], "clock_that_stands"),
)
@PROPERTY
@given(LOGS, st.sampled_from((1, 5, 10, 24)), st.floats(100, 900), st.frozensets(st.integers(0, 40), max_size=4))
def test_absences_equal_the_gaps(events: list[Event], window_s: int, clock_s: float, cuts: frozenset[int]) -> None:
    """An absence is a gap between times of recording that is longer than the window, or one that lasts."""
    condition = Condition(kind="absence", window_us=window_s * SECOND)
    clock_s = max([clock_s, *(each.recorded_at / SECOND for each in events)])
    expected = alert_counts.absences(seen(events, None), window_s * SECOND, 0, int(clock_s * SECOND))
    assert judged(condition, events, clock_s, cuts) == expected


def asked_of(judge: Judge, read: list[Event], per: str) -> list[Transition]:
    """What follows when a judge of first events asks a log that has these events."""
    assert isinstance(judge, FirstSeen)
    found: list[Transition] = []
    for key in judge.keys():  # noqa: SIM118  (no mapping)
        found += judge.settle(key, sum(key_of(per, each) == key for each in read))
    return found


@catches(
    replaced(FirstSeen, "settle", lambda self, key, matching: SETTLE(self, key, 0), "every_new_key_is_first"),
    replaced(FirstSeen, "settle", lambda self, key, matching: SETTLE(self, key, matching + 1), "never_first"),
)
@PROPERTY
@given(LOGS, st.sampled_from(("actor", "eventType")), st.integers(0, 40), st.lists(st.integers(1, 9)))
def test_first_events_are_those_of_the_whole_log(events: list[Event], per: str, after: int, parts: list[int]) -> None:
    """The first event of a key fires, however many of the key come with it; events before the rule count too."""
    judge: Judge = NEW_JUDGE(Condition(kind="first_seen", per=per), 0)
    found: list[Transition] = []
    position = min(after, len(events))
    for part in [*parts, len(events)]:
        for each in events[position : position + part]:
            found += judge.take(each)
        position = min(position + part, len(events))
        found += asked_of(judge, events[:position], per)
    assert plain(found) == alert_counts.firsts(seen(events, per), after)


SETTLE = FirstSeen.settle


def test_every_event_fires_a_match() -> None:
    """A match has nothing to resolve, and remembers nothing."""
    judge = NEW_JUDGE(Condition(kind="match"), 0)
    [fired] = judge.take(event(7, 5))
    assert fired == Transition(
        fired=True, at=5 * SECOND, source=event(7, 5).id, cause=event(7, 5).id, count=1, event_ids=(event(7, 5).id,)
    )
    assert (judge.clock(10**15), judge.due(), list(judge.firing()), judge.state()) == ([], None, [], b"")


def test_an_alert_names_its_latest_events() -> None:
    """The ids are those of the events in the window, the newest last, at most fifty."""
    judge = NEW_JUDGE(COUNT, 0)
    transitions = [each for number in (1, 3, 2) for each in judge.take(event(number, number))]
    assert [each.event_ids for each in transitions] == [tuple(str(UUID(int=number)) for number in (1, 2, 3))]
    many = NEW_JUDGE(msgspec.structs.replace(COUNT, threshold=80), 0)
    [fired] = [each for number in range(1, 81) for each in many.take(event(number, number / 100))]
    assert (fired.count, fired.event_ids) == (80, tuple(str(UUID(int=number)) for number in range(31, 81)))


def test_an_imported_burst_is_one_alert() -> None:
    """Events of a year ago fire once; the clock ends the alert a window after the last of them came."""
    judge = NEW_JUDGE(COUNT, 0)
    found = []
    for number in range(1, 9):
        found += judge.take(event(number, number, 1e6 + number))
        found += judge.clock(int((1e6 + number) * SECOND))
    assert [each.fired for each in found] == [True]
    assert judge.due() == int((1e6 + 16) * SECOND)
    assert [each.at for each in judge.clock(int((1e6 + 16) * SECOND))] == [16 * SECOND]


def test_a_firing_alert_is_listed_until_it_resolves() -> None:
    """The state of a rule shows which keys fire."""
    judge = NEW_JUDGE(COUNT, 0)
    for number in range(1, 4):
        judge.take(event(number, number))
    assert [(each.key, each.source) for each in judge.firing()] == [(("user", "ada"), str(UUID(int=3)))]
    judge.clock(11 * SECOND)
    assert list(judge.firing()) == []


@catches(
    replaced(alerts._Counts, "_drop", lambda self, now: None, "keys_without_end"),
    replaced(alerts, "_KEPT_AFTER_DROPPING", 0.0, "all_keys_dropped"),
)
def test_keys_are_bounded_and_dropped_ones_are_counted() -> None:
    """Keys whose window has passed go first and are not counted; keys that fire go last."""
    judge: Any = NEW_JUDGE(COUNT, 0)
    for number in range(5_000):
        judge.take(event(10 + number, 1, actor_id=f"a{number}"))
    for number in range(1, 4):
        judge.take(event(number, 98 + number / 10, actor_id="firing"))
    for number in range(5_000, alerts.KEYS_MAX - 1):
        judge.take(event(10 + number, 99, actor_id=f"a{number}"))
    assert (len(judge._windows), judge.dropped) == (alerts.KEYS_MAX, 0)
    judge.take(event(50_000, 99.5, actor_id="one more"))
    assert (len(judge._windows), judge.dropped) == (alerts.KEYS_MAX + 1 - 5_000, 0)
    for number in range(10_000):
        judge.take(event(60_000 + number, 99.6, actor_id=f"b{number}"))
    assert len(judge._windows) <= alerts.KEYS_MAX
    assert 0 < judge.dropped < 10_000
    assert [each.key for each in judge.firing()] == [("user", "firing")]
    assert NEW_JUDGE(COUNT, 0, judge.state()).dropped == judge.dropped


def test_the_times_of_all_keys_are_bounded() -> None:
    """A large threshold and many keys together do not use more memory than is allowed."""
    judge: Any = NEW_JUDGE(msgspec.structs.replace(COUNT, threshold=2_000), 0)
    for number in range(60_000):
        judge.take(event(number, 99, actor_id=f"a{number % 50}"))
    assert sum(len(window.times) for window in judge._windows.values()) <= alerts.TIMES_MAX
    assert judge.dropped > 0


def test_too_many_first_keys_at_once_are_counted() -> None:
    """While the log cannot be asked, only so many keys wait."""
    judge: Any = NEW_JUDGE(Condition(kind="first_seen", per="actor"), 0)
    for number in range(alerts.KEYS_MAX + 7):
        judge.take(event(number, 1, actor_id=f"a{number}"))
    assert (len(judge.keys()), judge.dropped) == (alerts.KEYS_MAX, 7)


@pytest.mark.parametrize(
    ("query", "event_type", "watched"),
    [
        (Query(), "order.failed", True),
        (Query(), "whence.key_created", False),
        (Query(event_types=("whence.key_created",)), "whence.key_created", True),
        (Query(event_type_prefixes=("whence.",)), "whence.key_created", True),
        (Query(event_type_prefixes=("whence.",)), ALERT_TYPES[0], False),
        (Query(event_types=ALERT_TYPES), ALERT_TYPES[1], False),
        (Query(event_type_prefixes=("whence.",)), "whence.alert_of_a_later_release", False),
    ],
)
def test_a_rule_never_watches_alerts(query: Query, event_type: str, watched: bool) -> None:
    """Events about the log itself are watched where they are named, and alerts never."""
    assert is_watched(query, event_type) is watched


@pytest.mark.parametrize(
    ("per", "key"),
    [
        ("actor", {"actorType": "user", "actorId": "ada"}),
        ("resource", {"resourceType": "action_run", "resourceId": str(UUID(int=1))}),
        ("correlation", {"correlationId": "flow"}),
        ("eventType", {"eventType": "action_run.failed"}),
        (None, {}),
    ],
)
def test_a_key_is_named_by_fields(per: str | None, key: dict[str, str]) -> None:
    """The fields of an event that it is grouped by."""
    assert key_fields(per, key_of(per, event(1, 1))) == key


def test_earlier_events_are_asked_for_without_those_that_are_not_watched() -> None:
    """The question narrows the filter to the key, and what the rule passes over is subtracted."""
    query = Query(outcomes=("failure",), actor_ids=("ada", "bob"))
    of_key, passed_over = earlier_queries(query, "actor", ("user", "ada"))
    assert of_key == Query(outcomes=("failure",), actor_types=("user",), actor_ids=("ada",))
    assert passed_over == msgspec.structs.replace(of_key, event_type_prefixes=("whence.",))
    named = earlier_queries(Query(event_types=("order.failed",)), "actor", ("user", "ada"))
    assert named[1] is None
    _, alerts_only = earlier_queries(Query(event_type_prefixes=("whence.",)), "actor", ("system", "whence"))
    assert alerts_only is not None and alerts_only.event_types == ALERT_TYPES
    assert earlier_queries(Query(), "eventType", ("order.failed",)) == (Query(event_types=("order.failed",)), None)


@pytest.mark.parametrize("threshold", [2, 60, 100])
def test_a_renamed_key_is_counted_as_one(threshold: int) -> None:
    """What was counted of both keys is what is counted when all events have the new one from the beginning."""
    condition = Condition(kind="count", per="actor", threshold=threshold, window_us=SECOND)
    renamed, plainly = alerts._Counts(condition, b""), alerts._Counts(condition, b"")
    for number in range(1, 121):
        at = number * 10 + (7 if number % 5 else -31)
        renamed.take(event(number, at, actor_id="old" if number % 3 else "new"))
        plainly.take(event(number, at, actor_id="new"))
    renamed.rename(("user", "old"), ("user", "new"))
    renamed.rename(("user", "never"), ("user", "new"))
    assert renamed.state() == plainly.state()
    assert (renamed._times, list(renamed.firing())) == (plainly._times, list(plainly.firing()))


def test_a_firing_key_goes_on_under_its_new_name() -> None:
    """Its alert resolves with the source that it fired with."""
    judge = alerts._Counts(COUNT, b"")
    fired = [found for number in (1, 2, 3) for found in judge.take(event(number, number, actor_id="old"))]
    judge.rename(("user", "old"), ("user", "new"))
    [resolved] = judge.clock(100 * SECOND)
    assert (resolved.key, resolved.source) == (("user", "new"), fired[0].source)


def test_a_renamed_key_is_asked_for_once() -> None:
    """With the first event of both."""
    judge = FirstSeen(Condition(kind="first_seen", per="actor"), b"")
    for number, actor in enumerate(("old", "new", "old"), 1):
        judge.take(event(number, number, actor_id=actor))
    judge.rename(("user", "old"), ("user", "new"))
    assert judge.keys() == [("user", "new")]
    [fired] = judge.settle(("user", "new"), 3)
    assert fired.cause == str(UUID(int=1))
