"""Keys, sessions and reads as events of the tenant: only where they are switched on, and before they are answered."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, event, problems, serving
from tests.api.credentials import SECRET, jwt_of
from tests.unit.mutants import catches, replaced
from whence.api import recording as recording_module
from whence.api.recording import Recorder
from whence.errors import Busy
from whence.permissions import ADMIN, READ, WRITE
from whence.settings import Settings

EVENTS = "/api/v1/events"
ALL = (READ, WRITE, ADMIN)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that records everything."""
    record = ("keys", "sessions", "reads", "exports")
    with serving(tmp_path_factory.mktemp("recording"), record=record, jwt_secret=SECRET) as served:
        yield served


def recorded(served: Served, tenant: str) -> list[dict[str, Any]]:
    """The recorded events, oldest first, but for the question itself."""
    with served.client(READ, tenant=tenant) as client:
        found = client.get(f"{EVENTS}?resource_type=event_log&order=asc").json()["events"]
    return [each for each in found[:-1] if each["eventType"].startswith("whence.")]


def test_keys_and_sessions_are_events_of_the_tenant(recording: Served) -> None:
    """With the key that did it, what it made, and no secret."""
    with recording.client(*ALL, tenant="recorded") as admin:
        made = admin.post("/api/v1/keys", json={"scopes": [READ], "name": "CI"}).json()
        assert admin.delete(f"/api/v1/keys/{made['id']}").status_code == 204
        session = admin.post("/api/v1/session")
        cookie = {"Cookie": session.headers["set-cookie"].partition(";")[0], "Sec-Fetch-Site": "same-origin"}
        assert httpx2.delete(f"{recording.url}/api/v1/session", headers=cookie).status_code == 204
    found = recorded(recording, "recorded")
    assert [each["eventType"] for each in found] == [
        "whence.key_created",
        "whence.key_revoked",
        "whence.session_created",
        "whence.session_ended",
    ]
    assert found[0]["payload"] == {"keyId": made["id"], "name": "CI", "scopes": [READ], "expiresAt": None}
    assert found[1]["payload"] == {"keyId": made["id"]}
    assert found[2]["payload"] == {"expiresAt": session.json()["expiresAt"]}
    assert {(each["actorType"], each["resourceType"]) for each in found} == {("api_key", "event_log")}
    assert len({(each["actorId"], each["resourceId"]) for each in found}) == 1
    assert made["key"] not in str(found)


def test_an_exchange_is_an_event_of_the_tenant_that_it_is_for(recording: Served) -> None:
    """So a tenant sees when an operator's key took a token for it."""
    headers = {"X-API-Key": recording.operator_key(READ)}
    asked = {"scopes": [READ], "lifetimeS": 60}
    made = httpx2.post(f"{recording.url}/api/v1/tenants/exchanged/token", headers=headers, json=asked).json()
    [found] = recorded(recording, "exchanged")
    assert (found["eventType"], found["payload"]["scopes"]) == ("whence.token_created", [READ])
    assert found["payload"]["expiresAt"] == made["expiresAt"]
    assert made["token"] not in str(found)


def reads_are_recorded(served: Served, tenant: str) -> None:
    """Each question, refused and empty ones too, by keys and by tokens."""
    paths = (EVENTS, f"{EVENTS}/correlation/a%2Fb%00%FF?limit=1", "/api/v1/flows/map", f"{EVENTS}?limit=0")
    with served.client(READ, WRITE, tenant=tenant) as client:
        client.post(EVENTS, json=event())
        for path in paths:
            client.get(path)
    bearer = {"Authorization": f"Bearer {jwt_of(tenant_id=tenant, scope=READ, sub='ada')}"}
    assert httpx2.get(f"{served.url}{EVENTS}/aggregate", headers=bearer).json()["total"] >= 1
    found = recorded(served, tenant)
    assert {each["eventType"] for each in found} == {"whence.events_read"}
    asked = [(each["payload"]["path"], each["payload"]["query"]) for each in found]
    assert asked == [
        (EVENTS, ""),
        (f"{EVENTS}/correlation/a%2Fb%00%FF", "limit=1"),
        ("/api/v1/flows/map", ""),
        (EVENTS, "limit=0"),
        (f"{EVENTS}/aggregate", ""),
    ]
    assert (found[-1]["actorType"], found[-1]["actorId"]) == ("user", "jwt:ada")


def test_every_question_is_recorded(recording: Served) -> None:
    reads_are_recorded(recording, "asked")


def test_an_export_is_recorded(recording: Served) -> None:
    """With its filter as it was sent, and the position up to which it goes; it is not in the export itself."""
    with recording.client(READ, WRITE, tenant="exporting") as client:
        client.post(EVENTS, json=event())
        lines = client.get(f"{EVENTS}/export?outcome=success&format=csv").content.splitlines()
        assert client.head(f"{EVENTS}/export").status_code == 200
        assert client.get(f"{EVENTS}/export?outcome=bad").status_code == 422
    found = [each for each in recorded(recording, "exporting") if each["eventType"] == "whence.exported"]
    assert [each["payload"] for each in found] == [
        {"asOf": 2, "path": f"{EVENTS}/export", "query": "outcome=success&format=csv"}
    ]
    assert len(lines) == 2


@catches(replaced(recording_module, "without_secrets", str, "secrets_are_recorded"))
def test_a_secret_in_an_address_is_not_recorded(recording: Served) -> None:
    """A client may put its key into the query by mistake, where others of its tenant could read it for ever."""
    secret = recording.key(READ, tenant="careless")
    with recording.client(READ, tenant="careless") as client:
        client.get(f"{EVENTS}?api_key={secret}")
        client.get(f"{EVENTS}/correlation/{secret}")
        text = client.get(EVENTS, params={"event_type": "whence.events_read"}).text
    assert "whence.events_read" in text
    assert secret[4:] not in text


def test_mutant_reads_are_answered_unrecorded(recording: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers without recording is caught."""

    async def forget(*_args: Any) -> None:
        return None

    monkeypatch.setattr(Recorder, "read", forget)
    with pytest.raises((AssertionError, IndexError)):
        reads_are_recorded(recording, "forgotten")


def test_what_cannot_be_recorded_is_not_answered(recording: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without its record would be a read that nobody sees."""

    async def full(*_args: Any, **_more: Any) -> None:
        raise Busy("full")

    with recording.client(*ALL, tenant="full") as client:
        monkeypatch.setattr(recording.app.app.context.ingest, "add", full)
        assert client.get(EVENTS).status_code == 503
        assert client.post("/api/v1/keys", json={"scopes": [READ]}).status_code == 503


def test_nothing_is_recorded_by_default(served: Served) -> None:
    """The log holds what was sent to it, and no event about the log itself."""
    with served.client(*ALL, tenant="plain") as client:
        client.post("/api/v1/keys", json={"scopes": [READ]})
        client.post("/api/v1/session")
        client.get(EVENTS)
        assert client.get(f"{EVENTS}?resource_type=event_log").json()["total"] == 0
        assert client.get(EVENTS).json()["total"] == 0


def test_no_client_can_send_what_looks_recorded(recording: Served) -> None:
    """Types that begin with whence. are the log's own."""
    with recording.client(WRITE) as client:
        sent = event(eventType="whence.key_created", resourceType="event_log")
        assert problems(client.post(EVENTS, json=sent))[0][0] == ["body", "eventType"]


def test_only_what_is_known_can_be_recorded() -> None:
    """Other words are refused at start."""
    assert Settings.from_environment({"WHENCE_RECORD": "keys, reads"}).record == ("keys", "reads")
    with pytest.raises(ValueError, match="WHENCE_RECORD must list some of keys, sessions, reads"):
        Settings(record=("everything",))
