"""Sign-in links, and who is signed in: over HTTP, on a real server, and on one of several processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, code_of, problems, serving
from tests.cli.program import Cli, running
from tests.unit.mutants import catches, replaced
from whence.api import auth
from whence.permissions import ADMIN, READ, WRITE, new_sign_in_code, sign_in_code_hash
from whence.storage.sqlite.credentials import SQLiteCredentials
from whence.wire.times import parse_time

SESSION = "/api/v1/session"
EVENTS = "/api/v1/events"
SAME = {"Sec-Fetch-Site": "same-origin"}


def redeem(url: str, code: str, **headers: str) -> httpx2.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.post(f"{url}{SESSION}/redeem", json={"code": code}, headers=sent, timeout=20)


def cookie_of(answer: httpx2.Response) -> dict[str, str]:
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


async def kept(self: SQLiteCredentials, session_hash: bytes) -> Any:
    return await self.find_session(session_hash)


@catches(replaced(SQLiteCredentials, "take_session", kept, "a_link_works_again"))
def test_a_link_signs_in_once(served: Served) -> None:
    """As the key that made it, by a cookie that scripts cannot read. The second time it is refused like any bad one."""
    with served.client(READ, WRITE, tenant="links") as client:
        made = client.post(f"{SESSION}/links")
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store, no-transform")
    assert list(made.json()) == ["code", "expiresAt"]
    assert 0 < parse_time(made.json()["expiresAt"]) / 1e6 - time.time() <= 60
    code = made.json()["code"]
    answer = redeem(served.url, code, **SAME)
    assert answer.status_code == 201
    assert (answer.json()["tenantId"], answer.json()["scopes"]) == ("links", [READ, WRITE])
    pair, *attributes = answer.headers["set-cookie"].split("; ")
    assert pair.startswith("vai_token=whs_")
    assert attributes == ["Max-Age=43200", "Path=/", "HttpOnly", "SameSite=Strict"]
    assert httpx2.get(served.url + EVENTS, headers=cookie_of(answer)).status_code == 200
    again = redeem(served.url, code, **SAME)
    assert (again.status_code, code_of(again)) == (401, "unauthenticated")
    assert "set-cookie" not in again.headers


def later(real: Callable[[], int], seconds: float) -> Callable[[], int]:
    return lambda: real() + int(seconds * 1_000_000)


@catches(replaced(auth, "_now_us", lambda: 0, "time_stands_still"))
def test_a_link_ends_after_a_minute(served: Served) -> None:
    """And is used up when it is tried then."""
    with served.client(READ) as client:
        codes = [client.post(f"{SESSION}/links").json()["code"] for _ in range(2)]
    real = auth._now_us
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "_now_us", later(real, 50))
        assert redeem(served.url, codes[0]).status_code == 201
        patch.setattr(auth, "_now_us", later(real, 61))
        assert redeem(served.url, codes[1]).status_code == 401
    assert redeem(served.url, codes[1]).status_code == 401


def test_a_link_ends_with_its_key(served: Served) -> None:
    """A key that was revoked, or that has expired, signs nobody in, and a session ends with the key."""
    with served.client(ADMIN, tenant="revoking") as admin:
        keys = [admin.post("/api/v1/keys", json={"scopes": [ADMIN]}).json() for _ in range(2)]
        links = [
            httpx2.post(f"{served.url}{SESSION}/links", headers={"X-API-Key": key["key"]}).json()["code"]
            for key in keys
        ]
        assert redeem(served.url, links[0]).status_code == 201
        for key in keys:
            assert admin.delete(f"/api/v1/keys/{key['id']}").status_code == 204
    assert redeem(served.url, links[1]).status_code == 401
    ends_at = time.time_ns() // 1000 + 30_000_000
    headers = {"X-API-Key": served.key(READ, expires_at=ends_at)}
    made = httpx2.post(f"{served.url}{SESSION}/links", headers=headers).json()
    assert parse_time(made["expiresAt"]) == ends_at
    assert parse_time(redeem(served.url, made["code"]).json()["expiresAt"]) == ends_at


def test_only_the_hash_of_a_code_is_kept(served: Served) -> None:
    """And a code is no session, nor a session a code."""
    with served.client(READ) as client:
        code = client.post(f"{SESSION}/links").json()["code"]
        session = client.post(SESSION).headers["set-cookie"].partition(";")[0].partition("=")[2]
    hashed = sign_in_code_hash(code)
    assert hashed is not None
    row = served.wait(served.store.credentials.find_session(hashed))
    assert row is not None and code not in repr(msgspec.structs.astuple(row))
    assert httpx2.get(served.url + EVENTS, headers={"Cookie": f"vai_token={code}"}).status_code == 401
    assert httpx2.get(served.url + EVENTS, headers={"X-API-Key": code}).status_code == 401
    assert redeem(served.url, session).status_code == 401
    assert redeem(served.url, code).status_code == 201


def test_no_other_page_signs_its_reader_in(served: Served) -> None:
    """A page of another site could make its reader act as somebody else. The code stays good."""
    with served.client(READ) as client:
        code = client.post(f"{SESSION}/links").json()["code"]
    for headers in (
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
    ):
        answer = redeem(served.url, code, **headers)
        assert (answer.status_code, code_of(answer)) == (403, "forbidden")
    form = httpx2.post(
        f"{served.url}{SESSION}/redeem", content=f'{{"code":"{code}"}}', headers={"Content-Type": "text/plain"}
    )
    assert form.status_code == 415
    assert redeem(served.url, code, Origin=served.url).status_code == 201


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        ("{}", ["body", "code"], "missing"),
        ('{"code": 1}', ["body", "code"], "string_type"),
        ('{"code": "x", "kode": 1}', ["body", "kode"], "extra_forbidden"),
        ("[]", ["body"], "dict_type"),
        ("{", ["body"], "json_invalid"),
    ],
)
def test_a_body_without_a_code_is_422(served: Served, body: str, loc: list[str], kind: str) -> None:
    answer = httpx2.post(f"{served.url}{SESSION}/redeem", content=body)
    assert problems(answer) == [(loc, kind)]


def silent(_self: Any, _address: str) -> None:
    """Mutant: bad codes are not counted."""


@catches(replaced(auth._Throttle, "note_bad", silent, "codes_can_be_tried_without_end"))
def test_bad_codes_are_throttled_as_bad_credentials_are(tmp_path: Path) -> None:
    """Together with these, by address. A good code is never refused for it."""
    with serving(tmp_path, bad_credentials_per_minute=3) as served, served.client(READ) as client:
        code = client.post(f"{SESSION}/links").json()["code"]
        bad = [new_sign_in_code(), "nonsense"]
        assert [redeem(served.url, each).status_code for each in bad] == [401, 401]
        assert httpx2.get(served.url + EVENTS, headers={"X-API-Key": "whk_x"}).status_code == 401
        refused = redeem(served.url, new_sign_in_code())
        assert (refused.status_code, code_of(refused)) == (429, "throttled")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert redeem(served.url, code).status_code == 201


def test_only_a_key_of_the_tenant_makes_a_link(served: Served) -> None:
    """Not a session, which the page could not get rid of, and no operator's key or token."""
    with served.client(READ) as client:
        session = cookie_of(client.post(SESSION)) | SAME
    operator = {"X-API-Key": served.operator_key(READ)}
    token = httpx2.post(f"{served.url}/api/v1/tenants/acme/token", headers=operator, json={"scopes": [READ]}).json()
    for headers in (session, operator, {"Authorization": f"Bearer {token['token']}"}):
        answer = httpx2.post(f"{served.url}{SESSION}/links", headers=headers)
        assert (answer.status_code, code_of(answer)) == (403, "forbidden")


def test_the_session_says_who_is_signed_in(served: Served) -> None:
    """For a key its own end, for a session that of the session. Nothing of the key but its name is shown."""
    key = served.key(READ, f"{READ}:decision", tenant="who", name="dashboard")
    held = httpx2.get(served.url + SESSION, headers={"X-API-Key": key})
    who = {"keyName": "dashboard", "scopes": [READ, f"{READ}:decision"], "tenantId": "who"}
    assert held.json() == {"carrier": "header", "expiresAt": None, **who}
    made = httpx2.post(served.url + SESSION, headers={"X-API-Key": key})
    seen = httpx2.get(served.url + SESSION, headers=cookie_of(made))
    assert seen.json() == {"carrier": "cookie", "expiresAt": made.json()["expiresAt"], **who}
    assert seen.headers["cache-control"] == "no-store"
    assert httpx2.get(served.url + SESSION).status_code == 401
    operator = httpx2.get(served.url + SESSION, headers={"X-API-Key": served.operator_key(READ)}).json()
    assert (operator["tenantId"], operator["scopes"]) == ("", ["operator"])


@pytest.mark.slow  # starts three processes
def test_a_link_works_once_on_any_process(tmp_path: Path) -> None:
    """It is made on one connection and redeemed on others, which reach other processes."""
    cli = Cli(tmp_path).given(processes="2")
    with running(cli, "serve", "--port", "0") as serving_two:
        headers = {"X-API-Key": serving_two.key}
        for _ in range(4):
            code = httpx2.post(f"{serving_two.url}{SESSION}/links", headers=headers).json()["code"]
            answers = [redeem(serving_two.url, code) for _ in range(6)]
            assert sorted(answer.status_code for answer in answers) == [201, *[401] * 5]
            session = next(cookie_of(answer) for answer in answers if answer.status_code == 201)
            for _ in range(4):
                assert httpx2.get(serving_two.url + SESSION, headers=session).json()["carrier"] == "cookie"
