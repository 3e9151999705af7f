"""Tokens and their forgeries, and the public keys of their issuer."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from jwt.algorithms import RSAAlgorithm

from tests.api.credentials import (
    ISSUER,
    SECRET,
    Clock,
    Issuer,
    bearer,
    claims_of,
    ec_key,
    ed_key,
    jwk,
    jwt_of,
    raw_jwt,
    refused,
    request,
    rsa_key,
    running_issuer,
)
from tests.unit.mutants import Mutant, catches, replaced
from whence.api import auth, jwks, token_verifier
from whence.api.auth import Authenticator
from whence.api.jwks import FETCH_INTERVAL_S, JwksCache, parse_jwks
from whence.errors import Forbidden, Unauthenticated, Unavailable
from whence.permissions import Principal
from whence.settings import Settings
from whence.storage import Store, create_store


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = create_store(f"sqlite:///{tmp_path / 'whence.db'}")
    yield opened
    await opened.close()


async def verify(store: Store, token: str, **settings: Any) -> Principal | None:
    authenticator = Authenticator(Settings(**{"jwt_secret": SECRET, **settings}), store)
    try:
        return await authenticator.authenticate(request(bearer(token)))
    except Unauthenticated:
        return None
    finally:
        await authenticator.close()


async def test_a_good_token_says_who_and_what(store: Store) -> None:
    claims = {"scope": "openid events:write events:read:decision events:read:nothing", "exp": int(time.time()) + 600}
    principal = await verify(store, jwt_of(**claims))
    assert principal == Principal(
        tenant="acme",
        scopes=frozenset(("events:write", "events:read:decision")),
        key_id=None,
        subject="jwt:ada",
        expires_at=claims["exp"] * 1_000_000,
    )
    assert await verify(store, raw_jwt({"alg": "HS256"}, claims_of())) is not None


def checked_by_pyjwt(claim: str) -> Mutant:
    """A mutant: PyJWT checks the kind of this claim."""
    real = token_verifier.jwt.decode

    def decode(*of: Any, options: Any, **more: Any) -> Any:
        return real(*of, options=options | {f"verify_{claim}": True}, **more)

    return replaced(token_verifier.jwt, "decode", decode, f"{claim}_is_checked")


@catches(checked_by_pyjwt("sub"), checked_by_pyjwt("jti"))
async def test_sub_and_jti_may_be_of_any_kind(store: Store) -> None:
    """They decide nothing."""
    subjects = [(7, "jwt:7"), (None, "jwt:"), (["ada"], "jwt:"), ({"id": 7}, "jwt:"), ("a" * 300, "jwt:" + "a" * 251)]
    for sub, subject in subjects:
        principal = await verify(store, raw_jwt({"alg": "HS256"}, {**claims_of(), "sub": sub, "jti": 7}))
        assert principal is not None, sub
        assert principal.subject == subject


@catches(replaced(token_verifier, "_TOKEN", re.compile(r"[\w=-]+\.[\w=-]+\.[\w=-]+"), "padding_is_accepted"))
async def test_a_padded_token_is_refused(store: Store) -> None:
    """RFC 7515 leaves the padding out; of a token there is one form."""
    header, body, signature = (part + "=" * (-len(part) % 4) for part in jwt_of().split("."))
    bare = [part.rstrip("=") for part in (header, body, signature)]
    assert await verify(store, ".".join(bare)) is not None
    for index, padded in enumerate((header, body, signature)):
        parts = [*bare[:index], padded if padded != bare[index] else padded + "=", *bare[index + 1 :]]
        assert await verify(store, ".".join(parts)) is None
    assert await verify(store, jwt_of() + "=") is None


REASONS = {
    "it has expired": {"exp": 1},
    "exp, iat or nbf is no time": {"iat": "now"},
    "iat or nbf lies in the future": {"nbf": 2**40},
    "its life is longer than 86400 seconds": {"exp": 2**40},
    "the claim of the tenant is missing, or names none": {"tenant_id": "a/b"},
}


class OneReason(token_verifier.TokenRefused):
    def __str__(self) -> str:
        return "refused"


@catches(
    replaced(token_verifier, "TokenRefused", OneReason, "no_reason"),
    replaced(auth, "token_kid", lambda _token: None, "no_key_id"),
    replaced(auth, "token_kid", lambda token: token, "the_token_is_logged"),
)
async def test_the_log_says_why_a_token_was_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the address of the client and the id of the key, and without any of the token."""
    logged: list[dict[str, Any]] = []
    record = SimpleNamespace(info=lambda event, **fields: logged.append({"event": event, **fields}))
    monkeypatch.setattr(auth, "_log", record)
    tokens = {raw_jwt({"alg": "HS256", "kid": "k1"}, claims_of(**more)): reason for reason, more in REASONS.items()}
    tokens[raw_jwt({"alg": "HS256", "kid": "k1"}, claims_of(), b"another secret of 32 bytes, or more")] = (
        "it does not verify: InvalidSignatureError"
    )
    tokens[raw_jwt({"alg": "RS256", "kid": "k1"}, claims_of())] = "the algorithm is not configured"
    for token, reason in tokens.items():
        logged.clear()
        assert await verify(store, token) is None
        assert [(line["event"], line["reason"], line["kid"]) for line in logged] == [("token_refused", reason, "k1")]
        assert logged[0]["client"] == "192.0.2.1"
        assert not any(part in repr(logged) for part in token.split("."))
    logged.clear()
    assert await verify(store, "not.a.token") is None
    assert logged[0]["reason"] == "not an API key or a JWT that can be read"
    assert logged[0]["kid"] is None


def skip_silently(patch: pytest.MonkeyPatch) -> None:
    real = jwks.parse_jwks
    patch.setattr(jwks, "parse_jwks", lambda body, _on_skipped: real(body, lambda _kid, _reason: None))


@catches(skip_silently)
async def test_the_log_names_the_keys_of_an_issuer_that_are_skipped(
    guarded: Authenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its reason, once for the same document."""
    logged: list[dict[str, Any]] = []
    record = SimpleNamespace(
        info=lambda _event, **_fields: None, warning=lambda event, **fields: logged.append({"event": event, **fields})
    )
    monkeypatch.setattr(jwks, "_log", record)
    key = rsa_key()
    issuer.publish(jwk(key, kid="good"), jwk(key, kid="odd") | {"use": "enc"})
    await guarded.authenticate(issued(key, "RS256", "good"))
    assert logged == [{"event": "jwks_key_skipped", "kid": "odd", "reason": "not a key for signatures"}]


def one_reason(_jwk: Any) -> Any:
    raise ValueError("not a key")


@catches(replaced(jwks, "_parse_key", one_reason, "one_reason_for_all"))
def test_each_key_of_an_issuer_that_is_skipped_has_a_reason() -> None:
    """The others are taken."""
    good, skipped = jwk(rsa_key(), kid="r"), []
    keys = [{**good, "use": "enc"}, good, 7, {**good, "alg": "RS512"}, {**good, "kid": 7}, {**good, "n": ""}]
    found = parse_jwks(json.dumps({"keys": keys}).encode(), lambda kid, reason: skipped.append((kid, reason)))
    assert [key.kid for key in found] == ["r"]
    assert skipped == [
        ("r", "not a key for signatures"),
        ("", "not an object"),
        ("r", "its alg is not one that such a key verifies here"),
        ("7", "its kid is not text"),
        ("r", "not a sound RSA key of 2048 bits or more, P-256 key or Ed25519 key"),
    ]


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ("events:read admin", {"events:read", "admin"}),
        (["events:read", "admin", "other"], {"events:read", "admin"}),
        ("", set()),
        (None, set()),
        ([], set()),
        ("openid", set()),
        ("events:read,admin", set()),
        (7, set()),
        ({"events:read": True}, set()),
        (["events:read", 7], set()),
        ([["events:read"]], set()),
    ],
)
async def test_a_token_without_scopes_holds_but_may_nothing(store: Store, claim: Any, scopes: set[str]) -> None:
    principal = await verify(store, jwt_of(scope=claim))
    assert principal is not None
    assert principal.scopes == scopes
    if not scopes:
        with pytest.raises(Forbidden, match="events:read"):
            principal.require("events:read")


async def test_the_claims_are_those_of_the_settings(store: Store) -> None:
    token = jwt_of(org="umbrella", permissions=["admin"], tenant_id="acme")
    principal = await verify(store, token, jwt_tenant_claim="org", jwt_scopes_claim="permissions")
    assert principal is not None
    assert (principal.tenant, principal.scopes) == ("umbrella", frozenset(("admin",)))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": 0},
        {"exp": -1},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": [9999999999]},
        {"exp": {}},
        {"exp": 10**400},
        {"tenant_id": None},
        {"tenant_id": ""},
        {"tenant_id": "a/b"},
        {"tenant_id": "acme\n"},
        {"tenant_id": "a" * 65},
        {"tenant_id": ["acme"]},
        {"tenant_id": 7},
        {"tenant_id": {"acme": 1}},
        {"iat": "now"},
        {"iat": True},
        {"nbf": "now"},
        {"nbf": []},
    ],
)
async def test_a_claim_that_is_missing_or_of_another_kind_is_refused(store: Store, changes: dict[str, Any]) -> None:
    claims = claims_of(**changes)
    assert await verify(store, raw_jwt({"alg": "HS256", "typ": "JWT"}, claims)) is None


@pytest.mark.parametrize(
    ("iat", "exp", "nbf", "holds"),
    [
        (-10, 600, None, True),
        (-10, 600, -10, True),
        (-10, -1, None, False),
        (-10, 600, 60, False),
        (60, 600, None, False),
        (-10, 24 * 3600 - 10, None, True),
        (-10, 24 * 3600 - 9, None, False),
        (-30 * 3600, 60, None, False),
        (None, 24 * 3600 - 5, None, True),
        (None, 24 * 3600 + 60, None, False),
        (None, 10**12, None, False),
        (-10.5, 600.25, None, True),
    ],
)
async def test_a_token_holds_in_its_time_and_for_a_day_at_most(
    store: Store, iat: float | None, exp: float, nbf: float | None, holds: bool
) -> None:
    """Its life is from `iat`, or from now when it has none, to `exp`."""
    now = int(time.time())
    times: dict[str, Any] = {
        name: None if at is None else now + at for name, at in (("iat", iat), ("exp", exp), ("nbf", nbf))
    }
    assert (await verify(store, jwt_of(**times)) is not None) is holds


async def test_an_operator_may_allow_a_shorter_life(store: Store) -> None:
    assert await verify(store, jwt_of(), jwt_max_lifetime_s=600) is not None
    assert await verify(store, jwt_of(), jwt_max_lifetime_s=599) is None


@pytest.mark.parametrize(
    ("configured", "claims", "holds"),
    [
        ({"jwt_issuer": ISSUER}, {"iss": ISSUER}, True),
        ({"jwt_issuer": ISSUER}, {}, False),
        ({"jwt_issuer": ISSUER}, {"iss": ISSUER + "/"}, False),
        ({"jwt_issuer": ISSUER}, {"iss": "https"}, False),
        ({"jwt_issuer": ISSUER}, {"iss": [ISSUER]}, False),
        ({"jwt_audience": "whence"}, {"aud": "whence"}, True),
        ({"jwt_audience": "whence"}, {"aud": ["other", "whence"]}, True),
        ({"jwt_audience": "whence"}, {}, False),
        ({"jwt_audience": "whence"}, {"aud": "other"}, False),
        ({"jwt_audience": "whence"}, {"aud": "whence2"}, False),
        ({"jwt_audience": "whence"}, {"aud": []}, False),
        ({"jwt_audience": "whence"}, {"aud": {"whence": 1}}, False),
        ({}, {"iss": "anyone", "aud": "anything"}, True),
    ],
)
async def test_issuer_and_audience_are_those_of_the_settings(
    store: Store, configured: dict[str, str], claims: dict[str, Any], holds: bool
) -> None:
    token = raw_jwt({"alg": "HS256"}, claims_of(**claims))
    assert (await verify(store, token, **configured) is not None) is holds


def bad_tokens() -> dict[str, str]:
    """Tokens that must not hold where HS256 with a secret is configured."""
    good = jwt_of()
    header, body, signature = good.split(".")
    unsigned = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    other_body = base64.urlsafe_b64encode(json.dumps(claims_of(tenant_id="evil")).encode()).rstrip(b"=").decode()
    return {
        "none, unsigned": f"{unsigned}.{body}.",
        "none, signed": f"{unsigned}.{body}.{signature}",
        "None": raw_jwt({"alg": "None"}, claims_of()),
        "no signature": f"{header}.{body}.",
        "no signature at all": f"{header}.{body}",
        "other body": f"{header}.{other_body}.{signature}",
        "other secret": jwt_of(SECRET + "."),
        "empty secret": raw_jwt({"alg": "HS256"}, claims_of(), b""),
        "cut off": good[:-1],
        "cut in half": good[: len(good) // 2],
        "other signature": f"{header}.{body}.{signature[::-1]}",
        "four parts": good + ".x",
        "HS512": jwt_of(algorithm="HS512", key=SECRET * 3),
        "RS256": jwt_of(rsa_key(), "RS256"),
        "alg a list": raw_jwt({"alg": ["HS256"]}, claims_of()),
        "alg null": raw_jwt({"alg": None}, claims_of()),
        "no alg": raw_jwt({"typ": "JWT"}, claims_of()),
        "lower case": raw_jwt({"alg": "hs256"}, claims_of()),
        "header a list": raw_jwt(["HS256"], claims_of()),
        "header no JSON": raw_jwt(b"\xff{", claims_of()),
        "deep header": raw_jwt(b"[" * 3000, claims_of()),
        "claims a list": raw_jwt({"alg": "HS256"}, [claims_of()]),
        "claims text": raw_jwt({"alg": "HS256"}, "acme"),
        "claims null": raw_jwt({"alg": "HS256"}, None),
        "claims bad UTF-8": raw_jwt({"alg": "HS256"}, b'{"tenant_id":"\xff","exp":9}'),
        "deep claims": raw_jwt({"alg": "HS256"}, b"[" * 3000),
        "NaN": raw_jwt({"alg": "HS256"}, b'{"tenant_id":"acme","exp":NaN}'),
        "Infinity": raw_jwt({"alg": "HS256"}, b'{"tenant_id":"acme","exp":Infinity}'),
        "five thousand digits": raw_jwt({"alg": "HS256"}, b'{"tenant_id":"acme","exp":' + b"9" * 5000 + b"}"),
        "unknown critical header": raw_jwt({"alg": "HS256", "crit": ["x"], "x": 1}, claims_of()),
        "detached": raw_jwt({"alg": "HS256", "crit": ["b64"], "b64": False}, claims_of()),
        "kid a list": raw_jwt({"alg": "HS256", "kid": ["a"]}, claims_of()),
        "too long": jwt_of(padding="x" * 9000),
        "dots": "..",
        "nothing": "",
        "not ASCII": good[:-1] + "é",
    }


async def test_a_forged_or_broken_token_is_refused(store: Store) -> None:
    held = [name for name, token in bad_tokens().items() if await verify(store, token) is not None]
    assert held == []


async def test_without_a_configured_key_no_token_holds(store: Store) -> None:
    for token in (jwt_of(), jwt_of(rsa_key(), "RS256"), bad_tokens()["none, unsigned"]):
        assert await verify(store, token, jwt_secret=None) is None


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as running:
        yield running


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def guarded(store: Store, issuer: Issuer, clock: Clock) -> AsyncIterator[Authenticator]:
    """An authenticator that takes the issuer's tokens."""
    settings = Settings(jwks_url=issuer.url, jwt_issuer=ISSUER, jwt_audience="whence")
    authenticator = Authenticator(settings, store, clock)
    yield authenticator
    await authenticator.close()


def issued(key: Any, algorithm: str, kid: str | None = None, **headers: Any) -> Any:
    """A request with a token of the issuer."""
    named = headers if kid is None else {"kid": kid, **headers}
    return request(bearer(jwt_of(key, algorithm, named, iss=ISSUER, aud="whence")))


async def test_tokens_of_the_three_algorithms_hold(guarded: Authenticator, issuer: Issuer) -> None:
    issuer.publish(jwk(rsa_key(), kid="r"), jwk(ec_key(), kid="e"), jwk(ed_key(), kid="d"))
    for key, algorithm, kid in ((rsa_key(), "RS256", "r"), (ec_key(), "ES256", "e"), (ed_key(), "EdDSA", "d")):
        assert (await guarded.authenticate(issued(key, algorithm, kid))).tenant == "acme"
        assert (await guarded.authenticate(issued(key, algorithm))).tenant == "acme"
    assert issuer.fetches == 1


async def test_a_public_key_is_never_a_shared_secret(guarded: Authenticator, issuer: Issuer) -> None:
    """The oldest forgery: HS256 over the bytes that everybody may have."""
    published = jwk(rsa_key(), kid="r")
    issuer.publish(
        published, {"kty": "oct", "kid": "o", "k": base64.urlsafe_b64encode(b"k" * 32).decode(), "alg": "HS256"}
    )
    public = rsa_key().public_key()
    forms = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        published["n"].encode(),
        json.dumps(published).encode(),
        b"k" * 32,
    ]
    claims = claims_of(iss=ISSUER, aud="whence")
    for form in forms:
        for header in ({"alg": "HS256", "kid": "r"}, {"alg": "HS256", "kid": "o"}, {"alg": "RS256", "kid": "r"}):
            assert await refused(guarded, request(bearer(raw_jwt(header, claims, form))))


async def test_forged_headers_choose_nothing(guarded: Authenticator, issuer: Issuer) -> None:
    """Only the configuration decides where keys come from; a kid only selects one of them."""
    issuer.publish(jwk(rsa_key(), kid="r"), jwk(ec_key(), kid="e"))
    evil = rsa_key("evil")
    async with running_issuer() as other:
        other.publish(jwk(evil, kid="r"))
        forged = [
            issued(evil, "RS256", "r"),
            issued(evil, "RS256"),
            issued(evil, "RS256", "r", jku=other.url, x5u=other.url),
            issued(evil, "RS256", "r", jwk=jwk(evil)),
            issued(evil, "RS256", other.url),
            issued(evil, "RS256", "../../dev/null"),
            issued(rsa_key(), "RS256", "e"),
            issued(rsa_key(), "RS256", "unknown"),
            issued(rsa_key(), "RS512", "r"),
            issued(rsa_key(), "PS256", "r"),
        ]
        for asked in forged:
            assert await refused(guarded, asked)
        assert other.fetches == 0
    good = issued(rsa_key(), "RS256", "r", jku="http://127.0.0.1:1/", x5u="http://127.0.0.1:1/", jwk=jwk(evil))
    assert not await refused(guarded, good)
    assert issuer.fetches == 1
    wrong = [
        jwt_of(rsa_key(), "RS256", {"kid": "r"}, iss=iss, aud=aud) for iss, aud in ((ISSUER, "x"), ("x", "whence"))
    ]
    assert all([await refused(guarded, request(bearer(token))) for token in wrong])


async def test_an_algorithm_that_is_not_configured_does_not_hold(store: Store, issuer: Issuer) -> None:
    issuer.publish(jwk(rsa_key(), kid="r"), jwk(ec_key(), kid="e"))
    authenticator = Authenticator(Settings(jwks_url=issuer.url, jwt_algorithms=("ES256",)), store)
    assert await refused(authenticator, issued(rsa_key(), "RS256", "r"))
    assert issuer.fetches == 0
    token = request(bearer(jwt_of(ec_key(), "ES256", {"kid": "e"})))
    assert not await refused(authenticator, token)
    await authenticator.close()


async def test_keys_rotate_and_are_fetched_at_most_every_ten_seconds(
    guarded: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    issuer.publish(jwk(rsa_key("old"), kid="1"))
    old, new = issued(rsa_key("old"), "RS256", "1"), issued(rsa_key("new"), "RS256", "2")
    assert not await refused(guarded, old)
    issuer.publish(jwk(rsa_key("new"), kid="2"))
    clock.now += FETCH_INTERVAL_S - 0.001
    for _ in range(20):
        assert await refused(guarded, new)
    assert issuer.fetches == 1
    clock.now += 0.001
    assert not await refused(guarded, new)
    assert await refused(guarded, old)
    assert issuer.fetches == 2


async def test_a_key_that_changes_under_its_name_is_found(guarded: Authenticator, issuer: Issuer, clock: Clock) -> None:
    for kid in (None, "same"):
        issuer.publish(jwk(ec_key("old"), **({"kid": kid} if kid else {})))
        clock.now += FETCH_INTERVAL_S
        assert not await refused(guarded, issued(ec_key("old"), "ES256", kid))
        issuer.publish(jwk(ec_key("new"), **({"kid": kid} if kid else {})))
        clock.now += FETCH_INTERVAL_S
        assert not await refused(guarded, issued(ec_key("new"), "ES256", kid))


async def test_a_withdrawn_key_stops_holding_after_five_minutes(
    guarded: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    issuer.publish(jwk(ec_key(), kid="e"))
    token = issued(ec_key(), "ES256", "e")
    assert not await refused(guarded, token)
    issuer.publish()
    clock.now += 301
    await guarded.authenticate(token)  # is served by the kept key, and begins a fetch
    for _ in range(500):
        if await refused(guarded, token):
            break
        await asyncio.sleep(0.01)
    assert await refused(guarded, token)
    assert issuer.fetches == 2


async def test_while_the_issuer_is_away_its_keys_hold_for_an_hour(
    guarded: Authenticator, issuer: Issuer, clock: Clock
) -> None:
    issuer.publish(jwk(ec_key(), kid="e"))
    token = issued(ec_key(), "ES256", "e")
    assert not await refused(guarded, token)
    issuer.reply(b"", "500 Oops")
    clock.now += 3599
    assert not await refused(guarded, token)
    clock.now += FETCH_INTERVAL_S
    with pytest.raises(Unavailable) as caught:
        await guarded.authenticate(token)
    assert caught.value.retry_after_s == FETCH_INTERVAL_S
    issuer.publish(jwk(ec_key(), kid="e"))
    clock.now += FETCH_INTERVAL_S
    assert not await refused(guarded, token)


@pytest.mark.parametrize(
    "answer",
    [
        (b"", "500 Oops"),
        (b"", "404 Not Found"),
        (b"not json",),
        (b"[]",),
        (b"{}",),
        (b'{"keys":{}}',),
        (b"[" * 5000,),
        (b"\xff",),
        (b'{"keys":[]' + b" " * 256 * 1024 + b"}",),
        (b"{}", "200 OK", "Content-Encoding: gzip"),
    ],
    ids=str,
)
async def test_an_answer_that_is_no_small_plain_jwks_is_as_good_as_none(
    guarded: Authenticator, issuer: Issuer, answer: tuple[Any, ...]
) -> None:
    issuer.reply(*answer)
    with pytest.raises(Unavailable):
        await guarded.authenticate(issued(ec_key(), "ES256", "e"))
    assert issuer.fetches == 1


async def test_a_redirect_is_not_followed(guarded: Authenticator, issuer: Issuer) -> None:
    async with running_issuer() as other:
        other.publish(jwk(ec_key(), kid="e"))
        for location in (other.url, "/elsewhere"):
            issuer.reply(b"", "302 Found", f"Location: {location}")
            with pytest.raises(Unavailable):
                await guarded.authenticate(issued(ec_key(), "ES256", "e"))
        assert other.fetches == 0
        assert issuer.paths == ["/jwks"]


async def test_a_fetch_ends_in_time(guarded: Authenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whence.api.jwks._FETCH_LIMIT_S", 0.05)
    issuer.publish(jwk(ec_key(), kid="e"))
    issuer.gate.clear()
    async with asyncio.timeout(2):
        with pytest.raises(Unavailable):
            await guarded.authenticate(issued(ec_key(), "ES256", "e"))


async def test_one_fetch_serves_all_who_wait_even_if_the_first_hangs_up(guarded: Authenticator, issuer: Issuer) -> None:
    issuer.publish(jwk(ec_key(), kid="e"))
    issuer.gate.clear()
    asked = [asyncio.create_task(guarded.authenticate(issued(ec_key(), "ES256", "e"))) for _ in range(5)]
    async with asyncio.timeout(5):
        await issuer.asked.wait()
        asked[0].cancel()
        await asyncio.gather(asked[0], return_exceptions=True)
        issuer.gate.set()
        assert {principal.tenant for principal in await asyncio.gather(*asked[1:])} == {"acme"}
    assert issuer.fetches == 1


async def test_a_cache_is_closed_while_it_fetches(issuer: Issuer) -> None:
    issuer.gate.clear()
    jwks = JwksCache(issuer.url)
    asked = asyncio.create_task(jwks.refresh())
    async with asyncio.timeout(5):
        await issuer.asked.wait()
        await jwks.close()
        await asyncio.gather(asked, return_exceptions=True)
    assert asked.done()


def test_only_keys_that_can_verify_our_algorithms_are_taken() -> None:
    good = jwk(rsa_key(), kid="r", alg="RS256", use="sig", key_ops=["verify"])
    private = json.loads(RSAAlgorithm.to_jwk(rsa_key()))
    private.pop("key_ops")
    keys = [
        good,
        jwk(ec_key()),
        jwk(ed_key(), alg="Ed25519"),
        {**private, "kid": "private"},
        {**good, "use": "enc"},
        {**good, "key_ops": ["encrypt"]},
        {**good, "key_ops": "verify"},
        {**good, "alg": "RS512"},
        {**good, "alg": "HS256"},
        {**good, "alg": None},
        {**good, "kid": 7},
        {**good, "kty": "oct"},
        {**good, "kty": ["RSA"]},
        {**good, "n": 7},
        {**good, "n": ""},
        {"kty": "RSA", "kid": "r"},
        jwk(rsa_key("weak", 1024)),
        jwk(ec_key(), crv="P-384"),
        jwk(ec_key(), x=jwk(ec_key("other"))["x"]),
        jwk(ed_key(), crv="X25519"),
        jwk(ed_key(), x="AAAA"),
        "text",
        None,
    ]
    taken = parse_jwks(json.dumps({"keys": keys}).encode())
    assert [(key.kid, key.algorithm) for key in taken] == [
        ("r", "RS256"),
        (None, "ES256"),
        (None, "EdDSA"),
        ("private", "RS256"),
    ]
    assert all("Public" in type(key.key).__name__ for key in taken)
