"""Random histories of a log with holds, erasures, retention and late effects, whose removals are done by processes
that are killed by SIGKILL anywhere."""

import asyncio
import gc
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from tests.contract.histories import ANNOUNCED_AT, History
from tests.contract.made import DAY, NOON, TENANT, stored, uuid
from whence.events import Query
from whence.quotations import READ_TYPES
from whence.removal import RemovalWork
from whence.retention import Hold, Policy, RemovalRequest, TypeRule
from whence.sealer import Sealing
from whence.sealing import StoreSecret
from whence.storage import create_store, verify_store
from whence.storage.followers import Definition
from whence.storage.postgres import purge as postgres_purge
from whence.storage.postgres import removals as postgres_removals
from whence.storage.removals import HOLD, REMOVAL
from whence.storage.sqlite import purge as sqlite_purge
from whence.storage.sqlite import removals as sqlite_removals
from whence.storage.sqlite.erasure_ledger import ErasureLedger
from whence.wire.ids import new_uuid7
from whence.wire.log_events import log_event

SECRET = StoreSecret("the secret of the store that is sealed here", is_shared=True)
BY = ("api_key", "key_0000000000000000")

STEPS = 40
"""The longest way that a process goes before it is killed, in steps of `Fuse`. A removal alone has some 20 to 60."""

INSIDE: tuple[tuple[Any, str], ...] = (
    (ErasureLedger, "add"),
    (sqlite_removals, "forget_payload_values"),
    (sqlite_removals, "forget_content"),
    (sqlite_purge, "tile_leaves"),
    (sqlite_removals, "prepare_purge"),
    (sqlite_purge, "_remove_transitions"),
    (sqlite_purge, "_reduce"),
    (sqlite_purge, "_take_from_names"),
    (sqlite_purge, "forget_deliveries"),
    (postgres_removals, "forget_payload_values"),
    (postgres_removals, "forget_content"),
    (postgres_removals, "purge_events"),
    (postgres_purge, "_begin"),
    (postgres_purge, "_subtract"),
)
"""What is called within the transaction of a removal, and to prepare it."""


class Fuse:
    """Ends this process by SIGKILL at a step: after some steps, or before the next one."""

    def __init__(self, steps: int) -> None:
        """A call is a step before and a step after it."""
        self.left = steps

    def step(self) -> None:
        """Go on by a step."""
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def lay(self, *places: tuple[Any, str]) -> None:
        """Put a step before and after each of these functions of an object or class, for the rest of this process."""
        for owner, name in places:
            setattr(owner, name, self.around(getattr(owner, name)))

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with a step before it and one after it."""
        if asyncio.iscoroutinefunction(method):

            async def called(*arguments: Any, **named: Any) -> Any:
                self.step()
                result = await method(*arguments, **named)
                self.step()
                return result

            return called

        def call(*arguments: Any) -> Any:
            self.step()
            result = method(*arguments)
            self.step()
            return result

        return call

    def attach(self, store: Any) -> None:
        """Burn with everything that changes the store, and within its transactions."""
        for owner, name in (
            *((store.followers, name) for name in ("put_definition", "delete_definition")),
            *((store.removals, name) for name in ("erase_payloads", "purge", "erase_actor", "scrub")),
            *((store.seals, name) for name in ("put_tiles", "record_signed", "put_checkpoints")),
            (store, "append"),
            *INSIDE,
        ):
            setattr(owner, name, self.around(getattr(owner, name)))


def in_process(work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Run this in a process of its own. Whether it came to its end; False when it was killed."""
    child = os.fork()
    if not child:
        code = 1
        gc.freeze()  # what the parent has made would be searched for garbage, and copied page by page
        try:
            asyncio.run(work())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "The process failed; see its traceback."
    return True


class KilledHistory:
    """A random history of one store. Each process that works on it is a fork, so this one has no connection."""

    def __init__(self, url: str, seed: int) -> None:
        self.url, self.random = url, random.Random(seed)
        self.seals = self.random.random() < 0.5
        self.kills = self.checks = 0

    def run(self, rounds: int = 3) -> None:
        """Let it happen. Raises AssertionError for a false alarm."""
        sent = 0
        for _ in range(rounds):
            sent += 100
            assert in_process(partial(self._happen, self.random.randrange(10**9), sent))
            self._check()
            while not in_process(partial(self._work, Fuse(self.random.randint(0, STEPS)))):
                self.kills += 1
                self._check()
                if self.random.random() < 0.4:
                    assert in_process(partial(self._change_holds, self.random.randrange(10**9)))
            self._check()

    def _check(self) -> None:
        self.checks += 1
        report = asyncio.run(verify_store(self.url))
        assert report.findings == [], report.findings

    async def _happen(self, seed: int, sent: int) -> None:
        """Some events, some holds, and some requests."""
        store, draw = create_store(self.url), random.Random(seed)
        history = History(store, seed)
        history.sent = sent
        history.size = (await store.head(TENANT)).size
        await history.add(draw.randint(5, 25))
        if draw.random() < 0.5:
            await self._place_hold(store, draw)
        for _ in range(draw.randint(1, 2)):
            await self._ask(store, draw, sent)
        await self._record_reads(store, draw, sent)
        await store.close()

    async def _record_reads(self, store: Any, draw: random.Random, sent: int) -> None:
        """Records of reads, of which some quote a payload or an actor."""
        for query in (f"payload.n={draw.randint(1, sent + 25)}", f"q=actor:user/a{draw.randint(0, 5)}"):
            payload = {"path": "/api/v1/events", "query": query}
            await stored(store, log_event(TENANT, READ_TYPES[0], payload, event_id=new_uuid7(), at=ANNOUNCED_AT))

    async def _ask(self, store: Any, draw: random.Random, sent: int) -> None:
        size = (await store.head(TENANT)).size
        values: dict[str, Any] = {"as_of": draw.randint(1, size), "created_at": time.time_ns() // 1_000 + 400 * DAY}
        values["kind"] = draw.choice(("erasure", "erasure", "retention"))
        if values["kind"] == "retention":
            rules = (TypeRule(event_type="job.*", max_age_days=1),) if draw.random() < 0.5 else ()
            values["policy"] = Policy(max_age_days=365 if draw.random() < 0.8 else None, rules=rules)
        elif draw.random() < 0.3:
            values["event_ids"] = tuple(uuid(draw.randint(1, sent + 25)) for _ in range(5))
        else:
            values["query"] = Query(actors=(f"user/a{draw.randint(0, 5)}",))
            values["pseudonym"] = f"erased-{draw.randrange(10**9)}" if draw.random() < 0.6 else None
        request = RemovalRequest(reason="because", by=BY, **values)
        body = msgspec.json.encode(request)
        await store.followers.put_definition(Definition(TENANT, REMOVAL, new_uuid7(), 1, body))

    async def _place_hold(self, store: Any, draw: random.Random) -> None:
        query = draw.choice((Query(correlation_ids=(f"f{draw.randint(0, 6)}",)), Query(actor_ids=("a1",))))
        body = msgspec.json.encode(Hold(query=query, q="", reason="a case", by=BY, created_at=NOON))
        await store.followers.put_definition(Definition(TENANT, HOLD, new_uuid7(), 1, body))
        await store.removals.settle(TENANT)

    async def _change_holds(self, seed: int) -> None:
        """Place a hold or release one, after a process was killed in the middle of a removal."""
        store, draw = create_store(self.url), random.Random(seed)
        holds = await store.followers.list_definitions(HOLD, TENANT)
        if holds and draw.random() < 0.5:
            await store.followers.delete_definition(TENANT, HOLD, draw.choice(holds).id)
        else:
            await self._place_hold(store, draw)
        await store.close()

    async def _work(self, fuse: Fuse) -> None:
        """Finish the requests, in a process that may be killed."""
        store = create_store(self.url)
        fuse.attach(store)
        sealing = asyncio.create_task(self._seal(store)) if self.seals else None
        work = RemovalWork(store, seals=self.seals, clock=lambda: time.time_ns() // 1_000 + 400 * DAY)
        for definition in sorted(await store.followers.list_definitions(REMOVAL, TENANT), key=lambda each: each.id):
            await work.finish(TENANT, definition.id)
        if sealing is not None:
            sealing.cancel()
        await asyncio.sleep(0)
        await store.close()

    async def _seal(self, store: Any) -> None:
        sealing = Sealing(store, SECRET, "log.example")
        while True:
            await sealing.seal(TENANT)
            await asyncio.sleep(0.01)
