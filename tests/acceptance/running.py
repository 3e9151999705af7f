"""The real server in a separate process: started, measured, killed, and restarted on the same file."""

import asyncio
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.tools import missing
from whence.permissions import READ, WRITE, key_hash, new_api_key
from whence.storage import Credentials, create_store

STARTED_S = 30
PROCESSES = int(os.environ.get("WHENCE_TEST_PROCESSES", "1"))
"""How many processes the servers have, unless a test says otherwise."""

MORE_MIB = 120 * (PROCESSES - 1)
"""What they may take, beside the memory of a server that is one process."""

ONE_PROCESS = {"WHENCE_PROCESSES": "1"}
"""For tests of what is exact in one process only, or of mutants that another process would hide."""

_SERVING = re.compile(rb"Serving .* at (http://\S+)")
_WHENCE = "import sys; from whence.cli import main; sys.exit(main())"


def seed() -> int:
    """The seed of this run, from WHENCE_TEST_SEED or random. It is printed, so that a run can be repeated."""
    given = os.environ.get("WHENCE_TEST_SEED")
    chosen = int(given) if given else int.from_bytes(os.urandom(4), "big")
    print(f"seed {chosen} (again with WHENCE_TEST_SEED={chosen})")
    return chosen


def tell(record_property: Callable[[str, object], None], figures: str) -> None:
    """Print the figures of a test, and list them at the end of the run."""
    print(figures)
    record_property("figures", figures)


class Running:
    """A store in a folder, and the server process on it, which may be started and killed any number of times."""

    def __init__(self, folder: Path, *, url: str | None = None, mutant: Path | None = None, **variables: str) -> None:
        """`url` is set for a store outside of the folder; `mutant` is a script that breaks the program before it runs;
        `variables` are further settings."""
        self.folder = folder
        self.url = url or f"sqlite:///{folder}/whence.db"
        self.mutant = mutant
        self.variables = variables
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ("127.0.0.1", 0)
        self.flags: Sequence[str] = ("--port", "0")
        self.starts = 0

    def key(self, *scopes: str, tenant: str = "acme") -> str:
        """Create an API key directly in the store. Returns its secret."""
        secret, key = new_api_key(tenant, scopes or (READ, WRITE), time.time_ns() // 1000)
        self._change_keys(lambda keys: keys.put_key(key))
        return secret

    def revoke(self, secret: str, tenant: str = "acme") -> None:
        """Revoke an API key directly in the store."""

        async def revoke(keys: Credentials) -> None:
            key = await keys.find_key(key_hash(secret) or b"")
            assert key is not None and await keys.revoke_key(tenant, key.id, time.time_ns() // 1000)

        self._change_keys(revoke)

    def _change_keys(self, change: Callable[[Credentials], Awaitable[None]]) -> None:
        async def changing() -> None:
            store = create_store(self.url, serving=False)
            try:
                await change(store.credentials)
            finally:
                await store.close()

        asyncio.run(changing())

    def start(self, around: Sequence[str] = ()) -> None:
        """Start the server and return once it answers. `around` is a wrapping command, such as strace."""
        assert self.process is None
        self.starts += 1
        log = self.folder / f"server-{self.starts}.log"
        program = [str(self.mutant)] if self.mutant else ["-c", _WHENCE]
        command = [*around, sys.executable, *program, "serve", "--store", self.url, *self.flags]
        known = {name: value for name, value in os.environ.items() if not name.startswith("WHENCE_")}
        settings = {
            "WHENCE_LOG_LEVEL": "error",
            "WHENCE_PROCESSES": str(PROCESSES),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=known | settings | self.variables,
            )
        self.address = self._await_address(log)
        self.log = log

    def _await_address(self, log: Path) -> tuple[str, int]:
        until = time.monotonic() + STARTED_S
        while time.monotonic() < until and self.process is not None and self.process.poll() is None:
            found = _SERVING.search(log.read_bytes())
            if found:
                return "127.0.0.1", int(found[1].rsplit(b":", 1)[1])
            time.sleep(0.005)
        raise AssertionError(f"the server did not start: {log.read_text()}")

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """Send SIGKILL, and return once the process has ended."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)
        self.process = None

    def terminate(self, patience_s: float = 20.0) -> tuple[int, float]:
        """Send SIGTERM. Returns the exit code and the seconds until the end; kills the process when it takes too
        long."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL, time.monotonic() - started
        self.process = None
        return code, time.monotonic() - started

    def processes(self) -> dict[str, int]:
        """The processes that the supervisor has started, by name: their ids. None if the server is one process."""
        found = {}
        for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                found[Path(f"/proc/{pid}/comm").read_text().strip()] = int(pid)
        return found

    def memory(self, name: str = "VmHWM") -> int:
        """The memory of the server in MiB: VmHWM is the peak resident size, VmRSS the current one.

        Of several processes, each counts only its part of what they share now.
        """
        if not Path("/proc/self/smaps_rollup").exists():
            missing("/proc")
        pids = (self.pid, *self.processes().values())
        if len(pids) == 1:
            return _kb(f"/proc/{self.pid}/status", name) // 1024
        shared = [_kb(f"/proc/{pid}/smaps_rollup", "Rss") - _kb(f"/proc/{pid}/smaps_rollup", "Pss") for pid in pids]
        return (sum(_kb(f"/proc/{pid}/status", name) for pid in pids) - sum(shared)) // 1024

    def connect(self, timeout: float = 20.0) -> http.client.HTTPConnection:
        """A keep-alive connection."""
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def log_text(self) -> str:
        """The server's log since its last start."""
        return self.log.read_text(errors="replace")


def _kb(path: str, name: str) -> int:
    """A number of kB in a file of /proc."""
    text = Path(path).read_text()
    found = re.search(rf"^{name}:\s+([0-9]+) kB", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1])


@contextlib.contextmanager
def running(**given: Any) -> Iterator[Running]:
    """A server on a fresh store, not yet started; ended with the block."""
    with tempfile.TemporaryDirectory(prefix="whence-test-") as folder:
        server = Running(Path(folder), **given)
        try:
            yield server
        finally:
            if server.process is not None:
                server.kill()
