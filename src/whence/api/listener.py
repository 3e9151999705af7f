"""A listening socket, with TLS or without.

The server of uvloop accepts one connection in a round of the event loop. So who connects would wait for as many rounds
as there are connections before it. And it makes no connection known before its TLS handshake is over. Until then
nothing would limit how many there are, and clients that never begin one would use up the open files of the process.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

from whence.api.connections import ConnectionLimits

__all__ = ["Listener"]

_HANDSHAKE_S = 15.0
_ACCEPTED_AT_ONCE = 64  # in one round of the event loop
_PAUSE_S = 1.0
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """Accepts connections, and makes a protocol for each, with TLS once its handshake has succeeded. It stands where
    uvicorn has an `asyncio.Server`."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext | None,
        limits: ConnectionLimits,
        protocol: Callable[[], asyncio.BaseProtocol],
    ) -> None:
        """`listener` is bound and listens; it is closed with this. `context` is that of TLS. With it, connections count
        from the moment that they are accepted. Belongs to the running event loop."""
        self.sockets = (listener,)
        self._listener = listener
        self._context = context
        self._limits = limits
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Accept nothing more, and give up the handshakes that are not over. May be called again."""
        if self._listener.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._listener)
        self._listener.close()
        if self._context is not None:
            for handshake in self._beginning:
                handshake.cancel()

    async def wait_closed(self) -> None:
        """Wait until the last connection has begun."""
        await asyncio.gather(*self._beginning, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._accept_later()
                return
            if self._context is None:
                begin = self._begin(connection)
            elif (counted_as := self._limits.begin_handshake(address[0])) is not None:
                begin = self._shake_hands(connection, self._context, counted_as)
            else:
                connection.close()
                continue
            beginning = self._loop.create_task(begin)
            self._beginning.add(beginning)
            beginning.add_done_callback(self._beginning.discard)

    def _accept_later(self) -> None:
        """Leave further connections to the kernel for a while: another one would fail alike, again and again."""
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(_PAUSE_S, self._accept_again)

    def _accept_again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    async def _begin(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has gone away
            await self._loop.connect_accepted_socket(self._protocol, connection)

    async def _shake_hands(self, connection: socket.socket, context: ssl.SSLContext, counted_as: str) -> None:
        try:
            with contextlib.suppress(OSError):  # the client speaks no TLS, goes away, or takes too long
                await self._loop.connect_accepted_socket(
                    self._protocol, connection, ssl=context, ssl_handshake_timeout=_HANDSHAKE_S
                )
        finally:
            self._limits.end_handshake(counted_as)
