"""What makes logs provable, on SQLite."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import apsw
import structlog

from whence.errors import Unavailable, WhenceError
from whence.merkle import HASH_SIZE
from whence.merkle_proofs import LeafRange
from whence.storage.replication import evidence_from
from whence.storage.seals import (
    HOUR_US,
    Evidence,
    NewCheckpoint,
    Origin,
    SealedCheckpoint,
    Signed,
    TileRow,
    UnsealedLog,
)
from whence.storage.sql import load_blocks
from whence.storage.sqlite.credentials import Read
from whence.storage.sqlite.replication import read_part
from whence.storage.sqlite.rows import key_of, uuid_bytes
from whence.storage.sqlite.signed_record import SignedRecord
from whence.tiles import TILE_WIDTH, Tile

__all__ = ["SQLiteSeals"]

_SQL = load_blocks("whence.storage.sqlite")

_NO_LIMIT = 2**62

_NO_TENANT = ""
"""Whose share of the readers is used by what is asked for several tenants together."""

_LEAVES_INLINE_MAX = 1_024
"""So many leaves are read in less than a millisecond. To ask a thread for them would cost more."""

Work = Callable[[apsw.Connection, int], Any]
"""What is done in a transaction with the number of a tenant, or 0, of which there are no rows."""

_log = structlog.get_logger("whence.storage")


class Submit(Protocol):
    """Runs work in a transaction and commits it; see `Writer.submit`."""

    def __call__(
        self, work: Callable[[apsw.Connection], Any], retry: Callable[[apsw.Connection], Any] | None = None, /
    ) -> Awaitable[Any]:
        """Run `retry` if `work` raises."""
        ...


class SQLiteSeals:
    """What makes the logs of one file provable; see `Seals`."""

    logs_at_once = 128  # they share a commit, and hold up the writer for three milliseconds

    def __init__(self, read: Read, read_in_thread: Read, write: Submit, record: SignedRecord) -> None:
        self._read = read
        self._read_in_thread = read_in_thread
        self._write = write
        self._record = record

    async def unsealed(self) -> list[UnsealedLog]:
        """The logs that are longer than their newest checkpoint."""
        rows = await self._read(_NO_TENANT, lambda connection: connection.execute(_SQL["unsealed"]).fetchall())
        return [UnsealedLog(*row) for row in rows]

    async def list_origins(self, tenant: str) -> list[Origin]:
        """The origins of a tenant."""
        found: list[Origin] = await self._ask(tenant, _origins)
        return found

    async def add_origin(self, tenant: str, origin: Origin) -> Origin:
        """Add an origin."""

        def add(connection: apsw.Connection, tenant_no: int) -> list[Origin]:
            if tenant_no:
                connection.execute(_SQL["add_origin"], (tenant_no, origin.epoch, origin.name, origin.key))
            return _origins(connection, tenant_no)

        found: list[Origin] = await self._change(tenant, add)
        return found[-1] if found else origin

    async def put_checkpoints(self, new: Sequence[NewCheckpoint]) -> list[bool | WhenceError]:
        """Store checkpoints, each as the newest of its epoch, in one transaction."""
        retry = partial(_put_separately, new=new)
        done: list[bool | WhenceError] = await self._write(
            lambda connection: [_put_checkpoint(connection, each) for each in new], retry
        )
        return done

    async def list_checkpoints(self, tenant: str, before: int | None, limit: int) -> list[SealedCheckpoint]:
        """The checkpoints of the origin in use."""

        def ask(connection: apsw.Connection, tenant_no: int) -> list[SealedCheckpoint]:
            values = (tenant_no, _NO_LIMIT if before is None else before, limit)
            return [SealedCheckpoint(*row) for row in connection.execute(_SQL["checkpoints"], values)]

        found: list[SealedCheckpoint] = await self._ask(tenant, ask)
        return found

    async def last_checkpoint(self, tenant: str, epoch: int) -> SealedCheckpoint | None:
        """The newest checkpoint of one epoch."""

        def ask(connection: apsw.Connection, tenant_no: int) -> SealedCheckpoint | None:
            row: Any = connection.execute(_SQL["last_checkpoint"], (tenant_no, epoch)).fetchone()
            return None if row is None else SealedCheckpoint(*row)

        found: SealedCheckpoint | None = await self._ask(tenant, ask)
        return found

    async def read_leaves(self, tenant: str, leaves: LeafRange) -> bytes:
        """The leaf hashes of a range, in a thread when there may be many."""
        read = self._read if leaves.end - leaves.first <= _LEAVES_INLINE_MAX else self._read_in_thread
        found: bytes = await read(
            tenant, lambda connection: _leaves(connection, _tenant_no(connection, tenant), leaves)
        )
        return found

    async def read_leaves_of(self, wanted: Sequence[tuple[str, LeafRange]]) -> list[bytes]:
        """The leaf hashes of ranges of several tenants, in one transaction."""
        count = sum(leaves.end - leaves.first for _, leaves in wanted)
        read = self._read if count <= _LEAVES_INLINE_MAX else self._read_in_thread
        found: list[bytes] = await read(
            _NO_TENANT,
            lambda connection: [
                _leaves(connection, _tenant_no(connection, tenant), leaves) for tenant, leaves in wanted
            ],
        )
        return found

    async def read_tiles(self, tenant: str, tiles: Sequence[Tile]) -> list[bytes]:
        """The hashes of each tile."""

        def ask(connection: apsw.Connection, tenant_no: int) -> list[bytes]:
            return [_tile(connection, tenant_no, tile) for tile in tiles]

        found: list[bytes] = await self._ask(tenant, ask)
        return found

    async def count_tiled(self, tenant: str) -> int:
        """How many hashes level 1 has."""

        def ask(connection: apsw.Connection, tenant_no: int) -> int:
            row: Any = connection.execute(_SQL["last_tile"], (tenant_no, 1)).fetchone()
            return 0 if row is None else row[0] * TILE_WIDTH + row[1] // HASH_SIZE

        count: int = await self._ask(tenant, ask)
        return count

    async def put_tiles(self, tenant: str, rows: Sequence[TileRow], first_leaf: bytes | None = None) -> bool:
        """Store tiles, together."""

        def put(connection: apsw.Connection, tenant_no: int) -> bool:
            if not tenant_no:
                return False
            if first_leaf is not None and connection.execute(_SQL["first_leaf"], (tenant_no,)).get != first_leaf:
                return False
            _put_tiles(connection, tenant_no, rows)
            return True

        done: bool = await self._change(tenant, put)
        return done

    async def get_evidence(self, tenant: str, event_id: str) -> Evidence | None:
        """What the leaf of an event is made of."""

        def ask(connection: apsw.Connection, tenant_no: int) -> Evidence | None:
            position: int | None = connection.execute(_SQL["position_of"], (tenant_no, uuid_bytes(event_id))).get
            if position is None:
                return None
            [hashed] = read_part(connection, tenant, position - 1, 1)
            return evidence_from(hashed)

        found: Evidence | None = await self._ask(tenant, ask)
        return found

    async def get_signed(self, origin: str) -> Signed | None:
        """What was last signed for an origin, by the file beside the database."""
        return await asyncio.to_thread(self._record.get, origin)

    async def record_signed(self, wanted: Sequence[tuple[str, Signed]]) -> list[bool]:
        """Record what is about to be signed, with one write of the file."""
        return await asyncio.to_thread(self._record.put_all, wanted)

    async def _ask(self, tenant: str, work: Work) -> Any:
        return await self._read(tenant, lambda connection: work(connection, _tenant_no(connection, tenant)))

    async def _change(self, tenant: str, work: Work) -> Any:
        return await self._write(lambda connection: work(connection, _tenant_no(connection, tenant)))


def _tenant_no(connection: apsw.Connection, tenant: str) -> int:
    number: int | None = connection.execute(_SQL["tenant_no"], (tenant,)).get
    return number or 0


def _put_checkpoint(connection: apsw.Connection, new: NewCheckpoint) -> bool:
    tenant_no, checkpoint = _tenant_no(connection, new.tenant), new.checkpoint
    epoch, size = checkpoint.epoch, checkpoint.size
    connection.execute(_SQL["advance_origin"], (tenant_no, epoch, new.after, size))
    if not connection.changes():
        return False
    _put_tiles(connection, tenant_no, new.tiles)
    values = (tenant_no, epoch, size, checkpoint.root, checkpoint.signed_at, checkpoint.note)
    connection.execute(_SQL["add_checkpoint"], values)
    connection.execute(_SQL["drop_checkpoint"], (tenant_no, epoch, new.after, HOUR_US))
    return True


def _put_separately(connection: apsw.Connection, new: Sequence[NewCheckpoint]) -> list[bool | WhenceError]:
    """Store each checkpoint in a savepoint, since one of them could not be stored: that one fails alone."""
    return [_put_in_savepoint(connection, each) for each in new]


def _put_in_savepoint(connection: apsw.Connection, new: NewCheckpoint) -> bool | WhenceError:
    done: bool | WhenceError
    connection.execute("SAVEPOINT one_checkpoint")
    try:
        done = _put_checkpoint(connection, new)
    except Exception as error:
        if not connection.in_transaction:
            raise
        _log.error("checkpoint not stored", tenant=new.tenant, error=type(error).__name__, exc_info=True)
        connection.execute("ROLLBACK TO one_checkpoint")
        done = Unavailable("The store could not write a checkpoint.")
    connection.execute("RELEASE one_checkpoint")
    return done


def _put_tiles(connection: apsw.Connection, tenant_no: int, rows: Sequence[TileRow]) -> None:
    values = [(tenant_no, row.level, row.number, row.hashes) for row in rows]
    connection.executemany(_SQL["put_tile"], values)


def _origins(connection: apsw.Connection, tenant_no: int) -> list[Origin]:
    rows: Any = connection.execute(_SQL["origins"], (tenant_no,))
    return [Origin(*row) for row in rows]


def _leaves(connection: apsw.Connection, tenant_no: int, leaves: LeafRange) -> bytes:
    """The leaf hashes of a range, as far as they are there: those before the first position that is kept are in tiles,
    also of events that are held."""
    tiled: int = (connection.execute(_SQL["retained_from"], (tenant_no,)).get or 1) - 1
    found = b""
    if leaves.first < tiled:
        first, end = leaves.first // TILE_WIDTH, min(leaves.end, tiled)
        values = (tenant_no, first, (end - 1) // TILE_WIDTH)
        joined = b"".join(hashes for (hashes,) in connection.execute(_SQL["leaf_tiles"], values))
        before = first * TILE_WIDTH
        found = joined[(leaves.first - before) * HASH_SIZE : (end - before) * HASH_SIZE]
    if leaves.end > tiled:
        keys = (key_of(tenant_no, max(leaves.first, tiled)), key_of(tenant_no, leaves.end))
        found += connection.execute(_SQL["leaves"], keys).get
    return found


def _tile(connection: apsw.Connection, tenant_no: int, tile: Tile) -> bytes:
    if tile.level == 0:
        first = tile.number * TILE_WIDTH
        return _leaves(connection, tenant_no, LeafRange(first, first + tile.width))
    values = (tenant_no, tile.level, tile.number, tile.width * HASH_SIZE)
    hashes: bytes | None = connection.execute(_SQL["tile"], values).get
    return hashes or b""
