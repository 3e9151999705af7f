"""`Whence` and `AsyncWhence`: thin skins over the pure builders and parsers.

Whatever the server refuses is raised as the error of `whence.errors` that the server itself raised, with its request
id. Failures that pass by themselves are tried again (`retries.py`), which is safe since every event has its id.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

import msgspec

from whence.client.answers import STRANGER, Answer, Page, Stored, parse_batch, parse_body, parse_page, parse_stored
from whence.client.answers import retry_after_s as asked_after_s
from whence.client.emission import Cause, Emitted, reference
from whence.client.errors import Unreachable
from whence.client.log import Log, Options
from whence.client.requests import (
    JSON,
    Request,
    Value,
    actor_stats_request,
    aggregate_request,
    batch_request,
    encoded,
    get_request,
    list_request,
    next_request,
    trace_request,
    with_id,
)
from whence.client.retries import RETRY_AFTER_MAX_S, pause_s, will_pass
from whence.client.transport import AsyncTransport, Transport
from whence.errors import WhenceError
from whence.wire.bodies import ActorStatsBody, BatchBody, CountsBody, EventBody
from whence.wire.traces import TraceBody

__all__ = ["AsyncWhence", "Whence"]

Event = Mapping[str, Any] | str


class Whence(Log):
    """A connection to a server, safe to use from many threads. Close it, or use it in a `with` block.

    `url` and `api_key` default to `WHENCE_URL` and `WHENCE_API_KEY`. `timeout_s` bounds each wait for the server,
    `retries` how often a request is sent again. For the rest see `Options`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 3,
        sleep: Callable[[float], None] = time.sleep,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(url, api_key, timeout_s, retries, **options)
        self._sleep = sleep
        self._transport = Transport(self.url, timeout_s)

    @overload
    def emit(self, event: Event, *, durable: Literal[True], **fields: Any) -> Stored: ...

    @overload
    def emit(self, event: Event, *, durable: Literal[False] = False, **fields: Any) -> Emitted: ...

    def emit(self, event: Event, *, durable: bool = False, **fields: Any) -> Stored | Emitted:
        """Record an event: a mapping with the keys of the API, or an event type with keywords (see `Fields`).

        It is queued, and sent by a thread of this client; what is only in memory is lost if the process is killed.
        With `durable` it is stored when this returns. Raises Invalid for what JSON cannot say; queued, Closed and
        SpoolFull; durable, what the server refused it with, and Unreachable.
        """
        if durable:
            return parse_stored(self.send(_store_request(self.new(event, **fields))))
        return self.queue(event, **fields)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until every queued and spooled event is stored or refused. False when the time was too short."""
        return self._flush(timeout_s)

    def batch(self, events: Iterable[Mapping[str, Any]], *, atomic: bool = False) -> BatchBody:
        """Store up to a thousand events in one transaction, in this order; `atomic`: all or none."""
        return parse_batch(self.send(_batch(events, atomic)))

    def list(self, **filters: Value) -> Page:
        """A page of events, newest first; `filters` are the parameters of the API, `since` stands for `from`."""
        return parse_page(self.send(list_request(**filters)))

    def next(self, page: Page) -> Page | None:
        """The page after this one, of the same snapshot, or None after the last."""
        request = _next(page)
        return None if request is None else parse_page(self.send(request))

    def pages(self, **filters: Value) -> Iterator[Page]:
        """Every page, one after the other, of the snapshot of the first."""
        page: Page | None = self.list(**filters)
        while page is not None:
            yield page
            page = self.next(page)

    def events(self, **filters: Value) -> Iterator[EventBody]:
        """Every event that matches, in the snapshot of the first page; pages are fetched as they are needed."""
        for page in self.pages(**filters):
            yield from page.events

    def get(self, event_id: str, **filters: Value) -> EventBody:
        """The event with this id. Raises NotFound."""
        return parse_body(self.send(get_request(event_id, **filters)), EventBody)

    def why(self, event: Cause, *, limit: int = 1000) -> TraceBody:
        """The causes of an event, from the root to the event itself; `truncated`: there are more. Raises NotFound."""
        return parse_body(self.send(trace_request(reference(event)[0], direction="up", limit=limit)), TraceBody)

    def effects(self, event: Cause, *, limit: int = 1000) -> TraceBody:
        """The event, and all that it led to, each behind its cause; `truncated`: there is more. Raises NotFound."""
        return parse_body(self.send(trace_request(reference(event)[0], direction="down", limit=limit)), TraceBody)

    def aggregate(self, **filters: Value) -> CountsBody:
        """Exact counts of events, in all and by event type, resource type and actor type."""
        return parse_body(self.send(aggregate_request(**filters)), CountsBody)

    def actor_stats(self, **filters: Value) -> ActorStatsBody:
        """What each actor did: all, successes, failures."""
        return parse_body(self.send(actor_stats_request(**filters)), ActorStatsBody)

    def send(self, request: Request) -> Answer:
        """Send a request, again if need be, and give back the last answer, whatever its status.

        Raises Unreachable when no answer came.
        """
        transport = self._shared_transport()
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                answer = transport.exchange(request, self.credential())
            except Unreachable as error:
                if last or (error.connected and not request.repeatable):
                    raise
                self._sleep(pause_s(attempt))
            else:
                wait_s = _wait_s(request, answer, attempt, last)
                if wait_s is None:
                    return answer
                self._sleep(wait_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def close(self, timeout_s: float | None = None) -> bool:
        """Send what waits, for at most `exit_timeout_s`, leave the rest in the spool, and let go of the connections.
        Whether everything was sent.
        """
        return self._close(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncWhence(Log):
    """The same for asyncio, with the same names. Queued events are sent by a thread, whatever becomes of the loop."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 3,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(url, api_key, timeout_s, retries, **options)
        self._sleep = sleep
        self._http = AsyncTransport(self.url, timeout_s)

    @overload
    async def emit(self, event: Event, *, durable: Literal[True], **fields: Any) -> Stored: ...

    @overload
    async def emit(self, event: Event, *, durable: Literal[False] = False, **fields: Any) -> Emitted: ...

    async def emit(self, event: Event, *, durable: bool = False, **fields: Any) -> Stored | Emitted:
        """As `Whence.emit`. It waits in a thread if the disk or a full queue has to be waited for."""
        emitted = self.new(event, **fields)
        if durable:
            return parse_stored(await self.send(_store_request(emitted)))
        spooled = self._emitter.put(emitted.body, wait=False)
        if spooled is None:
            spooled = await asyncio.to_thread(self._emitter.put, emitted.body)
        return msgspec.structs.replace(emitted, spooled=True) if spooled else emitted

    async def flush(self, timeout_s: float = 30.0) -> bool:
        """As `Whence.flush`."""
        return await asyncio.to_thread(self._flush, timeout_s)

    async def batch(self, events: Iterable[Mapping[str, Any]], *, atomic: bool = False) -> BatchBody:
        """As `Whence.batch`."""
        return parse_batch(await self.send(_batch(events, atomic)))

    async def list(self, **filters: Value) -> Page:
        """As `Whence.list`."""
        return parse_page(await self.send(list_request(**filters)))

    async def next(self, page: Page) -> Page | None:
        """As `Whence.next`."""
        request = _next(page)
        return None if request is None else parse_page(await self.send(request))

    async def pages(self, **filters: Value) -> AsyncIterator[Page]:
        """As `Whence.pages`."""
        page: Page | None = await self.list(**filters)
        while page is not None:
            yield page
            page = await self.next(page)

    async def events(self, **filters: Value) -> AsyncIterator[EventBody]:
        """As `Whence.events`."""
        async for page in self.pages(**filters):
            for event in page.events:
                yield event

    async def get(self, event_id: str, **filters: Value) -> EventBody:
        """As `Whence.get`."""
        return parse_body(await self.send(get_request(event_id, **filters)), EventBody)

    async def why(self, event: Cause, *, limit: int = 1000) -> TraceBody:
        """As `Whence.why`."""
        return parse_body(await self.send(trace_request(reference(event)[0], direction="up", limit=limit)), TraceBody)

    async def effects(self, event: Cause, *, limit: int = 1000) -> TraceBody:
        """As `Whence.effects`."""
        return parse_body(await self.send(trace_request(reference(event)[0], direction="down", limit=limit)), TraceBody)

    async def aggregate(self, **filters: Value) -> CountsBody:
        """As `Whence.aggregate`."""
        return parse_body(await self.send(aggregate_request(**filters)), CountsBody)

    async def actor_stats(self, **filters: Value) -> ActorStatsBody:
        """As `Whence.actor_stats`."""
        return parse_body(await self.send(actor_stats_request(**filters)), ActorStatsBody)

    async def send(self, request: Request) -> Answer:
        """As `Whence.send`."""
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                answer = await self._http.exchange(request, self.credential())
            except Unreachable as error:
                if last or (error.connected and not request.repeatable):
                    raise
                await self._sleep(pause_s(attempt))
            else:
                wait_s = _wait_s(request, answer, attempt, last)
                if wait_s is None:
                    return answer
                await self._sleep(wait_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def close(self, timeout_s: float | None = None) -> bool:
        """As `Whence.close`."""
        sent = await asyncio.to_thread(self._close, timeout_s)
        if not self._borrows:
            await self._http.close()
        return sent

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _wait_s(request: Request, answer: Answer, attempt: int, last: bool) -> float | None:
    """Seconds until the request is sent again; None when this answer is the last word."""
    asked_s = asked_after_s(answer.headers.get("retry-after"), time.time())
    if last or not will_pass(request, answer) or (asked_s or 0) > RETRY_AFTER_MAX_S:
        return None
    return pause_s(attempt, asked_s)


def _store_request(emitted: Emitted) -> Request:
    return Request(method="POST", path="/api/v1/events", content=emitted.body, content_type=JSON)


def _batch(events: Iterable[Mapping[str, Any]], atomic: bool) -> Request:
    return batch_request(b"\n".join(encoded(with_id(event)) for event in events), atomic=atomic)


def _next(page: Page) -> Request | None:
    """The request for the page after this one; None after the last. Raises WhenceError for a link to nowhere."""
    if page.next is None:
        return None
    request = next_request(page.next)
    if request is None:
        raise WhenceError(STRANGER)
    return request
