"""What importing the client loads, and that its threads import nothing."""

import os
import subprocess
import sys
from pathlib import Path

from tests.client.fake_server import fake_server
from tests.client.programs import environment, every_python, run_program

SLOW = (
    "asyncio",
    "dataclasses",
    "email",
    "httpx2",
    "json",
    "platformdirs",
    "ssl",
    "tempfile",
    "urllib.request",
    "whence.flows",
)
"""Modules that are slow to load, and which a program that only imports the client need not wait for."""

NEW_MODULES = """
log = Whence(exit_timeout_s=20)
away = Whence("http://127.0.0.1:1", "whk_x", exit_timeout_s=0)
loaded = set(sys.modules)
emit(log, "sent")
note("sent", str(log.flush(10)))
emit(away, "kept")
away.close()
note("kept", str(away.stats().spooled))
note("imported", *sorted(set(sys.modules) - loaded))
"""


def test_importing_the_client_loads_nothing_slow() -> None:
    """What only a client needs is loaded by its constructor."""
    code = f"import sys; from whence import Whence; print(*sorted(set({SLOW}) & sys.modules.keys()))"
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=unmeasured)
    assert done.stdout == "\n"


@every_python
def test_the_threads_of_a_client_import_nothing(tmp_path: Path, python: str) -> None:
    """A child that is forked meanwhile would have half of the module. Sending and spilling load nothing more."""
    with fake_server() as server:
        env = environment(server.url, "whk_x", tmp_path)
        code, lines, _ = run_program(NEW_MODULES, env, python=python)
    assert (code, lines) == (0, ["sent True", "kept 1", "imported"])
