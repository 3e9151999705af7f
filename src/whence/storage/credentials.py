"""API keys and sessions: what a store promises about them, and the rows that both stores keep them in."""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from whence.permissions import ApiKey

__all__ = ["Credentials", "Session", "key_from", "key_values"]


class Session(msgspec.Struct, frozen=True):
    """A browser session, which ends with the API key that made it.

    `hash` is the SHA-256 of its secret. `expires_at` is in microseconds since the epoch.
    """

    hash: bytes
    key_id: str
    expires_at: int


class Credentials(Protocol):
    """The API keys and sessions of a store.

    Each method is one transaction and raises `Unavailable` when the store cannot serve. Times are in microseconds
    since the epoch. Except where a tenant is passed, keys of every tenant are found: the caller is not yet known.
    """

    async def put_key(self, key: ApiKey) -> None:
        """Store a new API key. It is durable on return."""
        ...

    async def find_key(self, key_hash: bytes) -> ApiKey | None:
        """The key with this SHA-256, revoked and expired ones included."""
        ...

    async def get_key(self, key_id: str) -> ApiKey | None:
        """The key with this public id, revoked and expired ones included."""
        ...

    async def list_keys(self, tenant: str) -> list[ApiKey]:
        """The tenant's keys, oldest first, revoked and expired ones included."""
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
        """Store a session and delete the expired ones. It is durable on return."""
        ...

    async def find_session(self, session_hash: bytes) -> Session | None:
        """The session with this SHA-256, expired ones included."""
        ...

    async def end_session(self, session_hash: bytes) -> None:
        """Delete a session. Does nothing when there is none."""
        ...


def key_from(row: Iterable[Any]) -> ApiKey:
    """The API key in a row of the SQL block `key`."""
    id_, hash_, tenant, name, scopes, created_at, expires_at, revoked_at, last_used_at = row
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
    )


def key_values(key: ApiKey) -> tuple[Any, ...]:
    """The parameters of the SQL block `add_key`; the inverse of `key_from`."""
    scopes = " ".join(key.scopes)
    times = (key.created_at, key.expires_at, key.revoked_at, key.last_used_at)
    return key.id, key.hash, key.tenant, key.name, scopes, *times
