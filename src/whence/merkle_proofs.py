"""Proofs that a leaf is in a tree, and that one tree is the beginning of another. Pure.

A proof is a list of hashes, each of a range of leaves. Which ranges these are depends on numbers alone, so they are
listed first (`inclusion_ranges`, `consistency_ranges`). A store that has the hashes of perfect subtrees then computes
each with `perfect_subtrees` and `range_hash`, without reading the leaves of a large log.

A proof of many leaves at once has the hash of each part of the tree that holds none of them. Who makes it and who
checks it walk the tree from left to right, and so have a path from the root to a leaf in memory at most.

The verifiers take nothing from the proof on trust but its hashes. They recompute the roots, and every index and size is
the caller's.

Sources: RFC 6962, section 2.1; RFC 9162, sections 2.1.3 and 2.1.4.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from whence.merkle import EMPTY_ROOT, HASH_SIZE, node_hash

__all__ = [
    "LeafRange",
    "Subtree",
    "consistency_ranges",
    "inclusion_ranges",
    "is_consistent",
    "is_included",
    "perfect_subtrees",
    "range_hash",
    "root_over_parts",
    "uncovered_ranges",
]


class LeafRange(NamedTuple):
    """The leaves from `first` up to, but not including, `end`; the first leaf of a log is number 0."""

    first: int
    end: int


class Subtree(NamedTuple):
    """A perfect subtree of 2**height leaves. `number` counts those of its height from the left, starting at 0."""

    height: int
    number: int


def inclusion_ranges(index: int, size: int) -> list[LeafRange]:
    """The ranges whose hashes prove that leaf `index` is in the tree of `size` leaves, from the leaf to the root.

    Raises ValueError unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError("The index of a leaf is at least 0 and less than the size of its tree.")
    ranges = []
    first, end = 0, size
    while end - first > 1:
        split = first + _largest_power_below(end - first)
        if index < split:
            ranges.append(LeafRange(split, end))
            end = split
        else:
            ranges.append(LeafRange(first, split))
            first = split
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[LeafRange]:
    """The ranges whose hashes prove that the tree of `old` leaves is the beginning of the tree of `new` leaves.

    None are needed between a tree and itself, or after the empty tree. Raises ValueError unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError("The older of two trees is not the larger one.")
    if old in (0, new):
        return []
    ranges = []
    first, end, whole = 0, new, True
    while old != end:
        split = first + _largest_power_below(end - first)
        if old <= split:
            ranges.append(LeafRange(split, end))
            end = split
        else:
            ranges.append(LeafRange(first, split))
            first, whole = split, False
    if not whole:  # otherwise it is the older tree itself, whose root the verifier has
        ranges.append(LeafRange(first, end))
    return ranges[::-1]


def perfect_subtrees(leaves: LeafRange) -> list[Subtree]:
    """The perfect subtrees that make up a range of one of the lists above, from left to right."""
    first, end = leaves
    subtrees = []
    while first < end:
        height = (end - first).bit_length() - 1
        if first:
            height = min(height, (first & -first).bit_length() - 1)
        subtrees.append(Subtree(height, first >> height))
        first += 1 << height
    return subtrees


def range_hash(leaves: LeafRange, subtree_hash: Callable[[Subtree], bytes]) -> bytes:
    """The Merkle tree hash of a range, from those of its perfect subtrees; that of an empty range is `EMPTY_ROOT`."""
    hashes = [subtree_hash(subtree) for subtree in perfect_subtrees(leaves)]
    if not hashes:
        return EMPTY_ROOT
    result = hashes.pop()
    while hashes:
        result = node_hash(hashes.pop(), result)
    return result


def uncovered_ranges(indexes: Iterable[int], size: int) -> Iterator[LeafRange]:
    """The parts of the tree of `size` leaves that have none of the leaves with these indexes, from left to right: the
    largest ones that RFC 6962 divides the tree into. Their hashes prove those leaves; see `root_over_parts`.

    Raises ValueError unless the indexes ascend and lie within the tree.
    """
    leaves = _Ascending(((index, b"") for index in indexes), size)

    def walk(first: int, end: int) -> Iterator[LeafRange]:
        if leaves.next >= end:
            yield LeafRange(first, end)
        elif end - first == 1:
            leaves.take()
        else:
            split = first + _largest_power_below(end - first)
            yield from walk(first, split)
            yield from walk(split, end)

    if size:
        yield from walk(0, size)


def root_over_parts(leaves: Iterable[tuple[int, bytes]], hashes: Iterable[bytes], size: int) -> bytes:
    """The root of the tree of `size` leaves, from the hashes of some leaves, by index, and those of
    `uncovered_ranges`. If it is the root that is known, each of the leaves is in the tree, at its place.

    Raises ValueError unless the indexes ascend and lie within the tree, and there are just as many hashes as it takes.
    """
    proven, rest = _Ascending(leaves, size), iter(hashes)

    def part(first: int, end: int) -> bytes:
        if proven.next >= end:
            found = next(rest, b"")
            if len(found) != HASH_SIZE:
                raise ValueError("The proof has too few hashes.")
            return found
        if end - first == 1:
            return proven.take()
        split = first + _largest_power_below(end - first)
        left = part(first, split)
        return node_hash(left, part(split, end))

    root = part(0, size) if size else EMPTY_ROOT
    if next(rest, None) is not None:
        raise ValueError("The proof has too many hashes.")
    return root


class _Ascending:
    """Leaves by index, one after the other. `next` is the index of the one that comes, and `size` after the last."""

    def __init__(self, leaves: Iterable[tuple[int, bytes]], size: int) -> None:
        self._leaves = iter(leaves)
        self._size = size
        self._hash = b""
        self.next = -1
        self.take()

    def take(self) -> bytes:
        """The hash of the leaf that comes, and go on to the one after it."""
        taken = self._hash
        found = next(self._leaves, None)
        index, self._hash = (self._size, b"") if found is None else found
        if not self.next < index or (found is not None and index >= self._size):
            raise ValueError("The indexes of the leaves ascend, and are less than the size of the tree.")
        self.next = index
        return taken


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that the leaf with this hash is number `index` in the tree of this size and root."""
    if not 0 <= index < size or not _are_hashes((leaf, root, *proof)):
        return False
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and result == root


def is_consistent(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether `proof` shows that the tree of `old` leaves and this root is the beginning of the one of `new` leaves."""
    if not 0 <= old <= new or not _are_hashes((old_root, new_root, *proof)):
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    if not hashes:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def _largest_power_below(number: int) -> int:
    """The largest power of two that is less than `number`, which is at least 2."""
    return 1 << ((number - 1).bit_length() - 1)


def _are_hashes(values: Iterable[bytes]) -> bool:
    return all(len(value) == HASH_SIZE for value in values)
