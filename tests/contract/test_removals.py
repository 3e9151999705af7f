"""What a store forgets: every count stays that of the events that are left, every proof holds, and no reader is led
astray meanwhile."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.contract import removal_mutants as mutants
from tests.contract.faults import catches, limited
from tests.contract.histories import ANNOUNCED_AT, EVERYTHING, START, History
from tests.contract.made import MINUTE, NOON, TENANT, VIEWER, add, asked, new, page, stored, uuid
from whence.errors import Conflict, Invalid
from whence.events import EVENT_LOG, Event, Keyset, PageRequest, Query
from whence.flows import FlowQuery
from whence.merkle_proofs import LeafRange
from whence.storage import verify_store
from whence.storage.followers import PENDING, Attempt, Definition, Delivery, Place
from whence.storage.removals import HOLD, PAYLOAD_ERASED, HoldsChanged, LaterEvents, Purge
from whence.storage.sqlite.engine import SQLiteReads
from whence.tiles import Tile

SMALL = {"divide_at": 8, "fold_at": 30, "walk_from": 4}

STEPS = 7


def url_of(store: Any) -> str:
    return f"sqlite:///{store._path}" if isinstance(store, SQLiteReads) else str(store._target._dsn)


@limited(**SMALL)
@catches(
    mutants.buckets_keep_events,
    mutants.kinds_keep_events,
    mutants.actors_keep_events,
    mutants.totals_keep_events,
    mutants.flows_keep_events,
    mutants.flows_keep_failures,
    mutants.flows_begin_where_they_end,
    mutants.flows_end_where_they_began,
    mutants.empty_rows_stay,
    mutants.resources_keep_events,
    mutants.payloads_are_counted_on,
    mutants.transitions_stay,
    mutants.effects_that_stay_are_forgotten,
    mutants.causes_that_stay_are_forgotten,
    mutants.a_pair_goes_twice,
    mutants.nothing_is_folded_before,
    mutants.held_events_go,
    mutants.announcements_go,
)
async def test_every_count_is_that_of_the_events_that_are_left(real: Any) -> None:
    """After each batch of a random history, every list and count equals the plain model's. The whole is sound."""
    history = History(real, 3)
    for _ in range(STEPS):
        await history.add(history.random.randint(1, 40))
        if history.random.random() < 0.4:
            await history.erase()
        await history.purge(history.next_purge())
        await history.check()
    assert (await verify_store(url_of(real))).findings == []


# ------------------------------------------------------------------------------------------------- readers meanwhile

WALKS: tuple[dict[str, Any], ...] = (
    {},
    {"event_types": ("job.failed", "job.completed")},
    {"actor_ids": ("a1",)},
    {"correlation_ids": ("f2",)},
    {"since": START + MINUTE * 7, "until": ANNOUNCED_AT},
    {"readable": ("artifact",)},
)


class Walk:
    """A reader that pages through a list while events are removed."""

    def __init__(self, store: Any, fields: dict[str, Any], *, ascending: bool) -> None:
        self.store, self.fields = store, fields
        self.met: list[Event] = []
        self.request: PageRequest | None = PageRequest(limit=7, ascending=ascending)

    async def step(self, left: Sequence[Event]) -> None:
        """Read the next page, whose numbers speak of the events that are `left`."""
        if self.request is None:
            return
        found = await self.store.list_events(*asked(self.fields), self.request)
        kept = {event.position for event in left if event.position <= found.as_of}
        passed = [event for event in self.met if event.position in kept]
        self.met += found.events
        assert found.offset == len(passed)
        assert found.has_next == (found.offset + len(found.events) < found.total)
        if not found.has_next:
            self.request = None
            return
        last = found.events[-1]
        self.request = PageRequest(
            limit=7,
            ascending=self.request.ascending,
            offset=found.offset + len(found.events),
            as_of=found.as_of,
            after=Keyset(last.occurred_at, last.position),
            removal_epoch=found.removal_epoch,
        )


@limited(**SMALL)
@catches(mutants.offset_of_the_cursor_is_believed, mutants.place_of_a_page_is_passed_over)
async def test_a_walk_meets_every_event_that_is_kept_once(real: Any) -> None:
    """In both directions, with any filter, and with the true offset, total and hasNext on each page."""
    history = History(real, 11)
    for _ in range(3):
        await history.add(40)
    before = {event.id for event in history.left}
    walks = [Walk(real, fields, ascending=ascending) for fields in WALKS for ascending in (True, False)]
    while any(walk.request for walk in walks):
        for walk in walks:
            await walk.step(history.left)
        if history.retained_from < history.size:
            upto = min(history.retained_from + 9, history.size)
            await history.purge(Purge(history.retained_from, upto, [upto - 2]))
    for walk in walks:
        met = [event.id for event in walk.met]
        assert len(met) == len(set(met))
        left = await real.list_events(*asked(walk.fields), PageRequest(limit=1_000))
        assert {event.id for event in left.events} & before <= set(met), walk.fields


@limited(**SMALL)
@catches(mutants.offset_of_the_cursor_is_believed)
async def test_an_erasure_moves_no_place(real: Any) -> None:
    """A cursor from before an erasure goes on with the same numbers."""
    await stored(real, *map(new, range(1, 9)))
    first = await page(real, limit=3)
    await real.removals.erase_payloads(TENANT, [1, 2, 3], 5, [])
    last = first.events[-1]
    second = await real.list_events(
        VIEWER,
        Query(),
        PageRequest(limit=3, offset=77, as_of=8, after=Keyset(last.occurred_at, last.position), removal_epoch=0),
    )
    assert (second.offset, second.total, second.has_next) == (3, 8, True)


@limited(**SMALL)
@catches(mutants.flows_keep_events)
async def test_a_page_of_flows_goes_on_after_a_purge(real: Any) -> None:
    """Its offset, total and hasNext are those of the flows that are left."""
    await stored(real, *(new(number, correlation_id=f"f{number % 6}") for number in range(1, 25)))
    first = await real.list_flows(VIEWER, FlowQuery(), PageRequest(limit=2))
    await real.removals.purge(TENANT, Purge(1, 22), [])
    after = Keyset(first.flows[-1].last_at, first.flows[-1].number)
    request = PageRequest(limit=2, offset=2, after=after, removal_epoch=first.removal_epoch)
    second = await real.list_flows(VIEWER, FlowQuery(), request)
    assert [flow.correlation_id for flow in (*first.flows, *second.flows)] == ["f0", "f5", "f4"]
    assert [flow.events for flow in second.flows] == [1]
    assert (second.offset, second.total, second.has_next) == (2, 3, False)


# ---------------------------------------------------------------------------------------------------- names and ids


@limited(kinds_max=3)
@catches(mutants.names_that_went_are_remembered, mutants.kinds_are_never_dropped)
async def test_names_that_went_can_come_back(real: Any) -> None:
    """A kind and an actor whose events are all gone can be used again, and the event can be read. A tenant has as many
    kinds as its events have."""
    types = [f"job.done{number}" for number in range(3)]
    await stored(real, *(new(n, event_type=each, actor_id=each, occurred_at=START) for n, each in enumerate(types, 1)))
    await page(real)  # what is in memory now is gone after the purge
    [receipt] = await add(real, new(4, event_type="job.fourth", occurred_at=START))
    assert receipt.error is not None
    assert await real.removals.purge(TENANT, Purge(1, 3), []) == 2
    again = [new(number, event_type=types[0], actor_id=types[0], occurred_at=START) for number in (5, 6)]
    await stored(real, again[0], new(7, event_type="job.fourth", occurred_at=START))
    await stored(real, again[1])
    assert await real.get_event(VIEWER, uuid(5)) is not None
    found = await page(real, ascending=True)
    assert [event.event_type for event in found.events] == [types[2], types[0], "job.fourth", types[0]]
    assert [event.actor_id for event in found.events] == [types[2], types[0], "ada", types[0]]
    [receipt] = await add(real, new(8, event_type="job.fifth", occurred_at=START))
    assert receipt.error is not None
    assert (await verify_store(url_of(real))).findings[0].position == 1  # since nothing announced it


@catches(mutants.what_was_removed_is_stored_again)
async def test_what_was_removed_is_not_stored_again(real: Any) -> None:
    """Its id is forgotten, so an event as old as the newest of those that went is refused. One that is kept is a
    replay, and a later one is stored."""
    first, second, held = new(1), new(2), new(3)
    await stored(real, first, second, held)
    await real.removals.purge(TENANT, Purge(1, 4, [3]), [])
    for sent in (first, new(9, occurred_at=NOON)):
        [receipt] = await add(real, sent)
        assert isinstance(receipt.error, Invalid)
        assert [(each.loc, each.type) for each in receipt.error.problems] == [
            (("body", "occurredAt"), "older_than_retention")
        ]
    [receipt] = await add(real, held)
    assert receipt.replayed
    with pytest.raises(Invalid, match="retention"):
        await add(real, first, atomic=True)
    assert [event.position for event in await stored(real, new(10, occurred_at=START))] == [4]


@limited(**SMALL)
@catches(mutants.unknown_holds_are_ignored)
async def test_a_hold_that_came_in_between_stops_a_removal(real: Any) -> None:
    """The caller has to know every hold. One that is released does no harm."""
    await stored(real, *map(new, range(1, 9)))
    await real.followers.put_definition(Definition(TENANT, HOLD, "h1", 1, b"{}"))
    await real.removals.settle(TENANT)
    for holds in ([], [("h1", 2)], [("h2", 1)]):
        with pytest.raises(HoldsChanged, match="holds"):
            await real.removals.purge(TENANT, Purge(1, 5), holds)
        with pytest.raises(HoldsChanged):
            await real.removals.erase_payloads(TENANT, [1], 5, holds)
    assert (await page(real)).total == 8
    assert await real.removals.erase_payloads(TENANT, [1], 5, [("h1", 1), ("h2", 1)]) == 1
    assert await real.removals.purge(TENANT, Purge(1, 5), [("h1", 1)]) == 4
    assert await real.removals.purge(TENANT, Purge(1, 5), [("h1", 1)]) == 0
    assert await real.removals.purge("no such tenant", Purge(1, 5), []) == 0


# --------------------------------------------------------------------------------------------------------- erasure


@catches(mutants.answers_of_webhooks_stay, mutants.announcements_go)
async def test_an_erased_payload_is_gone(real: Any) -> None:
    """With its salt and what webhooks answered, and counted once. The event stays, its replay answers, and an event
    that explains a removal is not erased."""
    said = new(2, event_type=PAYLOAD_ERASED, resource_type=EVENT_LOG, payload=b'{"ranges":[[1,1]]}')
    await stored(real, new(1, payload=b'{"name":"Ada"}'), said)
    await real.followers.add_deliveries(TENANT, "hook", [1], 5, Place("hook", 2))
    delivery = Delivery("hook", 1, PENDING, 5, 5, 1, 1)
    await real.followers.record_attempts(TENANT, [(delivery, Attempt("hook", 1, 1, 6, 7, 200, "", b"Hello Ada"))])
    before = await real.head(TENANT)
    assert await real.removals.erase_payloads(TENANT, [1, 1, 2, 77], 1_234, []) == 1
    found = await real.get_event(VIEWER, uuid(1))
    assert (found.payload, found.erased_at) == (None, 1_234)
    assert (await page(real)).events[-1] == found
    assert await real.read_payloads(VIEWER, [1, 2]) == [None, said.payload]
    [attempt] = await real.followers.list_attempts(TENANT, "hook", 1)
    assert (attempt.status, attempt.answer) == (200, b"")
    after = await real.head(TENANT)
    assert (after.root, after.payload_bytes) == (before.root, before.payload_bytes - len(b'{"name":"Ada"}'))
    [receipt] = await add(real, new(1, payload=b'{"name":"Eve"}'))
    assert (receipt.replayed, receipt.event) == (True, found)
    [receipt] = await add(real, new(1, actor_id="eve"))
    assert isinstance(receipt.error, Conflict)
    assert (await verify_store(url_of(real))).findings == []
    assert await real.removals.erase_payloads(TENANT, [1, 2], 9_999, []) == 0
    assert (await real.get_event(VIEWER, uuid(1))).erased_at == 1_234


@catches(mutants.deliveries_stay)
async def test_deliveries_go_with_their_events(real: Any) -> None:
    """Those of other events stay."""
    await stored(real, *map(new, range(1, 5)))
    for hook in ("a", "b"):
        await real.followers.add_deliveries(TENANT, hook, [1, 2, 3, 4], 5, Place(hook, 4))
    delivery = Delivery("b", 2, PENDING, 5, 5, 1, 1)
    await real.followers.record_attempts(TENANT, [(delivery, Attempt("b", 2, 1, 6, 7, 200, "", b"ok"))])
    await real.removals.purge(TENANT, Purge(1, 4, [3]), [])
    for hook in ("a", "b"):
        assert [each.position for each in await real.followers.due_deliveries(TENANT, hook, 9, 9)] == [3, 4]
    assert await real.followers.list_attempts(TENANT, "b", 2) == []


@catches(mutants.leaves_are_not_kept)
async def test_every_leaf_stays(real: Any) -> None:
    """The root, the leaves and the tiles of level 0 are the same, across the first position that is kept."""
    for first in range(1, 601, 200):
        await stored(real, *(new(number, occurred_at=START) for number in range(first, first + 200)))
    ranges = (LeafRange(0, 600), LeafRange(250, 270), LeafRange(255, 256), LeafRange(500, 600), LeafRange(3, 3))
    tiles = (Tile(0, 0), Tile(0, 1), Tile(0, 2, 88), Tile(0, 1, 7))
    before = [await real.seals.read_leaves(TENANT, each) for each in ranges], await real.seals.read_tiles(TENANT, tiles)
    root = (await real.head(TENANT)).root
    for since, upto in ((1, 200), (200, 300), (300, 517)):
        await real.removals.purge(TENANT, Purge(since, upto, [since]), [])
        found = [await real.seals.read_leaves(TENANT, each) for each in ranges]
        assert (found, await real.seals.read_tiles(TENANT, tiles)) == before
    assert (await real.head(TENANT)).root == root
    assert (await real.seals.get_evidence(TENANT, uuid(300))).position == 300
    assert await real.seals.get_evidence(TENANT, uuid(301)) is None


@catches(mutants.replaced_ids_are_compared, mutants.other_fields_are_not_compared)
async def test_an_event_whose_actor_was_replaced_is_a_replay(real: Any) -> None:
    """Whoever it names as its actor, since that is not known any more; the name does not come back. Every other field
    is compared."""
    sent = [new(1, payload=b'{"a":1}'), new(2, actor_id="bob")]
    await stored(real, *sent)
    await real.removals.erase_actor(TENANT, ("user", "ada"), "erased-1", 5, ())
    found = await real.get_event(VIEWER, uuid(1))
    assert found.actor_id == "erased-1"
    for again in (sent[0], new(1, actor_id="erased-1", payload=b'{"a":1}')):
        [receipt] = await add(real, again)
        assert (receipt.replayed, receipt.event) == (True, found)
    await stored(real, new(3, actor_id="bob"))
    assert sorted(each.actor_id for each in (await real.find_names(VIEWER, EVERYTHING)).actors) == ["bob", "erased-1"]
    for other, fields in (
        (new(1, payload=b'{"a":2}'), ("payload",)),
        (new(1, actor_type="agent", payload=b'{"a":1}'), ("actorType",)),
        (new(2), ("actorId",)),
    ):
        [receipt] = await add(real, other)
        assert isinstance(receipt.error, Conflict)
        assert receipt.error.fields == fields


@catches(mutants.names_that_went_are_remembered, mutants.later_events_are_not_looked_for)
async def test_the_id_of_an_actor_is_replaced(real: Any) -> None:
    """In all of its events, and nowhere is it found any more. Its events are then proven by their leaves alone, of
    which verify tells."""
    await stored(real, new(1), new(2, actor_id="bob"), new(3))
    assert await real.removals.erase_actor(TENANT, ("user", "ada"), "bob", 5, ()) == 0
    assert await real.removals.erase_actor(TENANT, ("user", "eve"), "erased-1", 5, ()) == 0
    with pytest.raises(LaterEvents):
        await real.removals.erase_actor(TENANT, ("user", "ada"), "erased-1", 5, (), 2)
    assert await real.removals.erase_actor(TENANT, ("user", "ada"), "erased-1", 5, (), 3) == 2
    assert [event.actor_id for event in (await page(real)).events] == ["erased-1", "bob", "erased-1"]
    assert (await page(real, actor_ids=("ada",))).total == 0
    await stored(real, new(4, event_type="order.placed"))
    found = await real.find_names(VIEWER, EVERYTHING)
    assert [(each.actor_id, each.events) for each in found.actors] == [("ada", 1), ("bob", 1), ("erased-1", 2)]
    report = await verify_store(url_of(real))
    assert [(each.position, each.what) for each in report.findings] == [
        (1, "the id of the actor was replaced, and no event says so")
    ]
    said = b'{"pseudonym":"erased-1","ranges":[[1,1]]}'
    await stored(real, new(5, actor_id="bob", event_type=PAYLOAD_ERASED, resource_type=EVENT_LOG, payload=said))
    assert [each.position for each in (await verify_store(url_of(real))).findings] == [3]
    said = b'{"pseudonym":"erased-1","ranges":[[3,3]]}'
    await stored(real, new(6, actor_id="bob", event_type=PAYLOAD_ERASED, resource_type=EVENT_LOG, payload=said))
    report = await verify_store(url_of(real))
    assert report.findings == []
    assert any("2 events" in note and "leaf alone" in note for note in report.notes)
    # What announces it must not be proven by its leaf alone itself.
    assert await real.removals.erase_actor(TENANT, ("user", "bob"), "erased-2", 5, ()) == 3
    assert [each.position for each in (await verify_store(url_of(real))).findings] == [1]
