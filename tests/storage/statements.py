"""Records every statement that a PostgreSQL store sends to its server."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import DAY, NOON, add, asked, asked_flows, new
from whence.activity import ActorPageRequest
from whence.demo import FAILED_EVENT, fill
from whence.events import PageRequest, PartRequest, Query, Reference, Viewer
from whence.histograms import HistogramRequest
from whence.merkle_proofs import LeafRange
from whence.names import NameRange, NameSearch, beginning
from whence.permissions import new_api_key
from whence.storage import Head, Session, create_store
from whence.storage.deletions import TenantDeletion
from whence.storage.followers import DELIVERED, FAILED, Attempt, Definition, Delivery, DeliveryFilter, Place
from whence.storage.postgres import connections
from whence.storage.postgres.payload_index import forget_payload_values
from whence.storage.removals import REMOVED_AT_ONCE, Erased, Purge
from whence.storage.seals import NewCheckpoint, Origin, SealedCheckpoint, Signed, TileRow, hashes_of
from whence.trace import TraceRequest
from whence.wire.ids import parse_reference

TENANT = "airline"
MIDDLE = 1_715_817_600_000_000

Heard = Callable[[Any, str, tuple[Any, ...]], Awaitable[None]]
"""Called with a connection, a statement and its values before the statement is executed."""


class Listening:
    """A connection whose statements are recorded."""

    def __init__(self, connection: Any, heard: Heard) -> None:
        self.real = connection
        self.heard = heard

    def is_in_transaction(self) -> bool:
        within: bool = self.real.is_in_transaction()
        return within

    async def fetch(self, text: str, *values: Any, **options: Any) -> Any:
        await self.heard(self.real, text, values)
        return await self.real.fetch(text, *values, **options)

    async def fetchrow(self, text: str, *values: Any) -> Any:
        await self.heard(self.real, text, values)
        return await self.real.fetchrow(text, *values)

    async def fetchval(self, text: str, *values: Any) -> Any:
        await self.heard(self.real, text, values)
        return await self.real.fetchval(text, *values)

    async def cursor(self, text: str, *values: Any) -> Any:
        await self.heard(self.real, text, values)
        return await self.real.cursor(text, *values)

    async def execute(self, text: str, *values: Any) -> Any:
        if text != "COMMIT":
            await self.heard(self.real, text, values)
        return await self.real.execute(text, *values)


def listen(patch: pytest.MonkeyPatch, heard: Heard) -> None:
    """Record every statement of every transaction from now on, except those that begin and end it."""
    real = connections._run_and_commit

    async def committed(connection: Any, work: Any) -> Any:
        return await real(Listening(connection, heard), work)

    patch.setattr(connections, "_run_and_commit", committed)


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"event_types": ("action_run.failed", "action_run.completed")},
    {"outcomes": ("failure",)},
    {"actor_ids": ("gpt-4o", "airline-api")},
    {"actor_ids": ("airline-api",), "outcomes": ("failure",)},
    {"actor_ids": ("airline-api",), "since": MIDDLE, "until": MIDDLE + 1_000_000},
    {"since": MIDDLE, "until": MIDDLE + DAY},
    {"since": MIDDLE, "until": MIDDLE + DAY, "outcomes": ("failure",)},
    {"correlation_ids": ("flow",)},
    {"resource_ids": ("00000000-0000-0000-0000-000000000001",)},
    {"causation_ids": (FAILED_EVENT, "a text")},
    {"readable": ("action_run",)},
    {"type_patterns": ("*.failed",), "excluded_outcomes": ("none",)},
    {"actors": ("agent/", "*/airline-api"), "resources": ("artifact/", "*/00000000-0000-0000-0000-000000000001")},
    {"excluded_actors": ("*/gpt-4o",), "excluded_correlation_ids": ("flow",), "since": MIDDLE},
    {"excluded_resources": ("*/00000000-0000-0000-0000-000000000001",), "excluded_causation_ids": (FAILED_EVENT,)},
)

NAMES = NameSearch(
    limit=10,
    kinds=True,
    events=NameRange(FAILED_EVENT, FAILED_EVENT),
    actors=(beginning("a"),),
    flows=(beginning("flow"),),
    resources=(NameRange(FAILED_EVENT, FAILED_EVENT),),
    payload_fields=True,
)
"""A search for every sort of name."""


async def everything(url: str, folder: Path) -> None:
    """Call every operation of a store with an empty log, so that each named SQL block is executed."""
    source = create_store(f"sqlite:///{folder}/source.db")
    await fill(source, TENANT)
    first = await source.read_log(TENANT, 0, 500)
    await source.close()
    store = create_store(url, importing=True)
    try:
        await store.import_log(TENANT, first)
        await store.import_retained_from(TENANT, Head(0, b"", 0))
        await fill(store, TENANT)  # five hundred of these are repeats
        await add(store, new(1, correlation_id="flow", causation_id=FAILED_EVENT), tenant=TENANT)
        await add(store, new(2, causation_id=new(1).id), tenant=TENANT)
        await add(store, new(3, causation_id=new(2).id, correlation_id="another flow"), tenant=TENANT)
        await _ask(store)
        await _index(store)
        await _let_in(store)
        await _follow(store)
        await _seal(store)
        await _remove(store)
        await _delete(store)
        await store.import_removed(TENANT, bytes(32))
    finally:
        await store.close()


async def _ask(store: Any) -> None:
    for filters in FILTERS:
        for offset, as_of in ((0, None), (1_000, 5_000)):
            await store.list_events(*asked(filters, TENANT), PageRequest(limit=20, offset=offset, as_of=as_of))
        await store.count_events(*asked(filters, TENANT))
        await store.histogram(*asked(filters, TENANT), HistogramRequest(by="event_type"))
        await store.actor_stats(*asked(filters, TENANT))
        await store.facets(*asked(filters, TENANT), 5)
        await store.read_feed(*asked(filters, TENANT), 0, 20)
        await store.list_part(*asked(filters, TENANT), PartRequest(limit=20, as_of=5_000))
    assert (await store.find_names(Viewer(TENANT), NAMES)).events == [FAILED_EVENT]
    assert (await store.find_names(Viewer(TENANT, ("action_run",)), NAMES)).actors != []
    assert await store.position_before(TENANT, NOON) == 0
    assert await store.get_event(Viewer(TENANT), FAILED_EVENT) is not None
    assert await store.get_event(Viewer(TENANT), new(9).id) is None
    assert await store.find_ids(Viewer(TENANT), Reference(1)) != []
    assert await store.find_ids(Viewer(TENANT), parse_reference(FAILED_EVENT)) == [FAILED_EVENT]
    assert await store.trace(Viewer(TENANT), FAILED_EVENT, TraceRequest()) is not None
    assert await store.trace(Viewer(TENANT), FAILED_EVENT, TraceRequest(walk_max=1)) is not None
    assert await store.trace(Viewer(TENANT), new(3).id, TraceRequest()) is not None
    for viewer in (Viewer(TENANT), Viewer(TENANT, ("action_run",))):
        for since in (None, MIDDLE, 0):
            await store.actors(viewer, since, None, ActorPageRequest(limit=5))
            await store.actor_summary(viewer, ("agent", "gpt-4o"), since, None)
        await store.resource_summary(viewer, ("action_run", "00000000-0000-0000-0000-000000000001"), 5)
    assert len(await store.reach(Viewer(TENANT), [FAILED_EVENT, new(3).id])) == 2
    assert len(await store.read_payloads(Viewer(TENANT), [1, 2])) == 2
    for flows in ({}, {"failed": True, "since": 0, "until": NOON}, {"readable": ("action_run",)}):
        await store.list_flows(*asked_flows(flows, TENANT), PageRequest(limit=5))
    await store.process_map(Viewer(TENANT), None, None)
    assert (await store.head(TENANT)).size > 5_000
    assert await store.tenants() == [TENANT]
    assert len(await store.read_log(TENANT, 0, 10)) == 10


PAYLOAD_FILTERS: tuple[dict[str, Any], ...] = (
    {"payload_values": ("tool=book_reservation",)},
    {"payload_values": ("tool=book_reservation", "result=none"), "excluded_payload_values": ("tool=think",)},
    {"payload_values": ("tool=book_reservation",), "correlation_ids": ("flow",), "since": MIDDLE},
)


async def _index(store: Any) -> None:
    """With an index that covers the log, one that does not, and one whose other path is removed."""
    index = store.payload_index
    for paths in (("tool", "result"), ("tool",)):
        assert await index.unindexed(paths) == [TENANT]
        for filters in PAYLOAD_FILTERS:
            await store.list_events(*asked(filters, TENANT), PageRequest(limit=20))
            await store.count_events(*asked(filters, TENANT))
            await store.histogram(*asked(filters, TENANT), HistogramRequest(by="event_type"))
            await store.actor_stats(*asked(filters, TENANT))
            await store.facets(*asked(filters, TENANT), 5, ("tool",))
            await store.read_feed(*asked(filters, TENANT), 0, 20)
            await store.list_part(*asked(filters, TENANT), PartRequest(limit=20, as_of=5_000))
        while await index.advance(TENANT, paths):
            pass
        assert [facet.path for facet in (await store.facets(Viewer(TENANT), Query(), 5, paths)).payload] == list(paths)
    assert [row.path for row in await index.list_fields(TENANT)] == ["tool"]
    found = await store.find_names(Viewer(TENANT), NameSearch(limit=5, payload_values=beginning("book", "tool")))
    assert [value.text for value in found.payload_values] == ["book_reservation"]
    await store._write_as(TENANT, lambda connection, owner: forget_payload_values(connection, owner.number, [21, 22]))


async def _let_in(store: Any) -> None:
    _, key = new_api_key(TENANT, ("events:read",), 1)
    await store.credentials.put_key(key, limited=True)
    await store.credentials.put_session(Session(bytes(32), key.id, NOON))
    await store.credentials.find_session(bytes(32))
    await store.credentials.end_session(bytes(32))
    await store.credentials.take_session(bytes(32))
    await store.credentials.touch_keys({key.id: 5})
    assert await store.credentials.find_key(key.hash) == await store.credentials.get_key(key.id)
    assert await store.credentials.list_keys(TENANT) == [await store.credentials.get_key(key.id)]
    assert await store.credentials.revoke_key(TENANT, key.id, 6)
    await store.check()


async def _follow(store: Any) -> None:
    followers, hook = store.followers, "hook"
    assert await followers.take_lease("webhooks", "a", 60.0)
    await followers.release_lease("webhooks", "a")
    for version in (1, 2):
        assert await followers.put_definition(Definition(TENANT, "webhook", hook, version, b"{}"))
    assert await followers.list_definitions("webhook") == await followers.list_definitions("webhook", TENANT)
    assert await followers.get_definition(TENANT, "webhook", hook) is not None
    assert await followers.delete_definition(TENANT, "webhook", hook)
    await followers.save_place(TENANT, Place("another", 1))
    await followers.add_deliveries(TENANT, hook, [1, 2, 3], 5, Place("webhooks", 3, b"{}"))
    assert await followers.get_place(TENANT, "webhooks") == Place("webhooks", 3, b"{}")
    assert len(await followers.list_places(TENANT)) == 2
    await followers.delete_place(TENANT, "another")
    assert len(await followers.due_deliveries(TENANT, hook, 5, 2)) == 2
    assert await followers.next_due(TENANT, hook) == 5
    assert await followers.get_delivery(TENANT, hook, 2) is not None
    tried = [Delivery(hook, position, state, 5, 6, 1, 1) for position, state in ((1, DELIVERED), (2, FAILED))]
    attempts = [Attempt(hook, each.position, 1, 5, 20, 200, "", b"") for each in tried]
    await followers.record_attempts(TENANT, list(zip(tried, attempts, strict=True)))
    assert await followers.list_attempts(TENANT, hook, 1) == attempts[:1]
    assert len(await followers.list_deliveries(TENANT, DeliveryFilter(hook, states=(FAILED,)), 9)) == 1
    assert len(await followers.count_deliveries(TENANT, hook)) == 3
    assert await followers.retry_deliveries(TENANT, DeliveryFilter(hook, states=(FAILED,)), 7, 9) == 2
    assert await followers.delete_deliveries(TENANT, hook, 9, 9) == 1
    assert await followers.delete_deliveries(TENANT, hook, None, 9) == 2


async def _seal(store: Any) -> None:
    seals = store.seals
    assert [log.tenant for log in await seals.unsealed()] == [TENANT]
    origin = await seals.add_origin(TENANT, Origin(1, "log/airline/1", "key"))
    assert await seals.list_origins(TENANT) == [origin]
    assert await seals.count_tiled(TENANT) == 0
    [leaves] = await seals.read_leaves_of([(TENANT, LeafRange(0, 256))])
    await seals.put_tiles(TENANT, [TileRow(1, 0, leaves[:32])])
    assert len(await hashes_of(seals, TENANT, [LeafRange(0, 256), LeafRange(0, 3)])) == 2
    assert await seals.record_signed([(origin.name, Signed(1, bytes(32)))]) == [True]
    assert await seals.get_signed(origin.name) == Signed(1, bytes(32))
    for after, size in ((0, 1), (1, 2)):
        new = NewCheckpoint(TENANT, SealedCheckpoint(1, size, bytes(32), NOON, "note"), after)
        assert await seals.put_checkpoints([new]) == [True]
    assert len(await seals.list_checkpoints(TENANT, None, 9)) == 2
    assert await seals.last_checkpoint(TENANT, 1) is not None
    assert await seals.get_evidence(TENANT, FAILED_EVENT) is not None


async def _remove(store: Any) -> None:
    removals, hook = store.removals, "hook"
    tried = Delivery(hook, 2, DELIVERED, 5, 6, 1, 1)
    await store.followers.add_deliveries(TENANT, hook, [2], 5, Place("webhooks", 2))
    await store.followers.record_attempts(TENANT, [(tried, Attempt(hook, 2, 1, 5, 20, 200, "", b"answer"))])
    assert await removals.erase_payloads(TENANT, [1, 2], NOON, []) == 2
    end = (await store.head(TENANT)).size + 1
    assert await removals.erase_actor(TENANT, ("agent", "gpt-4o"), "erased", NOON, (), end) > 0
    removed = 0
    for since in range(1, end, REMOVED_AT_ONCE):  # all but the first, so that some buckets are emptied
        removed += await removals.purge(TENANT, Purge(since, min(since + REMOVED_AT_ONCE, end), [1]), [])
    assert removed == end - 2
    assert len(await store.seals.read_leaves(TENANT, LeafRange(100, 600))) == 500 * 32
    await removals.settle(TENANT)
    assert await removals.scrub()
    assert await removals.unseen_erasures() == []
    await removals.see_erasures([Erased(TENANT, (), entry=1)])


async def _delete(store: Any) -> None:
    size = (await store.head(TENANT)).size
    await store.deletions.delete_tenant(TENANT, TenantDeletion(size=size, deleted_at=NOON))
    [former] = await store.deletions.former_logs()
    while await store.deletions.remove_rows(former.number, 400):
        pass
    assert await store.deletions.former_logs() == []
    await store.deletions.delete_tenant("never was", TenantDeletion(size=0, deleted_at=NOON))
