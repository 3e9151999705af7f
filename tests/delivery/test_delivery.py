"""What webhooks are sent: every matching event at least once, as the key may read it, by the schedule; and no more."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from tests.delivery.delivering import ENGINES, FAST, SEALER, TENANT, Delivering, delivering, now_us
from tests.delivery.receivers import (
    OK,
    Received,
    Receiver,
    answering,
    eventually,
    hanging,
    receiving,
    resetting,
)
from tests.unit.mutants import catches, replaced
from whence import delivery, followers
from whence.delivery import PARALLEL, TENANT_PARALLEL, WebhookDelivery, delivery_after, secret_bound
from whence.errors import PositionGone, Unavailable
from whence.events import Query
from whence.outbound import Answer
from whence.permissions import ADMIN, READ, new_api_key, readable_by
from whence.sentences import load_grammar, sentence_of
from whence.storage.followers import DELIVERED, FAILED, PENDING, Delivery, DeliveryFilter, Place
from whence.wire.webhooks import Disabled, Progress, Rewind, SealedSecret, place_name


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Delivering]:
    """An empty store of each engine."""
    async with delivering(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def work(tmp_path: Path) -> AsyncIterator[Delivering]:
    """An empty SQLite store, for what does not depend on the engine."""
    async with delivering("sqlite", tmp_path) as made:
        yield made


async def found(awaited: Awaitable[Any]) -> bool:
    return bool(await awaited)


async def missing(awaited: Awaitable[Any]) -> bool:
    return not await awaited


async def equal(awaited: Awaitable[Any], wanted: object) -> bool:
    return bool(await awaited == wanted)


# ------------------------------------------------------------------------------------------------------- every event


async def test_every_event_comes_signed_with_its_id_and_position(engine: Delivering) -> None:
    """Those that are there, and those that come; the body is type, timestamp and data. The package of the standard
    verifies it."""
    async with receiving() as receiver:
        hook = await engine.hook(receiver)
        ids = await engine.emit(30)
        async with engine.running():
            await receiver.until(lambda: len(receiver.received) == 30)
            ids += await engine.emit(5)
            await engine.until(hook, delivered=35)
        assert sorted(receiver.ids) == sorted(ids)
        for each in receiver.received:
            message = each.verified(engine.secrets[hook])
            assert StandardWebhook(engine.secrets[hook]).verify(each.body, each.headers) == message
            assert message.keys() == {"type", "timestamp", "data"}
            assert message["type"] == message["data"]["eventType"] == "a.noted"
            assert message["timestamp"] == message["data"]["occurredAt"]
            assert message["data"]["position"] == ids.index(each.id) + 1
            assert len(message["data"]) == 12
            assert each.headers["content-type"] == "application/json"
        [attempt] = await engine.followers.list_attempts(TENANT, hook, 7)
        assert (attempt.number, attempt.status, attempt.answer, attempt.error) == (1, 200, b"ok", "")


def marked_before_the_answer(patch: pytest.MonkeyPatch) -> None:
    """A delivery is recorded as delivered before it is sent."""
    real = delivery._Endpoint._deliver

    async def deliver(self: Any, due: Delivery) -> None:
        done = msgspec.structs.replace(due, state=DELIVERED, attempts=1, attempts_in_all=1)
        await self._record(done, Answer(status=200), now_us())
        await real(self, due)

    patch.setattr(delivery._Endpoint, "_deliver", deliver)


def place_moves_alone(patch: pytest.MonkeyPatch) -> None:
    """The place of a webhook moves before its deliveries are added."""
    real = delivery._Endpoint._read

    async def read(self: Any, viewer: Any) -> bool:
        self._position = self._run.size
        await self._save()
        self._position = 0
        await asyncio.sleep(0.05)
        return await real(self, viewer)

    patch.setattr(delivery._Endpoint, "_read", read)


@catches(marked_before_the_answer)
async def test_what_was_not_answered_before_a_crash_is_sent_again(tmp_path: Path) -> None:
    """With the same id, however often."""
    async with delivering("sqlite", tmp_path) as work, receiving(hanging) as receiver:
        hook = await work.hook(receiver)
        [event_id] = await work.emit()
        for crashes in range(1, 4):
            work.start()
            await receiver.until(lambda count=crashes: len(receiver.received) == count, 5)
            await work.kill()
            assert (await work.states(hook)) == {PENDING: 1}
        receiver.behaviour = OK
        async with work.running():
            await work.until(hook, delivered=1)
        assert receiver.ids == [event_id] * 4


@catches(place_moves_alone)
async def test_a_crash_between_reading_and_adding_skips_nothing(tmp_path: Path) -> None:
    """The place moves in the transaction that adds the deliveries."""
    async with delivering("sqlite", tmp_path) as work, receiving() as receiver:
        hook = await work.hook(receiver)
        ids = await work.emit(3)
        for number in range(15):
            work.start()
            await asyncio.sleep(number * 0.002)
            await work.kill()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delivery._Endpoint, "_read", READ_LOG)
            async with work.running():
                await work.until(hook, 2, delivered=3)
        assert set(receiver.ids) == set(ids)


READ_LOG = delivery._Endpoint._read


async def test_what_ends_while_the_due_ones_are_read_is_not_sent_twice(
    work: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the store answered may be older than what has been recorded since."""
    real = work.followers.due_deliveries

    async def due_deliveries(*arguments: Any) -> Any:
        found = await real(*arguments)
        await asyncio.sleep(0.02)
        return found

    monkeypatch.setattr(work.followers, "due_deliveries", due_deliveries)
    async with receiving() as receiver:
        hook = await work.hook(receiver)
        ids = await work.emit(60)
        async with work.running():
            await work.until(hook, delivered=60)
        assert sorted(receiver.ids) == sorted(ids)


async def test_filters_select_as_those_of_lists(work: Delivering) -> None:
    """And events of the log itself come only to those who name them."""
    async with receiving() as every, receiving() as some, receiving() as own:
        await work.hook(every)
        await work.hook(some, query=Query(event_type_prefixes=("order.",), resource_types=("thing",)))
        await work.hook(own, query=Query(event_type_prefixes=("whence.",)))
        await work.emit(event_type="order.shipped")
        await work.emit(event_type="order.shipped", resource_type="other")
        await work.emit(event_type="whence.key_created")
        await work.emit(event_type="invoice.sent")
        async with work.running():
            await every.until(lambda: len(every.received) == 3 and len(some.received) == len(own.received) == 1)
            await asyncio.sleep(0.1)
        types = [sorted(each.data["eventType"] for each in one.received) for one in (every, some, own)]
        assert types == [["invoice.sent", "order.shipped", "order.shipped"], ["order.shipped"], ["whence.key_created"]]


# ----------------------------------------------------------------------------------------------------------- the key


@catches(
    replaced(followers, "readable_by", lambda _key, _tenant, readable, _now: readable, "the_key_is_not_looked_up"),
    replaced(followers, "_KEY_TRUSTED_S", 1_000.0, "the_key_is_trusted_for_ever"),
)
async def test_a_webhook_stops_with_its_key(tmp_path: Path) -> None:
    """Within a second, and goes on when another key takes it over."""
    async with delivering("sqlite", tmp_path) as work, receiving() as receiver:
        key = await work.key()
        hook = await work.hook(receiver, key=key)
        async with work.running():
            await work.emit()
            await receiver.until(lambda: len(receiver.received) == 1)
            await work.store.credentials.revoke_key(TENANT, key.id, now_us())
            await asyncio.sleep(1.1)
            ids = await work.emit(3)
            await asyncio.sleep(0.2)
            assert len(receiver.received) == 1
            await work.change(hook, key_id=(await work.key()).id)
            await receiver.until(lambda: len(receiver.received) == 4, 3)
        assert set(receiver.ids[1:]) == set(ids)


async def test_a_webhook_sees_what_its_key_may_read(engine: Delivering) -> None:
    """Events about other resource types do not exist for it, and it learns no position."""
    async with receiving() as receiver:
        hook = await engine.hook(receiver, key=await engine.key(f"{READ}:thing", ADMIN))
        await engine.emit(3, resource_type="hidden")
        ids = await engine.emit(2)
        await engine.emit(2, resource_type="hidden")
        async with engine.running():
            await engine.until(hook, delivered=2)
            await asyncio.sleep(0.1)
        assert set(receiver.ids) == set(ids)
        assert all("position" not in each.data and len(each.data) == 11 for each in receiver.received)
        await engine.followers.add_deliveries(TENANT, hook, [1], now_us(), Place(place_name(hook), 7))
        async with engine.running():
            await engine.until(hook, delivered=2, failed=1)  # whatever brought it there, it is not sent
        assert len(receiver.received) == 2


def test_a_key_reads_what_both_may() -> None:
    """The limits of what was made hold with another key, and the key's with them."""
    key, other = new_key(READ), new_key(f"{READ}:b", f"{READ}:c")
    assert readable_by(key, TENANT, None, 1) is None
    assert readable_by(key, TENANT, ("a", "b"), 1) == ("a", "b")
    assert readable_by(other, TENANT, None, 1) == ("b", "c")
    assert readable_by(other, TENANT, ("a", "b"), 1) == ("b",)
    for gone in (None, new_key(ADMIN), new_key(READ, tenant="other"), new_key(READ, revoked_at=1)):
        assert readable_by(gone, TENANT, None, 2) == ()
    assert readable_by(new_key(READ, expires_at=5), TENANT, None, 5) == ()


def new_key(*scopes: str, tenant: str = TENANT, **more: Any) -> Any:
    return msgspec.structs.replace(new_api_key(tenant, scopes, 0)[1], **more)


async def test_messages_are_signed_with_every_valid_secret(work: Delivering) -> None:
    """The old one too, until its time is over."""
    async with receiving() as receiver:
        hook = await work.hook(receiver)
        old, new = work.secrets[hook], "whsec_" + "bmV3" * 8
        sealed = SealedSecret(SEALER.seal(new.encode(), secret_bound(TENANT, hook)))
        [before] = (await work.webhook(hook)).secrets
        async with work.running():
            for valid_until, verifying in ((now_us() + 10**9, (old, new)), (now_us() - 1, (new,))):
                secrets = (sealed, SealedSecret(before.sealed, valid_until))
                await work.change(hook, secrets=secrets)
                await work.emit()
                await receiver.until(lambda: len(receiver.received) > 0)
                received = receiver.received.pop()
                assert len(received.headers["webhook-signature"].split(" ")) == len(verifying)
                for secret in verifying:
                    received.verified(secret)


# -------------------------------------------------------------------------------------------------- failures, schedule


PENDING_ONE = Delivery("hook", 7, PENDING, 0, 0)


@pytest.mark.parametrize("status", [None, 199, 300, 301, 302, 307, 400, 401, 404, 410, 429, 500, 503])
def test_all_but_a_2xx_is_tried_again_by_the_schedule(status: int | None) -> None:
    """Eight times; then it has failed."""
    due, waits = PENDING_ONE, []
    for _ in range(8):
        due = delivery_after(due, Answer(status=status), 10**15, 0.5)
        waits.append((due.due_at - 10**15) // 10**6)
    assert waits[:7] == [5, 300, 1800, 7200, 18000, 36000, 36000]
    assert (due.state, due.attempts, due.attempts_in_all) == (FAILED, 8, 8)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_2xx_delivers(status: int) -> None:
    """Whatever its body is."""
    after = delivery_after(PENDING_ONE, Answer(status=status), 5, 0.5)
    assert (after.state, after.attempts, after.changed_at) == (DELIVERED, 1, 5)


@pytest.mark.parametrize(
    ("status", "asked", "seconds"),
    [(429, 100.0, 100), (503, 100.0, 100), (429, 1.0, 5), (429, 1e9, 3600), (500, 100.0, 5), (429, None, 5)],
)
def test_retry_after_is_honoured_within_an_hour(status: int, asked: float | None, seconds: int) -> None:
    """Of 429 and 503, and never sooner than the schedule."""
    after = delivery_after(PENDING_ONE, Answer(status=status, retry_after_s=asked), 0, 0.5)
    assert after.due_at == seconds * 10**6


async def test_attempts_are_recorded_until_a_delivery_has_failed(engine: Delivering) -> None:
    """Each with its status and answer. A dead letter is made again when somebody asks, with the same id."""
    engine.times = FAST / 10
    async with receiving(answering(500, b"x" * 2_000)) as receiver:
        hook = await engine.hook(receiver)
        [event_id] = await engine.emit()
        async with engine.running():
            await engine.until(hook, 40, failed=1)
            attempts = await engine.followers.list_attempts(TENANT, hook, 1)
            assert [each.number for each in attempts] == list(range(1, 9))
            assert {(each.status, each.answer) for each in attempts} == {(500, b"x" * 1024)}
            receiver.behaviour = OK
            await engine.followers.retry_deliveries(TENANT, DeliveryFilter(hook), now_us(), 10)
            await engine.change(hook)  # the version wakes it
            await engine.until(hook, delivered=1)
        [last] = await engine.deliveries(hook)
        assert (last.attempts, last.attempts_in_all) == (1, 9)
        assert receiver.ids == [event_id] * 9


async def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_asks(work: Delivering) -> None:
    """After a 429 with Retry-After nothing is sent, not even another event."""
    async with receiving(answering(429, Retry_After="2")) as receiver:
        hook = await work.hook(receiver)
        await work.emit()
        async with work.running():
            await receiver.until(lambda: len(receiver.received) == 1)
            receiver.behaviour = OK
            await work.emit(5)
            await asyncio.sleep(0.5)
            assert len(receiver.received) == 1
            await work.until(hook, delivered=6)


@catches(replaced(delivery, "_GONE", 0, "gone_is_like_any_failure"))
async def test_410_switches_off_and_this_is_an_event(tmp_path: Path) -> None:
    """With the reason, once, also when the work is killed before it is stored. What is pending goes on when the webhook
    is switched on again."""
    async with delivering("sqlite", tmp_path) as work, receiving(answering(410)) as receiver:
        hook = await work.hook(receiver, description="orders")
        own = await work.hook("http://127.0.0.1:9/", query=Query(event_types=("whence.webhook_disabled",)))
        ids = await work.emit(2)
        async with work.running():
            await eventually(lambda: found(work.events("whence.webhook_disabled")), 5)
            await asyncio.sleep(0.1)
            await work.emit(3)
            await asyncio.sleep(0.2)
            sent = len(receiver.received)
        webhook = await work.webhook(hook)
        assert not webhook.enabled and webhook.disabled is not None and webhook.disabled.announced
        [event] = await work.events("whence.webhook_disabled")
        payload = json.loads(event.payload)
        assert (payload["webhookId"], payload["reason"]) == (hook, "The endpoint answered 410 Gone.")
        assert (event.actor_id, event.resource_type, event.outcome) == ("whence", "event_log", "failure")
        assert receiver.url.encode() not in event.payload
        sentence = sentence_of(event, event.payload, load_grammar())
        assert str(sentence) == "whence switched off the webhook orders The endpoint answered 410 Gone."
        again = msgspec.structs.replace(webhook.disabled, announced=False)
        await work.change(hook, disabled=again)  # as if it had been killed between
        async with work.running():
            await asyncio.sleep(0.3)
            assert len(await work.events("whence.webhook_disabled")) == 1
            assert sum((await work.states(own)).values()) == 1
            assert len(receiver.received) == sent
            receiver.behaviour = OK
            await work.change(hook, enabled=True, disabled=None, enabled_at=now_us())
            await work.until(hook, delivered=5)
        assert set(ids) < set(receiver.ids)


async def test_what_fails_for_five_days_is_switched_off(tmp_path: Path) -> None:
    """Unless an attempt succeeds meanwhile, and counted from when it was last switched on. Five days are shortened."""
    days = 5 * 86_400 * FAST  # 43 s, of which most are over already
    async with delivering("sqlite", tmp_path) as work, receiving(answering(500)) as receiver:
        old = now_us() - int(days * 10**6)
        hook = await work.hook(receiver, enabled_at=old)
        fresh = await work.hook(receiver)
        for each in (hook, fresh):
            progress = msgspec.json.encode(Progress(failing_since=old))
            await work.followers.save_place(TENANT, Place(place_name(each), 0, progress))
        await work.emit()
        async with work.running():
            await eventually(lambda: missing(work.is_enabled(hook)), 10)
        disabled = (await work.webhook(hook)).disabled
        assert disabled is not None and disabled.reason == "Every attempt has failed for 5 days."
        assert (await work.webhook(fresh)).enabled
        assert (await work.progress(fresh)).failing_since == old


async def test_a_success_ends_a_time_of_failures(work: Delivering) -> None:
    """Which is remembered over restarts."""
    async with receiving(answering(500)) as receiver:
        hook = await work.hook(receiver)
        await work.emit()
        async with work.running():
            await receiver.until(lambda: len(receiver.received) == 2)
            await asyncio.sleep(1.2)
        since = (await work.progress(hook)).failing_since
        assert since is not None
        async with work.running():
            await receiver.until(lambda: len(receiver.received) > 3)
            receiver.behaviour = OK
            await work.until(hook, delivered=1)
            await asyncio.sleep(1.2)
        assert (await work.progress(hook)).failing_since is None


# ------------------------------------------------------------------------------------------------- order and fairness


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


# --------------------------------------------------------------------------------------------------- places and gaps


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
            await receiver.until(lambda: len(receiver.received) == 1)
            erased.append(True)
            receiver.behaviour = OK
            await work.until(hook, delivered=1)
        assert [each.data["payload"] for each in receiver.received] == [{"number": 0}, {}]


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
