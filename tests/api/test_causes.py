"""Graphs, flows and the process map over HTTP."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, code_of, event, problems
from tests.unit.mutants import catches, replaced
from whence.permissions import READ, WRITE
from whence.wire import fields

EVENTS = "/api/v1/events"
FLOWS = "/api/v1/flows"
IDS = [str(uuid.UUID(int=number)) for number in range(1, 9)]
NODE_KEYS = {
    "actorId", "actorType", "allEffects", "causationId", "correlationId", "cycle", "effects", "eventType",
    "failuresBelow", "hops", "id", "occurredAt", "otherFlow", "outcome", "position", "resourceId", "resourceType",
    "sinceCauseUs", "sinceRootUs", "skewed",
}  # fmt: skip


@pytest.fixture(scope="module")
def story(served: Served) -> Iterator[httpx2.Client]:
    """A tenant with a chain of four events, one of which failed, and one more effect; and a flow of its own."""
    sent = [
        event(id=IDS[0], eventType="inbound_message.received", occurredAt="2026-01-02T03:00:00Z"),
        event(id=IDS[1], causationId=IDS[0], occurredAt="2026-01-02T03:00:01.5Z"),
        event(id=IDS[2], causationId=IDS[1], eventType="action_run.failed", occurredAt="2026-01-02T03:00:03Z"),
        event(id=IDS[3], causationId=IDS[2], actorId="eve", occurredAt="2026-01-02T03:00:02Z"),
        event(id=IDS[4], causationId=IDS[0], correlationId="other", occurredAt="2026-01-02T03:00:04Z"),
        event(id=IDS[5], causationId="no event", correlationId="third", occurredAt="2026-01-04T03:00:04Z"),
    ]
    with served.client(READ, WRITE, tenant="story") as client:
        assert client.post(f"{EVENTS}/batch", json=sent).status_code == 201
        yield client


def trace(client: httpx2.Client, number: int, **parameters: Any) -> Any:
    answer = client.get(f"{EVENTS}/{IDS[number]}/trace", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def numbers(graph: Any) -> list[int]:
    return [IDS.index(node["id"]) for node in graph["nodes"]]


def test_a_graph_is_whole_from_each_of_its_events(story: httpx2.Client) -> None:
    """The same nodes from every event, each after its cause, without payloads."""
    for number in range(5):
        graph = trace(story, number)
        assert numbers(graph) == [0, 1, 2, 3, 4]
        assert graph["eventId"] == IDS[number] and graph["rootId"] == IDS[0] and graph["rootKnown"] is True
        assert (graph["truncated"], graph["atLeast"], graph["missing"]) == (False, False, [])
        assert graph["summary"] == {
            "actors": 2,
            "durationUs": 4_000_000,
            "events": 5,
            "failures": 1,
            "hops": [0, 1, 2, 3, 1][number],
            "resources": 1,
        }
        assert all(node.keys() == NODE_KEYS for node in graph["nodes"])


@catches(replaced(fields, "canonical", lambda text: text, "correlations_stay_as_sent"))
def test_an_id_in_upper_case_makes_one_flow(served: Served) -> None:
    """A root with an upper-case id, and effects that carry this text as cause and as correlation, are one flow. Each
    parameter and path takes either form, and a repeat in the other form is a replay."""
    tenant = f"one-form-{uuid.uuid4()}"
    root = str(uuid.uuid4()).upper()
    with served.client(READ, WRITE, tenant=tenant) as client:
        sent = event(id=root, actorId=root, resourceId=root)
        effect = event(id=str(uuid.uuid4()), causationId=root, correlationId=root, actorId=root.lower())
        assert [client.post(EVENTS, json=each).status_code for each in (sent, effect)] == [201, 201]
        for form in (root, root.lower()):
            again = client.post(EVENTS, json=effect | {"causationId": form, "correlationId": form, "actorId": form})
            assert (again.status_code, again.json()["correlationId"]) == (200, root.lower())
            for path in (f"{EVENTS}/correlation/{form}", f"{EVENTS}?correlation_id={form}&actor_id={form}"):
                page = client.get(path).json()
                assert (page["total"], {each["actorId"] for each in page["events"]}) == (2, {root.lower()})
            graph = client.get(f"{EVENTS}/{form}/trace").json()
            assert [node["otherFlow"] for node in graph["nodes"]] == [False, False]
        flows = client.get(FLOWS).json()
        assert [(flow["correlationId"], flow["events"]) for flow in flows["flows"]] == [(root.lower(), 2)]


def test_a_node_tells_its_place(story: httpx2.Client) -> None:
    """Times since root and cause, counts below, and what is odd about its cause."""
    nodes = trace(story, 0)["nodes"]
    told = ("hops", "sinceRootUs", "sinceCauseUs", "effects", "allEffects", "failuresBelow", "skewed", "otherFlow")
    assert [tuple(node[name] for name in told) for node in nodes] == [
        (0, 0, None, 2, 4, 1, False, False),
        (1, 1_500_000, 1_500_000, 1, 2, 1, False, False),
        (2, 3_000_000, 1_500_000, 1, 1, 0, False, False),
        (3, 2_000_000, -1_000_000, 0, 0, 0, True, False),
        (1, 4_000_000, 4_000_000, 0, 0, 0, False, True),
    ]
    assert [node["position"] for node in nodes] == [1, 2, 3, 4, 5]


def test_a_part_of_a_graph_says_that_it_is_one(story: httpx2.Client) -> None:
    """Direction, depth and limit leave out nodes and nothing of the summary."""
    parts = {
        (("direction", "up"),): [0, 1, 2],
        (("direction", "down"),): [2, 3],
        (("depth", 1),): [1, 2, 3],
        (("depth", 0),): [2],
        (("limit", 1),): [2],
        (("limit", 2),): [1, 2],
        (("direction", "up"), ("depth", 1)): [1, 2],
    }
    for parameters, wanted in parts.items():
        graph = trace(story, 2, **dict(parameters))
        assert (numbers(graph), graph["truncated"], graph["summary"]["events"]) == (wanted, True, 5)


def test_a_cause_that_is_not_there_heals_when_it_arrives(served: Served) -> None:
    """Until then it is named as missing."""
    with served.client(READ, WRITE, tenant="healing") as client:
        client.post(EVENTS, json=event(id=IDS[1], causationId=IDS[0]))
        assert (numbers(trace(client, 1)), trace(client, 1)["missing"]) == ([1], [IDS[0]])
        client.post(EVENTS, json=event(id=IDS[0], occurredAt="2026-01-01T00:00:00Z"))
        assert (numbers(trace(client, 1)), trace(client, 1)["missing"]) == ([0, 1], [])
        assert client.get(f"{FLOWS}/map").json()["links"] == 1


def test_an_unknown_event_has_no_graph(story: httpx2.Client) -> None:
    """It is the 404 of Get, and an id that is not a UUID is the 422 of Get."""
    for method in ("GET", "HEAD"):
        assert story.request(method, f"{EVENTS}/{uuid.uuid4()}/trace").status_code == 404
    answer = story.get(f"{EVENTS}/{uuid.uuid4()}/trace")
    assert code_of(answer) == "not_found"
    assert answer.json()["detail"] == story.get(f"{EVENTS}/{uuid.uuid4()}").json()["detail"]
    assert problems(story.get(f"{EVENTS}/x/trace")) == [(["path", "event_id"], "uuid_parsing")]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("direction=left", [("direction", "enum")]),
        ("depth=-1", [("depth", "int_parsing")]),
        ("depth=10001", [("depth", "out_of_range")]),
        ("limit=0", [("limit", "out_of_range")]),
        ("limit=10001", [("limit", "out_of_range")]),
        ("limit=5&limit=5", [("limit", "repeated")]),
        ("direction=", [("direction", "string_too_short")]),
        ("include=payload", [("include", "enum")]),
        ("from=2026-01-01", [("from", "extra_forbidden")]),
        ("direction=x&limit=x&depth=x", [("direction", "enum"), ("depth", "int_parsing"), ("limit", "int_parsing")]),
    ],
)
def test_parameters_of_a_trace_are_checked(story: httpx2.Client, query: str, wanted: list[tuple[str, str]]) -> None:
    """Each at its own place; the bounds themselves are good."""
    found = problems(story.get(f"{EVENTS}/{IDS[0]}/trace?{query}"))
    assert found == [(["query", name], type_) for name, type_ in wanted]
    assert story.get(f"{EVENTS}/{IDS[0]}/trace?depth=10000&limit=1000&direction=both").status_code == 200


def test_flows_by_their_last_activity(story: httpx2.Client) -> None:
    """Each with its root, counts and duration; a failure and a range of time choose among them."""
    page = story.get(FLOWS).json()
    assert page.keys() == {"flows", "hasNext", "limit", "offset", "total"}
    assert [(flow["correlationId"], flow["events"], flow["failures"], flow["actors"]) for flow in page["flows"]] == [
        ("third", 1, 0, 1),
        ("other", 1, 0, 1),
        (IDS[0], 4, 1, 2),
    ]
    first = page["flows"][2]
    assert (first["root"]["id"], first["durationUs"], first["atLeast"]) == (IDS[0], 3_000_000, False)
    assert (first["firstAt"], first["lastAt"]) == ("2026-01-02T03:00:00Z", "2026-01-02T03:00:03Z")

    def names(query: str) -> list[str]:
        return [flow["correlationId"] for flow in story.get(f"{FLOWS}?{query}").json()["flows"]]

    assert names("outcome=failure") == [IDS[0]]
    assert names("from=2026-01-03") == ["third"]
    assert names("to=2026-01-02T03:00:04Z") == [IDS[0]]
    assert names("from=2026-01-02T03:00:04Z&to=2026-01-03") == ["other"]
    assert names("offset=1&limit=1") == ["other"]
    assert names("offset=9") == []


def test_pages_of_flows_are_linked(story: httpx2.Client) -> None:
    """Following the link meets each flow once; the filter is part of the cursor."""
    target, found = f"{FLOWS}?limit=1&to=-1m", []
    while target:
        answer = story.get(target)
        page = answer.json()
        assert (page["total"], page["offset"]) == (3, len(found))
        found += [flow["correlationId"] for flow in page["flows"]]
        link = answer.headers.get("link", "")
        assert bool(link) == page["hasNext"]
        target = link.partition(">")[0].removeprefix("<")
        if target:
            assert problems(story.get(f"{target}&outcome=failure")) == [(["query", "cursor"], "cursor")]
            assert problems(story.get(f"{target}&offset=1")) == [(["query", "offset"], "cursor_with_offset")]
    assert found == ["third", "other", IDS[0]]


def test_a_cursor_of_events_is_none_of_flows(story: httpx2.Client) -> None:
    """Nor the other way round, nor of another tenant."""
    events = story.get(f"{EVENTS}?limit=1&include=nextCursor").json()["nextCursor"]
    flows = story.get(f"{FLOWS}?limit=1").headers["link"].partition("cursor=")[2].partition(">")[0]
    assert problems(story.get(f"{FLOWS}?cursor={events}")) == [(["query", "cursor"], "cursor")]
    assert problems(story.get(f"{EVENTS}?cursor={flows}")) == [(["query", "cursor"], "cursor")]
    assert story.get(f"{FLOWS}?cursor={flows}").status_code == 200


def test_the_map_says_what_leads_to_what(story: httpx2.Client) -> None:
    """Pairs with counts, shares, failures and delays; the period is whole days, and is said."""
    found = story.get(f"{FLOWS}/map").json()
    assert (found["from"], found["to"], found["links"], found["delayError"]) == (None, None, 4, 0.02)
    received = {
        "causeType": "inbound_message.received",
        "effectType": "action_run.completed",
        "events": 2,
        "failures": 0,
        "share": 1.0,
        "skewed": 0,
    }
    pair = found["pairs"][0]
    assert {name: pair[name] for name in received} == received
    assert abs(pair["p50Us"] - 1_500_000) <= 30_000 and abs(pair["p95Us"] - 4_000_000) <= 80_000
    failed = next(each for each in found["pairs"] if each["causeType"] == "action_run.failed")
    assert (failed["skewed"], failed["p50Us"], failed["p95Us"]) == (1, None, None)
    assert sum(each["failures"] for each in found["pairs"]) == 1
    part = story.get(f"{FLOWS}/map?from=2026-01-02T23:00:00Z&to=2026-01-02T23:00:01Z").json()
    assert (part["from"], part["to"], part["links"]) == ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", 4)
    assert story.get(f"{FLOWS}/map?from=2026-01-03").json()["links"] == 0
    assert problems(story.get(f"{FLOWS}/map?from=2026-01-03&to=2026-01-02")) == [(["query", "from"], "time_range")]


def test_a_flow_may_be_named_trace(served: Served) -> None:
    """The path of a correlation stays what it was."""
    with served.client(READ, WRITE, tenant="named-trace") as client:
        client.post(EVENTS, json=event(correlationId="trace"))
        client.post(EVENTS, json=event(correlationId="a/trace"))
        assert client.get(f"{EVENTS}/correlation/trace").json()["total"] == 1
        assert client.get(f"{EVENTS}/correlation/a/trace").json()["total"] == 1


def test_a_node_that_tells_nothing_of_skew_is_found(story: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the encoding leaves out what is odd, and counts its own failure to those below."""
    monkeypatch.setattr("whence.wire.traces.NodeBody", broken_body)
    with pytest.raises(AssertionError):
        test_a_node_tells_its_place(story)


def broken_body(**told: Any) -> dict[str, Any]:
    return {"id": told["id"], "position": told["position"], "hops": told["hops"]} | dict.fromkeys(
        ("sinceRootUs", "sinceCauseUs", "effects", "allEffects", "failuresBelow", "skewed", "otherFlow"), 0
    )
