"""Following a log from Python: each event once, in order, whatever happens to the connection."""

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import Served, event, serving
from tests.unit.mutants import catches
from whence.client import AsyncWhence, Unreachable, Whence, following
from whence.errors import Invalid, PositionGone, Throttled, Unauthenticated
from whence.permissions import READ, WRITE

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("follow")) as running:
        yield running


@pytest.fixture
def tenant() -> str:
    """A tenant that no test has used."""
    return f"follow-{next(_numbers)}"


def no_sleep(_seconds: float) -> None:
    """Instead of the waits between attempts."""
    time.sleep(0.001)


def store(served: Served, tenant: str, count: int, **fields: Any) -> None:
    with Whence(served.url, served.key(WRITE, tenant=tenant)) as log:
        log.batch([event(**fields) for _ in range(count)])


class Unreliable:
    """Sends requests, and loses some of them and some of their responses."""

    def __init__(self, log: Any, draw: random.Random) -> None:
        self.real, self.draw, self.lost = log.send, draw, 0
        log.send = self

    def __call__(self, request: Any) -> Any:
        if self.draw.random() < 0.3:
            self.lost += 1
            raise Unreachable("The request was lost.")
        response = self.real(request)
        if self.draw.random() < 0.3:
            self.lost += 1
            raise Unreachable("The response was lost.", connected=True)
        return response


class UnreliableAsync(Unreliable):
    async def __call__(self, request: Any) -> Any:
        if self.draw.random() < 0.3:
            raise Unreachable("The request was lost.")
        response = await self.real(request)
        if self.draw.random() < 0.3:
            raise Throttled("The response was lost.")
        return response


def from_the_start_again(patch: pytest.MonkeyPatch) -> None:
    """A request that is repeated asks from the beginning."""

    def repeat(self: Any, _error: Exception) -> None:
        self._next = 0

    patch.setattr(following.FollowState, "repeat", repeat)


def goes_on_too_far(patch: pytest.MonkeyPatch) -> None:
    """A lost response counts as read."""
    real = following.FollowState.request

    def request(self: Any) -> Any:
        made = real(self)
        if isinstance(self._next, int):
            self._next += 1
        return made

    patch.setattr(following.FollowState, "request", request)


@catches(from_the_start_again, goes_on_too_far)
def test_each_event_comes_once_over_a_connection_that_breaks(served: Served, tenant: str) -> None:
    """While others write; the reader starts anew at random, after the position of its last event."""
    draw = random.Random(7)

    def write() -> None:
        for _ in range(25):
            store(served, tenant, draw.randint(1, 9))
        store(served, tenant, 1, actorId="the end")

    writing = threading.Thread(target=write)
    seen: list[int] = []
    retried: list[Exception] = []
    with Whence(served.url, served.key(READ, tenant=tenant), sleep=no_sleep) as log:
        unreliable = Unreliable(log, random.Random(8))
        writing.start()
        after: Any = 0
        last = None
        while last is None or last.actor_id != "the end":
            coming = log.follow(after=after, on_retry=retried.append)
            for last in itertools.islice(coming, random.Random(len(seen)).randint(1, 40)):
                assert isinstance(last.position, int)
                seen.append(last.position)
                after = coming.after
                if last.actor_id == "the end":
                    break
        writing.join()
        assert seen == [*range(1, served.wait(served.store.head(tenant)).size + 1)]
        assert len(retried) == unreliable.lost > 0


async def test_the_same_for_asyncio(served: Served, tenant: str) -> None:
    """With the same arguments, and with the filters of lists."""
    store(served, tenant, 30)
    store(served, tenant, 3, actorId="ana")
    seen: list[Any] = []

    async def brief(_seconds: float) -> None:
        await asyncio.sleep(0)

    async with AsyncWhence(served.url, served.key(READ, tenant=tenant), sleep=brief) as log:
        UnreliableAsync(log, random.Random(9))
        coming = log.follow(since="start", actor_id="ana", include="recordedAt")
        async for each in coming:
            seen.append(each.position)
            assert each.recorded_at
            if len(seen) == 3:
                threading.Thread(target=store, args=(served, tenant, 1), kwargs={"actorId": "ana"}).start()
            if len(seen) == 4:
                break
    assert seen == [31, 32, 33, 34]
    assert coming.after == 34


def test_it_begins_with_what_is_stored_next(served: Served, tenant: str) -> None:
    """By default; `since` begins earlier."""
    store(served, tenant, 3)
    with Whence(served.url, served.key(READ, tenant=tenant)) as log:
        assert next(log.follow(since="-1h")).position == next(log.follow(since="start")).position == 1
        coming = log.follow()
        assert coming.after is None
        later = threading.Timer(0.3, store, args=(served, tenant, 1))
        later.start()
        assert next(coming).position == 4
        with pytest.raises(Invalid, match="either after or since"):
            log.follow(after=1, since="now")


def test_a_narrowed_key_goes_on_by_tokens(served: Served, tenant: str) -> None:
    """Its events have no position. The place changes with the last event of a response."""
    store(served, tenant, 4)
    store(served, tenant, 3, resourceType="decision")
    with Whence(served.url, served.key(f"{READ}:decision", tenant=tenant)) as log:
        coming = log.follow(since="start")
        assert [next(coming).position for _ in range(2)] == [None, None]
        assert coming.after is None
        next(coming)
        assert isinstance(coming.after, str)
        store(served, tenant, 1, resourceType="decision", actorId="ana")
        assert next(log.follow(after=coming.after)).actor_id == "ana"


def test_errors_that_no_repeat_mends_are_raised(served: Served, tenant: str) -> None:
    """A credential that is not valid, a place that cannot be read, and events that are no longer kept."""
    store(served, tenant, 5)
    with Whence(served.url, "whk_x") as log, pytest.raises(Unauthenticated):
        next(log.follow())
    with Whence(served.url, served.key(READ, tenant=tenant)) as log:
        with pytest.raises(Invalid, match="after"):
            next(log.follow(after=99))
        served.wait(_retain_from(served, tenant, 4))
        with pytest.raises(PositionGone) as gone:
            next(log.follow(after=1))
        assert gone.value.resume_after == 3
        assert next(log.follow(after=gone.value.resume_after)).position == 4


async def _retain_from(served: Served, tenant: str, position: int) -> None:
    sql = f"UPDATE tenant SET retained_from = {position} WHERE tenant = '{tenant}'"
    store: Any = served.store
    await store._writer.submit(lambda connection: connection.execute(sql).fetchall())


def test_a_short_time_limit_leaves_no_time_to_wait(served: Served, tenant: str) -> None:
    """Then the client waits between its requests instead."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        store(served, tenant, 1)

    with Whence(served.url, served.key(READ, tenant=tenant), timeout_s=2.0, sleep=sleep) as log:
        assert next(log.follow()).position == 1
    assert [round(seconds, 1) for seconds in slept] == [1.0]


def test_a_busy_log_is_not_asked_for_each_event(served: Served, tenant: str) -> None:
    """A request finds what was stored in a tenth of a second."""
    with Whence(served.url, served.key(READ, tenant=tenant)) as log:
        requests = []
        real = log.send
        log.send = lambda request: (requests.append(request), real(request))[1]  # type: ignore[method-assign]  # counted
        coming = log.follow(since="start")
        writing = threading.Thread(target=lambda: [store(served, tenant, 1) for _ in range(40)])
        writing.start()
        began = time.monotonic()
        assert [next(coming).position for _ in range(40)] == [*range(1, 41)]
        writing.join()
        assert len(requests) <= 4 + 10 * (time.monotonic() - began)
