"""The examples run unchanged, and print what they promise."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import Served, serving
from whence.client import Whence
from whence.permissions import READ, WRITE

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRET = "a secret that program and server share"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("examples"), jwt_secret=SECRET) as running:
        yield running


def printed(served: Served, name: str, key: str) -> str:
    env = os.environ | {"WHENCE_URL": served.url, "WHENCE_API_KEY": key, "WHENCE_JWT_SECRET": SECRET}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_flow_is_printed_in_order(served: Served) -> None:
    """Three events by two actors."""
    output = printed(served, "flow.py", served.key(READ, WRITE, tenant="flow"))
    assert output.splitlines() == [
        "inbound_message.received by ana",
        "decision.made by planner",
        "action_run.failed by planner",
    ]


def test_worker_threads_inherit_the_flow(served: Served) -> None:
    """One schedule caused three runs, and each run caused its own artifact and its own end."""
    key = served.key(READ, WRITE, tenant="workers")
    assert printed(served, "workers.py", key).startswith("10 events because of ")
    with Whence(served.url, key) as log:
        found = {event.id: event for event in log.events()}
    (root,) = (event for event in found.values() if event.causation_id is None)
    links = [(event.event_type, found[event.causation_id].event_type) for event in found.values() if event.causation_id]
    assert sorted(links) == sorted(
        [
            ("action_run.started", "automation.triggered"),
            ("artifact.created", "action_run.started"),
            ("action_run.completed", "action_run.started"),
        ]
        * 3
    )
    assert root.event_type == "automation.triggered"


def test_each_tenant_of_a_backend_has_its_own_log(served: Served) -> None:
    """Each has one event."""
    assert printed(served, "backend.py", "").splitlines() == ["acme 1", "umbrella 1", "wayne 1"]


@pytest.mark.slow
def test_the_failure_of_an_agent_tells_its_story(served: Served) -> None:
    """From the request through the task and the graph to the tool that failed, as the page of the example shows."""
    env = os.environ | {"WHENCE_URL": served.url, "WHENCE_API_KEY": served.key(READ, WRITE, tenant="agent")}
    env.pop("COLUMNS", None)  # where it is set, lines are cut
    done = subprocess.run(
        [sys.executable, EXAMPLES / "agent" / "run.py"],
        env=env | {"PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (shown,) = re.findall(r"^```text\n(.*?)^```$", (EXAMPLES / "agent" / "README.md").read_text(), re.M | re.S)
    assert re.search(pattern_of(shown), done.stdout), done.stdout


def pattern_of(shown: str) -> str:
    """A pattern for an output like this one, with other numbers, and any text for `…`."""
    pattern = re.sub(r"\d+", r"\\d+", re.escape(shown.strip()).replace("…", ".*"))
    return re.sub(r"(\\ )+", r"\\s+", pattern)


def test_every_example_is_tested() -> None:
    """Every example file is named in this module, and so is the program that starts those of a folder."""
    text = Path(__file__).read_text()
    programs = [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/run.py")]
    assert [path.name for path in programs if f'"{path.name}"' not in text] == []
