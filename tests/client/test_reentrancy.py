"""Signal handlers and finalizers that emit while their thread is inside the client: nothing hangs, nothing is lost."""

import gc
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import event
from tests.client.fake_server import FakeServer, accept, fake_server, unavailable
from tests.client.programs import environment, every_python, start_program
from tests.client.test_emitter import check_balance, connected
from tests.examples import soak
from tests.unit.mutants import replaced
from whence import client
from whence.client import QueueFull, Whence, at_exit, base_client, counts, emitter, sender, spool, spool_lock
from whence.client.reentrancy import guard
from whence.client.tokens import TenantToken
from whence.wire import ids

HANG_S = 20.0


def within_time(action: Callable[[], object]) -> None:
    """Run this in a thread, and fail if it hangs."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HANG_S)
    assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]


PLACES = [
    (spool, "append_to_file"),
    (spool, "sync_file"),
    (emitter.Emitter, "_is_open"),
    (sender.SenderThreads, "_schedule"),
    (spool_lock.ProcessLock, "acquire"),
]


@pytest.mark.parametrize(("target", "name"), PLACES, ids=[name for _, name in PLACES])
def test_an_event_is_accepted_in_the_middle_of_another(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, name: str
) -> None:
    """As by a signal handler, while the thread writes to the spool, syncs it, takes the lock file or wakes a thread."""
    server.rule = unavailable
    log = connected(server, tmp_path, queue_events_max=3, exit_timeout_s=5)
    monkeypatch.setattr(emitter, "_LINGER_S", 60)  # the queue fills up, and the spool is written by this thread
    plain, interrupted = getattr(target, name), []

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        if not interrupted and guard.is_inside():
            interrupted.append(log.emit(event(actorId="handler")))
            assert not log.flush(1000), "flush must not wait there"
        return plain(*args, **kwargs)

    monkeypatch.setattr(target, name, interrupt)
    count = 6
    within_time(lambda: [log.emit(event(actorId="main")) for _ in range(count)])
    assert interrupted
    assert log.stats().emitted == count + 1
    check_balance(log)
    monkeypatch.setattr(target, name, plain)
    server.rule = accept
    within_time(lambda: log.flush(10))
    assert sorted(server.actors) == ["handler"] + ["main"] * count
    log.close()
    check_balance(log)


def test_an_id_is_made_in_the_middle_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are different, and the inner one, which is complete first, is not the smaller one."""
    generator, inner = ids.uuid7_generator, list[str]()
    plain = generator._random.take

    def interrupt(number: int) -> str:
        if not inner:
            inner.append("")
            inner[0] = ids.new_uuid7()
        return plain(number)

    monkeypatch.setattr(generator._random, "take", interrupt)
    outer = list[str]()
    within_time(lambda: outer.append(ids.new_uuid7()))
    assert outer[0] < inner[0] < ids.new_uuid7()


class _Locking(ids._Uuid7):
    """Mutant: makes an id under a lock."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()

    def next(self) -> str:
        with self._lock:
            return super().next()


class _Count:
    """Numbers, of which the first one is taken by code that is interrupted."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt

    def __next__(self) -> int:
        self._interrupt()
        return 0


MIDDLES: dict[str, Callable[[Whence, pytest.MonkeyPatch, Callable[[], None]], object]] = {
    "id": lambda _log, patch, interrupt: patch.setattr(
        ids.uuid7_generator._random, "take", lambda _number: interrupt() or "0" * 16
    ),
    "stats": lambda log, patch, interrupt: patch.setattr(log._dropped, "_numbers", _Count(interrupt)),
    "tenant": lambda log, patch, interrupt: patch.setattr(
        log, "_tenant_credential", lambda *_: interrupt() or TenantToken("acme", "s" * 32)
    ),
}
USES: dict[str, Callable[[Whence], object]] = {
    "id": lambda _log: ids.new_uuid7(),
    "stats": lambda log: log.stats(),
    "tenant": lambda log: log.for_tenant("acme"),
}
UNGUARDED_COUNTER = replaced(counts, "GuardedCondition", threading.RLock, "a_counter_has_a_lock_of_its_own")
UNGUARDED_CLIENT = replaced(base_client, "GuardedCondition", threading.RLock, "a_client_has_a_lock_of_its_own")


def id_under_a_lock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ids, "uuid7_generator", _Locking())


@pytest.mark.parametrize(
    ("use", "mutant"),
    [
        ("id", None),
        ("stats", None),
        ("tenant", None),
        pytest.param("id", id_under_a_lock, marks=pytest.mark.slow),
        pytest.param("stats", UNGUARDED_COUNTER, marks=pytest.mark.slow),
        pytest.param("tenant", UNGUARDED_CLIENT, marks=pytest.mark.slow),
    ],
)
def test_two_threads_do_not_wait_for_each_other(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str, mutant: Any
) -> None:
    """One is interrupted by a signal handler that waits for the queue. The other has the queue, and is interrupted by
    a finalizer that does what the first one was doing."""
    if mutant is not None:
        mutant(monkeypatch)
    log = connected(server, tmp_path)
    interrupted, has_queue = threading.Event(), threading.Event()

    def interrupt() -> None:
        if not interrupted.is_set():
            interrupted.set()
            has_queue.wait(HANG_S)
            log.flush(HANG_S)

    def finalize() -> None:
        with log._emitter._changed:
            has_queue.set()
            interrupted.wait(HANG_S)
            USES[use](log)

    MIDDLES[use](log, monkeypatch, interrupt)
    first = threading.Thread(target=USES[use], args=(log,), daemon=True)
    first.start()
    interrupted.wait(HANG_S)
    other = threading.Thread(target=finalize, daemon=True)
    other.start()
    for thread in (other, first):
        thread.join(HANG_S if mutant is None else 1)
    assert (other.is_alive() or first.is_alive()) == (mutant is not None)


def test_the_client_is_closed_in_the_middle_of_an_event(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It happens as soon as the interrupted code has left the client. Its event is sent."""
    log = connected(server, tmp_path)
    plain, closed = sender.SenderThreads._schedule, []

    def interrupt(self: sender.SenderThreads, *args: Any) -> None:
        if not closed:
            closed.append(None)
            closed[0] = log.close()
        plain(self, *args)

    monkeypatch.setattr(sender.SenderThreads, "_schedule", interrupt)
    within_time(lambda: log.emit(event(actorId="a")))
    assert closed == [False]
    assert server.actors == ["a"]
    assert log.stats().stored == 1
    assert not log._sender._threads


@pytest.mark.slow
def test_a_signal_is_handled_when_the_client_was_left() -> None:
    """If it interrupted the client itself. What the program's own handler raises reaches the program."""
    called: list[int] = []

    class Terminated(Exception):
        pass

    def previous(number: int, frame: object) -> None:
        called.append(number)
        raise Terminated

    handler = at_exit._SigtermHandler(previous)
    guard.enter()
    handler(15, None)
    assert called == []
    with pytest.raises(Terminated):
        guard.leave()
    assert called == [15] and not guard.is_inside()


def test_a_signal_is_handled_in_the_thread_that_it_interrupted() -> None:
    """Another thread that leaves the client meanwhile does not handle it: only the main thread may install handlers."""
    called: list[int] = []
    handler = at_exit._SigtermHandler(lambda number, frame: called.append(threading.get_ident()))
    guard.enter()
    handler(15, None)

    def enter_and_leave() -> None:
        guard.enter()
        guard.leave()

    other = threading.Thread(target=enter_and_leave)
    other.start()
    other.join(10)
    assert called == []
    guard.leave()
    assert called == [threading.get_ident()]


def test_many_events_may_be_left_in_the_inbox(server: FakeServer, tmp_path: Path) -> None:
    """Those of several clients too. They are moved on one after the other, and not one inside the other."""
    logs = [connected(server, tmp_path, tenant=f"t{number}") for number in range(3)]
    guard.enter()
    for _ in range(1000):
        for log in logs:
            log.emit(event())
    guard.leave()
    for log in logs:
        assert log.flush(20)
        assert log.stats().stored == 1000
        log.close()


def test_the_inbox_is_bounded(server: FakeServer, tmp_path: Path) -> None:
    """By the size of the queue. What does not fit is refused, or counted and dropped."""
    server.gate.clear()
    for on_full in ("spill", "drop"):
        log = connected(server, tmp_path, queue_events_max=5, on_full=on_full, exit_timeout_s=0.05)
        log.emit(event())
        guard.enter()
        try:
            for _ in range(5):
                log.emit(event())
            if on_full == "spill":
                with pytest.raises(QueueFull):
                    log.emit(event())
            else:
                log.emit(event())
            check_balance(log)
        finally:
            guard.leave()
        check_balance(log)
        assert log.stats().emitted == (6 if on_full == "spill" else 7)
        log.close()
        check_balance(log)


def test_a_finalizer_may_emit(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the collector runs in the middle of `emit`, or in a thread of the client."""

    class Emitting:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            log.emit(event(actorId="finalizer"))

    plain = emitter.Emitter._is_open

    def collecting(self: emitter.Emitter) -> bool:
        gc.collect()
        return plain(self)

    with connected(server, tmp_path) as log:
        log.emit(event(actorId="main"))
        Emitting()
        monkeypatch.setattr(emitter.Emitter, "_is_open", collecting)
        within_time(lambda: log.emit(event(actorId="main")))
        monkeypatch.undo()
        assert log.flush(10)
        assert sorted(server.actors) == ["finalizer", "main", "main"]
        check_balance(log)


ALARMED = """
import faulthandler, gc, time
faulthandler.dump_traceback_later(60, exit=True)
log = Whence(exit_timeout_s=0.5, queue_events_max=2000)
handled = finalized = 0
def handle(number, frame):
    global handled
    handled += 1
    emit(log, "handler")
class Emitting:
    def __init__(self):
        self.itself = self
    def __del__(self):
        global finalized
        finalized += 1
        emit(log, "finalizer")
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
gc.set_threshold(200)
def other():
    while time.monotonic() < until:
        emit(log, "thread")
        time.sleep(0.001)
until = time.monotonic() + SECONDS
thread = threading.Thread(target=other)
thread.start()
emitted = 0
while time.monotonic() < until:
    emit(log, "main")
    emitted += 1
    Emitting()
    if emitted % 100 == 0:
        log.flush(0.01)
        log.stats()
        time.sleep(0.01)
thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)
del thread
gc.collect()
signal.signal(signal.SIGALRM, signal.SIG_IGN)
log.close()
stats = log.stats()
placed = stats.stored + stats.replayed + stats.rejected + stats.lost + stats.queued + stats.spooled
note(str(handled), str(finalized), str(stats.emitted), str(placed), str(stats.lost), str(stats.queued))
"""


@pytest.mark.slow
@every_python
@pytest.mark.parametrize("up", [True, False], ids=["server_up", "server_down"])
def test_signals_a_hundred_times_a_second(tmp_path: Path, up: bool, python: str) -> None:
    """While two threads emit and finalizers run. The program does not hang, and every event is in one place."""
    with fake_server() as server:
        if not up:
            server.rule = unavailable
        seconds = 10 if soak() else 3
        env = environment(server.url, "whk_x", tmp_path)
        process = start_program(ALARMED, env, f"SECONDS = {seconds}", python=python)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        handled, finalized, emitted, placed, lost, queued = map(int, out.split())
        assert handled > 50 * seconds and finalized > 0
        assert emitted == placed
        assert (lost, queued) == (0, 0)
        if up:
            assert len(server.stored) + sum(map(count_events, tmp_path.rglob("*.segment"))) >= emitted


def count_events(segment: Path) -> int:
    return segment.read_bytes().count(b"\n")


def test_a_guard_is_left_as_often_as_it_is_entered() -> None:
    """So a thread does not stay inside after an error."""
    assert not guard.is_inside()
    log = Whence("http://127.0.0.1:1", "whk_x", spool=False)
    log.close()
    with pytest.raises(Exception, match="closed"):
        log.emit(event())
    assert not guard.is_inside()


LOCK = re.compile(r"\b(?:threading\.)?(?:R?Lock|Condition|(?:Bounded)?Semaphore|Barrier)\(")
OWN_LOCKS = {
    "client/fork_safety.py": "taken only by the first calls in a child that was forked without Python's hook",
    "client/reentrancy.py": "of `GuardedCondition` itself",
    "client/spool.py": "taken inside of `guard`, since the emitter calls it so",
    "client/spool_lock.py": "taken inside of `guard`, since the emitter calls it so",
    "integrations/request_cause.py": "held while a function of the program decides; code in the same request takes it",
}
"""Files that make locks which are not a `GuardedCondition`, and why no finalizer waits for one of these."""


def test_every_lock_of_the_client_is_guarded() -> None:
    """Or it is known why not."""
    folder = Path(client.__file__).parents[1]
    files = [*folder.glob("client/*.py"), *folder.glob("integrations/*.py"), Path(ids.__file__)]
    found = {str(path.relative_to(folder)) for path in files if LOCK.search(path.read_text())}
    assert found == set(OWN_LOCKS)
