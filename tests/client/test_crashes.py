"""Programs that emit while the server is killed, that are killed themselves, that fork, or that exit normally."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.running import tell
from tests.api.conftest import Served, event, serving
from tests.client.fake_server import fake_server, unavailable
from tests.client.programs import RestartableServer, environment, every_python, run_program, start_program
from tests.examples import soak
from tests.ports import reserved_port
from tests.unit.mutants import catches, replaced
from whence.client import Whence, fork_safety
from whence.permissions import READ, WRITE

pytestmark = pytest.mark.slow

THREADS = 8
EVENTS = 50_000 if soak() else 5_000
PERIOD_S = 3.0

CHAINS = f"""
log = Whence()
def chain(number):
    previous = emit(log, f"{{number}}:0")
    for step in range(1, {EVENTS // THREADS}):
        with log.cause(previous):
            previous = emit(log, f"{{number}}:{{step}}")
        if step % 50 == 0:
            threading.Event().wait(PAUSE)
threads = [threading.Thread(target=chain, args=(number,)) for number in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
stats = log.stats()
note(str(stats.emitted), str(stats.retries), str(stats.spooled))
"""


@pytest.fixture
def restarted(tmp_path: Path) -> Iterator[RestartableServer]:
    """A server that was not started yet."""
    with reserved_port() as port:
        server = RestartableServer(tmp_path, port)
        try:
            yield server
        finally:
            if server.process is not None:
                server.kill()


def client_with_empty_spool(url: str, key: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Whence:
    """A client that has sent the events that earlier ones spooled."""
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    log = Whence(url, key)
    assert log.flush(60)
    return log


def test_no_event_is_lost_while_the_server_is_killed_repeatedly(
    restarted: RestartableServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Eight threads emit chains of events. Each event is stored once, with its cause."""
    restarted.start()
    restarted.await_start()
    key = restarted.writer()
    over = threading.Event()
    kills = 0

    def kill_repeatedly() -> None:
        nonlocal kills
        while not over.wait(PERIOD_S):
            restarted.kill()
            kills += 1
            restarted.start()

    killer = threading.Thread(target=kill_repeatedly)
    killer.start()
    try:
        pause = f"PAUSE = {PERIOD_S * 3 / (EVENTS / THREADS / 50)}"
        code, lines, err = run_program(CHAINS, environment(restarted.base_url, key, tmp_path / "home"), pause)
    finally:
        over.set()
        killer.join()
    assert code == 0, err
    assert lines[0].split()[0] == str(EVENTS)
    restarted.await_start()
    with client_with_empty_spool(restarted.base_url, key, tmp_path / "home", monkeypatch) as log:
        found = {each.actor_id: each for each in log.events(limit=100, order="asc")}
        assert log.list(limit=1).total == len(found) == EVENTS
        for number in range(THREADS):
            root = found[f"{number}:0"]
            assert root.causation_id is None
            previous = root
            for step in range(1, EVENTS // THREADS):
                found_event = found[f"{number}:{step}"]
                assert (found_event.causation_id, found_event.correlation_id) == (previous.id, root.id)
                previous = found_event
        adopted = log.stats().adopted
    assert kills >= 2
    assert int(lines[0].split()[1]) > 0, "no attempt to send failed, so the kills had no effect"
    tell(record_property, f"{EVENTS} events, {kills} kills, {lines[0]} emitted/retries/spooled, {adopted} adopted")


DURABLE = """
emitter._LINGER_S = 60
log = Whence()
for _ in range(20):
    emit(log, "queued")
    note("stored", emit(log, "durable", durable=True).event.id)
os.kill(os.getpid(), signal.SIGKILL)
"""

SPOOLED = """
log = Whence()
count = 0
while count < 50:
    event = emit(log, "x")
    if event.spooled:
        note("spooled", event.id)
        count += 1
os.kill(os.getpid(), signal.SIGKILL)
"""

ONLY_QUEUED = """
import types
plain = Whence.emit
def emit_(self, event, durable=False, **fields):
    emitted = plain(self, event, **fields)
    return types.SimpleNamespace(event=emitted) if durable else emitted
Whence.emit = emit_
"""

IN_MEMORY = """
import whence.client.spool as spool
spool.append_to_file = lambda path, content, size=None: None
"""


@pytest.mark.parametrize("prelude", ["", ONLY_QUEUED], ids=["as it is", "mutant-durable_is_only_queued"])
def test_durable_events_survive_sigkill(
    restarted: RestartableServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prelude: str
) -> None:
    """Each is stored once, although the program is killed immediately after `emit` returns."""
    restarted.start()
    restarted.await_start()
    key = restarted.writer()
    code, lines, err = run_program(DURABLE, environment(restarted.base_url, key, tmp_path / "home"), prelude)
    assert (code, len(lines)) == (-signal.SIGKILL, 20), err
    with client_with_empty_spool(restarted.base_url, key, tmp_path / "home", monkeypatch) as log:
        stored = Counter(each.id for each in log.events(limit=100))
    survived = [stored[line.split()[1]] for line in lines] == [1] * 20
    assert survived is (prelude == "")


@pytest.mark.parametrize("prelude", ["", IN_MEMORY], ids=["as it is", "mutant-spool_in_memory"])
def test_spooled_events_survive_sigkill(
    restarted: RestartableServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prelude: str
) -> None:
    """The next program of the same user sends them, once and in order."""
    restarted.start()
    restarted.await_start()
    key = restarted.writer()
    restarted.kill()
    code, lines, err = run_program(SPOOLED, environment(restarted.base_url, key, tmp_path / "home"), prelude)
    assert (code, len(lines)) == (-signal.SIGKILL, 50), err
    restarted.start()
    restarted.await_start()
    with client_with_empty_spool(restarted.base_url, key, tmp_path / "home", monkeypatch) as log:
        stored = [each.id for each in log.events(limit=100, order="asc")]
    survived = [id_ for id_ in stored if f"spooled {id_}" in lines] == [line.split()[1] for line in lines]
    assert survived is (prelude == "")


WAITING = """
log = Whence()
while not emit(log, "x").spooled:
    pass
note("spooled")
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""

UNLOCKED = """
import whence.client.spool_lock as spool_lock
spool_lock.fcntl.flock = lambda file, how: None
"""


@pytest.mark.parametrize("prelude", ["", UNLOCKED], ids=["as it is", "mutant-no_lock"])
def test_a_spool_is_taken_over_only_from_a_dead_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prelude: str
) -> None:
    """Another client leaves the files alone until their process has died."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with fake_server() as server:
        server.rule = unavailable
        process = start_program(WAITING, environment(server.url, "whk_x", tmp_path), prelude)
        assert process.stdout is not None
        assert process.stdout.readline() == "spooled\n"
        with Whence(server.url, "whk_x", exit_timeout_s=0.05) as log:
            log.flush(0.0)
            assert (log.stats().adopted == 0) is (prelude == "")
        process.communicate("", timeout=30)
        with Whence(server.url, "whk_x", exit_timeout_s=0.05) as log:
            log.flush(0.0)
            assert log.stats().adopted > 0


# ----------------------------------------------------------------------------------------------------------- exit


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("crashes")) as running:
        yield running


NEVER_CLOSED = """
emitter._LINGER_S = 60
log = Whence()
for number in range(100):
    emit(log, str(number))
"""

POOLED = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
emitter._LINGER_S = 60
log = Whence()
def work(number):
    return emit(log, f"worker {number}").id
if __name__ == "__main__":
    root = emit(log, "root")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool, log.cause(root):
        done = [pool.submit(log.wrap(work), number).result() for number in range(10)]
    note(*done)
"""

NO_EXIT = """
import atexit, whence.client.at_exit as at_exit
atexit.unregister(at_exit.close_all)
emitter.close_at_exit = lambda instance: None
"""


@every_python
@pytest.mark.parametrize("prelude", ["", NO_EXIT], ids=["as it is", "mutant-exit_without_flush"])
def test_a_normal_exit_sends_the_queue(served: Served, tmp_path: Path, prelude: str, python: str) -> None:
    """Without a call of `flush` or `close`."""
    key = served.key(READ, WRITE, tenant=f"ends-{python}-{len(prelude)}")
    code, _, err = run_program(NEVER_CLOSED, environment(served.url, key, tmp_path), prelude, python=python)
    assert code == 0, err
    with Whence(served.url, key) as log:
        assert (log.list().total == 100) is (prelude == "")


@every_python
@pytest.mark.parametrize("prelude", ["", NO_EXIT], ids=["as it is", "mutant-exit_without_flush"])
def test_workers_of_a_process_pool_send_their_events(served: Served, tmp_path: Path, prelude: str, python: str) -> None:
    """Forked workers skip atexit, but their events are stored, with the cause that `wrap` passed on."""
    key = served.key(READ, WRITE, tenant=f"pooled-{python}-{len(prelude)}")
    code, lines, err = run_program(POOLED, environment(served.url, key, tmp_path), prelude, python=python)
    assert code == 0, err
    with Whence(served.url, key) as log:
        found = {each.id: each for each in log.events()}
    if prelude:
        assert not found.keys() & set(lines[0].split())
        return
    assert len(found) == 11
    (root,) = (each for each in found.values() if each.actor_id == "root")
    effects = [found[id_] for id_ in lines[0].split()]
    assert all((each.causation_id, each.correlation_id) == (root.id, root.id) for each in effects)


# ------------------------------------------------------------------------------------------------------------- forks


class EmptyToIterate(set):  # type: ignore[type-arg]  # stands for a set of anything
    """Holds its members, and iterates over none of them."""

    def __iter__(self) -> Iterator[object]:
        return iter(())


@catches(replaced(fork_safety, "_instances", EmptyToIterate(), "locks_are_not_reset"))
def test_a_forked_child_does_not_inherit_locked_locks(tmp_path: Path) -> None:
    """The process forks while a thread holds the locks. The child emits, and sends none of the parent's events."""
    with fake_server() as server, Whence(server.url, "whk_x", spool=tmp_path / "spool") as log:
        server.gate.clear()
        log.emit(event(actorId="parent"))
        assert server.arrived.wait(5)
        locked, release = threading.Event(), threading.Event()

        def hold() -> None:
            with log._emitter._changed, log._sender._changed:
                locked.set()
                release.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        assert locked.wait(5)
        child = os.fork()
        if child == 0:
            signal.alarm(3)
            try:
                log.emit(event(actorId="child"))
                os._exit(0 if log.stats().emitted == 1 and log.flush(10) else 1)
            finally:
                os._exit(2)
        release.set()
        holder.join()
        server.gate.set()
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert log.flush(10)
        assert Counter(server.actors) == {"parent": 1, "child": 1}
        assert sum(len(batch) for batch in server.batches) == 2, "an event was sent by both"


def test_exit_takes_a_bounded_time(tmp_path: Path) -> None:
    """With a server that never responds, for `exit_timeout_s` and not for the timeout of a request."""
    with fake_server() as server:
        server.gate.clear()
        env = environment(server.url, "whk_x", tmp_path)
        code = "log = Whence(exit_timeout_s=0.3, timeout_s=100)\nemit(log, 'x')"
        began = time.monotonic()
        assert run_program(code, env)[0] == 0
        assert time.monotonic() - began < 60, "it waited for the response"
        server.gate.set()
        assert list((tmp_path / "whence" / "spool").glob("*/*.segment"))


REMOVED = """
import shutil
log = Whence(spool=os.environ["SPOOL"], exit_timeout_s=0.1)
for number in range(SPOOLED):
    emit(log, str(number))
while log.stats().spooled < SPOOLED:
    threading.Event().wait(0.02)
shutil.rmtree(os.environ["SPOOL"], ignore_errors=True)
if WAITING:
    open(os.environ["SPOOL"], "x").close()
    emitter._FAILURES_BEFORE_SPOOLING = 1 << 30
    for number in range(WAITING):
        emit(log, str(number))
"""


@pytest.mark.parametrize(("spooled", "waiting"), [(0, 0), (3, 0), (0, 2)])
def test_a_removed_spool_is_logged_at_exit(tmp_path: Path, spooled: int, waiting: int) -> None:
    """The number of lost events is logged once, without a traceback, and the exit code is 0."""
    env = environment("http://127.0.0.1:1", "whk_x", tmp_path) | {"SPOOL": str(tmp_path / "spool")}
    code, _, err = run_program(REMOVED, env, f"SPOOLED, WAITING = {spooled}, {waiting}")
    assert code == 0
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if f"{spooled + waiting} events" in line]
    assert len(lines) == bool(spooled + waiting), err
