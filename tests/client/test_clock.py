"""A host whose clock is fast: its events are held or corrected, others are not held up, and nothing is lost."""

import datetime as dt
import json
import logging
import re
import time
from collections.abc import Iterator
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api.conftest import Served, event, serving, wait_until
from tests.client.fake_server import FakeServer, accept, unavailable
from tests.client.test_emitter import check_balance, connected
from tests.unit.mutants import catches, replaced
from whence.client import Whence, clock, emitter
from whence.client.clock import HOLD_MAX_S, ServerClock, is_early
from whence.permissions import READ, WRITE
from whence.wire.bodies import BatchResultBody
from whence.wire.event import FUTURE_MAX_US
from whence.wire.ids import new_uuid7

EARLY = [{"loc": ["body", 0, "occurredAt"], "msg": "Early.", "type": "datetime_future"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("clock")) as running:
        yield running


def at(seconds: float) -> str:
    """The time in so many seconds."""
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).isoformat()


def ahead(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the clock of this host be fast, as far as the client reads it."""

    class Fast:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time() -> float:
            return time.time() + seconds

    monkeypatch.setattr(emitter, "time", Fast)


def test_the_limit_is_that_of_the_server() -> None:
    """Both are five minutes."""
    assert clock._FUTURE_MAX_S * 1_000_000 == FUTURE_MAX_US


def test_an_event_is_corrected_when_the_clock_is_hours_ahead(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the offset that the server's `Date` tells. Its own time is in the payload, and the log says so once."""
    ahead(monkeypatch, 7200)
    key = served.key(READ, WRITE, tenant="hours")
    with caplog.at_level(logging.WARNING, "whence"), Whence(served.url, key, spool=tmp_path) as log:
        early = [at(7200 + number) for number in range(3)]
        sent = [log.emit(event(occurredAt=early[0], payload={"a": 1})), log.emit(event(actorId="other"))]
        sent += [log.emit(event(occurredAt=moment)) for moment in early[1:]]
        assert log.flush(10)
        stored = [log.get(each.id) for each in sent]
        check_balance(log)
        assert (log.stats().corrected, log.stats().stored) == (3, 4)
    payloads = [msgspec.json.decode(each.payload_bytes) for each in stored]
    assert payloads == [{"a": 1, "_occurredAt": early[0]}, {}, {"_occurredAt": early[1]}, {"_occurredAt": early[2]}]
    now = dt.datetime.now(dt.UTC)
    for each in (stored[0], *stored[2:]):
        assert abs(dt.datetime.fromisoformat(each.occurred_at) - now) < dt.timedelta(seconds=60)
    assert caplog.text.count("clock of this host") == 1
    assert re.search("7,(199|200|201) seconds fast", caplog.text)


def never(result: BatchResultBody) -> bool:
    """Treats an early event as any refused one."""
    return False


@catches(replaced(emitter, "is_early", never, "rejects_early_events"))
def test_an_event_is_held_until_its_time_comes(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If that takes at most ten minutes. It is stored with its own time, and others are stored before it."""
    monkeypatch.setattr(clock, "_MARGIN_S", 1.0)
    key = served.key(READ, WRITE, tenant="minutes")
    with Whence(served.url, key, spool=tmp_path, exit_timeout_s=0.1) as log:
        early = at(301)
        held = log.emit(event(actorId="early", occurredAt=early))
        wait_until(lambda: bool(log._emitter._hold_until) or log.stats().rejected == 1)
        other = log.emit(event(actorId="other"))
        wait_until(lambda: log.stats().stored >= 1)
        check_balance(log)
        assert log.stats().queued == 1, "the early event is held"
        assert log.flush(20)
        assert [each.id for each in log.events(order="asc", include="position")] == [other.id, held.id]
        stored = log.get(held.id)
        assert dt.datetime.fromisoformat(stored.occurred_at) == dt.datetime.fromisoformat(early)
        assert stored.payload_bytes == b"{}"
        assert log.stats().corrected == 0
        assert not log._emitter._hold_until


def refusing_early(events: list[dict[str, Any]]) -> tuple[int, Any]:
    early = [each["actorId"] == "early" for each in events]
    results = [
        {"index": index, "id": each["id"], "status": 422 if is_early_ else 201}
        | ({"detail": EARLY} if is_early_ else {})
        for index, (each, is_early_) in enumerate(zip(events, early, strict=True))
    ]
    return 207, {"results": results}


def test_held_events_of_a_segment_stay_on_disk(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they survive the end of the process, and are sent by the next one."""
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.02)
    server.rule = unavailable
    log = connected(server, tmp_path, exit_timeout_s=0.05)
    for actor in ("early", "other", "early"):
        log.emit(event(actorId=actor, occurredAt=at(400)))
    wait_until(lambda: log.stats().spooled == 3)
    server.rule = refusing_early
    wait_until(lambda: log.stats().stored == 1)
    check_balance(log)
    wait_until(lambda: log.stats().spooled == 2)
    (segment,) = log.spool_folder.glob("*.segment")
    assert segment.read_bytes().count(b"early") == 2
    assert not log.close()
    check_balance(log)
    server.rule = accept
    with connected(server, tmp_path) as next_client:
        assert next_client.flush(10)
        assert next_client.stats().adopted == 2
    assert server.actors == ["early", "early"]


def test_held_events_in_memory_are_bounded(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By half of the queue, so that new events have room. The others are corrected, or refused."""
    server.rule = refusing_early
    with connected(server, tmp_path, queue_events_max=10, spool=False, exit_timeout_s=0.05) as log:
        for _ in range(8):
            log.emit(event(actorId="early", occurredAt=at(400)))
        wait_until(lambda: log.stats().rejected == 3)
        assert log.stats().queued == 5
        log.emit(event(actorId="other"))
        wait_until(lambda: log.stats().stored == 1)
        check_balance(log)


def test_the_offset_is_measured_by_the_date_of_responses() -> None:
    """What cannot be parsed is ignored."""
    server_clock = ServerClock()
    now = time.time()
    for bad in (None, "", "yesterday", "Sat, 99 Nov 2026 00:00:00 GMT"):
        server_clock.observe(bad, now, now)
        assert server_clock.offset_s is None
    date = format_datetime(dt.datetime.fromtimestamp(int(now) - 360, dt.UTC), usegmt=True)
    server_clock.observe(date, now, now + 0.2)
    assert server_clock.offset_s == pytest.approx(-360, abs=2)


def body(seconds: float, **members: Any) -> bytes:
    occurred_at = dt.datetime.fromtimestamp(1_000_000 + seconds, dt.UTC).isoformat()
    return json.dumps({"occurredAt": occurred_at, "payload": {"n": 1}} | members).encode()


@pytest.mark.parametrize(
    ("offset", "event_body", "left", "settled"),
    [
        (0.0, body(360), HOLD_MAX_S, 62.0),  # held for as long as it takes, and two seconds more
        (-360.0, body(0), HOLD_MAX_S, 62.0),
        (-3600.0, body(0), HOLD_MAX_S, "corrected"),
        (-360.0, body(0), 10.0, "corrected"),  # it was held before
        (0.0, body(3600), HOLD_MAX_S, None),  # no clock is wrong: the event lies in the future
        (-3600.0, body(0, payload={"_occurredAt": "x"}), HOLD_MAX_S, None),  # corrected before
        (-3600.0, body(0, payload=[1]), HOLD_MAX_S, None),
        (0.0, body(-10), HOLD_MAX_S, 30.0),  # another clock refused it than the one that set `Date`
        (0.0, body(-10), 0.0, None),
        (None, body(360), HOLD_MAX_S, 30.0),
        (None, body(360), 0.0, None),
        (0.0, b"no json", HOLD_MAX_S, 30.0),
        (0.0, b'{"occurredAt":"yesterday"}', 0.0, None),
    ],
)
def test_what_happens_to_an_early_event(offset: float | None, event_body: bytes, left: float, settled: Any) -> None:
    """It is held, corrected once, or refused; and held for ten minutes at most in all."""
    server_clock = ServerClock()
    server_clock.offset_s = offset
    result = server_clock.settle(event_body, 1_000_000.0, left)
    if settled != "corrected":
        assert result == settled
        return
    assert isinstance(result, bytes)
    corrected, original = json.loads(result), json.loads(event_body)
    assert offset is not None
    expected = dt.datetime.fromisoformat(original["occurredAt"]) + dt.timedelta(seconds=offset)
    assert dt.datetime.fromisoformat(corrected["occurredAt"]) == expected
    assert corrected["payload"] == {"n": 1, "_occurredAt": original["occurredAt"]}


def test_only_the_time_makes_an_event_early() -> None:
    """An event with another problem too is refused."""
    problems = [*EARLY, {"loc": ["body"], "msg": "Bad.", "type": "x"}]
    details = [EARLY, problems, [], "Early.", msgspec.UNSET, [1]]
    results = [BatchResultBody(id=None, index=0, status=422, detail=detail) for detail in details]
    assert [is_early(result) for result in results] == [True] + [False] * 5


def test_the_last_day_of_the_calendar_is_refused() -> None:
    """No offset can be added to it."""
    server_clock = ServerClock()
    server_clock.offset_s = 0.4
    last = json.dumps({"occurredAt": dt.datetime.max.replace(tzinfo=dt.UTC).isoformat(), "payload": {}}).encode()
    assert server_clock.settle(last, 1_000_000.0, HOLD_MAX_S) is None


# --------------------------------------------------------------------------------- sent again after it was corrected


def reject_conflicts(body: bytes, fields: object) -> None:
    """Takes every conflict for a refusal."""


@catches(replaced(emitter, "settle_conflict", reject_conflicts, "rejects_what_is_stored"))
def test_an_event_that_was_stored_corrected_may_be_sent_again(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the next process, from the spool of one that was killed: it is corrected by another offset, and counted."""
    key = served.key(READ, WRITE, tenant=f"again-{len(list(tmp_path.parent.iterdir()))}")
    ahead(monkeypatch, 7200)
    with Whence(served.url, key, spool=tmp_path) as log:
        sent = log.emit(event(occurredAt=at(7200), payload={"a": 1}))
        assert log.flush(10)
        stored = log.get(sent.id).occurred_at
    ahead(monkeypatch, 7203)
    with Whence(served.url, key, spool=tmp_path) as log:
        log._emitter.put(sent.body)
        assert log.flush(10)
        check_balance(log)
        assert (log.stats().replayed, log.stats().rejected) == (1, 0)
        assert log.get(sent.id).occurred_at == stored


def test_an_event_that_was_stored_corrected_may_no_longer_be_early(served: Served, tmp_path: Path) -> None:
    """Then it is sent in its corrected form once, in order to find out what is stored. Other conflicts are refused."""
    key = served.key(READ, WRITE, tenant="late")
    own_time, number = at(-10), new_uuid7()
    with Whence(served.url, key, spool=tmp_path) as log:
        log.emit(event(id=number, occurredAt=at(-100), payload={"a": 1, "_occurredAt": own_time}))
        assert log.flush(10)
        log.emit(event(id=number, occurredAt=own_time, payload={"a": 1}))
        assert log.flush(10)
        assert (log.stats().replayed, log.stats().rejected) == (1, 0)
        others: list[dict[str, Any]] = [
            {"occurredAt": own_time, "payload": {"a": 2}},
            {"occurredAt": at(-20), "payload": {"a": 1}},
            {"occurredAt": own_time, "payload": {"a": 1}, "actorId": "other"},
            {"occurredAt": at(-100), "payload": {"a": 1}},
        ]
        for other in others:
            log.emit(event(id=number, **other))
        assert log.flush(10)
        assert (log.stats().replayed, log.stats().rejected) == (1, len(others))
        check_balance(log)
