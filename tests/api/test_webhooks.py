"""The routes of webhooks: what they take, whom they refuse, and what is sent because of them."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, code_of, event, problems, serving, wait_until
from tests.delivery.receivers import OK, Receiver, answering, receiving_beside
from tests.unit.mutants import catches, replaced
from whence.api import webhooks
from whence.permissions import ADMIN, READ, WRITE
from whence.storage.followers import DEFINITIONS_MAX
from whence.webhooks import verify
from whence.wire.webhooks import WEBHOOK, Webhook

PATH = "/api/v1/webhooks"
URL = "https://127.0.0.1:9/hook"
ALL = (READ, WRITE, ADMIN)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that may call this machine. Each test has a tenant of its own."""
    with serving(tmp_path_factory.mktemp("webhooks"), webhook_allow=("127.0.0.0/8",)) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving_beside() as made:
        yield made


@pytest.fixture
def admin(server: Served, request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    """A client that may do everything, in a tenant that only this test has."""
    with server.client(*ALL, tenant=tenant_of(request)) as made:
        yield made


def tenant_of(request: pytest.FixtureRequest) -> str:
    return f"t{abs(hash(request.node.nodeid)):x}"[:32]


def create(client: httpx2.Client, url: str = URL, **fields: Any) -> dict[str, Any]:
    answer = client.post(PATH, json={"url": url, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def emit(client: httpx2.Client, **changes: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/events", json=event(**changes))
    assert answer.status_code == 201, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


def test_a_webhook_is_made_listed_changed_and_deleted(admin: httpx2.Client) -> None:
    """Its secret is shown once, in an answer that nobody keeps."""
    filters = {"eventType": ["action_run.*", "order.shipped"], "outcome": "failure", "actorId": ["ada", "bob"]}
    answer = admin.post(PATH, json={"url": URL, "description": "orders", "filters": filters, "fifo": True})
    made = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == f"{PATH}/{made['id']}"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["filters"] == {
        "eventType": ["order.shipped", "action_run.*"],
        "outcome": ["failure"],
        "actorId": ["ada", "bob"],
    }
    assert (made["fifo"], made["enabled"], made["format"], made["standsStill"]) == (True, True, "whence", None)
    assert admin.get(PATH).json() == {"webhooks": [made]}
    one = admin.get(f"{PATH}/{made['id']}").json()
    assert made.items() <= one.items() and one["deliveries"] == {"delivered": 0, "failed": 0, "pending": 0}
    assert (one["gaps"], one["failingSince"], one["readTo"]) == ([], None, 0)
    changed = admin.patch(f"{PATH}/{made['id']}", json={"enabled": False, "filters": {}, "format": "slack"}).json()
    assert (changed["enabled"], changed["filters"], changed["format"], changed["fifo"]) == (False, {}, "slack", True)
    for text in (admin.get(PATH).text, admin.get(f"{PATH}/{made['id']}").text):
        assert secret not in text and "sealed" not in text
    assert admin.delete(f"{PATH}/{made['id']}").status_code == 204
    for method in ("GET", "DELETE"):
        assert code_of(admin.request(method, f"{PATH}/{made['id']}")) == "not_found"
    assert admin.get(PATH).json() == {"webhooks": []}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, [(["body", "url"], "missing")]),
        ([], [(["body"], "dict_type")]),
        ({"url": 5}, [(["body", "url"], "url")]),
        ({"url": "https://user@example.com/"}, [(["body", "url"], "url")]),
        ({"url": "https://2130706433/"}, [(["body", "url"], "url")]),
        ({"url": URL, "filter": {}}, [(["body", "filter"], "extra_forbidden")]),
        ({"url": URL, "takeOver": True}, [(["body", "takeOver"], "extra_forbidden")]),
        ({"url": URL, "format": "xml"}, [(["body", "format"], "enum")]),
        (
            {"url": URL, "fifo": 1, "enabled": None},
            [(["body", "fifo"], "bool_type"), (["body", "enabled"], "bool_type")],
        ),
        ({"url": URL, "description": "x" * 256}, [(["body", "description"], "string_type")]),
        ({"url": URL, "description": "a\nb"}, [(["body", "description"], "string_type")]),
        ({"url": URL, "filters": []}, [(["body", "filters"], "dict_type")]),
        ({"url": URL, "filters": {"type": "a.b"}}, [(["body", "filters", "type"], "extra_forbidden")]),
        ({"url": URL, "filters": {"actorId": []}}, [(["body", "filters", "actorId"], "list_type")]),
        ({"url": URL, "filters": {"actorId": [5]}}, [(["body", "filters", "actorId"], "list_type")]),
        ({"url": URL, "filters": {"actorId": ""}}, [(["body", "filters", "actorId"], "string_too_short")]),
        ({"url": URL, "filters": {"outcome": "bad"}}, [(["body", "filters", "outcome"], "enum")]),
        ({"url": URL, "filters": {"resourceType": "x y"}}, [(["body", "filters", "resourceType"], "enum")]),
        ({"url": URL, "filters": {"resourceId": "x"}}, [(["body", "filters", "resourceId"], "uuid_parsing")]),
        (
            {"url": URL, "filters": {"eventType": "Order"}},
            [(["body", "filters", "eventType"], "string_pattern_mismatch")],
        ),
        (
            {"url": URL, "filters": {"eventType": ["a.b", "-"]}},
            [(["body", "filters", "eventType"], "string_pattern_mismatch")],
        ),
        (
            {"url": URL, "filters": {"actorId": ["x"] * 21}},
            [(["body", "filters", "actorId"], "too_many_values")],
        ),
    ],
)
def test_what_is_wrong_is_named_at_its_place(admin: httpx2.Client, body: Any, wanted: Any) -> None:
    """In a 422, and nothing is made."""
    assert problems(admin.post(PATH, json=body)) == wanted
    assert admin.get(PATH).json() == {"webhooks": []}


def test_other_bodies_are_refused(admin: httpx2.Client) -> None:
    """Of another type, broken, or too large; and parameters that do not exist."""
    assert problems(admin.post(PATH, content=b"{", headers={"Content-Type": "application/json"}))
    assert admin.post(PATH, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert admin.post(PATH, json={"url": URL, "description": "x" * 40_000}).status_code == 413
    for method, path in (("GET", PATH), ("POST", PATH), ("GET", f"{PATH}/{URL_ID}/deliveries")):
        assert problems(admin.request(method, path, params={"x": "1"}))[0][0] == ["query", "x"]


URL_ID = "01941f29-7c00-7aaa-8000-00000000000a"


def test_a_url_that_may_not_be_called_is_refused_at_once(served: Served) -> None:
    """Where it can be known. A server without allowed networks reaches only public addresses."""
    with served.client(*ALL, tenant="closed") as admin:
        for url in ("https://127.0.0.1/", "https://localhost/", "https://169.254.169.254/", "http://8.8.8.8/"):
            answer = admin.post(PATH, json={"url": url})
            assert problems(answer) == [(["body", "url"], "url_refused")]
            assert "127.0.0.1" not in answer.text
        made = create(admin, "https://8.8.8.8/")
        assert problems(admin.patch(f"{PATH}/{made['id']}", json={"url": "https://10.0.0.1/"}))
        assert admin.get(f"{PATH}/{made['id']}").json()["url"] == "https://8.8.8.8/"
        assert admin.delete(f"{PATH}/{made['id']}").status_code == 204


def test_only_an_api_key_makes_a_webhook(server: Served) -> None:
    """One with the scopes admin and events:read. A session of a key is one with it; an operator's token is not."""
    with server.client(READ, WRITE, tenant="scopes") as reader:
        assert code_of(reader.get(PATH)) == code_of(reader.post(PATH, json={"url": URL})) == "forbidden"
    with server.client(ADMIN, tenant="scopes") as blind:
        answer = blind.post(PATH, json={"url": URL})
        assert answer.status_code == 403 and "events:read" in answer.json()["detail"]
    operator = server.operator_key(*ALL)
    headers = {"Authorization": f"Bearer {operator}"}
    with httpx2.Client(base_url=server.url, headers=headers) as client:
        token = client.post("/api/v1/tenants/scopes/token", json={"scopes": list(ALL)}).json()["token"]
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {token}"}) as client:
        answer = client.post(PATH, json={"url": URL})
        assert answer.status_code == 403 and "Use an API key" in answer.json()["detail"]
        assert client.get(PATH).status_code == 200


def test_a_tenant_has_so_many_webhooks(admin: httpx2.Client) -> None:
    """And no more, which is said."""
    for _ in range(DEFINITIONS_MAX):
        create(admin)
    answer = admin.post(PATH, json={"url": URL})
    assert code_of(answer) == "throttled" and answer.status_code == 429
    assert len(admin.get(PATH).json()["webhooks"]) == DEFINITIONS_MAX


def test_another_tenant_does_not_see_it(server: Served, admin: httpx2.Client) -> None:
    """Its id takes the path of one that never was, to the same answer."""
    made = create(admin)
    with server.client(*ALL, tenant="stranger") as stranger:
        for method, more in (
            ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/secret"), ("POST", "/test"), ("GET", "/deliveries"),
            ("GET", "/deliveries/1"), ("POST", "/deliveries/1/resend"), ("POST", "/replay"),
        ):  # fmt: skip
            body = {"json": {"after": 0} if more == "/replay" else {}} if method in ("PATCH", "POST") else {}
            answers = [stranger.request(method, f"{PATH}/{id_}{more}", **body) for id_ in (made["id"], URL_ID, "x%00")]
            assert {answer.status_code for answer in answers} == {404}, (method, more)
            details = {msgspec.json.encode({**answer.json(), "requestId": ""}) for answer in answers}
            assert len(details) == 1
        assert stranger.get(PATH).json() == {"webhooks": []}
    assert admin.get(f"{PATH}/{made['id']}").status_code == 200


@catches(replaced(webhooks, "_require_all", lambda _principal, _webhook: None, "a_narrow_key_changes_any_webhook"))
def test_a_narrower_key_cannot_use_a_webhook_to_see_more(server: Served, request: pytest.FixtureRequest) -> None:
    """It may not turn it elsewhere, take a secret, or see deliveries, which are events that it may not read. It may
    delete it, or take it over, which narrows it."""
    tenant = tenant_of(request)
    with server.client(*ALL, tenant=tenant) as all_, server.client(f"{READ}:decision", ADMIN, tenant=tenant) as narrow:
        made = create(all_)
        one = f"{PATH}/{made['id']}"
        for method, path, body in (
            ("PATCH", one, {"url": "https://127.0.0.1:10/"}),
            ("POST", f"{one}/secret", None),
            ("POST", f"{one}/test", None),
            ("GET", f"{one}/deliveries", None),
            ("GET", f"{one}/deliveries/1", None),
            ("POST", f"{one}/replay", {"after": 0, "state": "all"}),
        ):
            answer = narrow.request(method, path, **({} if body is None else {"json": body}))
            assert answer.status_code == 403, (method, path, answer.text)
        shown = narrow.get(one).json()
        assert (shown["deliveries"], shown["readTo"], shown["gaps"]) == (None, None, None)
        assert narrow.patch(one, json={"takeOver": True, "description": "mine"}).status_code == 200
        assert stored(server, tenant, made["id"]).readable == ("decision",)
        own = narrow.get(one).json()
        assert isinstance(own["readTo"], str)  # a token, since positions count what it may not see
        assert narrow.get(f"{one}/deliveries").json() == {"deliveries": [], "nextAfter": None}
        assert narrow.delete(one).status_code == 204


def stored(server: Served, tenant: str, webhook_id: str) -> Webhook:
    definition = server.wait(server.store.followers.get_definition(tenant, WEBHOOK, webhook_id))
    assert definition is not None
    return msgspec.json.decode(definition.body, type=Webhook)


def test_the_secret_is_sealed_in_the_store(server: Served, admin: httpx2.Client, request: Any) -> None:
    """A copy of the database cannot sign."""
    made = create(admin)
    definition = server.wait(server.store.followers.get_definition(tenant_of(request), WEBHOOK, made["id"]))
    assert definition is not None and made["secret"].removeprefix("whsec_").encode() not in definition.body
    assert made["secret"].encode() not in definition.body


def test_a_revoked_key_is_said(server: Served, request: pytest.FixtureRequest) -> None:
    """The webhook stands still, and shows why."""
    tenant = tenant_of(request)
    with server.client(*ALL, tenant=tenant) as first, server.client(*ALL, tenant=tenant) as second:
        made = create(first)
        assert second.delete(f"/api/v1/keys/{made['keyId']}").status_code == 204
        shown = second.get(f"{PATH}/{made['id']}").json()
        assert shown["enabled"] and "revoked" in shown["standsStill"]
        changed = second.patch(f"{PATH}/{made['id']}", json={"takeOver": True}).json()
        assert changed["standsStill"] is None and changed["keyId"] != made["keyId"]


def test_a_test_event_is_sent_now(admin: httpx2.Client, receiver: Receiver) -> None:
    """Signed, in the form of the webhook, and also by one that is switched off. It is not in the log."""
    made = create(admin, receiver.url, enabled=False)
    attempt = admin.post(f"{PATH}/{made['id']}/test").json()
    assert (attempt["status"], attempt["answer"], attempt["error"], attempt["number"]) == (200, "ok", "", 1)
    [received] = receiver.received
    message = received.verified(made["secret"])
    assert message["type"] == message["data"]["eventType"] == "whence.webhook_test"
    assert message["data"]["payload"] == {"webhookId": made["id"]} and "position" not in message["data"]
    receiver.behaviour = answering(500, b"\xff no")
    assert admin.post(f"{PATH}/{made['id']}/test").json()["answer"] == "\ufffd no"
    assert admin.get("/api/v1/events").json()["total"] == 0
    assert admin.get(f"{PATH}/{made['id']}/deliveries").json()["deliveries"] == []


def test_a_secret_is_replaced_without_a_gap(admin: httpx2.Client, receiver: Receiver) -> None:
    """For a day messages are signed with both; a third secret ends the first."""
    made = create(admin, receiver.url)
    secrets = [made["secret"]]
    for _ in range(2):
        answer = admin.post(f"{PATH}/{made['id']}/secret")
        assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store, no-transform"
        assert answer.json()["oldSecretValidUntil"] > made["createdAt"]
        secrets.append(answer.json()["secret"])
    admin.post(f"{PATH}/{made['id']}/test")
    [received] = receiver.received
    valid = []
    for secret in secrets:
        try:
            received.verified(secret)
        except Exception:
            continue
        valid.append(secret)
    assert valid == secrets[1:]
    assert admin.get(f"{PATH}/{made['id']}").json()["oldSecretValidUntil"] is not None


def test_events_are_delivered_and_resent(admin: httpx2.Client, receiver: Receiver) -> None:
    """From the moment of creation; each delivery shows its attempts; resend and replay keep the id."""
    emit(admin)
    made = create(admin, receiver.url)
    one = f"{PATH}/{made['id']}"
    sent = [emit(admin, eventType=f"order.step_{number}") for number in range(3)]
    wait_until(lambda: len(receiver.received) == 3)
    wait_until(lambda: admin.get(one).json()["deliveries"]["delivered"] == 3)
    assert [verify(each.body, each.headers, made["secret"])["data"]["id"] for each in receiver.received]
    assert sorted(receiver.ids) == sorted(each["id"] for each in sent)
    listed = admin.get(f"{one}/deliveries", params={"state": "delivered", "limit": 2}).json()
    assert [each["position"] for each in listed["deliveries"]] == [2, 3] and listed["nextAfter"] == 3
    rest = admin.get(f"{one}/deliveries", params={"after": listed["nextAfter"]}).json()
    assert [each["position"] for each in rest["deliveries"]] == [4] and rest["nextAfter"] is None
    assert admin.get(f"{one}/deliveries", params={"state": "failed"}).json()["deliveries"] == []
    detail = admin.get(f"{one}/deliveries/3").json()
    assert (detail["state"], detail["attempts"], detail["eventId"]) == ("delivered", 1, sent[1]["id"])
    assert [each["status"] for each in detail["history"]] == [200]
    assert code_of(admin.get(f"{one}/deliveries/1")) == code_of(admin.get(f"{one}/deliveries/x")) == "not_found"
    answer = admin.post(f"{one}/deliveries/3/resend")
    assert answer.status_code == 202 and answer.json()["state"] in ("pending", "delivered")
    wait_until(lambda: len(receiver.received) == 4)
    assert receiver.received[3].id == sent[1]["id"]
    replayed = admin.post(f"{one}/replay", json={"after": 0, "state": "all"})
    assert (replayed.status_code, replayed.json()) == (202, {"after": 0, "nextAfter": None})
    wait_until(lambda: len(receiver.received) == 8)  # the first event too, which is older than the webhook
    assert len(set(receiver.ids)) == 4
    failed = admin.post(f"{one}/replay", json={"since": "-1d"}).json()
    assert failed == {"after": 0, "nextAfter": None}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, [(["body"], "missing")]),
        ({"after": 1, "since": "-1d"}, [(["body"], "missing")]),
        ({"after": -1}, [(["body", "after"], "out_of_range")]),
        ({"after": True}, [(["body", "after"], "int_type")]),
        ({"after": 1.5}, [(["body", "after"], "int_type")]),
        ({"after": "x"}, [(["body", "after"], "place")]),
        ({"since": "yesterday"}, [(["body", "since"], "datetime_parsing")]),
        ({"after": 0, "state": "pending"}, [(["body", "state"], "enum")]),
        ({"after": 0, "limit": 5}, [(["body", "limit"], "extra_forbidden")]),
    ],
)
def test_a_replay_says_where_it_begins(admin: httpx2.Client, body: Any, wanted: Any) -> None:
    """By one of two fields."""
    made = create(admin)
    assert problems(admin.post(f"{PATH}/{made['id']}/replay", json=body)) == wanted


def test_the_forms_of_a_body(admin: httpx2.Client, receiver: Receiver) -> None:
    """CloudEvents in structured mode, and a text for chat programs in which nothing is a command."""
    for form in ("cloudevents", "slack"):
        create(admin, receiver.url, format=form, filters={"eventType": "order.*"})
    stored = emit(
        admin, eventType="order.failed", actorId="<!channel> & co", payload={"error": "a <b> & c"}, correlationId="c-1"
    )
    wait_until(lambda: len(receiver.received) == 2)
    bodies = {each.headers["content-type"]: json.loads(each.body) for each in receiver.received}
    cloud = bodies["application/cloudevents+json"]
    assert (cloud["id"], cloud["type"], cloud["specversion"]) == (stored["id"], "order.failed", "1.0")
    assert cloud["subject"] == f"action_run/{stored['resourceId']}" and cloud["data"] == {"error": "a <b> & c"}
    assert (cloud["correlationid"], cloud["authtype"], cloud["sequence"]) == ("c-1", "agent", "1")
    assert bodies["application/json"].keys() == {"text"}
    text = bodies["application/json"]["text"]
    assert "&lt;!channel&gt; &amp; co" in text and "a &lt;b&gt; &amp; c" in text and "<" not in text
    assert OK is receiver.behaviour
