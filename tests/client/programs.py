"""Programs that emit events in processes of their own, and a server that restarts at the same address."""

import functools
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.running import Running
from whence.permissions import READ, WRITE

OWN_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"

every_python = pytest.mark.parametrize(
    "python",
    [
        pytest.param(name, marks=() if name == OWN_PYTHON else pytest.mark.slow)
        for name in ("python3.11", "python3.12", "python3.13")
    ],
)
"""Runs a test with each of these interpreters that is on PATH and has what the client needs.

It is for programs whose behaviour the interpreter decides: how it exits, forks, starts threads and runs handlers.
"""

_SOURCE = str(Path(__file__).parents[2] / "src")

PRELUDE = """
import os, signal, sys, threading
import whence.client.emitter as emitter
from whence.client import Whence
RUN = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"
def emit(log, actor, **more):
    return log.emit("action_run.completed", actor=("agent", actor), resource=("action_run", RUN), **more)
def note(*words):
    os.write(1, (" ".join(words) + "\\n").encode())
"""


class RestartableServer(Running):
    """A server that keeps its port when it is restarted."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder)
        self.port = port
        self.base_url = f"http://127.0.0.1:{self.port}"

    def start(self, around: Any = ()) -> None:
        self.starts += 1
        self.log = self.folder / f"server-{self.starts}.log"
        code = "import sys; from whence.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "serve", "--store", self.url, "--port", str(self.port)]
        known = {name: value for name, value in os.environ.items() if not name.startswith("WHENCE_")}
        settings = {"WHENCE_LOG_LEVEL": "error", "XDG_CONFIG_HOME": str(self.folder / "config")}
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=known | settings | self.variables
            )

    def await_start(self) -> None:
        self.address = self._await_address(self.log)

    def writer(self) -> str:
        return self.key(READ, WRITE)


def environment(url: str, key: str, home: Path) -> dict[str, str]:
    """The environment of a program: its server and its state directory."""
    return os.environ | {"WHENCE_URL": url, "WHENCE_API_KEY": key, "XDG_STATE_HOME": str(home)}


def start_program(
    code: str, env: dict[str, str], prelude: str = "", *, python: str = OWN_PYTHON, first: str = ""
) -> "subprocess.Popen[str]":
    """Start a program that runs `prelude` and then `code`. It runs `first` before it imports the client.

    `python` is the name of an interpreter; the test is skipped where that is missing.
    """
    text = "\n".join((first, PRELUDE, textwrap.dedent(prelude), textwrap.dedent(code)))
    return subprocess.Popen(
        [_interpreter(python), "-c", text],
        env=env if python == OWN_PYTHON else env | {"PYTHONPATH": _SOURCE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_program(
    code: str, env: dict[str, str], prelude: str = "", *, python: str = OWN_PYTHON
) -> tuple[int, list[str], str]:
    """Run a program to its end: its exit code, the lines of stdout, and stderr."""
    process = start_program(code, env, prelude, python=python)
    out, err = process.communicate(timeout=120)
    return process.returncode, out.splitlines(), err


@functools.cache
def _interpreter(name: str) -> str:
    """The path of a Python that can import the client."""
    if name == OWN_PYTHON:
        return sys.executable
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on PATH")
    check = [path, "-c", "import httpx2, msgspec, platformdirs"]
    if subprocess.run(check, capture_output=True, timeout=60, check=False).returncode:
        pytest.skip(f"{name} has no httpx2, msgspec and platformdirs")
    return path
