"""What the client keeps or reads is bounded, also by bytes."""

import json
import logging
import socket
from pathlib import Path

import pytest

from tests.api.conftest import event
from tests.client.fake_server import FakeServer, refuse
from tests.client.scripted_server import scripted
from tests.client.test_emitter import check_balance, connected
from whence.client import AsyncWhence, QueueFull, Rejected, Whence, reporting, transport
from whence.client.reentrancy import guard
from whence.client.spool import REJECTED
from whence.errors import WhenceError


def test_the_inbox_is_bounded_by_bytes(server: FakeServer, tmp_path: Path) -> None:
    """As the queue is. An event of any size is taken alone."""
    server.gate.clear()
    log = connected(server, tmp_path, queue_bytes_max=5_000, exit_timeout_s=0.05)
    log.emit(event())
    for _ in range(2):
        guard.enter()
        try:
            log.emit(event(payload={"text": "x" * 6_000}))
            with pytest.raises(QueueFull):
                log.emit(event(payload={"text": "x" * 1_000}))
            assert log._emitter._inbox_bytes > 6_000
        finally:
            guard.leave()
        assert log._emitter._inbox_bytes == 0
        check_balance(log)
    log.close()
    check_balance(log)


def endless(connection: socket.socket) -> None:
    """Send a response that does not end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    part = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    while True:
        connection.sendall(part)


def test_a_response_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not of a Whence server. No more than the limit is kept."""
    monkeypatch.setattr(transport, "_RESPONSE_BYTES_MAX", 1_000_000)
    with (
        scripted(endless) as server,
        Whence(server.url, "whk_x", spool=False, retries=0) as log,
        pytest.raises(WhenceError, match="Check the URL"),
    ):
        log.list()


async def test_a_response_without_an_end_is_given_up_by_async_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the others."""
    monkeypatch.setattr(transport, "_RESPONSE_BYTES_MAX", 1_000_000)
    with scripted(endless) as server:
        async with AsyncWhence(server.url, "whk_x", spool=False, retries=0) as log:
            with pytest.raises(WhenceError, match="Check the URL"):
                await log.list()


def test_the_file_of_rejected_events_is_bounded(
    server: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the limit of the spool. Further events are counted and reported; the log says once that they are not kept."""
    reporting._said.clear()
    server.rule = refuse("bad")
    reported: list[WhenceError] = []
    with (
        caplog.at_level(logging.WARNING, "whence"),
        connected(server, tmp_path, spool_bytes_max=3_000, on_error=reported.append) as log,
    ):
        for _ in range(30):
            log.emit(event(actorId="bad"))
        assert log.flush(10)
        assert log.stats().rejected == 30
        check_balance(log)
        kept = (log.spool_folder / REJECTED).read_bytes()
    assert 1_000 < len(kept) <= 3_000
    lines = [json.loads(line) for line in kept.splitlines()]
    files = [error.file for error in reported if isinstance(error, Rejected)]
    assert len(files) == 30 and sum(file is not None for file in files) == len(lines)
    assert caplog.text.count("Further rejected events") == 1
