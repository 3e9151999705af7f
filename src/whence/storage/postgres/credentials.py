"""API keys and sessions on PostgreSQL."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from whence.permissions import ApiKey
from whence.storage.credentials import (
    FIRST_PLACE,
    KeyPlace,
    Session,
    key_from,
    key_values,
    keys_refusal,
    session_from,
    session_values,
    sessions_refusal,
)
from whence.storage.postgres.connections import Connection, TransactionWork
from whence.storage.sql import load_blocks

__all__ = ["PostgresCredentials"]

_SQL = load_blocks("whence.storage.postgres")

Run = Callable[[TransactionWork, str], Awaitable[Any]]
"""Runs work in a transaction of no tenant and commits it, on a tenant's share of the connections; an empty one is that
of lookups, which are short."""


class PostgresCredentials:
    """The API keys and sessions in one database; see `Credentials`."""

    def __init__(self, read: Run, write: Run) -> None:
        self._read = read
        self._write = write

    async def put_key(self, key: ApiKey, *, limited: bool = False) -> None:
        """Store a new key."""

        async def put(connection: Connection) -> None:
            await connection.execute(_SQL["lock_limit"], key.tenant)
            if limited:
                refusal = keys_refusal(*await connection.fetchrow(_SQL["count_keys"], key.tenant, key.created_at))
                if refusal is not None:
                    raise refusal
            await connection.execute(_SQL["add_key"], *key_values(key))

        await self._write(put, key.tenant)

    async def find_key(self, key_hash: bytes) -> ApiKey | None:
        """The key with this hash."""
        return await self._key_where("hash = $1", key_hash)

    async def get_key(self, key_id: str) -> ApiKey | None:
        """The key with this public id."""
        return await self._key_where("id = $1", key_id)

    async def _key_where(self, condition: str, value: bytes | str) -> ApiKey | None:
        text = f"{_SQL['key']} WHERE {condition}"
        row = await self._read(lambda connection: connection.fetchrow(text, value), "")
        return None if row is None else key_from(row)

    async def list_keys(self, tenant: str, after: KeyPlace | None = None, limit: int | None = None) -> list[ApiKey]:
        """A tenant's keys, oldest first."""
        values = (tenant, *(after or FIRST_PLACE), limit)
        rows = await self._read(lambda connection: connection.fetch(_SQL["keys_after"], *values), tenant)
        return [key_from(row) for row in rows]

    async def revoke_key(self, tenant: str, key_id: str, at: int) -> bool:
        """Revoke a key and end its sessions."""

        async def revoke(connection: Connection) -> bool:
            if await connection.fetchrow(_SQL["revoke_key"], at, tenant, key_id) is None:
                return False
            await connection.execute(_SQL["lock_sessions"])
            await connection.execute(_SQL["end_sessions_of_key"], key_id)
            return True

        revoked: bool = await self._write(revoke, tenant)
        return revoked

    async def touch_keys(self, used: dict[str, int]) -> None:
        """Record when keys were last used."""

        async def touch(connection: Connection) -> None:
            await connection.execute(_SQL["lock_key_uses"])
            await connection.execute(_SQL["touch_key"], list(used), list(used.values()))

        await self._write(touch, "")

    async def put_session(self, session: Session) -> None:
        """Store a session and delete the expired ones, unless another server is deleting them."""
        now = time.time_ns() // 1_000

        async def put(connection: Connection) -> None:
            if await connection.fetchval(_SQL["try_lock_sessions"]):
                await connection.execute(_SQL["delete_expired_sessions"], now)
            await connection.execute(_SQL["lock_limit"], session.key_id)
            counts = await connection.fetchrow(_SQL["count_sessions"], session.key_id, session.tenant, now)
            refusal = sessions_refusal(*counts, now=now)
            if refusal is not None:
                raise refusal
            await connection.execute(_SQL["add_session"], *session_values(session))

        await self._write(put, session.key_id)

    async def find_session(self, session_hash: bytes) -> Session | None:
        """The session with this hash."""
        row = await self._read(lambda connection: connection.fetchrow(_SQL["find_session"], session_hash), "")
        return None if row is None else session_from(row)

    async def end_session(self, session_hash: bytes) -> None:
        """Delete a session."""
        await self._write(lambda connection: connection.execute(_SQL["end_session"], session_hash), "")

    async def take_session(self, session_hash: bytes) -> Session | None:
        """Delete a session and return it."""
        row = await self._write(lambda connection: connection.fetchrow(_SQL["take_session"], session_hash), "")
        return None if row is None else session_from(row)
