"""Seals: what a store keeps so that its logs can be proven, and the rows it is kept in.

origin       the name under which the log of a tenant is signed
checkpoint   a signed note: how many leaves the log had, and their root
tile         the hashes of the tree above the leaves; a leaf is kept with its event
signed       the last size and root that were signed for an origin, kept outside of the log
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from whence.errors import Unsound, WhenceError
from whence.merkle_proofs import LeafRange
from whence.tiles import Tile, range_hashes, tiles_under
from whence.wire.epochs import EPOCH_REASONS, KEY_ROTATED

__all__ = [
    "EPOCH",
    "EPOCH_ENDED",
    "HOUR_US",
    "EpochReason",
    "EpochRequest",
    "Evidence",
    "NewCheckpoint",
    "Origin",
    "SealedCheckpoint",
    "Seals",
    "Signed",
    "TileRow",
    "UnsealedLog",
    "hashes_of",
]

EPOCH = "epoch"
"""The kind of the definitions that ask for a new epoch of a log. Their id is its number."""

HOUR_US = 3_600_000_000
"""Of the checkpoints that were signed in the same hour, the first is kept."""


class Origin(msgspec.Struct, frozen=True):
    """The name of a tenant's log in its checkpoints, and the key that verifies them, as text. `epoch` counts its names,
    from 1. `size` is that of its newest checkpoint, and 0 before the first."""

    epoch: int
    name: str
    key: str
    size: int = 0

    def named(self, epoch: int) -> str:
        """The name that another epoch of this log has."""
        return f"{self.name.rpartition('/')[0]}/{epoch}"


class EpochReason(StrEnum):
    """Why a log gets a new origin: it was put back from an older backup, it is time for another key, or somebody else
    may have the key."""

    RESTORED, ROTATED, COMPROMISED = EPOCH_REASONS


EPOCH_ENDED = {
    EpochReason.RESTORED: "whence.log_restored",
    EpochReason.ROTATED: KEY_ROTATED,
    EpochReason.COMPROMISED: "whence.log_key_compromised",
}
"""The type of the event that says why an epoch ended."""


class EpochRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the epoch of the origin `ended`, asked for by an actor of this type and id at a time in microseconds.

    `overlaps_until` is set once the next epoch of a rotation has begun: until that time both keys sign.
    """

    ended: str
    reason: EpochReason
    actor_type: str
    actor_id: str
    requested_at: int
    overlaps_until: int | None = None


class SealedCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint that was signed at a time in microseconds since the epoch. `note` is its whole text."""

    epoch: int
    size: int
    root: bytes
    signed_at: int
    note: str


class TileRow(msgspec.Struct, frozen=True):
    """The hashes of a tile of level 1 or above, joined. The last tile of a level grows until it is full."""

    level: int
    number: int
    hashes: bytes


class NewCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint that is to follow the one of the size `after` as the newest of its epoch, 0 for the first one, and
    tiles that are stored with it."""

    tenant: str
    checkpoint: SealedCheckpoint
    after: int
    tiles: tuple[TileRow, ...] = ()


class Signed(msgspec.Struct, frozen=True):
    """What was signed for an origin."""

    size: int
    root: bytes


class UnsealedLog(msgspec.Struct, frozen=True):
    """A log that is longer than its newest checkpoint, with its tree: a packed compact range of this size."""

    tenant: str
    size: int
    compact_range: bytes


class Evidence(msgspec.Struct, frozen=True):
    """What the leaf of an event is made of. `salt` and `payload` are None once the payload is erased."""

    position: int
    leaf: bytes
    envelope: bytes
    salt: bytes | None
    payload: bytes | None


class Seals(Protocol):
    """What a store keeps so that its logs can be proven.

    Each method is one transaction, or one for each tenant where a store allows no other; it is durable on return, and
    raises `Unavailable` when the store cannot serve. A tenant's rows are seen by that tenant alone.
    """

    logs_at_once: int
    """How many logs may be sealed at the same time, so that they share the work of the store and hold up no append."""

    async def unsealed(self) -> list[UnsealedLog]:
        """The logs that are longer than their newest checkpoint, as they are now, by tenant."""
        ...

    async def list_origins(self, tenant: str) -> list[Origin]:
        """The origins of a tenant by epoch. The last one is in use."""
        ...

    async def add_origin(self, tenant: str, origin: Origin) -> Origin:
        """Add an origin without checkpoints, which is in use from now on. Returns the one that is: of two that are
        added at the same time with the same epoch, the first."""
        ...

    async def put_checkpoints(self, new: Sequence[NewCheckpoint]) -> list[bool | WhenceError]:
        """Store checkpoints of several logs, each as the newest of its epoch, with tiles as `put_tiles` does. The
        result of one is False, and nothing of it is stored, unless the checkpoint before it has the size `after` and it
        is larger. It is an error if that log alone could not be stored; the others are. An epoch is never that of two
        logs, so the tiles are not those of a former log of this name.

        The checkpoint before each is dropped, unless it is the first of its hour.
        """
        ...

    async def list_checkpoints(self, tenant: str, before: int | None, limit: int) -> list[SealedCheckpoint]:
        """The checkpoints of the origin in use, the newest first: those smaller than `before`, at most `limit`."""
        ...

    async def last_checkpoint(self, tenant: str, epoch: int) -> SealedCheckpoint | None:
        """The newest checkpoint of one epoch, or None."""
        ...

    async def read_leaves(self, tenant: str, leaves: LeafRange) -> bytes:
        """The leaf hashes of a range, joined, as far as they are there."""
        ...

    async def read_leaves_of(self, wanted: Sequence[tuple[str, LeafRange]]) -> list[bytes]:
        """As `read_leaves` for a range of each of these tenants."""
        ...

    async def read_tiles(self, tenant: str, tiles: Sequence[Tile]) -> list[bytes]:
        """The hashes of each tile up to its width, joined, as far as they are there. Level 0 is read from events."""
        ...

    async def count_tiled(self, tenant: str) -> int:
        """How many hashes level 1 has: so many full tiles of leaves were hashed."""
        ...

    async def put_tiles(self, tenant: str, rows: Sequence[TileRow], first_leaf: bytes | None = None) -> bool:
        """Store tiles, together. A tile that is there may grow. What would change one of its hashes, or take some
        away, is passed over. Returns False, and stores nothing, for a tenant that is not there, and if its log has
        another `first_leaf` than this one: then the hashes are those of a former log of this name."""
        ...

    async def get_evidence(self, tenant: str, event_id: str) -> Evidence | None:
        """What the leaf of an event is made of, or None when there is no such event. Raises Unsound for an event that
        cannot be put together."""
        ...

    async def get_signed(self, origin: str) -> Signed | None:
        """What was last signed for an origin, as it was recorded outside of the log. Raises Unsound when the record is
        damaged; so does the next one."""
        ...

    async def record_signed(self, wanted: Sequence[tuple[str, Signed]]) -> list[bool]:
        """Record what is about to be signed, each with its origin. The result is False for what is smaller than the
        recorded size, or has the same size and another root: that must not be signed, and is not recorded."""
        ...


async def hashes_of(seals: Seals, tenant: str, ranges: Sequence[LeafRange]) -> list[bytes]:
    """The Merkle tree hashes of ranges of leaves, from what the store keeps. Raises Unsound when some of it is
    missing."""
    tiles = tiles_under(ranges)
    found = await seals.read_tiles(tenant, tiles)
    try:
        return range_hashes(ranges, dict(zip(tiles, found, strict=True)))
    except ValueError:
        raise Unsound("Hashes of the log are missing. Run 'whence verify'.") from None
