"""What sends the load of the benchmark: bounded by time, beside another load, from several processes, and by wrk."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from bench.earlier import checkout
from bench.load import Job, request, run_beside, run_load
from bench.process_tree import acceptors_of, cpu_seconds, processes_of, pss_mb
from bench.scenarios import Bodies, generator_of
from bench.servers import Running, ask, whence
from bench.workload import Shape, ndjson, of_one_tenant
from bench.wrk import has_wrk, run_wrk
from whence.events import Vocabulary
from whence.wire.event import IngestContext, parse_new_event

ROOT = Path(__file__).parents[2]


class _Handler(BaseHTTPRequestHandler):
    """Answers everything with an empty 200, and keeps the bodies, or the paths of requests without one."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def do_POST(self) -> None:
        self.server.seen.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer()

    def do_GET(self) -> None:
        self.server.seen.append(self.path.encode())
        self._answer()

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[bytes] = []


@pytest.fixture
def server() -> Iterator[_Server]:
    """A server in this process."""
    with _Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def _job(server: _Server, folder: Path, requests: list[bytes], **others: object) -> Job:
    file = folder / f"{time.monotonic_ns()}.msgpack"
    file.write_bytes(msgspec.msgpack.encode(requests))
    usual = Job(port=server.server_port, requests=str(file), connections=2)
    return msgspec.structs.replace(usual, **others)


def test_bodies_are_of_new_events_each_time() -> None:
    """A body that is taken again has another id of the same length, and names the same cause under its new id."""
    made = list(of_one_tenant(Shape(events=300)))
    bodies = Bodies(ndjson([event]).rstrip() for event in made)
    context = IngestContext("bench", Vocabulary(), 1 << 62)
    first, second = ([parse_new_event(body, context) for body in bodies.take(300)] for _ in range(2))
    more = [parse_new_event(body, context) for body in bodies.take(450)]
    ids = [event.id for event in (*first, *second, *more)]
    assert len(set(ids)) == len(ids) == 1_050
    for events in (first, second):
        assert all(len(new.id) == len(old.id) for new, old in zip(events, made, strict=True))
        assert all(new.payload == old.payload for new, old in zip(events, made, strict=True))
        renamed = {old.id: new.id for new, old in zip(events, made, strict=True)}
        causes = [old.causation_id for old in made if old.causation_id in renamed]
        assert causes
        assert [new.causation_id for new, old in zip(events, made, strict=True) if old.causation_id in renamed] == [
            renamed[str(cause)] for cause in causes
        ]


def test_a_load_ends_after_its_time(server: _Server, tmp_path: Path) -> None:
    """A closed loop of endless requests stops when its seconds are over, and each of its requests was answered."""
    result = run_load(_job(server, tmp_path, [request("GET", "/a", "")], repeat=1 << 40, seconds=0.2))
    assert 0.2 <= result.seconds < 5
    assert result.bad == 0
    assert result.answered == len(server.seen) == result.statuses["200"]


def test_two_processes_divide_the_requests(server: _Server, tmp_path: Path) -> None:
    """Every request is sent once, by one of them, and the result counts all."""
    bodies = [b"body %d" % number for number in range(101)]
    requests = [request("POST", "/a", "", body) for body in bodies]
    result = run_load(_job(server, tmp_path, requests, connections=3), processes=2)
    assert sorted(server.seen) == sorted(bodies)
    assert (result.answered, result.bad, result.generator) == (101, 0, "load.py, 2 processes")


def test_a_load_beside_another_ends_with_it(server: _Server, tmp_path: Path) -> None:
    """The pages go on until the last batch is answered, however many those are."""
    batches = _job(server, tmp_path, [request("POST", "/batch", "", b"batch")] * 200)
    pages = _job(server, tmp_path, [request("GET", "/page", "")], repeat=1 << 40, rate=500.0)
    written, read = run_beside(batches, pages)
    assert server.seen.count(b"batch") == written.answered == 200
    assert server.seen.count(b"/page") == read.answered > 0
    assert (written.bad, read.bad) == (0, 0)


@pytest.mark.skipif(not has_wrk(), reason="wrk is not installed")
def test_wrk_sends_new_events_when_all_were_sent(server: _Server, tmp_path: Path) -> None:
    """Requests that begin again have other ids, of the same length, and nothing else of them changes."""
    bodies = list(Bodies(ndjson([event]).rstrip() for event in of_one_tenant(Shape(events=5))).take())
    requests = [request("POST", "/a", "", body) for body in bodies]
    result = run_wrk(tmp_path / "requests", server.server_port, requests, 2, 1)
    assert result.bad == 0
    assert result.generator == "wrk"
    seen = server.seen[:]
    assert set(bodies[1:]) < set(seen)  # the first one is only checked by wrk
    ids = [msgspec.json.decode(body)["id"] for body in seen[:200]]
    assert len(set(ids)) == len(ids)
    hidden = re.compile(rb'("(?:id|causationId|correlationId)":"[^"]*)[^"]{6}"')
    assert {hidden.sub(rb"\1", body) for body in seen} == {hidden.sub(rb"\1", body) for body in bodies}


def test_a_generator_that_is_not_there_is_refused() -> None:
    """A name is auto, load.py or wrk, and two processes are used only if they leave two processors to the server."""
    with pytest.raises(ValueError, match="ab is not a load generator"):
        generator_of("ab")
    assert [generator_of("load.py", processors).processes for processors in (1, 2, 4)] == [1, 1, 2]


def test_the_processes_of_a_server_are_counted_together() -> None:
    """A grandchild's processor time and memory count, and those of a stranger do not."""
    grandchild = "import time; kept = bytearray(b'x') * 40_000_000; print('ready', flush=True); time.sleep(60)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = processes_of(process.pid)
        assert len(found) == 2 and found[0] == process.pid
        assert pss_mb(process.pid) > 40 > pss_mb(found[1]) - 40
        assert cpu_seconds(process.pid) >= cpu_seconds(found[1]) > 0
        assert acceptors_of(process.pid) == 1
        for pid in reversed(found):
            subprocess.run(["kill", "-9", str(pid)], check=False)
    with pytest.raises(ProcessLookupError):
        processes_of(process.pid)


def test_a_folder_without_the_source_is_no_earlier_commit(tmp_path: Path) -> None:
    """A checkout is used only if its source is what runs."""
    with pytest.raises(ValueError, match="no checkout"):
        checkout(tmp_path)


@pytest.mark.slow
def test_a_checkout_is_served_by_its_own_source(tmp_path: Path) -> None:
    """The server of a checkout stores events under a key of its own making, and is named by its commit."""
    earlier = checkout(ROOT)
    assert re.fullmatch(r"[0-9a-f]{10} of [0-9-]{10}", earlier.name)
    event = ndjson(of_one_tenant(Shape(events=1)))
    with earlier.serving(tmp_path / "whence.db") as running:
        assert ask(running, "POST", "/api/v1/events", event).status == 201
        assert Path(f"/proc/{running.pid}/environ").read_bytes().count(f"PYTHONPATH={ROOT}/src".encode()) == 1


@pytest.mark.slow
def test_a_server_says_how_many_of_its_processes_answer(tmp_path: Path) -> None:
    """With two, they, the writer, the follower and the supervisor count for the memory; all end with the block."""
    with whence(tmp_path / "whence.db", processes=2) as running:
        assert running.acceptors == 2
        pids = processes_of(running.pid)
        assert len(pids) == 5
        assert running.memory_mb()["now"] > pss_mb(pids[1])
        assert running.memory_mb()["highest"] == max(running.samples)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with whence(tmp_path / "whence.db", processes=1) as running:
        assert (running.acceptors, processes_of(running.pid)) == (1, [running.pid])


def test_samples_belong_to_one_server() -> None:
    """Two servers do not share their samples of memory."""
    one, other = Running(1, 1, ""), Running(2, 2, "")
    one.samples.append(1.0)
    assert other.samples == []
