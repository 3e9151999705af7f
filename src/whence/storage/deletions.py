"""Deletions of tenants: how a store lets go of a tenant with all that it has.

A deletion has two steps. The first is one short transaction, after which the tenant is gone for everybody: its keys and
definitions are deleted, and its log gets a name that no tenant can have. A new tenant may have the old name from then
on. The second removes the rows of the former log, a part at a time. If a process is stopped in between, the next one
goes on.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from whence.errors import WhenceError
from whence.storage.removals import HOLD, REMOVAL

__all__ = [
    "FORMER_NAMES",
    "TENANT_TABLES",
    "DeletionRefused",
    "Deletions",
    "FormerLog",
    "LogGrew",
    "TenantDeletion",
    "former_name",
    "refuse_deletion",
]

FORMER_NAMES = "/"
"""How the names of former logs begin in a store. No tenant's name has this character."""


TENANT_TABLES = (
    "payload_entry",
    "payload_value",
    "payload_field",
    "event",
    "flow",
    "resource",
    "actor",
    "kind",
    "bucket",
    "rollup_kind",
    "rollup_actor",
    "transition",
    "removed_transition",
    "actor_total",
    "delivery",
    "attempt",
    "follower",
    "checkpoint",
    "tile",
    "origin",
)
"""Every table with rows of a tenant, in the order in which they are emptied. `tenant`, and on PostgreSQL `head`, keep
the number. Each has a block `remove_<table>` in both dialects."""


class DeletionRefused(WhenceError):
    """The tenant cannot be deleted now. Nothing was changed."""

    code = "deletion_refused"


class LogGrew(DeletionRefused):
    """The log is not the one that the caller has seen."""


class TenantDeletion(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: to delete a tenant whose log has this size, at a time in microseconds since the epoch, also if
    legal holds keep some of it.

    `noted` says that the deletion is in the ledger of erasures already, since it was done before the store was
    restored. Then only the size is compared.
    """

    size: int
    deleted_at: int
    despite_holds: bool = False
    noted: bool = False


class FormerLog(msgspec.Struct, frozen=True):
    """The log of a tenant that was deleted. `epoch` is the highest one of its origins, and 0 if it had none. `removed`
    is 1 once none of its rows is left."""

    number: int
    tenant: str
    epoch: int
    size: int
    root: bytes
    deleted_at: int
    removed: int = 0


class Deletions(Protocol):
    """How a store deletes tenants.

    Each method is one transaction, is durable on return, and raises `Unavailable` when the store cannot serve.
    """

    async def delete_tenant(self, tenant: str, deletion: TenantDeletion) -> None:
        """Delete the keys, sessions and definitions of a tenant, and make its log a former one. Does nothing for a
        tenant that is not there.

        Raises LogGrew when the log has another size, and DeletionRefused for a hold and for a removal that is not done.
        """
        ...

    async def has_anything(self, tenant: str) -> bool:
        """Whether a tenant has keys, sessions or definitions. It may have them without a log."""
        ...

    async def former_logs(self, tenant: str | None = None) -> list[FormerLog]:
        """The former logs by number: those that a tenant had, or with None those of which some rows are left."""
        ...

    async def remove_rows(self, number: int, limit: int) -> bool:
        """Remove at most so many rows of a former log from each of its tables in turn: from one table at a time.
        Returns whether any are left."""
        ...


def former_name(number: int) -> str:
    """The name of a former log in its store."""
    return f"{FORMER_NAMES}{number}"


def refuse_deletion(deletion: TenantDeletion, size: int, kinds: Sequence[str]) -> DeletionRefused | None:
    """Why a tenant whose log has this size, and definitions of these kinds, cannot be deleted; None if it can."""
    if size != deletion.size:
        return LogGrew("The log of this tenant has grown meanwhile. Nothing was deleted.")
    if deletion.noted:
        return None
    if HOLD in kinds and not deletion.despite_holds:
        return DeletionRefused(
            "A legal hold keeps events of this tenant. Release it first, or delete the tenant with --despite-holds."
        )
    if REMOVAL in kinds:
        return DeletionRefused(
            "An erasure or a run of retention of this tenant is not done. Delete the tenant once it is."
        )
    return None
