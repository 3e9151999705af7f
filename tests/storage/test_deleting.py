"""The work of deletions on each store: the final checkpoint is handed out first, and whatever interrupts the removal of
rows, it ends as it would have."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import TENANT, new, numbers, stored
from tests.databases import fresh_database
from tests.unit.mutants import catches, replaced
from whence import deleting
from whence.deleting import FormerLogs, delete_stragglers, delete_tenant
from whence.permissions import new_api_key
from whence.sealer import Sealing
from whence.sealing import StoreSecret
from whence.storage import create_store, verify_store
from whence.storage.deletions import DeletionRefused, LogGrew
from whence.storage.followers import Definition
from whence.storage.removals import HOLD, POLICY, REMOVAL
from whence.storage.seals import NewCheckpoint, SealedCheckpoint

pytestmark = pytest.mark.anyio

SECRET = StoreSecret("the secret of the store that is sealed here", is_shared=True)
OTHER = "other"


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> str:
    return f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else await fresh_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Any]:
    """A store with five sealed events of one tenant, and one of another."""
    opened = create_store(url)
    await stored(opened, *map(new, range(1, 6)))
    await stored(opened, new(1), tenant=OTHER)
    assert await sealing(opened).seal(TENANT)
    yield opened
    await opened.close()


def sealing(store: Any) -> Sealing:
    return Sealing(store, SECRET, "log.example")


async def once(store: Any) -> None:
    """Let the work of a server run until it has nothing to do."""
    task = asyncio.create_task(FormerLogs(store).run())
    for _ in range(200):
        if not await store.deletions.former_logs():
            break
        await asyncio.sleep(0.02)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def unchecked(store: Any, tenant: str, _head: Any, _until: float) -> bytes:
    """Mutant: whatever checkpoint there is."""
    newest = await store.seals.list_checkpoints(tenant, None, 1)
    return newest[0].note.encode() if newest else b""


@catches(replaced(deleting, "_final_checkpoint", unchecked, "any_checkpoint_will_do"))
async def test_only_the_checkpoint_of_the_whole_log_will_do(store: Any) -> None:
    """An earlier one is not handed out, and nothing goes. Nor is one that the log's key has not signed."""
    kept: list[bytes] = []
    await stored(store, new(6))
    with pytest.raises(DeletionRefused, match="covers the whole log"):
        await delete_tenant(store, TENANT, kept.append, patience_s=0)
    [origin] = await store.seals.list_origins(TENANT)
    head = await store.head(TENANT)
    forged = SealedCheckpoint(1, 6, head.root, 0, f"{origin.name}\n6\n{head.root.hex()}\n\n— somebody AAAA\n")
    assert await store.seals.put_checkpoints([NewCheckpoint(TENANT, forged, 5)]) == [True]
    with pytest.raises(DeletionRefused, match="not one of this log"):
        await delete_tenant(store, TENANT, kept.append, patience_s=0)
    assert kept == []
    assert len(await numbers(store)) == 6


async def test_a_log_that_grows_meanwhile_has_another_last_checkpoint(store: Any) -> None:
    """The deletion goes on with that one, so that the file has the whole log. One that keeps growing is not deleted."""
    kept: list[bytes] = []
    tasks: list[Any] = []
    deletions = type(store.deletions)
    real = deletions.delete_tenant

    async def grow(self: Any, tenant: str, deletion: Any) -> None:
        if len(kept) == 1:
            await stored(store, new(6))
            tasks.append(asyncio.create_task(sealing(store).seal(TENANT)))
        await real(self, tenant, deletion)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletions, "delete_tenant", grow)
        deleted = await delete_tenant(store, TENANT, kept.append)
    assert deleted.events == 6
    assert [note.decode().splitlines()[1] for note in kept] == ["5", "6"]
    assert await numbers(store) == []

    async def never(_self: Any, _tenant: str, _deletion: Any) -> None:
        raise LogGrew("It has grown.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletions, "delete_tenant", never)
        with pytest.raises(LogGrew):
            await delete_tenant(store, OTHER, None, patience_s=0)


async def test_of_two_deletions_at_once_one_is_refused(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever agreed to delete five events has not agreed to delete what the next tenant of the name has."""
    deletions = type(store.deletions)
    real = deletions.delete_tenant

    async def after_another(self: Any, tenant: str, deletion: Any) -> None:
        await real(self, tenant, deletion)
        await stored(store, new(9))
        await real(self, tenant, deletion)

    with monkeypatch.context() as patch:
        patch.setattr(deletions, "delete_tenant", after_another)
        with pytest.raises(DeletionRefused, match="Somebody else"):
            await delete_tenant(store, TENANT, None)
    assert await numbers(store) == [9]


async def test_what_a_server_had_accepted_goes_too(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until nothing comes any more. The next tenant of the name, which has a key, is left alone."""
    more = [7, 8]

    async def wait(_seconds: float) -> None:
        if more:
            await stored(store, new(more.pop()))

    monkeypatch.setattr(asyncio, "sleep", wait)
    await delete_tenant(store, TENANT, None)
    assert await delete_stragglers(store, TENANT) == 2
    assert TENANT not in await store.tenants()
    assert [former.size for former in await store.deletions.former_logs(TENANT)] == [5, 1, 1]
    more += [9]
    _, key = new_api_key(TENANT, ("admin",), time.time_ns() // 1_000)
    await store.credentials.put_key(key)
    assert await delete_stragglers(store, TENANT) == 0
    assert await numbers(store) == [9]


@pytest.mark.parametrize("events", [0, 1])
async def test_what_was_set_meanwhile_goes_too(store: Any, monkeypatch: pytest.MonkeyPatch, events: int) -> None:
    """Otherwise the next tenant of the name would have the policy of retention of the former one, and lose events. What
    the server finishes by itself, such as an erasure, does not hold it up."""
    kinds = [HOLD, POLICY] if events else [HOLD, POLICY, REMOVAL]

    async def wait(_seconds: float) -> None:
        if kinds:
            await stored(store, *(new(number) for number in range(events)))
        while kinds:
            await store.followers.put_definition(Definition(TENANT, kinds.pop(), "one", 1, b"{}"))

    await delete_tenant(store, TENANT, None)
    monkeypatch.setattr(asyncio, "sleep", wait)
    await delete_stragglers(store, TENANT)
    for kind in (HOLD, POLICY, REMOVAL):
        assert await store.followers.list_definitions(kind, TENANT) == []


async def test_events_by_other_tokens_do_not_hold_up_a_deletion(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may come for ever."""
    coming = iter(range(20, 90))

    async def wait(_seconds: float) -> None:
        await stored(store, new(next(coming)))

    monkeypatch.setattr(asyncio, "sleep", wait)
    await delete_tenant(store, TENANT, None)
    assert await delete_stragglers(store, TENANT) == 3


async def stopped(_store: Any) -> None:
    """Mutant: nobody goes on."""


@catches(replaced(deleting, "remove_former_logs", stopped, "nobody_goes_on"))
async def test_whatever_stops_the_removal_the_next_process_goes_on(store: Any, url: str) -> None:
    """After each transaction of a deletion the store is sound, and another process ends it."""
    await delete_tenant(store, TENANT, None)
    [former] = await store.deletions.former_logs()
    assert (former.tenant, former.size, former.epoch) == (TENANT, 5, 1)
    assert (await verify_store(url)).sound
    for _ in range(4):
        assert await store.deletions.remove_rows(former.number, 2)
        assert (await verify_store(url)).sound
    await stored(store, new(1))
    assert not await store.deletions.remove_rows(former.number + 1, 2)  # which is no former log
    again = create_store(url, serving=False)
    await once(again)
    assert await again.deletions.former_logs() == []
    await again.close()
    assert (await verify_store(url)).sound
    assert await numbers(store) == await numbers(store, OTHER) == [1]
