"""The routes of retention, legal holds and erasures, end to end over HTTP."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx2
import pytest

from tests.api.conftest import Served, event, serving
from whence import removal
from whence.permissions import ADMIN, READ, WRITE
from whence.sealing import StoreSecret
from whence.storage import backend_for

EVENTS = "/api/v1/events"
RETENTION = "/api/v1/retention"
HOLDS = "/api/v1/holds"
ERASURES = "/api/v1/erasures"
WORD = "zanzibar"
"""It stands in payloads. That of one test is erased wherever it stands, so it has a word of its own."""

_tenants = (f"removals-{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that seals, and records what is decided about removals."""
    with serving(tmp_path_factory.mktemp("removals"), record=("retention",)) as running:
        yield running


@pytest.fixture
def api(served: Served) -> Iterator[httpx2.Client]:
    """A client that may do everything, in a tenant of its own."""
    with served.client(READ, WRITE, ADMIN, tenant=next(_tenants)) as client:
        yield client


def stored(api: httpx2.Client, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Events that are stored, as they are answered."""
    found = []
    for each in events:
        answer = api.post(EVENTS, json=each)
        assert answer.status_code == 201, answer.text
        found.append(answer.json())
    return found


def wait_until(read: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    """What is read once it is so, at most 20 seconds later."""
    until = time.monotonic() + 20
    while not is_so(found := read()):
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def finished(api: httpx2.Client, asked: dict[str, Any]) -> dict[str, Any]:
    """A removal once it is done."""

    def read() -> dict[str, Any]:
        if asked["kind"] == "erasure":
            return dict(api.get(f"{ERASURES}/{asked['id']}").json())
        [found] = [run for run in api.get(RETENTION).json()["runs"] if run["id"] == asked["id"]]
        return dict(found)

    return dict(wait_until(read, lambda found: found["state"] == "done"))


def erased(api: httpx2.Client, **asked: Any) -> dict[str, Any]:
    """An erasure that is done."""
    answer = api.post(ERASURES, json={"reason": "Request 117"} | asked)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"{ERASURES}/{answer.json()['id']}"
    return finished(api, answer.json())


def problems(answer: httpx2.Response) -> list[tuple[list[Any], str]]:
    assert answer.status_code == 422, answer.text
    return [(problem["loc"], problem["type"]) for problem in answer.json()["detail"]]


def test_an_erasure_over_http(api: httpx2.Client) -> None:
    """It is announced and done; the payload is gone, and every other event stays."""
    first, second = stored(api, *(event(payload={"text": WORD, "number": number}) for number in (1, 2)))
    preview = api.post(ERASURES, json={"eventIds": [first["id"]], "reason": "r", "dryRun": True})
    assert (preview.status_code, preview.json()) == (200, {"exact": True, "held": 0, "payloads": 1})
    done = erased(api, eventIds=[first["id"]])
    assert (done["payloads"], done["held"], done["waitsFor"], done["kind"]) == (1, 0, None, "erasure")
    assert api.get(f"{EVENTS}/{first['id']}").json() == first | {"payload": None}
    assert api.get(f"{EVENTS}/{second['id']}").json() == second
    [announced] = api.get(EVENTS, params={"event_type": "whence.payload_erased"}).json()["events"]
    assert announced["payload"]["ranges"] == [[1, 1]]
    assert (announced["payload"]["request"], announced["payload"]["reason"]) == (done["id"], "Request 117")
    assert api.get(ERASURES).json()["erasures"] == [done]


def test_an_actor_is_erased_with_its_name(api: httpx2.Client) -> None:
    """The pseudonym takes its place in each of its events, and nothing that is answered names it."""
    stored(api, *(event(actorType="user", actorId="mallory@example.com", payload={"a": WORD}) for _ in range(3)))
    done = erased(api, q='actor:"user/mallory@example.com"', names=True)
    assert (done["payloads"], done["renamedEvents"]) == (3, 3)
    found = api.get(EVENTS).json()["events"]
    assert [each["actorId"] for each in found if not each["eventType"].startswith("whence.")] == [done["pseudonym"]] * 3
    for path in (EVENTS, f"{EVENTS}/stats/by-actor", "/api/v1/actors", ERASURES, f"{EVENTS}/facets"):
        assert "mallory" not in api.get(path).text, path


def test_a_word_that_was_erased_is_nowhere(
    served: Served, api: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """Neither in the file of the store nor beside it, nor in a backup that is made afterwards, an answer or the log of
    the server. While a reader of the file sees the old state, the erasure is not done, and says so."""
    monkeypatch.setattr(removal, "_PATIENCE_S", 0.1)
    rare = "xylophone"
    url = served.settings.store
    folder = Path(url.removeprefix("sqlite:///")).parent
    stored(api, *(event(payload={"text": f"{rare}{number:04}"}) for number in range(50)))
    api.get(EVENTS, params={"limit": 100})
    assert any(f"{rare}0017".encode() in path.read_bytes() for path in folder.iterdir())
    reader = apsw.Connection(str(folder / "whence.db"))
    reader.execute("BEGIN; SELECT count(*) FROM event").fetchall()
    asked = api.post(ERASURES, json={"q": "since:2000-01-01", "reason": "r"}).json()
    waits = wait_until(lambda: api.get(f"{ERASURES}/{asked['id']}").json(), lambda found: found["waitsFor"] is not None)
    assert (waits["state"], "readers of the store" in waits["waitsFor"]) == ("cleaning", True)
    assert (
        "whence_removals_waiting 1"
        in httpx2.get(f"{served.url}/metrics", headers={"Authorization": f"Bearer {served.operator_key()}"}).text
    )
    reader.close()
    assert finished(api, asked)["payloads"] == 50
    assert [path.name for path in folder.iterdir() if rare.encode() in path.read_bytes()] == []
    backend_for(url).backup(url, str(tmp_path / "backup.db"), force=False, progress=None)
    assert rare.encode() not in (tmp_path / "backup.db").read_bytes()
    for path in (EVENTS, f"{EVENTS}/feed?from=start", f"{EVENTS}/export"):
        assert rare not in api.get(path).text, path
    assert rare not in "".join(capfd.readouterr())


def test_an_erased_name_is_in_no_record_of_the_log(tmp_path: Path) -> None:
    """Neither in an alert and what its rule remembers, nor in reads that asked for it: the files do not have it."""
    with serving(tmp_path, record=("reads",)) as served, served.client(READ, WRITE, ADMIN, tenant="t") as api:
        condition = {"kind": "count", "per": "actor", "threshold": 2, "windowS": 3_600}
        assert api.post("/api/v1/alert-rules", json={"name": "r", "condition": condition}).status_code == 201
        stored(api, *(event(actorType="user", actorId="mallory", payload={"mail": "m@example.com"}) for _ in range(2)))
        fired = {"event_type": "whence.alert_fired"}
        wait_until(lambda: api.get(EVENTS, params=fired).json()["total"], bool)
        for asked in ({"actor_id": "mallory"}, {"payload.mail": "m@example.com"}):
            api.get(EVENTS, params=asked)
        folder, words = Path(served.settings.store.removeprefix("sqlite:///")).parent, (b"mallory", b"example.com")
        assert all(any(word in path.read_bytes() for path in folder.iterdir()) for word in words)
        done = erased(api, q="actor:user/mallory", names=True)
        assert (done["payloads"], done["renamedEvents"], done["waitsFor"]) == (2 + 1 + 2, 2, None)
        assert [path.name for path in folder.iterdir() for word in words if word in path.read_bytes()] == []
        [alert] = api.get(EVENTS, params=fired).json()["events"]
        assert alert["payload"] is None


def test_a_hold_beats_an_erasure(api: httpx2.Client) -> None:
    """It is listed with who placed it and why; after its release the same erasure takes the payload."""
    held, free = stored(api, event(correlationId="case 4", payload={"a": 1}), event(payload={"a": 2}))
    answer = api.post(HOLDS, json={"q": 'flow:"case 4"', "reason": "Case 2026-4"})
    assert answer.status_code == 201, answer.text
    hold = answer.json()
    assert (hold["q"], hold["reason"], hold["by"]["actorType"]) == ('flow:"case 4"', "Case 2026-4", "api_key")
    assert api.get(HOLDS).json() == {"holds": [hold]}
    ids = [held["id"], free["id"]]
    done = erased(api, eventIds=ids)
    assert (done["payloads"], done["held"]) == (1, 1)
    assert api.get(f"{EVENTS}/{held['id']}").json()["payload"] == {"a": 1}
    assert api.delete(f"{HOLDS}/{hold['id']}").status_code == 204
    assert api.delete(f"{HOLDS}/{hold['id']}").status_code == 404
    assert erased(api, eventIds=ids)["payloads"] == 1
    recorded = [each["eventType"] for each in api.get(EVENTS).json()["events"]]
    assert {"whence.hold_placed", "whence.hold_released"} <= set(recorded)


def test_a_policy_is_set_previewed_and_applied(api: httpx2.Client) -> None:
    """Nothing here is old enough, so that a run removes nothing; its record stays."""
    stored(api, event())
    none = {"maxAgeDays": None, "rules": [], "runs": [], "source": "none"}
    assert api.get(RETENTION).json() == none
    policy = {"maxAgeDays": 365, "rules": [{"eventType": "decision.*", "maxAgeDays": 30}]}
    assert api.put(RETENTION, json=policy).json() == none | policy | {"source": "tenant"}
    assert api.get(f"{RETENTION}/preview").json() == {
        "events": 0,
        "exact": True,
        "held": 0,
        "newest": None,
        "oldest": None,
        "payloads": 0,
    }
    answer = api.post(f"{RETENTION}/apply")
    assert answer.status_code == 202, answer.text
    done = finished(api, answer.json())
    assert (done["events"], done["payloads"], done["kind"]) == (0, 0, "retention")
    assert "whence.retention_changed" in {each["eventType"] for each in api.get(EVENTS).json()["events"]}
    assert api.put(RETENTION, json={"maxAgeDays": None}).json()["rules"] == []


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        (HOLDS, {}, [(["body", "q"], "missing"), (["body", "reason"], "missing")]),
        (HOLDS, {"q": " ", "reason": "r"}, [(["body", "q"], "query_text")]),
        (HOLDS, {"q": "flow:a", "reason": "a\nb"}, [(["body", "reason"], "reason")]),
        (HOLDS, {"q": "flw:a", "reason": "r"}, [(["body", "q", 0], "query_term")]),
        (ERASURES, {"reason": "r"}, [(["body"], "missing")]),
        (ERASURES, {"q": "flow:a", "eventIds": [], "reason": "r"}, [(["body"], "missing")]),
        (ERASURES, {"eventIds": ["x"], "reason": "r"}, [(["body", "eventIds"], "list_type")]),
        (ERASURES, {"q": "flow:a", "names": True, "reason": "r"}, [(["body", "names"], "one_actor")]),
        (ERASURES, {"q": "actor:user/*", "names": True, "reason": "r"}, [(["body", "names"], "one_actor")]),
        (ERASURES, {"q": "flow:a", "names": 1, "reason": "r"}, [(["body", "names"], "bool_type")]),
        (ERASURES, {"q": "flow:a", "reason": "r", "force": True}, [(["body", "force"], "extra_forbidden")]),
    ],
)
def test_what_cannot_be_meant_is_refused(api: httpx2.Client, path: str, body: Any, wanted: Any) -> None:
    """Each problem is named where it is."""
    assert problems(api.post(path, json=body)) == wanted


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, [(["body", "maxAgeDays"], "missing")]),
        ({"maxAgeDays": 0}, [(["body", "maxAgeDays"], "out_of_range")]),
        ({"maxAgeDays": None, "rules": {}}, [(["body", "rules"], "list_type")]),
        (
            {"maxAgeDays": None, "rules": [{"eventType": "*", "maxAgeDays": 1.5}]},
            [
                (["body", "rules", 0, "eventType"], "string_pattern_mismatch"),
                (["body", "rules", 0, "maxAgeDays"], "out_of_range"),
            ],
        ),
        (
            {"maxAgeDays": None, "rules": [{"eventType": "a.b", "maxAgeDays": 1}] * 2},
            [(["body", "rules"], "repeated")],
        ),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(api: httpx2.Client, body: Any, wanted: Any) -> None:
    """Each problem is named where it is."""
    assert problems(api.put(RETENTION, json=body)) == wanted
    assert problems(api.post(f"{RETENTION}/preview", json=body)) == wanted


def test_a_narrowed_administrator_is_refused(served: Served) -> None:
    """Who may not read every event decides about none."""
    with served.client(ADMIN, f"{READ}:decision", tenant="narrowed") as client:
        preview = f"{RETENTION}/preview"
        paths = (("GET", RETENTION), ("GET", HOLDS), ("POST", ERASURES), ("GET", preview), ("POST", preview))
        for method, path in paths:
            answer = client.request(method, path)
            assert answer.status_code == 403, path
            assert "may not read every event" in answer.json()["detail"]


def test_another_tenants_holds_and_erasures_do_not_exist(served: Served, api: httpx2.Client) -> None:
    """The same 404 as for an id that never was."""
    stored(api, event())
    hold = api.post(HOLDS, json={"q": "flow:a", "reason": "r"}).json()
    erasure = erased(api, q="flow:a")
    with served.client(READ, ADMIN, tenant="another") as other:
        assert other.get(HOLDS).json() == {"holds": []}
        assert other.delete(f"{HOLDS}/{hold['id']}").status_code == 404
        assert other.get(f"{ERASURES}/{erasure['id']}").status_code == 404
        assert other.get(ERASURES).json() == {"erasures": []}
    assert api.get(HOLDS).json() == {"holds": [hold]}


def test_a_removal_is_sealed_before_it_happens(tmp_path: Path) -> None:
    """Where the server seals, the answer says so, and the announcement names the checkpoint before it."""
    secret = StoreSecret("a secret that every server of the store has", is_shared=True)
    with serving(tmp_path, secret=secret) as served, served.client(READ, WRITE, ADMIN) as api:
        [first] = stored(api, event(payload={"a": 1}))
        until = time.monotonic() + 10
        while api.get("/api/v1/log/checkpoint").status_code == 404 and time.monotonic() < until:
            time.sleep(0.05)
        note = api.get("/api/v1/log/checkpoint").text
        assert erased(api, eventIds=[first["id"]])["sealed"] is True
        [announced] = api.get(EVENTS, params={"event_type": "whence.payload_erased"}).json()["events"]
        assert announced["payload"]["checkpoint"] == note
