"""The query language, suggestions and searches, asked over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.api.conftest import RUN_ID, Served, event, problems
from whence.permissions import READ, WRITE

EVENTS = "/api/v1/events"
OTHER_RUN = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0002"
IDS = [f"01941f29-0000-7000-8000-00000000000{number}" for number in range(5)]


@pytest.fixture(scope="module")
def asked(served: Served) -> Iterator[httpx2.Client]:
    """A client of a tenant with five events."""
    with served.client(READ, WRITE, tenant="named") as client:
        sent = [
            event(id=IDS[0], correlationId="checkout-1"),
            event(id=IDS[1], eventType="action_run.failed", correlationId="checkout-1"),
            event(
                id=IDS[2], eventType="service.heartbeat", actorType="service", actorId="runner", resourceType="artifact"
            ),
            event(
                id=IDS[3], actorId="hidden", resourceType="decision", resourceId=OTHER_RUN, correlationId="checkout-2"
            ),
            event(id=IDS[4], actorId="Ada L", actorType="user"),
        ]
        assert client.post(f"{EVENTS}/batch", json=sent).status_code == 201
        yield client


def ids(client: httpx2.Client, path: str = EVENTS, **query: Any) -> list[str]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["events"]]


def test_q_on_every_route_with_filters(asked: httpx2.Client) -> None:
    """Lists, flows, resources, counts, statistics, histograms, feeds: all count the same events."""
    text = "type:action_run.* -outcome:failed -actor:hidden"
    assert sorted(ids(asked, q=text)) == [IDS[0], IDS[4]]
    assert ids(asked, f"{EVENTS}/correlation/checkout-1", q=text) == [IDS[0]]
    assert sorted(ids(asked, f"{EVENTS}/resource/action_run/{RUN_ID}", q=text)) == [IDS[0], IDS[4]]
    assert ids(asked, f"{EVENTS}/feed", q=text) == [IDS[0], IDS[4]]
    for name in ("aggregate", "histogram"):
        assert asked.get(f"{EVENTS}/{name}", params={"q": text}).json()["total"] == 2
    stats = asked.get(f"{EVENTS}/stats/by-actor", params={"q": text}).json()["actors"]
    assert sorted(each["actorId"] for each in stats) == ["Ada L", "planner"]
    assert ids(asked, q=text, actor_type="user") == [IDS[4]]
    assert ids(asked, q='actor:"user/Ada L"') == [IDS[4]]


def test_a_stream_takes_q(asked: httpx2.Client) -> None:
    """And sends only the events that match."""
    with asked.stream("GET", f"{EVENTS}/stream", params={"from": "start", "q": "type:*.failed"}) as answer:
        assert answer.status_code == 200
        first = next(line for line in answer.iter_lines() if "eventType" in line)
    assert IDS[1] in first


def test_a_page_with_q_goes_on(asked: httpx2.Client) -> None:
    """By its cursor, which belongs to this q only."""
    first = asked.get(EVENTS, params={"q": "-type:*.failed", "limit": 3, "include": "nextCursor"}).json()
    assert (first["total"], len(first["events"])) == (4, 3)
    assert len(ids(asked, q="-type:*.failed", limit=3, cursor=first["nextCursor"])) == 1
    other = asked.get(EVENTS, params={"q": "type:*.failed", "cursor": first["nextCursor"]})
    assert problems(other) == [(["query", "cursor"], "cursor")]


def test_a_mistake_in_q_is_named_at_its_term(asked: httpx2.Client) -> None:
    """On each route, by the index of the term."""
    for name in ("", "/aggregate", "/feed", "/histogram"):
        answer = asked.get(f"{EVENTS}{name}", params={"q": "type:a.b status:secret"})
        assert problems(answer) == [(["query", "q", 1], "query_term")]
        assert "secret" not in answer.text


def test_suggestions(asked: httpx2.Client) -> None:
    """From the log of the tenant, with counts."""
    answer = asked.get(f"{EVENTS}/suggest", params={"q": "type:act"}).json()
    assert [(each["insert"], each["count"]) for each in answer["suggestions"]] == [
        ("type:action_run.*", 4),
        ("type:action_run.completed", 3),
        ("type:action_run.failed", 1),
    ]
    assert answer["suggestions"][0] == {
        "count": 4,
        "end": 8,
        "insert": "type:action_run.*",
        "kind": "event_type",
        "label": "action_run.*",
        "start": 0,
    }
    assert asked.get(f"{EVENTS}/suggest", params={"q": ""}).json()["suggestions"][0]["insert"] == "type:"
    actors = asked.get(f"{EVENTS}/suggest", params={"q": "actor:Ada"}).json()["suggestions"]
    assert [(each["insert"], each["count"]) for each in actors] == [('actor:"user/Ada L"', 1)]


def matches(client: httpx2.Client, text: str) -> list[Any]:
    answer = client.get("/api/v1/search", params={"text": text})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["matches"]
    return found


def test_a_search_says_what_a_text_names(asked: httpx2.Client) -> None:
    """An event with its position and outcome, a flow, a resource and an actor with their counts."""
    (found,) = matches(asked, IDS[1])
    assert found["kind"] == "event"
    assert (found["id"], found["event"]["outcome"], found["event"]["position"]) == (IDS[1], "failure", 2)
    assert matches(asked, "@2") == [found]
    assert matches(asked, f"https://whence.example/e/{IDS[1]}") == [found]
    assert [each["id"] for each in matches(asked, "01941f29-0000-7") if each["kind"] == "event"] == IDS
    assert matches(asked, "checkout-1") == [{"correlationId": "checkout-1", "events": 2, "kind": "flow"}]
    assert [each["correlationId"] for each in matches(asked, "check")] == ["checkout-1", "checkout-2"]
    assert matches(asked, f"decision/{OTHER_RUN}") == [
        {"events": 1, "kind": "resource", "resourceId": OTHER_RUN, "resourceType": "decision"}
    ]
    assert matches(asked, "agent/hidden") == [{"actorId": "hidden", "actorType": "agent", "events": 1, "kind": "actor"}]
    assert matches(asked, "nothing at all") == matches(asked, "@99") == []


def test_a_narrowed_key_sees_its_own_names(asked: httpx2.Client, served: Served) -> None:
    """What only hidden events have is neither suggested nor found."""
    with served.client(f"{READ}:action_run", tenant="named") as narrow:
        for text in ("hidden", "agent/hidden", "checkout-2", IDS[3], OTHER_RUN, f"decision/{OTHER_RUN}"):
            assert matches(asked, text) != []
            assert matches(narrow, text) == []
        assert [each["kind"] for each in matches(narrow, IDS[1])] == ["event"]
        assert matches(narrow, IDS[1])[0]["event"]["position"] is None
        for text in ("actor:h", "type:service", "resource:d", "hid"):
            assert asked.get(f"{EVENTS}/suggest", params={"q": text}).json()["suggestions"] != []
            assert narrow.get(f"{EVENTS}/suggest", params={"q": text}).json()["suggestions"] == []
        counts = narrow.get(f"{EVENTS}/suggest", params={"q": "type:action_run.c"}).json()["suggestions"]
        assert [each["count"] for each in counts] == [2]
        assert narrow.get("/api/v1/search", params={"text": "@2"}).status_code == 422
