"""Reading request bodies within limits: of one body, of all bodies in memory, and of the size after inflating.

A body is refused as soon as its size is known: by its Content-Length before a byte is read, or while it arrives, or
while it is inflated. The bytes in memory count as the tenant's until the request ends; see `admission`.
"""

import asyncio
import codecs
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import cast

from litestar.exceptions import HTTPException

from whence.api.admission import INFLATING_THREADS, Admission
from whence.api.authorization import authorize_again
from whence.api.decompress import DECOMPRESSORS, Damaged
from whence.api.headers import header
from whence.api.request import Request
from whence.errors import Invalid, TooLarge, UnsupportedMedia

__all__ = ["is_plain", "read_body"]

_ON_LOOP_MAX = 16 * 1024  # of a compressed body, in bytes
_FIRST_SLICE = (64 * 1024, 64)  # bytes and parts that are inflated on the event loop: half a millisecond
_SLICE = (256 * 1024, 1024)  # the same, of a turn in a thread: a few milliseconds
_BODY_S = 60.0
_TRUSTED_S = 0.5
"""A body that took longer is one of a credential that may have ended meanwhile."""

_WINDOW_S = 15.0
_WINDOW_BYTES_MIN = 61_440  # 4 KiB a second
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"{\0", b"[\0", b"\0{", b"\0[", b"\0\0")
"""How a body begins that is not UTF-8, in JSON."""

_NO_TIMER = nullcontext()

_inflaters = ThreadPoolExecutor(INFLATING_THREADS, thread_name_prefix="whence-inflate")


def is_plain(request: Request, body: bytes) -> bool:
    """Whether `read_body` would return just these bytes, if they are all that was sent and within the limit."""
    encoded = header(request.scope, b"content-encoding") is not None
    return bool(body) and not encoded and not body.startswith((*_UTF16, codecs.BOM_UTF8))


class read_body(AbstractAsyncContextManager[bytes]):  # noqa: N801  (used like a function; a generator takes longer)
    """The inflated body, of at most `limit` bytes; its bytes stay counted until the block ends. A credential that ended
    while the body arrived is refused.

    Raises TooLarge, Busy, Throttled, UnsupportedMedia for an encoding other than gzip and zstd and for UTF-16, and
    Invalid for a body that does not inflate, or is empty and may not be.
    """

    def __init__(
        self, request: Request, admission: Admission, tenant: str, limit: int, *, may_be_empty: bool = False
    ) -> None:
        self._request = request
        self._reader = _BodyReader(admission, tenant, limit)
        self._may_be_empty = may_be_empty

    async def __aenter__(self) -> bytes:
        """Read the body. The caller has the only reference to it, and may drop it."""
        began = time.monotonic()
        try:
            body = await self._reader.read(self._request)
            if time.monotonic() - began > _TRUSTED_S:
                await authorize_again(self._request)
            if not body and not self._may_be_empty:
                raise Invalid.at(("body",), "The body is empty; send the event as JSON.", "missing")
        except BaseException:
            self._reader.give_back()
            raise
        return body

    async def __aexit__(self, *_error: object) -> None:
        self._reader.give_back()


class _BodyReader:
    """Reads one body. `taken` is what it has added to the tenant's bytes so far."""

    def __init__(self, admission: Admission, tenant: str, limit: int) -> None:
        self.admission = admission
        self.tenant = tenant
        self.limit = limit
        self.taken = 0

    def give_back(self) -> None:
        """No longer count the bytes as the tenant's."""
        self.admission.bodies.give_back(self.tenant, self.taken)

    async def read(self, request: Request) -> bytes:
        """The whole inflated body, without the byte order mark of UTF-8; see `read_body`."""
        encoding = (header(request.scope, b"content-encoding") or b"").strip().lower().decode("latin-1")
        # Random bytes grow a little when they are compressed. A body beyond this is too large after inflating, too.
        raw_limit = self.limit if encoding in ("", "identity") else self.limit + self.limit // 256 + 1024
        declared = header(request.scope, b"content-length") or b""
        if declared.isdigit() and int(declared) > raw_limit:
            raise self._too_large()
        raw = await self._receive(request, raw_limit)
        if encoding not in ("", "identity"):
            raw = await self._inflated(raw, encoding)
        if raw.startswith(_UTF16):
            raise UnsupportedMedia("This is UTF-16 or UTF-32. Send the body in UTF-8.")
        return raw.removeprefix(codecs.BOM_UTF8)

    async def _receive(self, request: Request, limit: int) -> bytes:
        """The bytes as sent. A client that sends too slowly gets a 408: too few bytes in some seconds, whatever it has
        sent before, or no end after the longest time that a body may take."""
        parts: list[bytes] = []
        received, in_window = 0, 0
        window_began = began = time.monotonic()
        while True:
            ends = min(began + _BODY_S, window_began + _WINDOW_S)
            try:
                # It is given in one message, which is there already. A timer would take longer than all else here.
                whole = request.scope["state"].pop("has_arrived", False)
                async with _NO_TIMER if whole else asyncio.timeout(max(ends - time.monotonic(), 0)):
                    message = await request.receive()
            except TimeoutError:
                raise HTTPException(status_code=408, headers={"Connection": "close"}) from None
            if message["type"] == "http.disconnect":
                raise HTTPException(status_code=400)
            part = cast(bytes, message.get("body", b""))
            received += len(part)
            in_window += len(part)
            if in_window >= _WINDOW_BYTES_MIN:
                in_window, window_began = 0, time.monotonic()
            if received > limit:
                raise self._too_large()
            self._take(len(part))
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _inflated(self, raw: bytes, encoding: str) -> bytes:
        """The inflated bytes. All but the first slice of a small body is inflated by threads, which tenants use in
        turns: a small body must not wait for a thread, and a large one must not delay the event loop."""
        decompress = DECOMPRESSORS.get(encoding)
        if decompress is None:
            raise UnsupportedMedia("A body may be encoded with gzip or zstd, once, or not at all.")
        source, parts, size, done = decompress(raw), [b""], 0, False
        on_loop = len(raw) <= _ON_LOOP_MAX
        loop = asyncio.get_running_loop()
        while not done:
            try:
                if on_loop:
                    found, done = _next_slice(source, *_FIRST_SLICE)
                else:
                    async with self.admission.inflating.place(self.tenant):
                        found, done = await loop.run_in_executor(_inflaters, _next_slice, source, *_SLICE)
            except Damaged as error:
                raise Invalid.at(("body",), str(error), "encoding") from None
            on_loop = False
            slice_size = sum(map(len, found))
            size += slice_size
            if size > self.limit:
                raise self._too_large()
            self._take(slice_size)
            parts += found
        return b"".join(parts)

    def _take(self, size: int) -> None:
        self.admission.bodies.take(self.tenant, size)
        self.taken += size

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is too large; it may have {self.limit // 1024} KiB, counted after inflating.")


def _next_slice(source: Iterator[bytes], bytes_max: int, parts_max: int) -> tuple[list[bytes], bool]:
    """The next parts of a body, up to one of these limits, and whether the body ends with them."""
    parts: list[bytes] = []
    size = 0
    for part in source:
        parts.append(part)
        size += len(part)
        if size >= bytes_max or len(parts) >= parts_max:
            return parts, False
    return parts, True
