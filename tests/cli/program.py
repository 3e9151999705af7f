"""Runs the program as a user does: in its own process, with its own home folder, and its output in pipes."""

import atexit
import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import msgspec

from tests.cli.fork_server import ForkServer

SECONDS_MAX = 60
SMALL_BYTES = 30_000
"""Arguments and input of this size fit into a message and into a pipe that nobody reads yet."""
POLL_S = 0.01

MAIN = "import sys; from whence.cli import main; sys.exit(main())"

WITHOUT_SERVER = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"apsw", "cryptography", "httptools", "litestar", "jwt", "structlog", "uvicorn",
                                      "uvloop", "zstandard"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""
"""A prelude that simulates an installation without the extra `server`."""

WITHOUT_CLI = WITHOUT_SERVER.replace('{"apsw",', '{"cyclopts", "rich", "apsw",')
"""A prelude that simulates an installation of the client alone."""

STEERING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What no output may contain: control characters except line ends, and what hides text or changes its direction."""

KEY = re.compile(r"whk_[0-9A-Za-z]+")


@dataclass(frozen=True)
class Ran:
    """The exit code and the output of a run."""

    code: int
    raw_out: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw_out.decode()

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.raw_out)


@dataclass(frozen=True)
class Cli:
    """The program with a home folder and an environment. `prelude` is code that runs in its process first. So is
    `mutant`, for which the libraries may have been imported before."""

    home: Path
    prelude: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    mutant: str = ""

    def given(self, **variables: str | None) -> Self:
        """The same program with more WHENCE_ variables, named without the prefix; None removes a variable."""
        named = {f"WHENCE_{name.upper()}": value for name, value in variables.items()}
        merged = {**self.environ, **named}
        return replace(self, environ={name: value for name, value in merged.items() if value is not None})

    def prepared(self, code: str) -> Self:
        """The same program in a new process each time, which runs this code after that of its mutant."""
        return replace(self, prelude="\n".join((self.prelude, self.mutant, code)), mutant="")

    def env(self) -> dict[str, str]:
        """An environment that keeps the program away from the files of the user."""
        places = {
            "HOME": "",
            "XDG_CONFIG_HOME": "config",
            "XDG_DATA_HOME": "data",
            "XDG_CACHE_HOME": "cache",
            "TMPDIR": "tmp",
        }
        (self.home / "tmp").mkdir(parents=True, exist_ok=True)
        made = {name: str(self.home / place) for name, place in places.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "LANG": "C.UTF-8", "WHENCE_PROCESSES": "1", **made, **self.environ}

    def command(self, *arguments: str | Path) -> list[str | Path]:
        """The script that pip installed; with code that runs first, the function that the script calls."""
        if self.prelude or self.mutant:
            return [sys.executable, "-c", "\n".join((self.prelude, self.mutant, MAIN)), *arguments]
        return [Path(sys.executable).with_name("whence"), *arguments]

    def run(self, *arguments: Any, stdin: bytes = b"", **options: Any) -> Ran:
        """Run it to its end, and check that it printed no traceback and nothing that controls a terminal.

        A run that needs nothing special is forked from a process that has imported the commands.
        """
        env = self.env() | options.pop("env", {})
        size = len(stdin) + sum(len(os.fsencode(each)) for each in arguments)
        if self.prelude or options.keys() - {"cwd"} or size > SMALL_BYTES or _is_steering_python(env):
            done = subprocess.run(
                self.command(*arguments),
                input=stdin,
                stdout=options.pop("stdout", subprocess.PIPE),
                stderr=options.pop("stderr", subprocess.PIPE),
                env=env,
                timeout=SECONDS_MAX,
                check=False,
                **options,
            )
            ran = Ran(done.returncode, done.stdout or b"", (done.stderr or b"").decode())
        else:
            cwd = os.path.abspath(options.get("cwd", "."))
            ran = _forked([os.fsdecode(each) for each in arguments], stdin, env, cwd, self.mutant)
        if "WHENCE_DEBUG" not in self.environ:
            check_output(ran)
        return ran

    def ok(self, *arguments: Any, **options: Any) -> Ran:
        """Run it, and check that it succeeds."""
        ran = self.run(*arguments, **options)
        assert ran.code == 0, ran
        return ran

    def fails(self, code: int, *arguments: Any, **options: Any) -> str:
        """Run it, and check that it fails with this code and an empty stdout. Returns the one line of stderr."""
        ran = self.run(*arguments, **options)
        assert (ran.code, ran.out) == (code, ""), ran
        (sentence,) = ran.err.splitlines()
        assert sentence.strip(), ran
        return sentence

    def start(self, *arguments: Any, stdout: Any = subprocess.DEVNULL, stderr: Any = subprocess.DEVNULL) -> Any:
        """Start it in its own process group."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=self.env(),
            start_new_session=True,
        )


def _is_steering_python(env: Mapping[str, str]) -> bool:
    """Whether a variable has an effect only when an interpreter starts."""
    return env["LANG"] != "C.UTF-8" or any(name.startswith(("PYTHON", "LC_", "COVERAGE", "LD_")) for name in env)


@functools.cache
def _fork_server(only_libraries: bool) -> ForkServer:
    server = ForkServer(only_libraries)
    atexit.register(server.close)
    return server


def _forked(arguments: Sequence[str], stdin: bytes, env: Mapping[str, str], cwd: str, mutant: str) -> Ran:
    reading, writing = os.pipe()
    os.write(writing, stdin)
    os.close(writing)
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            files = [reading, out.fileno(), err.fileno()]
            server = _fork_server(only_libraries=bool(mutant))
            code = server.run(arguments, env, cwd, mutant, files, SECONDS_MAX)
            out.seek(0)
            err.seek(0)
            return Ran(code, out.read(), err.read().decode())
    finally:
        os.close(reading)


def check_output(ran: Ran) -> None:
    """No traceback, no report of an unexpected error, no escape sequence."""
    for text in (ran.raw_out.decode("utf-8", "replace"), ran.err):
        assert "Traceback" not in text and "Exception ignored" not in text, ran
        assert "Unexpected error" not in text, ran
        found = STEERING.search(text)
        assert found is None, (found, ran)


@dataclass
class Serving:
    """A running `whence serve` or `whence demo`."""

    process: "subprocess.Popen[bytes]"
    log: Path
    url: str = ""
    key: str = ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def said(self) -> str:
        """What it wrote to stderr up to now."""
        return self.log.read_text()

    def wait_for(self, pattern: str) -> "re.Match[str]":
        """The first match in its output; waits until there is one."""
        until = time.monotonic() + SECONDS_MAX
        while True:
            over = self.process.poll() is not None
            found = re.search(pattern, self.said)
            if found is not None:
                return found
            assert not over and time.monotonic() < until, self.said
            time.sleep(POLL_S)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait. Returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS_MAX)


def first_key(cli: Cli, serving: Serving) -> str:
    """The key that `demo`, or the server of a new log, made and saved in its profile; else empty."""
    makes_one = re.search("A new log|events: what", serving.said) is not None
    if not makes_one or "now use" not in serving.wait_for("Commands now use|Cannot save")[0]:
        return ""
    profiles = msgspec.json.decode((cli.home / "config" / "whence" / "profiles.json").read_bytes())
    return str(profiles["profiles"][profiles["current"]]["api_key"])


@contextlib.contextmanager
def running(cli: Cli, *arguments: Any) -> Iterator[Serving]:
    """Run a serving command until the block ends. Enters the block once its address is known."""
    log = cli.home / f"said-{time.monotonic_ns()}.log"
    with log.open("wb") as stderr:
        serving = Serving(cli.given(log_level="error").start(*arguments, stderr=stderr), log)
    try:
        if arguments[0] == "demo":
            serving.url = serving.wait_for(r"Address +(\S+)\n")[1]
        else:
            serving.url = serving.wait_for(r"Serving .* at (\S+)\n")[1]
        serving.key = first_key(cli, serving)
        yield serving
    finally:
        serving.process.kill()
        serving.process.wait()


def peak_memory_kib(pid: int) -> int:
    """The peak resident size of a process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def ndjson(events: Sequence[Mapping[str, Any]]) -> bytes:
    """The events, one a line."""
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)
