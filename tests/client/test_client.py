"""The sync client against a real server."""

import contextlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec import UNSET

from tests.api.conftest import RUN_ID, Served, event, serving
from whence.client import (
    CreatedKeyBody,
    EventPage,
    KeyBody,
    KeysBody,
    Whence,
    create_key_request,
    list_keys_request,
    parse_body,
    refusal,
    revoke_key_request,
)
from whence.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, WhenceError
from whence.identities import resource_uuid
from whence.permissions import ADMIN, READ, WRITE

IDS = [f"0192d3f0-0000-7000-8000-{number:012x}" for number in range(20)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("client")) as running:
        yield running


@pytest.fixture
def whence(served: Served, request: pytest.FixtureRequest) -> Iterator[Whence]:
    """A client of a tenant that has no events."""
    tenant = request.node.name[:60].replace("[", ".").replace("]", ".")
    with Whence(served.url, served.key(READ, WRITE, ADMIN, tenant=tenant)) as connected:
        yield connected


def fill(whence: Whence, count: int = 5) -> None:
    """Store events one second apart, by two actors in turn; every second one is a failure."""
    sent = [
        event(
            id=IDS[number],
            occurredAt=f"2026-01-02T03:04:{number:02d}Z",
            actorId=f"a{number % 2}",
            eventType=f"action_run.{'failed' if number % 2 else 'completed'}",
        )
        for number in range(count)
    ]
    assert [result.status for result in whence.batch(sent).results] == [201] * count


def test_an_event_is_stored_and_read_back(whence: Whence) -> None:
    """With an id created by the client. Sent again with that id, it is replayed."""
    stored = whence.emit(event(payload={"a": [1, None, "é"]}, correlationId="flow/1?"), durable=True)
    assert not stored.replayed
    again = whence.emit(event(id=stored.event.id, payload={"a": [1, None, "é"]}, correlationId="flow/1?"), durable=True)
    assert again.replayed
    assert again.event == stored.event == whence.get(stored.event.id)
    assert stored.event.payload_bytes == '{"a":[1,null,"é"]}'.encode()
    assert stored.body == again.body


def test_a_missing_event_is_not_found(whence: Whence) -> None:
    """The error carries the request id, for a search in the server's log."""
    with pytest.raises(NotFound) as caught:
        whence.get(IDS[0])
    assert caught.value.__notes__[0].startswith("request ")
    with pytest.raises(Invalid):
        whence.get("no/uuid?x")


def test_get_can_include_optional_fields(whence: Whence) -> None:
    """By the parameter `include`, as one text or several."""
    fill(whence, 2)
    assert whence.get(IDS[1], include="position,outcome").position == 2
    assert whence.get(IDS[1], include=["position", "outcome"]).outcome == "failure"


def test_next_leads_through_all_pages(whence: Whence) -> None:
    """Every event once, newest first, in the snapshot of the first page; after the last page comes None."""
    fill(whence, 5)
    page: EventPage | None = whence.list(limit=2)
    whence.emit(event(occurredAt="2026-01-01T00:00:00Z"), durable=True)
    seen = []
    while page is not None:
        seen.append([each.id for each in page.events])
        assert (page.total, page.limit, page.has_next) == (5, 2, page.next is not None)
        page = whence.next(page)
    assert seen == [[IDS[4], IDS[3]], [IDS[2], IDS[1]], [IDS[0]]]
    assert whence.list().total == 6


def test_filters_are_sent(whence: Whence) -> None:
    """Several values, both names of `from`, and text that needs escaping; None omits a filter."""
    fill(whence, 4)
    whence.emit(event(actorId="a b&c=d+é", occurredAt="2026-01-03T00:00:00Z"), durable=True)
    assert whence.list(actor_id="a b&c=d+é").total == 1
    assert whence.list(actor_id=["a0", "a1"], outcome=None).total == 4
    assert whence.list(since="2026-01-02T03:04:02+00:00", to="2026-01-02T03:04:03Z").total == 1
    assert whence.list(from_="2026-01-03").total == whence.aggregate(since="2026-01-03").total == 1
    assert [each.id for each in whence.list(order="asc", limit=1, offset=1).events] == [IDS[1]]
    assert whence.list(event_type="action_run.*", resource_id=RUN_ID).total == 5


def test_the_query_language(whence: Whence) -> None:
    """`q` is a filter like any other, and a mistake in it is named by the number of its term."""
    fill(whence, 5)
    assert [each.actor_id for each in whence.events(q="type:*.failed -actor:a0")] == ["a1", "a1"]
    assert whence.aggregate(q="-outcome:failed", actor_id="a0").total == 3
    assert whence.histogram(q="-outcome:failed").total == 3
    assert next(whence.follow(q="type:*.failed", since="start")).id == IDS[1]
    with pytest.raises(Invalid, match="Term 2 of the query: There is no such name"):
        whence.list(q="type:a.b status:bad")


def test_a_search(whence: Whence) -> None:
    """What a text names, with the number of events."""
    fill(whence, 5)
    assert [(each.kind, each.id) for each in whence.search(IDS[1]) if each.kind == "event"] == [("event", IDS[1])]
    (actor,) = whence.search("agent/a0")
    assert (actor.kind, actor.actor_type, actor.actor_id, actor.events) == ("actor", "agent", "a0", 3)
    assert whence.search("nothing of that name") == []


def test_suggestions(whence: Whence) -> None:
    """What a query may say next, with how many events there are of it; `cursor` is where it is being written."""
    fill(whence, 5)
    found = whence.suggest("actor:agent/a", limit=1)
    assert [(each.insert, each.count, each.start, each.end) for each in found] == [("actor:agent/a0", 3, 0, 13)]
    assert whence.suggest()[0].kind == "name"
    assert whence.suggest("outcome:f type:", cursor=9)[0].insert.startswith("outcome:f")
    with pytest.raises(Invalid, match="limit"):
        whence.suggest(limit=51)


def test_an_empty_list_of_values_is_refused(whence: Whence) -> None:
    """As an empty value is; it never means that there is no filter."""
    fill(whence, 2)
    for empty in ([], (), "", [""]):
        with pytest.raises(Invalid, match="actor_id"):
            whence.list(actor_id=empty)


def test_counts_and_statistics(whence: Whence) -> None:
    """Both are exact, and take the filters of `list`."""
    fill(whence, 5)
    counts = whence.aggregate()
    assert counts.total == 5
    assert [(each.key, each.count) for each in counts.by_event_type] == [
        ("action_run.completed", 3),
        ("action_run.failed", 2),
    ]
    stats = whence.actor_stats(resource_type="action_run").actors
    assert [(each.actor_id, each.total, each.successes, each.failures) for each in stats] == [
        ("a0", 3, 3, 0),
        ("a1", 2, 0, 2),
    ]


def test_a_histogram(whence: Whence) -> None:
    """By outcome or by event type, with the filters of `list` and an interval; too many buckets are refused."""
    fill(whence, 5)
    found = whence.histogram(interval="2s")
    assert (found.total, found.interval, found.interval_s, found.by) == (5, "2s", 2, "outcome")
    assert [(each.key, each.count) for each in found.keys] == [("success", 3), ("failure", 2)]
    assert [sum(each.counts) for each in found.buckets] == [each.total for each in found.buckets]
    types = whence.histogram(by="event_type", top=1, resource_type="action_run", since=found.from_)
    assert [(each.key, each.count) for each in types.keys] == [("action_run.completed", 3), ("other", 2)]
    with pytest.raises(Invalid, match="The shortest interval for this range is 2m"):
        whence.histogram(interval="1m", since="2026-01-01", to="2026-01-02")


def test_facets(whence: Whence) -> None:
    """Counts by the values of fields, each field without its own filters, and how many values are left out."""
    fill(whence, 5)
    found = whence.facets(outcome="failure", top=1)
    assert found.total == 2
    assert [(each.value, each.count, each.failures) for each in found.facets.outcome.values] == [("success", 3, 0)]
    assert found.facets.outcome.more == 1
    (types,) = found.facets.event_type.values
    assert (types.value, types.count, types.children) == ("action_run.failed", 2, [])
    assert [(each.actor_id, each.count) for each in found.facets.actor.values] == [("a1", 2)]


def test_actors_and_resources(whence: Whence) -> None:
    """The actors of a period over all pages, one of them, and what happened to a resource."""
    fill(whence, 5)
    everyone = list(whence.actors(limit=1))
    assert [(each.actor_id, each.total, each.failures, each.previous) for each in everyone] == [
        ("a0", 3, 0, None),
        ("a1", 2, 2, None),
    ]
    assert [each.event_type for each in everyone[0].first_times] == ["action_run.completed"]
    assert list(whence.actors(since="2026-01-03")) == []
    one = whence.actor(everyone[1].actor_type, "a1", since="2026-01-01", to="2026-01-03")
    assert (one.total, one.from_, one.by_event_type[0].value) == (2, "2026-01-01T00:00:00Z", "action_run.failed")
    assert whence.actor("user", "a/b?c").total == 0
    found = whence.resource_summary("action_run", RUN_ID, top=1)
    assert (found.events, found.failures, found.more_actors) == (5, 2, 1)
    assert found.last_event is not None and found.last_event.outcome == "success"
    assert whence.resource_summary("action_run", "8841").resource_id == resource_uuid("action_run", "8841")


def test_rows_and_reach(whence: Whence) -> None:
    """A trace with what its rows show, and the number of causes and effects; by event or id."""
    root = whence.emit(event(eventType="action_run.started", payload={"tool": "pay"}), durable=True)
    end = whence.emit(event(eventType="action_run.failed", causationId=root.event.id), durable=True)
    plain, rows = whence.trace(end), whence.trace(end, include="rows")
    assert [node.verb for node in plain.nodes] == [UNSET, UNSET]
    assert [(node.verb, node.label, node.detail) for node in rows.nodes] == [
        ("called", "pay", ""),
        ("failed", "pay", ""),
    ]
    assert [node.paired_end_id for node in rows.nodes] == [end.event.id, None]
    found = whence.reach(end, root.event.id, IDS[0])
    assert [(each.id, each.causes, each.effects, each.failed_effects, each.at_least) for each in found] == [
        (end.event.id, 1, 0, 0, False),
        (root.event.id, 0, 1, 1, False),
    ]


def test_why_and_effects(whence: Whence) -> None:
    """The causes of an event from the root on, and its effects; by event or id, with a limit."""
    root = whence.emit(event(), durable=True)
    middle = whence.emit(event(causationId=root.event.id), durable=True)
    last = whence.emit(event(causationId=middle.event.id), durable=True)
    whence.emit(event(causationId=root.event.id), durable=True)
    chain = whence.why(last)
    assert (chain.root_id, chain.summary.hops) == (root.event.id, 2)
    assert [node.id for node in chain.nodes] == [each.event.id for each in (root, middle, last)]
    assert [node.id for node in whence.effects(middle.event.id).nodes] == [middle.event.id, last.event.id]
    assert len(whence.effects(root).nodes) == 4
    assert whence.effects(root, limit=2).truncated
    with pytest.raises(NotFound):
        whence.why(IDS[0])


def test_events_iterates_over_all_pages(whence: Whence) -> None:
    """Each event once, in the snapshot of the first page; pages are fetched lazily."""
    fill(whence, 5)
    every = whence.events(limit=2)
    first = next(every)
    whence.emit(event(occurredAt="2026-01-01T00:00:00Z"), durable=True)
    assert [first.id, *(each.id for each in every)] == IDS[4::-1]
    assert [len(page.events) for page in whence.pages(limit=3)] == [3, 3]


def test_a_batch_has_a_result_for_each_event(whence: Whence) -> None:
    """Stored, replayed, invalid and conflicting events. A batch of which nothing is stored raises no error."""
    whence.emit(event(id=IDS[0]), durable=True)
    results = whence.batch(
        [event(id=IDS[1]), event(id=IDS[0]), event(actorId=""), event(id=IDS[0], actorId="other")]
    ).results
    assert [result.status for result in results] == [201, 200, 422, 409]
    assert refusal(results[0]) == ""
    assert "empty" in refusal(results[2])
    assert "actorId" in refusal(results[3])
    assert [result.status for result in whence.batch([event(actorId="")]).results] == [422]


def test_an_atomic_batch_is_all_or_nothing(whence: Whence) -> None:
    """The error names the problem, and nothing is stored."""
    with pytest.raises(Invalid, match="must not be empty"):
        whence.batch([event(id=IDS[1]), event(actorId="")], atomic=True)
    assert whence.list().total == 0
    with pytest.raises(Invalid):
        whence.batch([])


def test_refusals_raise_the_errors_of_the_server(served: Served, whence: Whence) -> None:
    """With the server's sentence and the location of each problem, and never with the key."""
    with pytest.raises(Invalid) as caught:
        whence.emit(event(resourceType="unknown", nope=1), durable=True)
    assert [problem.loc for problem in caught.value.problems] == [("body", "resourceType"), ("body", "nope")]
    stored = whence.emit(event(), durable=True)
    with pytest.raises(Conflict) as conflict:
        whence.emit(event(id=stored.event.id, actorId="x", payload={"a": 1}), durable=True)
    assert conflict.value.fields == ("actorId", "payload")
    key = served.key(READ)
    with Whence(served.url, key) as reader, pytest.raises(Forbidden, match="events:write") as forbidden:
        reader.emit(event(), durable=True)
    assert key not in str(forbidden.value)
    for bad in ("whk_" + "0" * 49, "x", ""):
        with Whence(served.url, bad) as anonymous, pytest.raises(Unauthenticated):
            anonymous.list()


def test_keys_are_created_listed_and_revoked(served: Served, whence: Whence) -> None:
    """By the requests of an admin. `repr` does not show the secret."""
    created = parse_body(whence.send(create_key_request([READ], name="ci")), CreatedKeyBody)
    assert created.key not in repr(created)
    with Whence(served.url, created.key) as reader:
        assert reader.list().total == 0
        listed = parse_body(whence.send(list_keys_request()), KeysBody).keys
        assert created.id in [each.id for each in listed if isinstance(each, KeyBody) and each.revoked_at is None]
        assert whence.send(revoke_key_request(created.id)).status == 204
        with pytest.raises(Unauthenticated):
            reader.list()
    with pytest.raises(NotFound):
        parse_body(whence.send(revoke_key_request("a/b?c")), KeyBody)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_values_that_json_cannot_represent_are_refused(whence: Whence, number: float) -> None:
    """By the client, before anything is sent: msgspec would encode NaN as null."""
    for payload in ({"a": number}, {"a": [{"b": (1.5, number)}]}, {"a": {1: number}}):
        with pytest.raises(Invalid, match="NaN and Infinity"):
            whence.emit(event(payload=payload), durable=True)
        with pytest.raises(Invalid, match="NaN and Infinity"):
            whence.batch([event(), event(payload=payload)])
    with pytest.raises(Invalid, match="surrogate"):
        whence.emit(event(actorId="\ud800"), durable=True)
    assert whence.list().total == 0
    assert (
        whence.emit(event(payload={"a": [1.5, 2**70]}), durable=True).event.payload_bytes
        == b'{"a":[1.5,1180591620717411303424]}'
    )


def test_url_and_key_default_to_the_environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slash at the end of the URL is ignored."""
    monkeypatch.setenv("WHENCE_URL", served.url + "/")
    monkeypatch.setenv("WHENCE_API_KEY", served.key(READ, tenant="environment"))
    with Whence() as whence:
        assert whence.list().total == 0
    monkeypatch.delenv("WHENCE_API_KEY")
    with Whence() as anonymous, pytest.raises(Unauthenticated):
        anonymous.list()


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("ftp://127.0.0.1", "whk_x"),
        ("127.0.0.1:8700", "whk_x"),
        ("http://", "whk_x"),
        ("http://[::1", "whk_x"),
        ("http://a\0b", "whk_x"),
        ("http://user:hunter2@127.0.0.1", "whk_x"),
        ("http://127.0.0.1/?a=hunter2", "whk_x"),
        ("http://127.0.0.1/#hunter2", "whk_x"),
        ("http://127.0.0.1", "whk_\u00e9"),
        ("http://127.0.0.1", "whk_x\r\nX-Evil: 1"),
        ("http://127.0.0.1", "whk_x\n"),
    ],
    ids=ascii,
)
def test_an_unusable_url_or_key_is_refused(url: str, key: str) -> None:
    """Before any request. The error contains neither the key nor a password."""
    refusal = "cannot be sent" if key != "whk_x" else "The URL of the server"
    with pytest.raises(WhenceError, match=refusal) as caught:
        Whence(url, key)
    assert "whk_x" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_many_threads_may_share_a_client(whence: Whence) -> None:
    """Each receives its own responses."""

    def store_and_get(number: int) -> tuple[str, Any]:
        stored = whence.emit(event(id=IDS[number], actorId=f"t{number}"), durable=True).event
        return stored.id, whence.get(IDS[number]).actor_id

    with contextlib.closing(whence), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(store_and_get, range(12))) == [(IDS[number], f"t{number}") for number in range(12)]
        assert whence.list().total == 12
