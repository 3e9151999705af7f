"""The supervisor starts, replaces and stops processes in order, and none outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.conftest import wait_until

PROGRAM = """
import mmap, os, select, signal, sys, time
from whence.api import supervisor
from whence.api.supervisor import Child, Role, Supervisor
from whence.errors import RolledBack, StoreRefused, WhenceError

def note(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def works(name, seconds=0.0):
    def main(child):
        ended = []
        signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
        note(name, "again" if child.again else "first", os.getpid())
        child.ready()
        while not ended and not select.select([child.lifeline], [], [], 0.01)[0]:
            pass
        time.sleep(seconds)
        note(name, "ends")
    return main

def writes(name):
    def main(child):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(name, "first", os.getpid())
        child.ready()
        select.select([child.lifeline], [], [])
        note(name, "ends")
    return main

def ends(child):
    child.ready()

def refuses(child):
    time.sleep(0.5)  # so that the others have begun, and note their end
    raise RolledBack("It is behind.")

def fails(child):
    raise ValueError("unexpected")

def is_refused(name, times):
    tries = mmap.mmap(-1, 1)
    def main(child):
        if child.again and tries[0] < times:
            tries[0] += 1
            raise StoreRefused("The file is busy.")
        works(name)(child)
    return main

def stumbles(name):
    def main(child):
        if child.again:
            works(name)(child)
        child.ready()
        raise OSError(5, "stumbled")
    return main

def run(*roles):
    try:
        Supervisor(roles, lambda: note("stopping")).run(lambda: note("all ready"))
    except WhenceError as error:
        note(type(error).__name__, error)
    note("over")
"""


class Supervised:
    """A supervisor in a process of its own, and what it and its children note."""

    def __init__(self, folder: Path, line: str) -> None:
        self.out = folder / "out"
        with self.out.open("wb") as out, (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-c", f"{PROGRAM}\n{line}"], stdout=out, stderr=log)

    def notes(self) -> list[str]:
        """The lines so far."""
        return self.out.read_text().splitlines()

    def await_note(self, begins: str) -> str:
        """The first line that begins so, once there is one."""
        wait_until(lambda: any(line.startswith(begins) for line in self.notes()))
        return next(line for line in self.notes() if line.startswith(begins))

    def pid_of(self, begins: str) -> int:
        """The process id at the end of a line."""
        return int(self.await_note(begins).rpartition(" ")[2])


Start = Callable[[str], Supervised]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return lambda line: Supervised(tmp_path, line)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_last_process_is_first_to_start_and_last_to_end(start: Start) -> None:
    """It ends after the others, even if SIGTERM reaches all of them at once."""
    supervised = start('run(Role("a", works("a", 0.3)), Role("w", writes("w"), last=True), Role("b", works("b")))')
    supervised.await_note("all ready")
    for pid in (supervised.pid_of("w first"), supervised.pid_of("a first"), supervised.process.pid):
        os.kill(pid, signal.SIGTERM)
    assert supervised.process.wait(20) == 0
    notes = [line for line in supervised.notes() if not line[-1].isdigit()]
    assert supervised.notes()[0].startswith("w first")
    assert notes[0] == "all ready"
    assert notes[-2:] == ["w ends", "over"] and sorted(notes[1:-2]) == ["a ends", "b ends", "stopping"]


STOPS_ALL_AT_ONCE = """
def stop(self):
    os.close(self._lifeline_end)
    self._end(list(self._processes.values()), signal.SIGTERM, 12.0)

Supervisor._stop = stop
"""


def test_a_supervisor_that_stops_all_at_once_would_be_seen(start: Start) -> None:
    """The last process would end before the others."""
    supervised = start(STOPS_ALL_AT_ONCE + 'run(Role("a", works("a", 0.5)), Role("w", writes("w"), last=True))')
    supervised.await_note("all ready")
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0
    notes = supervised.notes()
    assert notes.index("w ends") < notes.index("a ends")


def test_a_process_that_ends_is_replaced(start: Start) -> None:
    """By one that knows it."""
    supervised = start('run(Role("a", works("a")), Role("b", works("b")))')
    supervised.await_note("all ready")
    os.kill(supervised.pid_of("a first"), signal.SIGKILL)
    supervised.await_note("a again")
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0
    assert supervised.notes()[-1] == "over"


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("refuses", "RolledBack It is behind."),
        ("fails", "StoreRefused The process x"),
        ("ends", "StoreRefused The pro"),
    ],
)
def test_all_end_when_one_cannot_work(start: Start, role: str, said: str) -> None:
    """A process that is refused is not tried again; one that ends again and again is, a few times."""
    supervised = start(f'supervisor._FAILURES_MAX = 2\nrun(Role("a", works("a")), Role("x", {role}))')
    assert supervised.process.wait(30) == 0
    supervised.await_note(said)
    assert supervised.notes()[-1] == "over" and "a ends" in supervised.notes()


def test_children_end_with_their_supervisor(start: Start) -> None:
    """However that ends."""
    supervised = start('run(Role("a", works("a")), Role("w", writes("w"), last=True))')
    supervised.await_note("all ready")
    children = [supervised.pid_of("a first"), supervised.pid_of("w first")]
    supervised.process.kill()
    supervised.process.wait(20)
    wait_until(lambda: not any(map(is_alive, children)))


def test_a_second_stop_does_not_wait(start: Start) -> None:
    """Ctrl-C twice ends what hangs. The processes themselves are left alone by the first."""
    supervised = start('run(Role("a", works("a", 3600)), Role("w", writes("w"), last=True))')
    supervised.await_note("all ready")
    supervised.process.send_signal(signal.SIGINT)
    supervised.await_note("stopping")
    time.sleep(0.1)
    assert supervised.process.poll() is None
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.process.wait(20) == 0
    assert "a ends" not in supervised.notes() and supervised.notes()[-2:] == ["w ends", "over"]


def test_only_a_second_ctrl_c_does_not_wait(start: Start) -> None:
    """Several programs may pass on SIGTERM, and what is in flight is finished all the same."""
    supervised = start('run(Role("a", works("a", 1.0)), Role("w", writes("w"), last=True))')
    supervised.await_note("all ready")
    supervised.process.send_signal(signal.SIGINT)
    supervised.await_note("stopping")
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.process.wait(20) == 0
    assert supervised.notes()[-3:] == ["a ends", "w ends", "over"]


def test_the_end_of_the_terminal_stops_all_in_order(start: Start) -> None:
    """SIGHUP reaches all of them, and the supervisor alone acts on it."""
    default = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # also where these tests were started with nohup
    supervised = start(f'{default}\nrun(Role("a", works("a", 0.2)), Role("w", writes("w"), last=True))')
    supervised.await_note("all ready")
    for pid in (supervised.pid_of("w first"), supervised.pid_of("a first"), supervised.process.pid):
        os.kill(pid, signal.SIGHUP)
    assert supervised.process.wait(20) == 0
    assert supervised.notes()[-3:] == ["a ends", "w ends", "over"]


def test_nohup_is_respected(start: Start) -> None:
    """A server that was started to ignore SIGHUP does."""
    supervised = start('signal.signal(signal.SIGHUP, signal.SIG_IGN)\nrun(Role("a", works("a")))')
    supervised.await_note("all ready")
    supervised.process.send_signal(signal.SIGHUP)
    os.kill(supervised.pid_of("a first"), signal.SIGKILL)
    supervised.await_note("a again")
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0


REPLACED_AFTER = {
    "a log on a full disk": """
sys.stderr = open("/dev/full", "w")
sys.stderr.write("a line that stays in the buffer")
run(Role("a", works("a")))
sys.stderr = None
""",
    "a system without room for a process": """
def fork(real=os.fork, failures=[1, 1]):
    if len(sup._processes) < 2 and len(forks) > 1 and failures:
        failures.pop()
        raise BlockingIOError(11, "no more processes")
    forks.append(1)
    return real()
forks, os.fork, supervisor._FORK_AGAIN_S = [], fork, 0.05
sup = Supervisor([Role("a", works("a")), Role("b", works("b"))], lambda: note("stopping"))
sup.run(lambda: note("all ready"))
note("over")
""",
}


@pytest.mark.parametrize("what", REPLACED_AFTER)
def test_a_process_is_replaced_in_spite_of(what: str, start: Start) -> None:
    supervised = start(REPLACED_AFTER[what])
    supervised.await_note("all ready")
    os.kill(supervised.pid_of("a first"), signal.SIGKILL)
    supervised.await_note("a again")
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0
    assert supervised.notes()[-1] == "over"


def test_a_process_that_fails_after_it_was_ready_is_replaced(start: Start) -> None:
    """Only one that cannot even begin stops the others."""
    supervised = start('run(Role("a", stumbles("a")), Role("b", works("b")))')
    supervised.await_note("a again")
    assert "stumbled" in supervised.out.read_text()
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0
    assert supervised.notes()[-1] == "over"


def test_a_replacement_that_is_refused_is_tried_again(start: Start) -> None:
    """The file may be busy for a while, or the disk full, and the others go on reading."""
    supervised = start('run(Role("a", is_refused("a", 2)), Role("b", works("b")))')
    supervised.await_note("all ready")
    os.kill(supervised.pid_of("a first"), signal.SIGKILL)
    supervised.await_note("a again")
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0
    assert supervised.notes()[-1] == "over"


def test_all_end_with_the_sentence_of_a_replacement_that_is_always_refused(start: Start) -> None:
    supervised = start(
        'supervisor._FAILURES_MAX = 2\nrun(Role("a", is_refused("a", 99)), Role("w", writes("w"), last=True))'
    )
    supervised.await_note("all ready")
    os.kill(supervised.pid_of("a first"), signal.SIGKILL)
    assert supervised.process.wait(20) == 0
    assert supervised.notes()[-3:] == ["w ends", "StoreRefused The file is busy.", "over"]


STOPPED_AS_IT_IS_FORKED = """
def be_child(self, role, child, real=Supervisor._be_child):
    if not child.again:
        os.kill(os.getpid(), signal.SIGTERM)
    real(self, role, child)

Supervisor._be_child = be_child
run(Role("a", works("a")))
"""


def test_a_signal_to_a_new_process_is_not_lost(start: Start) -> None:
    """Although it comes while the process has the signal handler of its supervisor."""
    supervised = start(STOPPED_AS_IT_IS_FORKED)
    supervised.await_note("a again")
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0
