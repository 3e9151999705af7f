"""`log.webhooks`, for both clients: each call once against a real server."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import Served, event, serving, wait_until
from tests.delivery.receivers import Receiver, receiving_beside
from whence import AsyncWhence, Invalid, NotFound, Whence
from whence.permissions import ADMIN, READ, WRITE
from whence.webhooks import verify


@pytest.fixture(scope="module")
def calling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that may call this machine."""
    with serving(tmp_path_factory.mktemp("webhooks"), webhook_allow=("127.0.0.0/8",)) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving_beside() as made:
        yield made


class Blocking:
    """The asynchronous client with the calls of the other, so that one test serves both."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key

    def __getattr__(self, name: str) -> Any:
        async def call(*given: Any, **fields: Any) -> Any:
            async with AsyncWhence(self._url, self._key) as log:
                found = getattr(log.webhooks, name)(*given, **fields)
                if name == "deliveries":
                    return [each async for each in found]
                return await found

        return lambda *given, **fields: asyncio.run(call(*given, **fields))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_call_of_a_webhook(calling: Served, receiver: Receiver, kind: str) -> None:
    """Create, list, get, test, update, rotate, deliveries, resend, replay and delete."""
    key = calling.key(READ, WRITE, ADMIN, tenant=kind)
    with Whence(calling.url, key) as log:
        webhooks: Any = log.webhooks if kind == "sync" else Blocking(calling.url, key)
        filters = {"event_type": "action_run.*", "resource_type": "decision", "resource_id": ["order 7"]}
        made = webhooks.create(receiver.url, description="orders", filters=filters)
        assert made.secret.startswith("whsec_") and made.secret not in repr(made)
        assert made.filters["resourceId"] != ["order 7"] and len(made.filters["resourceId"][0]) == 36
        assert [each.id for each in webhooks.list()] == [made.id]
        assert webhooks.test(made.id).status == 200
        assert verify(receiver.received[0].body, receiver.received[0].headers, made.secret)["type"] == (
            "whence.webhook_test"
        )
        webhooks.update(made.id, filters={}, fifo=True, take_over=True)
        assert webhooks.get(made.id).filters == {}
        stored = log.emit(event(), durable=True)
        wait_until(lambda: webhooks.get(made.id).deliveries.delivered == 1)
        [delivery] = webhooks.deliveries(made.id, state="delivered")
        assert webhooks.delivery(made.id, delivery.position).event_id == stored.event.id
        webhooks.resend(made.id, delivery.position)
        wait_until(lambda: receiver.ids.count(stored.event.id) == 2)
        assert webhooks.replay(made.id, since="-1h", state="all") == 0
        wait_until(lambda: receiver.ids.count(stored.event.id) == 3)
        assert webhooks.rotate_secret(made.id).secret != made.secret
        with pytest.raises(Invalid):
            webhooks.update(made.id, url="https://user@example.com/")
        webhooks.delete(made.id)
        with pytest.raises(NotFound):
            webhooks.get(made.id)
        with pytest.raises(NotFound):
            webhooks.delete(made.id)
