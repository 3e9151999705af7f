"""Spools that are damaged, cannot be written, or have no place: nothing is lost in silence, and the rest goes on."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api.conftest import Served, event, serving, wait_until
from tests.client.fake_server import FakeServer, accept, unavailable
from tests.client.test_emitter import check_balance, connected, names, segments
from tests.unit.mutants import catches, replaced
from whence.client import Lost, Rejected, Whence, emitter, encoding, reporting, spool, transport
from whence.client.spool import REJECTED
from whence.errors import Invalid, WhenceError
from whence.permissions import READ, WRITE


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("damage")) as running:
        yield running


@catches(replaced(encoding, "compact_json", lambda body: body, "frames_by_the_newlines_of_others"))
def test_line_ends_in_a_raw_payload_do_not_separate_events(served: Served, tmp_path: Path) -> None:
    """The events are stored by a real server, each as one; number literals stay."""
    key = served.key(READ, WRITE, tenant="raw")
    raw = msgspec.Raw(b'{\n  "a": 1E2,\r\n  "b": "x\\n"\n}')
    with Whence(served.url, key, spool=tmp_path) as log:
        sent = [log.emit(event(payload=raw)), log.emit(event()), log.emit(event(payload=raw), durable=True).event]
        assert log.flush(3)
        assert log.stats().stored == 2
        assert [log.get(each.id).payload_bytes for each in sent] == [
            b'{"a":1E2,"b":"x\\n"}',
            b"{}",
            b'{"a":1E2,"b":"x\\n"}',
        ]
        assert len(log.batch([event(payload=raw), event()]).results) == 2


def test_a_raw_payload_that_is_no_json_is_refused() -> None:
    """At `emit`, if it would break the framing."""
    with Whence("http://127.0.0.1:1", "whk_x", spool=False) as log, pytest.raises(Invalid):
        log.emit(event(payload=msgspec.Raw(b'{"a":\n')))


def believing(line: bytes) -> bool:
    """Takes every line for an event."""
    return True


DAMAGES = [b"", b"   ", b'{"eventType": "cut', b"\x00" * 30, b'"text"', b"[]", b'{"a":"\xff\xfe"', b"\xef\xbb\xbf{}"]


@catches(replaced(spool, "_is_event", believing, "sends_damaged_lines"))
def test_damaged_lines_of_a_spool_are_rejected(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason. The events around them are stored by a real server, in order."""
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.05)
    key = served.key(READ, WRITE, tenant=f"damaged-{len(list(tmp_path.parent.iterdir()))}")
    previous = Whence("http://127.0.0.1:1", key, spool=tmp_path, tenant="acme", exit_timeout_s=0.0)
    for name in names(0, 3):
        previous.emit(event(actorId=name))
    previous.close()
    (segment,) = segments(previous)
    lines = segment.read_bytes().splitlines()
    segment.write_bytes(b"\n".join([lines[0], *DAMAGES, *lines[1:]]) + b"\n")
    reported: list[WhenceError] = []
    with Whence(served.url, key, spool=tmp_path, tenant="acme", on_error=reported.append, exit_timeout_s=0.1) as log:
        log.spool_folder.parent.mkdir(exist_ok=True)
        previous.spool_folder.rename(log.spool_folder)
        assert log.flush(2)
        log.emit(event(actorId="a3"))
        assert log.flush(2)
        check_balance(log)
        assert (log.stats().rejected, log.stats().adopted) == (len(DAMAGES), 3 + len(DAMAGES))
        assert [each.actor_id for each in log.events(order="asc")] == names(0, 4)
        rejected = [json.loads(line) for line in (log.spool_folder / REJECTED).read_bytes().splitlines()]
    assert [line["why"] for line in rejected] == ["a line of the spool was damaged."] * len(DAMAGES)
    assert sum(isinstance(error, Rejected) for error in reported) == len(DAMAGES)


def test_a_segment_that_cannot_be_read_is_kept(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Later events are sent meanwhile."""
    server.rule = unavailable
    previous = connected(server, tmp_path, exit_timeout_s=0.05)
    previous.emit(event(actorId="a0"))
    previous.close()
    read = spool.Spool.read
    failures = [1, 2]

    def failing(self: spool.Spool, segment: Any) -> Any:
        if failures:
            failures.pop()
            raise PermissionError(13, "Permission denied")
        return read(self, segment)

    monkeypatch.setattr(spool.Spool, "read", failing)
    monkeypatch.setattr("whence.client.backlog._UNREADABLE_WAIT_S", 0.2)
    server.rule = accept
    with connected(server, tmp_path) as log:
        log.emit(event(actorId="a1"))
        assert log.flush(10)
        check_balance(log)
    assert server.actors == ["a1", "a0"]
    assert caplog.text.count("cannot be read") == 2


# -------------------------------------------------------------------------------------------------- nowhere to write


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_directory_events_stay_in_memory(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning says so, and how to name another place. Every event is sent, also the first."""
    monkeypatch.setattr(transport, "user_state_dir", lambda *_args, **_kwargs: no_home())
    reporting._said.clear()
    with caplog.at_level(logging.WARNING, "whence"):
        for _ in range(2):
            with Whence(server.url, "whk_x", queue_events_max=10) as log:
                for name in names(0, 3):
                    assert not log.emit(event(actorId=name)).spooled
                assert log.flush(10)
                check_balance(log)
                with pytest.raises(WhenceError, match="WHENCE_SPOOL_DIR"):
                    assert log.spool_folder
    assert len(server.stored) == 6
    assert caplog.text.count("no home directory") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an unknown user")
def test_an_unknown_user_can_emit(server: FakeServer, tmp_path: Path) -> None:
    """As on OpenShift, where the user has no entry in /etc/passwd."""
    child = os.fork()
    if child == 0:
        try:
            os.setuid(54321)
            for name in ("HOME", "XDG_STATE_HOME"):
                os.environ.pop(name, None)
            log = Whence(server.url, "whk_x")
            events = [log.emit(event()) for _ in range(3)]
            os._exit(0 if log.flush(10) and log.stats().stored == len(events) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_spool_may_be_on_a_volume(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That WHENCE_SPOOL_DIR names. An argument goes before it."""
    monkeypatch.setenv("WHENCE_SPOOL_DIR", str(tmp_path / "volume"))
    with Whence(server.url, "whk_x") as log:
        assert log.spool_folder.parent == tmp_path / "volume"
    with Whence(server.url, "whk_x", spool=tmp_path / "other") as log:
        assert log.spool_folder.parent == tmp_path / "other"


def test_an_unwritable_spool_is_logged_once(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Then as a number: when it can be written again. The events are in memory meanwhile, and the log says so."""
    monkeypatch.setattr(emitter, "_BACKOFF_MAX_S", 0.01)
    server.rule = unavailable
    blocking = tmp_path / "spool"
    blocking.touch()  # a file in place of the folder
    with caplog.at_level(logging.WARNING, "whence"), connected(server, tmp_path) as log:
        log.emit(event(actorId="a0"))
        wait_until(lambda: log.stats().retries > 10)
        assert caplog.text.count("The spool cannot be written: ") == 1
        assert "in memory only" in caplog.text
        assert "are kept:" not in caplog.text
        assert not log.emit(event(actorId="a1")).spooled
        check_balance(log)
        blocking.unlink()
        wait_until(lambda: log.stats().spooled == 2)
        server.rule = accept
        assert log.flush(10)
    assert server.actors == ["a0", "a1"]
    assert "can be written again, after" in caplog.text


@pytest.mark.parametrize("spools", [True, False])
def test_the_counts_add_up_after_close(server: FakeServer, tmp_path: Path, spools: bool) -> None:
    """What could be neither sent nor spooled is lost, and no longer queued."""
    server.gate.clear()
    reported: list[WhenceError] = []
    options: dict[str, Any] = {} if spools else {"spool": False}
    log = connected(server, tmp_path, exit_timeout_s=0.05, on_error=reported.append, **options)
    for name in names(0, 2):
        log.emit(event(actorId=name))
    assert server.arrived.wait(5)
    log.emit(event(actorId="a2"))
    assert not log.close()
    stats = log.stats()
    assert (stats.queued, stats.spooled, stats.lost) == ((0, 3, 0) if spools else (0, 0, 3))
    check_balance(log)
    assert sum(len(error.events) for error in reported if isinstance(error, Lost)) == stats.lost
