"""`demo`: the printed commands work, and no file is left behind."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import mutants
from tests.cli.mutants import catches
from tests.cli.program import KEY, Cli, Serving, check_output, running
from tests.cli.program import Ran as Result
from tests.cli.test_profiles import keep

EVENTS = 5598
FREE = ("demo", "--port", "0")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cli, Serving]]:
    """A running demo, and the program of its user."""
    cli = Cli(tmp_path_factory.mktemp("demo"))
    with running(cli, *FREE) as serving:
        serving.wait_for("Stop with Ctrl-C")
        yield cli, serving


def printed(serving: Serving) -> list[str]:
    """The commands that it prints to try."""
    return re.findall(r"^  ((?:whence|curl) .*)$", serving.said, re.MULTILINE)


def as_printed(cli: Cli, command: str) -> Result:
    """Run a line in a shell, like a user who copies it into another terminal."""
    done = subprocess.run(["bash", "-c", command], env=cli.env(), capture_output=True, timeout=60, check=False)
    ran = Result(done.returncode, done.stdout, done.stderr.decode())
    if command.startswith("whence"):
        check_output(ran)
    assert ran.code == 0, ran
    return ran


def test_it_prints_its_address_and_what_to_try(demo: tuple[Cli, Serving]) -> None:
    """It prints the number of events, its address, where its key is, and seven commands, all on stderr."""
    _, serving = demo
    assert f"{EVENTS:,} events" in serving.said
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", serving.url) and serving.port != 8700
    assert "Key       saved in the profile 'demo', and not shown, since this is no terminal." in serving.said
    assert [shlex.split(command)[0] for command in printed(serving)] == [*["whence"] * 5, "curl", "whence"]


def test_its_commands_work_as_printed(demo: tuple[Cli, Serving]) -> None:
    """Each printed line works in a shell; the last one shows why a run failed."""
    cli, serving = demo
    listed, shown, why, flows, found, counted, last = (as_printed(cli, command) for command in printed(serving))
    rows = [line.split() for line in listed.lines[1:]]
    assert len(rows) == 5 and {(row[3], row[5]) for row in rows} == {("✗", "failed")}
    shown_id = shlex.split(printed(serving)[1])[-1]
    assert f"id             {shown_id}" in shown.out and "action_run.failed" in shown.out
    counts: dict[str, Any] = json.loads(counted.out)
    assert counts["total"] == EVENTS == sum(each["count"] for each in counts["byEventType"])
    assert "payment amount does not add up" in why.lines[0] and "The root lies 21 hops" in why.lines[0]
    assert any("called book_reservation" in line and "amount 250" in line for line in why.lines)
    assert len(flows.lines) == 6 and "5,398 transitions" in found.err
    assert " failed: " in last.lines[0] and "started automation run" in last.out


@catches(mutants.KEY_IN_THE_JOURNAL)
def test_its_key_is_not_written_to_a_file(cli: Cli) -> None:
    """Where stderr is a file or a journal, the key is only in the profile, and the command that it names makes one."""
    with running(cli, *FREE) as serving:
        serving.wait_for("Stop with Ctrl-C")
        assert serving.key.startswith("whk_")
        assert KEY.search(serving.said) is None
        command = serving.wait_for(r"To make another:\n +(?:\S+ -m )?whence (.*)\n")[1]
        another = cli.ok(*shlex.split(command)).out.strip()
        assert another != serving.key
        cli.given(url=serving.url, api_key=another).ok("list")


@catches(mutants.KEY_NOT_SHOWN)
def test_its_key_is_shown_on_a_terminal(cli: Cli) -> None:
    """On a terminal the key is printed, and it is in the curl command, so that this can be copied as it is."""
    ours, theirs = pty.openpty()
    process = cli.given(log_level="error").start(*FREE, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while b"Stop with Ctrl-C" not in written:
            written += os.read(ours, 65_536)
        kept = json.loads((cli.home / "config" / "whence" / "profiles.json").read_text())
    finally:
        process.terminate()
        process.wait()
        os.close(ours)
    key = kept["profiles"]["demo"]["api_key"]
    assert f"Key       {key}" in written.decode() and f"curl -H 'X-API-Key: {key}'" in written.decode()


def test_its_commands_are_found_by_the_shell(tmp_path: Path) -> None:
    """If the program is not on the PATH, the printed commands use the path that started it."""
    folders = os.environ["PATH"].split(os.pathsep)  # of an activated environment too, which has the program
    elsewhere = os.pathsep.join(folder for folder in folders if not (Path(folder) / "whence").exists())
    cli = Cli(tmp_path, environ={"PATH": elsewhere})
    with running(cli, *FREE) as serving:
        serving.wait_for("Stop with Ctrl-C")
        lines = re.findall(r"^  (\S+) (?:list|get) ", serving.said, re.MULTILINE)
    assert len(lines) == 2 and all(Path(line).is_file() for line in lines)


def folders(cli: Cli) -> list[Path]:
    return list((cli.home / "tmp").glob("whence-demo-*"))


@catches(mutants.LEAVES_ITS_FOLDER)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_it_leaves_nothing_behind(cli: Cli, number: signal.Signals) -> None:
    """After SIGTERM, Ctrl-C or a closed terminal it exits with 0, its log is removed, and the previous profile is
    current again.
    """
    path = keep(cli, url="http://127.0.0.1:2", key="whk_before")
    with running(cli, *FREE) as serving:
        serving.wait_for("Stop with Ctrl-C")
        assert len(folders(cli)) == 1
        assert json.loads(path.read_text())["current"] == "demo"
        assert serving.stop(number) == 0
        assert folders(cli) == []
        kept = json.loads(path.read_text())
        assert (kept["current"], list(kept["profiles"])) == ("p", ["p"])
        assert "Traceback" not in serving.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_cleans_up_when_stopped_while_it_starts(cli: Cli, number: signal.Signals) -> None:
    """A signal while the recording is being stored ends it without a traceback, and its log is removed."""
    with (cli.home / "log").open("wb") as log:
        process = cli.start(*FREE, stderr=log)
    until = time.monotonic() + 60
    while not any(list(room.glob("demo.db*")) for room in folders(cli)):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert folders(cli) == []
    assert (cli.home / "log").read_text() == ""


def test_a_taken_port_is_reported(demo: tuple[Cli, Serving]) -> None:
    """A second demo on the same port reports that before it creates anything."""
    cli, serving = demo
    assert "--port" in Cli(cli.home / "second").fails(1, "demo", "--port", str(serving.port))
    assert not folders(Cli(cli.home / "second"))
