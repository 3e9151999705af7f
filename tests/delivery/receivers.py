"""An HTTP receiver of webhooks on loopback, which answers as it is scripted, and notes what came."""

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from whence.webhooks import verify


async def eventually(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 15.0) -> None:
    """Wait until something is true. Fails when it does not become so."""
    until = time.monotonic() + seconds
    while True:
        found = holds()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < until, "this did not become true in time"
        await asyncio.sleep(0.01)


@dataclass
class Received:
    """A request that came whole."""

    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader

    @property
    def id(self) -> str:
        """The id of the message."""
        return self.headers["webhook-id"]

    @property
    def data(self) -> Any:
        """What the message is about."""
        return json.loads(self.body)["data"]

    def verified(self, secret: str) -> Any:
        """The body, if the message is signed with this secret."""
        return verify(self.body, self.headers, secret)


Behaviour = Callable[["Receiver", Received, asyncio.StreamWriter], Awaitable[None]]


def answering(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answers with this status."""

    async def behave(_receiver: "Receiver", _request: Received, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return behave


async def hanging(_receiver: "Receiver", request: Received, _writer: asyncio.StreamWriter) -> None:
    """Takes the request and never answers. Ends when the client does."""
    await request.reader.read(1)


async def resetting(_receiver: "Receiver", _request: Received, writer: asyncio.StreamWriter) -> None:
    """Processes the request, and breaks the connection instead of an answer."""
    writer.transport.abort()


async def endless(_receiver: "Receiver", _request: Received, writer: asyncio.StreamWriter) -> None:
    """Answers with a 200 whose body never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()


async def dripping(_receiver: "Receiver", _request: Received, writer: asyncio.StreamWriter) -> None:
    """Answers a byte of the head at a time, for ever."""
    while True:
        writer.write(b"H")
        await writer.drain()
        await asyncio.sleep(0.02)


OK = answering(200, b"ok")


@dataclass
class Receiver:
    """A running receiver. `behaviour` may be changed at any time; `accepted` counts its connections."""

    behaviour: Behaviour = OK
    received: list[Received] = field(default_factory=list)
    accepted: int = 0
    port: int = 0
    at_once: int = 0
    at_once_max: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """The ids of what was received, in order."""
        return [each.id for each in self.received]

    async def until(self, holds: Callable[[], bool], seconds: float = 15.0) -> None:
        """Wait until something is true."""
        await eventually(holds, seconds)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.accepted += 1
        try:
            while (request := await _read(reader)) is not None:
                self.received.append(request)
                self.at_once += 1
                self.at_once_max = max(self.at_once_max, self.at_once)
                try:
                    await self.behaviour(self, request, writer)
                finally:
                    self.at_once -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    head = b""
    with contextlib.suppress(asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
    if not head:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(first.split(" ")[1], headers, body, reader)


@contextlib.asynccontextmanager
async def receiving(
    behaviour: Behaviour = OK, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver, until the end of the block."""
    receiver = Receiver(behaviour)
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await receiver.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def receiving_beside(behaviour: Behaviour = OK) -> Iterator[Receiver]:
    """A receiver in a thread of its own, for tests that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    context = receiving(behaviour)
    try:
        receiver = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
        try:
            yield receiver
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
