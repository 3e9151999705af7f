"""Responses of any length that are read in parts, each by a short transaction.

No transaction waits for the client: the next part is read once the client has read most of the one before. So a
response of any size has one part in memory. It cannot end with a status, since its head is sent by then, so a
connection that is cut says that the response is not complete.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec
from litestar.types import Receive, Scope, Send

from whence.api.context import context_of, now_us, principal_of
from whence.api.request import Request
from whence.errors import Busy, Forbidden, Throttled, Unavailable, WhenceError

__all__ = ["Part", "PartStream"]

_Item = TypeVar("_Item")
_Place = TypeVar("_Place")
_Result = TypeVar("_Result")

_UNREAD_S = 30.0  # a client that reads nothing for this long is cut
_TRUSTED_S = 0.5  # after this time the credential is checked again
_UNVERIFIED_S = 10.0
_AGAIN_S = 0.05, 0.5  # when there was no room for a part
_CUT_S = 5.0


class Part(msgspec.Struct, Generic[_Item, _Place], frozen=True):
    """Items that come next, and about how many bytes they are. The part after them begins after the place `after`,
    which is None at the end."""

    items: Sequence[_Item]
    size: int
    after: _Place | None


class PartStream(Generic[_Item, _Place]):
    """An ASGI application that sends parts until the end, or until the client or its credential goes.

    `read` gives the part after a place, None for the first one, and runs while the tenant has a place for a question
    that reads much. `encode` gives the line of each item. `name` is that of the file, `head` what comes before the
    first part.
    """

    def __init__(
        self,
        request: Request,
        read: Callable[[_Place | None], Awaitable[Part[_Item, _Place]]],
        encode: Callable[[Sequence[_Item]], Iterator[bytes]],
        *,
        name: str,
        media: str,
        head: bytes = b"",
    ) -> None:
        self._request, self._read_part, self._encode = request, read, encode
        self._name, self._media, self._head = name, media, head
        self._context, self._viewer = context_of(request), principal_of(request).viewer
        self._abort: Callable[[], None] = request.scope["state"].get("abort", lambda: None)
        self._verified_at = time.monotonic()
        self._first: Part[_Item, _Place] | None = None

    async def begin(self, as_of: int) -> None:
        """Read the first part, so that what is refused is answered with a status, and record that events up to the
        position `as_of` are exported, where that is switched on."""
        self._first = await self._read(None)
        scope = self._request.scope
        if self._request.method != "HEAD":
            principal, path = principal_of(self._request), scope["state"]["public_path"]
            await self._context.recorder.exported(principal, path, scope["query_string"], as_of, now_us())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts; to HEAD, only the head of the response."""
        state: Any = scope["state"]
        state["unread_s"], state["on_stop"] = _UNREAD_S, self._abort
        headers = [
            (b"content-type", self._media.encode()),
            (b"content-disposition", f'attachment; filename="{self._name}"'.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._request.method != "HEAD":
            try:
                await self._send(send)
            except WhenceError as error:
                state["code"] = error.code
                self._abort()
                await asyncio.sleep(_CUT_S)  # the task is cancelled when the connection is lost
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send) -> None:
        """Send all parts. Raises WhenceError when the next one cannot be read, or may not be read any more."""
        await self._send_lines(send, self._head, 0)
        part, self._first = self._first, None
        while part is not None:
            lines = await self._patiently(partial(self._encoded, part.items))
            size, after, part = part.size, part.after, None  # so that only the lines stay in memory
            await self._send_lines(send, lines, size)
            if after is None:
                return
            await self._verify()
            part = await self._patiently(partial(self._read, after))

    async def _encoded(self, items: Sequence[_Item]) -> bytes:
        return b"".join(await self._context.admission.in_slices(self._viewer.tenant, self._encode(items)))

    async def _send_lines(self, send: Send, lines: bytes, size: int) -> None:
        if not lines:
            return

        release = await self._patiently(partial(self._take, size))
        try:
            await send({"type": "http.response.body", "body": lines, "more_body": True})
        finally:
            release()

    async def _take(self, size: int) -> Callable[[], None]:
        return self._context.admission.take_answer(self._viewer.tenant, size)

    async def _read(self, after: _Place | None) -> Part[_Item, _Place]:
        async with self._context.admission.page_place(self._viewer.tenant, indexed=False):
            return await self._read_part(after)

    async def _patiently(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """The result of some work, which is tried again while there is no room for it."""
        while True:
            try:
                return await work()
            except (Busy, Throttled):
                await asyncio.sleep(random.uniform(*_AGAIN_S))  # noqa: S311  (no secret)
                await self._verify()

    async def _verify(self) -> None:
        """Check the credential again after a while. Raises WhenceError when it has ended, or may read less."""
        now = time.monotonic()
        if now - self._verified_at < _TRUSTED_S:
            return
        try:
            principal = await self._context.authenticator.authenticate(self._request)
        except (Unavailable, Busy):
            if now - self._verified_at > _UNVERIFIED_S:
                raise
            return
        if principal.viewer != self._viewer:
            raise Forbidden("What this credential may read has changed.")
        self._verified_at = now
