"""A store with webhooks, and the work that delivers to them, which can be killed and begun again."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.databases import fresh_database
from tests.delivery.receivers import Receiver, eventually
from whence.addresses import Allowed
from whence.delivery import WebhookDelivery, secret_bound
from whence.events import EVENT_LOG, NewEvent, Query, Viewer
from whence.followers import Definitions
from whence.outbound import Sender
from whence.permissions import READ, ApiKey, new_api_key, readable_types
from whence.sealing import StoreSecret
from whence.storage import Store, Write, create_store
from whence.storage.followers import Definition, Delivery, DeliveryFilter
from whence.webhooks import new_secret
from whence.wire.ids import derived_uuid, new_uuid7
from whence.wire.webhooks import WEBHOOK, Progress, SealedSecret, Webhook, place_name

TENANT = "acme"
FAST = 1 / 10_000
"""The schedule of 27 hours in ten seconds."""

SEALER = StoreSecret("the store secret of the tests of webhooks").sealer("webhooks")
ENGINES = ("sqlite", "postgres")


def now_us() -> int:
    return time.time_ns() // 1_000


class Delivering:
    """A store, its webhooks, and the work on them."""

    def __init__(self, store: Store, *, timeout_s: float = 15.0, times: float = FAST, tenant: str = TENANT) -> None:
        self.store = store
        self.tenant = tenant
        self.followers = store.followers
        self.sender = Sender(Allowed.parse(["127.0.0.0/8"]), timeout_s=timeout_s)
        self.times = times
        self.definitions = Definitions([])
        self.secrets: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    async def key(self, *scopes: str, tenant: str | None = None) -> ApiKey:
        """A new API key."""
        _, key = new_api_key(tenant or self.tenant, scopes or (READ,), now_us())
        await self.store.credentials.put_key(key)
        return key

    async def hook(self, url: str | Receiver, *, key: ApiKey | None = None, **fields: Any) -> str:
        """A new webhook. Returns its id."""
        key = key or await self.key()
        webhook_id, secret = new_uuid7(), new_secret()
        self.secrets[webhook_id] = secret
        webhook = Webhook(
            url=url.url if isinstance(url, Receiver) else url,
            key_id=key.id,
            readable=readable_types(key.scopes),
            secrets=(SealedSecret(SEALER.seal(secret.encode(), secret_bound(self.tenant, webhook_id))),),
            **{"created_at": now_us(), "enabled_at": now_us(), "begin_after": 0} | fields,
        )
        definition = Definition(self.tenant, WEBHOOK, webhook_id, 1, msgspec.json.encode(webhook))
        assert await self.followers.put_definition(definition)
        await self.refresh()
        return webhook_id

    async def change(self, webhook_id: str, **changes: Any) -> None:
        """Change a webhook, as a request does."""
        definition = await self.definition(webhook_id)
        body = msgspec.json.encode(msgspec.structs.replace(await self.webhook(webhook_id), **changes))
        following = msgspec.structs.replace(definition, version=definition.version + 1, body=body)
        assert await self.followers.put_definition(following)
        await self.refresh()

    async def definition(self, webhook_id: str) -> Definition:
        """A webhook's definition."""
        found = await self.followers.get_definition(self.tenant, WEBHOOK, webhook_id)
        assert found is not None
        return found

    async def webhook(self, webhook_id: str) -> Webhook:
        """A webhook as it is stored."""
        return msgspec.json.decode((await self.definition(webhook_id)).body, type=Webhook)

    async def refresh(self) -> None:
        """Pass the definitions on, as the worker does every second."""
        self.definitions.replace(await self.followers.list_definitions(WEBHOOK, self.tenant))

    async def emit(self, count: int = 1, *, resource_type: str = "thing", event_type: str = "a.noted") -> list[str]:
        """Store some events. Returns their ids."""
        events = tuple(
            NewEvent(
                id=new_uuid7(),
                event_type=event_type,
                actor_type="user",
                actor_id="ada",
                resource_type=resource_type,
                resource_id=derived_uuid(self.tenant, EVENT_LOG),
                occurred_at=now_us(),
                payload=b'{"number":%d}' % number,
            )
            for number in range(count)
        )
        [receipts] = await self.store.append(self.tenant, [Write(events)])
        assert isinstance(receipts, list)
        assert not [receipt.error for receipt in receipts if receipt.error]
        return [event.id for event in events]

    async def events(self, *types: str) -> list[Any]:
        """The events of the log of these types."""
        return (await self.store.read_feed(Viewer(self.tenant), Query(event_types=types), 0, 1_000)).events

    async def states(self, webhook_id: str) -> dict[int, int]:
        """How many deliveries are in each state."""
        return await self.followers.count_deliveries(self.tenant, webhook_id)

    async def deliveries(self, webhook_id: str) -> Sequence[Delivery]:
        """Every delivery by position."""
        return await self.followers.list_deliveries(self.tenant, DeliveryFilter(webhook_id), 10_000)

    async def progress(self, webhook_id: str) -> Progress:
        """What a webhook remembers, as it is saved."""
        place = await self.followers.get_place(self.tenant, place_name(webhook_id))
        return Progress() if place is None else msgspec.json.decode(place.state or b"{}", type=Progress)

    async def until(self, webhook_id: str, seconds: float = 20.0, **wanted: int) -> None:
        """Wait until so many deliveries are in each state."""
        states = {("pending", "delivered", "failed").index(name): count for name, count in wanted.items()}

        async def holds() -> bool:
            return {state: count for state, count in (await self.states(webhook_id)).items() if count} == states

        await eventually(holds, seconds)

    async def is_enabled(self, webhook_id: str) -> bool:
        """Whether a webhook is switched on."""
        return (await self.webhook(webhook_id)).enabled

    async def has_gap(self, webhook_id: str) -> bool:
        """Whether a webhook remembers a gap."""
        return bool((await self.progress(webhook_id)).gaps)

    async def places(self) -> list[str]:
        """The names of the places of the tenant."""
        return [place.name for place in await self.followers.list_places(self.tenant)]

    def work(self) -> WebhookDelivery:
        """What delivers, for one tenant or for several."""
        return WebhookDelivery(self.store, SEALER, self.sender, times=self.times)

    def start(self, work: WebhookDelivery | None = None) -> None:
        """Begin to deliver."""
        work = work or self.work()
        self._task = asyncio.create_task(work.follow(self.tenant, self.definitions))

    async def kill(self) -> None:
        """End it, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Delivering"]:
        """Deliver until the end of the block."""
        self.start()
        try:
            yield self
        finally:
            await self.kill()


@contextlib.asynccontextmanager
async def delivering(engine: str, folder: Path, **options: Any) -> AsyncIterator[Delivering]:
    """An empty store of an engine, and the work on it, which is not begun."""
    url = f"sqlite:///{folder}/whence.db" if engine == "sqlite" else await fresh_database()
    store = create_store(url)
    await store.check_servable()
    made = Delivering(store, **options)
    try:
        yield made
    finally:
        await made.kill()
        await made.sender.close()
        await store.close()


async def found(awaited: Awaitable[Any]) -> bool:
    """Whether there is any."""
    return bool(await awaited)


async def missing(awaited: Awaitable[Any]) -> bool:
    """Whether there is none."""
    return not await awaited


async def equal(awaited: Awaitable[Any], wanted: object) -> bool:
    """Whether it is this."""
    return bool(await awaited == wanted)
