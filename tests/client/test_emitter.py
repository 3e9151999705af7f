"""The queue and the spool: no event is lost or dropped silently, and the order stays."""

import asyncio
import json
import logging
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import event, wait_until
from tests.client.fake_server import FakeServer, accept, refuse, unavailable
from tests.unit.mutants import catches, replaced
from whence.client import AsyncWhence, Closed, EmittedEvent, Lost, QueueFull, Rejected, SpoolFull, Whence, emitter
from whence.client.backlog import Backlog
from whence.client.requests import SEND_EVENTS_MAX
from whence.client.spool import REJECTED, Spool
from whence.client.spool_lock import ProcessLock
from whence.durable_files import sync_file
from whence.errors import Invalid, WhenceError


def connected(server: FakeServer, tmp_path: Path, **options: Any) -> Whence:
    options = {"spool": tmp_path / "spool", "timeout_s": 5, **options}
    return Whence(server.url, "whk_x", **options)


def check_balance(log: Whence) -> None:
    """Check that the counts of the client add up: every event is in exactly one place."""
    stats = log.stats()
    accounted_for = stats.stored + stats.replayed + stats.rejected + stats.lost + stats.queued + stats.spooled
    assert stats.emitted + stats.adopted == accounted_for, stats


def names(first: int, last: int) -> list[str]:
    return [f"a{number}" for number in range(first, last)]


def segments(log: Whence) -> list[Path]:
    return sorted(log.spool_folder.glob("*.segment"))


def test_emit_returns_before_the_event_is_sent(server: FakeServer, tmp_path: Path) -> None:
    """The event has the id that `emit` returned, and is sent in a batch with others. Nothing is written to disk."""
    server.gate.clear()
    with connected(server, tmp_path) as log:
        first = log.emit(event())
        assert isinstance(first, EmittedEvent) and not first.spooled
        assert server.arrived.wait(5)
        rest = [log.emit(event()) for _ in range(20)]
        assert log.stats().queued == 21
        server.gate.set()
        assert log.flush(10)
        assert list(server.stored) == [first.id, *(each.id for each in rest)]
        assert [len(batch) for batch in server.batches] == [1, 20]
        assert (log.stats().stored, log.stats().queued) == (21, 0)
        check_balance(log)
    assert not (tmp_path / "spool").exists()


def at_once(self: emitter.Emitter) -> float:
    """Mutant: the next batch is sent at once, however small it is."""
    return 0.0


@catches(replaced(emitter.Emitter, "_gather", at_once, "a_request_for_each_event"))
def test_small_batches_keep_a_distance(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that emits all the time makes few requests. The first event, a full batch and `flush` do not wait."""
    monkeypatch.setattr(emitter, "_GATHER_S", 600.0)
    server.gate.clear()
    with connected(server, tmp_path) as log:
        log.emit(event(actorId="a0"))
        assert server.arrived.wait(5)
        log.emit(event(actorId="a1"))
        server.gate.set()
        wait_until(lambda: server.actors == ["a0"])
        log.emit(event(actorId="a2"))
        assert log.stats().queued == 2
        for number in range(3, SEND_EVENTS_MAX + 1):
            log.emit(event(actorId=f"a{number}"))
        wait_until(lambda: len(server.stored) == SEND_EVENTS_MAX + 1)
        log.emit(event(actorId="last"))
        assert log.flush(10)
        log.emit(event(actorId="closed"))
        assert [len(batch) for batch in server.batches] == [1, SEND_EVENTS_MAX, 1]
    assert server.actors == [*names(0, SEND_EVENTS_MAX + 1), "last", "closed"]


def test_code_that_waits_for_room_does_not_wait_for_a_batch_to_fill(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is full of few large events. Nor does code that waits on an event loop."""
    monkeypatch.setattr(emitter, "_GATHER_S", 600.0)
    size = 101_000  # room for one
    with connected(server, tmp_path, spool=False, on_full="block", block_timeout_s=20, queue_bytes_max=size) as log:
        for number in range(5):
            log.emit(event(actorId=f"a{number}", payload={"a": "x" * 100_000}))
    assert server.actors == names(0, 5)

    async def emit() -> None:
        async with AsyncWhence(
            server.url, "whk_x", spool=False, on_full="block", block_timeout_s=20, queue_bytes_max=size
        ) as async_log:
            for number in range(5, 10):
                await async_log.emit(event(actorId=f"a{number}", payload={"a": "x" * 100_000}))

    asyncio.run(emit())
    assert server.actors == names(0, 10)


def test_a_value_that_json_cannot_represent_is_not_queued(server: FakeServer, tmp_path: Path) -> None:
    """`emit` raises Invalid."""
    with connected(server, tmp_path) as log:
        with pytest.raises(Invalid):
            log.emit(event(payload={"a": float("nan")}))
        assert log.stats().emitted == 0


def blocked(self: Backlog, body: bytes, status: int, why: str) -> None:
    """Keeps a refused event as the next one to send."""
    self.outgoing.appendleft(body)


def dropped(self: Backlog, body: bytes, status: int, why: str) -> None:
    """Counts a refused event, and neither keeps nor reports it."""
    self._counts.rejected += 1


@catches(
    replaced(Backlog, "reject", blocked, "blocks_the_others"), replaced(Backlog, "reject", dropped, "drops_silently")
)
def test_a_refused_event_does_not_hold_up_the_others(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written to disk with the reason, and reported."""
    check_rejection(server, tmp_path, monkeypatch, whole=False, status=422)


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "whole_batch"])
@pytest.mark.parametrize("status", [413, 422, 500])
def test_the_refused_event_is_isolated(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, status: int
) -> None:
    """Also when the server refuses the whole batch for it, or responds with 500."""
    check_rejection(server, tmp_path, monkeypatch, whole=whole, status=status)


def check_rejection(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool, status: int
) -> None:
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.01)
    server.rule = refuse("a3", "a7", whole=whole, status=status)
    reported: list[WhenceError] = []
    with connected(server, tmp_path, on_error=reported.append, exit_timeout_s=0.2) as log:
        sent = [log.emit(event(actorId=name)) for name in names(0, 12)]
        assert log.flush(5)
        assert server.actors == [name for name in names(0, 12) if name not in ("a3", "a7")]
        assert log.stats().rejected == 2
        check_balance(log)
        file = log.spool_folder / REJECTED
    lines = [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []
    assert [(line["event"]["id"], line["status"]) for line in lines] == [(sent[index].id, status) for index in (3, 7)]
    refused = [error for error in reported if isinstance(error, Rejected)]
    assert [json.loads(error.event)["actorId"] for error in refused] == ["a3", "a7"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def newest(self: Spool) -> Any:
    """Returns the newest segment in place of the oldest."""
    self._sync_current(close=True)
    return self._segments[max(self._segments)] if self._segments else None


@catches(replaced(Spool, "oldest", newest, "sent_out_of_order"))
def test_spooled_events_are_sent_in_order(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many segments, while more events are emitted."""
    monkeypatch.setattr("whence.client.spool._SEGMENT_BYTES_MAX", 2_000)
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.05)
    server.rule = unavailable
    reported: list[WhenceError] = []
    with connected(server, tmp_path, on_error=reported.append) as log:
        for name in names(0, 50):
            log.emit(event(actorId=name))
        wait_until(lambda: log.stats().spooled == 50)
        assert log.emit(event(actorId="a50")).spooled
        for name in names(51, 100):
            assert log.emit(event(actorId=name)).spooled
        check_balance(log)
        assert log.stats().error_code == "unavailable"
        assert len(segments(log)) > 3
        assert not log.flush(0.05)
        server.rule = accept
        assert log.flush(10)
        assert server.actors == names(0, 100)
        assert (log.stats().error_code, segments(log)) == (None, [])
        assert not log.emit(event(actorId="a100")).spooled, "new events must be queued in memory again"
        assert [error.code for error in reported] == ["unavailable"], "the same error must be reported once"
        check_balance(log)


def test_a_full_queue_spills_to_disk(server: FakeServer, tmp_path: Path) -> None:
    """While a batch is being sent. All events are stored in the order in which they were emitted."""
    server.gate.clear()
    with connected(server, tmp_path, queue_events_max=10) as log:
        log.emit(event(actorId="a0"))
        assert server.arrived.wait(5)
        spooled = [log.emit(event(actorId=name)).spooled for name in names(1, 31)]
        assert spooled == [False] * 10 + [True] * 20
        check_balance(log)
        server.gate.set()
        assert log.flush(10)
        assert server.actors == names(0, 31)
        check_balance(log)


def test_the_queue_is_bounded_in_bytes(server: FakeServer, tmp_path: Path) -> None:
    """An event that is larger than the bound is still accepted by an empty queue."""
    server.gate.clear()
    with connected(server, tmp_path, queue_bytes_max=3_000) as log:
        assert not log.emit(event(payload={"a": "x" * 5_000})).spooled
        assert server.arrived.wait(5)
        assert not log.emit(event(payload={"a": "x" * 2_000})).spooled
        assert log.emit(event(payload={"a": "x" * 2_000})).spooled
        server.gate.set()
        assert log.flush(10)


def test_a_full_queue_blocks_if_asked_to(server: FakeServer, tmp_path: Path) -> None:
    """`emit` waits for room, and nothing is written to disk."""
    server.gate.clear()
    with connected(server, tmp_path, queue_events_max=10, on_full="block") as log:
        log.emit(event(actorId="a0"))
        assert server.arrived.wait(5)
        for name in names(1, 11):
            log.emit(event(actorId=name))
        late = threading.Thread(target=lambda: log.emit(event(actorId="a11")))
        late.start()
        late.join(0.1)
        assert late.is_alive() and log.stats().emitted == 11
        server.gate.set()
        late.join(10)
        assert log.flush(10)
        assert server.actors == names(0, 12)
    assert not (tmp_path / "spool").exists()


def unbounded(self: Backlog, body: bytes) -> bool:
    """Always has room."""
    return True


@catches(replaced(Backlog, "has_room", unbounded, "queue_is_unbounded"))
def test_an_event_that_cannot_be_kept_is_refused(server: FakeServer, tmp_path: Path) -> None:
    """With a full queue, and a spool that is full or not writable, `emit` raises SpoolFull. No event is dropped."""
    server.gate.clear()
    (tmp_path / "file").touch()
    for options in ({"spool_bytes_max": 3_000}, {"spool": tmp_path / "file"}):
        server.arrived.clear()
        with connected(server, tmp_path, queue_events_max=5, timeout_s=30, **options) as log:
            log.emit(event())
            assert server.arrived.wait(5)
            with pytest.raises(SpoolFull):
                for _ in range(50):
                    log.emit(event())
            accepted = log.stats().emitted
            assert accepted < 50
            check_balance(log)
            server.gate.set()
            assert log.flush(10)
            assert log.stats().stored == accepted
        server.gate.clear()


def discard(self: Backlog, further: object) -> tuple[list[bytes], int]:
    """Drops the queue when the client is closed."""
    self.queue.clear()
    return [], 0


@catches(replaced(Backlog, "release", discard, "exit_without_flush"))
def test_unsent_events_are_sent_by_the_next_client(server: FakeServer, tmp_path: Path) -> None:
    """Closing takes a bounded time, spools the events in memory, and the next client sends them first."""
    server.gate.clear()
    log = connected(server, tmp_path, exit_timeout_s=0.1)
    for name in names(0, 5):
        log.emit(event(actorId=name))
    assert server.arrived.wait(5)
    for name in names(5, 9):
        log.emit(event(actorId=name))
    assert log.close() is False
    with pytest.raises(Closed):
        log.emit(event())
    server.gate.set()
    with connected(server, tmp_path) as next_client:
        next_client.emit(event(actorId="a9"))
        assert next_client.flush(10)
        assert sorted(server.actors) == names(0, 10)
        assert server.actors[5:] == names(5, 10)
        assert next_client.stats().adopted == 9
        check_balance(next_client)
        assert segments(next_client) == []


def test_without_a_spool_lost_events_are_reported(server: FakeServer, tmp_path: Path) -> None:
    """With the events themselves, so that the program can keep them elsewhere."""
    server.gate.clear()
    reported: list[WhenceError] = []
    log = connected(server, tmp_path, spool=False, exit_timeout_s=0.05, on_error=reported.append)
    for name in names(0, 3):
        log.emit(event(actorId=name))
    assert log.close() is False
    assert [
        json.loads(body)["actorId"] for error in reported if isinstance(error, Lost) for body in error.events
    ] == names(0, 3)


def test_retry_after_of_a_batch_is_respected(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the least wait before the next attempt."""
    waits: list[float | None] = []

    def record(attempt: int, at_least_s: float | None = None, spread_max_s: float = 0) -> float:
        waits.append(at_least_s)
        return 0.0

    monkeypatch.setattr(emitter, "backoff_s", record)
    monkeypatch.setattr(emitter, "retry_after_s", lambda value, now: 7.0)
    server.rule = unavailable
    with connected(server, tmp_path) as log:
        log.emit(event())
        wait_until(lambda: len(waits) > 2)
        server.rule = accept
        assert log.flush(10)
    assert set(waits) == {7.0}


def test_an_error_in_the_callback_is_logged(
    server: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The other events are still sent."""

    def fails(error: WhenceError) -> None:
        raise RuntimeError("no")

    server.rule = refuse("a1")
    with caplog.at_level(logging.WARNING, "whence"), connected(server, tmp_path, on_error=fails) as log:
        for name in names(0, 3):
            log.emit(event(actorId=name))
        assert log.flush(10)
    assert server.actors == ["a0", "a2"]
    assert "on_error failed" in caplog.text


def test_a_callback_never_blocks_on_a_full_queue(server: FakeServer, tmp_path: Path) -> None:
    """It may emit. When the queue is full, `emit` raises: only the thread of the callback could make room."""
    server.rule = refuse("a1")
    raised: list[QueueFull] = []

    def emits(error: WhenceError) -> None:
        if isinstance(error, Rejected):
            try:
                for _ in range(10):
                    log.emit(event(actorId="callback"))
            except QueueFull as full:
                raised.append(full)

    log = connected(server, tmp_path, on_error=emits, on_full="block", queue_events_max=3)
    log.emit(event(actorId="a1"))
    assert log.flush(10)
    log.close()
    assert len(raised) == 1
    assert server.actors == ["callback"] * 3


def test_a_removed_spool_file_is_reported(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number of events in it. The other events are still sent."""
    server.rule = unavailable
    previous = connected(server, tmp_path, exit_timeout_s=0.05)
    for name in names(0, 3):
        previous.emit(event(actorId=name))
    previous.close()
    read = Spool.read
    taken: list[Path] = []

    def read_after_removal(self: Spool, segment: Any) -> tuple[list[bytes], list[bytes]]:
        if not taken:
            taken.append(segment.path)
            segment.path.unlink()
        return read(self, segment)

    monkeypatch.setattr(Spool, "read", read_after_removal)
    server.rule = accept
    reported: list[WhenceError] = []
    with connected(server, tmp_path, on_error=reported.append) as log:
        log.emit(event(actorId="a3"))
        assert log.flush(10)
        assert (log.stats().lost, server.actors) == (3, ["a3"])
        (lost,) = reported
        assert isinstance(lost, Lost) and str(lost).endswith("3 events with it.")
        check_balance(log)


def sync_unchecked(self: Spool, *, close: bool = False) -> None:
    """Syncs the file without allowing for its removal."""
    if self._current is not None:
        sync_file(self._current.path)


def missing_at_close(spool: Spool) -> int:
    """The number of missing events, or -1 when closing fails."""
    try:
        return spool.close()
    except OSError:
        return -1


@catches(
    replaced(Spool, "_sync_current", sync_unchecked, "syncs_a_removed_file"),
    replaced(Spool, "close", lambda _self: 0, "reports_no_missing_events"),
)
def test_closing_a_spool_counts_missing_events(tmp_path: Path) -> None:
    """Whether all of its files were removed or some. The others are left to the next process."""
    spool = Spool(tmp_path / "root" / "spool", 1_000)
    for _ in range(3):
        spool.sync(spool.append(b"{}"))
    spool.write(spool.reserve(), [b"{}", b"{}"])
    oldest = spool.oldest()
    assert oldest is not None
    oldest.path.unlink()
    assert missing_at_close(spool) == 3
    next_spool = Spool(tmp_path / "root" / "spool", 1_000)
    assert (next_spool.adopt(), next_spool.events) == (1, 2)
    shutil.rmtree(tmp_path / "root")
    assert missing_at_close(next_spool) == 2


def test_an_incomplete_line_is_rejected_and_the_rest_is_sent(server: FakeServer, tmp_path: Path) -> None:
    """A killed process leaves an incomplete line, for which `emit` had not returned."""
    server.rule = unavailable
    log = connected(server, tmp_path, exit_timeout_s=0.05)
    for name in names(0, 3):
        log.emit(event(actorId=name))
    log.close()
    (segment,) = segments(log)
    with segment.open("ab") as file:
        file.write(b'{"id":"0192')
    server.rule = accept
    with connected(server, tmp_path) as next_client:
        assert next_client.flush(10)
        assert server.actors == names(0, 3)
        (line,) = (next_client.spool_folder / REJECTED).read_bytes().splitlines()
        assert json.loads(line)["event"] == '{"id":"0192'


def shared(self: Any, root: Path, name: str, instance: int) -> bool:
    """Every other process counts as dead."""
    return True


@catches(replaced(ProcessLock, "is_abandoned", shared, "takes_from_open_spools"))
def test_a_client_does_not_take_files_of_an_open_one(server: FakeServer, tmp_path: Path) -> None:
    """Events are sent by the client that spooled them, for as long as it is open."""
    server.rule = unavailable
    first, second = (connected(server, tmp_path, exit_timeout_s=0.05) for _ in range(2))
    first.emit(event(actorId="a0"))
    wait_until(lambda: first.stats().spooled == 1)
    own_segments = segments(first)
    second.emit(event(actorId="a1"))
    wait_until(lambda: second.stats().spooled == 1)
    assert second.stats().adopted == 0
    assert set(own_segments) < set(segments(second))
    second.close()
    first.close()


def test_each_server_and_tenant_has_its_own_spool_folder(server: FakeServer, tmp_path: Path) -> None:
    """So has each key, unless the tenant is named: then the folder stays when the key is rotated."""
    root = tmp_path / "spool"
    logs = [
        Whence(server.url, "whk_x", spool=root),
        Whence(server.url, "whk_y", spool=root),
        Whence("http://127.0.0.1:1", "whk_x", spool=root),
        Whence(server.url, "whk_x", spool=root, tenant="acme"),
        Whence(server.url, "whk_y", spool=root, tenant="acme"),
    ]
    folders = [log.spool_folder for log in logs]
    assert len(set(folders)) == 4
    assert folders[3] == folders[4]
    assert all("whk" not in str(folder) for folder in folders)
    for log in logs:
        log.close()


def test_the_spool_is_in_the_state_directory_of_the_user(server: FakeServer, state: Path) -> None:
    """By default."""
    with Whence(server.url, "whk_x") as log:
        assert log.spool_folder.parent == state / "whence" / "spool"
    assert os.environ["XDG_STATE_HOME"] == str(state)
