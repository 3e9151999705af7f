"""The queue and the spool: nothing is lost, nothing is silent, and the order stays."""

import json
import logging
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import event, wait_until
from tests.client.takers import Taker, away, refuse, take, taking
from tests.unit.mutants import catches, replaced
from whence.client import Closed, Emitted, Lost, Rejected, SpoolFull, Whence, emitter
from whence.client import spool as spools
from whence.client.emitter import Emitter
from whence.client.spool import REJECTED, Spool, _Process
from whence.errors import Invalid, WhenceError


@pytest.fixture
def taker() -> Iterator[Taker]:
    with taking() as running:
        yield running


def connected(taker: Taker, tmp_path: Path, **options: Any) -> Whence:
    options = {"spool": tmp_path / "spool", "timeout_s": 5, **options}
    return Whence(taker.url, "whk_x", **options)


def sound(log: Whence) -> None:
    """Every event is in exactly one place."""
    stats = log.stats()
    kept = stats.stored + stats.replayed + stats.rejected + stats.lost + stats.queued + stats.spooled
    assert stats.emitted + stats.adopted == kept, stats


def names(first: int, last: int) -> list[str]:
    return [f"a{number}" for number in range(first, last)]


def segments(log: Whence) -> list[Path]:
    return sorted(log.spool_folder.glob("*.segment"))


def test_emit_returns_at_once_and_the_event_arrives(taker: Taker, tmp_path: Path) -> None:
    """With the id that it was returned with, in a batch with its neighbours; no disk is touched."""
    taker.gate.clear()
    with connected(taker, tmp_path) as log:
        first = log.emit(event())
        assert isinstance(first, Emitted) and not first.spooled
        assert taker.arrived.wait(5)
        rest = [log.emit(event()) for _ in range(20)]
        assert log.stats().queued == 21
        taker.gate.set()
        assert log.flush(10)
        assert list(taker.stored) == [first.id, *(one.id for one in rest)]
        assert [len(batch) for batch in taker.seen] == [1, 20]
        assert (log.stats().stored, log.stats().queued) == (21, 0)
        sound(log)
    assert not (tmp_path / "spool").exists()


def test_what_json_cannot_say_is_refused_before_it_is_queued(taker: Taker, tmp_path: Path) -> None:
    """The caller hears of it at once."""
    with connected(taker, tmp_path) as log:
        with pytest.raises(Invalid):
            log.emit(event(payload={"a": float("nan")}))
        assert log.stats().emitted == 0


def blocked(self: Emitter, body: bytes, status: int, why: str) -> None:
    """A refused event stays where it is."""
    self._hand.appendleft(body)


def dropped(self: Emitter, body: bytes, status: int, why: str) -> None:
    self._counted.rejected += 1


@catches(replaced(Emitter, "_reject", blocked, "blocks_the_rest"), replaced(Emitter, "_reject", dropped, "in_silence"))
def test_a_refused_event_is_set_aside_and_the_rest_goes_on(
    taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on disk with the reason, and told."""
    set_aside(taker, tmp_path, monkeypatch, whole=False, status=422)


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "whole_batch"])
@pytest.mark.parametrize("status", [413, 422, 500])
def test_one_event_is_to_blame_however_the_server_says_no(
    taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, status: int
) -> None:
    """Also when it refuses the whole batch for it, or breaks on it."""
    set_aside(taker, tmp_path, monkeypatch, whole=whole, status=status)


def set_aside(taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool, status: int) -> None:
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.01)
    taker.rule = refuse("a3", "a7", whole=whole, status=status)
    told: list[WhenceError] = []
    with connected(taker, tmp_path, on_error=told.append, exit_timeout_s=0.2) as log:
        sent = [log.emit(event(actorId=name)) for name in names(0, 12)]
        assert log.flush(5)
        assert taker.actors == [name for name in names(0, 12) if name not in ("a3", "a7")]
        assert log.stats().rejected == 2
        sound(log)
        file = log.spool_folder / REJECTED
    lines = [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []
    assert [(line["event"]["id"], line["status"]) for line in lines] == [(sent[at].id, status) for at in (3, 7)]
    refused = [error for error in told if isinstance(error, Rejected)]
    assert [json.loads(error.event)["actorId"] for error in refused] == ["a3", "a7"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def newest(self: Spool) -> Any:
    """Replays from the wrong end."""
    self._sync_current(close=True)
    return self._segments[max(self._segments)] if self._segments else None


@catches(replaced(Spool, "oldest", newest, "replayed_out_of_order"))
def test_a_server_that_is_away_gets_everything_in_order_later(
    taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the queue to the disk, and from the disk to the server, across many segments, with more coming in."""
    monkeypatch.setattr("whence.client.spool._SEGMENT_MAX", 2_000)
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.05)
    taker.rule = away
    told: list[WhenceError] = []
    with connected(taker, tmp_path, on_error=told.append) as log:
        for name in names(0, 50):
            log.emit(event(actorId=name))
        wait_until(lambda: log.stats().spooled == 50)
        assert log.emit(event(actorId="a50")).spooled
        for name in names(51, 100):
            assert log.emit(event(actorId=name)).spooled
        sound(log)
        assert log.stats().trouble == "unavailable"
        assert len(segments(log)) > 3
        assert not log.flush(0.05)
        taker.rule = take
        assert log.flush(10)
        assert taker.actors == names(0, 100)
        assert (log.stats().trouble, segments(log)) == (None, [])
        assert not log.emit(event(actorId="a100")).spooled, "the disk is only for bad times"
        assert [error.code for error in told] == ["unavailable"], "a trouble is told once"
        sound(log)


def test_a_full_queue_goes_on_on_disk(taker: Taker, tmp_path: Path) -> None:
    """While a batch is on its way; and all arrive in the order in which they were emitted."""
    taker.gate.clear()
    with connected(taker, tmp_path, queue_events_max=10) as log:
        log.emit(event(actorId="a0"))
        assert taker.arrived.wait(5)
        spooled = [log.emit(event(actorId=name)).spooled for name in names(1, 31)]
        assert spooled == [False] * 10 + [True] * 20
        sound(log)
        taker.gate.set()
        assert log.flush(10)
        assert taker.actors == names(0, 31)
        sound(log)


def test_a_queue_is_bounded_in_bytes_too(taker: Taker, tmp_path: Path) -> None:
    """And one event that is larger than the bound still goes through an empty queue."""
    taker.gate.clear()
    with connected(taker, tmp_path, queue_bytes_max=3_000) as log:
        assert not log.emit(event(payload={"a": "x" * 5_000})).spooled
        assert taker.arrived.wait(5)
        assert not log.emit(event(payload={"a": "x" * 2_000})).spooled
        assert log.emit(event(payload={"a": "x" * 2_000})).spooled
        taker.gate.set()
        assert log.flush(10)


def test_a_full_queue_can_block_instead(taker: Taker, tmp_path: Path) -> None:
    """`emit` waits until there is room, and nothing goes to the disk."""
    taker.gate.clear()
    with connected(taker, tmp_path, queue_events_max=10, on_full="block") as log:
        log.emit(event(actorId="a0"))
        assert taker.arrived.wait(5)
        for name in names(1, 11):
            log.emit(event(actorId=name))
        late = threading.Thread(target=lambda: log.emit(event(actorId="a11")))
        late.start()
        late.join(0.1)
        assert late.is_alive() and log.stats().emitted == 11
        taker.gate.set()
        late.join(10)
        assert log.flush(10)
        assert taker.actors == names(0, 12)
    assert not (tmp_path / "spool").exists()


def unbounded(self: Emitter, body: bytes) -> bool:
    return True


@catches(replaced(Emitter, "_has_room", unbounded, "grows_without_end"))
def test_what_cannot_be_kept_is_refused_to_the_caller(taker: Taker, tmp_path: Path) -> None:
    """With a full queue and a full spool, or a disk that cannot be written, `emit` raises; nothing is dropped."""
    taker.gate.clear()
    (tmp_path / "file").touch()
    for options in ({"spool_bytes_max": 3_000}, {"spool": tmp_path / "file"}):
        taker.arrived.clear()
        with connected(taker, tmp_path, queue_events_max=5, timeout_s=30, **options) as log:
            log.emit(event())
            assert taker.arrived.wait(5)
            with pytest.raises(SpoolFull):
                for _ in range(50):
                    log.emit(event())
            kept = log.stats().emitted
            assert kept < 50
            sound(log)
            taker.gate.set()
            assert log.flush(10)
            assert log.stats().stored == kept
        taker.gate.clear()


def left_behind(self: Emitter) -> tuple[list[bytes], int]:
    """The end of the process as if there were nothing to do."""
    self._queue.clear()
    return [], 0


@catches(replaced(Emitter, "_leave_on_disk", left_behind, "exit_without_flush"))
def test_what_is_not_sent_before_the_end_is_sent_by_the_next(taker: Taker, tmp_path: Path) -> None:
    """Closing is bounded in time, what was in memory goes to the disk, and the next client sends it first."""
    taker.gate.clear()
    log = connected(taker, tmp_path, exit_timeout_s=0.1)
    for name in names(0, 5):
        log.emit(event(actorId=name))
    assert taker.arrived.wait(5)
    for name in names(5, 9):
        log.emit(event(actorId=name))
    assert log.close() is False
    with pytest.raises(Closed):
        log.emit(event())
    taker.gate.set()
    with connected(taker, tmp_path) as after:
        after.emit(event(actorId="a9"))
        assert after.flush(10)
        assert sorted(taker.actors) == names(0, 10)
        assert taker.actors[5:] == names(5, 10)
        assert after.stats().adopted == 9
        sound(after)
        assert segments(after) == []


def test_without_a_spool_what_is_lost_is_told(taker: Taker, tmp_path: Path) -> None:
    """With the events themselves, so that a program may keep them elsewhere."""
    taker.gate.clear()
    told: list[WhenceError] = []
    log = connected(taker, tmp_path, spool=False, exit_timeout_s=0.05, on_error=told.append)
    for name in names(0, 3):
        log.emit(event(actorId=name))
    assert log.close() is False
    assert [json.loads(body)["actorId"] for error in told if isinstance(error, Lost) for body in error.events] == names(
        0, 3
    )


def test_retry_after_of_a_batch_is_kept_to(taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next try is not before it."""
    pauses: list[tuple[float | None, float]] = []

    def noted(attempt: int, asked_s: float | None = None, most_s: float = 0) -> float:
        pauses.append((asked_s, most_s))
        return 0.0

    monkeypatch.setattr(emitter, "pause_s", noted)
    monkeypatch.setattr(emitter, "retry_after_s", lambda value, now: 7.0)
    taker.rule = away
    with connected(taker, tmp_path) as log:
        log.emit(event())
        wait_until(lambda: len(pauses) > 2)
        taker.rule = take
        assert log.flush(10)
    assert all(asked == 7.0 for asked, _ in pauses)


def test_a_callback_that_fails_stops_nothing(taker: Taker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the events go on."""

    def fails(error: WhenceError) -> None:
        raise RuntimeError("no")

    taker.rule = refuse("a1")
    with caplog.at_level(logging.WARNING, "whence"), connected(taker, tmp_path, on_error=fails) as log:
        for name in names(0, 3):
            log.emit(event(actorId=name))
        assert log.flush(10)
    assert taker.actors == ["a0", "a2"]
    assert "on_error failed" in caplog.text


def test_a_callback_does_not_wait_for_itself(taker: Taker, tmp_path: Path) -> None:
    """It may emit; but where `emit` would wait for room, which only the callback's own thread can make, it raises."""
    taker.rule = refuse("a1")
    raised: list[WhenceError] = []

    def emits(error: WhenceError) -> None:
        if isinstance(error, Rejected):
            try:
                for _ in range(10):
                    log.emit(event(actorId="told"))
            except SpoolFull as full:
                raised.append(full)

    log = connected(taker, tmp_path, on_error=emits, on_full="block", queue_events_max=3)
    log.emit(event(actorId="a1"))
    assert log.flush(10)
    log.close()
    assert len(raised) == 1
    assert taker.actors == ["told"] * 3


def test_a_file_that_was_taken_away_is_told(taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how many events were in it, and the others go on."""
    taker.rule = away
    before = connected(taker, tmp_path, exit_timeout_s=0.05)
    for name in names(0, 3):
        before.emit(event(actorId=name))
    before.close()
    read = Spool.read
    taken: list[Path] = []

    def too_late(self: Spool, segment: Any) -> list[bytes]:
        if not taken:
            taken.append(segment.path)
            segment.path.unlink()
        return read(self, segment)

    monkeypatch.setattr(Spool, "read", too_late)
    taker.rule = take
    told: list[WhenceError] = []
    with connected(taker, tmp_path, on_error=told.append) as log:
        log.emit(event(actorId="a3"))
        assert log.flush(10)
        assert (log.stats().lost, taker.actors) == (3, ["a3"])
        (lost,) = told
        assert isinstance(lost, Lost) and str(lost).endswith("3 events with it.")
        sound(log)


def _as_if_there(self: Spool, *, close: bool = False) -> None:
    """The file is synced whether it is there or not."""
    if self._current is not None:
        spools._sync(self._current.path)


def closed(spool: Spool) -> int:
    """How many events are gone, or -1 when closing fails."""
    try:
        return spool.close()
    except OSError:
        return -1


@catches(
    replaced(Spool, "_sync_current", _as_if_there, "syncs_what_is_gone"),
    replaced(Spool, "close", lambda _self: 0, "says_nothing_is_gone"),
)
def test_closing_a_spool_whose_folder_is_gone_says_how_much(tmp_path: Path) -> None:
    """Also when some of its files are there; those are left to the next process."""
    spool = Spool(tmp_path / "root" / "spool", 1_000)
    for _ in range(3):
        spool.sync(spool.append(b"{}"))
    spool.write(spool.reserve(), [b"{}", b"{}"])
    oldest = spool.oldest()
    assert oldest is not None
    oldest.path.unlink()
    assert closed(spool) == 3
    after = Spool(tmp_path / "root" / "spool", 1_000)
    assert (after.adopt(), after.events) == (1, 2)
    shutil.rmtree(tmp_path / "root")
    assert closed(after) == 2


def test_a_torn_line_is_told_and_the_rest_is_replayed(taker: Taker, tmp_path: Path) -> None:
    """What a killed process was writing was never acknowledged as spooled; it is set aside with the reason."""
    taker.rule = away
    log = connected(taker, tmp_path, exit_timeout_s=0.05)
    for name in names(0, 3):
        log.emit(event(actorId=name))
    log.close()
    (segment,) = segments(log)
    with segment.open("ab") as file:
        file.write(b'{"id":"0192')
    taker.rule = take
    with connected(taker, tmp_path) as after:
        assert after.flush(10)
        assert taker.actors == names(0, 3)
        (line,) = (after.spool_folder / REJECTED).read_bytes().splitlines()
        assert json.loads(line)["event"] == '{"id":"0192'


def shared(self: Any, root: Path, name: str, instance: int) -> bool:
    """Every other process counts as dead."""
    return True


@catches(replaced(_Process, "is_dead", shared, "takes_from_the_living"))
def test_two_clients_do_not_replay_the_same_file(taker: Taker, tmp_path: Path) -> None:
    """What a living client spooled is its own to send."""
    taker.rule = away
    one, two = (connected(taker, tmp_path, exit_timeout_s=0.05) for _ in range(2))
    one.emit(event(actorId="a0"))
    wait_until(lambda: one.stats().spooled == 1)
    before = segments(one)
    two.emit(event(actorId="a1"))
    wait_until(lambda: two.stats().spooled == 1)
    assert two.stats().adopted == 0
    assert set(before) < set(segments(two))
    two.close()
    one.close()


def test_spools_are_apart(taker: Taker, tmp_path: Path) -> None:
    """Another server, another key or another tenant is another folder; a named tenant keeps its folder when the key
    is changed.
    """
    root = tmp_path / "spool"
    logs = [
        Whence(taker.url, "whk_x", spool=root),
        Whence(taker.url, "whk_y", spool=root),
        Whence("http://127.0.0.1:1", "whk_x", spool=root),
        Whence(taker.url, "whk_x", spool=root, tenant="acme"),
        Whence(taker.url, "whk_y", spool=root, tenant="acme"),
    ]
    folders = [log.spool_folder for log in logs]
    assert len(set(folders)) == 4
    assert folders[3] == folders[4]
    assert all("whk" not in str(folder) for folder in folders)
    for log in logs:
        log.close()


def test_the_spool_is_in_the_users_state(taker: Taker, state: Path) -> None:
    """Unless another place is named."""
    with Whence(taker.url, "whk_x") as log:
        assert log.spool_folder.parent == state / "whence" / "spool"
    assert os.environ["XDG_STATE_HOME"] == str(state)
