"""Erasures and deletions that are done again after a backup was restored that is older than they are.

A restored SQLite file has a mark until then, and is not served. After a stop in between, the restore has to be done
again.
"""

from collections.abc import Sequence

from whence.alerting import forget_at_rest
from whence.announcements import announcement
from whence.deleting import remove_former_logs
from whence.errors import Unavailable
from whence.events import Event, PartRequest, Query, Viewer
from whence.legal_holds import holds_of
from whence.merkle_proofs import LeafRange
from whence.retention import ERASED_AT_ONCE, RemovalRequest, ranges_of
from whence.storage.base import Store, Write, refusal_of
from whence.storage.deletions import TenantDeletion
from whence.storage.removals import PAYLOAD_ERASED, REMOVED_AT_ONCE, UNFINISHED_RESTORE, Erased
from whence.wire.ids import new_uuid7
from whence.wire.log_events import EVENT_LOG_ACTOR

__all__ = ["erase_again", "finish_restore"]

_PART = 500

_REASON = "erased before a backup was restored"


async def finish_restore(store: Store, entries: Sequence[Erased], now: int) -> int:
    """Erase again what these entries of a ledger name, overwrite it in the store, and let the store be served. `store`
    is opened with `restoring`. Returns as `erase_again`. Raises Unavailable while another program reads the store."""
    erased = await erase_again(store, entries, now)
    if not await store.removals.scrub():
        raise Unavailable(
            "Another program has the restored store open, so what was erased cannot be overwritten yet. End it, and "
            "restore again."
        )
    await store.followers.delete_definition("", UNFINISHED_RESTORE, UNFINISHED_RESTORE)
    return erased


async def erase_again(store: Store, entries: Sequence[Erased], now: int) -> int:
    """Erase what these entries of a ledger name and the store still has, each part after its announcement, and delete
    the tenants. Holds do not count: it was erased when nothing held it. Returns how many payloads, names and tenants
    that were. `now` is in microseconds since the epoch."""
    done = 0
    for entry in entries:
        if entry.deleted_at is None:
            done += await _erase(store, entry, now)
        else:
            done += await _delete(store, entry, entry.deleted_at)
    await remove_former_logs(store)
    await store.removals.see_erasures(entries)
    return done


async def _delete(store: Store, entry: Erased, deleted_at: int) -> int:
    """Delete a tenant, if it is the one that was deleted and no later one of this name."""
    size = (await store.head(entry.tenant)).size
    keys = await store.credentials.list_keys(entry.tenant)
    if size and not (entry.events and await _is_same(store, entry.tenant, *entry.events[0])):
        return 0
    if not size and (not keys or any(key.created_at > deleted_at for key in keys)):
        return 0
    again = TenantDeletion(size=size, deleted_at=deleted_at, noted=True)
    await store.deletions.delete_tenant(entry.tenant, again)
    return 1


async def _erase(store: Store, entry: Erased, now: int) -> int:
    same = [position for position, leaf in entry.events if await _is_same(store, entry.tenant, position, leaf)]
    if entry.new_id is not None:
        return await _rename(store, entry.tenant, same, entry.new_id, now)
    positions = [position for position in same if await _has_payload(store, entry.tenant, position)]
    erased = 0
    for at in range(0, len(positions), REMOVED_AT_ONCE):
        batch = sorted(positions[at : at + REMOVED_AT_ONCE])
        await _announce(store, entry.tenant, batch, now)
        holds = await holds_of(store, entry.tenant)
        erased += await store.removals.erase_payloads(entry.tenant, batch, now, holds.versions)
    return erased


async def _is_same(store: Store, tenant: str, position: int, leaf: bytes) -> bool:
    """Whether the event at a position is the one that was erased."""
    return (await store.seals.read_leaves(tenant, LeafRange(position - 1, position))).startswith(leaf)


async def _has_payload(store: Store, tenant: str, position: int) -> bool:
    payloads = await store.read_payloads(Viewer(tenant), [position])
    return bool(payloads) and payloads[0] is not None


async def _rename(store: Store, tenant: str, positions: Sequence[int], new_id: str, now: int) -> int:
    for position in positions:
        for hashed in await store.read_log(tenant, position - 1, 1):
            event = hashed.event
            if event.position == position and event.actor_id != new_id:
                named = await _positions_of(store, tenant, event)
                for at in range(0, len(named), ERASED_AT_ONCE):
                    await _announce(store, tenant, named[at : at + ERASED_AT_ONCE], now, new_id)
                # Before the id goes: after a stop in between it is not known any more.
                await forget_at_rest(store, tenant, event.actor_type, event.actor_id, new_id)
                holds = await holds_of(store, tenant)
                await store.removals.erase_actor(
                    tenant, (event.actor_type, event.actor_id), new_id, now, holds.versions
                )
                return 1
    return 0


async def _positions_of(store: Store, tenant: str, event: Event) -> list[int]:
    """The positions of all events of an event's actor, in order."""
    query = Query(actor_types=(event.actor_type,), actor_ids=(event.actor_id,))
    positions: list[int] = []
    as_of, after = (await store.head(tenant)).size, None
    while True:
        part = await store.list_part(Viewer(tenant), query, PartRequest(limit=_PART, as_of=as_of, after=after))
        positions += [each.position for each in part.events]
        after = part.after
        if after is None:
            return sorted(positions)


async def _announce(
    store: Store, tenant: str, positions: Sequence[int], now: int, pseudonym: str | None = None
) -> None:
    request = RemovalRequest(
        kind="erasure", reason=_REASON, by=EVENT_LOG_ACTOR, created_at=now, as_of=0, pseudonym=pseudonym
    )
    event = announcement(
        tenant,
        new_uuid7(),
        request,
        PAYLOAD_ERASED,
        ranges_of(positions),
        None,
        now,
        renames=pseudonym is not None,
    )
    [result] = await store.append(tenant, [Write(events=(event,))])
    error = refusal_of(result)
    if error is not None:
        raise error
