"""API keys and sessions over HTTP, on a real server."""

import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, code_of, problems
from tests.unit.mutants import catches, replaced
from whence.api import credentials as routes
from whence.api import request_body
from whence.api.credentials import parse_new_key
from whence.errors import Invalid
from whence.events import Vocabulary
from whence.permissions import ADMIN, READ, WRITE, key_hash
from whence.storage import credentials as limits
from whence.storage.deletions import TenantDeletion
from whence.wire.times import parse_time

KEYS = "/api/v1/keys"
SESSION = "/api/v1/session"
EVENTS = "/api/v1/events"
MEMBERS = ["id", "tenantId", "name", "scopes", "createdAt", "expiresAt", "revokedAt", "lastUsedAt"]
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


def later(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def with_cookie(answer: httpx2.Response) -> dict[str, str]:
    """The header that a browser would send back."""
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_a_new_key_is_shown_once_and_works_at_once(served: Served) -> None:
    with served.client(READ, WRITE, ADMIN, tenant="made") as admin:
        expires_at = later(days=1)
        sent = {"scopes": [WRITE, READ, READ], "name": "CI, Köln", "expiresAt": expires_at}
        answer = admin.post(KEYS, json=sent)
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store, no-transform"
        made = answer.json()
        secret = made.pop("key")
        assert list(made) == MEMBERS
        assert key_hash(secret) is not None
        assert (made["tenantId"], made["name"], made["scopes"]) == ("made", "CI, Köln", [READ, WRITE])
        assert parse_time(made["expiresAt"]) == parse_time(expires_at)
        assert (made["revokedAt"], made["lastUsedAt"]) == (None, None)
        assert httpx2.get(served.url + EVENTS, headers={"X-API-Key": secret}).status_code == 200

        listed = admin.get(KEYS)
        assert listed.status_code == 200
        assert [key["id"] for key in listed.json()["keys"]][-1] == made["id"]
        assert secret not in listed.text
        assert all(list(key) == MEMBERS for key in listed.json()["keys"])


def test_a_revoked_key_and_its_session_are_dead_at_once_here(served: Served) -> None:
    with served.client(READ, ADMIN, tenant="ended") as admin:
        made = admin.post(KEYS, json={"scopes": [READ]}).json()
        key = {"Authorization": f"Bearer {made['key']}"}
        cookie = with_cookie(httpx2.post(served.url + SESSION, headers=key))
        for headers in (key, cookie):
            assert httpx2.get(served.url + EVENTS, headers=headers).status_code == 200
        answer = admin.delete(f"{KEYS}/{made['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
        for headers in (key, cookie):
            assert httpx2.get(served.url + EVENTS, headers=headers).status_code == 401
        revoked_at = [key["revokedAt"] for key in admin.get(KEYS).json()["keys"] if key["id"] == made["id"]]
        assert admin.delete(f"{KEYS}/{made['id']}").status_code == 204
        again = [key["revokedAt"] for key in admin.get(KEYS).json()["keys"] if key["id"] == made["id"]]
        assert again == revoked_at != [None]


@catches(replaced(request_body, "_TRUSTED_S", 60.0, "a_slow_body_is_trusted"))
def test_a_body_that_comes_after_its_key_ended_is_refused(served: Served) -> None:
    """Otherwise a key that was revoked, or whose tenant was deleted, could still make another one: its request is
    begun before, and the body follows later."""
    secret = served.key(ADMIN, READ, tenant="slow")
    [key] = served.wait(served.store.credentials.list_keys("slow"))
    body = b'{"scopes":["admin"]}'
    head = f"POST {KEYS} HTTP/1.1\r\nHost: a\r\nX-API-Key: {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(served.address, timeout=10) as connection:
        connection.sendall(head.encode() + body[:5])
        time.sleep(0.6)
        assert served.wait(served.store.credentials.revoke_key("slow", key.id, 1))
        connection.sendall(body[5:])
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")
    assert [each.id for each in served.wait(served.store.credentials.list_keys("slow"))] == [key.id]


async def _trusting(*_arguments: Any) -> None:
    """Mutant: what a request may do is not asked again."""


@catches(replaced(routes, "_refuse_if_ended", _trusting, "a_moment_ago_will_do"))
def test_a_tenant_keeps_no_key_beyond_its_deletion(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deletion comes between the check of the key and the new one."""
    kept = type(served.store.credentials).put_key

    async def deleted_first(self: Any, key: Any, **more: Any) -> None:
        deletion = TenantDeletion(size=0, deleted_at=time.time_ns() // 1_000)
        await served.store.deletions.delete_tenant("gone", deletion)
        await kept(self, key, **more)

    with served.client(ADMIN, tenant="gone") as admin:
        monkeypatch.setattr(type(served.store.credentials), "put_key", deleted_first)
        assert admin.post(KEYS, json={"scopes": [ADMIN]}).status_code == 401
        assert not [key for key in served.wait(served.store.credentials.list_keys("gone")) if key.revoked_at is None]


@pytest.mark.parametrize(
    ("held", "given", "status"),
    [
        ((ADMIN,), [ADMIN], 201),
        ((ADMIN,), [READ], 403),
        ((ADMIN,), [WRITE], 403),
        ((ADMIN,), [ADMIN, f"{READ}:decision"], 403),
        ((ADMIN, READ), [READ, ADMIN], 201),
        ((ADMIN, READ), [f"{READ}:decision"], 201),
        ((ADMIN, READ), [WRITE], 403),
        ((ADMIN, f"{READ}:decision"), [f"{READ}:decision"], 201),
        ((ADMIN, f"{READ}:decision"), [f"{READ}:artifact"], 403),
        ((ADMIN, f"{READ}:decision"), [READ], 403),
    ],
)
def test_a_key_gives_only_scopes_that_it_holds(
    served: Served, held: tuple[str, ...], given: list[str], status: int
) -> None:
    """events:read covers the narrowed scopes; a narrowed one covers no more than itself."""
    with served.client(*held, tenant="given") as admin:
        answer = admin.post(KEYS, json={"scopes": given})
        assert answer.status_code == status, answer.text
        if status == 403:
            assert code_of(answer) == "forbidden"
            assert "scope events:" in answer.json()["detail"]


def test_a_key_gives_no_longer_life_than_its_own(served: Served) -> None:
    """Without a time of its own, a key ends with its maker; a later one is refused, also for a session."""
    end = (time.time_ns() // 1_000_000_000 + 3_600) * 1_000_000
    secret = served.key(ADMIN, READ, tenant="ending", expires_at=end)
    key = {"X-API-Key": secret}
    session = with_cookie(httpx2.post(served.url + SESSION, headers=key)) | SAME_ORIGIN
    for headers in (key, session):
        made = httpx2.post(served.url + KEYS, headers=headers, json={"scopes": [READ]})
        assert made.status_code == 201
        assert parse_time(made.json()["expiresAt"] or later()) == end
        sooner = later(minutes=30)
        made = httpx2.post(served.url + KEYS, headers=headers, json={"scopes": [READ], "expiresAt": sooner})
        assert parse_time(made.json()["expiresAt"]) == parse_time(sooner)
        refused = httpx2.post(served.url + KEYS, headers=headers, json={"scopes": [READ], "expiresAt": later(hours=2)})
        assert problems(refused) == [(["body", "expiresAt"], "expires_after_its_maker")]


def test_mutant_admin_alone_gives_every_scope(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that compares neither scopes nor life is caught."""
    monkeypatch.setattr(routes, "_expiry_within", lambda _principal, asked: asked.expires_at)
    with pytest.raises(AssertionError):
        test_a_key_gives_only_scopes_that_it_holds(served, (ADMIN,), [READ], 403)
    with pytest.raises(AssertionError):
        test_a_key_gives_no_longer_life_than_its_own(served)


def test_keys_are_listed_page_by_page(served: Served) -> None:
    """A hundred by default, at most a thousand; the Link header names the next page, by a cursor of this tenant."""
    for _ in range(103):
        served.key(READ, tenant="many")
    with served.client(ADMIN, tenant="many") as admin:
        first = admin.get(KEYS)
        assert len(first.json()["keys"]) == 100
        rest = admin.get(first.links["next"]["url"])
        assert len(rest.json()["keys"]) == 4
        assert "next" not in rest.links
        whole = admin.get(f"{KEYS}?limit=1000")
        assert whole.json()["keys"] == first.json()["keys"] + rest.json()["keys"]
        assert "next" not in whole.links
        assert problems(admin.get(f"{KEYS}?limit=1001")) == [(["query", "limit"], "out_of_range")]
        assert problems(admin.get(f"{KEYS}?limit=0")) == [(["query", "limit"], "out_of_range")]
        assert problems(admin.get(f"{KEYS}?page=2")) == [(["query", "page"], "extra_forbidden")]
        address = first.links["next"]["url"]
    with served.client(ADMIN, tenant="few") as other:
        assert problems(other.get(address)) == [(["query", "cursor"], "cursor")]


def test_keys_and_sessions_beyond_the_limits_are_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """429 with Retry-After and a sentence. A session that ends, or a key that is revoked, makes room."""
    monkeypatch.setattr(limits, "KEYS_ALIVE_MAX", 3)
    monkeypatch.setattr(limits, "SESSIONS_MAX", 2)
    with served.client(ADMIN, tenant="limited") as admin:
        made = [admin.post(KEYS, json={"scopes": [ADMIN]}) for _ in range(3)]
        assert [answer.status_code for answer in made] == [201, 201, 429]
        assert code_of(made[-1]) == "throttled"
        assert int(made[-1].headers["retry-after"]) > 0
        assert admin.delete(f"{KEYS}/{made[0].json()['id']}").status_code == 204
        assert admin.post(KEYS, json={"scopes": [ADMIN]}).status_code == 201
        sessions = [admin.post(SESSION) for _ in range(3)]
        assert [answer.status_code for answer in sessions] == [201, 201, 429]
        assert 0 < int(sessions[-1].headers["retry-after"]) <= 12 * 3_600
        assert "set-cookie" not in sessions[-1].headers
        ended = httpx2.delete(served.url + SESSION, headers=with_cookie(sessions[0]) | SAME_ORIGIN)
        assert ended.status_code == 204
        assert admin.post(SESSION).status_code == 201


def test_keys_of_another_tenant_do_not_exist(served: Served) -> None:
    with served.client(ADMIN, tenant="mine") as mine, served.client(READ, ADMIN, tenant="theirs") as theirs:
        made = theirs.post(KEYS, json={"scopes": [READ]}).json()
        answers = [mine.delete(f"{KEYS}/{key_id}") for key_id in (made["id"], "key_0000000000000000", "x%00", "%C3")]
        assert {answer.status_code for answer in answers} == {404}
        assert {code_of(answer) for answer in answers} == {"not_found"}
        assert len({answer.json()["detail"] for answer in answers[:3]}) == 1
        assert made["id"] not in mine.get(KEYS).text
        assert httpx2.get(served.url + EVENTS, headers={"X-API-Key": made["key"]}).status_code == 200


def test_keys_need_the_scope_admin_before_the_body_is_looked_at(served: Served) -> None:
    with served.client(READ, WRITE) as client:
        for answer in (client.get(KEYS), client.post(KEYS, content=b"x"), client.delete(f"{KEYS}/x")):
            assert answer.status_code == 403
            assert "admin" in answer.json()["detail"]
    for answer in (httpx2.get(served.url + KEYS), httpx2.post(served.url + KEYS, content=b"x" * 99_999)):
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"{", [(["body"], "json_invalid")]),
        (b"\xff", [(["body"], "json_invalid")]),
        (b"[" * 9000, [(["body"], "json_invalid")]),
        (b'{"scopes":["admin"],"\\ud800":1}', [(["body"], "json_invalid")]),
        (b"[]", [(["body"], "dict_type")]),
        (b"{}", [(["body", "scopes"], "missing")]),
        (b'{"scopes":"admin"}', [(["body", "scopes"], "list_type")]),
        (b'{"scopes":[1]}', [(["body", "scopes"], "list_type")]),
        (b'{"scopes":[]}', [(["body", "scopes"], "value_error")]),
        (b'{"scopes":["root"]}', [(["body", "scopes"], "value_error")]),
        (b'{"scopes":["admin"],"tenantId":"evil"}', [(["body", "tenantId"], "extra_forbidden")]),
        (b'{"scopes":["admin"],"name":7}', [(["body", "name"], "name")]),
        (b'{"scopes":["admin"],"name":"a\\nb"}', [(["body", "name"], "name")]),
        (b'{"scopes":["admin"],"expiresAt":"2001-01-01T00:00:00Z"}', [(["body", "expiresAt"], "value_error")]),
        (b'{"scopes":["admin"],"expiresAt":"tomorrow"}', [(["body", "expiresAt"], "value_error")]),
        (b'{"scopes":["admin"],"expiresAt":9999999999}', [(["body", "expiresAt"], "value_error")]),
        (
            b'{"scopes":[],"name":null,"expiresAt":1}',
            [(["body", "scopes"], "value_error"), (["body", "name"], "name"), (["body", "expiresAt"], "value_error")],
        ),
    ],
)
def test_a_bad_body_is_refused_where_it_is_bad(served: Served, body: bytes, found: list[Any]) -> None:
    with served.client(ADMIN, tenant="bad") as admin:
        answer = admin.post(KEYS, content=body, headers={"Content-Type": "application/json"})
        assert problems(answer) == found
        assert "root" not in answer.text
        assert "tomorrow" not in answer.text


def test_the_name_of_a_key_is_bounded() -> None:
    """The longest that is taken, and one more."""
    for length in (100, 101):
        body = msgspec.json.encode({"scopes": [READ], "name": "é" * length})
        if length == 100:
            assert parse_new_key(body, Vocabulary(), 0).name == "é" * length
        else:
            with pytest.raises(Invalid):
                parse_new_key(body, Vocabulary(), 0)


def test_a_body_that_is_large_or_not_json(served: Served) -> None:
    with served.client(ADMIN, tenant="large") as admin:
        assert admin.post(KEYS, content=b" " * (16 * 1024 + 1)).status_code == 413
        for media in ("application/x-www-form-urlencoded", "text/plain"):
            answer = admin.post(KEYS, content=b'{"scopes":["admin"]}', headers={"Content-Type": media})
            assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")
            assert "Content-Type: application/json" in answer.json()["detail"]
        for headers in ({}, {"Content-Type": "Application/JSON; charset=utf-8"}):
            assert admin.post(KEYS, content=b'{"scopes":["admin"]}', headers=headers).status_code == 201


def test_a_session_is_a_cookie_of_twelve_hours(served: Served) -> None:
    before = time.time()
    with served.client(READ, WRITE, tenant="browser") as client:
        answer = client.post(SESSION)
    assert answer.status_code == 201
    body = answer.json()
    assert list(body) == ["tenantId", "scopes", "expiresAt"]
    assert (body["tenantId"], body["scopes"]) == ("browser", [READ, WRITE])
    assert 0 <= parse_time(body["expiresAt"]) / 1e6 - before - 12 * 3600 < 5
    pair, *attributes = answer.headers["set-cookie"].split("; ")
    assert pair.startswith("vai_token=whs_")
    assert attributes == ["Max-Age=43200", "Path=/", "HttpOnly", "SameSite=Strict"]
    assert pair.partition("=")[2] not in answer.text
    assert httpx2.get(served.url + EVENTS, headers=with_cookie(answer)).status_code == 200


def test_a_session_ends_no_later_than_its_key(served: Served) -> None:
    expires_at = time.time_ns() // 1000 + 60_000_000
    headers = {"X-API-Key": served.key(READ, expires_at=expires_at)}
    answer = httpx2.post(served.url + SESSION, headers=headers)
    assert parse_time(answer.json()["expiresAt"]) == expires_at
    assert int(answer.headers["set-cookie"].partition("Max-Age=")[2].partition(";")[0]) <= 60


def test_only_a_key_makes_a_session(served: Served) -> None:
    assert httpx2.post(served.url + SESSION).status_code == 401
    with served.client(READ) as client:
        cookie = with_cookie(client.post(SESSION))
    for headers in (cookie, cookie | SAME_ORIGIN):
        answer = httpx2.post(served.url + SESSION, headers=headers)
        assert (answer.status_code, code_of(answer)) == (403, "forbidden")
        assert "set-cookie" not in answer.headers


def test_a_session_ends_on_the_server_too(served: Served) -> None:
    with served.client(READ) as client:
        made = client.post(SESSION)
    cookie = with_cookie(made)
    assert httpx2.delete(served.url + SESSION, headers=cookie).status_code == 403
    assert httpx2.get(served.url + EVENTS, headers=cookie).status_code == 200
    answer = httpx2.delete(served.url + SESSION, headers=cookie | SAME_ORIGIN)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["set-cookie"].startswith("vai_token=; Max-Age=0; Path=/; HttpOnly")
    assert httpx2.get(served.url + EVENTS, headers=cookie).status_code == 401
    assert httpx2.delete(served.url + SESSION).status_code == 401


def test_a_cookie_administers_keys_only_from_the_same_origin(served: Served) -> None:
    with served.client(READ, ADMIN, tenant="console") as client:
        cookie = with_cookie(client.post(SESSION))
    assert httpx2.get(served.url + KEYS, headers=cookie).status_code == 200
    body = {"scopes": [READ]}
    assert httpx2.post(served.url + KEYS, json=body, headers=cookie).status_code == 403
    assert httpx2.post(served.url + KEYS, json=body, headers=cookie | {"Origin": served.url}).status_code == 201
    assert httpx2.post(served.url + KEYS, json=body, headers=cookie | SAME_ORIGIN).status_code == 201
