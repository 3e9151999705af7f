"""Short tokens for one tenant, signed with the secret that the server shares (HS256), by hand: the base install has no
library for that. Verifying stays with the server.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

import msgspec

from whence.errors import WhenceError
from whence.events import is_tenant

__all__ = ["LIFETIME_MAX_S", "TenantToken", "sign"]

LIFETIME_MAX_S = 24 * 3600
"""What the server takes at most."""

_SECRET_BYTES_MIN = 32
_HEADER = {"alg": "HS256", "typ": "JWT"}


def sign(claims: Mapping[str, object], secret: str) -> str:
    """A JWT with these claims."""
    signed = b".".join(_base64url(msgspec.json.encode(part)) for part in (_HEADER, claims))
    return (signed + b"." + _base64url(hmac.digest(secret.encode(), signed, hashlib.sha256))).decode()


class TenantToken:
    """Headers with a token for one tenant, which is made anew when a fifth of its life is left.

    Raises WhenceError for a secret that is too short, a life that is too long, or what cannot name a tenant.
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
        if not is_tenant(tenant):
            raise WhenceError("A tenant has 1 to 64 characters of A-Z, a-z, 0-9, dot, underscore and hyphen.")
        if len(secret.encode()) < _SECRET_BYTES_MIN:
            raise WhenceError(f"The shared secret must have at least {_SECRET_BYTES_MIN} bytes.")
        if not 1 <= lifetime_s <= LIFETIME_MAX_S:
            raise WhenceError("A token lives from 1 second to 24 hours.")
        self._claims = {"tenant_id": tenant, "scope": scope, "sub": "whence-client", **(claims or {})}
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._clock = clock
        # One value, read and set in one step, so that threads need no lock: two may sign at once, and both are good.
        self._signed: tuple[float, dict[str, str]] = (0.0, {})

    def __call__(self) -> dict[str, str]:
        """The headers to send now."""
        until, headers = self._signed
        now = self._clock()
        if until - now < self._lifetime_s / 5:
            issued = int(now)
            until = issued + self._lifetime_s
            token = sign({**self._claims, "iat": issued, "exp": until}, self._secret)
            headers = {"Authorization": f"Bearer {token}"}
            self._signed = (until, headers)
        return headers

    def __repr__(self) -> str:
        return f"TenantToken({self._claims['tenant_id']!r})"


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
