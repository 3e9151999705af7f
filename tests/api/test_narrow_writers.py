"""What a key learns that may write, but not read everything: nothing about events that it may not read."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, event, problems, serving
from whence.api import writes
from whence.events import Viewer
from whence.permissions import READ, WRITE

SECRET_FLOW = "the flow of the merger"
HIDDEN = {"resourceType": "artifact", "correlationId": SECRET_FLOW, "payload": {"price": 7}, "actorId": "cfo"}
SHOWN = {"resourceType": "decision", "correlationId": "an open flow"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("narrow")) as served:
        yield served


@pytest.fixture(scope="module")
def owner(server: Served) -> Iterator[httpx2.Client]:
    """A key that may do everything with events."""
    with server.client(READ, WRITE) as client:
        yield client


@pytest.fixture(scope="module")
def writer(server: Served) -> Iterator[httpx2.Client]:
    """A key that reads nothing."""
    with server.client(WRITE) as client:
        yield client


@pytest.fixture(scope="module")
def narrow(server: Served) -> Iterator[httpx2.Client]:
    """A key that reads decisions only."""
    with server.client(WRITE, f"{READ}:decision") as client:
        yield client


def put(client: httpx2.Client, **fields: Any) -> dict[str, Any]:
    """Store an event that must be new; the answer."""
    answer = client.post("/api/v1/events", json=event(id=str(uuid.uuid4()), **fields))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def flow_of(owner: httpx2.Client, event_id: str) -> str:
    found: str = owner.get(f"/api/v1/events/{event_id}").json()["correlationId"]
    return found


@pytest.fixture(scope="module")
def hidden(owner: httpx2.Client) -> str:
    """The id of an event that neither narrow key may read."""
    found: str = put(owner, **HIDDEN)["id"]
    return found


@pytest.fixture(scope="module")
def shown(owner: httpx2.Client) -> str:
    """The id of an event that the narrow key may read."""
    found: str = put(owner, **SHOWN)["id"]
    return found


# --- a cause's correlation -------------------------------------------------------------------------------------


def inherits_without_showing(owner: httpx2.Client, client: httpx2.Client, hidden: str) -> None:
    """An effect of the hidden event gets its flow, and neither the answer nor that of a replay says which."""
    sent = event(id=str(uuid.uuid4()), causationId=hidden)
    first, again = (client.post("/api/v1/events", json=sent) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    for answer in (first, again):
        assert SECRET_FLOW not in answer.text
        assert answer.json()["correlationId"] is None
    assert flow_of(owner, sent["id"]) == SECRET_FLOW
    unknown = put(client, causationId=str(uuid.uuid4()))
    assert unknown["correlationId"] is None
    assert unknown.keys() == first.json().keys()


def test_an_effect_inherits_without_showing_it(
    owner: httpx2.Client, writer: httpx2.Client, narrow: httpx2.Client, hidden: str
) -> None:
    """For a key that reads nothing and for a narrowed one; a hidden cause and one that does not exist are alike."""
    inherits_without_showing(owner, writer, hidden)
    inherits_without_showing(owner, narrow, hidden)


def test_mutant_the_answer_shows_what_was_inherited(
    owner: httpx2.Client, writer: httpx2.Client, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer with the stored correlation is caught."""

    async def stored(_request: Any, _new: Any, found: Any) -> str:
        return str(found.correlation_id)

    monkeypatch.setattr(writes, "_shown_correlation", stored)
    with pytest.raises(AssertionError):
        inherits_without_showing(owner, writer, hidden)


def test_what_a_key_may_read_or_has_sent_is_answered(
    owner: httpx2.Client, writer: httpx2.Client, narrow: httpx2.Client, hidden: str, shown: str
) -> None:
    """The flow of a readable cause, the flow that was sent, and the event's own id."""
    assert put(narrow, causationId=shown)["correlationId"] == "an open flow"
    assert put(owner, causationId=hidden)["correlationId"] == SECRET_FLOW
    for client in (writer, narrow):
        assert put(client, causationId=hidden, correlationId="my own")["correlationId"] == "my own"
        root = put(client)
        assert root["correlationId"] == root["id"]
        text = put(client, causationId="ticket 42")
        assert text["correlationId"] == text["id"]


def test_a_replay_shows_no_flow_that_another_key_gave(
    owner: httpx2.Client, writer: httpx2.Client, narrow: httpx2.Client
) -> None:
    """A left-out correlationId matches any, so the answer must not fill it in; a readable event may be shown."""
    first = put(owner, **HIDDEN)
    sent = event(id=first["id"], **{name: value for name, value in HIDDEN.items() if name != "correlationId"})
    for client in (writer, narrow):
        answer = client.post("/api/v1/events", json=sent)
        assert answer.status_code == 200
        assert SECRET_FLOW not in answer.text
    open_ = put(owner, **SHOWN)
    sent = event(id=open_["id"], resourceType="decision")
    assert narrow.post("/api/v1/events", json=sent).json()["correlationId"] == "an open flow"


# --- conflicts -------------------------------------------------------------------------------------------------


def names_no_fields(client: httpx2.Client, hidden: str) -> None:
    """The 409 of an event that exists with other content, alone, in a batch and in an atomic batch."""
    sent = event(id=hidden, **HIDDEN | {"actorId": "someone"})
    answer = client.post("/api/v1/events", json=sent)
    assert answer.status_code == 409
    assert answer.json()["detail"] == "An event with this id is stored with other content."
    [result] = client.post("/api/v1/events/batch", json=[sent]).json()["results"]
    assert (result["status"], result["detail"]) == (409, "An event with this id is stored with other content.")
    atomic = client.post("/api/v1/events/batch?atomic=true", json=[sent])
    assert problems(atomic) == [(["body", 0, "id"], "event_id_conflict")]
    assert "different" not in atomic.text


def test_a_conflict_names_fields_only_to_who_may_read_the_event(
    owner: httpx2.Client, writer: httpx2.Client, narrow: httpx2.Client, hidden: str, shown: str
) -> None:
    """Otherwise a key could find out what a hidden event holds, field by field."""
    names_no_fields(writer, hidden)
    names_no_fields(narrow, hidden)
    sent = event(id=hidden, **HIDDEN | {"actorId": "someone"})
    assert "different: actorId." in owner.post("/api/v1/events", json=sent).text
    sent = event(id=shown, **SHOWN | {"actorId": "someone"})
    assert "different: actorId." in narrow.post("/api/v1/events", json=sent).text


def test_mutant_a_conflict_names_fields_to_everybody(
    writer: httpx2.Client, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not pass on what the sender may read is caught."""
    real = writes.principal_of

    class All:
        def __init__(self, request: Any) -> None:
            self.viewer = Viewer(real(request).tenant)

    monkeypatch.setattr(writes, "principal_of", All)
    with pytest.raises(AssertionError):
        names_no_fields(writer, hidden)


# --- the size of the log ---------------------------------------------------------------------------------------


def tells_no_size(client: httpx2.Client, shown: str) -> None:
    """No position in the answers of a batch, of a page, of an event or of a trace, and no as_of."""
    sent = [event(id=str(uuid.uuid4()), resourceType="decision")]
    for _ in range(2):
        [result] = client.post("/api/v1/events/batch", json=sent).json()["results"]
        assert result["position"] is None
    page = client.get("/api/v1/events?include=position").json()
    assert {one["position"] for one in page["events"]} == {None}
    assert client.get(f"/api/v1/events/{shown}?include=position").json()["position"] is None
    assert {node["position"] for node in client.get(f"/api/v1/events/{shown}/trace").json()["nodes"]} == {None}
    for as_of in (0, 1, 10_000_000):
        answer = client.get(f"/api/v1/events?as_of={as_of}")
        assert problems(answer) == [(["query", "as_of"], "as_of_narrowed")]


def test_a_narrowed_key_is_told_no_size_of_the_log(owner: httpx2.Client, narrow: httpx2.Client, shown: str) -> None:
    """Positions count hidden events too, so they are null; a key that reads everything gets them."""
    tells_no_size(narrow, shown)
    [result] = owner.post("/api/v1/events/batch", json=[event()]).json()["results"]
    assert result["position"] >= 1
    assert owner.get(f"/api/v1/events/{shown}?include=position").json()["position"] >= 1
    assert owner.get("/api/v1/events?as_of=1").status_code == 200


def test_mutant_a_narrowed_key_sees_positions(
    narrow: httpx2.Client, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer that counts as one who sees everything is caught."""
    monkeypatch.setattr(Viewer, "sees_all", True)
    with pytest.raises(AssertionError):
        tells_no_size(narrow, shown)
