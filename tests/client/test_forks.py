"""Children that no hook of Python announces, and processes that SIGTERM ends."""

import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.client.fake_server import FakeServer, accept, unavailable
from tests.client.programs import OWN_PYTHON, environment, every_python, run_program, start_program
from tests.client.test_emitter import connected
from whence.client import Whence

FORK = """
import ctypes
from whence.client import fork_safety
log = Whence(exit_timeout_s=5)
def fork():  # as a program that embeds Python does: `os.register_at_fork` does not notice
    sys.setswitchinterval(60)  # CPython waits for ever in a child if another thread had asked for its global lock
    threading.Event().wait(0.1)  # until those that had asked before have had it
    child = int(ctypes.PyDLL(None).fork())
    sys.setswitchinterval(0.005)
    if child == 0:
        signal.alarm(8)
    return child
def note_end_of(child):
    note(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
def wait_until(condition):
    while not condition():
        threading.Event().wait(0.01)
"""

LOCKED = """
emit(log, "parent")
sys.stdin.readline()  # the server has the request, and does not respond
emit(log, "parent")
locked, release = threading.Event(), threading.Event()
def hold():
    with log._emitter._changed, log._sender._changed, log._lock:
        locked.set()
        release.wait(10)
holder = threading.Thread(target=hold)
holder.start()
locked.wait()
child = fork()
if child == 0:
    try:
        emit(log, "child")
        os._exit(0 if log.stats().emitted == 1 and log.flush(10) else 1)
    finally:
        os._exit(2)
release.set()
note("forked")
note_end_of(child)
note(str(log.flush(10)))
"""

NO_COMPARISON = "fork_safety._Process.reset_once = lambda self: None"


@every_python
@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param("", id="as it is"),
        pytest.param(NO_COMPARISON, id="mutant-compares_no_process_id", marks=pytest.mark.slow),
    ],
)
def test_a_child_of_an_unseen_fork_sends_its_own_events(
    server: FakeServer, tmp_path: Path, mutant: str, python: str
) -> None:
    """While threads of the parent hold its locks, and the parent has queued events. Nothing is sent twice."""
    server.gate.clear()
    process = start_program(LOCKED, environment(server.url, "whk_x", tmp_path), FORK + mutant, python=python)
    assert process.stdin is not None and process.stdout is not None
    assert server.arrived.wait(20)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "forked\n"
    server.gate.set()
    out, err = process.communicate(timeout=60)
    if mutant:
        assert not out.startswith("0\n")
        return
    assert out.split() == ["0", "True"], err
    assert Counter(server.actors) == {"parent": 2, "child": 1}
    assert sum(map(len, server.batches)) == 3, "an event was sent by both"


SPOOLING = """
emit(log, "parent")
wait_until(lambda: log.stats().spooled == 1)
emit(log, "parent")
before = {path: path.read_bytes() for path in log.spool_folder.glob("*.segment")}
child = fork()
if child == 0:
    try:
        emit(log, "child")
        wait_until(lambda: log.stats().spooled == 1)
        os._exit(0 if emit(log, "child").spooled else 1)
    finally:
        os._exit(2)
note_end_of(child)
after = {path: path.read_bytes() for path in log.spool_folder.glob("*.segment")}
note(str(before.items() <= after.items()))
note(*{str(path.name.partition("p")[0] == str(child)) for path in after.keys() - before.keys()})
"""


@every_python
def test_a_child_of_an_unseen_fork_has_its_own_segments(server: FakeServer, tmp_path: Path, python: str) -> None:
    """It never writes to a file of its parent. The next client sends them all."""
    server.rule = unavailable
    env = environment(server.url, "whk_x", tmp_path)
    code, lines, err = run_program(SPOOLING, env, FORK.replace("exit_timeout_s=5", "exit_timeout_s=0.1"), python=python)
    assert (code, lines) == (0, ["0", "True", "True"]), err
    server.rule = accept
    code, _, err = run_program("log.flush(20)", env, FORK, python=python)
    assert code == 0, err
    assert Counter(server.actors) == {"parent": 2, "child": 2}


CONNECTED = """
emit(log, "parent")
log.flush(10)
parents = log._connections.transport()._http
child = fork()
if child == 0:
    try:
        emit(log, "child", durable=True)
    except Exception:
        pass  # the response of this server is none to a single event
    finally:
        os._exit(0 if log._connections.transport()._http is not parents else 1)
note_end_of(child)
"""


@every_python
def test_a_child_of_an_unseen_fork_has_its_own_connections(server: FakeServer, tmp_path: Path, python: str) -> None:
    """On a shared one, parent and child would read each other's responses."""
    code, lines, err = run_program(CONNECTED, environment(server.url, "whk_x", tmp_path), FORK, python=python)
    assert (code, lines) == (0, ["0"]), err


# ------------------------------------------------------------------------------------------------------------- SIGTERM

TERMINATED = """
emitter._LINGER_S = 60
PREVIOUS
log = Whence(flush_on_signals=FLUSH, exit_timeout_s=1)
for number in range(10):
    emit(log, str(number))
note("ready")
while True:
    threading.Event().wait(10)
"""


def terminated(
    server: FakeServer, home: Path, flush: bool, previous: str = "", python: str = OWN_PYTHON
) -> tuple[int, str]:
    code = TERMINATED.replace("PREVIOUS", previous).replace("FLUSH", str(flush))
    process = start_program(code, environment(server.url, "whk_x", home), python=python)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    try:
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "Traceback" not in err
    return process.returncode, out


@every_python
@pytest.mark.parametrize("flush", [True, False])
def test_sigterm_sends_the_queue_if_asked_to(server: FakeServer, tmp_path: Path, flush: bool, python: str) -> None:
    """Then it ends the process as it would without the client."""
    assert terminated(server, tmp_path, flush, python=python)[0] == -signal.SIGTERM
    assert len(server.stored) == (10 if flush else 0)


def test_sigterm_spools_what_cannot_be_sent(server: FakeServer, tmp_path: Path) -> None:
    """Within `exit_timeout_s`."""
    server.rule = unavailable
    assert terminated(server, tmp_path, True)[0] == -signal.SIGTERM
    (segment,) = tmp_path.rglob("*.segment")
    assert segment.read_bytes().count(b"\n") == 10


def test_the_handler_of_the_program_runs_after_the_flush(server: FakeServer, tmp_path: Path) -> None:
    """It decides how the process ends; here without anything that runs at exit."""
    previous = """
def last(number, frame):
    note("handled")
    os._exit(3)
signal.signal(signal.SIGTERM, last)
"""
    assert terminated(server, tmp_path, True, previous) == (3, "handled\n")
    assert len(server.stored) == 10


POOLED = """
import multiprocessing, time
log = Whence(flush_on_signals=True)
emitter._LINGER_S = 60
def work(number):
    emit(log, f"worker {number}")
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, range(20))
"""


@every_python
@pytest.mark.slow
def test_the_end_of_a_pool_loses_no_event(server: FakeServer, tmp_path: Path, python: str) -> None:
    """`Pool.__exit__` terminates the workers."""
    code, _, err = run_program(POOLED, environment(server.url, "whk_x", tmp_path), python=python)
    assert code == 0, err
    assert len(server.stored) == 20


def test_a_client_of_another_thread_cannot_watch_signals(
    server: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and works otherwise."""
    made: list[Whence] = []
    maker = threading.Thread(target=lambda: made.append(connected(server, tmp_path, flush_on_signals=True)))
    maker.start()
    maker.join()
    assert "main thread" in caplog.text
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    made[0].close()
