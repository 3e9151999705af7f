"""The Merkle tree, against the published vectors and a simple recursive tree."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from whence import merkle
from whence.merkle import CompactRange

LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
"""The test data of the reference implementation of Certificate Transparency."""

ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The published roots of the trees of the first 1 to 8 leaves."""


def root_of(leaves: list[bytes]) -> bytes:
    """The tree head of these leaf hashes, exactly as defined in RFC 6962, section 2.1."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + root_of(leaves[:split]) + root_of(leaves[split:])).digest()


def grown(leaves: list[bytes], splits: frozenset[int] = frozenset()) -> CompactRange:
    """The compact range of these leaves, packed and unpacked at each size in `splits`."""
    tree = merkle.CompactRange()
    for leaf in leaves:
        tree.append(leaf)
        if tree.size in splits:
            tree = merkle.CompactRange(tree.size, tree.packed())
    return tree


def without_prefix(left: bytes, right: bytes) -> bytes:
    return sha256(left + right).digest()


def right_to_left(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + right + left).digest()


class _Doubling(CompactRange):
    """Mutant: a last node without a sibling is its own sibling, as in other Merkle trees."""

    def root(self) -> bytes:
        root = super().root()
        return root if self.size & (self.size - 1) == 0 else merkle.node_hash(root, root)


@catches(
    replaced(merkle, "leaf_hash", lambda data: sha256(data).digest(), "leaves_without_prefix"),
    replaced(merkle, "node_hash", without_prefix, "nodes_without_prefix"),
    replaced(merkle, "node_hash", right_to_left, "nodes_the_other_way_round"),
    replaced(merkle, "CompactRange", _Doubling, "odd_nodes_are_doubled"),
)
def test_the_published_vectors() -> None:
    """The roots of the trees of 0 to 8 leaves are the published ones."""
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    assert [grown(hashes[:size]).root().hex() for size in range(1, 9)] == ROOTS
    assert CompactRange().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert CompactRange().root() == merkle.EMPTY_ROOT


@catches(replaced(merkle, "CompactRange", _Doubling, "odd_nodes_are_doubled"))
@PROPERTY
@given(size=st.integers(0, 150), splits=st.frozensets(st.integers(0, 150), max_size=20))
def test_a_compact_range_has_the_root_of_the_whole_tree(size: int, splits: frozenset[int]) -> None:
    """Root and size are right for any number of leaves, wherever the range was packed and unpacked."""
    leaves = [sha256(number.to_bytes(4, "big")).digest() for number in range(size)]
    tree = grown(leaves, splits)
    assert tree.root() == root_of(leaves)
    assert tree.size == size
    assert tree.packed() == grown(leaves).packed()
    assert len(tree.packed()) == 32 * size.bit_count()


def test_every_root_on_the_way_is_right() -> None:
    """The root is right after every leaf, and computing it changes nothing."""
    tree = CompactRange()
    leaves: list[bytes] = []
    for number in range(200):
        leaves.append(merkle.leaf_hash(bytes([number])))
        tree.append(leaves[-1])
        assert tree.root() == tree.root() == root_of(leaves)


def test_packing_gives_away_nothing_that_still_changes() -> None:
    """Appending to an unpacked range does not change the range that it was packed from."""
    first = grown([b"\x00" * 32] * 3)
    packed = first.packed()
    second = CompactRange(first.size, packed)
    second.append(b"\x01" * 32)
    assert (first.size, first.packed()) == (3, packed)
    assert second.root() != first.root()


@pytest.mark.parametrize(("size", "nodes"), [(-1, 0), (0, 1), (1, 0), (1, 2), (2, 2), (3, 1), (4, 3), (-3, 2)])
def test_a_size_and_hashes_that_do_not_belong_together_are_refused(size: int, nodes: int) -> None:
    """A range has exactly one hash for each set bit of its size; any other number is refused."""
    with pytest.raises(ValueError, match="one hash for each set bit"):
        CompactRange(size, b"\x00" * 32 * nodes)


def test_torn_hashes_are_refused() -> None:
    """Packed hashes whose length is not a multiple of 32 bytes are refused."""
    for packed in (b"\x00" * 31, b"\x00" * 33):
        with pytest.raises(ValueError, match="one hash for each set bit"):
            CompactRange(1, packed)


def test_a_leaf_is_no_node() -> None:
    """The hash of a leaf differs from that of a node with the same content, so a node cannot be presented as an
    event."""
    left, right = b"\x01" * 32, b"\x02" * 32
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
