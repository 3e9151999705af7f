"""`Whence` and `AsyncWhence`: the calls of the API, each a request builder, a round trip and a parser.

An error response is raised as the error of `whence.errors` that the server raised, with its request id. Temporary
failures are retried (see `retries`), which is safe since every event has an id.
"""

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload
from uuid import UUID

import msgspec

from whence.client import requests
from whence.client.at_exit import exit_has_begun
from whence.client.base_client import BaseClient
from whence.client.batches import batch_of, results_of
from whence.client.call_groups import AsyncCallGroups, CallGroups
from whence.client.errors import QueueFull, Unreachable
from whence.client.event_builder import Cause, EmittedEvent, EventFields, id_and_flow, stored_form
from whence.client.exports import ExportFilters, Lines, async_export_parts, events_of, export_parts
from whence.client.following import AsyncFollow, Follow, OnRetry
from whence.client.options import ClientOptions
from whence.client.responses import (
    NOT_A_WHENCE_SERVER,
    ApiResponse,
    EventPage,
    StoredEvent,
    next_link,
    parse_batch,
    parse_body,
    parse_page,
    parse_stored,
    parse_text,
)
from whence.client.retries import RetryPolicy
from whence.client.tokens import ExchangedToken, is_renewed
from whence.errors import WhenceError
from whence.wire.activity_bodies import (
    ActorActivityBody,
    ActorsBody,
    ActorSummaryBody,
    FacetsBody,
    ResourceSummaryBody,
)
from whence.wire.bodies import (
    ActorStatsBody,
    BatchBody,
    CountsBody,
    EventBody,
    FollowersBody,
    HistogramBody,
)
from whence.wire.name_bodies import MatchBody, SearchBody, SuggestionBody, SuggestionsBody
from whence.wire.trace_bodies import FlowBody, FlowsBody, MapBody, ReachBody, ReachesBody, TraceBody

__all__ = ["AsyncWhence", "EventInput", "Whence"]

_POLL_S = 0.02

R = TypeVar("R")

EventInput = Mapping[str, Any] | str
"""A mapping with the keys of the API, or an event type."""


class Whence(CallGroups, BaseClient):
    """A client of a Whence server, safe to use from many threads. Close it, or use it in a `with` block.

    `url` and `api_key` default to `WHENCE_URL` and `WHENCE_API_KEY`, and then to a saved profile: the one that the
    option `profile` or `WHENCE_PROFILE` names, else the current one if its server is on this machine.

    `timeout_s` bounds each wait for the server. `retries` bounds how often a failed request is repeated, and `sleep`
    waits before a repeat. For the other parameters see `ClientOptions`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 3,
        sleep: Callable[[float], None] = time.sleep,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(url, api_key, timeout_s, retries, **options)
        self._sleep = sleep
        self._connections.transport()

    @overload
    def emit(self, event: EventInput, *, durable: Literal[True], **fields: Unpack[EventFields]) -> StoredEvent: ...

    @overload
    def emit(
        self, event: EventInput, *, durable: Literal[False] = False, **fields: Unpack[EventFields]
    ) -> EmittedEvent: ...

    def emit(
        self, event: EventInput, *, durable: bool = False, **fields: Unpack[EventFields]
    ) -> StoredEvent | EmittedEvent:
        """Record an event: a mapping with the keys of the API, or an event type with keywords (see `EventFields`).

        By default the event is queued and this returns at once; a thread of the client sends it. Events that are still
        in memory are lost if the process is killed. Raises Closed and SpoolFull.

        With `durable=True` the event is stored on the server when this returns. Raises the error of a refusal, and
        Unreachable. Both raise Invalid for an event that no server would accept, NoApiKey, and TypeError for an unknown
        keyword.
        """
        if not durable:
            return self.queue(event, **fields)
        emitted = self.new(event, **fields)
        return _not_stored(emitted) if emitted.dropped else parse_stored(self.send(self._store(emitted)))

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until every queued and spooled event is stored or refused. Returns False if the time was too short."""
        return self._flush(timeout_s)

    def batch(self, events: Iterable[Mapping[str, Any]], *, atomic: bool = False) -> BatchBody:
        """Store up to 1,000 events in one transaction, in this order. With `atomic`, one bad event refuses them all.

        The result has a status for each event, 204 for one that `before_send` dropped. Raises Invalid when an atomic
        batch or the batch as a whole is refused, and as `emit` for a payload that no server would accept.
        """
        bodies = self._batch_bodies(events)
        request = batch_of(bodies, atomic)
        return results_of(bodies, None if request is None else parse_batch(self.send(request)))

    def list(self, **filters: Unpack[requests.ListFilters]) -> EventPage:
        """A page of events, newest first. For the filters see `ListFilters`."""
        return parse_page(self.send(requests.list_request(**filters)))

    def next(self, page: EventPage) -> EventPage | None:
        """The page after this one in the same snapshot, or None after the last page."""
        request = _next_request(page)
        return None if request is None else parse_page(self.send(request))

    def pages(self, **filters: Unpack[requests.ListFilters]) -> Iterator[EventPage]:
        """All pages in order, in the snapshot of the first. Each is fetched when it is needed."""
        page: EventPage | None = self.list(**filters)
        while page is not None:
            yield page
            page = self.next(page)

    def events(self, **filters: Unpack[requests.ListFilters]) -> Iterator[EventBody]:
        """All matching events, in the snapshot of the first page. Pages are fetched as they are needed."""
        for page in self.pages(**filters):
            yield from page.events

    def follow(self, *, on_retry: OnRetry | None = None, **filters: Unpack[requests.FollowFilters]) -> Follow:
        """The matching events in the order in which they are stored, without an end: the iterator waits for more.

        By default it begins with the next event that is stored. For the filters, `after` and `since` see
        `FollowFilters`. Every event has its `position`, after which a later call goes on: none is skipped and none
        comes twice. Broken connections and temporary errors are retried for as long as it takes, after a call of
        `on_retry`. Other errors are raised, PositionGone among them.
        """
        return Follow(self._follow_state(filters, on_retry), self.send, self._sleep)

    def get(self, event_id: str | UUID, *, include: requests.Include = None) -> EventBody:
        """The event with this id. Raises NotFound."""
        return parse_body(self.send(requests.get_request(str(event_id), include=include)), EventBody)

    def search(self, text: str) -> Sequence[MatchBody]:
        """What a text names: events, flows, resources and actors. It is an id or its first characters, a position such
        as `@5539`, `type/id` of a resource or an actor, or the address of a page.
        """
        return parse_body(self.send(requests.search_request(text)), SearchBody).matches

    def suggest(self, q: str = "", *, cursor: int | None = None, limit: int = 20) -> Sequence[SuggestionBody]:
        """What can stand in a query that is being written, the best first, at most 50. `cursor` is where the next
        character goes, by default at the end. It is counted in UTF-16 code units, and so are `start` and `end`."""
        return parse_body(self.send(requests.suggest_request(q, cursor, limit)), SuggestionsBody).suggestions

    def why(self, event: Cause, *, limit: int = 1000) -> TraceBody:
        """The causes of an event, from the root to the event itself.

        `limit` bounds the number of events; `truncated` says that there are more. Raises NotFound.
        """
        return parse_body(self.send(_trace_request(event, "up", None, limit, None)), TraceBody)

    def effects(self, event: Cause, *, limit: int = 1000) -> TraceBody:
        """The event and everything that it caused, each after its cause.

        `limit` bounds the number of events; `truncated` says that there are more. Raises NotFound.
        """
        return parse_body(self.send(_trace_request(event, "down", None, limit, None)), TraceBody)

    def trace(
        self,
        event: Cause,
        *,
        direction: Literal["both", "up", "down"] = "both",
        depth: int | None = None,
        limit: int = 500,
        include: Literal["rows"] | None = None,
    ) -> TraceBody:
        """The causal graph around an event: its causes, its effects, or both.

        `depth` bounds the hops, `limit` the events, at most 10,000. With `include="rows"` each node has the parts of
        its sentence. Raises NotFound.
        """
        return parse_body(self.send(_trace_request(event, direction, depth, limit, include)), TraceBody)

    def reach(self, *events: Cause) -> Sequence[ReachBody]:
        """How many causes and effects events have, of up to 100 at once. Unknown events are left out."""
        return parse_body(self.send(_reach_request(events)), ReachesBody).reach

    def flows(self, **filters: Unpack[requests.FlowFilters]) -> Iterator[FlowBody]:
        """All matching flows, the latest activity first, in the snapshot of the first page.

        Pages are fetched as they are needed.
        """
        request: requests.ApiRequest | None = requests.flows_request(**filters)
        while request is not None:
            response = self.send(request)
            yield from parse_body(response, FlowsBody).flows
            request = _next_listed(response, "/api/v1/flows")

    def process_map(self, **period: Unpack[requests.TimeFilters]) -> MapBody:
        """Which event types led to which, how often, how often with a failure, and how soon, on whole days."""
        return parse_body(self.send(requests.process_map_request(**period)), MapBody)

    def aggregate(self, **filters: Unpack[requests.EventFilters]) -> CountsBody:
        """Exact counts of the matching events: in total, and by event type, resource type and actor type."""
        return parse_body(self.send(requests.aggregate_request(**filters)), CountsBody)

    def histogram(self, **filters: Unpack[requests.HistogramFilters]) -> HistogramBody:
        """Exact counts of the matching events by time, split by outcome or event type. For the filters see
        `HistogramFilters`. Raises Invalid for an interval that would make more than 1,000 buckets.
        """
        return parse_body(self.send(requests.histogram_request(**filters)), HistogramBody)

    def facets(self, **filters: Unpack[requests.FacetFilters]) -> FacetsBody:
        """Exact counts of the matching events by the values of their fields, each field without its own filters."""
        return parse_body(self.send(requests.facets_request(**filters)), FacetsBody)

    def actors(self, **period: Unpack[requests.ActorFilters]) -> Iterator[ActorActivityBody]:
        """What each actor did in a period, by default the week up to the newest event, the most active first.

        Pages are fetched as they are needed, each exact when it is read.
        """
        request: requests.ApiRequest | None = requests.actors_request(**period)
        while request is not None:
            response = self.send(request)
            yield from parse_body(response, ActorsBody).actors
            request = _next_listed(response, "/api/v1/actors")

    def actor(self, actor_type: str, actor_id: str | UUID, **period: Unpack[requests.TimeFilters]) -> ActorSummaryBody:
        """What one actor did in a period, by default the week up to the newest event, and what for the first time."""
        return parse_body(self.send(requests.actor_request(actor_type, actor_id, **period)), ActorSummaryBody)

    def resource_summary(
        self, resource_type: str, resource_id: str | UUID, *, top: int | None = None
    ) -> ResourceSummaryBody:
        """How much happened to a resource, by which actors, of which at most `top`, and what was last."""
        request = requests.resource_summary_request(resource_type, resource_id, top=top)
        return parse_body(self.send(request), ResourceSummaryBody)

    def actor_stats(self, **filters: Unpack[requests.EventFilters]) -> ActorStatsBody:
        """The number of events, successes and failures of each actor."""
        return parse_body(self.send(requests.actor_stats_request(**filters)), ActorStatsBody)

    def followers(self) -> FollowersBody:
        """How far the webhooks and the alert rules have read the log. Raises Forbidden for a narrowed credential."""
        return parse_body(self.send(requests.followers_request()), FollowersBody)

    def export(self, **filters: Unpack[ExportFilters]) -> Iterator[EventBody]:
        """All matching events as of now, in one response: exactly those that a list would have, however many there are.
        Newest first, unless `order` is "asc". Raises Unreachable when the response breaks off.
        """
        lines = Lines()
        for part in self.export_bytes(**filters):
            yield from events_of(lines, part)

    def export_bytes(
        self, *, format: Literal["ndjson", "csv"] = "ndjson", **filters: Unpack[ExportFilters]
    ) -> Iterator[bytes]:
        """The same as parts of a file with an event on each line, as JSON or as CSV."""
        return self.stream(requests.export_request(format=format, **filters))

    def checkpoint(self, *, cosigned: bool = False) -> str:
        """The newest checkpoint of the log: a signed note of three lines, origin, size and root. Keep it elsewhere, and
        `whence verify --checkpoint` finds out whether anything was changed. With `cosigned`, the newest that a quorum
        of witnesses has cosigned. Raises NotFound before the first one.
        """
        return parse_text(self.send(requests.checkpoint_request(cosigned=cosigned)))

    def proof(self, event_id: str | UUID, *, cosigned: bool = False, epoch: int | None = None) -> str:
        """The proof that an event is in the log, as text, which `whence verify --proof` checks offline. With
        `cosigned`, by the newest checkpoint that a quorum of witnesses has cosigned; with `epoch`, by the newest of
        that epoch. Raises NotFound also for an event that is newer than the checkpoint, with the code
        `not_sealed_yet`.
        """
        return parse_text(self.send(requests.proof_request(event_id, cosigned=cosigned, epoch=epoch)))

    def stream(self, request: requests.ApiRequest) -> Iterator[bytes]:
        """Send a request, with retries, and yield the body of the response while it comes. Raises Unreachable when no
        response came, or when it breaks off."""
        send = partial(self._connections.transport().open, request)
        return export_parts(send, self.credential, RetryPolicy(request, self._retries), self._sleep)

    def send(self, request: requests.ApiRequest) -> ApiResponse:
        """Send a request, with retries, and return the last response, whatever its status.

        Raises Unreachable when no response came.
        """
        transport = self._connections.transport()
        policy, renewed = RetryPolicy(request, self._retries), False
        while True:
            outcome: ApiResponse | Unreachable
            try:
                outcome = transport.exchange(request, self.credential())
                if not renewed and is_renewed(self.credential, outcome.status):
                    renewed = True
                    continue
            except Unreachable as error:
                outcome = error
            wait_s = policy.wait_s(outcome)
            if wait_s is None:
                return _response(outcome)
            self._sleep(wait_s)

    def close(self, timeout_s: float | None = None) -> bool:
        """Send the queued events, spool those that are left, and close the connections. Returns whether all were sent.

        It takes at most `timeout_s`, which defaults to the option `exit_timeout_s`.
        """
        return self._close(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncWhence(AsyncCallGroups, BaseClient):
    """`Whence` for asyncio, with the same names. Queued events are sent by a thread, and so outlive the event loop."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 3,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        from whence.client.transport import AsyncTransport  # noqa: PLC0415  (see there)

        super().__init__(url, api_key, timeout_s, retries, **options)
        self._sleep = sleep or _wait
        self._async_transport = AsyncTransport(self.url, timeout_s, self._http_options)

    @overload
    async def emit(
        self, event: EventInput, *, durable: Literal[True], **fields: Unpack[EventFields]
    ) -> StoredEvent: ...

    @overload
    async def emit(
        self, event: EventInput, *, durable: Literal[False] = False, **fields: Unpack[EventFields]
    ) -> EmittedEvent: ...

    async def emit(
        self, event: EventInput, *, durable: bool = False, **fields: Unpack[EventFields]
    ) -> StoredEvent | EmittedEvent:
        """As `Whence.emit`. The event loop never waits: a thread writes to the spool, and `on_full="block"` awaits."""
        emitted = self.new(event, **fields)
        if emitted.dropped:
            return _not_stored(emitted) if durable else emitted
        if durable:
            return parse_stored(await self.send(self._store(emitted)))
        self._require_key()
        emitter = self._emitter
        spooled = emitter.put(emitted.body, wait=False)
        deadline = time.monotonic() + emitter.block_timeout_s
        while spooled is None and emitter.waits_for_room():
            if time.monotonic() >= deadline:
                raise QueueFull(f"The queue has been full for {emitter.block_timeout_s:g} s.")
            await _wait(_POLL_S)
            spooled = emitter.put(emitted.body, wait=False)
        if spooled is None:
            spooled = await _in_thread(emitter.put, emitted.body)
        return msgspec.structs.replace(emitted, spooled=True) if spooled else emitted

    async def flush(self, timeout_s: float = 30.0) -> bool:
        """As `Whence.flush`."""
        deadline = time.monotonic() + timeout_s
        attempts_before = self._emitter.attempts
        done = await _in_thread(self._flush, 0.0)
        while not done and time.monotonic() < deadline:  # a thread that waited would outlive a cancelled flush
            await _wait(_POLL_S)
            done = await _in_thread(self._flush, 0.0, attempts_before)
        return done

    async def batch(self, events: Iterable[Mapping[str, Any]], *, atomic: bool = False) -> BatchBody:
        """As `Whence.batch`."""
        bodies = self._batch_bodies(events)
        request = batch_of(bodies, atomic)
        return results_of(bodies, None if request is None else parse_batch(await self.send(request)))

    async def list(self, **filters: Unpack[requests.ListFilters]) -> EventPage:
        """As `Whence.list`."""
        return parse_page(await self.send(requests.list_request(**filters)))

    async def next(self, page: EventPage) -> EventPage | None:
        """As `Whence.next`."""
        request = _next_request(page)
        return None if request is None else parse_page(await self.send(request))

    async def pages(self, **filters: Unpack[requests.ListFilters]) -> AsyncIterator[EventPage]:
        """As `Whence.pages`."""
        page: EventPage | None = await self.list(**filters)
        while page is not None:
            yield page
            page = await self.next(page)

    async def events(self, **filters: Unpack[requests.ListFilters]) -> AsyncIterator[EventBody]:
        """As `Whence.events`."""
        async for page in self.pages(**filters):
            for event in page.events:
                yield event

    def follow(self, *, on_retry: OnRetry | None = None, **filters: Unpack[requests.FollowFilters]) -> AsyncFollow:
        """As `Whence.follow`."""
        return AsyncFollow(self._follow_state(filters, on_retry), self.send, self._sleep)

    async def get(self, event_id: str | UUID, *, include: requests.Include = None) -> EventBody:
        """As `Whence.get`."""
        return parse_body(await self.send(requests.get_request(str(event_id), include=include)), EventBody)

    async def search(self, text: str) -> Sequence[MatchBody]:
        """As `Whence.search`."""
        return parse_body(await self.send(requests.search_request(text)), SearchBody).matches

    async def suggest(self, q: str = "", *, cursor: int | None = None, limit: int = 20) -> Sequence[SuggestionBody]:
        """As `Whence.suggest`."""
        return parse_body(await self.send(requests.suggest_request(q, cursor, limit)), SuggestionsBody).suggestions

    async def why(self, event: Cause, *, limit: int = 1000) -> TraceBody:
        """As `Whence.why`."""
        return parse_body(await self.send(_trace_request(event, "up", None, limit, None)), TraceBody)

    async def effects(self, event: Cause, *, limit: int = 1000) -> TraceBody:
        """As `Whence.effects`."""
        return parse_body(await self.send(_trace_request(event, "down", None, limit, None)), TraceBody)

    async def trace(
        self,
        event: Cause,
        *,
        direction: Literal["both", "up", "down"] = "both",
        depth: int | None = None,
        limit: int = 500,
        include: Literal["rows"] | None = None,
    ) -> TraceBody:
        """As `Whence.trace`."""
        return parse_body(await self.send(_trace_request(event, direction, depth, limit, include)), TraceBody)

    async def reach(self, *events: Cause) -> Sequence[ReachBody]:
        """As `Whence.reach`."""
        return parse_body(await self.send(_reach_request(events)), ReachesBody).reach

    async def flows(self, **filters: Unpack[requests.FlowFilters]) -> AsyncIterator[FlowBody]:
        """As `Whence.flows`."""
        request: requests.ApiRequest | None = requests.flows_request(**filters)
        while request is not None:
            response = await self.send(request)
            for flow in parse_body(response, FlowsBody).flows:
                yield flow
            request = _next_listed(response, "/api/v1/flows")

    async def process_map(self, **period: Unpack[requests.TimeFilters]) -> MapBody:
        """As `Whence.process_map`."""
        return parse_body(await self.send(requests.process_map_request(**period)), MapBody)

    async def aggregate(self, **filters: Unpack[requests.EventFilters]) -> CountsBody:
        """As `Whence.aggregate`."""
        return parse_body(await self.send(requests.aggregate_request(**filters)), CountsBody)

    async def histogram(self, **filters: Unpack[requests.HistogramFilters]) -> HistogramBody:
        """As `Whence.histogram`."""
        return parse_body(await self.send(requests.histogram_request(**filters)), HistogramBody)

    async def facets(self, **filters: Unpack[requests.FacetFilters]) -> FacetsBody:
        """As `Whence.facets`."""
        return parse_body(await self.send(requests.facets_request(**filters)), FacetsBody)

    async def actors(self, **period: Unpack[requests.ActorFilters]) -> AsyncIterator[ActorActivityBody]:
        """As `Whence.actors`."""
        request: requests.ApiRequest | None = requests.actors_request(**period)
        while request is not None:
            response = await self.send(request)
            for actor in parse_body(response, ActorsBody).actors:
                yield actor
            request = _next_listed(response, "/api/v1/actors")

    async def actor(
        self, actor_type: str, actor_id: str | UUID, **period: Unpack[requests.TimeFilters]
    ) -> ActorSummaryBody:
        """As `Whence.actor`."""
        return parse_body(await self.send(requests.actor_request(actor_type, actor_id, **period)), ActorSummaryBody)

    async def resource_summary(
        self, resource_type: str, resource_id: str | UUID, *, top: int | None = None
    ) -> ResourceSummaryBody:
        """As `Whence.resource_summary`."""
        request = requests.resource_summary_request(resource_type, resource_id, top=top)
        return parse_body(await self.send(request), ResourceSummaryBody)

    async def actor_stats(self, **filters: Unpack[requests.EventFilters]) -> ActorStatsBody:
        """As `Whence.actor_stats`."""
        return parse_body(await self.send(requests.actor_stats_request(**filters)), ActorStatsBody)

    async def followers(self) -> FollowersBody:
        """As `Whence.followers`."""
        return parse_body(await self.send(requests.followers_request()), FollowersBody)

    async def export(self, **filters: Unpack[ExportFilters]) -> AsyncIterator[EventBody]:
        """As `Whence.export`."""
        lines = Lines()
        async for part in self.export_bytes(**filters):
            for event in events_of(lines, part):
                yield event

    def export_bytes(
        self, *, format: Literal["ndjson", "csv"] = "ndjson", **filters: Unpack[ExportFilters]
    ) -> AsyncIterator[bytes]:
        """As `Whence.export_bytes`."""
        return self.stream(requests.export_request(format=format, **filters))

    async def checkpoint(self, *, cosigned: bool = False) -> str:
        """As `Whence.checkpoint`."""
        return parse_text(await self.send(requests.checkpoint_request(cosigned=cosigned)))

    async def proof(self, event_id: str | UUID, *, cosigned: bool = False, epoch: int | None = None) -> str:
        """As `Whence.proof`."""
        return parse_text(await self.send(requests.proof_request(event_id, cosigned=cosigned, epoch=epoch)))

    def stream(self, request: requests.ApiRequest) -> AsyncIterator[bytes]:
        """As `Whence.stream`."""
        send, policy = partial(self._async_transport.open, request), RetryPolicy(request, self._retries)
        return async_export_parts(send, self._credential, self.credential, policy, self._sleep)

    async def send(self, request: requests.ApiRequest) -> ApiResponse:
        """As `Whence.send`."""
        policy, renewed = RetryPolicy(request, self._retries), False
        while True:
            outcome: ApiResponse | Unreachable
            try:
                outcome = await self._async_transport.exchange(request, await self._credential())
                if not renewed and is_renewed(self.credential, outcome.status):
                    renewed = True
                    continue
            except Unreachable as error:
                outcome = error
            wait_s = policy.wait_s(outcome)
            if wait_s is None:
                return _response(outcome)
            await self._sleep(wait_s)

    async def _credential(self) -> Mapping[str, str]:
        """The headers of the credential. A token of an operator's key may need a request, which a thread makes."""
        if isinstance(self.credential, ExchangedToken) and not self.credential.is_fresh:
            return await _in_thread(self.credential)
        return self.credential()

    async def close(self, timeout_s: float | None = None) -> bool:
        """As `Whence.close`."""
        deadline = time.monotonic() + (self._emitter.exit_timeout_s if timeout_s is None else timeout_s)
        while True:  # as in `flush`
            if await _in_thread(self._begin_close) or time.monotonic() >= deadline:
                break
            await _wait(_POLL_S)
        sent = await _in_thread(self._close, 0.0)
        if not self._shares_connections:
            await self._async_transport.close()
        return sent

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _wait(seconds: float) -> None:
    from asyncio import sleep  # noqa: PLC0415  (see below)

    await sleep(seconds)


async def _in_thread(function: Callable[..., R], *arguments: Any) -> R:
    """The result of a function that waits. While the process exits no thread can be used, and the event loop waits."""
    if exit_has_begun() or not threading.main_thread().is_alive():
        return function(*arguments)
    from asyncio import to_thread  # noqa: PLC0415  (slow to load, and loaded by whatever runs this)

    return await to_thread(function, *arguments)


def _response(outcome: ApiResponse | Unreachable) -> ApiResponse:
    if isinstance(outcome, Unreachable):
        raise outcome
    return outcome


def _not_stored(emitted: EmittedEvent) -> StoredEvent:
    """What a durable event that was dropped returns, so that the code that emits it goes on as usual."""
    return StoredEvent(event=stored_form(emitted), replayed=False, body=emitted.body)


def _trace_request(
    event: Cause, direction: str, depth: int | None, limit: int, include: str | None
) -> requests.ApiRequest:
    return requests.trace_request(id_and_flow(event)[0], direction=direction, depth=depth, limit=limit, include=include)


def _reach_request(events: Sequence[Cause]) -> requests.ApiRequest:
    return requests.reach_request([id_and_flow(event)[0] for event in events])


def _next_listed(response: ApiResponse, path: str) -> requests.ApiRequest | None:
    """The request for the next page of a list at this path; None after the last. Raises as `_next_request`."""
    link = next_link(response)
    request = None if link is None else requests.next_page_request(link, path)
    if link is not None and request is None:
        raise WhenceError(NOT_A_WHENCE_SERVER)
    return request


def _next_request(page: EventPage) -> requests.ApiRequest | None:
    """The request for the page after this one; None after the last. Raises WhenceError for a link without a query."""
    if page.next is None:
        return None
    request = requests.next_page_request(page.next)
    if request is None:
        raise WhenceError(NOT_A_WHENCE_SERVER)
    return request
