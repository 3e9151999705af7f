"""Events that are emitted while the interpreter exits: they are spooled or refused, and nothing hangs."""

import subprocess
from pathlib import Path

import pytest

from tests.client.fake_server import fake_server
from tests.client.programs import environment, every_python, start_program
from whence.client import Closed, Whence

pytestmark = pytest.mark.slow

LATE = """
log = Whence(exit_timeout_s=0.2, **OPTIONS)
if STARTED:
    emit(log, "first")
"""

EARLY = """
import atexit
def late():
    from whence.client import Closed
    try:
        note("spooled" if emit(log, "late").spooled else "queued")
    except Closed:
        note("closed")
atexit.register(late)  # before the client is imported, so it runs after all clients were closed
"""

FINALIZED = """
import sys
from whence.client import Closed
log = Whence(exit_timeout_s=0.2, **OPTIONS)
if STARTED:
    emit(log, "first")
class Late:
    def __init__(self):
        self.log, self.emit, self.write, self.closed = log, emit, os.write, Closed
    def __del__(self):
        try:
            word = b"spooled" if self.emit(self.log, "late").spooled else b"queued"
        except self.closed:
            word = b"closed"
        self.write(1, word)
late = Late()
late.itself = late  # collected when the modules are torn down
"""

FIRST = """
import atexit
from whence.client import Closed
log = Whence(exit_timeout_s=5, **OPTIONS)
def first():
    try:
        emit(log, "late")
        note("accepted")
    except Closed:
        note("closed")
atexit.register(first)  # after the import, so that it runs before the clients are closed
"""


def run(python: str, code: str, url: str, home: Path, *, started: bool = False, spool: bool = True) -> str:
    """Run a program to its end; returns what it wrote. It must not hang."""
    prelude = f"STARTED = {started}\nOPTIONS = {{}}" if spool else f"STARTED = {started}\nOPTIONS = dict(spool=False)"
    env = environment(url, "whk_x", home)
    process = start_program(code, env, prelude, python=python, first=EARLY if code == LATE else "")
    try:
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail("the program hangs")
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out.strip()


def spooled(home: Path) -> int:
    return sum(path.read_bytes().count(b'"late"') for path in home.glob("whence/spool/*/*.segment"))


@pytest.mark.parametrize("spool", [True, False], ids=["spool", "memory"])
@pytest.mark.parametrize("started", [True, False], ids=["used_before", "first_event"])
@pytest.mark.parametrize("program", [LATE, FINALIZED], ids=["atexit", "finalizer"])
@every_python
def test_an_event_at_exit_is_spooled_or_refused(
    tmp_path: Path, python: str, program: str, started: bool, spool: bool
) -> None:
    """In a late function of atexit, or when modules are torn down; whether the client was used before or not.

    The interpreter stops the thread that sends wherever it is. In the few instructions in which that thread has the
    client's lock, the event is refused, so a second program may try.
    """
    words = []
    for home in (tmp_path / "first", tmp_path / "second"):
        words.append(run(python, program, "http://127.0.0.1:1", home, started=started, spool=spool))
        assert spooled(home) == (words[-1] == "spooled")
        if words[-1] == "spooled" or not (spool and started):
            break
    assert words[-1] == ("spooled" if spool else "closed")


@every_python
def test_a_first_event_in_atexit_is_sent_or_spooled(tmp_path: Path, python: str) -> None:
    """Since Python 3.12 no thread can be started then, so the next process sends the event."""
    with fake_server() as server:
        assert run(python, FIRST, server.url, tmp_path) == "accepted"
        assert len(server.stored) + spooled(tmp_path) == 1


FAILING = """
import whence.client.emitter as emitter_
first, second = Whence(exit_timeout_s=5), Whence(exit_timeout_s=5)
emit(first, "a")
emit(second, "b")
def fails(*args, **kwargs):
    raise RuntimeError("no")
first._emitter.begin_close = first._emitter.close = fails
second._emitter.begin_close = second._emitter.begin_close
"""


def test_a_client_that_cannot_be_closed_does_not_keep_others_from_it(tmp_path: Path) -> None:
    """Its error is logged."""
    with fake_server() as server:
        env = environment(server.url, "whk_x", tmp_path)
        process = start_program("emitter._LINGER_S = 60\n" + FAILING, env)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "could not be closed" in err
        assert server.actors == ["b"]


def test_after_close_by_the_program_an_event_is_refused(tmp_path: Path) -> None:
    """It is not spooled silently."""
    log = Whence("http://127.0.0.1:1", "whk_x", spool=tmp_path)
    log.close()
    with pytest.raises(Closed):
        log.emit(
            "action_run.started", actor=("agent", "a"), resource=("action_run", "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001")
        )
