"""Long output goes through a pager, as git's does: on a terminal, once it is longer than the terminal is high."""

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, TextIO

from cyclopts import Parameter
from rich.cells import cell_len

__all__ = ["NoPager", "paging"]

NoPager = Annotated[bool, Parameter(name="--no-pager", negative="", help="Print long output without a pager.")]

_DEFAULTS = {"LESS": "FRX", "LV": "-c"}
"""As git sets them: quit if all fits on one screen, keep colours, and leave the text on the terminal."""

_NO_PAGER = ("", "cat")
_COLOURS = re.compile("\x1b\\[[0-9;]*m")


@contextlib.contextmanager
def paging(no_pager: bool = False) -> Iterator[None]:
    """Send what is printed in this block through a pager, if stdout is a terminal and the text is longer than it.

    `WHENCE_PAGER` names the pager, else `PAGER`, else it is less. A reader who quits the pager ends the block.
    """
    terminal = sys.stdout
    command = None if no_pager or terminal is None or not terminal.isatty() else _command(os.environ)
    if command is None:
        yield
        return
    paged = _Paged(terminal, command)
    sys.stdout = paged
    try:
        yield
    except BrokenPipeError:
        if not paged.started:
            raise
    finally:
        sys.stdout = terminal
        paged.finish()


def _command(environ: Mapping[str, str]) -> list[str] | None:
    """The pager with its arguments; None if none is wanted, or none is installed."""
    named = environ.get("WHENCE_PAGER", environ.get("PAGER", "less"))
    try:
        words = shlex.split(named)
    except ValueError:  # an unclosed quotation mark
        return None
    if " ".join(words) in _NO_PAGER or environ.get("TERM", "dumb") == "dumb":
        return None
    return words if shutil.which(words[0]) else None


class _Paged(io.TextIOBase):
    """Keeps what is written, until it is more than the terminal shows; from then on all of it goes to the pager."""

    def __init__(self, terminal: TextIO, command: list[str]) -> None:
        self._terminal, self._command = terminal, command
        self._columns, self._rows = shutil.get_terminal_size()
        self._kept: list[str] = []
        self._kept_rows = 0
        self._pager: subprocess.Popen[str] | None = None

    @property
    def started(self) -> bool:
        """Whether the pager runs."""
        return self._pager is not None

    def isatty(self) -> bool:
        """Whether a person reads the output. They do."""
        return True

    def write(self, text: str) -> int:
        """Keep the text, or send it to the pager. Raises BrokenPipeError after the reader has quit."""
        if self._pager is not None:
            self._send(text)
            return len(text)
        self._kept.append(text)
        lines = _COLOURS.sub("", text).split("\n")
        self._kept_rows += sum(max(cell_len(line) - 1, 0) // self._columns for line in lines) + len(lines) - 1
        if self._kept_rows >= self._rows:
            self._start()
        return len(text)

    def flush(self) -> None:
        """Show the reader what was sent up to now."""
        if self._pager is not None and self._pager.stdin is not None and not self._pager.stdin.closed:
            self._pager.stdin.flush()

    def finish(self) -> None:
        """Print what was kept, or wait until the reader has left the pager."""
        if self._pager is None:
            self._terminal.write("".join(self._kept))
            self._kept = []
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pager
        try:
            with contextlib.suppress(BrokenPipeError):
                if self._pager.stdin is not None:
                    self._pager.stdin.close()
            self._pager.wait()
        finally:
            signal.signal(signal.SIGINT, before)

    def _start(self) -> None:
        self._terminal.flush()
        try:
            self._pager = subprocess.Popen(  # noqa: S603  (the program that the user has chosen)
                self._command,
                stdin=subprocess.PIPE,
                env=_DEFAULTS | os.environ,
                encoding=self._terminal.encoding,
                errors="backslashreplace",
            )
        except OSError:  # it cannot be run after all
            self._rows = sys.maxsize
            return
        kept, self._kept = "".join(self._kept), []
        self._send(kept)

    def _send(self, text: str) -> None:
        if self._pager is not None and self._pager.stdin is not None:
            self._pager.stdin.write(text)
