"""`completion` and `open`."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.cli.program import WITHOUT_SERVER, Cli
from whence.cli import COMMANDS

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


def test_without_the_server_the_script_has_the_other_commands(cli: Cli) -> None:
    """Those of the client; and a shell that nobody supports is a usage error."""
    script = Cli(cli.home, WITHOUT_SERVER).ok("completion", "fish").out
    assert "last-failed" in script and "tls-cert" not in script
    assert "SHELL" in cli.fails(2, "completion", "tcsh")


class Page(http.server.BaseHTTPRequestHandler):
    """A server whose console is at its root."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def console() -> Iterator[str]:
    """The address of a server that has a console."""
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_open_opens_the_console_or_the_reference(user: Cli, console: str) -> None:
    """Whichever there is, in the browser that BROWSER names; the address is printed too."""
    url = user.environ["WHENCE_URL"]
    for arguments, page in (((), f"{url}/docs"), (("--url", f"{console}/"), f"{console}/")):
        ran = user.ok("open", *arguments, env={"BROWSER": "true"})
        assert (ran.out, ran.err) == (f"{page}\n", "")
    ran = user.run("open", env={"BROWSER": "false"})
    assert (ran.code, ran.out) == (1, f"{url}/docs\n") and "No browser was found here." in ran.err
    assert "whence serve" in user.fails(6, "open", "--url", "http://127.0.0.1:1")
