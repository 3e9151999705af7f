"""`completion`. What zsh and fish make of the scripts is tried where they are installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import WITHOUT_SERVER, Cli
from tests.cli.terminals import dialogue
from tests.documents import code_of
from whence import __version__
from whence.cli import COMMANDS
from whence.cli.first_run import program

CHECKS = {"bash": ("bash", "-n"), "zsh": ("zsh", "-n"), "fish": ("fish", "--no-execute")}


@pytest.mark.parametrize("shell", CHECKS)
def test_each_shell_gets_a_script_of_all_commands(cli: Cli, shell: str) -> None:
    """It names every command and its options, and the shell accepts it, where it is installed."""
    script = cli.ok("completion", shell).out
    assert all(name in script for name in (*COMMANDS, "last-failed", "create"))
    if shutil.which(CHECKS[shell][0]):
        subprocess.run(CHECKS[shell], input=script, text=True, check=True, capture_output=True, timeout=60)


def test_bash_completes_commands_options_and_values(cli: Cli) -> None:
    """As a user sees it who presses the tab key."""
    script = cli.ok("completion", "bash").out
    for words, wanted in (
        ("whence fl", ["flow", "flows"]),
        ("whence why --last", ["--last-failed"]),
        ("whence trace --direction u", ["up"]),
        ("whence key r", ["revoke"]),
    ):
        line = words.split()
        ask = f"{script}\nCOMP_WORDS=({' '.join(line)}); COMP_CWORD={len(line) - 1}; _whence; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, timeout=60)
        assert (sorted(done.stdout.split()), done.stderr) == (wanted, ""), words


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes_commands_options_and_values(cli: Cli) -> None:
    """From the file that the help names, in an own home folder; and files where they can stand."""
    for name in ("flights.txt", "revoked.txt", "june.ndjson"):
        (cli.home / name).touch()
    folder = cli.home / "config" / "fish" / "completions"
    folder.mkdir(parents=True)
    (folder / "whence.fish").write_text(cli.ok("completion", "fish").out)
    for words, wanted in (
        ("whence fl", ["flow", "flows"]),
        ("whence why --last", ["--last-failed"]),
        ("whence trace --direction u", ["up"]),
        ("whence key r", ["revoke"]),
        ("whence import ju", ["june.ndjson"]),
    ):
        ask = ["fish", "--command", f"complete --do-complete '{words}'"]
        done = subprocess.run(ask, env=cli.env(), cwd=cli.home, capture_output=True, text=True, check=True, timeout=60)
        assert ([line.partition("\t")[0] for line in done.stdout.splitlines()], done.stderr) == (wanted, ""), words


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes_and_runs_this_program(cli: Cli) -> None:
    """After the commands of docs/operations.md. Without them, zsh takes the name for that of its builtin."""
    (code,) = code_of("docs/operations.md", "zsh")
    (cli.home / ".zshrc").write_text("autoload -Uz compinit\ncompinit -D -u\nPS1='> '\n")
    subprocess.run(["zsh", "-c", code], env=cli.env(), check=True, timeout=60)
    with dialogue(["zsh", "-i"], cli.env()) as typing:
        for typed, completed in (
            ("whence why --last\t", "--last-failed"),
            ("whence compl\t", "whence completion"),
            ("whence trace --direction d\t", "--direction down"),
            ("whence key rev\t", "whence key revoke"),
        ):
            typing.type(typed)
            typing.wait_for(completed)
            typing.type("\x15")  # Ctrl-U empties the line
        typing.type("whence version\n")
        typing.wait_for(rf"{__version__}\r\n")


@pytest.mark.parametrize(("shell", "typed"), [("/bin/zsh", "command whence"), ("/bin/bash", "whence"), ("", "whence")])
def test_users_of_zsh_read_how_to_reach_the_program(monkeypatch: pytest.MonkeyPatch, shell: str, typed: str) -> None:
    """What `serve` and `demo` print can be pasted, also where the shell has a builtin of that name."""
    own = Path(sys.executable).with_name("whence")
    monkeypatch.setattr(sys, "argv", [str(own)])
    monkeypatch.setenv("PATH", str(own.parent))
    monkeypatch.setenv("SHELL", shell)
    assert program() == typed


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes_from_a_folder_of_functions_too(cli: Cli) -> None:
    """As a packager installs the script: the file is the function."""
    (cli.home / "functions").mkdir()
    (cli.home / "functions" / "_whence").write_text(cli.ok("completion", "zsh").out)
    start = "fpath=(~/functions $fpath)\nautoload -Uz compinit\ncompinit -D -u\nPS1='> '\n"
    (cli.home / ".zshrc").write_text(start)
    with dialogue(["zsh", "-i"], cli.env()) as typing:
        typing.type("whence why --last\t")
        typing.wait_for("--last-failed")


def test_without_the_server_the_script_has_the_other_commands(cli: Cli) -> None:
    """Those of the client; and a shell that nobody supports is a usage error."""
    script = Cli(cli.home, WITHOUT_SERVER).ok("completion", "fish").out
    assert "last-failed" in script and "tls-cert" not in script
    assert "SHELL" in cli.fails(2, "completion", "tcsh")
