"""What belongs to another tenant is answered like what never existed, byte for byte and header for header."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, event
from whence.errors import NotFound
from whence.events import Viewer
from whence.permissions import ADMIN, READ, WRITE, new_api_key
from whence.storage.sqlite.engine import SQLiteStore

EVENTS = "/api/v1/events"
SECRET_WORD = "zanzibar"
"""It stands in every field of the other tenant's events that can hold it."""


class Theirs:
    """The other tenant: what it has, by the ways that another could try."""

    def __init__(self, client: httpx2.Client) -> None:
        sent = [
            event(
                actorId=f"{SECRET_WORD}-{number}",
                correlationId=f"{SECRET_WORD}/flow",
                causationId=f"{SECRET_WORD}-cause",
                eventType=f"{SECRET_WORD}.happened",
                payload={SECRET_WORD: SECRET_WORD},
                resourceId=str(uuid.UUID(int=7)),
            )
            for number in range(3)
        ]
        stored = client.post(f"{EVENTS}/batch", json=sent).json()["results"]
        self.event_ids = [result["id"] for result in stored]
        self.cursor = client.get(EVENTS, params={"limit": 1, "include": "nextCursor"}).json()["nextCursor"]
        self.flow = f"{SECRET_WORD}%2Fflow"
        self.resource = str(uuid.UUID(int=7))
        made = client.post("/api/v1/keys", json={"scopes": [READ], "name": SECRET_WORD}).json()
        self.key_id, self.key = made["id"], made["key"]
        self.client = client


@pytest.fixture(scope="module")
def theirs(served: Served) -> Iterator[Theirs]:
    with served.client(READ, WRITE, ADMIN, tenant="theirs") as client:
        yield Theirs(client)


@pytest.fixture(scope="module")
def mine(served: Served) -> Iterator[httpx2.Client]:
    """A client of a tenant with one event of its own."""
    with served.client(READ, WRITE, ADMIN, tenant="mine") as client:
        assert client.post(EVENTS, json=event()).status_code == 201
        yield client


def whole(answer: httpx2.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers without the date, and body."""
    headers = sorted((name, value) for name, value in answer.headers.items() if name != "date")
    return answer.status_code, headers, answer.content


def ask(client: httpx2.Client, target: str, method: str = "GET", **more: Any) -> httpx2.Response:
    return client.request(method, target, headers={"X-Request-Id": "same"}, **more)


def test_a_foreign_event_is_the_404_of_one_that_never_was(mine: httpx2.Client, theirs: Theirs) -> None:
    """By GET and by HEAD."""
    for method in ("GET", "HEAD"):
        never = whole(ask(mine, f"{EVENTS}/{uuid.uuid4()}", method))
        assert never[0] == 404
        for foreign in theirs.event_ids:
            assert whole(ask(mine, f"{EVENTS}/{foreign}", method)) == never
        never = whole(ask(mine, f"{EVENTS}/{uuid.uuid4()}/trace", method))
        assert never[0] == 404
        for foreign in theirs.event_ids:
            assert whole(ask(mine, f"{EVENTS}/{foreign}/trace", method)) == never


def test_a_foreign_cursor_is_the_422_of_a_damaged_one(mine: httpx2.Client, theirs: Theirs) -> None:
    """Also where the filter is the same as the one it was made with."""
    damaged = whole(ask(mine, f"{EVENTS}?limit=1&cursor={'A' * 100}"))
    assert damaged[0] == 422
    assert whole(ask(mine, f"{EVENTS}?limit=1&cursor={theirs.cursor}")) == damaged
    own = mine.get(f"{EVENTS}?limit=1&cursor={theirs.cursor}&include=nextCursor")
    assert SECRET_WORD not in own.text
    assert theirs.client.get(f"{EVENTS}?limit=1&cursor={theirs.cursor}").status_code == 200


@pytest.mark.parametrize(
    ("foreign", "never"),
    [
        ("/correlation/{flow}", "/correlation/nothing"),
        ("/resource/action_run/{resource}", f"/resource/action_run/{uuid.UUID(int=8)}"),
        ("?correlation_id={flow}", "?correlation_id=nothing"),
        (f"?causation_id={SECRET_WORD}-cause", "?causation_id=nothing"),
        (f"?actor_id={SECRET_WORD}-1", "?actor_id=nothing"),
        (f"?event_type={SECRET_WORD}.happened", "?event_type=nothing.happened"),
        (f"?event_type={SECRET_WORD}.*", "?event_type=nothing.*"),
        ("?resource_id={resource}", f"?resource_id={uuid.UUID(int=8)}"),
        ("/aggregate?correlation_id={flow}", "/aggregate?correlation_id=nothing"),
        ("/histogram?correlation_id={flow}", "/histogram?correlation_id=nothing"),
        (
            f"/histogram?event_type={SECRET_WORD}.happened&by=event_type",
            "/histogram?event_type=nothing.happened&by=event_type",
        ),
        (
            f"/facets?actor_id={SECRET_WORD}-1&event_type={SECRET_WORD}.*",
            "/facets?actor_id=nothing&event_type=nothing.*",
        ),
        (f"/aggregate?event_type={SECRET_WORD}.happened", "/aggregate?event_type=nothing.happened"),
        (f"/stats/by-actor?actor_id={SECRET_WORD}-1", "/stats/by-actor?actor_id=nothing"),
    ],
)
def test_what_is_found_by_foreign_words_is_nothing(
    mine: httpx2.Client, theirs: Theirs, foreign: str, never: str
) -> None:
    """The other tenant does find it by them."""
    target = EVENTS + foreign.format(flow=theirs.flow, resource=theirs.resource)
    answer = whole(ask(mine, target))
    assert answer == whole(ask(mine, EVENTS + never))
    assert answer[0] == 200
    there = theirs.client.get(target).json()
    assert there.get("total") or there.get("actors")


def test_counts_and_lists_hold_nothing_foreign(mine: httpx2.Client, theirs: Theirs) -> None:
    """No page, count, statistic, position or list of keys knows of the other tenant."""
    for target in (
        *(EVENTS, f"{EVENTS}/aggregate", f"{EVENTS}/histogram?by=event_type", f"{EVENTS}/stats/by-actor"),
        *(f"{EVENTS}/facets", "/api/v1/actors", "/api/v1/keys", "/api/v1/flows"),
    ):
        assert SECRET_WORD not in mine.get(target).text
        assert SECRET_WORD in theirs.client.get(target).text
    assert mine.get("/api/v1/flows").json()["total"] == 1
    assert mine.get("/api/v1/flows/map").json()["links"] == 0
    page = mine.get(EVENTS, params={"include": "position"}).json()
    assert (page["total"], [found["position"] for found in page["events"]]) == (1, [1])
    assert whole(ask(mine, f"{EVENTS}?as_of=2")) == whole(ask(mine, f"{EVENTS}?as_of=99999"))


def test_a_foreign_id_is_free_here(served: Served, theirs: Theirs) -> None:
    """An id that another tenant has taken is stored as any new one; a cause that is theirs is none of ours."""
    with served.client(READ, WRITE, tenant="third") as client:
        for event_id in (theirs.event_ids[0], str(uuid.uuid4())):
            sent = event(id=event_id, causationId=theirs.event_ids[1], actorId="x")
            answer = client.post(EVENTS, json=sent)
            assert answer.status_code == 201
            assert answer.json()["correlationId"] == event_id, "the flow of a foreign cause is not taken over"
            graph = client.get(f"{EVENTS}/{event_id}/trace").json()
            assert (graph["missing"], len(graph["nodes"])) == ([theirs.event_ids[1]], 1)
        assert client.get(EVENTS).json()["total"] == 2
    assert theirs.client.get(f"{EVENTS}/{theirs.event_ids[0]}").json()["actorId"] == f"{SECRET_WORD}-0"


def test_the_tenant_is_the_credentials_own(mine: httpx2.Client, theirs: Theirs) -> None:
    """One that is named in a body is refused alike, whether it exists or not, and stores nothing there."""
    theirs_, nowhere = (whole(ask(mine, EVENTS, "POST", json=event(tenantId=name))) for name in ("theirs", "nowhere"))
    assert theirs_ == nowhere
    assert theirs_[0] == 422
    assert theirs.client.get(EVENTS).json()["total"] == 3


def test_a_foreign_key_is_the_404_of_one_that_never_was(mine: httpx2.Client, theirs: Theirs, served: Served) -> None:
    """It cannot be revoked from here, and it stays valid there."""
    never = whole(ask(mine, "/api/v1/keys/key_0000000000000000", "DELETE"))
    assert never[0] == 404
    assert whole(ask(mine, f"/api/v1/keys/{theirs.key_id}", "DELETE")) == never
    assert httpx2.get(served.url + EVENTS, headers={"X-API-Key": theirs.key}).status_code == 200


def test_an_ended_key_is_the_401_of_one_that_never_was(served: Served, theirs: Theirs) -> None:
    """The answer does not show whether a secret was ever valid."""
    made = theirs.client.post("/api/v1/keys", json={"scopes": [READ]}).json()
    assert theirs.client.delete(f"/api/v1/keys/{made['id']}").status_code == 204
    with served.client() as nobody:
        answers = [
            nobody.get(EVENTS, headers={"X-Request-Id": "same", "X-API-Key": secret})
            for secret in (made["key"], new_api_key("nowhere", (READ,), 0)[0], "nonsense")
        ]
    assert [answer.status_code for answer in answers] == [401] * 3
    assert whole(answers[0]) == whole(answers[1]) == whole(answers[2])


def test_what_a_narrowed_reader_may_not_see_never_was(served: Served) -> None:
    """The same holds within a tenant: hidden events are the same 404, the same empty page and no count."""
    with served.client(READ, WRITE, tenant="narrow-here") as all_:
        hidden = all_.post(EVENTS, json=event(resourceType="decision", actorId=SECRET_WORD)).json()
    with served.client(f"{READ}:action_run", tenant="narrow-here") as narrowed:
        never = whole(ask(narrowed, f"{EVENTS}/{uuid.uuid4()}"))
        assert whole(ask(narrowed, f"{EVENTS}/{hidden['id']}")) == never
        flow = whole(ask(narrowed, f"{EVENTS}/correlation/{hidden['correlationId']}"))
        assert flow == whole(ask(narrowed, f"{EVENTS}/correlation/nothing"))
        traced = whole(ask(narrowed, f"{EVENTS}/{hidden['id']}/trace"))
        assert traced == whole(ask(narrowed, f"{EVENTS}/{uuid.uuid4()}/trace"))
        for target in (
            *(EVENTS, f"{EVENTS}/aggregate", f"{EVENTS}/histogram?by=event_type", f"{EVENTS}/stats/by-actor"),
            *(f"{EVENTS}/facets", "/api/v1/actors", "/api/v1/flows"),
        ):
            assert SECRET_WORD not in narrowed.get(target).text
        assert narrowed.get("/api/v1/flows").json()["total"] == 0


def test_a_cause_that_may_not_be_read_is_missing(served: Served) -> None:
    """A graph, a flow and the map of a narrowed reader are those of a log without the other events."""
    with served.client(READ, WRITE, tenant="narrow-causes") as all_:
        hidden = all_.post(EVENTS, json=event(resourceType="decision", actorId=SECRET_WORD)).json()
        shown = all_.post(EVENTS, json=event(causationId=hidden["id"])).json()
        below = all_.post(EVENTS, json=event(causationId=shown["id"], resourceType="decision")).json()
        assert all_.get("/api/v1/flows/map").json()["links"] == 2
    with served.client(f"{READ}:action_run", tenant="narrow-causes") as narrowed:
        graph = narrowed.get(f"{EVENTS}/{shown['id']}/trace").json()
        assert (graph["rootId"], graph["missing"], len(graph["nodes"])) == (shown["id"], [hidden["id"]], 1)
        assert below["id"] not in str(graph) and graph["nodes"][0]["effects"] == 0
        (flow,) = narrowed.get("/api/v1/flows").json()["flows"]
        assert (flow["events"], flow["root"]["id"], flow["actors"]) == (1, shown["id"], 1)
        assert narrowed.get("/api/v1/flows/map").json()["links"] == 0


def test_a_route_that_forgets_the_tenant_is_found(
    mine: httpx2.Client, theirs: Theirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: an event that is not found here is looked up in the other tenant."""
    asked = SQLiteStore.get_event

    async def leaking(self: SQLiteStore, viewer: Viewer, event_id: str) -> Any:
        return await asked(self, viewer, event_id) or await asked(self, Viewer("theirs", viewer.readable), event_id)

    monkeypatch.setattr(SQLiteStore, "get_event", leaking)
    with pytest.raises(AssertionError):
        test_a_foreign_event_is_the_404_of_one_that_never_was(mine, theirs)


def test_a_graph_that_forgets_the_tenant_is_found(
    mine: httpx2.Client, theirs: Theirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: what is not found here is traced at the other tenant."""
    asked = SQLiteStore.trace

    async def leaking(self: SQLiteStore, viewer: Viewer, *more: Any) -> Any:
        return await asked(self, viewer, *more) or await asked(self, Viewer("theirs", viewer.readable), *more)

    monkeypatch.setattr(SQLiteStore, "trace", leaking)
    with pytest.raises(AssertionError):
        test_a_foreign_event_is_the_404_of_one_that_never_was(mine, theirs)


def test_a_graph_that_forgets_the_reader_is_found(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: a narrowed reader gets the graph of everything."""
    asked = SQLiteStore.trace

    async def leaking(self: SQLiteStore, viewer: Viewer, event_id: str, request: Any) -> Any:
        return await asked(self, Viewer(viewer.tenant), event_id, request)

    monkeypatch.setattr(SQLiteStore, "trace", leaking)
    with pytest.raises(AssertionError):
        test_a_cause_that_may_not_be_read_is_missing(served)


def test_a_404_with_another_word_is_found(mine: httpx2.Client, theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the sentence of the 404 reveals that the event exists."""
    asked = SQLiteStore.get_event

    async def telling(self: SQLiteStore, viewer: Viewer, event_id: str) -> Any:
        if event_id in theirs.event_ids and viewer.tenant != "theirs":
            raise NotFound("There is no event with this id here.")
        return await asked(self, viewer, event_id)

    monkeypatch.setattr(SQLiteStore, "get_event", telling)
    with pytest.raises(AssertionError):
        test_a_foreign_event_is_the_404_of_one_that_never_was(mine, theirs)
