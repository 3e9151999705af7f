"""Between rows and API keys, in the order of the columns of the block `key`; the same on every store."""

from collections.abc import Iterable
from typing import Any

from whence.permissions import ApiKey

__all__ = ["key_from", "row_of_key"]


def key_from(row: Iterable[Any]) -> ApiKey:
    """The key of a `key` row."""
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


def row_of_key(key: ApiKey) -> tuple[Any, ...]:
    """The values of `add_key`, which `key_from` takes in again."""
    scopes = " ".join(key.scopes)
    times = (key.created_at, key.expires_at, key.revoked_at, key.last_used_at)
    return key.id, key.hash, key.tenant, key.name, scopes, *times
