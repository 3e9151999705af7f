"""Filters on values in payloads, asked over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.api.conftest import RUN_ID, Served, event, problems
from whence.payload_indexing import PayloadIndexing
from whence.permissions import READ, WRITE

EVENTS = "/api/v1/events"
IDS = [f"01941f29-0000-7000-8000-00000000010{number}" for number in range(4)]
PAYLOADS: list[dict[str, Any]] = [
    {"tool": "search", "order": {"total": 7}},
    {"tool": "book now", "order": {"total": "7"}},
    {"tool": ["search", "book now"]},
    {"order": {"total": 8}},
]


@pytest.fixture(scope="module")
def asked(served: Served) -> Iterator[httpx2.Client]:
    """A client of a tenant with four events of one flow, whose tools are indexed."""
    with served.client(READ, WRITE, tenant="fields") as client:
        sent = [
            event(id=id_, correlationId="flow", payload=payload, eventType="action_run.failed")
            for id_, payload in zip(IDS, PAYLOADS, strict=True)
        ]
        assert client.post(f"{EVENTS}/batch", json=sent).status_code == 201
        while served.wait(PayloadIndexing(served.store, ("tool",)).index_all()):
            pass
        yield client


def ids(client: httpx2.Client, path: str = EVENTS, **query: Any) -> list[int]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return sorted(IDS.index(each["id"]) for each in answer.json()["events"])


def test_every_route_with_filters_takes_payload_values(asked: httpx2.Client) -> None:
    """As a parameter and in the query language, of indexed paths and of others."""
    for query, expected in (
        ({"payload.tool": "search"}, [0, 2]),
        ({"payload.tool": ["search", "book now"]}, [0, 1, 2]),
        ({"payload.order.total": "7"}, [0, 1]),
        ({"payload.tool": "search", "payload.order.total": "7"}, [0]),
        ({"q": 'payload.tool:"book now"'}, [1, 2]),
        ({"q": "-payload.tool:search"}, [1, 3]),
        ({"payload.order.total": "7", "q": "-payload.tool:search"}, [1]),
        ({"payload.tool": ["search", "x"], "q": "payload.tool:x"}, []),
    ):
        assert ids(asked, **query) == expected, query
        assert ids(asked, f"{EVENTS}/correlation/flow", **query) == expected
        assert ids(asked, f"{EVENTS}/resource/action_run/{RUN_ID}", **query) == expected
        assert ids(asked, f"{EVENTS}/feed", **query) == expected
        assert asked.get(f"{EVENTS}/export", params=query).text.count("\n") == len(expected)
        for name in ("aggregate", "histogram", "facets"):
            assert asked.get(f"{EVENTS}/{name}", params=query).json()["total"] == len(expected), name
        actors = asked.get(f"{EVENTS}/stats/by-actor", params=query).json()["actors"]
        assert sum(each["total"] for each in actors) == len(expected)


def test_a_page_goes_on_and_its_cursor_is_bound(asked: httpx2.Client) -> None:
    """To the values of the payload, as to every filter."""
    first = asked.get(EVENTS, params={"payload.tool": "search", "limit": 1, "include": "nextCursor"}).json()
    cursor = {"limit": 1, "cursor": first["nextCursor"]}
    second = asked.get(EVENTS, params={"payload.tool": "search", **cursor}).json()
    assert {IDS.index(page["events"][0]["id"]) for page in (first, second)} == {0, 2}
    assert (first["total"], second["total"], second["hasNext"]) == (2, 2, False)
    assert asked.get(EVENTS, params={"payload.tool": "x", **cursor}).status_code == 422


def test_facets_of_a_path(asked: httpx2.Client) -> None:
    """Counted without its own filter, with the failures of each value; only when it is asked for."""
    query = {"payload_field": ["tool", "order.total"], "payload.tool": "search", "top": 1}
    found = asked.get(f"{EVENTS}/facets", params=query).json()
    tool = {"more": 1, "path": "tool", "values": [{"count": 2, "failures": 2, "value": "book now"}]}
    total = {"more": 0, "path": "order.total", "values": [{"count": 1, "failures": 1, "value": "7"}]}
    assert found["facets"]["payload"] == [tool, total]
    assert found["total"] == 2
    assert "payload" not in asked.get(f"{EVENTS}/facets").json()["facets"]


def test_completion_of_payload_fields(asked: httpx2.Client, served: Served) -> None:
    """Paths that are indexed, and their values with the number of events. A narrowed key is shown no value."""
    names = asked.get(f"{EVENTS}/suggest", params={"q": "payl"}).json()["suggestions"]
    assert [each["insert"] for each in names] == ["payload.tool:"]
    values = asked.get(f"{EVENTS}/suggest", params={"q": "payload.tool:b"}).json()["suggestions"]
    assert [(each["insert"], each["count"]) for each in values] == [('payload.tool:"book now"', 2)]
    with served.client("events:read:artifact", tenant="fields") as narrow:
        assert narrow.get(f"{EVENTS}/suggest", params={"q": "payload.tool:b"}).json()["suggestions"] == []
        assert narrow.get(EVENTS, params={"payload.tool": "search"}).json()["total"] == 0


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ({"payload.a..b": "x"}, "payload.a..b"),
        ({"payload.": "x"}, "payload."),
        ({"payload.tool": ""}, "payload.tool"),
        ({"payload.tool": "x" * 256}, "payload.tool"),
        ({"payload.tool": "a\x00"}, "payload.tool"),
        ({"payload.tool": [str(number) for number in range(21)]}, "payload.tool"),
        ({f"payload.p{number}": "x" for number in range(9)}, "payload.{path}"),
        ({"payload_field": "a b"}, "payload_field"),
        ({"payload": "x"}, "payload"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: httpx2.Client, query: dict[str, Any], loc: str) -> None:
    """With a 422 that names the parameter."""
    path = f"{EVENTS}/facets" if "payload_field" in query else EVENTS
    answer = asked.get(path, params=query)
    assert answer.status_code == 422
    assert [each[0] for each in problems(answer)] == [["query", loc]]


def test_webhooks_have_no_filter_on_payloads(served: Served) -> None:
    """A filter that they do not know is refused, never left out."""
    with served.client(READ, WRITE, "admin", tenant="fields") as client:
        sent = {"url": "https://example.com/", "filters": {"payload.tool": "search"}}
        assert client.post("/api/v1/webhooks", json=sent).status_code == 422
