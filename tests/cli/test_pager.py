"""Long output on a real terminal: what fits the width, and goes through a pager as git's does."""

import os
import re
import shutil
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from rich.cells import cell_len

from tests.api.conftest import event
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from tests.cli.terminals import shown_on_a_terminal
from whence.cli import pager
from whence.cli.pager import paging

COLOURS = re.compile(r"\x1b\[[0-9;]*m")

ALWAYS = Mutant(
    "pages_what_fits",
    "import whence.cli.pager as pager\npager.shutil.get_terminal_size = lambda *_: (80, 1)",
)


BROKEN_ANYWHERE = Mutant(
    "messages_broken_by_the_terminal",
    "import whence.cli.terminal as terminal\nterminal.width_of_messages = lambda stream: None",
)


@pytest.fixture
def many(api: httpx2.Client) -> None:
    """Sixty events, some of them failures that say much."""
    sent = [
        event(
            id=str(UUID(int=number + 1)),
            eventType="action_run.failed" if number % 9 == 0 else "action_run.completed",
            payload={"tool": "book_reservation", "error": "payment amount does not add up, " * 3 + f"paid {number}"},
        )
        for number in range(60)
    ]
    assert api.post("/api/v1/events/batch", json=sent).status_code == 201


@pytest.fixture
def numbering(tmp_path: Path) -> str:
    """A pager that marks each line."""
    file = tmp_path / "numbering"
    file.write_text("#!/bin/sh\nexec sed 's/^/P:/'\n")
    file.chmod(0o755)
    return str(file)


@catches(ALWAYS)
def test_what_is_longer_than_the_terminal_goes_through_the_pager(user: Cli, many: None, numbering: str) -> None:
    """Which WHENCE_PAGER names, else PAGER; messages are not part of it. What fits is printed as it is."""
    code, shown = shown_on_a_terminal(user, "list", "--limit", "60", WHENCE_PAGER=numbering, PAGER="false")
    assert code == 0
    lines = shown.splitlines()
    assert sum(line.startswith("P:") for line in lines) == 61 + 7 and lines[-1] == "60 of 60 events."
    assert all(cell_len(COLOURS.sub("", line)) <= 82 for line in lines)
    assert sum("paid " in line for line in lines) == 7, "a failure has two lines, and keeps its end"
    assert "\x1b[1;31m✗" in shown
    assert "P:" in shown_on_a_terminal(user, "list", "--all", PAGER=numbering)[1]
    for words, environ in (
        (("list", "--limit", "9"), {"PAGER": numbering}),
        (("list", "--limit", "60", "--no-pager"), {"PAGER": numbering}),
        (("list", "--limit", "60"), {"PAGER": numbering, "WHENCE_PAGER": ""}),
    ):
        code, shown = shown_on_a_terminal(user, *words, **environ)
        assert code == 0 and "P:" not in shown and "✗" in shown


def test_a_pipe_gets_whole_lines_without_colours_and_pager(user: Cli, many: None, numbering: str) -> None:
    """Whatever the terminal is."""
    ran = user.ok("list", "--limit", "60", env={"PAGER": numbering, "TERM": "xterm-256color"})
    assert len(ran.lines) == 61 and "P:" not in ran.out and "\x1b" not in ran.out
    assert max(map(len, ran.lines)) > 120


@catches(BROKEN_ANYWHERE)
def test_messages_are_broken_between_words_on_a_terminal(user: Cli, many: None) -> None:
    """At its width, and what can be copied is whole. A pipe gets a message in one line, whatever COLUMNS says."""
    whole = user.run("list", "--order", "up", env={"COLUMNS": "40"}).err
    assert len(whole.splitlines()) == 1
    code, shown = shown_on_a_terminal(user, "list", "--order", "up", columns=40)
    lines = shown.splitlines()
    assert code == 2 and len(lines) > 1 and " ".join(lines) == whole.strip()
    assert max(map(len, lines)) <= 40 and lines[-1].endswith("'whence list --help'.")


@pytest.mark.skipif(shutil.which("less") is None, reason="needs less")
def test_a_reader_who_quits_the_pager_ends_the_command(user: Cli, many: None) -> None:
    """With less, which leaves the first screen behind, and needs no key where all fits."""
    code, shown = shown_on_a_terminal(user, "list", "--all", typed=b"q", NO_COLOR="1")
    assert code == 0 and "WHAT HAPPENED" in shown and " @60 " in shown and " @30 " not in shown


class Terminal:
    """A stdout that is a terminal, as far as a pager asks."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.written = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None:
        """There is nothing to do."""


def made_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A stdout of ten columns and five rows, until the test is over. Call it in the test: pytest sets stdout before."""
    made = Terminal()
    monkeypatch.setattr(pager.sys, "stdout", made)
    monkeypatch.setattr(pager.shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((10, 5)))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("WHENCE_PAGER", raising=False)
    return made


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"PAGER": "cat"}, "line\n" * 9),
        ({"PAGER": "no-such-pager"}, "line\n" * 9),
        ({"PAGER": "'unclosed"}, "line\n" * 9),
        ({"PAGER": "false", "TERM": "dumb"}, "line\n" * 9),
        ({"PAGER": "false"}, "line\n" * 4),
        ({"PAGER": "false"}, "\x1b[1;31m12345\x1b[0m\n" * 4),
    ],
    ids=["cat", "not installed", "unclosed", "dumb", "short", "colours"],
)
def test_without_a_pager_the_text_is_printed(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], text: str
) -> None:
    """If none is wanted, installed or needed, or the terminal cannot have one."""
    terminal = made_terminal(monkeypatch)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with paging():
        pager.sys.stdout.write(text)
    assert terminal.written == text


def test_lines_that_the_terminal_breaks_count_as_several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the pager gets all of the text, with the options that git gives to less."""
    terminal = made_terminal(monkeypatch)
    monkeypatch.setenv("PAGER", f"sh -c 'echo $LESS > {tmp_path}/got; cat >> {tmp_path}/got'")
    monkeypatch.delenv("LESS", raising=False)
    text = "0123456789" * 5 + "\n"
    with paging():
        pager.sys.stdout.write(text)
    assert (terminal.written, (tmp_path / "got").read_text()) == ("", f"FRX\n{text}")


def test_an_error_is_not_lost_in_the_pager(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before it is shown, and it goes on its way. A pager that quits early is no error."""
    terminal = made_terminal(monkeypatch)
    monkeypatch.setenv("PAGER", "true")
    with pytest.raises(ZeroDivisionError), paging():
        pager.sys.stdout.write("short\n")
        raise ZeroDivisionError
    assert terminal.written == "short\n"
    with paging():
        while True:
            pager.sys.stdout.write("line\n" * 1_000)
            pager.sys.stdout.flush()
