"""Celery: tasks with their causes, through a broker and in real workers."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import pytest
from celery.contrib.testing.worker import start_worker

from tests.api.conftest import event, serving
from tests.client.fake_server import fake_server
from tests.client.programs import environment, run_program
from whence.client import Whence
from whence.integrations.celery import instrument
from whence.integrations.pytest_plugin import RecordingWhence
from whence.permissions import READ, WRITE
from whence.wire.bodies import EventBody

pytestmark = pytest.mark.slow

WAIT_S = 30

app = celery.Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
app.conf.worker_hijack_root_logger = False  # nor is its level changed below, since other tests read log lines
LOGS: list[RecordingWhence] = []
"""The log of the running test."""


def emit() -> str:
    return LOGS[0].emit(event()).id


@app.task(bind=True)
def work(self: Any) -> list[Any]:
    return [emit(), (self.request.headers or {}).get("mine")]


@app.task
def add(a: int, b: int) -> int:
    emit()
    return a + b


@app.task
def fail() -> None:
    raise ValueError("card declined")


@app.task
def ignore() -> None:
    raise celery.exceptions.Ignore


@app.task(bind=True, max_retries=2)
def retried(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(exc=ValueError("busy"), countdown=0)
    return 7


@app.task(bind=True)
def goes_on(self: Any) -> None:
    if self.request.retries == 0:
        self.retry(countdown=0, throw=False)


@app.task
def step(value: Any = None) -> int:
    return 1


@app.task
def part(number: int) -> int:
    return number


@app.task
def total(values: list[int]) -> int:
    return sum(values)


@pytest.fixture(scope="module")
def worker() -> Iterator[None]:
    """A worker in a thread."""
    instrument()
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="WARNING"):
        yield


@pytest.fixture
def log(whence_events: RecordingWhence, worker: None) -> Iterator[RecordingWhence]:
    """The log to which the tasks emit. The tasks themselves are not recorded, unless the test says so."""
    instrument()
    LOGS[:] = [whence_events]
    yield whence_events
    instrument()


def story(log: RecordingWhence) -> list[str]:
    """Each event as `verb name < verb name of its cause`."""
    found = {each.id: each for each in log.recorded}
    causes = [f" < {title(found[each.causation_id])}" if each.causation_id else "" for each in log.recorded]
    return [title(each) + cause for each, cause in zip(log.recorded, causes, strict=True)]


def title(each: EventBody) -> str:
    verb = each.event_type.partition(".")[2]
    name = payload_of(each).get("name", "")
    return f"{verb} {name.rpartition('.')[2]}".strip()


def payload_of(each: EventBody) -> dict[str, Any]:
    return dict(json.loads(each.payload_bytes))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_celery_task_runs_in_the_context_of_its_sender(log: RecordingWhence) -> None:
    """Through a broker and in a worker. Other headers stay, and the next task starts without the context."""
    instrument()
    root = log.emit(event())
    with log.cause(root):
        effect, mine = work.apply_async(headers={"mine": "x"}).get(timeout=WAIT_S)
        inner, _ = work.apply_async(headers={"mine": "x", "headers": {"mine": "y"}}).get(timeout=WAIT_S)
    alone, _ = work.apply_async().get(timeout=WAIT_S)
    with log.cause(root):
        in_place, _ = work.apply().get()
    found = {each.id: each for each in log.recorded}
    assert (found[effect].causation_id, found[effect].correlation_id, mine) == (root.id, root.id, "x")
    assert found[inner].causation_id == root.id
    assert found[alone].causation_id is None
    assert found[in_place].causation_id == root.id


def test_tasks_are_recorded_with_their_ends(log: RecordingWhence) -> None:
    """Each start is caused by the sender, and causes what the task emits. An error has its type and message."""
    instrument(log, events=True)
    root = log.emit(event(eventType="decision.made"))
    with log.cause(root):
        result = add.delay(1, b=2)
        result.get(timeout=WAIT_S)
        with pytest.raises(ValueError):
            fail.delay().get(timeout=WAIT_S)
        ignored = ignore.delay()
        wait_for(lambda: len(log.recorded) == 8)
        in_place = add.apply((3, 4))
    assert story(log)[1:] == [
        "started add < made",
        "completed < started add",
        "completed add < started add",
        "started fail < made",
        "failed fail < started fail",
        "started ignore < made",
        "cancelled ignore < started ignore",
        "started add < made",
        "completed < started add",
        "completed add < started add",
    ]
    resources = [log.recorded[index].resource_id for index in (1, 3, 6, 8)]
    assert resources == [result.id, result.id, ignored.id, in_place.id]
    failed = payload_of(log.recorded[5])
    assert (failed["kind"], failed["error"], failed["message"]) == ("task", "ValueError", "card declined")


def test_a_retry_is_caused_by_the_attempt_before_it(log: RecordingWhence) -> None:
    """Whether the task ends by the retry or goes on after it."""
    instrument(log, events=True, errors="type")
    assert retried.delay().get(timeout=WAIT_S) == 7
    wait_for(lambda: len(log.recorded) == 6)
    first = list(log.recorded)
    goes_on.delay()
    wait_for(lambda: len(log.recorded) == 6 + 5)
    assert story(log) == [
        "started retried",
        "retried retried < started retried",
        "started retried < retried retried",
        "retried retried < started retried",
        "started retried < retried retried",
        "completed retried < started retried",
        "started goes_on",
        "completed goes_on < started goes_on",
        "retried goes_on < started goes_on",
        "started goes_on < retried goes_on",
        "completed goes_on < started goes_on",
    ]
    assert len({each.resource_id for each in first}) == 1
    assert len({each.correlation_id for each in first}) == 1
    assert payload_of(first[1])["error"] == "ValueError" and "message" not in payload_of(first[1])
    assert payload_of(first[2])["attempt"] == 2


def test_a_retry_in_place_is_caused_by_the_attempt_before_it(log: RecordingWhence) -> None:
    """`apply` publishes nothing. The code after it has the context from before."""
    instrument(log, events=True)
    root = log.emit(event(eventType="decision.made"))
    with log.cause(root):
        assert retried.apply(headers={"mine": "x"}).get() == 7
        after = emit()
    assert story(log)[1:] == [
        "started retried < made",
        "retried retried < started retried",
        "started retried < retried retried",
        "retried retried < started retried",
        "started retried < retried retried",
        "completed retried < started retried",
        "completed < made",
    ]
    assert {each.correlation_id for each in log.recorded} == {root.id}
    assert next(each for each in log.recorded if each.id == after).causation_id == root.id


def test_chains_groups_and_chords_have_their_causes(log: RecordingWhence) -> None:
    """A step is caused by the one before it, a part by the sender, and a body by the part that ended last."""
    instrument(log, events=True)
    root = log.emit(event(eventType="decision.made"))
    with log.cause(root):
        (step.s() | step.s()).delay().get(timeout=WAIT_S)
        assert celery.chord([part.s(1), part.s(2)])(total.s()).get(timeout=WAIT_S) == 3
    started = [each for each in story(log) if each.startswith("started")]
    assert started == [
        "started step < made",
        "started step < started step",
        "started part < made",
        "started part < made",
        "started total < started part",
    ]
    parts = [each for each in log.recorded if title(each) == "started part"]
    (of_body,) = (each for each in log.recorded if title(each) == "started total")
    assert of_body.causation_id == parts[1].id
    assert {each.correlation_id for each in log.recorded} == {root.id}


def test_a_task_may_have_an_id_of_its_own(log: RecordingWhence) -> None:
    """The id of its resource is derived from it."""
    instrument(log, events=True)
    add.apply_async((1, 2), task_id="order 8841").get(timeout=WAIT_S)
    wait_for(lambda: len(log.recorded) == 3)
    started, _, completed = log.recorded
    assert started.resource_id == completed.resource_id
    assert payload_of(started)["_resource"] == payload_of(completed)["_resource"] == "order 8841"


def test_recording_needs_a_client() -> None:
    with pytest.raises(ValueError, match="pass the client"):
        instrument(events=True)


# ----------------------------------------------------------------------------------------------- real prefork workers

TASKS = """
import os, signal, sys
from pathlib import Path
from celery import Celery
from whence import Whence
from whence.integrations.celery import instrument

folder = Path(os.environ["BROKER"])
for name in ("queue", "results"):
    (folder / name).mkdir(parents=True, exist_ok=True)
app = Celery("tasks", broker="filesystem://", backend=f"file://{folder / 'results'}")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "control_folder": str(folder / "control"),
    },
    broker_connection_retry_on_startup=True,
)
log = Whence()
instrument(log, events=True)


@app.task
def work(number):
    log.emit("artifact.created", actor=("agent", str(number)), resource=("artifact", os.environ["RUN"]))


@app.task
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Program:
    """Tasks in a module of their own, and a worker with prefork processes for them."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        (folder / "tasks.py").write_text(TASKS)
        self.env = env | {"BROKER": str(folder / "broker"), "RUN": "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"}

    def send(self, code: str) -> None:
        """Run code that sends tasks."""
        done = subprocess.run(
            [sys.executable, "-c", f"from tasks import *\n{textwrap.dedent(code)}"],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "tasks",
            "worker",
            "--pool",
            "prefork",
            "-l",
            "ERROR",
            *options,
        ]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        with (self.folder / "worker.log").open("wb") as out:
            return subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=out, stderr=out)


def events_when(log: Whence, count: int, event_type: str) -> list[EventBody]:
    """All events of the log, once there are so many of one type; or what there is after the time limit."""
    deadline = time.monotonic() + WAIT_S
    while log.list(event_type=event_type, limit=1).total < count and time.monotonic() < deadline:
        time.sleep(0.1)
    return list(log.events(order="asc"))


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[Program, Whence]]:
    with serving(tmp_path) as served:
        key = served.key(READ, WRITE)
        with Whence(served.url, key) as log:
            yield Program(tmp_path, environment(served.url, key, tmp_path / "state")), log


@pytest.mark.slow
def test_no_event_is_lost_when_workers_are_recycled(program: tuple[Program, Whence]) -> None:
    """With a process for each task, which billiard ends by os._exit: 32 of 32."""
    tasks, log = program
    tasks.send("for number in range(32): work.delay(number)")
    worker = tasks.start("--concurrency", "4", "--max-tasks-per-child", "1")
    try:
        events = events_when(log, 32, "action_run.completed")
        artifacts = [each for each in events if each.event_type == "artifact.created"]
        assert sorted(int(each.actor_id) for each in artifacts) == list(range(32))
        started = {each.id for each in events if each.event_type == "action_run.started"}
        assert len(started) == 32
        assert {each.causation_id for each in artifacts} == started
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(WAIT_S)


@pytest.mark.slow
def test_a_worker_process_that_is_killed_leaves_a_failed_task(program: tuple[Program, Whence]) -> None:
    """The main process of the worker says so."""
    tasks, log = program
    tasks.send("die.delay()")
    worker = tasks.start("--concurrency", "1")
    try:
        events = events_when(log, 1, "action_run.failed")
        (failed,) = (each for each in events if each.event_type == "action_run.failed")
        assert payload_of(failed)["error"] == "WorkerLostError"
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(WAIT_S)


FINALIZED = """
import billiard.util
from celery import signals
from whence.integrations.celery import instrument
emitter._LINGER_S = 60
log = Whence()
instrument()
signals.worker_process_init.send(sender=None)
emit(log, "worker")
billiard.util._run_finalizers()
os._exit(0)
"""


def test_a_worker_process_sends_its_events_by_the_finalizers_of_billiard(tmp_path: Path) -> None:
    """Those of its ends that send no signal of Celery run them, and nothing of atexit."""
    with fake_server() as server:
        code, _, err = run_program(FINALIZED, environment(server.url, "whk_x", tmp_path))
        assert code == 0, err
        assert server.actors == ["worker"]
