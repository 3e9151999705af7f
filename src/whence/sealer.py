"""The sealer: signs the state of each log, so that nobody can change it later without being found out.

    grow     the tree above the leaves is stored in tiles, in slices, so that a long log holds up no append
    check    the root of the stored leaves is that of the log's head, and the tree extends what was signed last
    record   size and root are noted outside of the log, durably
    publish  the signed checkpoint is stored, if no other process was faster

Of the logs that it sealed last, a sealer keeps the right edge of the tree. From that and the leaves that were added, it
computes the root without reading the rest again. Whatever does not fit is checked as above.

Logs are sealed in groups, which share a read of the leaves, a write of the record and a commit: what each log costs by
itself is its hashes and its signature. Those that grew least come first, and checks of whole logs last, so that a long
log holds up no other.

A log that must go on although it does not extend what was signed, or with another key, gets a new epoch: a new origin
and key. An event of the log says why. Nobody but an operator asks for it.

One process of all that serve a store seals, by a lease. Nothing depends on that: two sealers at the same time would
sign the same tree, and a checkpoint that is older than the newest one is not stored.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog

from whence.checkpoints import Checkpoint
from whence.errors import Unavailable, Unsound, WhenceError
from whence.events import Viewer
from whence.followers import LEASE_S
from whence.log_keys import LogKeys
from whence.merkle import HASH_SIZE
from whence.merkle_proofs import LeafRange
from whence.notes import encode_base64
from whence.sealing import StoreSecret
from whence.storage.base import Head, Store, Write
from whence.storage.followers import Definition
from whence.storage.seals import (
    EPOCH,
    EPOCH_ENDED,
    EpochReason,
    EpochRequest,
    NewCheckpoint,
    Origin,
    SealedCheckpoint,
    Signed,
    TileRow,
    UnsealedLog,
    hashes_of,
)
from whence.tiles import TILE_WIDTH, RightEdge, grown_tiles, partial_tiles, tiles_under, tree_hash
from whence.wire.ids import derived_uuid, new_uuid7
from whence.wire.log_events import log_event

__all__ = ["LEASE", "OVERLAP_US", "NotSealable", "Sealing", "log_name_of"]

LEASE = "sealing"
"""The name of the lease."""

_EVERY_S = 0.5
_KEEP_S = 1.0
_PAUSE_S = 2.0
"""After the store could not serve."""

_AGAIN_S = 10.0
"""A log that must not be signed is examined again after this time."""

_SLICE_TILES = 16
"""Full tiles of leaves that are hashed at a time: some two milliseconds of this event loop."""

_VISIT_SLICES = 16
"""Slices of one log in a round; then the logs of others have their turn."""

_READ_LEAVES = 1_024
"""Leaves of several logs that are read and hashed at a time: less than two milliseconds of this event loop."""

_SIGNED_AT_ONCE = 16
"""Signatures after which others have their turn: by ML-DSA-44 too they take some ten milliseconds."""

_CHECKED_AT_ONCE = 32
"""Logs that are checked as a whole at the same time, on a store that seals so many."""

_EDGES_MAX = 2_000
"""Logs of which the right edge is kept, at most some 16 KiB each."""

_LATEST_S = 0.9
"""A round and the pause after it take less, so that an event is sealed within a second."""

_PAUSE_BY_ROUND = 10
"""A round that took long is followed by a pause of so many times as long, as far as the second allows it."""

_SIGNED_MEANWHILE = "Another state of this log was signed meanwhile, which this one does not extend."

OVERLAP_US = 7 * 24 * 3_600_000_000
"""After a rotation the former key signs beside the new one for so long."""

_log = structlog.get_logger("whence.sealer")

Item = TypeVar("Item")


class NotSealable(WhenceError):
    """A log that must not be signed: it differs from what the store says of it, or from what was signed before."""


def log_name_of(secret: StoreSecret) -> str:
    """The name of the logs of a store that was given none: as unique as its secret, of which it reveals nothing."""
    return f"whence-{secret.subkey('log name')[:8].hex()}"


class _Due(NamedTuple):
    """What is to be signed of a log: the right edge of a tree that extends what was signed last, with its root, and the
    tiles that go with it."""

    tenant: str
    origin: Origin
    edge: RightEdge
    root: bytes
    tiles: tuple[TileRow, ...] = ()

    @property
    def signed(self) -> Signed:
        """The size and the root."""
        return Signed(self.edge.size, self.root)


class _Sealed(NamedTuple):
    """A log as this process sealed it last: its origin, whose size is that of the checkpoint, and its right edge."""

    origin: Origin
    edge: RightEdge


class _Growing(NamedTuple):
    """A log to whose right edge leaves are added, with the tiles that changed, by level and number."""

    log: UnsealedLog
    origin: Origin
    edge: RightEdge
    tiles: dict[tuple[int, int], bytes]

    def slices(self) -> list[tuple["_Growing", LeafRange]]:
        """The leaves that are to be added, in slices."""
        size, step = self.log.size, _SLICE_TILES * TILE_WIDTH
        return [(self, LeafRange(at, min(at + step, size))) for at in range(self.edge.size, size, step)]

    def extend(self, leaves: LeafRange, hashes: bytes) -> None:
        """Add the next slice. After one of which a leaf is missing, the edge leads nowhere."""
        if (self.edge.size, len(hashes)) == (leaves.first, (leaves.end - leaves.first) * HASH_SIZE):
            for tile, grown in self.edge.extend(hashes).items():
                self.tiles[tile.level, tile.number] = grown

    @property
    def leads_to_its_log(self) -> bool:
        """Whether the leaves make the tree that the log has by its head."""
        return self.edge.size == self.log.size and self.edge.packed() == self.log.compact_range

    def due(self) -> _Due:
        """What is to be signed."""
        tiles = tuple(TileRow(*place, hashes) for place, hashes in self.tiles.items())
        return _Due(self.log.tenant, self.origin, self.edge, self.edge.root(), tiles)


class Sealing:
    """Seals the logs of every tenant, while it has the lease."""

    def __init__(
        self,
        store: Store,
        secret: StoreSecret,
        log_name: str | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
        *,
        ml_dsa: bool = False,
    ) -> None:
        """`log_name` begins the origins that are made from now on. `clock` is the time in microseconds since the
        epoch. `ml_dsa`: sign by ML-DSA-44 beside Ed25519."""
        self._store, self._seals = store, store.seals
        self._keys, self._log_name, self._clock = LogKeys(secret, ml_dsa=ml_dsa), log_name or log_name_of(secret), clock
        self._owner = new_uuid7()
        self._leased_until = float("-inf")
        self._stopped: dict[str, tuple[str, float]] = {}
        self._former: dict[str, str] = {}
        self._sealed: dict[str, _Sealed] = {}
        self._leads = False
        self._published: set[str] = set()

    @property
    def leads(self) -> bool:
        """Whether this process seals, and no other one."""
        return self._leads

    def take_published(self) -> set[str]:
        """The tenants whose newest checkpoint may be another one since the last call: at first every tenant."""
        published, self._published = self._published, set()
        return published

    @property
    def stopped(self) -> dict[str, str]:
        """The tenants whose log must not be signed, each with the reason."""
        return {tenant: reason for tenant, (reason, _) in self._stopped.items()}

    async def run(self) -> None:
        """Seal until cancelled."""
        try:
            while True:
                pause, began = _PAUSE_S, time.monotonic()
                try:
                    await self.seal_all()
                    pause = _pause_after(time.monotonic() - began)
                except WhenceError as error:
                    _log.warning("sealing_waits", error=str(error))
                except Exception as error:
                    _log.error("sealing_failed", error=type(error).__name__, exc_info=True)
                await asyncio.sleep(pause)
        finally:
            with contextlib.suppress(WhenceError):
                await self._store.followers.release_lease(LEASE, self._owner)

    async def seal_all(self) -> None:
        """Seal every log that has grown, or go on with it. Another process does, while it has the lease."""
        if not await self._has_lease():
            self._stopped.clear()
            self._published.clear()
            self._leads = False
            return
        if not self._leads:
            self._published.update(await self._store.tenants())
            self._leads = True
        await self._begin_epochs()
        now, at_once = time.monotonic(), self._seals.logs_at_once
        unsealed = [log for log in await self._seals.unsealed() if now >= self._stopped.get(log.tenant, ("", now))[1]]
        growth = {log.tenant: self._growth(log) for log in unsealed}
        grown = sorted((log for log in unsealed if growth[log.tenant]), key=lambda log: growth[log.tenant])
        others = [log.tenant for log in unsealed if not growth[log.tenant]]
        for logs in _groups(grown, lambda log: growth[log.tenant], _visit_leaves(), at_once):
            if not await self._has_lease():
                return
            due = await self._extended(logs)
            signed = {each.tenant for each in due} - (await self._sign(due)).keys()
            others += [log.tenant for log in logs if log.tenant not in signed]
        failures: list[WhenceError] = []
        for tenants in _groups(others, lambda _: 1, min(at_once, _CHECKED_AT_ONCE)):
            if not await self._has_lease():
                return
            checked = await _all_of(map(self._checked, tenants))
            for tenant, error in (await self._sign([due for due in checked if due is not None])).items():
                if isinstance(error, NotSealable):
                    self._stop(tenant, str(error))
                else:
                    failures.append(error)
        if failures:
            raise failures[0]  # the other logs are sealed

    async def _checked(self, tenant: str) -> _Due | None:
        """What is to be signed of a log that is checked as a whole, if anything is by now."""
        try:
            head = await self._store.head(tenant)
            due = await self._due(tenant, head) if await self._grow(tenant, head.size) else None
        except (NotSealable, Unsound) as error:
            self._stop(tenant, str(error))
            return None
        if due is None:
            self._stopped.pop(tenant, None)
        return due

    async def _begin_epochs(self) -> None:
        """Begin the epochs that are asked for, and note which former keys still sign."""
        self._former.clear()
        for definition in await self._store.followers.list_definitions(EPOCH):
            if not await self._has_lease():
                return
            try:
                await self._begin_epoch(definition)
            except (NotSealable, Unsound) as error:
                self._stop(definition.tenant, str(error))

    async def _begin_epoch(self, definition: Definition) -> None:
        """Begin an epoch, or go on with it: each step is taken once, whenever the process before was stopped."""
        tenant, asked = definition.tenant, msgspec.json.decode(definition.body, type=EpochRequest)
        if asked.overlaps_until is not None:
            if self._clock() < asked.overlaps_until:
                self._former[tenant] = asked.ended
            else:
                await self._store.followers.delete_definition(tenant, EPOCH, definition.id)
            return
        origins = await self._seals.list_origins(tenant)
        if origins and origins[-1].name == asked.ended:
            following = await self._following(tenant, origins[-1])
            await self._record_end(tenant, asked, origins[-1], following)
            if asked.reason is EpochReason.ROTATED and not await self.seal(tenant):
                return  # the former key vouches for the new one first, by the event
            await self._add_origin(tenant, following)
        self._stopped.pop(tenant, None)
        if asked.reason is EpochReason.ROTATED:
            self._former[tenant] = asked.ended
            body = msgspec.structs.replace(asked, overlaps_until=self._clock() + OVERLAP_US)
            await self._store.followers.put_definition(
                Definition(tenant, EPOCH, definition.id, definition.version + 1, msgspec.json.encode(body))
            )
        else:
            await self._store.followers.delete_definition(tenant, EPOCH, definition.id)

    async def _record_end(self, tenant: str, asked: EpochRequest, ended: Origin, following: Origin) -> None:
        """Store the event that says why an epoch ended, with what was last signed in it, unless it is there."""
        event_id = derived_uuid(tenant, EPOCH_ENDED[asked.reason], ended.name)
        if await self._store.get_event(Viewer(tenant), event_id) is not None:
            return
        signed = [*await self._last_signed(tenant, ended), *await self._signed_after(ended)]
        last = max(signed, key=lambda each: each.size, default=None)
        ml_dsa_key = self._keys.ml_dsa_key(following.name)
        payload = {
            "checkpoint": await self._common_note(tenant, ended),
            "newKey": following.key,
            **({} if ml_dsa_key is None else {"newMlDsaKey": str(ml_dsa_key)}),
            "newOrigin": following.name,
            "origin": ended.name,
            "signedRoot": None if last is None else encode_base64(last.root),
            "signedSize": 0 if last is None else last.size,
        }
        actor = asked.actor_type, asked.actor_id
        event = log_event(
            tenant, EPOCH_ENDED[asked.reason], payload, event_id=event_id, at=asked.requested_at, actor=actor
        )
        [result] = await self._store.append(tenant, [Write((event,))])
        if isinstance(result, WhenceError):
            raise result
        if result[0].error is not None:
            raise NotSealable(f"The event about the end of the epoch could not be stored. {result[0].error}")

    async def _common_note(self, tenant: str, ended: Origin) -> str | None:
        """The newest checkpoint of an epoch that the log still extends, of those that the store has."""
        size = (await self._store.head(tenant)).size
        for found in await self._seals.list_checkpoints(tenant, size + 1, 1):
            if found.epoch == ended.epoch and await hashes_of(self._seals, tenant, [LeafRange(0, found.size)]) == [
                found.root
            ]:
                return found.note
        return None

    async def seal(self, tenant: str) -> bool:
        """Seal a log as it is now. Returns False when it is long, and further calls have to go on with it.

        Raises NotSealable, Unsound when hashes are missing, and Unavailable.
        """
        head = await self._store.head(tenant)
        if not await self._grow(tenant, head.size):
            return False
        due = await self._due(tenant, head)
        if due is not None:
            for error in (await self._sign([due])).values():
                raise error
        return True

    async def _due(self, tenant: str, head: Head) -> _Due | None:
        """What is to be signed of a log whose tiles are all there, checked as a whole; None if this state is signed.
        Raises as `seal`."""
        self._sealed.pop(tenant, None)
        origin = await self._origin(tenant)
        if head.size <= origin.size:
            return None
        if await self._signed_after(origin):
            raise NotSealable("The log was last signed under a later origin, which it has lost: a backup was restored.")
        last = await self._last_signed(tenant, origin)
        if any(each.size > head.size for each in last):
            raise NotSealable("The log is shorter than it was when it was last signed: a backup was restored.")
        root, *earlier = await self._roots(tenant, head, [each.size for each in last])
        if root != head.root:
            raise NotSealable("The leaves in the store do not make the root of the log. Run 'whence verify'.")
        if earlier != [each.root for each in last]:
            raise NotSealable("The log does not extend what was signed last: its earlier events are others now.")
        leaves = LeafRange(0, head.size)
        tiles = tiles_under([leaves])
        edge = RightEdge(head.size, dict(zip(tiles, await self._seals.read_tiles(tenant, tiles), strict=True)))
        if edge.root() != root:
            raise NotSealable("The hashes of the log have changed while it was sealed.")
        return _Due(tenant, origin, edge, root)

    def _growth(self, log: UnsealedLog) -> int:
        """How many leaves were added to the right edge of a log, 0 if this process does not have that, or for so many
        that the log is checked as a whole."""
        sealed = self._sealed.get(log.tenant)
        added = 0 if sealed is None else log.size - sealed.edge.size
        return added if 0 < added <= _visit_leaves() else 0

    async def _extended(self, logs: Sequence[UnsealedLog]) -> list[_Due]:
        """What is to be signed of logs by their right edges: of those whose edge leads to the log as it is. The others
        must be checked as a whole."""
        growing = []
        for log in logs:
            sealed = self._sealed.pop(log.tenant, None)
            if sealed is not None:
                growing.append(_Growing(log, sealed.origin, sealed.edge, {}))
        slices = [each for one in growing for each in one.slices()]
        for some in _groups(slices, lambda each: each[1].end - each[1].first, _READ_LEAVES):
            found = await self._seals.read_leaves_of([(one.log.tenant, leaves) for one, leaves in some])
            for (one, leaves), hashes in zip(some, found, strict=True):
                one.extend(leaves, hashes)
            await asyncio.sleep(0)
        return [one.due() for one in growing if one.leads_to_its_log]

    async def _roots(self, tenant: str, head: Head, earlier: Sequence[int]) -> list[bytes]:
        """The root of the log, and those that it had at earlier sizes, from the hashes that are stored."""
        return await hashes_of(self._seals, tenant, [LeafRange(0, size) for size in (head.size, *earlier)])

    async def _sign(self, due: Sequence[_Due]) -> dict[str, WhenceError]:
        """Record what is signed of some logs, and only then publish it. The edge of a log is kept if its checkpoint is
        the newest now.

        Returns an error for each tenant whose log was not: NotSealable if the record has another state of it, which
        this one does not extend, or what kept the store from storing its checkpoint. The threads of the store work
        while this one waits, since each would slow the other down.
        """
        if not due:
            return {}
        recorded = await self._seals.record_signed([(each.origin.name, each.signed) for each in due])
        allowed = [each for each, is_allowed in zip(due, recorded, strict=True) if is_allowed]
        new: list[NewCheckpoint] = []
        for each in allowed:
            new.append(NewCheckpoint(each.tenant, self._checkpoint(each), each.origin.size, each.tiles))
            if len(new) % _SIGNED_AT_ONCE == 0:
                await asyncio.sleep(0)
        stored = await self._seals.put_checkpoints(new)
        failed: dict[str, WhenceError] = {
            each.tenant: NotSealable(_SIGNED_MEANWHILE)
            for each, is_allowed in zip(due, recorded, strict=True)
            if not is_allowed
        }
        for each, result in zip(allowed, stored, strict=True):
            if isinstance(result, WhenceError):
                failed[each.tenant] = result
                continue
            self._stopped.pop(each.tenant, None)
            if result:
                self._published.add(each.tenant)
                origin = msgspec.structs.replace(each.origin, size=each.edge.size)
                self._sealed[each.tenant] = _Sealed(origin, each.edge)
        while len(self._sealed) > _EDGES_MAX:
            del self._sealed[next(iter(self._sealed))]
        return failed

    def _checkpoint(self, due: _Due) -> SealedCheckpoint:
        """The checkpoint of a log, signed by its keys, and by the former one where that still signs."""
        now, name, former = self._clock(), due.origin.name, self._former.get(due.tenant)
        state = Checkpoint(name, due.edge.size, due.root)
        note = self._keys.sign(state, now // 1_000_000, None if former == name else former)
        return SealedCheckpoint(due.origin.epoch, due.edge.size, due.root, now, note)

    async def _last_signed(self, tenant: str, origin: Origin) -> list[Signed]:
        """What was last signed: by the record outside of the log, and by the newest checkpoint in it."""
        recorded = await self._seals.get_signed(origin.name)
        stored = await self._seals.list_checkpoints(tenant, None, 1)
        found = [Signed(each.size, each.root) for each in stored if each.epoch == origin.epoch]
        return found if recorded is None or recorded in found else [recorded, *found]

    async def _signed_after(self, origin: Origin) -> list[Signed]:
        """What was last signed in each later epoch, by the record. There is none unless the store has lost them."""
        found: list[Signed] = []
        while (signed := await self._seals.get_signed(origin.named(origin.epoch + 1 + len(found)))) is not None:
            found.append(signed)
        return found

    async def _grow(self, tenant: str, size: int) -> bool:
        """Store the tiles above the leaves of a log of this size. Returns whether all of them are there now."""
        first_leaf = await self._seals.read_leaves(tenant, LeafRange(0, 1))
        count, end = await self._seals.count_tiled(tenant), size // TILE_WIDTH
        for _ in range(_VISIT_SLICES):
            if count >= end:
                return True
            upto = min(end, count + _SLICE_TILES)
            leaves = await self._seals.read_leaves(tenant, LeafRange(count * TILE_WIDTH, upto * TILE_WIDTH))
            width = TILE_WIDTH * HASH_SIZE
            if len(leaves) != (upto - count) * width:
                raise Unsound("Leaves of the log are missing. Run 'whence verify'.")
            added = [tree_hash(leaves[at : at + width]) for at in range(0, len(leaves), width)]
            partial = partial_tiles(count)
            held = dict(zip(partial, await self._seals.read_tiles(tenant, partial), strict=True))
            if any(len(hashes) != tile.width * HASH_SIZE for tile, hashes in held.items()):
                raise Unsound("Hashes of the log are missing. Run 'whence verify'.")
            grown = grown_tiles(count, held, added)
            rows = [TileRow(tile.level, tile.number, hashes) for tile, hashes in grown.items()]
            if not await self._seals.put_tiles(tenant, rows, first_leaf):
                return False  # the log was deleted meanwhile
            count = upto
            if not await self._has_lease():
                return False
        return count >= end

    async def _origin(self, tenant: str) -> Origin:
        """The origin of a log, which is made if it has none for which this secret gives the key."""
        origins = await self._seals.list_origins(tenant)
        if origins and str(self._keys.key(origins[-1].name)) == origins[-1].key:
            return origins[-1]
        return await self._add_origin(tenant, await self._following(tenant, origins[-1] if origins else None))

    async def _following(self, tenant: str, last: Origin | None) -> Origin:
        """The origin after another one, or the first. A name for which something was signed before is not used again:
        the store has lost that log. Nor is one of a deleted tenant of this name."""
        former = await self._store.deletions.former_logs(tenant)
        epoch = max([0 if last is None else last.epoch, *[log.epoch for log in former]]) + 1
        while await self._seals.get_signed(f"{self._log_name}/{tenant}/{epoch}") is not None:
            epoch += 1
        name = f"{self._log_name}/{tenant}/{epoch}"
        return Origin(epoch, name, str(self._keys.key(name)))

    async def _add_origin(self, tenant: str, origin: Origin) -> Origin:
        self._sealed.pop(tenant, None)
        made = await self._seals.add_origin(tenant, origin)
        if made.name != origin.name:
            raise Unavailable("Another process names this log.")
        return made

    def _stop(self, tenant: str, reason: str) -> None:
        """Note that a log must not be signed, and log it once for each reason."""
        if self.stopped.get(tenant) != reason:
            _log.error("sealing_stopped", tenant=tenant, reason=reason)
        self._stopped[tenant] = reason, time.monotonic() + _AGAIN_S

    async def _has_lease(self) -> bool:
        """Whether this process has the lease, which is kept now and then."""
        now = time.monotonic()
        if now >= self._leased_until:
            if now >= self._leased_until - _KEEP_S + LEASE_S:
                self._sealed.clear()  # another process may have sealed, or begun an epoch
            if not await self._store.followers.take_lease(LEASE, self._owner, LEASE_S):
                return False
            self._leased_until = now + _KEEP_S
        return True


def _visit_leaves() -> int:
    """How many leaves are hashed of one log, or of a group of them, before others have their turn."""
    return _VISIT_SLICES * _SLICE_TILES * TILE_WIDTH


def _groups(
    items: Iterable[Item], weight: Callable[[Item], int], weight_max: int, count_max: int | None = None
) -> Iterator[list[Item]]:
    """The items in order, in groups of at most `count_max` whose weights come to at most `weight_max`. An item that is
    heavier is alone."""
    group: list[Item] = []
    total = 0
    for item in items:
        more = weight(item)
        if group and (len(group) == count_max or total + more > weight_max):
            yield group
            group, total = [], 0
        group.append(item)
        total += more
    if group:
        yield group


async def _all_of(work: Iterable[Awaitable[Any]]) -> list[Any]:
    """The results of work that is done at the same time. When all of it has ended, raises what some of it raised."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _pause_after(round_s: float) -> float:
    """How long to wait after a round that took so long. Events that come meanwhile are sealed together."""
    return max(_EVERY_S, min(_PAUSE_BY_ROUND * round_s, _LATEST_S - round_s))
