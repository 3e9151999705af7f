"""Fair shares: what one tenant may hold, who is next, and that nothing is lost when work is cancelled."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from whence import fairness
from whence.errors import Busy, Throttled
from whence.fairness import FairBudget, FairQueue, LoopRounds, LoopTurns

TENANTS = st.sampled_from("abcd")


def without_shares(self: FairBudget, tenant: str, amount: int) -> None:
    """Mutant: first come, first served."""
    if self.used + amount > self.total:
        raise Busy("full")
    self.add(tenant, amount)


def fill(budget: FairBudget, tenant: str, amount: int = 1) -> int:
    """Take as often as is possible; how often that was."""
    for count in range(budget.total + 1):
        try:
            budget.take(tenant, amount)
        except (Busy, Throttled):
            return count
    raise AssertionError("there is no limit")


@catches(replaced(FairBudget, "take", without_shares, "no_shares"))
def test_each_tenant_gets_a_part_of_what_the_others_leave() -> None:
    """Half of the total for one, half of the rest for the next; what is given back may be taken again."""
    budget = FairBudget(64, "events")
    assert [fill(budget, tenant) for tenant in "abc"] == [32, 16, 8]
    assert budget.used == 56
    budget.give_back("a", 32)
    assert fill(budget, "b") == 12  # to 28 in all, half of what c leaves
    assert budget.used == 36


@catches(replaced(FairBudget, "take", without_shares, "no_shares"))
def test_a_refusal_says_whose_fault_it_is() -> None:
    """The tenant's own: Throttled. That of all: Busy. Neither names the others or a number."""
    budget = FairBudget(4, "request bodies")
    with pytest.raises(Throttled, match="request bodies of this tenant"):
        budget.take("a", 3)
    for tenant in "abc":
        budget.take(tenant, 1)
    budget.add("d", 1)
    with pytest.raises(Busy, match="request bodies are"):
        budget.take("e", 1)


def test_the_first_piece_may_be_half_of_all() -> None:
    """So a page of the largest size is possible while another tenant has its part; and any total admits one."""
    budget = FairBudget(64, "large answers")
    budget.take("a", 32)
    budget.take("b", 32)
    FairBudget(1, "connections").take("a", 1)


@PROPERTY
@given(steps=st.lists(st.tuples(TENANTS, st.integers(1, 40), st.booleans())))
def test_a_budget_never_exceeds_its_total_and_forgets_nothing(steps: list[tuple[str, int, bool]]) -> None:
    budget, held = FairBudget(64, "events"), dict.fromkeys("abcd", 0)
    for tenant, amount, back in steps:
        if back and held[tenant] >= amount:
            budget.give_back(tenant, amount)
            held[tenant] -= amount
        elif not back:
            try:
                budget.take(tenant, amount)
            except (Busy, Throttled):
                assert held[tenant] or amount > 32 or budget.used + amount > 64
                continue
            held[tenant] += amount
        assert budget.used == sum(held.values()) <= 64
        assert [budget.held(name) for name in "abcd"] == list(held.values())


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Work:
    """Pieces of work that hold a place until they are ended, in the order in which they began."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.running: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    def start(self, name: str) -> "asyncio.Task[None]":
        """The first letter of the name is the tenant."""
        return asyncio.create_task(self._hold(name))

    async def _hold(self, name: str) -> None:
        self.ends[name] = asyncio.Event()
        async with self.queue.place(name[0]):
            self.running.append(name)
            await self.ends[name].wait()
            self.running.remove(name)

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await settled()


def anyone_may_enter(self: FairQueue, tenant: str) -> bool:
    return self._free > 0


@catches(replaced(FairQueue, "_may_enter", anyone_may_enter, "no_shares"))
def test_places_are_left_for_the_next_tenant() -> None:
    async def scenario() -> None:
        work = Work(FairQueue(4))
        for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
            work.start(name)
            await settled()
        assert work.running == ["a1", "a2", "b1", "c1"]

    run(scenario)


def first_come(self: FairQueue, tenant: str) -> None:
    """Mutant: the tenant whose work waits keeps its turn."""
    queue = self._waiting[tenant]
    turn = queue.popleft()
    if not queue:
        del self._waiting[tenant]
    self._take(tenant)
    turn.set_result(None)


@catches(replaced(FairQueue, "_give_turn", first_come, "the_first_tenant_keeps_its_turn"))
def test_tenants_are_served_in_turns() -> None:
    """However much work of one waits."""

    async def scenario() -> None:
        work = Work(FairQueue(1))
        for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
            work.start(name)
            await settled()
        order = []
        while work.running:
            order += work.running
            await work.end(work.running[0])
        assert order == ["a1", "a2", "b1", "c1", "a3", "b2"]

    run(scenario)


def forgetful(self: FairQueue, tenant: str, turn: "asyncio.Future[None]") -> bool:
    """Mutant: a place that was given to cancelled work is lost."""
    return False


@catches(replaced(FairQueue, "_was_served", forgetful, "a_place_is_lost"))
def test_a_place_given_to_cancelled_work_goes_to_the_next() -> None:
    async def scenario() -> None:
        work = Work(FairQueue(1))
        work.start("a1")
        await settled()
        given = work.start("b1")
        work.start("c1")
        await settled()
        work.ends["a1"].set()
        for _ in range(5):
            await asyncio.sleep(0)
            if not work.queue.is_waiting("b"):  # b1 has been given the place, and does not know it yet
                break
        given.cancel()
        await settled()
        assert work.running == ["c1"]

    run(scenario)


def test_cancelled_work_leaves_the_queue() -> None:
    async def scenario() -> None:
        work = Work(FairQueue(1))
        work.start("a1")
        tasks = [work.start(name) for name in ("b1", "b2", "c1")]
        await settled()
        for task in tasks:
            task.cancel()
        assert work.queue.is_waiting("b")
        await work.end("a1")
        assert not work.running
        assert not work.queue.is_waiting("b")
        await work.queue.enter("d")

    run(scenario)


@catches(replaced(fairness, "_WAITING_MAX", 10**6, "any_number_may_wait"))
def test_a_queue_is_bounded() -> None:
    """For each tenant: a number that waits, and a time."""

    async def scenario() -> None:
        queue = FairQueue(1, wait_s=0.2)
        await queue.enter("a")
        waiting = [asyncio.create_task(queue.enter("a")) for _ in range(256)]
        await settled()
        with pytest.raises(Throttled):
            await queue.enter("a")
        with pytest.raises(Busy):
            await queue.enter("b")
        assert all(isinstance(error, Busy) for error in await asyncio.gather(*waiting, return_exceptions=True))
        queue.leave("a")
        await queue.enter("b")

    run(scenario)


async def yield_only(self: FairQueue, tenant: str) -> None:
    await asyncio.sleep(0)


@catches(replaced(FairQueue, "pass_turn", yield_only, "turns_are_never_passed"))
def test_long_work_passes_its_turn_and_is_then_finished_first() -> None:
    """Before other work of its tenant, and after one turn of each other tenant."""

    async def scenario() -> None:
        queue, done = FairQueue(1, brief=True), []

        async def work(name: str, slices: int) -> None:
            async with queue.place(name[0]):
                await settled()  # until everybody waits
                for number in range(slices):
                    if number:
                        await queue.pass_turn(name[0])
                    done.append(f"{name}.{number}")

        await asyncio.gather(work("a1", 3), work("a2", 1), work("b1", 2), work("c1", 1))
        assert done == ["a1.0", "b1.0", "c1.0", "a1.1", "b1.1", "a1.2", "a2.0"]

    run(scenario)


def test_work_that_is_cancelled_while_others_have_their_turn_gives_its_place_back_once() -> None:
    async def scenario() -> None:
        queue = FairQueue(1, brief=True)

        async def work() -> None:
            async with queue.place("a"):
                await queue.pass_turn("a")

        await queue.enter("a")
        other = asyncio.create_task(queue.enter("b"))
        await settled()
        passing = asyncio.create_task(queue.pass_turn("a"))
        await settled()
        assert other.done()
        passing.cancel()
        await settled()
        queue.leave("a")
        queue.leave("b")
        await asyncio.wait_for(work(), 1)
        assert queue._free == 1

    run(scenario)


@PROPERTY
@given(steps=st.lists(st.tuples(TENANTS, st.integers(0, 9), st.booleans()), max_size=30))
def test_every_place_comes_back(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever is started, ended and cancelled in whatever order."""

    async def scenario() -> None:
        queue = FairQueue(3)
        work, tasks = Work(queue), {}
        for tenant, number, cancel in steps:
            name = f"{tenant}{number}"
            if name not in tasks:
                tasks[name] = work.start(name)
            elif cancel:
                tasks[name].cancel()
            elif name in work.ends:
                work.ends[name].set()
            await asyncio.sleep(0)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert queue._free == 3
        assert not queue._held
        assert not queue._waiting

    run(scenario)


def compute(seconds: float) -> None:
    """Keep the event loop from running for this time."""
    time.sleep(seconds)


async def at_once(self: LoopRounds, tenant: str) -> None:
    pass


@catches(
    replaced(LoopRounds, "begin", at_once, "all_begin_in_one_round"),
    replaced(fairness, "_BEGINNING_MAX", 10**6, "all_that_wait_begin_in_one_round"),
)
def test_a_round_of_the_event_loop_is_short_and_then_tenants_have_turns() -> None:
    """Once a round has taken its time, the requests that come wait. A few of them begin in each of the next rounds, and
    a tenant that comes last does not wait for all requests of another one."""

    async def scenario() -> None:
        rounds = LoopRounds(1_000)
        begun: list[tuple[int, str]] = []
        number = 0

        async def count() -> None:
            nonlocal number
            while True:
                number += 1
                await asyncio.sleep(0)

        async def ask(tenant: str, seconds: float = 0.0) -> None:
            await rounds.begin(tenant)
            begun.append((number, tenant))
            compute(seconds)

        counting = asyncio.create_task(count())
        await asyncio.gather(ask("a", 0.01), *[ask("a") for _ in range(60)], *[ask("b") for _ in range(3)])
        counting.cancel()
        by_round = Counter(round_ for round_, _ in begun)
        assert max(by_round.values()) <= 5  # the first one, and four of those that wait
        assert [tenant for _, tenant in begun[:16]].count("b") == 3
        assert len(begun) == 64

    run(scenario)


def test_requests_begin_at_once_while_a_round_is_young() -> None:
    """No request waits for the loop that is not busy, however many there are."""

    async def scenario() -> None:
        rounds = LoopRounds(1_000)
        for _ in range(1_000):
            beginning = rounds.begin("a")
            with pytest.raises(StopIteration):
                beginning.send(None)
            await asyncio.sleep(0)

    run(scenario)


def in_one_queue(self: LoopTurns, name: str, callback: Callable[[], None], later_s: float = 0.0) -> None:
    """Mutant: first come, first served."""
    plain_call(self, "", callback, later_s)


plain_call = LoopTurns.call


@catches(
    replaced(fairness, "_TURNS_S", 10**6, "all_in_one_round"),
    replaced(LoopTurns, "call", in_one_queue, "no_turns"),
)
def test_callbacks_have_some_milliseconds_of_a_round_and_then_turns() -> None:
    """What they begin counts too. A name that comes last does not wait for all callbacks of another one."""

    async def scenario() -> None:
        turns, number = LoopTurns(), 0
        ran: list[tuple[int, str]] = []

        def callback(name: str) -> Callable[[], None]:
            return lambda: ran.append((number, name))

        assert turns.has_time(0.005) and turns.has_time(0.005)
        assert not turns.has_time(), "the time of this round is used up"
        for name in "a" * 40 + "b":
            turns.call(name, callback(name), 0.004)
        while len(ran) < 41:
            number += 1
            await asyncio.sleep(0)
        assert turns.has_time()
        assert max(Counter(round_ for round_, _ in ran).values()) <= 3
        assert [name for _, name in ran].index("b") == 1

    run(scenario)


@catches(replaced(fairness, "_TURNS_S", 10**6, "all_in_one_round"))
def test_a_callback_that_fails_stops_no_other() -> None:
    """Nor does one that asks for another turn run for ever in one round."""

    async def scenario() -> None:
        turns, ran = LoopTurns(), 0
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)

        def again() -> None:
            nonlocal ran
            ran += 1
            if ran < 50:
                turns.call("a", again, 0.01)

        turns.call("a", lambda: 1 // 0)
        turns.call("a", again)
        rounds = 0
        while ran < 50:
            await asyncio.sleep(0)
            rounds += 1
        assert rounds >= 45

    run(scenario)


def test_who_is_not_served_in_time_has_left_nothing_behind() -> None:
    """A request that waited too long, or whose client left, holds no place later."""

    async def scenario() -> None:
        queue = FairQueue(1, wait_s=0.05)
        await queue.enter("a")
        late, left = asyncio.create_task(queue.enter("b")), asyncio.create_task(queue.enter("c"))
        await settled()
        left.cancel()
        compute(0.1)
        queue.leave("a")  # in the round in which the time is over
        [error, cancelled] = await asyncio.gather(late, left, return_exceptions=True)
        assert isinstance(cancelled, asyncio.CancelledError)
        if error is None:
            queue.leave("b")
        await asyncio.wait_for(queue.enter("d"), 1)

    run(scenario)
