"""How tenants share what is scarce: amounts that are refused, places that are waited for in turns, and the event loop.

The first two follow the dynamic threshold of shared-memory switches (Choudhury and Hahne, 1998): a tenant may hold as
much as stays free. So one busy tenant uses half of a total, two use a third each, and there is always a part left for a
tenant that comes next. Only totals need to be configured, and nothing is set aside for tenants that are idle.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from whence.errors import Busy, Throttled

__all__ = ["FairBudget", "FairQueue", "LoopRounds", "LoopTurns"]

_WAIT_S = 10.0
_WAITING_MAX = 256

_ROUND_S = 0.005
_BEGINNING_MAX = 4
"""How many of the requests that wait for the event loop begin in one of its rounds."""

_TURNS_S = 0.01


class FairBudget:
    """An amount, of bytes or events, that requests use for a while. What does not fit is refused, since a request that
    waited would hold on to what it has already taken. Belongs to one event loop.
    """

    def __init__(self, total: int, noun: str) -> None:
        """`noun` says of what, in the sentences of refusals, such as "request bodies"."""
        self.total = total
        self.noun = noun
        self.used = 0
        self._held: Counter[str] = Counter()

    def held(self, tenant: str) -> int:
        """What a tenant uses now."""
        return self._held[tenant]

    def take(self, tenant: str, amount: int) -> None:
        """Add to what the tenant uses. Raises Busy when the total is used up, and Throttled when the tenant would use
        more than half of what the others leave."""
        held = self._held[tenant]
        if self.used + amount > self.total:
            raise Busy(f"Too many {self.noun} are in flight; send this again in a moment.")
        part = self.total - (self.used - held if held else 0)  # the first piece need not fit beside those of others
        if 2 * (held + amount) > part + 1:
            raise Throttled(f"Too many {self.noun} of this tenant are in flight; send this again in a moment.")
        self.add(tenant, amount)

    def add(self, tenant: str, amount: int) -> None:
        """Add to what the tenant uses without a check: for what must be sent, because it was stored."""
        self.used += amount
        self._held[tenant] += amount

    def give_back(self, tenant: str, amount: int) -> None:
        """Take from what the tenant uses."""
        self.used -= amount
        self._held[tenant] -= amount
        if not self._held[tenant]:
            del self._held[tenant]


class FairQueue:
    """A number of places, each for one piece of work at a time. Tenants whose work waits get a place in turns.
    Belongs to one event loop at a time.

    A tenant may hold as many places as stay free, so that long work of one tenant never fills all of them. With
    `brief` it may hold all of them: the work takes milliseconds, and the others get the next turns.
    """

    def __init__(
        self, places: int, *, brief: bool = False, wait_s: float = _WAIT_S, waiting_max: int | None = None
    ) -> None:
        """`wait_s` is the longest wait for a place, in seconds; `waiting_max` is how much work of one tenant waits: 256
        by default."""
        self._free = places
        self._brief = brief
        self._wait_s = wait_s
        self._waiting_max = _WAITING_MAX if waiting_max is None else waiting_max
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def has_waiting(self) -> bool:
        """Whether any work waits for a place."""
        return bool(self._waiting)

    def is_waiting(self, tenant: str) -> bool:
        """Whether work of this tenant waits for a place."""
        return tenant in self._waiting

    def place(self, tenant: str) -> AbstractAsyncContextManager[None]:
        """Hold a place while the block runs; see `enter`."""
        return _Place(self, tenant)

    async def enter(self, tenant: str) -> None:
        """Wait for a place and hold it until `leave`.

        Raises Throttled when too much work of this tenant waits, and Busy when its turn does not come in time.
        """
        queue = self._waiting.get(tenant)
        if queue is None and self._may_enter(tenant):
            self._take(tenant)
            return
        if queue is None:
            queue = self._waiting[tenant] = deque()
        elif len(queue) >= self._waiting_max:
            raise Throttled("Too many requests of this tenant are waiting; send this again in a moment.")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        queue.append(turn)
        timer = loop.call_later(self._wait_s, _expire, turn)  # asyncio.timeout costs several times as much
        try:
            await turn
        except BaseException as error:
            if self._was_served(tenant, turn):
                self.leave(tenant)
            if isinstance(error, TimeoutError):
                raise Busy("The server is busy with other requests; send this again in a moment.") from None
            raise
        finally:
            timer.cancel()

    async def pass_turn(self, tenant: str) -> None:
        """Let the event loop run, and other tenants whose work waits have a turn, while holding a place. The place is
        held again afterwards, also when the task is cancelled meanwhile."""
        if all(other == tenant for other in self._waiting):
            await asyncio.sleep(0)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        own = self._waiting.pop(tenant, deque())
        own.appendleft(turn)  # what was begun is finished before the tenant's next work
        self._waiting[tenant] = own
        self.leave(tenant)
        try:
            await turn
        except asyncio.CancelledError:
            if not self._was_served(tenant, turn):
                self._take(tenant)
            raise

    def leave(self, tenant: str) -> None:
        """Give up a place. The next ones in turn get what is free."""
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._serve()

    def _may_enter(self, tenant: str) -> bool:
        return self._free > 0 and (self._brief or self._held[tenant] < self._free)

    def _take(self, tenant: str) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _serve(self) -> None:
        """Give free places to the tenants that wait and may have one, each in its turn."""
        served = True
        while self._free and served:
            served = False
            for tenant in [tenant for tenant in self._waiting if self._may_enter(tenant)]:
                if self._may_enter(tenant):
                    self._give_turn(tenant)
                    served = True

    def _give_turn(self, tenant: str) -> None:
        """Give a place to the tenant's first waiting work, and put the tenant at the end of the order."""
        queue = self._waiting.pop(tenant)
        turn = queue.popleft()
        if queue:
            self._waiting[tenant] = queue
        if not turn.done():  # else it was cancelled or took too long, and its task is about to find out
            self._take(tenant)
            turn.set_result(None)

    def _was_served(self, tenant: str, turn: "asyncio.Future[None]") -> bool:
        """Whether work that no longer waits has got a place. If not, it is forgotten."""
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            return True
        queue = self._waiting.get(tenant)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[tenant]
        return False


class _Place(AbstractAsyncContextManager[None]):
    """A place in a queue. A class, since a generator would cost three times as much."""

    __slots__ = ("_queue", "_tenant")

    def __init__(self, queue: FairQueue, tenant: str) -> None:
        self._queue = queue
        self._tenant = tenant

    async def __aenter__(self) -> None:
        await self._queue.enter(self._tenant)

    async def __aexit__(self, *_error: object) -> None:
        self._queue.leave(self._tenant)


def _expire(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_exception(TimeoutError())


class LoopRounds:
    """The time of the event loop, in rounds: a round is what the loop runs until it looks for input again.

    Requests that never wait for anything would all run in one round, and everybody else would wait for its end. So they
    begin at once only until a round has lasted some milliseconds. The others wait, and a few of them begin in each of
    the next rounds, tenants in turns. Belongs to one event loop at a time.
    """

    def __init__(self, waiting_max: int) -> None:
        """`waiting_max` is how many requests of one tenant may wait."""
        self._later = FairQueue(_BEGINNING_MAX, brief=True, waiting_max=waiting_max)
        self._began: float | None = None

    async def begin(self, tenant: str) -> None:
        """Wait until a request of this tenant may run. Raises Throttled and Busy as `FairQueue.enter`."""
        if self.has_time():
            return
        await self._later.enter(tenant)
        asyncio.get_running_loop().call_soon(self._later.leave, tenant)  # runs in the next round

    def has_time(self) -> bool:
        """Whether a request may run at once."""
        now = time.perf_counter()
        if self._began is None:
            self._began = now
            asyncio.get_running_loop().call_soon(self._end)
        return now - self._began < _ROUND_S and not self._later.has_waiting

    def _end(self) -> None:
        self._began = None


class LoopTurns:
    """The time of the event loop for callbacks that never wait: those that parse what connections have sent, and begin
    their requests.

    Each is short, but hundreds may be due in one round. So they run at once only in the first milliseconds of a round.
    The others run in the next rounds, names in turns, again for some milliseconds each time. Belongs to one event loop
    at a time.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[Callable[[], None], float]]] = {}
        self._is_due = False
        self._ends: float | None = None

    def has_time(self, later_s: float = 0.0) -> bool:
        """Whether a callback may run at once. `later_s` are the seconds for which it will occupy the loop after its
        end, by what it begins."""
        now = time.perf_counter()
        if self._ends is None:
            self._ends = now + _TURNS_S
            asyncio.get_running_loop().call_soon(self._end)
        if now >= self._ends:
            return False
        self._ends -= later_s
        return True

    def call(self, name: str, callback: Callable[[], None], later_s: float = 0.0) -> None:
        """Run a callback in one of the next rounds, in a turn of this name. `later_s` is as for `has_time`."""
        self._waiting.setdefault(name, deque()).append((callback, later_s))
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._run)

    def _end(self) -> None:
        self._ends = None

    def _run(self) -> None:
        ends = time.perf_counter() + _TURNS_S
        try:
            while self._waiting and time.perf_counter() < ends:
                name, queue = next(iter(self._waiting.items()))
                callback, later_s = queue.popleft()
                del self._waiting[name]
                if queue:
                    self._waiting[name] = queue
                ends -= later_s
                callback()
        finally:
            self._is_due = bool(self._waiting)
            if self._is_due:
                asyncio.get_running_loop().call_soon(self._run)
