"""In which order webhooks are sent to, and how they share what there is."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.delivering import FAST, Delivering, delivering
from tests.delivery.receivers import (
    OK,
    Received,
    Receiver,
    answering,
    hanging,
    receiving,
    resetting,
)
from tests.unit.mutants import catches, replaced
from whence import delivery
from whence.delivery import PARALLEL, TENANT_PARALLEL, WebhookDelivery
from whence.storage.followers import PENDING
from whence.wire.webhooks import place_name


def takes_the_next(patch: pytest.MonkeyPatch) -> None:
    """In order only as long as nothing fails: a failing delivery lets the next go first."""
    patch.setattr(delivery._Endpoint, "_send_next", delivery._Endpoint._send_due)


@catches(takes_the_next)
async def test_fifo_sends_one_after_the_other_in_order(tmp_path: Path) -> None:
    """The next only when the one before is delivered, or has failed for good."""

    async def flaky(receiver: Receiver, request: Received, writer: asyncio.StreamWriter) -> None:
        failing = receiver.ids.count(request.id) < 3 and request.data["payload"]["number"] % 7 == 3
        await (resetting if failing else OK)(receiver, request, writer)

    async with delivering("sqlite", tmp_path) as work, receiving(flaky) as receiver:
        hook = await work.hook(receiver, fifo=True)
        ids = await work.emit(20)
        async with work.running():
            await work.until(hook, delivered=20)
        assert receiver.at_once_max == 1
        assert list(dict.fromkeys(receiver.ids)) == ids
        positions = [ids.index(each) for each in receiver.ids]
        assert positions == sorted(positions)


async def test_a_dead_letter_lets_a_fifo_webhook_go_on(work: Delivering) -> None:
    """After the last attempt the next event follows."""

    async def poisoned(receiver: Receiver, request: Received, writer: asyncio.StreamWriter) -> None:
        await (answering(500) if request.data["payload"]["number"] == 0 else OK)(receiver, request, writer)

    work.times = FAST / 10
    async with receiving(poisoned) as receiver:
        hook = await work.hook(receiver, fifo=True)
        ids = await work.emit(3)
        async with work.running():
            await work.until(hook, delivered=2, failed=1)
        assert receiver.ids == [ids[0]] * 8 + ids[1:]


async def test_a_hanging_endpoint_holds_up_no_other(tmp_path: Path) -> None:
    """Requests to one endpoint are at most eight at a time, and one while it fails; a tenant has at most 32."""
    async with delivering("sqlite", tmp_path, timeout_s=1.0) as work, receiving(hanging) as hang, receiving() as good:
        for _ in range(3):
            await work.hook(hang)
        hook = await work.hook(good)
        await work.emit(100)
        async with work.running():
            await work.until(hook, 10, delivered=100)
            assert hang.at_once_max <= 3 * PARALLEL < TENANT_PARALLEL
            await hang.until(lambda: hang.at_once <= 3)
            await asyncio.sleep(0.3)
            assert hang.at_once <= 3
        assert good.at_once_max <= PARALLEL


class FirstComeFirstServed(asyncio.Semaphore):
    """A queue in which one tenant can hold every place."""

    def __init__(self, places: int, **_more: Any) -> None:
        super().__init__(places)

    def place(self, _tenant: str) -> asyncio.Semaphore:
        return self


@catches(replaced(delivery, "FairQueue", FirstComeFirstServed, "one_tenant_takes_every_place"))
async def test_hanging_endpoints_of_one_tenant_hold_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: of all requests at a time, a tenant has a share."""
    monkeypatch.setattr(delivery, "PROCESS_PARALLEL", 8)
    async with delivering("sqlite", tmp_path) as slow, receiving(hanging) as hang, receiving() as good:
        other = Delivering(slow.store, tenant="other")
        work = slow.work()
        for _ in range(4):
            await slow.hook(hang)
        await slow.emit(20)
        slow.start(work)
        await hang.until(lambda: hang.at_once >= 4)
        hook = await other.hook(good)
        await other.emit(10)
        other.start(work)
        try:
            await other.until(hook, 3, delivered=10)
        finally:
            await other.kill()


async def at_once(_self: WebhookDelivery, _tenant: str) -> None:
    """Mutant: every request begins as soon as it can."""


@catches(replaced(WebhookDelivery, "turn", at_once, "all_requests_begin_together"))
async def test_requests_begin_one_in_a_round_of_the_event_loop(tmp_path: Path) -> None:
    """On which a server of one process answers requests, too."""
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async with delivering("sqlite", tmp_path) as made:
        work, begun = made.work(), []

        async def begin(tenant: str) -> None:
            await work.turn(tenant)
            begun.append(rounds)

        counting = asyncio.create_task(count())
        await asyncio.gather(*(begin(tenant) for tenant in ("a", "b") * 10))
        counting.cancel()
    assert len(set(begun)) == 20


async def test_the_backlog_of_a_webhook_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While too much is pending the log is not read on, and nothing is lost."""
    monkeypatch.setattr(delivery, "PENDING_MAX", 20)
    monkeypatch.setattr(delivery, "_PART", 10)
    async with delivering("sqlite", tmp_path) as work, receiving(hanging) as receiver:
        hook = await work.hook(receiver)
        await work.emit(100)
        async with work.running():
            await receiver.until(lambda: len(receiver.received) == PARALLEL)
            await asyncio.sleep(0.2)
            assert (await work.states(hook))[PENDING] == 20
            assert work.definitions.lags == {place_name(hook): 80}
        receiver.behaviour = OK
        async with work.running():
            await work.until(hook, delivered=100)
