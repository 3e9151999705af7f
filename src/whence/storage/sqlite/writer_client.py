"""The other side of `writer_service`: a connection to the process that writes, which is made again when it is lost."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import structlog

from whence.errors import Unavailable, WhenceError
from whence.storage.base import Receipt, Write
from whence.storage.seals import NewCheckpoint
from whence.storage.sqlite.frames import (
    Failure,
    FrameBuffer,
    Growth,
    decode_reply,
    encode_append,
    encode_call,
    unpack_error,
    unpack_results,
    unpack_stored,
)

__all__ = ["WriterClient"]

_RETRY_S = 0.02
_CONNECT_S = 5.0

_log = structlog.get_logger("whence.storage")


class WriterClient:
    """Calls the writer. Belongs to the event loop on which it was first used."""

    def __init__(self, path: str, grown: Callable[[Sequence[str]], None]) -> None:
        """`path` is that of the writer's socket. `grown` is called with the tenants whose logs have grown."""
        self._path = path
        self._grown = grown
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._number = 0
        self._was_connected = False
        self._closed = False

    async def append(self, tenant: str, writes: Sequence[Write]) -> list[list[Receipt] | WhenceError]:
        """As `Store.append`, but raises Unavailable for all requests together."""
        self._number += 1
        result = await self._send(self._number, encode_append(self._number, tenant, writes))
        return unpack_results(tenant, writes, result)

    async def put_checkpoints(self, new: Sequence[NewCheckpoint]) -> list[bool | WhenceError]:
        """As `Seals.put_checkpoints`."""
        self._number += 1
        return unpack_stored(await self._send(self._number, encode_call(self._number, "put_checkpoints", list(new))))

    async def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the writer by its name; see `frames.ARGUMENTS`. Raises what the method raised, and
        Unavailable when the writer has gone; the call may have had its effect then."""
        self._number += 1
        return msgspec.msgpack.decode(await self._send(self._number, encode_call(self._number, name, *arguments)))

    async def connect(self) -> None:
        """Keep a connection from now on, so that growth is heard of. Returns when there is one, or soon in any case."""
        self._keep_connecting()
        if self._connecting is not None:
            await asyncio.wait([self._connecting], timeout=_CONNECT_S)

    async def close(self) -> None:
        """End the connection."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._connection is not None:
            self._connection.close()

    async def _send(self, number: int, frame: bytes) -> msgspec.Raw:
        if self._connection is None and not self._was_connected:
            await self.connect()
        if self._connection is None:
            raise Unavailable("The process that writes is not there. Send this again in a moment, with the same id.")
        return await self._connection.send(number, frame)

    def _keep_connecting(self) -> None:
        running = self._connecting is not None and not self._connecting.done()
        if self._connection is None and not running and not self._closed:
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        """Connect, however long it takes. The supervisor keeps the socket open while no process writes, so a
        connection is one to the writer only once that has greeted."""
        loop = asyncio.get_running_loop()
        while self._connection is None:
            with contextlib.suppress(OSError):
                _, connection = await loop.create_unix_connection(
                    lambda: _Connection(self._grown, self._lost), self._path
                )
                if await connection.greeted:
                    self._connection, self._was_connected = connection, True
                    return
            await asyncio.sleep(_RETRY_S)

    def _lost(self, connection: "_Connection") -> None:
        if self._connection is connection:
            self._connection = None
            self._keep_connecting()


class _Connection(asyncio.Protocol):
    def __init__(self, grown: Callable[[Sequence[str]], None], lost: Callable[["_Connection"], None]) -> None:
        self._grown = grown
        self._lost = lost
        self._buffer = FrameBuffer()
        self._calls: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._transport: asyncio.WriteTransport | None = None
        self.greeted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._greet(False)
        for call in self._calls.values():
            if not call.done():
                call.set_exception(
                    Unavailable(
                        "The process that writes ended before it answered. Send this again, with the same id: it may "
                        "have been stored."
                    )
                )
        self._calls.clear()
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._buffer.feed(data):
                self._receive(frame)
        except msgspec.MsgspecError:
            _log.error("the process that writes sent what is no reply; the connection to it is closed")
            self.close()

    def _receive(self, frame: bytes) -> None:
        reply = decode_reply(frame)
        if isinstance(reply, Growth):
            self._greet(True)
            self._grown(reply.tenants)
            return
        call = self._calls.pop(reply.number, None)
        if call is None or call.done():  # its caller was cancelled
            return
        if isinstance(reply, Failure):
            call.set_exception(unpack_error(reply.error))
        else:
            call.set_result(reply.result)

    def _greet(self, by_writer: bool) -> None:
        if not self.greeted.done():
            self.greeted.set_result(by_writer)

    async def send(self, number: int, frame: bytes) -> msgspec.Raw:
        """Send a call, and wait for what it returns."""
        if self._transport is None:
            raise Unavailable("The process that writes has gone. Send this again in a moment, with the same id.")
        call = self._calls[number] = asyncio.get_running_loop().create_future()
        self._transport.write(frame)
        result: msgspec.Raw = await call
        return result

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()
