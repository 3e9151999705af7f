"""API keys and sessions on SQLite."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import apsw

from whence.errors import WhenceError
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
from whence.storage.sql import load_blocks

__all__ = ["Read", "SQLiteCredentials"]

_SQL = load_blocks("whence.storage.sqlite")

Read = Callable[[str, Callable[[apsw.Connection], Any]], Awaitable[Any]]
"""Runs a question in a transaction, on the share of a tenant; an empty one is that of lookups, which are short."""

Write = Callable[[Callable[[apsw.Connection], Any]], Awaitable[Any]]
"""Runs work in a transaction and commits it."""


class SQLiteCredentials:
    """The API keys and sessions in one file; see `Credentials`."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def put_key(self, key: ApiKey, *, limited: bool = False) -> None:
        """Store a new key."""

        def refusal_in(connection: apsw.Connection) -> WhenceError | None:
            [counts] = connection.execute(_SQL["count_keys"], (key.tenant, key.created_at))
            return keys_refusal(*counts)

        def put(connection: apsw.Connection) -> WhenceError | None:
            refusal = refusal_in(connection) if limited else None
            if refusal is None:
                connection.execute(_SQL["add_key"], key_values(key))
            return refusal

        # Counted by a reader first: the writer, which serves all tenants, counts only for keys that are likely to fit.
        if limited and (refusal := await self._read(key.tenant, refusal_in)) is not None:
            raise refusal
        await self._write_unless_refused(put)

    async def find_key(self, key_hash: bytes) -> ApiKey | None:
        """The key with this hash."""
        return await self._key_where("hash = ?", key_hash)

    async def get_key(self, key_id: str) -> ApiKey | None:
        """The key with this public id."""
        return await self._key_where("id = ?", key_id)

    async def _key_where(self, condition: str, value: bytes | str) -> ApiKey | None:
        text = f"{_SQL['key']} WHERE {condition}"
        row = await self._read("", lambda connection: connection.execute(text, (value,)).fetchone())
        return None if row is None else key_from(row)

    async def list_keys(self, tenant: str, after: KeyPlace | None = None, limit: int | None = None) -> list[ApiKey]:
        """A tenant's keys, oldest first."""
        values = (tenant, *(after or FIRST_PLACE), -1 if limit is None else limit)
        rows = await self._read(tenant, lambda connection: connection.execute(_SQL["keys_after"], values).fetchall())
        return [key_from(row) for row in rows]

    async def revoke_key(self, tenant: str, key_id: str, at: int) -> bool:
        """Revoke a key and end its sessions."""

        def revoke(connection: apsw.Connection) -> bool:
            connection.execute(_SQL["revoke_key"], (at, tenant, key_id))
            if not connection.changes():
                return False
            connection.execute(_SQL["end_sessions_of_key"], (key_id,))
            return True

        revoked: bool = await self._write(revoke)
        return revoked

    async def touch_keys(self, used: dict[str, int]) -> None:
        """Record when keys were last used."""
        rows = [(at, key_id) for key_id, at in used.items()]

        def touch(connection: apsw.Connection) -> None:
            connection.executemany(_SQL["touch_key"], rows)

        await self._write(touch)

    async def put_session(self, session: Session) -> None:
        """Store a session and delete the expired ones."""
        now = time.time_ns() // 1_000

        def put(connection: apsw.Connection) -> WhenceError | None:
            connection.execute(_SQL["delete_expired_sessions"], (now,))
            [counts] = connection.execute(_SQL["count_sessions"], (session.key_id, session.tenant, now))
            refusal = sessions_refusal(*counts, now=now)
            if refusal is None:
                connection.execute(_SQL["add_session"], session_values(session))
            return refusal

        await self._write_unless_refused(put)

    async def find_session(self, session_hash: bytes) -> Session | None:
        """The session with this hash."""
        values = (session_hash,)
        row = await self._read("", lambda connection: connection.execute(_SQL["find_session"], values).fetchone())
        return None if row is None else session_from(row)

    async def end_session(self, session_hash: bytes) -> None:
        """Delete a session."""
        await self._execute("end_session", (session_hash,))

    async def take_session(self, session_hash: bytes) -> Session | None:
        """Delete a session and return it."""

        def take(connection: apsw.Connection) -> Any:
            return connection.execute(_SQL["take_session"], (session_hash,)).fetchone()

        row = await self._write(take)
        return None if row is None else session_from(row)

    async def _write_unless_refused(self, work: Callable[[apsw.Connection], WhenceError | None]) -> None:
        """Write, and raise the refusal that `work` returns. One that is raised would undo the writer's whole group."""
        refusal: WhenceError | None = await self._write(work)
        if refusal is not None:
            raise refusal

    async def _execute(self, block: str, values: tuple[Any, ...]) -> None:
        def execute(connection: apsw.Connection) -> None:
            connection.execute(_SQL[block], values)  # the cursor stays with the writer

        await self._write(execute)
