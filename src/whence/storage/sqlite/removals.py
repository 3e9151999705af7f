"""Removing payloads and events, on SQLite. Each removal is a request of the writer, so no append comes between its
statements."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import apsw

from whence.errors import Unavailable, Unsound, WhenceError
from whence.identities import spellings
from whence.integrity import hash_payload
from whence.storage.purging import lasting_kinds
from whence.storage.removals import (
    HOLD,
    Erased,
    HoldsChanged,
    HoldVersion,
    LaterEvents,
    Purge,
    refuse_unknown_holds,
)
from whence.storage.resolve import Kind
from whence.storage.sequencing import HeadDraft
from whence.storage.sql import load_blocks
from whence.storage.sqlite.append import NameCache, head_draft
from whence.storage.sqlite.connection import connect
from whence.storage.sqlite.credentials import Read, Write
from whence.storage.sqlite.erasure_ledger import ErasureLedger
from whence.storage.sqlite.interrupted_removals import decide
from whence.storage.sqlite.payload_index import forget_payload_values
from whence.storage.sqlite.purge import PreparedPurge, forget_content, prepare_purge, purge_events
from whence.storage.sqlite.rows import head_row, key_of, number_of

__all__ = ["SQLiteRemovals"]

_SQL = load_blocks("whence.storage.sqlite")

_SCRUB_TRIES = 50
_SCRUB_WAIT_S = 0.02
"""A truncating checkpoint needs a moment in which nobody reads an older state; so often it is tried, and so far apart.
It never waits itself, since nobody can commit meanwhile."""

_SCRUB_CACHE_KIB = 1_024


class SQLiteRemovals:
    """What one file can forget; see `Removals`."""

    def __init__(self, path: str, read: Read, write: Write, names: NameCache, *, serving: bool) -> None:
        """`read` reads in a thread. `names` are those that the writer has in memory. Only a process that serves the
        file removes from it."""
        self._path = path
        self._read = read
        self._write = write
        self._names = names
        self._serving = serving
        self._ledger = ErasureLedger(path)
        self._undecided: set[Erased] = set()  # what this process has noted, and not how it ended

    async def erase_payloads(
        self, tenant: str, positions: Sequence[int], erased_at: int, holds: Sequence[HoldVersion]
    ) -> int:
        """Erase payloads, with their salts and with what webhooks answered to them."""
        noted: list[Erased] = []

        def erase(connection: apsw.Connection, head: HeadDraft) -> int:
            return self._erase_payloads(connection, head, positions, erased_at, noted)

        done = await self._remove(tenant, erase, holds)
        await self._end(noted)
        return done

    async def purge(self, tenant: str, purge: Purge, holds: Sequence[HoldVersion]) -> int:
        """Remove events, with their rows in every count."""

        def prepare(connection: apsw.Connection) -> PreparedPurge | None:
            row = head_row(connection, tenant)
            return None if row is None else prepare_purge(connection, HeadDraft(tenant, row), purge)

        prepared: PreparedPurge | None = None
        with suppress(WhenceError):  # such as a batch with very many effects, which the writer reads
            prepared = await self._read(tenant, prepare)

        def remove(connection: apsw.Connection, head: HeadDraft) -> int:
            return purge_events(connection, self._names, head, purge, prepared)

        return await self._remove(tenant, remove, holds)

    async def erase_actor(
        self,
        tenant: str,
        actor: tuple[str, str],
        new_id: str,
        erased_at: int,
        holds: Sequence[HoldVersion],
        upto: int | None = None,
    ) -> int:
        """Replace the id of an actor."""
        type_, id_ = actor
        noted: list[Erased] = []

        def erase(connection: apsw.Connection, head: HeadDraft) -> int | LaterEvents:
            name, key = _stored_actor(connection, head.tenant_no, type_, spellings(id_))
            if key is None or _stored_actor(connection, head.tenant_no, type_, [new_id])[1] is not None:
                return 0
            if upto is not None:
                after = (head.tenant_no, number_of(key), key_of(head.tenant_no, upto), key_of(head.tenant_no + 1, 0))
                if connection.execute(_SQL["later_event_of_actor"], after).get:
                    return LaterEvents("The actor has later events. Nothing was removed.")
            row: Any = connection.execute(_SQL["event_of_actor"], (head.tenant_no, number_of(key))).fetchone()
            if row is not None:
                self._note(Erased(tenant, ((number_of(row[0]), row[1]),), new_id), noted)
            connection.execute(_SQL["erase_actor"], (new_id, erased_at, key))
            connection.execute(_SQL["erase_answers_of_actor"], (head.tenant_no, number_of(key)))
            self._names.forget([(head.tenant_no, name, type_)])
            connection.execute(_SQL["save_erasure"], (head.tenant_no, head.payload_bytes, head.measured_to))
            events: int = connection.execute(_SQL["events_of_actor"], (head.tenant_no, number_of(key))).get
            return events

        done = await self._remove(tenant, erase, holds)
        await self._end(noted)
        return done

    def _erase_payloads(
        self,
        connection: apsw.Connection,
        head: HeadDraft,
        positions: Sequence[int],
        erased_at: int,
        noted: list[Erased],
    ) -> int:
        """Erase the payloads at these positions, and return how many there were. Adds to `noted` what it notes in the
        ledger. Raises Unsound where a salt is missing."""
        lasting = lasting_kinds(Kind(*row) for row in connection.execute(_SQL["kinds"], (head.tenant_no,)))
        going: list[tuple[int, bytes, int]] = []
        erased: list[tuple[int, bytes]] = []
        for position in dict.fromkeys(positions):
            key = key_of(head.tenant_no, position)
            row: Any = connection.execute(_SQL["payloads_to_erase"], (key,)).fetchone()
            if row is None or row[0] in lasting:
                continue
            _, salt, payload, leaf = row
            if salt is None:
                raise Unsound(f"{head.tenant}, position {position}: the salt of the payload is missing.")
            going.append((key, hash_payload(salt, payload), erased_at))
            head.payload_bytes -= len(payload)
            erased.append((position, leaf))
        forget_payload_values(connection, head.tenant_no, [position for position, _ in erased])  # reads the payloads
        connection.executemany(_SQL["erase_payload"], going)
        forget_content(connection, head.tenant_no, positions)
        if erased:
            self._note(Erased(head.tenant, tuple(erased)), noted)
            connection.execute(_SQL["save_erasure"], (head.tenant_no, head.payload_bytes, head.measured_to))
        return len(erased)

    def _note(self, erased: Erased, noted: list[Erased]) -> None:
        """Note in the ledger what is about to be erased, and add it to `noted`. Raises Unavailable when that fails:
        then nothing is erased."""
        self._undecided.add(erased)
        try:
            self._ledger.add(erased.tenant, erased.events, erased.new_id)
        except OSError as error:
            raise Unavailable(f"The ledger of erasures cannot be written: {error.strerror}.") from None
        noted.append(erased)

    async def _end(self, noted: Sequence[Erased]) -> None:
        """Note in the ledger that these erasures have happened. If that fails, the file says so."""
        if noted:
            with suppress(OSError):
                await asyncio.to_thread(self._ledger.end, [(erased, True) for erased in noted])
                self._undecided.difference_update(noted)

    async def settle(self, tenant: str) -> None:
        """Wait for the requests that the writer has: it takes one after the other. An erasure that failed is decided,
        so that a hold that comes after it keeps what it has not erased."""

        def decide_all(connection: apsw.Connection) -> None:
            if self._undecided:
                decide(connection, self._ledger)  # reads the whole ledger
                self._undecided.clear()

        await self._write(decide_all)

    async def unseen_erasures(self) -> list[Erased]:
        """Nothing: `whence restore` returns what has to be erased again."""
        return []

    async def see_erasures(self, entries: Sequence[Erased]) -> None:
        """Do nothing; see `unseen_erasures`."""

    async def scrub(self) -> bool:
        """Empty the write-ahead log into the file, in which removed bytes are overwritten."""
        for _ in range(_SCRUB_TRIES):
            if await asyncio.to_thread(_truncate_log, self._path):
                return True
            await asyncio.sleep(_SCRUB_WAIT_S)
        return False

    async def _remove(
        self,
        tenant: str,
        work: Callable[[apsw.Connection, HeadDraft], int | LaterEvents],
        holds: Sequence[HoldVersion],
    ) -> int:
        """Remove something, unless a hold is stored that is not among `holds`."""
        if not self._serving:
            raise Unavailable("This process opened the store beside its server and may not remove from it.")

        def remove(connection: apsw.Connection) -> int | HoldsChanged | LaterEvents:
            if head_row(connection, tenant) is None:
                return 0
            try:
                refuse_unknown_holds(connection.execute(_SQL["hold_versions"], (HOLD, tenant)), holds)
            except HoldsChanged as error:
                return error  # raising it would undo the writer's whole group
            return work(connection, head_draft(connection, tenant))

        done: int | HoldsChanged | LaterEvents = await self._write(remove)
        if not isinstance(done, int):
            raise done
        return done


def _stored_actor(
    connection: apsw.Connection, tenant_no: int, actor_type: str, names: Iterable[str]
) -> tuple[str, int | None]:
    """The first of some names that an actor has, and the key of that actor; None when there is none."""
    for name in names:
        key: int | None = connection.execute(_SQL["actor_number"], (tenant_no, name, actor_type)).get
        if key is not None:
            return name, key
    return "", None


def _truncate_log(path: str) -> bool:
    """Try once to empty the write-ahead log of a file."""
    connection = connect(path, _SCRUB_CACHE_KIB)
    try:
        connection.set_busy_timeout(0)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return False
    finally:
        connection.close()
    return True
