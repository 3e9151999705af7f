"""Runs the program on a real terminal, as a pty is, of a given size."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from contextlib import suppress
from typing import Any

from tests.cli.program import SECONDS_MAX, Cli

__all__ = ["shown_on_a_terminal"]


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
