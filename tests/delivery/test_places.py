"""How far webhooks have read: gaps, restores, replays, and what is deleted."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.delivery.delivering import TENANT, Delivering, equal, missing, now_us
from tests.delivery.receivers import (
    OK,
    answering,
    eventually,
    hanging,
    receiving,
)
from whence import delivery
from whence.delivery import WebhookDelivery
from whence.errors import PositionGone, Unavailable
from whence.events import Query
from whence.storage.followers import PENDING, Place
from whence.wire.webhooks import Disabled, Rewind, SealedSecret, place_name


async def test_a_gap_is_remembered(work: Delivering, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that are no longer kept when their turn comes are not skipped in silence."""
    async with receiving() as receiver:
        hook = await work.hook(receiver)
        ids = await work.emit(5)
        real = work.store.read_feed

        async def read_feed(viewer: Any, query: Any, after: int, limit: int) -> Any:
            if after < 3:
                raise PositionGone(resume_after=3)
            return await real(viewer, query, after, limit)

        monkeypatch.setattr(work.store, "read_feed", read_feed)
        async with work.running():
            await work.until(hook, delivered=2)
        assert set(receiver.ids) == set(ids[3:])
        [gap] = (await work.progress(hook)).gaps
        assert (gap.after, gap.resumed_after) == (0, 3)


async def test_after_a_restore_of_an_older_log_it_goes_on_from_the_end(engine: Delivering) -> None:
    """And remembers that, since it cannot know what it has sent."""
    async with receiving() as receiver:
        hook = await engine.hook(receiver, begin_after=0)
        await engine.emit(3)
        await engine.followers.save_place(TENANT, Place(place_name(hook), 50))
        async with engine.running():
            await eventually(lambda: engine.has_gap(hook))
            ids = await engine.emit(2)
            await engine.until(hook, delivered=2)
        assert set(receiver.ids) == set(ids)
        [gap] = (await engine.progress(hook)).gaps
        assert (gap.after, gap.resumed_after) == (50, 3)


async def test_a_new_webhook_may_begin_after_what_was_last_read(
    work: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since the log has grown. That is no gap, and older events are not sent."""

    async def changed(*_arguments: Any) -> bool:
        await asyncio.sleep(0.5)
        return True

    monkeypatch.setattr(work.store, "changed", changed)
    async with receiving() as receiver:
        await work.hook(receiver, query=Query(event_types=("never.seen",)))
        async with work.running():
            await asyncio.sleep(0.05)
            await work.emit(3)
            hook = await work.hook(receiver, begin_after=3)
            await asyncio.sleep(0.1)
            ids = await work.emit(2)
            await work.until(hook, delivered=2)
        assert set(receiver.ids) == set(ids)
        assert (await work.progress(hook)).gaps == ()


async def test_the_log_is_read_again_from_where_somebody_asks(work: Delivering) -> None:
    """Once for each request. What is on record as delivered is not sent again by that alone."""
    async with receiving() as receiver:
        hook = await work.hook(receiver, begin_after=3)
        ids = await work.emit(5)
        async with work.running():
            await work.until(hook, delivered=2)
            await work.change(hook, rewind=Rewind(1, now_us()))
            await work.until(hook, delivered=4)
        async with work.running():
            await asyncio.sleep(0.2)
        assert sorted(receiver.ids) == sorted(ids[1:])


async def test_a_body_is_rendered_when_it_is_sent(work: Delivering, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload that was erased since the first attempt is not sent again."""
    async with receiving(answering(500)) as receiver:
        hook = await work.hook(receiver)
        await work.emit()
        real, erased = work.store.read_feed, []

        async def read_feed(viewer: Any, query: Any, after: int, limit: int) -> Any:
            page = await real(viewer, query, after, limit)
            events = [msgspec.structs.replace(event, payload=None) if erased else event for event in page.events]
            return msgspec.structs.replace(page, events=events)

        monkeypatch.setattr(work.store, "read_feed", read_feed)
        async with work.running():
            await receiver.until(lambda: len(receiver.received) > 0)
            erased.append(True)
            receiver.behaviour = OK
            await work.until(hook, delivered=1)
        payloads = [each.data["payload"] for each in receiver.received]
        assert (payloads[0], payloads[-1]) == ({"number": 0}, None)


async def test_a_deleted_webhook_leaves_nothing(engine: Delivering) -> None:
    """Its deliveries and its place go with it, and those of one that was deleted while nobody worked."""
    async with receiving(hanging) as receiver:
        hook, other, kept = [await engine.hook(receiver) for _ in range(3)]
        await engine.emit(3)
        await engine.followers.add_deliveries(TENANT, other, [1, 2], now_us(), Place(place_name(other), 2))
        await engine.followers.delete_definition(TENANT, "webhook", other)
        await engine.refresh()
        async with engine.running():
            await receiver.until(lambda: len(receiver.received) >= 6)
            await engine.followers.delete_definition(TENANT, "webhook", hook)
            await engine.refresh()
            await eventually(lambda: equal(engine.places(), [place_name(kept)]))
        assert [await engine.states(each) for each in (hook, other, kept)] == [{}, {}, {PENDING: 3}]


async def test_what_was_finished_long_ago_is_deleted(work: Delivering, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 30 days, in small parts. What is pending stays."""
    monkeypatch.setattr(delivery, "_PRUNE_EVERY_S", 0.5)
    monkeypatch.setattr(delivery, "_KEPT_S", 0)
    async with receiving() as receiver:
        hook = await work.hook(receiver)
        await work.emit(4)
        async with work.running():
            await receiver.until(lambda: len(receiver.received) == 4)
            await eventually(lambda: missing(work.states(hook)))


async def test_one_webhook_that_cannot_be_read_harms_no_other(work: Delivering) -> None:
    """Nor does one whose secret was sealed by another store secret: it sends nothing unsigned."""
    async with receiving() as receiver, receiving() as silent:
        hook = await work.hook(receiver)
        await work.hook(silent, disabled=Disabled(0, "x"), enabled=False)
        unsigned = await work.hook(silent)
        await work.change(unsigned, secrets=(SealedSecret("AAAA"),))
        await work.emit(3)
        async with work.running():
            await work.until(hook, delivered=3)
            await asyncio.sleep(0.1)
        assert silent.received == []


async def test_a_store_that_fails_for_a_while_loses_no_result(
    work: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered is recorded when the store is back, and not sent a second time."""
    monkeypatch.setattr(delivery, "_AGAIN_S", 0.05)
    real, failures = work.followers.record_attempts, iter(range(3))

    async def record_attempts(tenant: str, attempts: Any) -> None:
        if next(failures, None) is not None:
            raise Unavailable("The store is away.")
        await real(tenant, attempts)

    monkeypatch.setattr(work.followers, "record_attempts", record_attempts)
    async with receiving() as receiver:
        hook = await work.hook(receiver)
        await work.emit()
        async with work.running():
            await work.until(hook, delivered=1)
        assert len(receiver.received) == 1


def test_the_kind_of_the_work_is_that_of_the_definitions() -> None:
    """Which is how the worker finds them."""
    assert WebhookDelivery.kind == "webhook"
