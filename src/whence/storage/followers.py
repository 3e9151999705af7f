"""Followers: what a store keeps for the parts of a server that read the log forward, and the rows it is kept in.

lease        which process does the work of one kind, for the whole store
definition   what somebody asked for: a webhook, or an alert rule; also a saved view, which no follower reads
place        how far a follower of a tenant has read, and what it remembers
delivery     an event that a webhook must send, and its attempts
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from whence.errors import Throttled

__all__ = [
    "DEFINITIONS_MAX",
    "DELIVERED",
    "FAILED",
    "PENDING",
    "Attempt",
    "Definition",
    "Delivery",
    "DeliveryFilter",
    "Followers",
    "Place",
    "definitions_refusal",
    "states_of",
]

DEFINITIONS_MAX = 100
"""Definitions of one kind that one tenant may have."""

PENDING, DELIVERED, FAILED = 0, 1, 2
"""The states of a delivery. A failed one is tried again only when somebody asks for it."""

_RETRY_DEFINITION_S = 3_600


class Definition(msgspec.Struct, frozen=True):
    """What somebody asked for, as JSON in `body`. `version` counts its changes, from 1."""

    tenant: str
    kind: str
    id: str
    version: int
    body: bytes


class Place(msgspec.Struct, frozen=True):
    """How far the follower `name` has read: every event up to `position` is handled. `state` is what it remembers of
    them, in a form of its own."""

    name: str
    position: int
    state: bytes = b""


class Delivery(msgspec.Struct, frozen=True):
    """The event at a position, on its way to a webhook. Times are in microseconds since the epoch.

    `due_at` is when a pending one is to be tried; `changed_at` is when it last changed. `attempts` counts those since
    it was last asked for, by which the next wait is chosen; `attempts_in_all` counts every one.
    """

    webhook_id: str
    position: int
    state: int
    due_at: int
    changed_at: int
    attempts: int = 0
    attempts_in_all: int = 0


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to deliver the event at a position, numbered from 1.

    `status` is that of the answer, or None when there was none; `error` then says why. `answer` is the beginning of
    its body.
    """

    webhook_id: str
    position: int
    number: int
    started_at: int
    duration_ms: int
    status: int | None
    error: str
    answer: bytes


class DeliveryFilter(msgspec.Struct, frozen=True):
    """Deliveries of one webhook, after a position, in some states (none: in any)."""

    webhook_id: str
    after: int = 0
    states: tuple[int, ...] = ()


class Followers(Protocol):
    """What the followers of a store keep.

    Each method is one transaction, is durable on return, and raises `Unavailable` when the store cannot serve. Times
    are in microseconds since the epoch. A tenant's rows are seen by that tenant alone; leases and definitions are also
    listed for the whole store, by the process that does the work.
    """

    async def take_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Take a lease, or keep it, for so long from now by the store's clock. Returns False while it is another
        owner's and has not ended. A store that only one server can have open gives every lease."""
        ...

    async def release_lease(self, name: str, owner: str) -> None:
        """End a lease at once, if it is this owner's."""
        ...

    async def put_definition(self, definition: Definition) -> bool:
        """Store a new definition (`version` 1), or the next version of one. Returns False when that is not the next:
        somebody else has changed or deleted it.

        Raises Throttled when a new one is more than `DEFINITIONS_MAX`. Concurrent calls cannot pass the limit together.
        """
        ...

    async def get_definition(self, tenant: str, kind: str, definition_id: str) -> Definition | None:
        """One definition, or None."""
        ...

    async def list_definitions(self, kind: str, tenant: str | None = None) -> list[Definition]:
        """The definitions of a kind by tenant and id; with None, those of every tenant."""
        ...

    async def delete_definition(self, tenant: str, kind: str, definition_id: str) -> bool:
        """Delete a definition. Returns False when there is none."""
        ...

    async def get_place(self, tenant: str, name: str) -> Place | None:
        """The place of a follower, or None before it was first saved."""
        ...

    async def list_places(self, tenant: str) -> list[Place]:
        """The places of a tenant's followers by name, without their states."""
        ...

    async def save_place(self, tenant: str, place: Place) -> None:
        """Save how far a follower has read. It may go back."""
        ...

    async def delete_place(self, tenant: str, name: str) -> None:
        """Forget a follower. Does nothing when there is none."""
        ...

    async def add_deliveries(
        self, tenant: str, webhook_id: str, positions: Sequence[int], now: int, place: Place
    ) -> None:
        """Add pending deliveries that are due now, and save the place of their follower, together. A delivery that is
        there already stays as it is."""
        ...

    async def due_deliveries(self, tenant: str, webhook_id: str, now: int, limit: int) -> list[Delivery]:
        """The pending deliveries that are due, those first that have waited longest."""
        ...

    async def next_due(self, tenant: str, webhook_id: str) -> int | None:
        """When the next pending delivery is due; None when none is pending."""
        ...

    async def get_delivery(self, tenant: str, webhook_id: str, position: int) -> Delivery | None:
        """One delivery, or None."""
        ...

    async def list_deliveries(self, tenant: str, which: DeliveryFilter, limit: int) -> list[Delivery]:
        """Deliveries by position."""
        ...

    async def count_deliveries(self, tenant: str, webhook_id: str) -> dict[int, int]:
        """How many deliveries are in each state; states without any are left out."""
        ...

    async def record_attempts(self, tenant: str, attempts: Sequence[tuple[Delivery, Attempt]]) -> None:
        """Record attempts, and what became of their deliveries: what the last of several says. Deliveries that were
        deleted meanwhile stay deleted. An attempt whose number is taken stays as it was recorded first."""
        ...

    async def list_attempts(self, tenant: str, webhook_id: str, position: int) -> list[Attempt]:
        """The attempts of a delivery in their order."""
        ...

    async def retry_deliveries(self, tenant: str, which: DeliveryFilter, now: int, limit: int) -> int | None:
        """Make deliveries that are not pending pending again, due now, with no attempts counted: at most `limit`, by
        position. Returns the last position that changed, after which a further call goes on; None when there was none
        to change."""
        ...

    async def delete_deliveries(self, tenant: str, webhook_id: str, before: int | None, limit: int) -> int:
        """Delete deliveries that are not pending and changed before a time, or with None every one, and their attempts:
        at most `limit`. Returns how many deliveries were deleted."""
        ...


def definitions_refusal(others: int) -> Throttled | None:
    """The error if a tenant that has this many definitions of a kind may have no further one."""
    if others < DEFINITIONS_MAX:
        return None
    return Throttled(
        f"This tenant has {DEFINITIONS_MAX} of these already, and can have no more. Delete those that are not needed.",
        _RETRY_DEFINITION_S,
    )


def states_of(which: DeliveryFilter) -> list[int]:
    """The states that a filter names, each once."""
    return sorted(set(which.states)) if which.states else [PENDING, DELIVERED, FAILED]
