"""CloudEvents 1.0 from the wire to the wire: three modes, two routes, one event."""

import gzip
import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.api.conftest import RUN_ID, Served, code_of, problems
from tests.unit.mutants import catches, replaced
from whence.api import writes
from whence.permissions import READ, WRITE

EVENTS = "/api/v1/events"
BATCH = f"{EVENTS}/batch"
Json = dict[str, Any]


def cloud_event(**changes: Any) -> Json:
    """A good one; None leaves an attribute out."""
    sent = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "type": "action_run.completed",
        "source": "https://runner.example/eu",
        "subject": f"action_run/{RUN_ID}",
        "time": "2026-01-02T04:04:05.25+01:00",
        "authtype": "app_user",
        "authid": "Ada Ä 😀",
        "correlationid": "flow/7",
        "causationid": str(uuid.UUID(int=5)),
        "dataschema": "https://schemas.example/run",
        "sampledrate": 3,
        "data": {"n": 1, "text": "ü"},
    } | changes
    return {name: value for name, value in sent.items() if value is not None}


def structured(client: httpx2.Client, path: str, sent: Json, **headers: str) -> httpx2.Response:
    media = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    return client.post(path, content=json.dumps(sent), headers=media | headers)


def encoded(value: Any) -> str:
    """The value of a header: what is not printable ASCII, space, quote and percent are percent-encoded."""
    text = json.dumps(value) if not isinstance(value, str) else value
    return "".join(
        character
        if "!" <= character <= "~" and character not in '"%'
        else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in text
    )


def binary(client: httpx2.Client, path: str, sent: Json, **headers: str) -> httpx2.Response:
    named = {f"ce-{name}": encoded(value) for name, value in sent.items() if name != "data"}
    media = {"Content-Type": "application/json"}
    return client.post(path, content=json.dumps(sent.get("data", {})), headers=media | named | headers)


def batched(client: httpx2.Client, path: str, sent: Json, **headers: str) -> httpx2.Response:
    media = {"Content-Type": "application/cloudevents-batch+json"}
    return client.post(path, content=json.dumps([sent]), headers=media | headers)


Send = Callable[..., httpx2.Response]
MODES: dict[str, Send] = {"structured": structured, "binary": binary, "batch": batched}


def stored_by(answer: httpx2.Response) -> tuple[int, str | None]:
    """Status and id of the one event that was sent."""
    body = answer.json()
    if "results" in body:
        (result,) = body["results"]
        return result["status"], result["id"]
    return answer.status_code, body.get("id")


@pytest.mark.parametrize("path", [EVENTS, BATCH])
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_on_each_route_stores_the_same_event(client: httpx2.Client, mode: str, path: str) -> None:
    """Every attribute comes out where the log has a place for it, and what has none under `_ce`."""
    sent = cloud_event()
    answer = MODES[mode](client, path, sent)
    assert stored_by(answer) == (201, sent["id"]), answer.text
    found = client.get(f"{EVENTS}/{sent['id']}", params={"include": "outcome"}).json()
    rate = sent["sampledrate"] if mode != "binary" else "3"  # a header has no types
    assert found == {
        "actorId": "Ada Ä 😀",
        "actorType": "user",
        "causationId": sent["causationid"],
        "correlationId": "flow/7",
        "eventType": "action_run.completed",
        "id": sent["id"],
        "occurredAt": "2026-01-02T03:04:05.250000Z",
        "outcome": "success",
        "payload": {
            "n": 1,
            "text": "ü",
            "_ce": {
                "authtype": "app_user",
                "dataschema": "https://schemas.example/run",
                "sampledrate": rate,
                "source": "https://runner.example/eu",
                "specversion": "1.0",
            },
        },
        "resourceId": RUN_ID,
        "resourceType": "action_run",
        "tenantId": "acme",
    }


@pytest.mark.parametrize("path", [EVENTS, BATCH])
@pytest.mark.parametrize("mode", MODES)
def test_the_same_one_again_is_a_replay_and_another_under_its_id_a_conflict(
    client: httpx2.Client, mode: str, path: str
) -> None:
    """Also when the id is not a UUID: (source, id) identifies one event."""
    for event_id in (str(uuid.uuid4()), f"run {uuid.uuid4()}"):
        sent = cloud_event(id=event_id)
        first, again, other = (
            MODES[mode](client, path, one) for one in (sent, sent, sent | {"type": "action_run.failed"})
        )
        assert [stored_by(answer)[0] for answer in (first, again)] == [201, 200]
        assert stored_by(first)[1] == stored_by(again)[1]
        if "results" in other.json():
            assert other.json()["results"][0]["status"] == 409
        else:
            assert (other.status_code, code_of(other)) == (409, "event_id_conflict")
        elsewhere = MODES[mode](client, path, sent | {"source": "https://other.example"})
        assert (stored_by(elsewhere)[0] == 201) == (" " in event_id), "a UUID is taken as it is"


def test_a_cause_is_mapped_as_its_own_id_was(served: Served) -> None:
    """By the same source: a flow of events with plain ids is linked, and takes over the flow of its cause."""
    with served.client(READ, WRITE, tenant="ce-flow") as client:
        first = structured(client, EVENTS, cloud_event(id="1", causationid=None, correlationid=None)).json()
        second = binary(client, EVENTS, cloud_event(id="2", causationid="1", correlationid=None)).json()
        assert second["causationId"] == first["id"]
        assert second["correlationId"] == first["correlationId"] == first["id"]
        page = client.get(f"{EVENTS}/correlation/{first['id']}").json()
        assert [found["id"] for found in page["events"]] == [first["id"], second["id"]]


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_one_event_is_answered_with_its_address(client: httpx2.Client, mode: str) -> None:
    """The eleven keys, Location, and that it was a replay."""
    sent = cloud_event()
    first, again = MODES[mode](client, EVENTS, sent), MODES[mode](client, EVENTS, sent)
    assert first.headers["location"] == again.headers["location"] == f"{EVENTS}/{sent['id']}"
    assert (len(first.json()), again.content) == (11, first.content)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


def test_an_idempotency_key_changes_no_cloudevent(client: httpx2.Client) -> None:
    """It has an id of its own already, by which the three modes are replays of each other."""
    sent = cloud_event(sampledrate=None)  # a header would make it text
    for mode in MODES.values():
        assert stored_by(mode(client, EVENTS, sent, **{"Idempotency-Key": str(uuid.uuid4())}))[1] == sent["id"]


@pytest.mark.parametrize(
    ("authtype", "authid", "actor"),
    [
        ("app_user", "ada", ("user", "ada")),
        ("service_account", "runner", ("service", "runner")),
        ("unauthenticated", None, ("anonymous", "unauthenticated")),
        ("unknown", None, ("system", "unknown")),
        ("unknown", "x", ("system", "x")),
        ("agent", "planner", ("agent", "planner")),
    ],
)
@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_the_actor_comes_from_the_auth_context(
    client: httpx2.Client, mode: str, authtype: str, authid: str | None, actor: tuple[str, str]
) -> None:
    """By the official extension, or by an actor type of the log itself."""
    answer = MODES[mode](client, EVENTS, cloud_event(authtype=authtype, authid=authid))
    assert answer.status_code == 201, answer.text
    assert (answer.json()["actorType"], answer.json()["actorId"]) == actor


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"id": None}, "id"),
        ({"source": None}, "source"),
        ({"type": None}, "type"),
        ({"type": "com.example.Thing"}, "type"),
        ({"type": "whence.sealed"}, "type"),
        ({"time": None}, "time"),
        ({"time": "2026-01-02T03:04:05"}, "time"),
        ({"subject": None}, "subject"),
        ({"subject": "action_run"}, "subject"),
        ({"subject": f"nothing/{RUN_ID}"}, "subject"),
        ({"subject": "action_run/7"}, "subject"),
        ({"authtype": None}, "authtype"),
        ({"authtype": "robot"}, "authtype"),
        ({"authid": None}, "authid"),
        ({"causationid": "self", "id": "self"}, "causationid"),
        ({"correlationid": "x" * 256}, "correlationid"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_what_is_wrong_is_told_at_its_attribute(client: httpx2.Client, mode: str, changes: Json, name: str) -> None:
    """In a body by the attribute's name, in headers by the header's, in a batch after the index."""
    answer = MODES[mode](client, EVENTS, cloud_event(**changes))
    if mode == "batch":
        assert answer.status_code == 422
        (result,) = answer.json()["results"]
        assert [problem["loc"] for problem in result["detail"]] == [["body", 0, name]]
    else:
        loc = ["header", f"ce-{name}"] if mode == "binary" else ["body", name]
        assert [loc for loc, _ in problems(answer)] == [loc]


@pytest.mark.parametrize("data", [7, "text", [1], None, {"_ce": 1}], ids=str)
def test_data_is_an_object_that_leaves_ce_to_the_log(client: httpx2.Client, data: Any) -> None:
    """In every mode; data that is left out is empty."""
    for mode, send in MODES.items():
        answer = send(client, EVENTS, cloud_event() | {"data": data})
        assert answer.status_code == 422, mode
        left_out = send(client, EVENTS, cloud_event(data=None))
        assert left_out.status_code == 201, mode


def test_the_binary_mode_reads_headers_as_the_binding_says(client: httpx2.Client) -> None:
    """Percent-encoded UTF-8, perhaps in quotes; what cannot be decoded is reported at its header."""
    for authid, read in (('"Ada \\"A\\" B"', 'Ada "A" B'), ("%41da%20%C3%84", "Ada Ä"), ("Ada", "Ada")):
        answer = binary(client, EVENTS, cloud_event(), **{"ce-authid": authid})
        assert answer.json()["actorId"] == read
    for authid in ("100%", "%FF", "%zz"):
        answer = binary(client, EVENTS, cloud_event(), **{"ce-authid": authid})
        assert [loc for loc, _ in problems(answer)] == [["header", "ce-authid"]]


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_may_be_packed(client: httpx2.Client, mode: str) -> None:
    """With gzip, as any other body."""
    sent = cloud_event()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    if mode == "binary":
        headers |= {f"ce-{name}": encoded(value) for name, value in sent.items() if name != "data"}
        content = sent["data"]
    else:
        content = sent if mode == "structured" else [sent]
        headers["Content-Type"] = f"application/cloudevents{'-batch' if mode == 'batch' else ''}+json"
    answer = client.post(EVENTS, content=gzip.compress(json.dumps(content).encode()), headers=headers)
    assert stored_by(answer) == (201, sent["id"])


def test_a_batch_of_cloudevents_may_be_atomic(served: Served) -> None:
    """Then a bad one is named and none is stored; else the good ones are, and 207 says so."""
    media = {"Content-Type": "application/cloudevents-batch+json"}
    sent = json.dumps([cloud_event(), cloud_event(type="Bad")])
    with served.client(READ, WRITE, tenant="ce-atomic") as client:
        for path in (EVENTS, BATCH):
            atomic = client.post(f"{path}?atomic=true", content=sent, headers=media)
            assert [loc for loc, _ in problems(atomic)] == [["body", 1, "type"]]
        assert client.get(EVENTS).json()["total"] == 0
        assert client.post(BATCH, content=sent, headers=media).status_code == 207
        assert client.get(EVENTS).json()["total"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_who_may_not_write_may_not_by_cloudevents_either(served: Served, mode: str) -> None:
    """403 for a reader and 401 without a credential, in every mode on both routes."""
    with served.client(READ) as reader, served.client() as nobody:
        for path in (EVENTS, BATCH):
            assert MODES[mode](reader, path, cloud_event()).status_code == 403
            assert MODES[mode](nobody, path, cloud_event()).status_code == 401


def test_a_server_that_takes_a_cloudevent_for_an_event_is_found(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: ce- headers are ignored, so that a binary CloudEvent is only its data."""
    monkeypatch.setattr(writes, "is_cloudevents", lambda media, headers: "cloudevents" in media)
    for path in (EVENTS, BATCH):
        with pytest.raises(AssertionError):
            test_each_mode_on_each_route_stores_the_same_event(client, "binary", path)


@catches(replaced(writes, "_is_binary", lambda _request: False, "every_body_has_something"))
@pytest.mark.parametrize("path", [EVENTS, BATCH])
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}, {"Content-Encoding": "gzip"}])
def test_a_binary_event_may_have_no_body(client: httpx2.Client, path: str, headers: dict[str, str]) -> None:
    """Its data is an empty object. The other modes need a body."""
    sent = cloud_event(dataschema=None, sampledrate=None, source="s")
    named = {f"ce-{name}": encoded(value) for name, value in sent.items() if name != "data"}
    body = gzip.compress(b"") if "Content-Encoding" in headers else b""
    answer = client.post(path, content=body, headers=named | headers)
    assert answer.status_code == 201, answer.text
    stored = client.get(f"{EVENTS}/{sent['id']}").json()
    assert stored["payload"] == {"_ce": {"authtype": "app_user", "source": "s", "specversion": "1.0"}}
    for media in ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json"):
        bare = named if "cloudevents" in media else {}
        assert problems(client.post(path, content=body, headers=bare | headers | {"Content-Type": media})) == [
            (["body"], "missing")
        ]
