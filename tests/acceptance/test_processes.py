"""A server of several processes keeps its promises when one of them is killed, and they keep their limits together."""

import asyncio
import contextlib
import fcntl
import http.client
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from tests.acceptance.running import Running, running, seed, tell
from tests.acceptance.test_http_kill import Killing
from tests.acceptance.tools import missing
from tests.acceptance.traffic import Clients, body_of, get, new_content
from tests.databases import fresh_database
from tests.examples import soak

ROUNDS = 30 if soak() else 4
MUTANT_ROUNDS = 12
GONE_S = 5.0
PROCESSES = {"WHENCE_PROCESSES": "3"}
VICTIMS = ("acceptor", "writer", "supervisor")

ACKNOWLEDGE_FIRST = """
import sys
from whence.cli import main
from whence.storage.sqlite.loop_writer import LoopWriter

def run_next(self):
    if self._connection.in_transaction or not self._waiting:
        return
    group, loop = list(self._waiting), self._waiting[0].loop
    self._waiting.clear()
    self._run_group(group)
    for job in group:
        job.resolve()
    loop.call_later(0.05, commit, self, loop)

def commit(self, loop):
    self._connection.execute("COMMIT")
    self._listener.group_committed()
    self._high_water.record()
    loop.call_soon(self._run_next)

LoopWriter._run_next = run_next
sys.exit(main())
"""
"""Mutant: the process that writes sends its answers 50 ms before it commits."""

LOCK_OF_THE_WRITER = """
import sys
from whence.cli import main
from whence.storage.sqlite.connection import ServingLock
from whence.storage.sqlite.shared import SharedFile

def open_writer(self, *, again, real=SharedFile.open_writer):
    self._lock.release()
    self._lock = ServingLock(self._path)
    return real(self, again=again)

class NoLock:
    def release(self): pass
    def give_up(self, *error): pass

def init(self, path, *, accept_rollback, real=SharedFile.__init__):
    real(self, path, accept_rollback=accept_rollback)
    self._lock.release()
    self._lock = NoLock()

SharedFile.__init__, SharedFile.open_writer = init, open_writer
sys.exit(main())
"""
"""Mutant: only the process that writes holds the lock of the file."""


@pytest.fixture(autouse=True)
def on_linux() -> None:
    if not Path("/proc/self/task").exists():
        missing("/proc")


def is_alive(pid: int) -> bool:
    """Whether a process has a thread that runs. The first may have ended before the others, which keep files open."""
    with contextlib.suppress(OSError):
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        return not set(states) <= {"Z", "X"}
    return False


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> float:
    """Wait for something, and return how long it took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, "it never happened"
        time.sleep(0.005)
    return time.monotonic() - started


class KillingOne(Killing):
    """Rounds in which one of the processes is killed. The supervisor replaces it, unless it is killed itself."""

    def __init__(self, server: Running, chance: random.Random, victim: str) -> None:
        super().__init__(server, chance)
        self.victim = victim
        self.slowest = 0.0

    def _kill_under(self, clients: Clients, around: tuple[str, ...]) -> None:
        clients.start()
        time.sleep(self.chance.uniform(0.02, 0.4))
        before = self.server.processes()
        if self.victim == "supervisor":
            self.server.kill()
            clients.join()
            gone = wait_until(lambda: not any(map(is_alive, before.values())))
            self.slowest = max(self.slowest, gone)
            self.server.start(around)
        else:
            name = self.chance.choice([name for name in before if name.startswith(self.victim)])
            os.kill(before[name], signal.SIGKILL)
            wait_until(lambda: self.server.processes().get(name, before[name]) != before[name])
            clients.stopping.set()
            clients.join()
            wait_until(lambda: answers(self.server))
        self.kills += 1
        self.caught_in_flight += len(self.history.indeterminate) > 0


def answers(server: Running) -> bool:
    """Whether the server is ready."""
    connection = server.connect()
    connection.request("GET", "/readyz")
    ready = connection.getresponse().status == 200
    connection.close()
    return ready


@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_acknowledged_is_lost(victim: str, record_property: Callable[[str, object], None]) -> None:
    """After each SIGKILL of one of the processes the log has every acknowledged event once, and no other. Orphans soon
    end."""
    chance = random.Random(seed())
    with running(**PROCESSES) as server:
        killing = KillingOne(server, chance, victim)
        server.start()
        for _ in range(ROUNDS):
            verdict = killing.round()
            assert verdict.clean, f"{killing} {verdict} {verdict.lost[:3]}"
            assert not killing.miscounted and not killing.torn, killing
        verdict = killing.judge()
        figures = f"{victim} rounds={ROUNDS} {killing} {verdict} slowest_orphan={killing.slowest:.2f}s"
        tell(record_property, figures)
        assert verdict.clean and not killing.miscounted
        assert killing.slowest < GONE_S
        assert len(killing.history.acknowledged) > 10 * ROUNDS
        assert server.terminate(25.0)[0] == 0


def test_an_early_acknowledgement_would_be_seen(tmp_path: Path) -> None:
    """A writer that answers before it commits loses an acknowledged event when it is killed."""
    chance = random.Random(seed())
    mutant = tmp_path / "acknowledge_first.py"
    mutant.write_text(ACKNOWLEDGE_FIRST)
    with running(mutant=mutant, **PROCESSES) as server:
        killing = KillingOne(server, chance, "writer")
        server.start()
        for number in range(1, MUTANT_ROUNDS + 1):
            if killing.left_by_a_kill(()).lost:
                print(f"mutant caught in round {number}: {killing}")
                return
        pytest.fail(f"the mutant survived {MUTANT_ROUNDS} kills: {killing}")


def is_locked(server: Running) -> bool:
    """Whether another server could not have the file now."""
    with (server.folder / "whence.db.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def without_writer(server: Running) -> Iterator[None]:
    """The process that writes has been killed, and the supervisor does not notice during the block."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        os.kill(server.processes()["writer"], signal.SIGKILL)
        wait_until(lambda: "writer" not in server.processes() or not is_alive(server.processes()["writer"]))
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("mutant", [None, LOCK_OF_THE_WRITER], ids=["as it is", "mutant-lock_of_the_writer"])
def test_the_lock_is_the_last_thing_to_go(mutant: str | None, tmp_path: Path) -> None:
    """While any process of the server lives, no other server gets the file. Requests that write get a 503 meanwhile,
    and reading goes on."""
    script = None if mutant is None else tmp_path / "mutant.py"
    if script is not None:
        script.write_text(mutant or "")
    with running(mutant=script, **PROCESSES) as server:
        key = server.key()
        server.start()
        connection = server.connect()
        with without_writer(server):
            assert is_locked(server) is (mutant is None)
            assert written(connection, key) == 503
            time.sleep(1.1)  # a probe is answered from memory for a second
            assert not answers(server)
            get(connection, "/api/v1/events", key)
        if mutant is None:
            wait_until(lambda: written(connection, key) == 201)
            children = server.processes().values()
            server.kill()
            wait_until(lambda: not is_locked(server))
            wait_until(lambda: not any(map(is_alive, children)), 0.3)  # their files are closed as they end


def written(connection: http.client.HTTPConnection, key: str) -> int:
    """The status of an event that is sent."""
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/events", body_of(*new_content(random.Random())), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def by_process(server: Running, key: str) -> dict[str, http.client.HTTPConnection]:
    """A connection to each process that answers requests."""
    found: dict[str, http.client.HTTPConnection] = {}
    server_names = {name for name in server.processes() if name.startswith("acceptor")}
    while found.keys() != server_names:
        connection = server.connect()
        size = server.log.stat().st_size
        get(connection, "/api/v1/events?limit=1", key)
        wait_until(lambda size=size: server.log.stat().st_size > size)
        name = server.log_text()[size:].partition('"process":"')[2].partition('"')[0]
        found.setdefault(name, connection)
    return found


def test_limits_hold_for_all_processes_together(tmp_path: Path) -> None:
    """A revoked key, the throttle of bad credentials and the rate of events, each by connections to every process."""
    variables = PROCESSES | {"WHENCE_LOG_LEVEL": "info", "WHENCE_BAD_CREDENTIALS_PER_MINUTE": "30"}
    with running(**variables, WHENCE_TENANT_EVENTS_PER_S="10") as server:
        key = server.key()
        server.start()
        connections = list(by_process(server, key).values())
        assert len(connections) == 3

        made = server.key()
        for connection in connections:
            get(connection, "/api/v1/events?limit=1", made)
        server.revoke(made)
        time.sleep(0.11)
        assert [status(connection, made) for connection in connections] == [401] * 3

        statuses = Counter[int]()
        for number in range(60):
            statuses[status(connections[number % 3], "whk_" + "a" * 43)] += 1
            time.sleep(0.03)  # longer than what one process counted needs to get to the others
        assert 30 <= 3 + statuses[401] < 45 and statuses[429] == 60 - statuses[401], statuses

        taken = Counter(batch_of(connections[number % 3], key, 100) for number in range(18) if not time.sleep(0.03))
        assert 10 <= taken[201] < 14 and taken[429] == 18 - taken[201], taken


def status(connection: http.client.HTTPConnection, key: str) -> int:
    """The status of a page for this key."""
    connection.request("GET", "/api/v1/events?limit=1", headers={"X-API-Key": key})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def batch_of(connection: http.client.HTTPConnection, key: str, number: int) -> int:
    """The status of a batch of so many events."""
    body = b"[" + b",".join(body_of(*new_content(random.Random())) for _ in range(number)) + b"]"
    connection.request("POST", "/api/v1/events/batch", body, {"X-API-Key": key, "Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_processes_without_a_writer_leave_no_folder(tmp_path: Path) -> None:
    """Nor does any other, after a SIGKILL of the supervisor."""
    url = asyncio.run(fresh_database())
    with running(url=url, **PROCESSES, TMPDIR=str(tmp_path), WHENCE_STORE_SECRET="s" * 40) as server:
        server.start()
        children = server.processes().values()
        assert len(children) == 4 and list(tmp_path.iterdir())
        server.kill()
        wait_until(lambda: not any(map(is_alive, children)))
        assert not list(tmp_path.iterdir())


def test_clients_are_refused_while_the_server_stops() -> None:
    """Once the acceptors have closed the port nobody has it, although the writer still runs."""
    with running(**PROCESSES) as server:
        server.start()
        writer = server.processes()["writer"]
        os.kill(writer, signal.SIGSTOP)  # it would end too soon to be seen
        os.kill(server.pid, signal.SIGTERM)
        try:
            wait_until(lambda: len(server.processes()) == 1)
            with pytest.raises(ConnectionRefusedError):
                server.connect()
        finally:
            os.kill(writer, signal.SIGCONT)
        assert server.terminate()[0] == 0


def test_the_writer_is_replaced_once_the_file_is_free() -> None:
    """Another program may keep the file busy for longer than the writer waits. Reading goes on meanwhile."""
    with running(**PROCESSES) as server:
        key = server.key()
        server.start()
        other = apsw.Connection(str(server.folder / "whence.db"))
        other.execute("BEGIN IMMEDIATE")
        os.kill(server.processes()["writer"], signal.SIGKILL)
        wait_until(lambda: server.log_text().count("busy") > 0)
        get(server.connect(), "/api/v1/events", key)
        other.execute("ROLLBACK")
        other.close()
        wait_until(lambda: written(server.connect(), key) == 201)
        assert server.terminate()[0] == 0


def test_a_second_server_gets_neither_the_port_nor_the_file(tmp_path: Path) -> None:
    """The processes share their port with each other, and with nobody else."""
    with running(**PROCESSES) as server, running(**PROCESSES) as other:
        server.start()
        port = str(server.address[1])
        assert port in refused(other, "--port", port)
        other.url = server.url
        assert "Another process serves this SQLite file" in refused(other, "--port", "0")


def refused(server: Running, *flags: str) -> str:
    """What a server says that cannot start."""
    with pytest.raises(AssertionError) as caught:
        server.flags = flags
        server.start()
    server.kill()
    return str(caught.value)
