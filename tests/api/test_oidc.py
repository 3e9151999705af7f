"""Sign-in by OpenID Connect, against an issuer on loopback that checks what it is sent."""

import base64
import hashlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2
import pytest

from tests.api.conftest import Served, code_of, serving
from tests.api.credentials import ed_key, jwk, jwt_of
from tests.unit.mutants import catches, replaced
from whence.api import auth, oidc, oidc_pages
from whence.api.console import PATHS
from whence.permissions import READ, WRITE, new_session_secret, session_hash
from whence.storage import Session

START = "/api/v1/session/oidc"
SESSION = "/api/v1/session"
CLIENT, CLIENT_SECRET = "whence", "the client's s:ecret"


class Issuer(http.server.ThreadingHTTPServer):
    """It gives each code once, for the redirect address and the verifier of its request, and signs what a test adds to
    the claims. `status` is what its token endpoint answers with."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.codes: dict[str, dict[str, str]] = {}
        self.claims: dict[str, Any] = {}
        self.status = 200
        self.named = self.url

    def sign_in(self, address: str) -> str:
        """What the browser does at the issuer: the address that it is sent back to."""
        asked = dict(parse_qsl(urlsplit(address).query))
        assert address.startswith(f"{self.url}/authorize?")
        assert (asked["response_type"], asked["client_id"], asked["scope"]) == ("code", CLIENT, "openid profile")
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.url})}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, str] | None:
        """The answer to a code; None for one that does not fit its request."""
        asked = self.codes.pop(form.get("code", ""), None)
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            asked is None
            or pair != "whence:the%20client%27s%20s%3Aecret"
            or challenge.rstrip(b"=").decode() != asked["code_challenge"]
            or (form["grant_type"], form["redirect_uri"]) != ("authorization_code", asked["redirect_uri"])
        ):
            return None
        claims = {"iss": self.url, "aud": CLIENT, "nonce": asked["nonce"], "sub": "ada", "scope": f"{READ} {WRITE}"}
        return {"token_type": "Bearer", "id_token": jwt_of(ed_key(), "EdDSA", **claims | self.claims)}


class Answer(http.server.BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        if self.path == "/jwks":
            self.send(200, {"keys": [jwk(ed_key())]})
        elif self.path == "/.well-known/openid-configuration":
            places = {
                "authorization_endpoint": f"{self.server.url}/authorize",
                "token_endpoint": f"{self.server.url}/token",
                "jwks_uri": f"{self.server.url}/jwks",
            }
            self.send(200, {"issuer": self.server.named, **places})

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        answer = self.server.token(form, self.headers["authorization"])
        self.send(self.server.status if answer else 400, answer or {"error": "invalid_grant"})

    def send(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def trusting(folder: Path, issuer: Issuer, **settings: Any) -> Any:
    """A server that lets this issuer sign people in."""
    folder.mkdir(exist_ok=True)
    return serving(
        folder,
        oidc_issuer=issuer.url,
        oidc_client_id=CLIENT,
        oidc_client_secret=CLIENT_SECRET,
        oidc_scopes=("openid", "profile"),
        **settings,
    )


@pytest.fixture
def signing(tmp_path: Path, issuer: Issuer) -> Iterator[Served]:
    with trusting(tmp_path / "one", issuer) as served:
        yield served


def begin(served: Served, back: str = "/map?from=-1h") -> tuple[str, dict[str, str]]:
    """The issuer's address, and the cookie that the browser keeps."""
    answer = httpx2.get(f"{served.url}{START}", params={"back": back})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"], {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def finish(address: str, cookie: dict[str, str]) -> httpx2.Response:
    answer = httpx2.get(address, headers=cookie)
    assert answer.status_code == 303, answer.text
    return answer


def session_of(answer: httpx2.Response) -> dict[str, str]:
    """The session that an answer began; the cookie of the attempt is ended by it."""
    set_, ended = answer.headers.get_list("set-cookie")
    assert set_.startswith("vai_token=whs_") and "; HttpOnly; SameSite=Strict" in set_
    assert ended.startswith("whence_sign_in=; Max-Age=0; Path=/api/v1/session/oidc; HttpOnly; SameSite=Lax")
    return {"Cookie": set_.partition(";")[0]}


def test_the_issuer_signs_somebody_in(signing: Served, issuer: Issuer) -> None:
    """As the tenant and with the scopes of the claims; the page where it began is shown. Signing out ends it."""
    address, cookie = begin(signing)
    answer = finish(issuer.sign_in(address), cookie)
    assert answer.headers["location"] == "/map?from=-1h"
    session = session_of(answer)
    seen = httpx2.get(signing.url + SESSION, headers=session).json()
    assert time.time() < time.mktime(time.strptime(seen.pop("expiresAt")[:19], "%Y-%m-%dT%H:%M:%S")) + 86_400
    assert seen == {"carrier": "cookie", "keyName": None, "scopes": [READ, WRITE], "tenantId": "acme"}
    assert httpx2.get(f"{signing.url}/api/v1/events", headers=session).status_code == 200
    same = session | {"Sec-Fetch-Site": "same-origin"}
    assert httpx2.post(f"{signing.url}{SESSION}/links", headers=same).status_code == 403
    assert httpx2.delete(signing.url + SESSION, headers=same).status_code == 204
    assert httpx2.get(signing.url + SESSION, headers=session).status_code == 401


def test_nobody_is_sent_to_another_site(signing: Served, issuer: Issuer) -> None:
    """Whatever the address says where to go then."""
    for back in ("//evil.example", "https://evil.example", "/\\evil.example", "", "/" + "x" * 2000, "/\u00e9"):
        address, cookie = begin(signing, back)
        assert finish(issuer.sign_in(address), cookie).headers["location"] == "/", back


def equal(_one: bytes, _other: bytes) -> bool:
    """Mutant: state and nonce are not compared."""
    return True


REFUSED = (
    ("a nonce of another sign-in", {"nonce": "x"}),
    ("no nonce", {"nonce": None}),
    ("another audience", {"aud": "other"}),
    ("several audiences", {"aud": [CLIENT, "other"], "azp": "other"}),
    ("another issuer", {"iss": "https://other.example"}),
    ("expired", {"exp": 1}),
    ("no subject", {"sub": None}),
    ("no tenant", {"tenant_id": None}),
)


@catches(replaced(oidc.secrets, "compare_digest", equal, "state_and_nonce_are_not_compared"))
def test_a_token_that_is_not_for_this_sign_in_is_refused(signing: Served, issuer: Issuer) -> None:
    """Each claim that has to fit; and an answer whose state belongs to no sign-in of this browser."""
    for name, claims in REFUSED:
        issuer.claims = claims
        address, cookie = begin(signing)
        answer = finish(issuer.sign_in(address), cookie)
        assert (answer.headers["location"], len(answer.headers.get_list("set-cookie"))) == (
            "/login?failed=refused",
            1,
        ), name
    issuer.claims = {}
    (mine, cookie), (other, _) = begin(signing), begin(signing)
    for sent in (cookie, {}, {"Cookie": cookie["Cookie"][:-2] + "AA"}):
        assert finish(issuer.sign_in(other), sent).headers["location"] == "/login?failed=state"
    back = issuer.sign_in(mine)
    assert finish(back, cookie).headers["location"] == "/map?from=-1h"
    assert finish(back, cookie).headers["location"] == "/login?failed=refused"


def no_verifier(self: Any, *arguments: str) -> Any:
    """Mutant: the code is exchanged without the verifier."""
    return EXCHANGE(self, arguments[0], arguments[1], "", arguments[3])


EXCHANGE = oidc.OidcProvider._exchange


@catches(replaced(oidc.OidcProvider, "_exchange", no_verifier, "pkce_left_out"))
def test_any_server_finishes_what_another_began(tmp_path: Path, issuer: Issuer) -> None:
    """With the same store secret, and of course the same address for browsers."""
    with trusting(tmp_path / "one", issuer) as one, trusting(tmp_path / "two", issuer) as two:
        answer = httpx2.get(f"{one.url}{START}", headers={"Host": "log.example"})
        back = urlsplit(issuer.sign_in(answer.headers["location"]))
        assert back.netloc == "log.example"
        cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0], "Host": "log.example"}
        session_of(finish(f"{two.url}{back.path}?{back.query}", cookie))


@catches(replaced(auth.Authenticator, "note_bad", lambda _self, _request: None, "refused_codes_are_not_counted"))
def test_refused_codes_are_throttled_as_bad_credentials_are(tmp_path: Path, issuer: Issuer) -> None:
    """Anybody can begin to sign in, so the issuer is not asked without end."""
    with trusting(tmp_path / "one", issuer, bad_credentials_per_minute=1) as served:
        statuses = []
        for _ in range(2):
            address, cookie = begin(served)
            state = parse_qs(urlsplit(address).query)["state"][0]
            forged = f"{served.url}{START}/callback?{urlencode({'code': 'forged', 'state': state})}"
            statuses.append(httpx2.get(forged, headers=cookie).status_code)
        assert statuses == [303, 429]


def test_what_fails_is_said_by_the_sign_in_page(tmp_path: Path, issuer: Issuer) -> None:
    """Who refuses to sign in, an issuer that fails, and one that is another."""
    with trusting(tmp_path / "one", issuer, root_path="/log") as served:
        address, cookie = begin(served)
        state = parse_qs(urlsplit(address).query)["state"][0]
        callback = f"{served.url}{START}/callback"
        denied = finish(f"{callback}?{urlencode({'error': 'access_denied', 'state': state})}", cookie)
        assert denied.headers["location"] == "/log/login?failed=denied"
        other = finish(f"{callback}?{urlencode({'code': 'x', 'state': state, 'iss': 'https://x.example'})}", cookie)
        assert other.headers["location"] == "/log/login?failed=refused"
        issuer.status = 503
        answer = finish(issuer.sign_in(address).replace("/log/", "/"), cookie)
        assert answer.headers["location"] == "/log/login?failed=unavailable"
    issuer.named = "https://other.example"
    with trusting(tmp_path / "two", issuer) as served:
        assert httpx2.get(f"{served.url}{START}").headers["location"] == "/login?failed=unavailable"


def test_without_an_issuer_there_is_nothing(served: Served) -> None:
    """No address, and a session that an issuer began is no longer valid."""
    assert code_of(httpx2.get(f"{served.url}{START}")) == "not_found"
    secret = new_session_secret()
    hashed = session_hash(secret)
    assert hashed is not None
    of_subject = Session(hashed, "oidc:ada", time.time_ns() // 1000 + 60_000_000, "acme", (READ,))
    served.wait(served.store.credentials.put_session(of_subject))
    assert httpx2.get(served.url + SESSION, headers={"Cookie": f"vai_token={secret}"}).status_code == 401
    assert oidc_pages.START not in PATHS
