"""The rows that both stores read, with a name for each column. Pure.

The fields stand in the order of the columns of the SQL block that yields the row.
"""

from typing import Any, NamedTuple

import msgspec

from whence.merkle import CompactRange

__all__ = ["FullEventRow", "HashRow", "HeadRow"]


class HeadRow(msgspec.Struct, frozen=True):
    """A tenant's head, block `head`: the size of its log and the highest number that each kind of name has.

    `folded_to` is the position up to which transitions and actor totals are folded. `payload_bytes` are those of the
    events up to `measured_to`, which is the size unless a server of an earlier release appended last.

    `kinds_removed` of the kinds are gone. `removed_recorded_at` is when the last of the events that were removed was
    recorded. `removal_epoch` goes up with each removal of events or payloads. `retained_from` is the first position
    that is still kept. The defaults are the head of a tenant without events.
    """

    tenant_no: int
    size: int = 0
    recorded_at: int = 0
    compact_range: bytes = b""
    kinds: int = 0
    actors: int = 0
    flows: int = 0
    resources: int = 0
    folded_to: int = 0
    payload_bytes: int = 0
    measured_to: int = 0
    kinds_removed: int = 0
    removed_recorded_at: int = 0
    removal_epoch: int = 0
    retained_from: int = 1

    def tree(self) -> CompactRange:
        """The Merkle tree of the log. Raises ValueError when the compact range does not fit the size."""
        return CompactRange(self.size, self.compact_range)


class FullEventRow(NamedTuple):
    """An event with its names, block `full_event`, with the columns as the store keeps them. `erased_at` is when its
    payload was erased, and `actor_erased_at` when the id of its actor was replaced."""

    number: int  # SQLite: the key. PostgreSQL: the position
    id: Any
    event_type: str
    actor_type: str
    actor_id: str
    resource_type: str
    resource_id: Any
    correlation_id: str
    cause: Any
    outcome: str
    occurred_at: int
    recorded_at: int
    payload: bytes | None
    erased_at: int | None
    actor_erased_at: int | None


class HashRow(NamedTuple):
    """What the leaf of an event was made of, blocks `hashes` and `log_part`. `salt` is None once the payload is erased,
    and `payload_hash` is None before."""

    number: int  # SQLite: the key. PostgreSQL: the position
    salt: bytes | None
    payload_hash: bytes | None
    leaf: bytes
    envelope_version: int
