"""JSON Web Tokens: whether one is valid by the settings of the server, and who it stands for."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jwt

from whence.api.jwks import JwksCache
from whence.events import is_tenant
from whence.permissions import Principal, scopes_among
from whence.settings import Settings

__all__ = ["TokenRefused", "TokenVerifier", "token_kid"]

_TOKEN_MAX = 8_192
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")  # base64url without padding, RFC 7515
_KID_LOGGED = 128
_SKEW_S = 5.0  # how far the issuer's clock may be ahead; an expired token gets no such allowance


class TokenRefused(Exception):
    """A token is not valid. The reason, which repeats nothing of the token, is for the log."""


class TokenVerifier:
    """Verifies JWTs by the settings. A token itself decides nothing except which key is tried."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._algorithms = frozenset(settings.algorithms)
        self._secret = settings.jwt_secret
        self._jwks = None if settings.jwks_url is None else JwksCache(settings.jwks_url, clock)
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._tenant_claim = settings.jwt_tenant_claim
        self._scopes_claim = settings.jwt_scopes_claim
        self._max_lifetime_s = settings.jwt_max_lifetime_s
        self._vocabulary = settings.vocabulary

    async def close(self) -> None:
        """Release every resource."""
        if self._jwks is not None:
            await self._jwks.close()

    async def verify(self, token: str, *, via_cookie: bool) -> Principal:
        """The principal of a token. Raises TokenRefused, and Unavailable as `JwksCache.find`."""
        return self.principal(await self.claims(token), via_cookie=via_cookie)

    async def claims(self, token: str) -> dict[str, Any]:
        """The claims of a token that is valid now. Raises as `verify`."""
        claims = await self._claims(token)
        self._check_times(claims, time.time())
        return claims

    def principal(self, claims: Mapping[str, Any], *, via_cookie: bool, several: bool = False) -> Principal:
        """Who these claims stand for. Raises TokenRefused if they name no tenant.

        With `several`, the claim may also be a list of tenants. The first one is that of the principal.
        """
        claim = claims.get(self._tenant_claim)
        named = claim if several and isinstance(claim, list) else [claim]
        tenants = [tenant for tenant in named if isinstance(tenant, str) and is_tenant(tenant)]
        if not tenants or len(tenants) < len(named):
            raise TokenRefused("the claim of the tenant is missing, or names none")
        subject = claims.get("sub", "")
        return Principal(
            tenant=tenants[0],
            tenants=tuple(sorted(set(tenants))) if len(set(tenants)) > 1 else (),
            scopes=scopes_among(_scopes(claims.get(self._scopes_claim)), self._vocabulary),
            key_id=None,
            subject=f"jwt:{subject if isinstance(subject, str | int) else ''}"[:255],
            via_cookie=via_cookie,
            expires_at=int(claims["exp"] * 1_000_000),
        )

    async def _claims(self, token: str) -> dict[str, Any]:
        """The claims, if the signature, the issuer and the audience are valid. Raises TokenRefused."""
        if not self._algorithms:
            raise TokenRefused("no key for tokens is configured")
        header = _token_header(token)
        if header is None:
            raise TokenRefused("not an API key or a JWT that can be read")
        if header.get("alg") not in self._algorithms:
            raise TokenRefused("the algorithm is not configured")
        algorithm = str(header["alg"])
        if self._jwks is None:
            return self._decode_any(token, () if self._secret is None else (self._secret,), algorithm)
        kid = header.get("kid")
        keys = await self._jwks.find(kid, algorithm)
        try:
            return self._decode_any(token, [key.key for key in keys], algorithm)
        except TokenRefused:
            # An issuer that rotates keys without a new kid can only be noticed by a failed signature.
            if not keys or not await self._jwks.refresh():
                raise
        return self._decode_any(token, [key.key for key in await self._jwks.find(kid, algorithm)], algorithm)

    def _decode_any(self, token: str, keys: Iterable[Any], algorithm: str) -> dict[str, Any]:
        refusal = TokenRefused("the issuer has no such key")
        for key in keys:
            try:
                return self._decode(token, key, algorithm)
            except TokenRefused as error:
                refusal = error
        raise refusal

    def _decode(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        """The claims, if this key signed the token. `_check_times` checks the times, more strictly than PyJWT.

        Raises TokenRefused. `sub` and `jti` decide nothing, so they may be of any kind.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["exp"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                    "verify_jti": False,
                    "verify_aud": self._audience is not None,
                    "verify_iss": self._issuer is not None,
                    "enforce_minimum_key_length": True,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            # The message of a foreign error may repeat a part of the token.
            raise TokenRefused(f"it does not verify: {type(error).__name__}") from None
        return claims

    def _check_times(self, claims: Mapping[str, Any], now: float) -> None:
        """Raise TokenRefused unless the token is valid now, and its whole life is no longer than allowed."""
        times = [claims.get(name) for name in ("exp", "iat", "nbf")]
        if not all(time_ is None or _is_time(time_) for time_ in times):
            raise TokenRefused("exp, iat or nbf is no time")
        exp, iat, nbf = times
        if exp is None or exp <= now:
            raise TokenRefused("it has expired")
        if any(start is not None and start > now + _SKEW_S for start in (iat, nbf)):
            raise TokenRefused("iat or nbf lies in the future")
        if exp - (now if iat is None else iat) > self._max_lifetime_s:
            raise TokenRefused(f"its life is longer than {self._max_lifetime_s} seconds")


def _token_header(token: str) -> dict[str, Any] | None:
    """The JOSE header of a text that looks like a token, else None. Its `kid`, if any, is text."""
    if len(token) > _TOKEN_MAX or not _TOKEN.fullmatch(token):
        return None
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    if not isinstance(header.get("alg"), str) or not isinstance(header.get("kid", ""), str):
        return None
    return header


def token_kid(token: str) -> str | None:
    """The key id that a token names, for the log, which it must not flood."""
    header = _token_header(token)
    kid = None if header is None else header.get("kid")
    return None if kid is None else str(kid)[:_KID_LOGGED]


def _scopes(claim: Any) -> frozenset[str]:
    """The scopes of a claim: text separated by spaces, or a list of texts. Anything else has none."""
    if isinstance(claim, str):
        return frozenset(claim.split(" "))
    if isinstance(claim, list) and all(isinstance(scope, str) for scope in claim):
        return frozenset(claim)
    return frozenset()


def _is_time(value: Any) -> bool:
    """Whether a claim is a NumericDate. Python would also accept `true`, NaN (which never compares as expired) and
    numbers beyond a double (which cannot be subtracted)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -(2**53) < value < 2**53
