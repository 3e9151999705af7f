"""Exports in Python: an iterator that ends has yielded every event; whatever breaks on the way raises."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.api.conftest import Served, event, serving
from tests.client.scripted_server import error_response, reset, scripted
from tests.client.test_bad_responses import STORED, RecordedWaits
from tests.unit.mutants import catches, replaced
from whence.client import AsyncWhence, Unreachable, Whence, exports
from whence.client.exports import Lines
from whence.errors import Forbidden, WhenceError
from whence.permissions import READ, WRITE


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


LINE = json.dumps(STORED).encode() + b"\n"


def chunked(*chunks: bytes, whole: bool) -> bytes:
    """A response in chunks, with or without its end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n" * whole


def test_an_export_and_a_view(served: Served) -> None:
    """Against a server, by both clients: the events of a list, and as CSV; views are made, listed and deleted."""
    key = served.key(READ, WRITE, tenant="client-exports")
    with Whence(served.url, key) as log:
        log.batch([event(occurredAt=f"2026-01-02T03:00:{number:02}Z", id=None) for number in range(5)])
        wanted = list(log.events(include="position"))
        assert list(log.export(include="position")) == wanted
        assert list(log.export(order="asc", include="position", outcome=["success"])) == wanted[::-1]
        text = b"".join(log.export_bytes(format="csv")).decode()
        assert len(text.splitlines()) == 6 and text.startswith("id,")
        view = log.views.create("All", "/explore")
        assert log.views.list() == [view]
        log.views.delete(view.id)
        with pytest.raises(WhenceError):
            log.views.delete(view.id)

    async def by_async() -> None:
        async with AsyncWhence(served.url, key) as log:
            assert [each async for each in log.export(include="position")] == wanted
            view = await log.views.create("All", "/explore")
            assert await log.views.list() == [view]
            await log.views.delete(view.id)

    asyncio.run(by_async())


def keeping_nothing(self: Lines, part: bytes) -> list[bytes]:
    return part.split(b"\n")[:-1]


@catches(replaced(exports.Lines, "of", keeping_nothing, "lines_end_with_parts"))
def test_a_line_may_come_in_pieces() -> None:
    """Parts of a response end anywhere."""
    pieces = [(LINE * 3)[start : start + 7] for start in range(0, 3 * len(LINE), 7)]
    with scripted(chunked(*pieces, whole=True)) as server, RecordedWaits(server.url) as log:
        assert len(list(log.export())) == 3


def test_an_export_that_breaks_off_raises() -> None:
    """After the events that came; it is not repeated, since that would begin again as of another moment."""
    with scripted(chunked(LINE, LINE, whole=False)) as server, RecordedWaits(server.url) as log:
        coming, found = log.export(), []
        with pytest.raises(Unreachable):
            found.extend([next(coming), next(coming), next(coming)])
        assert len(server.requests) == 1 and log.waits_s == []


def test_an_export_that_has_not_begun_is_retried() -> None:
    """When the connection is reset, and after a 429 or 503; other errors are raised."""
    replies = (reset, error_response(429, "throttled"), error_response(503, "busy"), chunked(LINE, whole=True))
    with scripted(*replies) as server, RecordedWaits(server.url) as log:
        assert len(list(log.export())) == 1
        assert len(log.waits_s) == 3 and len(server.requests) == 4
    with (
        scripted(error_response(403, "forbidden")) as server,
        RecordedWaits(server.url) as log,
        pytest.raises(Forbidden, match="It was so"),
    ):
        next(log.export())
    with (
        scripted(chunked(b"<html>\n", whole=True)) as server,
        RecordedWaits(server.url) as log,
        pytest.raises(WhenceError, match="did not come from a Whence server"),
    ):
        next(log.export())
