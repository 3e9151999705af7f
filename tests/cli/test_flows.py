"""`flows`, `flow` and `map` against a real server."""

from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.api.conftest import event
from tests.cli import mutants
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from tests.cli.test_traces import HOSTILE, STORY
from whence.cli.app import run

EVENTS = "/api/v1/events"
IDS = [str(UUID(int=number)) for number in range(1, 9)]

ALL_FLOWS = Mutant(
    "filter_left_out",
    """
import whence.cli.flows as flows
real = flows.ApiRequest
flows.ApiRequest = lambda **sent: real(**{**sent, "query": tuple(p for p in sent["query"] if p[0] != "outcome")})
""",
)
ONLY_THE_ROOT = Mutant(
    "first_tree_alone",
    "import whence.cli.flow_story as story\nreal = story.trees_of\nstory.trees_of = lambda events: real(events)[:1]",
)


@pytest.fixture
def story(api: httpx2.Client) -> list[dict[str, Any]]:
    """A refund that failed, and its consequences, as one flow; a day later another one."""
    sent = [
        event(
            id=IDS[number],
            causationId=None if number == 0 else IDS[min(number, 4) - 1],
            correlationId="order 8841",
            occurredAt=f"2026-01-02T03:00:{number * 2:02}.5Z",
            **fields,
        )
        for number, fields in enumerate(STORY)
    ]
    sent.append(event(id=IDS[6], occurredAt="2026-01-03T00:00:00Z"))
    assert api.post(f"{EVENTS}/batch", json=sent).status_code == 201
    return sent


@catches(ALL_FLOWS, mutants.MESSAGES_ON_STDOUT)
def test_flows_say_how_they_began(user: Cli, story: list[Any]) -> None:
    """Rows with headings on stdout, and how to continue on stderr."""
    ran = user.ok("flows", "--failed")
    assert ran.lines == [
        "EVENT            LAST, UTC  EVENTS  FAILED  LENGTH  FLOW          HOW IT BEGAN",
        "   @1  2026-01-02 03:00:10       6       1  10.0 s  order 8841  ✗ ana wrote action run 5b0c3bd0 “refund?”",
    ]
    assert ran.err == "1 of 1 flow.\n"
    ran = user.ok("flows", "--limit", "1", "--columns", "flow,events,failed,actors,event_type")
    assert [line.split() for line in ran.lines[1:]] == [[IDS[6], "1", "0", "1", "action_run.completed"]]
    assert ran.err == "1 of 2 flows; continue with --offset 1.\n"
    assert "--columns takes these names" in user.fails(2, "flows", "--columns", "nope")


@pytest.mark.parametrize("words", [("flows",), ("flow", "@1"), ("map",), ("effects", "@1"), ("list",)], ids=" ".join)
def test_columns_and_json_exclude_each_other(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """JSON is what the API answered, whatever columns a table would have. No server is asked."""
    assert run([*words, "--columns", "events,ref", "--json"]) == 2
    assert capsys.readouterr() == ("", "Pass either --columns or --json.\n")


def test_flows_that_begin_alike_are_shown_by_their_next_event(user: Cli, api: httpx2.Client) -> None:
    """Since how all of them begin says nothing; a flow without another event is shown by its first."""
    sent = [
        event(id=IDS[number], eventType="automation_run.started", correlationId=f"f{number}", actorId=f"a{number}")
        for number in range(3)
    ]
    sent += [
        event(
            id=IDS[number + 3],
            causationId=IDS[number],
            correlationId=f"f{number}",
            eventType="a.noted",
            actorId=f"b{number}",
        )
        for number in range(2)
    ]
    assert api.post(f"{EVENTS}/batch", json=sent).status_code == 201
    rows = user.ok("flows", "--columns", "ref,flow,sentence").lines[1:]
    assert sorted(" ".join(row.split()[:3]) for row in rows) == ["@3 f2 a2", "@4 f0 b0", "@5 f1 b1"]


@catches(ONLY_THE_ROOT)
def test_a_flow_is_told_by_its_id_or_any_of_its_events(user: Cli, story: list[Any], api: httpx2.Client) -> None:
    """A summary, then every event in the order of causes, with times since the first."""
    ran = user.ok("flow", "order 8841")
    assert ran.lines == [
        "Flow order 8841 has 6 events in 10.0 s by 3 actors, and 1 of them failed. It began when ana wrote action run "
        "5b0c3bd0 “refund?” The first failure: refund failed: card_declined. The last event: planner retried action "
        "run 5b0c3bd0.",
        "",
        "@1 +0:00.0 │  ana wrote action run 5b0c3bd0 “refund?”",
        "@2 +0:02.0 │  judge made action run 5b0c3bd0 over the limit",
        "@4 +0:04.0 │✗ planner called refund failed card_declined (2.0 s)",
        "@6 +0:08.0 │ └  planner retried action run 5b0c3bd0 ×2 (2.0 s)",
    ]
    assert ran.err == ""
    assert user.ok("flow", "@5").out == user.ok("flow", IDS[2]).out == ran.out
    columns = user.ok("flow", "@5", "--columns", "ref,event_type").lines
    assert [line.split()[0] for line in columns] == ["REF", "@1", "@2", "@3", "@4", "@5", "@6"]
    api.post(EVENTS, json=event(id=IDS[7], correlationId="order 8841", causationId=IDS[6]))
    assert f"(because of @7 in flow {IDS[6]})" in user.ok("flow", "order 8841").out
    assert "no flow with this id" in user.fails(3, "flow", "nope")
    assert "no event with this position" in user.fails(3, "flow", "@99")


@catches(mutants.REENCODED)
def test_json_is_the_response_of_the_api(user: Cli, story: list[Any], api: httpx2.Client) -> None:
    """Byte for byte, for each command with its options."""
    for command, target in {
        ("flow", "order 8841"): f"{EVENTS}/correlation/order%208841?limit=100",
        ("flows",): "/api/v1/flows?limit=20&offset=0",
        ("flows", "--failed", "--from", "2026-01-01", "--limit", "1"): (
            "/api/v1/flows?outcome=failure&from=2026-01-01&limit=1&offset=0"
        ),
        ("map",): "/api/v1/flows/map",
        ("map", "--since", "2026-01-02", "--until", "2026-01-03"): "/api/v1/flows/map?from=2026-01-02&to=2026-01-03",
    }.items():
        ran = user.ok(*command, "--json")
        assert ran.raw_out == api.get(target).content + b"\n", command


def test_a_map_of_a_part_of_a_day_says_that_it_counts_whole_days(user: Cli, story: list[Any]) -> None:
    """Before its rows. Without a period it has nothing to say."""
    ran = user.ok("map")
    assert ran.lines[0].split() == ["CAUSE", "EFFECT", "EVENTS", "SHARE", "FAILED", "P50", "P95"]
    assert ran.lines[1].split()[:5] == ["action_run.failed", "action_run.retried", "2", "100.0%", "0"]
    assert ran.err == "5 transitions from the beginning to now; counts are exact, delays within 2%.\n"
    first, last = user.ok("map", "--since", "2026-01-02T09:00:00Z").err.splitlines()
    assert first == (
        "This counts whole days (UTC), those that the given period touches: from 2026-01-02T00:00:00Z to now."
    )
    assert last.startswith("5 transitions from 2026-01-02T00:00:00Z to now;")
    assert user.ok("map", "--columns", "effect,skewed").lines[0].split() == ["EFFECT", "SKEWED"]


@catches(mutants.AS_IT_IS)
def test_no_text_controls_the_terminal(user: Cli, api: httpx2.Client) -> None:
    """Control characters in events are escaped by every command."""
    api.post(EVENTS, json=event(id=IDS[0], actorId="x\u202eexe", outcome="failure", payload={"error": HOSTILE}))
    api.post(EVENTS, json=event(id=IDS[1], causationId=IDS[0], correlationId="c\u2066d"))
    for command in (("flows",), ("flows", "--columns", "flow,sentence"), ("flow", "@1"), ("flow", "@2"), ("map",)):
        user.ok(*command)
    assert "red\\x1b[31m \\u202eexe" in user.ok("flow", "@1").out


def test_an_empty_log_has_no_flows(user: Cli) -> None:
    assert user.ok("flows").err == "0 of 0 flows.\n"
    assert user.ok("map").out == ""
    assert user.ok("stats").out == "0 events\n"
