"""The ingest queue under forced interleavings: each append of the store returns when the test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from tests.contract.made import new
from tests.unit.mutants import catches, replaced
from whence import ingest as ingest_module
from whence.errors import Busy, Invalid, Throttled, Unavailable, WhenceError
from whence.events import NewEvent
from whence.fairness import FairBudget
from whence.settings import Settings
from whence.storage import Receipt, Write

T = TypeVar("T")
Results = list[list[Receipt] | WhenceError]
Answer = Callable[[Sequence[Write]], Results]
HANG_S = 4
"""No test takes this long unless something hangs."""
TURNS = 50
"""Rounds of the event loop, after which everything that does not wait for the store has run."""


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def stored(writes: Sequence[Write]) -> Results:
    """A receipt for each event that holds its id, in place of a stored event."""
    return [[Receipt(replayed=True, error=Named(event.id)) for event in write.events] for write in writes]


class Named(WhenceError):
    """The id of the event that a receipt is for."""


class HeldStore:
    """A store whose appends return when a test says so, with the result that the test sets."""

    def __init__(self) -> None:
        self.appends: list[tuple[str, list[list[str]]]] = []
        self._held: list[tuple[str, Sequence[Write], asyncio.Future[Answer]]] = []

    async def append(self, tenant: str, writes: Sequence[Write]) -> Results:
        self.appends.append((tenant, [[event.id for event in write.events] for write in writes]))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._held.append((tenant, writes, future))
        return (await future)(writes)

    async def held(self, count: int = 1) -> None:
        """Return once this many appends are running."""
        for _ in range(TURNS):
            if len(self._held) >= count:
                return
            await asyncio.sleep(0)
        pytest.fail("an append that should be under way is not", pytrace=False)

    def release(self, answer: Answer | BaseException = stored, tenant: str | None = None) -> None:
        """Make the oldest running append, or that of a tenant, return or raise."""
        place = next(at for at, held in enumerate(self._held) if tenant in (None, held[0]))
        future = self._held.pop(place)[2]
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)


Scenario = Callable[[HeldStore, "ingest_module.Ingest"], Coroutine[Any, Any, None]]


def play(story: Scenario, events_max: int = 20_000) -> None:
    """Run a scenario. Fails when it hangs or leaves an exception unretrieved."""
    unseen: list[str] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context["message"]))
        store = HeldStore()
        ingest = ingest_module.Ingest(store, events_max)  # type: ignore[arg-type]  # it uses no other method of a store
        try:
            async with asyncio.timeout(HANG_S):
                await story(store, ingest)
        except TimeoutError:
            pytest.fail("somebody waits for ever", pytrace=False)
        assert not store._held, "the story is over, and so are its appends"
        assert ingest._events.used == 0, "nothing is counted that does not wait"
        assert not ingest._waiting

    asyncio.run(run())
    assert not unseen


def some(first: int, count: int = 1) -> list[NewEvent]:
    return [new(number) for number in range(first, first + count)]


def ids(events: Sequence[NewEvent]) -> list[str]:
    return [event.id for event in events]


def names(receipts: Sequence[Receipt]) -> list[str]:
    return [str(receipt.error) for receipt in receipts]


async def adding(
    ingest: "ingest_module.Ingest", events: list[NewEvent], tenant: str = "acme", **more: Any
) -> "asyncio.Task[list[Receipt]]":
    """Submit a request. Returns once it is in the queue."""
    task = asyncio.create_task(ingest.add(tenant, events, **more))
    await asyncio.sleep(0)
    return task


# --------------------------------------------------------------------------------------------------------- joining


def one_by_one(queue: Any) -> Any:
    return [queue.popleft()]


def last_first(queue: Any) -> Any:
    group = list(reversed(queue))
    queue.clear()
    return group


@catches(
    replaced(ingest_module, "_next_group", one_by_one, "nothing_is_joined"),
    replaced(ingest_module, "_next_group", last_first, "the_last_comes_first"),
)
def test_what_waits_is_joined_in_the_order_in_which_it_came() -> None:
    """A lone request is appended at once. Requests that arrive meanwhile share the next append; each gets its
    receipts."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        requests = [some(0), some(10, 3), some(20), some(30, 2)]
        tasks = [await adding(ingest, requests[0])]
        await store.held()
        tasks += [await adding(ingest, request) for request in requests[1:]]
        assert store.appends == [("acme", [ids(requests[0])])]
        store.release()
        await store.held()
        assert store.appends[1:] == [("acme", [ids(request) for request in requests[1:]])]
        await turns()
        assert tasks[0].done()
        assert not any(task.done() for task in tasks[1:]), "nobody is answered before the commit"
        store.release()
        assert [names(await task) for task in tasks] == [ids(request) for request in requests]

    play(story)


def test_a_lone_request_is_appended_alone() -> None:
    """Requests that arrive one after the other are each appended alone."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        for number in range(3):
            task = await adding(ingest, some(number), atomic=number == 1)
            await store.held()
            store.release()
            assert names(await task) == ids(some(number))
        assert store.appends == [("acme", [ids(some(number))]) for number in range(3)]

    play(story)


@catches(
    replaced(ingest_module, "_APPEND_EVENTS_MAX", 10**6, "an_append_without_end"),
    replaced(ingest_module, "_APPEND_EVENTS_MAX", 999, "an_event_less"),
)
def test_an_append_takes_up_to_1000_events() -> None:
    """A request that does not fit waits for the next append. Requests are never split, even above 1,000 events."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        sizes = [1, 600, 400, 1, 999, 1, 1200, 5]
        tasks = []
        for number, size in enumerate(sizes):
            tasks.append(await adding(ingest, some(number * 2_000, size)))
        for _ in range(6):
            await store.held()
            store.release()
        for task in tasks:
            await task
        found = [[len(request) for request in requests] for _, requests in store.appends]
        assert found == [[1], [600, 400], [1, 999], [1], [1200], [5]]

    play(story)


def test_atomic_requests_keep_their_word() -> None:
    """Each request keeps its own `atomic` when it is joined with others."""
    seen: list[bool] = []

    def noting(writes: Sequence[Write]) -> Results:
        seen.extend(write.atomic for write in writes)
        return stored(writes)

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        tasks = [await adding(ingest, some(number), atomic=number % 2 == 1) for number in range(4)]
        for _ in range(2):
            await store.held()
            store.release(noting)
        for task in tasks:
            await task
        assert seen == [False, True, False, True]

    play(story)


# --------------------------------------------------------------------------------------------------------- failures


def test_tenants_do_not_wait_for_each_other() -> None:
    """While the append of one tenant hangs, that of another succeeds; requests of different tenants are never
    joined."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        slow = await adding(ingest, some(1), "acme")
        await store.held()
        for number in (2, 3):
            quick = await adding(ingest, some(number), "globex")
            await store.held(2)
            store.release(tenant="globex")
            assert names(await quick) == ids(some(number))
        assert not slow.done()
        store.release()
        await slow
        assert [tenant for tenant, _ in store.appends] == ["acme", "globex", "globex"]

    play(story)


FAILURES = [Unavailable("The disk is full."), RuntimeError("a fault"), KeyError("x"), asyncio.CancelledError()]


class _Dying(ingest_module.Ingest):
    """Mutant: an error of the store ends the flush task."""

    async def _append(self, tenant: str, group: Any) -> Any:
        return await self._store.append(tenant, [request.write for request in group])

    def _answer(self, group: Any, results: Any) -> None:
        if not all(isinstance(result, Unavailable) for result in results):
            super()._answer(group, results)


@catches(replaced(ingest_module, "Ingest", _Dying, "a_failure_ends_the_flush"))
def test_a_failed_append_answers_its_requests_and_harms_no_other() -> None:
    """Each request of the group gets the store's error; later requests of this and other tenants succeed."""
    for failure in FAILURES:

        async def story(store: HeldStore, ingest: ingest_module.Ingest, failure: BaseException = failure) -> None:
            first = await adding(ingest, some(1))
            await store.held()
            joined = [await adding(ingest, some(2)), await adding(ingest, some(3, 2))]
            other = await adding(ingest, some(4), "globex")
            await store.held(2)
            store.release(tenant="acme")
            await first
            await store.held(2)
            store.release(failure, tenant="acme")
            for task in joined:
                with pytest.raises(Unavailable):
                    await task
            store.release(tenant="globex")
            assert names(await other) == ids(some(4))
            again = await adding(ingest, some(5))
            await store.held()
            store.release()
            assert names(await again) == ids(some(5))

        play(story)


def test_a_store_that_miscounts_is_a_failure() -> None:
    """When the number of results differs from that of requests, all fail; the tenant's next request succeeds."""
    for miscounting in (lambda writes: [], lambda writes: [*stored(writes), []]):

        async def story(store: HeldStore, ingest: ingest_module.Ingest, miscounting: Answer = miscounting) -> None:
            tasks = [await adding(ingest, some(1)), await adding(ingest, some(2))]
            for answer in (miscounting, stored):
                await store.held()
                store.release(answer)
            with pytest.raises(Unavailable):
                await tasks[0]
            assert names(await tasks[1]) == ids(some(2))

        play(story)


def test_what_the_store_said_is_what_is_raised() -> None:
    """Each request of the group gets the message of the store's own error; other exceptions are not shown to
    clients."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        task = await adding(ingest, some(1))
        await store.held()
        store.release(Unavailable("The disk is full."))
        with pytest.raises(Unavailable, match="The disk is full"):
            await task
        task = await adding(ingest, some(1))
        await store.held()
        store.release(RuntimeError("hunter2"))
        with pytest.raises(Unavailable, match="with the same ids") as caught:
            await task
        assert "hunter2" not in str(caught.value)

    play(story)


def test_a_refused_request_harms_no_other() -> None:
    """When the store refuses one request of a group, the others get their receipts."""
    refusal = Invalid.at(("body", 0, "id"), "Taken.")

    def refusing(writes: Sequence[Write]) -> Results:
        results = stored(writes)
        results[1] = refusal
        return results

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        tasks = [await adding(ingest, some(number), atomic=True) for number in range(4)]
        for answer in (stored, refusing):
            await store.held()
            store.release(answer)
        with pytest.raises(Invalid, match="Taken"):
            await tasks[2]
        assert [names(await tasks[number]) for number in (0, 1, 3)] == [ids(some(number)) for number in (0, 1, 3)]

    play(story)


# ------------------------------------------------------------------------------------------------------------- limits


class _Boundless(ingest_module.Ingest):
    def __init__(self, store: Any, events_max: int) -> None:
        super().__init__(store, 10**9)


@catches(replaced(ingest_module, "Ingest", _Boundless, "an_unbounded_queue"))
def test_a_full_queue_says_so_at_once() -> None:
    """The limit counts all tenants and running appends. A refused request is not stored, and is accepted later."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        tasks = [await adding(ingest, some(1, 3), "acme"), await adding(ingest, some(4, 3), "globex")]
        await store.held(2)
        for tenant in ("acme", "globex", "initech"):
            with pytest.raises((Busy, Throttled)) as caught:
                await ingest.add(tenant, some(9))
            assert caught.value.retry_after_s >= 1
            assert isinstance(caught.value, Busy)
        store.release(tenant="globex")
        await tasks[1]
        with pytest.raises(Throttled):
            await ingest.add("acme", some(9))
        tasks.append(await adding(ingest, some(9, 3), "globex"))
        await store.held(2)
        for _ in range(2):
            store.release()
        for task in tasks:
            await task
        assert [requests for _, requests in store.appends] == [[ids(some(1, 3))], [ids(some(4, 3))], [ids(some(9, 3))]]

    play(story, events_max=6)


def first_come_first_served(self: FairBudget, tenant: str, amount: int) -> None:
    """Mutant: one tenant may fill the queue."""
    self.add(tenant, amount)


@catches(replaced(FairBudget, "take", first_come_first_served, "no_shares"))
def test_a_tenant_cannot_fill_the_queue() -> None:
    """However much it sends, an event of another tenant is taken."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        tasks = []
        for _ in range(40):
            tasks.append(await adding(ingest, some(1, 1000), "acme"))
        refused = [task for task in tasks if task.done()]
        assert len(refused) == 30
        for task in refused:
            assert isinstance(task.exception(), Throttled)
        other = await adding(ingest, some(1), "globex")
        await store.held(2)
        store.release(tenant="globex")
        await other
        for _ in range(10):
            await store.held()
            store.release()
        await asyncio.gather(*tasks, return_exceptions=True)

    play(story)


def test_the_smallest_queue_takes_a_whole_batch() -> None:
    """Also when another tenant's batch waits."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        tasks = [await adding(ingest, some(1, 1000), tenant) for tenant in ("acme", "globex")]
        await store.held(2)
        for _ in range(2):
            store.release()
        assert [len(await task) for task in tasks] == [1000, 1000]

    with pytest.raises(ValueError, match="WHENCE_QUEUE_EVENTS_MAX"):
        Settings(queue_events_max=1999)
    play(story, events_max=Settings(queue_events_max=2000).queue_events_max)


@pytest.mark.parametrize(
    "end",
    [stored, RuntimeError("a fault"), Unavailable("No."), asyncio.CancelledError()],
    ids=["stored", "fault", "refused", "cancelled"],
)
def test_room_is_given_back_whatever_happened(end: Answer | BaseException) -> None:
    """After a failure or a cancelled request the queue has its full capacity again."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        for _ in range(3):
            task = await adding(ingest, some(1, 3))
            await store.held()
            task.cancel()
            await asyncio.sleep(0)
            store.release(end)
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns()

    play(story, events_max=5)


# ------------------------------------------------------------------------------------------------ who stops waiting


def test_who_stops_waiting_takes_nothing_with_him() -> None:
    """A request that is cancelled in the queue or during its append is still stored, and the others get their
    results."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        tasks = [await adding(ingest, some(number)) for number in range(4)]
        await store.held()
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.sleep(0)
        for _ in range(2):
            await store.held()
            store.release()
        assert [names(await tasks[number]) for number in (1, 3)] == [ids(some(1)), ids(some(3))]
        assert tasks[0].cancelled()
        assert tasks[2].cancelled()
        assert store.appends == [("acme", [ids(some(0))]), ("acme", [ids(some(1)), ids(some(2)), ids(some(3))])]

    play(story)


def test_an_error_that_nobody_waits_for_is_no_noise() -> None:
    """When the caller of a failed request is gone, the event loop reports no unretrieved exception."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        task = await adding(ingest, some(1))
        await store.held()
        task.cancel()
        await asyncio.sleep(0)
        store.release(Unavailable("No."))
        with pytest.raises(asyncio.CancelledError):
            await task
        await ingest.close()

    play(story)


# ------------------------------------------------------------------------------------------------------------- the end


class _Hasty(ingest_module.Ingest):
    async def close(self) -> None:
        self._closed = True


@catches(replaced(ingest_module, "Ingest", _Hasty, "it_closes_at_once"))
def test_closing_waits_for_everything_that_was_taken() -> None:
    """Closing finishes the running appends and queued requests of every tenant, and may be repeated."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        tasks = [await adding(ingest, some(number), tenant) for number, tenant in enumerate(("acme", "acme", "globex"))]
        closing = [asyncio.create_task(ingest.close()) for _ in range(2)]
        for _ in range(3):
            await store.held()
            await asyncio.sleep(0)
            assert not any(task.done() for task in closing)
            store.release()
        for task in closing:
            await task
        assert [names(task.result()) for task in tasks] == [ids(some(number)) for number in range(3)]
        await ingest.close()

    play(story)


class _Open(ingest_module.Ingest):
    async def close(self) -> None:
        await super().close()
        self._closed = False


@catches(replaced(ingest_module, "Ingest", _Open, "it_stays_open"))
def test_nothing_is_taken_after_the_end() -> None:
    """A request after closing is refused at once with a retryable error."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        await ingest.close()
        task = await adding(ingest, some(1))
        await asyncio.sleep(0)
        assert store.appends == [] or store.release()
        with pytest.raises(Unavailable, match="stopping"):
            await task

    play(story)


def test_when_the_loop_ends_everybody_is_told() -> None:
    """When the flush task is cancelled, the requests of its append and those in the queue get an error."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        tasks = [await adding(ingest, some(number)) for number in range(3)]
        await store.held()
        (flush,) = ingest._flushes
        flush.cancel()
        for task in tasks:
            with pytest.raises(Unavailable):
                await task
        store._held.clear()
        assert len(store.appends) == 1

    play(story)


# ------------------------------------------------------------------------------------------------------- long bodies


async def parse(ingest: "ingest_module.Ingest", parsed: list[int], number: int, tenant: str = "acme") -> list[Receipt]:
    """As the handler of a long body, whose parsing takes a turn of the event loop."""
    async with ingest.parsing(tenant):
        parsed.append(number)
        await asyncio.sleep(0)
        stored = ingest.submit(tenant, some(number * 2_000, 1_000))
    return await stored


class _ParsesAll(ingest_module.Ingest):
    """Mutant: bodies are parsed however many events wait."""

    def _has_room(self, tenant: str) -> bool:
        return True


class _ParsesTogether(ingest_module.Ingest):
    """Mutant: all bodies of a tenant see the same room."""

    @asynccontextmanager
    async def parsing(self, tenant: str) -> AsyncIterator[None]:
        while not self._has_room(tenant):  # noqa: ASYNC110  (many tasks may wait at once)
            await asyncio.sleep(0)
        yield


@catches(
    replaced(ingest_module, "Ingest", _ParsesAll, "no_matter_what_waits"),
    replaced(ingest_module, "Ingest", _ParsesTogether, "all_at_once"),
)
def test_a_long_body_is_parsed_when_its_events_are_stored_soon() -> None:
    """While an append runs, the next full append is parsed, and no further one. Other tenants do not wait for it."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        parsed: list[int] = []
        tasks = [asyncio.create_task(parse(ingest, parsed, number)) for number in range(5)]
        await store.held()
        await turns()
        assert parsed == [0, 1]
        other = asyncio.create_task(parse(ingest, parsed, 9, "globex"))
        await store.held(2)
        assert parsed == [0, 1, 9]
        store.release(tenant="globex")
        assert len(await other) == 1_000
        for number in range(5):
            await store.held()
            await turns()
            assert [each for each in parsed if each != 9] == list(range(min(number + 2, 5)))
            store.release()
        assert [len(await task) for task in tasks] == [1_000] * 5
        assert len(store.appends) == 6

    play(story)


def test_a_short_body_does_not_wait_for_long_ones() -> None:
    """It is submitted at once, and shares the next append."""

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        tasks = [asyncio.create_task(parse(ingest, [], number)) for number in range(3)]
        await store.held()
        await turns()
        short = await adding(ingest, some(1))
        for _ in range(3):
            await store.held()
            store.release()
        assert len(await short) == 1
        await asyncio.wait_for(store.held(), HANG_S)
        store.release()
        await asyncio.gather(*tasks)

    play(story)


@pytest.mark.parametrize("holder", [True, False], ids=["while it waits for room", "while it waits for its turn"])
def test_a_long_body_whose_client_left_lets_the_next_one_be_parsed(holder: bool) -> None:
    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        parsed: list[int] = []
        tasks = [asyncio.create_task(parse(ingest, parsed, number)) for number in range(4)]
        await store.held()
        await turns()
        tasks[2 if holder else 3].cancel()
        for _ in range(3):
            await store.held()
            await turns()
            store.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [False, False, holder, not holder]
        assert parsed == ([0, 1, 3] if holder else [0, 1, 2])

    play(story)


def test_a_long_body_that_finds_no_room_is_throttled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not parsed, and the next one finds its turn."""
    monkeypatch.setattr(ingest_module, "_ROOM_WAIT_S", 0.05)

    async def story(store: HeldStore, ingest: ingest_module.Ingest) -> None:
        parsed: list[int] = []
        tasks = [asyncio.create_task(parse(ingest, parsed, number)) for number in range(4)]
        for task in tasks[2:]:
            with pytest.raises(Throttled):
                await task
        assert parsed == [0, 1]
        for _ in range(2):
            await store.held()
            store.release()
        await asyncio.gather(*tasks[:2])
        again = asyncio.create_task(parse(ingest, parsed, 5))
        await store.held()
        store.release()
        assert len(await again) == 1_000

    play(story)
