"""Programs that emit events in processes of their own, and a server that restarts at the same address."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.acceptance.running import Running
from whence.permissions import READ, WRITE

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

    def __init__(self, folder: Path, **given: Any) -> None:
        super().__init__(folder, **given)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
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
    code: str, env: dict[str, str], prelude: str = "", *, python: str = sys.executable, first: str = ""
) -> "subprocess.Popen[str]":
    """Start a program that runs `prelude` and then `code`. It runs `first` before it imports the client."""
    text = "\n".join((first, PRELUDE, textwrap.dedent(prelude), textwrap.dedent(code)))
    return subprocess.Popen(
        [python, "-c", text],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_program(code: str, env: dict[str, str], prelude: str = "") -> tuple[int, list[str], str]:
    """Run a program to its end: its exit code, the lines of stdout, and stderr."""
    process = start_program(code, env, prelude)
    out, err = process.communicate(timeout=120)
    return process.returncode, out.splitlines(), err
