"""Streams: connections over which events are sent as they are stored, as Server-Sent Events.

A stream reads the log forward by position, like everybody who follows it. It keeps nothing that a client has yet to
get, since that is in the store. So any stream may be cut at any time, and the client goes on from the id of the last
message that it got.

One task for each tenant waits for its log to grow, and wakes its streams at most ten times a second. Those with the
same viewer, filter and position share one read and its encoded messages. One task authenticates the credentials of all
streams again, a few times a second.
"""

import asyncio
import contextlib
import math
import random
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

from whence.api.admission import Admission
from whence.api.auth import Authenticator
from whence.api.request import Request
from whence.errors import Busy, PositionGone, Throttled, Unavailable, WhenceError
from whence.events import FeedPage, Viewer
from whence.permissions import Principal
from whence.storage.base import Store
from whence.storage.feed import EVENT_BYTES, SHORT_PART
from whence.wire.feed import COMMENT, FeedRequest, Places, encode_bye, encode_frames, encode_marker
from whence.wire.parameters import FEED_LIMIT_MAX

__all__ = ["ENDED", "READ_EVERY_S", "EventStream", "Streams"]

READ_EVERY_S = 0.1
"""A stream reads the log at most this often, in seconds."""

_EARLY_S = 0.02  # how much of that time may be missing, so that what began late does not lose a turn

_MARKER_S = 5.0
_COMMENT_S = 15.0
_UNREAD_S = 30.0  # a client that reads nothing for this long is cut
_WATCH_S = 60.0
_CHECK_S = 0.4  # a revoked key ends its streams after this time and the tenth of a second for which it is cached
_UNVERIFIED_S = 10.0
_END_S = 1.0  # how long the last message may take
_RETRY_MS = 1_000, 3_000  # at random, so that the clients of a server that stops do not come back all at once
ENDED = "The log ends before this position: its tenant was deleted. Start again with from=start."
_CARRIERS = (b"authorization", b"x-api-key", b"cookie")
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"connection", b"close"),
    (b"x-accel-buffering", b"no"),  # nginx would collect messages
]


class _Part(msgspec.Struct, frozen=True, weakref=True):
    """A part of a feed as messages. `last` is the position of its last event, None without one, and `log_number` that
    of the page."""

    messages: bytes
    read_to: int
    last: int | None
    log_number: int


class _Watch:
    """The streams of one tenant, the size of its log, and the task that waits for the log to grow."""

    def __init__(self) -> None:
        self.size = 0
        self.streams: set[EventStream] = set()
        self.task: asyncio.Task[None] | None = None


class _Credential:
    """The streams that were opened with one credential, and when it was last found valid."""

    def __init__(self, request: Request, viewer: Viewer) -> None:
        self.request, self.viewer = request, viewer
        self.streams: set[EventStream] = set()
        self.verified_at = time.monotonic()

    def end(self, code: str, detail: str) -> None:
        """End the streams of this credential."""
        for stream in self.streams:
            stream.end(code, detail)


class Streams:
    """The open streams of a server, and what they share. Belongs to one event loop."""

    def __init__(self, store: Store, authenticator: Authenticator, admission: Admission, places: Places) -> None:
        """Start without streams."""
        self.places = places
        self._store, self._authenticator, self._admission = store, authenticator, admission
        self._watches: dict[str, _Watch] = {}
        self._reading: dict[tuple[Any, ...], asyncio.Task[_Part]] = {}
        self._credentials: dict[tuple[Any, ...], _Credential] = {}
        self._checking: asyncio.Task[None] | None = None

    async def open(self, request: Request, principal: Principal, asked: FeedRequest, position: int) -> "EventStream":
        """A stream that begins after a position. Raises what `Store.read_feed` raises there."""
        page = await self._store.read_feed(principal.viewer, asked.query, position, 1)
        return EventStream(self, request, principal.viewer, asked, position, page)

    async def close(self) -> None:
        """End the background work. Streams have ended before."""
        tasks = [watch.task for watch in self._watches.values()] + [self._checking, *self._reading.values()]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    @contextlib.contextmanager
    def joined(self, stream: "EventStream") -> Iterator[_Watch]:
        """Wake a stream when its log grows, and end it with its credential, while the block runs."""
        tenant = stream.viewer.tenant
        watch = self._watches.setdefault(tenant, _Watch())
        watch.size = max(watch.size, stream.size)
        watch.streams.add(stream)
        if watch.task is None:
            watch.task = asyncio.create_task(self._watch(tenant, watch))
        headers = stream.request.scope["headers"]
        carried = (stream.viewer, *((name, value) for name, value in headers if name in _CARRIERS))
        credential = self._credentials.setdefault(carried, _Credential(stream.request, stream.viewer))
        credential.streams.add(stream)
        if self._checking is None:
            self._checking = asyncio.create_task(self._check_credentials())
        try:
            yield watch
        finally:
            watch.streams.discard(stream)
            credential.streams.discard(stream)
            if not watch.streams and self._watches.get(tenant) is watch:
                del self._watches[tenant]
                watch.task.cancel()
            if not credential.streams and self._credentials.get(carried) is credential:
                del self._credentials[carried]
            if not self._credentials and self._checking is not None:
                self._checking.cancel()
                self._checking = None

    async def part(self, stream: "EventStream", size: int) -> _Part:
        """The part of the feed that a stream sends next, read and encoded once for all that are at the same place.
        Raises Busy and Throttled when there is no room for it now, and what `Store.read_feed` raises."""
        limit = SHORT_PART if size - stream.position <= SHORT_PART else FEED_LIMIT_MAX
        asked = (stream.viewer, stream.asked.query, stream.asked.include, stream.position, limit)
        task = self._reading.get(asked)
        if task is None:
            task = self._reading[asked] = asyncio.create_task(self._read(*asked))
            task.add_done_callback(lambda done: self._forget(asked, done))
        return await asyncio.shield(task)  # others wait for it as well

    def _forget(self, asked: tuple[Any, ...], done: "asyncio.Task[_Part]") -> None:
        del self._reading[asked]
        if not done.cancelled():
            done.exception()  # marks it as retrieved, since all that waited for it may have been cancelled

    async def _read(self, viewer: Viewer, query: Any, include: frozenset[str], position: int, limit: int) -> _Part:
        tenant = viewer.tenant
        async with self._admission.page_place(tenant, indexed=True):
            page: FeedPage = await self._store.read_feed(viewer, query, position, limit)
            size = sum(EVENT_BYTES + len(event.payload or b"") for event in page.events)
            release = self._admission.take_answer(tenant, size)
            try:
                frames = iter(encode_frames(page, include, viewer, self.places))
                messages = b"".join(await self._admission.in_slices(tenant, frames) if page.events else [])
                last = page.events[-1].position if page.events else None
                part = _Part(messages, page.read_to, last, page.log_number)
            except BaseException:
                release()
                raise
            weakref.finalize(part, release)  # when the last stream has sent it
            return part

    async def _watch(self, tenant: str, watch: _Watch) -> None:
        """Wake the streams of a tenant when its log has grown."""
        while True:
            try:
                if await self._store.changed(tenant, watch.size, _WATCH_S):
                    watch.size = max(watch.size, (await self._store.head(tenant)).size)
                    for stream in watch.streams:
                        stream.awake.set()
                elif (await self._store.head(tenant)).size < watch.size:
                    for stream in watch.streams:
                        stream.end("after_range", ENDED)
            except WhenceError as error:
                for stream in watch.streams:
                    stream.end(error.code, str(error))
            await asyncio.sleep(_next_turn(time.monotonic()) - time.monotonic())

    async def _check_credentials(self) -> None:
        """Authenticate the credentials of all streams again and again."""
        while True:
            await asyncio.sleep(_CHECK_S)
            await asyncio.gather(*[self._check(each) for each in list(self._credentials.values())])

    async def _check(self, credential: _Credential) -> None:
        """End the streams of a credential that is no longer valid, or was not found valid for long."""
        try:
            principal = await self._authenticator.authenticate(credential.request)
        except (Unavailable, Busy) as error:
            if time.monotonic() - credential.verified_at > _UNVERIFIED_S:
                credential.end(error.code, str(error))
        except WhenceError as error:
            credential.end(error.code, str(error))
        else:
            credential.verified_at = time.monotonic()
            if principal.viewer != credential.viewer:
                credential.end("forbidden", "What this credential may read has changed.")


class EventStream:
    """One stream: an ASGI application that sends messages until the client goes or the server ends it."""

    def __init__(
        self, streams: Streams, request: Request, viewer: Viewer, asked: FeedRequest, position: int, page: FeedPage
    ) -> None:
        """`page` is a part of the log at the moment."""
        self.request, self.viewer, self.asked = request, viewer, asked
        self.position, self.size, self._log_number = position, page.size, page.log_number
        self.awake = asyncio.Event()
        self._streams = streams
        self._bye: tuple[str, str] | None = None
        self._abort: Callable[[], None] = request.scope["state"].get("abort", lambda: None)
        self._marked = -1
        self._turn = self._marked_at = self._sent_at = float("-inf")

    def end(self, code: str, detail: str) -> None:
        """Send a last message and end the stream. A client that does not read it is cut. Harmless when repeated."""
        if self._bye is None:
            self._bye = code, detail
            self.awake.set()
            asyncio.get_running_loop().call_later(_END_S, self._abort)

    def stop(self) -> None:
        """End the stream since the server stops."""
        self.end("stopping", "The server is stopping; connect again, and go on from the last id.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; to HEAD, only its head."""
        state: Any = scope["state"]
        state["unread_s"], state["on_stop"] = _UNREAD_S, self.stop
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        last = b""
        if self.request.method != "HEAD":
            with self._streams.joined(self) as watch:
                await self._send(send, watch)
            code, detail = self._bye or ("unavailable", "")
            last = encode_bye(code, detail, random.randint(*_RETRY_MS))  # noqa: S311  (no secret)
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send(self, send: Send, watch: _Watch) -> None:
        """Send messages until `end` is called."""
        while self._bye is None:
            self.awake.clear()
            message = await self._message(watch)
            if message and self._bye is None:
                self._sent_at = time.monotonic()
                await send({"type": "http.response.body", "body": message, "more_body": True})
            elif self._bye is None:
                await self._rest(watch)

    async def _message(self, watch: _Watch) -> bytes:
        """What is to be sent now, or nothing."""
        now = time.monotonic()
        if self._marked < 0 or (self._owes_marker and now >= self._marked_at + _MARKER_S):
            self._marked, self._marked_at = self.position, now
            return encode_marker(self.viewer, self._streams.places, self.position)
        if watch.size > self.position and now >= self._turn:
            self._turn = _next_turn(now)
            if messages := await self._next_messages(watch):
                return messages
        return COMMENT if now >= self._sent_at + _COMMENT_S else b""

    async def _next_messages(self, watch: _Watch) -> bytes:
        """Read on; the events that were found, as messages."""
        try:
            part = await self._streams.part(self, watch.size)
        except (Busy, Throttled):  # there is no room for it now
            return b""
        except PositionGone as error:
            self.end(error.code, f"{error} Connect again with the last id to learn where to go on.")
            return b""
        except WhenceError as error:
            self.end(error.code, str(error))
            return b""
        if self._log_number and part.log_number != self._log_number:
            # The tenant was deleted and another one has its name. A credential that is not its own may outlast that.
            self.end("after_range", ENDED)
            return b""
        self.position, self._log_number = part.read_to, part.log_number
        if part.last is not None:
            self._marked = part.last
        return part.messages

    @property
    def _owes_marker(self) -> bool:
        """Whether the client does not know yet how far the log was read. A viewer of a part of the log gets a marker
        in any case, since otherwise it would show that hidden events were stored."""
        return not self.viewer.sees_all or self._marked != self.position

    async def _rest(self, watch: _Watch) -> None:
        """Wait until there is something to do, or the log has grown, or the stream ends."""
        due = self._sent_at + _COMMENT_S
        if self._owes_marker:
            due = min(due, self._marked_at + _MARKER_S)
        if watch.size > self.position:
            due = min(due, self._turn)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                await self.awake.wait()


def _next_turn(now: float) -> float:
    """When to read again after a read at this time. All streams have their turns at the same times, so that those which
    ask the same share a read."""
    return math.ceil((now + READ_EVERY_S - _EARLY_S) / READ_EVERY_S) * READ_EVERY_S
