"""Who may do what: scopes, principals, and the format and hash of API keys and session secrets.

A secret is a prefix, 32 random bytes as 43 base62 digits, and the CRC32 of all that as 6 base62 digits. The checksum
keeps a mistyped secret from ever reaching the store. Only the SHA-256 of a secret is kept; the secrets are as wide as
the hash, so neither salt nor stretching would add anything.
"""

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Iterable

import msgspec

from whence.errors import Forbidden
from whence.events import Vocabulary

__all__ = [
    "ADMIN",
    "READ",
    "WRITE",
    "ApiKey",
    "Principal",
    "key_hash",
    "known_scopes",
    "new_api_key",
    "new_session_secret",
    "parse_key_name",
    "parse_scopes",
    "session_hash",
]

READ = "events:read"
"""May read every event of the tenant. `events:read:<resource_type>` reads those of one resource type."""

WRITE = "events:write"
"""May store events."""

ADMIN = "admin"
"""May make, list and revoke the tenant's API keys. It does not imply the other scopes."""

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY_PREFIX = "whk_"
_SESSION_PREFIX = "whs_"
_SECRET_BYTES = 32
_BODY_DIGITS = 43  # 62 ** 43 > 2 ** 256
_CHECK_DIGITS = 6  # 62 ** 6 > 2 ** 32
_KEY_ID_DIGITS = 16
_KEY_NAME_MAX = 100
_SECRET = re.compile(rf"wh[ks]_[0-9A-Za-z]{{{_BODY_DIGITS + _CHECK_DIGITS}}}")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an API key. `id` is public, `hash` the SHA-256 of the secret text; times are microseconds."""

    id: str
    hash: bytes
    tenant: str
    scopes: tuple[str, ...]
    name: str = ""
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None

    def alive(self, now: int) -> bool:
        """Whether the key is neither revoked nor expired at `now`, in microseconds."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id!r}, tenant={self.tenant!r}, scopes={self.scopes!r})"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: one tenant and what it may do there. `key_id` is None for a JWT; `subject` names the credential in
    logs; `via_cookie` says that a browser sent it by itself.
    """

    tenant: str
    scopes: frozenset[str]
    key_id: str | None
    subject: str
    via_cookie: bool = False

    def may(self, scope: str) -> bool:
        """Whether the principal holds `scope`. To read at all, a narrowed reader's scope is enough; a reader of
        everything holds each narrowed one."""
        if scope in self.scopes:
            return True
        if scope == READ:
            return any(held.startswith(READ + ":") for held in self.scopes)
        return scope.startswith(READ + ":") and READ in self.scopes

    def require(self, scope: str) -> None:
        """Return if the principal holds `scope`, else raise Forbidden, which names it."""
        if not self.may(scope):
            raise Forbidden(f"This credential lacks the scope {scope}.")

    @property
    def readable(self) -> tuple[str, ...] | None:
        """The resource types whose events the principal may see, sorted; None is all of them."""
        if READ in self.scopes:
            return None
        prefix = READ + ":"
        return tuple(sorted(held.removeprefix(prefix) for held in self.scopes if held.startswith(prefix)))


def parse_scopes(scopes: Iterable[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The scopes without repeats, sorted. Raises ValueError when there is none, or one that is not known."""
    found = set(scopes)
    if not found:
        raise ValueError("At least one scope is needed: events:read, events:write or admin.")
    if not found <= known_scopes(vocabulary):
        raise ValueError("A scope must be events:read, events:read:<resource_type>, events:write or admin.")
    return tuple(sorted(found))


def known_scopes(vocabulary: Vocabulary) -> frozenset[str]:
    """Every scope that this installation knows."""
    return frozenset((READ, WRITE, ADMIN, *(f"{READ}:{name}" for name in vocabulary.resource_types)))


def parse_key_name(name: str) -> str:
    """The name of an API key as it may be kept. Raises ValueError for what is too long or cannot be printed."""
    if len(name) > _KEY_NAME_MAX or not name.isprintable():
        raise ValueError(f"A key's name is printable text of at most {_KEY_NAME_MAX} characters.")
    return name


def new_api_key(
    tenant: str, scopes: tuple[str, ...], now: int, expires_at: int | None = None, name: str = ""
) -> tuple[str, ApiKey]:
    """A fresh secret, to be shown once, and what to keep of it. `scopes` come from `parse_scopes`; times in µs."""
    secret = _new_secret(_KEY_PREFIX)
    key_id = "key_" + "".join(secrets.choice(_DIGITS) for _ in range(_KEY_ID_DIGITS))
    kept = ApiKey(
        id=key_id,
        hash=_sha256(secret),
        tenant=tenant,
        scopes=scopes,
        name=name,
        created_at=now,
        expires_at=expires_at,
    )
    return secret, kept


def key_hash(secret: str) -> bytes | None:
    """The hash by which an API key is found, or None when the text is none: wrong format or wrong checksum."""
    return _checked_hash(secret, _KEY_PREFIX)


def new_session_secret() -> str:
    """A fresh session secret, `whs_…`."""
    return _new_secret(_SESSION_PREFIX)


def session_hash(secret: str) -> bytes | None:
    """The hash by which a session is found, or None when the text is no session secret."""
    return _checked_hash(secret, _SESSION_PREFIX)


def _new_secret(prefix: str) -> str:
    body = prefix + _base62(int.from_bytes(secrets.token_bytes(_SECRET_BYTES)), _BODY_DIGITS)
    return body + _checksum(body)


def _checked_hash(secret: str, prefix: str) -> bytes | None:
    if not secret.startswith(prefix) or _SECRET.fullmatch(secret) is None:
        return None
    if _checksum(secret[:-_CHECK_DIGITS]) != secret[-_CHECK_DIGITS:]:
        return None
    return _sha256(secret)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_DIGITS)


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
