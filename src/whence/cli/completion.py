"""The command `completion`: prints a script that lets a shell complete commands and options."""

import importlib
from typing import Annotated, Literal

from cyclopts import App, Parameter

from whence.cli import COMMANDS
from whence.cli.terminal import out

__all__ = ["completion"]


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL", help="The shell that reads the script.")],
    /,
) -> None:
    """Print a completion script for a shell.

    Save it where the shell looks for such scripts, and start a new shell.
    """
    app = App(name="whence", help_format="plaintext", version_flags=["--version"])
    for name, (import_path, summary) in COMMANDS.items():
        if _is_installed(import_path):
            app.command(import_path, name=name, help=summary)
    out(app.generate_completion(shell=shell).rstrip())


def _is_installed(import_path: str) -> bool:
    """Whether the command can run here. Some need the extra `server`."""
    try:
        importlib.import_module(import_path.partition(":")[0])
    except ImportError:
        return False
    return True
