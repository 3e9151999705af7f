"""What webhooks are sent: every matching event at least once, as the key may read it, by the schedule; and no more."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from tests.delivery.delivering import FAST, SEALER, TENANT, Delivering, delivering, found, missing, now_us
from tests.delivery.receivers import (
    OK,
    answering,
    eventually,
    hanging,
    receiving,
)
from tests.unit.mutants import catches, replaced
from whence import delivery, followers
from whence.delivery import delivery_after, secret_bound
from whence.events import Query
from whence.fairness import FairQueue
from whence.outbound import Answer
from whence.permissions import ADMIN, READ, new_api_key, readable_by
from whence.sentences import load_grammar, sentence_of
from whence.storage.followers import DELIVERED, FAILED, PENDING, Delivery, DeliveryFilter, Place
from whence.wire.webhooks import Progress, SealedSecret, place_name

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
            await receiver.until(lambda: len(receiver.received) > 1)
            await asyncio.sleep(1.2)
        since = (await work.progress(hook)).failing_since
        assert since is not None
        async with work.running():
            await receiver.until(lambda: len(receiver.received) > 3)
            receiver.behaviour = OK
            await work.until(hook, delivered=1)
            await asyncio.sleep(1.2)
        assert (await work.progress(hook)).failing_since is None


@catches(replaced(FairQueue, "_may_enter", lambda self, tenant: True, "no_turns"))
async def test_webhooks_add_their_deliveries_one_after_the_other(
    work: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many a tenant has. In one commit of the store, events would wait for the deliveries of all of them."""
    adding, most, followers_type = 0, 0, type(work.followers)
    add = followers_type.add_deliveries

    async def counted(self: Any, *arguments: Any) -> None:
        nonlocal adding, most
        adding += 1
        most = max(most, adding)
        await asyncio.sleep(0.05)  # the others have read their part by then
        await add(self, *arguments)
        adding -= 1

    monkeypatch.setattr(followers_type, "add_deliveries", counted)
    async with receiving() as receiver:
        hooks = [await work.hook(receiver) for _ in range(6)]
        await work.emit(3)
        async with work.running():
            for hook in hooks:
                await work.until(hook, delivered=3)
    assert most == 1
