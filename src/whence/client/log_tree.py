"""What proves many events at once: the entries of a log, and the tiles of its tree."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Unpack

from whence.client import requests
from whence.client.requests import ApiRequest, EventFilters
from whence.client.responses import ApiResponse, parse_bytes

__all__ = ["AsyncLogTree", "LogTree"]


class LogTree:
    """The Merkle tree of a tenant's log; `Whence.tree` makes it. docs/proof.md has the formats."""

    def __init__(self, send: Callable[[ApiRequest], ApiResponse], stream: Callable[[ApiRequest], Iterator[bytes]]):
        self._send = send
        self._stream = stream

    def entries(
        self, *, as_of: int | None = None, complete: bool = False, **filters: Unpack[EventFilters]
    ) -> Iterator[bytes]:
        """What the leaves of the matching events are made of, by position, up to `as_of`, as parts of a file with an
        entry on each line. With `complete` also those of the events that do not match, without their payloads.

        Raises Unreachable when the response breaks off, and NotFound before the first checkpoint.
        """
        return self._stream(requests.entries_request(as_of=as_of, complete=_flag(complete), **filters))

    def tile(self, path: str) -> bytes:
        """The hashes of a tile, joined, by its path such as "0/000.p/17". Raises NotFound for one that the newest
        checkpoint does not have."""
        return parse_bytes(self._send(requests.tile_request(path)))


class AsyncLogTree:
    """As `LogTree`."""

    def __init__(
        self,
        send: Callable[[ApiRequest], Awaitable[ApiResponse]],
        stream: Callable[[ApiRequest], AsyncIterator[bytes]],
    ):
        self._send = send
        self._stream = stream

    def entries(
        self, *, as_of: int | None = None, complete: bool = False, **filters: Unpack[EventFilters]
    ) -> AsyncIterator[bytes]:
        """As `LogTree.entries`."""
        return self._stream(requests.entries_request(as_of=as_of, complete=_flag(complete), **filters))

    async def tile(self, path: str) -> bytes:
        """As `LogTree.tile`."""
        return parse_bytes(await self._send(requests.tile_request(path)))


def _flag(complete: bool) -> str | None:
    return "true" if complete else None
