"""The sealer on a real file: what it signs, and what it must not sign."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import NOON, TENANT, new, stored, uuid
from tests.unit.mutants import catches, replaced
from tests.unit.test_merkle import root_of
from whence import checkpoints, sealer
from whence.checkpoints import LogProof, parse_checkpoint, verify_checkpoint, verify_proof
from whence.errors import Unavailable, Unsound
from whence.log_keys import LogKeys
from whence.merkle import leaf_hash
from whence.merkle_proofs import LeafRange, inclusion_ranges
from whence.notes import BadNote, parse_verifier_key
from whence.sealer import NotSealable, Sealing, log_name_of
from whence.sealing import StoreSecret
from whence.storage import Head, create_store
from whence.storage.seals import Signed, hashes_of
from whence.storage.sqlite import seals
from whence.storage.sqlite.signed_record import SignedRecord
from whence.tiles import Tile, grown_tiles, partial_tiles, tiles_of

SECRET = StoreSecret("the secret of the store that is sealed here", is_shared=True)
ORIGIN = "log.example/acme/1"


def sealing_of(store: Any, secret: StoreSecret = SECRET) -> Sealing:
    return Sealing(store, secret, "log.example", lambda: NOON)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Any]:
    opened = create_store(f"sqlite:///{tmp_path}/log.db")
    yield opened
    await opened.close()


async def append(store: Any, first: int, end: int) -> None:
    await stored(store, *(new(number) for number in range(first, end)))


async def leaves_of(store: Any) -> list[bytes]:
    return [each.leaf for each in await store.read_log(TENANT, 0, 10_000)]


async def execute(store: Any, sql: str) -> None:
    """Change the database as somebody with full access can."""
    await store._writer.submit(lambda connection: connection.execute(sql))


async def latest(store: Any) -> Any:
    [found] = await store.seals.list_checkpoints(TENANT, None, 1)
    return found


async def keys(store: Any) -> list[Any]:
    return [parse_verifier_key(each.key) for each in await store.seals.list_origins(TENANT)]


async def _root_of_the_head(self: Sealing, tenant: str, head: Head, earlier: Sequence[int]) -> list[bytes]:
    """Mutant: the root is what the head says, without a look at the leaves."""
    found = await hashes_of(self._seals, tenant, [LeafRange(0, size) for size in earlier])
    return [head.root, *found]


async def _nothing_was_signed(_self: Sealing, _tenant: str, _origin: Any) -> list[Any]:
    """Mutant: what was signed before is forgotten."""
    return []


root_from_the_head = replaced(Sealing, "_roots", _root_of_the_head, "root_from_the_head")
signs_what_does_not_extend = replaced(Sealing, "_last_signed", _nothing_was_signed, "signs_what_does_not_extend")


def _records_nothing(_self: SignedRecord, wanted: Sequence[Any]) -> list[bool]:
    return [True] * len(wanted)


records_nothing = replaced(SignedRecord, "put_all", _records_nothing, "records_nothing")


signs_what_was_added_unseen = replaced(
    sealer._Growing, "leads_to_its_log", property(lambda _self: True), "signs_what_was_added_unseen"
)


@pytest.mark.parametrize("sizes", [(1, 3, 255, 256, 257, 512, 700), (65_535, 65_536, 65_537), (140_000,)])
def test_grown_tiles_are_those_of_the_tree(sizes: tuple[int, ...]) -> None:
    """However many hashes are added at a time, level 1 and above are what the definition says."""
    leaves = [sha256(number.to_bytes(4)).digest() for number in range(max(sizes))]  # of full tiles, so level 1 itself
    held: dict[tuple[int, int], bytes] = {}
    count = 0
    for size in sizes:
        partial = {tile: held[tile.level, tile.number] for tile in partial_tiles(count)}
        grown = grown_tiles(count, partial, leaves[count:size])
        held |= {(tile.level, tile.number): hashes for tile, hashes in grown.items()}
        count = size
    expected = {(tile.level + 1, tile.number): tile.width for tile in tiles_of(count)}
    assert {place: len(hashes) // 32 for place, hashes in held.items()} == expected
    for level, number in [*[place for place in expected if place[0] > 1][:3], (1, 0)]:
        span = 256 ** (level - 1)
        first = number * 256 * span
        assert held[level, number][:32] == root_of(leaves[first : first + span])


async def test_a_log_is_sealed_as_it_grows(store: Any) -> None:
    """Each checkpoint is signed by the origin's key and has the root of the stored leaves, at sizes around a tile."""
    sealing = sealing_of(store)
    size = 0
    for more in (1, 254, 1, 1, 300):
        await append(store, size, size + more)
        size += more
        await sealing.seal_all()
        found = await latest(store)
        verified = verify_checkpoint(found.note.encode(), await keys(store)).checkpoint
        assert verified == (ORIGIN, size, root_of(await leaves_of(store)))
        assert (found.size, found.root, found.signed_at) == (size, verified.root, NOON)
        assert (await store.seals.get_signed(ORIGIN)).size == size
    assert await store.seals.unsealed() == []
    assert await store.seals.read_tiles(TENANT, [Tile(1, 0, 2)]) == [
        root_of((await leaves_of(store))[:256]) + root_of((await leaves_of(store))[256:512])
    ]


@catches(root_from_the_head)
async def test_a_root_that_the_leaves_do_not_make_is_not_signed(store: Any) -> None:
    """A leaf was changed in the store itself: nothing is signed, and the state says why until it is put back."""
    sealing = sealing_of(store)
    await append(store, 0, 3)
    await execute(store, "UPDATE event SET leaf = zeroblob(32) WHERE key & 0xFFFFFFFFFF = 2")
    with pytest.raises(NotSealable, match="do not make the root"):
        await sealing.seal(TENANT)
    await sealing.seal_all()
    assert "do not make the root" in sealing.stopped[TENANT]
    assert await store.seals.list_checkpoints(TENANT, None, 1) == []


@catches(signs_what_was_added_unseen)
async def test_what_was_added_is_checked_too(store: Any) -> None:
    """A sealer that knows the log up to its last checkpoint still reads every leaf that came after it."""
    sealing = sealing_of(store)
    for first, size in ((0, 3), (3, 6)):
        await append(store, first, size)
        await sealing.seal_all()
        assert (await latest(store)).size == size
    await append(store, 6, 9)
    await execute(store, "UPDATE event SET leaf = zeroblob(32) WHERE key & 0xFFFFFFFFFF = 8")
    await sealing.seal_all()
    assert (await latest(store)).size == 6
    assert "do not make the root" in sealing.stopped[TENANT]


async def test_a_sealer_that_lost_its_lease_checks_the_whole_log(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process sealed meanwhile. What this one knew of the log is used no more, and it goes on from there."""
    sealing = sealing_of(store)
    await append(store, 0, 3)
    await sealing.seal_all()
    await append(store, 3, 5)
    assert await sealing_of(store).seal(TENANT)
    await append(store, 5, 7)
    later = time.monotonic() + sealer.LEASE_S
    monkeypatch.setattr(sealer.time, "monotonic", lambda: later)
    await sealing.seal_all()
    assert (await latest(store)).size == 7
    assert sealing.stopped == {}


async def test_many_logs_are_sealed_together(store: Any) -> None:
    """Each gets its own root, and what was signed of each is on record."""
    tenants = [f"tenant-{number}" for number in range(40)]
    for number, tenant in enumerate(tenants):
        await stored(store, *(new(each) for each in range(number % 3 + 1)), tenant=tenant)
    await sealing_of(store).seal_all()
    assert await store.seals.unsealed() == []
    for tenant in tenants:
        head = await store.head(tenant)
        assert await store.seals.get_signed(f"log.example/{tenant}/1") == Signed(head.size, head.root)


@catches(records_nothing)
async def test_a_log_that_must_not_be_signed_holds_up_no_other(store: Any) -> None:
    """They are sealed together. Another state of one of them was signed meanwhile, which this process did not see."""
    sealing, tenants = sealing_of(store), ["a", "b", "c"]
    for size in (1, 2):
        for tenant in tenants:
            await stored(store, new(size), tenant=tenant)
        if size == 2:
            assert await store.seals.record_signed([("log.example/b/1", Signed(2, bytes(32)))]) == [True]
        await sealing.seal_all()
    assert sealing.stopped.keys() == {"b"}
    assert [(await store.seals.list_checkpoints(tenant, None, 1))[0].size for tenant in tenants] == [2, 1, 2]
    assert sealing.take_published() == set(tenants)


def _put_together(connection: Any, new: Any) -> list[bool]:
    """Mutant: one checkpoint that cannot be stored leaves out all of its group."""
    return [seals._put_checkpoint(connection, each) for each in new]


@catches(replaced(seals, "_put_separately", _put_together, "one_failure_is_that_of_its_group"))
async def test_a_checkpoint_that_cannot_be_stored_holds_up_no_other(store: Any) -> None:
    """Neither in its group nor after it. It is on record, and is stored when the store can."""
    sealing, tenants = sealing_of(store), ["a", "b", "c"]
    for tenant in tenants:
        await stored(store, new(1), tenant=tenant)
    await sealing.seal_all()
    for tenant in tenants:
        await stored(store, new(2), tenant=tenant)
    fault = "SELECT RAISE(FAIL, 'this row cannot be written') WHERE NEW.tenant_no = 2"
    await execute(store, f"CREATE TRIGGER fault BEFORE INSERT ON checkpoint BEGIN {fault}; END")
    with pytest.raises(Unavailable, match="could not write a checkpoint"):
        await sealing.seal_all()
    assert [log.tenant for log in await store.seals.unsealed()] == ["b"]
    assert (await store.seals.get_signed("log.example/b/1")).size == 2
    assert sealing.stopped == {}
    await execute(store, "DROP TRIGGER fault")
    await sealing.seal_all()
    assert await store.seals.unsealed() == []


@catches(
    replaced(Sealing, "_growth", lambda _self, _log: 1, "in_the_order_of_names"),
    replaced(sealer, "_groups", lambda items, *_: iter([list(items)]), "all_in_one_group"),
)
async def test_a_long_log_is_sealed_after_short_ones(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By how much they grew, in groups of so many leaves, and last those of which this process knows nothing."""
    monkeypatch.setattr(sealer, "_SLICE_TILES", 1)
    monkeypatch.setattr(sealer, "_VISIT_SLICES", 1)
    sealing, put = sealing_of(store), store.seals.put_checkpoints
    for tenant in ("a", "b", "c"):
        await stored(store, new(0), tenant=tenant)
    await sealing.seal_all()
    groups = []

    async def note(given: Any) -> Any:
        groups.append([each.tenant for each in given])
        return await put(given)

    monkeypatch.setattr(store.seals, "put_checkpoints", note)
    for tenant, more in (("a", 255), ("b", 2), ("c", 1), ("d", 1)):
        await stored(store, *map(new, range(1, more + 1)), tenant=tenant)
    await sealing.seal_all()
    assert groups == [["c", "b"], ["a"], ["d"]]


async def test_leaves_of_many_logs_are_read_a_few_at_a_time(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that reading and hashing them holds up the event loop for little of it at once; all in one commit."""
    monkeypatch.setattr(sealer, "_READ_LEAVES", 10)
    sealing, tenants = sealing_of(store), [f"tenant-{number}" for number in range(9)]
    for first, end in ((0, 1), (1, 5)):
        for tenant in tenants:
            await stored(store, *map(new, range(first, end)), tenant=tenant)
        if first:
            read, counts = store.seals.read_leaves_of, []

            async def note(wanted: Any, read: Any = read, counts: list[int] = counts) -> Any:
                counts.append(sum(leaves.end - leaves.first for _, leaves in wanted))
                return await read(wanted)

            monkeypatch.setattr(store.seals, "read_leaves_of", note)
        await sealing.seal_all()
    assert counts == [8, 8, 8, 8, 4]
    assert await store.seals.unsealed() == []


@catches(signs_what_does_not_extend)
async def test_what_does_not_extend_the_last_is_not_signed(tmp_path: Path) -> None:
    """An older copy of the file was put back: neither while it is shorter, nor when other events made it longer."""
    path = tmp_path / "log.db"
    for number, end in enumerate((4, 9)):
        store = create_store(f"sqlite:///{path}")
        await append(store, number * 4, end)
        assert await sealing_of(store).seal(TENANT)
        await store.close()
        if number == 0:
            shutil.copy(path, tmp_path / "copy.db")
    shutil.copy(tmp_path / "copy.db", path)
    (tmp_path / "log.db.high").unlink()
    store = create_store(f"sqlite:///{path}")
    sealing = sealing_of(store)
    for first, end in ((100, 102), (102, 110)):
        await append(store, first, end)
        with pytest.raises(NotSealable):
            await sealing.seal(TENANT)
    assert [each.size for each in await store.seals.list_checkpoints(TENANT, None, 9)] == [4]
    await store.close()


@catches(records_nothing)
async def test_what_is_signed_is_recorded_before_it_is_published(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash between the two the same state is signed and published; the note is the same."""
    sealing = sealing_of(store)
    await append(store, 0, 2)

    async def crash(*_arguments: Any) -> list[Any]:
        raise Unavailable("The power went out.")

    with monkeypatch.context() as patch:
        patch.setattr(store.seals, "put_checkpoints", crash)
        with pytest.raises(Unavailable):
            await sealing.seal(TENANT)
    assert await store.seals.get_signed(ORIGIN) == Signed(2, (await store.head(TENANT)).root)
    assert await sealing_of(store).seal(TENANT)
    assert (await latest(store)).size == 2


async def test_a_record_that_cannot_be_written_stops_sealing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Any
) -> None:
    """Nothing is published that is not on record."""
    await append(store, 0, 2)

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SignedRecord, "_add", full)
    with pytest.raises(Unavailable, match="cannot be written"):
        await sealing_of(store).seal(TENANT)
    assert await store.seals.list_checkpoints(TENANT, None, 1) == []


async def test_another_secret_begins_another_epoch(store: Any) -> None:
    """The name of a log has one key. The earlier origin stays listed with its own."""
    await append(store, 0, 2)
    await sealing_of(store).seal(TENANT)
    other = StoreSecret("another secret of this store, since the first was lost")
    await append(store, 2, 4)
    assert await sealing_of(store, other).seal(TENANT)
    first, second = await store.seals.list_origins(TENANT)
    assert (first.name, second.name) == (ORIGIN, "log.example/acme/2")
    assert first.key.split("+")[2] != second.key.split("+")[2]
    assert parse_checkpoint((await latest(store)).note.partition("\n\n")[0] + "\n").origin == second.name


async def test_a_name_that_was_signed_before_is_not_used_again(tmp_path: Path) -> None:
    """The file was removed and a new log began. Its first checkpoint is of another origin."""
    for expected in (ORIGIN, "log.example/acme/2"):
        store = create_store(f"sqlite:///{tmp_path}/log.db")
        await append(store, 0, 2)
        assert await sealing_of(store).seal(TENANT)
        assert [each.name for each in await store.seals.list_origins(TENANT)] == [expected]
        await store.close()
        for name in ("log.db", "log.db.high"):
            (tmp_path / name).unlink()


async def test_a_long_log_is_caught_up_in_slices(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One visit reads so many tiles; the log is signed once all of them are there."""
    monkeypatch.setattr(sealer, "_SLICE_TILES", 1)
    monkeypatch.setattr(sealer, "_VISIT_SLICES", 2)
    await append(store, 0, 1_100)
    sealing = sealing_of(store)
    assert not await sealing.seal(TENANT)
    assert await store.seals.list_checkpoints(TENANT, None, 1) == []
    assert await store.seals.count_tiled(TENANT) == 2
    assert await sealing.seal(TENANT)
    assert (await latest(store)).root == (await store.head(TENANT)).root


async def test_one_process_seals(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lease nothing is signed."""
    await append(store, 0, 1)

    async def refuse(*_arguments: Any) -> bool:
        return False

    monkeypatch.setattr(store.followers, "take_lease", refuse)
    await sealing_of(store).seal_all()
    assert [log.tenant for log in await store.seals.unsealed()] == [TENANT]


async def test_missing_leaves_are_said(store: Any) -> None:
    """A row that is gone stops the sealing of this log, and of no other."""
    await append(store, 0, 3)
    await stored(store, new(1), tenant="other")
    await execute(store, f"DELETE FROM event WHERE id = x'{uuid(2).replace('-', '')}'")
    sealing = sealing_of(store)
    with pytest.raises(Unsound, match="missing"):
        await sealing.seal(TENANT)
    await sealing.seal_all()
    assert sealing.stopped.keys() == {TENANT}
    assert len(await store.seals.list_checkpoints("other", None, 1)) == 1


async def test_it_runs_until_it_is_cancelled(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is sealed without a further call."""
    monkeypatch.setattr(sealer, "_EVERY_S", 0.01)
    task = asyncio.create_task(sealing_of(store).run())
    await append(store, 0, 2)
    async with asyncio.timeout(10):
        while await store.seals.unsealed():  # noqa: ASYNC110  (nobody says when it becomes true)
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await latest(store)).size == 2


def _any_leaf(_leaf: bytes, index: int, size: int, _proof: Any, _root: bytes) -> bool:
    """Mutant: the leaf is not looked at."""
    return 0 <= index < size


@catches(replaced(checkpoints, "is_included", _any_leaf, "accepts_a_proof_of_another_event"))
async def test_a_proof_is_that_of_one_event(store: Any) -> None:
    """Its hashes lead from the event's own leaf to the signed root, and from no other event's."""
    await append(store, 0, 9)
    await sealing_of(store).seal(TENANT)
    found = await latest(store)
    evidence = await store.seals.get_evidence(TENANT, uuid(4))
    index = evidence.position - 1
    hashes = await hashes_of(store.seals, TENANT, inclusion_ranges(index, found.size))
    proof = LogProof(index, tuple(hashes), found.note)
    assert verify_proof(proof, leaf_hash(evidence.envelope), await keys(store)).checkpoint.size == 9
    other = await store.seals.get_evidence(TENANT, uuid(5))
    with pytest.raises(BadNote):
        verify_proof(proof, leaf_hash(other.envelope), await keys(store))


def test_names_and_keys_follow_from_the_secret() -> None:
    """The default name is always the same for a secret. Each origin has a key of its own."""
    assert log_name_of(SECRET) == log_name_of(StoreSecret("the secret of the store that is sealed here"))
    assert log_name_of(SECRET) != log_name_of(StoreSecret.random())
    signers = [LogKeys(SECRET).key(name).public for name in ("a/b/1", "a/b/2", "a/b/1")]
    assert signers[0] == signers[2] != signers[1]
