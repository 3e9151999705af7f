"""The feed: events after a position, over HTTP."""

import concurrent.futures
import time
from typing import Any

import httpx2
import pytest

from tests.api.conftest import RUN_ID, Served, event, problems, wait_until
from tests.unit.mutants import catches, replaced
from whence.api import feeds
from whence.events import Viewer
from whence.permissions import READ, WRITE
from whence.storage.sqlite import feed as sqlite_feed
from whence.wire import feed

EVENTS = "/api/v1/events"
FEED = f"{EVENTS}/feed"

FILTERS = (
    "",
    "event_type=action_run.*",
    "event_type=decision.made&event_type=action_run.failed",
    "resource_type=decision",
    f"resource_id={RUN_ID}",
    "actor_id=planner",
    "actor_type=user",
    "outcome=failure",
    "correlation_id=one",
    "causation_id=nothing",
)


def fill(client: httpx2.Client, count: int = 30) -> None:
    """Events of which each filter matches some, in an order of time that is not that of positions."""
    made = [
        event(
            eventType=("action_run.completed", "action_run.failed", "decision.made")[number % 3],
            resourceType=("action_run", "decision")[number % 2],
            resourceId=RUN_ID if number % 4 else None,
            actorId=("planner", "ana")[number % 5 % 2],
            actorType=("agent", "user")[number % 5 % 2],
            correlationId=("one", "two")[number % 7 % 2],
            occurredAt=f"2026-01-02T03:{number * 7 % 60:02}:05Z",
        )
        | ({} if number % 4 else {"resourceId": RUN_ID[:-1] + "2"})
        for number in range(count)
    ]
    assert client.post(f"{EVENTS}/batch", json=made).status_code == 201


def walk(client: httpx2.Client, query: str, limit: int = 4, after: Any = None) -> list[dict[str, Any]]:
    """All events of a feed, part by part."""
    found: list[dict[str, Any]] = []
    while True:
        more = "" if after is None else f"&after={after}"
        answer = client.get(f"{FEED}?include=position&limit={limit}&{query}{more}")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert len(body["events"]) <= limit
        found += body["events"]
        after = body["nextAfter"]
        if not body["hasMore"]:
            return found


@catches(replaced(feed.Places, "position", lambda _self, _viewer, text: int(text) + 1, "skips_one"))
def test_a_feed_has_the_events_of_the_list_by_position(served: Served) -> None:
    """For every filter: the events that the list has, in the order in which they were stored."""
    with served.client(READ, WRITE, tenant="filters") as client:
        fill(client)
        for query in FILTERS:
            listed = client.get(f"{EVENTS}?include=position&{query}").json()["events"]
            assert walk(client, query) == sorted(listed, key=lambda each: each["position"]), query


def test_next_after_is_given_when_nothing_matches(served: Served) -> None:
    """It lies behind everything that was read, so that a sparse filter does not read it again."""
    with served.client(READ, WRITE, tenant="sparse") as client:
        assert client.get(FEED).json() == {"events": [], "hasMore": False, "nextAfter": 0}
        fill(client)
        body = client.get(f"{FEED}?actor_id=nobody").json()
        assert body == {"events": [], "hasMore": False, "nextAfter": 30}
        assert client.get(f"{FEED}?after=30").json() == body


def test_where_to_begin(served: Served) -> None:
    """From the start, from now, from a position, and from a time of recording, whenever the events occurred."""
    with served.client(READ, WRITE, tenant="begin") as client:
        fill(client, 5)
        time.sleep(0.01)
        between = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 1_000_000:06}Z"
        client.post(EVENTS, json=event())

        def positions(query: str) -> list[int]:
            return [each["position"] for each in client.get(f"{FEED}?include=position&{query}").json()["events"]]

        assert positions("") == positions("from=start") == positions("after=0") == positions("from=1") == [*range(1, 7)]
        assert positions("from=now") == positions("after=6") == []
        assert positions("from=6") == positions("after=5") == positions(f"from={between}") == [6]
        assert positions("from=-1h") == [*range(1, 7)]


@pytest.mark.parametrize(
    ("query", "name", "type_"),
    [
        ("after=1000000", "after", "after_range"),
        ("after=x", "after", "place"),
        ("after=-1", "after", "place"),
        ("after=" + "9" * 30, "after", "place"),
        ("from=yesterday", "from", "from_parsing"),
        ("from=0", "from", "out_of_range"),
        ("from=start&after=1", "from", "from_with_after"),
        ("limit=1001", "limit", "out_of_range"),
        ("wait=31", "wait", "out_of_range"),
        ("include=nextCursor", "include", "enum"),
        ("offset=1", "offset", "extra_forbidden"),
    ],
)
def test_what_a_feed_refuses(served: Served, query: str, name: str, type_: str) -> None:
    """Each is named at its own place. A place that cannot be read is never taken for the start."""
    with served.client(READ) as client:
        assert problems(client.get(f"{FEED}?{query}")) == [(["query", name], type_)]


def admission_of(served: Served) -> Any:
    """What the tenants of the server share."""
    lane: Any = served.app.app
    return lane.context.admission


def at_once(*_arguments: Any) -> Any:
    async def returned(_request: Any, _asked: Any, page: Any) -> Any:
        return page

    return returned


@catches(replaced(feeds, "_wait_for_events", at_once(), "never_waits"))
def test_a_feed_waits_for_a_match(served: Served) -> None:
    """It is answered when a matching event is stored, and not for another event."""
    with served.client(READ, WRITE, tenant="waits") as client, concurrent.futures.ThreadPoolExecutor() as threads:
        client.post(EVENTS, json=event())
        asked = threads.submit(client.get, f"{FEED}?after=1&actor_id=ana&wait=20")
        wait_until(lambda: admission_of(served).streams.held("waits") == 1 or asked.done())
        client.post(EVENTS, json=event())
        client.post(EVENTS, json=event(actorId="ana"))
        body = asked.result(10).json()
        assert [each["actorId"] for each in body["events"]] == ["ana"]
        assert body["nextAfter"] == 3
        began = time.monotonic()
        assert client.get(f"{FEED}?after=3&wait=1").json() == {"events": [], "hasMore": False, "nextAfter": 3}
        assert time.monotonic() - began >= 1.0
        wait_until(lambda: not admission_of(served).streams.held("waits"))  # given back once the answer is sent


def test_a_wait_ends_with_its_key(served: Served) -> None:
    """A key that is revoked while its request waits is answered as any revoked key."""
    with served.client(READ, tenant="ends") as client, concurrent.futures.ThreadPoolExecutor() as threads:
        asked = threads.submit(client.get, f"{FEED}?wait=2")
        time.sleep(0.2)
        [key] = served.wait(served.store.credentials.list_keys("ends"))
        served.wait(served.store.credentials.revoke_key("ends", key.id, 1))
        assert asked.result(10).status_code == 401


@catches(replaced(Viewer, "sees_all", True, "positions_for_all"))
def test_a_narrowed_key_learns_no_position(served: Served) -> None:
    """It gets a token instead, which no other key can use, and which differs each time: it does not show whether
    hidden events were stored."""
    narrowed = f"{READ}:decision"
    with (
        served.client(READ, WRITE, tenant="narrow") as all_,
        served.client(narrowed, tenant="narrow") as client,
        served.client(f"{READ}:artifact", tenant="narrow") as other,
    ):
        fill(all_)
        found = walk(client, "")
        assert {each["resourceType"] for each in found} == {"decision"}
        assert len(found) == 15
        assert {each["position"] for each in found} == {None}
        first, again = (client.get(FEED).json()["nextAfter"] for _ in range(2))
        assert first != again
        assert not first.isdigit()
        assert client.get(f"{FEED}?after={first}").json()["events"] == []
        for stranger, place in ((other, first), (all_, first), (client, "3")):
            assert problems(stranger.get(f"{FEED}?after={place}")) == [(["query", "after"], "place")]
        assert problems(client.get(f"{FEED}?from=3")) == [(["query", "from"], "narrowed")]


async def retain_from(served: Served, position: int) -> None:
    """Note that positions before this one are no longer kept; nothing in this release does."""
    sql = f"UPDATE tenant SET retained_from = {position} WHERE tenant = 'gone'"
    store: Any = served.store
    await store._writer.submit(lambda connection: connection.execute(sql).fetchall())


@catches(replaced(sqlite_feed, "end_of_part", lambda snapshot, _after: snapshot.size, "skips_what_is_gone"))
def test_events_that_are_no_longer_kept(served: Served) -> None:
    """Who would miss events gets a 410 that says where to go on, as a token to a narrowed key."""
    with (
        served.client(READ, WRITE, tenant="gone") as client,
        served.client(f"{READ}:decision", tenant="gone") as narrowed,
    ):
        fill(client)
        served.wait(retain_from(served, 21))
        for path in (FEED, f"{EVENTS}/stream"):
            answer = client.get(f"{path}?after=19")
            assert answer.status_code == 410
            body = answer.json()
            assert (body["code"], body["resumeAfter"]) == ("position_gone", 20)
            assert body["requestId"] == answer.headers["x-request-id"]
        assert len(walk(client, "")) == len(walk(client, "", after=20)) == 10
        token = narrowed.get(f"{FEED}?from=start&limit=1").json()["nextAfter"]
        served.wait(retain_from(served, 29))
        answer = narrowed.get(f"{FEED}?after={token}")
        assert answer.status_code == 410
        assert "28" not in answer.json()["detail"]
        assert len(walk(narrowed, "", after=answer.json()["resumeAfter"])) == 1
