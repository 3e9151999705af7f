"""The routes about facets, actors and resources: what they answer, and what they refuse."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.api.conftest import RUN_ID, Served, event, problems
from tests.unit.mutants import catches, replaced
from whence.api import activity
from whence.permissions import READ, WRITE
from whence.wire import activity as wire

FACETS = "/api/v1/events/facets"
ACTORS = "/api/v1/actors"
RESOURCE = f"/api/v1/resources/action_run/{RUN_ID}/summary"
ODD_ACTOR = "a/b c?%2F#ä😀"
WEEK = {"from": "2026-01-01", "to": "2026-01-08"}


def summary_of(actor_type: str, actor_id: str) -> str:
    return f"{ACTORS}/{actor_type}/{quote(actor_id, safe='')}/summary"


@pytest.fixture(scope="module")
def log(served: Served) -> Iterator[httpx2.Client]:
    """A client of a tenant whose log has eight events of four actors."""
    sent = [
        event(eventType="action_run.started", occurredAt="2025-12-30T00:00:00Z"),
        event(eventType="action_run.started", occurredAt="2026-01-02T00:00:00Z"),
        event(eventType="action_run.failed", occurredAt="2026-01-02T01:00:00Z"),
        event(eventType="action_run.failed", occurredAt="2026-01-02T02:00:00Z", actorId="other"),
        event(eventType="action_run.step.opened", occurredAt="2026-01-03T00:00:00Z", actorType="user", actorId="ada"),
        event(eventType="action_run.step.closed", occurredAt="2026-01-03T00:00:00Z", actorType="user", actorId="ada"),
        event(eventType="invoice.sent", occurredAt="2026-01-03T01:00:00Z", resourceType="artifact", actorId=ODD_ACTOR),
        event(eventType="invoice.sent", occurredAt="2026-01-07T23:59:59Z", actorId=ODD_ACTOR),
    ]
    with served.client(READ, WRITE, tenant="activity") as client:
        assert client.post("/api/v1/events/batch", json=sent).status_code == 201
        yield client


def body(client: httpx2.Client, path: str, **params: Any) -> Any:
    answer = client.get(path, params=params or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_facets_are_a_tree_and_lists(log: httpx2.Client) -> None:
    """Event types are grouped by their segments, a branch with one type is that type, and failures stand beside."""
    found = body(log, FACETS, outcome="failure")
    assert found["total"] == 2
    assert found["facets"]["outcome"]["values"] == [
        {"count": 4, "failures": 0, "value": "none"},
        {"count": 2, "failures": 2, "value": "failure"},
        {"count": 2, "failures": 0, "value": "success"},
    ]
    assert found["facets"]["eventType"] == {
        "more": 0,
        "values": [{"children": [], "count": 2, "failures": 2, "value": "action_run.failed"}],
    }
    whole = body(log, FACETS)["facets"]
    (runs, invoices) = whole["eventType"]["values"]
    assert (runs["value"], runs["count"], runs["failures"]) == ("action_run.*", 6, 2)
    assert [(each["value"], each["count"]) for each in runs["children"]] == [
        ("action_run.failed", 2),
        ("action_run.started", 2),
        ("action_run.step.*", 2),
    ]
    assert (invoices["value"], invoices["children"]) == ("invoice.sent", [])
    assert whole["actorType"]["values"][0] == {"count": 6, "failures": 2, "value": "agent"}
    assert whole["resourceType"]["values"] == [
        {"count": 7, "failures": 2, "value": "action_run"},
        {"count": 1, "failures": 0, "value": "artifact"},
    ]


def test_top_values_and_how_many_more(log: httpx2.Client) -> None:
    """Of each facet the first values come, and how many further ones there are."""
    found = body(log, FACETS, top=1)["facets"]
    assert found["actor"] == {
        "more": 3,
        "values": [{"actorId": "planner", "actorType": "agent", "count": 3, "failures": 1}],
    }
    assert [found[name]["more"] for name in ("actorType", "eventType", "outcome", "resourceType")] == [1, 1, 2, 1]


def test_actors_of_a_week(log: httpx2.Client) -> None:
    """The most active first, with the week before, a sparkline of 24 parts, and what they did for the first time."""
    found = body(log, ACTORS, **WEEK)
    assert (found["from"], found["to"]) == ("2026-01-01T00:00:00Z", "2026-01-08T00:00:00Z")
    assert (found["total"], found["hasNext"]) == (4, False)
    assert [each["actorId"] for each in found["actors"]] == [ODD_ACTOR, "planner", "ada", "other"]
    planner = found["actors"][1]
    assert planner | {"sparkline": []} == {
        "actorId": "planner",
        "actorType": "agent",
        "failures": 1,
        "firstTimes": [
            {
                "at": "2026-01-02T01:00:00Z",
                "eventId": planner["firstTimes"][0]["eventId"],
                "eventType": "action_run.failed",
            }
        ],
        "lastSeenAt": "2026-01-02T01:00:00Z",
        "previous": {"failures": 0, "successes": 0, "total": 1},
        "sparkline": [],
        "successes": 0,
        "total": 2,
    }
    assert planner["sparkline"] == [0, 0, 0, 2, *[0] * 20]
    first = body(log, f"/api/v1/events/{planner['firstTimes'][0]['eventId']}")
    assert (first["eventType"], first["actorId"]) == ("action_run.failed", "planner")
    whole = body(log, ACTORS)
    assert (whole["from"], whole["to"]) == ("2026-01-01T00:00:00Z", "2026-01-08T00:00:00Z")
    assert whole == found


def test_pages_of_actors_follow_the_link(log: httpx2.Client) -> None:
    """A cursor keeps the period of the first page, and is refused with other times and when it is damaged."""
    answer = log.get(ACTORS, params={"limit": 3})
    assert answer.json()["hasNext"]
    link = answer.headers["link"].partition(">")[0].removeprefix("<")
    rest = body(log, link)
    assert (rest["hasNext"], rest["total"], rest["from"]) == (False, 4, answer.json()["from"])
    assert [each["actorId"] for each in rest["actors"]] == ["other"]
    assert "link" not in log.get(link).headers
    cursor = httpx2.URL(link).params["cursor"]
    for params in ({"cursor": cursor, **WEEK}, {"cursor": cursor[:-2]}, {"cursor": "x"}):
        assert problems(log.get(ACTORS, params=params)) == [(["query", "cursor"], "cursor")]


@catches(replaced(activity, "unquote_to_bytes", str.encode, "an_actor_is_not_decoded"))
def test_any_actor_has_a_summary(log: httpx2.Client) -> None:
    """Its id is percent-encoded in the path, slashes too. An unknown actor has done nothing."""
    found = body(log, summary_of("agent", ODD_ACTOR), **WEEK)
    assert (found["actorId"], found["total"], found["successes"]) == (ODD_ACTOR, 2, 2)
    assert (found["firstSeenAt"], found["lastSeenAt"]) == ("2026-01-03T01:00:00Z", "2026-01-07T23:59:59Z")
    assert found["byEventType"] == [{"count": 2, "failures": 0, "value": "invoice.sent"}]
    assert [each["value"] for each in found["byResourceType"]] == ["action_run", "artifact"]
    assert [each["eventType"] for each in found["firstTimes"]] == ["invoice.sent"]
    assert found["triggeredBy"] == {"actors": [], "events": 2, "missing": 0, "moreActors": 0, "roots": 2}
    for actor in (("user", ODD_ACTOR), ("agent", "nobody")):
        nobody = body(log, summary_of(*actor))
        assert (nobody["total"], nobody["firstSeenAt"], nobody["lastSeenAt"]) == (0, None, None)
        assert nobody["sparkline"] == [0] * 24


def test_the_summary_of_a_resource(log: httpx2.Client) -> None:
    """How much happened to it, by whom, and what was last; nothing to one that is unknown."""
    found = body(log, RESOURCE)
    assert (found["events"], found["failures"], found["flows"]) == (7, 2, 7)
    assert (found["firstAt"], found["lastAt"]) == ("2025-12-30T00:00:00Z", "2026-01-07T23:59:59Z")
    assert found["lastEvent"]["eventType"] == "invoice.sent"
    assert (found["lastEvent"]["position"], found["lastEvent"]["outcome"]) == (8, "success")
    assert found["actors"][0] | {"lastAt": ""} == {
        "actorId": "planner",
        "actorType": "agent",
        "count": 3,
        "failures": 1,
        "lastAt": "",
    }
    assert body(log, RESOURCE, top=1)["moreActors"] == 3
    unknown = body(log, f"/api/v1/resources/template/{RUN_ID}/summary")
    assert (unknown["events"], unknown["lastEvent"], unknown["actors"]) == (0, None, [])


def test_a_narrowed_reader_sees_its_part(served: Served) -> None:
    """Events that it may not see are in no count, are no first time, and say nothing about when an actor was seen."""
    with served.client(READ, WRITE, tenant="narrow-activity") as client:
        shown = event(resourceType="decision", occurredAt="2026-01-01T00:30:00Z")
        hidden = event(occurredAt="2026-01-05T00:00:00Z", eventType="secret.seen")
        assert client.post("/api/v1/events/batch", json=[shown, hidden]).status_code == 201
    with served.client(f"{READ}:decision", tenant="narrow-activity") as narrow:
        (planner,) = body(narrow, ACTORS)["actors"]
        assert (planner["total"], planner["lastSeenAt"]) == (1, "2026-01-01T00:30:00Z")
        assert body(narrow, ACTORS)["to"] == "2026-01-01T01:00:00Z"
        assert [each["eventType"] for each in planner["firstTimes"]] == ["action_run.completed"]
        assert body(narrow, summary_of("agent", "planner"))["lastSeenAt"] == "2026-01-01T00:30:00Z"
        assert body(narrow, FACETS)["total"] == 1
        assert body(narrow, RESOURCE)["events"] == 0
        assert body(narrow, RESOURCE.replace("action_run", "decision"))["lastEvent"]["position"] is None


@catches(
    replaced(wire.QueryReader, "finish", lambda *_args: None, "problems_are_not_raised"),
    replaced(wire, "VALUES_MAX", 1_000, "facets_of_any_length"),
)
def test_what_these_routes_refuse(log: httpx2.Client) -> None:
    """Every problem is named where it stands, in the query and in the path."""
    refused = log.get(FACETS, params={"top": 101, "outcome": "bad", "from": "now", "limit": 5})
    assert sorted(problems(refused)) == [
        (["query", "from"], "datetime_parsing"),
        (["query", "limit"], "extra_forbidden"),
        (["query", "outcome"], "enum"),
        (["query", "top"], "out_of_range"),
    ]
    assert problems(log.get(ACTORS, params={"limit": 0, "from": "2026-01-02", "to": "2026-01-01"})) == [
        (["query", "limit"], "out_of_range"),
        (["query", "from"], "time_range"),
    ]
    assert problems(log.get(f"{ACTORS}/nobody/x/summary")) == [(["path", "actor_type"], "enum")]
    assert problems(log.get(f"{ACTORS}/user/%FF/summary")) == [(["path", "actor_id"], "string_unicode")]
    assert problems(log.get(f"{ACTORS}/user/{'x' * 256}/summary")) == [(["path", "actor_id"], "string_too_long")]
    assert problems(log.get("/api/v1/resources/nothing/x/summary")) == [
        (["path", "resource_type"], "enum"),
        (["path", "resource_id"], "uuid_parsing"),
    ]
