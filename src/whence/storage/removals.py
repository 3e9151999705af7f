"""Removals: what a store does to forget payloads and events, so that every count stays exact and every proof holds.

Whoever removes has announced it before, with an event of the log that names the positions. See `whence.retention`.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from whence.errors import WhenceError
from whence.storage.seals import EPOCH_ENDED

__all__ = [
    "HOLD",
    "LASTING_TYPES",
    "PAYLOAD_ERASED",
    "POLICY",
    "REMOVAL",
    "REMOVAL_WITHDRAWN",
    "REMOVED_AT_ONCE",
    "RETENTION_APPLIED",
    "UNFINISHED_RESTORE",
    "Erased",
    "HoldVersion",
    "HoldsChanged",
    "LaterEvents",
    "Purge",
    "Removals",
    "refuse_unknown_holds",
]

HOLD = "hold"
"""The kind of the definitions of legal holds."""

POLICY = "retention"
"""The kind and the id of the definition of a tenant's policy of retention."""

REMOVAL = "removal"
"""The kind of the definitions of removals that are asked for and not done. Their lease has the same name."""

UNFINISHED_RESTORE = "unfinished_restore"
"""The kind and the id of the definition, of no tenant, that marks a store in which what was erased before a restore has
to be erased again. It is in the copy before that takes the place of the store, and goes when all of it is erased."""

REMOVED_AT_ONCE = 400
"""The positions that one transaction removes at most, so that it holds up no append."""

PAYLOAD_ERASED = "whence.payload_erased"
RETENTION_APPLIED = "whence.retention_applied"
"""The types of the events that announce a removal. Their payload has `ranges`: a list of [first, last] positions."""

REMOVAL_WITHDRAWN = "whence.removal_withdrawn"
"""The type of the events that take back a part of such an announcement, since a hold kept it. Their payload has
`eventType`, that of the announcement, and `ranges`."""

LASTING_TYPES = frozenset({PAYLOAD_ERASED, RETENTION_APPLIED, REMOVAL_WITHDRAWN, *EPOCH_ENDED.values()})
"""The types of events that no removal touches, since they explain what is missing, and name the next key."""

HoldVersion = tuple[str, int]
"""The id of a hold and its version."""


class HoldsChanged(WhenceError):
    """The holds of the tenant are not those that the caller knows. Nothing was removed."""


class LaterEvents(WhenceError):
    """The actor has events after the last position that the caller knows. Its id was not replaced."""


def refuse_unknown_holds(stored: Iterable[HoldVersion], known: Sequence[HoldVersion]) -> None:
    """Raise HoldsChanged when a hold is stored that the caller does not know. One that is gone does no harm."""
    if not frozenset(stored) <= frozenset(known):
        raise HoldsChanged("The holds of the tenant have changed. Nothing was removed.")


class Erased(msgspec.Struct, frozen=True):
    """What a ledger of erasures says: the payloads of these events were erased, each named by its position and the
    beginning of its leaf. With `new_id` it is instead the id of the actor of the one event, which has this in its
    place. With `deleted_at`, in microseconds, it is the tenant whose first event this was, if it had one.

    `entry` is the number of the entry in a ledger that numbers them.
    """

    tenant: str
    events: tuple[tuple[int, bytes], ...]
    new_id: str | None = None
    deleted_at: int | None = None
    entry: int = 0


class Purge(msgspec.Struct, frozen=True):
    """The events at `since <= position < upto` are to be removed, but for those at the positions `keep`.

    `since` is at most the first position that is kept, so that positions go from the beginning of the log. What
    lies before that position and is still there was kept by an earlier purge.
    """

    since: int
    upto: int
    keep: Sequence[int] = ()


class Removals(Protocol):
    """What a store can forget.

    Each method but `scrub` is one transaction, is durable on return, and raises `Unavailable` when the store cannot
    serve. Removing what is gone already changes nothing, so that a removal that was interrupted can be done again.
    `holds` are the tenant's holds as the caller has read them. Another hold that is there raises HoldsChanged, and the
    caller has to find out anew what it may remove.
    """

    async def erase_payloads(
        self, tenant: str, positions: Sequence[int], erased_at: int, holds: Sequence[HoldVersion]
    ) -> int:
        """Erase the payloads and salts at these positions, at most `REMOVED_AT_ONCE`, and what webhooks answered to
        them. Returns how many of them had a payload. `erased_at` is in microseconds since the epoch."""
        ...

    async def purge(self, tenant: str, purge: Purge, holds: Sequence[HoldVersion]) -> int:
        """Remove events, at most `REMOVED_AT_ONCE` positions, with their rows in every count, and with the names that
        no event uses any more. Their leaves stay, as tiles of level 0. Returns how many events were there."""
        ...

    async def erase_actor(
        self,
        tenant: str,
        actor: tuple[str, str],
        new_id: str,
        erased_at: int,
        holds: Sequence[HoldVersion],
        upto: int | None = None,
    ) -> int:
        """Replace the id of the actor with this type and id in its one row. Returns how many events it has; 0 when
        there is no such actor, or when `new_id` is taken. Raises LaterEvents if one of them is after the position
        `upto`, where that is given."""
        ...

    async def settle(self, tenant: str) -> None:
        """Return when no removal that began before is still going on. A hold that was stored before this call is
        respected by every removal after it."""
        ...

    async def unseen_erasures(self) -> list[Erased]:
        """What the ledger of erasures says that this log has not seen, oldest first: after a restore of an earlier dump
        of it. Empty where a restore is the work of `Backend.restore`, which returns that."""
        ...

    async def see_erasures(self, entries: Sequence[Erased]) -> None:
        """Note that what these entries name is erased again."""
        ...

    async def scrub(self) -> bool:
        """Overwrite what was removed where the store itself still has it, such as in its write-ahead log. Returns
        False while an open reader prevents that."""
        ...
