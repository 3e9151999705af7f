"""Exports: all matching events as of one moment, in one response that is read while it comes.

A connection that breaks on the way raises Unreachable, so an iterator that ends has yielded every event. It is not
repeated: a second export would be as of another moment.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Literal

import msgspec

from whence.client.errors import Unreachable
from whence.client.requests import EventFilters, Include
from whence.client.responses import NOT_A_WHENCE_SERVER, ApiResponse, error_of
from whence.client.retries import RetryPolicy
from whence.client.tokens import is_renewed
from whence.errors import WhenceError
from whence.wire.bodies import EventBody

__all__ = ["ExportFilters", "Lines", "async_export_parts", "events_of", "export_parts"]

_CLIENT_ERROR = 400

Headers = Mapping[str, str]
Open = Callable[[Headers], AbstractContextManager[tuple[ApiResponse, Iterator[bytes]]]]
AsyncOpen = Callable[[Headers], AbstractAsyncContextManager[tuple[ApiResponse, AsyncIterator[bytes]]]]
"""What sends the request with the headers of a credential; see `Transport.open`."""


class ExportFilters(EventFilters, total=False):
    """Which events, and in which order; those of `list`."""

    order: Literal["asc", "desc"] | None
    include: Include


class Lines:
    """Puts the lines together that parts of a response are cut into."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, part: bytes) -> list[bytes]:
        """The lines that are complete with this part."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        return lines


def events_of(lines: Lines, part: bytes) -> list[EventBody]:
    """The events that are complete with a part. Raises WhenceError for lines that are no events."""
    try:
        return [_decode(line) for line in lines.of(part)]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise WhenceError(NOT_A_WHENCE_SERVER) from None


_decode: Callable[[bytes], EventBody] = msgspec.json.Decoder(EventBody).decode


def export_parts(
    send: Open, credential: Callable[[], Headers], policy: RetryPolicy, sleep: Callable[[float], None]
) -> Iterator[bytes]:
    """The parts of the response. Until it begins, the request is sent again as any other; afterwards it is not."""
    renewed = False
    while True:
        begun = False
        try:
            with send(credential()) as (head, parts):
                outcome: ApiResponse | Unreachable = head
                if head.status < _CLIENT_ERROR:
                    begun = True
                    yield from parts
                    return
                if not renewed and is_renewed(credential, head.status):
                    renewed = True
                    continue
        except Unreachable as error:
            if begun:
                raise
            outcome = error
        sleep(_wait_or_raise(policy, outcome))


async def async_export_parts(
    send: AsyncOpen,
    headers: Callable[[], Awaitable[Headers]],
    credential: Callable[[], Headers],
    policy: RetryPolicy,
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncIterator[bytes]:
    """As `export_parts`. `headers` gets those of the credential."""
    renewed = False
    while True:
        begun = False
        try:
            async with send(await headers()) as (head, parts):
                outcome: ApiResponse | Unreachable = head
                if head.status < _CLIENT_ERROR:
                    begun = True
                    async for part in parts:
                        yield part
                    return
                if not renewed and is_renewed(credential, head.status):
                    renewed = True
                    continue
        except Unreachable as error:
            if begun:
                raise
            outcome = error
        await sleep(_wait_or_raise(policy, outcome))


def _wait_or_raise(policy: RetryPolicy, outcome: ApiResponse | Unreachable) -> float:
    """How long to wait before a failed request is sent again. Raises its error if it is not."""
    wait_s = policy.wait_s(outcome)
    if wait_s is None:
        raise outcome if isinstance(outcome, Unreachable) else error_of(outcome)
    return wait_s
