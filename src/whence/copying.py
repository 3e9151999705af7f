"""Copies a log unchanged from one store to another: positions, ids, times, payload bytes, salts and leaves.

The roots of the trees therefore stay the same. API keys are copied too, sessions are not. An interrupted copy continues
when it is run again. The events of the target must be the first events of the source; otherwise nothing is written.

Each event is checked against its leaf before it is written. Afterwards the whole target is read again: its events must
match their leaves, its root must be that of the source, and its counts must be those of its events.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from whence.errors import StoreRefused, Unsound
from whence.events import ActorStat, Counts, Event, PageRequest, Query, Viewer
from whence.merkle import CompactRange
from whence.permissions import OPERATORS_TENANT, ApiKey
from whence.storage import HashedEvent, Head, Store
from whence.storage.replication import refuse_unsound

__all__ = ["Copied", "copy_log"]

_PART = 1_000
"""Events that are read and written at once."""

Progress = Callable[[int], None]
"""Called with the number of events that were copied or verified since the last call."""


class Copied(msgspec.Struct, frozen=True):
    """What the target holds of the source after a copy; `before` events of these were there before it."""

    tenants: int
    events: int
    before: int
    keys: int


async def copy_log(source: Store, target: Store, progress: Progress | None = None) -> Copied:
    """Copy what the source holds now into the target, which was created with `importing`, and verify the copy.

    The copy is complete only when this returns. Raises StoreRefused when the target holds other events, Unsound when
    data in the source or the target was altered, and the errors of the stores.
    """
    step = progress or (lambda _events: None)
    heads = {tenant: await source.head(tenant) for tenant in await source.tenants()}
    for tenant, head in heads.items():
        await _refuse_removed(source, tenant, head)
    before = {tenant: await _copied_before(source, target, tenant, head) for tenant, head in heads.items()}
    for tenant, head in heads.items():
        async with aclosing(_parts(source, tenant, before[tenant], head.size)) as parts:
            async for part in parts:
                await target.import_log(tenant, part)
                step(len(part))
        if head.retained_from > 1:
            await target.import_retained_from(tenant, head.retained_from)
    for tenant, head in heads.items():
        await _verify(target, tenant, head, step)
    keys = [key for tenant in (OPERATORS_TENANT, *heads) for key in await source.credentials.list_keys(tenant)]
    for key in keys:
        await _copy_key(target, key)
    logs = sum(head.size > 0 for head in heads.values())
    return Copied(logs, sum(head.size for head in heads.values()), sum(before.values()), len(keys))


async def _refuse_removed(source: Store, tenant: str, head: Head) -> None:
    """Raise StoreRefused for a log from which events were removed, since a copy has each event or none."""
    if head.retained_from == 1:
        return
    page = await source.list_events(Viewer(tenant), Query(), PageRequest(limit=1, as_of=head.size))
    if page.total < head.size:
        raise StoreRefused(
            f"Events of {tenant} were removed from the source, and such a log cannot be copied. Move a SQLite file by "
            "'whence backup' and 'whence restore', and a PostgreSQL database by its own tools. Nothing was copied."
        )


async def _parts(store: Store, tenant: str, after: int, until: int) -> AsyncGenerator[list[HashedEvent], None]:
    """The events after a position, up to and including `until`. Reads the next part while one is used."""
    reading: asyncio.Task[list[HashedEvent]] | None = None
    try:
        while after < until:
            reading = reading or _read(store, tenant, after, until)
            part = await reading
            if not part or part[0].event.position != after + 1:
                raise Unsound(f"{tenant}, position {after + 1}: the event is missing.")
            after = part[-1].event.position
            reading = _read(store, tenant, after, until) if after < until else None
            yield part
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def _read(store: Store, tenant: str, after: int, until: int) -> "asyncio.Task[list[HashedEvent]]":
    return asyncio.create_task(store.read_log(tenant, after, min(_PART, until - after)))


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
    async with aclosing(_parts(store, tenant, 0, size)) as parts:
        async for part in parts:
            for stored in part:
                tree.append(stored.leaf)
    return tree.root()


async def _verify(target: Store, tenant: str, head: Head, step: Progress) -> None:
    """Read a tenant's whole log in the target; compare it with the source's root and the target's counts."""
    tree, counts = CompactRange(), _Counts()
    async with aclosing(_parts(target, tenant, 0, head.size)) as parts:
        async for part in parts:
            for stored in part:
                refuse_unsound(stored)
                if stored.event.position != tree.size + 1:
                    raise Unsound(f"{tenant}, position {tree.size + 1}: the event is missing.")
                tree.append(stored.leaf)
                counts.add(stored.event)
            step(len(part))
    found = await target.head(tenant)
    if found.size > head.size:
        raise StoreRefused(f"Another process writes to the log of {tenant} in the target. Stop it, and copy again.")
    if not tree.root() == found.root == head.root:
        raise Unsound(f"{tenant}: the root of the copy differs from that of the source.")
    if found.recorded_at != head.recorded_at:
        raise Unsound(f"{tenant}: the last recorded time of the copy differs from that of the source.")
    if found.retained_from < head.retained_from:
        raise Unsound(f"{tenant}: the copy keeps positions that the source no longer keeps.")
    if await target.count_events(Viewer(tenant), Query()) != counts.by_word():
        raise Unsound(f"{tenant}: the counts of the copy are wrong.")
    if await target.actor_stats(Viewer(tenant), Query()) != counts.by_actor():
        raise Unsound(f"{tenant}: the counts of an actor in the copy are wrong.")


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
