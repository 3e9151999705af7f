"""Short-lived tokens for one tenant: JWTs signed with the secret that this program shares with the server (HS256), or
tokens that the server gives for an operator's key.

JWTs are signed without a library, since the base install has none. Only the server verifies tokens.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

import msgspec

from whence.errors import WhenceError
from whence.events import is_tenant

__all__ = ["EXCHANGED_LIFETIME_MAX_S", "LIFETIME_MAX_S", "ExchangedToken", "TenantToken", "is_renewed", "sign_jwt"]

LIFETIME_MAX_S = 24 * 3600
"""The longest lifetime that the server accepts."""

EXCHANGED_LIFETIME_MAX_S = 15 * 60
"""The longest lifetime of a token that the server gives for an operator's key."""

_SECRET_BYTES_MIN = 32
_UNAUTHENTICATED = 401
_HEADER = {"alg": "HS256", "typ": "JWT"}


def sign_jwt(claims: Mapping[str, object], secret: str) -> str:
    """A JWT with these claims, signed with HS256."""
    signed = b".".join(_base64url(msgspec.json.encode(part)) for part in (_HEADER, claims))
    return (signed + b"." + _base64url(hmac.digest(secret.encode(), signed, hashlib.sha256))).decode()


class TenantToken:
    """Makes the headers with a token for one tenant. A new token is signed when a fifth of the lifetime is left.

    Raises WhenceError for an invalid tenant, a secret under 32 bytes, or a lifetime outside 1 second to 24 hours.
    """

    def __init__(
        self,
        tenant: str,
        secret: str,
        *,
        scope: str = "events:read events:write",
        lifetime_s: int = 900,
        claims: Mapping[str, object] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _require_tenant(tenant)
        if len(secret.encode()) < _SECRET_BYTES_MIN:
            raise WhenceError(f"The shared secret must have at least {_SECRET_BYTES_MIN} bytes.")
        if not 1 <= lifetime_s <= LIFETIME_MAX_S:
            raise WhenceError("The lifetime of a token must be between 1 second and 24 hours.")
        self._claims = {"tenant_id": tenant, "scope": scope, "sub": "whence-client", **(claims or {})}
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._clock = clock
        # A tuple that is replaced as a whole needs no lock: if two threads sign at once, both tokens are valid.
        self._cached: tuple[float, dict[str, str]] = (0.0, {})

    def __call__(self) -> dict[str, str]:
        """The headers to send now."""
        expires, headers = self._cached
        now = self._clock()
        if expires - now < self._lifetime_s / 5:
            issued = int(now)
            expires = issued + self._lifetime_s
            token = sign_jwt({**self._claims, "iat": issued, "exp": expires}, self._secret)
            headers = {"Authorization": f"Bearer {token}"}
            self._cached = (expires, headers)
        return headers

    def __repr__(self) -> str:
        return f"TenantToken({self._claims['tenant_id']!r})"


class ExchangedToken:
    """Makes the headers with a token for one tenant. `exchange` gets a new one from the server when a fifth of the
    lifetime is left.

    Raises WhenceError for an invalid tenant, or a lifetime outside 1 second to 15 minutes.
    """

    def __init__(
        self, tenant: str, exchange: Callable[[], str], *, lifetime_s: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        _require_tenant(tenant)
        if not 1 <= lifetime_s <= EXCHANGED_LIFETIME_MAX_S:
            raise WhenceError("The lifetime of a token for an operator's key must be between 1 second and 15 minutes.")
        self._tenant = tenant
        self._exchange = exchange
        self._lifetime_s = lifetime_s
        self._clock = clock
        # As in `TenantToken`: if two threads exchange at once, both tokens are valid.
        self._cached: tuple[float, dict[str, str]] = (0.0, {})

    @property
    def is_fresh(self) -> bool:
        """Whether the next call needs no request."""
        expires, headers = self._cached
        return bool(headers) and expires - self._clock() >= self._lifetime_s / 5

    def __call__(self) -> dict[str, str]:
        """The headers to send now. Raises the error of a server that refuses the exchange, and Unreachable."""
        if not self.is_fresh:
            asked_at = self._clock()
            headers = {"Authorization": f"Bearer {self._exchange()}"}
            self._cached = (asked_at + self._lifetime_s, headers)
        return self._cached[1]

    def forget(self) -> None:
        """Drop a token that the server refused: it lost its secret, or the key ended."""
        self._cached = (0.0, {})

    def __repr__(self) -> str:
        return f"ExchangedToken({self._tenant!r})"


def is_renewed(credential: object, status: int) -> bool:
    """Drop a token of an operator's key that was refused. Whether another attempt has a new one."""
    if status != _UNAUTHENTICATED or not isinstance(credential, ExchangedToken):
        return False
    credential.forget()
    return True


def _require_tenant(tenant: str) -> None:
    if not is_tenant(tenant):
        raise WhenceError("A tenant has 1 to 64 characters of A-Z, a-z, 0-9, dot, underscore and hyphen.")


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
