"""Inclusion and consistency proofs: the published ones, those of random trees, and forgeries."""

import random
from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.test_merkle import LEAVES, ROOTS, root_of
from whence import merkle_proofs
from whence.merkle import EMPTY_ROOT, leaf_hash, node_hash
from whence.merkle_proofs import (
    LeafRange,
    Subtree,
    consistency_ranges,
    inclusion_ranges,
    is_consistent,
    is_included,
    perfect_subtrees,
    range_hash,
)

HASHES = [leaf_hash(leaf) for leaf in LEAVES]

INCLUSION = [
    (0, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (5, 8, ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (1, 5, ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip
"""Published inclusion proofs, of the same test data as the roots: index, size, proof."""

CONSISTENCY = [
    (1, 1, []),
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 5, ["5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip
"""Published consistency proofs: the older size, the newer size, proof."""


def leaves_of(size: int) -> list[bytes]:
    return [sha256(number.to_bytes(4, "big")).digest() for number in range(size)]


def hashes_of(ranges: Sequence[LeafRange], leaves: list[bytes]) -> list[bytes]:
    """The hashes of these ranges, from perfect subtrees that are computed by the definition."""

    def subtree_hash(subtree: Subtree) -> bytes:
        first = subtree.number << subtree.height
        return root_of(leaves[first : first + (1 << subtree.height)])

    return [range_hash(each, subtree_hash) for each in ranges]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_the_published_inclusion_proofs(index: int, size: int, proof: list[str]) -> None:
    """They are what is computed here, and they are accepted."""
    assert [each.hex() for each in hashes_of(inclusion_ranges(index, size), HASHES)] == proof
    root = bytes.fromhex(ROOTS[size - 1])
    assert is_included(HASHES[index], index, size, [bytes.fromhex(each) for each in proof], root)


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCY)
def test_the_published_consistency_proofs(old: int, new: int, proof: list[str]) -> None:
    """They are what is computed here, and they are accepted."""
    assert [each.hex() for each in hashes_of(consistency_ranges(old, new), HASHES)] == proof
    roots = [bytes.fromhex(ROOTS[size - 1]) for size in (old, new)]
    assert is_consistent(old, new, [bytes.fromhex(each) for each in proof], *roots)


@PROPERTY
@given(size=st.integers(1, 300), data=st.data())
def test_every_leaf_is_proven(size: int, data: st.DataObject) -> None:
    """For any leaf of any tree the proof is accepted; its length is that of the path to the root."""
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    proof = hashes_of(inclusion_ranges(index, size), leaves)
    assert is_included(leaves[index], index, size, proof, root_of(leaves))
    assert len(proof) <= (size - 1).bit_length()


@PROPERTY
@given(new=st.integers(0, 300), data=st.data())
def test_every_older_tree_is_proven(new: int, data: st.DataObject) -> None:
    """For any two sizes of a log the proof is accepted."""
    old = data.draw(st.integers(0, new))
    leaves = leaves_of(new)
    proof = hashes_of(consistency_ranges(old, new), leaves)
    assert is_consistent(old, new, proof, root_of(leaves[:old]), root_of(leaves))


@PROPERTY
@given(first=st.integers(0, 5_000), length=st.integers(0, 5_000))
def test_perfect_subtrees_cover_a_range(first: int, length: int) -> None:
    """They follow each other from the first leaf to the last, and none could be larger."""
    at = first
    for height, number in perfect_subtrees(LeafRange(first, first + length)):
        assert number << height == at
        at += 1 << height
    assert at == first + length


@pytest.mark.parametrize(("index", "size"), [(-1, 1), (0, 0), (1, 1), (5, 5)])
def test_no_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    """A proof of it is neither made nor accepted."""
    with pytest.raises(ValueError, match="index of a leaf"):
        inclusion_ranges(index, size)
    assert not is_included(HASHES[0], index, size, [], HASHES[0])


def test_no_proof_of_a_larger_older_tree() -> None:
    """A proof of it is neither made nor accepted."""
    with pytest.raises(ValueError, match="older of two trees"):
        consistency_ranges(2, 1)
    assert not is_consistent(2, 1, [], HASHES[0], HASHES[0])


def test_the_empty_tree_begins_every_tree() -> None:
    """It needs no proof; another root of it, or a proof with hashes, is refused."""
    assert is_consistent(0, 5, [], EMPTY_ROOT, HASHES[0])
    assert not is_consistent(0, 5, [], HASHES[0], HASHES[0])
    assert not is_consistent(0, 5, [HASHES[1]], EMPTY_ROOT, HASHES[0])
    assert not is_consistent(3, 3, [HASHES[1]], HASHES[0], HASHES[0])


FORGERIES = 6_000


def _size_from_the_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Mutant: as many steps as the proof has hashes, whatever the size is."""
    result = leaf
    for sibling in proof:
        result = node_hash(sibling, result) if index & 1 else node_hash(result, sibling)
        index >>= 1
    return result == root


def _new_root_alone(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Mutant: the older root is not compared."""
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    after = hashes[0] if hashes else old_root
    for sibling in hashes[1:]:
        if node & 1 or node == last:
            after = node_hash(sibling, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        node, last = node >> 1, last >> 1
    return after == new_root


@catches(replaced(merkle_proofs, "is_included", _size_from_the_proof, "takes_the_size_from_the_proof"))
def test_no_forged_inclusion_is_accepted() -> None:
    """A changed bit of leaf, proof or root, another index or size, a hash more or less: all are refused."""
    rng = random.Random(6962)
    for _ in range(FORGERIES):
        size = rng.randint(1, 40)
        index = rng.randrange(size)
        leaves = leaves_of(size)
        fields = [leaves[index], *hashes_of(inclusion_ranges(index, size), leaves), root_of(leaves)]
        claimed = index, size
        match rng.randrange(4):
            case 0:
                number, bit = rng.randrange(len(fields)), rng.randrange(256)
                fields[number] = (int.from_bytes(fields[number]) ^ 1 << bit).to_bytes(32)
            case 1:
                claimed = rng.choice([other for other in range(-1, size + 2) if other != index]), size
            case 2:
                claimed = index, _other_size(rng, index, size)
            case _ if len(fields) > 2 and rng.random() < 0.5:
                del fields[rng.randrange(1, len(fields) - 1)]
            case _:
                fields.insert(rng.randrange(1, len(fields)), rng.randbytes(32))
        leaf, *proof, root = fields
        accepted = merkle_proofs.is_included(leaf, *claimed, proof, root)
        assert not accepted, (index, size, claimed)


def _other_size(rng: random.Random, index: int, size: int) -> int:
    """A size for which the proof of this leaf has other ranges, so that the claim is a false one.

    Where the path is the same in both trees, the proof and the root would be those of either size; the size is then
    bound by the signed checkpoint alone.
    """
    sides = [each.first < index for each in inclusion_ranges(index, size)]
    others = [
        other
        for other in range(size + 20)
        if other <= index or [each.first < index for each in inclusion_ranges(index, other)] != sides
    ]
    return rng.choice(others)


@catches(replaced(merkle_proofs, "is_consistent", _new_root_alone, "compares_the_newer_root_alone"))
def test_no_forged_consistency_is_accepted() -> None:
    """A changed bit of proof or roots, or a hash more: all are refused."""
    rng = random.Random(9162)
    for _ in range(FORGERIES):
        new = rng.randint(2, 40)
        old = rng.randint(1, new - 1)
        leaves = leaves_of(new)
        proof = hashes_of(consistency_ranges(old, new), leaves)
        fields = [root_of(leaves[:old]), *proof, root_of(leaves)]
        if rng.random() < 0.8:
            number, bit = rng.randrange(len(fields)), rng.randrange(256)
            fields[number] = (int.from_bytes(fields[number]) ^ 1 << bit).to_bytes(32)
        else:
            fields.insert(rng.randrange(1, len(fields)), rng.randbytes(32))
        old_root, *proof, new_root = fields
        accepted = merkle_proofs.is_consistent(old, new, proof, old_root, new_root)
        assert not accepted, (old, new)


def test_hashes_of_another_length_are_refused() -> None:
    """A hash of 31 or 33 bytes is no hash, wherever it stands."""
    for wrong in (HASHES[0][:31], HASHES[0] + b"\x00"):
        assert not is_included(wrong, 0, 1, [], wrong)
        assert not is_consistent(1, 1, [], wrong, wrong)
