"""The tenants that one may open in the console: any with an operator's key, those of the claim with OpenID Connect."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, code_of, event, problems, serving, wait_until
from tests.api.test_oidc import begin, finish, issuer, session_of, trusting
from tests.unit.mutants import catches, replaced
from whence.api import auth, session_tenants
from whence.permissions import ADMIN, READ, WRITE, key_hash
from whence.wire.times import parse_time

__all__ = ["issuer"]

EVENTS = "/api/v1/events"
SESSION = "/api/v1/session"
TENANTS = f"{SESSION}/tenants"
CHOICE = f"{SESSION}/tenant"
SAME = {"Sec-Fetch-Site": "same-origin"}
SIZES = {"acme": 3, "beta": 1, "gamma": 2}


def fill(served: Served) -> None:
    """Three tenants, told apart by the sizes of their logs."""
    for tenant, number in SIZES.items():
        with served.client(WRITE, tenant=tenant) as client:
            for _ in range(number):
                assert client.post(EVENTS, json=event()).status_code == 201


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("tenants")) as served:
        fill(served)
        yield served


def choose(served: Served, headers: dict[str, str], tenant: str) -> httpx2.Response:
    return httpx2.post(served.url + CHOICE, headers=headers, json={"tenantId": tenant})


def chosen(answer: httpx2.Response) -> dict[str, str]:
    """The headers of a page with the session that an answer began."""
    assert answer.status_code == 201, answer.text
    assert "no-transform" in answer.headers["cache-control"]
    return SAME | {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def offered(served: Served, headers: dict[str, str]) -> tuple[bool, list[str]]:
    """Whether any tenant may be opened, and the names on all pages of one."""
    names, address, body = [], f"{TENANTS}?limit=1", {}
    while address:
        answer = httpx2.get(served.url + address, headers=headers)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        names += [tenant["tenantId"] for tenant in body["tenants"]]
        link = answer.headers.get("link", "")
        address = f"{TENANTS}{link[link.index('?') : link.index('>')]}" if link else ""
    return body["anyTenant"], names


def total(served: Served, headers: dict[str, str]) -> int:
    answer = httpx2.get(served.url + EVENTS, headers=headers)
    assert answer.status_code == 200, answer.text
    count: int = answer.json()["total"]
    return count


def operator(served: Served, *ceiling: str, **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {served.operator_key(*ceiling, **more)}"}


def without_narrowing(principal: Any, **changes: Any) -> Any:
    """Mutant: whatever changes, the tenant stays."""
    return msgspec.structs.replace(principal, **{k: v for k, v in changes.items() if k != "tenant"})


class KeepsTenant:
    """Mutant of msgspec.structs."""

    replace = staticmethod(without_narrowing)


class KeepsTenantModule:
    """Mutant of msgspec, for the module of the routes."""

    structs = KeepsTenant
    json = msgspec.json


@catches(
    replaced(session_tenants, "msgspec", KeepsTenantModule, "the_tenant_is_not_changed"),
    replaced(session_tenants, "end_sessions", lambda _request: time_passes(), "the_former_session_goes_on"),
)
def test_an_operator_opens_one_tenant_after_the_other(server: Served) -> None:
    """Each session is of one tenant, with the scopes of the ceiling, and ends when the next begins."""
    key = operator(server, READ)
    assert offered(server, key) == (True, list(SIZES))
    first = chosen(choose(server, key, "acme"))
    assert total(server, first) == SIZES["acme"]
    seen = httpx2.get(server.url + SESSION, headers=first).json()
    assert (seen["tenantId"], seen["scopes"]) == ("acme", [READ])
    assert offered(server, first) == (True, list(SIZES))
    second = chosen(choose(server, first, "beta"))
    assert total(server, second) == SIZES["beta"]
    assert httpx2.get(server.url + EVENTS, headers=first).status_code == 401
    assert httpx2.post(server.url + EVENTS, headers=second, json=event()).status_code == 403


async def exists(_store: Any, _tenant: str) -> bool:
    """Mutant: every name is a tenant's."""
    return True


async def is_near(store: Any, tenant: str) -> bool:
    """Mutant: a tenant whose name begins alike will do."""
    return bool(await store.tenants(tenant[:1], 1))


@catches(
    replaced(session_tenants, "_exists", exists, "a_mistyped_tenant_is_made"),
    replaced(session_tenants, "_exists", is_near, "the_next_tenant_will_do"),
)
def test_a_mistyped_tenant_is_not_made(tmp_path: Path) -> None:
    """Not even where sessions are recorded: an operator gets a 404, and the list stays as it is."""
    with serving(tmp_path, record=("sessions",)) as served:
        fill(served)
        served.key(READ, tenant="keyed")
        key = operator(served, READ)
        for tenant in ("acmee", "acm", "b", "zeta", "A", "-"):
            refused = choose(served, key, tenant)
            assert (refused.status_code, code_of(refused)) == (404, "not_found"), tenant
        assert offered(served, key) == (True, [*SIZES, "keyed"])
        for tenant in (*SIZES, "keyed"):
            chosen(choose(served, key, tenant))


async def time_passes() -> None:
    """Nothing, for an await."""


def covers_all(_session: Any) -> tuple[str, ...]:
    """Mutant: every session may be changed to these tenants."""
    return tuple(SIZES)


@catches(
    replaced(auth, "tenants_among", covers_all, "every_session_of_openid_connect_opens_every_tenant"),
    replaced(session_tenants, "_opens_any", lambda _principal: True, "everybody_is_an_operator"),
)
def test_other_credentials_stand_for_one_tenant(tmp_path: Path, issuer: Any) -> None:
    """They are offered their own, and can open no other: an API key, its session, an operator's token and its session,
    and somebody whose claim names one tenant."""
    with trusting(tmp_path / "one", issuer) as served:
        fill(served)
        key = {"Authorization": f"Bearer {served.key(READ, ADMIN)}"}
        made = httpx2.post(
            f"{served.url}/api/v1/tenants/acme/token", headers=operator(served, READ), json={"scopes": [READ]}
        )
        token = {"Authorization": f"Bearer {made.json()['token']}"}
        address, cookie = begin(served)
        somebody = SAME | session_of(finish(issuer.sign_in(address), cookie))
        sessions = [chosen(httpx2.post(served.url + SESSION, headers=each)) for each in (key, token)]
        for headers in (key, token, somebody, *sessions):
            assert offered(served, headers) == (False, ["acme"])
            for tenant in ("acme", "beta", "unknown"):
                refused = choose(served, headers, tenant)
                assert (refused.status_code, code_of(refused)) == (403, "forbidden")
                assert refused.json()["detail"] == "This credential stands for one tenant."
            assert total(served, headers) == SIZES["acme"]


def test_a_person_opens_the_tenants_of_the_claim_and_no_other(tmp_path: Path, issuer: Any) -> None:
    """The first is opened at the sign-in. A tenant that exists is refused as one that does not."""
    with trusting(tmp_path / "one", issuer) as served:
        fill(served)
        issuer.claims = {"tenant_id": ["beta", "acme", "beta"], "scope": READ}
        address, cookie = begin(served)
        first = SAME | session_of(finish(issuer.sign_in(address), cookie))
        ends = httpx2.get(served.url + SESSION, headers=first).json()["expiresAt"]
        assert total(served, first) == SIZES["beta"]
        assert offered(served, first) == (False, ["acme", "beta"])
        second = chosen(choose(served, first, "acme"))
        assert total(served, second) == SIZES["acme"]
        assert offered(served, second) == (False, ["acme", "beta"])
        assert httpx2.get(served.url + SESSION, headers=second).json()["expiresAt"] == ends
        hidden, unknown = (choose(served, second, tenant) for tenant in ("gamma", "nobody"))
        assert (hidden.status_code, hidden.json()["detail"]) == (unknown.status_code, unknown.json()["detail"])
        assert hidden.status_code == 403
        assert httpx2.post(served.url + EVENTS, headers=second, json=event()).status_code == 403
        assert httpx2.delete(served.url + SESSION, headers=second).status_code == 204
        assert choose(served, second, "beta").status_code == 401


BAD_CLAIMS: list[Any] = [[], ["acme", ""], ["acme", 1], ["acme", "a/b"], [["acme"]], "acme beta", {"a": 1}]


def test_a_claim_that_is_no_list_of_tenants_signs_nobody_in(tmp_path: Path, issuer: Any) -> None:
    """One bad name refuses them all, so that a claim of another meaning opens nothing."""
    with trusting(tmp_path / "one", issuer) as served:
        for claim in BAD_CLAIMS:
            issuer.claims = {"tenant_id": claim}
            address, cookie = begin(served)
            assert finish(issuer.sign_in(address), cookie).headers["location"] == "/login?failed=refused", claim


def test_a_session_of_an_operator_ends_with_the_key(server: Served) -> None:
    """Then it reads nothing and opens nothing; and it lasts no longer than the key."""
    soon = time.time_ns() // 1000 + 20_000_000
    answer = choose(server, operator(server, READ, expires_at=soon), "acme")
    assert parse_time(answer.json()["expiresAt"]) == soon
    key = operator(server, READ)
    session = chosen(choose(server, key, "acme"))
    hashed = key_hash(key["Authorization"].removeprefix("Bearer "))
    found = None if hashed is None else server.wait(server.store.credentials.find_key(hashed))
    assert found is not None and server.wait(server.store.credentials.revoke_key("", found.id, 1))
    wait_until(lambda: httpx2.get(server.url + EVENTS, headers=session).status_code == 401, 3)
    assert choose(server, session, "beta").status_code == 401
    assert choose(server, key, "beta").status_code == 401


def test_a_page_of_another_site_changes_nothing(server: Served) -> None:
    """As with everything that a cookie writes."""
    session = chosen(choose(server, operator(server, READ), "acme"))
    foreign = session | {"Sec-Fetch-Site": "cross-site"}
    assert choose(server, foreign, "beta").status_code == 403
    assert total(server, session) == SIZES["acme"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, [(["body", "tenantId"], "missing")]),
        ({"tenantId": 1}, [(["body", "tenantId"], "string_type")]),
        ({"tenantId": "a/b"}, [(["body", "tenantId"], "tenant")]),
        ({"tenantId": ""}, [(["body", "tenantId"], "tenant")]),
        ({"tenantId": "acme", "scopes": [ADMIN]}, [(["body", "scopes"], "extra_forbidden")]),
    ],
)
def test_what_a_choice_may_not_say(server: Served, body: Any, found: list[tuple[list[str], str]]) -> None:
    """Each is a 422 at its place."""
    answer = httpx2.post(server.url + CHOICE, headers=operator(server, READ), json=body)
    assert problems(answer) == found


def test_cursors_of_the_list_are_for_the_one_who_got_them(server: Served) -> None:
    """Another credential's is refused."""
    link = httpx2.get(f"{server.url}{TENANTS}?limit=1", headers=operator(server, READ)).headers["link"]
    address = f"{server.url}{TENANTS}{link[link.index('?') : link.index('>')]}"
    assert problems(httpx2.get(address, headers=operator(server, READ))) == [(["query", "cursor"], "cursor")]
