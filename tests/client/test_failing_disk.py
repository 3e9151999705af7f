"""A disk that fails for a while: every event is in one place, what is said is true, and sending goes on."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import event, wait_until
from tests.client.fake_server import FakeServer, accept, refuse, unavailable
from tests.client.test_emitter import check_balance, connected, names, segments
from whence.client import Rejected, SpoolFull, Whence, emitter, reporting, sender, spool
from whence.errors import WhenceError


class FailingDisk:
    """Lets fsync of files, writing or deleting fail while these are set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncing = self.writing = self.deleting = False
        self.failures = 0
        sync, append, unlink = spool.sync_file, spool.append_to_file, Path.unlink

        def syncing(path: Path) -> None:
            self._check(self.syncing and path.is_file())
            sync(path)

        def writing(*given: Any) -> None:
            self._check(self.writing)
            append(*given)

        def deleting(path: Path, **given: Any) -> None:
            self._check(self.deleting and path.suffix == ".segment")
            unlink(path, **given)

        monkeypatch.setattr(spool, "sync_file", syncing)
        monkeypatch.setattr(spool, "append_to_file", writing)
        monkeypatch.setattr(Path, "unlink", deleting)

    def _check(self, fails: bool) -> None:
        if fails:
            self.failures += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.02)
    reporting._said.clear()
    return FailingDisk(monkeypatch)


def lines(log: Whence) -> int:
    return sum(path.read_bytes().count(b"\n") for path in segments(log))


def test_a_failing_sync_writes_no_event_twice(server: FakeServer, tmp_path: Path, disk: FailingDisk) -> None:
    """The queue stays in memory until it is on disk."""
    server.rule = unavailable
    disk.syncing = True
    with connected(server, tmp_path) as log:
        for name in names(0, 5):
            log.emit(event(actorId=name))
        wait_until(lambda: disk.failures > 3)
        check_balance(log)
        assert (log.stats().queued, log.stats().spooled) == (5, 0)
        disk.syncing = False
        wait_until(lambda: log.stats().spooled == 5)
        check_balance(log)
        assert lines(log) == 5
        server.rule = accept
        assert log.flush(10)
        check_balance(log)
    assert server.actors == names(0, 5)
    assert log.stats().replayed == 0


def test_an_event_that_was_written_and_not_synced_is_accepted(
    server: FakeServer, tmp_path: Path, disk: FailingDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """`emit` says that it is not on disk, and the log says why. It is sent once."""
    server.rule = unavailable
    with connected(server, tmp_path) as log:
        log.emit(event(actorId="a0"))
        wait_until(lambda: log.stats().spooled == 1)
        disk.syncing = True
        assert [log.emit(event(actorId=name)).spooled for name in names(1, 4)] == [False] * 3
        check_balance(log)
        wait_until(lambda: "cannot be synced" in caplog.text)
        assert caplog.text.count("cannot be synced") == 1
        server.rule = accept
        assert log.flush(10), "what is not synced can be sent"
        check_balance(log)
    assert server.actors == names(0, 4)


def test_a_sync_that_failed_is_made_up_for(tmp_path: Path, disk: FailingDisk) -> None:
    """Also if the segment was closed meanwhile: `sync` returns only when its event is on disk."""
    spooled = spool.Spool(tmp_path / "tenant", 10_000)
    ticket = spooled.append(b"{}")
    disk.syncing = True
    segment = spooled.oldest()
    for _ in range(2):
        with pytest.raises(OSError, match="space"):
            spooled.sync(ticket)
    disk.syncing = False
    spooled.sync(ticket)
    assert segment is not None
    spooled.remove(segment)
    assert not spooled.events


def test_a_refused_event_leaves_nothing_on_a_full_disk(server: FakeServer, tmp_path: Path, disk: FailingDisk) -> None:
    """No file, no segment, and no event in two places."""
    server.rule = unavailable
    disk.writing = True
    with connected(server, tmp_path, queue_events_max=5) as log:
        refused = 0
        for _ in range(50):
            try:
                log.emit(event())
            except SpoolFull:
                refused += 1
        assert refused
        check_balance(log)
        assert segments(log) == []
        spooled = log._emitter._backlog.spool
        assert spooled is not None and not spooled._segments
        disk.writing = False
        log.emit(event())
        check_balance(log)
        server.rule = accept
        assert log.flush(10)
    assert len(server.stored) == 51 - refused


def test_sending_goes_on_when_no_file_can_be_deleted(
    server: FakeServer, tmp_path: Path, disk: FailingDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """Events are accepted in memory again. The next process sends what is left, and the server stores it once."""
    server.rule = unavailable
    log = connected(server, tmp_path)
    for name in names(0, 3):
        log.emit(event(actorId=name))
    wait_until(lambda: log.stats().spooled == 3)
    disk.deleting = disk.writing = True
    server.rule = accept
    assert log.flush(10)
    for name in names(3, 6):
        assert not log.emit(event(actorId=name)).spooled
    assert log.flush(10)
    check_balance(log)
    assert log.close()
    assert server.actors == names(0, 6)
    assert caplog.text.count("cannot be deleted") == 1
    disk.deleting = disk.writing = False
    with connected(server, tmp_path) as next_client:
        assert next_client.flush(10)
        assert next_client.stats().replayed == 3
        check_balance(next_client)
        assert segments(next_client) == []
    assert server.actors == names(0, 6)


def test_a_segment_that_is_taken_over_gets_no_reserved_number(tmp_path: Path) -> None:
    """Else the events for which the number is reserved would be written over it."""
    earlier = spool.Spool(tmp_path / "tenant", 10_000)
    earlier.append(b'{"n":1}')
    earlier.close()
    later = spool.Spool(tmp_path / "tenant", 10_000)
    reserved = later.reserve()
    later.append(b'{"n":3}')
    assert later.adopt() == 1
    later.write(reserved, [b'{"n":2}'])
    assert later.events == 3
    read = []
    while (segment := later.oldest()) is not None:
        read += later.read(segment)[0]
        later.remove(segment)
    assert read == [b'{"n":1}', b'{"n":2}', b'{"n":3}']


# ------------------------------------------------------------------------------------- results that nobody expects


def test_an_exception_loses_no_event_of_a_batch(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays where it is, as the others do, and each is counted once."""
    monkeypatch.setattr(sender, "_RETRY_AFTER_EXCEPTION_S", 0.02)
    plain, failures = spool.Spool.reject, [1, 2]

    def failing(self: spool.Spool, *given: Any) -> None:
        if failures:
            failures.pop()
            raise RuntimeError
        plain(self, *given)

    monkeypatch.setattr(spool.Spool, "reject", failing)
    server.rule = refuse("a1")
    reported: list[WhenceError] = []
    with connected(server, tmp_path, on_error=reported.append) as log:
        for name in names(0, 3):
            log.emit(event(actorId=name))
        assert log.flush(10)
        check_balance(log)
        assert (log.stats().stored, log.stats().rejected) == (2, 1)
    assert [type(error) for error in reported] == [Rejected]


def test_a_problem_of_no_known_type_is_a_refusal(server: FakeServer, tmp_path: Path) -> None:
    """As that of a server which is none of Whence."""
    details: list[Any] = [[{"type": []}], [{"type": {}}], [[]], {"type": "x"}, 7]

    def odd(events: list[dict[str, Any]]) -> tuple[int, Any]:
        results = [
            {"index": index, "id": each["id"], "status": 422, "detail": details[int(each["actorId"][1:])]}
            for index, each in enumerate(events)
        ]
        return 207, {"results": results}

    server.rule = odd
    with connected(server, tmp_path) as log:
        for name in names(0, len(details)):
            log.emit(event(actorId=name))
        assert log.flush(10)
        assert log.stats().rejected == len(details)
        check_balance(log)


def test_a_refused_event_is_kept_as_it_is(tmp_path: Path) -> None:
    """Also with a number that has no other form."""
    spooled = spool.Spool(tmp_path / "tenant", 10_000)
    body = b'{"a":%d,"b":1E2}' % (2**100)
    spooled.reject(body, 422, "why")
    assert body in (tmp_path / "tenant" / spool.REJECTED).read_bytes()
