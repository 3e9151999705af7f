"""A process that does a removal is killed by SIGKILL at every step; the next one ends as the first would have."""

import asyncio
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import TENANT, new, stored
from tests.examples import soak
from tests.storage.removal_histories import SECRET, Fuse, in_process
from tests.storage.removal_work import AGED, MALLORY, announced, asked, later, with_payload
from whence.removal import DONE, RemovalWork, request_of
from whence.sealer import Sealing
from whence.storage import create_store, verify_store

pytestmark = pytest.mark.slow

STEPS_MAX = 300
STRIDE = 1 if soak() else 15
"""Of so many steps one is tried, another one in each run."""


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


async def work(url: str, request_id: str, fuse: Fuse) -> None:
    """Finish the request, in a process that seals and ends when the fuse has burnt down."""
    store: Any = create_store(url)
    fuse.attach(store)
    sealing = asyncio.create_task(seal(store))
    await RemovalWork(store, seals=True, clock=later).finish(TENANT, request_id)
    sealing.cancel()
    await asyncio.wait([sealing])
    await store.close()


async def seal(store: Any) -> None:
    """Sign the state of the log, again and again."""
    sealing = Sealing(store, SECRET, "log.example")
    while True:
        await sealing.seal(TENANT)
        await asyncio.sleep(0.01)


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
    """Before and after each change of the store, and within its transactions: the log is sound then, and in the end."""
    first = tmp_path / "first.db"
    request_id = asyncio.run(prepare(f"sqlite:///{first}", kind))
    done = ((4, 0, 4), [[1, 2, 3, 4], [1, 2, 3, 4]]) if kind == "erasure" else ((0, 4, None), [[1, 2, 3, 4]])
    for step in range(time.time_ns() % STRIDE, STEPS_MAX, STRIDE):
        path = tmp_path / f"{step}.db"
        for ending in ("", ".high"):
            shutil.copy(f"{first}{ending}", f"{path}{ending}")
        url = f"sqlite:///{path}"
        is_over = in_process(partial(work, url, request_id, Fuse(step)))
        assert asyncio.run(verify_store(url)).findings == [], step
        if is_over:
            break
        assert in_process(partial(work, url, request_id, Fuse(10**9)))
        assert asyncio.run(end_of(url, request_id)) == (*done, [], True), step
    assert is_over
    assert step > 30
