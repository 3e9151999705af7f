"""`facets`, `actors`, `actor` and `resource` against a real server, compared with the API byte for byte."""

import httpx2
import pytest
from rich.cells import cell_len

from tests.api.conftest import RUN_ID, event
from tests.cli import mutants
from tests.cli.mutants import catches
from tests.cli.program import Cli, ndjson
from whence.cli.activity import change_of, sparks
from whence.identities import resource_uuid
from whence.wire.activity_bodies import ActorActivityBody, TotalsBody

ORDER = resource_uuid("decision", "8841")


@pytest.fixture
def log(api: httpx2.Client) -> httpx2.Client:
    """A client of a tenant with six events of three actors, one of them hostile."""
    sent = [
        event(eventType="action_run.started", occurredAt="2025-12-20T00:00:00Z"),
        event(eventType="action_run.started", occurredAt="2025-12-30T00:00:00Z"),
        event(eventType="action_run.started", occurredAt="2026-01-02T00:00:00Z"),
        event(eventType="action_run.failed", occurredAt="2026-01-02T03:00:00Z"),
        event(resourceType="decision", resourceId=ORDER, eventType="decision.approved", actorType="user", actorId="a"),
        event(actorType="user", actorId="\u202egnp.exe", occurredAt="2026-01-02T03:59:59Z"),
    ]
    answer = api.post("/api/v1/events/batch", content=ndjson(sent), headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 201, answer.text
    return api


@catches(mutants.NO_FILTER, mutants.REENCODED)
def test_facets_are_tables(user: Cli, log: httpx2.Client) -> None:
    """A table for each field, event types below each other; `--json` prints exactly the response."""
    ran = user.ok("facets", "--outcome", "failure", "--outcome", "none")
    rows = [line.split() for line in ran.lines]
    for row in (["EVENT", "TYPE", "EVENTS", "FAILURES"], ["action_run.*", "4", "1"], ["agent/planner", "4", "1"]):
        assert row in rows
    assert "  action_run.failed" in ran.out
    assert ["success", "2", "0"] in rows, "the outcomes are counted without the filter on them"
    assert ran.lines[-1] == "4 events"
    assert "and 1 more" in user.ok("facets", "--top", "2").lines
    body = log.get("/api/v1/events/facets", params={"actor_id": "planner", "actor_type": "agent", "top": 1}).content
    options = ("--actor-id", "planner", "--actor-type", "agent", "--top", "1")
    assert user.ok("facets", *options, "--json").out.encode() == body + b"\n"


def test_payload_values_are_filters_and_facets(user: Cli, log: httpx2.Client) -> None:
    """`--payload` selects events, and `--payload-field` counts the values of a path. A value without a path is a
    mistake of the command line."""
    for tool in ("search", "search", "book now", "\u202egnp"):
        assert log.post("/api/v1/events", json=event(payload={"tool": tool, "n": 1})).status_code == 201
    options = ("--payload", "tool=search", "--payload", "tool=book now", "--payload", "n=1")
    assert "3 of 3 events" in user.ok("list", *options).err
    rows = [line.split() for line in user.ok("facets", *options, "--payload-field", "tool").lines]
    assert ["search", "2", "0"] in rows
    assert ["PAYLOAD", "tool", "EVENTS", "FAILURES"] in rows
    assert "\u202e" not in user.ok("facets", "--payload-field", "tool").out
    refused = user.run("list", "--payload", "tool")
    assert refused.code != 0
    assert "PATH=VALUE" in refused.err


def test_actors_are_a_table(user: Cli, log: httpx2.Client) -> None:
    """Who did how much, what changed, when, and what for the first time; no name can control the terminal."""
    ran = user.ok("actors")
    assert ran.lines[0].split()[:5] == ["ACTOR", "EVENTS", "CHANGE", "FAILURES", "ACTIVITY"]
    planner = ran.lines[1].split()
    assert planner[:5] == ["agent/planner", "3", "+200", "%", "1"]
    assert planner[-1].startswith("action_run")
    assert "\u202e" not in ran.out
    assert ran.err == "3 of 3 actors from 2025-12-26 04:00:00 to 2026-01-02 04:00:00 UTC.\n"
    body = log.get("/api/v1/actors", params={"from": "2025-12-29", "to": "2026-01-02", "limit": 1}).content
    options = ("--from", "2025-12-29", "--to", "2026-01-02", "--limit", "1", "--json")
    assert user.ok("actors", *options).out.encode() == body + b"\n"
    assert user.ok("actors", "--to", "2001-01-01").out == ""
    narrow = user.ok("actors", env={"COLUMNS": "64"}).lines
    assert narrow[0].startswith("agent/planner · 3 events (+200 %) · 1 failed · ")
    assert any(line.startswith("  first time: action_run") for line in narrow)
    assert all(cell_len(line) <= 64 for line in narrow)


def test_an_actor_and_its_latest_events(user: Cli, log: httpx2.Client) -> None:
    """Facts, counts by type, and the events of the period."""
    ran = user.ok("actor", "agent/planner")
    facts = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in ran.lines if "  " in line}
    assert facts["events"] == "3  +200 %"
    assert all(cell_len(line) <= 64 for line in user.ok("actor", "agent/planner", env={"COLUMNS": "64"}).lines)
    assert facts["first seen"] == "2025-12-20 00:00:00"
    assert facts["first time"].startswith("action_run.failed at 2026-01-02 03:00:00, event ")
    assert ran.err == "3 of 3 events.\n"
    assert "@4" in ran.out and "@1" not in ran.out
    body = log.get("/api/v1/actors/agent/planner/summary", params={"from": "2025-12-01"}).content
    assert user.ok("actor", "agent/planner", "--since", "2025-12-01", "--json").out.encode() == body + b"\n"
    assert "events" in user.ok("actor", "user/nobody").out
    assert "separated by a slash" in user.fails(2, "actor", "planner")


def test_a_resource_and_its_latest_events(user: Cli, log: httpx2.Client) -> None:
    """By its UUID, or by the text from which that is derived."""
    ran = user.ok("resource", f"action_run/{RUN_ID}")
    rows = [line.split() for line in ran.lines]
    assert ["events", "5", "in", "5", "flows"] in rows
    assert ["agent/planner", "4", "1"] in rows
    assert ran.err == "5 of 5 events.\n"
    assert f"decision/{ORDER}" in user.ok("resource", "decision/8841").out
    body = log.get(f"/api/v1/resources/decision/{ORDER}/summary").content
    assert user.ok("resource", "decision/8841", "--json").out.encode() == body + b"\n"


def activity(total: int, before: int | None) -> ActorActivityBody:
    previous = None if before is None else TotalsBody(total=before, successes=0, failures=0)
    return ActorActivityBody(
        actor_id="a",
        actor_type="user",
        failures=0,
        first_times=[],
        last_seen_at=None,
        previous=previous,
        sparkline=[],
        successes=0,
        total=total,
    )


@pytest.mark.parametrize(
    ("total", "before", "shown"),
    [(3, None, ""), (3, 0, "new"), (0, 0, ""), (3, 2, "+50 %"), (1, 2, "-50 %"), (2, 2, "+0 %"), (0, 5, "-100 %")],
)
def test_the_change_against_the_period_before(total: int, before: int | None, shown: str) -> None:
    """In percent; nothing where there is nothing to compare with."""
    assert change_of(activity(total, before)) == shown


def test_a_sparkline_is_as_high_as_its_counts() -> None:
    """The most is the highest block, any event the lowest at least, none a blank."""
    assert sparks([0, 1, 100, 50, 0]) == " ▁█▄"
    assert sparks([1, 1]) == "██"
    assert sparks([0] * 24) == sparks([]) == ""
