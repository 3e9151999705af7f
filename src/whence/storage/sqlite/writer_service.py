"""The writer's side of a store that several processes share: it answers the calls of the others on a Unix socket.

    acceptor  -- call -->    WriterService -> SQLiteStore     one process has the file open for writing
              <- result --
              <- growth --                                    after every commit, to all of them

The calls of a connection run at the same time, in the order in which they came: the writer joins those that wait into
one commit, as it does with the requests of a single process.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import structlog

from whence.errors import Unavailable, WhenceError
from whence.storage.base import Store, Write
from whence.storage.seals import NewCheckpoint
from whence.storage.sqlite.frames import (
    FrameBuffer,
    decode_call,
    encode_failure,
    encode_growth,
    encode_result,
    pack_results,
    pack_stored,
)

__all__ = ["WriterService"]

_PUSH_S = 0.002
"""Growth is sent this long after a commit, together with that of the commits which follow."""

_HINTS_MAX = 256 * 1024  # bytes that a process has not read

_log = structlog.get_logger("whence.storage")


class WriterService:
    """Serves a store to other processes of this machine that may open the socket."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connections: set[_Connection] = set()
        self._grown: dict[str, None] = {}
        self._server: asyncio.Server | None = None
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        keys, followers, seals, removals = store.credentials, store.followers, store.seals, store.removals
        self._methods: dict[str, Callable[..., Awaitable[Any]]] = {
            "append": self._append,
            "check": lambda _nothing: store.check(),
            "put_key": lambda key, limited: keys.put_key(key, limited=limited),
            "revoke_key": keys.revoke_key,
            "touch_keys": keys.touch_keys,
            "put_session": keys.put_session,
            "end_session": keys.end_session,
            "take_session": keys.take_session,
            "put_definition": followers.put_definition,
            "delete_definition": followers.delete_definition,
            "save_place": followers.save_place,
            "delete_place": followers.delete_place,
            "add_deliveries": followers.add_deliveries,
            "record_attempts": followers.record_attempts,
            "retry_deliveries": followers.retry_deliveries,
            "delete_deliveries": followers.delete_deliveries,
            "add_origin": seals.add_origin,
            "put_checkpoints": self._put_checkpoints,
            "put_tiles": seals.put_tiles,
            "erase_payloads": removals.erase_payloads,
            "purge": removals.purge,
            "erase_actor": removals.erase_actor,
            "settle": removals.settle,
            "scrub": removals.scrub,
            "index_payloads": store.payload_index.advance,
            "delete_tenant": store.deletions.delete_tenant,
            "remove_rows": store.deletions.remove_rows,
        }

    async def start(self, listener: socket.socket) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), sock=listener)

    async def drain(self, timeout_s: float) -> None:
        """Accept no more connections, and return when all have ended, or after this time."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._all_gone.wait()
        for connection in list(self._connections):
            connection.abort()

    def add(self, connection: "_Connection") -> None:
        """A process has connected. It is greeted by a list of no tenants."""
        self._connections.add(connection)
        self._all_gone.clear()
        connection.send(encode_growth(()))

    def discard(self, connection: "_Connection") -> None:
        """A process has gone. What it sent goes on: its events may have been read from elsewhere before."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    async def call(self, number: int, name: str, arguments: Any) -> bytes:
        """The frame that answers a call. Never raises an Exception."""
        try:
            return encode_result(number, await self._methods[name](*arguments))
        except WhenceError as error:
            return encode_failure(number, error)
        except Exception as error:
            _log.error("call failed", call=name, error=type(error).__name__, exc_info=True)
            return encode_failure(number, Unavailable("The store failed. Send it again."))

    async def _append(self, tenant: str, writes: list[Write]) -> list[Any]:
        results = await self._store.append(tenant, writes)
        if not self._grown:
            asyncio.get_running_loop().call_later(_PUSH_S, self._push_growth)
        self._grown[tenant] = None
        return pack_results(results)

    async def _put_checkpoints(self, new: list[NewCheckpoint]) -> list[Any]:
        return pack_stored(await self._store.seals.put_checkpoints(new))

    def _push_growth(self) -> None:
        frame = encode_growth(list(self._grown))
        self._grown.clear()
        for connection in self._connections:
            connection.hint(frame)


class _Connection(asyncio.Protocol):
    """The connection of one process."""

    def __init__(self, service: WriterService) -> None:
        self._service = service
        self._buffer = FrameBuffer()
        self._calls: set[asyncio.Task[None]] = set()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._service.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._service.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._buffer.feed(data):
                task = asyncio.ensure_future(self._answer(*decode_call(frame)))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
        except (KeyError, msgspec.MsgspecError):
            _log.error("a process of this server sent what is no call; its connection is closed")
            self.abort()

    def send(self, frame: bytes) -> None:
        """Send a frame, unless the process has gone."""
        if self._transport is not None:
            self._transport.write(frame)

    def hint(self, frame: bytes) -> None:
        """Send a frame that may be lost, unless too many wait already: the process may be stopped for long."""
        if self._transport is not None and self._transport.get_write_buffer_size() < _HINTS_MAX:
            self._transport.write(frame)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _answer(self, number: int, name: str, arguments: Any) -> None:
        self.send(await self._service.call(number, name, arguments))
