"""The first minutes of a user: README.md and docs/tutorial.md, followed word for word from a fresh clone.

Every command of the two pages is typed into a terminal, and what is shown is compared with the page. The clone is
installed as a user does it, with packages from the configured index. npm fails, since nothing needs it.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.running import tell
from tests.acceptance.tools import missing
from tests.documents import ROOT, Step, blocks_of, is_shown, steps_of
from tests.ports import reserved_port
from tests.terminals import Terminal

FIRST_WHY_S = 120
"""What the time from the clone to the first `why` should be."""

PATIENCE_S = 420
"""How long the installation may take, on a busy machine and with a slow index, until the test fails."""

SERVERS = ("make demo", "make serve", "whence demo", "whence serve")
"""Commands that run until they are stopped. They are typed into the first terminal, and all others into the second."""

NOT_HERE = ("make test",)
"""Commands that are not typed: the tests themselves."""

_OF_THE_NETWORK = ("PIP_", "SSL_", "HTTP", "NO_PROXY", "CURL_")
"""The beginnings of the variables that say how to reach a package index."""

_CLONE = "git clone <this repository>"
_ADDRESS = "127.0.0.1:8700"
_FILE = re.compile(r"# (\w+\.py)\n")


class Reader:
    """A user who reads a page and does what it says, in two terminals."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.clone = folder / "whence"
        self.environ = _environ(folder, port)
        self.server: Terminal | None = None
        self.other: Terminal | None = None
        self.first_why_s: float | None = None
        self.wrong: list[str] = []
        self._started = time.monotonic()

    def follow(self, page: str) -> None:
        """Type each command of the page, in new terminals. What is not as the page shows it is added to `wrong`."""
        if self.other is not None:
            self.other.close()
            self.other = None
        for block in blocks_of(page):
            found = _FILE.match(block.code)
            if block.language == "python" and found is not None:
                (self.clone / found[1]).write_text(block.code)
            elif block.language == "console":
                for step in steps_of(block.code):
                    self._take(step, f"{page}:{block.line}")

    def close(self) -> None:
        """Stop the server, and close the terminals."""
        for terminal in (self.server, self.other):
            if terminal is not None:
                terminal.close()

    def _take(self, step: Step, where: str) -> None:
        command, expected = (text.replace(_ADDRESS, f"127.0.0.1:{self.port}") for text in (step.command, step.shown))
        if command in NOT_HERE:
            return
        if command.startswith(_CLONE):
            self._clone(command)
        elif command in SERVERS:
            self._serve(command, expected, where)
        else:
            if self.other is None:
                self.other = Terminal(self.clone, self.environ)
            shown, code = self.other.run(command)
            if command.startswith("whence why") and self.first_why_s is None:
                self.first_why_s = time.monotonic() - self._started
            if code != 0 or not is_shown(expected, shown):
                self.wrong.append(f"{where}: $ {command}\n{shown}(exit code {code})\nexpected:\n{expected}\n")

    def _clone(self, command: str) -> None:
        if self.clone.exists():  # from an earlier page
            return
        with_source = command.replace(_CLONE, f"git clone --quiet '{ROOT}'")
        terminal = Terminal(self.folder, self.environ)
        shown, code = terminal.run(with_source)
        terminal.close()
        assert code == 0, shown

    def _serve(self, command: str, expected: str, where: str) -> None:
        """Stop the server that runs, and start another one."""
        if self.server is not None:
            self.server.interrupt()
            self.server.close()
        self.server = Terminal(self.clone, self.environ)
        self.server.start(command)
        self.server.wait_for(
            "Stop with Ctrl-C" if command.endswith("demo") else r"Serving\s+\S+\s+at\s+http", PATIENCE_S
        )
        self.server.settle()
        if not is_shown(expected, self.server.shown):
            self.wrong.append(f"{where}: $ {command}\n{self.server.shown}\nexpected:\n{expected}\n")


def _environ(folder: Path, port: int) -> dict[str, str]:
    """The environment of a user with an empty home, in whose terminal no other Whence and no npm is found."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "npm").write_text("#!/bin/sh\nexit 1\n")
    (programs / "npm").chmod(0o755)
    active = os.environ.get("VIRTUAL_ENV", "")
    paths = [path for path in os.environ["PATH"].split(os.pathsep) if not active or not path.startswith(active)]
    kept = {name: value for name, value in os.environ.items() if name.upper().startswith(_OF_THE_NETWORK)}
    for place in (".config/pip/pip.conf", ".pip/pip.conf"):
        if (Path.home() / place).is_file():
            kept.setdefault("PIP_CONFIG_FILE", str(Path.home() / place))
    home = folder / "home"
    home.mkdir()
    return kept | {
        "PATH": os.pathsep.join([str(programs), *paths]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "WHENCE_PORT": str(port),
        "WHENCE_LOG_LEVEL": "error",
    }


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A user who has followed the tutorial first, and then the README, from one clone."""
    for program in ("git", "make", "curl"):
        if shutil.which(program) is None:
            missing(program)
    if not (ROOT / ".git").exists():
        pytest.skip("only a git checkout can be cloned")
    with reserved_port() as port:
        reading = Reader(tmp_path_factory.mktemp("first"), port)
        try:
            reading.follow("docs/tutorial.md")
            yield reading
        finally:
            reading.close()


def test_the_tutorial_shows_what_a_new_user_sees(reader: Reader) -> None:
    """Each command succeeds, and what it shows is what the page says, where … is any text."""
    assert not reader.wrong, "\n".join(reader.wrong)


def test_the_first_why_comes_soon(reader: Reader, record_property: Callable[[str, object], None]) -> None:
    """From the clone to the first answer, with the installation. The time is reported; only a very long one fails."""
    assert reader.first_why_s is not None
    reached = "reached" if reader.first_why_s <= FIRST_WHY_S else "not reached"
    tell(record_property, f"clone to first why {reader.first_why_s:.0f} s, target {FIRST_WHY_S} s: {reached}")
    assert reader.first_why_s < PATIENCE_S


def test_the_readme_can_be_followed_too(reader: Reader) -> None:
    """After the tutorial, in the same clone: each command succeeds."""
    reader.wrong.clear()
    reader.follow("README.md")
    assert not reader.wrong, "\n".join(reader.wrong)


def test_a_clone_leaves_nothing_to_commit(reader: Reader) -> None:
    """What installing and running made is ignored by git, but for the files that the pages have a user save."""
    made = {"refund.py", "copy.db"}
    shown, code = Terminal(reader.clone, reader.environ).run("git status --porcelain")
    assert code == 0 and {line[3:] for line in shown.splitlines()} <= made, shown
