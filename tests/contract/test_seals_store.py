"""What makes logs provable: the promises of every store that can be served."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.contract import seals_mutants as mutants
from tests.contract.faults import Kind, catches, select
from tests.contract.made import NOON, TENANT, new, stored, uuid
from tests.contract.test_merkle_in_store import plain_root
from whence.checkpoints import verify_checkpoint
from whence.errors import Unsound
from whence.merkle import leaf_hash
from whence.merkle_proofs import LeafRange
from whence.notes import parse_verifier_key
from whence.sealer import NotSealable, Sealing
from whence.sealing import StoreSecret
from whence.storage.seals import HOUR_US, NewCheckpoint, Origin, SealedCheckpoint, Signed, TileRow, hashes_of
from whence.storage.sqlite.signed_record import SignedRecord
from whence.tiles import Tile

OTHER = "other"
FIRST = Origin(1, "log.example/acme/1", "key 1")


def checkpoint(size: int, at: int = 0, epoch: int = 1) -> SealedCheckpoint:
    """A checkpoint that was signed so many hundredths of an hour after one began."""
    begin = NOON // HOUR_US * HOUR_US
    return SealedCheckpoint(epoch, size, bytes([size % 256]) * 32, begin + at * HOUR_US // 100, f"note {size}\n")


async def sizes(real: Any, before: int | None = None, limit: int = 100, tenant: str = TENANT) -> list[int]:
    return [each.size for each in await real.seals.list_checkpoints(tenant, before, limit)]


async def put(real: Any, checkpoint: SealedCheckpoint, after: int, tiles: Sequence[TileRow] = ()) -> bool:
    """Store a checkpoint of the first tenant."""
    [stored] = await real.seals.put_checkpoints([NewCheckpoint(TENANT, checkpoint, after, tuple(tiles))])
    return bool(stored)


async def unsealed(real: Any) -> list[str]:
    return [log.tenant for log in await real.seals.unsealed()]


async def record(real: Any, origin: str, signed: Signed) -> bool:
    [is_allowed] = await real.seals.record_signed([(origin, signed)])
    return bool(is_allowed)


async def grown(real: Any, *tenants: str) -> None:
    """Give these tenants an event each."""
    for tenant in tenants:
        await stored(real, new(1), tenant=tenant)


@catches(mutants.a_second_name_replaces_the_first, mutants.the_first_epoch_is_in_use, mutants.origins_of_every_tenant)
async def test_an_origin_is_made_once(real: Any) -> None:
    """The first of an epoch stays, the highest epoch is in use, and each tenant has its own."""
    await grown(real, TENANT, OTHER)
    assert await real.seals.list_origins(TENANT) == []
    added = await asyncio.gather(*[real.seals.add_origin(TENANT, Origin(1, name, "key")) for name in ("a", "b")])
    first = added[0]
    assert added == [first, first]
    assert await real.seals.add_origin(TENANT, Origin(1, "c", "key")) == first
    assert await real.seals.list_origins(TENANT) == [first]
    assert await real.seals.list_origins(OTHER) == []
    second = Origin(2, "d", "another key")
    assert await real.seals.add_origin(TENANT, second) == second
    assert await real.seals.list_origins(TENANT) == [first, second]


@catches(mutants.every_log_is_unsealed)
async def test_logs_that_grew_are_unsealed(real: Any) -> None:
    """Until they have a checkpoint of their size."""
    assert await unsealed(real) == []
    await grown(real, OTHER, TENANT)
    assert await unsealed(real) == [TENANT, OTHER]
    await real.seals.add_origin(TENANT, FIRST)
    assert await put(real, checkpoint(1), 0)
    assert await unsealed(real) == [OTHER]
    await stored(real, new(2))
    assert await unsealed(real) == [TENANT, OTHER]


@catches(mutants.any_checkpoint_is_the_next)
async def test_a_checkpoint_is_stored_after_the_one_before_it(real: Any) -> None:
    """One that was made from an older state is refused, and so is one that is not larger. Of several at once, one is
    stored."""
    await grown(real, TENANT)
    assert not await put(real, checkpoint(1), 0)  # no origin yet
    await real.seals.add_origin(TENANT, FIRST)
    assert sorted(await asyncio.gather(*[put(real, checkpoint(size), 0) for size in (3, 4, 5)])) == [
        False,
        False,
        True,
    ]
    [first] = await sizes(real)
    assert (await real.seals.list_origins(TENANT))[-1].size == first
    assert not await put(real, checkpoint(9), 0)
    assert not await put(real, checkpoint(first), first)
    assert not await put(real, checkpoint(1), first)
    tile = TileRow(1, 0, bytes(32))
    assert await put(real, checkpoint(9), first, [tile])
    assert await real.seals.read_tiles(TENANT, [Tile(1, 0, 1)]) == [tile.hashes]
    assert await real.seals.list_checkpoints(TENANT, None, 1) == [checkpoint(9)]


@catches(mutants.every_checkpoint_is_kept, mutants.the_latest_alone_is_kept, mutants.listed_from_the_given_size)
async def test_the_latest_and_the_first_of_each_hour_are_kept(real: Any) -> None:
    """Listed from the newest on, and page by page."""
    await grown(real, TENANT)
    await real.seals.add_origin(TENANT, FIRST)
    last = 0
    for size, at in ((2, 10), (3, 20), (5, 99), (6, 100), (8, 101), (9, 199), (11, 420)):
        assert await put(real, checkpoint(size, at), last)
        last = size
    assert await sizes(real) == [11, 6, 2]
    assert await sizes(real, limit=2) == [11, 6]
    assert await sizes(real, before=6) == [2]
    assert await real.seals.list_checkpoints(TENANT, 6, 1) == [checkpoint(2, 10)]
    assert await sizes(real, tenant=OTHER) == []


@catches(mutants.checkpoints_of_every_epoch, mutants.the_last_checkpoint_of_any_epoch)
async def test_checkpoints_are_those_of_the_origin_in_use(real: Any) -> None:
    """A new epoch begins with none, and may be sealed from its first leaf on."""
    await grown(real, TENANT)
    await real.seals.add_origin(TENANT, FIRST)
    await put(real, checkpoint(1), 0)
    await real.seals.add_origin(TENANT, Origin(2, "log.example/acme/2", "key 2"))
    assert await sizes(real) == []
    assert await unsealed(real) == [TENANT]
    assert await real.seals.last_checkpoint(TENANT, 2) is None
    assert await put(real, checkpoint(1, epoch=2), 0)
    assert await sizes(real) == [1]
    assert await real.seals.last_checkpoint(TENANT, 1) == checkpoint(1)
    assert await real.seals.last_checkpoint(TENANT, 2) == checkpoint(1, epoch=2)
    assert await real.seals.last_checkpoint(OTHER, 1) is None


@catches(mutants.a_leaf_before_the_range)
async def test_leaves_are_read_by_range(real: Any, kind: Kind) -> None:
    """Joined, in order, as far as they are there; as a tile of level 0 too."""
    await stored(real, *(new(number) for number in range(1, 8)))
    await stored(real, new(1), tenant=OTHER)
    leaves = [leaf for leaf, _ in await kind.hashes(real, TENANT)]
    for first, end in ((0, 7), (2, 5), (6, 7), (3, 3), (5, 20), (9, 12)):
        assert await real.seals.read_leaves(TENANT, LeafRange(first, end)) == b"".join(leaves[first:end])
    assert await real.seals.read_tiles(TENANT, [Tile(0, 0, 3), Tile(0, 1, 9)]) == [b"".join(leaves[:3]), b""]
    assert await real.seals.read_leaves("nobody", LeafRange(0, 7)) == b""


@catches(mutants.tiles_are_replaced, mutants.tiles_never_grow, mutants.tiles_of_every_tenant)
async def test_tiles_only_grow(real: Any) -> None:
    """What would change or take away a hash is passed over; the others of the same call are stored."""
    await grown(real, TENANT, OTHER)
    hashes = [bytes([number]) * 32 for number in range(4)]
    assert await real.seals.count_tiled(TENANT) == 0
    await real.seals.put_tiles(TENANT, [TileRow(1, 0, hashes[0]), TileRow(2, 0, hashes[3])])
    await real.seals.put_tiles(TENANT, [TileRow(1, 0, b"".join(hashes[:3]))])
    await real.seals.put_tiles(
        TENANT, [TileRow(2, 0, hashes[2]), TileRow(1, 0, hashes[1] + hashes[0] + hashes[2]), TileRow(1, 1, hashes[1])]
    )
    await real.seals.put_tiles(TENANT, [TileRow(1, 0, hashes[0])])
    found = await real.seals.read_tiles(TENANT, [Tile(1, 0), Tile(1, 0, 2), Tile(2, 0, 1), Tile(1, 1, 1)])
    assert found == [b"".join(hashes[:3]), b"".join(hashes[:2]), hashes[3], hashes[1]]
    assert await real.seals.count_tiled(TENANT) == 257
    assert await real.seals.read_tiles(OTHER, [Tile(1, 0)]) == [b""]
    assert await real.seals.count_tiled(OTHER) == 0


@catches(mutants.what_is_smaller_is_signed, mutants.another_root_is_signed)
async def test_what_was_signed_is_never_undone(real: Any) -> None:
    """For each origin by itself: no smaller size, and no other root. The same again may be signed again."""
    root, other = bytes(32), bytes([1]) * 32
    assert await real.seals.get_signed("log/a/1") is None
    assert await record(real, "log/a/1", Signed(5, root))
    assert not await record(real, "log/a/1", Signed(4, root))
    assert not await record(real, "log/a/1", Signed(5, other))
    assert await record(real, "log/a/1", Signed(5, root))
    assert await record(real, "log/b/1", Signed(1, other))
    assert await record(real, "log/a/1", Signed(6, other))
    assert await real.seals.get_signed("log/a/1") == Signed(6, other)
    assert await real.seals.get_signed("log/b/1") == Signed(1, other)


@catches(
    mutants.leaves_of_the_first_for_all, mutants.one_that_is_refused_is_all, mutants.none_after_one_that_is_refused
)
async def test_several_logs_share_a_call(real: Any, kind: Kind) -> None:
    """Each is answered by itself: one that is refused changes nothing for the others."""
    tenants = ["a", "b", "c"]
    for number, tenant in enumerate(tenants):
        await stored(real, *map(new, range(number + 1)), tenant=tenant)
        await real.seals.add_origin(tenant, Origin(1, f"log/{tenant}/1", "key"))
    assert [(log.tenant, log.size) for log in await real.seals.unsealed()] == [("a", 1), ("b", 2), ("c", 3)]
    leaves = [b"".join(leaf for leaf, _ in await kind.hashes(real, tenant)) for tenant in tenants]
    wanted = [(tenant, LeafRange(0, 9)) for tenant in (*tenants, "nobody")]
    assert await real.seals.read_leaves_of(wanted) == [*leaves, b""]
    assert await record(real, "log/b/1", Signed(9, bytes(32)))
    signed = [(f"log/{tenant}/1", Signed(number + 1, bytes(32))) for number, tenant in enumerate(tenants)]
    assert await real.seals.record_signed(signed) == [True, False, True]
    assert [await real.seals.get_signed(origin) for origin, _ in signed] == [
        signed[0][1],
        Signed(9, bytes(32)),
        signed[2][1],
    ]
    checkpoints = [NewCheckpoint(tenant, checkpoint(1), 5 * (tenant == "b")) for tenant in (*tenants, "nobody")]
    assert await real.seals.put_checkpoints(checkpoints) == [True, False, True, False]
    assert [await sizes(real, tenant=tenant) for tenant in tenants] == [[1], [], [1]]


@catches(mutants.a_leaf_before_the_range)
async def test_a_log_is_sealed(real: Any, kind: Kind) -> None:
    """By the sealer, as it grows over a tile; by two of them at once too. A log that is shorter than what was signed is
    not: neither it nor the state that the record has is lost."""
    secret = StoreSecret("the secret of the store that is sealed here", is_shared=True)
    sealers = [Sealing(real, secret, "log.example") for _ in range(2)]
    for size in (3, 260):
        await stored(real, *(new(number) for number in range(len(await kind.hashes(real, TENANT)), size)))
        assert any(await asyncio.gather(*[each.seal(TENANT) for each in sealers]))  # one of them may lack the lease
        [found] = await real.seals.list_checkpoints(TENANT, None, 1)
        [origin] = await real.seals.list_origins(TENANT)
        verified = verify_checkpoint(found.note.encode(), [parse_verifier_key(origin.key)]).checkpoint
        root = plain_root([leaf for leaf, _ in await kind.hashes(real, TENANT)])
        assert verified == ("log.example/acme/1", size, root)
        assert await real.seals.get_signed(origin.name) == Signed(size, root)
    assert await record(real, origin.name, Signed(300, root))
    await stored(real, new(999))
    with pytest.raises(NotSealable, match="shorter"):
        await sealers[0].seal(TENANT)


@catches(mutants.missing_hashes_are_zeros)
async def test_roots_are_computed_from_what_is_kept(real: Any, kind: Kind) -> None:
    """The hash of any range of leaves; what is missing is said, and not made up."""
    await stored(real, *(new(number) for number in range(1, 12)))
    leaves = [leaf for leaf, _ in await kind.hashes(real, TENANT)]
    ranges = [LeafRange(0, 11), LeafRange(0, 4), LeafRange(8, 11), LeafRange(0, 0)]
    found = await hashes_of(real.seals, TENANT, ranges)
    assert found == [plain_root(leaves[first:end]) for first, end in ranges]
    with pytest.raises(Unsound, match="missing"):
        await hashes_of(real.seals, TENANT, [LeafRange(0, 12)])
    with pytest.raises(Unsound, match="missing"):
        await hashes_of(real.seals, TENANT, [LeafRange(256, 512)])


@catches(mutants.evidence_is_not_compared_with_its_leaf)
async def test_the_evidence_of_an_event_makes_its_leaf(real: Any, kind: Kind) -> None:
    """Envelope, salt and payload; an event that does not fit its leaf has none."""
    await stored(real, new(1), new(2, payload='{"ä":1E2}'.encode()))
    [(_, _), (leaf, salt)] = await kind.hashes(real, TENANT)
    found = await real.seals.get_evidence(TENANT, uuid(2))
    assert (found.position, found.leaf, found.salt, found.payload) == (2, leaf, salt, '{"ä":1E2}'.encode())
    assert leaf_hash(found.envelope) == leaf
    assert await real.seals.get_evidence(TENANT, uuid(3)) is None
    assert await real.seals.get_evidence(OTHER, uuid(2)) is None
    await _change_leaf(real)
    with pytest.raises(Unsound):
        await real.seals.get_evidence(TENANT, uuid(2))


async def _change_leaf(real: Any) -> None:
    """Swap the leaves of both events, as somebody with full access can."""
    writing = getattr(real, "_writer_store", real)  # the shared store has one that writes
    if hasattr(writing, "_writer"):
        await writing._writer.submit(lambda connection: connection.execute("UPDATE event SET leaf = zeroblob(32)"))
        return
    number = (await select(real, TENANT, f"SELECT tenant_no FROM tenant WHERE tenant = '{TENANT}'"))[0][0]

    async def change(connection: Any) -> None:
        await connection.execute("SET LOCAL ROLE NONE")
        await connection.execute("UPDATE event SET leaf = sha256(leaf)")

    await real._writing.run(number, change, tenant=TENANT)


def test_a_record_survives_a_torn_line_and_refuses_a_damaged_one(tmp_path: Path) -> None:
    """A line that was not ended was never published. A changed one could let a second history be signed."""
    path = tmp_path / "log.db"
    record = SignedRecord(str(path))
    for size in (1, 2, 3):
        assert record.put_all([("log/a/1", Signed(size, bytes([size]) * 32))]) == [True]
    file = tmp_path / "log.db.signed"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    again = SignedRecord(str(path))
    assert again.get("log/a/1") == Signed(2, bytes([2]) * 32)
    assert again.put_all([("log/a/1", Signed(3, bytes([3]) * 32))]) == [True]
    assert file.read_bytes() == whole
    file.write_bytes(whole.replace(b" 2 ", b" 9 "))
    with pytest.raises(Unsound, match="damaged"):
        SignedRecord(str(path)).get("log/a/1")


def test_a_record_is_written_anew_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the last line of each origin."""
    monkeypatch.setattr("whence.storage.sqlite.signed_record._LINES_MAX", 5)
    record = SignedRecord(str(tmp_path / "log.db"))
    record.put_all([("log/b/1", Signed(7, bytes(32)))])
    for size in range(1, 30):
        assert record.put_all([("log/a/1", Signed(size, bytes(32)))]) == [True]
    again = SignedRecord(str(tmp_path / "log.db"))
    assert (again.get("log/a/1"), again.get("log/b/1")) == (Signed(29, bytes(32)), Signed(7, bytes(32)))
    assert len((tmp_path / "log.db.signed").read_bytes().splitlines()) < 10
