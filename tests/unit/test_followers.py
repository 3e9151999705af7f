"""The worker: one process for each kind of follower, a task for each tenant, and the end of a lease."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.unit.mutants import catches, replaced
from whence import followers
from whence.errors import Unavailable
from whence.followers import Definitions, Worker
from whence.storage.followers import Definition


def definition(tenant: str, number: int = 1, version: int = 1) -> Definition:
    return Definition(tenant, "kind", f"{number}", version, b"{}")


class Leases:
    """What a worker asks of a store: definitions, and leases that end."""

    def __init__(self, *found: Definition) -> None:
        self.found = list(found)
        self.owner: str | None = None
        self.ends_at = 0.0
        self.taken: list[str] = []
        self.down = False
        self.followers = self

    async def list_definitions(self, _kind: str) -> list[Definition]:
        if self.down:
            raise Unavailable("away")
        return list(self.found)

    async def take_lease(self, _name: str, owner: str, seconds: float) -> bool:
        self.taken.append(owner)
        now = asyncio.get_running_loop().time()
        if self.owner not in (None, owner) and now < self.ends_at:
            return False
        self.owner, self.ends_at = owner, now + seconds
        return True

    async def release_lease(self, _name: str, owner: str) -> None:
        if self.owner == owner:
            self.owner = None


class Noted:
    """Work that notes who is followed."""

    kind = "kind"

    def __init__(self, fails: Sequence[BaseException] = ()) -> None:
        self.running: set[str] = set()
        self.begun: list[str] = []
        self.seen: list[tuple[Definition, ...]] = []
        self.fails = list(fails)

    async def follow(self, tenant: str, definitions: Definitions) -> None:
        self.begun.append(tenant)
        if self.fails:
            raise self.fails.pop(0)
        self.running.add(tenant)
        definitions.lags["x"] = 7
        try:
            while True:
                self.seen.append(definitions.current)
                await definitions.wait(60)
        finally:
            self.running.discard(tenant)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become hundredths."""
    monkeypatch.setattr(followers, "LEASE_S", 0.2)
    monkeypatch.setattr(followers, "_KEEP_S", 0.01)
    monkeypatch.setattr(followers, "_AGAIN_S", 0.01)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  (nobody says when it becomes true)
            await asyncio.sleep(0.002)


def started(store: Leases, work: Noted) -> tuple[Worker, "asyncio.Task[None]"]:
    worker = Worker(store, [work])  # type: ignore[arg-type]  # the rest of a store is not used
    return worker, asyncio.create_task(worker.run())


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_each_tenant_with_definitions_is_followed() -> None:
    """Those that come later too. A change reaches the task that runs. Without definitions no lease is taken."""

    async def run() -> None:
        store, work = Leases(), Noted()
        worker, task = started(store, work)
        await asyncio.sleep(0.05)
        assert store.taken == []
        store.found = [definition("acme"), definition("other")]
        await until(lambda: work.running == {"acme", "other"})
        assert worker.lags == [7, 7]
        store.found[0] = definition("acme", version=2)
        await until(lambda: (store.found[0],) in work.seen)
        assert work.begun.count("acme") == 1
        store.found = store.found[1:]
        await until(lambda: work.running == {"other"})
        await ended(task)
        assert work.running == set()
        assert store.owner is None

    asyncio.run(run())


async def unleased(worker: Any, kind: str) -> Any:
    return await worker._store.list_definitions(kind)


@catches(replaced(Worker, "_definitions_of", unleased, "no_lease"))
def test_one_process_follows() -> None:
    """The other takes over when the first ends, at once, or when its lease does."""

    async def run() -> None:
        store, first, second = Leases(definition("acme")), Noted(), Noted()
        _, task = started(store, first)
        await until(lambda: first.running)
        worker, other = started(store, second)
        await until(lambda: len(set(store.taken)) == 2 or second.running)
        assert not second.running
        task.cancel()
        await until(lambda: second.running)
        assert not first.running
        # Another owner has it, as after a pause of this process that was longer than the lease.
        store.owner, store.ends_at = "a third", asyncio.get_running_loop().time() + 60
        await until(lambda: not second.running)
        store.ends_at = 0
        await until(lambda: second.running)
        assert worker.lags == [7]
        await ended(other)

    asyncio.run(run())


def test_an_error_harms_no_other_tenant() -> None:
    """The task begins again, and the others go on. While the store is away none works, since the lease may end."""

    async def run() -> None:
        store = Leases(definition("acme"), definition("other"))
        work = Noted([Unavailable("not now"), ValueError("a bug")])
        _, task = started(store, work)
        await until(lambda: work.running == {"acme", "other"})
        assert len(work.begun) == 4
        store.down = True
        await until(lambda: not work.running)
        store.down = False
        await until(lambda: work.running == {"acme", "other"})
        await ended(task)

    asyncio.run(run())
