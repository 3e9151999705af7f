"""Operators' keys: the list of tenants, and the exchange for a token of one tenant, which ends with the key."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, code_of, event, problems, serving, wait_until
from whence.api import auth, operators
from whence.permissions import ADMIN, READ, WRITE, ApiKey, key_hash
from whence.storage.deletions import TenantDeletion
from whence.wire.times import parse_time

EVENTS = "/api/v1/events"
TENANTS = "/api/v1/tenants"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("operators")) as served:
        for tenant, number in (("acme", 3), ("beta", 1)):
            with served.client(WRITE, tenant=tenant) as client:
                for _ in range(number):
                    assert client.post(EVENTS, json=event(payload={"a": 1})).status_code == 201
        served.key(READ, tenant="gamma")
        yield served


def with_key(server: Served, *ceiling: str, **more: Any) -> httpx2.Client:
    """A client with a new operator's key."""
    headers = {"Authorization": f"Bearer {server.operator_key(*ceiling, **more)}"}
    return httpx2.Client(base_url=server.url, headers=headers, timeout=20)


def exchange(operator: httpx2.Client, tenant: str, *scopes: str, **more: Any) -> httpx2.Response:
    return operator.post(f"{TENANTS}/{tenant}/token", json={"scopes": list(scopes), **more})


def with_token(server: Served, answer: httpx2.Response) -> httpx2.Client:
    assert answer.status_code == 201, answer.text
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    return httpx2.Client(base_url=server.url, headers=headers, timeout=20)


def id_of(server: Served, operator: httpx2.Client) -> str:
    hashed = key_hash(operator.headers["authorization"].removeprefix("Bearer "))
    found = server.wait(server.store.credentials.find_key(hashed or b""))
    assert found is not None
    return found.id


# --- tenants ---------------------------------------------------------------------------------------------------


def test_an_operators_key_lists_the_tenants_and_their_sizes(server: Served) -> None:
    """By name, also those that have only a key; page by page, by a cursor that the Link header names."""
    with with_key(server, READ) as operator:
        answer = operator.get(TENANTS).json()
        whole = answer["tenants"]
        assert (answer["bytesMax"], answer["eventsPerS"]) == (None, None)
        assert [(each["tenantId"], each["events"], each["payloadBytes"]) for each in whole] == [
            ("acme", 3, 21),
            ("beta", 1, 7),
            ("gamma", 0, 0),
        ]
        assert parse_time(whole[0]["recordedAt"]) <= time.time_ns() // 1000
        assert whole[2]["recordedAt"] is None
        found, address = [], f"{TENANTS}?limit=1"
        while address:
            page = operator.get(address)
            assert len(page.json()["tenants"]) == 1
            found += page.json()["tenants"]
            address = page.links["next"]["url"] if "next" in page.links else ""
        assert found == whole
        assert problems(operator.get(f"{TENANTS}?cursor=x")) == [(["query", "cursor"], "cursor")]
        assert problems(operator.get(f"{TENANTS}?limit=1001&offset=1")) == [
            (["query", "offset"], "extra_forbidden"),
            (["query", "limit"], "out_of_range"),
        ]


def test_an_operators_key_reads_and_writes_no_events(server: Served) -> None:
    """Whatever its ceiling is; nor does it make keys or a session."""
    with with_key(server, READ, WRITE, ADMIN) as operator:
        answers = [operator.get(path) for path in (EVENTS, "/api/v1/flows", "/api/v1/keys")]
        answers += [operator.post(path, json=event()) for path in (EVENTS, "/api/v1/session")]
        answers.append(operator.post("/api/v1/keys", json={"scopes": [READ]}))
        assert {answer.status_code for answer in answers} == {403}


def test_no_key_of_a_tenant_is_an_operators(server: Served) -> None:
    """The scope operator cannot be given to a key, and is in no tenant's list of keys."""
    with server.client(READ, WRITE, ADMIN) as admin:
        assert problems(admin.post("/api/v1/keys", json={"scopes": ["operator"]})) == [
            (["body", "scopes"], "value_error")
        ]
        assert admin.get(TENANTS).status_code == 403
        assert exchange(admin, "beta", READ).status_code == 403
        with with_key(server, READ) as operator:
            assert id_of(server, operator) not in admin.get("/api/v1/keys").text
            assert admin.delete(f"/api/v1/keys/{id_of(server, operator)}").status_code == 404


# --- tokens ----------------------------------------------------------------------------------------------------


def test_a_token_is_of_one_tenant_and_its_scopes(server: Served) -> None:
    """It reads and writes as the tenant that the exchange named, and in no other; also in one that is new."""
    with with_key(server, READ, WRITE) as operator:
        answer = exchange(operator, "acme", READ)
        made = answer.json()
        assert (made["tenantId"], made["scopes"]) == ("acme", [READ])
        assert 899 <= (parse_time(made["expiresAt"]) - time.time_ns() // 1000) / 1e6 + 1 <= 902
        assert answer.headers["cache-control"] == "no-store, no-transform"
        with with_token(server, answer) as acme:
            page = acme.get(EVENTS).json()
            assert (page["total"], {each["tenantId"] for each in page["events"]}) == (3, {"acme"})
            assert acme.post(EVENTS, json=event()).status_code == 403
        with with_token(server, exchange(operator, "beta", READ)) as beta:
            assert beta.get(EVENTS).json()["total"] == 1
        with with_token(server, exchange(operator, "newcomer", READ, WRITE)) as newcomer:
            assert newcomer.post(EVENTS, json=event()).status_code == 201
            assert newcomer.get(EVENTS).json()["total"] == 1


def test_a_token_has_no_scope_beyond_the_ceiling(server: Served) -> None:
    """events:read covers the narrowed ones, and nothing covers it."""
    with with_key(server, READ, WRITE) as operator:
        assert exchange(operator, "acme", f"{READ}:decision").status_code == 201
        refused = exchange(operator, "acme", READ, ADMIN)
        assert (refused.status_code, code_of(refused)) == (403, "forbidden")
        assert "admin" in refused.json()["detail"]
    with with_key(server, f"{READ}:decision") as operator:
        assert exchange(operator, "acme", f"{READ}:decision").status_code == 201
        for scope in (READ, WRITE, f"{READ}:artifact"):
            assert exchange(operator, "acme", scope).status_code == 403, scope


def test_mutant_a_ceiling_that_nothing_compares(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key whose ceiling allows everything is caught."""
    monkeypatch.setattr(ApiKey, "may_pass_on", lambda _key, _scope: True)
    with pytest.raises(AssertionError):
        test_a_token_has_no_scope_beyond_the_ceiling(server)


@pytest.mark.parametrize(
    ("tenant", "body", "found"),
    [
        ("a%2Fb", {"scopes": [READ]}, [(["path", "tenant"], "tenant")]),
        ("a" * 65, {"scopes": [READ]}, [(["path", "tenant"], "tenant")]),
        ("acme", [], [(["body"], "dict_type")]),
        ("acme", {}, [(["body", "scopes"], "missing")]),
        ("acme", {"scopes": []}, [(["body", "scopes"], "value_error")]),
        ("acme", {"scopes": ["all"]}, [(["body", "scopes"], "value_error")]),
        ("acme", {"scopes": [READ], "lifetimeS": 901}, [(["body", "lifetimeS"], "out_of_range")]),
        ("acme", {"scopes": [READ], "lifetimeS": 0}, [(["body", "lifetimeS"], "out_of_range")]),
        ("acme", {"scopes": [READ], "lifetimeS": True}, [(["body", "lifetimeS"], "out_of_range")]),
        ("acme", {"scopes": [READ], "lifetimeS": 1.5}, [(["body", "lifetimeS"], "out_of_range")]),
        ("acme", {"scopes": [READ], "tenant": "x"}, [(["body", "tenant"], "extra_forbidden")]),
    ],
)
def test_what_an_exchange_may_not_say(
    server: Served, tenant: str, body: Any, found: list[tuple[list[str], str]]
) -> None:
    """Each is a 422 at its place."""
    with with_key(server, READ) as operator:
        assert problems(operator.post(f"{TENANTS}/{tenant}/token", json=body)) == found


def test_a_token_lasts_as_long_as_asked_and_no_longer_than_its_key(server: Served) -> None:
    """At most a quarter of an hour."""
    soon = time.time_ns() // 1000 + 20_000_000
    with with_key(server, READ, expires_at=soon) as operator:
        assert parse_time(exchange(operator, "acme", READ).json()["expiresAt"]) == soon
    with with_key(server, READ) as operator:
        answer = exchange(operator, "acme", READ, lifetimeS=1.0)
        with with_token(server, answer) as acme:
            assert acme.get(EVENTS).status_code == 200
            wait_until(lambda: time.time_ns() // 1000 > parse_time(answer.json()["expiresAt"]))
            assert acme.get(EVENTS).status_code == 401


def ends_with_its_key(server: Served) -> None:
    with with_key(server, READ) as operator, with_token(server, exchange(operator, "acme", READ)) as acme:
        session = acme.post("/api/v1/session")
        assert session.status_code == 201
        cookie = {"Cookie": session.headers["set-cookie"].partition(";")[0]}
        anonymous = httpx2.Client(base_url=server.url, headers=cookie)
        for client in (acme, anonymous):
            assert client.get(EVENTS).json()["total"] == 3
        assert server.wait(server.store.credentials.revoke_key("", id_of(server, operator), 1))
        for client in (acme, anonymous, operator):  # which the server caches for a tenth of a second
            wait_until(lambda client=client: client.get(EVENTS).status_code == 401, 3)
        assert exchange(operator, "acme", READ).status_code == 401
        anonymous.close()


def test_a_token_and_its_session_end_with_the_key(server: Served) -> None:
    """Once the key is revoked, the token, the session that was made with it and the key itself are refused."""
    ends_with_its_key(server)


def test_mutant_a_token_outlives_its_key(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not look the key up again is caught."""
    known: dict[str, Any] = {}
    real = auth.Authenticator._find_key_by_id

    async def once(self: Any, key_id: str) -> Any:
        if key_id not in known:
            known[key_id] = await real(self, key_id)
        return known[key_id]

    monkeypatch.setattr(auth.Authenticator, "_find_key_by_id", once)
    with pytest.raises(AssertionError):
        ends_with_its_key(server)


def test_a_session_of_a_token_is_of_its_tenant_and_ends_with_it(server: Served) -> None:
    """Sessions of one operator's key count by tenant, and none lives longer than its token."""
    with with_key(server, READ, WRITE) as operator:
        answer = exchange(operator, "beta", READ, lifetimeS=60)
        with with_token(server, answer) as beta:
            made = beta.post("/api/v1/session")
        assert made.json() == {
            "tenantId": "beta",
            "scopes": [READ],
            "expiresAt": answer.json()["expiresAt"],
        }
        cookie = {"Cookie": made.headers["set-cookie"].partition(";")[0]}
        page = httpx2.get(server.url + EVENTS, headers=cookie).json()
        assert {each["tenantId"] for each in page["events"]} == {"beta"}
        same = cookie | {"Sec-Fetch-Site": "same-origin"}
        assert httpx2.post(server.url + EVENTS, headers=same, json=event()).status_code == 403


def test_a_key_that_a_token_makes_lives_no_longer(server: Served) -> None:
    """A token with the scope admin makes keys that end with it."""
    with with_key(server, READ, ADMIN) as operator:
        answer = exchange(operator, "delta", READ, ADMIN)
        with with_token(server, answer) as delta:
            made = delta.post("/api/v1/keys", json={"scopes": [READ]}).json()
        assert (made["tenantId"], made["expiresAt"]) == ("delta", answer.json()["expiresAt"])


def test_each_exchange_is_logged(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key, the tenant, the scopes and the client, and without the token."""
    lines: list[tuple[str, dict[str, Any]]] = []
    recorder = SimpleNamespace(info=lambda name, **fields: lines.append((name, fields)))
    monkeypatch.setattr(operators, "_log", recorder)
    with with_key(server, READ) as operator:
        answer = exchange(operator, "acme", READ)
        assert exchange(operator, "acme", WRITE).status_code == 403
        [(name, fields)] = lines
        assert name == "tenant_token_made"
        assert (fields["tenant"], fields["scopes"], fields["client"]) == ("acme", [READ], "127.0.0.1")
        assert fields["key_id"] == id_of(server, operator)
        assert fields["request_id"] == answer.headers["x-request-id"]
        assert answer.json()["token"] not in str(lines)


@pytest.mark.parametrize("events", [1, 0])
def test_a_token_ends_with_its_tenant(server: Served, events: int) -> None:
    """Also with one that never had an event. The next tenant of the name needs another one."""
    with with_key(server, READ) as operator, with_token(server, exchange(operator, "gamma", READ)) as former:
        assert former.get(EVENTS).status_code == 200
        with server.client(WRITE, tenant="gamma") as client:
            for _ in range(events):
                assert client.post(EVENTS, json=event()).status_code == 201
        deletion = TenantDeletion(size=events, deleted_at=time.time_ns() // 1_000)
        server.wait(server.store.deletions.delete_tenant("gamma", deletion))
        server.key(READ, tenant="gamma")
        assert former.get(EVENTS).status_code == 401
        with with_token(server, exchange(operator, "gamma", READ)) as current:
            assert current.get(EVENTS).json()["total"] == 0
