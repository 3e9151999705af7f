"""Every route of the served document, asked with every kind of credential, against a table of what must come."""

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx2
import pytest
from cryptography.hazmat.primitives import serialization

from tests.api.conftest import RUN_ID, Served, event, serving
from tests.api.credentials import ISSUER, SECRET, claims_of, jwt_of, raw_jwt, rsa_key
from tests.examples import soak
from whence.api import auth, reads, token_verifier
from whence.api.operator_tokens import PURPOSE, OperatorToken, seal_token
from whence.permissions import ADMIN, READ, WRITE, new_api_key, new_session_secret, new_sign_in_code
from whence.sealing import StoreSecret

ALL = (READ, WRITE, ADMIN)
EVENTS = "/api/v1/events"
TOKENS = "/api/v1/tenants/{tenant}/token"
TENANT = "/api/v1/session/tenant"
RULES = "/api/v1/alert-rules"
VIEWS = "/api/v1/views"
HOOKS = "/api/v1/webhooks"
RETENTION = "/api/v1/retention"
HOLDS = "/api/v1/holds"
ERASURES = "/api/v1/erasures"
HOUR_S = 3600

Headers = list[tuple[str, str]]

# What each route needs, and what it answers to one who may use it. One that is missing here fails the tests.

ROUTES: dict[tuple[str, str], tuple[str, int]] = {
    ("GET", EVENTS): ("read", 200),
    ("GET", f"{EVENTS}/aggregate"): ("read", 200),
    ("GET", f"{EVENTS}/histogram"): ("read", 200),
    ("GET", f"{EVENTS}/facets"): ("read", 200),
    ("GET", "/api/v1/actors"): ("read", 200),
    ("GET", "/api/v1/actors/{actor_type}/{actor_id}/summary"): ("read", 200),
    ("GET", "/api/v1/resources/{resource_type}/{resource_id}/summary"): ("read", 200),
    ("GET", f"{EVENTS}/correlation/{{correlation_id}}"): ("read", 200),
    ("GET", f"{EVENTS}/resource/{{resource_type}}/{{resource_id}}"): ("read", 200),
    ("GET", f"{EVENTS}/stats/by-actor"): ("read", 200),
    ("GET", f"{EVENTS}/feed"): ("read", 200),
    ("GET", f"{EVENTS}/stream"): ("read", 200),
    ("GET", f"{EVENTS}/suggest"): ("read", 200),
    ("GET", f"{EVENTS}/{{event_id}}"): ("read", 404),
    ("GET", f"{EVENTS}/{{event_id}}/trace"): ("read", 404),
    ("GET", f"{EVENTS}/reach"): ("read", 422),
    ("GET", f"{EVENTS}/export"): ("read", 200),
    ("GET", "/api/v1/references/{reference}"): ("read", 422),
    ("GET", "/api/v1/search"): ("read", 422),
    ("GET", "/api/v1/sentences"): ("any credential", 200),
    ("GET", "/api/v1/flows"): ("read", 200),
    ("GET", "/api/v1/flows/map"): ("read", 200),
    ("POST", EVENTS): ("write", 201),
    ("POST", f"{EVENTS}/batch"): ("write", 201),
    ("GET", "/api/v1/keys"): ("list keys", 200),
    ("POST", "/api/v1/keys"): ("admin", 201),
    ("DELETE", "/api/v1/keys/{key_id}"): ("admin", 404),
    ("GET", "/api/v1/followers"): ("read everything", 200),
    ("GET", VIEWS): ("read everything", 200),
    ("POST", VIEWS): ("read everything, same origin", 422),
    ("DELETE", f"{VIEWS}/{{view_id}}"): ("read everything, same origin", 404),
    ("GET", "/api/v1/log/checkpoint"): ("read everything", 404),
    ("GET", "/api/v1/log/checkpoints"): ("read everything", 200),
    ("POST", "/api/v1/log/epochs"): ("admin", 422),
    ("GET", "/api/v1/log/key"): ("read everything", 200),
    ("GET", "/api/v1/log/tile/{tile}"): ("read everything", 404),
    ("GET", "/api/v1/log/consistency"): ("read everything", 404),
    ("GET", "/api/v1/log/entries"): ("read everything", 404),
    ("GET", f"{EVENTS}/{{event_id}}/proof"): ("read everything", 404),
    ("GET", RULES): ("list keys", 200),
    ("POST", RULES): ("read and admin by its own key", 201),
    ("GET", f"{RULES}/{{rule_id}}"): ("list keys", 404),
    ("PATCH", f"{RULES}/{{rule_id}}"): ("admin", 422),
    ("DELETE", f"{RULES}/{{rule_id}}"): ("admin", 404),
    ("POST", f"{RULES}/test"): ("read and admin", 200),
    ("GET", HOOKS): ("list keys", 200),
    ("POST", HOOKS): ("read and admin by its own key", 201),
    ("GET", f"{HOOKS}/{{webhook_id}}"): ("list keys", 404),
    ("PATCH", f"{HOOKS}/{{webhook_id}}"): ("admin", 422),
    ("DELETE", f"{HOOKS}/{{webhook_id}}"): ("admin", 404),
    ("POST", f"{HOOKS}/{{webhook_id}}/secret"): ("admin", 404),
    ("POST", f"{HOOKS}/{{webhook_id}}/test"): ("admin", 404),
    ("GET", f"{HOOKS}/{{webhook_id}}/deliveries"): ("list keys", 404),
    ("GET", f"{HOOKS}/{{webhook_id}}/deliveries/{{position}}"): ("list keys", 404),
    ("POST", f"{HOOKS}/{{webhook_id}}/deliveries/{{position}}/resend"): ("admin", 404),
    ("POST", f"{HOOKS}/{{webhook_id}}/replay"): ("admin", 422),
    ("GET", RETENTION): ("read and list keys", 200),
    ("PUT", RETENTION): ("read and admin", 200),
    ("GET", f"{RETENTION}/preview"): ("read and list keys", 200),
    ("POST", f"{RETENTION}/preview"): ("read and admin", 200),
    ("POST", f"{RETENTION}/apply"): ("read and admin", 202),
    ("GET", HOLDS): ("read and list keys", 200),
    ("POST", HOLDS): ("read and admin", 422),
    ("DELETE", f"{HOLDS}/{{hold_id}}"): ("read and admin", 404),
    ("GET", ERASURES): ("read and list keys", 200),
    ("POST", ERASURES): ("read and admin", 200),
    ("GET", f"{ERASURES}/{{erasure_id}}"): ("read and list keys", 404),
    ("GET", "/api/v1/tenants"): ("operator", 200),
    ("POST", TOKENS): ("operator", 201),
    ("GET", "/metrics"): ("operator", 200),
    ("GET", "/api/v1/session"): ("anyone", 200),
    ("POST", "/api/v1/session"): ("begin", 201),
    ("POST", "/api/v1/session/links"): ("begin by its own key", 201),
    ("POST", "/api/v1/session/redeem"): ("a code, which nobody has here", 401),
    ("DELETE", "/api/v1/session"): ("end", 204),
    ("GET", "/api/v1/session/tenants"): ("any credential", 200),
    ("POST", TENANT): ("choose a tenant", 201),
    ("GET", "/livez"): ("nothing", 200),
    ("GET", "/readyz"): ("nothing", 200),
    ("GET", "/openapi.json"): ("nothing", 200),
    ("GET", "/docs"): ("nothing", 200),
}

NEEDS = ("read", "write", "list keys", "admin", "begin", "end", "operator")
OK = 0
"""The route's own answer to one who may use it."""

NOBODY = (401,) * 7
TABLE: dict[str, tuple[int, ...]] = {
    # who                      read write keys admin begin end operator
    "read key": (OK, 403, 403, 403, OK, OK, 403),
    "write key": (403, OK, 403, 403, OK, OK, 403),
    "admin key": (403, 403, OK, OK, OK, OK, 403),
    "all key": (OK, OK, OK, OK, OK, OK, 403),
    "narrowed key": (OK, 403, 403, 403, OK, OK, 403),
    "key in X-API-Key": (OK, OK, OK, OK, OK, OK, 403),
    "key of another tenant": (OK, OK, 403, 403, OK, OK, 403),
    "good key beside a bad cookie": (OK, OK, OK, OK, OK, OK, 403),
    "good X-API-Key beside a bad cookie": (OK, OK, OK, OK, OK, OK, 403),
    "session, same origin": (OK, OK, OK, OK, 403, OK, 403),
    "session, its origin named": (OK, OK, OK, OK, 403, OK, 403),
    "session, cross-site": (OK, 403, OK, 403, 403, 403, 403),
    "session, other origin": (OK, 403, OK, 403, 403, 403, 403),
    "session, origin not said": (OK, 403, OK, 403, 403, 403, 403),
    "session of a read key, same origin": (OK, 403, 403, 403, 403, OK, 403),
    "token": (OK, OK, OK, OK, 403, OK, 403),
    "token that may read": (OK, 403, 403, 403, 403, OK, 403),
    "token with a list of scopes": (OK, OK, OK, OK, 403, OK, 403),
    "token that is narrowed": (OK, 403, 403, 403, 403, OK, 403),
    "token of two audiences": (OK, OK, OK, OK, 403, OK, 403),
    "token in the cookie, same origin": (OK, OK, OK, OK, 403, OK, 403),
    "token in the cookie, cross-site": (OK, 403, OK, 403, 403, 403, 403),
    "token without scopes": (403, 403, 403, 403, 403, OK, 403),
    "token with unknown scopes": (403, 403, 403, 403, 403, OK, 403),
    "operator's key": (403, 403, 403, 403, 403, OK, OK),
    "operator's key in X-API-Key": (403, 403, 403, 403, 403, OK, OK),
    "operator's token": (OK, OK, OK, OK, OK, OK, 403),
    "operator's token that is narrowed": (OK, 403, 403, 403, OK, OK, 403),
    "operator's token of a narrower ceiling": (403, OK, 403, 403, OK, OK, 403),
    "session of an operator's token, same origin": (OK, OK, OK, OK, 403, OK, 403),
    "session of an operator, same origin": (OK, OK, OK, OK, 403, OK, 403),
    "session of an operator, cross-site": (OK, 403, OK, 403, 403, 403, 403),
    "session of an operator with a narrow ceiling, same origin": (403, OK, 403, 403, 403, OK, 403),
}
"""The status for each credential that is valid. Every one in `forgeries` and `nobody` gets a 401."""


def token(**claims: Any) -> str:
    """A valid token, unless these claims make it invalid."""
    return jwt_of(**({"iss": ISSUER, "aud": "whence", "scope": " ".join(ALL)} | claims))


def bearer(secret: str) -> Headers:
    return [("Authorization", f"Bearer {secret}")]


def cookie(secret: str, *more: tuple[str, str]) -> Headers:
    return [("Cookie", f"vai_token={secret}"), *more]


def session(served: Served, *scopes: str) -> str:
    """A new session, by the route that makes them."""
    return session_by(served, [("X-API-Key", served.key(*(scopes or ALL)))])


def session_by(served: Served, headers: Headers) -> str:
    answer = httpx2.post(f"{served.url}/api/v1/session", headers=headers)
    assert answer.status_code == 201
    made: str = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
    return made


def chosen(served: Served, *ceiling: str) -> str:
    """A session in the tenant acme that an operator's key began."""
    headers = bearer(served.operator_key(*ceiling))
    answer = httpx2.post(f"{served.url}{TENANT}", headers=headers, json={"tenantId": "acme"})
    assert answer.status_code == 201, answer.text
    made: str = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
    return made


def exchanged(served: Served, *scopes: str, **more: Any) -> str:
    """A token for the tenant acme, by the route that makes them."""
    answer = httpx2.post(
        f"{served.url}/api/v1/tenants/acme/token",
        headers=bearer(served.operator_key(*scopes, **more)),
        json={"scopes": list(scopes)},
    )
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["token"]
    return made


def sealed(served: Served, key: str, secret: StoreSecret | None = None, **changes: Any) -> str:
    """A token that a server would have to seal: for this key, and with what is changed."""
    fields = {"key_id": key_id_of(served, key), "tenant": "acme", "scopes": ALL, "expires_at": IN_AN_HOUR} | changes
    return seal_token((secret or served.secret).sealer(PURPOSE), OperatorToken(**fields))


IN_AN_HOUR = time.time_ns() // 1000 + HOUR_S * 1_000_000

SAME = ("Sec-Fetch-Site", "same-origin")
CROSS = ("Sec-Fetch-Site", "cross-site")


@cache
def known(served: Served) -> dict[str, Headers]:
    """Valid keys and tokens."""
    return {
        "read key": bearer(served.key(READ)),
        "write key": bearer(served.key(WRITE)),
        "admin key": bearer(served.key(ADMIN)),
        "all key": bearer(served.key(*ALL)),
        "narrowed key": bearer(served.key(f"{READ}:decision")),
        "key in X-API-Key": [("X-API-Key", served.key(*ALL))],
        "key of another tenant": bearer(served.key(READ, WRITE, tenant="other")),
        "good key beside a bad cookie": [*cookie("bad"), *bearer(served.key(*ALL))],
        "good X-API-Key beside a bad cookie": [*cookie("bad"), ("X-API-Key", served.key(*ALL))],
        "token": bearer(token()),
        "token that may read": bearer(token(scope=READ)),
        "token with a list of scopes": bearer(token(scope=list(ALL))),
        "token that is narrowed": bearer(token(scope=f"{READ}:decision")),
        "token of two audiences": bearer(token(aud=["x", "whence"])),
        "token in the cookie, same origin": cookie(token(), SAME),
        "token in the cookie, cross-site": cookie(token(), CROSS),
        "operator's key": bearer(served.operator_key(READ)),
        "operator's key in X-API-Key": [("X-API-Key", served.operator_key(READ))],
        "operator's token": bearer(exchanged(served, *ALL)),
        "operator's token that is narrowed": bearer(exchanged(served, f"{READ}:decision")),
        # Only a server can seal such a token. It stands for one that was made before the ceiling was compared.
        "operator's token of a narrower ceiling": bearer(sealed(served, served.operator_key(WRITE), scopes=ALL)),
        "token without scopes": bearer(token(scope=None)),
        "token with unknown scopes": bearer(token(scope="root events:all ADMIN")),
    }


@cache
def sessions(served: Served, route: str) -> dict[str, Headers]:
    """Valid sessions. A route about sessions may end them, so each of those gets its own."""
    return {
        "session, same origin": cookie(session(served), SAME),
        "session, its origin named": cookie(session(served), ("Origin", served.url)),
        "session, cross-site": cookie(session(served), CROSS),
        "session, other origin": cookie(session(served), ("Origin", "https://evil.example")),
        "session, origin not said": cookie(session(served)),
        "session of a read key, same origin": cookie(session(served, READ), SAME),
        "session of an operator's token, same origin": cookie(
            session_by(served, bearer(exchanged(served, *ALL))), SAME
        ),
        "session of an operator, same origin": cookie(chosen(served, *ALL), SAME),
        "session of an operator, cross-site": cookie(chosen(served, *ALL), CROSS),
        "session of an operator with a narrow ceiling, same origin": cookie(chosen(served, WRITE), SAME),
    }


@cache
def nobody(served: Served) -> dict[str, Headers]:
    """No credential, or one that is not valid."""
    key, session_ = served.key(*ALL), session(served)
    mistyped = key[:-1] + ("a" if key[-1] != "a" else "b")
    gone, ended = served.key(*ALL), session(served)
    with httpx2.Client(base_url=served.url, headers=bearer(served.key(ADMIN))) as admin:
        for one in admin.get("/api/v1/keys").json()["keys"]:
            if one["id"] == key_id_of(served, gone):
                assert admin.delete(f"/api/v1/keys/{one['id']}").status_code == 204
    assert httpx2.delete(f"{served.url}/api/v1/session", headers=cookie(ended, SAME)).status_code == 204
    return {
        "none": [],
        "malformed": bearer("malformed"),
        "empty": [("Authorization", "")],
        "empty bearer": [("Authorization", "Bearer")],
        "basic": [("Authorization", f"Basic {key}")],
        "bare key": [("Authorization", key)],
        "a word behind it": bearer(f"{key} x"),
        "mistyped key": bearer(mistyped),
        "unknown key": bearer(new_api_key("acme", ALL, 0)[0]),
        "expired key": bearer(served.key(*ALL, expires_at=time.time_ns() // 1000 - 1)),
        "revoked key": bearer(gone),
        "revoked key in X-API-Key": [("X-API-Key", gone)],
        "key in the cookie": cookie(key, SAME),
        "session as bearer": bearer(session_),
        "session as X-API-Key": [("X-API-Key", session_)],
        "ended session": cookie(ended, SAME),
        "unknown session": cookie(new_session_secret(), SAME),
        "key sent twice": bearer(key) + bearer(key),
        "X-API-Key sent twice": [("X-API-Key", key), ("X-API-Key", key)],
        "session sent twice": cookie(f"{session_}; vai_token={session_}", SAME),
        "two keys in one header": bearer(f"{key}, Bearer {key}"),
        "bad bearer beside a good X-API-Key": [*bearer(mistyped), ("X-API-Key", key)],
        "bad bearer beside a good session": [*bearer(mistyped), *cookie(session_, SAME)],
        "bad X-API-Key beside a good session": [("X-API-Key", mistyped), *cookie(session_, SAME)],
        "empty X-API-Key beside a good session": [("X-API-Key", ""), *cookie(session_, SAME)],
        "basic beside a good X-API-Key": [("Authorization", "Basic eDp5"), ("X-API-Key", key)],
        "token as X-API-Key": [("X-API-Key", token())],
        **ended_operators(served),
    }


def ended_operators(served: Served) -> dict[str, Headers]:
    """Operators' tokens that are not valid, for each reason."""
    good, live = exchanged(served, *ALL), served.operator_key(*ALL)
    past = time.time_ns() // 1000 - 1
    gone, late = served.operator_key(*ALL), served.operator_key(*ALL, expires_at=past)
    of_gone = sealed(served, gone)
    assert served.wait(served.store.credentials.revoke_key("", key_id_of(served, gone), past))
    tokens = {
        "of a revoked key": of_gone,
        "of an expired key": sealed(served, late),
        "of no key": sealed(served, live, key_id="key_0000000000000000"),
        "of a tenant's key": sealed(served, served.key(*ALL)),
        "that expired": sealed(served, live, expires_at=past),
        "of another secret": sealed(served, live, StoreSecret.random()),
        "that was changed": good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        "that was cut": good[:-4],
        "that is empty": "wht_",
    }
    held = {f"operator's token {name}": bearer(text) for name, text in tokens.items()}
    return held | {
        "operator's token as X-API-Key": [("X-API-Key", good)],
        "operator's token in the cookie": cookie(good, SAME),
        "revoked operator's key": bearer(gone),
        "expired operator's key": bearer(late),
        "operator's key in the cookie": cookie(live, SAME),
    }


def key_id_of(served: Served, secret: str) -> str:
    """The public id of a key."""
    hashed = auth.key_hash(secret)
    assert hashed is not None
    found = served.wait(served.store.credentials.find_key(hashed))
    assert found is not None
    return found.id


@cache
def forgeries() -> dict[str, Headers]:
    """Tokens that are not valid where HS256, an issuer and an audience are configured."""
    now = int(time.time())
    claims = claims_of(iss=ISSUER, aud="whence", scope=" ".join(ALL))
    head, body, signature = token().split(".")
    public = rsa_key().public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    forged = {
        "expired": token(exp=now - 1, iat=now - 60),
        "expires now": token(exp=now, iat=now - 60),
        "wrong secret": jwt_of(SECRET + "x", **claims),
        "alg none": raw_jwt({"alg": "none"}, claims),
        "alg none, unsigned": f"{raw_jwt({'alg': 'none'}, claims).rpartition('.')[0]}.",
        "alg confusion": raw_jwt({"alg": "HS256"}, claims, pem),
        "signed by RS256": jwt_of(rsa_key(), "RS256", **claims),
        "HS512": jwt_of(SECRET * 3, "HS512", **claims),
        "jwk in the header": jwt_of(SECRET + "x", headers={"jwk": {"kty": "oct", "k": "eA"}}, **claims),
        "kid of a file": jwt_of(SECRET + "x", headers={"kid": "/dev/null"}, **claims),
        "missing exp": token(exp=None),
        "exp as text": raw_jwt({"alg": "HS256"}, claims | {"exp": str(now + 60)}),
        "exp true": raw_jwt({"alg": "HS256"}, claims | {"exp": True}),
        # Too long by an hour, so that it stays too long however slowly the tests run.
        "too long life": token(exp=now + 25 * HOUR_S),
        "too long life, iat left out": token(exp=now + 25 * HOUR_S, iat=None),
        "issued in the future": token(iat=now + HOUR_S, exp=now + 2 * HOUR_S),
        "not yet": token(nbf=now + HOUR_S),
        "wrong audience": token(aud="other"),
        "no audience": token(aud=None),
        "wrong issuer": token(iss="https://evil.example"),
        "no issuer": token(iss=None),
        "no tenant": token(tenant_id=None),
        "bad tenant": token(tenant_id="a/b"),
        "empty tenant": token(tenant_id=""),
        "tenant as a list": token(tenant_id=["acme"]),
        "tenant too long": token(tenant_id="a" * 65),
        "no signature": f"{head}.{body}.",
        "other body": f"{head}.{token(tenant_id='other').split('.')[1]}.{signature}",
    }
    held = {f"token: {name}": bearer(value) for name, value in forged.items()}
    return held | {f"cookie: {name}": cookie(value, SAME) for name, value in forged.items()}


def credentials(served: Served, method: str, path: str) -> dict[str, tuple[Headers, tuple[int, ...]]]:
    """Every state, its headers for a route, and what it gets by what the route needs."""
    own = sessions(served, f"{method} {path}" if path.startswith("/api/v1/session") else "any other")
    states = {name: (headers, TABLE[name]) for name, headers in (known(served) | own).items()}
    assert states.keys() == TABLE.keys()
    return states | {name: (headers, NOBODY) for name, headers in (nobody(served) | forgeries()).items()}


def ask(client: httpx2.Client, method: str, path: str, headers: Headers) -> httpx2.Response:
    """One request, good in all but perhaps its credential."""
    filled = path.format(
        correlation_id="c",
        resource_type="decision",
        actor_type="agent",
        actor_id="planner",
        resource_id=RUN_ID,
        event_id=RUN_ID,
        reference="@",
        key_id="key_0000000000000000",
        rule_id=RUN_ID,
        view_id=RUN_ID,
        webhook_id=RUN_ID,
        hold_id=RUN_ID,
        erasure_id=RUN_ID,
        position="1",
        tile="0/000",
        tenant="acme",
    )
    bodies = {
        EVENTS: event(),
        f"{EVENTS}/batch": [event()],
        "/api/v1/keys": {"scopes": [ADMIN]},
        TOKENS: {"scopes": [READ]},
        TENANT: {"tenantId": "acme"},
        RULES: {"name": "n", "condition": {"kind": "match"}, "filters": {"eventType": "never.seen"}},
        HOOKS: {"url": "https://8.8.8.8/", "enabled": False},
        "/api/v1/session/redeem": {"code": new_sign_in_code()},
        RETENTION: {"maxAgeDays": None},
        f"{RETENTION}/preview": {"maxAgeDays": None},
        ERASURES: {"q": "actor:user/nobody", "reason": "r", "dryRun": True},
        f"{RULES}/test": {"rule": {"condition": {"kind": "match"}}, "over": "1h"},
    }
    body = bodies.get(path) if method in ("POST", "PUT") else None
    client.cookies.clear()  # those of the last answer
    sent = [("X-Request-Id", "fixed"), *headers]
    if path == f"{EVENTS}/stream":
        with client.stream(method, filled, headers=sent) as answer:
            if answer.status_code != 200:  # else it would never end
                answer.read()
            return answer
    return client.request(method, filled, headers=sent, json=body)


def wanted_of(need: str, state: str, row: tuple[int, ...]) -> int:
    """The status for a credential by its row, or `OK`."""
    if need == "any credential":
        return 401 if row is NOBODY else OK
    if need.startswith("read everything"):
        origin = row[NEEDS.index("end")] if "same origin" in need else OK
        return 403 if "narrowed" in state and row is not NOBODY else row[NEEDS.index("read")] or origin
    if need == "anyone":
        return 401 if row == NOBODY else OK
    if need == "begin by its own key":
        return 403 if row != NOBODY and state.startswith("operator's token") else row[NEEDS.index("begin")]
    if need == "choose a tenant":
        may = state.startswith(("operator's key", "session of an operator")) and "token" not in state
        return 401 if row is NOBODY else OK if may and "cross-site" not in state else 403
    if need.startswith("a code"):
        return 403 if row != NOBODY and state.endswith(("cross-site", "other origin")) else OK
    if need == "read and list keys":
        return row[NEEDS.index("read")] or row[NEEDS.index("list keys")]
    if need.startswith("read and admin"):
        has_key = not state.startswith("token") and not ("own key" in need and "operator" in state)
        return row[NEEDS.index("read")] or row[NEEDS.index("admin")] or (OK if has_key or need[-3:] != "key" else 403)
    return OK if need == "nothing" else row[NEEDS.index(need)]


def is_tried(verb: str, path: str, state: str, row: tuple[int, ...]) -> bool:
    """Whether the short form has this cell: each credential that is valid, and none; and a quarter of the bad ones and
    of HEAD, others from route to route, since what refuses them is the same for all routes."""
    is_always = state == "none" or (row is not NOBODY and verb != "HEAD")
    return is_always or crc32(f"{verb} {path} {state}".encode()) % 4 == 0


def failures(served: Served, routes: dict[tuple[str, str], tuple[str, int]], *, short: bool = False) -> list[str]:
    """The cells that are not as the table says, and 401s that are not alike."""
    found: list[str] = []
    refusals: dict[tuple[int, str], set[tuple[bytes, str]]] = {}
    with httpx2.Client(base_url=served.url, timeout=20) as client:
        for (method, path), (need, good) in routes.items():
            for state, (headers, row) in credentials(served, method, path).items():
                wanted = wanted_of(need, state, row)
                for verb in (method, "HEAD") if method == "GET" else (method,):
                    if short and not is_tried(verb, path, state, row):
                        continue
                    answer = ask(client, verb, path, headers)
                    if answer.status_code != (wanted or good):
                        found.append(f"{verb} {path} by {state}: {answer.status_code}, not {wanted or good}")
                    if answer.status_code == 401:
                        shown = sorted((name, value) for name, value in answer.headers.items() if name != "date")
                        refusals.setdefault((401, verb), set()).add((answer.content, str(shown)))
    for (_, verb), seen in refusals.items():
        if verb != "HEAD" and len(seen) > 1:
            found.append(f"{len(seen)} kinds of 401 by {verb}")
    return found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that takes tokens of one issuer for one audience."""
    with guarded_server(tmp_path_factory.mktemp("matrix")) as running:
        yield running


def guarded_server(folder: Path) -> Any:
    return serving(
        folder, jwt_secret=SECRET, jwt_issuer=ISSUER, jwt_audience="whence", bad_credentials_per_minute=10**9
    )


def test_the_table_names_every_route(guarded: Served) -> None:
    """A route of the served document that the table does not know fails here, and so does one that is gone."""
    document = httpx2.get(f"{guarded.url}/openapi.json").json()
    served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert served == ROUTES.keys()


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_every_credential_gets_what_the_table_says(guarded: Served, route: tuple[str, str]) -> None:
    """Each cell of the route's row, and one and the same 401 for every cause."""
    assert failures(guarded, {route: ROUTES[route]}, short=not soak()) == []


def test_all_routes_refuse_alike(guarded: Served) -> None:
    """The 401 of all routes is the same but for the request id, so that it reveals nothing about them."""
    answers = set()
    with httpx2.Client(base_url=guarded.url, timeout=20) as client:
        for (method, path), (need, _) in ROUTES.items():
            for headers in ([], bearer("bad"), bearer(token(aud="x"))) if need != "nothing" else ():
                answer = ask(client, method, path, headers)
                shown = sorted((name, value) for name, value in answer.headers.items() if name != "date")
                answers.add((answer.status_code, answer.content, str(shown)))
    assert len(answers) == 1, answers


LIST = {("GET", EVENTS): ROUTES[("GET", EVENTS)]}


@pytest.mark.slow
def test_a_route_without_the_guard_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: one route is declared open to everyone."""
    monkeypatch.setitem(reads.aggregate.opt, "open", True)
    route = ("GET", f"{EVENTS}/aggregate")
    with guarded_server(tmp_path) as served:
        assert any("by none: " in cell for cell in failures(served, {route: ROUTES[route]}))


@pytest.mark.slow
def test_a_route_with_another_scope_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: a route that reads asks for the scope to write."""
    monkeypatch.setitem(reads.list_events.opt, "scope", WRITE)
    with guarded_server(tmp_path) as served:
        found = failures(served, LIST)
    assert any("by read key: 403" in cell for cell in found) and any("by write key: 200" in cell for cell in found)


def falls_through(carrier: Callable[..., Any]) -> Callable[..., Any]:
    """Mutant: after a bearer that is neither a key nor a token, the next carrier decides."""

    def mutant(scope: dict[str, Any]) -> Any:
        found = carrier(scope)
        if found and found[0] == "bearer" and (found[1] is None or auth.key_hash(found[1]) is None):
            rest = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            return carrier({**scope, "headers": rest}) or found
        return found

    return mutant


def first_of_two(carrier: Callable[..., Any]) -> Callable[..., Any]:
    """Mutant: of a carrier that was sent twice the first counts."""

    def mutant(scope: dict[str, Any]) -> Any:
        return carrier({**scope, "headers": list(dict(reversed(scope["headers"])).items())})

    return mutant


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "state"),
    [(falls_through, "bad bearer beside a good X-API-Key"), (first_of_two, "key sent twice")],
    ids=["falls through", "first of two"],
)
def test_a_carrier_that_does_not_decide_is_found(
    guarded: Served, monkeypatch: pytest.MonkeyPatch, mutant: Callable[..., Any], state: str
) -> None:
    """If a bad carrier falls through to another, or one that was sent twice is accepted, its cells fail."""
    monkeypatch.setattr(auth, "_carrier", mutant(auth._carrier))
    assert any(f"by {state}: 200" in cell for cell in failures(guarded, LIST))


@pytest.mark.slow
def test_a_token_of_any_audience_is_found(tmp_path: Path) -> None:
    """Mutant: the audience is not configured, so that the tokens of other services hold."""
    settings = {"jwt_secret": SECRET, "jwt_issuer": ISSUER, "bad_credentials_per_minute": 10**9}
    with serving(tmp_path, **settings) as served:
        assert any("by token: wrong audience: 200" in cell for cell in failures(served, LIST))


@pytest.mark.slow
def test_a_401_that_tells_its_cause_is_found(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: one cause has a sentence of its own."""
    verify = token_verifier.TokenVerifier.verify

    async def telling(self: Any, secret: str, *, via_cookie: bool) -> Any:
        try:
            return await verify(self, secret, via_cookie=via_cookie)
        except token_verifier.TokenRefused:
            if secret.count(".") != 2:
                raise
            error = auth.Unauthenticated()
            error.args = ("This token does not hold.",)
            raise error from None

    monkeypatch.setattr(token_verifier.TokenVerifier, "verify", telling)
    assert "2 kinds of 401 by GET" in failures(guarded, LIST)
