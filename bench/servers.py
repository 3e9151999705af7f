"""Start the servers that are measured, each in its own process on this machine: Whence, its limits and the peers."""

import asyncio
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bench.build_store import TENANT
from bench.process_tree import acceptors_of, cpu_seconds, pss_mb
from bench.static_app import Answer
from whence.permissions import ADMIN, READ, WRITE, new_api_key
from whence.storage import create_store

__all__ = [
    "Running",
    "ask",
    "fastapi_environment",
    "fastapi_peer",
    "own_environment",
    "peer_python",
    "prefect_environment",
    "prefect_peer",
    "started",
    "static",
    "whence",
]

ROOT = Path(__file__).parents[1]
VENVS = ROOT / "bench" / ".venvs"
PEER_KEY = "peer-key-of-the-benchmark"
_START_S = 90.0
_STOP_S = 30.0
_ADDRESS = re.compile(r"https?://127\.0\.0\.1:\d+")


class Running(msgspec.Struct, frozen=True):
    """A running server: its port, its first process, the key to use, and its memory whenever that was read."""

    port: int
    pid: int
    key: str
    start_s: float = 0.0
    samples: list[float] = []

    @property
    def acceptors(self) -> int:
        """How many of its processes answer requests."""
        return acceptors_of(self.pid)

    def cpu_seconds(self) -> float:
        """The processor time of all its processes so far."""
        return cpu_seconds(self.pid)

    def memory_mb(self) -> dict[str, float]:
        """The PSS of all its processes in MB: now, and the highest of the samples that were read so far."""
        self.samples.append(round(pss_mb(self.pid), 1))
        return {"now": self.samples[-1], "highest": max(self.samples)}


def ask(running: Running, method: str, path: str, body: bytes | None = None, media: str = "application/json") -> Answer:
    """Send one request and return the response."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    with contextlib.closing(connection):
        headers = {"X-API-Key": running.key} | ({"Content-Type": media} if body is not None else {})
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, [(name.lower(), value) for name, value in answer.getheaders()], answer.read())


@contextlib.contextmanager
def whence(store: Path, url: str = "", processes: int | None = None) -> Iterator[Running]:
    """Run `whence serve` on a file, with default settings. Its output goes to a file next to the store.

    With a `url` it serves that store, and `store` only names the other files. `processes` is how many answer requests;
    by default the server chooses.
    """
    url = url or f"sqlite:///{store}"
    key = asyncio.run(_new_key(url))
    environment = own_environment(store)
    if processes is not None:
        environment["WHENCE_PROCESSES"] = str(processes)
    command = [str(Path(sys.executable).with_name("whence")), "serve", "--store", url, "--port", "0"]
    with started(command, store.with_name(store.name + ".log"), environment, key, stop_one=True) as running:
        yield running


def own_environment(store: Path) -> dict[str, str]:
    """The environment without settings of Whence, and with a home folder beside the store."""
    home = store.with_name(store.name + ".home")
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WHENCE_")}
    return environment | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_DATA_HOME": str(home)}


async def _new_key(url: str) -> str:
    """Create a key for the tenant in the store."""
    opened = create_store(url, serving=False)
    secret, key = new_api_key(TENANT, (READ, WRITE, ADMIN), time.time_ns() // 1_000)
    try:
        await opened.credentials.put_key(key)
    finally:
        await opened.close()
    return secret


@contextlib.contextmanager
def static(folder: Path, answers: dict[str, Answer], kind: str) -> Iterator[Running]:
    """Run a server that answers the same bytes from memory, `bare` or `routed`; see `static_app`."""
    file = folder / f"answers-{kind}.json"
    file.write_bytes(msgspec.json.encode(answers))
    command = [sys.executable, "-m", "bench.static_app", str(file), kind]
    with started(command, folder / f"static-{kind}.log", dict(os.environ), "whk_none") as running:
        yield running


@contextlib.contextmanager
def fastapi_peer(folder: Path) -> Iterator[Running]:
    """Run the FastAPI and SQLAlchemy version of the same contract, on a file in `folder`."""
    environment = fastapi_environment(folder / "peer.db")
    port = _free_port()
    command = [str(peer_python("fastapi_sqlalchemy")), "-m", "uvicorn", "app:app", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    place = ROOT / "bench" / "peers" / "fastapi_sqlalchemy"
    with started(command, folder / "fastapi.log", environment, PEER_KEY, place) as running:
        yield running


def fastapi_environment(database: Path) -> dict[str, str]:
    """The settings of the FastAPI peer."""
    return os.environ | {"PEER_DATABASE": str(database), "PEER_KEY": PEER_KEY, "PEER_TENANT": TENANT}


@contextlib.contextmanager
def prefect_peer(folder: Path) -> Iterator[Running]:
    """Run Prefect's own server on the SQLite file `prefect.db` in `folder`."""
    port = _free_port()
    command = [str(peer_python("prefect")), "-m", "prefect", "server", "start", "--no-ui", "--host", "127.0.0.1"]
    environment = prefect_environment(folder / "prefect", folder / "prefect.db")
    began = time.monotonic()
    with started([*command, "--port", str(port)], folder / "prefect.log", environment, "", port=port) as running:
        _until_healthy(running, "/api/health")
        yield msgspec.structs.replace(running, start_s=time.monotonic() - began)


def prefect_environment(home: Path, database: Path) -> dict[str, str]:
    """Prefect's settings: its defaults, without analytics and with a long retention.

    By default Prefect deletes events after 7 days, and the workload is older than that.
    """
    return os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P3650D",
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
    }


def peer_python(name: str) -> Path:
    """The interpreter of a peer's environment. Raises FileNotFoundError when it does not exist."""
    python = VENVS / name / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{python} does not exist; make the peers' environments with `make bench-peers`.")
    return python


def _free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started(
    command: Sequence[str],
    log: Path,
    environment: dict[str, str],
    key: str,
    place: Path = ROOT,
    port: int = 0,
    *,
    stop_one: bool = False,
) -> Iterator[Running]:
    """Run a server, after waiting for the address that it prints unless `port` is given. Stops its process group.

    `stop_one` is for servers that stop their other processes themselves: only the first one gets the signal.
    """
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=place, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        port = port or _printed_port(process, log)
        yield Running(port, process.pid, key, time.monotonic() - began)
    finally:
        with contextlib.suppress(ProcessLookupError):
            (os.kill if stop_one else os.killpg)(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _printed_port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        found = _ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return urlsplit(found[0]).port or 0
        time.sleep(0.005)
    output = log.read_text(encoding="utf-8", errors="replace")[-2_000:]
    raise RuntimeError(f"A server did not start. Its output:\n{output}")


def _until_healthy(running: Running, path: str) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ask(running, "GET", path).status == 200:
                return
        time.sleep(0.02)
    raise RuntimeError(f"The server on port {running.port} did not become healthy.")
