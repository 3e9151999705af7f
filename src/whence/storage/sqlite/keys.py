"""API keys and sessions."""

import apsw

from whence.permissions import ApiKey
from whence.storage.base import Session
from whence.storage.credentials import key_from, row_of_key
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

_SQL = load_blocks("whence.storage.sqlite")


def put_key(connection: apsw.Connection, key: ApiKey) -> None:
    """Keep a new key."""
    connection.execute(_SQL["add_key"], row_of_key(key))


def find_key(connection: apsw.Connection, key_hash: bytes) -> ApiKey | None:
    """The key with this hash."""
    row = connection.execute(_SQL["key"] + " WHERE hash = ?", (key_hash,)).fetchone()
    return None if row is None else key_from(row)


def get_key(connection: apsw.Connection, key_id: str) -> ApiKey | None:
    """The key with this public id."""
    row = connection.execute(_SQL["key"] + " WHERE id = ?", (key_id,)).fetchone()
    return None if row is None else key_from(row)


def list_keys(connection: apsw.Connection, tenant: str) -> list[ApiKey]:
    """A tenant's keys, oldest first."""
    return [
        key_from(row)
        for row in connection.execute(_SQL["key"] + " WHERE tenant = ? ORDER BY created_at, id", (tenant,))
    ]


def revoke_key(connection: apsw.Connection, tenant: str, key_id: str, at: int) -> bool:
    """End a key and its sessions; False when the tenant has no such key."""
    connection.execute(_SQL["revoke_key"], (at, tenant, key_id))
    if not connection.changes():
        return False
    connection.execute(_SQL["end_sessions_of_key"], (key_id,))
    return True


def touch_keys(connection: apsw.Connection, used: dict[str, int]) -> None:
    """Note when keys were last used."""
    connection.executemany(_SQL["touch_key"], [(at, key_id) for key_id, at in used.items()])


def put_session(connection: apsw.Connection, session: Session, now: int) -> None:
    """Keep a session, and forget those that ended before `now`."""
    connection.execute(_SQL["forget_sessions"], (now,))
    connection.execute(_SQL["add_session"], (session.hash, session.key_id, session.expires_at))


def find_session(connection: apsw.Connection, session_hash: bytes) -> Session | None:
    """The session with this hash."""
    row = connection.execute(_SQL["find_session"], (session_hash,)).fetchone()
    return None if row is None else Session(*row)


def end_session(connection: apsw.Connection, session_hash: bytes) -> None:
    """Forget a session."""
    connection.execute(_SQL["end_session"], (session_hash,))
