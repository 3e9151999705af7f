"""An interrupted import that is run again stores each event once. The interruption is forced at the worst moments."""

import gzip
from pathlib import Path

import pytest

from tests.cli import mutants
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli, Serving, ndjson, running
from tests.cli.test_import import numbered

pytestmark = pytest.mark.slow

EVENTS = 5200

DIES = """
import os, signal
import whence.client as client
send, batches = client.Whence.send, []
def dying(self, request):
    before = BEFORE
    batches.extend([1] * request.path.endswith("/batch"))
    if before and len(batches) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    answer = send(self, request)
    if len(batches) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
client.Whence.send = dying
"""
"""Kills the program at its third batch: before it is sent, or when it is stored and the response not yet read."""

PAUSES = """
import pathlib, time
import whence.client as client
send, batches = client.Whence.send, []
def pausing(self, request):
    batches.extend([1] * request.path.endswith("/batch"))
    if len(batches) == 3:
        room = pathlib.Path(ROOM)
        (room / "reached").touch()
        while not (room / "go on").exists():
            time.sleep(0.01)
    return send(self, request)
client.Whence.send = pausing
"""
"""Makes the program wait before its third batch until the test continues."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Events with and without ids, in several batches."""
    path = tmp_path / "events.ndjson.gz"
    sent = numbered(EVENTS // 2, ids=False) + numbered(EVENTS // 2, first=EVENTS // 2 + 1)
    path.write_bytes(gzip.compress(ndjson(sent), 1))
    return path


def total(user: Cli) -> int:
    """The number of events. Checks that each actor occurs once, as each event has its own."""
    (page, counts) = (user.ok("list", "--limit", "1", "--json").json, user.ok("stats", "--actors", "--json").json)
    assert {each["total"] for each in counts["actors"]} <= {1}, "an event was stored twice"
    assert len(counts["actors"]) == page["total"]
    return int(page["total"])


@catches(mutants.RANDOM_IDS)
@pytest.mark.parametrize("before", [True, False], ids=["before_sending", "before_the_answer"])
def test_a_killed_import_is_run_again(user: Cli, file: Path, before: bool) -> None:
    """After SIGKILL of the import at its third batch, running it again stores the rest, each event once."""
    dying = user.prepared(DIES.replace("BEFORE", str(before)))
    assert dying.run("import", file).code == -9
    there = total(user)
    assert there == (2000 if before else 3000)
    summary = user.ok("import", file, "--json").json
    assert summary == {"stored": EVENTS - there, "replayed": there, "refused": 0}
    assert total(user) == EVENTS


def start_again(cli: Cli, serving: Serving) -> "Serving":
    """Kill the server, and start another one of the same store on the same port."""
    serving.stop(9)
    port = serving.port
    again = cli.given(log_level="error").start("serve", "--port", str(port))
    return Serving(again, serving.log, serving.url, serving.key)


@catches(mutants.IMPATIENT)
def test_an_import_survives_a_restart_of_the_server(cli: Cli, file: Path, mutant: Mutant | None) -> None:
    """When the server is killed halfway and restarted, the import continues, and no event is lost or stored twice."""
    with running(Cli(cli.home), "serve", "--port", "0") as serving:
        user = cli.given(url=serving.url, api_key=serving.key)
        pausing = user.prepared(PAUSES.replace("ROOM", repr(str(cli.home))))
        output = cli.home / "import.out"
        with output.open("wb") as out:
            importing = pausing.start("import", file, "--json", stdout=out, stderr=out)
        while not (cli.home / "reached").exists():
            assert importing.poll() is None
        serving.stop(9)
        (cli.home / "go on").touch()
        if mutant is not None:
            assert importing.wait(60) == 0  # it has given up by now
        again = start_again(Cli(cli.home), serving)
        try:
            assert importing.wait(90) == 0, output.read_text()
            assert b'"refused":0' in output.read_bytes()
            assert total(user) == EVENTS
        finally:
            importing.kill()
            again.process.kill()
            again.process.wait()
