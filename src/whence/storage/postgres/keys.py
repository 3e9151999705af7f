"""API keys and sessions."""

from whence.permissions import ApiKey
from whence.storage.base import Session
from whence.storage.credentials import key_from, row_of_key
from whence.storage.postgres.connections import Connection
from whence.storage.sql import load_blocks

__all__ = [
    "end_session",
    "find_key",
    "find_session",
    "get_key",
    "list_keys",
    "put_key",
    "put_session",
    "revoke_key",
    "touch_keys",
]

_SQL = load_blocks("whence.storage.postgres")


async def put_key(connection: Connection, key: ApiKey) -> None:
    """Keep a new key."""
    await connection.execute(_SQL["add_key"], *row_of_key(key))


async def find_key(connection: Connection, key_hash: bytes) -> ApiKey | None:
    """The key with this hash."""
    row = await connection.fetchrow(_SQL["key"] + " WHERE hash = $1", key_hash)
    return None if row is None else key_from(row)


async def get_key(connection: Connection, key_id: str) -> ApiKey | None:
    """The key with this public id."""
    row = await connection.fetchrow(_SQL["key"] + " WHERE id = $1", key_id)
    return None if row is None else key_from(row)


async def list_keys(connection: Connection, tenant: str) -> list[ApiKey]:
    """A tenant's keys, oldest first."""
    rows = await connection.fetch(_SQL["key"] + " WHERE tenant = $1 ORDER BY created_at, id", tenant)
    return [key_from(row) for row in rows]


async def revoke_key(connection: Connection, tenant: str, key_id: str, at: int) -> bool:
    """End a key and its sessions; False when the tenant has no such key."""
    if await connection.fetchrow(_SQL["revoke_key"], at, tenant, key_id) is None:
        return False
    await connection.execute(_SQL["lock_sessions"])
    await connection.execute(_SQL["end_sessions_of_key"], key_id)
    return True


async def touch_keys(connection: Connection, used: dict[str, int]) -> None:
    """Note when keys were last used."""
    await connection.execute(_SQL["lock_key_uses"])
    await connection.execute(_SQL["touch_key"], list(used), list(used.values()))


async def put_session(connection: Connection, session: Session, now: int) -> None:
    """Keep a session, and forget those that ended before `now`."""
    if await connection.fetchval(_SQL["may_forget_sessions"]):
        await connection.execute(_SQL["forget_sessions"], now)
    await connection.execute(_SQL["add_session"], session.hash, session.key_id, session.expires_at)


async def find_session(connection: Connection, session_hash: bytes) -> Session | None:
    """The session with this hash."""
    row = await connection.fetchrow(_SQL["find_session"], session_hash)
    return None if row is None else Session(*row)


async def end_session(connection: Connection, session_hash: bytes) -> None:
    """Forget a session."""
    await connection.execute(_SQL["end_session"], session_hash)
