"""`why`, `effects` and `trace` against a real server, compared with the API byte for byte."""

from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.api.conftest import event
from tests.cli import mutants
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from tests.cli.test_failures import answering, http

EVENTS = "/api/v1/events"
IDS = [str(UUID(int=number)) for number in range(1, 8)]
HOSTILE = "red\x1b[31m \u202eexe"

STORY = [
    {"eventType": "inbound_message.received", "actorType": "user", "actorId": "ana", "payload": {"text": "refund?"}},
    {"eventType": "decision.made", "actorId": "judge", "payload": {"reason": "over the limit"}},
    {"eventType": "action_run.started", "payload": {"tool": "refund", "arguments": {}}},
    {"eventType": "action_run.failed", "payload": {"tool": "refund", "error": "card_declined"}},
    {"eventType": "action_run.retried", "payload": {}},
    {"eventType": "action_run.retried", "payload": {}},
]
"""Each is caused by the one before it, except the last, which has the same cause as the one before it."""

FORGETS_THE_CAUSE = Mutant(
    "the_event_alone",
    """
import whence.cli.graph_text as graph_text
graph_text.chain_of = lambda trace: [node for node in trace.nodes if node.id == trace.event_id]
""",
)
UNESCAPED = Mutant("labels_as_they_are", "import whence.cli.graph_text as graph_text\ngraph_text._label = str")


@pytest.fixture
def story(api: httpx2.Client) -> list[dict[str, Any]]:
    """A refund that failed, and its consequences."""
    sent = [
        event(
            id=IDS[number],
            causationId=None if number == 0 else IDS[min(number, 4) - 1],
            occurredAt=f"2026-01-02T03:00:{number * 2:02}.5Z",
            **fields,
        )
        for number, fields in enumerate(STORY)
    ]
    assert api.post(f"{EVENTS}/batch", json=sent).status_code == 201
    return sent


@catches(FORGETS_THE_CAUSE, mutants.MESSAGES_ON_STDOUT)
def test_why_tells_a_story(user: Cli, story: list[Any]) -> None:
    """A summary, then the causes with their positions, times and sentences, the event, and what it led to."""
    for asked in ((IDS[3],), ("--last-failed",)):
        ran = user.ok("why", *asked)
        assert ran.lines == [
            "refund failed: card_declined. That is because planner called it, because judge made action run 5b0c3bd0. "
            "The root lies 3 hops and 6.0 s back. It led to 2 events in 4.0 s.",
            "",
            "            Because 3 events",
            "@1 +0:00.0 │  ana wrote action run 5b0c3bd0 “refund?”",
            "@2 +0:02.0 │  judge made action run 5b0c3bd0 over the limit",
            "@3 +0:04.0 │  planner called refund",
            "@4 +0:06.0 │✗ planner failed refund card_declined",
            "            Led to 2 events",
            "@6 +0:08.0 ┊ └  planner retried action run 5b0c3bd0 ×2 (2.0 s)",
        ]
        assert ran.err == "What followed: whence effects @4   The whole graph: whence trace @4\n"


def test_why_of_a_root_and_of_an_event_without_effects(user: Cli, story: list[Any], api: httpx2.Client) -> None:
    """A root has no cause in the log; a missing cause is named."""
    assert "Nothing came before it: it is the root." in user.ok("why", IDS[0]).lines[0]
    assert user.ok("why", IDS[5]).lines[0].endswith("It has led to nothing so far.")
    api.post(EVENTS, json=event(id=IDS[6], causationId="ticket 7"))
    assert "Its cause ticket 7 is not an event's id." in user.ok("why", IDS[6]).lines[0]
    assert "The cause ticket 7 is not an event's id." in user.ok("trace", IDS[6]).err


@catches(mutants.REENCODED)
def test_json_is_the_response_of_the_api(user: Cli, story: list[Any], api: httpx2.Client) -> None:
    """Byte for byte, for each command with its options."""
    base = f"{EVENTS}/{IDS[3]}/trace?direction="
    for command, target in {
        ("why", IDS[3]): f"{base}both&limit=1000",
        ("effects", IDS[3]): f"{base}down&limit=1000",
        ("trace", IDS[3]): f"{base}both&limit=500",
        ("trace", IDS[3], "--direction", "up", "--depth", "1", "--limit", "9"): f"{base}up&limit=9&depth=1",
    }.items():
        ran = user.ok(*command, "--json")
        assert ran.raw_out == api.get(target).content + b"\n", command


def test_effects_and_trace_are_trees(user: Cli, story: list[Any]) -> None:
    """Each event is below its cause, and further in where its cause has several effects."""
    ran = user.ok("effects", IDS[2])
    assert ran.lines == [
        "@4 +0:06.0 ┊✗ planner failed refund card_declined",
        "@6 +0:08.0 ┊ └  planner retried action run 5b0c3bd0 ×2 (2.0 s)",
    ]
    assert user.ok("effects", IDS[2], "--full").lines[1:] == [
        "@5 +0:08.0 ┊ ├  planner retried action run 5b0c3bd0",
        "@6 +0:10.0 ┊ └  planner retried action run 5b0c3bd0",
    ]
    assert ran.err == "3 consequences, 1 failed.\n"
    assert (user.ok("effects", IDS[5]).out, user.ok("effects", IDS[5]).err) == ("", "0 consequences, 0 failed.\n")
    one = user.ok("effects", IDS[3], "--columns", "ref,cause,sentence")
    assert [line.split() for line in one.lines] == [
        ["REF", "CAUSE", "SENTENCE"],
        ["@5", IDS[3], "planner", "retried", "action", "run", "5b0c3bd0"],
        ["@6", IDS[3], "planner", "retried", "action", "run", "5b0c3bd0"],
    ]
    whole = user.ok("trace", IDS[3])
    assert [line.split()[0] for line in whole.lines if "@" in line] == ["@1", "@2", "@3", "@4", "@5", "@6"]
    assert "".join(line for line in whole.lines if "@" in line).count("│") == 4
    assert whole.err == "6 events, 1 failed, 3 actors, 1 resource, 10.0 s.\n"
    assert user.ok("trace", IDS[3], "--limit", "2").err.startswith("2 of 6 events")


def test_an_event_may_be_named_in_short(user: Cli, story: list[Any], api: httpx2.Client) -> None:
    """By its position, or the first digits of its id; `emit` takes a position as the cause."""
    api.post(EVENTS, json=event(id="0b3c1b5e-6d0c-4b7a-9c53-2f2d1f6f7a31", causationId=IDS[3]))
    for command in ("why", "effects", "trace", "get"):
        assert user.ok(command, "@7", "--json").out == user.ok(command, "0b3c1b5e", "--json").out
    assert "no event with this position" in user.fails(3, "why", "@8")
    assert "Several ids begin so" in user.fails(2, "get", "00000000")
    done = user.ok("emit", "a.noted", "--actor", "user/ana", "--resource", f"decision/{IDS[0]}", "--cause", "@7")
    caused = api.get(f"{EVENTS}/{done.lines[0]}").json()
    assert caused["causationId"] == "0b3c1b5e-6d0c-4b7a-9c53-2f2d1f6f7a31"


def test_the_last_failure_is_that_of_the_flow_that_failed_last(user: Cli, api: httpx2.Client) -> None:
    """Not that of a flow in which something else happened since; and the innermost one, which others pass on."""
    run = "0b3c1b5e-6d0c-4b7a-9c53-2f2d1f6f7a31"
    sent = [
        event(id=IDS[0], eventType="action_run.failed", occurredAt="2026-01-02T03:00:00Z"),
        event(id=IDS[1], eventType="action_run.started", resourceId=run, occurredAt="2026-01-02T03:01:00Z"),
        event(id=IDS[2], eventType="action_run.failed", causationId=IDS[1], occurredAt="2026-01-02T03:01:01Z"),
        event(
            id=IDS[3],
            eventType="action_run.failed",
            resourceId=run,
            causationId=IDS[2],
            occurredAt="2026-01-02T03:01:01Z",
        ),
        event(id=IDS[4], causationId=IDS[0], occurredAt="2026-01-02T03:05:00Z"),
    ]
    assert api.post(f"{EVENTS}/batch", json=sent).status_code == 201
    assert user.ok("why", "--last-failed", "--json").out == user.ok("why", IDS[2], "--json").out


@catches(UNESCAPED)
def test_mermaid_is_a_flowchart(user: Cli, story: list[Any], api: httpx2.Client) -> None:
    """A box for each event, an arrow for each cause, and no label that could be markup."""
    api.post(EVENTS, json=event(id=IDS[6], causationId=IDS[0], actorId='"]; click e1 "x" <b>'))
    lines = user.ok("trace", IDS[3], "--mermaid").lines
    assert lines[0] == "flowchart TD"
    assert [line.strip() for line in lines if "-->" in line] == [
        "e1 --> e2",
        "e2 --> e3",
        "e3 --> e4",
        "e4 --> e5",
        "e4 --> e6",
        "e1 --> e7",
    ]
    assert '  e1["inbound_message.received<br/>user ana<br/>+0 µs"]' in lines
    boxes = [line for line in lines if "[" in line]
    assert len(boxes) == 7 and all(line.count('"') == 2 and line.count("<") == 2 for line in boxes)
    assert "  class e4 failed" in lines and "  class e4 asked" in lines


@catches(mutants.AS_IT_IS)
def test_no_text_controls_the_terminal(user: Cli, api: httpx2.Client) -> None:
    """Control characters in events are escaped by every command."""
    api.post(EVENTS, json=event(id=IDS[0], actorId="x\u202eexe", outcome="failure", payload={"error": HOSTILE}))
    api.post(EVENTS, json=event(id=IDS[1], causationId=IDS[0], correlationId="c\u2066d"))
    for command in (
        ("why", IDS[0]),
        ("effects", IDS[0]),
        ("trace", IDS[1]),
        ("trace", IDS[1], "--mermaid"),
    ):
        user.ok(*command)
    assert "red\\x1b[31m \\u202eexe" in user.ok("why", IDS[0]).out


def test_strange_graphs_end_well(cli: Cli) -> None:
    """A graph without the requested event is refused in one sentence; one with a cycle is printed."""
    summary = '{"actors":1,"durationUs":0,"events":1,"failures":0,"hops":0,"resources":1}'
    node = (
        '{"actorId":"a","actorType":"user","allEffects":0,"causationId":"%s","correlationId":"c","cycle":false,'
        '"effects":0,"eventType":"a.b","failuresBelow":0,"hops":0,"id":"%s","occurredAt":"\\u001b[31m",'
        '"otherFlow":false,"outcome":"none","position":1,"resourceId":"r","resourceType":"t","sinceCauseUs":null,'
        '"sinceRootUs":0,"skewed":false}'
    )
    body = '{"atLeast":false,"eventId":"x","missing":[],"nodes":[%s],"rootId":"r","summary":%s,"truncated":false}'
    with answering(http((body % ("", summary)).encode())) as url:
        cli.given(url=url, api_key="whk_x").fails(1, "trace", IDS[0])
    cycle = ",".join([node % ("y", "x"), node % ("x", "y")])
    with answering(http((body % (cycle, summary)).encode())) as url:
        ran = cli.given(url=url, api_key="whk_x").ok("trace", IDS[0], "--mermaid")
        assert "e1" in ran.out and "root" not in ran.err
        cli.given(url=url, api_key="whk_x").fails(1, "trace", IDS[0])  # it has the graph, and no event
    with answering(http((body % (cycle, summary)).replace("{", '{"rootKnown":false,', 1).encode())) as url:
        ran = cli.given(url=url, api_key="whk_x").ok("trace", IDS[0], "--mermaid")
        assert "The first event is not the root: the causes go further up than a trace reads." in ran.err


def test_failures_are_one_sentence(user: Cli) -> None:
    """An unknown event, an empty log, and wrong arguments have their exit codes."""
    for command in ("why", "effects", "trace"):
        assert "no event with this id" in user.fails(3, command, IDS[0])
        refusal = user.fails(2, command, "497")
        assert "position, like @5539" in refusal and "at least four" in refusal
    assert user.fails(3, "why", "--last-failed") == "No event has failed."
    for arguments in ((), (IDS[0], "--last-failed")):
        assert "--last-failed" in user.fails(2, "why", *arguments)
    assert "--mermaid" in user.fails(2, "trace", IDS[0], "--json", "--mermaid")
