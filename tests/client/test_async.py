"""The async client against a real server: the same methods and results."""

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import Served, event, serving
from tests.client.fake_server import fake_server, unavailable
from whence.client import AsyncWhence, EmittedEvent, Unreachable, Whence
from whence.errors import Invalid, NotFound
from whence.permissions import READ, WRITE


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("async")) as running:
        yield running


def test_sync_and_async_have_the_same_methods() -> None:
    """With the same parameters."""
    for name, member in inspect.getmembers(Whence, inspect.isfunction):
        if not name.startswith("_"):
            twin = inspect.signature(getattr(AsyncWhence, name))
            assert list(twin.parameters) == list(inspect.signature(member).parameters), name


async def test_every_call_works(served: Served) -> None:
    """Queued and durable events, batches, pages, traces, counts and errors."""
    async with AsyncWhence(served.url, served.key(READ, WRITE, tenant="async")) as log:
        queued = await log.emit(event())
        assert isinstance(queued, EmittedEvent)
        assert await log.flush()
        stored = await log.emit(event(), durable=True)
        assert (await log.get(stored.event.id)) == stored.event
        assert len((await log.batch([event(), event()])).results) == 2
        assert {each.id async for each in log.events(limit=1)} >= {queued.id, stored.event.id}
        assert len([page async for page in log.pages(limit=3)]) == 2
        async with asyncio.timeout(20):
            child = await log.emit(event(causationId=stored.event.id), durable=True)
        assert [node.id for node in (await log.why(child)).nodes] == [stored.event.id, child.event.id]
        assert [node.id for node in (await log.effects(stored)).nodes] == [stored.event.id, child.event.id]
        assert [(each.causes, each.effects) for each in await log.reach(child, stored)] == [(1, 0), (0, 1)]
        assert (await log.trace(stored, include="rows")).nodes[1].verb == "completed"
        assert (await log.aggregate()).total == (await log.actor_stats()).actors[0].total == 5
        assert (await log.histogram(interval="1h")).total == 5
        assert (await log.facets()).total == 5
        (planner,) = [each async for each in log.actors()]
        assert planner.total == (await log.actor(planner.actor_type, planner.actor_id)).total == 5
        assert (await log.resource_summary("action_run", stored.event.resource_id)).events == 5
        with pytest.raises(NotFound) as caught:
            await log.get("0192d3f0-0000-7000-8000-00000000abcd")
        assert caught.value.request_id is not None
        with pytest.raises(Invalid):
            await log.emit(event(eventType="x"), durable=True)


async def test_connection_failures_are_retried(tmp_path: Path) -> None:
    """`retries` times, with waits that do not block the event loop."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with AsyncWhence("http://127.0.0.1:1", "whk_x", retries=2, sleep=sleep) as log:
        with pytest.raises(Unreachable):
            await log.emit(event(), durable=True)
    assert len(slept) == 2


async def test_spooling_does_not_block_the_event_loop(tmp_path: Path) -> None:
    """While the server is unavailable, threads spool the events."""
    with fake_server() as server:
        server.rule = unavailable
        log = AsyncWhence(server.url, "whk_x", spool=tmp_path / "spool", queue_events_max=5, exit_timeout_s=0.05)
        emitted = [await log.emit(event()) for _ in range(30)]
        assert emitted[5].spooled  # the first one without room
        assert not await log.close()
        assert log.stats().emitted == 30
