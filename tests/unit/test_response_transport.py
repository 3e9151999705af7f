"""The head of a response leaves with the first part of its body, and never later than the next round of the loop."""

import asyncio
from typing import Any

from tests.unit.mutants import catches, replaced
from whence.api.http_protocol import ResponseTransport

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Recorder:
    """A transport that notes its calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.calls.append(parts)

    def close(self) -> None:
        self.calls.append("closed")

    def is_closing(self) -> bool:
        return False


def at_once(self: ResponseTransport, data: bytes) -> None:
    self._transport.write(data)


def never(self: ResponseTransport) -> None:
    pass


async def calls_of(*steps: str | bytes) -> list[Any]:
    """What reaches the transport: bytes are written, `close` closes, `round` lets the event loop run."""
    recorder: Any = Recorder()
    transport = ResponseTransport(recorder, recorder.close, asyncio.get_running_loop())
    for step in steps:
        if isinstance(step, bytes):
            transport.write(step)
        elif step == "close":
            transport.close()
        else:
            await asyncio.sleep(0)
    return list(recorder.calls)


@catches(replaced(ResponseTransport, "write", at_once, "each_part_alone"))
async def test_head_and_body_are_one_write() -> None:
    assert await calls_of(HEAD, b"body", b"more", "round") == [(HEAD, b"body"), b"more"]


@catches(replaced(ResponseTransport, "flush", never, "a_head_waits_for_ever"))
async def test_a_head_does_not_wait_for_a_later_body() -> None:
    """As in a stream of events, whose first event may come after minutes, and before the connection closes."""
    assert await calls_of(HEAD, "round", b"event") == [HEAD, b"event"]
    assert await calls_of(HEAD, "close") == [HEAD, "closed"]
