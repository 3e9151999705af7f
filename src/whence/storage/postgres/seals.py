"""What makes logs provable, on PostgreSQL."""

import asyncio
from collections.abc import Sequence
from functools import partial

from whence.errors import WhenceError
from whence.merkle import HASH_SIZE
from whence.merkle_proofs import LeafRange
from whence.storage.postgres.connections import Connection
from whence.storage.postgres.credentials import Run
from whence.storage.postgres.followers import RunAs, WriteAs
from whence.storage.postgres.replication import read_part
from whence.storage.postgres.rows import PostgresHeadRow
from whence.storage.postgres.tenants import NO_TENANT, Tenant, head_row, refuse_renumbered
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
from whence.tiles import TILE_WIDTH, Tile

__all__ = ["PostgresSeals"]

_SQL = load_blocks("whence.storage.postgres")

_NO_LIMIT = 2**62
_AT_ONCE = 4
"""Tenants that are asked at the same time whether their log has grown."""


class PostgresSeals:
    """What makes the logs of one database provable; see `Seals`."""

    logs_at_once = 2  # each takes a connection, of which appends have few

    def __init__(self, read: Run, write: Run, read_as: RunAs, write_as: WriteAs) -> None:
        self._read = read
        self._write = write
        self._read_as = read_as
        self._write_as = write_as

    async def unsealed(self) -> list[UnsealedLog]:
        """The logs that are longer than their newest checkpoint. Row-level security shows a transaction the log
        of one tenant, so each of them is asked."""
        rows = await self._read(lambda connection: connection.fetch(_SQL["tenant_names"], "", None), "")
        names = [name for (name,) in rows]
        places = asyncio.Semaphore(_AT_ONCE)

        async def ask(tenant: str) -> UnsealedLog | None:
            async with places:
                found: UnsealedLog | None = await self._read_as(tenant, _unsealed)
                return found

        grown = await asyncio.gather(*map(ask, names))
        return [log for log in grown if log is not None]

    async def list_origins(self, tenant: str) -> list[Origin]:
        """The origins of a tenant."""
        found: list[Origin] = await self._read_as(tenant, _origins)
        return found

    async def add_origin(self, tenant: str, origin: Origin) -> Origin:
        """Add an origin."""

        async def add(connection: Connection, owner: Tenant) -> list[Origin]:
            await refuse_renumbered(connection, owner)
            if owner.number:
                await connection.execute(_SQL["add_origin"], owner.number, origin.epoch, origin.name, origin.key)
            return await _origins(connection, owner)

        found: list[Origin] = await self._write_as(tenant, add)
        return found[-1] if found else origin

    async def put_checkpoints(self, new: Sequence[NewCheckpoint]) -> list[bool | WhenceError]:
        """Store checkpoints, each as the newest of its epoch. Row-level security admits one tenant to a transaction, so
        each has its own; they are few at a time."""
        work = (self._write_as(each.tenant, partial(_put_checkpoint, new=each)) for each in new)
        done: list[bool | WhenceError] = []
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, WhenceError):
                raise result
            done.append(result)
        return done

    async def list_checkpoints(self, tenant: str, before: int | None, limit: int) -> list[SealedCheckpoint]:
        """The checkpoints of the origin in use."""

        async def ask(connection: Connection, owner: Tenant) -> list[SealedCheckpoint]:
            await refuse_renumbered(connection, owner)
            below = _NO_LIMIT if before is None else before
            rows = await connection.fetch(_SQL["checkpoints"], owner.number, below, limit)
            return [SealedCheckpoint(*row) for row in rows]

        found: list[SealedCheckpoint] = await self._read_as(tenant, ask)
        return found

    async def last_checkpoint(self, tenant: str, epoch: int) -> SealedCheckpoint | None:
        """The newest checkpoint of one epoch."""

        async def ask(connection: Connection, owner: Tenant) -> SealedCheckpoint | None:
            await refuse_renumbered(connection, owner)
            row = await connection.fetchrow(_SQL["last_checkpoint"], owner.number, epoch)
            return None if row is None else SealedCheckpoint(*row)

        found: SealedCheckpoint | None = await self._read_as(tenant, ask)
        return found

    async def read_leaves(self, tenant: str, leaves: LeafRange) -> bytes:
        """The leaf hashes of a range."""

        async def ask(connection: Connection, owner: Tenant) -> bytes:
            return await _leaves(connection, await _head(connection, owner), leaves)

        found: bytes = await self._read_as(tenant, ask)
        return found

    async def read_leaves_of(self, wanted: Sequence[tuple[str, LeafRange]]) -> list[bytes]:
        """The leaf hashes of ranges of several tenants, each in a transaction of its own, at the same time."""
        return await asyncio.gather(*(self.read_leaves(tenant, leaves) for tenant, leaves in wanted))

    async def read_tiles(self, tenant: str, tiles: Sequence[Tile]) -> list[bytes]:
        """The hashes of each tile."""

        async def ask(connection: Connection, owner: Tenant) -> list[bytes]:
            head = await _head(connection, owner)
            return [await _tile(connection, head, tile) for tile in tiles]

        found: list[bytes] = await self._read_as(tenant, ask)
        return found

    async def count_tiled(self, tenant: str) -> int:
        """How many hashes level 1 has."""

        async def ask(connection: Connection, owner: Tenant) -> int:
            await refuse_renumbered(connection, owner)
            row = await connection.fetchrow(_SQL["last_tile"], owner.number, 1)
            return 0 if row is None else row[0] * TILE_WIDTH + row[1] // HASH_SIZE

        count: int = await self._read_as(tenant, ask)
        return count

    async def put_tiles(self, tenant: str, rows: Sequence[TileRow], first_leaf: bytes | None = None) -> bool:
        """Store tiles, together."""

        async def put(connection: Connection, owner: Tenant) -> bool:
            await refuse_renumbered(connection, owner)
            if owner.number == NO_TENANT:
                return False
            if first_leaf is not None and await connection.fetchval(_SQL["first_leaf"], owner.number) != first_leaf:
                return False
            await _put_tiles(connection, owner, rows)
            return True

        done: bool = await self._write_as(tenant, put)
        return done

    async def get_evidence(self, tenant: str, event_id: str) -> Evidence | None:
        """What the leaf of an event is made of."""

        async def ask(connection: Connection, owner: Tenant) -> Evidence | None:
            await refuse_renumbered(connection, owner)
            position = await connection.fetchval(_SQL["position_of"], owner.number, event_id)
            if position is None:
                return None
            [hashed] = await read_part(connection, owner, position - 1, 1)
            return evidence_from(hashed)

        found: Evidence | None = await self._read_as(tenant, ask)
        return found

    async def get_signed(self, origin: str) -> Signed | None:
        """What was last signed for an origin, by the schema beside that of the log."""
        row = await self._read(lambda connection: connection.fetchrow(_SQL["signed"], origin), "")
        return None if row is None else Signed(*row)

    async def record_signed(self, wanted: Sequence[tuple[str, Signed]]) -> list[bool]:
        """Record what is about to be signed, in one transaction."""

        async def record(connection: Connection) -> dict[str, bool]:
            allowed = {}
            for origin, signed in sorted(wanted, key=lambda each: each[0]):  # so that no two transactions deadlock
                row = await connection.fetchrow(_SQL["record_signed"], origin, signed.size, signed.root)
                allowed[origin] = row is not None
            return allowed

        found = await self._write(record, "")
        return [found[origin] for origin, _ in wanted]


async def _unsealed(connection: Connection, owner: Tenant) -> UnsealedLog | None:
    head = await head_row(connection, owner)
    if head is None or not await connection.fetchval(_SQL["unsealed"], owner.number, owner.name):
        return None
    return UnsealedLog(owner.name, head.size, head.compact_range)


async def _put_checkpoint(connection: Connection, owner: Tenant, new: NewCheckpoint) -> bool:
    checkpoint = new.checkpoint
    epoch, size = checkpoint.epoch, checkpoint.size
    await refuse_renumbered(connection, owner)
    row = await connection.fetchrow(_SQL["advance_origin"], owner.number, epoch, new.after, size)
    if row is None:
        return False
    await _put_tiles(connection, owner, new.tiles)
    values = (epoch, size, checkpoint.root, checkpoint.signed_at, checkpoint.note)
    await connection.execute(_SQL["add_checkpoint"], owner.number, *values)
    await connection.execute(_SQL["drop_checkpoint"], owner.number, epoch, new.after, HOUR_US)
    return True


async def _put_tiles(connection: Connection, owner: Tenant, rows: Sequence[TileRow]) -> None:
    ordered = sorted(rows, key=lambda row: (row.level, row.number))  # so that no two transactions deadlock
    columns = [[getattr(row, name) for row in ordered] for name in ("level", "number", "hashes")]
    if ordered:
        await connection.execute(_SQL["put_tile"], owner.number, *columns)


async def _origins(connection: Connection, owner: Tenant) -> list[Origin]:
    await refuse_renumbered(connection, owner)
    return [Origin(*row) for row in await connection.fetch(_SQL["origins"], owner.number)]


async def _head(connection: Connection, owner: Tenant) -> PostgresHeadRow:
    """The tenant's head; that of an empty log if it has none."""
    return await head_row(connection, owner) or PostgresHeadRow(owner.number)


async def _leaves(connection: Connection, head: PostgresHeadRow, leaves: LeafRange) -> bytes:
    """The leaf hashes of a range, as far as they are there: those before the first position that is kept are in tiles,
    also of events that are held."""
    tiled = head.retained_from - 1
    found = b""
    if leaves.first < tiled:
        first, end = leaves.first // TILE_WIDTH, min(leaves.end, tiled)
        joined = await connection.fetchval(_SQL["leaf_tiles"], head.tenant_no, first, (end - 1) // TILE_WIDTH)
        before = first * TILE_WIDTH
        found = joined[(leaves.first - before) * HASH_SIZE : (end - before) * HASH_SIZE]
    if leaves.end > tiled:
        first = max(leaves.first, tiled)
        found += await connection.fetchval(_SQL["leaves"], head.tenant_no, first, leaves.end)
    return found


async def _tile(connection: Connection, head: PostgresHeadRow, tile: Tile) -> bytes:
    if tile.level == 0:
        first = tile.number * TILE_WIDTH
        return await _leaves(connection, head, LeafRange(first, first + tile.width))
    width = tile.width * HASH_SIZE
    return await connection.fetchval(_SQL["tile"], head.tenant_no, tile.level, tile.number, width) or b""
