"""Signal handlers that raise an exception in the middle of the client: the program gets it, and the client goes on."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.api.conftest import event
from tests.client.fake_server import FakeServer, accept, unavailable
from tests.client.programs import environment, every_python, start_program
from tests.client.test_emitter import check_balance, connected
from tests.unit.mutants import catches, replaced
from whence.client import Whence, base_client, context, emitter, encoding, reentrancy, sender, spool, tracing, transport
from whence.client.action_runs import content_of
from whence.client.reentrancy import guard
from whence.client.tracing import note_failure
from whence.errors import WhenceError

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


# ------------------------------------------------------------------------------------------- a time limit as an OSError


def time_out(number: int, frame: object) -> None:
    raise TimeoutError


@pytest.fixture
def timed_out() -> Iterator[None]:
    """A handler that raises what the system raises too: for files and sockets a TimeoutError is an OSError."""
    before = signal.signal(signal.SIGALRM, time_out)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def striking_once(plain: Any) -> Any:
    """A function in which a time limit is over, the first time that the main thread calls it."""
    struck: list[None] = []

    def strike_first(*arguments: Any, **keywords: Any) -> Any:
        if not struck and threading.current_thread() is threading.main_thread():
            struck.append(None)
            os.kill(os.getpid(), signal.SIGALRM)
        return plain(*arguments, **keywords)

    return strike_first


@pytest.mark.usefixtures("timed_out")
@pytest.mark.parametrize("name", ["append_to_file", "sync_file"])
def test_a_time_limit_while_an_event_is_spooled_reaches_the_program(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is no error of the disk. Nothing is lost, and the log says nothing of the spool."""
    server.rule = unavailable
    with connected(server, tmp_path, queue_events_max=2, exit_timeout_s=5) as log:
        monkeypatch.setattr(emitter, "_LINGER_S", 60)
        sent = [log.emit(event()).id for _ in range(2)]
        monkeypatch.setattr(spool, name, striking_once(getattr(spool, name)))
        with pytest.raises(TimeoutError):
            log.emit(event())
        sent += [log.emit(event()).id for _ in range(2)]
        check_balance(log)
        server.rule = accept
        assert log.flush(10)
        check_balance(log)
    assert set(sent) <= set(server.stored)


@pytest.mark.usefixtures("timed_out")
@pytest.mark.parametrize("name", ["append_to_file", "sync_file"])
def test_a_time_limit_while_the_client_is_closed_loses_nothing(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The next `close`, or the exit, spools what is left."""
    server.gate.clear()
    log = connected(server, tmp_path, exit_timeout_s=0)
    log.emit(event(actorId="a0"))
    assert server.arrived.wait(10)
    log.emit(event(actorId="a1"))
    monkeypatch.setattr(spool, name, striking_once(getattr(spool, name)))
    with pytest.raises(TimeoutError):
        log.close()
    check_balance(log)
    assert not log.close()
    assert (log.stats().spooled, log.stats().lost) == (2, 0)
    check_balance(log)
    server.gate.set()
    with connected(server, tmp_path) as following:
        assert following.flush(10)
    assert server.actors == ["a0", "a1"]


def as_any_other(error: BaseException) -> None:
    """Takes the exception for one of the network."""


@catches(replaced(transport, "_raise_if_of_signal_handler", as_any_other, "takes_it_for_a_broken_connection"))
@pytest.mark.usefixtures("timed_out")
def test_a_time_limit_during_a_request_reaches_the_program(server: FakeServer) -> None:
    """It is no broken connection, after which the request would be repeated."""
    server.gate.clear()
    with Whence(server.url, "whk_x", spool=False, timeout_s=1, retries=1, sleep=lambda wait_s: None) as log:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeoutError):
            log.emit(event(), durable=True)
        server.gate.set()
        assert log.stats().emitted == 0
    assert len(server.batches) <= 1


@pytest.mark.usefixtures("timed_out")
def test_a_time_limit_in_on_error_reaches_the_program(server: FakeServer, tmp_path: Path) -> None:
    """When `close` reports in the main thread what is lost, and when something is reported at once."""
    server.gate.clear()
    log = connected(server, tmp_path, spool=False, exit_timeout_s=0, on_error=strike)
    log.emit(event())
    with pytest.raises(TimeoutError):
        log.close()
    with pytest.raises(TimeoutError):
        log.report(WhenceError("It was so."))
    assert log.stats().lost == 1
    server.gate.set()


@pytest.mark.usefixtures("timed_out")
def test_a_time_limit_in_what_was_deferred_reaches_the_program(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that was set aside is moved on by the thread that was interrupted. It is sent all the same."""
    with connected(server, tmp_path) as log:
        guard.enter()
        log.emit(event())
        monkeypatch.setattr(emitter.Emitter, "_absorb", striking_once(emitter.Emitter._absorb))
        with pytest.raises(TimeoutError):
            guard.leave()
        assert log.flush(10)
        check_balance(log)
    assert len(server.stored) == 1


class Unwritable(Exception):
    """An exception on which nothing can be set, and that takes long to refuse it."""

    def __setattr__(self, name: str, value: object) -> None:
        strike(None)
        raise AttributeError


class Striking:
    """A value whose text takes long."""

    def __str__(self) -> str:
        return str(strike(None))


def traced_begins(log: Whence) -> None:
    log.enrich(strike)
    log.traced("job.started", actor=("agent", "a"))(print)()


def run_ends(log: Whence) -> None:
    with log.started("job", actor=("agent", "a")):
        log.enrich(strike)


def failure_is_noted(log: Whence) -> None:
    note_failure(Unwritable(), log.emit(event()))


def run_is_asked_for(log: Whence) -> None:
    log.emit(event())


def content_is_encoded(log: Whence) -> None:
    content_of({"value": Striking()})


def text_is_made(log: Whence) -> None:
    content_of({"value": {Striking(): 1}})


@pytest.mark.usefixtures("timed_out")
@pytest.mark.parametrize(
    "act", [traced_begins, run_ends, failure_is_noted, run_is_asked_for, content_is_encoded, text_is_made]
)
def test_a_time_limit_in_code_of_the_program_reaches_it(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[Whence], None]
) -> None:
    """Where the client catches whatever enrichers, exceptions, values and other libraries raise."""
    if act is run_is_asked_for:
        monkeypatch.setattr(context, "_run_sources", [lambda: strike(None)])
    with Whence("http://127.0.0.1:1", disabled=True) as log, pytest.raises(TimeoutError):
        act(log)


STRUCK = """
def handle(number, frame):
    raise TimeoutError
signal.signal(signal.SIGALRM, handle)
def strike(value):
    os.kill(os.getpid(), signal.SIGALRM)
    return value
def expect(act):
    try:
        act()
    except TimeoutError:
        note("reached")
    else:
        note("lost")
log = Whence(before_send=lambda sent: strike(sent) if sent["actorId"] == "filtered" else sent, default=strike)
expect(lambda: emit(log, "filtered"))
expect(lambda: emit(log, "encoded", payload={"value": object()}))
signal.setitimer(signal.ITIMER_REAL, 0.2)
expect(lambda: emit(log, "stored", durable=True))
note("waits")
sys.stdin.readline()
emit(log, "last")
note(str(log.flush(10)))
"""


@every_python
def test_what_a_handler_raises_reaches_the_program(server: FakeServer, tmp_path: Path, python: str) -> None:
    """Each interpreter shows its frames in its own way, by which such an exception is known."""
    server.gate.clear()
    process = start_program(STRUCK, environment(server.url, "whk_x", tmp_path), python=python)
    assert process.stdin is not None and process.stdout is not None
    assert [process.stdout.readline() for _ in range(4)] == ["reached\n"] * 3 + ["waits\n"]
    server.gate.set()
    out, err = process.communicate("go\n", timeout=30)
    assert (process.returncode, out) == (0, "True\n"), err
    assert "last" in server.actors
