"""Signal handlers that raise an exception in the middle of the client: the program gets it, and the client goes on."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.api.conftest import event
from tests.client.fake_server import FakeServer
from tests.client.test_emitter import connected
from tests.unit.mutants import catches, replaced
from whence.client import Whence, base_client, emitter, encoding, reentrancy, sender, tracing
from whence.client.reentrancy import guard

NEVER_STUCK = [
    (reentrancy, "acquire"),
    (reentrancy, "release"),
    (reentrancy, "release_all"),
    (reentrancy, "enter"),
    (reentrancy, "leave"),
    (reentrancy, "__enter__"),
    (reentrancy, "__exit__"),
    (emitter, "put"),
    (emitter, "_lock_soon"),
    (emitter, "_accept"),
    (emitter, "_enqueue"),
    (emitter, "_wake"),
    (sender, "wake"),
    (sender, "_schedule"),
    (sender, "_push"),
    (sender, "_call_thread"),
]
LINES_MAX = 60


class TimeLimit(Exception):
    """As Celery's soft time limit."""


def interrupted_at(module: Any, name: str, line: int, log: Whence) -> bool:
    """Emit an event, and raise at the n-th line that a function of the module runs; whether there was such a line."""
    left = line

    def trace(frame: FrameType, what: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_name != name or frame.f_code.co_filename != module.__file__:
            return trace if what == "call" else None
        if what == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise TimeLimit
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        log.emit(event(actorId="interrupted"))
    except TimeLimit:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize(("module", "name"), NEVER_STUCK, ids=[name for _, name in NEVER_STUCK])
def test_an_exception_at_any_line_leaves_no_thread_inside(
    server: FakeServer, tmp_path: Path, module: Any, name: str
) -> None:
    """Later events are sent, also those of other threads, and `close` waits for them."""
    log = connected(server, tmp_path, exit_timeout_s=10)
    sent = []
    log.emit(event(actorId="first"))
    assert log.flush(10)
    for line in range(1, LINES_MAX):
        if not interrupted_at(module, name, line, log):
            break
        sent.append(log.emit(event()).id)
        thread = threading.Thread(target=lambda: sent.append(log.emit(event()).id))
        thread.start()
        thread.join(10)
        assert log.flush(10), f"line {line}"
        assert not guard.is_inside()
    assert len(sent) > 1 and line < LINES_MAX - 1
    sent.append(log.emit(event()).id)
    assert log.close()
    assert set(sent) <= set(server.stored)


def test_the_events_of_a_broken_off_call_are_sent_at_the_exit(server: FakeServer, tmp_path: Path) -> None:
    """If the thread calls the client no more until then."""
    log = connected(server, tmp_path, exit_timeout_s=10)
    log.emit(event(actorId="first"))
    assert log.flush(10)

    def emit() -> None:
        assert interrupted_at(reentrancy, "release", 1, log)

    emit()
    assert log.close()
    assert server.actors[0] == "first" and not guard.is_inside()


def handle(number: int, frame: object) -> None:
    raise TimeLimit


@pytest.fixture
def alarmed() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handle)
    yield
    signal.signal(signal.SIGALRM, before)


def strike(value: Any) -> Any:
    """A time limit is over while this runs."""
    os.kill(os.getpid(), signal.SIGALRM)
    return {"value": 1}


def never(error: BaseException) -> bool:
    """Takes every exception for one of the code that raised it."""
    return False


@catches(replaced(encoding, "is_raised_by_signal_handler", never, "swallows_a_time_limit"))
@pytest.mark.usefixtures("alarmed")
def test_a_time_limit_while_an_event_is_encoded_reaches_the_program(server: FakeServer) -> None:
    """It is no error of the payload."""
    with Whence(server.url, "whk_x", spool=False, default=strike) as log, pytest.raises(TimeLimit):
        log.emit(event(payload={"a": object()}))


@catches(replaced(base_client, "is_raised_by_signal_handler", never, "swallows_a_time_limit"))
@pytest.mark.usefixtures("alarmed")
def test_a_time_limit_in_before_send_reaches_the_program(server: FakeServer) -> None:
    """The event is not sent."""
    with Whence(server.url, "whk_x", spool=False, before_send=strike) as log, pytest.raises(TimeLimit):
        log.emit(event())
    assert not server.stored


@catches(replaced(tracing, "is_raised_by_signal_handler", never, "swallows_a_time_limit"))
@pytest.mark.usefixtures("alarmed")
def test_a_time_limit_at_the_end_of_a_traced_call_reaches_the_program(server: FakeServer) -> None:
    """While its last event is encoded."""
    strikes = False

    def before_send(members: dict[str, Any]) -> dict[str, Any]:
        return strike(members) if strikes else members

    with Whence(server.url, "whk_x", spool=False, before_send=before_send) as log:

        @log.traced("job.started", completed="job.completed", actor=("agent", "a"))
        def job() -> None:
            nonlocal strikes
            strikes = True

        with pytest.raises(TimeLimit):
            job()


def test_other_exceptions_are_not_those_of_a_handler() -> None:
    """Also those of functions that are called with arguments."""

    def fails(*arguments: object) -> None:
        raise KeyError

    try:
        fails(1, "a", sys)
    except KeyError as error:
        assert not reentrancy.is_raised_by_signal_handler(error)
