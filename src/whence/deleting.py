"""Deletions of tenants: hands out the final checkpoint, lets the tenant go, and removes the rows of its log.

Rows are removed a part at a time. Whenever the process is stopped, the next one goes on, since a former log says itself
that it is there. Several processes may do so at the same time.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import msgspec
import structlog

from whence.checkpoints import Checkpoint, verify_checkpoint
from whence.errors import WhenceError
from whence.notes import BadNote, parse_verifier_key
from whence.removal import Pace
from whence.storage.base import Head, Store
from whence.storage.deletions import DeletionRefused, LogGrew, TenantDeletion

__all__ = ["Deleted", "FormerLogs", "delete_stragglers", "delete_tenant", "remove_former_logs"]

_EVERY_S = 2.0
_POLL_S = 0.2
_PATIENCE_S = 15.0
"""For so long a deletion waits for a checkpoint that covers the whole log."""

_IN_FLIGHT_S = 1.0
"""What a server has accepted before a deletion is stored within this time, unless the server is overloaded."""

_SWEEPS = 3

_NOT_COVERED = (
    "No signed checkpoint covers the whole log of this tenant. Have a server run that seals, and end what writes to "
    "the log, such as by revoking its keys; or delete the tenant without a checkpoint. Nothing was deleted."
)

_log = structlog.get_logger("whence.deleting")


class Deleted(msgspec.Struct, frozen=True):
    """What a deletion has let go: a log of so many events, and so many keys."""

    events: int
    keys: int


class FormerLogs:
    """Removes the rows of former logs, whenever there are any."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Remove until cancelled."""
        while True:
            try:
                await remove_former_logs(self._store)
            except WhenceError as error:
                _log.warning("deletion_waits", error=str(error))
            except Exception as error:
                _log.error("deletion_failed", error=type(error).__name__, exc_info=True)
            await asyncio.sleep(_EVERY_S)


async def delete_tenant(
    store: Store,
    tenant: str,
    keep: Callable[[bytes], None] | None,
    *,
    despite_holds: bool = False,
    patience_s: float = _PATIENCE_S,
) -> Deleted:
    """Delete a tenant. On return it is gone for everybody, and `remove_former_logs` removes what its log has left.

    `keep` is called before anything goes, with the signed checkpoint of the whole log, and has to make it durable. It
    is called again if the log has grown since, and not for a log without events. With None the tenant is deleted
    without a checkpoint. Raises DeletionRefused, what `keep` raises, and as the store.
    """
    until, size = time.monotonic() + patience_s, 0
    while True:
        head = await store.head(tenant)
        if head.size < size:
            raise DeletionRefused("Somebody else has deleted this tenant meanwhile. Nothing more was deleted.")
        size = head.size
        keys = len(await store.credentials.list_keys(tenant))
        deletion = TenantDeletion(size=head.size, deleted_at=time.time_ns() // 1_000, despite_holds=despite_holds)
        try:
            if keep is not None and head.size:
                keep(await _final_checkpoint(store, tenant, head, until))
            await store.deletions.delete_tenant(tenant, deletion)
            return Deleted(head.size, keys)
        except LogGrew:
            if time.monotonic() > until:
                raise


async def delete_stragglers(store: Store, tenant: str) -> int:
    """Delete what was stored under the name of a tenant by requests that a server had accepted before the deletion: the
    next tenant of the name could read it, or would have its policy of retention. Returns how many events that were.
    Leaves a tenant alone that has a key by now, and gives up on one that gets more events again and again, by tokens
    that are not the store's."""
    events, more = 0, True
    for _ in range(_SWEEPS):
        if not more:
            break
        await asyncio.sleep(_IN_FLIGHT_S)
        if await store.credentials.list_keys(tenant):
            break
        more, size = tenant in await store.tenants(), (await store.head(tenant)).size
        # Without events there may be definitions, of which a store does not tell. They are none for the ledger.
        deletion = TenantDeletion(size=size, deleted_at=time.time_ns() // 1_000, despite_holds=True, noted=not size)
        with contextlib.suppress(DeletionRefused):
            await store.deletions.delete_tenant(tenant, deletion)
            events += size
    return events


async def _final_checkpoint(store: Store, tenant: str, head: Head, until: float) -> bytes:
    """The checkpoint of a log as it is, once it is signed. Raises LogGrew when a larger one is, and DeletionRefused
    when none is by this time."""
    while True:
        newest = await store.seals.list_checkpoints(tenant, None, 1)
        if newest and newest[0].size >= head.size:
            break
        if time.monotonic() > until:
            raise DeletionRefused(_NOT_COVERED)
        await asyncio.sleep(_POLL_S)
    if newest[0].size > head.size:
        raise LogGrew(_NOT_COVERED)
    note = newest[0].note.encode()
    origin = (await store.seals.list_origins(tenant))[-1]
    try:
        checkpoint = verify_checkpoint(note, [parse_verifier_key(origin.key)]).checkpoint
    except BadNote:
        checkpoint = None
    if checkpoint != Checkpoint(origin.name, head.size, head.root):
        raise DeletionRefused("The newest checkpoint is not one of this log. Run 'whence verify'. Nothing was deleted.")
    return note


async def remove_former_logs(store: Store) -> None:
    """Remove every row that is left of former logs, and have the store overwrite them. Appends have as much time in
    between as the batches take. Raises as the store."""
    former = await store.deletions.former_logs()
    for log in former:
        pace, more = Pace(), True
        while more:
            async with pace.batch():
                more = await store.deletions.remove_rows(log.number, pace.size)
        _log.info("tenant_deleted", number=log.number, events=log.size)
    if former:
        await store.removals.scrub()
