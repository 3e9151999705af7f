"""The tiles of a log: which there are, how they are named, and the hashes in them. Pure.

A tile of level 0 holds the hashes of 256 leaves, a tile of level l + 1 the hashes of 256 full tiles of level l. The
last tile of a level may be partial. A bundle of entries has what the leaves of a tile of level 0 are the hashes of.

Source: C2SP tlog-tiles 0.1.0, https://c2sp.org/tlog-tiles
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from whence.merkle import HASH_SIZE, CompactRange, leaf_hash, node_hashes
from whence.merkle_proofs import LeafRange, Subtree, perfect_subtrees, range_hash

__all__ = [
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "RightEdge",
    "Tile",
    "appended_tiles",
    "entry_bundle",
    "grown_tiles",
    "leaf_hashes",
    "parse_tile_path",
    "partial_tiles",
    "range_hashes",
    "subtree_hash",
    "tiles_of",
    "tiles_under",
    "tree_hash",
]

TILE_HEIGHT = 8
"""Levels of the tree in a tile."""

TILE_WIDTH = 1 << TILE_HEIGHT
"""Hashes in a full tile."""

_LENGTH_BYTES = 2
_LEVEL_MAX = 63
_PATH = re.compile(r"(0|[1-9]\d?)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


class Tile(NamedTuple):
    """The tile with this number in its level, both from 0, and the first `width` of its hashes."""

    level: int
    number: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Its name below `tile/`, for example `0/x001/x234/067` or `1/000.p/17`."""
        groups = [f"{self.number % 1000:03d}"]
        rest = self.number // 1000
        while rest:
            groups.append(f"x{rest % 1000:03d}")
            rest //= 1000
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"{self.level}/{'/'.join(reversed(groups))}{partial}"

    @property
    def entries_path(self) -> str:
        """The name below `tile/` of the bundle of entries of a tile of level 0, for example `entries/x001/234.p/17`."""
        return f"entries/{self.path.removeprefix('0/')}"


def parse_tile_path(path: str) -> Tile | None:
    """The tile of this name, or None for a text that names none."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    width = TILE_WIDTH if found[3] is None else int(found[3])
    tile = Tile(int(found[1]), int(found[2].replace("/", "").replace("x", "")), width)
    if tile.level > _LEVEL_MAX or (found[3] is not None and width >= TILE_WIDTH) or tile.path != path:
        return None  # also a path with groups of zeros in front
    return tile


def entry_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries as they stand in a bundle: each after its length in two bytes, the larger one first."""
    return b"".join(len(each).to_bytes(_LENGTH_BYTES) + each for each in entries)


def leaf_hashes(bundle: bytes) -> bytes:
    """The hashes of the entries of a bundle, joined. Those of one that breaks off are others."""
    hashes, at = [], 0
    while at < len(bundle):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(bundle[at:begin])
        if at > len(bundle):
            return b""
        hashes.append(leaf_hash(bundle[begin:at]))
    return b"".join(hashes)


def appended_tiles(count: int, last: bytes, hashes: bytes) -> Iterator[tuple[int, bytes]]:
    """The tiles of a level that change when hashes are appended to its first `count` ones: the number and the hashes of
    each. `last` are the hashes of the tile that is partial so far. All hashes are joined."""
    number = count // TILE_WIDTH
    joined = last + hashes
    full = TILE_WIDTH * HASH_SIZE
    for start in range(0, len(joined), full):
        yield number, joined[start : start + full]
        number += 1


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """The tiles of a tree of `size` leaves that the tree of `since` leaves does not have, level by level."""
    level = 0
    while size:
        before, whole = divmod(since, TILE_WIDTH)[0], size // TILE_WIDTH
        for number in range(before, whole):
            yield Tile(level, number)
        if size % TILE_WIDTH and (size != since or whole != before):
            yield Tile(level, whole, size % TILE_WIDTH)
        size, since, level = whole, since // TILE_WIDTH, level + 1


def subtree_hash(subtree: Subtree, read: Callable[[Tile], bytes]) -> bytes:
    """The hash of a perfect subtree. `read` gives the hashes of a tile, joined, of at least the width asked for."""
    level, height = divmod(subtree.height, TILE_HEIGHT)
    leaves = 1 << height
    number, first = divmod(subtree.number << height, TILE_WIDTH)
    hashes = read(Tile(level, number, first + leaves))[first * HASH_SIZE : (first + leaves) * HASH_SIZE]
    return tree_hash(hashes)


def tree_hash(hashes: bytes) -> bytes:
    """The root over joined hashes, whose number is a power of two. Raises ValueError for any other number."""
    count = len(hashes) // HASH_SIZE
    if not count or len(hashes) % HASH_SIZE or count & (count - 1):
        raise ValueError("A perfect tree has a power of two of hashes.")
    while len(hashes) > HASH_SIZE:
        hashes = node_hashes(hashes)
    return hashes


def tiles_under(ranges: Iterable[LeafRange]) -> list[Tile]:
    """The tiles, each with the width that is needed of it, from which `range_hashes` computes the hashes of ranges."""
    widths: dict[tuple[int, int], int] = {}
    for leaves in ranges:
        for subtree in perfect_subtrees(leaves):
            level, height = divmod(subtree.height, TILE_HEIGHT)
            number, first = divmod(subtree.number << height, TILE_WIDTH)
            place, width = (level, number), first + (1 << height)
            widths[place] = max(width, widths.get(place, 0))
    return [Tile(*place, width) for place, width in sorted(widths.items())]


def range_hashes(ranges: Iterable[LeafRange], tiles: Mapping[Tile, bytes]) -> list[bytes]:
    """The hash of each range, from the hashes of the tiles that `tiles_under` lists.

    Raises ValueError for a tile with fewer hashes than its width, and KeyError for one that is missing.
    """
    held: dict[tuple[int, int], bytes] = {}
    for tile, hashes in tiles.items():
        if len(hashes) != tile.width * HASH_SIZE:
            raise ValueError("A tile does not have the hashes that it should have.")
        held[tile.level, tile.number] = hashes
    return [
        range_hash(leaves, lambda subtree: subtree_hash(subtree, lambda tile: held[tile.level, tile.number]))
        for leaves in ranges
    ]


def partial_tiles(count: int) -> list[Tile]:
    """The last tile of each level from 1 on that is partial, when level 1 has `count` hashes."""
    tiles = []
    level = 1
    while count:
        count, width = divmod(count, TILE_WIDTH)
        if width:
            tiles.append(Tile(level, count, width))
        level += 1
    return tiles


def grown_tiles(count: int, partial: Mapping[Tile, bytes], added: Sequence[bytes]) -> dict[Tile, bytes]:
    """The tiles of level 1 and above that change when hashes of full tiles of level 0 are added, with all their hashes.

    `count` is the number of hashes that level 1 has so far, and `partial` the hashes of `partial_tiles(count)`.
    """
    grown: dict[Tile, bytes] = {}
    level = 1
    while added:
        number, width = divmod(count, TILE_WIDTH)
        hashes = partial[Tile(level, number, width)] if width else b""
        above = []
        for each in added:
            hashes += each
            if len(hashes) == TILE_WIDTH * HASH_SIZE:
                grown[Tile(level, number)] = hashes
                above.append(tree_hash(hashes))
                number, hashes = number + 1, b""
        if hashes:
            grown[Tile(level, number, len(hashes) // HASH_SIZE)] = hashes
        level, count, added = level + 1, count // TILE_WIDTH, above
    return grown


class RightEdge:
    """The right edge of the tree of a growing log: all that it takes to add leaves, and to compute the root.

    Holds the perfect subtrees that the leaves make up, one of each height at most, and the partial tiles of level 1 and
    above: at most 8 KiB for each level.
    """

    def __init__(self, size: int, tiles: Mapping[Tile, bytes]) -> None:
        """Begin with a log of `size` leaves. `tiles` has the hashes of the tiles that `tiles_under` lists for all of
        them, joined. Raises ValueError for a tile with fewer hashes, and KeyError for one that is missing."""
        self.size = size
        self._partial: dict[int, bytes] = {}
        held: dict[tuple[int, int], bytes] = {}
        for tile in tiles_under([LeafRange(0, size)]):
            held[tile.level, tile.number] = tiles[tile]
            if len(tiles[tile]) != tile.width * HASH_SIZE:
                raise ValueError("A tile does not have the hashes that it should have.")
            if tile.level:
                self._partial[tile.level] = tiles[tile]
        self._subtrees = {
            subtree.height: subtree_hash(subtree, lambda tile: held[tile.level, tile.number])
            for subtree in perfect_subtrees(LeafRange(0, size))
        }

    def extend(self, leaves: bytes) -> dict[Tile, bytes]:
        """Add leaf hashes, joined. Returns the tiles of level 1 and above that changed, with all of their hashes."""
        grown: dict[Tile, bytes] = {}
        added, height = leaves, 0
        while added:
            level, rest = divmod(height, TILE_HEIGHT)
            if level and not rest:
                grown |= self._grown(level, added)
            added = self._subtrees.pop(height, b"") + added
            if len(added) % (2 * HASH_SIZE):
                added, self._subtrees[height] = added[:-HASH_SIZE], added[-HASH_SIZE:]
            added, height = node_hashes(added), height + 1
        self.size += len(leaves) // HASH_SIZE
        return grown

    def _grown(self, level: int, added: bytes) -> dict[Tile, bytes]:
        """The tiles of a level to which these hashes are added. The size is still that before."""
        count = self.size >> (level * TILE_HEIGHT)
        grown: dict[Tile, bytes] = {}
        for number, hashes in appended_tiles(count, self._partial.pop(level, b""), added):
            grown[Tile(level, number, len(hashes) // HASH_SIZE)] = hashes
            if len(hashes) < TILE_WIDTH * HASH_SIZE:
                self._partial[level] = hashes
        return grown

    def packed(self) -> bytes:
        """The compact range of all leaves so far, packed; see `CompactRange`."""
        return b"".join([hash_ for _, hash_ in sorted(self._subtrees.items(), reverse=True)])

    def root(self) -> bytes:
        """The Merkle tree head of all leaves so far."""
        return CompactRange(self.size, self.packed()).root()
