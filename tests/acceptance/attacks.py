"""Attacks of one tenant on a server, each run as a process of its own: `python -m tests.acceptance.attacks NAME …`.

Each sends, as fast as it can, what a single key of one tenant may send, or what needs no key at all. It prints a line
when it begins, and at its end how many answers of each status it got, as JSON. `filled` stores what an attack asks
about.
"""

import asyncio
import gzip
import json
import struct
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx2
import uvloop

Statuses = Counter[str]
Attack = Callable[["Target"], Awaitable[None]]

RUN_ID = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0002"
CHAIN = 10_000
ELSEWHERE = "127.0.0.2"
"""The address that attacks on connections come from."""


class Target:
    """A server under attack, and what came back. `keys` are those of the attacker."""

    def __init__(self, port: int, keys: list[str], until: float) -> None:
        self.port = port
        self.keys = keys
        self.until = until
        self.statuses: Statuses = Counter()

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    async def open(self, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0), limit=1 << 20)

    def head(self, method: str, path: str, *headers: str, key: int = 0) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: a", f"X-API-Key: {self.keys[key]}", *headers]
        return "\r\n".join([*lines, "", ""]).encode()

    async def repeat(self, *requests: bytes) -> None:
        """Send these one after the other on one connection, over and over, and read each answer."""
        while not self.over:
            try:
                reader, writer = await self.open()
                while not self.over:
                    for request in requests:
                        writer.write(request)
                        await self.read_answer(reader)
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                self.statuses["closed"] += 1
                await asyncio.sleep(0.05)

    async def read_answer(self, reader: asyncio.StreamReader) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        self.statuses[lines[0].split()[1]] += 1
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        if "content-length" in headers:
            await reader.readexactly(int(headers["content-length"]))
        elif "chunked" in headers.get("transfer-encoding", ""):
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)

    def post(self, path: str, body: bytes, *headers: str) -> bytes:
        return self.head("POST", path, *headers, f"Content-Length: {len(body)}") + body

    def batch(self, body: bytes, *headers: str) -> bytes:
        return self.post("/api/v1/events/batch", body, "Content-Type: application/json", *headers)


def new_event(number: int, **fields: object) -> dict[str, object]:
    return {
        "id": str(uuid.UUID(int=number << 64 | 2)),
        "eventType": "action_run.completed",
        "actorType": "agent",
        "actorId": "a",
        "resourceType": "action_run",
        "resourceId": RUN_ID,
        "occurredAt": "2026-01-01T00:00:00Z",
        "payload": {},
    } | fields


def anonymous_event(**fields: object) -> dict[str, object]:
    return {name: value for name, value in new_event(1, **fields).items() if name != "id"}


async def empty_frames(target: Target) -> None:
    """Bodies of 5 MB of empty zstd frames, gzip members and skippable frames."""
    bodies = [
        (bytes.fromhex("28b52ffd2000010000"), 582_500, "zstd"),
        (gzip.compress(b"", mtime=0), 250_000, "gzip"),
        (struct.pack("<II", 0x184D2A50, 2) + b"xx", 500_000, "zstd"),
    ]
    requests = [target.batch(one * times, f"Content-Encoding: {name}") for one, times, name in bodies]
    await asyncio.gather(*(target.repeat(*requests) for _ in range(4)))


async def dense_batches(target: Target) -> None:
    """Small compressed bodies that take long to parse: large exponents, and unknown keys."""
    exponents = [anonymous_event(payload={"a": [9e307] * 830}) for _ in range(1000)]
    unknown = [anonymous_event(**{f"{number:x}".rjust(230, "u"): 1 for number in range(20)}) for _ in range(1000)]
    packed = [gzip.compress(json.dumps(events).replace("9e+307", "9e307").encode()) for events in (exponents, unknown)]
    requests = [target.batch(body, "Content-Encoding: gzip") for body in packed]
    await asyncio.gather(*(target.repeat(*requests) for _ in range(4)))


async def abandoned_traces(target: Target) -> None:
    """Traces of a chain of 10,000 events, 120 at once, each hung up before the answer."""
    request = target.head("GET", f"/api/v1/events/{uuid.UUID(int=CHAIN // 2 << 64 | 2)}/trace?limit=10000")
    while not target.over:
        opened = [await target.open() for _ in range(120)]
        for _, writer in opened:
            writer.write(request)
        await asyncio.sleep(0.3)
        for _, writer in opened:
            writer.close()
        target.statuses["hung up"] += len(opened)


async def by_actor(target: Target) -> None:
    """Eight loops of statistics over very many actors."""
    request = target.head("GET", "/api/v1/events/stats/by-actor")
    await asyncio.gather(*(target.repeat(request) for _ in range(8)))


async def stalled_bodies(target: Target) -> None:
    """Bodies that are sent but for their end."""
    head = target.head("POST", "/api/v1/events/batch", "Content-Type: application/json", "Content-Length: 5242880")

    async def one() -> None:
        while not target.over:
            try:
                reader, writer = await target.open()
                writer.write(head + b" " * (5 * 1024 * 1024 - 40))
                async with asyncio.timeout(max(target.until - time.monotonic(), 0.1)):
                    await target.read_answer(reader)
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                target.statuses["closed"] += 1
            await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(13)))


async def _read_slowly(target: Target, path: str, count: int, source: str = "127.0.0.1") -> None:
    """Ask on many connections, and read each answer at 4.7 KiB a second."""

    async def one() -> None:
        while not target.over:
            try:
                reader, writer = await target.open(source)
                writer.transport.set_write_buffer_limits(0)
                reader._limit = 4096  # type: ignore[attr-defined]  # else the stream itself reads 2 MiB ahead
                writer.write(target.head("GET", path))
                target.statuses[(await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split()[1]] += 1
                while await reader.read(2350):
                    await asyncio.sleep(0.5)
                    if target.over:
                        break
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                target.statuses["closed"] += 1
            await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(count)))


async def slow_readers(target: Target) -> None:
    """Four readers of pages of 20 MB."""
    await _read_slowly(target, "/api/v1/events?limit=100", 4)


async def slow_readers_of_actors(target: Target) -> None:
    """Twenty-four readers of the statistics of very many actors."""
    await _read_slowly(target, "/api/v1/events/stats/by-actor", 24)


async def narrowed_flows(target: Target) -> None:
    """Loops of two tenants that list the flows of which narrowed keys see a part."""
    requests = [target.head("GET", "/api/v1/flows", key=key) for key in (0, 1)]
    await asyncio.gather(*(target.repeat(request) for request in requests * 4))


async def full_batches(target: Target) -> None:
    """Forty loops of batches of 1,000 events."""
    request = target.batch(json.dumps([anonymous_event() for _ in range(1000)]).encode())
    await asyncio.gather(*(target.repeat(request) for _ in range(40)))


async def unfinished_heads(target: Target) -> None:
    """More connections than the server takes, each of which sends a part of a head."""

    async def one() -> None:
        while not target.over:
            try:
                reader, writer = await target.open(ELSEWHERE)
                writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: a\r\n")
                async with asyncio.timeout(max(target.until - time.monotonic(), 0.1)):
                    await target.read_answer(reader)
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                target.statuses["closed"] += 1
            await asyncio.sleep(0.2)

    await asyncio.gather(*(one() for _ in range(1005)))


async def crowded_connections(target: Target) -> None:
    """Four hundred connections that send requests of nobody without waiting for answers."""
    requests = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 8_000

    async def one() -> None:
        while not target.over:
            try:
                reader, writer = await target.open(ELSEWHERE)
                writer.write(requests)
                while await reader.read(65_536) and not target.over:
                    target.statuses["read"] += 1
                writer.close()
            except (OSError, RuntimeError):
                target.statuses["closed"] += 1
            await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(400)))


async def chunks_of_a_byte(target: Target) -> None:
    """Bodies of which each byte is a chunk."""
    headers = "Content-Type: application/json", "Transfer-Encoding: chunked"
    request = target.head("POST", "/api/v1/events/batch", *headers) + b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n"
    await asyncio.gather(*(target.repeat(request) for _ in range(8)))


async def costly_json(target: Target) -> None:
    """Numbers that take long to decode, in bodies and in the payloads of which sentences are made; and texts there
    that look as if they were cut off."""
    numbers = "[" + ",".join(["9e307"] * 10_000) + "]"
    holds = target.post("/api/v1/holds", b'{"q":%b}' % numbers.encode(), "Content-Type: application/json")
    rules = b'{"rule":%b}' % numbers.replace("]", "," + numbers[1:-1] * 80 + "]").encode()
    test = target.post("/api/v1/alert-rules/test", rules, "Content-Type: application/json")
    trace = target.head("GET", f"/api/v1/events/{new_event(1)['id']}/trace?include=rows")
    await asyncio.gather(*(target.repeat(holds, test, trace) for _ in range(4)))


async def sessions_and_keys(target: Target) -> None:
    """Loops that make sessions with a key for reading, and keys with one of an administrator."""
    new_key = target.post("/api/v1/keys", b'{"scopes":["admin"]}', "Content-Type: application/json")
    session = target.head("POST", "/api/v1/session", "Content-Length: 0")
    listing = target.head("GET", "/api/v1/keys")
    await asyncio.gather(*(target.repeat(request) for request in (new_key, session, listing) * 3))


async def full_payloads(target: Target) -> None:
    """Loops of events whose payloads are as large as is allowed."""
    request = target.post(
        "/api/v1/events",
        json.dumps(anonymous_event(payload={"a": "x" * 250_000})).encode(),
        "Content-Type: application/json",
    )
    await asyncio.gather(*(target.repeat(request) for _ in range(8)))


async def probes(target: Target) -> None:
    """Sixteen loops of the open probe, without a key."""
    await asyncio.gather(*(target.repeat(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(16)))


async def many_pages(target: Target) -> None:
    """Two hundred loops of pages of events."""
    request = target.head("GET", "/api/v1/events?limit=100")
    await asyncio.gather(*(target.repeat(request) for _ in range(200)))


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        empty_frames,
        dense_batches,
        abandoned_traces,
        by_actor,
        stalled_bodies,
        slow_readers,
        slow_readers_of_actors,
        narrowed_flows,
        full_batches,
        unfinished_heads,
        crowded_connections,
        chunks_of_a_byte,
        costly_json,
        sessions_and_keys,
        full_payloads,
        probes,
        many_pages,
    )
}


def filled(port: int, key: str, attack: str, actors: int) -> None:
    """Store what an attack asks about."""
    if attack == "abandoned_traces":
        events = [
            new_event(number, causationId=str(uuid.UUID(int=number - 1 << 64 | 2)) if number > 1 else None)
            for number in range(1, CHAIN + 1)
        ]
    elif attack in ("by_actor", "slow_readers_of_actors"):
        events = [anonymous_event(actorId=f"{number:06}".ljust(255, "a")) for number in range(actors)]
    elif attack == "slow_readers":
        events = [anonymous_event(payload={"a": "x" * 200_000}) for _ in range(100)]
    elif attack in ("many_pages", "narrowed_flows"):
        events = [anonymous_event() for _ in range(5_000)]
    elif attack == "costly_json":
        payloads = {"a": [9e307] * 30_000}, {"result": '{"' + '\\"' * 60_000}
        events = [new_event(number, payload=payloads[number - 1]) for number in (1, 2)]
        events[1]["causationId"] = events[0]["id"]
    else:
        return
    step = 20 if attack == "slow_readers" else 1000
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}, timeout=60) as client:
        for start in range(0, len(events), step):
            answer = client.post("/api/v1/events/batch", json=events[start : start + step])
            assert answer.status_code in (200, 201), answer.text


def main() -> None:
    """Run the attack that is named on the command line."""
    name, port, seconds, *keys = sys.argv[1:]
    print("begun", flush=True)
    target = Target(int(port), keys, time.monotonic() + float(seconds))

    async def run() -> None:
        try:
            async with asyncio.timeout(float(seconds) + 2):
                await ATTACKS[name](target)
        except TimeoutError:
            pass

    uvloop.run(run())
    print(json.dumps(target.statuses))


if __name__ == "__main__":
    main()
