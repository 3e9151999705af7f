"""The load generator: sends prebuilt requests over raw sockets from its own process, and times the responses.

    python -m bench.load < job.json        prints `ready`, waits for a line, works, prints the result as JSON

Closed loop: each connection sends its next request when the previous response is complete. Open loop: requests are due
at random times with a given mean rate, whatever the server does. Each is timed from when it was due, so a stall of the
server counts for every request that had to wait.

It connects to this machine only.
"""

import asyncio
import contextlib
import gc
import random
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import uvloop

__all__ = ["Job", "Line", "Result", "request", "run_load"]

ROOT = Path(__file__).parents[1]
_HOST = "127.0.0.1"
_LATE_S = 60.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: the requests of a file (a msgpack array of bytes), `repeat` times, over `connections` connections.

    `rate` is requests per second in an open loop; 0 is a closed loop. The first `warm` responses are not counted.
    """

    port: int
    requests: str
    connections: int
    repeat: int = 1
    rate: float = 0.0
    warm: int = 0
    seed: int = 1


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a job. `bad` counts responses outside 200..299 and lost connections.

    `busy` is the share of the time in which this process used a core. Near 1, it was the limit and not the server.
    """

    answered: int
    bad: int
    seconds: float
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    busy: float
    statuses: dict[str, int]


def request(method: str, path: str, key: str, body: bytes = b"", media: str = "application/json") -> bytes:
    """The bytes of one HTTP request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {_HOST}\r\nX-API-Key: {key}\r\n"
    if body or method == "POST":
        head += f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class _Work:
    """The requests to send, and the results of those that were sent."""

    def __init__(self, requests: Sequence[bytes], job: Job) -> None:
        self.requests = requests
        self.total = len(requests) * job.repeat
        self.warm = job.warm
        self.sent = 0
        self.answered = 0
        self.bad = 0
        self.started = self.began = time.perf_counter()
        self.ended = self.started
        self.cpu = time.process_time()
        self.latencies: list[float] = []
        self.statuses: Counter[bytes] = Counter()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next(self) -> bytes | None:
        """The next request, or None when all were sent."""
        if self.sent >= self.total:
            return None
        self.sent += 1
        return self.requests[(self.sent - 1) % len(self.requests)]

    def note(self, status: bytes, since: float) -> None:
        """Count a response."""
        now = time.perf_counter()
        self.answered += 1
        self.statuses[status] += 1
        if not status.startswith(b"2"):
            self.bad += 1
        if self.answered > self.warm:
            self.latencies.append(now - since)
        elif self.answered == self.warm:
            self.began, self.cpu = now, time.process_time()
        self.ended = now
        if self.answered >= self.total and not self.done.done():
            self.done.set_result(None)

    def lost(self) -> None:
        """Count a connection that ended before its response."""
        self.bad += 1
        self.answered += 1
        if self.answered >= self.total and not self.done.done():
            self.done.set_result(None)

    def result(self) -> Result:
        seconds = max(self.ended - self.began, 1e-9)
        times = sorted(self.latencies) or [0.0]

        def at(share: float) -> float:
            return round(times[min(int(len(times) * share), len(times) - 1)] * 1_000, 3)

        return Result(
            answered=len(self.latencies),
            bad=self.bad,
            seconds=round(seconds, 4),
            rate=round(len(self.latencies) / seconds, 2),
            p50_ms=at(0.5),
            p95_ms=at(0.95),
            p99_ms=at(0.99),
            max_ms=at(1.0),
            busy=round((time.process_time() - self.cpu) / seconds, 3),
            statuses={status.decode(): count for status, count in self.statuses.items()},
        )


class _Connection(asyncio.Protocol):
    """One connection, which sends one request at a time."""

    def __init__(self, work: _Work, *, closed_loop: bool) -> None:
        self.work = work
        self.closed_loop = closed_loop
        self.free: deque[_Connection] | None = None
        self.backlog: deque[tuple[bytes, float]] | None = None
        self.transport: asyncio.Transport
        self.since = 0.0
        self.busy = False
        self.got = b""
        self.wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a socket's transport can write

    def send(self, data: bytes, since: float) -> None:
        self.since, self.busy = since, True
        self.transport.write(data)

    def send_next(self) -> None:
        data = self.work.next()
        if data is not None:
            self.send(data, time.perf_counter())

    def data_received(self, data: bytes) -> None:
        got = self.got = self.got + data if self.got else data
        if not self.wanted:
            self.wanted = _length(got)
        whole = len(got) >= self.wanted if self.wanted > 0 else self.wanted < 0 and got.endswith(b"0\r\n\r\n")
        if whole:
            self._whole(got)

    def _whole(self, got: bytes) -> None:
        self.got, self.wanted, self.busy = b"", 0, False
        self.work.note(got[9:12], self.since)
        if self.closed_loop:
            self.send_next()
        elif self.backlog:
            self.send(*self.backlog.popleft())
        elif self.free is not None:
            self.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.work.lost()


def _length(got: bytes) -> int:
    """The size of the response that begins here; 0 while its head is incomplete, -1 when it is chunked."""
    end = got.find(b"\r\n\r\n")
    if end < 0:
        return 0
    at = got.find(b"ontent-length:", 0, end)
    if at < 0:
        at = got.find(b"ontent-Length:", 0, end)
    if at < 0:
        return -1 if b"chunked" in got[:end] else end + 4
    stop = got.find(b"\r\n", at)
    return end + 4 + int(got[at + 14 : stop])


class Line:
    """A blocking connection, for measurements in which servers take turns with each query.

    Nothing else runs while it waits, so a separate process would only add to the times.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((_HOST, port), timeout=_LATE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, data: bytes, status: bytes = b"200") -> float:
        """The seconds from sending a request to its complete response. Raises RuntimeError for another status."""
        since = time.perf_counter()
        self._socket.sendall(data)
        got = bytearray()
        wanted = 0
        while not wanted or (len(got) < wanted if wanted > 0 else not got.endswith(b"0\r\n\r\n")):
            some = self._socket.recv(1 << 20)
            if not some:
                raise RuntimeError("A connection ended before its response.")
            got += some
            wanted = wanted or _length(bytes(got))
        seconds = time.perf_counter() - since
        if got[9:12] != status:
            raise RuntimeError(f"A request was not answered well: {bytes(got[:2_000])!r}")
        return seconds


async def _work(job: Job, requests: Sequence[bytes]) -> Result:
    loop = asyncio.get_running_loop()
    work = _Work(requests, job)
    connections = []
    for _ in range(job.connections):
        _, protocol = await loop.create_connection(lambda: _Connection(work, closed_loop=not job.rate), _HOST, job.port)
        connections.append(protocol)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    gc.disable()
    work.started = work.began = time.perf_counter()
    work.cpu = time.process_time()
    if job.rate:
        await _offer(job, work, connections)
    else:
        for connection in connections:
            connection.send_next()
    with contextlib.suppress(TimeoutError):
        # The number of requests bounds the loop. The timeout is for a server that no longer responds.
        while not work.done.done():
            answered = work.answered
            await asyncio.wait([work.done], timeout=_LATE_S)
            if work.answered == answered and not work.done.done():
                work.bad += work.total - work.answered
                break
    for connection in connections:
        connection.transport.abort()
    return work.result()


async def _offer(job: Job, work: _Work, connections: Sequence[_Connection]) -> None:
    """Send requests at random times with the job's rate, over any free connection. They queue while none is free."""
    free, backlog = deque(connections), deque[tuple[bytes, float]]()
    for connection in connections:
        connection.free, connection.backlog = free, backlog
    rng = random.Random(job.seed)
    due = time.perf_counter()
    while (data := work.next()) is not None:
        due += rng.expovariate(job.rate)
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        if free:
            free.popleft().send(data, due)
        else:
            backlog.append((data, due))


def main() -> None:
    """Do the job in the first line of stdin."""
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    requests = msgspec.msgpack.decode(Path(job.requests).read_bytes(), type=list[bytes])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(_work(job, requests))).decode(), flush=True)


@contextlib.contextmanager
def _process(job: Job) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.wait()


def run_load(job: Job) -> Result:
    """Do a job in a separate process. Raises RuntimeError when that process ends early."""
    with _process(job) as process:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("The load generator could not connect.")
        process.stdin.write(b"go\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("The load generator ended early.")
        return msgspec.json.decode(line, type=Result)


if __name__ == "__main__":
    main()
