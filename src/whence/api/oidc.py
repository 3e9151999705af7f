"""The issuer of a sign-in by OpenID Connect: the authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636).

What has to be remembered of a sign-in that has begun (state, nonce, verifier, where to go then) is sealed, and kept by
the browser for ten minutes. So any process and any server can finish what another has begun. The code is exchanged for
an ID token, whose claims are read by the settings of JWTs. No token is kept.
"""

import hashlib
import secrets
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import msgspec

from whence.api.token_verifier import TokenRefused, TokenVerifier
from whence.errors import Unavailable
from whence.permissions import Principal
from whence.sealing import Sealer
from whence.settings import Settings, is_safe_url

__all__ = ["ATTEMPT_S", "OidcProvider", "SignInFailed"]

ATTEMPT_S = 600
"""How long somebody may take to sign in, in seconds."""

_BOUND = b"oidc attempt 1"
_FETCH_S = 5.0
_BODY_MAX = 256 * 1024
_DISCOVERY_S = 3600.0
_RETRY_S = 5.0


class _Attempt(msgspec.Struct, frozen=True, array_like=True):
    """A sign-in that has begun. `expires_at` is in microseconds since the epoch."""

    state: str
    nonce: str
    verifier: str
    back: str
    expires_at: int


class _Discovery(msgspec.Struct, frozen=True):
    """What is needed of the issuer's description of itself (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct, frozen=True):
    """What is needed of the answer of the token endpoint."""

    id_token: str


class SignInFailed(Exception):
    """A sign-in that did not succeed. `reason` is shown by the page, and the sentence is for the log."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class OidcProvider:
    """The issuer of the settings. Belongs to one event loop."""

    def __init__(self, settings: Settings, attempts: Sealer) -> None:
        """`attempts` seals what a browser keeps of a sign-in that has begun."""
        self._settings = settings
        self._issuer = cast(str, settings.oidc_issuer)
        self._client_id = cast(str, settings.oidc_client_id)
        self._attempts = attempts
        self._http: httpx2.AsyncClient | None = None
        self._known: tuple[_Discovery, TokenVerifier, float] | None = None
        self._failed_at = -_RETRY_S

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
        if self._known is not None:
            await self._known[1].close()

    async def begin(self, callback: str, back: str, now: int) -> tuple[str, str]:
        """The address of the issuer to send the browser to, and what the browser keeps. Raises SignInFailed."""
        discovery, _ = await self._discover()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        attempt = _Attempt(state, nonce, verifier, back, now + ATTEMPT_S * 1_000_000)
        challenge = urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": callback,
            "scope": " ".join(self._settings.oidc_scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        separator = "&" if urlsplit(discovery.authorization_endpoint).query else "?"
        address = f"{discovery.authorization_endpoint}{separator}{urlencode(asked)}"
        return address, self._attempts.seal(msgspec.json.encode(attempt), _BOUND)

    async def finish(
        self, kept: str | None, answer: Mapping[str, str], callback: str, now: int
    ) -> tuple[Principal, str]:
        """Who has signed in, and where to go then. `kept` is what `begin` had the browser keep. Raises SignInFailed."""
        opened = None if kept is None else self._attempts.open(kept, _BOUND)
        attempt = None if opened is None else msgspec.json.decode(opened, type=_Attempt)
        if (
            attempt is None
            or attempt.expires_at <= now
            or not secrets.compare_digest(answer.get("state", "").encode(), attempt.state.encode())
        ):
            raise SignInFailed("state", "the answer belongs to no sign-in that this browser has begun")
        if answer.get("iss", self._issuer) != self._issuer:  # RFC 9207
            raise SignInFailed("refused", "the answer is of another issuer")
        if "code" not in answer:
            raise SignInFailed("denied", "the issuer signed nobody in")
        discovery, verifier = await self._discover()
        token = await self._exchange(discovery, answer["code"], attempt.verifier, callback)
        try:
            claims = await verifier.claims(token)
            if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), attempt.nonce.encode()):
                raise TokenRefused("the nonce is that of another sign-in")
            audience = claims.get("aud")
            if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._client_id:
                raise TokenRefused("the token was issued to another client")
            if not isinstance(claims.get("sub"), str) or not claims["sub"]:
                raise TokenRefused("the claim sub is missing")
            return verifier.principal(claims, via_cookie=True, several=True), attempt.back
        except TokenRefused as refusal:
            raise SignInFailed("refused", str(refusal)) from None
        except Unavailable as error:
            raise SignInFailed("unavailable", str(error)) from None

    async def _discover(self) -> tuple[_Discovery, TokenVerifier]:
        """What the issuer says of itself, and the verifier of its tokens. Read again after an hour; after a failure not
        before 5 s, however often it is asked for."""
        clock = time.monotonic()
        if self._known is not None and clock - self._known[2] < _DISCOVERY_S:
            return self._known[0], self._known[1]
        if clock - self._failed_at < _RETRY_S:
            raise SignInFailed("unavailable", "the issuer could not be asked a moment ago")
        try:
            found = await self._read_discovery()
        except SignInFailed:
            self._failed_at = clock
            raise
        if self._known is not None and self._known[0] == found:
            verifier = self._known[1]
        else:
            verifier = TokenVerifier(_settings_of_tokens(self._settings, found), time.monotonic)
        self._known = found, verifier, clock
        return found, verifier

    async def _read_discovery(self) -> _Discovery:
        address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            found = msgspec.json.decode(await self._fetch("GET", address), type=_Discovery)
        except (msgspec.MsgspecError, UnicodeError):
            raise SignInFailed("unavailable", "the issuer's description cannot be read") from None
        endpoints = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri)
        if found.issuer != self._issuer or not all(map(is_safe_url, endpoints)):
            raise SignInFailed(
                "unavailable", "the issuer's description is of another issuer, or names addresses without TLS"
            )
        return found

    async def _exchange(self, discovery: _Discovery, code: str, verifier: str, callback: str) -> str:
        """The ID token for a code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": verifier,
            "client_id": self._client_id,
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        secret = self._settings.oidc_client_secret
        if secret is not None and "client_secret_basic" in discovery.token_endpoint_auth_methods_supported:
            pair = f"{quote(self._client_id, safe='')}:{quote(secret, safe='')}"  # RFC 6749, section 2.3.1
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        elif secret is not None:
            form["client_secret"] = secret
        body = await self._fetch("POST", discovery.token_endpoint, urlencode(form).encode(), headers)
        try:
            return msgspec.json.decode(body, type=_Tokens).id_token
        except (msgspec.MsgspecError, UnicodeError):
            raise SignInFailed("refused", "the issuer's answer has no ID token") from None

    async def _fetch(
        self, method: str, url: str, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The body of a 200. Raises SignInFailed for anything else, for a large body, and after 5 s."""
        if self._http is None:
            outside = urlsplit(self._issuer).scheme == "https"  # a proxy of the environment is for other hosts
            self._http = httpx2.AsyncClient(follow_redirects=False, timeout=_FETCH_S, trust_env=outside)
        sent = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
        try:
            async with self._http.stream(method, url, content=content, headers=sent) as response:
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > _BODY_MAX:
                        raise SignInFailed("unavailable", "an answer of the issuer is too large")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise SignInFailed("unavailable", f"the issuer cannot be reached: {type(error).__name__}") from None
        if response.status_code != 200:
            reason = "refused" if method == "POST" and response.status_code < 500 else "unavailable"
            raise SignInFailed(reason, f"the issuer answered with {response.status_code}")
        return bytes(body)


def _settings_of_tokens(settings: Settings, found: _Discovery) -> Settings:
    """The settings by which ID tokens are verified: those of JWTs, with this issuer, its keys and this client."""
    return msgspec.structs.replace(
        settings,
        jwt_secret=None,
        jwks_url=found.jwks_uri,
        jwt_algorithms=(),
        jwt_issuer=found.issuer,
        jwt_audience=settings.oidc_client_id,
    )
