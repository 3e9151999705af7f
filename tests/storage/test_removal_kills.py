"""A process that does a removal is killed by SIGKILL at every step; the next one ends as the first would have."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import TENANT, new, stored
from tests.storage.test_removal_work import AGED, MALLORY, announced, asked, later, with_payload
from whence.removal import DONE, RemovalWork, request_of
from whence.storage import create_store, verify_store

pytestmark = pytest.mark.slow

STEPS_MAX = 60


def kill_after(method: Callable[..., Awaitable[Any]], left: list[int]) -> Callable[..., Awaitable[Any]]:
    """The method, which ends this process once it has been called so often."""

    async def call(*arguments: Any) -> Any:
        result = await method(*arguments)
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


async def prepare(url: str, kind: str) -> str:
    """A store with four events and a request; returns its id."""
    store = create_store(url)
    events = [new(number, actor_id="mallory", payload=b'{"a":1}') for number in range(1, 5)]
    await stored(store, *events)
    request_id = await (
        asked(store, query=MALLORY, pseudonym="erased-1")
        if kind == "erasure"
        else asked(store, kind="retention", policy=AGED)
    )
    await store.close()
    return request_id


async def work(url: str, request_id: str, step: int | None) -> None:
    """Finish the request, in a process that ends after this step."""
    store = create_store(url)
    left = [step] if step is not None else [STEPS_MAX]
    for owner, name in (
        *((store.followers, name) for name in ("put_definition", "delete_definition")),
        *((store.removals, name) for name in ("erase_payloads", "purge", "erase_actor", "scrub")),
        (store, "append"),
    ):
        setattr(owner, name, kill_after(getattr(owner, name), left))
    await RemovalWork(store, seals=False, clock=later).finish(TENANT, request_id)
    await store.close()


async def end_of(url: str, request_id: str) -> tuple[Any, ...]:
    """How it ended: what the request has done, what was announced, what is left, and whether the store is sound."""
    store = create_store(url)
    definition = await store.followers.get_definition(TENANT, DONE, request_id)
    assert definition is not None
    request = request_of(definition)
    found = (request.payloads, request.events, request.renamed), await announced(store), await with_payload(store)
    await store.close()
    return (*found, (await verify_store(url)).sound)


@pytest.mark.parametrize("kind", ["erasure", "retention"])
def test_a_killed_process_changes_nothing_about_the_end(kind: str, tmp_path: Path) -> None:
    """After each change that the process makes in turn."""
    first = tmp_path / "first.db"
    request_id = asyncio.run(prepare(f"sqlite:///{first}", kind))
    wanted = None
    for step in range(STEPS_MAX):
        path = tmp_path / f"{step}.db"
        for ending in ("", ".high"):
            shutil.copy(f"{first}{ending}", f"{path}{ending}")
        url = f"sqlite:///{path}"
        child = os.fork()
        if not child:
            try:
                asyncio.run(work(url, request_id, step))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break
        asyncio.run(work(url, request_id, None))
        end = asyncio.run(end_of(url, request_id))
        wanted = wanted or end
        assert end == wanted, step
    assert wanted is not None and step > 6
    done = ((4, 0, 4), [[1, 2, 3, 4], []]) if kind == "erasure" else ((0, 4, None), [[1, 2, 3, 4]])
    assert wanted == (*done, [], True)
