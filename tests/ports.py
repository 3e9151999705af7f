"""Ports for servers that start later, or again."""

import contextlib
import socket
import sys
from collections.abc import Iterator

__all__ = ["reserved_port"]


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections until a server listens on it, and that no other program gets.

    A socket is bound to it and does not listen, so the kernel gives the port to nobody who asks for any port. On Linux
    a server that sets SO_REUSEADDR can listen on it all the same; elsewhere the socket is closed before.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port
