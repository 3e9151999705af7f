"""Copies a log unchanged from one store to another: positions, ids, times, payload bytes, salts and leaves.

The roots of the trees therefore stay the same. API keys are copied too, sessions are not. An interrupted copy continues
when it is run again. The events of the target must be the first events of the source; otherwise nothing is written.

Each event is checked against its leaf before it is written. Of events that were removed the leaves are copied, and the
events that announce removals are copied as all others. Where the id of an actor was replaced, its events go by their
leaves alone. Afterwards the whole target is read again: its events must match their leaves, its root must be that of
the source, its counts must be those of its events, and each replaced id must be announced.

Nothing that was removed may stay in the target. So a copy that was interrupted does not go on if the target has more of
its part than the source by then.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import msgspec

from whence.announcements import parse_announcement
from whence.errors import StoreRefused, Unsound
from whence.events import ActorStat, Counts, Event, Page, PageRequest, Query, Viewer
from whence.merkle import HASH_SIZE, CompactRange
from whence.merkle_proofs import LeafRange
from whence.permissions import OPERATORS_TENANT, ApiKey
from whence.retention import positions_in
from whence.storage import HashedEvent, Head, Store
from whence.storage.announced import Announced, Positions
from whence.storage.removals import HOLD, PAYLOAD_ERASED, POLICY, REMOVAL
from whence.storage.replication import refuse_unsound

__all__ = ["Copied", "copy_log"]

_PART = 1_000
"""Positions that are read and written at once."""

_LEAVES = 65_536
"""Leaves that are read at once."""

AddProgress = Callable[[int], None]
"""Called with the number of events that were copied or verified since the last call."""


_REMOVED = (
    "Events, payloads or names of {tenant} were removed from the source since this copy began, and the target may "
    "still have them. Copy into a new, empty store."
)

_Part = list[HashedEvent] | LeafRange
"""Events without a gap between them, or a range of leaves whose events were removed."""


class Copied(msgspec.Struct, frozen=True):
    """What the target holds of the source after a copy; `before` events of these were there before it."""

    tenants: int
    events: int
    before: int
    keys: int


async def copy_log(source: Store, target: Store, progress: AddProgress | None = None) -> Copied:
    """Copy what the source holds now into the target, which was created with `importing`, and verify the copy.

    The copy is complete only when this returns. Raises StoreRefused when the target holds other events, Unsound when
    data in the source or the target was altered, and the errors of the stores.
    """
    step = progress or (lambda _events: None)
    heads = {tenant: await source.head(tenant) for tenant in await source.tenants()}
    kept = {tenant: await _kept(source, tenant, head) for tenant, head in heads.items()}
    before = {tenant: await _copied_before(source, target, tenant, head) for tenant, head in heads.items()}
    for tenant, head in heads.items():
        await _copy_events(source, target, tenant, head, before[tenant], step)
        await target.import_retained_from(tenant, head)
    for tenant, head in heads.items():
        events = await _verify(target, tenant, head, step)
        if events != kept[tenant].total or (await _page(source, tenant)).removal_epoch != kept[tenant].removal_epoch:
            raise StoreRefused(_REMOVED.format(tenant=tenant))
        await _copy_holds(source, target, tenant)
    keys = [key for tenant in (OPERATORS_TENANT, *heads) for key in await source.credentials.list_keys(tenant)]
    for key in keys:
        await _copy_key(target, key)
    logs = sum(head.size > 0 for head in heads.values())
    return Copied(logs, sum(head.size for head in heads.values()), sum(before.values()), len(keys))


async def _kept(source: Store, tenant: str, head: Head) -> Page:
    """How many events there are of a log, and what goes up with each removal. Raises StoreRefused while one is not
    done."""
    if await source.followers.list_definitions(REMOVAL, tenant):
        raise StoreRefused(
            f"An erasure or a run of retention of {tenant} is not done. Copy once it is. Nothing was copied."
        )
    return await _page(source, tenant, head.size or None)


async def _page(source: Store, tenant: str, as_of: int | None = None) -> Page:
    return await source.list_events(Viewer(tenant), Query(), PageRequest(limit=1, as_of=as_of))


async def _copy_events(source: Store, target: Store, tenant: str, head: Head, before: int, step: AddProgress) -> None:
    """Copy the events of a log after those that the target has. Raises StoreRefused for one that announces an erasure,
    if the target has what was erased."""
    async with aclosing(_parts(source, tenant, head, before)) as parts:
        async for part in parts:
            if isinstance(part, LeafRange):
                leaves = await source.seals.read_leaves(tenant, part)
                if len(leaves) != (part.end - part.first) * HASH_SIZE:
                    raise Unsound(f"{tenant}, position {part.first + 1}: the event and its leaf are missing.")
                await target.import_removed(tenant, leaves)
                step(part.end - part.first)
                continue
            for stored in part:
                if before and stored.event.event_type == PAYLOAD_ERASED:
                    await _refuse_unerased(source, target, stored.event, before)
            await target.import_log(tenant, part)
            step(len(part))


async def _refuse_unerased(source: Store, target: Store, announcement: Event, before: int) -> None:
    """Raise StoreRefused if the target has something, in its first events, that the source has erased."""
    viewer, said = Viewer(announcement.tenant_id), parse_announcement(announcement.payload or b"")
    if said.pseudonym is not None:
        query, request = Query(actor_ids=(said.pseudonym,)), PageRequest(limit=1, as_of=before)
        copied, renamed = [(await store.list_events(viewer, query, request)).total for store in (target, source)]
        if copied != renamed:
            raise StoreRefused(_REMOVED.format(tenant=announcement.tenant_id))
    positions = [each for each in positions_in(said.ranges) if each <= before]
    while positions:
        batch = positions[:_PART]
        ours, theirs = await target.read_payloads(viewer, batch), await source.read_payloads(viewer, batch)
        pairs = list(zip(ours, theirs, strict=False))  # either may end early, when payloads are large
        if any(copied is not None and payload is None for copied, payload in pairs):
            raise StoreRefused(_REMOVED.format(tenant=announcement.tenant_id))
        positions = positions[len(pairs) :]


async def _parts(store: Store, tenant: str, head: Head, after: int) -> AsyncGenerator[_Part, None]:
    """The positions after one, up to the size of a log. Reads the next part while one is used."""
    reading: asyncio.Task[list[HashedEvent]] | None = None
    try:
        while after < head.size:
            upto = _window_end(head, after)
            found = await (reading or _read(store, tenant, after, upto))
            # Of many bytes, the last ones are read next time.
            upto = found[-1].event.position if found else upto
            following = _window_end(head, upto)
            reading = _read(store, tenant, upto, following) if following > upto else None
            parts = list(_without_gaps(found, after, upto))
            for part in parts:  # all of them, before any is used
                if isinstance(part, LeafRange) and part.end >= head.retained_from:
                    raise Unsound(f"{tenant}, position {part.first + 1}: the event is missing.")
            for part in parts:
                yield part
            after = upto
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def _window_end(head: Head, after: int) -> int:
    """Up to which position is read at once: either before the first one that is kept, or after it."""
    kept = head.retained_from - 1
    return min(after + _PART, kept if after < kept else head.size)


def _without_gaps(found: list[HashedEvent], after: int, upto: int) -> Iterator[_Part]:
    """Events that are in order, and the gaps between them, after a position and up to another."""
    events: list[HashedEvent] = []
    for stored in found:
        position = stored.event.position
        if position > after + 1:
            if events:
                yield events
            yield LeafRange(after, position - 1)
            events = []
        events.append(stored)
        after = position
    if events:
        yield events
    if after < upto:
        yield LeafRange(after, upto)


def _read(store: Store, tenant: str, after: int, upto: int) -> "asyncio.Task[list[HashedEvent]]":
    return asyncio.create_task(store.read_log(tenant, after, upto - after))


async def _copied_before(source: Store, target: Store, tenant: str, head: Head) -> int:
    """How many of the first events of the source the target has. Raises StoreRefused if it has any others."""
    found = await target.head(tenant)
    if found.size > head.size:
        raise StoreRefused(f"The target has more events of {tenant} than the source. Nothing was copied.")
    if found.size and found.root != await _root_at(source, tenant, found.size, head):
        raise StoreRefused(f"The target has other events of {tenant} than the source. Nothing was copied.")
    return found.size


async def _root_at(store: Store, tenant: str, size: int, head: Head) -> bytes:
    if size == head.size:
        return head.root
    tree = CompactRange()
    while tree.size < size:
        leaves = await store.seals.read_leaves(tenant, LeafRange(tree.size, min(size, tree.size + _LEAVES)))
        if not leaves:
            raise Unsound(f"{tenant}, position {tree.size + 1}: the event is missing.")
        tree.extend(_hashes(leaves))
    return tree.root()


def _hashes(leaves: bytes) -> list[bytes]:
    return [leaves[at : at + HASH_SIZE] for at in range(0, len(leaves), HASH_SIZE)]


async def _verify(target: Store, tenant: str, head: Head, step: AddProgress) -> int:
    """Read a tenant's whole log in the target; compare it with the source's root and the target's counts. Returns how
    many events it has."""
    tree, counts, announced = CompactRange(), _Counts(), Announced()
    renamed: dict[str, Positions] = {}
    async with aclosing(_parts(target, tenant, head, 0)) as parts:
        async for part in parts:
            if isinstance(part, LeafRange):
                tree.extend(_hashes(await target.seals.read_leaves(tenant, part)))
                step(part.end - part.first)
                continue
            for stored in part:
                refuse_unsound(stored)
                if stored.event.position != tree.size + 1:
                    raise Unsound(f"{tenant}, position {tree.size + 1}: the event is missing.")
                tree.append(stored.leaf)
                counts.add(stored.event)
                if stored.by_leaf_only:
                    renamed.setdefault(stored.event.actor_id, Positions()).add(stored.event.position)
                else:
                    announced.add(stored.event)
            step(len(part))
    found = await target.head(tenant)
    if found.size > head.size:
        raise StoreRefused(f"Another process writes to the log of {tenant} in the target. Stop it, and copy again.")
    if not tree.root() == found.root == head.root:
        raise Unsound(f"{tenant}: the root of the copy differs from that of the source.")
    for actor_id, positions in renamed.items():
        position = announced.first_not_renamed(actor_id, positions)
        if position is not None:
            raise Unsound(f"{tenant}, position {position}: the id of the actor was replaced, and no event says so.")
    if found.recorded_at != head.recorded_at:
        raise Unsound(f"{tenant}: the last recorded time of the copy differs from that of the source.")
    if found.retained_from < head.retained_from or found.removed_recorded_at < head.removed_recorded_at:
        raise Unsound(f"{tenant}: the copy keeps positions that the source no longer keeps.")
    if await target.count_events(Viewer(tenant), Query()) != counts.by_word():
        raise Unsound(f"{tenant}: the counts of the copy are wrong.")
    if await target.actor_stats(Viewer(tenant), Query()) != counts.by_actor():
        raise Unsound(f"{tenant}: the counts of an actor in the copy are wrong.")
    return counts.kinds.total()


class _Counts:
    """Counts events one by one."""

    def __init__(self) -> None:
        self.kinds: Counter[tuple[str, str, str]] = Counter()
        self.actors: Counter[tuple[str, str, str]] = Counter()

    def add(self, event: Event) -> None:
        self.kinds[event.event_type, event.resource_type, event.actor_type] += 1
        self.actors[event.actor_type, event.actor_id, event.outcome] += 1

    def by_word(self) -> Counts:
        """In the form that `Store.count_events` returns."""

        def by(field: int) -> list[tuple[str, int]]:
            found: Counter[str] = Counter()
            for kind, events in self.kinds.items():
                found[kind[field]] += events
            return sorted(found.items(), key=lambda item: (-item[1], item[0]))

        return Counts(total=self.kinds.total(), by_event_type=by(0), by_resource_type=by(1), by_actor_type=by(2))

    def by_actor(self) -> list[ActorStat]:
        """In the form that `Store.actor_stats` returns."""
        stats = [
            ActorStat(
                actor_type=actor_type,
                actor_id=actor_id,
                total=sum(self.actors[actor_type, actor_id, outcome] for outcome in ("success", "failure", "none")),
                successes=self.actors[actor_type, actor_id, "success"],
                failures=self.actors[actor_type, actor_id, "failure"],
            )
            for actor_type, actor_id in {name[:2] for name in self.actors}
        ]
        return sorted(stats, key=lambda stat: (-stat.total, stat.actor_type, stat.actor_id))


async def _copy_holds(source: Store, target: Store, tenant: str) -> None:
    """Copy the legal holds and the policy of retention of a tenant, so that a server of the target removes nothing that
    one of the source would keep. A hold that only the target has stays there."""
    followers = target.followers
    for kind in (HOLD, POLICY):
        there = {each.id: each for each in await followers.list_definitions(kind, tenant)}
        for found in await source.followers.list_definitions(kind, tenant):
            former = there.get(found.id)
            if former is not None and former.body == found.body:
                continue
            version = 1 if former is None else former.version + 1
            if not await followers.put_definition(msgspec.structs.replace(found, version=version)):
                raise StoreRefused(
                    f"Another process changes the holds of {tenant} in the target. Stop it, and copy again."
                )


async def _copy_key(target: Store, key: ApiKey) -> None:
    """Add a key to the target, or update its revocation and last use. A key that either store revoked stays revoked."""
    existing = await target.credentials.get_key(key.id)
    if existing is None:
        await target.credentials.put_key(key)
        return
    if msgspec.structs.replace(existing, revoked_at=key.revoked_at, last_used_at=key.last_used_at) != key:
        raise StoreRefused(f"The target has another key with the id {key.id}.")
    if key.revoked_at is not None and existing.revoked_at is None:
        await target.credentials.revoke_key(key.tenant, key.id, key.revoked_at)
    if key.last_used_at is not None:
        await target.credentials.touch_keys({key.id: key.last_used_at})
