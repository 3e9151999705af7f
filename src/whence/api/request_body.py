"""Reading request bodies within limits: of one body, of all bodies in memory, and of the size after inflating.

A body is refused as soon as its size is known: by its Content-Length before a byte is read, or while it arrives, or
while it is inflated. The bytes in memory count against one budget of the whole server until the request ends. Large
answers have a budget of the same kind.
"""

import asyncio
import io
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import zstandard
from litestar.exceptions import HTTPException

from whence.api.request import Request
from whence.errors import Busy, Invalid, TooLarge, UnsupportedMedia

__all__ = ["BodyReader", "MemoryBudget"]

_CHUNK = 64 * 1024
_ZSTD_WINDOW_MAX = 8 * 1024 * 1024
_GRACE_S = 15.0
_BYTES_PER_SECOND_MIN = 4096


class MemoryBudget:
    """How many bytes of request bodies, or of answers, may be in memory at once, over all requests of this server.

    `noun` says of what, in the sentence of a refusal.
    """

    def __init__(self, limit: int, noun: str = "request bodies") -> None:
        self.limit = limit
        self.noun = noun
        self.used = 0

    def take(self, size: int) -> None:
        """Add `size` bytes to what is used. Raises Busy when they do not fit."""
        if self.used + size > self.limit:
            raise Busy(f"Too many {self.noun} are in flight; send this again in a moment.")
        self.used += size

    def hold(self, request: Request, size: int, *, stored: bool = False) -> None:
        """Count the `size` bytes of a large answer until the client has read it; a small one is not counted.

        Raises Busy when they do not fit, unless the answer is about events that are `stored`: that one must be sent.
        """
        if size <= _CHUNK:
            return
        if stored:
            self.used += size
        else:
            self.take(size)
        request.scope["state"]["at_end"].append(partial(self._release, size))

    def _release(self, size: int) -> None:
        self.used -= size

    @asynccontextmanager
    async def read(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """The inflated body, of at most `limit` bytes; its bytes stay counted until the block ends.

        Raises TooLarge, Busy, UnsupportedMedia for an encoding other than gzip and zstd, and Invalid for a body that
        is empty or does not inflate.
        """
        reader = BodyReader(self, limit)
        try:
            yield await reader.read(request)
        finally:
            self.used -= reader.taken


class BodyReader:
    """Reads one body. `taken` is what it has added to the budget so far."""

    def __init__(self, budget: MemoryBudget, limit: int) -> None:
        self.budget = budget
        self.limit = limit
        self.taken = 0

    async def read(self, request: Request) -> bytes:
        """The whole inflated body; see `MemoryBudget.read`."""
        encoding = ",".join(request.headers.getall("content-encoding", [])).strip().lower()
        # Random bytes grow a little when they are compressed. A body beyond this is too large after inflating, too.
        raw_limit = self.limit if encoding in ("", "identity") else self.limit + self.limit // 256 + 1024
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared) > raw_limit:
            raise self._too_large()
        raw = await self._receive(request, raw_limit)
        if encoding not in ("", "identity"):
            raw = self._inflated(raw, encoding)
        if not raw:
            raise Invalid.at(("body",), "The body is empty; send the event as JSON.", "missing")
        return raw

    async def _receive(self, request: Request, limit: int) -> bytes:
        """The bytes as sent. A client that sends too slowly gets a 408."""
        parts: list[bytes] = []
        received, started = 0, time.monotonic()
        while True:
            wait_s = _GRACE_S + received / _BYTES_PER_SECOND_MIN - (time.monotonic() - started)
            try:
                async with asyncio.timeout(max(wait_s, 0)):
                    message = await request.receive()
            except TimeoutError:
                raise HTTPException(status_code=408, headers={"Connection": "close"}) from None
            if message["type"] == "http.disconnect":
                raise HTTPException(status_code=400)
            part = cast(bytes, message.get("body", b""))
            received += len(part)
            if received > limit:
                raise self._too_large()
            self._take(len(part))
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _inflated(self, raw: bytes, encoding: str) -> bytes:
        if encoding not in ("gzip", "x-gzip", "zstd"):
            raise UnsupportedMedia("A body may be encoded with gzip or zstd, once, or not at all.")
        parts: list[bytes] = []
        size = 0
        try:
            for part in _unzstd(raw) if encoding == "zstd" else _gunzip(raw):
                size += len(part)
                if size > self.limit:
                    raise self._too_large()
                self._take(len(part))
                parts.append(part)
        except (zlib.error, zstandard.ZstdError, EOFError):
            raise Invalid.at(("body",), "The body cannot be inflated; it is damaged or cut off.", "encoding") from None
        return b"".join(parts)

    def _take(self, size: int) -> None:
        self.budget.take(size)
        self.taken += size

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is too large; it may have {self.limit // 1024} KiB, counted after inflating.")


def _gunzip(raw: bytes) -> Iterator[bytes]:
    """The text of one or more gzip members, in parts of at most 64 KiB. Raises zlib.error and EOFError."""
    while raw:
        member = zlib.decompressobj(wbits=31)
        part = member.decompress(raw, _CHUNK)
        while part or member.unconsumed_tail:
            yield part
            part = member.decompress(member.unconsumed_tail, _CHUNK)
        if not member.eof:
            raise EOFError
        raw = member.unused_data


def _unzstd(raw: bytes) -> Iterator[bytes]:
    """The text of one or more zstd frames, in parts of at most 64 KiB. Raises ZstdError and EOFError.

    The stream reader bounds its output but ends without an error when a frame is cut off. So the frames are checked
    afterwards, when the whole text is known to be within the limit.
    """
    context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX)
    with context.stream_reader(io.BytesIO(raw), read_across_frames=True) as reader:
        while part := reader.read(_CHUNK):
            yield part
    while raw:
        frame = context.decompressobj()
        frame.decompress(raw)
        if not frame.eof:
            raise EOFError
        raw = frame.unused_data
