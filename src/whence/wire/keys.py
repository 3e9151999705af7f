"""The JSON bodies of API keys and sessions. The secret of a key is shown once, when the key is made."""

from typing import Literal

import msgspec

from whence.permissions import ApiKey
from whence.wire.times import format_time

__all__ = [
    "CreatedKeyBody",
    "CurrentSessionBody",
    "KeyBody",
    "KeysBody",
    "SessionBody",
    "SessionLinkBody",
    "SessionTenantBody",
    "SessionTenantsBody",
    "TenantBody",
    "TenantTokenBody",
    "TenantsBody",
    "created_key_body",
    "key_body",
]


class KeyBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An API key without its secret. A time is null if it has not happened, or never will.

    An operator's key belongs to no tenant, whose id is then empty, and its scopes are those that its tokens may have.
    """

    id: str
    tenant_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class CreatedKeyBody(KeyBody, frozen=True, kw_only=True, rename="camel"):
    """A new API key with its secret, which is not shown again."""

    key: str

    def __repr__(self) -> str:
        return f"CreatedKeyBody(id={self.id!r})"


class KeysBody(msgspec.Struct, frozen=True):
    """The tenant's API keys, oldest first."""

    keys: list[KeyBody]


class SessionBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A new session: its tenant, its scopes, and when it ends."""

    tenant_id: str
    scopes: tuple[str, ...]
    expires_at: str


class CurrentSessionBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who is signed in, and how: by a cookie or by a header. `expiresAt` is null for a key that does not expire, and
    `keyName` for what was made without an API key. An operator's key has an empty `tenantId`."""

    carrier: Literal["cookie", "header"]
    expires_at: str | None
    key_name: str | None
    scopes: tuple[str, ...]
    tenant_id: str


class SessionLinkBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The code of a sign-in link, and when it ends."""

    code: str
    expires_at: str

    def __repr__(self) -> str:
        return f"SessionLinkBody(expires_at={self.expires_at!r})"


class SessionTenantBody(msgspec.Struct, frozen=True, rename="camel"):
    """A tenant that a session may be changed to."""

    tenant_id: str


class SessionTenantsBody(msgspec.Struct, frozen=True, rename="camel"):
    """A page of the tenants that the caller may have a session in, by name. With `anyTenant` these are all that
    have a log or a key."""

    any_tenant: bool
    tenants: list[SessionTenantBody]


class TenantBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A tenant: how many events it has stored, the bytes of their payloads, and when the last was stored."""

    events: int
    payload_bytes: int
    recorded_at: str | None
    tenant_id: str


class TenantsBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of the tenants that have a log or a key, by name; and the quotas of each tenant, null for no limit."""

    bytes_max: int | None
    events_per_s: int | None
    tenants: list[TenantBody]


class TenantTokenBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A token of an operator's key for one tenant. It is sent as a bearer token."""

    tenant_id: str
    scopes: tuple[str, ...]
    expires_at: str
    token: str

    def __repr__(self) -> str:
        return f"TenantTokenBody(tenant_id={self.tenant_id!r})"


def key_body(key: ApiKey) -> KeyBody:
    """The body of a key."""
    return KeyBody(
        id=key.id,
        tenant_id=key.tenant,
        name=key.name,
        scopes=key.scopes if key.ceiling is None else key.ceiling,
        created_at=format_time(key.created_at),
        expires_at=_time(key.expires_at),
        revoked_at=_time(key.revoked_at),
        last_used_at=_time(key.last_used_at),
    )


def created_key_body(key: ApiKey, secret: str) -> CreatedKeyBody:
    """The body of a new key, with its secret."""
    return CreatedKeyBody(**msgspec.structs.asdict(key_body(key)), key=secret)


def _time(at: int | None) -> str | None:
    return None if at is None else format_time(at)
