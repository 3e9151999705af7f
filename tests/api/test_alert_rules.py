"""The routes of alert rules: who may make them, what they take, what they show, and the test over the past."""

import datetime as dt
import itertools
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.api.conftest import Served, code_of, event, problems, serving, wait_until
from tests.unit.mutants import catches, replaced
from whence.api import alerts
from whence.errors import Forbidden
from whence.permissions import ADMIN, READ, WRITE, Principal

RULES = "/api/v1/alert-rules"
TEST = f"{RULES}/test"
EVENTS = "/api/v1/events"

COUNT = {"kind": "count", "threshold": 3, "windowS": 600, "per": "actor"}
FAILURES = {"outcome": "failure"}

_tenants = (f"alerts-{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("alerts")) as running:
        yield running


@pytest.fixture
def tenant() -> str:
    """A tenant that no test has used."""
    return next(_tenants)


@pytest.fixture
def api(served: Served, tenant: str) -> Iterator[httpx2.Client]:
    """A client that may do everything in a tenant of its own."""
    with served.client(READ, WRITE, ADMIN, tenant=tenant) as made:
        yield made


def ago(seconds: float) -> str:
    """The time so many seconds ago."""
    return (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)).isoformat()


def fail(api: httpx2.Client, *seconds: float, **fields: Any) -> list[str]:
    """Store failures that occurred so many seconds ago. Returns their ids."""
    made = [event(eventType="action_run.failed", occurredAt=ago(each), **fields) for each in seconds]
    answer = api.post(f"{EVENTS}/batch", json=made)
    assert answer.status_code == 201, answer.text
    return [each["id"] for each in answer.json()["results"]]


def make(api: httpx2.Client, condition: Any, filters: Any = FAILURES, name: str = "a rule") -> dict[str, Any]:
    answer = api.post(RULES, json={"name": name, "filters": filters, "condition": condition})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def alerts_of(api: httpx2.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"{EVENTS}/feed?event_type=whence.*").json()["events"]
    return found


def test_a_rule_is_made_shown_changed_and_deleted(api: httpx2.Client) -> None:
    """What is sent is what is shown; a change leaves out what it does not name."""
    answer = api.post(RULES, json={"name": "five", "filters": {"eventType": ["order.*", "a.b"]}, "condition": COUNT})
    rule = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"{RULES}/{rule['id']}")
    assert rule["filters"] == {"eventType": ["a.b", "order.*"]}
    assert (rule["name"], rule["condition"], rule["standsStill"]) == ("five", COUNT, None)
    other = make(api, {"kind": "absence", "windowS": 93_600}, name="quiet")
    assert other["condition"] == {"kind": "absence", "per": None, "threshold": None, "windowS": 93_600}
    assert [each["id"] for each in api.get(RULES).json()["rules"]] == [rule["id"], other["id"]]
    shown = api.get(f"{RULES}/{rule['id']}").json()
    state = {"droppedKeys": 0, "firing": [], "firingTotal": 0, "missedBefore": None, "readTo": 0, "refusedAlerts": 0}
    assert shown == rule | state
    changed = api.patch(f"{RULES}/{rule['id']}", json={"name": "six", "condition": {**COUNT, "threshold": 6}}).json()
    assert (changed["name"], changed["condition"]["threshold"], changed["filters"]) == ("six", 6, rule["filters"])
    assert (changed["createdAt"], changed["keyId"]) == (rule["createdAt"], rule["keyId"])
    again = api.patch(f"{RULES}/{other['id']}", json={"condition": other["condition"]})
    assert again.json()["condition"] == other["condition"], "as it is answered, with its nulls"
    assert api.delete(f"{RULES}/{rule['id']}").status_code == 204
    assert api.get(f"{RULES}/{rule['id']}").status_code == 404
    assert api.delete(f"{RULES}/{rule['id']}").status_code == 404
    assert [each["id"] for each in api.get(RULES).json()["rules"]] == [other["id"]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [(["body", "condition"], "missing"), (["body", "name"], "missing")]),
        ([], [(["body"], "dict_type"), (["body", "condition"], "missing"), (["body", "name"], "missing")]),
        ({"name": " ", "condition": {"kind": "match"}}, [(["body", "name"], "string_type")]),
        ({"name": "n", "condition": {"kind": "sum"}}, [(["body", "condition", "kind"], "enum")]),
        ({"name": "n", "condition": "match"}, [(["body", "condition", "kind"], "enum")]),
        (
            {"name": "n", "condition": {"kind": "count", "threshold": 1, "windowS": 0.5}},
            [(["body", "condition", "threshold"], "out_of_range"), (["body", "condition", "windowS"], "out_of_range")],
        ),
        ({"name": "n", "condition": {"kind": "first_seen"}}, [(["body", "condition", "per"], "enum")]),
        ({"name": "n", "condition": {**COUNT, "per": ["actor"]}}, [(["body", "condition", "per"], "enum")]),
        (
            {"name": "n", "condition": {"kind": "match", "windowS": 5}},
            [(["body", "condition", "windowS"], "extra_forbidden")],
        ),
        (
            {"name": "n", "condition": {"kind": "match"}, "filters": {"evenType": "a.b", "outcome": "bad"}},
            [(["body", "filters", "evenType"], "extra_forbidden"), (["body", "filters", "outcome"], "enum")],
        ),
        (
            {"name": "n", "condition": {"kind": "match"}, "filters": {"eventType": "whence.alert_fired"}},
            [(["body", "filters", "eventType"], "alert_of_alerts")],
        ),
        (
            {"name": "n", "condition": {"kind": "first_seen", "per": "actor"}, "filters": {"correlationId": "c"}},
            [(["body", "filters"], "not_indexed")],
        ),
        (
            {"name": "n", "condition": {"kind": "first_seen", "per": "resource"}, "filters": {"outcome": "failure"}},
            [(["body", "filters"], "not_indexed")],
        ),
    ],
)
def test_a_bad_rule_is_refused_at_its_place(api: httpx2.Client, body: Any, expected: list[Any]) -> None:
    """Each problem has its place, and nothing is stored."""
    assert sorted(problems(api.post(RULES, json=body)), key=str) == sorted(expected, key=str)
    assert api.get(RULES).json() == {"rules": []}


def test_an_actors_first_deletion_can_be_asked_for(api: httpx2.Client) -> None:
    """A filter by types with a key by actor is indexed."""
    make(api, {"kind": "first_seen", "per": "actor"}, {"eventType": "connection.deleted", "resourceType": "connection"})
    make(api, {"kind": "first_seen", "per": "resource"}, {"resourceType": "connection"})
    make(api, {"kind": "first_seen", "per": "eventType"}, {"actorType": "agent", "outcome": "failure"})


def test_who_may_make_a_rule(served: Served, tenant: str) -> None:
    """A key with the scope admin that may read something. A rule of another tenant is as one that does not exist."""
    body = {"name": "n", "condition": {"kind": "match"}}
    with served.client(READ, WRITE, tenant=tenant) as writer, served.client(ADMIN, tenant=tenant) as blind:
        assert writer.post(RULES, json=body).status_code == 403
        assert writer.get(RULES).status_code == 403
        assert code_of(blind.post(RULES, json=body)) == "forbidden"
        assert code_of(blind.post(TEST, json={"rule": body, "over": "1h"})) == "forbidden"
    with served.client(READ, ADMIN, tenant=tenant) as admin, served.client(READ, ADMIN, tenant="other") as other:
        rule = make(admin, {"kind": "match"})
        for answer in (
            other.get(f"{RULES}/{rule['id']}"),
            other.delete(f"{RULES}/{rule['id']}"),
            other.patch(f"{RULES}/{rule['id']}", json={"name": "mine"}),
            other.post(TEST, json={"ruleId": rule["id"], "over": "1h"}),
        ):
            unknown = other.get(f"{RULES}/{uuid4()}")
            assert {**answer.json(), "requestId": ""} == {**unknown.json(), "requestId": ""}
        assert other.get(RULES).json() == {"rules": []}


def test_the_server_runs_the_rules(api: httpx2.Client) -> None:
    """A rule that is made watches what is stored from then on; its alerts show how it happened."""
    fail(api, 30, 20, 10)
    rule = make(api, COUNT)
    ids = fail(api, 9, 8, 7)
    wait_until(lambda: bool(alerts_of(api)))
    [fired] = alerts_of(api)
    assert (fired["eventType"], fired["causationId"]) == ("whence.alert_fired", ids[-1])
    assert fired["payload"]["eventIds"] == ids
    trace = api.get(f"{EVENTS}/{fired['id']}/trace?direction=up").json()
    assert [node["id"] for node in trace["nodes"]] == [ids[-1], fired["id"]]
    wait_until(lambda: api.get(f"{RULES}/{rule['id']}").json()["firingTotal"] == 1)
    assert api.get(f"{RULES}/{rule['id']}").json()["firing"] == [
        {"alertId": fired["id"], "key": {"actorType": "agent", "actorId": "planner"}}
    ]
    wait_until(lambda: [each["lag"] for each in api.get("/api/v1/followers").json()["followers"]] == [0])


def test_a_rule_stops_with_its_key_until_another_takes_over(served: Served, tenant: str) -> None:
    """It says why it stands still. Whoever takes it over needs a key that may read."""
    with served.client(READ, WRITE, ADMIN, tenant=tenant) as api, served.client(READ, ADMIN, tenant=tenant) as maker:
        rule = make(maker, {"kind": "match"})
        path = f"{RULES}/{rule['id']}"
        assert api.delete(f"/api/v1/keys/{rule['keyId']}").status_code == 204
        assert "key that made this rule has ended" in api.get(path).json()["standsStill"]
        assert "has ended" in api.get(RULES).json()["rules"][0]["standsStill"]
        [first] = fail(api, 5)
        taken = api.patch(path, json={"takeOver": True}).json()
        assert (taken["standsStill"], taken["keyId"] == rule["keyId"]) == (None, False)
        wait_until(lambda: [each["causationId"] for each in alerts_of(api)] == [first])


@catches(replaced(Principal, "reads_all", lambda principal, readable: True, "state_for_every_admin"))
def test_a_narrowed_admin_learns_nothing_from_a_broader_rule(served: Served, tenant: str) -> None:
    """Neither its keys nor its position are shown, it cannot be redirected, and a test reads what its caller may."""
    scopes = (f"{READ}:decision", ADMIN)
    with served.client(READ, WRITE, ADMIN, tenant=tenant) as api, served.client(*scopes, tenant=tenant) as narrow:
        rule = make(api, COUNT)
        path = f"{RULES}/{rule['id']}"
        fail(api, 9, 8, 7)
        shown = narrow.get(path).json()
        assert [shown[name] for name in ("firing", "firingTotal", "readTo", "droppedKeys")] == [None] * 4
        assert narrow.patch(path, json={"filters": {}}).status_code == 403
        assert narrow.post(TEST, json={"ruleId": rule["id"], "over": "1h"}).json()["alerts"] == []
        assert len(api.post(TEST, json={"ruleId": rule["id"], "over": "1h"}).json()["alerts"]) == 1
        own = make(narrow, COUNT)
        position = narrow.get(f"{RULES}/{own['id']}").json()["readTo"]
        assert isinstance(position, str) and not position.isdigit()


def test_a_test_says_when_a_rule_would_have_fired(api: httpx2.Client) -> None:
    """Of a rule that is sent, or of one that is stored; nothing is stored."""
    ids = fail(api, 3_000, 2_990, 2_980, 60, 50, 40)
    rule = {"filters": FAILURES, "condition": COUNT}
    answer = api.post(TEST, json={"rule": rule, "over": "1h"}).json()
    key = {"actorType": "agent", "actorId": "planner"}
    assert [(each["type"], each["causationId"], each["key"]) for each in answer["alerts"]] == [
        ("fired", ids[2], key),
        ("resolved", None, key),
        ("fired", ids[5], key),
    ]
    assert answer["alerts"][0]["eventIds"] == ids[:3]
    assert (answer["continuation"], answer["droppedKeys"]) == (None, 0)
    stored = make(api, COUNT)
    assert api.post(TEST, json={"ruleId": stored["id"], "over": "1h"}).json() == answer
    first = {"condition": {"kind": "first_seen", "per": "actor"}}
    assert [each["causationId"] for each in test_of(api, first, "1h")] == [ids[0]]
    assert alerts_of(api) == []


def test_of(api: httpx2.Client, rule: Any, over: str) -> list[dict[str, Any]]:
    """All alerts of a test, request by request."""
    found: list[dict[str, Any]] = []
    continuation = None
    while True:
        body = api.post(TEST, json={"rule": rule, "over": over, "continuation": continuation}).json()
        found += body["alerts"]
        continuation = body["continuation"]
        if continuation is None:
            return found


test_of.__test__ = False  # type: ignore[attr-defined]  # a helper, in spite of its name


def test_a_long_test_takes_several_requests(api: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The continuation carries what the rule remembers, so the parts together are the whole. It belongs to its test."""
    for at in range(10):
        fail(api, *(1_000 - 50 * at - number for number in range(25)), actorId=f"a{at % 3}")
    rule = {"condition": {**COUNT, "threshold": 60, "windowS": 3_600}}
    whole = test_of(api, rule, "1h")
    assert len(whole) == 3
    monkeypatch.setattr(alerts, "_PART", 20)
    monkeypatch.setattr(alerts, "_POSITIONS", 20)
    assert test_of(api, rule, "1h") == whole
    begun = api.post(TEST, json={"rule": rule, "over": "1h"}).json()["continuation"]
    other = {"rule": {"condition": COUNT}, "over": "1h", "continuation": begun}
    assert problems(api.post(TEST, json=other)) == [(["body", "continuation"], "cursor")]
    damaged = {"rule": rule, "over": "1h", "continuation": "x" + begun[1:]}
    assert problems(api.post(TEST, json=damaged)) == [(["body", "continuation"], "cursor")]


def test_an_absence_that_lasts_is_found(api: httpx2.Client) -> None:
    """By the times of recording, up to now."""
    fail(api, 500)
    alert = {"condition": {"kind": "absence", "windowS": 600}}
    found = [(each["type"], each["causationId"]) for each in test_of(api, alert, "1h")]
    assert found == [("fired", None), ("resolved", None)], "until the first event that was recorded"
    quiet = {"condition": {"kind": "absence", "windowS": 1}, "filters": {"eventType": "schedule.fired"}}
    assert [(each["type"], each["causationId"]) for each in test_of(api, quiet, "10m")] == [("fired", None)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"over": "7d"}, [(["body"], "missing")]),
        ({"ruleId": "x", "over": "7d"}, [(["body", "ruleId"], "uuid_parsing")]),
        ({"ruleId": "x", "rule": {}, "over": "7d"}, [(["body"], "missing")]),
        ({"ruleId": 5, "over": "8y"}, [(["body", "ruleId"], "string_type"), (["body", "over"], "out_of_range")]),
        ({"rule": {"condition": {"kind": "match"}}}, [(["body", "over"], "missing")]),
        ({"rule": [], "over": "1h"}, [(["body", "rule"], "dict_type"), (["body", "rule", "condition"], "missing")]),
        (
            {"rule": {"condition": {"kind": "match"}, "filters": 5}, "over": "1h"},
            [(["body", "rule", "filters"], "dict_type")],
        ),
    ],
)
def test_a_bad_test_is_refused_at_its_place(api: httpx2.Client, body: Any, expected: list[Any]) -> None:
    """Each problem has its place."""
    assert problems(api.post(TEST, json=body)) == expected


def test_a_token_of_an_issuer_makes_no_rule() -> None:
    """It has no key with which the rule could stop."""
    with pytest.raises(Forbidden, match="Use an API key of the tenant"):
        Principal(tenant="acme", scopes=frozenset((READ, ADMIN)), key_id=None, subject="jwt").own_key()


def test_a_tenant_has_at_most_a_hundred_rules(api: httpx2.Client) -> None:
    """One more is a 429 that says so."""
    for _ in range(100):
        make(api, {"kind": "match"}, {"eventType": "never.seen"})
    answer = api.post(RULES, json={"name": "n", "condition": {"kind": "match"}})
    assert (answer.status_code, code_of(answer)) == (429, "throttled")
    assert "Delete" in answer.json()["detail"]
