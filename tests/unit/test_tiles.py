"""The tiles of a log: their names, which there are, and the hashes of subtrees that are read from them."""

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.test_merkle import root_of
from whence import tiles
from whence.merkle_proofs import LeafRange, Subtree, range_hash
from whence.tiles import RightEdge, Tile, parse_tile_path, subtree_hash, tiles_of, tiles_under, tree_hash

SIZES = st.one_of(st.integers(0, 70_000), st.sampled_from([0, 1, 255, 256, 257, 65_535, 65_536, 65_537]))


class _Log:
    """The tiles of a log of made-up leaves."""

    def __init__(self, size: int) -> None:
        self.leaves = [sha256(number.to_bytes(4, "big")).digest() for number in range(size)]

    def read(self, tile: Tile) -> bytes:
        """The first hashes of a tile, by the definition of the specification."""
        span = 256**tile.level
        first = tile.number * 256
        return b"".join(root_of(self.leaves[(first + at) * span : (first + at + 1) * span]) for at in range(tile.width))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "0/000"),
        (Tile(0, 1_234_067), "0/x001/x234/067"),
        (Tile(2, 1_000), "2/x001/000"),
        (Tile(1, 0, 17), "1/000.p/17"),
        (Tile(63, 5, 255), "63/005.p/255"),
    ],
)
def test_a_tile_has_one_name(tile: Tile, path: str) -> None:
    """It is written as the specification says, and it is read again as the same tile."""
    assert tile.path == path
    assert parse_tile_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "0",
            "0/",
            "0/0",
            "0/0000",
            "00/000",
            "64/000",
            "0/x000/000",
            "0/001/000",
            "0/x001",
            "0/../000",
            "0/000\n",
        ),
        *("0/000.p/0", "0/000.p/256", "0/000.p/017", "0/000.p/", "-1/000", "0/\u0660\u0660\u0660"),
    ],
)
def test_no_other_name_is_one(path: str) -> None:
    """What is no name of a tile, or a second name of one, names none."""
    assert parse_tile_path(path) is None


def test_the_tiles_of_the_specifications_example() -> None:
    """A log of 70,000 leaves has those that the specification counts.

    One of 256 has a partial tile above a full one.
    """
    found = list(tiles_of(70_000))
    assert sum(tile.level == 0 and tile.width == 256 for tile in found) == 273
    assert [tile for tile in found if tile.level or tile.width < 256] == [
        Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)
    ]  # fmt: skip
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]


def _no_partial_tiles(size: int, since: int = 0) -> list[Tile]:
    """Mutant: only full tiles are listed."""
    return [tile for tile in tiles_of(size, since) if tile.width == 256]


@catches(replaced(tiles, "tiles_of", _no_partial_tiles, "forgets_partial_tiles"))
@PROPERTY
@given(one=SIZES, other=SIZES)
def test_growing_adds_what_was_not_there(one: int, other: int) -> None:
    """The tiles of a smaller tree and those that were added are the tiles of the larger one."""
    since, size = sorted((one, other))
    added = list(tiles.tiles_of(size, since))
    before, after = set(tiles.tiles_of(since)), set(tiles.tiles_of(size))
    assert set(added) == after - before
    assert len(added) == len(set(added))
    if size:
        assert sum(tile.width for tile in after if tile.level == 0) == size


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_the_root_is_read_from_tiles(size: int) -> None:
    """The root of a log is that of its perfect subtrees, each of which is read from one tile."""
    log = _Log(size)
    assert range_hash(LeafRange(0, size), lambda each: subtree_hash(each, log.read)) == root_of(log.leaves)


def test_a_subtree_of_any_height_is_in_one_tile() -> None:
    """Its hash is that of its leaves, whatever its height and place."""
    log = _Log(1_024)
    for height in range(11):
        for number in {0, (1_024 >> height) - 1, (1_024 >> height) // 2}:
            first = number << height
            expected = root_of(log.leaves[first : first + (1 << height)])
            assert subtree_hash(Subtree(height, number), log.read) == expected


@pytest.mark.parametrize("hashes", [b"", b"\x00" * 31, b"\x00" * 96, b"\x00" * 33])
def test_a_perfect_tree_has_a_power_of_two_of_hashes(hashes: bytes) -> None:
    """Any other number is refused."""
    with pytest.raises(ValueError, match="power of two"):
        tree_hash(hashes)


def _of_each_alone(children: bytes) -> bytes:
    """Mutant: nodes are made of one child."""
    return b"".join(sha256(b"\x01" + children[at : at + 32]).digest() for at in range(0, len(children), 64))


@catches(replaced(tiles, "node_hashes", _of_each_alone, "nodes_of_one_child"))
@pytest.mark.parametrize(
    "sizes", [(1, 2, 255, 256, 257, 511, 512, 513, 1_100), (256, 700), (65_535, 65_537, 65_800), (65_536, 66_000)]
)
def test_the_right_edge_is_all_that_a_growing_log_needs(sizes: tuple[int, ...]) -> None:
    """From it and the new leaves follow the root, and each tile of level 1 and above that has changed."""
    log = _Log(max(sizes))
    first = tiles_under([LeafRange(0, sizes[0])])
    edge = RightEdge(sizes[0], {tile: log.read(tile) for tile in first})
    assert edge.root() == root_of(log.leaves[: sizes[0]])
    for since, size in pairwise(sizes):
        grown = edge.extend(b"".join(log.leaves[since:size]))
        assert grown == {tile: log.read(tile) for tile in tiles_of(size, since) if tile.level > 0}
        assert (edge.size, edge.root()) == (size, root_of(log.leaves[:size]))


def test_a_right_edge_is_not_made_of_fewer_hashes() -> None:
    """Neither when a tile is short, nor when one is missing."""
    log = _Log(300)
    held = {tile: log.read(tile) for tile in tiles_under([LeafRange(0, 300)])}
    for tile in held:
        with pytest.raises(ValueError, match="should have"):
            RightEdge(300, held | {tile: held[tile][:-32]})
        with pytest.raises(KeyError):
            RightEdge(300, {other: hashes for other, hashes in held.items() if other != tile})
