"""Runs that know how to end, and notices that name the event."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import event
from tests.client.fake_server import fake_server, refuse
from whence.client import AsyncWhence, Rejected, Whence
from whence.client.context import CausalContext
from whence.errors import WhenceError
from whence.identities import resource_uuid
from whence.integrations.pytest_plugin import RecordingWhence

AGENT = ("agent", "planner")


@pytest.fixture
def log() -> Iterator[RecordingWhence]:
    with RecordingWhence(resource_types=("order",)) as recording:
        yield recording


def recorded(log: RecordingWhence) -> list[tuple[str, str | None, dict[str, Any]]]:
    """The recorded events: type, the type of the cause, payload."""
    types = {each.id: each.event_type for each in log.recorded}
    return [(each.event_type, types.get(each.causation_id or ""), dict(each.payload)) for each in log.recorded]


def test_a_run_ends_without_ids(log: RecordingWhence) -> None:
    """Its end has the actor and the resource of its start, and the start as its cause."""
    run = log.started("action_run", actor=AGENT, payload={"plan": "refund"})
    end = run.completed(payload={"steps": 3})
    assert run.event.resource == end.resource == ("action_run", run.event.resource_id)
    first, last = log.recorded
    assert (last.actor_type, last.actor_id, last.causation_id) == ("agent", "planner", first.id)
    assert last.correlation_id == first.correlation_id == first.id
    assert [each[2] for each in recorded(log)] == [{"plan": "refund"}, {"steps": 3}]
    with pytest.raises(WhenceError, match="recorded already"):
        run.failed()


def test_a_failed_run_says_why(log: RecordingWhence) -> None:
    """By an exception or a text. The message is bounded."""
    log.started("action_run", actor=AGENT).failed(ValueError("no such order"), payload={"at": 7})
    log.started("action_run", actor=AGENT).failed("card declined")
    log.started("action_run", actor=AGENT).failed(KeyError("x" * 9_000))
    log.started("action_run", actor=AGENT).failed()
    payloads = [each.payload for each in log.of_type("action_run.failed")]
    assert payloads[0] == {"error": "ValueError", "message": "no such order", "at": 7}
    assert payloads[1] == {"error": "card declined"}
    assert len(payloads[2]["message"]) == 1_000 and payloads[2]["message"].endswith("…")
    assert payloads[3] == {}


def test_a_run_is_the_cause_inside_its_block(log: RecordingWhence) -> None:
    """The end of the block is the end of the run: an exception is a failure, a cancelled task neither."""
    with log.bind(actor=AGENT):
        with log.started("action_run") as run:
            log.emit("artifact.created", resource=run.event.resource)
        with pytest.raises(ZeroDivisionError), log.started("action_run"):
            _ = 1 / 0
        with pytest.raises(asyncio.CancelledError), log.started("action_run"):
            raise asyncio.CancelledError
        with log.started("action_run") as by_hand:
            by_hand.failed("not today")
        log.emit("artifact.created", resource=run.event.resource)
    assert [each[:2] for each in recorded(log)] == [
        ("action_run.started", None),
        ("artifact.created", "action_run.started"),
        ("action_run.completed", "action_run.started"),
        ("action_run.started", None),
        ("action_run.failed", "action_run.started"),
        ("action_run.started", None),
        ("action_run.cancelled", "action_run.started"),
        ("action_run.started", None),
        ("action_run.failed", "action_run.started"),
        ("artifact.created", None),
    ]


def test_a_failure_is_caused_by_the_failure_inside(log: RecordingWhence) -> None:
    """Where the same exception ends both, or the outer one was raised from it. Another failure is not the cause."""
    with log.bind(actor=AGENT):
        with pytest.raises(KeyError), log.started("automation_run"):
            try:
                with log.started("action_run"):
                    raise ValueError
            except ValueError as error:
                raise KeyError from error
        with pytest.raises(KeyError), log.started("automation_run"):
            log.started("action_run").failed("handled")
            raise KeyError
    failures = [each[:2] for each in recorded(log) if each[0].endswith("failed")]
    assert failures == [
        ("action_run.failed", "action_run.started"),
        ("automation_run.failed", "action_run.failed"),
        ("action_run.failed", "action_run.started"),
        ("automation_run.failed", "automation_run.started"),
    ]


def test_the_end_of_a_block_hides_no_exception() -> None:
    """If the end of a run cannot be emitted, that is reported, and the exception of the block is raised."""
    reported: list[WhenceError] = []
    with Whence("http://127.0.0.1:1", "whk_x", spool=False, on_error=reported.append, exit_timeout_s=0) as log:
        with pytest.raises(ZeroDivisionError), log.started("action_run", actor=AGENT):
            log.close()
            _ = 1 / 0
        with pytest.raises(WhenceError):
            log.started("action_run", actor=AGENT)
    assert "at the end of action_run" in str(reported[-1])


def test_an_enricher_that_raises_hides_no_exception() -> None:
    """At the end of a block its error is reported, and the exception of the block is raised."""
    reported: list[WhenceError] = []

    def enrich(context: CausalContext) -> tuple[CausalContext, dict[str, Any]]:
        raise LookupError("no request")

    with Whence("http://127.0.0.1:1", "whk_x", spool=False, on_error=reported.append, exit_timeout_s=0) as log:
        with pytest.raises(ZeroDivisionError), log.started("action_run", actor=AGENT):
            log.enrich(enrich)
            _ = 1 / 0
        assert [(error.code, "LookupError was raised." in str(error)) for error in reported] == [("not_recorded", True)]
        with pytest.raises(LookupError):
            log.emit("action_run.started", actor=AGENT, resource=("action_run", "1"))


def test_a_run_may_be_about_a_resource_with_a_name(log: RecordingWhence) -> None:
    """Both of its events keep the name."""
    with log.started("action_run", actor=AGENT, resource=("order", "8841")):
        pass
    assert {each.resource_id for each in log.recorded} == {resource_uuid("order", "8841")}
    assert [each.payload for each in log.recorded] == [{"_resource": "8841"}] * 2


async def test_asyncio_has_runs_too() -> None:
    """They are queued, so that nothing is awaited."""
    with fake_server() as server:
        async with AsyncWhence(server.url, "whk_x", spool=False) as log:
            with log.started("action_run", actor=AGENT):
                await log.emit("artifact.created", actor=AGENT, resource=("artifact", "a"))
            assert await log.flush(10)
        events = list(server.stored.values())
        assert [each["eventType"].partition(".")[2] for each in events] == ["started", "created", "completed"]
        assert {each.get("causationId") for each in events} == {None, events[0]["id"]}


def test_notices_name_the_event_and_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log line and in `Rejected`. The payload is in neither."""
    caplog.set_level(logging.WARNING, "whence")
    reported: list[Rejected] = []
    with fake_server() as server:
        server.rule = refuse("bad")
        options: dict[str, Any] = {"spool": tmp_path / "spool", "on_error": reported.append}
        with Whence(server.url, "whk_x", **options) as log:
            emitted = log.emit(event(actorId="bad", payload={"secret": "hunter2"}))
            assert log.flush(10)
            (notice,) = reported
            file = log.spool_folder / "rejected.ndjson"
            assert (notice.event_type, notice.event_id, notice.file) == (emitted.event_type, emitted.id, file)
            assert f"{emitted.event_type} {emitted.id}" in str(notice) and str(file) in str(notice)
            assert json.loads(file.read_text())["event"]["id"] == emitted.id
        assert [record.getMessage() for record in caplog.records] == [str(notice)]
        assert "hunter2" not in str(notice)
    assert "that cannot be read" in str(Rejected("It is no JSON.", b"{", 422))
