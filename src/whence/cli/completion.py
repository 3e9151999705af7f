"""The command `completion`: prints a script that lets a shell complete commands and options."""

import importlib
from typing import Annotated, Literal

from cyclopts import App, Parameter

from whence.cli import COMMANDS
from whence.cli.terminal import out

__all__ = ["completion"]

_ZSH_END = """
if [[ $funcstack[1] == _whence ]]; then
  _cyclopts_whence "$@"  # as a file of fpath, this is the function of that name
else
  compdef _cyclopts_whence whence
  alias whence='command whence'  # zsh has a builtin of this name
fi"""

_FISH_END = "".join(
    f"\ncomplete --command whence --no-files --condition '__fish_whence_using_command{names}'"
    for names in ("", " key", " profile")  # where the name of a command comes next
)


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL", help="The shell that reads the script.")],
    /,
) -> None:
    """Print a completion script for a shell.

    For bash and fish, save it where the shell looks for such scripts, and start a new shell. For zsh,
    save it and source it at the end of ~/.zshrc, after compinit. There it also makes whence mean this
    program: zsh has a builtin of that name.
    """
    app = App(name="whence", help_format="plaintext", version_flags=["--version"])
    for name, (import_path, summary) in COMMANDS.items():
        if _is_installed(import_path):
            app.command(import_path, name=name, help=summary)
    out(app.generate_completion(shell=shell).rstrip() + {"zsh": _ZSH_END, "fish": _FISH_END}.get(shell, ""))


def _is_installed(import_path: str) -> bool:
    """Whether the command can run here. Some need the extra `server`."""
    try:
        importlib.import_module(import_path.partition(":")[0])
    except ImportError:
        return False
    return True
