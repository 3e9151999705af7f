"""A terminal with a shell in it, for tests of what a user types and sees."""

import contextlib
import fcntl
import os
import pty
import re
import secrets
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

COLUMNS, ROWS = 100, 1_000
"""The size of the terminals. They are so high that no pager starts."""

SECONDS_MAX = 60.0

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A shell that keeps its folder and its variables between commands, as a user's does."""

    def __init__(self, folder: Path, environ: Mapping[str, str], columns: int = COLUMNS) -> None:
        """`environ` is the whole environment, without COLUMNS and LINES."""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        known = {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES")}
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=known | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(theirs)
        self._shown = b""

    @property
    def shown(self) -> str:
        """Everything that was shown since the last command, without colours."""
        return _COLOUR.sub("", self.coloured)

    @property
    def coloured(self) -> str:
        """The same with its colours."""
        return self._shown.decode("utf-8", "replace").replace("\r\n", "\n")

    def start(self, command: str) -> None:
        """Type a command, and do not wait for its end."""
        assert self._shell.stdin is not None
        self._shown = b""
        self._shell.stdin.write(command.encode() + b"\n")
        self._shell.stdin.flush()

    def wait_for(self, pattern: str, seconds: float = SECONDS_MAX) -> "re.Match[str]":
        """The first match in what is shown; waits until there is one."""
        until = time.monotonic() + seconds
        while (found := re.search(pattern, self.shown)) is None:
            assert time.monotonic() < until, f"no {pattern} in: {self.shown}"
            self._read(until)
        return found

    def run(self, command: str, seconds: float = SECONDS_MAX) -> tuple[str, int]:
        """Type a command and wait for its end. Returns what was shown, without colours, and the exit code."""
        end = f"end-{secrets.token_hex(8)}"
        self.start(f"{command}\nprintf '%s %s\\n' {end[:4]}'{end[4:]}' $?")
        code = int(self.wait_for(rf"{end} (\d+)\n", seconds)[1])
        self._shown = self._shown.partition(end.encode())[0]
        return self.shown, code

    def settle(self, seconds: float = 0.5) -> None:
        """Read on until nothing more is shown for this long."""
        shown = None
        while shown != self._shown:
            shown = self._shown
            self._read(time.monotonic() + seconds)

    def interrupt(self, seconds: float = SECONDS_MAX) -> None:
        """Press Ctrl-C, close the input, and wait until all has ended, the shell too."""
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGINT)
        self._shell.wait(seconds)

    def close(self) -> None:
        """End whatever still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        os.close(self._ours)

    def _read(self, until: float) -> None:
        ready, _, _ = select.select([self._ours], [], [], max(0.0, until - time.monotonic()))
        if ready:
            self._shown += os.read(self._ours, 65_536)


@contextlib.contextmanager
def terminal(folder: Path, environ: Mapping[str, str], columns: int = COLUMNS) -> Iterator[Terminal]:
    """A terminal that is closed with the block."""
    opened = Terminal(folder, environ, columns)
    try:
        yield opened
    finally:
        opened.close()
