"""Runs the program on a real terminal, as a pty is, of a given size."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tests.cli.program import SECONDS_MAX, Cli

__all__ = ["Dialogue", "dialogue", "shown_on_a_terminal"]


def shown_on_a_terminal(
    cli: Cli, *words: Any, rows: int = 24, columns: int = 80, typed: bytes = b"", **environ: str
) -> tuple[int, str]:
    """The exit code of a command, and what it shows on a terminal that is its stdin, stdout and stderr.

    `typed` is what the user types, from the beginning on.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        cli.command(*words),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=cli.env() | {"TERM": "xterm-256color"} | environ,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, typed)
    written = b""
    with suppress(OSError):  # the end of a terminal is an error
        while chunk := os.read(ours, 65_536):
            written += chunk
    os.close(ours)
    return process.wait(SECONDS_MAX), written.decode().replace("\r\n", "\n")


class Dialogue:
    """What a user types into a program on a terminal, and what it shows."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._shown = b""

    def type(self, text: str) -> None:
        """Type this, control characters too. What was shown before is forgotten."""
        self._shown = b""
        os.write(self._terminal, text.encode())

    def wait_for(self, pattern: str) -> None:
        """Wait until this is shown."""
        until = time.monotonic() + SECONDS_MAX
        while re.search(pattern, self._shown.decode("utf-8", "replace")) is None:
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"no {pattern} in: {self._shown!r}"
            self._shown += os.read(self._terminal, 65_536)


@contextmanager
def dialogue(command: Sequence[str], environ: Mapping[str, str]) -> Iterator[Dialogue]:
    """A program on a terminal of 80 columns, which is killed with the block."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Dialogue(ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
