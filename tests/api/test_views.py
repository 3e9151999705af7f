"""Saved views: who sees, makes and deletes them, and which addresses they hold."""

import itertools
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, code_of, problems
from tests.unit.mutants import catches, replaced
from whence.api import views
from whence.errors import Invalid
from whence.permissions import ADMIN, READ, Principal
from whence.storage import followers
from whence.wire import views as wire_views
from whence.wire.views import parse_view

VIEWS = "/api/v1/views"
VIEW = {"name": "Failed bookings", "address": "/explore?q=outcome:failed%20-type:*.heartbeat&density=compact"}

_tenants = (f"views-{number}" for number in itertools.count(1))


@pytest.fixture
def tenant() -> str:
    return next(_tenants)


def save(client: httpx2.Client, **changes: Any) -> httpx2.Response:
    return client.post(VIEWS, json=VIEW | changes)


def test_a_view_is_shared_by_its_tenant(served: Served, tenant: str) -> None:
    """What one credential saves another one sees, oldest first; another tenant sees nothing of it."""
    with served.client(READ, tenant=tenant) as one, served.client(READ, tenant=tenant) as two:
        made = save(one)
        assert made.status_code == 201 and made.json().keys() == {"id", "name", "address", "createdAt", "createdBy"}
        assert {name: made.json()[name] for name in VIEW} == VIEW
        assert made.json()["createdBy"].startswith("key_")
        second = save(two, name="Second").json()
        assert two.get(VIEWS).json() == {"views": [made.json(), second]}
    with served.client(READ, ADMIN, tenant=f"{tenant}-other") as other:
        assert other.get(VIEWS).json() == {"views": []}
        assert code_of(other.delete(f"{VIEWS}/{second['id']}")) == "not_found"


def deletable_by_all(self: Principal, scope: str) -> bool:
    return True


@catches(replaced(Principal, "may", deletable_by_all, "everybody_is_an_admin"))
def test_its_creator_or_an_admin_deletes_a_view(served: Served, tenant: str) -> None:
    """Others get a 403, and a view that is gone is a 404."""
    with served.client(READ, tenant=tenant) as one, served.client(READ, tenant=tenant) as two:
        first, second = (f"{VIEWS}/{save(one).json()['id']}" for _ in range(2))
        assert code_of(two.delete(first)) == "forbidden"
        assert one.delete(first).status_code == 204
        assert code_of(one.delete(first)) == "not_found"
        with served.client(READ, ADMIN, tenant=tenant) as admin:
            assert admin.delete(second.upper().replace(VIEWS.upper(), VIEWS)).status_code == 204
        assert problems(one.delete(f"{VIEWS}/x")) == [(["path", "view_id"], "uuid_parsing")]


@catches(replaced(views, "_reader", views.principal_of, "narrowed_keys_are_readers"))
def test_a_narrowed_key_sees_no_views(served: Served, tenant: str) -> None:
    """Their addresses name what it may not read."""
    with served.client(READ, tenant=tenant) as one, served.client(f"{READ}:decision", tenant=tenant) as narrowed:
        made = save(one).json()
        for answer in (narrowed.get(VIEWS), save(narrowed), narrowed.delete(f"{VIEWS}/{made['id']}")):
            assert code_of(answer) == "forbidden"
    with served.client(ADMIN, tenant=tenant) as admin:
        assert code_of(admin.get(VIEWS)) == "forbidden"


def test_a_tenant_has_at_most_a_hundred(served: Served, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is a 429; other kinds of definitions do not count."""
    assert followers.DEFINITIONS_MAX == 100
    monkeypatch.setattr(followers, "DEFINITIONS_MAX", 2)
    with served.client(READ, tenant=tenant) as one:
        assert [save(one).status_code for _ in range(3)] == [201, 201, 429]


BAD = (
    (b"[]", ("body",), "dict_type"),
    (b"{", ("body",), "json_invalid"),
    ({"name": "n"}, ("body", "address"), "missing"),
    ({"address": "/"}, ("body", "name"), "missing"),
    (VIEW | {"extra": 1}, ("body", "extra"), "extra_forbidden"),
    *((VIEW | {"name": name}, ("body", "name"), "name") for name in ("", " a", "a\nb", "n" * 101, 1, None, "a\u202eb")),
    *(
        (VIEW | {"address": address}, ("body", "address"), "address")
        for address in (
            *("", "explore", "//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)"),
            *("/a b", "/a\nb", "/a\\b", "/" + "a" * 4_000, 1, None),
        )
    ),
)


@catches(replaced(wire_views, "_is_address", lambda text: isinstance(text, str), "any_text_is_an_address"))
def test_a_bad_view_is_refused() -> None:
    """Each problem at its place; no address leads to another host."""
    for body, loc, type_ in BAD:
        sent = body if isinstance(body, bytes) else msgspec.json.encode(body)
        with pytest.raises(Invalid) as caught:
            parse_view(sent)
        assert [(problem.loc, problem.type) for problem in caught.value.problems] == [(loc, type_)], body
    for address in ("/", "/explore?q=a#b", "/" + "a" * 3_999, "/r/décision"):
        assert parse_view(msgspec.json.encode(VIEW | {"address": address})) == (VIEW["name"], address)
