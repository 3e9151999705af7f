"""Under overload the server refuses at once, its memory stays bounded, and it loses no acknowledged event."""

import asyncio
import contextlib
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from tests.acceptance.history import Found, History
from tests.acceptance.running import MORE_MIB, Running, running, seed, tell
from tests.acceptance.traffic import body_of, found_in, get, new_content
from tests.examples import soak

SECONDS = 30.0 if soak() else 6.0
CAPACITY_S = 2.0
TIMES_CAPACITY = 5
CONNECTIONS_MAX = 900
ANSWERED_S = 30.0
MEMORY_MAX_MIB = 300
FILLER = b'"fill":"%b"' % (b"x" * (256 * 1024 - 6000))
"""A filler that makes the payload of an event nearly 256 KiB, the limit."""

UNBOUNDED = {
    "WHENCE_QUEUE_EVENTS_MAX": "100000000",
    "WHENCE_BODIES_IN_FLIGHT_MAX": "64GiB",
    "WHENCE_CONNECTIONS_MAX": "100000",
}
"""Settings under which no request is refused for lack of capacity."""

SLOW_STORE = """
import sys, time
from whence.cli import main
from whence.storage.sqlite.writer import Writer

def commit_group(self, group, commit=Writer._commit_group):
    time.sleep(1)
    commit(self, group)

Writer._commit_group = commit_group
sys.exit(main())
"""
"""A slow store, so that an unbounded queue grows at once."""

MUTANT_RATE = 400.0
MUTANT_S = 60.0
MUTANT_CONNECTIONS_MAX = 2000


T = TypeVar("T")


class Load:
    """Clients of one server. Each request takes a free keep-alive connection."""

    def __init__(self, server: Running, key: str, chance: random.Random, most: int = CONNECTIONS_MAX) -> None:
        self.server = server
        self.chance = chance
        self.most = most
        self.head = b"POST /api/v1/events HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\nContent-Type: application/json\r\n"
        self.head = self.head % key.encode()
        self.history = History()
        self.statuses: Counter[int] = Counter()
        self.unexpected: list[str] = []
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.open = 0
        self.held_back = 0

    async def one(self) -> None:
        """Send one event, and record the outcome."""
        id_, short = new_content(self.chance)
        payload = short[:-1] + b"," + FILLER + b"}"
        self.history.sending([(id_, hashlib.sha256(payload).digest())])
        body = body_of(id_, payload)
        self.open += 1
        try:
            async with asyncio.timeout(ANSWERED_S):
                status, headers, answer = await self._exchange(body)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.unexpected.append(repr(error))
            return
        finally:
            self.open -= 1
        self.statuses[status] += 1
        if status == 201:
            self.history.acknowledge([id_])
        elif status in (429, 503) and "retry-after" in headers:
            if msgspec.json.decode(answer)["code"] in ("busy", "throttled"):
                self.history.refuse([id_])
        else:
            self.unexpected.append(f"{status} {headers} {answer[:200]!r}")

    async def _exchange(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        reader, writer = self.free.pop() if self.free else await asyncio.open_connection(*self.server.address)
        keep = False
        try:
            writer.write(self.head + b"Content-Length: %d\r\n\r\n" % len(body))
            writer.write(body)  # not an error: a refusal may arrive before the whole request was read
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            answer = await reader.readexactly(int(headers["content-length"]))
            status = int(lines[0].split()[1])
            keep = status == 201
            return status, headers, answer
        finally:
            if keep:
                self.free.append((reader, writer))
            else:
                writer.close()

    async def capacity(self) -> float:
        """The events per second that four clients can store, each waiting for its answer."""

        async def client(until: float) -> None:
            while time.monotonic() < until:
                await self.one()

        until = time.monotonic() + CAPACITY_S
        await asyncio.gather(*(client(until) for _ in range(4)))
        return self.statuses[201] / CAPACITY_S

    async def open_loop(self, rate: float, seconds: float, enough: int = 1 << 30) -> None:
        """Send at a rate, independent of answers, for this time or until the server has grown to `enough` MiB."""
        tasks: set[asyncio.Task[None]] = set()
        started, number = time.monotonic(), 0
        while time.monotonic() - started < seconds and self.server.memory() <= enough:
            due = int((time.monotonic() - started) * rate)
            for _ in range(due - number):
                if self.open >= self.most:
                    self.held_back += 1
                    continue
                task = asyncio.create_task(self.one())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            number = due
            await asyncio.sleep(0.005)
        if self.server.memory() <= enough:
            await asyncio.gather(*tasks)
        for task in list(tasks):
            task.cancel()

    async def overload(self) -> float:
        """Measure the capacity, and send a multiple of it. Returns the capacity.

        A server that takes all of that was slowed down by others while it was measured, so its capacity is larger.
        """
        capacity = await self.capacity()
        for _ in range(3):
            await self.open_loop(capacity * TIMES_CAPACITY, SECONDS)
            if self.statuses[503] + self.statuses[429] > 0:
                break
            capacity *= 3
        return capacity


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a client to its end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def held(server: Running, key: str) -> Iterator[Found]:
    """Every event of the server, by the hash of its payload."""
    with contextlib.closing(server.connect(timeout=60)) as connection:
        for event in found_in(connection, key):
            yield msgspec.structs.replace(event, content=hashlib.sha256(event.content).digest())


def test_overload_is_refused_and_the_server_stays_small(record_property: Callable[[str, object], None]) -> None:
    """At five times the capacity, with events of 256 KiB, every answer is 201, or 429 or 503 with Retry-After.

    The server stays under 300 MiB, answers at once afterwards, and has every acknowledged event.
    """
    with running() as server:
        key = server.key()
        server.start()
        load = Load(server, key, random.Random(seed()))
        capacity = run(load.overload())
        most = server.memory()
        with contextlib.closing(server.connect(timeout=5)) as connection:
            assert get(connection, "/api/v1/events?limit=1", key)
        verdict = load.history.judge(held(server, key))
        tell(
            record_property,
            f"capacity={capacity:.0f}/s offered={capacity * TIMES_CAPACITY:.0f}/s statuses={dict(load.statuses)} "
            f"held_back={load.held_back} VmHWM={most} MiB {load.history} {verdict} unexpected={len(load.unexpected)}",
        )
        assert not load.unexpected, Counter(load.unexpected).most_common(3)
        assert load.statuses[503] + load.statuses[429] > 0, "this was no overload"
        assert verdict.clean
        assert most <= MEMORY_MAX_MIB + MORE_MIB
        assert server.terminate()[0] == 0


def test_an_unbounded_queue_would_be_seen(tmp_path: Path) -> None:
    """A server that queues every request, in front of a slow store, grows beyond the limit of memory."""
    mutant = tmp_path / "slow_store.py"
    mutant.write_text(SLOW_STORE)
    with running(mutant=mutant, **UNBOUNDED) as server:
        key = server.key()
        server.start()
        load = Load(server, key, random.Random(seed()), most=MUTANT_CONNECTIONS_MAX)
        started = time.monotonic()
        run(load.open_loop(MUTANT_RATE, MUTANT_S, enough=MEMORY_MAX_MIB))
        print(f"mutant: VmHWM={server.memory()} MiB after {time.monotonic() - started:.1f} s, {dict(load.statuses)}")
        assert server.memory() > MEMORY_MAX_MIB
