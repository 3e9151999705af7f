"""`alert`: rules are made, listed, shown, tried and deleted."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from tests.api.conftest import event
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from tests.documents import ROOT, blocks_of, code_of, is_shown

EVENTS = "/api/v1/events"
COUNTING = ("--outcome", "failure", "--at-least", "3", "--within", "10m", "--per", "actor")

NO_CONDITION = Mutant(
    "options_of_the_condition_left_out",
    "import whence.cli.alerts as a\na.ConditionOptions.condition = lambda self: {'kind': 'match'}",
)


def fail(api: httpx2.Client, count: int, **fields: Any) -> None:
    made = [event(eventType="action_run.failed", **fields) for _ in range(count)]
    assert api.post(f"{EVENTS}/batch", json=made).status_code == 201


@catches(NO_CONDITION)
def test_a_rule_from_its_making_to_its_end(user: Cli, api: httpx2.Client, mutant: Mutant | None) -> None:
    """The id is all that `create` prints to stdout; the other commands take it."""
    made = user.ok("alert", "create", "three failures", *COUNTING)
    assert re.fullmatch(r"[0-9a-f-]{36}\n", made.out)
    assert "whence alert test" in made.err
    rule_id = made.out.strip()
    listed = user.ok("alert", "list", env={"COLUMNS": "160"}).lines
    assert listed[1].split()[0] == rule_id
    assert "3 events within 10m per actor" in listed[1] and "outcome=failure" in listed[1]
    shown = user.ok("alert", "show", rule_id).out
    assert re.search(r"^name +three failures$", shown, re.MULTILINE)
    assert re.search(r"^state +watches$", shown, re.MULTILINE)
    assert user.ok("alert", "show", rule_id, "--json").json["firingTotal"] == 0
    fail(api, 4)
    tried = user.ok("alert", "test", rule_id, "--over", "7d")
    [line] = tried.lines
    assert "fired" in line and "agent planner" in line and "3 events" in line
    assert tried.err == "1 alert would have fired in the last 7d, and 0 resolved.\n"
    assert user.ok("alert", "delete", rule_id).err == "Deleted.\n"
    assert "no alert rule" in user.fails(3, "alert", "show", rule_id)


def test_a_rule_is_tried_before_it_is_made(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """By the options of `create`, or from a file. Nothing is stored."""
    fail(api, 4)
    fail(api, 1, actorId="ana")
    whole = user.ok("alert", "test", *COUNTING, "--over", "1h", "--json")
    assert [msgspec.json.decode(line)["count"] for line in whole.lines] == [3]
    file = tmp_path / "rule.json"
    file.write_text('{"condition": {"kind": "first_seen", "per": "actor"}, "filters": {"outcome": "failure"}}')
    assert len(user.ok("alert", "test", file, "--over", "1h").lines) == 2
    assert user.ok("alert", "test", "--absent", "2h", "--over", "1h", "--type", "schedule.fired").lines[0].split()[
        1:
    ] == ["fired"]
    assert user.ok("alert", "list").out == ""
    file.write_text("{")
    assert "is not JSON" in user.fails(2, "alert", "test", file, "--over", "1h")


def test_options_that_do_not_belong_together(user: Cli) -> None:
    """Each is refused in a sentence, before anything is sent."""
    assert "passed together" in user.fails(2, "alert", "create", "n", "--at-least", "3")
    assert "Pass either" in user.fails(2, "alert", "create", "n", "--absent", "1h", "--first-seen", "actor")
    assert "--within needs a time" in user.fails(2, "alert", "create", "n", "--at-least", "3", "--within", "soon")
    assert "at every event" in user.fails(2, "alert", "create", "n")
    assert "passed alone" in user.fails(2, "alert", "create", "n", "--every-event", "--outcome", "failure")
    every = user.ok("alert", "create", "n", "--every-event").out.strip()
    assert ["fires", "every", "event"] in [line.split() for line in user.ok("alert", "show", every).lines]
    assert "Pass either RULE" in user.fails(2, "alert", "test", "x", "--outcome", "failure", "--over", "1h")
    assert "out of" not in user.fails(2, "alert", "create", "n", "--at-least", "1", "--within", "10m")


def test_the_commands_of_the_page_show_what_it_shows(user: Cli) -> None:
    """Those of docs/alerts.md, in the log of the demo, where … is any text."""
    user.ok("import", ROOT / "src" / "whence" / "data" / "airline-agent-runs.ndjson.gz")
    blocks = blocks_of("docs/alerts.md")
    shown = [(block, blocks[number + 1]) for number, block in enumerate(blocks) if block.language == "sh"]
    assert len(shown) == 2
    for block, below in shown:
        environ = {name: value for name, value in user.env().items() if name != "COLUMNS"}
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
        ran = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{block.code}"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert is_shown(below.code.strip(), ran.stdout.strip()), ran.stdout


def test_the_python_of_the_page_runs(user: Cli, api: httpx2.Client) -> None:
    """That of docs/alerts.md prints the alerts of the past."""
    fail(api, 5)
    [code] = code_of("docs/alerts.md", "python")
    ran = subprocess.run(
        [sys.executable, "-c", code], env=user.env(), capture_output=True, text=True, timeout=60, check=True
    )
    assert " fired " in ran.stdout and ran.stdout.count("\n") == 1
    assert api.get("/api/v1/alert-rules").json() == {"rules": []}
