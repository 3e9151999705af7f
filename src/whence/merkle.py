"""RFC 6962 Merkle tree arithmetic. Pure: hashes in, hashes out.

The compact range of a log of n leaves is the roots of its perfect subtrees, largest first: one for each bit that is set
in n. Adding a leaf takes O(log n) hashes, and the range yields the root, so no leaf is ever read back.

Source: RFC 6962, section 2.1.
"""

from collections.abc import Iterable
from hashlib import sha256

__all__ = ["EMPTY_ROOT", "HASH_SIZE", "CompactRange", "leaf_hash", "node_hash", "node_hashes"]

HASH_SIZE = 32
"""Bytes in a hash."""

EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 || data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


_begun_node = sha256(b"\x01")


def node_hashes(children: bytes) -> bytes:
    """The hashes of the inner nodes over each two of these hashes. All of them are joined.

    A copy of a hash costs less than one that begins anew, and a sealer computes a hash for each event.
    """
    nodes = []
    for at in range(0, len(children), 2 * HASH_SIZE):
        node = _begun_node.copy()
        node.update(children[at : at + 2 * HASH_SIZE])
        nodes.append(node.digest())
    return b"".join(nodes)


class CompactRange:
    """The perfect subtrees of a growing log, largest first. `size` counts its leaves."""

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, packed: bytes = b"") -> None:
        """Load the range of a log of `size` leaves from its packed form, 32 bytes a subtree.

        Raises ValueError when size and packed form do not fit.
        """
        if size < 0 or len(packed) != size.bit_count() * HASH_SIZE:
            raise ValueError("A compact range holds one hash for each set bit of its size.")
        self.size = size
        self._hashes = [packed[at : at + HASH_SIZE] for at in range(0, len(packed), HASH_SIZE)]

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash at the end."""
        merging = self.size
        while merging & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            merging >>= 1
        self._hashes.append(leaf)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes at the end, in order."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """The Merkle tree head of all leaves so far."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root

    def packed(self) -> bytes:
        """The form that the constructor loads."""
        return b"".join(self._hashes)
