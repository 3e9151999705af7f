"""Following a log: iterators over its events as they are stored, which go on after a broken connection.

They ask for the feed again and again, and the server answers as soon as there are events. Each request says after which
place it goes on, so no event is skipped and none comes twice, however often a request is repeated.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Self

from whence.client.errors import Unreachable
from whence.client.requests import ApiRequest, Include, Value, follow_request
from whence.client.responses import ApiResponse, parse_body
from whence.client.retries import backoff_s
from whence.errors import QueryTooExpensive, RetryLater, WhenceError
from whence.wire.bodies import EventBody, FeedBody

__all__ = ["AsyncFollow", "Follow", "FollowState", "OnRetry", "with_position"]

OnRetry = Callable[[WhenceError], None]
"""Called with the error of a request that will be repeated."""

_WAIT_MAX_S = 25
_EVERY_S = 0.1  # between two requests, so that each finds more than one event of a busy log
_POLL_S = 1.0
_BACKOFF_MAX_S = 15.0
_PART = 1_000


def with_position(include: Include) -> list[str]:
    """What is included, and the position."""
    given = include.split(",") if isinstance(include, str) else list(include or ())
    return list(dict.fromkeys((*given, "position")))


class FollowState:
    """How far a log was followed, and what is asked next. The same for both kinds of client."""

    def __init__(self, filters: dict[str, Value], timeout_s: float, on_retry: OnRetry | None) -> None:
        """`filters` are the parameters of the API; `timeout_s` is the longest wait for a response."""
        self.after: int | str | None = None
        self._filters = filters
        # The server answers before the wait for its response ends. A short one is made up by waits between requests.
        self._wait_s = max(0, min(_WAIT_MAX_S, int(timeout_s) - 2))
        self._on_retry = on_retry
        self._next: int | str | None = None
        self._events: deque[EventBody] = deque()
        self._is_ready = False
        self._attempts = 0
        self._due = 0.0

    def wait_s(self) -> float:
        """The seconds to wait before the next request."""
        return max(0.0, self._due - time.monotonic())

    def request(self) -> ApiRequest:
        """The next request. Everything up to the end of the log is read before the server is asked to wait."""
        self._due = time.monotonic() + _EVERY_S
        filters = dict(self._filters)
        if self._next is not None:
            filters.pop("since", None)
            filters["after"] = self._next
        return follow_request(**filters, limit=_PART, wait=self._wait_s if self._is_ready else 0)

    def take(self, response: ApiResponse) -> None:
        """Keep the events of a response. Raises as `parse_body`."""
        part = parse_body(response, FeedBody)
        self._attempts = 0
        self._events.extend(part.events)
        self._next = part.next_after
        self._is_ready = not part.has_more
        if not self._events:
            self.after = self._next
        if part.has_more:
            self._due = 0.0
        elif not self._events and not self._wait_s:
            self._due = time.monotonic() + _POLL_S

    def repeat(self, error: WhenceError) -> None:
        """Let a failed request be repeated, after a while. Raises the error if that would not help."""
        if not isinstance(error, Unreachable | RetryLater) or isinstance(error, QueryTooExpensive):
            raise error
        if self._on_retry is not None:
            self._on_retry(error)
        self._attempts += 1
        at_least_s = error.retry_after_s if isinstance(error, RetryLater) else None
        self._due = time.monotonic() + backoff_s(self._attempts, at_least_s, _BACKOFF_MAX_S)

    def pop(self) -> EventBody | None:
        """The next event that was received, or None if the server has to be asked."""
        if not self._events:
            return None
        event = self._events.popleft()
        if isinstance(event.position, int):
            self.after = event.position
        elif not self._events:
            self.after = self._next
        return event


class Follow(Iterator[EventBody]):
    """The events of a log, as they are stored; see `Whence.follow`. It never ends by itself."""

    def __init__(
        self, state: FollowState, send: Callable[[ApiRequest], ApiResponse], sleep: Callable[[float], None]
    ) -> None:
        self._state, self._send, self._sleep = state, send, sleep

    @property
    def after(self) -> int | str | None:
        """Where another `follow(after=…)` goes on; None before the first response. It is the position of the last event
        that was returned. For a credential that may not read every event it is a token, which changes only with the
        last event of a response."""
        return self._state.after

    def __next__(self) -> EventBody:
        """The next event; waits until there is one. Raises an error that no repeated request would mend."""
        while (event := self._state.pop()) is None:
            if wait_s := self._state.wait_s():
                self._sleep(wait_s)
            try:
                self._state.take(self._send(self._state.request()))
            except WhenceError as error:
                self._state.repeat(error)
        return event


class AsyncFollow:
    """As `Follow`, for asyncio."""

    def __init__(
        self,
        state: FollowState,
        send: Callable[[ApiRequest], Awaitable[ApiResponse]],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._state, self._send, self._sleep = state, send, sleep

    @property
    def after(self) -> int | str | None:
        """As `Follow.after`."""
        return self._state.after

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventBody:
        """As `Follow.__next__`."""
        while (event := self._state.pop()) is None:
            if wait_s := self._state.wait_s():
                await self._sleep(wait_s)
            try:
                self._state.take(await self._send(self._state.request()))
            except WhenceError as error:
                self._state.repeat(error)
        return event
