"""Programs that emit while the server is killed again and again, are killed themselves, fork, or just end."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.running import soak, tell
from tests.api.conftest import Served, event, serving
from tests.client.programs import Restarted, environment, program, ran
from tests.client.takers import away, taking
from tests.unit.mutants import catches, replaced
from whence.client import Whence, forks
from whence.permissions import READ, WRITE

THREADS = 8
EVENTS = 50_000 if soak() else 5_000
PERIOD_S = 3.0

CHAINS = f"""
log = Whence()
def chain(number):
    before = emit(log, f"{{number}}:0")
    for at in range(1, {EVENTS // THREADS}):
        with log.cause(before):
            before = emit(log, f"{{number}}:{{at}}")
        if at % 50 == 0:
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
def restarted(tmp_path: Path) -> Iterator[Restarted]:
    """A server that is not started yet."""
    server = Restarted(tmp_path)
    try:
        yield server
    finally:
        if server.process is not None:
            server.kill()


def drained(url: str, key: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Whence:
    """A client that has sent what earlier ones left on disk."""
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    log = Whence(url, key)
    assert log.flush(60)
    return log


def test_a_server_that_is_killed_every_three_seconds(
    restarted: Restarted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Eight threads emit chains of events; the program ends normally; each event is stored once, with its cause."""
    restarted.start()
    restarted.await_start()
    key = restarted.writer()
    over = threading.Event()
    kills = 0

    def fire() -> None:
        nonlocal kills
        while not over.wait(PERIOD_S):
            restarted.kill()
            kills += 1
            restarted.start()

    firing = threading.Thread(target=fire)
    firing.start()
    try:
        pause = f"PAUSE = {PERIOD_S * 3 / (EVENTS / THREADS / 50)}"
        code, lines, err = ran(CHAINS, environment(restarted.at, key, tmp_path / "home"), pause)
    finally:
        over.set()
        firing.join()
    assert code == 0, err
    assert lines[0].split()[0] == str(EVENTS)
    restarted.await_start()
    with drained(restarted.at, key, tmp_path / "home", monkeypatch) as log:
        found = {one.actor_id: one for one in log.events(limit=100, order="asc")}
        assert log.list(limit=1).total == len(found) == EVENTS
        for number in range(THREADS):
            root = found[f"{number}:0"]
            assert root.causation_id is None
            before = root
            for at in range(1, EVENTS // THREADS):
                one = found[f"{number}:{at}"]
                assert (one.causation_id, one.correlation_id) == (before.id, root.id)
                before = one
        adopted = log.stats().adopted
    assert kills >= 2
    assert int(lines[0].split()[1]) > 0, "the fire was never felt"
    tell(record_property, f"{EVENTS} events, {kills} kills, {lines[0]} emitted/retries/spooled, {adopted} left behind")


DURABLE = """
emitter._LINGER_S = 60
log = Whence()
for at in range(20):
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
spool._append = lambda path, content, size=None: None
"""


@pytest.mark.parametrize("prelude", ["", ONLY_QUEUED], ids=["as it is", "mutant-durable_is_only_queued"])
def test_what_durable_acknowledged_survives_sigkill(
    restarted: Restarted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prelude: str
) -> None:
    """It is stored, once, also when the program is killed the moment after."""
    restarted.start()
    restarted.await_start()
    key = restarted.writer()
    code, lines, err = ran(DURABLE, environment(restarted.at, key, tmp_path / "home"), prelude)
    assert (code, len(lines)) == (-signal.SIGKILL, 20), err
    with drained(restarted.at, key, tmp_path / "home", monkeypatch) as log:
        stored = Counter(one.id for one in log.events(limit=100))
    survived = [stored[line.split()[1]] for line in lines] == [1] * 20
    assert survived is (prelude == "")


@pytest.mark.parametrize("prelude", ["", IN_MEMORY], ids=["as it is", "mutant-spool_in_memory"])
def test_what_was_spooled_survives_sigkill(
    restarted: Restarted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prelude: str
) -> None:
    """The server is away, the program is killed, and the next one of that user sends it all, once and in order."""
    restarted.start()
    restarted.await_start()
    key = restarted.writer()
    restarted.kill()
    code, lines, err = ran(SPOOLED, environment(restarted.at, key, tmp_path / "home"), prelude)
    assert (code, len(lines)) == (-signal.SIGKILL, 50), err
    restarted.start()
    restarted.await_start()
    with drained(restarted.at, key, tmp_path / "home", monkeypatch) as log:
        stored = [one.id for one in log.events(limit=100, order="asc")]
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
import whence.client.spool as spool
spool.fcntl.flock = lambda file, how: None
"""


@pytest.mark.parametrize("prelude", ["", UNLOCKED], ids=["as it is", "mutant-no_lock"])
def test_the_spool_of_a_living_process_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prelude: str
) -> None:
    """Another process leaves it alone, and takes it over once that one is dead."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with taking() as taker:
        taker.rule = away
        process = program(WAITING, environment(taker.url, "whk_x", tmp_path), prelude)
        assert process.stdout is not None
        assert process.stdout.readline() == "spooled\n"
        with Whence(taker.url, "whk_x", exit_timeout_s=0.05) as log:
            log.flush(0.0)
            assert (log.stats().adopted == 0) is (prelude == "")
        process.communicate("", timeout=30)
        with Whence(taker.url, "whk_x", exit_timeout_s=0.05) as log:
            log.flush(0.0)
            assert log.stats().adopted > 0


# ----------------------------------------------------------------------------------------------------------- the end


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("fire")) as running:
        yield running


NEVER_CLOSED = """
emitter._LINGER_S = 60
log = Whence()
for at in range(100):
    emit(log, str(at))
"""

POOLED = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
emitter._LINGER_S = 60
log = Whence()
def work(at):
    return emit(log, f"worker {at}").id
if __name__ == "__main__":
    root = emit(log, "root")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool, log.cause(root):
        done = [pool.submit(log.wrap(work), at).result() for at in range(10)]
    note(*done)
"""

NO_EXIT = """
import atexit, whence.client.exits as exits
atexit.unregister(exits._close_all)
emitter.close_at_exit = lambda one: None
"""


@pytest.mark.parametrize("prelude", ["", NO_EXIT], ids=["as it is", "mutant-exit_without_flush"])
def test_a_program_that_just_ends_has_sent_everything(served: Served, tmp_path: Path, prelude: str) -> None:
    """Without a call of flush or close."""
    key = served.key(READ, WRITE, tenant=f"ends-{len(prelude)}")
    code, _, err = ran(NEVER_CLOSED, environment(served.url, key, tmp_path), prelude)
    assert code == 0, err
    with Whence(served.url, key) as log:
        assert (log.list().total == 100) is (prelude == "")


@pytest.mark.parametrize("prelude", ["", NO_EXIT], ids=["as it is", "mutant-exit_without_flush"])
def test_workers_of_a_pool_send_what_they_emitted(served: Served, tmp_path: Path, prelude: str) -> None:
    """Forked children end without atexit; what they emitted is there, with the cause that went along."""
    key = served.key(READ, WRITE, tenant=f"pooled-{len(prelude)}")
    code, lines, err = ran(POOLED, environment(served.url, key, tmp_path), prelude)
    assert code == 0, err
    with Whence(served.url, key) as log:
        found = {one.id: one for one in log.events()}
    if prelude:
        assert not found.keys() & set(lines[0].split())
        return
    assert len(found) == 11
    (root,) = (one for one in found.values() if one.actor_id == "root")
    effects = [found[id_] for id_ in lines[0].split()]
    assert all((one.causation_id, one.correlation_id) == (root.id, root.id) for one in effects)


# ------------------------------------------------------------------------------------------------------------- forks


class Deaf(set):  # type: ignore[type-arg]  # it stands for a set of anything
    """Forgets whom it should renew."""

    def __iter__(self) -> Iterator[object]:
        return iter(())


@catches(replaced(forks, "_living", Deaf(), "locks_not_made_anew"))
def test_a_child_is_not_held_up_by_the_locks_of_its_parent(tmp_path: Path) -> None:
    """It forks while another thread is inside the queue; the child emits and closes, and sends none of the parent's."""
    with taking() as taker, Whence(taker.url, "whk_x", spool=tmp_path / "spool") as log:
        taker.gate.clear()
        log.emit(event(actorId="parent"))
        assert taker.arrived.wait(5)
        inside, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with log._emitter._changed, log._courier._changed:
                inside.set()
                go_on.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        assert inside.wait(5)
        child = os.fork()
        if child == 0:
            signal.alarm(3)
            try:
                log.emit(event(actorId="child"))
                os._exit(0 if log.stats().emitted == 1 and log.flush(10) else 1)
            finally:
                os._exit(2)
        go_on.set()
        holder.join()
        taker.gate.set()
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert log.flush(10)
        assert Counter(taker.actors) == {"parent": 1, "child": 1}
        assert sum(len(batch) for batch in taker.seen) == 2, "an event was sent by both"


def test_the_end_is_bounded_in_time(tmp_path: Path) -> None:
    """A server that never answers holds the program up for its limit and not for the time of a request."""
    with taking() as taker:
        taker.gate.clear()
        env = environment(taker.url, "whk_x", tmp_path)
        code = "log = Whence(exit_timeout_s=0.3, timeout_s=100)\nemit(log, 'x')"
        began = time.monotonic()
        assert ran(code, env)[0] == 0
        assert time.monotonic() - began < 60, "it waited for the answer"
        taker.gate.set()
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
    emitter._TRIES_BEFORE_SPOOLING = 1 << 30
    for number in range(WAITING):
        emit(log, str(number))
"""


@pytest.mark.parametrize(("spooled", "waiting"), [(0, 0), (3, 0), (0, 2)])
def test_a_spool_that_was_removed_ends_a_program_with_a_sentence(tmp_path: Path, spooled: int, waiting: int) -> None:
    """How many events are lost is said, once, and nothing when none is; there is no traceback, and the program ends
    well."""
    env = environment("http://127.0.0.1:1", "whk_x", tmp_path) | {"SPOOL": str(tmp_path / "spool")}
    code, _, err = ran(REMOVED, env, f"SPOOLED, WAITING = {spooled}, {waiting}")
    assert code == 0
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if f"{spooled + waiting} events" in line]
    assert len(told) == bool(spooled + waiting), err
