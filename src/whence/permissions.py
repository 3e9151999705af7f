"""Permissions: scopes, principals, and the format and hash of API keys, session secrets and sign-in codes.

A secret is a prefix, 32 random bytes as 43 base62 digits, and the CRC32 of both as 6 base62 digits. The checksum spares
the store a lookup for a mistyped secret. Only the SHA-256 of a secret is stored. The secrets have as much entropy as
the hash, so a salt or a slow hash would add nothing.
"""

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Iterable

import msgspec

from whence.errors import Forbidden
from whence.events import Viewer, Vocabulary

__all__ = [
    "ADMIN",
    "OPERATOR",
    "OPERATORS_TENANT",
    "READ",
    "SIGN_IN_CODE_S",
    "WRITE",
    "ApiKey",
    "Principal",
    "hash_unchecked",
    "key_hash",
    "known_scopes",
    "new_api_key",
    "new_operator_key",
    "new_session_secret",
    "new_sign_in_code",
    "parse_key_name",
    "parse_scopes",
    "readable_by",
    "readable_types",
    "scopes_among",
    "session_grants",
    "session_hash",
    "sign_in_code_hash",
    "tenants_among",
]

READ = "events:read"
"""May read every event of the tenant. `events:read:<resource_type>` is narrowed to one resource type."""

WRITE = "events:write"
"""May store events."""

ADMIN = "admin"
"""May make, list and revoke the tenant's API keys. It does not imply the other scopes."""

OPERATOR = "operator"
"""May list the tenants and exchange itself for a token of one of them. No key or token can be given this scope: an
operator's key has it, and nothing else."""

OPERATORS_TENANT = ""
"""The tenant in the row of an operator's key. It is no tenant's name."""

SIGN_IN_CODE_S = 60
"""The life of the code of a sign-in link, in seconds."""

_TENANT_GRANT = "tenant:"
"""What comes before the name of a further tenant among the grants of a session."""

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_KEY_PREFIX = "whk_"
_SESSION_PREFIX = "whs_"
_CODE_PREFIX = "whl_"
_SECRET_BYTES = 32
_BODY_DIGITS = 43  # 62 ** 43 > 2 ** 256
_CHECK_DIGITS = 6  # 62 ** 6 > 2 ** 32
_KEY_ID_DIGITS = 16
_KEY_NAME_MAX = 100
_SECRET = re.compile(rf"wh[ksl]_[0-9A-Za-z]{{{_BODY_DIGITS + _CHECK_DIGITS}}}")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A stored API key. `id` is public, `hash` is the SHA-256 of the secret text; times are in microseconds.

    `ceiling` is None for a tenant's key. For an operator's key it holds the scopes that its tokens may have; such a key
    has no tenant and no scopes.
    """

    id: str
    hash: bytes
    tenant: str
    scopes: tuple[str, ...]
    name: str = ""
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None
    ceiling: tuple[str, ...] | None = None

    def may_pass_on(self, scope: str) -> bool:
        """Whether the tokens of this operator's key may have a scope."""
        return self.ceiling is not None and _covers(self.ceiling, scope)

    def alive(self, now: int) -> bool:
        """Whether the key is neither revoked nor expired at `now`, in microseconds."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id!r}, tenant={self.tenant!r}, scopes={self.scopes!r})"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller: its tenant and scopes. `key_id` is None for a JWT; `subject` names the credential in
    logs; `via_cookie` is true for a cookie, which browsers send without being asked. `expires_at` is when the
    credential ends, in microseconds; for a session, when its key does. `via_operator` is true for the token of an
    operator's key.

    Only a session can be changed to another tenant: to one of `tenants`, or to any with `any_tenant`. Neither lets the
    principal read or store anything there.
    """

    tenant: str
    scopes: frozenset[str]
    key_id: str | None
    subject: str
    via_cookie: bool = False
    expires_at: int | None = None
    via_operator: bool = False
    tenants: tuple[str, ...] = ()
    any_tenant: bool = False

    def may(self, scope: str) -> bool:
        """Whether the principal holds `scope`. A narrowed scope is enough for `events:read`, and `events:read` implies
        each narrowed scope."""
        if scope in self.scopes:
            return True
        if scope == READ:
            return any(held.startswith(READ + ":") for held in self.scopes)
        return scope.startswith(READ + ":") and READ in self.scopes

    def may_give(self, scope: str) -> bool:
        """Whether the principal may give this scope to a key. Unlike `may`, a narrowed scope gives only itself."""
        return _covers(self.scopes, scope)

    def require(self, scope: str) -> None:
        """Return if the principal holds `scope`, else raise Forbidden, which names it."""
        if not self.may(scope) and scope == OPERATOR:
            raise Forbidden("This needs an operator's key, which 'whence key create --operator' makes.")
        if not self.may(scope):
            raise Forbidden(f"This credential lacks the scope {scope}.")

    def reads_all(self, readable: tuple[str, ...] | None) -> bool:
        """Whether the principal may read every event of these resource types; None means all types."""
        held = self.readable
        return held is None or (readable is not None and set(readable) <= set(held))

    def own_key(self) -> str:
        """The id of the API key that the principal is, or that its session began with, with which what it makes sees
        the log and stops. Raises Forbidden for tokens, which have no key of the tenant, and without a scope to read."""
        self.require(READ)
        if self.key_id is None or self.via_operator:
            raise Forbidden("What this makes stops with the API key that made it. Use an API key of the tenant.")
        return self.key_id

    @property
    def viewer(self) -> Viewer:
        """Whose log the principal reads, and which of its events."""
        return Viewer(self.tenant, self.readable)

    @property
    def readable(self) -> tuple[str, ...] | None:
        """The resource types whose events the principal may read, sorted; None means all of them."""
        return readable_types(self.scopes)


def readable_types(scopes: Iterable[str]) -> tuple[str, ...] | None:
    """The resource types whose events these scopes may read, sorted; None means all of them."""
    held = frozenset(scopes)
    if READ in held:
        return None
    prefix = READ + ":"
    return tuple(sorted(scope.removeprefix(prefix) for scope in held if scope.startswith(prefix)))


def readable_by(key: ApiKey | None, tenant: str, readable: tuple[str, ...] | None, now: int) -> tuple[str, ...] | None:
    """Of these resource types (None for all), those that a key of the tenant may still read, sorted; None means all of
    them. It is an empty tuple when the key is gone or may read none."""
    if key is None or key.tenant != tenant or not key.alive(now):
        return ()
    of_key = readable_types(key.scopes)
    if of_key is None or readable is None:
        return readable if of_key is None else of_key
    return tuple(sorted(set(of_key) & set(readable)))


def _covers(held: Iterable[str], scope: str) -> bool:
    """Whether these scopes allow all that `scope` does: `events:read` covers each narrowed scope."""
    return scope in held or (scope.startswith(READ + ":") and READ in held)


def parse_scopes(scopes: Iterable[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The scopes without repetitions, sorted. Raises ValueError if there is none, or an unknown one."""
    found = set(scopes)
    if not found:
        raise ValueError("At least one scope is needed: events:read, events:write or admin.")
    if not found <= scopes_among(found, vocabulary):
        raise ValueError("A scope must be events:read, events:read:<resource_type>, events:write or admin.")
    return tuple(sorted(found))


def known_scopes(vocabulary: Vocabulary) -> frozenset[str]:
    """Every scope of this installation, with those of added resource types."""
    return frozenset((READ, WRITE, ADMIN, *(f"{READ}:{name}" for name in vocabulary.resource_types)))


def scopes_among(texts: Iterable[str], vocabulary: Vocabulary) -> frozenset[str]:
    """Those of the texts that are scopes of this installation, one of any resource type where all are admitted."""
    known = known_scopes(vocabulary)
    narrowed = f"{READ}:"
    return frozenset(
        text
        for text in texts
        if text in known or (text.startswith(narrowed) and vocabulary.has_resource_type(text.removeprefix(narrowed)))
    )


def session_grants(principal: Principal) -> tuple[str, ...]:
    """What is kept of a principal with its session: its scopes, and the tenants that the session may be changed to."""
    held = set(principal.scopes) | {_TENANT_GRANT + tenant for tenant in principal.tenants}
    return tuple(sorted(held | {OPERATOR} if principal.any_tenant else held))


def tenants_among(grants: Iterable[str]) -> tuple[str, ...]:
    """The tenants in the grants of a session, sorted; see `session_grants`."""
    return tuple(sorted(text.removeprefix(_TENANT_GRANT) for text in grants if text.startswith(_TENANT_GRANT)))


def parse_key_name(name: str) -> str:
    """The name of an API key. Raises ValueError if it is too long or not printable."""
    if len(name) > _KEY_NAME_MAX or not name.isprintable():
        raise ValueError(f"A key's name is printable text of at most {_KEY_NAME_MAX} characters.")
    return name


def new_api_key(
    tenant: str, scopes: tuple[str, ...], now: int, expires_at: int | None = None, name: str = ""
) -> tuple[str, ApiKey]:
    """A new secret, to be shown once, and the key to store. `scopes` come from `parse_scopes`; times are in µs."""
    secret = _new_secret(_KEY_PREFIX)
    key_id = "key_" + "".join(secrets.choice(_DIGITS) for _ in range(_KEY_ID_DIGITS))
    kept = ApiKey(
        id=key_id,
        hash=hash_unchecked(secret),
        tenant=tenant,
        scopes=scopes,
        name=name,
        created_at=now,
        expires_at=expires_at,
    )
    return secret, kept


def new_operator_key(
    ceiling: tuple[str, ...], now: int, expires_at: int | None = None, name: str = ""
) -> tuple[str, ApiKey]:
    """As `new_api_key`, an operator's key, whose tokens have scopes within `ceiling`."""
    secret, key = new_api_key(OPERATORS_TENANT, (), now, expires_at, name)
    return secret, msgspec.structs.replace(key, ceiling=ceiling)


def key_hash(secret: str) -> bytes | None:
    """The hash by which an API key is found, or None if the format or the checksum is wrong."""
    return _checked_hash(secret, _KEY_PREFIX)


def new_session_secret() -> str:
    """A new session secret, `whs_…`."""
    return _new_secret(_SESSION_PREFIX)


def session_hash(secret: str) -> bytes | None:
    """The hash by which a session is found, or None if the format or the checksum is wrong."""
    return _checked_hash(secret, _SESSION_PREFIX)


def new_sign_in_code() -> str:
    """A new code of a sign-in link, `whl_…`, which begins one session."""
    return _new_secret(_CODE_PREFIX)


def sign_in_code_hash(code: str) -> bytes | None:
    """The hash by which a code is found, or None if the format or the checksum is wrong."""
    return _checked_hash(code, _CODE_PREFIX)


def _new_secret(prefix: str) -> str:
    body = prefix + _base62(int.from_bytes(secrets.token_bytes(_SECRET_BYTES)), _BODY_DIGITS)
    return body + _checksum(body)


def _checked_hash(secret: str, prefix: str) -> bytes | None:
    if not secret.startswith(prefix) or _SECRET.fullmatch(secret) is None:
        return None
    if _checksum(secret[:-_CHECK_DIGITS]) != secret[-_CHECK_DIGITS:]:
        return None
    return hash_unchecked(secret)


def hash_unchecked(secret: str) -> bytes:
    """The hash by which a secret is found, whatever its form. For those that were looked up before: the checksum takes
    longer than the hash, and keeps mistyped secrets from the store."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_DIGITS)


def _base62(number: int, width: int) -> str:
    """The last digits of a number. Two at a time, since every request with a key has its checksum computed."""
    pairs = []
    for _ in range(0, width, 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-width:]
