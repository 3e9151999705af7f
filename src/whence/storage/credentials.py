"""API keys and sessions: what a store promises about them, and the rows that both stores keep them in."""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from whence.errors import Throttled
from whence.permissions import ApiKey

__all__ = [
    "FIRST_PLACE",
    "KEYS_ALIVE_MAX",
    "KEYS_MAX",
    "SESSIONS_MAX",
    "Credentials",
    "KeyPlace",
    "Session",
    "key_from",
    "key_values",
    "keys_refusal",
    "session_from",
    "session_values",
    "sessions_refusal",
]

KEYS_ALIVE_MAX = 1_000
"""API keys of one tenant that are neither revoked nor expired."""

KEYS_MAX = 10_000
"""API keys of one tenant in all."""

SESSIONS_MAX = 100
"""Sessions of one API key, or of one operator's key in one tenant, that have not ended."""

KeyPlace = tuple[int, str]
"""Where a key stands in the list of its tenant: when it was made, and its id."""

FIRST_PLACE: KeyPlace = (-(2**62), "")
"""Before every key."""

_RETRY_KEYS_S = 3_600


class Session(msgspec.Struct, frozen=True):
    """A browser session, which ends with the API key that made it.

    A sign-in link is kept as one too, of which the code is the secret. No code is accepted as a session, nor the other
    way round, since their prefixes differ.

    `hash` is the SHA-256 of its secret. `expires_at` is in microseconds since the epoch. `tenant` and `scopes` are set
    for a session that was made with the token of an operator's key; else they are those of the key.
    """

    hash: bytes
    key_id: str
    expires_at: int
    tenant: str | None = None
    scopes: tuple[str, ...] | None = None


class Credentials(Protocol):
    """The API keys and sessions of a store.

    Each method is one transaction and raises `Unavailable` when the store cannot serve. Times are in microseconds
    since the epoch. Except where a tenant is passed, keys of every tenant are found: the caller is not yet known.
    """

    async def put_key(self, key: ApiKey, *, limited: bool = False) -> None:
        """Store a new API key. It is durable on return.

        With `limited`, raises Throttled when the tenant has `KEYS_ALIVE_MAX` keys that are alive at `key.created_at`,
        or `KEYS_MAX` in all. Concurrent calls cannot pass the limits together.
        """
        ...

    async def find_key(self, key_hash: bytes) -> ApiKey | None:
        """The key with this SHA-256, revoked and expired ones included."""
        ...

    async def get_key(self, key_id: str) -> ApiKey | None:
        """The key with this public id, revoked and expired ones included."""
        ...

    async def list_keys(self, tenant: str, after: KeyPlace | None = None, limit: int | None = None) -> list[ApiKey]:
        """The tenant's keys, oldest first, revoked and expired ones included: those after a place, at most `limit`."""
        ...

    async def revoke_key(self, tenant: str, key_id: str, at: int) -> bool:
        """Revoke a key of this tenant and end its sessions. Returns False when the tenant has no such key.

        Revoking a key again keeps the time of its first revocation.
        """
        ...

    async def touch_keys(self, used: dict[str, int]) -> None:
        """Record when keys, by their public ids, were last used.

        Unknown ids are ignored, and an earlier time never replaces a later one. A crash may lose what was recorded.
        """
        ...

    async def put_session(self, session: Session) -> None:
        """Store a session and delete the expired ones. It is durable on return.

        Raises Throttled when the key has `SESSIONS_MAX` sessions already, in the same tenant. Concurrent calls cannot
        pass the limit together.
        """
        ...

    async def find_session(self, session_hash: bytes) -> Session | None:
        """The session with this SHA-256, expired ones included."""
        ...

    async def end_session(self, session_hash: bytes) -> None:
        """Delete a session. Does nothing when there is none."""
        ...

    async def take_session(self, session_hash: bytes) -> Session | None:
        """Delete a session and return it, an expired one too; None when there is none. Of several calls for the same
        one, at most one gets it, whichever processes they are in."""
        ...


def key_from(row: Iterable[Any]) -> ApiKey:
    """The API key in a row of the SQL block `key`."""
    id_, hash_, tenant, name, scopes, created_at, expires_at, revoked_at, last_used_at, ceiling = row
    return ApiKey(
        id=id_,
        hash=hash_,
        tenant=tenant,
        name=name,
        scopes=tuple(scopes.split()),
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
        last_used_at=last_used_at,
        ceiling=None if ceiling is None else tuple(ceiling.split()),
    )


def key_values(key: ApiKey) -> tuple[Any, ...]:
    """The parameters of the SQL block `add_key`; the inverse of `key_from`."""
    scopes = " ".join(key.scopes)
    times = (key.created_at, key.expires_at, key.revoked_at, key.last_used_at)
    ceiling = None if key.ceiling is None else " ".join(key.ceiling)
    return key.id, key.hash, key.tenant, key.name, scopes, *times, ceiling


def session_from(row: Iterable[Any]) -> Session:
    """The session in a row of the SQL block `find_session`."""
    hash_, key_id, expires_at, tenant, scopes = row
    return Session(hash_, key_id, expires_at, tenant, None if scopes is None else tuple(scopes.split()))


def session_values(session: Session) -> tuple[Any, ...]:
    """The parameters of the SQL block `add_session`; the inverse of `session_from`."""
    scopes = None if session.scopes is None else " ".join(session.scopes)
    return session.hash, session.key_id, session.expires_at, session.tenant, scopes


def keys_refusal(alive: int, in_all: int) -> Throttled | None:
    """The error if a tenant with this many keys may have no further one."""
    if alive >= KEYS_ALIVE_MAX:
        return Throttled(
            f"This tenant has {KEYS_ALIVE_MAX:,} API keys, and can have no more. Revoke those that are not needed.",
            _RETRY_KEYS_S,
        )
    if in_all >= KEYS_MAX:
        return Throttled(
            f"This tenant has made {KEYS_MAX:,} API keys, with the revoked ones. The operator can make more.",
            _RETRY_KEYS_S,
        )
    return None


def sessions_refusal(count: int, first_ends_at: int | None, *, now: int) -> Throttled | None:
    """The error if a key with this many sessions may have no further one. Times are in microseconds."""
    if count < SESSIONS_MAX:
        return None
    wait_us = max(0, (first_ends_at or now) - now)
    return Throttled(
        f"This key has {SESSIONS_MAX} sessions, and can have no more. End some, or wait until one expires.",
        1 + wait_us // 1_000_000,
    )
