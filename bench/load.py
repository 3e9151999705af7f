"""The load generator: sends prebuilt requests over raw sockets from its own process, and times the responses.

    python -m bench.load < job.json        prints `ready`, waits for a line, works, prints the result as JSON

Closed loop: each connection sends its next request when the previous response is complete. Open loop: requests are due
at random times with a given mean rate, whatever the server does. Each is timed from when it was due, so a stall of the
server counts for every request that had to wait.

A load may come from several such processes, each with its part of the requests and connections. It goes to this machine
only.
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

__all__ = ["Job", "Line", "Result", "request", "run_beside", "run_load"]

ROOT = Path(__file__).parents[1]
_HOST = "127.0.0.1"
_LATE_S = 60.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: the requests of a file (a msgpack array of bytes), `repeat` times, over `connections` connections.

    `rate` is requests per second in an open loop; 0 is a closed loop. The first `warm` responses are not counted. It
    ends sooner after `seconds`, if these are given, or at a line of stdin, if it is `until_stopped`. `part` is which of
    how many processes this is.
    """

    port: int
    requests: str
    connections: int
    repeat: int = 1
    rate: float = 0.0
    warm: int = 0
    seed: int = 1
    seconds: float = 0.0
    until_stopped: bool = False
    part: tuple[int, int] = (0, 1)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a job. `bad` counts responses outside 200..299 and lost connections.

    `busy` is the share of the time in which a process of the generator used a core. Near 1, it was the limit and not
    the server.
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
    generator: str = "load.py"


class _Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What one process has measured. Times are those of the system's monotonic clock, which all processes share."""

    began: float
    ended: float
    cpu_s: float
    bad: int
    statuses: dict[str, int]
    latencies: list[float]


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
        self.seconds = job.seconds
        self.until = 0.0
        self.sent = 0
        self.answered = 0
        self.bad = 0
        self.began = self.ended = 0.0
        self.cpu = 0.0
        self.latencies: list[float] = []
        self.statuses: Counter[bytes] = Counter()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Begin to measure."""
        self.began = self.ended = time.perf_counter()
        self.until = self.began + self.seconds if self.seconds else 0.0
        self.cpu = time.process_time()

    def next(self) -> bytes | None:
        """The next request, or None when all were sent, or the time is over."""
        if self.sent >= self.total:
            return None
        if self.until and time.perf_counter() >= self.until:
            self.stop()
            return None
        self.sent += 1
        return self.requests[(self.sent - 1) % len(self.requests)]

    def stop(self) -> None:
        """Send no further requests."""
        self.total = self.sent
        self._end()

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
        self._end()

    def lost(self) -> None:
        """Count a connection that ended before its response."""
        self.bad += 1
        self.answered += 1
        self._end()

    def _end(self) -> None:
        if self.answered >= self.total and not self.done.done():
            self.done.set_result(None)

    def result(self) -> _Sent:
        return _Sent(
            began=self.began,
            ended=self.ended,
            cpu_s=time.process_time() - self.cpu,
            bad=self.bad,
            statuses={status.decode(): count for status, count in self.statuses.items()},
            latencies=self.latencies,
        )


def _joined(parts: Sequence[_Sent]) -> Result:
    """The result of all processes of a load."""
    seconds = max(max(part.ended for part in parts) - min(part.began for part in parts), 1e-9)
    times = sorted(latency for part in parts for latency in part.latencies) or [0.0]
    statuses = sum((Counter(part.statuses) for part in parts), Counter[str]())

    def at(share: float) -> float:
        return round(times[min(int(len(times) * share), len(times) - 1)] * 1_000, 3)

    answered = sum(len(part.latencies) for part in parts)
    return Result(
        answered=answered,
        bad=sum(part.bad for part in parts),
        seconds=round(seconds, 4),
        rate=round(answered / seconds, 2),
        p50_ms=at(0.5),
        p95_ms=at(0.95),
        p99_ms=at(0.99),
        max_ms=at(1.0),
        busy=round(max(part.cpu_s for part in parts) / seconds, 3),
        statuses=dict(statuses),
        generator="load.py" if len(parts) == 1 else f"load.py, {len(parts)} processes",
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


async def _work(job: Job, requests: Sequence[bytes]) -> _Sent:
    loop = asyncio.get_running_loop()
    work = _Work(requests, job)
    connections = []
    for _ in range(job.connections):
        _, protocol = await loop.create_connection(lambda: _Connection(work, closed_loop=not job.rate), _HOST, job.port)
        connections.append(protocol)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    gc.disable()
    work.start()
    if job.until_stopped:
        loop.run_in_executor(None, sys.stdin.readline).add_done_callback(lambda _: work.stop())
    if job.rate:
        await _offer(job, work, connections)
    else:
        for connection in connections:
            connection.send_next()
    with contextlib.suppress(TimeoutError):
        # The number of requests or the time bounds the loop. The timeout is for a server that no longer responds.
        while not work.done.done():
            answered = work.answered
            await asyncio.wait([work.done], timeout=_LATE_S)
            if work.answered == answered and not work.done.done():
                work.bad += work.sent - work.answered
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
    number, of = job.part
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # One request for all is sent by each.
        some = requests[number::of] or requests
        print(msgspec.json.encode(runner.run(_work(job, some))).decode(), flush=True)


class _Process:
    """A process of the load generator."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    def say(self, line: bytes) -> None:
        self._stdin.write(line + b"\n")
        self._stdin.flush()

    def wait_until_ready(self) -> None:
        if self._stdout.readline() != b"ready\n":
            raise RuntimeError("The load generator could not connect.")

    def result(self) -> _Sent:
        line = self._stdout.readline()
        if not line:
            raise RuntimeError("The load generator ended early.")
        return msgspec.json.decode(line, type=_Sent)


@contextlib.contextmanager
def _processes(jobs: Sequence[Job]) -> Iterator[list[_Process]]:
    """A process for each job, connected and waiting for the line that starts it."""
    command = [sys.executable, "-m", "bench.load"]
    with contextlib.ExitStack() as ending:
        found = []
        for job in jobs:
            opened = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            ending.callback(opened.wait)
            ending.callback(opened.kill)
            found.append(_Process(opened))
            found[-1].say(msgspec.json.encode(job))
        for each in found:
            each.wait_until_ready()
        yield found


def _parts(job: Job, number: int) -> list[Job]:
    """The job, divided among so many processes."""
    if number == 1:
        return [job]
    return [
        msgspec.structs.replace(
            job,
            connections=len(range(part, job.connections, number)),
            rate=job.rate / number,
            warm=job.warm // number,
            seed=job.seed + part,
            part=(part, number),
        )
        for part in range(number)
    ]


def run_load(job: Job, processes: int = 1) -> Result:
    """Do a job in separate processes. Raises RuntimeError when one ends early."""
    with _processes(_parts(job, processes)) as found:
        for each in found:
            each.say(b"go")
        return _joined([each.result() for each in found])


def run_beside(job: Job, other: Job) -> tuple[Result, Result]:
    """Do a job, and another one beside it that is stopped when the first has ended."""
    with _processes([job, msgspec.structs.replace(other, until_stopped=True)]) as (one, beside):
        beside.say(b"go")
        one.say(b"go")
        first = _joined([one.result()])
        beside.say(b"stop")
        return first, _joined([beside.result()])


if __name__ == "__main__":
    main()
